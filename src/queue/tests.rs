//! The queue on one thread: against the obvious model, and promise by promise.

use std::time::Duration;

use proptest::prelude::*;

use super::{Closed, Popped, PushError, Queue, SettingsError, Ticket};
use crate::Priority;

fn at(level: u8) -> Priority {
    Priority::new(level).expect("drawn from the levels")
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The obvious queue: a list, scanned for what comes first.
struct Model {
    capacity: usize,
    interval: Option<u64>,
    now: u64,
    closed: bool,
    arrivals: u64,
    items: Vec<Known>,
}

/// (level, told time at arrival, arrival, item, ticket)
type Known = (u8, u64, u64, u32, Ticket);

impl Model {
    fn push(&mut self, level: u8, item: u32, ticket: Ticket) {
        self.arrivals += 1;
        self.items.push((level, self.now, self.arrivals, item, ticket));
    }

    /// Index of what comes first.
    fn first(&self) -> Option<usize> {
        let risen = |since: u64| self.interval.map_or(0, |interval| (self.now - since) / interval);
        (0..self.items.len()).min_by_key(|&index| {
            let (level, since, arrival, ..) = self.items[index];
            let effective = (u64::from(level) + risen(since)).min(10);
            let since = if self.interval.is_some() { since } else { 0 };
            (10 - effective, since, 10 - level, arrival)
        })
    }

    fn find(&self, ticket: Ticket) -> Option<usize> {
        self.items.iter().position(|item| item.4 == ticket)
    }

    fn counts(&self) -> [usize; Priority::LEVELS] {
        let mut counts = [0; Priority::LEVELS];
        self.items
            .iter()
            .for_each(|item| counts[usize::from(item.0) - 1] += 1);
        counts
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Batch(Vec<u8>),
    Pop,
    PopBatch(usize),
    Remove(usize),
    Relevel(usize, u8),
    PutBack(usize),
    Tell(u64),
    Shrink,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let level = 1_u8..=10;
    prop_oneof![
        30 => level.clone().prop_map(Op::Push),
        4 => prop::collection::vec(level.clone(), 0..6).prop_map(Op::Batch),
        12 => Just(Op::Pop),
        3 => (0_usize..5).prop_map(Op::PopBatch),
        6 => any::<usize>().prop_map(Op::Remove),
        6 => (any::<usize>(), level).prop_map(|(ticket, level)| Op::Relevel(ticket, level)),
        6 => any::<usize>().prop_map(Op::PutBack),
        6 => (0_u64..40).prop_map(Op::Tell),
        1 => Just(Op::Shrink),
        1 => prop_oneof![9 => Just(Op::Pop), 1 => Just(Op::Close)],
    ]
}

struct Pair {
    queue: Queue<u32>,
    model: Model,
    given: Vec<Ticket>,
    /// Popped, with what the model knew of it.
    out: Vec<(Popped<u32>, Known)>,
    next: u32,
}

impl Pair {
    fn refusal(&self, items: usize) -> Option<PushError> {
        let capacity = self.model.capacity;
        if capacity < items {
            Some(PushError::Oversized { items, capacity })
        } else if self.model.closed && items != 0 {
            Some(PushError::Closed)
        } else if capacity.saturating_sub(self.model.items.len()) < items {
            Some(PushError::Full { capacity })
        } else {
            None
        }
    }

    fn push(&mut self, level: u8) {
        self.next += 1;
        match self.queue.push(at(level), self.next) {
            Ok(ticket) => {
                assert_eq!(self.refusal(1), None);
                assert!(!self.given.contains(&ticket), "a ticket was given twice");
                assert_eq!(ticket.priority(), at(level));
                self.given.push(ticket);
                self.model.push(level, self.next, ticket);
            }
            Err(rejected) => {
                assert_eq!(
                    (Some(rejected.reason), rejected.value),
                    (self.refusal(1), self.next)
                );
            }
        }
    }

    fn push_batch(&mut self, levels: &[u8]) {
        let batch: Vec<_> = levels
            .iter()
            .zip(self.next + 1..)
            .map(|(level, item)| (at(*level), item))
            .collect();
        self.next += u32::try_from(levels.len()).expect("a short batch");
        match self.queue.push_batch(batch.clone()) {
            Ok(tickets) => {
                assert_eq!((self.refusal(batch.len()), tickets.len()), (None, batch.len()));
                for ((priority, item), ticket) in batch.into_iter().zip(tickets) {
                    self.given.push(ticket);
                    self.model.push(priority.level(), item, ticket);
                }
            }
            Err(rejected) => {
                assert_eq!(
                    (Some(rejected.reason), rejected.value),
                    (self.refusal(batch.len()), batch)
                );
            }
        }
    }

    fn popped(&mut self, popped: Option<Popped<u32>>) {
        let expected = self.model.first().map(|index| self.model.items.remove(index));
        assert_eq!(
            popped.as_ref().map(|popped| popped.item),
            expected.map(|item| item.3)
        );
        if let (Some(popped), Some(expected)) = (popped, expected) {
            assert_eq!((popped.priority(), popped.ticket()), (at(expected.0), expected.4));
            self.out.push((popped, expected));
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Push(level) => self.push(level),
            Op::Batch(levels) => self.push_batch(&levels),
            Op::Pop => {
                let popped = self.queue.try_pop();
                self.popped(popped);
            }
            Op::PopBatch(max) => {
                let batch = self.queue.pop_batch(max);
                assert_eq!(batch.len(), max.min(self.model.items.len()));
                for popped in batch {
                    self.popped(Some(popped));
                }
            }
            Op::Remove(index) => {
                if let Some(&ticket) = self.given.get(index % self.given.len().max(1)) {
                    let found = self
                        .model
                        .find(ticket)
                        .map(|index| self.model.items.remove(index));
                    assert_eq!(self.queue.contains(ticket), found.is_some());
                    assert_eq!(
                        self.queue.remove(ticket).map(|popped| popped.item),
                        found.map(|item| item.3)
                    );
                }
            }
            Op::Relevel(index, level) => {
                if let Some(&ticket) = self.given.get(index % self.given.len().max(1)) {
                    let found = self
                        .model
                        .find(ticket)
                        .map(|index| self.model.items.remove(index));
                    let moved = self.queue.relevel(ticket, at(level));
                    assert_eq!(moved.is_some(), found.is_some());
                    if let (Some(moved), Some(found)) = (moved, found) {
                        assert!(!self.given.contains(&moved), "a ticket was given twice");
                        self.given.push(moved);
                        self.model.push(level, found.3, moved);
                    }
                }
            }
            Op::PutBack(index) => {
                if !self.out.is_empty() {
                    let (popped, known) = self.out.swap_remove(index % self.out.len());
                    assert_eq!(self.queue.put_back(popped).ok(), Some(known.4));
                    self.model.items.push(known);
                }
            }
            Op::Tell(by) => {
                // An earlier time changes nothing.
                self.queue
                    .tell(Duration::from_nanos(self.model.now.saturating_sub(by)));
                self.model.now += by;
                self.queue.tell(Duration::from_nanos(self.model.now));
            }
            Op::Shrink => self.queue.shrink(),
            Op::Close => {
                assert_eq!(self.queue.close(), !self.model.closed);
                self.model.closed = true;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn q1_q2_q3_q4_q6_the_queue_agrees_with_the_obvious_model_for_every_number_of_locks(
        ops in prop::collection::vec(op(), 0..200),
        locks in 1_usize..=10,
        capacity in prop_oneof![Just(None), (1_usize..20).prop_map(Some)],
        interval in prop_oneof![Just(None), (1_u64..50).prop_map(Some)],
    ) {
        let mut builder = Queue::builder().locks(locks);
        if let Some(capacity) = capacity {
            builder = builder.capacity(capacity);
        }
        if let Some(interval) = interval {
            builder = builder.aging(Duration::from_nanos(interval));
        }
        let mut pair = Pair {
            queue: builder.build().expect("settings that a queue can have"),
            model: Model {
                capacity: capacity.unwrap_or(usize::MAX),
                interval,
                now: 0,
                closed: false,
                arrivals: 0,
                items: Vec::new(),
            },
            given: Vec::new(),
            out: Vec::new(),
            next: 0,
        };
        for op in ops {
            pair.apply(op);
            pair.queue.check_invariants();
            prop_assert_eq!(pair.queue.counts(), pair.model.counts());
            prop_assert_eq!(pair.queue.len(), pair.model.items.len());
        }
        while !pair.model.items.is_empty() {
            pair.apply(Op::Pop);
        }
        prop_assert!(pair.queue.try_pop().is_none());
    }
}

#[test]
fn q3_a_ticket_of_another_queue_finds_nothing() {
    let (mine, other) = (Queue::new(), Queue::new());
    let ticket = mine.push(Priority::MIN, 'a').unwrap();
    let foreign = other.push(Priority::MIN, 'b').unwrap();
    assert!(!mine.contains(foreign));
    assert!(mine.remove(foreign).is_none());
    assert!(mine.relevel(foreign, Priority::MAX).is_none());
    assert_eq!(mine.put_back(other.try_pop().unwrap()).unwrap_err().item, 'b');
    assert_eq!((mine.len(), mine.remove(ticket).unwrap().item), (1, 'a'));
}

#[test]
fn q3_an_item_that_is_put_back_is_first_again() {
    let queue = Queue::new();
    for item in 0..5 {
        queue.push(Priority::MIN, item).unwrap();
    }
    let first = queue.try_pop().unwrap();
    let second = queue.try_pop().unwrap();
    let ticket = first.ticket();
    assert!(queue.remove(ticket).is_none());
    queue.put_back(second).unwrap();
    assert_eq!(queue.put_back(first).unwrap(), ticket);
    let order: Vec<_> = queue.pop_batch(9).map(Popped::into_item).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn q4_full_is_later_and_closed_is_never() {
    let queue = Queue::builder().capacity(2).build().unwrap();
    queue.push(Priority::MIN, "a").unwrap();
    let batch = vec![(Priority::MAX, "b"), (Priority::MIN, "c")];
    let refused = queue.push_batch(batch.clone()).unwrap_err();
    assert_eq!(
        (refused.value, refused.reason),
        (batch, PushError::Full { capacity: 2 })
    );
    assert_eq!(
        refused.reason.to_string(),
        "queue is full (2 items); retry after a pop or raise the capacity"
    );
    queue.push(Priority::MIN, "d").unwrap();
    let refused = queue.push(Priority::MAX, "e").unwrap_err();
    assert_eq!(
        (refused.value, refused.reason),
        ("e", PushError::Full { capacity: 2 })
    );
    let refused = queue.push_batch(vec![(Priority::MIN, "x"); 3]).unwrap_err();
    assert_eq!(
        refused.reason,
        PushError::Oversized {
            items: 3,
            capacity: 2
        }
    );

    assert!(queue.close());
    assert!(!queue.close());
    let popped = queue.try_pop().unwrap();
    assert_eq!(
        queue.push(Priority::MIN, "f").unwrap_err().reason,
        PushError::Closed
    );
    assert_eq!(
        queue
            .put_back(popped)
            .map_err(Popped::into_item)
            .unwrap()
            .priority(),
        Priority::MIN
    );
    assert_eq!(queue.pop_blocking().unwrap().item, "a");
    assert_eq!(queue.pop_blocking().unwrap().item, "d");
    assert_eq!(queue.pop_blocking().unwrap_err(), Closed);
    assert_eq!(queue.push_batch(Vec::new()).unwrap().len(), 0);
}

#[test]
fn settings_that_no_queue_can_have_are_named() {
    let refused = |builder: super::QueueBuilder<u8>| builder.build().unwrap_err();
    assert_eq!(refused(Queue::builder().capacity(0)), SettingsError::ZeroCapacity);
    assert_eq!(
        refused(Queue::builder().locks(0)),
        SettingsError::Locks { locks: 0 }
    );
    assert_eq!(
        refused(Queue::builder().locks(11)),
        SettingsError::Locks { locks: 11 }
    );
    assert_eq!(
        refused(Queue::builder().aging(Duration::ZERO)),
        SettingsError::ZeroAging
    );
    assert_eq!(
        refused(Queue::builder().aging(Duration::MAX)),
        SettingsError::LongAging
    );
}

#[test]
fn q6_an_old_item_is_not_overtaken_beyond_its_bound() {
    for locks in [1, 3, 10] {
        let queue = Queue::builder().aging(secs(60)).locks(locks).build().unwrap();
        // Level 7: never overtaken by what is pushed more than three intervals later.
        queue.push_at(at(7), "old", secs(0)).unwrap();
        queue.push_at(Priority::MAX, "soon", secs(179)).unwrap();
        assert_eq!(queue.try_pop_at(secs(179)).unwrap().item, "soon");
        queue.push_at(Priority::MAX, "late", secs(181)).unwrap();
        let popped = queue.try_pop_at(secs(181)).unwrap();
        assert_eq!((popped.item, popped.priority()), ("old", at(7)));
    }
}

/// Q5: the counts add up at every instant, though items move from level to level all the time.
#[test]
fn q5_counts_are_of_one_instant_whatever_moves() {
    for locks in [1, 2, 10] {
        let queue = &Queue::builder().locks(locks).build().unwrap();
        let pushed = || queue.push(Priority::MIN, ()).unwrap();
        let mut tickets: Vec<Ticket> = (0..20).map(|_| pushed()).collect();
        let moving = &std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut turn = 0_usize;
                while moving.load(std::sync::atomic::Ordering::Relaxed) {
                    let level = Priority::descending().nth(turn * 7 % 10).expect("one of ten");
                    let ticket = &mut tickets[turn * 3 % 20];
                    *ticket = queue.relevel(*ticket, level).expect("nobody takes it");
                    turn += 1;
                }
            });
            for _ in 0..2_000 {
                let counts = queue.counts();
                assert_eq!(counts.iter().sum::<usize>(), 20, "{counts:?}, {locks} locks");
            }
            moving.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(queue.len(), 20);
    }
}

#[test]
fn every_call_on_a_closed_queue_says_so_and_nothing_comes_in() {
    let queue = Queue::builder().capacity(2).build().unwrap();
    let ticket = queue.push(Priority::MIN, 1).unwrap();
    queue.close();
    assert!(queue.is_closed());
    assert_eq!(
        queue.push(Priority::MAX, 2).unwrap_err().reason,
        PushError::Closed
    );
    let batch = queue.push_batch(vec![(Priority::MAX, 2)]).unwrap_err();
    assert_eq!(
        (batch.value, batch.reason),
        (vec![(Priority::MAX, 2)], PushError::Closed)
    );
    let refused = queue.push_blocking(Priority::MAX, 2).unwrap_err();
    assert_eq!((refused.value, refused.reason), (2, PushError::Closed));
    let moved = queue
        .relevel(ticket, Priority::MAX)
        .expect("what is in still moves");
    assert_eq!(queue.remove(moved).unwrap().item, 1);
    assert_eq!((queue.len(), queue.try_pop().is_none()), (0, true));
    assert_eq!(queue.pop_blocking().unwrap_err(), Closed);
}
