//! The queue status report: one instant, exact keys, under load.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde_json::json;
use tenfold::engine::{Claim, Outcome};
use tenfold::{Engine, Error, NewDeployment, NewPool, NewRun, Priority, QueueStatus, RunId, Scope};

use crate::support::{Random, engine, level, still, take};

const SNAPSHOTS: usize = 100_000;
const LIMIT: u32 = 8;

/// T1: what must hold in any report of an engine whose limit is never lowered.
fn consistent(status: &QueueStatus) {
    assert_eq!(status.priority_breakdown.total(), status.queued_tasks);
    let slots = status.concurrency.expect("the engine has a limit");
    assert_eq!(slots.used as usize, status.processing_tasks);
    assert!(slots.used <= slots.max);
    assert!(status.blocked <= status.queued_tasks);
    let levels: Vec<(Priority, u32)> = status.priority_breakdown.iter().collect();
    assert!(
        levels.is_sorted_by(|one, other| one.0 > other.0),
        "levels descend"
    );
    assert!(
        levels.iter().all(|(_, count)| *count > 0),
        "empty levels are left out"
    );
    let totals = status.totals;
    let ended = totals.completed + totals.failed + totals.crashed + totals.cancelled;
    let unfinished = status.queued_tasks + status.processing_tasks + status.scheduled;
    assert_eq!(
        totals.accepted,
        ended + unfinished as u64,
        "R1: every run is somewhere"
    );
}

/// What the threads of the stress test share.
struct Load {
    engine: Engine,
    done: AtomicBool,
    /// Told after calls that changed something; one that is not listened to is dropped.
    moves: SyncSender<()>,
    recent: Mutex<Vec<RunId>>,
    /// Claims of the deployment with a limit of 2 that are held.
    limited: AtomicUsize,
    tokens: Mutex<Vec<u64>>,
}

impl Load {
    fn moved(&self) {
        let _ = self.moves.try_send(());
    }

    fn going(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }

    fn submit(&self, seed: u64) {
        let mut random = Random::new(seed);
        while self.going() {
            if self.engine.snapshot().queued_tasks > 60 {
                std::thread::yield_now();
                continue;
            }
            let target = ["free", "tight/two"][random.below(2)];
            let run = NewRun::of(target).priority(level(u8::try_from(random.below(10)).unwrap() + 1));
            let id = self.engine.submit(run).unwrap().id;
            self.moved();
            let mut recent = self.recent.lock().unwrap();
            if recent.len() == 32 {
                recent.swap_remove(random.below(32));
            }
            recent.push(id);
        }
    }

    /// Holds a few claims at a time.
    fn work(&self, seed: u64) {
        let mut random = Random::new(seed);
        let mut held: Vec<Claim> = Vec::new();
        let mut tokens = Vec::new();
        while self.going() || !held.is_empty() {
            if self.going()
                && held.len() < 3
                && let Ok(claim) = self.engine.claim(&Scope::all()).unwrap()
            {
                if claim.flow() == "tight" {
                    assert!(self.limited.fetch_add(1, Ordering::SeqCst) < 2, "L1 broken");
                }
                tokens.push(claim.token());
                held.push(claim);
                self.moved();
                continue;
            }
            if held.is_empty() {
                std::thread::yield_now();
                continue;
            }
            let claim = held.swap_remove(random.below(held.len()));
            if claim.flow() == "tight" {
                self.limited.fetch_sub(1, Ordering::SeqCst);
            }
            // It may have been called off meanwhile.
            let _ = self.engine.begin(&claim);
            let outcome = match random.below(4) {
                0 => Outcome::failed("no"),
                1 => Outcome::crashed("gone"),
                _ => Outcome::Completed(().into()),
            };
            self.engine.complete(&claim, outcome).unwrap();
            let again = self.engine.complete(&claim, Outcome::Cancelled);
            assert!(matches!(again, Err(Error::StaleClaim { .. })), "R2 broken");
            self.moved();
        }
        self.tokens.lock().unwrap().extend(tokens);
    }

