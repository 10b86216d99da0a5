//! An exported engine and the one made from it answer alike; a damaged document is refused.

#![expect(clippy::cast_possible_truncation, reason = "small random numbers")]

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::ids::Random;
use super::*;
use crate::clock::ManualClock;
use crate::filter::{Entity, Limits, Query, Shape};
use crate::model::Retry;
use crate::schedule::Schedule;

/// An engine with something in every place, after a random history.
pub(super) fn busy(seed: u64) -> (Engine, ManualClock, Vec<Claim>) {
    let mut history = History::begin(seed);
    history.go_on(150);
    history.engine.advance().unwrap();
    history.engine.check_invariants();
    (history.engine, history.clock, history.claims)
}

/// A random history, and what its caller has of it.
pub(super) struct History {
    pub(super) engine: Engine,
    pub(super) clock: ManualClock,
    random: Random,
    /// Draws of its own for the hooks.
    telling: Random,
    told: Vec<Delivery>,
    claims: Vec<Claim>,
    runs: Vec<RunId>,
}

impl History {
    pub(super) fn begin(seed: u64) -> Self {
        let clock = ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap());
        let engine = Engine::builder()
            .clock(clock.clone())
            .seed(seed)
            .limit(12)
            .finished_runs(40)
            .build()
            .unwrap();
        engine.flow("plain").unwrap();
        engine
            .create_pool(NewPool::named("gpu").concurrency_limit(5))
            .unwrap();
        engine
            .create_queue(NewQueue::named("gpu", "urgent").priority(NonZeroU32::MIN))
            .unwrap();
        let cron = Schedule::cron("*/5 * * * *", "Europe/Berlin").unwrap();
        engine
            .deploy(
                NewDeployment::new("report", "often")
                    .schedule(crate::model::NewSchedule::new(cron).slug("five"))
                    .retry(
                        Retry::exponential(2, Duration::from_secs(30), Duration::from_secs(90))
                            .jitter(30)
                            .within(Duration::from_secs(300)),
                    ),
            )
            .unwrap();
        engine
            .deploy(
                NewDeployment::new("train", "one")
                    .concurrency_limit(NonZeroU32::MIN)
                    .work_queue("gpu", "urgent")
                    .timeout(Duration::from_secs(90))
                    .tag("ml"),
            )
            .unwrap();
        let ends = Hook::named("ends").retry(Retry::fixed(2, Duration::from_secs(50)).jitter(10));
        engine.hook(ends).unwrap();
        let failures = Hook::named("failures").states([StateType::Failed, StateType::Crashed]);
        engine.hook(failures.in_sequence()).unwrap();
        Self {
            engine,
            clock,
            telling: Random::new(!seed),
            told: Vec::new(),
            random: Random::new(seed),
            claims: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// So many random calls.
    pub(super) fn go_on(&mut self, steps: usize) {
        let Self {
            engine,
            clock,
            random,
            claims,
            runs,
            telling,
            told,
        } = self;
        let mut draw = |n: u64| random.next() % n;
        for _ in 0..steps {
            tell(engine, telling, told);
            match draw(10) {
                0..=3 => {
                    let target = ["plain", "report/often", "train/one"][draw(3) as usize];
                    let mut run = NewRun::of(target).priority(Priority::new(draw(10) as u8 + 1).unwrap());
                    if draw(4) == 0 {
                        run = run.parameter("n", draw(100)).tag("by-hand");
                    }
                    if draw(5) == 0 {
                        run = run.idempotency_key(format!("key-{}", draw(30)));
                    }
                    if draw(5) == 0 {
                        run = run.not_before(engine.now().unwrap() + Duration::from_secs(draw(500)));
                    }
                    if let Ok(submitted) = engine.submit(run) {
                        runs.push(submitted.id);
                    }
                }
                4 | 5 => {
                    if let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
                        if draw(4) > 0 {
                            engine.begin(&claim).unwrap();
                        }
                        if draw(3) == 0 {
                            let lease = Lease::of(Duration::from_secs(30 + draw(200)));
                            // A run that is over its time in all has ended as it began.
                            let _ = engine.lease(&claim, if draw(2) == 0 { lease } else { lease.or_retry() });
                        }
                        claims.push(claim);
                    }
                }
                6 | 7 if !claims.is_empty() => {
                    let claim = claims.swap_remove(draw(claims.len() as u64) as usize);
                    if draw(4) == 0
                        && engine
                            .pause(&claim, Some(Duration::from_secs(40 + draw(200))))
                            .is_ok()
                    {
                        continue;
                    }
                    let outcome = match draw(3) {
                        0 => Outcome::failed("no"),
                        1 => Outcome::Completed(json!({ "n": draw(9) })),
                        _ => Outcome::crashed("lost"),
                    };
                    let _ = engine.complete(&claim, outcome);
                }
                6 | 7 if !runs.is_empty() => drop(engine.resume(runs[draw(runs.len() as u64) as usize])),
                8 if !runs.is_empty() => drop(engine.cancel(runs[draw(runs.len() as u64) as usize])),
                _ => clock.advance(Duration::from_secs(draw(40))),
            }
        }
    }
}

