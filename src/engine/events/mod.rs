//! Events: every change in order, with its version, for who asks.
//!
//! A call that changes something ends with a *commit*: what happened in it is put into the buffer of each stream that wants it, while
//! the engine's lock is still held, so that all streams see the same order. Nobody's code runs there: a stream is a bounded buffer with a bell.
//! While nobody follows, a change costs one look at a flag.
//!
//! Two kinds of events: a *state* for each state that a run enters, with the version of just that step; and *rows*, what a copy of
//! the engine needs: at the end of a commit, each entity that it changed, as it is then. [`Replica`] puts rows into a [`Document`], which then
//! is what [`Engine::export`] gives at that version.
//!
//! A stream that is not read fast enough misses events and says so, from which version to which.
//!
//! | file | owns |
//! |---|---|
//! | `mod` | what an event is; following |
//! | `stream` | the buffer of one follower, three ways to wait |
//! | `collect` | what a commit has changed |
//! | `replica` | rows into a document |

mod collect;
mod replica;
mod stream;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(crate) use self::collect::Feed;
use self::collect::{DeploymentRecord, Header, Limits, Placed, RunRecord};
pub use self::replica::Replica;
pub use self::stream::{Events, Missed};
use super::Engine;
use super::error::Error;
use super::hooks::{GivenUp, OutboxRow};
use super::read::run_of;
use crate::catalog::{FlowRow, PoolRow};
use crate::filter::Entity;
use crate::ids::{DeploymentId, RunId};
use crate::model::{Deployment, Flow, Run, StateType, TaskRun, Text, WorkPool, WorkQueue};

/// Most streams of one engine at a time.
pub const MAX_STREAMS: usize = 64;

/// Most events that one stream holds until they are read.
pub const MAX_STREAM_EVENTS: usize = 1_000_000;

/// What a stream is to hold.
///
/// ```
/// use tenfold::engine::Follow;
///
/// let of_one = Follow::states().capacity(64);
/// let for_a_copy = Follow::rows().capacity(100_000);
/// # let _ = (of_one, for_a_copy);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Follow {
    states: bool,
    rows: bool,
    run: Option<RunId>,
    capacity: usize,
}

impl Follow {
    const fn new(states: bool, rows: bool) -> Self {
        Self {
            states,
            rows,
            run: None,
            capacity: 10_000,
        }
    }

    /// The states that runs enter, records that are removed, and deliveries that are given up.
    pub const fn states() -> Self {
        Self::new(true, false)
    }

    /// What a copy of the engine needs: rows as they are at the end of each commit.
    pub const fn rows() -> Self {
        Self::new(false, true)
    }

    /// Both.
    pub const fn everything() -> Self {
        Self::new(true, true)
    }

    /// Of this run alone; nothing of other entities.
    pub const fn run(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// How many events are held until they are read: 1 to [`MAX_STREAM_EVENTS`], outside of which the nearest is taken. Default: 10,000.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events.clamp(1, MAX_STREAM_EVENTS);
        self
    }

    fn wants(&self, change: &Happened) -> bool {
        let (kind, run) = match change {
            Happened::State(state) => (self.states, Some(state.run)),
            Happened::Forgotten(run) => (self.states, Some(*run)),
            Happened::GivenUp(given_up) => (self.states, given_up.run),
            Happened::Row(Row(Kind::Run(record))) => (self.rows, Some(record.row.id)),
            Happened::Row(_) => (self.rows, None),
            Happened::Removed { entity, id } => {
                let run = (*entity == Entity::Run).then(|| RunId::from_uuid(*id));
                (self.rows, run)
            }
        };
        kind && self.run.is_none_or(|wanted| run == Some(wanted))
    }
}

/// One thing that has changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The version of the change; events of one stream come in the order of their versions.
    pub version: u64,
    /// Engine time of the call that made it.
    pub at: DateTime<Utc>,
    /// What has changed.
    pub what: Happened,
}

/// What has changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Happened {
    /// A run entered a state.
    State(StateChange),
    /// The record of a run was removed: by retention, or because somebody took it back or deleted it.
    Forgotten(RunId),
    /// A delivery to a completion hook failed for the last time.
    GivenUp(GivenUp),
    /// An entity as it is at the end of a commit.
    Row(Row),
    /// An entity is no more, at the end of a commit.
    Removed {
        /// Its kind.
        entity: Entity,
        /// Its id.
        id: Uuid,
    },
}

/// A run entered a state.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct StateChange {
    /// The run.
    pub run: RunId,
    /// The deployment that it was made from.
    pub deployment: Option<DeploymentId>,
    /// The state that it left; none when it was accepted.
    pub from: Option<StateType>,
    /// The state that it entered.
    pub state: StateType,
    /// The name of that.
    pub name: Text,
    /// What was said of it.
    pub message: Option<Text>,
    /// Attempts that were handed out, this one included.
    pub attempt: u32,
    /// The fencing token, where the state is that of a run that was just handed out.
    pub token: Option<u64>,
}

