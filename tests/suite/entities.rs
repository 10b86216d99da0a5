//! Flows, deployments, pools and queues as entities: making, reading, changing and removing them.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};
use tenfold::filter::{Entity, Filter, Limits, Query};
use tenfold::model::{NewFlow, PoolPatch, PoolStatus, QueueFilter, QueuePatch};
use tenfold::{
    Claims, Engine, Error, NewDeployment, NewPool, NewQueue, NewRun, NewSchedule, Outcome, Schedule, Scope,
};

use crate::support::{START, engine, refused, says, still, take};

fn object(value: Json) -> tenfold::model::Object {
    match value {
        Json::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

#[track_caller]
fn count(engine: &Engine, entity: Entity, text: &str) -> u64 {
    let filter = Filter::parse(entity, text, DateTime::UNIX_EPOCH, &Limits::default()).unwrap();
    let query = Query::new(filter);
    match entity {
        Entity::Deployment => engine.deployments(&query).unwrap().count,
        Entity::Pool => engine.pools(&query).unwrap().count,
        Entity::Queue => engine.queues(&query).unwrap().count,
        Entity::Flow => engine.flows(&query).unwrap().count,
        _ => engine.runs(&query).unwrap().count,
    }
}

#[test]
fn a_new_deployment_reads_from_json_and_refuses_what_it_does_not_know() {
    let (engine, _) = engine();
    let document = json!({
        "flow": "report", "name": "nightly", "priority": 7, "tags": ["etl"], "concurrency_limit": 2,
        "parameters": {"day": "today"}, "paused": true, "timeout": 30.0,
        "schedules": [{"schedule": {"cron": "0 3 * * *", "timezone": "Europe/Oslo"}, "slug": "night"}],
    });
    let new: NewDeployment = serde_json::from_value(document.clone()).unwrap();
    let printed = serde_json::to_value(&new).unwrap();
    assert_eq!(serde_json::from_value::<NewDeployment>(printed).unwrap(), new);
    let made = engine.deploy(new).unwrap();
    assert_eq!(
        (made.priority.level(), made.paused, made.concurrency_limit),
        (7, true, Some(2))
    );
    assert_eq!(made.schedules[0].slug.as_deref(), Some("night"));
    for (key, value) in [
        ("prority", json!(7)),
        ("priority", json!(11)),
        ("concurrency_limit", json!(0)),
        ("schedules", json!([{"schedule": {"cron": "bad"}}])),
    ] {
        let mut wrong = document.clone();
        wrong[key] = value;
        assert!(serde_json::from_value::<NewDeployment>(wrong).is_err(), "{key}");
    }
}

#[test]
fn flows_are_made_once_and_deleted_with_all_that_is_theirs() {
    let (engine, _) = engine();
    let new = NewFlow::named("mail")
        .tag("x")
        .labels(object(json!({"team": "a"})));
    let flow = engine.create_flow(new.clone()).unwrap();
    let again = engine.create_flow(NewFlow::named("mail").tag("other")).unwrap();
    assert_eq!(again, flow, "the one that is there is answered as it is");
    engine.update_flow("mail", vec!["y".into()]).unwrap();
    assert_eq!(engine.flow_by_name("mail").unwrap().tags, ["y"]);
    assert_eq!(count(&engine, Entity::Flow, "tags has 'y'"), 1);

    let deployment = engine.deploy(NewDeployment::new("mail", "d")).unwrap().id;
    let other = engine.submit("f").unwrap().id;
    let claimed = engine
        .submit(NewRun::of("mail").priority(tenfold::Priority::MAX))
        .unwrap()
        .id;
    let waiting = engine.submit(deployment).unwrap().id;
    let claim = take(&engine);
    assert_eq!(claim.run(), claimed);
    let error = refused(&engine, |engine| engine.delete_flow("mail"));
    says(&error, &["flow \"mail\" cannot be deleted", "cancel its runs"]);
    engine.complete(&claim, Outcome::Completed(Json::Null)).unwrap();
    engine.delete_flow("mail").unwrap();
    for run in [claimed, waiting] {
        assert!(matches!(engine.run(run), Err(Error::NotFound { .. })));
    }
    assert!(engine.deployment(deployment).is_err() && engine.flow_by_name("mail").is_err());
    assert_eq!(take(&engine).run(), other, "the runs of other flows go on");
    assert_eq!(engine.create_flow(new).unwrap().tags, ["x"], "the name is free");
}

#[test]
fn pools_and_queues_are_read_changed_and_deleted() {
    let (engine, _) = engine();
    engine
        .create_pool(
            NewPool::named("gpu")
                .description("big")
                .kind("process")
                .concurrency_limit(4),
        )
        .unwrap();
    engine
        .create_queue(NewQueue::named("gpu", "q").description("first"))
        .unwrap();
    let pool = engine.pool("gpu").unwrap();
    assert_eq!(
        (pool.description.as_deref(), &*pool.kind, pool.concurrency_limit),
        (Some("big"), "process", Some(4))
    );
    assert_eq!(
        pool.default_queue_id,
        Some(engine.queue("gpu", "default").unwrap().id)
    );
    let template = object(json!({"job_configuration": {}, "variables": {}}));
    let patch = PoolPatch::new()
        .description(None)
        .base_job_template(template.clone())
        .concurrency_limit(None)
        .paused(true);
    engine.update_pool("gpu", patch).unwrap();
    let pool = engine.pool("gpu").unwrap();
    assert_eq!(
        (pool.description, pool.base_job_template, pool.concurrency_limit),
        (None, template, None)
    );
    assert_eq!(pool.status, Some(PoolStatus::Paused));
    engine.update_pool("gpu", PoolPatch::new().paused(false)).unwrap();
    let half = PoolPatch::new().base_job_template(object(json!({"variables": {}})));
    says(
        &refused(&engine, |engine| engine.update_pool("gpu", half)),
        &["base_job_template", "job_configuration"],
    );

    let deployment = engine
        .deploy(NewDeployment::new("f", "d").work_queue("gpu", "q"))
        .unwrap()
        .id;
    let run = engine.submit(deployment).unwrap().id;
    says(
        &refused(&engine, |engine| engine.delete_queue("gpu", "q")),
        &["work queue \"q\" cannot be deleted", "has not ended"],
    );
    says(
        &refused(&engine, |engine| engine.delete_pool("gpu")),
        &["work pool \"gpu\" cannot be deleted"],
    );
    says(
        &refused(&engine, |engine| engine.delete_queue("gpu", "default")),
        &["cannot be deleted"],
    );
    engine.cancel(run).unwrap();
    engine.delete_queue("gpu", "q").unwrap();
    let moved = engine.deployment(deployment).unwrap();
    assert_eq!(
        moved.work_queue_id,
        Some(engine.queue("gpu", "default").unwrap().id)
    );
    assert_eq!(
        (moved.work_pool_name.as_deref(), moved.work_queue_name.as_deref()),
        (Some("gpu"), None)
    );
    assert_eq!(
        engine.run(run).unwrap().work_queue_name.as_deref(),
        Some("q"),
        "records keep the name"
    );
    let claimable = engine.submit(deployment).unwrap().id;
    assert_eq!(
        engine
            .claim(&Scope::queue("gpu", "default"))
            .unwrap()
            .unwrap()
            .run(),
        claimable
    );
    says(
        &refused(&engine, |engine| engine.delete_pool("gpu")),
        &["has not ended"],
    );
    engine.cancel(claimable).unwrap();
    // The number of the deleted queue goes to a new one, in which nothing is left of the old.
    engine.create_queue(NewQueue::named("gpu", "new")).unwrap();
    let fresh = engine
        .submit(NewRun::of("f").work_queue("gpu", "new"))
        .unwrap()
        .id;
    assert_eq!(
        engine.claim(&Scope::queue("gpu", "new")).unwrap().unwrap().run(),
        fresh
    );
    let document = serde_json::to_string(&engine.export().unwrap()).unwrap();
    Engine::builder()
        .import(serde_json::from_str(&document).unwrap(), Claims::Keep)
        .unwrap();
}

#[test]
fn a_deleted_pool_leaves_its_deployments_in_the_default_one() {
    let (engine, _) = engine();
    engine.create_pool(NewPool::named("edge")).unwrap();
    let new = NewDeployment::new("f", "d").work_queue("edge", "default");
    let deployment = engine.deploy(new).unwrap().id;
    engine.delete_pool("edge").unwrap();
    assert!(engine.pool("edge").is_err());
    says(
        &refused(&engine, |engine| engine.delete_pool("edge")),
        &["there is no work pool"],
    );
    let run = engine.submit(deployment).unwrap().id;
    assert_eq!(
        engine
            .claim(&Scope::queue("default", "default"))
            .unwrap()
            .unwrap()
            .run(),
        run
    );
    says(
        &refused(&engine, |engine| engine.delete_pool("default")),
        &["cannot be deleted"],
    );
    engine.create_pool(NewPool::named("edge")).unwrap();
}

#[test]
fn who_is_asked_for_work_is_ready_for_a_minute() {
    use PoolStatus::{NotReady, Paused, Ready};
    let (engine, clock) = engine();
    engine.create_pool(NewPool::named("gpu")).unwrap();
    engine.create_queue(NewQueue::named("gpu", "a")).unwrap();
    engine.create_queue(NewQueue::named("gpu", "b")).unwrap();
    let deployment = engine
        .deploy(NewDeployment::new("f", "d").work_queue("gpu", "a"))
        .unwrap()
        .id;
    let statuses = || {
        (
            engine.deployment(deployment).unwrap().status,
            engine.pool("gpu").unwrap().status.unwrap(),
            engine.queue("gpu", "a").unwrap().status.unwrap(),
            engine.queue("gpu", "b").unwrap().status.unwrap(),
        )
    };
    assert_eq!(statuses(), (NotReady, NotReady, NotReady, NotReady));
    assert_eq!(count(&engine, Entity::Queue, "last_polled is null"), 3);
    assert!(engine.claim(&Scope::queue("gpu", "a")).unwrap().is_err());
    assert_eq!(statuses(), (Ready, Ready, Ready, NotReady));
    assert_eq!(
        engine.queue("gpu", "a").unwrap().last_polled,
        Some(START.parse().unwrap())
    );
    assert_eq!(
        count(
            &engine,
            Entity::Deployment,
            "status = READY and last_polled is not null"
        ),
        1
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(statuses(), (Ready, Ready, Ready, NotReady));
    clock.advance(Duration::from_micros(1));
    assert_eq!(statuses(), (NotReady, NotReady, NotReady, NotReady));
    assert!(engine.claim(&Scope::all()).unwrap().is_err());
    assert_eq!(statuses(), (Ready, Ready, Ready, Ready));
    engine.pause_queue("gpu", "b").unwrap();
    engine.pause_pool("gpu").unwrap();
    assert_eq!(statuses(), (Ready, Paused, Ready, Paused));
    assert_eq!(count(&engine, Entity::Pool, "status = PAUSED"), 1);
    // It moves with the engine.
    let document = engine.export().unwrap();
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(document, Claims::Keep)
        .unwrap();
    assert_eq!(
        moved.queue("gpu", "a").unwrap(),
        engine.queue("gpu", "a").unwrap()
    );
    // A queue made after everything was asked was not asked.
    clock.advance(Duration::from_secs(1));
    engine.create_queue(NewQueue::named("gpu", "c")).unwrap();
    assert_eq!(engine.queue("gpu", "c").unwrap().last_polled, None);
}

#[test]
fn a_queue_says_which_deployments_it_is_meant_for() {
    let (engine, _) = engine();
    let deployment = engine
        .deploy(NewDeployment::new("f", "d").tag("x").tag("y"))
        .unwrap()
        .id;
    let other = engine.deploy(NewDeployment::new("f", "e")).unwrap().id;
    engine.create_pool(NewPool::named("p")).unwrap();
    let tagged = QueueFilter {
        tags: Some(vec!["x".into()]),
        deployment_ids: None,
    };
    engine
        .create_queue(NewQueue::named("p", "tagged").filter(tagged))
        .unwrap();
    engine.create_queue(NewQueue::named("p", "plain")).unwrap();
    engine.create_queue(NewQueue::named("p", "named")).unwrap();
    let named = QueueFilter {
        tags: None,
        deployment_ids: Some(vec![other]),
    };
    engine
        .update_queue("p", "named", QueuePatch::new().filter(Some(named)))
        .unwrap();
    let check = |id| -> Vec<String> {
        let queues = engine.work_queue_check(id).unwrap();
        queues.into_iter().map(|queue| queue.name.to_string()).collect()
    };
    assert_eq!(check(deployment), ["tagged"]);
    assert_eq!(check(other), ["named"]);
}

#[test]
fn schedules_are_listed_the_latest_changed_first() {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    let anchor: DateTime<Utc> = START.parse().unwrap();
    let every = |hours| Schedule::interval(TimeDelta::hours(hours), anchor, "UTC").unwrap();
    let deployment = engine
        .deploy(NewDeployment::new("f", "d").schedule(every(1)).schedule(every(2)))
        .unwrap();
    clock.advance(Duration::from_secs(1));
    let [first, second] = [0, 1].map(|at| deployment.schedules[at].id);
    let patch = tenfold::model::SchedulePatch::new().max_scheduled_runs(NonZeroU32::new(2));
    engine.update_schedule(deployment.id, second, patch).unwrap();
    let ids: Vec<_> = engine
        .schedules(deployment.id)
        .unwrap()
        .iter()
        .map(|held| held.id)
        .collect();
    assert_eq!(ids, [second, first]);
    let slug = NewSchedule::new(every(3)).slug("x");
    engine.add_schedules(deployment.id, vec![slug.clone()]).unwrap();
    let error = refused(&engine, |engine| engine.add_schedules(deployment.id, vec![slug]));
    says(&error, &["the slug \"x\" is that of schedule 2 already"]);
    let error = refused(&engine, |engine| {
        engine.add_schedules(deployment.id, vec![every(1).into(); 98])
    });
    says(&error, &["at most 100 schedules"]);
}

#[test]
fn texts_and_objects_are_bounded() {
    let (engine, _) = engine();
    let long = "x".repeat(10_001);
    let large = object(json!({"x": "y".repeat(600_000)}));
    for new in [
        NewDeployment::new("f", "d").description(long.as_str()),
        NewDeployment::new("f", "d").version(long.as_str()),
        NewDeployment::new("f", "d").path(long.as_str()),
        NewDeployment::new("f", "d").entrypoint(long.as_str()),
        NewDeployment::new("f", "d").job_variables(large.clone()),
        NewDeployment::new("f", "d").pull_steps(vec![large.clone()]),
        NewDeployment::new("f", "d").pull_steps(vec![object(json!({})); 101]),
        NewDeployment::new("f", "d")
            .parameter_schema(large)
            .enforce_parameter_schema(false),
    ] {
        let error = refused(&engine, |engine| engine.upsert(new));
        assert!(
            matches!(error, Error::Invalid(_)) && error.to_string().len() < 500,
            "{error}"
        );
    }
    for name in ["", " ", "'\"", "a/b"] {
        let error = refused(&engine, |engine| engine.create_pool(NewPool::named(name)));
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    let filter = QueueFilter {
        tags: Some(vec!["x".into(); 101]),
        deployment_ids: None,
    };
    refused(&engine, |engine| {
        engine.update_queue("default", "default", QueuePatch::new().filter(Some(filter)))
    });
}

#[test]
fn a_schema_is_enforced_with_the_feature_and_refused_without() {
    let (engine, _) = engine();
    let schema = object(json!({
        "type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "minimum": 1}, "next": {"$ref": "#/$defs/tree"}},
        "$defs": {"tree": {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree"}}}},
    }));
    let kept = NewDeployment::new("f", "kept")
        .parameter_schema(schema.clone())
        .enforce_parameter_schema(false);
    let kept = engine.deploy(kept).unwrap();
    assert_eq!(kept.parameter_openapi_schema.as_ref(), Some(&schema));
    engine.submit(kept.id).unwrap();
    let new = NewDeployment::new("f", "checked").parameter_schema(schema);
    if !cfg!(feature = "schema") {
        says(
            &refused(&engine, |engine| engine.deploy(new)),
            &["enforce_parameter_schema", "feature `schema`"],
        );
        return;
    }
    let wrong = new.clone().parameters(object(json!({"n": "x"})));
    says(
        &refused(&engine, |engine| engine.deploy(wrong)),
        &["parameters", "make them fit"],
    );
    let id = engine.deploy(new).unwrap().id;
    says(
        &refused(&engine, |engine| engine.submit(id)),
        &["parameters", "is a required property"],
    );
    says(
        &refused(&engine, |engine| engine.submit(NewRun::of(id).parameter("n", 0))),
        &["/n", "minimum"],
    );
    let deep = json!({"next": {"next": {"next": {}}}});
    engine
        .submit(NewRun::of(id).parameter("n", 1).parameter("next", deep))
        .unwrap();
    for hostile in [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"allOf": [{"$ref": "http://nowhere.invalid/schema.json"}]}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"type": 7}),
        json!({"pattern": "("}),
        json!({"properties": {"x": {"pattern": "["}}}),
    ] {
        let new = NewDeployment::new("f", "hostile").parameter_schema(object(hostile.clone()));
        let error = refused(&engine, |engine| engine.deploy(new));
        assert!(matches!(error, Error::Invalid(_)), "{hostile}: {error}");
    }
}

#[test]
fn scheduled_runs_of_deployments_are_listed_and_claims_too() {
    let (engine, _) = engine();
    let anchor: DateTime<Utc> = START.parse().unwrap();
    let every = Schedule::interval(TimeDelta::hours(1), anchor, "UTC").unwrap();
    let first = engine
        .deploy(NewDeployment::new("f", "a").schedule(every))
        .unwrap()
        .id;
    let second = engine.deploy(NewDeployment::new("f", "b")).unwrap().id;
    let manual = engine.submit(second).unwrap().id;
    let claim = take(&engine);
    let soon = Some(anchor + TimeDelta::hours(2));
    let starts = |ids: &[_], before, most| -> Vec<_> {
        let runs = engine.scheduled_runs(ids, before, most).unwrap();
        runs.into_iter()
            .map(|run| run.next_scheduled_start_time.unwrap())
            .collect()
    };
    assert!(starts(&[], None, 10).is_empty());
    let hour = |n| anchor + TimeDelta::hours(n);
    assert_eq!(
        starts(&[first, second, first], soon, 10),
        [hour(0), hour(1), hour(2)]
    );
    assert_eq!(starts(&[first], None, 1).len(), 1);
    assert_eq!(engine.deployment(second).unwrap().status, PoolStatus::Ready);
    let nobody = "00000000-0000-4000-8000-000000000001".parse().unwrap();
    says(
        &refused(&engine, |engine| engine.scheduled_runs(&[first, nobody], None, 1)),
        &["no deployment"],
    );
    let claims = engine.claims().unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].run(), claims[0].token()), (claim.run(), claim.token()));
    let _ = manual;
}

