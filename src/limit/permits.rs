//! What [`Limits`](super::Limits) hand out: permits over several limits, prepared requests, and waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::demand::Demand;
use super::grants::{Grant, Holder};
use super::limits::{LimitsError, Shared};
use crate::sync::Arc;

/// Slots of several limits, given back together when dropped.
#[must_use = "the slots are given back when the permit is dropped"]
pub struct MultiPermit<'a> {
    shared: &'a Shared,
    grant: Grant,
}

/// Slots of several limits that can be moved anywhere, given back together when dropped.
#[must_use = "the slots are given back when the permit is dropped"]
pub struct OwnedMultiPermit {
    shared: Arc<Shared>,
    grant: Grant,
}

/// A request resolved once, to be granted many times without looking up a name. Until it is dropped, the limits that
/// templates made for it are kept. A limit that is removed stops it no more, also when another of that name is defined.
pub struct Prepared {
    shared: Arc<Shared>,
    demand: Demand,
}

/// A wait for slots of several limits. It has its place in line since it was made, polled or not; dropping it at any point
/// leaves the line and keeps nothing. Needs no particular runtime.
#[must_use = "dropping it leaves the line"]
pub struct Waiting {
    shared: Arc<Shared>,
    ready: Option<Grant>,
    turn: Option<u64>,
}

impl<'a> MultiPermit<'a> {
    pub(super) fn new(shared: &'a Shared, grant: Grant) -> Self {
        Self { shared, grant }
    }
}

impl OwnedMultiPermit {
    pub(super) fn new(shared: &Arc<Shared>, grant: Grant) -> Self {
        Self {
            shared: Arc::clone(shared),
            grant,
        }
    }
}

impl Prepared {
    pub(super) fn new(shared: &Arc<Shared>, demand: Demand) -> Self {
        Self {
            shared: Arc::clone(shared),
            demand,
        }
    }

    /// Takes everything, or nothing, without waiting.
    ///
    /// # Errors
    ///
    /// [`LimitsError::Refused`].
    pub fn try_acquire(&self, now: Duration) -> Result<MultiPermit<'_>, LimitsError> {
        self.try_acquire_as(Holder::Anonymous, now)
    }

    /// As [`try_acquire`](Self::try_acquire), for a holder that can be seen.
    ///
    /// # Errors
    ///
    /// As there, and [`LimitsError::AlreadyHolds`].
    pub fn try_acquire_as(&self, holder: Holder, now: Duration) -> Result<MultiPermit<'_>, LimitsError> {
        let grant = self.take(holder, now)?;
        Ok(MultiPermit::new(&self.shared, grant))
    }

    /// As [`try_acquire_as`](Self::try_acquire_as), with a permit that can be moved anywhere.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire_owned(&self, holder: Holder, now: Duration) -> Result<OwnedMultiPermit, LimitsError> {
        let grant = self.take(holder, now)?;
        Ok(OwnedMultiPermit::new(&self.shared, grant))
    }

    fn take(&self, holder: Holder, now: Duration) -> Result<Grant, LimitsError> {
        self.shared
            .change_at(now, |state, _| (state.try_take(&self.demand, holder), Vec::new()))
    }

    /// Takes everything, or stands in line for it.
    pub fn acquire(&self, now: Duration) -> Waiting {
        self.acquire_as(Holder::Anonymous, now)
    }

    /// As [`acquire`](Self::acquire), for a holder that can be seen. If it has slots when its turn comes, the answer is
    /// [`LimitsError::AlreadyHolds`].
    pub fn acquire_as(&self, holder: Holder, now: Duration) -> Waiting {
        let (ready, turn) = self
            .shared
            .change_at(now, |state, _| (state.come(&self.demand, holder), Vec::new()));
        Waiting {
            shared: Arc::clone(&self.shared),
            ready,
            turn,
        }
    }
}

impl Waiting {
    fn look(&mut self, waker: &Waker) -> Poll<Result<OwnedMultiPermit, LimitsError>> {
        if let Some(grant) = self.ready.take() {
            return Poll::Ready(Ok(self.permit(grant)));
        }
        let Some(turn) = self.turn else {
            return Poll::Pending;
        };
        // Cloned before, dropped after the lock: both are the user's code.
        let waker = waker.clone();
        let answer = self.shared.state.lock().look(turn, waker);
        match answer {
            Ok(answer) => {
                self.turn = None;
                Poll::Ready(answer.map(|grant| self.permit(grant)))
            }
            Err(_old) => Poll::Pending,
        }
    }

    fn permit(&self, grant: Grant) -> OwnedMultiPermit {
        OwnedMultiPermit::new(&self.shared, grant)
    }

    /// Blocks this thread until it is let in, at most for `timeout`; then it has left the line and the answer is `None`.
    ///
    /// Time that lets somebody in by decay has to be told by somebody else, through [`Limits::advance`](super::Limits::advance).
    #[cfg(not(loom))]
    #[must_use = "the slots are given back when the permit is dropped"]
    pub fn wait(mut self, timeout: Option<Duration>) -> Option<Result<OwnedMultiPermit, LimitsError>> {
        let (signal, waker) = super::wake::Signal::new();
        if let Poll::Ready(answer) = self.look(&waker) {
            return Some(answer);
        }
        signal.wait(timeout);
        match self.look(&waker) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}

impl Future for Waiting {
    type Output = Result<OwnedMultiPermit, LimitsError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(cx.waker())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(grant) = self.ready.take() {
            self.shared.give_back(grant);
        }
        if let Some(turn) = self.turn.take() {
            let faults = self.shared.faults;
            drop(self.shared.change(|state| state.leave(turn, faults)));
        }
    }
}

impl Drop for MultiPermit<'_> {
    fn drop(&mut self) {
        self.shared.give_back(self.grant);
    }
}

impl Drop for OwnedMultiPermit {
    fn drop(&mut self) {
        self.shared.give_back(self.grant);
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let now = state.latest;
        state.book.forget(&self.demand, now);
    }
}

impl fmt::Debug for MultiPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MultiPermit").field(&self.grant).finish()
    }
}

impl fmt::Debug for OwnedMultiPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedMultiPermit").field(&self.grant).finish()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.demand).finish()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
