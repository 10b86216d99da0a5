//! Deployments as a table.

use std::collections::BTreeMap;

use tenfold::filter::{Entity, Filter, Query};
use tenfold::{Deployment, Engine};

const HEADS: [&str; 7] = [
    "deployment",
    "priority",
    "paused",
    "pool/queue",
    "limit",
    "version",
    "tags",
];

/// A line of heads, a rule, and a line for each deployment; only the first two lines when there is none.
pub fn render(engine: &Engine, deployments: &[Deployment]) -> String {
    let flows = flow_names(engine);
    let mut rows = vec![HEADS.map(str::to_owned)];
    for held in deployments {
        let flow = flows.get(&held.flow_id.to_string()).map_or("?", String::as_str);
        rows.push([
            format!("{flow}/{}", held.name),
            held.priority.to_string(),
            if held.paused { "paused" } else { "" }.to_owned(),
            match (&held.work_pool_name, &held.work_queue_name) {
                (Some(pool), Some(queue)) => format!("{pool}/{queue}"),
                _ => String::new(),
            },
            held.concurrency_limit
                .map_or(String::new(), |limit| limit.to_string()),
            held.version.as_deref().unwrap_or_default().to_owned(),
            held.tags
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        ]);
    }
    let mut widths = [0; HEADS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.insert(1, widths.map(|width| "-".repeat(width)));
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names of flows by id. There are fewer than a page holds.
fn flow_names(engine: &Engine) -> BTreeMap<String, String> {
    let all = engine.flows(&Query::new(Filter::everything(Entity::Flow)));
    let flows = all.map(|page| page.results).unwrap_or_default();
    flows
        .into_iter()
        .map(|flow| (flow.id.to_string(), flow.name.to_string()))
        .collect()
}
