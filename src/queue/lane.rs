//! One level: a ring of chunks for what came in order, and a tree for what was put back out of order.
//!
//! An appended item stands at a *number* that its lane never gives out twice. The number says chunk and slot, so a
//! ticket is found without an index or a generation: a number whose slot is gone or taken finds nothing.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

/// Slots in a chunk. A power of two, and at most the bits of [`Chunk::mask`].
pub(super) const CHUNK: usize = 64;
const SHIFT: u32 = CHUNK.trailing_zeros();
/// The bits of a number that name the slot.
const LOW: u64 = CHUNK as u64 - 1;
const DENSE: u64 = u64::MAX;
const _: () = assert!(CHUNK.is_power_of_two() && CHUNK <= u64::BITS as usize);

/// How many emptied chunks are kept for the next push instead of going back to the allocator.
const SPARES: usize = 8;
/// A directory with fewer dead chunks than this is not worth compacting.
const MANY_DEAD: usize = 8;
/// A chunk with at most this many slots is not worth thinning.
const FEW: usize = 4;

/// One place in a chunk. The place stays when the item has left, so that a search by place still works.
pub(super) struct Slot<P, T> {
    place: P,
    item: Option<T>,
}

/// Emptied chunks waiting to be filled again.
pub(super) type Spares<P, T> = Vec<Vec<Slot<P, T>>>;

struct Chunk<P, T> {
    /// The numbers in here are `base * CHUNK ..` that plus `CHUNK`.
    base: u64,
    /// Which offsets have a slot. [`DENSE`] until the chunk is thinned: then slot and offset are the same.
    mask: u64,
    /// How many items were removed from the middle. Not kept for the first chunk, where nobody asks.
    removed: usize,
    /// Place of the first item that was ever in here.
    first: P,
    /// Empty when everything was removed: a dead chunk.
    slots: Vec<Slot<P, T>>,
}

impl<P, T> Chunk<P, T> {
    fn slot_of(&self, offset: usize) -> Option<usize> {
        if self.mask == DENSE {
            (offset < self.slots.len()).then_some(offset)
        } else if self.mask >> offset & 1 == 1 {
            Some((self.mask & ((1 << offset) - 1)).count_ones() as usize)
        } else {
            None
        }
    }

    fn offset_of(&self, slot: usize) -> usize {
        if self.mask == DENSE {
            return slot;
        }
        let mut mask = self.mask;
        for _ in 0..slot {
            mask &= mask - 1;
        }
        mask.trailing_zeros() as usize
    }

    fn number_of(&self, slot: usize) -> u64 {
        (self.base << SHIFT) + self.offset_of(slot) as u64
    }

    /// Gives up the slots of removed items.
    fn thin(&mut self) {
        let mut mask = 0;
        for (slot, held) in self.slots.iter().enumerate() {
            if held.item.is_some() {
                mask |= 1 << self.offset_of(slot);
            }
        }
        self.mask = mask;
        self.slots.retain(|slot| slot.item.is_some());
        self.slots.shrink_to_fit();
        self.removed = 0;
    }
}

/// One level's items in the order (place, number).
///
/// # Invariants
///
/// * **N1** `live` is the number of items in the chunks;
/// * **N2** if `live` is not zero, slot `head` of the first chunk holds an item, and no slot before it does;
/// * **N3** places never fall from one slot to the next, and `last` is at least all of them;
/// * **N4** bases rise; the numbers given out are below `next`, and only the chunk of `next` can still grow;
/// * **N5** `dead` counts the chunks without slots, and is at most half of all or less than [`MANY_DEAD`];
/// * **N6** a chunk that is neither the first nor growing holds an item in more than a quarter of its slots, or is
///   dead, or has few slots.
// The order of the fields is kept: a push changes `next` and `live`, a pop `live` and `head`. Side by side the compiler
// loads both as one wide word right after one half of it was stored, which the processor cannot forward.
#[repr(C)]
pub(super) struct Lane<P, T> {
    last: Option<P>,
    next: u64,
    chunks: VecDeque<Chunk<P, T>>,
    live: usize,
    aside: BTreeMap<(P, u64), T>,
    head: usize,
    dead: usize,
}

impl<P: Copy + Ord, T> Lane<P, T> {
    /// An empty lane whose numbers start at `start` or the next beginning of a chunk.
    pub(super) fn new(start: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            head: 0,
            live: 0,
            next: start.next_multiple_of(CHUNK as u64),
            last: None,
            dead: 0,
            aside: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live + self.aside.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0 && self.aside.is_empty()
    }

