//! The unlocked core: ten lanes, a map of which hold something, and tickets. No lock, no clock.

#![expect(
    clippy::inline_always,
    reason = "the paths of nanoseconds are measured with their callers around them"
)]

use std::fmt;

use super::batch::{Many, PerLane, Run};
use super::lane::{Lane, LaneIter, Spares, Tail};
use crate::Priority;

const NUMBER_BITS: u32 = 60;

/// Names one item in one [`Lanes`], for as long as the item stays there.
///
/// A ticket is never given out twice by the same `Lanes`. Only meaningful for the `Lanes` that gave it.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Ticket<P> {
    place: P,
    /// Bits 60 to 63: the lane. Bits 0 to 59: the number in it.
    word: u64,
}

impl<P> Ticket<P> {
    #[inline]
    pub(super) fn new(lane: usize, place: P, number: u64) -> Self {
        Self {
            place,
            word: (lane as u64) << NUMBER_BITS | number,
        }
    }

    pub(super) fn lane(&self) -> usize {
        usize::try_from(self.word >> NUMBER_BITS).expect("four bits")
    }

    pub(super) fn number(&self) -> u64 {
        self.word & ((1 << NUMBER_BITS) - 1)
    }

    /// The same spot in lanes that know another kind of place.
    #[inline]
    pub(super) fn with_place<Q>(&self, place: Q) -> Ticket<Q> {
        Ticket {
            place,
            word: self.word,
        }
    }

    /// The level the item was pushed to.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::of_lane(self.lane())
    }

    /// The place that the item was pushed with.
    #[must_use]
    pub fn place(&self) -> P
    where
        P: Copy,
    {
        self.place
    }
}

impl<P: fmt::Debug> fmt::Debug for Ticket<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("level", &self.priority().level())
            .field("place", &self.place)
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}

/// An item that [`Lanes::pop_first`] or [`Lanes::remove`] took out, and where it stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken<T, P> {
    /// The ticket that the item had; [`Lanes::put_back`] makes it good again.
    pub ticket: Ticket<P>,
    /// The item.
    pub item: T,
}

/// Ten FIFO lanes: the order that [`Queue`](super::Queue) locks and that the engine builds on.
///
/// Items stand in the order (level, greatest first; `P`, least first; order of pushing). `P` is the item's *place* in its
/// level, whatever the user orders by; an item whose place is not below that of any other in its lane is appended,
/// any other is inserted. A `Lanes` that was never pushed to is a few words and owns no heap.
///
/// | operation | cost |
/// |---|---|
/// | `push` in order, `first`, `pop_first`, `len`, `counts` | constant |
/// | `get`, `remove`, `relevel` of an appended item | constant; a binary search over chunks of 64 once most of a lane was removed from its middle |
/// | any of these for an item out of order | logarithmic in the number of items out of order in that level |
/// | one step of an iterator | constant, amortised |
///
/// Constant is meant amortised: every 64th push takes a chunk, an emptied chunk is given back or reused.
///
/// # Invariants
///
/// * **I1** bit `n` of `occupied` is set exactly when lane `n` holds an item;
/// * **I2** `len` is the sum of the lane lengths;
/// * **I3** the numbers of every lane that was given up are below `start`.
///
/// ```
/// use tenfold::{Priority, queue::Lanes};
///
/// let mut lanes = Lanes::new();
/// let slow = lanes.push(Priority::MIN, 1, "slow");
/// lanes.push(Priority::MAX, 2, "urgent");
/// assert_eq!(lanes.pop_first().unwrap().item, "urgent");
/// assert_eq!(lanes.remove(slow).unwrap().item, "slow");
/// assert!(lanes.remove(slow).is_none());
/// ```
// The order of the fields is kept: what every call touches comes first, and lies on two cache lines under a lock.
#[expect(clippy::struct_field_names, reason = "ten lanes are what it is")]
#[repr(C)]
pub struct Lanes<T, P> {
    occupied: u16,
    len: usize,
    lanes: [Option<Box<Lane<P, T>>>; Priority::LEVELS],
    start: u64,
    spares: Spares<P, T>,
}

// A lane that holds something is one bit.
const _: () = assert!(Priority::LEVELS <= u16::BITS as usize);

