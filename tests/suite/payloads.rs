//! What a run carries besides data: values of the host's own, and closures (R8).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenfold::engine::Answer;
use tenfold::model::{NewState, StateType};
use tenfold::{Claims, Engine, Error, NewRun, Outcome, Retry, Run, RunId, Scope};

use crate::support::{engine, refused, says, still, take};

const LONG: Duration = Duration::from_secs(60);

/// Calls the engine when it is dropped, which would never end under its lock; and panics then, if asked to.
struct Counted {
    engine: Engine,
    dropped: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.engine.advance().unwrap();
        self.dropped.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "as asked");
    }
}

fn ended(engine: &Engine, run: RunId) -> Run {
    let mut wait = engine.wait(run).unwrap();
    wait.for_at_most(LONG).unwrap().expect("it takes no time")
}

#[test]
fn r8_a_payload_lives_as_long_as_its_run_has_not_ended() {
    let (engine, _) = engine();
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = |panics| {
        Arc::new(Counted {
            engine: engine.clone(),
            dropped: dropped.clone(),
            panics,
        })
    };
    let count = || dropped.load(Ordering::Relaxed);
    let new = NewRun::of("f").retry(Retry::fixed(1, Duration::ZERO));
    engine.submit_with(new, counted(false)).unwrap();
    for attempt in 1..=2 {
        let claim = take(&engine);
        assert_eq!(
            claim
                .payload::<Counted>()
                .unwrap()
                .engine
                .snapshot()
                .processing_tasks,
            1
        );
        assert!(claim.payload::<u32>().is_none(), "of its own type alone");
        engine.begin(&claim).unwrap();
        assert_eq!(count(), 0, "attempt {attempt}");
        engine.complete(&claim, Outcome::failed("so")).unwrap();
    }
    assert_eq!(count(), 1);
    // However it ends, and whatever its payload does then.
    let ends: [fn(&Engine, RunId); 3] = [
        |engine, run| {
            engine.cancel(run).unwrap();
        },
        |engine, run| {
            engine.delete_run(run).unwrap();
        },
        |engine, run| {
            let failed = NewState::of(StateType::Failed).force();
            assert!(matches!(
                engine.set_state(run, failed).unwrap(),
                Answer::Accepted { .. }
            ));
        },
    ];
    for (before, end) in (1..).zip(ends) {
        let run = engine.submit_with("f", counted(true)).unwrap().id;
        assert_eq!(count(), before);
        end(&engine, run);
        assert_eq!(count(), before + 1);
    }
    // What is refused, or finds its key in use, goes at once.
    engine.submit_with("nobody", counted(false)).unwrap_err();
    assert_eq!(count(), 5);
    let keyed = || NewRun::of("f").idempotency_key("k");
    engine.submit_with(keyed(), counted(false)).unwrap();
    assert!(engine.submit_with(keyed(), counted(false)).unwrap().existing);
    assert_eq!(count(), 6);
    assert!(
        engine
            .claim(&Scope::all())
            .unwrap()
            .unwrap()
            .payload::<Counted>()
            .is_some()
    );
}

#[test]
fn r8_e5_a_document_says_that_there_was_a_payload_and_another_can_be_attached() {
    let (engine, clock) = engine();
    let with = engine.submit_with("f", Arc::new(1_u32)).unwrap().id;
    let closure = engine.submit_closure("f", |_| Ok(2)).unwrap().id;
    let without = engine.submit("f").unwrap().id;
    let document = engine.export().unwrap();
    let text = serde_json::to_string(&document).unwrap();
    let moved = Engine::builder()
        .clock(clock)
        .import(serde_json::from_str(&text).unwrap(), Claims::Keep)
        .unwrap();
    assert_eq!(
        moved.export().unwrap(),
        document,
        "it is not forgotten that they had one"
    );
    let claim = take(&moved);
    assert!((claim.run(), claim.payload::<u32>()) == (with, None));
    moved.give_back(&claim).unwrap();
    moved.attach_payload(with, Arc::new(3_u32)).unwrap();
    moved.attach_payload(with, Arc::new(4_u32)).unwrap();
    let claim = take(&moved);
    assert_eq!(claim.payload::<u32>().as_deref(), Some(&4));
    moved.complete(&claim, Outcome::Cancelled).unwrap();
    let late = refused(&moved, |engine| engine.attach_payload(with, Arc::new(5_u32)));
    assert!(matches!(late, Error::Transition { .. }), "{late}");
    // A closure is gone, and its run says so; the others go on.
    let runner = moved
        .runner()
        .handler("f", |_| Ok("handled"))
        .unwrap()
        .start()
        .unwrap();
    let lost = ended(&moved, closure);
    assert_eq!(
        (lost.state_type, lost.state_name.as_deref()),
        (Some(StateType::Crashed), Some("PayloadLost"))
    );
    says(&lost.state.unwrap().message.unwrap(), &["closure", "document"]);
    assert_eq!(ended(&moved, without).result, Some("handled".into()));
    runner.drain();
}

#[test]
fn e4_payloads_are_bounded() {
    let engine = still().0.payloads(2).build().unwrap();
    engine.flow("f").unwrap();
    engine.submit_with("f", Arc::new(())).unwrap();
    engine.submit_closure("f", |_| Ok(())).unwrap();
    let plain = engine.submit("f").unwrap().id;
    let full = refused(&engine, |engine| engine.submit_with("f", Arc::new(())));
    assert!(
        matches!(
            full,
            Error::Full {
                what: "payloads",
                capacity: 2,
                ..
            }
        ),
        "{full}"
    );
    refused(&engine, |engine| engine.attach_payload(plain, Arc::new(())));
    engine.complete(&take(&engine), Outcome::Cancelled).unwrap();
    engine.attach_payload(plain, Arc::new(())).unwrap();
}

#[test]
fn r8_a_closure_runs_once_whatever_retries_there_are() {
    let engine = Engine::new();
    engine.flow("f").unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let new = NewRun::of("f")
        .parameter("n", 20)
        .retry(Retry::fixed(5, Duration::ZERO));
    let failing = engine
        .submit_closure(new.clone(), move |job| {
            counted.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(tenfold::RunError::new(format!("attempt {}", job.attempt())))
        })
        .unwrap()
        .id;
    let panicking = engine
        .submit_closure("f", |_| -> Result<(), _> { panic!("as asked") })
        .unwrap()
        .id;
    let good = engine
        .submit_closure(new, |job| Ok(job.parameter::<i64>("n")? + 1))
        .unwrap()
        .id;
    let runner = engine.runner().threads(1).start().unwrap();
    assert_eq!(ended(&engine, good).result, Some(21.into()));
    let failed = ended(&engine, failing);
    assert_eq!(failed.state_type, Some(StateType::Failed));
    says(&failed.state.unwrap().message.unwrap(), &["attempt 1"]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(ended(&engine, panicking).state_type, Some(StateType::Crashed));
    runner.drain();
}
