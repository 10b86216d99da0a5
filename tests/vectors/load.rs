//! Reads the vectors' `dataset.json` into the tables of the tests.

use std::collections::HashMap;

use serde_json::Value as Json;
use tenfold::filter::{Entity, Field, Kind};

use super::support::{Cell, Tables};

pub(crate) fn load(dataset: &Json) -> Tables {
    let mut tables = Tables::default();
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
                Field::DeploymentSchedules => {
                    Cell::Int(row["schedules"].as_array().unwrap().len().try_into().unwrap())
                }
                Field::DeploymentActiveSchedules => {
                    let schedules = row["schedules"].as_array().unwrap();
                    Cell::Int(
                        schedules
                            .iter()
                            .filter(|schedule| schedule["active"] == true)
                            .count()
                            .try_into()
                            .unwrap(),
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
        Kind::Duration => Cell::Int(
            i64::try_from(std::time::Duration::from_secs_f64(value.as_f64().unwrap()).as_micros()).unwrap(),
        ),
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
