//! Simulated years of an engine: seeded histories on a manual clock, in one thread, and a judge that reads only their events and the
//! answers to claims ([`checker`]).
//!
//! Deployments with schedules under each overlap policy, limits with weights, decay, leases and templates, pools and queues with pauses
//! and limits, workers that are slow, crash, report twice or late and lose their leases, hooks whose deliverers do likewise, clocks that jump both ways, bulk changes, and
//! moves of the whole engine in the middle. `TENFOLD_SEED` replays one history, `TENFOLD_SEEDS` sets how many there are, `TENFOLD_DEEP` makes them 100,000.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod checker;
mod teller;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    (0..90).for_each(|_| world.step());
    world.end();
}

/// Every promise about order, limits, runs, schedules and reports, over many histories.
#[test]
fn c1_c2_l1_l2_l4_l5_r1_r2_r3_r4_r5_s3_s4_t1_t4_e5_hold_in_every_history() {
    if let Some(seed) = number("TENFOLD_SEED") {
        return simulate(seed);
    }
    let deep = std::env::var_os("TENFOLD_DEEP").is_some();
    let seeds = number("TENFOLD_SEEDS").unwrap_or(if deep { 100_000 } else { 300 });
    for seed in 0..seeds {
        if let Err(broken) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
            eprintln!("the history of seed {seed} broke a promise; replay it with TENFOLD_SEED={seed}");
            resume_unwind(broken);
        }
    }
}
