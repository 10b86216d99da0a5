//! Prints the next dates of three schedules around the night on which New York's clocks go forward, and checks them.
//!
//! Run it with `cargo run --example cron_schedule`.

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::schedule::{Schedule, ScheduleError, zone_data_version};

fn main() -> Result<(), ScheduleError> {
    let zone = "America/New_York";
    let saturday: DateTime<Utc> = "2026-03-07T17:00:00Z".parse().expect("a time stamp");
    println!("zone data {}", zone_data_version());

    // 02:30 does not exist on Sunday: the clock jumps from 02:00 to 03:00.
    let nightly = Schedule::cron("30 2 * * *", zone)?;
    show(&nightly, saturday);
    assert_eq!(
        nightly.explain(saturday, 1)[0].to_string(),
        "2026-03-08T03:30:00-04:00 (moved out of a gap: the clock skips 2026-03-08 02:30:00)"
    );

    // A day on the local clock is 23 hours long that day.
    let daily = Schedule::interval(TimeDelta::hours(24), saturday, zone)?;
    show(&daily, saturday);
    let days = daily.preview(saturday, 2);
    assert_eq!(days[1] - days[0], TimeDelta::hours(23));

    // The last weekday of each month, at five in the afternoon.
    let month_end = Schedule::rrule("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=17", zone)?;
    show(&month_end, saturday);
    assert_eq!(
        month_end.preview(saturday, 1)[0].to_rfc3339(),
        "2026-03-31T21:00:00+00:00"
    );

    // A wrong text is shown with the place and a way out.
    let error = Schedule::cron("0 25 * * *", zone).expect_err("there is no hour 25");
    println!("{error}");
    Ok(())
}

fn show(schedule: &Schedule, from: DateTime<Utc>) {
    println!("{schedule}");
    for date in schedule.explain(from, 3) {
        println!("    {date}");
    }
}
