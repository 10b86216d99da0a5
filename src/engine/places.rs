//! Flows, work pools and work queues as entities: reading single ones, changing them, removing them.

use std::sync::Arc;

use super::Engine;
use super::core::{Core, QueueWork};
use super::error::Error;
use super::pools::{DEFAULT, check_unreserved};
use super::submit::check_labels;
use crate::catalog::{instant, shared_tags};
use crate::ids::{DeploymentId, FlowId, PoolId, QueueId};
use crate::model::{
    Flow, NewFlow, PoolPatch, QueuePatch, Text, WorkPool, WorkQueue, check_tags, check_template, check_text,
};

impl Engine {
    /// Makes a flow with tags and labels. One of that name that is there is answered as it is: tags and labels given are not
    /// looked at then.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], [`Error::Full`].
    pub fn create_flow(&self, new: NewFlow) -> Result<Flow, Error> {
        self.call(|core| core.create_flow(new))
    }

    /// A flow, by name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn flow_by_name(&self, name: &str) -> Result<Flow, Error> {
        self.call(|core| {
            let row = core.known_flow(name)?;
            Ok(core
                .catalog
                .flows
                .get(row)
                .expect("names lead to rows")
                .data
                .clone())
        })
    }

    /// A flow, by id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn flow_by_id(&self, id: FlowId) -> Result<Flow, Error> {
        self.call(|core| {
            let found = core.row_by_id(id.uuid(), |row| Some(&core.catalog.flows.get(row)?.data));
            let (_, data) = found
                .filter(|(_, data)| data.id == id)
                .ok_or_else(|| unknown("flow", &id))?;
            Ok(data.clone())
        })
    }

    /// A work pool, by id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn pool_by_id(&self, id: PoolId) -> Result<WorkPool, Error> {
        self.call(|core| {
            let found = core.row_by_id(id.uuid(), |row| core.catalog.pools.get(row));
            let found = found.filter(|(_, held)| held.data.id == id);
            let (_, held) = found.ok_or_else(|| unknown("work pool", &id))?;
            let queues = |queue| core.catalog.queues.get(queue);
            Ok(core.polled.at(core.wall).pool(held, queues))
        })
    }

    /// A work queue, by id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn queue_by_id(&self, id: QueueId) -> Result<WorkQueue, Error> {
        self.call(|core| {
            let found = core.row_by_id(id.uuid(), |row| core.catalog.queues.get(row));
            let found = found.filter(|(_, held)| held.data.id == id);
            let (row, held) = found.ok_or_else(|| unknown("work queue", &id))?;
            Ok(core.polled.at(core.wall).queue(row, held))
        })
    }

    /// Replaces the tags of a flow.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub fn update_flow(&self, name: &str, tags: Vec<Text>) -> Result<u64, Error> {
        self.call(|core| {
            check_tags(&tags)?;
            let (row, at) = (core.known_flow(name)?, instant(core.wall));
            let held = Arc::make_mut(core.catalog.flows.get_mut(row).expect("names lead to rows"));
            held.tags = shared_tags(&tags);
            held.data.tags = tags;
            held.data.updated = at;
            Ok(core.changed())
        })
    }

    /// Deletes a flow with its deployments and all its runs, waiting ones too; their limits go with the deployments. Linear in
    /// the runs and deployments of the engine.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Refused`] while a run of it is claimed.
    pub fn delete_flow(&self, name: &str) -> Result<u64, Error> {
        self.call(|core| core.delete_flow(name).map(|()| core.version))
    }

    /// A work pool, by name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn pool(&self, name: &str) -> Result<WorkPool, Error> {
        self.call(|core| {
            let row = core.pool_row(name)?;
            let held = core.catalog.pools.get(row).expect("just found");
            Ok(core
                .polled
                .at(core.wall)
                .pool(held, |queue| core.catalog.queues.get(queue)))
        })
    }

    /// A work queue, by the name of its pool and its own.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn queue(&self, pool: &str, name: &str) -> Result<WorkQueue, Error> {
        self.call(|core| {
            let row = core.queue_row(pool, name)?;
            let held = core.catalog.queues.get(row).expect("just found");
            Ok(core.polled.at(core.wall).queue(row, held))
        })
    }

    /// Changes a work pool. All of the patch, or nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub fn update_pool(&self, name: &str, patch: PoolPatch) -> Result<u64, Error> {
        self.call(|core| core.update_pool(name, patch).map(|()| core.version))
    }

    /// Changes a work queue. All of the patch, or nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub fn update_queue(&self, pool: &str, name: &str, patch: QueuePatch) -> Result<u64, Error> {
        self.call(|core| core.update_queue(pool, name, patch).map(|()| core.version))
    }

    /// Deletes a work pool and its queues. Its deployments go on in the queue `default` of the pool `default`. Linear in the
    /// runs and deployments of the engine.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Refused`] for the pool `default`, and while a run of it has not ended.
    pub fn delete_pool(&self, name: &str) -> Result<u64, Error> {
        self.call(|core| core.delete_pool(name).map(|()| core.version))
    }

    /// Deletes a work queue. Its deployments go on in the queue `default` of their pool. Linear in the runs and deployments
    /// of the engine.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Refused`] for the queue `default`, and while a run of it has not ended.
    pub fn delete_queue(&self, pool: &str, name: &str) -> Result<u64, Error> {
        self.call(|core| core.delete_queue(pool, name).map(|()| core.version))
    }

    /// The queues that are meant for a deployment: whose filter names tags that it has all of, and no ids or its own. A queue
    /// without a filter is meant for none in particular. By name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn work_queue_check(&self, deployment: DeploymentId) -> Result<Vec<WorkQueue>, Error> {
        self.call(|core| {
            let row = core.deployment_row(deployment)?;
            let data = &core.catalog.deployments.get(row).expect("just found").data;
            let polled = core.polled.at(core.wall);
            let meant = |held: &WorkQueue| {
                held.filter.as_ref().is_some_and(|filter| {
                    let tags = filter.tags.iter().flatten();
                    let ids = filter.deployment_ids.as_deref().unwrap_or_default();
                    tags.into_iter().all(|tag| data.tags.contains(tag))
                        && (ids.is_empty() || ids.contains(&deployment))
                })
            };
            let queues = core.catalog.queues.iter().filter(|(_, held)| meant(&held.data));
            let mut queues: Vec<WorkQueue> = queues.map(|(row, held)| polled.queue(row, held)).collect();
            queues.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
            Ok(queues)
        })
    }
}

