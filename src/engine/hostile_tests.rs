//! Histories with everything in them at once, for which there is no model but the promises themselves: what is counted is what is
//! there, what is called blocked is not handed out, what is called next is, and in the end everything runs out. Also histories that
//! go on from a damaged document.

#![expect(clippy::cast_possible_truncation, reason = "small random numbers")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::ids::Random;
use super::*;
use crate::clock::ManualClock;
use crate::limit::LimitSpec;
use crate::model::{Collision, ConcurrencyOptions, NewSchedule, NewState, Overlap, Place, Retry, StateType};
use crate::schedule::Schedule;

const STRATEGIES: [Collision; 4] = [
    Collision::Enqueue,
    Collision::CancelNew,
    Collision::CancelRunning,
    Collision::ReplaceWaiting,
];
const STATES: [StateType; 9] = [
    StateType::Scheduled,
    StateType::Pending,
    StateType::Running,
    StateType::Completed,
    StateType::Failed,
    StateType::Cancelled,
    StateType::Crashed,
    StateType::Paused,
    StateType::Cancelling,
];
const SECOND: Duration = Duration::from_secs(1);

/// Says which history it was that went wrong.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of seed {}", self.0);
        }
    }
}

struct Host {
    engine: Engine,
    clock: ManualClock,
    random: Random,
    claims: Vec<Claim>,
    waits: Vec<SubmitWait>,
    /// Nothing is known of runs that a damaged document brought, but what the engine says.
    trusted: bool,
}

impl Host {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let mut random = Random::new(seed);
        let finished = [1, 3, 40, 10_000][(random.next() % 4) as usize];
        let mut builder = Engine::builder()
            .seed(seed)
            .clock(clock.clone())
            .waiting_runs(14)
            .scheduled_runs(30)
            .planned_runs(1, 3)
            .finished_runs(finished)
            .run_states([0, 4, 20][(random.next() % 3) as usize]);
        if random.next().is_multiple_of(3) {
            builder = builder.bypass_bound(2);
        }
        let engine = builder.build().unwrap();
        engine.flow("f").unwrap();
        for queue in ["one", "two"] {
            engine.create_queue(NewQueue::named("default", queue)).unwrap();
        }
        let mut host = Self {
            engine,
            clock,
            random,
            claims: Vec::new(),
            waits: Vec::new(),
            trusted: true,
        };
        host.deploy("a");
        host.deploy("b");
        host
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.next() % n
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn small(&mut self, n: u64) -> u32 {
        u32::try_from(self.below(n)).unwrap()
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let at = self.below(items.len().max(1) as u64);
        items.get(usize::try_from(at).unwrap()).cloned()
    }

    fn options(&mut self) -> ConcurrencyOptions {
        let options = ConcurrencyOptions::new(self.pick(&STRATEGIES).unwrap());
        if self.chance(3) {
            options.grace_period(60)
        } else {
            options
        }
    }

    fn schedule(&mut self) -> NewSchedule {
        let every = TimeDelta::seconds(i64::from(1 + self.small(4)));
        let anchor = "2026-01-01T00:00:00Z".parse().unwrap();
        let overlap = [
            Overlap::Allow,
            Overlap::Skip,
            Overlap::BufferOne,
            Overlap::CancelRunning,
        ];
        NewSchedule::new(Schedule::interval(every, anchor, "UTC").unwrap())
            .overlap(self.pick(&overlap).unwrap())
    }

    fn retry(&mut self) -> Retry {
        let retry = Retry::fixed(self.small(3), SECOND * self.small(3));
        let retry = if self.chance(2) { retry.keep_slots() } else { retry };
        if self.chance(4) {
            retry.within(4 * SECOND)
        } else {
            retry
        }
    }

    fn deploy(&mut self, name: &str) {
        let mut new = NewDeployment::new("f", name)
            .concurrency_options(self.options())
            .retry(self.retry());
        if let Some(limit) = NonZeroU32::new(self.small(4)) {
            new = new.concurrency_limit(limit);
        }
        if self.chance(2) {
            new = new.schedule(self.schedule());
        }
        if self.chance(3) {
            new = new.work_queue("default", "one");
        }
        let _ = self.engine.deploy(new);
    }

