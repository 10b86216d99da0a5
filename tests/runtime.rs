//! Handlers on tokio: whatever a handler does, its run ends once, its slots come back, and nothing else is touched.
//!
//! Time is tokio's, paused: the engine's clock follows it, so nothing here waits for real time.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::any::Any;
use std::collections::HashSet;
use std::future::pending;
use std::num::NonZeroU32;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::{Clock, Now};
use tenfold::engine::StopReason;
use tenfold::model::{Place, StateType};
use tenfold::runtime::{Context, RunError};
use tenfold::{Engine, Error, NewDeployment, NewPool, NewRun, Retry, Run, RunId, Schedule, Scope};
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes; of paused time.
const AGES: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// An engine's clock that reads tokio's time.
#[derive(Debug)]
struct TokioClock {
    origin: Instant,
    wall: DateTime<Utc>,
}

impl Clock for TokioClock {
    fn now(&self) -> Now {
        // A read from a thread outside tokio would not see the paused time; none of these tests makes one.
        let mono = self.origin.elapsed();
        Now {
            wall: self.wall + TimeDelta::from_std(mono).unwrap(),
            mono,
        }
    }
}

fn engine() -> Engine {
    let clock = TokioClock {
        origin: Instant::now(),
        wall: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    Engine::builder().clock(clock).seed(1).build().unwrap()
}

async fn until(engine: &Engine, done: impl Fn(&Engine) -> bool) {
    let waited = timeout(AGES, async {
        while !done(engine) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it happens");
}

/// The run once it has ended.
async fn ended(engine: &Engine, run: RunId) -> Run {
    until(engine, |engine| engine.run(run).unwrap().place == Place::Finished).await;
    engine.run(run).unwrap()
}

fn message(run: &Run) -> String {
    run.state
        .as_ref()
        .unwrap()
        .message
        .as_deref()
        .unwrap_or_default()
        .to_owned()
}

/// What a handler owns, and panics when it goes.
struct Sore;

impl Drop for Sore {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "sore");
    }
}

/// The same, whoever is panicking already: the worst value to panic with.
struct Worst(#[expect(dead_code, reason = "it is only there to be dropped")] Option<Box<Worst>>);

impl Drop for Worst {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_any(Worst(None));
        }
    }
}

async fn fails(payload: impl Any + Send + Copy) -> Result<(), RunError> {
    tokio::task::yield_now().await;
    panic_any(payload)
}

