//! Moving an engine, the second half: an engine made from an exported document.
//!
//! The parts of a document are checked against each other while they are put in: a damaged one is refused with the
//! place, and the half-made engine is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use uuid::Uuid;

use super::Engine;
use super::builder::EngineBuilder;
use super::core::{Core, Held, MonoEvent, WallEvent, Work};
use super::error::Error;
use super::export::{ClaimDoc, DeploymentDoc, Document, FORMAT, RunDoc, ScheduleDoc, VERSION, Wait};
use super::ids::{Ids, row_of};
use super::kept::{Kept, Until};
use super::keys::key_scope;
use super::lease::Leased;
use super::payload::Payload;
use super::ready::{Head, Line};
use super::{plan::ScheduleWork, submit};
use crate::catalog::{
    Left, Past, RunBody, RunCommon, RunLimits, RunOwn, RunRow, Said, TaskRunRow, When, shared_tags,
};
use crate::ids::{DeploymentId, FlowId, QueueId, RunId, ScheduleId, TaskRunId};
use crate::limit::{Ask, Book, BookState, Demand, Grant, Holder, LimitKey, REQUEST_LIMITS_MAX};
use crate::model::{Place, StateType, check_kept};

mod entities;

/// What becomes of claims when a document is imported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Claims {
    /// They stay claims: same tokens, slots held, timeouts go on. For workers that outlive the engine.
    Keep,
    /// Their runs return to their places in line; the old tokens are stale. An attempt that had begun uses up a retry, one
    /// that had not was none.
    PutBack,
}

/// Instants in a document stay this far from the ends of the numbers, so that later sums do too: beyond the calendar, and
/// short of the ends by more than any span.
pub(super) const FAR: i64 = i64::MAX - (1 << 59);

impl EngineBuilder {
    /// Makes an engine from an exported document. Settings and seed come from the document; of the builder, the clock
    /// alone counts. Due instants keep their wall time; retries and timeouts go on with what remained of them. The new
    /// engine is open, also when the exported one was closed. Handlers are not part of a document: register them before
    /// a runtime starts.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] with the place, when the document is of another format or its parts do not fit together.
    pub fn import(self, document: Document, claims: Claims) -> Result<Engine, Error> {
        #[cfg(feature = "tracing")]
        let _span = super::trace::import_span(&document).entered();
        let (_, clock, _) = self.checked()?;
        document.settings.check()?;
        let now = clock.now();
        let mut core = Core::new(document.settings.clone(), 0, now);
        Import {
            names: Names::default(),
            core: &mut core,
        }
        .run(document, claims)?;
        core.observe(now.into());
        Ok(Engine::of(core, clock))
    }
}

pub(super) fn damaged(path: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Document {
        path: path.into(),
        problem: problem.into(),
    }
}

/// Rows by id, while a document is read.
#[derive(Default)]
struct Names {
    flows: HashMap<FlowId, u32>,
    queues: HashMap<QueueId, u32>,
    deployments: HashMap<DeploymentId, u32>,
    limits: Vec<LimitKey>,
    task_runs: HashMap<TaskRunId, u32>,
    seen: BTreeSet<Uuid>,
}

impl Names {
    fn new_id(&mut self, path: &str, id: Uuid) -> Result<(), Error> {
        if self.seen.insert(id) {
            Ok(())
        } else {
            Err(damaged(path, format!("the id {id} stands twice")))
        }
    }
}

struct Import<'a> {
    names: Names,
    core: &'a mut Core,
}