    fn new_run(&mut self) -> NewRun {
        let target = self.pick(&["f/a", "f/b", "f/a", "f"]).unwrap();
        let now = self.engine.now().unwrap();
        let seconds = |n: u32| TimeDelta::seconds(n.into());
        let mut new = NewRun::of(target).priority(Priority::new(1 + self.small(10) as u8).unwrap());
        if self.chance(2) {
            new = new.retry(self.retry());
        }
        if self.chance(3) {
            new = new.not_before(now + seconds(self.small(4)));
        }
        if self.chance(3) {
            new = new.expires_at(now + seconds(1 + self.small(6)));
        }
        if self.chance(3) {
            new = new.slots("x", 1 + self.small(2));
        }
        if self.chance(4) {
            new = new.slots("y", 1);
        }
        if self.chance(5) {
            new = new.timeout(SECOND * (1 + self.small(3)));
        }
        if self.chance(5) {
            new = new.idempotency_key(format!("k{}", self.small(4)));
        }
        if target == "f" && self.chance(2) {
            new = new.work_queue("default", self.pick(&["one", "two"]).unwrap());
        }
        new
    }

    /// The ids of all runs that are kept.
    fn runs(&self) -> Vec<Run> {
        let document = serde_json::to_value(self.engine.export().unwrap()).unwrap();
        let ids = document["flow_runs"].as_array().unwrap().iter();
        let ids = ids.filter(|run| run["place"] != json!("record"));
        ids.map(|run| {
            let id: RunId = serde_json::from_value(run["id"].clone()).unwrap();
            self.engine.run(id).unwrap()
        })
        .collect()
    }

    fn some_claim(&mut self) -> Option<Claim> {
        self.pick(&self.claims.clone())
    }

