//! What becomes of a run that the limit of its deployment refuses (L6).

use std::num::NonZeroU32;
use std::time::Duration;

use tenfold::clock::ManualClock;
use tenfold::engine::{Answer, Lease, StopReason};
use tenfold::model::{Collision, ConcurrencyOptions, NewSchedule, Place, StateType};
use tenfold::{
    Claim, Claims, DeploymentPatch, Empty, Engine, Error, NewDeployment, NewRun, Outcome, Retry, RunId,
    Schedule, Scope,
};

use crate::support::{Random, level, refused, says, still, take};

const SECOND: Duration = Duration::from_secs(1);

fn new(limit: u32, strategy: Collision) -> NewDeployment {
    NewDeployment::new("f", "d")
        .concurrency_limit(NonZeroU32::new(limit).unwrap())
        .concurrency_options(ConcurrencyOptions::new(strategy))
}

/// An engine with the deployment `f/d` under a limit and a strategy.
fn under(limit: u32, strategy: Collision) -> (Engine, ManualClock) {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    engine.deploy(new(limit, strategy)).unwrap();
    (engine, clock)
}

fn submit(engine: &Engine) -> RunId {
    engine.submit("f/d").unwrap().id
}

fn begun(engine: &Engine) -> Claim {
    let claim = take(engine);
    engine.begin(&claim).unwrap();
    claim
}

fn done(engine: &Engine, claim: &Claim) {
    engine.complete(claim, Outcome::Completed(().into())).unwrap();
}

/// The name of a run's state, and what it says.
fn told(engine: &Engine, run: RunId) -> (String, String) {
    let state = engine.run(run).unwrap().state.unwrap();
    let message = state.message.map(|message| message.to_string());
    (state.name.to_string(), message.unwrap_or_default())
}

fn blocked(engine: &Engine) {
    assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap_err(), Empty::Blocked);
}

#[test]
fn l6_enqueue_is_the_default_and_lets_it_wait() {
    for options in [None, Some(ConcurrencyOptions::default())] {
        let (engine, _) = under(1, Collision::CancelNew);
        let id = engine.upsert(new(1, Collision::Enqueue)).unwrap().0.id;
        let patch = DeploymentPatch::new().concurrency_options(options);
        engine.update_deployment(id, patch).unwrap();
        let (first, second) = (submit(&engine), submit(&engine));
        let claim = begun(&engine);
        assert_eq!(claim.run(), first);
        blocked(&engine);
        assert_eq!(engine.run(second).unwrap().place, Place::Blocked);
        done(&engine, &claim);
        assert_eq!(take(&engine).run(), second);
    }
}

#[test]
fn l6_cancel_new_ends_a_run_that_becomes_due_while_the_limit_is_full() {
    let (engine, clock) = under(2, Collision::CancelNew);
    let now = tenfold::clock::Clock::now(&clock).wall;
    let later = engine
        .submit(NewRun::of("f/d").not_before(now + chrono::TimeDelta::seconds(5)))
        .unwrap()
        .id;
    submit(&engine);
    let first = begun(&engine);
    submit(&engine);
    begun(&engine);
    let third = submit(&engine);
    let (name, message) = told(&engine, third);
    assert_eq!(name, "Cancelled");
    says(&message, &["limit of its deployment", "2"]);
    // One that is not due yet is not refused yet.
    assert_eq!(engine.run(later).unwrap().place, Place::Scheduled);
    clock.advance(5 * SECOND);
    assert_eq!(told(&engine, later).0, "Cancelled");
    // A free slot lets the next in, also while it is only claimed and not begun.
    done(&engine, &first);
    let fourth = submit(&engine);
    assert_eq!(take(&engine).run(), fourth);
    assert_eq!(engine.snapshot().totals.cancelled, 2);
}

