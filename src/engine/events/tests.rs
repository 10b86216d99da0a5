//! Streams, and copies that follow an engine.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::*;

use super::*;
use crate::engine::export_tests::History;
use crate::engine::{Outcome, Scope};

/// Panics with the first place in which two documents differ.
pub(in crate::engine) fn assert_same(copy: &crate::Document, now: &crate::Document) {
    fn differ(path: &str, one: &serde_json::Value, other: &serde_json::Value) {
        use serde_json::Value::{Array, Object};
        match (one, other) {
            (Object(one), Object(other)) if one.len() == other.len() => {
                one.iter()
                    .zip(other)
                    .for_each(|((key, one), (_, other))| differ(&format!("{path}.{key}"), one, other));
            }
            (Array(one), Array(other)) if one.len() == other.len() => {
                one.iter()
                    .zip(other)
                    .enumerate()
                    .for_each(|(at, (one, other))| differ(&format!("{path}[{at}]"), one, other));
            }
            _ => assert_eq!(one, other, "{path}"),
        }
    }
    if text(copy) != text(now) {
        differ(
            "",
            &serde_json::to_value(copy).unwrap(),
            &serde_json::to_value(now).unwrap(),
        );
        panic!("the same, in another order of keys");
    }
}

fn text(document: &crate::Document) -> String {
    serde_json::to_string(document).unwrap()
}

fn drain(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// An export at v with the events up to w is the export at w, byte for byte: schedules, retries, leases, pauses, limits and
    /// retention.
    #[test]
    fn e5_an_export_and_the_events_after_it_are_the_later_export(seed: u64, steps in prop::collection::vec(1..60_usize, 1..5)) {
        let mut history = History::begin(seed);
        history.go_on(usize::try_from(seed % 80).unwrap());
        let mut events = history.engine.events(Follow::everything().capacity(100_000)).unwrap();
        let mut copy = Replica::new(history.engine.export().unwrap());
        for steps in steps {
            history.go_on(steps);
            let now = history.engine.export().unwrap();
            for event in drain(&mut events) {
                copy.apply(event).unwrap();
            }
            assert_same(&copy.document(), &now);
        }
    }
}

fn engine() -> Engine {
    let clock = crate::clock::ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock).build().unwrap();
    engine.flow("f").unwrap();
    engine
}

fn states(events: &[Event]) -> Vec<(u64, StateType)> {
    let states = events.iter().filter_map(|event| match &event.what {
        Happened::State(change) => Some((event.version, change.state)),
        _ => None,
    });
    states.collect()
}

#[test]
fn each_state_has_the_version_of_its_step_and_the_claim_its_token() {
    let engine = engine();
    let mut events = engine.events(Follow::states()).unwrap();
    let run = engine.submit("f").unwrap().id;
    let claim = engine.claim(&Scope::all()).unwrap().unwrap();
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::failed("no")).unwrap();
    let seen = drain(&mut events);
    let versions: Vec<u64> = seen.iter().map(|event| event.version).collect();
    assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    let of = |seen: &[Event]| {
        states(seen)
            .into_iter()
            .map(|(_, state)| state)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&seen),
        [
            StateType::Scheduled,
            StateType::Pending,
            StateType::Running,
            StateType::Failed
        ]
    );
    let Happened::State(taken) = &seen[1].what else {
        panic!("a state")
    };
    assert_eq!(
        (taken.run, taken.attempt, taken.token),
        (run, 1, Some(claim.token()))
    );
    let Happened::State(ended) = &seen[3].what else {
        panic!("a state")
    };
    assert_eq!(
        (ended.from, ended.message.as_deref()),
        (Some(StateType::Running), Some("no"))
    );
}

#[test]
fn a_full_stream_says_what_it_missed_and_goes_on_behind_it() {
    let engine = engine();
    let mut events = engine.events(Follow::states().capacity(3)).unwrap();
    let versions: Vec<u64> = (0..6)
        .map(|_| engine.submit("f").map(|_| engine.snapshot().version).unwrap())
        .collect();
    for version in &versions[..3] {
        assert_eq!(events.try_next().unwrap().unwrap().version, *version);
    }
    // Room alone does not hide the gap: nothing is added before it was told.
    engine.submit("f").unwrap();
    let missed = events.try_next().unwrap_err();
    assert_eq!((missed.from, missed.to), (versions[3], engine.snapshot().version));
    assert_eq!(events.try_next().map(|event| event.is_none()), Ok(true));
    engine.submit("f").unwrap();
    assert_eq!(
        events.try_next().unwrap().unwrap().version,
        engine.snapshot().version
    );
}

