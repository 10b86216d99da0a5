#![doc = include_str!("../docs/states.md")]

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::StateType;

/// What the graph looks at of a run.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The kind of its state.
    pub state: StateType,
    /// The name of its state.
    pub name: &'a str,
    /// When it is, or was, due.
    pub due: DateTime<Utc>,
    /// A failure now would be tried again.
    pub retries_left: bool,
    /// Whether all its slots could be taken at this instant. Looked at only on the way into PENDING or RUNNING.
    pub room: Room,
}

/// Whether a run's slots are there.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Room {
    /// All of them are.
    Free,
    /// The engine, its pool or its queue has none left.
    Full,
    /// A limit that parks runs, such as its deployment's, has none left.
    LimitFull,
    /// They are, and its queue or pool is paused.
    Paused,
}

/// Who proposes a state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum By {
    /// The worker that holds the run's current claim, about its attempt.
    Worker,
    /// Anybody else.
    Host,
}

/// A state that somebody wants a run to have.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The kind of the state.
    pub state: StateType,
    /// Its name.
    pub name: &'a str,
    /// Who wants it.
    pub by: By,
    /// Without the rules of transition; limits, fencing and the end of a run stand.
    pub force: bool,
}

/// What the graph says to a proposal.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// The run takes that state.
    Accept,
    /// The run takes another state, or keeps its own.
    Reject(Instead, Reason),
    /// Ask again after this long; nothing is changed.
    Wait(Duration),
    /// Never; nothing is changed.
    Abort(Reason),
}

/// What a run gets in place of a rejected state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Instead {
    /// What it has.
    Keep,
    /// CANCELLED.
    Cancelled,
    /// SCHEDULED "`AwaitingRetry`", after the delay of its next retry.
    Retry,
    /// SCHEDULED "`AwaitingConcurrencySlot`", at its place in line.
    AwaitSlot,
}

/// Why the graph did not accept a state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The run has ended.
    Ended,
    /// The run is only a record.
    Record,
    /// It is being cancelled.
    OneWay,
    /// No handler has to be stopped.
    NothingToStop,
    /// Somebody holds its claim.
    HandedOut,
    /// Its attempt has started.
    Started,
    /// "Late" names only what is SCHEDULED and not late yet.
    LateIsALabel,
    /// Only what is RUNNING can be paused.
    NotRunning,
    /// Only what is PAUSED can be resumed.
    NotPaused,
    /// A paused run is resumed, not submitted.
    ResumeFirst,
    /// It is tried again.
    RetriesLeft,
    /// The engine, its pool or its queue is full.
    Full,
    /// A limit that it is under is full.
    LimitFull,
    /// Its queue or pool is paused.
    QueuePaused,
}

