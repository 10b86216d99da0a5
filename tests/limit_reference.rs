//! The reference's slot vectors, by their numbers in its checklist (23 to 30), asked of the by-name calls.

#![expect(clippy::unwrap_used, reason = "a test says so when it fails")]

use std::time::Duration;

use tenfold::limit::{
    Book, Demand, Holder, IncrementError, LimitKey, LimitSpec, Limits, Mode, RequestError, jittered,
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const T0: Duration = secs(100);

fn book(specs: impl IntoIterator<Item = LimitSpec>) -> Book {
    let mut book = Book::new();
    for spec in specs {
        book.define(spec, T0).unwrap();
    }
    book
}

fn held(book: &Book, name: &str, now: Duration) -> u64 {
    book.held(book.find(name).unwrap(), now)
}

fn add(book: &mut Book, names: &[&str], slots: u32, now: Duration) -> Result<Vec<LimitKey>, IncrementError> {
    book.increment(names.iter().copied(), slots, Mode::Concurrency, now)
        .map(|incremented| incremented.limits)
}

#[test]
fn vector_23_a_full_limit_is_busy_and_the_hint_is_inside_the_references_bounds() {
    let mut book = book([LimitSpec::new("two", 2)]);
    add(&mut book, &["two"], 2, T0).unwrap();
    let Err(IncrementError::Busy { name, retry_after }) = add(&mut book, &["two"], 1, T0) else {
        panic!("the limit is full");
    };
    assert_eq!((name.as_str(), retry_after), ("two", secs(1)));
    for unit in [0.0, 0.3, 0.5, 0.9, 0.999, 1.0, f64::NAN, -7.0] {
        let spread = jittered(retry_after, unit).as_secs_f64();
        assert!((0.7517..=1.3001).contains(&spread), "{unit}: {spread}");
    }
    assert_eq!(jittered(Duration::MAX, 1.0), Duration::MAX);
}

#[test]
fn vector_23_the_hint_is_capped_and_follows_the_occupancy() {
    let mut book = book([LimitSpec::new("tag:x", 1), LimitSpec::new("x", 1)]);
    for name in ["tag:x", "x"] {
        for _ in 0..40 {
            add(&mut book, &[name], 1, T0).unwrap();
            let _ = book.decrement([name], 1, Some(secs(3_600)), T0);
        }
        add(&mut book, &[name], 1, T0).unwrap();
    }
    let mut hint = |name: &str| match add(&mut book, &[name], 1, T0) {
        Err(IncrementError::Busy { retry_after, .. }) => retry_after,
        other => panic!("{other:?}"),
    };
    assert_eq!((hint("tag:x"), hint("x")), (secs(10), secs(30)));
}

#[test]
fn vector_24_one_full_limit_leaves_the_others_unchanged() {
    let mut book = book([LimitSpec::new("c3", 3), LimitSpec::new("c2", 2)]);
    add(&mut book, &["c2"], 2, T0).unwrap();
    assert!(matches!(
        add(&mut book, &["c3", "c2"], 1, T0),
        Err(IncrementError::Busy { .. })
    ));
    assert_eq!((held(&book, "c3", T0), held(&book, "c2", T0)), (0, 2));
}

#[test]
fn vector_25_more_is_decremented_than_there_is() {
    let mut book = book([LimitSpec::new("two", 2)]);
    add(&mut book, &["two"], 2, T0).unwrap();
    let two = book.find("two").unwrap();
    assert_eq!(book.decrement(["two"], 5, None, T0), [two]);
    assert_eq!(held(&book, "two", T0), 0);
    assert!(book.decrement(["two", "nobody"], 5, None, T0).is_empty());
}

#[test]
fn vector_25_a_decrement_takes_nothing_from_a_holder() {
    let mut book = book([LimitSpec::new("two", 2)]);
    let demand = book.resolve([("two", 1)], T0).unwrap();
    book.take(&demand, Holder::run(1, 1), T0).unwrap();
    assert!(book.decrement(["two"], 5, None, T0).is_empty());
    assert_eq!(held(&book, "two", T0), 1);
}

#[test]
fn vector_26_what_can_never_fit_is_refused() {
    let mut book = book([LimitSpec::new("two", 2), LimitSpec::new("none", 0)]);
    for (name, slots, limit) in [("two", 3, 2), ("none", 1, 0)] {
        let refused = RequestError::AboveLimit {
            name: name.into(),
            weight: slots,
            slots: limit,
        };
        assert_eq!(
            add(&mut book, &[name], slots, T0),
            Err(IncrementError::Request(refused))
        );
    }
    assert!(matches!(
        add(&mut book, &["two"], 0, T0),
        Err(IncrementError::Request(RequestError::WeightZero { .. }))
    ));
    assert!(matches!(
        book.increment(["two"], 1, Mode::RateLimit, T0),
        Err(IncrementError::Request(RequestError::NotARate { names })) if names == ["two"]
    ));
    assert_eq!(held(&book, "two", T0), 0);
}

#[test]
fn vector_27_an_unknown_name_is_passed_over_and_told() {
    let mut book = book([LimitSpec::new("two", 2)]);
    let answer = book
        .increment(["ghost", "two", "two", "ghost"], 1, Mode::Concurrency, T0)
        .unwrap();
    assert_eq!(answer.limits, [book.find("two").unwrap()]);
    assert_eq!(answer.unknown, ["ghost"]);
    assert_eq!(held(&book, "two", T0), 1, "a name given twice counts once");
    let answer = book.increment(["ghost"], 1, Mode::Concurrency, T0).unwrap();
    assert!(answer.limits.is_empty());
    assert!(
        book.increment([], 1, Mode::Concurrency, T0)
            .unwrap()
            .limits
            .is_empty()
    );
    // A run that names an unknown limit is another matter: it is refused.
    assert!(matches!(
        book.resolve([("ghost", 1)], T0),
        Err(RequestError::Unknown { .. })
    ));
}

#[test]
fn vector_28_an_inactive_limit_counts_nothing() {
    let mut book = book([LimitSpec::new("off", 1).inactive()]);
    for _ in 0..3 {
        assert_eq!(add(&mut book, &["off"], 1, T0).unwrap().len(), 1);
        assert_eq!(held(&book, "off", T0), 0);
    }
}

#[test]
fn vector_29_a_decaying_limit_is_there_after_exactly_two_seconds_however_often_one_asks() {
    let mut book = book([LimitSpec::new("half", 1).decay(0.5)]);
    add(&mut book, &["half"], 1, T0).unwrap();
    for millis in (500..2_000).step_by(500) {
        let now = T0 + Duration::from_millis(millis);
        let left = Duration::from_millis(2_000 - millis);
        assert!(matches!(
            add(&mut book, &["half"], 1, now),
            Err(IncrementError::Busy { retry_after, .. }) if retry_after == left
        ));
    }
    assert!(add(&mut book, &["half"], 1, T0 + secs(2)).is_ok());
}

/// Our answer where the reference throws the fraction away: a limit of 0.5 a second touched every 1.9 s never decays there.
#[test]
fn vector_29_the_fraction_of_a_slot_is_kept_across_writes() {
    let mut book = book([LimitSpec::new("half", 10).decay(0.5)]);
    let half = book.find("half").unwrap();
    for n in 0..10 {
        add(&mut book, &["half"], 1, T0 + Duration::from_millis(1_900 * n)).unwrap();
        book.set_slots(half, 10, T0 + Duration::from_millis(1_900 * n))
            .unwrap();
    }
    // Ten poured, 17.1 s drained: 1.45 are left, and two slots are in use.
    assert_eq!(held(&book, "half", T0 + Duration::from_millis(17_100)), 2);
}

#[test]
fn vector_30_leases_have_bounds_and_are_released_once() {
    let mut book = book([LimitSpec::new("two", 2)]);
    for wrong in [secs(59), secs(86_401)] {
        assert!(matches!(
            book.increment_with_lease(["two"], 1, Mode::Concurrency, wrong, None, T0),
            Err(IncrementError::Lease(_))
        ));
    }
    let mut lease = |names: &[&str]| {
        book.increment_with_lease(names.iter().copied(), 1, Mode::Concurrency, secs(60), None, T0)
            .unwrap()
            .0
    };
    let (one, empty) = (lease(&["two"]), lease(&["ghost"]));
    assert_ne!(one, empty);
    assert_eq!(book.release_lease(empty, T0), Some(Demand::new()));
    assert_eq!(book.release_lease(empty, T0), None, "unknown: nothing happens");
    assert!(book.renew(empty, secs(60), T0).is_err(), "gone");
    assert!(book.renew(one, secs(60), T0 + secs(59)).is_ok());
    assert!(
        book.expire(T0 + secs(60)).is_empty(),
        "renewed in between, it is not revoked"
    );
    assert_eq!(held(&book, "two", T0 + secs(60)), 1);
    assert_eq!(book.expire(T0 + secs(119)).len(), 1);
    assert_eq!(held(&book, "two", T0 + secs(119)), 0);
}

#[test]
fn the_shared_limits_answer_alike_and_who_waits_is_not_overtaken() {
    let limits = Limits::new();
    limits.define(LimitSpec::new("two", 2), T0).unwrap();
    limits.define(LimitSpec::new("half", 1).decay(0.5), T0).unwrap();
    let two = limits.find("two").unwrap();
    limits.increment(&["two"], 1, Mode::Concurrency, T0).unwrap();
    let request = tenfold::limit::Request::new().slots("two", 2);
    let waiting = limits.acquire(&request, T0).unwrap();
    assert_eq!(limits.waiting(two), 1);
    assert!(matches!(
        limits.increment(&["two"], 1, Mode::Concurrency, T0),
        Err(IncrementError::Busy { .. })
    ));
    limits.decrement(&["two"], 1, None, T0);
    let permit = waiting.wait(Some(Duration::ZERO)).unwrap().unwrap();
    assert_eq!(limits.status(two, T0).unwrap().active_slots, 2);
    drop(permit);
    assert_eq!(limits.status(two, T0).unwrap().active_slots, 0);

    // Time alone lets in, when it is told.
    let request = tenfold::limit::Request::new().slot("half");
    drop(limits.try_acquire(&request, T0).unwrap());
    limits.increment(&["half"], 1, Mode::RateLimit, T0).unwrap();
    let waiting = limits.acquire(&request, T0).unwrap();
    assert_eq!(limits.advance(T0 + secs(1)).1, Some(T0 + secs(2)));
    assert_eq!(limits.advance(T0 + secs(2)).1, None);
    assert!(waiting.wait(Some(Duration::ZERO)).is_some());
}

#[test]
fn a_wait_that_runs_out_of_time_leaves_the_line() {
    let semaphore = tenfold::limit::Semaphore::new(1);
    let permit = semaphore.acquire_blocking(1).unwrap();
    let refused = semaphore
        .acquire_timeout(1, Duration::from_millis(1))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no room for 1 slots now; retry when some are given back, or wait"
    );
    assert_eq!(semaphore.status().waiting, 0);
    drop(permit);
    assert!(semaphore.acquire_timeout(1, Duration::ZERO).is_ok());
}
