//! Counts, sizes, spans and instants at their ends: taken or refused, never a panic, and nothing half done.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::CatchUp;
use tenfold::model::Object;
use tenfold::{
    DeploymentPatch, Engine, Error, NewDeployment, NewPool, NewQueue, NewRun, Retry, RunId, Schedule, Scope,
};

use crate::support::{engine, level, refused, says, still, take};

#[test]
fn r7_a_full_engine_refuses_and_says_how_full_it_is() {
    let (builder, clock) = still();
    let engine = builder
        .waiting_runs(2)
        .scheduled_runs(1)
        .deployments(1)
        .queues(2)
        .build()
        .unwrap();
    engine.flow("f").unwrap();
    let later = clock.now().wall + TimeDelta::hours(1);
    engine.submit("f").unwrap();
    engine.submit("f").unwrap();
    engine.submit(NewRun::of("f").not_before(later)).unwrap();
    let error = refused(&engine, |e| e.submit("f"));
    assert!(
        matches!(
            error,
            Error::Full {
                what: "waiting runs",
                waiting: 2,
                capacity: 2,
                asked: 1
            }
        ),
        "{error:?}"
    );
    says(
        &error,
        &["2 of at most 2 waiting runs", "1 more do not fit", "retry when"],
    );
    let error = refused(&engine, |e| e.submit(NewRun::of("f").not_before(later)));
    says(&error, &["1 of at most 1 scheduled runs"]);
    let claim = take(&engine);
    assert!(engine.submit("f").is_ok(), "what is handed out does not count");
    engine.give_back(&claim).unwrap();
    assert_eq!(engine.snapshot().queued_tasks, 3, "an accepted run always enters");
    refused(&engine, |e| e.submit("f"));
    engine.deploy(NewDeployment::new("g", "d")).unwrap();
    says(
        &refused(&engine, |e| e.deploy(NewDeployment::new("g", "e"))),
        &["1 of at most 1 deployments"],
    );
    engine.create_pool(NewPool::named("p")).unwrap();
    says(
        &refused(&engine, |e| e.create_pool(NewPool::named("q"))),
        &["2 of at most 2 work queues"],
    );
    says(
        &refused(&engine, |e| e.create_queue(NewQueue::named("p", "q"))),
        &["2 of at most 2 work queues"],
    );
}

#[test]
fn q4_a_batch_is_all_or_nothing_in_capacity_and_answers_each_run_otherwise() {
    let (builder, clock) = still();
    let engine = builder.waiting_runs(10).scheduled_runs(3).build().unwrap();
    engine.flow("f").unwrap();
    let batch = |n: usize| (0..n).map(|_| NewRun::of("f")).collect::<Vec<_>>();
    let error = refused(&engine, |e| e.submit_batch(Vec::new()));
    assert_eq!(error, Error::BatchSize { size: 0, most: 500 });
    says(&error, &["a batch of 0 runs", "1 to 500"]);
    let error = refused(&engine, |e| e.submit_batch(batch(501)));
    assert_eq!(error, Error::BatchSize { size: 501, most: 500 });
    let error = refused(&engine, |e| e.submit_batch(batch(11)));
    assert!(
        matches!(
            error,
            Error::Full {
                waiting: 0,
                capacity: 10,
                asked: 11,
                ..
            }
        ),
        "{error:?}"
    );
    let later = clock.now().wall + TimeDelta::hours(1);
    let mut mixed = batch(2);
    mixed.extend((0..4).map(|_| NewRun::of("f").not_before(later)));
    let error = refused(&engine, |e| e.submit_batch(mixed));
    assert!(
        matches!(
            error,
            Error::Full {
                what: "scheduled runs",
                asked: 4,
                ..
            }
        ),
        "{error:?}"
    );
    let mut some_bad = batch(3);
    some_bad[1] = NewRun::of("nobody");
    some_bad.push(NewRun::of("f").timeout(Duration::ZERO));
    let answers = engine.submit_batch(some_bad).unwrap();
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, true, false], "in the order of input");
    assert!(matches!(answers[1], Err(Error::NotFound { .. })));
    assert!(matches!(answers[3], Err(Error::Invalid(_))));
    assert!(engine.submit_batch(batch(8)).is_ok());
    assert_eq!(engine.snapshot().queued_tasks, 10);
    let (builder, _) = still();
    let engine = builder.build().unwrap();
    engine.flow("f").unwrap();
    let answers = engine.submit_batch(batch(500)).unwrap();
    assert!(answers.iter().all(Result::is_ok) && answers.len() == 500);
    let ids: Vec<RunId> = answers.into_iter().map(|answer| answer.unwrap().id).collect();
    let claimed: Vec<RunId> = (0..500).map(|_| take(&engine).run()).collect();
    assert_eq!(claimed, ids, "Q2: first in, first out inside the batch");
}

