//! The deployments file: a list of objects in the reference's JSON shape, with the keys `priority`, `retries`,
//! `retry_delay_seconds` and `timeout_seconds` added. Whatever is wrong with it is told with its place.

use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_path_to_error::Segment;
use tenfold::Priority;
use tenfold::model::{NewSchedule, Object};

use crate::jobs;
use crate::place::{self, Step};

/// One deployment of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Unique in its flow.
    pub name: String,
    /// The job that its runs do.
    #[serde(alias = "flow", deserialize_with = "job")]
    pub flow_name: String,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// Free text.
    #[serde(default)]
    pub version: Option<String>,
    /// When it runs by itself.
    #[serde(default)]
    pub schedules: Vec<NewSchedule>,
    /// Parameters of its job.
    #[serde(default)]
    pub parameters: Object,
    /// Words to find it by; `ad-hoc` makes it take part in the burst.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Free keys and values.
    #[serde(default)]
    pub labels: Object,
    /// The pool its runs wait in; made when first named.
    #[serde(default)]
    pub work_pool_name: Option<String>,
    /// The queue of that pool.
    #[serde(default)]
    pub work_queue_name: Option<String>,
    /// Most of its runs at a time.
    #[serde(default)]
    pub concurrency_limit: Option<NonZeroU32>,
    /// What happens when that limit is reached.
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "only what the engine does anyhow is accepted, and reading the file checks that"
    )]
    pub concurrency_options: Option<ConcurrencyOptions>,
    /// While true, its schedules fire nothing.
    #[serde(default)]
    pub paused: bool,
    /// The level of its runs.
    #[serde(default)]
    pub priority: Priority,
    /// How often a failed run is tried again.
    #[serde(default)]
    pub retries: u32,
    /// How long after the failure.
    #[serde(default, deserialize_with = "span")]
    pub retry_delay_seconds: Duration,
    /// Longest time of one attempt.
    #[serde(default, deserialize_with = "positive")]
    pub timeout_seconds: Option<Duration>,
}

impl Entry {
    /// `flow/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.flow_name, self.name)
    }

    /// The pool and the queue that its runs wait in.
    pub fn work_place(&self) -> (&str, &str) {
        (
            self.work_pool_name.as_deref().unwrap_or("default"),
            self.work_queue_name.as_deref().unwrap_or("default"),
        )
    }
}

/// What happens when a deployment's limit is reached. Runs wait; the other strategies of the reference are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyOptions {
    /// `ENQUEUE`.
    #[expect(
        dead_code,
        reason = "there is one strategy, and reading the file checks that it is this one"
    )]
    pub collision_strategy: Collision,
}

/// What becomes of a run that meets a full limit.
#[derive(Debug, Deserialize)]
pub enum Collision {
    /// It waits its turn.
    #[serde(rename = "ENQUEUE")]
    Enqueue,
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct Wrong {
    file: PathBuf,
    /// Line, column and path, unless the file could not be read at all.
    place: Option<(usize, usize, place::Path)>,
    what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column, path)) = &self.place {
            write!(f, ":{line}:{column}")?;
            if *path != place::Path::default() {
                write!(f, ": at {path}")?;
            }
        }
        write!(f, ": {}", self.what)
    }
}

/// A file that was read: its deployments, and its text to point into.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    text: String,
    /// The deployments, in the order of the file.
    pub entries: Vec<Entry>,
}

impl File {
    /// Reads and checks the file.
    ///
    /// # Errors
    ///
    /// [`Wrong`], for a file that cannot be read, is not JSON, or does not have the shape of a list of deployments.
    pub fn read(path: &Path) -> Result<Self, Wrong> {
        let text = fs::read_to_string(path).map_err(|error| Wrong {
            file: path.to_owned(),
            place: None,
            what: format!("cannot be read: {error}"),
        })?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Self, Wrong> {
        let mut reader = serde_json::Deserializer::from_str(&text);
        let entries = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| wrong_shape(path, &text, &error))?;
        reader.end().map_err(|error| Wrong {
            file: path.to_owned(),
            place: Some((error.line(), error.column(), place::Path::default())),
            what: without_position(&error),
        })?;
        Ok(Self {
            path: path.to_owned(),
            text,
            entries,
        })
    }

