//! The ten lanes against the obvious model: one list, scanned for the most urgent and, among those, the least place.

use std::cmp::Reverse;
use std::collections::HashSet;

use proptest::prelude::*;

use super::super::batch::Many;
use super::{Lanes, Taken, Ticket};
use crate::Priority;

type Place = u32;

/// The obvious lanes: (lane, place, order of arrival, item, ticket).
#[derive(Default)]
struct Model {
    items: Vec<(usize, Place, i64, u32, Ticket<Place>)>,
    arrivals: i64,
}

impl Model {
    fn key(&self, at: usize) -> (Reverse<usize>, Place, i64) {
        let (lane, place, arrival, ..) = self.items[at];
        (Reverse(lane), place, arrival)
    }

    fn push(&mut self, priority: Priority, place: Place, item: u32, ticket: Ticket<Place>) {
        self.arrivals += 1;
        self.items
            .push((priority.lane(), place, self.arrivals, item, ticket));
    }

    fn sorted(&self) -> Vec<(Ticket<Place>, u32)> {
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by_key(|&at| self.key(at));
        order
            .into_iter()
            .map(|at| (self.items[at].4, self.items[at].3))
            .collect()
    }

    fn find(&self, ticket: Ticket<Place>) -> Option<usize> {
        self.items.iter().position(|item| item.4 == ticket)
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Places rise, mostly.
    Push {
        level: u8,
        back: u32,
    },
    /// All of one place.
    PushMany {
        levels: Vec<u8>,
        back: u32,
    },
    Pop,
    PopMany(usize),
    Remove(usize),
    RemoveLive(usize),
    Relevel {
        ticket: usize,
        level: u8,
        keep_place: bool,
    },
    PutBack(usize),
    IterAfter {
        level: u8,
        place: Place,
    },
    Shrink,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let level = prop_oneof![3 => 1_u8..=2, 1 => 1_u8..=10];
    prop_oneof![
        40 => (level.clone(), prop_oneof![9 => Just(0_u32), 1 => 0_u32..400]).prop_map(|(level, back)| Op::Push { level, back }),
        3 => (prop::collection::vec(level.clone(), 0..90), prop_oneof![3 => Just(0_u32), 1 => 0_u32..400])
            .prop_map(|(levels, back)| Op::PushMany { levels, back }),
        12 => Just(Op::Pop),
        2 => (0_usize..90).prop_map(Op::PopMany),
        4 => any::<usize>().prop_map(Op::Remove),
        20 => any::<usize>().prop_map(Op::RemoveLive),
        4 => (any::<usize>(), level.clone(), any::<bool>())
            .prop_map(|(ticket, level, keep_place)| Op::Relevel { ticket, level, keep_place }),
        5 => any::<usize>().prop_map(Op::PutBack),
        3 => (level, 0_u32..3_000).prop_map(|(level, place)| Op::IterAfter { level, place }),
        1 => Just(Op::Shrink),
        1 => prop_oneof![20 => Just(Op::Shrink), 1 => Just(Op::Clear)],
    ]
}

fn at(level: u8) -> Priority {
    Priority::new(level).expect("drawn from the levels")
}

fn pick<T: Copy>(from: &[T], index: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[index % from.len()])
}

