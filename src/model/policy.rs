//! What becomes of the occurrences of a schedule that are missed, or that come while an earlier one still runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which of the missed occurrences of a schedule still run.
///
/// An occurrence is missed when the engine first makes it due more than `late_after` after its instant; nearer ones
/// always fire. All missed ones of a schedule are looked at together. Those that do not run and had been planned, or lie
/// within the window, end CANCELLED with the name `Missed`; older ones are never made. Waiting for a limit or a worker is
/// late, never missed. In JSON: `"skip"`, `{"latest": 600}` in seconds, `{"all": 20}`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CatchUp {
    /// None.
    Skip,
    /// The latest, unless it is older than this: above 0, at most 100 years.
    Latest(#[serde(with = "super::run::seconds")] Duration),
    /// The latest so many, 1 to 5,000, of those that were planned or lie within the last day.
    All(usize),
}

/// What happens to an occurrence that becomes due while an earlier run of its schedule is due or claimed and has not
/// ended. Decided at that moment; runs made by backfill take no part in it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// It waits in line like any other run.
    #[default]
    Allow,
    /// It ends CANCELLED with the name `Skipped`.
    Skip,
    /// One waits, blocked, until the earlier run has ended; further ones are skipped.
    BufferOne,
    /// The earlier runs are called off: those that wait end, a claimed one is asked to stop and keeps its slots until its
    /// handler has ended. The new one waits in line.
    CancelRunning,
}

impl Overlap {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Allow
    }
}
