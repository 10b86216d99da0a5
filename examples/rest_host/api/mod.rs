//! `/api`: the reference's API, as its own unmodified client speaks it. Every handler is a call of the engine: what it
//! accepts is read into the engine's words, what the engine answers is written in the reference's.
//!
//! One file for each subject; [`forms`] writes rows, [`states`] reads and writes states, [`refusals`] gives every
//! refusal under `/api` the reference's shape. What the engine does not keep is refused where it says something, so that
//! nothing is dropped in silence.

mod admin;
mod deployments;
mod families;
mod flows;
mod forms;
mod limits;
mod pools;
mod queues;
mod refusals;
mod runs;
mod schedules;
mod states;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::answer::Refusal;
use crate::host::{Caller, Host, Org};
use crate::read;

/// The paths under `/api`.
pub fn routes() -> Router<Host> {
    Router::new()
        .merge(admin::routes())
        .merge(families::routes())
        .merge(flows::routes())
        .merge(deployments::routes())
        .merge(schedules::routes())
        .merge(runs::routes())
        .merge(pools::routes())
        .merge(queues::routes())
        .merge(limits::routes())
        .fallback(|_: Caller| async { Refusal::not_found("there is no such path") })
        .method_not_allowed_fallback(|| async { Refusal::method() })
        .layer(axum::middleware::map_response(refusals::shaped))
}

/// Who calls, and what the body says. No body at all is an empty object.
#[derive(Debug)]
struct Told<T>(Arc<Org>, T);

impl<T: DeserializeOwned> FromRequest<Host> for Told<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, host: &Host) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let Caller(org) = Caller::from_request_parts(&mut parts, host).await?;
        let request = Request::from_parts(parts, body);
        let body = read::json_or_nothing(&org, host.bounds(), request).await?;
        Ok(Self(org, told(body)?))
    }
}

/// A value as this shape.
fn told<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        if path == "." {
            Refusal::invalid(problem)
        } else {
            Refusal::field(&path, problem)
        }
    })
}

/// An id from the path.
fn parsed<T: std::str::FromStr>(id: &str) -> Result<T, Refusal> {
    id.parse().map_err(|_| Refusal::field("id", "give an id: a uuid"))
}

/// 204.
fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// 201 for what was made, 200 for what was there.
fn made(new: bool) -> StatusCode {
    if new { StatusCode::CREATED } else { StatusCode::OK }
}

/// For a key that may be missing, null or say something, which are three things in a change.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Refuses what a key says when the engine would not keep it.
fn not_kept(field: &str, value: &Value) -> Result<(), Refusal> {
    let empty = match value {
        Value::Null => true,
        Value::Object(object) => object.values().all(Value::is_null),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if empty {
        return Ok(());
    }
    Err(Refusal::field(field, "this host does not keep it; leave it out"))
}
