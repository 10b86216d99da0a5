//! The locks: ten levels in bands of neighbours, one lock each.
//!
//! # The rule
//!
//! **An operation holds, at one instant, the locks of all bands that its answer depends on.** A push depends on the band
//! of its level; a pop on every band from the highest down to the one it takes from, because it says that those above
//! are empty; an empty answer and the counts on all. Locks are taken from the highest band down and none is taken after
//! one was let go, so operations take effect one after the other, as if there were one lock, at an instant at which each
//! held all it needed. That is the whole argument for Q1, Q2 and Q5, and it does not mention memory orderings.
//!
//! The number of items, which a bounded queue with several locks counts in one word, changes only while the lock of a
//! band is held for the change that it counts, so it belongs to the same order.

use crossbeam::utils::CachePadded;

use super::batch::{Items, Many, PerLane};
use super::fault::Fault;
use super::lanes::{Lanes, Taken, Ticket};
use super::lock::{self, Spin};
use crate::Priority;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The place of an item in its level: when it came, in nanoseconds of the time told, if the queue ages; else nothing,
/// because the order of arrival is all there is.
pub(super) trait Stamp: Copy + Ord {
    /// Whether it says anything.
    const AGES: bool;

    fn of(told: u64) -> Self;

    fn told(self) -> u64;

    /// What a queue with these stamps gave.
    fn items<T>(many: Many<T, Self>) -> Items<T>;
}

impl Stamp for () {
    const AGES: bool = false;

    #[inline]
    fn of(_: u64) {}

    #[inline]
    fn told(self) -> u64 {
        0
    }

    fn items<T>(many: Many<T, Self>) -> Items<T> {
        Items::Strict(many)
    }
}

impl Stamp for u64 {
    const AGES: bool = true;

    #[inline]
    fn of(told: u64) -> Self {
        told
    }

    #[inline]
    fn told(self) -> u64 {
        self
    }

    fn items<T>(many: Many<T, Self>) -> Items<T> {
        Items::Aging(many)
    }
}

/// A ticket that is the same type for all stamps.
pub(super) type Spot = Ticket<u64>;

#[inline]
fn spot<P: Stamp>(ticket: Ticket<P>) -> Spot {
    ticket.with_place(ticket.place().told())
}

#[inline]
fn ticket<P: Stamp>(spot: Spot) -> Ticket<P> {
    spot.with_place(P::of(spot.place()))
}

#[inline]
pub(super) fn taken<T, P: Stamp>(taken: Taken<T, P>) -> Taken<T, u64> {
    Taken {
        ticket: spot(taken.ticket),
        item: taken.item,
    }
}

/// What one lock guards.
// The order of the fields is kept, as in `Lanes`.
#[repr(C)]
pub(super) struct Band<T, P: Copy + Ord> {
    closed: bool,
    /// Holds items of the levels of this band only.
    lanes: Lanes<T, P>,
}

/// A band and its lock, on cache lines of their own.
type Lock<T, P> = CachePadded<Spin<Band<T, P>>>;
type Guard<'a, T, P> = lock::Guard<'a, Band<T, P>>;
type Guards<'a, T, P> = [Option<Guard<'a, T, P>>; Priority::LEVELS];

/// Why items were not let in. The queue makes the error of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

/// What a pop found at one instant.
pub(super) enum Found<T> {
    Item(Taken<T, u64>),
    Empty,
    /// Empty, and closed.
    Closed,
}

