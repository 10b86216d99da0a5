//! Accepting runs: one, or a batch.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use super::core::Core;
use super::error::Error;
use super::keys::key_scope;
use super::schema::Vouched;
use crate::catalog::{RunBody, RunOwn, RunRow, When};
use crate::ids::RunId;
use crate::model::{
    InvalidValue, MAX_NAME, NewRun, Place, Retry, StateType, Target, Text, check_depth, check_parameters,
    check_tags,
};
use crate::priority::Priority;

/// Most runs in one batch, as in the reference's task queue.
pub const MAX_BATCH: usize = 500;

/// The answer to a submission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Submitted {
    /// The run that stands for the submission.
    pub id: RunId,
    /// The version of the engine at which it was accepted, or found.
    pub version: u64,
    /// True when an earlier submission with the same idempotency key had made it.
    pub existing: bool,
}

/// A run that has been checked and can be put in without failing, but for capacity.
struct Prepared {
    body: Arc<RunBody>,
    name: Option<Text>,
    /// None for the default queue, which may not be there yet.
    queue: Option<u32>,
    deployment: Option<u32>,
    priority: Priority,
    not_before: Option<i64>,
}

impl Core {
    pub(crate) fn submit(&mut self, new: NewRun, vouched: &Vouched) -> Result<Submitted, Error> {
        self.accepts_work()?;
        let prepared = self.prepare(new, vouched)?;
        if let Some(existing) = self.existing(&prepared)? {
            return Ok(existing);
        }
        self.check_expiry(&prepared)?;
        self.room_for(&prepared)?;
        Ok(self.accept(prepared))
    }

    /// Each run is checked alone and answered in the order of input; capacity is checked first, for all at once.
    pub(crate) fn submit_batch(
        &mut self,
        batch: Vec<NewRun>,
        vouched: &Vouched,
    ) -> Result<Vec<Result<Submitted, Error>>, Error> {
        self.accepts_work()?;
        if !(1..=MAX_BATCH).contains(&batch.len()) {
            return Err(Error::BatchSize {
                size: batch.len(),
                most: MAX_BATCH,
            });
        }
        let now = self.wall;
        let later = batch
            .iter()
            .filter(|new| new.not_before.is_some_and(|at| at.timestamp_micros() > now))
            .count();
        self.fits_waiting(batch.len() - later)?;
        self.fits_scheduled(later)?;
        let mut answers = Vec::with_capacity(batch.len());
        for new in batch {
            answers.push(self.submit_in_batch(new, vouched, &answers));
        }
        Ok(answers)
    }

    fn submit_in_batch(
        &mut self,
        new: NewRun,
        vouched: &Vouched,
        before: &[Result<Submitted, Error>],
    ) -> Result<Submitted, Error> {
        let prepared = self.prepare(new, vouched)?;
        let Some(existing) = self.existing(&prepared)? else {
            self.check_expiry(&prepared)?;
            return Ok(self.accept(prepared));
        };
        if (before.iter().flatten()).any(|made| made.id == existing.id && !made.existing) {
            let key = prepared.body.key.as_deref().unwrap_or_default().to_owned();
            return Err(Error::Duplicate {
                kind: "run with the idempotency key",
                name: format!("{key:?} in this batch"),
            });
        }
        Ok(existing)
    }

    pub(crate) fn accepts_work(&self) -> Result<(), Error> {
        if self.stopped { Err(Error::Stopped) } else { Ok(()) }
    }

    pub(crate) fn fits_waiting(&self, asked: usize) -> Result<(), Error> {
        let (waiting, capacity) = (self.waiting_total, self.settings.waiting_runs);
        if asked == 0 || waiting + asked <= capacity {
            return Ok(());
        }
        Err(Error::Full {
            what: "waiting runs",
            waiting,
            capacity,
            asked,
        })
    }

    pub(crate) fn fits_scheduled(&self, asked: usize) -> Result<(), Error> {
        let (waiting, capacity) = (self.scheduled_total, self.settings.scheduled_runs);
        if asked == 0 || waiting + asked <= capacity {
            return Ok(());
        }
        Err(Error::Full {
            what: "scheduled runs",
            waiting,
            capacity,
            asked,
        })
    }

    /// Not with the other checks: who submits again under a key gets the run that he had, also when its time is over.
    fn check_expiry(&self, prepared: &Prepared) -> Result<(), InvalidValue> {
        let due = prepared.not_before.unwrap_or(self.wall).max(self.wall);
        match prepared.body.expires.micros() {
            Some(at) if at <= due => Err(InvalidValue::new(
                "expires_at",
                &crate::catalog::instant(at).to_rfc3339(),
                "give an instant after now, and after `not_before`",
            )),
            _ => Ok(()),
        }
    }

