//! Bad input: each kind meets its own error, which names the value and the way out, and changes nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tenfold::engine::{Claim, Outcome};
use tenfold::model::{CatchUp, NewSchedule, Object, StateType};
use tenfold::schedule::ScheduleErrorKind;
use tenfold::{
    Claims, DeploymentId, DeploymentPatch, Error, NewDeployment, NewPool, NewQueue, NewRun, Priority, Retry,
    RunId, Schedule, Scope,
};

use crate::support::{engine, level, refused, says, still, take};

fn nowhere() -> RunId {
    "01970000-0000-7000-8000-000000000000".parse().unwrap()
}

#[test]
fn e2_a_schedule_without_a_name_for_its_slug_or_with_no_catch_up_to_speak_of_is_refused() {
    let (engine, _) = engine();
    let hourly = || NewSchedule::new(Schedule::cron("0 * * * *", "UTC").unwrap());
    let held = engine
        .deploy(NewDeployment::new("f", "held").schedule(hourly()))
        .unwrap();
    for (schedule, parts) in [
        (hourly().slug(""), &["slug", "at least one character"][..]),
        (
            hourly().catch_up(CatchUp::All(0)),
            &["catch_up", "all 0", "1 to 5,000", "`CatchUp::Skip`"],
        ),
        (
            hourly().catch_up(CatchUp::All(5_001)),
            &["catch_up", "5001", "1 to 5,000"],
        ),
        (
            hourly().catch_up(CatchUp::Latest(Duration::ZERO)),
            &["catch_up", "above 0", "100 years"],
        ),
        (
            hourly().catch_up(CatchUp::Latest(Duration::MAX)),
            &["catch_up", "100 years"],
        ),
    ] {
        let error = refused(&engine, |engine| {
            engine.deploy(NewDeployment::new("f", "d").schedule(schedule.clone()))
        });
        says(&error, parts);
        let error = refused(&engine, |engine| {
            engine.update_deployment(held.id, DeploymentPatch::new().schedules(vec![schedule.clone()]))
        });
        says(&error, parts);
    }
    // The same in a document.
    for (key, value) in [("slug", json!("")), ("catch_up", json!({"all": 5_001}))] {
        let mut document = serde_json::to_value(engine.export().unwrap()).unwrap();
        let schedule = document.pointer_mut("/deployments/0/data/schedules/0");
        schedule.expect("one deployment with one schedule")[key] = value;
        let document = serde_json::from_value(document).unwrap();
        says(&still().0.import(document, Claims::Keep).unwrap_err(), &[key]);
    }
    // Tags have no such rule, as in the reference.
    engine.deploy(NewDeployment::new("f", "tagged").tag("")).unwrap();
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
        #[cfg(feature = "tokio")]
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
