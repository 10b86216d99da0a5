//! The frame of the ratio bench: what a line is, how it is measured, and how it is told.
//!
//! A *line* is one promise about speed or size. It has a name that reads as a path (its group first), one or two
//! *sides*, and a goal. Each side is a function that does one round of work and gives one figure, and **a figure is
//! always a cost** (nanoseconds for an operation, bytes for an item): less is better. The frame
//!
//! 1. builds the sides of the lines that were selected, and of no others;
//! 2. runs each side once unmeasured, then in alternating rounds (ours, other, ours, other ...), so that a machine
//!    that slows down slows both;
//! 3. takes the median of each side, holds the ratio against the goal, and prints one line.
//!
//! | goal | the ratio is | met when |
//! |---|---|---|
//! | [`Goal::at_least`] | how many times as fast as the other: their cost / our cost | ratio >= goal |
//! | [`Goal::at_most`] | our cost as a multiple of the other's: our cost / their cost | ratio <= goal |
//! | [`Goal::under`] | our figure / the limit | figure < limit |
//! | [`Goal::no_less`] | our figure / the floor | figure >= floor |
//! | [`Goal::shown`] | 1 | always: the figure is printed for its own sake |

#![allow(dead_code, reason = "each group uses its share of the frame")]

use std::fmt;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Reads the machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine; the rule is about the engine"
)]
pub fn now() -> Instant {
    Instant::now()
}

// ---------------------------------------------------------------------------------------------------- the sides

/// One side of a line: does one round of work and gives its figure.
pub struct Side {
    round: Box<dyn FnMut() -> f64>,
    /// A figure that does not vary (bytes) is taken once and not warmed up.
    once: bool,
}

/// A side whose round is `operations` operations in one call; its figure is nanoseconds for one operation.
pub fn timed(operations: usize, mut round: impl FnMut() + 'static) -> Side {
    figure(move || {
        let start = now();
        round();
        per_operation(start.elapsed(), operations)
    })
}

/// As [`timed`], with a part before each round and a part after it (the drop of what `round` gives) that do not
/// count.
pub fn timed_with<S, R>(
    operations: usize,
    mut prepare: impl FnMut() -> S + 'static,
    mut round: impl FnMut(S) -> R + 'static,
) -> Side {
    figure(move || {
        let state = prepare();
        let start = now();
        let rest = round(state);
        let took = start.elapsed();
        drop(rest);
        per_operation(took, operations)
    })
}

/// A side that takes its own measure: any cost, in the unit that the line's goal names or the other side shares.
pub fn figure(round: impl FnMut() -> f64 + 'static) -> Side {
    Side {
        round: Box::new(round),
        once: false,
    }
}

/// A side whose figure does not vary from round to round (bytes): taken once.
pub fn once(round: impl FnMut() -> f64 + 'static) -> Side {
    Side {
        round: Box::new(round),
        once: true,
    }
}

/// A span as nanoseconds for one of `operations`.
#[expect(
    clippy::cast_precision_loss,
    reason = "fewer than 2^52 operations and nanoseconds"
)]
pub fn per_operation(took: Duration, operations: usize) -> f64 {
    took.as_nanos() as f64 / operations as f64
}

/// Runs each worker on its own thread, all starting at once, and says how long it took from the start to the end of
/// the last.
pub fn together(workers: Vec<Box<dyn FnOnce() + Send + '_>>) -> Duration {
    let gate = Barrier::new(workers.len() + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let gate = &gate;
                scope.spawn(move || {
                    gate.wait();
                    let start = now();
                    worker();
                    (start, now())
                })
            })
            .collect();
        gate.wait();
        let spans: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a worker of a bench does not panic"))
            .collect();
        let first = spans.iter().map(|span| span.0).min();
        let last = spans.iter().map(|span| span.1).max();
        first
            .zip(last)
            .map_or(Duration::ZERO, |(first, last)| last - first)
    })
}

/// The value below which `share` (0 to 1) of `values` lie. Reorders them. Zero when there are none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the length"
)]
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_unstable_by(f64::total_cmp);
    let index = (share * (values.len() - 1) as f64).round() as usize;
    values[index.min(values.len() - 1)]
}

// ---------------------------------------------------------------------------------------------------- the goals

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Nanoseconds, printed as ns, µs, ms or s.
    Nanos,
    /// Bytes.
    Bytes,
    /// A plain number: a share, a count.
    Number,
}

/// What a line must reach. See the table at the top of this file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At least this many times as fast as the other side.
    AtLeast(f64),
    /// At most this multiple of the other side's cost.
    AtMost(f64),
    /// Our figure is below this.
    Under(f64, Unit),
    /// Our figure is this or more.
    NoLess(f64, Unit),
    /// Nothing to reach.
    Shown(Unit),
}

impl Goal {
    /// At least `times` as fast as the other side.
    pub const fn at_least(times: f64) -> Self {
        Self::AtLeast(times)
    }

    /// At most `times` the cost of the other side.
    pub const fn at_most(times: f64) -> Self {
        Self::AtMost(times)
    }

