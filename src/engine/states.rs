//! Setting a run's state from outside, and what states it had. The graph decides; here is what follows from it.

use std::time::Duration;

use super::Engine;
use super::claim::{Claim, Terms};
use super::core::{Core, Instant, Work};
use super::error::Error;
use super::finish::shortened;
use super::graph::{By, Instead, Proposal, Reason, Room, Standing, Verdict, decide};
use super::pause::RESUMING;
use super::signal::StopReason;
use super::stops::Stop;
use super::submit::check_timeout;
use crate::catalog::{Said, When, instant};
use crate::ids::RunId;
use crate::model::{InvalidValue, MAX_NAME, NewState, Place, State, StateType, Text};

/// The engine's answer to a proposed state. None of the four is an error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The run has the state.
    Accepted {
        /// The state it has now.
        state: State,
        /// A change into PENDING or RUNNING that started an attempt: the right to execute it.
        claim: Option<Claim>,
    },
    /// The run kept its state, or got another one.
    Rejected {
        /// The state it has now.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// Ask again after this long. Nothing was changed.
    Wait(Duration),
    /// Never. Nothing was changed.
    Aborted(Reason),
}

impl Answer {
    /// The state that the run has now, where the answer tells one.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        match self {
            Self::Accepted { state, .. } | Self::Rejected { state, .. } => Some(state),
            Self::Wait(_) | Self::Aborted(_) => None,
        }
    }

    /// The claim that came with the state.
    #[must_use]
    pub fn into_claim(self) -> Option<Claim> {
        match self {
            Self::Accepted { claim, .. } => claim,
            _ => None,
        }
    }
}

impl Engine {
    /// Proposes a state for a run; [`graph`](crate::engine::graph) says what becomes of that.
    ///
    /// A change of a waiting or paused run into PENDING or RUNNING is a claim of this one run, with all its slots in one step.
    /// A change of a claimed run into a state that holds no slots ends its attempt: the token is stale from then on and the
    /// worker is told ([`StopReason::Superseded`](crate::engine::StopReason)), but the slots are free at once, also while it
    /// still works. RUNNING on a claimed run starts its attempt, as [`begin`](Self::begin) does: the worker that holds the
    /// claim goes on without `begin`, which would be refused. To stop a worker in good order use [`cancel`](Self::cancel).
    ///
    /// ```
    /// use tenfold::engine::Answer;
    /// use tenfold::model::{NewState, StateType};
    /// use tenfold::{Engine, Outcome};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let run = engine.submit("mail")?.id;
    /// let claim = engine.set_state(run, StateType::Pending)?.into_claim().expect("nothing limits it");
    /// assert!(matches!(engine.set_state(run, StateType::Pending)?, Answer::Aborted(_)));
    /// engine.set_state(run, NewState::of(StateType::Pending).name("Submitting"))?;
    /// engine.begin(&claim)?;
    /// engine.complete(&claim, Outcome::Completed(().into()))?;
    /// let names: Vec<_> = engine.states(run)?.into_iter().map(|state| state.name).collect();
    /// assert_eq!(names, ["Scheduled", "Pending", "Submitting", "Running", "Completed"]);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for a name that is empty or long or a pause over 100 years; [`Error::Full`] when
    /// as many runs are paused as may. Nothing is changed then.
    pub fn set_state(&self, run: RunId, proposed: impl Into<NewState>) -> Result<Answer, Error> {
        let proposed = proposed.into();
        self.call(|core| core.set_state(run, proposed))
    }

    /// The states of a run, oldest first, the present one last. Of the ones before it
    /// [`run_states`](crate::EngineBuilder::run_states) are kept: the first three, and the newest.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn states(&self, run: RunId) -> Result<Vec<State>, Error> {
        self.call(|core| {
            let row = core.find_run(run)?;
            Ok(core.states_of(row))
        })
    }
}

impl Core {
    /// What the graph says to a proposal, at this instant.
    pub(crate) fn verdict(&self, row: u32, state: StateType, name: &str, by: By, force: bool) -> Verdict {
        self.verdict_at(row, state, name, by, force, self.now())
    }

    /// The same at an instant that has been.
    pub(crate) fn verdict_at(
        &self,
        row: u32,
        state: StateType,
        name: &str,
        by: By,
        force: bool,
        at: Instant,
    ) -> Verdict {
        let run = self.run(row);
        let Some(from) = run.state else {
            return Verdict::Abort(Reason::Record);
        };
        if run.place == Place::Record {
            return Verdict::Abort(Reason::Record);
        }
        let starts = matches!(state, StateType::Pending | StateType::Running);
        let waits = matches!(from, StateType::Scheduled | StateType::Paused);
        // The graph only asks how far off the due instant is; one that is past needs no calendar.
        let (due, now) = if at.wall < run.due {
            (instant(run.due), instant(at.wall))
        } else {
            Default::default()
        };
        let standing = Standing {
            state: from,
            name: run.said.name_str(run.state),
            due,
            retries_left: state == StateType::Failed && self.retries_left(row, at.mono),
            room: if starts && waits {
                self.room_of(row)
            } else {
                Room::Free
            },
        };
        let proposal = Proposal {
            state,
            name,
            by,
            force,
        };
        decide(&standing, &proposal, now)
    }

