//! The engine against the obvious model: one list of runs, scanned.
//!
//! Histories of submissions, claims, ends, cancellations, changes of level, pauses, limits and clock steps over two
//! pools of three queues; in every second history also of named limits, a template, leases of slots and strict order. After
//! each step the answers agree, the status report agrees, the slots held of every limit agree, and every invariant holds.
//!
//! With names comes a limit whose slots drain by time. The bypass bound is not in these histories: what it reserves where runs name
//! several limits depends on where they stand. The ready order has a model of it for runs that name one.

mod calls;
mod explained;
mod list;
mod named;
mod once;
mod replayed;

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::catalog::instant;
use crate::clock::{Clock, ManualClock};
use crate::model::{Place, Retry};

use self::calls::{Op, Order, op, op_with_names};
use self::list::{Alarm, At, Chosen, Model, ModelDeployment, ModelRun};
use self::named::DEFAULTS;

const POOLS: [&str; 2] = ["default", "other"];
const QUEUES: [&str; 3] = ["default", "second", "third"];
const WAITING: usize = 12;
const SCHEDULED: usize = 6;
const SECOND: i64 = 1_000_000;

/// Queue `n` of six: three in each pool, in the order of their importance.
fn queue_name(queue: usize) -> (&'static str, &'static str) {
    (POOLS[queue / 3], QUEUES[queue % 3])
}

