//! Named limits in the engine: what each promise says, once, on a manual clock.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::limit::{IncrementError, LimitSpec, Mode, Request, RequestError, SpecError};
use crate::model::Place;

const SECOND: Duration = Duration::from_secs(1);

fn engine() -> (Engine, ManualClock) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock.clone()).seed(1).build().unwrap();
    engine.flow("f").unwrap();
    (engine, clock)
}

fn take(engine: &Engine) -> Claim {
    let claim = engine.claim(&Scope::all()).unwrap();
    engine.check_invariants();
    claim.expect("something can be claimed")
}

fn nothing(engine: &Engine) -> Empty {
    let empty = engine.claim(&Scope::all()).unwrap().unwrap_err();
    engine.check_invariants();
    empty
}

fn end(engine: &Engine, claim: &Claim) {
    engine.complete(claim, Outcome::Completed(().into())).unwrap();
    engine.check_invariants();
}

fn submit(engine: &Engine, new: NewRun) -> RunId {
    let id = engine.submit(new).unwrap().id;
    engine.check_invariants();
    id
}

fn used(engine: &Engine, limit: &str) -> u64 {
    engine.limit(limit).unwrap().status.active_slots
}

#[test]
fn l1_lowering_takes_nothing_away_and_lets_nobody_in_until_less_is_held() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 3)).unwrap();
    for _ in 0..4 {
        submit(&engine, NewRun::of("f").slot("db"));
    }
    let claims: Vec<Claim> = (0..3).map(|_| take(&engine)).collect();
    engine.update_limit("db", LimitPatch::new().slots(1)).unwrap();
    assert_eq!(used(&engine, "db"), 3);
    end(&engine, &claims[0]);
    end(&engine, &claims[1]);
    assert_eq!(nothing(&engine), Empty::Blocked);
    end(&engine, &claims[2]);
    take(&engine);
}

#[test]
fn l1_a_deployment_limit_that_is_attached_counts_what_already_runs() {
    let (engine, _) = engine();
    let id = engine.deploy(NewDeployment::new("f", "d")).unwrap().id;
    for _ in 0..4 {
        submit(&engine, NewRun::of(id));
    }
    let claims = [take(&engine), take(&engine)];
    let two = DeploymentPatch::new().concurrency_limit(NonZeroU32::new(2));
    engine.update_deployment(id, two).unwrap();
    assert_eq!(nothing(&engine), Empty::Blocked);
    assert_eq!(engine.snapshot().blocked, 2);
    end(&engine, &claims[0]);
    take(&engine);
    assert_eq!(nothing(&engine), Empty::Blocked);
    let none = DeploymentPatch::new().concurrency_limit(None);
    engine.update_deployment(id, none).unwrap();
    take(&engine);
    end(&engine, &claims[1]);
}

#[test]
fn l2_however_an_attempt_ends_its_slots_come_back_once() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("db", 5)).unwrap();
    let run = || NewRun::of("f").slots("db", 2).slot("db2");
    engine.define_limit(LimitSpec::new("db2", 9)).unwrap();
    let ways: [fn(&Engine, &Claim); 7] = [
        |engine, claim| end(engine, claim),
        |engine, claim| assert!(engine.complete(claim, Outcome::failed("no")).is_ok()),
        |engine, claim| assert!(engine.complete(claim, Outcome::crashed("panic")).is_ok()),
        |engine, claim| assert!(engine.set_state(claim.run(), StateType::Failed).is_ok()),
        |engine, claim| {
            engine.cancel(claim.run()).unwrap();
            assert_eq!(
                used(engine, "db"),
                2,
                "a cancelled one keeps its slots to its end"
            );
            engine.complete(claim, Outcome::Cancelled).unwrap();
        },
        |engine, claim| {
            engine.give_back(claim).unwrap();
            engine.cancel(claim.run()).unwrap();
        },
        |engine, claim| engine.begin(claim).unwrap(),
    ];
    for way in ways {
        submit(&engine, run().timeout(SECOND));
        let claim = take(&engine);
        assert_eq!((used(&engine, "db"), used(&engine, "db2")), (2, 1));
        way(&engine, &claim);
        clock.advance(SECOND);
        engine.advance().unwrap();
        engine.check_invariants();
        assert_eq!((used(&engine, "db"), used(&engine, "db2")), (0, 0));
        assert!(engine.complete(&claim, Outcome::Cancelled).is_err());
        assert_eq!(used(&engine, "db"), 0);
    }
}

