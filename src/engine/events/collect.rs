//! What a commit has changed: the one place where rows become events.
//!
//! Tables log which rows were touched while somebody follows rows ([`Table::follow`](crate::catalog::Table::follow)); what a run has besides its row
//! (its claim, its timers) changes with the row, or says so by [`Core::touch`]. At the end of the call each of them is looked at once.

use std::sync::Arc;

use hashbrown::HashMap;

use super::stream::Stream;
use super::{Event, Happened, Kind, MAX_STREAMS, Row, StateChange};
use crate::catalog::{DeploymentRow, RunRow, instant};
use crate::engine::builder::Settings;
use crate::engine::core::{Core, DeploymentWork, Totals, Work};
use crate::engine::error::Error;
use crate::engine::export::{ClaimDoc, RemovedDoc, ScheduleDoc, Wait};
use crate::engine::kept::{Kept, Until};
use crate::engine::timers::TimerKey;
use crate::filter::Entity;
use crate::ids::{DeploymentId, RunId};
use crate::limit::{BookState, Holder, LimitKey};
use crate::model::{StateType, Text};

/// Something at its place among others of its kind.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) at: usize,
    pub(super) of: T,
}

/// A timer: when it fires, and its place among those of the same instant when it was set in this commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alarm {
    pub(super) at: i64,
    pub(super) set: Option<u64>,
}

/// A run with all that a document says of it.
#[derive(Debug)]
pub(super) struct RunRecord {
    pub(super) row: RunRow,
    pub(super) claim: Option<ClaimDoc>,
    pub(super) waits: Vec<(Wait, Alarm)>,
    /// Monotonic end of its time in all.
    pub(super) within: Option<i64>,
    /// Fingerprint of its content, under its key.
    pub(super) key: Option<u64>,
    /// Numbers of the limits that it names.
    pub(super) limits: Vec<Option<usize>>,
    pub(super) overtaken: Vec<(usize, u32)>,
    pub(super) payload: Option<crate::engine::Kind>,
}

/// A deployment with all that a document says of it.
#[derive(Debug)]
pub(super) struct DeploymentRecord {
    pub(super) row: Arc<DeploymentRow>,
    pub(super) record: bool,
    pub(super) limit: Option<usize>,
    pub(super) schedules: Vec<ScheduleDoc>,
    pub(super) removed: Vec<RemovedDoc>,
    pub(super) refused: Vec<RunId>,
    pub(super) plans: Vec<(crate::ids::ScheduleId, Option<Alarm>)>,
}

/// The book of limits, and where each that there was before stands now.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) state: BookState,
    pub(super) moved: Option<Vec<Option<usize>>>,
}

/// The engine's own values at the end of a commit.
#[derive(Debug)]
pub(super) struct Header {
    /// The version before.
    pub(super) from: u64,
    pub(super) wall: i64,
    pub(super) mono: i64,
    pub(super) settings: Settings,
    pub(super) ids: (u64, u64),
    pub(super) seq: u64,
    pub(super) token: u64,
    pub(super) totals: Totals,
    /// Runs that have ended, in that order.
    pub(super) ended: Vec<RunId>,
}

/// What the engine keeps for its followers.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    streams: Vec<Arc<Stream>>,
    /// Somebody follows states.
    pub(crate) states: bool,
    /// Somebody follows rows.
    pub(crate) rows: bool,
    pending: Vec<Event>,
    runs: Vec<u32>,
    deployments: Vec<u32>,
    ended: Vec<RunId>,
    /// The version at the end of the last commit.
    told: u64,
    /// Timers from these numbers on were set since the last commit.
    timers: (u64, u64),
    book: u64,
    listed: Vec<LimitKey>,
    numbers: HashMap<LimitKey, usize>,
}

impl Core {
    pub(super) fn follow(&mut self, stream: Arc<Stream>) -> Result<(), Error> {
        let feed = &mut self.feed;
        if feed.streams.len() == MAX_STREAMS {
            return Err(Error::Full {
                what: "streams of events",
                waiting: MAX_STREAMS,
                capacity: MAX_STREAMS,
                asked: 1,
            });
        }
        feed.streams.push(stream);
        self.refollow();
        Ok(())
    }

