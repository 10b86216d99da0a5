//! The engine's state, and the ways in which one run moves through it.
//!
//! Everything here happens under the engine's one lock, at one instant of engine time, and knows nothing of locks,
//! clocks or wake-ups: what is to be woken is collected in [`Effects`] and happens after the lock is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::active::{Active, First};
use super::builder::Settings;
use super::events::Feed;
use super::finished::Finished;
use super::handover::Handover;
use super::ids::{Ids, row_of};
use super::keys::Keys;
use super::limits::Limits;
use super::payload::Payload;
use super::ready::{Line, Ready, Spot};
use super::signal::{Bell, StopReason, StopSignal};
use super::timers::{TimerKey, Timers};
use super::wait::Cell;
use crate::catalog::{Catalog, Polled, RunBody, RunRow, Said, TagSets, When};
use crate::clock::Now;
use crate::ids::{RunId, ScheduleId};
use crate::limit::{Grant, LimitKey};
use crate::model::{Place, Run, StateType, Text};
use crate::priority::Priority;

/// What the engine needs to move a run out of its place. Beside the run's row, under the same number.
#[derive(Debug, Default)]
pub(crate) enum Work {
    /// No run of the engine's own, or a finished one.
    #[default]
    None,
    /// Waits for its due instant, in its queue's `later`.
    Later,
    /// Waits for its retry; the timer counts monotonic time.
    Retry(TimerKey),
    /// Stands in line.
    Line(Spot),
    /// Due, but held back until an earlier run of its schedule has ended.
    Buffered,
    /// Handed out.
    Claimed(Held),
    /// Between two attempts, with its slots.
    Kept(super::kept::Kept),
    /// Stopped in the middle; the timer ends it.
    Paused(Option<TimerKey>),
}

/// A claim, from the engine's side.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) token: u64,
    /// Set while the attempt runs under a timeout.
    pub(crate) timer: Option<TimerKey>,
    pub(crate) signal: Option<Arc<StopSignal>>,
    /// The worker has promised to report the end of the attempt, whatever happens; so a timeout asks and waits.
    pub(crate) supervised: bool,
    pub(crate) timed_out: bool,
    /// The run goes on after a pause, which is no new start.
    pub(crate) resumed: bool,
    /// Its slots of named and deployment limits; none when it is under no such limit.
    pub(crate) grant: Option<Grant>,
    /// Set while the worker has to show that it is alive.
    pub(crate) lease: Option<Box<super::lease::Leased>>,
}

/// Something that becomes due by the wall clock, besides runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WallEvent {
    /// A schedule may have to be planned further.
    Plan { deployment: u32, schedule: ScheduleId },
}

/// Something that becomes due by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MonoEvent {
    Retry {
        row: u32,
    },
    Timeout {
        row: u32,
    },
    PauseOver {
        row: u32,
    },
    /// The lease of a claim was not extended in time.
    Lapse {
        row: u32,
    },
    /// A limit that decays has room for the first that waits for it.
    Room {
        limit: LimitKey,
    },
    /// A lease of slots may have lapsed.
    Lease,
    /// A hook has something to do: a lease that lapses, a delay that ends.
    Deliveries,
}

/// One instant on both clocks, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    pub(crate) wall: i64,
    pub(crate) mono: i64,
}

