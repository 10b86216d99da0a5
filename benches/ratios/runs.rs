//! Queries over a million runs of twenty thousand deployments: a board's questions, tests of related rows, and a changed run.
//!
//! Opponents: `SQLite` in memory with tags in a table and sensible indexes, and a scan written by hand. All give the same ids
//! and counts before anything is measured.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use chrono::DateTime;
use rusqlite::{Connection, params};
use tenfold::clock::ManualClock;
use tenfold::filter::build::{self, deployment, run};
use tenfold::filter::{Field, Filter, Limits, Query, SortKey, Start, StateType};
use tenfold::model::NewRun;
use tenfold::{DeploymentId, Engine, NewDeployment, Priority, RunId, Scope};
use uuid::Uuid;

use crate::frame::{Bench, Goal, Side, timed};
use crate::workload::{self, SEED};

const MILLION: usize = 1_000_000;
const DEPLOYMENTS: usize = 20_000;
/// Rows on a page.
const PAGE: u32 = 200;
const TAGS: [&str; 3] = ["cpu", "gpu", "eu"];
const WORDS: [&str; 4] = ["orders", "invoice", "ledger", "sync"];
/// The deployment of the question about one.
const ONE: usize = 1_234;
/// The hour of the question about a time, in seconds.
const HOUR: (i64, i64) = (400, 420);

const SCHEDULED: u8 = 0;
const COMPLETED: u8 = 1;
const RUNNING: u8 = 2;
const FAILED: u8 = 3;

/// A run as a host would keep it to scan it. Instants in microseconds.
struct Plain {
    id: Uuid,
    name: String,
    deployment: usize,
    tag: usize,
    level: u8,
    state: u8,
    expected: i64,
    start: Option<i64>,
}

/// A question, in the words of each side.
struct Asked {
    name: &'static str,
    filter: fn(&World, &Limits) -> Filter,
    sort: SortKey,
    sql: &'static str,
    order: &'static str,
    /// For questions about runs alone.
    by_hand: Option<fn(&Plain) -> bool>,
}

fn filter<E: build::Row>(condition: build::Condition<E>, limits: &Limits) -> Filter {
    condition.filter(limits).expect("a small filter")
}

const BY_EXPECTED: (SortKey, &str) = (
    SortKey::descending(Field::RunExpectedStartTime),
    "r.expected DESC, r.uuid",
);
const BY_ID: (SortKey, &str) = (SortKey::descending(Field::RunId), "r.uuid DESC");
const BY_START: (SortKey, &str) = (
    SortKey::descending(Field::RunStartOrExpected),
    "r.begun DESC, r.uuid",
);
const BY_NAME: (SortKey, &str) = (SortKey::ascending(Field::DeploymentName), "d.name, d.uuid");

