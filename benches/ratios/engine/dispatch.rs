//! A run on its way from submission to completion: on one thread beside glue, in batches, in a runtime beside raw tasks.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use apalis::prelude::{MemoryStorage, TaskSink, WorkerBuilder, *};
use tenfold::engine::Follow;
use tenfold::{Engine, NewRun, Priority, Scope};
use tokio::sync::{Notify, Semaphore};

use super::glue::Glue;
use super::{SLOTS, WIDE, complete, limited, submit, through, through_glue, tokio};
use crate::frame::{Bench, Goal, Side, figure, now, per_operation, quantile, timed};
use crate::workload::{Levels, SEED};

pub(super) fn lines(bench: &mut Bench) {
    // A hand-written heap and map keeps less and promises less; an engine that is not slower leaves no reason for it.
    bench.versus("dispatch/one_thread/glue", Goal::at_least(1.0), || {
        const RUNS: usize = 50_000;
        let (engine, glue) = (limited(WIDE), Glue::new(WIDE));
        let levels = Arc::new(Levels::Uniform.take(RUNS, SEED));
        let same = levels.clone();
        (
            timed(RUNS, move || {
                let scope = Scope::all();
                for &priority in levels.iter() {
                    through(&engine, &scope, priority);
                }
            }),
            timed(RUNS, move || {
                for &priority in same.iter() {
                    through_glue(&glue, priority);
                }
            }),
        )
    });
    bench.versus(
        "dispatch/one_thread/glue_100000_wait",
        Goal::at_least(1.0),
        || {
            const RUNS: usize = 50_000;
            const WAIT: usize = 100_000;
            let (engine, glue) = (limited(WIDE), Glue::new(WIDE));
            for priority in Levels::Uniform.take(WAIT, SEED) {
                submit(&engine, "work/own", priority);
                glue.submit("work", priority);
            }
            let levels = Arc::new(Levels::Uniform.take(RUNS, SEED + 1));
            let same = levels.clone();
            (
                timed(RUNS, move || {
                    let scope = Scope::all();
                    for &priority in levels.iter() {
                        through(&engine, &scope, priority);
                    }
                }),
                timed(RUNS, move || {
                    for &priority in same.iter() {
                        through_glue(&glue, priority);
                    }
                }),
            )
        },
    );
    bench.versus("dispatch/batch_of_500/one_by_one", Goal::at_least(1.0), batches);
    bench.versus("dispatch/run/64_slots/raw_spawn", Goal::at_least(1.5), || {
        (ours_in_runtime(50_000, false), raw_in_runtime(50_000))
    });
    bench.versus(
        "dispatch/run/64_slots/followed/raw_spawn",
        Goal::at_least(1.5),
        || (ours_in_runtime(50_000, true), raw_in_runtime(50_000)),
    );
    bench.versus("dispatch/run/64_slots/apalis", Goal::at_least(3.0), || {
        (ours_in_runtime(50_000, false), apalis_in_runtime(50_000))
    });
    bench.versus("dispatch/latency/raw_spawn", Goal::at_most(1.3), || {
        (latency_of_ours(), latency_of_spawn())
    });
}

/// Accepting 50,000 runs, in batches of 500 and one by one. What was accepted is claimed and completed unmeasured.
fn batches() -> (Side, Side) {
    const RUNS: usize = 50_000;
    const BATCH: usize = 500;
    fn empty(engine: &Engine) {
        let scope = Scope::all();
        while let Ok(Ok(claim)) = engine.claim(&scope) {
            complete(engine, &claim);
        }
    }
    let (whole, single) = (limited(WIDE), limited(WIDE));
    let levels = Arc::new(Levels::Uniform.take(RUNS, SEED));
    let same = levels.clone();
    let ours = figure(move || {
        let batches: Vec<Vec<NewRun>> = levels
            .chunks(BATCH)
            .map(|levels| {
                levels
                    .iter()
                    .map(|&priority| NewRun::of("work/own").priority(priority))
                    .collect()
            })
            .collect();
        let start = now();
        for batch in batches {
            black_box(whole.submit_batch(batch).expect("there is room"));
        }
        let took = start.elapsed();
        empty(&whole);
        per_operation(took, RUNS)
    });
    let other = figure(move || {
        let runs: Vec<NewRun> = same
            .iter()
            .map(|&priority| NewRun::of("work/own").priority(priority))
            .collect();
        let start = now();
        for run in runs {
            black_box(single.submit(run).expect("there is room"));
        }
        let took = start.elapsed();
        empty(&single);
        per_operation(took, RUNS)
    });
    (ours, other)
}

