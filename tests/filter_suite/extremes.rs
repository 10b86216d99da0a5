//! Filters at the edge of what is allowed: each is answered in bounded time, by an index as by a scan, or refused with its reason.

use chrono::DateTime;
use serde_json::{Value as Json, json};
use tenfold::NewDeployment;
use tenfold::filter::build::{self, deployment, run};
use tenfold::filter::{Entity, Expr, Field, Filter, Limits, Op, Query, Set, Shape};

use super::hostile::bounded;
use super::indexes::Twins;

const ODD: [&str; 12] = [
    "e\u{301}te",      // a letter and a combining accent
    "\u{e9}te",        // the same to a reader, another text
    "\u{202E}gnp.exe", // right to left
    "nul\u{0}inside",
    "\u{FEFF}mark",
    "zero\u{200B}width",
    "\u{1F469}\u{200D}\u{1F4BB}", // one picture of three characters
    "ẞtraße",
    "İstanbul",
    "ﬁle", // a ligature
    "\u{FFFD}",
    "𝒏ame",
];

fn catalog() -> Twins {
    let mut twins = Twins::new(7);
    for name in ODD {
        let new = NewDeployment::new("flow", name).tag(name);
        let made = twins.both(|engine| engine.deploy(new.clone()).unwrap());
        twins.deployments.push(made);
    }
    for n in 0..1_200 {
        let new = NewDeployment::new("flow", format!("plain-{n}")).tag(["a", "b", "c"][n % 3]);
        twins.both(|engine| engine.deploy(new.clone()).unwrap());
    }
    twins
}