#[test]
fn e2_oversized_parameters_tags_and_names_are_refused() {
    let (engine, _) = engine();
    let made = engine.deploy(NewDeployment::new("g", "d")).unwrap().id;
    let huge: Value = "x".repeat(600_000).into();
    let object = || Object::from_iter([("k".to_owned(), huge.clone())]);
    let is = ["600", "bytes", "within 524,288 bytes"];
    says(
        &refused(&engine, |e| {
            e.submit(NewRun::of("f").parameter("k", huge.clone()))
        }),
        &is,
    );
    says(
        &refused(&engine, |e| e.submit(NewRun::of("f").labels(object()))),
        &is,
    );
    says(
        &refused(&engine, |e| {
            e.deploy(NewDeployment::new("g", "e").parameters(object()))
        }),
        &is,
    );
    let patch = || DeploymentPatch::new().parameters(object()).priority(level(7));
    says(&refused(&engine, |e| e.update_deployment(made, patch())), &is);
    let long = "y".repeat(1_001);
    says(
        &refused(&engine, |e| e.submit(NewRun::of("f").tag(long.as_str()))),
        &["tags", "1,000 bytes"],
    );
    says(
        &refused(&engine, |e| e.submit(NewRun::of("f").name(long.as_str()))),
        &["name", "1,000 bytes"],
    );
    let key = |key: &str| NewRun::of("f").idempotency_key(key);
    says(
        &refused(&engine, |e| e.submit(key(&long))),
        &["idempotency_key", "1 to 1,000 bytes"],
    );
    says(
        &refused(&engine, |e| e.submit(key(""))),
        &["idempotency_key", "1 to 1,000 bytes"],
    );
    for bad in [json!(null), json!([1]), json!({})] {
        let labels = Object::from_iter([("l".to_owned(), bad)]);
        says(
            &refused(&engine, |e| e.submit(NewRun::of("f").labels(labels))),
            &["labels", "\"l\""],
        );
    }
    assert!(
        engine
            .submit(NewRun::of("f").name("z".repeat(1_000)).tag("t".repeat(1_000)))
            .is_ok()
    );
}

#[test]
fn e2_a_flood_of_tags_is_refused_without_comparing_each_with_each() {
    // Distinct tags were told apart one by one before they were counted: minutes under the engine's lock.
    let (engine, _) = engine();
    let flood = (0..300_000).fold(NewRun::of("f"), |run, tag| run.tag(tag.to_string()));
    says(
        &refused(&engine, |e| e.submit(flood)),
        &["tags", "at most 100 tags"],
    );
    let same = (0..300_000).fold(NewRun::of("f"), |run, _| run.tag("same"));
    says(&refused(&engine, |e| e.submit(same)), &["tags"]);
    let most = (0..100).fold(NewRun::of("f"), |run, tag| run.tag(tag.to_string()));
    assert!(engine.submit(most).is_ok());
}

