//! Many at once: the tickets of a batch that was pushed, and the items of one that was taken.
//!
//! The numbers that a lane gives to the items of one batch follow one another, so of the tickets only the levels and the
//! first number of each lane are kept; items leave their chunks together, and what remembers their numbers is the chunk's
//! mask. Tickets are made when they are asked for.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::vec;

use super::bands::taken;
use super::lanes::{self, Taken};
use super::{Popped, Ticket};
use crate::Priority;

/// One word for each lane.
pub(super) type PerLane<N> = [N; Priority::LEVELS];

/// The tickets of a batch, in the order of its items. Made by [`Queue::push_batch`](super::Queue::push_batch).
///
/// Takes a byte for each item: who wants no tickets pays for none, who wants them all collects them.
#[derive(Clone, Debug)]
pub struct Tickets {
    queue: u64,
    place: u64,
    /// The number of the next item of each lane.
    next: PerLane<u64>,
    levels: vec::IntoIter<Priority>,
}

impl Tickets {
    pub(super) fn new(queue: u64, place: u64, first: PerLane<u64>, levels: Vec<Priority>) -> Self {
        Self {
            queue,
            place,
            next: first,
            levels: levels.into_iter(),
        }
    }
}

impl Iterator for Tickets {
    type Item = Ticket;

    #[inline]
    fn next(&mut self) -> Option<Ticket> {
        let lane = self.levels.next()?.lane();
        let number = self.next[lane];
        self.next[lane] += 1;
        Some(Ticket::new(
            self.queue,
            lanes::Ticket::new(lane, self.place, number),
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.levels.size_hint()
    }
}

impl ExactSizeIterator for Tickets {}
impl FusedIterator for Tickets {}

/// Items that left one chunk together. Their numbers are `base` and the places of the bits of the mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) lane: usize,
    pub(super) base: u64,
    pub(super) mask: u64,
}

/// What was taken out of [`Lanes`](super::Lanes) in one step, in order.
///
/// # Invariant
///
/// The runs from `run` on have as many bits as there are items.
#[derive(Debug)]
pub(super) struct Many<T, P> {
    pub(super) items: VecDeque<(P, T)>,
    pub(super) runs: Vec<Run>,
    run: usize,
}

impl<T, P: Copy> Many<T, P> {
    pub(super) fn with_room(items: usize) -> Self {
        Self {
            items: VecDeque::with_capacity(items),
            runs: Vec::with_capacity(items.min(2 * Priority::LEVELS)),
            run: 0,
        }
    }

    pub(super) fn push(&mut self, taken: Taken<T, P>) {
        let Taken { ticket, item } = taken;
        self.runs.push(Run {
            lane: ticket.lane(),
            base: ticket.number(),
            mask: 1,
        });
        self.items.push_back((ticket.place(), item));
    }
}

impl<T, P: Copy> Iterator for Many<T, P> {
    type Item = Taken<T, P>;

    #[inline]
    fn next(&mut self) -> Option<Taken<T, P>> {
        let (place, item) = self.items.pop_front()?;
        let run = &mut self.runs[self.run];
        let number = run.base + u64::from(run.mask.trailing_zeros());
        run.mask &= run.mask - 1;
        self.run += usize::from(run.mask == 0);
        let ticket = lanes::Ticket::new(run.lane, place, number);
        Some(Taken { ticket, item })
    }
}

/// What a queue of either kind gave.
#[derive(Debug)]
pub(super) enum Items<T> {
    Strict(Many<T, ()>),
    Aging(Many<T, u64>),
}

/// Items that left the queue together, the first of them first. Made by [`Queue::pop_batch`](super::Queue::pop_batch).
///
/// They have left it: those that are still in here when it is dropped are dropped.
#[derive(Debug)]
pub struct Batch<T> {
    queue: u64,
    items: Items<T>,
}

impl<T> Batch<T> {
    pub(super) fn new(queue: u64, items: Items<T>) -> Self {
        Self { queue, items }
    }
}

impl<T> Iterator for Batch<T> {
    type Item = Popped<T>;

    #[inline]
    fn next(&mut self) -> Option<Popped<T>> {
        let taken = match &mut self.items {
            Items::Strict(many) => taken(many.next()?),
            Items::Aging(many) => many.next()?,
        };
        Some(Popped::new(self.queue, taken))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match &self.items {
            Items::Strict(many) => many.items.len(),
            Items::Aging(many) => many.items.len(),
        };
        (len, Some(len))
    }
}

impl<T> ExactSizeIterator for Batch<T> {}
impl<T> FusedIterator for Batch<T> {}
