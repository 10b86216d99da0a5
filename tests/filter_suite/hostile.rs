//! Input that means harm meets a typed answer in bounded time and memory.

use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value as Json, json};
use tenfold::filter::{
    Entity, Expr, Filter, Invalid, Limits, Query, RefusalKind, Shape, TextError, TextErrorKind,
};

fn parse(text: &str) -> Result<Filter, TextError> {
    Filter::parse(Entity::Run, text, DateTime::UNIX_EPOCH, &Limits::default())
}

/// Runs `answer` and checks that it took no longer than a loaded machine excuses.
pub(super) fn bounded<T>(answer: impl FnOnce() -> T) -> T {
    #[expect(clippy::disallowed_methods, reason = "the bound is on real time")]
    let start = Instant::now();
    let value = answer();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "took {:?}",
        start.elapsed()
    );
    value
}

#[track_caller]
fn too_large(text: &str) {
    let error = bounded(|| parse(text)).unwrap_err();
    assert!(
        matches!(error.kind(), TextErrorKind::Large(_) | TextErrorKind::Long { .. }),
        "{error}"
    );
    assert!(error.to_string().len() < 2_000, "an error stays short");
}

#[test]
fn f4_depth_bombs_are_refused() {
    too_large(&"(".repeat(1_000_000));
    too_large(&"not ".repeat(1_000_000));
    too_large(&"any task_run where (any subrun where (".repeat(10_000));
    too_large(&format!(
        "{}auto_scheduled{}",
        "(auto_scheduled and (auto_scheduled or ".repeat(1000),
        "))".repeat(1000)
    ));
    too_large(&format!("{}name = 'x'", "parent.run.".repeat(100)));
    let deep: String = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let deep: Json = serde_json::from_str(&deep).unwrap();
    let refusal = Query::from_json(
        Entity::Run,
        Shape::Filter,
        &json!({"flow_runs": {"id": {"any_": deep}}}),
        &Limits::default(),
    );
    assert!(matches!(refusal.unwrap_err().kind, RefusalKind::Type { .. }));
}

#[test]
fn f4_a_tree_built_without_end_is_refused_and_can_be_dropped() {
    let mut expr = Expr::yes();
    for _ in 0..1_000_000 {
        expr = expr.negated();
    }
    let refused = Filter::new(
        Entity::Run,
        expr.clone(),
        &Limits {
            depth: u8::MAX,
            ..Limits::default()
        },
    );
    assert_eq!(
        refused.unwrap_err(),
        Invalid::Depth {
            limit: Expr::DEPTH_MAX - 1
        }
    );
    assert_eq!(expr, expr.clone());
    drop(expr);
}

#[test]
fn f4_a_million_terms_are_refused() {
    too_large(&vec!["auto_scheduled"; 1_000_000].join(" or "));
    too_large(&vec!["priority=1"; 300_000].join(" or "));
    too_large(&format!("priority in [{}]", vec!["1"; 1_000_000].join(",")));
    let prefixes: Json = vec!["a"; 100_000].into_iter().collect();
    let body = json!({"work_queues": {"name": {"startswith_": prefixes}}});
    let refusal =
        bounded(|| Query::from_json(Entity::Queue, Shape::Filter, &body, &Limits::default())).unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Large(Invalid::Nodes { .. })));
    let names: Json = vec!["a"; 1_000_000].into_iter().collect();
    let body = json!({"flow_runs": {"name": {"any_": names}}});
    let refusal =
        bounded(|| Query::from_json(Entity::Run, Shape::Filter, &body, &Limits::default())).unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Large(Invalid::Items { .. })));
    assert_eq!(refusal.location.to_string(), "body.flow_runs.name.any_");
}

#[test]
fn f4_ten_megabytes_are_refused() {
    let large = "x".repeat(10 << 20);
    too_large(&format!("name = '{large}'"));
    too_large(&format!("name = '{}'", &large[..1 << 20]));
    for body in [
        json!({"flow_runs": {"name": {"like_": large}}}),
        json!({"flow_runs": {"name": {"any_": [large]}}}),
        json!({"flow_runs": {"start_time": {"after_": large}}}),
        json!({"flow_runs": {large.clone(): {}}}),
        json!({"flow_runs": {"state": {"type": {"any_": [large]}}}}),
        json!({"sort": large, "limit": large}),
        json!({"limit": "9".repeat(10 << 20)}),
    ] {
        let refusal =
            bounded(|| Query::from_json(Entity::Run, Shape::Filter, &body, &Limits::default())).unwrap_err();
        assert!(refusal.to_string().len() < 500, "an error stays short");
    }
    let ignored = (0..1000)
        .map(|n| (format!("{n}{large}").chars().take(1000).collect(), json!(1)))
        .collect();
    let query = Query::from_json(
        Entity::Run,
        Shape::Filter,
        &Json::Object(ignored),
        &Limits::default(),
    )
    .unwrap();
    assert!(query.notices().len() < 100 && query.notices()[0].to_string().len() < 200);
}

#[test]
fn f4_odd_characters_and_numbers_are_answered() {
    for text in [
        "\u{FEFF}name = 'x'",
        "name\u{0}= 'x'",
        "𝒏ame = 'x'",
        "name = “x”",
        "name = '\\u{D800}'",
        "name = '\\u{}'",
        "name = '\\u{110000}'",
        "name = '\\u{FFFFFFFFFFFFFFFF}'",
        "name = '\\",
        "priority = -",
        "priority = --1",
        "priority = 1e5",
        "priority = -9223372036854775809",
        "priority = ٣",
        "total_run_time = 99999999999999999999d",
        "total_run_time = 9999999999999d",
        "created > now + 9999999999999w",
        "created > now -",
        "created = @99999999999999999999",
        "created = '0000-01-01'",
        "created = '10000-01-01'",
        "name in [",
        "name in [,]",
        "name in ['a' 'b']",
        "name is",
        "name is not",
        "not",
        "any",
        "any run",
        "any task_run where",
        "run.",
        ".name",
        "run..name",
        "a.b.c.d",
        "(",
        ")",
        "()",
        "name = 'a' or",
        "or",
        "and and",
        "true false",
        "name = true",
        "🚀",
        "id = 'x'",
        "tags has_all 'x'",
    ] {
        let error = bounded(|| parse(text)).expect_err(text);
        let picture = error.to_string();
        assert!(
            text.get(error.span()).is_some(),
            "the span is on character boundaries: {text}"
        );
        assert!(picture.contains('^'), "{picture}");
    }
    for text in [
        "priority = -9223372036854775808",
        "priority = 9223372036854775807",
        "name = '𝒏'",
        "name = '\u{202E}'",
        "name = \"\u{0}\"",
        "\n\tname = 'x'\r\n",
    ] {
        let filter = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(parse(&filter.to_string()).as_ref(), Ok(&filter));
    }
    for number in [
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(-0.0),
        json!("-"),
        json!("+"),
        json!("."),
        json!("_"),
    ] {
        for key in ["limit", "offset"] {
            let body = json!({key: number, "flow_runs": {"start_time": {"after_": number}}});
            bounded(|| Query::from_json(Entity::Run, Shape::Filter, &body, &Limits::default()).is_ok()); // either answer is fine
        }
    }
}
