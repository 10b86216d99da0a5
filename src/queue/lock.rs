//! The lock of a band: one atomic exchange to take it, one store to let it go.
//!
//! A critical section of the queue is a few nanoseconds, so whoever finds the lock taken is served faster by looking
//! again, at growing distances, than by going to sleep; and a lock nobody sleeps at is let go with a plain store. A holder
//! that lost its processor is waited for by giving up one's own.

#[cfg(not(loom))]
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// What [`Spin::lock`] gives; dropped, the lock is free.
#[cfg(not(loom))]
pub(super) type Guard<'a, T> = SpinMutexGuard<'a, T>;
#[cfg(loom)]
pub(super) type Guard<'a, T> = crate::sync::MutexGuard<'a, T>;

#[cfg(not(loom))]
#[derive(Debug)]
pub(super) struct Spin<T>(SpinMutex<T>);

#[cfg(not(loom))]
impl<T> Spin<T> {
    pub(super) fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    #[inline]
    pub(super) fn lock(&self) -> Guard<'_, T> {
        match self.0.try_lock() {
            Some(guard) => guard,
            None => self.lock_slowly(),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly(&self) -> Guard<'_, T> {
        let mut pauses = 64;
        loop {
            // Short first looks would only take the cache lines of the lock from who is using what they guard.
            for _ in 0..pauses {
                std::hint::spin_loop();
            }
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
            if pauses < 256 {
                pauses *= 2;
            } else {
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(loom)]
#[derive(Debug)]
pub(super) struct Spin<T>(crate::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Spin<T> {
    pub(super) fn new(value: T) -> Self {
        Self(crate::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> Guard<'_, T> {
        self.0.lock()
    }
}
