//! Filters row by row: the compiled form against what a host would write by hand, over the same structs.

use std::rc::Rc;

use tenfold::filter::build::{deployment, flow};
use tenfold::filter::{Field, Filter, Limits, Records, Relation, Tags, Value};
use uuid::Uuid;

use crate::frame::{Bench, Goal, Side, timed};
use crate::workload::{Random, SEED};

/// Rows looked at in a round.
const ROWS: usize = 20_000;
const FLOWS: usize = 50;

/// Every line about filters alone.
pub fn lines(bench: &mut Bench) {
    let rows = Rc::new(Rows::new());
    let cases = cases();
    for (goal, mean, other) in [
        (Goal::at_most(5.0), Goal::at_most(2.5), "by hand"),
        (Goal::at_least(0.3), Goal::at_least(0.8), "closures"),
    ] {
        let cases = cases
            .iter()
            .map(|case| {
                let rows = Rc::clone(&rows);
                let sides = move || {
                    let (by_hand, closures) = (case.by_hand, (case.closures)());
                    let filter = case.filter.clone();
                    let theirs: Closure = if other == "by hand" {
                        Box::new(by_hand)
                    } else {
                        closures
                    };
                    agree(&rows, &filter, by_hand, &*theirs);
                    let ours = scan(&rows, move |rows, row| filter.matches(rows, row));
                    let theirs = if other == "by hand" {
                        // Called directly, so that the compiler sees through it.
                        (case.by_hand_scan)(&rows)
                    } else {
                        scan(&rows, move |rows, row| {
                            theirs(rows, &rows.deployments[row as usize])
                        })
                    };
                    (ours, theirs)
                };
                (case.name, Box::new(sides) as Box<dyn FnOnce() -> (Side, Side)>)
            })
            .collect();
        bench.mean(
            &format!("filter/one row, to a predicate {other}"),
            mean,
            goal,
            cases,
        );
    }
}

struct Row {
    name: String,
    paused: bool,
    tags: Vec<String>,
    queue_name: Option<String>,
    flow: u32,
    limit: Option<i64>,
}

struct Rows {
    deployments: Vec<Row>,
    flows: Vec<(Uuid, String)>,
}

impl Rows {
    fn new() -> Self {
        const WORDS: [&str; 12] = [
            "extract", "load", "report", "invoice", "model", "train", "index", "crawl", "audit", "backup",
            "clean", "sync",
        ];
        const TAGS: [&str; 8] = [
            "etl",
            "daily",
            "team:data",
            "prod",
            "cpu",
            "gpu",
            "nightly",
            "green",
        ];
        let mut random = Random::new(SEED);
        let flows = (0..FLOWS)
            .map(|n| {
                (
                    Uuid::from_u128(random.next().into()),
                    format!("{}-flow-{n}", random.pick(&WORDS)),
                )
            })
            .collect();
        let deployments = (0..ROWS)
            .map(|n| Row {
                name: format!("{}-{}-{n}", random.pick(&WORDS), random.pick(&WORDS)),
                paused: random.percent(20),
                tags: (0..random.below(5))
                    .map(|_| (*random.pick(&TAGS)).to_owned())
                    .collect(),
                queue_name: random.percent(70).then(|| format!("queue-{}", random.below(20))),
                flow: u32::try_from(random.below(FLOWS)).expect("few flows"),
                limit: random
                    .percent(50)
                    .then(|| i64::try_from(random.below(100)).expect("below 100")),
            })
            .collect();
        Self { deployments, flows }
    }
}

impl Records for Rows {
    #[inline]
    fn value(&self, field: Field, row: u32) -> Value<'_> {
        let Some(held) = self.deployments.get(row as usize) else {
            return Value::Null;
        };
        match field {
            Field::DeploymentName => Value::Text(&held.name),
            Field::DeploymentPaused => Value::Bool(held.paused),
            Field::DeploymentTags => Value::Tags(Tags::Strings(&held.tags)),
            Field::DeploymentWorkQueueName => held.queue_name.as_deref().map_or(Value::Null, Value::Text),
            Field::DeploymentFlowId => Value::Uuid(self.flows[held.flow as usize].0),
            Field::DeploymentConcurrencyLimit => held.limit.map_or(Value::Null, Value::Int),
            Field::FlowName => Value::Text(&self.flows[row as usize].1),
            _ => Value::Null,
        }
    }

    #[inline]
    fn any_related(&self, relation: Relation, row: u32, holds: &mut dyn FnMut(u32) -> bool) -> bool {
        relation == Relation::DeploymentFlow && holds(self.deployments[row as usize].flow)
    }
}

type Closure = Box<dyn Fn(&Rows, &Row) -> bool>;

struct Case {
    name: &'static str,
    filter: Filter,
    by_hand: fn(&Rows, &Row) -> bool,
    by_hand_scan: fn(&Rc<Rows>) -> Side,
    closures: fn() -> Closure,
}

/// A round over every row.
fn scan(rows: &Rc<Rows>, holds: impl Fn(&Rows, u32) -> bool + 'static) -> Side {
    let rows = Rc::clone(rows);
    let count = u32::try_from(ROWS).expect("few rows");
    timed(ROWS, move || {
        std::hint::black_box((0..count).filter(|&row| holds(&rows, row)).count());
    })
}