fn level(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

fn positive(limit: Option<u32>) -> Option<NonZeroU32> {
    limit.map(|limit| NonZeroU32::new(limit.max(1)).unwrap())
}

/// An engine and its model, driven side by side.
struct Both {
    engine: Engine,
    clock: ManualClock,
    model: Model,
    claims: Vec<(Claim, usize)>,
    before: QueueStatus,
}

impl Both {
    fn new() -> Self {
        let mut both = Self::bare();
        (0..4).for_each(|deployment| both.deploy(deployment));
        both
    }

    /// Without deployments yet.
    fn bare() -> Self {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let engine = Engine::builder()
            .clock(clock.clone())
            .seed(1)
            .waiting_runs(WAITING)
            .scheduled_runs(SCHEDULED)
            .build()
            .unwrap();
        engine.create_pool(NewPool::named("other")).unwrap();
        for queue in [1, 2, 4, 5] {
            let (pool, name) = queue_name(queue);
            engine.create_queue(NewQueue::named(pool, name)).unwrap();
        }
        engine.flow("f").unwrap();
        let mut both = Self {
            before: engine.snapshot(),
            engine,
            clock,
            model: Model::default(),
            claims: Vec::new(),
        };
        let now = both.clock.now();
        both.model.observe(now.wall.timestamp_micros(), 0);
        both
    }

    fn deploy(&mut self, at: usize) {
        let (pool, queue) = queue_name([0, 4, 2, 3][at]);
        let second = Duration::from_secs(1);
        let mut new = NewDeployment::new("f", format!("d{at}"))
            .priority(level([1, 2, 1, 3][at]))
            .retry(
                [
                    Retry::default(),
                    Retry::fixed(2, 3 * second),
                    Retry::fixed(1, Duration::ZERO),
                    Retry::default(),
                ][at]
                    .clone(),
            )
            .work_queue(pool, queue);
        let limit = [Some(1), None, Some(2), None][at];
        if let Some(limit) = positive(limit) {
            new = new.concurrency_limit(limit);
        }
        let timeout = (at == 2).then_some(2 * second);
        if let Some(timeout) = timeout {
            new = new.timeout(timeout);
        }
        if self.model.with_names {
            for &(name, weight) in DEFAULTS[at] {
                new = new.slots(named::name(name), weight);
            }
        }
        let retry = new.retry.clone();
        let made = self.engine.deploy(new);
        if !self.model.may_deploy(at) {
            made.unwrap_err();
            return self.refused();
        }
        let Some(held) = &self.model.deployments[at] else {
            let deployment = ModelDeployment {
                id: made.unwrap().id,
                limit,
                level: [1, 2, 1, 3][at],
                queue: [0, 4, 2, 3][at],
                retry: retry.unwrap_or_default(),
                timeout,
            };
            self.model.deployments[at] = Some(deployment);
            return;
        };
        assert_eq!(
            self.engine.deployment(held.id).unwrap().concurrency_limit,
            held.limit
        );
        assert!(matches!(made, Err(Error::Duplicate { .. })));
        self.refused();
    }

    /// The last call was refused: the engine is as it was, but for what became due.
    fn refused(&self) {
        if !self.model.stirred {
            assert_eq!(
                self.engine.snapshot(),
                self.before,
                "a refused call changes nothing"
            );
        }
    }

    fn new_run(&self, order: &Order) -> NewRun {
        let now: DateTime<Utc> = instant(self.model.wall);
        let mut new = NewRun::of(
            match order.target {
                4 => "f".to_owned(),
                5 => "nobody".to_owned(),
                deployment => format!("f/d{deployment}"),
            }
            .as_str(),
        );
        if let Some(queue) = order.queue {
            let (pool, queue) = queue_name(queue);
            new = new.work_queue(pool, queue);
        }
        if let Some(given) = order.level {
            new = new.priority(level(given));
        }
        if order.delay != 0 {
            new = new.not_before(now + TimeDelta::seconds(order.delay));
        }
        if let Some(retry) = order.retry.clone() {
            new = new.retry(retry);
        }
        if let Some(timeout) = order.timeout {
            new = new.timeout(Duration::from_secs(timeout));
        }
        for &(name, weight) in &order.named {
            new = new.slots(named::name(name), weight);
        }
        new
    }

    fn known(&self, order: &Order) -> bool {
        order.target == 4
            || self
                .model
                .deployments
                .get(order.target)
                .is_some_and(Option::is_some)
    }

    fn accept(&mut self, order: &Order, id: RunId) {
        let deployment = self.model.deployments.get(order.target).cloned().flatten();
        let asks = self.model.asks(order).expect("L3: it could never be granted");
        let due = self.model.wall + order.delay.max(0) * SECOND;
        let run = ModelRun {
            id,
            queue: order
                .queue
                .or(deployment.as_ref().map(|of| of.queue))
                .unwrap_or(0),
            level: order
                .level
                .or(deployment.as_ref().map(|of| of.level))
                .unwrap_or(1),
            due,
            seq: self.model.next(),
            at: if order.delay > 0 { At::Later } else { At::Line },
            retry: order
                .retry
                .clone()
                .or(deployment.as_ref().map(|of| of.retry.clone()))
                .unwrap_or_default(),
            timeout: order
                .timeout
                .map(Duration::from_secs)
                .or(deployment.as_ref().and_then(|of| of.timeout)),
            deployment: deployment.map(|of| of.id),
            attempt: 0,
            starts: 0,
            resumed: false,
            needs: self.model.bind_all(&asks),
        };
        assert!(self.model.runs.iter().all(|other| other.id < id), "ids ascend");
        self.model.runs.push(run);
    }

    fn submit(&mut self, order: &Order) {
        let answer = self.engine.submit(self.new_run(order));
        let full = if order.delay > 0 {
            self.model.scheduled() >= SCHEDULED
        } else {
            self.model.waiting() >= WAITING
        };
        match answer {
            Ok(submitted) => {
                assert!(self.known(order) && !full);
                assert!(!submitted.existing);
                self.accept(order, submitted.id);
            }
            Err(Error::NotFound { .. }) => {
                assert!(!self.known(order));
                self.refused();
            }
            Err(Error::LimitRequest(_)) => {
                assert_eq!(self.model.asks(order), None, "L3: it could be granted");
                self.refused();
            }
            Err(Error::Full { .. }) => {
                assert!(full);
                self.refused();
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn batch(&mut self, orders: &[Order]) {
        let answer = self
            .engine
            .submit_batch(orders.iter().map(|order| self.new_run(order)).collect());
        let later = orders.iter().filter(|order| order.delay > 0).count();
        let now = orders.len() - later;
        let full = (now > 0 && self.model.waiting() + now > WAITING)
            || (later > 0 && self.model.scheduled() + later > SCHEDULED);
        match answer {
            Ok(answers) => {
                assert!(!full);
                for (order, answer) in orders.iter().zip(answers) {
                    let asks = self.model.asks(order);
                    assert_eq!(answer.is_ok(), self.known(order) && asks.is_some());
                    if let Ok(submitted) = answer {
                        self.accept(order, submitted.id);
                    }
                }
            }
            Err(Error::Full { .. }) => {
                assert!(full);
                self.refused();
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn claim(&mut self, scope: &Scope, queues: &[usize]) {
        let answer = self.engine.claim(scope).unwrap();
        match (answer, self.model.claim(queues)) {
            (Ok(claim), Ok(at)) => self.claimed(claim, at),
            (Err(Empty::NotDue(_)), Err(Empty::NotDue(_))) if self.model.jumped => self.refused(),
            (Err(reason), Err(expected)) => {
                assert_eq!(reason, expected);
                self.refused();
            }
            (Ok(claim), Err(expected)) => {
                panic!("run {} was handed out, but nothing fits: {expected}", claim.run())
            }
            (Err(reason), Ok(at)) => {
                panic!(
                    "nothing was handed out ({reason}), but this fits: {:?}",
                    self.model.runs[at]
                )
            }
        }
    }

    /// An attempt starts.
    fn begun(&mut self, at: usize, token: u64) {
        let run = &mut self.model.runs[at];
        run.starts += u32::from(!run.resumed);
        run.at = At::Claimed {
            token,
            state: StateType::Running,
        };
        if let Some(timeout) = run.timeout {
            let at_mono = self.model.mono + i64::try_from(timeout.as_micros()).unwrap();
            self.model.alarm(at_mono, at, Alarm::Timeout);
        }
    }

    fn pause(&mut self, pick: usize, timeout: Option<Duration>) {
        let Some((claim, at, state)) = self.some_claim(pick) else {
            return self.look();
        };
        match (self.engine.pause(&claim, timeout), state) {
            (Ok(_), Some(StateType::Running)) => {
                self.model.alarms.retain(|alarm| alarm.2 != at);
                self.model.runs[at].at = At::Paused;
                self.model.runs[at].attempt -= 1;
                if let Some(timeout) = timeout {
                    let at_mono = self.model.mono + i64::try_from(timeout.as_micros()).unwrap();
                    self.model.alarm(at_mono, at, Alarm::Pause);
                }
            }
            (Err(Error::Transition { .. }), Some(StateType::Pending | StateType::Cancelling))
            | (Err(Error::StaleClaim { .. }), None) => self.refused(),
            other => panic!("{other:?}"),
        }
    }

    fn resume(&mut self, pick: usize) {
        let Some(at) = pick.checked_rem(self.model.runs.len()) else {
            return self.look();
        };
        match (self.engine.resume(self.model.runs[at].id), self.model.runs[at].at) {
            (Ok(_), At::Paused) => {
                self.model.alarms.retain(|alarm| alarm.2 != at);
                let (due, seq) = (self.model.wall, self.model.next());
                let run = &mut self.model.runs[at];
                (run.due, run.seq, run.at, run.resumed) = (due, seq, At::Line, true);
            }
            (Err(Error::Transition { .. }), _) => self.refused(),
            other => panic!("{other:?}"),
        }
    }

    /// C4: a claim of a chosen run.
    fn choose(&mut self, pick: usize, begin: bool) {
        let Some(at) = pick.checked_rem(self.model.runs.len()) else {
            return self.look();
        };
        let state = if begin {
            StateType::Running
        } else {
            StateType::Pending
        };
        let answer = self.engine.set_state(self.model.runs[at].id, state).unwrap();
        match (answer, self.model.choose(at, begin)) {
            (
                Answer::Accepted {
                    claim: Some(claim), ..
                },
                Chosen::Claimed,
            ) => {
                let token = claim.token();
                self.chosen(claim, at);
                if begin {
                    self.begun(at, token);
                }
            }
            (Answer::Accepted { claim: None, .. }, Chosen::Begun) => {
                let At::Claimed { token, .. } = self.model.runs[at].at else {
                    unreachable!()
                };
                self.begun(at, token);
            }
            // A full limit may name the run; nothing else is changed.
            (Answer::Rejected { .. }, Chosen::Kept) => {}
            (Answer::Wait(_), Chosen::Waits) | (Answer::Aborted(_), Chosen::Never) => self.refused(),
            other => panic!("{other:?}"),
        }
    }

    /// Mostly a claim that is held; sometimes a stale one.
    fn some_claim(&self, pick: usize) -> Option<(Claim, usize, Option<StateType>)> {
        let state = |(claim, at): &(Claim, usize)| match self.model.runs[*at].at {
            At::Claimed { token, state } if token == claim.token() => Some(state),
            _ => None,
        };
        let held: Vec<_> = self
            .claims
            .iter()
            .filter(|claim| state(claim).is_some())
            .collect();
        let chosen = if held.is_empty() || pick.is_multiple_of(8) {
            self.claims.get(pick / 8 % self.claims.len().max(1))?
        } else {
            held[pick / 8 % held.len()]
        };
        Some((chosen.0.clone(), chosen.1, state(chosen)))
    }

    /// The engine takes the time and does nothing else.
    fn look(&self) {
        let (told, known) = (self.engine.advance().unwrap(), self.model.next_deadline());
        if self.model.with_names {
            // What drains may let somebody in before.
            assert!(
                known.is_none_or(|known| told.is_some_and(|told| told <= known)),
                "{told:?}, {known:?}"
            );
        } else {
            assert_eq!(told, known);
        }
    }

    fn apply(&mut self, op: &Op) {
        self.before = self.engine.snapshot();
        let now = self.clock.now();
        if !matches!(op, Op::Wait(_) | Op::Jump(_)) {
            let mono = i64::try_from(now.mono.as_micros()).unwrap();
            self.model.observe(now.wall.timestamp_micros(), mono);
            self.model.collect();
            self.model.drain();
        }
        self.call(op);
        self.model.drain();
    }

    fn call(&mut self, op: &Op) {
        let now = self.clock.now();
        match op {
            Op::Submit(order) => self.submit(order),
            Op::Batch(orders) => self.batch(orders),
            Op::ClaimAll => self.claim(&Scope::all(), &[0, 1, 2, 3, 4, 5]),
            Op::Claim(queues, pools) => {
                if queues.is_empty() && pools.is_empty() {
                    return self.look();
                }
                let mut scope = Scope::all();
                for &queue in queues {
                    let (pool, queue) = queue_name(queue);
                    scope = scope.and_queue(pool, queue);
                }
                for &pool in pools {
                    scope = scope.and_pool(POOLS[pool]);
                }
                let whole = |queue: &usize| pools.contains(&(queue / 3));
                let queues: Vec<usize> = (0..6)
                    .filter(|queue| queues.contains(queue) || whole(queue))
                    .collect();
                self.claim(&scope, &queues);
            }
            Op::Begin(pick) => {
                let Some((claim, at, state)) = self.some_claim(*pick) else {
                    return self.look();
                };
                let early = self.model.runs[at].due > self.model.wall;
                match (self.engine.begin(&claim), state) {
                    (Err(Error::Transition { .. }), Some(StateType::Pending)) if early => self.refused(),
                    (Ok(()), Some(StateType::Pending)) => self.begun(at, claim.token()),
                    (Err(Error::Transition { .. }), Some(StateType::Running | StateType::Cancelling))
                    | (Err(Error::StaleClaim { .. }), None) => self.refused(),
                    other => panic!("{other:?}"),
                }
            }
            Op::GiveBack(pick) => {
                let Some((claim, at, state)) = self.some_claim(*pick) else {
                    return self.look();
                };
                match (self.engine.give_back(&claim), state) {
                    (Ok(()), Some(StateType::Pending)) => {
                        let early = self.model.runs[at].due > self.model.wall;
                        self.model.runs[at].at = if early { At::Later } else { At::Line };
                        self.model.runs[at].attempt -= 1;
                    }
                    (Err(Error::Transition { .. }), Some(StateType::Running | StateType::Cancelling))
                    | (Err(Error::StaleClaim { .. }), None) => self.refused(),
                    other => panic!("{other:?}"),
                }
            }
            Op::Complete(pick, end) => {
                let Some((claim, at, state)) = self.some_claim(*pick) else {
                    return self.look();
                };
                let outcome = match end {
                    StateType::Completed => Outcome::Completed(1.into()),
                    StateType::Failed => Outcome::failed("no"),
                    StateType::Crashed => Outcome::crashed("gone"),
                    _ => Outcome::Cancelled,
                };
                match (self.engine.complete(&claim, outcome), state) {
                    (Ok(ended), Some(_)) => {
                        let (wall, mono) = (self.model.wall, self.model.mono);
                        assert_eq!(ended, self.model.end(at, *end, wall, mono));
                    }
                    (Err(Error::StaleClaim { .. }), None) => self.refused(),
                    other => panic!("{other:?}"),
                }
            }
            Op::Cancel(pick) => {
                let Some(at) = pick.checked_rem(self.model.runs.len()) else {
                    return self.look();
                };
                let answer = self.engine.cancel(self.model.runs[at].id);
                let run = &mut self.model.runs[at];
                match (answer, run.at) {
                    (Ok(StateType::Cancelling), At::Claimed { token, .. }) => {
                        run.at = At::Claimed {
                            token,
                            state: StateType::Cancelling,
                        };
                    }
                    (Ok(StateType::Cancelled), At::Later | At::Line | At::Retry | At::Paused) => {
                        run.at = At::Finished(StateType::Cancelled);
                        self.model.alarms.retain(|alarm| alarm.2 != at);
                    }
                    (Err(Error::Transition { .. }), At::Finished(_)) => self.refused(),
                    other => panic!("{other:?}"),
                }
            }
            Op::Pause(pick, timeout) => self.pause(*pick, timeout.map(Duration::from_secs)),
            Op::Resume(pick) => self.resume(*pick),
            Op::Choose(pick, begin) => self.choose(*pick, *begin),
            Op::SetLevel(pick, to) => {
                let Some(at) = pick.checked_rem(self.model.runs.len()) else {
                    return self.look();
                };
                let answer = self.engine.set_priority(self.model.runs[at].id, level(*to));
                let (wall, seq) = (self.model.wall, self.model.next());
                let run = &mut self.model.runs[at];
                match (answer, run.at) {
                    (Ok(_), at) if !matches!(at, At::Finished(_)) && run.level == *to => {}
                    (Ok(_), at) if !matches!(at, At::Finished(_)) => {
                        run.level = *to;
                        run.seq = seq;
                        // A due run stands behind all others of its new level.
                        if matches!(run.at, At::Line | At::Claimed { .. }) {
                            run.due = wall;
                        }
                    }
                    (Err(Error::Transition { .. }), At::Finished(_)) => self.refused(),
                    other => panic!("{other:?}"),
                }
            }
            Op::Limit(limit) => {
                self.engine.set_limit(*limit).unwrap();
                self.model.limit = *limit;
            }
            Op::PoolLimit(pool, limit) => {
                self.engine.set_pool_limit(POOLS[*pool], *limit).unwrap();
                self.model.pool_limit[*pool] = *limit;
            }
            Op::QueueLimit(queue, limit) => {
                let (pool, name) = queue_name(*queue);
                self.engine.set_queue_limit(pool, name, *limit).unwrap();
                self.model.queue_limit[*queue] = *limit;
            }
            Op::DeploymentLimit(at, limit) => {
                let Some(deployment) = &mut self.model.deployments[*at] else {
                    return self.look();
                };
                let patch = DeploymentPatch::new().concurrency_limit(positive(*limit));
                self.engine.update_deployment(deployment.id, patch).unwrap();
                deployment.limit = positive(*limit).map(NonZeroU32::get);
            }
            Op::PausePool(pool, paused) => {
                let name = POOLS[*pool];
                if *paused {
                    self.engine.pause_pool(name)
                } else {
                    self.engine.resume_pool(name)
                }
                .unwrap();
                self.model.pool_paused[*pool] = *paused;
            }
            Op::PauseQueue(queue, paused) => {
                let (pool, name) = queue_name(*queue);
                if *paused {
                    self.engine.pause_queue(pool, name)
                } else {
                    self.engine.resume_queue(pool, name)
                }
                .unwrap();
                self.model.queue_paused[*queue] = *paused;
            }
            Op::Delete(at) => {
                let Some(deployment) = self.model.deployments[*at].take() else {
                    return self.look();
                };
                self.engine.delete_deployment(deployment.id).unwrap();
                for (number, run) in self.model.runs.iter_mut().enumerate() {
                    if run.deployment == Some(deployment.id)
                        && matches!(run.at, At::Later | At::Line | At::Retry | At::Paused)
                    {
                        run.at = At::Finished(StateType::Cancelled);
                        self.model.alarms.retain(|alarm| alarm.2 != number);
                    }
                }
            }
            Op::Deploy(at) => self.deploy(*at),
            Op::Wait(millis) => self.clock.advance(Duration::from_millis(millis.unsigned_abs())),
            Op::Jump(seconds) => {
                self.clock.jump_to(now.wall + TimeDelta::seconds(*seconds));
                self.model.jumped = true;
            }
            Op::Advance => self.look(),
            Op::Named(op) => self.name(op),
        }
    }

    /// The status report is the model's, at a later version if it says anything else than before.
    fn agree(&self) {
        self.engine.check_invariants();
        let (status, model) = (self.engine.snapshot(), &self.model);
        for priority in Priority::descending() {
            let here = model.count(|run| run.at == At::Line && run.level == priority.level());
            assert_eq!(
                status.priority_breakdown.at(priority) as usize,
                here,
                "level {priority}"
            );
        }
        let finished = |state| model.count(|run| run.at == At::Finished(state)) as u64;
        let held = model.held(|_| true);
        assert_eq!(status.queued_tasks, model.waiting());
        assert_eq!(status.priority_breakdown.total(), status.queued_tasks);
        assert_eq!(status.processing_tasks, held as usize);
        assert_eq!(status.scheduled, model.scheduled());
        let blocked = model.count(|run| run.at == At::Line && model.blocked(run));
        assert_eq!(status.blocked, blocked, "T1: what a limit or a pause stops");
        assert_eq!(
            status.concurrency,
            model.limit.map(|max| Concurrency { used: held, max })
        );
        let totals = Totals {
            accepted: model.runs.len() as u64,
            claimed: model.claimed,
            completed: finished(StateType::Completed),
            failed: finished(StateType::Failed),
            crashed: finished(StateType::Crashed),
            cancelled: finished(StateType::Cancelled),
            retried: model.retried,
            missed: 0,
            skipped: 0,
        };
        assert_eq!(status.totals, totals);
        let unchanged = QueueStatus {
            version: self.before.version,
            ..status
        };
        assert!(
            status.version > self.before.version || unchanged == self.before,
            "T1: a change has a version"
        );
        assert!(status.version >= self.before.version);
    }

    /// The place of a run as filters see it.
    fn filtered_place(&self, id: RunId) -> Place {
        let core = self.engine.shared.core.lock();
        let row = core.run_row(id).expect("every record is kept");
        core.view().place(core.run(row))
    }

    /// R1: every run is in the one place that the model says, which reading it, filters and `blocked_by` say too.
    fn agree_on_runs(&mut self) {
        self.apply(&Op::Advance);
        for run in &self.model.runs {
            let read = self.engine.run(run.id).unwrap();
            let (place, state) = match run.at {
                At::Later | At::Retry => (Place::Scheduled, StateType::Scheduled),
                At::Line if self.model.blocked(run) => (Place::Blocked, StateType::Scheduled),
                At::Line => (Place::Ready, StateType::Scheduled),
                At::Claimed { state, .. } => (Place::Claimed, state),
                At::Paused => (Place::Paused, StateType::Paused),
                At::Finished(state) => (Place::Finished, state),
            };
            assert_eq!((read.place, read.state_type), (place, Some(state)), "{run:?}");
            assert_eq!(self.filtered_place(run.id), place, "{run:?}");
            if run.at == At::Line {
                let stops = self.engine.blocked_by(run.id).unwrap();
                let blocks = |stop: &Stop| {
                    matches!(
                        stop,
                        Stop::Limit { .. } | Stop::PoolPaused(_) | Stop::QueuePaused(_)
                    )
                };
                assert_eq!(
                    stops.iter().any(blocks),
                    place == Place::Blocked,
                    "{run:?}: {stops:?}"
                );
            }
            assert_eq!(
                (read.priority.level(), read.run_count),
                (run.level, run.starts),
                "{run:?}"
            );
        }
    }

    /// Opens everything and lets all that is left run, in order.
    fn run_out(&mut self) {
        self.remove_names();
        self.apply(&Op::Limit(None));
        for pool in 0..2 {
            self.apply(&Op::PoolLimit(pool, None));
            self.apply(&Op::PausePool(pool, false));
        }
        for queue in 0..6 {
            self.apply(&Op::QueueLimit(queue, None));
            self.apply(&Op::PauseQueue(queue, false));
        }
        while self.model.count(|run| !matches!(run.at, At::Finished(_))) > 0 {
            for run in 0..self.model.runs.len() {
                self.apply(&Op::Resume(run));
            }
            while self.model.claim(&[0, 1, 2, 3, 4, 5]).is_ok() {
                self.apply(&Op::ClaimAll);
                self.agree();
            }
            for pick in 0..self.claims.len() {
                self.apply(&Op::Complete(pick * 8 + 1, StateType::Completed));
            }
            self.apply(&Op::Wait(10_000));
            self.apply(&Op::Advance);
            self.agree();
        }
    }
}

/// Histories of each test: a hundred times as many with `TENFOLD_DEEP`.
fn histories() -> ProptestConfig {
    let deep = std::env::var_os("TENFOLD_DEEP").is_some();
    ProptestConfig {
        cases: if deep { 200_000 } else { 2_000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(histories())]

    /// C1, C2, C3, L1, L2, R1, R2, R5, T1 and E1 over histories of up to 80 calls.
    #[test]
    fn c1_c2_c3_l1_r1_r2_the_engine_agrees_with_one_scanned_list(ops in prop::collection::vec(op(0), 20..80)) {
        let mut both = Both::new();
        for op in &ops {
            both.apply(op);
            both.agree();
        }
        both.agree_on_runs();
        both.run_out();
    }

    /// L1 to L4 and L7, L8, C4: the same with up to three named limits for a run, which are changed, deleted and taken by name in
    /// the middle, and with queues in strict order.
    #[test]
    fn l1_l2_l3_l4_the_engine_agrees_with_one_scanned_list(ops in prop::collection::vec(op_with_names(), 20..100)) {
        let mut both = Both::with_names();
        for op in &ops {
            both.apply(op);
            both.agree();
            if !matches!(op, Op::Wait(_) | Op::Jump(_)) {
                // To read a limit is a call, too: what is due at this very instant happens first.
                both.apply(&Op::Advance);
                both.agree_on_limits();
            }
        }
        both.agree_on_runs();
        both.run_out();
    }
}
