//! The obvious engine: one list of runs, scanned.

use std::cmp::Reverse;
use std::time::Duration;

use super::super::{Empty, Ended, StateType};
use super::named::{ModelLease, ModelLimit};
use crate::catalog::instant;
use crate::ids::{DeploymentId, RunId};
use crate::model::Retry;

/// Where a run of the model is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum At {
    Later,
    /// Its timer is in the model's list.
    Retry,
    Line,
    Claimed {
        token: u64,
        state: StateType,
    },
    Paused,
    Finished(StateType),
}

#[derive(Clone, Debug)]
pub(super) struct ModelRun {
    pub(super) id: RunId,
    pub(super) deployment: Option<DeploymentId>,
    pub(super) queue: usize,
    pub(super) level: u8,
    pub(super) due: i64,
    pub(super) seq: u64,
    pub(super) at: At,
    pub(super) retry: Retry,
    pub(super) timeout: Option<Duration>,
    pub(super) attempt: u32,
    pub(super) starts: u32,
    /// It goes on after a pause: its next start is not one.
    pub(super) resumed: bool,
    /// Named limits, by their numbers in the model, and the slots of each.
    pub(super) needs: Vec<(usize, u32)>,
}

impl ModelRun {
    pub(super) fn place_in_line(&self) -> (Reverse<u8>, i64, u64) {
        (Reverse(self.level), self.due, self.seq)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Alarm {
    Retry,
    Timeout,
    Pause,
    /// Of slots that were leased by name.
    Lease,
}

#[derive(Clone, Debug)]
pub(super) struct ModelDeployment {
    pub(super) id: DeploymentId,
    pub(super) limit: Option<u32>,
    pub(super) level: u8,
    pub(super) queue: usize,
    pub(super) retry: Retry,
    pub(super) timeout: Option<Duration>,
}

/// The answer to a start of a chosen run.
#[derive(Debug)]
pub(super) enum Chosen {
    Claimed,
    Begun,
    Kept,
    Waits,
    Never,
}

/// The obvious engine.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) runs: Vec<ModelRun>,
    /// (monotonic instant, order of making, run, kind)
    pub(super) alarms: Vec<(i64, u64, usize, Alarm)>,
    pub(super) deployments: [Option<ModelDeployment>; 4],
    pub(super) wall: i64,
    /// What the wall clock shows, which may have gone back.
    pub(super) clock: i64,
    pub(super) mono: i64,
    pub(super) seq: u64,
    pub(super) token: u64,
    pub(super) limit: Option<u32>,
    pub(super) pool_limit: [Option<u32>; 2],
    pub(super) queue_limit: [Option<u32>; 6],
    pub(super) pool_paused: [bool; 2],
    pub(super) queue_paused: [bool; 6],
    pub(super) strict: [bool; 6],
    /// Every limit that there ever was.
    pub(super) named: Vec<ModelLimit>,
    pub(super) leases: Vec<ModelLease>,
    /// Of the limit that drains: what was in it at an instant, and what its holders held then.
    pub(super) bucket: (i64, i64, i64),
    pub(super) with_names: bool,
    pub(super) retried: u64,
    pub(super) claimed: u64,
    /// Something became due in the last call.
    pub(super) stirred: bool,
    /// The wall clock has jumped: when a retry is due by it was an estimate.
    pub(super) jumped: bool,
}

impl Model {
    pub(super) fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn count(&self, which: impl Fn(&ModelRun) -> bool) -> usize {
        self.runs.iter().filter(|run| which(run)).count()
    }

    pub(super) fn held(&self, which: impl Fn(&ModelRun) -> bool) -> u32 {
        u32::try_from(self.count(|run| matches!(run.at, At::Claimed { .. }) && which(run))).unwrap()
    }

    pub(super) fn waiting(&self) -> usize {
        self.count(|run| run.at == At::Line)
    }

    pub(super) fn scheduled(&self) -> usize {
        self.count(|run| matches!(run.at, At::Later | At::Retry))
    }