    fn step(&mut self) {
        let ids: Vec<RunId> = self.runs().iter().map(|run| run.id).collect();
        let deployment = self.pick(&["f/a", "f/b"]).unwrap();
        let deployment = self.engine.deployment_by_name(deployment).ok();
        match self.below(30) {
            0..=4 => drop(self.new_run_submitted()),
            5 => {
                let new = self.new_run();
                let mut wait = self.engine.submit_when_room(new);
                if let Ok(None) = wait.for_at_most(Duration::ZERO) {
                    self.waits.push(wait);
                }
            }
            6 => {
                for wait in &mut self.waits {
                    let _ = wait.for_at_most(Duration::ZERO);
                }
                if self.chance(3) {
                    self.waits.clear();
                }
            }
            7..=11 => self.claim(),
            12 | 13 => {
                if let Some(claim) = self.some_claim() {
                    let _ = self.engine.begin(&claim);
                }
            }
            14..=16 => {
                if let Some(claim) = self.some_claim() {
                    let _ = match self.below(6) {
                        0 => self.engine.give_back(&claim),
                        1 => self.engine.complete(&claim, Outcome::Cancelled).map(drop),
                        2 => self
                            .engine
                            .complete(&claim, Outcome::Completed(json!(1)))
                            .map(drop),
                        3 => self.engine.pause(&claim, Some(SECOND)).map(drop),
                        _ => self.engine.complete(&claim, Outcome::failed("so")).map(drop),
                    };
                }
            }
            17 => {
                if let Some(run) = self.pick(&ids) {
                    let _ = self.engine.cancel(run);
                }
            }
            18 => {
                if let Some(run) = self.pick(&ids) {
                    let level = Priority::new(1 + self.small(10) as u8).unwrap();
                    let _ = self.engine.set_priority(run, level);
                }
            }
            19 => {
                if let Some(run) = self.pick(&ids) {
                    let mut state = NewState::of(self.pick(&STATES).unwrap());
                    if self.chance(3) {
                        state = state.force();
                    }
                    if self.chance(4) {
                        state = state.at(self.engine.now().unwrap() + TimeDelta::seconds(2));
                    }
                    if let Ok(answer) = self.engine.set_state(run, state) {
                        self.claims.extend(answer.into_claim());
                    }
                }
            }
            20 => {
                if let Some(run) = self.pick(&ids) {
                    match self.below(4) {
                        0 => drop(self.engine.resume(run)),
                        1 => drop(self.engine.delete_run(run)),
                        _ => {
                            if let Ok(Ok(claim)) = self.engine.claim_run(run) {
                                self.claims.push(claim);
                            }
                        }
                    }
                }
            }
            21 => {
                let Some(deployment) = deployment else {
                    let name = self.pick(&["a", "b"]).unwrap();
                    return self.deploy(name);
                };
                let _ = match self.below(9) {
                    0 => self.engine.delete_deployment(deployment.id),
                    1 => self.engine.pause_deployment(deployment.id),
                    2 => self.engine.resume_deployment(deployment.id),
                    3 => {
                        let patch = DeploymentPatch::new().schedules(vec![self.schedule()]);
                        self.engine.update_deployment(deployment.id, patch)
                    }
                    _ => {
                        let patch = DeploymentPatch::new()
                            .concurrency_limit(NonZeroU32::new(self.small(4)))
                            .concurrency_options(Some(self.options()));
                        self.engine.update_deployment(deployment.id, patch)
                    }
                };
            }
            22 => {
                let queue = self.pick(&["default", "one", "two"]).unwrap();
                let limit = self.pick(&[None, Some(2), Some(0)]).unwrap();
                let _ = match self.below(6) {
                    0 => self.engine.pause_pool("default"),
                    1 => self.engine.resume_pool("default"),
                    2 => self.engine.pause_queue("default", queue),
                    3 => self.engine.resume_queue("default", queue),
                    4 => self.engine.set_queue_limit("default", queue, limit),
                    _ => self.engine.set_limit(limit),
                };
            }
            23 | 24 => {
                let name = self.pick(&["x", "y"]).unwrap();
                let slots = self.small(4);
                let _ = match self.below(5) {
                    0 => self.engine.delete_limit(name),
                    1 => self.engine.update_limit(name, LimitPatch::new().slots(slots)),
                    2 => self
                        .engine
                        .update_limit(name, LimitPatch::new().active(slots > 0)),
                    _ => self.engine.define_limit(LimitSpec::new(name, slots)),
                };
            }
            25 => {
                let seconds = TimeDelta::seconds(i64::from(self.small(9)) - 5);
                let now = self.engine.now().unwrap();
                self.clock.jump_to(now + seconds);
            }
            26 if self.chance(3) => {
                let claims = if self.chance(3) {
                    Claims::PutBack
                } else {
                    Claims::Keep
                };
                let before = self.engine.export().unwrap();
                let document = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
                let moved = Engine::builder()
                    .clock(self.clock.clone())
                    .import(document, claims);
                self.engine = match moved {
                    Ok(moved) => moved,
                    Err(refused) if !self.trusted => return drop(refused),
                    Err(refused) => panic!("E5: an export is refused: {refused}"),
                };
                if claims == Claims::Keep {
                    assert_eq!(
                        self.engine.export().unwrap(),
                        before,
                        "E5: an import is the export"
                    );
                } else {
                    self.claims.clear();
                }
                self.waits.clear();
            }
            _ => {
                let span = Duration::from_millis(100 * u64::from(self.small(15)));
                self.clock.advance(span);
            }
        }
    }

    fn new_run_submitted(&mut self) -> Option<RunId> {
        let new = self.new_run();
        self.engine.submit(new).ok().map(|made| made.id)
    }

    /// C1 and T4: who is called next is handed out, and nobody who is called blocked.
    fn claim(&mut self) {
        self.engine.advance().unwrap();
        let next = |run: &&Run| matches!(self.engine.explain(run.id).unwrap().why, Why::Next);
        let runs = self.runs();
        let next: Vec<RunId> = runs.iter().filter(next).map(|run| run.id).collect();
        let places: BTreeMap<RunId, Place> = runs.iter().map(|run| (run.id, run.place)).collect();
        match self.engine.claim(&Scope::all()).unwrap() {
            Ok(claim) => {
                let place = places.get(&claim.run());
                assert!(
                    matches!(place, Some(Place::Ready | Place::Claimed)),
                    "T1: handed out from {place:?}"
                );
                assert_eq!(next, [claim.run()], "T4: another was called next");
                let twice = self.claims.iter().any(|held| held.token() >= claim.token());
                assert!(!(self.trusted && twice), "R2: an old token");
                self.claims.push(claim);
            }
            Err(why) => assert_eq!(next, [], "T4: called next and not handed out: {why}"),
        }
    }