    pub(super) fn unfollow(&mut self, stream: &Arc<Stream>) {
        self.feed.streams.retain(|other| !Arc::ptr_eq(other, stream));
        self.refollow();
    }

    /// Somebody came or went.
    fn refollow(&mut self) {
        let feed = &mut self.feed;
        feed.states = feed.streams.iter().any(|stream| stream.follow.states);
        let rows = feed.streams.iter().any(|stream| stream.follow.rows);
        if std::mem::replace(&mut feed.rows, rows) == rows {
            return;
        }
        let catalog = &mut self.catalog;
        catalog.runs.follow(rows);
        catalog.flows.follow(rows);
        catalog.deployments.follow(rows);
        catalog.pools.follow(rows);
        catalog.queues.follow(rows);
        catalog.task_runs.follow(rows);
        self.ready.follow_overtaken(rows);
        self.outbox.follow(rows);
        feed.told = self.version;
        feed.timers = (self.wall_timers.next_number(), self.mono_timers.next_number());
        feed.runs.clear();
        feed.deployments.clear();
        feed.ended.clear();
        self.list_limits();
    }

    /// Somebody may want to know of the states that runs enter.
    pub(crate) fn states_are_told(&self) -> bool {
        self.feed.states || Self::traces_states()
    }

    /// A run entered a state.
    pub(crate) fn note_state(
        &mut self,
        row: u32,
        from: Option<StateType>,
        state: StateType,
        name: &Text,
        message: Option<&Text>,
    ) {
        let run = self.run(row);
        let taken = state == StateType::Pending && from != Some(StateType::Pending);
        let change = StateChange {
            run: run.id,
            deployment: run.body.deployment_id,
            from,
            state,
            name: name.clone(),
            message: message.cloned(),
            // The claim counts its attempt right after this.
            attempt: run.attempt + u32::from(taken),
            token: taken.then_some(self.token),
        };
        if Self::traces_states() {
            let queue = self.run(row).body.queue_name.clone();
            self.trace_state(change.clone(), queue);
        }
        if self.feed.states {
            self.note(Happened::State(change));
        }
    }

    pub(in crate::engine) fn note(&mut self, what: Happened) {
        let event = Event {
            version: self.version,
            at: instant(self.wall),
            what,
        };
        self.feed.pending.push(event);
    }

    /// The record of a run is gone.
    pub(crate) fn note_forgotten(&mut self, id: RunId) {
        if self.feed.states {
            self.note(Happened::Forgotten(id));
        }
    }

    /// A run has changed in something that is not in its row.
    pub(crate) fn touch(&mut self, row: u32) {
        if self.feed.rows {
            self.feed.runs.push(row);
        }
    }

    /// What is kept of the schedules of a deployment may have changed.
    pub(crate) fn touch_deployment(&mut self, row: u32) {
        if self.feed.rows && self.feed.deployments.last() != Some(&row) {
            self.feed.deployments.push(row);
        }
    }

    /// A run has ended.
    pub(crate) fn note_end(&mut self, id: RunId) {
        if self.feed.rows {
            self.feed.ended.push(id);
        }
    }

    /// The end of a call: followers are told what it has changed.
    pub(crate) fn commit(&mut self) {
        if self.feed.streams.is_empty() {
            return;
        }
        if self.feed.rows && self.version != self.feed.told {
            self.collect(false);
        }
        self.deliver();
    }

    /// Puts a commit into the streams at an export, so that whoever has the document knows where it stands in them: engine time, and when queues were
    /// asked for work, which have no version.
    pub(crate) fn mark_export(&mut self) {
        if self.feed.rows {
            self.collect(true);
        }
    }