#[expect(clippy::too_many_lines, reason = "one arm for each operation")]
fn agrees(ops: Vec<Op>) {
    let mut lanes = Lanes::new();
    let mut model = Model::default();
    let mut given: Vec<Ticket<Place>> = Vec::new();
    let mut out: Vec<(i64, Taken<u32, Place>)> = Vec::new();
    let mut seen = HashSet::new();
    let mut place: Place = 0;
    let mut item = 0;
    for op in ops {
        match op {
            Op::Push { level, back } => {
                place += item % 2;
                item += 1;
                let place = place.saturating_sub(back);
                let ticket = lanes.push(at(level), place, item);
                assert!(seen.insert(ticket), "a ticket was given twice");
                given.push(ticket);
                model.push(at(level), place, item, ticket);
            }
            Op::PushMany { levels, back } => {
                let place = place.saturating_sub(back);
                let mut counts = [0; Priority::LEVELS];
                for level in &levels {
                    counts[at(*level).lane()] += 1;
                }
                let items = levels
                    .iter()
                    .zip(item + 1..)
                    .map(|(level, item)| (at(*level), item));
                let mut numbers = lanes.push_many(place, items, &counts);
                for level in levels {
                    item += 1;
                    let number = &mut numbers[at(level).lane()];
                    let ticket = Ticket::new(at(level).lane(), place, *number);
                    *number += 1;
                    assert!(seen.insert(ticket), "a ticket was given twice");
                    assert_eq!(lanes.get(ticket), Some(&item));
                    given.push(ticket);
                    model.push(at(level), place, item, ticket);
                }
            }
            Op::Pop => {
                let first = lanes.first().map(|(ticket, item)| Taken { ticket, item: *item });
                let popped = lanes.pop_first();
                assert_eq!(first, popped);
                let best = (0..model.items.len()).min_by_key(|&at| model.key(at));
                let expected = best.map(|at| model.items.remove(at));
                assert_eq!(popped.map(|taken| taken.item), expected.map(|item| item.3));
                out.extend(popped.zip(expected).map(|(taken, item)| (item.2, taken)));
            }
            Op::PopMany(max) => {
                let mut expected = model.sorted();
                expected.truncate(max);
                let mut many = Many::with_room(0);
                let got = lanes.pop_many(max, &mut many);
                let popped: Vec<_> = many.collect();
                assert_eq!((got, popped.len()), (expected.len(), expected.len()));
                let order: Vec<_> = popped.iter().map(|taken| (taken.ticket, taken.item)).collect();
                assert_eq!(order, expected);
                for taken in popped {
                    let at = model.find(taken.ticket).expect("it was listed");
                    out.push((model.items.remove(at).2, taken));
                }
            }
            Op::Remove(index) => {
                if let Some(ticket) = pick(&given, index) {
                    let found = model.find(ticket).map(|at| model.items.remove(at));
                    assert_eq!(lanes.get(ticket).copied(), found.map(|item| item.3));
                    assert_eq!(
                        lanes.remove(ticket).map(|taken| taken.item),
                        found.map(|item| item.3)
                    );
                    assert!(lanes.remove(ticket).is_none());
                }
            }
            Op::RemoveLive(index) => {
                if !model.items.is_empty() {
                    let (_, _, _, item, ticket) = model.items.remove(index % model.items.len());
                    assert_eq!(lanes.remove(ticket).map(|taken| taken.item), Some(item));
                }
            }
            Op::Relevel {
                ticket,
                level,
                keep_place,
            } => {
                if let Some(ticket) = pick(&given, ticket) {
                    let place = if keep_place { ticket.place() } else { place };
                    let moved = lanes.relevel(ticket, at(level), place);
                    let found = model.find(ticket).map(|at| model.items.remove(at));
                    assert_eq!(moved.is_some(), found.is_some());
                    if let (Some(moved), Some(found)) = (moved, found) {
                        assert!(seen.insert(moved), "a ticket was given twice");
                        assert_eq!((moved.priority(), moved.place()), (at(level), place));
                        given.push(moved);
                        model.push(at(level), place, found.3, moved);
                    }
                }
            }
            Op::PutBack(index) => {
                if !out.is_empty() {
                    let (arrival, taken) = out.swap_remove(index % out.len());
                    let ticket = lanes.put_back(taken).expect("it was taken and is not back");
                    assert_eq!(ticket, taken.ticket);
                    assert_eq!(lanes.put_back(taken), Err(taken), "twice");
                    model
                        .items
                        .push((ticket.lane(), ticket.place(), arrival, taken.item, ticket));
                }
            }
            Op::IterAfter { level, place } => {
                let after: Vec<_> = lanes
                    .iter_after(at(level), place)
                    .map(|(ticket, item)| (ticket, *item))
                    .collect();
                let expected: Vec<_> = model
                    .sorted()
                    .into_iter()
                    .filter(|(ticket, _)| {
                        ticket.priority() < at(level)
                            || ticket.priority() == at(level) && place < ticket.place()
                    })
                    .collect();
                assert_eq!(after, expected);
            }
            Op::Shrink => lanes.shrink(),
            Op::Clear => {
                lanes.clear();
                model.items.clear();
                out.clear();
            }
        }
        lanes.check();
        assert_eq!(lanes.len(), model.items.len());
    }
    let mut counts = [0; Priority::LEVELS];
    model.items.iter().for_each(|item| counts[item.0] += 1);
    assert_eq!(lanes.counts(), counts);
    let listed: Vec<_> = lanes.iter().map(|(ticket, item)| (ticket, *item)).collect();
    assert_eq!(listed, model.sorted());
    let drained: Vec<_> = lanes.drain().map(|taken| (taken.ticket, taken.item)).collect();
    assert_eq!(drained, listed);
    lanes.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn q3_lanes_agree_with_the_obvious_model(ops in prop::collection::vec(op(), 0..900)) {
        agrees(ops);
    }
}