#[test]
fn l2_the_holders_of_a_limit_are_its_claims_and_leases() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("db", 5)).unwrap();
    let run = submit(&engine, NewRun::of("f").slots("db", 2));
    let claim = take(&engine);
    let (lease, _) = engine
        .lease_slots(&["db"], 3, Mode::Concurrency, 60 * SECOND, None)
        .unwrap();
    let holders = engine.limit_holders("db").unwrap();
    assert_eq!(
        holders,
        [(SlotHolder::Run(run), 2), (SlotHolder::Lease(lease), 3)]
    );
    let waiting = submit(&engine, NewRun::of("f").slot("db"));
    assert_eq!(nothing(&engine), Empty::Blocked);
    // A lapsed lease gives its slots back at its instant, and who sleeps until then is told when that is.
    assert_eq!(engine.advance().unwrap(), Some(60 * SECOND));
    clock.advance(60 * SECOND);
    assert_eq!(take(&engine).run(), waiting);
    assert!(!engine.release_slots(lease).unwrap());
    assert!(matches!(
        engine.renew_slots(lease, 60 * SECOND),
        Err(Error::Lease(_))
    ));
    end(&engine, &claim);
    assert_eq!(engine.limit_holders("db").unwrap().len(), 1);
}

#[test]
fn l3_all_slots_of_a_run_are_taken_in_one_step_or_none() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("a", 1)).unwrap();
    engine.define_limit(LimitSpec::new("b", 1)).unwrap();
    submit(&engine, NewRun::of("f").slot("a"));
    let both = submit(&engine, NewRun::of("f").slot("b").slot("a"));
    let other = submit(&engine, NewRun::of("f").slot("b"));
    let first = take(&engine);
    let second = take(&engine);
    assert_eq!(second.run(), other, "nothing that waits holds a slot");
    assert_eq!(nothing(&engine), Empty::Blocked);
    end(&engine, &first);
    assert_eq!(nothing(&engine), Empty::Blocked);
    end(&engine, &second);
    assert_eq!(take(&engine).run(), both);
    assert_eq!((used(&engine, "a"), used(&engine, "b")), (1, 1));
}

#[test]
fn l3_what_could_never_be_granted_is_refused_at_submission_and_changes_nothing() {
    let (engine, _) = engine();
    for name in 0..9 {
        engine.define_limit(LimitSpec::new(name.to_string(), 4)).unwrap();
    }
    engine.define_limit(LimitSpec::new("tenant:*", 2)).unwrap();
    let eight = (0..8).fold(Request::new(), |all, name| all.slot(name.to_string()));
    let nine = eight.clone().slot("8");
    let refused = |request: Request| {
        let before = engine.snapshot();
        let mut run = NewRun::of("f");
        let mut deployment = NewDeployment::new("f", "d");
        for (name, weight) in request.iter() {
            run = run.slots(name, weight);
            deployment = deployment.slots(name, weight);
        }
        let Err(Error::LimitRequest(one)) = engine.submit(run.clone()) else {
            panic!("{request:?} was accepted");
        };
        assert!(matches!(engine.deploy(deployment), Err(Error::LimitRequest(other)) if other == one));
        let batch = engine.submit_batch(vec![run]).unwrap();
        assert!(matches!(&batch[0], Err(Error::LimitRequest(other)) if *other == one));
        assert_eq!(engine.snapshot(), before);
        engine.check_invariants();
        one
    };
    let one = Request::new();
    assert!(
        matches!(refused(one.clone().slot("nobody")), RequestError::Unknown { name } if name == "nobody")
    );
    assert!(matches!(
        refused(one.clone().slot("tenant:*")),
        RequestError::Template { .. }
    ));
    assert!(matches!(
        refused(one.clone().slots("0", 0)),
        RequestError::WeightZero { .. }
    ));
    assert!(matches!(
        refused(one.clone().slots("0", 5)),
        RequestError::AboveLimit {
            weight: 5,
            slots: 4,
            ..
        }
    ));
    assert!(matches!(
        refused(one.clone().slots("tenant:1", 3)),
        RequestError::AboveLimit { .. }
    ));
    assert!(matches!(
        refused(one.slot("0").slot("0")),
        RequestError::Duplicate { .. }
    ));
    assert_eq!(refused(nine), RequestError::TooMany);
    assert_eq!(
        engine.limits().unwrap().len(),
        10,
        "nothing was made by the template"
    );
    // Eight and the deployment's own.
    let patch = DeploymentPatch::new().limits(eight);
    let new = NewDeployment::new("f", "d").concurrency_limit(NonZeroU32::MIN);
    let id = engine.deploy(new).unwrap().id;
    engine.update_deployment(id, patch).unwrap();
    submit(&engine, NewRun::of(id));
    submit(&engine, NewRun::of(id).slots("3", 2));
    assert!(matches!(
        engine.submit(NewRun::of(id).slot("8")),
        Err(Error::LimitRequest(RequestError::TooMany))
    ));
    take(&engine);
    assert_eq!(nothing(&engine), Empty::Blocked);
}

