//! Making due what is due: the only place where time moves a run.
//!
//! Events of both clocks are taken in the order of their instants, a monotonic instant standing at the wall instant
//! that lies as far from now. Each happens *at its own instant*, not at the moment somebody looked; so the order of
//! runs never depends on when the engine was called.

use std::time::Duration;

use super::core::{Core, Instant, MonoEvent, WallEvent, Work};
use super::ids::Random;
use super::occurrence::DueNow;
use crate::catalog::When;
use crate::model::{Place, Retry, StateType, Text};

impl Core {
    /// Makes due everything up to engine time. `seen` is the wall time up to which that was done before.
    pub(crate) fn make_due(&mut self, seen: i64) {
        if !self.anything_due() {
            // Records grow old while nothing becomes due.
            self.prune();
            return;
        }
        let mut due = DueNow::default();
        // The wall instant of a monotonic one, seen from now.
        let offset = self.wall.saturating_sub(self.mono);
        loop {
            let run = self
                .due
                .first()
                .map(|first| first.0)
                .filter(|&at| at <= self.wall);
            let wall = self.wall_timers.deadline().filter(|&at| at <= self.wall);
            let mono = self
                .mono_timers
                .deadline()
                .filter(|&at| at <= self.mono)
                // Up to `seen` everything was done; a wall clock that stood still meanwhile does not put it earlier.
                .map(|at| at.saturating_add(offset).max(seen));
            let expiry = self.first_expiry().filter(|&at| at <= self.wall);
            let first = [run, expiry, wall, mono].into_iter().flatten().min();
            let Some(at) = first else { break };
            if mono == Some(at) {
                let (mono, event) = self.mono_timers.pop().expect("its deadline was seen");
                self.mono_event(event, Instant { wall: at, mono });
            } else if run == Some(at) {
                if fault!(DueIsForgotten) && self.due.len() > 1 {
                    break;
                }
                self.run_due(&mut due);
            } else if expiry == Some(at) {
                self.expire_first();
            } else {
                let (_, WallEvent::Plan { deployment, schedule }) =
                    self.wall_timers.pop().expect("its deadline was seen");
                self.plan(deployment, schedule);
            }
        }
        self.settle_due(due);
        self.prune();
    }

    fn anything_due(&self) -> bool {
        self.due.first().is_some_and(|first| first.0 <= self.wall)
            || self.first_expiry().is_some_and(|at| at <= self.wall)
            || self.wall_timers.deadline().is_some_and(|at| at <= self.wall)
            || self.mono_timers.deadline().is_some_and(|at| at <= self.mono)
    }

