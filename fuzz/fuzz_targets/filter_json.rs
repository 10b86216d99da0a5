#![no_main]
//! Any JSON is a question or is refused with its place; what is read prints as text and parses back.

use libfuzzer_sys::fuzz_target;
use tenfold::filter::{Entity, Filter, Limits, Query, Shape};

fuzz_target!(|input: (u8, &str)| {
    let Ok(body) = serde_json::from_str(input.1) else {
        return;
    };
    let entity = Entity::ALL[usize::from(input.0) % Entity::ALL.len()];
    let limits = Limits::default();
    for shape in [Shape::Filter, Shape::Paginate, Shape::Count] {
        match Query::from_json(entity, shape, &body, &limits) {
            Ok(query) => {
                let printed = query.filter().to_string();
                let parsed = Filter::parse(entity, &printed, chrono::DateTime::UNIX_EPOCH, &limits);
                assert_eq!(parsed.as_ref(), Ok(query.filter()), "printed as `{printed}`");
            }
            Err(refusal) => assert!(refusal.to_string().starts_with("body")),
        }
    }
});
