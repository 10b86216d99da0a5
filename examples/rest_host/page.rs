//! The page, and what it asks for: runs by a filter in the text language, and what comes next.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::filter::{Entity, Filter, Limits, Query, Sort, Start};
use tenfold::{Engine, Error, Page, Run};

use crate::answer::{Json, Refusal, with_type};
use crate::host::{Caller, Host, Org};
use crate::read;
use crate::tasks::instant;

/// `GET /`
pub async fn html() -> Response {
    let mut response = with_type(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Body::from(include_str!("page/index.html")),
    );
    // Nothing from anywhere else, nothing written into the page: what a task is called is never code.
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    );
    response
}

/// `GET /page.css`
pub async fn css() -> Response {
    let text = include_str!("page/page.css");
    with_type(StatusCode::OK, "text/css; charset=utf-8", Body::from(text))
}

/// `GET /page.js`
pub async fn js() -> Response {
    let text = include_str!("page/page.js");
    with_type(StatusCode::OK, "text/javascript; charset=utf-8", Body::from(text))
}

/// `GET /metrics`: the numbers of the caller's engine, as Prometheus reads them.
#[cfg(feature = "metrics")]
pub async fn metrics(Caller(org): Caller) -> Response {
    // One for each answer: nothing is kept from one to the next, and no organisation's numbers meet another's.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        org.engine.record_metrics(&[("organisation", &org.name)]);
    });
    let text = recorder.handle().render();
    with_type(StatusCode::OK, "text/plain; version=0.0.4", Body::from(text))
}

/// `GET /metrics`, where the numbers were not built in.
///
/// # Errors
///
/// 404, always.
#[cfg(not(feature = "metrics"))]
pub async fn metrics(Caller(_): Caller) -> Result<Response, Refusal> {
    Err(Refusal::not_found(
        "this host was built without numbers; add `--features metrics`",
    ))
}

/// What the table asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// In the text language; empty for all.
    #[serde(default)]
    filter: String,
    #[serde(default = "Wanted::rows")]
    limit: u32,
}

impl Wanted {
    fn rows() -> u32 {
        50
    }
}

/// `POST /page/runs`: runs by a filter, those that changed last first.
///
/// # Errors
///
/// 422 with the filter, a caret under what is wrong with it, and the way out.
pub async fn runs(
    State(host): State<Host>,
    Caller(org): Caller,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let wanted: Wanted = read::json(&org, host.bounds(), request).await?;
    let text = if wanted.filter.trim().is_empty() {
        "true"
    } else {
        &wanted.filter
    };
    let query = query(&org.engine, text, "state_timestamp", false, wanted.limit)?;
    let page = ask(&org, query).await?;
    let mut names = Names::default();
    let rows: Vec<Value> = page
        .results
        .iter()
        .map(|run| names.row(&org.engine, run))
        .collect();
    Ok(Json(
        StatusCode::OK,
        json!({ "count": page.count, "version": page.version, "rows": rows }),
    ))
}

/// `GET /page/upcoming`: the next fifty runs that are not due yet.
///
/// # Errors
///
/// 500 when the engine is poisoned.
pub async fn upcoming(Caller(org): Caller) -> Result<Json<Value>, Refusal> {
    let query = query(
        &org.engine,
        "place = scheduled",
        "next_scheduled_start_time",
        true,
        50,
    )?;
    let page = ask(&org, query).await?;
    let mut names = Names::default();
    let rows: Vec<Value> = page
        .results
        .iter()
        .map(|run| names.row(&org.engine, run))
        .collect();
    let now = org.engine.now()?;
    Ok(Json(
        StatusCode::OK,
        json!({ "now": instant(now), "count": page.count, "rows": rows }),
    ))
}

/// `GET /page/runs/{id}/explain`: why a run is where it is, as a sentence and in parts.
///
/// # Errors
///
/// 404 for a run that this organisation does not have, 422 for an id that is none.
pub async fn explain(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = id
        .parse()
        .map_err(|_| Refusal::field("id", "give the id of a run: a uuid"))?;
    let explanation = org.engine.explain(id)?;
    let text = explanation.to_string();
    Ok(Json(
        StatusCode::OK,
        json!({ "text": text, "explanation": explanation }),
    ))
}

fn query(engine: &Engine, text: &str, sort: &str, ascending: bool, limit: u32) -> Result<Query, Refusal> {
    let limits = Limits {
        // A person writes this.
        source: 10_000,
        ..Limits::default()
    };
    let wrong = |problem: &dyn std::fmt::Display| Refusal::invalid(problem.to_string());
    let filter =
        Filter::parse(Entity::Run, text, engine.now()?, &limits).map_err(|problem| wrong(&problem))?;
    let field = Entity::Run.field(sort);
    let key = field.map(|field| {
        if ascending {
            tenfold::filter::SortKey::ascending(field)
        } else {
            tenfold::filter::SortKey::descending(field)
        }
    });
    Query::new(filter)
        .sorted_by(key.or(Sort::IdDesc.key(Entity::Run)))
        .and_then(|query| query.window(Start::Offset(0), limit, &limits))
        .map_err(|problem| wrong(&problem))
}

/// Asks the engine beside the connections: a query may look at every run. Two at a time for an organisation.
async fn ask(org: &Arc<Org>, query: Query) -> Result<Page<Run>, Refusal> {
    let turn = org.queries.acquire().await;
    let engine = org.engine.clone();
    let page = tokio::task::spawn_blocking(move || engine.runs(&query)).await;
    drop(turn);
    page.map_err(|problem| Refusal::internal(&problem))?
        .map_err(Refusal::from)
}

/// Names of deployments, looked up once each.
#[derive(Default)]
struct Names(HashMap<tenfold::DeploymentId, Option<String>>);

impl Names {
    fn row(&mut self, engine: &Engine, run: &Run) -> Value {
        let deployment = run.deployment_id.and_then(|id| {
            let look = || match engine.deployment(id) {
                Ok(deployment) => Some(deployment.name.to_string()),
                Err(Error::NotFound { .. } | _) => None,
            };
            self.0.entry(id).or_insert_with(look).clone()
        });
        json!({
            "id": run.id,
            "name": run.name,
            "deployment": deployment,
            "type": run.parameters.get("taskType"),
            "priority": run.priority,
            "place": run.place,
            "state": run.state_name,
            "stateType": run.state_type,
            "message": run.state.as_ref().and_then(|state| state.message.as_deref()),
            "attempts": run.run_count,
            "created": instant(run.created),
            "changed": run.state.as_ref().map(|state| instant(state.timestamp)),
            "due": run.next_scheduled_start_time.map(instant),
            "tookSeconds": run.total_run_time.as_secs_f64(),
        })
    }
}
