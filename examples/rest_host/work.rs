//! The work: what a task of each type does.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tenfold::model::Object;
use tenfold::{Context, Engine, Error, NewPool, RunError};

use crate::answer::Refusal;

/// The flow that all tasks are runs of: keys are unique in a flow, and so in the organisation.
pub const FLOW: &str = "task";
/// The pool that the host itself works for.
pub const POOL: &str = "tasks";
/// Its queue.
pub const QUEUE: &str = "default";
/// The kinds of task.
pub const TYPES: [&str; 3] = ["sleep", "hash", "fail"];
/// Longest sleep, in seconds.
const SLEEP_MAX: f64 = 3600.0;
/// Most rounds of hashing.
const ROUNDS_MAX: u64 = 10_000_000;

/// A task that can be executed.
#[derive(Debug, PartialEq)]
enum Task {
    Sleep(Duration),
    Hash { text: String, rounds: u64 },
    Fail(String),
}

impl Task {
    fn of(kind: &str, payload: &Object) -> Result<Self, Refusal> {
        match kind {
            "sleep" => {
                let seconds = payload.get("seconds").map_or(Some(1.0), Value::as_f64);
                let seconds = seconds.filter(|seconds| (0.0..=SLEEP_MAX).contains(seconds));
                let refusal = || Refusal::field("payload.seconds", "give seconds from 0 to 3600");
                Ok(Self::Sleep(Duration::from_secs_f64(seconds.ok_or_else(refusal)?)))
            }
            "hash" => {
                let text = payload.get("text").map_or(Some(""), Value::as_str);
                let rounds = payload.get("rounds").map_or(Some(1), Value::as_u64);
                let rounds = rounds.filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
                Ok(Self::Hash {
                    text: text
                        .ok_or_else(|| Refusal::field("payload.text", "give a text"))?
                        .to_owned(),
                    rounds: rounds.ok_or_else(|| {
                        Refusal::field("payload.rounds", "give a number from 1 to 10,000,000")
                    })?,
                })
            }
            "fail" => {
                let message = payload.get("message").and_then(Value::as_str);
                Ok(Self::Fail(message.unwrap_or("asked to fail").to_owned()))
            }
            other => Err(Refusal::field(
                "taskType",
                format!("there is no task type {other:?}; use {}", TYPES.join(", ")),
            )),
        }
    }

    async fn execute(self) -> Result<Value, RunError> {
        match self {
            Self::Sleep(span) => {
                tokio::time::sleep(span).await;
                Ok(json!({ "sleptSeconds": span.as_secs_f64() }))
            }
            Self::Hash { text, rounds } => {
                // Computing would hold up a thread that others wait for.
                let digest = tokio::task::spawn_blocking(move || hash(&text, rounds)).await?;
                Ok(json!({ "sha256": digest }))
            }
            Self::Fail(message) => Err(RunError::new(message)),
        }
    }
}

/// SHA-256 of the text, and of the digest again for every further round.
fn hash(text: &str, rounds: u64) -> String {
    let mut digest = Sha256::digest(text.as_bytes());
    for _ in 1..rounds {
        digest = Sha256::digest(digest);
    }
    digest
        .chunks_exact(8)
        .map(|eight| {
            eight
                .iter()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        })
        .fold(String::new(), |text, number| format!("{text}{number:016x}"))
}

/// Checks that a task could be executed.
///
/// # Errors
///
/// 422, for a type that there is not or a payload that does not fit it.
pub fn check(kind: &str, payload: &Object) -> Result<(), Refusal> {
    Task::of(kind, payload).map(drop)
}

/// Makes the engine execute tasks: the pool, and the handler.
///
/// # Errors
///
/// What the engine refuses.
pub fn register(engine: &Engine) -> Result<(), Error> {
    engine.create_pool(NewPool::named(POOL))?;
    engine.handler(FLOW, |context: Context| async move {
        let kind: String = context.parameter("taskType")?;
        let payload: Option<Object> = context.parameter("payload")?;
        let task = Task::of(&kind, &payload.unwrap_or_default())
            .map_err(|refusal| RunError::new(refusal.body()["message"].to_string()))?;
        task.execute().await
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_that_everybody_computes() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc", 1), abc);
        assert_ne!(hash("abc", 2), abc);
    }
}
