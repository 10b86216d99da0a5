//! Waiting for room in a bounded queue: a future for any runtime, and the same future driven by a sleeping thread.
//!
//! The mirror image of [`Pop`](super::Pop): who finds the queue full enters a line *before* it looks again, that look holds all
//! locks, and whoever takes an item out reads the line after that. So either the look finds the room, or the one who made
//! it finds the entry. All locks, because with several of them the room may be made under another one than that of the
//! level the item is for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
#[cfg(not(loom))]
use std::time::Instant;

use super::fault::Fault;
#[cfg(not(loom))]
use super::wait;
use super::{PushError, Queue, Rejected, Ticket};
use crate::Priority;

/// The push of an item, when there is room. Made by [`Queue::push_wait`].
///
/// Those who wait are woken in the order in which they first waited, one for each item that leaves; whoever pushes in
/// between may be faster. Needs no runtime: it only uses the waker it is given.
///
/// **Cancel-safe**: dropped before it resolved, it let nothing in, and a wake-up it had is passed on. The item goes with it;
/// [`into_item`](Self::into_item) gives it back instead.
#[must_use = "a future does nothing unless it is polled"]
pub struct PushWait<'a, T> {
    queue: &'a Queue<T>,
    priority: Priority,
    /// There until the future has resolved.
    item: Option<T>,
    /// The number in the line; from the first wait to the end.
    number: Option<u64>,
}

// The item is moved, never pinned.
impl<T> Unpin for PushWait<'_, T> {}

impl<'a, T> PushWait<'a, T> {
    pub(super) fn new(queue: &'a Queue<T>, priority: Priority, item: T) -> Self {
        Self {
            queue,
            priority,
            item: Some(item),
            number: None,
        }
    }

    /// Gives up, and gives the item back. `None` when the future has resolved.
    #[must_use]
    pub fn into_item(mut self) -> Option<T> {
        self.item.take()
    }

    /// What a push answers now; `None` is *wait*. `surely`: *full* is to be the word of one instant of the whole queue.
    fn look(&mut self, surely: bool) -> Option<Result<Ticket, Rejected<T>>> {
        match self.queue.let_in(self.priority, self.item.take()?, surely) {
            Err(Rejected {
                value,
                reason: PushError::Full { .. },
            }) => {
                self.item = Some(value);
                None
            }
            answer => Some(answer),
        }
    }

    fn leave(&mut self, keep: Fault) {
        let keeps = self.queue.fault.is(keep);
        self.queue.room.give_up(&mut self.number, keeps);
    }
}

impl<T> Future for PushWait<'_, T> {
    type Output = Result<Ticket, Rejected<T>>;

    /// Resolves to the ticket, or to the item with [`PushError::Closed`]. Polled once more after that it stays pending.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.number.is_none()
            && let Some(answer) = this.look(false)
        {
            return Poll::Ready(answer);
        }
        if this.item.is_none() {
            return Poll::Pending;
        }
        // First into the line (again, if woken), then look: see the module for why this order loses nothing.
        this.queue.room.enter(&mut this.number, context.waker());
        if this.queue.fault.is(Fault::LookThenEnter) {
            return Poll::Pending;
        }
        let Some(answer) = this.look(!this.queue.fault.is(Fault::LookAtOneLock)) else {
            return Poll::Pending;
        };
        // Woken between entering and finding: the wake-up was for other room.
        this.leave(Fault::KeepSecond);
        Poll::Ready(answer)
    }
}

impl<T> Drop for PushWait<'_, T> {
    fn drop(&mut self) {
        self.leave(Fault::KeepWakeUp);
    }
}

impl<T> fmt::Debug for PushWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushWait")
            .field("priority", &self.priority)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl<T> Queue<T> {
    /// Adds an item at the back of its level, once there is room, without blocking the thread: a future for any runtime. See
    /// [`PushWait`]. A queue without bound always has room.
    pub fn push_wait(&self, priority: Priority, item: T) -> PushWait<'_, T> {
        PushWait::new(self, priority, item)
    }
}

#[cfg(not(loom))]
impl<T> Queue<T> {
    /// As [`Self::push_wait`], blocking the thread: looks again for some microseconds, then sleeps.
    ///
    /// # Errors
    ///
    /// The item with [`PushError::Closed`] once the queue is closed.
    ///
    /// ```
    /// use tenfold::{Priority, queue::Queue};
    ///
    /// let queue = Queue::builder().capacity(1).build()?;
    /// queue.push(Priority::MIN, 1).expect("it is empty");
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| queue.push_blocking(Priority::MIN, 2));
    ///     assert_eq!(queue.pop_blocking().unwrap().item, 1);
    /// });
    /// assert_eq!(queue.try_pop().unwrap().item, 2);
    /// # Ok::<(), tenfold::queue::SettingsError>(())
    /// ```
    pub fn push_blocking(&self, priority: Priority, item: T) -> Result<Ticket, Rejected<T>> {
        self.wait_for_room(priority, item, None)
    }

    /// As [`Self::push_blocking`], until a deadline. One that has passed still lets the item in if there is room.
    ///
    /// # Errors
    ///
    /// The item with [`PushError::Full`] when there was no room in time, with [`PushError::Closed`] once the queue is closed.
    pub fn push_until(&self, priority: Priority, item: T, deadline: Instant) -> Result<Ticket, Rejected<T>> {
        self.wait_for_room(priority, item, Some(deadline))
    }

    fn wait_for_room(
        &self,
        priority: Priority,
        item: T,
        deadline: Option<Instant>,
    ) -> Result<Ticket, Rejected<T>> {
        let mut push = self.push_wait(priority, item);
        if let Some(answer) = wait::block_on(&mut push, deadline, |push| push.look(false)) {
            return answer;
        }
        let value = push
            .into_item()
            .expect("it has not resolved, so it holds the item");
        let capacity = self.capacity().unwrap_or(usize::MAX);
        Err(Rejected {
            value,
            reason: PushError::Full { capacity },
        })
    }
}
