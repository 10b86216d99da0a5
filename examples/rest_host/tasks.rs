//! `/v1/async`: the asynchronous task queue.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::engine::MAX_BATCH;
use tenfold::model::{Object, StateType};
use tenfold::{Error, NewRun, Priority, QueueStatus, Run, RunId, Submitted};

use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host, Org};
use crate::{read, work};

/// A task to create.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewTask {
    task_type: String,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    payload: Object,
}

impl NewTask {
    fn run(&self) -> Result<NewRun, Refusal> {
        work::check(&self.task_type, &self.payload)?;
        let mut run = NewRun::of(work::FLOW)
            .work_queue(work::POOL, work::QUEUE)
            .priority(self.priority)
            .tag(&*self.task_type)
            .parameter("taskType", &*self.task_type)
            .parameter("payload", self.payload.clone());
        if let Some(key) = &self.idempotency_key {
            run = run.idempotency_key(&**key);
        }
        Ok(run)
    }

    /// The answer to a task that the engine has taken, or knew already.
    fn answer(&self, org: &Org, submitted: Result<Submitted, Error>) -> Result<Value, Refusal> {
        let submitted = submitted?;
        if submitted.existing {
            let key = self.idempotency_key.as_deref().unwrap_or_default();
            return Err(Refusal::exists(key, submitted.id));
        }
        Ok(task(&org.engine.run(submitted.id)?))
    }
}

/// `POST /v1/async/task`
///
/// # Errors
///
/// 409 for a key that was used, 422 for what cannot be, 429 when the queue is full.
pub async fn create(
    State(host): State<Host>,
    Caller(org): Caller,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let new: NewTask = read::json(&org, host.bounds(), request).await?;
    let task = new.answer(&org, org.engine.submit(new.run()?))?;
    Ok(Json(
        StatusCode::CREATED,
        json!({ "success": true, "task": task }),
    ))
}

/// `POST /v1/async/task/batch`: a list of 1 to 500 tasks, each checked alone and answered under its index.
///
/// # Errors
///
/// 422 when there are too few or too many, 429 when they do not all fit: nothing was created then.
pub async fn create_batch(
    State(host): State<Host>,
    Caller(org): Caller,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let batch: Vec<Value> = read::json(&org, host.bounds(), request).await?;
    if !(1..=MAX_BATCH).contains(&batch.len()) {
        return Err(Error::BatchSize {
            size: batch.len(),
            most: MAX_BATCH,
        }
        .into());
    }
    let total = batch.len();
    let mut answers: Vec<Result<Value, Refusal>> = Vec::with_capacity(total);
    let (mut taken, mut runs) = (Vec::new(), Vec::new());
    for (index, value) in batch.iter().enumerate() {
        // Each alone: one that does not fit says so at its place.
        let read = serde_path_to_error::deserialize::<_, NewTask>(value)
            .map_err(|error| Refusal::field(&error.path().to_string(), error.inner().to_string()))
            .and_then(|new| Ok((new.run()?, new)));
        match read {
            Ok((run, new)) => {
                runs.push(run);
                taken.push((index, new));
                // Overwritten once the engine has answered.
                answers.push(Ok(Value::Null));
            }
            Err(refusal) => answers.push(Err(refusal)),
        }
    }
    if !runs.is_empty() {
        let submitted = org.engine.submit_batch(runs)?;
        for ((index, new), submitted) in taken.iter().zip(submitted) {
            answers[*index] = new.answer(&org, submitted);
        }
    }
    let succeeded = answers.iter().filter(|answer| answer.is_ok()).count();
    let results: Vec<Value> = answers
        .into_iter()
        .enumerate()
        .map(|(index, answer)| match answer {
            Ok(task) => json!({ "index": index, "success": true, "task": task }),
            Err(refusal) => json!({ "index": index, "success": false, "error": refusal.body() }),
        })
        .collect();
    let summary = json!({ "total": total, "succeeded": succeeded, "failed": total - succeeded });
    Ok(Json(
        StatusCode::OK,
        json!({ "success": true, "summary": summary, "results": results }),
    ))
}

/// `GET /v1/async/task/{id}`
///
/// # Errors
///
/// 404 for a task that this organisation does not have, 422 for an id that is none.
pub async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id: RunId = id
        .parse()
        .map_err(|_| Refusal::field("id", "give the id of a task: a uuid"))?;
    let run = org.engine.run(id).map_err(|error| match error {
        Error::NotFound { .. } => Refusal::not_found(format!(
            "there is no task {id}; a finished task is kept for 24 hours"
        )),
        other => other.into(),
    })?;
    let mut answer = json!({ "task": task(&run) });
    match run.state_type {
        Some(StateType::Completed) => answer["response"] = run.result.unwrap_or_default(),
        Some(kind) if kind.is_terminal() => {
            let message = run.state.and_then(|state| state.message);
            answer["response"] =
                json!({ "error": message.as_deref().unwrap_or("the task did not end well") });
        }
        _ => {}
    }
    Ok(Json(StatusCode::OK, answer))
}

/// `GET /v1/async/status`
pub async fn status(Caller(org): Caller) -> Json<QueueStatus> {
    Json(StatusCode::OK, org.engine.snapshot())
}

/// A task, as it is told.
fn task(run: &Run) -> Value {
    let status = match run.state_type {
        Some(StateType::Completed) => "COMPLETED",
        Some(kind) if kind.is_terminal() => "FAILED",
        Some(StateType::Pending | StateType::Running | StateType::Cancelling) => "PROCESSING",
        _ => "QUEUED",
    };
    let mut task = json!({
        "id": run.id,
        "taskType": run.parameters.get("taskType"),
        "status": status,
        "priority": run.priority,
        "createdAt": instant(run.created),
    });
    if let Some(key) = &run.idempotency_key {
        task["idempotencyKey"] = (**key).into();
    }
    task
}

/// An instant, in milliseconds and UTC.
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
