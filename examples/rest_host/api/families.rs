//! `filter`, `count` and `paginate` of every family of rows, in the reference's JSON form.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tenfold::filter::{Entity, Limits, Query, Refusal as Unread, Shape};
use tenfold::{Engine, Page};

use super::Told;
use super::forms::{self, Forms};
use crate::answer::{Json, Refusal};
use crate::host::{Host, Org};

/// The families that can be asked.
const FAMILIES: [(&str, Entity); 6] = [
    ("deployments", Entity::Deployment),
    ("flow_runs", Entity::Run),
    ("flows", Entity::Flow),
    ("task_runs", Entity::TaskRun),
    ("work_pools", Entity::Pool),
    ("work_queues", Entity::Queue),
];

const SHAPES: [(&str, Shape); 3] = [
    ("filter", Shape::Filter),
    ("count", Shape::Count),
    ("paginate", Shape::Paginate),
];

pub fn routes() -> Router<Host> {
    let mut routes = Router::new().route("/work_pools/{name}/queues/filter", post(of_pool));
    for (name, entity) in FAMILIES {
        for (word, shape) in SHAPES {
            let ask = move |Told(org, body): Told<Value>| asked(org, entity, shape, body);
            routes = routes.route(&format!("/{name}/{word}"), post(ask));
        }
    }
    routes
}

async fn asked(org: Arc<Org>, entity: Entity, shape: Shape, body: Value) -> Result<Response, Refusal> {
    let read = Query::from_json(entity, shape, &body, &Limits::default());
    answered(&org, shape, read).await
}

/// The queues of one pool.
async fn of_pool(Path(pool): Path<String>, Told(org, body): Told<Value>) -> Result<Response, Refusal> {
    org.engine.pool(&pool)?;
    let read = Query::of_pool_from_json(&pool, Shape::Filter, &body, &Limits::default());
    answered(&org, Shape::Filter, read).await
}

/// Asks beside the connections, for a query may look at many rows; two at a time for an organisation.
async fn answered(org: &Org, shape: Shape, read: Result<Query, Unread>) -> Result<Response, Refusal> {
    let query = read.map_err(|refusal| Refusal::invalid(refusal.to_string()))?;
    let turn = org.queries.acquire().await;
    let engine = org.engine.clone();
    let answer = tokio::task::spawn_blocking(move || answer(&engine, shape, &query)).await;
    drop(turn);
    answer.map_err(|problem| Refusal::internal(&problem))?
}

fn answer(engine: &Engine, shape: Shape, query: &Query) -> Result<Response, Refusal> {
    if shape == Shape::Count {
        return Ok(Json(StatusCode::OK, engine.count(query)?).into_response());
    }
    let mut forms = Forms::of(engine);
    Ok(match query.entity() {
        Entity::Deployment => rows(shape, &engine.deployments(query)?, forms::deployment),
        Entity::Run => rows(shape, &engine.runs(query)?, |row| forms.run(row)),
        Entity::Flow => rows(shape, &engine.flows(query)?, |row| json!(row)),
        Entity::TaskRun => rows(shape, &engine.task_runs(query)?, |row| json!(row)),
        Entity::Pool => rows(shape, &engine.pools(query)?, forms::pool),
        Entity::Queue => rows(shape, &engine.queues(query)?, |row| forms.queue(row)),
    })
}

/// A page as it is, or its rows alone. What the question said without effect is told in a header.
fn rows<T>(shape: Shape, page: &Page<T>, form: impl FnMut(&T) -> Value) -> Response {
    let results: Vec<Value> = page.results.iter().map(form).collect();
    let body = match shape {
        Shape::Paginate => json!({
            "results": results,
            "count": page.count,
            "limit": page.limit,
            "pages": page.pages,
            "page": page.page,
        }),
        _ => Value::Array(results),
    };
    let mut response = Json(StatusCode::OK, body).into_response();
    let notices: Vec<String> = page.notices.iter().map(ToString::to_string).collect();
    if !notices.is_empty()
        && let Ok(text) = HeaderValue::from_str(&notices.join("; "))
    {
        let name = HeaderName::from_static("x-tenfold-notices");
        response.headers_mut().insert(name, text);
    }
    response
}
