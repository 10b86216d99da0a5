//! R7: an engine through which runs pass without end keeps no more than what it is told to keep.
//!
//! Runs of every kind go through one engine with a small retention: with keys and tags of their own, under limits of their deployment
//! and such as templates make, retried, delayed, cancelled while they wait and while they execute, expired, paused, with payloads,
//! task runs and leases, made by a schedule; somebody waits for ends and goes away, follows events and falls behind, and asks. Live
//! bytes of the heap are counted by the allocator, so the answer is not that of a system that hands pages out in its own way.
//!
//! 100,000 runs, of which the last half is looked at; `TENFOLD_DEEP=1` makes them 10 million. A binary of its own: nothing else allocates.

#![expect(clippy::unwrap_used, reason = "a test says so when it fails")]

#[allow(unreachable_pub, reason = "its face is that of a module of the bench")]
#[path = "../benches/ratios/counting.rs"]
mod counting;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use counting::{held, held_now};
use tenfold::clock::ManualClock;
use tenfold::engine::{Claim, Events, Follow, Lease, Wait};
use tenfold::filter::{Entity, Limits, Query, Shape};
use tenfold::limit::LimitSpec;
use tenfold::model::{Retry, StateType};
use tenfold::{Engine, NewDeployment, NewRun, Outcome, Priority, Schedule, Scope, Submitted};

/// Runs that are accepted between two looks at the clock.
const BATCH: u64 = 100;
/// Looks at what is held, in the whole history.
const SAMPLES: u64 = 200;

fn runs() -> u64 {
    let deep = std::env::var_os("TENFOLD_DEEP").is_some_and(|deep| deep != "0");
    if deep { 10_000_000 } else { 100_000 }
}

/// The engine, and what its host remembers.
struct World {
    engine: Engine,
    clock: ManualClock,
    scope: Scope,
    /// Runs made so far.
    made: u64,
    /// A run that waits, to be called off later.
    delayed: VecDeque<Submitted>,
    waits: VecDeque<Wait>,
    left: Vec<Claim>,
    slow: Events,
    followed: Option<Events>,
    ended: u64,
    missed: u64,
}

fn engine(clock: &ManualClock) -> Engine {
    let engine = Engine::builder()
        .seed(7)
        .clock(clock.clone())
        .limit(64)
        .finished_runs(5_000)
        .finished_age(Duration::from_secs(3_600))
        .task_runs(10_000)
        .build()
        .unwrap();
    engine.flow("loose").unwrap();
    engine.define_limit(LimitSpec::new("all", 40)).unwrap();
    engine.define_limit(LimitSpec::new("tenant:*", 2)).unwrap();
    engine.define_limit(LimitSpec::new("tag:step:*", 3)).unwrap();
    engine
        .define_limit(LimitSpec::new("rate", 50).decay(40.0))
        .unwrap();
    let of = |name| NewDeployment::new("work", name);
    let every = Schedule::interval(TimeDelta::seconds(1), clock_start(), "UTC").unwrap();
    for new in [
        of("plain").concurrency_limit(NonZeroU32::new(16).unwrap()),
        of("retried").retry(Retry::exponential(
            2,
            Duration::from_secs(1),
            Duration::from_secs(3),
        )),
        of("kept").retry(Retry::fixed(1, Duration::from_secs(1)).keep_slots()),
        of("tenants").slot("all"),
        of("often").schedule(every),
        of("timed").timeout(Duration::from_secs(2)),
    ] {
        engine.deploy(new).unwrap();
    }
    engine
}

