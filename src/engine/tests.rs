//! First light: one of each, end to end, on a manual clock.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::model::{Place, Retry};
use crate::schedule::Schedule;

fn engine() -> (Engine, ManualClock) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock.clone()).seed(1).build().unwrap();
    (engine, clock)
}

fn take(engine: &Engine) -> Claim {
    engine
        .claim(&Scope::all())
        .unwrap()
        .expect("something is there to claim")
}

#[test]
fn a_run_goes_from_submission_to_completion() {
    let (engine, clock) = engine();
    engine.flow("work").unwrap();
    let run = engine.submit("work").unwrap().id;
    assert_eq!(engine.run(run).unwrap().place, Place::Ready);
    let claim = take(&engine);
    assert_eq!(claim.run(), run);
    engine.begin(&claim).unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(
        engine.complete(&claim, Outcome::Completed(7.into())).unwrap(),
        Ended::Finished(StateType::Completed)
    );
    let run = engine.run(run).unwrap();
    assert_eq!(run.result, Some(7.into()));
    assert_eq!(run.total_run_time, Duration::from_secs(2));
    assert_eq!(run.place, Place::Finished);
    assert!(matches!(
        engine.complete(&claim, Outcome::Cancelled),
        Err(Error::StaleClaim { .. })
    ));
    engine.check_invariants();
}

#[test]
fn l1_a_deployment_never_runs_more_than_its_limit() {
    let (engine, _) = engine();
    let one = NonZeroU32::new(1).unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").concurrency_limit(one))
        .unwrap();
    for _ in 0..3 {
        engine.submit("f/d").unwrap();
    }
    let claim = take(&engine);
    assert_eq!(engine.snapshot().blocked, 2);
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Blocked);
    engine.complete(&claim, Outcome::Completed(().into())).unwrap();
    assert_eq!(engine.snapshot().blocked, 0, "either of the two may be claimed");
    take(&engine);
    assert_eq!(engine.snapshot().blocked, 1);
    engine.check_invariants();
}

#[test]
fn r5_a_failed_attempt_is_tried_again_after_its_delay() {
    let (engine, clock) = engine();
    engine
        .deploy(NewDeployment::new("f", "d").retry(Retry::fixed(1, Duration::from_secs(10))))
        .unwrap();
    let run = engine.submit("f/d").unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    assert_eq!(
        engine.complete(&claim, Outcome::failed("no luck")).unwrap(),
        Ended::Retrying
    );
    assert!(matches!(
        engine.claim(&Scope::all()).unwrap(),
        Err(Empty::NotDue(_))
    ));
    assert_eq!(engine.advance().unwrap(), Some(Duration::from_secs(10)));
    clock.advance(Duration::from_secs(10));
    let claim = take(&engine);
    assert_eq!(claim.attempt(), 2);
    engine.begin(&claim).unwrap();
    let ended = engine.complete(&claim, Outcome::failed("again")).unwrap();
    assert_eq!(ended, Ended::Finished(StateType::Failed));
    assert_eq!(engine.run(run).unwrap().run_count, 2);
    engine.check_invariants();
}

#[test]
fn r5_an_attempt_over_its_timeout_ends_and_its_claim_is_stale() {
    let (engine, clock) = engine();
    engine
        .deploy(NewDeployment::new("f", "d").timeout(Duration::from_secs(5)))
        .unwrap();
    let run = engine.submit("f/d").unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    clock.advance(Duration::from_secs(5));
    engine.advance().unwrap();
    let after = engine.run(run).unwrap();
    assert_eq!(after.state_name.unwrap(), "TimedOut");
    assert!(matches!(
        engine.complete(&claim, Outcome::Cancelled),
        Err(Error::StaleClaim { .. })
    ));
    assert_eq!(engine.snapshot().processing_tasks, 0);
    engine.check_invariants();
}

#[test]
fn s4_schedules_make_runs_ahead_and_a_long_sleep_runs_only_the_latest() {
    let (engine, clock) = engine();
    let schedule = Schedule::cron("* * * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(schedule))
        .unwrap();
    engine.advance().unwrap();
    let status = engine.snapshot();
    assert_eq!(
        (status.scheduled, status.queued_tasks),
        (60, 1),
        "an hour ahead; the first is due at once"
    );
    clock.advance(Duration::from_secs(3600));
    engine.advance().unwrap();
    engine.check_invariants();
    let status = engine.snapshot();
    // The first, the latest of those that were missed, and the one that is due now.
    assert_eq!((status.queued_tasks, status.totals.missed), (3, 58));
    assert_eq!(status.scheduled, 60);
}

#[test]
fn e4_results_messages_and_flows_are_bounded() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock).flows(1).build().unwrap();
    engine.flow("f").unwrap();
    engine.flow("f").unwrap();
    assert!(matches!(engine.flow("g"), Err(Error::Full { what: "flows", .. })));
    assert!(matches!(
        engine.deploy(NewDeployment::new("g", "d")),
        Err(Error::Full { what: "flows", .. })
    ));
    let run = engine.submit("f").unwrap().id;
    let claim = take(&engine);
    let deep = (0..200).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
    for result in [deep, "x".repeat(600_000).into()] {
        assert!(matches!(
            engine.complete(&claim, Outcome::Completed(result)),
            Err(Error::Invalid(_))
        ));
        assert_eq!(
            engine.run(run).unwrap().place,
            Place::Claimed,
            "a refused report changes nothing"
        );
    }
    engine
        .complete(&claim, Outcome::failed("é".repeat(50_000)))
        .unwrap();
    let message = engine.run(run).unwrap().state.unwrap().message.unwrap();
    assert!(
        message.len() <= 10_003 && message.ends_with('…'),
        "{}",
        message.len()
    );
}