#[test]
fn l6_cancel_new_decides_about_what_waits_at_the_claim_of_the_last_slot() {
    let (engine, _) = under(1, Collision::CancelNew);
    let waiting: Vec<RunId> = (0..3).map(|_| submit(&engine)).collect();
    assert_eq!(engine.snapshot().queued_tasks, 3, "nothing has refused them yet");
    let urgent = engine.submit(NewRun::of("f/d").priority(level(9))).unwrap().id;
    assert_eq!(take(&engine).run(), urgent);
    for run in waiting {
        assert_eq!(engine.run(run).unwrap().state_type, Some(StateType::Cancelled));
    }
    assert_eq!(engine.snapshot().queued_tasks, 0);
}

#[test]
fn l6_a_run_that_has_started_before_is_not_new() {
    for strategy in [
        Collision::CancelNew,
        Collision::CancelRunning,
        Collision::ReplaceWaiting,
    ] {
        let (engine, clock) = under(1, strategy);
        let retried = engine
            .submit(NewRun::of("f/d").retry(Retry::fixed(1, SECOND)))
            .unwrap()
            .id;
        let claim = begun(&engine);
        engine.complete(&claim, Outcome::failed("once")).unwrap();
        let other = submit(&engine);
        let claim = begun(&engine);
        clock.advance(SECOND);
        blocked(&engine);
        assert_eq!(engine.run(retried).unwrap().place, Place::Blocked, "{strategy:?}");
        assert_eq!(claim.run(), other);
        assert_eq!(claim.stop_reason(), None, "{strategy:?}");
        done(&engine, &claim);
        assert_eq!(take(&engine).run(), retried);
    }
}

#[test]
fn l6_cancel_running_calls_off_the_oldest_which_keeps_its_slot_and_the_new_one_is_next() {
    let (engine, _) = under(2, Collision::CancelRunning);
    let olds = [submit(&engine), submit(&engine)];
    let claims = [begun(&engine), begun(&engine)];
    let new = submit(&engine);
    assert_eq!(claims[0].stop_reason(), Some(StopReason::Cancelled));
    assert_eq!(claims[1].stop_reason(), None);
    let (name, message) = told(&engine, olds[0]);
    assert_eq!(name, "Cancelling");
    says(&message, &[&new.to_string(), "same deployment"]);
    // It keeps its slot to its end.
    blocked(&engine);
    assert_eq!(engine.snapshot().processing_tasks, 2);
    engine.complete(&claims[0], Outcome::Cancelled).unwrap();
    assert_eq!(take(&engine).run(), new);
    assert_eq!(told(&engine, olds[0]).0, "Cancelled");
    assert_eq!(claims[1].stop_reason(), None);
}

#[test]
fn l6_cancel_running_puts_the_new_one_before_those_that_wait_already() {
    let (engine, clock) = under(1, Collision::CancelRunning);
    let retried = engine
        .submit(NewRun::of("f/d").retry(Retry::fixed(1, SECOND)))
        .unwrap()
        .id;
    let claim = begun(&engine);
    engine.complete(&claim, Outcome::failed("once")).unwrap();
    submit(&engine);
    let running = begun(&engine);
    clock.advance(SECOND);
    blocked(&engine);
    let new = submit(&engine);
    assert_eq!(running.stop_reason(), Some(StopReason::Cancelled));
    done(&engine, &running);
    let next = begun(&engine);
    assert_eq!(next.run(), new, "the retry waits behind it");
    done(&engine, &next);
    assert_eq!(take(&engine).run(), retried);
}

#[test]
fn l6_cancel_running_waits_where_all_are_being_called_off() {
    let (engine, _) = under(1, Collision::CancelRunning);
    submit(&engine);
    let first = begun(&engine);
    let (second, third) = (submit(&engine), submit(&engine));
    engine.complete(&first, Outcome::Cancelled).unwrap();
    let next = begun(&engine);
    assert_eq!(next.run(), second);
    // The third was decided about when it came: nothing was left to call off then.
    assert_eq!(next.stop_reason(), None);
    done(&engine, &next);
    assert_eq!(take(&engine).run(), third);
}

