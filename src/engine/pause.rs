//! Pausing a run in the middle, and going on with it later.
//!
//! A pause ends the claim: the slots go back, the fencing token is stale, and what is in progress is the host's to keep
//! (in the parameters of its own making, in a file, in the payload). When the run is resumed it takes a new place in line and is
//! handed out again as the same attempt: neither retries nor starts count a pause.

use std::time::Duration;

use super::Engine;
use super::claim::Claim;
use super::core::{Core, Instant, MonoEvent, Work};
use super::error::Error;
use super::graph::{By, Reason};
use super::submit::check_timeout;
use crate::catalog::When;
use crate::ids::RunId;
use crate::model::{Place, StateType, Text};

/// The name of a run's state from its resumption until it is claimed.
pub(crate) const RESUMING: Text = Text::of("Resuming");

impl Engine {
    /// Stops a run in the middle, by the worker that executes it: PAUSED. Its slots are free and the claim is over. When
    /// nobody has resumed it after `timeout` it is FAILED. For the host's side of it see
    /// [`set_state`](Self::set_state).
    ///
    /// ```
    /// use tenfold::model::Place;
    /// use tenfold::{Engine, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("review")?;
    /// let run = engine.submit("review")?.id;
    /// let claim = engine.claim(&Scope::all())?.unwrap();
    /// engine.begin(&claim)?;
    /// engine.pause(&claim, None)?;
    /// assert_eq!(engine.run(run)?.place, Place::Paused);
    /// engine.resume(run)?;
    /// let again = engine.claim(&Scope::all())?.unwrap();
    /// assert_eq!((again.run(), again.attempt()), (run, 1));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`]; [`Error::Transition`] when the attempt has not started or is being cancelled;
    /// [`Error::Full`] when as many runs are paused as may; [`Error::Invalid`] for a timeout of nothing or over 100 years.
    pub fn pause(&self, claim: &Claim, timeout: Option<Duration>) -> Result<u64, Error> {
        self.call(|core| {
            let row = core.claimed_row(claim.run, claim.token)?;
            let timeout = check_timeout(timeout)?;
            core.permit(row, StateType::Paused, By::Worker)?;
            core.room_for_pause()?;
            core.pause_row(row, StateType::Paused.default_name(), None, timeout);
            Ok(core.version)
        })
    }

    /// Goes on with a paused run: it is due now, at a new place in line, SCHEDULED "Resuming".
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] when it is not paused.
    pub fn resume(&self, run: RunId) -> Result<u64, Error> {
        self.call(|core| {
            let row = core.find_run(run)?;
            if core.run(row).place != Place::Paused {
                return Err(core.refused(row, StateType::Scheduled, Reason::NotPaused));
            }
            core.permit(row, StateType::Scheduled, By::Host)?;
            core.leave(row);
            let (at, seq) = (core.wall, core.next_seq());
            let run = core.enter(row, StateType::Scheduled, RESUMING, None, at);
            (run.due, run.seq, run.next_start) = (at, seq, When::at(at));
            core.enter_line(row);
            Ok(core.version)
        })
    }
}

impl Core {
    pub(crate) fn room_for_pause(&self) -> Result<(), Error> {
        let (waiting, capacity) = (self.paused_total, self.settings.paused_runs);
        if waiting < capacity {
            return Ok(());
        }
        Err(Error::Full {
            what: "paused runs",
            waiting,
            capacity,
            asked: 1,
        })
    }

    /// Moves a run out of where it is, a worker's hands or a line, into a pause.
    pub(crate) fn pause_row(
        &mut self,
        row: u32,
        name: Text,
        message: Option<Text>,
        timeout: Option<Duration>,
    ) {
        match self.work[row as usize] {
            Work::Claimed(_) => {
                self.supersede(row);
                // It is handed out again as the attempt that it was.
                self.run_mut(row).attempt -= 1;
            }
            _ => self.leave(row),
        }
        let timer = timeout.map(|span| {
            let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            self.mono_timers
                .insert(self.mono.saturating_add(micros), MonoEvent::PauseOver { row })
        });
        self.effects.ring |= timer.is_some();
        self.enter(row, StateType::Paused, name, message, self.wall).place = Place::Paused;
        self.paused_total += 1;
        self.set_work(row, Work::Paused(timer));
        self.await_expiry(row);
    }

    /// Takes a run out of its pause.
    pub(crate) fn leave_pause(&mut self, row: u32) {
        let Work::Paused(timer) = std::mem::take(&mut self.work[row as usize]) else {
            unreachable!("the caller found the run paused")
        };
        if let Some(timer) = timer {
            self.mono_timers.cancel(timer);
        }
        self.paused_total -= 1;
    }

    /// Nobody resumed the run in time.
    pub(crate) fn pause_over(&mut self, row: u32, at: Instant) {
        self.leave_pause(row);
        let message = Text::of("its pause was over its time and nobody resumed it");
        let name = StateType::Failed.default_name();
        self.finish(row, StateType::Failed, name, Some(message), at.wall);
    }
}
