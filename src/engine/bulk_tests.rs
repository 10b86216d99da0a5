//! Bulk changes against the obvious model: the same single calls, one after another, on an engine with the same past.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::filter::{Entity, Filter, Limits, Query, SortKey, Start};
use crate::model::{Place, Retry};

/// One step of a past.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit {
        deployment: u8,
        tag: u8,
        level: u8,
        later: bool,
    },
    Claim {
        begin: bool,
    },
    End {
        failed: bool,
    },
    Cancel {
        nth: u8,
    },
    Pause {
        deployment: u8,
        paused: bool,
    },
    Tick(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..4, 0_u8..3, 1_u8..5, any::<bool>())
            .prop_map(|(deployment, tag, level, later)| Step::Submit { deployment, tag, level, later }),
        3 => any::<bool>().prop_map(|begin| Step::Claim { begin }),
        2 => any::<bool>().prop_map(|failed| Step::End { failed }),
        1 => any::<u8>().prop_map(|nth| Step::Cancel { nth }),
        1 => (0_u8..3, any::<bool>()).prop_map(|(deployment, paused)| Step::Pause { deployment, paused }),
        2 => (1_u8..40).prop_map(Step::Tick),
    ]
}

/// An engine with three deployments, one of them with a schedule, one with a limit.
struct World {
    engine: Engine,
    clock: ManualClock,
    deployments: Vec<DeploymentId>,
    runs: Vec<RunId>,
    claims: Vec<Claim>,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let engine = Engine::builder()
            .clock(clock.clone())
            .seed(1)
            .finished_runs(8)
            .build()
            .unwrap();
        let every = crate::schedule::Schedule::interval(
            chrono::TimeDelta::seconds(20),
            "2026-01-01T00:00:10Z".parse().unwrap(),
            "UTC",
        )
        .unwrap();
        let deployments = [
            NewDeployment::new("f", "plain").tag("x"),
            NewDeployment::new("f", "limited")
                .concurrency_limit(NonZeroU32::MIN)
                .retry(Retry::fixed(1, Duration::from_secs(9))),
            NewDeployment::new("g", "scheduled").tag("y").schedule(every),
        ];
        let deployments = deployments.map(|new| engine.deploy(new).unwrap().id);
        Self {
            engine,
            clock,
            deployments: deployments.into(),
            runs: Vec::new(),
            claims: Vec::new(),
        }
    }

    fn of(past: &[Step]) -> Self {
        let mut world = Self::new();
        past.iter().for_each(|&step| world.go(step));
        world
    }

    fn go(&mut self, step: Step) {
        let engine = &self.engine;
        match step {
            Step::Submit {
                deployment,
                tag,
                level,
                later,
            } => {
                let mut new = match self.deployments.get(usize::from(deployment)) {
                    Some(&id) if engine.deployment(id).is_ok() => NewRun::of(id),
                    _ => NewRun::of("f"),
                };
                new = new.priority(Priority::new(level).unwrap());
                if tag > 0 {
                    new = new.tag(["a", "b"][usize::from(tag) - 1]);
                }
                if later {
                    new = new.not_before(engine.now().unwrap() + chrono::TimeDelta::seconds(15));
                }
                self.runs.push(engine.submit(new).unwrap().id);
            }
            Step::Claim { begin } => {
                if let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
                    if begin {
                        engine.begin(&claim).unwrap();
                    }
                    self.claims.push(claim);
                }
            }
            Step::End { failed } => {
                if !self.claims.is_empty() {
                    let claim = self.claims.remove(0);
                    let outcome = if failed {
                        Outcome::failed("x")
                    } else {
                        Outcome::Completed(1.into())
                    };
                    // A bulk change may have taken it away.
                    let _ = engine.complete(&claim, outcome);
                }
            }
            Step::Cancel { nth } => {
                if !self.runs.is_empty() {
                    let _ = engine.cancel(self.runs[usize::from(nth) % self.runs.len()]);
                }
            }
            Step::Pause { deployment, paused } => {
                let id = self.deployments[usize::from(deployment)];
                let _ = if paused {
                    engine.pause_deployment(id)
                } else {
                    engine.resume_deployment(id)
                };
            }
            Step::Tick(seconds) => self.clock.advance(Duration::from_secs(seconds.into())),
        }
    }
}

