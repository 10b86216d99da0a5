//! Claim, begin, complete, give back, cancel, lapse and raise, by several threads: every order in which their calls can come.
//!
//! A call takes effect at one point, under the engine's one lock. So what threads can do to each other is an order of their calls, and all
//! orders of short scripts can be tried, one after another, on one thread and a manual clock. What happens outside of the lock, the bells and the
//! requests to stop, is explored by the models in `src/engine/signal`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenfold::clock::ManualClock;
use tenfold::engine::{Claim, Events, Follow, Happened, Lease, StopReason};
use tenfold::model::StateType;
use tenfold::{Engine, Error, NewRun, Outcome, Retry, RunId, Scope};

use crate::support::still;

const LEASE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Call {
    /// With or without a lease.
    Claim(bool),
    Begin,
    Complete,
    Fail,
    GiveBack,
    CancelFirst,
    /// As long as a lease.
    Pass,
    /// One slot more.
    Raise,
}

struct World {
    engine: Engine,
    clock: ManualClock,
    events: Events,
    runs: [RunId; 2],
    /// What each thread has, or had, in its hands.
    hands: Vec<Option<Claim>>,
    slots: usize,
    /// Tokens of attempts whose end was accepted.
    ended: BTreeSet<u64>,
    states: BTreeMap<RunId, StateType>,
    tokens: BTreeSet<u64>,
}

impl World {
    fn new(threads: usize) -> Self {
        let (builder, clock) = still();
        let engine = builder.limit(1).build().unwrap();
        engine.flow("f").unwrap();
        let events = engine.events(Follow::states()).unwrap();
        let new = || NewRun::of("f").retry(Retry::fixed(1, Duration::ZERO));
        Self {
            runs: [(); 2].map(|()| engine.submit(new()).unwrap().id),
            engine,
            clock,
            events,
            hands: vec![None; threads],
            slots: 1,
            ended: BTreeSet::new(),
            states: BTreeMap::new(),
            tokens: BTreeSet::new(),
        }
    }

    /// The attempt in these hands is the one that the engine knows.
    fn is_current(&self, claim: &Claim) -> bool {
        self.engine.claim_again(claim.run(), claim.token()).is_ok()
    }

    fn end(&mut self, claim: &Claim, outcome: Outcome) {
        let current = self.is_current(claim);
        match self.engine.complete(claim, outcome) {
            Ok(_) => {
                assert!(
                    current && self.ended.insert(claim.token()),
                    "R2 broken: an attempt ended twice"
                );
            }
            Err(Error::StaleClaim { .. }) => assert!(!current, "R2 broken: a current claim is stale"),
            Err(other) => panic!("{other}"),
        }
    }

    fn call(&mut self, thread: usize, call: Call) {
        let claim = self.hands[thread].clone();
        match (call, claim) {
            (Call::Claim(leased), _) => {
                let claimed = if leased {
                    self.engine
                        .claim_leased(&Scope::all(), Lease::of(LEASE).or_retry())
                } else {
                    self.engine.claim(&Scope::all())
                };
                self.hands[thread] = claimed.unwrap().ok();
            }
            (Call::Begin, Some(claim)) => drop(self.engine.begin(&claim)),
            (Call::Complete, Some(claim)) => self.end(&claim, Outcome::Completed(1.into())),
            (Call::Fail, Some(claim)) => self.end(&claim, Outcome::failed("no")),
            (Call::GiveBack, Some(claim)) => {
                // One that was called off meanwhile is not given back: it ends.
                if let Err(Error::Transition { .. }) = self.engine.give_back(&claim) {
                    self.end(&claim, Outcome::Cancelled);
                }
            }
            (Call::CancelFirst, _) => drop(self.engine.cancel(self.runs[0])),
            (Call::Pass, _) => self.clock.advance(LEASE),
            (Call::Raise, _) => {
                self.slots += 1;
                let slots = u32::try_from(self.slots).unwrap();
                self.engine.set_limit(Some(slots)).unwrap();
            }
            // It came away with nothing.
            (_, None) => {}
        }
        self.judge();
    }

