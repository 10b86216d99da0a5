//! The host's own books, kept beside the engine and compared with its answers: what was accepted, which attempt
//! started and ended when, and how many ran at once. What the engine says about itself is not taken for granted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold::ids::RunId;

use crate::now;

/// The books. Clones share them.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    /// Most jobs at a time.
    limit: usize,
    /// Most jobs of a deployment at a time, for those that have a limit.
    limits: BTreeMap<String, usize>,
    accepted: BTreeSet<RunId>,
    attempts: BTreeMap<(RunId, u32), Attempt>,
    running: BTreeSet<(RunId, u32)>,
    most: usize,
    snapshots: usize,
    wrongs: BTreeSet<String>,
}

/// One execution of a handler.
#[derive(Clone, Debug)]
struct Attempt {
    deployment: String,
    began: Instant,
    ended: Option<(Duration, Ending)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The job gave its answer.
    Done,
    /// The job failed.
    Failed,
    /// The engine dropped the handler before its end: a timeout, or a stop.
    CutOff,
}

/// What is running now.
#[derive(Clone, Debug)]
pub struct Running {
    /// `flow/name`.
    pub deployment: String,
    /// Which attempt of its run, from 1.
    pub attempt: u32,
    /// Since when.
    pub since: Instant,
}

/// What the engine says at the end about one run.
#[derive(Clone, Debug)]
pub struct Final {
    /// Which run.
    pub run: RunId,
    /// Its last state, such as `COMPLETED`.
    pub state: String,
    /// Whether that state is an end.
    pub ended: bool,
    /// Whether the run is planned for later and not due.
    pub planned: bool,
    /// How often the engine started it.
    pub attempts: u32,
}

/// What must hold of a snapshot at every instant.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Waiting in all.
    pub queued: u64,
    /// Waiting by level, the most urgent first.
    pub levels: Vec<(u8, u64)>,
    /// Being processed.
    pub processing: u64,
    /// Slots in use and slots there are.
    pub slots: Option<(u64, u64)>,
}

impl Ledger {
    /// Empty books for a host that runs `limit` jobs at a time.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Books {
            limit,
            ..Books::default()
        })))
    }

    /// Notes that `deployment` may run `limit` jobs at a time.
    pub fn limit(&self, deployment: String, limit: usize) {
        self.books().limits.insert(deployment, limit);
    }

    /// Notes that the engine accepted `run`.
    pub fn accept(&self, run: RunId) {
        let mut books = self.books();
        if !books.accepted.insert(run) {
            books.wrongs.insert(format!("run {run} was accepted twice"));
        }
    }

    /// Notes that an attempt starts. Its end is noted by the guard, whatever that end is.
    pub fn begin(&self, run: RunId, attempt: u32, deployment: &str) -> Work {
        let mut books = self.books();
        let record = Attempt {
            deployment: deployment.to_owned(),
            began: now(),
            ended: None,
        };
        if books.attempts.insert((run, attempt), record).is_some() {
            books.wrongs.insert(format!(
                "attempt {attempt} of run {run} of {deployment} started twice"
            ));
        }
        books.running.insert((run, attempt));
        books.most = books.most.max(books.running.len());
        if books.running.len() > books.limit {
            let count = books.running.len();
            let limit = books.limit;
            books
                .wrongs
                .insert(format!("{count} jobs ran at once; the limit is {limit}"));
        }
        let of_it = books
            .running
            .iter()
            .filter(|key| books.attempts[key].deployment == deployment)
            .count();
        if let Some(limit) = books
            .limits
            .get(deployment)
            .copied()
            .filter(|limit| of_it > *limit)
        {
            books.wrongs.insert(format!(
                "{of_it} jobs of {deployment} ran at once; its limit is {limit}"
            ));
        }
        Work {
            ledger: self.clone(),
            run,
            attempt,
            ending: Ending::CutOff,
        }
    }

    /// Checks one snapshot of the engine against itself.
    pub fn see(&self, seen: &Seen) {
        let mut books = self.books();
        books.snapshots += 1;
        let sum: u64 = seen.levels.iter().map(|level| level.1).sum();
        if sum != seen.queued {
            books.wrongs.insert(format!(
                "a snapshot counts {} queued, its levels {sum}",
                seen.queued
            ));
        }
        if !seen.levels.is_sorted_by(|one, next| one.0 > next.0)
            || seen.levels.iter().any(|level| level.1 == 0)
        {
            books.wrongs.insert(format!(
                "a snapshot's levels are not descending or empty: {:?}",
                seen.levels
            ));
        }
        if let Some((used, max)) = seen.slots
            && (used != seen.processing || used > max)
        {
            let processing = seen.processing;
            books.wrongs.insert(format!(
                "a snapshot has {used} of {max} slots in use for {processing} runs"
            ));
        }
    }

    /// What runs now, the oldest first.
    pub fn running(&self) -> Vec<Running> {
        let books = self.books();
        let mut running: Vec<_> = books
            .running
            .iter()
            .map(|key| Running {
                deployment: books.attempts[key].deployment.clone(),
                attempt: key.1,
                since: books.attempts[key].began,
            })
            .collect();
        running.sort_by_key(|running| running.since);
        running
    }

    /// Compares the books with the engine's final answers: one sentence for each thing that is wrong, and what was
    /// checked. When the host was not `drained` but stopped, runs may be left waiting.
    pub fn close(&self, finals: &[Final], drained: bool) -> (Vec<String>, String) {
        let books = self.books();
        let mut wrongs = books.wrongs.clone();
        let mut known = BTreeSet::new();
        for last in finals {
            let run = last.run;
            if !known.insert(run) {
                wrongs.insert(format!("run {run} is listed twice"));
            }
            if drained && !last.ended && !last.planned {
                wrongs.insert(format!("run {run} was left {}", last.state));
            }
            let attempts: Vec<_> = books.attempts.range((run, 0)..=(run, u32::MAX)).collect();
            if attempts.len() != last.attempts as usize {
                let started = attempts.len();
                let says = last.attempts;
                wrongs.insert(format!(
                    "run {run} started {started} times; the engine says {says}"
                ));
            }
            let done = attempts
                .iter()
                .filter(|(_, attempt)| matches!(attempt.ended, Some((_, Ending::Done))))
                .count();
            if done != usize::from(last.state == "COMPLETED") {
                wrongs.insert(format!(
                    "run {run} ended {} with {done} attempts that succeeded",
                    last.state
                ));
            }
        }
        for run in books.accepted.difference(&known) {
            wrongs.insert(format!("run {run} was accepted and is lost"));
        }
        for (run, attempt) in books.attempts.keys().filter(|key| !known.contains(&key.0)) {
            wrongs.insert(format!(
                "attempt {attempt} of run {run} ran, and the engine does not know the run"
            ));
        }
        for (run, attempt) in &books.running {
            wrongs.insert(format!("attempt {attempt} of run {run} has not ended"));
        }
        let checked = format!(
            "{} runs ({} submitted), {} attempts, at most {} at once (limit {}), {} snapshots",
            finals.len(),
            books.accepted.len(),
            books.attempts.len(),
            books.most,
            books.limit,
            books.snapshots
        );
        (wrongs.into_iter().collect(), checked)
    }

    /// The books. A handler that panicked while it wrote would be a bug of this example; the books stay readable.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt under way. Dropping it notes the end.
