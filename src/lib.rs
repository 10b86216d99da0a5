//! An embeddable, in-memory scheduling engine.

#![forbid(unsafe_code)]

mod catalog;
pub mod clock;
pub mod engine;
pub mod filter;
pub mod ids;
pub mod limit;
pub mod model;
pub mod priority;
pub mod queue;
#[cfg(feature = "tokio")]
pub mod runtime;
pub mod schedule;
pub(crate) mod sync;

pub use engine::{
    Claims, Document, Empty, Ended, Engine, EngineBuilder, Error, Outcome, QueueStatus, Scope, Submitted,
};
pub use ids::{DeploymentId, RunId};
pub use model::{
    Deployment, DeploymentPatch, NewDeployment, NewPool, NewQueue, NewRun, NewSchedule, Retry, Run,
};
pub use priority::{Priority, PriorityOutOfRange};
pub use schedule::Schedule;
