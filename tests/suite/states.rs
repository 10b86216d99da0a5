//! The state graph from outside: the reference's example lines 31 to 39, force, and the states that a run had.
//!
//! Where the answer differs from the reference's, the test says so.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use tenfold::clock::Clock;
use tenfold::engine::graph::Reason;
use tenfold::engine::{Answer, Outcome, StopReason};
use tenfold::filter::{Entity, Filter, Query};
use tenfold::limit::LimitSpec;
use tenfold::model::{NewState, Place, StateType};
use tenfold::{DeploymentPatch, Engine, Error, NewDeployment, NewRun, Retry, RunId, Scope};

use crate::support::{engine, refused, says, still, take};

/// Two runs, `a` before `b`, of a deployment that lets in one.
fn one_slot() -> (Engine, tenfold::clock::ManualClock, RunId, RunId) {
    let (engine, clock) = engine();
    let one = NonZeroU32::new(1).unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").concurrency_limit(one))
        .unwrap();
    let (a, b) = (engine.submit("f/d").unwrap().id, engine.submit("f/d").unwrap().id);
    (engine, clock, a, b)
}

fn set(engine: &Engine, run: RunId, state: impl Into<NewState>) -> Answer {
    engine.set_state(run, state).unwrap()
}

fn name(engine: &Engine, run: RunId) -> String {
    engine.run(run).unwrap().state_name.unwrap().to_string()
}

#[test]
fn c4_line_31_a_second_run_waits_for_the_slot_in_line_not_half_a_minute() {
    let (engine, _, a, b) = one_slot();
    let first = set(&engine, a, StateType::Pending).into_claim().unwrap();
    let Answer::Rejected { state, reason } = set(&engine, b, StateType::Pending) else {
        panic!("one slot was handed out twice")
    };
    assert_eq!(
        (state.kind, state.name.as_str()),
        (StateType::Scheduled, "AwaitingConcurrencySlot")
    );
    assert_eq!(reason, Reason::LimitFull);
    assert_eq!(engine.run(b).unwrap().place, Place::Blocked);
    engine.complete(&first, Outcome::Cancelled).unwrap();
    assert_eq!(
        take(&engine).run(),
        b,
        "it is let in at once when the slot is free"
    );
}

#[test]
fn c4_line_32_a_claimed_run_is_not_claimed_again_but_may_be_renamed() {
    let (engine, _, a, _) = one_slot();
    let claim = set(&engine, a, StateType::Pending).into_claim().unwrap();
    assert!(matches!(
        set(&engine, a, StateType::Pending),
        Answer::Aborted(Reason::HandedOut)
    ));
    let forced = set(&engine, a, NewState::of(StateType::Pending).force());
    assert!(
        matches!(forced, Answer::Aborted(Reason::HandedOut)),
        "force does not get past a claim"
    );
    let renamed = set(&engine, a, NewState::of(StateType::Pending).name("Submitting"));
    assert!(matches!(renamed, Answer::Accepted { claim: None, .. }));
    assert_eq!(name(&engine, a), "Submitting");
    engine.begin(&claim).unwrap();
}

#[test]
fn c4_line_33_an_end_lets_the_next_one_in() {
    let (engine, _, a, b) = one_slot();
    let claim = set(&engine, a, StateType::Pending).into_claim().unwrap();
    set(&engine, a, StateType::Completed);
    assert_eq!(claim.stop_reason(), Some(StopReason::Superseded));
    assert!(matches!(
        engine.complete(&claim, Outcome::Cancelled),
        Err(Error::StaleClaim { .. })
    ));
    assert!(set(&engine, b, StateType::Pending).into_claim().is_some());
    assert_eq!(engine.snapshot().processing_tasks, 1);
}

#[test]
fn c4_line_35_a_limit_of_nothing_keeps_the_run_where_it_is() {
    // The reference aborts at a deployment's limit of 0; here such a limit cannot be made, and an engine's, pool's or queue's
    // of 0 closes it: the run keeps its state.
    let (builder, _) = still();
    let engine = builder.limit(0).build().unwrap();
    engine.flow("f").unwrap();
    let run = engine.submit("f").unwrap().id;
    for state in [
        NewState::of(StateType::Pending),
        NewState::of(StateType::Running).force(),
    ] {
        assert!(matches!(
            set(&engine, run, state),
            Answer::Rejected {
                reason: Reason::Full,
                ..
            }
        ));
    }
    assert_eq!(name(&engine, run), "Scheduled");
}