    /// T1 and R1: what is counted is what is there.
    fn agree(&self) {
        self.engine.advance().unwrap();
        self.engine.check_invariants();
        let (status, runs) = (self.engine.snapshot(), self.runs());
        let at = |place| runs.iter().filter(|run| run.place == place).count();
        assert_eq!(status.blocked, at(Place::Blocked), "T1: blocked");
        assert_eq!(
            status.queued_tasks,
            at(Place::Ready) + at(Place::Blocked),
            "T1: queued"
        );
        assert_eq!(
            status.priority_breakdown.total(),
            status.queued_tasks,
            "T1: levels"
        );
        assert_eq!(status.processing_tasks, at(Place::Claimed), "T1: processing");
        assert_eq!(status.scheduled, at(Place::Scheduled), "T1: scheduled");
        assert_eq!(status.finished, at(Place::Finished), "T1: finished");
        for run in runs
            .iter()
            .filter(|run| matches!(run.place, Place::Ready | Place::Blocked))
        {
            let stops = self.engine.blocked_by(run.id).unwrap();
            let blocks = stops.iter().any(|stop| {
                matches!(
                    stop,
                    Stop::Limit { .. } | Stop::PoolPaused(_) | Stop::QueuePaused(_) | Stop::HeldBack
                )
            });
            assert_eq!(
                blocks,
                run.place == Place::Blocked,
                "T1: {:?}, {stops:?}",
                run.place
            );
            self.engine.explain(run.id).unwrap().to_string();
        }
        let document = serde_json::to_value(self.engine.export().unwrap()).unwrap();
        let book = document["limits"]["limits"].as_array().unwrap();
        for limit in self.engine.limits().unwrap() {
            let explained = self.engine.explain_limit(&limit.status.name).unwrap();
            let held: u64 = (explained.holders.iter())
                .map(|(_, slots)| u64::from(*slots))
                .sum();
            let drains = explained.slot_decay_per_second > 0.0;
            if !drains && explained.holders_total == explained.holders.len() {
                // A damaged document may say that some are held without a name.
                let mut same = book.iter().filter(|other| other["name"] == limit.status.name);
                let nameless = same.next().unwrap()["anonymous"].as_u64().unwrap();
                assert_eq!(held + nameless, explained.used, "L2: {explained}");
            }
            assert!(explained.blocked <= explained.waiting, "{explained:?}");
        }
    }

    /// Opens everything; then all that is left ends, and nothing holds a slot.
    fn run_out(&mut self) {
        self.waits.clear();
        for name in ["f/a", "f/b"] {
            if let Ok(deployment) = self.engine.deployment_by_name(name) {
                let patch = DeploymentPatch::new().schedules(Vec::new());
                self.engine.update_deployment(deployment.id, patch).unwrap();
                self.engine.resume_deployment(deployment.id).unwrap();
            }
        }
        let _ = (self.engine.delete_limit("x"), self.engine.delete_limit("y"));
        self.engine.resume_pool("default").unwrap();
        self.engine.set_limit(None).unwrap();
        for queue in ["default", "one", "two"] {
            self.engine.resume_queue("default", queue).unwrap();
            self.engine.set_queue_limit("default", queue, None).unwrap();
        }
        for _ in 0..60 {
            for run in self.runs() {
                match run.place {
                    Place::Paused => drop(self.engine.resume(run.id)),
                    Place::Claimed => drop(
                        self.engine
                            .set_state(run.id, NewState::of(StateType::Failed).force()),
                    ),
                    _ => {}
                }
            }
            while let Ok(claim) = self.engine.claim(&Scope::all()).unwrap() {
                let _ = self.engine.begin(&claim);
                let _ = self.engine.complete(&claim, Outcome::Completed(Value::Null));
            }
            self.clock.advance(10 * SECOND);
            self.agree();
        }
        let status = self.engine.snapshot();
        assert_eq!(
            (status.queued_tasks, status.processing_tasks, status.scheduled),
            (0, 0, 0),
            "R1: something never ran"
        );
        // Its slots are all free: as many as there are can be claimed.
        for name in ["f/a", "f/b"] {
            if let Ok(deployment) = self.engine.deployment_by_name(name) {
                let most = deployment.concurrency_limit.unwrap_or(1);
                for _ in 0..most {
                    self.engine.submit(NewRun::of(deployment.id)).unwrap();
                    self.engine
                        .claim(&Scope::all())
                        .unwrap()
                        .expect("L2: a slot is gone");
                }
            }
        }
        self.agree();
    }
}

