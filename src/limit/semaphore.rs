//! The semaphore: one cap, weights, permits that give themselves back, and a line of waiters. How it counts is in
//! [`core`](super::core).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
#[cfg(not(loom))]
use std::time::Duration;

use super::core::{Core, Wait};
use super::faults::Faults;
use crate::sync::Arc;

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
        Self(Arc::new(Core::new(limit, faults)))
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
            wait: Wait::new(weight),
        }
    }

    /// As [`acquire`](Self::acquire), with a future and a permit that can be moved anywhere.
    pub fn acquire_owned(&self, weight: u32) -> AcquireOwned {
        AcquireOwned {
            semaphore: self.clone(),
            wait: Wait::new(weight),
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
        Wait::new(weight).block(&self.0, timeout)?;
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
        self.0.limit()
    }

    /// Slots free at some instant of this call, as if nobody waited; a hint, since others may take them.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.0.available()
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
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
        let weight = wait.weight();
        wait.poll(core, cx.waker())
            .map(|answer| answer.map(|()| Permit { core, weight }))
    }
}

impl Future for AcquireOwned {
    type Output = Result<OwnedPermit, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, wait } = &mut *self;
        let weight = wait.weight();
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
        f.debug_struct("Permit")
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit")
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, count: &std::sync::Arc<Count>) -> Poll<F::Output> {
        let waker = Waker::from(std::sync::Arc::clone(count));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn the_last_waker_is_woken_once_and_no_other() {
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire(1).unwrap();
        let (old, new) = (std::sync::Arc::default(), std::sync::Arc::default());
        let mut waiting = semaphore.acquire(1);
        assert!(poll(&mut waiting, &old).is_pending());
        assert!(poll(&mut waiting, &new).is_pending());
        drop(held);
        assert_eq!(
            (old.0.load(Ordering::Relaxed), new.0.load(Ordering::Relaxed)),
            (0, 1)
        );
        assert!(poll(&mut waiting, &old).is_ready());
    }

    #[test]
    fn raising_and_closing_reach_more_waiters_than_one_batch_holds() {
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire(1).unwrap();
        let count = std::sync::Arc::default();
        let mut waiting: Vec<_> = (0..100).map(|_| semaphore.acquire(1)).collect();
        for future in &mut waiting {
            assert!(poll(future, &count).is_pending());
        }
        semaphore.set_limit(51);
        assert_eq!(count.0.load(Ordering::Relaxed), 50);
        assert_eq!((semaphore.status().held, semaphore.status().waiting), (51, 50));
        semaphore.close();
        assert_eq!(count.0.load(Ordering::Relaxed), 100);
        let permits = waiting.iter_mut().map(|future| poll(future, &count));
        let granted = permits
            .filter(|answer| matches!(answer, Poll::Ready(Ok(_))))
            .count();
        assert_eq!(granted, 50);
        drop(held);
        assert_eq!(semaphore.status().held, 0, "each was dropped as it was looked at");
    }
}