#[test]
fn c4_line_36_a_run_may_be_claimed_before_its_time_and_begins_when_it_is_due() {
    let (engine, clock) = engine();
    let due = clock.now().wall + TimeDelta::seconds(100);
    let run = engine.submit(NewRun::of("f").not_before(due)).unwrap().id;
    let hundred = Duration::from_secs(100);
    assert!(matches!(set(&engine, run, StateType::Running), Answer::Wait(span) if span == hundred));
    let claim = set(&engine, run, StateType::Pending).into_claim().unwrap();
    assert!(matches!(set(&engine, run, StateType::Running), Answer::Wait(span) if span == hundred));
    says(
        &refused(&engine, |engine| engine.begin(&claim)),
        &["PENDING", "RUNNING", "when it is due"],
    );
    clock.advance(hundred);
    engine.begin(&claim).unwrap();
    // Given back before its time, it is not due before it either.
    let run = engine
        .submit(NewRun::of("f").not_before(due + hundred))
        .unwrap()
        .id;
    let claim = set(&engine, run, StateType::Pending).into_claim().unwrap();
    engine.give_back(&claim).unwrap();
    assert_eq!(engine.run(run).unwrap().place, Place::Scheduled);
    assert!(engine.claim(&Scope::all()).unwrap().is_err());
    clock.advance(hundred);
    assert_eq!(take(&engine).run(), run);
}

#[test]
fn r3_line_37_what_nobody_executes_is_cancelled_without_a_detour() {
    let (engine, _) = engine();
    let run = engine.submit("f").unwrap().id;
    let answer = set(&engine, run, StateType::Cancelling);
    assert_eq!(answer.state().unwrap().kind, StateType::Cancelled);
    assert_eq!(engine.run(run).unwrap().place, Place::Finished);
    assert_eq!(engine.run(run).unwrap().start_time, None, "it never ran");
}

#[test]
fn r3_line_38_cancelling_is_one_way() {
    let (engine, _) = engine();
    let run = engine.submit("f").unwrap().id;
    let claim = set(&engine, run, StateType::Running).into_claim().unwrap();
    set(&engine, run, StateType::Cancelling);
    assert_eq!(claim.stop_reason(), Some(StopReason::Cancelled));
    for state in [
        StateType::Failed,
        StateType::Running,
        StateType::Scheduled,
        StateType::Completed,
    ] {
        let answer = set(&engine, run, state);
        assert!(
            matches!(
                answer,
                Answer::Rejected {
                    reason: Reason::OneWay,
                    ..
                }
            ),
            "{state}"
        );
    }
    let ended = engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
    assert_eq!(ended, tenfold::Ended::Finished(StateType::Cancelled));
}

#[test]
fn r3_line_39_a_finished_run_stays_finished() {
    // The reference lets FAILED be scheduled again where there is a deployment; here that is a new run.
    let (engine, _, a, _) = one_slot();
    set(&engine, a, StateType::Failed);
    let before = engine.export().unwrap();
    for state in [
        StateType::Crashed,
        StateType::Scheduled,
        StateType::Running,
        StateType::Failed,
    ] {
        for state in [NewState::of(state), NewState::of(state).force()] {
            assert!(matches!(set(&engine, a, state), Answer::Aborted(Reason::Ended)));
        }
    }
    assert_eq!(engine.export().unwrap(), before);
}

#[test]
fn r3_force_skips_the_rules() {
    let (engine, _) = engine();
    let retry = Retry::fixed(3, Duration::from_secs(9));
    let run = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
    assert!(matches!(
        set(&engine, run, StateType::Paused),
        Answer::Rejected {
            reason: Reason::NotRunning,
            ..
        }
    ));
    assert!(matches!(
        set(&engine, run, NewState::of(StateType::Paused).force()),
        Answer::Accepted { .. }
    ));
    set(&engine, run, StateType::Running);
    assert_eq!(
        set(&engine, run, StateType::Failed).state().unwrap().name,
        "AwaitingRetry"
    );
    assert!(
        set(&engine, run, NewState::of(StateType::Pending))
            .into_claim()
            .is_some()
    );
    let failed = set(
        &engine,
        run,
        NewState::of(StateType::Failed).message("enough").force(),
    );
    assert_eq!(failed.state().unwrap().message.as_deref(), Some("enough"));
    assert_eq!(engine.run(run).unwrap().place, Place::Finished);
}

