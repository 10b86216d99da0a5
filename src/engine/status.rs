//! The queue status report.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::core::{Core, Totals};
use super::tally::Tally;
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
    /// Of the waiting runs, those that need more slots of some limit, named or their deployment's, than it has free, those whose
    /// queue or pool is paused, and those that wait behind an earlier run of their schedule: the runs that are in
    /// [`Place::Blocked`](crate::model::Place), for which [`Engine::blocked_by`](crate::Engine::blocked_by) names such a reason.
    /// The others wait for their turn alone.
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
pub(crate) const WORDS: usize = 18;

/// Two counts of rows, which have numbers of 32 bits, in one word.
const fn pair(one: u64, other: u64) -> u64 {
    one << 32 | other
}

impl QueueStatus {
    /// Tells each word with its number. What changes most comes first.
    #[inline(always)]
    pub(crate) fn words(&self, mut tell: impl FnMut(usize, u64)) {
        let level = |lane: usize| u64::from(self.priority_breakdown.0[lane]);
        let totals = &self.totals;
        tell(0, self.version);
        tell(1, pair(self.blocked as u64, self.processing_tasks as u64));
        tell(2, pair(level(0), level(1)));
        tell(3, pair(level(2), level(3)));
        tell(4, pair(level(4), level(5)));
        tell(5, pair(level(6), level(7)));
        tell(6, pair(level(8), level(9)));
        tell(7, totals.accepted);
        tell(8, totals.claimed);
        tell(9, totals.completed);
        tell(10, pair(self.scheduled as u64, self.finished as u64));
        // One more than the limit, so that none has a word; what is used is what is processed.
        tell(11, self.concurrency.map_or(0, |slots| u64::from(slots.max) + 1));
        tell(12, totals.failed);
        tell(13, totals.crashed);
        tell(14, totals.cancelled);
        tell(15, totals.retried);
        tell(16, totals.missed);
        tell(17, totals.skipped);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each word holds what `words` put there"
    )]
    pub(crate) fn of_words(words: &[u64; WORDS]) -> Self {
        let halves = |index: usize| ((words[index] >> 32) as u32, words[index] as u32);
        let mut levels = [0; Priority::LEVELS];
        for (index, two) in levels.chunks_exact_mut(2).enumerate() {
            (two[0], two[1]) = halves(2 + index);
        }
        let priority_breakdown = Breakdown(levels);
        let (blocked, processing) = halves(1);
        let (scheduled, finished) = halves(10);
        Self {
            queued_tasks: priority_breakdown.total(),
            processing_tasks: processing as usize,
            priority_breakdown,
            concurrency: words[11].checked_sub(1).map(|max| Concurrency {
                used: processing,
                max: max as u32,
            }),
            version: words[0],
            blocked: blocked as usize,
            scheduled: scheduled as usize,
            finished: finished as usize,
            totals: Totals {
                accepted: words[7],
                claimed: words[8],
                completed: words[9],
                failed: words[12],
                crashed: words[13],
                cancelled: words[14],
                retried: words[15],
                missed: words[16],
                skipped: words[17],
            },
        }
    }
}

impl Core {
    /// Writes the report into the words that are read without the lock. The report is not put together on the way: each
    /// number goes from where it is counted to its word.
    #[inline(never)]
    pub(crate) fn publish(&self, tally: &Tally<WORDS>) {
        let status = self.status();
        tally.publish(|words| status.words(|index, word| words.set(index, word)));
    }

    #[inline(always)]
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
            let mut words = [0; WORDS];
            status.words(|index, word| words[index] = word);
            assert_eq!(QueueStatus::of_words(&words), status);
        }
    }
}
