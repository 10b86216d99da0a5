//! An embeddable, in-memory scheduling engine.

#![forbid(unsafe_code)]

pub mod clock;
pub mod filter;
pub mod ids;
pub mod limit;
pub mod priority;
pub mod queue;
pub mod schedule;
pub(crate) mod sync;

pub use priority::{Priority, PriorityOutOfRange};
