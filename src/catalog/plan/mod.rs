//! From a filter to rows: what is asked of an index, what it costs, and the way that is taken.
//!
//! The tree of the filter becomes a tree of *parts*, each of which can do two things, exactly: say whether a row passes, and take
//! the rows that do not pass out of a block of 65,536 bits. Between them lie three ways to an answer:
//!
//! | way | how | quick when |
//! |---|---|---|
//! | walk | the rows in the order of the sort, each asked, until the page is full | many rows pass |
//! | pick | the rows of the rarest part, each asked, put in order | one part of an `and` is rare |
//! | blocks | all rows at once as bits; then the page is picked, or walked to | counts, and all the rest |
//!
//! The estimates behind the choice decide about time alone: every way gives the same rows. A walk that turns out longer than was
//! thought is given up for blocks. Tests of related rows have two ways of their own (`kin.rs`).

mod kin;
mod narrow;
mod needs;
mod part;
mod texts;
mod ways;

pub(crate) use needs::{Known, Plan};
pub(crate) use ways::{Found, Wanted, answer, tests};
