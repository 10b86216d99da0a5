//! Task runs that handlers record, and the limits of their tags.

use std::time::Duration;

use tenfold::engine::{Follow, Replica, SlotHolder, Stop};
use tenfold::filter::{Entity, Filter, Query};
use tenfold::limit::LimitSpec;
use tenfold::model::{NewTaskRun, Place, StateType};
use tenfold::{Claim, Claims, Engine, Error, NewRun, Outcome, Retry, Scope};

use crate::support::{engine, refused, says, still, take};

const SECOND: Duration = Duration::from_secs(1);

fn begun(engine: &Engine) -> Claim {
    engine
        .submit(NewRun::of("f").retry(Retry::fixed(1, SECOND)))
        .unwrap();
    let claim = take(engine);
    engine.begin(&claim).unwrap();
    claim
}

fn used(engine: &Engine, limit: &str) -> u64 {
    engine.limit(limit).unwrap().status.active_slots
}

#[test]
fn a_step_is_a_task_run_of_its_run() {
    let (engine, clock) = engine();
    let claim = begun(&engine);
    let new = NewTaskRun::named("fetch")
        .task_key("fetch-1")
        .tag("net")
        .tag("net");
    let step = engine.begin_task(&claim, new).unwrap().unwrap();
    let second = engine.begin_task(&claim, "parse").unwrap().unwrap();
    clock.advance(3 * SECOND);
    engine.end_task(&claim, step, StateType::Completed).unwrap();
    let read = engine.task_run(step).unwrap();
    assert_eq!(
        (read.flow_run_id, read.state_type, read.total_run_time),
        (Some(claim.run()), Some(StateType::Completed), 3 * SECOND)
    );
    assert_eq!((&*read.name, read.tags.len()), ("fetch", 2));
    assert_eq!(read.end_time, Some(tenfold::clock::Clock::now(&clock).wall));
    // Filters see them.
    let all = Query::new(Filter::everything(Entity::TaskRun));
    let all = engine.task_runs(&all).unwrap();
    assert_eq!(all.count, 2);
    // An end is final, and a step is its own attempt's.
    let late = refused(&engine, |e| e.end_task(&claim, step, StateType::Failed));
    assert!(matches!(late, Error::NotFound { kind: "task run", .. }), "{late}");
    let wrong = refused(&engine, |e| e.end_task(&claim, second, StateType::Running));
    says(&wrong, &["state_type", "COMPLETED"]);
    let other = begun(&engine);
    refused(&engine, |e| e.end_task(&other, second, StateType::Completed));
    engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    let left = engine.task_run(second).unwrap();
    assert_eq!(left.state_type, Some(StateType::Crashed), "it had not ended");
    let stale = refused(&engine, |e| e.begin_task(&claim, "more"));
    assert!(matches!(stale, Error::StaleClaim { .. }));
    // The records go with that of the run.
    engine.delete_run(claim.run()).unwrap();
    refused(&engine, |e| e.task_run(step));
}

#[test]
fn l3_l2_limits_of_tags_are_taken_all_or_none_and_given_back_once() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("tag:a", 1)).unwrap();
    engine.define_limit(LimitSpec::new("tag:b", 2)).unwrap();
    let one = begun(&engine);
    let two = begun(&engine);
    let both = NewTaskRun::named("both").tag("a").tag("b").tag("none");
    let step = engine.begin_task(&one, both.clone()).unwrap().unwrap();
    assert_eq!((used(&engine, "tag:a"), used(&engine, "tag:b")), (1, 1));
    assert_eq!(
        engine.limit_holders("tag:a").unwrap(),
        [(SlotHolder::TaskRun(step), 1)]
    );
    let stop = engine.begin_task(&two, both.clone()).unwrap().unwrap_err();
    let Stop::Limit {
        name,
        room: 0,
        slots: 1,
        ..
    } = &stop
    else {
        panic!("{stop}")
    };
    assert_eq!(name.as_deref(), Some("tag:a"));
    assert_eq!(
        (used(&engine, "tag:a"), used(&engine, "tag:b")),
        (1, 1),
        "all or none"
    );
    engine
        .begin_task(&two, NewTaskRun::named("b").tag("b"))
        .unwrap()
        .unwrap();
    // A waiting run takes what a step gives back.
    let waits = engine.submit(NewRun::of("f").slot("tag:a")).unwrap().id;
    assert_eq!(engine.run(waits).unwrap().place, Place::Blocked);
    // The end of the attempt is the end of its steps: a retry too.
    engine.complete(&one, Outcome::failed("once")).unwrap();
    assert_eq!((used(&engine, "tag:a"), used(&engine, "tag:b")), (0, 1));
    assert_eq!(take(&engine).run(), waits);
    engine.cancel(two.run()).unwrap();
    assert_eq!(used(&engine, "tag:b"), 1, "its handler has not ended");
    engine.complete(&two, Outcome::Cancelled).unwrap();
    assert_eq!(used(&engine, "tag:b"), 0);
    clock.advance(SECOND);
}

#[test]
fn l8_a_template_makes_the_limits_of_tags_and_forgets_them() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("tag:*", 1)).unwrap();
    let claim = begun(&engine);
    let new = || NewTaskRun::named("x").tag("x");
    let step = engine.begin_task(&claim, new()).unwrap().unwrap();
    assert_eq!(used(&engine, "tag:x"), 1);
    engine.begin_task(&claim, new()).unwrap().unwrap_err();
    engine.end_task(&claim, step, StateType::Failed).unwrap();
    refused(&engine, |e| e.limit("tag:x"));
}

