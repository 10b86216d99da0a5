//! Order: ten levels, first in first out inside each, and tickets.

mod lane;
pub mod lanes;

pub use lanes::Lanes;
