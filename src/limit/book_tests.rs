//! What a book promises, case by case. Random histories against a model are in `model_tests`.

use std::time::Duration;

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const T0: Duration = secs(1_000);

fn book(specs: impl IntoIterator<Item = LimitSpec>) -> Book {
    let mut book = Book::new();
    for spec in specs {
        book.define(spec, T0).unwrap();
    }
    book
}

fn key(book: &Book, name: &str) -> LimitKey {
    book.find(name).unwrap()
}

fn run(row: u32) -> Holder {
    Holder::run(row, 1)
}

#[test]
fn l1_lowering_below_what_is_held_admits_no_one_and_kills_nothing() {
    let mut book = book([LimitSpec::new("db", 3)]);
    let db = key(&book, "db");
    let demand = book.resolve([("db", 1)], T0).unwrap();
    let grants = [1, 2, 3].map(|row| book.take(&demand, run(row), T0).unwrap());
    assert!(book.set_slots(db, 1, T0).unwrap().is_empty());
    assert_eq!(book.held(db, T0), 3);
    for grant in &grants[..2] {
        assert!(book.check(&demand, T0).is_err());
        book.release(*grant, T0).unwrap();
    }
    assert_eq!((book.held(db, T0), book.room(db, T0)), (1, 0));
    assert!(book.check(&demand, T0).is_err());
    assert_eq!(book.set_slots(db, 2, T0), Ok(vec![db]));
    assert!(book.take(&demand, run(4), T0).is_ok());
    book.check_invariants();
}

#[test]
fn l1_attaching_a_limit_counts_what_runs_already() {
    let mut book = book([LimitSpec::new("late", 1)]);
    let late = key(&book, "late");
    let grants = [1, 2].map(|row| book.take(&Demand::new(), run(row), T0).unwrap());
    for grant in grants {
        let ask = Ask {
            limit: late,
            weight: 1,
        };
        book.attach(grant, ask, T0).unwrap();
        assert_eq!(book.attach(grant, ask, T0), Err(DemandError::Duplicate));
    }
    assert_eq!(book.held(late, T0), 2);
    assert_eq!(book.detach(grants[0], late, T0), Some(1));
    assert_eq!(book.detach(grants[0], late, T0), None);
    assert_eq!(book.held(late, T0), 1);
    book.check_invariants();
}

#[test]
fn l2_a_grant_is_given_back_exactly_once_by_whoever_asks() {
    let mut book = book([LimitSpec::new("db", 4)]);
    let db = key(&book, "db");
    let demand = book.resolve([("db", 2)], T0).unwrap();
    let grant = book.take(&demand, run(1), T0).unwrap();
    assert_eq!(
        book.take(&demand, run(1), T0),
        Err(TakeError::AlreadyHolds(grant))
    );
    assert_eq!(book.held(db, T0), 2);
    assert_eq!(book.release_holder(run(1), T0), Some(demand.clone()));
    assert_eq!(book.release(grant, T0), None);
    assert_eq!(book.release_holder(run(1), T0), None);
    let next = book.take(&demand, run(2), T0).unwrap();
    assert_eq!(book.release(grant, T0), None, "a stale grant finds no stranger");
    assert_eq!(book.held(db, T0), 2);
    book.pass_on(next, Holder::run(2, 2)).unwrap();
    assert_eq!(book.grant_of(run(2)), None);
    assert_eq!(book.release_holder(Holder::run(2, 2), T0), Some(demand));
    book.check_invariants();
}

#[test]
fn l3_all_or_none_and_the_first_that_does_not_fit_is_named() {
    let mut book = book([
        LimitSpec::new("a", 2),
        LimitSpec::new("b", 1),
        LimitSpec::new("c", 1),
    ]);
    let all = book.resolve([("a", 1), ("b", 1), ("c", 1)], T0).unwrap();
    let only_b = book.resolve([("b", 1)], T0).unwrap();
    book.take(&only_b, run(1), T0).unwrap();
    let refused = book.check(&all, T0).unwrap_err();
    assert_eq!(refused.limit, key(&book, "b"));
    assert_eq!((refused.weight, refused.room, refused.retry_after), (1, 0, None));
    assert_eq!(book.take(&all, run(2), T0), Err(refused.into()));
    for free in ["a", "c"] {
        assert_eq!(book.held(key(&book, free), T0), 0, "{free}");
    }
    book.check_invariants();
}

