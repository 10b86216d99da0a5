//! What happens to occurrences that come while an earlier run has not ended, and to those that were missed; and that an
//! occurrence which was used stays used, whatever edits are made.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{CatchUp, Outcome, Overlap};
use tenfold::filter::{Entity, Filter, Query};
use tenfold::model::{NewSchedule, Place, StateType};
use tenfold::{Claims, DeploymentPatch, Empty, Engine, NewDeployment, Run, Schedule, Scope};

use crate::support::{level, refused, says, still, take};

const MINUTE: Duration = Duration::from_secs(60);

fn minutely() -> NewSchedule {
    NewSchedule::new(Schedule::cron("* * * * *", "UTC").unwrap())
}

/// An engine whose deployment `f/d` fires every minute from now, under a policy.
fn under(overlap: Overlap) -> (Engine, ManualClock) {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(minutely().overlap(overlap)))
        .unwrap();
    (engine, clock)
}

/// The run of a minute of the first hour.
fn of_minute(engine: &Engine, minute: i64) -> Run {
    let query = Query::new(Filter::everything(Entity::Run));
    let start = crate::support::START
        .parse::<chrono::DateTime<chrono::Utc>>()
        .unwrap();
    let at = start + TimeDelta::minutes(minute);
    let runs = engine.runs(&query).unwrap().results;
    runs.into_iter()
        .find(|run| run.expected_start_time == Some(at))
        .expect("it was planned")
}

fn told(run: &Run) -> (&str, String) {
    let state = run.state.as_ref().unwrap();
    let message = state.message.as_ref().map(ToString::to_string);
    (run.state_name.as_deref().unwrap(), message.unwrap_or_default())
}

#[test]
fn s4_overlap_skip_ends_what_comes_while_a_run_has_not_ended() {
    let (engine, clock) = under(Overlap::Skip);
    let first = take(&engine);
    engine.begin(&first).unwrap();
    clock.advance(MINUTE);
    assert!(matches!(
        engine.claim(&Scope::all()).unwrap(),
        Err(Empty::NotDue(_))
    ));
    let skipped = of_minute(&engine, 1);
    assert_eq!(
        told(&skipped),
        (
            "Skipped",
            format!("run {} of the same schedule had not ended", first.run())
        )
    );
    assert_eq!(skipped.state_type, Some(StateType::Cancelled));
    assert_eq!(engine.snapshot().totals.skipped, 1);
    engine.complete(&first, Outcome::Completed(1.into())).unwrap();
    // One that only waits for a worker has not ended either; and a failed one that is tried again has not.
    clock.advance(MINUTE);
    engine.advance().unwrap();
    clock.advance(MINUTE);
    engine.advance().unwrap();
    assert_eq!(of_minute(&engine, 2).place, Place::Ready);
    assert_eq!(told(&of_minute(&engine, 3)).0, "Skipped");
    let second = take(&engine);
    engine.complete(&second, Outcome::Cancelled).unwrap();
    clock.advance(MINUTE);
    assert_eq!(take(&engine).run(), of_minute(&engine, 4).id);
}

#[test]
fn s4_overlap_buffer_one_holds_one_back_and_skips_the_rest() {
    let (engine, clock) = under(Overlap::BufferOne);
    let first = take(&engine);
    for _ in 0..3 {
        clock.advance(MINUTE);
        engine.advance().unwrap();
    }
    let status = engine.snapshot();
    assert_eq!((status.queued_tasks, status.blocked), (1, 1));
    assert_eq!(status.priority_breakdown.total(), 1);
    assert_eq!(of_minute(&engine, 1).place, Place::Blocked);
    assert_eq!(told(&of_minute(&engine, 2)).0, "Skipped");
    assert_eq!(told(&of_minute(&engine, 3)).0, "Skipped");
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Blocked);
    // It counts at its level, keeps its place through an export, and goes when the first has ended.
    engine.set_priority(of_minute(&engine, 1).id, level(4)).unwrap();
    assert_eq!(engine.snapshot().priority_breakdown.at(level(4)), 1);
    let document = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let moved = tenfold::Engine::builder()
        .clock(clock.clone())
        .import(serde_json::from_str(&document).unwrap(), Claims::Keep)
        .unwrap();
    for engine in [&engine, &moved] {
        assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Blocked);
        engine.complete(&first, Outcome::Completed(1.into())).unwrap();
        let status = engine.snapshot();
        assert_eq!((status.queued_tasks, status.blocked), (1, 0));
        let next = take(engine);
        assert_eq!((next.run(), next.priority()), (of_minute(engine, 1).id, level(4)));
        engine.complete(&next, Outcome::Cancelled).unwrap();
    }
}

#[test]
fn s4_a_run_that_is_held_back_can_be_called_off_and_goes_with_a_pause() {
    for pause in [false, true] {
        let (engine, clock) = under(Overlap::BufferOne);
        let first = take(&engine);
        clock.advance(MINUTE);
        let held = of_minute(&engine, 1);
        let deployment = held.deployment_id.unwrap();
        engine.advance().unwrap();
        if pause {
            engine.pause_deployment(deployment).unwrap();
        } else {
            engine.cancel(held.id).unwrap();
        }
        assert_eq!(engine.snapshot().queued_tasks, 0);
        engine.complete(&first, Outcome::Cancelled).unwrap();
        assert!(engine.claim(&Scope::all()).unwrap().is_err());
        engine.delete_deployment(deployment).unwrap();
        assert_eq!(engine.snapshot().blocked, 0);
    }
}

