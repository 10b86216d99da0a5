//! Who waits, for an item or for room: a line of wakers, first come first woken, and the parker of a blocked thread.
//!
//! The line is empty while nobody waits, and a push then only reads one word. No wake-up, and no code of a waker (its
//! clone and drop are the runtime's), runs under the lock.
//!
//! # Why no wake-up is lost
//!
//! A waiter enters the line *before* it looks at the lanes, and looks while it holds all their locks. A push puts
//! its item in under one of these locks, and reads the line *after* that. So either the waiter's look comes after the
//! push and finds the item, or it comes before, and then the lock carries the waiter's entry to the push, which
//! finds it. A waiter that was taken from the line and goes away without an item passes its wake-up on.

use std::collections::BTreeMap;
use std::task::Waker;
#[cfg(not(loom))]
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    time::Instant,
};

#[cfg(not(loom))]
use crate::sync::Condvar;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The line of waiters.
///
/// # Invariants
///
/// * **W1** `waiting` is the number of entries in the line whenever its lock is free;
/// * **W2** an entry leaves the line by being woken, or by its own waiter.
#[derive(Debug)]
pub(super) struct Waiters {
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    entries: BTreeMap<u64, Waker>,
    next: u64,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line::default()),
        }
    }

    /// Enters the line, or refreshes the waker there; a waiter that has a `number` keeps its place.
    pub(super) fn enter(&self, number: &mut Option<u64>, waker: &Waker) {
        let waker = waker.clone();
        let replaced = {
            let mut line = self.line.lock();
            let number = *number.get_or_insert(line.next);
            line.next = line.next.max(number + 1);
            let replaced = line.entries.insert(number, waker);
            // Relaxed: the locks of the lanes carry it to whoever pushes; see the module.
            self.waiting.store(line.entries.len(), Relaxed); // W1
            replaced
        };
        drop(replaced);
    }

    /// Leaves the line. `false` when the waiter was woken before: the wake-up is then its to use or to pass on.
    fn leave(&self, number: u64) -> bool {
        let left = {
            let mut line = self.line.lock();
            let left = line.entries.remove(&number);
            self.waiting.store(line.entries.len(), Relaxed); // W1
            left
        };
        left.is_some()
    }

    /// Ends a wait, if there was one. Was it woken, but not for what it has (if it has anything), another is woken instead;
    /// unless it `keeps` the wake-up, which is a fault.
    pub(super) fn give_up(&self, number: &mut Option<u64>, keeps: bool) {
        if let Some(number) = number.take()
            && !self.leave(number)
            && !keeps
        {
            self.wake(1);
        }
    }

    /// Wakes the first `count` in line. Called after the items are in, without a lock held.
    #[inline]
    pub(super) fn wake(&self, count: usize) {
        // Relaxed: the locks of the lanes order it; see the module.
        if self.waiting.load(Relaxed) != 0 {
            self.wake_first(count);
        }
    }

    #[cold]
    fn wake_first(&self, count: usize) {
        for _ in 0..count {
            let first = {
                let mut line = self.line.lock();
                let first = line.entries.pop_first();
                self.waiting.store(line.entries.len(), Relaxed); // W1
                first
            };
            let Some((_, waker)) = first else { return };
            waker.wake();
        }
    }
}

/// Drives a future on this thread: looks for some microseconds, then polls it and sleeps until its waker is used. `None` when
/// the deadline came first.
#[cfg(not(loom))]
pub(super) fn block_on<F: Future + Unpin>(
    future: &mut F,
    deadline: Option<Instant>,
    mut look: impl FnMut(&mut F) -> Option<F::Output>,
) -> Option<F::Output> {
    let backoff = crossbeam::utils::Backoff::new();
    loop {
        if let Some(answer) = look(future) {
            return Some(answer);
        }
        if backoff.is_completed() {
            break;
        }
        backoff.snooze();
    }
    let (parker, waker) = Parker::new();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(answer) = Pin::new(&mut *future).poll(&mut context) {
            return Some(answer);
        }
        if !parker.park(deadline) {
            return None;
        }
    }
}

/// Lets a thread sleep until its waker is used.
///
/// Not part of the models: a flag under the lock of its own condition variable, and they wait as futures.
#[cfg(not(loom))]
#[derive(Debug)]
struct Parker {
    woken: Mutex<bool>,
    signal: Condvar,
}

#[cfg(not(loom))]
impl Parker {
    /// A parker and the waker that ends its sleep.
    fn new() -> (Arc<Self>, Waker) {
        let parker = Arc::new(Self {
            woken: Mutex::new(false),
            signal: Condvar::new(),
        });
        (Arc::clone(&parker), Waker::from(parker))
    }

    /// Sleeps until woken, or until the deadline: then `false`. A wake-up that came before counts.
    fn park(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            let Some(deadline) = deadline else {
                self.signal.wait(&mut woken);
                continue;
            };
            if self.signal.wait_until(&mut woken, deadline).timed_out() && !*woken {
                return false;
            }
        }
        *woken = false;
        true
    }
}

#[cfg(not(loom))]
impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.signal.notify_one();
    }
}
