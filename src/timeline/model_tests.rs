//! Random histories against the obvious timeline: one sorted map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Handle, Timeline};

#[derive(Clone, Debug)]
enum Op {
    Insert(i64),
    /// Near the last time that was used.
    InsertNear(i16),
    Cancel(prop::sample::Index),
    Rearm(prop::sample::Index, i64),
    /// Moves the clock by so much, back too, and takes out at most so many.
    Expire(i64, usize),
    Jump(i64),
    Deadline,
}

/// The obvious timeline.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(i64, u64), u32>,
    inserted: u64,
}

impl Model {
    fn insert(&mut self, at: i64, item: u32) -> (i64, u64) {
        let key = (at, self.inserted);
        self.inserted += 1;
        self.entries.insert(key, item);
        key
    }

    fn pop_due(&mut self, now: i64) -> Option<(i64, u32)> {
        let (&key, &item) = self.entries.first_key_value().filter(|((at, _), _)| *at <= now)?;
        self.entries.remove(&key);
        Some((key.0, item))
    }
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..2_000i64,
        4 => 0..200_000_000i64,
        2 => -5_000_000_000..5_000_000_000i64,
        1 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, i64::MAX - 1, 0, -1, 255, 256, 65_535, 65_536]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => time().prop_map(Op::Insert),
        6 => any::<i16>().prop_map(Op::InsertNear),
        3 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        3 => (any::<prop::sample::Index>(), time()).prop_map(|(which, at)| Op::Rearm(which, at)),
        5 => (-100_000..50_000_000i64, prop_oneof![0..4usize, Just(usize::MAX)]).prop_map(|(by, most)| Op::Expire(by, most)),
        1 => time().prop_map(Op::Jump),
        4 => Just(Op::Deadline),
    ]
}

fn agrees(ops: Vec<Op>) {
    let (mut timeline, mut model) = (Timeline::new(), Model::default());
    let mut handles: Vec<(Handle, (i64, u64))> = Vec::new();
    let (mut now, mut last, mut item) = (0i64, 0i64, 0u32);
    for op in ops {
        item += 1;
        match op {
            Op::Insert(at) => {
                last = at;
                handles.push((timeline.insert(at, item), model.insert(at, item)));
            }
            Op::InsertNear(by) => {
                let at = last.saturating_add(i64::from(by));
                handles.push((timeline.insert(at, item), model.insert(at, item)));
            }
            // Handles of entries that are gone stay in the list: they must find nothing.
            Op::Cancel(which) if !handles.is_empty() => {
                let (handle, key) = handles[which.index(handles.len())];
                assert_eq!(timeline.get(handle), model.entries.get(&key).copied());
                assert_eq!(timeline.cancel(handle), model.entries.remove(&key));
            }
            Op::Rearm(which, at) if !handles.is_empty() => {
                let (handle, key) = handles[which.index(handles.len())];
                let new = timeline.rearm(handle, at);
                assert_eq!(new.is_some(), model.entries.contains_key(&key));
                if let (Some(new), Some(item)) = (new, model.entries.remove(&key)) {
                    handles.push((new, model.insert(at, item)));
                }
            }
            Op::Expire(by, most) => {
                now = now.saturating_add(by);
                let got: Vec<_> = timeline.expire(now).take(most).collect();
                let expected: Vec<_> = std::iter::from_fn(|| model.pop_due(now)).take(most).collect();
                assert_eq!(got, expected, "at {now}");
            }
            Op::Jump(at) => now = at,
            Op::Deadline => {
                let first = model.entries.keys().next().map(|(at, _)| *at);
                // Few enough entries to be searched at once, so exact.
                assert_eq!(timeline.next_deadline(), first);
            }
            Op::Cancel(_) | Op::Rearm(..) => {}
        }
        assert_eq!(timeline.len(), model.entries.len());
        timeline.check();
    }
    let rest: Vec<_> = timeline.expire(i64::MAX).collect();
    let expected: Vec<_> = std::iter::from_fn(|| model.pop_due(i64::MAX)).collect();
    assert_eq!(rest, expected);
    assert_eq!((timeline.len(), timeline.next_deadline()), (0, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("TENFOLD_DEEP").is_some() { 20_000 } else { 500 }))]

    #[test]
    fn any_history_agrees_with_a_sorted_map(ops in prop::collection::vec(op(), 0..200)) {
        agrees(ops);
    }
}

#[test]
fn equal_times_come_out_as_they_went_in_through_every_level() {
    let mut timeline = Timeline::new();
    timeline.insert(0, 0);
    for n in 1..5_000 {
        timeline.insert(1_000_000_000_000, n);
        // The base comes nearer, so that they meet from different levels.
        assert!(
            timeline
                .pop_due(1_000_000_000_000 - (1 << (40 - n / 125)))
                .is_none_or(|(_, n)| n == 0)
        );
        timeline.check();
    }
    let order: Vec<_> = timeline.expire(i64::MAX).map(|(_, n)| n).collect();
    assert!(order.is_sorted() && order.len() == 4_999);
}

#[test]
fn a_clock_that_went_back_costs_no_order() {
    let mut timeline = Timeline::new();
    timeline.insert(1 << 50, 0);
    assert_eq!(timeline.expire(1 << 49).count(), 0);
    // Long before what was passed: first in the heap, then afresh.
    for n in 1..10_000u32 {
        timeline.insert(i64::from(n.wrapping_mul(2_654_435_761) % 1_000), n);
    }
    timeline.check();
    let out: Vec<_> = timeline.expire(500).collect();
    assert!(
        out.windows(2).all(|pair| pair[0] < pair[1]),
        "by time, then insertion"
    );
    assert_eq!(timeline.next_deadline(), Some(501));
    assert_eq!(timeline.expire(i64::MAX).last(), Some((1 << 50, 0)));
}

#[test]
fn cancelling_for_ever_does_not_grow() {
    let mut timeline = Timeline::new();
    let mut handle = timeline.insert(0, 0u32);
    for n in 0..1_000_000i64 {
        handle = timeline.rearm(handle, n + 3_600_000_000).unwrap();
        if n % 1_000 == 0 {
            assert!(timeline.next_deadline() <= Some(n + 3_600_000_000));
        }
    }
    assert!(
        timeline.allocated_bytes() < 200_000,
        "{}",
        timeline.allocated_bytes()
    );
}

#[test]
fn the_first_of_many_can_be_cancelled_again_and_again() {
    // Timeouts that are all cancelled in order, with the deadline asked each time.
    let mut timeline = Timeline::new();
    let handles: Vec<_> = (0..200_000)
        .map(|n| timeline.insert(3_600_000_000 + n, n))
        .collect();
    for (n, handle) in handles.into_iter().enumerate() {
        let told = timeline.next_deadline().unwrap();
        assert!(told <= 3_600_000_000 + i64::try_from(n).unwrap());
        timeline.cancel(handle);
    }
    assert_eq!(timeline.next_deadline(), None);
}

#[test]
fn e4_a_million_entries_take_at_most_32_bytes_each() {
    let mut timeline = Timeline::new();
    assert_eq!(timeline.pop_due(1_700_000_000_000_000), None);
    let mut random = 1u64;
    for n in 0..1_000_000u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        timeline.insert(1_700_000_000_000_000 + i64::try_from(random >> 28).unwrap(), n);
    }
    let each = timeline.allocated_bytes() / 1_000_000;
    assert!(each <= 32, "{each} bytes");
}
