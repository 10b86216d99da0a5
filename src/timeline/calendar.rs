//! Records by time: fine buckets near the base, coarser ones further away.
//!
//! A record's key is compared with the *base*, the first key that is not yet due. The highest byte in which they
//! differ is the record's level, and the key's byte there is its bucket: 256 buckets on each of 8 levels, a
//! microsecond wide on level 0 and 9 years on level 6. When the base moves into a bucket, what it holds moves to
//! finer ones, until few enough records share the base's bucket: these are sorted once, and are the *near* ones. So a
//! record moves at most once per level, and mostly once.
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

/// A due time and the slot of its item. 12 bytes: the halves of the key keep the alignment at 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    high: u32,
    low: u32,
    pub(super) slot: u32,
}

impl Record {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the key")]
    pub(super) const fn new(key: u64, slot: u32) -> Self {
        Self {
            high: (key >> 32) as u32,
            low: key as u32,
            slot,
        }
    }

    pub(super) const fn key(self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }
}

/// Records in order of insertion, in chunks: growing moves nothing, and at most one chunk is slack.
#[derive(Clone, Debug)]
struct Bucket {
    full: Vec<Vec<Record>>,
    tail: Vec<Record>,
}

/// Records in a chunk of a bucket.
const CHUNK: usize = 512;

impl Bucket {
    const EMPTY: Self = Self {
        full: Vec::new(),
        tail: Vec::new(),
    };

    #[inline(always)]
    fn push(&mut self, record: Record) {
        if self.tail.len() == CHUNK {
            self.fill();
        }
        self.tail.push(record);
    }

    #[cold]
    #[inline(never)]
    fn fill(&mut self) {
        let full = std::mem::replace(&mut self.tail, Vec::with_capacity(CHUNK));
        self.full.push(full);
    }

    fn len(&self) -> usize {
        self.full.len() * CHUNK + self.tail.len()
    }

    /// Keeps the records that `live` says, in their order, and adds the slots of the others to `gone`.
    ///
    /// Without a branch on the answer: of records cancelled in no order the processor would guess every second one wrongly.
    fn retain(&mut self, live: &impl Fn(u32) -> bool, gone: &mut Gone) {
        let mut kept = Self::EMPTY;
        let mut out = vec![Record::new(0, 0); CHUNK.min(self.len())];
        let mut count = 0;
        for chunk in self.full.drain(..).chain([std::mem::take(&mut self.tail)]) {
            for record in chunk {
                if count == CHUNK {
                    kept.full
                        .push(std::mem::replace(&mut out, vec![Record::new(0, 0); CHUNK]));
                    count = 0;
                }
                let is_live = live(record.slot);
                out[count] = record;
                count += usize::from(is_live);
                gone.add(record.slot, !is_live);
            }
        }
        out.truncate(count);
        kept.tail = out;
        *self = kept;
    }

    fn iter(&self) -> impl Iterator<Item = Record> {
        self.full.iter().flatten().chain(&self.tail).copied()
    }

    fn into_records(mut self) -> Vec<Record> {
        if self.full.is_empty() {
            return self.tail;
        }
        self.full.push(self.tail);
        self.full.concat()
    }

    /// Adds the records that `keep` says to `run`, in the order of key and insertion.
    fn hand_out(&self, run: &mut VecDeque<Record>, keep: &mut impl FnMut(Record) -> bool) {
        let from = run.len();
        for chunk in self.full.iter().chain([&self.tail]) {
            run.extend(chunk.iter().copied().filter(|&record| keep(record)));
        }
        // Stable, so that equal keys stay in order of insertion.
        run.make_contiguous()[from..].sort_by_key(|record| record.key());
    }

    fn capacity(&self) -> usize {
        self.full.iter().map(Vec::capacity).sum::<usize>() + self.tail.capacity()
    }
}

/// The buckets of one level.
#[derive(Clone, Debug)]
struct Level {
    buckets: Box<[Bucket; 256]>,
    map: [u64; 4],
}

/// Slots whose records were dropped, gathered without a branch on whether a record was.
#[derive(Debug)]
pub(super) struct Gone {
    slots: Vec<u32>,
    len: usize,
}