const ASKED: [Asked; 7] = [
    Asked {
        name: "running, by expected start",
        filter: |_, limits| filter(run::state_type().is(StateType::Running), limits),
        sort: BY_EXPECTED.0,
        sql: "r.state = 2",
        order: BY_EXPECTED.1,
        by_hand: Some(|row| row.state == RUNNING),
    },
    Asked {
        name: "waiting of one tag, by expected start",
        filter: |_, limits| {
            filter(
                run::tags().has("gpu") & run::state_type().is(StateType::Scheduled),
                limits,
            )
        },
        sort: BY_EXPECTED.0,
        sql: "r.id IN (SELECT run FROM tags WHERE tag = 'gpu') AND r.state = 0",
        order: BY_EXPECTED.1,
        by_hand: Some(|row| row.tag == 1 && row.state == SCHEDULED),
    },
    Asked {
        name: "of one deployment, by expected start",
        filter: |world, limits| filter(run::deployment_id().is(world.deployments[ONE]), limits),
        sort: BY_EXPECTED.0,
        sql: "r.dep = 1234",
        order: BY_EXPECTED.1,
        by_hand: Some(|row| row.deployment == ONE),
    },
    Asked {
        name: "expected in twenty seconds and failed, by expected start",
        filter: |_, limits| {
            let at = |second| DateTime::from_timestamp(second, 0).expect("an instant");
            filter(
                run::expected_start_time().at_least(at(HOUR.0))
                    & run::expected_start_time().below(at(HOUR.1))
                    & run::state_type().is(StateType::Failed),
                limits,
            )
        },
        sort: BY_EXPECTED.0,
        sql: "r.expected >= 400000000 AND r.expected < 420000000 AND r.state = 3",
        order: BY_EXPECTED.1,
        by_hand: Some(|row| {
            (HOUR.0 * 1_000_000..HOUR.1 * 1_000_000).contains(&row.expected) && row.state == FAILED
        }),
    },
    Asked {
        name: "name contains, by id",
        filter: |_, limits| filter(run::name().contains("invoice-77"), limits),
        sort: BY_ID.0,
        sql: "r.name LIKE '%invoice-77%'",
        order: BY_ID.1,
        by_hand: Some(|row| {
            let part = b"invoice-77";
            (row.name.as_bytes().windows(part.len())).any(|window| window.eq_ignore_ascii_case(part))
        }),
    },
    Asked {
        name: "completed at a level or above, by id",
        filter: |_, limits| {
            filter(
                run::state_type().is(StateType::Completed) & run::priority().at_least(8),
                limits,
            )
        },
        sort: BY_ID.0,
        sql: "r.state = 1 AND r.level >= 8",
        order: BY_ID.1,
        by_hand: Some(|row| row.state == COMPLETED && row.level >= 8),
    },
    Asked {
        name: "not completed, by start",
        filter: |_, limits| filter(!run::state_type().is(StateType::Completed), limits),
        sort: BY_START.0,
        sql: "NOT r.state = 1",
        order: BY_START.1,
        by_hand: Some(|row| row.state != COMPLETED),
    },
];

const RELATED: [Asked; 5] = [
    Asked {
        name: "deployments, any run running",
        filter: |_, limits| {
            filter(
                deployment::any_run(run::state_type().is(StateType::Running)),
                limits,
            )
        },
        sort: BY_NAME.0,
        sql: "d.id IN (SELECT dep FROM run r WHERE r.state = 2)",
        order: BY_NAME.1,
        by_hand: None,
    },
    Asked {
        name: "deployments, no run failed",
        filter: |_, limits| {
            filter(
                !deployment::any_run(run::state_type().is(StateType::Failed)),
                limits,
            )
        },
        sort: BY_NAME.0,
        sql: "d.id NOT IN (SELECT dep FROM run r WHERE r.state = 3)",
        order: BY_NAME.1,
        by_hand: None,
    },
    Asked {
        name: "deployments, any waiting run of a tag at level 5",
        filter: |_, limits| {
            let condition = run::tags().has("gpu")
                & run::state_type().is(StateType::Scheduled)
                & run::priority().at_least(5);
            filter(deployment::any_run(condition), limits)
        },
        sort: BY_NAME.0,
        sql: "d.id IN (SELECT dep FROM run r WHERE r.state = 0 AND r.level >= 5 AND r.id IN (SELECT run FROM tags WHERE tag = 'gpu'))",
        order: BY_NAME.1,
        by_hand: None,
    },
    Asked {
        name: "deployments of a name, any run completed",
        filter: |_, limits| {
            filter(
                deployment::name().contains("invoice-12")
                    & deployment::any_run(run::state_type().is(StateType::Completed)),
                limits,
            )
        },
        sort: BY_NAME.0,
        sql: "d.name LIKE '%invoice-12%' AND EXISTS (SELECT 1 FROM run r WHERE r.dep = d.id AND r.state = 1)",
        order: BY_NAME.1,
        by_hand: None,
    },
    Asked {
        name: "waiting runs of deployments of a name, by expected start",
        filter: |_, limits| {
            filter(
                run::state_type().is(StateType::Scheduled)
                    & run::deployment(deployment::name().contains("sync-7")),
                limits,
            )
        },
        sort: BY_EXPECTED.0,
        sql: "r.state = 0 AND r.dep IN (SELECT id FROM dep WHERE name LIKE '%sync-7%')",
        order: BY_EXPECTED.1,
        by_hand: None,
    },
];

