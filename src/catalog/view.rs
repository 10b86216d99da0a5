//! One version of everything, to be read at leisure.

use std::cell::OnceCell;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::rows::{DeploymentRow, FlowRow, PoolRow, QueueRow, RunLimits, RunRow, TaskRunRow, When};
use super::table::{Changes, Mark, View};
use crate::filter::{Entity, Field, Records, Relation, Tags, Value};
use crate::ids::TaskRunId;
use crate::limit::LimitKey;
use crate::model::{Deployment, Place, PoolStatus, StateType, WorkPool, WorkQueue};

/// Rows related to a row, for one relation.
type Related = HashMap<u32, Vec<u32>>;

/// All tables as they were at one version. Taking it costs a few pointers for every 4,096 rows; reading it holds up
/// nobody.
#[derive(Debug)]
pub(crate) struct CatalogView {
    pub(crate) flows: View<Arc<FlowRow>>,
    pub(crate) deployments: View<Arc<DeploymentRow>>,
    pub(crate) runs: View<RunRow>,
    pub(crate) task_runs: View<Arc<TaskRunRow>>,
    pub(crate) pools: View<Arc<PoolRow>>,
    pub(crate) queues: View<Arc<QueueRow>>,
    /// The deployments whose own limit has no slot for their waiting runs.
    pub(crate) stopped: HashSet<u32>,
    /// For each named limit that has too few slots for some that wait for it: how many it has.
    pub(crate) stopped_by_name: HashMap<LimitKey, u32>,
    /// Who has been asked for work, and the instant of the view.
    pub(crate) polled: super::Polled,
    /// Relations to many, made when a filter first asks for them.
    related: [OnceCell<Related>; RELATIONS],
}

const RELATIONS: usize = Relation::ALL.len();

/// Which tables a view is to show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tables<'a> {
    None,
    /// Of one table the rows near some marks.
    Near(Entity, &'a [Mark]),
    Only(Entity),
    All,
}

impl Tables<'_> {
    fn of<T: Clone>(self, entity: Entity, table: &super::Table<T>) -> View<T> {
        let whole = match self {
            Self::Near(near, marks) if near == entity => return table.view_near(marks),
            Self::None | Self::Near(..) => false,
            // The status of a deployment or pool follows from its queues.
            Self::Only(Entity::Deployment | Entity::Pool) if entity == Entity::Queue => true,
            Self::Only(only) => only == entity,
            Self::All => true,
        };
        if whole { table.view() } else { View::EMPTY }
    }
}

impl super::Catalog {
    /// The tables asked for; the others are empty in it.
    pub(crate) fn view(
        &self,
        tables: Tables<'_>,
        stopped: HashSet<u32>,
        stopped_by_name: HashMap<LimitKey, u32>,
    ) -> CatalogView {
        CatalogView {
            flows: tables.of(Entity::Flow, &self.flows),
            deployments: tables.of(Entity::Deployment, &self.deployments),
            runs: tables.of(Entity::Run, &self.runs),
            task_runs: tables.of(Entity::TaskRun, &self.task_runs),
            pools: tables.of(Entity::Pool, &self.pools),
            queues: tables.of(Entity::Queue, &self.queues),
            stopped,
            stopped_by_name,
            polled: super::Polled::default(),
            related: Default::default(),
        }
    }

    /// The rows of a table that changed since the last call, for its index.
    pub(crate) fn changes(&mut self, entity: Entity) -> Changes {
        match entity {
            Entity::Flow => self.flows.changes(),
            Entity::Deployment => self.deployments.changes(),
            Entity::Run => self.runs.changes(),
            Entity::TaskRun => self.task_runs.changes(),
            Entity::Pool => self.pools.changes(),
            Entity::Queue => self.queues.changes(),
        }
    }

    /// Whether the index of a table, once brought up, still describes it.
    pub(crate) fn is_unchanged(&self, entity: Entity) -> bool {
        match entity {
            Entity::Flow => self.flows.is_unchanged(),
            Entity::Deployment => self.deployments.is_unchanged(),
            Entity::Run => self.runs.is_unchanged(),
            Entity::TaskRun => self.task_runs.is_unchanged(),
            Entity::Pool => self.pools.is_unchanged(),
            Entity::Queue => self.queues.is_unchanged(),
        }
    }

