//! The asynchronous queue: every status code, and that no organisation sees another.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ACME, GLOBEX, Served};
use crate::args::Options;
use crate::gate::Bounds;

const TASK: &str = "/v1/async/task";
const BATCH: &str = "/v1/async/task/batch";
const STATUS: &str = "/v1/async/status";

fn waiting(served: &Served, token: &str) -> Value {
    served.get(token, STATUS).body["queuedTasks"].clone()
}

#[test]
fn a_task_goes_from_queued_to_completed_and_keeps_its_response() {
    let served = Served::new();
    let new =
        json!({ "taskType": "hash", "priority": 5, "idempotencyKey": "k", "payload": { "text": "abc" } });
    let made = served.post(ACME, TASK, &new);
    assert_eq!(
        (made.status, &made.body["success"]),
        (201, &json!(true)),
        "{made:?}"
    );
    let task = &made.body["task"];
    assert_eq!(task["taskType"], "hash");
    assert_eq!(task["priority"], 5);
    assert_eq!(task["idempotencyKey"], "k");
    let path = format!("{TASK}/{}", task["id"].as_str().unwrap());
    let done = (0..10_000).find_map(|_| {
        let answer = served.get(ACME, &path);
        (answer.body["task"]["status"] == "COMPLETED").then_some(answer)
    });
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(done.unwrap().body["response"], json!({ "sha256": digest }));

    let made = served.post(
        ACME,
        TASK,
        &json!({ "taskType": "fail", "payload": { "message": "no" } }),
    );
    let path = format!("{TASK}/{}", made.body["task"]["id"].as_str().unwrap());
    let done = (0..10_000).find_map(|_| {
        let answer = served.get(ACME, &path);
        (answer.body["task"]["status"] == "FAILED").then_some(answer)
    });
    assert_eq!(done.unwrap().body["response"], json!({ "error": "no" }));
}

#[test]
fn t2_the_status_is_exactly_the_reference_s() {
    let served = Served::without_slots(Options::default());
    for level in [1, 5, 5] {
        served.post(ACME, TASK, &json!({ "taskType": "sleep", "priority": level }));
    }
    let answer = served.get(ACME, STATUS);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "queuedTasks": 3,
            "processingTasks": 0,
            "priorityBreakdown": [{ "priority": 5, "count": 2 }, { "priority": 1, "count": 1 }],
            "concurrency": { "used": 0, "max": 0 },
        })
    );
}

#[test]
fn every_refusal_has_its_status_and_the_one_envelope() {
    let served = Served::without_slots(Options {
        waiting: 2,
        ..Options::default()
    });
    let task = json!({ "taskType": "sleep", "idempotencyKey": "once" });

    served.get("wrong", STATUS).refused(401, "UNAUTHORIZED");
    let bare = served.agent.get(served.url(STATUS)).call().unwrap();
    assert_eq!(bare.status().as_u16(), 401);
    assert_eq!(bare.headers()["www-authenticate"], "Bearer");

    served
        .get(ACME, "/v1/async/nothing")
        .refused(404, "RESOURCE_NOT_FOUND");
    let stranger = format!("{TASK}/00000000-0000-7000-8000-000000000000");
    served.get(ACME, &stranger).refused(404, "RESOURCE_NOT_FOUND");
    served
        .post(ACME, STATUS, &json!({}))
        .refused(405, "METHOD_NOT_ALLOWED");

    let made = served.post(ACME, TASK, &task);
    assert_eq!(made.status, 201);
    let again = served.post(ACME, TASK, &task);
    again.refused(409, "RESOURCE_ALREADY_EXISTS");
    assert_eq!(again.body["error"]["details"]["taskId"], made.body["task"]["id"]);
    let other = json!({ "taskType": "hash", "idempotencyKey": "once" });
    served
        .post(ACME, TASK, &other)
        .refused(409, "RESOURCE_ALREADY_EXISTS");

    let long = "x".repeat(Bounds::default().body_bytes);
    served
        .post_text(ACME, TASK, &format!("\"{long}\""))
        .refused(413, "PAYLOAD_TOO_LARGE");

    let wrong = [
        (json!({}), "the body does not fit: missing field `taskType`"),
        (
            json!({ "taskType": "sleep", "priority": 11 }),
            "priority: priority 11 is not a level; use 1 (least urgent) to 10 (most urgent)",
        ),
        (
            json!({ "taskType": "dig" }),
            "taskType: there is no task type \"dig\"; use sleep, hash, fail",
        ),
        (
            json!({ "taskType": "sleep", "payload": { "seconds": -1 } }),
            "payload.seconds: give seconds from 0 to 3600",
        ),
    ];
    for (body, message) in wrong {
        let answer = served.post(ACME, TASK, &body);
        answer.refused(422, "VALIDATION_ERROR");
        let told = answer.body["error"]["message"].as_str().unwrap();
        assert!(told.starts_with(message), "{told}");
    }
    served
        .get(ACME, &format!("{TASK}/seven"))
        .refused(422, "VALIDATION_ERROR");

    assert_eq!(
        served.post(ACME, TASK, &json!({ "taskType": "sleep" })).status,
        201
    );
    let full = served.post(ACME, TASK, &json!({ "taskType": "sleep" }));
    full.refused(429, "QUEUE_FULL");
    assert_eq!(full.retry_after, Some(1));
    assert_eq!(full.body["error"]["details"]["capacity"], 2);
    assert_eq!(waiting(&served, ACME), 2);
}