fn parse(entity: Entity, text: &str) -> Filter {
    Filter::parse(entity, text, DateTime::UNIX_EPOCH, &Limits::default()).unwrap()
}

const RUN_FILTERS: [&str; 8] = [
    "true",
    "tags has_any ['a', 'b']",
    "end_time is null and not (priority > 2)",
    "place in [ready, scheduled]",
    "place = blocked or deployment.paused",
    "state_type in [RUNNING, PENDING] or tags has 'a'",
    "flow.name = 'g' or auto_scheduled",
    "deployment.flow.name = 'f' and any task_run or place != finished",
];

const DEPLOYMENT_FILTERS: [&str; 5] = [
    "true",
    "not paused",
    "tags has 'x' or schedules > 0",
    "any run where (place = blocked)",
    "no run where (place = claimed)",
];

fn run_change() -> impl Strategy<Value = RunChange> {
    prop_oneof![
        Just(RunChange::Cancel),
        (1_u8..=10).prop_map(|level| RunChange::Priority(Priority::new(level).unwrap())),
        Just(RunChange::State(StateType::Failed)),
        Just(RunChange::State(StateType::Completed)),
        Just(RunChange::State(StateType::Running)),
        Just(RunChange::Delete),
    ]
}

fn deployment_change() -> impl Strategy<Value = DeploymentChange> {
    prop_oneof![
        Just(DeploymentChange::Pause),
        Just(DeploymentChange::Resume),
        Just(DeploymentChange::Priority(Priority::MAX)),
        Just(DeploymentChange::Delete),
    ]
}

fn one(engine: &Engine, change: RunChange, id: RunId) -> Result<(), Error> {
    match change {
        RunChange::Cancel => engine.cancel(id).map(drop),
        RunChange::Priority(priority) => engine.set_priority(id, priority).map(drop),
        RunChange::State(state) => engine.call(|core| core.force(id, state)),
        RunChange::Delete => engine.delete_run(id).map(drop),
    }
}

fn one_deployment(engine: &Engine, change: DeploymentChange, id: DeploymentId) -> Result<(), Error> {
    match change {
        DeploymentChange::Pause => engine.pause_deployment(id).map(drop),
        DeploymentChange::Resume => engine.resume_deployment(id).map(drop),
        DeploymentChange::Priority(priority) => engine
            .update_deployment(id, DeploymentPatch::new().priority(priority))
            .map(drop),
        DeploymentChange::Delete => engine.delete_deployment(id).map(drop),
    }
}

/// All that match, by reading page after page.
fn read(engine: &Engine, filter: &Filter) -> Vec<Run> {
    let limits = Limits::default();
    let key = SortKey::ascending(crate::filter::Field::RunId);
    let mut all = Vec::new();
    for page in 1.. {
        let query = Query::new(filter.clone()).sorted_by([key]).unwrap();
        let query = query.window(Start::Page(page), 200, &limits).unwrap();
        let rows = engine.runs(&query).unwrap().results;
        if rows.is_empty() {
            return all;
        }
        all.extend(rows);
    }
    unreachable!("some page is the last")
}

