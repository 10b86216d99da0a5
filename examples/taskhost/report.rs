//! The table by deployment, from the engine's records of the runs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the table needs of one run that has started at least once.
#[derive(Clone, Debug)]
pub struct Line {
    /// `flow/name`.
    pub deployment: String,
    /// The last state.
    pub state: String,
    /// How often it was started.
    pub attempts: u32,
    /// From when it was due to when its first attempt started.
    pub wait: Duration,
    /// How long it ran, all attempts together.
    pub ran: Duration,
}

/// Runs, failures, mean wait and mean duration of each deployment. Printed as a table.
#[derive(Clone, Debug, Default)]
pub struct Table(BTreeMap<String, Row>);

#[derive(Clone, Debug, Default)]
struct Row {
    runs: u32,
    failures: u32,
    retried: u32,
    wait: Duration,
    longest: Duration,
    ran: Duration,
}

impl Row {
    fn add(&mut self, line: &Line) {
        self.runs += 1;
        self.failures += u32::from(line.state != "COMPLETED");
        self.retried += line.attempts.saturating_sub(1);
        self.wait += line.wait;
        self.longest = self.longest.max(line.wait);
        self.ran += line.ran;
    }
}

impl FromIterator<Line> for Table {
    fn from_iter<I: IntoIterator<Item = Line>>(lines: I) -> Self {
        let mut table = Self::default();
        for line in lines {
            table.0.entry(line.deployment.clone()).or_default().add(&line);
            // Sorts behind every name, which does not start with this character.
            table.0.entry(TOTAL.to_owned()).or_default().add(&line);
        }
        table
    }
}

const TOTAL: &str = "\u{7f}";

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>6} {:>9} {:>8} {:>11} {:>11} {:>14}",
            "deployment", "runs", "failures", "retries", "mean wait", "worst wait", "mean duration"
        )?;
        for (name, row) in &self.0 {
            let name = if name == TOTAL { "all" } else { name };
            writeln!(
                f,
                "{name:<24} {:>6} {:>9} {:>8} {:>11} {:>11} {:>14}",
                row.runs,
                row.failures,
                row.retried,
                show(row.wait / row.runs),
                show(row.longest),
                show(row.ran / row.runs),
            )?;
        }
        Ok(())
    }
}

/// A span for people.
pub fn show(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.2} s", span.as_secs_f64())
    }
}
