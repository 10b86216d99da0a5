//! What can be set when a queue is made.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::{Queue, SettingsError};
use crate::Priority;

/// The settings of a [`Queue`]. Made by [`Queue::builder`].
///
/// ```
/// use tenfold::queue::{Queue, SettingsError};
///
/// let queue = Queue::<u32>::builder().capacity(1_000).locks(2).build()?;
/// assert_eq!(queue.capacity(), Some(1_000));
/// assert_eq!(Queue::<u32>::builder().capacity(0).build().unwrap_err(), SettingsError::ZeroCapacity);
/// # Ok::<(), SettingsError>(())
/// ```
#[must_use]
pub struct QueueBuilder<T> {
    capacity: Option<usize>,
    locks: usize,
    aging: Option<Duration>,
    of: PhantomData<fn() -> T>,
}

impl<T> QueueBuilder<T> {
    pub(super) const fn new() -> Self {
        Self {
            capacity: None,
            locks: DEFAULT_LOCKS,
            aging: None,
            of: PhantomData,
        }
    }

    /// Bounds the queue to this many items, at least 1. Default: no bound.
    pub const fn capacity(mut self, items: usize) -> Self {
        self.capacity = Some(items);
        self
    }

    /// Sets how many locks the ten levels share, 1 to 10; each guards a band of neighbouring levels. Default: 1.
    ///
    /// The promises are the same for every value. More locks pay when those who push and those who pop keep to different
    /// bands; the [module documentation](super) has the figures.
    pub const fn locks(mut self, locks: usize) -> Self {
        self.locks = locks;
        self
    }

    /// Lets a waiting item rise one effective level for each `interval` it has waited (Q6). Default: no aging.
    pub const fn aging(mut self, interval: Duration) -> Self {
        self.aging = Some(interval);
        self
    }

    /// Makes the queue.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] names the setting that no queue can have: a capacity of 0, locks other than 1 to 10, an aging
    /// interval of 0 or above [`u64::MAX`] nanoseconds.
    pub fn build(self) -> Result<Queue<T>, SettingsError> {
        if self.capacity == Some(0) {
            return Err(SettingsError::ZeroCapacity);
        }
        if !(1..=Priority::LEVELS).contains(&self.locks) {
            return Err(SettingsError::Locks { locks: self.locks });
        }
        let aging = match self.aging.map(|interval| u64::try_from(interval.as_nanos())) {
            None => None,
            Some(Ok(0)) => return Err(SettingsError::ZeroAging),
            Some(Ok(interval)) => Some(interval),
            Some(Err(_)) => return Err(SettingsError::LongAging),
        };
        Ok(Queue::with(self.capacity, self.locks, aging))
    }
}

impl<T> fmt::Debug for QueueBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("capacity", &self.capacity)
            .field("locks", &self.locks)
            .field("aging", &self.aging)
            .finish_non_exhaustive()
    }
}

/// Measured: see the module documentation.
pub(super) const DEFAULT_LOCKS: usize = 1;
