//! Many runs, many threads, limits, scopes, schedules: what handlers share.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenfold::clock::{Clock, Now};
use tenfold::engine::StopReason;
use tenfold::model::{Place, StateType};
use tenfold::runtime::Context;
use tenfold::{Engine, Error, NewDeployment, NewPool, NewRun, RunId, Schedule, Scope};
use tokio::time::{sleep, timeout};

use crate::support::{SECOND, ended, engine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l1_handlers_never_run_beyond_their_limits() {
    const RUNS: usize = 3_000;
    let engine = Engine::builder().limit(6).build().unwrap();
    let (all, tight) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    for flow in ["loose", "tight"] {
        let (all, tight) = (all.clone(), tight.clone());
        engine
            .handler(flow, move |context: Context| {
                let (all, tight) = (all.clone(), tight.clone());
                async move {
                    let _one = all.enter();
                    let _two = (context.flow() == "tight").then(|| tight.enter());
                    for _ in 0..context.run().uuid().as_u128() % 5 {
                        tokio::task::yield_now().await;
                    }
                    Ok(())
                }
            })
            .unwrap();
    }
    let two = NonZeroU32::new(2).unwrap();
    engine
        .deploy(NewDeployment::new("tight", "two").concurrency_limit(two))
        .unwrap();
    let runtime = engine.start().unwrap();
    for n in 0..RUNS {
        engine.submit(["loose", "tight/two"][n % 2]).unwrap();
    }
    runtime.idle().await;
    assert_eq!(engine.snapshot().totals.completed, RUNS as u64);
    let (most, most_tight) = (all.most(), tight.most());
    assert!((1..=6).contains(&most), "{most}");
    assert!((1..=2).contains(&most_tight), "{most_tight}");
    runtime.drain().await;
}

/// How many are inside, and the most that ever were.
#[derive(Default)]
struct Gauge {
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(self: &Arc<Self>) -> Inside {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        Inside(self.clone())
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

struct Inside(Arc<Gauge>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_has_no_more_handlers_than_workers() {
    let engine = engine();
    let gauge = Arc::new(Gauge::default());
    let inside = gauge.clone();
    engine
        .handler("f", move |_| {
            let inside = inside.clone();
            async move {
                let _inside = inside.enter();
                sleep(SECOND).await;
                Ok(())
            }
        })
        .unwrap();
    let runtime = engine.runtime().workers(3).start().unwrap();
    for _ in 0..20 {
        engine.submit("f").unwrap();
    }
    runtime.idle().await;
    assert_eq!(gauge.most(), 3);
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn s4_schedules_fire_by_themselves_at_their_instants() {
    let engine = engine();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = starts.clone();
    let clock = engine.clone();
    engine
        .handler("tick", move |_| {
            seen.lock().unwrap().push(clock.now().unwrap().timestamp());
            async { Ok(()) }
        })
        .unwrap();
    let every = Schedule::cron("*/5 * * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("tick", "tock").schedule(every))
        .unwrap();
    let runtime = engine.start().unwrap();
    sleep(1_201 * SECOND).await;
    runtime.idle().await;
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.len(), 5);
    assert!(starts.iter().all(|at| at % 300 == 0), "{starts:?}");
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn two_runtimes_serve_each_its_own_scope() {
    let engine = engine();
    engine.create_pool(NewPool::named("other")).unwrap();
    engine.handler("f", |_| async { Ok(()) }).unwrap();
    let here = engine.runtime().scope(Scope::pool("default")).start().unwrap();
    let there = engine
        .submit(NewRun::of("f").work_queue("other", "default"))
        .unwrap()
        .id;
    let mine = engine.submit("f").unwrap().id;
    assert_eq!(ended(&engine, mine).await.state_type, Some(StateType::Completed));
    assert_eq!(engine.run(there).unwrap().place, Place::Ready);
    let other = engine.runtime().scope(Scope::pool("other")).start().unwrap();
    assert_eq!(ended(&engine, there).await.state_type, Some(StateType::Completed));
    here.idle().await;
    let more: Vec<RunId> = (0..50)
        .map(|n| {
            let pool = ["default", "other"][n % 2];
            engine
                .submit(NewRun::of("f").work_queue(pool, "default"))
                .unwrap()
                .id
        })
        .collect();
    other.idle().await;
    assert!(
        more.iter()
            .all(|run| engine.run(*run).unwrap().place == Place::Finished)
    );
    here.drain().await;
    other.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_use_the_engine_as_anybody_else() {
    let engine = engine();
    engine
        .handler("tree", |context: Context| async move {
            let depth: u32 = context.parameter("depth")?;
            let engine = context.engine();
            assert_eq!(engine.run(context.run())?.place, Place::Claimed);
            assert!(engine.snapshot().processing_tasks > 0);
            if depth > 0 {
                for _ in 0..2 {
                    engine.submit(NewRun::of("tree").parameter("depth", depth - 1))?;
                }
            }
            // Its own run is claimed: it can be called off like any other.
            if depth == 2 {
                engine.cancel(context.run())?;
                assert_eq!(context.cancelled().await, StopReason::Cancelled);
            }
            Ok(depth)
        })
        .unwrap();
    let runtime = engine.runtime().workers(4).start().unwrap();
    engine.submit(NewRun::of("tree").parameter("depth", 7)).unwrap();
    runtime.idle().await;
    let totals = engine.snapshot().totals;
    assert_eq!(totals.accepted, 255);
    assert_eq!((totals.completed, totals.cancelled), (255 - 32, 32));
    runtime.drain().await;
}

#[test]
fn a_runtime_needs_tokio_workers_and_a_scope_that_is_there() {
    let engine = Engine::new();
    assert!(matches!(
        engine.start(),
        Err(Error::Setting { setting: "start", .. })
    ));
    assert!(matches!(
        engine.runtime().workers(0).start(),
        Err(Error::Setting {
            setting: "workers",
            ..
        })
    ));
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _inside = tokio.enter();
    let nowhere = engine.runtime().scope(Scope::pool("gpu")).start();
    assert!(matches!(nowhere, Err(Error::NotFound { .. })));
}

#[test]
fn e3_a_clock_that_panics_panics_its_caller_and_leaves_the_engine_whole() {
    #[derive(Debug)]
    struct Broken(Arc<AtomicBool>);
    impl Clock for Broken {
        fn now(&self) -> Now {
            assert!(!self.0.load(Ordering::SeqCst), "no time");
            Now {
                wall: "2026-01-01T00:00:00Z".parse().unwrap(),
                mono: Duration::ZERO,
            }
        }
    }
    let broken = Arc::new(AtomicBool::new(false));
    let engine = Engine::builder().clock(Broken(broken.clone())).build().unwrap();
    engine.flow("f").unwrap();
    broken.store(true, Ordering::SeqCst);
    let caller = engine.clone();
    assert!(std::thread::spawn(move || caller.submit("f")).join().is_err());
    broken.store(false, Ordering::SeqCst);
    assert!(engine.submit("f").is_ok());
    assert_eq!(engine.snapshot().queued_tasks, 1);
}

#[test]
fn r2_no_wake_up_is_lost_and_no_run_executes_twice() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let engine = Engine::builder().limit(16).build().unwrap();
    let executed = Arc::new(Mutex::new(Vec::with_capacity(THREADS * EACH)));
    let seen = executed.clone();
    engine
        .handler("f", move |context: Context| {
            seen.lock().unwrap().push(context.run());
            async { Ok(()) }
        })
        .unwrap();
    let runtime = {
        let _inside = tokio.enter();
        engine.start().unwrap()
    };
    let mut submitted: Vec<RunId> = std::thread::scope(|scope| {
        let submit = || -> Vec<RunId> { (0..EACH).map(|_| engine.submit("f").unwrap().id).collect() };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(submit)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    tokio.block_on(async {
        timeout(Duration::from_secs(120), runtime.idle())
            .await
            .expect("nothing is left lying");
        runtime.drain().await;
    });
    let mut executed = executed.lock().unwrap().clone();
    let different: HashSet<RunId> = executed.iter().copied().collect();
    assert_eq!(different.len(), executed.len(), "a run executed twice");
    executed.sort_unstable();
    submitted.sort_unstable();
    assert_eq!(executed, submitted);
    assert_eq!(engine.snapshot().totals.completed, (THREADS * EACH) as u64);
}