#[test]
fn l3_a_limit_lowered_below_a_waiting_weight_blocks_it_and_says_why() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("gpu", 4)).unwrap();
    let heavy = submit(&engine, NewRun::of("f").slots("gpu", 3));
    engine.update_limit("gpu", LimitPatch::new().slots(2)).unwrap();
    assert_eq!(nothing(&engine), Empty::Blocked);
    assert_eq!(engine.run(heavy).unwrap().place, Place::Blocked);
    let stops = engine.blocked_by(heavy).unwrap();
    assert!(
        matches!(&stops[..], [Stop::Limit { name: Some(name), weight: 3, room: 2, slots: 2, .. }] if name == "gpu"),
        "{stops:?}"
    );
    assert_eq!(
        stops[0].to_string(),
        "limit \"gpu\" has 2 slots and it needs 3; raise the limit, or call the run off"
    );
    let light = submit(&engine, NewRun::of("f").slot("gpu"));
    assert_eq!(take(&engine).run(), light);
    engine.update_limit("gpu", LimitPatch::new().slots(4)).unwrap();
    assert_eq!(take(&engine).run(), heavy);
}

#[test]
fn l3_a_runs_own_list_is_laid_over_that_of_its_deployment() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 4)).unwrap();
    engine.define_limit(LimitSpec::new("gpu", 4)).unwrap();
    let new = |name| NewDeployment::new("f", name).slot("db").slots("gpu", 2);
    let one = engine.deploy(new("one")).unwrap();
    let two = engine.deploy(new("two")).unwrap().id;
    assert_eq!(one.limits, Request::new().slot("db").slots("gpu", 2));
    let run = submit(&engine, NewRun::of(one.id).slots("db", 3));
    assert_eq!(
        engine.run(run).unwrap().limits,
        Request::new().slots("gpu", 2).slots("db", 3)
    );
    submit(&engine, NewRun::of(two));
    submit(&engine, NewRun::of(two));
    take(&engine);
    take(&engine);
    assert_eq!(
        (used(&engine, "db"), used(&engine, "gpu")),
        (4, 4),
        "one limit, shared"
    );
    assert_eq!(nothing(&engine), Empty::Blocked);
}

#[test]
fn l5_who_waits_for_what_drains_is_let_in_at_the_instant_and_not_before() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("api", 2).decay(0.5)).unwrap();
    for _ in 0..3 {
        submit(&engine, NewRun::of("f").slot("api"));
    }
    let heavy = submit(&engine, NewRun::of("f").slots("api", 2).priority(Priority::MAX));
    let claim = take(&engine);
    assert_eq!(claim.run(), heavy);
    assert_eq!(nothing(&engine), Empty::Blocked);
    assert_eq!(engine.advance().unwrap(), Some(2 * SECOND));
    clock.advance(Duration::from_micros(1_999_999));
    assert_eq!(nothing(&engine), Empty::Blocked);
    assert_eq!(engine.advance().unwrap(), Some(Duration::from_micros(1)));
    clock.advance(Duration::from_micros(1));
    take(&engine);
    assert_eq!(nothing(&engine), Empty::Blocked);
    assert_eq!(engine.advance().unwrap(), Some(2 * SECOND));
    // What ends before it has drained away drains the rest of it, never more.
    end(&engine, &claim);
    take(&engine);
    // A heavy one waits for both of its slots, and for nothing in between.
    let heavy = submit(&engine, NewRun::of("f").slots("api", 2).priority(Priority::MAX));
    let next = take(&engine);
    assert_ne!(next.run(), heavy, "the light one fits already");
    assert_eq!(engine.advance().unwrap(), Some(4 * SECOND));
    clock.advance(4 * SECOND);
    assert_eq!(take(&engine).run(), heavy);
    assert_eq!(engine.advance().unwrap(), None);
}

#[test]
fn l7_an_inactive_or_deleted_limit_lets_its_waiters_go() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 0)).unwrap();
    let id = engine.deploy(NewDeployment::new("f", "d").slots("db", 1));
    assert!(matches!(
        id,
        Err(Error::LimitRequest(RequestError::AboveLimit { .. }))
    ));
    engine.update_limit("db", LimitPatch::new().slots(1)).unwrap();
    let id = engine.deploy(NewDeployment::new("f", "d").slot("db")).unwrap().id;
    for _ in 0..5 {
        submit(&engine, NewRun::of(id));
    }
    let first = take(&engine);
    assert_eq!(nothing(&engine), Empty::Blocked);
    engine
        .update_limit("db", LimitPatch::new().active(false))
        .unwrap();
    let second = take(&engine);
    engine.update_limit("db", LimitPatch::new().active(true)).unwrap();
    assert_eq!(
        nothing(&engine),
        Empty::Blocked,
        "what was let in meanwhile counts"
    );
    assert_eq!(used(&engine, "db"), 2);
    engine.delete_limit("db").unwrap();
    assert!(matches!(engine.limit("db"), Err(Error::NotFound { .. })));
    let third = take(&engine);
    // A new limit of that name is for later runs.
    engine.define_limit(LimitSpec::new("db", 1)).unwrap();
    let fourth = take(&engine);
    let later = submit(&engine, NewRun::of(id));
    assert_ne!(take(&engine).run(), later, "one from before is left");
    assert_eq!(take(&engine).run(), later);
    assert_eq!(used(&engine, "db"), 1);
    for claim in [first, second, third, fourth] {
        end(&engine, &claim);
    }
    assert_eq!(used(&engine, "db"), 1);
}

