//! Waking: collected under a lock, done after it; and a waker that ends a thread's wait.

use std::task::Waker;

/// How many are let in under one holding of a lock before they are woken.
const BATCH: usize = 16;

/// Wakers collected while a lock is held, to be woken when it is not. Holds a bounded number, so that letting in a
/// thousand holds the lock for sixteen at a time and allocates nothing.
#[derive(Debug, Default)]
pub(super) struct WakeList {
    wakers: [Option<Waker>; BATCH],
    len: usize,
}

impl WakeList {
    /// Whether it should be woken before more is collected.
    pub(super) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Adds a waker. The caller has seen that there is room.
    pub(super) fn push(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.wakers[self.len] = Some(waker);
            self.len += 1;
        }
    }

    /// Wakes all. No lock is held.
    pub(super) fn wake(&mut self) {
        for waker in &mut self.wakers[..self.len] {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
        self.len = 0;
    }
}

#[cfg(not(loom))]
pub(super) use thread::Signal;

#[cfg(not(loom))]
mod thread {
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};

    /// Ends one thread's wait. What was signalled before the wait began is not lost.
    #[derive(Debug, Default)]
    pub(crate) struct Signal {
        set: Mutex<bool>,
        changed: Condvar,
    }

    impl Signal {
        /// A signal and the waker that sets it.
        pub(crate) fn new() -> (Arc<Self>, Waker) {
            let signal = Arc::new(Self::default());
            (Arc::clone(&signal), Waker::from(signal))
        }

        /// Waits until it is set, at most for `timeout`, and clears it. Returns whether it was set.
        pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
            let mut set = self.set.lock();
            if !*set {
                // parking_lot's condition variable does not wake without a reason, so one wait is enough.
                match timeout {
                    Some(timeout) => {
                        self.changed.wait_for(&mut set, timeout);
                    }
                    None => self.changed.wait(&mut set),
                }
            }
            std::mem::take(&mut *set)
        }
    }

    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            *self.set.lock() = true;
            self.changed.notify_one();
        }
    }
}