/// Places in line do not show outside; the document has them.
fn in_line(engine: &Engine, runs: Vec<Run>) -> Vec<RunId> {
    let document = serde_json::to_value(engine.export().unwrap()).unwrap();
    let place = |id: RunId| {
        let run = document["flow_runs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|run| run["id"] == json!(id))
            .unwrap();
        (
            std::cmp::Reverse(run["priority"].as_u64()),
            run["due"].as_i64(),
            run["seq"].as_u64(),
        )
    };
    let mut ids: Vec<RunId> = runs.into_iter().map(|run| run.id).collect();
    ids.sort_by_key(|&id| place(id));
    ids
}

/// Versions differ, since a call that changes one row in more steps counts more.
fn everything(engine: &Engine) -> serde_json::Value {
    let mut document = serde_json::to_value(engine.export().unwrap()).unwrap();
    document["version"] = json!(0);
    document
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("TENFOLD_DEEP").is_some() { 5_000 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn f6_a_bulk_change_of_runs_is_the_single_changes(
        past in prop::collection::vec(step(), 0..80),
        filter in 0..RUN_FILTERS.len(),
        change in run_change(),
        future in prop::collection::vec(step(), 0..20),
    ) {
        let filter = parse(Entity::Run, RUN_FILTERS[filter]);
        let (mut bulk, mut single) = (World::of(&past), World::of(&past));
        prop_assert_eq!(everything(&bulk.engine), everything(&single.engine));
        let matched = in_line(&single.engine, read(&single.engine, &filter));

        let before = everything(&bulk.engine);
        let dry = bulk.engine.bulk(&filter, change, Bulk::new().dry_run()).unwrap();
        prop_assert_eq!(everything(&bulk.engine), before, "a dry run changes nothing");
        let done = bulk.engine.bulk(&filter, change, Bulk::new()).unwrap();
        bulk.engine.check_invariants();

        let (mut changed, mut failed, mut gone, mut already) = (vec![], vec![], vec![], vec![]);
        for &id in &matched {
            let before = single.engine.run(id).ok();
            match (before, one(&single.engine, change, id)) {
                (Some(run), Ok(())) if matches!(change, RunChange::Priority(priority) if priority == run.priority)
                    || (change == RunChange::Cancel && run.state_type == Some(StateType::Cancelling)) => already.push(id),
                (_, Ok(())) => changed.push(id),
                (_, Err(Error::NotFound { .. })) => gone.push(id),
                (_, Err(error)) => failed.push((id, error)),
            }
        }
        prop_assert_eq!(done.matched, matched.len());
        prop_assert_eq!(&done.changed, &changed);
        prop_assert_eq!(&done.failed, &failed);
        let skipped = |why| done.skipped.iter().filter(|skipped| skipped.1 == why).map(|skipped| skipped.0).collect::<Vec<_>>();
        prop_assert_eq!(skipped(Skipped::Already), already);
        prop_assert_eq!(skipped(Skipped::Gone), gone.clone());
        prop_assert_eq!(done.changed.len() + done.skipped.len() + done.failed.len(), done.matched);
        if gone.is_empty() {
            prop_assert_eq!((dry.changed, dry.skipped, dry.failed), (done.changed, done.skipped, done.failed));
        }
        prop_assert_eq!(everything(&bulk.engine), everything(&single.engine));
        for step in future {
            bulk.go(step);
            single.go(step);
        }
        prop_assert_eq!(everything(&bulk.engine), everything(&single.engine));
        bulk.engine.check_invariants();
    }

    #[test]
    fn f6_a_bulk_change_of_deployments_is_the_single_changes(
        past in prop::collection::vec(step(), 0..60),
        filter in 0..DEPLOYMENT_FILTERS.len(),
        change in deployment_change(),
        atomic: bool,
    ) {
        let filter = parse(Entity::Deployment, DEPLOYMENT_FILTERS[filter]);
        let (bulk, single) = (World::of(&past), World::of(&past));
        let matched = single.engine.deployments(&Query::new(filter.clone())).unwrap();
        let how = if atomic { Bulk::new().atomic() } else { Bulk::new() };
        let done = bulk.engine.bulk(&filter, change, how).unwrap();
        bulk.engine.check_invariants();
        prop_assert_eq!(done.matched as u64, matched.count);
        for &id in &done.changed {
            one_deployment(&single.engine, change, id).unwrap();
        }
        for (id, why) in &done.skipped {
            prop_assert_eq!(*why, Skipped::Already);
            let before = everything(&single.engine);
            if matches!(change, DeploymentChange::Pause | DeploymentChange::Resume) {
                one_deployment(&single.engine, change, *id).unwrap();
            }
            prop_assert_eq!(everything(&single.engine), before);
        }
        prop_assert!(done.failed.is_empty());
        prop_assert_eq!(everything(&bulk.engine), everything(&single.engine));
    }

    #[test]
    fn f6_an_atomic_change_is_all_or_none(
        past in prop::collection::vec(step(), 0..80),
        filter in 0..RUN_FILTERS.len(),
        change in run_change(),
    ) {
        let filter = parse(Entity::Run, RUN_FILTERS[filter]);
        let (at_once, by_row) = (World::of(&past), World::of(&past));
        let before = everything(&at_once.engine);
        let done = at_once.engine.bulk(&filter, change, Bulk::new().atomic()).unwrap();
        let rows = by_row.engine.bulk(&filter, change, Bulk::new().dry_run()).unwrap();
        prop_assert_eq!(&done.failed, &rows.failed);
        if rows.failed.is_empty() {
            by_row.engine.bulk(&filter, change, Bulk::new()).unwrap();
            prop_assert_eq!(everything(&at_once.engine), everything(&by_row.engine));
        } else {
            prop_assert!(done.changed.is_empty());
            prop_assert_eq!(everything(&at_once.engine), before);
            prop_assert!(rows.changed.iter().all(|id| done.skipped.contains(&(*id, Skipped::NoneAtAll))));
        }
        at_once.engine.check_invariants();
    }

    #[test]
    fn f6_each_row_is_looked_at_again_at_the_instant_of_its_change(
        past in prop::collection::vec(step(), 40..160),
        filter in 0..RUN_FILTERS.len(),
        change in run_change(),
        meanwhile in prop::collection::vec(step(), 0..40),
    ) {
        let filter = parse(Entity::Run, RUN_FILTERS[filter]);
        let mut world = World::of(&past);
        let engine = world.engine.clone();
        let mut work = engine.begin_bulk(&filter, change, Bulk::new()).unwrap();
        let mut steps = meanwhile.into_iter();
        while !work.is_done() {
            for step in steps.by_ref().take(7) {
                world.go(step);
            }
            let matching: Vec<RunId> = read(&engine, &filter).into_iter().map(|run| run.id).collect();
            let there: Vec<bool> = work.ids.iter().map(|&id| engine.run(id).is_ok()).collect();
            let before = work.done;
            let (changed, failed) = (work.changes.changed.len(), work.changes.failed.len());
            engine.call(|core| { work.step(core); Ok(()) }).unwrap();
            for (&id, &there) in work.ids.iter().zip(&there).take(work.done).skip(before) {
                let skipped = work.changes.skipped.iter().find(|skipped| skipped.0 == id).map(|skipped| skipped.1);
                let touched = work.changes.changed[changed..].contains(&id)
                    || work.changes.failed[failed..].iter().any(|failed| failed.0 == id);
                match skipped {
                    _ if !there => prop_assert_eq!(skipped, Some(Skipped::Gone)),
                    Some(Skipped::MatchesNoMore) => prop_assert!(!matching.contains(&id)),
                    Some(Skipped::Already) => prop_assert!(matching.contains(&id)),
                    // Retention can have taken it when a row before it in the step ended.
                    Some(Skipped::Gone) => prop_assert!(engine.run(id).is_err()),
                    _ => prop_assert!(matching.contains(&id) && touched),
                }
            }
            engine.check_invariants();
        }
    }
}

#[test]
fn f6_runs_that_hang_on_a_deployment_are_those_of_then_with_values_of_now() {
    let mut world = World::new();
    world.go(Step::Submit {
        deployment: 0,
        tag: 1,
        level: 1,
        later: false,
    });
    let engine = world.engine.clone();
    let filter = parse(
        Entity::Deployment,
        "any run where (place = ready and tags has 'a')",
    );
    let mut work = engine
        .begin_bulk(&filter, DeploymentChange::Pause, Bulk::new())
        .unwrap();
    assert_eq!(work.ids, [world.deployments[0]]);
    // The run is claimed before the deployment has its turn: the deployment matches no more.
    world.go(Step::Claim { begin: false });
    engine
        .call(|core| {
            work.step(core);
            Ok(())
        })
        .unwrap();
    assert_eq!(
        work.changes.skipped,
        [(world.deployments[0], Skipped::MatchesNoMore)]
    );
    assert!(!engine.deployment(world.deployments[0]).unwrap().paused);
}

#[test]
fn f6_f2_a_filter_in_which_something_is_ignored_changes_nothing() {
    let world = World::of(&[Step::Submit {
        deployment: 0,
        tag: 0,
        level: 1,
        later: false,
    }]);
    let before = everything(&world.engine);
    for body in [
        json!({"flow_run": {"name": {"any_": ["x"]}}}),
        json!({"flow_runs": {"state": {"type": {"any_": ["RUNNING"], "not_any_": ["FAILED"]}}}}),
        json!({"deployments": {"concurrency_limit": {"ge_": 3}}}),
    ] {
        let filter = Filter::from_json(Entity::Run, &body, &Limits::default()).unwrap();
        for how in [Bulk::new(), Bulk::new().atomic(), Bulk::new().dry_run()] {
            let error = world.engine.bulk(&filter, RunChange::Cancel, how).unwrap_err();
            assert!(
                matches!(&error, Error::Query(text) if text.contains("body.") && text.contains("changes nothing")),
                "{error}"
            );
        }
    }
    let filter = Filter::everything(Entity::Flow);
    let error = world
        .engine
        .bulk(&filter, RunChange::Cancel, Bulk::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the filter is about flows and the change about runs; give it a filter on runs"
    );
    assert_eq!(everything(&world.engine), before);
}

#[test]
fn f6_a_change_of_more_rows_than_allowed_is_refused_whole() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::builder().clock(clock).seed(1).build().unwrap();
    engine.flow("f").unwrap();
    for _ in 0..=MAX_ATOMIC / 500 {
        engine.submit_batch(vec![NewRun::of("f"); 500]).unwrap();
    }
    let all = Filter::everything(Entity::Run);
    let before = engine.snapshot();
    for (how, most) in [
        (Bulk::new().atomic(), MAX_ATOMIC),
        (Bulk::new().atomic().at_most(1_000_000), MAX_ATOMIC),
        (Bulk::new().at_most(50), 50),
    ] {
        let error = engine.bulk(&all, RunChange::Delete, how).unwrap_err();
        assert_eq!(
            error,
            Error::BulkSize {
                matched: 10_500,
                most
            }
        );
    }
    assert_eq!(engine.snapshot(), before);
    let done = engine.bulk(&all, RunChange::Delete, Bulk::new()).unwrap();
    assert_eq!((done.changed.len(), engine.snapshot().queued_tasks), (10_500, 0));
    assert!(engine.runs(&Query::new(all)).unwrap().results.is_empty());
    engine.check_invariants();
}

#[test]
fn f6_pools_and_queues_are_paused_and_resumed() {
    let engine = Engine::new();
    engine.create_pool(NewPool::named("gpu")).unwrap();
    engine.create_queue(NewQueue::named("gpu", "urgent")).unwrap();
    engine.create_pool(NewPool::named("cpu")).unwrap();
    let queues = parse(Entity::Queue, "pool.name = 'gpu'");
    let done = engine.bulk(&queues, QueueChange::Pause, Bulk::new()).unwrap();
    assert_eq!(done.changed.len(), 2);
    let again = engine.bulk(&queues, QueueChange::Pause, Bulk::new()).unwrap();
    assert!(again.changed.is_empty() && again.skipped.iter().all(|skipped| skipped.1 == Skipped::Already));
    engine
        .bulk(&queues, QueueChange::Resume, Bulk::new().atomic())
        .unwrap();
    let pools = parse(Entity::Pool, "name starts_with 'c'");
    engine.bulk(&pools, PoolChange::Pause, Bulk::new()).unwrap();
    let page = engine.pools(&Query::new(parse(Entity::Pool, "paused"))).unwrap();
    assert_eq!((page.count, page.results[0].name.as_str()), (1, "cpu"));
    engine.bulk(&pools, PoolChange::Resume, Bulk::new()).unwrap();
    engine.check_invariants();
}

#[test]
fn r2_a_forced_end_takes_the_run_from_its_worker() {
    let mut world = World::new();
    world.go(Step::Submit {
        deployment: 1,
        tag: 0,
        level: 1,
        later: false,
    });
    world.go(Step::Claim { begin: true });
    let (engine, claim, run) = (&world.engine, &world.claims[0], world.runs[0]);
    assert_eq!(
        engine.delete_run(run).unwrap_err().to_string(),
        format!("run {run} cannot be deleted: a worker has it; cancel it, and delete it when it has ended")
    );
    engine.call(|core| core.force(run, StateType::Failed)).unwrap();
    assert_eq!(claim.stop_reason(), Some(StopReason::Superseded));
    assert!(matches!(
        engine.complete(claim, Outcome::Completed(1.into())),
        Err(Error::StaleClaim { .. })
    ));
    assert_eq!(
        (engine.run(run).unwrap().place, engine.snapshot().processing_tasks),
        (Place::Finished, 0)
    );
    assert!(
        matches!(
            engine.call(|core| core.force(run, StateType::Completed)),
            Err(Error::Transition { .. })
        ),
        "terminal is final"
    );
    engine.delete_run(run).unwrap();
    assert!(matches!(engine.run(run), Err(Error::NotFound { .. })));
    engine.check_invariants();
}
