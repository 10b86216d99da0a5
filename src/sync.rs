//! Locks, atomics and shared pointers, so that the same protocol runs for real and under the model checker.

#[cfg(not(loom))]
mod imp {
    pub(crate) use parking_lot::{Condvar, Mutex};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::{Arc, atomic};
}

#[cfg(loom)]
mod imp {
    //! The same names over loom, with parking_lot's shapes (`lock` returns the guard itself).
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::{Arc, atomic};
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            let guard = self.0.lock();
            MutexGuard(Some(guard.expect("no model panics while it holds a lock")))
        }
    }

    /// Gives its lock up while a condition variable has it.
    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("only a wait takes it")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("only a wait takes it")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        /// No time passes in a model: a wait that nobody ends is a deadlock, which it finds.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            let held = guard.0.take().expect("only a wait takes it");
            guard.0 = Some(self.0.wait(held).expect("no model panics while it holds a lock"));
        }

        /// As `wait_for`, again and again while the condition holds.
        pub(crate) fn wait_while_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            mut condition: impl FnMut(&mut T) -> bool,
            timeout: Duration,
        ) {
            while condition(guard) {
                self.wait_for(guard, timeout);
            }
        }
    }
}

#[allow(unused_imports, reason = "each build uses its share of the facade")]
pub(crate) use imp::*;
