//! One level: a ring of chunks for what came in order, and a tree for what was put back out of order.
//!
//! An appended item stands at a *number* that its lane never gives out twice. The number says chunk and offset, and the
//! chunk's mask says how many items are before it, so a ticket is found without an index or a generation: a number whose
//! bit is gone finds nothing. An item costs its own bytes, those of its place, and a 64th of a chunk's header.

#![expect(
    clippy::inline_always,
    reason = "the paths of nanoseconds are measured with their callers around them"
)]

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

/// Numbers in a chunk: the bits of [`Chunk::mask`].
pub(super) const CHUNK: usize = u64::BITS as usize;
const SHIFT: u32 = CHUNK.trailing_zeros();
/// The bits of a number that name the offset in its chunk.
const LOW: u64 = CHUNK as u64 - 1;

/// How many emptied chunks are kept for the next push instead of going back to the allocator.
const SPARES: usize = 8;
/// A directory with fewer dead chunks than this is not worth compacting.
const MANY_DEAD: usize = 8;
/// A chunk with room for at most this many items is not worth shrinking.
const FEW: usize = 8;

/// The items of one chunk in order, each with its place.
pub(super) type Items<P, T> = VecDeque<(P, T)>;
/// Emptied chunks waiting to be filled again.
pub(super) type Spares<P, T> = Vec<Items<P, T>>;

// A cache line each: all that a push or a pop wants of a chunk, besides its items, comes at once.
#[repr(align(64))]
struct Chunk<P, T> {
    /// The first number of the chunk, a multiple of [`CHUNK`]; its lowest bit, [`DEAD`], is set once the chunk was emptied
    /// from its middle and is only still in the directory.
    word: u64,
    /// The offsets that hold an item.
    mask: u64,
    items: Items<P, T>,
    /// Place of the first item that was ever in here.
    first: P,
}