/// One random call of who tells of completions.
fn tell(engine: &Engine, random: &mut Random, told: &mut Vec<Delivery>) {
    let mut draw = |n: u64| random.next() % n;
    match draw(6) {
        0 | 1 => {
            let hook = ["ends", "failures"][draw(2) as usize];
            let lease = Duration::from_secs(20 + draw(60));
            told.extend(engine.take_deliveries(hook, draw(4) as usize, lease).unwrap());
        }
        2 | 3 if !told.is_empty() => {
            let delivery = told.swap_remove(draw(told.len() as u64) as usize);
            let _ = engine.delivered(&delivery);
        }
        4 if !told.is_empty() => {
            let delivery = told.swap_remove(draw(told.len() as u64) as usize);
            let _ = engine.not_delivered(&delivery, "busy");
        }
        _ => {}
    }
}

fn moved(engine: &Engine, clock: &ManualClock, claims: Claims) -> Engine {
    let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let document = serde_json::from_str(&text).unwrap();
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(document, claims)
        .unwrap();
    moved.check_invariants();
    moved
}

/// Takes what there is, over some time, and says what it got.
fn drain(engine: &Engine, clock: &ManualClock) -> Vec<(RunId, u32, u64)> {
    let mut taken = Vec::new();
    for _ in 0..40 {
        while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
            taken.push((claim.run(), claim.attempt(), claim.token()));
            engine.begin(&claim).unwrap();
            let outcome = if claim.token() % 3 == 0 {
                Outcome::failed("no")
            } else {
                Outcome::Completed(Value::Null)
            };
            // A run that is over its time in all ends as it begins.
            let _ = engine.complete(&claim, outcome);
        }
        clock.advance(Duration::from_secs(25));
    }
    engine.check_invariants();
    taken
}

fn all(engine: &Engine) -> Vec<Value> {
    let limits = Limits::default();
    let ask = |entity| Query::from_json(entity, Shape::Filter, &Value::Null, &limits).unwrap();
    let body =
        json!({ "flow_runs": { "tags": { "any_": ["by-hand", "auto-scheduled"] } }, "sort": "NAME_ASC" });
    let tagged = Query::from_json(Entity::Run, Shape::Paginate, &body, &limits).unwrap();
    vec![
        serde_json::to_value(engine.flows(&ask(Entity::Flow)).unwrap()).unwrap(),
        serde_json::to_value(engine.deployments(&ask(Entity::Deployment)).unwrap()).unwrap(),
        serde_json::to_value(engine.runs(&ask(Entity::Run)).unwrap()).unwrap(),
        serde_json::to_value(engine.runs(&tagged).unwrap()).unwrap(),
        serde_json::to_value(engine.pools(&ask(Entity::Pool)).unwrap()).unwrap(),
        serde_json::to_value(engine.queues(&ask(Entity::Queue)).unwrap()).unwrap(),
        serde_json::to_value(engine.snapshot()).unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn e5_an_imported_engine_is_the_exported_one(seed: u64) {
        let (engine, clock, claims) = busy(seed);
        let moved = moved(&engine, &clock, Claims::Keep);
        prop_assert_eq!(moved.export().unwrap(), engine.export().unwrap());
        prop_assert_eq!(all(&moved), all(&engine));
        // Both live on, each on a clock of its own, and hand out the same.
        let other = ManualClock::at(clock.now().wall);
        let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
        let twin = Engine::builder().clock(other.clone()).import(serde_json::from_str(&text).unwrap(), Claims::Keep).unwrap();
        for claim in &claims {
            let (one, two) = (engine.complete(claim, Outcome::Cancelled), twin.complete(claim, Outcome::Cancelled));
            prop_assert_eq!(one, two);
        }
        prop_assert_eq!(drain(&twin, &other), drain(&engine, &clock));
        prop_assert_eq!(twin.snapshot(), engine.snapshot());
        prop_assert_eq!(serde_json::to_string(&twin.export().unwrap()).unwrap(), serde_json::to_string(&engine.export().unwrap()).unwrap());
    }

    #[test]
    fn e5_claims_put_back_return_to_their_places(seed: u64) {
        let (engine, clock, claims) = busy(seed);
        let moved = moved(&engine, &clock, Claims::PutBack);
        prop_assert_eq!(moved.snapshot().processing_tasks, 0);
        for claim in &claims {
            let refused = matches!(moved.complete(claim, Outcome::Cancelled), Err(Error::StaleClaim { .. }));
            prop_assert!(refused, "a claim of the old engine is current in the new one");
        }
        prop_assert!(engine.snapshot().queued_tasks <= moved.snapshot().queued_tasks);
    }

    #[test]
    fn e5_a_damaged_document_is_refused_or_makes_a_sound_engine(seed: u64, at: prop::sample::Index, how in 0..6_u8) {
        let (engine, clock, _) = busy(seed % 8);
        let mut document = serde_json::to_value(engine.export().unwrap()).unwrap();
        let mut places = Vec::new();
        collect(&document, String::new(), &mut places);
        let place = &places[at.index(places.len())];
        damage(document.pointer_mut(place).unwrap(), how);
        if let Ok(document) = serde_json::from_value::<Document>(document) {
            match Engine::builder().clock(clock.clone()).import(document, Claims::Keep) {
                Ok(engine) => {
                    engine.check_invariants();
                    drain(&engine, &clock);
                }
                Err(refused) => prop_assert!(!refused.to_string().is_empty()),
            }
        }
    }
}

fn collect(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| collect(item, format!("{path}/{index}"), places));
        }
        Value::Object(items) => items
            .iter()
            .for_each(|(key, item)| collect(item, format!("{path}/{key}"), places)),
        _ => {}
    }
    places.push(path);
}

