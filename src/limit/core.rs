//! The counting core of a [`Semaphore`](super::Semaphore).
//!
//! # Protocol
//!
//! One atomic word holds the free slots and two flags; a lock keeps the line of waiters.
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | `CLOSED`: no one is let in any more |
//! | 1 | `WAITING`: somebody stands in line |
//! | 2 to 63 | free slots, signed: the limit less what is held; below zero after lowering |
//!
//! * **Taking** is one compare-and-swap, possible only while both flags are clear and enough is free: nobody overtakes the
//!   line.
//! * **Giving back** is one addition. If `WAITING` was set in what it replaced, the releaser takes the lock and lets in from
//!   the front as many as fit.
//! * **Waiting** takes the lock and, in one compare-and-swap, either takes after all or sets `WAITING`. Releases and this
//!   step change the same word, so one of the two comes later and sees the other: no wake-up is lost.
//! * The front is let in by taking *for* it under the lock: while `WAITING` is set nobody else can take what was given back.
//! * A waiter that leaves lets in who stands behind it; one that was let in and leaves before it looked gives back.
//!
//! `WAITING` is set and cleared under the lock only and is set exactly while somebody stands in line (**S1**). Held slots are
//! the limit less the free ones; they are what permits, and waiters let in, stand for (**S2**).

use std::task::{Poll, Waker};
#[cfg(not(loom))]
use std::time::Duration;

use super::faults::{Fault, Faults};
use super::semaphore::{AcquireError, SemaphoreStatus};
use super::waiters::{Turn, Waiters};
use super::wake::WakeList;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, AtomicU32, Ordering};

const CLOSED: i64 = 1;
const WAITING: i64 = 2;
const FLAGS: i64 = CLOSED | WAITING;

/// The first and the longest back-off after a lost compare-and-swap, in pauses of the processor. Measured with two threads
/// on one word: from 32 the pair is ahead of a loop that retries at once, at 4 it is not. The model checker explores schedules, not time.
const PAUSES_MIN: u32 = if cfg!(loom) { 1 } else { 32 };
const PAUSES_MAX: u32 = if cfg!(loom) { 1 } else { 128 };

/// So many slots, where the word counts them.
const fn slots(weight: u32) -> i64 {
    (weight as i64) << 2
}

pub(super) struct Core {
    /// Not padded: an owned permit counts references too, and one line between two cores is cheaper than two.
    word: AtomicI64,
    /// Written under the lock; read without it for messages only.
    limit: AtomicU32,
    waiters: Mutex<Waiters>,
    faults: Faults,
}

