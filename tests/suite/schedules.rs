//! Schedules in the engine: each occurrence once, whatever is done to its deployment and whenever somebody looks.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{CatchUp, Outcome};
use tenfold::filter::{Entity, Filter, Query};
use tenfold::model::{NewSchedule, StateType};
use tenfold::{
    Deployment, DeploymentPatch, Empty, Engine, NewDeployment, NewRun, Retry, Run, RunId, Schedule, Scope,
};

use crate::support::{Random, level, still, take};

/// No run at all.
const NONE: [(i64, RunId); 0] = [];
const MINUTE: Duration = Duration::from_secs(60);

fn minutely() -> Schedule {
    Schedule::cron("* * * * *", "UTC").unwrap()
}

/// An engine with one deployment `f/d` that fires every minute, half a minute before its next occurrence.
fn minutes() -> (Engine, ManualClock, Deployment) {
    let (builder, clock) = still();
    clock.advance(MINUTE / 2);
    let engine = builder.build().unwrap();
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(minutely()))
        .unwrap();
    (engine, clock, made)
}

/// Lets time pass and claims and completes all that is there: the minutes that ran, and by which schedule-made run.
fn run_all(engine: &Engine) -> Vec<(i64, RunId)> {
    let mut ran = Vec::new();
    while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
        let run = engine.run(claim.run()).unwrap();
        ran.push((minute(&run), run.id));
        engine.begin(&claim).unwrap();
        engine.complete(&claim, Outcome::Completed(().into())).unwrap();
    }
    ran
}

fn minute(run: &Run) -> i64 {
    let start: DateTime<Utc> = crate::support::START.parse().unwrap();
    (run.expected_start_time.unwrap() - start).num_minutes()
}

fn minutes_of(ran: &[(i64, RunId)]) -> Vec<i64> {
    ran.iter().map(|(minute, _)| *minute).collect()
}

#[test]
fn s4_planning_again_adds_nothing() {
    let (engine, clock, made) = minutes();
    let planned = engine.snapshot();
    assert_eq!(planned.scheduled, 61, "an hour ahead");
    engine.resume_deployment(made.id).unwrap();
    for _ in 0..3 {
        engine.advance().unwrap();
        engine.update_deployment(made.id, DeploymentPatch::new()).unwrap();
    }
    assert_eq!(engine.snapshot().scheduled, planned.scheduled);
    let mut ran = Vec::new();
    for _ in 0..20 {
        clock.advance(Duration::from_secs(15));
        engine.update_deployment(made.id, DeploymentPatch::new()).unwrap();
        ran.extend(minutes_of(&run_all(&engine)));
    }
    assert_eq!(ran, [1, 2, 3, 4, 5]);
}

#[test]
fn s4_an_edit_plans_anew_without_doubling_or_losing() {
    let (engine, clock, made) = minutes();
    clock.advance(MINUTE);
    engine.advance().unwrap();
    // One is due and waits; it stays as it was made. The others are made anew.
    let patch = DeploymentPatch::new().priority(level(7)).tags(["new"]);
    engine.update_deployment(made.id, patch).unwrap();
    let status = engine.snapshot();
    assert_eq!(status.queued_tasks, 1);
    let claim = take(&engine);
    assert_eq!(
        (claim.priority(), minute(&engine.run(claim.run()).unwrap())),
        (level(1), 1)
    );
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    for minute in 2..=5 {
        clock.advance(MINUTE);
        let claim = take(&engine);
        let run = engine.run(claim.run()).unwrap();
        assert_eq!((self::minute(&run), run.priority), (minute, level(7)));
        assert!(run.tags.iter().any(|tag| *tag == "new"));
        assert!(matches!(
            engine.claim(&Scope::all()).unwrap(),
            Err(Empty::NotDue(_))
        ));
        engine.complete(&claim, Outcome::Cancelled).unwrap();
    }
    // An edit at the very instant of an occurrence neither doubles nor loses it.
    clock.advance(MINUTE / 2);
    for _ in 0..3 {
        engine.update_deployment(made.id, DeploymentPatch::new()).unwrap();
    }
    assert_eq!(minutes_of(&run_all(&engine)), [6]);
    for _ in 0..3 {
        engine.update_deployment(made.id, DeploymentPatch::new()).unwrap();
    }
    assert!(run_all(&engine).is_empty());
}