#[test]
fn s4_overlap_cancel_running_calls_the_earlier_off_and_takes_its_place() {
    let (engine, clock) = under(Overlap::CancelRunning);
    // One that only waits ends at once.
    engine.advance().unwrap();
    clock.advance(MINUTE);
    let second = take(&engine);
    assert_eq!(second.run(), of_minute(&engine, 1).id);
    let ended = of_minute(&engine, 0);
    let (name, message) = told(&ended);
    assert_eq!(
        (name, message.contains(&second.run().to_string())),
        ("Cancelled", true)
    );
    // One that runs is asked to stop and keeps its slots until it has ended.
    engine.begin(&second).unwrap();
    clock.advance(MINUTE);
    let third = take(&engine);
    assert_eq!(third.run(), of_minute(&engine, 2).id);
    assert_eq!(of_minute(&engine, 1).state_type, Some(StateType::Cancelling));
    assert!(second.stop_reason().is_some());
    assert_eq!(engine.snapshot().processing_tasks, 2);
    engine.complete(&second, Outcome::Completed(1.into())).unwrap();
    assert_eq!(of_minute(&engine, 1).state_type, Some(StateType::Cancelled));
}

#[test]
fn s4_catch_up_is_the_schedules_own_and_meets_its_overlap_policy_in_order() {
    let (builder, clock) = still();
    clock.advance(MINUTE / 2);
    let engine = builder.catch_up(CatchUp::Skip).build().unwrap();
    let policies = [
        ("none", minutely()),
        ("latest", minutely().catch_up(CatchUp::Latest(MINUTE * 10))),
        ("all", minutely().catch_up(CatchUp::All(3))),
        (
            "one",
            minutely().catch_up(CatchUp::All(3)).overlap(Overlap::BufferOne),
        ),
    ];
    for (name, schedule) in policies {
        engine
            .deploy(NewDeployment::new("f", name).tag(name).schedule(schedule))
            .unwrap();
    }
    clock.advance(MINUTE * 5);
    let mut ran = Vec::new();
    while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
        let run = engine.run(claim.run()).unwrap();
        let minute = run.expected_start_time.unwrap().timestamp() / 60 % 60;
        ran.push(format!("{} {minute}", run.tags.last().unwrap()));
    }
    ran.sort();
    // Minute 5 was due half a minute ago, so all five were missed.
    assert_eq!(ran, ["all 3", "all 4", "all 5", "latest 5", "one 3"]);
    let totals = engine.snapshot().totals;
    assert_eq!(
        (totals.missed, totals.skipped),
        (5 + 4 + 2 + 2, 1),
        "one 4 waits, one 5 is skipped"
    );
}

#[test]
fn s4_missed_ones_are_settled_before_the_next_that_is_near() {
    let (builder, clock) = still();
    clock.advance(MINUTE / 2);
    let engine = builder.build().unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(minutely().overlap(Overlap::Skip)))
        .unwrap();
    // At 5:05 the fifth is near and the fourth is the latest that was missed: the fourth runs, the fifth is skipped.
    clock.advance(MINUTE * 9 / 2 + Duration::from_secs(5));
    assert_eq!(take(&engine).run(), of_minute(&engine, 4).id);
    assert_eq!(told(&of_minute(&engine, 5)).0, "Skipped");
    assert_eq!(told(&of_minute(&engine, 3)).0, "Missed");
}

#[test]
fn s4_a_schedule_that_comes_back_keeps_its_used_occurrences() {
    for slug in [true, false] {
        let (builder, clock) = still();
        let engine = builder.build().unwrap();
        let schedule = || if slug { minutely().slug("s") } else { minutely() };
        let made = engine
            .deploy(NewDeployment::new("f", "d").schedule(schedule()))
            .unwrap();
        let id = made.schedules[0].id;
        let first = take(&engine);
        engine.cancel(of_minute(&engine, 2).id).unwrap();
        let set = |engine: &Engine, schedules| {
            let patch = DeploymentPatch::new().schedules(schedules);
            engine.update_deployment(made.id, patch).unwrap();
        };
        set(&engine, vec![]);
        assert_eq!(engine.snapshot().scheduled, 0);
        let other = Schedule::cron("0 0 2 1 *", "UTC").unwrap();
        set(&engine, vec![NewSchedule::new(other).slug("other")]);
        let document = serde_json::to_string(&engine.export().unwrap()).unwrap();
        let engine = Engine::builder()
            .clock(clock.clone())
            .import(serde_json::from_str(&document).unwrap(), Claims::Keep)
            .unwrap();
        set(&engine, vec![schedule()]);
        assert_eq!(engine.deployment(made.id).unwrap().schedules[0].id, id);
        // This very instant has run, and minute 2 was called off.
        assert!(engine.claim(&Scope::all()).unwrap().is_err());
        engine.complete(&first, Outcome::Cancelled).unwrap();
        let mut ran = Vec::new();
        for minute in 1..=4 {
            clock.advance(MINUTE);
            if let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
                engine.complete(&claim, Outcome::Cancelled).unwrap();
                ran.push(minute);
            }
        }
        assert_eq!(ran, [1, 3, 4]);
    }
}

