//! F3 and F5 on an engine: an index and a full scan give the same answer, whatever changes between two queries.
//!
//! Two engines live the same history (one seed, one clock, the same calls). One indexes every table from the first row on, the
//! other none; every answer of the one must be that of the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tenfold::clock::ManualClock;
use tenfold::filter::build::{deployment, run};
use tenfold::filter::{
    Bound, Cursor, Entity, Expr, Field, Filter, Limits, Op, Query, Relation, Set, Side, SortKey, Start,
};
use tenfold::limit::LimitSpec;
use tenfold::model::{NewTaskRun, PoolPatch, QueuePatch};
use tenfold::{
    Claim, Deployment, DeploymentPatch, Engine, NewDeployment, NewPool, NewQueue, NewRun, Outcome, Priority,
    RunId, Scope,
};
use uuid::Uuid;

use super::generate::{Random, tree};
use super::laws::for_each_seed;

const NAMES: [&str; 12] = [
    "",
    "etl",
    "ETL-load",
    "load-etl",
    "naïve",
    "été",
    "a_b",
    "axb",
    "aab",
    "\u{212A}elvin",
    "kelvin-2",
    "ß",
];
const TAGS: [&str; 5] = ["etl", "prod", "a", "é", "team:x"];
const PARTS: [&str; 8] = ["etl", "LOAD", "é", "a_b", "kelvin", "a", "-et", "tl-lo"];
const QUEUES: [&str; 3] = ["default", "fast", "slow"];

/// Two engines, and what both hold.
pub(super) struct Twins {
    pub(super) indexed: Engine,
    pub(super) scanned: Engine,
    clock: ManualClock,
    pub(super) deployments: Vec<Deployment>,
    pub(super) runs: Vec<RunId>,
    claims: Vec<(Claim, Claim)>,
}

impl Twins {
    pub(super) fn new(seed: u64) -> Self {
        let clock = ManualClock::at(DateTime::from_timestamp(1_750_000_000, 0).unwrap());
        let engine = |from| {
            let builder = Engine::builder().seed(seed).clock(clock.clone());
            builder.index_from(from).build().unwrap()
        };
        let twins = Self {
            indexed: engine(0),
            scanned: engine(usize::MAX),
            clock,
            deployments: Vec::new(),
            runs: Vec::new(),
            claims: Vec::new(),
        };
        for engine in [&twins.indexed, &twins.scanned] {
            engine.define_limit(LimitSpec::new("db", 2)).unwrap();
            engine.create_pool(NewPool::named("pool")).unwrap();
            for queue in &QUEUES[1..] {
                engine.create_queue(NewQueue::named("pool", *queue)).unwrap();
            }
        }
        twins
    }

    /// The same call on both, with the same answer.
    pub(super) fn both<T: PartialEq + std::fmt::Debug>(&self, call: impl Fn(&Engine) -> T) -> T {
        let (ours, theirs) = (call(&self.indexed), call(&self.scanned));
        assert_eq!(ours, theirs);
        ours
    }