    /// A figure below `limit`.
    pub const fn under(limit: f64, unit: Unit) -> Self {
        Self::Under(limit, unit)
    }

    /// A figure of `floor` or more.
    pub const fn no_less(floor: f64, unit: Unit) -> Self {
        Self::NoLess(floor, unit)
    }

    /// A figure that is only shown.
    pub const fn shown(unit: Unit) -> Self {
        Self::Shown(unit)
    }

    /// The ratio that this goal speaks of, and whether it is met.
    fn judge(self, ours: f64, other: Option<f64>) -> (f64, bool) {
        let other = other.unwrap_or(f64::NAN);
        match self {
            Self::AtLeast(times) => (other / ours, other / ours >= times),
            Self::AtMost(times) => (ours / other, ours / other <= times),
            Self::Under(limit, _) => (ours / limit, ours < limit),
            Self::NoLess(floor, _) => (ours / floor, ours >= floor),
            Self::Shown(_) => (1.0, true),
        }
    }

    const fn unit(self) -> Unit {
        match self {
            Self::AtLeast(_) | Self::AtMost(_) => Unit::Nanos,
            Self::Under(_, unit) | Self::NoLess(_, unit) | Self::Shown(unit) => unit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(times) => write!(f, "at least {times} x"),
            Self::AtMost(times) => write!(f, "at most {times} x"),
            Self::Under(limit, unit) => write!(f, "under {}", show(*limit, *unit)),
            Self::NoLess(floor, unit) => write!(f, "no less than {}", show(*floor, *unit)),
            Self::Shown(_) => f.write_str("shown"),
        }
    }
}

// ---------------------------------------------------------------------------------------------------- the bench

/// Rounds of a line unless `--rounds` says otherwise. Odd, so that the median is a round that happened.
const ROUNDS: usize = 7;

/// The run of the whole bench: what was selected, how to print, and what has been met so far.
pub struct Bench {
    words: Vec<String>,
    rounds: usize,
    json: bool,
    list: bool,
    met: usize,
    short: usize,
}

/// One printed line. The order of the fields is the order of the keys.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    ours: f64,
    other: Option<f64>,
    ratio: f64,
    goal: String,
    verdict: &'static str,
}