    fn room_for(&self, prepared: &Prepared) -> Result<(), Error> {
        match prepared.not_before {
            Some(at) if at > self.wall => self.fits_scheduled(1),
            _ => self.fits_waiting(1),
        }
    }

    /// The run that already holds the key, if one does.
    fn existing(&self, prepared: &Prepared) -> Result<Option<Submitted>, Error> {
        let Some(key) = &prepared.body.key else {
            return Ok(None);
        };
        match self.keys.find(&self.catalog.runs, key_scope(&prepared.body), key) {
            None => Ok(None),
            Some(_) if fault!(KeyMakesAnother) => Ok(None),
            Some(held) if held.body.fingerprint == prepared.body.fingerprint => Ok(Some(Submitted {
                id: held.id,
                version: self.version,
                existing: true,
            })),
            Some(held) => Err(Error::KeyConflict {
                key: key.to_string(),
                run: held.id,
            }),
        }
    }

    fn prepare(&mut self, new: NewRun, vouched: &Vouched) -> Result<Prepared, Error> {
        let (flow, deployment) = self.target_rows(&new.target)?;
        let work = deployment.and_then(|row| self.deployments[row as usize].as_ref());
        let template = match work {
            Some(work) => work.template.clone(),
            None => self.flow_template(flow),
        };
        let data = deployment.and_then(|row| self.catalog.deployments.get(row));
        let queue = match &new.queue {
            Some(_) => self.named_queue(new.queue.as_ref())?,
            None => data.and_then(|row| row.queue),
        };
        if let Some(name) = &new.name
            && name.len() > MAX_NAME
        {
            return Err(InvalidValue::new("name", name, "keep it within 1,000 bytes").into());
        }
        if let Some(key) = &new.key
            && (key.is_empty() || key.len() > MAX_NAME)
        {
            return Err(InvalidValue::new("idempotency_key", key, "give it 1 to 1,000 bytes").into());
        }
        let priority = new
            .priority
            .or(data.map(|row| row.data.priority))
            .unwrap_or_default();
        let mut prepared = Prepared {
            body: template,
            name: None,
            queue,
            deployment,
            priority,
            not_before: new.not_before.map(|at| at.timestamp_micros()),
        };
        let defaults = prepared.body.limits.clone();
        if !new.limits.is_empty() {
            let now = self.mono_time();
            self.limits.book.make_way(now);
        }
        let limits = if new.limits.is_empty() {
            if let Some(defaults) = &defaults {
                // What it could never be granted is said at once; what is gone is passed over.
                self.laid_over(&new.limits, Some(defaults))?;
            }
            defaults
        } else {
            self.laid_over(&new.limits, defaults.as_deref())?
        };
        let plain = new.limits.is_empty()
            && new.parameters.is_empty()
            && new.tags.is_empty()
            && new.labels.is_empty()
            && new.context.is_empty()
            && new.job_variables.is_empty()
            && new.queue.is_none()
            && new.key.is_none()
            && new.retry.is_none()
            && new.timeout.is_none()
            && new.expires_at.is_none()
            && new.flow_version.is_none();
        if !plain {
            let mut body = self.own_body(&prepared.body, queue, &new)?;
            body.limits = limits;
            if new.key.is_some() {
                body.fingerprint = fingerprint(&new, priority);
            }
            prepared.body = Arc::new(body);
        }
        self.check_run(&new, vouched)?;
        prepared.name = new.name;
        Ok(prepared)
    }

