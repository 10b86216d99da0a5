//! Everything that becomes due, ordered by time.
//!
//! A [`Timeline`] holds items with due times in whole microseconds of any clock, wall or monotonic; time is an
//! argument and nothing here reads a clock or polls. Items come out in exact order of (due time, insertion).
//!
//! ```
//! use tenfold::timeline::Timeline;
//!
//! let mut timeline = Timeline::new();
//! timeline.insert(2_000, "later");
//! let first = timeline.insert(1_000, "first");
//! timeline.insert(1_000, "second");
//! assert_eq!(timeline.next_deadline(), Some(1_000));
//! assert_eq!(timeline.cancel(first), Some("first"));
//! assert_eq!(timeline.expire(1_500).collect::<Vec<_>>(), [(1_000, "second")]);
//! assert_eq!(timeline.next_deadline(), Some(2_000));
//! ```
//!
//! # Cost
//!
//! Insert, cancel and re-arm are constant, amortised. An item that comes out has been moved a few times between
//! buckets and sorted among its neighbours. An entry takes 12.4 bytes and its item, 16.4 while it
//! lies in one of the coarse buckets, 13 days wide and more; slack is in chunks.
//! A cancelled entry leaves a record behind until its bucket comes up, or until there are more such records than
//! live entries: then all are swept at once.
//!
//! A million entries over a day, as in the `ratios` bench, take 20.6 bytes each. What bounds the rest: an insert writes just these bytes,
//! to memory that mostly was never touched; most of a cancel is the one read of the entry that its handle names, which no near
//! cache holds when a million are cancelled in no order (a handle is checked before it is believed).
//!
//! Clocks may jump. Forward, everything on the way is due, in order. Back, nothing fires twice and what is inserted
//! for times that were once passed waits its turn in a heap, at logarithmic cost, until there is more of it than of
//! the rest; then the timeline starts afresh from there. Due times may lie anywhere in an `i64`.
//!
//! # Invariants
//!
//! * **T1** each live entry has exactly one record, in the run, the heap or the calendar;
//! * **T2** the run is ordered by (time, insertion); run and heap hold times before the calendar's base, the
//!   calendar those from it on;
//! * **T3** of two entries with one time, one in the run and one in the heap, the one in the run was inserted first;
//! * **T4** no live entry is before `bound`.

mod bucket;
mod calendar;
mod slots;

#[cfg(test)]
mod model_tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bucket::Record;
use calendar::Calendar;
use slots::Slots;

/// Dead records, and entries in the heap, that are always tolerated. Few in tests, so that short histories go beyond.
const TOLERATED: usize = if cfg!(test) { 8 } else { 1_024 };
/// Records that a search for the next deadline may always look at.
const FREE: usize = 1_024;
/// How many more it may look at for each change since the last search.
const CREDIT: u64 = 16;

/// Names an entry of a [`Timeline`] until it comes out or is cancelled. A stale handle finds nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Handle {
    slot: u32,
    generation: u32,
}

/// Items by due time. See the [module](self).
///
/// Items are `Copy`: keys of what is due, not the thing itself. That saves the mark of an empty place.
#[derive(Clone, Debug)]
pub struct Timeline<T: Copy> {
    slots: Slots<T>,
    calendar: Calendar,
    /// What was found due, in order.
    run: VecDeque<Record>,
    /// What was inserted for times before the base: (key, number of insertion, slot).
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// Numbers the insertions into the heap.
    late: u64,
    /// Records whose entries were cancelled.
    dead: usize,
    /// T4. `u64::MAX` when nothing is there.
    bound: u64,
    /// Whether an entry lies exactly at `bound`.
    exact: bool,
    credit: u64,
}

/// An order-preserving map from times to keys.
const fn key_of(at: i64) -> u64 {
    at.cast_unsigned() ^ 1 << 63
}

const fn time_of(key: u64) -> i64 {
    (key ^ 1 << 63).cast_signed()
}

