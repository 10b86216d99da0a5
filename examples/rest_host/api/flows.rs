//! Flows.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use tenfold::model::{Flow, NewFlow, Object, Text};

use super::{Told, made, nothing, parsed};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/flows/", post(create))
        .route("/flows/{id}", get(read).patch(update).delete(delete))
        .route("/flows/name/{name}", get(by_name))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Text,
    #[serde(default)]
    tags: Vec<Text>,
    labels: Option<Object>,
}

async fn create(Told(org, new): Told<Create>) -> Result<Json<Flow>, Refusal> {
    let fresh = org.engine.flow_by_name(&new.name).is_err();
    let flow = NewFlow::named(new.name).labels(new.labels.unwrap_or_default());
    let flow = new.tags.into_iter().fold(flow, NewFlow::tag);
    Ok(Json(made(fresh), org.engine.create_flow(flow)?))
}

async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Flow>, Refusal> {
    Ok(Json(StatusCode::OK, org.engine.flow_by_id(parsed(&id)?)?))
}

async fn by_name(Caller(org): Caller, Path(name): Path<String>) -> Result<Json<Flow>, Refusal> {
    Ok(Json(StatusCode::OK, org.engine.flow_by_name(&name)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    tags: Option<Vec<Text>>,
}

async fn update(Path(id): Path<String>, Told(org, new): Told<Update>) -> Result<Response, Refusal> {
    let flow = org.engine.flow_by_id(parsed(&id)?)?;
    if let Some(tags) = new.tags {
        org.engine.update_flow(&flow.name, tags)?;
    }
    Ok(nothing())
}

async fn delete(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    let flow = org.engine.flow_by_id(parsed(&id)?)?;
    org.engine.delete_flow(&flow.name)?;
    Ok(nothing())
}
