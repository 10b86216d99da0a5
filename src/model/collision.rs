//! What becomes of a run that the limit of its deployment refuses.

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// What becomes of a new run when the limit of its deployment has no room for it.
///
/// It is decided once for each run: when it becomes due, if the limit is full then; else by the claim that takes the limit's
/// last slot. A run that has started before (a retry, one that is resumed) is not new: it waits, whatever the strategy.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Collision {
    /// It waits.
    #[default]
    Enqueue,
    /// It ends CANCELLED.
    CancelNew,
    /// The run of the deployment that has been claimed for longest is called off. It goes CANCELLING and keeps its slot to its
    /// end; the new run takes its place in line. What a claim has just handed out is not called off by what waited beside it, and
    /// where all are being called off already the new one waits.
    CancelRunning,
    /// The new runs of the deployment that wait for the limit end CANCELLED "Replaced", and it waits in their stead. The newest by its place
    /// in line stays: a run that its schedule held back, and lets in by the end of another, comes at the place that it has kept.
    ReplaceWaiting,
}

/// How a deployment goes about its own limit. JSON as in the reference, which knows the first two strategies; unknown keys are
/// passed over.
///
/// ```
/// use tenfold::model::{Collision, ConcurrencyOptions};
///
/// let options: ConcurrencyOptions =
///     serde_json::from_str(r#"{"collision_strategy": "CANCEL_NEW", "grace_period_seconds": 120}"#)?;
/// assert_eq!(options, ConcurrencyOptions::new(Collision::CancelNew).grace_period(120));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ConcurrencyOptions {
    /// What becomes of a run that the limit refuses.
    pub collision_strategy: Collision,
    /// The lease, in seconds, that begins with each claim of a run of the deployment by a worker outside the engine's own
    /// runtimes: 60 to 86,400. Without a heartbeat for so long the run is CRASHED and its slots are free. None: no lease, unless
    /// the claim asks for one.
    #[serde(default)]
    pub grace_period_seconds: Option<u32>,
}

impl ConcurrencyOptions {
    /// This strategy, and no grace period.
    #[must_use]
    pub const fn new(collision_strategy: Collision) -> Self {
        Self {
            collision_strategy,
            grace_period_seconds: None,
        }
    }

    /// Sets the grace period, in seconds.
    #[must_use]
    pub const fn grace_period(mut self, seconds: u32) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    pub(crate) fn check(self) -> Result<(), InvalidValue> {
        match self.grace_period_seconds {
            Some(seconds) if !(60..=86_400).contains(&seconds) => Err(InvalidValue::new(
                "grace_period_seconds",
                &seconds.to_string(),
                "give 60 to 86,400 seconds, or none",
            )),
            _ => Ok(()),
        }
    }
}