    /// Says that something about the deployment `index`, under `key` of it, was refused for the reason `what`.
    pub fn wrong(&self, index: usize, key: &str, what: impl fmt::Display) -> Wrong {
        let path = place::Path(vec![Step::Index(index), Step::Key(key.to_owned())]);
        let (line, column) = place::locate(&self.text, &path);
        Wrong {
            file: self.path.clone(),
            place: Some((line, column, path)),
            what: what.to_string(),
        }
    }
}

fn wrong_shape(file: &Path, text: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Wrong {
    let what = without_position(error.inner());
    let mut path = place::Path::default();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => path.0.push(Step::Index(*index)),
            Segment::Map { key } => path.0.push(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let (line, column) = if error.inner().is_data() {
        // The reader noticed at the end of the value; whoever mends it wants the start.
        place::locate(text, &path)
    } else {
        path = place::Path::default();
        (error.inner().line(), error.inner().column())
    };
    Wrong {
        file: file.to_owned(),
        place: Some((line, column, path)),
        what,
    }
}

/// The message of `error` without its own position, which is told better.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(position) => message[..position].to_owned(),
        None => message,
    }
}

fn job<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let name = String::deserialize(value)?;
    if jobs::NAMES.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(D::Error::custom(format!(
        "unknown flow `{name}`; there are {}",
        jobs::NAMES.join(", ")
    )))
}

fn span<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(value)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| D::Error::custom(format!("{seconds} is not a number of seconds; use 0 or more")))
}

fn positive<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let Some(seconds) = Option::<f64>::deserialize(value)? else {
        return Ok(None);
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span > Duration::ZERO => Ok(Some(span)),
        _ => Err(D::Error::custom(format!(
            "{seconds} is not a time limit; use more than 0 seconds, or null"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        File::parse(Path::new("d.json"), text.to_owned())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_file_that_ships_is_read() {
        let path = crate::args::Options::default().file;
        let file = File::read(&path).unwrap();
        assert!(file.entries.len() >= 8);
        assert_eq!(file.entries[3].concurrency_limit, NonZeroU32::new(1));
        assert_eq!(file.entries[6].timeout_seconds, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place() {
        let text = "[\n  {\n    \"name\": \"a\", \"flow_name\": \"hash\",\n    \"priority\": 11\n  }\n]";
        assert_eq!(
            refusal(text),
            "d.json:4:17: at [0].priority: priority 11 is not a level; use 1 (least urgent) to 10 (most urgent)"
        );
        assert_eq!(
            refusal(r#"[{"name": "a", "flow_name": "dig"}]"#),
            "d.json:1:29: at [0].flow_name: unknown flow `dig`; there are hash, compress, count, journal, flaky, overstay"
        );
        assert_eq!(
            refusal(r#"[{"name": "a", "flow_name": "hash", "timeout_seconds": 0}]"#),
            "d.json:1:56: at [0].timeout_seconds: 0 is not a time limit; use more than 0 seconds, or null"
        );
    }

    #[test]
    fn a_missing_or_unknown_key_is_told_with_the_object_it_belongs_to() {
        assert_eq!(
            refusal(r#"[{"name": "a"}]"#),
            "d.json:1:2: at [0]: missing field `flow_name`"
        );
        let unknown = refusal(r#"[{"name": "a", "flow_name": "hash", "prority": 3}]"#);
        assert!(
            unknown.starts_with("d.json:1:48: at [0].prority: unknown field `prority`, expected"),
            "{unknown}"
        );
    }

    #[test]
    fn text_that_is_not_json_is_told_with_the_place_where_it_ends_to_be() {
        assert_eq!(refusal("[\n {,}\n]"), "d.json:2:3: key must be a string");
        assert_eq!(refusal("[] x"), "d.json:1:4: trailing characters");
        assert_eq!(
            refusal("{}"),
            "d.json:1:1: invalid type: map, expected a sequence"
        );
    }

    #[test]
    fn a_later_refusal_points_at_the_value_it_is_about() {
        let text =
            "[{\"name\": \"é\", \"flow_name\": \"hash\"},\n {\"flow_name\": \"hash\", \"name\": \"b\"}]";
        let file = File::parse(Path::new("d.json"), text.to_owned()).unwrap();
        assert_eq!(
            file.wrong(1, "name", "is taken").to_string(),
            "d.json:2:32: at [1].name: is taken"
        );
        assert_eq!(
            file.wrong(0, "flow_name", "x").to_string(),
            "d.json:1:29: at [0].flow_name: x"
        );
    }
}
