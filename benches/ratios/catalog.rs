//! Queries over a million deployments: first pages, counts, a changed row, bytes, and what a query holds up.
//!
//! Opponents: `SQLite` in memory with tags in a table and sensible indexes, and a scan written by hand over interned structs. All
//! three hold the same deployments and must give the same ids before anything is measured.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use chrono::DateTime;
use rusqlite::{Connection, params};
use tenfold::clock::ManualClock;
use tenfold::filter::build::{Condition, deployment};
use tenfold::filter::{Entity, Field, Filter, Limits, Query, SortKey, Start};
use tenfold::{Engine, NewDeployment, NewPool, NewQueue};
use uuid::Uuid;

use crate::counting::held;
use crate::frame::{Bench, Goal, Side, Unit, figure, now, once, per_operation, timed};
use crate::workload::{self, FLOWS, QUEUES, SEED};

/// Rows on a page.
const PAGE: usize = 200;
const MILLION: usize = 1_000_000;

/// Every line about queries over a catalog.
pub fn lines(bench: &mut Bench) {
    for (name, size) in [("100k", 100_000), ("1M", MILLION)] {
        let world: OnceCell<Rc<World>> = OnceCell::new();
        let world = || Rc::clone(world.get_or_init(|| Rc::new(World::new(size))));
        let cases = |what: What, opponent: Opponent| {
            let cases = (0..ASKED.len()).map(|n| {
                let sides = move || world().sides(n, what, opponent);
                (
                    ASKED[n].name,
                    Box::new(sides) as Box<dyn FnOnce() -> (Side, Side)>,
                )
            });
            cases.collect::<Vec<_>>()
        };
        for what in [What::Page, What::Count] {
            let word = if what == What::Page { "page" } else { "count" };
            bench.mean(
                &format!("filter/{word}/{name}/to sqlite"),
                Goal::at_least(150.0),
                Goal::at_least(5.0),
                cases(what, Opponent::Sqlite),
            );
            bench.mean(
                &format!("filter/{word}/{name}/to a scan"),
                Goal::at_least(100.0),
                Goal::at_least(1.0),
                cases(what, Opponent::Scan),
            );
        }
        bench.versus(
            &format!("filter/a changed row/{name}/each seen by the next query"),
            Goal::at_least(20.0),
            || world().changes(1),
        );
        bench.versus(
            &format!("filter/a changed row/{name}/a thousand, then a query"),
            Goal::at_least(20.0),
            || world().changes(1_000),
        );
        bench.absolute(
            &format!("filter/held up/{name}/lock and views of an empty page, at most"),
            Goal::under(1e6, Unit::Nanos),
            || world().hold(),
        );
        bench.absolute(
            &format!("filter/bytes of index for a deployment/{name}"),
            Goal::under(160.0, Unit::Bytes),
            || {
                let world = world();
                #[expect(clippy::cast_precision_loss, reason = "bytes and rows below 2^52")]
                let bytes = world.index_bytes as f64 / size as f64;
                once(move || bytes)
            },
        );
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Page,
    Count,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Opponent {
    Sqlite,
    Scan,
}

/// One of the seven queries, three times.
struct Asked {
    name: &'static str,
    condition: fn(&World) -> Condition<tenfold::filter::build::Deployment>,
    by_creation: bool,
    sql: &'static str,
    by_hand: fn(&Plain) -> bool,
}

/// The flow of the query about one flow.
const FLOW: usize = 17;

const ASKED: [Asked; 7] = [
    Asked {
        name: "two tags and not paused",
        condition: |_| deployment::tags().has_all(["eu", "critical"]) & !deployment::paused().is(true),
        by_creation: false,
        sql: "d.id IN (SELECT dep FROM tags WHERE tag = 'eu' INTERSECT SELECT dep FROM tags WHERE tag = 'critical') \
              AND NOT d.paused",
        by_hand: |row| row.tags >> tag("eu") & 1 == 1 && row.tags >> tag("critical") & 1 == 1 && !row.paused,
    },
    Asked {
        name: "name contains, few match",
        condition: |_| deployment::name().contains("train-score-12"),
        by_creation: false,
        sql: "d.name LIKE '%train-score-12%'",
        by_hand: |row| contains(&row.name, "train-score-12"),
    },
    Asked {
        name: "name contains, many match",
        condition: |_| deployment::name().contains("sync"),
        by_creation: false,
        sql: "d.name LIKE '%sync%'",
        by_hand: |row| contains(&row.name, "sync"),
    },
    Asked {
        name: "any of three tags, or queue in two, by creation",
        condition: |_| {
            deployment::tags().has_any(["gpu", "audit", "search"])
                | deployment::work_queue_name().is_in(["queue-3", "queue-7"])
        },
        by_creation: true,
        sql: "(d.id IN (SELECT dep FROM tags WHERE tag IN ('gpu', 'audit', 'search')) OR d.queue IN (3, 7))",
        by_hand: |row| {
            row.tags & (1 << tag("gpu") | 1 << tag("audit") | 1 << tag("search")) != 0
                || row.queue == 3
                || row.queue == 7
        },
    },
    Asked {
        name: "not paused",
        condition: |_| !deployment::paused().is(true),
        by_creation: false,
        sql: "NOT d.paused",
        by_hand: |row| !row.paused,
    },
    Asked {
        name: "one flow and limit at least",
        condition: |world| {
            deployment::flow_id().is(world.flows[FLOW]) & deployment::concurrency_limit().at_least(40)
        },
        by_creation: false,
        sql: "d.flow = 17 AND d.lim >= 40",
        by_hand: |row| row.flow == FLOW && row.limit.is_some_and(|limit| limit >= 40),
    },
    Asked {
        name: "nested, with a name",
        condition: |_| {
            ((deployment::tags().has("etl") & deployment::name().contains("photo"))
                | (deployment::concurrency_limit().at_least(60) & !deployment::paused().is(true)))
                & !deployment::name().contains("audit")
        },
        by_creation: false,
        sql: "((d.id IN (SELECT dep FROM tags WHERE tag = 'etl') AND d.name LIKE '%photo%') \
              OR (d.lim >= 60 AND NOT d.paused)) AND NOT d.name LIKE '%audit%'",
        by_hand: |row| {
            ((row.tags >> tag("etl") & 1 == 1 && contains(&row.name, "photo"))
                || (row.limit.is_some_and(|limit| limit >= 60) && !row.paused))
                && !contains(&row.name, "audit")
        },
    },
];

fn tag(name: &str) -> usize {
    (workload::TAGS.iter())
        .position(|tag| *tag == name)
        .expect("a tag of the workload")
}

fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    text.windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part))
}

