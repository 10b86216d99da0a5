//! Reading entities in the reference's JSON, as records.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hashbrown::HashSet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::Engine;
use super::core::Core;
use super::error::Error;
use crate::catalog::{
    DeploymentRow, FlowRow, RunBody, RunCommon, RunOwn, RunRow, Said, TaskRunRow, When, shared_tags,
};
use crate::ids::{DeploymentId, FlowId, PoolId, QueueId, RunId, TaskRunId};
use crate::model::{
    ConcurrencyOptions, CreatedBy, Deployment, Flow, InvalidValue, Object, Place, PoolStatus, Retry,
    StateType, TaskRun, Text, WorkPool, WorkQueue, check_kept,
};
use crate::priority::Priority;

/// How many of each kind were read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// Flows.
    pub flows: usize,
    /// Work pools. They are pools like any other from then on.
    pub work_pools: usize,
    /// Work queues. They are queues like any other from then on.
    pub work_queues: usize,
    /// Deployments, as records: they make no runs.
    pub deployments: usize,
    /// Runs, as records: they are in no line and hold no slot.
    pub flow_runs: usize,
    /// Task runs.
    pub task_runs: usize,
}

#[derive(Deserialize)]
struct DeploymentRecord {
    id: DeploymentId,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
    name: Text,
    flow_id: FlowId,
    version: Option<Text>,
    description: Option<Text>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    parameters: Object,
    #[serde(default)]
    tags: Vec<Text>,
    labels: Option<Object>,
    work_pool_name: Option<Text>,
    work_queue_name: Option<Text>,
    work_queue_id: Option<QueueId>,
    concurrency_limit: Option<u32>,
    concurrency_options: Option<ConcurrencyOptions>,
    #[serde(default)]
    priority: Priority,
    path: Option<Text>,
    entrypoint: Option<Text>,
    pull_steps: Option<Vec<Object>>,
    job_variables: Option<Object>,
    enforce_parameter_schema: Option<bool>,
    parameter_openapi_schema: Option<Object>,
    status: Option<PoolStatus>,
    last_polled: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct RunRecord {
    id: RunId,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
    name: Text,
    flow_id: FlowId,
    deployment_id: Option<DeploymentId>,
    deployment_version: Option<Text>,
    flow_version: Option<Text>,
    work_queue_id: Option<QueueId>,
    work_queue_name: Option<Text>,
    #[serde(default)]
    parameters: Object,
    context: Option<Object>,
    job_variables: Option<Object>,
    idempotency_key: Option<Text>,
    #[serde(default)]
    tags: Vec<Text>,
    labels: Option<Object>,
    parent_task_run_id: Option<TaskRunId>,
    state: Option<StateRecord>,
    state_type: Option<StateType>,
    state_name: Option<Text>,
    #[serde(default)]
    run_count: u32,
    expected_start_time: Option<DateTime<Utc>>,
    next_scheduled_start_time: Option<DateTime<Utc>>,
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    #[serde(default, with = "crate::model::maybe_seconds")]
    total_run_time: Option<Duration>,
    #[serde(default)]
    auto_scheduled: bool,
    created_by: Option<CreatedBy>,
    #[serde(default)]
    priority: Priority,
}

#[derive(Deserialize)]
struct StateRecord {
    timestamp: Option<DateTime<Utc>>,
    message: Option<Text>,
}

/// What the document says, read but not put in.
struct Read {
    flows: Vec<Flow>,
    pools: Vec<WorkPool>,
    queues: Vec<WorkQueue>,
    deployments: Vec<DeploymentRecord>,
    runs: Vec<RunRecord>,
    task_runs: Vec<TaskRun>,
}

impl Read {
    fn check_sizes(&self) -> Result<(), Error> {
        let refused = |kind: &str, index: usize, wrong: &InvalidValue| {
            damaged(format!("{kind}[{index}]"), wrong.to_string())
        };
        for (index, held) in self.flows.iter().enumerate() {
            check_kept(&held.name, &held.tags, &[&held.labels])
                .map_err(|wrong| refused("flows", index, &wrong))?;
        }
        for (index, held) in self.pools.iter().enumerate() {
            check_kept(&held.name, &[], &[&held.base_job_template])
                .map_err(|wrong| refused("work_pools", index, &wrong))?;
        }
        for (index, held) in self.queues.iter().enumerate() {
            check_kept(&held.name, &[], &[]).map_err(|wrong| refused("work_queues", index, &wrong))?;
        }
        for (index, held) in self.deployments.iter().enumerate() {
            let objects: Vec<&Object> = ([Some(&held.parameters), held.labels.as_ref()].into_iter())
                .chain([
                    held.job_variables.as_ref(),
                    held.parameter_openapi_schema.as_ref(),
                ])
                .flatten()
                .collect();
            check_kept(&held.name, &held.tags, &objects)
                .map_err(|wrong| refused("deployments", index, &wrong))?;
        }
        for (index, held) in self.runs.iter().enumerate() {
            let objects: Vec<&Object> = ([Some(&held.parameters), held.labels.as_ref()].into_iter())
                .chain([held.context.as_ref(), held.job_variables.as_ref()])
                .flatten()
                .collect();
            check_kept(&held.name, &held.tags, &objects)
                .map_err(|wrong| refused("flow_runs", index, &wrong))?;
        }
        for (index, held) in self.task_runs.iter().enumerate() {
            check_kept(&held.name, &held.tags, &[&held.labels])
                .map_err(|wrong| refused("task_runs", index, &wrong))?;
        }
        Ok(())
    }
}

impl Engine {
    /// Reads entities in the reference's JSON: an object with the lists `flows`, `work_pools`, `work_queues`,
    /// `deployments`, `flow_runs` and `task_runs`, each of which may be missing, and `stored`, which names the values that
    /// filters read where they differ from those shown.
    ///
    /// Deployments and runs become records: they answer queries, and take no part in the engine's work. Keys that no
    /// entity has here are passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] with the place, when something cannot be read, an id or unique name is there already, or a
    /// row names one that is not there. Nothing is read in then.
    pub fn load_records(&self, document: &Value) -> Result<Loaded, Error> {
        let read = read(document)?;
        self.call(|core| core.load(read))
    }
}

fn damaged(path: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Document {
        path: path.into(),
        problem: problem.into(),
    }
}

fn read(document: &Value) -> Result<Read, Error> {
    let Value::Object(lists) = document else {
        return Err(damaged("(top)", "expected an object with lists of entities"));
    };
    let mut read = Read {
        flows: list(lists, "flows")?,
        pools: list(lists, "work_pools")?,
        queues: list(lists, "work_queues")?,
        deployments: list(lists, "deployments")?,
        runs: list(lists, "flow_runs")?,
        task_runs: list(lists, "task_runs")?,
    };
    let stored = |kind: &str| {
        lists
            .get("stored")
            .and_then(|stored| stored.get(kind))
            .and_then(Value::as_object)
    };
    if let Some(stored) = stored("deployments") {
        for deployment in &mut read.deployments {
            if let Some(name) = stored_queue_name(stored, deployment.id.uuid()) {
                deployment.work_queue_name = name;
            }
        }
    }
    if let Some(stored) = stored("flow_runs") {
        for run in &mut read.runs {
            if let Some(name) = stored_queue_name(stored, run.id.uuid()) {
                run.work_queue_name = name;
            }
        }
    }
    Ok(read)
}

fn stored_queue_name(stored: &Object, id: Uuid) -> Option<Option<Text>> {
    let name = stored.get(&id.to_string())?.get("work_queue_name")?;
    Some(name.as_str().map(Text::from))
}

fn list<T: DeserializeOwned>(lists: &Object, key: &str) -> Result<Vec<T>, Error> {
    let Some(list) = lists.get(key) else {
        return Ok(Vec::new());
    };
    let Value::Array(items) = list else {
        return Err(damaged(key, "expected a list"));
    };
    let item = |(index, item): (usize, &Value)| {
        T::deserialize(item).map_err(|problem| damaged(format!("{key}[{index}]"), problem.to_string()))
    };
    items.iter().enumerate().map(item).collect()
}

impl Core {
    /// Checks all, then puts all in.
    fn load(&mut self, read: Read) -> Result<Loaded, Error> {
        self.accepts_work()?;
        self.check_ids(&read)?;
        self.check_links(&read)?;
        let loaded = Loaded {
            flows: read.flows.len(),
            work_pools: read.pools.len(),
            work_queues: read.queues.len(),
            deployments: read.deployments.len(),
            flow_runs: read.runs.len(),
            task_runs: read.task_runs.len(),
        };
        for flow in read.flows {
            let (id, name, tags) = (flow.id, flow.name.clone(), shared_tags(&flow.tags));
            let row = self.catalog.flows.insert(Arc::new(FlowRow { data: flow, tags }));
            self.catalog.by_id.insert(id.uuid(), row);
            self.catalog.flow_names.insert(name, row);
        }
        for pool in read.pools {
            self.add_pool(pool);
        }
        for queue in read.queues {
            let pool = self.catalog.by_id[&queue.work_pool_id.uuid()];
            self.add_queue(pool, queue);
        }
        for record in read.deployments {
            self.load_deployment(record);
        }
        for record in read.runs {
            self.load_run(record);
        }
        for task_run in read.task_runs {
            let (id, tags) = (task_run.id, shared_tags(&task_run.tags));
            let run = task_run.flow_run_id.and_then(|id| self.run_row(id));
            let row = self.catalog.task_runs.insert(Arc::new(TaskRunRow {
                data: task_run,
                tags,
                run,
            }));
            self.catalog.by_id.insert(id.uuid(), row);
        }
        self.changed();
        Ok(loaded)
    }

