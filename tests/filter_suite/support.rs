//! Rows for tests of the filter alone: the simplest tables that can be asked.

use std::collections::HashMap;

use tenfold::filter::{Entity, Field, Records, Relation, Tags, Value};
use uuid::Uuid;

/// One value, owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Time(i64),
    Code(u8),
    Text(String),
    Uuid(Uuid),
    Tags(Vec<String>),
}

impl Cell {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Time(value) => Value::Time(*value),
            Self::Code(value) => Value::Code(*value),
            Self::Text(text) => Value::Text(text),
            Self::Uuid(uuid) => Value::Uuid(*uuid),
            Self::Tags(tags) => Value::Tags(Tags::Strings(tags)),
        }
    }
}

/// Tables of cells: `rows[entity][row][field]`, and the links between them.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) rows: HashMap<Entity, Vec<HashMap<Field, Cell>>>,
    pub(crate) links: HashMap<Relation, Vec<Vec<u32>>>,
}

impl Tables {
    pub(crate) fn count(&self, entity: Entity) -> u32 {
        u32::try_from(self.rows.get(&entity).map_or(0, Vec::len)).expect("tests are small")
    }

    pub(crate) fn cell(&self, field: Field, row: u32) -> &Cell {
        self.rows
            .get(&field.entity())
            .and_then(|rows| rows[row as usize].get(&field))
            .unwrap_or(&Cell::Null)
    }

    pub(crate) fn linked(&self, relation: Relation, row: u32) -> &[u32] {
        self.links
            .get(&relation)
            .map_or(&[], |lists| &lists[row as usize])
    }

    pub(crate) fn uuid(&self, field: Field, row: u32) -> Option<Uuid> {
        match self.cell(field, row) {
            Cell::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// Derives every relation from the ids that the rows name.
    pub(crate) fn link(&mut self) {
        for &relation in Relation::ALL {
            let (here, there) = match relation {
                Relation::FlowDeployments => (Field::FlowId, Field::DeploymentFlowId),
                Relation::FlowRuns => (Field::FlowId, Field::RunFlowId),
                Relation::DeploymentFlow => (Field::DeploymentFlowId, Field::FlowId),
                Relation::DeploymentQueue => (Field::DeploymentQueueId, Field::QueueId),
                Relation::DeploymentRuns => (Field::DeploymentId, Field::RunDeploymentId),
                Relation::RunFlow => (Field::RunFlowId, Field::FlowId),
                Relation::RunDeployment => (Field::RunDeploymentId, Field::DeploymentId),
                Relation::RunQueue => (Field::RunQueueId, Field::QueueId),
                Relation::RunTaskRuns => (Field::RunId, Field::TaskRunRunId),
                Relation::RunParent => (Field::RunParentTaskRunId, Field::TaskRunId),
                Relation::TaskRunRun => (Field::TaskRunRunId, Field::RunId),
                Relation::TaskRunSubruns => (Field::TaskRunId, Field::RunParentTaskRunId),
                Relation::PoolQueues => (Field::PoolId, Field::QueuePoolId),
                Relation::QueuePool => (Field::QueuePoolId, Field::PoolId),
                Relation::QueueDeployments => (Field::QueueId, Field::DeploymentQueueId),
                Relation::QueueRuns => (Field::QueueId, Field::RunQueueId),
                other => panic!("{other} is new; say how it hangs together"),
            };
            let mut by_id: HashMap<Uuid, Vec<u32>> = HashMap::new();
            for row in 0..self.count(relation.target()) {
                if let Some(id) = self.uuid(there, row) {
                    by_id.entry(id).or_default().push(row);
                }
            }
            let lists = (0..self.count(relation.source()))
                .map(|row| {
                    self.uuid(here, row)
                        .and_then(|id| by_id.get(&id).cloned())
                        .unwrap_or_default()
                })
                .collect();
            self.links.insert(relation, lists);
        }
    }
}

impl Records for Tables {
    fn value(&self, field: Field, row: u32) -> Value<'_> {
        assert_ne!(
            field,
            Field::RunStartOrExpected,
            "derived fields are never asked for"
        );
        self.cell(field, row).value()
    }

    fn any_related(&self, relation: Relation, row: u32, holds: &mut dyn FnMut(u32) -> bool) -> bool {
        self.linked(relation, row).iter().any(|&other| holds(other))
    }
}