/// A deployment as a host would keep it to scan it: words as numbers, tags as bits.
struct Plain {
    id: Uuid,
    name: Box<str>,
    created: u32,
    flow: usize,
    queue: usize,
    tags: u32,
    limit: Option<u32>,
    paused: bool,
}

/// The same deployments in the engine, in `SQLite` and in a list.
struct World {
    engine: Engine,
    sqlite: Connection,
    rows: Vec<Plain>,
    flows: Vec<Uuid>,
    index_bytes: i64,
    turn: Cell<usize>,
}

impl World {
    fn new(size: usize) -> Self {
        let clock = ManualClock::at(DateTime::UNIX_EPOCH);
        let builder = Engine::builder().clock(clock.clone()).seed(SEED);
        let engine = builder.deployments(size).build().expect("settings fit together");
        engine.create_pool(NewPool::named("pool")).expect("a new name");
        for queue in 0..QUEUES {
            engine
                .create_queue(NewQueue::named("pool", format!("queue-{queue}")))
                .expect("a new name");
        }
        let flows = (0..FLOWS).map(|flow| engine.flow(format!("flow-{flow}")).expect("a new name").uuid());
        let flows: Vec<Uuid> = flows.collect();
        let rows: Vec<Plain> = (workload::deployments(size, SEED).into_iter())
            .map(|made| {
                clock.advance(Duration::from_secs(1));
                let mut new = NewDeployment::new(format!("flow-{}", made.flow), made.name.as_str())
                    .work_queue("pool", format!("queue-{}", made.queue))
                    .priority(made.priority);
                for tag in &made.tags {
                    new = new.tag(*tag);
                }
                if let Some(limit) = made.limit.and_then(std::num::NonZeroU32::new) {
                    new = new.concurrency_limit(limit);
                }
                if made.paused {
                    new = new.paused();
                }
                Plain {
                    id: engine.deploy(new).expect("a new name").id.uuid(),
                    name: made.name.into(),
                    created: made.created,
                    flow: made.flow,
                    queue: made.queue,
                    tags: made.tags.iter().fold(0, |bits, name| bits | 1 << tag(name)),
                    limit: made.limit,
                    paused: made.paused,
                }
            })
            .collect();
        let mut world = Self {
            sqlite: sqlite(&rows).expect("SQLite in memory"),
            engine,
            rows,
            flows,
            index_bytes: 0,
            turn: Cell::new(0),
        };
        // Whatever the queries need of an index is made here.
        let start = now();
        let ((), bytes) = held(|| {
            for asked in &ASKED {
                world.engine.ids(&world.query(asked)).expect("a query");
                world.engine.count(&world.query(asked)).expect("a query");
            }
        });
        world.index_bytes = bytes;
        eprintln!("(indexes of {size} deployments made in {:?})", start.elapsed());
        for asked in &ASKED {
            let ids = world.engine.ids(&world.query(asked)).expect("a query").ids;
            assert_eq!(ids, world.page_of_sqlite(asked), "{}: SQLite", asked.name);
            let (scanned, count) = world.scan(asked);
            assert_eq!(ids, scanned, "{}: scan", asked.name);
            assert_eq!(
                world.engine.count(&world.query(asked)).expect("a query"),
                count as u64
            );
            assert_eq!(world.count_of_sqlite(asked), count, "{}: SQLite", asked.name);
            eprint!(
                "{}",
                world.engine.explain_query(&world.query(asked)).expect("a query")
            );
        }
        world
    }

