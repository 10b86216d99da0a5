//! Taking runs out of the engine's hands: forcing them to an end, and deleting them.

use super::Engine;
use super::core::{Core, Work};
use super::error::Error;
use super::graph::{By, Verdict};
use crate::ids::RunId;
use crate::model::{NewState, Place, StateType, Text};

impl Engine {
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
        let reason = match self.verdict(row, to, &to.default_name(), By::Host, true) {
            Verdict::Abort(reason) => reason.as_str(),
            Verdict::Accept if to.is_terminal() => return Ok(()),
            _ => "only a state that ends a run can be forced in bulk; propose others run by run",
        };
        let run = self.run(row);
        Err(Error::Transition {
            run: run.id,
            from: run.state.unwrap_or(StateType::Scheduled),
            to,
            reason,
        })
    }

    /// Forces a run into a state that ends it; CANCELLED is a cancellation.
    pub(crate) fn force(&mut self, id: RunId, state: StateType) -> Result<(), Error> {
        let row = self.find_run(id)?;
        self.check_force(row, state)?;
        if state == StateType::Cancelled {
            return self.cancel(id, None).map(drop);
        }
        let new = NewState::of(state).message(Text::of("set by the host")).force();
        self.set_state(id, new).map(drop)
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
