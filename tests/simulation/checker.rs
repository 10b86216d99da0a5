//! The judge: it knows nothing of the engine but its events and what it answered to claims, and decides every promise from them.
//!
//! It keeps its own list of runs, its own sums of slots, its own places in line. A promise that is broken panics with its name.

mod answers;
mod collisions;
mod commits;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tenfold::engine::{Event, Happened, StateChange};
use tenfold::filter::Entity;
use tenfold::limit::{BookState, Holder};
use tenfold::model::{Collision, Overlap, Place, QueueOrder, StateType};
use tenfold::{DeploymentId, Run, RunId};
use uuid::Uuid;

/// Microseconds of the wall clock.
type At = i64;

/// A place in line: the instant, the commit that made it, and the id among those that were accepted in one commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spot {
    due: At,
    commit: u64,
    accepted: Option<RunId>,
}

impl Spot {
    fn is_before(self, other: Self) -> bool {
        (self.due, self.commit) < (other.due, other.commit)
            || ((self.due, self.commit) == (other.due, other.commit)
                && self
                    .accepted
                    .zip(other.accepted)
                    .is_some_and(|(one, two)| one < two))
    }
}

/// What a run has done with its slots between two attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slots {
    /// Nothing: each attempt takes its own.
    Own,
    /// An attempt has failed; the row will say whether it kept its slots.
    Untold,
    /// It waits for its next attempt, and has them.
    Kept,
    /// Its present attempt has those of the one before.
    PassedOn,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) run: Run,
    pub(crate) state: StateType,
    name: String,
    spot: Spot,
    /// Its place is made anew when it stands in line again.
    moves: bool,
    /// Nobody outside can know its place for sure.
    unsure: bool,
    slots: Slots,
    pub(crate) token: Option<u64>,
    attempt: u32,
    failures: u32,
    begun: Option<Duration>,
    /// Its attempt begins no earlier, though it may have been chosen before.
    pub(crate) begins: Option<DateTime<Utc>>,
    needs: Vec<(String, u64, u32)>,
}

impl Seen {
    pub(crate) fn is_claimed(&self) -> bool {
        matches!(
            self.state,
            StateType::Pending | StateType::Running | StateType::Cancelling
        )
    }

    /// It has slots: it is claimed, or kept them for its next attempt.
    fn holds(&self) -> bool {
        self.is_claimed() || self.slots == Slots::Kept
    }

    /// It waits for its first start.
    fn is_new(&self) -> bool {
        self.run.run_count == 0 && self.attempt == 0
    }

    /// It waits and, if a schedule made it, has become due.
    pub(crate) fn may_be_chosen(&self) -> bool {
        self.state == StateType::Scheduled && (self.run.place == Place::Ready || !self.run.auto_scheduled)
    }

    fn is_ready(&self) -> bool {
        self.state == StateType::Scheduled && self.run.place == Place::Ready
    }

    fn key(&self) -> Option<(DeploymentId, At)> {
        let at = self.run.expected_start_time?.timestamp_micros();
        self.run.auto_scheduled.then_some((self.run.deployment_id?, at))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Limit {
    generation: u64,
    slots: u32,
    active: bool,
    decay: f64,
    /// Held by leases, or without a holder.
    others: u64,
    level: f64,
    as_of: Duration,
    /// Its level was told before, and follows from that.
    told_once: bool,
}

impl Limit {
    fn drain(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.as_of).as_secs_f64();
        self.level = (self.level - self.decay * elapsed).max(0.0);
        self.as_of = now;
    }
}

#[derive(Clone, Debug)]
struct Queue {
    pool: Uuid,
    priority: u32,
    limit: Option<u32>,
    paused: bool,
    strict: bool,
}

#[derive(Clone, Debug)]
struct Deployment {
    limit: Option<u32>,
    overlap: Option<Overlap>,
    collision: Collision,
    fires: bool,
    updated: DateTime<Utc>,
}

/// Slots in use.
#[derive(Debug, Default)]
struct Used {
    engine: u32,
    pools: HashMap<Uuid, u32>,
    queues: HashMap<Uuid, u32>,
    deployments: HashMap<DeploymentId, u32>,
    named: BTreeMap<(String, u64), u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) runs: BTreeMap<RunId, Seen>,
    pub(crate) limits: BTreeMap<String, Limit>,
    generations: u64,
    pools: HashMap<Uuid, (Option<u32>, bool)>,
    queues: HashMap<Uuid, Queue>,
    deployments: HashMap<DeploymentId, Deployment>,
    engine_limit: Option<u32>,
    pub(crate) version: u64,
    state_version: u64,
    token: u64,
    commit: u64,
    wall: At,
    pub(crate) now: Duration,
    /// Claimed in this commit.
    fresh: Vec<RunId>,
    /// Claims that ended in this commit.
    released: Vec<RunId>,
    /// Occurrences that have become due or were called off.
    fired: BTreeMap<(DeploymentId, At), RunId>,
    /// Occurrences that are planned.
    planned: BTreeMap<(DeploymentId, At), RunId>,
    keys: BTreeMap<(Uuid, String), RunId>,
    /// When leases lapse, by token.
    pub(crate) leases: HashMap<u64, Duration>,
    /// Slots of decaying limits that were incremented by name since the last commit.
    pub(crate) poured: BTreeMap<String, f64>,
    /// The driver deletes limits in this commit.
    pub(crate) deletes: bool,
    /// Runs that the driver has deleted.
    pub(crate) deleted: BTreeSet<RunId>,
    finished_most: usize,
    /// Levels of decaying limits, as the engine says.
    told: BTreeMap<String, f64>,
    /// Since when schedules fire without a stop.
    firing: BTreeMap<DeploymentId, At>,
    /// Deployments that have changed in this commit.
    edited: BTreeSet<DeploymentId>,
    /// New runs that their deployment's limit may have refused before.
    refused: BTreeSet<RunId>,
}