impl Gone {
    /// With room for so many, and one to write over.
    pub(super) fn with_room(slots: usize) -> Self {
        Self {
            slots: vec![0; slots + 1],
            len: 0,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, slot: u32, gone: bool) {
        self.slots[self.len] = slot;
        self.len += usize::from(gone);
    }

    pub(super) fn slots(&self) -> &[u32] {
        &self.slots[..self.len]
    }
}

/// Records that are not yet due. See the module.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    base: u64,
    levels: [Option<Level>; 8],
    len: usize,
    near: VecDeque<Record>,
    edge: u64,
}

/// So many records of one bucket become the near ones; fewer than would fill finer buckets with one or two each.
/// Small in tests, so that short histories come through all of it.
const FEW: usize = if cfg!(test) { 4 } else { 256 };
/// With more near ones than this, an insertion among them would move too many: they go to finer buckets.
const MANY: usize = if cfg!(test) { 16 } else { 1_024 };

impl Level {
    fn new() -> Self {
        Self {
            buckets: Box::new([Bucket::EMPTY; 256]),
            map: [0; 4],
        }
    }

    #[inline(always)]
    fn push(&mut self, bucket: usize, record: Record) {
        self.map[bucket / 64] |= 1 << (bucket % 64); // C4
        self.buckets[bucket].push(record);
    }

    fn take(&mut self, bucket: usize) -> Bucket {
        self.map[bucket / 64] &= !(1 << (bucket % 64)); // C4
        std::mem::replace(&mut self.buckets[bucket], Bucket::EMPTY)
    }

    fn first(&self) -> Option<usize> {
        let word = self.map.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.map[word].trailing_zeros() as usize)
    }
}

#[inline]
const fn level_of(difference: u64) -> usize {
    (63 - (difference | 1).leading_zeros() as usize) / 8
}

#[expect(clippy::cast_possible_truncation, reason = "only the low byte is kept")]
const fn bucket_of(key: u64, level: usize) -> usize {
    (key >> (8 * level)) as usize & 255
}

impl Calendar {
    pub(super) const fn new(base: u64) -> Self {
        Self {
            base,
            levels: [const { None }; 8],
            len: 0,
            near: VecDeque::new(),
            edge: base,
        }
    }

    /// The first key that is not yet due.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Records held, dead ones too.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a record whose key is not before the base.
    #[inline(always)]
    pub(super) fn push(&mut self, record: Record) {
        debug_assert!(record.key() >= self.base, "C1");
        self.len += 1;
        if record.key() < self.edge {
            self.push_near(record);
        } else {
            self.push_far(record);
        }
    }

    #[inline(always)]
    fn push_far(&mut self, record: Record) {
        let level = level_of(record.key() ^ self.base);
        self.levels[level]
            .get_or_insert_with(Level::new)
            .push(bucket_of(record.key(), level), record); // C2
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
        // At the end of time everything is due.
        let top = if end == u64::MAX {
            8
        } else {
            level_of(self.base ^ base)
        };
        for level in self.levels[..top].iter_mut().flatten() {
            while let Some(bucket) = level.first() {
                let bucket = level.take(bucket);
                self.len -= bucket.len();
                bucket.hand_out(run, &mut keep);
            }
        }
        (self.base, self.edge) = (base, base);
        let Some(level) = self.levels.get_mut(top).and_then(Option::as_mut) else {
            return;
        };
        let edge = bucket_of(base, top);
        while let Some(bucket) = level.first().filter(|&bucket| bucket < edge) {
            let bucket = level.take(bucket);
            self.len -= bucket.len();
            bucket.hand_out(run, &mut keep);
        }
        if top == 0 || level.first() != Some(edge) {
            return;
        }
        // The bucket that the base now lies in: what is due goes out, the rest to finer buckets or to the near ones.
        let mut early = Bucket::EMPTY;
        let mut rest = level.take(edge).into_records();
        rest.retain(|&record| {
            let due = record.key() < base;
            if due {
                early.push(record);
            }
            !due
        });
        self.len -= early.len();
        early.hand_out(run, &mut keep);
        self.split(rest, top);
    }

