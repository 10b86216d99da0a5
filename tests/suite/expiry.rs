//! Runs that are of no use after an instant (R8), and retries that keep their slots (R5).

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{Answer, Lease, Stop};
use tenfold::limit::LimitSpec;
use tenfold::model::{NewState, Place, StateType};
use tenfold::{
    Claim, Claims, DeploymentPatch, Empty, Engine, Error, NewDeployment, NewRun, Outcome, Priority, Retry,
    RunId, Scope,
};

use crate::support::{engine, level, refused, says, still, take};

const SECOND: Duration = Duration::from_secs(1);

fn at(clock: &ManualClock, seconds: i64) -> DateTime<Utc> {
    clock.now().wall + TimeDelta::seconds(seconds)
}

fn name(engine: &Engine, run: RunId) -> String {
    engine.run(run).unwrap().state_name.unwrap().to_string()
}

fn moved(engine: &Engine, clock: &ManualClock, claims: Claims) -> Engine {
    let document = engine.export().unwrap();
    let text = serde_json::to_string(&document).unwrap();
    let read = serde_json::from_str(&text).unwrap();
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(read, claims)
        .unwrap();
    if claims == Claims::Keep {
        assert_eq!(moved.export().unwrap(), document, "E5");
    }
    moved
}

#[test]
fn r8_a_run_that_nobody_claims_in_time_expires_wherever_it_waits() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("none", 1)).unwrap();
    engine
        .submit(NewRun::of("f").slot("none").priority(Priority::MAX))
        .unwrap();
    take(&engine);
    let until = at(&clock, 10);
    let ready = NewRun::of("f").expires_at(until);
    let runs = [
        engine.submit(ready.clone().slot("none")).unwrap().id,
        engine.submit(ready.clone().not_before(at(&clock, 5))).unwrap().id,
        engine.submit(ready.clone().not_before(at(&clock, 9))).unwrap().id,
    ];
    let whole = engine.submit("f").unwrap().id;
    engine.pause_pool("default").unwrap();
    for engine in [&engine, &moved(&engine, &clock, Claims::Keep)] {
        assert_eq!(engine.run(runs[0]).unwrap().expires_at, Some(until));
        assert_eq!(engine.run(whole).unwrap().expires_at, None);
    }
    clock.advance(9 * SECOND);
    assert_eq!(engine.snapshot().totals.cancelled, 0);
    assert_eq!(engine.advance().unwrap(), Some(SECOND), "it is a deadline");
    let other = moved(&engine, &clock, Claims::Keep);
    clock.advance(SECOND);
    for engine in [engine, other] {
        for run in runs {
            let run = engine.run(run).unwrap();
            assert_eq!(run.state_name.as_deref(), Some("Expired"));
            assert_eq!(
                (run.state_type, run.place),
                (Some(StateType::Cancelled), Place::Finished)
            );
            assert_eq!(run.end_time, Some(until));
            says(&run.state.unwrap().message.unwrap(), &["claimed"]);
        }
        assert_eq!(engine.run(whole).unwrap().place, Place::Blocked);
        assert_eq!(engine.snapshot().totals.cancelled, 3);
    }
}

#[test]
fn r8_what_was_claimed_in_time_does_not_expire_unless_it_is_given_back() {
    let (engine, clock) = engine();
    let new = NewRun::of("f")
        .expires_at(at(&clock, 10))
        .retry(Retry::fixed(1, 20 * SECOND));
    let begun = engine.submit(new.clone()).unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::failed("once")).unwrap();
    let given = engine.submit(new.clone()).unwrap().id;
    let claim = take(&engine);
    let put_back = moved(&engine, &clock, Claims::PutBack);
    clock.advance(10 * SECOND);
    assert_eq!(name(&put_back, given), "Expired");
    assert_eq!(name(&engine, given), "Pending");
    engine.give_back(&claim).unwrap();
    assert_eq!(name(&engine, given), "Expired");
    assert_eq!(name(&engine, begun), "AwaitingRetry");
    clock.advance(10 * SECOND);
    assert_eq!(take(&engine).run(), begun, "a retry has started in time");
}

