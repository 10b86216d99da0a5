//! Named limits, and slots that clients take and give back by name, with a lease or without.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::Engine;
use tenfold::engine::{LimitPatch, NamedLimit};
use tenfold::limit::{Incremented, LEASE_DEFAULT, LeaseHolder, LeaseId, LimitSpec, Mode};
use tenfold::model::Object;
use uuid::Uuid;

use super::deployments::MOST_ROWS;
use super::{Told, forms, nothing, parsed};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

pub fn routes() -> Router<Host> {
    let under = |path: &str| format!("/v2/concurrency_limits/{path}");
    Router::new()
        .route(&under(""), post(create))
        .route(&under("filter"), post(filter))
        .route(&under("increment"), post(increment))
        .route(&under("increment-with-lease"), post(lease))
        .route(&under("decrement"), post(decrement))
        .route(&under("decrement-with-lease"), post(release))
        .route(&under("leases/{lease}/renew"), post(renew))
        .route(
            &under("{id_or_name}"),
            axum::routing::get(read).patch(update).delete(delete),
        )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: Option<String>,
    limit: Option<u32>,
    active: Option<bool>,
    active_slots: Option<u32>,
    slot_decay_per_second: Option<f64>,
}

async fn create(Told(org, new): Told<Body>) -> Result<Json<Value>, Refusal> {
    let needed = |field: &str| Refusal::field(field, "give one");
    let name = new.name.ok_or_else(|| needed("name"))?;
    let mut spec = LimitSpec::new(name.clone(), new.limit.ok_or_else(|| needed("limit"))?);
    spec.active = new.active.unwrap_or(true);
    spec.slot_decay_per_second = new.slot_decay_per_second.unwrap_or(0.0);
    let taken = new.active_slots.unwrap_or(0);
    if taken > spec.slots {
        let rule = format!("give 0 to its limit, {}", spec.slots);
        return Err(Refusal::field("active_slots", rule));
    }
    org.engine.define_limit(spec)?;
    if taken > 0 {
        org.engine.increment_slots(&[&name], taken, Mode::Concurrency)?;
    }
    Ok(Json(StatusCode::CREATED, forms::limit(&org.engine.limit(&name)?)))
}

/// A limit, by its name or by the id that is made from it.
fn found(engine: &Engine, id_or_name: &str) -> Result<NamedLimit, Refusal> {
    if let Ok(id) = id_or_name.parse::<Uuid>() {
        let all = engine.limits()?;
        let named = |held: &NamedLimit| forms::limit_id(&held.status.name) == id;
        if let Some(held) = all.into_iter().find(named) {
            return Ok(held);
        }
    }
    Ok(engine.limit(id_or_name)?)
}

async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(Json(StatusCode::OK, forms::limit(&found(&org.engine, &id)?)))
}

async fn update(Path(id): Path<String>, Told(org, new): Told<Body>) -> Result<Response, Refusal> {
    let held = found(&org.engine, &id)?.status;
    if new.name.is_some_and(|name| name != held.name) {
        return Err(Refusal::field("name", "a limit keeps its name; make another one"));
    }
    if new
        .active_slots
        .is_some_and(|slots| u64::from(slots) != held.active_slots)
    {
        let rule = "slots belong to who holds them; take and give them by increment and decrement";
        return Err(Refusal::field("active_slots", rule));
    }
    let mut patch = LimitPatch::new();
    if let Some(slots) = new.limit {
        patch = patch.slots(slots);
    }
    if let Some(active) = new.active {
        patch = patch.active(active);
    }
    if let Some(decay) = new.slot_decay_per_second {
        patch = patch.decay(decay);
    }
    org.engine.update_limit(&held.name, patch)?;
    Ok(nothing())
}

