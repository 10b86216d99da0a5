//! What a handler is given.

use std::ops::Deref;

use crate::engine::StopReason;
use crate::runner::Job;

/// One attempt of one run, as its handler sees it: a [`Job`] whose end can be awaited.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) job: Job,
}

impl Context {
    /// Waits until the attempt is asked to stop. A handler that has something to put in order waits for it beside its
    /// work; one that has not is dropped at its next await after the grace period.
    pub async fn cancelled(&self) -> StopReason {
        super::worker::stop_of(&self.job.claim).await
    }
}

impl Deref for Context {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}