    /// The number after all that were given out.
    pub(super) fn next(&self) -> u64 {
        self.next
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
            return self.insert(place, item);
        }
        self.restart(spares);
        self.append(place, item, spares)
    }

    /// Adds an item at the back: its place is at least all others'.
    #[inline(always)]
    fn append(&mut self, place: P, item: T, spares: &mut Spares<P, T>) -> u64 {
        self.last = Some(place);
        let number = self.next;
        self.next += 1;
        self.live += 1;
        let slot = Slot {
            place,
            item: Some(item),
        };
        match self.chunks.back_mut() {
            Some(chunk) if chunk.base == number >> SHIFT => {
                chunk.mask |= 1 << (number & LOW);
                chunk.slots.push(slot);
            }
            _ => self.open(number, slot, spares),
        }
        number
    }

    #[cold]
    #[inline(never)]
    fn open(&mut self, number: u64, slot: Slot<P, T>, spares: &mut Spares<P, T>) {
        let first = slot.place;
        let mut slots = match spares.pop() {
            Some(slots) => slots,
            // A lane that holds little stays little; a lane that filled a chunk will fill the next.
            None if self.chunks.is_empty() => Vec::new(),
            None => Vec::with_capacity(CHUNK),
        };
        slots.push(slot);
        if let Some(full) = self
            .chunks
            .len()
            .checked_sub(1)
            .filter(|&index| 0 < index && !self.chunks[index].slots.is_empty())
        {
            self.settle(full, spares);
        }
        self.chunks.push_back(Chunk {
            base: number >> SHIFT,
            mask: if number & LOW == 0 {
                DENSE
            } else {
                1 << (number & LOW)
            },
            removed: 0,
            first,
            slots,
        });
        if self.chunks.len() == 1 {
            self.head = 0;
        }
    }

    /// Forgets the slots of an empty ring, so that a lower place may be appended (N3).
    fn restart(&mut self, spares: &mut Spares<P, T>) {
        debug_assert_eq!(self.live, 0, "only an empty ring restarts");
        for chunk in self.chunks.drain(..) {
            keep(chunk.slots, spares);
        }
        self.head = 0;
        self.dead = 0;
        self.next = self.next.next_multiple_of(CHUNK as u64);
    }

    /// Adds an item between the others. Returns its number, for which the ring will have no slot.
    fn insert(&mut self, place: P, item: T) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(chunk) = self.chunks.back_mut()
            && chunk.base == number >> SHIFT
            && chunk.mask == DENSE
        {
            chunk.mask = (1 << (number & LOW)) - 1;
        }
        self.put_back(place, number, item);
        number
    }

    /// Adds an item between the others, under the number that it had before in this lane.
    pub(super) fn put_back(&mut self, place: P, number: u64, item: T) {
        let before = self.aside.insert((place, number), item);
        debug_assert!(before.is_none(), "a number names one item");
    }

    #[inline]
    fn ring_first(&self) -> Option<(P, u64, &T)> {
        if self.live == 0 {
            return None;
        }
        let chunk = self.chunks.front()?;
        let slot = &chunk.slots[self.head];
        Some((slot.place, chunk.number_of(self.head), slot.item.as_ref()?))
    }

    /// The item that comes first.
    #[inline]
    pub(super) fn first(&self) -> Option<(P, u64, &T)> {
        let ring = self.ring_first();
        if self.aside.is_empty() {
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
        if !self.aside.is_empty() {
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
        Some((place, number, item))
    }

    #[inline(always)]
    fn pop_ring(&mut self, spares: &mut Spares<P, T>) -> Option<(P, u64, T)> {
        if self.live == 0 {
            return None;
        }
        let chunk = self.chunks.front_mut()?;
        let number = chunk.number_of(self.head);
        let slot = &mut chunk.slots[self.head];
        let place = slot.place;
        let item = slot.item.take()?;
        self.live -= 1;
        self.head += 1;
        // The next slot is nearly always the next item (N2); or there is none yet, and the next push will bring it.
        let settled = match chunk.slots.get(self.head) {
            Some(slot) => slot.item.is_some(),
            None => self.next & LOW != 0 && chunk.base == self.next >> SHIFT,
        };
        if !settled {
            self.advance(spares);
        }
        Some((place, number, item))
    }

    /// Takes up to `max` items in order, and tells each. Returns how many.
    pub(super) fn pop_run(
        &mut self,
        max: usize,
        spares: &mut Spares<P, T>,
        mut each: impl FnMut(P, u64, T),
    ) -> usize {
        let mut left = max;
        while 0 < left && !self.is_empty() {
            if !self.aside.is_empty() {
                let Some((place, number, item)) = self.pop_merged(spares) else {
                    break;
                };
                each(place, number, item);
                left -= 1;
                continue;
            }
            let Some(chunk) = self.chunks.front_mut() else {
                break;
            };
            let first = if chunk.mask == DENSE {
                Some(chunk.base << SHIFT)
            } else {
                None
            };
            let before = left;
            while 0 < left && self.head < chunk.slots.len() {
                if let Some(item) = chunk.slots[self.head].item.take() {
                    let number = match first {
                        Some(first) => first + self.head as u64,
                        None => chunk.number_of(self.head),
                    };
                    each(chunk.slots[self.head].place, number, item);
                    left -= 1;
                }
                self.head += 1;
            }
            self.live -= before - left;
            self.advance(spares);
        }
        max - left
    }

    /// Moves `head` to the next item and lets go of the chunks it passes.
    #[inline(never)]
    fn advance(&mut self, spares: &mut Spares<P, T>) {
        while let Some(chunk) = self.chunks.front() {
            let ahead = chunk.slots.get(self.head..).unwrap_or_default();
            if let Some(skip) = ahead.iter().position(|slot| slot.item.is_some()) {
                self.head += skip;
                break;
            }
            if self.next & LOW != 0 && chunk.base == self.next >> SHIFT {
                // This chunk can still grow; the next item will come to its end.
                self.head = chunk.slots.len();
                break;
            }
            if chunk.slots.is_empty() {
                self.dead -= 1;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                keep(chunk.slots, spares);
            }
            self.head = 0;
        }
        if self.chunks.capacity() > CHUNK && self.chunks.len() * 8 < self.chunks.capacity() {
            self.chunks.shrink_to(self.chunks.capacity() / 2);
        }
        self.bury();
    }

    /// Index of the chunk that has this base. Constant while no dead chunk was dropped from the middle, else a
    /// binary search over the chunks that are left.
    fn chunk_of(&self, base: u64) -> Option<usize> {
        let ahead = base.checked_sub(self.chunks.front()?.base)?;
        let guess = usize::try_from(ahead).ok()?;
        if self.chunks.get(guess).is_some_and(|chunk| chunk.base == base) {
            return Some(guess);
        }
        self.chunks.binary_search_by_key(&base, |chunk| chunk.base).ok()
    }

    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let chunk = self.chunk_of(number >> SHIFT)?;
        let offset = usize::try_from(number & LOW).ok()?;
        let slot = self.chunks[chunk].slot_of(offset)?;
        self.chunks[chunk].slots[slot].item.as_ref()?;
        Some((chunk, slot))
    }

    /// The item with this place and number, if it is still here.
    pub(super) fn get(&self, place: P, number: u64) -> Option<&T> {
        match self.find(number) {
            Some((chunk, slot)) => self.chunks[chunk].slots[slot].item.as_ref(),
            None => self.aside.get(&(place, number)),
        }
    }

    /// Takes the item with this place and number, if it is still here.
    pub(super) fn remove(&mut self, place: P, number: u64, spares: &mut Spares<P, T>) -> Option<T> {
        let Some((index, slot)) = self.find(number) else {
            return self.aside.remove(&(place, number));
        };
        let chunk = &mut self.chunks[index];
        let item = chunk.slots[slot].item.take()?;
        self.live -= 1;
        if index == 0 {
            if slot == self.head {
                self.advance(spares);
            }
            return Some(item);
        }
        chunk.removed += 1;
        let growing = self.next & LOW != 0 && chunk.base == self.next >> SHIFT;
        if !growing {
            self.settle(index, spares);
        }
        Some(item)
    }

    /// Gives back the slots of a chunk, neither first nor growing, from which most was removed (N6).
    fn settle(&mut self, index: usize, spares: &mut Spares<P, T>) {
        let chunk = &mut self.chunks[index];
        let left = chunk.slots.len() - chunk.removed;
        if left == 0 {
            keep(std::mem::take(&mut chunk.slots), spares);
            chunk.mask = DENSE; // No slot, so no offset has one.
            self.dead += 1;
            self.bury();
        } else if FEW < chunk.slots.len() && left * 4 <= chunk.slots.len() {
            chunk.thin();
        }
    }

    /// Drops dead chunks from the directory once they are most of it (N5): constant per removal, amortised.
    fn bury(&mut self) {
        if self.dead >= MANY_DEAD && self.dead * 2 > self.chunks.len() {
            let mut index = 0;
            self.chunks.retain(|chunk| {
                index += 1;
                index == 1 || !chunk.slots.is_empty()
            });
            self.dead = usize::from(self.chunks.front().is_some_and(|chunk| chunk.slots.is_empty()));
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// All items from the first on.
    pub(super) fn iter(&self) -> LaneIter<'_, P, T> {
        LaneIter {
            ring: RingIter {
                lane: self,
                chunk: 0,
                slot: self.head,
            }
            .peekable(),
            aside: self.aside.range(..).peekable(),
        }
    }

    /// The items whose place is greater than `place`. Logarithmic in what waits, then lazy.
    pub(super) fn iter_after(&self, place: P) -> LaneIter<'_, P, T> {
        let after = self.chunks.partition_point(|chunk| chunk.first <= place);
        let chunk = after.saturating_sub(1);
        let mut slot = self
            .chunks
            .get(chunk)
            .map_or(0, |chunk| chunk.slots.partition_point(|slot| slot.place <= place));
        if chunk == 0 {
            slot = slot.max(self.head);
        }
        LaneIter {
            ring: RingIter {
                lane: self,
                chunk,
                slot,
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
        let items = |chunk: &Chunk<P, T>| chunk.slots.iter().filter(|slot| slot.item.is_some()).count();
        let live: usize = self.chunks.iter().map(items).sum();
        assert_eq!(self.live, live, "N1 broken");
        if let Some(front) = self.chunks.front() {
            if 0 < self.live {
                assert!(
                    front.slots[self.head].item.is_some(),
                    "N2 broken: the head is empty"
                );
            }
            let passed = &front.slots[..self.head.min(front.slots.len())];
            assert!(
                passed.iter().all(|slot| slot.item.is_none()),
                "N2 broken: passed an item"
            );
        }
        let places: Vec<P> = self
            .chunks
            .iter()
            .flat_map(|chunk| &chunk.slots)
            .map(|slot| slot.place)
            .collect();
        assert!(places.is_sorted(), "N3 broken: places fall");
        assert!(
            places.last().copied() <= self.last || places.is_empty(),
            "N3 broken: last"
        );
        assert!(
            self.chunks
                .iter()
                .map(|chunk| chunk.base)
                .is_sorted_by(|a, b| a < b),
            "N4 broken"
        );
        let end = self.next.div_ceil(CHUNK as u64);
        assert!(
            self.chunks.iter().all(|chunk| chunk.base < end),
            "N4 broken: beyond next"
        );
        let dead = self.chunks.iter().filter(|chunk| chunk.slots.is_empty()).count();
        assert_eq!(self.dead, dead, "N5 broken: count");
        assert!(
            dead < MANY_DEAD || dead * 2 <= self.chunks.len(),
            "N5 broken: too many"
        );
        for (index, chunk) in self.chunks.iter().enumerate() {
            let growing = self.next & LOW != 0 && chunk.base == self.next >> SHIFT;
            if 0 < index && !growing && FEW < chunk.slots.len() {
                assert!(chunk.slots.len() < items(chunk) * 4, "N6 broken at chunk {index}");
            }
        }
    }
}

/// Keeps an emptied chunk for the next push, or lets it go when there are enough.
fn keep<P, T>(mut slots: Vec<Slot<P, T>>, spares: &mut Spares<P, T>) {
    if slots.capacity() == CHUNK && spares.len() < SPARES {
        slots.clear();
        spares.push(slots);
    }
}

struct RingIter<'a, P, T> {
    lane: &'a Lane<P, T>,
    chunk: usize,
    slot: usize,
}

impl<'a, P: Copy, T> Iterator for RingIter<'a, P, T> {
    type Item = (P, u64, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let chunk = self.lane.chunks.get(self.chunk)?;
            if let Some(slot) = chunk.slots.get(self.slot) {
                self.slot += 1;
                if let Some(item) = &slot.item {
                    return Some((slot.place, chunk.number_of(self.slot - 1), item));
                }
            } else {
                self.chunk += 1;
                self.slot = 0;
            }
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
