//! The deployments file.

use std::num::NonZeroU32;
use std::path::Path;

use serde::Deserialize;
use tenfold::{NewDeployment, NewSchedule, Priority};

/// One deployment of the file. Keys that a simulation has no use for are passed over.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    name: String,
    flow_name: String,
    #[serde(default)]
    schedules: Vec<NewSchedule>,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    concurrency_limit: Option<NonZeroU32>,
    mean_seconds: Option<f64>,
}

/// A deployment, and how long its runs take in the mean.
#[derive(Clone, Debug)]
pub struct Work {
    /// What to deploy.
    pub deployment: NewDeployment,
    /// In seconds.
    pub mean: f64,
}

/// Reads a file.
///
/// # Errors
///
/// A sentence about what is wrong, and where.
pub fn read(path: &Path, mean: f64) -> Result<Vec<Work>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text, mean).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// Reads the text of a file; `mean` is for those that name no duration.
///
/// # Errors
///
/// As [`read`].
pub fn parse(text: &str, mean: f64) -> Result<Vec<Work>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let entries: Vec<Entry> =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| error.to_string())?;
    let work = |entry: Entry| {
        let mean = entry.mean_seconds.unwrap_or(mean);
        if mean.is_nan() || mean <= 0.0 {
            let name = format!("{}/{}", entry.flow_name, entry.name);
            return Err(format!(
                "deployment {name}: a mean duration of {mean} s is not more than 0"
            ));
        }
        let mut deployment = NewDeployment::new(entry.flow_name, entry.name).priority(entry.priority);
        if let Some(limit) = entry.concurrency_limit {
            deployment = deployment.concurrency_limit(limit);
        }
        for schedule in entry.schedules {
            deployment = deployment.schedule(schedule);
        }
        Ok(Work { deployment, mean })
    };
    entries.into_iter().map(work).collect()
}
