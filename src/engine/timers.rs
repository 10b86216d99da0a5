//! Instants at which something becomes due, in exact order.
//!
//! An ordered map, and not the [timeline](crate::timeline), though that inserts and cancels in constant time: the engine
//! answers each call with its next deadline, which must be exact, also just after the first entry was cancelled, where the
//! timeline gives a bound below it. And there is little to win: a timer is set once for each planning of a schedule and for
//! each attempt with a timeout, beside steps that cost a hundred times as much. `cargo bench --bench schedule -- timers`
//! has both side by side: on two cores about 180 ns for the whole of it among 100,000, with either.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// Names an entry until it fires or is cancelled.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct TimerKey {
    at: i64,
    // Never zero, so that "no timer" takes no room of its own.
    seq: NonZeroU64,
}

/// Entries by (instant in microseconds, order of insertion). Every operation is logarithmic.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    entries: BTreeMap<TimerKey, T>,
    next: NonZeroU64,
}

impl TimerKey {
    /// When it fires.
    pub(crate) const fn at(self) -> i64 {
        self.at
    }

    /// How many were set before it.
    pub(crate) const fn number(self) -> u64 {
        self.seq.get()
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            next: NonZeroU64::MIN,
        }
    }
}

impl<T> Timers<T> {
    pub(crate) fn insert(&mut self, at: i64, item: T) -> TimerKey {
        let key = TimerKey { at, seq: self.next };
        self.next = self.next.saturating_add(1);
        self.entries.insert(key, item);
        key
    }

    /// The [number](TimerKey::number) of the next that is set.
    pub(crate) const fn next_number(&self) -> u64 {
        self.next.get()
    }

    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.entries.remove(&key)
    }

    pub(crate) fn deadline(&self) -> Option<i64> {
        self.entries.first_key_value().map(|(key, _)| key.at)
    }

    /// Takes out the first entry, whenever it is due.
    pub(crate) fn pop(&mut self) -> Option<(i64, T)> {
        self.entries.pop_first().map(|(key, item)| (key.at, item))
    }

    /// All entries, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        self.entries.iter().map(|(key, item)| (key.at, item))
    }
}
