//! Deployments: making, changing, pausing, deleting; their runs ahead.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::engine::{Ahead, Bulk, DeploymentChange};
use tenfold::filter::{Entity, Filter, Limits};
use tenfold::ids::FlowId;
use tenfold::model::{ConcurrencyOptions, DeploymentPatch, NewDeployment, Object, Text};
use tenfold::{Deployment, DeploymentId, Engine, Error, Priority};

use super::forms::{self, Forms};
use super::queues::{DEFAULT, ensured};
use super::schedules::Said;
use super::{Told, made, not_kept, nothing, parsed, said};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/deployments/", post(create))
        .route("/deployments/bulk_delete", post(bulk_delete))
        .route("/deployments/get_scheduled_flow_runs", post(scheduled))
        .route("/deployments/name/{flow}/{name}", get(by_name))
        .route("/deployments/{id}", get(read).patch(update).delete(delete))
        .route("/deployments/{id}/pause_deployment", post(pause))
        .route("/deployments/{id}/resume_deployment", post(resume))
        .route("/deployments/{id}/schedule", post(schedule))
        .route("/deployments/{id}/work_queue_check", get(meant_for))
}

/// What is said of a deployment: all of it when one is made, what changes when one is changed. A key that is missing and one
/// that is null are two things.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    name: Option<Text>,
    flow_id: Option<FlowId>,
    #[serde(deserialize_with = "said")]
    version: Option<Option<Text>>,
    #[serde(deserialize_with = "said")]
    description: Option<Option<Text>>,
    #[serde(deserialize_with = "said")]
    path: Option<Option<Text>>,
    #[serde(deserialize_with = "said")]
    entrypoint: Option<Option<Text>>,
    paused: Option<bool>,
    schedules: Option<Vec<Said>>,
    #[serde(deserialize_with = "said")]
    concurrency_limit: Option<Option<NonZeroU32>>,
    #[serde(deserialize_with = "said")]
    concurrency_options: Option<Option<ConcurrencyOptions>>,
    enforce_parameter_schema: Option<bool>,
    parameter_openapi_schema: Option<Object>,
    parameters: Option<Object>,
    tags: Option<Vec<Text>>,
    labels: Option<Object>,
    pull_steps: Option<Vec<Object>>,
    #[serde(deserialize_with = "said")]
    work_pool_name: Option<Option<Text>>,
    work_queue_name: Option<Text>,
    job_variables: Option<Object>,
    /// This engine's own: the level of its runs.
    priority: Option<Priority>,
    storage_document_id: Value,
    infrastructure_document_id: Value,
    global_concurrency_limit_id: Value,
    version_info: Value,
    branch: Value,
    base: Value,
    root: Value,
}

impl Body {
    /// Refuses what would be dropped.
    fn check(&self) -> Result<(), Refusal> {
        not_kept("storage_document_id", &self.storage_document_id)?;
        not_kept("infrastructure_document_id", &self.infrastructure_document_id)?;
        not_kept("global_concurrency_limit_id", &self.global_concurrency_limit_id)?;
        not_kept("version_info", &self.version_info)?;
        not_kept("branch", &self.branch)?;
        not_kept("base", &self.base)?;
        not_kept("root", &self.root)
    }

    /// The queue that it names; made if it is not there. `at` is where the deployment is now.
    fn queue(&self, engine: &Engine, at: Option<&Deployment>) -> Result<Option<(Text, Text)>, Refusal> {
        let held = at.and_then(|at| at.work_pool_name.clone());
        let (pool, queue) = match (&self.work_pool_name, &self.work_queue_name) {
            (None, None) => return Ok(None),
            (None, Some(queue)) => (held, Some(queue.clone())),
            (Some(pool), queue) => (pool.clone(), queue.clone()),
        };
        let pool = pool.unwrap_or(DEFAULT);
        let queue = queue.unwrap_or(DEFAULT);
        if (&pool, &queue) == (&DEFAULT, &DEFAULT) && at.is_none() {
            return Ok(None);
        }
        ensured(engine, &pool, &queue)?;
        Ok(Some((pool, queue)))
    }

