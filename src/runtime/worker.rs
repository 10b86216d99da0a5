//! The driver, which starts workers, and the workers, which execute one run after another.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Context, HandlerFuture, RunError};
use crate::engine::{Claim, Ending, Engine, Scope, StopReason, StopSignal};
use crate::ids::RunId;

/// What the driver and the workers of one runtime share.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) engine: Engine,
    pub(super) scope: Scope,
    pub(super) workers: usize,
    pub(super) grace: Duration,
    /// Take no more runs.
    pub(super) no_more: StopSignal,
    /// What executes, by fencing token.
    pub(super) executing: Mutex<HashMap<u64, Arc<Claim>>>,
    pub(super) called_off: Mutex<Vec<RunId>>,
}

impl Crew {
    pub(super) fn called_off(&self) -> Vec<RunId> {
        let mut runs = self.called_off.lock().clone();
        runs.sort_unstable();
        runs
    }

    /// Asks everything that executes to stop.
    pub(super) fn give_up(&self) {
        let executing: Vec<Arc<Claim>> = self.executing.lock().values().cloned().collect();
        executing
            .iter()
            .for_each(|claim| claim.signal.fire(StopReason::Shutdown));
    }
}

/// Waits until this attempt should stop, for whatever reason.
pub(super) fn stop_of(claim: &Claim) -> impl Future<Output = StopReason> {
    poll_fn(move |context| claim.signal.poll(context))
}

/// Starts a worker for each run that may start, and sleeps when there is none.
pub(super) async fn drive(crew: Arc<Crew>) {
    let bell = crew.engine.add_bell();
    let mut workers = JoinSet::new();
    loop {
        while let Some(ended) = workers.try_join_next() {
            reraise(ended);
        }
        let mut wake = None;
        while crew.no_more.reason().is_none() && workers.len() < crew.workers {
            match crew.engine.claim_to_execute(&crew.scope) {
                Ok(Ok(claim)) => drop(workers.spawn(work(crew.clone(), claim))),
                Ok(Err(_)) => {
                    wake = crew.engine.advance().unwrap_or(None);
                    break;
                }
                // A poisoned engine hands out nothing; what executes may still end.
                Err(_) => {
                    crew.no_more.fire(StopReason::Shutdown);
                }
            }
        }
        if crew.no_more.reason().is_some() {
            break;
        }
        tokio::select! {
            () = poll_fn(|context| bell.poll(context)) => {}
            () = sleep(wake) => {}
            _ = poll_fn(|context| crew.no_more.poll(context)) => {}
            Some(ended) = workers.join_next() => reraise(ended),
        }
    }
    crew.engine.remove_bell(&bell);
    while let Some(ended) = workers.join_next().await {
        reraise(ended);
    }
}

async fn sleep(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Handlers' panics are caught where they happen; any other is a bug of this crate and is not hidden.
fn reraise(ended: Result<(), tokio::task::JoinError>) {
    if let Err(problem) = ended
        && problem.is_panic()
    {
        std::panic::resume_unwind(problem.into_panic());
    }
}

/// Executes a run, then the next, until there is none.
async fn work(crew: Arc<Crew>, first: Claim) {
    let mut next = Some(first);
    while let Some(claim) = next {
        let claim = Arc::new(claim);
        crew.executing.lock().insert(claim.token, claim.clone());
        let ending = attempt(&crew, &claim).await;
        crew.executing.lock().remove(&claim.token);
        let go_on = crew.no_more.reason().is_none();
        // A poisoned engine takes no report and hands out nothing.
        next = (crew
            .engine
            .end_and_claim(&claim, ending, go_on.then_some(&crew.scope)))
        .unwrap_or_default();
        // Handlers that never wait would otherwise keep this thread from all other tasks.
        tokio::task::consume_budget().await;
    }
}

/// Executes one attempt to its end, whatever the handler does.
async fn attempt(crew: &Arc<Crew>, claim: &Arc<Claim>) -> Ending {
    let Some(handler) = crew.engine.handlers().get(claim.flow()) else {
        return Ending::no_handler(claim.flow());
    };
    let context = Context {
        claim: claim.clone(),
        crew: crew.clone(),
    };
    let future = match catch_unwind(AssertUnwindSafe(|| handler(context))) {
        Ok(future) => future,
        Err(panic) => return crashed(&*panic),
    };
    let mut handling = Guarded(Some(future));
    let reason = tokio::select! {
        biased;
        ending = handling.by_ref() => return ending,
        reason = stop_of(claim) => reason,
    };
    // A timeout has had its time; who is called off gets some to put things in order.
    if reason != StopReason::TimedOut
        && let Ok(ending) = tokio::time::timeout(crew.grace, handling.by_ref()).await
    {
        return if reason == StopReason::Shutdown {
            call_off(crew, claim, ending)
        } else {
            ending
        };
    }
    handling.drop_it();
    match reason {
        StopReason::TimedOut => Ending::timed_out(),
        StopReason::Shutdown => call_off(crew, claim, Ending::shut_down()),
        StopReason::Cancelled => Ending::cancelled(),
    }
}

/// An attempt that was told to stop at shutdown: one that completed all the same is completed.
fn call_off(crew: &Crew, claim: &Claim, ending: Ending) -> Ending {
    if ending.is_completed() {
        return ending;
    }
    crew.called_off.lock().push(claim.run());
    Ending::shut_down()
}

fn crashed(panic: &(dyn Any + Send)) -> Ending {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked with a value that is no text".to_owned());
    Ending::panicked(message)
}

/// A handler whose panics end the attempt and go no further.
struct Guarded(Option<HandlerFuture>);

impl Guarded {
    fn by_ref(&mut self) -> impl Future<Output = Ending> + '_ {
        poll_fn(move |context| {
            let future = self.0.as_mut().expect("an attempt is not polled after its end");
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::as_mut(future).poll(context)));
            let ending = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(answer)) => ended(answer),
                Err(panic) => crashed(&*panic),
            };
            self.drop_it();
            Poll::Ready(ending)
        })
    }

    /// What the handler holds may panic when it is dropped; the attempt has ended all the same.
    fn drop_it(&mut self) {
        let future = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(future)));
    }
}

fn ended(answer: Result<Value, RunError>) -> Ending {
    match answer {
        Ok(value) => Ending::completed(value),
        Err(error) => Ending::failed(error.into_message()),
    }
}
