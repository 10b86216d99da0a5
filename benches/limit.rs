//! Single calls of limits beside the plain alternative, with criterion's statistics. The promises are in the ratio bench.
//!
//! ```text
//! cargo bench --bench limit
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tenfold::limit::{LimitSpec, Limits, Request, Semaphore};

/// Slots of each limit.
const SLOTS: u32 = 64;
/// A moment: nothing here decays, unless it says so.
const NOW: Duration = Duration::from_secs(1);

fn permits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permit");
    let (ours, theirs) = (
        Semaphore::new(SLOTS),
        Arc::new(tokio::sync::Semaphore::new(SLOTS as usize)),
    );
    group.bench_function("take and return", |bencher| {
        bencher.iter(|| drop(black_box(ours.try_acquire(1)).expect("64 slots")));
    });
    group.bench_function("take and return, tokio's", |bencher| {
        bencher.iter(|| drop(black_box(theirs.try_acquire()).expect("64 slots")));
    });
    group.bench_function("take and return, owned", |bencher| {
        bencher.iter(|| drop(black_box(ours.try_acquire_owned(1)).expect("64 slots")));
    });
    group.bench_function("take and return, owned, tokio's", |bencher| {
        bencher.iter(|| {
            let permit = Arc::clone(&theirs).try_acquire_owned();
            drop(black_box(permit).expect("64 slots"));
        });
    });
    let _all = ours.try_acquire(SLOTS).expect("64 slots");
    group.bench_function("refuse", |bencher| {
        bencher.iter(|| black_box(ours.try_acquire(1)).is_err());
    });
    group.finish();
}

fn named(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("named");
    for count in [1, 3, 8] {
        let limits = Limits::new();
        let mut request = Request::new();
        for number in 0..count {
            let name = format!("limit-{number}");
            limits
                .define(LimitSpec::new(name.as_str(), SLOTS), NOW)
                .expect("a new name");
            request = request.slot(name.as_str());
        }
        let prepared = limits.prepare(&request, NOW).expect("they are defined");
        group.bench_function(format!("take all of {count} and return"), |bencher| {
            bencher.iter(|| drop(black_box(prepared.try_acquire(NOW)).expect("64 slots")));
        });
        let semaphores: Vec<_> = (0..count)
            .map(|_| tokio::sync::Semaphore::new(SLOTS as usize))
            .collect();
        group.bench_function(
            format!("take all of {count} and return, tokio's in order"),
            |bencher| {
                bencher.iter(|| {
                    let permits: Vec<_> = semaphores
                        .iter()
                        .map(tokio::sync::Semaphore::try_acquire)
                        .collect();
                    black_box(permits).len()
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, permits, named);
criterion_main!(benches);
