//! Schedules as JSON: the reference's objects, told apart by their keys, with this crate's settings as extra keys.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::civil::{self, SECOND};
use super::cron::DayMatch;
use super::error::{ScheduleError, ScheduleErrorKind};
use super::interval::Interval;
use super::settings::Exclusion;
use super::zone::Zone;
use super::{Rule, Schedule, shown, zone_or_utc};
use crate::suggest;

const STAMP: &str = "2026-01-01T00:00:00Z";

/// The JSON object as it stands, before anything in it is judged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a schedule, which is an object,")]
struct Raw {
    cron: Option<String>,
    day_or: Option<bool>,
    interval: Option<Span>,
    anchor_date: Option<String>,
    rrule: Option<String>,
    cron_crate: Option<String>,
    union: Option<Vec<Raw>>,
    #[serde(default)]
    timezone: ZoneKey,
    start: Option<String>,
    end: Option<String>,
    exclude: Option<Vec<String>>,
    jitter: Option<f64>,
    seed: Option<u64>,
}

/// An interval in seconds or as an ISO 8601 duration.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Span {
    Whole(i64),
    Fraction(f64),
    Text(String),
}

/// The key `timezone`. That it is absent and that it is null are two things for a recurrence rule.
#[derive(Debug, Default)]
enum ZoneKey {
    #[default]
    Absent,
    Null,
    Named(String),
}

impl<'de> Deserialize<'de> for ZoneKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Named))
    }
}

impl Schedule {
    /// A schedule from JSON. An interval without `anchor_date` is anchored at `now`, as the reference does.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] for unknown or missing keys and whatever the constructors refuse.
    ///
    /// ```
    /// use chrono::{DateTime, Utc};
    /// use tenfold::schedule::Schedule;
    ///
    /// let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    /// let hourly = Schedule::from_json_at(&serde_json::json!({"interval": "PT1H"}), now)?;
    /// assert_eq!(hourly.to_string(), "every 3600 s from 2026-01-01T00:00:00Z in UTC");
    /// # Ok::<(), tenfold::schedule::ScheduleError>(())
    /// ```
    pub fn from_json_at(json: &serde_json::Value, now: DateTime<Utc>) -> Result<Self, ScheduleError> {
        let read = if json.is_object() {
            Raw::deserialize(json).map_err(|error| unreadable(json, &error))
        } else {
            Err(no_object(json))
        };
        read?.into_schedule(Some(now))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?
            .into_schedule(None)
            .map_err(de::Error::custom)
    }
}

impl Raw {
    fn into_schedule(self, now: Option<DateTime<Utc>>) -> Result<Schedule, ScheduleError> {
        self.check_keys()?;
        let settings = RawSettings {
            start: self.start,
            end: self.end,
            exclude: self.exclude,
            jitter: self.jitter,
            seed: self.seed,
        };
        let zone = match &self.timezone {
            ZoneKey::Named(name) => name.as_str(),
            ZoneKey::Null | ZoneKey::Absent => "",
        };
        let schedule = if let Some(text) = &self.cron {
            let days = match self.day_or {
                Some(false) => DayMatch::Both,
                Some(true) | None => DayMatch::Either,
            };
            Schedule::cron_with_days(text, zone, days)?
        } else if let Some(span) = &self.interval {
            let zone = zone_or_utc(zone)?;
            let anchor = match (&self.anchor_date, now) {
                (Some(text), _) => timestamp("anchor_date", text, &zone)?,
                (None, Some(now)) => now,
                (None, None) => return Err(missing("anchor_date", STAMP)),
            };
            let (micros, text) = span.micros()?;
            let interval = Interval::new(micros, &text, anchor.timestamp_micros())?;
            Schedule::of(Rule::Interval(interval, zone))
        } else if let Some(text) = &self.rrule {
            match &self.timezone {
                // Null and "" are no zones here: the reference stores them and then fails.
                ZoneKey::Named(_) | ZoneKey::Null => Schedule::rrule(text, zone)?,
                ZoneKey::Absent => Schedule::rrule_in_own_zone(text)?,
            }
        } else if let Some(text) = &self.cron_crate {
            Schedule::cron_crate(text, zone)?
        } else if let Some(members) = self.union {
            let members: Result<Vec<_>, _> = members.into_iter().map(|raw| raw.into_schedule(now)).collect();
            Schedule::union(members?)?
        } else {
            return Err(missing("schedule", "{\"cron\": \"0 9 * * *\"}"));
        };
        settings.apply(schedule)
    }

