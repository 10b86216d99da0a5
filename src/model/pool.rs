//! Work pools and work queues: where workers take runs from.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Text;
use crate::ids::{PoolId, QueueId};

/// What a pool or queue says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum PoolStatus {
    /// Somebody takes work from it.
    Ready,
    /// Nobody has taken work from it yet.
    NotReady,
    /// Its runs wait until it is resumed.
    Paused,
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
}

impl QueueOrder {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A work pool to make.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct NewPool {
    pub(crate) name: Text,
    pub(crate) limit: Option<u32>,
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

/// A work queue to make.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct NewQueue {
    pub(crate) pool: Text,
    pub(crate) name: Text,
    pub(crate) priority: Option<NonZeroU32>,
    pub(crate) limit: Option<u32>,
    pub(crate) paused: bool,
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

    /// Its number among the queues of the pool; 1 is served first. A queue that has the number already moves down
    /// by the least. Default: the lowest free number.
    pub fn priority(mut self, priority: NonZeroU32) -> Self {
        self.priority = Some(priority);
        self
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
