//! The lock of a band: spins briefly, backing off, before it parks.
//!
//! A critical section of the queue is a few nanoseconds, so whoever finds the lock taken is nearly always served
//! faster by looking again than by going to sleep.

use crate::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(super) struct Spin<T>(Mutex<T>);

impl<T> Spin<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[cfg(not(loom))]
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.try_lock() {
            Some(guard) => guard,
            None => self.lock_slowly(),
        }
    }

    #[cfg(not(loom))]
    #[cold]
    fn lock_slowly(&self) -> MutexGuard<'_, T> {
        let backoff = crossbeam::utils::Backoff::new();
        while !backoff.is_completed() {
            backoff.snooze();
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
        }
        self.0.lock()
    }

    #[cfg(loom)]
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}
