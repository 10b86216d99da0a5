//! Where the items live: a slab with generations, so that a stale handle finds nothing and never a stranger.

use super::Handle;

/// Items by slot.
///
/// # Invariants
///
/// * **S1** an odd generation means that the slot holds a live item; the handle that was given out carries it;
/// * **S2** a slot is reused only after its one record has been dropped, so a record never names a stranger;
/// * **S3** a slot whose generations are used up is never reused.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    generations: Vec<u32>,
    items: Vec<T>,
    free: Vec<u32>,
    live: usize,
}

impl<T: Copy> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            generations: Vec::new(),
            items: Vec::new(),
            free: Vec::new(),
            live: 0,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn insert(&mut self, item: T) -> Handle {
        self.live += 1;
        let slot = if let Some(slot) = self.free.pop() {
            self.generations[slot as usize] += 1; // S1
            self.items[slot as usize] = item;
            slot
        } else {
            let slot = u32::try_from(self.items.len()).expect("fewer than 2^32 entries at once");
            push_lean(&mut self.generations, 1);
            push_lean(&mut self.items, item);
            slot
        };
        Handle {
            slot,
            generation: self.generations[slot as usize],
        }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<T> {
        let found = self.generations.get(handle.slot as usize) == Some(&handle.generation);
        (found && handle.generation % 2 == 1).then(|| self.items[handle.slot as usize])
    }

    /// Ends the life of an item. Its slot stays taken until [`release`](Self::release).
    pub(super) fn kill(&mut self, handle: Handle) -> Option<T> {
        let item = self.get(handle)?;
        self.generations[handle.slot as usize] += 1;
        self.live -= 1;
        Some(item)
    }

    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.generations[slot as usize] % 2 == 1
    }

    /// Takes the item of a slot whose record is dropped, and frees the slot. `None`: it was dead.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let generation = &mut self.generations[slot as usize];
        let live = *generation % 2 == 1;
        if live {
            *generation += 1;
            self.live -= 1;
        }
        self.release(slot);
        live.then(|| self.items[slot as usize])
    }

    /// Frees a dead slot whose record is dropped.
    pub(super) fn release(&mut self, slot: u32) {
        if self.generations[slot as usize] < u32::MAX - 1 {
            push_lean(&mut self.free, slot); // S3
        }
    }

    pub(super) fn allocated(&self) -> usize {
        self.generations.capacity() * 4 + self.items.capacity() * size_of::<T>() + self.free.capacity() * 4
    }
}

/// Pushes with room for a quarter more instead of twice as much, so that large lists stay near their size.
pub(super) fn push_lean<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        let more = if list.len() < 256 {
            list.len()
        } else {
            list.len() / 4
        };
        list.reserve_exact(more.max(4));
    }
    list.push(item);
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
        slots.generations[0] = u32::MAX - 2;
        let last = Handle {
            generation: u32::MAX - 2,
            ..first
        };
        assert_eq!(slots.kill(last), Some('a'));
        slots.release(0);
        assert_eq!(slots.insert('b').slot, 1);
    }
}