impl Bench {
    /// Reads the arguments: words that select lines by a part of their name (any of them; none selects all),
    /// `--json`, `--list` (names only, nothing is measured), `--rounds n` (an odd number from 1 to 99; 7 unless said).
    ///
    /// # Errors
    ///
    /// A sentence about the argument that is not understood.
    pub fn from_args(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut bench = Self {
            words: Vec::new(),
            rounds: ROUNDS,
            json: false,
            list: false,
            met: 0,
            short: 0,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // What `cargo bench` itself adds.
                "--bench" => {}
                "--json" => bench.json = true,
                "--list" => bench.list = true,
                "--rounds" => {
                    let rounds = arguments.next().unwrap_or_default();
                    bench.rounds = rounds
                        .parse()
                        .ok()
                        .filter(|rounds| rounds % 2 == 1 && *rounds < 100)
                        .ok_or_else(|| {
                            format!("--rounds takes an odd number from 1 to 99, not `{rounds}`")
                        })?;
                }
                option if option.starts_with('-') => {
                    return Err(format!(
                        "unknown option `{option}`; there are --json, --list, --rounds n, and words that select lines"
                    ));
                }
                _ => bench.words.push(argument),
            }
        }
        Ok(bench)
    }

    /// Whether a line of this name is to be measured. Ask before building something that several lines share.
    pub fn selects(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// A line with two sides. `sides` builds them, ours first, and is called only if the line is selected.
    pub fn versus(&mut self, name: &str, goal: Goal, sides: impl FnOnce() -> (Side, Side)) {
        if !self.wants(name) {
            return;
        }
        let (ours, other) = sides();
        let medians = self.medians(vec![ours, other]);
        self.tell(name, medians[0], Some(medians[1]), goal);
    }

    /// A line with one side and an absolute goal.
    pub fn absolute(&mut self, name: &str, goal: Goal, side: impl FnOnce() -> Side) {
        if !self.wants(name) {
            return;
        }
        let medians = self.medians(vec![side()]);
        self.tell(name, medians[0], None, goal);
    }

    /// A line about growth: the same work at (five) rising sizes, its sides alternating like all others.
    ///
    /// Through the medians goes the straight line of least squares in the logarithms of size and cost. The figures
    /// shown are those of that fit, ours at the greatest size and the other at the least, so the ratio is by what the
    /// cost grows over the whole range, and one noisy size does not decide. The goal is an [`Goal::at_most`].
    pub fn growth(&mut self, name: &str, sizes: &[usize], goal: Goal, side: impl FnMut(usize) -> Side) {
        if !self.wants(name) {
            return;
        }
        let medians = self.medians(sizes.iter().copied().map(side).collect());
        let (least, greatest) = fit(sizes, &medians);
        self.tell(name, greatest, Some(least), goal);
        if !self.json {
            #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
            let span = sizes.iter().max().map_or(1.0, |&size| size as f64)
                / sizes.iter().min().map_or(1.0, |&size| size as f64);
            let slope = (greatest / least).ln() / span.ln();
            println!("    cost grows with the size to the power of {slope:.3}");
            for (size, median) in sizes.iter().zip(medians) {
                println!("    at {size:>10}: {}", show(median, goal.unit()));
            }
        }
    }

    /// Several two-sided lines and one more, `name/mean`, whose ratio is the geometric mean of theirs. Each case is
    /// the line `name/case`, held against `each`; the mean is held against `mean`, and measures every case.
    pub fn mean(&mut self, name: &str, mean: Goal, each: Goal, cases: Vec<Case<'_>>) {
        let whole = format!("{name}/mean");
        let every = self.selects(&whole);
        let (mut ours, mut other, mut measured) = (0.0, 0.0, 0_u32);
        for (case, sides) in cases {
            let case = format!("{name}/{case}");
            if !(every || self.selects(&case)) {
                continue;
            }
            if self.list {
                println!("{case}");
                continue;
            }
            let (mine, theirs) = sides();
            let medians = self.medians(vec![mine, theirs]);
            self.tell(&case, medians[0], Some(medians[1]), each);
            ours += medians[0].ln();
            other += medians[1].ln();
            measured += 1;
        }
        if every && self.list {
            println!("{whole}");
        } else if every && measured > 0 {
            let count = f64::from(measured);
            self.tell(&whole, (ours / count).exp(), Some((other / count).exp()), mean);
        }
    }

    /// Prints how many lines met their goals. A line that fell short is told, and does not fail the bench: a noisy
    /// machine is not a wrong program.
    pub fn finish(self) {
        if !self.json && !self.list {
            println!("{} met, {} short", self.met, self.short);
        }
    }

    /// Whether to measure this line; when only names are asked for, prints it and says no.
    fn wants(&self, name: &str) -> bool {
        let selected = self.selects(name);
        if selected && self.list {
            println!("{name}");
        }
        selected && !self.list
    }

    /// The median figure of each side over the alternating rounds.
    fn medians(&self, mut sides: Vec<Side>) -> Vec<f64> {
        for side in &mut sides {
            if !side.once {
                (side.round)();
            }
        }
        let mut figures = vec![Vec::with_capacity(self.rounds); sides.len()];
        for round in 0..self.rounds {
            for (side, figures) in sides.iter_mut().zip(&mut figures) {
                if round == 0 || !side.once {
                    figures.push((side.round)());
                }
            }
        }
        figures.iter_mut().map(|figures| quantile(figures, 0.5)).collect()
    }

    fn tell(&mut self, name: &str, ours: f64, other: Option<f64>, goal: Goal) {
        let (ratio, met) = goal.judge(ours, other);
        let verdict = if met { "met" } else { "short" };
        *(if met { &mut self.met } else { &mut self.short }) += 1;
        if self.json {
            let line = Line {
                name,
                ours,
                other,
                ratio,
                goal: goal.to_string(),
                verdict,
            };
            println!("{}", serde_json::to_string(&line).expect("strings and numbers"));
            return;
        }
        if self.met + self.short == 1 {
            println!(
                "{:<72} {:>11} {:>11} {:>8}  {:<22} verdict",
                "name", "ours", "other", "ratio", "goal"
            );
        }
        println!(
            "{name:<72} {:>11} {:>11} {:>8}  {:<22} {verdict}",
            show(ours, goal.unit()),
            other.map_or_else(|| "-".to_owned(), |other| show(other, goal.unit())),
            format!("{ratio:.2}"),
            goal.to_string(),
        );
    }
}

/// One case of [`Bench::mean`]: its word in the name, and the sides, built only if measured.
pub type Case<'a> = (&'a str, Box<dyn FnOnce() -> (Side, Side) + 'a>);

/// The cost at the least and at the greatest size, on the line through the logarithms of size and cost.
#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn fit(sizes: &[usize], costs: &[f64]) -> (f64, f64) {
    let points: Vec<(f64, f64)> = sizes
        .iter()
        .zip(costs)
        .map(|(size, cost)| ((*size as f64).ln(), cost.ln()))
        .collect();
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|point| (point.0 - mean_x).powi(2)).sum();
    let slope = points
        .iter()
        .map(|point| (point.0 - mean_x) * (point.1 - mean_y))
        .sum::<f64>()
        / spread;
    let at = |x: f64| (mean_y + slope * (x - mean_x)).exp();
    let least = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let greatest = points
        .iter()
        .map(|point| point.0)
        .fold(f64::NEG_INFINITY, f64::max);
    (at(least), at(greatest))
}

/// A figure for people: three significant digits or so, with its unit.
fn show(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanos if figure >= 1e9 => format!("{:.2} s", figure / 1e9),
        Unit::Nanos if figure >= 1e6 => format!("{:.2} ms", figure / 1e6),
        Unit::Nanos if figure >= 1e3 => format!("{:.2} µs", figure / 1e3),
        Unit::Nanos => format!("{figure:.1} ns"),
        Unit::Bytes => format!("{figure:.1} B"),
        Unit::Number => format!("{figure:.2}"),
    }
}