#[test]
fn l8_a_template_makes_a_limit_and_forgets_it_with_its_last_holder_and_waiter() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("tenant:*", 1)).unwrap();
    let first = submit(&engine, NewRun::of("f").slot("tenant:42"));
    let second = submit(&engine, NewRun::of("f").slot("tenant:42"));
    submit(&engine, NewRun::of("f").slot("tenant:7"));
    assert_eq!(
        engine.limit("tenant:42").unwrap().status.template.as_deref(),
        Some("tenant:*")
    );
    let claim = take(&engine);
    assert_eq!(claim.run(), first);
    let other = take(&engine);
    assert_eq!(nothing(&engine), Empty::Blocked);
    engine
        .update_limit("tenant:*", LimitPatch::new().slots(2))
        .unwrap();
    let last = take(&engine);
    assert_eq!(last.run(), second);
    end(&engine, &claim);
    assert!(engine.limit("tenant:42").is_ok());
    end(&engine, &last);
    assert!(
        engine.limit("tenant:42").is_err(),
        "nobody holds it or waits for it"
    );
    end(&engine, &other);
    assert_eq!(engine.limits().unwrap().len(), 1);
    let scheduled = engine.now().unwrap() + SECOND;
    let later = submit(&engine, NewRun::of("f").slot("tenant:42").not_before(scheduled));
    assert!(
        engine.limit("tenant:42").is_ok(),
        "a run that is not due waits too"
    );
    engine.cancel(later).unwrap();
    assert!(engine.limit("tenant:42").is_err());
    engine.check_invariants();
}

#[test]
fn l8_the_number_of_limits_is_bounded() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock).limits(3).build().unwrap();
    engine.flow("f").unwrap();
    engine.define_limit(LimitSpec::new("tenant:*", 1)).unwrap();
    submit(&engine, NewRun::of("f").slot("tenant:1"));
    submit(&engine, NewRun::of("f").slot("tenant:2"));
    for _ in 0..3 {
        let new = NewDeployment::new("f", engine.limits().unwrap().len().to_string());
        let _ = engine.deploy(new.concurrency_limit(NonZeroU32::MIN));
    }
    assert!(matches!(
        engine.submit(NewRun::of("f").slot("tenant:3")),
        Err(Error::LimitRequest(RequestError::TooManyLimits { .. }))
    ));
    assert!(matches!(
        engine.define_limit(LimitSpec::new("db", 1)),
        Err(Error::Limit(SpecError::TooManyLimits { .. }))
    ));
}

#[test]
fn l8_a_book_full_of_drained_limits_takes_runs_under_new_names() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock.clone()).limits(3).build().unwrap();
    engine.flow("f").unwrap();
    engine.define_limit(LimitSpec::new("ip:*", 1).decay(1.0)).unwrap();
    for round in 0..20 {
        let runs = [0, 1].map(|n| submit(&engine, NewRun::of("f").slot(format!("ip:{round}.{n}"))));
        let full = engine.submit(NewRun::of("f").slot("ip:more"));
        assert!(matches!(
            full,
            Err(Error::LimitRequest(RequestError::TooManyLimits { .. }))
        ));
        for run in runs {
            let claim = take(&engine);
            assert_eq!(claim.run(), run);
            end(&engine, &claim);
        }
        clock.advance(Duration::from_secs(2));
        engine.check_invariants();
    }
}

