//! What the page asks for.

use std::io::{BufRead, BufReader};

use serde_json::json;

use super::{ACME, GLOBEX, Served};

#[test]
fn the_page_needs_no_token_and_lets_nothing_in_from_elsewhere() {
    let served = Served::new();
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
    ] {
        let response = served.agent.get(served.url(path)).call().unwrap();
        let headers = response.headers();
        assert!(headers["content-type"].to_str().unwrap().starts_with(kind));
        if path == "/" {
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'"),
                "{policy}"
            );
        }
    }
}

#[test]
fn f4_a_wrong_filter_comes_back_with_a_caret() {
    let served = Served::new();
    let answer = served.post(
        ACME,
        "/page/runs",
        &json!({ "filter": "priority > 3 and stat_type = x" }),
    );
    answer.refused(422, "VALIDATION_ERROR");
    assert_eq!(
        answer.body["error"]["message"],
        "a run has no field `stat_type` (did you mean `state_type`?)\n  \
           | priority > 3 and stat_type = x\n  \
           |                  ^^^^^^^^^"
    );
}

#[test]
fn the_table_is_what_the_filter_says_and_only_of_the_own_organisation() {
    let served = Served::without_slots(crate::args::Options::default());
    for level in [2, 9, 4] {
        let task = json!({ "taskType": "sleep", "priority": level });
        assert_eq!(served.post(ACME, "/v1/async/task", &task).status, 201);
    }
    let asked = json!({ "filter": "priority >= 4 and tags has \"sleep\"", "limit": 1 });
    let answer = served.post(ACME, "/page/runs", &asked);
    assert_eq!(
        (answer.status, &answer.body["count"]),
        (200, &json!(2)),
        "{answer:?}"
    );
    assert_eq!(answer.body["rows"].as_array().unwrap().len(), 1);
    assert_eq!(served.post(GLOBEX, "/page/runs", &asked).body["count"], 0);
    let upcoming = served.get(ACME, "/page/upcoming");
    assert_eq!((upcoming.status, &upcoming.body["count"]), (200, &json!(0)));
}

#[test]
fn the_stream_tells_the_past_then_every_change() {
    let served = Served::without_slots(crate::args::Options::default());
    let request = served.agent.get(served.url("/page/live"));
    let response = request
        .header("authorization", format!("Bearer {ACME}"))
        .call()
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut lines = BufReader::new(response.into_body().into_reader())
        .lines()
        .map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("event: history"));
    served.post(
        ACME,
        "/v1/async/task",
        &json!({ "taskType": "hash", "priority": 7 }),
    );
    let told = lines
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
        .find(|told| told["status"]["queuedTasks"] == 1)
        .unwrap();
    assert_eq!(
        told["status"]["priorityBreakdown"],
        json!([{ "priority": 7, "count": 1 }])
    );
    assert_eq!(told["totals"]["accepted"], 1);
}

#[test]
fn metrics_are_of_the_own_organisation_or_say_how_to_have_them() {
    let served = Served::without_slots(crate::args::Options::default());
    let task = json!({ "taskType": "sleep", "priority": 8 });
    assert_eq!(served.post(ACME, "/v1/async/task", &task).status, 201);
    let answer = served.get(ACME, "/metrics");
    if cfg!(feature = "metrics") {
        let text = answer.body.as_str().unwrap();
        let line = r#"tenfold_runs_waiting{organisation="acme",priority="8"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("globex"), "{text}");
    } else {
        answer.refused(404, "RESOURCE_NOT_FOUND");
    }
    assert_eq!(served.get("wrong", "/metrics").status, 401);
}

#[test]
fn t4_a_run_says_why_it_waits() {
    let served = Served::without_slots(crate::args::Options::default());
    let task = served.post(ACME, "/v1/async/task", &json!({ "taskType": "sleep" }));
    let path = format!("/page/runs/{}/explain", task.body["task"]["id"].as_str().unwrap());
    let told = served.get(ACME, &path);
    let text = told.body["text"].as_str().unwrap();
    assert!(text.contains("all 0 slots of the engine are in use"), "{text}");
    assert!(told.body["explanation"]["why"]["waiting"].is_object(), "{told:?}");
    served.get(GLOBEX, &path).refused(404, "RESOURCE_NOT_FOUND");
    served
        .get(ACME, "/page/runs/7/explain")
        .refused(422, "VALIDATION_ERROR");
}
