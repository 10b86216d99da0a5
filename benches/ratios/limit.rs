//! Permits: the anonymous core, and several named limits in one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tenfold::limit::{LimitSpec, Limits, Request, Semaphore};

use crate::frame::{Bench, Goal, Side, figure, per_operation, timed, together};

/// Take and return so many times in a round, on each thread.
const TIMES: usize = 400_000;
/// Slots of each limit.
const SLOTS: u32 = 64;
/// A moment: nothing here decays.
const NOW: Duration = Duration::from_secs(1);

/// Every line about limits.
pub fn lines(bench: &mut Bench) {
    for threads in [1, 2] {
        let plural = if threads == 1 { "thread" } else { "threads" };
        bench.versus(
            &format!("limit/permit, {threads} {plural}, to tokio's semaphore"),
            Goal::at_least(1.5),
            || (ours(threads), tokios(threads)),
        );
        let (goal, name) = if threads == 1 {
            (Goal::at_most(1.5), "as a multiple of")
        } else {
            (Goal::at_least(1.0), "to")
        };
        bench.versus(
            &format!("limit/permit, {threads} {plural}, {name} a bare compare-and-swap"),
            goal,
            || (ours(threads), bare(threads)),
        );
        bench.versus(
            &format!("limit/owned permit, {threads} {plural}, to tokio's semaphore"),
            Goal::at_least(1.5),
            || (ours_owned(threads), tokios_owned(threads)),
        );
        bench.versus(
            &format!("limit/all of three, holders kept, {threads} {plural}, to three semaphores in order"),
            Goal::at_least(0.7),
            || (three_limits(threads), three_semaphores(threads)),
        );
    }
}

/// `once` over and over, on one thread or on several at once.
fn each(threads: usize, once: impl Fn() + Send + Sync + 'static) -> Side {
    let once = Arc::new(once);
    let work = move || {
        for _ in 0..TIMES {
            once();
        }
    };
    if threads == 1 {
        return timed(TIMES, work);
    }
    figure(move || {
        let workers = (0..threads)
            .map(|_| Box::new(&work) as Box<dyn FnOnce() + Send + '_>)
            .collect();
        per_operation(together(workers), TIMES * threads)
    })
}

fn ours(threads: usize) -> Side {
    let semaphore = Semaphore::new(SLOTS);
    each(threads, move || drop(semaphore.try_acquire(1).expect("64 slots")))
}

fn ours_owned(threads: usize) -> Side {
    let semaphore = Semaphore::new(SLOTS);
    each(threads, move || {
        drop(semaphore.try_acquire_owned(1).expect("64 slots"));
    })
}

fn tokios(threads: usize) -> Side {
    let semaphore = tokio::sync::Semaphore::new(SLOTS as usize);
    each(threads, move || drop(semaphore.try_acquire().expect("64 slots")))
}

fn tokios_owned(threads: usize) -> Side {
    let semaphore = Arc::new(tokio::sync::Semaphore::new(SLOTS as usize));
    each(threads, move || {
        let permit = Arc::clone(&semaphore).try_acquire_owned();
        drop(permit.expect("64 slots"));
    })
}

/// The least that could be called a permit: no weights, no line, no guard.
fn bare(threads: usize) -> Side {
    let free = AtomicI64::new(i64::from(SLOTS));
    each(threads, move || {
        let mut seen = free.load(Ordering::Relaxed);
        while 0 < seen {
            match free.compare_exchange_weak(seen, seen - 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        free.fetch_add(1, Ordering::Release);
    })
}

fn three_limits(threads: usize) -> Side {
    let limits = Limits::new();
    let mut request = Request::new();
    for name in ["database", "gpu", "tenant"] {
        limits
            .define(LimitSpec::new(name, SLOTS), NOW)
            .expect("a new name");
        request = request.slot(name);
    }
    let prepared = limits.prepare(&request, NOW).expect("three limits");
    each(threads, move || {
        drop(prepared.try_acquire(NOW).expect("64 slots"));
    })
}

fn three_semaphores(threads: usize) -> Side {
    let semaphores = [(); 3].map(|()| tokio::sync::Semaphore::new(SLOTS as usize));
    each(threads, move || {
        let permits = semaphores.each_ref().map(tokio::sync::Semaphore::try_acquire);
        assert!(permits.iter().all(Result::is_ok), "64 slots");
    })
}
