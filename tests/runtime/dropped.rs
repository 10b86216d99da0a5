//! Futures that are dropped at any of their await points: nothing is lost, no slot is kept, nothing runs twice.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use tenfold::model::StateType;
use tenfold::{Engine, NewRun, RunId};

use crate::support::{engine, until};

const MILLI: Duration = Duration::from_millis(1);

/// Polls so often, a millisecond apart, and drops what is not ready by then. Whether it was.
async fn polled<F: Future>(future: F, times: usize) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..times {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if polled.is_ready() {
            return true;
        }
        tokio::time::sleep(MILLI).await;
    }
    false
}

/// An engine of two slots with five runs of three milliseconds each.
fn busy() -> (Engine, Vec<RunId>) {
    let engine = engine();
    engine.set_limit(Some(2)).unwrap();
    engine
        .handler("f", |context| async move {
            tokio::select! {
                () = tokio::time::sleep(3 * MILLI) => Ok("done"),
                _ = context.cancelled() => Ok("told"),
            }
        })
        .unwrap();
    let runs = (0..5).map(|_| engine.submit("f").unwrap().id).collect();
    (engine, runs)
}

/// What is left is executed by another runtime; then each run has ended once.
async fn finish(engine: &Engine, runs: &[RunId]) {
    until(engine, |engine| engine.snapshot().processing_tasks == 0).await;
    let runtime = engine.start().unwrap();
    runtime.idle().await;
    runtime.drain().await;
    let status = engine.snapshot();
    assert_eq!((status.processing_tasks, status.queued_tasks), (0, 0));
    assert_eq!(status.totals.claimed, runs.len() as u64, "R2: each attempt once");
    for run in runs {
        let run = engine.run(*run).unwrap();
        assert!(
            run.state_type.is_some_and(StateType::is_terminal),
            "R1: {:?}",
            run.state
        );
    }
}

#[tokio::test(start_paused = true)]
async fn l2_r1_the_futures_of_a_runtime_may_be_dropped_at_any_point() {
    type Way = fn(tenfold::Runtime, usize) -> std::pin::Pin<Box<dyn Future<Output = bool>>>;
    let ways: [Way; 4] = [
        |runtime, times| Box::pin(async move { polled(runtime.idle(), times).await }),
        |runtime, times| Box::pin(polled(runtime.drain(), times)),
        |runtime, times| Box::pin(polled(runtime.stop(Duration::ZERO), times)),
        |runtime, times| Box::pin(polled(runtime.stop(2 * MILLI), times)),
    ];
    for way in ways {
        let mut ready = 0;
        for times in 0..14 {
            let (engine, runs) = busy();
            let runtime = engine.runtime().grace(MILLI).start().unwrap();
            if times % 2 == 1 {
                tokio::time::sleep(MILLI).await;
            }
            ready += usize::from(way(runtime, times).await);
            finish(&engine, &runs).await;
        }
        assert!((1..14).contains(&ready), "it was dropped and it was not: {ready}");
    }
}

#[tokio::test(start_paused = true)]
async fn r8_waits_may_be_dropped_at_any_point() {
    for times in 0..14 {
        let (engine, runs) = busy();
        let runtime = engine.start().unwrap();
        let wait = engine.wait(runs[4]).unwrap();
        let room = engine.wait_for_room(1).unwrap();
        let submit = engine.submit_when_room(NewRun::of("f"));
        let both = async { tokio::join!(wait, room, submit) };
        polled(both, times).await;
        runtime.idle().await;
        runtime.drain().await;
        let status = engine.snapshot();
        assert_eq!(
            (status.processing_tasks, status.queued_tasks),
            (0, 0),
            "{times} polls"
        );
        let submitted = status.totals.accepted - runs.len() as u64;
        assert_eq!(
            submitted,
            u64::from(times > 0),
            "the first poll submits, for there is room"
        );
        assert_eq!(status.totals.completed, status.totals.accepted);
    }
}
