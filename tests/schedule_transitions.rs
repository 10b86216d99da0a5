//! Brute force around every change of the clocks: the engine against a definition that looks at every minute.
//!
//! The definition shares nothing with the crate. It walks the instants near a transition minute by minute, notes what
//! the zone's clock shows, and asks of each local minute whether the schedule's shape names it: the first time it is
//! shown counts, and a minute that is skipped is read by the offset before. Elapsed intervals are asked at each
//! minute of real time. 40 zones, 12 shapes, every transition from
//! 2000 to 2037; a plain run takes every fifteenth of them, `TENFOLD_DEEP=1` all.

#![expect(clippy::unwrap_used, reason = "a test panics when it is wrong")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use tenfold::schedule::Schedule;

const ZONES: [&str; 40] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "Africa/Tripoli",
    "Africa/Windhoek",
    "America/Asuncion",
    "America/Caracas",
    "America/Chicago",
    "America/Godthab",
    "America/Havana",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/Miquelon",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Winnipeg",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Dhaka",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Asia/Ulaanbaatar",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/London",
    "Europe/Moscow",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Norfolk",
];

/// How far around a transition is looked.
const AROUND: i64 = 36 * 60;

/// What a shape names.
enum Definition {
    /// Minutes of the local clock.
    Local(fn(civil::DateTime) -> bool),
    /// Every so many minutes of real time from 2000-01-01T00:07Z.
    Elapsed(i64),
    /// Every so many minutes of the local clock, from what it shows at 2000-01-01T00:07Z.
    LocalEvery(i64),
}

struct Shape {
    text: &'static str,
    definition: Definition,
}

