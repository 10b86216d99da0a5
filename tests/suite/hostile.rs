//! Documents that mean harm meet a typed answer in bounded time and memory, and change nothing.

use serde_json::{Value, json};
use tenfold::Error;
use tenfold::engine::Document;

use super::damage::{document, places, survives};
use super::support::{engine, refused};

/// Every value of a document is replaced by each of these: what is taken makes an engine that works, the rest is refused.
#[test]
fn e2_a_document_damaged_at_any_one_place_is_refused_or_makes_a_sound_engine() {
    let sound = document();
    assert!(survives(sound.clone()), "as it was exported");
    let hostile = [
        Value::Null,
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(""),
        json!("\u{202E}\u{0}é"),
        json!([]),
        json!({}),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("9999-12-31T23:59:59Z"),
    ];
    let (mut taken, mut tried) = (0, 0);
    let places = places(&sound);
    for (n, place) in places.iter().enumerate() {
        // Each place meets some of them, all together meet all.
        for value in hostile.iter().skip(n % 3).step_by(3) {
            let mut damaged = sound.clone();
            *damaged.pointer_mut(place).expect("a place of the document") = value.clone();
            tried += 1;
            taken += usize::from(survives(damaged));
        }
        // And the value of another place.
        let mut damaged = sound.clone();
        let other = sound
            .pointer(&places[(n * 7 + 3) % places.len()])
            .expect("a place")
            .clone();
        *damaged.pointer_mut(place).expect("a place of the document") = other;
        taken += usize::from(survives(damaged));
        tried += 1;
    }
    assert!(0 < taken && taken < tried, "{taken} of {tried}");
}

#[test]
fn e2_documents_that_are_deep_long_or_no_text_are_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Document>(&deep).is_err());
    assert!(serde_json::from_slice::<Document>(b"{\"format\": \"\xff\xfe\"}").is_err());
    let mut sound = document();
    sound["flows"][0]["name"] = json!("x".repeat(10 << 20));
    assert!(!survives(sound.clone()));
    sound["flows"][0]["name"] = json!("flow");
    sound["deployments"][0]["parameters"] = json!({ "x": "y".repeat(10 << 20) });
    survives(sound.clone());
    sound["deployments"][0]["tags"] = vec!["t"; 1_000_000].into();
    survives(sound);
}

#[test]
fn e2_records_that_are_deep_long_or_odd_are_refused() {
    let (engine, _) = engine();
    let id = "11111111-2222-4333-8444-555555555555";
    let at = "2026-01-01T00:00:00Z";
    let flow = |name: Value, more: Value| {
        let mut flow =
            json!({"id": id, "created": at, "updated": at, "name": name, "tags": [], "labels": {}});
        for (key, value) in more.as_object().expect("an object") {
            flow[key] = value.clone();
        }
        json!({ "flows": [flow] })
    };
    let mut nested = json!(1);
    for _ in 0..120 {
        nested = json!([nested]);
    }
    let odd = [
        flow(json!("x".repeat(10 << 20)), json!({})),
        flow(json!("ok"), json!({"created": "9".repeat(1 << 20)})),
        flow(json!("ok"), json!({"id": "not an id"})),
        flow(json!("ok"), json!({"tags": vec!["t"; 1_000_000]})),
        flow(json!("ok"), json!({"labels": {"x": nested.clone()}})),
        json!({"flows": vec![json!({"id": id, "created": at, "updated": at, "name": "twice"}); 2]}),
        json!({"flows": nested}),
        json!({"flow_runs": [{"id": id, "created": at, "updated": at, "name": "r", "flow_id": id}]}),
        json!([]),
        json!("text"),
    ];
    for document in odd {
        let shown: String = document.to_string().chars().take(120).collect();
        let error = refused(&engine, |engine| {
            engine.load_records(&document).inspect_err(|error| {
                assert!(error.to_string().len() < 2_000, "an error stays short");
            })
        });
        assert!(
            matches!(
                error,
                Error::Document { .. } | Error::Invalid(_) | Error::Full { .. }
            ),
            "{shown}: {error}"
        );
    }
    let taken = engine.load_records(&flow(json!("𝒏\u{202E}ok"), json!({})));
    assert_eq!(taken.expect("odd letters are letters").flows, 1);
}
