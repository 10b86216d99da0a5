//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::arguments::Arguments;

/// What `--help` prints.
pub const HELP: &str = "\
taskhost: runs the deployments of a file for a while, shows how it stands, and checks that nothing went wrong

  taskhost [FILE] [--seconds N] [--burst N] [--limit N]

  FILE         deployments as JSON; examples/data/deployments.json unless given
  --seconds N  how long schedules fire before the host drains; 17 unless given, at most 3600
  --burst N    ad-hoc runs submitted at once; 300 unless given, at most 500
  --limit N    jobs at a time; 4 unless given, 1 to 64

  Ctrl-C drains at once: nothing new starts by schedule, what waits and runs is finished. A second one stops.
  The exit code is 0 when every check passed, 1 when one did not, 2 for a wrong file or argument.";

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Run deployments.
    Host(Options),
    /// Do one job; this is how the host calls itself.
    Job {
        /// Which.
        name: String,
        /// Its parameters.
        parameters: Value,
        /// Which attempt of the run this is, from 1.
        attempt: u32,
    },
    /// Print [`HELP`].
    Help,
}

/// Settings of a host.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// The deployments file.
    pub file: PathBuf,
    /// How long schedules fire.
    pub span: Duration,
    /// How many ad-hoc runs are submitted at once.
    pub burst: usize,
    /// Jobs at a time.
    pub limit: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file: PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/examples/data/deployments.json"
            )),
            span: Duration::from_secs(17),
            burst: 300,
            limit: 4,
        }
    }
}

/// Reads the arguments, without the program's name.
///
/// # Errors
///
/// A sentence about the argument that is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut arguments = Arguments::new(arguments);
    let mut options = Options::default();
    let (mut job, mut parameters, mut attempt, mut file) = (None, Value::Null, 1, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--seconds" => options.span = Duration::from_secs(arguments.number(&argument, 1, 3600)?),
            "--burst" => options.burst = arguments.number(&argument, 0, 500)?,
            "--limit" => options.limit = arguments.number(&argument, 1, 64)?,
            "--job" => job = Some(arguments.value(&argument)?),
            "--attempt" => attempt = arguments.number(&argument, 1, u64::from(u32::MAX))?,
            "--parameters" => {
                let text = arguments.value(&argument)?;
                parameters = serde_json::from_str(&text)
                    .map_err(|error| format!("--parameters takes JSON, not `{text}`: {error}"))?;
            }
            option if option.starts_with('-') => {
                return Err(format!("unknown option `{option}`; see --help"));
            }
            path if file.is_none() => file = Some(PathBuf::from(path)),
            extra => return Err(format!("one file is enough; `{extra}` is too much")),
        }
    }
    if let Some(file) = file {
        options.file = file;
    }
    Ok(match job {
        Some(name) => Command::Job {
            name,
            parameters,
            attempt,
        },
        None => Command::Host(options),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn nothing_given_is_the_file_that_ships_for_a_while() {
        assert_eq!(read(""), Ok(Command::Host(Options::default())));
    }

    #[test]
    fn a_number_out_of_range_is_refused_with_the_range() {
        assert_eq!(
            read("--limit 0"),
            Err("--limit takes a number from 1 to 64, not `0`".to_owned())
        );
        assert_eq!(
            read("--burst many"),
            Err("--burst takes a number from 0 to 500, not `many`".to_owned())
        );
        assert_eq!(
            read("--seconds"),
            Err("--seconds needs a value; see --help".to_owned())
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(
            read("--fast"),
            Err("unknown option `--fast`; see --help".to_owned())
        );
        assert_eq!(read("a b"), Err("one file is enough; `b` is too much".to_owned()));
    }
}
