//! A thread that tells of completions: takes what is ready in a hook, calls the handler, reports.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ending::panic_message;
use super::{LONG, RunError};
use crate::engine::{Awaits, Bell, Delivery, Engine, StopReason, StopSignal};
use crate::model::Text;

type Told = Box<dyn Fn(&Delivery) -> Result<(), RunError> + Send + Sync>;

/// A hook and its handler.
pub(super) struct Courier {
    pub(super) hook: Text,
    pub(super) handler: Told,
}

/// How a courier is told to leave.
#[derive(Debug, Default)]
pub(crate) struct Errand {
    pub(crate) bell: Arc<Bell>,
    /// Leave as soon as nothing is ready.
    when_done: AtomicBool,
    /// Leave.
    pub(crate) now: StopSignal,
}

impl Errand {
    pub(crate) fn leave_when_done(&self) {
        // errand-done: pairs with the `Acquire` in `leaves_when_done`; the look for deliveries that follows sees what ended before.
        self.when_done.store(true, Ordering::Release);
        self.bell.ring();
    }

    pub(crate) fn leave_now(&self) {
        self.now.fire(StopReason::Shutdown);
        self.bell.ring();
    }

    pub(crate) fn leaves_when_done(&self) -> bool {
        self.when_done.load(Ordering::Acquire)
    }
}

/// A delivery that is reported whatever happens: as failed when it is dropped.
pub(crate) struct Duty<'a> {
    engine: &'a Engine,
    delivery: Option<Delivery>,
}

impl<'a> Duty<'a> {
    /// The next delivery that is ready. An error means that there will be none.
    pub(crate) fn take(waits: &'a Awaits) -> Result<Option<Self>, crate::engine::Error> {
        let taken = waits.take_one()?;
        Ok(taken.map(|delivery| Self {
            engine: waits.engine(),
            delivery: Some(delivery),
        }))
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        self.delivery.as_ref().expect("only the report takes it")
    }

    pub(crate) fn report(mut self, told: Result<(), Text>) {
        if let Some(delivery) = self.delivery.take() {
            // Somebody may have taken the hook away meanwhile; then there is nothing to report.
            let _ = match told {
                Ok(()) => self.engine.delivered(&delivery).map(drop),
                Err(problem) => self.engine.not_delivered(&delivery, problem).map(drop),
            };
        }
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.take() {
            let _ = (self.engine).not_delivered(&delivery, "whoever was to deliver it was dropped");
        }
    }
}

impl Courier {
    /// Delivers until told to leave.
    pub(super) fn serve(&self, engine: &Engine, errand: &Errand) {
        let Ok(waits) = engine.await_deliveries(&self.hook, errand.bell.clone()) else {
            return;
        };
        while errand.now.reason().is_none() {
            // Before the look: what was there when it was told to leave is delivered.
            let leaves = errand.leaves_when_done();
            match Duty::take(&waits) {
                Ok(Some(duty)) => {
                    let told = catch_unwind(AssertUnwindSafe(|| (self.handler)(duty.delivery())));
                    duty.report(match told {
                        Ok(told) => told.map_err(|error| error.into_message().into()),
                        Err(panic) => Err(panic_message(panic).into()),
                    });
                }
                Ok(None) if leaves => return,
                Ok(None) => drop(errand.bell.wait(LONG)),
                Err(_) => return,
            }
        }
    }
}
