//! Why a run is where it is, and what a limit does: one typed answer each (T4).
//!
//! What stops a run is said in one place, [`stops`](super::stops), by what the claim itself asks; here it gets its surroundings:
//! who comes before it, who holds the slots that it lacks, what it waits for next. Every answer describes one version, can be
//! serialised, and reads as a sentence.

use std::fmt::{self, Display};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::core::{Core, Held, Work};
use super::error::{Empty, Error};
use super::named::SlotHolder;
use super::stops::Stop;
use super::timers::TimerKey;
use crate::catalog::instant;
use crate::ids::{DeploymentId, RunId};
use crate::limit::{Ask, Demand, LimitKey};
use crate::model::{Place, StateType, Text};

/// Most holders that an explanation lists; how many there are in all stands beside them.
pub const EXPLAINED_HOLDERS: usize = 10;

/// Most runs of its own queue that are counted before a run.
pub const EXPLAINED_AHEAD: usize = 1_000;

/// Why a run is where it is, at one version. `Display` says it as a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The run.
    pub run: RunId,
    /// The version that this describes.
    pub version: u64,
    /// Engine time of that.
    pub at: DateTime<Utc>,
    /// The name of its state; none on records that have none.
    pub state: Option<Text>,
    /// Why it is not running, or what it does.
    pub why: Why,
}

/// What an [`Explanation`] says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// It is the run that the next claim of its pool gets.
    Next,
    /// It waits.
    Waiting(Waiting),
    /// A worker has it.
    Claimed(Holding),
    /// It has ended.
    Finished {
        /// When.
        at: DateTime<Utc>,
        /// What was said of it.
        message: Option<Text>,
    },
    /// It is a record that was read from a document, no part of the engine's work.
    Record,
}

/// Why a run waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Waiting {
    /// All that keeps it from starting now, whoever claims; nothing for one that only waits for its turn.
    pub stops: Vec<Stop>,
    /// The limits among these, with who holds their slots.
    pub limits: Vec<LimitExplanation>,
    /// Runs of its pool that come before it in claim order, stopped ones included: all that stand in unpaused queues before its own, and up
    /// to [`EXPLAINED_AHEAD`] of its own queue. None while it does not stand in line.
    pub ahead: Option<usize>,
    /// There are more before it than were counted.
    pub ahead_is_more: bool,
    /// How long until it can start, where time alone decides that: until it is due, until slots have drained. None when something
    /// else has to happen first: a run before it or a holder has to end, a pause, a limit has to be raised.
    #[serde(with = "crate::model::maybe_seconds")]
    pub estimate: Option<Duration>,
}

/// What a worker has of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holding {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Its fencing token.
    pub token: u64,
    /// The worker belongs to a runtime of the engine; otherwise it is the host's own.
    pub supervised: bool,
    /// When the run was claimed, if that is still in its history.
    pub since: Option<DateTime<Utc>>,
    /// The attempt has started.
    pub started: bool,
    /// When its lease lapses unless the worker shows that it is alive; none without a lease.
    pub lease_until: Option<DateTime<Utc>>,
    /// When the attempt is over its time; none without a timeout.
    pub timeout_at: Option<DateTime<Utc>>,
    /// Its worker was asked to stop, and has not ended yet.
    pub stopping: bool,
}

