#![no_main]
//! Any JSON becomes one of the ten levels or is refused, and a level prints as the number that was read.

use libfuzzer_sys::fuzz_target;
use tenfold::Priority;

fuzz_target!(|text: &str| {
    let Ok(priority) = serde_json::from_str::<Priority>(text) else {
        return;
    };
    assert!(
        (1..=10).contains(&priority.level()),
        "level {priority} out of `{text}`"
    );
    assert_eq!(serde_json::to_string(&priority).ok(), Some(priority.to_string()));
});
