//! What a pool offers its workers, beside the reference's own examples.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::engine::Stop;
use tenfold::limit::LimitSpec;
use tenfold::model::{PoolPatch, QueueOrder, QueuePatch};
use tenfold::{Engine, Error, NewDeployment, NewPool, NewQueue, NewRun, RunId};

use crate::support::{START, engine, level, still};

/// The reference's pool: queues auto2, mid, hi and default, in that order; runs that are due and runs that are not.
fn pool() -> Engine {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    engine.flow("f").unwrap();
    engine
        .create_pool(NewPool::named("p").concurrency_limit(3))
        .unwrap();
    for (queue, number) in [("auto2", 1), ("mid", 2), ("hi", 3)] {
        let queue = NewQueue::named("p", queue).priority(NonZeroU32::new(number).unwrap());
        engine.create_queue(queue).unwrap();
    }
    let submit = |queue: &str, name: &str, later: i64| {
        let run = NewRun::of("f").name(name).work_queue("p", queue);
        engine.submit(run.not_before(at(later))).unwrap();
    };
    submit("default", "def-early", -200);
    clock.advance(Duration::from_secs(100));
    submit("mid", "mid-early", -100);
    clock.advance(Duration::from_secs(100));
    submit("auto2", "a2", 10);
    submit("hi", "hi-soon", 50);
    submit("hi", "hi-late", 100);
    engine
}

/// An instant relative to the one at which the pool is looked at.
fn at(seconds: i64) -> DateTime<Utc> {
    START.parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(200 + seconds)
}

fn offers(engine: &Engine, after: Option<i64>, before: Option<i64>, n: usize) -> Vec<String> {
    let runs = engine.offers("p", &[], after.map(at), before.map(at), n).unwrap();
    runs.iter().map(|run| run.name.to_string()).collect()
}

#[test]
fn c4_a_pool_offers_what_is_due_in_claim_order_and_then_what_comes_as_far_as_slots_go() {
    let engine = pool();
    // In the reference a later run of a better queue comes before one that is due; here what is due comes first.
    assert_eq!(offers(&engine, None, None, 200), ["mid-early", "def-early", "a2"]);
    assert_eq!(offers(&engine, None, Some(0), 200), ["mid-early", "def-early"]);
    assert_eq!(offers(&engine, Some(0), None, 200), ["a2", "hi-soon", "hi-late"]);
    assert_eq!(offers(&engine, None, None, 2), ["mid-early", "def-early"]);
    let patch = PoolPatch::new().concurrency_limit(None);
    engine.update_pool("p", patch).unwrap();
    let all = ["mid-early", "def-early", "a2", "hi-soon", "hi-late"];
    assert_eq!(offers(&engine, None, None, 200), all);
    let one = QueuePatch::new().concurrency_limit(Some(1));
    engine.update_queue("p", "hi", one).unwrap();
    assert_eq!(offers(&engine, None, None, 200), all[..4]);
    engine.pause_queue("p", "hi").unwrap();
    assert_eq!(offers(&engine, None, None, 200), all[..3]);
    let named = engine.offers("p", &["mid", "hi"], None, None, 10).unwrap();
    assert_eq!(named.len(), 1);
    engine.pause_pool("p").unwrap();
    assert!(offers(&engine, None, None, 200).is_empty());
    assert!(offers(&engine, Some(10), Some(0), 200).is_empty());
}

#[test]
fn asking_for_offers_claims_nothing_and_is_seen() {
    let engine = pool();
    let before = engine.snapshot();
    offers(&engine, None, None, 200);
    assert_eq!(engine.snapshot(), before);
    assert_eq!(engine.queue("p", "hi").unwrap().last_polled, Some(at(0)));
    for refused in [
        engine.offers("q", &[], None, None, 1),
        engine.offers("p", &["low"], None, None, 1),
    ] {
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    }
    assert!(matches!(
        engine.offers("p", &[], None, None, 0),
        Err(Error::BatchSize { .. })
    ));
}

#[test]
fn l4_what_a_limit_holds_back_is_not_offered_and_hides_nothing() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("gpu", 2)).unwrap();
    engine
        .deploy(NewDeployment::new("f", "one").concurrency_limit(NonZeroU32::MIN))
        .unwrap();
    let submit = |run: NewRun| engine.submit(run).unwrap().id;
    let light = |_| submit(NewRun::of("f").slot("gpu"));
    let lights: Vec<RunId> = (0..4).map(light).collect();
    let heavy = submit(NewRun::of("f").slots("gpu", 2));
    let first = submit(NewRun::of("f/one"));
    submit(NewRun::of("f/one"));
    let plain = submit(NewRun::of("f"));
    let urgent = submit(NewRun::of("f").priority(level(9)));
    let offered = || -> Vec<RunId> {
        let runs = engine.offers("default", &[], None, None, 100).unwrap();
        runs.iter().map(|run| run.id).collect()
    };
    let expected = [urgent, lights[0], lights[1], first, plain];
    assert_eq!(offered(), expected);
    // Each of them can be had, all together; nothing else can.
    for run in expected {
        engine.claim_run(run).unwrap().unwrap();
    }
    assert!(offered().is_empty());
    let refused = engine.claim_run(heavy).unwrap().unwrap_err();
    assert!(matches!(refused, Stop::Limit { room: 0, .. }));
}

#[test]
fn a_strict_queue_offers_nothing_past_what_is_held_back() {
    let (engine, _) = engine();
    engine.create_pool(NewPool::named("p")).unwrap();
    engine
        .set_queue_order("p", "default", QueueOrder::StrictFifo)
        .unwrap();
    engine.define_limit(LimitSpec::new("gpu", 1)).unwrap();
    let run = || NewRun::of("f").work_queue("p", "default");
    for run in [run(), run().slot("gpu"), run().slot("gpu"), run()] {
        engine.submit(run).unwrap();
    }
    assert_eq!(engine.offers("p", &[], None, None, 10).unwrap().len(), 2);
}
