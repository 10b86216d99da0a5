//! What waits to be delivered: one line for each hook, moved by calls and by monotonic time alone.
//!
//! # Invariants
//!
//! * **O1** an entry is in `ready`, or in `waits` under its instant, or handed out without a lease;
//! * **O2** a hook holds at most as many entries as it may; what does not fit is in its open gap, and while that is open nothing enters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Completion, Delivery, Fate, Gap, GivenUp, Hook, HookStatus, HookTotals, MAX_GIVEN_UP};
use crate::catalog::RunRow;
use crate::engine::read::run_of;
use crate::engine::signal::Bell;
use crate::engine::timers::TimerKey;
use crate::model::{Retry, Run, Text};

/// How long until the next attempt, in microseconds: the policy, and the attempt that has failed.
pub(super) type Delay<'a> = &'a mut dyn FnMut(&Retry, u32) -> i64;

/// What is delivered. A row becomes a run when it is first needed, which is off the way of the call that ends the run.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Row(Box<RunRow>),
    Run(Arc<Run>),
    Gap(Gap),
}

impl Content {
    pub(super) fn completion(&self) -> Completion {
        match self {
            Self::Row(row) => Completion::Run(Arc::new(run_of(row))),
            Self::Run(run) => Completion::Run(run.clone()),
            Self::Gap(gap) => Completion::Missed(*gap),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// May be handed out.
    Ready,
    /// Handed out; its lease ends then, if it has one.
    Taken(Option<i64>),
    /// An attempt has failed; the next may begin then.
    Waiting(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) content: Content,
    /// Attempts that were handed out.
    pub(super) attempts: u32,
    pub(super) stage: Stage,
    /// Why the last attempt failed.
    pub(super) problem: Option<Text>,
}

/// The line of one hook.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) hook: Hook,
    /// By number, which is the order of completion.
    pub(super) entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    /// Ends of leases and of delays, by (instant, number).
    waits: BTreeSet<(i64, u64)>,
    /// What did not fit and has not been put in line.
    pub(super) missed: Option<Gap>,
    pub(super) totals: HookTotals,
    pub(super) given_up: VecDeque<GivenUp>,
    pub(super) bells: Vec<Arc<Bell>>,
}

/// What has changed since followers were last told.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) any: bool,
    pub(super) entries: Vec<(Text, u64)>,
    pub(super) given_up: Vec<GivenUp>,
}

/// All hooks.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// In the order of their making.
    pub(super) lines: Vec<Line>,
    /// The last number given.
    pub(super) number: u64,
    pub(super) timer: Option<TimerKey>,
    /// Somebody follows rows.
    pub(super) followed: bool,
    pub(super) changes: Changes,
}

impl Line {
    pub(super) fn new(hook: Hook) -> Self {
        Self {
            hook,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            waits: BTreeSet::new(),
            missed: None,
            totals: HookTotals::default(),
            given_up: VecDeque::new(),
            bells: Vec::new(),
        }
    }

    /// The number that would be handed out next.
    fn first(&self) -> Option<u64> {
        let first = *self.ready.first()?;
        // In sequence nothing passes what has been handed out or waits for its retry.
        let passes = self.hook.in_sequence && self.entries.keys().next() != Some(&first);
        (!passes || fault!(SequencePassed)).then_some(first)
    }

    /// Puts an entry at a stage, where it was at none.
    pub(super) fn place(&mut self, number: u64, entry: Entry) {
        match entry.stage {
            Stage::Ready => drop(self.ready.insert(number)),
            Stage::Taken(Some(at)) | Stage::Waiting(at) => drop(self.waits.insert((at, number))),
            Stage::Taken(None) => {}
        }
        self.entries.insert(number, entry);
    }

    fn lift(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        match entry.stage {
            Stage::Ready => drop(self.ready.remove(&number)),
            Stage::Taken(Some(at)) | Stage::Waiting(at) => drop(self.waits.remove(&(at, number))),
            Stage::Taken(None) => {}
        }
        Some(entry)
    }