    /// How many rows a table holds.
    pub(crate) fn count(&self, entity: Entity) -> usize {
        match entity {
            Entity::Flow => self.flows.len(),
            Entity::Deployment => self.deployments.len(),
            Entity::Run => self.runs.len(),
            Entity::TaskRun => self.task_runs.len(),
            Entity::Pool => self.pools.len(),
            Entity::Queue => self.queues.len(),
        }
    }
}

impl CatalogView {
    /// Row numbers of a table are below this.
    pub(crate) fn bound(&self, entity: Entity) -> u32 {
        match entity {
            Entity::Flow => self.flows.bound(),
            Entity::Deployment => self.deployments.bound(),
            Entity::Run => self.runs.bound(),
            Entity::TaskRun => self.task_runs.bound(),
            Entity::Pool => self.pools.bound(),
            Entity::Queue => self.queues.bound(),
        }
    }

    /// Whether a row of a table holds something.
    pub(crate) fn holds(&self, entity: Entity, row: u32) -> bool {
        match entity {
            Entity::Flow => self.flows.get(row).is_some(),
            Entity::Deployment => self.deployments.get(row).is_some(),
            Entity::Run => self.runs.get(row).is_some(),
            Entity::TaskRun => self.task_runs.get(row).is_some(),
            Entity::Pool => self.pools.get(row).is_some(),
            Entity::Queue => self.queues.get(row).is_some(),
        }
    }

