//! Records by time: fine buckets near the base, coarser ones further away.
//!
//! A record's key is compared with the *base*, the first key that is not yet due. The highest byte in which they
//! differ is the record's level, and the key's byte there is its bucket: 256 buckets on each of 8 levels, a
//! microsecond wide on level 0 and 9 years on level 6. When the base moves into a bucket, what it holds moves to
//! finer ones, until few enough records share the base's bucket: these are sorted once, and are the *near* ones. So a
//! record moves at most once per level, and mostly once.
//!
//! All keys in a bucket of levels 0 to 4 have their upper half in common. There a record is the lower half and the slot,
//! 8 bytes, and the base and the bucket's number say the rest. On the coarse levels it is 12.
//!
//! # Invariants
//!
//! * **C1** every key is at or after the base;
//! * **C2** a key lies on the level and in the bucket that the base gives it, so keys on one level are all before
//!   those on the next, and in one bucket before those in the next;
//! * **C3** records with equal keys are in one bucket, in the order of their insertion;
//! * **C4** bit `n` of a level's map is set exactly when its bucket `n` holds records;
//! * **C5** the near ones are all keys before the edge, in the order of key and insertion; the edge is the base, or the end
//!   of the bucket of some level that the base lies in.

use std::collections::VecDeque;

use super::bucket::{Level, Record, Short, sort};

/// Levels whose buckets are at most 2^32 microseconds wide.
const FINE: usize = 5;

/// Records that are not yet due. See the module.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    base: u64,
    fine: [Option<Level<Short>>; FINE],
    coarse: [Option<Level<Record>>; 8 - FINE],
    len: usize,
    near: VecDeque<Record>,
    edge: u64,
}

/// So many records of one bucket become the near ones; fewer than would fill finer buckets with one or two each.
/// Small in tests, so that short histories come through all of it.
const FEW: usize = if cfg!(test) { 4 } else { 256 };
/// With more near ones than this, an insertion among them would move too many: they go to finer buckets.
const MANY: usize = if cfg!(test) { 16 } else { 1_024 };

#[inline]
const fn level_of(difference: u64) -> usize {
    (63 - (difference | 1).leading_zeros() as usize) / 8
}

#[expect(clippy::cast_possible_truncation, reason = "only the low byte is kept")]
const fn bucket_of(key: u64, level: usize) -> u8 {
    (key >> (8 * level)) as u8
}

/// The upper half of all keys in a bucket of a fine level.
const fn high_of(base: u64, level: usize, bucket: u8) -> u32 {
    let high = (base >> 32) as u32;
    if level == FINE - 1 {
        high & !0xFF | bucket as u32
    } else {
        high
    }
}

impl Calendar {
    pub(super) const fn new(base: u64) -> Self {
        Self {
            base,
            fine: [const { None }; FINE],
            coarse: [const { None }; 8 - FINE],
            len: 0,
            near: VecDeque::new(),
            edge: base,
        }
    }

    /// The first key that is not yet due.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Keys from this on go straight to their buckets. Not before the base.
    #[inline(always)]
    pub(super) const fn edge(&self) -> u64 {
        self.edge
    }

    /// Records held, dead ones too.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a record whose key is not before the base.
    pub(super) fn push(&mut self, record: Record) {
        debug_assert!(record.key() >= self.base, "C1");
        if record.key() < self.edge {
            self.len += 1;
            self.push_near(record);
        } else {
            self.push_beyond(record);
        }
    }

    /// Adds a record whose key is not before the edge.
    #[inline(always)]
    pub(super) fn push_beyond(&mut self, record: Record) {
        self.len += 1;
        self.push_far(record);
    }

    #[inline(always)]
    fn push_far(&mut self, record: Record) {
        let level = level_of(record.key() ^ self.base);
        let bucket = bucket_of(record.key(), level); // C2
        if level < FINE {
            self.fine[level]
                .get_or_insert_with(Level::new)
                .push(bucket, record);
        } else {
            self.push_coarse(level, bucket, record);
        }
    }

