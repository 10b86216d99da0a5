//! Records of one span of time, and the 256 spans of one level.

use std::fmt::Debug;

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

/// How a bucket keeps a record.
pub(super) trait Stored: Copy + Debug {
    fn of(record: Record) -> Self;

    /// The record again. `high` is the upper half of the keys in the bucket, where these share it.
    fn record(self, high: u32) -> Record;

    fn slot(self) -> u32;
}

/// In coarse buckets: the whole.
impl Stored for Record {
    fn of(record: Record) -> Self {
        record
    }

    fn record(self, _: u32) -> Record {
        self
    }

    fn slot(self) -> u32 {
        self.slot
    }
}

/// In buckets of at most 2^32 microseconds: the lower half of the key, which says all that the bucket does not, and the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short(u64);

impl Stored for Short {
    #[inline(always)]
    fn of(record: Record) -> Self {
        Self(u64::from(record.low) << 32 | u64::from(record.slot))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn record(self, high: u32) -> Record {
        Record {
            high,
            low: (self.0 >> 32) as u32,
            slot: self.0 as u32,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// Records in order of insertion, in chunks: growing moves little, and at most one chunk is slack.
///
/// An empty bucket has no room, so only the slow way of [`Level::push`] meets one.
#[derive(Clone, Debug)]
pub(super) struct Bucket<R> {
    full: Vec<Vec<R>>,
    tail: Vec<R>,
}

/// Records in a chunk of a bucket. Small in tests, so that short histories fill some.
const CHUNK: usize = if cfg!(test) { 16 } else { 1_024 };

impl<R: Stored> Bucket<R> {
    const EMPTY: Self = Self {
        full: Vec::new(),
        tail: Vec::new(),
    };

    /// Makes room for one more.
    fn grow(&mut self) {
        let len = self.tail.len();
        if len < CHUNK {
            self.tail.reserve_exact(len.max(4).min(CHUNK - len));
        } else {
            let full = std::mem::replace(&mut self.tail, Vec::with_capacity(CHUNK));
            self.full.push(full);
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &Vec<R>> {
        self.full.iter().chain([&self.tail])
    }

    /// Constant; takes each chunk for as full as it was meant to be.
    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.tail.len()
    }

    pub(super) fn records(&self, high: u32) -> impl Iterator<Item = Record> {
        self.chunks().flatten().map(move |stored| stored.record(high))
    }

    /// Keeps the records that `live` says, in their order, and says how many these are.
    ///
    /// Without a branch on the answer: of records cancelled in no order the processor would guess every second one wrongly.
    fn retain(&mut self, live: &impl Fn(u32) -> bool) -> usize {
        let mut kept = Self::EMPTY;
        let nothing = R::of(Record::new(0, 0));
        let mut out = vec![nothing; CHUNK.min(self.len())];
        let (mut before, mut count) = (0, 0);
        for chunk in self.full.drain(..).chain([std::mem::take(&mut self.tail)]) {
            for stored in chunk {
                if count == out.len() {
                    before += count;
                    kept.full.push(std::mem::replace(&mut out, vec![nothing; CHUNK]));
                    count = 0;
                }
                out[count] = stored;
                count += usize::from(live(stored.slot()));
            }
        }
        out.truncate(count);
        kept.tail = out;
        *self = kept;
        before + count
    }
}

/// Into the order of key and insertion, from that of insertion.
pub(super) fn sort(records: &mut [Record]) {
    // Stable, so that equal keys stay in order of insertion.
    records.sort_by_key(|record| record.key());
}

/// The buckets of one level.
///
/// Bit `n` of the map is set exactly when bucket `n` holds records (C4).
#[derive(Clone, Debug)]
pub(super) struct Level<R> {
    buckets: Box<[Bucket<R>; 256]>,
    map: [u64; 4],
}

impl<R: Stored> Level<R> {
    pub(super) fn new() -> Self {
        Self {
            buckets: Box::new([const { Bucket::EMPTY }; 256]),
            map: [0; 4],
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, bucket: u8, record: Record) {
        let tail = &mut self.buckets[usize::from(bucket)].tail;
        if tail.len() == tail.capacity() {
            self.push_slow(bucket, record);
        } else {
            tail.push(R::of(record));
        }
    }

    #[cold]
    #[inline(never)]
    fn push_slow(&mut self, bucket: u8, record: Record) {
        self.map[usize::from(bucket / 64)] |= 1 << (bucket % 64); // C4
        let bucket = &mut self.buckets[usize::from(bucket)];
        bucket.grow();
        bucket.tail.push(R::of(record));
    }

    /// Makes room for the records that are pushed next, so many into each bucket.
    pub(super) fn make_room(&mut self, counts: &[usize; 256]) {
        let buckets = self.buckets.iter_mut().zip(counts).enumerate();
        for (number, (bucket, &count)) in buckets.filter(|(_, (_, count))| **count > 0) {
            self.map[number / 64] |= 1 << (number % 64); // C4
            bucket.tail.reserve_exact(count.min(CHUNK));
        }
    }

    pub(super) fn get(&self, bucket: u8) -> &Bucket<R> {
        &self.buckets[usize::from(bucket)]
    }

    pub(super) fn take(&mut self, bucket: u8) -> Bucket<R> {
        self.map[usize::from(bucket / 64)] &= !(1 << (bucket % 64)); // C4
        std::mem::replace(&mut self.buckets[usize::from(bucket)], Bucket::EMPTY)
    }

    #[expect(clippy::cast_possible_truncation, reason = "below 256")]
    pub(super) fn first(&self) -> Option<u8> {
        let word = self.map.iter().position(|&word| word != 0)?;
        Some((word as u32 * 64 + self.map[word].trailing_zeros()) as u8)
    }

    /// Keeps the records that `live` says, in their order, and says how many these are.
    pub(super) fn retain(&mut self, live: &impl Fn(u32) -> bool) -> usize {
        let mut len = 0;
        for bucket in 0..=255 {
            if self.map[usize::from(bucket / 64)] >> (bucket % 64) & 1 == 0 {
                continue;
            }
            let kept = self.buckets[usize::from(bucket)].retain(live);
            if kept == 0 {
                self.take(bucket);
            }
            len += kept;
        }
        len
    }

    pub(super) fn allocated(&self) -> usize {
        let chunks = self.buckets.iter().map(|bucket| {
            let records: usize = bucket.chunks().map(Vec::capacity).sum();
            records * size_of::<R>() + bucket.full.capacity() * size_of::<Vec<R>>()
        });
        size_of::<[Bucket<R>; 256]>() + chunks.sum::<usize>()
    }

    /// Panics unless C4 holds. Gives each bucket that holds records.
    #[cfg(test)]
    pub(super) fn check(&self) -> impl Iterator<Item = (u8, &Bucket<R>)> {
        (0..=255).filter_map(|number| {
            let bucket = self.get(number);
            let marked = self.map[usize::from(number / 64)] >> (number % 64) & 1 == 1;
            assert_eq!(marked, bucket.len() > 0, "C4");
            assert!(
                marked || bucket.tail.capacity() == 0,
                "an empty bucket has no room"
            );
            marked.then_some((number, bucket))
        })
    }
}

const _: () = assert!(size_of::<Record>() == 12 && size_of::<Short>() == 8);
