//! What hosts ask of schedules: runs of a range, a pause of one schedule, previews with notes.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::ManualClock;
use tenfold::engine::{Ahead, Outcome, Overlap};
use tenfold::model::{NewSchedule, StateType};
use tenfold::{Deployment, Engine, Error, NewDeployment, NewRun, Run, RunId, Schedule, Scope};

use crate::support::{START, refused, says, still};

const HOUR: Duration = Duration::from_secs(3_600);

fn start() -> DateTime<Utc> {
    START.parse().unwrap()
}

/// An engine that stands half a second before a full hour, and a paused deployment, so that nothing is planned by itself.
fn asked(schedule: Schedule) -> (Engine, ManualClock, Deployment) {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    clock.advance(Duration::from_millis(3_599_500));
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(schedule).paused())
        .unwrap();
    (engine, clock, made)
}

fn cron(text: &str) -> Schedule {
    Schedule::cron(text, "UTC").unwrap()
}

fn runs(engine: &Engine, ids: &[RunId]) -> Vec<Run> {
    ids.iter().map(|id| engine.run(*id).unwrap()).collect()
}

fn hours(engine: &Engine, ids: &[RunId]) -> Vec<i64> {
    let hour = |run: &Run| (run.expected_start_time.unwrap() - start()).num_hours();
    runs(engine, ids).iter().map(hour).collect()
}

/// Section 4.4 of the reference; where our answer is another one, it is said.
#[test]
fn s4_line_49_schedule_runs_gives_the_references_table() {
    let secondly = || Schedule::interval(TimeDelta::seconds(1), start(), "UTC").unwrap();
    let day = start() + TimeDelta::days(1);
    let rows = [
        ("every hour", cron("0 * * * *"), Ahead::new(), 3),
        // To one hour ahead, inclusive: the first minute after that ends it.
        ("every minute", cron("* * * * *"), Ahead::new(), 61),
        ("every second", secondly(), Ahead::new(), 100),
        ("monthly", cron("0 0 1 * *"), Ahead::new(), 3),
        (
            "hourly, 00:00 to 05:00",
            cron("0 * * * *"),
            Ahead::new()
                .start(day)
                .end(day + TimeDelta::hours(5))
                .min_time(HOUR * 10)
                .min_runs(1),
            6,
        ),
        (
            "hourly, 5 to 2 runs",
            cron("0 * * * *"),
            Ahead::new().min_runs(5).max_runs(2),
            2,
        ),
        (
            "minutely, from the full hour",
            cron("* * * * *"),
            Ahead::new().start(day),
            61,
        ),
        (
            "one end for both",
            cron("0 * * * *"),
            Ahead::new().start(day).end(day),
            1,
        ),
    ];
    for (name, schedule, ahead, count) in rows {
        let (engine, _, made) = asked(schedule);
        let ids = engine.schedule_runs(made.id, ahead).unwrap();
        assert_eq!(ids.len(), count, "{name}");
        // Asked for again, nothing is added.
        assert_eq!(engine.schedule_runs(made.id, ahead).unwrap(), [], "{name}");
        assert!(runs(&engine, &ids).iter().all(|run| run.auto_scheduled));
    }
    // The reference makes one run of a most of zero, and none when the end is before the start; both are mistakes.
    let (engine, _, made) = asked(cron("0 * * * *"));
    for most in [0, 1_001] {
        let error = refused(&engine, |e| e.schedule_runs(made.id, Ahead::new().max_runs(most)));
        says(&error, &["max_runs", &most.to_string(), "1 to 1,000"]);
    }
    let turned = Ahead::new().start(day).end(start());
    let error = refused(&engine, |e| e.schedule_runs(made.id, turned));
    says(&error, &["end", "2026-01-01T00:00:00Z", "not before"]);
    // It answers 200 for an unknown deployment.
    engine.delete_deployment(made.id).unwrap();
    let error = refused(&engine, |e| e.schedule_runs(made.id, Ahead::new()));
    assert!(matches!(error, Error::NotFound { .. }));
}

#[test]
fn s4_runs_that_were_asked_for_are_planned_once_and_go_with_an_edit() {
    let (engine, clock, made) = asked(cron("0 * * * *"));
    let far = Ahead::new().start(start() + TimeDelta::hours(50)).min_runs(2);
    assert_eq!(engine.schedule_runs(made.id, far).unwrap().len(), 2);
    assert_eq!(
        engine.snapshot().scheduled,
        2,
        "a paused deployment has those alone"
    );
    engine.resume_deployment(made.id).unwrap();
    assert_eq!(
        engine.snapshot().scheduled,
        5,
        "the next three are planned as ever"
    );
    let mut ran = Vec::new();
    clock.advance(Duration::from_millis(500));
    for _ in 0..60 {
        while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
            ran.extend(hours(&engine, &[claim.run()]));
            engine.complete(&claim, Outcome::Cancelled).unwrap();
        }
        clock.advance(HOUR);
    }
    assert_eq!(ran, (1..=60).collect::<Vec<_>>(), "nothing doubled, nothing lost");
    let further = Ahead::new().start(start() + TimeDelta::hours(100));
    engine.schedule_runs(made.id, further).unwrap();
    let patch = tenfold::DeploymentPatch::new().schedules(vec![]);
    engine.update_deployment(made.id, patch).unwrap();
    assert_eq!(engine.snapshot().scheduled, 0);
}

