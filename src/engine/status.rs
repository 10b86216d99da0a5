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
    /// Of the waiting runs, those that a deployment's limit does not let in, whose queue is paused, or that wait
    /// behind an earlier run of their schedule.
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

/// How many words a report takes.
pub(crate) const WORDS: usize = 21;

impl QueueStatus {
    pub(crate) fn words(&self) -> [u64; WORDS] {
        let level = |lane: usize| u64::from(self.priority_breakdown.0[lane]);
        let pair = |lane: usize| level(lane) << 32 | level(lane + 1);
        let (limited, used, max) = self
            .concurrency
            .map_or((0, 0, 0), |slots| (1, slots.used, slots.max));
        let totals = &self.totals;
        [
            self.version,
            pair(0),
            pair(2),
            pair(4),
            pair(6),
            pair(8),
            self.processing_tasks as u64,
            u64::from(used) << 32 | u64::from(max),
            limited,
            self.blocked as u64,
            self.scheduled as u64,
            self.finished as u64,
            totals.accepted,
            totals.claimed,
            totals.completed,
            totals.failed,
            totals.crashed,
            totals.cancelled,
            totals.retried,
            totals.missed,
            totals.skipped,
        ]
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each word holds what `words` put there"
    )]
    pub(crate) fn of_words(words: &[u64; WORDS]) -> Self {
        let mut levels = [0; Priority::LEVELS];
        for (pair, word) in levels.chunks_exact_mut(2).zip(&words[1..6]) {
            pair[0] = (word >> 32) as u32;
            pair[1] = *word as u32;
        }
        let priority_breakdown = Breakdown(levels);
        Self {
            queued_tasks: priority_breakdown.total(),
            processing_tasks: words[6] as usize,
            priority_breakdown,
            concurrency: (words[8] == 1).then(|| Concurrency {
                used: (words[7] >> 32) as u32,
                max: words[7] as u32,
            }),
            version: words[0],
            blocked: words[9] as usize,
            scheduled: words[10] as usize,
            finished: words[11] as usize,
            totals: Totals {
                accepted: words[12],
                claimed: words[13],
                completed: words[14],
                failed: words[15],
                crashed: words[16],
                cancelled: words[17],
                retried: words[18],
                missed: words[19],
                skipped: words[20],
            },
        }
    }
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
            blocked: self.ready.blocked() + self.buffered_total,
            scheduled: self.scheduled_total,
            finished: self.finished.len(),
            totals: self.totals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_its_words() {
        let totals = Totals {
            accepted: 1,
            claimed: 2,
            completed: 3,
            failed: 4,
            crashed: 5,
            cancelled: 6,
            retried: 7,
            missed: 8,
            skipped: 9,
        };
        let breakdown = Breakdown([1, 2, 3, 4, 5, 6, 7, 8, 9, u32::MAX]);
        for concurrency in [
            None,
            Some(Concurrency {
                used: 5,
                max: u32::MAX,
            }),
        ] {
            let status = QueueStatus {
                queued_tasks: breakdown.total(),
                processing_tasks: 5,
                priority_breakdown: breakdown,
                concurrency,
                version: 99,
                blocked: 11,
                scheduled: 12,
                finished: 13,
                totals,
            };
            assert_eq!(QueueStatus::of_words(&status.words()), status);
        }
    }
}