#[test]
fn r3_a_run_may_be_moved_to_another_instant_and_loses_its_place() {
    let (engine, clock) = engine();
    let (moved, other) = (engine.submit("f").unwrap().id, engine.submit("f").unwrap().id);
    let later = clock.now().wall + TimeDelta::seconds(5);
    set(&engine, moved, NewState::of(StateType::Scheduled).at(later));
    assert_eq!(engine.run(moved).unwrap().place, Place::Scheduled);
    set(&engine, other, NewState::of(StateType::Scheduled).name("Late"));
    assert!(matches!(
        set(&engine, other, NewState::of(StateType::Scheduled).name("Late")),
        Answer::Rejected {
            reason: Reason::LateIsALabel,
            ..
        }
    ));
    clock.advance(Duration::from_secs(5));
    assert_eq!((take(&engine).run(), take(&engine).run()), (other, moved));
}

#[test]
fn r3_the_states_of_a_run_are_kept_up_to_a_bound_and_moved_with_it() {
    let (builder, clock) = still();
    let engine = builder.run_states(5).build().unwrap();
    engine.flow("f").unwrap();
    let run = engine
        .submit(NewRun::of("f").retry(Retry::fixed(10, Duration::ZERO)))
        .unwrap()
        .id;
    for n in 0..4 {
        let claim = take(&engine);
        engine.begin(&claim).unwrap();
        engine
            .complete(&claim, Outcome::failed(format!("no {n}")))
            .unwrap();
    }
    let names = |engine: &Engine| -> Vec<String> {
        let said = |state: tenfold::model::State| {
            format!("{} {}", state.name, state.message.as_deref().unwrap_or("-"))
        };
        engine.states(run).unwrap().into_iter().map(said).collect()
    };
    let expected = [
        "Scheduled -",
        "Pending -",
        "Running -",
        "Pending -",
        "Retrying -",
        "AwaitingRetry no 3",
    ];
    assert_eq!(names(&engine), expected);
    let document = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(serde_json::from_str(&document).unwrap(), tenfold::Claims::Keep)
        .unwrap();
    assert_eq!(names(&moved), expected);
    assert_eq!(serde_json::to_string(&moved.export().unwrap()).unwrap(), document);
}

#[test]
fn r5_a_pause_gives_the_slots_back_and_counts_neither_as_attempt_nor_as_start() {
    let (engine, clock, a, b) = one_slot();
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    clock.advance(Duration::from_secs(1));
    engine.pause(&claim, Some(Duration::from_secs(60))).unwrap();
    assert!(matches!(
        engine.complete(&claim, Outcome::Cancelled),
        Err(Error::StaleClaim { .. })
    ));
    assert_eq!(engine.snapshot().processing_tasks, 0);
    let other = take(&engine);
    assert_eq!(other.run(), b, "its slot is free");
    engine.resume(a).unwrap();
    assert_eq!(
        (name(&engine, a).as_str(), engine.run(a).unwrap().place),
        ("Resuming", Place::Blocked)
    );
    says(
        &refused(&engine, |engine| engine.resume(a)),
        &["SCHEDULED", "only a run that is PAUSED"],
    );
    engine.complete(&other, Outcome::Cancelled).unwrap();
    let again = take(&engine);
    assert_eq!((again.run(), again.attempt()), (a, 1));
    engine.give_back(&again).unwrap();
    assert_eq!(name(&engine, a), "Resuming");
    engine.begin(&take(&engine)).unwrap();
    let run = engine.run(a).unwrap();
    assert_eq!((run.run_count, run.total_run_time), (1, Duration::from_secs(1)));
}

#[test]
fn r5_a_pause_that_nobody_ends_fails_the_run_at_its_instant_also_after_a_move() {
    let (engine, clock, a, _) = one_slot();
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    engine.pause(&claim, Some(Duration::from_secs(60))).unwrap();
    clock.advance(Duration::from_secs(20));
    let document = engine.export().unwrap();
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(document, tenfold::Claims::Keep)
        .unwrap();
    clock.advance(Duration::from_secs(40) - Duration::from_micros(1));
    assert_eq!(moved.run(a).unwrap().place, Place::Paused);
    clock.advance(Duration::from_secs(60));
    let run = moved.run(a).unwrap();
    assert_eq!(
        (run.state_type, run.place),
        (Some(StateType::Failed), Place::Finished)
    );
    let ended = run.end_time.unwrap();
    assert_eq!(
        clock.now().wall - ended,
        TimeDelta::seconds(60) - TimeDelta::microseconds(1),
        "at its instant"
    );
}

