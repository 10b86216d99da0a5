//! Bad input: each kind meets its own error, which names the value and the way out, and changes nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{CatchUp, Claim, Outcome};
use tenfold::model::{NewSchedule, Object, StateType};
use tenfold::schedule::ScheduleErrorKind;
use tenfold::{
    DeploymentId, DeploymentPatch, Engine, Error, NewDeployment, NewPool, NewQueue, NewRun, Priority, Retry,
    RunId, Schedule, Scope,
};

use crate::support::{engine, level, refused, says, still, take};

fn nowhere() -> RunId {
    "01970000-0000-7000-8000-000000000000".parse().unwrap()
}

#[test]
fn e2_a_priority_outside_one_to_ten_is_refused_by_every_way_in() {
    for wrong in [0, 11, -1, 256, i64::MAX, i64::MIN] {
        let way_out = "use 1 (least urgent) to 10 (most urgent)";
        let error = Priority::try_from(wrong).unwrap_err();
        says(&error, &[&wrong.to_string(), way_out]);
        let error = serde_json::from_value::<Priority>(json!(wrong)).unwrap_err();
        assert!(
            error.to_string().contains(&wrong.to_string()) && error.to_string().contains(way_out),
            "{error}"
        );
        let error = Error::from(Priority::try_from(wrong).unwrap_err());
        says(&error, &[&wrong.to_string()]);
    }
    assert!(Priority::new(0).is_err() && Priority::new(11).is_err());
    for wrong in [json!("5"), json!(5.5), json!(null), json!(u64::MAX), json!([5])] {
        assert!(
            serde_json::from_value::<Priority>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
    assert_eq!(serde_json::from_value::<Priority>(json!(7)).unwrap().level(), 7);
}

#[test]
fn e2_what_is_not_there_is_named_with_the_way_to_make_it() {
    let (engine, _) = engine();
    engine.deploy(NewDeployment::new("g", "d")).unwrap();
    for target in ["nobody", "nobody/d", "g/other", "g/D", "", "/", "g/", "f/d/x"] {
        let error = refused(&engine, |engine| engine.submit(target));
        assert!(matches!(error, Error::NotFound { .. }), "{target:?}: {error:?}");
    }
    says(
        &refused(&engine, |e| e.submit("nobody")),
        &["flow \"nobody\"", "register a handler"],
    );
    says(
        &refused(&engine, |e| e.submit("g/other")),
        &["deployment \"g/other\"", "`deploy`"],
    );
    let missing: DeploymentId = "b7e9d9a4-3a29-4d6f-9f9e-0f8c5f0f5a11".parse().unwrap();
    let text = missing.to_string();
    let is = [text.as_str(), "never made here"];
    says(&refused(&engine, |e| e.deployment(missing)), &is);
    says(&refused(&engine, |e| e.submit(missing)), &is);
    says(&refused(&engine, |e| e.pause_deployment(missing)), &is);
    says(&refused(&engine, |e| e.resume_deployment(missing)), &is);
    says(&refused(&engine, |e| e.delete_deployment(missing)), &is);
    says(
        &refused(&engine, |e| e.update_deployment(missing, DeploymentPatch::new())),
        &is,
    );
    for name in ["g/x", "d", "G/d", ""] {
        says(
            &refused(&engine, |e| e.deployment_by_name(name)),
            &[&format!("{name:?}"), "flow/deployment"],
        );
    }
    let run = nowhere();
    let text = run.to_string();
    let is = [text.as_str(), "never accepted here"];
    says(&refused(&engine, |e| e.run(run)), &is);
    says(&refused(&engine, |e| e.cancel(run)), &is);
    says(&refused(&engine, |e| e.set_priority(run, Priority::MAX)), &is);
    says(
        &refused(&engine, |e| e.pause_pool("gpu")),
        &["work pool \"gpu\"", "`create_pool`"],
    );
    says(
        &refused(&engine, |e| e.set_pool_limit("gpu", Some(1))),
        &["work pool \"gpu\""],
    );
    says(
        &refused(&engine, |e| e.create_queue(NewQueue::named("gpu", "q"))),
        &["work pool \"gpu\""],
    );
    engine.create_pool(NewPool::named("cpu")).unwrap();
    let is = ["work queue \"q\" of pool \"cpu\"", "`create_queue`"];
    says(&refused(&engine, |e| e.pause_queue("cpu", "q")), &is);
    says(&refused(&engine, |e| e.resume_queue("cpu", "q")), &is);
    says(&refused(&engine, |e| e.set_queue_limit("cpu", "q", None)), &is);
    says(
        &refused(&engine, |e| e.submit(NewRun::of("f").work_queue("cpu", "q"))),
        &is,
    );
    says(
        &refused(&engine, |e| {
            e.deploy(NewDeployment::new("x", "y").work_queue("cpu", "q"))
        }),
        &is,
    );
    says(&refused(&engine, |e| e.claim(&Scope::queue("cpu", "q"))), &is);
    says(
        &refused(&engine, |e| e.claim(&Scope::pool("cpu").and_pool("gpu"))),
        &["work pool \"gpu\""],
    );
    let patch = || {
        DeploymentPatch::new()
            .work_queue("gpu", "q")
            .priority(Priority::MAX)
    };
    let made = engine.deployment_by_name("g/d").unwrap().id;
    says(
        &refused(&engine, |e| e.update_deployment(made, patch())),
        &["work pool \"gpu\""],
    );
}

#[test]
fn e2_a_name_that_is_taken_is_refused() {
    let (engine, _) = engine();
    engine.deploy(NewDeployment::new("g", "d")).unwrap();
    engine.create_pool(NewPool::named("p")).unwrap();
    engine.create_queue(NewQueue::named("p", "q")).unwrap();
    let way_out = "choose another name";
    let error = refused(&engine, |e| {
        e.deploy(NewDeployment::new("g", "d").priority(level(3)))
    });
    assert!(matches!(error, Error::Duplicate { .. }));
    says(&error, &["deployment \"g/d\"", way_out]);
    says(
        &refused(&engine, |e| e.create_pool(NewPool::named("p"))),
        &["work pool \"p\"", way_out],
    );
    for queue in ["q", "default"] {
        let error = refused(&engine, |e| e.create_queue(NewQueue::named("p", queue)));
        says(&error, &[&format!("work queue {queue:?} in pool \"p\""), way_out]);
    }
}

#[test]
fn e2_names_with_banned_characters_are_refused_and_nothing_is_made_of_them() {
    let (engine, _) = engine();
    let long = "x".repeat(1_001);
    for wrong in ["a/b", "a%b", "a&b", "a>b", "a<b", "/", long.as_str()] {
        let shown: String = wrong.chars().take(20).collect();
        let shown = shown.as_str();
        for error in [
            refused(&engine, |e| e.flow(wrong)),
            refused(&engine, |e| e.deploy(NewDeployment::new(wrong, "d"))),
            refused(&engine, |e| e.deploy(NewDeployment::new("new", wrong))),
            refused(&engine, |e| e.create_pool(NewPool::named(wrong))),
            refused(&engine, |e| e.create_queue(NewQueue::named("default", wrong))),
        ] {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            says(&error, &[shown]);
        }
        assert!(engine.handler(wrong, |_| async { Ok(()) }).is_err());
    }
    for error in [
        refused(&engine, |e| e.flow("")),
        refused(&engine, |e| e.create_pool(NewPool::named(""))),
    ] {
        says(&error, &["at least one character"]);
    }
    // The reference allows a deployment without a name.
    engine.deploy(NewDeployment::new("g", "")).unwrap();
    assert!(engine.submit("g/").is_ok());
    // Any other text is a name, whatever it looks like.
    for name in [" ", "\u{0}", "\u{202e}x", "ä\u{308}", "\"", "'; drop table", "\n"] {
        engine.flow(name).unwrap();
        assert!(engine.submit(name).is_ok(), "{name:?}");
    }
}

#[test]
fn s5_a_schedule_that_cannot_be_read_or_never_fires_is_refused_when_made() {
    for wrong in [
        "",
        "* * * *",
        "60 * * * *",
        "* 25 * * *",
        "a b c d e",
        "* * 32 * *",
        "@reboot",
        "R * * * *",
    ] {
        let error = Schedule::cron(wrong, "UTC").unwrap_err();
        assert!(error.to_string().contains("for example"), "{error}");
    }
    let never = Schedule::cron("0 0 30 2 *", "UTC").unwrap_err();
    assert_eq!(never.kind(), ScheduleErrorKind::NeverFires);
    for zone in ["Mars/Olympus", "europe/berlin ", "UTC+25", "../etc/passwd"] {
        let error = Schedule::cron("* * * * *", zone).unwrap_err();
        assert_eq!(error.kind(), ScheduleErrorKind::Zone, "{zone}: {error}");
        says(&error, &[zone.trim()]);
    }
    let start: DateTime<Utc> = crate::support::START.parse().unwrap();
    for wrong in [
        TimeDelta::zero(),
        TimeDelta::seconds(-5),
        TimeDelta::MAX,
        TimeDelta::MIN,
        TimeDelta::nanoseconds(5),
    ] {
        assert!(Schedule::interval(wrong, start, "UTC").is_err(), "{wrong}");
    }
    for wrong in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        assert!(Schedule::interval(TimeDelta::hours(1), wrong, "UTC").is_err());
    }
}

#[test]
fn e2_schedules_of_one_deployment_have_bounds() {
    let (builder, _) = still();
    let engine = builder.schedules(2).build().unwrap();
    let daily = || NewSchedule::new(Schedule::cron("0 0 * * *", "UTC").unwrap());
    let three = (0..3).fold(NewDeployment::new("f", "d"), |new, _| new.schedule(daily()));
    let error = refused(&engine, |e| e.deploy(three));
    assert!(matches!(error, Error::Schedule { index: 2, .. }));
    says(&error, &["at most 2 schedules"]);
    let twins = NewDeployment::new("f", "d")
        .schedule(daily().slug("s"))
        .schedule(daily().slug("s"));
    says(
        &refused(&engine, |e| e.deploy(twins)),
        &["schedule 1", "\"s\"", "give each its own"],
    );
    let many = daily().max_scheduled_runs(NonZeroU32::MAX);
    says(
        &refused(&engine, |e| e.deploy(NewDeployment::new("f", "d").schedule(many))),
        &["4294967295", "1 to 50"],
    );
    let slug = daily().slug("a/b");
    says(
        &refused(&engine, |e| e.deploy(NewDeployment::new("f", "d").schedule(slug))),
        &["slug", "a/b"],
    );
    let big = daily().parameters(Object::from_iter([("k".to_owned(), "x".repeat(600_000).into())]));
    says(
        &refused(&engine, |e| e.deploy(NewDeployment::new("f", "d").schedule(big))),
        &["parameters", "524,288"],
    );
    assert!(
        engine
            .deploy(NewDeployment::new("f", "d").schedule(daily()).schedule(daily()))
            .is_ok()
    );
}

#[test]
fn r3_a_step_that_the_state_graph_does_not_have_is_refused() {
    let (engine, _) = engine();
    let transition = |error: Error, from: &str| {
        assert!(matches!(error, Error::Transition { .. }), "{error:?}");
        says(&error, &[from, "cannot become"]);
    };
    let run = engine.submit("f").unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    transition(refused(&engine, |e| e.begin(&claim)), "RUNNING");
    transition(refused(&engine, |e| e.give_back(&claim)), "RUNNING");
    assert_eq!(engine.cancel(run).unwrap(), StateType::Cancelling);
    transition(refused(&engine, |e| e.begin(&claim)), "CANCELLING");
    transition(refused(&engine, |e| e.give_back(&claim)), "CANCELLING");
    engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    assert_eq!(
        engine.run(run).unwrap().state_type,
        Some(StateType::Cancelled),
        "cancelling is one-way"
    );
    transition(refused(&engine, |e| e.cancel(run)), "CANCELLED");
    transition(refused(&engine, |e| e.set_priority(run, level(9))), "CANCELLED");
    let stale = |error: Error| {
        assert!(matches!(error, Error::StaleClaim { .. }), "{error:?}");
        says(&error, &["stale", "has ended", &run.to_string()]);
    };
    stale(refused(&engine, |e| e.begin(&claim)));
    stale(refused(&engine, |e| e.give_back(&claim)));
    stale(refused(&engine, |e| {
        e.complete(&claim, Outcome::Completed(2.into()))
    }));
    stale(refused(&engine, |e| e.claim_again(run, claim.token())));
    // One that waits is cancelled at once, and no claim of another engine is good here.
    let other = engine.submit("f").unwrap().id;
    let foreign: Claim = {
        let (engine, _) = crate::support::engine();
        engine.submit("f").unwrap();
        take(&engine)
    };
    assert!(matches!(
        refused(&engine, |e| e.complete(&foreign, Outcome::Cancelled)),
        Error::StaleClaim { .. }
    ));
    assert_eq!(engine.cancel(other).unwrap(), StateType::Cancelled);
    transition(refused(&engine, |e| e.cancel(other)), "CANCELLED");
}

#[test]
fn r2_a_claim_whose_run_was_handed_out_again_is_stale() {
    let (engine, _) = engine();
    let run = engine
        .submit(NewRun::of("f").retry(Retry::fixed(1, Duration::ZERO)))
        .unwrap()
        .id;
    let old = take(&engine);
    engine.complete(&old, Outcome::failed("no")).unwrap();
    let new = take(&engine);
    assert_eq!(new.run(), run);
    let error = refused(&engine, |e| e.complete(&old, Outcome::Completed(1.into())));
    says(&error, &["newer attempt"]);
    assert!(new.token() > old.token());
    engine.complete(&new, Outcome::Completed(2.into())).unwrap();
    assert_eq!(engine.run(run).unwrap().result, Some(2.into()));
}

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
fn r7_a_stopped_engine_takes_no_new_work_and_lets_the_rest_end() {
    let (engine, clock) = engine();
    let retry = Retry::fixed(5, Duration::from_secs(1));
    let run = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
    let waits = engine.submit("f").unwrap().id;
    let claim = take(&engine);
    engine.close().unwrap();
    engine.close().unwrap();
    for error in [
        refused(&engine, |e| e.submit("f")),
        refused(&engine, |e| e.submit_batch(vec![NewRun::of("f")])),
        refused(&engine, |e| e.deploy(NewDeployment::new("g", "d"))),
    ] {
        assert_eq!(error, Error::Stopped);
        says(&error, &["stopped", "build a new one"]);
    }
    engine.complete(&claim, Outcome::failed("no")).unwrap();
    assert_eq!(
        engine.run(run).unwrap().state_type,
        Some(StateType::Failed),
        "retries end"
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(take(&engine).run(), waits);
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
        says(&refused(&engine, |e| e.submit(NewRun::of("f").retry(retry))), &is);
        says(
            &refused(&engine, |e| e.deploy(NewDeployment::new("g", "e").retry(retry))),
            &is,
        );
        says(
            &refused(&engine, |e| {
                e.update_deployment(made, DeploymentPatch::new().retry(retry))
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
        &["catch_up"],
    );
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
        .catch_up(CatchUp::All(usize::MAX))
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
