//! Input that is made to be slow. Each is answered, refused or not, within a stated number of steps.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::steps::count;
use super::{Schedule, ScheduleErrorKind};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Makes the schedule and asks it for five dates from the year 1, from 2026 and from the last day.
fn steps_of(json: &Value) -> (u64, Result<usize, ScheduleErrorKind>) {
    count(|| {
        let schedule = Schedule::from_json_at(json, at("2026-01-01T00:00:00Z")).map_err(|error| {
            assert!(error.to_string().len() < 2_000, "{error}");
            error.kind()
        })?;
        let from = [
            "0001-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
            "9999-12-31T00:00:00Z",
        ];
        Ok(from.iter().map(|from| schedule.preview(at(from), 5).len()).sum())
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn s5_hostile_input_is_answered_within_its_steps() {
    use ScheduleErrorKind::{Cron, Interval, NeverFires, Recurrence, TooLong};

    let zone = "America/New_York";
    let cron = |text: &str| json!({"cron": text, "timezone": zone});
    let rrule = |text: &str| json!({"rrule": text, "timezone": zone});
    let long = |head: &str, item: &str| {
        let mut text = head.to_owned();
        while text.len() + item.len() < 6_500 {
            text.push_str(item);
        }
        json!({"rrule": text, "timezone": zone})
    };
    let mut wrong = Vec::new();
    let all = |n: u32| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    for (bound, expected, json) in [
        (5_000, Err(NeverFires), cron("0 0 30 2 *")),
        (5_000, Err(NeverFires), cron("0 0 31 2,4,6,9,11 *")),
        (100, Err(Cron), cron("0 0 29 2 * 0 2098-2097")),
        (
            5_000,
            Ok(10),
            json!({"cron": "0 0 29 2 1", "day_or": false, "timezone": zone}),
        ),
        (5_000, Ok(10), cron("59 23 31 12 *")),
        (5_000, Ok(10), cron("0 0 1 1 * 0 2099-2099,1970-2099")),
        (100, Ok(15), json!({"interval": 0.000_001})),
        (100, Err(Interval), json!({"interval": 1e-9})),
        (100, Err(Interval), json!({"interval": 1e18})),
        (100, Err(Interval), json!({"interval": i64::MAX})),
        (
            100,
            Ok(1),
            json!({"interval": 315_537_897_600i64, "anchor_date": "0001-01-01T00:00:00Z"}),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=SECONDLY;BYYEARDAY=366;BYMONTH=1"),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=SECONDLY;INTERVAL=120;BYMINUTE=1,3,5"),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=SECONDLY;INTERVAL=86399;BYSECOND=1;BYMINUTE=1;BYHOUR=1;BYMONTH=2;BYMONTHDAY=29"),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=HOURLY;INTERVAL=48;BYHOUR=0;BYDAY=MO;BYWEEKNO=53;BYYEARDAY=100"),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=YEARLY;BYDAY=53MO;BYMONTH=1"),
        ),
        (
            600_000,
            Err(NeverFires),
            rrule("FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=30"),
        ),
        (
            100_000,
            Err(NeverFires),
            rrule("DTSTART:20210101T000000 FREQ=YEARLY;INTERVAL=1000000000;BYYEARDAY=366"),
        ),
        (
            600_000,
            Ok(15),
            rrule("DTSTART:00010101T000000 RRULE:FREQ=SECONDLY"),
        ),
        (
            600_000,
            Ok(11),
            rrule("DTSTART:00010101T000000 RRULE:FREQ=DAILY;BYSETPOS=-1"),
        ),
        (100, Err(NeverFires), rrule("FREQ=SECONDLY EXRULE:FREQ=SECONDLY")),
        (
            6_000_000,
            Err(NeverFires),
            rrule("FREQ=SECONDLY;BYSECOND=1,2 EXRULE:FREQ=SECONDLY;BYSECOND=2,1,3"),
        ),
        (
            400_000,
            Ok(10),
            rrule(&format!(
                "FREQ=YEARLY;BYMONTHDAY=1,2,3,4,5,6,7,8,9,10;BYHOUR={};BYMINUTE={};BYSECOND={};BYSETPOS=366",
                all(24),
                all(60),
                all(60)
            )),
        ),
        (
            400_000,
            Err(Recurrence),
            long("FREQ=DAILY", "\nRRULE:FREQ=YEARLY;BYWEEKNO=53;BYDAY=SU"),
        ),
        (
            6_000_000,
            Err(Recurrence),
            long("FREQ=DAILY", "\nEXRULE:FREQ=SECONDLY;INTERVAL=7919;BYMONTHDAY=29"),
        ),
        (
            6_000_000,
            Ok(15),
            rrule(
                &("FREQ=HOURLY".to_owned()
                    + &"\nEXRULE:FREQ=SECONDLY;INTERVAL=7919;BYMONTHDAY=29".repeat(31)),
            ),
        ),
        (
            2_000_000,
            Ok(11),
            rrule(
                &"\nRRULE:FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=29;BYWEEKNO=9;BYDAY=MO"
                    .repeat(31)
                    .replacen("FREQ=WEEKLY", "FREQ=DAILY\nRRULE:FREQ=WEEKLY", 1),
            ),
        ),
        (
            6_000_000,
            Err(Recurrence),
            rrule(&"RRULE:FREQ=SECONDLY;COUNT=3000000\n".repeat(3)),
        ),
        (
            100_000,
            Ok(2),
            long(
                "DTSTART:20200101T000000 RDATE:20260101T000000",
                ",20260101T000000",
            ),
        ),
        (100, Err(TooLong), rrule(&"FREQ=DAILY;".repeat(600))),
        (100, Err(Recurrence), rrule(&"é".repeat(6_500))),
        (100, Err(Recurrence), rrule("FREQ=DAILY;COUNT=99999999999")),
        (6_000_000, Ok(5), rrule("FREQ=SECONDLY;COUNT=5000000")),
    ] {
        let (steps, answer) = steps_of(&json);
        let mut shown = json.to_string();
        shown.truncate(120);
        if answer != expected || steps > bound {
            wrong.push(format!(
                "{answer:?} for {expected:?}, {steps} steps of {bound}: {shown}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn s5_a_schedule_that_has_ended_is_valid_and_yields_nothing() {
    let now = at("2026-01-01T00:00:00Z");
    for json in [
        json!({"cron": "0 0 1 1 * 0 2020"}),
        json!({"rrule": "FREQ=DAILY;COUNT=3"}),
        json!({"rrule": "DTSTART:20200101T000000 RRULE:FREQ=DAILY;UNTIL=20191231T000000"}),
        json!({"cron": "0 0 * * *", "end": "2025-12-31T00:00:00Z"}),
    ] {
        let schedule = Schedule::from_json_at(&json, now).unwrap();
        assert_eq!(schedule.next_after(now), None, "{json}");
    }
}

#[test]
fn s5_one_bad_schedule_is_refused_by_itself() {
    let union = json!({"union": [{"cron": "0 9 * * *"}, {"cron": "0 0 30 2 *"}]});
    let error = Schedule::from_json_at(&union, at("2026-01-01T00:00:00Z")).unwrap_err();
    assert_eq!(
        (error.kind(), error.text()),
        (ScheduleErrorKind::NeverFires, "0 0 30 2 *")
    );
}

#[test]
fn the_ends_of_chrono_are_asked_without_harm() {
    for json in [
        json!({"cron": "* * * * *", "timezone": "Asia/Tokyo"}),
        json!({"interval": 1, "timezone": "Asia/Tokyo"}),
        json!({"interval": 86_400, "timezone": "America/New_York"}),
        json!({"rrule": "FREQ=HOURLY", "timezone": "America/New_York"}),
        json!({"cron_crate": "0 0 9 * * * *", "jitter": 600}),
    ] {
        let schedule = Schedule::from_json_at(&json, at("2026-01-01T00:00:00Z")).unwrap();
        for edge in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            for from in [edge, schedule.resolve(edge.naive_utc())] {
                let dates = schedule.dates(Some(3), from, None);
                assert!(dates.is_sorted());
                let after = schedule.occurrences(from..).find(|&date| date > from);
                assert_eq!(schedule.next_after(from), after, "{json} {from}");
                let _ = (schedule.explain(from, 2), schedule.offset_at(from));
            }
            assert!(
                schedule
                    .dates(None, DateTime::<Utc>::MAX_UTC, Some(edge))
                    .is_empty()
            );
        }
    }
}
