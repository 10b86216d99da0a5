//! Retries with all their delays, time in all, and leases of workers that the engine cannot watch.

use std::time::Duration;

use chrono::TimeDelta;
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{Lease, Outcome, StopReason};
use tenfold::model::{NewState, Place, StateType};
use tenfold::{Claims, Ended, Engine, Error, NewRun, Retry, RunId, Scope};

use crate::support::{Random, engine, refused, says, still, take};

const SECOND: Duration = Duration::from_secs(1);

/// Fails a run until it has ended, and answers after which delays it was tried again.
fn delays(engine: &Engine, clock: &ManualClock, retry: Retry) -> Vec<Duration> {
    let run = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
    let mut delays = Vec::new();
    loop {
        let claim = take(engine);
        engine.begin(&claim).unwrap();
        if engine.complete(&claim, Outcome::failed("no")).unwrap() != Ended::Retrying {
            assert_eq!(engine.run(run).unwrap().state_type, Some(StateType::Failed));
            return delays;
        }
        let wait = engine.advance().unwrap().unwrap();
        delays.push(wait);
        clock.advance(wait);
    }
}

#[test]
fn r5_delays_are_fixed_doubled_up_to_a_most_or_listed() {
    let (engine, clock) = engine();
    let seconds = |of: &[u32]| -> Vec<Duration> { of.iter().map(|&n| n * SECOND).collect() };
    assert_eq!(
        delays(&engine, &clock, Retry::fixed(3, 2 * SECOND)),
        seconds(&[2, 2, 2])
    );
    let doubled = Retry::exponential(6, SECOND, 10 * SECOND);
    assert_eq!(delays(&engine, &clock, doubled), seconds(&[1, 2, 4, 8, 10, 10]));
    let listed = Retry::list(4, [5 * SECOND, SECOND, 7 * SECOND]);
    assert_eq!(delays(&engine, &clock, listed), seconds(&[5, 1, 7, 7]));
    assert_eq!(
        Retry::exponential(10_000, SECOND, 9 * SECOND).delay_after(u32::MAX),
        9 * SECOND
    );
}

#[test]
fn e1_jitter_comes_from_the_seed_and_stays_within_its_percentage() {
    let jittered = || {
        let (engine, clock) = engine();
        delays(&engine, &clock, Retry::fixed(40, 10 * SECOND).jitter(50))
    };
    let first = jittered();
    assert_eq!(first, jittered(), "the same seed, the same delays");
    assert!(
        first
            .iter()
            .all(|delay| (10 * SECOND..=15 * SECOND).contains(delay))
    );
    assert!(first.iter().any(|delay| *delay > 13 * SECOND) && first.iter().any(|delay| *delay < 12 * SECOND));
}

#[test]
fn r5_the_time_in_all_ends_an_attempt_and_waits_for_none_that_comes_too_late() {
    let (engine, clock) = engine();
    let retry = Retry::fixed(10, 4 * SECOND).within(10 * SECOND);
    let run = engine
        .submit(NewRun::of("f").timeout(7 * SECOND).retry(retry.clone()))
        .unwrap()
        .id;
    clock.advance(60 * SECOND);
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    clock.advance(SECOND);
    assert_eq!(
        engine.complete(&claim, Outcome::failed("no")).unwrap(),
        Ended::Retrying
    );
    clock.advance(4 * SECOND);
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    // Five seconds are left, less than the timeout of the attempt; and what remains moves.
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(engine.export().unwrap(), Claims::Keep)
        .unwrap();
    assert_eq!(moved.export().unwrap(), engine.export().unwrap());
    for engine in [&engine, &moved] {
        assert_eq!(engine.advance().unwrap(), Some(5 * SECOND));
    }
    clock.advance(60 * SECOND);
    for engine in [&engine, &moved] {
        let ended = engine.run(run).unwrap();
        assert_eq!(
            (ended.state_name.as_deref(), ended.place),
            (Some("TimedOut"), Place::Finished)
        );
        assert_eq!(
            clock.now().wall - ended.end_time.unwrap(),
            TimeDelta::seconds(55),
            "at its instant"
        );
    }
    // With four of ten seconds left, a delay of four is not waited for.
    let run = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    clock.advance(6 * SECOND);
    let failed = Ended::Finished(StateType::Failed);
    assert_eq!(engine.complete(&claim, Outcome::failed("no")).unwrap(), failed);
    assert_eq!(engine.run(run).unwrap().place, Place::Finished);
}