async fn delete(Caller(org): Caller, Path(id): Path<String>) -> Result<Response, Refusal> {
    let held = found(&org.engine, &id)?;
    org.engine.delete_limit(&held.status.name)?;
    Ok(nothing())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Window {
    limit: Option<usize>,
    offset: usize,
}

async fn filter(Told(org, window): Told<Window>) -> Result<Json<Value>, Refusal> {
    let most = window.limit.unwrap_or(MOST_ROWS);
    if most > MOST_ROWS {
        return Err(Refusal::field("limit", format!("give 0 to {MOST_ROWS}")));
    }
    let limits = org.engine.limits()?;
    let page = limits.iter().skip(window.offset).take(most);
    Ok(Json(StatusCode::OK, page.map(forms::limit).collect()))
}

/// Slots to take or to give back.
#[derive(Debug, Deserialize)]
struct Slots {
    names: Vec<String>,
    slots: u32,
    #[serde(default)]
    mode: Purpose,
    lease_duration: Option<f64>,
    holder: Option<LeaseHolder>,
    occupancy_seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    #[default]
    Concurrency,
    RateLimit,
}

impl Slots {
    /// Most names in one request: each of them may be a limit of its own.
    const MOST: usize = 100;

    fn names(&self) -> Result<Vec<&str>, Refusal> {
        if self.slots == 0 {
            return Err(Refusal::field("slots", "give 1 or more"));
        }
        if self.names.len() > Self::MOST {
            return Err(Refusal::field("names", format!("give at most {}", Self::MOST)));
        }
        let mut names: Vec<&str> = Vec::with_capacity(self.names.len());
        for name in &self.names {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn mode(&self) -> Mode {
        match self.mode {
            Purpose::Concurrency => Mode::Concurrency,
            Purpose::RateLimit => Mode::RateLimit,
        }
    }
}

fn seconds(field: &str, seconds: f64) -> Result<Duration, Refusal> {
    Duration::try_from_secs_f64(seconds).map_err(|problem| Refusal::field(field, problem.to_string()))
}

/// The limits that were found.
fn minimal(engine: &Engine, names: &[&str], unknown: &[String]) -> Value {
    let known = names
        .iter()
        .filter(|name| !unknown.iter().any(|other| other == *name));
    let limits = known.filter_map(|name| engine.limit(name).ok());
    limits
        .map(|held| {
            let status = held.status;
            json!({ "id": forms::limit_id(&status.name), "name": status.name, "limit": status.limit })
        })
        .collect()
}

async fn increment(Told(org, body): Told<Slots>) -> Result<Json<Value>, Refusal> {
    let names = body.names()?;
    let taken = org.engine.increment_slots(&names, body.slots, body.mode())?;
    Ok(Json(StatusCode::OK, minimal(&org.engine, &names, &taken.unknown)))
}

async fn decrement(Told(org, body): Told<Slots>) -> Result<Json<Value>, Refusal> {
    let names = body.names()?;
    let occupancy = body.occupancy_seconds.filter(|seconds| *seconds > 0.0);
    let occupancy = occupancy
        .map(|told| seconds("occupancy_seconds", told))
        .transpose()?;
    org.engine.decrement_slots(&names, body.slots, occupancy)?;
    Ok(Json(StatusCode::OK, minimal(&org.engine, &names, &[])))
}

async fn lease(Told(org, body): Told<Slots>) -> Result<Json<Value>, Refusal> {
    let names = body.names()?;
    let span = body
        .lease_duration
        .map_or(Ok(LEASE_DEFAULT), |told| seconds("lease_duration", told))?;
    let (mode, holder) = (body.mode(), body.holder);
    let (lease, Incremented { unknown, .. }) =
        org.engine.lease_slots(&names, body.slots, mode, span, holder)?;
    let limits = minimal(&org.engine, &names, &unknown);
    Ok(Json(
        StatusCode::OK,
        json!({ "lease_id": shown(lease), "limits": limits }),
    ))
}

#[derive(Debug, Deserialize)]
struct Lease {
    lease_id: Uuid,
}

async fn release(Told(org, body): Told<Lease>) -> Result<Response, Refusal> {
    if let Some(lease) = known(body.lease_id) {
        org.engine.release_slots(lease)?;
    }
    Ok(nothing())
}

async fn renew(Path(lease): Path<String>, Told(org, body): Told<Object>) -> Result<Response, Refusal> {
    let span = body.get("lease_duration").and_then(Value::as_f64);
    let span = span.map_or(Ok(LEASE_DEFAULT), |told| seconds("lease_duration", told))?;
    // An id that was never given out is like one that is gone.
    let lease = known(parsed(&lease)?).unwrap_or(LeaseId::from_number(u64::MAX));
    org.engine.renew_slots(lease, span)?;
    Ok(nothing())
}

/// The first half of the uuid of every lease; the second is its number.
const LEASE: u64 = 0x7465_6e66_6f6c_8000;
/// The variant of a uuid, in its second half.
const VARIANT: u64 = 0b10 << 62;

fn shown(lease: LeaseId) -> Uuid {
    Uuid::from_u64_pair(LEASE, VARIANT | lease.number())
}

fn known(id: Uuid) -> Option<LeaseId> {
    let (high, low) = id.as_u64_pair();
    (high == LEASE).then(|| LeaseId::from_number(low & !VARIANT))
}
