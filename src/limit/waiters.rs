//! A line of waiters, first in first out, with removal from anywhere in constant time.

use std::task::Waker;

use super::book::NIL;

/// Who waits at a semaphore, in order, and who has been let in but has not looked yet. Kept under the semaphore's lock.
///
/// # Invariants
///
/// * **W1** the list from `head` to `tail` holds exactly the places that are `Queued`, in the order of arrival;
/// * **W2** `len` is their number.
#[derive(Debug)]
pub(super) struct Waiters {
    places: Vec<Place>,
    free: Vec<u32>,
    head: u32,
    tail: u32,
    len: usize,
}

#[derive(Debug)]
struct Place {
    weight: u32,
    state: Turn,
    waker: Option<Waker>,
    prev: u32,
    next: u32,
}

/// How far a waiter has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// It stands in line.
    Queued,
    /// It holds its slots.
    Granted,
    /// It will never be let in.
    Closed,
}

impl Default for Waiters {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }
}

impl Waiters {
    /// How many stand in line.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody stands in line.
    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The weight that the first in line waits for.
    pub(super) fn head_weight(&self) -> Option<u32> {
        self.places.get(self.head as usize).map(|place| place.weight)
    }

    /// Puts a waiter at the end. Its number is its own until [`leave`](Self::leave).
    pub(super) fn push(&mut self, weight: u32, waker: Waker) -> u32 {
        let place = Place {
            weight,
            state: Turn::Queued,
            waker: Some(waker),
            prev: self.tail,
            next: NIL,
        };
        let index = if let Some(index) = self.free.pop() {
            self.places[index as usize] = place;
            index
        } else {
            self.places.push(place);
            u32::try_from(self.places.len() - 1).expect("four billion waiters are 200 GB")
        };
        if self.tail == NIL {
            self.head = index;
        } else {
            self.places[self.tail as usize].next = index;
        }
        self.tail = index; // W1
        self.len += 1; // W2
        index
    }

    /// Takes the first out of line with this outcome. Returns whom to wake.
    pub(super) fn call(&mut self, outcome: Turn) -> Option<Waker> {
        let index = self.head;
        self.unlink(index);
        let place = &mut self.places[index as usize];
        place.state = outcome;
        place.waker.take()
    }

    /// How far the waiter has come.
    pub(super) fn turn(&self, index: u32) -> Turn {
        self.places[index as usize].state
    }

    /// Has another waker woken. Returns the old one, to be dropped without the lock.
    pub(super) fn rewake(&mut self, index: u32, waker: Waker) -> Option<Waker> {
        self.places[index as usize].waker.replace(waker)
    }

    /// Frees the waiter's place, in line or not. Returns its waker, to be dropped without the lock.
    pub(super) fn leave(&mut self, index: u32) -> Option<Waker> {
        if self.turn(index) == Turn::Queued {
            self.unlink(index);
        }
        self.free.push(index);
        self.places[index as usize].waker.take()
    }

    fn unlink(&mut self, index: u32) {
        let place = &self.places[index as usize];
        let (prev, next) = (place.prev, place.next);
        if prev == NIL {
            self.head = next;
        } else {
            self.places[prev as usize].next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            self.places[next as usize].prev = prev;
        }
        self.len -= 1; // W1, W2
    }
}