    /// Whether a failure of the attempt at that instant is followed by another one.
    pub(crate) fn retries_left(&self, row: u32, mono: i64) -> bool {
        let run = self.run(row);
        let retry = &run.body.retry;
        // Attempts, not starts: a worker that fails without ever having begun uses up its retries too.
        if run.attempt > retry.retries + u32::from(fault!(OneRetryMore)) || self.stopped {
            return false;
        }
        let delay = || i64::try_from(retry.delay_after(run.attempt).as_micros()).unwrap_or(i64::MAX);
        // What could start only after the end of its time is not waited for.
        self.within.is_empty()
            || (self.within.get(&row)).is_none_or(|&end| mono.saturating_add(delay()) < end)
    }

    /// Whether all slots of a run are there.
    fn room_of(&self, row: u32) -> Room {
        let mut stops = Vec::new();
        self.stops_of(row, &mut stops);
        let full = |stop: &Stop| matches!(stop, Stop::EngineFull(_) | Stop::PoolFull(_) | Stop::QueueFull(_));
        if stops.iter().any(full) {
            Room::Full
        } else if stops.iter().any(|stop| matches!(stop, Stop::Limit { .. })) {
            Room::LimitFull
        } else if stops.is_empty() {
            Room::Free
        } else {
            Room::Paused
        }
    }

    /// The graph's answer to a worker, as a refusal of the call.
    pub(crate) fn permit(&self, row: u32, state: StateType, by: By) -> Result<(), Error> {
        let name = state.default_name();
        match self.verdict(row, state, &name, by, false) {
            Verdict::Accept => Ok(()),
            Verdict::Reject(_, reason) | Verdict::Abort(reason) => Err(self.refused(row, state, reason)),
            Verdict::Wait(_) => Err(Error::Transition {
                run: self.run(row).id,
                from: self.run(row).state.unwrap_or(StateType::Pending),
                to: state,
                reason: "it was claimed before its time; begin when it is due",
            }),
        }
    }

    pub(crate) fn refused(&self, row: u32, to: StateType, reason: Reason) -> Error {
        Error::Transition {
            run: self.run(row).id,
            from: self.run(row).state.unwrap_or(StateType::Scheduled),
            to,
            reason: reason.as_str(),
        }
    }

    /// The states of a run that are kept, oldest first.
    pub(crate) fn states_of(&self, row: u32) -> Vec<State> {
        let past = self.run(row).past.iter().map(|left| State {
            kind: left.kind,
            name: left.name(),
            timestamp: instant(left.at),
            message: left.message(),
        });
        let mut states: Vec<State> = past.collect();
        states.extend(self.run(row).state.map(|_| self.state_of(row)));
        states
    }

    pub(crate) fn state_of(&self, row: u32) -> State {
        let run = self.run(row);
        State {
            kind: run.state.unwrap_or(StateType::Scheduled),
            name: run.state_name(),
            timestamp: instant(run.state_at),
            message: run.said.message(),
        }
    }

    pub(crate) fn set_state(&mut self, id: RunId, new: NewState) -> Result<Answer, Error> {
        let row = self.find_run(id)?;
        let timeout = check_timeout(new.timeout)?;
        let paused = self.run(row).state == Some(StateType::Paused);
        let name = match new.name {
            Some(name) if name.is_empty() || name.len() > MAX_NAME => {
                return Err(InvalidValue::new("state_name", &name, "give it 1 to 1,000 bytes").into());
            }
            Some(name) => name,
            None if paused && new.kind == StateType::Scheduled => RESUMING,
            None => new.kind.default_name(),
        };
        let message = new.message.map(shortened);
        let (state, verdict) = (new.kind, self.verdict(row, new.kind, &name, By::Host, new.force));
        let (state, reason) = match verdict {
            Verdict::Wait(span) => return Ok(Answer::Wait(span)),
            Verdict::Abort(reason) => return Ok(Answer::Aborted(reason)),
            Verdict::Accept => {
                if state == StateType::Paused {
                    self.room_for_pause()?;
                }
                let entered = self.state_now(state, name.clone(), message.clone());
                let claim = self.accept_state(row, state, name, message, new.at, timeout);
                let state = self.state_kept(row, id, entered);
                return Ok(Answer::Accepted { state, claim });
            }
            Verdict::Reject(instead, reason) => {
                let cancelled = StateType::Cancelled;
                let mut entered = self.state_of(row);
                match instead {
                    Instead::Keep => {}
                    Instead::Cancelled => {
                        entered = self.state_now(cancelled, cancelled.default_name(), message.clone());
                        self.call_off(row, message);
                    }
                    Instead::Retry => {
                        self.tell(row, StopReason::Superseded);
                        self.try_again(row, message, self.now());
                    }
                    Instead::AwaitSlot if self.chosen_collides(row) => {
                        entered = self.state_now(cancelled, cancelled.default_name(), message);
                    }
                    Instead::AwaitSlot => {
                        let name = Text::of("AwaitingConcurrencySlot");
                        // A run that goes on after a pause is known by its name.
                        let held = self.run(row);
                        if !held.is_called(&name) && !held.is_called(&RESUMING) {
                            self.enter(row, StateType::Scheduled, name, message, self.wall);
                        }
                    }
                }
                (self.state_kept(row, id, entered), reason)
            }
        };
        Ok(Answer::Rejected { state, reason })
    }

