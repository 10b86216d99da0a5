//! An exported document and ways to damage it, for tests and for the fuzzer.

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use tenfold::clock::ManualClock;
use tenfold::limit::LimitSpec;
use tenfold::{Claims, Engine, NewDeployment, NewPool, NewQueue, NewRun, Outcome, Retry, Schedule, Scope};

fn clock() -> ManualClock {
    ManualClock::at(DateTime::from_timestamp(1_750_000_000, 0).expect("an instant of the calendar"))
}

/// The export of an engine that has something of everything: runs in every place, limits, keys, leases, schedules.
pub(crate) fn document() -> Value {
    let engine = Engine::builder()
        .clock(clock())
        .seed(1)
        .build()
        .expect("the defaults fit together");
    let made = || -> Result<(), tenfold::Error> {
        engine.create_pool(NewPool::named("pool"))?;
        engine.create_queue(NewQueue::named("pool", "fast").concurrency_limit(3))?;
        engine.define_limit(LimitSpec::new("db", 2))?;
        let hourly = Schedule::interval(TimeDelta::hours(1), DateTime::UNIX_EPOCH, "Europe/Berlin");
        let own = engine.deploy(
            NewDeployment::new("flow", "own")
                .schedule(hourly.expect("an interval"))
                .work_queue("pool", "fast")
                .tag("etl")
                .concurrency_limit(std::num::NonZeroU32::MIN)
                .retry(Retry::fixed(2, std::time::Duration::from_secs(60))),
        )?;
        engine.deploy(NewDeployment::new("flow", "other").paused())?;
        for n in 0..3 {
            engine.submit(
                NewRun::of(own.id)
                    .parameter("n", n)
                    .idempotency_key(format!("k{n}")),
            )?;
            engine.submit(NewRun::of("flow").slot("db").tag("x"))?;
        }
        for outcome in [
            Outcome::Completed(json!({"rows": 1})),
            Outcome::Failed("no".into()),
        ] {
            if let Ok(claim) = engine.claim(&Scope::all())? {
                engine.begin(&claim)?;
                engine.complete(&claim, outcome)?;
            }
        }
        if let Ok(claim) = engine.claim(&Scope::all())? {
            engine.begin(&claim)?;
        }
        Ok(())
    };
    made().expect("nothing of this is refused");
    serde_json::to_value(engine.export().expect("a sound engine")).expect("documents are JSON")
}

/// The places of all values inside, as pointers.
pub(crate) fn places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), value)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Array(items) => {
                open.extend(
                    items
                        .iter()
                        .enumerate()
                        .map(|(at, item)| (format!("{path}/{at}"), item)),
                );
            }
            Value::Object(fields) => open.extend(fields.iter().map(|(key, field)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                (format!("{path}/{key}"), field)
            })),
            _ => {}
        }
        found.push(path);
    }
    found.sort_unstable();
    found
}

/// Reads a document, makes an engine of it, and lets that one work. True if it was taken.
pub(crate) fn survives(document: Value) -> bool {
    let Ok(document) = serde_json::from_value(document) else {
        return false;
    };
    let clock = clock();
    let Ok(engine) = Engine::builder()
        .clock(clock.clone())
        .import(document, Claims::Keep)
    else {
        return false;
    };
    #[cfg(fuzzing)]
    engine.check_invariants();
    let poisoned = |error: &tenfold::Error| matches!(error, tenfold::Error::Poisoned);
    for _ in 0..4 {
        clock.advance(std::time::Duration::from_secs(1_800));
        let next = engine.advance();
        assert!(!next.as_ref().is_err_and(poisoned), "{next:?}");
        if let Ok(Ok(claim)) = engine.claim(&Scope::all()) {
            let _ = engine.begin(&claim);
            let ended = engine.complete(&claim, Outcome::Failed("again".into()));
            assert!(!ended.as_ref().is_err_and(poisoned), "{ended:?}");
        }
    }
    #[cfg(fuzzing)]
    engine.check_invariants();
    let again = engine.export().expect("an engine that was taken is sound");
    let back = Engine::builder().clock(clock).import(again, Claims::PutBack);
    assert!(
        back.is_ok(),
        "its own export: {}",
        back.err().map(|error| error.to_string()).unwrap_or_default()
    );
    true
}
