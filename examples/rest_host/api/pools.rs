//! Work pools, and what their workers ask.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::NewPool;
use tenfold::model::{Object, PoolPatch, Text};

use super::deployments::MOST_ROWS;
use super::forms::{self, Forms};
use super::{Told, not_kept, nothing, said};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/work_pools/", post(create))
        .route("/work_pools/{name}", get(read).patch(update).delete(delete))
        .route("/work_pools/{name}/get_scheduled_flow_runs", post(scheduled))
        .route("/work_pools/{name}/workers/heartbeat", post(heartbeat))
        .route("/work_pools/{name}/workers/filter", post(workers))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    name: Option<Text>,
    #[serde(deserialize_with = "said")]
    description: Option<Option<Text>>,
    #[serde(rename = "type")]
    kind: Option<Text>,
    base_job_template: Option<Object>,
    is_paused: Option<bool>,
    #[serde(deserialize_with = "said")]
    concurrency_limit: Option<Option<u32>>,
    storage_configuration: Value,
}

async fn create(Told(org, new): Told<Body>) -> Result<Json<Value>, Refusal> {
    not_kept("storage_configuration", &new.storage_configuration)?;
    let name = new.name.ok_or_else(|| Refusal::field("name", "give one"))?;
    let mut pool = NewPool::named(name.clone());
    pool = pool.base_job_template(new.base_job_template.unwrap_or_default());
    if let Some(text) = new.description.flatten() {
        pool = pool.description(text);
    }
    if let Some(kind) = new.kind {
        pool = pool.kind(kind);
    }
    if let Some(limit) = new.concurrency_limit.flatten() {
        pool = pool.concurrency_limit(limit);
    }
    if new.is_paused == Some(true) {
        pool = pool.paused();
    }
    org.engine.create_pool(pool)?;
    let made = org.engine.pool(&name)?;
    Ok(Json(StatusCode::CREATED, forms::pool(&made)))
}

async fn read(Caller(org): Caller, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let held = org.engine.pool(&name)?;
    Ok(Json(StatusCode::OK, forms::pool(&held)))
}

async fn update(Path(name): Path<String>, Told(org, new): Told<Body>) -> Result<Response, Refusal> {
    not_kept("storage_configuration", &new.storage_configuration)?;
    if new.name.is_some() || new.kind.is_some() {
        return Err(Refusal::field(
            "name",
            "a pool keeps its name and type; make another one",
        ));
    }
    let mut patch = PoolPatch::new();
    if let Some(text) = new.description {
        patch = patch.description(text);
    }
    if let Some(template) = new.base_job_template {
        patch = patch.base_job_template(template);
    }
    if let Some(paused) = new.is_paused {
        patch = patch.paused(paused);
    }
    if let Some(limit) = new.concurrency_limit {
        patch = patch.concurrency_limit(limit);
    }
    org.engine.update_pool(&name, patch)?;
    Ok(nothing())
}

async fn delete(Caller(org): Caller, Path(name): Path<String>) -> Result<Response, Refusal> {
    org.engine.delete_pool(&name)?;
    Ok(nothing())
}

/// What a worker asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Poll {
    work_queue_names: Option<Vec<String>>,
    scheduled_before: Option<DateTime<Utc>>,
    scheduled_after: Option<DateTime<Utc>>,
    limit: Option<usize>,
}

/// What the pool offers: in claim order, as far as its slots and limits go. Moving a run to PENDING is what claims it.
async fn scheduled(Path(name): Path<String>, Told(org, poll): Told<Poll>) -> Result<Json<Value>, Refusal> {
    let queues = poll.work_queue_names.unwrap_or_default();
    let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
    let most = poll.limit.unwrap_or(MOST_ROWS);
    if most > MOST_ROWS {
        return Err(Refusal::field("limit", format!("give 0 to {MOST_ROWS}")));
    }
    let pool = org.engine.pool(&name)?;
    let (after, before) = (poll.scheduled_after, poll.scheduled_before);
    let mut runs = org.engine.offers(&name, &queues, after, before, most.max(1))?;
    runs.truncate(most);
    let mut forms = Forms::of(&org.engine);
    let offers = runs.iter().map(|run| {
        json!({ "work_pool_id": pool.id, "work_queue_id": run.work_queue_id, "flow_run": forms.run(run) })
    });
    Ok(Json(StatusCode::OK, offers.collect()))
}

/// A worker says that it is there. Who asks for work is seen by that, so there is nothing to keep.
async fn heartbeat(Path(name): Path<String>, Told(org, _): Told<Object>) -> Result<Response, Refusal> {
    org.engine.pool(&name)?;
    Ok(nothing())
}

async fn workers(Path(name): Path<String>, Told(org, _): Told<Object>) -> Result<Json<Value>, Refusal> {
    org.engine.pool(&name)?;
    Ok(Json(StatusCode::OK, json!([])))
}