impl<T, P: Copy + Ord> Lanes<T, P> {
    /// Ten empty lanes. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lanes: [const { None }; Priority::LEVELS],
            occupied: 0,
            len: 0,
            start: 0,
            spares: Vec::new(),
        }
    }

    /// Adds an item at `place` of its level: behind all of a smaller or equal place, before all of a greater one.
    #[inline(always)]
    pub fn push(&mut self, priority: Priority, place: P, item: T) -> Ticket<P> {
        let index = priority.lane();
        let lane = match &mut self.lanes[index] {
            Some(lane) => lane,
            none => open(none, self.start),
        };
        let number = lane.push(place, item, &mut self.spares);
        self.occupied |= 1 << index; // I1
        self.len += 1; // I2
        Ticket::new(index, place, number)
    }

    /// Adds items in their order, all at `place`. `counts`: how many go to each lane. Returns the number of the first in each
    /// lane; those of one lane follow one another.
    ///
    /// What a lane keeps of its items is brought up to date once for all that it gets, not once for each.
    pub(super) fn push_many(
        &mut self,
        place: P,
        items: impl Iterator<Item = (Priority, T)>,
        counts: &PerLane<usize>,
    ) -> PerLane<u64> {
        let mut first = [0; Priority::LEVELS];
        let mut tails = [const { None }; Priority::LEVELS];
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let count = counts[index];
            if count == 0 {
                continue;
            }
            let lane = match lane {
                Some(lane) => lane,
                none => open(none, self.start),
            };
            first[index] = lane.next_at(place);
            tails[index] = Some(lane.extend(place, count));
            self.occupied |= 1 << index; // I1
            self.len += count; // I2
        }
        for (priority, item) in items {
            match &mut tails[priority.lane()] {
                Some(Tail::Items(tail)) => tail.push_back((place, item)),
                Some(Tail::Lane(lane)) => {
                    lane.push(place, item, &mut self.spares);
                }
                None => unreachable!("the counts are those of the items"),
            }
        }
        first
    }

    /// Puts an item that was taken out back to exactly where it stood, under the ticket it had.
    ///
    /// # Errors
    ///
    /// The item, when the ticket's place is taken: it was put back already.
    pub fn put_back(&mut self, taken: Taken<T, P>) -> Result<Ticket<P>, Taken<T, P>> {
        let ticket = taken.ticket;
        let index = ticket.lane();
        if self.get(ticket).is_some() {
            return Err(taken);
        }
        let lane = match &mut self.lanes[index] {
            Some(lane) => lane,
            none => open(none, self.start),
        };
        lane.put_back(ticket.place, ticket.number(), taken.item);
        self.occupied |= 1 << index; // I1
        self.len += 1; // I2
        Ok(ticket)
    }

    /// The highest level that holds an item.
    #[must_use]
    #[inline]
    pub fn top(&self) -> Option<Priority> {
        let above = self.occupied.leading_zeros() as usize;
        (u16::BITS as usize - 1).checked_sub(above).map(Priority::of_lane)
    }

    /// The item that comes first: of the highest level that holds one, the one with the least place.
    #[must_use]
    pub fn first(&self) -> Option<(Ticket<P>, &T)> {
        self.first_of(self.top()?)
    }

    /// The item that comes first in one level.
    #[must_use]
    pub fn first_of(&self, priority: Priority) -> Option<(Ticket<P>, &T)> {
        let (place, number, item) = self.lanes[priority.lane()].as_ref()?.first()?;
        Some((Ticket::new(priority.lane(), place, number), item))
    }

    /// Takes the item that comes first.
    #[inline(always)]
    pub fn pop_first(&mut self) -> Option<Taken<T, P>> {
        self.pop_first_of(self.top()?)
    }

    /// Takes the item that comes first in one level.
    #[inline(always)]
    pub fn pop_first_of(&mut self, priority: Priority) -> Option<Taken<T, P>> {
        let index = priority.lane();
        let lane = self.lanes[index].as_mut()?;
        let (place, number, item) = lane.pop_first(&mut self.spares)?;
        if lane.is_empty() {
            self.occupied &= !(1 << index); // I1
        }
        self.len -= 1; // I2
        Some(Taken {
            ticket: Ticket::new(index, place, number),
            item,
        })
    }

    /// Takes up to `max` items in order and adds them to `many`. Returns how many.
    pub(super) fn pop_many(&mut self, max: usize, many: &mut Many<T, P>) -> usize {
        let mut got = 0;
        let Many { items, runs, .. } = many;
        while got < max
            && let Some(top) = self.top()
            && let lane = top.lane()
            && let Some(from) = &mut self.lanes[lane]
        {
            let run = from.pop_run(max - got, &mut self.spares, items, |base, mask| {
                runs.push(Run { lane, base, mask });
            });
            if from.is_empty() {
                self.occupied &= !(1 << lane); // I1
            }
            self.len -= run; // I2
            got += run;
        }
        got
    }

    /// The item of a ticket, if it is still here.
    #[must_use]
    pub fn get(&self, ticket: Ticket<P>) -> Option<&T> {
        self.lanes
            .get(ticket.lane())?
            .as_ref()?
            .get(ticket.place, ticket.number())
    }

    /// Takes the item of a ticket, if it is still here. A stale ticket finds nothing, never another item.
    pub fn remove(&mut self, ticket: Ticket<P>) -> Option<Taken<T, P>> {
        let index = ticket.lane();
        let lane = self.lanes.get_mut(index)?.as_mut()?;
        let item = lane.remove(ticket.place, ticket.number(), &mut self.spares)?;
        if lane.is_empty() {
            self.occupied &= !(1 << index); // I1
        }
        self.len -= 1; // I2
        Some(Taken { ticket, item })
    }

    /// Moves the item of a ticket to `place` of another level, or of its own. Returns its new ticket; the old one is
    /// stale. `None`, and no change, when the ticket is stale.
    pub fn relevel(&mut self, ticket: Ticket<P>, priority: Priority, place: P) -> Option<Ticket<P>> {
        let taken = self.remove(ticket)?;
        Some(self.push(priority, place, taken.item))
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many items wait in each level, level 1 first.
    #[must_use]
    pub fn counts(&self) -> [usize; Priority::LEVELS] {
        std::array::from_fn(|index| self.lanes[index].as_ref().map_or(0, |lane| lane.len()))
    }

    /// All items, the first to be popped first. Lazy.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T, P> {
        Iter {
            lanes: self,
            lane: Priority::LEVELS,
            items: None,
        }
    }

    /// The items that come after `place` in level `priority`, then those of the levels below. Logarithmic to start, then lazy.
    #[must_use]
    pub fn iter_after(&self, priority: Priority, place: P) -> Iter<'_, T, P> {
        let index = priority.lane();
        let items = self.lanes[index].as_ref().map(|lane| lane.iter_after(place));
        Iter {
            lanes: self,
            lane: index,
            items,
        }
    }

    /// The items of one level, the first to be popped first. Lazy.
    pub fn iter_of(&self, priority: Priority) -> impl Iterator<Item = (Ticket<P>, &T)> {
        let index = priority.lane();
        let items = self.lanes[index].as_ref().map(|lane| lane.iter());
        items
            .into_iter()
            .flatten()
            .map(move |(place, number, item)| (Ticket::new(index, place, number), item))
    }

    /// Takes all items in order, one with each step. What is not taken stays.
    pub fn drain(&mut self) -> impl Iterator<Item = Taken<T, P>> {
        std::iter::from_fn(|| self.pop_first())
    }

    /// Drops all items and gives their memory back. Their tickets find nothing, for ever.
    pub fn clear(&mut self) {
        for lane in &mut self.lanes {
            if let Some(lane) = lane.take() {
                self.start = self.start.max(lane.next()); // I3
            }
        }
        self.occupied = 0;
        self.len = 0;
        self.spares = Vec::new();
    }

    /// Gives back what a `Lanes` keeps for its next pushes: empty lanes and spare chunks. The memory of waiting items
    /// goes back by itself as they leave; this is for one of many that has become idle.
    pub fn shrink(&mut self) {
        for lane in &mut self.lanes {
            if let Some(idle) = lane.take_if(|lane| lane.is_empty()) {
                self.start = self.start.max(idle.next()); // I3
            }
        }
        self.spares = Vec::new();
    }

    /// Panics unless every invariant holds, here and in every lane.
    #[cfg(any(test, fuzzing))]
    pub fn check(&self) {
        for (index, lane) in self.lanes.iter().enumerate() {
            let holds = lane.as_ref().is_some_and(|lane| !lane.is_empty());
            assert_eq!(
                self.occupied >> index & 1 == 1,
                holds,
                "I1 broken at lane {index}"
            );
            if let Some(lane) = lane {
                lane.check();
            }
        }
        assert_eq!(self.len, self.counts().iter().sum::<usize>(), "I2 broken");
    }
}