#[test]
fn l6_cancel_running_spares_what_the_refusing_claim_hands_out() {
    let (engine, _) = under(2, Collision::CancelRunning);
    for _ in 0..3 {
        submit(&engine);
    }
    let first = begun(&engine);
    let second = begun(&engine);
    assert_eq!(first.stop_reason(), Some(StopReason::Cancelled));
    assert_eq!(second.stop_reason(), None);
    let (alone, _) = under(1, Collision::CancelRunning);
    submit(&alone);
    submit(&alone);
    assert_eq!(begun(&alone).stop_reason(), None);
}

#[test]
fn l6_replace_waiting_keeps_the_newest_in_line() {
    let (engine, _) = under(1, Collision::ReplaceWaiting);
    submit(&engine);
    let running = begun(&engine);
    let (old, new) = (submit(&engine), submit(&engine));
    let (name, message) = told(&engine, old);
    assert_eq!(name, "Replaced");
    says(&message, &[&new.to_string()]);
    assert_eq!(running.stop_reason(), None);
    blocked(&engine);
    done(&engine, &running);
    let next = take(&engine);
    assert_eq!(next.run(), new);
    // And by the claim, of those that came while there was room.
    engine.complete(&next, Outcome::Cancelled).unwrap();
    let runs: Vec<RunId> = (0..4).map(|_| submit(&engine)).collect();
    assert_eq!(begun(&engine).run(), runs[0]);
    let places: Vec<Place> = runs.iter().map(|run| engine.run(*run).unwrap().place).collect();
    assert_eq!(
        places,
        [Place::Claimed, Place::Finished, Place::Finished, Place::Blocked]
    );
}

#[test]
fn l6_s4_an_occurrence_collides_like_any_other_run() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let minutely = NewSchedule::new(Schedule::cron("* * * * *", "UTC").unwrap());
    engine
        .deploy(new(1, Collision::CancelNew).schedule(minutely))
        .unwrap();
    let first = begun(&engine);
    clock.advance(60 * SECOND);
    blocked_or_not_due(&engine);
    assert_eq!(engine.snapshot().totals.cancelled, 1);
    done(&engine, &first);
    clock.advance(60 * SECOND);
    begun(&engine);
    assert_eq!(engine.snapshot().totals.cancelled, 1);
}

fn blocked_or_not_due(engine: &Engine) {
    let empty = engine.claim(&Scope::all()).unwrap().unwrap_err();
    assert!(matches!(empty, Empty::NotDue(_)), "{empty}");
}

#[test]
fn l6_c4_a_chosen_run_that_cancel_new_refuses_ends() {
    for by_state in [true, false] {
        let (engine, clock) = under(1, Collision::CancelNew);
        let now = tenfold::clock::Clock::now(&clock).wall;
        submit(&engine);
        begun(&engine);
        let later = NewRun::of("f/d").not_before(now + chrono::TimeDelta::seconds(100));
        let later = engine.submit(later).unwrap().id;
        if by_state {
            let answer = engine.set_state(later, StateType::Pending).unwrap();
            assert!(matches!(answer, Answer::Rejected { .. }), "{answer:?}");
            assert_eq!(answer.state().unwrap().kind, StateType::Cancelled);
        } else {
            engine.claim_run(later).unwrap().unwrap_err();
        }
        assert_eq!(told(&engine, later).0, "Cancelled");
    }
}

