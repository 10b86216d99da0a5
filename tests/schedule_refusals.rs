//! Every refusal of a schedule names the field, shows its text with the place in it, and gives an example that would do.

#![expect(clippy::unwrap_used, reason = "a test panics when it is wrong")]

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tenfold::schedule::{Schedule, ScheduleErrorKind};

fn now() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// What is refused: the schedule, the kind, the field, the piece of the text that is at fault, and the key whose value the
/// example replaces.
type Row = (Value, ScheduleErrorKind, &'static str, &'static str, &'static str);

fn rows() -> Vec<Row> {
    use ScheduleErrorKind::{
        Bounds, Cron, Interval, Json, NeverFires, RandomCron, Recurrence, Setting, Timestamp, TooLong, Zone,
    };
    let cron = |text: &str| json!({"cron": text});
    let rrule = |text: &str| json!({"rrule": text, "timezone": "UTC"});
    vec![
        // A bad cron field.
        (cron("0 25 * * *"), Cron, "hour", "25", "cron"),
        (cron("60 * * * *"), Cron, "minute", "60", "cron"),
        (cron("0 0 32 * *"), Cron, "day of month", "32", "cron"),
        (cron("0 0 * 13 *"), Cron, "month", "13", "cron"),
        (cron("0 0 * * 8"), Cron, "day of week", "8", "cron"),
        (cron("0 0 * * funday"), Cron, "day of week", "funday", "cron"),
        (cron("*/0 * * * *"), Cron, "minute", "0", "cron"),
        (cron("1,,2 * * * *"), Cron, "minute", "", "cron"),
        (cron("* * * *"), Cron, "cron", "* * * *", "cron"),
        (cron(""), Cron, "cron", "", "cron"),
        (cron("@reboot"), Cron, "cron", "@reboot", "cron"),
        (cron("R/15 * * * *"), RandomCron, "minute", "R/15", "cron"),
        (cron("H * * * *"), RandomCron, "minute", "H", "cron"),
        (
            json!({"cron_crate": "nonsense"}),
            Cron,
            "cron_crate",
            "nonsense",
            "cron_crate",
        ),
        // A rule that never fires.
        (cron("0 0 30 2 *"), NeverFires, "cron", "0 0 30 2 *", "cron"),
        (
            rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
            NeverFires,
            "rrule",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "rrule",
        ),
        // An unknown zone.
        (
            json!({"cron": "0 9 * * *", "timezone": "Mars/Olympus"}),
            Zone,
            "timezone",
            "Mars/Olympus",
            "timezone",
        ),
        (
            json!({"rrule": "FREQ=DAILY", "timezone": ""}),
            Zone,
            "timezone",
            "",
            "timezone",
        ),
        // An interval of zero or less, or of more than there is.
        (json!({"interval": 0}), Interval, "interval", "0", "interval"),
        (json!({"interval": -60}), Interval, "interval", "-60", "interval"),
        (
            json!({"interval": "PT0S"}),
            Interval,
            "interval",
            "PT0S",
            "interval",
        ),
        (json!({"interval": 1e-9}), Interval, "interval", "", "interval"),
        (json!({"interval": 1e18}), Interval, "interval", "", "interval"),
        (
            json!({"interval": "often"}),
            Interval,
            "interval",
            "often",
            "interval",
        ),
        // A rule that cannot be read, or is too long.
        (
            rrule("FREQ=FORTNIGHTLY"),
            Recurrence,
            "FREQ",
            "FORTNIGHTLY",
            "rrule",
        ),
        (rrule("FREQ=DAILY;BYDAY=XX"), Recurrence, "BYDAY", "XX", "rrule"),
        (
            rrule("FREQ=DAILY;INTERVAL=0"),
            Recurrence,
            "INTERVAL",
            "0",
            "rrule",
        ),
        (rrule("BYDAY=MO"), Recurrence, "FREQ", "", "rrule"),
        (rrule(&"FREQ=DAILY;".repeat(600)), TooLong, "rrule", "", "rrule"),
        // Impossible time stamps.
        (
            json!({"interval": 60, "anchor_date": "2026-02-30T00:00:00Z"}),
            Timestamp,
            "anchor_date",
            "2026-02-30T00:00:00Z",
            "anchor_date",
        ),
        (
            json!({"cron": "0 9 * * *", "start": "soon"}),
            Timestamp,
            "start",
            "soon",
            "start",
        ),
        (
            json!({"cron": "0 9 * * *", "exclude": ["2026-13-01"]}),
            Timestamp,
            "exclude",
            "2026-13-01",
            "exclude",
        ),
        // An end before the start.
        (
            json!({"cron": "0 9 * * *", "start": "2026-06-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"}),
            Bounds,
            "end",
            "2026-05-01T00:00:00+00:00",
            "end",
        ),
        // Settings over their limits, and keys that no schedule has.
        (
            json!({"cron": "0 9 * * *", "jitter": 90_000}),
            Setting,
            "jitter",
            "90000",
            "jitter",
        ),
        (json!({"union": []}), Setting, "union", "", "union"),
        (json!({"cron": "0 9 * * *", "frequency": 1}), Json, "", "", ""),
        (json!({"timezone": "UTC"}), Json, "", "", ""),
        (json!({"cron": "0 9 * * *", "interval": 60}), Json, "", "", ""),
        (json!(7), Json, "", "", ""),
    ]
}

#[test]
fn e2_each_refusal_names_the_field_the_text_the_place_and_what_would_do() {
    let mut wrong = Vec::new();
    for (json, kind, field, marked, key) in rows() {
        let error = match Schedule::from_json_at(&json, now()) {
            Ok(schedule) => {
                wrong.push(format!("{json} is accepted: {schedule}"));
                continue;
            }
            Err(error) => error,
        };
        let text = error.to_string();
        let place = &error.text()[error.span()];
        let named = field.is_empty() || error.field() == field;
        let shown = marked.is_empty() || (place == marked && text.contains('^'));
        let advised =
            text.contains(&format!("for example `{}`", error.example())) && !error.example().is_empty();
        if error.kind() != kind || !named || !shown || !advised || text.ends_with('.') {
            wrong.push(format!(
                "{json}: {:?} {:?} {place:?}: {text}",
                error.kind(),
                error.field()
            ));
            continue;
        }
        // What it says would do does: in the place of the refused value, or of the whole.
        let example = serde_json::from_str(error.example()).unwrap_or_else(|_| json!(error.example()));
        let mut mended = json.clone();
        match (key, error.example()) {
            ("", _) => mended = example,
            ("exclude", _) => mended[key] = json!([example]),
            // A part of a rule.
            ("rrule", part) if !part.contains("FREQ") => mended[key] = json!(format!("FREQ=MONTHLY;{part}")),
            _ => mended[key] = example,
        }
        if let Err(error) = Schedule::from_json_at(&mended, now()) {
            wrong.push(format!("{json}: the example {mended} does not do: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