    fn into_new(self, engine: &Engine, flow: &Text, name: Text) -> Result<NewDeployment, Refusal> {
        let queue = self.queue(engine, None)?;
        let mut new = NewDeployment::new(flow.clone(), name)
            .parameters(self.parameters.unwrap_or_default())
            .labels(self.labels.unwrap_or_default());
        for said in self.schedules.into_iter().flatten() {
            new = new.schedule(said.new_over(&[])?);
        }
        // Setting by setting: what is not said stays as it is in one that is there.
        macro_rules! set {
            ($($value:expr => $method:ident;)*) => {$(
                if let Some(value) = $value {
                    new = new.$method(value);
                }
            )*};
        }
        set! {
            self.version.flatten() => version;
            self.description.flatten() => description;
            self.path.flatten() => path;
            self.entrypoint.flatten() => entrypoint;
            self.concurrency_limit.flatten() => concurrency_limit;
            self.concurrency_options.flatten() => concurrency_options;
            self.enforce_parameter_schema => enforce_parameter_schema;
            self.parameter_openapi_schema => parameter_schema;
            self.pull_steps => pull_steps;
            self.job_variables => job_variables;
            self.priority => priority;
            self.tags => tags;
        }
        if self.paused == Some(true) {
            new = new.paused();
        }
        if let Some((pool, queue)) = queue {
            new = new.work_queue(pool, queue);
        }
        Ok(new)
    }

    /// What it takes away from a deployment that is there: null is said, and not the same as nothing.
    fn undone(&self) -> DeploymentPatch {
        let mut patch = DeploymentPatch::new();
        macro_rules! undo {
            ($($field:ident)*) => {$(
                if self.$field == Some(None) {
                    patch = patch.$field(None);
                }
            )*};
        }
        undo! { version description path entrypoint concurrency_limit concurrency_options }
        if self.paused == Some(false) {
            patch = patch.paused(false);
        }
        patch
    }

    fn into_patch(self, engine: &Engine, held: &Deployment) -> Result<DeploymentPatch, Refusal> {
        let queue = self.queue(engine, Some(held))?;
        let mut patch = DeploymentPatch::new();
        if let Some(said) = self.schedules {
            let new = said.into_iter().map(|said| said.new_over(&held.schedules));
            patch = patch.schedules(new.collect::<Result<_, _>>()?);
        }
        macro_rules! set {
            ($($value:expr => $method:ident;)*) => {$(
                if let Some(value) = $value {
                    patch = patch.$method(value);
                }
            )*};
        }
        set! {
            self.version => version;
            self.description => description;
            self.path => path;
            self.entrypoint => entrypoint;
            self.paused => paused;
            self.concurrency_limit => concurrency_limit;
            self.concurrency_options => concurrency_options;
            self.enforce_parameter_schema => enforce_parameter_schema;
            self.parameter_openapi_schema.map(Some) => parameter_schema;
            self.parameters => parameters;
            self.tags => tags;
            self.labels => labels;
            self.pull_steps => pull_steps;
            self.job_variables => job_variables;
            self.priority => priority;
        }
        if let Some((pool, queue)) = queue {
            patch = patch.work_queue(pool, queue);
        }
        Ok(patch)
    }
}

async fn create(Told(org, mut new): Told<Body>) -> Result<Json<Value>, Refusal> {
    new.check()?;
    let needed = |field: &str| Refusal::field(field, "give one");
    let flow = new.flow_id.take().ok_or_else(|| needed("flow_id"))?;
    let name = new.name.take().ok_or_else(|| needed("name"))?;
    let flow = org.engine.flow_by_id(flow)?.name;
    let undone = new.undone();
    let (mut held, fresh) = org.engine.upsert(new.into_new(&org.engine, &flow, name)?)?;
    if !fresh {
        org.engine.update_deployment(held.id, undone)?;
        held = org.engine.deployment(held.id)?;
    }
    Ok(Json(made(fresh), forms::deployment(&held)))
}

async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let held = org.engine.deployment(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, forms::deployment(&held)))
}