#[test]
fn e2_retries_that_cannot_be_are_refused_with_their_field() {
    let (engine, _) = engine();
    let century = Duration::from_secs(101 * 366 * 86_400);
    let bad = [
        (Retry::list(1, []), ["retry_delay", "no delays", "1 to 50"]),
        (
            Retry::list(1, [SECOND; 51]),
            ["retry_delay", "more than 50", "1 to 50"],
        ),
        (Retry::list(1, [century]), ["retry_delay", "s\"", "100 years"]),
        (
            Retry::exponential(1, SECOND, century),
            ["retry_delay", "s\"", "100 years"],
        ),
        (
            Retry::fixed(10_001, SECOND),
            ["retries", "10001", "at most 10,000"],
        ),
        (
            Retry::fixed(1, SECOND).jitter(1_001),
            ["retry_jitter", "1001 percent", "at most 1,000"],
        ),
        (
            Retry::fixed(1, SECOND).within(Duration::ZERO),
            ["retry_within", "0ns", "one microsecond"],
        ),
    ];
    for (retry, parts) in bad {
        let new = NewRun::of("f").retry(retry);
        says(&refused(&engine, |engine| engine.submit(new)), &parts);
    }
    engine
        .submit(NewRun::of("f").retry(Retry::list(10_000, [SECOND; 50]).jitter(1_000)))
        .unwrap();
}

/// A claim of a new run under a lease.
fn leased(engine: &Engine, retry: Retry, lease: Lease) -> (RunId, tenfold::Claim) {
    let run = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
    let claim = engine.claim_leased(&Scope::all(), lease).unwrap().unwrap();
    engine.begin(&claim).unwrap();
    (run, claim)
}

#[test]
fn r5_a_lapsed_lease_crashes_the_run_at_its_instant_and_frees_its_slots() {
    let (builder, clock) = still();
    let engine = builder.limit(1).build().unwrap();
    engine.flow("f").unwrap();
    let (run, claim) = leased(&engine, Retry::fixed(3, SECOND), Lease::of(10 * SECOND));
    let almost = Duration::from_micros(9_999_999);
    let next = engine.submit("f").unwrap().id;
    clock.advance(almost);
    assert_eq!(engine.heartbeat(&claim).unwrap(), None);
    clock.advance(almost);
    assert_eq!(engine.run(run).unwrap().place, Place::Claimed);
    clock.advance(SECOND);
    let ended = engine.run(run).unwrap();
    assert_eq!(ended.state_type, Some(StateType::Crashed));
    assert_eq!(
        ended.state.unwrap().message.as_deref(),
        Some("the lease of its worker lapsed")
    );
    assert_eq!(claim.stop_reason(), Some(StopReason::Superseded));
    assert_eq!(take(&engine).run(), next, "its slot is free");
}

#[test]
fn r2_what_comes_after_a_lapse_is_refused_and_changes_nothing() {
    let (engine, clock) = engine();
    let (run, claim) = leased(&engine, Retry::fixed(1, SECOND), Lease::of(SECOND).or_retry());
    clock.advance(SECOND);
    for _ in 0..2 {
        says(
            &refused(&engine, |engine| engine.heartbeat(&claim)),
            &["stale", "the attempt has ended"],
        );
        says(
            &refused(&engine, |engine| {
                engine.complete(&claim, Outcome::Completed(1.into()))
            }),
            &["stale"],
        );
        refused(&engine, |engine| engine.lease(&claim, Lease::of(SECOND)));
        refused(&engine, |engine| engine.pause(&claim, None));
    }
    assert_eq!(
        engine.run(run).unwrap().state_name.as_deref(),
        Some("AwaitingRetry")
    );
    clock.advance(SECOND);
    let second = take(&engine);
    assert_eq!((second.run(), second.attempt()), (run, 2));
    says(
        &refused(&engine, |engine| engine.heartbeat(&claim)),
        &["a newer attempt"],
    );
    engine.begin(&second).unwrap();
    engine.lease(&second, Lease::of(SECOND).or_retry()).unwrap();
    clock.advance(SECOND);
    let ended = engine.run(run).unwrap();
    assert_eq!(ended.state_type, Some(StateType::Crashed), "no retries are left");
}