/// How a limit stands, and who has its slots, at one version. `Display` says it as a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LimitExplanation {
    /// Its name; none for the limit of a deployment.
    pub name: Option<String>,
    /// The deployment whose own it is.
    pub deployment: Option<DeploymentId>,
    /// The slots there are.
    pub slots: u32,
    /// Whether it counts; an inactive one stops nobody.
    pub active: bool,
    /// The slots in use, with decay up to now.
    pub used: u64,
    /// The slots that a run needs of it that this was asked for; 1 when it was asked for by name.
    pub wanted: u32,
    /// Who holds slots, in the order of taking, [`EXPLAINED_HOLDERS`] of them at most. What was incremented without a lease, and what
    /// drains after its holder has gone, has no holder.
    pub holders: Vec<(SlotHolder, u32)>,
    /// How many holders there are.
    pub holders_total: usize,
    /// Waiting runs that stand at it, let in or not.
    pub waiting: usize,
    /// Of those, the ones that it does not let in.
    pub blocked: usize,
    /// Slots that drain away each second; 0 for a limit without decay.
    pub slot_decay_per_second: f64,
    /// How long until time alone has brought what is wanted; none when it does not, zero when it is there.
    #[serde(with = "crate::model::maybe_seconds")]
    pub retry_after: Option<Duration>,
}

impl Engine {
    /// Why a run is not running: not due, paused, limits and who holds them, its place in line; or who has it, or how it ended.
    ///
    /// Counts at most [`EXPLAINED_AHEAD`] runs of its queue and looks at each set of limits that waits there, under the lock.
    ///
    /// ```
    /// use tenfold::engine::{Stop, Why};
    /// use tenfold::limit::LimitSpec;
    /// use tenfold::{Engine, NewRun, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("train")?;
    /// engine.define_limit(LimitSpec::new("gpu", 1))?;
    /// let first = engine.submit(NewRun::of("train").slot("gpu"))?.id;
    /// let second = engine.submit(NewRun::of("train").slot("gpu"))?.id;
    ///
    /// assert_eq!(engine.explain(first)?.why, Why::Next);
    /// engine.claim(&Scope::all())?.unwrap();
    /// let why = engine.explain(second)?;
    /// assert!(why.to_string().contains("limit \"gpu\" has room for 0 and it needs 1"), "{why}");
    /// assert!(why.to_string().contains(&format!("held by run {first}")), "{why}");
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn explain(&self, run: RunId) -> Result<Explanation, Error> {
        self.call(|core| core.explain(run))
    }

    /// How a limit stands, who has its slots and how many wait for it. Linear in its holders, under the lock.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn explain_limit(&self, name: &str) -> Result<LimitExplanation, Error> {
        self.call(|core| {
            let limit = core.limit_key(name)?;
            Ok(core.explained_limit(Ask { limit, weight: 1 }))
        })
    }
}

impl Core {
    fn explain(&self, id: RunId) -> Result<Explanation, Error> {
        let row = self.find_run(id)?;
        let run = self.run(row);
        let state = run.state.is_some().then(|| run.state_name());
        let why = match self.work.get(row as usize) {
            Some(Work::Claimed(held)) => Why::Claimed(self.holding(row, held)),
            None | Some(Work::None) => match run.end.instant() {
                Some(at) if run.place == Place::Finished => Why::Finished {
                    at,
                    message: run.said.message(),
                },
                _ => Why::Record,
            },
            Some(_) if self.is_next(row) => Why::Next,
            Some(_) => Why::Waiting(self.waiting_for(row)),
        };
        Ok(Explanation {
            run: id,
            version: self.version,
            at: instant(self.wall),
            state,
            why,
        })
    }

    /// Whether a claim of its pool would get this run.
    fn is_next(&self, row: u32) -> bool {
        let pool = self.queue_pool(self.run(row).in_queue());
        let held = self.catalog.pools.get(pool).expect("a queue's pool exists");
        let (mut best, mut empty) = (None, Empty::Nothing);
        self.best_of(pool, &held.queues, None, &mut best, &mut empty);
        best.is_some_and(|(_, first)| first == row)
    }