#[test]
fn r8_a_time_that_is_over_is_refused_but_not_to_who_asks_again() {
    let (engine, clock) = engine();
    let wrong = [
        NewRun::of("f").expires_at(at(&clock, 0)),
        NewRun::of("f").expires_at(at(&clock, -1)),
        NewRun::of("f").expires_at(DateTime::<Utc>::MIN_UTC),
        NewRun::of("f")
            .not_before(at(&clock, 5))
            .expires_at(at(&clock, 5)),
    ];
    for new in wrong {
        let error = refused(&engine, |engine| engine.submit(new.clone()));
        says(&error, &["expires_at", "not_before"]);
    }
    engine
        .submit(
            NewRun::of("f")
                .expires_at(DateTime::<Utc>::MAX_UTC)
                .priority(level(1)),
        )
        .unwrap();
    take(&engine);
    let keyed = NewRun::of("f").idempotency_key("k").expires_at(at(&clock, 5));
    let run = engine.submit(keyed.clone()).unwrap().id;
    clock.advance(6 * SECOND);
    let again = engine.submit(keyed.clone()).unwrap();
    assert!((again.id, again.existing) == (run, true));
    let other = NewRun::of("f").idempotency_key("k").expires_at(at(&clock, 50));
    assert!(matches!(engine.submit(other), Err(Error::KeyConflict { .. })));
}

/// An engine of one slot, with a run that keeps it from its failure on for five seconds.
fn keeping() -> (Engine, ManualClock, RunId, Claim) {
    let (builder, clock) = still();
    let engine = builder.limit(1).build().unwrap();
    engine.define_limit(LimitSpec::new("gpu", 2)).unwrap();
    let one = NonZeroU32::new(1).unwrap();
    engine
        .deploy(
            NewDeployment::new("f", "d")
                .concurrency_limit(one)
                .slots("gpu", 2)
                .retry(Retry::fixed(2, 5 * SECOND).keep_slots()),
        )
        .unwrap();
    let run = engine.submit("f/d").unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::failed("once")).unwrap();
    (engine, clock, run, claim)
}

#[test]
fn r5_l2_a_retry_that_keeps_its_slots_is_claimed_between_its_attempts() {
    let (engine, clock, run, first) = keeping();
    let between = engine.run(run).unwrap();
    assert_eq!(
        (between.place, between.state_name.as_deref()),
        (Place::Claimed, Some("AwaitingRetry"))
    );
    let status = engine.snapshot();
    assert_eq!(
        (status.processing_tasks, status.queued_tasks, status.scheduled),
        (1, 0, 0)
    );
    assert_eq!(engine.limit("gpu").unwrap().status.active_slots, 2);
    // The old claim is stale, and nobody takes the place.
    let late = refused(&engine, |engine| engine.complete(&first, Outcome::Cancelled));
    assert!(matches!(late, Error::StaleClaim { .. }));
    let urgent = engine.submit(NewRun::of("f").priority(Priority::MAX)).unwrap().id;
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Full);
    clock.advance(5 * SECOND);
    let other = moved(&engine, &clock, Claims::PutBack);
    for engine in [&engine, &other] {
        let claim = take(engine);
        assert_eq!((claim.run(), claim.attempt()), (run, 2), "no full limit stops it");
        assert!(claim.token() > first.token());
        assert_eq!(engine.snapshot().processing_tasks, 1);
        engine.begin(&claim).unwrap();
        engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
        assert_eq!(engine.limit("gpu").unwrap().status.active_slots, 0);
        assert_eq!(take(engine).run(), urgent);
    }
}

#[test]
fn r5_e5_what_is_kept_moves_with_the_engine() {
    let (engine, clock, run, _) = keeping();
    clock.advance(2 * SECOND);
    let other = moved(&engine, &clock, Claims::Keep);
    assert_eq!(other.run(run).unwrap().place, Place::Claimed);
    assert_eq!(
        other.claim(&Scope::all()).unwrap().unwrap_err(),
        engine.claim(&Scope::all()).unwrap().unwrap_err()
    );
    clock.advance(3 * SECOND);
    let due = moved(&other, &clock, Claims::Keep);
    for engine in [engine, other, due] {
        assert_eq!(take(&engine).run(), run);
    }
}

