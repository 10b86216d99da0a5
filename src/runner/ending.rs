//! How an attempt ended, from what its handler did.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Job, RunError};
use crate::engine::{Ending, Payload, drop_quietly};

pub(crate) type Blocking = Box<dyn FnOnce(&Job) -> Result<Value, RunError> + Send>;

/// A closure that is called once, on a thread of its own for that time.
pub(crate) struct Closure(Mutex<Option<Blocking>>);

impl Closure {
    pub(super) fn new(closure: Blocking) -> Self {
        Self(Mutex::new(Some(closure)))
    }

    /// The closure, the first time.
    pub(crate) fn take(&self) -> Option<Blocking> {
        self.0.lock().take()
    }
}

/// The attempt of a run that carries a closure, when that cannot be called here.
pub(crate) fn lost(payload: &Payload) -> Ending {
    Ending::payload_lost(match payload {
        Payload::Closure(_) => "its closure has been called before, or is none that this runtime can call",
        _ => "its closure did not move with the exported document",
    })
}

/// Calls a handler on this thread, whatever it does.
pub(crate) fn called(handler: impl FnOnce() -> Result<Value, RunError>) -> Ending {
    match catch_unwind(AssertUnwindSafe(handler)) {
        Ok(answer) => ended(answer),
        Err(panic) => crashed(panic),
    }
}

pub(crate) fn ended(answer: Result<Value, RunError>) -> Ending {
    match answer {
        Ok(value) => Ending::completed(value),
        Err(error) => Ending::failed(error.into_message()),
    }
}

pub(crate) fn crashed(panic: Box<dyn Any + Send>) -> Ending {
    Ending::panicked(panic_message(panic))
}

/// What a panic said.
pub(crate) fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked with a value that is no text".to_owned());
    drop_quietly(panic);
    message
}
