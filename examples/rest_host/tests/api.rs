//! The reference's deployments API, as far as it goes.

use serde_json::{Value, json};
use tenfold::{NewDeployment, Schedule};

use super::{ACME, Answer, GLOBEX, Served};

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
    let refused = served.post(ACME, "/api/deployments/filter", &wrong);
    assert!(
        refused.detail(422).contains("did you mean `all_`?"),
        "{refused:?}"
    );
    served
        .post(ACME, "/api/deployments/filter", &json!([]))
        .detail(422);
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
    served.get(GLOBEX, &path).detail(404);
    served.get(ACME, "/api/deployments/seven").detail(422);

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

    let delete = || served.delete(ACME, &path).status;
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
    let unknown = served.post(ACME, &path, &json!({ "state": null, "what": 1 }));
    assert!(unknown.detail(422).contains("what"), "{unknown:?}");
    assert_eq!(served.post_text(ACME, &path, "").status, 201);
}

/// What was made, by id.
#[track_caller]
fn made(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_deployment_is_made_changed_and_made_again() {
    let served = Served::new();
    let flow = made(&served.post(ACME, "/api/flows/", &json!({ "name": "f" })));
    assert_eq!(
        served.post(ACME, "/api/flows/", &json!({ "name": "f" })).status,
        200
    );
    let cron = json!({ "schedule": { "cron": "0 6 * * *", "timezone": "UTC" }, "slug": "morning" });
    let mut new = json!({
        "flow_id": flow, "name": "d", "tags": ["etl"], "schedules": [cron], "concurrency_limit": 3,
        "work_queue_name": "night", "storage_document_id": null, "version_info": null,
    });
    let id = made(&served.post(ACME, "/api/deployments/", &new));
    let path = format!("/api/deployments/{id}");
    let held = served.get(ACME, &path).body;
    assert_eq!(
        (&held["concurrency_limit"], &held["work_queue_name"]),
        (&json!(3), &json!("night"))
    );
    assert_eq!(held["schedules"][0]["deployment_id"], id);

    new["concurrency_limit"] = Value::Null;
    new["schedules"] = json!([]);
    assert_eq!(served.post(ACME, "/api/deployments/", &new).status, 200);
    let held = served.get(ACME, &path).body;
    assert_eq!(
        (&held["concurrency_limit"], &held["schedules"]),
        (&Value::Null, &json!([]))
    );

    let listed = served.post(ACME, &format!("{path}/schedules"), &json!([cron]));
    let schedule = format!("{path}/schedules/{}", listed.body[0]["id"].as_str().unwrap());
    assert_eq!(
        served.patch(ACME, &schedule, &json!({ "active": false })).status,
        204
    );
    assert_eq!(
        served.get(ACME, &format!("{path}/schedules")).body[0]["active"],
        false
    );
    // By its slug alone, it stays what it is.
    let named =
        json!({ "schedules": [{ "slug": "morning", "active": true }], "description": null, "paused": true });
    assert_eq!(served.patch(ACME, &path, &named).status, 204);
    let held = served.get(ACME, &path).body;
    assert_eq!(held["schedules"][0]["schedule"]["cron"], "0 6 * * *");
    assert_eq!(
        (&held["schedules"][0]["active"], &held["paused"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(served.delete(ACME, &schedule).status, 204);

    for (wrong, field) in [
        (json!({ "flow_id": flow }), "name"),
        (
            json!({ "flow_id": flow, "name": "e", "concurrency_limit": 0 }),
            "concurrency_limit",
        ),
        (
            json!({ "flow_id": flow, "name": "e", "storage_document_id": flow }),
            "storage_document_id",
        ),
        (
            json!({ "flow_id": flow, "name": "e", "schedules": [{ "schedule": { "cron": "x" } }] }),
            "schedules",
        ),
    ] {
        let refused = served.post(ACME, "/api/deployments/", &wrong);
        refused.detail(422);
        assert_eq!(
            refused.body["exception_detail"][0]["loc"][1], field,
            "{refused:?}"
        );
    }
    served.patch(ACME, &path, &json!({ "name": "other" })).detail(422);
    assert_eq!(
        served.post_text(ACME, "/api/deployments/count", "").body,
        json!(1)
    );
}

#[test]
fn c4_a_worker_of_a_pool_is_offered_runs_and_moves_them_to_their_end() {
    let served = Served::new();
    let flow = made(&served.post(ACME, "/api/flows/", &json!({ "name": "f" })));
    served.post(
        ACME,
        "/api/work_pools/",
        &json!({ "name": "p", "type": "process", "concurrency_limit": 1 }),
    );
    let place = json!({ "flow_id": flow, "name": "d", "work_pool_name": "p" });
    let id = made(&served.post(ACME, "/api/deployments/", &place));
    let create = format!("/api/deployments/{id}/create_flow_run");
    let runs = [3, 9].map(|priority| made(&served.post(ACME, &create, &json!({ "priority": priority }))));
    let offers = |served: &Served| {
        let answer = served.post(ACME, "/api/work_pools/p/get_scheduled_flow_runs", &json!({}));
        let offers = answer.body.as_array().unwrap().clone();
        offers
            .iter()
            .map(|offer| offer["flow_run"]["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(offers(&served), [runs[1].as_str()]);
    let set = |run: &str, kind: &str| {
        let body = json!({ "state": { "type": kind } });
        served.post(ACME, &format!("/api/flow_runs/{run}/set_state"), &body)
    };
    let claimed = set(&runs[1], "PENDING");
    assert_eq!((claimed.status, &claimed.body["status"]), (201, &json!("ACCEPT")));
    assert!(offers(&served).is_empty(), "the pool is full");
    let full = set(&runs[0], "PENDING");
    assert_eq!((full.status, &full.body["status"]), (200, &json!("REJECT")));
    set(&runs[1], "RUNNING");
    assert_eq!(set(&runs[1], "COMPLETED").body["state"]["name"], "Completed");
    assert_eq!(set(&runs[1], "RUNNING").body["status"], "ABORT");
    assert_eq!(offers(&served), [runs[0].as_str()]);
    let states = served
        .get(ACME, &format!("/api/flow_run_states/?flow_run_id={}", runs[1]))
        .body;
    let last = states[3].clone();
    assert_eq!(last["name"], "Completed");
    let state = format!("/api/flow_run_states/{}", last["id"].as_str().unwrap());
    assert_eq!(served.get(ACME, &state).body, last);
    served.get(GLOBEX, &state).detail(404);
    served.get(ACME, "/api/flow_run_states/").detail(422);
    set(&runs[0], "ASLEEP").detail(422);
}

#[test]
fn l2_slots_are_taken_and_given_back_by_name_with_a_lease_or_without() {
    let served = Served::new();
    let under = |path: &str| format!("/api/v2/concurrency_limits/{path}");
    let limit = made(&served.post(ACME, &under(""), &json!({ "name": "db", "limit": 2 })));
    let used = || served.get(ACME, &under(&limit)).body["active_slots"].clone();
    let ask = |path: &str, slots: u32| {
        served.post(
            ACME,
            &under(path),
            &json!({ "names": ["db", "none"], "slots": slots }),
        )
    };
    let taken = ask("increment", 2);
    assert_eq!(
        (taken.status, &taken.body[0]["id"], used()),
        (200, &json!(limit), json!(2))
    );
    let full = ask("increment", 1);
    assert!(full.retry_after.is_some_and(|seconds| seconds > 0), "{full:?}");
    full.detail(423);
    assert_eq!((ask("decrement", 2).status, used()), (200, json!(0)));
    let lease = ask("increment-with-lease", 1).body["lease_id"].clone();
    let lease = lease.as_str().unwrap();
    let renew = |lease: &str| {
        served.post(
            ACME,
            &under(&format!("leases/{lease}/renew")),
            &json!({ "lease_duration": 60 }),
        )
    };
    assert_eq!((renew(lease).status, used()), (204, json!(1)));
    // Of another organisation, it is none.
    let theirs = served.post(
        GLOBEX,
        &under("decrement-with-lease"),
        &json!({ "lease_id": lease }),
    );
    assert_eq!((theirs.status, used()), (204, json!(1)));
    served.post(
        ACME,
        &under("decrement-with-lease"),
        &json!({ "lease_id": lease }),
    );
    assert_eq!(used(), json!(0));
    renew(lease).detail(410);
    renew(&limit).detail(410);
    ask("increment", 3).detail(422);
    ask("increment", 0).detail(422);
    served
        .post(ACME, &under(""), &json!({ "name": "db", "limit": 1 }))
        .detail(409);
    assert_eq!(served.delete(ACME, &under("db")).status, 204);
    served.get(ACME, &under("db")).detail(404);
}

#[test]
fn every_refusal_under_api_has_the_reference_s_shape() {
    let served = Served::new();
    served.get("no-such-token", "/api/version").detail(401);
    served.get(ACME, "/api/no/such/path").detail(404);
    served.get(ACME, "/api/flows/").detail(405);
    served.get(ACME, "/api/flows/%ff").detail(400);
    served.post_text(ACME, "/api/flows/", "{").detail(422);
    served
        .post_text(ACME, "/api/flows/", &" ".repeat(3 << 20))
        .detail(413);
    let csrf = served.get(ACME, "/api/csrf-token?client=x");
    assert_eq!(csrf.detail(422), "CSRF protection is disabled.");
}
