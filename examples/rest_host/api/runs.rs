//! Runs: made from a deployment or of a flow alone, read, given states, deleted.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::engine::{Answer, RunChange};
use tenfold::filter::Entity;
use tenfold::ids::FlowId;
use tenfold::model::{NewState, Object, StateType, Target, Text};
use tenfold::{DeploymentId, Engine, NewRun, Priority, Retry, RunId};

use super::deployments::chosen;
use super::forms::{Forms, state_of};
use super::queues::{DEFAULT, ensured};
use super::states::{Proposed, answered};
use super::{Told, made, not_kept, nothing, parsed, told};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/deployments/{id}/create_flow_run", post(create_from))
        .route("/flow_runs/", post(create))
        .route("/flow_runs/bulk_delete", post(bulk_delete))
        .route("/flow_runs/bulk_set_state", post(bulk_set_state))
        .route("/flow_runs/{id}", get(read).patch(update).delete(delete))
        .route("/flow_runs/{id}/labels", axum::routing::patch(label))
        .route("/flow_runs/{id}/set_state", post(set_state))
        .route("/flow_runs/{id}/resume", post(resume))
        .route("/flow_run_states/", get(states))
        .route("/flow_run_states/{id}", get(state))
}

/// A run to make.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Create {
    state: Option<Proposed>,
    name: Option<Text>,
    flow_id: Option<FlowId>,
    deployment_id: Option<DeploymentId>,
    flow_version: Option<Text>,
    parameters: Object,
    tags: Vec<Text>,
    labels: Option<Object>,
    idempotency_key: Option<Text>,
    empirical_policy: Policy,
    work_pool_name: Option<Text>,
    work_queue_name: Option<Text>,
    /// This engine's own: its level.
    priority: Option<Priority>,
    enforce_parameter_schema: Option<bool>,
    context: Option<Object>,
    job_variables: Option<Object>,
    parent_task_run_id: Value,
    infrastructure_document_id: Value,
}

/// What follows a failed attempt.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Policy {
    retries: Option<u32>,
    retry_delay: Option<f64>,
}

impl Policy {
    fn retry(&self) -> Result<Option<Retry>, Refusal> {
        let Some(retries) = self.retries.filter(|&retries| retries > 0) else {
            return Ok(None);
        };
        let delay = Duration::try_from_secs_f64(self.retry_delay.unwrap_or(0.0));
        let field = "empirical_policy.retry_delay";
        let delay = delay.map_err(|problem| Refusal::field(field, problem.to_string()))?;
        Ok(Some(Retry::fixed(retries, delay)))
    }
}

impl Create {
    /// Makes it, and gives it the state that it is to begin with. Answers its id, and whether it is new.
    fn submit(
        self,
        engine: &Engine,
        target: impl Into<Target>,
        pool: Option<Text>,
    ) -> Result<(RunId, bool), Refusal> {
        not_kept("parent_task_run_id", &self.parent_task_run_id)?;
        not_kept("infrastructure_document_id", &self.infrastructure_document_id)?;
        if self.enforce_parameter_schema == Some(false) {
            let rule = "whether parameters are checked is said by the deployment; change it there";
            return Err(Refusal::field("enforce_parameter_schema", rule));
        }
        let now = engine.now()?;
        let mut run = NewRun::of(target).parameters(self.parameters);
        for tag in self.tags {
            run = run.tag(tag);
        }
        // The reference takes an empty name or key for none.
        let given = |text: &Text| !text.is_empty();
        macro_rules! set {
            ($($value:expr => $method:ident;)*) => {$(
                if let Some(value) = $value {
                    run = run.$method(value);
                }
            )*};
        }
        set! {
            self.name.filter(given) => name;
            self.labels => labels;
            self.context => context;
            self.job_variables => job_variables;
            self.idempotency_key.filter(given) => idempotency_key;
            self.priority => priority;
            self.empirical_policy.retry()? => retry;
            self.flow_version => flow_version;
            self.state.as_ref().and_then(|state| state.later(now)) => not_before;
        }
        let pool = self.work_pool_name.or(self.work_queue_name.as_ref().and(pool));
        if pool.is_some() || self.work_queue_name.is_some() {
            let pool = pool.unwrap_or(DEFAULT);
            let queue = self.work_queue_name.unwrap_or(DEFAULT);
            ensured(engine, &pool, &queue)?;
            run = run.work_queue(pool, queue);
        }
        let submitted = engine.submit(run)?;
        let other = |state: &Proposed| state.kind != StateType::Scheduled;
        if let Some(state) = self.state.filter(other)
            && !submitted.existing
        {
            // A limit that is full holds here too: the run waits then, and the answer shows it.
            engine.set_state(submitted.id, state.state(now, true))?;
        }
        Ok((submitted.id, !submitted.existing))
    }
}

fn answer(engine: &Engine, (id, fresh): (RunId, bool)) -> Result<Json<Value>, Refusal> {
    let run = engine.run(id)?;
    Ok(Json(made(fresh), Forms::of(engine).run(&run)))
}

async fn create_from(Path(id): Path<String>, Told(org, new): Told<Create>) -> Result<Json<Value>, Refusal> {
    if new.flow_id.is_some() || new.deployment_id.is_some() || new.work_pool_name.is_some() {
        return Err(Refusal::invalid(
            "the deployment says which flow and pool; leave them out",
        ));
    }
    let held = org.engine.deployment(parsed(&id)?)?;
    let submitted = new.submit(&org.engine, held.id, held.work_pool_name)?;
    answer(&org.engine, submitted)
}