    fn query(&self, asked: &Asked) -> Query {
        let limits = Limits::default();
        let filter = (asked.condition)(self).filter(&limits).expect("a small filter");
        let query = Query::new(filter)
            .window(Start::Offset(0), 200, &limits)
            .expect("a page");
        if asked.by_creation {
            return query
                .sorted_by([SortKey::ascending(Field::DeploymentCreated)])
                .expect("a sort");
        }
        query
    }

    fn sides(self: &Rc<Self>, asked: usize, what: What, opponent: Opponent) -> (Side, Side) {
        let asked = &ASKED[asked];
        let (world, query) = (Rc::clone(self), self.query(asked));
        let ours = timed(20, move || {
            for _ in 0..20 {
                match what {
                    What::Page => drop(std::hint::black_box(world.engine.ids(&query))),
                    What::Count => drop(std::hint::black_box(world.engine.count(&query))),
                }
            }
        });
        let world = Rc::clone(self);
        let theirs = timed(1, move || match (what, opponent) {
            (What::Page, Opponent::Sqlite) => drop(std::hint::black_box(world.page_of_sqlite(asked))),
            (What::Count, Opponent::Sqlite) => {
                std::hint::black_box(world.count_of_sqlite(asked));
            }
            (What::Page, Opponent::Scan) => drop(std::hint::black_box(world.scan(asked))),
            (What::Count, Opponent::Scan) => {
                std::hint::black_box(world.rows.iter().filter(|row| (asked.by_hand)(row)).count());
            }
        });
        (ours, theirs)
    }

    fn page_of_sqlite(&self, asked: &Asked) -> Vec<Uuid> {
        let sort = if asked.by_creation {
            "d.created, d.uuid"
        } else {
            "d.name, d.uuid"
        };
        let sql = format!(
            "SELECT d.uuid FROM dep d WHERE {} ORDER BY {sort} LIMIT {PAGE}",
            asked.sql
        );
        let mut statement = self.sqlite.prepare_cached(&sql).expect("a statement");
        let ids = statement
            .query_map([], |row| row.get::<_, [u8; 16]>(0))
            .expect("rows");
        ids.map(|id| Uuid::from_bytes(id.expect("a uuid"))).collect()
    }

    fn count_of_sqlite(&self, asked: &Asked) -> usize {
        let sql = format!("SELECT count(*) FROM dep d WHERE {}", asked.sql);
        let mut statement = self.sqlite.prepare_cached(&sql).expect("a statement");
        let count: i64 = statement.query_row([], |row| row.get(0)).expect("a count");
        usize::try_from(count).expect("a count")
    }

    /// The page and the count by looking at every row.
    fn scan(&self, asked: &Asked) -> (Vec<Uuid>, usize) {
        let mut found: Vec<&Plain> = self.rows.iter().filter(|row| (asked.by_hand)(row)).collect();
        let count = found.len();
        let order = |a: &&Plain, b: &&Plain| {
            if asked.by_creation {
                (a.created, a.id).cmp(&(b.created, b.id))
            } else {
                (&a.name, a.id).cmp(&(&b.name, b.id))
            }
        };
        if PAGE < count {
            found.select_nth_unstable_by(PAGE, order);
            found.truncate(PAGE);
        }
        found.sort_unstable_by(order);
        (found.into_iter().map(|row| row.id).collect(), count)
    }

