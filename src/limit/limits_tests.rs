//! What shared limits promise about waiting, case by case. Random histories are in `model_tests`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

const T0: Duration = Duration::ZERO;

fn limits(specs: impl IntoIterator<Item = LimitSpec>) -> Limits {
    let limits = Limits::new();
    for spec in specs {
        limits.define(spec, T0).expect("a new name");
    }
    limits
}

fn look(waiting: &mut Waiting) -> Option<OwnedMultiPermit> {
    match pin!(waiting).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer.expect("waited for")),
        Poll::Pending => None,
    }
}

#[test]
fn nobody_overtakes_a_heavy_waiter_at_its_limit() {
    let limits = limits([LimitSpec::new("a", 3), LimitSpec::new("b", 1)]);
    let a = limits.find("a").unwrap();
    let (one, three) = (Request::new().slot("a"), Request::new().slots("a", 3));
    let held = limits.try_acquire(&one, T0).unwrap();
    let mut heavy = limits.acquire(&three, T0).unwrap();
    let mut light = limits.acquire(&one, T0).unwrap();
    assert!(matches!(
        limits.try_acquire(&one, T0),
        Err(LimitsError::Refused { refused: Refused { limit, room: 2, .. }, .. }) if limit == a
    ));
    assert!(look(&mut heavy).is_none() && look(&mut light).is_none());
    assert_eq!(limits.waiting(a), 2);
    assert!(
        limits.try_acquire(&Request::new().slot("b"), T0).is_ok(),
        "who waits elsewhere delays nobody"
    );
    drop(held);
    let heavy = look(&mut heavy).unwrap();
    assert!(look(&mut light).is_none());
    drop(heavy);
    assert!(look(&mut light).is_some());
    limits.check_invariants();
}

#[test]
fn as_many_are_let_in_as_fit_and_who_is_stopped_elsewhere_moves_on() {
    let limits = limits([LimitSpec::new("a", 1), LimitSpec::new("b", 1)]);
    let (a, b) = (limits.find("a").unwrap(), limits.find("b").unwrap());
    let only_a = Request::new().slot("a");
    let both = Request::new().slot("a").slot("b");
    let held_a = limits.try_acquire(&only_a, T0).unwrap();
    let held_b = limits.try_acquire(&Request::new().slot("b"), T0).unwrap();
    let mut first = limits.acquire(&both, T0).unwrap();
    let mut second = limits.acquire(&only_a, T0).unwrap();
    let mut third = limits.acquire(&only_a, T0).unwrap();
    assert_eq!((limits.waiting(a), limits.waiting(b)), (3, 0));
    limits.set_slots(a, 3, T0).unwrap();
    assert_eq!((limits.waiting(a), limits.waiting(b)), (0, 1));
    assert!(look(&mut first).is_none());
    assert!(look(&mut second).is_some() && look(&mut third).is_some());
    drop(held_b);
    assert!(look(&mut first).is_some());
    drop(held_a);
    limits.check_invariants();
    assert!(limits.list(T0).iter().all(|limit| limit.active_slots == 0));
}

#[test]
fn l7_waiters_go_on_when_their_limit_is_removed_or_deactivated() {
    let limits = limits([LimitSpec::new("a", 1), LimitSpec::new("b", 1)]);
    for name in ["a", "b"] {
        let limit = limits.find(name).unwrap();
        let one = Request::new().slot(name);
        let held = limits.try_acquire(&one, T0).unwrap();
        let mut waiting = limits.acquire(&one, T0).unwrap();
        assert!(look(&mut waiting).is_none());
        if name == "a" {
            limits.remove(limit, T0).unwrap();
        } else {
            limits.set_active(limit, false, T0).unwrap();
        }
        let permit = look(&mut waiting).unwrap();
        drop(held);
        drop(permit);
        limits.check_invariants();
    }
}

