//! What a client asks before anything else.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};

use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

/// The version of the reference whose client this was tried with. Clients compare it with their own.
const REFERENCE: &str = "3.8.8";
/// The version of its API that those clients send.
const API: &str = "0.8.4";

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/health", get(|| async { Json(StatusCode::OK, true) }))
        .route(
            "/ready",
            get(|_: Caller| async { Json(StatusCode::OK, json!({ "message": "OK" })) }),
        )
        .route("/hello", get(|_: Caller| async { Json(StatusCode::OK, "hello") }))
        .route("/version", get(|_: Caller| async { Json(StatusCode::OK, API) }))
        .route(
            "/admin/version",
            get(|_: Caller| async { Json(StatusCode::OK, REFERENCE) }),
        )
        .route(
            "/admin/settings",
            get(|_: Caller| async { Json(StatusCode::OK, json!({})) }),
        )
        .route("/admin/storage", get(storage))
        .route("/csrf-token", get(csrf))
}

async fn storage(_: Caller) -> Json<Value> {
    Json(StatusCode::OK, json!({ "default_result_storage_block_id": null }))
}

/// There is no session that another site could ride on: every call brings its token. These words make a client go on without.
async fn csrf(_: Caller) -> Refusal {
    Refusal::invalid("CSRF protection is disabled.")
}
