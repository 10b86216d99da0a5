//! The driver, which starts workers, and the workers, which execute one run after another.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Context, Handler, HandlerFuture, Once};
use crate::engine::{
    AttemptSpan, Claim, Ending, Engine, Kind, Lease, Payload, Scope, StopReason, StopSignal, drop_quietly,
};
use crate::ids::RunId;
use crate::model::Text;
use crate::runner::{Job, closure_of, crashed, ended, lost};

/// What the driver and the workers of one runtime share.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) engine: Engine,
    pub(super) scope: Scope,
    pub(super) workers: usize,
    pub(super) grace: Duration,
    pub(super) lease: Option<Lease>,
    /// Take no more runs.
    pub(super) no_more: StopSignal,
    /// The workers there are, by the token of the first run of each.
    pub(super) seats: Mutex<HashMap<u64, Arc<Seat>>>,
    /// Everything that executes was asked to stop.
    pub(super) given_up: AtomicBool,
    pub(super) called_off: Mutex<Vec<RunId>>,
}

impl Crew {
    /// Ends an attempt whose worker is gone.
    fn abandon(&self, claim: &Claim) {
        // A poisoned engine takes no report.
        let _ = self.engine.end_and_claim(claim, Ending::abandoned(), None, None);
    }

    /// Asks everything that executes to stop.
    pub(super) fn give_up(&self) {
        // crew-given-up: set before the seats are looked at, and looked at by a worker after it has taken its seat with a
        // run; the seat's lock between the two makes sure that one of them sees the other.
        self.given_up.store(true, Ordering::Release);
        let seats: Vec<Arc<Seat>> = self.seats.lock().values().cloned().collect();
        for seat in seats {
            let signal = seat.0.lock().clone();
            if let Some(signal) = signal {
                signal.fire(StopReason::Shutdown);
            }
        }
    }
}

/// Where a worker can be told to stop: the signal of the run that it executes, or executed last. A lock of its own for
/// each worker, so that workers do not meet at one for every run.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Option<Arc<StopSignal>>>);

impl Seat {
    fn take(&self, crew: &Crew, claim: &Claim) {
        *self.0.lock() = Some(claim.signal.clone());
        if crew.given_up.load(Ordering::Acquire) {
            claim.signal.fire(StopReason::Shutdown);
        }
    }
}

/// The handler that a worker used last; the next run is likely to want it again.
#[derive(Default)]
struct Habit {
    changes: u64,
    last: Option<(Text, Handler)>,
}

impl Habit {
    fn handler(&mut self, crew: &Crew, flow: &Text) -> Option<&Handler> {
        let handlers = crew.engine.handlers();
        // Before the handlers are looked at: a change in between is seen the next time.
        let changes = handlers.changes();
        let same = self.changes == changes && self.last.as_ref().is_some_and(|(last, _)| last == flow);
        if !same {
            self.changes = changes;
            let next = handlers.get(flow).map(|handler| (flow.clone(), handler));
            // It may be the last to hold a handler that was replaced.
            drop_quietly(std::mem::replace(&mut self.last, next));
        }
        self.last.as_ref().map(|(_, handler)| handler)
    }
}

/// Waits until this attempt should stop, for whatever reason.
pub(super) fn stop_of(claim: &Claim) -> impl Future<Output = StopReason> {
    poll_fn(move |context| claim.signal.poll(context))
}

impl Drop for Habit {
    fn drop(&mut self) {
        drop_quietly(self.last.take());
    }
}

/// Starts a worker for each run that may start, and sleeps until there is news or something becomes due: a run, a retry,
/// the end of somebody's time. It goes on with that until the last worker has ended, also when no more runs are taken.
pub(super) async fn drive(crew: Arc<Crew>) {
    let bell = crew.engine.listen();
    let mut workers = JoinSet::new();
    loop {
        while let Some(ended) = workers.try_join_next() {
            reraise(ended);
        }
        // The next deadline, if a claim told it; who does not claim has to ask.
        let mut seen = None;
        while crew.no_more.reason().is_none() && workers.len() < crew.workers {
            match crew.engine.claim_to_execute(&crew.scope, crew.lease) {
                Ok(found) => {
                    if let Some(claim) = found.claim {
                        workers.spawn(work(Handed(crew.clone(), Some(claim))));
                    }
                    if !found.more {
                        seen = Some(found.next);
                        break;
                    }
                }
                // A poisoned engine hands out nothing; what executes may still end.
                Err(_) => crew.no_more.fire(StopReason::Shutdown),
            }
        }
        let stopping = crew.no_more.reason().is_some();
        if stopping && workers.is_empty() {
            break;
        }
        let wake = seen.unwrap_or_else(|| crew.engine.advance().unwrap_or(None));
        tokio::select! {
            () = poll_fn(|context| bell.poll(context)) => {}
            () = sleep(wake) => {}
            _ = poll_fn(|context| crew.no_more.poll(context)), if !stopping => {}
            Some(ended) = workers.join_next() => reraise(ended),
        }
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

/// A run on its way to a worker. Should the worker never have a turn, the run is reported all the same.
struct Handed(Arc<Crew>, Option<Claim>);

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(claim) = &self.1 {
            self.0.abandon(claim);
        }
    }
}

