//! Where the items live: a slab with generations, so that a stale handle finds nothing and never a stranger.

use super::Handle;

/// Items by slot.
///
/// # Invariants
///
/// * **S1** an odd generation means that the slot holds a live item; the handle that was given out carries it;
/// * **S2** a slot is reused only after its one record has been dropped, so a record never names a stranger;
/// * **S3** a slot whose generations are used up is never reused;
/// * **S4** bit `n` of `dead` is set exactly when slot `n` was given out and is not live. Who only wants to know that of many asks
///   these few bits, which stay in the cache, and not the entries, each of which would be a miss;
/// * **S5** bit `n` of `free` is set when slot `n` is dead and its record is dropped, until the slot is reused or found to be worn out;
/// * **S6** `free_words` names each word of `free` that is not zero, once.
#[derive(Clone, Debug)]
pub(super) struct Slots<T: Copy> {
    /// Chunks that are full, so that growing moves nothing, and the last.
    full: Vec<Vec<Entry<T>>>,
    tail: Vec<Entry<T>>,
    /// The slot of the first entry of the tail.
    first: u32,
    dead: Vec<u64>,
    free: Vec<u64>,
    /// Words of `free` that are not zero.
    free_words: Vec<u32>,
    live: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Entry<T: Copy> {
    generation: u32,
    item: T,
}

/// Entries in a chunk. Small in tests, so that short histories fill some.
const CHUNK: usize = if cfg!(test) { 64 } else { 4_096 };

const fn word_of(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

impl<T: Copy> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            full: Vec::new(),
            tail: Vec::new(),
            first: 0,
            dead: Vec::new(),
            free: Vec::new(),
            free_words: Vec::new(),
            live: 0,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    fn entry(&self, slot: u32) -> Option<&Entry<T>> {
        let chunk = self.full.get(slot as usize / CHUNK).unwrap_or(&self.tail);
        chunk.get(slot as usize % CHUNK)
    }

    #[inline(always)]
    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry<T>> {
        let chunk = self.full.get_mut(slot as usize / CHUNK);
        chunk.unwrap_or(&mut self.tail).get_mut(slot as usize % CHUNK)
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, item: T) -> Handle {
        self.live += 1;
        if !self.free_words.is_empty()
            && let Some(handle) = self.reuse(item)
        {
            return handle;
        }
        if self.tail.len() == self.tail.capacity() {
            self.grow();
        }
        #[expect(clippy::cast_possible_truncation, reason = "below the size of a chunk")]
        let slot = self.first + self.tail.len() as u32;
        self.tail.push(Entry { generation: 1, item });
        Handle { slot, generation: 1 }
    }

    /// Puts an item into a slot that was used before.
    #[inline(never)]
    fn reuse(&mut self, item: T) -> Option<Handle> {
        while let Some(&word) = self.free_words.last() {
            let bits = &mut self.free[word as usize];
            let slot = word * 64 + bits.trailing_zeros();
            *bits &= *bits - 1; // S5
            if *bits == 0 {
                self.free_words.pop(); // S6
            }
            let entry = self.entry_mut(slot).expect("a free slot was given out once");
            if entry.generation == u32::MAX - 1 {
                continue; // S3
            }
            let generation = entry.generation + 1; // S1
            *entry = Entry { generation, item };
            let (word, bit) = word_of(slot);
            self.dead[word] &= !bit; // S4
            return Some(Handle { slot, generation });
        }
        None
    }

    /// Makes room for new slots.
    #[cold]
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "the size of a chunk")]
    fn grow(&mut self) {
        if self.tail.len() == CHUNK {
            let chunk = std::mem::replace(&mut self.tail, Vec::with_capacity(CHUNK));
            self.full.push(chunk);
            let first = self.full.len() * CHUNK;
            u32::try_from(first + CHUNK - 1).expect("fewer than 2^32 entries at once");
            self.first += CHUNK as u32;
        } else {
            // The first chunk grows, so that a small timeline stays small.
            let len = self.tail.len();
            self.tail.reserve_exact(len.max(4).min(CHUNK - len));
        }
        let words = (self.full.len() * CHUNK + self.tail.capacity()).div_ceil(64);
        self.dead.resize(words, 0);
        self.free.resize(words, 0);
    }

    pub(super) fn get(&self, handle: Handle) -> Option<T> {
        let entry = self.entry(handle.slot)?;
        (entry.generation == handle.generation).then_some(entry.item) // S1
    }

    /// Ends the life of an item. Its slot stays taken until [`release`](Self::release).
    #[inline(always)]
    pub(super) fn kill(&mut self, handle: Handle) -> Option<T> {
        let entry = self.entry_mut(handle.slot)?;
        if entry.generation != handle.generation {
            return None;
        }
        entry.generation += 1;
        let item = entry.item;
        self.bury(handle.slot);
        Some(item)
    }

    #[inline(always)]
    fn bury(&mut self, slot: u32) {
        let (word, bit) = word_of(slot);
        self.dead[word] |= bit; // S4
        self.live -= 1;
    }

    /// As [`is_live`](Self::is_live), for who will take the item next: what is asked of many entries one after the other
    /// comes into the cache at once, where each item taken alone would be waited for.
    pub(super) fn fetch(&self, slot: u32) -> bool {
        self.entry(slot).is_some_and(|entry| entry.generation % 2 == 1)
    }

    #[inline(always)]
    pub(super) fn is_live(&self, slot: u32) -> bool {
        let (word, bit) = word_of(slot);
        self.dead.get(word).is_some_and(|word| word & bit == 0)
    }

    /// Takes the item of a slot whose record is dropped, and frees the slot. `None`: it was dead.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let entry = self.entry_mut(slot).expect("the slot of a record was given out");
        let item = entry.item;
        let live = entry.generation % 2 == 1;
        if live {
            entry.generation += 1;
            self.bury(slot);
        }
        self.release(slot);
        live.then_some(item)
    }

    /// Frees a dead slot whose record is dropped. Does not touch the slot: whether it is worn out is looked at by who
    /// would reuse it.
    #[expect(clippy::cast_possible_truncation, reason = "a 64th of a slot's number")]
    pub(super) fn release(&mut self, slot: u32) {
        let (word, bit) = word_of(slot);
        if self.free[word] == 0 {
            self.free_words.push(word as u32); // S6
        }
        self.free[word] |= bit; // S5
    }

    /// Frees all dead slots: no record is left of any.
    pub(super) fn release_dead(&mut self) {
        self.free.copy_from_slice(&self.dead); // S5
        let words = (0..).zip(&self.free).filter(|(_, bits)| **bits != 0);
        self.free_words.clear();
        self.free_words.extend(words.map(|(word, _)| word)); // S6
    }

    pub(super) fn allocated(&self) -> usize {
        let entries: usize = self.full.iter().chain([&self.tail]).map(Vec::capacity).sum();
        entries * size_of::<Entry<T>>()
            + self.full.capacity() * size_of::<Vec<Entry<T>>>()
            + (self.dead.capacity() + self.free.capacity()) * size_of::<u64>()
            + self.free_words.capacity() * size_of::<u32>()
    }

    /// Panics unless S4, S5 and S6 hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let entries = self.full.iter().chain([&self.tail]).flatten();
        let mut live = 0;
        for (slot, entry) in (0..).zip(entries) {
            let is_live = entry.generation % 2 == 1;
            assert_eq!(self.is_live(slot), is_live, "S4");
            live += usize::from(is_live);
        }
        assert_eq!(live, self.live);
        let free = (0..).zip(&self.free).filter(|(_, bits)| **bits != 0);
        let mut words = self.free_words.clone();
        words.sort_unstable();
        assert!(free.map(|(word, _)| word).eq(words), "S6");
        assert!(
            self.free
                .iter()
                .zip(&self.dead)
                .all(|(free, dead)| free & !dead == 0),
            "S5"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_s2_a_stale_handle_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!((slots.kill(first), slots.get(first)), (Some('a'), None));
        let second = slots.insert('b');
        assert_ne!(second.slot, first.slot, "not free while its record is there");
        slots.release(first.slot);
        let third = slots.insert('c');
        assert_eq!(third.slot, first.slot);
        assert_eq!(
            (slots.get(first), slots.kill(first), slots.get(third)),
            (None, None, Some('c'))
        );
    }

    #[test]
    fn s3_a_worn_out_slot_is_left_alone() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        slots.entry_mut(0).unwrap().generation = u32::MAX - 2;
        let last = Handle {
            generation: u32::MAX - 2,
            ..first
        };
        assert_eq!(slots.kill(last), Some('a'));
        slots.release(0);
        assert_eq!(slots.insert('b').slot, 1);
    }
}
