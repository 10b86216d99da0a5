//! What the engine refuses, and why.

use chrono::{DateTime, Utc};

use crate::ids::RunId;
use crate::model::{InvalidValue, StateType};

/// A call that the engine refused. Unless it says otherwise, the engine is as it was before the call.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing of that kind has this name or id.
    #[error("there is no {kind} {name}; {hint}")]
    NotFound {
        /// `flow`, `deployment`, `run`, ...
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The way out.
        hint: &'static str,
    },
    /// The name is taken.
    #[error("there is already a {kind} {name}; choose another name or update that one")]
    Duplicate {
        /// `deployment`, `work pool`, ...
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A field holds what its rule does not allow.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// A priority is not a level.
    #[error(transparent)]
    Priority(#[from] crate::priority::PriorityOutOfRange),
    /// As many runs wait as may. Later there will be room.
    #[error(
        "{waiting} of at most {capacity} {what} are there and {asked} more do not fit; retry when some have been taken, or raise the capacity"
    )]
    Full {
        /// Which capacity: `waiting runs`, `scheduled runs`, ...
        what: &'static str,
        /// How many there are.
        waiting: usize,
        /// How many there may be.
        capacity: usize,
        /// How many were to be added.
        asked: usize,
    },
    /// A batch must hold 1 to 500 runs.
    #[error("a batch of {size} runs is not allowed; give 1 to {most}")]
    BatchSize {
        /// How many were given.
        size: usize,
        /// How many may be given.
        most: usize,
    },
    /// A bulk change matches more rows than it may change.
    #[error(
        "{matched} rows match and at most {most} may be changed at once; narrow the filter or raise the bound"
    )]
    BulkSize {
        /// How many rows match.
        matched: usize,
        /// How many may be changed.
        most: usize,
    },
    /// What is named is there, and cannot be treated so.
    #[error("{kind} {name} cannot be {what}: {reason}")]
    Refused {
        /// `run`, `work queue`, ...
        kind: &'static str,
        /// Its name or id.
        name: String,
        /// `deleted`, ...
        what: &'static str,
        /// Why not, and the way out.
        reason: &'static str,
    },
    /// The idempotency key was used for other content.
    #[error(
        "the idempotency key {key:?} belongs to run {run}, which was submitted with other content; use a new key"
    )]
    KeyConflict {
        /// The key.
        key: String,
        /// The run that has it.
        run: RunId,
    },
    /// The state graph has no such step.
    #[error("run {run} is {from} and cannot become {to}: {reason}")]
    Transition {
        /// The run.
        run: RunId,
        /// Its state.
        from: StateType,
        /// What was asked for.
        to: StateType,
        /// Why not.
        reason: &'static str,
    },
    /// The claim is not the current one of its run: the attempt has ended, or another has begun.
    #[error("claim {token} of run {run} is stale: {reason}")]
    StaleClaim {
        /// The run.
        run: RunId,
        /// The fencing token given.
        token: u64,
        /// What happened to the attempt.
        reason: &'static str,
    },
    /// The attempt to deliver is not the current one, or has ended.
    #[error("attempt {attempt} of delivery {number} of hook {hook:?} is stale: {reason}")]
    StaleDelivery {
        /// The hook.
        hook: String,
        /// The delivery.
        number: u64,
        /// The attempt that was reported.
        attempt: u32,
        /// What became of it.
        reason: &'static str,
    },
    /// The engine takes no new work.
    #[error("the engine is stopped and takes no new runs; build a new one, or import its export")]
    Stopped,
    /// A broken invariant was found earlier; nothing of the engine can be trusted.
    #[error(
        "the engine is poisoned: a broken invariant was found earlier; build a new one from the last good export"
    )]
    Poisoned,
    /// A limit was not made or changed.
    #[error(transparent)]
    Limit(#[from] crate::limit::SpecError),
    /// What is asked of limits could never be granted.
    #[error(transparent)]
    LimitRequest(#[from] crate::limit::RequestError),
    /// Slots were not taken by name.
    #[error(transparent)]
    Increment(crate::limit::IncrementError),
    /// A lease of slots was not renewed.
    #[error(transparent)]
    Lease(#[from] crate::limit::LeaseError),
    /// A schedule cannot be used.
    #[error("schedule {index}: {problem}")]
    Schedule {
        /// Which of the schedules given, from 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A schedule was refused when it was made.
    #[error("{0}")]
    BadSchedule(String),
    /// A filter or query was refused.
    #[error("{0}")]
    Query(String),
    /// A document cannot be read.
    #[error("the document cannot be used: {path}: {problem}")]
    Document {
        /// Where, as a JSON path.
        path: String,
        /// What is wrong there.
        problem: String,
    },
    /// A setting does not fit.
    #[error("the setting {setting} cannot be {value}: {rule}")]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        rule: &'static str,
    },
}

macro_rules! from {
    ($($kind:ty => $variant:ident)*) => {$(
        impl From<$kind> for Error {
            fn from(refused: $kind) -> Self {
                Self::$variant(refused.to_string())
            }
        }
    )*};
}

from! {
    crate::filter::TextError => Query
    crate::filter::Refusal => Query
    crate::filter::QueryError => Query
    crate::filter::Invalid => Query
    crate::schedule::ScheduleError => BadSchedule
}

impl std::error::Error for Empty {}

/// Why a claim got nothing, at the version at which it looked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Empty {
    /// No run of the scope waits, now or later.
    Nothing,
    /// None is due before this instant.
    NotDue(DateTime<Utc>),
    /// Some are due, but their queue or pool is paused.
    Paused,
    /// Some are due, but the engine, their pool or their queue has no free slot.
    Full,
    /// Some are due, but named limits and those of deployments let none of them in.
    Blocked,
}

impl std::fmt::Display for Empty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing waits"),
            Self::NotDue(instant) => write!(f, "nothing is due before {}", instant.to_rfc3339()),
            Self::Paused => f.write_str("what is due waits in a paused queue or pool"),
            Self::Full => f.write_str("what is due waits for a slot of the engine, its pool or its queue"),
            Self::Blocked => f.write_str("what is due waits for a concurrency limit"),
        }
    }
}