    pub(super) fn change(&mut self, random: &mut Random) {
        let some = |random: &mut Random, of: usize| (of > 0).then(|| random.below(of));
        match random.below(18) {
            0..=3 => {
                let mut new =
                    NewDeployment::new(random.pick(&["flow", "other", "third"]), random.pick(&NAMES));
                for _ in 0..random.below(4) {
                    new = new.tag(random.pick(&TAGS));
                }
                if random.below(3) == 0 {
                    new = new
                        .concurrency_limit(u32::try_from(1 + random.below(4)).unwrap().try_into().unwrap());
                }
                if random.below(2) == 0 {
                    new = new.work_queue("pool", random.pick(&QUEUES));
                }
                if random.below(3) == 0 {
                    new = new.paused();
                }
                if let Ok(made) =
                    self.both(|engine| engine.deploy(new.clone()).map_err(|refused| refused.to_string()))
                {
                    self.deployments.push(made);
                }
            }
            4 => {
                if let Some(at) = some(random, self.deployments.len()) {
                    let gone = self.deployments.swap_remove(at);
                    self.both(|engine| engine.delete_deployment(gone.id).unwrap());
                }
            }
            5 => {
                if let Some(at) = some(random, self.deployments.len()) {
                    let id = self.deployments[at].id;
                    let pause = random.below(2) == 0;
                    self.both(|engine| {
                        let done = if pause {
                            engine.pause_deployment(id)
                        } else {
                            engine.resume_deployment(id)
                        };
                        done.unwrap()
                    });
                }
            }
            6 => {
                if let Some(at) = some(random, self.deployments.len()) {
                    let id = self.deployments[at].id;
                    let patch = match random.below(3) {
                        0 => DeploymentPatch::new().tags([random.pick(&TAGS), random.pick(&TAGS)]),
                        1 => DeploymentPatch::new().concurrency_limit(std::num::NonZeroU32::new(
                            u32::try_from(random.below(3)).unwrap(),
                        )),
                        _ => DeploymentPatch::new().work_queue("pool", random.pick(&QUEUES)),
                    };
                    self.both(|engine| engine.update_deployment(id, patch.clone()).unwrap());
                }
            }
            7 | 8 => {
                if let Some(at) = some(random, self.deployments.len()) {
                    let mut new = NewRun::of(self.deployments[at].id)
                        .name(random.pick(&NAMES))
                        .priority(Priority::new(u8::try_from(1 + random.below(10)).unwrap()).unwrap());
                    if random.below(3) == 0 {
                        let now = self.indexed.now().unwrap();
                        new = new.not_before(now + Duration::from_secs(random.below(60) as u64));
                    }
                    if random.below(2) == 0 {
                        new = new.tag(random.pick(&TAGS));
                    }
                    if random.below(4) == 0 {
                        new = new.slots("db", u32::try_from(1 + random.below(2)).unwrap());
                    }
                    let made = self.both(|engine| engine.submit(new.clone()).map(|made| made.id).ok());
                    self.runs.extend(made);
                }
            }
            9 | 10 => {
                let scope = if random.below(2) == 0 {
                    Scope::pool("pool")
                } else {
                    Scope::pool("default")
                };
                let claims = (
                    self.indexed.claim(&scope).unwrap(),
                    self.scanned.claim(&scope).unwrap(),
                );
                if let (Ok(ours), Ok(theirs)) = claims {
                    assert_eq!(ours.run(), theirs.run());
                    self.claims.push((ours, theirs));
                }
            }
            11 => {
                if let Some(at) = some(random, self.claims.len()) {
                    let (ours, theirs) = self.claims.swap_remove(at);
                    let failed = random.below(2) == 0;
                    let outcome = || {
                        if failed {
                            Outcome::failed("no")
                        } else {
                            Outcome::Completed(serde_json::Value::Null)
                        }
                    };
                    assert_eq!(
                        self.indexed.complete(&ours, outcome()).is_ok(),
                        self.scanned.complete(&theirs, outcome()).is_ok()
                    );
                }
            }
            12 => {
                if let Some(at) = some(random, self.runs.len()) {
                    let id = self.runs[at];
                    self.both(|engine| engine.cancel(id).ok());
                }
            }
            13 => {
                let (queue, paused) = (random.pick(&QUEUES), random.below(2) == 0);
                self.both(|engine| {
                    let patch = QueuePatch::new().paused(paused);
                    engine.update_queue("pool", queue, patch).unwrap()
                });
            }
            14 => {
                let paused = random.below(2) == 0;
                self.both(|engine| {
                    let patch = PoolPatch::new().paused(paused);
                    engine.update_pool("pool", patch).unwrap()
                });
            }
            15 | 16 => {
                if let Some(at) = some(random, self.claims.len()) {
                    let (ours, theirs) = &self.claims[at];
                    let task = NewTaskRun::named(random.pick(&NAMES)).tag(random.pick(&TAGS));
                    let begun = (
                        self.indexed.begin(ours).is_ok(),
                        self.scanned.begin(theirs).is_ok(),
                    );
                    assert_eq!(begun.0, begun.1);
                    let steps = (
                        self.indexed.begin_task(ours, task.clone()).ok(),
                        self.scanned.begin_task(theirs, task).ok(),
                    );
                    assert_eq!(steps.0, steps.1);
                }
            }
            _ => self.clock.advance(Duration::from_secs(random.below(40) as u64)),
        }
    }

