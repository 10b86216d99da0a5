//! Reading a body: bounded in bytes, in time, in depth, and in what all bodies of one organisation take together.

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::Refusal;
use crate::gate::Bounds;
use crate::host::Org;

/// Reads the body as JSON of this shape.
///
/// # Errors
///
/// 408, 413, 422 or 429, as the case may be.
pub async fn json<T: DeserializeOwned>(org: &Org, bounds: &Bounds, request: Request) -> Result<T, Refusal> {
    parse(&text(org, bounds, request).await?)
}

/// As [`json`]; no body at all is an empty object.
///
/// # Errors
///
/// As there.
pub async fn json_or_nothing(org: &Org, bounds: &Bounds, request: Request) -> Result<Value, Refusal> {
    let text = text(org, bounds, request).await?;
    if text.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    parse(&text)
}

async fn text(org: &Org, bounds: &Bounds, request: Request) -> Result<Vec<u8>, Refusal> {
    let mut stream = Body::into_data_stream(request.into_body());
    let read = async {
        let text = collect(org, bounds, &mut stream).await;
        if text.is_err() {
            // A client that still sends would not see the answer: it is heard out, within reason.
            let mut rest = bounds.body_bytes * 4;
            while let Some(Ok(chunk)) = stream.next().await {
                rest = rest.saturating_sub(chunk.len().max(1));
                if rest == 0 {
                    break;
                }
            }
        }
        text
    };
    tokio::time::timeout(bounds.body, read)
        .await
        .map_err(|_| Refusal::too_slow(bounds.body.as_secs()))?
}

/// Reads JSON text. It may be nested 128 deep; more is refused before it is looked at.
///
/// # Errors
///
/// 422, with the path to what is wrong.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner();
        if path == "." {
            Refusal::invalid(format!("the body does not fit: {problem}"))
        } else {
            Refusal::field(&path, problem.to_string())
        }
    })?;
    reader
        .end()
        .map_err(|problem| Refusal::invalid(format!("the body does not fit: {problem}")))?;
    Ok(value)
}

async fn collect(org: &Org, bounds: &Bounds, stream: &mut BodyDataStream) -> Result<Vec<u8>, Refusal> {
    let mut text = Vec::new();
    // What has arrived counts, not what was announced: who sends slowly holds little.
    let mut held = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|problem| Refusal::invalid(format!("the body broke off: {problem}")))?;
        if text.len() + chunk.len() > bounds.body_bytes {
            return Err(Refusal::too_large(bounds.body_bytes));
        }
        let weight = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        if weight > 0 {
            held.push(org.bodies.try_acquire(weight).map_err(|_| {
                Refusal::later(
                    "TOO_MANY_BODIES",
                    "the organisation sends too much at once; send one after the other",
                    std::time::Duration::from_secs(1),
                )
            })?);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}
