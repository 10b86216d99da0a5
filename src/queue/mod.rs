//! Order: ten levels, first in first out inside each, and tickets.

mod bands;
mod error;
mod fault;
mod handle;
mod lane;
pub mod lanes;
mod lock;
mod pop;
mod settings;
mod wait;

pub use error::{Closed, PushError, Rejected, SettingsError, WaitError};
pub use handle::{Popped, Queue, Ticket};
pub use lanes::Lanes;
pub use pop::Pop;
pub use settings::QueueBuilder;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