#[test]
fn l3_what_can_never_be_granted_is_refused_at_once_and_changes_nothing() {
    let mut book = book([
        LimitSpec::new("a", 2),
        LimitSpec::new("t:*", 2),
        LimitSpec::new("zero", 0),
    ]);
    let before = book.export(T0);
    let nine: Vec<String> = (0..9).map(|n| format!("t:{n}")).collect();
    let cases: [(&[(&str, u32)], RequestError); 7] = [
        (&[("a", 1), ("b", 1)], RequestError::Unknown { name: "b".into() }),
        (
            &[("t:1", 1), ("a", 0)],
            RequestError::WeightZero { name: "a".into() },
        ),
        (
            &[("t:1", 1), ("t:1", 1)],
            RequestError::Duplicate { name: "t:1".into() },
        ),
        (&[("t:*", 1)], RequestError::Template { name: "t:*".into() }),
        (&[("t:", 1)], RequestError::Unknown { name: "t:".into() }),
        (
            &[("t:1", 3)],
            RequestError::AboveLimit {
                name: "t:1".into(),
                weight: 3,
                slots: 2,
            },
        ),
        (
            &[("zero", 1)],
            RequestError::AboveLimit {
                name: "zero".into(),
                weight: 1,
                slots: 0,
            },
        ),
    ];
    for (request, error) in cases {
        assert_eq!(book.resolve(request.iter().copied(), T0), Err(error));
    }
    let nine = nine.iter().map(|name| (name.as_str(), 1));
    assert_eq!(book.resolve(nine, T0), Err(RequestError::TooMany));
    assert_eq!(book.export(T0), before);
    book.check_invariants();
}

#[test]
fn l5_a_refusal_of_a_decaying_limit_says_when_to_the_nanosecond() {
    let mut book = book([LimitSpec::new("api", 2).decay(3.0)]);
    let api = key(&book, "api");
    let demand = book.resolve([("api", 2)], T0).unwrap();
    let grant = book.take(&demand, run(1), T0).unwrap();
    let wait = book.check(&demand, T0).unwrap_err().retry_after.unwrap();
    assert_eq!(wait, Duration::from_nanos(666_666_667));
    assert!(
        book.check(&demand, T0 + wait.saturating_sub(Duration::from_nanos(1)))
            .is_err()
    );
    assert!(book.check(&demand, T0 + wait).is_ok());
    assert_eq!(book.held(api, T0 + Duration::from_millis(400)), 1);
    book.release(grant, T0 + Duration::from_millis(400)).unwrap();
    assert_eq!(
        book.held(api, T0 + Duration::from_millis(400)),
        0,
        "never below zero"
    );
    assert!(book.check(&demand, T0 + Duration::from_millis(400)).is_ok());
    book.check_invariants();
}

#[test]
fn l7_an_inactive_limit_admits_everything_and_counts_again_when_activated() {
    let mut book = book([LimitSpec::new("db", 1).inactive()]);
    let db = key(&book, "db");
    let demand = book.resolve([("db", 5)], T0).unwrap();
    book.take(&demand, run(1), T0).unwrap();
    assert_eq!(book.room(db, T0), u32::MAX);
    book.set_active(db, true, T0).unwrap();
    assert_eq!((book.held(db, T0), book.room(db, T0)), (5, 0));
    assert_eq!(book.set_active(db, false, T0), Ok(vec![db]));
    book.check_invariants();
}

#[test]
fn l7_removing_a_limit_in_use_is_safe_and_lets_its_waiters_go() {
    let mut book = book([LimitSpec::new("db", 1), LimitSpec::new("gpu", 1)]);
    let db = key(&book, "db");
    let demand = book.resolve([("db", 1), ("gpu", 1)], T0).unwrap();
    let grant = book.take(&demand, run(1), T0).unwrap();
    assert_eq!(book.remove(db), Ok(vec![db]));
    assert_eq!(book.remove(db), Err(SpecError::Gone));
    let again = book.define(LimitSpec::new("db", 1), T0).unwrap();
    assert_ne!(again, db);
    let released = book.release(grant, T0).unwrap();
    assert_eq!(released.asks().len(), 1, "only what is left is given back");
    assert_eq!(book.held(again, T0), 0);
    assert!(
        book.take(&demand, run(2), T0).is_ok(),
        "the old demand passes over what is gone"
    );
    book.forget(&demand, T0);
    book.check_invariants();
}