/// Ten levels under one to ten locks.
///
/// # Invariants
///
/// * **B1** band 0 holds the highest levels, and `band_of` never rises with the level;
/// * **B2** a bounded queue with several locks has `counted` equal to the sum of the lane lengths whenever all locks
///   are held;
/// * **B3** `closed` is the same in all bands whenever all locks are held.
pub(super) struct Bands<T, P: Copy + Ord> {
    /// The highest band, in place: who waits for a lock loads nothing before it but its address.
    top: Lock<T, P>,
    /// The bands below it.
    below: Box<[Lock<T, P>]>,
    band_of: [u8; Priority::LEVELS],
    /// `usize::MAX` when there is no bound.
    capacity: usize,
    /// Whether `counted` is kept: a bounded queue with several locks.
    counting: bool,
    /// The interval after which an item rises a level, and the latest time told. In nanoseconds; for stamps that age.
    interval: u64,
    told: AtomicU64,
    counted: CachePadded<AtomicUsize>,
    pub(super) fault: Fault,
}

impl<T, P: Stamp> Bands<T, P> {
    pub(super) fn new(capacity: Option<usize>, locks: usize, interval: u64) -> Self {
        let band = || {
            CachePadded::new(Spin::new(Band {
                lanes: Lanes::new(),
                closed: false,
            }))
        };
        Self {
            top: band(),
            below: std::iter::repeat_with(band).take(locks - 1).collect(),
            band_of: std::array::from_fn(|lane| {
                u8::try_from((Priority::LEVELS - 1 - lane) * locks / Priority::LEVELS).expect("below ten")
            }),
            capacity: capacity.unwrap_or(usize::MAX),
            counting: capacity.is_some() && locks > 1,
            interval,
            told: AtomicU64::new(0),
            counted: CachePadded::new(AtomicUsize::new(0)),
            fault: Fault::None,
        }
    }

    pub(super) fn locks(&self) -> usize {
        1 + self.below.len()
    }

    #[inline]
    fn band(&self, index: usize) -> Option<&Lock<T, P>> {
        match index.checked_sub(1) {
            None => Some(&self.top),
            Some(below) => self.below.get(below),
        }
    }

    #[inline]
    fn lock_band(&self, index: usize) -> Guard<'_, T, P> {
        self.band(index).expect("levels lead to bands there are").lock()
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    /// Makes this the latest time told, unless a later one was.
    pub(super) fn tell(&self, now: u64) {
        if P::AGES {
            // Relaxed: a caller's own call sees it, and others through the locks; it is only ever compared.
            self.told.fetch_max(now, Relaxed);
        }
    }

    /// The place at the back of a level whose lock is held. Never below an earlier one of that level: the lock orders
    /// the loads.
    #[inline]
    fn stamp(&self) -> P {
        P::of(if P::AGES { self.told.load(Relaxed) } else { 0 })
    }

    #[inline]
    fn index(&self, priority: Priority) -> usize {
        usize::from(self.band_of[priority.lane()])
    }

