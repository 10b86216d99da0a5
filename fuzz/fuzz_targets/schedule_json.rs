#![no_main]
//! Any JSON is a schedule or refused; a schedule prints as JSON that reads back as an equal one.

use libfuzzer_sys::fuzz_target;
use tenfold::schedule::Schedule;

fuzz_target!(|text: &str| {
    let Ok(schedule) = serde_json::from_str::<Schedule>(text) else {
        return;
    };
    let printed = serde_json::to_string(&schedule).expect("every schedule can be printed");
    let back: Schedule = serde_json::from_str(&printed).expect("what was printed can be read");
    assert_eq!(back, schedule, "printed as {printed}");
    assert!(schedule.occurrences(..).take(10).is_sorted());
});