    pub(super) fn paused(&self, queue: usize) -> bool {
        self.pool_paused[queue / 3] || self.queue_paused[queue]
    }

    pub(super) fn full(&self, queue: usize) -> bool {
        let over = |limit: Option<u32>, held: u32| limit.is_some_and(|limit| held >= limit);
        over(self.limit, self.held(|_| true))
            || over(
                self.pool_limit[queue / 3],
                self.held(|run| run.queue / 3 == queue / 3),
            )
            || over(self.queue_limit[queue], self.held(|run| run.queue == queue))
    }

    pub(super) fn limit_of(&self, run: &ModelRun) -> Option<u32> {
        let of = |deployment: &&ModelDeployment| Some(deployment.id) == run.deployment;
        self.deployments.iter().flatten().find(of)?.limit
    }

    /// Free slots of its deployment's limit.
    pub(super) fn room(&self, run: &ModelRun) -> Option<usize> {
        let held = self.held(|other| other.deployment == run.deployment);
        self.limit_of(run)
            .map(|limit| limit.saturating_sub(held) as usize)
    }

    pub(super) fn why_not(&self, run: &ModelRun) -> Option<Empty> {
        if self.paused(run.queue) {
            Some(Empty::Paused)
        } else if self.full(run.queue) {
            Some(Empty::Full)
        } else if self.room(run) == Some(0) || !self.fits_named(run) {
            Some(Empty::Blocked)
        } else {
            None
        }
    }

    /// Waits, and its queue is paused, or a limit that it is under has fewer free slots than it needs.
    pub(super) fn blocked(&self, run: &ModelRun) -> bool {
        self.paused(run.queue) || self.room(run) == Some(0) || !self.fits_named(run)
    }

    /// Behind the first of a queue in strict order.
    fn hidden(&self, run: &ModelRun) -> bool {
        self.strict[run.queue]
            && self.runs.iter().any(|other| {
                other.at == At::Line
                    && other.queue == run.queue
                    && other.place_in_line() < run.place_in_line()
            })
    }

    pub(super) fn claim(&self, scope: &[usize]) -> Result<usize, Empty> {
        let in_scope = |run: &&ModelRun| scope.contains(&run.queue);
        let line = |run: &&ModelRun| run.at == At::Line;
        let first_of = |pool: usize| {
            (0..self.runs.len())
                .filter(|&at| {
                    let run = &self.runs[at];
                    in_scope(&run)
                        && line(&run)
                        && run.queue / 3 == pool
                        && self.why_not(run).is_none()
                        && !self.hidden(run)
                })
                .min_by_key(|&at| (self.runs[at].queue, self.runs[at].place_in_line()))
        };
        let first = [0, 1].into_iter().filter_map(first_of);
        if let Some(first) = first.min_by_key(|&at| self.runs[at].place_in_line()) {
            return Ok(first);
        }
        let reasons: Vec<Empty> = self
            .runs
            .iter()
            .filter(in_scope)
            .filter(line)
            .filter_map(|run| self.why_not(run))
            .collect();
        for reason in [Empty::Full, Empty::Blocked, Empty::Paused] {
            if reasons.contains(&reason) {
                return Err(reason);
            }
        }
        let soonest = self
            .runs
            .iter()
            .filter(in_scope)
            .filter(|run| matches!(run.at, At::Later | At::Retry))
            .map(|run| run.due)
            .min();
        Err(soonest.map_or(Empty::Nothing, |at| Empty::NotDue(instant(at))))
    }

