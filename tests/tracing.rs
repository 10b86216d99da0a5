//! What a subscriber of `tracing` sees of a run's life. Feature `tracing`.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenfold::clock::ManualClock;
use tenfold::engine::Lease;
use tenfold::{Claims, Engine, NewDeployment, NewRun, NewSchedule, Outcome, Retry, Schedule, Scope};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// One thing that was seen: its level, its target, the span that it happened in, its fields.
#[derive(Clone, Debug)]
struct Seen {
    level: Level,
    target: String,
    span: Option<String>,
    fields: BTreeMap<String, String>,
}

impl Seen {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

/// A subscriber that keeps all it sees, and calls the engine back: which would hang if a lock were held.
#[derive(Clone, Default)]
struct Sees {
    most: Option<Level>,
    seen: Arc<Mutex<Vec<Seen>>>,
    spans: Arc<Mutex<Vec<String>>>,
    inside: Arc<Mutex<Vec<String>>>,
    engine: Arc<Mutex<Option<Engine>>>,
    panics: Arc<AtomicBool>,
    number: Arc<AtomicU64>,
}

impl Subscriber for Sees {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.most.is_none_or(|most| *metadata.level() <= most)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        self.most.map(Into::into)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.panic_if_told("new_span");
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        let fields: Vec<String> = fields
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut spans = self.spans.lock().unwrap();
        spans.push(format!("{} {}", span.metadata().name(), fields.join(" ")));
        Id::from_u64(self.number.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.panic_if_told("event");
        if let Some(engine) = &*self.engine.lock().unwrap() {
            engine.hooks().unwrap();
        }
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        self.seen.lock().unwrap().push(Seen {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            span: self.inside.lock().unwrap().last().cloned(),
            fields,
        });
    }

    fn enter(&self, span: &Id) {
        self.panic_if_told("enter");
        let at = usize::try_from(span.into_u64()).unwrap() - 1;
        let span = self.spans.lock().unwrap()[at].clone();
        self.inside.lock().unwrap().push(span);
    }

    fn exit(&self, _: &Id) {
        self.panic_if_told("exit");
        self.inside.lock().unwrap().pop();
    }
}

impl Sees {
    fn panic_if_told(&self, place: &str) {
        assert!(!self.panics.load(Ordering::SeqCst), "as told, in {place}");
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn engine() -> (Engine, ManualClock) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock.clone()).seed(1).build().unwrap();
    engine.flow("f").unwrap();
    (engine, clock)
}

#[test]
fn a_run_is_followed_from_its_submission_through_a_lapse_and_a_retry_to_its_end() {
    let (engine, clock) = engine();
    let sees = Sees::default();
    *sees.engine.lock().unwrap() = Some(engine.clone());
    with_default(sees.clone(), || {
        let retry = Retry::fixed(2, Duration::from_secs(1));
        let run = engine.submit(NewRun::of("f").retry(retry)).unwrap().id;
        let lease = Lease::of(Duration::from_secs(9)).or_retry();
        let first = engine.claim_leased(&Scope::all(), lease).unwrap().unwrap();
        engine.begin(&first).unwrap();
        clock.advance(Duration::from_secs(10));
        let second = engine.claim(&Scope::all()).unwrap().unwrap();
        engine.begin(&second).unwrap();
        engine.complete(&second, Outcome::failed("no")).unwrap();
        clock.advance(Duration::from_secs(1));
        let third = engine.claim(&Scope::all()).unwrap().unwrap();
        engine.begin(&third).unwrap();
        engine.complete(&third, Outcome::Completed(1.into())).unwrap();
        let seen = sees.take();
        let told: Vec<(Level, &str, &str)> = seen
            .iter()
            .map(|seen| (seen.level, seen.get("message"), seen.get("attempt")))
            .collect();
        let (debug, warn) = (Level::DEBUG, Level::WARN);
        assert_eq!(
            told,
            [
                (debug, "run accepted", "0"),
                (debug, "run claimed", "1"),
                (debug, "run started", "1"),
                (warn, "lease lapsed", ""),
                (warn, "run awaits its retry", "1"),
                (debug, "run claimed", "2"),
                (debug, "run started", "2"),
                (warn, "run awaits its retry", "2"),
                (debug, "run claimed", "3"),
                (debug, "run started", "3"),
                (Level::INFO, "run ended", "3"),
            ]
        );
        assert!(
            seen.iter()
                .all(|seen| seen.get("run") == run.to_string() && seen.target == "tenfold::run")
        );
        let claimed = &seen[1];
        assert_eq!(claimed.get("token"), first.token().to_string());
        assert_eq!(
            (claimed.get("queue"), claimed.get("state")),
            ("default", "PENDING")
        );
        assert_eq!(seen[7].get("problem"), "no");
    });
}

#[test]
fn planning_and_an_import_are_told() {
    let (engine, clock) = engine();
    let sees = Sees::default();
    with_default(sees.clone(), || {
        let hourly = NewSchedule::new(Schedule::cron("0 * * * *", "UTC").unwrap());
        let deployment = engine
            .deploy(NewDeployment::new("f", "d").schedule(hourly))
            .unwrap();
        let seen = sees.take();
        let planned = seen.iter().find(|seen| seen.target == "tenfold::plan").unwrap();
        assert_eq!(planned.get("deployment"), deployment.id.to_string());
        assert!(planned.get("runs").parse::<usize>().unwrap() >= 3, "{planned:?}");
        Engine::builder()
            .clock(clock)
            .import(engine.export().unwrap(), Claims::Keep)
            .unwrap();
        let spans = sees.spans.lock().unwrap();
        assert!(spans[0].starts_with("import deployments=1 runs=4 "), "{spans:?}");
    });
}

#[test]
fn who_listens_to_warnings_alone_gets_nothing_else() {
    let (engine, _) = engine();
    let sees = Sees {
        most: Some(Level::WARN),
        ..Sees::default()
    };
    with_default(sees.clone(), || {
        for outcome in [Outcome::Completed(1.into()), Outcome::crashed("gone")] {
            engine.submit("f").unwrap();
            let claim = engine.claim(&Scope::all()).unwrap().unwrap();
            engine.complete(&claim, outcome).unwrap();
        }
        let seen = sees.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].level, seen[0].get("state")), (Level::WARN, "CRASHED"));
    });
}