#[test]
fn l8_a_template_makes_a_limit_and_forgets_it_with_its_last_holder_and_waiter() {
    let mut book = book([LimitSpec::new("tenant:*", 1), LimitSpec::new("tenant:vip:*", 5)]);
    let demand = book.resolve([("tenant:42", 1)], T0).unwrap();
    let made = key(&book, "tenant:42");
    assert_eq!(
        book.status(made, T0).unwrap().template.as_deref(),
        Some("tenant:*")
    );
    let grant = book.take(&demand, run(1), T0).unwrap();
    book.forget(&demand, T0);
    assert!(book.find("tenant:42").is_some(), "held");
    let waiting = book.resolve([("tenant:42", 1)], T0).unwrap();
    assert!(book.take(&waiting, run(2), T0).is_err());
    book.release(grant, T0).unwrap();
    assert!(book.find("tenant:42").is_some(), "waited for");
    book.forget(&waiting, T0);
    assert!(book.find("tenant:42").is_none());
    assert_eq!(book.len(), 2);
    book.resolve([("tenant:vip:1", 5)], T0).unwrap();
    assert_eq!(
        book.status(key(&book, "tenant:vip:1"), T0)
            .unwrap()
            .template
            .as_deref(),
        Some("tenant:vip:*"),
        "the longest prefix wins"
    );
    book.check_invariants();
}

#[test]
fn l8_a_change_of_the_template_reaches_what_it_has_made() {
    let mut book = book([LimitSpec::new("t:*", 1)]);
    let template = key(&book, "t:*");
    let demand = book.resolve([("t:1", 1), ("t:2", 1)], T0).unwrap();
    let one = key(&book, "t:1");
    assert_eq!(book.set_slots(template, 3, T0).unwrap().len(), 3);
    assert_eq!(book.room(one, T0), 3);
    book.define(LimitSpec::new("t:1", 9), T0).unwrap();
    book.set_slots(template, 2, T0).unwrap();
    assert_eq!(book.room(one, T0), 9, "defined by name, it is its own");
    book.take(&demand, run(1), T0).unwrap();
    assert_eq!(book.remove(template).unwrap().len(), 2);
    assert_eq!(book.keys(), vec![one]);
    book.check_invariants();
}

#[test]
fn l8_a_made_rate_is_remembered_until_it_has_drained() {
    let mut book = book([LimitSpec::new("ip:*", 1).decay(0.5)]);
    book.increment(["ip:a"], 1, Mode::RateLimit, T0).unwrap();
    assert!(matches!(
        book.increment(["ip:a"], 1, Mode::RateLimit, T0 + secs(1)),
        Err(IncrementError::Busy { retry_after, .. }) if retry_after == secs(1)
    ));
    book.expire(T0 + secs(1));
    assert!(book.find("ip:a").is_some());
    book.expire(T0 + secs(2));
    assert!(book.find("ip:a").is_none());
    for n in 0..1_000 {
        book.increment(
            [format!("ip:{n}").as_str()],
            1,
            Mode::RateLimit,
            T0 + secs(10 + n),
        )
        .unwrap();
    }
    assert!(book.len() < 8, "drained limits make way: {}", book.len());
    book.check_invariants();
}

#[test]
fn l8_a_drained_limit_that_is_named_beside_a_new_one_is_not_swept() {
    // It was found, then swept to make room for the other, and what was asked of it went to the other's place.
    let mut book = book([LimitSpec::new("ip:*", 1).decay(1.0)]);
    book.increment(["ip:a"], 1, Mode::RateLimit, T0).unwrap();
    let demand = book.resolve([("ip:b", 1), ("ip:a", 1)], T0 + secs(9)).unwrap();
    let mut names: Vec<_> = demand
        .asks()
        .iter()
        .map(|ask| book.name(ask.limit).unwrap().to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["ip:a", "ip:b"]);
    let both = book
        .increment(["ip:d", "ip:a"], 1, Mode::RateLimit, T0 + secs(20))
        .unwrap();
    assert_eq!(both.limits.len(), 2);
    assert!(
        both.limits
            .iter()
            .all(|&limit| book.held(limit, T0 + secs(20)) == 1)
    );
    book.check_invariants();
}

#[test]
fn l8_a_book_full_of_drained_limits_takes_a_new_name() {
    let mut book = Book::with_limits_max(101);
    book.define(LimitSpec::new("ip:*", 1).decay(1.0), T0).unwrap();
    for n in 0..100 {
        book.increment([format!("ip:{n}").as_str()], 1, Mode::RateLimit, T0)
            .unwrap();
    }
    let full = book.increment(["ip:new"], 1, Mode::RateLimit, T0);
    assert!(
        matches!(
            full,
            Err(IncrementError::Request(RequestError::TooManyLimits { .. }))
        ),
        "{full:?}"
    );
    let later = T0 + secs(2);
    book.increment(["ip:new"], 1, Mode::RateLimit, later).unwrap();
    book.resolve([("ip:x", 1)], later).unwrap();
    book.define(LimitSpec::new("db", 1), later).unwrap();
    book.check_invariants();
}

