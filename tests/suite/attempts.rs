//! Attempts: retries, timeouts, places in line.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::Clock;
use tenfold::engine::Outcome;
use tenfold::model::{Place, StateType};
use tenfold::{Ended, NewRun, Retry};

use crate::support::{Random, engine, level, still, take};

#[test]
fn r5_an_attempt_that_failed_without_having_begun_uses_up_a_retry() {
    // It was counted by starts, so a worker that never called `begin` was handed the same run for ever.
    let (engine, clock) = engine();
    let retry = Retry::fixed(1, Duration::from_secs(1));
    engine.submit(NewRun::of("f").retry(retry)).unwrap();
    let first = take(&engine);
    assert_eq!(
        engine.complete(&first, Outcome::failed("no")).unwrap(),
        Ended::Retrying
    );
    clock.advance(Duration::from_secs(1));
    let second = take(&engine);
    assert_eq!(second.attempt(), 2);
    let failed = Ended::Finished(StateType::Failed);
    assert_eq!(engine.complete(&second, Outcome::failed("no")).unwrap(), failed);
    engine.submit("f").unwrap();
    assert_eq!(
        engine.complete(&take(&engine), Outcome::failed("no")).unwrap(),
        failed
    );
}

#[test]
fn e1_a_wall_clock_that_went_back_does_not_move_a_retry_before_what_was_accepted_before_it() {
    // The retry's instant was told from a wall clock that stood still, so it lay before runs accepted earlier, but only
    // when nobody had looked in between.
    for look in [false, true] {
        let (engine, clock) = engine();
        let start = clock.now().wall;
        let retry = Retry::fixed(1, Duration::from_secs(5));
        let failing = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
        engine.complete(&take(&engine), Outcome::failed("no")).unwrap();
        clock.jump_to(start - TimeDelta::hours(1));
        clock.advance(Duration::from_secs(1));
        let before = engine.submit("f").unwrap().id;
        clock.advance(Duration::from_secs(4));
        if look {
            engine.advance().unwrap();
        }
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            engine.now().unwrap(),
            start,
            "engine time stands still until the wall has caught up"
        );
        assert_eq!(take(&engine).run(), before);
        assert_eq!(take(&engine).run(), failing);
    }
}

#[test]
fn e2_a_clock_may_jump_from_one_end_of_time_to_the_other() {
    let (engine, clock) = engine();
    engine.submit("f").unwrap();
    engine
        .submit(NewRun::of("f").timeout(Duration::from_secs(1)))
        .unwrap();
    let (one, other) = (take(&engine), take(&engine));
    clock.jump_to(DateTime::<Utc>::MIN_UTC);
    engine.begin(&one).unwrap();
    engine.begin(&other).unwrap();
    clock.jump_to(DateTime::<Utc>::MAX_UTC);
    engine.complete(&one, Outcome::Cancelled).unwrap();
    clock.advance(Duration::MAX);
    engine.advance().unwrap();
    assert_eq!(engine.snapshot().processing_tasks, 0);
    assert!(engine.submit("f").is_ok());
}

#[test]
fn e2_an_engine_may_start_at_the_first_instant_and_wake_at_the_last() {
    let clock = tenfold::clock::ManualClock::at(DateTime::<Utc>::MIN_UTC);
    let engine = tenfold::Engine::builder().clock(clock.clone()).build().unwrap();
    engine.flow("f").unwrap();
    let run = engine.submit("f").unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    clock.jump_to(DateTime::<Utc>::MAX_UTC);
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    let ran = engine.run(run).unwrap().total_run_time;
    assert!(ran > Duration::from_secs(200_000 * 365 * 86_400), "{ran:?}");
}

#[test]
fn c2_a_run_that_changed_its_level_while_claimed_goes_back_behind_that_level() {
    let (engine, clock) = engine();
    let moved = engine.submit("f").unwrap().id;
    let claim = take(&engine);
    clock.advance(Duration::from_secs(1));
    let there = engine.submit(NewRun::of("f").priority(level(5))).unwrap().id;
    engine.set_priority(moved, level(5)).unwrap();
    engine.give_back(&claim).unwrap();
    assert_eq!(take(&engine).run(), there);
    assert_eq!(take(&engine).run(), moved);
}

#[test]
fn c2_a_run_that_changed_its_level_before_it_was_due_stands_last_among_those_of_its_instant() {
    let (engine, clock) = engine();
    let at = clock.now().wall + TimeDelta::seconds(10);
    let moved = engine.submit(NewRun::of("f").not_before(at)).unwrap().id;
    let there = engine
        .submit(NewRun::of("f").not_before(at).priority(level(5)))
        .unwrap()
        .id;
    engine.set_priority(moved, level(5)).unwrap();
    clock.advance(Duration::from_secs(10));
    assert_eq!(take(&engine).run(), there);
    assert_eq!(take(&engine).run(), moved);
}