    #[cold]
    #[inline(never)]
    fn push_coarse(&mut self, level: usize, bucket: u8, record: Record) {
        let level = self.coarse[level - FINE].get_or_insert_with(Level::new);
        level.push(bucket, record);
    }

    #[cold]
    #[inline(never)]
    fn push_near(&mut self, record: Record) {
        if self.near.len() < MANY {
            let at = self.near.partition_point(|other| other.key() <= record.key());
            self.near.insert(at, record); // C5
            return;
        }
        self.edge = self.base;
        for record in std::mem::take(&mut self.near).into_iter().chain([record]) {
            self.push_far(record); // C3
        }
    }

    /// The first bucket of a level that holds records.
    fn first_on(&self, level: usize) -> Option<u8> {
        match level.checked_sub(FINE) {
            None => self.fine[level].as_ref()?.first(),
            Some(level) => self.coarse.get(level)?.as_ref()?.first(),
        }
    }

    /// Takes the records of a bucket out, in order of insertion.
    fn take(&mut self, level: usize, bucket: u8) -> Vec<Record> {
        let high = high_of(self.base, level, bucket);
        let records: Vec<Record> = match level.checked_sub(FINE) {
            None => self.fine[level]
                .as_mut()
                .map(|level| level.take(bucket).records(high).collect()),
            Some(level) => self.coarse[level]
                .as_mut()
                .map(|level| level.take(bucket).records(high).collect()),
        }
        .unwrap_or_default();
        self.len -= records.len();
        records
    }

    /// Moves the base just beyond `end` and adds what is due to `run`, in the order of key and insertion: those of which
    /// `keep` says so.
    pub(super) fn advance(
        &mut self,
        end: u64,
        run: &mut VecDeque<Record>,
        mut keep: impl FnMut(Record) -> bool,
    ) {
        if end < self.base {
            return;
        }
        let base = end.saturating_add(1);
        let early = self.near.partition_point(|record| record.key() <= end);
        self.len -= early;
        run.extend(self.near.drain(..early).filter(|&record| keep(record)));
        if base < self.edge {
            self.base = base;
            return;
        }
        let mut hand_out = |mut records: Vec<Record>| {
            records.retain(|&record| keep(record));
            sort(&mut records);
            run.extend(records);
        };
        let top = level_of(self.base ^ base);
        // At the end of time everything is due.
        let (top, edge) = if end == u64::MAX {
            (8, 0)
        } else {
            (top, bucket_of(base, top))
        };
        for level in 0..top {
            while let Some(bucket) = self.first_on(level) {
                hand_out(self.take(level, bucket));
            }
        }
        while let Some(bucket) = self.first_on(top).filter(|&bucket| bucket < edge) {
            hand_out(self.take(top, bucket));
        }
        let crossed = top > 0 && self.first_on(top) == Some(edge);
        // The bucket that the base then lies in: what is due goes out, the rest to finer buckets or to the near ones.
        let rest = if crossed { self.take(top, edge) } else { Vec::new() };
        (self.base, self.edge) = (base, base);
        if crossed {
            let (early, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|record| record.key() < base);
            hand_out(early);
            self.len += rest.len();
            self.split(rest, top);
        }
    }

    /// Puts away the records that lie, with the base, in one bucket of this level, which is at least 1.
    fn split(&mut self, mut records: Vec<Record>, mut level: usize) {
        while FEW < records.len() && 1 < level {
            level -= 1;
            let base = self.base;
            let with_base = |record: Record| level_of(record.key() ^ base) < level;
            if level < FINE {
                // As many as each finer bucket will hold, so that these need not grow in small steps.
                let mut counts = [0; 256];
                for record in records.iter().filter(|&&record| !with_base(record)) {
                    counts[usize::from(bucket_of(record.key(), level))] += 1;
                }
                let finer = self.fine[level].get_or_insert_with(Level::new);
                finer.make_room(&counts);
            }
            records.retain(|&record| {
                if !with_base(record) {
                    self.push_far(record);
                }
                with_base(record)
            });
        }
        let end = ((self.base >> (8 * level)) + 1).checked_mul(1 << (8 * level));
        match end {
            Some(end) if records.len() <= FEW => {
                sort(&mut records);
                (self.near, self.edge) = (records.into(), end); // C5
            }
            _ => records.into_iter().for_each(|record| self.push_far(record)),
        }
    }

