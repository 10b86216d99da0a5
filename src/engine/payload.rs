//! What a run carries that is no data: a value of the host's own, or a closure.
//!
//! It lives as long as its run has not ended, and is dropped without a lock held. A document does not hold it, only that there was
//! one: in the engine that is made of the document the run stands where it stood, its claim has no payload, and a run that
//! is a closure ends CRASHED "`PayloadLost`" when its turn comes, unless somebody attaches a payload before.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::core::{Core, Work};
use super::error::Error;
use super::submit::Submitted;
use crate::ids::RunId;
use crate::model::{NewRun, Retry, StateType};

/// A value of any type, shared.
pub(crate) type Shared = Arc<dyn Any + Send + Sync>;

/// What a run carries.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Value(Shared),
    /// Something that a runtime can call once; of a type that is the runtime's.
    Closure(Shared),
    /// Of an engine that is gone.
    Lost(Kind),
}

/// What a document says of a payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Value,
    Closure,
}

impl Payload {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Value(_) => Kind::Value,
            Self::Closure(_) => Kind::Closure,
            Self::Lost(kind) => *kind,
        }
    }
}

/// Calls what is the host's own, whatever that does; none when it panics. A panic's value that panics when dropped is let be.
pub(crate) fn quietly<T>(call: impl FnOnce() -> T) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => return Some(answer),
        Err(panic) => panic,
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    None
}

/// Drops what is the host's own, whatever that does.
pub(crate) fn drop_quietly<T>(value: T) {
    let _ = quietly(|| drop(value));
}

impl Engine {
    /// Submits a run that carries a value of the host's own: a connection, a buffer, whatever need not or cannot become JSON. Its
    /// worker finds it with [`Claim::payload`](crate::Claim::payload), in each attempt; the engine lets go of it when the run has
    /// ended. A submission that finds its idempotency key in use leaves that run the payload it has.
    ///
    /// Payloads are not part of [`export`](Self::export). A run that had one stands in the imported engine without it, until
    /// [`attach_payload`](Self::attach_payload) gives it another.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tenfold::{Engine, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("resize")?;
    /// engine.submit_with("resize", Arc::new(vec![0_u8; 1_000]))?;
    /// let claim = engine.claim(&Scope::all())?.expect("one waits");
    /// assert_eq!(claim.payload::<Vec<u8>>().unwrap().len(), 1_000);
    /// assert!(claim.payload::<String>().is_none());
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit); [`Error::Full`] when as many payloads are held as may.
    pub fn submit_with<T: Any + Send + Sync>(
        &self,
        new: impl Into<NewRun>,
        payload: Arc<T>,
    ) -> Result<Submitted, Error> {
        self.submit_carrying(new.into(), Payload::Value(payload))
    }

    /// A closure runs once, so there is no second attempt.
    pub(crate) fn submit_once(&self, new: impl Into<NewRun>, closure: Shared) -> Result<Submitted, Error> {
        let new = new.into().retry(Retry::default());
        self.submit_carrying(new, Payload::Closure(closure))
    }

    fn submit_carrying(&self, new: NewRun, payload: Payload) -> Result<Submitted, Error> {
        // Out here, so that what is not taken is dropped when the lock is gone.
        let payload = Cell::new(Some(payload));
        let submitted = self.vouching(new, Core::asks_of_run, |core, new, vouched| {
            core.room_for_payload()?;
            let submitted = core.submit(new, vouched)?;
            if !submitted.existing
                && let Some(row) = core.run_row(submitted.id)
                && !matches!(core.work[row as usize], Work::None)
                && let Some(payload) = payload.take()
            {
                core.payloads.insert(row, payload);
                core.touch(row);
            }
            Ok(submitted)
        });
        drop_quietly(payload);
        submitted
    }

    /// Gives a run that has not ended a payload, in place of any that it has. A claim that was handed out keeps what it has.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] when it has ended; [`Error::Full`] when as many payloads are held as may.
    pub fn attach_payload<T: Any + Send + Sync>(&self, run: RunId, payload: Arc<T>) -> Result<u64, Error> {
        let mut payload = Some(Payload::Value(payload));
        let attached = self.call(|core| {
            let row = core.find_run(run)?;
            if matches!(core.work[row as usize], Work::None) {
                let reason = "a run that has ended or is only a record carries nothing";
                return Err(Error::Transition {
                    run,
                    from: core.run(row).state.unwrap_or(StateType::Completed),
                    to: StateType::Scheduled,
                    reason,
                });
            }
            if !core.payloads.contains_key(&row) {
                core.room_for_payload()?;
            }
            if let Some(new) = payload.take() {
                payload = core.payloads.insert(row, new);
            }
            core.touch(row);
            Ok(core.changed())
        });
        drop_quietly(payload);
        attached
    }
}

impl Core {
    fn room_for_payload(&self) -> Result<(), Error> {
        let (waiting, capacity) = (self.payloads.len(), self.settings.payloads);
        if waiting < capacity {
            return Ok(());
        }
        Err(Error::Full {
            what: "payloads",
            waiting,
            capacity,
            asked: 1,
        })
    }

    pub(crate) fn payload_of(&self, row: u32) -> Option<Payload> {
        if self.payloads.is_empty() {
            return None;
        }
        self.payloads.get(&row).cloned()
    }

    /// A run has ended; its payload goes when the lock is gone.
    pub(crate) fn forget_payload(&mut self, row: u32) {
        if self.payloads.is_empty() {
            return;
        }
        self.effects.spent.extend(self.payloads.remove(&row));
    }
}
