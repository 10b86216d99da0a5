//! The calls that a history is drawn from.

use std::time::Duration;

use proptest::prelude::*;

use crate::model::{Retry, StateType};

#[derive(Clone, Debug)]
pub(super) struct Order {
    /// A deployment of four; otherwise the bare flow; the last is a flow that is not there.
    pub(super) target: usize,
    pub(super) queue: Option<usize>,
    pub(super) level: Option<u8>,
    pub(super) delay: i64,
    pub(super) retry: Option<Retry>,
    pub(super) timeout: Option<u64>,
    /// Numbers of names and weights.
    pub(super) named: Vec<(usize, u32)>,
}

/// The calls on named limits, and on runs as limits let them in.
#[derive(Clone, Debug)]
pub(super) enum Named {
    Define(usize, u32, bool),
    Change(usize, Option<u32>, Option<bool>),
    Remove(usize),
    Increment(Vec<usize>, u32),
    Decrement(Vec<usize>, u32),
    /// For a minute.
    Lease(Vec<usize>, u32),
    Release(usize),
    Strict(usize, bool),
    ClaimRun(usize),
    ClaimMany(usize),
    Peek,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Submit(Order),
    Batch(Vec<Order>),
    /// Queues of six, or whole pools.
    Claim(Vec<usize>, Vec<usize>),
    ClaimAll,
    Begin(usize),
    GiveBack(usize),
    Complete(usize, StateType),
    Cancel(usize),
    /// A claim, and after how many seconds the pause is over.
    Pause(usize, Option<u64>),
    Resume(usize),
    /// A run into PENDING, or into RUNNING.
    Choose(usize, bool),
    SetLevel(usize, u8),
    Limit(Option<u32>),
    PoolLimit(usize, Option<u32>),
    QueueLimit(usize, Option<u32>),
    DeploymentLimit(usize, Option<u32>),
    PausePool(usize, bool),
    PauseQueue(usize, bool),
    Delete(usize),
    Deploy(usize),
    Wait(i64),
    Jump(i64),
    Advance,
    Named(Named),
}

pub(super) fn order(names: usize) -> impl Strategy<Value = Order> {
    let level = prop::option::weighted(0.7, prop_oneof![1..=3_u8, Just(10)]);
    let delay = prop_oneof![6 => Just(0), 1 => Just(-3), 3 => 1..6_i64];
    let retry = prop::option::weighted(
        0.2,
        (0..3_u32, 0..4_u64).prop_map(|(retries, delay)| Retry::fixed(retries, Duration::from_secs(delay))),
    );
    let timeout = prop::option::weighted(0.2, 1..5_u64);
    let target = prop_oneof![12 => 0..4_usize, 4 => Just(4), 1 => Just(5)];
    let queue = prop::option::weighted(0.6, 0..6_usize);
    let named = prop::sample::subsequence(vec![0, 1, 2, 3, 5], 0..=names);
    let named = (
        named,
        prop::collection::vec(prop_oneof![3 => Just(1), 1 => Just(2), 1 => Just(3)], 5),
    );
    let named =
        named.prop_map(|(names, weights): (Vec<usize>, Vec<u32>)| names.into_iter().zip(weights).collect());
    (target, queue, level, delay, retry, timeout, named).prop_map(
        |(target, queue, level, delay, retry, timeout, named)| Order {
            target,
            queue,
            level,
            delay,
            retry,
            timeout,
            named,
        },
    )
}

/// As [`op`], with up to three named limits for a run.
pub(super) fn op_with_names() -> impl Strategy<Value = Op> {
    let any_name = || 0..5_usize;
    let some = || prop::sample::subsequence(vec![0, 1, 2, 3, 4], 1..=2);
    let named = prop_oneof![
        3 => (any_name(), 0..4_u32, prop::bool::weighted(0.8)).prop_map(|(of, slots, on)| Named::Define(of, slots, on)),
        4 => (any_name(), prop::option::of(0..5_u32), prop::option::weighted(0.3, any::<bool>()))
            .prop_map(|(of, slots, on)| Named::Change(of, slots, on)),
        1 => any_name().prop_map(Named::Remove),
        2 => (some(), 1..3_u32).prop_map(|(of, slots)| Named::Increment(of, slots)),
        2 => (some(), 1..4_u32).prop_map(|(of, slots)| Named::Decrement(of, slots)),
        2 => (some(), 1..3_u32).prop_map(|(of, slots)| Named::Lease(of, slots)),
        1 => any::<usize>().prop_map(Named::Release),
        2 => (0..6_usize, any::<bool>()).prop_map(|(queue, strict)| Named::Strict(queue, strict)),
        5 => any::<usize>().prop_map(Named::ClaimRun),
        4 => (1..5_usize).prop_map(Named::ClaimMany),
        3 => Just(Named::Peek),
    ];
    let long = (10_000..70_000_i64).prop_map(Op::Wait);
    prop_oneof![12 => op(3), 4 => named.prop_map(Op::Named), 1 => long]
}

/// Calls whose runs name up to so many limits.
pub(super) fn op(names: usize) -> impl Strategy<Value = Op> {
    let some = any::<usize>;
    let few = || prop_oneof![1 => Just(None), 3 => (0..4_u32).prop_map(Some)];
    let scope = (
        prop::collection::vec(0..6_usize, 0..3),
        prop::collection::vec(0..2_usize, 0..2),
    );
    let end = prop_oneof![
        3 => Just(StateType::Completed),
        3 => Just(StateType::Failed),
        1 => Just(StateType::Crashed),
        1 => Just(StateType::Cancelled),
    ];
    prop_oneof![
        24 => order(names).prop_map(Op::Submit),
        2 => prop::collection::vec(order(names), 1..5).prop_map(Op::Batch),
        8 => scope.prop_map(|(queues, pools)| Op::Claim(queues, pools)),
        14 => Just(Op::ClaimAll),
        8 => some().prop_map(Op::Begin),
        4 => some().prop_map(Op::GiveBack),
        12 => (some(), end).prop_map(|(claim, end)| Op::Complete(claim, end)),
        5 => some().prop_map(Op::Cancel),
        4 => (some(), prop::option::of(1..4_u64)).prop_map(|(claim, timeout)| Op::Pause(claim, timeout)),
        4 => some().prop_map(Op::Resume),
        6 => (some(), any::<bool>()).prop_map(|(run, begin)| Op::Choose(run, begin)),
        6 => (some(), 1..=3_u8).prop_map(|(run, level)| Op::SetLevel(run, level)),
        2 => few().prop_map(Op::Limit),
        2 => (0..2_usize, few()).prop_map(|(pool, limit)| Op::PoolLimit(pool, limit)),
        2 => (0..6_usize, few()).prop_map(|(queue, limit)| Op::QueueLimit(queue, limit)),
        3 => (0..4_usize, few()).prop_map(|(deployment, limit)| Op::DeploymentLimit(deployment, limit)),
        2 => (0..2_usize, any::<bool>()).prop_map(|(pool, paused)| Op::PausePool(pool, paused)),
        3 => (0..6_usize, any::<bool>()).prop_map(|(queue, paused)| Op::PauseQueue(queue, paused)),
        1 => (0..4_usize).prop_map(Op::Delete),
        1 => (0..4_usize).prop_map(Op::Deploy),
        10 => (1..4_000_i64).prop_map(Op::Wait),
        1 => (-8..8_i64).prop_map(Op::Jump),
        2 => Just(Op::Advance),
    ]
}