    #[inline]
    fn lock(&self, priority: Priority) -> Guard<'_, T, P> {
        self.lock_band(self.index(priority))
    }

    /// Locks the bands that `wanted` names, the highest first.
    fn lock_some(&self, wanted: impl Fn(usize) -> bool) -> Guards<'_, T, P> {
        std::array::from_fn(|index| self.band(index).filter(|_| wanted(index)).map(|band| band.lock()))
    }

    /// Lets `count` items in if there is room; the lock of a band they go to is held.
    #[inline]
    fn admit(&self, band: &Band<T, P>, count: usize) -> Result<(), Refusal> {
        if band.closed {
            return Err(Refusal::Closed);
        }
        if !self.counting {
            // One lock, or no bound: the lanes of this band are the number.
            let fits = count <= self.capacity.saturating_sub(band.lanes.len());
            return if fits { Ok(()) } else { Err(Refusal::Full) };
        }
        // Relaxed: a number; what it counts is ordered by the locks.
        let room = |held: usize| held.checked_add(count).filter(|&sum| sum <= self.capacity);
        if self.fault.is(Fault::CheckThenCount) {
            let held = self.counted.load(Relaxed);
            room(held).ok_or(Refusal::Full)?;
            self.counted.fetch_add(count, Relaxed);
            return Ok(());
        }
        self.counted
            .fetch_update(Relaxed, Relaxed, room)
            .map(|_| ())
            .map_err(|_| Refusal::Full)
    }

    #[inline]
    fn dismiss(&self, count: usize) {
        if self.counting {
            self.counted.fetch_sub(count, Relaxed);
        }
    }

    #[inline]
    pub(super) fn push(&self, priority: Priority, item: T) -> Result<Spot, (T, Refusal)> {
        let mut band = self.lock(priority);
        match self.admit(&band, 1) {
            Ok(()) => Ok(spot(band.lanes.push(priority, self.stamp(), item))),
            Err(refusal) => {
                drop(band); // Before the item leaves for code that may drop it.
                Err((item, refusal))
            }
        }
    }

    /// As [`Self::push`], with all locks held: *full* is then the word of one instant, before or after which every pop is.
    pub(super) fn push_surely(&self, priority: Priority, item: T) -> Result<Spot, (T, Refusal)> {
        let mut guards = self.lock_some(|_| true);
        let band = guards[self.index(priority)].as_mut().expect("all are locked");
        match self.admit(band, 1) {
            Ok(()) => Ok(spot(band.lanes.push(priority, self.stamp(), item))),
            Err(refusal) => {
                drop(guards); // Before the item leaves for code that may drop it.
                Err((item, refusal))
            }
        }
    }

    /// Pushes all or none. `counts`: how many go to each lane. Returns their place, and the number of the first in each lane;
    /// those of one lane follow one another.
    #[expect(
        clippy::type_complexity,
        reason = "a batch that was refused, or where it stands"
    )]
    pub(super) fn push_batch(
        &self,
        mut batch: Vec<(Priority, T)>,
        counts: &PerLane<usize>,
    ) -> Result<(u64, PerLane<u64>), (Vec<(Priority, T)>, Refusal)> {
        let Some(&(first, _)) = batch.first() else {
            return Ok((0, [0; Priority::LEVELS]));
        };
        if self.below.is_empty() {
            let mut band = self.top.lock();
            if let Err(refusal) = self.admit(&band, batch.len()) {
                drop(band);
                return Err((batch, refusal));
            }
            let stamp = self.stamp();
            let first = band.lanes.push_many(stamp, batch.drain(..), counts);
            return Ok((stamp.told(), first));
        }
        let wanted = batch
            .iter()
            .fold(0_u16, |bits, (priority, _)| bits | 1 << self.index(*priority));
        let mut guards = self.lock_some(|index| wanted >> index & 1 == 1);
        let band = guards[self.index(first)]
            .as_mut()
            .expect("the batch goes there, so it is locked");
        if let Err(refusal) = self.admit(band, batch.len()) {
            drop(guards);
            return Err((batch, refusal));
        }
        let stamp = self.stamp();
        let mut first = [u64::MAX; Priority::LEVELS];
        for (priority, item) in batch.drain(..) {
            let band = guards[self.index(priority)].as_mut();
            let band = band.expect("the item goes there, so it is locked");
            let number = band.lanes.push(priority, stamp, item).number();
            let first = &mut first[priority.lane()];
            *first = number.min(*first);
        }
        Ok((stamp.told(), first))
    }

    /// Puts an item back where it stood; closed and full do not matter, it was let in before.
    pub(super) fn put_back(&self, taken: Taken<T, u64>) -> Spot {
        let mut band = self.lock(taken.ticket.priority());
        if self.counting {
            self.counted.fetch_add(1, Relaxed);
        }
        let back = band.lanes.put_back(Taken {
            ticket: ticket(taken.ticket),
            item: taken.item,
        });
        drop(band);
        match back {
            Ok(ticket) => spot(ticket),
            Err(_) => unreachable!("what was taken is not copied, so its place is free"),
        }
    }

    /// Takes the item that comes first, and says what to make of what was found. The answer is made where the item is
    /// still in registers: an item that went through memory on its way is loaded wide before its stores have landed,
    /// which cost a quarter of a pop.
    #[inline(always)]
    pub(super) fn pop<R>(&self, answer: impl Fn(Found<T>) -> R) -> R {
        if P::AGES {
            return answer(self.pop_aged());
        }
        if self.fault.is(Fault::LookThenTake) {
            let top = self.top.lock().lanes.top();
            let found = top.and_then(|top| self.top.lock().lanes.pop_first_of(top));
            return answer(found.map_or(Found::Empty, |item| Found::Item(taken(item))));
        }
        let mut band = self.top.lock();
        match band.lanes.pop_first() {
            Some(item) => {
                self.dismiss(1);
                drop(band);
                answer(Found::Item(taken(item)))
            }
            None => answer(self.pop_below(band, 0)),
        }
    }

    /// Takes from the bands below the one that is held; that one and all above are locked and empty.
    #[inline(never)]
    fn pop_below(&self, held: Guard<'_, T, P>, index: usize) -> Found<T> {
        let Some(below) = self.band(index + 1) else {
            return if held.closed { Found::Closed } else { Found::Empty };
        };
        let mut held = Some(held);
        if self.fault.is(Fault::LetGo) {
            held = None;
        }
        let mut band = below.lock();
        let found = match band.lanes.pop_first() {
            Some(item) => {
                self.dismiss(1);
                Found::Item(taken(item))
            }
            None => self.pop_below(band, index + 1),
        };
        drop(held);
        found
    }

    #[inline(never)]
    fn pop_aged(&self) -> Found<T> {
        let mut guards = self.lock_some(|_| true);
        let found = self.pop_oldest(&mut guards);
        drop(guards);
        found
    }

    /// Takes the item of the greatest effective level; of these the one that waits longest. All locks are held.
    fn pop_oldest(&self, guards: &mut Guards<'_, T, P>) -> Found<T> {
        let now = self.told.load(Relaxed);
        let effective = |priority: Priority, at: u64| {
            let risen = now.saturating_sub(at) / self.interval;
            (u64::from(priority.level()).saturating_add(risen)).min(u64::from(Priority::MAX.level()))
        };
        let first = Priority::descending()
            .filter_map(|priority| {
                let band = guards[self.index(priority)].as_ref()?;
                let at = band.lanes.first_of(priority)?.0.place().told();
                Some((
                    std::cmp::Reverse(effective(priority, at)),
                    at,
                    std::cmp::Reverse(priority),
                ))
            })
            .min();
        let found = first.and_then(|(.., std::cmp::Reverse(priority))| {
            guards[self.index(priority)]
                .as_mut()?
                .lanes
                .pop_first_of(priority)
        });
        match found {
            Some(item) => {
                self.dismiss(1);
                Found::Item(taken(item))
            }
            None if guards[0].as_ref().is_some_and(|band| band.closed) => Found::Closed,
            None => Found::Empty,
        }
    }

    /// Takes the first `max` items, or all there are, in one step.
    pub(super) fn pop_batch(&self, max: usize) -> Items<T> {
        // A greater batch grows as it is taken; a wrong `max` is not worth a great allocation.
        let mut many = Many::with_room(max.min(256));
        if P::AGES {
            let mut guards = self.lock_some(|_| true);
            for _ in 0..max {
                let Found::Item(Taken { ticket: spot, item }) = self.pop_oldest(&mut guards) else {
                    break;
                };
                let ticket = ticket(spot);
                many.push(Taken { ticket, item });
            }
        } else if max != 0 {
            self.pop_batch_from(0, max, &mut many);
        }
        P::items(many)
    }

    fn pop_batch_from(&self, index: usize, max: usize, many: &mut Many<T, P>) {
        let mut band = self.lock_band(index);
        let got = band.lanes.pop_many(max, many);
        self.dismiss(got);
        if got < max && index < self.below.len() {
            self.pop_batch_from(index + 1, max - got, many);
        }
    }

    pub(super) fn contains(&self, spot: Spot) -> bool {
        self.lock(spot.priority()).lanes.get(ticket(spot)).is_some()
    }

    pub(super) fn remove(&self, spot: Spot) -> Option<Taken<T, u64>> {
        if self.fault.is(Fault::FindThenTake) {
            let found = self.contains(spot);
            let mut band = self.lock(spot.priority());
            let item = found.then(|| band.lanes.pop_first_of(spot.priority())).flatten();
            return item.map(taken);
        }
        let mut band = self.lock(spot.priority());
        let item = band.lanes.remove(ticket(spot))?;
        self.dismiss(1);
        Some(taken(item))
    }

    /// Moves an item to the back of a level.
    pub(super) fn relevel(&self, from: Spot, priority: Priority) -> Option<Spot> {
        let (old, new) = (self.index(from.priority()), self.index(priority));
        if self.fault.is(Fault::MoveApart) {
            let moved = self.lock_band(old).lanes.remove(ticket(from))?;
            let pushed = self.lock_band(new).lanes.push(priority, self.stamp(), moved.item);
            return Some(spot(pushed));
        }
        if old == new {
            let mut band = self.lock_band(old);
            return band.lanes.relevel(ticket(from), priority, self.stamp()).map(spot);
        }
        let mut guards = self.lock_some(|index| index == old || index == new);
        let moved = guards[old].as_mut()?.lanes.remove(ticket(from))?;
        let band = guards[new].as_mut().expect("both bands are locked");
        Some(spot(band.lanes.push(priority, self.stamp(), moved.item)))
    }

    /// The lengths of all levels at one instant, level 1 first.
    pub(super) fn counts(&self) -> [usize; Priority::LEVELS] {
        if self.fault.is(Fault::CountApart) {
            return std::array::from_fn(|lane| self.lock(Priority::of_lane(lane)).lanes.counts()[lane]);
        }
        let guards = self.lock_some(|_| true);
        let mut counts = [0; Priority::LEVELS];
        for band in guards.iter().flatten() {
            for (sum, count) in counts.iter_mut().zip(band.lanes.counts()) {
                *sum += count;
            }
        }
        counts
    }

    pub(super) fn len(&self) -> usize {
        let guards = self.lock_some(|_| true);
        guards.iter().flatten().map(|band| band.lanes.len()).sum()
    }

    /// Lets nothing in from now on. Whether it was open.
    pub(super) fn close(&self) -> bool {
        let mut guards = self.lock_some(|_| true);
        let mut was_open = false;
        for band in guards.iter_mut().flatten() {
            was_open |= !std::mem::replace(&mut band.closed, true); // B3
        }
        was_open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.top.lock().closed
    }

    /// Gives back memory that is kept for the next pushes.
    pub(super) fn shrink(&self) {
        for index in 0..self.locks() {
            self.lock_band(index).lanes.shrink();
        }
    }

    /// Panics unless every invariant holds.
    #[cfg(any(test, fuzzing))]
    pub(super) fn check(&self) {
        assert!(
            self.band_of.is_sorted_by(|low, high| low >= high),
            "B1 broken: bands rise"
        );
        let guards = self.lock_some(|_| true);
        let mut sum = 0;
        for (index, band) in guards.iter().enumerate() {
            let Some(band) = band else { continue };
            band.lanes.check();
            sum += band.lanes.len();
            for (lane, count) in band.lanes.counts().into_iter().enumerate() {
                assert!(
                    count == 0 || usize::from(self.band_of[lane]) == index,
                    "B1 broken: lane {lane}"
                );
            }
            assert_eq!(
                guards[0].as_ref().map(|first| first.closed),
                Some(band.closed),
                "B3 broken"
            );
        }
        assert!(!self.counting || self.counted.load(Relaxed) == sum, "B2 broken");
    }
}
