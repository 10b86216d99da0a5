//! `/api`: the reference's deployments API, as far as the engine's methods carry it. Every handler is a call of one.
//!
//! Families are asked in the reference's JSON form: `filter`, `count` and `paginate`.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenfold::filter::{Entity, Limits, Query, Shape};
use tenfold::model::Object;
use tenfold::{DeploymentId, Engine, Error, NewRun, Page, Priority, RunId};

use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};
use crate::read;

/// The paths under `/api`.
pub fn routes() -> axum::Router<Host> {
    let mut routes = axum::Router::new()
        .route("/health", get(|| async { Json(StatusCode::OK, true) }))
        .route("/admin/version", get(version))
        .route("/flows/", post(create_flow))
        .route("/deployments/name/{flow}/{name}", get(by_name))
        .route("/deployments/{id}", get(deployment).delete(delete))
        .route("/deployments/{id}/schedules", get(schedules))
        .route("/deployments/{id}/pause_deployment", post(pause))
        .route("/deployments/{id}/resume_deployment", post(resume))
        .route("/deployments/{id}/create_flow_run", post(create_run))
        .route("/flow_runs/{id}", get(run));
    for (name, entity) in FAMILIES {
        let ask = move |shape: Shape| {
            move |State(host): State<Host>, Caller(org): Caller, request: Request| async move {
                let body = read::json_or_nothing(&org, host.bounds(), request).await?;
                let turn = org.queries.acquire().await;
                let engine = org.engine.clone();
                // Beside the connections: a query may look at many rows.
                let answer = tokio::task::spawn_blocking(move || answer(&engine, entity, shape, &body)).await;
                drop(turn);
                answer.map_err(|problem| Refusal::internal(&problem))?
            }
        };
        routes = routes
            .route(&format!("/{name}/filter"), post(ask(Shape::Filter)))
            .route(&format!("/{name}/count"), post(ask(Shape::Count)))
            .route(&format!("/{name}/paginate"), post(ask(Shape::Paginate)));
    }
    routes
}

/// The families that can be asked.
const FAMILIES: [(&str, Entity); 5] = [
    ("deployments", Entity::Deployment),
    ("flow_runs", Entity::Run),
    ("flows", Entity::Flow),
    ("task_runs", Entity::TaskRun),
    ("work_pools", Entity::Pool),
];

/// Answers a question in the shape that it was asked in.
fn answer(engine: &Engine, entity: Entity, shape: Shape, body: &Value) -> Result<Response, Refusal> {
    let query = Query::from_json(entity, shape, body, &Limits::default())
        .map_err(|refusal| Refusal::invalid(refusal.to_string()))?;
    if shape == Shape::Count {
        return Ok(Json(StatusCode::OK, engine.count(&query)?).into_response());
    }
    Ok(match entity {
        Entity::Deployment => rows(shape, engine.deployments(&query)?),
        Entity::Run => rows(shape, engine.runs(&query)?),
        Entity::Flow => rows(shape, engine.flows(&query)?),
        Entity::TaskRun => rows(shape, engine.task_runs(&query)?),
        Entity::Pool => rows(shape, engine.pools(&query)?),
        Entity::Queue => rows(shape, engine.queues(&query)?),
    })
}

/// A page as it is, or its rows alone. What the question said without effect is told in a header.
fn rows<T: Serialize>(shape: Shape, page: Page<T>) -> Response {
    let notices: Vec<String> = page.notices.iter().map(ToString::to_string).collect();
    let mut response = match shape {
        Shape::Paginate => Json(StatusCode::OK, page).into_response(),
        _ => Json(StatusCode::OK, page.results).into_response(),
    };
    if !notices.is_empty()
        && let Ok(text) = HeaderValue::from_str(&notices.join("; "))
    {
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-tenfold-notices"), text);
    }
    response
}

async fn version(Caller(_): Caller) -> Json<&'static str> {
    Json(StatusCode::OK, env!("CARGO_PKG_VERSION"))
}

#[derive(Debug, Deserialize)]
struct NewFlow {
    name: String,
}

async fn create_flow(
    State(host): State<Host>,
    Caller(org): Caller,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let new: NewFlow = read::json(&org, host.bounds(), request).await?;
    let id = org.engine.flow(&*new.name)?;
    Ok(Json(StatusCode::CREATED, json!({ "id": id, "name": new.name })))
}

async fn deployment(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    Ok(Json(StatusCode::OK, org.engine.deployment(parsed(&id)?)?).into_response())
}

async fn by_name(
    Caller(org): Caller,
    Path((flow, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let found = org.engine.deployment_by_name(&format!("{flow}/{name}"))?;
    Ok(Json(StatusCode::OK, found).into_response())
}

async fn schedules(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    Ok(Json(StatusCode::OK, org.engine.deployment(parsed(&id)?)?.schedules).into_response())
}

async fn delete(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    org.engine.delete_deployment(parsed(&id)?)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

async fn pause(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    org.engine.pause_deployment(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, Value::Null))
}

async fn resume(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    org.engine.resume_deployment(parsed(&id)?)?;
    Ok(Json(StatusCode::OK, Value::Null))
}

/// The keys of the reference that the engine acts on. Others are refused, so that nothing is dropped in silence.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewFlowRun {
    name: Option<String>,
    parameters: Object,
    tags: Vec<String>,
    labels: Option<Object>,
    idempotency_key: Option<String>,
    priority: Option<Priority>,
}

async fn create_run(
    State(host): State<Host>,
    Caller(org): Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let id: DeploymentId = parsed(&id)?;
    let body = read::json_or_nothing(&org, host.bounds(), request).await?;
    let new: NewFlowRun = serde_path_to_error::deserialize(body)
        .map_err(|error| Refusal::field(&error.path().to_string(), error.inner().to_string()))?;
    let mut run = NewRun::of(id).parameters(new.parameters);
    for tag in new.tags {
        run = run.tag(tag);
    }
    if let Some(name) = new.name {
        run = run.name(name);
    }
    if let Some(labels) = new.labels {
        run = run.labels(labels);
    }
    // The reference takes an empty key for none.
    if let Some(key) = new.idempotency_key.filter(|key| !key.is_empty()) {
        run = run.idempotency_key(key);
    }
    if let Some(priority) = new.priority {
        run = run.priority(priority);
    }
    let submitted = org.engine.submit(run)?;
    let status = if submitted.existing {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(Json(status, org.engine.run(submitted.id)?).into_response())
}

async fn run(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id: RunId = parsed(&id)?;
    let run = org.engine.run(id).map_err(|error: Error| Refusal::from(error))?;
    Ok(Json(StatusCode::OK, run).into_response())
}

fn parsed<T: std::str::FromStr>(id: &str) -> Result<T, Refusal> {
    id.parse().map_err(|_| Refusal::field("id", "give an id: a uuid"))
}