#[test]
fn l5_decay_lets_in_at_the_told_moment_and_not_before() {
    let limits = limits([LimitSpec::new("rate", 2).decay(0.5)]);
    let two = Request::new().slots("rate", 2);
    limits.increment(&["rate"], 2, Mode::RateLimit, T0).unwrap();
    let mut waiting = limits.acquire(&two, T0).unwrap();
    let due = Duration::from_secs(4);
    let (_, next) = limits.advance(T0);
    assert_eq!(next, Some(due));
    let (_, next) = limits.advance(due.saturating_sub(Duration::from_nanos(1)));
    assert_eq!(next, Some(due));
    assert!(look(&mut waiting).is_none());
    // A newcomer's call tells the time too, and is served after who waits.
    assert!(limits.try_acquire(&Request::new().slot("rate"), due).is_err());
    let permit = look(&mut waiting).unwrap();
    assert_eq!(limits.advance(due).1, None);
    drop(permit);
    assert_eq!(
        limits
            .status(limits.find("rate").unwrap(), due)
            .unwrap()
            .active_slots,
        0
    );
    limits.check_invariants();
}

#[test]
fn l2_a_lapsed_lease_lets_in_who_waits() {
    let limits = limits([LimitSpec::new("a", 1)]);
    let (lease, _) = limits
        .increment_with_lease(&["a"], 1, Mode::Concurrency, LEASE_MIN, None, T0)
        .unwrap();
    let mut waiting = limits.acquire(&Request::new().slot("a"), T0).unwrap();
    let (lapsed, next) = limits.advance(LEASE_MIN);
    assert_eq!((lapsed[0].id, next), (lease, None));
    assert!(look(&mut waiting).is_some());
    assert!(!limits.release_lease(lease, LEASE_MIN));
}

#[test]
fn a_holder_that_has_its_slots_is_told_so_also_after_waiting() {
    let limits = limits([LimitSpec::new("a", 2), LimitSpec::new("b", 1)]);
    let holder = Holder::run(7, 1);
    let prepared = limits.prepare(&Request::new().slot("b"), T0).unwrap();
    let held = limits
        .try_acquire_as(&Request::new().slot("b"), holder, T0)
        .unwrap();
    assert!(matches!(
        limits.try_acquire_as(&Request::new().slot("a"), holder, T0),
        Err(LimitsError::AlreadyHolds)
    ));
    assert_eq!(limits.holders(limits.find("b").unwrap()), [(holder, 1)]);
    let mut waiting = Box::pin(prepared.acquire_as(holder, T0));
    let other = limits.try_acquire_as(&Request::new().slot("a"), Holder::run(8, 1), T0);
    drop(held);
    let taken = limits.try_acquire_as(&Request::new().slot("a"), holder, T0);
    assert!(
        matches!(taken, Err(LimitsError::AlreadyHolds)),
        "its turn had come: it has its slots"
    );
    let answer = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(_))));
    drop((answer, other));
    limits.check_invariants();
}

#[test]
fn handles_permits_and_futures_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Semaphore>();
    anywhere::<OwnedPermit>();
    anywhere::<AcquireOwned>();
    anywhere::<Limits>();
    anywhere::<OwnedMultiPermit>();
    anywhere::<Prepared>();
    anywhere::<Waiting>();
    anywhere::<Book>();
}

#[test]
fn l3_a_refusal_names_the_limit_among_several() {
    let limits = limits([LimitSpec::new("database", 2), LimitSpec::new("tenant:*", 1)]);
    let both = Request::new().slot("database").slot("tenant:1");
    let held = limits.try_acquire(&both, T0).unwrap();
    let told = limits.try_acquire(&both, T0).unwrap_err().to_string();
    assert!(
        told.contains("limit \"tenant:1\" has room for 0 slots, 1 were asked for;"),
        "{told}"
    );
    let told = limits
        .prepare(&both, T0)
        .unwrap()
        .try_acquire(T0)
        .unwrap_err()
        .to_string();
    assert!(told.contains("\"tenant:1\""), "{told}");
    let mut heavy = limits.acquire(&Request::new().slots("database", 2), T0).unwrap();
    assert!(look(&mut heavy).is_none());
    let told = limits
        .try_acquire(&Request::new().slot("database"), T0)
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("\"database\" has room for 1 slots, 1 were asked for and others wait"),
        "{told}"
    );
    drop(held);
}
