//! Clocks that jump: a suspended machine, an operator who sets the time, a time server that nudges it.

use std::time::Duration;

use chrono::TimeDelta;
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::Outcome;
use tenfold::model::{Place, StateType};
use tenfold::{Engine, NewDeployment, NewRun, Retry, Schedule, Scope};

use crate::support::{START, still, take};

const MINUTE: Duration = Duration::from_secs(60);

fn minutely() -> (Engine, ManualClock) {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let schedule = Schedule::cron("* * * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(schedule))
        .unwrap();
    (engine, clock)
}

/// Ends all that is due: the minutes since the start for which it ran.
fn drain(engine: &Engine) -> Vec<i64> {
    let mut ran = Vec::new();
    while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
        let at = engine.run(claim.run()).unwrap().expected_start_time.unwrap();
        ran.push((at - START.parse::<chrono::DateTime<chrono::Utc>>().unwrap()).num_minutes());
        engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    }
    ran
}

fn jump(clock: &ManualClock, minutes: i64) {
    clock.jump_to(clock.now().wall + TimeDelta::minutes(minutes));
}

#[test]
fn s4_a_suspended_machine_catches_up_by_policy_and_its_timeouts_did_not_run() {
    let (engine, clock) = minutely();
    assert_eq!(drain(&engine), [0]);
    engine.flow("g").unwrap();
    let slow = NewRun::of("g").timeout(MINUTE).retry(Retry::fixed(1, MINUTE));
    engine.submit(slow.clone()).unwrap();
    let failed = take(&engine);
    engine.begin(&failed).unwrap();
    engine.complete(&failed, Outcome::failed("no")).unwrap();
    let running = engine.submit(slow).unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    // Eight hours pass on the wall and none on the monotonic clock, which stands still in a suspend.
    jump(&clock, 480);
    assert_eq!(
        drain(&engine),
        [479, 480],
        "the latest that was missed, and the one that is near"
    );
    assert_eq!(engine.run(running).unwrap().state_type, Some(StateType::Running));
    assert_eq!(
        engine.run(failed.run()).unwrap().state_type,
        Some(StateType::Scheduled),
        "its delay goes on from where it was"
    );
    clock.advance(MINUTE);
    engine.advance().unwrap();
    assert_eq!(
        engine.run(running).unwrap().state_name.as_deref(),
        Some("AwaitingRetry")
    );
    assert_eq!(
        engine.run(failed.run()).unwrap().place,
        Place::Ready,
        "a minute of waking time is over"
    );
}

#[test]
fn s4_a_clock_set_back_fires_nothing_twice_and_holds_no_retry_up() {
    let (engine, clock) = minutely();
    clock.advance(MINUTE / 2);
    engine.flow("g").unwrap();
    engine
        .submit(NewRun::of("g").retry(Retry::fixed(9, MINUTE)))
        .unwrap();
    let mut ran = drain(&engine);
    for _ in 0..5 {
        clock.advance(MINUTE);
        ran.extend(drain(&engine));
    }
    engine
        .submit(NewRun::of("g").retry(Retry::fixed(9, MINUTE)))
        .unwrap();
    let claim = take(&engine);
    engine.complete(&claim, Outcome::failed("no")).unwrap();
    jump(&clock, -120);
    let stands = engine.now().unwrap();
    for minute in 1..=120 {
        clock.advance(MINUTE);
        if minute == 1 {
            assert_eq!(take(&engine).attempt(), 2, "retries count monotonic time");
        }
        assert_eq!(
            drain(&engine),
            [0_i64; 0],
            "minute {minute}: engine time stands still"
        );
        assert_eq!(engine.now().unwrap(), stands);
        let next = engine.advance().unwrap().unwrap();
        assert!(
            next > Duration::ZERO && next <= MINUTE * (121 - minute),
            "until the clock has caught up: {next:?}"
        );
    }
    clock.advance(MINUTE);
    assert_eq!(drain(&engine).last(), Some(&6), "the clock has caught up");
}

#[test]
fn s4_a_nudged_clock_fires_each_minute_once() {
    let (engine, clock) = minutely();
    let mut ran = drain(&engine);
    let mut nudge = 1_i64;
    while engine.now().unwrap()
        < START.parse::<chrono::DateTime<chrono::Utc>>().unwrap() + TimeDelta::hours(2)
    {
        clock.advance(Duration::from_secs(7));
        // Up to nine seconds either way, as a pattern without a period that matters.
        nudge = nudge * 31 % 19;
        clock.jump_to(clock.now().wall + TimeDelta::seconds(nudge - 9));
        ran.extend(drain(&engine));
    }
    assert_eq!(ran, (0..=120).collect::<Vec<_>>());
}

const TEN: Duration = Duration::from_secs(600);

fn every_ten_minutes() -> (Engine, ManualClock) {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let schedule = Schedule::cron("*/10 * * * *", "UTC").unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").schedule(schedule))
        .unwrap();
    (engine, clock)
}

#[test]
fn s4_advance_on_an_occurrence_tells_when_the_next_is_due() {
    let (engine, clock) = every_ten_minutes();
    for round in 0..5 {
        for _ in 0..3 {
            assert_eq!(engine.advance().unwrap(), Some(TEN), "round {round}");
        }
        assert_eq!(drain(&engine), [round * 10]);
        assert_eq!(
            engine.advance().unwrap(),
            Some(TEN),
            "after the run of round {round}"
        );
        clock.advance(TEN);
    }
}

#[test]
fn s4_after_a_jump_back_the_answer_of_advance_leads_on() {
    let (engine, clock) = every_ten_minutes();
    drain(&engine);
    jump(&clock, -30);
    assert_eq!(
        engine.advance().unwrap(),
        Some(TEN * 4),
        "the clock has to catch up first"
    );
    clock.advance(engine.advance().unwrap().unwrap());
    assert_eq!(drain(&engine), [10]);
    // A retry counts the other clock, which has not gone back.
    jump(&clock, -30);
    let once = NewRun::of("f").retry(Retry::fixed(1, MINUTE));
    engine.submit(once).unwrap();
    let claim = take(&engine);
    engine.complete(&claim, Outcome::failed("no")).unwrap();
    assert_eq!(engine.advance().unwrap(), Some(MINUTE));
}

#[test]
fn s4_a_clock_that_goes_by_the_answers_of_advance_needs_few_steps() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    for n in 0..20_i64 {
        let text = ["*/10 * * * *", "7 * * * *", "*/15 8-17 * * *", "0 */6 * * *"];
        let schedule = if n % 5 == 4 {
            Schedule::interval(TimeDelta::seconds(900 + n * 61), clock.now().wall, "UTC").unwrap()
        } else {
            Schedule::cron(text[usize::try_from(n % 5).unwrap()], "UTC").unwrap()
        };
        engine
            .deploy(NewDeployment::new("f", format!("d{n}")).schedule(schedule))
            .unwrap();
    }
    let end = clock.now().wall + TimeDelta::days(1);
    let (mut steps, mut runs) = (0, 0);
    while clock.now().wall < end {
        runs += drain(&engine).len();
        let step = engine.advance().unwrap().expect("schedules without an end");
        assert!(!step.is_zero(), "all that was due has become so");
        clock.advance(step);
        steps += 1;
    }
    assert!(runs > 900, "{runs}");
    assert!(steps <= 2 * runs, "{steps} steps for {runs} runs");
}