    /// The numbers of the rows of a table, ascending.
    pub(crate) fn rows(&self, entity: Entity) -> impl Iterator<Item = u32> + '_ {
        (0..self.bound(entity)).filter(move |&row| self.holds(entity, row))
    }

    /// Where a relation to one row leads, if the row itself names it.
    pub(crate) fn one(&self, relation: Relation, row: u32) -> Option<u32> {
        match relation {
            Relation::DeploymentFlow => self.deployments.get(row).map(|held| held.flow),
            Relation::DeploymentQueue => self.deployments.get(row).and_then(|held| held.queue),
            Relation::RunFlow => self.runs.get(row).map(|held| held.body.flow),
            Relation::RunDeployment => self.runs.get(row).and_then(|held| held.deployment),
            Relation::RunQueue => self.runs.get(row).and_then(|held| held.queue),
            Relation::TaskRunRun => self.task_runs.get(row).and_then(|held| held.run),
            Relation::QueuePool => self.queues.get(row).map(|held| held.pool),
            _ => None,
        }
    }

    /// Whether a queue, or its pool, is paused.
    pub(crate) fn is_paused(&self, queue: u32) -> bool {
        self.queues.get(queue).is_some_and(|queue| {
            queue.data.is_paused || self.pools.get(queue.pool).is_some_and(|pool| pool.data.is_paused)
        })
    }

    /// Where a run is, blocked ones told from ready ones.
    pub(crate) fn place(&self, run: &RunRow) -> Place {
        if run.place != Place::Ready {
            return run.place;
        }
        let paused = run.queue.is_some_and(|queue| self.is_paused(queue));
        let stopped = run
            .deployment
            .is_some_and(|deployment| self.stopped.contains(&deployment));
        let stopped_by_name = || {
            let mut named = run.body.limits.as_deref().into_iter().flat_map(RunLimits::asks);
            let room = |limit: LimitKey| self.stopped_by_name.get(&limit).copied();
            named.any(|ask| room(ask.limit).is_some_and(|room| room < ask.weight))
        };
        if paused || stopped || stopped_by_name() {
            Place::Blocked
        } else {
            Place::Ready
        }
    }

    /// Where a run is as far as its own row says, blocked ones not told from ready ones.
    pub(crate) fn own_place(&self, row: u32) -> Value<'static> {
        let held = self.runs.get(row);
        held.and_then(|run| place(run.place)).unwrap_or(Value::Null)
    }

    /// Whether some run can be blocked at all.
    pub(crate) fn blocks(&self) -> bool {
        !self.stopped.is_empty()
            || !self.stopped_by_name.is_empty()
            || self.queues.iter().any(|(_, queue)| queue.data.is_paused)
            || self.pools.iter().any(|(_, pool)| pool.data.is_paused)
    }

    /// A deployment with what follows from who was asked for work.
    pub(crate) fn deployment(&self, row: u32) -> Option<Deployment> {
        let held = self.deployments.get(row)?;
        Some(self.polled.deployment(held, self.queue_of(held)))
    }

    /// A pool, the same way.
    pub(crate) fn pool(&self, row: u32) -> Option<WorkPool> {
        let held = self.pools.get(row)?;
        Some(self.polled.pool(held, |queue| self.queues.get(queue)))
    }

    /// A queue, the same way.
    pub(crate) fn queue(&self, row: u32) -> Option<WorkQueue> {
        Some(self.polled.queue(row, self.queues.get(row)?))
    }

    fn queue_of(&self, held: &DeploymentRow) -> Option<&QueueRow> {
        held.queue
            .and_then(|queue| self.queues.get(queue))
            .map(|queue| &**queue)
    }

    fn many(&self, relation: Relation) -> &Related {
        self.related[relation as usize].get_or_init(|| {
            let mut related = Related::new();
            let mut add = |from: Option<u32>, to: u32| {
                if let Some(from) = from {
                    related.entry(from).or_default().push(to);
                }
            };
            match relation {
                Relation::FlowDeployments => self
                    .deployments
                    .iter()
                    .for_each(|(row, held)| add(Some(held.flow), row)),
                Relation::FlowRuns => self
                    .runs
                    .iter()
                    .for_each(|(row, held)| add(Some(held.body.flow), row)),
                Relation::DeploymentRuns => {
                    self.runs.iter().for_each(|(row, held)| add(held.deployment, row));
                }
                Relation::RunTaskRuns => self.task_runs.iter().for_each(|(row, held)| add(held.run, row)),
                Relation::TaskRunSubruns => {
                    let rows = self.task_run_rows();
                    self.runs.iter().for_each(|(row, held)| {
                        add(
                            held.body.parent.and_then(|parent| rows.get(&parent).copied()),
                            row,
                        );
                    });
                }
                Relation::RunParent => {
                    let rows = self.task_run_rows();
                    for (row, held) in self.runs.iter() {
                        if let Some(&parent) = held.body.parent.and_then(|parent| rows.get(&parent)) {
                            add(Some(row), parent);
                        }
                    }
                }
                Relation::PoolQueues => self
                    .queues
                    .iter()
                    .for_each(|(row, held)| add(Some(held.pool), row)),
                Relation::QueueDeployments => self
                    .deployments
                    .iter()
                    .for_each(|(row, held)| add(held.queue, row)),
                Relation::QueueRuns => self.runs.iter().for_each(|(row, held)| add(held.queue, row)),
                // The others lead to one row at most, which the row itself names.
                _ => {}
            }
            related
        })
    }

    fn task_run_rows(&self) -> HashMap<TaskRunId, u32> {
        self.task_runs
            .iter()
            .map(|(row, held)| (held.data.id, row))
            .collect()
    }

    fn flow_value(&self, field: Field, row: u32) -> Option<Value<'_>> {
        let held = self.flows.get(row)?;
        let data = &held.data;
        Some(match field {
            Field::FlowId => Value::Uuid(data.id.uuid()),
            Field::FlowCreated => time(data.created),
            Field::FlowUpdated => time(data.updated),
            Field::FlowName => Value::Text(&data.name),
            Field::FlowTags => Value::Tags(Tags::Shared(&held.tags)),
            _ => Value::Null,
        })
    }

    fn deployment_value(&self, field: Field, row: u32) -> Option<Value<'_>> {
        let held = self.deployments.get(row)?;
        let data = &held.data;
        Some(match field {
            Field::DeploymentId => Value::Uuid(data.id.uuid()),
            Field::DeploymentCreated => time(data.created),
            Field::DeploymentUpdated => time(data.updated),
            Field::DeploymentName => Value::Text(&data.name),
            Field::DeploymentVersion => text(data.version.as_deref()),
            Field::DeploymentDescription => text(data.description.as_deref()),
            Field::DeploymentFlowId => Value::Uuid(data.flow_id.uuid()),
            Field::DeploymentPaused => Value::Bool(data.paused),
            Field::DeploymentTags => Value::Tags(Tags::Shared(&held.tags)),
            Field::DeploymentWorkQueueName => text(data.work_queue_name.as_deref()),
            Field::DeploymentQueueId => data
                .work_queue_id
                .map_or(Value::Null, |id| Value::Uuid(id.uuid())),
            Field::DeploymentPriority => Value::Int(data.priority.level().into()),
            Field::DeploymentConcurrencyLimit => data
                .concurrency_limit
                .map_or(Value::Null, |limit| Value::Int(limit.into())),
            Field::DeploymentSchedules => int(data.schedules.len()),
            Field::DeploymentPath => text(data.path.as_deref()),
            Field::DeploymentEntrypoint => text(data.entrypoint.as_deref()),
            Field::DeploymentEnforceParameterSchema => Value::Bool(data.enforce_parameter_schema),
            Field::DeploymentStatus => status(self.polled.of_deployment(held, self.queue_of(held)).1),
            Field::DeploymentLastPolled => {
                Value::Time(self.polled.of_deployment(held, self.queue_of(held)).0?)
            }
            Field::DeploymentActiveSchedules => {
                int(data.schedules.iter().filter(|schedule| schedule.active).count())
            }
            _ => return None,
        })
    }

    fn run_value(&self, field: Field, row: u32) -> Option<Value<'_>> {
        let run = self.runs.get(row)?;
        let body = &*run.body;
        Some(match field {
            Field::RunId => Value::Uuid(run.id.uuid()),
            Field::RunCreated => Value::Time(run.created),
            Field::RunUpdated => Value::Time(run.updated),
            Field::RunName => Value::Text(&run.name),
            Field::RunFlowId => Value::Uuid(body.flow_id.uuid()),
            Field::RunDeploymentId => Value::Uuid(body.deployment_id?.uuid()),
            Field::RunDeploymentVersion => text(body.deployment_version.as_deref()),
            Field::RunFlowVersion => text(body.flow_version.as_deref()),
            Field::RunQueueId => Value::Uuid(body.queue_id?.uuid()),
            Field::RunWorkQueueName => text(body.queue_name.as_deref()),
            Field::RunIdempotencyKey => text(body.key.as_deref()),
            Field::RunTags => Value::Tags(Tags::Shared(&body.tags)),
            Field::RunParentTaskRunId => Value::Uuid(body.parent?.uuid()),
            Field::RunStateType => state_type(run.state?),
            Field::RunStateName => run
                .state
                .map_or(Value::Null, |_| Value::Text(run.said.name_str(run.state))),
            Field::RunStateTimestamp => run.state.map_or(Value::Null, |_| Value::Time(run.state_at)),
            Field::RunPlace => place(self.place(run))?,
            Field::RunPriority => Value::Int(run.priority.level().into()),
            Field::RunCount => Value::Int(run.run_count.into()),
            Field::RunExpectedStartTime => when(run.expected_start),
            Field::RunNextScheduledStartTime => when(run.next_start),
            Field::RunStartTime => when(run.start),
            Field::RunEndTime => when(run.end),
            Field::RunTotalRunTime => Value::Int(run.total_run),
            Field::RunAutoScheduled => Value::Bool(body.auto_scheduled),
            Field::RunCreatedById => Value::Uuid(body.created_by.as_ref()?.id?),
            Field::RunCreatedByType => text(body.created_by.as_ref()?.kind.as_deref()),
            _ => return None,
        })
    }

    fn task_run_value(&self, field: Field, row: u32) -> Option<Value<'_>> {
        let held = self.task_runs.get(row)?;
        let data = &held.data;
        Some(match field {
            Field::TaskRunId => Value::Uuid(data.id.uuid()),
            Field::TaskRunCreated => time(data.created),
            Field::TaskRunUpdated => time(data.updated),
            Field::TaskRunName => Value::Text(&data.name),
            Field::TaskRunRunId => Value::Uuid(data.flow_run_id?.uuid()),
            Field::TaskRunTags => Value::Tags(Tags::Shared(&held.tags)),
            Field::TaskRunStateType => state_type(data.state_type?),
            Field::TaskRunStateName => text(data.state_name.as_deref()),
            Field::TaskRunCount => Value::Int(data.run_count.into()),
            Field::TaskRunTaskKey => text(data.task_key.as_deref()),
            Field::TaskRunDynamicKey => text(data.dynamic_key.as_deref()),
            Field::TaskRunCacheKey => text(data.cache_key.as_deref()),
            Field::TaskRunTaskVersion => text(data.task_version.as_deref()),
            Field::TaskRunTotalRunTime => {
                Value::Int(i64::try_from(data.total_run_time.as_micros()).unwrap_or(i64::MAX))
            }
            Field::TaskRunExpectedStartTime => time(data.expected_start_time?),
            Field::TaskRunNextScheduledStartTime => time(data.next_scheduled_start_time?),
            Field::TaskRunStartTime => time(data.start_time?),
            Field::TaskRunEndTime => time(data.end_time?),
            _ => return None,
        })
    }

    fn pool_value(&self, field: Field, row: u32) -> Option<Value<'_>> {
        let held = self.pools.get(row)?;
        let data = &held.data;
        Some(match field {
            Field::PoolId => Value::Uuid(data.id.uuid()),
            Field::PoolCreated => time(data.created),
            Field::PoolUpdated => time(data.updated),
            Field::PoolName => Value::Text(&data.name),
            Field::PoolDescription => text(data.description.as_deref()),
            Field::PoolType => Value::Text(&data.kind),
            Field::PoolPaused => Value::Bool(data.is_paused),
            Field::PoolStatus => status(self.polled.of_pool(held, |queue| self.queues.get(queue))?),
            Field::PoolDefaultQueueId => Value::Uuid(data.default_queue_id?.uuid()),
            Field::PoolConcurrencyLimit => Value::Int(data.concurrency_limit?.into()),
            _ => return None,
        })
    }

    fn queue_value(&self, field: Field, row: u32) -> Option<Value<'_>> {
        let held = self.queues.get(row)?;
        let data = &held.data;
        Some(match field {
            Field::QueueId => Value::Uuid(data.id.uuid()),
            Field::QueueCreated => time(data.created),
            Field::QueueUpdated => time(data.updated),
            Field::QueueName => Value::Text(&data.name),
            Field::QueueDescription => text(data.description.as_deref()),
            Field::QueuePaused => Value::Bool(data.is_paused),
            Field::QueueLastPolled => Value::Time(self.polled.of_queue(row, held).0?),
            Field::QueueStatus => status(self.polled.of_queue(row, held).1),
            Field::QueueConcurrencyLimit => Value::Int(data.concurrency_limit?.into()),
            Field::QueuePriority => Value::Int(data.priority.get().into()),
            Field::QueuePoolId => Value::Uuid(data.work_pool_id.uuid()),
            _ => return None,
        })
    }
}

