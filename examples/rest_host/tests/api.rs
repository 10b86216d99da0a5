//! The reference's deployments API, as far as it goes.

use serde_json::{Value, json};
use tenfold::{NewDeployment, Schedule};

use super::{ACME, GLOBEX, Served};

/// A host whose first organisation has two deployments, and the id of the first.
fn deployed() -> (Served, String) {
    let served = Served::without_slots(crate::args::Options::default());
    let engine = &served.host.first().engine;
    let hourly = Schedule::cron("0 * * * *", "UTC").unwrap();
    let first = NewDeployment::new("task", "report").tag("etl").schedule(hourly);
    let id = engine.deploy(first).unwrap().id.to_string();
    engine.deploy(NewDeployment::new("task", "clean")).unwrap();
    (served, id)
}

#[test]
fn f2_families_are_asked_in_the_reference_s_form() {
    let (served, id) = deployed();
    let etl = json!({ "deployments": { "tags": { "all_": ["etl"] } } });
    let found = served.post(ACME, "/api/deployments/filter", &etl);
    assert_eq!(
        (found.status, &found.body[0]["id"]),
        (200, &json!(id)),
        "{found:?}"
    );
    assert_eq!(found.body.as_array().map(Vec::len), Some(1));
    let page = served.post(
        ACME,
        "/api/deployments/paginate",
        &json!({ "limit": 1, "page": 2 }),
    );
    assert_eq!(
        (&page.body["count"], &page.body["pages"], &page.body["page"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(page.body["results"][0]["name"], "report");
    // Without a body at all.
    assert_eq!(
        served.post_text(ACME, "/api/deployments/count", "").body,
        json!(2)
    );
    assert_eq!(served.post_text(ACME, "/api/flows/count", "").body, json!(1));
    assert_eq!(
        served.post_text(GLOBEX, "/api/deployments/count", "").body,
        json!(0)
    );
    let planned = json!({ "flow_runs": { "state": { "type": { "any_": ["SCHEDULED"] } } } });
    assert!(served.post(ACME, "/api/flow_runs/count", &planned).body.as_u64() >= Some(3));
    let wrong = json!({ "deployments": { "tags": { "al_": [] } } });
    served
        .post(ACME, "/api/deployments/filter", &wrong)
        .refused(422, "VALIDATION_ERROR");
    served
        .post(ACME, "/api/deployments/filter", &json!([]))
        .refused(422, "VALIDATION_ERROR");
}

#[test]
fn a_deployment_is_read_paused_resumed_and_deleted() {
    let (served, id) = deployed();
    let path = format!("/api/deployments/{id}");
    assert_eq!(served.get(ACME, &path).body["name"], "report");
    assert_eq!(
        served.get(ACME, "/api/deployments/name/task/report").body["id"],
        id
    );
    assert_eq!(
        served.get(ACME, &format!("{path}/schedules")).body[0]["schedule"]["cron"],
        "0 * * * *"
    );
    served.get(GLOBEX, &path).refused(404, "RESOURCE_NOT_FOUND");
    served
        .get(ACME, "/api/deployments/seven")
        .refused(422, "VALIDATION_ERROR");

    let paused = |word: &str| {
        assert_eq!(
            served
                .post(ACME, &format!("{path}/{word}_deployment"), &Value::Null)
                .status,
            200
        );
        served.get(ACME, &path).body["paused"].clone()
    };
    assert_eq!((paused("pause"), paused("resume")), (json!(true), json!(false)));

    let delete = || {
        let request = served.agent.delete(served.url(&path));
        request
            .header("authorization", format!("Bearer {ACME}"))
            .call()
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!((delete(), delete()), (204, 404));
    assert_eq!(served.get(ACME, "/api/health").body, json!(true));
}

#[test]
fn r4_a_run_is_created_once_for_a_key() {
    let (served, id) = deployed();
    let path = format!("/api/deployments/{id}/create_flow_run");
    let new = json!({ "parameters": { "day": 1 }, "tags": ["by-hand"], "idempotency_key": "k" });
    let made = served.post(ACME, &path, &new);
    assert_eq!(
        (made.status, &made.body["state_type"]),
        (201, &json!("SCHEDULED")),
        "{made:?}"
    );
    assert_eq!(made.body["tags"], json!(["etl", "by-hand"]));
    let again = served.post(ACME, &path, &new);
    assert_eq!((again.status, &again.body["id"]), (200, &made.body["id"]));
    let read = served.get(
        ACME,
        &format!("/api/flow_runs/{}", made.body["id"].as_str().unwrap()),
    );
    assert_eq!(read.body["parameters"], json!({ "day": 1 }));
    served
        .post(ACME, &path, &json!({ "state": null, "what": 1 }))
        .refused(422, "VALIDATION_ERROR");
    assert_eq!(served.post_text(ACME, &path, "").status, 201);
}
