//! Why a run that waits does not start.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::core::{Core, Work};
use super::error::Error;
use super::kept::{Kept, Until};
use crate::catalog::instant;
use crate::ids::RunId;
use crate::limit::LimitKey;
use crate::model::Text;

/// One thing that keeps a run from starting now.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stop {
    /// It is not due before this instant. (It can be [claimed by id](Engine::claim_run) all the same.)
    NotDue(DateTime<Utc>),
    /// An attempt failed, and the next is due then, as the clocks go now. (It can be [claimed by id](Engine::claim_run) all the
    /// same.)
    Retry {
        /// When it stands in line again.
        at: DateTime<Utc>,
        /// The attempt that failed.
        failed: u32,
    },
    /// Its schedule holds it back until the run before it has ended.
    HeldBack,
    /// It was paused and has not been resumed.
    RunPaused,
    /// Its pool is paused.
    PoolPaused(Text),
    /// Its queue is paused.
    QueuePaused(Text),
    /// The engine has so many slots, and all are in use.
    EngineFull(u32),
    /// Its pool has so many slots, and all are in use.
    PoolFull(u32),
    /// Its queue has so many slots, and all are in use.
    QueueFull(u32),
    /// A limit has no room for it.
    Limit {
        /// The name of the limit; none for that of its deployment.
        name: Option<String>,
        /// The slots it needs.
        weight: u32,
        /// The slots that are free.
        room: u32,
        /// The slots there are. When they are fewer than it needs, it cannot start until the limit is raised.
        slots: u32,
        /// When time alone will have brought the slots; none when it does not.
        #[serde(with = "crate::model::maybe_seconds")]
        retry_after: Option<Duration>,
    },
    /// A run before it, which was overtaken as often as may be, has reserved a limit.
    Reserved {
        /// The name of the limit; none for that of its deployment.
        name: Option<String>,
        /// The run that has reserved it.
        by: RunId,
    },
    /// Its queue is in strict order, and this run comes first.
    Behind(RunId),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = |name: &Option<String>| match name {
            Some(name) => format!("limit {name:?}"),
            None => "the limit of its deployment".to_owned(),
        };
        match self {
            Self::NotDue(at) => write!(f, "it is not due before {}", at.to_rfc3339()),
            Self::Retry { at, failed } => write!(
                f,
                "its attempt {failed} failed, and it is tried again at {}",
                at.to_rfc3339()
            ),
            Self::HeldBack => f.write_str("its schedule holds it back until the run before it has ended"),
            Self::RunPaused => f.write_str("it is paused; resume it"),
            Self::PoolPaused(name) => write!(f, "pool {name:?} is paused; resume it"),
            Self::QueuePaused(name) => write!(f, "queue {name:?} is paused; resume it"),
            Self::EngineFull(slots) => write!(f, "all {slots} slots of the engine are in use"),
            Self::PoolFull(slots) => write!(f, "all {slots} slots of its pool are in use"),
            Self::QueueFull(slots) => write!(f, "all {slots} slots of its queue are in use"),
            Self::Limit {
                name, weight, slots, ..
            } if slots < weight => write!(
                f,
                "{} has {slots} slots and it needs {weight}; raise the limit, or call the run off",
                limit(name)
            ),
            Self::Limit {
                name,
                weight,
                room,
                retry_after,
                ..
            } => {
                write!(f, "{} has room for {room} and it needs {weight}", limit(name))?;
                match retry_after {
                    Some(wait) => write!(f, "; retry after {} s", wait.as_secs_f64()),
                    None => Ok(()),
                }
            }
            Self::Reserved { name, by } => write!(f, "{} is reserved by run {by}", limit(name)),
            Self::Behind(first) => write!(f, "its queue is in strict order, and run {first} is first"),
        }
    }
}

impl Engine {
    /// All that keeps a waiting run from starting now; nothing for one that only waits for its turn.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] for a run that does not wait.
    pub fn blocked_by(&self, run: RunId) -> Result<Vec<Stop>, Error> {
        self.call(|core| {
            let row = core.waiting_row(run)?;
            let mut stops = core.timing_of(row);
            core.stops_of(row, &mut stops);
            core.order_stops(row, &mut stops);
            Ok(stops)
        })
    }
}