#[test]
fn e2_durations_at_their_ends_are_refused_or_harmless() {
    let (engine, clock) = engine();
    let made = engine.deploy(NewDeployment::new("g", "d")).unwrap().id;
    for timeout in [Duration::ZERO, Duration::from_nanos(999), Duration::MAX] {
        let is = ["timeout", "one microsecond to 100 years"];
        says(
            &refused(&engine, |e| e.submit(NewRun::of("f").timeout(timeout))),
            &is,
        );
        says(
            &refused(&engine, |e| {
                e.deploy(NewDeployment::new("g", "e").timeout(timeout))
            }),
            &is,
        );
        let patch = || DeploymentPatch::new().timeout(Some(timeout)).priority(level(2));
        says(&refused(&engine, |e| e.update_deployment(made, patch())), &is);
    }
    for (retry, is) in [
        (Retry::fixed(1, Duration::MAX), ["retry_delay", "100 years"]),
        (Retry::fixed(u32::MAX, Duration::ZERO), ["retries", "10,000"]),
        (Retry::fixed(10_001, Duration::ZERO), ["10001", "10,000"]),
    ] {
        says(
            &refused(&engine, |e| e.submit(NewRun::of("f").retry(retry.clone()))),
            &is,
        );
        says(
            &refused(&engine, |e| {
                e.deploy(NewDeployment::new("g", "e").retry(retry.clone()))
            }),
            &is,
        );
        says(
            &refused(&engine, |e| {
                e.update_deployment(made, DeploymentPatch::new().retry(retry.clone()))
            }),
            &is,
        );
    }
    // A hundred years are fine, also when the clock then leaps over them.
    let century = Duration::from_secs(100 * 366 * 86_400);
    let retry = Retry::fixed(10_000, century);
    engine
        .submit(NewRun::of("f").retry(retry).timeout(century))
        .unwrap();
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    clock.advance(Duration::MAX);
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().processing_tasks, 0);
}

#[test]
fn e2_not_before_takes_any_instant() {
    let (engine, clock) = engine();
    let past = engine
        .submit(NewRun::of("f").not_before(DateTime::<Utc>::MIN_UTC))
        .unwrap()
        .id;
    let future = engine
        .submit(NewRun::of("f").not_before(DateTime::<Utc>::MAX_UTC))
        .unwrap()
        .id;
    let soon = engine
        .submit(NewRun::of("f").not_before(clock.now().wall + TimeDelta::nanoseconds(1)))
        .unwrap()
        .id;
    assert_eq!(take(&engine).run(), past);
    assert_eq!(take(&engine).run(), soon, "less than a microsecond is now");
    assert_eq!(
        engine
            .run(future)
            .unwrap()
            .expected_start_time
            .unwrap()
            .timestamp_micros(),
        DateTime::<Utc>::MAX_UTC.timestamp_micros()
    );
    assert!(engine.advance().unwrap().is_some());
    // What is accepted can be moved.
    let document = engine.export().unwrap();
    tenfold::Engine::builder()
        .clock(clock.clone())
        .import(document, tenfold::Claims::PutBack)
        .unwrap();
    clock.jump_to(DateTime::<Utc>::MAX_UTC);
    assert_eq!(take(&engine).run(), future);
    // Before engine time is now, however far.
    clock.jump_to(DateTime::<Utc>::MIN_UTC);
    let now = engine.now().unwrap();
    assert_eq!(
        now.timestamp_micros(),
        DateTime::<Utc>::MAX_UTC.timestamp_micros(),
        "engine time never goes back"
    );
    let run = engine.submit("f").unwrap().id;
    assert_eq!(engine.run(run).unwrap().created, now);
}

#[test]
fn e2_a_clock_that_jumps_back_fires_nothing_again() {
    let (engine, clock) = engine();
    let start = clock.now().wall;
    let hourly = Schedule::cron("0 * * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("g", "d").schedule(hourly))
        .unwrap();
    clock.jump_to(start + TimeDelta::hours(1));
    engine.advance().unwrap();
    let status = engine.snapshot();
    clock.jump_to(start - TimeDelta::days(400));
    engine.advance().unwrap();
    assert_eq!(engine.snapshot(), status);
    clock.jump_to(start + TimeDelta::hours(1));
    engine.advance().unwrap();
    assert_eq!(engine.snapshot(), status);
    clock.jump_to(start + TimeDelta::hours(2));
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().queued_tasks, status.queued_tasks + 1);
}

