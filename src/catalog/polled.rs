//! Who has been asked for work, and when; and what follows from that: `last_polled` and `status`.
//!
//! A claim writes one instant: for everything, or for each queue of its scope. A queue was last asked at the later of the two; a
//! deployment, when its queue was. None of this has a version: asking changes nothing.

use std::sync::Arc;

use super::{DeploymentRow, PoolRow, QueueRow, instant};
use crate::model::{Deployment, PoolStatus, WorkPool, WorkQueue};

/// How long after it was asked something counts as ready.
const READY_FOR: i64 = 60_000_000;

/// Instants in microseconds; `i64::MIN` is never.
#[derive(Clone, Debug)]
pub(crate) struct Polled {
    /// The instant at which this is looked at.
    pub(crate) now: i64,
    /// When everything was last asked.
    pub(crate) all: i64,
    /// When each queue was, by row.
    queues: Arc<Vec<i64>>,
}

impl Default for Polled {
    fn default() -> Self {
        Self {
            now: i64::MIN,
            all: i64::MIN,
            queues: Arc::default(),
        }
    }
}

impl Polled {
    pub(crate) fn poll_queue(&mut self, queue: u32, at: i64) {
        let queues = Arc::make_mut(&mut self.queues);
        if queues.len() <= queue as usize {
            queues.resize(queue as usize + 1, i64::MIN);
        }
        queues[queue as usize] = at;
    }

    /// The same, looked at from `now`.
    pub(crate) fn at(&self, now: i64) -> Self {
        Self { now, ..self.clone() }
    }

    /// When a queue was last asked; never before it was made.
    fn queue_at(&self, row: u32, queue: &QueueRow) -> i64 {
        let own = self.queues.get(row as usize).copied().unwrap_or(i64::MIN);
        if self.all < queue.data.created.timestamp_micros() {
            return own;
        }
        own.max(self.all)
    }

    fn is_recent(&self, at: i64) -> bool {
        at != i64::MIN && self.now.saturating_sub(at) <= READY_FOR
    }

    fn status(&self, paused: bool, at: i64) -> PoolStatus {
        match (paused, self.is_recent(at)) {
            (true, _) => PoolStatus::Paused,
            (false, true) => PoolStatus::Ready,
            (false, false) => PoolStatus::NotReady,
        }
    }

    pub(crate) fn of_queue(&self, row: u32, queue: &QueueRow) -> (Option<i64>, PoolStatus) {
        let at = self.queue_at(row, queue);
        (seen(at), self.status(queue.data.is_paused, at))
    }

    /// The status of a pool, some of whose queues these are.
    pub(crate) fn of_pool<'a>(
        &self,
        pool: &PoolRow,
        queue: impl Fn(u32) -> Option<&'a Arc<QueueRow>>,
    ) -> Option<PoolStatus> {
        if pool.data.kind == "prefect-agent" {
            return None;
        }
        let asked = pool
            .queues
            .iter()
            .filter_map(|&row| Some(self.queue_at(row, queue(row)?)));
        Some(self.status(pool.data.is_paused, asked.max().unwrap_or(i64::MIN)))
    }

    pub(crate) fn of_deployment(
        &self,
        held: &DeploymentRow,
        queue: Option<&QueueRow>,
    ) -> (Option<i64>, PoolStatus) {
        let own = held.data.last_polled.map_or(i64::MIN, |at| at.timestamp_micros());
        let at = match (held.queue, queue) {
            (Some(row), Some(queue)) => own.max(self.queue_at(row, queue)),
            _ => own,
        };
        (seen(at), self.status(false, at))
    }

    /// The public form of a queue.
    pub(crate) fn queue(&self, row: u32, held: &QueueRow) -> WorkQueue {
        let (at, status) = self.of_queue(row, held);
        WorkQueue {
            last_polled: at.map(instant),
            status: Some(status),
            ..held.data.clone()
        }
    }

    /// The public form of a pool.
    pub(crate) fn pool<'a>(
        &self,
        held: &PoolRow,
        queue: impl Fn(u32) -> Option<&'a Arc<QueueRow>>,
    ) -> WorkPool {
        WorkPool {
            status: self.of_pool(held, queue),
            ..held.data.clone()
        }
    }

    /// The public form of a deployment.
    pub(crate) fn deployment(&self, held: &DeploymentRow, queue: Option<&QueueRow>) -> Deployment {
        let (at, status) = self.of_deployment(held, queue);
        Deployment {
            last_polled: at.map(instant),
            status,
            ..held.data.clone()
        }
    }
}

fn seen(at: i64) -> Option<i64> {
    (at != i64::MIN).then_some(at)
}
