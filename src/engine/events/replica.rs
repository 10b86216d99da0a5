//! Rows into a document: a copy of an engine that follows it.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use uuid::Uuid;

use super::collect::{Alarm, DeploymentRecord, Header, Limits, RunRecord};
use super::{Event, Happened, Kind, Row};
use crate::engine::error::Error;
use crate::engine::export::{DeploymentDoc, Document, RunDoc, Wait, run_doc};
use crate::filter::Entity;
use crate::ids::{DeploymentId, RunId, ScheduleId};
use crate::model::Place;

/// A copy of an engine: a [`Document`] that follows the events of rows. At each version at which the engine was exported since, it is that export,
/// byte for byte, once the events up to it were applied: an export puts a mark into the streams.
///
/// Between two exports it lacks what has no version: when queues were last asked for work.
///
/// ```
/// use tenfold::engine::{Follow, Replica};
/// use tenfold::{Engine, Scope};
///
/// let engine = Engine::new();
/// let mut events = engine.events(Follow::rows())?;
/// let mut copy = Replica::new(engine.export()?);
///
/// engine.flow("mail")?;
/// engine.submit("mail")?;
/// engine.claim(&Scope::all())?.unwrap();
/// let now = engine.export()?;
/// while let Some(event) = events.try_next().expect("the stream holds more") {
///     copy.apply(event)?;
/// }
/// assert_eq!(serde_json::to_string(&copy.document())?, serde_json::to_string(&now)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replica {
    /// Without what stands below.
    head: Document,
    runs: BTreeMap<RunId, RunDoc>,
    finished: VecDeque<RunId>,
    waits: Alarms<(RunId, Wait)>,
    plans: Alarms<(DeploymentId, ScheduleId)>,
    within: BTreeMap<RunId, i64>,
    /// The monotonic time at which the limits of `head` stood so.
    limits_at: i64,
    /// Events whose commit has not come to its end.
    open: Vec<Event>,
}

/// Timers by instant, those of the same instant in the order in which they were set.
#[derive(Clone, Debug)]
struct Alarms<K> {
    order: BTreeMap<(i64, u64), K>,
    places: HashMap<K, (i64, u64)>,
    next: u64,
}

impl<K: Copy + Eq + Hash> Alarms<K> {
    fn new(entries: impl Iterator<Item = (i64, K)>) -> Self {
        let mut alarms = Self {
            order: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
        };
        entries.for_each(|(at, key)| alarms.set(at, key));
        alarms
    }

    fn set(&mut self, at: i64, key: K) {
        self.cancel(key);
        let place = (at, self.next);
        self.next += 1;
        self.order.insert(place, key);
        self.places.insert(key, place);
    }

