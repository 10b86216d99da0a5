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
mod view;

use hashbrown::HashMap;
use uuid::Uuid;

pub(crate) use index::Index;
pub(crate) use past::{Left, Past};
pub(crate) use plan::{Found, Plan, Wanted, answer, tests};
pub(crate) use polled::Polled;
pub(crate) use rows::{
    DeploymentRow, FlowRow, PoolRow, QueueRow, RunBody, RunLimits, RunRow, TaskRunRow, When, instant,
    shared_tags,
};
pub(crate) use table::Table;
pub(crate) use view::{CatalogView, Stop, Tables};

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
    /// Rows of everything but the engine's own runs, whose ids hold their row.
    pub(crate) by_id: HashMap<Uuid, u32>,
    pub(crate) flow_names: HashMap<Text, u32>,
    /// (flow row, name).
    pub(crate) deployment_names: HashMap<(u32, Text), u32>,
    pub(crate) pool_names: HashMap<Text, u32>,
    /// (pool row, name).
    pub(crate) queue_names: HashMap<(u32, Text), u32>,
}