    /// Every id and unique name is new.
    fn check_ids(&self, read: &Read) -> Result<(), Error> {
        read.check_sizes()?;
        let mut seen = HashSet::new();
        let ids = [
            (
                "flows",
                read.flows.iter().map(|held| held.id.uuid()).collect::<Vec<_>>(),
            ),
            (
                "work_pools",
                read.pools.iter().map(|held| held.id.uuid()).collect(),
            ),
            (
                "work_queues",
                read.queues.iter().map(|held| held.id.uuid()).collect(),
            ),
            (
                "deployments",
                read.deployments.iter().map(|held| held.id.uuid()).collect(),
            ),
            ("flow_runs", read.runs.iter().map(|held| held.id.uuid()).collect()),
            (
                "task_runs",
                read.task_runs.iter().map(|held| held.id.uuid()).collect(),
            ),
        ];
        for (kind, ids) in ids {
            for (index, id) in ids.into_iter().enumerate() {
                let known = self.catalog.by_id.contains_key(&id)
                    || self.catalog.deployment(DeploymentId::from_uuid(id)).is_some()
                    || self.run_row(RunId::from_uuid(id)).is_some();
                if known || !seen.insert(id) {
                    return Err(damaged(
                        format!("{kind}[{index}].id"),
                        format!("the id {id} is there already"),
                    ));
                }
            }
        }
        let taken = |path: String, name: &str| Err(damaged(path, format!("the name {name:?} is taken")));
        let mut names: HashSet<(u8, Option<Uuid>, &str)> = HashSet::new();
        for (index, flow) in read.flows.iter().enumerate() {
            if self.catalog.flow_names.contains_key(&flow.name) || !names.insert((0, None, &flow.name)) {
                return taken(format!("flows[{index}].name"), &flow.name);
            }
        }
        for (index, pool) in read.pools.iter().enumerate() {
            if self.catalog.pool_names.contains_key(&pool.name) || !names.insert((1, None, &pool.name)) {
                return taken(format!("work_pools[{index}].name"), &pool.name);
            }
        }
        for (index, queue) in read.queues.iter().enumerate() {
            let held = (self.pool_of(queue.work_pool_id))
                .is_some_and(|pool| self.catalog.queue_names.contains_key(&(pool, queue.name.clone())));
            if held || !names.insert((2, Some(queue.work_pool_id.uuid()), &queue.name)) {
                return taken(format!("work_queues[{index}].name"), &queue.name);
            }
        }
        for (index, deployment) in read.deployments.iter().enumerate() {
            let held = (self.flow_of(deployment.flow_id)).is_some_and(|flow| {
                self.catalog
                    .deployment_names
                    .contains_key(&(flow, deployment.name.clone()))
            });
            if held || !names.insert((3, Some(deployment.flow_id.uuid()), &deployment.name)) {
                return taken(format!("deployments[{index}].name"), &deployment.name);
            }
        }
        let (held, most) = (
            self.catalog.queues.len() + read.queues.len(),
            self.settings.queues,
        );
        if held > most {
            return Err(Error::Full {
                what: "work queues",
                waiting: self.catalog.queues.len(),
                capacity: most,
                asked: read.queues.len(),
            });
        }
        let (held, most) = (self.catalog.deployments.len(), self.settings.deployments);
        if held + read.deployments.len() > most {
            return Err(Error::Full {
                what: "deployments",
                waiting: held,
                capacity: most,
                asked: read.deployments.len(),
            });
        }
        Ok(())
    }

