//! The filter lines of the reference's checklist (its section 11, lines 1 to 22), by number.

use serde_json::{Value as Json, json};
use tenfold::filter::{Answer, Entity, Field, Limits, Query, Shape, Start};

use super::support::{Cell, Tables};

fn limits() -> Limits {
    Limits::default()
}

fn insert(tables: &mut Tables, entity: Entity, rows: &[&[(&str, Cell)]]) {
    let rows = rows.iter().enumerate().map(|(n, cells)| {
        let id = (entity.id(), Cell::Uuid(uuid::Uuid::from_u128(n as u128 + 1)));
        cells
            .iter()
            .map(|(name, cell)| (entity.field(name).unwrap(), cell.clone()))
            .chain([id])
            .collect()
    });
    tables.rows.insert(entity, rows.collect());
    tables.link();
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn tags(tags: &[&str]) -> Cell {
    Cell::Tags(tags.iter().map(ToString::to_string).collect())
}

fn deployments() -> Tables {
    let mut tables = Tables::default();
    insert(
        &mut tables,
        Entity::Deployment,
        &[
            &[("name", text("d_one")), ("tags", tags(&["t1", "t2"]))],
            &[("name", text("dXone")), ("tags", tags(&[]))],
            &[("name", text("D_ONE_caps")), ("tags", tags(&["t1"]))],
            &[("name", text("")), ("tags", tags(&[]))],
        ],
    );
    tables
}

fn year(year: i32) -> Cell {
    let start = chrono::NaiveDate::from_ymd_opt(year, 6, 1)
        .unwrap()
        .and_hms_opt(0, 0, 0)
        .unwrap();
    Cell::Time(start.and_utc().timestamp_micros())
}

fn runs() -> Tables {
    let state = |word: &str| {
        let code = tenfold::filter::STATE_TYPES
            .iter()
            .position(|known| *known == word)
            .unwrap();
        ("state_type", Cell::Code(u8::try_from(code).unwrap()))
    };
    let mut tables = Tables::default();
    insert(
        &mut tables,
        Entity::Run,
        &[
            &[
                ("name", text("sched")),
                state("SCHEDULED"),
                ("expected_start_time", year(2031)),
                ("next_scheduled_start_time", year(2031)),
            ],
            &[
                ("name", text("late")),
                state("SCHEDULED"),
                ("expected_start_time", year(2021)),
                ("next_scheduled_start_time", year(2021)),
            ],
            &[
                ("name", text("run")),
                state("RUNNING"),
                ("expected_start_time", year(2026)),
                ("start_time", year(2026)),
            ],
            &[
                ("name", text("done")),
                state("COMPLETED"),
                ("expected_start_time", year(2026)),
                ("start_time", year(2026)),
            ],
            &[
                ("name", text("fail")),
                state("FAILED"),
                ("expected_start_time", year(2026)),
                ("start_time", year(2026)),
            ],
        ],
    );
    tables
}

fn ask(tables: &Tables, entity: Entity, body: &Json) -> (Query, Answer) {
    let query =
        Query::from_json(entity, Shape::Paginate, body, &limits()).unwrap_or_else(|error| panic!("{error}"));
    let answer = query.run(tables, 0..tables.count(entity));
    (query, answer)
}

#[track_caller]
fn names(tables: &Tables, entity: Entity, body: &Json, expected: &[&str]) {
    let (_, answer) = ask(tables, entity, body);
    let name = entity.field("name").unwrap();
    let mut found: Vec<&Cell> = answer.rows.iter().map(|&row| tables.cell(name, row)).collect();
    let mut expected: Vec<Cell> = expected.iter().map(|name| text(name)).collect();
    let key = |cell: &Cell| format!("{cell:?}");
    found.sort_by_key(|cell| key(cell));
    expected.sort_by_key(key);
    assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{body}");
}

#[track_caller]
fn deployments_are(family: &Json, expected: &[&str]) {
    names(
        &deployments(),
        Entity::Deployment,
        &json!({"deployments": family}),
        expected,
    );
}

#[track_caller]
fn runs_are(family: &Json, expected: &[&str]) {
    names(&runs(), Entity::Run, &json!({"flow_runs": family}), expected);
}

#[track_caller]
fn refused(shape: Shape, body: &Json, location: &str) {
    let refusal = Query::from_json(Entity::Deployment, shape, body, &limits()).unwrap_err();
    assert_eq!(refusal.location.to_string(), location, "{refusal}");
}

const ALL: &[&str] = &["d_one", "dXone", "D_ONE_caps", ""];

#[test]
fn f2_line_1_like_has_wildcards_and_folds_ascii() {
    deployments_are(
        &json!({"name": {"like_": "d_one"}}),
        &["D_ONE_caps", "dXone", "d_one"],
    );
}

#[test]
fn f2_line_2_an_empty_like_is_no_condition() {
    deployments_are(&json!({"name": {"like_": ""}}), ALL);
}

#[test]
fn f2_line_3_an_empty_any_matches_nothing() {
    deployments_are(&json!({"name": {"any_": []}}), &[]);
}

#[test]
fn f2_line_4_an_empty_not_any_is_no_condition() {
    deployments_are(&json!({"id": {"not_any_": []}}), ALL);
}

#[test]
fn f2_line_5_an_empty_all_is_no_condition() {
    deployments_are(&json!({"tags": {"all_": []}}), ALL);
}

#[test]
fn f2_line_6_an_empty_any_of_tags_matches_nothing() {
    deployments_are(&json!({"tags": {"any_": []}}), &[]);
}

#[test]
fn f2_line_7_any_of_tags_is_an_intersection() {
    deployments_are(&json!({"tags": {"any_": ["t2", "zz"]}}), &["d_one"]);
}

#[test]
fn f2_line_8_or_joins_criteria() {
    let family = json!({"operator": "or_", "name": {"any_": ["dXone"]}, "tags": {"all_": ["t2"]}});
    deployments_are(&family, &["dXone", "d_one"]);
}

#[test]
fn f2_line_9_an_empty_criterion_under_or_is_true() {
    deployments_are(
        &json!({"operator": "or_", "name": {}, "tags": {"all_": ["t2"]}}),
        ALL,
    );
}

#[test]
fn f2_line_10_an_unknown_key_inside_a_family_is_refused() {
    refused(
        Shape::Filter,
        &json!({"deployments": {"nam": {}}}),
        "body.deployments.nam",
    );
    refused(
        Shape::Filter,
        &json!({"deployments": {"name": {"foo_": []}}}),
        "body.deployments.name.foo_",
    );
}

#[test]
fn f2_line_11_an_unknown_key_at_the_top_is_ignored_and_noticed() {
    let tables = deployments();
    let (query, answer) = ask(
        &tables,
        Entity::Deployment,
        &json!({"work_queues": {"name": {"any_": ["x"]}}}),
    );
    assert_eq!(answer.count, 4);
    let notices: Vec<String> = query.notices().iter().map(ToString::to_string).collect();
    assert_eq!(notices, ["body.work_queues: unknown key, ignored"]);
    assert_eq!(
        query.filter().notices(),
        query.notices(),
        "bulk operations see it on the filter"
    );
}

#[test]
fn f2_line_12_an_operator_is_and_or_or_to_the_letter() {
    refused(
        Shape::Filter,
        &json!({"deployments": {"operator": "AND"}}),
        "body.deployments.operator",
    );
    refused(
        Shape::Filter,
        &json!({"deployments": {"operator": null}}),
        "body.deployments.operator",
    );
}

#[test]
fn f2_line_13_a_family_that_is_there_asks_for_a_row() {
    names(&deployments(), Entity::Deployment, &json!({"flow_runs": {}}), &[]);
    names(
        &deployments(),
        Entity::Deployment,
        &json!({"flow_runs": null}),
        ALL,
    );
}

#[test]
fn f2_line_14_a_limit_of_zero_counts_without_rows() {
    let (query, answer) = ask(&deployments(), Entity::Deployment, &json!({"limit": 0}));
    assert_eq!(
        (answer.rows.len(), answer.count, answer.pages, query.start()),
        (0, 4, 0, Start::Page(1))
    );
}

#[test]
fn f2_line_15_a_page_past_the_end_is_empty() {
    let (query, answer) = ask(
        &deployments(),
        Entity::Deployment,
        &json!({"limit": 2, "page": 99}),
    );
    assert_eq!(
        (answer.rows.len(), answer.count, answer.pages, query.start()),
        (0, 4, 2, Start::Page(99))
    );
    let last = json!({"limit": 200, "page": i64::MAX});
    assert!(ask(&deployments(), Entity::Deployment, &last).1.rows.is_empty());
}

#[test]
fn f2_line_16_windows_outside_their_range_are_refused() {
    for limit in [json!(-1), json!(201), json!(5.5)] {
        refused(Shape::Paginate, &json!({"limit": limit}), "body.limit");
    }
    refused(Shape::Paginate, &json!({"page": 0}), "body.page");
    refused(Shape::Filter, &json!({"offset": -1}), "body.offset");
    let refusal =
        Query::from_json(Entity::Run, Shape::Filter, &json!({"limit": 500}), &limits()).unwrap_err();
    assert_eq!(refusal.to_string(), "body.limit: 500 is not from 0 to 200");
    let raised = Limits {
        page: 1000,
        ..limits()
    };
    let query = Query::from_json(Entity::Run, Shape::Filter, &json!({"limit": 500}), &raised).unwrap();
    assert_eq!(query.limit(), 500, "the cap is a setting");
}

#[test]
fn f2_line_17_windows_are_read_leniently() {
    for (body, limit) in [
        (json!({"limit": "5"}), 5),
        (json!({"limit": 5.0}), 5),
        (json!({"limit": null}), 200),
        (json!({"page": null}), 200),
        (json!(null), 200),
    ] {
        assert_eq!(
            ask(&deployments(), Entity::Deployment, &body).0.limit(),
            limit,
            "{body}"
        );
    }
    refused(Shape::Paginate, &json!([]), "body");
}

#[test]
fn f2_line_18_a_bound_on_the_start_falls_back_to_the_expected_start() {
    runs_are(&json!({"start_time": {"before_": "2022-01-01"}}), &["late"]);
}

#[test]
fn f2_line_19_also_upwards() {
    runs_are(&json!({"start_time": {"after_": "2030-01-01"}}), &["sched"]);
}

#[test]
fn f2_line_20_whether_there_is_a_start_looks_at_the_start_alone() {
    runs_are(&json!({"start_time": {"is_null_": true}}), &["late", "sched"]);
}

#[test]
fn f2_line_21_any_with_not_any_of_a_state_is_dropped_and_noticed() {
    let family = json!({"state": {"type": {"any_": ["RUNNING", "COMPLETED"], "not_any_": ["RUNNING"]}}});
    runs_are(&family, &["sched", "late", "run", "done", "fail"]);
    let (query, _) = ask(&runs(), Entity::Run, &json!({"flow_runs": family}));
    assert_eq!(
        query.notices()[0].to_string(),
        "body.flow_runs.state.type: `any_` with `not_any_` is dropped; use one of them"
    );
}

#[test]
fn f2_line_22_bounds_include_the_instant() {
    let family = json!({"next_scheduled_start_time": {"before_": "2021-06-01T00:00:00Z"}});
    runs_are(&family, &["late"]);
}

#[test]
fn f2_what_has_no_effect_is_noticed() {
    for (entity, body, expected) in [
        (
            Entity::Deployment,
            json!({"deployments": {"concurrency_limit": {"ge_": 1}}}),
            "body.deployments.concurrency_limit: accepted and ignored, rows are not tested by it",
        ),
        (
            Entity::Deployment,
            json!({"work_pool_queues": {"name": {"startswith_": []}}}),
            "body.work_pool_queues.name.startswith_: an empty `startswith_` is dropped; leave it out or name a prefix",
        ),
        (
            Entity::TaskRun,
            json!({"task_runs": {"flow_run_id": {"is_null_": true, "any_": []}}}),
            "body.task_runs.flow_run_id: `any_` is ignored beside `is_null_: true`; use one of them",
        ),
        (
            Entity::Pool,
            json!({"limit": 5}),
            "body.limit: unknown key, ignored",
        ),
    ] {
        let query = Query::from_json(entity, Shape::Count, &body, &limits()).unwrap();
        assert_eq!(query.notices()[0].to_string(), expected);
    }
    let quiet = json!({"deployments": {"tags": {"all_": []}, "name": {}}, "flows": null});
    assert_eq!(
        Query::from_json(Entity::Deployment, Shape::Count, &quiet, &limits())
            .unwrap()
            .notices(),
        []
    );
}

#[test]
fn f4_a_refusal_names_the_place_and_the_way_out() {
    for (body, expected) in [
        (
            json!({"deployments": {"tags": {"al_": []}}}),
            "body.deployments.tags.al_: unknown key; known here: all_, any_, is_null_, operator (did you mean `all_`?)",
        ),
        (
            json!({"flow_runs": {"state": {"type": {"any_": ["FAILED", "Runing"]}}}}),
            "body.flow_runs.state.type.any_[1]: \"Runing\" is none of SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, \
             CANCELLED, CRASHED, PAUSED, CANCELLING (did you mean `RUNNING`?)",
        ),
        (
            json!({"deployments": {"id": {"any_": ["x"]}}}),
            "body.deployments.id.any_[0]: \"x\" is not a uuid",
        ),
        (
            json!({"sort": "name_asc"}),
            "body.sort: \"name_asc\" is none of NAME_ASC, NAME_DESC, CREATED_DESC, UPDATED_DESC (did you mean `NAME_ASC`?)",
        ),
    ] {
        let refusal = Query::from_json(Entity::Deployment, Shape::Filter, &body, &limits()).unwrap_err();
        assert_eq!(refusal.to_string(), expected);
    }
}

#[test]
fn f1_a_sort_ends_with_the_id() {
    let query = Query::from_json(Entity::Deployment, Shape::Filter, &json!({}), &limits()).unwrap();
    let fields: Vec<Field> = query.sort().iter().map(|key| key.field).collect();
    assert_eq!(fields, [Field::DeploymentName, Field::DeploymentId]);
}