    /// How long until something becomes due; none when nothing will. What is due by a wall clock that went back is waited
    /// for until that clock has caught up, too.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let due = self.due.first().map(|first| first.0);
        let wall = [due, self.first_expiry(), self.wall_timers.deadline()];
        let wall = wall
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_sub(self.wall))
            .map(|left| {
                if left > 0 {
                    left.saturating_add(self.behind)
                } else {
                    left
                }
            });
        let mono = self.mono_timers.deadline().map(|at| at.saturating_sub(self.mono));
        let micros = [wall, mono].into_iter().flatten().min()?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }

    fn first_expiry(&self) -> Option<i64> {
        self.expiries
            .first()
            .map(|first| first.0 + i64::from(fault!(ExpiresLate)) * 5_000_000)
    }

    /// Ends the first run whose time is over before anybody has claimed it.
    fn expire_first(&mut self) {
        let Some((at, row)) = self.expiries.pop_first() else {
            return;
        };
        self.leave(row);
        let message = Text::of("nobody had claimed it by the instant that it was of use until");
        let name = Text::of("Expired");
        self.finish(row, StateType::Cancelled, name, Some(message), at);
    }

    fn run_due(&mut self, now_due: &mut DueNow) {
        let (_, queue) = *self.due.first().expect("its instant was seen");
        let (due, _, row) = *self.queues[queue as usize]
            .later
            .first()
            .expect("a queue in `due` has scheduled runs");
        self.leave_later(row);
        if self.run(row).body.auto_scheduled && self.run(row).run_count == 0 {
            self.occurrence_due(row, due, now_due);
        } else {
            self.come_due(row);
            self.changed();
        }
    }

    fn mono_event(&mut self, event: MonoEvent, at: Instant) {
        match event {
            MonoEvent::Retry { row } if matches!(self.work[row as usize], Work::Kept(_)) => {
                self.kept_due(row, at.wall);
            }
            MonoEvent::Retry { row } => {
                self.forget_retry(row);
                // A retry stands in line by the instant it was due, behind what was accepted before.
                let seq = self.next_seq();
                let run = self.run_mut(row);
                run.due = if fault!(RetryOvertakes) {
                    run.created
                } else {
                    at.wall
                };
                run.seq = seq;
                run.next_start = When::at(at.wall);
                self.enter_line(row);
                self.changed();
            }
            MonoEvent::Timeout { row } => self.timed_out(row, at),
            MonoEvent::Lapse { row } => self.lapsed(row, at),
            MonoEvent::PauseOver { row } => self.pause_over(row, at),
            MonoEvent::Room { limit } => self.room_came(limit),
            MonoEvent::Lease => self.leases_lapsed(),
            MonoEvent::Deliveries => self.deliveries_due(at),
        }
    }

    /// The attempt of a claimed run is over its time.
    fn timed_out(&mut self, row: u32, at: Instant) {
        let Work::Claimed(held) = &mut self.work[row as usize] else {
            unreachable!("the timer of an attempt is cancelled when the attempt ends")
        };
        held.timer = None;
        held.timed_out = true;
        if let Some(signal) = &held.signal {
            self.effects
                .stops
                .push((signal.clone(), super::signal::StopReason::TimedOut));
        }
        if held.supervised {
            // The worker ends the handler and reports; until then the attempt holds its slots.
            self.touch(row);
            self.changed();
            return;
        }
        self.end_attempt(row, super::finish::Ending::timed_out(), at);
    }

    /// How long a run whose attempt ended waits for the next, chance included, in microseconds.
    pub(crate) fn retry_delay(&mut self, row: u32) -> i64 {
        let run = (self.catalog.runs.get(row)).expect("work names rows that hold a run");
        delay(self.ids.random(), &run.body.retry, run.attempt)
    }

    /// Puts a run whose attempt failed among those that wait for their retry; why it did is worth knowing meanwhile.
    pub(crate) fn retry_later(&mut self, row: u32, message: Option<Text>, at: Instant) {
        let delay = self.retry_delay(row);
        // The attempt may have ended before now; its delay counts from its end.
        let timer = self
            .mono_timers
            .insert(at.mono.saturating_add(delay), MonoEvent::Retry { row });
        let seq = self.next_seq();
        let name = Text::of("AwaitingRetry");
        let run = self.enter(row, StateType::Scheduled, name, message, at.wall);
        run.place = Place::Scheduled;
        run.due = at.wall.saturating_add(delay);
        run.seq = seq;
        run.next_start = When::at(run.due);
        let (queue, entry) = (run.in_queue(), (run.due, run.seq, row));
        self.queues[queue as usize].retrying.insert(entry);
        self.scheduled_total += 1;
        self.set_work(row, Work::Retry(timer));
        self.await_expiry(row);
        self.totals.retried += 1;
        self.effects.ring = true;
    }
}

/// How long it is from the failure of this attempt to the next, chance included, in microseconds.
pub(super) fn delay(random: &mut Random, retry: &Retry, attempt: u32) -> i64 {
    let delay = i64::try_from(retry.delay_after(attempt).as_micros()).unwrap_or(i64::MAX);
    let most = u64::try_from(delay).unwrap_or(0) / 100 * u64::from(retry.jitter_percent());
    if most == 0 {
        // Nothing is drawn where nothing is asked.
        return delay;
    }
    let more = random.next() % (most + 1);
    delay.saturating_add(i64::try_from(more).unwrap_or(i64::MAX))
}
