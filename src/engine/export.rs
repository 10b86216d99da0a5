//! Moving an engine, the first half: a document of one instant.
//!
//! The document holds what cannot be derived: the entities, every run with its place in line, claims with their fencing
//! tokens, what is left of retries and timeouts, used occurrences, keys, and the state of the id generator. Counts,
//! indexes and the ready order are made anew. Two exports of one version are equal byte for byte.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Engine;
use super::builder::Settings;
use super::core::{Core, DeploymentWork, MonoEvent, Totals, WallEvent, Work};
use super::error::Error;
use super::hooks::{OutboxCopy, OutboxDoc};
use super::payload::Kind;
use super::plan::{Removed, ScheduleWork};
use crate::catalog::{CatalogView, Left, RunRow};
use crate::ids::{DeploymentId, FlowId, QueueId, RunId, ScheduleId, TaskRunId};
use crate::limit::{BookState, LimitKey};
use crate::model::{
    CreatedBy, Deployment, DeploymentSchedule, Flow, Object, Place, Retry, StateType, TaskRun, Text,
    WorkPool, WorkQueue,
};
use crate::priority::Priority;

pub(super) const FORMAT: &str = "tenfold";
pub(super) const VERSION: u32 = 1;

/// Everything an engine held at one instant. Serialises to JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub(super) format: String,
    pub(super) format_version: u32,
    pub(super) version: u64,
    pub(super) wall: i64,
    /// Monotonic time, from which what remains of timers counts; the imported engine goes on from it.
    #[serde(default)]
    pub(super) mono: i64,
    pub(super) settings: Settings,
    pub(super) ids: (u64, u64),
    pub(super) seq: u64,
    pub(super) token: u64,
    pub(super) totals: Totals,
    pub(super) flows: Vec<Flow>,
    pub(super) work_pools: Vec<WorkPool>,
    pub(super) work_queues: Vec<WorkQueue>,
    pub(super) deployments: Vec<DeploymentDoc>,
    pub(super) flow_runs: Vec<RunDoc>,
    pub(super) task_runs: Vec<TaskRun>,
    /// Finished runs, oldest first.
    pub(super) finished: Vec<RunId>,
    /// Plan timers in their order.
    pub(super) plans: Vec<(i64, DeploymentId, ScheduleId)>,
    /// What runs wait for by the monotonic clock, with the microseconds that remain, in their order.
    pub(super) waits: Vec<(i64, Wait, RunId)>,
    /// Named limits, those of deployments, and leases; what claims hold is taken again by them.
    #[serde(default)]
    pub(super) limits: BookState,
    /// What is left to runs of their time in all, in microseconds.
    #[serde(default)]
    pub(super) within: BTreeMap<RunId, i64>,
    /// Completion hooks, with what waits in them.
    #[serde(default, skip_serializing_if = "OutboxDoc::is_empty")]
    pub(super) hooks: OutboxDoc,
    /// Idempotency keys: fingerprint of the content, by run.
    pub(super) keys: BTreeMap<RunId, u64>,
}

impl Document {
    /// The version of the engine that it describes.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DeploymentDoc {
    pub(super) data: Deployment,
    /// Loaded as a record only.
    pub(super) record: bool,
    /// The number of its own limit among the document's.
    #[serde(default)]
    pub(super) limit: Option<usize>,
    pub(super) schedules: Vec<ScheduleDoc>,
    #[serde(default)]
    pub(super) removed: Vec<RemovedDoc>,
    /// Runs that its own limit has refused, while that decides anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) refused: Vec<RunId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ScheduleDoc {
    pub(super) id: ScheduleId,
    pub(super) cursor: i64,
    pub(super) used: Vec<(i64, RunId)>,
    pub(super) planned: Vec<(i64, RunId)>,
    /// Planned because somebody asked for it.
    #[serde(default)]
    pub(super) asked: Vec<(i64, RunId)>,
    /// Due and not ended.
    #[serde(default)]
    pub(super) live: Vec<RunId>,
    /// Waits until the last of those has ended.
    #[serde(default)]
    pub(super) buffered: Option<RunId>,
}

/// A schedule that was removed, with what must be remembered of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RemovedDoc {
    pub(super) data: DeploymentSchedule,
    pub(super) work: ScheduleDoc,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wait {
    Retry,
    Timeout,
    Pause,
    Lease,
}

