//! Every recorded filter, count and paginate request, asked of an engine that has loaded the recorded entities.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tenfold::Engine;
use tenfold::filter::{Entity, Field, Filter, Limits, Part, Query, Shape, Start};

fn folder() -> PathBuf {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    std::env::var_os("TENFOLD_VECTORS")
        .map_or_else(|| data.into(), PathBuf::from)
        .join("filters")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What an endpoint answers to a body.
struct Service {
    engine: Engine,
}

/// What the vectors say of a page of any kind of entity.
struct Rows {
    ids: Vec<String>,
    count: u64,
    pages: u64,
}

/// An answer, in the words of the vectors.
struct Reply {
    status: u64,
    location: Json,
    ids: Vec<String>,
    count: u64,
    pages: u64,
    page: u64,
    limit: u64,
}

impl Reply {
    fn refused(status: u64, location: Json) -> Self {
        Self {
            status,
            location,
            ids: Vec::new(),
            count: 0,
            pages: 0,
            page: 0,
            limit: 0,
        }
    }
}

impl Service {
    fn ask(&self, endpoint: &str, pool: Option<&str>, body: &Json) -> Reply {
        let limits = Limits::default();
        let (rows, shape) = endpoint
            .trim_start_matches('/')
            .rsplit_once('/')
            .expect("an endpoint has two parts");
        let shape = match shape {
            "filter" => Shape::Filter,
            "paginate" => Shape::Paginate,
            "count" => Shape::Count,
            other => panic!("unknown endpoint {other}"),
        };
        let query = match (rows, pool) {
            ("flows", None) => Query::from_json(Entity::Flow, shape, body, &limits),
            ("deployments", None) => Query::from_json(Entity::Deployment, shape, body, &limits),
            ("flow_runs", None) => Query::from_json(Entity::Run, shape, body, &limits),
            ("task_runs", None) => Query::from_json(Entity::TaskRun, shape, body, &limits),
            ("work_pools", None) => Query::from_json(Entity::Pool, shape, body, &limits),
            ("work_queues", None) => Query::from_json(Entity::Queue, shape, body, &limits),
            (_, Some(pool)) => Query::of_pool_from_json(pool, shape, body, &limits),
            (other, None) => panic!("unknown endpoint {other}"),
        };
        let query = match query {
            Ok(query) => query,
            Err(refusal) => {
                let location = refusal.location.parts().iter().map(|part| match part {
                    Part::Key(key) => json!(key),
                    Part::Index(index) => json!(index),
                });
                return Reply::refused(422, location.collect());
            }
        };
        if pool.is_some_and(|name| !self.has_pool(name)) {
            return Reply::refused(404, Json::Null);
        }
        Self::check_forms(&query);
        let rows = self.rows(&query);
        let page = match query.start() {
            Start::Page(page) => page,
            Start::Offset(_) => 0,
        };
        Reply {
            status: 200,
            location: Json::Null,
            ids: rows.ids,
            count: rows.count,
            pages: rows.pages,
            page,
            limit: u64::from(query.limit()),
        }
    }
}

/// Asks the method of one kind of entity.
macro_rules! rows {
    ($page:expr) => {{
        let page = $page.expect("a query that was read can be asked");
        Rows {
            ids: page.results.iter().map(|row| row.id.to_string()).collect(),
            count: page.count,
            pages: page.pages,
        }
    }};
}

impl Service {
    fn rows(&self, query: &Query) -> Rows {
        match query.entity() {
            Entity::Flow => rows!(self.engine.flows(query)),
            Entity::Deployment => rows!(self.engine.deployments(query)),
            Entity::Run => rows!(self.engine.runs(query)),
            Entity::TaskRun => rows!(self.engine.task_runs(query)),
            Entity::Pool => rows!(self.engine.pools(query)),
            Entity::Queue => rows!(self.engine.queues(query)),
        }
    }

    fn has_pool(&self, name: &str) -> bool {
        let body = json!({ "work_pools": { "name": { "any_": [name] } } });
        let query = Query::from_json(Entity::Pool, Shape::Count, &body, &Limits::default());
        self.rows(&query.expect("a filter by name")).count > 0
    }

    /// Every filter of the vectors says itself as text and as JSON: the text parses back to an equal tree, the JSON to one
    /// that is equal but for grouping.
    fn check_forms(query: &Query) {
        let (filter, limits) = (query.filter(), Limits::default());
        let text = filter.to_string();
        let parsed = Filter::parse(filter.entity(), &text, chrono::DateTime::UNIX_EPOCH, &limits);
        assert_eq!(parsed.as_ref(), Ok(filter), "printed as {text}");
        let of_pool = query.sort()[0].field == Field::QueuePriority; // the pool is in the path, not in the body
        if !of_pool {
            let body = filter.to_json().unwrap_or_else(|error| panic!("{error}"));
            let read =
                Filter::from_json(filter.entity(), &body, &limits).expect("what was printed reads back");
            assert_eq!(read.expr().plain(), filter.expr().plain(), "printed as {body}");
            assert!(read.notices().is_empty());
        }
    }
}

/// What differs between a recorded answer and ours; nothing if they agree.
fn difference(recorded: &Json, reply: &Reply) -> Option<String> {
    if recorded["status"] != reply.status {
        return Some(format!(
            "status {} for {} (at {})",
            reply.status, recorded["status"], reply.location
        ));
    }
    if recorded["status"] != 200 {
        let agrees = recorded["loc"].is_null() || recorded["loc"] == reply.location;
        return (!agrees).then(|| format!("fault at {} for {}", reply.location, recorded["loc"]));
    }
    for (key, ours) in [
        ("count", reply.count),
        ("pages", reply.pages),
        ("page", reply.page),
        ("limit", reply.limit),
    ] {
        if let Some(theirs) = recorded.get(key)
            && *theirs != ours
        {
            return Some(format!("{key} {ours} for {theirs}"));
        }
    }
    let theirs: Vec<&str> = recorded
        .get("ids")?
        .as_array()?
        .iter()
        .filter_map(Json::as_str)
        .collect();
    if theirs.len() != reply.ids.len() {
        return Some(format!("{} rows for {}", reply.ids.len(), theirs.len()));
    }
    let groups: Vec<usize> = match recorded.get("groups").and_then(Json::as_array) {
        Some(groups) => groups
            .iter()
            .filter_map(Json::as_u64)
            .map(|size| usize::try_from(size).expect("a page fits"))
            .collect(),
        None => vec![1; theirs.len()],
    };
    let mut from = 0;
    for size in groups {
        let mut ours: Vec<&str> = reply.ids[from..from + size].iter().map(String::as_str).collect();
        let mut theirs = theirs[from..from + size].to_vec();
        ours.sort_unstable();
        theirs.sort_unstable();
        if ours != theirs {
            return Some(format!("rows {from} and on: {ours:?} for {theirs:?}"));
        }
        from += size;
    }
    (from != theirs.len()).then(|| "groups that do not add up".to_owned())
}

#[test]
fn f2_the_json_form_agrees_with_every_vector() {
    let engine = Engine::new();
    engine
        .load_records(&serde_json::from_str(&read("dataset.json")).unwrap())
        .unwrap();
    // Records take no part in the engine's work.
    assert_eq!(
        (engine.snapshot().queued_tasks, engine.snapshot().scheduled),
        (0, 0)
    );
    let service = Service { engine };
    let mut totals: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut differences = Vec::new();
    for line in read("queries.jsonl").lines() {
        let recorded: Json = serde_json::from_str(line).unwrap();
        let endpoint = recorded["endpoint"].as_str().unwrap();
        let pool = recorded["path"]["work_pool_name"].as_str();
        let reply = service.ask(endpoint, pool, &recorded["body"]);
        let total = totals.entry(endpoint.to_owned()).or_default();
        match difference(&recorded, &reply) {
            None => total.0 += 1,
            Some(text) => {
                total.1 += 1;
                differences.push(format!(
                    "{} {endpoint} {}: {text}",
                    recorded["n"], recorded["body"]
                ));
            }
        }
    }
    let mut table = format!("{:<45} {:>6} {:>8}\n", "endpoint", "agreed", "differed");
    for (endpoint, (agreed, differed)) in &totals {
        writeln!(table, "{endpoint:<45} {agreed:>6} {differed:>8}").unwrap();
    }
    let agreed: u32 = totals.values().map(|total| total.0).sum();
    writeln!(table, "{:<45} {agreed:>6} {:>8}", "all", differences.len()).unwrap();
    // Written directly, because `println!` is swallowed when a test passes.
    std::io::Write::write_all(&mut std::io::stdout().lock(), format!("\n{table}").as_bytes()).unwrap();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert!(agreed > 0, "no vectors were found");
}
