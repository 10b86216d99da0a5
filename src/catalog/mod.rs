//! Where everything is kept: tables of rows, the names that are unique in them, and views that stand still while
//! the engine goes on.
//!
//! The catalog knows how things hang together (a run's flow, a queue's pool) and nothing of what happens to them:
//! that is the engine's.

mod index;
mod past;
mod plan;
mod polled;
mod rows;
mod table;
mod tags;
mod view;

use hashbrown::HashMap;
use uuid::Uuid;

pub(crate) use index::Index;
pub(crate) use past::{Left, Past, Said};
pub(crate) use plan::{Found, Known, Plan, Wanted, answer, tests};
pub(crate) use polled::Polled;
pub(crate) use rows::{
    DeploymentRow, FlowRow, PoolRow, QueueRow, RunBody, RunCommon, RunLimits, RunOwn, RunRow, TaskRunRow,
    When, instant, shared_tags,
};
pub(crate) use table::Table;
pub(crate) use tags::TagSets;
pub(crate) use view::{CatalogView, Tables};

use crate::ids::DeploymentId;
use crate::model::Text;

/// All tables, and the unique keys of each.
///
/// # Invariants
///
/// * **I1** every id and name map leads to the row that holds that id or name, and every row is led to;
/// * **I2** rows named by other rows exist: a run's flow, a deployment's flow, a queue's pool.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) flows: Table<std::sync::Arc<FlowRow>>,
    pub(crate) deployments: Table<std::sync::Arc<DeploymentRow>>,
    pub(crate) runs: Table<RunRow>,
    pub(crate) task_runs: Table<std::sync::Arc<TaskRunRow>>,
    pub(crate) pools: Table<std::sync::Arc<PoolRow>>,
    pub(crate) queues: Table<std::sync::Arc<QueueRow>>,
    /// Rows of everything but the runs and deployments whose ids hold their row: those that the engine made.
    pub(crate) by_id: HashMap<Uuid, u32>,
    pub(crate) flow_names: HashMap<Text, u32>,
    /// (flow row, name).
    pub(crate) deployment_names: HashMap<(u32, Text), u32>,
    pub(crate) pool_names: HashMap<Text, u32>,
    /// (pool row, name).
    pub(crate) queue_names: HashMap<(u32, Text), u32>,
}

impl Catalog {
    /// The row of a deployment, loaded records included. The id itself mostly says where to look.
    pub(crate) fn deployment(&self, id: DeploymentId) -> Option<u32> {
        let is = |row: &u32| self.deployments.get(*row).is_some_and(|held| held.data.id == id);
        let own = row_in(id.uuid());
        Some(own)
            .filter(is)
            .or_else(|| self.by_id.get(&id.uuid()).copied().filter(is))
    }

    /// Notes the row of a deployment, unless its id says it.
    pub(crate) fn note_deployment(&mut self, id: DeploymentId, row: u32) {
        if row_in(id.uuid()) != row {
            self.by_id.insert(id.uuid(), row);
        }
    }
}

/// The row that an id made by the engine holds; any number for another id.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are the row")]
pub(crate) const fn row_in(id: Uuid) -> u32 {
    id.as_u128() as u32
}