#[test]
fn s4_a_schedule_with_a_slug_is_the_same_schedule_after_an_edit() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let slugged = |text: &str| NewSchedule::new(Schedule::cron(text, "UTC").unwrap()).slug("s");
    let made = engine
        .deploy(NewDeployment::new("f", "d").schedule(slugged("* * * * *")))
        .unwrap();
    let id = made.schedules[0].id;
    assert_eq!(minutes_of(&run_all(&engine)), [0]);
    let other = DeploymentPatch::new().schedules(vec![slugged("*/2 * * * *")]);
    engine.update_deployment(made.id, other).unwrap();
    assert_eq!(engine.deployment(made.id).unwrap().schedules[0].id, id);
    assert!(run_all(&engine).is_empty(), "minute 0 has run");
    let mut ran = Vec::new();
    for _ in 0..6 {
        clock.advance(MINUTE);
        ran.extend(minutes_of(&run_all(&engine)));
    }
    assert_eq!(ran, [2, 4, 6]);
    engine
        .update_deployment(made.id, DeploymentPatch::new().schedules(Vec::new()))
        .unwrap();
    assert_eq!(engine.snapshot().scheduled, 0);
}

/// The planned run of a minute.
fn planned(engine: &Engine, minute: i64) -> RunId {
    let query = Query::new(Filter::everything(Entity::Run));
    let runs = engine.runs(&query).unwrap().results;
    let run = runs.iter().find(|run| self::minute(run) == minute);
    run.expect("it is planned").id
}

#[test]
fn s4_a_planned_run_that_was_cancelled_skips_its_occurrence_for_good() {
    let (engine, clock, made) = minutes();
    engine.cancel(planned(&engine, 2)).unwrap();
    engine
        .update_deployment(made.id, DeploymentPatch::new().priority(level(3)))
        .unwrap();
    engine.pause_deployment(made.id).unwrap();
    engine.resume_deployment(made.id).unwrap();
    let mut ran = Vec::new();
    for _ in 0..4 {
        clock.advance(MINUTE);
        ran.extend(minutes_of(&run_all(&engine)));
    }
    assert_eq!(ran, [1, 3, 4]);
}

#[test]
fn s4_all_planned_runs_cancelled_leave_a_schedule_that_goes_on() {
    let (engine, clock, _) = minutes();
    for minute in 1..=61 {
        engine.cancel(planned(&engine, minute)).unwrap();
    }
    assert_eq!(engine.snapshot().scheduled, 0);
    let mut ran = Vec::new();
    for _ in 0..200 {
        clock.advance(MINUTE);
        ran.extend(minutes_of(&run_all(&engine)));
    }
    assert_eq!(ran.first(), Some(&62), "none is lost beyond those cancelled");
    assert!(ran.is_sorted_by(|one, next| one + 1 == *next), "{ran:?}");
}

#[test]
fn s4_a_pause_takes_back_what_schedules_made_and_resume_plans_from_now() {
    let (engine, clock, made) = minutes();
    let submitted = engine.submit("f/d").unwrap().id;
    let future = NewRun::of("f/d").not_before(clock.now().wall + TimeDelta::seconds(45));
    let future = engine.submit(future).unwrap().id;
    clock.advance(MINUTE);
    engine.advance().unwrap();
    assert_eq!(
        engine.snapshot().queued_tasks,
        3,
        "minute 1 is late, and two were submitted"
    );
    let before = engine.snapshot().totals;
    engine.pause_deployment(made.id).unwrap();
    let status = engine.snapshot();
    assert_eq!(
        (status.queued_tasks, status.scheduled, status.finished),
        (2, 0, 0)
    );
    assert_eq!(
        status.totals.cancelled, before.cancelled,
        "what is taken back leaves no record"
    );
    assert_eq!(
        run_all(&engine).iter().map(|ran| ran.1).collect::<Vec<_>>(),
        [submitted, future]
    );
    clock.advance(MINUTE * 10);
    assert_eq!(run_all(&engine), NONE);
    assert_eq!(engine.advance().unwrap(), None, "a paused schedule wakes nobody");
    engine.resume_deployment(made.id).unwrap();
    assert_eq!(run_all(&engine), NONE, "nothing is made up for");
    clock.advance(MINUTE);
    assert_eq!(minutes_of(&run_all(&engine)), [12]);
}

#[test]
fn s4_a_claimed_occurrence_outlives_the_pause() {
    let (engine, clock, made) = minutes();
    clock.advance(MINUTE);
    let claim = take(&engine);
    engine.pause_deployment(made.id).unwrap();
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    assert_eq!(
        engine.run(claim.run()).unwrap().state_type,
        Some(StateType::Completed)
    );
    engine.resume_deployment(made.id).unwrap();
    assert_eq!(run_all(&engine), NONE, "its occurrence is used");
}

