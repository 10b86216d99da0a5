//! Work pools and work queues: making, finding and changing them.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::core::{Core, QueueWork};
use super::error::Error;
use crate::catalog::{PoolRow, QueueRow, instant};
use crate::ids::{PoolId, QueueId};
use crate::model::{
    InvalidValue, NewPool, NewQueue, QueueOrder, Text, WorkPool, WorkQueue, check_name, check_template,
    check_text,
};

/// Name of the pool and of the queue that runs wait in when none is named.
pub(crate) const DEFAULT: &str = "default";

/// The reference keeps these names for pools of its own, which a loaded document may hold: they are not made, deleted or changed but
/// for pause and limit.
pub(super) fn check_unreserved(name: &str) -> Result<(), InvalidValue> {
    let start = name.as_bytes().get(..RESERVED.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED.as_bytes())) {
        let rule = "pools whose names begin with `prefect` are the reference's own; give another name";
        return Err(InvalidValue::new("work pool name", name, rule));
    }
    Ok(())
}

const RESERVED: &str = "prefect";

impl Core {
    /// The queue `default` of the pool `default`: made when a run first needs it or a caller names its pool, and exempt from
    /// the cap on queues, so that it is there for whoever names none.
    pub(crate) fn default_queue(&mut self) -> u32 {
        let pool = match self.catalog.pool_names.get(DEFAULT) {
            Some(&pool) => pool,
            None => self.make_pool(NewPool::named(DEFAULT)).0,
        };
        match self.known_default_queue() {
            Some(queue) => queue,
            // A loaded pool of that name may lack it.
            None => self.make_queue(pool, NewQueue::named(DEFAULT, DEFAULT)).0,
        }
    }

    /// The default queue, if it is there.
    pub(crate) fn known_default_queue(&self) -> Option<u32> {
        let pool = *self.catalog.pool_names.get(DEFAULT)?;
        let name = (pool, Text::of(DEFAULT));
        self.catalog.queue_names.get(&name).copied()
    }

    /// The row of a named queue; none for the default one, which may not be there yet.
    pub(crate) fn named_queue(&self, named: Option<&(Text, Text)>) -> Result<Option<u32>, Error> {
        match named {
            None => Ok(None),
            Some((pool, queue)) if *pool == DEFAULT && *queue == DEFAULT => Ok(None),
            Some((pool, queue)) => self.queue_row(pool, queue).map(Some),
        }
    }

    pub(crate) fn pool_row(&self, name: &str) -> Result<u32, Error> {
        self.catalog
            .pool_names
            .get(name)
            .copied()
            .ok_or_else(|| Error::NotFound {
                kind: "work pool",
                name: format!("{name:?}"),
                hint: "make it first with `create_pool`",
            })
    }

    pub(crate) fn queue_row(&self, pool: &str, queue: &str) -> Result<u32, Error> {
        let pool_row = self.pool_row(pool)?;
        self.catalog
            .queue_names
            .get(&(pool_row, Text::from(queue)))
            .copied()
            .ok_or_else(|| Error::NotFound {
                kind: "work queue",
                name: format!("{queue:?} of pool {pool:?}"),
                hint: "make it first with `create_queue`",
            })
    }

    /// Changes to the default pool may come before anything has needed it.
    pub(crate) fn changeable_pool(&mut self, pool: &str) -> Result<u32, Error> {
        if pool == DEFAULT {
            self.default_queue();
        }
        self.pool_row(pool)
    }

    pub(crate) fn create_pool(&mut self, new: NewPool) -> Result<PoolId, Error> {
        check_name("work pool name", &new.name)?;
        if new.name.trim_matches([' ', '"', '\'']).is_empty() {
            let rule = "give it something besides spaces and quotes";
            return Err(InvalidValue::new("work pool name", &new.name, rule).into());
        }
        check_unreserved(&new.name)?;
        check_template(&new.template)?;
        check_text(new.description.as_ref())?;
        if self.catalog.pool_names.contains_key(&new.name) {
            return Err(Error::Duplicate {
                kind: "work pool",
                name: format!("{:?}", new.name),
            });
        }
        self.room_for_queue()?;
        let (pool, id) = self.make_pool(new);
        self.make_queue(pool, NewQueue::named(DEFAULT, DEFAULT));
        Ok(id)
    }

