//! Refusals in the reference's shape: `detail` says what is wrong; a body that does not fit adds where.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::answer::{Refused, with_type};

/// Gives a refusal the shape that the reference's clients read. Other answers pass.
pub async fn shaped(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    // What was refused before any handler had it, by the router itself, has no more to say than its status.
    let body = match response.extensions().get::<Refused>() {
        Some(Refused(refusal)) => body(status, refusal),
        None => json!({ "detail": status.canonical_reason() }),
    };
    let mut answer = with_type(status, "application/json", Body::from(body.to_string()));
    for (name, value) in response.headers() {
        // Content type, and length, are those of the new body.
        if !answer.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

fn body(status: StatusCode, refusal: &Value) -> Value {
    let message = &refusal["message"];
    if status != StatusCode::UNPROCESSABLE_ENTITY {
        return json!({ "detail": message });
    }
    let field = refusal["details"]["field"].as_str().unwrap_or_default();
    let path = field.split(['.', '[', ']']).filter(|part| !part.is_empty());
    let place: Vec<Value> = std::iter::once("body").chain(path).map(part).collect();
    json!({
        "detail": message,
        "exception_message": "Invalid request received.",
        "exception_detail": [{ "loc": place, "msg": message, "type": "value_error" }],
        "request_body": null,
    })
}

/// A key, or a number in a list.
fn part(text: &str) -> Value {
    text.parse::<u32>()
        .map_or_else(|_| json!(text), |number| json!(number))
}