#[tokio::test(start_paused = true)]
async fn r6_a_panic_in_a_handler_fails_that_run_and_nothing_else() {
    let engine = engine();
    engine.set_limit(Some(1)).unwrap();
    engine.handler("fine", |_| async { Ok(1) }).unwrap();
    engine
        .handler("before", |context: Context| {
            assert!(context.attempt() > 9, "before the future");
            async { Ok(()) }
        })
        .unwrap();
    engine.handler("after", |_| fails("after an await")).unwrap();
    engine.handler("number", |_| fails(7)).unwrap();
    engine
        .handler("formatted", |context: Context| async move {
            assert!(context.attempt() == 9, "attempt {}", context.attempt());
            Ok(())
        })
        .unwrap();
    engine
        .handler("drop", |_| async {
            let _sore = Sore;
            tokio::task::yield_now().await;
            Ok(())
        })
        .unwrap();
    engine
        .handler("worst", |_| async {
            tokio::task::yield_now().await;
            if true {
                panic_any(Worst(None));
            }
            Ok(())
        })
        .unwrap();
    engine
        .handler("result", |_| async {
            struct Bad;
            impl serde::Serialize for Bad {
                fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                    panic!("no form")
                }
            }
            Ok(Bad)
        })
        .unwrap();
    let runtime = engine.start().unwrap();
    for (flow, says) in [
        ("before", "before the future"),
        ("after", "after an await"),
        ("number", "no text"),
        ("formatted", "attempt 1"),
        ("drop", "sore"),
        ("worst", "no text"),
        ("result", "no form"),
    ] {
        let retry = Retry::fixed(3, Duration::ZERO);
        let run = engine.submit(NewRun::of(flow).retry(retry)).unwrap().id;
        let run = ended(&engine, run).await;
        assert_eq!(run.state_type, Some(StateType::Crashed), "{flow}");
        assert!(message(&run).contains(says), "{flow}: {}", message(&run));
        assert_eq!(run.run_count, 1, "{flow}: a crash is not tried again");
        // The one slot is free again, and the runtime goes on.
        let fine = engine.submit("fine").unwrap().id;
        assert_eq!(ended(&engine, fine).await.result, Some(1.into()));
    }
    assert_eq!(engine.snapshot().processing_tasks, 0);
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn r5_an_error_is_tried_again_with_its_delay_and_keeps_its_message() {
    let engine = engine();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = starts.clone();
    engine
        .handler("flaky", move |context: Context| {
            seen.lock().unwrap().push((context.attempt(), Instant::now()));
            async move {
                if context.attempt() < 3 {
                    let _: u32 = "no number".parse()?;
                }
                Ok(context.attempt())
            }
        })
        .unwrap();
    let runtime = engine.start().unwrap();
    let run = NewRun::of("flaky").retry(Retry::fixed(2, 10 * SECOND));
    let run = engine.submit(run).unwrap().id;
    until(&engine, |engine| engine.snapshot().totals.retried == 1).await;
    let waiting = engine.run(run).unwrap();
    assert_eq!(waiting.place, Place::Scheduled);
    assert!(
        message(&waiting).contains("invalid digit"),
        "{}",
        message(&waiting)
    );
    let run = ended(&engine, run).await;
    assert_eq!(
        (run.state_type, run.result),
        (Some(StateType::Completed), Some(3.into()))
    );
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.iter().map(|start| start.0).collect::<Vec<_>>(), [1, 2, 3]);
    for pair in starts.windows(2) {
        let delay = pair[1].1 - pair[0].1;
        assert!((10 * SECOND..11 * SECOND).contains(&delay), "{delay:?}");
    }
    runtime.drain().await;
}

/// Sets a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A handler that never ends by itself, and whether it has been dropped.
fn hangs(engine: &Engine, flow: &'static str) -> Arc<AtomicBool> {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    engine
        .handler(flow, move |_| {
            let held = Dropped(flag.clone());
            async move {
                let _held = held;
                pending::<()>().await;
                Ok(())
            }
        })
        .unwrap();
    dropped
}