impl From<Now> for Instant {
    fn from(now: Now) -> Self {
        Self {
            wall: now.wall.timestamp_micros(),
            mono: i64::try_from(now.mono.as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// What the engine keeps of a deployment besides its data.
#[derive(Debug)]
pub(crate) struct DeploymentWork {
    /// Its own limit, in the book; none while it is unlimited.
    pub(crate) limit: Option<LimitKey>,
    /// Its unfinished runs.
    pub(crate) active: First,
    /// What its runs have in common.
    pub(crate) template: Arc<RunBody>,
    /// What the parameters of its runs must fit.
    pub(crate) schema: Option<Arc<super::schema::Schema>>,
    pub(crate) schedules: Vec<super::plan::ScheduleWork>,
    /// Schedules that an edit removed and of which something must be remembered, oldest first.
    pub(crate) removed: Vec<super::plan::Removed>,
    /// Its new runs in line, while its limit makes more of a refusal than to let them wait.
    pub(crate) collision: Option<Box<super::collision::Waiting>>,
}

impl DeploymentWork {
    /// Runs that its own limit has refused, while that decides anything.
    pub(crate) fn refused(&self) -> Vec<RunId> {
        let waiting = self.collision.as_ref();
        waiting.map_or_else(Vec::new, |waiting| waiting.decided.iter().copied().collect())
    }
}

#[derive(Debug, Default)]
pub(crate) struct QueueWork {
    pub(crate) held: u32,
    pub(crate) waiting: usize,
    /// Scheduled runs by (due, sequence).
    pub(crate) later: BTreeSet<(i64, u64, u32)>,
    /// Runs that wait for a retry, by (estimated due, sequence).
    pub(crate) retrying: BTreeSet<(i64, u64, u32)>,
    /// Runs that kept their slots and wait for a worker.
    pub(crate) holding: super::kept::Holding,
}

#[derive(Debug, Default)]
pub(crate) struct PoolWork {
    pub(crate) held: u32,
}

/// What is to happen once the lock is gone.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// There may be work for a claimer, or an earlier deadline.
    pub(crate) ring: bool,
    /// Who is told so; filled when the call has ended.
    pub(crate) bells: Vec<Arc<Bell>>,
    pub(crate) stops: Vec<(Arc<StopSignal>, StopReason)>,
    /// Who waits for the end of a run, with the run as it ended.
    pub(crate) ended: Vec<(Vec<Arc<Cell>>, Run)>,
    /// What runs that have ended carried.
    pub(crate) spent: Vec<Payload>,
    /// What `tracing` is told.
    pub(crate) traces: super::trace::Traces,
}

/// Counts since the engine was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Runs accepted, from submissions and schedules.
    pub accepted: u64,
    /// Attempts handed out.
    pub claimed: u64,
    /// Runs that ended COMPLETED.
    pub completed: u64,
    /// Runs that ended FAILED.
    pub failed: u64,
    /// Runs that ended CRASHED.
    pub crashed: u64,
    /// Runs that ended CANCELLED.
    pub cancelled: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Occurrences of schedules that were missed and did not run, of those that had been planned or lay within the
    /// catch-up window. Older ones are never made, and not counted.
    pub missed: u64,
    /// Occurrences that ended because an earlier run of their schedule had not.
    #[serde(default)]
    pub skipped: u64,
}

/// All state of an engine.
// The order of the fields is kept: what every change writes lies together, right behind the lock, so that few cache lines
// go from one processor to the next with it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Core {
    /// A call is inside. Found set by the next call, it says that the last one panicked.
    pub(crate) busy: bool,
    pub(crate) stopped: bool,
    /// Some deployment has enforced a schema.
    pub(crate) enforces: bool,
    pub(crate) held: u32,
    pub(crate) version: u64,
    /// Engine time in microseconds; neither goes back.
    pub(crate) wall: i64,
    pub(crate) mono: i64,
    /// How far the clock, having gone back, is behind `wall`.
    pub(crate) behind: i64,
    /// How far monotonic time is ahead of the clock, because it goes on from an imported document.
    pub(crate) mono_ahead: i64,
    pub(crate) seq: u64,
    pub(crate) token: u64,
    pub(crate) effects: Effects,
    /// Who is told when there may be work. Here, so that a call in which nobody listens takes no second lock.
    pub(crate) bells: Vec<Arc<Bell>>,
    /// Waiting runs by lane.
    pub(crate) waiting: [u32; Priority::LEVELS],
    pub(crate) waiting_total: usize,
    /// Of those, runs that are held back until an earlier run of their schedule has ended.
    pub(crate) buffered_total: usize,
    pub(crate) scheduled_total: usize,
    pub(crate) paused_total: usize,
    /// Runs that kept their slots and wait for a worker.
    pub(crate) holding_total: usize,
    pub(crate) totals: Totals,
    /// First due instant of each queue that has scheduled runs.
    pub(crate) due: BTreeSet<(i64, u32)>,
    /// Runs that end unless somebody has claimed them by an instant, by (instant, row).
    pub(crate) expiries: BTreeSet<(i64, u32)>,
    pub(crate) wall_timers: Timers<WallEvent>,
    pub(crate) mono_timers: Timers<MonoEvent>,
    pub(crate) finished: Finished,
    pub(crate) settings: Settings,
    pub(crate) catalog: Catalog,
    pub(crate) ready: Ready,
    /// The one truth about named limits and those of deployments.
    pub(crate) limits: Limits,
    pub(crate) handover: Handover,
    pub(crate) ids: Ids,
    pub(crate) work: Vec<Work>,
    pub(crate) active: Active,
    pub(crate) deployments: Vec<Option<DeploymentWork>>,
    /// How many deployments have a collision strategy besides waiting.
    pub(crate) collisions: usize,
    pub(crate) queues: Vec<QueueWork>,
    pub(crate) pools: Vec<PoolWork>,
    /// Rows of pools in the order of their making.
    pub(crate) pool_order: Vec<u32>,
    /// Monotonic instants at which started runs are over their time in all, by row.
    pub(crate) within: HashMap<u32, i64>,
    pub(crate) polled: Polled,
    /// What the runs of a flow have in common, for those that were submitted without a deployment; made anew when it is missing.
    pub(crate) flow_bodies: HashMap<u32, Arc<RunBody>>,
    /// Idempotency keys, by the runs that have them.
    pub(crate) keys: Keys,
    /// The tags that runs were given last.
    pub(crate) tag_sets: TagSets,
    /// The task runs of each run that has any, in the order of recording.
    pub(crate) tasks: HashMap<u32, Vec<u32>>,
    /// Those that run, by row.
    pub(crate) steps: HashMap<u32, super::steps::Step>,
    /// What runs carry, by row.
    pub(crate) payloads: HashMap<u32, Payload>,
    /// Who waits until a submission fits; each belongs to a future of the host.
    pub(crate) rooms: super::room::Rooms,
    /// Who waits for the end of which run; each belongs to a `Wait` of the host.
    pub(crate) waiters: HashMap<RunId, Vec<Arc<Cell>>>,
    pub(crate) feed: Feed,
    /// What waits to be delivered.
    pub(crate) outbox: super::hooks::Outbox,
}

impl Core {
    /// A new engine's state: nothing at all.
    pub(crate) fn new(settings: Settings, seed: u64, now: Now) -> Self {
        let mut core = Self {
            limits: Limits::new(settings.limits),
            settings,
            catalog: Catalog::default(),
            ready: Ready::default(),
            handover: Handover::default(),
            ids: Ids::new(seed),
            version: 0,
            wall: i64::MIN,
            mono: i64::MIN,
            behind: 0,
            mono_ahead: 0,
            work: Vec::new(),
            active: Active::default(),
            deployments: Vec::new(),
            collisions: 0,
            queues: Vec::new(),
            pools: Vec::new(),
            pool_order: Vec::new(),
            due: BTreeSet::new(),
            expiries: BTreeSet::new(),
            wall_timers: Timers::default(),
            mono_timers: Timers::default(),
            held: 0,
            waiting: [0; Priority::LEVELS],
            waiting_total: 0,
            buffered_total: 0,
            scheduled_total: 0,
            paused_total: 0,
            holding_total: 0,
            within: HashMap::new(),
            finished: Finished::default(),
            polled: Polled::default(),
            flow_bodies: HashMap::new(),
            keys: Keys::default(),
            tag_sets: TagSets::default(),
            seq: 0,
            token: 0,
            totals: Totals::default(),
            effects: Effects::default(),
            bells: Vec::new(),
            tasks: HashMap::new(),
            steps: HashMap::new(),
            payloads: HashMap::new(),
            rooms: super::room::Rooms::default(),
            waiters: HashMap::new(),
            feed: Feed::default(),
            outbox: super::hooks::Outbox::default(),
            stopped: false,
            enforces: false,
            busy: false,
        };
        core.ready.set_bypass_bound(core.settings.bypass_bound);
        core.observe(now.into());
        core
    }