/// Submits `runs` from outside a two-worker runtime and waits until the last is COMPLETED. Each has a record, goes
/// through four states in order, and takes a slot of the engine and of its deployment; if `followed`, a task of the same runtime reads
/// all of these states as events.
fn ours_in_runtime(runs: usize, followed: bool) -> Side {
    let tokio = tokio();
    let engine = limited(SLOTS);
    let target = engine.deployment_by_name("work/own").expect("just made").id;
    let left = Arc::new(AtomicUsize::new(0));
    let (last, done) = mpsc::channel();
    let counter = left.clone();
    engine
        .handler("work", move |_| {
            let (counter, last) = (counter.clone(), last.clone());
            async move {
                if counter.fetch_sub(1, SeqCst) == 1 {
                    last.send(()).expect("the bench waits");
                }
                Ok(())
            }
        })
        .expect("a valid name");
    let runtime = {
        let _inside = tokio.enter();
        engine.start().expect("inside a runtime")
    };
    if followed {
        let mut events = engine.events(Follow::states()).expect("the first stream");
        tokio.spawn(async move {
            loop {
                // One that falls behind is told so, and goes on.
                let _ = black_box(events.next_event().await);
            }
        });
    }
    timed(runs, move || {
        let _running = (&runtime, &tokio);
        left.store(runs, SeqCst);
        for _ in 0..runs {
            engine.submit(target).expect("there is room");
        }
        done.recv().expect("the last run sends");
        // The last handler has returned, or is about to; its completion is part of the work.
        while engine.snapshot().processing_tasks > 0 {
            spin_loop();
        }
    })
}

/// The same amount of nothing, each in a spawned task that waits for a permit of a semaphore. No order, no records.
fn raw_in_runtime(runs: usize) -> Side {
    let tokio = tokio();
    let slots = Arc::new(Semaphore::new(SLOTS as usize));
    let left = Arc::new(AtomicUsize::new(0));
    let (last, done) = mpsc::channel();
    timed(runs, move || {
        left.store(runs, SeqCst);
        for _ in 0..runs {
            let (slots, left, last) = (slots.clone(), left.clone(), last.clone());
            tokio.spawn(async move {
                let permit = slots.acquire_owned().await.expect("it is never closed");
                drop(permit);
                if left.fetch_sub(1, SeqCst) == 1 {
                    last.send(()).expect("the bench waits");
                }
            });
        }
        done.recv().expect("the last task sends");
    })
}

/// The same in a worker of `apalis` with 64 at a time and its store in memory, which takes no tasks from outside once a worker has it: all are
/// pushed first. First in first out, no levels, no limits by name; its tasks have ids and states of their own.
fn apalis_in_runtime(runs: usize) -> Side {
    let tokio = tokio();
    timed(runs, move || {
        let left = Arc::new(AtomicUsize::new(runs));
        let done = Arc::new(Notify::new());
        let last = done.clone();
        tokio.block_on(async {
            let mut store: MemoryStorage<usize> = MemoryStorage::new();
            for number in 0..runs {
                store.push(number).await.expect("the store has no bound");
            }
            let worker = WorkerBuilder::new("work")
                .backend(store)
                .concurrency(SLOTS as usize)
                .parallelize(::tokio::spawn)
                .build(move |_: usize| {
                    let (left, last) = (left.clone(), last.clone());
                    async move {
                        if left.fetch_sub(1, SeqCst) == 1 {
                            last.notify_one();
                        }
                    }
                });
            ::tokio::select! {
                ended = worker.run() => panic!("the worker ended: {ended:?}"),
                () = done.notified() => {}
            }
        });
    })
}

/// Submissions of one round of a latency line.
const SAMPLES: usize = 200;

/// The median time until `start` makes something send its first instant, with pauses in which everything falls asleep.
fn latency(mut start: impl FnMut(), started: &mpsc::Receiver<std::time::Instant>) -> f64 {
    let mut spans: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            std::thread::sleep(Duration::from_micros(500));
            let before = now();
            start();
            let after = started.recv().expect("it starts");
            per_operation(after.saturating_duration_since(before), 1)
        })
        .collect();
    quantile(&mut spans, 0.5)
}

fn latency_of_ours() -> Side {
    let tokio = tokio();
    let engine = limited(SLOTS);
    let (sender, started) = mpsc::channel();
    engine
        .handler("work", move |_| {
            let at = now();
            let sender = sender.clone();
            async move { Ok(sender.send(at).is_ok()) }
        })
        .expect("a valid name");
    let runtime = {
        let _inside = tokio.enter();
        engine.start().expect("inside a runtime")
    };
    figure(move || {
        let _running = (&runtime, &tokio);
        latency(|| submit(&engine, "work/own", Priority::MIN), &started)
    })
}

fn latency_of_spawn() -> Side {
    let tokio = tokio();
    let (sender, started) = mpsc::channel();
    figure(move || {
        latency(
            || {
                let sender = sender.clone();
                tokio.spawn(async move { sender.send(now()).is_ok() });
            },
            &started,
        )
    })
}