    /// Puts away the records that lie, with the base, in one bucket of this level, which is at least 1.
    fn split(&mut self, mut records: Vec<Record>, mut level: usize) {
        while FEW < records.len() && 1 < level {
            level -= 1;
            // As many as each finer bucket will hold, if they lie evenly; so these need not grow in small steps.
            let room = (records.len() / 256 * 9 / 8).min(CHUNK);
            let finer = self.levels[level].get_or_insert_with(Level::new);
            finer
                .buckets
                .iter_mut()
                .for_each(|bucket| bucket.tail.reserve(room));
            records.retain(|&record| {
                let with_base = level_of(record.key() ^ self.base) < level;
                if !with_base {
                    self.push_far(record);
                }
                with_base
            });
        }
        let end = ((self.base >> (8 * level)) + 1).checked_mul(1 << (8 * level));
        match end {
            Some(end) if records.len() <= FEW => {
                // C5; stable, so that equal keys stay in order of insertion.
                records.sort_by_key(|record| record.key());
                (self.near, self.edge) = (records.into(), end);
            }
            _ => records.into_iter().for_each(|record| self.push_far(record)),
        }
    }

    /// How many records the near ones or else the first bucket are. 0: there are none.
    pub(super) fn first_len(&self) -> usize {
        match self.near.len() {
            0 => self.first().map_or(0, Bucket::len),
            near => near,
        }
    }

    /// The records that come first: the near ones, or all in one bucket, which are in order of insertion.
    pub(super) fn first_records(&self) -> impl Iterator<Item = Record> {
        let bucket = self.first().filter(|_| self.near.is_empty());
        let far = bucket.into_iter().flat_map(Bucket::iter);
        self.near.iter().copied().chain(far)
    }

    fn first(&self) -> Option<&Bucket> {
        let mut levels = self.levels.iter().flatten();
        levels.find_map(|level| level.first().map(|bucket| &level.buckets[bucket]))
    }

    /// Keeps the records that `live` says, in their order, and adds the slots of the others to `gone`.
    pub(super) fn retain(&mut self, live: impl Fn(u32) -> bool, gone: &mut Gone) {
        self.near.retain(|record| {
            let is_live = live(record.slot);
            gone.add(record.slot, !is_live);
            is_live
        });
        self.len = self.near.len();
        for level in self.levels.iter_mut().flatten() {
            let map = level.map;
            for bucket in (0..256).filter(|bucket| map[bucket / 64] >> (bucket % 64) & 1 == 1) {
                let records = &mut level.buckets[bucket];
                records.retain(&live, gone);
                self.len += records.len();
                if records.len() == 0 {
                    level.take(bucket);
                }
            }
        }
    }

    /// Takes all records out, equal keys in their order.
    pub(super) fn drain(&mut self) -> Vec<Record> {
        let mut all = Vec::with_capacity(self.len);
        all.extend(self.near.drain(..));
        for level in self.levels.iter_mut().flatten() {
            while let Some(bucket) = level.first() {
                all.extend(level.take(bucket).into_records());
            }
        }
        self.len = 0;
        all
    }

    pub(super) fn allocated(&self) -> usize {
        let levels = self.levels.iter().flatten().map(|level| {
            let records: usize = level.buckets.iter().map(Bucket::capacity).sum();
            size_of::<[Bucket; 256]>() + records * size_of::<Record>()
        });
        levels.sum::<usize>() + self.near.capacity() * size_of::<Record>()
    }

    /// Panics unless C1 to C5 hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut len = self.near.len();
        assert!(self.base <= self.edge, "C5");
        assert!(self.near.iter().map(|record| record.key()).is_sorted(), "C5");
        let near = self.base..self.edge;
        assert!(self.near.iter().all(|record| near.contains(&record.key())), "C5");
        for (number, level) in self.levels.iter().enumerate() {
            let Some(level) = level else { continue };
            for (bucket, records) in level.buckets.iter().enumerate() {
                assert_eq!(
                    level.map[bucket / 64] >> (bucket % 64) & 1 == 1,
                    records.len() > 0,
                    "C4"
                );
                for record in records.iter() {
                    assert!(record.key() >= self.edge, "C1, C5");
                    assert_eq!(level_of(record.key() ^ self.base), number, "C2");
                    assert_eq!(bucket_of(record.key(), number), bucket, "C2");
                }
                len += records.len();
            }
        }
        assert_eq!(len, self.len);
    }
}

const _: () = assert!(size_of::<Record>() == 12);