    /// Every row that is named is there, or comes along.
    fn check_links(&self, read: &Read) -> Result<(), Error> {
        let flows: HashSet<FlowId> = read.flows.iter().map(|flow| flow.id).collect();
        let pools: HashSet<PoolId> = read.pools.iter().map(|pool| pool.id).collect();
        let has_flow = |id: FlowId| flows.contains(&id) || self.flow_of(id).is_some();
        for (index, queue) in read.queues.iter().enumerate() {
            if !pools.contains(&queue.work_pool_id) && self.pool_of(queue.work_pool_id).is_none() {
                let path = format!("work_queues[{index}].work_pool_id");
                return Err(damaged(
                    path,
                    format!("there is no work pool {}", queue.work_pool_id),
                ));
            }
        }
        for (index, deployment) in read.deployments.iter().enumerate() {
            if !has_flow(deployment.flow_id) {
                let path = format!("deployments[{index}].flow_id");
                return Err(damaged(path, format!("there is no flow {}", deployment.flow_id)));
            }
        }
        for (index, run) in read.runs.iter().enumerate() {
            if !has_flow(run.flow_id) {
                let path = format!("flow_runs[{index}].flow_id");
                return Err(damaged(path, format!("there is no flow {}", run.flow_id)));
            }
        }
        Ok(())
    }

