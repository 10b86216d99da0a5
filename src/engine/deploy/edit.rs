//! Changing deployments.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{check_objects, check_schedules, set};
use crate::catalog::{instant, shared_tags};
use crate::engine::core::Core;
use crate::engine::error::Error;
use crate::engine::plan::ScheduleWork;
use crate::engine::submit::{check_labels, check_retry, check_timeout};
use crate::ids::{DeploymentId, ScheduleId};
use crate::model::{
    ConcurrencyOptions, DeploymentPatch, DeploymentSchedule, NewSchedule, check_parameters, check_tags,
    check_text,
};

impl Core {
    pub(crate) fn update_deployment(
        &mut self,
        id: DeploymentId,
        patch: DeploymentPatch,
    ) -> Result<(), Error> {
        self.edit_deployment(id, patch, None)
    }

    /// The same. `same` says of each of the patch's schedules which former one it is, where that is known.
    pub(crate) fn edit_deployment(
        &mut self,
        id: DeploymentId,
        patch: DeploymentPatch,
        same: Option<Vec<Option<DeploymentSchedule>>>,
    ) -> Result<(), Error> {
        let row = self.deployment_row(id)?;
        if let Some(tags) = &patch.tags {
            check_tags(tags)?;
        }
        if let Some(parameters) = &patch.parameters {
            check_parameters(parameters)?;
        }
        if let Some(labels) = &patch.labels {
            check_labels(labels)?;
        }
        patch.retry.as_ref().map_or(Ok(()), check_retry)?;
        check_timeout(patch.timeout.flatten())?;
        patch
            .options
            .flatten()
            .map_or(Ok(()), ConcurrencyOptions::check)?;
        if let Some(schedules) = &patch.schedules {
            check_schedules(schedules, &self.settings)?;
        }
        if let Some(limits) = &patch.limits {
            self.check_limits(limits)?;
        }
        for text in [&patch.version, &patch.description, &patch.path, &patch.entrypoint] {
            check_text(text.as_ref().and_then(Option::as_ref))?;
        }
        check_objects(patch.pull_steps.as_deref(), patch.job_variables.as_ref())?;
        let queue = self.named_queue(patch.queue.as_ref())?;
        let mut held = (**self.catalog.deployments.get(row).expect("just found")).clone();
        let former = held.data.schedules.clone();
        let same = match (&patch.schedules, same) {
            (_, Some(same)) => same,
            (Some(new), None) => self.match_schedules(row, &former, new)?,
            (None, None) => Vec::new(),
        };
        // Nothing below fails. Future occurrences are taken back under what was, and planned under what is: of all
        // schedules when their runs will look different, else of those alone that change.
        let all = patch.changes_runs();
        let edited: Vec<ScheduleId> = former
            .iter()
            .filter(|old| {
                all || patch.schedules.as_ref().is_some_and(|new| {
                    let new = new
                        .iter()
                        .zip(&same)
                        .find(|(_, same)| same.as_ref().is_some_and(|same| same.id == old.id));
                    new.is_none_or(|(new, _)| new.plans_otherwise(old))
                })
            })
            .map(|old| old.id)
            .collect();
        for &schedule in &edited {
            self.unplan(row, schedule);
        }
        let data = &mut held.data;
        data.updated = instant(self.wall);
        set(&mut data.version, patch.version);
        set(&mut data.description, patch.description);
        set(&mut data.parameters, patch.parameters);
        set(&mut data.labels, patch.labels);
        set(&mut data.priority, patch.priority);
        set(&mut data.retry, patch.retry);
        set(&mut data.timeout, patch.timeout);
        set(&mut data.limits, patch.limits);
        set(&mut data.concurrency_options, patch.options);
        set(&mut data.path, patch.path);
        set(&mut data.entrypoint, patch.entrypoint);
        set(&mut data.pull_steps, patch.pull_steps);
        set(&mut data.job_variables, patch.job_variables);
        set(&mut data.enforce_parameter_schema, patch.enforce);
        set(&mut data.parameter_openapi_schema, patch.schema);
        if let Some(tags) = patch.tags {
            held.tags = shared_tags(&tags);
            held.data.tags = tags;
        }
        if let Some((pool, name)) = patch.queue {
            held.data.work_pool_name = Some(pool);
            held.data.work_queue_name = Some(name);
            let queue = queue.unwrap_or_else(|| self.default_queue());
            held.queue = Some(queue);
            held.data.work_queue_id = Some(self.catalog.queues.get(queue).expect("just found").data.id);
        }
        if let Some(schedules) = patch.schedules {
            held.data.schedules = self.make_schedules(schedules, same);
        }
        if let Some(limit) = patch.limit {
            held.data.concurrency_limit = limit.map(NonZeroU32::get);
        }
        let limit = held.data.concurrency_limit;
        *self.catalog.deployments.get_mut(row).expect("just found") = Arc::new(held);
        self.changed();
        self.set_deployment_limit(row, limit);
        self.set_collision(row);
        self.refresh_schedules(row, &former);
        match patch.paused {
            Some(true) => self.set_deployment_paused(id, true)?,
            Some(false) => self.set_deployment_paused(id, false)?,
            None => {}
        }
        self.plan_all(row);
        Ok(())
    }

    /// For each new schedule the one that it stands for, of those that are there and those that are remembered: with the
    /// same slug, or without one and the same in all it says.
    fn match_schedules(
        &self,
        row: u32,
        former: &[DeploymentSchedule],
        new: &[NewSchedule],
    ) -> Result<Vec<Option<DeploymentSchedule>>, Error> {
        let work = self.deployments[row as usize].as_ref().expect("just found");
        let present = work.schedules.iter().zip(former).map(|(work, data)| (data, work));
        let removed = work.removed.iter().map(|removed| (&removed.data, &removed.work));
        let mut before: Vec<(&DeploymentSchedule, &ScheduleWork)> = present.chain(removed).collect();
        let mut take = |new: &NewSchedule| {
            let same = before.iter().position(|(old, _)| match (&old.slug, &new.slug) {
                (Some(old), Some(new)) => old == new,
                (None, None) => old.schedule == new.schedule && old.parameters == new.parameters,
                _ => false,
            })?;
            Some(before.remove(same).0.clone())
        };
        let same = new.iter().map(&mut take).collect();
        self.can_remember(before.iter().map(|(_, work)| *work))?;
        Ok(same)
    }

    fn make_schedules(
        &mut self,
        new: Vec<NewSchedule>,
        same: Vec<Option<DeploymentSchedule>>,
    ) -> Vec<DeploymentSchedule> {
        let made = new.into_iter().zip(same).map(|(new, same)| {
            if let Some(old) = same.as_ref().filter(|&old| new == NewSchedule::from(old.clone())) {
                return old.clone();
            }
            let made = self.make_schedule(new);
            match same {
                Some(old) => DeploymentSchedule {
                    id: old.id,
                    created: old.created,
                    ..made
                },
                None => made,
            }
        });
        made.collect()
    }
}
