//! Flows, pools, queues and deployments of a document: each checked, then put in.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Import, damaged};
use crate::catalog::{DeploymentRow, FlowRow, shared_tags};
use crate::engine::deploy::check_catch_up;
use crate::engine::error::Error;
use crate::engine::export::Document;
use crate::engine::submit;
use crate::model::{check_kept, check_name};

impl Import<'_> {
    pub(super) fn entities(&mut self, document: &Document) -> Result<(), Error> {
        for (index, flow) in document.flows.iter().enumerate() {
            let path = format!("flows[{index}]");
            self.names.new_id(&path, flow.id.uuid())?;
            check_kept(&flow.name, &flow.tags, &[&flow.labels])
                .map_err(|wrong| damaged(&path, wrong.to_string()))?;
            let tags = shared_tags(&flow.tags);
            let row = self.core.catalog.flows.insert(Arc::new(FlowRow {
                data: flow.clone(),
                tags,
            }));
            self.core.catalog.by_id.insert(flow.id.uuid(), row);
            self.names.flows.insert(flow.id, row);
            if self
                .core
                .catalog
                .flow_names
                .insert(flow.name.clone(), row)
                .is_some()
            {
                return Err(damaged(path, format!("the name {:?} stands twice", flow.name)));
            }
        }
        let mut pools = HashMap::new();
        for (index, pool) in document.work_pools.iter().enumerate() {
            let path = format!("work_pools[{index}]");
            self.names.new_id(&path, pool.id.uuid())?;
            if self.core.catalog.pool_names.contains_key(&pool.name) {
                return Err(damaged(path, format!("the name {:?} stands twice", pool.name)));
            }
            pools.insert(pool.id, self.core.add_pool(pool.clone()));
        }
        for (index, queue) in document.work_queues.iter().enumerate() {
            let path = format!("work_queues[{index}]");
            self.names.new_id(&path, queue.id.uuid())?;
            let pool = *pools
                .get(&queue.work_pool_id)
                .ok_or_else(|| damaged(&path, "its pool is not in the document"))?;
            if self
                .core
                .catalog
                .queue_names
                .contains_key(&(pool, queue.name.clone()))
            {
                return Err(damaged(
                    path,
                    format!("the name {:?} stands twice in its pool", queue.name),
                ));
            }
            let row = self.core.add_queue(pool, queue.clone());
            self.names.queues.insert(queue.id, row);
        }
        for (index, doc) in document.deployments.iter().enumerate() {
            let path = format!("deployments[{index}]");
            let data = &doc.data;
            self.names.new_id(&path, data.id.uuid())?;
            let flow = *self
                .names
                .flows
                .get(&data.flow_id)
                .ok_or_else(|| damaged(&path, "its flow is not in the document"))?;
            let queue = match data.work_queue_id {
                Some(id) => Some(
                    *self
                        .names
                        .queues
                        .get(&id)
                        .ok_or_else(|| damaged(&path, "its queue is not in the document"))?,
                ),
                None => None,
            };
            if queue.is_none() && !doc.record {
                return Err(damaged(path, "it has no work queue"));
            }
            check_kept(
                &data.name,
                &data.tags,
                &[&data.parameters, &data.labels, &data.job_variables],
            )
            .map_err(|wrong| damaged(&path, wrong.to_string()))?;
            submit::check_retry(&data.retry)?;
            submit::check_timeout(data.timeout)?;
            let kept = doc.removed.iter().map(|removed| &removed.data);
            for schedule in data.schedules.iter().chain(kept).filter(|_| !doc.record) {
                schedule
                    .slug
                    .as_ref()
                    .map_or(Ok(()), |slug| check_name("slug", slug))?;
                schedule.catch_up.map_or(Ok(()), check_catch_up)?;
            }
            let mut schedules = BTreeSet::new();
            let removed = doc.removed.iter().map(|removed| &removed.data);
            if !data
                .schedules
                .iter()
                .chain(removed)
                .all(|schedule| schedules.insert(schedule.id))
            {
                return Err(damaged(path, "the id of a schedule stands twice"));
            }
            let tags = shared_tags(&data.tags);
            let row = self.core.catalog.deployments.insert(Arc::new(DeploymentRow {
                data: data.clone(),
                flow,
                queue,
                tags,
            }));
            self.core.catalog.note_deployment(data.id, row);
            self.names.deployments.insert(data.id, row);
            if self
                .core
                .catalog
                .deployment_names
                .insert((flow, data.name.clone()), row)
                .is_some()
            {
                return Err(damaged(
                    path,
                    format!("the name {:?} stands twice in its flow", data.name),
                ));
            }
            if !doc.record {
                let limit = doc
                    .limit
                    .map(|number| self.limit(&format!("deployments[{index}].limit"), number))
                    .transpose()?;
                let book = &self.core.limits.book;
                let slots = limit.map(|limit| book.slots(limit));
                let own = limit.is_none_or(|limit| book.is_internal(limit));
                if slots != data.concurrency_limit
                    || !own
                    || limit.is_some_and(|limit| self.core.limits.owners.insert(limit, row).is_some())
                {
                    let path = format!("deployments[{index}].limit");
                    return Err(damaged(path, "it is not this deployment's own"));
                }
                self.core.employ_under(row, limit);
            }
        }
        Ok(())
    }
}