#[test]
fn a_subscriber_that_panics_keeps_no_answer_and_no_news_from_anybody() {
    let (engine, _) = engine();
    let sees = Sees::default();
    sees.panics.store(true, Ordering::SeqCst);
    let run = with_default(sees.clone(), || {
        let run = engine.submit("f").unwrap().id;
        let mut wait = engine.wait(run).unwrap();
        let claim = engine.claim(&Scope::all()).unwrap().unwrap();
        engine.cancel(run).unwrap();
        assert!(claim.stop_reason().is_some(), "who executes is asked to stop");
        engine.complete(&claim, Outcome::Cancelled).unwrap();
        let ended = wait.for_at_most(Duration::ZERO).unwrap();
        assert!(ended.is_some(), "who waits is told");
        run
    });
    assert_eq!(
        engine.run(run).unwrap().state_type.map(|state| state.to_string()),
        Some("CANCELLED".into())
    );
    assert!(sees.seen.lock().unwrap().is_empty());
}

#[cfg(feature = "tokio")]
#[test]
fn what_a_handler_says_stands_in_the_span_of_its_attempt() {
    let engine = Engine::new();
    let say = |context: tenfold::Context| async move {
        tracing::info!("before");
        tokio::task::yield_now().await;
        tracing::info!("after");
        Ok(context.attempt())
    };
    engine.handler("f", say).unwrap();
    let sees = Sees::default();
    with_default(sees.clone(), || {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio.block_on(async {
            let runtime = engine.start().unwrap();
            let run = engine.submit("f").unwrap().id;
            runtime.idle().await;
            let seen = sees.take();
            let said = seen
                .iter()
                .filter(|seen| ["before", "after"].contains(&seen.get("message")));
            let spans: Vec<&str> = said.filter_map(|seen| seen.span.as_deref()).collect();
            assert_eq!(spans.len(), 2);
            assert!(
                spans
                    .iter()
                    .all(|span| span.starts_with("attempt attempt=1 flow=f")
                        && span.contains(&format!("run={run}"))),
                "{spans:?}"
            );
            runtime.drain().await;
        });
    });
}