#[test]
fn s5_schedules_end_with_the_year_9999_and_the_engine_goes_on() {
    let clock = ManualClock::at("9999-12-31T23:58:30Z".parse().unwrap());
    let engine = Engine::builder().clock(clock.clone()).build().unwrap();
    let minutely = Schedule::cron("* * * * *", "UTC").unwrap();
    let kiritimati = Schedule::cron("* * * * *", "Pacific/Kiritimati").unwrap();
    let hours = Schedule::interval(
        TimeDelta::days(3_000_000),
        "0001-01-01T00:00:00Z".parse().unwrap(),
        "UTC",
    )
    .unwrap();
    engine
        .deploy(
            NewDeployment::new("g", "d")
                .schedule(minutely)
                .schedule(kiritimati)
                .schedule(hours),
        )
        .unwrap();
    assert!(engine.snapshot().scheduled >= 1);
    for jump in [
        "+10000-01-01T00:00:10Z",
        "+10001-06-01T00:00:00Z",
        "+100000-01-01T00:00:00Z",
    ] {
        clock.jump_to(jump.parse().unwrap());
        engine.advance().unwrap();
    }
    assert_eq!(
        engine.snapshot().scheduled,
        0,
        "an ended schedule is valid and yields nothing"
    );
    let minutely = Schedule::cron("* * * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("g", "e").schedule(minutely))
        .unwrap();
    assert!(engine.submit("g/e").is_ok());
    clock.jump_to(DateTime::<Utc>::MAX_UTC);
    engine.advance().unwrap();
}

#[test]
fn s5_a_schedule_before_the_first_year_waits_for_it() {
    let clock = ManualClock::at(DateTime::<Utc>::MIN_UTC);
    let engine = Engine::builder().clock(clock.clone()).build().unwrap();
    let daily = Schedule::cron("0 0 * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("g", "d").schedule(daily))
        .unwrap();
    clock.jump_to("2026-01-01T00:00:00Z".parse().unwrap());
    engine.advance().unwrap();
    clock.jump_to(DateTime::<Utc>::MAX_UTC);
    engine.advance().unwrap();
}

#[test]
fn e4_counts_at_their_limits_are_taken_or_refused() {
    let (engine, _) = engine();
    engine.set_limit(Some(u32::MAX)).unwrap();
    engine
        .create_pool(NewPool::named("p").concurrency_limit(u32::MAX))
        .unwrap();
    engine.set_pool_limit("p", Some(u32::MAX)).unwrap();
    engine
        .create_queue(NewQueue::named("p", "q").concurrency_limit(u32::MAX))
        .unwrap();
    engine
        .deploy(
            NewDeployment::new("g", "d")
                .concurrency_limit(NonZeroU32::MAX)
                .work_queue("p", "q"),
        )
        .unwrap();
    let run = engine.submit("g/d").unwrap().id;
    let claim = take(&engine);
    assert_eq!(claim.run(), run);
    engine.give_back(&claim).unwrap();
    engine.set_limit(Some(0)).unwrap();
    assert!(engine.claim(&Scope::all()).unwrap().is_err());
}

#[test]
fn e4_queue_numbers_end_where_they_cannot_be_moved_down_any_more() {
    let (engine, _) = engine();
    engine.create_pool(NewPool::named("p")).unwrap();
    let last = |name: &str| NewQueue::named("p", name).priority(NonZeroU32::MAX);
    engine.create_queue(last("one")).unwrap();
    let error = refused(&engine, |e| e.create_queue(last("two")));
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    says(&error, &["priority", "4294967295"]);
    engine
        .create_queue(NewQueue::named("p", "two").priority(NonZeroU32::MIN))
        .unwrap();
    engine.create_queue(NewQueue::named("p", "three")).unwrap();
}

#[test]
fn e4_settings_that_do_not_fit_are_refused() {
    let refuse = |builder: tenfold::EngineBuilder, is: &[&str]| {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{error:?}");
        says(&error, is);
    };
    refuse(Engine::builder().planned_runs(5, 4), &["planned_runs", "5 to 4"]);
    refuse(Engine::builder().planned_runs(0, 0), &["planned_runs"]);
    refuse(Engine::builder().planned_runs(0, usize::MAX), &["planned_runs"]);
    refuse(
        Engine::builder().planned_span(Duration::from_secs(2), Duration::from_secs(1)),
        &["planned_span"],
    );
    refuse(
        Engine::builder().planned_span(Duration::ZERO, Duration::MAX),
        &["planned_span", "100 years"],
    );
    refuse(
        Engine::builder().finished_age(Duration::MAX),
        &["finished_age", "100 years"],
    );
    refuse(Engine::builder().late_after(Duration::MAX), &["late_after"]);
    refuse(
        Engine::builder().catch_up(CatchUp::Latest(Duration::MAX)),
        &["catch_up", "100 years"],
    );
    refuse(
        Engine::builder().catch_up(CatchUp::Latest(Duration::ZERO)),
        &["catch_up", "above 0", "`CatchUp::Skip`"],
    );
    for wrong in [0, 5_001, usize::MAX] {
        refuse(
            Engine::builder().catch_up(CatchUp::All(wrong)),
            &["catch_up", &wrong.to_string(), "1 to 5,000", "`CatchUp::Skip`"],
        );
    }
    for (setting, builder) in [
        ("waiting_runs", Engine::builder().waiting_runs(usize::MAX)),
        ("scheduled_runs", Engine::builder().scheduled_runs(usize::MAX)),
        ("finished_runs", Engine::builder().finished_runs(usize::MAX)),
        ("deployments", Engine::builder().deployments(usize::MAX)),
        ("queues", Engine::builder().queues(usize::MAX)),
        ("queues", Engine::builder().queues(0)),
    ] {
        refuse(builder, &[setting]);
    }
    let tight = Engine::builder()
        .waiting_runs(0)
        .scheduled_runs(0)
        .finished_runs(0)
        .finished_age(Duration::ZERO)
        .deployments(0)
        .schedules(0)
        .catch_up(CatchUp::All(5_000))
        .build()
        .unwrap();
    tight.flow("f").unwrap();
    assert!(matches!(tight.submit("f"), Err(Error::Full { capacity: 0, .. })));
    assert!(matches!(
        tight.deploy(NewDeployment::new("f", "d")),
        Err(Error::Full { capacity: 0, .. })
    ));
}

#[test]
fn e2_parameters_nested_too_deep_are_refused_instead_of_recursed_into() {
    // They could be submitted, and exhausted the stack; no reader would have taken an export of them back.
    let nested = |depth: usize| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    let (engine, _) = engine();
    for depth in [100, 500, 2_000] {
        let error = refused(&engine, |e| {
            e.submit(NewRun::of("f").parameter("k", nested(depth)))
        });
        says(&error, &["parameters", "100 deep"]);
        let labels = Object::from_iter([("k".to_owned(), nested(depth))]);
        assert!(engine.submit(NewRun::of("f").labels(labels)).is_err());
        let parameters = Object::from_iter([("k".to_owned(), nested(depth))]);
        refused(&engine, |e| {
            e.deploy(NewDeployment::new("g", "d").parameters(parameters))
        });
    }
    engine.submit(NewRun::of("f").parameter("k", nested(99))).unwrap();
    let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let read: tenfold::engine::Document = serde_json::from_str(&text).unwrap();
    assert_eq!(read, engine.export().unwrap());
}