/// What a copy of the engine needs of one entity, or of the engine itself.
#[derive(Clone, Debug)]
pub struct Row(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Run(Arc<RunRecord>),
    Flow(Placed<Arc<FlowRow>>),
    Deployment(Placed<Arc<DeploymentRecord>>),
    Pool(Placed<Arc<PoolRow>>),
    Queue(Placed<Arc<WorkQueue>>),
    TaskRun(Arc<TaskRun>),
    Limits(Arc<Limits>),
    Hooks(Arc<OutboxRow>),
    /// The last of every commit.
    Commit(Arc<Header>),
}

impl Row {
    /// The kind of entity; none for the limits, for what waits to be delivered, and for the engine's own counters, which come at the end of each commit.
    #[must_use]
    pub fn entity(&self) -> Option<Entity> {
        match self.0 {
            Kind::Run(_) => Some(Entity::Run),
            Kind::Flow(_) => Some(Entity::Flow),
            Kind::Deployment(_) => Some(Entity::Deployment),
            Kind::Pool(_) => Some(Entity::Pool),
            Kind::Queue(_) => Some(Entity::Queue),
            Kind::TaskRun(_) => Some(Entity::TaskRun),
            Kind::Limits(_) | Kind::Hooks(_) | Kind::Commit(_) => None,
        }
    }

    /// The run. (One that waits is *ready* here: whether a limit stops it is no property of its row.)
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        match &self.0 {
            Kind::Run(record) => Some(run_of(&record.row)),
            _ => None,
        }
    }

    /// The flow.
    #[must_use]
    pub fn flow(&self) -> Option<&Flow> {
        match &self.0 {
            Kind::Flow(placed) => Some(&placed.of.data),
            _ => None,
        }
    }

    /// The deployment.
    #[must_use]
    pub fn deployment(&self) -> Option<&Deployment> {
        match &self.0 {
            Kind::Deployment(placed) => Some(&placed.of.row.data),
            _ => None,
        }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> Option<&WorkPool> {
        match &self.0 {
            Kind::Pool(placed) => Some(&placed.of.data),
            _ => None,
        }
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> Option<&WorkQueue> {
        match &self.0 {
            Kind::Queue(placed) => Some(&placed.of),
            _ => None,
        }
    }

    /// The task run.
    #[must_use]
    pub fn task_run(&self) -> Option<&TaskRun> {
        match &self.0 {
            Kind::TaskRun(task_run) => Some(task_run),
            _ => None,
        }
    }

    /// All named limits and those of deployments with the leases of slots: they come together, whichever has changed.
    #[must_use]
    pub fn limits(&self) -> Option<&crate::limit::BookState> {
        match &self.0 {
            Kind::Limits(limits) => Some(&limits.state),
            _ => None,
        }
    }

    /// Whether a commit ends with it: what came since the last such row has happened all at once.
    #[must_use]
    pub fn ends_commit(&self) -> bool {
        matches!(self.0, Kind::Commit(_))
    }

    /// The slots of the whole engine, told at the end of each commit: none inside is unlimited.
    #[must_use]
    pub fn engine_limit(&self) -> Option<Option<u32>> {
        match &self.0 {
            Kind::Commit(header) => Some(header.settings.limit),
            _ => None,
        }
    }
}

impl Engine {
    /// A stream of events from now on: it holds what [`Follow`] names, in the order of versions. Dropping it ends it.
    ///
    /// ```
    /// use tenfold::engine::{Follow, Happened};
    /// use tenfold::model::StateType;
    /// use tenfold::{Engine, Outcome, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let mut events = engine.events(Follow::states())?;
    /// let run = engine.submit("mail")?.id;
    /// let claim = engine.claim(&Scope::all())?.unwrap();
    /// engine.begin(&claim)?;
    /// engine.complete(&claim, Outcome::Cancelled)?;
    ///
    /// let mut states = Vec::new();
    /// while let Some(event) = events.try_next().expect("the stream holds more than four") {
    ///     if let Happened::State(change) = event.what {
    ///         assert_eq!(change.run, run);
    ///         states.push(change.state);
    ///     }
    /// }
    /// assert_eq!(states, [StateType::Scheduled, StateType::Pending, StateType::Running, StateType::Cancelled]);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when there are [`MAX_STREAMS`].
    pub fn events(&self, follow: Follow) -> Result<Events, Error> {
        let stream = Arc::new(stream::Stream::new(follow));
        self.call(|core| core.follow(stream.clone()))?;
        Ok(Events::new(self.clone(), stream))
    }

    fn unfollow(&self, stream: &Arc<stream::Stream>) {
        self.shared.core.lock().unfollow(stream);
    }
}

#[cfg(test)]
pub(in crate::engine) mod tests;
