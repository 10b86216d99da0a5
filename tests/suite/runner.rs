//! Handlers on plain threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use tenfold::engine::{Lease, StopReason};
use tenfold::model::{Place, StateType};
use tenfold::{Empty, Engine, Error, NewPool, NewRun, Retry, Run, RunId, Scope};

use crate::support::says;

const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(2);

fn ended(engine: &Engine, run: RunId) -> Run {
    let mut wait = engine.wait(run).unwrap();
    wait.for_at_most(LONG).unwrap().expect("it takes no time")
}

fn name(run: &Run) -> &str {
    run.state_name.as_deref().unwrap()
}

/// A gate that a handler waits at, whatever it is told: one that never yields.
struct Gate {
    open: Sender<()>,
    reached: Receiver<()>,
}

fn gate() -> (Gate, impl Fn() + Send + Sync + 'static) {
    let ((open, opened), (reach, reached)) = (channel::<()>(), channel());
    let opened = Mutex::new(opened);
    let wait = move || {
        reach.send(()).unwrap();
        let _ = opened.lock().unwrap().recv();
    };
    (Gate { open, reached }, wait)
}

#[test]
fn r1_r2_l1_each_run_is_executed_once_and_no_limit_is_exceeded() {
    let engine = Engine::builder().limit(3).build().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, greatest) = (now.clone(), most.clone());
    let runner = engine
        .runner()
        .handler("work", move |job| {
            greatest.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
            job.parameter::<usize>("n")
        })
        .unwrap()
        .threads(5)
        .start()
        .unwrap();
    let submit = |n: usize| engine.submit(NewRun::of("work").parameter("n", n)).unwrap().id;
    let runs: Vec<RunId> = (0..300).map(submit).collect();
    for (n, run) in runs.into_iter().enumerate() {
        let run = ended(&engine, run);
        assert_eq!((run.result, run.run_count), (Some(n.into()), 1));
    }
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "L1: {most:?}");
    let report = runner.drain();
    assert_eq!(
        (report.cancelled.len(), report.executing.len(), report.waiting),
        (0, 0, 0)
    );
    assert_eq!(engine.snapshot().processing_tasks, 0);
}

#[test]
fn r5_r6_every_end_of_a_handler_is_an_end_of_its_run() {
    let engine = Engine::new();
    let runner = engine
        .runner()
        .handler("f", |job| {
            let what: String = job.parameter("what")?;
            match what.as_str() {
                "panic" => panic!("as asked"),
                "fail" if job.attempt() == 1 => Err(tenfold::RunError::new("once")),
                "wait" => Ok(format!("{:?}", job.stopped_within(LONG).expect("told"))),
                _ => Ok(job.name().to_owned()),
            }
        })
        .unwrap()
        .threads(1)
        .start()
        .unwrap();
    engine.flow("nobody").unwrap();
    let new = |what: &str| NewRun::of("f").parameter("what", what).name("it");
    let retried = engine
        .submit(new("fail").retry(Retry::fixed(1, MOMENT)))
        .unwrap()
        .id;
    let panicked = engine.submit(new("panic")).unwrap().id;
    let nobody = engine.submit("nobody").unwrap().id;
    let late = engine.submit(new("wait").timeout(MOMENT)).unwrap().id;
    let wrong = engine.submit(NewRun::of("f").parameter("what", 7)).unwrap().id;
    let now = engine.now().unwrap();
    let later = engine
        .submit(new("").not_before(now + TimeDelta::milliseconds(3)))
        .unwrap()
        .id;
    assert_eq!(ended(&engine, retried).result, Some("it".into()));
    let panicked = ended(&engine, panicked);
    assert_eq!(name(&panicked), "Crashed");
    says(&panicked.state.unwrap().message.unwrap(), &["as asked"]);
    let nobody = ended(&engine, nobody);
    assert_eq!(
        (name(&nobody), nobody.state_type),
        ("NoHandler", Some(StateType::Crashed))
    );
    assert_eq!(name(&ended(&engine, late)), "TimedOut");
    let wrong = ended(&engine, wrong);
    assert_eq!(name(&wrong), "Failed");
    says(&wrong.state.unwrap().message.unwrap(), &["what", "7"]);
    assert_eq!(name(&ended(&engine, later)), "Completed");
    let cancelled = engine.submit(new("wait")).unwrap().id;
    while engine.run(cancelled).unwrap().place != Place::Claimed {
        std::thread::yield_now();
    }
    engine.cancel(cancelled).unwrap();
    let cancelled = ended(&engine, cancelled);
    assert_eq!(name(&cancelled), "Cancelled");
    assert_eq!(
        cancelled.result,
        Some("Cancelled".into()),
        "what it returned is kept"
    );
    runner.drain();
}