fn micros(at: DateTime<Utc>) -> At {
    at.timestamp_micros()
}

impl Checker {
    pub(crate) fn new(finished_most: usize) -> Self {
        Self {
            finished_most,
            ..Self::default()
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        assert!(
            event.version >= self.version || self.commit == 0,
            "versions go back"
        );
        match &event.what {
            Happened::State(change) => {
                assert!(
                    event.version > self.state_version,
                    "two states have version {}",
                    event.version
                );
                self.state_version = event.version;
                self.state(change, micros(event.at));
            }
            Happened::Removed { entity, id } => self.removed(*entity, *id),
            Happened::Row(row) => {
                if let Some(run) = row.run() {
                    self.run(run, micros(event.at));
                } else if let Some(pool) = row.pool() {
                    self.pools
                        .insert(pool.id.uuid(), (pool.concurrency_limit, pool.is_paused));
                } else if let Some(queue) = row.queue() {
                    let seen = Queue {
                        pool: queue.work_pool_id.uuid(),
                        priority: queue.priority.get(),
                        limit: queue.concurrency_limit,
                        paused: queue.is_paused,
                        strict: queue.order == QueueOrder::StrictFifo,
                    };
                    self.queues.insert(queue.id.uuid(), seen);
                } else if let Some(deployment) = row.deployment() {
                    let schedule = deployment.schedules.first();
                    let seen = Deployment {
                        limit: deployment.concurrency_limit,
                        overlap: schedule.map(|schedule| schedule.overlap),
                        collision: (deployment.concurrency_options)
                            .map_or(Collision::Enqueue, |of| of.collision_strategy),
                        fires: !deployment.paused && schedule.is_some_and(|schedule| schedule.active),
                        updated: deployment.updated,
                    };
                    let before = self.deployments.insert(deployment.id, seen);
                    if before.is_none_or(|before| before.updated != deployment.updated) {
                        self.edited.insert(deployment.id);
                        self.firing.remove(&deployment.id);
                    }
                } else if let Some(limits) = row.limits() {
                    self.book(limits);
                } else if row.ends_commit() {
                    self.engine_limit = row.engine_limit().expect("it ends a commit");
                    self.end(event.version, micros(event.at));
                }
            }
            _ => {}
        }
    }

    /// R2, R3, R5: one step of one run.
    fn state(&mut self, change: &StateChange, at: At) {
        use StateType::{
            Cancelled, Cancelling, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled,
        };
        let Some(seen) = self.runs.get_mut(&change.run) else {
            if change.from.is_none() {
                assert_eq!(
                    change.state, Scheduled,
                    "R3 broken: a run begins {}",
                    change.state
                );
            }
            // Its row comes at the end of the commit; what it went through before is not judged.
            return;
        };
        let from = change.from.expect("R1 broken: a run was accepted twice");
        assert_eq!(
            from, seen.state,
            "R3 broken: run {} was in another state",
            change.run
        );
        let fits = match from {
            Scheduled => matches!(
                change.state,
                Scheduled | Pending | Cancelled | Failed | Crashed | Completed
            ),
            Pending => change.state != Pending && change.state != Paused,
            Running => change.state != Running && change.state != Pending,
            Cancelling => change.state == Cancelled,
            Paused => matches!(change.state, Scheduled | Cancelled | Failed),
            _ => false,
        };
        assert!(
            fits,
            "R3 broken: run {} went {from} -> {}",
            change.run, change.state
        );
        let again = change.name == "AwaitingRetry";
        match (from, change.state) {
            (_, Pending) => {
                let token = change.token.expect("a run that is handed out has its token");
                assert!(token > self.token, "R2 broken: token {token} is no new one");
                self.token = token;
                seen.token = Some(token);
                seen.attempt += 1;
                assert_eq!(
                    change.attempt, seen.attempt,
                    "R2 broken: attempts of {}",
                    change.run
                );
                if seen.slots == Slots::Kept {
                    seen.slots = Slots::PassedOn;
                } else {
                    seen.slots = Slots::Own;
                    self.fresh.push(change.run);
                }
            }
            (Pending, Scheduled) if !again => seen.attempt -= 1,
            (Running, Paused) => seen.attempt -= 1,
            (Pending, Running) => seen.begun = Some(self.now),
            _ => {}
        }
        if again {
            seen.failures += 1;
            let most = seen.run.empirical_policy.retry.retries;
            assert!(
                seen.failures <= most,
                "R5 broken: {} retries of {most}",
                seen.failures
            );
            (seen.moves, seen.unsure) = (true, true);
        }
        if change.name == "Expired" {
            let until = seen.run.expires_at.map(micros);
            assert!(
                from == Scheduled && seen.run.run_count == 0 && until.is_some_and(|until| until <= at),
                "R8 broken: run {} expired, and was of use until {until:?}",
                change.run
            );
        }
        if from == Running && change.state == Failed {
            let left = seen.failures < seen.run.empirical_policy.retry.retries;
            assert!(!left, "R5 broken: run {} failed with retries left", change.run);
        }
        if change.name == "Missed" {
            let due = seen.key().expect("S4 broken: no schedule made it").1;
            assert!(
                at - due > 15_000_000,
                "S4 broken: an occurrence is missed too early"
            );
        }
        if from == Paused && change.state == Scheduled {
            seen.moves = true;
        }
        if change.name == "TimedOut" && from != Paused {
            let begun = seen.begun.expect("R5 broken: it timed out before it began");
            let most = seen
                .run
                .empirical_policy
                .timeout
                .expect("R5 broken: it has no timeout");
            assert!(self.now >= begun + most, "R5 broken: it timed out early");
        }
        if change
            .message
            .as_deref()
            .is_some_and(|said| said.contains("lease of its worker lapsed"))
        {
            let end = seen.token.and_then(|token| self.leases.get(&token)).copied();
            assert!(
                end.is_some_and(|end| self.now >= end),
                "R5 broken: a lease lapsed early"
            );
        }
        let was = (seen.is_claimed(), seen.holds());
        (seen.state, seen.name) = (change.state, change.name.to_string());
        if was.0 && !seen.is_claimed() {
            (seen.token, seen.begun) = (None, None);
        }
        if was.0 && again {
            seen.slots = Slots::Untold;
        } else if was.1 && !seen.is_claimed() {
            seen.slots = Slots::Own;
            self.released.push(change.run);
        }
        self.collided(change.run);
    }

    fn bind(&mut self, run: &Run) -> Vec<(String, u64, u32)> {
        let named = run.limits.iter();
        let generation = |name: &str| self.limits.get(name).map(|limit| limit.generation);
        named
            .filter_map(|(name, weight)| Some((name.to_owned(), generation(name)?, weight)))
            .collect()
    }

    /// R1, R4, S: a run as it is at the end of a commit.
    fn run(&mut self, run: Run, wall: At) {
        let state = run.state_type.expect("a run has a state");
        let name = run.state_name.as_deref().unwrap_or_default().to_owned();
        let due = run.next_scheduled_start_time.map(micros);
        let commit = self.commit;
        let Some(seen) = self.runs.get(&run.id) else {
            if let Some(key) = &run.idempotency_key {
                let scope = run.deployment_id.map_or(run.flow_id.uuid(), DeploymentId::uuid);
                let before = self.keys.insert((scope, key.to_string()), run.id);
                assert_eq!(before, None, "R4 broken: key {key:?} has two runs");
            }
            let needs = self.bind(&run);
            let entered = u32::from(matches!(state, StateType::Pending | StateType::Running));
            let seen = Seen {
                state,
                name,
                spot: Spot {
                    due: due.unwrap_or(wall),
                    commit,
                    accepted: Some(run.id),
                },
                moves: false,
                unsure: false,
                slots: Slots::Own,
                token: None,
                attempt: entered,
                failures: 0,
                begun: None,
                begins: run.next_scheduled_start_time.or(run.expected_start_time),
                needs,
                run,
            };
            if let Some(key) = seen.key() {
                let again = self.fired.get(&key);
                assert_eq!(
                    again, None,
                    "S broken: an occurrence of {} has two runs",
                    seen.run.id
                );
                let twin = self.planned.insert(key, seen.run.id);
                assert_eq!(twin, None, "S broken: an occurrence is planned twice");
                assert_eq!(key.1 % 60_000_000, 0, "S1 broken: no such occurrence");
            }
            self.runs.insert(seen.run.id, seen);
            return;
        };
        assert_eq!(
            seen.state, state,
            "R3 broken: run {} changed without a state",
            run.id
        );
        let before = seen.run.priority;
        let seen = self.runs.get_mut(&run.id).expect("just found");
        let level = before != run.priority;
        let delayed = seen.name == "AwaitingRetry" && seen.run.place == Place::Scheduled;
        if level && state == StateType::Scheduled && !delayed {
            let later = seen.run.place == Place::Scheduled;
            seen.spot = Spot {
                due: if later { seen.spot.due } else { wall },
                commit,
                accepted: None,
            };
            // It may have become due in the same call.
            seen.unsure |= later != (run.place == Place::Scheduled);
        } else if level && seen.is_claimed() {
            seen.spot = Spot {
                due: wall,
                commit,
                accepted: None,
            };
        } else if seen.moves && run.place == Place::Ready {
            seen.spot = Spot {
                due: due.unwrap_or(wall),
                commit,
                accepted: None,
            };
            // Where one stands that has given up what it kept is its own affair.
            (seen.moves, seen.unsure) = (false, seen.slots == Slots::PassedOn);
        }
        if seen.slots == Slots::Untold {
            let kept = state == StateType::Scheduled && run.place == Place::Claimed;
            seen.slots = if kept { Slots::Kept } else { Slots::Own };
            if !seen.holds() {
                self.released.push(run.id);
            }
        }
        seen.begins = run.next_scheduled_start_time.or(seen.begins);
        seen.run = run;
    }

    fn removed(&mut self, entity: Entity, id: Uuid) {
        match entity {
            Entity::Run => {
                let id = RunId::from_uuid(id);
                let Some(seen) = self.runs.remove(&id) else { return };
                let taken_back = seen.run.auto_scheduled && seen.run.run_count == 0 && !seen.is_claimed();
                assert!(
                    seen.state.is_terminal() || taken_back || self.deleted.contains(&id),
                    "R1 broken: run {id} is gone, and was {}",
                    seen.state
                );
                if let Some(key) = seen.key()
                    && self.planned.get(&key) == Some(&id)
                {
                    self.planned.remove(&key);
                    // It was called off, and its record was too many, in one commit.
                    if seen.state.is_terminal() {
                        self.fired.insert(key, id);
                    }
                }
                self.keys.retain(|_, run| *run != id);
            }
            Entity::Deployment => {
                self.deployments.retain(|deployment, _| deployment.uuid() != id);
            }
            _ => {}
        }
    }

    /// L5: levels are what this computes itself; the rest is taken as it is told.
    fn book(&mut self, book: &BookState) {
        let mut gone: BTreeSet<String> = self.limits.keys().cloned().collect();
        for (number, told) in book.limits.iter().enumerate().filter(|(_, told)| !told.internal) {
            let name = &told.spec.name;
            gone.remove(name);
            if !self.limits.contains_key(name) {
                self.generations += 1;
                let limit = Limit {
                    generation: self.generations,
                    as_of: self.now,
                    ..Limit::default()
                };
                self.limits.insert(name.clone(), limit);
            }
            let limit = self.limits.get_mut(name).expect("just made");
            let leased = book
                .grants
                .iter()
                .filter(|grant| matches!(grant.holder, Holder::Lease(_)));
            let leased = leased
                .flat_map(|grant| &grant.holds)
                .filter(|(of, _)| *of == number);
            limit.others = told.anonymous + leased.map(|(_, slots)| u64::from(*slots)).sum::<u64>();
            (limit.slots, limit.active) = (told.spec.slots, told.spec.active);
            limit.drain(self.now);
            limit.decay = told.spec.slot_decay_per_second;
        }
        for name in &gone {
            let generation = self.limits[name].generation;
            let needs = |seen: &&Seen| {
                let mut needs = seen.needs.iter();
                !seen.state.is_terminal() && needs.any(|(of, number, _)| of == name && *number == generation)
            };
            let needed = self.runs.values().find(needs);
            assert!(
                self.deletes || needed.is_none(),
                "L8 broken: limit {name} is forgotten, and needed"
            );
        }
        self.limits.retain(|name, _| !gone.contains(name));
        self.told = book
            .limits
            .iter()
            .filter(|told| told.spec.slot_decay_per_second > 0.0)
            .map(|told| {
                let [upper, lower] = told.level;
                #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
                let level = (upper as f64 * 18_446_744_073_709_551_616.0 + lower as f64)
                    / (18_446_744_073_709_551_616.0 * 1e9);
                (told.spec.name.clone(), level)
            })
            .collect();
    }
}