    fn make_pool(&mut self, new: NewPool) -> (u32, PoolId) {
        let (id, at) = (PoolId::from_uuid(self.ids.uuid()), instant(self.wall));
        let data = WorkPool {
            id,
            created: at,
            updated: at,
            name: new.name,
            description: new.description,
            kind: new.kind.unwrap_or(Text::of("tenfold")),
            is_paused: new.paused,
            concurrency_limit: new.limit,
            base_job_template: new.template,
            default_queue_id: None,
            status: None,
        };
        (self.add_pool(data), id)
    }

    pub(crate) fn add_pool(&mut self, data: WorkPool) -> u32 {
        let (id, name) = (data.id, data.name.clone());
        let row = self.catalog.pools.insert(Arc::new(PoolRow {
            data,
            queues: Vec::new(),
        }));
        self.catalog.by_id.insert(id.uuid(), row);
        self.catalog.pool_names.insert(name, row);
        if self.pools.len() <= row as usize {
            self.pools.resize_with(row as usize + 1, Default::default);
        }
        self.pool_order.push(row);
        self.changed();
        row
    }

    fn room_for_queue(&self) -> Result<(), Error> {
        let (waiting, capacity) = (self.catalog.queues.len(), self.settings.queues);
        if waiting < capacity {
            return Ok(());
        }
        Err(Error::Full {
            what: "work queues",
            waiting,
            capacity,
            asked: 1,
        })
    }

    pub(crate) fn create_queue(&mut self, new: NewQueue) -> Result<QueueId, Error> {
        check_name("work queue name", &new.name)?;
        check_text(new.description.as_ref())?;
        self.room_for_queue()?;
        let pool = self.changeable_pool(&new.pool)?;
        if self.catalog.queue_names.contains_key(&(pool, new.name.clone())) {
            let name = format!("{:?} in pool {:?}", new.name, new.pool);
            return Err(Error::Duplicate {
                kind: "work queue",
                name,
            });
        }
        self.room_for_number(pool, new.priority, None)?;
        Ok(self.make_queue(pool, new).1)
    }

    /// Whoever has the number moves down by one, and so on; the last number has nothing below it.
    pub(crate) fn room_for_number(
        &self,
        pool: u32,
        number: Option<NonZeroU32>,
        but: Option<u32>,
    ) -> Result<(), InvalidValue> {
        let Some(number) = number else { return Ok(()) };
        let held = self.catalog.pools.get(pool).expect("just found");
        let mut last = number.get();
        for &queue in held.queues.iter().filter(|&&queue| Some(queue) != but) {
            let taken = self.queue_priority(queue);
            if taken < number.get() {
                continue;
            }
            if taken > last {
                break;
            }
            last = last.checked_add(1).ok_or_else(|| {
                let rule = "the queue that has it cannot move down any more; give a lower number";
                InvalidValue::new("priority", &number.to_string(), rule)
            })?;
        }
        Ok(())
    }

    fn make_queue(&mut self, pool: u32, new: NewQueue) -> (u32, QueueId) {
        let held = self
            .catalog
            .pools
            .get(pool)
            .expect("the caller found the pool")
            .clone();
        let taken = held.queues.iter().map(|&queue| self.queue_priority(queue));
        // The lowest number that is free; the queues are in ascending order.
        let free = taken.fold(1, |free, taken| if taken == free { free + 1 } else { free });
        let (id, at) = (QueueId::from_uuid(self.ids.uuid()), instant(self.wall));
        let data = WorkQueue {
            id,
            created: at,
            updated: at,
            name: new.name,
            description: new.description,
            work_pool_id: held.data.id,
            priority: new.priority.or(NonZeroU32::new(free)).unwrap_or(NonZeroU32::MAX),
            is_paused: new.paused,
            concurrency_limit: new.limit,
            order: new.order,
            filter: new.filter,
            last_polled: None,
            status: None,
        };
        (self.add_queue(pool, data), id)
    }

    /// Puts a queue among those of its pool. It takes its number; whoever is pushed moves down by the least.
    pub(crate) fn add_queue(&mut self, pool: u32, data: WorkQueue) -> u32 {
        let held = self
            .catalog
            .pools
            .get(pool)
            .expect("the caller found the pool")
            .clone();
        let (id, name, number) = (data.id, data.name.clone(), data.priority.get());
        let is_default = name == DEFAULT;
        let polled = data.last_polled;
        let paused = data.is_paused || held.data.is_paused;
        let strict = data.order == QueueOrder::StrictFifo;
        let row = self.catalog.queues.insert(Arc::new(QueueRow { data, pool }));
        self.catalog.by_id.insert(id.uuid(), row);
        self.catalog.queue_names.insert((pool, name), row);
        if self.queues.len() <= row as usize {
            self.queues.resize_with(row as usize + 1, QueueWork::default);
        }
        self.ready.add_queue(row, paused);
        self.ready.set_strict(row, strict);
        self.polled
            .poll_queue(row, polled.map_or(i64::MIN, |at| at.timestamp_micros()));
        let queues = held.queues.clone();
        let at = queues.partition_point(|&queue| self.queue_priority(queue) < number);
        self.number_queues(pool, queues, at, row);
        if is_default {
            let held = Arc::make_mut(self.catalog.pools.get_mut(pool).expect("just found"));
            held.data.default_queue_id = Some(id);
        }
        self.changed();
        row
    }

