//! The work itself, done in a child process: `taskhost --job NAME --parameters JSON --attempt N`.
//!
//! | job | parameters | does |
//! |---|---|---|
//! | `hash` | `path` | SHA-256 over the names and contents of all files below `path` |
//! | `compress` | `path` | deflates all files below `path` and says by how much they shrank |
//! | `count` | `path` | counts files, lines, words and bytes below `path` |
//! | `journal` | `path` | hashes, then adds a line to a journal that only one process may hold at a time |
//! | `flaky` | `path`, `fails` | counts, but fails on its first `fails` attempts |
//! | `overstay` | `path`, `seconds` | compresses again and again for so long; its deployment's timeout ends it |
//!
//! A path is taken from the root of the repository. A job prints one JSON object and ends with 0, or prints a
//! sentence to its error output and ends with 1.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::{Compression, write::DeflateEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The jobs there are; a deployment's flow names one.
pub const NAMES: [&str; 6] = ["hash", "compress", "count", "journal", "flaky", "overstay"];

/// Directory that the host and its jobs share: where the journal is.
pub const SCRATCH: &str = "TASKHOST_SCRATCH";

/// Does the job `name`. `attempt` counts from 1.
///
/// # Errors
///
/// A sentence: unknown job, missing parameter, unreadable file, or the failure that the job is there to show.
pub fn run(name: &str, parameters: &Value, attempt: u32) -> Result<Value, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(text(parameters, "path")?);
    let files = files(&root).map_err(|error| format!("cannot list {}: {error}", root.display()))?;
    match name {
        "hash" => hash(&files),
        "compress" => compress(&files),
        "count" => count(&files),
        "journal" => {
            let answer = in_journal(|| hash(&files))?;
            Ok(answer)
        }
        "flaky" => {
            let fails = number(parameters, "fails")?;
            let answer = count(&files)?;
            if u64::from(attempt) <= fails {
                return Err(format!("attempt {attempt} fails, as it is meant to"));
            }
            Ok(answer)
        }
        "overstay" => {
            let seconds = number(parameters, "seconds")?;
            let start = crate::now();
            let mut rounds = 0;
            while start.elapsed() < Duration::from_secs(seconds) {
                compress(&files)?;
                rounds += 1;
            }
            Ok(json!({ "rounds": rounds }))
        }
        other => Err(format!("unknown job `{other}`; there are {}", NAMES.join(", "))),
    }
}

fn hash(files: &[PathBuf]) -> Result<Value, String> {
    let (mut sum, mut bytes) = (Sha256::new(), 0);
    for file in files {
        let content = read(file)?;
        bytes += content.len();
        sum.update(file.as_os_str().as_encoded_bytes());
        sum.update(&content);
    }
    let mut hex = String::new();
    for byte in sum.finalize() {
        // Writing to a text cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(json!({ "files": files.len(), "bytes": bytes, "sha256": hex }))
}

fn compress(files: &[PathBuf]) -> Result<Value, String> {
    let mut packed = DeflateEncoder::new(Tally(0), Compression::default());
    let mut bytes = 0;
    for file in files {
        let content = read(file)?;
        bytes += content.len();
        packed.write_all(&content).map_err(|error| error.to_string())?;
    }
    let Tally(shrunk) = packed.finish().map_err(|error| error.to_string())?;
    Ok(json!({ "files": files.len(), "bytes": bytes, "compressed": shrunk }))
}

fn count(files: &[PathBuf]) -> Result<Value, String> {
    let (mut lines, mut words, mut bytes) = (0, 0, 0);
    for file in files {
        let content = read(file)?;
        bytes += content.len();
        lines += content.split(|byte| *byte == b'\n').count() - 1;
        words += content
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .count();
    }
    Ok(json!({ "files": files.len(), "lines": lines, "words": words, "bytes": bytes }))
}

/// Does `work` while this process alone holds the journal, then notes it there. That the journal is free is the
/// promise of the deployment's limit of 1; the lock of the operating system is the witness.
fn in_journal(work: impl FnOnce() -> Result<Value, String>) -> Result<Value, String> {
    let scratch = std::env::var_os(SCRATCH).ok_or_else(|| format!("{SCRATCH} is not set"))?;
    let path = Path::new(&scratch).join("journal");
    let mut journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    journal
        .try_lock()
        .map_err(|error| format!("the journal is held by another process: {error}"))?;
    let answer = work()?;
    note(&mut journal, &answer).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(answer)
}

fn note(journal: &mut File, answer: &Value) -> io::Result<()> {
    writeln!(journal, "{answer}")?;
    journal.flush()
}

/// All files below `root` in the order of their names; what builds and tools leave behind is not looked at.
fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.starts_with(b".") || [&b"target"[..], b"corpus", b"artifacts"].contains(&name) {
                continue;
            }
            match entry.file_type()? {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn text<'a>(parameters: &'a Value, key: &str) -> Result<&'a str, String> {
    parameters[key]
        .as_str()
        .ok_or_else(|| format!("the parameter `{key}` must be a text"))
}

fn number(parameters: &Value, key: &str) -> Result<u64, String> {
    parameters[key]
        .as_u64()
        .ok_or_else(|| format!("the parameter `{key}` must be a whole number, 0 or more"))
}

/// Counts what is written and keeps nothing.
struct Tally(usize);

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