    fn call_off(&self, seed: u64) {
        let mut random = Random::new(seed);
        while self.going() {
            let recent = self.recent.lock().unwrap();
            let run = (!recent.is_empty()).then(|| recent[random.below(recent.len())]);
            drop(recent);
            let Some(run) = run else { continue };
            let answer = match random.below(3) {
                0 => self.engine.cancel(run).map(drop),
                _ => self.engine.set_priority(run, level(5)).map(drop),
            };
            match answer {
                Ok(()) => self.moved(),
                Err(Error::Transition { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            std::thread::yield_now();
        }
    }
}

/// Ends the load however the reader ends.
struct Done<'a>(&'a Load);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

#[test]
fn t1_every_report_under_load_is_of_one_instant() {
    let engine = Engine::builder().limit(LIMIT).build().unwrap();
    engine.flow("free").unwrap();
    let two = NonZeroU32::new(2).unwrap();
    engine
        .deploy(NewDeployment::new("tight", "two").concurrency_limit(two))
        .unwrap();
    let (moves, moved) = sync_channel(1);
    let load = Load {
        engine,
        done: AtomicBool::new(false),
        moves,
        recent: Mutex::default(),
        limited: AtomicUsize::new(0),
        tokens: Mutex::default(),
    };
    let (mut taken, mut new, mut all_three, mut last) = (0, 0, 0, 0);
    std::thread::scope(|scope| {
        let _done = Done(&load);
        let load = &load;
        scope.spawn(|| load.submit(1));
        scope.spawn(|| load.submit(2));
        scope.spawn(|| load.work(3));
        scope.spawn(|| load.work(4));
        scope.spawn(|| load.call_off(5));
        // Which thread runs when is the system's affair: it goes on until enough reports have seen all three.
        while taken < SNAPSHOTS || (all_three * 4 < SNAPSHOTS && taken < 40 * SNAPSHOTS) {
            taken += 1;
            // One report for each change or more: wait for one that came after the last report.
            while moved.try_recv().is_ok() {}
            moved
                .recv_timeout(Duration::from_secs(60))
                .expect("the threads go on");
            let status = load.engine.snapshot();
            consistent(&status);
            assert!(status.version >= last, "reports go back");
            new += usize::from(status.version > last);
            last = status.version;
            let parts = [status.queued_tasks, status.blocked, status.processing_tasks];
            all_three += usize::from(parts.iter().all(|part| *part > 0));
        }
    });
    assert!(
        new * 10 >= taken * 9,
        "only {new} of {taken} reports had a new version"
    );
    assert!(
        all_three * 4 >= SNAPSHOTS,
        "queued, blocked and processing were all there in only {all_three} of {taken} reports"
    );
    let mut tokens = load.tokens.into_inner().unwrap();
    let handed_out = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), handed_out, "R2: an attempt was handed out twice");
    assert_eq!(load.engine.snapshot().totals.claimed, handed_out as u64);
    assert_eq!(load.engine.snapshot().processing_tasks, 0, "L2: a slot leaked");
}

#[test]
fn t2_the_report_has_exactly_the_keys_of_the_reference() {
    let (builder, clock) = still();
    let engine = builder.limit(5).build().unwrap();
    let report = |engine: &Engine| serde_json::to_value(engine.snapshot()).unwrap();
    let empty = json!({
        "queuedTasks": 0,
        "processingTasks": 0,
        "priorityBreakdown": [],
        "concurrency": { "used": 0, "max": 5 },
    });
    assert_eq!(report(&engine), empty);
    engine.flow("f").unwrap();
    for at in [1, 5, 5, 10, 3] {
        engine.submit(NewRun::of("f").priority(level(at))).unwrap();
    }
    let later = chrono::TimeDelta::hours(1);
    let now = tenfold::clock::Clock::now(&clock).wall;
    engine.submit(NewRun::of("f").not_before(now + later)).unwrap();
    engine.begin(&take(&engine)).unwrap();
    assert_eq!(
        serde_json::to_string(&engine.snapshot()).unwrap(),
        r#"{"queuedTasks":4,"processingTasks":1,"priorityBreakdown":[{"priority":5,"count":2},{"priority":3,"count":1},{"priority":1,"count":1}],"concurrency":{"used":1,"max":5}}"#
    );
    engine.set_limit(None).unwrap();
    assert_eq!(
        report(&engine)["concurrency"],
        json!(null),
        "nothing limits the engine"
    );
    engine.set_limit(Some(0)).unwrap();
    assert_eq!(
        report(&engine)["concurrency"],
        json!({ "used": 1, "max": 0 }),
        "lowered below what is used"
    );
}

#[test]
fn t1_blocked_counts_what_limits_and_pauses_hold_back_and_not_what_a_full_engine_does() {
    let (engine, _) = engine();
    engine.create_pool(NewPool::named("other")).unwrap();
    engine
        .deploy(NewDeployment::new("g", "one").concurrency_limit(NonZeroU32::MIN))
        .unwrap();
    for target in ["g/one", "g/one", "g/one", "f"] {
        engine.submit(target).unwrap();
    }
    engine
        .submit(NewRun::of("f").work_queue("other", "default"))
        .unwrap();
    assert_eq!(engine.snapshot().blocked, 0, "a claim of any of them would do");
    take(&engine);
    assert_eq!(engine.snapshot().blocked, 2);
    engine.set_limit(Some(0)).unwrap();
    assert_eq!(engine.snapshot().blocked, 2, "C3: a full engine blocks nothing");
    engine.pause_pool("other").unwrap();
    assert_eq!(engine.snapshot().blocked, 3);
    engine.pause_queue("other", "default").unwrap();
    engine.resume_pool("other").unwrap();
    assert_eq!(engine.snapshot().blocked, 3, "its queue is paused too");
    engine.resume_queue("other", "default").unwrap();
    assert_eq!(engine.snapshot().blocked, 2);
}

#[test]
fn t1_a_report_makes_nothing_due_and_is_no_change() {
    let (engine, clock) = engine();
    let at = tenfold::clock::Clock::now(&clock).wall + chrono::TimeDelta::seconds(1);
    engine.submit(NewRun::of("f").not_before(at)).unwrap();
    clock.advance(Duration::from_secs(5));
    let status = engine.snapshot();
    assert_eq!((status.scheduled, status.queued_tasks), (1, 0));
    assert_eq!(engine.snapshot(), status);
    engine.advance().unwrap();
    let status = engine.snapshot();
    assert_eq!((status.scheduled, status.queued_tasks), (0, 1));
}
