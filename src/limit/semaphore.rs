//! The counting core: one cap, weights, permits that give themselves back, and a line of waiters.
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
//! * The front is let in by taking *for* it under the lock: slots never become free between a release and the front.
//! * A waiter that leaves lets in who stands behind it; one that was let in and leaves before it looked gives back.
//!
//! `WAITING` is set and cleared under the lock only and is set exactly while somebody stands in line (**S1**). Held slots are
//! the limit less the free ones; they are what permits, and waiters let in, stand for (**S2**).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
#[cfg(not(loom))]
use std::time::Duration;

use super::faults::{Fault, Faults};
use super::waiters::{Turn, Waiters};
use super::wake::WakeList;
use crate::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use crate::sync::{Arc, Mutex};

/// A cap on how many run at once, without names: take a permit, do the work, drop the permit. Cloning gives another
/// handle on the same slots.
///
/// * **L1** held slots never exceed the limit, at any instant; lowering takes nothing away and admits no one until less is
///   held.
/// * **L2** a permit gives back exactly once, when it is dropped, on whatever path; a cancelled wait keeps nothing.
/// * First in, first out: nobody overtakes who waits, a heavy waiter at the front included. What a task wrote before it
///   dropped its permit is seen by whoever takes those slots next.
/// * Nobody is woken, and no user code runs, while a lock is held.
///
/// Taking and giving back without waiting is one atomic operation each; waiting takes a short lock.
///
/// ```
/// use tenfold::limit::Semaphore;
///
/// let slots = Semaphore::new(2);
/// let one = slots.try_acquire(1)?;
/// let other = slots.try_acquire(1)?;
/// assert!(slots.try_acquire(1).is_err());
/// drop(one);
/// assert!(slots.try_acquire(1).is_ok());
/// # drop(other);
/// # Ok::<(), tenfold::limit::AcquireError>(())
/// ```
#[derive(Clone)]
pub struct Semaphore(Arc<Core>);

/// Slots of a [`Semaphore`], given back when dropped.
#[must_use = "the slots are given back when the permit is dropped"]
pub struct Permit<'a> {
    core: &'a Core,
    weight: u32,
}

/// Slots of a [`Semaphore`] that can be moved anywhere, given back when dropped.
#[must_use = "the slots are given back when the permit is dropped"]
pub struct OwnedPermit {
    core: Arc<Core>,
    weight: u32,
}

/// No permit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Not now: too few slots are free, or others wait for them.
    #[error("no room for {weight} slots now; retry when some are given back, or wait")]
    Full {
        /// The slots asked for.
        weight: u32,
    },
    /// Never: the semaphore was closed.
    #[error("the semaphore is closed; nobody is let in any more")]
    Closed,
    /// Never, as the limit stands.
    #[error("{weight} slots were asked for and the limit is {limit}; ask for fewer or raise the limit")]
    AboveLimit {
        /// The slots asked for.
        weight: u32,
        /// The slots there are.
        limit: u32,
    },
    /// The weight is 0.
    #[error("a weight of 0 slots asks for nothing; use at least 1")]
    WeightZero,
}

/// How a semaphore stands, at one instant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SemaphoreStatus {
    /// The slots there are.
    pub limit: u32,
    /// The slots held, by permits and by waiters that were let in but have not looked yet. Above `limit` only after
    /// lowering.
    pub held: u32,
    /// Who waits.
    pub waiting: usize,
    /// Whether it was closed.
    pub closed: bool,
}

const CLOSED: i64 = 1;
const WAITING: i64 = 2;
const FLAGS: i64 = CLOSED | WAITING;

