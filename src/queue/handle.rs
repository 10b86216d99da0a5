//! The queue that is shared: [`Queue`], its tickets, and what a pop gives.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::bands::{Bands, Found, Refusal, Spot};
use super::fault::Fault;
use super::lanes;
use super::settings::QueueBuilder;
use super::wait::Waiters;
use super::{Batch, Pop, PushError, Rejected, Tickets};
use crate::Priority;

/// Names one item in one queue, for as long as the item waits there.
///
/// A stale ticket, and one of another queue, finds nothing, and never another item.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket {
    queue: u64,
    spot: Spot,
}

impl Ticket {
    #[inline]
    pub(super) fn new(queue: u64, spot: Spot) -> Self {
        Self { queue, spot }
    }

    /// The level the item was pushed to.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.spot.priority()
    }
}

/// An item that left the queue, with the place it had. Dropping it drops the item; [`Queue::put_back`] undoes the pop.
#[derive(Debug)]
pub struct Popped<T> {
    /// The item.
    pub item: T,
    ticket: Ticket,
}

impl<T> Popped<T> {
    #[inline]
    pub(super) fn new(queue: u64, taken: lanes::Taken<T, u64>) -> Self {
        Self {
            item: taken.item,
            ticket: Ticket::new(queue, taken.ticket),
        }
    }

    /// The level the item waited in: the base level, also with aging.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.ticket.priority()
    }

    /// The ticket the item had. Stale, unless the item is put back.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The item alone, which cannot be put back any more.
    #[must_use]
    pub fn into_item(self) -> T {
        self.item
    }
}

/// A strict priority queue with ten levels, first in first out inside each. Shared by reference or in an [`Arc`](std::sync::Arc).
///
/// Every call takes effect at one instant between its start and its return, in one order for the whole queue; whoever pops
/// gets the item that is first at that instant. See the [module](super) for the promises and what they cost.
///
/// ```
/// use tenfold::{Priority, queue::Queue};
///
/// let queue = Queue::new();
/// queue.push(Priority::MIN, "sweep")?;
/// let ticket = queue.push(Priority::MIN, "report")?;
/// queue.push(Priority::MAX, "page someone")?;
/// assert_eq!(queue.try_pop().unwrap().item, "page someone");
///
/// queue.relevel(ticket, Priority::MAX);
/// assert_eq!(queue.try_pop().unwrap().item, "report");
/// # Ok::<(), tenfold::queue::Rejected<&str>>(())
/// ```
pub struct Queue<T> {
    id: u64,
    core: Core<T>,
    /// Who waits for an item, and who for room.
    pub(super) waiters: Waiters,
    pub(super) room: Waiters,
    pub(super) fault: Fault,
}

/// Items that age carry the time they came; others cost no byte for it.
enum Core<T> {
    Strict(Bands<T, ()>),
    Aging(Bands<T, u64>),
}

/// The same call for both kinds of queue.
macro_rules! on {
    ($queue:expr, $bands:ident => $call:expr) => {
        match &$queue.core {
            Core::Strict($bands) => $call,
            Core::Aging($bands) => $call,
        }
    };
}

/// Names queues inside this process, so that a ticket knows its own.
static QUEUES: AtomicU64 = AtomicU64::new(0);

impl<T> Queue<T> {
    /// A queue without bound, without aging, with the default number of locks.
    #[must_use]
    pub fn new() -> Self {
        Self::with(None, super::settings::DEFAULT_LOCKS, None)
    }

    /// A queue with other settings.
    pub const fn builder() -> QueueBuilder<T> {
        QueueBuilder::new()
    }

    pub(super) fn with(capacity: Option<usize>, locks: usize, aging: Option<u64>) -> Self {
        Self {
            // Relaxed: only has to be different each time.
            id: QUEUES.fetch_add(1, Relaxed),
            core: match aging {
                None => Core::Strict(Bands::new(capacity, locks, 0)),
                Some(interval) => Core::Aging(Bands::new(capacity, locks, interval)),
            },
            waiters: Waiters::new(),
            room: Waiters::new(),
            fault: Fault::None,
        }
    }

    /// Adds an item at the back of its level. Constant time.
    ///
    /// # Errors
    ///
    /// The item with [`PushError::Full`] (not now) or [`PushError::Closed`] (never); the queue is unchanged.
    #[inline]
    pub fn push(&self, priority: Priority, item: T) -> Result<Ticket, Rejected<T>> {
        self.let_in(priority, item, false)
    }

