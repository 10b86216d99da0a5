//! How attempts end: values, errors, panics, timeouts, cancellation.

use std::any::Any;
use std::panic::panic_any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenfold::engine::StopReason;
use tenfold::model::{Place, StateType};
use tenfold::runtime::{Context, RunError};
use tenfold::{Engine, NewRun, Retry};
use tokio::time::{Instant, sleep};

use crate::support::{SECOND, ended, engine, hangs, message, until};

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
    assert_eq!(
        run.state_type,
        Some(StateType::Cancelled),
        "cancelling is one-way"
    );
    assert_eq!(
        run.result,
        Some("tidied".into()),
        "what it returned all the same is kept"
    );
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