    /// Time moves: what became due happens, in the order of its instants, each at its own.
    pub(super) fn observe(&mut self, wall: i64, mono: i64) {
        let seen = self.wall;
        self.wall = self.wall.max(wall);
        self.clock = wall;
        // Somebody may be let in by time alone.
        self.stirred = self.mono < mono && self.awaits_drain();
        self.mono = mono;
        loop {
            let alarm = (0..self.alarms.len())
                .filter(|&at| self.alarms[at].0 <= self.mono)
                .min_by_key(|&at| (self.alarms[at].0, self.alarms[at].1));
            // By the wall it happened as long ago as by the other clock, but not before what has been seen.
            let alarm_at = alarm.map(|at| (self.alarms[at].0 + self.wall - self.mono).max(seen));
            let run = (0..self.runs.len())
                .filter(|&at| self.runs[at].at == At::Later && self.runs[at].due <= self.wall)
                .min_by_key(|&at| self.runs[at].due);
            let run_at = run.map(|at| self.runs[at].due);
            match (alarm_at, run_at) {
                (None, None) => break,
                (Some(at), run) if run.is_none_or(|run| at <= run) => {
                    let (mono, _, run, kind) = self.alarms.remove(alarm.unwrap());
                    match kind {
                        Alarm::Retry => {
                            let seq = self.next();
                            let run = &mut self.runs[run];
                            (run.due, run.seq, run.at) = (at, seq, At::Line);
                        }
                        Alarm::Lease => self.lease_lapsed(run),
                        Alarm::Pause => self.runs[run].at = At::Finished(StateType::Failed),
                        Alarm::Timeout => drop(self.end(run, StateType::Failed, at, mono)),
                    }
                }
                _ => self.runs[run.unwrap()].at = At::Line,
            }
            self.stirred = true;
        }
    }

    /// What the graph says to a start of a chosen run, and how its attempt stands after it.
    pub(super) fn choose(&self, at: usize, begin: bool) -> Chosen {
        let run = &self.runs[at];
        match run.at {
            At::Claimed {
                state: StateType::Cancelling,
                ..
            } => Chosen::Kept,
            At::Later
            | At::Retry
            | At::Claimed {
                state: StateType::Pending,
                ..
            } if begin && run.due > self.wall => Chosen::Waits,
            At::Claimed {
                state: StateType::Pending,
                ..
            } if begin => Chosen::Begun,
            At::Finished(_) | At::Claimed { .. } => Chosen::Never,
            At::Paused if !begin => Chosen::Kept,
            _ => match self.why_not_chosen(run) {
                None => Chosen::Claimed,
                Some(_) => Chosen::Kept,
            },
        }
    }

    fn why_not_chosen(&self, run: &ModelRun) -> Option<Empty> {
        if self.full(run.queue) {
            Some(Empty::Full)
        } else if self.room(run) == Some(0) || !self.fits_named(run) {
            Some(Empty::Blocked)
        } else {
            self.paused(run.queue).then_some(Empty::Paused)
        }
    }

    pub(super) fn alarm(&mut self, at: i64, run: usize, kind: Alarm) {
        let order = self.next();
        self.alarms.push((at, order, run, kind));
    }

    pub(super) fn end(&mut self, at: usize, state: StateType, wall: i64, mono: i64) -> Ended {
        self.alarms.retain(|alarm| alarm.2 != at);
        let run = &mut self.runs[at];
        let cancelling = matches!(
            run.at,
            At::Claimed {
                state: StateType::Cancelling,
                ..
            }
        );
        let state = if cancelling { StateType::Cancelled } else { state };
        if state == StateType::Failed && run.attempt <= run.retry.retries {
            let delay = i64::try_from(run.retry.delay.as_micros()).unwrap();
            let seq = self.next();
            let run = &mut self.runs[at];
            run.resumed = false;
            // Where it stands if it is chosen before its delay is over and given back: behind what was accepted before.
            (run.due, run.seq) = (wall + delay, seq);
            run.at = At::Retry;
            self.retried += 1;
            self.alarm(mono + delay, at, Alarm::Retry);
            return Ended::Retrying;
        }
        run.at = At::Finished(state);
        Ended::Finished(state)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let later = self.runs.iter().filter(|run| run.at == At::Later);
        let wall = later.map(|run| run.due - self.clock);
        let mono = self.alarms.iter().map(|alarm| alarm.0 - self.mono);
        let micros = wall.chain(mono).min()?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap()))
    }
}