impl<T: Copy> Default for Timeline<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Timeline<T> {
    /// An empty timeline. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Slots::new(),
            calendar: Calendar::new(0),
            run: VecDeque::new(),
            heap: BinaryHeap::new(),
            late: 0,
            dead: 0,
            bound: u64::MAX,
            exact: false,
            credit: 0,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.live()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an item that is due at `at` microseconds, which may be past. Constant, amortised.
    ///
    /// The buckets are fine near the last time that [`pop_due`](Self::pop_due) or [`expire`](Self::expire) was told;
    /// before the first such call all times are far away, and the first call sorts them into buckets once.
    ///
    /// # Panics
    ///
    /// When there would be 2^32 entries and cancelled ones.
    pub fn insert(&mut self, at: i64, item: T) -> Handle {
        let key = key_of(at);
        let handle = self.slots.insert(item);
        if key >= self.calendar.edge() {
            self.calendar.push_beyond(Record::new(key, handle.slot)); // T2
        } else {
            self.insert_early(key, handle.slot);
        }
        self.credit += CREDIT;
        if key <= self.bound {
            (self.bound, self.exact) = (key, true);
        }
        handle
    }

    /// Adds the record of an entry that is due soon or was due before the base.
    #[cold]
    #[inline(never)]
    fn insert_early(&mut self, key: u64, slot: u32) {
        if key >= self.calendar.base() {
            self.calendar.push(Record::new(key, slot)); // T2
            return;
        }
        if self.len() == 1 && self.dead == 0 {
            // The clock went back and nothing is there to keep in order.
            self.calendar = Calendar::new(key & !0xFF_FFFF);
            self.calendar.push(Record::new(key, slot)); // T2
            return;
        }
        self.heap.push(Reverse((key, self.late, slot))); // T2, T3
        self.late += 1;
        if self.heap.len() > TOLERATED.max(self.calendar.len() + self.run.len()) {
            self.start_afresh();
        }
    }

    /// Takes an entry out before it is due. `None`: it came out or was cancelled before. Constant, amortised.
    pub fn cancel(&mut self, handle: Handle) -> Option<T> {
        let item = self.slots.kill(handle)?;
        self.dead += 1;
        self.credit += CREDIT;
        self.exact = false; // It may have been the first.
        if self.dead > TOLERATED + self.slots.live() {
            self.sweep();
        }
        Some(item)
    }

    /// Moves an entry to another due time, behind those that are there for the same time. Its old handle is stale.
    /// `None`: it came out or was cancelled before. Constant, amortised.
    #[must_use = "the old handle is stale"]
    pub fn rearm(&mut self, handle: Handle, at: i64) -> Option<Handle> {
        let item = self.cancel(handle)?;
        Some(self.insert(at, item))
    }

    /// The item of an entry.
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<T> {
        self.slots.get(handle)
    }

    /// When to look again: the due time of the first entry, or after cancellations sometimes a time before it, at
    /// which nothing is due; never a time after it. `None`: there are no entries.
    ///
    /// Constant, amortised. After a cancellation the first entry is searched only as far as the changes since the
    /// last search have paid for, which makes the answer exact again sooner or later.
    pub fn next_deadline(&mut self) -> Option<i64> {
        if self.is_empty() {
            self.bound = u64::MAX;
            return None;
        }
        if !self.exact {
            self.search();
        }
        Some(time_of(self.bound))
    }

    /// Takes out the first entry if it is due at `now`: its due time and its item.
    pub fn pop_due(&mut self, now: i64) -> Option<(i64, T)> {
        let end = key_of(now);
        if self.bound > end && (end ^ self.calendar.base()) >> 24 == 0 {
            return None;
        }
        loop {
            self.collect(end);
            let run = self.run.front().map(|record| record.key());
            let heap = self.heap.peek().map(|Reverse((key, ..))| *key);
            let first = match (run, heap) {
                (Some(run), Some(heap)) => run.min(heap),
                (run, heap) => run.or(heap).unwrap_or(u64::MAX),
            };
            if (run.is_none() && heap.is_none()) || first > end {
                self.set_bound(first);
                return None;
            }
            // T3: the run first.
            let slot = if run == Some(first) {
                self.run.pop_front().map(|record| record.slot)
            } else {
                self.heap.pop().map(|Reverse((_, _, slot))| slot)
            };
            if let Some(item) = self.slots.take(slot.expect("one of them has a first")) {
                self.credit += CREDIT;
                self.bound = first;
                self.exact = false;
                return Some((time_of(first), item));
            }
            self.dead -= 1;
        }
    }