    fn cancel(&mut self, key: K) {
        if let Some(place) = self.places.remove(&key) {
            self.order.remove(&place);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (i64, K)> {
        self.order.iter().map(|(&(at, _), &key)| (at, key))
    }
}

/// Timers that were set in one commit, by the number under which they were.
type Set<K> = BTreeMap<u64, (i64, K)>;

impl<K: Copy + Eq + Hash> Alarms<K> {
    /// Keeps one that is as it was, remembers one that was set, takes out one that is gone.
    fn update(&mut self, key: K, alarm: Option<Alarm>, set: &mut Set<K>) {
        match alarm {
            Some(Alarm { set: None, .. }) => {}
            Some(Alarm {
                at,
                set: Some(number),
            }) => {
                self.cancel(key);
                set.insert(number, (at, key));
            }
            None => self.cancel(key),
        }
    }

    fn set_all(&mut self, set: Set<K>) {
        set.into_values().for_each(|(at, key)| self.set(at, key));
    }
}

impl Replica {
    /// A copy that begins with a document. Follow the engine first and export it then, so that nothing lies between.
    #[must_use]
    pub fn new(mut document: Document) -> Self {
        let mono = document.mono;
        let waits = std::mem::take(&mut document.waits).into_iter();
        let plans = std::mem::take(&mut document.plans).into_iter();
        let within = std::mem::take(&mut document.within).into_iter();
        document.hooks = document.hooks.moved(mono);
        Self {
            runs: (std::mem::take(&mut document.flow_runs).into_iter())
                .map(|run| (run.id, run))
                .collect(),
            finished: std::mem::take(&mut document.finished).into(),
            waits: Alarms::new(waits.map(|(left, wait, run)| (left.saturating_add(mono), (run, wait)))),
            plans: Alarms::new(plans.map(|(at, deployment, schedule)| (at, (deployment, schedule)))),
            within: within
                .map(|(run, left)| (run, left.saturating_add(mono)))
                .collect(),
            limits_at: mono,
            open: Vec::new(),
            head: document,
        }
    }

    /// The version that it describes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.head.version
    }

    /// The document. Copies it.
    #[must_use]
    pub fn document(&self) -> Document {
        let mono = self.head.mono;
        let elapsed = Duration::from_micros(u64::try_from(mono.saturating_sub(self.limits_at)).unwrap_or(0));
        let mut limits = self.head.limits.clone();
        limits.age(elapsed);
        Document {
            flow_runs: self.runs.values().cloned().collect(),
            finished: self.finished.iter().copied().collect(),
            waits: (self.waits.iter())
                .map(|(at, (run, wait))| (at.saturating_sub(mono), wait, run))
                .collect(),
            plans: (self.plans.iter())
                .map(|(at, (deployment, schedule))| (at, deployment, schedule))
                .collect(),
            within: (self.within.iter())
                .map(|(&run, &end)| (run, end.saturating_sub(mono)))
                .collect(),
            limits,
            hooks: self.head.hooks.clone().moved(mono.saturating_neg()),
            ..self.head.clone()
        }
    }

    /// Takes one event, in order. Those of states, and of versions that the document has already, change nothing; the others do at the end of
    /// their commit.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] when events are missing before this commit. Begin again with a new export.
    pub fn apply(&mut self, event: Event) -> Result<(), Error> {
        let Happened::Row(Row(Kind::Commit(header))) = &event.what else {
            if !matches!(
                event.what,
                Happened::State(_) | Happened::Forgotten(_) | Happened::GivenUp(_)
            ) {
                self.open.push(event);
            }
            return Ok(());
        };
        let open = std::mem::take(&mut self.open);
        let stands = (self.head.version, self.head.mono, self.head.wall);
        // A mark of the same instant may tell who was asked for work since, which has no version.
        let is_mark = header.from == event.version;
        if header.stands(event.version) < stands || (header.stands(event.version) == stands && !is_mark) {
            return Ok(());
        }
        if self.head.version < header.from {
            return Err(Error::Document {
                path: "events".to_owned(),
                problem: format!(
                    "those between version {} and version {} are missing",
                    self.head.version, header.from
                ),
            });
        }
        let (mut waits, mut plans) = (Set::new(), Set::new());
        for event in open {
            match event.what {
                Happened::Removed { entity, id } => self.remove(entity, id),
                Happened::Row(Row(kind)) => self.put(kind, header, &mut waits, &mut plans),
                Happened::State(_) | Happened::Forgotten(_) | Happened::GivenUp(_) => {}
            }
        }
        self.waits.set_all(waits);
        self.plans.set_all(plans);
        self.end(event.version, header);
        Ok(())
    }

    fn end(&mut self, version: u64, header: &Header) {
        let ended = header.ended.iter();
        self.finished
            .extend(ended.filter(|id| self.runs.get(id).is_some_and(|run| run.place == Place::Finished)));
        let head = &mut self.head;
        head.version = version;
        (head.wall, head.mono) = (header.wall, header.mono);
        head.settings = header.settings.clone();
        (head.ids, head.seq, head.token, head.totals) = (header.ids, header.seq, header.token, header.totals);
    }

    fn remove(&mut self, entity: Entity, id: Uuid) {
        let head = &mut self.head;
        match entity {
            Entity::Flow => head.flows.retain(|held| held.id.uuid() != id),
            Entity::Pool => head.work_pools.retain(|held| held.id.uuid() != id),
            Entity::Queue => head.work_queues.retain(|held| held.id.uuid() != id),
            Entity::TaskRun => head.task_runs.retain(|held| held.id.uuid() != id),
            Entity::Deployment => {
                let gone = head.deployments.iter().position(|held| held.data.id.uuid() == id);
                let Some(gone) = gone.map(|at| head.deployments.remove(at)) else {
                    return;
                };
                for schedule in gone.schedule_ids() {
                    self.plans.cancel((gone.data.id, schedule));
                }
            }
            Entity::Run => {
                let id = RunId::from_uuid(id);
                self.runs.remove(&id);
                self.within.remove(&id);
                self.head.keys.remove(&id);
                [Wait::Retry, Wait::Timeout, Wait::Pause, Wait::Lease]
                    .into_iter()
                    .for_each(|wait| self.waits.cancel((id, wait)));
                if self.finished.front() == Some(&id) {
                    self.finished.pop_front();
                } else {
                    self.finished.retain(|other| *other != id);
                }
            }
        }
    }

    fn put(
        &mut self,
        kind: Kind,
        header: &Header,
        waits: &mut Set<(RunId, Wait)>,
        plans: &mut Set<(DeploymentId, ScheduleId)>,
    ) {
        let head = &mut self.head;
        match kind {
            Kind::Flow(placed) => {
                put_at(&mut head.flows, placed.at, placed.of.data.clone(), |held| {
                    held.id.uuid()
                });
            }
            Kind::Pool(placed) => {
                put_at(&mut head.work_pools, placed.at, placed.of.data.clone(), |held| {
                    held.id.uuid()
                });
            }
            Kind::Queue(placed) => {
                put_at(&mut head.work_queues, placed.at, (*placed.of).clone(), |held| {
                    held.id.uuid()
                });
            }
            Kind::TaskRun(task_run) => {
                match head.task_runs.binary_search_by_key(&task_run.id, |held| held.id) {
                    Ok(at) => head.task_runs[at] = (*task_run).clone(),
                    Err(at) => head.task_runs.insert(at, (*task_run).clone()),
                }
            }
            Kind::Deployment(placed) => self.put_deployment(placed.at, &placed.of, plans),
            Kind::Run(record) => self.put_run(&record, waits),
            Kind::Hooks(changed) => head.hooks.apply(&changed),
            Kind::Limits(limits) => self.put_limits(&limits, header.mono),
            Kind::Commit(_) => {}
        }
    }

    fn put_deployment(
        &mut self,
        at: usize,
        record: &DeploymentRecord,
        plans: &mut Set<(DeploymentId, ScheduleId)>,
    ) {
        let doc = DeploymentDoc {
            data: record.row.data.clone(),
            record: record.record,
            limit: record.limit,
            schedules: record.schedules.clone(),
            removed: record.removed.clone(),
            refused: record.refused.clone(),
        };
        let id = record.id();
        let before = put_at(&mut self.head.deployments, at, doc, |held| held.data.id.uuid());
        for schedule in before.iter().flat_map(DeploymentDoc::schedule_ids) {
            if !record.plans.iter().any(|(other, _)| *other == schedule) {
                self.plans.cancel((id, schedule));
            }
        }
        for (schedule, alarm) in &record.plans {
            self.plans.update((id, *schedule), *alarm, plans);
        }
    }

    fn put_run(&mut self, record: &RunRecord, waits: &mut Set<(RunId, Wait)>) {
        let id = record.row.id;
        for wait in [Wait::Retry, Wait::Timeout, Wait::Pause, Wait::Lease] {
            let alarm = record.waits.iter().find(|(kind, _)| *kind == wait);
            self.waits
                .update((id, wait), alarm.map(|(_, alarm)| *alarm), waits);
        }
        match record.within {
            Some(end) => drop(self.within.insert(id, end)),
            None => drop(self.within.remove(&id)),
        }
        match record.key {
            Some(key) => drop(self.head.keys.insert(id, key)),
            None => drop(self.head.keys.remove(&id)),
        }
        let doc = RunDoc {
            overtaken: record.overtaken.clone(),
            payload: record.payload,
            ..run_doc(&record.row, record.claim, &record.limits)
        };
        self.runs.insert(id, doc);
    }

    fn put_limits(&mut self, limits: &Limits, mono: i64) {
        self.head.limits = limits.state.clone();
        self.limits_at = mono;
        let Some(moved) = &limits.moved else { return };
        let now = |before: usize| moved.get(before).copied().flatten();
        for run in self.runs.values_mut() {
            for limit in &mut run.limits {
                limit.limit = limit.limit.and_then(now);
            }
            let counts = run
                .overtaken
                .iter()
                .filter_map(|&(limit, times)| Some((now(limit)?, times)));
            run.overtaken = counts.collect();
        }
        for deployment in &mut self.head.deployments {
            deployment.limit = deployment.limit.and_then(now);
        }
    }
}

/// Puts something at its place in a list; answers what it replaces.
fn put_at<T>(list: &mut Vec<T>, at: usize, value: T, id: impl Fn(&T) -> Uuid) -> Option<T> {
    match list.get_mut(at) {
        Some(held) if id(held) == id(&value) => return Some(std::mem::replace(held, value)),
        _ => list.insert(at.min(list.len()), value),
    }
    None
}