/// The first and the longest back-off after a lost compare-and-swap, in pauses of the processor. Measured with two threads
/// on one word: from 32 the pair is ahead of a loop that retries at once, below 16 it is not, and past 256 it only waits.
/// The model checker explores schedules, not time.
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
    fn try_take(&self, weight: u32) -> Result<(), AcquireError> {
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

    fn give_back(&self, weight: u32) {
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

    fn set_limit(&self, limit: u32) {
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

    fn close(&self) {
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

    fn status(&self) -> SemaphoreStatus {
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
struct Wait {
    weight: u32,
    /// The place in line, while there is one.
    place: Option<u32>,
}

impl Wait {
    fn poll(&mut self, core: &Core, waker: &Waker) -> Poll<Result<(), AcquireError>> {
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

    fn cancel(&mut self, core: &Core) {
        if let Some(place) = self.place.take() {
            core.leave(place, self.weight);
        }
    }

    #[cfg(not(loom))]
    fn block(mut self, core: &Core, timeout: Option<Duration>) -> Result<(), AcquireError> {
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

/// Waits for slots; see [`Semaphore::acquire`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    wait: Wait,
}

/// Waits for slots; see [`Semaphore::acquire_owned`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct AcquireOwned {
    semaphore: Semaphore,
    wait: Wait,
}

impl Semaphore {
    /// A semaphore of `limit` slots. With 0 nobody is let in until it is raised.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self::with_faults(limit, Faults::default())
    }

    pub(super) fn with_faults(limit: u32, faults: Faults) -> Self {
        Self(Arc::new(Core {
            word: AtomicI64::new(slots(limit)),
            limit: AtomicU32::new(limit),
            waiters: Mutex::new(Waiters::default()),
            faults,
        }))
    }

    /// Takes `weight` slots if they are free and nobody waits. One atomic operation; never blocks.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Full`] for *not now*, the others for *never*.
    #[inline]
    pub fn try_acquire(&self, weight: u32) -> Result<Permit<'_>, AcquireError> {
        self.0.try_take(weight)?;
        Ok(Permit {
            core: &self.0,
            weight,
        })
    }

    /// As [`try_acquire`](Self::try_acquire), with a permit that can be moved anywhere.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_owned(&self, weight: u32) -> Result<OwnedPermit, AcquireError> {
        self.0.try_take(weight)?;
        Ok(OwnedPermit {
            core: Arc::clone(&self.0),
            weight,
        })
    }

    /// Waits for `weight` slots. The place in line is that of the first poll. Dropping the future at any point leaves the line
    /// and keeps nothing. Needs no particular runtime.
    ///
    /// Its output is an error for *never* only: closed, a weight of 0, or one above the limit (said at the first poll, not
    /// waited for; a limit lowered later leaves it waiting).
    pub fn acquire(&self, weight: u32) -> Acquire<'_> {
        Acquire {
            semaphore: self,
            wait: Wait { weight, place: None },
        }
    }

    /// As [`acquire`](Self::acquire), with a future and a permit that can be moved anywhere.
    pub fn acquire_owned(&self, weight: u32) -> AcquireOwned {
        AcquireOwned {
            semaphore: self.clone(),
            wait: Wait { weight, place: None },
        }
    }

    /// Blocks this thread until it has `weight` slots.
    ///
    /// # Errors
    ///
    /// For *never*, as [`acquire`](Self::acquire).
    #[cfg(not(loom))]
    pub fn acquire_blocking(&self, weight: u32) -> Result<Permit<'_>, AcquireError> {
        self.block(weight, None)
    }

    /// Blocks this thread until it has `weight` slots, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Full`] when the time is up, else as [`acquire`](Self::acquire).
    #[cfg(not(loom))]
    pub fn acquire_timeout(&self, weight: u32, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        self.block(weight, Some(timeout))
    }

    #[cfg(not(loom))]
    fn block(&self, weight: u32, timeout: Option<Duration>) -> Result<Permit<'_>, AcquireError> {
        let wait = Wait { weight, place: None };
        wait.block(&self.0, timeout)?;
        Ok(Permit {
            core: &self.0,
            weight,
        })
    }

    /// Sets the number of slots. Raising lets in who fits now; lowering takes nothing away and admits no one until less is
    /// held than the new limit.
    pub fn set_limit(&self, limit: u32) {
        self.0.set_limit(limit);
    }

    /// Lets nobody in any more; who waits is told. Permits stay valid and are given back as ever.
    pub fn close(&self) {
        self.0.close();
    }

    /// The slots there are.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Slots free at some instant of this call, as if nobody waited; a hint, since others may take them.
    #[must_use]
    pub fn available(&self) -> u32 {
        u32::try_from((self.0.word.load(Ordering::Relaxed) >> 2).max(0)).unwrap_or(u32::MAX)
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// How it stands at one instant.
    #[must_use]
    pub fn status(&self) -> SemaphoreStatus {
        self.0.status()
    }
}

impl Permit<'_> {
    /// How many slots it stands for.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl OwnedPermit {
    /// How many slots it stands for.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.core.give_back(self.weight);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.core.give_back(self.weight);
    }
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, wait } = &mut *self;
        let core: &'a Core = &semaphore.0;
        let weight = wait.weight;
        wait.poll(core, cx.waker())
            .map(|answer| answer.map(|()| Permit { core, weight }))
    }
}

impl Future for AcquireOwned {
    type Output = Result<OwnedPermit, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, wait } = &mut *self;
        let weight = wait.weight;
        wait.poll(&semaphore.0, cx.waker()).map(|answer| {
            answer.map(|()| OwnedPermit {
                core: Arc::clone(&semaphore.0),
                weight,
            })
        })
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        self.wait.cancel(&self.semaphore.0);
    }
}

impl Drop for AcquireOwned {
    fn drop(&mut self) {
        self.wait.cancel(&self.semaphore.0);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("weight", &self.weight).finish()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit")
            .field("weight", &self.weight)
            .finish()
    }
}
