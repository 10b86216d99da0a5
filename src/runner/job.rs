//! One attempt of one run, as its handler sees it, on a thread or in a task.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::{Bell, Claim, Engine, Error, Stop, StopReason};
use crate::ids::{DeploymentId, RunId, TaskRunId};
use crate::model::{NewTaskRun, Object, StateType};
use crate::priority::Priority;

/// One attempt of one run, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) claim: Arc<Claim>,
    pub(crate) engine: Engine,
}

impl Job {
    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.claim.run()
    }

    /// What people call the run.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim.name()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.claim.attempt()
    }

    /// The flow.
    #[must_use]
    pub fn flow(&self) -> &str {
        self.claim.flow()
    }

    /// The deployment that the run was made from.
    #[must_use]
    pub fn deployment(&self) -> Option<DeploymentId> {
        self.claim.deployment()
    }

    /// The run's level.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.claim.priority()
    }

    /// Longest time of the attempt, from its start.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.claim.timeout()
    }

    /// All parameters.
    #[must_use]
    pub fn parameters(&self) -> &Object {
        self.claim.parameters()
    }

    /// One parameter, as a value of the wanted type; a missing one reads as null.
    ///
    /// # Errors
    ///
    /// When the parameter does not have that type. With `?` it fails the attempt.
    pub fn parameter<T: DeserializeOwned>(&self, key: &str) -> Result<T, RunError> {
        let value = self.parameters().get(key).cloned().unwrap_or_default();
        serde_json::from_value(value)
            .map_err(|problem| RunError::new(format!("parameter {key:?}: {problem}")))
    }

    /// All parameters, as a value of the wanted type.
    ///
    /// # Errors
    ///
    /// When the parameters do not have that shape.
    pub fn parameters_as<T: DeserializeOwned>(&self) -> Result<T, RunError> {
        serde_json::from_value(self.parameters().clone().into())
            .map_err(|problem| RunError::new(format!("parameters: {problem}")))
    }

    /// The value that the run carries.
    ///
    /// # Errors
    ///
    /// When it carries none, or one of another type. With `?` it fails the attempt.
    pub fn payload<T: Any + Send + Sync>(&self) -> Result<Arc<T>, RunError> {
        self.claim.payload().ok_or_else(|| {
            let wanted = std::any::type_name::<T>();
            RunError::new(format!(
                "the run carries no {wanted}; payloads do not move with an exported document, attach it again"
            ))
        })
    }

    /// The engine, to submit more work or to look around.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Why the attempt should stop, once somebody has asked for it.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.claim.stop_reason()
    }

    /// Shows that the handler is alive, which begins its lease anew if the runtime gave it one. Answers why it should stop, if
    /// somebody asked for that.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`] when the lease has lapsed or somebody took the attempt away: the work is another's by now.
    pub fn heartbeat(&self) -> Result<Option<StopReason>, Error> {
        let reason = self.engine.heartbeat(&self.claim)?;
        Ok(reason.or(self.stop_reason()))
    }

    /// Begins a step: a task run, with the slots of its tags' limits, or the first of them that has none. See
    /// [`Engine::begin_task`](crate::Engine::begin_task). Dropped without an end, the step is CRASHED.
    ///
    /// # Errors
    ///
    /// As [`Engine::begin_task`](crate::Engine::begin_task).
    pub fn begin_task(&self, task: impl Into<NewTaskRun>) -> Result<Result<Step, Stop>, Error> {
        let begun = self.engine.begin_task(&self.claim, task)?;
        Ok(begun.map(|id| Step {
            job: self.clone(),
            id: Some(id),
        }))
    }

    /// Waits on this thread, at most so long in real time, and answers at once when the attempt is asked to stop. For handlers on
    /// threads; a task awaits instead.
    #[expect(
        clippy::must_use_candidate,
        reason = "a sleep that is cut short is often all that is wanted"
    )]
    pub fn stopped_within(&self, span: Duration) -> Option<StopReason> {
        let ringer = Arc::new(Ringer(Bell::default()));
        let waker = Waker::from(ringer.clone());
        let mut context = TaskContext::from_waker(&waker);
        if self.claim.signal.poll(&mut context).is_pending() {
            ringer.0.wait(span);
        }
        self.stop_reason()
    }
}

/// A step that runs, as the handler's guard: it ends with [`end`](Self::end), or CRASHED when it is dropped.
#[derive(Debug)]
#[must_use = "a step that is dropped is CRASHED"]
pub struct Step {
    job: Job,
    /// None once it has ended.
    id: Option<TaskRunId>,
}

impl Step {
    /// The task run.
    ///
    /// # Panics
    ///
    /// Never: only its end takes the id.
    #[must_use]
    pub fn id(&self) -> TaskRunId {
        self.id.expect("a step that is there has not ended")
    }

    /// Ends it in this state: COMPLETED, FAILED, CRASHED or CANCELLED.
    ///
    /// # Errors
    ///
    /// As [`Engine::end_task`](crate::Engine::end_task).
    pub fn end(mut self, state: StateType) -> Result<(), Error> {
        let id = self.id();
        self.job.engine.end_task(&self.job.claim, id, state)?;
        self.id = None;
        Ok(())
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // When the attempt has ended, so has the step.
            let _ = (self.job.engine).end_task(&self.job.claim, id, StateType::Crashed);
        }
    }
}

/// A bell that a request to stop rings.
struct Ringer(Bell);

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }
}

/// Why an attempt failed: a message, made from any error by `?`.
pub struct RunError(String);

impl RunError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn into_message(self) -> String {
        self.0
    }
}

// Not an `Error` itself: then every error converts by `?`.
impl<E: std::error::Error> From<E> for RunError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            message = format!("{message}: {deeper}");
            cause = deeper.source();
        }
        Self(message)
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a handler returned, as the run's result.
pub(crate) fn as_result<T: Serialize>(answer: Result<T, RunError>) -> Result<Value, RunError> {
    serde_json::to_value(answer?)
        .map_err(|problem| RunError::new(format!("the result is no JSON: {problem}")))
}