    pub(super) fn status(&self) -> HookStatus {
        let taken = |entry: &&Entry| matches!(entry.stage, Stage::Taken(_));
        let taken = self.entries.values().filter(taken).count();
        HookStatus {
            hook: self.hook.clone(),
            ready: self.ready.len(),
            taken,
            retrying: self.entries.len() - self.ready.len() - taken,
            missed: self.missed,
            totals: self.totals,
            given_up: self.given_up.iter().cloned().collect(),
        }
    }

    /// Remembers, as the newest, what was given up.
    pub(super) fn remember(&mut self, given_up: GivenUp) {
        if self.given_up.len() == MAX_GIVEN_UP {
            self.given_up.pop_front();
        }
        self.given_up.push_back(given_up);
    }
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| *line.hook.name == *name)
    }

    /// Entries of all hooks.
    pub(crate) fn pending(&self) -> usize {
        self.lines.iter().map(|line| line.entries.len()).sum()
    }

    /// When something happens by itself.
    pub(super) fn deadline(&self) -> Option<i64> {
        let first = |line: &Line| line.waits.first().map(|wait| wait.0);
        self.lines.iter().filter_map(first).min()
    }

    fn note(&mut self, line: usize, number: u64) {
        if self.followed {
            self.changes.any = true;
            self.changes
                .entries
                .push((self.lines[line].hook.name.clone(), number));
        }
    }

    pub(super) fn note_head(&mut self) {
        self.changes.any |= self.followed;
    }

    fn put(&mut self, line: usize, number: u64, entry: Entry, bells: &mut Vec<Arc<Bell>>) {
        let held = &mut self.lines[line];
        held.place(number, entry);
        if held.first().is_some() {
            bells.extend(held.bells.iter().filter(|bell| !bell.is_rung()).cloned());
        }
        self.note(line, number);
    }

    fn append(&mut self, line: usize, content: Content, bells: &mut Vec<Arc<Bell>>) {
        self.number += 1;
        let entry = Entry {
            content,
            attempts: 0,
            stage: Stage::Ready,
            problem: None,
        };
        self.put(line, self.number, entry, bells);
    }

    /// A run has ended, and this hook wants it.
    pub(super) fn record(
        &mut self,
        line: usize,
        row: &RunRow,
        version: u64,
        most: usize,
        bells: &mut Vec<Arc<Bell>>,
    ) {
        let held = &mut self.lines[line];
        held.totals.recorded += 1;
        if held.missed.is_some() || held.entries.len() >= most {
            held.totals.missed += 1;
            let gap = held.missed.get_or_insert(Gap {
                count: 0,
                from: version,
                to: version,
            });
            (gap.count, gap.to) = (gap.count + 1, version);
            self.note_head();
            return;
        }
        self.append(line, Content::Row(Box::new(row.clone())), bells);
    }

    /// Something has left: what was missed takes its place in line, so that it is told.
    fn close_gap(&mut self, line: usize, most: usize, bells: &mut Vec<Arc<Bell>>) {
        let held = &mut self.lines[line];
        if held.entries.len() >= most || fault!(GapUntold) {
            return;
        }
        if let Some(gap) = held.missed.take() {
            self.append(line, Content::Gap(gap), bells);
        }
    }

    /// Hands out as many as `n` that are ready.
    pub(super) fn take(&mut self, line: usize, n: usize, until: Option<i64>) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < n
            && let Some(number) = self.lines[line].first()
        {
            let held = &mut self.lines[line];
            let mut entry = held.lift(number).expect("what is ready is in line"); // O1
            entry.attempts += 1;
            entry.stage = Stage::Taken(until);
            let completion = entry.content.completion();
            if let Completion::Run(run) = &completion {
                entry.content = Content::Run(run.clone());
            }
            taken.push(Delivery {
                hook: held.hook.name.clone(),
                number,
                attempt: entry.attempts,
                last: entry.attempts > held.hook.retry.retries,
                completion,
            });
            held.place(number, entry);
            self.note(line, number);
        }
        taken
    }

    /// What is wrong with a report of this attempt.
    pub(super) fn check(&self, line: usize, number: u64, attempt: u32) -> Result<(), &'static str> {
        match self.lines[line].entries.get(&number) {
            None => Err("it was delivered, or given up"),
            Some(entry) if entry.attempts != attempt && !fault!(StaleDeliveryCounts) => {
                Err("a newer attempt has been handed out")
            }
            Some(entry) if !matches!(entry.stage, Stage::Taken(_)) && !fault!(StaleDeliveryCounts) => {
                Err("the attempt has ended; its lease may have lapsed")
            }
            Some(_) => Ok(()),
        }
    }

    /// It was delivered.
    pub(super) fn delivered(&mut self, line: usize, number: u64, most: usize, bells: &mut Vec<Arc<Bell>>) {
        let held = &mut self.lines[line];
        held.lift(number);
        held.totals.delivered += 1;
        self.note(line, number);
        self.left(line, most, bells);
    }

    fn left(&mut self, line: usize, most: usize, bells: &mut Vec<Arc<Bell>>) {
        self.close_gap(line, most, bells);
        let held = &self.lines[line];
        // In sequence, whoever waits for the next may have it now.
        if held.hook.in_sequence && held.first().is_some() {
            bells.extend(held.bells.iter().filter(|bell| !bell.is_rung()).cloned());
        }
    }

    /// An attempt has failed at `at` (both clocks, in microseconds).
    pub(super) fn failed(
        &mut self,
        (line, number): (usize, u64),
        problem: Text,
        (wall, mono): (i64, i64),
        most: usize,
        delay: Delay<'_>,
        bells: &mut Vec<Arc<Bell>>,
    ) -> Fate {
        let held = &mut self.lines[line];
        let mut entry = held.lift(number).expect("the caller found it in line");
        held.totals.failed_attempts += 1;
        if entry.attempts <= held.hook.retry.retries {
            let wait = delay(&held.hook.retry, entry.attempts);
            entry.stage = Stage::Waiting(mono.saturating_add(wait));
            entry.problem = Some(problem);
            self.put(line, number, entry, bells);
            return Fate::Retrying;
        }
        held.totals.given_up += 1;
        let given_up = GivenUp {
            hook: held.hook.name.clone(),
            number,
            run: match &entry.content {
                Content::Row(row) => Some(row.id),
                Content::Run(run) => Some(run.id),
                Content::Gap(_) => None,
            },
            attempts: entry.attempts,
            problem,
            at: crate::catalog::instant(wall),
        };
        held.remember(given_up.clone());
        self.note(line, number);
        if self.followed {
            self.changes.given_up.push(given_up.clone());
        }
        self.left(line, most, bells);
        Fate::GivenUp(given_up)
    }

    /// The first whose lease or delay ends up to `mono`: what it was, and where. A delay that has ended makes it ready.
    pub(super) fn due(&mut self, mono: i64, bells: &mut Vec<Arc<Bell>>) -> Option<(usize, u64, bool)> {
        let lines = self.lines.iter().enumerate();
        let firsts =
            lines.filter_map(|(line, held)| held.waits.first().map(|&(at, number)| (at, number, line)));
        let (_, number, line) = firsts.min().filter(|first| first.0 <= mono)?;
        let held = &mut self.lines[line];
        let lapsed = matches!(
            held.entries.get(&number).map(|entry| entry.stage),
            Some(Stage::Taken(_))
        );
        if !lapsed {
            let mut entry = held.lift(number).expect("what waits is in line"); // O1
            entry.stage = Stage::Ready;
            self.put(line, number, entry, bells);
        }
        Some((line, number, lapsed))
    }

    /// Panics unless the invariants hold.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check_invariants(&self, most: usize) {
        for line in &self.lines {
            let mut found = (0, 0);
            for (number, entry) in &line.entries {
                match entry.stage {
                    Stage::Ready => {
                        assert!(line.ready.contains(number), "O1 broken: ready, and not in line");
                        found.0 += 1;
                    }
                    Stage::Taken(Some(at)) | Stage::Waiting(at) => {
                        assert!(
                            line.waits.contains(&(at, *number)),
                            "O1 broken: it waits for nothing"
                        );
                        found.1 += 1;
                    }
                    Stage::Taken(None) => {}
                }
                assert!(*number <= self.number, "O1 broken: a number of the future");
            }
            assert_eq!(found, (line.ready.len(), line.waits.len()), "O1 broken");
            assert!(
                line.missed.is_none() || line.entries.len() >= most,
                "O2 broken: an open gap, and room"
            );
        }
    }
}
