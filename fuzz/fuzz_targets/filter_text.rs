#![no_main]
//! Any text is a filter or is refused with a picture; what parses prints back to an equal filter.

use libfuzzer_sys::fuzz_target;
use tenfold::filter::{Entity, Filter, Limits};

fuzz_target!(|input: (u8, &str)| {
    let (entity, text) = (Entity::ALL[usize::from(input.0) % Entity::ALL.len()], input.1);
    let (now, limits) = (chrono::DateTime::UNIX_EPOCH, Limits::default());
    match Filter::parse(entity, text, now, &limits) {
        Ok(filter) => {
            let printed = filter.to_string();
            assert_eq!(
                Filter::parse(entity, &printed, now, &limits).as_ref(),
                Ok(&filter),
                "printed as `{printed}`"
            );
            if let Ok(body) = filter.to_json() {
                let read = Filter::from_json(entity, &body, &limits).expect("what was printed reads back");
                assert_eq!(read.expr().plain(), filter.expr().plain(), "printed as {body}");
            }
        }
        Err(error) => assert!(error.to_string().contains('^') && text.get(error.span()).is_some()),
    }
});