impl Import<'_> {
    fn run(mut self, document: Document, claims: Claims) -> Result<(), Error> {
        if document.format != FORMAT || document.format_version != VERSION {
            let found = format!("{:?} {}", document.format, document.format_version);
            return Err(damaged(
                "format",
                format!("found {found}; this is for {FORMAT:?} {VERSION}"),
            ));
        }
        let far = |at: i64| !(-FAR..FAR).contains(&at);
        if far(document.wall)
            || !(0..FAR).contains(&document.mono)
            || document.seq > u64::MAX / 2
            || document.token > u64::MAX / 2
        {
            return Err(damaged("wall, mono, seq, token", "out of range"));
        }
        let totals = &document.totals;
        let counted = [
            document.version,
            totals.accepted,
            totals.claimed,
            totals.completed,
            totals.failed,
            totals.crashed,
            totals.cancelled,
            totals.retried,
        ];
        if counted.into_iter().any(|count| count > u64::MAX / 2) {
            return Err(damaged("version, totals", "out of range"));
        }
        self.core.wall = self.core.wall.max(document.wall);
        self.core.mono_ahead = document.mono.saturating_sub(self.core.mono);
        self.core.mono = document.mono;
        // No row that the document names is let go while it is read; and what ends meanwhile is newer than what has ended in it.
        let settings = &mut self.core.settings;
        let runs = std::mem::replace(&mut settings.finished_runs, usize::MAX);
        let age = std::mem::replace(&mut settings.finished_age, i64::MAX);
        self.core.restore_outbox(document.hooks.clone())?;
        self.limits(&document.limits)?;
        self.entities(&document)?;
        let mut rows = self.runs(&document, far)?;
        for (index, task_run) in document.task_runs.into_iter().enumerate() {
            self.names
                .new_id(&format!("task_runs[{index}].id"), task_run.id.uuid())?;
            let run = task_run.flow_run_id.and_then(|id| rows.get(&id).copied());
            let (id, tags) = (task_run.id, shared_tags(&task_run.tags));
            let row = self.core.catalog.task_runs.insert(Arc::new(TaskRunRow {
                data: task_run,
                tags,
                run,
            }));
            self.core.catalog.by_id.insert(id.uuid(), row);
            self.names.task_runs.insert(id, row);
            if let Some(run) = run {
                self.core.restore_step(row, run);
            }
        }
        self.places(
            &document.flow_runs,
            &rows,
            &document.waits,
            &document.limits,
            claims,
        )?;
        self.core.arm_lease();
        self.schedules(&document.deployments, &document.plans, &rows)?;
        for (id, left) in &document.within {
            let path = || format!("within[run={id}]");
            let row = *rows
                .get(id)
                .ok_or_else(|| damaged(path(), "there is no such run"))?;
            if far(*left) {
                return Err(damaged(path(), "the time that remains is out of range"));
            }
            // Put back, it may have ended while the document was read.
            if !matches!(self.core.work[row as usize], Work::None) {
                let end = self.core.mono.saturating_add(*left);
                self.core.within.insert(row, end);
            }
        }
        self.finished(&document.finished, &mut rows)?;
        for (id, fingerprint) in document.keys {
            let row = rows
                .get(&id)
                .ok_or_else(|| damaged("keys", format!("there is no run {id}")))?;
            let run = self.core.run_mut(*row);
            let Some(key) = run.body.key.clone() else {
                return Err(damaged("keys", format!("run {id} has no key")));
            };
            Arc::make_mut(&mut run.body).fingerprint = fingerprint;
            let (runs, scope) = (&self.core.catalog.runs, key_scope(&self.core.run(*row).body));
            if let Some(other) = self.core.keys.find(runs, scope, &key) {
                let other = other.id;
                return Err(damaged("keys", format!("runs {other} and {id} have one key")));
            }
            self.core.keys.insert(runs, *row);
        }
        let core = self.core;
        (core.settings.finished_runs, core.settings.finished_age) = (runs, age);
        core.put_back_deliveries(claims);
        core.prune_all();
        core.ids = Ids::restore(document.ids);
        core.seq = if fault!(ImportRenumbers) {
            1
        } else {
            document.seq.max(core.seq)
        };
        core.token = document.token;
        core.totals = document.totals;
        core.version = document.version.max(1);
        Ok(())
    }

    /// The limits with their leases. What claims hold comes with them, and the levels of those that decay after that.
    fn limits(&mut self, state: &BookState) -> Result<(), Error> {
        if state
            .grants
            .iter()
            .any(|grant| !matches!(grant.holder, Holder::Lease(_)))
        {
            return Err(damaged("limits.grants", "only leases hold slots beside claims"));
        }
        let (book, keys) = Book::restore(state, self.core.mono_time())
            .map_err(|wrong| damaged("limits", wrong.to_string()))?;
        self.core.limits.book = book;
        self.core.limits.book.set_limits_max(self.core.settings.limits);
        self.names.limits = keys;
        Ok(())
    }

    fn limit(&self, path: &str, number: usize) -> Result<LimitKey, Error> {
        let key = self.names.limits.get(number).copied();
        key.ok_or_else(|| damaged(path, format!("there is no limit {number}")))
    }

    /// The limits that a run names, checked like those of a submission but for what has become of them since.
    fn run_limits(&self, path: &str, run: &RunDoc) -> Result<Option<Arc<RunLimits>>, Error> {
        if run.limits.is_empty() {
            return Ok(None);
        }
        let mut limits = RunLimits::default();
        let mut demand = Demand::new();
        for named in &run.limits {
            let key = named.limit.map(|number| self.limit(path, number)).transpose()?;
            if let Some(limit) = key {
                let ask = Ask {
                    limit,
                    weight: named.slots,
                };
                demand
                    .push(ask)
                    .map_err(|wrong| damaged(path, wrong.to_string()))?;
                if !self.core.limits.book.is_named(limit) {
                    return Err(damaged(path, "it names a limit that cannot be named"));
                }
            }
            limits.request = limits.request.slots(named.name.clone(), named.slots);
            limits.keys.push(key);
        }
        if run.limits.len() > REQUEST_LIMITS_MAX {
            return Err(damaged(path, "it names more than eight limits"));
        }
        Ok(Some(Arc::new(limits)))
    }

    /// Fills the rows of runs; their places come later.
    fn runs(&mut self, document: &Document, far: impl Fn(i64) -> bool) -> Result<HashMap<RunId, u32>, Error> {
        let mut rows = HashMap::with_capacity(document.flow_runs.len());
        // An id names its row only as far as the table may sensibly reach; a made-up one goes to the map of ids.
        let reach = document.flow_runs.len().saturating_mul(4).saturating_add(1_024);
        let mut order: Vec<&RunDoc> = document.flow_runs.iter().collect();
        order.sort_by_key(|run| (row_of(run.id) as usize >= reach, row_of(run.id), run.id));
        let mut lines = BTreeSet::new();
        for run in order {
            let path = format!("flow_runs[id={}]", run.id);
            self.names.new_id(&path, run.id.uuid())?;
            check_kept(
                &run.name,
                &run.tags,
                &[&run.parameters, &run.labels, &run.context, &run.job_variables],
            )
            .map_err(|wrong| damaged(&path, wrong.to_string()))?;
            let own = run.place != Place::Record;
            if [run.created, run.updated, run.due, run.state_at, run.total_run]
                .into_iter()
                .chain(run.past.iter().map(|left| left.at))
                .any(&far)
                || [
                    run.expected_start,
                    run.next_start,
                    run.start,
                    run.end,
                    run.expires,
                ]
                .into_iter()
                .flatten()
                .any(&far)
            {
                return Err(damaged(path, "an instant is out of range"));
            }
            if run.seq > document.seq || (own && !lines.insert(run.seq)) {
                return Err(damaged(path, "its sequence number is not its own"));
            }
            let flow = *self
                .names
                .flows
                .get(&run.flow_id)
                .ok_or_else(|| damaged(&path, "its flow is not in the document"))?;
            let queue = run
                .work_queue_id
                .and_then(|id| self.names.queues.get(&id).copied());
            // One that has ended may have outlived its queue.
            if own && queue.is_none() && run.place != Place::Finished {
                return Err(damaged(path, "its queue is not in the document"));
            }
            let deployment = run
                .deployment_id
                .and_then(|id| self.names.deployments.get(&id).copied());
            if own && !matches!(run.place, Place::Finished) {
                submit::check_retry(&run.retry)?;
                submit::check_timeout(run.timeout)?;
            }
            let limits = self.run_limits(&path, run)?;
            let common = RunCommon {
                flow,
                flow_id: run.flow_id,
                deployment_id: run.deployment_id,
                queue_id: run.work_queue_id,
                queue_name: run.work_queue_name.clone(),
                retry: run.retry.clone(),
                timeout: run.timeout,
                auto_scheduled: run.auto_scheduled,
                created_by: run.created_by.clone(),
                parent: run.parent_task_run_id,
                deployment_version: run.deployment_version.clone(),
                flow_version: run.flow_version.clone(),
            };
            let body = RunBody {
                common: Arc::new(common),
                limits,
                parameters: Arc::new(run.parameters.clone()),
                tags: self.core.tag_sets.share(&run.tags),
                labels: Arc::new(run.labels.clone()),
                key: run.idempotency_key.clone(),
                // Said by the document's keys.
                fingerprint: 0,
                expires: When::of(run.expires),
                own: RunOwn::of(run.context.clone(), run.job_variables.clone()),
            };
            let row = RunRow {
                id: run.id,
                name: run.name.clone(),
                body: Arc::new(body),
                created: run.created,
                updated: run.updated,
                queue,
                deployment,
                priority: run.priority,
                place: run.place,
                due: run.due,
                seq: run.seq,
                state: run.state,
                state_at: run.state_at,
                said: Said::of(run.state, run.state_name.clone(), run.message.clone()),
                past: Past::restore(
                    run.past
                        .iter()
                        .map(|left| Left::new(left.state, left.name.clone(), left.message.clone(), left.at)),
                    run.past_dropped,
                    document.settings.run_states,
                ),
                run_count: run.run_count,
                attempt: run.attempt,
                expected_start: When::of(run.expected_start),
                next_start: When::of(run.next_start),
                start: When::of(run.start),
                end: When::of(run.end),
                total_run: run.total_run,
                result: run.result.clone().map(Arc::new),
            };
            let runs = &mut self.core.catalog.runs;
            let at = row_of(run.id);
            let at = if (at as usize) < reach && runs.get(at).is_none() {
                runs.insert_at(at, row);
                at
            } else {
                let at = runs.insert(row);
                self.core.catalog.by_id.insert(run.id.uuid(), at);
                at
            };
            self.core.set_work(at, Work::None);
            rows.insert(run.id, at);
        }
        Ok(rows)
    }

    /// Puts every run into its place.
    fn places(
        &mut self,
        runs: &[RunDoc],
        rows: &HashMap<RunId, u32>,
        waits: &[(i64, Wait, RunId)],
        limits: &BookState,
        claims: Claims,
    ) -> Result<(), Error> {
        // Lists of unfinished runs are in order of acceptance, lines in claim order, whatever rows are reused.
        let mut order: Vec<&RunDoc> = runs
            .iter()
            .filter(|run| !matches!(run.place, Place::Record | Place::Finished))
            .collect();
        order.sort_by_key(|run| run.id);
        for run in &order {
            let row = rows[&run.id];
            let deployment = self.core.run(row).deployment;
            let employed = deployment.filter(|&row| {
                self.core
                    .deployments
                    .get(row as usize)
                    .is_some_and(Option::is_some)
            });
            if deployment != employed {
                return Err(damaged(
                    format!("flow_runs[id={}]", run.id),
                    "its deployment is a record and makes no runs",
                ));
            }
            if let Some(work) = employed.and_then(|row| self.core.deployments[row as usize].as_mut()) {
                self.core.active.push(&mut work.active, row);
            }
            self.core.retain_limits(row);
        }
        // Holders are in the order of taking, which is that of tokens; then the levels are as they were, and only then
        // what is put back drains them.
        let held = order.iter().filter(|run| run.place == Place::Claimed);
        let mut held: Vec<(u64, u32)> = held
            .filter_map(|run| Some((run.claim?.token, rows[&run.id])))
            .collect();
        held.sort_unstable();
        let mut grants = HashMap::new();
        for (_, row) in held {
            grants.insert(row, self.core.seize_slots(row));
            self.core.seize_for_steps(row);
        }
        let now = self.core.mono_time();
        let book = &mut self.core.limits.book;
        book.restore_levels(limits, &self.names.limits, now);
        let retries: BTreeSet<RunId> = waits
            .iter()
            .filter(|wait| wait.1 == Wait::Retry)
            .map(|wait| wait.2)
            .collect();
        order.sort_by_key(|run| (run.due, run.seq));
        let (mut claimed, mut tokens) = (BTreeSet::new(), BTreeSet::new());
        for run in order {
            let row = rows[&run.id];
            let path = || format!("flow_runs[id={}]", run.id);
            let active = matches!(
                run.state,
                Some(StateType::Pending | StateType::Running | StateType::Cancelling)
            );
            let fits = match run.place {
                Place::Claimed if run.claim.is_some_and(|claim| claim.kept) => {
                    run.state == Some(StateType::Scheduled)
                }
                Place::Claimed => active,
                Place::Paused => run.state == Some(StateType::Paused),
                _ => run.state == Some(StateType::Scheduled),
            };
            if !fits || (run.place == Place::Claimed) != run.claim.is_some() {
                return Err(damaged(path(), "its place and its state do not fit together"));
            }
            match run.place {
                Place::Scheduled if retries.contains(&run.id) => {}
                Place::Scheduled => self.core.enter_later(row),
                Place::Ready => {
                    if self.core.run(row).due > self.core.wall {
                        return Err(damaged(path(), "it stands in line before it is due"));
                    }
                    self.core.enter_line(row);
                    self.overtaken(&path(), row, &run.overtaken)?;
                }
                Place::Blocked => self.core.enter_buffer(row),
                Place::Paused => {
                    self.core.paused_total += 1;
                    self.core.set_work(row, Work::Paused(None));
                }
                Place::Claimed => {
                    let claim = run.claim.expect("just checked");
                    claimed.insert(run.id);
                    if !tokens.insert(claim.token) {
                        return Err(damaged(path(), "its fencing token stands twice"));
                    }
                    let grant = grants.remove(&row).flatten();
                    if claim.kept {
                        self.kept(row, claim.token, grant, retries.contains(&run.id));
                    } else {
                        self.claimed(row, claim, claims, grant);
                    }
                }
                _ => return Err(damaged(path(), "no run can be in that place")),
            }
            if run.place != Place::Claimed {
                self.core.await_expiry(row);
            }
            if let Some(kind) = run.payload
                && !matches!(self.core.work[row as usize], Work::None)
            {
                self.core.payloads.insert(row, Payload::Lost(kind));
            }
        }
        for &(remains, wait, id) in waits {
            let path = || format!("waits[run={id}]");
            let row = *rows
                .get(&id)
                .ok_or_else(|| damaged(path(), "there is no such run"))?;
            if !(0..FAR).contains(&remains) {
                return Err(damaged(path(), "the time that remains is out of range"));
            }
            let at = self.core.mono.saturating_add(remains);
            match (wait, &mut self.core.work[row as usize]) {
                (Wait::Retry, work @ Work::None)
                    if self
                        .core
                        .catalog
                        .runs
                        .get(row)
                        .is_some_and(|run| run.place == Place::Scheduled) =>
                {
                    *work = Work::Retry(self.core.mono_timers.insert(at, MonoEvent::Retry { row }));
                    let run = self.core.run(row);
                    let (queue, entry) = (run.queue.expect("checked above"), (run.due, run.seq, row));
                    self.core.queues[queue as usize].retrying.insert(entry);
                    self.core.scheduled_total += 1;
                }
                (Wait::Retry, Work::Kept(kept)) if matches!(kept.until, Until::Claim(_)) => {
                    kept.until = Until::Timer(self.core.mono_timers.insert(at, MonoEvent::Retry { row }));
                    let run = self.core.run(row);
                    let (queue, entry) = (run.queue.expect("checked above"), (run.due, run.seq, row));
                    self.core.queues[queue as usize].retrying.insert(entry);
                }
                (Wait::Timeout, Work::Claimed(held)) if held.timer.is_none() => {
                    held.timer = Some(self.core.mono_timers.insert(at, MonoEvent::Timeout { row }));
                }
                (Wait::Lease, Work::Claimed(held))
                    if held.lease.as_ref().is_some_and(|lease| lease.timer.is_none()) =>
                {
                    let timer = self.core.mono_timers.insert(at, MonoEvent::Lapse { row });
                    if let Some(lease) = &mut held.lease {
                        lease.timer = Some(timer);
                    }
                }
                (Wait::Pause, Work::Paused(timer @ None)) => {
                    *timer = Some(self.core.mono_timers.insert(at, MonoEvent::PauseOver { row }));
                }
                // Its claim was put back, or ended with that.
                (Wait::Timeout | Wait::Lease, _) if claims == Claims::PutBack && claimed.contains(&id) => {}
                _ => return Err(damaged(path(), "the run does not wait for that")),
            }
        }
        Ok(())
    }

    fn overtaken(&mut self, path: &str, row: u32, counts: &[(usize, u32)]) -> Result<(), Error> {
        for &(number, times) in counts {
            let limit = self.limit(path, number)?;
            if let Work::Line(spot) = self.core.work[row as usize] {
                self.core.ready.restore_overtaken(spot, limit, times);
            }
        }
        self.core.arm_limits();
        Ok(())
    }

    /// A run between two attempts. Whether it waits for its delay, whose timer comes later, or for a worker.
    fn kept(&mut self, row: u32, token: u64, grant: Option<Grant>, waits: bool) {
        let run = self.core.run(row);
        let (due, seq) = (run.due, run.seq);
        let head = Head::new(run.priority, Line { due, seq });
        let until = Until::Claim(head);
        self.core.set_work(row, Work::Kept(Kept { grant, token, until }));
        if !waits {
            self.core.offer_kept(row);
        }
    }

    fn claimed(&mut self, row: u32, claim: ClaimDoc, claims: Claims, grant: Option<Grant>) {
        let core = &mut *self.core;
        if claims == Claims::Keep {
            let held = Held {
                token: claim.token,
                resumed: claim.resumed,
                lease: claim.lease.map(|lease| {
                    Box::new(Leased {
                        span: lease.span.clamp(1, FAR),
                        retry: lease.retry,
                        timer: None,
                    })
                }),
                timer: None,
                signal: None,
                supervised: claim.supervised,
                timed_out: claim.timed_out,
                grant,
            };
            core.set_work(row, Work::Claimed(held));
            return;
        }
        core.end_steps(row);
        core.release_slots(row, grant);
        let at = core.wall;
        if core.run(row).state == Some(StateType::Cancelling) {
            // It was called off; with its worker gone, its handler has ended.
            core.finish(
                row,
                StateType::Cancelled,
                StateType::Cancelled.default_name(),
                None,
                at,
            );
            return;
        }
        if core.run(row).state == Some(StateType::Pending) {
            let run = core.run_mut(row);
            run.attempt = run.attempt.saturating_sub(1);
        }
        core.return_to_place(row, claim.resumed);
    }

    fn schedules(
        &mut self,
        deployments: &[DeploymentDoc],
        plans: &[(i64, DeploymentId, ScheduleId)],
        rows: &HashMap<RunId, u32>,
    ) -> Result<(), Error> {
        let held_back = deployments.iter().flat_map(|doc| {
            let removed = doc.removed.iter().map(|removed| &removed.work);
            doc.schedules.iter().chain(removed)
        });
        let held_back: BTreeSet<RunId> = held_back.filter_map(|schedule| schedule.buffered).collect();
        if held_back.len() != self.core.buffered_total {
            return Err(damaged("deployments", "a run is held back behind no schedule"));
        }
        for doc in deployments.iter().filter(|doc| !doc.record) {
            let path = format!("deployments[id={}].schedules", doc.data.id);
            let deployment = self.names.deployments[&doc.data.id];
            let own = |id: &RunId| {
                let held = rows.get(id).map(|row| self.core.catalog.runs.get(*row));
                // It may have ended while the document was read.
                held.is_some_and(|held| held.is_none_or(|run| run.deployment == Some(deployment)))
            };
            if let Some(id) = doc.refused.iter().find(|id| !own(id)) {
                return Err(damaged(&path, format!("run {id} is refused and is not its own")));
            }
            self.core
                .restore_decided(deployment, doc.refused.iter().copied().collect());
            for removed in &doc.removed {
                if removed.data.id != removed.work.id {
                    return Err(damaged(&path, "a removed schedule has the state of another"));
                }
                self.core.remember(deployment, removed.data.clone());
            }
            let removed = doc.removed.iter().map(|removed| &removed.work);
            for schedule in doc.schedules.iter().chain(removed) {
                let planned = self.planned(&path, (deployment, schedule.id), &schedule.planned, rows)?;
                let asked = self.planned(&path, (deployment, schedule.id), &schedule.asked, rows)?;
                let used: BTreeMap<i64, RunId> = schedule.used.iter().copied().collect();
                let unkeyed = (schedule.planned.iter().chain(&schedule.asked))
                    .find(|(at, run)| used.get(at) != Some(run));
                if let Some((_, run)) = unkeyed {
                    return Err(damaged(&path, format!("run {run} is planned without its key")));
                }
                let (live, buffered) = self.live(&path, (deployment, schedule.id), schedule, rows)?;
                let work = self
                    .core
                    .remembered(deployment, schedule.id)
                    .ok_or_else(|| damaged(&path, format!("there is no schedule {}", schedule.id)))?;
                work.cursor = schedule.cursor.clamp(-(1 << 60), 1 << 60);
                work.used = used;
                (work.planned, work.asked) = (planned, asked);
                (work.live, work.buffered) = (live, buffered);
                if work.live.is_empty()
                    && let Some(next) = work.buffered
                {
                    // Whoever it waited for ended while the document was read.
                    self.core.leave_buffer(next);
                    self.core.let_in(next, (deployment, schedule.id));
                }
            }
        }
        for &(at, deployment, schedule) in plans {
            let missing = || {
                damaged(
                    "plans",
                    format!("there is no schedule {schedule} of deployment {deployment}"),
                )
            };
            let row = *self.names.deployments.get(&deployment).ok_or_else(missing)?;
            let timer = self.core.wall_timers.insert(
                at,
                WallEvent::Plan {
                    deployment: row,
                    schedule,
                },
            );
            let work = self.work_of(row, schedule).ok_or_else(missing)?;
            if work.timer.replace(timer).is_some() {
                return Err(damaged("plans", format!("schedule {schedule} stands twice")));
            }
        }
        Ok(())
    }

    /// The runs that are planned for certain instants.
    fn planned(
        &self,
        path: &str,
        origin: (u32, ScheduleId),
        planned: &[(i64, RunId)],
        rows: &HashMap<RunId, u32>,
    ) -> Result<BTreeMap<i64, u32>, Error> {
        let row_of = |&(at, id): &(i64, RunId)| {
            let row = *rows
                .get(&id)
                .ok_or_else(|| damaged(path, format!("there is no run {id}")))?;
            let run = self.core.run(row);
            let waits = matches!(self.core.work[row as usize], Work::Later) && run.due == at;
            // One that has started is no occurrence any more when it becomes due.
            let waits = waits && run.run_count == 0;
            if !waits || Core::origin(run) != Some(origin) {
                return Err(damaged(path, format!("run {id} is not planned for that instant")));
            }
            Ok((at, row))
        };
        planned.iter().map(row_of).collect()
    }

    /// The runs of a schedule that are due and have not ended, and the one that waits for their end.
    fn live(
        &self,
        path: &str,
        origin: (u32, ScheduleId),
        schedule: &ScheduleDoc,
        rows: &HashMap<RunId, u32>,
    ) -> Result<(BTreeSet<u32>, Option<u32>), Error> {
        let row_of = |id: RunId| match rows.get(&id) {
            Some(&row) if Core::origin(self.core.run(row)) == Some(origin) => Ok(row),
            _ => Err(damaged(path, format!("there is no run {id} of this schedule"))),
        };
        let mut live = BTreeSet::new();
        for &id in &schedule.live {
            let row = row_of(id)?;
            match self.core.run(row).place {
                // It may have ended while the document was read.
                Place::Finished => {}
                Place::Record => return Err(damaged(path, format!("run {id} is only a record"))),
                _ => drop(live.insert(row)),
            }
        }
        let buffered = schedule.buffered.map(row_of).transpose()?;
        if let Some(row) = buffered
            && !matches!(self.core.work[row as usize], Work::Buffered)
        {
            return Err(damaged(path, "the run that is held back is elsewhere"));
        }
        Ok((live, buffered))
    }

    fn work_of(&mut self, deployment: u32, schedule: ScheduleId) -> Option<&mut ScheduleWork> {
        let work = self.core.deployments.get_mut(deployment as usize)?.as_mut()?;
        work.schedules.iter_mut().find(|work| work.id == schedule)
    }

    fn finished(&mut self, finished: &[RunId], rows: &mut HashMap<RunId, u32>) -> Result<(), Error> {
        let mut left: BTreeSet<RunId> = (rows.iter())
            .filter(|(_, row)| {
                self.core
                    .catalog
                    .runs
                    .get(**row)
                    .is_some_and(|run| run.place == Place::Finished)
            })
            .map(|(id, _)| *id)
            .collect();
        // Runs that ended while the document was read were put in by their ending.
        for (_, _, id) in self.core.finished.iter() {
            left.remove(&id);
        }
        let mut oldest = Vec::with_capacity(finished.len());
        for id in finished {
            if !left.remove(id) {
                return Err(damaged(
                    "finished",
                    format!("run {id} has not ended, or stands twice"),
                ));
            }
            let row = rows[id];
            let run = self.core.run(row);
            if !run.state.is_some_and(StateType::is_terminal) {
                return Err(damaged(
                    "finished",
                    format!("run {id} is in no state that ends a run"),
                ));
            }
            oldest.push((run.end.micros().unwrap_or(run.state_at), row, *id));
        }
        if let Some(id) = left.first() {
            return Err(damaged("finished", format!("run {id} has ended and is missing")));
        }
        self.core.finished.put_before(oldest);
        Ok(())
    }
}
