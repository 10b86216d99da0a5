//! What the design promises about speed and size, one line for each promise: our median, the alternative's median,
//! their ratio, the goal, and whether it is met.
//!
//! ```text
//! cargo bench --bench ratios                      every line
//! cargo bench --bench ratios -- queue/ snapshot   the lines whose names contain one of the words
//! cargo bench --bench ratios -- --json memory     one object a line
//! cargo bench --bench ratios -- --list            the names
//! ```
//!
//! A group is a file beside this one with `pub fn lines(bench: &mut Bench)`; adding one takes a `mod` line and a
//! line in [`GROUPS`].

#![allow(
    unreachable_pub,
    reason = "a group's `lines` is its face, as if the group were a crate"
)]

mod catalog;
mod counting;
#[path = "../workload/deques.rs"]
mod deques;
mod engine;
mod filter;
mod frame;
mod limit;
mod queue;
mod runs;
mod schedule;
#[path = "../workload/mod.rs"]
mod workload;

/// Every group, in the order of printing; one a line.
#[rustfmt::skip]
const GROUPS: &[fn(&mut frame::Bench)] = &[
    queue::lines,
    limit::lines,
    schedule::lines,
    filter::lines,
    catalog::lines,
    runs::lines,
    engine::lines,
];

fn main() -> std::process::ExitCode {
    let mut bench = match frame::Bench::from_args(std::env::args().skip(1)) {
        Ok(bench) => bench,
        Err(refusal) => {
            eprintln!("{refusal}");
            return std::process::ExitCode::from(2);
        }
    };
    for lines in GROUPS {
        lines(&mut bench);
    }
    bench.finish();
    std::process::ExitCode::SUCCESS
}