    /// Refuses keys of one kind in a schedule of another.
    fn check_keys(&self) -> Result<(), ScheduleError> {
        let rules = [
            ("cron", self.cron.is_some()),
            ("interval", self.interval.is_some()),
            ("rrule", self.rrule.is_some()),
            ("cron_crate", self.cron_crate.is_some()),
            ("union", self.union.is_some()),
        ];
        let mut named = rules.iter().filter(|(_, there)| *there).map(|(key, _)| *key);
        let Some(rule) = named.next() else {
            return Err(missing("schedule", "{\"cron\": \"0 9 * * *\"}"));
        };
        let strangers = [
            named.next().map(|key| (key, true)),
            Some(("day_or", self.day_or.is_some() && rule != "cron")),
            Some(("anchor_date", self.anchor_date.is_some() && rule != "interval")),
            Some((
                "timezone",
                !matches!(self.timezone, ZoneKey::Absent) && rule == "union",
            )),
            Some(("seed", self.seed.is_some() && self.jitter.is_none())),
        ];
        match strangers.into_iter().flatten().find(|(_, strange)| *strange) {
            None => Ok(()),
            Some((key, _)) => Err(ScheduleError::new(
                ScheduleErrorKind::Json,
                key,
                key,
                format!("the key `{key}` has no place in a schedule by `{rule}`"),
                "{\"cron\": \"0 9 * * *\", \"day_or\": false}",
            )),
        }
    }
}

impl Span {
    /// Whole microseconds (rounded to the nearest; `None` when they do not fit) and the text to show.
    fn micros(&self) -> Result<(Option<i64>, String), ScheduleError> {
        match self {
            Self::Whole(seconds) => Ok((seconds.checked_mul(SECOND), seconds.to_string())),
            Self::Fraction(seconds) => {
                let micros = (seconds * 1e6).round();
                #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
                let micros = (micros.abs() < 9e18).then_some(micros as i64);
                // Far below zero is below zero, not too long.
                let micros = if *seconds < 0.0 { Some(-1) } else { micros };
                Ok((micros, seconds.to_string()))
            }
            Self::Text(text) => match iso_duration(text) {
                Some(micros) => Ok((Some(micros), text.clone())),
                None => Err(ScheduleError::new(
                    ScheduleErrorKind::Interval,
                    "interval",
                    text,
                    "is not an ISO 8601 duration in weeks, days, hours, minutes and seconds",
                    "PT1H30M",
                )),
            },
        }
    }
}

/// The microseconds of `P3DT4H5M6.5S` or `P2W`; `i64::MAX` when there are more. `None`: not a duration.
fn iso_duration(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut rest = rest.strip_prefix('P')?;
    let mut units: &[(char, i64)] = &[('W', 7 * 86_400), ('D', 86_400)];
    let (mut total, mut parts, mut in_time) = (0i64, 0, false);
    while !rest.is_empty() {
        if !in_time && let Some(time) = rest.strip_prefix('T') {
            (rest, in_time) = (time, true);
            units = &[('H', 3_600), ('M', 60), ('S', 1)];
            if rest.is_empty() {
                return None;
            }
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')?;
        let unit = rest[digits..].chars().next()?;
        let at = units.iter().position(|(name, _)| *name == unit)?;
        let number = rest[..digits].replace(',', ".");
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
        if whole.is_empty()
            || fraction.is_empty()
            || fraction.contains('.')
            || (unit != 'S' && fraction != "0")
        {
            return None;
        }
        // Six places; what is below a microsecond is cut off.
        let fraction: i64 = format!("{fraction:0<6.6}").parse().ok()?;
        let whole = i64::from_str(whole).unwrap_or(i64::MAX);
        let micros = whole
            .saturating_mul(units[at].1 * SECOND)
            .saturating_add(fraction);
        total = total.saturating_add(micros);
        units = &units[at + 1..];
        rest = &rest[digits + unit.len_utf8()..];
        parts += 1;
    }
    (parts > 0).then_some(sign * total)
}

/// A time stamp; without an offset it is read on the clock of `zone`.
fn timestamp(field: &'static str, text: &str, zone: &Zone) -> Result<DateTime<Utc>, ScheduleError> {
    let refuse = |problem| ScheduleError::new(ScheduleErrorKind::Timestamp, field, text, problem, STAMP);
    let at = DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| NaiveDateTime::from_str(text).map(|naive| zone.resolve_naive(naive)))
        .map_err(|_| refuse("is not an RFC 3339 time stamp"))?;
    if (civil::FIRST..=civil::LAST).contains(&at.timestamp_micros()) {
        Ok(at)
    } else {
        Err(refuse("lies outside the years 1 to 9999"))
    }
}

