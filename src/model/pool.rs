//! Work pools and work queues: where workers take runs from.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Object, Text, given};
use crate::ids::{DeploymentId, PoolId, QueueId};

/// What a pool or queue says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum PoolStatus {
    /// Somebody has asked it for work within the last minute.
    Ready,
    /// Nobody has.
    NotReady,
    /// Its runs wait until it is resumed.
    Paused,
}

/// The word of filters.
impl From<PoolStatus> for crate::filter::Status {
    #[inline]
    fn from(status: PoolStatus) -> Self {
        match status {
            PoolStatus::Ready => Self::Ready,
            PoolStatus::NotReady => Self::NotReady,
            PoolStatus::Paused => Self::Paused,
        }
    }
}

impl PoolStatus {
    pub(crate) fn not_ready() -> Self {
        Self::NotReady
    }
}

/// A group of work queues with a limit of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkPool {
    /// Names the pool.
    pub id: PoolId,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// Unique name.
    pub name: Text,
    /// Free text.
    #[serde(default)]
    pub description: Option<Text>,
    /// The reference's kind of worker; free text here.
    #[serde(rename = "type", default)]
    pub kind: Text,
    /// While true, nothing is claimed from it.
    #[serde(default)]
    pub is_paused: bool,
    /// Most runs of this pool that are claimed at once; none is unlimited, 0 closes it.
    #[serde(default)]
    pub concurrency_limit: Option<u32>,
    /// How its workers set up a run; not looked at by the engine.
    #[serde(default)]
    pub base_job_template: Object,
    /// Its queue `default`.
    #[serde(default)]
    pub default_queue_id: Option<QueueId>,
    /// PAUSED, or READY for a minute after one of its queues was last asked; none for the reference's agents.
    #[serde(default)]
    pub status: Option<PoolStatus>,
}

/// What happens in a queue when its first run cannot start because of a limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum QueueOrder {
    /// The first that can start does: a blocked run delays nobody.
    #[default]
    BestEffort,
    /// The first holds up the rest: runs of the queue start in order of level and place, and in no other.
    StrictFifo,
}

/// A line of waiting runs inside a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkQueue {
    /// Names the queue.
    pub id: QueueId,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// Unique inside its pool.
    pub name: Text,
    /// Free text.
    #[serde(default)]
    pub description: Option<Text>,
    /// The pool it belongs to.
    pub work_pool_id: PoolId,
    /// Its importance among the queues of its pool: 1 is served first. Unique inside the pool.
    pub priority: NonZeroU32,
    /// While true, nothing is claimed from it and its runs count as blocked.
    #[serde(default)]
    pub is_paused: bool,
    /// Most runs of this queue that are claimed at once; none is unlimited, 0 closes it.
    #[serde(default)]
    pub concurrency_limit: Option<u32>,
    /// What happens when its first run cannot start.
    #[serde(default, skip_serializing_if = "QueueOrder::is_default")]
    pub order: QueueOrder,
    /// Which deployments it is meant for; see [`Engine::work_queue_check`](crate::Engine::work_queue_check).
    #[serde(default)]
    pub filter: Option<QueueFilter>,
    /// When a worker last asked it for runs.
    #[serde(default)]
    pub last_polled: Option<DateTime<Utc>>,
    /// PAUSED, or READY for a minute after it was last asked.
    #[serde(default)]
    pub status: Option<PoolStatus>,
}

/// The reference's way to say which deployments a queue is meant for. It routes nothing: a deployment names its queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueFilter {
    /// Those that have all these tags.
    #[serde(default)]
    pub tags: Option<Vec<Text>>,
    /// Those of these ids; none and an empty list are all.
    #[serde(default)]
    pub deployment_ids: Option<Vec<DeploymentId>>,
}

/// What to change of a work pool; what is not named stays. In JSON a null clears what can be cleared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct PoolPatch {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Option<Text>>,
    #[serde(
        default,
        rename = "base_job_template",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) template: Option<Object>,
    #[serde(default, rename = "is_paused", skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<bool>,
    #[serde(
        default,
        rename = "concurrency_limit",
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) limit: Option<Option<u32>>,
}

impl PoolPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    patches! {
        /// Sets or clears the description.
        description(text: Option<Text>) => description;

        /// Replaces how its workers set up a run.
        base_job_template(template: Object) => template;

