//! What a handler is given, and what it says when it fails.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::worker::Crew;
use crate::engine::{Claim, Engine, StopReason};
use crate::ids::{DeploymentId, RunId};
use crate::model::Object;
use crate::priority::Priority;

/// One attempt of one run, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) claim: Arc<Claim>,
    pub(super) crew: Arc<Crew>,
}

impl Context {
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

    /// The engine, to submit more work or to look around.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.crew.engine
    }

    /// Why the attempt should stop, once somebody has asked for it.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.claim.stop_reason()
    }

    /// Waits until the attempt is asked to stop. A handler that has something to put in order waits for it beside its
    /// work; one that has not is dropped at its next await after the grace period.
    pub async fn cancelled(&self) -> StopReason {
        super::worker::stop_of(&self.claim).await
    }
}

/// Why an attempt failed: a message, made from any error by `?`.
pub struct RunError(String);

impl RunError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(super) fn into_message(self) -> String {
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