impl Records for CatalogView {
    fn value(&self, field: Field, row: u32) -> Value<'_> {
        match field.entity() {
            Entity::Flow => self.flow_value(field, row),
            Entity::Deployment => self.deployment_value(field, row),
            Entity::Run => self.run_value(field, row),
            Entity::TaskRun => self.task_run_value(field, row),
            Entity::Pool => self.pool_value(field, row),
            Entity::Queue => self.queue_value(field, row),
        }
        .unwrap_or(Value::Null)
    }

    fn any_related(&self, relation: Relation, row: u32, holds: &mut dyn FnMut(u32) -> bool) -> bool {
        let to_one = !relation.is_many() && relation != Relation::RunParent;
        if !to_one {
            return self
                .many(relation)
                .get(&row)
                .is_some_and(|rows| rows.iter().any(|&row| holds(row)));
        }
        self.one(relation, row).is_some_and(holds)
    }
}

fn time(instant: chrono::DateTime<chrono::Utc>) -> Value<'static> {
    Value::Time(instant.timestamp_micros())
}

fn when(instant: When) -> Value<'static> {
    instant.micros().map_or(Value::Null, Value::Time)
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::Text)
}

fn int(count: usize) -> Value<'static> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn status(status: PoolStatus) -> Value<'static> {
    Value::Code(crate::filter::Status::from(status).code())
}

fn state_type(kind: StateType) -> Value<'static> {
    Value::Code(crate::filter::StateType::from(kind).code())
}

fn place(place: Place) -> Option<Value<'static>> {
    use crate::filter::Place as Word;
    let word = match place {
        Place::Scheduled => Word::Scheduled,
        Place::Ready => Word::Ready,
        Place::Blocked => Word::Blocked,
        Place::Claimed => Word::Claimed,
        Place::Paused => Word::Paused,
        Place::Finished => Word::Finished,
        // A record takes no part in the engine's work: it is in none of the six places.
        Place::Record => return None,
    };
    Some(Value::Code(word.code()))
}
