//! Do I need more slots? `cargo run --release --example capacity`.
//!
//! It reads deployments with their schedules and mean durations (`examples/data/capacity.json`, or the file given), lets an
//! engine live through a week on a manual clock once for each number of slots, and tells how long runs wait. What is
//! seen: a table in the terminal with the answer under it, and a drawing (`target/capacity.svg` unless `--out` says
//! otherwise) of waiting runs, slots in use and waits, hour by hour. A week takes a second or two.

#![allow(
    unreachable_pub,
    reason = "a module's `pub` items are its face, as if the module were a crate"
)]

#[path = "../shared/arguments.rs"]
mod arguments;
mod draw;
mod load;
mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use arguments::Arguments;
use simulate::{Week, simulate};

const HELP: &str = "\
capacity: how long runs would wait with 1, 2, 4 ... slots

  capacity [FILE] [--slots N,N,...] [--days N] [--mean SECONDS] [--target SECONDS] [--out FILE]

  FILE              deployments as JSON, with `mean_seconds` each; examples/data/capacity.json unless given
  --slots N,N,...   the numbers of slots to try; 1,2,4,8 unless given
  --days N          how long; 7 unless given, 1 to 31
  --mean SECONDS    mean duration of deployments that name none; 60 unless given
  --target SECONDS  a wait that is still fine, for 95 runs of 100; 300 unless given
  --out FILE        where the drawing goes; target/capacity.svg unless given";

struct Options {
    file: PathBuf,
    slots: Vec<u32>,
    days: u32,
    mean: f64,
    target: f64,
    out: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        Self {
            file: root.join("examples/data/capacity.json"),
            slots: vec![1, 2, 4, 8],
            days: 7,
            mean: 60.0,
            target: 300.0,
            out: root.join("target/capacity.svg"),
        }
    }
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => refused(&problem),
        },
        Err(problem) => refused(&problem),
    }
}

fn refused(problem: &str) -> ExitCode {
    eprintln!("capacity: {problem}");
    ExitCode::from(2)
}

fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Options>, String> {
    let (mut options, mut arguments) = (Options::default(), Arguments::new(arguments));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--slots" => {
                let list = arguments.value(&argument)?;
                let slots: Option<Vec<u32>> = list
                    .split(',')
                    .map(|one| one.parse().ok().filter(|slots| (1..=1000).contains(slots)))
                    .collect();
                options.slots = slots.filter(|slots| slots.len() <= 8).ok_or_else(|| {
                    format!("--slots takes up to eight numbers from 1 to 1000, such as 1,2,4, not `{list}`")
                })?;
                options.slots.sort_unstable();
                options.slots.dedup();
            }
            "--days" => options.days = arguments.number(&argument, 1, 31)?,
            "--mean" => options.mean = seconds("--mean", &arguments.value(&argument)?)?,
            "--target" => options.target = seconds("--target", &arguments.value(&argument)?)?,
            "--out" => options.out = arguments.value(&argument)?.into(),
            option if option.starts_with('-') => {
                return Err(format!("unknown option `{option}`; see --help"));
            }
            file => options.file = file.into(),
        }
    }
    Ok(Some(options))
}

fn seconds(option: &str, text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=1e6).contains(seconds))
        .ok_or_else(|| format!("{option} takes seconds from 0.001 to 1000000, not `{text}`"))
}

fn run(options: &Options) -> Result<(), String> {
    let work = load::read(&options.file, options.mean)?;
    let weeks = options
        .slots
        .iter()
        .map(|&slots| simulate(&work, slots, options.days).map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    println!("slots    runs   in use   wait: half within   95 of 100 within     longest   left waiting");
    for week in &weeks {
        println!(
            "{:>5} {:>7} {:>7.0}% {:>19} {:>18} {:>11} {:>14}",
            week.slots,
            week.started(),
            100.0 * week.busy(),
            span(week.wait(0.5)),
            span(week.wait(0.95)),
            span(week.wait(1.0)),
            week.left,
        );
    }
    let answer = answer(&weeks, options.target);
    println!("{answer}");
    let drawing = draw::svg(&weeks, &answer, options.target);
    if let Some(directory) = options.out.parent() {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    std::fs::write(&options.out, drawing).map_err(|error| format!("{}: {error}", options.out.display()))?;
    println!("drawn in {}", options.out.display());
    Ok(())
}

/// The answer to the question.
fn answer(weeks: &[Week], target: f64) -> String {
    let target_said = span(target);
    match weeks
        .iter()
        .find(|week| week.left_late == 0 && week.wait(0.95) <= target)
    {
        Some(week) if week.slots == 1 => {
            format!("One slot is enough: 95 runs of 100 wait at most {target_said}.")
        }
        Some(week) => format!(
            "{} slots are the fewest of these with which 95 runs of 100 wait at most {target_said}.",
            week.slots
        ),
        None => format!("None of these is enough for 95 runs of 100 to wait at most {target_said}."),
    }
}

/// A span as a person says it.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 129_600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_ships_needs_four_slots() {
        let options = Options::default();
        let work = load::read(&options.file, options.mean).unwrap();
        let weeks: Vec<Week> = [1, 2, 4].map(|slots| simulate(&work, slots, 3).unwrap()).into();
        assert_eq!(
            answer(&weeks, options.target),
            "4 slots are the fewest of these with which 95 runs of 100 wait at most 5 min."
        );
        assert!(weeks[0].wait(0.95) > weeks[1].wait(0.95) && weeks[1].wait(0.95) > weeks[2].wait(0.95));
        for week in &weeks {
            assert!(week.busy() <= 1.0 + 1e-9, "more slots in use than there are");
            assert!(
                week.hours
                    .iter()
                    .all(|hour| hour.processing <= f64::from(week.slots) + 1e-9)
            );
        }
        let drawing = draw::svg(&weeks, "the answer <&>", options.target);
        assert!(drawing.starts_with("<svg") && drawing.ends_with("</svg>\n"));
        assert!(drawing.contains("the answer &lt;&amp;&gt;"));
    }

    #[test]
    fn the_same_week_is_lived_twice_alike() {
        let work = load::read(&Options::default().file, 60.0).unwrap();
        assert_eq!(simulate(&work, 2, 1).unwrap(), simulate(&work, 2, 1).unwrap());
    }

    #[test]
    fn work_far_shorter_than_its_interval_never_waits() {
        // A run every minute, a day long.
        let work = load::parse(
            r#"[{"name": "a", "flow_name": "f", "mean_seconds": 0.01, "schedules": [{"schedule": {"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}, "active": true}]}]"#,
            60.0,
        )
        .unwrap();
        let week = simulate(&work, 1, 1).unwrap();
        assert_eq!((week.started(), week.left), (1440, 0));
        assert!(week.wait(1.0) < 1e-6);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(
            parse(["--slots".to_owned(), "0".to_owned()]).err().as_deref(),
            Some("--slots takes up to eight numbers from 1 to 1000, such as 1,2,4, not `0`")
        );
        let refusal = load::parse(r#"[{"name": "a", "flow_name": "f", "mean_seconds": -1}]"#, 60.0).err();
        assert_eq!(
            refusal.as_deref(),
            Some("deployment f/a: a mean duration of -1 s is not more than 0")
        );
    }
}