    /// Every way to ask, on both.
    pub(super) fn ask(&self, query: &Query) {
        let text = query.filter().to_string();
        match query.entity() {
            Entity::Deployment => drop(self.both(|engine| engine.deployments(query).unwrap())),
            Entity::Run => drop(self.both(|engine| engine.runs(query).unwrap())),
            Entity::Flow => drop(self.both(|engine| engine.flows(query).unwrap())),
            Entity::TaskRun => drop(self.both(|engine| engine.task_runs(query).unwrap())),
            Entity::Pool => drop(self.both(|engine| engine.pools(query).unwrap())),
            Entity::Queue => drop(self.both(|engine| engine.queues(query).unwrap())),
        }
        assert_eq!(self.indexed.ids(query), self.scanned.ids(query), "{text}");
        assert_eq!(self.indexed.count(query), self.scanned.count(query), "{text}");
    }
}

/// A tree whose operands are met by the data.
pub(super) fn condition(random: &mut Random, twins: &Twins, entity: Entity, depth: u8) -> Expr {
    let children = |random: &mut Random| {
        let count = random.pick(&[0, 2, 2, 3]);
        (0..count)
            .map(|_| condition(random, twins, entity, depth - 1))
            .collect::<Vec<_>>()
    };
    if depth > 0 {
        match random.below(10) {
            0..=2 => return Expr::all(children(random)),
            3..=5 => return Expr::any(children(random)),
            6 => return condition(random, twins, entity, depth - 1).negated(),
            7 => {
                let relations: Vec<Relation> = entity.relations().collect();
                let relation = random.pick(&relations);
                return Expr::exists(relation, condition(random, twins, relation.target(), depth - 1));
            }
            8 => return tree(random, entity, 1),
            _ => {}
        }
    }
    let test = |field, op| Expr::test(field, op).unwrap();
    let tags = |random: &mut Random| {
        let list: Vec<Box<str>> = (0..random.below(3)).map(|_| random.pick(&TAGS).into()).collect();
        match random.below(5) {
            0 => Op::IsEmpty,
            1 | 2 => Op::HasAny(list.into()),
            _ => Op::HasAll(list.into()),
        }
    };
    let text = |random: &mut Random| match random.below(6) {
        0 => Op::Contains(random.pick(&PARTS).into()),
        1 => Op::Like(format!("%{}%", random.pick(&PARTS)).into()),
        2 => Op::StartsWith(random.pick(&PARTS).into()),
        3 => Op::EndsWith(random.pick(&PARTS).into()),
        4 => Op::Compare(Side::AtLeast, Bound::Text(random.pick(&NAMES).into())),
        _ => Op::In(Set::Texts(
            vec![random.pick(&NAMES).into(), random.pick(&NAMES).into()].into(),
        )),
    };
    let side = random.pick(&[Side::Less, Side::AtMost, Side::AtLeast, Side::Greater]);
    let now = DateTime::<Utc>::timestamp_micros(&twins.indexed.now().unwrap());
    let instant = now + 1_000_000 * (i64::try_from(random.below(120)).unwrap() - 60);
    let id = (!twins.deployments.is_empty())
        .then(|| twins.deployments[random.below(twins.deployments.len())].clone());
    match entity {
        Entity::Deployment => match random.below(9) {
            0 | 1 => test(Field::DeploymentTags, tags(random)),
            2 | 3 => test(Field::DeploymentName, text(random)),
            4 => test(Field::DeploymentPaused, Op::Is(random.below(2) == 0)),
            5 => test(
                Field::DeploymentConcurrencyLimit,
                if random.below(3) == 0 {
                    Op::IsNull
                } else {
                    Op::Compare(side, Bound::Int(2))
                },
            ),
            6 => test(
                Field::DeploymentWorkQueueName,
                Op::In(Set::Texts(vec![random.pick(&QUEUES).into()].into())),
            ),
            7 => test(Field::DeploymentCreated, Op::Compare(side, Bound::Time(instant))),
            _ => {
                let ids: Vec<Uuid> = id.iter().map(|held| held.flow_id.uuid()).collect();
                let set = Set::Uuids(ids.into());
                test(
                    Field::DeploymentFlowId,
                    if random.below(2) == 0 {
                        Op::In(set)
                    } else {
                        Op::NoneOf(set)
                    },
                )
            }
        },
        Entity::Run => match random.below(8) {
            0 => test(Field::RunTags, tags(random)),
            1 => test(Field::RunName, text(random)),
            2 => test(
                Field::RunStateType,
                Op::In(Set::Codes(vec![0, u8::try_from(random.below(9)).unwrap()].into())),
            ),
            3 => test(
                Field::RunPlace,
                Op::In(Set::Codes(vec![u8::try_from(random.below(6)).unwrap()].into())),
            ),
            4 => test(Field::RunStartOrExpected, Op::Compare(side, Bound::Time(instant))),
            5 => test(
                Field::RunNextScheduledStartTime,
                if random.below(2) == 0 {
                    Op::IsNull
                } else {
                    Op::Compare(side, Bound::Time(instant))
                },
            ),
            6 => test(Field::RunPriority, Op::Compare(side, Bound::Int(5))),
            _ => {
                let ids: Vec<Uuid> = id.iter().map(|held| held.id.uuid()).collect();
                test(Field::RunDeploymentId, Op::In(Set::Uuids(ids.into())))
            }
        },
        Entity::Flow => test(Field::FlowName, text(random)),
        other => tree(random, other, 0),
    }
}

