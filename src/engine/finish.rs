//! How attempts and runs end: completion, failure and retry, timeouts, cancellation.

use std::sync::Arc;

use serde_json::Value;

use super::core::{Core, Held, Instant, Work};
use super::error::Error;
use super::graph::{By, Instead, Reason, Verdict};
use super::signal::StopReason;
use crate::ids::RunId;
use crate::model::{StateType, Text};

/// What a worker reports of an attempt that has ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It did its work; what it returned is kept with the run.
    Completed(Value),
    /// It ended with an error of its own. Retried while retries are left.
    Failed(Text),
    /// Something outside it ended it: a panic, a lost process. Not retried.
    Crashed(Text),
    /// It stopped because it was asked to.
    Cancelled,
}

impl Outcome {
    /// A failure with this message.
    pub fn failed(message: impl Into<Text>) -> Self {
        Self::Failed(message.into())
    }

    /// A crash with this message.
    pub fn crashed(message: impl Into<Text>) -> Self {
        Self::Crashed(message.into())
    }
}

/// What became of a run when its attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Ended {
    /// The run has ended, in this state.
    Finished(StateType),
    /// It will be tried again.
    Retrying,
}

/// How an attempt ended, in the engine's terms.
#[derive(Debug)]
pub(crate) struct Ending {
    state: StateType,
    name: Text,
    message: Option<Text>,
    result: Option<Arc<Value>>,
}

/// Longest message kept with a run, in bytes.
const MAX_MESSAGE: usize = 10_000;

/// What an error says may be as long as what it chokes on; the beginning tells.
pub(crate) fn shortened(message: Text) -> Text {
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    let end = message.floor_char_boundary(MAX_MESSAGE);
    Text::from(format!("{}…", &message[..end]))
}

impl Ending {
    pub(crate) fn of(outcome: Outcome) -> Self {
        let (state, message, result) = match outcome {
            Outcome::Completed(Value::Null) => (StateType::Completed, None, None),
            Outcome::Completed(value) => (StateType::Completed, None, Some(Arc::new(value))),
            Outcome::Failed(message) => (StateType::Failed, Some(shortened(message)), None),
            Outcome::Crashed(message) => (StateType::Crashed, Some(shortened(message)), None),
            Outcome::Cancelled => (StateType::Cancelled, None, None),
        };
        Self {
            state,
            name: state.default_name(),
            message,
            result,
        }
    }

    pub(crate) fn completed(value: Value) -> Self {
        if let Err(refused) = crate::model::check_result(&value) {
            return Self::failed(refused.to_string());
        }
        Self::of(Outcome::Completed(value))
    }

    pub(crate) fn failed(message: String) -> Self {
        Self::of(Outcome::failed(message))
    }