/// Where the items of a batch go.
pub(super) enum Tail<'a, P, T> {
    /// At the end of a chunk that has room for all; the lane knows of them already.
    Items(&'a mut Items<P, T>),
    /// Into the lane, one by one.
    Lane(&'a mut Lane<P, T>),
}

const DEAD: u64 = 1;

/// The first number of the chunk of this number.
const fn base_of(number: u64) -> u64 {
    number & !LOW
}

impl<P, T> Chunk<P, T> {
    fn base(&self) -> u64 {
        base_of(self.word)
    }

    fn is_dead(&self) -> bool {
        self.word & DEAD != 0
    }

    /// Where the item of this number is among `items`.
    fn index_of(&self, number: u64) -> Option<usize> {
        let bit = 1 << (number & LOW);
        (self.mask & bit != 0).then(|| (self.mask & (bit - 1)).count_ones() as usize)
    }

    fn number_of(&self, index: usize) -> u64 {
        let mut mask = self.mask;
        for _ in 0..index {
            mask &= mask - 1;
        }
        self.base() + u64::from(mask.trailing_zeros())
    }
}

/// One level's items in the order (place, number).
///
/// # Invariants
///
/// * **N1** `live` is the number of items in the chunks, and each chunk has as many bits in its mask as items;
/// * **N2** if `live` is not zero, the first chunk holds an item;
/// * **N3** places never fall from one item of the chunks to the next, and `last` is at least all of them;
/// * **N4** bases rise; the numbers given out are below `next`, and only the chunk of `next` can still grow;
/// * **N5** `dead` counts the dead chunks, and is at most half of all or less than [`MANY_DEAD`]; a chunk without items
///   is dead, or the first, or can grow;
/// * **N6** a chunk that is neither the first nor the last has room for less than four times its items, or for few; the last
///   one is settled when the next is opened;
/// * **N7** `scattered` says whether `aside` holds an item.
// The order of the fields is kept: a push changes `next` and `live`, a pop `live`. Side by side the compiler loads both as
// one wide word right after one half of it was stored, which the processor cannot forward.
// What a push or a pop of items in order wants lies on one cache line if the place is small.
#[repr(C, align(64))]
pub(super) struct Lane<P, T> {
    last: Option<P>,
    scattered: bool,
    next: u64,
    chunks: VecDeque<Chunk<P, T>>,
    live: usize,
    aside: BTreeMap<(P, u64), T>,
    dead: usize,
}

impl<P: Copy + Ord, T> Lane<P, T> {
    /// An empty lane whose numbers start at `start` or the next beginning of a chunk.
    pub(super) fn new(start: u64) -> Self {
        Self {
            last: None,
            scattered: false,
            next: start.next_multiple_of(CHUNK as u64),
            chunks: VecDeque::new(),
            live: 0,
            aside: BTreeMap::new(),
            dead: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live + self.aside.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0 && !self.scattered
    }

    /// The number after all that were given out.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the next number falls into the chunk of this base, which has begun.
    #[inline]
    fn grows(&self, base: u64) -> bool {
        self.next & LOW != 0 && base == base_of(self.next)
    }

    /// Adds an item behind all of a smaller or equal place. Returns its number.
    #[inline(always)]
    pub(super) fn push(&mut self, place: P, item: T, spares: &mut Spares<P, T>) -> u64 {
        // Of two options the empty one is less, so a lane that was never pushed to takes any place.
        if self.last <= Some(place) {
            self.append(place, item, spares)
        } else {
            self.push_out_of_order(place, item, spares)
        }
    }

    #[cold]
    #[inline(never)]
    fn push_out_of_order(&mut self, place: P, item: T, spares: &mut Spares<P, T>) -> u64 {
        if 0 < self.live {
            return self.insert(place, item, spares);
        }
        // An empty ring forgets its chunks, so that a lower place may be appended (N3).
        for chunk in self.chunks.drain(..) {
            keep(chunk.items, spares);
        }
        self.dead = 0;
        self.next = self.next.next_multiple_of(CHUNK as u64);
        self.append(place, item, spares)
    }

    /// Adds an item at the back: its place is at least all others'.
    #[inline(always)]
    fn append(&mut self, place: P, item: T, spares: &mut Spares<P, T>) -> u64 {
        self.last = Some(place);
        let number = self.next;
        self.next += 1;
        self.live += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.word == base_of(number) => {
                chunk.mask |= 1 << (number & LOW);
                chunk.items.push_back((place, item));
            }
            _ => self.open(number, place, item, spares),
        }
        number
    }

    /// The number that the next item gets if it is pushed at `place`, and those at the same place after it continue from.
    pub(super) fn next_at(&self, place: P) -> u64 {
        if self.live == 0 && Some(place) < self.last {
            self.next.next_multiple_of(CHUNK as u64)
        } else {
            self.next
        }
    }

    /// Makes ready for so many items at `place`. Until they are in, N1 does not hold.
    #[inline]
    pub(super) fn extend(&mut self, place: P, count: usize) -> Tail<'_, P, T> {
        let offset = self.next & LOW;
        let base = base_of(self.next);
        let fits = self.last <= Some(place)
            && count <= CHUNK - offset as usize
            && self.chunks.back().is_some_and(|chunk| chunk.word == base);
        if !fits {
            return Tail::Lane(self);
        }
        let chunk = self.chunks.back_mut().expect("one was just seen");
        self.last = Some(place);
        self.next += count as u64;
        self.live += count;
        chunk.mask |= (u64::MAX >> (CHUNK - count)) << offset;
        Tail::Items(&mut chunk.items)
    }

    #[cold]
    #[inline(never)]
    fn open(&mut self, number: u64, place: P, item: T, spares: &mut Spares<P, T>) {
        self.settle_back(spares);
        let mut items = match spares.pop() {
            Some(items) => items,
            // A lane that holds little stays little; a lane that filled a chunk will fill the next.
            None if self.chunks.is_empty() => VecDeque::new(),
            None => VecDeque::with_capacity(CHUNK),
        };
        items.push_back((place, item));
        self.chunks.push_back(Chunk {
            word: base_of(number),
            mask: 1 << (number & LOW),
            items,
            first: place,
        });
    }

    /// Adds an item between the others. Returns its number, for which the chunks will have no item.
    fn insert(&mut self, place: P, item: T, spares: &mut Spares<P, T>) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.next & LOW == 0 {
            self.settle_back(spares);
        }
        self.put_back(place, number, item);
        number
    }

    /// Adds an item between the others, under the number that it had before in this lane.
    pub(super) fn put_back(&mut self, place: P, number: u64, item: T) {
        let before = self.aside.insert((place, number), item);
        self.scattered = true; // N7
        debug_assert!(before.is_none(), "a number names one item");
    }

    #[inline]
    fn ring_first(&self) -> Option<(P, u64, &T)> {
        let chunk = self.chunks.front()?;
        let (place, item) = chunk.items.front()?;
        Some((*place, chunk.number_of(0), item))
    }

    /// The item that comes first.
    #[inline]
    pub(super) fn first(&self) -> Option<(P, u64, &T)> {
        let ring = self.ring_first();
        if !self.scattered {
            return ring;
        }
        let (&(place, number), item) = self.aside.first_key_value()?;
        match ring {
            Some(first) if (first.0, first.1) < (place, number) => ring,
            _ => Some((place, number, item)),
        }
    }

    /// Takes the item that comes first.
    #[inline(always)]
    pub(super) fn pop_first(&mut self, spares: &mut Spares<P, T>) -> Option<(P, u64, T)> {
        if self.scattered {
            return self.pop_merged(spares);
        }
        self.pop_ring(spares)
    }

    #[inline(never)]
    fn pop_merged(&mut self, spares: &mut Spares<P, T>) -> Option<(P, u64, T)> {
        let key = *self.aside.first_key_value()?.0;
        if self.ring_first().is_some_and(|first| (first.0, first.1) < key) {
            return self.pop_ring(spares);
        }
        let ((place, number), item) = self.aside.pop_first()?;
        self.scattered = !self.aside.is_empty(); // N7
        Some((place, number, item))
    }

    #[inline(always)]
    fn pop_ring(&mut self, spares: &mut Spares<P, T>) -> Option<(P, u64, T)> {
        let chunk = self.chunks.front_mut()?;
        let (place, item) = chunk.items.pop_front()?;
        let number = chunk.base() + u64::from(chunk.mask.trailing_zeros());
        chunk.mask &= chunk.mask - 1; // N1
        self.live -= 1;
        if chunk.mask == 0 {
            self.advance(spares); // N2
        }
        Some((place, number, item))
    }

    /// Takes up to `max` items in order and adds them to `out`; tells `run` of their numbers: a base, and a bit for each.
    /// Returns how many.
    pub(super) fn pop_run(
        &mut self,
        max: usize,
        spares: &mut Spares<P, T>,
        out: &mut Items<P, T>,
        mut run: impl FnMut(u64, u64),
    ) -> usize {
        let mut left = max;
        while 0 < left && !self.is_empty() {
            if self.scattered {
                let Some((place, number, item)) = self.pop_merged(spares) else {
                    break;
                };
                run(number, 1);
                out.push_back((place, item));
                left -= 1;
                continue;
            }
            let Some(chunk) = self.chunks.front_mut() else {
                break;
            };
            let all = chunk.items.len();
            if all <= left {
                run(chunk.base(), chunk.mask);
                out.append(&mut chunk.items);
                chunk.mask = 0; // N1
                self.live -= all;
                left -= all;
                self.advance(spares); // N2
            } else {
                let mut rest = chunk.mask;
                for _ in 0..left {
                    rest &= rest - 1;
                }
                run(chunk.base(), chunk.mask ^ rest);
                out.extend(chunk.items.drain(..left));
                chunk.mask = rest; // N1
                self.live -= left;
                left = 0;
            }
        }
        max - left
    }

    /// Lets go of the first chunks that hold nothing and cannot grow.
    #[inline]
    fn advance(&mut self, spares: &mut Spares<P, T>) {
        let grows = self.chunks.front().is_some_and(|chunk| self.grows(chunk.base()));
        if !grows {
            self.pass(spares);
        }
    }

    #[cold]
    #[inline(never)]
    fn pass(&mut self, spares: &mut Spares<P, T>) {
        while let Some(chunk) = self.chunks.front()
            && chunk.mask == 0
            && !self.grows(chunk.base())
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.dead -= usize::from(chunk.is_dead());
            keep(chunk.items, spares);
        }
        if self.chunks.capacity() > CHUNK && self.chunks.len() * 8 < self.chunks.capacity() {
            self.chunks.shrink_to(self.chunks.capacity() / 2);
        }
        self.bury();
    }

    /// Index of the chunk that has this base. Constant while no dead chunk was dropped from the middle, else a
    /// binary search over the chunks that are left.
    fn chunk_of(&self, base: u64) -> Option<usize> {
        let ahead = base.checked_sub(self.chunks.front()?.base())?;
        let guess = usize::try_from(ahead >> SHIFT).ok()?;
        if self.chunks.get(guess).is_some_and(|chunk| chunk.base() == base) {
            return Some(guess);
        }
        self.chunks.binary_search_by_key(&base, Chunk::base).ok()
    }

    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let chunk = self.chunk_of(base_of(number))?;
        Some((chunk, self.chunks[chunk].index_of(number)?))
    }

    /// The item with this place and number, if it is still here.
    pub(super) fn get(&self, place: P, number: u64) -> Option<&T> {
        match self.find(number) {
            Some((chunk, index)) => self.chunks[chunk].items.get(index).map(|(_, item)| item),
            None => self.aside.get(&(place, number)),
        }
    }

    /// Takes the item with this place and number, if it is still here. Moves at most half of the items of its chunk.
    pub(super) fn remove(&mut self, place: P, number: u64, spares: &mut Spares<P, T>) -> Option<T> {
        let Some((at, index)) = self.find(number) else {
            let item = self.aside.remove(&(place, number));
            self.scattered = !self.aside.is_empty(); // N7
            return item;
        };
        let chunk = &mut self.chunks[at];
        let (_, item) = chunk.items.remove(index)?;
        chunk.mask &= !(1 << (number & LOW)); // N1
        self.live -= 1;
        if at == 0 {
            if chunk.mask == 0 {
                self.advance(spares); // N2
            }
        } else {
            let base = chunk.base();
            if !self.grows(base) {
                self.settle(at, spares);
            }
        }
        Some(item)
    }

    /// Settles the last chunk, which has stopped growing.
    fn settle_back(&mut self, spares: &mut Spares<P, T>) {
        match self.chunks.len() {
            0 => {}
            1 => self.pass(spares),
            chunks => self.settle(chunks - 1, spares),
        }
    }

    /// Gives back the room of a chunk, neither first nor growing, from which most was removed (N5, N6).
    fn settle(&mut self, at: usize, spares: &mut Spares<P, T>) {
        let chunk = &mut self.chunks[at];
        if chunk.items.is_empty() {
            if !chunk.is_dead() {
                chunk.word |= DEAD;
                keep(std::mem::take(&mut chunk.items), spares);
                self.dead += 1;
                self.bury();
            }
        } else if FEW < chunk.items.capacity() && chunk.items.len() * 4 <= chunk.items.capacity() {
            chunk.items.shrink_to_fit();
        }
    }

    /// Drops dead chunks from the directory once they are most of it (N5): constant per removal, amortised.
    fn bury(&mut self) {
        if self.dead >= MANY_DEAD && self.dead * 2 > self.chunks.len() {
            self.chunks.retain(|chunk| !chunk.is_dead());
            self.dead = 0;
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// All items from the first on.
    pub(super) fn iter(&self) -> LaneIter<'_, P, T> {
        LaneIter {
            ring: RingIter {
                lane: self,
                chunk: 0,
                index: 0,
            }
            .peekable(),
            aside: self.aside.range(..).peekable(),
        }
    }

    /// The items whose place is greater than `place`. Logarithmic in what waits, then lazy.
    pub(super) fn iter_after(&self, place: P) -> LaneIter<'_, P, T> {
        let after = self.chunks.partition_point(|chunk| chunk.first <= place);
        let chunk = after.saturating_sub(1);
        let index = self
            .chunks
            .get(chunk)
            .map_or(0, |chunk| chunk.items.partition_point(|item| item.0 <= place));
        LaneIter {
            ring: RingIter {
                lane: self,
                chunk,
                index,
            }
            .peekable(),
            aside: self
                .aside
                .range((Bound::Excluded((place, u64::MAX)), Bound::Unbounded))
                .peekable(),
        }
    }

    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn check(&self) {
        assert_eq!(
            self.live,
            self.chunks.iter().map(|chunk| chunk.items.len()).sum::<usize>(),
            "N1 broken"
        );
        for (at, chunk) in self.chunks.iter().enumerate() {
            assert_eq!(
                chunk.mask.count_ones() as usize,
                chunk.items.len(),
                "N1 broken at chunk {at}"
            );
            let free = at == 0 || self.grows(chunk.base());
            assert!(
                free || chunk.is_dead() == chunk.items.is_empty(),
                "N5 broken at chunk {at}"
            );
            let room = chunk.items.capacity();
            assert!(
                free || at + 1 == self.chunks.len() || room <= FEW || room < 4 * chunk.items.len(),
                "N6 broken at chunk {at}"
            );
        }
        assert!(self.live == 0 || self.ring_first().is_some(), "N2 broken");
        assert_eq!(self.scattered, !self.aside.is_empty(), "N7 broken");
        let places = || {
            self.chunks
                .iter()
                .flat_map(|chunk| &chunk.items)
                .map(|item| item.0)
        };
        assert!(places().is_sorted(), "N3 broken: places fall");
        assert!(places().last() <= self.last, "N3 broken: last");
        assert!(
            self.chunks.iter().map(Chunk::base).is_sorted_by(|a, b| a < b),
            "N4 broken"
        );
        let end = self.next.next_multiple_of(CHUNK as u64);
        assert!(
            self.chunks.iter().all(|chunk| chunk.base() < end),
            "N4 broken: beyond next"
        );
        let dead = self.chunks.iter().filter(|chunk| chunk.is_dead()).count();
        assert_eq!(self.dead, dead, "N5 broken: count");
        assert!(
            dead < MANY_DEAD || dead * 2 <= self.chunks.len(),
            "N5 broken: too many"
        );
    }
}

