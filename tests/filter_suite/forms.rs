//! F1: the three forms of one condition are one tree.

use chrono::{DateTime, TimeZone, Utc};
use serde_json::{Value as Json, json};
use tenfold::filter::build::{Condition, Deployment, Row, deployment, flow, pool, queue, run, task_run};
use tenfold::filter::{Entity, Filter, Limits, StateType};
use uuid::Uuid;

use super::generate::{Random, world};
use super::laws::for_each_seed;

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 5, 1, 12, 0, 0).unwrap()
}

#[track_caller]
fn one_tree<E: Row>(body: &Json, text: &str, built: Condition<E>) {
    let limits = Limits::default();
    let from_json = Filter::from_json(E::ENTITY, body, &limits).unwrap();
    let from_text = Filter::parse(E::ENTITY, text, noon(), &limits).unwrap_or_else(|error| panic!("{error}"));
    let built = built.filter(&limits).unwrap();
    assert_eq!(from_text, built);
    assert_eq!(from_json.expr().plain(), built.expr().plain());
    assert_eq!(built.to_json().unwrap(), *body);
}

#[test]
fn f1_json_text_and_builder_are_one_tree() {
    one_tree(
        &json!({"deployments": {"tags": {"all_": ["etl"]}, "paused": {"eq_": false}}}),
        "deployment.tags has_all ['etl'] and paused = false",
        deployment::tags().has("etl").and(deployment::paused().is(false)),
    );
    one_tree(
        &json!({"deployments": {"name": {"any_": ["a", "b"]}, "operator": "or_", "work_queue_name": {"any_": ["q"]}}}),
        r#"name in ["b", "a"] or work_queue_name = "q""#,
        deployment::name().is_in(["a", "b"]) | deployment::work_queue_name().is("q"),
    );
    one_tree(
        &json!({
            "flow_runs": {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}},
            "task_runs": {"name": {"like_": "load"}},
        }),
        r#"any run where (state_type in [FAILED, CRASHED] and any task_run where (name like "%load%"))"#,
        deployment::any_run(
            run::state_type()
                .is_in([StateType::Failed, StateType::Crashed])
                .and(run::any_task_run(task_run::name().like("%load%"))),
        ),
    );
    let id = Uuid::from_u128(7);
    one_tree(
        &json!({
            "flow_runs": {
                "start_time": {"before_": "2024-05-01T10:00:00Z"},
                "parent_task_run_id": {"is_null_": false},
                "idempotency_key": {"not_any_": ["k"]},
            },
            "flows": {"id": {"any_": [id.to_string()]}},
            "work_pools": {"name": {"any_": ["gpu"]}},
        }),
        &format!(
            "run.start_or_expected <= now - 2h and parent_task_run_id is not null and idempotency_key none_of ['k'] \
             and flow.id = '{id}' and pool.name = 'gpu'"
        ),
        run::start_or_expected()
            .at_most(noon() - chrono::Duration::hours(2))
            .and(!run::parent_task_run_id().is_null())
            .and(run::idempotency_key().is_none_of(["k"]))
            .and(run::flow(flow::id().is(id)))
            .and(run::queue(queue::pool(pool::name().is("gpu")))),
    );
    one_tree(
        &json!({"task_runs": {"subflow_runs": {"exists_": false}, "flow_run_id": {"is_null_": true}}}),
        "no subrun and run_id is null",
        (!task_run::any_subrun(Condition::everything())).and(task_run::run_id().is_null()),
    );
    one_tree(
        &json!({"flows": {"tags": {"operator": "or_", "all_": ["x"], "is_null_": true}}}),
        "tags has 'x' or tags is empty",
        flow::tags().has("x").or(flow::tags().is_empty()),
    );
}

