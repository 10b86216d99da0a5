//! Draining, stopping, dropping, and waiting for idleness.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use tenfold::engine::StopReason;
use tenfold::model::{Place, StateType};
use tenfold::runtime::Context;
use tenfold::{Engine, NewRun, RunId};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{AGES, SECOND, ended, engine, hangs, message, until};

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
    // One task in each turn: the driver, then one worker after the other.
    for turns in 0..6 {
        let engine = Engine::builder().limit(2).build().unwrap();
        engine.handler("f", |_| async { Ok(()) }).unwrap();
        for _ in 0..4 {
            engine.submit("f").unwrap();
        }
        let tokio = tokio::runtime::Builder::new_current_thread()
            .event_interval(1)
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