#[test]
fn a_batch_is_answered_in_the_order_of_input_each_task_alone() {
    let served = Served::without_slots(Options::default());
    served.post(
        ACME,
        TASK,
        &json!({ "taskType": "sleep", "idempotencyKey": "old" }),
    );
    let batch = json!([
        { "taskType": "sleep", "idempotencyKey": "a" },
        { "taskType": "dig" },
        { "taskType": "sleep", "idempotencyKey": "a" },
        { "taskType": "sleep", "idempotencyKey": "old" },
        7,
        { "taskType": "hash", "priority": 10 },
    ]);
    let answer = served.post(ACME, BATCH, &batch);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body["summary"],
        json!({ "total": 6, "succeeded": 2, "failed": 4 })
    );
    let told: Vec<_> = answer.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            let what = result["error"]["code"]
                .as_str()
                .or(result["task"]["status"].as_str());
            (result["index"].as_u64().unwrap(), what.unwrap())
        })
        .collect();
    let expected = [
        (0, "QUEUED"),
        (1, "VALIDATION_ERROR"),
        (2, "RESOURCE_ALREADY_EXISTS"),
        (3, "RESOURCE_ALREADY_EXISTS"),
        (4, "VALIDATION_ERROR"),
        (5, "QUEUED"),
    ];
    assert_eq!(told, expected);
    assert_eq!(waiting(&served, ACME), 3);
}

#[test]
fn a_batch_that_would_not_fit_changes_nothing() {
    let served = Served::without_slots(Options {
        waiting: 4,
        ..Options::default()
    });
    let task = json!({ "taskType": "sleep" });
    let of = |size: usize| Value::from(vec![task.clone(); size]);
    served.post(ACME, BATCH, &of(5)).refused(429, "QUEUE_FULL");
    assert_eq!(waiting(&served, ACME), 0);
    served.post(ACME, BATCH, &of(0)).refused(422, "VALIDATION_ERROR");
    served
        .post(ACME, BATCH, &of(501))
        .refused(422, "VALIDATION_ERROR");
    assert_eq!(served.post(ACME, BATCH, &of(4)).status, 200);
    assert_eq!(waiting(&served, ACME), 4);
}

#[test]
fn no_organisation_sees_another() {
    let served = Served::without_slots(Options::default());
    let task = json!({ "taskType": "sleep", "idempotencyKey": "same" });
    let made = served.post(ACME, TASK, &task);
    let path = format!("{TASK}/{}", made.body["task"]["id"].as_str().unwrap());
    assert_eq!(served.get(ACME, &path).status, 200);
    served.get(GLOBEX, &path).refused(404, "RESOURCE_NOT_FOUND");
    assert_eq!(waiting(&served, GLOBEX), 0);
    // Its keys are its own, too.
    assert_eq!(served.post(GLOBEX, TASK, &task).status, 201);
}

#[test]
fn a_rate_is_refused_with_the_time_to_wait_and_harms_nobody_else() {
    let options = Options {
        rate: 1,
        ..Options::default()
    };
    let served = Served::with(options, Bounds::default());
    let refused = (0..64)
        .map(|_| served.get(ACME, STATUS))
        .find(|answer| answer.status == 429);
    let refused = refused.expect("one in a second is allowed");
    refused.refused(429, "RATE_LIMITED");
    assert_eq!(refused.retry_after, Some(1));
    assert_eq!(served.get(GLOBEX, STATUS).status, 200);
}

#[test]
fn wrong_tokens_are_counted_together() {
    let bounds = Bounds {
        strangers: 1,
        head: Duration::from_secs(5),
        ..Bounds::default()
    };
    let served = Served::with(Options::default(), bounds);
    let refused = (0..64)
        .map(|guess| served.get(&format!("guess-{guess}"), STATUS))
        .find(|answer| answer.status == 429);
    refused
        .expect("one in a second is allowed")
        .refused(429, "RATE_LIMITED");
    assert_eq!(served.get(ACME, STATUS).status, 200);
}