fn shapes() -> [Shape; 12] {
    use Definition::{Elapsed, Local, LocalEvery};

    let shape = |text, definition| Shape { text, definition };
    [
        shape(r#"{"cron": "* * * * *""#, Local(|_| true)),
        shape(r#"{"cron": "0 * * * *""#, Local(|at| at.minute() == 0)),
        shape(
            r#"{"cron": "*/20 0-3 * * *""#,
            Local(|at| at.minute() % 20 == 0 && at.hour() <= 3),
        ),
        shape(
            r#"{"cron": "30 2 * * *""#,
            Local(|at| (at.hour(), at.minute()) == (2, 30)),
        ),
        shape(
            r#"{"cron": "0 0 * * *""#,
            Local(|at| (at.hour(), at.minute()) == (0, 0)),
        ),
        shape(
            r#"{"cron": "15 1,23 * * 0,6""#,
            Local(|at| {
                at.minute() == 15
                    && [1, 23].contains(&at.hour())
                    && at.weekday().to_sunday_zero_offset() % 6 == 0
            }),
        ),
        shape(
            r#"{"cron": "45 * 1-7 * sun""#,
            Local(|at| at.minute() == 45 && (at.day() <= 7 || at.weekday().to_sunday_zero_offset() == 0)),
        ),
        shape(r#"{"interval": 1800"#, Elapsed(30)),
        shape(r#"{"interval": 86340"#, Elapsed(1_439)),
        shape(r#"{"interval": 86400"#, LocalEvery(1_440)),
        shape(r#"{"interval": 91800"#, LocalEvery(1_530)),
        shape(
            r#"{"rrule": "DTSTART:19990101T000000\nRRULE:FREQ=HOURLY;INTERVAL=2;BYMINUTE=10,30""#,
            Local(|at| at.hour() % 2 == 0 && [10, 30].contains(&at.minute())),
        ),
    ]
}

fn schedule(shape: &Shape, zone: &str) -> Schedule {
    let anchor = if shape.text.contains("interval") {
        r#", "anchor_date": "2000-01-01T00:07:00Z""#
    } else {
        ""
    };
    let json = format!(r#"{}{anchor}, "timezone": "{zone}"}}"#, shape.text);
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Minutes since 1970 on a bare clock.
fn minutes(at: civil::DateTime) -> i64 {
    let epoch = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    at.duration_since(epoch).as_secs().div_euclid(60)
}

/// The local minutes near a transition with their instants, and the window of instants that they cover.
struct Neighbourhood {
    locals: BTreeMap<i64, i64>,
    first: i64,
    last: i64,
}

impl Neighbourhood {
    /// Walks the instants minute by minute and notes what the clock shows: the first time counts. Minutes that it
    /// skips are those after the last one shown, by the offset that was in force then.
    fn of(tz: &TimeZone, transition: Timestamp) -> Self {
        let middle = transition.as_second().div_euclid(60);
        // From a day before the window to a day after it: no offset and no jump is larger.
        let reach = AROUND + 1_560;
        let mut locals = BTreeMap::new();
        let mut shown = None;
        for at in middle - reach..=middle + reach {
            let local = minutes(tz.to_datetime(Timestamp::from_second(at * 60).unwrap()));
            for skipped in shown.unwrap_or(local) + 1..local {
                let offset = shown.unwrap_or(local) - (at - 1);
                locals.entry(skipped).or_insert(skipped - offset);
            }
            locals.entry(local).or_insert(at);
            shown = Some(local);
        }
        Self {
            locals,
            first: middle - AROUND,
            last: middle + AROUND,
        }
    }

    /// The instants of the window that a definition names, as minutes since 1970.
    fn expected(&self, tz: &TimeZone, definition: &Definition) -> Vec<DateTime<Utc>> {
        let anchor: Timestamp = "2000-01-01T00:07:00Z".parse().unwrap();
        let named: BTreeSet<i64> = match definition {
            Definition::Local(names) => self
                .locals
                .iter()
                .filter(|(local, _)| {
                    names(TimeZone::UTC.to_datetime(Timestamp::from_second(*local * 60).unwrap()))
                })
                .map(|(_, at)| *at)
                .collect(),
            Definition::LocalEvery(every) => {
                let origin = minutes(tz.to_datetime(anchor));
                let on_it = self
                    .locals
                    .iter()
                    .filter(|(local, _)| (*local - origin) % every == 0);
                on_it.map(|(_, at)| *at).collect()
            }
            Definition::Elapsed(every) => (self.first..=self.last)
                .filter(|at| (at - anchor.as_second() / 60) % every == 0)
                .collect(),
        };
        let inside = named
            .into_iter()
            .filter(|at| (self.first..=self.last).contains(at));
        inside.map(instant_of).collect()
    }
}

fn instant_of(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(minutes * 60, 0).unwrap()
}

#[test]
fn s2_every_minute_around_every_transition_is_right() {
    let deep = std::env::var_os("TENFOLD_DEEP").is_some_and(|deep| deep != "0");
    let every = if deep { 1 } else { 15 };
    let (from, to): (Timestamp, Timestamp) = (
        "2000-01-01T00:00:00Z".parse().unwrap(),
        "2038-01-01T00:00:00Z".parse().unwrap(),
    );
    let shapes = shapes();
    let (mut number, mut compared) = (0, 0);
    for name in ZONES {
        let tz = TimeZoneDatabase::bundled().get(name).unwrap();
        let schedules: Vec<_> = shapes.iter().map(|shape| schedule(shape, name)).collect();
        for change in tz.following(from).take_while(|change| change.timestamp() < to) {
            number += 1;
            if number % every != 0 {
                continue;
            }
            let transition = change.timestamp();
            let near = Neighbourhood::of(&tz, transition);
            for (shape, schedule) in shapes.iter().zip(&schedules) {
                let expected = near.expected(&tz, &shape.definition);
                let (first, last) = (instant_of(near.first), instant_of(near.last));
                let got: Vec<_> = schedule.occurrences(first..=last).collect();
                assert_eq!(got, expected, "{name} {} at {transition}", shape.text);
                compared += 1;
                // The same from any start, in the gap, in the fold and between.
                for minutes in [-90, -60, -30, -1, 0, 1, 29, 30, 45, 60, 61, 90] {
                    let start =
                        instant_of(transition.as_second().div_euclid(60)) + TimeDelta::minutes(minutes);
                    let got: Vec<_> = schedule.occurrences(start..=last).take(30).collect();
                    let rest: Vec<_> = expected
                        .iter()
                        .copied()
                        .filter(|at| *at >= start)
                        .take(30)
                        .collect();
                    assert_eq!(got, rest, "{name} {} at {transition} from {start}", shape.text);
                }
            }
        }
    }
    println!(
        "{compared} comparisons around {} of {number} transitions",
        compared / shapes.len()
    );
    assert!(number > 1_500, "only {number} transitions in the data");
    assert!(compared >= 12 * (number / every));
}