impl Reason {
    /// The reason in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "it has ended, and a state that ends a run is final; submit a new run",
            Self::Record => "it is a loaded record and takes no part in the engine's work",
            Self::OneWay => "it is being cancelled, and only its end follows that",
            Self::NothingToStop => "no handler works on it, so nothing has to be stopped first",
            Self::HandedOut => {
                "its attempt has been handed out; end that first, with its claim or by another state"
            }
            Self::Started => {
                "its attempt has started, by `begin` or a change to RUNNING; go on and complete it"
            }
            Self::LateIsALabel => "`Late` names a scheduled run that is not called so yet",
            Self::NotRunning => "only a run that is RUNNING can be paused",
            Self::NotPaused => "only a run that is PAUSED can be resumed",
            Self::ResumeFirst => "it is paused; resume it",
            Self::RetriesLeft => "the attempt failed and the run is tried again",
            Self::Full => "the engine, its pool or its queue has no free slot",
            Self::LimitFull => {
                "a limit that it is under has no free slot; it waits there at its place in line"
            }
            Self::QueuePaused => "its queue or pool is paused; resume that, or force the state",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides whether a run may take a state. A pure function: the engine does what it says.
///
/// ```
/// use tenfold::engine::graph::{By, Instead, Proposal, Reason, Room, Standing, Verdict, decide};
/// use tenfold::model::StateType;
///
/// let now = "2026-01-01T00:00:00Z".parse().unwrap();
/// let run = Standing {
///     state: StateType::Scheduled, name: "Scheduled", due: now, retries_left: false, room: Room::Free,
/// };
/// let to = |state, name| Proposal { state, name, by: By::Host, force: false };
/// assert_eq!(decide(&run, &to(StateType::Pending, "Pending"), now), Verdict::Accept);
/// assert_eq!(
///     decide(&run, &to(StateType::Cancelling, "Cancelling"), now),
///     Verdict::Reject(Instead::Cancelled, Reason::NothingToStop)
/// );
/// ```
#[must_use]
pub fn decide(run: &Standing<'_>, to: &Proposal<'_>, now: DateTime<Utc>) -> Verdict {
    use StateType::{Cancelled, Cancelling, Failed, Paused, Pending, Running, Scheduled};
    let renamed = to.state == run.state && to.name != run.name;
    let late = to.state == Scheduled && to.name == "Late";
    match (run.state, to.state) {
        // What no force gets past: the end of a run, its cancellation by its worker's end, fencing, limits.
        (from, _) if from.is_terminal() => Verdict::Abort(Reason::Ended),
        (Cancelling, Cancelled) => Verdict::Accept,
        (Cancelling, end) if to.by == By::Worker && end.is_terminal() => {
            Verdict::Reject(Instead::Cancelled, Reason::OneWay)
        }
        (Cancelling, _) if !to.force => Verdict::Reject(Instead::Keep, Reason::OneWay),
        (Pending | Running, Pending | Running) if renamed && to.name != to.state.default_name().as_str() => {
            Verdict::Accept
        }
        (Pending | Running | Cancelling, Pending) | (Running | Cancelling, Running) => {
            Verdict::Abort(Reason::HandedOut)
        }
        (Running, Scheduled) if to.by == By::Worker => Verdict::Abort(Reason::Started),
        (Scheduled | Paused, Cancelling) => Verdict::Reject(Instead::Cancelled, Reason::NothingToStop),
        (Paused, Pending) if !to.force => Verdict::Reject(Instead::Keep, Reason::ResumeFirst),
        (Scheduled | Pending, Running) if !to.force && now < run.due => {
            Verdict::Wait((run.due - now).to_std().unwrap_or_default())
        }
        (Scheduled | Paused, Pending | Running) => match run.room {
            Room::Full => Verdict::Reject(Instead::Keep, Reason::Full),
            Room::LimitFull if run.state == Scheduled => {
                Verdict::Reject(Instead::AwaitSlot, Reason::LimitFull)
            }
            Room::LimitFull => Verdict::Reject(Instead::Keep, Reason::LimitFull),
            Room::Paused if !to.force => Verdict::Reject(Instead::Keep, Reason::QueuePaused),
            Room::Paused | Room::Free => Verdict::Accept,
        },
        _ if to.force => Verdict::Accept,
        (Scheduled, Scheduled) if late && run.name == "Late" => {
            Verdict::Reject(Instead::Keep, Reason::LateIsALabel)
        }
        (from, Scheduled) if late && from != Scheduled => {
            Verdict::Reject(Instead::Keep, Reason::LateIsALabel)
        }
        (from, Paused) if from != Running => Verdict::Reject(Instead::Keep, Reason::NotRunning),
        (Pending | Running, Failed) if run.retries_left => {
            Verdict::Reject(Instead::Retry, Reason::RetriesLeft)
        }
        _ => Verdict::Accept,
    }
}

/// True when some run may go from one kind to the other, whoever asks and by whatever force. Every change that the
/// engine makes is one of these.
pub(crate) const fn is_arrow(from: StateType, to: StateType) -> bool {
    use StateType::{Cancelling, Paused, Pending, Running, Scheduled};
    match (from, to) {
        (from, _) if from.is_terminal() => false,
        // An attempt is handed out once; what nobody executes has nothing to tear down.
        (Running | Cancelling, Pending) | (Cancelling, Running) | (Scheduled | Paused, Cancelling) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Every kind of state, in the order of the table.
    const KINDS: [StateType; 9] = [
        StateType::Scheduled,
        StateType::Pending,
        StateType::Running,
        StateType::Paused,
        StateType::Cancelling,
        StateType::Completed,
        StateType::Failed,
        StateType::Crashed,
        StateType::Cancelled,
    ];

    const ROOMS: [Room; 4] = [Room::Free, Room::Full, Room::LimitFull, Room::Paused];

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// Every question there is, up to names that mean nothing and lengths of time.
    fn questions() -> Vec<(Standing<'static>, Proposal<'static>)> {
        let names = |kind: StateType| match kind {
            StateType::Scheduled => vec!["Scheduled", "Late", "AwaitingRetry", "Resuming"],
            StateType::Pending => vec!["Pending", "Submitting"],
            StateType::Running => vec!["Running", "Retrying"],
            StateType::Paused => vec!["Paused", "Suspended"],
            kind => vec![match kind.default_name().as_str() {
                "Cancelling" => "Cancelling",
                "Completed" => "Completed",
                "Failed" => "Failed",
                "Crashed" => "Crashed",
                _ => "Cancelled",
            }],
        };
        let mut all = Vec::new();
        let from = KINDS
            .iter()
            .flat_map(|&kind| names(kind).into_iter().map(move |name| (kind, name)));
        for (state, name) in from {
            for (to, to_name) in KINDS
                .iter()
                .flat_map(|&kind| names(kind).into_iter().map(move |name| (kind, name)))
            {
                for bits in 0..8 {
                    for room in ROOMS {
                        for due in [at(0), at(100)] {
                            let (worker, force, retries_left) = (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4);
                            let by = if worker { By::Worker } else { By::Host };
                            all.push((
                                Standing {
                                    state,
                                    name,
                                    due,
                                    retries_left,
                                    room,
                                },
                                Proposal {
                                    state: to,
                                    name: to_name,
                                    by,
                                    force,
                                },
                            ));
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn r3_a_state_that_ends_a_run_is_final_whoever_asks_and_by_any_force() {
        let mut asked = 0;
        for (run, to) in questions() {
            if run.state.is_terminal() {
                assert_eq!(
                    decide(&run, &to, at(0)),
                    Verdict::Abort(Reason::Ended),
                    "{run:?} {to:?}"
                );
                asked += 1;
            }
        }
        assert!(asked > 3_000, "{asked} questions");
    }

    #[test]
    fn r3_what_is_accepted_and_what_is_given_instead_are_arrows_and_every_arrow_is_used() {
        let mut used = std::collections::BTreeSet::new();
        for (run, to) in questions() {
            let into = match decide(&run, &to, at(0)) {
                Verdict::Accept => to.state,
                Verdict::Reject(Instead::Cancelled, _) => StateType::Cancelled,
                Verdict::Reject(Instead::Retry | Instead::AwaitSlot, _) => StateType::Scheduled,
                Verdict::Reject(Instead::Keep, _) | Verdict::Wait(_) | Verdict::Abort(_) => continue,
            };
            assert!(is_arrow(run.state, into), "{run:?} {to:?}");
            used.insert((run.state, into));
        }
        for from in KINDS {
            for to in KINDS {
                assert_eq!(used.contains(&(from, to)), is_arrow(from, to), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn c4_force_never_gets_past_a_limit_or_a_claim() {
        use StateType::{Cancelling, Pending, Running, Scheduled};
        for (run, to) in questions() {
            if !to.force || run.state.is_terminal() {
                continue;
            }
            let verdict = decide(&run, &to, at(0));
            let starts = matches!(to.state, Pending | Running);
            if starts && matches!(run.state, Scheduled | StateType::Paused) {
                let free = matches!(run.room, Room::Free | Room::Paused);
                assert_eq!(verdict == Verdict::Accept, free, "{run:?} {to:?}");
            } else if starts && verdict == Verdict::Accept {
                // A label, or the start of the attempt that was handed out: no second claim.
                let same = run.state == to.state && run.name != to.name;
                assert!(
                    same || (run.state, to.state) == (Pending, Running),
                    "{run:?} {to:?}"
                );
            } else if !starts && to.state != Cancelling && run.state != Cancelling && to.by == By::Host {
                assert_eq!(verdict, Verdict::Accept, "{run:?} {to:?}");
            }
        }
    }

    #[test]
    fn r3_force_and_a_free_slot_never_make_an_answer_worse() {
        let better = |verdict: Verdict| match verdict {
            Verdict::Accept => 2,
            Verdict::Reject(..) => 1,
            Verdict::Wait(_) | Verdict::Abort(_) => 0,
        };
        for (run, to) in questions()
            .into_iter()
            .filter(|(run, to)| !to.force && run.state != StateType::Cancelling)
        {
            let forced = decide(&run, &Proposal { force: true, ..to }, at(0));
            let free = decide(
                &Standing {
                    room: Room::Free,
                    ..run
                },
                &to,
                at(0),
            );
            let plain = decide(&run, &to, at(0));
            assert!(better(forced) >= better(plain), "{run:?} {to:?}");
            assert!(better(free) >= better(plain), "{run:?} {to:?}");
        }
    }

    /// The table and the diagram, from the graph.
    fn rendered() -> String {
        let ask = |from: StateType, to: StateType| {
            let (name, to_name) = (from.default_name(), to.default_name());
            let standing = Standing {
                state: from,
                name: &name,
                due: at(0),
                retries_left: false,
                room: Room::Free,
            };
            decide(
                &standing,
                &Proposal {
                    state: to,
                    name: &to_name,
                    by: By::Host,
                    force: false,
                },
                at(0),
            )
        };
        let mut text = String::from("| from, to |");
        for to in KINDS {
            write!(text, " {to} |").unwrap();
        }
        text.push_str(
            "
|---|",
        );
        text.push_str(&"---|".repeat(KINDS.len()));
        for from in KINDS {
            write!(
                text,
                "
| **{from}** |"
            )
            .unwrap();
            for to in KINDS {
                let cell = match ask(from, to) {
                    Verdict::Accept => "yes",
                    Verdict::Reject(Instead::Keep, _) => "keeps",
                    Verdict::Reject(_, _) => "CANCELLED",
                    Verdict::Wait(_) => "waits",
                    Verdict::Abort(_) => "never",
                };
                write!(text, " {cell} |").unwrap();
            }
        }
        text.push_str(
            "

```text
",
        );
        for from in KINDS.into_iter().filter(|kind| !kind.is_terminal()) {
            let to: Vec<String> = KINDS
                .iter()
                .filter(|&&to| to != from && ask(from, to) == Verdict::Accept)
                .map(ToString::to_string)
                .collect();
            writeln!(text, "{:<10} --> {}", from.to_string(), to.join(", ")).unwrap();
        }
        text.push_str(
            "```
",
        );
        text
    }

    #[test]
    fn r3_the_published_table_and_diagram_are_what_the_graph_decides() {
        let page = include_str!("../docs/states.md");
        let (_, rest) = page.split_once("<!-- from the graph -->\n").unwrap();
        let (published, _) = rest.split_once("<!-- end -->").unwrap();
        assert!(
            published == rendered(),
            "put this between the marks of src/docs/states.md:\n{}",
            rendered()
        );
    }
}
