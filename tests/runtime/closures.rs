//! Closures as runs (R8), and leases of the runtime's own handlers.

use std::time::Duration;

use tenfold::engine::Lease;
use tenfold::model::StateType;
use tenfold::{NewRun, Retry};

use crate::support::{SECOND, engine};

#[tokio::test(start_paused = true)]
async fn r8_a_future_and_a_closure_are_runs_like_any_other() {
    let engine = engine();
    engine.flow("f").unwrap();
    let text = String::from("kept");
    let new = NewRun::of("f").parameter("n", 1).retry(Retry::fixed(3, SECOND));
    let future = engine
        .submit_future(new, |context| async move {
            tokio::time::sleep(SECOND).await;
            Ok(format!("{text} {}", context.parameter::<i64>("n")?))
        })
        .unwrap();
    let panics = engine
        .submit_future("f", |_| async { panic!("as asked") as Result<(), _> })
        .unwrap();
    let runtime = engine.start().unwrap();
    assert_eq!(
        engine.wait(future.id).unwrap().await.result,
        Some("kept 1".into())
    );
    let panicked = engine.wait(panics.id).unwrap().await;
    assert_eq!(panicked.state_type, Some(StateType::Crashed));
    runtime.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_blocking_closure_keeps_its_slots_until_it_returns() {
    let engine = tenfold::Engine::builder().limit(1).build().unwrap();
    engine.flow("f").unwrap();
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let blocking = engine
        .submit_closure("f", move |job| {
            let _ = opened.recv();
            Ok(format!("{:?}", job.stop_reason().expect("it was told")))
        })
        .unwrap()
        .id;
    let runtime = engine.runtime().grace(Duration::ZERO).start().unwrap();
    while engine.snapshot().processing_tasks == 0 {
        tokio::task::yield_now().await;
    }
    engine.cancel(blocking).unwrap();
    let next = engine.submit_closure("f", |_| Ok(2)).unwrap().id;
    // Its thread cannot be stopped: the slot stays taken.
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert_eq!(engine.snapshot().queued_tasks, 1);
    }
    open.send(()).unwrap();
    let ended = engine.wait(blocking).unwrap().await;
    assert_eq!(ended.state_type, Some(StateType::Cancelled));
    assert_eq!(ended.result, Some("Cancelled".into()));
    assert_eq!(engine.wait(next).unwrap().await.result, Some(2.into()));
    runtime.drain().await;
}

#[tokio::test(start_paused = true)]
async fn r5_a_handler_keeps_its_lease_by_heartbeats() {
    let engine = engine();
    let beating = |context: tenfold::Context| async move {
        for _ in 0..context.parameter::<u32>("beats")? {
            tokio::time::sleep(SECOND).await;
            context.heartbeat()?;
        }
        tokio::time::sleep(3 * SECOND).await;
        Ok(())
    };
    engine.handler("f", beating).unwrap();
    let runtime = engine.runtime().lease(Lease::of(2 * SECOND)).start().unwrap();
    let run = engine.submit(NewRun::of("f").parameter("beats", 5)).unwrap().id;
    let ended = engine.wait(run).unwrap().await;
    assert_eq!(ended.state_type, Some(StateType::Crashed));
    assert_eq!(
        (ended.end_time.unwrap() - ended.start_time.unwrap()).num_seconds(),
        7,
        "five beats, and two seconds without one"
    );
    runtime.drain().await;
    assert!(engine.runtime().lease(Lease::of(Duration::ZERO)).start().is_err());
}
