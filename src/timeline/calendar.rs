//! Records by time: fine buckets near the base, coarser ones further away.
//!
//! A record's key is compared with the *base*, the first key that is not yet due. The highest byte in which they
//! differ is the record's level, and the key's byte there is its bucket: 256 buckets on each of 8 levels, a
//! microsecond wide on level 0 and 9 years on level 6. When the base moves into a bucket, what it holds moves to
//! finer ones; so a record moves at most once per level, and mostly two or three times.
//!
//! # Invariants
//!
//! * **C1** every key is at or after the base;
//! * **C2** a key lies on the level and in the bucket that the base gives it, so keys on one level are all before
//!   those on the next, and in one bucket before those in the next;
//! * **C3** records with equal keys are in one bucket, in the order of their insertion;
//! * **C4** bit `n` of a level's map is set exactly when its bucket `n` holds records.

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

    fn push(&mut self, record: Record) {
        if self.tail.len() == CHUNK {
            let full = std::mem::replace(&mut self.tail, Vec::with_capacity(CHUNK));
            self.full.push(full);
        }
        self.tail.push(record);
    }

    fn len(&self) -> usize {
        self.full.len() * CHUNK + self.tail.len()
    }

    fn iter(&self) -> impl Iterator<Item = Record> {
        self.full.iter().flatten().chain(&self.tail).copied()
    }

    fn into_records(self) -> impl Iterator<Item = Record> {
        self.full.into_iter().flatten().chain(self.tail)
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

/// Records that are not yet due. See the module.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    base: u64,
    levels: [Option<Level>; 8],
    len: usize,
}

impl Level {
    fn new() -> Self {
        Self {
            buckets: Box::new([Bucket::EMPTY; 256]),
            map: [0; 4],
        }
    }

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

const fn level_of(difference: u64) -> usize {
    if difference == 0 {
        0
    } else {
        (63 - difference.leading_zeros() as usize) / 8
    }
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
    pub(super) fn push(&mut self, record: Record) {
        debug_assert!(record.key() >= self.base, "C1");
        self.len += 1;
        let level = level_of(record.key() ^ self.base);
        self.levels[level]
            .get_or_insert_with(Level::new)
            .push(bucket_of(record.key(), level), record); // C2
    }

    /// Moves the base just beyond `end` and hands out the buckets that are due, in order; the records inside one
    /// are in order of insertion.
    pub(super) fn advance(&mut self, end: u64, mut due: impl FnMut(&mut dyn Iterator<Item = Record>)) {
        if end < self.base {
            return;
        }
        let base = end.saturating_add(1);
        // At the end of time everything is due.
        let top = if end == u64::MAX {
            8
        } else {
            level_of(self.base ^ base)
        };
        for level in &mut self.levels[..top] {
            let Some(level) = level else { continue };
            while let Some(bucket) = level.first() {
                let records = level.take(bucket);
                self.len -= records.len();
                due(&mut records.into_records());
            }
        }
        self.base = base;
        let Some(level) = self.levels.get_mut(top).and_then(Option::as_mut) else {
            return;
        };
        let edge = bucket_of(base, top);
        while let Some(bucket) = level.first().filter(|&bucket| bucket < edge) {
            let records = level.take(bucket);
            self.len -= records.len();
            due(&mut records.into_records());
        }
        if top == 0 || level.first() != Some(edge) {
            return;
        }
        // The bucket that the base now lies in: what is due goes out, the rest to finer buckets.
        let records = level.take(edge);
        self.len -= records.len();
        let mut early = Vec::new();
        for record in records.into_records() {
            if record.key() < base {
                early.push(record);
            } else {
                self.push(record);
            }
        }
        if !early.is_empty() {
            due(&mut early.into_iter());
        }
    }

    /// How many records the first bucket holds. 0: there are none.
    pub(super) fn first_len(&self) -> usize {
        self.first().map_or(0, Bucket::len)
    }

    /// The records that come first, all in one bucket and in order of insertion.
    pub(super) fn first_records(&self) -> impl Iterator<Item = Record> {
        self.first().into_iter().flat_map(Bucket::iter)
    }

    fn first(&self) -> Option<&Bucket> {
        let mut levels = self.levels.iter().flatten();
        levels.find_map(|level| level.first().map(|bucket| &level.buckets[bucket]))
    }

    /// Keeps the records that `keep` says, in their order.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Record) -> bool) {
        self.len = 0;
        for level in self.levels.iter_mut().flatten() {
            let map = level.map;
            for bucket in (0..256).filter(|bucket| map[bucket / 64] >> (bucket % 64) & 1 == 1) {
                for record in level.take(bucket).into_records().filter(|&record| keep(record)) {
                    level.push(bucket, record);
                    self.len += 1;
                }
            }
        }
    }

    /// Takes all records out, equal keys in their order.
    pub(super) fn drain(&mut self) -> Vec<Record> {
        let mut all = Vec::with_capacity(self.len);
        for level in self.levels.iter_mut().flatten() {
            while let Some(bucket) = level.first() {
                all.extend(level.take(bucket).into_records());
            }
        }
        self.len = 0;
        all
    }

    pub(super) fn allocated(&self) -> usize {
        let levels = self.levels.iter().flatten();
        levels
            .map(|level| {
                let records: usize = level.buckets.iter().map(Bucket::capacity).sum();
                size_of::<[Bucket; 256]>() + records * size_of::<Record>()
            })
            .sum()
    }

    /// Panics unless C1 to C4 hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut len = 0;
        for (number, level) in self.levels.iter().enumerate() {
            let Some(level) = level else { continue };
            for (bucket, records) in level.buckets.iter().enumerate() {
                assert_eq!(
                    level.map[bucket / 64] >> (bucket % 64) & 1 == 1,
                    records.len() > 0,
                    "C4"
                );
                for record in records.iter() {
                    assert!(record.key() >= self.base, "C1");
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
