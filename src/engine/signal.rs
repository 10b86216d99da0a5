//! Telling a handler to stop, and telling waiters that there is work: a flag, and whoever sleeps on it.

use std::task::{Context, Poll, Waker};

use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{Condvar, Mutex};

/// Why a handler is asked to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody cancelled the run.
    Cancelled,
    /// The attempt is over its time.
    TimedOut,
    /// The runtime shuts down.
    Shutdown,
    /// The attempt is no longer this worker's: somebody set another state, or its lease lapsed. What it reports from here
    /// on is refused.
    Superseded,
}

/// A request to stop, shared by the engine and one claim's worker. The first reason stays.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    /// 0 while nobody asked.
    reason: AtomicU8,
    wakers: Mutex<Vec<Waker>>,
    faults: Faults,
}

impl StopSignal {
    /// Asks to stop and wakes who waits for it. Never called while the engine's lock is held.
    pub(crate) fn fire(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Cancelled => 1,
            StopReason::TimedOut => 2,
            StopReason::Shutdown => 3,
            StopReason::Superseded => 4,
        };
        // stop-signal: pairs with the `Acquire` in `reason`; a worker that sees the request sees what led to it.
        if self.faults.has(Fault::FireOverwrites) {
            self.reason.store(code, Ordering::Release);
        }
        let _ = self
            .reason
            .compare_exchange(0, code, Ordering::Release, Ordering::Relaxed);
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        // stop-signal: pairs with the `Release` in `fire`.
        match self.reason.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::Cancelled),
            2 => Some(StopReason::TimedOut),
            3 => Some(StopReason::Shutdown),
            _ => Some(StopReason::Superseded),
        }
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<StopReason> {
        if let Some(reason) = self.reason() {
            return Poll::Ready(reason);
        }
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        drop(wakers);
        if self.faults.has(Fault::NoSecondLook) {
            return Poll::Pending;
        }
        // A request between the first look and the registration found nobody to wake.
        self.reason().map_or(Poll::Pending, Poll::Ready)
    }
}

/// A bell: rung when there may be work or an earlier deadline; remembered until somebody listens.
///
/// `rung` is set before the lock is taken to wake, and is looked at with the lock held by who is about to sleep: either
/// the sleeper sees it, or the ringer finds the sleeper.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
    wake: Condvar,
    faults: Faults,
}

impl Bell {
    /// Never called while the engine's lock is held.
    pub(crate) fn ring(&self) {
        if self.faults.has(Fault::RingWakesFirst) {
            self.wake_up();
            self.rung.store(true, Ordering::Release);
            return;
        }
        // bell-rung: pairs with the `Acquire` in `heard`; who hears it sees what it was rung for.
        if self.rung.swap(true, Ordering::AcqRel) {
            // Whoever set it wakes.
            return;
        }
        self.wake_up();
    }

    fn wake_up(&self) {
        let waker = self.waker.lock().take();
        self.wake.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True from a ring until somebody has listened.
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    fn heard(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }

    /// Ready once for any number of rings since the last time. One task listens at a time.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = self.waker.lock();
        if self.faults.has(Fault::LookThenRegister) {
            drop(waker);
            if self.heard() {
                return Poll::Ready(());
            }
            *self.waker.lock() = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.heard() {
            return Poll::Ready(());
        }
        *waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits on this thread until rung, at most `timeout`. True when rung; else the time is over.
    pub(crate) fn wait(&self, timeout: std::time::Duration) -> bool {
        let mut waker = self.waker.lock();
        if self.faults.has(Fault::WaitOnce) {
            if !self.is_rung() {
                let _ = self.wake.wait_for(&mut waker, timeout);
            }
            return self.heard();
        }
        // Who rang may wake late, for a ring that was heard before: that one does not end this wait.
        let _ = (self.wake).wait_while_for(&mut waker, |_| !self.is_rung(), timeout);
        self.heard()
    }
}

/// One step left out, to see that the models fail without it. Outside of them there is nothing here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// The sleeper is woken before there is anything to see.
    RingWakesFirst,
    /// A waiter looks, and then lays down its waker, in two steps.
    LookThenRegister,
    /// A wait ends with whatever wakes it.
    WaitOnce,
    /// A waker is laid down without looking again.
    NoSecondLook,
    /// The last reason to stop stays.
    FireOverwrites,
}

/// The fault planted, if any.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    #[cfg(loom)]
    planted: Option<Fault>,
}

impl Faults {
    #[cfg(loom)]
    fn has(self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    #[cfg(not(loom))]
    #[expect(
        clippy::unused_self,
        reason = "the model checker's build has something to look at"
    )]
    const fn has(self, _: Fault) -> bool {
        false
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_to_stop_stays() {
        let signal = StopSignal::default();
        assert_eq!(signal.reason(), None);
        signal.fire(StopReason::TimedOut);
        signal.fire(StopReason::Cancelled);
        assert_eq!(signal.reason(), Some(StopReason::TimedOut));
    }

    #[test]
    fn a_ring_before_anybody_listens_is_not_lost() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        assert!(bell.wait(std::time::Duration::MAX));
        assert!(
            !bell.wait(std::time::Duration::ZERO),
            "any number of rings is heard once"
        );
    }
}