#[test]
fn labels_of_a_flow_lie_under_those_of_its_deployments_and_runs() {
    let (engine, _) = engine();
    let labels = |value: Json| object(value);
    engine
        .create_flow(NewFlow::named("mail").labels(labels(json!({"a": 1, "b": 1, "c": 1}))))
        .unwrap();
    let deployment = engine
        .deploy(NewDeployment::new("mail", "d").labels(labels(json!({"b": 2, "c": 2}))))
        .unwrap();
    assert_eq!(deployment.labels, labels(json!({"b": 2, "c": 2})));
    let run = engine
        .submit(NewRun::of(deployment.id).labels(labels(json!({"c": 3}))))
        .unwrap()
        .id;
    let (flow, own) = (deployment.flow_id.to_string(), deployment.id.to_string());
    assert_eq!(
        engine.run(run).unwrap().labels,
        labels(json!({"a": 1, "b": 2, "c": 3, "prefect.flow.id": flow, "prefect.deployment.id": own}))
    );
    let run = NewRun::of("mail").labels(labels(json!({"prefect.flow.id": "mine"})));
    let run = engine.submit(run).unwrap().id;
    assert_eq!(
        engine.run(run).unwrap().labels,
        labels(json!({"a": 1, "b": 1, "c": 1, "prefect.flow.id": "mine"})),
        "the later wins"
    );
}