impl Core {
    pub(super) fn new(limit: u32, faults: Faults) -> Self {
        Self {
            word: AtomicI64::new(slots(limit)),
            limit: AtomicU32::new(limit),
            waiters: Mutex::new(Waiters::default()),
            faults,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn available(&self) -> u32 {
        let free = (self.word.load(Ordering::Relaxed) >> 2).max(0);
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Takes if enough is free and nobody waits.
    #[inline]
    pub(super) fn try_take(&self, weight: u32) -> Result<(), AcquireError> {
        let asked = slots(weight);
        let mut word = self.word.load(Ordering::Relaxed);
        let mut pauses = PAUSES_MIN;
        // Weight 0 would pass; it is caught where the refusal is worded, so that the path through does not look.
        let stops = if self.faults.has(Fault::TakePassesLine) {
            CLOSED
        } else {
            FLAGS
        };
        while word & stops == 0 && asked <= word && 0 < asked {
            if self.faults.has(Fault::TakeInTwoSteps) {
                self.word.store(word - asked, Ordering::Release);
                return Ok(());
            }
            // limit-handoff: sees everything that was written before these slots were given back.
            match self
                .word
                .compare_exchange_weak(word, word - asked, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(_) => word = self.back_off(&mut pauses),
            }
        }
        Err(self.refusal(word, weight))
    }

    /// Lets the other core finish what it does with the word before asking for the line again: on two cores this is
    /// faster for both than to retry at once.
    #[cold]
    fn back_off(&self, pauses: &mut u32) -> i64 {
        for _ in 0..*pauses {
            crate::sync::spin_loop();
        }
        *pauses = (*pauses * 2).min(PAUSES_MAX);
        self.word.load(Ordering::Relaxed)
    }

    #[cold]
    fn refusal(&self, word: i64, weight: u32) -> AcquireError {
        let limit = self.limit.load(Ordering::Relaxed);
        if weight == 0 {
            AcquireError::WeightZero
        } else if word & CLOSED != 0 {
            AcquireError::Closed
        } else if limit < weight {
            AcquireError::AboveLimit { weight, limit }
        } else {
            AcquireError::Full { weight }
        }
    }

    /// Gives back, and lets in who waits.
    #[inline]
    pub(super) fn give_back(&self, weight: u32) {
        let order = if self.faults.has(Fault::ReleaseRelaxed) {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        // limit-handoff: pairs with the `Acquire` in `try_take`, `join` and `let_in`.
        let before = self.word.fetch_add(slots(weight), order);
        if before & WAITING != 0 && !self.faults.has(Fault::ReleaseForgetsWaiters) {
            self.let_in();
        }
    }

    /// Takes for the front of the line as long as it fits, and wakes whoever was let in.
    #[cold]
    fn let_in(&self) {
        let mut wakes = WakeList::default();
        loop {
            let mut waiters = self.waiters.lock();
            while !wakes.is_full() && self.take_for_front(&waiters) {
                wakes.push(waiters.call(Turn::Granted));
            }
            let more = wakes.is_full();
            self.settle(&waiters);
            drop(waiters);
            wakes.wake();
            if !more {
                return;
            }
        }
    }

    /// Under the lock: takes what the front of the line waits for, if it is free.
    fn take_for_front(&self, waiters: &Waiters) -> bool {
        let Some(weight) = waiters.head_weight() else {
            return false;
        };
        let asked = slots(weight);
        // limit-handoff: the waiter sees the earlier writes through this and the lock.
        self.word
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
                (asked <= (word & !FLAGS)).then(|| word - asked)
            })
            .is_ok()
    }

    /// Under the lock: clears `WAITING` when nobody stands in line (S1).
    fn settle(&self, waiters: &Waiters) {
        if waiters.is_empty() {
            // Relaxed: a taker that sees the cleared flag reads the slots in the same word.
            self.word.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    /// Takes after all, or stands in line: `Ok(None)` and `Ok(Some(place))`.
    fn join(&self, weight: u32, waker: Waker) -> Result<Option<u32>, AcquireError> {
        let mut waiters = self.waiters.lock();
        let asked = slots(weight);
        let limit = self.limit.load(Ordering::Relaxed);
        if limit < weight {
            let word = self.word.load(Ordering::Relaxed);
            drop(waiters);
            return Err(self.refusal(word, weight));
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(AcquireError::Closed);
            }
            // With WAITING clear and the lock held, nobody stands in line (S1).
            let fits = word & WAITING == 0 && asked <= word && !self.faults.has(Fault::NoSecondLook);
            let next = if fits { word - asked } else { word | WAITING };
            // limit-handoff: sees everything that was written before these slots were given back.
            match self
                .word
                .compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) if fits => return Ok(None),
                Ok(_) => return Ok(Some(waiters.push(weight, waker))),
                Err(changed) => word = changed,
            }
        }
    }

    /// Whether the waiter's turn has come; if it has, its place is free again.
    fn look(&self, index: u32, waker: Waker) -> Option<Turn> {
        let mut waiters = self.waiters.lock();
        let turn = waiters.turn(index);
        let (outcome, old) = if turn == Turn::Queued {
            (None, waiters.rewake(index, waker))
        } else {
            (Some(turn), waiters.leave(index))
        };
        drop(waiters);
        drop(old);
        outcome
    }

    /// The waiter leaves, whatever has become of it.
    fn leave(&self, index: u32, weight: u32) {
        let mut waiters = self.waiters.lock();
        let turn = waiters.turn(index);
        let waker = waiters.leave(index);
        self.settle(&waiters);
        drop(waiters);
        drop(waker);
        match turn {
            Turn::Granted if self.faults.has(Fault::CancelLeaks) => {}
            Turn::Granted => self.give_back(weight),
            Turn::Queued if self.faults.has(Fault::CancelKeepsTurn) => {}
            // It may have been the front, and too heavy; who stood behind it may fit.
            Turn::Queued => self.let_in(),
            Turn::Closed => {}
        }
    }

    pub(super) fn set_limit(&self, limit: u32) {
        let waiters = self.waiters.lock();
        let old = self.limit.load(Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        let change = slots(limit) - slots(old);
        if self.faults.has(Fault::LowerInTwoSteps) {
            let word = self.word.load(Ordering::Relaxed);
            self.word.store(word + change, Ordering::Relaxed);
        } else {
            // Relaxed: no data is handed over with a changed limit, and the sequence of releases goes through it.
            self.word.fetch_add(change, Ordering::Relaxed);
        }
        drop(waiters);
        if old < limit && !self.faults.has(Fault::RaiseLetsNobodyIn) {
            self.let_in();
        }
    }

    pub(super) fn close(&self) {
        let mut wakes = WakeList::default();
        loop {
            let mut waiters = self.waiters.lock();
            // Relaxed: nothing is published by closing.
            self.word.fetch_or(CLOSED, Ordering::Relaxed);
            while !wakes.is_full() && !waiters.is_empty() && !self.faults.has(Fault::CloseWakesNobody) {
                wakes.push(waiters.call(Turn::Closed));
            }
            let more = wakes.is_full();
            self.settle(&waiters);
            drop(waiters);
            wakes.wake();
            if !more {
                return;
            }
        }
    }

    pub(super) fn status(&self) -> SemaphoreStatus {
        let waiters = self.waiters.lock();
        let word = self.word.load(Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        let held = i64::from(limit) - (word >> 2);
        SemaphoreStatus {
            limit,
            held: u32::try_from(held).expect("what was taken was within a limit of 32 bits"),
            waiting: waiters.len(),
            closed: word & CLOSED != 0,
        }
    }
}

/// A wait for slots that can be given up at any point.
#[derive(Debug)]
pub(super) struct Wait {
    weight: u32,
    /// The place in line, while there is one.
    place: Option<u32>,
}

impl Wait {
    pub(super) fn new(weight: u32) -> Self {
        Self { weight, place: None }
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    pub(super) fn poll(&mut self, core: &Core, waker: &Waker) -> Poll<Result<(), AcquireError>> {
        let Some(place) = self.place else {
            match core.try_take(self.weight) {
                Err(AcquireError::Full { .. }) => {}
                answer => return Poll::Ready(answer),
            }
            // Cloned before the lock is taken: it is the user's code.
            return match core.join(self.weight, waker.clone()) {
                Ok(None) => Poll::Ready(Ok(())),
                Ok(place) => {
                    self.place = place;
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            };
        };
        match core.look(place, waker.clone()) {
            None => Poll::Pending,
            Some(turn) => {
                self.place = None;
                Poll::Ready(if turn == Turn::Granted {
                    Ok(())
                } else {
                    Err(AcquireError::Closed)
                })
            }
        }
    }

    pub(super) fn cancel(&mut self, core: &Core) {
        if let Some(place) = self.place.take() {
            core.leave(place, self.weight);
        }
    }

    #[cfg(not(loom))]
    pub(super) fn block(mut self, core: &Core, timeout: Option<Duration>) -> Result<(), AcquireError> {
        let (signal, waker) = super::wake::Signal::new();
        if let Poll::Ready(answer) = self.poll(core, &waker) {
            return answer;
        }
        signal.wait(timeout);
        // Woken or out of time: the line knows which, and a turn that came at the last moment counts.
        if let Poll::Ready(answer) = self.poll(core, &waker) {
            return answer;
        }
        self.cancel(core);
        Err(AcquireError::Full { weight: self.weight })
    }
}