    fn flow_of(&self, id: FlowId) -> Option<u32> {
        let row = self.catalog.by_id.get(&id.uuid()).copied();
        row.filter(|&row| self.catalog.flows.get(row).is_some_and(|held| held.data.id == id))
    }

    fn pool_of(&self, id: PoolId) -> Option<u32> {
        let row = self.catalog.by_id.get(&id.uuid()).copied();
        row.filter(|&row| self.catalog.pools.get(row).is_some_and(|held| held.data.id == id))
    }

    fn queue_of(&self, id: QueueId) -> Option<u32> {
        let row = self.catalog.by_id.get(&id.uuid()).copied();
        row.filter(|&row| {
            self.catalog
                .queues
                .get(row)
                .is_some_and(|held| held.data.id == id)
        })
    }

    fn load_deployment(&mut self, record: DeploymentRecord) {
        let flow = self.flow_of(record.flow_id).expect("links were checked");
        let queue = record.work_queue_id.and_then(|id| self.queue_of(id));
        let tags = shared_tags(&record.tags);
        let (id, name) = (record.id, record.name.clone());
        let data = Deployment {
            limits: crate::limit::Request::new(),
            id,
            created: record.created,
            updated: record.updated,
            name: record.name,
            flow_id: record.flow_id,
            version: record.version,
            description: record.description,
            paused: record.paused,
            // A record makes no runs, so it has no schedules to make them.
            schedules: Vec::new(),
            concurrency_limit: record.concurrency_limit,
            concurrency_options: record.concurrency_options,
            parameters: record.parameters,
            tags: record.tags,
            labels: record.labels.unwrap_or_default(),
            work_pool_name: record.work_pool_name,
            work_queue_name: record.work_queue_name,
            work_queue_id: record.work_queue_id,
            priority: record.priority,
            retry: Retry::default(),
            timeout: None,
            path: record.path,
            entrypoint: record.entrypoint,
            pull_steps: record.pull_steps.unwrap_or_default(),
            job_variables: record.job_variables.unwrap_or_default(),
            enforce_parameter_schema: record.enforce_parameter_schema.unwrap_or(true),
            parameter_openapi_schema: record.parameter_openapi_schema,
            status: record.status.unwrap_or(PoolStatus::NotReady),
            last_polled: record.last_polled,
        };
        let row = self.catalog.deployments.insert(Arc::new(DeploymentRow {
            data,
            flow,
            queue,
            tags,
        }));
        self.catalog.note_deployment(id, row);
        self.catalog.deployment_names.insert((flow, name), row);
    }