/// The three ways say the same, or the lines would compare nothing.
fn agree(
    rows: &Rows,
    filter: &Filter,
    by_hand: fn(&Rows, &Row) -> bool,
    other: &dyn Fn(&Rows, &Row) -> bool,
) {
    let mut matched = 0;
    for (n, row) in (0..).zip(&rows.deployments) {
        let ours = filter.matches(rows, n);
        assert_eq!(
            (ours, ours),
            (by_hand(rows, row), other(rows, row)),
            "{filter} on {}",
            row.name
        );
        matched += usize::from(ours);
    }
    assert!(
        0 < matched && matched < rows.deployments.len(),
        "{filter} tells rows apart"
    );
}

fn has(row: &Row, tag: &str) -> bool {
    row.tags.iter().any(|other| other == tag)
}

fn contains(text: &str, part: &str) -> bool {
    text.as_bytes()
        .windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

fn all(parts: Vec<Closure>) -> Closure {
    Box::new(move |rows, row| parts.iter().all(|part| part(rows, row)))
}

fn any(parts: Vec<Closure>) -> Closure {
    Box::new(move |rows, row| parts.iter().any(|part| part(rows, row)))
}

fn not(part: Closure) -> Closure {
    Box::new(move |rows, row| !part(rows, row))
}

fn tag(tag: &'static str) -> Closure {
    let tag = tag.to_owned();
    Box::new(move |_, row| has(row, &tag))
}

fn paused() -> Closure {
    Box::new(|_, row| row.paused)
}

fn name_contains(part: &'static str) -> Closure {
    let part = part.to_owned();
    Box::new(move |_, row| contains(&row.name, &part))
}

fn queue(name: &'static str) -> Closure {
    let name = name.to_owned();
    Box::new(move |_, row| row.queue_name.as_ref() == Some(&name))
}

fn limit_at_least(least: i64) -> Closure {
    Box::new(move |_, row| row.limit.is_some_and(|limit| limit >= least))
}

fn flow_name_contains(part: &'static str) -> Closure {
    let part = part.to_owned();
    Box::new(move |rows, row| contains(&rows.flows[row.flow as usize].1, &part))
}

/// A case whose hand-written side is inlined into its loop.
macro_rules! case {
    ($name:literal, $condition:expr, $by_hand:expr, $closures:expr) => {
        Case {
            name: $name,
            filter: $condition.filter(&Limits::default()).expect("a small filter"),
            by_hand: $by_hand,
            by_hand_scan: |rows| {
                let by_hand = $by_hand;
                scan(rows, move |rows, row| {
                    by_hand(rows, &rows.deployments[row as usize])
                })
            },
            closures: $closures,
        }
    };
}

fn cases() -> Vec<Case> {
    vec![
        case!(
            "not paused",
            !deployment::paused().is(true),
            |_: &Rows, row: &Row| !row.paused,
            || not(paused())
        ),
        case!(
            "two tags and not paused",
            deployment::tags().has_all(["etl", "prod"]) & !deployment::paused().is(true),
            |_: &Rows, row: &Row| !row.paused && has(row, "etl") && has(row, "prod"),
            || all(vec![tag("etl"), tag("prod"), not(paused())])
        ),
        case!(
            "name contains",
            deployment::name().contains("invoice-cra"),
            |_: &Rows, row: &Row| contains(&row.name, "invoice-cra"),
            || name_contains("invoice-cra")
        ),
        case!(
            "any of three tags, or queue in two",
            deployment::tags().has_any(["gpu", "nightly", "green"])
                | deployment::work_queue_name().is_in(["queue-3", "queue-7"]),
            |_: &Rows, row: &Row| {
                row.queue_name
                    .as_deref()
                    .is_some_and(|name| name == "queue-3" || name == "queue-7")
                    || has(row, "gpu")
                    || has(row, "nightly")
                    || has(row, "green")
            },
            || any(vec![
                tag("gpu"),
                tag("nightly"),
                tag("green"),
                queue("queue-3"),
                queue("queue-7")
            ])
        ),
        case!(
            "limit at least",
            deployment::concurrency_limit().at_least(40),
            |_: &Rows, row: &Row| row.limit.is_some_and(|limit| limit >= 40),
            || limit_at_least(40)
        ),
        case!(
            "nested, with a name of the flow",
            ((deployment::tags().has("etl") & deployment::name().contains("load"))
                | (deployment::concurrency_limit().at_least(80) & !deployment::paused().is(true)))
                & !deployment::flow(flow::name().contains("audit")),
            |rows: &Rows, row: &Row| {
                ((has(row, "etl") && contains(&row.name, "load"))
                    || (row.limit.is_some_and(|limit| limit >= 80) && !row.paused))
                    && !contains(&rows.flows[row.flow as usize].1, "audit")
            },
            || {
                all(vec![
                    any(vec![
                        all(vec![tag("etl"), name_contains("load")]),
                        all(vec![limit_at_least(80), not(paused())]),
                    ]),
                    not(flow_name_contains("audit")),
                ])
            }
        ),
    ]
}