/// The first push to a level makes its lane.
#[cold]
#[inline(never)]
fn open<T, P: Copy + Ord>(lane: &mut Option<Box<Lane<P, T>>>, start: u64) -> &mut Lane<P, T> {
    lane.insert(Box::new(Lane::new(start)))
}

impl<T, P: Copy + Ord> Default for Lanes<T, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, P: Copy + Ord> fmt::Debug for Lanes<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl<'a, T, P: Copy + Ord> IntoIterator for &'a Lanes<T, P> {
    type Item = (Ticket<P>, &'a T);
    type IntoIter = Iter<'a, T, P>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Items in the order in which they would be popped. Made by [`Lanes::iter`] and [`Lanes::iter_after`].
pub struct Iter<'a, T, P: Copy + Ord> {
    lanes: &'a Lanes<T, P>,
    /// The lane of `items`; the lanes below are still to come.
    lane: usize,
    items: Option<LaneIter<'a, P, T>>,
}

impl<'a, T, P: Copy + Ord> Iterator for Iter<'a, T, P> {
    type Item = (Ticket<P>, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((place, number, item)) = self.items.as_mut().and_then(Iterator::next) {
                return Some((Ticket::new(self.lane, place, number), item));
            }
            self.lane = self.lane.checked_sub(1)?;
            self.items = self.lanes.lanes[self.lane].as_ref().map(|lane| lane.iter());
        }
    }
}

impl<T, P: Copy + Ord> fmt::Debug for Iter<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "lanes_tests.rs"]
mod tests;
