//! Waiting for an item: a future for any runtime, and the same future driven by a sleeping thread.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
#[cfg(not(loom))]
use std::time::Instant;

use super::bands::Found;
use super::fault::Fault;
use super::{Closed, Popped, Queue};
#[cfg(not(loom))]
use super::{WaitError, wait};

/// The next item, when there is one. Made by [`Queue::pop`].
///
/// Those who wait are woken in the order in which they first waited, one for each item; whoever pops in between may be
/// faster. Resolves to [`Closed`] once the queue is closed and empty. Needs no runtime: it only uses the waker it is given.
///
/// **Cancel-safe**: dropped before it resolved, it took no item, and a wake-up it had is passed on.
#[must_use = "a future does nothing unless it is polled"]
pub struct Pop<'a, T> {
    queue: &'a Queue<T>,
    /// The number in the line; from the first wait to the end.
    number: Option<u64>,
}

impl<'a, T> Pop<'a, T> {
    pub(super) fn new(queue: &'a Queue<T>) -> Self {
        Self { queue, number: None }
    }

    /// What a pop answers now; `None` is *wait*.
    fn look(&self) -> Option<Result<Popped<T>, Closed>> {
        match self.queue.find() {
            Found::Item(taken) => Some(Ok(self.queue.popped(taken))),
            Found::Closed => Some(Err(Closed)),
            Found::Empty => None,
        }
    }

    fn leave(&mut self, keep: Fault) {
        let keeps = self.queue.fault.is(keep);
        self.queue.waiters.give_up(&mut self.number, keeps);
    }
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<Popped<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.number.is_none()
            && let Some(answer) = self.look()
        {
            return Poll::Ready(answer);
        }
        // First into the line (again, if woken), then look: see `wait` for why this order loses nothing.
        let this = &mut *self;
        this.queue.waiters.enter(&mut this.number, context.waker());
        if this.queue.fault.is(Fault::LookThenEnter) {
            return Poll::Pending;
        }
        let Some(answer) = this.look() else {
            return Poll::Pending;
        };
        // Woken between entering and finding: the wake-up was for another item, which waits.
        this.leave(Fault::KeepSecond);
        Poll::Ready(answer)
    }
}

impl<T> Drop for Pop<'_, T> {
    fn drop(&mut self) {
        self.leave(Fault::KeepWakeUp);
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
impl<T> Queue<T> {
    /// Waits for an item, blocking the thread: looks again for some microseconds, then sleeps.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the queue is closed and empty.
    ///
    /// ```
    /// use tenfold::{Priority, queue::Queue};
    ///
    /// let queue = Queue::new();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| queue.push(Priority::MIN, 7));
    ///     assert_eq!(queue.pop_blocking().unwrap().item, 7);
    /// });
    /// queue.close();
    /// assert!(queue.pop_blocking().is_err());
    /// ```
    pub fn pop_blocking(&self) -> Result<Popped<T>, Closed> {
        self.wait(None).unwrap_or(Err(Closed))
    }

    /// As [`Self::pop_blocking`], until a deadline. One that has passed still gives an item that is there.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when nothing came in time, [`WaitError::Closed`] once the queue is closed and empty.
    pub fn pop_until(&self, deadline: Instant) -> Result<Popped<T>, WaitError> {
        match self.wait(Some(deadline)) {
            Some(answer) => answer.map_err(WaitError::Closed),
            None => Err(WaitError::TimedOut),
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<Result<Popped<T>, Closed>> {
        wait::block_on(&mut self.pop(), deadline, |pop| pop.look())
    }
}