async fn by_name(
    Caller(org): Caller,
    Path((flow, name)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let held = org.engine.deployment_by_name(&format!("{flow}/{name}"))?;
    Ok(Json(StatusCode::OK, forms::deployment(&held)))
}

async fn update(Path(id): Path<String>, Told(org, new): Told<Body>) -> Result<Response, Refusal> {
    new.check()?;
    if new.name.is_some() || new.flow_id.is_some() {
        let rule = "a deployment keeps its name and flow; make another one";
        return Err(Refusal::field("name", rule));
    }
    let held = org.engine.deployment(parsed(&id)?)?;
    let patch = new.into_patch(&org.engine, &held)?;
    org.engine.update_deployment(held.id, patch)?;
    Ok(nothing())
}

async fn delete(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    org.engine.delete_deployment(parsed(&id)?)?;
    Ok(nothing())
}

async fn pause(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    org.engine.pause_deployment(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, Value::Null))
}

async fn resume(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    org.engine.resume_deployment(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, Value::Null))
}

/// Which occurrences are to have runs now.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Range {
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    min_time: Option<f64>,
    min_runs: Option<usize>,
    max_runs: Option<usize>,
}

async fn schedule(Path(id): Path<String>, Told(org, range): Told<Range>) -> Result<Json<Value>, Refusal> {
    let mut ahead = Ahead::new();
    if let Some(start) = range.start_time {
        ahead = ahead.start(start);
    }
    if let Some(end) = range.end_time {
        ahead = ahead.end(end);
    }
    if let Some(seconds) = range.min_time {
        let span = Duration::try_from_secs_f64(seconds);
        ahead = ahead.min_time(span.map_err(|problem| Refusal::field("min_time", problem.to_string()))?);
    }
    if let Some(least) = range.min_runs {
        ahead = ahead.min_runs(least);
    }
    if let Some(most) = range.max_runs {
        ahead = ahead.max_runs(most);
    }
    org.engine.schedule_runs(parsed(&id)?, ahead)?;
    Ok(Json(StatusCode::OK, Value::Null))
}

#[derive(Debug, Deserialize)]
struct Poll {
    deployment_ids: Vec<DeploymentId>,
    scheduled_before: Option<DateTime<Utc>>,
    limit: Option<usize>,
}

/// Most rows of one answer, as everywhere in the reference.
pub(super) const MOST_ROWS: usize = 200;

async fn scheduled(Told(org, poll): Told<Poll>) -> Result<Json<Value>, Refusal> {
    let most = poll.limit.unwrap_or(MOST_ROWS).min(MOST_ROWS);
    let runs = org
        .engine
        .scheduled_runs(&poll.deployment_ids, poll.scheduled_before, most)?;
    let mut forms = Forms::of(&org.engine);
    let runs: Value = runs.iter().map(|run| forms.run(run)).collect();
    Ok(Json(StatusCode::OK, runs))
}

async fn meant_for(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let queues = org.engine.work_queue_check(parsed(&id)?)?;
    let mut forms = Forms::of(&org.engine);
    let queues: Value = queues.iter().map(|queue| forms.queue(queue)).collect();
    Ok(Json(StatusCode::OK, queues))
}

/// Reads a filter that is to change rows, and how many it may change: 50, or fewer if the body says so.
pub(super) fn chosen(entity: Entity, body: &mut Value) -> Result<(Filter, Bulk), Refusal> {
    let limit = body.as_object_mut().and_then(|body| body.remove("limit"));
    let most = match limit {
        None | Some(Value::Null) => 50,
        Some(limit) => limit
            .as_u64()
            .filter(|most| (1..=50).contains(most))
            .ok_or_else(|| Refusal::field("limit", "give 1 to 50"))?,
    };
    let filter = Filter::from_json(entity, body, &Limits::default());
    let filter = filter.map_err(|refusal| Refusal::invalid(refusal.to_string()))?;
    Ok((filter, Bulk::new().at_most(usize::try_from(most).unwrap_or(50))))
}

/// Beside the connections, for a change may touch many rows.
async fn bulk_delete(Told(org, mut body): Told<Value>) -> Result<Json<Value>, Refusal> {
    let (filter, how) = chosen(Entity::Deployment, &mut body)?;
    let engine = org.engine.clone();
    let work = move || engine.bulk(&filter, DeploymentChange::Delete, how);
    let done = tokio::task::spawn_blocking(work).await;
    let done: Result<_, Error> = done.map_err(|problem| Refusal::internal(&problem))?;
    Ok(Json(StatusCode::OK, json!({ "deleted": done?.changed })))
}