    fn deliver(&mut self) {
        if self.feed.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.feed.pending);
        for stream in &self.feed.streams {
            let wanted = pending.iter().filter(|event| stream.follow.wants(&event.what));
            if stream.push(wanted.cloned()) && !stream.bell.is_rung() {
                self.effects.bells.push(stream.bell.clone());
            }
        }
        pending.clear();
        self.feed.pending = pending;
    }

    fn row(&mut self, kind: Kind) {
        self.note(Happened::Row(Row(kind)));
    }

    fn list_limits(&mut self) -> Option<Vec<Option<usize>>> {
        let feed = &mut self.feed;
        feed.book = self.limits.book.revision();
        let listed = self.limits.book.listed();
        if listed == feed.listed {
            return None;
        }
        feed.numbers = listed.iter().copied().zip(0..).collect();
        let before = std::mem::replace(&mut feed.listed, listed);
        Some(before.iter().map(|key| feed.numbers.get(key).copied()).collect())
    }

    /// The book as a document has it: what claims and their steps hold is taken again by them.
    pub(crate) fn book_state(&self) -> BookState {
        let mut state = self.limits.book.export(self.mono_time());
        state
            .grants
            .retain(|grant| matches!(grant.holder, Holder::Lease(_)));
        state
    }

    fn collect(&mut self, all_queues: bool) {
        if self.limits.book.revision() != self.feed.book {
            let moved = self.list_limits();
            let state = self.book_state();
            self.row(Kind::Limits(Arc::new(Limits { state, moved })));
        }
        self.collect_entities(all_queues);
        self.collect_deployments();
        self.collect_runs();
        if let Some(changed) = self.outbox.changed() {
            self.row(Kind::Hooks(Arc::new(changed)));
        }
        let header = Header {
            from: std::mem::replace(&mut self.feed.told, self.version),
            wall: self.wall,
            mono: self.mono,
            settings: self.settings.clone(),
            ids: self.ids.state(),
            seq: self.seq,
            token: self.token,
            totals: self.totals,
            ended: std::mem::take(&mut self.feed.ended),
        };
        self.feed.timers = (self.wall_timers.next_number(), self.mono_timers.next_number());
        self.row(Kind::Commit(Arc::new(header)));
    }

    fn removed(&mut self, entity: Entity, ids: impl IntoIterator<Item = uuid::Uuid>) {
        for id in ids {
            self.note(Happened::Removed { entity, id });
        }
    }

    fn collect_entities(&mut self, all_queues: bool) {
        let log = self.catalog.flows.followed();
        self.removed(Entity::Flow, log.gone.into_iter().map(|held| held.data.id.uuid()));
        for row in log.rows {
            if let Some(of) = self.catalog.flows.get(row).cloned() {
                let at = self.catalog.flows.rank(row);
                self.row(Kind::Flow(Placed { at, of }));
            }
        }
        let log = self.catalog.pools.followed();
        self.removed(Entity::Pool, log.gone.into_iter().map(|held| held.data.id.uuid()));
        for row in log.rows {
            if let Some(of) = self.catalog.pools.get(row).cloned() {
                let at = self.catalog.pools.rank(row);
                self.row(Kind::Pool(Placed { at, of }));
            }
        }
        let log = self.catalog.queues.followed();
        self.removed(
            Entity::Queue,
            log.gone.into_iter().map(|held| held.data.id.uuid()),
        );
        let all = || self.catalog.queues.iter().map(|(row, _)| row).collect();
        let rows = if all_queues { all() } else { log.rows };
        self.note_queues(rows);
        let log = self.catalog.task_runs.followed();
        self.removed(
            Entity::TaskRun,
            log.gone.into_iter().map(|held| held.data.id.uuid()),
        );
        for row in log.rows {
            if let Some(held) = self.catalog.task_runs.get(row) {
                let data = Arc::new(held.data.clone());
                self.row(Kind::TaskRun(data));
            }
        }
    }

    fn note_queues(&mut self, rows: Vec<u32>) {
        let polled = self.polled.at(self.wall);
        for row in rows {
            if let Some(held) = self.catalog.queues.get(row) {
                let of = Arc::new(polled.queue(row, held));
                let at = self.catalog.queues.rank(row);
                self.row(Kind::Queue(Placed { at, of }));
            }
        }
    }

    fn collect_deployments(&mut self) {
        let log = self.catalog.deployments.followed();
        self.removed(
            Entity::Deployment,
            log.gone.into_iter().map(|held| held.data.id.uuid()),
        );
        let mut rows = log.rows;
        rows.append(&mut self.feed.deployments);
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            if let Some(held) = self.catalog.deployments.get(row).cloned() {
                let of = Arc::new(self.deployment_record(row, held));
                let at = self.catalog.deployments.rank(row);
                self.row(Kind::Deployment(Placed { at, of }));
            }
        }
    }

    fn deployment_record(&self, number: u32, row: Arc<DeploymentRow>) -> DeploymentRecord {
        let work = self.deployments.get(number as usize).and_then(Option::as_ref);
        let schedules = work.map_or(&[][..], |work| &work.schedules);
        let removed = work.map_or(&[][..], |work| &work.removed);
        let all = schedules
            .iter()
            .chain(removed.iter().map(|removed| &removed.work));
        let alarm = |timer: TimerKey| timer.alarm(self.feed.timers.0);
        DeploymentRecord {
            row,
            record: work.is_none(),
            limit: work.and_then(|work| self.feed.numbers.get(&work.limit?).copied()),
            schedules: schedules.iter().map(|work| self.schedule_doc(work)).collect(),
            removed: removed.iter().map(|removed| self.removed_doc(removed)).collect(),
            refused: work.map_or_else(Vec::new, DeploymentWork::refused),
            plans: all.map(|work| (work.id, work.timer.map(alarm))).collect(),
        }
    }

    fn collect_runs(&mut self) {
        let log = self.catalog.runs.followed();
        self.removed(Entity::Run, log.gone.into_iter().map(|run| run.id.uuid()));
        let mut rows = log.rows;
        if !fault!(LeaseUntold) {
            rows.append(&mut self.feed.runs);
        }
        self.ready.take_overtaken(&mut rows);
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            if let Some(run) = self.catalog.runs.get(row).cloned() {
                let record = Arc::new(self.run_record(row, run));
                self.row(Kind::Run(record));
            }
        }
    }

    fn run_record(&self, number: u32, row: RunRow) -> RunRecord {
        let alarm = |timer: TimerKey| timer.alarm(self.feed.timers.1);
        let (mut waits, mut overtaken) = (Vec::new(), Vec::new());
        let work = &self.work[number as usize];
        match work {
            Work::Retry(timer)
            | Work::Kept(Kept {
                until: Until::Timer(timer),
                ..
            }) => waits.push((Wait::Retry, alarm(*timer))),
            Work::Paused(Some(timer)) => waits.push((Wait::Pause, alarm(*timer))),
            Work::Claimed(held) => {
                waits.extend(held.timer.map(|timer| (Wait::Timeout, alarm(timer))));
                let lease = held.lease.as_ref().and_then(|lease| lease.timer);
                waits.extend(lease.map(|timer| (Wait::Lease, alarm(timer))));
            }
            Work::Line(_) => overtaken = self.overtaken_of(number, &self.feed.numbers),
            _ => {}
        }
        let held = self.keys.holds(&self.catalog.runs, number);
        let key = held.then_some(row.body.fingerprint);
        let limits = crate::engine::export::limit_numbers(&row, &self.feed.numbers);
        RunRecord {
            claim: ClaimDoc::of(work),
            waits,
            within: self.within.get(&number).copied(),
            key,
            limits,
            overtaken,
            payload: (self.payload_of(number)).map(|payload| payload.kind()),
            row,
        }
    }
}

impl TimerKey {
    fn alarm(self, before: u64) -> Alarm {
        let (at, number) = (self.at(), self.number());
        Alarm {
            at,
            set: (before <= number).then_some(number),
        }
    }
}

impl Header {
    /// Where it stands among others.
    pub(super) fn stands(&self, version: u64) -> (u64, i64, i64) {
        (version, self.mono, self.wall)
    }
}

/// Names the deployment of a record.
impl DeploymentRecord {
    pub(super) fn id(&self) -> DeploymentId {
        self.row.data.id
    }
}