#[test]
fn r5_a_grace_period_is_a_lease_of_workers_from_outside() {
    let (engine, clock) = under(1, Collision::Enqueue);
    let id = engine.upsert(new(1, Collision::Enqueue)).unwrap().0.id;
    let options = ConcurrencyOptions::new(Collision::Enqueue).grace_period(60);
    let patch = DeploymentPatch::new().concurrency_options(Some(options));
    engine.update_deployment(id, patch).unwrap();
    let run = submit(&engine);
    let claim = begun(&engine);
    clock.advance(59 * SECOND);
    engine.heartbeat(&claim).unwrap();
    clock.advance(59 * SECOND);
    assert_eq!(engine.snapshot().processing_tasks, 1);
    clock.advance(SECOND);
    let late = refused(&engine, |engine| engine.complete(&claim, Outcome::Cancelled));
    assert!(matches!(late, Error::StaleClaim { .. }));
    assert_eq!(told(&engine, run).0, "Crashed");
    // A lease that the claim asks for is in its stead.
    submit(&engine);
    let claim = engine
        .claim_leased(&Scope::all(), Lease::of(10 * SECOND))
        .unwrap()
        .unwrap();
    clock.advance(10 * SECOND);
    assert!(engine.heartbeat(&claim).is_err());
}

#[test]
fn e2_options_out_of_their_bounds_are_refused() {
    let (engine, _) = under(1, Collision::Enqueue);
    for seconds in [0, 59, 86_401, u32::MAX] {
        let options = ConcurrencyOptions::new(Collision::Enqueue).grace_period(seconds);
        let new = NewDeployment::new("f", "e").concurrency_options(options);
        let error = refused(&engine, |engine| engine.deploy(new.clone()));
        says(
            &error,
            &["grace_period_seconds", &seconds.to_string(), "60 to 86,400"],
        );
    }
    let read = |text: &str| serde_json::from_str::<ConcurrencyOptions>(text);
    assert!(read(r#"{"collision_strategy": "cancel_new"}"#).is_err());
    assert!(read(r#"{"grace_period_seconds": 60}"#).is_err());
    let odd = read(r#"{"collision_strategy": "REPLACE_WAITING", "new": 1}"#).unwrap();
    assert_eq!(odd, ConcurrencyOptions::new(Collision::ReplaceWaiting));
}

/// As a list: each run is new, waits, runs or has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Waiting { decided: bool },
    Running { called_off: bool },
    Ended,
}

/// The obvious model: runs in order of acceptance, and a line of those that wait.
struct Model {
    strategy: Collision,
    limit: usize,
    runs: Vec<At>,
    /// Those that wait, the next first.
    line: Vec<usize>,
    /// Those that run, the oldest first.
    running: Vec<usize>,
}

impl Model {
    fn full(&self) -> bool {
        self.running.len() >= self.limit
    }

    fn call_off(&mut self, new: usize, spared: Option<usize>) {
        let oldest = self
            .running
            .iter()
            .copied()
            .find(|&run| Some(run) != spared && self.runs[run] == At::Running { called_off: false });
        if let Some(oldest) = oldest {
            self.runs[oldest] = At::Running { called_off: true };
            // It comes before all that came after the one that it has called off.
            self.line.retain(|&run| run != new);
            self.line.insert(0, new);
        }
    }

    fn replace(&mut self, new: usize) {
        for run in std::mem::take(&mut self.line) {
            if run == new {
                self.line.push(run);
            } else {
                self.runs[run] = At::Ended;
            }
        }
    }

    fn submit(&mut self) {
        let (new, full) = (self.runs.len(), self.full());
        self.runs.push(At::Waiting { decided: full });
        if full && self.strategy == Collision::CancelNew {
            self.runs[new] = At::Ended;
            return;
        }
        self.line.push(new);
        match self.strategy {
            Collision::CancelRunning if full => self.call_off(new, None),
            Collision::ReplaceWaiting if full => self.replace(new),
            _ => {}
        }
    }

    fn claim(&mut self) -> Option<usize> {
        if self.full() || self.line.is_empty() {
            return None;
        }
        let run = self.line.remove(0);
        self.runs[run] = At::Running { called_off: false };
        self.running.push(run);
        if !self.full() {
            return Some(run);
        }
        let mut undecided: Vec<usize> = self.line.clone();
        undecided.retain(|&run| self.runs[run] == At::Waiting { decided: false });
        undecided.sort_unstable();
        let newest = self.line.iter().max().copied();
        for other in undecided {
            self.runs[other] = At::Waiting { decided: true };
            match self.strategy {
                Collision::CancelNew => {
                    self.runs[other] = At::Ended;
                    self.line.retain(|&run| run != other);
                }
                Collision::CancelRunning => self.call_off(other, Some(run)),
                Collision::ReplaceWaiting if Some(other) == newest => self.replace(other),
                _ => {}
            }
        }
        Some(run)
    }

    fn end(&mut self, at: usize) -> usize {
        let run = self.running.remove(at);
        self.runs[run] = At::Ended;
        run
    }
}

/// L6 and E5 over histories of submissions, claims, ends and moves to another engine. One slot, or what waits never stands where
/// two orders of calling off could tell it apart.
#[test]
fn l6_every_strategy_agrees_with_one_list() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let strategy = [
            Collision::Enqueue,
            Collision::CancelNew,
            Collision::CancelRunning,
            Collision::ReplaceWaiting,
        ][random.below(4)];
        let most = if strategy == Collision::CancelRunning {
            1
        } else {
            3
        };
        let limit = 1 + random.below(most);
        let (mut engine, clock) = under(u32::try_from(limit).unwrap(), strategy);
        let mut model = Model {
            strategy,
            limit,
            runs: Vec::new(),
            line: Vec::new(),
            running: Vec::new(),
        };
        let (mut ids, mut claims): (Vec<RunId>, Vec<Claim>) = (Vec::new(), Vec::new());
        for step in 0..60 {
            match random.below(8) {
                0..=2 => {
                    ids.push(submit(&engine));
                    model.submit();
                }
                3..=4 => {
                    let claim = engine.claim(&Scope::all()).unwrap().ok();
                    let expected = model.claim();
                    assert_eq!(
                        claim.as_ref().map(Claim::run),
                        expected.map(|run| ids[run]),
                        "{strategy:?} seed {seed} step {step}"
                    );
                    claims.extend(claim);
                }
                5..=6 if !claims.is_empty() => {
                    let at = random.below(claims.len());
                    engine.complete(&claims.remove(at), Outcome::Cancelled).unwrap();
                    model.end(at);
                }
                7 => {
                    let document = engine.export().unwrap();
                    let moved = Engine::builder().clock(clock.clone());
                    let moved = moved.import(document.clone(), Claims::Keep).unwrap();
                    assert_eq!(moved.export().unwrap(), document, "E5: seed {seed} step {step}");
                    for claim in &mut claims {
                        *claim = moved.claim_again(claim.run(), claim.token()).unwrap();
                    }
                    engine = moved;
                }
                _ => {}
            }
            for (run, at) in model.runs.iter().enumerate() {
                let place = engine.run(ids[run]).unwrap();
                let agrees = match at {
                    At::Waiting { .. } => matches!(place.place, Place::Ready | Place::Blocked),
                    At::Running { called_off } => {
                        (place.state_type == Some(StateType::Cancelling)) == *called_off
                    }
                    At::Ended => place.place == Place::Finished,
                };
                assert!(
                    agrees,
                    "{strategy:?} seed {seed} step {step}: {at:?} {:?}",
                    place.state
                );
            }
        }
    }
}

#[test]
fn l6_line_34_s_cancel_new() {
    let (engine, _) = under(1, Collision::CancelNew);
    let [a, b] = [submit(&engine), submit(&engine)];
    engine.set_state(a, StateType::Pending).unwrap();
    // (S) by the claim of the last slot, and not when somebody asks for it.
    assert_eq!(engine.run(b).unwrap().state_type, Some(StateType::Cancelled));
    assert!(matches!(
        engine.set_state(b, StateType::Pending).unwrap(),
        Answer::Aborted(_)
    ));
}
