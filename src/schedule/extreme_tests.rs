//! Arguments at the ends of what chrono and the machine's numbers can say: years -262143 to 262142, the longest and the least
//! spans, as many dates as there are. Nothing panics, nothing hangs, and what is answered is in the years 1 to 9999.

use std::ops::Bound;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Exclusion, PREVIEW_MAX, Schedule, ScheduleError, ScheduleErrorKind};

const EDGES: [DateTime<Utc>; 2] = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn made(json: &Value) -> Result<Schedule, ScheduleError> {
    Schedule::from_json_at(json, at("2026-01-01T00:00:00Z"))
}

/// One schedule of each kind, and some whose steps are as far apart as they can be.
fn kinds() -> Vec<Schedule> {
    [
        json!({"cron": "* * * * *", "timezone": "Asia/Tokyo"}),
        json!({"cron": "0 0 29 2 1", "day_or": false, "timezone": "America/New_York"}),
        json!({"interval": 0.000_001, "timezone": "Asia/Tokyo"}),
        json!({"interval": 315_537_897_600i64, "anchor_date": "0001-01-01T00:00:00Z"}),
        json!({"interval": 315_537_897_600i64, "anchor_date": "9999-12-31T23:59:59.999999Z", "timezone": "America/New_York"}),
        json!({"rrule": "DTSTART:00010101T000000 RRULE:FREQ=YEARLY;INTERVAL=9998", "timezone": "UTC"}),
        json!({"rrule": "DTSTART:99991231T235959 RRULE:FREQ=SECONDLY", "timezone": "Europe/Berlin"}),
        json!({"rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYSETPOS=-1", "timezone": "Europe/Berlin"}),
        json!({"cron_crate": "0 0 9 * * * *", "jitter": 86_400}),
        json!({"union": [{"cron": "@yearly"}, {"interval": 86_400, "timezone": "America/New_York"}]}),
    ]
    .iter()
    .map(|json| made(json).unwrap_or_else(|error| panic!("{json}: {error}")))
    .collect()
}

/// Every pair of ends, in both orders and with every kind of bound.
#[test]
fn e2_ranges_at_the_ends_of_chrono_are_answered() {
    let inside = at("2026-11-22T00:00:00Z");
    let ends = [EDGES[0], inside, EDGES[1]];
    let bounds = ends
        .iter()
        .flat_map(|&end| [Bound::Included(end), Bound::Excluded(end)]);
    let bounds: Vec<_> = bounds.chain([Bound::Unbounded]).collect();
    for schedule in kinds() {
        for &first in &bounds {
            for &last in &bounds {
                let dates: Vec<_> = schedule.occurrences((first, last)).take(3).collect();
                assert!(dates.is_sorted_by(|a, b| a < b), "{schedule}: {dates:?}");
                // The same as bounds of the schedule: refused with the end named, or with nothing left, or obeyed.
                match schedule.clone().within((first, last)) {
                    Ok(bounded) => assert!(bounded.next_at_or_after(EDGES[0]).is_some(), "{bounded}"),
                    Err(error) => assert!(
                        matches!(
                            error.kind(),
                            ScheduleErrorKind::Bounds | ScheduleErrorKind::NeverFires
                        ),
                        "{error}"
                    ),
                }
            }
        }
        assert!(
            schedule
                .dates(Some(i64::MIN), EDGES[0], Some(EDGES[1]))
                .is_empty()
        );
        assert!(schedule.dates(Some(i64::MAX), EDGES[0], Some(EDGES[1])).len() <= super::DATES_MAX);
        for local in [NaiveDateTime::MIN, NaiveDateTime::MAX] {
            let _ = schedule.offset_at(schedule.resolve(local));
        }
    }
}

#[test]
fn e2_as_many_dates_as_there_are_is_bounded() {
    let every = made(&json!({"interval": 0.000_001})).unwrap();
    assert_eq!(every.preview(EDGES[0], usize::MAX).len(), PREVIEW_MAX);
    assert_eq!(every.explain(EDGES[0], usize::MAX).len(), PREVIEW_MAX);
    for schedule in kinds() {
        assert_eq!(
            (
                schedule.preview(EDGES[0], 0).len(),
                schedule.explain(EDGES[0], 0).len()
            ),
            (0, 0)
        );
        assert!(schedule.preview(EDGES[1], usize::MAX).is_empty(), "{schedule}");
    }
}