/// Executes a run, then the next, until there is none.
async fn work(mut first: Handed) {
    let crew = first.0.clone();
    let mut claim = Arc::new(first.1.take().expect("a worker is handed a run"));
    let (name, seat) = (claim.token, Arc::new(Seat::default()));
    crew.seats.lock().insert(name, seat.clone());
    let mut habit = Habit::default();
    loop {
        let duty = Duty {
            crew: &crew,
            claim: &claim,
            seat: name,
        };
        seat.take(&crew, &claim);
        // Handlers that never wait would otherwise keep this thread from all other tasks.
        tokio::task::consume_budget().await;
        let ending = attempt(&crew, &claim, &mut habit).await;
        duty.done();
        let go_on = crew.no_more.reason().is_none();
        // A poisoned engine takes no report and hands out nothing.
        let next = (crew
            .engine
            .end_and_claim(&claim, ending, go_on.then_some(&crew.scope), crew.lease))
        .unwrap_or_default();
        let Some(next) = next else { break };
        // A handler that kept nothing of its context leaves the allocation to the next run.
        match Arc::get_mut(&mut claim) {
            Some(claim) => *claim = next,
            None => claim = Arc::new(next),
        }
    }
    crew.seats.lock().remove(&name);
}

/// The end of an attempt is reported whatever happens, also when this task is dropped where it waits.
struct Duty<'a> {
    crew: &'a Crew,
    claim: &'a Claim,
    seat: u64,
}

impl Duty<'_> {
    /// The attempt has ended; the worker reports how.
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        self.crew.seats.lock().remove(&self.seat);
        self.crew.abandon(self.claim);
    }
}

/// Executes one attempt to its end, whatever the handler does.
async fn attempt(crew: &Arc<Crew>, claim: &Arc<Claim>, habit: &mut Habit) -> Ending {
    let context = Context {
        job: Job {
            claim: claim.clone(),
            engine: crew.engine.clone(),
        },
    };
    let span = AttemptSpan::of(claim);
    let carried = claim.payload.as_ref();
    let carried = carried.filter(|carried| carried.kind() == Kind::Closure);
    let (called, blocks) = if let Some(carried) = carried {
        let Some((called, blocks)) = span.in_scope(|| call_once(carried, context)) else {
            return lost(carried);
        };
        (called, blocks)
    } else {
        let Some(handler) = habit.handler(crew, &claim.flow) else {
            return Ending::no_handler(claim.flow());
        };
        (
            span.in_scope(|| catch_unwind(AssertUnwindSafe(|| handler(context)))),
            false,
        )
    };
    let future = match called {
        Ok(future) => future,
        Err(panic) => return crashed(panic),
    };
    let mut handling = Guarded(Some(future), span);
    let reason = tokio::select! {
        biased;
        // A handler that listens for the request itself may end before this task has looked at it.
        ending = handling.by_ref() => return if claim.stop_reason() == Some(StopReason::Shutdown) {
            call_off(crew, claim, ending)
        } else {
            ending
        },
        reason = stop_of(claim) => reason,
    };
    if blocks {
        // A thread cannot be stopped from outside; its run keeps its slots until it returns.
        let ending = handling.by_ref().await;
        return if reason == StopReason::Shutdown {
            call_off(crew, claim, ending)
        } else {
            ending
        };
    }
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
        // Of the last nothing is taken any more, whatever it says.
        StopReason::Cancelled | StopReason::Superseded => Ending::cancelled(),
    }
}

/// What a handler's call gives: its future, or its panic.
type Called = std::thread::Result<HandlerFuture>;

/// Calls the closure that a run carries, and says whether it blocks a thread; none when it was called before.
fn call_once(carried: &Payload, context: Context) -> Option<(Called, bool)> {
    let Payload::Closure(closure) = carried else {
        return None;
    };
    if let Some(once) = closure.downcast_ref::<Once>() {
        let once = once.0.lock().take()?;
        return Some((catch_unwind(AssertUnwindSafe(|| once(context))), false));
    }
    let closure = closure_of(carried)?;
    let thread = tokio::task::spawn_blocking(move || closure(&context));
    let future: HandlerFuture = Box::pin(async move {
        match thread.await {
            Ok(answer) => answer,
            Err(problem) if problem.is_panic() => std::panic::resume_unwind(problem.into_panic()),
            // The tokio runtime goes away, and this with it.
            Err(_) => std::future::pending().await,
        }
    });
    Some((Ok(future), true))
}