#[test]
fn t1_t4_l2_r1_what_is_counted_is_there_and_all_runs_out() {
    for seed in 0..histories() {
        let _seed = Seed(seed);
        let mut host = Host::new(seed);
        for _ in 0..120 {
            host.step();
            host.agree();
        }
        host.run_out();
    }
}

/// How many histories: more with `TENFOLD_DEEP`.
fn histories() -> u64 {
    if std::env::var_os("TENFOLD_DEEP").is_some() {
        2_000
    } else {
        12
    }
}

/// Lies at some place of a document.
fn damage(host: &mut Host, document: &mut Value) {
    let mut places = Vec::new();
    collect(document, String::new(), &mut places);
    let keys = [
        "refused",
        "kept",
        "expires",
        "claim",
        "waits",
        "collision",
        "overtaken",
        "buffered",
        "live",
        "place",
        "state",
        "due",
        "seq",
        "run_count",
        "attempt",
        "limit",
        "within",
        "planned",
        "token",
        "grace",
        "is_paused",
        "slots",
    ];
    let wanted: Vec<String> = (places.iter())
        .filter(|place| keys.iter().any(|key| place.contains(key)))
        .cloned()
        .collect();
    let Some(place) = host.pick(&wanted) else { return };
    let runs: Vec<Value> = (document["flow_runs"].as_array().unwrap().iter())
        .map(|run| run["id"].clone())
        .collect();
    let (how, run) = (host.below(9), host.pick(&runs));
    let Some(value) = document.pointer_mut(&place) else {
        return;
    };
    *value = match (how, &*value) {
        (0, _) => Value::Null,
        (1, Value::Array(items)) => items.iter().chain(items.first()).cloned().collect(),
        (2, Value::Array(items)) => items.iter().skip(1).cloned().collect(),
        (3, Value::Array(items)) => items.iter().cloned().chain(run).collect(),
        (3, Value::Number(_)) => json!(i64::MAX),
        (4, Value::Number(_)) => json!(-1),
        (5, Value::Number(number)) => json!(number.as_i64().unwrap_or(0).saturating_sub(1)),
        (6, Value::Number(_)) => json!(0),
        (7, Value::String(_)) => run.unwrap_or_default(),
        (8, Value::String(_)) => json!(
            ["SCHEDULED", "RUNNING", "CANCELLED", "ready", "blocked", "claimed"][host.small(6) as usize]
        ),
        (_, Value::Number(number)) => json!(number.as_i64().unwrap_or(0).saturating_add(1)),
        (_, Value::Bool(flag)) => json!(!flag),
        (_, other) => other.clone(),
    };
}

fn collect(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| collect(item, format!("{path}/{index}"), places));
        }
        Value::Object(items) => {
            let items = items.iter();
            items.for_each(|(key, item)| collect(item, format!("{path}/{key}"), places));
        }
        _ => {}
    }
    places.push(path);
}

#[test]
fn e5_what_goes_on_from_a_damaged_document_keeps_its_counts() {
    for seed in 0..4 * histories() {
        let _seed = Seed(seed);
        let mut host = Host::new(seed);
        for _ in 0..70 {
            host.step();
        }
        let mut document = serde_json::to_value(host.engine.export().unwrap()).unwrap();
        for _ in 0..=host.below(2) {
            damage(&mut host, &mut document);
        }
        let Ok(document) = serde_json::from_value::<Document>(document) else {
            continue;
        };
        let claims = [Claims::Keep, Claims::PutBack][host.small(2) as usize];
        let Ok(moved) = Engine::builder()
            .clock(host.clock.clone())
            .import(document, claims)
        else {
            continue;
        };
        (host.engine, host.trusted) = (moved, false);
        host.waits.clear();
        host.agree();
        for _ in 0..40 {
            host.step();
            host.agree();
        }
    }
}