#[test]
fn e5_steps_that_run_move_with_their_claims() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("tag:a", 1)).unwrap();
    let claim = begun(&engine);
    let step = engine
        .begin_task(&claim, NewTaskRun::named("a").tag("a"))
        .unwrap()
        .unwrap();
    let document = engine.export().unwrap();
    let import = |claims| {
        let builder = Engine::builder().clock(clock.clone());
        builder.import(document.clone(), claims).unwrap()
    };
    let kept = import(Claims::Keep);
    assert_eq!(kept.export().unwrap(), document);
    let claim = kept.claim_again(claim.run(), claim.token()).unwrap();
    assert_eq!(used(&kept, "tag:a"), 1);
    kept.end_task(&claim, step, StateType::Completed).unwrap();
    assert_eq!(used(&kept, "tag:a"), 0);
    let back = import(Claims::PutBack);
    assert_eq!(used(&back, "tag:a"), 0);
    assert_eq!(back.task_run(step).unwrap().state_type, Some(StateType::Crashed));
}

#[test]
fn e2_e4_steps_are_bounded_and_begin_with_their_attempt() {
    let engine = still().0.task_runs(2).finished_runs(1).build().unwrap();
    engine.flow("f").unwrap();
    engine.submit("f").unwrap();
    let claim = take(&engine);
    let early = refused(&engine, |e| e.begin_task(&claim, "early"));
    assert!(matches!(early, Error::Transition { .. }), "{early}");
    engine.begin(&claim).unwrap();
    let long = "x".repeat(1_001);
    refused(&engine, |e| e.begin_task(&claim, long.as_str()));
    let many = (0..10).fold(NewTaskRun::named("many"), |new, at| new.tag(format!("{at}")));
    for at in 0..10 {
        engine
            .define_limit(LimitSpec::new(format!("tag:{at}"), 1))
            .unwrap();
    }
    let error = refused(&engine, |e| e.begin_task(&claim, many.clone()));
    says(&error, &["tags", "eight"]);
    for name in ["one", "two"] {
        engine.begin_task(&claim, name).unwrap().unwrap();
    }
    let full = refused(&engine, |e| e.begin_task(&claim, "three"));
    assert!(matches!(
        full,
        Error::Full {
            what: "task runs",
            capacity: 2,
            ..
        }
    ));
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    // Retention of runs makes room.
    let claim = begun(&engine);
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    let claim = begun(&engine);
    engine.begin_task(&claim, "three").unwrap().unwrap();
    assert!(engine.claim(&Scope::all()).unwrap().is_err());
}

#[test]
fn a_handler_records_its_steps_by_guards() {
    let engine = Engine::new();
    engine.define_limit(LimitSpec::new("tag:db", 1)).unwrap();
    let runner = engine
        .runner()
        .handler("f", |job| {
            let done = job.begin_task(NewTaskRun::named("one").tag("db"))?;
            let done = done.map_err(|stop| tenfold::RunError::new(stop.to_string()))?;
            let first = done.id();
            done.end(StateType::Completed)?;
            let lost = job.begin_task("two")?.expect("nothing limits it");
            let second = lost.id();
            drop(lost);
            Ok([first, second].map(|id| id.to_string()))
        })
        .unwrap()
        .threads(1)
        .start()
        .unwrap();
    let run = engine.submit("f").unwrap().id;
    let run = engine
        .wait(run)
        .unwrap()
        .for_at_most(60 * SECOND)
        .unwrap()
        .unwrap();
    assert_eq!(run.state_type, Some(StateType::Completed), "{:?}", run.state);
    let ids: Vec<tenfold::ids::TaskRunId> = serde_json::from_value(run.result.unwrap()).unwrap();
    let states = ids
        .iter()
        .map(|id| engine.task_run(*id).unwrap().state_type.unwrap());
    assert!(states.eq([StateType::Completed, StateType::Crashed]));
    runner.drain();
}

/// E5 for what runs carry, record and keep: a copy that follows is the export.
#[test]
fn e5_a_copy_follows_payloads_steps_expiry_and_kept_retries() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("tag:*", 1)).unwrap();
    let mut events = engine.events(Follow::rows()).unwrap();
    let mut copy = Replica::new(engine.export().unwrap());
    let mut agree = |engine: &Engine| {
        let now = engine.export().unwrap();
        while let Some(event) = events.try_next().unwrap() {
            copy.apply(event).unwrap();
        }
        assert_eq!(copy.document(), now);
    };
    let until = tenfold::clock::Clock::now(&clock).wall + chrono::TimeDelta::seconds(9);
    let new = NewRun::of("f").retry(Retry::fixed(1, 5 * SECOND).keep_slots());
    let carrying = engine
        .submit_with(new.clone(), std::sync::Arc::new(1))
        .unwrap()
        .id;
    agree(&engine);
    let expiring = engine.submit(new.expires_at(until)).unwrap().id;
    engine.attach_payload(expiring, std::sync::Arc::new(2)).unwrap();
    agree(&engine);
    let claim = take(&engine);
    assert_eq!(claim.run(), carrying);
    engine.begin(&claim).unwrap();
    let step = engine
        .begin_task(&claim, NewTaskRun::named("a").tag("a"))
        .unwrap()
        .unwrap();
    agree(&engine);
    engine.end_task(&claim, step, StateType::Completed).unwrap();
    engine
        .begin_task(&claim, NewTaskRun::named("b").tag("b"))
        .unwrap()
        .unwrap();
    agree(&engine);
    engine.complete(&claim, Outcome::failed("once")).unwrap();
    agree(&engine);
    clock.advance(5 * SECOND);
    engine.advance().unwrap();
    agree(&engine);
    clock.advance(4 * SECOND);
    assert_eq!(
        engine.run(expiring).unwrap().state_name.as_deref(),
        Some("Expired")
    );
    agree(&engine);
    let claim = take(&engine);
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    agree(&engine);
    engine.delete_run(carrying).unwrap();
    agree(&engine);
}
