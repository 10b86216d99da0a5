//! One key, one run: idempotent submission.

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

use chrono::TimeDelta;
use tenfold::clock::Clock;
use tenfold::engine::Outcome;
use tenfold::{Engine, Error, NewDeployment, NewRun, Retry, RunId};

use crate::support::{engine, level, refused, says, still, take};

fn keyed(target: &str, key: &str) -> NewRun {
    NewRun::of(target).idempotency_key(key)
}

#[test]
fn r4_the_same_key_and_content_answers_with_the_first_run() {
    let (engine, clock) = engine();
    let first = engine.submit(keyed("f", "k").parameter("n", 1)).unwrap();
    assert!(!first.existing);
    let status = engine.snapshot();
    let again = engine.submit(keyed("f", "k").parameter("n", 1)).unwrap();
    assert_eq!((again.id, again.existing), (first.id, true));
    assert_eq!(engine.snapshot(), status, "nothing was made");
    // In whatever place it is, until its record is gone.
    let claim = take(&engine);
    assert!(engine.submit(keyed("f", "k").parameter("n", 1)).unwrap().existing);
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    assert!(engine.submit(keyed("f", "k").parameter("n", 1)).unwrap().existing);
    clock.advance(Duration::from_secs(25 * 3_600));
    // Its age is looked at when something else ends.
    let other = engine.submit("f").unwrap().id;
    engine.cancel(other).unwrap();
    assert!(engine.run(first.id).is_err());
    assert!(!engine.submit(keyed("f", "k").parameter("n", 2)).unwrap().existing);
}

#[test]
fn r4_the_same_key_with_other_content_is_a_conflict() {
    let (engine, clock) = engine();
    let made = engine.submit(keyed("f", "k")).unwrap().id;
    let at = clock.now().wall + TimeDelta::hours(1);
    for other in [
        keyed("f", "k").parameter("n", 1),
        keyed("f", "k").priority(level(2)),
        keyed("f", "k").tag("t"),
        keyed("f", "k").name("n"),
        keyed("f", "k").not_before(at),
        keyed("f", "k").retry(Retry::fixed(1, Duration::ZERO)),
        keyed("f", "k").timeout(Duration::from_secs(1)),
        keyed("f", "k").work_queue("default", "default"),
    ] {
        let error = refused(&engine, |e| e.submit(other));
        assert!(matches!(error, Error::KeyConflict { .. }), "{error:?}");
        says(&error, &["\"k\"", &made.to_string(), "use a new key"]);
    }
}

#[test]
fn r4_a_key_belongs_to_its_deployment_else_to_its_flow() {
    let (engine, _) = engine();
    engine.flow("g").unwrap();
    engine.deploy(NewDeployment::new("f", "one")).unwrap();
    engine.deploy(NewDeployment::new("f", "two")).unwrap();
    let ids: HashSet<RunId> = ["f", "g", "f/one", "f/two"]
        .map(|target| engine.submit(keyed(target, "k")).unwrap().id)
        .into();
    assert_eq!(ids.len(), 4);
    // A deployment that is made anew has keys of its own.
    let old = engine.deployment_by_name("f/one").unwrap().id;
    engine.delete_deployment(old).unwrap();
    engine.deploy(NewDeployment::new("f", "one")).unwrap();
    assert!(
        !engine
            .submit(keyed("f/one", "k").priority(level(4)))
            .unwrap()
            .existing
    );
}

#[test]
fn r4_a_key_twice_in_one_batch_is_answered_for_the_second() {
    let (engine, _) = engine();
    let before = engine.submit(keyed("f", "old")).unwrap().id;
    let batch = vec![
        keyed("f", "k"),
        keyed("f", "old"),
        keyed("f", "k"),
        keyed("f", "k").parameter("n", 1),
        keyed("f", "other"),
    ];
    let answers = engine.submit_batch(batch).unwrap();
    assert!(!answers[0].as_ref().unwrap().existing);
    assert_eq!(answers[1].as_ref().unwrap().id, before);
    let twice = answers[2].as_ref().unwrap_err();
    assert!(matches!(twice, Error::Duplicate { .. }), "{twice:?}");
    says(twice, &["idempotency key \"k\"", "in this batch"]);
    assert!(matches!(answers[3], Err(Error::KeyConflict { .. })));
    assert!(!answers[4].as_ref().unwrap().existing);
    assert_eq!(engine.snapshot().queued_tasks, 3);
}

#[test]
fn r4_one_key_makes_one_run_under_any_race() {
    const THREADS: usize = 4;
    const KEYS: usize = 300;
    let engine = Engine::new();
    engine.flow("f").unwrap();
    let barrier = Barrier::new(THREADS);
    let submit = || -> Vec<RunId> {
        barrier.wait();
        (0..KEYS)
            .map(|key| engine.submit(keyed("f", &key.to_string())).unwrap().id)
            .collect()
    };
    let answers: Vec<Vec<RunId>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(submit)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|ids| *ids == answers[0]));
    assert_eq!(engine.snapshot().totals.accepted, KEYS as u64);
}

#[test]
fn r7_a_full_engine_still_answers_for_a_run_that_it_has() {
    let (builder, _) = still();
    let engine = builder.waiting_runs(1).build().unwrap();
    engine.flow("f").unwrap();
    let run = engine.submit(keyed("f", "k")).unwrap().id;
    assert_eq!(engine.submit(keyed("f", "k")).unwrap().id, run);
    refused(&engine, |e| e.submit(keyed("f", "new")));
}