#[test]
fn a_wrong_definition_or_change_of_a_limit_is_refused() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 1)).unwrap();
    let before = engine.limits().unwrap();
    for decay in [-1.0, f64::NAN, f64::INFINITY, 1e-300] {
        let spec = LimitSpec::new("api", 1).decay(decay);
        assert!(
            matches!(engine.define_limit(spec), Err(Error::Limit(_))),
            "{decay}"
        );
        let patch = LimitPatch::new().slots(9).active(false).decay(decay);
        assert!(
            matches!(engine.update_limit("db", patch), Err(Error::Limit(_))),
            "{decay}"
        );
    }
    for name in ["", "a/b", "db"] {
        assert!(matches!(
            engine.define_limit(LimitSpec::new(name, 2)),
            Err(Error::Limit(_))
        ));
    }
    for refused in [
        engine.update_limit("nobody", LimitPatch::new()).err(),
        engine.delete_limit("nobody").err(),
        engine.limit_holders("nobody").err(),
    ] {
        assert!(matches!(refused, Some(Error::NotFound { kind: "limit", .. })));
    }
    assert_eq!(engine.limits().unwrap(), before);
}

#[test]
fn slots_are_taken_and_given_back_by_name() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("db", 2)).unwrap();
    engine.define_limit(LimitSpec::new("api", 1).decay(1.0)).unwrap();
    let taken = engine
        .increment_slots(&["db", "ghost"], 2, Mode::Concurrency)
        .unwrap();
    assert_eq!(taken.unknown, ["ghost"]);
    let waiting = submit(&engine, NewRun::of("f").slot("db"));
    assert_eq!(nothing(&engine), Empty::Blocked);
    let busy = engine.increment_slots(&["db"], 1, Mode::Concurrency);
    assert!(matches!(busy, Err(Error::Increment(IncrementError::Busy { .. }))));
    engine.decrement_slots(&["db"], 1, None).unwrap();
    assert_eq!(take(&engine).run(), waiting);
    engine.increment_slots(&["api"], 1, Mode::RateLimit).unwrap();
    let Err(Error::Increment(IncrementError::Busy { retry_after, .. })) =
        engine.increment_slots(&["api"], 1, Mode::RateLimit)
    else {
        panic!("the bucket is full");
    };
    assert_eq!(retry_after, SECOND);
    let waiting = submit(&engine, NewRun::of("f").slot("api"));
    assert_eq!(nothing(&engine), Empty::Blocked);
    clock.advance(retry_after);
    assert_eq!(take(&engine).run(), waiting);
}

#[test]
fn l4_in_strict_order_the_first_of_a_queue_holds_up_the_rest() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 1)).unwrap();
    let new = NewQueue::named("default", "strict").order(QueueOrder::StrictFifo);
    engine.create_queue(new).unwrap();
    let strict = |new: NewRun| new.work_queue("default", "strict");
    submit(&engine, strict(NewRun::of("f").slot("db")));
    let blocked = submit(&engine, strict(NewRun::of("f").slot("db")));
    let free = submit(&engine, strict(NewRun::of("f")));
    let elsewhere = submit(&engine, NewRun::of("f"));
    assert_eq!(take(&engine).run(), elsewhere, "the first queue of the pool");
    let first = take(&engine);
    assert_eq!(nothing(&engine), Empty::Blocked);
    assert_eq!(engine.blocked_by(free).unwrap(), [Stop::Behind(blocked)]);
    let urgent = submit(&engine, strict(NewRun::of("f").priority(Priority::MAX)));
    assert_eq!(take(&engine).run(), urgent, "it comes first now");
    assert_eq!(nothing(&engine), Empty::Blocked);
    engine
        .set_queue_order("default", "strict", QueueOrder::BestEffort)
        .unwrap();
    engine
        .set_queue_order("default", "strict", QueueOrder::StrictFifo)
        .unwrap();
    assert_eq!(nothing(&engine), Empty::Blocked);
    engine
        .set_queue_order("default", "strict", QueueOrder::BestEffort)
        .unwrap();
    assert_eq!(take(&engine).run(), free);
    end(&engine, &first);
    assert_eq!(take(&engine).run(), blocked);
}

/// An engine with a bypass bound and a limit of four slots, of which one is held for good.
fn bounded(bound: u32) -> (Engine, Claim) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder()
        .clock(clock)
        .bypass_bound(bound)
        .build()
        .unwrap();
    engine.flow("f").unwrap();
    engine.define_limit(LimitSpec::new("gpu", 4)).unwrap();
    submit(&engine, NewRun::of("f").slot("gpu"));
    let claim = take(&engine);
    (engine, claim)
}