    /// The first level and bucket that hold records.
    fn first(&self) -> Option<(usize, u8)> {
        (0..8).find_map(|level| Some((level, self.first_on(level)?)))
    }

    /// How many records the near ones or else the first bucket are. 0: there are none.
    pub(super) fn first_len(&self) -> usize {
        if !self.near.is_empty() {
            return self.near.len();
        }
        let len = |(level, bucket): (usize, u8)| match level.checked_sub(FINE) {
            None => Some(self.fine[level].as_ref()?.get(bucket).len()),
            Some(level) => Some(self.coarse[level].as_ref()?.get(bucket).len()),
        };
        self.first().and_then(len).unwrap_or(0)
    }

    /// The records that come first: the near ones, or all in one bucket, which are in order of insertion.
    pub(super) fn first_records(&self) -> impl Iterator<Item = Record> {
        let first = self.first().filter(|_| self.near.is_empty());
        let fine = first.and_then(|(level, bucket)| {
            let records = self.fine.get(level)?.as_ref()?.get(bucket);
            Some(records.records(high_of(self.base, level, bucket)))
        });
        let coarse = first.and_then(|(level, bucket)| {
            let level = self.coarse.get(level.checked_sub(FINE)?)?;
            Some(level.as_ref()?.get(bucket).records(0))
        });
        let near = self.near.iter().copied();
        near.chain(fine.into_iter().flatten())
            .chain(coarse.into_iter().flatten())
    }

    /// Keeps the records that `live` says, in their order.
    pub(super) fn retain(&mut self, live: impl Fn(u32) -> bool) {
        self.near.retain(|record| live(record.slot));
        let fine = self.fine.iter_mut().flatten().map(|level| level.retain(&live));
        let coarse = self.coarse.iter_mut().flatten().map(|level| level.retain(&live));
        self.len = self.near.len() + fine.chain(coarse).sum::<usize>();
    }

    /// Takes all records out, equal keys in their order.
    pub(super) fn drain(&mut self) -> Vec<Record> {
        self.len -= self.near.len();
        let mut all = Vec::from(std::mem::take(&mut self.near));
        while let Some((level, bucket)) = self.first() {
            all.extend(self.take(level, bucket));
        }
        all
    }

    pub(super) fn allocated(&self) -> usize {
        let fine = self.fine.iter().flatten().map(Level::allocated);
        let coarse = self.coarse.iter().flatten().map(Level::allocated);
        fine.chain(coarse).sum::<usize>() + self.near.capacity() * size_of::<Record>()
    }

    /// Panics unless C1 to C5 hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut len = self.near.len();
        assert!(self.base <= self.edge, "C5");
        assert!(self.near.iter().map(|record| record.key()).is_sorted(), "C5");
        let near = self.base..self.edge;
        assert!(self.near.iter().all(|record| near.contains(&record.key())), "C5");
        let mut check = |number: usize, bucket: u8, records: Vec<Record>| {
            for record in &records {
                assert!(record.key() >= self.edge, "C1, C5");
                assert_eq!(level_of(record.key() ^ self.base), number, "C2");
                assert_eq!(bucket_of(record.key(), number), bucket, "C2");
            }
            len += records.len();
        };
        for (number, level) in self.fine.iter().enumerate() {
            for (bucket, records) in level.iter().flat_map(Level::check) {
                let high = high_of(self.base, number, bucket);
                check(number, bucket, records.records(high).collect());
            }
        }
        for (number, level) in self.coarse.iter().enumerate() {
            for (bucket, records) in level.iter().flat_map(Level::check) {
                check(FINE + number, bucket, records.records(0).collect());
            }
        }
        assert_eq!(len, self.len);
    }
}