pub(super) fn sorted(random: &mut Random, query: Query) -> Query {
    let entity = query.entity();
    let fields: Vec<Field> = match entity {
        Entity::Deployment => vec![
            Field::DeploymentName,
            Field::DeploymentCreated,
            Field::DeploymentUpdated,
            Field::DeploymentId,
            Field::DeploymentConcurrencyLimit,
        ],
        Entity::Run => vec![
            Field::RunId,
            Field::RunName,
            Field::RunStartOrExpected,
            Field::RunNextScheduledStartTime,
            Field::RunEndTime,
            Field::RunPriority,
        ],
        Entity::Flow => vec![Field::FlowName, Field::FlowCreated],
        other => vec![other.id()],
    };
    let keys = (0..=random.below(2)).map(|_| {
        let field = random.pick(&fields);
        if random.below(2) == 0 {
            SortKey::ascending(field)
        } else {
            SortKey::descending(field)
        }
    });
    let keys: Vec<SortKey> = keys.collect();
    query.sorted_by(keys).unwrap()
}

#[test]
fn f3_an_index_and_a_full_scan_give_the_same_answer() {
    for_each_seed(|seed| {
        let mut random = Random(seed);
        let mut twins = Twins::new(seed);
        for _ in 0..3 {
            for _ in 0..random.below(16) {
                twins.change(&mut random);
            }
            for _ in 0..2 {
                let entity = random.pick(&[
                    Entity::Deployment,
                    Entity::Deployment,
                    Entity::Run,
                    Entity::Run,
                    Entity::Flow,
                ]);
                let condition = condition(&mut random, &twins, entity, 3);
                let query = Query::new(Filter::new(entity, condition, &Limits::default()).unwrap());
                let query = sorted(&mut random, query);
                let (start, limit) = if random.below(2) == 0 {
                    (Start::Offset(random.below(4) as u64), random.below(6))
                } else {
                    (Start::Page(1 + random.below(3) as u64), 1 + random.below(4))
                };
                let query = query
                    .window(start, u32::try_from(limit).unwrap(), &Limits::default())
                    .unwrap();
                twins.ask(&query);
                if let Some(next) = twins.indexed.ids(&query).unwrap().next {
                    twins.ask(&query.after(next).unwrap());
                }
            }
        }
    });
}