async fn create(Told(org, mut new): Told<Create>) -> Result<Json<Value>, Refusal> {
    let submitted = match (new.deployment_id.take(), new.flow_id.take()) {
        (Some(deployment), _) => new.submit(&org.engine, deployment, None)?,
        (None, Some(flow)) => {
            let flow = org.engine.flow_by_id(flow)?;
            new.submit(&org.engine, Target::Flow(flow.name), None)?
        }
        (None, None) => return Err(Refusal::field("flow_id", "give one")),
    };
    answer(&org.engine, submitted)
}

async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let run = org.engine.run(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, Forms::of(&org.engine).run(&run)))
}

/// What people may change of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Update {
    name: Option<Text>,
    tags: Option<Vec<Text>>,
    flow_version: Value,
    parameters: Value,
    empirical_policy: Value,
    infrastructure_pid: Value,
    job_variables: Value,
}

async fn update(Path(id): Path<String>, Told(org, new): Told<Update>) -> Result<Response, Refusal> {
    not_kept("flow_version", &new.flow_version)?;
    not_kept("parameters", &new.parameters)?;
    not_kept("empirical_policy", &new.empirical_policy)?;
    not_kept("infrastructure_pid", &new.infrastructure_pid)?;
    not_kept("job_variables", &new.job_variables)?;
    let mut patch = tenfold::model::RunPatch::new();
    if let Some(name) = new.name {
        patch = patch.name(name);
    }
    if let Some(tags) = new.tags {
        patch = patch.tags(tags);
    }
    org.engine.update_run(parsed(&id)?, patch)?;
    Ok(nothing())
}

/// Labels laid over those that the run has.
async fn label(Path(id): Path<String>, Told(org, labels): Told<Object>) -> Result<Response, Refusal> {
    let patch = tenfold::model::RunPatch::new().labels(labels);
    org.engine.update_run(parsed(&id)?, patch)?;
    Ok(nothing())
}

async fn delete(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    org.engine.delete_run(parsed(&id)?)?;
    Ok(nothing())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetState {
    state: Proposed,
    #[serde(default)]
    force: bool,
}

fn told_of(run: RunId, answer: &Answer) -> Json<Value> {
    let (accepted, body) = answered(run, answer);
    Json(made(accepted), body)
}

async fn set_state(Path(id): Path<String>, Told(org, new): Told<SetState>) -> Result<Json<Value>, Refusal> {
    let id = parsed(&id)?;
    let state = new.state.state(org.engine.now()?, new.force);
    Ok(told_of(id, &org.engine.set_state(id, state)?))
}

async fn resume(Path(id): Path<String>, Told(org, input): Told<Object>) -> Result<Json<Value>, Refusal> {
    let id = parsed(&id)?;
    not_kept("run_input", input.get("run_input").unwrap_or(&Value::Null))?;
    if org.engine.run(id)?.state_type != Some(StateType::Paused) {
        let reason = "only a run that is PAUSED can be resumed";
        let details = json!({ "type": "abort_details", "reason": reason });
        let body = json!({ "state": null, "status": "ABORT", "details": details });
        return Ok(Json(StatusCode::OK, body));
    }
    let state = NewState::of(StateType::Scheduled);
    Ok(told_of(id, &org.engine.set_state(id, state)?))
}

/// `?flow_run_id=...`; a uuid needs no escapes.
async fn states(Caller(org): Caller, RawQuery(query): RawQuery) -> Result<Json<Value>, Refusal> {
    let mut keys = query.iter().flat_map(|query| query.split('&'));
    let id = keys.find_map(|key| key.strip_prefix("flow_run_id="));
    let id = parsed(id.unwrap_or_default())?;
    Ok(Json(StatusCode::OK, Forms::states(id, &org.engine.states(id)?)))
}

async fn state(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let (run, state) = org.engine.state(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, state_of(run, &state, None)))
}

async fn bulk_delete(Told(org, mut body): Told<Value>) -> Result<Json<Value>, Refusal> {
    let (filter, how) = chosen(Entity::Run, &mut body)?;
    let done = org.engine.bulk(&filter, RunChange::Delete, how)?;
    Ok(Json(StatusCode::OK, json!({ "deleted": done.changed })))
}

/// For states that end a run, which is what the engine sets in bulk.
async fn bulk_set_state(Told(org, mut body): Told<Value>) -> Result<Json<Value>, Refusal> {
    let keys = body.as_object_mut();
    let proposed = keys.and_then(|keys| {
        keys.remove("force");
        keys.remove("state")
    });
    let state: Proposed = told(proposed.unwrap_or_default())?;
    let (filter, how) = chosen(Entity::Run, &mut body)?;
    let done = org.engine.bulk(&filter, RunChange::State(state.kind), how)?;
    let set = done
        .changed
        .iter()
        .map(|id| json!({ "flow_run_id": id, "status": "ACCEPT" }));
    let failed = done.failed.iter().map(
        |(id, why)| json!({ "flow_run_id": id, "status": "ABORT", "details": { "reason": why.to_string() } }),
    );
    Ok(Json(
        StatusCode::OK,
        json!({ "results": set.chain(failed).collect::<Vec<_>>() }),
    ))
}