#[test]
fn e4_more_runs_than_may_are_not_paused() {
    let (builder, _) = still();
    let engine = builder.paused_runs(1).build().unwrap();
    engine.flow("f").unwrap();
    let claims: Vec<_> = (0..2)
        .map(|_| {
            engine.submit("f").unwrap();
            let claim = take(&engine);
            engine.begin(&claim).unwrap();
            claim
        })
        .collect();
    engine.pause(&claims[0], None).unwrap();
    let full = refused(&engine, |engine| engine.pause(&claims[1], None));
    says(&full, &["1 of at most 1 paused runs"]);
    refused(&engine, |engine| {
        engine.set_state(claims[1].run(), StateType::Paused)
    });
}

#[test]
fn s4_an_occurrence_that_was_chosen_early_or_moved_counts_once_and_disturbs_no_other() {
    let (engine, clock) = engine();
    let every = tenfold::Schedule::cron("* * * * *", "UTC").unwrap();
    let new = tenfold::NewSchedule::new(every).overlap(tenfold::engine::Overlap::Skip);
    engine
        .deploy(NewDeployment::new("f", "often").schedule(new))
        .unwrap();
    let minute = Duration::from_secs(60);
    engine.complete(&take(&engine), Outcome::Cancelled).unwrap();
    engine.advance().unwrap();
    let all = Query::new(Filter::everything(Entity::Run));
    let mut planned = engine.runs(&all).unwrap().results;
    planned.retain(|run| run.place == Place::Scheduled);
    planned.sort_by_key(|run| run.next_scheduled_start_time);
    let (first, second) = (planned[0].id, planned[1].id);
    let claim = set(&engine, first, StateType::Pending).into_claim().unwrap();
    // Moved to the instant of another one, it is an ordinary run there.
    set(
        &engine,
        second,
        NewState::of(StateType::Scheduled).at(planned[2].next_scheduled_start_time.unwrap()),
    );
    clock.advance(3 * minute);
    engine.advance().unwrap();
    assert_eq!(
        name(&engine, planned[2].id),
        "Skipped",
        "the first of the schedule has not ended"
    );
    assert_eq!(engine.run(second).unwrap().place, Place::Ready);
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::Cancelled).unwrap();
}

#[test]
fn e2_states_that_cannot_be_are_refused() {
    let (engine, _, a, _) = one_slot();
    let long = "x".repeat(1_001);
    for name in ["", &long] {
        let new = NewState::of(StateType::Scheduled).name(name);
        says(
            &refused(&engine, |engine| engine.set_state(a, new)),
            &["state_name", "1 to 1,000 bytes"],
        );
    }
    let new = NewState::of(StateType::Paused).timeout(Duration::MAX).force();
    refused(&engine, |engine| engine.set_state(a, new));
    let gone = engine.deployment_by_name("f/d").unwrap().id;
    engine.update_deployment(gone, DeploymentPatch::new()).unwrap();
    engine.delete_deployment(gone).unwrap();
    assert!(matches!(
        set(&engine, a, StateType::Pending),
        Answer::Aborted(Reason::Ended)
    ));
}

#[test]
fn e3_a_state_that_ends_a_run_of_which_no_record_is_kept_is_answered() {
    // The record is gone with the end; its row was read for the answer, which poisoned the engine.
    for (state, force) in [(StateType::Completed, true), (StateType::Cancelling, false)] {
        let engine = Engine::builder().finished_runs(0).build().unwrap();
        engine.flow("f").unwrap();
        let run = engine.submit("f").unwrap().id;
        let new = NewState::of(state);
        let (Answer::Accepted { state: entered, .. } | Answer::Rejected { state: entered, .. }) = engine
            .set_state(run, if force { new.force() } else { new })
            .unwrap()
        else {
            panic!("the run ends in {state:?}")
        };
        assert!(matches!(
            entered.kind,
            StateType::Completed | StateType::Cancelled
        ));
        assert!(engine.run(run).is_err());
        assert_eq!(engine.snapshot().queued_tasks, 0);
    }
}

#[test]
fn r3_a_resumed_run_that_a_limit_refuses_is_still_a_resumed_one() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("one", 1)).unwrap();
    let run = engine.submit(NewRun::of("f").slot("one")).unwrap().id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    engine.pause(&claim, None).unwrap();
    let other = engine.submit(NewRun::of("f").slot("one")).unwrap().id;
    let claim = engine.claim_run(other).unwrap().unwrap();
    engine.resume(run).unwrap();
    assert!(matches!(
        engine.set_state(run, StateType::Pending).unwrap(),
        Answer::Rejected { .. }
    ));
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    assert_eq!(engine.run(run).unwrap().run_count, 1);
}