    /// What the call just made has to wake, if anything.
    pub(crate) fn take_effects(&mut self) -> Option<Effects> {
        if self.rooms.any_untold() {
            self.tell_rooms();
        }
        let effects = &mut self.effects;
        if std::mem::take(&mut effects.ring) {
            // Who was told and has not listened since need not be told again.
            let deaf = self.bells.iter().filter(|bell| !bell.is_rung());
            effects.bells.extend(deaf.cloned());
        }
        let any = !effects.bells.is_empty()
            || !effects.stops.is_empty()
            || !effects.ended.is_empty()
            || !effects.spent.is_empty()
            || !effects.traces.is_empty();
        any.then(|| std::mem::take(effects))
    }

    /// Takes the time; neither clock goes back. Answers the wall time that was seen last.
    pub(crate) fn observe(&mut self, now: Instant) -> i64 {
        let seen = self.wall;
        self.wall = if fault!(TimeGoesBack) {
            now.wall
        } else {
            self.wall.max(now.wall)
        };
        self.behind = self.wall.saturating_sub(now.wall);
        self.mono = self.mono.max(now.mono.saturating_add(self.mono_ahead));
        seen
    }

    /// This instant of engine time.
    pub(crate) fn now(&self) -> Instant {
        Instant {
            wall: self.wall,
            mono: self.mono,
        }
    }

