//! Histories that once found the engine and the list apart.

use super::Both;
use super::calls::Named::*;
use super::calls::Op::*;
use super::calls::{Op, Order};
use crate::model::StateType::{Completed, Failed};

/// A run of a target.
fn run(target: usize, queue: Option<usize>, level: Option<u8>, delay: i64, named: &[(usize, u32)]) -> Order {
    Order {
        target,
        queue,
        level,
        delay,
        retry: None,
        timeout: None,
        named: named.to_vec(),
    }
}

fn agree(ops: &[Op]) {
    let mut both = Both::with_names();
    for op in ops {
        both.apply(op);
        both.agree();
        if !matches!(op, Wait(_) | Jump(_)) {
            both.apply(&Advance);
            both.agree_on_limits();
        }
    }
    both.agree_on_runs();
    both.run_out();
}

#[test]
fn t1_what_drained_while_a_pool_was_paused_is_not_refused() {
    agree(&[
        Named(Change(4, None, Some(false))),
        Submit(run(0, None, None, 0, &[])),
        PausePool(0, true),
        Submit(run(0, None, None, 0, &[])),
        Claim(vec![], vec![]),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Batch(vec![
            run(0, None, None, 0, &[]),
            run(0, None, Some(10), 0, &[(1, 1)]),
            run(0, None, None, 0, &[(3, 1), (5, 3)]),
            run(0, None, None, 0, &[]),
        ]),
        Pause(0, None),
        Submit(run(2, None, None, 0, &[])),
        Batch(vec![run(0, None, None, 0, &[])]),
        Claim(vec![], vec![]),
        Submit(run(1, None, None, 0, &[(5, 1)])),
        Batch(vec![run(0, None, None, 0, &[])]),
        Named(ClaimRun(5_393_729_552_142_567_250)),
        Wait(10000),
        PausePool(0, false),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
    ]);
}

#[test]
fn t1_what_drained_while_a_queue_was_paused_is_not_refused() {
    agree(&[
        PauseQueue(3, true),
        Submit(run(2, None, None, 0, &[])),
        Submit(run(0, None, None, 1, &[(1, 1), (5, 3)])),
        Submit(run(1, None, Some(3), 1, &[])),
        Batch(vec![run(0, Some(1), None, 0, &[])]),
        Submit(run(3, None, None, 0, &[(5, 1)])),
        Begin(0),
        Submit(run(3, None, Some(10), 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        ClaimAll,
        Submit(run(4, None, Some(2), 0, &[])),
        Complete(0, Completed),
        Wait(10000),
        Submit(run(3, None, None, 0, &[])),
        Claim(vec![], vec![0]),
        ClaimAll,
        Complete(0, Completed),
        Submit(run(0, Some(1), None, 0, &[])),
        ClaimAll,
        Wait(2000),
        PauseQueue(3, false),
        Submit(run(0, None, None, 0, &[])),
    ]);
}

#[test]
fn c1_a_retry_that_is_chosen_early_and_given_back_stands_behind_what_is_due_with_it() {
    agree(&[
        Submit(run(0, Some(5), None, 0, &[])),
        Submit(run(2, None, None, 0, &[])),
        Submit(run(1, None, None, 0, &[])),
        Submit(run(1, None, None, 3, &[])),
        Claim(vec![], vec![]),
        Claim(vec![4], vec![]),
        Complete(0, Failed),
        Submit(run(0, None, None, 0, &[])),
        Claim(vec![], vec![]),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Choose(16_626_512_133_553_670_690, false),
        GiveBack(487_793_762_674_433),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
        Submit(run(0, None, None, 0, &[])),
    ]);
}
