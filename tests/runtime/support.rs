//! An engine that lives in tokio's time, and what the tests wait for.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::{Clock, Now};
use tenfold::model::Place;
use tenfold::{Engine, Run, RunId};
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes; of paused time.
pub(crate) const AGES: Duration = Duration::from_secs(3_600);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An engine's clock that reads tokio's time.
#[derive(Debug)]
pub(crate) struct TokioClock {
    origin: Instant,
    wall: DateTime<Utc>,
}

impl Clock for TokioClock {
    fn now(&self) -> Now {
        // A read from a thread outside tokio would not see the paused time; none of these tests makes one.
        let mono = self.origin.elapsed();
        Now {
            wall: self.wall + TimeDelta::from_std(mono).unwrap(),
            mono,
        }
    }
}

pub(crate) fn engine() -> Engine {
    let clock = TokioClock {
        origin: Instant::now(),
        wall: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    Engine::builder().clock(clock).seed(1).build().unwrap()
}

/// Waits until `done`, which is looked at once for each version: most looks at the engine make due what is due, and here
/// the runtime has to do that by itself.
pub(crate) async fn until(engine: &Engine, done: impl Fn(&Engine) -> bool) {
    let waited = timeout(AGES, async {
        let mut seen = None;
        loop {
            let version = engine.snapshot().version;
            if seen != Some(version) && done(engine) {
                break;
            }
            seen = Some(version);
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it happens");
}

/// The run once it has ended.
pub(crate) async fn ended(engine: &Engine, run: RunId) -> Run {
    until(engine, |engine| engine.run(run).unwrap().place == Place::Finished).await;
    engine.run(run).unwrap()
}

pub(crate) fn message(run: &Run) -> String {
    run.state
        .as_ref()
        .unwrap()
        .message
        .as_deref()
        .unwrap_or_default()
        .to_owned()
}

/// Sets a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A handler that never ends by itself, and whether it has been dropped.
pub(crate) fn hangs(engine: &Engine, flow: &'static str) -> Arc<AtomicBool> {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    engine
        .handler(flow, move |_| {
            let held = Dropped(flag.clone());
            async move {
                let _held = held;
                pending::<()>().await;
                Ok(())
            }
        })
        .unwrap();
    dropped
}