#[test]
fn l4_a_run_that_was_overtaken_as_often_as_may_be_reserves_the_limit() {
    let (engine, held) = bounded(3);
    let heavy = submit(&engine, NewRun::of("f").slots("gpu", 4));
    for _ in 0..3 {
        submit(&engine, NewRun::of("f").slot("gpu"));
        let light = take(&engine);
        assert_ne!(light.run(), heavy);
        end(&engine, &light);
    }
    let late = submit(&engine, NewRun::of("f").slot("gpu"));
    assert_eq!(nothing(&engine), Empty::Blocked, "it was overtaken three times");
    assert!(matches!(&engine.blocked_by(late).unwrap()[..], [Stop::Reserved { by, .. }] if *by == heavy));
    let early = submit(&engine, NewRun::of("f").slot("gpu").priority(Priority::MAX));
    assert_eq!(engine.blocked_by(early).unwrap(), []);
    let early = take(&engine);
    assert_eq!(early.priority(), Priority::MAX, "what comes before it is let in");
    end(&engine, &early);
    end(&engine, &held);
    let claim = take(&engine);
    assert_eq!(claim.run(), heavy);
    end(&engine, &claim);
    assert_eq!(take(&engine).run(), late);
}

#[test]
fn l4_a_reservation_ends_with_its_run_its_queue_and_its_limit() {
    for way in 0..5 {
        let (engine, _held) = bounded(1);
        let queue = NewQueue::named("default", "heavy");
        engine.create_queue(queue).unwrap();
        let heavy = submit(
            &engine,
            NewRun::of("f").slots("gpu", 4).work_queue("default", "heavy"),
        );
        submit(&engine, NewRun::of("f").slot("gpu"));
        take(&engine);
        let late = submit(&engine, NewRun::of("f").slot("gpu"));
        assert_eq!(nothing(&engine), Empty::Blocked);
        match way {
            0 => drop(engine.cancel(heavy).unwrap()),
            1 => drop(engine.pause_queue("default", "heavy").unwrap()),
            2 => drop(engine.update_limit("gpu", LimitPatch::new().slots(3)).unwrap()),
            3 => drop(engine.delete_limit("gpu").unwrap()),
            _ => {
                // To the back of a lower place: the later run comes before it now.
                engine.set_priority(late, Priority::MAX).unwrap();
            }
        }
        engine.check_invariants();
        let next = take(&engine).run();
        assert!(next == late || way == 3, "way {way}");
    }
}

#[test]
fn l4_two_reservations_do_not_wait_for_each_other() {
    let (engine, gpu) = bounded(1);
    engine.define_limit(LimitSpec::new("db", 4)).unwrap();
    submit(&engine, NewRun::of("f").slot("db"));
    let db = take(&engine);
    let both = |one: &str, other: &str| NewRun::of("f").slots(one, 4).slot(other);
    let first = submit(&engine, both("gpu", "db"));
    let second = submit(&engine, both("db", "gpu"));
    for name in ["gpu", "db"] {
        submit(&engine, NewRun::of("f").slot(name));
        let light = take(&engine);
        end(&engine, &light);
    }
    for name in ["gpu", "db"] {
        submit(&engine, NewRun::of("f").slot(name));
    }
    assert_eq!(nothing(&engine), Empty::Blocked, "each has reserved one limit");
    end(&engine, &db);
    assert_eq!(nothing(&engine), Empty::Blocked);
    end(&engine, &gpu);
    let mut order = Vec::new();
    while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
        order.push(claim.run());
        end(&engine, &claim);
    }
    assert_eq!(order[..2], [first, second]);
    assert_eq!(order.len(), 4, "everybody has run");
}

#[test]
fn c2_the_run_that_is_not_due_and_was_claimed_returns_to_where_it_waited() {
    let (engine, clock) = engine();
    let at = engine.now().unwrap() + 5 * SECOND;
    let run = submit(&engine, NewRun::of("f").not_before(at));
    let claim = engine.claim_run(run).unwrap().unwrap();
    assert_eq!(engine.snapshot().scheduled, 0);
    engine.give_back(&claim).unwrap();
    engine.check_invariants();
    assert_eq!(nothing(&engine), Empty::NotDue(at));
    clock.advance(5 * SECOND);
    assert_eq!(take(&engine).run(), run);
}