#[test]
fn q2_ten_thousand_come_out_in_order() {
    let mut lanes = Lanes::new();
    for item in 0..10_000_u64 {
        lanes.push(Priority::MIN, item, item);
    }
    for item in 0..10_000_u64 {
        assert_eq!(lanes.pop_first().map(|taken| taken.item), Some(item));
    }
    assert!(lanes.pop_first().is_none());
}

#[test]
fn q3_one_stuck_item_does_not_hold_the_memory_of_what_was_removed_behind_it() {
    let mut lanes = Lanes::new();
    lanes.push(Priority::MIN, 0_u64, 0_u64);
    for item in 1..1_000_000_u64 {
        let ticket = lanes.push(Priority::MIN, item, item);
        assert!(lanes.remove(ticket).is_some());
    }
    let lane = lanes.lanes[0].as_ref().expect("it holds an item");
    assert!(lane.chunks() < 32, "{} chunks", lane.chunks());
    lanes.check();
    assert_eq!(lanes.len(), 1);
}

#[test]
fn q3_a_thinned_lane_still_finds_every_ticket() {
    let mut lanes = Lanes::new();
    let tickets: Vec<_> = (0..100_000_u64)
        .map(|item| lanes.push(Priority::MAX, item, item))
        .collect();
    for (item, ticket) in tickets.iter().enumerate() {
        if item % 1_000 != 7 {
            assert!(lanes.remove(*ticket).is_some());
        }
    }
    lanes.check();
    for (item, ticket) in tickets.iter().enumerate() {
        assert_eq!(lanes.get(*ticket).is_some(), item % 1_000 == 7, "{item}");
    }
}

/// A pop once took the last item, saw a removed one's slot behind it, and left the head there: what came next was lost.
#[test]
fn an_item_pushed_behind_a_removed_one_is_found() {
    let mut lanes = Lanes::new();
    lanes.push(Priority::MIN, 0_u8, 'a');
    let removed = lanes.push(Priority::MIN, 0, 'b');
    lanes.remove(removed);
    lanes.pop_first();
    lanes.check();
    lanes.push(Priority::MIN, 0, 'c');
    assert_eq!(lanes.pop_first().map(|taken| taken.item), Some('c'));
}

#[test]
fn a_cleared_lane_gives_no_number_twice() {
    let mut lanes = Lanes::new();
    let before = lanes.push(Priority::MIN, 0_u8, 'a');
    lanes.clear();
    let after = lanes.push(Priority::MIN, 0, 'b');
    assert_ne!(before, after);
    assert_eq!((lanes.get(before), lanes.get(after)), (None, Some(&'b')));
    lanes.pop_first();
    lanes.shrink();
    let last = lanes.push(Priority::MIN, 0, 'c');
    assert_eq!(
        (lanes.get(before), lanes.get(after), lanes.get(last)),
        (None, None, Some(&'c'))
    );
}

#[test]
fn q7_an_empty_lanes_is_a_few_words() {
    assert!(size_of::<Lanes<u32, (i64, u64)>>() <= 200);
}
