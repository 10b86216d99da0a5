//! Answers: JSON, and the one envelope of every error.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tenfold::Error;
use tenfold::limit::{IncrementError, LeaseError, SpecError};

/// A JSON answer.
#[derive(Debug)]
pub struct Json<T>(pub StatusCode, pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(text) => with_type(self.0, "application/json", Body::from(text)),
            Err(problem) => Refusal::internal(&problem).into_response(),
        }
    }
}

/// A body of a type that is not to be kept by anybody on the way.
pub fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Left in a refused response: what was refused, for who writes it in another shape.
#[derive(Clone, Debug)]
pub struct Refused(pub Value);

/// Why a request was refused. It becomes `{"success": false, "error": {"code", "message", "details"}}`.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Value,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: json!({}),
            retry_after: None,
        }
    }

    /// 401: no token, or none that is known. Does not say which.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "send the header `authorization: Bearer TOKEN` with the token of an organisation",
        )
    }

    /// 404: there is no such thing, or none that this organisation may see.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", message)
    }

    /// 405.
    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "this path takes another method; the answer's header `allow` names it",
        )
    }

    /// 408: the body did not come in time.
    pub fn too_slow(seconds: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "REQUEST_TIMEOUT",
            format!("the body did not arrive within {seconds} s; send it at once"),
        )
    }

    /// 409: the key is taken.
    pub fn exists(key: &str, run: impl std::fmt::Display) -> Self {
        let mut refusal = Self::new(
            StatusCode::CONFLICT,
            "RESOURCE_ALREADY_EXISTS",
            format!(
                "the idempotency key {key:?} was used before, by task {run}; use a new key, or read that task"
            ),
        );
        refusal.details = json!({ "taskId": run.to_string() });
        refusal
    }

    /// 413.
    pub fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PAYLOAD_TOO_LARGE",
            format!("a body may have at most {most} bytes; send less, or in parts"),
        )
    }

    /// 422: the request says something that cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", message)
    }

    /// 422, about one field, as a path into the body.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut refusal = Self::invalid(format!("{field}: {message}"));
        refusal.details = json!({ "field": field });
        refusal
    }

    /// 429: later.
    pub fn later(code: &'static str, message: impl Into<String>, retry_after: std::time::Duration) -> Self {
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, code, message);
        refusal.wait(retry_after);
        refusal
    }

    /// When it may be tried again.
    fn wait(&mut self, retry_after: std::time::Duration) {
        // The header has whole seconds; zero would invite to try at once.
        let partial = u64::from(retry_after.subsec_nanos() > 0);
        self.retry_after = Some((retry_after.as_secs() + partial).max(1));
        self.details = json!({ "retryAfterSeconds": self.retry_after });
    }

    /// 409: it is in use, or cannot be treated so.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", message)
    }

    /// 500: a fault of the host or the engine.
    pub fn internal(problem: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_SERVER_ERROR",
            problem.to_string(),
        )
    }

    /// What stands under `error`, in the envelope and in the results of a batch.
    pub fn body(&self) -> Value {
        json!({ "code": self.code, "message": self.message, "details": self.details })
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotFound { .. } => Self::not_found(message),
            Error::Duplicate { .. }
            | Error::Transition { .. }
            | Error::StaleClaim { .. }
            | Error::Limit(SpecError::NameTaken { .. }) => {
                Self::new(StatusCode::CONFLICT, "RESOURCE_ALREADY_EXISTS", message)
            }
            Error::KeyConflict { key, run } => Self::exists(&key, run),
            Error::Full {
                waiting,
                capacity,
                asked,
                ..
            } => {
                let mut refusal = Self::later("QUEUE_FULL", message, std::time::Duration::from_secs(1));
                refusal.details["queued"] = waiting.into();
                refusal.details["capacity"] = capacity.into();
                refusal.details["asked"] = asked.into();
                refusal
            }
            // As the reference answers them.
            Error::Increment(IncrementError::Busy { retry_after, .. }) => {
                let mut refusal = Self::new(StatusCode::LOCKED, "SLOTS_IN_USE", message);
                refusal.wait(retry_after);
                refusal
            }
            Error::Lease(LeaseError::Gone { .. }) => Self::new(StatusCode::GONE, "LEASE_GONE", message),
            Error::Refused { .. } => Self::conflict(message),
            Error::Stopped => Self::later("STOPPING", message, std::time::Duration::from_secs(10)),
            Error::Poisoned => Self::internal(&message),
            _ => Self::invalid(message),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let refused = self.body();
        let envelope = json!({ "success": false, "error": refused });
        let mut response = with_type(self.status, "application/json", Body::from(envelope.to_string()));
        response.extensions_mut().insert(Refused(refused));
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
