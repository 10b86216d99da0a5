//! The reference's checklist (its section 11) by number, as far as it is about filters and entities. `S` in a name says that the
//! answer is ours and not the reference's, and the test says why.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};
use tenfold::clock::ManualClock;
use tenfold::filter::{Entity, Filter, Limits, Query, Shape, SortKey};
use tenfold::model::{QueuePatch, SchedulePatch, StateType};
use tenfold::{
    Deployment, DeploymentPatch, Engine, Error, NewDeployment, NewPool, NewQueue, NewRun, NewSchedule,
    Outcome, Priority, Retry, Run, RunId, Schedule,
};

use crate::support::{START, engine, still, take};

fn object(value: Json) -> tenfold::model::Object {
    match value {
        Json::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

/// The four deployments of the filter lines.
fn four() -> Engine {
    let (engine, _) = engine();
    engine
        .deploy(NewDeployment::new("f", "d_one").tag("t1").tag("t2"))
        .unwrap();
    engine.deploy(NewDeployment::new("f", "dXone")).unwrap();
    engine
        .deploy(NewDeployment::new("f", "D_ONE_caps").tag("t1"))
        .unwrap();
    engine.deploy(NewDeployment::new("f", "")).unwrap();
    engine
}

fn json_query(body: &Json) -> Query {
    Query::from_json(Entity::Deployment, Shape::Paginate, body, &Limits::default())
        .unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[track_caller]
fn names(engine: &Engine, filter: &Json) -> Vec<String> {
    let page = engine
        .deployments(&json_query(&json!({"deployments": filter})))
        .unwrap();
    page.results.iter().map(|held| held.name.to_string()).collect()
}

#[track_caller]
fn text_names(engine: &Engine, text: &str) -> Vec<String> {
    let filter = Filter::parse(Entity::Deployment, text, DateTime::UNIX_EPOCH, &Limits::default()).unwrap();
    let page = engine.deployments(&Query::new(filter)).unwrap();
    page.results.iter().map(|held| held.name.to_string()).collect()
}

const ALL: [&str; 4] = ["", "D_ONE_caps", "dXone", "d_one"];

#[test]
fn line_1_s_an_underscore_is_a_wildcard_in_json_and_itself_in_text() {
    let engine = four();
    assert_eq!(
        names(&engine, &json!({"name": {"like_": "d_one"}})),
        ["D_ONE_caps", "dXone", "d_one"]
    );
    assert_eq!(
        text_names(&engine, "name contains 'd_one'"),
        ["D_ONE_caps", "d_one"]
    );
}

#[test]
fn lines_2_to_7_empty_lists_and_tags() {
    let engine = four();
    let none: [&str; 0] = [];
    assert_eq!(names(&engine, &json!({"name": {"like_": ""}})), ALL);
    assert_eq!(names(&engine, &json!({"name": {"any_": []}})), none);
    assert_eq!(names(&engine, &json!({"id": {"not_any_": []}})), ALL);
    assert_eq!(names(&engine, &json!({"tags": {"all_": []}})), ALL);
    assert_eq!(names(&engine, &json!({"tags": {"any_": []}})), none);
    assert_eq!(
        names(&engine, &json!({"tags": {"any_": ["t2", "zz"]}})),
        ["d_one"]
    );
}

#[test]
fn lines_8_and_9_s_or() {
    let engine = four();
    let or = json!({"operator": "or_", "name": {"any_": ["dXone"]}, "tags": {"all_": ["t2"]}});
    assert_eq!(names(&engine, &or), ["dXone", "d_one"]);
    // The compatible form keeps the reference's TRUE; the text form has no criterion that says nothing.
    assert_eq!(
        names(
            &engine,
            &json!({"operator": "or_", "name": {}, "tags": {"all_": ["t2"]}})
        ),
        ALL
    );
}

#[test]
fn lines_10_to_13_keys() {
    let engine = four();
    let read = |body: Json| Query::from_json(Entity::Deployment, Shape::Paginate, &body, &Limits::default());
    for body in [
        json!({"deployments": {"nam": {}}}),
        json!({"deployments": {"name": {"foo_": 1}}}),
        json!({"deployments": {"operator": "AND"}}),
    ] {
        assert!(read(body.clone()).is_err(), "{body}");
    }
    let ignored = read(json!({"work_queues": {"name": {"any_": ["x"]}}})).unwrap();
    let page = engine.deployments(&ignored).unwrap();
    assert_eq!(
        (page.count, page.notices.len()),
        (4, 1),
        "answered as the reference does, with a notice"
    );
    assert_eq!(
        engine
            .deployments(&read(json!({"flow_runs": {}})).unwrap())
            .unwrap()
            .count,
        0
    );
}

#[test]
fn lines_14_to_17_limits_and_pages() {
    let engine = four();
    let page = engine.deployments(&json_query(&json!({"limit": 0}))).unwrap();
    assert_eq!(
        (page.results.len(), page.count, page.pages, page.page),
        (0, 4, 0, Some(1))
    );
    let page = engine
        .deployments(&json_query(&json!({"limit": 2, "page": 99})))
        .unwrap();
    assert_eq!(
        (page.results.len(), page.count, page.pages, page.page),
        (0, 4, 2, Some(99))
    );
    let read = |shape, body: &Json| Query::from_json(Entity::Deployment, shape, body, &Limits::default());
    for body in [
        json!({"limit": -1}),
        json!({"limit": 201}),
        json!({"limit": 5.5}),
        json!({"page": 0}),
    ] {
        assert!(read(Shape::Paginate, &body).is_err(), "{body}");
    }
    assert!(read(Shape::Filter, &json!({"offset": -1})).is_err());
    for body in [
        json!({"limit": "5"}),
        json!({"limit": 5.0}),
        json!({"page": null}),
        Json::Null,
    ] {
        assert!(read(Shape::Paginate, &body).is_ok(), "{body}");
    }
}

/// The five runs of the filter lines, as records.
fn five() -> Engine {
    let (engine, _) = engine();
    let flow = "00000000-0000-4000-8000-00000000000f";
    let run = |n: u32, name: &str, state: &str, expected: &str, start: Json, next: Json| {
        json!({
            "id": format!("00000000-0000-4000-8000-{n:012}"), "created": START, "updated": START, "name": name,
            "flow_id": flow, "state_type": state, "state_name": state, "expected_start_time": expected,
            "start_time": start, "next_scheduled_start_time": next,
        })
    };
    let (now, null) = (json!("2026-01-01T00:00:00Z"), Json::Null);
    let document = json!({
        "flows": [{"id": flow, "created": START, "updated": START, "name": "recorded"}],
        "flow_runs": [
            run(1, "sched", "SCHEDULED", "2031-01-01T00:00:00Z", null.clone(), json!("2031-01-01T00:00:00Z")),
            run(2, "late", "SCHEDULED", "2021-01-01T00:00:00Z", null.clone(), json!("2021-01-01T00:00:00Z")),
            run(3, "run", "RUNNING", START, now.clone(), null.clone()),
            run(4, "done", "COMPLETED", START, now.clone(), null.clone()),
            run(5, "fail", "FAILED", START, now, null),
        ],
    });
    engine.load_records(&document).unwrap();
    engine
}

#[test]
fn lines_18_to_22_runs() {
    let engine = five();
    let ask = |filter: Json| -> Vec<String> {
        let body = json!({"flow_runs": filter, "sort": "NAME_ASC"});
        let query = Query::from_json(Entity::Run, Shape::Filter, &body, &Limits::default()).unwrap();
        let page = engine.runs(&query).unwrap();
        page.results.iter().map(|run| run.name.to_string()).collect()
    };
    assert_eq!(
        ask(json!({"start_time": {"before_": "2022-01-01T00:00:00Z"}})),
        ["late"]
    );
    assert_eq!(
        ask(json!({"start_time": {"after_": "2030-01-01T00:00:00Z"}})),
        ["sched"]
    );
    assert_eq!(ask(json!({"start_time": {"is_null_": true}})), ["late", "sched"]);
    // (S) the compatible form drops both, as the reference does, and says so.
    let both = json!({"state": {"type": {"any_": ["RUNNING", "COMPLETED"], "not_any_": ["RUNNING"]}}});
    assert_eq!(ask(both.clone()).len(), 5);
    let read = Filter::from_json(Entity::Run, &json!({"flow_runs": both}), &Limits::default()).unwrap();
    assert_eq!(read.notices().len(), 1);
    let clean = "state_type in [RUNNING, COMPLETED] and state_type none_of [RUNNING]";
    let clean = Filter::parse(Entity::Run, clean, DateTime::UNIX_EPOCH, &Limits::default()).unwrap();
    assert_eq!(engine.runs(&Query::new(clean)).unwrap().results[0].name, "done");
    assert_eq!(
        ask(json!({"next_scheduled_start_time": {"before_": "2021-01-01T00:00:00Z"}})),
        ["late"]
    );
}

#[test]
fn line_48_queue_numbers() {
    let (engine, _) = engine();
    let number = |n| NonZeroU32::new(n).unwrap();
    let order = || -> Vec<(String, u32)> {
        let key = SortKey::ascending(tenfold::filter::Field::QueuePriority);
        let all = Query::new(Filter::everything(Entity::Queue))
            .sorted_by([key])
            .unwrap();
        let page = engine.queues(&all).unwrap();
        page.results
            .iter()
            .map(|queue| (queue.name.to_string(), queue.priority.get()))
            .collect()
    };
    let is = |expected: &[(&str, u32)]| {
        let expected: Vec<(String, u32)> = expected.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
        assert_eq!(order(), expected);
    };
    engine.create_pool(NewPool::named("p")).unwrap();
    is(&[("default", 1)]);
    engine
        .create_queue(NewQueue::named("p", "hi").priority(number(1)))
        .unwrap();
    is(&[("hi", 1), ("default", 2)]);
    engine
        .create_queue(NewQueue::named("p", "mid").priority(number(5)))
        .unwrap();
    engine.create_queue(NewQueue::named("p", "auto")).unwrap();
    engine.create_queue(NewQueue::named("p", "auto2")).unwrap();
    is(&[("hi", 1), ("default", 2), ("auto", 3), ("auto2", 4), ("mid", 5)]);
    engine
        .update_queue("p", "auto2", QueuePatch::new().priority(number(1)))
        .unwrap();
    is(&[("auto2", 1), ("hi", 2), ("default", 3), ("auto", 4), ("mid", 5)]);
    engine
        .update_queue("p", "mid", QueuePatch::new().priority(number(2)))
        .unwrap();
    is(&[("auto2", 1), ("mid", 2), ("hi", 3), ("default", 4), ("auto", 5)]);
    engine.delete_queue("p", "hi").unwrap();
    is(&[("auto2", 1), ("mid", 2), ("default", 4), ("auto", 5)]);
}

fn hourly() -> Schedule {
    Schedule::interval(TimeDelta::hours(1), START.parse().unwrap(), "UTC").unwrap()
}

fn half_past() -> Schedule {
    let anchor: DateTime<Utc> = "2026-01-01T00:30:00Z".parse().unwrap();
    Schedule::interval(TimeDelta::hours(1), anchor, "UTC").unwrap()
}

/// A deployment with two schedules half an hour after its making, and one run of each sort that the matrix tells apart.
struct Matrix {
    engine: Engine,
    deployment: Deployment,
    /// Made by the first schedule, due and not claimed.
    late: RunId,
    manual: RunId,
    manual_later: RunId,
    /// Failed once, waits for its second attempt.
    retrying: RunId,
    /// Planned by the first schedule, and by the second.
    planned: [Vec<RunId>; 2],
}

fn runs(engine: &Engine) -> Vec<Run> {
    let key = SortKey::ascending(tenfold::filter::Field::RunExpectedStartTime);
    let all = Query::new(Filter::everything(Entity::Run))
        .sorted_by([key])
        .unwrap();
    engine.runs(&all).unwrap().results
}

impl Matrix {
    fn new() -> Self {
        let (builder, clock) = still();
        let engine = builder.build().unwrap();
        let deployment = engine
            .deploy(
                NewDeployment::new("f", "d")
                    .schedule(NewSchedule::new(hourly()).slug("full"))
                    .schedule(NewSchedule::new(half_past()).slug("half"))
                    .retry(Retry::fixed(1, Duration::from_secs(100_000))),
            )
            .unwrap();
        clock.advance(Duration::from_secs(60));
        // The occurrence of the very start is claimed and fails; it waits for its retry.
        let claim = take(&engine);
        let retrying = claim.run();
        engine.begin(&claim).unwrap();
        engine.complete(&claim, Outcome::failed("once")).unwrap();
        clock.advance(Duration::from_secs(3_540));
        let manual = engine.submit(deployment.id).unwrap().id;
        let later = engine.now().unwrap() + TimeDelta::days(1);
        let manual_later = engine
            .submit(NewRun::of(deployment.id).not_before(later))
            .unwrap()
            .id;
        let schedule_of = |run: &Run| run.created_by.as_ref().and_then(|by| by.id);
        let all = runs(&engine);
        let [full, half] = [0, 1].map(|at| deployment.schedules[at].id.uuid());
        let planned = |of| {
            all.iter()
                .filter(|run| schedule_of(run) == Some(of) && run.place == tenfold::model::Place::Scheduled)
                .map(|run| run.id)
                .filter(|id| *id != retrying)
                .collect::<Vec<_>>()
        };
        let late = all
            .iter()
            .find(|run| {
                run.auto_scheduled
                    && run.place == tenfold::model::Place::Ready
                    && schedule_of(run) == Some(full)
            })
            .expect("one is due")
            .id;
        Self {
            late,
            manual,
            manual_later,
            retrying,
            planned: [planned(full), planned(half)],
            engine,
            deployment,
        }
    }

    /// Which of the runs are still there and waiting.
    fn survives(&self, run: RunId) -> bool {
        self.engine
            .run(run)
            .is_ok_and(|run| run.state_type == Some(StateType::Scheduled))
    }

    /// late, manual, manual later, retrying, planned by the first, planned by the second.
    fn survivors(&self) -> [bool; 6] {
        let all = |runs: &[RunId]| {
            assert!(runs.len() > 1, "some are planned");
            let left = runs.iter().filter(|&&run| self.survives(run)).count();
            assert!(left == 0 || left == runs.len(), "all or none of a schedule's");
            left > 0
        };
        [
            self.survives(self.late),
            self.survives(self.manual),
            self.survives(self.manual_later),
            self.survives(self.retrying),
            all(&self.planned[0]),
            all(&self.planned[1]),
        ]
    }
}

#[test]
fn line_56_s_an_occurrence_called_off_or_deleted_is_not_made_again() {
    let matrix = Matrix::new();
    let engine = &matrix.engine;
    let [cancelled, deleted, ..] = matrix.planned[0][..] else {
        panic!("two are planned")
    };
    let at = |id| engine.run(id).unwrap().expected_start_time.unwrap();
    let instants = [at(cancelled), at(deleted)];
    engine.cancel(cancelled).unwrap();
    engine.delete_run(deleted).unwrap();
    // The reference makes the deleted one again; here a key is used for good (R4).
    let patch = DeploymentPatch::new().parameters(object(json!({"n": 1})));
    engine.update_deployment(matrix.deployment.id, patch).unwrap();
    let full = matrix.deployment.schedules[0].id.uuid();
    let again = runs(engine).into_iter().filter(|run| {
        run.created_by.as_ref().and_then(|by| by.id) == Some(full)
            && run.id != cancelled
            && run.expected_start_time.is_some_and(|at| instants.contains(&at))
    });
    assert_eq!(again.count(), 0);
}

#[test]
fn line_57_s_what_changes_take_back() {
    type Act = fn(&Matrix) -> Result<(), Error>;
    let acts: [(&str, Act, [bool; 6]); 9] = [
        // (S) the reference takes all planned runs back at any patch; here only what looks different is planned again.
        (
            "an empty patch",
            |m| {
                m.engine
                    .update_deployment(m.deployment.id, DeploymentPatch::new())
                    .map(drop)
            },
            [true; 6],
        ),
        (
            "a patch that changes runs",
            |m| {
                m.engine
                    .update_deployment(m.deployment.id, DeploymentPatch::new().priority(Priority::MAX))
                    .map(drop)
            },
            [true, true, true, true, false, false],
        ),
        // (S) by schedule, where the reference takes back those of all.
        (
            "a patch of one schedule",
            |m| {
                let patch = SchedulePatch::new().parameters(object(json!({"n": 1})));
                m.engine
                    .update_schedule(m.deployment.id, m.deployment.schedules[0].id, patch)
                    .map(drop)
            },
            [true, true, true, true, false, true],
        ),
        (
            "pause",
            |m| m.engine.pause_deployment(m.deployment.id).map(drop),
            [false, true, true, true, false, false],
        ),
        // (S) one code path: the patch does what `pause_deployment` does.
        (
            "a patch that pauses",
            |m| {
                m.engine
                    .update_deployment(m.deployment.id, DeploymentPatch::new().paused(true))
                    .map(drop)
            },
            [false, true, true, true, false, false],
        ),
        // (S) by schedule.
        (
            "removal of a schedule",
            |m| {
                m.engine
                    .delete_schedule(m.deployment.id, m.deployment.schedules[0].id)
                    .map(drop)
            },
            [false, true, true, true, false, true],
        ),
        // (S) what waits for a slot, or for its retry, is called off too.
        (
            "delete",
            |m| m.engine.delete_deployment(m.deployment.id).map(drop),
            [false; 6],
        ),
        (
            "a new schedule",
            |m| {
                m.engine
                    .add_schedules(m.deployment.id, vec![NewSchedule::new(hourly()).slug("more")])
                    .map(drop)
            },
            [true; 6],
        ),
        (
            "resume",
            |m| m.engine.resume_deployment(m.deployment.id).map(drop),
            [true; 6],
        ),
    ];
    for (name, act, expected) in acts {
        let matrix = Matrix::new();
        assert_eq!(matrix.survivors(), [true; 6], "before {name}");
        act(&matrix).unwrap();
        assert_eq!(matrix.survivors(), expected, "{name}");
    }
}

#[test]
fn line_58_upsert() {
    let (engine, clock): (Engine, ManualClock) = engine();
    let full = NewDeployment::new("f", "d")
        .version("1")
        .description("text")
        .priority(Priority::MAX)
        .tag("t")
        .labels(object(json!({"team": "a"})))
        .parameters(object(json!({"x": 1})))
        .job_variables(object(json!({"cpu": 2})))
        .concurrency_limit(NonZeroU32::new(3).unwrap())
        .path("/srv")
        .paused()
        .schedule(NewSchedule::new(hourly()).slug("full"))
        .schedule(NewSchedule::new(half_past()).slug("half"));
    let (first, made) = engine.upsert(full.clone()).unwrap();
    assert!(made);
    clock.advance(Duration::from_secs(5));
    let (same, made) = engine.upsert(full).unwrap();
    assert!(!made);
    assert_eq!(
        same.schedules, first.schedules,
        "(S) redeploying keeps schedules, their ids and times"
    );
    assert_eq!(
        Deployment {
            updated: first.updated,
            ..same
        },
        first
    );
    let bare = NewDeployment::new("f", "d").schedule(NewSchedule::new(half_past()).slug("half"));
    let (bare, _) = engine.upsert(bare).unwrap();
    // Kept, because nothing was said.
    assert_eq!((bare.id, bare.created), (first.id, first.created));
    assert_eq!(
        (&bare.version, &bare.description, &bare.path),
        (&first.version, &first.description, &first.path)
    );
    assert_eq!(
        (bare.priority, bare.paused, bare.concurrency_limit),
        (Priority::MAX, true, Some(3))
    );
    assert_eq!(
        (&bare.tags, &bare.job_variables),
        (&first.tags, &first.job_variables)
    );
    // Replaced all the same.
    assert!(bare.parameters.is_empty() && bare.labels.is_empty());
    assert_eq!(bare.schedules, [first.schedules[1].clone()]);
    // (S) an empty object clears.
    let (cleared, _) = engine
        .upsert(NewDeployment::new("f", "d").job_variables(object(json!({}))))
        .unwrap();
    assert!(cleared.job_variables.is_empty() && cleared.schedules.is_empty());
}

#[test]
fn line_59_s_schedules_of_a_patch() {
    let (engine, _) = engine();
    let new = NewDeployment::new("f", "d")
        .schedule(NewSchedule::new(hourly()).slug("full"))
        .schedule(NewSchedule::new(half_past()).slug("half"));
    let deployment = engine.deploy(new).unwrap();
    let ids = || -> Vec<_> {
        let held = engine.deployment(deployment.id).unwrap();
        held.schedules
            .into_iter()
            .map(|held| (held.slug.map(|slug| slug.to_string()), held.id))
            .collect()
    };
    let before = ids();
    // Absent: untouched.
    engine
        .update_deployment(
            deployment.id,
            DeploymentPatch::new().description(Some("x".into())),
        )
        .unwrap();
    assert_eq!(ids(), before);
    // Given: replaced, and a known slug keeps its id; the reference takes a list of slugs for changes to some of them.
    let half = NewSchedule::new(hourly()).slug("half");
    engine
        .update_deployment(deployment.id, DeploymentPatch::new().schedules(vec![half]))
        .unwrap();
    assert_eq!(ids(), [before[1].clone()]);
    // Slugs twice: refused.
    let twice = vec![
        NewSchedule::new(hourly()).slug("a"),
        NewSchedule::new(half_past()).slug("a"),
    ];
    let error = engine
        .update_deployment(deployment.id, DeploymentPatch::new().schedules(twice))
        .unwrap_err();
    assert!(matches!(error, Error::Schedule { index: 1, .. }), "{error}");
    // One schedule: a rename keeps the id; what is not named stays; a slug and a bound can be cleared.
    let most = NonZeroU32::new(2).unwrap();
    let parameters = object(json!({"n": 1}));
    let change = |patch| engine.update_schedule(deployment.id, before[1].1, patch).unwrap();
    let one = change(
        SchedulePatch::new()
            .slug(Some("new".into()))
            .parameters(parameters.clone())
            .max_scheduled_runs(Some(most)),
    );
    assert_eq!((one.id, one.slug.as_deref()), (before[1].1, Some("new")));
    let one = change(SchedulePatch::new().active(false));
    assert_eq!(
        (one.active, &one.parameters, one.max_scheduled_runs),
        (false, &parameters, Some(most))
    );
    let one = change(SchedulePatch::new().slug(None).max_scheduled_runs(None));
    assert_eq!((one.slug, one.max_scheduled_runs), (None, None));
    // An empty list removes all.
    engine
        .update_deployment(deployment.id, DeploymentPatch::new().schedules(Vec::new()))
        .unwrap();
    assert!(ids().is_empty());
    let error = engine.delete_schedule(deployment.id, before[1].1).unwrap_err();
    assert!(
        matches!(error, Error::NotFound { kind: "schedule", .. }),
        "{error}"
    );
}