fn parse(text: &str) -> Filter {
    let limits = Limits::default();
    Filter::parse(Entity::Deployment, text, DateTime::UNIX_EPOCH, &limits)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// How many match, by index and by scan alike.
#[track_caller]
fn count(twins: &Twins, filter: Filter) -> u64 {
    let query = Query::new(filter);
    bounded(|| twins.ask(&query));
    twins.indexed.count(&query).unwrap()
}

#[test]
fn f4_odd_texts_are_found_as_they_are_and_not_as_they_look() {
    let twins = catalog();
    for name in ODD {
        let equal = Expr::test(
            Field::DeploymentName,
            Op::In(Set::Texts(vec![name.into()].into())),
        )
        .unwrap();
        for expr in [
            equal,
            Expr::test(Field::DeploymentTags, Op::HasAll(vec![name.into()].into())).unwrap(),
        ] {
            let filter = Filter::new(Entity::Deployment, expr, &Limits::default()).unwrap();
            assert_eq!(
                parse(&filter.to_string()),
                filter,
                "text prints {name:?} and reads it back"
            );
            assert_eq!(count(&twins, filter), 1, "{name:?}");
        }
        let part = deployment::name()
            .contains(name)
            .filter(&Limits::default())
            .unwrap();
        assert!(count(&twins, part) >= 1, "{name:?}");
        let body = json!({"deployments": {"name": {"any_": [name]}}});
        let query = Query::from_json(Entity::Deployment, Shape::Filter, &body, &Limits::default()).unwrap();
        assert_eq!(count(&twins, query.filter().clone()), 1, "{name:?}");
    }
    // Letters compare by simple case folding, and nothing is normalised.
    assert_eq!(count(&twins, parse("name contains 'E\u{301}TE'")), 1);
    assert_eq!(count(&twins, parse("name contains 'ÉTE'")), 1);
}

#[test]
fn f4_json_that_is_no_text_is_refused_before_it_is_a_filter() {
    for bytes in [
        &b"{\"deployments\": {\"name\": {\"any_\": [\"\xff\xfe\"]}}}"[..],
        b"{\"deployments\": {\"name\": {\"any_\": [\"\\ud800\"]}}}",
        b"{\"deployments\": {\"name\": {\"any_\": [\"\\udc00\\ud800\"]}}}",
        b"{\"deployments\": {\"name\": {\"any_\": [\"\x00\"]}}}",
        b"{\"limit\": 1e999}",
        b"{\"limit\": NaN}",
    ] {
        assert!(
            serde_json::from_slice::<Json>(bytes).is_err(),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert!(serde_json::from_str::<Json>(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn f4_of_a_key_that_stands_twice_the_last_counts() {
    let twins = catalog();
    let body = r#"{"deployments": {"name": {"any_": ["plain-1"], "any_": ["plain-2", "plain-3"]}}, "limit": 1, "limit": 5}"#;
    let body: Json = serde_json::from_str(body).unwrap();
    let query = Query::from_json(Entity::Deployment, Shape::Filter, &body, &Limits::default()).unwrap();
    assert_eq!((query.limit(), count(&twins, query.filter().clone())), (5, 2));
}

#[test]
fn f3_empty_lists_and_complements_make_the_total() {
    let twins = catalog();
    let total = count(&twins, Filter::everything(Entity::Deployment));
    for (text, expected) in [
        ("name in []", 0),
        ("name not in []", total),
        ("tags has_any []", 0),
        ("tags has_all []", total),
        ("priority in []", 0),
        ("concurrency_limit in []", 0),
        ("concurrency_limit not in []", total),
        ("any run where (true)", 0),
        ("not any run where (false)", total),
        ("name contains ''", total),
        ("name starts_with ''", total),
        ("name = ''", 0),
    ] {
        assert_eq!(count(&twins, parse(text)), expected, "{text}");
        assert_eq!(
            count(&twins, parse(&format!("not ({text})"))),
            total - expected,
            "not {text}"
        );
    }
    for (criterion, body) in [
        ("name", json!({"any_": []})),
        ("tags", json!({"all_": []})),
        ("tags", json!({"any_": []})),
        ("id", json!({"any_": []})),
    ] {
        let body = json!({"deployments": {criterion: body}});
        let query =
            bounded(|| Query::from_json(Entity::Deployment, Shape::Filter, &body, &Limits::default()));
        if let Ok(query) = query {
            count(&twins, query.filter().clone());
        }
    }
}

#[test]
fn f4_numbers_and_instants_beyond_their_ends_are_refused_or_answered() {
    let twins = catalog();
    for text in [
        "priority <= 9223372036854775807",
        "priority >= -9223372036854775808",
        "priority > 9223372036854775807",
        "priority < -9223372036854775808",
        "priority in [-9223372036854775808, 9223372036854775807]",
        "created > '0001-01-01'",
        "created < '9999-12-31T23:59:59.999999Z'",
        "created > now - 100w",
        "any run where (total_run_time >= 0s)",
        "any run where (total_run_time > 9000000000000ms)",
    ] {
        count(&twins, parse(text));
    }
    for text in [
        "created > now - 1000000000000000000d",
        "created > now + 1000000000000000000d",
        "created > now - 9223372036854775807w",
        "created > now + 99999999999999999999999999999s",
        "any run where (total_run_time > 9223372036854775807d)",
        "any run where (total_run_time > 1e400s)",
        "priority = 1e308",
        "priority = 1e-400",
        "priority = -0.0",
        "priority = 9223372036854775808",
        "created > '9999-99-99'",
        "created > '+292277026596-12-04'",
    ] {
        let refused = bounded(|| {
            Filter::parse(Entity::Deployment, text, DateTime::UNIX_EPOCH, &Limits::default()).expect_err(text)
        });
        assert!(refused.to_string().contains('^'), "{refused}");
    }
    for number in [
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e308),
        json!(1e-400),
        json!(-0.0),
        json!(0.1),
    ] {
        for body in [
            json!({"deployments": {"concurrency_limit": {"ge_": number}}}),
            json!({"deployments": {"concurrency_limit": {"le_": number}}}),
            json!({"deployments": {"paused": {"eq_": number}}}),
            json!({"flow_runs": {"expected_start_time": {"after_": number}}}),
            json!({"limit": number}),
            json!({"offset": number}),
        ] {
            let query =
                bounded(|| Query::from_json(Entity::Deployment, Shape::Filter, &body, &Limits::default()));
            match query {
                Ok(query) => drop(count(&twins, query.filter().clone())),
                Err(refused) => assert!(refused.to_string().len() < 500, "{refused}"),
            }
        }
    }
}

#[test]
fn f4_filters_as_large_as_allowed_are_answered_in_bounded_time() {
    let twins = catalog();
    let limits = Limits::default();
    let terms = |n: usize| {
        (0..n)
            .map(|n| format!("name contains 'plain-{n}'"))
            .collect::<Vec<_>>()
            .join(" or ")
    };
    assert_eq!(count(&twins, parse(&terms(300))), 1_200);
    let names = (0..100_000).map(|n| format!("plain-{n}"));
    let filter = deployment::name().is_in(names).filter(&limits).unwrap();
    assert_eq!(count(&twins, filter), 1_200);
    // As deep as a tree may be, in each front.
    let deep = format!("{}paused{}", "not (".repeat(30), ")".repeat(30));
    assert_eq!(count(&twins, parse(&deep)), 0);
    let mut condition = build::Condition::<build::Run>::everything();
    for _ in 0..3 {
        condition = run::deployment(deployment::any_run(condition));
    }
    let filter = deployment::any_run(condition.clone());
    assert!(
        filter
            .clone()
            .filter(&Limits {
                relations: 7,
                ..limits
            })
            .is_ok()
    );
    assert_eq!(
        count(
            &twins,
            filter
                .filter(&Limits {
                    relations: 7,
                    ..limits
                })
                .unwrap()
        ),
        0
    );
    for _ in 0..100 {
        condition = run::deployment(deployment::any_run(condition));
    }
    let refused = bounded(|| deployment::any_run(condition).filter(&limits)).unwrap_err();
    assert!(
        refused.to_string().contains("relation") || refused.to_string().contains("deep"),
        "{refused}"
    );
}