    fn load_run(&mut self, record: RunRecord) {
        let deployment = record.deployment_id.and_then(|id| self.catalog.deployment(id));
        let common = RunCommon {
            flow: self.flow_of(record.flow_id).expect("links were checked"),
            flow_id: record.flow_id,
            deployment_id: record.deployment_id,
            queue_id: record.work_queue_id,
            queue_name: record.work_queue_name,
            retry: Retry::default(),
            timeout: None,
            auto_scheduled: record.auto_scheduled,
            created_by: record.created_by,
            parent: record.parent_task_run_id,
            deployment_version: record.deployment_version,
            flow_version: record.flow_version,
        };
        let body = RunBody {
            common: Arc::new(common),
            limits: None,
            parameters: Arc::new(record.parameters),
            tags: self.tag_sets.share(&record.tags),
            labels: Arc::new(record.labels.unwrap_or_default()),
            key: record.idempotency_key,
            fingerprint: 0,
            expires: When::NEVER,
            own: RunOwn::of(
                record.context.unwrap_or_default(),
                record.job_variables.unwrap_or_default(),
            ),
        };
        let micros = |instant: DateTime<Utc>| instant.timestamp_micros();
        let state_at = record
            .state
            .as_ref()
            .and_then(|state| state.timestamp)
            .unwrap_or(record.updated);
        let total_run = record.total_run_time.unwrap_or_default().as_micros();
        let row = self.catalog.runs.insert(RunRow {
            id: record.id,
            name: record.name,
            body: Arc::new(body),
            created: micros(record.created),
            updated: micros(record.updated),
            queue: record.work_queue_id.and_then(|id| self.queue_of(id)),
            deployment,
            priority: record.priority,
            place: Place::Record,
            due: 0,
            seq: 0,
            state: record.state_type,
            state_at: micros(state_at),
            said: Said::of(
                record.state_type,
                record.state_name.unwrap_or_default(),
                record.state.and_then(|state| state.message),
            ),
            past: crate::catalog::Past::default(),
            run_count: record.run_count,
            attempt: 0,
            expected_start: record.expected_start_time.into(),
            next_start: record.next_scheduled_start_time.into(),
            start: record.start_time.into(),
            end: record.end_time.into(),
            total_run: i64::try_from(total_run).unwrap_or(i64::MAX),
            result: None,
        });
        self.catalog.by_id.insert(record.id.uuid(), row);
        self.set_work(row, super::core::Work::None);
    }
}