#[test]
fn a_copy_says_when_events_are_missing_and_goes_on_from_a_new_export() {
    let engine = engine();
    let mut events = engine.events(Follow::rows().capacity(6)).unwrap();
    let mut copy = Replica::new(engine.export().unwrap());
    for _ in 0..6 {
        engine.submit("f").unwrap();
    }
    let refused = loop {
        match events.try_next() {
            Ok(Some(event)) => copy.apply(event).unwrap(),
            Ok(None) => panic!("so many commits are more events than that"),
            Err(missed) => break missed,
        }
    };
    assert!(refused.to_string().contains("export again"), "{refused}");
    engine.submit("f").unwrap();
    let behind = drain(&mut events)
        .into_iter()
        .try_for_each(|event| copy.apply(event));
    assert!(matches!(behind, Err(Error::Document { .. })), "{behind:?}");
    let mut copy = Replica::new(engine.export().unwrap());
    engine.submit("f").unwrap();
    let now = engine.export().unwrap();
    drain(&mut events)
        .into_iter()
        .for_each(|event| copy.apply(event).unwrap());
    assert_eq!(
        (copy.version(), text(&copy.document())),
        (now.version(), text(&now))
    );
}

#[test]
fn a_stream_of_one_run_holds_nothing_of_others() {
    let engine = engine();
    let run = engine.submit("f").unwrap().id;
    let mut events = engine.events(Follow::everything().run(run)).unwrap();
    engine.submit("f").unwrap();
    engine.claim(&Scope::all()).unwrap().unwrap();
    engine.claim(&Scope::all()).unwrap().unwrap();
    let seen = drain(&mut events);
    assert_eq!(states(&seen).len(), 1);
    let of = |event: &Event| match &event.what {
        Happened::State(change) => change.run == run,
        Happened::Row(row) => row.run().is_some_and(|row| row.id == run),
        _ => false,
    };
    assert!(seen.len() == 2 && seen.iter().all(of), "{seen:?}");
}

struct Count(std::sync::atomic::AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn a_waiting_future_is_woken_by_the_next_event_and_may_be_dropped() {
    let engine = engine();
    let mut events = engine.events(Follow::states()).unwrap();
    let count = Arc::new(Count(0.into()));
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    {
        let mut next = Box::pin(events.next_event());
        assert!(next.as_mut().poll(&mut context).is_pending());
    }
    let mut next = Box::pin(events.next_event());
    assert!(next.as_mut().poll(&mut context).is_pending());
    engine.submit("f").unwrap();
    assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(matches!(next.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
}

#[test]
fn a_thread_waits_for_the_next_event() {
    let engine = engine();
    let mut events = engine.events(Follow::states()).unwrap();
    let submitter = {
        let engine = engine.clone();
        std::thread::spawn(move || engine.submit("f").unwrap().id)
    };
    let event = events
        .next_for_at_most(std::time::Duration::from_secs(60))
        .unwrap()
        .unwrap();
    let run = submitter.join().unwrap();
    assert!(matches!(event.what, Happened::State(change) if change.run == run));
    assert!(
        events
            .next_for_at_most(std::time::Duration::ZERO)
            .unwrap()
            .is_none()
    );
}

#[test]
fn e4_there_are_so_many_streams_and_a_dropped_one_makes_room() {
    let engine = engine();
    let mut all: Vec<Events> = (0..MAX_STREAMS)
        .map(|_| engine.events(Follow::rows()).unwrap())
        .collect();
    let full = engine.events(Follow::states()).unwrap_err();
    assert!(
        matches!(
            full,
            Error::Full {
                capacity: MAX_STREAMS,
                ..
            }
        ),
        "{full}"
    );
    all.pop();
    engine.events(Follow::states()).unwrap();
}
