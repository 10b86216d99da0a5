//! What a queue refuses, and why. Refused is not lost: the item comes back with the reason.

use std::fmt;

use thiserror::Error;

/// Why a push was refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PushError {
    /// Not now: the capacity is used up.
    #[error("queue is full ({capacity} items); retry after a pop or raise the capacity")]
    Full {
        /// How many items the queue may hold.
        capacity: usize,
    },
    /// Never: the batch alone is greater than the capacity.
    #[error("a batch of {items} items can never fit a queue of {capacity}; split it or raise the capacity")]
    Oversized {
        /// How many items the batch has.
        items: usize,
        /// How many items the queue may hold.
        capacity: usize,
    },
    /// Never: the queue was closed.
    #[error("queue is closed; nothing can be pushed any more")]
    Closed,
}

/// A push that was refused: what was to be pushed, and why it was not.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Rejected<V> {
    /// The item or the batch, unchanged.
    pub value: V,
    /// Why the queue did not take it.
    pub reason: PushError,
}

impl<V> fmt::Debug for Rejected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Display for Rejected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<V> std::error::Error for Rejected<V> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// The queue was closed and, at one instant, held nothing: no item will ever come.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("queue is closed and empty; no item will come any more")]
pub struct Closed;

/// Why a wait with a deadline ended without an item.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum WaitError {
    /// Not now: nothing came until the deadline.
    #[error("no item came until the deadline; wait again or give up")]
    TimedOut,
    /// Never: see [`Closed`].
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A setting that no queue can have.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SettingsError {
    /// A queue that may hold nothing.
    #[error("capacity is 0; give at least 1, or leave it out for a queue without bound")]
    ZeroCapacity,
    /// A number of locks other than 1 to 10.
    #[error("{locks} locks cannot share ten levels; use 1 to 10")]
    Locks {
        /// The number that was asked for.
        locks: usize,
    },
    /// An aging interval of nothing, in which everything would be at level 10 at once.
    #[error("aging interval is 0; give the time after which an item rises one level, or leave aging out")]
    ZeroAging,
    /// An aging interval beyond what can be counted.
    #[error(
        "aging interval is above {} nanoseconds; give a shorter one, or leave aging out",
        u64::MAX
    )]
    LongAging,
}