#[test]
fn f3_the_answers_agree_on_a_catalog_of_some_thousands() {
    let mut random = Random(5);
    let mut twins = Twins::new(5);
    let words = ["orders", "users", "ledger", "sync", "ETL"];
    for n in 0..3_000 {
        let mut new = NewDeployment::new(
            format!("flow-{}", n % 40),
            format!("{}-{}-{n}", random.pick(&words), random.pick(&words)),
        );
        for _ in 0..random.below(4) {
            new = new.tag(random.pick(&TAGS));
        }
        if random.below(2) == 0 {
            new = new.work_queue("pool", random.pick(&QUEUES));
        }
        let made = twins.both(|engine| engine.deploy(new.clone()).unwrap());
        twins.deployments.push(made);
    }
    for _ in 0..40 {
        for _ in 0..20 {
            twins.change(&mut random);
        }
        let condition = condition(&mut random, &twins, Entity::Deployment, 3);
        let query = Query::new(Filter::new(Entity::Deployment, condition, &Limits::default()).unwrap());
        let query = sorted(&mut random, query);
        let start = Start::Offset(random.below(400) as u64);
        twins.ask(&query.window(start, 50, &Limits::default()).unwrap());
    }
}

/// All ids, page by page behind cursors; `between` happens after each page.
fn paged(engine: &Engine, query: &Query, mut between: impl FnMut(&Cursor)) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut query = query.clone();
    loop {
        let page = engine.ids(&query).unwrap();
        ids.extend(page.ids);
        let Some(next) = page.next else { return ids };
        between(&next);
        // Through its text, as it goes through a host's client.
        query = query.after(next.to_string().parse().unwrap()).unwrap();
    }
}

#[test]
fn f5_cursors_neither_repeat_nor_miss_what_did_not_change() {
    for from in [0, usize::MAX] {
        let clock = ManualClock::at(DateTime::UNIX_EPOCH);
        let engine = Engine::builder()
            .seed(1)
            .clock(clock.clone())
            .index_from(from)
            .build()
            .unwrap();
        let mut random = Random(3);
        let name = |random: &mut Random| format!("{}-{}", random.below(10), random.next());
        let (mut steady, mut others) = (Vec::new(), Vec::new());
        for n in 0..600 {
            clock.advance(Duration::from_micros(u64::from(n % 3 == 0)));
            let made = engine
                .deploy(NewDeployment::new("flow", name(&mut random)).tag("etl"))
                .unwrap();
            if n % 2 == 0 {
                steady.push(made.id);
            } else {
                others.push(made.id);
            }
        }
        for key in [
            SortKey::ascending(Field::DeploymentName),
            SortKey::descending(Field::DeploymentName),
            SortKey::ascending(Field::DeploymentCreated),
            SortKey::descending(Field::DeploymentCreated),
            SortKey::descending(Field::DeploymentId),
            SortKey::ascending(Field::DeploymentPriority),
        ] {
            let limits = Limits::default();
            let query = Query::new(deployment::tags().has("etl").filter(&limits).unwrap());
            let query = query
                .sorted_by([key])
                .unwrap()
                .window(Start::Offset(0), 7, &limits)
                .unwrap();
            let ids = paged(&engine, &query, |_| {
                clock.advance(Duration::from_micros(1));
                if let Some(gone) = others.pop() {
                    engine.delete_deployment(gone).unwrap();
                }
                let made = engine
                    .deploy(NewDeployment::new("flow", name(&mut random)).tag("etl"))
                    .unwrap();
                others.insert(0, made.id);
                engine
                    .update_deployment(others[1], DeploymentPatch::new().tags(["etl", "x"]))
                    .unwrap();
            });
            let mut seen = ids.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), ids.len(), "a row came twice under {key:?}");
            for id in &steady {
                assert!(
                    seen.binary_search(&id.uuid()).is_ok(),
                    "{id} was missed under {key:?}"
                );
            }
        }
    }
}