    /// Takes out what is due at `now`, in order. What is left when the iterator is dropped stays.
    pub fn expire(&mut self, now: i64) -> Expire<'_, T> {
        Expire { timeline: self, now }
    }

    /// Bytes allocated for entries, buckets and slack.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.slots.allocated()
            + self.calendar.allocated()
            + self.run.capacity() * size_of::<Record>()
            + self.heap.capacity() * size_of::<(u64, u64, u32)>()
    }

    /// Moves what is due from the calendar to the run, in order, without the dead.
    fn collect(&mut self, end: u64) {
        let Self {
            calendar,
            slots,
            run,
            dead,
            ..
        } = self;
        calendar.advance(end, run, |record| {
            let live = slots.fetch(record.slot);
            if !live {
                slots.release(record.slot);
                *dead -= 1;
            }
            live
        });
    }

    /// Notes that nothing is due before `first`, the first time of run and heap, or before the calendar's base.
    fn set_bound(&mut self, first: u64) {
        self.bound = self.bound.max(first.min(self.calendar.base()));
        self.exact = false;
    }

    /// Finds the first live entry, as far as the credit goes. Else `bound` stays what it is (T4).
    fn search(&mut self) {
        while let Some(&record) = self.run.front() {
            if self.slots.is_live(record.slot) {
                break;
            }
            self.run.pop_front();
            self.slots.release(record.slot);
            self.dead -= 1;
        }
        while let Some(&Reverse((_, _, slot))) = self.heap.peek() {
            if self.slots.is_live(slot) {
                break;
            }
            self.heap.pop();
            self.slots.release(slot);
            self.dead -= 1;
        }
        let run = self.run.front().map(|record| record.key());
        let heap = self.heap.peek().map(|Reverse((key, ..))| *key);
        let mut first = run.into_iter().chain(heap).min();
        if first.is_none() {
            // T2: the calendar only matters when both are empty.
            let records = self.calendar.first_len();
            if records > FREE && records as u64 > self.credit {
                return;
            }
            self.credit = self.credit.saturating_sub(records as u64);
            let live = self
                .calendar
                .first_records()
                .filter(|record| self.slots.is_live(record.slot));
            first = live.map(Record::key).min();
            if first.is_none() {
                // Only dead ones: they go, and the next bucket is looked at.
                self.sweep();
                first = self.calendar.first_records().map(Record::key).min();
            }
        }
        if let Some(first) = first {
            (self.bound, self.exact) = (first, true);
        }
    }

    /// Drops the records of cancelled entries.
    #[cold]
    #[inline(never)]
    fn sweep(&mut self) {
        let Self {
            slots,
            calendar,
            run,
            heap,
            dead,
            ..
        } = self;
        run.retain(|record| slots.is_live(record.slot));
        heap.retain(|Reverse((_, _, slot))| slots.is_live(*slot));
        calendar.retain(|slot| slots.is_live(slot));
        slots.release_dead();
        *dead = 0;
    }

    /// Puts everything into a calendar that begins at the first time there is.
    fn start_afresh(&mut self) {
        let rest = self.calendar.drain();
        let heap = std::mem::take(&mut self.heap).into_sorted_vec();
        let first = heap.last().map(|Reverse((key, ..))| *key);
        let first = first
            .into_iter()
            .chain(self.run.front().map(|record| record.key()))
            .min();
        self.calendar = Calendar::new(first.unwrap_or_default());
        // T3: of equal times, those of the run were first. The heap sorts the greatest first.
        let heap = heap
            .into_iter()
            .rev()
            .map(|Reverse((key, _, slot))| Record::new(key, slot));
        for record in std::mem::take(&mut self.run).into_iter().chain(heap).chain(rest) {
            self.calendar.push(record);
        }
    }

    /// Panics unless the invariants hold.
    #[cfg(test)]
    fn check(&self) {
        self.calendar.check();
        self.slots.check();
        assert!(self.run.iter().map(|record| record.key()).is_sorted(), "T2");
        // At the end of time the base cannot move beyond what is due.
        let passed = |key: u64| key < self.calendar.base() || key == u64::MAX;
        assert!(self.run.iter().all(|record| passed(record.key())), "T2");
        assert!(self.heap.iter().all(|Reverse((key, ..))| passed(*key)), "T2");
        let records = self.calendar.len() + self.run.len() + self.heap.len();
        assert_eq!(records, self.slots.live() + self.dead, "T1");
    }
}

/// The entries that are due, in order, as they are taken out. Made by [`Timeline::expire`].
#[derive(Debug)]
pub struct Expire<'a, T: Copy> {
    timeline: &'a mut Timeline<T>,
    now: i64,
}

impl<T: Copy> Iterator for Expire<'_, T> {
    type Item = (i64, T);

    fn next(&mut self) -> Option<(i64, T)> {
        self.timeline.pop_due(self.now)
    }
}
