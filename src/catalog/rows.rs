//! What a table holds for each kind of entity.
//!
//! A run's row is small and changes often, so what never changes after acceptance sits in a [`RunBody`] beside it. The other kinds change seldom and are shared whole.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::ids::{DeploymentId, FlowId, QueueId, RunId, TaskRunId};

use crate::limit::{Ask, LimitKey, Request};
use crate::model::{
    CreatedBy, Deployment, Flow, Object, Place, Retry, StateType, TaskRun, Text, WorkPool, WorkQueue,
};
use crate::priority::Priority;

/// An instant in microseconds since 1970, or none, in eight bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct When(i64);

impl When {
    pub(crate) const NEVER: Self = Self(i64::MIN);

    pub(crate) const fn at(micros: i64) -> Self {
        Self(micros)
    }

    pub(crate) const fn of(micros: Option<i64>) -> Self {
        match micros {
            Some(micros) => Self(micros),
            None => Self::NEVER,
        }
    }

    pub(crate) fn micros(self) -> Option<i64> {
        (self != Self::NEVER).then_some(self.0)
    }

    pub(crate) fn instant(self) -> Option<DateTime<Utc>> {
        self.micros().map(instant)
    }
}

impl From<Option<DateTime<Utc>>> for When {
    fn from(instant: Option<DateTime<Utc>>) -> Self {
        instant.map_or(Self::NEVER, |instant| Self(instant.timestamp_micros()))
    }
}

/// The civil instant of a count of microseconds; the ends of the calendar stand in for what is beyond them.
pub(crate) fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// The part of a run that is fixed at acceptance.
///
/// The runs of one deployment that say nothing of their own share one. One that does has a body of its own, and mostly shares what
/// they have in common all the same.
#[derive(Clone, Debug)]
pub(crate) struct RunBody {
    pub(crate) common: Arc<RunCommon>,
    pub(crate) parameters: Arc<Object>,
    pub(crate) tags: Arc<[Arc<str>]>,
    pub(crate) labels: Arc<Object>,
    pub(crate) key: Option<Text>,
    /// Tells its content from another under the same key. Zero without a key.
    pub(crate) fingerprint: u64,
    /// When it ends if nobody has claimed it.
    pub(crate) expires: When,
    /// None for a run that names no limit.
    pub(crate) limits: Option<Arc<RunLimits>>,
    /// None for a run that was given neither.
    pub(crate) own: Option<Arc<RunOwn>>,
}

impl RunBody {
    /// For who changes something that is seldom a run's own.
    pub(crate) fn common_mut(&mut self) -> &mut RunCommon {
        Arc::make_mut(&mut self.common)
    }
}

impl Deref for RunBody {
    type Target = RunCommon;

    fn deref(&self) -> &RunCommon {
        &self.common
    }
}

/// What a run seldom has for itself.
#[derive(Clone, Debug)]
pub(crate) struct RunCommon {
    pub(crate) flow: u32,
    pub(crate) flow_id: FlowId,
    /// Outlives the deployment, which may be gone.
    pub(crate) deployment_id: Option<DeploymentId>,
    pub(crate) queue_id: Option<QueueId>,
    /// The stored name, which the filters read.
    pub(crate) queue_name: Option<Text>,
    pub(crate) retry: Retry,
    pub(crate) timeout: Option<Duration>,
    pub(crate) auto_scheduled: bool,
    pub(crate) created_by: Option<CreatedBy>,
    pub(crate) parent: Option<TaskRunId>,
    pub(crate) deployment_version: Option<Text>,
    pub(crate) flow_version: Option<Text>,
}

/// What the engine keeps for a run and never looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunOwn {
    pub(crate) context: Object,
    pub(crate) job_variables: Object,
}

impl RunOwn {
    pub(crate) fn of(context: Object, job_variables: Object) -> Option<Arc<Self>> {
        let empty = context.is_empty() && job_variables.is_empty();
        (!empty).then(|| {
            Arc::new(Self {
                context,
                job_variables,
            })
        })
    }
}

/// The limits that a run names, and what the names meant when it was accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLimits {
    pub(crate) request: Request,
    /// As many as the request names, once they have been looked up; none for a name that stood for nothing.
    pub(crate) keys: Vec<Option<LimitKey>>,
}

impl RunLimits {
    /// What is asked of limits that were there.
    pub(crate) fn asks(&self) -> impl Iterator<Item = Ask> {
        let keys = self.keys.iter().zip(self.request.iter());
        keys.filter_map(|(key, (_, weight))| {
            Some(Ask {
                limit: (*key)?,
                weight,
            })
        })
    }
}

/// A run, as far as readers are concerned. What the engine needs to move it on is kept beside the table.
#[derive(Clone, Debug)]
pub(crate) struct RunRow {
    pub(crate) id: RunId,
    pub(crate) name: Text,
    pub(crate) body: Arc<RunBody>,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) queue: Option<u32>,
    pub(crate) deployment: Option<u32>,
    pub(crate) priority: Priority,
    /// Never `Blocked`: whether a limit lets a waiting run in is not a property of the run.
    pub(crate) place: Place,
    /// Place in line: due instant and sequence of acceptance.
    pub(crate) due: i64,
    pub(crate) seq: u64,
    pub(crate) state: Option<StateType>,
    pub(crate) state_at: i64,
    /// The name of the state, and what was said of it.
    pub(crate) said: super::Said,
    /// The states before this one.
    pub(crate) past: super::Past,
    pub(crate) run_count: u32,
    pub(crate) attempt: u32,
    pub(crate) expected_start: When,
    pub(crate) next_start: When,
    pub(crate) start: When,
    pub(crate) end: When,
    pub(crate) total_run: i64,
    pub(crate) result: Option<Arc<Value>>,
}

impl RunRow {
    /// The name of its state; empty for a record without one.
    pub(crate) fn state_name(&self) -> Text {
        self.said.name(self.state)
    }

    /// Whether its state has this name, which is not that of any kind.
    #[inline]
    pub(crate) fn is_called(&self, name: &Text) -> bool {
        !self.said.is_plain() && self.said.name_str(self.state) == name.as_str()
    }

    /// The queue of a run that is the engine's own. Only records have none.
    #[inline]
    pub(crate) fn in_queue(&self) -> u32 {
        self.queue.expect("every run of the engine has a queue")
    }
}

/// A deployment and where it hangs.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentRow {
    pub(crate) data: Deployment,
    pub(crate) flow: u32,
    pub(crate) queue: Option<u32>,
    pub(crate) tags: Arc<[Arc<str>]>,
}

#[derive(Clone, Debug)]
pub(crate) struct FlowRow {
    pub(crate) data: Flow,
    pub(crate) tags: Arc<[Arc<str>]>,
}

#[derive(Clone, Debug)]
pub(crate) struct PoolRow {
    pub(crate) data: WorkPool,
    /// Rows of its queues, by priority.
    pub(crate) queues: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueRow {
    pub(crate) data: WorkQueue,
    pub(crate) pool: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct TaskRunRow {
    pub(crate) data: TaskRun,
    pub(crate) tags: Arc<[Arc<str>]>,
    /// The row of its run.
    pub(crate) run: Option<u32>,
}

pub(crate) fn shared_tags(tags: &[Text]) -> Arc<[Arc<str>]> {
    tags.iter().map(|tag| Arc::from(tag.as_str())).collect()
}
