//! Instants at which something becomes due, in exact order.

use std::collections::BTreeMap;

/// Names an entry until it fires or is cancelled.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct TimerKey {
    at: i64,
    seq: u64,
}

/// Entries by (instant in microseconds, order of insertion). Every operation is logarithmic.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    entries: BTreeMap<TimerKey, T>,
    next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Timers<T> {
    pub(crate) fn insert(&mut self, at: i64, item: T) -> TimerKey {
        let key = TimerKey { at, seq: self.next };
        self.next += 1;
        self.entries.insert(key, item);
        key
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