/// Each key, what it takes, and an example of it.
const KEYS: [(&str, &str, &str); 13] = [
    ("cron", "a text", "0 9 * * *"),
    ("day_or", "true or false", "true"),
    (
        "interval",
        "a number of seconds or the text of a duration",
        "PT1H30M",
    ),
    ("anchor_date", "the text of a time stamp", STAMP),
    ("rrule", "a text", "FREQ=DAILY"),
    ("cron_crate", "a text", "0 0 9 * * *"),
    ("union", "a list of schedules", "[{\"cron\": \"0 9 * * *\"}]"),
    ("timezone", "the name of a zone", "Europe/Berlin"),
    ("start", "the text of a time stamp", STAMP),
    ("end", "the text of a time stamp", STAMP),
    ("exclude", "a list of days and time stamps", "[\"2026-12-25\"]"),
    ("jitter", "a number of seconds", "30"),
    ("seed", "a whole number from 0", "7"),
];

const OBJECT: &str = "{\"cron\": \"0 9 * * *\", \"timezone\": \"Europe/Berlin\"}";

/// What is wrong with an object that cannot be read: the key at fault, inside a union too.
fn unreadable(json: &serde_json::Value, error: &serde_json::Error) -> ScheduleError {
    let refuse = |key, text: String, problem, example| {
        ScheduleError::new(ScheduleErrorKind::Json, key, &text, problem, example)
    };
    for (key, value) in json.as_object().into_iter().flatten() {
        let Some((key, takes, example)) = KEYS.iter().copied().find(|(known, ..)| known == key) else {
            let near = suggest::nearest(key, KEYS.iter().map(|(known, ..)| *known));
            let known = KEYS.map(|(known, ..)| known).join(", ");
            let problem = format!(
                "unknown key `{key}`{}; known here: {known}",
                suggest::phrase(near)
            );
            return refuse("schedule", json.to_string(), problem, OBJECT);
        };
        let members = value.as_array().filter(|_| key == "union");
        for member in members.into_iter().flatten() {
            if !member.is_object() {
                return no_object(member);
            }
            if let Err(error) = Raw::deserialize(member) {
                return unreadable(member, &error);
            }
        }
        let alone = serde_json::Map::from_iter([(key.to_owned(), value.clone())]);
        if Raw::deserialize(serde_json::Value::Object(alone)).is_err() {
            return refuse(
                key,
                value.to_string(),
                format!("takes {takes}, not {}", kind_of(value)),
                example,
            );
        }
    }
    refuse("schedule", json.to_string(), error.to_string(), OBJECT)
}

fn no_object(json: &serde_json::Value) -> ScheduleError {
    let problem = format!("a schedule is an object, not {}", kind_of(json));
    ScheduleError::new(
        ScheduleErrorKind::Json,
        "schedule",
        &json.to_string(),
        problem,
        OBJECT,
    )
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "this number",
        Value::String(_) => "this text",
        Value::Array(_) => "this list",
        Value::Object(_) => "this object",
    }
}

fn missing(key: &'static str, example: &'static str) -> ScheduleError {
    let problem = match key {
        "schedule" => {
            "none of the keys `cron`, `interval`, `rrule`, `cron_crate` and `union` is there".to_owned()
        }
        _ => format!(
            "the key `{key}` is missing; give it, or read the schedule with `Schedule::from_json_at`, which takes the \
             instant to anchor at"
        ),
    };
    ScheduleError::new(ScheduleErrorKind::Json, key, "", problem, example)
}

