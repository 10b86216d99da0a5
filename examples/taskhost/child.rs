//! Runs one job in a child process and waits for it.
//!
//! The child is killed when the future is dropped, so a timeout or a stop of the engine, which drop the handler, end
//! the work too and not only the wait for it.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::jobs;

/// What the job printed, read as JSON.
///
/// # Errors
///
/// The last line that the job wrote to its error output, or why it could not be run.
pub async fn run(job: &str, parameters: &Value, attempt: u32, scratch: &Path) -> Result<Value, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(program);
    command
        .args([
            "--job",
            job,
            "--attempt",
            &attempt.to_string(),
            "--parameters",
            &parameters.to_string(),
        ])
        .env(jobs::SCRATCH, scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Ctrl-C goes to every process of the terminal's group; the jobs are the host's to end, after draining.
    #[cfg(unix)]
    command.process_group(0);

    let output = command
        .output()
        .await
        .map_err(|error| format!("cannot start the job: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or("the job said nothing");
        return Err(format!("{last} ({})", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("the job's answer is not JSON: {error}"))
}