/// The same runs in the engine, in `SQLite` and in a list.
struct World {
    engine: Engine,
    sqlite: Connection,
    rows: Vec<Plain>,
    deployments: Vec<Uuid>,
    waiting: Vec<usize>,
    turn: Cell<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Page,
    Count,
}

type Case<'a> = (&'static str, Box<dyn FnOnce() -> (Side, Side) + 'a>);

/// Every line about queries over runs.
pub fn lines(bench: &mut Bench) {
    let world: OnceCell<Rc<World>> = OnceCell::new();
    let world = || Rc::clone(world.get_or_init(|| Rc::new(World::new())));
    for what in [What::Page, What::Count] {
        let word = if what == What::Page { "page" } else { "count" };
        let cases = |asked: &'static [Asked], by_hand: bool| -> Vec<Case<'_>> {
            let case = |asked: &'static Asked| -> Case<'_> {
                (asked.name, Box::new(move || world().sides(asked, what, by_hand)))
            };
            asked.iter().map(case).collect()
        };
        for (name, asked, by_hand, goal) in [
            ("1M runs/to sqlite", &ASKED[..], false, 150.0),
            ("1M runs/to a scan that counts", &ASKED[..], true, 100.0),
            ("related to 1M runs/to sqlite", &RELATED[..], false, 150.0),
        ] {
            let each = if by_hand { 1.0 } else { 5.0 };
            bench.mean(
                &format!("filter/{word}/{name}"),
                Goal::at_least(goal),
                Goal::at_least(each),
                cases(asked, by_hand),
            );
        }
    }
    for (name, batch) in [
        ("each seen by the next query", 1),
        ("a thousand, then a query", 1_000),
    ] {
        bench.versus(
            &format!("filter/a changed run/1M/{name}"),
            Goal::at_least(20.0),
            || world().changes(batch),
        );
    }
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::at(DateTime::UNIX_EPOCH);
        let builder = Engine::builder()
            .clock(clock.clone())
            .seed(SEED)
            .deployments(DEPLOYMENTS)
            .waiting_runs(2 * MILLION);
        let engine = builder
            .finished_runs(MILLION)
            .build()
            .expect("settings fit together");
        let mut random = workload::Random::new(SEED);
        let name = |random: &mut workload::Random, n: usize| {
            format!(
                "{}-{}",
                random.pick(&WORDS),
                n.wrapping_mul(0x9E37_79B1) % (1 << 28)
            )
        };
        let (mut deployments, mut names) = (Vec::new(), Vec::new());
        for n in 0..DEPLOYMENTS {
            names.push(name(&mut random, n));
            let new = NewDeployment::new(format!("flow-{}", n % 500), names[n].as_str());
            deployments.push(engine.deploy(new).expect("a new name").id.uuid());
        }
        let now = || clock_micros(&engine);
        let mut rows: Vec<Plain> = Vec::with_capacity(MILLION);
        for _ in 0..MILLION / 500 {
            clock.advance(Duration::from_millis(500));
            let start = rows.len();
            let mut batch = Vec::with_capacity(500);
            for n in start..start + 500 {
                let row = Plain {
                    id: Uuid::nil(),
                    name: name(&mut random, n),
                    // Most runs are of few deployments.
                    deployment: random.below(DEPLOYMENTS).min(random.below(DEPLOYMENTS)),
                    tag: random.below(TAGS.len()),
                    level: u8::try_from(1 + random.below(10)).expect("below 11"),
                    state: SCHEDULED,
                    expected: now(),
                    start: None,
                };
                let priority = Priority::new(row.level).expect("1 to 10");
                let of = DeploymentId::from_uuid(deployments[row.deployment]);
                batch.push(
                    NewRun::of(of)
                        .name(row.name.as_str())
                        .tag(TAGS[row.tag])
                        .priority(priority),
                );
                rows.push(row);
            }
            let accepted = engine.submit_batch(batch).expect("an open engine");
            for (row, accepted) in rows[start..].iter_mut().zip(accepted) {
                row.id = accepted.expect("there is room").id.uuid();
            }
        }
        let by_id: HashMap<Uuid, usize> = rows.iter().enumerate().map(|(n, row)| (row.id, n)).collect();
        for n in 0..MILLION / 2 {
            clock.advance(Duration::from_micros(10));
            let claim = engine
                .claim(&Scope::pool("default"))
                .expect("a pool")
                .expect("a run waits");
            engine.begin(&claim).expect("just claimed");
            let row = &mut rows[by_id[&claim.run().uuid()]];
            (row.state, row.start) = (RUNNING, Some(now()));
            if n % 100 != 0 {
                let (state, outcome) = if n % 50 == 1 {
                    (FAILED, tenfold::Outcome::failed("no"))
                } else {
                    (COMPLETED, tenfold::Outcome::Completed(serde_json::Value::Null))
                };
                engine.complete(&claim, outcome).expect("just begun");
                row.state = state;
            }
        }
        let waiting = (0..MILLION).filter(|n| rows[*n].state == SCHEDULED).collect();
        let world = Self {
            sqlite: sqlite(&rows, &deployments, &names).expect("SQLite in memory"),
            engine,
            rows,
            deployments,
            waiting,
            turn: Cell::new(0),
        };
        for asked in ASKED.iter().chain(&RELATED) {
            let query = world.query(asked);
            let ids = world.engine.ids(&query).expect("a query").ids;
            assert_eq!(ids, world.page_of_sqlite(asked), "{}: SQLite", asked.name);
            let count = world.engine.count(&query).expect("a query");
            assert_eq!(count, world.count_of_sqlite(asked), "{}: SQLite", asked.name);
            if let Some(by_hand) = asked.by_hand {
                assert_eq!(count, world.scan(by_hand) as u64, "{}: scan", asked.name);
            }
            eprint!("{}", world.engine.explain_query(&query).expect("a query"));
        }
        world
    }

    fn query(&self, asked: &Asked) -> Query {
        let limits = Limits::default();
        let query = Query::new((asked.filter)(self, &limits));
        let query = query.window(Start::Offset(0), PAGE, &limits).expect("a page");
        query.sorted_by([asked.sort]).expect("a sort")
    }

    fn sides(self: &Rc<Self>, asked: &'static Asked, what: What, by_hand: bool) -> (Side, Side) {
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
        let theirs = timed(1, move || match (what, asked.by_hand.filter(|_| by_hand)) {
            // A scan for the count alone: it need not sort.
            (_, Some(by_hand)) => drop(std::hint::black_box(world.scan(by_hand))),
            (What::Page, None) => drop(std::hint::black_box(world.page_of_sqlite(asked))),
            (What::Count, None) => drop(std::hint::black_box(world.count_of_sqlite(asked))),
        });
        (ours, theirs)
    }

    fn scan(&self, by_hand: fn(&Plain) -> bool) -> usize {
        self.rows.iter().filter(|row| by_hand(row)).count()
    }

    fn page_of_sqlite(&self, asked: &Asked) -> Vec<Uuid> {
        let (table, order) = (table(asked), asked.order);
        let sql = format!(
            "SELECT uuid FROM {table} WHERE {} ORDER BY {order} LIMIT {PAGE}",
            asked.sql
        );
        let mut statement = self.sqlite.prepare_cached(&sql).expect("a statement");
        let ids = statement
            .query_map([], |row| row.get::<_, [u8; 16]>(0))
            .expect("rows");
        ids.map(|id| Uuid::from_bytes(id.expect("a uuid"))).collect()
    }

    fn count_of_sqlite(&self, asked: &Asked) -> u64 {
        let sql = format!("SELECT count(*) FROM {} WHERE {}", table(asked), asked.sql);
        let mut statement = self.sqlite.prepare_cached(&sql).expect("a statement");
        let count: i64 = statement.query_row([], |row| row.get(0)).expect("a count");
        u64::try_from(count).expect("a count")
    }

    /// Waiting runs moved to another level, `batch` of them between two queries that see them. The engine moves them in line, too.
    fn changes(self: &Rc<Self>, batch: usize) -> (Side, Side) {
        const ROUND: usize = 2_000;
        let urgent = Query::new(filter(run::priority().at_least(10), &Limits::default()));
        let world = Rc::clone(self);
        let ours = timed(ROUND, move || {
            for n in 0..ROUND {
                let (row, level) = world.next();
                let priority = Priority::new(level).expect("1 to 10");
                let changed = world.engine.set_priority(RunId::from_uuid(row.id), priority);
                changed.expect("a run that waits");
                if n % batch == batch - 1 {
                    std::hint::black_box(world.engine.count(&urgent).expect("a query"));
                }
            }
        });
        let world = Rc::clone(self);
        let theirs = timed(ROUND, move || {
            world.sqlite.execute_batch("BEGIN").expect("a transaction");
            {
                let sql = "UPDATE run SET level = ?2 WHERE uuid = ?1";
                let mut update = world.sqlite.prepare_cached(sql).expect("a statement");
                for _ in 0..ROUND {
                    let (row, level) = world.next();
                    update
                        .execute(params![row.id.as_bytes(), level])
                        .expect("an update");
                }
            }
            world.sqlite.execute_batch("COMMIT").expect("a transaction");
        });
        (ours, theirs)
    }

    /// A waiting run, another one each time, and a level that it does not have.
    fn next(&self) -> (&Plain, u8) {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        let (lap, at) = (
            turn / self.waiting.len(),
            turn.wrapping_mul(0x9E37_79B1) % self.waiting.len(),
        );
        let row = &self.rows[self.waiting[at]];
        let up = u8::try_from(1 + lap % 8).expect("below 9");
        (row, 1 + (row.level - 1 + up) % 10)
    }
}

