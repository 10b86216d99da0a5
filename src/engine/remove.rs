//! Taking runs out of the engine's hands: forcing them to an end, and deleting them.

use super::Engine;
use super::core::{Core, Work};
use super::error::Error;
use super::signal::StopReason;
use crate::ids::RunId;
use crate::model::{Place, StateType, Text};

impl Engine {
    /// Forces a run into a state that ends it, whatever it was doing. CANCELLED is [`cancel`](Self::cancel). Under the other three
    /// a waiting run leaves its line; a claimed one is taken from its worker: the slots are free at once, the worker is
    /// asked to stop, and its late report is refused.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] when the run has ended, or when the state is not one that ends a run: into
    /// PENDING and RUNNING a run comes by a claim, which takes its slots.
    pub fn set_state(&self, id: RunId, state: StateType) -> Result<StateType, Error> {
        self.call(|core| core.force(id, state))
    }

    /// Removes a run and its record. One that waits is CANCELLED first; its occurrence, if a schedule made it, stays used. Its
    /// task runs go with it. Linear in the task runs that the engine keeps.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Refused`] while it is claimed.
    pub fn delete_run(&self, id: RunId) -> Result<u64, Error> {
        self.call(|core| core.delete_run(id).map(|()| core.version))
    }
}

impl Core {
    /// Whether `force` would be carried out; the error is the one it would give.
    pub(crate) fn check_force(&self, row: u32, to: StateType) -> Result<(), Error> {
        let run = self.run(row);
        let reason = match (&self.work[row as usize], to) {
            (Work::None, _) if run.place == Place::Record => {
                "it is a loaded record and takes no part in the engine's work"
            }
            (Work::None, _) => "it has ended, and a state that ends a run is final",
            (_, to) if to.is_terminal() => return Ok(()),
            _ => {
                "only a state that ends a run can be forced; a run comes into PENDING and RUNNING by a claim"
            }
        };
        Err(Error::Transition {
            run: run.id,
            from: run.state.unwrap_or(StateType::Scheduled),
            to,
            reason,
        })
    }

    pub(crate) fn force(&mut self, id: RunId, state: StateType) -> Result<StateType, Error> {
        let row = self.find_run(id)?;
        self.check_force(row, state)?;
        if state == StateType::Cancelled {
            return self.cancel(id, None);
        }
        if let Work::Claimed(held) = &self.work[row as usize] {
            if let Some(signal) = &held.signal {
                self.effects.stops.push((signal.clone(), StopReason::Cancelled));
            }
            self.drop_claim(row);
        } else {
            self.leave(row);
        }
        let (at, why) = (self.wall, Text::of("set by the host"));
        self.finish(row, state, state.default_name(), Some(why), at);
        Ok(state)
    }

    /// Whether `delete_run` would be carried out; the error is the one it would give.
    pub(crate) fn check_delete_run(&self, row: u32) -> Result<(), Error> {
        if let Work::Claimed(_) = self.work[row as usize] {
            return Err(Error::Refused {
                kind: "run",
                name: self.run(row).id.to_string(),
                what: "deleted",
                reason: "a worker has it; cancel it, and delete it when it has ended",
            });
        }
        Ok(())
    }

    pub(crate) fn delete_run(&mut self, id: RunId) -> Result<(), Error> {
        let row = self.find_run(id)?;
        self.check_delete_run(row)?;
        if !matches!(self.work[row as usize], Work::None) {
            self.cancel(id, None)?;
        }
        let Some(place) = self.run_row(id).map(|row| self.run(row).place) else {
            // Its end was one more than retention keeps.
            return Ok(());
        };
        if place == Place::Finished {
            self.finished.remove(id);
        }
        let steps: Vec<u32> = (self.catalog.task_runs.iter())
            .filter(|(_, held)| held.run == Some(row))
            .map(|(step, _)| step)
            .collect();
        for step in steps {
            if let Some(held) = self.catalog.task_runs.remove(step) {
                self.catalog.by_id.remove(&held.data.id.uuid());
            }
        }
        self.forget(row, id);
        Ok(())
    }
}