    /// Rows turned from paused to not and back, `batch` of them between two queries that see them.
    fn changes(self: &Rc<Self>, batch: usize) -> (Side, Side) {
        const ROUND: usize = 2_000;
        let limits = Limits::default();
        let paused = Query::new(
            deployment::paused()
                .is(true)
                .filter(&limits)
                .expect("a small filter"),
        );
        let world = Rc::clone(self);
        let ours = timed(ROUND, move || {
            for n in 0..ROUND {
                let (row, on) = world.next();
                let id = tenfold::DeploymentId::from_uuid(row.id);
                let changed = if on {
                    world.engine.pause_deployment(id)
                } else {
                    world.engine.resume_deployment(id)
                };
                changed.expect("a deployment");
                if n % batch == batch - 1 {
                    std::hint::black_box(world.engine.count(&paused).expect("a query"));
                }
            }
        });
        let world = Rc::clone(self);
        let theirs = timed(ROUND, move || {
            world.sqlite.execute_batch("BEGIN").expect("a transaction");
            {
                let sql = "UPDATE dep SET paused = ?2 WHERE uuid = ?1";
                let mut update = world.sqlite.prepare_cached(sql).expect("a statement");
                for _ in 0..ROUND {
                    let (row, on) = world.next();
                    update.execute(params![row.id.as_bytes(), on]).expect("an update");
                }
            }
            world.sqlite.execute_batch("COMMIT").expect("a transaction");
        });
        (ours, theirs)
    }

    /// A row, another one each time, and whether it is to be paused.
    fn next(&self) -> (&Plain, bool) {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        // An odd step modulo the size visits the rows in no order.
        let row = &self.rows[turn.wrapping_mul(0x9E37_79B1) % self.rows.len()];
        (row, (turn / self.rows.len()).is_multiple_of(2))
    }

    /// The longest of many queries that read nothing: the lock, the views, and no more.
    fn hold(self: &Rc<Self>) -> Side {
        let world = Rc::clone(self);
        let limits = Limits::default();
        let nothing = Query::new(Filter::everything(Entity::Deployment));
        let nothing = nothing
            .window(Start::Offset(0), 0, &limits)
            .expect("an empty page");
        figure(move || {
            let mut longest = Duration::ZERO;
            for _ in 0..200 {
                // A change, so that there is something to take.
                let (row, on) = world.next();
                let id = tenfold::DeploymentId::from_uuid(row.id);
                let _ = if on {
                    world.engine.pause_deployment(id)
                } else {
                    world.engine.resume_deployment(id)
                };
                let start = now();
                drop(std::hint::black_box(world.engine.deployments(&nothing)));
                longest = longest.max(start.elapsed());
            }
            per_operation(longest, 1)
        })
    }
}

fn sqlite(rows: &[Plain]) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;
         CREATE TABLE dep (id INTEGER PRIMARY KEY, uuid BLOB, name TEXT, created INTEGER, flow INTEGER, queue INTEGER,
                           lim INTEGER, paused INTEGER);
         CREATE TABLE tags (tag TEXT, dep INTEGER, PRIMARY KEY (tag, dep)) WITHOUT ROWID;",
    )?;
    let work = connection.transaction()?;
    {
        let mut dep = work.prepare("INSERT INTO dep VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let mut tags = work.prepare("INSERT INTO tags VALUES (?1, ?2)")?;
        for (n, row) in (0_i64..).zip(rows) {
            let flow = i64::try_from(row.flow).expect("few flows");
            let queue = i64::try_from(row.queue).expect("few queues");
            dep.execute(params![
                n,
                row.id.as_bytes(),
                &*row.name,
                row.created,
                flow,
                queue,
                row.limit,
                row.paused
            ])?;
            for (bit, name) in workload::TAGS.iter().enumerate() {
                if row.tags >> bit & 1 == 1 {
                    tags.execute(params![name, n])?;
                }
            }
        }
    }
    work.commit()?;
    connection.execute_batch(
        "CREATE INDEX by_tags ON tags (dep); CREATE INDEX by_name ON dep (name, uuid); CREATE INDEX by_created ON dep (created, uuid);
         CREATE INDEX by_flow ON dep (flow); CREATE INDEX by_queue ON dep (queue); CREATE INDEX by_limit ON dep (lim);
         CREATE INDEX by_paused ON dep (paused); CREATE UNIQUE INDEX by_uuid ON dep (uuid); ANALYZE;",
    )?;
    Ok(connection)
}