fn table(asked: &Asked) -> &'static str {
    if asked.order == BY_NAME.1 {
        "dep d"
    } else {
        "run r"
    }
}

fn clock_micros(engine: &Engine) -> i64 {
    engine.now().expect("an open engine").timestamp_micros()
}

fn sqlite(rows: &[Plain], deployments: &[Uuid], names: &[String]) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;
         CREATE TABLE dep (id INTEGER PRIMARY KEY, uuid BLOB, name TEXT);
         CREATE TABLE run (id INTEGER PRIMARY KEY, uuid BLOB, name TEXT, dep INTEGER, level INTEGER, state INTEGER,
                           expected INTEGER, begun INTEGER);
         CREATE TABLE tags (tag TEXT, run INTEGER, PRIMARY KEY (tag, run)) WITHOUT ROWID;",
    )?;
    let work = connection.transaction()?;
    {
        let mut dep = work.prepare("INSERT INTO dep VALUES (?1, ?2, ?3)")?;
        for ((n, id), name) in (0_i64..).zip(deployments).zip(names) {
            dep.execute(params![n, id.as_bytes(), name])?;
        }
        let mut run = work.prepare("INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let mut tags = work.prepare("INSERT INTO tags VALUES (?1, ?2)")?;
        for (n, row) in (0_i64..).zip(rows) {
            let deployment = i64::try_from(row.deployment).expect("few deployments");
            let begun = row.start.unwrap_or(row.expected);
            run.execute(params![
                n,
                row.id.as_bytes(),
                row.name,
                deployment,
                row.level,
                row.state,
                row.expected,
                begun
            ])?;
            tags.execute(params![TAGS[row.tag], n])?;
        }
    }
    work.commit()?;
    connection.execute_batch(
        "CREATE UNIQUE INDEX by_uuid ON run (uuid); CREATE INDEX by_dep ON run (dep, state); CREATE INDEX by_level ON run (level);
         CREATE INDEX by_state ON run (state, dep); CREATE INDEX by_expected ON run (expected DESC, uuid);
         CREATE INDEX by_begun ON run (begun DESC, uuid); CREATE INDEX by_tags ON tags (run);
         CREATE INDEX by_name ON dep (name, uuid); ANALYZE;",
    )?;
    Ok(connection)
}
