#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]
//! Rows for tests of the filter alone: plain structs read from the vectors' `dataset.json`.

use std::collections::HashMap;

use serde_json::Value as Json;
use tenfold::filter::{Entity, Field, Kind, Records, Relation, Tags, Value};
use uuid::Uuid;

/// One value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
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
    pub fn value(&self) -> Value<'_> {
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
pub struct Tables {
    pub rows: HashMap<Entity, Vec<HashMap<Field, Cell>>>,
    pub links: HashMap<Relation, Vec<Vec<u32>>>,
}

impl Tables {
    pub fn count(&self, entity: Entity) -> u32 {
        u32::try_from(self.rows.get(&entity).map_or(0, Vec::len)).expect("tests are small")
    }

    pub fn cell(&self, field: Field, row: u32) -> &Cell {
        self.rows
            .get(&field.entity())
            .and_then(|rows| rows[row as usize].get(&field))
            .unwrap_or(&Cell::Null)
    }

    pub fn linked(&self, relation: Relation, row: u32) -> &[u32] {
        self.links
            .get(&relation)
            .map_or(&[], |lists| &lists[row as usize])
    }

    pub fn uuid(&self, field: Field, row: u32) -> Option<Uuid> {
        match self.cell(field, row) {
            Cell::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// Derives every relation from the ids that the rows name.
    pub fn link(&mut self) {
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

    /// Reads a `dataset.json`.
    pub fn load(dataset: &Json) -> Self {
        let mut tables = Self::default();
        for (key, entity) in [
            ("flows", Entity::Flow),
            ("deployments", Entity::Deployment),
            ("flow_runs", Entity::Run),
            ("task_runs", Entity::TaskRun),
            ("work_pools", Entity::Pool),
            ("work_queues", Entity::Queue),
        ] {
            let stored = &dataset["stored"][key];
            let rows = dataset[key].as_array().expect("a list of rows");
            let rows = rows
                .iter()
                .map(|row| load_row(entity, row, &stored[row["id"].as_str().unwrap()]))
                .collect();
            tables.rows.insert(entity, rows);
        }
        tables.link();
        tables
    }
}

fn load_row(entity: Entity, row: &Json, stored: &Json) -> HashMap<Field, Cell> {
    entity
        .fields()
        .map(|field| {
            let name = field.name();
            let shown = match field {
                Field::RunCreatedById => &row["created_by"]["id"],
                Field::RunCreatedByType => &row["created_by"]["type"],
                Field::RunStateTimestamp | Field::TaskRunStateTimestamp => &row["state"]["timestamp"],
                Field::TaskRunRunId => &row["flow_run_id"],
                Field::PoolPaused | Field::QueuePaused => &row["is_paused"],
                _ => &row[name],
            };
            let value = stored.get(name).unwrap_or(shown);
            let cell = match field {
                Field::DeploymentSchedules => Cell::Int(row["schedules"].as_array().unwrap().len() as i64),
                Field::DeploymentActiveSchedules => {
                    let schedules = row["schedules"].as_array().unwrap();
                    Cell::Int(
                        schedules
                            .iter()
                            .filter(|schedule| schedule["active"] == true)
                            .count() as i64,
                    )
                }
                _ => load_cell(field.kind(), value),
            };
            (field, cell)
        })
        .collect()
}

fn load_cell(kind: Kind, value: &Json) -> Cell {
    if value.is_null() {
        return if kind == Kind::Tags {
            Cell::Tags(Vec::new())
        } else {
            Cell::Null
        };
    }
    match kind {
        Kind::Uuid => Cell::Uuid(value.as_str().unwrap().parse().unwrap()),
        Kind::Text => Cell::Text(value.as_str().unwrap().to_owned()),
        Kind::Bool => Cell::Bool(value.as_bool().unwrap()),
        Kind::Int => Cell::Int(value.as_i64().unwrap()),
        Kind::Duration => Cell::Int((value.as_f64().unwrap() * 1e6) as i64),
        Kind::Time => {
            let time: chrono::DateTime<chrono::Utc> = value.as_str().unwrap().parse().unwrap();
            Cell::Time(time.timestamp_micros())
        }
        Kind::Code(words) => {
            let index = words
                .iter()
                .position(|word| *word == value.as_str().unwrap())
                .unwrap();
            Cell::Code(u8::try_from(index).unwrap())
        }
        Kind::Tags => Cell::Tags(
            value
                .as_array()
                .unwrap()
                .iter()
                .map(|tag| tag.as_str().unwrap().to_owned())
                .collect(),
        ),
        other => panic!("{other:?} is new; say how it is read"),
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