impl Wait {
    fn of(event: MonoEvent) -> Option<(Self, u32)> {
        Some(match event {
            MonoEvent::Retry { row } => (Self::Retry, row),
            MonoEvent::Timeout { row } => (Self::Timeout, row),
            MonoEvent::PauseOver { row } => (Self::Pause, row),
            MonoEvent::Lapse { .. } if fault!(ExportLosesLeases) => return None,
            MonoEvent::Lapse { row } => (Self::Lease, row),
            // They follow from the limits, from who waits, and from the hooks.
            MonoEvent::Room { .. } | MonoEvent::Lease | MonoEvent::Deliveries => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a document, each with its own key"
)]
pub(super) struct ClaimDoc {
    /// The run goes on after a pause.
    #[serde(default)]
    pub(super) resumed: bool,
    pub(super) token: u64,
    /// Nobody has it: the run is between two attempts, with its slots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) kept: bool,
    pub(super) supervised: bool,
    pub(super) timed_out: bool,
    #[serde(default)]
    pub(super) lease: Option<LeaseDoc>,
}

/// A lease; what remains of it is among the waits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LeaseDoc {
    /// Microseconds.
    pub(super) span: i64,
    pub(super) retry: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LeftDoc {
    pub(super) at: i64,
    pub(super) state: StateType,
    pub(super) name: Text,
    pub(super) message: Option<Text>,
}

impl ClaimDoc {
    /// What a document says of who has a run, or of whom its slots are kept for.
    pub(super) fn of(work: &Work) -> Option<Self> {
        match work {
            Work::Claimed(held) => Some(Self {
                resumed: held.resumed,
                token: held.token,
                kept: false,
                supervised: held.supervised,
                timed_out: held.timed_out,
                lease: held.lease.as_ref().map(|lease| LeaseDoc {
                    span: lease.span,
                    retry: lease.retry,
                }),
            }),
            Work::Kept(kept) => Some(Self {
                resumed: false,
                token: kept.token,
                kept: true,
                supervised: false,
                timed_out: false,
                lease: None,
            }),
            _ => None,
        }
    }
}

impl DeploymentDoc {
    /// Its schedules, removed ones included.
    pub(super) fn schedule_ids(&self) -> impl Iterator<Item = ScheduleId> {
        let removed = self.removed.iter().map(|removed| removed.work.id);
        self.schedules.iter().map(|schedule| schedule.id).chain(removed)
    }
}

impl LeftDoc {
    fn of(left: &Left) -> Self {
        Self {
            at: left.at,
            state: left.kind,
            name: left.name(),
            message: left.message(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunDoc {
    pub(super) id: RunId,
    pub(super) name: Text,
    pub(super) flow_id: FlowId,
    pub(super) deployment_id: Option<DeploymentId>,
    pub(super) work_queue_id: Option<QueueId>,
    pub(super) work_queue_name: Option<Text>,
    pub(super) priority: Priority,
    pub(super) place: Place,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) due: i64,
    pub(super) seq: u64,
    pub(super) state: Option<StateType>,
    pub(super) state_name: Text,
    pub(super) state_at: i64,
    pub(super) message: Option<Text>,
    /// States before this one, oldest first, and how many were let go after the third.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) past: Vec<LeftDoc>,
    #[serde(default)]
    pub(super) past_dropped: u32,
    pub(super) run_count: u32,
    pub(super) attempt: u32,
    pub(super) expected_start: Option<i64>,
    pub(super) next_start: Option<i64>,
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) total_run: i64,
    pub(super) result: Option<Value>,
    pub(super) parameters: Object,
    pub(super) tags: Vec<Text>,
    pub(super) labels: Object,
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub(super) context: Object,
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub(super) job_variables: Object,
    pub(super) idempotency_key: Option<Text>,
    pub(super) retry: Retry,
    #[serde(with = "crate::model::maybe_seconds")]
    pub(super) timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<i64>,
    pub(super) auto_scheduled: bool,
    pub(super) created_by: Option<CreatedBy>,
    pub(super) parent_task_run_id: Option<TaskRunId>,
    pub(super) deployment_version: Option<Text>,
    pub(super) flow_version: Option<Text>,
    pub(super) claim: Option<ClaimDoc>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) limits: Vec<RunLimitDoc>,
    /// What it carries and the document does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Kind>,
    /// How often it was overtaken, by number of the limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) overtaken: Vec<(usize, u32)>,
}

/// A limit that a run names: the name, the slots, and the number of the limit that it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunLimitDoc {
    pub(super) name: String,
    pub(super) slots: u32,
    pub(super) limit: Option<usize>,
}

/// What is copied under the lock; the rest is read from the view at leisure.
struct Taken {
    view: CatalogView,
    document: Document,
    claims: HashMap<RunId, ClaimDoc>,
    overtaken: HashMap<RunId, Vec<(usize, u32)>>,
    payloads: HashMap<RunId, Kind>,
    hooks: OutboxCopy,
    /// The numbers of limits in the document.
    numbers: HashMap<LimitKey, usize>,
}

impl Engine {
    /// Everything the engine holds, as a document of this instant.
    ///
    /// The lock is held for copying what is claimed, planned and timed; runs are copied from a view, without it.
    ///
    /// ```
    /// use tenfold::{Claims, Engine, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let run = engine.submit("mail")?.id;
    /// let text = serde_json::to_string(&engine.export()?).unwrap();
    ///
    /// let document = serde_json::from_str(&text).unwrap();
    /// let moved = Engine::builder().import(document, Claims::Keep)?;
    /// assert_eq!(moved.claim(&Scope::all())?.unwrap().run(), run);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn export(&self) -> Result<Document, Error> {
        let Taken {
            view,
            mut document,
            claims,
            mut overtaken,
            payloads,
            hooks,
            numbers,
        } = self.call(|core| Ok(core.take_export()))?;
        document.hooks = hooks.into();
        document.flows = view.flows.iter().map(|(_, held)| held.data.clone()).collect();
        document.work_pools = view.pools.iter().map(|(_, held)| held.data.clone()).collect();
        document.work_queues = view
            .rows(crate::filter::Entity::Queue)
            .filter_map(|row| view.queue(row))
            .collect();
        document.task_runs = view.task_runs.iter().map(|(_, held)| held.data.clone()).collect();
        document.flow_runs = view
            .runs
            .iter()
            .map(|(_, run)| RunDoc {
                overtaken: overtaken.remove(&run.id).unwrap_or_default(),
                payload: payloads.get(&run.id).copied(),
                ..run_doc(run, claims.get(&run.id).copied(), &limit_numbers(run, &numbers))
            })
            .collect();
        // An order that does not tell which rows were used again.
        document.flow_runs.sort_by_key(|run| run.id);
        document.task_runs.sort_by_key(|task_run| task_run.id);
        Ok(document)
    }
}

/// For each limit that a run names, the number of the one that it stands for.
pub(super) fn limit_numbers(run: &RunRow, numbers: &HashMap<LimitKey, usize>) -> Vec<Option<usize>> {
    let limits = run.body.limits.as_deref();
    let keys = limits.into_iter().flat_map(|limits| &limits.keys);
    keys.map(|key| numbers.get(key.as_ref()?).copied()).collect()
}

pub(super) fn run_doc(run: &RunRow, claim: Option<ClaimDoc>, numbers: &[Option<usize>]) -> RunDoc {
    let body = &run.body;
    let own = body.own.as_deref();
    let limits = body.limits.as_deref().into_iter().flat_map(|limits| {
        let numbers = numbers.iter().copied().chain(std::iter::repeat(None));
        limits
            .request
            .iter()
            .zip(numbers)
            .map(|((name, slots), limit)| RunLimitDoc {
                name: name.to_owned(),
                slots,
                limit,
            })
    });
    RunDoc {
        id: run.id,
        name: run.name.clone(),
        flow_id: body.flow_id,
        deployment_id: body.deployment_id,
        work_queue_id: body.queue_id,
        work_queue_name: body.queue_name.clone(),
        priority: run.priority,
        place: run.place,
        created: run.created,
        updated: run.updated,
        due: run.due,
        seq: run.seq,
        state: run.state,
        state_name: run.state_name(),
        state_at: run.state_at,
        message: run.said.message(),
        past: run.past.iter().map(|left| LeftDoc::of(&left)).collect(),
        past_dropped: run.past.dropped(),
        run_count: run.run_count,
        attempt: run.attempt,
        expected_start: run.expected_start.micros(),
        next_start: run.next_start.micros(),
        start: run.start.micros(),
        end: run.end.micros(),
        total_run: run.total_run,
        result: run.result.as_deref().cloned(),
        parameters: (*body.parameters).clone(),
        tags: body.tags.iter().map(|tag| Text::from(&**tag)).collect(),
        labels: (*body.labels).clone(),
        context: own.map(|own| own.context.clone()).unwrap_or_default(),
        job_variables: own.map(|own| own.job_variables.clone()).unwrap_or_default(),
        idempotency_key: body.key.clone(),
        retry: body.retry.clone(),
        timeout: body.timeout,
        expires: body.expires.micros(),
        auto_scheduled: body.auto_scheduled,
        created_by: body.created_by.clone(),
        parent_task_run_id: body.parent,
        deployment_version: body.deployment_version.clone(),
        flow_version: body.flow_version.clone(),
        claim,
        limits: limits.collect(),
        payload: None,
        overtaken: Vec::new(),
    }
}

impl Core {
    pub(super) fn removed_doc(&self, removed: &Removed) -> RemovedDoc {
        RemovedDoc {
            data: removed.data.clone(),
            work: self.schedule_doc(&removed.work),
        }
    }

