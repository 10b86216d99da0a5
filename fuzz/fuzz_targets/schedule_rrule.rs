#![no_main]
//! Any text is a recurrence or refused, in bounded time; its dates are in order, and the same from anywhere.

use libfuzzer_sys::fuzz_target;
use tenfold::schedule::Schedule;

fuzz_target!(|text: &str| {
    let schedule = match Schedule::rrule(text, "America/New_York") {
        Ok(schedule) => schedule,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let dates: Vec<_> = schedule.occurrences(..).take(20).collect();
    for pair in dates.windows(2) {
        assert!(pair[0] < pair[1], "`{text}` goes back");
        assert_eq!(schedule.next_after(pair[0]), Some(pair[1]), "`{text}`");
    }
});
