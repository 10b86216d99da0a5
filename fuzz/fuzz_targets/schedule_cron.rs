#![no_main]
//! Any text is a cron schedule or refused; what is accepted fires, in order, and the same from anywhere.

use libfuzzer_sys::fuzz_target;
use tenfold::schedule::{DayMatch, Schedule};

fuzz_target!(|input: (&str, bool)| {
    let (text, both) = input;
    let days = if both { DayMatch::Both } else { DayMatch::Either };
    let schedule = match Schedule::cron_with_days(text, "Europe/Berlin", days) {
        Ok(schedule) => schedule,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let dates: Vec<_> = schedule.occurrences(..).take(20).collect();
    assert!(!dates.is_empty(), "`{text}` never fires");
    for pair in dates.windows(2) {
        assert!(pair[0] < pair[1], "`{text}` goes back");
        assert_eq!(schedule.next_after(pair[0]), Some(pair[1]), "`{text}`");
    }
});