    /// The body of a run that says something of its own.
    fn own_body(&mut self, template: &RunBody, queue: Option<u32>, new: &NewRun) -> Result<RunBody, Error> {
        let mut body = template.clone();
        check_depth(&new.parameters)?;
        check_depth(&new.labels)?;
        if !new.parameters.is_empty() {
            let mut parameters = (*body.parameters).clone();
            parameters.extend(
                new.parameters
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
            check_parameters(&parameters)?;
            body.parameters = Arc::new(parameters);
        }
        if !new.tags.is_empty() {
            // Before they are told apart, which compares each with each.
            check_tags(&new.tags)?;
            let mut tags: Vec<Text> = body.tags.iter().map(|tag| Text::from(&**tag)).collect();
            for tag in &new.tags {
                if !tags.contains(tag) {
                    tags.push(tag.clone());
                }
            }
            check_tags(&tags)?;
            body.tags = self.tag_sets.share(&tags);
        }
        if !new.labels.is_empty() {
            let mut labels = (*body.labels).clone();
            labels.extend(new.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
            check_labels(&labels)?;
            body.labels = Arc::new(labels);
        }
        for (field, object) in [("context", &new.context), ("job_variables", &new.job_variables)] {
            check_parameters(object).map_err(|refused| InvalidValue { field, ..refused })?;
        }
        body.own = RunOwn::of(new.context.clone(), new.job_variables.clone());
        let queue = queue.and_then(|queue| self.catalog.queues.get(queue));
        if let Some(queue) = queue.map(|queue| &queue.data)
            && body.queue_id != Some(queue.id)
        {
            let common = body.common_mut();
            common.queue_id = Some(queue.id);
            common.queue_name = Some(queue.name.clone());
        }
        body.key.clone_from(&new.key);
        if let Some(version) = &new.flow_version {
            if version.len() > MAX_NAME {
                return Err(InvalidValue::new("flow_version", version, "keep it within 1,000 bytes").into());
            }
            body.common_mut().flow_version = Some(version.clone());
        }
        if let Some(retry) = &new.retry {
            check_retry(retry)?;
            body.common_mut().retry = retry.clone();
        }
        if new.timeout.is_some() {
            body.common_mut().timeout = check_timeout(new.timeout)?;
        }
        body.expires = new.expires_at.into();
        Ok(body)
    }

    /// The row of a flow by its name, or the way out.
    pub(super) fn flow_row(&self, name: &str, hint: &'static str) -> Result<u32, Error> {
        self.catalog
            .flow_names
            .get(name)
            .copied()
            .ok_or_else(|| Error::NotFound {
                kind: "flow",
                name: format!("{name:?}"),
                hint,
            })
    }

    pub(super) fn target_rows(&self, target: &Target) -> Result<(u32, Option<u32>), Error> {
        let flow_row = |name: &Text| {
            let hint = "make it known with `Engine::flow`, register a handler for it, or make a deployment of it, first";
            self.flow_row(name, hint)
        };
        match target {
            Target::Flow(name) => Ok((flow_row(name)?, None)),
            Target::Deployment(id) => {
                let row = self.deployment_row(*id)?;
                Ok((
                    self.catalog.deployments.get(row).expect("just found").flow,
                    Some(row),
                ))
            }
            Target::Named { flow, deployment } => {
                let flow_row = flow_row(flow)?;
                let row = self
                    .catalog
                    .deployment_names
                    .get(&(flow_row, deployment.clone()))
                    .copied();
                let row = row.filter(|&row| self.deployments.get(row as usize).is_some_and(Option::is_some));
                let row = row.ok_or_else(|| Error::NotFound {
                    kind: "deployment",
                    name: format!("{:?}", target.to_string()),
                    hint: "make it first with `deploy`",
                })?;
                Ok((flow_row, Some(row)))
            }
        }
    }

    /// Puts a checked run in. Cannot fail.
    fn accept(&mut self, mut prepared: Prepared) -> Submitted {
        let queue = prepared.queue.unwrap_or_else(|| self.default_queue());
        if prepared.body.queue_id.is_none() {
            let data = &self.catalog.queues.get(queue).expect("just found or made").data;
            let common = Arc::make_mut(&mut prepared.body).common_mut();
            common.queue_id = Some(data.id);
            common.queue_name = Some(data.name.clone());
            // The next of the flow will know it.
            self.flow_bodies.remove(&prepared.body.flow);
        }
        let name = prepared.name.unwrap_or_else(|| self.some_name());
        let due = prepared.not_before.unwrap_or(self.wall).max(self.wall);
        let row = self.insert_run(
            prepared.body,
            name,
            queue,
            prepared.deployment,
            prepared.priority,
            due,
        );
        self.keys.insert(&self.catalog.runs, row);
        let id = self.run(row).id;
        self.await_expiry(row);
        if due > self.wall {
            self.enter_later(row);
        } else {
            self.come_due(row);
        }
        Submitted {
            id,
            version: self.version,
            existing: false,
        }
    }

    /// Fills a row for a new run. The caller puts it into its place.
    pub(crate) fn insert_run(
        &mut self,
        body: Arc<RunBody>,
        name: Text,
        queue: u32,
        deployment: Option<u32>,
        priority: Priority,
        due: i64,
    ) -> u32 {
        let at = self.wall;
        let body = self.bind_limits(body, deployment);
        let id = self.ids.run(at, self.catalog.runs.next_row());
        let seq = self.next_seq();
        let row = self.catalog.runs.insert(RunRow {
            id,
            name,
            body,
            created: at,
            updated: at,
            queue: Some(queue),
            deployment,
            priority,
            // Where it most likely goes; then that step has nothing to write.
            place: if due > at { Place::Scheduled } else { Place::Ready },
            due,
            seq,
            state: Some(StateType::Scheduled),
            state_at: at,
            said: crate::catalog::Said::default(),
            past: crate::catalog::Past::default(),
            run_count: 0,
            attempt: 0,
            expected_start: When::at(due),
            next_start: When::at(due),
            start: When::NEVER,
            end: When::NEVER,
            total_run: 0,
            result: None,
        });
        if let Some(work) = deployment.and_then(|deployment| self.deployments[deployment as usize].as_mut()) {
            self.active.push(&mut work.active, row);
        }
        self.totals.accepted += 1;
        self.changed();
        if self.states_are_told() {
            let name = StateType::Scheduled.default_name();
            self.note_state(row, None, StateType::Scheduled, &name, None);
        }
        row
    }

    /// Two random words.
    pub(crate) fn some_name(&mut self) -> Text {
        // Made once for the process and kept for ever, so that a run's name is part of the program and no two runs
        // share a count.
        static NAMES: LazyLock<Vec<Text>> = LazyLock::new(|| {
            let words = FIRST
                .iter()
                .flat_map(|first| SECOND.iter().map(move |second| format!("{first}-{second}")));
            words.map(|name| Text::of(name.leak())).collect()
        });
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
        let at = self.ids.random().next() as usize % (FIRST.len() * SECOND.len());
        NAMES[at].clone()
    }
}

const FIRST: [&str; 32] = [
    "amber", "bold", "brisk", "calm", "clear", "coral", "crisp", "dapper", "deft", "eager", "early", "fair",
    "fleet", "fond", "gentle", "glad", "green", "hardy", "ivory", "jolly", "keen", "lively", "lucid",
    "merry", "nimble", "noble", "plain", "quick", "quiet", "ready", "steady", "warm",
];
const SECOND: [&str; 32] = [
    "acorn", "badger", "beacon", "birch", "brook", "cedar", "comet", "crane", "ember", "falcon", "fern",
    "finch", "harbor", "hazel", "heron", "island", "juniper", "lantern", "lark", "linden", "maple", "meadow",
    "otter", "pebble", "plover", "reed", "river", "robin", "sparrow", "thistle", "willow", "wren",
];

/// Tells one content from another under the same key. The same in every process.
fn fingerprint(new: &NewRun, priority: Priority) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&new.parameters)
        .expect("parameters are JSON")
        .hash(&mut hasher);
    serde_json::to_string(&new.labels)
        .expect("labels are JSON")
        .hash(&mut hasher);
    (
        new.target.to_string(),
        &new.name,
        &new.tags,
        &new.queue,
        priority,
        new.timeout,
    )
        .hash(&mut hasher);
    (
        new.not_before,
        new.retry
            .as_ref()
            .map(|retry| (retry.retries, retry.delay, format!("{:?}", retry.backoff()))),
        new.retry
            .as_ref()
            .map(|retry| (retry.jitter_percent(), retry.time_in_all())),
        new.limits.iter().collect::<Vec<_>>(),
    )
        .hash(&mut hasher);
    if let Some(at) = new.expires_at {
        at.hash(&mut hasher);
    }
    for object in [&new.context, &new.job_variables] {
        if !object.is_empty() {
            serde_json::to_string(object)
                .expect("an object is JSON")
                .hash(&mut hasher);
        }
    }
    if new.retry.as_ref().is_some_and(Retry::keeps_slots) {
        true.hash(&mut hasher);
    }
    hasher.finish()
}