#[test]
fn a_full_book_refuses_and_stays_as_it_is() {
    let mut book = Book::with_limits_max(2);
    book.define(LimitSpec::new("t:*", 1), T0).unwrap();
    assert_eq!(
        book.resolve([("t:1", 1), ("t:2", 1)], T0),
        Err(RequestError::TooManyLimits { limits: 1 })
    );
    book.resolve([("t:1", 1)], T0).unwrap();
    assert_eq!(
        book.define(LimitSpec::new("x", 1), T0),
        Err(SpecError::TooManyLimits { limits: 2 })
    );
    assert!(matches!(
        book.increment(["t:3"], 1, Mode::Concurrency, T0),
        Err(IncrementError::Request(RequestError::TooManyLimits { .. }))
    ));
    assert_eq!(book.len(), 2);
}

#[test]
fn a_wrong_definition_is_refused_and_a_name_is_unique() {
    let mut book = book([
        LimitSpec::new("a", 1),
        LimitSpec::new("b", 1),
        LimitSpec::new("t:*", 1),
    ]);
    let (a, t) = (key(&book, "a"), key(&book, "t:*"));
    for decay in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            book.define(LimitSpec::new("c", 1).decay(decay), T0),
            Err(SpecError::DecayNotARate { .. })
        ));
        assert!(book.set_decay(a, decay, T0).is_err());
    }
    assert_eq!(
        book.define(LimitSpec::new("a", 2), T0),
        Err(SpecError::NameTaken { name: "a".into() })
    );
    assert_eq!(
        book.rename(a, "b"),
        Err(SpecError::NameTaken { name: "b".into() })
    );
    assert!(matches!(
        book.rename(a, "a:*"),
        Err(SpecError::TemplateMismatch { .. })
    ));
    assert!(matches!(
        book.rename(t, "t"),
        Err(SpecError::TemplateMismatch { .. })
    ));
    assert_eq!(book.rename(a, "c"), Ok(()));
    assert_eq!((book.find("a"), book.find("c")), (None, Some(a)));
    let pool = book.define_internal("pool/default", 4, T0).unwrap();
    assert_eq!(book.find("pool/default"), None);
    assert_eq!(book.name(pool).map(|name| &**name), Some("pool/default"));
    book.remove(pool).unwrap();
    book.check_invariants();
}

#[test]
fn holders_are_listed_in_the_order_of_taking() {
    let mut book = book([LimitSpec::new("db", 9)]);
    let db = key(&book, "db");
    let one = book.resolve([("db", 1)], T0).unwrap();
    let two = book.resolve([("db", 2)], T0).unwrap();
    let first = book.take(&two, run(7), T0).unwrap();
    book.take(&one, run(3), T0).unwrap();
    book.lease(&one, LEASE_MIN, None, T0).unwrap();
    book.release(first, T0).unwrap();
    book.take(&two, run(1), T0).unwrap();
    let lease = Holder::Lease(LeaseId::from_number(1));
    assert_eq!(
        book.holders(db).collect::<Vec<_>>(),
        [(run(3), 1), (lease, 1), (run(1), 2)]
    );
}

#[test]
fn l2_a_lease_lapses_at_its_expiry_and_not_when_renewed() {
    let mut book = book([LimitSpec::new("db", 2)]);
    let db = key(&book, "db");
    let demand = book.resolve([("db", 1)], T0).unwrap();
    let kept = book.lease(&demand, secs(60), None, T0).unwrap();
    let lost = book.lease(&demand, secs(60), None, T0).unwrap();
    assert_eq!(book.next_expiry(), Some(T0 + secs(60)));
    book.renew(kept, secs(60), T0 + secs(59)).unwrap();
    assert_eq!(
        book.renew(lost, secs(60), T0 + secs(60)),
        Err(LeaseError::Gone { id: lost })
    );
    let lapsed = book.expire(T0 + secs(60));
    assert_eq!(lapsed.iter().map(|lapsed| lapsed.id).collect::<Vec<_>>(), [lost]);
    assert_eq!(book.held(db, T0), 1);
    assert_eq!(book.release_lease(lost, T0 + secs(60)), None);
    assert!(book.release_lease(kept, T0 + secs(61)).is_some());
    assert_eq!(book.release_lease(kept, T0 + secs(61)), None);
    assert_eq!((book.held(db, T0), book.next_expiry()), (0, None));
    for wrong in [Duration::ZERO, secs(59), secs(86_401), Duration::MAX] {
        assert_eq!(
            book.lease(&demand, wrong, None, T0),
            Err(LeaseError::Duration { duration: wrong })
        );
    }
    book.check_invariants();
}