#[test]
fn e2_settings_and_intervals_at_the_ends_are_refused_or_obeyed() {
    let daily = || Schedule::cron("0 9 * * *", "America/New_York").unwrap();
    for edge in EDGES {
        let without = daily()
            .without([Exclusion::Instant(edge), Exclusion::Day(edge.date_naive())])
            .unwrap();
        assert_eq!(without.next_after(EDGES[0]), daily().next_after(EDGES[0]));
        for every in [
            TimeDelta::MIN,
            TimeDelta::MAX,
            TimeDelta::nanoseconds(1),
            TimeDelta::zero(),
        ] {
            let error = Schedule::interval(every, edge, "UTC").unwrap_err();
            assert_eq!(error.kind(), ScheduleErrorKind::Interval, "{error}");
        }
        let error = Schedule::interval(TimeDelta::hours(1), edge, "UTC").unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ScheduleErrorKind::Timestamp, "anchor_date")
        );
    }
    for day in [NaiveDate::MIN, NaiveDate::MAX] {
        assert!(daily().without([Exclusion::Day(day)]).is_ok());
    }
    let error = daily().with_jitter(Duration::MAX, u64::MAX).unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ScheduleErrorKind::Setting, "jitter")
    );
    assert!(daily().with_jitter(Duration::from_hours(24), u64::MAX).is_ok());
}

/// The same in JSON, where a year of more than four digits or before the year 1 is written as chrono prints it.
#[test]
fn e2_texts_at_the_ends_are_refused_or_obeyed() {
    for json in [
        json!({"interval": 60, "anchor_date": "-262143-01-01T00:00:00Z"}),
        json!({"interval": 60, "anchor_date": "+262142-12-31T23:59:59.999999999Z"}),
        json!({"interval": 60, "anchor_date": "+999999-01-01T00:00:00Z"}),
        json!({"interval": 60, "anchor_date": "0000-12-31T23:59:59Z"}),
        json!({"cron": "0 9 * * *", "start": "+262142-12-31T23:59:59Z"}),
        json!({"cron": "0 9 * * *", "end": "-262143-01-01T00:00:00Z"}),
        json!({"cron": "0 9 * * *", "start": "+262142-12-31T00:00:00Z", "end": "-262143-01-01T00:00:00Z"}),
        json!({"cron": "0 9 * * *", "start": "-262143-01-01T00:00:00Z"}),
        json!({"cron": "0 9 * * *", "end": "+262142-12-31T23:59:59Z"}),
        json!({"cron": "0 9 * * *", "exclude": ["+262143-01-01"]}),
        json!({"interval": f64::MAX}),
        json!({"interval": f64::MIN}),
        json!({"interval": u64::MAX}),
        json!({"interval": i64::MIN}),
        json!({"interval": "PT99999999999999999999999H"}),
        json!({"interval": "P-99999999999999999999999D"}),
        json!({"cron": "0 9 * * *", "jitter": f64::MAX}),
        json!({"cron": "0 9 * * *", "jitter": -1}),
        json!({"rrule": "DTSTART:00000101T000000 RRULE:FREQ=DAILY", "timezone": "UTC"}),
        json!({"rrule": "DTSTART:100000101T000000 RRULE:FREQ=DAILY", "timezone": "UTC"}),
        json!({"rrule": "FREQ=DAILY;UNTIL=-2621430101T000000", "timezone": "UTC"}),
        json!({"rrule": "FREQ=DAILY;UNTIL=2621420101T000000", "timezone": "UTC"}),
        json!({"rrule": "FREQ=DAILY;INTERVAL=2147483647", "timezone": "UTC"}),
        json!({"rrule": "FREQ=DAILY;INTERVAL=99999999999999999999", "timezone": "UTC"}),
        json!({"rrule": "FREQ=DAILY;COUNT=18446744073709551616", "timezone": "UTC"}),
        json!({"rrule": "FREQ=YEARLY;BYDAY=9223372036854775807MO", "timezone": "UTC"}),
        json!({"rrule": "FREQ=YEARLY;BYSETPOS=-9223372036854775808", "timezone": "UTC"}),
        json!({"cron": "0 0 1 1 * 0 18446744073709551616"}),
    ] {
        let error = made(&json).map(|schedule| schedule.to_string()).unwrap_err();
        assert!(
            !error.to_string().is_empty() && error.to_string().len() < 2_000,
            "{json}"
        );
    }
    for json in [
        json!({"rrule": "FREQ=DAILY;UNTIL=99991231T235959", "timezone": "America/New_York"}),
        json!({"rrule": "DTSTART:00010101T000000 RRULE:FREQ=YEARLY;INTERVAL=1000000000", "timezone": "Asia/Tokyo"}),
    ] {
        let schedule = made(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        for edge in EDGES {
            let dates = schedule.dates(Some(3), edge, None);
            assert!(dates.is_sorted(), "{json}");
        }
    }
}