    /// How often a run was overtaken, by number of the limit.
    pub(super) fn overtaken_of(&self, row: u32, numbers: &HashMap<LimitKey, usize>) -> Vec<(usize, u32)> {
        let counts = self.ready.overtaken(row).into_iter();
        counts
            .filter_map(|(limit, times)| Some((*numbers.get(&limit)?, times)))
            .collect()
    }

    pub(super) fn schedule_doc(&self, work: &ScheduleWork) -> ScheduleDoc {
        let runs =
            |rows: &BTreeMap<i64, u32>| rows.iter().map(|(&at, &run)| (at, self.run(run).id)).collect();
        let mut live: Vec<RunId> = work.live.iter().map(|&row| self.run(row).id).collect();
        live.sort_unstable();
        ScheduleDoc {
            id: work.id,
            cursor: work.cursor,
            used: work.used.iter().map(|(&at, &run)| (at, run)).collect(),
            planned: runs(&work.planned),
            asked: runs(&work.asked),
            live,
            buffered: work.buffered.map(|row| self.run(row).id),
        }
    }

    fn take_export(&mut self) -> Taken {
        self.mark_export();
        let (mut claims, mut overtaken) = (HashMap::new(), HashMap::new());
        let numbers: HashMap<LimitKey, usize> = (self.limits.book.listed().into_iter()).zip(0..).collect();
        let limits = self.book_state();
        for (row, work) in (0..).zip(&self.work) {
            if matches!(work, Work::Line(_)) {
                let counts = self.overtaken_of(row, &numbers);
                if !counts.is_empty() {
                    overtaken.insert(self.run(row).id, counts);
                }
            }
            if let Some(claim) = ClaimDoc::of(work) {
                claims.insert(self.run(row).id, claim);
            }
        }
        let deployments = self.catalog.deployments.iter().map(|(row, held)| {
            let work = self.deployments.get(row as usize).and_then(Option::as_ref);
            let schedules = work
                .map_or(&[][..], |work| &work.schedules)
                .iter()
                .map(|work| self.schedule_doc(work));
            let removed = work.map_or(&[][..], |work| &work.removed);
            let removed = removed.iter().map(|removed| self.removed_doc(removed));
            DeploymentDoc {
                data: held.data.clone(),
                record: work.is_none(),
                limit: work
                    .and_then(|work| work.limit)
                    .and_then(|limit| numbers.get(&limit).copied()),
                schedules: schedules.collect(),
                removed: removed.collect(),
                refused: work.map_or_else(Vec::new, DeploymentWork::refused),
            }
        });
        let keyed = self.keys.rows().map(|row| self.run(row));
        let keys = keyed.map(|run| (run.id, run.body.fingerprint)).collect();
        let document = Document {
            format: FORMAT.to_owned(),
            format_version: VERSION,
            version: self.version,
            wall: self.wall,
            mono: self.mono,
            settings: self.settings.clone(),
            ids: self.ids.state(),
            seq: self.seq,
            token: self.token,
            totals: self.totals,
            flows: Vec::new(),
            work_pools: Vec::new(),
            work_queues: Vec::new(),
            deployments: deployments.collect(),
            flow_runs: Vec::new(),
            task_runs: Vec::new(),
            finished: self.finished.iter().map(|(_, _, id)| id).collect(),
            plans: (self.wall_timers.iter())
                .filter_map(|(at, &WallEvent::Plan { deployment, schedule })| {
                    Some((at, self.catalog.deployments.get(deployment)?.data.id, schedule))
                })
                .collect(),
            waits: (self.mono_timers.iter())
                .filter_map(|(at, event)| {
                    let (wait, row) = Wait::of(*event)?;
                    Some((at - self.mono, wait, self.run(row).id))
                })
                .collect(),
            limits,
            within: (self.within.iter())
                .map(|(&row, &end)| (self.run(row).id, end.saturating_sub(self.mono)))
                .collect(),
            hooks: OutboxDoc::default(),
            keys,
        };
        Taken {
            view: self.view(),
            document,
            claims,
            overtaken,
            payloads: (self.payloads.iter())
                .map(|(&row, payload)| (self.run(row).id, payload.kind()))
                .collect(),
            hooks: self.copy_outbox(),
            numbers,
        }
    }
}