#[test]
fn a_document_restores_the_book_it_was_made_of() {
    let mut book = book([LimitSpec::new("db", 2), LimitSpec::new("t:*", 3).decay(0.3)]);
    book.define_internal("pool/p", 7, T0).unwrap();
    let demand = book.resolve([("db", 1), ("t:1", 2)], T0).unwrap();
    book.take(&demand, run(1), T0).unwrap();
    book.increment(["db"], 1, Mode::Concurrency, T0).unwrap();
    let lease = book
        .increment_with_lease(["t:2"], 1, Mode::RateLimit, secs(90), None, T0)
        .unwrap()
        .0;
    let state = book.export(T0 + secs(1));
    let text = serde_json::to_string(&state).unwrap();
    let (mut other, keys) = Book::restore(&serde_json::from_str(&text).unwrap(), secs(5)).unwrap();
    other.check_invariants();
    assert_eq!(keys.len(), 5);
    assert_eq!(other.export(secs(5)), state);
    assert_eq!(other.next_expiry(), Some(secs(5 + 89)));
    assert_eq!(
        book.export(T0 + secs(4)).limits,
        other.export(secs(8)).limits,
        "decay goes on exactly"
    );
    assert!(other.renew(lease, secs(60), secs(6)).is_ok());
}

#[test]
fn a_damaged_document_is_refused() {
    let mut book = book([LimitSpec::new("db", 2), LimitSpec::new("t:*", 3)]);
    let demand = book.resolve([("db", 1), ("t:1", 2)], T0).unwrap();
    book.take(&demand, run(1), T0).unwrap();
    book.lease(&demand, LEASE_MIN, None, T0).unwrap_err();
    let good = book.export(T0);
    let damages: [fn(&mut BookState); 8] = [
        |state| state.limits[0].spec.name.clear(),
        |state| state.limits[1].spec.name = "db".into(),
        |state| state.limits[0].avg_slot_occupancy_seconds = f64::NAN,
        |state| state.limits[2].made_by = Some(0),
        |state| state.limits[2].made_by = Some(99),
        |state| state.grants[0].holds[0].0 = 99,
        |state| state.grants[0].holds.push((0, 1)),
        |state| {
            state.leases.push(LeaseState {
                id: LeaseId::from_number(5),
                holder: None,
                age: Duration::ZERO,
                remaining: Duration::ZERO,
            });
        },
    ];
    assert!(Book::restore(&good, T0).is_ok());
    for damage in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        assert!(Book::restore(&bad, T0).is_err(), "{bad:?}");
    }
}

#[test]
fn a_demand_of_another_book_finds_nothing_here() {
    let mut rich = book((0..5).map(|n| LimitSpec::new(format!("l{n}"), 1)));
    let demand = rich.resolve([("l4", 1)], T0).unwrap();
    let mut poor = Book::new();
    poor.check(&demand, T0).unwrap();
    let grant = poor.take(&demand, run(1), T0).unwrap();
    assert!(poor.release(grant, T0).unwrap().is_empty());
    poor.forget(&demand, T0);
    poor.check_invariants();
}

#[test]
fn l8_a_made_rate_with_a_holder_is_kept_though_it_has_drained() {
    let mut book = book([LimitSpec::new("ip:*", 2).decay(1.0)]);
    let demand = book.resolve([("ip:a", 1)], T0).unwrap();
    let grant = book.take(&demand, run(1), T0).unwrap();
    book.forget(&demand, T0 + secs(9));
    let made = key(&book, "ip:a");
    assert_eq!(book.held(made, T0 + secs(9)), 0);
    assert_eq!(book.holders(made).count(), 1);
    book.release(grant, T0 + secs(9)).unwrap();
    assert!(book.find("ip:a").is_none());
    book.check_invariants();
}

#[test]
fn l5_a_limit_may_begin_and_cease_to_decay_with_slots_in_use() {
    let mut book = book([LimitSpec::new("x", 10)]);
    let x = key(&book, "x");
    let demand = book.resolve([("x", 2)], T0).unwrap();
    book.take(&demand, run(1), T0).unwrap();
    book.increment(["x"], 3, Mode::Concurrency, T0).unwrap();
    book.set_decay(x, 1.0, T0).unwrap();
    book.check_invariants();
    assert_eq!(book.held(x, T0), 5, "what is held is where it begins");
    assert_eq!(book.held(x, T0 + secs(4)), 1);
    book.set_decay(x, 0.0, T0 + secs(4)).unwrap();
    assert_eq!(book.held(x, T0 + secs(4)), 2, "its holders are the truth again");
    book.check_invariants();
}