#[derive(Debug)]
#[must_use]
pub struct Work {
    ledger: Ledger,
    run: RunId,
    attempt: u32,
    ending: Ending,
}

impl Work {
    /// Says how the attempt ended; without this it was cut off.
    pub fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let key = (self.run, self.attempt);
        let mut books = self.ledger.books();
        books.running.remove(&key);
        if let Some(attempt) = books.attempts.get_mut(&key) {
            attempt.ended = Some((attempt.began.elapsed(), self.ending));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128) -> RunId {
        RunId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn ended(number: u128, state: &str, attempts: u32) -> Final {
        Final {
            run: run(number),
            state: state.to_owned(),
            ended: true,
            planned: false,
            attempts,
        }
    }

    fn wrongs(ledger: &Ledger, finals: &[Final]) -> String {
        ledger.close(finals, true).0.join("; ")
    }

    #[test]
    fn books_that_agree_have_nothing_wrong() {
        let ledger = Ledger::new(1);
        ledger.accept(run(1));
        ledger.begin(run(1), 1, "a").end(Ending::Failed);
        ledger.begin(run(1), 2, "a").end(Ending::Done);
        assert_eq!(wrongs(&ledger, &[ended(1, "COMPLETED", 2)]), "");
    }

    #[test]
    fn a_run_that_is_lost_doubled_or_left_is_told() {
        let ledger = Ledger::new(9);
        ledger.accept(run(1));
        ledger.begin(run(2), 1, "a").end(Ending::Done);
        ledger.begin(run(2), 1, "a").end(Ending::Done);
        let mut left = ended(3, "RUNNING", 0);
        left.ended = false;
        let told = wrongs(&ledger, &[ended(2, "FAILED", 2), left]);
        for part in [
            "was accepted and is lost",
            "of a started twice",
            "was left RUNNING",
            "started 1 times; the engine says 2",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(
            told.contains("ended FAILED with 1 attempts that succeeded"),
            "{told}"
        );
    }

    #[test]
    fn too_many_at_once_are_told_for_the_host_and_for_a_deployment() {
        let ledger = Ledger::new(2);
        ledger.limit("a".to_owned(), 1);
        let held = [
            ledger.begin(run(1), 1, "a"),
            ledger.begin(run(2), 1, "a"),
            ledger.begin(run(3), 1, "b"),
        ];
        drop(held);
        let finals = [
            ended(1, "CANCELLED", 1),
            ended(2, "CANCELLED", 1),
            ended(3, "CANCELLED", 1),
        ];
        assert_eq!(
            wrongs(&ledger, &finals),
            "2 jobs of a ran at once; its limit is 1; 3 jobs ran at once; the limit is 2"
        );
    }

    #[test]
    fn a_snapshot_that_contradicts_itself_is_told() {
        let ledger = Ledger::new(4);
        ledger.see(&Seen {
            queued: 3,
            levels: vec![(5, 2), (1, 1)],
            processing: 2,
            slots: Some((2, 4)),
        });
        assert_eq!(wrongs(&ledger, &[]), "");
        ledger.see(&Seen {
            queued: 3,
            levels: vec![(5, 1), (5, 1)],
            processing: 2,
            slots: Some((5, 4)),
        });
        let told = wrongs(&ledger, &[]);
        for part in [
            "counts 3 queued, its levels 2",
            "not descending",
            "5 of 4 slots in use for 2 runs",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