    fn waiting_for(&self, row: u32) -> Waiting {
        let mut stops = self.timing_of(row);
        self.stops_of(row, &mut stops);
        self.order_stops(row, &mut stops);
        let now = self.mono_time();
        let demand = self.demand_of(row);
        let asks = demand.iter().flat_map(Demand::asks);
        // One that kept its slots needs none.
        let lacks = stops.iter().any(|stop| matches!(stop, Stop::Limit { .. }));
        let limits = asks
            .filter(|&&ask| lacks && !self.limits.book.fits(ask, now))
            .map(|&ask| self.explained_limit(ask))
            .collect();
        let (ahead, ahead_is_more) = self
            .ahead_of(row)
            .map_or((None, false), |(runs, more)| (Some(runs), more));
        let estimate = self.start_by_time(&stops, ahead);
        Waiting {
            stops,
            limits,
            ahead,
            ahead_is_more,
            estimate,
        }
    }

    /// How long until time alone has ended all that stops a run.
    fn start_by_time(&self, stops: &[Stop], ahead: Option<usize>) -> Option<Duration> {
        if ahead.is_some_and(|ahead| ahead > 0) {
            return None;
        }
        let waits = stops.iter().map(|stop| match stop {
            Stop::NotDue(at) | Stop::Retry { at, .. } => (*at - instant(self.wall)).to_std().ok(),
            Stop::Limit {
                weight,
                slots,
                retry_after,
                ..
            } if weight <= slots => *retry_after,
            _ => None,
        });
        waits.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// How many runs of its pool come before a run that stands in line, and whether more do than were counted.
    fn ahead_of(&self, row: u32) -> Option<(usize, bool)> {
        let _ = self.spot_of(row)?;
        let queue = self.run(row).queue?;
        let pool = self.catalog.queues.get(queue)?.pool;
        let queues = self.catalog.pools.get(pool)?.queues.iter();
        let before: usize = queues
            .take_while(|&&other| other != queue)
            .filter(|&&other| {
                self.catalog
                    .queues
                    .get(other)
                    .is_some_and(|held| !held.data.is_paused)
            })
            .map(|&other| self.ready.len_of(other))
            .sum();
        let own = self.ready.in_order(queue).take(EXPLAINED_AHEAD);
        let own = own.take_while(|&(_, other)| other != row).count();
        Some((before + own, own == EXPLAINED_AHEAD))
    }

    fn holding(&self, row: u32, held: &Held) -> Holding {
        let run = self.run(row);
        let claimed_at = || {
            let left = run.past.iter().filter(|left| left.kind == StateType::Pending);
            left.last().map(|left| left.at)
        };
        let since = match run.state {
            Some(StateType::Pending) => Some(run.state_at),
            _ => claimed_at(),
        };
        let lease = held.lease.as_ref().and_then(|lease| lease.timer);
        Holding {
            attempt: run.attempt,
            token: held.token,
            supervised: held.supervised,
            since: since.map(instant),
            started: run.state != Some(StateType::Pending),
            lease_until: lease.map(|timer| self.wall_of(timer)),
            timeout_at: held.timer.map(|timer| self.wall_of(timer)),
            stopping: held.timed_out || run.state == Some(StateType::Cancelling),
        }
    }

    /// When a monotonic timer fires, by the wall clock as it goes now.
    pub(crate) fn wall_of(&self, timer: TimerKey) -> DateTime<Utc> {
        let left = timer.at().saturating_sub(self.mono);
        instant(self.wall.saturating_add(left))
    }

    /// How the limit of an ask stands.
    fn explained_limit(&self, ask: Ask) -> LimitExplanation {
        let (book, now) = (&self.limits.book, self.mono_time());
        let status = book.status(ask.limit, now).expect("the caller found the limit");
        let mut holders = self.holders_of(ask.limit);
        let holders_total = holders.len();
        holders.truncate(EXPLAINED_HOLDERS);
        let (waiting, blocked) = self.ready.waiting_at(ask.limit);
        LimitExplanation {
            name: self.limit_name(ask.limit),
            deployment: self.owner_of(ask.limit),
            slots: status.limit,
            active: status.active,
            used: status.active_slots,
            wanted: ask.weight,
            holders,
            holders_total,
            waiting,
            blocked,
            slot_decay_per_second: status.slot_decay_per_second,
            retry_after: if book.fits(ask, now) {
                Some(Duration::ZERO)
            } else {
                book.wait_for(ask, now).filter(|_| ask.weight <= status.limit)
            },
        }
    }

    fn owner_of(&self, limit: LimitKey) -> Option<DeploymentId> {
        let row = *self.limits.owners.get(&limit)?;
        Some(self.catalog.deployments.get(row)?.data.id)
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} ", self.run)?;
        match &self.why {
            Why::Next => f.write_str("is next: a claim of its pool gets it"),
            Why::Waiting(waiting) => waiting.fmt(f),
            Why::Claimed(holding) => holding.fmt(f),
            Why::Finished { at, message } => {
                let state = self.state.as_deref().unwrap_or("ended");
                write!(f, "ended {state} at {}", at.to_rfc3339())?;
                message.iter().try_for_each(|message| write!(f, ": {message}"))
            }
            Why::Record => f.write_str("is a record that was loaded; the engine does not execute it"),
        }
    }
}