/// Writers keep two invariants at every instant: of each pair of deployments exactly one is paused, and the number of
/// deployments tagged `kept` is 64. Every answer, by index or by scan, shows one instant, so it shows both.
#[test]
fn f5_queries_during_a_storm_of_changes_see_one_instant() {
    let engine = Engine::builder().index_from(0).build().unwrap();
    let scanned = Engine::builder().index_from(usize::MAX).build().unwrap();
    for engine in [engine, scanned] {
        let limits = Limits::default();
        for n in 0..64 {
            engine
                .deploy(NewDeployment::new("flow", format!("kept-{n}")).tag("kept"))
                .unwrap();
        }
        let over = Arc::new(AtomicBool::new(false));
        let deployed = engine.deployment_by_name("flow/kept-0").unwrap().id;
        let storm = {
            let (engine, over) = (engine.clone(), over.clone());
            std::thread::spawn(move || {
                let mut n = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    n += 1;
                    // One call, so one instant: a batch of exactly four runs, cancelled one by one later.
                    let batch = (0..4)
                        .map(|_| NewRun::of(deployed).tag(format!("batch-{}", n % 8)))
                        .collect();
                    let made: Vec<_> = engine
                        .submit_batch(batch)
                        .unwrap()
                        .into_iter()
                        .map(Result::unwrap)
                        .collect();
                    let more = engine
                        .deploy(NewDeployment::new("flow", format!("more-{n}")).tag("more"))
                        .unwrap();
                    engine.pause_deployment(more.id).unwrap();
                    engine.delete_deployment(more.id).unwrap();
                    for run in made {
                        engine.cancel(run.id).unwrap();
                    }
                }
                n
            })
        };
        let kept = Query::new(deployment::tags().has("kept").filter(&limits).unwrap());
        let paused = Query::new(
            (deployment::tags().has("more") & deployment::paused().is(true))
                .filter(&limits)
                .unwrap(),
        );
        let more = Query::new(deployment::tags().has("more").filter(&limits).unwrap());
        let all = Query::new(Filter::everything(Entity::Deployment));
        let runs = Query::new(run::deployment_id().is(deployed.uuid()).filter(&limits).unwrap());
        let mut last = 0;
        for _ in 0..100 {
            let page = engine.deployments(&kept).unwrap();
            assert_eq!((page.count, page.results.len()), (64, 64));
            assert!(page.version >= last, "versions go forward");
            last = page.version;
            let page = engine.deployments(&all).unwrap();
            assert!((64..=65).contains(&page.count), "{} deployments", page.count);
            assert_eq!(
                page.results.len() as u64,
                page.count,
                "rows and count are of one version"
            );
            assert!(engine.count(&more).unwrap() <= 1 && engine.count(&paused).unwrap() <= 1);
            // Four are accepted in one step, so the accepted are a multiple of four at every instant.
            let page = engine.runs(&runs).unwrap();
            assert_eq!(page.count % 4, 0, "a batch is seen whole or not at all");
            assert!(page.results.iter().all(|run| run.deployment_id == Some(deployed)));
        }
        over.store(true, Ordering::Relaxed);
        assert!(storm.join().unwrap() > 0);
    }
}
