//! The queue status report.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::core::{Core, Totals};
use crate::priority::Priority;

/// How the engine stood at one instant between the call and its return.
///
/// Read while nothing could move: the breakdown adds up to `queued_tasks`, `used` equals `processing_tasks` and stays
/// within `max` unless the limit was lowered, and a later report of a changed engine has a greater `version`. As JSON
/// it is exactly the reference's report; what stands beside it is for the host.
///
/// ```
/// use tenfold::{Engine, NewRun, Priority};
///
/// let engine = Engine::builder().limit(5).build()?;
/// engine.flow("crawl")?;
/// engine.submit(NewRun::of("crawl").priority(Priority::new(5)?))?;
/// let report = serde_json::to_value(engine.snapshot()).unwrap();
/// assert_eq!(report, serde_json::json!({
///     "queuedTasks": 1,
///     "processingTasks": 0,
///     "priorityBreakdown": [{ "priority": 5, "count": 1 }],
///     "concurrency": { "used": 0, "max": 5 },
/// }));
/// # Ok::<(), tenfold::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueStatus {
    /// Runs that are due and wait, ready or blocked.
    pub queued_tasks: usize,
    /// Runs that are handed out.
    pub processing_tasks: usize,
    /// Waiting runs by level.
    pub priority_breakdown: Breakdown,
    /// Slots of the engine; none when nothing limits it.
    pub concurrency: Option<Concurrency>,
    /// The version of the engine that this describes.
    #[serde(skip)]
    pub version: u64,
    /// Of the waiting runs, those that a deployment's limit does not let in or whose queue is paused.
    #[serde(skip)]
    pub blocked: usize,
    /// Runs that are not due yet, retries included.
    #[serde(skip)]
    pub scheduled: usize,
    /// Records of runs that have ended.
    #[serde(skip)]
    pub finished: usize,
    /// Counts since the engine was made.
    #[serde(skip)]
    pub totals: Totals,
}

/// Waiting runs by level, from 10 down to 1. Serialises as a list that leaves out empty levels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Breakdown([u32; Priority::LEVELS]);

impl Breakdown {
    /// How many wait at a level.
    #[must_use]
    pub const fn at(&self, priority: Priority) -> u32 {
        self.0[priority.lane()]
    }

    /// The levels that hold something, the most urgent first.
    pub fn iter(&self) -> impl Iterator<Item = (Priority, u32)> {
        let counts = self.0;
        Priority::descending()
            .map(move |priority| (priority, counts[priority.lane()]))
            .filter(|(_, count)| *count > 0)
    }

    /// The sum over all levels.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().map(|&count| count as usize).sum()
    }
}

impl Serialize for Breakdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Level {
            priority: Priority,
            count: u32,
        }
        let mut levels = serializer.serialize_seq(None)?;
        for (priority, count) in self.iter() {
            levels.serialize_element(&Level { priority, count })?;
        }
        levels.end()
    }
}

/// Slots of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Concurrency {
    /// Slots in use.
    pub used: u32,
    /// Slots there are.
    pub max: u32,
}

impl Core {
    pub(crate) fn status(&self) -> QueueStatus {
        QueueStatus {
            queued_tasks: self.waiting_total,
            processing_tasks: self.held as usize,
            priority_breakdown: Breakdown(self.waiting),
            concurrency: self
                .settings
                .limit
                .map(|max| Concurrency { used: self.held, max }),
            version: self.version,
            blocked: self.ready.blocked(),
            scheduled: self.scheduled_total,
            finished: self.finished.len(),
            totals: self.totals,
        }
    }
}