    pub(crate) fn panicked(message: String) -> Self {
        Self::of(Outcome::crashed(message))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn cancelled() -> Self {
        Self::of(Outcome::Cancelled)
    }

    pub(crate) fn shut_down() -> Self {
        Self {
            message: Some(Text::of("called off when the runtime stopped")),
            ..Self::of(Outcome::Cancelled)
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn abandoned() -> Self {
        Self::of(Outcome::crashed("its worker was dropped before it ended"))
    }

    pub(crate) fn no_handler(flow: &str) -> Self {
        let message = format!("no handler is registered for flow {flow:?}");
        Self {
            name: Text::of("NoHandler"),
            ..Self::of(Outcome::crashed(message))
        }
    }

    /// What a run was to do is gone.
    pub(crate) fn payload_lost(message: &'static str) -> Self {
        Self {
            name: Text::of("PayloadLost"),
            ..Self::of(Outcome::crashed(Text::of(message)))
        }
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.state == StateType::Completed
    }

    pub(crate) fn lapsed(message: Text) -> Self {
        Self::of(Outcome::Crashed(message))
    }

    pub(crate) fn timed_out() -> Self {
        Self {
            state: StateType::Failed,
            name: Text::of("TimedOut"),
            message: Some(Text::of("the attempt was over its timeout")),
            result: None,
        }
    }
}

impl Core {
    /// Checks that `token` is the current claim of `run`; answers its row.
    pub(crate) fn claimed_row(&self, run: RunId, token: u64) -> Result<u32, Error> {
        let stale = |reason| Error::StaleClaim { run, token, reason };
        let row = self.run_row(run).ok_or(stale("the run is no longer kept"))?;
        match &self.work[row as usize] {
            Work::Claimed(held) if held.token == token || fault!(StaleReportCounts) => Ok(row),
            Work::Claimed(_) => Err(stale("a newer attempt has been handed out")),
            _ => Err(stale("the attempt has ended")),
        }
    }

    /// Ends the attempt that `token` names.
    pub(crate) fn complete(&mut self, run: RunId, token: u64, ending: Ending) -> Result<Ended, Error> {
        let row = self.claimed_row(run, token)?;
        let Work::Claimed(held) = &self.work[row as usize] else {
            unreachable!("the token was just checked")
        };
        // What ran past its time has timed out, whatever it says of itself.
        let ending = if held.timed_out {
            Ending::timed_out()
        } else {
            ending
        };
        Ok(self.end_attempt(row, ending, self.now()))
    }

    pub(crate) fn end_attempt(&mut self, row: u32, ending: Ending, at: Instant) -> Ended {
        let verdict = self.verdict_at(row, ending.state, &ending.name, By::Worker, false, at);
        if verdict == Verdict::Reject(Instead::Retry, Reason::RetriesLeft) {
            self.try_again(row, ending.message, at);
            return Ended::Retrying;
        }
        self.drop_claim(row);
        // Nothing is written where there is nothing: a run has no result before this.
        if let Some(result) = ending.result {
            self.run_mut(row).result = Some(result);
        }
        // Cancelling is one-way: whatever the handler managed to do, the run was called off. What it returned is kept.
        let (state, name) = match verdict {
            Verdict::Reject(Instead::Cancelled, _) if !fault!(CancelledCompletes) => {
                (StateType::Cancelled, StateType::Cancelled.default_name())
            }
            _ => (ending.state, ending.name),
        };
        self.finish(row, state, name, ending.message, at.wall);
        Ended::Finished(state)
    }

    /// The claimed attempt of a run has failed, and another follows.
    pub(crate) fn try_again(&mut self, row: u32, message: Option<Text>, at: Instant) {
        if self.run(row).body.retry.keeps_slots() {
            self.keep_for_retry(row, message, at);
        } else {
            self.drop_claim(row);
            self.retry_later(row, message, at);
        }
    }

    pub(crate) fn cancel_timers(&mut self, held: &Held) {
        if let Some(timer) = held.timer {
            self.mono_timers.cancel(timer);
        }
        if let Some(timer) = held.lease.as_ref().and_then(|lease| lease.timer) {
            self.mono_timers.cancel(timer);
        }
    }

    /// Takes a claim's slots, timer and token away.
    pub(crate) fn drop_claim(&mut self, row: u32) {
        let Work::Claimed(held) = std::mem::take(&mut self.work[row as usize]) else {
            unreachable!("the caller found the run claimed")
        };
        self.cancel_timers(&held);
        self.end_steps(row);
        self.release_slots(row, held.grant);
    }

    /// Calls a run off. A waiting one ends at once; a claimed one is asked to stop and ends when its handler has.
    pub(crate) fn cancel(&mut self, id: RunId, message: Option<Text>) -> Result<StateType, Error> {
        let row = self.find_run(id)?;
        let name = StateType::Cancelling.default_name();
        match self.verdict(row, StateType::Cancelling, &name, By::Host, false) {
            Verdict::Reject(Instead::Cancelled, _) => {
                self.call_off(row, message);
                Ok(StateType::Cancelled)
            }
            Verdict::Accept | Verdict::Reject(..) => {
                self.ask_to_stop(row, message);
                Ok(StateType::Cancelling)
            }
            Verdict::Wait(_) => unreachable!("only a start waits for its time"),
            Verdict::Abort(reason) => Err(self.refused(row, StateType::Cancelled, reason)),
        }
    }

    /// Ends a run that nobody executes.
    pub(crate) fn call_off(&mut self, row: u32, message: Option<Text>) {
        self.leave(row);
        let name = StateType::Cancelled.default_name();
        self.finish(row, StateType::Cancelled, name, message, self.wall);
    }

    /// CANCELLING: the handler of a claimed run is told to stop. Again tells it again.
    pub(crate) fn ask_to_stop(&mut self, row: u32, message: Option<Text>) {
        self.tell(row, StopReason::Cancelled);
        if self.run(row).state != Some(StateType::Cancelling) {
            let name = StateType::Cancelling.default_name();
            self.enter(row, StateType::Cancelling, name, message, self.wall);
        }
    }

    /// Tells the worker of a claimed run to stop, if it can be told.
    pub(crate) fn tell(&mut self, row: u32, reason: StopReason) {
        if let Work::Claimed(Held {
            signal: Some(signal), ..
        }) = &self.work[row as usize]
        {
            self.effects.stops.push((signal.clone(), reason));
        }
    }

    /// Takes a run that is not claimed out of where it waits.
    pub(crate) fn leave(&mut self, row: u32) {
        match self.work[row as usize] {
            Work::Later => {
                self.forget_occurrence(row);
                self.leave_later(row);
            }
            Work::Retry(_) => self.leave_retry(row),
            Work::Kept(_) => self.leave_kept(row),
            Work::Line(_) => self.leave_line(row),
            Work::Buffered => self.leave_buffer(row),
            Work::Paused(_) => self.leave_pause(row),
            Work::None | Work::Claimed(_) => unreachable!("the caller found the run waiting"),
        }
    }

    pub(crate) fn find_run(&self, id: RunId) -> Result<u32, Error> {
        self.run_row(id).ok_or_else(|| Error::NotFound {
            kind: "run",
            name: id.to_string(),
            hint: "it was never accepted here, or its record was removed after its retention",
        })
    }
}