        /// Pauses or resumes it.
        paused(paused: bool) => paused;

        /// Sets or removes its limit.
        concurrency_limit(limit: Option<u32>) => limit;
    }
}

/// What to change of a work queue; what is not named stays. In JSON a null clears what can be cleared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct QueuePatch {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Option<Text>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<NonZeroU32>,
    #[serde(default, rename = "is_paused", skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<bool>,
    #[serde(
        default,
        rename = "concurrency_limit",
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) limit: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<Option<QueueFilter>>,
}

impl QueuePatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    patches! {
        /// Sets or clears the description.
        description(text: Option<Text>) => description;

        /// Its number among the queues of the pool; one that has the number already moves down by the least, and so on.
        priority(priority: NonZeroU32) => priority;

        /// Pauses or resumes it.
        paused(paused: bool) => paused;

        /// Sets or removes its limit.
        concurrency_limit(limit: Option<u32>) => limit;

        /// Sets or clears which deployments it is meant for.
        filter(filter: Option<QueueFilter>) => filter;
    }
}

/// A work pool to make. In JSON it has the names of [`WorkPool`].
///
/// ```
/// use tenfold::NewPool;
///
/// let stored = serde_json::to_value(NewPool::named("gpu").kind("process").concurrency_limit(8))?;
/// assert_eq!((&stored["type"], &stored["concurrency_limit"]), (&"process".into(), &8.into()));
/// let read: NewPool = serde_json::from_value(stored)?;
/// assert_eq!(read, NewPool::named("gpu").kind("process").concurrency_limit(8));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct NewPool {
    pub(crate) name: Text,
    #[serde(default)]
    pub(crate) description: Option<Text>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<Text>,
    #[serde(default, rename = "base_job_template")]
    pub(crate) template: Object,
    #[serde(default, rename = "concurrency_limit")]
    pub(crate) limit: Option<u32>,
    #[serde(default, rename = "is_paused")]
    pub(crate) paused: bool,
}

impl NewPool {
    /// A pool of that name, unlimited and not paused. It is made with a queue named `default`.
    pub fn named(name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Free text for people.
    pub fn description(mut self, text: impl Into<Text>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// The kind of its workers, free text. Default: `tenfold`.
    pub fn kind(mut self, kind: impl Into<Text>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// How its workers set up a run; not looked at by the engine.
    pub fn base_job_template(mut self, template: Object) -> Self {
        self.template = template;
        self
    }

    /// Most runs of the pool that are claimed at once. Default: unlimited.
    pub fn concurrency_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Makes it paused.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }
}

/// A work queue to make. In JSON it has the names of [`WorkQueue`], and `work_pool_name` for its pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct NewQueue {
    #[serde(rename = "work_pool_name")]
    pub(crate) pool: Text,
    pub(crate) name: Text,
    #[serde(default)]
    pub(crate) description: Option<Text>,
    #[serde(default)]
    pub(crate) filter: Option<QueueFilter>,
    #[serde(default)]
    pub(crate) priority: Option<NonZeroU32>,
    #[serde(default, rename = "concurrency_limit")]
    pub(crate) limit: Option<u32>,
    #[serde(default, rename = "is_paused")]
    pub(crate) paused: bool,
    #[serde(default, skip_serializing_if = "QueueOrder::is_default")]
    pub(crate) order: QueueOrder,
}

impl NewQueue {
    /// A queue `name` in the pool `pool`, unlimited and not paused.
    pub fn named(pool: impl Into<Text>, name: impl Into<Text>) -> Self {
        Self {
            pool: pool.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// Free text for people.
    pub fn description(mut self, text: impl Into<Text>) -> Self {
        self.description = Some(text.into());
        self
    }

    patches! {
        /// Which deployments it is meant for.
        filter(filter: QueueFilter) => filter;

        /// Its number among the queues of the pool; 1 is served first. A queue that has the number already moves down
        /// by the least. Default: the lowest free number.
        priority(priority: NonZeroU32) => priority;
    }

    /// What happens when its first run cannot start. Default: [`QueueOrder::BestEffort`].
    pub fn order(mut self, order: QueueOrder) -> Self {
        self.order = order;
        self
    }

    /// Most runs of the queue that are claimed at once. Default: unlimited.
    pub fn concurrency_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Makes it paused.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }
}

impl QueueOrder {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