fn clock_start() -> chrono::DateTime<chrono::Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::at(clock_start());
        let engine = engine(&clock);
        Self {
            slow: engine.events(Follow::states().capacity(500)).unwrap(),
            followed: None,
            scope: Scope::all(),
            made: 0,
            delayed: VecDeque::new(),
            waits: VecDeque::new(),
            left: Vec::new(),
            ended: 0,
            missed: 0,
            engine,
            clock,
        }
    }

    /// One of each kind in turn; each with something of its own.
    fn submit(&mut self) {
        let number = self.made;
        self.made += 1;
        let engine = &self.engine;
        let level = Priority::new(u8::try_from(number % 10).unwrap() + 1).unwrap();
        let now = engine.now().unwrap();
        let new = match number % 12 {
            0 => NewRun::of("work/plain").idempotency_key(format!("order-{number}")),
            1 => NewRun::of("work/retried").tag(format!("customer-{number}")),
            2 => NewRun::of("work/tenants").slot(format!("tenant:{}", number / 24)),
            3 => NewRun::of("loose").parameter("number", number),
            4 => NewRun::of("work/plain").not_before(now + TimeDelta::seconds(3)),
            5 => {
                NewRun::of("work/timed").labels([("number".to_owned(), number.into())].into_iter().collect())
            }
            6 => NewRun::of("work/kept").tag("shared").slot("rate"),
            7 => NewRun::of("work/tenants")
                .slot(format!("tenant:{}", number / 240))
                .name(format!("run {number}")),
            8 => NewRun::of("loose")
                .expires_at(now + TimeDelta::seconds(2))
                .not_before(now + TimeDelta::seconds(1)),
            _ => NewRun::of("work/plain"),
        };
        let new = new.priority(level);
        if number % 24 == 9 {
            engine.submit_with(new, Arc::new(number)).unwrap();
            return;
        }
        let made = engine.submit(new).unwrap();
        match number % 24 {
            // The same key again finds the same run.
            0 => {
                let again = NewRun::of("work/plain")
                    .idempotency_key(format!("order-{number}"))
                    .priority(level);
                assert_eq!(engine.submit(again).unwrap().id, made.id, "R4");
            }
            4 | 11 => self.delayed.push_back(made),
            5 => self.waits.push_back(engine.wait(made.id).unwrap()),
            _ => {}
        }
        if self.delayed.len() > 20 {
            // It may have ended by now.
            let _ = engine.cancel(self.delayed.pop_front().unwrap().id);
        }
        if self.waits.len() > 50 {
            self.waits.pop_front();
        }
    }

    /// Takes what may start, some under a lease, and ends most of it.
    fn work(&mut self) {
        for claim in std::mem::take(&mut self.left) {
            self.end(&claim, Outcome::Completed(().into()));
        }
        loop {
            let claimed = if self.ended % 30 == 6 {
                let lease = Lease::of(Duration::from_millis(500));
                self.engine.claim_leased(&self.scope, lease).unwrap()
            } else {
                self.engine.claim(&self.scope).unwrap()
            };
            let Ok(claim) = claimed else { break };
            self.engine.begin(&claim).unwrap();
            self.ended += 1;
            if self.ended % 40 == 1 {
                let task = self.engine.begin_task(
                    &claim,
                    tenfold::model::NewTaskRun::named("part").tag(format!("step:{}", self.ended)),
                );
                if let (Ok(Ok(task)), true) = (task, self.ended % 80 == 1) {
                    self.engine.end_task(&claim, task, StateType::Completed).unwrap();
                }
            }
            match self.ended % 30 {
                // Left to its lease, which lapses.
                7 => {}
                // Left to its timeout, or to the next round.
                20 => self.left.push(claim),
                8 => {
                    self.engine.cancel(claim.run()).unwrap();
                    self.end(&claim, Outcome::Cancelled);
                }
                9 => {
                    self.engine.pause(&claim, Some(Duration::from_secs(60))).unwrap();
                    self.engine.resume(claim.run()).unwrap();
                }
                10..15 => self.end(&claim, Outcome::failed("as told")),
                15 => self.end(&claim, Outcome::Completed(self.ended.into())),
                _ => self.end(&claim, Outcome::Completed(().into())),
            }
        }
    }

    fn end(&self, claim: &Claim, outcome: Outcome) {
        // Its time may have been over.
        let _ = self.engine.complete(claim, outcome);
    }

    /// Looks at some of the events, and is mostly behind.
    fn follow(&mut self) {
        for _ in 0..20 {
            match self.slow.try_next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => self.missed += 1,
            }
        }
        // Somebody who copies rows comes for a while and goes.
        self.followed = match self.made / BATCH % 100 {
            0 => Some(self.engine.events(Follow::everything().capacity(200)).unwrap()),
            1 => self.followed.take(),
            _ => None,
        };
    }

    fn ask(&self) {
        let body = serde_json::json!({"flow_runs": {"tags": {"all_": ["shared"]}}, "limit": 10});
        let query = Query::from_json(Entity::Run, Shape::Filter, &body, &Limits::default()).unwrap();
        self.engine.runs(&query).unwrap();
    }

    fn batch(&mut self) {
        for _ in 0..BATCH {
            self.submit();
        }
        self.work();
        self.clock.advance(Duration::from_secs(1));
        self.work();
        self.follow();
    }
}

#[test]
fn r7_memory_does_not_grow_with_the_runs_that_have_passed() {
    let runs = runs();
    let (world, _) = held(|| {
        let mut world = World::new();
        let mut samples = Vec::with_capacity(usize::try_from(SAMPLES).unwrap());
        let step = runs / SAMPLES;
        while world.made < runs {
            let due = world.made + step;
            // What is held goes up and down with what waits: the most of a while counts.
            let mut most = 0;
            while world.made < due {
                world.batch();
                most = most.max(held_now());
            }
            world.ask();
            samples.push(most);
        }
        let half = &samples[samples.len() / 2..];
        let (least, most) = (half.iter().min().unwrap(), half.iter().max().unwrap());
        println!(
            "{} runs made, {} attempts, events missed {} times: {} bytes held at half, {} at the end, {least} to {most} between",
            world.made,
            world.ended,
            world.missed,
            half[0],
            half[half.len() - 1]
        );
        assert!(world.missed > 0, "the slow one never fell behind");
        assert!(
            most * 100 <= least * 105,
            "R7: from {least} to {most} bytes in the second half: {half:?}"
        );
        world
    });
    let status = world.engine.snapshot();
    assert!(status.finished <= 5_000 + 64, "R7: {} records", status.finished);
}