    /// The state that a run enters now.
    fn state_now(&self, kind: StateType, name: Text, message: Option<Text>) -> State {
        State {
            kind,
            name,
            timestamp: instant(self.wall),
            message,
        }
    }

    /// The state of a run, or the one that it `entered` when its record went with its end: where no finished runs are
    /// kept, or they are over their age.
    fn state_kept(&self, row: u32, id: RunId, entered: State) -> State {
        match self.catalog.runs.get(row) {
            Some(run) if run.id == id => self.state_of(row),
            _ => entered,
        }
    }

    /// Takes a claim away from its worker, who is told.
    pub(crate) fn supersede(&mut self, row: u32) {
        self.tell(row, StopReason::Superseded);
        self.drop_claim(row);
    }

    /// Gives a run a state that the graph accepted.
    fn accept_state(
        &mut self,
        row: u32,
        state: StateType,
        name: Text,
        message: Option<Text>,
        at: Option<chrono::DateTime<chrono::Utc>>,
        timeout: Option<Duration>,
    ) -> Option<Claim> {
        use StateType::{Cancelling, Paused, Pending, Running, Scheduled};
        let from = self.run(row).state.unwrap_or(Scheduled);
        let claimed = matches!(self.work[row as usize], Work::Claimed(_));
        match state {
            Scheduled if from == Scheduled && at.is_none() => {
                self.enter(row, state, name, message, self.wall);
            }
            Scheduled => self.schedule_again(row, name, message, at),
            Pending | Running if !claimed => return Some(self.claim_chosen(row, state, name, message)),
            Running if from == Pending => {
                self.begin_row(row);
                self.relabel(row, Running, name, message);
            }
            Pending | Running => {
                self.enter(row, state, name, message, self.wall);
            }
            Paused => self.pause_row(row, name, message, timeout),
            Cancelling => self.ask_to_stop(row, message),
            _ => {
                if claimed {
                    self.supersede(row);
                } else {
                    self.leave(row);
                }
                self.finish(row, state, name, message, self.wall);
            }
        }
        None
    }

    /// A state that was just entered under its default name gets the one that was asked for.
    fn relabel(&mut self, row: u32, state: StateType, name: Text, message: Option<Text>) {
        let said = Said::new(state, name, message);
        if !said.is_plain() {
            self.run_mut(row).said = said;
        }
    }

    /// Puts a run that waits, is claimed or paused among those that wait, at an instant or now.
    fn schedule_again(
        &mut self,
        row: u32,
        name: Text,
        message: Option<Text>,
        at: Option<chrono::DateTime<chrono::Utc>>,
    ) {
        let from = self.run(row).state;
        if let Work::Claimed(held) = &self.work[row as usize] {
            let resumed = held.resumed;
            self.supersede(row);
            if from == Some(StateType::Pending) {
                // What has not begun was not an attempt.
                self.run_mut(row).attempt -= 1;
                if at.is_none() {
                    self.return_to_place(row, resumed);
                    self.relabel(row, StateType::Scheduled, name, message);
                    return;
                }
            }
        } else {
            self.leave(row);
        }
        let now = self.wall;
        let due = at.map_or(now, |at| at.timestamp_micros().max(now));
        let seq = self.next_seq();
        let run = self.enter(row, StateType::Scheduled, name, message, now);
        (run.due, run.seq, run.next_start) = (due, seq, When::at(due));
        self.await_expiry(row);
        if due > now {
            self.enter_later(row);
        } else {
            self.come_due(row);
        }
    }

    /// A claim of this run, whose slots are there. One that is not due is taken all the same.
    pub(crate) fn claim_chosen(
        &mut self,
        row: u32,
        state: StateType,
        name: Text,
        message: Option<Text>,
    ) -> Claim {
        if !matches!(self.work[row as usize], Work::Line(_) | Work::Kept(_)) {
            let resuming = self.run(row).state == Some(StateType::Paused);
            self.leave(row);
            if resuming {
                // By way of the line, where its new place is, like any other that goes on.
                let (at, seq) = (self.wall, self.next_seq());
                let run = self.enter(row, StateType::Scheduled, RESUMING, None, at);
                (run.due, run.seq, run.next_start) = (at, seq, When::at(at));
            }
            self.occurrence_chosen(row);
            self.enter_line(row);
        }
        let begin = state == StateType::Running;
        let claim = self.take(
            row,
            Terms {
                begin,
                ..Terms::default()
            },
        );
        self.relabel(row, state, name, message);
        claim
    }
}
