//! The driver: random calls, workers that misbehave, and time.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use chrono::TimeDelta;
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{Bulk, Claim, Events, Follow, Lease, Replica, RunChange, Stop, Wait, Why};
use tenfold::filter::{Entity, Filter};
use tenfold::limit::{LeaseId, LimitSpec};
use tenfold::model::{CatchUp, ConcurrencyOptions, NewSchedule, Overlap, Place, QueueOrder, StateType};
use tenfold::{
    Claims, DeploymentId, Ended, Engine, Error, NewDeployment, NewPool, NewQueue, NewRun, Outcome, Priority,
    Retry, RunId, Schedule, Scope,
};
use uuid::Uuid;

use crate::checker::Checker;
use crate::teller::{MOST, Teller};

mod settings;

const SECOND: Duration = Duration::from_secs(1);
const FINISHED: usize = 40;
const QUEUES: [(&str, &str); 4] = [
    ("default", "default"),
    ("default", "second"),
    ("other", "default"),
    ("other", "second"),
];
const NAMES: [&str; 4] = ["a", "b", "rate", "tenant:1"];

#[derive(Debug)]
struct Worker {
    claim: Claim,
    begun: bool,
    leased: Option<Duration>,
}

/// Whether somebody was woken.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(crate) struct World {
    engine: Engine,
    clock: ManualClock,
    random: u64,
    events: Events,
    copy: Replica,
    checker: Checker,
    teller: Teller,
    workers: Vec<Worker>,
    /// Claims whose attempt has ended, or whose worker is thought dead.
    old: Vec<Claim>,
    runs: Vec<RunId>,
    deployments: Vec<DeploymentId>,
    leases: Vec<LeaseId>,
    waits: Vec<(RunId, Wait, Arc<Woken>)>,
    pools: [Uuid; 2],
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = ManualClock::at("2026-01-01T00:00:30Z".parse().unwrap());
        let engine = Engine::builder()
            .clock(clock.clone())
            .seed(seed)
            .finished_runs(FINISHED)
            .deliveries(MOST)
            .build()
            .unwrap();
        engine.create_pool(NewPool::named("other")).unwrap();
        engine.create_queue(NewQueue::named("other", "second")).unwrap();
        engine.flow("f").unwrap();
        engine.submit("f").unwrap();
        engine.create_queue(NewQueue::named("default", "second")).unwrap();
        let events = engine.events(Follow::everything().capacity(100_000)).unwrap();
        let copy = Replica::new(engine.export().unwrap());
        let mut world = Self {
            events,
            copy,
            checker: Checker::new(FINISHED),
            teller: Teller::new(&engine, seed),
            engine,
            clock,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d,
            workers: Vec::new(),
            old: Vec::new(),
            runs: Vec::new(),
            deployments: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
            pools: [Uuid::nil(); 2],
        };
        world.learn();
        for (name, slots) in [("a", 2), ("b", 3), ("tenant:*", 1)] {
            world.engine.define_limit(LimitSpec::new(name, slots)).unwrap();
        }
        world
            .engine
            .define_limit(LimitSpec::new("rate", 3).decay(0.25))
            .unwrap();
        for at in 0..4 {
            world.deploy(at);
        }
        world.sync();
        world
    }

    /// The judge learns what there was before it followed.
    fn learn(&mut self) {
        for pool in ["default", "other"] {
            self.engine.set_pool_limit(pool, None).unwrap();
        }
        for (pool, queue) in QUEUES {
            self.engine.set_queue_limit(pool, queue, None).unwrap();
        }
        let claim = self.engine.claim(&Scope::all()).unwrap().unwrap();
        self.engine.complete(&claim, Outcome::Cancelled).unwrap();
        for (at, pool) in ["default", "other"].into_iter().enumerate() {
            self.pools[at] = self.engine.pool(pool).unwrap().id.uuid();
        }
        self.engine.export().unwrap();
        self.read();
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % below
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.draw(one_in) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.draw(of.len())])
    }

    fn level(&mut self) -> Priority {
        Priority::new(u8::try_from(self.draw(10)).unwrap() + 1).unwrap()
    }

    fn schedule(at: usize) -> NewSchedule {
        let overlap = [
            Overlap::Allow,
            Overlap::Skip,
            Overlap::BufferOne,
            Overlap::CancelRunning,
        ][at];
        let minutes = Schedule::cron("* * * * *", "UTC").unwrap();
        NewSchedule::new(minutes)
            .slug("minutes")
            .overlap(overlap)
            .catch_up(CatchUp::All(3))
    }

    fn deploy(&mut self, at: usize) {
        let (pool, queue) = QUEUES[at];
        let mut new = NewDeployment::new("f", format!("d{at}"))
            .work_queue(pool, queue)
            .schedule(Self::schedule(at))
            .retry(Retry::fixed(u32::try_from(at % 3).unwrap(), 5 * SECOND))
            .priority(self.level());
        if at == 1 || self.chance(2) {
            let options = ConcurrencyOptions::new(self.strategy());
            new = new
                .concurrency_limit(NonZeroU32::MIN)
                .concurrency_options(options);
        }
        if at == 2 {
            new = new.slot("a").timeout(20 * SECOND);
        }
        self.deployments.push(self.engine.deploy(new).unwrap().id);
    }

    fn now(&self) -> Duration {
        self.clock.now().mono
    }

    /// The judge and the copy read what has happened.
    fn read(&mut self) {
        self.checker.now = self.now();
        while let Some(event) = self.events.try_next().unwrap() {
            self.checker.event(&event);
            self.teller.event(&event);
            self.copy.apply(event).unwrap();
        }
    }

    fn sync(&mut self) {
        self.read();
        self.checker.judge_status(&self.engine.snapshot());
        let mut waits = std::mem::take(&mut self.waits);
        waits.retain_mut(|(run, wait, woken)| {
            let ended = self
                .checker
                .runs
                .get(run)
                .is_none_or(|seen| seen.state.is_terminal());
            assert!(
                !ended || woken.0.load(Ordering::SeqCst),
                "R8 broken: nobody was told that run {run} has ended"
            );
            let ready = pin!(&mut *wait)
                .poll(&mut Context::from_waker(&Waker::from(woken.clone())))
                .is_ready();
            assert_eq!(ready, ended, "R8 broken: the end of run {run}");
            !ended
        });
        self.waits = waits;
    }

    pub(crate) fn step(&mut self) {
        match self.draw(40) {
            0..=8 => self.submit(),
            9..=15 => self.claim(),
            16..=21 => self.work(),
            22 | 23 => self.stale(),
            24..=28 => self.pass(),
            29 => self.jump(),
            30..=33 => self.change(),
            34 | 35 => self.limits(),
            36 => self.bulk(),
            37 => self.look(),
            38 if self.chance(4) => self.shift(),
            _ => self.meddle(),
        }
        self.sync();
        // What was let go after its time ends with this look, and not with the teller's.
        self.engine.advance().unwrap();
        self.read();
        self.teller.step(&self.engine, self.now());
        self.read();
    }

    fn submit(&mut self) {
        let target = ["f", "f", "f/d0", "f/d1", "f/d2"][self.draw(5)];
        let mut new = NewRun::of(target).priority(self.level());
        if target == "f" {
            let (pool, queue) = QUEUES[self.draw(4)];
            let retry = Retry::fixed(2, 3 * SECOND);
            let retry = if self.chance(3) { retry.keep_slots() } else { retry };
            new = new.work_queue(pool, queue).retry(retry);
        }
        for name in NAMES {
            if self.chance(5) {
                new = new.slots(name, 1 + u32::from(name == "b" && self.chance(3)));
            }
        }
        let mut from = self.engine.now().unwrap();
        if self.chance(5) {
            from += TimeDelta::seconds(1 + i64::try_from(self.draw(40)).unwrap());
            new = new.not_before(from);
        }
        if self.chance(6) {
            new = new.timeout(10 * SECOND);
        }
        if self.chance(6) {
            let after = TimeDelta::seconds(1 + i64::try_from(self.draw(30)).unwrap());
            new = new.expires_at(from + after);
        }
        let key = self.chance(4).then(|| format!("k{}", self.draw(5)));
        if let Some(key) = &key {
            new = NewRun::of(target).idempotency_key(key.clone());
        }
        match self.engine.submit(new) {
            Ok(submitted) => {
                if submitted.existing {
                    assert!(
                        key.is_some() && self.checker.runs.contains_key(&submitted.id),
                        "R4 broken"
                    );
                    return;
                }
                self.runs.push(submitted.id);
                if self.chance(4) {
                    let mut wait = self.engine.wait(submitted.id).unwrap();
                    let woken = Arc::new(Woken::default());
                    let waker = Waker::from(woken.clone());
                    if pin!(&mut wait)
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending()
                    {
                        self.waits.push((submitted.id, wait, woken));
                    }
                }
            }
            Err(Error::LimitRequest(_) | Error::Full { .. } | Error::NotFound { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// A claim of one pool: the judge says whether it was the right one.
    fn claim(&mut self) {
        let at = self.draw(2);
        let scope = Scope::pool(["default", "other"][at]);
        let explained = self.chance(4).then(|| {
            let waits = |run: &&RunId| {
                let seen = &self.checker.runs[*run];
                seen.state == StateType::Scheduled
            };
            let waiting: Vec<RunId> = self.checker.runs.keys().filter(waits).copied().collect();
            let next = |run: &RunId| self.engine.explain(*run).unwrap().why == Why::Next;
            waiting.into_iter().filter(next).collect::<Vec<_>>()
        });
        let lease = self.chance(3).then_some(8 * SECOND);
        let answer = match lease {
            Some(span) => {
                let lease = if self.chance(2) {
                    Lease::of(span).or_retry()
                } else {
                    Lease::of(span)
                };
                self.engine.claim_leased(&scope, lease)
            }
            None => self.engine.claim(&scope),
        };
        let claim = answer.unwrap().ok();
        if let (Some(claim), Some(span)) = (&claim, lease) {
            self.checker.leases.insert(claim.token(), self.now() + span);
        }
        self.read();
        let run = claim.as_ref().map(Claim::run);
        self.checker.judge_claim(self.pools[at], run);
        if let (Some(said), Some(run)) = (explained, run) {
            assert!(said.contains(&run), "T4 broken: {run} was not said to be next");
        }
        self.workers.extend(claim.map(|claim| Worker {
            claim,
            begun: false,
            leased: lease,
        }));
    }

    fn work(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        let at = self.draw(self.workers.len());
        let current = {
            let claim = &self.workers[at].claim;
            self.checker.is_current(claim.run(), claim.token())
        };
        let state = self
            .checker
            .runs
            .get(&self.workers[at].claim.run())
            .map(|seen| seen.state);
        match self.draw(8) {
            0 | 1 if !self.workers[at].begun => {
                let begun = self.engine.begin(&self.workers[at].claim);
                let run = self.workers[at].claim.run();
                let begins = self.checker.runs.get(&run).and_then(|seen| seen.begins);
                let early = begins.is_some_and(|begins| begins > self.engine.now().unwrap());
                let may = current && state == Some(StateType::Pending);
                // A retry that became due and was handed out in one commit was not seen to.
                assert!(
                    begun.is_ok() == may || (early && begun.is_err()),
                    "R2 broken: {begun:?}"
                );
                self.workers[at].begun = begun.is_ok();
            }
            2 if !self.workers[at].begun => {
                let worker = self.workers.swap_remove(at);
                let _ = self.engine.give_back(&worker.claim);
                self.old.push(worker.claim);
            }
            1 => {
                let worker = &self.workers[at];
                let beat = self.engine.heartbeat(&worker.claim);
                assert_eq!(beat.is_ok(), current, "R2 broken: {beat:?}");
                if let (true, Some(span)) = (current, worker.leased) {
                    self.checker
                        .leases
                        .insert(worker.claim.token(), self.now() + span);
                }
            }
            // It crashes: nobody hears of it again, but for its late report.
            2 => {
                let worker = self.workers.swap_remove(at);
                self.old.push(worker.claim);
            }
            3 if self.workers[at].begun => {
                let timeout = self.chance(2).then_some(15 * SECOND);
                let worker = self.workers.swap_remove(at);
                let paused = self.engine.pause(&worker.claim, timeout);
                assert_eq!(
                    paused.is_ok(),
                    current && state == Some(StateType::Running),
                    "{paused:?}"
                );
                self.old.push(worker.claim);
            }
            _ => {
                let outcome = match self.draw(5) {
                    0 | 1 => Outcome::failed("no"),
                    2 => Outcome::crashed("a panic"),
                    3 if state == Some(StateType::Cancelling) => Outcome::Cancelled,
                    _ => Outcome::Completed(1.into()),
                };
                let worker = self.workers.swap_remove(at);
                let ended = self.engine.complete(&worker.claim, outcome);
                assert_eq!(ended.is_ok(), current, "R2 broken: {ended:?}");
                let cancelled = state != Some(StateType::Cancelling)
                    || ended.is_err()
                    || ended == Ok(Ended::Finished(StateType::Cancelled));
                assert!(cancelled, "R3 broken: a run that was called off ended {ended:?}");
                self.old.push(worker.claim);
            }
        }
    }

    /// A worker that was thought dead, or has reported before, reports.
    fn stale(&mut self) {
        if self.old.is_empty() {
            return;
        }
        let at = self.draw(self.old.len());
        let claim = self.old[at].clone();
        let current = self.checker.is_current(claim.run(), claim.token());
        let before = self.checker.version;
        let ended = self.engine.complete(&claim, Outcome::Completed(2.into()));
        assert_eq!(ended.is_ok(), current, "R2 broken: a late report got {ended:?}");
        if !current {
            assert!(matches!(ended, Err(Error::StaleClaim { .. })), "{ended:?}");
            assert_eq!(
                self.engine.snapshot().version,
                before,
                "R2 broken: a late report changed something"
            );
        }
        self.old.swap_remove(at);
    }

    /// Time goes on: exactly to the next thing, or by some seconds.
    fn pass(&mut self) {
        let next = self.engine.advance().unwrap();
        self.read();
        let some = Duration::from_millis(u64::try_from(self.draw(14_000)).unwrap());
        let step = match next {
            Some(next) if self.chance(2) => next.min(14 * SECOND),
            _ => some,
        };
        self.clock.advance(step);
        self.engine.advance().unwrap();
        if self.checker.limits.contains_key("rate") {
            let used = self.engine.limit("rate").unwrap().status.active_slots;
            self.read();
            self.checker.judge_limit("rate", used);
        }
    }

    fn jump(&mut self) {
        self.read();
        let by = i64::try_from(self.draw(600)).unwrap() - 300;
        self.clock.jump_to(self.clock.now().wall + TimeDelta::seconds(by));
        self.engine.advance().unwrap();
    }

    /// Calls on runs from outside.
    fn change(&mut self) {
        let runs: Vec<RunId> = self.checker.runs.keys().copied().collect();
        let Some(run) = self.pick(&runs) else { return };
        let state = self.checker.runs[&run].state;
        match self.draw(6) {
            0 => {
                let answer = self.engine.cancel(run);
                assert_eq!(answer.is_ok(), !state.is_terminal(), "R3 broken: {answer:?}");
            }
            1 => drop(self.engine.set_priority(run, Priority::MAX)),
            2 => {
                let level = self.level();
                let _ = self.engine.set_priority(run, level);
            }
            3 => {
                let answer = self.engine.resume(run);
                assert_eq!(
                    answer.is_ok(),
                    state == StateType::Paused,
                    "R3 broken: {answer:?}"
                );
            }
            4 if self.checker.runs[&run].may_be_chosen() => match self.engine.claim_run(run).unwrap() {
                Ok(claim) => self.workers.push(Worker {
                    claim,
                    begun: false,
                    leased: None,
                }),
                Err(Stop::Limit { weight, room, .. }) => assert!(room < weight, "L3 broken"),
                Err(_) => {}
            },
            4 if state.is_terminal() && self.chance(3) => {
                self.checker.deleted.insert(run);
                self.engine.delete_run(run).unwrap();
            }
            _ => {}
        }
    }

    fn bulk(&mut self) {
        let everything = Filter::everything(Entity::Run);
        let how = if self.chance(2) {
            Bulk::new().atomic()
        } else {
            Bulk::new()
        };
        let change = match self.draw(4) {
            0 => RunChange::Cancel,
            _ => RunChange::Priority(self.level()),
        };
        let done = self.engine.bulk(&everything, change, how).unwrap();
        let listed = done.changed.len() + done.skipped.len() + done.failed.len();
        assert_eq!(done.matched, listed, "F6 broken: the lists do not add up");
    }

    /// Every waiting run is explained, and the words agree with the judge.
    fn look(&mut self) {
        self.compare();
        for (run, seen) in &self.checker.runs {
            let said = self.engine.explain(*run).unwrap();
            let fits = match said.why {
                Why::Next | Why::Waiting(_) => matches!(seen.state, StateType::Scheduled | StateType::Paused),
                Why::Claimed(held) => seen.token == Some(held.token),
                Why::Finished { .. } => seen.state.is_terminal(),
                _ => false,
            };
            assert!(fits, "T4 broken: run {run} is {}", seen.state);
        }
    }

    /// The copy that follows the events is the export.
    fn compare(&mut self) -> String {
        let document = self.engine.export().unwrap();
        self.read();
        let text = serde_json::to_string(&document).unwrap();
        let copy = serde_json::to_string(&self.copy.document()).unwrap();
        assert!(copy == text, "E5 broken: the copy is another");
        text
    }

    /// The engine moves: an export, which the copy is already, and an import.
    fn shift(&mut self) {
        let text = self.compare();
        let held_back = self
            .checker
            .runs
            .values()
            .any(|seen| seen.run.place == Place::Blocked);
        let claims = if !held_back && self.chance(3) {
            Claims::PutBack
        } else {
            Claims::Keep
        };
        let document = serde_json::from_str(&text).unwrap();
        let moved = Engine::builder()
            .clock(self.clock.clone())
            .import(document, claims)
            .unwrap();
        self.waits.clear();
        self.teller
            .moved(&moved, claims == Claims::PutBack, self.clock.now().mono);
        self.events = moved.events(Follow::everything().capacity(100_000)).unwrap();
        self.copy = Replica::new(moved.export().unwrap());
        self.engine = moved;
        if claims == Claims::PutBack {
            let wall = self.clock.now().wall.timestamp_micros();
            self.checker.put_back(wall, |run| self.engine.run(run).ok());
            self.old.extend(self.workers.drain(..).map(|worker| worker.claim));
        }
        self.checker.moved();
    }

    /// Whatever happened, the rest runs out when everything is opened.
    pub(crate) fn end(&mut self) {
        self.compare();
        self.checker.deletes = true;
        for id in self.deployments.clone() {
            self.engine.pause_deployment(id).unwrap();
        }
        for name in ["a", "b", "rate", "tenant:*"] {
            let _ = self.engine.delete_limit(name);
        }
        self.engine.set_limit(None).unwrap();
        for pool in ["default", "other"] {
            self.engine.set_pool_limit(pool, None).unwrap();
            self.engine.resume_pool(pool).unwrap();
        }
        for (pool, queue) in QUEUES {
            self.engine.set_queue_limit(pool, queue, None).unwrap();
            self.engine.resume_queue(pool, queue).unwrap();
            (self.engine.set_queue_order(pool, queue, QueueOrder::BestEffort)).unwrap();
        }
        self.sync();
        for _ in 0..400 {
            let open: Vec<RunId> = (self.checker.runs.iter())
                .filter(|(_, seen)| !seen.state.is_terminal())
                .map(|(run, _)| *run)
                .collect();
            if open.is_empty() {
                return self.teller.end(&self.engine, &self.clock);
            }
            for run in open {
                let _ = self.engine.resume(run);
            }
            while let Ok(claim) = self.engine.claim(&Scope::all()).unwrap() {
                self.old.push(claim);
            }
            for worker in std::mem::take(&mut self.workers) {
                self.old.push(worker.claim);
            }
            for claim in std::mem::take(&mut self.old) {
                let _ = self.engine.complete(&claim, Outcome::Completed(3.into()));
            }
            self.read();
            self.clock.advance(5 * SECOND);
            self.engine.advance().unwrap();
            self.sync();
        }
        panic!(
            "R1 broken: runs never end: {:?}",
            self.checker
                .runs
                .values()
                .filter(|seen| !seen.state.is_terminal())
                .collect::<Vec<_>>()
        );
    }
}
