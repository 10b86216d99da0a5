//! The text form: what it means, and F4, what it says when it cannot.

use chrono::{DateTime, TimeZone, Utc};
use tenfold::filter::{Entity, Filter, Limits, TextErrorKind};

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 5, 1, 12, 0, 0).unwrap()
}

#[track_caller]
fn reads(entity: Entity, text: &str, printed: &str) {
    let filter =
        Filter::parse(entity, text, noon(), &Limits::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(filter.to_string(), printed);
}

#[track_caller]
fn fails(entity: Entity, text: &str, picture: &str) {
    let error = Filter::parse(entity, text, noon(), &Limits::default()).unwrap_err();
    let picture: Vec<&str> = picture
        .lines()
        .map(|line| line.strip_prefix("        ").unwrap_or(line))
        .collect();
    assert_eq!(error.to_string(), picture.join("\n"));
}

#[test]
fn f1_the_text_form_reads_as_written() {
    for (entity, text, printed) in [
        (
            Entity::Deployment,
            r#"deployment.tags has_all ["etl"] and not deployment.paused"#,
            r#"tags has_all ["etl"] and not paused"#,
        ),
        (
            Entity::Run,
            "state_type in [RUNNING, PENDING,]",
            r#"state_type in ["PENDING", "RUNNING"]"#,
        ),
        (
            Entity::Run,
            "total_run_time > 90m and priority != -3",
            "total_run_time > 1h30m and priority != -3",
        ),
        (
            Entity::Run,
            "created > now - 1d12h or created <= now",
            r#"created > "2024-04-30T00:00:00Z" or created <= "2024-05-01T12:00:00Z""#,
        ),
        (
            Entity::Run,
            "not (name = 'a' or name = 'b') and true",
            r#"not (name = "a" or name = "b") and true"#,
        ),
        (
            Entity::Run,
            "name = 'a' and name = 'b' or name = 'c'",
            r#"name = "a" and name = "b" or name = "c""#,
        ),
        (
            Entity::Run,
            "(name = 'a' and name = 'b') and name = 'c'",
            r#"(name = "a" and name = "b") and name = "c""#,
        ),
    ] {
        reads(entity, text, printed);
    }
}

#[test]
fn f1_words_and_paths_read_as_written() {
    for (entity, text, printed) in [
        (Entity::Run, "((name = 'a'))", r#"name = "a""#),
        (Entity::Run, "not not auto_scheduled", "not not auto_scheduled"),
        (Entity::Run, "name not in []", "name not in []"),
        (Entity::Run, "name not contains 'x'", r#"not name contains "x""#),
        (
            Entity::Run,
            r"name = 'it\'s \u{1F680} \n'",
            "name = \"it's 🚀 \\n\"",
        ),
        (
            Entity::Run,
            "deployment.flow.name starts_with 'x'",
            r#"deployment.flow.name starts_with "x""#,
        ),
        (Entity::Run, "pool.paused", "queue.pool.paused"),
        (
            Entity::TaskRun,
            "pool.name != 'gpu'",
            r#"run.queue.pool.name != "gpu""#,
        ),
        (
            Entity::Run,
            "deployment.version is null",
            "no deployment where (version is not null)",
        ),
        (
            Entity::Run,
            "deployment.version is not null",
            "any deployment where (version is not null)",
        ),
        (
            Entity::Flow,
            "no run WHERE (any task_run) AND any deployment",
            "no run where (any task_run) and any deployment",
        ),
        (
            Entity::Run,
            "end_time = @-9223372036854775808",
            "end_time = @-9223372036854775808",
        ),
        (
            Entity::Run,
            "start_time in ['2024-05-01', '2024-05-01T02:00+02:00']",
            r#"start_time = "2024-05-01T00:00:00Z""#,
        ),
    ] {
        reads(entity, text, printed);
    }
}

#[test]
fn f4_a_wrong_name_is_shown_with_a_caret_and_the_way_out() {
    fails(
        Entity::Deployment,
        r#"tags has_all ["etl"] and pausd"#,
        r#"a deployment has no field `pausd` (did you mean `paused`?)
          | tags has_all ["etl"] and pausd
          |                          ^^^^^"#,
    );
    fails(
        Entity::Pool,
        "colour = 'red'",
        "a pool has no field `colour`; it has id, created, updated, name, description, type, paused, concurrency_limit, status, default_queue_id
          | colour = 'red'
          | ^^^^^^",
    );
    fails(
        Entity::Flow,
        "run.name = 'x'",
        "a flow can have more than one run; write `any run where (…)`
          | run.name = 'x'
          | ^^^",
    );
    fails(
        Entity::Deployment,
        "any task_run where (name = 'x')",
        "a deployment is not related to `task_run`, but to flow, queue, run
          | any task_run where (name = 'x')
          |     ^^^^^^^^",
    );
    fails(
        Entity::Deployment,
        "any run where state_type = FAILED",
        "expected a condition in parentheses, found `state_type`
          | any run where state_type = FAILED
          |               ^^^^^^^^^^",
    );
    fails(
        Entity::Run,
        "flow_name = 'crawl'",
        "a run has no field `flow_name` (did you mean `flow.name`?)
          | flow_name = 'crawl'
          | ^^^^^^^^^",
    );
    fails(
        Entity::Run,
        "name = 'été' and été = 1",
        "a run has no field `été`; it has id, created, updated, name, flow_id, deployment_id, deployment_version, flow_version, work_queue_id, work_queue_name, idempotency_key, tags, parent_task_run_id, state_type, state_name, state_timestamp, place, priority, run_count, expected_start_time, next_scheduled_start_time, start_time, start_or_expected, end_time, total_run_time, auto_scheduled, created_by_id, created_by_type
          | name = 'été' and été = 1
          |                  ^^^",
    );
}

#[test]
fn f4_a_wrong_operand_is_shown_with_a_caret_and_the_way_out() {
    fails(
        Entity::Deployment,
        "tags contains 'etl'",
        "`contains` cannot test `tags`, which is a list of tags; use has_all, has_any, has, is empty
          | tags contains 'etl'
          |      ^^^^^^^^",
    );
    fails(
        Entity::Deployment,
        "paused = 'yes'",
        "`paused` is true or false; expected `true` or `false`, found a text
          | paused = 'yes'
          |          ^^^^^",
    );
    fails(
        Entity::Run,
        "state_type = RUNING",
        "`state_type` is one of SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, CRASHED, PAUSED, CANCELLING (did you mean `RUNNING`?)
          | state_type = RUNING
          |              ^^^^^^",
    );
    fails(
        Entity::Run,
        "total_run_time > 5 minutes",
        "`total_run_time` is a duration; expected a duration such as 90s or 2h30m, in w, d, h, m, s, ms or us, found `5`
          | total_run_time > 5 minutes
          |                  ^",
    );
    fails(
        Entity::Run,
        "priority = 99999999999999999999",
        "this number is out of range
          | priority = 99999999999999999999
          |            ^^^^^^^^^^^^^^^^^^^^",
    );
}

#[test]
fn f4_wrong_grammar_is_shown_with_a_caret_and_the_way_out() {
    fails(
        Entity::Run,
        "priority > 3 and\n  (name = 'x'",
        "expected `and`, `or` or `)`, found the end
          |   (name = 'x'
          |              ^",
    );
    fails(
        Entity::Run,
        "name contians 'x'",
        "expected an operator, found `contians` (did you mean `contains`?)
          | name contians 'x'
          |      ^^^^^^^^",
    );
    fails(
        Entity::Run,
        "1 < priority < 5",
        "expected a field, `not`, `any`, `no`, `true`, `false` or `(`, found `1`
          | 1 < priority < 5
          | ^",
    );
    fails(
        Entity::Run,
        "priority < 5 < 6",
        "expected `and`, `or` or the end; comparisons do not chain, found `<`
          | priority < 5 < 6
          |              ^",
    );
    fails(
        Entity::Run,
        "name = 'open",
        "this text has no closing quote
          | name = 'open
          |        ^^^^^",
    );
    fails(
        Entity::Run,
        "name = 'a' && name = 'b'",
        "unexpected character '&'; put texts in quotes
          | name = 'a' && name = 'b'
          |            ^",
    );
    fails(
        Entity::Run,
        "  ",
        "the filter is empty; write `true` for everything
          |   
          | ^^",
    );
}

#[test]
fn f4_a_long_line_is_shown_around_the_fault() {
    let text = format!(
        "{} and nmae = 'x' and {}",
        vec!["priority > 1"; 100].join(" and "),
        vec!["priority > 1"; 100].join(" and ")
    );
    let error = Filter::parse(Entity::Run, &text, noon(), &Limits::default()).unwrap_err();
    assert_eq!(&text[error.span()], "nmae");
    assert_eq!(error.source_text(), text);
    assert!(matches!(
        error.kind(),
        TextErrorKind::UnknownField {
            suggestion: Some("name"),
            ..
        }
    ));
    let picture = error.to_string();
    let lines: Vec<&str> = picture.lines().collect();
    assert_eq!(lines.len(), 3);
    let caret = lines[2].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[1].chars().skip(caret).take(4).collect::<String>(), "nmae");
    assert!(lines[1].chars().count() < 200);
}