#[test]
fn s4_deleting_a_deployment_cancels_what_waits_and_lets_claimed_runs_end() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let new = || {
        NewDeployment::new("f", "d")
            .schedule(minutely())
            .retry(Retry::fixed(1, MINUTE))
            .concurrency_limit(NonZeroU32::MIN)
    };
    let made = engine.deploy(new()).unwrap().id;
    let waits = engine.submit("f/d").unwrap().id;
    let later = engine
        .submit(NewRun::of("f/d").not_before(clock.now().wall + TimeDelta::hours(2)))
        .unwrap()
        .id;
    let failing = take(&engine);
    engine.begin(&failing).unwrap();
    engine.complete(&failing, Outcome::failed("no")).unwrap();
    let claim = take(&engine);
    engine.delete_deployment(made).unwrap();
    let status = engine.snapshot();
    assert_eq!(
        (status.queued_tasks, status.scheduled, status.processing_tasks),
        (0, 0, 1)
    );
    for run in [later, failing.run()] {
        let run = engine.run(run).unwrap();
        assert_eq!(run.state_type, Some(StateType::Cancelled));
        assert!(run.state.unwrap().message.unwrap().contains("deleted"));
    }
    assert_eq!(claim.run(), waits);
    engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    clock.advance(MINUTE * 500);
    assert_eq!(run_all(&engine), NONE);
    assert_eq!(engine.advance().unwrap(), None);
    // The name is free, and the new one plans for itself.
    engine.deploy(new()).unwrap();
    assert_eq!(minutes_of(&run_all(&engine)), [500]);
}

#[test]
fn s5_one_schedule_never_hinders_another() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let ends = minutely()
        .within(..="2026-01-01T00:02:00Z".parse::<DateTime<Utc>>().unwrap())
        .unwrap();
    let hourly = Schedule::cron("30 * * * *", "UTC").unwrap();
    let far = Schedule::cron("0 0 29 2 *", "UTC").unwrap();
    let made = engine
        .deploy(
            NewDeployment::new("f", "d")
                .schedule(NewSchedule::new(ends).slug("ends"))
                .schedule(NewSchedule::new(far).slug("far"))
                .schedule(NewSchedule::new(minutely()).slug("off").inactive())
                .schedule(NewSchedule::new(hourly).slug("hourly")),
        )
        .unwrap();
    let mut ran = Vec::new();
    for _ in 0..=95 {
        ran.extend(minutes_of(&run_all(&engine)));
        clock.advance(MINUTE);
    }
    assert_eq!(ran, [0, 1, 2, 30, 90]);
    assert_eq!(made.schedules.len(), 4);
}

#[test]
fn s5_a_schedule_denser_than_anybody_can_count_is_bounded_in_every_call() {
    // A microsecond is an interval. Each planning was bounded, and what it made due planned again, without end.
    for (catch_up, first) in [
        (CatchUp::Skip, 60),
        (CatchUp::Latest(MINUTE * 10), 59),
        (CatchUp::All(5), 55),
    ] {
        let (builder, clock) = still();
        let engine = builder.catch_up(catch_up).build().unwrap();
        let dense = Schedule::interval(TimeDelta::microseconds(1), clock.now().wall, "UTC").unwrap();
        engine
            .deploy(NewDeployment::new("f", "dense").schedule(dense))
            .unwrap();
        engine
            .deploy(
                NewDeployment::new("f", "d")
                    .schedule(minutely())
                    .priority(level(9)),
            )
            .unwrap();
        clock.advance(Duration::from_secs(3_600));
        engine.advance().unwrap();
        let accepted = engine.snapshot().totals.accepted;
        assert!(accepted < 21_000, "{accepted} runs in one call");
        let claim = take(&engine);
        assert_eq!(
            (claim.priority(), minute(&engine.run(claim.run()).unwrap())),
            (level(9), first)
        );
    }
}

/// The minutes that run after a sleep of an hour, and how many were missed.
fn after_a_sleep(catch_up: CatchUp) -> (Vec<i64>, u64) {
    let (builder, clock) = still();
    clock.advance(MINUTE / 2);
    let engine = builder.catch_up(catch_up).build().unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(minutely()))
        .unwrap();
    clock.advance(MINUTE * 60);
    let ran = minutes_of(&run_all(&engine));
    let status = engine.snapshot();
    assert_eq!(status.scheduled, 61, "planned an hour ahead again");
    assert_eq!(status.totals.cancelled, status.totals.missed);
    (ran, status.totals.missed)
}

