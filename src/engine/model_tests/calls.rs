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
}

pub(super) fn order() -> impl Strategy<Value = Order> {
    let level = prop::option::weighted(0.7, prop_oneof![1..=3_u8, Just(10)]);
    let delay = prop_oneof![6 => Just(0), 1 => Just(-3), 3 => 1..6_i64];
    let retry = prop::option::weighted(
        0.2,
        (0..3_u32, 0..4_u64).prop_map(|(retries, delay)| Retry::fixed(retries, Duration::from_secs(delay))),
    );
    let timeout = prop::option::weighted(0.2, 1..5_u64);
    let target = prop_oneof![12 => 0..4_usize, 4 => Just(4), 1 => Just(5)];
    let queue = prop::option::weighted(0.6, 0..6_usize);
    (target, queue, level, delay, retry, timeout).prop_map(|(target, queue, level, delay, retry, timeout)| {
        Order {
            target,
            queue,
            level,
            delay,
            retry,
            timeout,
        }
    })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
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
        24 => order().prop_map(Op::Submit),
        2 => prop::collection::vec(order(), 1..5).prop_map(Op::Batch),
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