#[test]
fn c4_peek_lists_in_claim_order_and_claims_nothing() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("db", 1)).unwrap();
    engine.create_queue(NewQueue::named("default", "second")).unwrap();
    engine.create_pool(NewPool::named("other")).unwrap();
    let now = engine.now().unwrap();
    let level = |level| Priority::new(level).unwrap();
    let mut runs = vec![
        submit(
            &engine,
            NewRun::of("f").work_queue("other", "default").priority(level(9)),
        ),
        submit(&engine, NewRun::of("f").priority(level(3)).slot("db")),
        submit(&engine, NewRun::of("f").priority(level(2)).slot("db")),
        submit(&engine, NewRun::of("f").priority(level(2))),
        submit(
            &engine,
            NewRun::of("f")
                .work_queue("default", "second")
                .priority(level(10)),
        ),
        submit(&engine, NewRun::of("f").work_queue("other", "default")),
    ];
    let late = submit(
        &engine,
        NewRun::of("f").not_before(now + 9 * SECOND).priority(level(10)),
    );
    let soon = submit(&engine, NewRun::of("f").not_before(now + 3 * SECOND));
    runs.extend([soon, late]);
    let before = engine.snapshot();
    let peek = |after, before, n| -> Vec<RunId> {
        let runs = engine.peek(&Scope::all(), after, before, n).unwrap();
        runs.iter().map(|run| run.id).collect()
    };
    assert_eq!(peek(None, None, 500), runs);
    assert_eq!(peek(None, None, 3), runs[..3]);
    assert_eq!(peek(None, Some(now), 500), runs[..6]);
    assert_eq!(peek(Some(now + SECOND), Some(now + 3 * SECOND), 500), [soon]);
    assert_eq!(peek(Some(now + SECOND), Some(now), 500), []);
    let places = engine
        .peek(&Scope::queue("default", "default"), None, None, 2)
        .unwrap();
    assert_eq!(
        places.iter().map(|run| run.place).collect::<Vec<_>>(),
        [Place::Ready, Place::Ready],
        "the limit has room for either"
    );
    for wrong in [0, 501] {
        assert!(matches!(
            engine.peek(&Scope::all(), None, None, wrong),
            Err(Error::BatchSize { .. })
        ));
    }
    assert!(engine.peek(&Scope::pool("nobody"), None, None, 1).is_err());
    assert_eq!(engine.snapshot(), before);
    // What is claimed, one by one and each ended at once, comes in that order.
    clock.advance(2 * SECOND);
    for expected in &runs[..6] {
        let claim = take(&engine);
        assert_eq!(claim.run(), *expected);
        end(&engine, &claim);
    }
}

#[test]
fn c4_a_chosen_run_takes_all_its_slots_or_says_what_stops_it() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 2)).unwrap();
    engine.define_limit(LimitSpec::new("gpu", 1)).unwrap();
    let first = submit(&engine, NewRun::of("f").slot("db"));
    let chosen = submit(&engine, NewRun::of("f").slot("db").slot("gpu"));
    let refused = submit(&engine, NewRun::of("f").slot("db").slot("gpu"));
    let claim = engine.claim_run(chosen).unwrap().unwrap();
    engine.check_invariants();
    assert!(matches!(
        engine.claim_run(refused).unwrap().unwrap_err(),
        Stop::Limit { name: Some(name), weight: 1, room: 0, .. } if name == "gpu"
    ));
    assert_eq!(used(&engine, "db"), 1, "nothing was taken");
    assert!(matches!(engine.claim_run(chosen), Err(Error::Transition { .. })));
    engine.pause_queue("default", "default").unwrap();
    assert_eq!(
        engine.claim_run(first).unwrap().unwrap_err(),
        Stop::QueuePaused("default".into())
    );
    engine.resume_queue("default", "default").unwrap();
    engine.pause_pool("default").unwrap();
    assert_eq!(
        engine.claim_run(first).unwrap().unwrap_err(),
        Stop::PoolPaused("default".into())
    );
    engine.resume_pool("default").unwrap();
    engine.set_queue_limit("default", "default", Some(1)).unwrap();
    assert_eq!(engine.claim_run(first).unwrap().unwrap_err(), Stop::QueueFull(1));
    engine.set_pool_limit("default", Some(1)).unwrap();
    assert_eq!(engine.claim_run(first).unwrap().unwrap_err(), Stop::PoolFull(1));
    engine.set_limit(Some(1)).unwrap();
    assert_eq!(engine.claim_run(first).unwrap().unwrap_err(), Stop::EngineFull(1));
    engine.set_limit(None).unwrap();
    engine.set_pool_limit("default", None).unwrap();
    engine.set_queue_limit("default", "default", None).unwrap();
    end(&engine, &claim);
    assert!(matches!(engine.claim_run(chosen), Err(Error::Transition { .. })));
    assert_eq!(engine.claim_run(refused).unwrap().unwrap().run(), refused);
    assert_eq!(take(&engine).run(), first);
}

#[test]
fn c1_many_are_claimed_in_one_step_as_one_after_the_other() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 2)).unwrap();
    assert_eq!(
        engine.claim_many(&Scope::all(), 3).unwrap().unwrap_err(),
        Empty::Nothing
    );
    let runs: Vec<RunId> = (0..4)
        .map(|_| submit(&engine, NewRun::of("f").slot("db")))
        .collect();
    let free = submit(&engine, NewRun::of("f"));
    let claims = engine.claim_many(&Scope::all(), 10).unwrap().unwrap();
    engine.check_invariants();
    let got: Vec<RunId> = claims.iter().map(Claim::run).collect();
    assert_eq!(got, [runs[0], runs[1], free]);
    assert_eq!(
        engine.claim_many(&Scope::all(), 1).unwrap().unwrap_err(),
        Empty::Blocked
    );
    for wrong in [0, 501] {
        assert!(matches!(
            engine.claim_many(&Scope::all(), wrong),
            Err(Error::BatchSize { .. })
        ));
    }
}

