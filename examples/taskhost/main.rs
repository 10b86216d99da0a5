//! The main job, on real work: `cargo run --release --example taskhost`.
//!
//! It reads deployments from a file (`examples/data/deployments.json`, or the one given), whose flows hash, compress
//! and count the files of this repository in child processes, at most four at a time. Interval, cron and recurrence
//! schedules fire every few seconds; three hundred ad-hoc runs at mixed priorities arrive at once; one deployment may
//! run only once at a time, one fails and is tried again, one takes too long and is ended. What is seen:
//!
//! * how it stands, live: finished and waiting by level, and what each slot does (a line a second when the output is
//!   not a terminal);
//! * the queue status report as JSON, while it runs and at the end;
//! * a table by deployment: runs, failures, retries, waits and durations;
//! * the verdict: whether anything was lost, doubled or over its limit, by books that the host keeps on its own.
//!
//! It ends by itself after about twenty seconds; Ctrl-C drains at once. The exit code is 0 when every check passed, 1
//! when one did not, 2 for a wrong file or argument.

#![allow(
    unreachable_pub,
    reason = "a module's `pub` items are its face, as if the module were a crate"
)]

mod args;
#[path = "../shared/arguments.rs"]
mod arguments;
mod child;
mod display;
mod file;
mod host;
mod jobs;
mod ledger;
mod place;
mod report;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)) {
        Ok(Command::Host(options)) => match host::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(refusal) => refused(&refusal),
        },
        Ok(Command::Job {
            name,
            parameters,
            attempt,
        }) => match jobs::run(&name, &parameters, attempt) {
            Ok(answer) => {
                println!("{answer}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Help) => {
            println!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("taskhost: {refusal}");
    ExitCode::from(2)
}

/// Reads the machine's clock, for what the host shows and notes by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about the engine; a host may look at its watch"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