#[test]
fn r5_c1_kept_retries_stand_in_claim_order_and_a_pause_stops_them() {
    let (builder, clock) = still();
    let engine = builder.limit(2).build().unwrap();
    engine.flow("f").unwrap();
    let submit = |at: u8| {
        let retry = Retry::fixed(1, SECOND).keep_slots();
        engine
            .submit(NewRun::of("f").priority(level(at)).retry(retry))
            .unwrap()
            .id
    };
    let runs = [submit(5), submit(5)];
    for _ in runs {
        let claim = take(&engine);
        engine.begin(&claim).unwrap();
        engine.complete(&claim, Outcome::failed("once")).unwrap();
    }
    let (low, high) = (submit(4), submit(9));
    clock.advance(SECOND);
    engine.pause_queue("default", "default").unwrap();
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Paused);
    assert_eq!(
        engine.claim_run(runs[0]).unwrap().unwrap_err(),
        Stop::QueuePaused("default".into())
    );
    engine.resume_queue("default", "default").unwrap();
    // A look ahead has them between those that wait in line.
    let ahead = engine.peek(&Scope::all(), None, None, 10).unwrap();
    let ahead: Vec<RunId> = ahead.into_iter().map(|run| run.id).collect();
    assert_eq!(ahead, [high, runs[0], runs[1], low]);
    engine.set_priority(runs[1], level(6)).unwrap();
    engine.set_limit(Some(3)).unwrap();
    let order: Vec<RunId> = (0..3).map(|_| take(&engine).run()).collect();
    assert_eq!(
        order,
        [high, runs[1], runs[0]],
        "by level, whether kept or in line"
    );
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Full);
}

#[test]
fn r5_l2_however_a_kept_retry_ends_its_slots_go_back_once() {
    type End = fn(&Engine, RunId);
    let ends: [End; 6] = [
        |engine, run| assert_eq!(engine.cancel(run).unwrap(), StateType::Cancelled),
        |engine, run| {
            let failed = NewState::of(StateType::Failed).force();
            engine.set_state(run, failed).unwrap();
        },
        |engine, run| {
            engine.delete_run(run).unwrap();
        },
        |engine, run| {
            let id = engine.run(run).unwrap().deployment_id.unwrap();
            engine.delete_deployment(id).unwrap();
        },
        |engine, run| {
            let answer = engine.set_state(run, StateType::Pending).unwrap();
            let claim = answer.into_claim().expect("its slots are there");
            engine.give_back(&claim).unwrap();
            assert_eq!(
                engine.run(run).unwrap().place,
                Place::Scheduled,
                "before its time"
            );
        },
        |engine, run| {
            let answer = engine
                .set_state(run, NewState::of(StateType::Running).force())
                .unwrap();
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
            let claim = answer.into_claim().unwrap();
            engine.complete(&claim, Outcome::Cancelled).unwrap();
        },
    ];
    for end in ends {
        for seconds in [0, 5] {
            let (engine, clock, run, _) = keeping();
            if seconds == 5 && std::ptr::fn_addr_eq(end, ends[4]) {
                continue;
            }
            clock.advance(seconds * SECOND);
            end(&engine, run);
            assert_eq!(engine.snapshot().processing_tasks, 0);
            assert_eq!(engine.limit("gpu").unwrap().status.active_slots, 0);
        }
    }
}

#[test]
fn r5_a_lapsed_lease_and_a_new_limit_go_well_with_kept_slots() {
    let (engine, clock, run, _) = keeping();
    clock.advance(5 * SECOND);
    let lease = Lease::of(SECOND).or_retry();
    let claim = engine.claim_leased(&Scope::all(), lease).unwrap().unwrap();
    assert_eq!(claim.attempt(), 2);
    clock.advance(SECOND);
    assert_eq!(name(&engine, run), "AwaitingRetry");
    assert_eq!(engine.snapshot().processing_tasks, 1);
    // Attaching a limit counts what is kept.
    let id = engine.run(run).unwrap().deployment_id.unwrap();
    for limit in [None, NonZeroU32::new(3)] {
        let patch = DeploymentPatch::new().concurrency_limit(limit);
        engine.update_deployment(id, patch).unwrap();
    }
    clock.advance(5 * SECOND);
    let claim = take(&engine);
    assert_eq!((claim.run(), claim.attempt()), (run, 3));
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::failed("thrice")).unwrap();
    assert_eq!(name(&engine, run), "Failed");
    assert_eq!(engine.snapshot().processing_tasks, 0);
}