/// A criterion in the three forms: the key and value of the JSON object, a term of the text, a condition.
type Forms = (&'static str, Json, String, Condition<Deployment>);

fn criterion(random: &mut Random, key: &'static str) -> Forms {
    const WORDS: [&str; 6] = ["etl", "ETL", "a", "é", "axb", "ß"];
    let words: Vec<&str> = (0..random.below(3)).map(|_| random.pick(&WORDS)).collect();
    let (word, yes) = (random.pick(&WORDS), random.below(2) == 0);
    match (key, random.below(2)) {
        ("tags", 0) => {
            let built = deployment::tags().has_all(words.clone());
            (
                key,
                json!({ "all_": words }),
                format!("tags has_all {words:?}"),
                built,
            )
        }
        ("tags", _) => {
            let built = deployment::tags().has_any(words.clone());
            (
                key,
                json!({ "any_": words }),
                format!("tags has_any {words:?}"),
                built,
            )
        }
        ("paused", _) => {
            let built = deployment::paused().is(yes);
            (key, json!({ "eq_": yes }), format!("paused = {yes}"), built)
        }
        ("name", 0) => {
            let (pattern, built) = (format!("%{word}%"), deployment::name().like(format!("%{word}%")));
            (
                key,
                json!({ "like_": word }),
                format!("name like {pattern:?}"),
                built,
            )
        }
        ("name", _) => {
            let built = deployment::name().is_in(words.clone());
            (key, json!({ "any_": words }), format!("name in {words:?}"), built)
        }
        _ => {
            let built = deployment::work_queue_name().is_in(words.clone());
            (
                key,
                json!({ "any_": words }),
                format!("work_queue_name in {words:?}"),
                built,
            )
        }
    }
}

#[test]
fn f1_generated_json_text_and_builder_forms_of_one_tree_give_one_answer() {
    let limits = Limits::default();
    for_each_seed(|seed| {
        let mut random = Random(seed);
        let tables = world(&mut random);
        let or = random.below(2) == 0;
        let mut body = serde_json::Map::new();
        let (mut terms, mut built) = (Vec::new(), None::<Condition<Deployment>>);
        for key in ["tags", "paused", "name", "work_queue_name"] {
            if random.below(2) == 0 {
                continue;
            }
            let (key, value, term, condition) = criterion(&mut random, key);
            body.insert(key.to_owned(), value);
            terms.push(term);
            built = Some(match built {
                None => condition,
                Some(before) if or => before | condition,
                Some(before) => before & condition,
            });
        }
        let Some(mut built) = built else { return };
        if or {
            body.insert("operator".to_owned(), json!("or_"));
        }
        let mut text = format!("({})", terms.join(if or { " or " } else { " and " }));
        let mut body = json!({ "deployments": body });
        if random.below(2) == 0 {
            body["flows"] = json!({"name": {"any_": ["etl", "a", ""]}});
            text += r#" and flow.name in ["etl", "a", ""]"#;
            built = built & deployment::flow(flow::name().is_in(["etl", "a", ""]));
        }
        let forms = [
            Filter::from_json(Entity::Deployment, &body, &limits).unwrap(),
            Filter::parse(Entity::Deployment, &text, noon(), &limits)
                .unwrap_or_else(|error| panic!("{error}")),
            built.filter(&limits).unwrap(),
        ];
        let answers = forms.each_ref().map(|filter| {
            let rows = 0..tables.count(Entity::Deployment);
            rows.filter(|&row| filter.matches(&tables, row))
                .collect::<Vec<_>>()
        });
        assert_eq!(answers[0], answers[1], "{body} / {text}");
        assert_eq!(answers[1], answers[2], "{text}");
        assert_eq!(forms[1].expr().plain(), forms[2].expr().plain(), "{text}");
    });
}

#[test]
fn f1_every_key_of_the_json_form_prints_back() {
    let limits = Limits::default();
    let id = Uuid::from_u128(9).to_string();
    let time = "2024-05-01T00:00:00Z";
    for (entity, body) in [
        (
            Entity::Flow,
            json!({"flows": {"id": {"any_": [id], "not_any_": [id]}, "deployment": {"is_null_": true}, "name": {"like_": "x", "any_": ["y"]}, "tags": {"all_": ["t"]}}}),
        ),
        (
            Entity::Flow,
            json!({"deployments": {"paused": {"eq_": true}}, "work_pools": {"type": {"any_": ["process"]}}, "flow_runs": {}, "task_runs": {"id": {"any_": [id]}}}),
        ),
        (
            Entity::Deployment,
            json!({"deployments": {"flow_or_deployment_name": {"like_": "x"}, "tags": {"any_": ["a"], "is_null_": false}}}),
        ),
        (
            Entity::Deployment,
            json!({"work_pool_queues": {"name": {"startswith_": ["a", "b"]}}, "work_pools": {"id": {"any_": [id]}}, "flows": {}}),
        ),
        (
            Entity::Run,
            json!({"flow_runs": {"operator": "or_", "state": {"operator": "or_", "type": {"not_any_": ["FAILED"]}, "name": {"any_": ["Late"]}}, "parent_flow_run_id": {"any_": [id]}}}),
        ),
        (
            Entity::Run,
            json!({"flow_runs": {"start_time": {"after_": time, "is_null_": false}, "end_time": {"before_": time}, "expected_start_time": {"after_": time}, "next_scheduled_start_time": {"before_": time}}}),
        ),
        (
            Entity::Run,
            json!({"flow_runs": {"created_by": {"id_": [id], "type_": ["SCHEDULE"], "is_null_": false}, "deployment_id": {"is_null_": true}, "flow_version": {"any_": ["1"]}, "work_queue_name": {"is_null_": true}}}),
        ),
        (
            Entity::TaskRun,
            json!({"task_runs": {"flow_run_id": {"any_": [id]}, "end_time": {"is_null_": true}}, "flow_runs": {"name": {"like_": "%"}}, "flows": {}, "deployments": {"id": {"any_": []}}}),
        ),
        (
            Entity::Pool,
            json!({"work_pools": {"operator": "or_", "name": {"any_": ["x"]}, "type": {"any_": ["y"]}}}),
        ),
        (
            Entity::Queue,
            json!({"work_queues": {"id": {"any_": [id]}, "name": {"startswith_": ["q"], "any_": ["q1"]}}}),
        ),
    ] {
        let filter = Filter::from_json(entity, &body, &limits).unwrap();
        let printed = filter.to_json().unwrap_or_else(|error| panic!("{error}"));
        let read = Filter::from_json(entity, &printed, &limits).unwrap();
        assert_eq!(
            read.expr().plain(),
            filter.expr().plain(),
            "{body} printed as {printed}"
        );
        let text = filter.to_string();
        assert_eq!(
            Filter::parse(entity, &text, noon(), &limits).as_ref(),
            Ok(&filter),
            "printed as {text}"
        );
    }
}

#[test]
fn f1_what_json_cannot_say_is_said() {
    for (text, part) in [
        ("priority > 3", "priority > 3"),
        ("not paused", "not paused"),
        ("name contains 'x'", r#"name contains "x""#),
        (
            "any run where (name = 'a') and any run where (name = 'b')",
            r#"any run where (name = "b")"#,
        ),
        ("paused or (priority > 1 and any run)", "priority > 1"),
        ("paused or any run", "any run"),
    ] {
        let filter = Filter::parse(Entity::Deployment, text, noon(), &Limits::default()).unwrap();
        assert_eq!(filter.to_json().unwrap_err().part, part);
    }
}