    /// Puts a queue at its place among the others of its pool; whoever is pushed moves down by the least.
    pub(crate) fn number_queues(&mut self, pool: u32, mut queues: Vec<u32>, at: usize, row: u32) {
        queues.insert(at, row);
        let mut last = 0;
        for &queue in &queues {
            if self.queue_priority(queue) <= last {
                let pushed = NonZeroU32::MIN.saturating_add(last);
                Arc::make_mut(self.catalog.queues.get_mut(queue).expect("a pool's queues exist"))
                    .data
                    .priority = pushed;
            }
            last = self.queue_priority(queue);
        }
        Arc::make_mut(self.catalog.pools.get_mut(pool).expect("just found")).queues = queues;
    }

    pub(crate) fn queue_priority(&self, queue: u32) -> u32 {
        self.catalog
            .queues
            .get(queue)
            .expect("a pool's queues exist")
            .data
            .priority
            .get()
    }

    pub(crate) fn set_queue_paused(&mut self, pool: &str, queue: &str, paused: bool) -> Result<(), Error> {
        let row = self.edit_queue(pool, queue, |data| data.is_paused = paused)?;
        self.tell_pause(row);
        Ok(())
    }

    pub(crate) fn set_queue_limit(
        &mut self,
        pool: &str,
        queue: &str,
        limit: Option<u32>,
    ) -> Result<(), Error> {
        self.edit_queue(pool, queue, |data| data.concurrency_limit = limit)?;
        Ok(())
    }

    pub(crate) fn set_queue_order(
        &mut self,
        pool: &str,
        queue: &str,
        order: QueueOrder,
    ) -> Result<(), Error> {
        let row = self.edit_queue(pool, queue, |data| data.order = order)?;
        self.ready.set_strict(row, order == QueueOrder::StrictFifo);
        Ok(())
    }

    pub(crate) fn set_pool_paused(&mut self, pool: &str, paused: bool) -> Result<(), Error> {
        let row = self.edit_pool(pool, |data| data.is_paused = paused)?;
        let queues = self.catalog.pools.get(row).expect("just edited").queues.clone();
        for queue in queues {
            self.tell_pause(queue);
        }
        Ok(())
    }

    pub(crate) fn set_pool_limit(&mut self, pool: &str, limit: Option<u32>) -> Result<(), Error> {
        self.edit_pool(pool, |data| data.concurrency_limit = limit)?;
        Ok(())
    }

    /// Changes a queue's data: one change, with one version.
    pub(crate) fn edit_queue(
        &mut self,
        pool: &str,
        queue: &str,
        edit: impl FnOnce(&mut WorkQueue),
    ) -> Result<u32, Error> {
        self.changeable_pool(pool)?;
        let row = self.queue_row(pool, queue)?;
        let data = &mut Arc::make_mut(self.catalog.queues.get_mut(row).expect("just found")).data;
        edit(data);
        data.updated = instant(self.wall);
        Ok(self.edited(row))
    }

    /// Changes a pool's data: one change, with one version, however many queues it has.
    pub(crate) fn edit_pool(&mut self, pool: &str, edit: impl FnOnce(&mut WorkPool)) -> Result<u32, Error> {
        let row = self.changeable_pool(pool)?;
        let data = &mut Arc::make_mut(self.catalog.pools.get_mut(row).expect("just found")).data;
        edit(data);
        data.updated = instant(self.wall);
        Ok(self.edited(row))
    }

    /// A pool or queue has changed: there may be work.
    fn edited(&mut self, row: u32) -> u32 {
        self.effects.ring = true;
        self.changed();
        row
    }

    /// Tells the ready order whether a queue is paused, by itself or with its pool.
    pub(crate) fn tell_pause(&mut self, queue: u32) {
        let held = self.catalog.queues.get(queue).expect("just found");
        let pool = self.catalog.pools.get(held.pool).expect("a queue's pool exists");
        self.ready
            .set_paused(queue, held.data.is_paused || pool.data.is_paused);
        self.arm_limits();
    }
}