#[tokio::test(start_paused = true)]
async fn r5_a_timeout_drops_the_handler_and_frees_the_slot() {
    for workers in [1, 2, 256] {
        let engine = engine();
        let dropped = hangs(&engine, "hangs");
        let runtime = engine.runtime().workers(workers).start().unwrap();
        let begun = Instant::now();
        let run = engine.submit(NewRun::of("hangs").timeout(5 * SECOND)).unwrap().id;
        // With as many workers as may be, the driver slept without looking at the time.
        let run = ended(&engine, run).await;
        assert_eq!(run.state_name.unwrap(), "TimedOut");
        assert!(dropped.load(Ordering::SeqCst));
        assert!(
            (5 * SECOND..6 * SECOND).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(engine.snapshot().processing_tasks, 0);
        runtime.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn r5_a_timeout_counts_when_the_run_was_taken_by_the_worker_before_it() {
    // The worker took the next run itself and told nobody that it had a deadline.
    for limit in [None, Some(1)] {
        let engine = engine();
        engine.set_limit(limit).unwrap();
        hangs(&engine, "hangs");
        engine.handler("quick", |_| async { Ok(()) }).unwrap();
        let runtime = engine.runtime().workers(2).start().unwrap();
        engine.submit("quick").unwrap();
        let run = engine.submit(NewRun::of("hangs").timeout(5 * SECOND)).unwrap().id;
        let more = engine.submit(NewRun::of("quick")).unwrap().id;
        assert_eq!(ended(&engine, run).await.state_name.unwrap(), "TimedOut");
        assert_eq!(ended(&engine, more).await.state_type, Some(StateType::Completed));
        runtime.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn r5_a_retry_comes_in_time_while_its_worker_is_busy_with_the_next_run() {
    let engine = engine();
    engine
        .handler("flaky", |context: Context| async move {
            if context.attempt() == 1 {
                return Err(RunError::new("first"));
            }
            Ok(())
        })
        .unwrap();
    engine
        .handler("long", |_| async {
            sleep(1_000 * SECOND).await;
            Ok(())
        })
        .unwrap();
    let flaky = NewRun::of("flaky").retry(Retry::fixed(1, 10 * SECOND));
    let flaky = engine.submit(flaky).unwrap().id;
    let long = engine.submit("long").unwrap().id;
    engine.set_limit(Some(1)).unwrap();
    let runtime = engine.start().unwrap();
    // The one slot first; the retry can start beside the long run once there are two.
    until(&engine, |engine| {
        engine.run(long).unwrap().place == Place::Claimed
    })
    .await;
    engine.set_limit(None).unwrap();
    let run = ended(&engine, flaky).await;
    assert_eq!(run.state_type, Some(StateType::Completed));
    assert_eq!(
        engine.run(long).unwrap().place,
        Place::Claimed,
        "the long run goes on"
    );
    drop(runtime);
}

#[tokio::test(start_paused = true)]
async fn r5_a_timed_out_run_is_tried_again_while_retries_are_left() {
    let engine = engine();
    let dropped = hangs(&engine, "hangs");
    let runtime = engine.start().unwrap();
    let run = NewRun::of("hangs").timeout(SECOND).retry(Retry::fixed(2, SECOND));
    let run = ended(&engine, engine.submit(run).unwrap().id).await;
    assert_eq!((run.run_count, run.state_type), (3, Some(StateType::Failed)));
    assert!(dropped.load(Ordering::SeqCst));
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn r5_a_timeout_also_counts_while_the_runtime_drains() {
    let engine = engine();
    hangs(&engine, "hangs");
    let runtime = engine.start().unwrap();
    let run = engine.submit(NewRun::of("hangs").timeout(5 * SECOND)).unwrap().id;
    until(&engine, |engine| engine.snapshot().processing_tasks == 1).await;
    // Once it took no more runs, the driver slept without looking at the time, and the drain never ended.
    let report = timeout(AGES, runtime.drain()).await.expect("the drain ends");
    assert_eq!(report.cancelled, []);
    assert_eq!(engine.run(run).unwrap().state_name.unwrap(), "TimedOut");
}

#[tokio::test(start_paused = true)]
async fn r5_a_cancelled_handler_is_told_and_may_put_things_in_order() {
    let engine = engine();
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    engine
        .handler("tidy", move |context: Context| {
            let seen = seen.clone();
            async move {
                let reason = context.cancelled().await;
                assert_eq!(context.stop_reason(), Some(reason));
                sleep(2 * SECOND).await;
                seen.lock().unwrap().push(reason);
                Ok("tidied")
            }
        })
        .unwrap();
    let dropped = hangs(&engine, "deaf");
    let runtime = engine.runtime().grace(5 * SECOND).start().unwrap();
    let (tidy, deaf) = (
        engine.submit("tidy").unwrap().id,
        engine.submit("deaf").unwrap().id,
    );
    until(&engine, |engine| engine.snapshot().processing_tasks == 2).await;
    let begun = Instant::now();
    assert_eq!(engine.cancel(tidy).unwrap(), StateType::Cancelling);
    assert_eq!(engine.cancel(deaf).unwrap(), StateType::Cancelling);
    assert_eq!(
        engine.snapshot().processing_tasks,
        2,
        "both hold their slots to their end"
    );
    let run = ended(&engine, tidy).await;
    assert_eq!((run.state_type, run.result), (Some(StateType::Cancelled), None));
    assert_eq!(*order.lock().unwrap(), [StopReason::Cancelled]);
    assert!(!dropped.load(Ordering::SeqCst), "the other has its grace");
    assert_eq!(ended(&engine, deaf).await.state_type, Some(StateType::Cancelled));
    assert!(dropped.load(Ordering::SeqCst));
    assert!(
        (5 * SECOND..6 * SECOND).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_flow_without_a_handler_crashes_its_runs_until_it_has_one() {
    let engine = engine();
    engine.flow("later").unwrap();
    let runtime = engine.start().unwrap();
    let run = ended(&engine, engine.submit("later").unwrap().id).await;
    assert_eq!(
        (run.state_type, run.state_name.as_deref()),
        (Some(StateType::Crashed), Some("NoHandler"))
    );
    assert!(message(&run).contains("\"later\""));
    engine.handler("later", |_| async { Ok(1) }).unwrap();
    engine.handler("later", |_| async { Ok(2) }).unwrap();
    let run = ended(&engine, engine.submit("later").unwrap().id).await;
    assert_eq!(
        run.result,
        Some(2.into()),
        "the second handler replaces the first"
    );
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_handler_may_call_the_engine_as_it_goes() {
    // It was dropped under the lock of the handlers: what it owned stood still for ever.
    struct Calls(Engine);
    impl Drop for Calls {
        fn drop(&mut self) {
            self.0.handler("other", |_| async { Ok(()) }).unwrap();
        }
    }
    let engine = engine();
    let calls = Calls(engine.clone());
    engine
        .handler("f", move |_| {
            let _ = &calls;
            async { Ok(()) }
        })
        .unwrap();
    engine.handler("f", |_| async { Ok(()) }).unwrap();
    assert!(engine.submit("other").is_ok());
}

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
async fn a_drain_lets_what_executes_end_and_takes_nothing_more() {
    let engine = engine();
    engine
        .handler("f", |_| async {
            sleep(10 * SECOND).await;
            Ok(())
        })
        .unwrap();
    engine.set_limit(Some(2)).unwrap();
    let later = engine.now().unwrap() + TimeDelta::hours(1);
    let runs: Vec<RunId> = (0..5).map(|_| engine.submit("f").unwrap().id).collect();
    engine.submit(NewRun::of("f").not_before(later)).unwrap();
    let runtime = engine.start().unwrap();
    until(&engine, |engine| engine.snapshot().processing_tasks == 2).await;
    let report = runtime.drain().await;
    assert_eq!(
        (report.cancelled.len(), report.waiting, report.scheduled),
        (0, 3, 1)
    );
    assert_eq!(engine.snapshot().totals.completed, 2);
    assert_eq!(engine.run(runs[2]).unwrap().place, Place::Ready);
    // Another runtime goes on where this one stopped.
    let runtime = engine.start().unwrap();
    assert_eq!(
        ended(&engine, runs[4]).await.state_type,
        Some(StateType::Completed)
    );
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_calls_off_what_is_left_at_its_deadline_and_reports_it() {
    let engine = engine();
    let dropped = hangs(&engine, "hangs");
    engine
        .handler("quick", |_| async {
            sleep(SECOND).await;
            Ok(())
        })
        .unwrap();
    engine
        .handler("saved", |context: Context| async move {
            assert_eq!(context.cancelled().await, StopReason::Shutdown);
            Ok("in time")
        })
        .unwrap();
    let runtime = engine.runtime().grace(2 * SECOND).start().unwrap();
    let hangs = engine.submit("hangs").unwrap().id;
    let quick = engine.submit("quick").unwrap().id;
    let saved = engine.submit("saved").unwrap().id;
    until(&engine, |engine| engine.snapshot().processing_tasks == 3).await;
    let begun = Instant::now();
    let report = runtime.stop(5 * SECOND).await;
    assert!(
        (7 * SECOND..8 * SECOND).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(report.cancelled, [hangs]);
    assert!(dropped.load(Ordering::SeqCst));
    let run = engine.run(hangs).unwrap();
    assert_eq!(run.state_type, Some(StateType::Cancelled));
    assert!(message(&run).contains("runtime stopped"), "{}", message(&run));
    assert_eq!(engine.run(quick).unwrap().state_type, Some(StateType::Completed));
    let saved = engine.run(saved).unwrap();
    assert_eq!(
        (saved.state_type, saved.result),
        (Some(StateType::Completed), Some("in time".into()))
    );
    assert_eq!(engine.snapshot().processing_tasks, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_also_reaches_a_run_that_was_claimed_and_has_not_begun() {
    // A worker that had not had its first turn was in nobody's list, and nobody told it.
    for turns in 0..6 {
        let engine = engine();
        hangs(&engine, "hangs");
        engine.submit("hangs").unwrap();
        let runtime = engine.runtime().grace(Duration::ZERO).start().unwrap();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let report = timeout(AGES, runtime.stop(Duration::ZERO))
            .await
            .expect("the stop ends");
        assert_eq!(report.cancelled.len() + report.waiting, 1, "after {turns} turns");
        assert_eq!(engine.snapshot().processing_tasks, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_waits_for_what_is_due_and_not_for_what_is_later() {
    let engine = engine();
    engine
        .handler("f", |_| async {
            sleep(SECOND).await;
            Ok(())
        })
        .unwrap();
    let runtime = engine.start().unwrap();
    runtime.idle().await;
    engine.submit("f").unwrap();
    engine
        .submit(NewRun::of("f").not_before(engine.now().unwrap() + TimeDelta::hours(1)))
        .unwrap();
    // A wait that is given up leaves nothing behind.
    assert!(timeout(Duration::from_millis(1), runtime.idle()).await.is_err());
    runtime.idle().await;
    let status = engine.snapshot();
    assert_eq!((status.totals.completed, status.scheduled), (1, 1));
    sleep(3_601 * SECOND).await;
    runtime.idle().await;
    assert_eq!(engine.snapshot().totals.completed, 2, "it came by itself");
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

#[tokio::test(start_paused = true)]
async fn dropping_a_runtime_takes_no_more_and_lets_the_rest_end() {
    let engine = engine();
    engine
        .handler("f", |_| async {
            sleep(SECOND).await;
            Ok(())
        })
        .unwrap();
    let runtime = engine.start().unwrap();
    let first = engine.submit("f").unwrap().id;
    until(&engine, |engine| engine.snapshot().processing_tasks == 1).await;
    drop(runtime);
    let second = engine.submit("f").unwrap().id;
    assert_eq!(ended(&engine, first).await.state_type, Some(StateType::Completed));
    sleep(100 * SECOND).await;
    assert_eq!(engine.run(second).unwrap().place, Place::Ready);
}

#[test]
fn l2_a_tokio_runtime_that_goes_away_gives_all_slots_back() {
    // The handlers were dropped, and their runs kept their slots for ever.
    let engine = Engine::builder().limit(2).build().unwrap();
    let dropped = hangs(&engine, "hangs");
    let runs: Vec<RunId> = (0..3).map(|_| engine.submit("hangs").unwrap().id).collect();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let runtime = tokio.block_on(async {
        let runtime = engine.start().unwrap();
        while engine.snapshot().processing_tasks < 2 {
            tokio::task::yield_now().await;
        }
        runtime
    });
    drop(tokio);
    drop(runtime);
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(engine.snapshot().processing_tasks, 0);
    for run in &runs[..2] {
        let run = engine.run(*run).unwrap();
        assert_eq!(run.state_type, Some(StateType::Crashed));
        assert!(message(&run).contains("dropped"), "{}", message(&run));
    }
    assert_eq!(engine.run(runs[2]).unwrap().place, Place::Ready);
}

#[test]
fn l2_a_worker_that_never_had_a_turn_gives_its_slot_back() {
    for turns in 0..6 {
        let engine = Engine::builder().limit(2).build().unwrap();
        engine.handler("f", |_| async { Ok(()) }).unwrap();
        for _ in 0..4 {
            engine.submit("f").unwrap();
        }
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let runtime = tokio.block_on(async {
            let runtime = engine.start().unwrap();
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            runtime
        });
        drop(tokio);
        drop(runtime);
        let status = engine.snapshot();
        assert_eq!(status.processing_tasks, 0, "after {turns} turns");
        assert_eq!(status.queued_tasks + status.finished, 4);
    }
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
