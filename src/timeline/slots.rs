//! Where the items live: a slab with generations, so that a stale handle finds nothing and never a stranger.

use super::Handle;

/// Items by slot.
///
/// # Invariants
///
/// * **S1** an odd generation means that the slot holds a live item; the handle that was given out carries it;
/// * **S2** a slot is reused only after its one record has been dropped, so a record never names a stranger;
/// * **S3** a slot whose generations are used up is never reused;
/// * **S4** bit `n` of `lives` is set exactly when slot `n` is live. Who only wants to know that of many asks these few
///   bits, which stay in the cache, and not the entries, each of which would be a miss.
#[derive(Clone, Debug)]
pub(super) struct Slots<T: Copy> {
    /// Full but for the last, so that growing moves nothing.
    chunks: Vec<Vec<Entry<T>>>,
    free: Vec<u32>,
    lives: Vec<u64>,
    live: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Entry<T: Copy> {
    generation: u32,
    item: T,
}

/// Entries in a chunk.
const CHUNK: usize = 4_096;

impl<T: Copy> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            lives: Vec::new(),
            live: 0,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    fn entry(&self, slot: u32) -> Option<&Entry<T>> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    /// The entry of a slot that was given out.
    fn entry_mut(&mut self, slot: u32) -> &mut Entry<T> {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    #[inline]
    pub(super) fn insert(&mut self, item: T) -> Handle {
        self.live += 1;
        if !self.free.is_empty()
            && let Some(handle) = self.reuse(item)
        {
            return handle;
        }
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK && chunk.len() % 64 != 0 => {
                let slot = (self.lives.len() - 1) * 64 + chunk.len() % 64;
                chunk.push(Entry { generation: 1, item });
                let slot = u32::try_from(slot).expect("fewer than 2^32 entries at once");
                *self.lives.last_mut().expect("one for each 64 slots") |= 1 << (slot % 64); // S4
                Handle { slot, generation: 1 }
            }
            _ => self.grow(item),
        }
    }

    /// Puts an item into a slot that was used before.
    #[inline(never)]
    fn reuse(&mut self, item: T) -> Option<Handle> {
        while let Some(slot) = self.free.pop() {
            let entry = self.entry_mut(slot);
            if entry.generation == u32::MAX - 1 {
                continue; // S3
            }
            let generation = entry.generation + 1; // S1
            *entry = Entry { generation, item };
            self.lives[slot as usize / 64] |= 1 << (slot % 64); // S4
            return Some(Handle { slot, generation });
        }
        None
    }

    /// Puts an item into the first of 64 new slots.
    #[cold]
    fn grow(&mut self, item: T) -> Handle {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first chunk grows, so that a small timeline stays small.
            let room = if self.chunks.is_empty() { 4 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        let chunk = self.chunks.last_mut().expect("one was pushed if there was none");
        chunk.push(Entry { generation: 1, item });
        let slot = u32::try_from(self.lives.len() * 64).expect("fewer than 2^32 entries at once");
        self.lives.push(1); // S4
        Handle { slot, generation: 1 }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<T> {
        let entry = self.entry(handle.slot)?;
        (entry.generation == handle.generation && handle.generation % 2 == 1).then_some(entry.item)
    }

    /// Ends the life of an item. Its slot stays taken until [`release`](Self::release).
    #[inline]
    pub(super) fn kill(&mut self, handle: Handle) -> Option<T> {
        let entry = self
            .chunks
            .get_mut(handle.slot as usize / CHUNK)?
            .get_mut(handle.slot as usize % CHUNK)?;
        if entry.generation != handle.generation || handle.generation.is_multiple_of(2) {
            return None;
        }
        entry.generation += 1;
        let item = entry.item;
        self.bury(handle.slot);
        Some(item)
    }

    fn bury(&mut self, slot: u32) {
        self.lives[slot as usize / 64] &= !(1 << (slot % 64)); // S4
        self.live -= 1;
    }

    /// As [`is_live`](Self::is_live), for who will take the item next: what is asked of many entries one after the other
    /// comes into the cache at once, where each item taken alone would be waited for.
    pub(super) fn fetch(&self, slot: u32) -> bool {
        self.entry(slot).is_some_and(|entry| entry.generation % 2 == 1)
    }

    pub(super) fn is_live(&self, slot: u32) -> bool {
        let word = self.lives.get(slot as usize / 64);
        word.is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Takes the item of a slot whose record is dropped, and frees the slot. `None`: it was dead.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let entry = self.entry_mut(slot);
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
    pub(super) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// As many [`release`](Self::release).
    pub(super) fn release_all(&mut self, slots: &[u32]) {
        self.free.extend_from_slice(slots);
    }

    pub(super) fn allocated(&self) -> usize {
        let entries: usize = self.chunks.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry<T>>()
            + self.chunks.capacity() * size_of::<Vec<Entry<T>>>()
            + self.free.capacity() * size_of::<u32>()
            + self.lives.capacity() * size_of::<u64>()
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
        slots.entry_mut(0).generation = u32::MAX - 2;
        let last = Handle {
            generation: u32::MAX - 2,
            ..first
        };
        assert_eq!(slots.kill(last), Some('a'));
        slots.release(0);
        assert_eq!(slots.insert('b').slot, 1);
    }
}