#[test]
fn s4_what_was_missed_follows_the_policy() {
    // Minute 60 was due half a minute ago: more than the 15 seconds after which it counts as missed.
    assert_eq!(after_a_sleep(CatchUp::Skip), (vec![], 60));
    assert_eq!(after_a_sleep(CatchUp::Latest(MINUTE * 10)), (vec![60], 59));
    assert_eq!(
        after_a_sleep(CatchUp::Latest(Duration::from_secs(20))),
        (vec![], 60),
        "too old"
    );
    assert_eq!(after_a_sleep(CatchUp::All(3)), (vec![58, 59, 60], 57));
    assert_eq!(after_a_sleep(CatchUp::All(5_000)), ((1..=60).collect(), 0));
}

#[test]
fn s4_a_missed_run_says_so() {
    let (engine, clock, _) = minutes();
    let missed = planned(&engine, 1);
    clock.advance(MINUTE * 5);
    engine.advance().unwrap();
    let run = engine.run(missed).unwrap();
    assert_eq!(
        (run.state_type, run.state_name.as_deref()),
        (Some(StateType::Cancelled), Some("Missed"))
    );
    assert!(run.state.unwrap().message.unwrap().contains("missed by 270 s"));
}

#[test]
fn s4_waiting_for_a_worker_is_late_and_never_missed() {
    let (engine, clock, _) = minutes();
    for _ in 0..30 {
        clock.advance(MINUTE / 6);
        engine.advance().unwrap();
    }
    clock.advance(MINUTE * 30);
    let ran = minutes_of(&run_all(&engine));
    assert_eq!(ran[..5], [1, 2, 3, 4, 5], "they were due in time and only waited");
}

/// One fixed history of clock steps and calls, looked at in between or not: what was claimed, in order.
fn history(seed: u64, look: bool) -> Vec<(usize, i64, u32)> {
    let (builder, clock) = still();
    let engine = builder.catch_up(CatchUp::All(1_000)).build().unwrap();
    let quick = Schedule::interval(TimeDelta::seconds(7), clock.now().wall, "UTC").unwrap();
    let limit = NonZeroU32::new(2).unwrap();
    engine
        .deploy(
            NewDeployment::new("f", "d")
                .schedule(minutely())
                .priority(level(2)),
        )
        .unwrap();
    engine
        .deploy(
            NewDeployment::new("f", "e")
                .schedule(quick)
                .concurrency_limit(limit)
                .timeout(MINUTE / 4),
        )
        .unwrap();
    let mut random = Random::new(seed);
    let mut submitted: Vec<RunId> = Vec::new();
    let mut held = Vec::new();
    let mut claimed = Vec::new();
    for _ in 0..120 {
        match random.below(9) {
            0..3 => {
                let retry = Retry::fixed(2, Duration::from_secs(random.below(4) as u64));
                let at = clock.now().wall + TimeDelta::seconds(i64::try_from(random.below(30)).unwrap() - 10);
                let run = NewRun::of(["f/d", "f/e"][random.below(2)])
                    .retry(retry)
                    .not_before(at);
                let run = run
                    .priority(level(u8::try_from(random.below(3)).unwrap() + 1))
                    .timeout(MINUTE / 10);
                submitted.push(engine.submit(run).unwrap().id);
            }
            3..5 => {
                if let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
                    let known = submitted.iter().position(|run| *run == claim.run());
                    let run = engine.run(claim.run()).unwrap();
                    let due = run.expected_start_time.unwrap().timestamp();
                    claimed.push((known.unwrap_or(usize::MAX), due, claim.attempt()));
                    engine.begin(&claim).unwrap();
                    held.push(claim);
                }
            }
            5 => {
                if !held.is_empty() {
                    let claim = held.swap_remove(random.below(held.len()));
                    // It may be over its time; then its retry has been made already.
                    let _ = engine.complete(&claim, Outcome::failed("no"));
                }
            }
            6 => {
                let run = random.below(40);
                if let Some(run) = submitted.get(run) {
                    let _ = engine.set_priority(*run, level(3));
                }
            }
            _ => {
                // Below what makes an occurrence missed, which is the one thing that depends on who looks.
                for _ in 0..random.below(13) {
                    clock.advance(Duration::from_secs(1));
                    if look {
                        engine.advance().unwrap();
                    }
                }
            }
        }
    }
    claimed
}

#[test]
fn e1_order_does_not_depend_on_when_somebody_looked() {
    for seed in 1..40 {
        let claimed = history(seed, false);
        assert_eq!(claimed, history(seed, true), "seed {seed}");
        assert_eq!(
            claimed,
            history(seed, false),
            "E1: the same calls, the same history; seed {seed}"
        );
        assert!(claimed.len() > 10);
    }
}