impl Core {
    /// What a table holds in the row that an id leads to. The id may be that of something of another kind.
    fn row_by_id<'a, T>(&self, id: uuid::Uuid, get: impl Fn(u32) -> Option<&'a T>) -> Option<(u32, &'a T)> {
        let row = *self.catalog.by_id.get(&id)?;
        Some((row, get(row)?))
    }

    fn known_flow(&self, name: &str) -> Result<u32, Error> {
        self.flow_row(name, "make it first with `create_flow`")
    }

    fn create_flow(&mut self, new: NewFlow) -> Result<Flow, Error> {
        if !self.catalog.flow_names.contains_key(&new.name) {
            check_tags(&new.tags)?;
            check_labels(&new.labels)?;
            let row = self.flow(&new.name)?;
            let held = Arc::make_mut(self.catalog.flows.get_mut(row).expect("just made"));
            held.tags = shared_tags(&new.tags);
            held.data.tags = new.tags;
            held.data.labels = new.labels;
        }
        let row = self.known_flow(&new.name)?;
        Ok(self
            .catalog
            .flows
            .get(row)
            .expect("names lead to rows")
            .data
            .clone())
    }

    fn delete_flow(&mut self, name: &str) -> Result<(), Error> {
        let row = self.known_flow(name)?;
        let id: FlowId = self.catalog.flows.get(row).expect("names lead to rows").data.id;
        self.flow_bodies.clear();
        let runs: Vec<_> = (self.catalog.runs.iter())
            .filter(|(_, run)| run.body.flow == row)
            .map(|(row, run)| (row, run.id))
            .collect();
        for (run, _) in &runs {
            if self.check_delete_run(*run).is_err() {
                return Err(Error::Refused {
                    kind: "flow",
                    name: format!("{name:?}"),
                    what: "deleted",
                    reason: "a worker has a run of it; cancel its runs, and delete it when they have ended",
                });
            }
        }
        // Nothing below fails.
        let deployments: Vec<_> = (self.catalog.deployments.iter())
            .filter(|(_, held)| held.flow == row)
            .map(|(row, held)| (row, held.data.id, held.data.name.clone()))
            .collect();
        for (at, deployment, name) in deployments {
            if self.deployment_row(deployment).is_ok() {
                self.delete_deployment(deployment)?;
            } else {
                self.catalog.deployments.remove(at);
                self.catalog.by_id.remove(&deployment.uuid());
                self.catalog.deployment_names.remove(&(row, name));
            }
        }
        for (_, run) in runs {
            // Retention, or the deployment, can have taken it already.
            if self.run_row(run).is_some() {
                self.delete_run(run)?;
            }
        }
        self.catalog.flows.remove(row);
        self.catalog.by_id.remove(&id.uuid());
        self.catalog.flow_names.remove(name);
        self.changed();
        Ok(())
    }

    fn update_pool(&mut self, name: &str, patch: PoolPatch) -> Result<(), Error> {
        check_text(patch.description.as_ref().and_then(Option::as_ref))?;
        patch.template.as_ref().map_or(Ok(()), check_template)?;
        if patch.description.is_some() || patch.template.is_some() {
            check_unreserved(name)?;
        }
        let paused = patch.paused;
        self.edit_pool(name, |data| {
            set(&mut data.description, patch.description);
            set(&mut data.base_job_template, patch.template);
            set(&mut data.concurrency_limit, patch.limit);
        })?;
        paused.map_or(Ok(()), |paused| self.set_pool_paused(name, paused))
    }

    fn update_queue(&mut self, pool: &str, name: &str, patch: QueuePatch) -> Result<(), Error> {
        check_text(patch.description.as_ref().and_then(Option::as_ref))?;
        if let Some(filter) = patch.filter.as_ref().and_then(Option::as_ref) {
            check_tags(filter.tags.as_deref().unwrap_or_default())?;
        }
        let pool_row = self.changeable_pool(pool)?;
        let row = self.queue_row(pool, name)?;
        self.room_for_number(pool_row, patch.priority, Some(row))?;
        // Nothing below fails.
        let (paused, priority) = (patch.paused, patch.priority);
        self.edit_queue(pool, name, |data| {
            set(&mut data.description, patch.description);
            set(&mut data.concurrency_limit, patch.limit);
            set(&mut data.filter, patch.filter);
            set(&mut data.priority, priority);
        })?;
        if priority.is_some() {
            let held = self.catalog.pools.get(pool_row).expect("just found");
            let mut others = held.queues.clone();
            others.retain(|&queue| queue != row);
            let number = self.queue_priority(row);
            let at = others.partition_point(|&queue| self.queue_priority(queue) < number);
            self.number_queues(pool_row, others, at, row);
        }
        paused.map_or(Ok(()), |paused| self.set_queue_paused(pool, name, paused))
    }

    fn delete_pool(&mut self, name: &str) -> Result<(), Error> {
        let pool = self.pool_row(name)?;
        check_unreserved(name)?;
        if name == DEFAULT {
            return Err(refused("work pool", name, "runs that name no pool wait in it"));
        }
        let queues = self.catalog.pools.get(pool).expect("just found").queues.clone();
        self.check_unused("work pool", name, &queues)?;
        // Nothing below fails.
        let default = self.default_queue();
        self.move_deployments(&queues, default, None);
        for queue in queues {
            self.forget_queue(pool, queue);
        }
        self.flow_bodies.clear();
        let held = self.catalog.pools.remove(pool).expect("just found");
        self.catalog.by_id.remove(&held.data.id.uuid());
        self.catalog.pool_names.remove(name);
        self.pool_order.retain(|&other| other != pool);
        self.pools[pool as usize] = super::core::PoolWork::default();
        self.changed();
        Ok(())
    }

    fn delete_queue(&mut self, pool: &str, name: &str) -> Result<(), Error> {
        let queue = self.queue_row(pool, name)?;
        if name == DEFAULT {
            let reason = "runs that name only the pool wait in it; delete the pool, or pause the queue";
            return Err(refused("work queue", name, reason));
        }
        self.check_unused("work queue", name, &[queue])?;
        let pool_row = self.pool_row(pool)?;
        let default = self.catalog.queue_names.get(&(pool_row, Text::of(DEFAULT)));
        let default = match default {
            Some(&default) => default,
            // A loaded pool may lack it.
            None => self.default_queue(),
        };
        self.move_deployments(&[queue], default, Some(&Text::from(pool)));
        let held = Arc::make_mut(self.catalog.pools.get_mut(pool_row).expect("just found"));
        held.queues.retain(|&other| other != queue);
        self.forget_queue(pool_row, queue);
        self.changed();
        Ok(())
    }

    /// Every run of these queues has ended. Loaded records do not count.
    fn check_unused(&self, kind: &'static str, name: &str, queues: &[u32]) -> Result<(), Error> {
        use crate::model::Place;
        let used = |run: &crate::catalog::RunRow| {
            !matches!(run.place, Place::Finished | Place::Record)
                && run.queue.is_some_and(|queue| queues.contains(&queue))
        };
        if self.catalog.runs.iter().any(|(_, run)| used(run)) {
            let reason = "a run of it has not ended; cancel its runs, and delete it when they have ended";
            return Err(refused(kind, name, reason));
        }
        Ok(())
    }

    /// Deployments of these queues go on in another.
    fn move_deployments(&mut self, queues: &[u32], to: u32, pool: Option<&Text>) {
        let id = self.catalog.queues.get(to).expect("the queue is there").data.id;
        let at = instant(self.wall);
        let moved: Vec<u32> = (self.catalog.deployments.iter())
            .filter(|(_, held)| held.queue.is_some_and(|queue| queues.contains(&queue)))
            .map(|(row, _)| row)
            .collect();
        for row in moved {
            let held = Arc::make_mut(self.catalog.deployments.get_mut(row).expect("just found"));
            held.queue = Some(to);
            held.data.work_queue_id = Some(id);
            held.data.work_pool_name = pool.cloned();
            held.data.work_queue_name = None;
            held.data.updated = at;
            let schedules = held.data.schedules.clone();
            if self.deployments.get(row as usize).is_some_and(Option::is_some) {
                self.refresh_schedules(row, &schedules);
            }
        }
    }

    /// Takes a queue out that nothing unfinished is in. Records keep its name.
    fn forget_queue(&mut self, pool: u32, queue: u32) {
        let ended: Vec<u32> = (self.catalog.runs.iter())
            .filter(|(_, run)| run.queue == Some(queue))
            .map(|(row, _)| row)
            .collect();
        for row in ended {
            self.run_mut(row).queue = None;
        }
        self.flow_bodies.clear();
        let held = self.catalog.queues.remove(queue).expect("the queue is there");
        self.catalog.by_id.remove(&held.data.id.uuid());
        self.catalog.queue_names.remove(&(pool, held.data.name.clone()));
        self.queues[queue as usize] = QueueWork::default();
    }
}

fn unknown(kind: &'static str, id: &dyn std::fmt::Display) -> Error {
    Error::NotFound {
        kind,
        name: id.to_string(),
        hint: "it was never made here, or was deleted",
    }
}

fn refused(kind: &'static str, name: &str, reason: &'static str) -> Error {
    Error::Refused {
        kind,
        name: format!("{name:?}"),
        what: "deleted",
        reason,
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