#[test]
fn s4_a_backfill_runs_the_past_once_behind_what_waits() {
    let (builder, clock) = still();
    let engine = builder.waiting_runs(20).build().unwrap();
    clock.advance(HOUR * 48 + HOUR / 2);
    let hourly = NewSchedule::new(cron("0 * * * *"))
        .slug("h")
        .overlap(Overlap::Skip);
    let other = NewSchedule::new(cron("30 12 * * *")).slug("noon").inactive();
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(hourly).schedule(other))
        .unwrap();
    let waits = engine.submit(NewRun::of("f/d")).unwrap().id;
    let range = || start() + TimeDelta::hours(10)..=start() + TimeDelta::hours(15);
    let filled = engine.backfill(made.id, None, range()).unwrap();
    assert_eq!(hours(&engine, &filled), [10, 11, 12, 13, 14, 15]);
    assert_eq!(engine.backfill(made.id, None, range()).unwrap(), [], "each once");
    // The inactive one only when it is named.
    let noon = made.schedules[1].id;
    let extra = engine.backfill(made.id, Some(noon), range()).unwrap();
    assert_eq!(hours(&engine, &extra), [12]);
    let mut order = Vec::new();
    while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
        order.push(claim.run());
        engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    }
    assert_eq!(order, [vec![waits], filled.clone(), extra].concat());
    assert_eq!(
        engine.backfill(made.id, None, range()).unwrap(),
        [],
        "also when they have run"
    );
    // What runs by itself does not mind the backfill, though it may not overlap its own.
    let open = engine
        .backfill(made.id, None, start()..start() + TimeDelta::hours(3))
        .unwrap();
    assert_eq!(open.len(), 3);
    clock.advance(HOUR / 2);
    assert_eq!(engine.snapshot().totals.skipped, 0);
    // Nothing is made when not all fits, of a range that is too long or ends before it begins.
    let error = refused(&engine, |e| {
        e.backfill(made.id, None, start()..start() + TimeDelta::hours(40))
    });
    assert!(matches!(error, Error::Full { .. }), "{error}");
    let error = refused(&engine, |e| e.backfill(made.id, None, ..start()));
    says(&error, &["backfill", "0 * * * *", "1,000", "shorter"]);
    let error = refused(&engine, |e| {
        e.backfill(made.id, None, start()..=start() - TimeDelta::hours(1))
    });
    says(&error, &["end", "not before"]);
    let error = refused(&engine, |e| {
        e.backfill(
            made.id,
            Some(tenfold::ids::ScheduleId::from_uuid(waits.uuid())),
            range(),
        )
    });
    says(&error, &["schedule", "its deployment lists"]);
    // Its keys live as long as its records.
    clock.advance(HOUR * 30);
    while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
        engine.complete(&claim, Outcome::Cancelled).unwrap();
    }
    for _ in 0..20 {
        clock.advance(HOUR * 2);
        engine.advance().unwrap();
    }
    assert!(engine.run(filled[0]).is_err());
    assert_eq!(engine.backfill(made.id, None, range()).unwrap().len(), 6);
}

#[test]
fn s4_one_schedule_is_paused_and_the_others_go_on() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let made = engine
        .deploy(
            NewDeployment::new("f", "d")
                .schedule(NewSchedule::new(cron("0 * * * *")).slug("a"))
                .schedule(NewSchedule::new(cron("0 * * * *")).slug("b")),
        )
        .unwrap();
    let (a, b) = (made.schedules[0].id, made.schedules[1].id);
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().queued_tasks, 2);
    engine.pause_schedule(made.id, a).unwrap();
    engine.pause_schedule(made.id, a).unwrap();
    let status = engine.snapshot();
    assert_eq!(
        (status.queued_tasks, status.scheduled),
        (1, 3),
        "its late run goes too"
    );
    assert!(!engine.deployment(made.id).unwrap().schedules[0].active);
    assert!(engine.preview_schedule(made.id, a, 3).unwrap().is_empty());
    assert_eq!(engine.preview_schedule(made.id, b, 3).unwrap().len(), 3);
    clock.advance(HOUR / 2);
    engine.resume_schedule(made.id, a).unwrap();
    assert_eq!(engine.snapshot().scheduled, 6);
    clock.advance(HOUR / 2);
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().queued_tasks, 3);
    let error = refused(&engine, |e| {
        e.pause_schedule(made.id, tenfold::ids::ScheduleId::from_uuid(made.id.uuid()))
    });
    assert!(matches!(error, Error::NotFound { .. }));
}