#[test]
fn r5_a_lease_ends_with_its_attempt_and_a_cancelled_one_ends_cancelled() {
    let (engine, clock) = engine();
    let (done, claim) = leased(&engine, Retry::default(), Lease::of(SECOND));
    engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    let (paused, claim) = leased(&engine, Retry::default(), Lease::of(SECOND));
    engine.pause(&claim, None).unwrap();
    let (set, _) = leased(&engine, Retry::default(), Lease::of(SECOND));
    engine.set_state(set, NewState::of(StateType::Failed)).unwrap();
    let (cancelled, claim) = leased(&engine, Retry::fixed(1, SECOND), Lease::of(SECOND).or_retry());
    engine.cancel(cancelled).unwrap();
    assert_eq!(engine.heartbeat(&claim).unwrap(), Some(StopReason::Cancelled));
    clock.advance(60 * SECOND);
    let state = |run| engine.run(run).unwrap().state_type.unwrap();
    assert_eq!(
        [done, paused, set, cancelled].map(state),
        [
            StateType::Completed,
            StateType::Paused,
            StateType::Failed,
            StateType::Cancelled
        ]
    );
}

#[test]
fn e5_what_remains_of_a_lease_moves_by_the_monotonic_clock() {
    let (engine, clock) = engine();
    let (run, claim) = leased(&engine, Retry::default(), Lease::of(10 * SECOND));
    clock.advance(4 * SECOND);
    // The wall clock says nothing about leases.
    clock.jump_to(clock.now().wall + TimeDelta::hours(1));
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(engine.export().unwrap(), Claims::Keep)
        .unwrap();
    assert_eq!(moved.advance().unwrap(), Some(6 * SECOND));
    let again = moved.claim_again(run, claim.token()).unwrap();
    moved.heartbeat(&again).unwrap();
    assert_eq!(moved.advance().unwrap(), Some(10 * SECOND), "as long as it was");
    clock.advance(10 * SECOND);
    assert_eq!(moved.run(run).unwrap().state_type, Some(StateType::Crashed));
    let put_back = Engine::builder()
        .clock(clock)
        .import(engine.export().unwrap(), Claims::PutBack);
    assert_eq!(put_back.unwrap().snapshot().processing_tasks, 0);
}

#[test]
fn e2_a_lease_of_nothing_or_for_ever_is_refused() {
    let (engine, _) = engine();
    engine.submit("f").unwrap();
    for span in [Duration::ZERO, Duration::from_nanos(999), Duration::MAX] {
        let refusal = refused(&engine, |engine| {
            engine.claim_leased(&Scope::all(), Lease::of(span))
        });
        says(&refusal, &["lease", "one microsecond to 100 years"]);
    }
}

#[test]
fn r2_random_heartbeats_keep_exactly_the_leases_they_should() {
    let mut random = Random::new(5);
    for _ in 0..50 {
        let (engine, clock) = engine();
        let span = Duration::from_millis(1_000);
        let mut kept: Vec<(tenfold::Claim, Duration)> = (0..8)
            .map(|_| {
                (
                    leased(&engine, Retry::default(), Lease::of(span)).1,
                    Duration::ZERO,
                )
            })
            .collect();
        let mut lapsed = 0;
        for _ in 0..40 {
            clock.advance(Duration::from_millis(random.below(300) as u64));
            let now = clock.now().mono;
            if kept.is_empty() {
                break;
            }
            let at = random.below(kept.len());
            let (claim, beat) = &mut kept[at];
            // The model: a beat is taken when less than the span has passed since the last one.
            match (engine.heartbeat(claim), now < *beat + span) {
                (Ok(_), true) => *beat = now,
                (Err(Error::StaleClaim { .. }), false) => {
                    lapsed += 1;
                    kept.swap_remove(at);
                }
                other => panic!("{other:?}"),
            }
            let alive = kept.iter().filter(|(_, beat)| now < *beat + span).count();
            assert_eq!(engine.snapshot().processing_tasks, alive, "{lapsed} lapsed");
        }
    }
}
