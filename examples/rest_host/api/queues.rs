//! Work queues: those of a pool by name, all by id.

use std::num::NonZeroU32;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::filter::{Entity, Limits, Query, Shape};
use tenfold::model::{QueueFilter, QueuePatch, Text, WorkQueue};
use tenfold::{Engine, Error, NewQueue};

use super::forms::Forms;
use super::{Told, nothing, parsed, said};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

/// The queue and the pool of runs that name none.
pub const DEFAULT: Text = Text::of("default");

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/work_pools/{pool}/queues", post(create_in))
        .route(
            "/work_pools/{pool}/queues/{name}",
            get(read_in).patch(update_in).delete(delete_in),
        )
        .route("/work_queues/", post(create))
        .route("/work_queues/name/{name}", get(by_name))
        .route("/work_queues/{id}", get(read).patch(update).delete(delete))
        .route("/work_queues/{id}/status", get(status))
}

/// The queue of that name is there afterwards.
///
/// # Errors
///
/// 404 when the pool is not there.
pub fn ensured(engine: &Engine, pool: &str, queue: &str) -> Result<(), Refusal> {
    match engine.queue(pool, queue) {
        Ok(_) => Ok(()),
        Err(Error::NotFound { .. }) => match engine.create_queue(NewQueue::named(pool, queue)) {
            // Somebody else was as quick.
            Ok(_) | Err(Error::Duplicate { .. }) => Ok(()),
            Err(refused) => Err(refused.into()),
        },
        Err(refused) => Err(refused.into()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    name: Option<Text>,
    #[serde(deserialize_with = "said")]
    description: Option<Option<Text>>,
    is_paused: Option<bool>,
    #[serde(deserialize_with = "said")]
    concurrency_limit: Option<Option<u32>>,
    priority: Option<NonZeroU32>,
    #[serde(deserialize_with = "said")]
    filter: Option<Option<QueueFilter>>,
    last_polled: Value,
}

impl Body {
    fn into_new(self, pool: &str) -> Result<(NewQueue, Text), Refusal> {
        let name = self.name.ok_or_else(|| Refusal::field("name", "give one"))?;
        let mut queue = NewQueue::named(pool, name.clone());
        if let Some(text) = self.description.flatten() {
            queue = queue.description(text);
        }
        if let Some(limit) = self.concurrency_limit.flatten() {
            queue = queue.concurrency_limit(limit);
        }
        if let Some(priority) = self.priority {
            queue = queue.priority(priority);
        }
        if let Some(filter) = self.filter.flatten() {
            queue = queue.filter(filter);
        }
        if self.is_paused == Some(true) {
            queue = queue.paused();
        }
        Ok((queue, name))
    }

    fn into_patch(self, held: &WorkQueue) -> Result<QueuePatch, Refusal> {
        if self.name.is_some_and(|name| name != held.name) {
            return Err(Refusal::field("name", "a queue keeps its name; make another one"));
        }
        super::not_kept("last_polled", &self.last_polled)?;
        let mut patch = QueuePatch::new();
        if let Some(text) = self.description {
            patch = patch.description(text);
        }
        if let Some(paused) = self.is_paused {
            patch = patch.paused(paused);
        }
        if let Some(limit) = self.concurrency_limit {
            patch = patch.concurrency_limit(limit);
        }
        if let Some(priority) = self.priority {
            patch = patch.priority(priority);
        }
        if let Some(filter) = self.filter {
            patch = patch.filter(filter);
        }
        Ok(patch)
    }
}

fn told(engine: &Engine, status: StatusCode, held: &WorkQueue) -> Json<Value> {
    Json(status, Forms::of(engine).queue(held))
}

/// A queue by id, with the name of its pool.
fn found(engine: &Engine, id: &str) -> Result<(WorkQueue, Text), Refusal> {
    let queue = engine.queue_by_id(parsed(id)?)?;
    let pool = engine.pool_by_id(queue.work_pool_id)?;
    Ok((queue, pool.name))
}

fn create_queue(engine: &Engine, pool: &str, new: Body) -> Result<Json<Value>, Refusal> {
    let (queue, name) = new.into_new(pool)?;
    engine.create_queue(queue)?;
    Ok(told(engine, StatusCode::CREATED, &engine.queue(pool, &name)?))
}

async fn create_in(Path(pool): Path<String>, Told(org, new): Told<Body>) -> Result<Json<Value>, Refusal> {
    create_queue(&org.engine, &pool, new)
}

async fn create(Told(org, new): Told<Body>) -> Result<Json<Value>, Refusal> {
    create_queue(&org.engine, &DEFAULT, new)
}

async fn read_in(
    Caller(org): Caller,
    Path((pool, name)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    Ok(told(
        &org.engine,
        StatusCode::OK,
        &org.engine.queue(&pool, &name)?,
    ))
}

async fn by_name(Caller(org): Caller, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(told(
        &org.engine,
        StatusCode::OK,
        &org.engine.queue(&DEFAULT, &name)?,
    ))
}

async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(told(&org.engine, StatusCode::OK, &found(&org.engine, &id)?.0))
}

async fn update_in(
    Path((pool, name)): Path<(String, String)>,
    Told(org, new): Told<Body>,
) -> Result<Response, Refusal> {
    let patch = new.into_patch(&org.engine.queue(&pool, &name)?)?;
    org.engine.update_queue(&pool, &name, patch)?;
    Ok(nothing())
}

async fn update(Path(id): Path<String>, Told(org, new): Told<Body>) -> Result<Response, Refusal> {
    let (held, pool) = found(&org.engine, &id)?;
    org.engine
        .update_queue(&pool, &held.name, new.into_patch(&held)?)?;
    Ok(nothing())
}

async fn delete_in(
    Caller(org): Caller,
    Path((pool, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    org.engine.delete_queue(&pool, &name)?;
    Ok(nothing())
}

async fn delete(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    let (held, pool) = found(&org.engine, &id)?;
    org.engine.delete_queue(&pool, &held.name)?;
    Ok(nothing())
}

/// Longest time without a question after which a queue still counts as healthy, in seconds.
const HEALTHY: i64 = 60;

/// Whether somebody asks it for work, and how many of its runs are late.
async fn status(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let (held, _) = found(&org.engine, &id)?;
    let late = json!({
        "flow_runs": { "state": { "name": { "any_": ["Late"] } } },
        "work_pool_queues": { "id": { "any_": [held.id] } },
    });
    let late = Query::from_json(Entity::Run, Shape::Count, &late, &Limits::default());
    let late = org
        .engine
        .count(&late.map_err(|refusal| Refusal::internal(&refusal))?)?;
    let now = org.engine.now()?;
    let asked = held
        .last_polled
        .is_some_and(|at| (now - at).num_seconds() <= HEALTHY);
    Ok(Json(
        StatusCode::OK,
        json!({
            "healthy": late == 0 && asked,
            "late_runs_count": late,
            "last_polled": held.last_polled,
            "health_check_policy": {
                "maximum_late_runs": 0,
                "maximum_seconds_since_last_polled": HEALTHY,
            },
        }),
    ))
}