#[test]
fn s4_explain_tells_the_next_dates_with_notes_and_what_becomes_of_them() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    clock.jump_to("2026-03-07T12:00:00Z".parse().unwrap());
    let nightly = Schedule::cron("30 2 * * *", "America/New_York").unwrap();
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(nightly))
        .unwrap();
    let id = made.schedules[0].id;
    let told = engine.explain_schedule(made.id, id, 5).unwrap();
    engine.cancel(told[1].run.unwrap()).unwrap();
    let told = engine.explain_schedule(made.id, id, 5).unwrap();
    assert_eq!(
        told[0].to_string(),
        "2026-03-08T03:30:00-04:00 (moved out of a gap: the clock skips 2026-03-08 02:30:00)"
    );
    assert_eq!(told[1].to_string(), "2026-03-09T02:30:00-04:00: does not fire");
    let cancelled = engine.run(told[1].run.unwrap()).unwrap();
    assert_eq!(cancelled.state_type, Some(StateType::Cancelled));
    assert!(told[2].run.is_some() && told[4].run.is_none() && told[4].fires);
    let preview = engine.preview_schedule(made.id, id, 4).unwrap();
    assert_eq!(
        preview[1], told[2].date.at,
        "what was called off is not among them"
    );
    engine.pause_deployment(made.id).unwrap();
    assert!(
        engine
            .explain_schedule(made.id, id, 5)
            .unwrap()
            .iter()
            .all(|told| !told.fires)
    );
    for n in [0, 1_001] {
        says(
            &refused(&engine, |e| e.explain_schedule(made.id, id, n)),
            &["n", &n.to_string(), "1 to 1,000"],
        );
        says(
            &refused(&engine, |e| e.preview_schedule(made.id, id, n)),
            &["n", "1 to 1,000"],
        );
    }
}

#[test]
fn s4_max_scheduled_runs_and_parameters_are_each_schedules_own() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let parameters = |json: serde_json::Value| json.as_object().unwrap().clone();
    let made = engine
        .deploy(
            NewDeployment::new("f", "d")
                .parameters(parameters(serde_json::json!({"a": 1, "b": {"c": 1}})))
                .schedule(
                    NewSchedule::new(cron("* * * * *"))
                        .max_scheduled_runs(NonZeroU32::new(5).unwrap())
                        .parameters(parameters(serde_json::json!({"b": {"d": 2}}))),
                )
                .schedule(cron("0 0 * * *")),
        )
        .unwrap();
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().scheduled, 5 + 3);
    let preview = engine
        .preview_schedule(made.id, made.schedules[0].id, 10)
        .unwrap();
    let mut seen = Vec::new();
    for minute in 0..10 {
        while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
            let run = engine.run(claim.run()).unwrap();
            let expected = if run.created_by.unwrap().id == Some(made.schedules[0].id.uuid()) {
                seen.push(run.expected_start_time.unwrap());
                serde_json::json!({"a": 1, "b": {"d": 2}})
            } else {
                serde_json::json!({"a": 1, "b": {"c": 1}})
            };
            assert_eq!(
                run.parameters,
                parameters(expected),
                "minute {minute}: laid over key by key"
            );
            engine.complete(&claim, Outcome::Cancelled).unwrap();
        }
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(
        seen[1..],
        preview[..9],
        "five at a time is enough for every minute"
    );
}

#[test]
fn s4_a_planned_run_that_is_chosen_before_its_time_counts_as_running_and_can_be_put_back() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    clock.advance(HOUR / 2);
    let hourly = NewSchedule::new(cron("0 * * * *")).overlap(Overlap::Skip);
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(hourly))
        .unwrap();
    let schedule = made.schedules[0].id;
    let second = engine.explain_schedule(made.id, schedule, 2).unwrap()[1]
        .run
        .unwrap();
    let choose = || {
        let answer = engine.set_state(second, StateType::Pending).unwrap();
        answer.into_claim().expect("nothing limits it")
    };
    let claim = choose();
    engine.give_back(&claim).unwrap();
    assert_eq!(engine.preview_schedule(made.id, schedule, 3).unwrap().len(), 3);
    let before = engine.snapshot().scheduled;
    // Put back, it is planned like the others: a pause takes it too.
    engine.pause_schedule(made.id, schedule).unwrap();
    assert_eq!((before, engine.snapshot().scheduled), (3, 0));
    engine.resume_schedule(made.id, schedule).unwrap();
    let second = engine.explain_schedule(made.id, schedule, 2).unwrap()[1]
        .run
        .unwrap();
    let answer = engine.set_state(second, StateType::Pending).unwrap();
    let claim = answer.into_claim().expect("nothing limits it");
    // While it has not ended, the first is skipped; and its own occurrence is used.
    clock.advance(HOUR / 2);
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().totals.skipped, 1);
    engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    clock.advance(HOUR);
    assert!(engine.claim(&Scope::all()).unwrap().is_err());
    clock.advance(HOUR);
    assert!(engine.claim(&Scope::all()).unwrap().is_ok());
}