/// Longest span the engine counts in: a hundred years. Longer ones are surely mistakes and would overflow later.
pub(crate) const MAX_SPAN: std::time::Duration = std::time::Duration::from_secs(100 * 366 * 86_400);

pub(crate) fn check_retry(retry: &Retry) -> Result<(), InvalidValue> {
    match retry.problem(MAX_SPAN) {
        Some((field, value, rule)) => Err(InvalidValue::new(field, &value, rule)),
        None => Ok(()),
    }
}

pub(crate) fn check_timeout(
    timeout: Option<std::time::Duration>,
) -> Result<Option<std::time::Duration>, InvalidValue> {
    match timeout {
        Some(span) if span.as_micros() == 0 || span > MAX_SPAN => Err(InvalidValue::new(
            "timeout",
            &format!("{span:?}"),
            "give one microsecond to 100 years, or none",
        )),
        _ => Ok(timeout),
    }
}

/// The reference's labels: booleans, numbers and texts.
pub(crate) fn check_labels(labels: &crate::model::Object) -> Result<(), InvalidValue> {
    match labels
        .iter()
        .find(|(_, value)| value.is_null() || value.is_array() || value.is_object())
    {
        Some((key, _)) => Err(InvalidValue::new(
            "labels",
            key,
            "give each label a boolean, a number or a text",
        )),
        None => check_parameters(labels).map_err(|refused| InvalidValue {
            field: "labels",
            ..refused
        }),
    }
}