#[test]
fn e5_holders_decay_reservations_and_templates_survive_a_move() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let builder = || Engine::builder().clock(clock.clone());
    let engine = builder().seed(1).bypass_bound(2).build().unwrap();
    engine.flow("f").unwrap();
    engine.define_limit(LimitSpec::new("gpu", 4)).unwrap();
    engine.define_limit(LimitSpec::new("api", 2).decay(0.3)).unwrap();
    engine.define_limit(LimitSpec::new("tenant:*", 1)).unwrap();
    let light = || NewRun::of("f").slot("gpu").slot("tenant:1");
    submit(&engine, light());
    let held = take(&engine);
    submit(&engine, NewRun::of("f").slots("api", 2));
    let poured = take(&engine);
    clock.advance(SECOND);
    let heavy = submit(&engine, NewRun::of("f").slots("gpu", 4));
    for _ in 0..2 {
        submit(&engine, NewRun::of("f").slot("gpu"));
        let light = take(&engine);
        end(&engine, &light);
    }
    let waiting = submit(&engine, NewRun::of("f").slot("api"));
    let late = submit(&engine, NewRun::of("f").slot("gpu"));
    engine
        .lease_slots(&["api"], 0, Mode::Concurrency, 60 * SECOND, None)
        .unwrap_err();
    let (lease, _) = engine
        .lease_slots(&["gpu"], 1, Mode::Concurrency, 60 * SECOND, None)
        .unwrap();
    let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let import = |claims| {
        let document: Document = serde_json::from_str(&text).unwrap();
        let moved = builder().import(document, claims).unwrap();
        moved.check_invariants();
        moved
    };
    let moved = import(Claims::Keep);
    assert_eq!(moved.export().unwrap(), engine.export().unwrap());
    assert_eq!(moved.limits().unwrap(), engine.limits().unwrap());
    // Leases are listed before claims after a move.
    let mut holders = engine.limit_holders("gpu").unwrap();
    holders.reverse();
    assert_eq!(moved.limit_holders("gpu").unwrap(), holders);
    assert_eq!(moved.advance().unwrap(), engine.advance().unwrap());
    assert_eq!(moved.blocked_by(late).unwrap(), engine.blocked_by(late).unwrap());
    for engine in [&moved, &engine] {
        assert_eq!(nothing(engine), Empty::Blocked);
        assert!(engine.release_slots(lease).unwrap());
        end(engine, &held);
        assert_eq!(take(engine).run(), heavy);
        assert!(engine.limit("tenant:1").is_err());
        end(engine, &poured);
        assert_eq!(take(engine).run(), waiting);
    }
    let back = import(Claims::PutBack);
    assert!(matches!(
        back.limit_holders("gpu").unwrap()[..],
        [(SlotHolder::Lease(_), 1)]
    ));
    assert_eq!(used(&back, "api"), 0, "what was put back has drained its bucket");
    assert_eq!(take(&back).run(), held.run());
    assert_eq!(used(&back, "tenant:1"), 1);
}

#[test]
fn e2_a_document_with_damaged_limits_is_refused() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 1)).unwrap();
    engine
        .deploy(NewDeployment::new("f", "d").concurrency_limit(NonZeroU32::MIN))
        .unwrap();
    submit(&engine, NewRun::of("f/d").slot("db"));
    let good = serde_json::to_value(engine.export().unwrap()).unwrap();
    let damages: [fn(&mut serde_json::Value); 7] = [
        |doc| doc["flow_runs"][0]["limits"][0]["limit"] = 99.into(),
        |doc| doc["flow_runs"][0]["limits"][0]["slots"] = 0.into(),
        // The deployment's own cannot be named.
        |doc| doc["flow_runs"][0]["limits"][0]["limit"] = doc["deployments"][0]["limit"].clone(),
        |doc| doc["deployments"][0]["limit"] = 99.into(),
        |doc| doc["deployments"][0]["limit"] = serde_json::Value::Null,
        |doc| doc["limits"]["limits"][0]["slot_decay_per_second"] = (-1).into(),
        |doc| doc["limits"]["grants"] = serde_json::json!([{ "holder": "anonymous", "holds": [[0, 1]] }]),
    ];
    for damage in damages {
        let mut doc = good.clone();
        damage(&mut doc);
        let document: Document = serde_json::from_value(doc).unwrap();
        let refused = Engine::builder().import(document, Claims::Keep);
        assert!(matches!(refused, Err(Error::Document { .. })), "{refused:?}");
    }
}