impl Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waits")?;
        let mut limits = self.limits.iter();
        for (at, stop) in self.stops.iter().enumerate() {
            write!(f, "{} {stop}", if at == 0 { ":" } else { "; and" })?;
            if let (Stop::Limit { .. }, Some(limit)) = (stop, limits.next()) {
                limit.write_holders(f)?;
            }
        }
        match self.ahead {
            Some(0) | None => {}
            Some(1) if !self.ahead_is_more => f.write_str("; 1 run is before it")?,
            Some(runs) => {
                let more = if self.ahead_is_more { "at least " } else { "" };
                write!(f, "; {more}{runs} runs are before it")?;
            }
        }
        match self.estimate {
            Some(wait) => write!(f, "; it can start in {} s", wait.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker = if self.supervised {
            "a worker of a runtime"
        } else {
            "a worker of the host"
        };
        let does = if self.started { "runs" } else { "is claimed" };
        write!(
            f,
            "{does}: {worker} has attempt {} with token {}",
            self.attempt, self.token
        )?;
        if let Some(since) = self.since {
            write!(f, ", since {}", since.to_rfc3339())?;
        }
        if let Some(until) = self.lease_until {
            write!(f, ", under a lease until {}", until.to_rfc3339())?;
        }
        if let Some(at) = self.timeout_at {
            write!(f, ", with time until {}", at.to_rfc3339())?;
        }
        if self.stopping {
            f.write_str("; it was asked to stop")?;
        }
        Ok(())
    }
}

impl LimitExplanation {
    fn write_holders(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (holder, slots)) in self.holders.iter().enumerate() {
            f.write_str(if at == 0 { ", held by " } else { ", " })?;
            match holder {
                SlotHolder::Run(run) => write!(f, "run {run}")?,
                SlotHolder::TaskRun(task) => write!(f, "task run {task}")?,
                SlotHolder::Lease(lease) => write!(f, "lease {}", lease.number())?,
            }
            if *slots > 1 {
                write!(f, " ({slots})")?;
            }
        }
        match self.holders_total - self.holders.len().min(self.holders_total) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Display for LimitExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.deployment) {
            (Some(name), _) => write!(f, "limit {name:?}")?,
            (None, Some(deployment)) => write!(f, "the limit of deployment {deployment}")?,
            (None, None) => f.write_str("a limit")?,
        }
        if !self.active {
            f.write_str(" is inactive and stops nobody")?;
        }
        write!(f, " has {} of {} slots in use", self.used, self.slots)?;
        self.write_holders(f)?;
        write!(
            f,
            "; {} runs wait at it, {} of them blocked",
            self.waiting, self.blocked
        )?;
        match self.retry_after {
            Some(wait) if !wait.is_zero() => {
                write!(
                    f,
                    "; {} will have drained in {} s",
                    self.wanted,
                    wait.as_secs_f64()
                )
            }
            _ => Ok(()),
        }
    }
}