#[test]
fn r5_stop_calls_off_what_listens_and_lists_what_does_not() {
    let engine = Engine::new();
    let (gate, wait) = gate();
    let runner = engine
        .runner()
        .handler("listens", |job| {
            assert_eq!(job.stopped_within(LONG), Some(StopReason::Shutdown));
            Err::<(), _>(tenfold::RunError::new("told"))
        })
        .unwrap()
        .handler("deaf", move |_| {
            wait();
            Ok(1)
        })
        .unwrap()
        .threads(2)
        .grace(Duration::from_millis(200))
        .start()
        .unwrap();
    let deaf = engine.submit("deaf").unwrap().id;
    gate.reached.recv().unwrap();
    let listens = engine.submit("listens").unwrap().id;
    while engine.run(listens).unwrap().place != Place::Claimed {
        std::thread::yield_now();
    }
    let waiting = engine.submit("deaf").unwrap().id;
    let report = runner.stop(Duration::ZERO);
    assert_eq!((report.cancelled, report.executing), (vec![listens], vec![deaf]));
    assert_eq!(report.waiting, 1);
    assert_eq!(name(&engine.run(listens).unwrap()), "Cancelled");
    // It keeps its slot as long as it really executes, and what it then says counts.
    assert_eq!(engine.run(deaf).unwrap().place, Place::Claimed);
    gate.open.send(()).unwrap();
    assert_eq!(ended(&engine, deaf).result, Some(1.into()));
    assert_eq!(
        engine.run(waiting).unwrap().place,
        Place::Ready,
        "nothing is lost"
    );
}

#[test]
fn r5_a_handler_that_shows_no_life_loses_its_run_under_a_lease() {
    let engine = Engine::new();
    let (gate, wait) = gate();
    let (say, said) = channel();
    let say = Mutex::new(say);
    let runner = engine
        .runner()
        .handler("f", move |job| {
            // On a busy machine the lease may have lapsed before this thread had its turn.
            assert!(matches!(
                job.heartbeat(),
                Ok(None) | Err(Error::StaleClaim { .. })
            ));
            wait();
            say.lock().unwrap().send(job.heartbeat().unwrap_err()).unwrap();
            Ok(())
        })
        .unwrap()
        .threads(1)
        .lease(Lease::of(MOMENT))
        .start()
        .unwrap();
    let run = engine.submit("f").unwrap().id;
    let lost = ended(&engine, run);
    assert_eq!(name(&lost), "Crashed");
    says(&lost.state.unwrap().message.unwrap(), &["lease"]);
    gate.open.send(()).unwrap();
    assert!(matches!(said.recv().unwrap(), Error::StaleClaim { .. }));
    runner.drain();
    assert_eq!(
        name(&engine.run(run).unwrap()),
        "Crashed",
        "R2: the late report changes nothing"
    );
}

#[test]
fn c1_runners_serve_their_own_pools_and_end_when_they_are_dropped() {
    let engine = Engine::new();
    engine.create_pool(NewPool::named("a")).unwrap();
    engine.create_pool(NewPool::named("b")).unwrap();
    let start = |pool: &'static str| {
        let runner = engine.runner().scope(Scope::pool(pool)).threads(1);
        runner.handler("f", move |_| Ok(pool)).unwrap().start().unwrap()
    };
    let runners = [start("a"), start("b")];
    for pool in ["b", "a", "b"] {
        let run = engine
            .submit(NewRun::of("f").work_queue(pool, "default"))
            .unwrap()
            .id;
        assert_eq!(ended(&engine, run).result, Some(pool.into()));
    }
    drop(runners);
    engine.submit(NewRun::of("f").work_queue("a", "default")).unwrap();
    // Dropped runners take nothing more; one that was about to may have.
    let left = engine.claim(&Scope::pool("b")).unwrap();
    assert_eq!(left.unwrap_err(), Empty::Nothing);
}

#[test]
fn e2_settings_of_a_runner_out_of_their_bounds_are_refused() {
    let engine = Engine::new();
    for threads in [0, 10_001, usize::MAX] {
        let error = engine.runner().threads(threads).start().unwrap_err();
        says(&error, &["threads", "1 to 10,000"]);
    }
    let wrong = engine.runner().lease(Lease::of(Duration::ZERO)).start();
    says(&wrong.unwrap_err(), &["lease"]);
    let unknown = engine.runner().scope(Scope::pool("no")).start();
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    assert!(engine.runner().handler("a/b", |_| Ok(())).is_err());
}