#[test]
fn s4_an_edit_takes_back_the_runs_of_the_edited_schedule_alone() {
    let (builder, _) = still();
    let engine = builder.build().unwrap();
    let hourly = |minute: u32| {
        let text = format!("{minute} * * * *");
        NewSchedule::new(Schedule::cron(&text, "UTC").unwrap())
    };
    let made = engine
        .deploy(
            NewDeployment::new("f", "d")
                .schedule(hourly(10).slug("a"))
                .schedule(hourly(20).slug("b"))
                .schedule(hourly(30)),
        )
        .unwrap();
    let runs = |minute: i64| {
        (0..3)
            .map(|hour| of_minute(&engine, hour * 60 + minute).id)
            .collect::<Vec<_>>()
    };
    let before = [runs(10), runs(20), runs(30)];
    let patch =
        DeploymentPatch::new().schedules(vec![hourly(30), hourly(15).slug("b"), hourly(10).slug("a")]);
    engine.update_deployment(made.id, patch).unwrap();
    assert_eq!(runs(10), before[0]);
    assert_eq!(runs(30), before[2]);
    assert_eq!(runs(15).len(), 3);
    assert_eq!(engine.snapshot().scheduled, 9);
    // What runs do not show leaves them where they are; what they do show makes them anew.
    let patch = DeploymentPatch::new()
        .description(Some("words".into()))
        .concurrency_limit(NonZeroU32::new(2));
    engine.update_deployment(made.id, patch).unwrap();
    assert_eq!(runs(10), before[0]);
    engine
        .update_deployment(made.id, DeploymentPatch::new().tags(["new"]))
        .unwrap();
    assert_ne!(runs(10), before[0]);
    assert_eq!(engine.snapshot().scheduled, 9);
}

#[test]
fn e4_removed_schedules_and_called_off_occurrences_are_bounded() {
    let (builder, clock) = still();
    let engine = builder.schedules(2).called_off(3).build().unwrap();
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(minutely().slug("s0")))
        .unwrap();
    let set = |slug: usize| {
        let patch = DeploymentPatch::new().schedules(vec![minutely().slug(format!("s{slug}"))]);
        engine.update_deployment(made.id, patch)
    };
    let first = take(&engine);
    engine.complete(&first, Outcome::Cancelled).unwrap();
    clock.advance(Duration::from_secs(1));
    for slug in 1..=3 {
        let query = Query::new(Filter::everything(Entity::Run));
        let runs = engine.runs(&query).unwrap().results;
        let run = runs.iter().find(|run| run.place == Place::Scheduled).unwrap();
        engine.cancel(run.id).unwrap();
        if slug < 3 {
            set(slug).unwrap();
        }
    }
    let error = refused(&engine, |_| set(3));
    says(&error, &["removed schedules", "2"]);
    // A schedule whose future is called off three times is planned no further until one of them is past.
    let (builder, clock) = still();
    let engine = builder.called_off(3).planned_runs(3, 5).build().unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(minutely()))
        .unwrap();
    clock.advance(Duration::from_secs(1));
    engine.advance().unwrap();
    for minute in 1..=3 {
        engine.cancel(of_minute(&engine, minute).id).unwrap();
    }
    let mut ran = Vec::new();
    for minute in 1..=8 {
        clock.advance(MINUTE);
        while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
            let run = engine.run(claim.run()).unwrap();
            ran.push((minute, run.expected_start_time.unwrap().timestamp() / 60 % 60));
            engine.complete(&claim, Outcome::Cancelled).unwrap();
        }
    }
    assert_eq!(
        ran,
        [(1, 0), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8)],
        "none is lost and none comes back"
    );
}

#[test]
fn s4_near_occurrences_of_a_dense_schedule_all_fire() {
    let (builder, clock) = still();
    let engine = builder.catch_up(CatchUp::Skip).build().unwrap();
    // 1,000 a second: 15,000 within the 15 seconds that count as near, and 45,000 before.
    let start = clock.now().wall;
    let dense = Schedule::interval(TimeDelta::milliseconds(1), start, "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("f", "dense").schedule(dense))
        .unwrap();
    clock.advance(MINUTE);
    let mut calls = 0;
    while engine.advance().unwrap() == Some(Duration::ZERO) {
        calls += 1;
        assert!(calls < 20, "the backlog is worked off");
    }
    let status = engine.snapshot();
    assert_eq!(
        status.queued_tasks, 15_001,
        "each of the last 15 seconds, both ends included"
    );
    let first = take(&engine);
    let run = engine.run(first.run()).unwrap();
    assert_eq!(run.expected_start_time, Some(start + TimeDelta::seconds(45)));
}