    /// Marks a change: it has happened now, and has this version.
    pub(crate) fn changed(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(crate) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// The row of a run, if the id names one.
    pub(crate) fn run_row(&self, id: RunId) -> Option<u32> {
        let own = row_of(id);
        if self.catalog.runs.get(own).is_some_and(|run| run.id == id) {
            return Some(own);
        }
        self.catalog
            .by_id
            .get(&id.uuid())
            .copied()
            .filter(|&row| self.catalog.runs.get(row).is_some_and(|run| run.id == id))
    }

    pub(crate) fn run(&self, row: u32) -> &RunRow {
        self.catalog
            .runs
            .get(row)
            .expect("work names rows that hold a run")
    }

    pub(crate) fn run_mut(&mut self, row: u32) -> &mut RunRow {
        self.catalog
            .runs
            .get_mut(row)
            .expect("work names rows that hold a run")
    }

    pub(crate) fn deployment_work(&mut self, row: u32) -> Option<&mut DeploymentWork> {
        self.touch_deployment(row);
        self.deployments.get_mut(row as usize)?.as_mut()
    }

    /// Gives a run a new state at `at`, with the bookkeeping that every state brings. Answers its row, for whatever else
    /// changes with the state: finding a row to write is the dearest part of a step.
    pub(crate) fn enter(
        &mut self,
        row: u32,
        state: StateType,
        name: Text,
        message: Option<Text>,
        at: i64,
    ) -> &mut RunRow {
        self.changed();
        if self.states_are_told() {
            let from = self.run(row).state;
            self.note_state(row, from, state, &name, message.as_ref());
        }
        let most = self.settings.run_states;
        let run = self.run_mut(row);
        if let Some(before) = run.state {
            debug_assert!(
                super::graph::is_arrow(before, state),
                "R3 broken: {before} -> {state}"
            );
            let left = std::mem::take(&mut run.said);
            run.past.leave(before, left, run.state_at, most);
        }
        if run.state == Some(StateType::Running) && state != StateType::Running {
            run.total_run = run
                .total_run
                .saturating_add(at.saturating_sub(run.state_at).max(0));
        }
        if state != StateType::Scheduled {
            run.next_start = When::NEVER;
        }
        run.state = Some(state);
        run.said = Said::new(state, name, message);
        run.state_at = at;
        run.updated = at;
        run
    }

    /// Puts a run whose row is filled in line; its place in line is already set.
    pub(crate) fn enter_line(&mut self, row: u32) {
        if self.run(row).place != Place::Ready {
            self.run_mut(row).place = Place::Ready;
        }
        let run = self.run(row);
        let (queue, priority, line) = (
            run.in_queue(),
            run.priority,
            Line {
                due: run.due,
                seq: run.seq,
            },
        );
        let needs = self.needs_of(row);
        let spot = self.ready.insert(queue, needs, priority, line, row);
        self.set_work(row, Work::Line(spot));
        if self.collisions > 0 {
            self.collision_in_line(row, true);
        }
        self.queues[queue as usize].waiting += 1;
        self.waiting[priority.lane()] += 1;
        self.waiting_total += 1;
        // Where there is no room, whoever gives room back rings.
        self.effects.ring |= self.ready.is_let_in(spot) && !self.engine_full();
        self.arm_limits();
    }

    /// Takes a run out of line.
    pub(crate) fn leave_line(&mut self, row: u32) {
        self.leave_line_by(row, Ready::remove);
    }

    pub(crate) fn leave_line_by(&mut self, row: u32, take: impl FnOnce(&mut Ready, Spot) -> u32) {
        let Work::Line(spot) = std::mem::take(&mut self.work[row as usize]) else {
            unreachable!("the caller found the run in line")
        };
        take(&mut self.ready, spot);
        if self.collisions > 0 {
            self.collision_in_line(row, false);
        }
        self.arm_limits();
        let run = self.run(row);
        let (queue, lane) = (run.in_queue(), run.priority.lane());
        self.queues[queue as usize].waiting -= 1;
        self.waiting[lane] -= u32::from(!fault!(LevelMiscounted) || !self.waiting_total.is_multiple_of(7));
        self.waiting_total -= 1;
        // Who waits for the engine to be idle has nothing else to hear of it.
        self.effects.ring |= self.waiting_total == 0 && self.held == 0;
    }

    /// Puts a run whose row is filled among the scheduled ones.
    pub(crate) fn enter_later(&mut self, row: u32) {
        let due = When::at(self.run(row).due);
        if self.run(row).place != Place::Scheduled || self.run(row).next_start != due {
            let run = self.run_mut(row);
            run.place = Place::Scheduled;
            run.next_start = due;
        }
        let run = self.run(row);
        let (queue, entry) = (run.in_queue(), (run.due, run.seq, row));
        let later = &mut self.queues[queue as usize].later;
        let before = later.first().map(|first| first.0);
        later.insert(entry);
        self.scheduled_total += 1;
        self.rehead_due(queue, before);
        self.set_work(row, Work::Later);
    }

    /// Takes a run out of the scheduled ones.
    pub(crate) fn leave_later(&mut self, row: u32) {
        let run = self.run(row);
        let (queue, entry) = (run.in_queue(), (run.due, run.seq, row));
        let later = &mut self.queues[queue as usize].later;
        let before = later.first().map(|first| first.0);
        later.remove(&entry);
        self.scheduled_total -= 1;
        self.rehead_due(queue, before);
        self.work[row as usize] = Work::None;
    }

    fn rehead_due(&mut self, queue: u32, before: Option<i64>) {
        let after = self.queues[queue as usize].later.first().map(|first| first.0);
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, queue));
            }
            if let Some(after) = after {
                self.due.insert((after, queue));
                // An earlier deadline is news to whoever sleeps until the old one.
                self.effects.ring |= before.is_none_or(|before| after < before);
            }
        }
    }

    pub(crate) fn leave_retry(&mut self, row: u32) {
        let Work::Retry(timer) = std::mem::take(&mut self.work[row as usize]) else {
            unreachable!("the caller found the run waiting for its retry")
        };
        self.mono_timers.cancel(timer);
        self.forget_retry(row);
    }

    pub(crate) fn forget_retry(&mut self, row: u32) {
        self.forget_delay(row);
        self.scheduled_total -= 1;
    }

    pub(crate) fn set_work(&mut self, row: u32, work: Work) {
        if self.work.len() <= row as usize {
            self.work.resize_with(row as usize + 1, Work::default);
        }
        self.work[row as usize] = work;
    }

    /// Ends a run for good. It must have left its former place.
    pub(crate) fn finish(&mut self, row: u32, state: StateType, name: Text, message: Option<Text>, at: i64) {
        let run = self.enter(row, state, name, message, at);
        run.place = Place::Finished;
        run.end = When::at(at);
        let (id, deployment) = (run.id, run.deployment);
        self.forget_limits(row);
        match state {
            StateType::Completed => self.totals.completed += 1,
            StateType::Failed => self.totals.failed += 1,
            StateType::Crashed => self.totals.crashed += 1,
            _ => self.totals.cancelled += 1,
        }
        self.set_work(row, Work::None);
        if self.collisions > 0 {
            self.collision_over(row);
        }
        if !self.within.is_empty() {
            self.within.remove(&row);
        }
        self.forget_expiry(row);
        self.forget_payload(row);
        if let Some(work) = deployment.and_then(|deployment| self.deployments[deployment as usize].as_mut()) {
            self.active.remove(&mut work.active, row);
        }
        self.finished.push((at, row, id));
        self.note_end(id);
        self.tell_waiters(row);
        self.tell_hooks(row);
        self.occurrence_ended(row);
        self.prune();
    }

    /// A run that has not started waits: it may expire.
    pub(crate) fn await_expiry(&mut self, row: u32) {
        let run = self.run(row);
        let Some(at) = run.body.expires.micros().filter(|_| run.run_count == 0) else {
            return;
        };
        // An earlier deadline is news to whoever sleeps until another.
        self.effects.ring |= self.expiries.first().is_none_or(|&(first, _)| at < first);
        self.expiries.insert((at, row));
    }

    /// A run waits no more.
    pub(crate) fn forget_expiry(&mut self, row: u32) {
        if self.expiries.is_empty() {
            return;
        }
        if let Some(at) = self.run(row).body.expires.micros() {
            self.expiries.remove(&(at, row));
        }
    }

    /// Removes finished runs that are over the count or the age. At most two for each that finishes, so no call pays for
    /// a long past.
    #[inline]
    pub(crate) fn prune(&mut self) {
        let oldest = self.wall.saturating_sub(self.settings.finished_age);
        if self.finished.len() <= self.settings.finished_runs && self.finished.begins_at() >= oldest {
            return;
        }
        self.prune_some();
    }

    /// The same for all at once.
    pub(crate) fn prune_all(&mut self) {
        while self.prune_one() {}
    }

    fn prune_some(&mut self) {
        for _ in 0..if fault!(RecordsPileUp) { 0 } else { 2 } {
            if !self.prune_one() {
                return;
            }
        }
    }

    /// Removes the oldest finished run if it is over the count or the age.
    fn prune_one(&mut self) -> bool {
        let Some((end, row, id)) = self.finished.first() else {
            return false;
        };
        let age = self.wall.saturating_sub(end);
        if self.finished.len() <= self.settings.finished_runs && age <= self.settings.finished_age {
            return false;
        }
        self.finished.pop_first();
        self.forget(row, id);
        true
    }

    /// Takes the record of a run out. It is in no place any more.
    pub(crate) fn forget(&mut self, row: u32, id: RunId) {
        self.keys.remove(&self.catalog.runs, row);
        let run = self
            .catalog
            .runs
            .remove(row)
            .expect("a run is kept until its record is taken out");
        if row_of(id) != row {
            self.catalog.by_id.remove(&id.uuid());
        }
        self.occurrence_forgotten(&run);
        self.forget_steps(row);
        self.changed();
        self.note_forgotten(id);
    }

    /// A claim may find another run.
    pub(crate) fn may_start_more(&self) -> bool {
        (self.waiting_total > 0 && !self.engine_full()) || self.holding_total > 0
    }

    pub(crate) fn engine_full(&self) -> bool {
        self.settings.limit.is_some_and(|limit| self.held >= limit)
    }
}
