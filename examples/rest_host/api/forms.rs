//! Rows as the reference writes them: what the engine has under its own names, and the keys that a client insists on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tenfold::engine::NamedLimit;
use tenfold::ids::{PoolId, QueueId, StateId};
use tenfold::model::{DeploymentSchedule, State, StateType, WorkPool, WorkQueue};
use tenfold::{Deployment, DeploymentId, Engine, Run, RunId};
use uuid::Uuid;

/// Writes rows of one answer. What rows have in common is looked up once.
pub struct Forms<'a> {
    engine: &'a Engine,
    pools: HashMap<QueueId, Option<PoolId>>,
    names: HashMap<PoolId, Value>,
}

impl<'a> Forms<'a> {
    pub fn of(engine: &'a Engine) -> Self {
        Self {
            engine,
            pools: HashMap::new(),
            names: HashMap::new(),
        }
    }

    pub fn run(&mut self, run: &Run) -> Value {
        let pool = run.work_queue_id.and_then(|queue| {
            let look = || Some(self.engine.queue_by_id(queue).ok()?.work_pool_id);
            *self.pools.entry(queue).or_insert_with(look)
        });
        let retry = &run.empirical_policy.retry;
        let now = self.engine.now().ok();
        let in_state = run
            .state
            .as_ref()
            .zip(now)
            .map(|(state, now)| now - state.timestamp);
        let running = in_state.filter(|_| run.state_type == Some(StateType::Running));
        let so_far = running.map_or(0.0, chrono::TimeDelta::as_seconds_f64);
        let ended = run.state_type.is_none_or(StateType::is_terminal);
        let late = run.expected_start_time.and_then(|expected| {
            let until = run.start_time.or(now.filter(|_| !ended))?;
            Some((until - expected).as_seconds_f64().max(0.0))
        });
        let state = run.state.as_ref();
        laid_over(
            json!(run),
            json!({
                "state": state.map(|state| state_of(run.id, state, run.next_scheduled_start_time)),
                "state_id": state.map(|state| StateId::of(run.id, state)),
                "empirical_policy": {
                    "retries": retry.retries,
                    "retry_delay": retry.delay.as_secs(),
                    "pause_keys": [],
                    "resuming": false,
                    "retry_type": null,
                },
                "context": run.context,
                "job_variables": run.job_variables,
                "estimated_run_time": run.total_run_time.as_secs_f64() + so_far,
                "estimated_start_time_delta": late.unwrap_or(0.0),
                "infrastructure_document_id": null,
                "infrastructure_pid": null,
                "work_pool_id": pool,
                "work_pool_name": pool.map(|pool| self.pool_name(pool)),
            }),
        )
    }

    /// Its states, oldest first.
    pub fn states(run: RunId, states: &[State]) -> Value {
        states.iter().map(|state| state_of(run, state, None)).collect()
    }

    pub fn queue(&mut self, queue: &WorkQueue) -> Value {
        let name = self.pool_name(queue.work_pool_id);
        laid_over(json!(queue), json!({ "work_pool_name": name }))
    }

    fn pool_name(&mut self, pool: PoolId) -> Value {
        let look = || json!(self.engine.pool_by_id(pool).ok().map(|pool| pool.name));
        self.names.entry(pool).or_insert_with(look).clone()
    }
}

/// A state of a run; `scheduled_time` for the one that it has, while that is SCHEDULED.
pub fn state_of(run: RunId, state: &State, scheduled_time: Option<DateTime<Utc>>) -> Value {
    laid_over(
        json!(state),
        json!({
            "id": StateId::of(run, state),
            "message": state.message,
            "data": null,
            "state_details": { "flow_run_id": run, "scheduled_time": scheduled_time },
        }),
    )
}

/// A deployment.
pub fn deployment(deployment: &Deployment) -> Value {
    let schedules = deployment.schedules.iter();
    let schedules = schedules.map(|held| schedule(deployment.id, held));
    laid_over(
        json!(deployment),
        json!({
            "schedules": schedules.collect::<Vec<_>>(),
            "global_concurrency_limit": null,
            "storage_document_id": null,
            "infrastructure_document_id": null,
            "created_by": null,
            "updated_by": null,
        }),
    )
}

/// A work pool.
pub fn pool(pool: &WorkPool) -> Value {
    laid_over(json!(pool), json!({ "storage_configuration": {} }))
}

/// A schedule of a deployment.
pub fn schedule(deployment: DeploymentId, held: &DeploymentSchedule) -> Value {
    laid_over(json!(held), json!({ "deployment_id": deployment }))
}

/// A named limit.
pub fn limit(held: &NamedLimit) -> Value {
    let status = &held.status;
    json!({
        "id": limit_id(&status.name),
        "name": status.name,
        "limit": status.limit,
        "active": status.active,
        "active_slots": status.active_slots,
        "slot_decay_per_second": status.slot_decay_per_second,
    })
}

/// The id of a limit: the engine knows limits by name, so it is made from that.
pub fn limit_id(name: &str) -> Uuid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn laid_over(mut row: Value, keys: Value) -> Value {
    if let (Value::Object(row), Value::Object(keys)) = (&mut row, keys) {
        row.extend(keys);
    }
    row
}