/// An attempt that was told to stop at shutdown: one that completed all the same is completed.
fn call_off(crew: &Crew, claim: &Claim, ending: Ending) -> Ending {
    if ending.is_completed() {
        return ending;
    }
    crew.called_off.lock().push(claim.run());
    Ending::shut_down()
}

/// A handler whose panics end the attempt and go no further.
struct Guarded(Option<HandlerFuture>, AttemptSpan);

impl Guarded {
    fn by_ref(&mut self) -> impl Future<Output = Ending> + '_ {
        poll_fn(move |context| {
            let future = self.0.as_mut().expect("an attempt is not polled after its end");
            let polled =
                (self.1).in_scope(|| catch_unwind(AssertUnwindSafe(|| Pin::as_mut(future).poll(context))));
            let ending = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(answer)) => ended(answer),
                Err(panic) => crashed(panic),
            };
            self.drop_it();
            Poll::Ready(ending)
        })
    }

    /// What the handler holds may panic when it is dropped; the attempt has ended all the same.
    fn drop_it(&mut self) {
        drop_quietly(self.0.take());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.drop_it();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::model::StateType;

    fn state(engine: &Engine, run: RunId) -> Option<StateType> {
        engine.run(run).expect("it was just submitted").state_type
    }

    #[tokio::test]
    async fn l2_stopping_calls_off_what_executes_and_frees_its_slots() {
        let engine = Engine::builder().limit(2).build().unwrap();
        engine
            .handler("endless", |_| async {
                std::future::pending::<()>().await;
                Ok(())
            })
            .unwrap();
        let runtime = engine.runtime().grace(Duration::ZERO).start().unwrap();
        let runs: Vec<RunId> = (0..3).map(|_| engine.submit("endless").unwrap().id).collect();
        while engine.snapshot().processing_tasks < 2 {
            tokio::task::yield_now().await;
        }
        let report = runtime.stop(Duration::ZERO).await;
        assert_eq!(report.cancelled, runs[..2]);
        assert_eq!(report.waiting, 1);
        assert_eq!(state(&engine, runs[0]), Some(StateType::Cancelled));
        assert_eq!(engine.snapshot().processing_tasks, 0);
    }

    #[tokio::test]
    async fn r6_a_panic_ends_its_run_and_the_worker_takes_the_next() {
        let engine = Engine::builder().limit(1).build().unwrap();
        let bad = |context: Context| async move {
            assert!(!context.parameter::<bool>("bad")?, "as asked");
            Ok(context.attempt())
        };
        engine.handler("work", bad).unwrap();
        let submit = |bad: bool| {
            let new = crate::NewRun::of("work").parameter("bad", bad);
            engine.submit(new).unwrap().id
        };
        let (first, second) = (submit(true), submit(false));
        let runtime = engine.start().unwrap();
        runtime.idle().await;
        assert_eq!(state(&engine, first), Some(StateType::Crashed));
        assert_eq!(state(&engine, second), Some(StateType::Completed));
        assert_eq!(runtime.drain().await.cancelled, []);
    }

    #[tokio::test]
    async fn a_worker_that_goes_on_uses_the_handler_there_is_now() {
        let engine = Engine::builder().limit(1).build().unwrap();
        engine
            .handler("work", |context| async move {
                let engine = context.engine();
                engine.handler("work", |_| async { Ok("second") })?;
                Ok("first")
            })
            .unwrap();
        let runs = [
            engine.submit("work").unwrap().id,
            engine.submit("work").unwrap().id,
        ];
        let runtime = engine.start().unwrap();
        runtime.idle().await;
        let results = runs.map(|run| engine.run(run).unwrap().result);
        assert_eq!(results, [Some("first".into()), Some("second".into())]);
    }

    #[tokio::test]
    async fn idle_hears_that_the_last_waiting_run_was_called_off() {
        let engine = Engine::new();
        engine.create_pool(crate::NewPool::named("closed")).unwrap();
        engine.pause_pool("closed").unwrap();
        engine.handler("work", |_| async { Ok(()) }).unwrap();
        let new = crate::NewRun::of("work").work_queue("closed", "default");
        let run = engine.submit(new).unwrap().id;
        let runtime = engine.start().unwrap();
        let idle = runtime.idle();
        let cancel = async {
            tokio::task::yield_now().await;
            engine.cancel(run).unwrap();
        };
        tokio::join!(idle, cancel);
        assert_eq!(engine.snapshot().queued_tasks, 0);
    }
}
