//! No schema and no parameters make a check run long, deep or for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tenfold::model::Object;
use tenfold::{DeploymentPatch, Engine, Error, NewDeployment, NewRun};

fn object(value: Value) -> Object {
    let Value::Object(object) = value else {
        panic!("an object")
    };
    object
}

/// Every level applies the next one twice: 2^n applications of the last.
fn doubling(levels: usize, inside: bool) -> Object {
    let mut parts: Object = (0..levels)
        .map(|level| {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            let part = if inside {
                json!({"allOf": [{"properties": {"x": next}}, {"properties": {"x": next}}]})
            } else {
                json!({"allOf": [next, next]})
            };
            (format!("d{level}"), part)
        })
        .collect();
    parts.insert(format!("d{levels}"), json!({"type": "object"}));
    object(json!({"$ref": "#/$defs/d0", "$defs": parts}))
}

#[test]
fn e2_schemas_that_multiply_or_circle_are_refused_in_time() {
    let engine = Engine::new();
    let deploy = |schema: Object, parameters: Object| {
        engine.deploy(
            NewDeployment::new("f", "d")
                .parameter_schema(schema)
                .parameters(parameters),
        )
    };
    let chain: Object = (0..5_000)
        .map(|n| (format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)})))
        .collect();
    let mut hostile = vec![
        (doubling(28, false), Object::new()),
        (object(json!({"allOf": [{"$ref": "#"}]})), Object::new()),
        (
            object(json!({"not": {"anyOf": [{"$ref": "#/$defs/a"}]}, "$defs": {"a": {"if": {"$ref": "#"}}}})),
            Object::new(),
        ),
        (
            object(json!({"$ref": "#/$defs/d0", "$defs": chain})),
            Object::new(),
        ),
        (
            object(json!({"$ref": "#here", "$defs": {"a": {"$anchor": "here"}}})),
            Object::new(),
        ),
        (
            object(json!({"$dynamicRef": "#a", "$dynamicAnchor": "a"})),
            Object::new(),
        ),
        (
            object(json!({"properties": {"a": {"$id": "http://b.invalid/", "$ref": "#"}}})),
            Object::new(),
        ),
        (
            object(json!({"properties": {"a": {"pattern": "^(?=a)(a+)\\1$"}}})),
            Object::new(),
        ),
        (
            object(json!({"properties": {"a": {"pattern": "(a{1000}){1000}"}}})),
            Object::new(),
        ),
    ];
    // The value that meets the last part 2^25 times.
    let mut value = json!({});
    for _ in 0..25 {
        value = json!({ "x": value });
    }
    hostile.push((doubling(25, true), object(value)));
    for (schema, parameters) in hostile {
        let shown = serde_json::to_string(&schema).unwrap();
        match deploy(schema, parameters) {
            Err(Error::Invalid(_)) => {}
            other => panic!("{}: {other:?}", &shown[..shown.len().min(200)]),
        }
    }
    // A pattern that would take a backtracking matcher for ever takes this one no time.
    let schema = object(json!({"properties": {"a": {"pattern": "^(a+)+$"}}}));
    let long = format!("{}b", "a".repeat(50_000));
    let refused = deploy(schema, object(json!({ "a": long })));
    if cfg!(feature = "schema") {
        assert!(refused.unwrap_err().to_string().contains("/a"));
    }
}

#[test]
fn e2_a_long_check_holds_nobody_up_and_is_made_again_when_its_schema_changed() {
    if !cfg!(feature = "schema") {
        return;
    }
    let engine = Engine::new();
    let schema = |least: usize| {
        object(json!({"properties": {"n": {"type": "integer", "minimum": least}}, "required": ["n"]}))
    };
    let new = NewDeployment::new("f", "d").parameter_schema(schema(0));
    let id = engine.deploy(new).unwrap().id;
    let over = Arc::new(AtomicBool::new(false));
    let turning = {
        let (engine, over) = (engine.clone(), over.clone());
        std::thread::spawn(move || {
            let mut turns = 0;
            while !over.load(Ordering::Relaxed) || turns < 2 {
                turns += 1;
                let patch = DeploymentPatch::new().parameter_schema(Some(schema(turns % 2 * 10)));
                engine.update_deployment(id, patch).unwrap();
            }
            let last = DeploymentPatch::new().parameter_schema(Some(schema(10)));
            engine.update_deployment(id, last).unwrap();
        })
    };
    let mut accepted = 0;
    for _ in 0..300 {
        match engine.submit(NewRun::of(id).parameter("n", 5)) {
            Ok(_) => accepted += 1,
            Err(refused) => assert!(refused.to_string().contains("minimum"), "{refused}"),
        }
        engine.submit(NewRun::of(id).parameter("n", 10)).unwrap();
        let batch = vec![
            NewRun::of(id).parameter("n", 11),
            NewRun::of(id).parameter("n", -1),
            NewRun::of(id),
        ];
        let answers = engine.submit_batch(batch).unwrap();
        assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_err());
    }
    over.store(true, Ordering::Relaxed);
    turning.join().unwrap();
    assert!(accepted <= 300);
    assert!(engine.submit(NewRun::of(id).parameter("n", 5)).is_err());
}
