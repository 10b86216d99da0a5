//! Occurrences of schedules. `tests/data/schedules/README.md` says what the fields mean and which rules decide.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;
use tenfold::schedule::{Schedule, ScheduleError};

/// What became of the vectors of one file.
#[derive(Default)]
struct Tally {
    agreed: usize,
    disputed: usize,
    differed: Vec<String>,
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

#[test]
fn s1_occurrences_equal_the_vectors() {
    let folder = std::env::var_os("TENFOLD_VECTORS").map_or_else(|| DATA.into(), PathBuf::from);
    let (report, differed) = compare(&folder);
    // Straight to standard output, which the test harness does not capture.
    let _ = writeln!(io::stdout(), "\n{}", report.trim_end());
    assert!(differed.is_empty(), "these differ:\n{differed}");
}

#[test]
fn s1_another_folder_is_read_and_a_difference_in_it_is_found() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vectors");
    let copies = folder.join("schedules");
    fs::create_dir_all(&copies).expect("a folder for the copies");
    for name in ["cron.jsonl", "interval.jsonl", "rrule.jsonl"] {
        let text =
            fs::read_to_string(Path::new(DATA).join("schedules").join(name)).expect("the file is there");
        // In one undisputed vector of the first file a date is an hour off.
        let planted = if name == "cron.jsonl" { plant(&text) } else { text };
        fs::write(copies.join(name), planted).expect("a file can be written");
    }
    let (report, differed) = compare(&folder);
    let lines: Vec<&str> = report.lines().collect();
    assert!(
        lines[0].contains("cron.jsonl") && lines[0].ends_with("1 differed"),
        "{report}"
    );
    assert!(
        lines[1..].iter().all(|line| line.ends_with(" 0 differed")),
        "{report}"
    );
    assert!(differed.contains("instead of"), "{differed}");
}

/// Moves the first date of the first undisputed vector that has one.
fn plant(text: &str) -> String {
    let mut done = false;
    let lines = text.lines().map(|line| {
        let mut vector: Value = serde_json::from_str(line).expect("each line is a JSON object");
        if !done && vector.get("disputed").is_none() && vector["result"][0].is_string() {
            let date = vector["result"][0].as_str().expect("a date");
            let date: DateTime<Utc> = date.parse().expect("a time stamp");
            vector["result"][0] = Value::from((date - TimeDelta::hours(1)).to_rfc3339());
            done = true;
        }
        vector.to_string() + "\n"
    });
    lines.collect()
}

/// Judges every vector under `schedules` of a folder: a line per file, and what differs.
fn compare(folder: &Path) -> (String, String) {
    let folder = folder.join("schedules");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("no folder {}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no vectors in {}", folder.display());

    let (mut report, mut differed) = (String::new(), String::new());
    for path in files {
        let text = fs::read_to_string(&path).expect("the file is UTF-8 text");
        let mut tally = Tally::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let vector: Value = serde_json::from_str(line).expect("each line is a JSON object");
            match judge(&vector) {
                Ok(()) if vector.get("disputed").is_some() => tally.disputed += 1,
                Ok(()) => tally.agreed += 1,
                Err(how) => tally.differed.push(format!("{}: {how}", vector["id"])),
            }
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let _ = writeln!(
            report,
            "vectors schedules/{name}: {} agreed, {} disputed and agreed with the reference, {} differed",
            tally.agreed,
            tally.disputed,
            tally.differed.len()
        );
        for how in tally.differed {
            let _ = writeln!(differed, "{how}");
        }
    }
    (report, differed)
}

/// Compares one vector with this crate's answer.
fn judge(vector: &Value) -> Result<(), String> {
    let got = answer(vector);
    let outside = has_tag(vector, "outside-rfc");
    let expected = match (
        vector.get("reference"),
        vector.get("disputed"),
        vector.get("result"),
    ) {
        (Some(reference), _, _) => Some(reference),
        (None, None, result) => result,
        (None, Some(category), result) => {
            let category = category.as_str().unwrap_or_default();
            return match category.split(':').next().unwrap_or_default() {
                // Must be refused.
                "random" | "interval-zero" => got.map_or(Ok(()), |got| Err(format!("accepted: {got:?}"))),
                // Any answer in bounded time.
                _ => {
                    let _ = result;
                    Ok(())
                }
            };
        }
    };
    match (expected, got) {
        (Some(expected), Ok(got)) => {
            let expected: Vec<DateTime<Utc>> = expected
                .as_array()
                .ok_or("the expected dates are no list")?
                .iter()
                .map(|at| at.as_str().and_then(|at| at.parse().ok()))
                .collect::<Option<_>>()
                .ok_or("an expected date cannot be read")?;
            check_offsets(vector, &expected)?;
            if got == expected {
                Ok(())
            } else {
                Err(format!(
                    "{} from {} gives {:?} instead of {:?}",
                    vector["schedule"],
                    vector["start"],
                    first_difference(&got, &expected),
                    first_difference(&expected, &got)
                ))
            }
        }
        // An empty result and a refusal as never firing say the same.
        (Some(expected), Err(error)) => {
            let never = error.kind() == tenfold::schedule::ScheduleErrorKind::NeverFires;
            if outside || (never && expected.as_array().is_some_and(Vec::is_empty)) {
                Ok(())
            } else {
                Err(format!("refused: {error}"))
            }
        }
        (None, Err(_)) => Ok(()),
        (None, Ok(got)) if vector["error_stage"] == "get_dates" && got.is_empty() => Ok(()),
        (None, Ok(got)) => Err(format!("{} is accepted: {got:?}", vector["schedule"])),
    }
}

/// What this crate says.
fn answer(vector: &Value) -> Result<Vec<DateTime<Utc>>, ScheduleError> {
    let lent: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("a time stamp");
    let schedule = Schedule::from_json_at(&vector["schedule"], lent)?;
    let instant = |value: &Value| {
        value
            .as_str()
            .map(|text| match DateTime::parse_from_rfc3339(text) {
                Ok(at) => at.to_utc(),
                // Rule 6: without an offset it is local time in the schedule's zone.
                Err(_) => schedule.resolve(text.parse::<NaiveDateTime>().expect("a naive time stamp")),
            })
    };
    let start = instant(&vector["start"]).expect("every vector has a start");
    Ok(schedule.dates(vector["n"].as_i64(), start, instant(&vector["end"])))
}

/// The recorded offsets belong to the recorded result; where that is what we expect, ours must equal them.
fn check_offsets(vector: &Value, dates: &[DateTime<Utc>]) -> Result<(), String> {
    let (None, Some(offsets)) = (vector.get("disputed"), vector["offsets"].as_array()) else {
        return Ok(());
    };
    let lent: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("a time stamp");
    let Ok(schedule) = Schedule::from_json_at(&vector["schedule"], lent) else {
        return Ok(());
    };
    for (at, offset) in dates.iter().zip(offsets) {
        let seconds = schedule.offset_at(*at);
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.unsigned_abs() / 60;
        let ours = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        if offset.as_str() != Some(&ours) {
            return Err(format!("at {at} the offset is {ours} instead of {offset}"));
        }
    }
    Ok(())
}

fn has_tag(vector: &Value, tag: &str) -> bool {
    vector["tags"]
        .as_array()
        .is_some_and(|tags| tags.iter().any(|each| each == tag))
}

/// A few dates of `one` around the first place where it leaves `other`.
fn first_difference<'a>(one: &'a [DateTime<Utc>], other: &[DateTime<Utc>]) -> &'a [DateTime<Utc>] {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    &one[same.saturating_sub(1)..one.len().min(same + 2)]
}