#[test]
fn a_run_keeps_its_context_and_job_variables() {
    let (engine, _) = engine();
    let (context, variables) = (
        object(json!({"asked by": "ana"})),
        object(json!({"memory": "2Gi"})),
    );
    let new = NewRun::of("f")
        .context(context.clone())
        .job_variables(variables.clone());
    let id = engine.submit(new.clone().idempotency_key("k")).unwrap().id;
    let moved = Engine::builder()
        .import(engine.export().unwrap(), tenfold::Claims::Keep)
        .unwrap();
    for engine in [&engine, &moved] {
        let run = engine.run(id).unwrap();
        assert_eq!((&run.context, &run.job_variables), (&context, &variables));
        let read: tenfold::Run = serde_json::from_value(serde_json::to_value(&run).unwrap()).unwrap();
        assert_eq!(read, run);
    }
    // They are content: with another one it is another run.
    let other = new
        .clone()
        .context(tenfold::model::Object::new())
        .idempotency_key("k");
    assert!(matches!(engine.submit(other), Err(Error::KeyConflict { .. })));
    let large = object(json!({"x": "y".repeat(1 << 20)}));
    says(
        &refused(&engine, |engine| {
            engine.submit(new.clone().context(large.clone()))
        }),
        &["context", "524,288"],
    );
    says(
        &refused(&engine, |engine| engine.submit(new.job_variables(large))),
        &["job_variables"],
    );
}

#[test]
fn names_of_the_references_own_pools_are_reserved() {
    let (engine, _) = engine();
    for name in ["prefect-agent", "PREFECT", "Prefect:x"] {
        says(
            &refused(&engine, |engine| engine.create_pool(NewPool::named(name))),
            &["begin with `prefect`"],
        );
    }
    engine.create_pool(NewPool::named("pre")).unwrap();
    let at = "2026-01-01T00:00:00Z";
    let own = json!({"work_pools": [{"id": "11111111-2222-4333-8444-555555555555", "created": at, "updated": at,
                                     "name": "prefect-own", "type": "process"}]});
    engine.load_records(&own).unwrap();
    refused(&engine, |engine| engine.delete_pool("prefect-own"));
    let patch = PoolPatch::new().description(None);
    refused(&engine, |engine| engine.update_pool("prefect-own", patch));
    engine
        .update_pool(
            "prefect-own",
            PoolPatch::new().paused(true).concurrency_limit(Some(1)),
        )
        .unwrap();
}