    fn judge(&mut self) {
        self.engine.advance().unwrap();
        while let Some(event) = self.events.try_next().unwrap() {
            let Happened::State(change) = event.what else {
                continue;
            };
            let before = self.states.insert(change.run, change.state);
            assert!(
                !before.is_some_and(StateType::is_terminal),
                "R3 broken: {} goes on",
                change.run
            );
            let token = change.token;
            assert!(
                token.is_none_or(|token| self.tokens.insert(token)),
                "R2 broken: handed out twice"
            );
        }
        let held = self.engine.snapshot().processing_tasks;
        assert!(held <= self.slots, "L1 broken: {held} of {} slots", self.slots);
        for claim in self.hands.iter().flatten() {
            let late = !self.is_current(claim) && !self.ended.contains(&claim.token());
            let told = matches!(
                claim.stop_reason(),
                None | Some(StopReason::Cancelled | StopReason::Superseded)
            );
            assert!(
                told || late,
                "who has an attempt was told {:?}",
                claim.stop_reason()
            );
        }
    }

    /// Whatever happened, the rest runs out.
    fn run_out(mut self) {
        for _ in 0..6 {
            for thread in 0..self.hands.len() {
                self.call(thread, Call::Complete);
                self.call(thread, Call::Claim(false));
            }
            self.call(0, Call::Pass);
        }
        for run in self.runs {
            assert!(
                self.states[&run].is_terminal(),
                "R1 broken: {run} is {}",
                self.states[&run]
            );
        }
        let status = self.engine.snapshot();
        assert_eq!(
            (status.processing_tasks, status.queued_tasks),
            (0, 0),
            "L2 broken"
        );
        assert_eq!(status.totals.claimed, self.tokens.len() as u64, "R2 broken");
    }
}

/// Every merge of the scripts: `taken` says how many calls of each came.
fn merges(scripts: &[&[Call]], taken: &mut Vec<usize>, order: &mut Vec<usize>, tried: &mut usize) {
    let mut done = true;
    for thread in 0..scripts.len() {
        if taken[thread] < scripts[thread].len() {
            done = false;
            taken[thread] += 1;
            order.push(thread);
            merges(scripts, taken, order, tried);
            order.pop();
            taken[thread] -= 1;
        }
    }
    if done {
        *tried += 1;
        let mut world = World::new(scripts.len());
        let mut next = vec![0; scripts.len()];
        for &thread in &*order {
            world.call(thread, scripts[thread][next[thread]]);
            next[thread] += 1;
        }
        world.run_out();
    }
}

fn every_order(scripts: &[&[Call]]) -> usize {
    let mut tried = 0;
    merges(scripts, &mut vec![0; scripts.len()], &mut Vec::new(), &mut tried);
    tried
}

#[test]
fn l1_l2_r1_r2_a_lapsed_lease_against_late_reports_in_every_order() {
    let worker: &[Call] = &[Call::Claim(true), Call::Begin, Call::Complete];
    let other: &[Call] = &[Call::Claim(false), Call::Begin, Call::Fail];
    assert_eq!(every_order(&[worker, other, &[Call::Pass, Call::Pass]]), 560);
}

#[test]
fn l1_l2_r1_r2_a_cancel_against_claim_complete_and_raise_in_every_order() {
    let worker: &[Call] = &[Call::Claim(false), Call::Begin, Call::Fail];
    let other: &[Call] = &[Call::Claim(true), Call::Complete];
    assert_eq!(
        every_order(&[worker, other, &[Call::CancelFirst], &[Call::Raise, Call::Pass]]),
        1680
    );
}

#[test]
fn l1_l2_r1_r2_claims_given_back_against_claims_in_every_order() {
    let worker: &[Call] = &[
        Call::Claim(false),
        Call::GiveBack,
        Call::Claim(true),
        Call::Complete,
    ];
    let other: &[Call] = &[Call::Claim(true), Call::GiveBack, Call::Begin];
    assert_eq!(
        every_order(&[worker, other, &[Call::CancelFirst], &[Call::Pass]]),
        2520
    );
}
