//! Retries that keep their slots.
//!
//! Between its failure and its next attempt such a run is SCHEDULED "`AwaitingRetry`", and *claimed* all the same: it counts as being
//! processed and holds what its attempt held, while nobody has its claim. Once its delay is over it is handed out in claim
//! order, by its level and its new place, and no full engine, pool, queue or limit stops it: what it needs it has.
//!
//! Queues without such runs pay one look at an empty set for a claim.

use std::collections::BTreeSet;

use super::core::{Core, Instant, MonoEvent, Work};
use super::ready::{Head, Line};
use super::timers::TimerKey;
use crate::catalog::When;
use crate::limit::{Grant, Holder};
use crate::model::{Place, StateType, Text};

/// A run between two attempts, with its slots.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) grant: Option<Grant>,
    /// The fencing token of the attempt that failed.
    pub(crate) token: u64,
    pub(crate) until: Until,
}

/// What the next attempt waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Its delay.
    Timer(TimerKey),
    /// A worker, at this place among those of its queue.
    Claim(Head),
}

/// The runs of a queue that wait for a worker and have their slots, in claim order.
pub(crate) type Holding = BTreeSet<(Head, u32)>;

impl Core {
    /// Takes a claim away from a worker whose attempt failed, and keeps the slots for the next.
    pub(crate) fn keep_for_retry(&mut self, row: u32, message: Option<Text>, at: Instant) {
        let delay = self.retry_delay(row);
        let Work::Claimed(held) = std::mem::take(&mut self.work[row as usize]) else {
            unreachable!("the caller found the run claimed")
        };
        self.cancel_timers(&held);
        self.end_steps(row);
        let timer = (self.mono_timers).insert(at.mono.saturating_add(delay), MonoEvent::Retry { row });
        let name = Text::of("AwaitingRetry");
        let run = self.enter(row, StateType::Scheduled, name, message, at.wall);
        run.due = at.wall.saturating_add(delay);
        run.next_start = When::at(run.due);
        let (queue, entry) = (run.in_queue(), (run.due, run.seq, row));
        debug_assert_eq!(run.place, Place::Claimed, "R5 broken: kept what it did not hold");
        self.work[row as usize] = Work::Kept(Kept {
            grant: held.grant,
            token: held.token,
            until: Until::Timer(timer),
        });
        self.queues[queue as usize].retrying.insert(entry);
        self.totals.retried += 1;
        self.effects.ring = true;
    }

    /// The delay of a run that kept its slots is over.
    pub(crate) fn kept_due(&mut self, row: u32, at: i64) {
        self.forget_delay(row);
        let seq = self.next_seq();
        let run = self.run_mut(row);
        (run.due, run.seq, run.next_start) = (at, seq, When::at(at));
        self.offer_kept(row);
        self.changed();
    }

    /// Takes a run out of those of its queue that wait for a delay.
    pub(crate) fn forget_delay(&mut self, row: u32) {
        let run = self.run(row);
        let (queue, entry) = (run.in_queue(), (run.due, run.seq, row));
        self.queues[queue as usize].retrying.remove(&entry);
    }

    /// Lets workers have a run that kept its slots, at its place.
    pub(crate) fn offer_kept(&mut self, row: u32) {
        let run = self.run(row);
        let line = Line {
            due: run.due,
            seq: run.seq,
        };
        let level = if fault!(KeptOvertakes) {
            crate::priority::Priority::MAX
        } else {
            run.priority
        };
        let (queue, head) = (run.in_queue(), Head::new(level, line));
        let Work::Kept(kept) = &mut self.work[row as usize] else {
            unreachable!("the caller found the run between two attempts")
        };
        kept.until = Until::Claim(head);
        self.queues[queue as usize].holding.insert((head, row));
        self.holding_total += 1;
        self.effects.ring = true;
    }

    /// Takes a run from where it waits for its next attempt; its slots are the caller's.
    pub(crate) fn take_kept(&mut self, row: u32) -> Kept {
        let queue = self.run(row).in_queue();
        let Work::Kept(kept) = std::mem::take(&mut self.work[row as usize]) else {
            unreachable!("the caller found the run between two attempts")
        };
        match kept.until {
            Until::Timer(timer) => {
                self.mono_timers.cancel(timer);
                self.forget_delay(row);
            }
            Until::Claim(head) => {
                self.queues[queue as usize].holding.remove(&(head, row));
                self.holding_total -= 1;
            }
        }
        kept
    }

    /// The slots that a run kept are those of its next attempt.
    pub(crate) fn pass_on_slots(&mut self, row: u32) -> Option<Grant> {
        let kept = self.take_kept(row);
        let holder = Holder::run(row, self.run(row).attempt + 1);
        if let Some(grant) = kept.grant {
            (self.limits.book.pass_on(grant, holder)).expect("an attempt holds its slots once");
        }
        kept.grant
    }

    /// Ends the wait of a run for its next attempt: it gives its slots back.
    pub(crate) fn leave_kept(&mut self, row: u32) {
        let kept = self.take_kept(row);
        self.release_slots(row, kept.grant);
    }

    /// Another level, at the back of it.
    pub(crate) fn move_kept(&mut self, row: u32, priority: crate::priority::Priority, seq: u64) {
        let Work::Kept(Kept { until, .. }) = &self.work[row as usize] else {
            unreachable!("the caller found the run between two attempts")
        };
        let Until::Claim(head) = *until else {
            self.run_mut(row).priority = priority;
            return;
        };
        let queue = self.run(row).in_queue();
        self.queues[queue as usize].holding.remove(&(head, row));
        self.holding_total -= 1;
        let at = self.wall;
        let run = self.run_mut(row);
        (run.priority, run.due, run.seq) = (priority, at, seq);
        self.offer_kept(row);
    }
}