#[test]
fn l7_a_deployment_made_after_one_was_deleted_has_a_limit_of_its_own() {
    // The number of the deleted limit is used again; what stood idle under it must not be.
    let (engine, _) = engine();
    let new = || NewDeployment::new("f", "d").concurrency_limit(NonZeroU32::MIN);
    let first = engine.deploy(new()).unwrap().id;
    engine.submit("f/d").unwrap();
    engine.delete_deployment(first).unwrap();
    engine.check_invariants();
    engine.deploy(new()).unwrap();
    let runs: Vec<RunId> = (0..3).map(|_| engine.submit("f/d").unwrap().id).collect();
    engine.check_invariants();
    take(&engine);
    engine.check_invariants();
    let places = runs.iter().map(|&run| engine.run(run).unwrap().place);
    assert_eq!(
        places.collect::<Vec<_>>(),
        [Place::Claimed, Place::Blocked, Place::Blocked]
    );
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Blocked);
}

#[test]
fn c3_a_full_engine_pool_or_queue_closes_its_scope_and_leaves_its_runs_ready() {
    let (engine, _) = engine();
    engine.flow("f").unwrap();
    let runs: Vec<RunId> = (0..2).map(|_| engine.submit("f").unwrap().id).collect();
    let full = |engine: &Engine| {
        assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Full);
        assert_eq!(engine.snapshot().blocked, 0);
        assert_eq!(engine.run(runs[0]).unwrap().place, Place::Ready);
    };
    engine.set_limit(Some(0)).unwrap();
    full(&engine);
    engine.set_limit(None).unwrap();
    engine.set_pool_limit("default", Some(0)).unwrap();
    full(&engine);
    engine.set_pool_limit("default", None).unwrap();
    engine.set_queue_limit("default", "default", Some(0)).unwrap();
    full(&engine);
    engine.set_queue_limit("default", "default", Some(1)).unwrap();
    assert_eq!(take(&engine).run(), runs[0]);
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Full);
    engine.check_invariants();
}

#[test]
fn t3_a_report_takes_no_lock_and_owns_nothing() {
    fn owns_nothing<T: Copy>(of: T) -> T {
        of
    }
    let (engine, _) = engine();
    engine.flow("f").unwrap();
    engine.submit("f").unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    // Whoever takes the engine's lock now waits until this test is over.
    let core = engine.shared.core.lock();
    let reader = engine.clone();
    let thread = std::thread::spawn(move || sender.send(owns_nothing(reader.snapshot())).unwrap());
    let report = told.recv_timeout(Duration::from_secs(60));
    drop(core);
    thread.join().unwrap();
    assert_eq!(
        report.expect("T3: the report waited for the lock").queued_tasks,
        1
    );
}

#[test]
fn runs_of_a_flow_alone_know_its_queue_and_the_flow_as_it_was_made_last() {
    let (engine, _) = engine();
    let labelled = |team: &str| {
        let labels = [("team".to_owned(), team.into())].into_iter().collect();
        crate::model::NewFlow::named("work").labels(labels)
    };
    let run_of = |new: NewRun| engine.run(engine.submit(new).unwrap().id).unwrap();
    engine.create_flow(labelled("red")).unwrap();
    let runs: Vec<Run> = (0..3).map(|_| run_of(NewRun::of("work"))).collect();
    let queue = runs[0].work_queue_id.expect("every run has a queue");
    for run in &runs {
        assert_eq!(
            (run.work_queue_id, &run.labels["team"]),
            (Some(queue), &"red".into())
        );
    }
    let keyed = run_of(NewRun::of("work").idempotency_key("one"));
    assert_eq!(
        (keyed.work_queue_id, &*keyed.idempotency_key.unwrap()),
        (Some(queue), "one")
    );

    engine.create_pool(NewPool::named("other")).unwrap();
    let elsewhere = run_of(NewRun::of("work").work_queue("other", "default"));
    assert_eq!(run_of(NewRun::of("work")).work_queue_id, Some(queue));
    assert_ne!(elsewhere.work_queue_id, Some(queue));

    engine.delete_flow("work").unwrap();
    engine.create_flow(labelled("blue")).unwrap();
    assert_eq!(run_of(NewRun::of("work")).labels["team"], "blue");
    engine.check_invariants();
}