    /// A push; if `surely`, *full* is the word of one instant of the whole queue, which takes all locks.
    #[inline]
    pub(super) fn let_in(&self, priority: Priority, item: T, surely: bool) -> Result<Ticket, Rejected<T>> {
        if self.fault.is(Fault::WakeFirst) {
            self.waiters.wake(1);
        }
        let pushed = if surely {
            on!(self, bands => bands.push_surely(priority, item))
        } else {
            on!(self, bands => bands.push(priority, item))
        };
        match pushed {
            Ok(spot) => {
                if !self.fault.is(Fault::WakeFirst) {
                    self.waiters.wake(1);
                }
                Ok(self.ticket(spot))
            }
            Err((value, refusal)) => Err(Rejected {
                value,
                reason: self.reason(refusal),
            }),
        }
    }

    /// As [`Self::push`], and tells the queue the time: for queues with aging. See [`Self::tell`].
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn push_at(&self, priority: Priority, item: T, now: Duration) -> Result<Ticket, Rejected<T>> {
        self.tell(now);
        self.push(priority, item)
    }

    /// Adds all items in the order given, in one step, or none. Returns their tickets in that order, made as they are
    /// asked for. Linear in the batch, of which the smaller part is under the locks.
    ///
    /// # Errors
    ///
    /// The batch, unchanged, with [`PushError::Full`] (not now), [`PushError::Oversized`] (never: it is greater than the
    /// capacity) or [`PushError::Closed`] (never).
    ///
    /// ```
    /// use tenfold::{Priority, queue::Queue};
    ///
    /// let queue = Queue::new();
    /// let mut tickets = queue.push_batch(vec![(Priority::MIN, "a"), (Priority::MAX, "b")])?;
    /// let first = tickets.next().expect("of `a`");
    /// assert_eq!(queue.remove(first).expect("it waits").item, "a");
    /// assert_eq!(queue.pop_batch(2).map(|popped| popped.item).collect::<Vec<_>>(), ["b"]);
    /// # Ok::<(), tenfold::queue::Rejected<Vec<(Priority, &str)>>>(())
    /// ```
    pub fn push_batch(&self, batch: Vec<(Priority, T)>) -> Result<Tickets, Rejected<Vec<(Priority, T)>>> {
        let items = batch.len();
        if let Some(capacity) = self.capacity().filter(|&capacity| capacity < items) {
            let reason = PushError::Oversized { items, capacity };
            return Err(Rejected { value: batch, reason });
        }
        // Before the lock.
        let mut counts = [0; Priority::LEVELS];
        let levels: Vec<_> = batch
            .iter()
            .map(|&(priority, _)| {
                counts[priority.lane()] += 1;
                priority
            })
            .collect();
        match on!(self, bands => bands.push_batch(batch, &counts)) {
            Ok((place, first)) => {
                self.waiters.wake(items);
                Ok(Tickets::new(self.id, place, first, levels))
            }
            Err((value, refusal)) => Err(Rejected {
                value,
                reason: self.reason(refusal),
            }),
        }
    }

    /// Takes the item that comes first, without waiting.
    ///
    /// `None` means that all levels were empty at one instant during the call. Constant time, plus a lock for each band
    /// above the one the item is in.
    #[inline]
    pub fn try_pop(&self) -> Option<Popped<T>> {
        if self.fault.is(Fault::WakeFirst) {
            self.room.wake(1);
        }
        on!(self, bands => bands.pop(|found| match found {
            Found::Item(taken) => {
                self.freed(1);
                Some(self.popped(taken))
            }
            Found::Empty | Found::Closed => None,
        }))
    }

    /// As [`Self::try_pop`], and tells the queue the time: for queues with aging. See [`Self::tell`].
    pub fn try_pop_at(&self, now: Duration) -> Option<Popped<T>> {
        self.tell(now);
        self.try_pop()
    }

    /// Takes the first `max` items in one step, or all there are if these are fewer. Linear in what it takes, under the locks;
    /// without aging as many as one level has in one chunk of 64 are moved at once.
    pub fn pop_batch(&self, max: usize) -> Batch<T> {
        let batch = Batch::new(self.id, on!(self, bands => bands.pop_batch(max)));
        self.freed(batch.len());
        batch
    }