impl Core {
    /// The row of a run that waits, due or not.
    pub(crate) fn waiting_row(&self, id: RunId) -> Result<u32, Error> {
        use crate::model::StateType;

        let row = self.find_run(id)?;
        let reason = match self.work.get(row as usize) {
            Some(
                Work::Later
                | Work::Retry(_)
                | Work::Kept(_)
                | Work::Line(_)
                | Work::Buffered
                | Work::Paused(_),
            ) => return Ok(row),
            Some(Work::Claimed(_)) => "a worker has it already",
            _ => "it has ended, or is only a record",
        };
        Err(Error::Transition {
            run: id,
            from: self.run(row).state.unwrap_or(StateType::Scheduled),
            to: StateType::Pending,
            reason,
        })
    }

    /// What of its own timing keeps this run from standing in line.
    pub(crate) fn timing_of(&self, row: u32) -> Vec<Stop> {
        match self.work[row as usize] {
            Work::Later => vec![Stop::NotDue(instant(self.run(row).due))],
            Work::Retry(timer)
            | Work::Kept(Kept {
                until: Until::Timer(timer),
                ..
            }) => vec![Stop::Retry {
                at: self.wall_of(timer),
                failed: self.run(row).attempt,
            }],
            Work::Buffered => vec![Stop::HeldBack],
            Work::Paused(_) => vec![Stop::RunPaused],
            _ => Vec::new(),
        }
    }

    /// What forbids any claim of this run.
    pub(crate) fn stops_of(&self, row: u32, stops: &mut Vec<Stop>) {
        let queue = self.run(row).in_queue();
        let held = self.catalog.queues.get(queue).expect("a queue with runs is kept");
        let pool = self.catalog.pools.get(held.pool).expect("a queue's pool exists");
        if pool.data.is_paused {
            stops.push(Stop::PoolPaused(pool.data.name.clone()));
        }
        if held.data.is_paused {
            stops.push(Stop::QueuePaused(held.data.name.clone()));
        }
        if let Some(Work::Kept(_)) = self.work.get(row as usize) {
            // What it needs it has.
            return;
        }
        let full = |limit: Option<u32>, held: u32| limit.filter(|&limit| limit <= held);
        stops.extend(full(self.settings.limit, self.held).map(Stop::EngineFull));
        let in_pool = self.pools[held.pool as usize].held;
        stops.extend(full(pool.data.concurrency_limit, in_pool).map(Stop::PoolFull));
        let in_queue = self.queues[queue as usize].held;
        stops.extend(full(held.data.concurrency_limit, in_queue).map(Stop::QueueFull));
        let now = self.mono_time();
        let book = &self.limits.book;
        let Some(demand) = self.demand_of(row) else { return };
        for ask in demand.asks().iter().filter(|&&ask| !book.fits(ask, now)) {
            stops.push(Stop::Limit {
                name: self.limit_name(ask.limit),
                weight: ask.weight,
                room: book.room(ask.limit, now),
                slots: book.slots(ask.limit),
                retry_after: book.wait_for(*ask, now),
            });
        }
    }

    /// What makes this run wait for others in line.
    pub(crate) fn order_stops(&self, row: u32, stops: &mut Vec<Stop>) {
        let Some(spot) = self.spot_of(row) else { return };
        let demand = self.demand_of(row);
        for ask in demand.iter().flat_map(crate::limit::Demand::asks) {
            if let Some(by) = self.ready.reserved_before(ask.limit, spot) {
                stops.push(Stop::Reserved {
                    name: self.limit_name(ask.limit),
                    by: self.run(by).id,
                });
            }
        }
        let queue = self.run(row).in_queue();
        if let Some(first) = self.ready.hidden_behind(queue, spot) {
            stops.push(Stop::Behind(self.run(first).id));
        }
    }

    pub(crate) fn limit_name(&self, limit: LimitKey) -> Option<String> {
        let book = &self.limits.book;
        (!book.is_internal(limit)).then(|| book.name(limit).map(ToString::to_string))?
    }
}