/// Keeps the room of an emptied chunk for the next push, or lets it go when there is enough.
fn keep<P, T>(mut items: Items<P, T>, spares: &mut Spares<P, T>) {
    if CHUNK <= items.capacity() && spares.len() < SPARES {
        items.clear();
        spares.push(items);
    }
}

struct RingIter<'a, P, T> {
    lane: &'a Lane<P, T>,
    chunk: usize,
    index: usize,
}

impl<'a, P: Copy, T> Iterator for RingIter<'a, P, T> {
    type Item = (P, u64, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let chunk = self.lane.chunks.get(self.chunk)?;
            if let Some((place, item)) = chunk.items.get(self.index) {
                self.index += 1;
                return Some((*place, chunk.number_of(self.index - 1), item));
            }
            self.chunk += 1;
            self.index = 0;
        }
    }
}

/// Items of one lane in order.
pub(super) struct LaneIter<'a, P: Copy, T> {
    ring: Peekable<RingIter<'a, P, T>>,
    aside: Peekable<btree_map::Range<'a, (P, u64), T>>,
}

impl<'a, P: Copy + Ord, T> Iterator for LaneIter<'a, P, T> {
    type Item = (P, u64, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let aside_first = match (self.ring.peek(), self.aside.peek()) {
            (Some(ring), Some((key, _))) => **key < (ring.0, ring.1),
            (ring, _) => ring.is_none(),
        };
        if aside_first {
            self.aside
                .next()
                .map(|(&(place, number), item)| (place, number, item))
        } else {
            self.ring.next()
        }
    }
}