    /// Waits for an item without blocking the thread: a future for any runtime. See [`Pop`].
    pub fn pop(&self) -> Pop<'_, T> {
        Pop::new(self)
    }

    /// Puts an item back exactly where it stood; its ticket is good again. Logarithmic in what has been put back to that
    /// level and still waits.
    ///
    /// Neither a full nor a closed queue refuses: the item was let in before. A queue may thus exceed its capacity by what
    /// was put back, and lets nothing else in until it is below.
    ///
    /// # Errors
    ///
    /// The item, when it is of another queue.
    pub fn put_back(&self, popped: Popped<T>) -> Result<Ticket, Popped<T>> {
        if popped.ticket.queue != self.id {
            return Err(popped);
        }
        let Popped { item, ticket } = popped;
        let taken = lanes::Taken {
            ticket: ticket.spot,
            item,
        };
        let spot = on!(self, bands => bands.put_back(taken));
        self.waiters.wake(1);
        Ok(self.ticket(spot))
    }

    /// Takes the item of a ticket, if it still waits. Constant time.
    pub fn remove(&self, ticket: Ticket) -> Option<Popped<T>> {
        let taken = on!(self, bands => bands.remove(self.spot(ticket)?))?;
        self.freed(1);
        Some(self.popped(taken))
    }

    /// Moves the item of a ticket to the back of a level (with aging: it begins to age anew). Returns its new ticket; the
    /// old one is stale. `None`, and no change, if the item does not wait any more. Constant time.
    pub fn relevel(&self, ticket: Ticket, priority: Priority) -> Option<Ticket> {
        let spot = on!(self, bands => bands.relevel(self.spot(ticket)?, priority))?;
        Some(self.ticket(spot))
    }

    /// Whether the item of a ticket waits. True of one instant during the call.
    #[must_use]
    pub fn contains(&self, ticket: Ticket) -> bool {
        self.spot(ticket)
            .is_some_and(|spot| on!(self, bands => bands.contains(spot)))
    }

    /// How many items wait in each level, level 1 first, all at one instant. Takes every lock once, for a few nanoseconds.
    /// With aging these are the base levels.
    #[must_use]
    pub fn counts(&self) -> [usize; Priority::LEVELS] {
        on!(self, bands => bands.counts())
    }

    /// How many items wait, at one instant.
    #[must_use]
    pub fn len(&self) -> usize {
        on!(self, bands => bands.len())
    }

    /// Whether all levels are empty, at one instant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items the queue may hold; `None` is without bound.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        on!(self, bands => bands.capacity())
    }

    /// How many locks the levels share.
    #[must_use]
    pub fn locks(&self) -> usize {
        on!(self, bands => bands.locks())
    }

    /// Lets nothing in from now on, and tells all who wait. What is in can still be popped, moved and put back.
    /// Whether the queue was open.
    pub fn close(&self) -> bool {
        if self.fault.is(Fault::WakeThenClose) {
            self.waiters.wake(usize::MAX);
            self.room.wake(usize::MAX);
            return on!(self, bands => bands.close());
        }
        let was_open = on!(self, bands => bands.close());
        self.waiters.wake(usize::MAX);
        self.room.wake(usize::MAX);
        was_open
    }

    /// Whether the queue was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        on!(self, bands => bands.is_closed())
    }

    /// Tells a queue with aging the time: any monotonic time, counted from one origin for the whole queue. The latest
    /// time told is the one that counts; an earlier one changes nothing. Without aging this does nothing.
    pub fn tell(&self, now: Duration) {
        on!(self, bands => bands.tell(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)));
    }

    /// Gives back the memory that is kept for the next pushes. What waiting items used goes back by itself.
    pub fn shrink(&self) {
        on!(self, bands => bands.shrink());
    }

    /// Panics unless every invariant holds.
    #[cfg(any(test, fuzzing))]
    pub fn check_invariants(&self) {
        on!(self, bands => bands.check());
    }

    #[inline]
    pub(super) fn find(&self) -> Found<T> {
        let found = on!(self, bands => bands.pop(|found| found));
        if let Found::Item(_) = found {
            self.freed(1);
        }
        found
    }

    /// Items have left. Called without a lock held.
    #[inline]
    fn freed(&self, count: usize) {
        if !self.fault.is(Fault::WakeFirst) {
            self.room.wake(count);
        }
    }

    /// Makes one step of the protocol wrong, for the models that must fail.
    #[cfg(all(test, loom))]
    pub(super) fn break_with(&mut self, fault: Fault) {
        self.fault = fault;
        match &mut self.core {
            Core::Strict(bands) => bands.fault = fault,
            Core::Aging(bands) => bands.fault = fault,
        }
    }

    #[inline]
    pub(super) fn popped(&self, taken: lanes::Taken<T, u64>) -> Popped<T> {
        Popped::new(self.id, taken)
    }

    #[inline]
    fn ticket(&self, spot: Spot) -> Ticket {
        Ticket::new(self.id, spot)
    }

    fn spot(&self, ticket: Ticket) -> Option<Spot> {
        (ticket.queue == self.id).then_some(ticket.spot)
    }

    fn reason(&self, refusal: Refusal) -> PushError {
        match refusal {
            Refusal::Closed => PushError::Closed,
            Refusal::Full => PushError::Full {
                capacity: self.capacity().unwrap_or(usize::MAX),
            },
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("id", &self.id)
            .field("capacity", &self.capacity())
            .field("locks", &self.locks())
            .finish_non_exhaustive()
    }
}
