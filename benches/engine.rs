//! Single calls of the engine, with criterion's statistics. The promises are in the ratio bench.
//!
//! ```text
//! cargo bench --bench engine
//! ```

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use std::hint::black_box;
use tenfold::{Engine, NewDeployment, NewRun, Outcome, Scope};

#[path = "workload/mod.rs"]
mod workload;
use workload::{Levels, Random, SEED};

/// An engine with a deployment `work/own` and `waiting` runs of it.
fn engine(waiting: usize) -> Engine {
    let engine = Engine::builder()
        .seed(SEED)
        .waiting_runs(10_000_000)
        .build()
        .expect("the settings fit together");
    engine
        .deploy(NewDeployment::new("work", "own"))
        .expect("a new name");
    for priority in Levels::Uniform.take(waiting, SEED) {
        engine
            .submit(NewRun::of("work/own").priority(priority))
            .expect("there is room");
    }
    engine
}

/// Takes the first run through to its end.
fn take_one(engine: &Engine, scope: &Scope) {
    let claim = engine
        .claim(scope)
        .expect("the scope is known")
        .expect("a run waits");
    engine.begin(&claim).expect("it was just claimed");
    engine
        .complete(&claim, Outcome::Completed(Value::Null))
        .expect("the attempt has not ended");
}

fn calls(criterion: &mut Criterion) {
    let scope = Scope::all();
    for waiting in [0, 100_000] {
        let mut group = criterion.benchmark_group(format!("{waiting} wait"));
        let engine = engine(waiting);
        let mut random = Random::new(SEED);
        group.bench_function("submit, claim, begin, complete", |bencher| {
            bencher.iter(|| {
                let priority = Levels::Uniform.draw(&mut random);
                engine
                    .submit(NewRun::of("work/own").priority(priority))
                    .expect("there is room");
                take_one(&engine, &scope);
            });
        });
        group.bench_function("snapshot", |bencher| {
            bencher.iter(|| black_box(engine.snapshot()));
        });
        group.bench_function("claim and give back", |bencher| {
            engine.submit("work/own").expect("there is room");
            bencher.iter(|| {
                let claim = engine
                    .claim(&scope)
                    .expect("the scope is known")
                    .expect("a run waits");
                engine.give_back(&claim).expect("it has not begun");
            });
            take_one(&engine, &scope);
        });
        group.finish();
    }
}

fn batches(criterion: &mut Criterion) {
    const BATCH: usize = 500;
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (engine, scope) = (engine(0), Scope::all());
    group.bench_function("submit 500", |bencher| {
        bencher.iter_batched(
            || {
                while engine.snapshot().queued_tasks > 0 {
                    take_one(&engine, &scope);
                }
                vec![NewRun::of("work/own"); BATCH]
            },
            |batch| engine.submit_batch(batch).expect("there is room"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, calls, batches);
criterion_main!(benches);