fn damage(value: &mut Value, how: u8) {
    *value = match (how, &*value) {
        (0, _) => Value::Null,
        (1, Value::Array(items)) => {
            let twice: Vec<Value> = items.iter().chain(items.first()).cloned().collect();
            Value::Array(twice)
        }
        (2, Value::Array(items)) => Value::Array(items.iter().skip(1).cloned().collect()),
        (3, Value::Number(_)) => json!(i64::MAX),
        (4, Value::Number(_)) => json!(-1),
        (5, Value::String(_)) => json!("CANCELLED"),
        (_, Value::Number(number)) => json!(number.as_i64().unwrap_or(0) + 1),
        (_, Value::Bool(flag)) => json!(!flag),
        (_, other) => other.clone(),
    };
}

#[test]
fn e5_a_planned_run_that_has_started_is_refused() {
    // Found by damage: such a run entered the line when it was due, and stayed planned as well.
    let (engine, clock, _) = busy(2);
    let mut document = serde_json::to_value(engine.export().unwrap()).unwrap();
    let planned: Vec<Value> = (document["deployments"].as_array().unwrap().iter())
        .flat_map(|deployment| deployment["schedules"].as_array().unwrap())
        .flat_map(|schedule| schedule["planned"].as_array().unwrap())
        .map(|planned| planned[1].clone())
        .collect();
    let runs = document["flow_runs"].as_array_mut().unwrap();
    let run = runs.iter_mut().find(|run| planned.contains(&run["id"])).unwrap();
    run["run_count"] = json!(1);
    let document = serde_json::from_value(document).unwrap();
    let refused = Engine::builder()
        .clock(clock)
        .import(document, Claims::Keep)
        .unwrap_err();
    assert!(refused.to_string().contains("is not planned"), "{refused}");
}

#[test]
fn e5_a_cancelled_attempt_under_a_timeout_ends_when_it_is_put_back() {
    // The timeout of an attempt that was called off named a run that the import had just ended.
    let (engine, clock, _) = busy(15_442_576_696_572_348_580);
    moved(&engine, &clock, Claims::PutBack);
}

#[test]
fn e5_a_document_of_another_format_is_refused_with_its_name() {
    let mut document = serde_json::to_value(Engine::new().export().unwrap()).unwrap();
    document["format_version"] = json!(99);
    let refused = Engine::builder()
        .import(serde_json::from_value(document).unwrap(), Claims::Keep)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the document cannot be used: format: found \"tenfold\" 99; this is for \"tenfold\" 1"
    );
}
