//! The schedules of one deployment.

use std::num::NonZeroU32;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, patch};
use serde::Deserialize;
use serde_json::Value;
use tenfold::model::{DeploymentSchedule, Object, SchedulePatch, Text};
use tenfold::{DeploymentId, NewSchedule, Schedule};

use super::{Told, forms, nothing, parsed, said};
use crate::answer::{Json, Refusal};
use crate::host::{Caller, Host};

pub fn routes() -> Router<Host> {
    Router::new()
        .route("/deployments/{id}/schedules", get(read).post(create))
        .route(
            "/deployments/{id}/schedules/{schedule}",
            patch(update).delete(delete),
        )
}

/// A schedule as clients write it; what is not said stays, or has its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    schedule: Option<Schedule>,
    active: Option<bool>,
    max_scheduled_runs: Option<NonZeroU32>,
    parameters: Option<Object>,
    #[serde(default, deserialize_with = "said")]
    slug: Option<Option<Text>>,
    /// The slug of the one that this takes the place of.
    replaces: Option<Text>,
}

impl Said {
    /// A schedule to put on a deployment that has these; one that names an earlier one by slug builds on it.
    ///
    /// # Errors
    ///
    /// 422 for one that names none and says nothing of when.
    pub fn new_over(self, held: &[DeploymentSchedule]) -> Result<NewSchedule, Refusal> {
        let name = self
            .replaces
            .as_ref()
            .or(self.slug.as_ref().and_then(Option::as_ref));
        let before = name.and_then(|name| held.iter().find(|held| held.slug.as_ref() == Some(name)));
        let Some(schedule) = self.schedule.or_else(|| before.map(|held| held.schedule.clone())) else {
            let rule = "give a schedule, or the slug of one that the deployment has";
            return Err(Refusal::field("schedule", rule));
        };
        let mut new = before.map_or_else(
            || NewSchedule::new(schedule.clone()),
            |held| {
                let held = DeploymentSchedule {
                    schedule: schedule.clone(),
                    active: true,
                    ..held.clone()
                };
                NewSchedule::from(held)
            },
        );
        if self.active.or(before.map(|held| held.active)) == Some(false) {
            new = new.inactive();
        }
        if let Some(most) = self.max_scheduled_runs {
            new = new.max_scheduled_runs(most);
        }
        if let Some(parameters) = self.parameters {
            new = new.parameters(parameters);
        }
        if let Some(Some(slug)) = self.slug {
            new = new.slug(slug);
        }
        Ok(new)
    }

    fn patch(self) -> SchedulePatch {
        let mut patch = SchedulePatch::new();
        if let Some(schedule) = self.schedule {
            patch = patch.schedule(schedule);
        }
        if let Some(active) = self.active {
            patch = patch.active(active);
        }
        if let Some(most) = self.max_scheduled_runs {
            patch = patch.max_scheduled_runs(Some(most));
        }
        if let Some(parameters) = self.parameters {
            patch = patch.parameters(parameters);
        }
        if let Some(slug) = self.slug {
            patch = patch.slug(slug);
        }
        patch
    }
}

fn listed(deployment: DeploymentId, schedules: &[DeploymentSchedule]) -> Value {
    schedules
        .iter()
        .map(|held| forms::schedule(deployment, held))
        .collect()
}

async fn read(Caller(org): Caller, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = parsed(&id)?;
    Ok(Json(StatusCode::OK, listed(id, &org.engine.schedules(id)?)))
}

async fn create(Path(id): Path<String>, Told(org, new): Told<Vec<Said>>) -> Result<Json<Value>, Refusal> {
    let id = parsed(&id)?;
    let new = new.into_iter().map(|said| said.new_over(&[]));
    let made = org.engine.add_schedules(id, new.collect::<Result<_, _>>()?)?;
    Ok(Json(StatusCode::CREATED, listed(id, &made)))
}

async fn update(
    Path((id, schedule)): Path<(String, String)>,
    Told(org, said): Told<Said>,
) -> Result<Response, Refusal> {
    let patch = said.patch();
    org.engine
        .update_schedule(parsed(&id)?, parsed(&schedule)?, patch)?;
    Ok(nothing())
}

async fn delete(
    Caller(org): Caller,
    Path((id, schedule)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    org.engine.delete_schedule(parsed(&id)?, parsed(&schedule)?)?;
    Ok(nothing())
}
