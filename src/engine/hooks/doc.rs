//! Hooks in a document, and in the events that a copy follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::outbox::{Content, Entry, Line, Outbox, Stage};
use super::{Completion, Gap, GivenUp, Hook, HookTotals, MAX_GIVEN_UP, MAX_HOOKS};
use crate::engine::core::Core;
use crate::engine::error::Error;
use crate::engine::finish::shortened;
use crate::engine::import::{Claims, FAR, damaged};
use crate::model::{MAX_RETRIES, Run, Text};

/// All hooks with what waits in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct OutboxDoc {
    number: u64,
    hooks: Vec<HookDoc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HookDoc {
    head: Head,
    /// By number.
    pending: BTreeMap<u64, EntryDoc>,
    given_up: Vec<GivenUp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    hook: Hook,
    missed: Option<Gap>,
    totals: HookTotals,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EntryDoc {
    told: Told,
    attempts: u32,
    stage: StageDoc,
    /// What remains of its lease or delay, in microseconds; in a copy that follows, its instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Run(Arc<Run>),
    Missed(Gap),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StageDoc {
    Ready,
    Taken,
    Waiting,
}

/// What a commit has changed in the hooks, for a copy.
#[derive(Debug)]
pub(in crate::engine) struct OutboxRow {
    number: u64,
    heads: Vec<Head>,
    /// As they are; none of one that has left.
    entries: Vec<(Text, u64, Option<EntryDoc>)>,
    given_up: Vec<GivenUp>,
}

impl EntryDoc {
    /// With the instant of its wait.
    fn of(entry: &Entry) -> Self {
        let (stage, left) = match entry.stage {
            Stage::Ready => (StageDoc::Ready, None),
            Stage::Taken(until) => (StageDoc::Taken, until),
            Stage::Waiting(at) => (StageDoc::Waiting, Some(at)),
        };
        let told = match entry.content.completion() {
            Completion::Run(run) => Told::Run(run),
            Completion::Missed(gap) => Told::Missed(gap),
        };
        Self {
            told,
            attempts: entry.attempts,
            stage,
            left,
            problem: entry.problem.clone(),
        }
    }
}

impl Head {
    fn of(line: &Line) -> Self {
        Self {
            hook: line.hook.clone(),
            missed: line.missed,
            totals: line.totals,
        }
    }
}

impl OutboxDoc {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.hooks.is_empty() && self.number == 0
    }

    /// The same with instants as what remains of them, or the other way round, by the sign of `mono`.
    pub(in crate::engine) fn moved(mut self, mono: i64) -> Self {
        for entry in self.hooks.iter_mut().flat_map(|hook| hook.pending.values_mut()) {
            entry.left = entry.left.map(|left| left.saturating_add(mono));
        }
        self
    }

    /// Brings a copy, which holds instants, to the end of a commit.
    pub(in crate::engine) fn apply(&mut self, row: &OutboxRow) {
        self.number = row.number;
        let mut before = std::mem::take(&mut self.hooks);
        for head in &row.heads {
            let held = before
                .iter()
                .position(|held| held.head.hook.name == head.hook.name);
            let held = held.map(|at| before.swap_remove(at));
            let (pending, given_up) =
                held.map_or_else(Default::default, |held| (held.pending, held.given_up));
            self.hooks.push(HookDoc {
                head: head.clone(),
                pending,
                given_up,
            });
        }
        for (hook, number, entry) in &row.entries {
            let Some(held) = self.hooks.iter_mut().find(|held| held.head.hook.name == *hook) else {
                continue;
            };
            match entry {
                Some(entry) => drop(held.pending.insert(*number, entry.clone())),
                None => drop(held.pending.remove(number)),
            }
        }
        for given_up in &row.given_up {
            if let Some(held) = self
                .hooks
                .iter_mut()
                .find(|held| held.head.hook.name == given_up.hook)
            {
                held.given_up.push(given_up.clone());
                if held.given_up.len() > MAX_GIVEN_UP {
                    held.given_up.remove(0);
                }
            }
        }
    }
}

impl Outbox {
    /// For followers: begins or ends to note what changes.
    pub(in crate::engine) fn follow(&mut self, followed: bool) {
        self.followed = followed;
        self.changes = super::outbox::Changes::default();
    }

    /// What has changed since this was last asked.
    pub(in crate::engine) fn changed(&mut self) -> Option<OutboxRow> {
        if !self.changes.any {
            return None;
        }
        let mut changes = std::mem::take(&mut self.changes);
        changes.entries.sort_unstable();
        changes.entries.dedup();
        let entry = |(hook, number): (Text, u64)| {
            let line = &self.lines[self.find(&hook)?];
            let now = line.entries.get(&number).map(EntryDoc::of);
            Some((hook, number, now))
        };
        Some(OutboxRow {
            number: self.number,
            heads: self.lines.iter().map(Head::of).collect(),
            entries: changes.entries.into_iter().filter_map(entry).collect(),
            given_up: changes.given_up,
        })
    }
}

/// What is copied of the hooks under the lock, to become a document without it.
#[derive(Debug)]
pub(in crate::engine) struct OutboxCopy {
    number: u64,
    mono: i64,
    lines: Vec<LineCopy>,
}

#[derive(Debug)]
struct LineCopy {
    head: Head,
    entries: Vec<(u64, Entry)>,
    given_up: Vec<GivenUp>,
}

impl From<OutboxCopy> for OutboxDoc {
    fn from(copy: OutboxCopy) -> Self {
        let pending = |entries: Vec<(u64, Entry)>| {
            let entries = entries
                .iter()
                .map(|(number, entry)| (*number, EntryDoc::of(entry)));
            entries.collect()
        };
        let hooks = (copy.lines.into_iter()).map(|line| HookDoc {
            head: line.head,
            pending: pending(line.entries),
            given_up: line.given_up,
        });
        let doc = Self {
            number: copy.number,
            hooks: hooks.collect(),
        };
        doc.moved(copy.mono.saturating_neg())
    }
}

impl Core {
    /// What a document needs of the hooks.
    pub(in crate::engine) fn copy_outbox(&self) -> OutboxCopy {
        let lines = self.outbox.lines.iter().filter(|_| !fault!(ExportLosesHooks));
        let copy = |line: &Line| LineCopy {
            head: Head::of(line),
            entries: (line.entries.iter())
                .map(|(&number, entry)| (number, entry.clone()))
                .collect(),
            given_up: line.given_up.iter().cloned().collect(),
        };
        OutboxCopy {
            number: self.outbox.number,
            mono: self.mono,
            lines: lines.map(copy).collect(),
        }
    }

    /// Makes the hooks of a document. What was handed out is failed later, by [`put_back_deliveries`](Self::put_back_deliveries): by then all
    /// is in its place.
    pub(in crate::engine) fn restore_outbox(&mut self, doc: OutboxDoc) -> Result<(), Error> {
        if doc.number > u64::MAX / 2 || doc.hooks.len() > MAX_HOOKS {
            return Err(damaged(
                "hooks",
                "more of them, or a greater number, than there can be",
            ));
        }
        self.outbox.number = doc.number;
        for (at, held) in doc.hooks.into_iter().enumerate() {
            let path = || format!("hooks[{at}]");
            let head = held.head;
            (head.hook.check()).map_err(|wrong| damaged(path(), wrong.to_string()))?;
            if self.outbox.find(&head.hook.name).is_some() {
                return Err(damaged(
                    path(),
                    format!("the name {:?} stands twice", &*head.hook.name),
                ));
            }
            let mut line = Line::new(head.hook);
            let totals = head.totals;
            let counted = [
                totals.recorded,
                totals.delivered,
                totals.failed_attempts,
                totals.given_up,
                totals.missed,
                head.missed.map_or(0, |gap| gap.count),
            ];
            if counted.into_iter().any(|count| count > u64::MAX / 2) {
                return Err(damaged(path(), "a count is out of range"));
            }
            if head.missed.is_some() && held.pending.len() < self.settings.deliveries {
                return Err(damaged(path(), "it has an open gap, and room"));
            }
            line.totals = totals;
            line.missed = head.missed;
            for (at, mut given_up) in held.given_up.into_iter().enumerate() {
                let attempts = (1..=MAX_RETRIES + 1).contains(&given_up.attempts);
                if given_up.hook != line.hook.name || given_up.number > doc.number || !attempts {
                    let path = format!("{}.given_up[{at}]", path());
                    return Err(damaged(path, "its hook, its number or its attempts do not fit"));
                }
                given_up.problem = shortened(given_up.problem);
                line.remember(given_up);
            }
            for (number, entry) in held.pending {
                let path = || format!("{}.pending[{number}]", path());
                let stage = match (entry.stage, entry.left) {
                    _ if entry.left.is_some_and(|left| !(0..FAR).contains(&left)) => {
                        return Err(damaged(path(), "the time that remains is out of range"));
                    }
                    (StageDoc::Ready, None) => Stage::Ready,
                    (StageDoc::Taken, left) => Stage::Taken(left.map(|left| self.mono.saturating_add(left))),
                    (StageDoc::Waiting, Some(left)) => Stage::Waiting(self.mono.saturating_add(left)),
                    _ => return Err(damaged(path(), "its stage and its time do not fit together")),
                };
                // The retries of a hook may have changed since its first attempts.
                let attempts = match stage {
                    Stage::Taken(_) => 1..=MAX_RETRIES + 1,
                    // One more follows.
                    Stage::Ready => 0..=MAX_RETRIES,
                    Stage::Waiting(_) => 1..=MAX_RETRIES,
                };
                if number > doc.number || !attempts.contains(&entry.attempts) {
                    return Err(damaged(path(), "its number or its attempts do not fit"));
                }
                let content = match entry.told {
                    Told::Run(run) => Content::Run(run),
                    Told::Missed(gap) if gap.count < u64::MAX / 2 => Content::Gap(gap),
                    Told::Missed(_) => return Err(damaged(path(), "a count is out of range")),
                };
                let entry = Entry {
                    content,
                    attempts: entry.attempts,
                    stage,
                    problem: entry.problem.map(shortened),
                };
                line.place(number, entry);
            }
            self.outbox.lines.push(line);
        }
        Ok(())
    }

    /// Whoever had a delivery without a lease is gone with the engine that was exported; and so is everybody, if claims are put back.
    pub(in crate::engine) fn put_back_deliveries(&mut self, claims: Claims) {
        let gone = |entry: &Entry| match entry.stage {
            Stage::Taken(None) => true,
            Stage::Taken(Some(_)) => claims == Claims::PutBack,
            Stage::Ready | Stage::Waiting(_) => false,
        };
        let now = self.now();
        for line in 0..self.outbox.lines.len() {
            let entries = self.outbox.lines[line].entries.iter();
            let lost: Vec<u64> = entries
                .filter(|(_, entry)| gone(entry))
                .map(|(&number, _)| number)
                .collect();
            for number in lost {
                let problem = Text::of("whoever had it did not move with the exported document");
                self.delivery_failed(line, number, problem, now);
            }
        }
        self.arm_outbox();
    }
}