/// The settings among the keys.
struct RawSettings {
    start: Option<String>,
    end: Option<String>,
    exclude: Option<Vec<String>>,
    jitter: Option<f64>,
    seed: Option<u64>,
}

impl RawSettings {
    fn apply(self, mut schedule: Schedule) -> Result<Schedule, ScheduleError> {
        use std::ops::Bound::{Included, Unbounded};

        let zone = schedule.zone().clone();
        let read = |field, text: Option<String>| {
            text.map_or(Ok(Unbounded), |text| timestamp(field, &text, &zone).map(Included))
        };
        let bounds = (read("start", self.start)?, read("end", self.end)?);
        if bounds != (Unbounded, Unbounded) {
            schedule = schedule.within(bounds)?;
        }
        if let Some(texts) = self.exclude {
            let read = |text: &String| match text.parse::<NaiveDate>() {
                Ok(day) => Ok(Exclusion::Day(day)),
                Err(_) => timestamp("exclude", text, &zone).map(Exclusion::Instant),
            };
            let exclusions: Result<Vec<_>, _> = texts.iter().map(read).collect();
            schedule = schedule.without(exclusions?)?;
        }
        if let Some(seconds) = self.jitter {
            let max = Duration::try_from_secs_f64(seconds).map_err(|_| {
                ScheduleError::new(
                    ScheduleErrorKind::Setting,
                    "jitter",
                    &seconds.to_string(),
                    "is not a number of seconds from 0 to 86,400",
                    "30",
                )
            })?;
            schedule = schedule.with_jitter(max, self.seed.unwrap_or_default())?;
        }
        Ok(schedule)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.rule {
            Rule::Cron(cron, zone) => {
                map.serialize_entry("cron", &cron.text)?;
                map.serialize_entry("timezone", zone.name())?;
                map.serialize_entry("day_or", &(cron.day_match == DayMatch::Either))?;
            }
            Rule::Interval(interval, zone) => {
                let (seconds, micros) = (interval.every / SECOND, interval.every % SECOND);
                if micros == 0 {
                    map.serialize_entry("interval", &seconds)?;
                } else {
                    map.serialize_entry("interval", &format!("PT{seconds}.{micros:06}S"))?;
                }
                map.serialize_entry("anchor_date", &shown(interval.anchor))?;
                map.serialize_entry("timezone", zone.name())?;
            }
            Rule::Recurrence(set, zone) => {
                map.serialize_entry("rrule", &set.text)?;
                map.serialize_entry("timezone", zone.name())?;
            }
            Rule::CronCrate(of, zone) => {
                map.serialize_entry("cron_crate", of.text())?;
                map.serialize_entry("timezone", zone.name())?;
            }
            Rule::Union(members) => map.serialize_entry("union", &members[..])?,
        }
        if let Some(settings) = self.settings.as_deref() {
            if let Some(start) = settings.start {
                map.serialize_entry("start", &shown(start))?;
            }
            if let Some(end) = settings.end {
                map.serialize_entry("end", &shown(end))?;
            }
            let excluded: Vec<String> = settings
                .exclusions()
                .map(|exclusion| match exclusion {
                    Exclusion::Instant(at) => shown(at.timestamp_micros()),
                    Exclusion::Day(day) => day.to_string(),
                })
                .collect();
            if !excluded.is_empty() {
                map.serialize_entry("exclude", &excluded)?;
            }
            if let Some(jitter) = settings.jitter {
                let max = TimeDelta::microseconds(jitter.max);
                map.serialize_entry("jitter", &max.as_seconds_f64())?;
                map.serialize_entry("seed", &jitter.seed)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> DateTime<Utc> {
        "2026-05-05T05:05:05Z".parse().unwrap()
    }

    fn error(json: &Value) -> ScheduleError {
        Schedule::from_json_at(json, now()).unwrap_err()
    }

    #[test]
    fn each_kind_round_trips() {
        for json in [
            json!({"cron": "0 9 * * mon", "timezone": "Asia/Tokyo", "day_or": false}),
            json!({"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"}),
            json!({"interval": "PT0.000001S", "anchor_date": "2026-01-01T00:00:00.000001Z", "timezone": "UTC"}),
            json!({"rrule": "FREQ=DAILY;COUNT=3", "timezone": "Asia/Tokyo"}),
            json!({"cron_crate": "0 0 9 * * Mon *", "timezone": "UTC"}),
            json!({"union": [{"cron": "0 9 * * *", "timezone": "UTC", "day_or": true}],
                "start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z",
                "exclude": ["2026-05-01T09:00:00Z", "2026-12-25"], "jitter": 30.5, "seed": 7}),
        ] {
            let schedule = Schedule::from_json_at(&json, now()).unwrap();
            assert_eq!(serde_json::to_value(&schedule).unwrap(), json);
            assert_eq!(serde_json::from_value::<Schedule>(json).unwrap(), schedule);
        }
    }

    #[test]
    fn an_anchor_is_given_or_lent_but_never_guessed() {
        let json = json!({"interval": 60.5});
        let lent = Schedule::from_json_at(&json, now()).unwrap();
        assert_eq!(lent.next_at_or_after(now()), Some(now()));
        let told = serde_json::from_value::<Schedule>(json).unwrap_err().to_string();
        assert!(told.contains("`anchor_date` is missing"), "{told}");
    }

    #[test]
    fn a_rule_names_its_zone_when_nobody_else_does() {
        let text = "DTSTART;TZID=America/New_York:20230101T090000\nRRULE:FREQ=DAILY";
        let zone =
            |json: Value| Schedule::from_json_at(&json, now()).map(|schedule| schedule.timezone().to_owned());
        assert_eq!(zone(json!({"rrule": text})).unwrap(), "America/New_York");
        assert_eq!(
            zone(json!({"rrule": text, "timezone": "Asia/Tokyo"})).unwrap(),
            "Asia/Tokyo"
        );
        assert_eq!(zone(json!({"rrule": "FREQ=DAILY"})).unwrap(), "UTC");
        assert!(zone(json!({"rrule": text, "timezone": null})).is_err());
        assert!(zone(json!({"rrule": text, "timezone": ""})).is_err());
    }

    #[test]
    fn naive_anchors_are_local() {
        let json =
            json!({"interval": 86400, "anchor_date": "2022-12-05T03:00:00", "timezone": "America/New_York"});
        let schedule = Schedule::from_json_at(&json, now()).unwrap();
        assert_eq!(
            schedule.to_string(),
            "every 86400 s from 2022-12-05T08:00:00Z in America/New_York"
        );
    }

    #[test]
    fn iso_durations() {
        let micros = |text| iso_duration(text);
        assert_eq!(micros("PT1H30M"), Some(5_400 * SECOND));
        assert_eq!(micros("P1DT0.5S"), Some(86_400 * SECOND + SECOND / 2));
        assert_eq!(micros("P2W"), Some(14 * 86_400 * SECOND));
        assert_eq!(micros("-PT1S"), Some(-SECOND));
        assert_eq!(micros("P99999999999999999999D"), Some(i64::MAX));
        for text in [
            "", "P", "PT", "P1Y", "P1M", "1H", "PT1", "PT1H1D", "PT1.5H", "PT1S1S", "P1DT", "PTS",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_json_names_the_key() {
        for (json, kind, field) in [
            (json!({}), ScheduleErrorKind::Json, "schedule"),
            (json!([]), ScheduleErrorKind::Json, "schedule"),
            (json!({"cron": 5}), ScheduleErrorKind::Json, "cron"),
            (
                json!({"cron": "0 9 * * *", "tz": "UTC"}),
                ScheduleErrorKind::Json,
                "schedule",
            ),
            (
                json!({"cron": "0 9 * * *", "interval": 5}),
                ScheduleErrorKind::Json,
                "interval",
            ),
            (
                json!({"interval": 5, "day_or": true}),
                ScheduleErrorKind::Json,
                "day_or",
            ),
            (
                json!({"cron": "0 9 * * *", "seed": 1}),
                ScheduleErrorKind::Json,
                "seed",
            ),
            (json!({"interval": 0}), ScheduleErrorKind::Interval, "interval"),
            (
                json!({"interval": -1e300}),
                ScheduleErrorKind::Interval,
                "interval",
            ),
            (json!({"interval": 1e18}), ScheduleErrorKind::Interval, "interval"),
            (json!({"interval": 1e-9}), ScheduleErrorKind::Interval, "interval"),
            (
                json!({"interval": "soon"}),
                ScheduleErrorKind::Interval,
                "interval",
            ),
            (
                json!({"interval": 60, "anchor_date": "not a date"}),
                ScheduleErrorKind::Timestamp,
                "anchor_date",
            ),
            (
                json!({"interval": 60, "anchor_date": "+12345-01-01T00:00:00Z"}),
                ScheduleErrorKind::Timestamp,
                "anchor_date",
            ),
            (
                json!({"cron": "0 9 * * *", "timezone": "utc"}),
                ScheduleErrorKind::Zone,
                "timezone",
            ),
            (
                json!({"cron": "0 9 * * *", "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}),
                ScheduleErrorKind::Bounds,
                "end",
            ),
            (
                json!({"cron": "0 9 * * *", "start": "2026-01-02T10:00:00Z", "end": "2026-01-03T08:00:00Z"}),
                ScheduleErrorKind::NeverFires,
                "schedule",
            ),
            (
                json!({"cron": "0 9 * * *", "jitter": -1}),
                ScheduleErrorKind::Setting,
                "jitter",
            ),
            (
                json!({"cron": "0 9 * * *", "exclude": ["someday"]}),
                ScheduleErrorKind::Timestamp,
                "exclude",
            ),
            (json!({"union": []}), ScheduleErrorKind::Setting, "union"),
        ] {
            let error = error(&json);
            assert_eq!((error.kind(), error.field()), (kind, field), "{json}: {error}");
        }
    }

    #[test]
    fn e2_json_that_cannot_be_read_is_told_in_the_words_of_schedules() {
        for (json, parts) in [
            (
                json!([]),
                &["a schedule is an object, not this list", "for example `{\"cron\""][..],
            ),
            (json!(null), &["a schedule is an object, not null"]),
            (
                json!({"cron": 9}),
                &["cron: takes a text, not this number", "`0 9 * * *`"],
            ),
            (
                json!({"interval": true}),
                &["interval: takes a number of seconds or the text"],
            ),
            (
                json!({"cron": "0 9 * * *", "excludes": []}),
                &["unknown key `excludes`", "did you mean `exclude`?"],
            ),
            (
                json!({"union": [{"cron": "0 9 * * *"}, {"cron": 9}]}),
                &["cron: takes a text"],
            ),
            (
                json!({"union": [7]}),
                &["a schedule is an object, not this number"],
            ),
            (
                json!({"union": {}}),
                &["union: takes a list of schedules, not this object"],
            ),
            (
                json!({"cron": "0 9 * * *", "seed": -1}),
                &["seed: takes a whole number from 0"],
            ),
        ] {
            let told = error(&json).to_string();
            for part in parts {
                assert!(told.contains(part), "{told}");
            }
            assert!(!told.contains("Raw"), "{told}");
        }
        let told = serde_json::from_value::<Schedule>(json!([]))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("a schedule, which is an object") && !told.contains("Raw"),
            "{told}"
        );
        let told = serde_json::from_value::<Schedule>(json!({"interval": 60}))
            .unwrap_err()
            .to_string();
        assert!(told.contains("Schedule::from_json_at"), "{told}");
    }

    #[test]
    fn e2_bounds_that_leave_nothing_are_shown_as_they_were_written() {
        let daily = || Schedule::cron("0 9 * * *", "UTC").unwrap();
        let told = daily().within(now()..now()).unwrap_err().to_string();
        assert!(
            told.contains("which is excluded") && told.contains("05:05:05+00:00"),
            "{told}"
        );
        assert!(!told.contains("05:05:04"), "{told}");
        let early = now() - chrono::TimeDelta::seconds(1);
        let told = daily().within(now()..=early).unwrap_err().to_string();
        assert!(told.contains("| 2026-05-05T05:05:04+00:00"), "{told}");
    }
}