#[test]
fn c2_a_claim_given_up_returns_to_its_old_place() {
    let (engine, _) = engine();
    let runs: Vec<_> = (0..3).map(|_| engine.submit("f").unwrap().id).collect();
    let (first, second) = (take(&engine), take(&engine));
    engine.give_back(&second).unwrap();
    engine.give_back(&first).unwrap();
    let order: Vec<_> = (0..3).map(|_| take(&engine).run()).collect();
    assert_eq!(order, runs);
    assert_eq!(take_attempt(&engine, &first), None);
}

/// A claim that was given up is good for nothing.
fn take_attempt(engine: &tenfold::Engine, stale: &tenfold::engine::Claim) -> Option<Ended> {
    assert!(engine.begin(stale).is_err());
    assert!(engine.give_back(stale).is_err());
    engine.complete(stale, Outcome::Cancelled).ok()
}

#[test]
fn r1_every_accepted_run_is_in_one_place_until_retention_removes_it() {
    for seed in 0..20 {
        let (builder, clock) = still();
        let engine = builder.limit(3).finished_runs(4).build().unwrap();
        engine.flow("f").unwrap();
        let (mut random, mut runs, mut claims) = (Random::new(seed), Vec::new(), Vec::new());
        for _ in 0..200 {
            match random.below(8) {
                0 | 1 => {
                    let mut new = NewRun::of("f").retry(Retry::fixed(1, Duration::from_secs(2)));
                    if random.below(3) == 0 {
                        new = new.not_before(engine.now().unwrap() + TimeDelta::seconds(3));
                    }
                    runs.push(engine.submit(new).unwrap().id);
                }
                2 | 3 => {
                    if let Ok(claim) = engine.claim(&tenfold::Scope::all()).unwrap() {
                        claims.push(claim);
                    }
                }
                4 | 5 if !claims.is_empty() => {
                    let claim = claims.swap_remove(random.below(claims.len()));
                    let end = [
                        Outcome::Completed(().into()),
                        Outcome::failed("no"),
                        Outcome::Cancelled,
                    ];
                    let end = end[random.below(3)].clone();
                    engine.complete(&claim, end).unwrap();
                }
                6 if !runs.is_empty() => drop(engine.cancel(runs[random.below(runs.len())])),
                _ => clock.advance(Duration::from_secs(1)),
            }
            engine.advance().unwrap();
            let (report, mut places) = (engine.snapshot(), [0; 4]);
            let mut gone = 0;
            for &run in &runs {
                match engine.run(run).map(|run| run.place) {
                    Ok(Place::Scheduled) => places[0] += 1,
                    Ok(Place::Ready | Place::Blocked) => places[1] += 1,
                    Ok(Place::Claimed) => places[2] += 1,
                    Ok(Place::Finished) => places[3] += 1,
                    Ok(place) => panic!("nothing was put {place:?}"),
                    Err(_) => gone += 1,
                }
            }
            let told = [
                report.scheduled,
                report.queued_tasks,
                report.processing_tasks,
                report.finished,
            ];
            assert_eq!(places, told, "seed {seed}");
            let ended = report.totals.completed + report.totals.failed + report.totals.cancelled;
            let ended = usize::try_from(ended).unwrap();
            assert_eq!(gone, ended.saturating_sub(4), "retention takes ended runs alone");
        }
        assert!(runs.len() > 20);
    }
}

#[test]
fn e5_r5_a_claim_that_is_put_back_before_it_began_uses_up_no_retry() {
    let (engine, clock) = engine();
    let retry = Retry::fixed(1, Duration::from_secs(1));
    engine.submit(NewRun::of("f").retry(retry)).unwrap();
    take(&engine);
    let put_back = |engine: &tenfold::Engine| {
        let document = engine.export().unwrap();
        let builder = tenfold::Engine::builder().clock(clock.clone());
        builder.import(document, tenfold::Claims::PutBack).unwrap()
    };
    let engine = put_back(&engine);
    let first = take(&engine);
    assert_eq!(first.attempt(), 1);
    engine.begin(&first).unwrap();
    // One that had begun does.
    let engine = put_back(&engine);
    let second = take(&engine);
    assert_eq!(second.attempt(), 2);
    let failed = Ended::Finished(StateType::Failed);
    assert_eq!(engine.complete(&second, Outcome::failed("no")).unwrap(), failed);
}
