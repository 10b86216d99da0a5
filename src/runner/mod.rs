//! Handlers on plain threads, for hosts without an async runtime.
//!
//! A [`Runner`] owns as many threads as runs may execute at once, and one more. Of those that do not execute one *leads*: it sleeps until
//! the engine has news or something becomes due, makes that due, and takes the next run; then another leads. So there is always
//! somebody who sees to timeouts, and news wakes one thread, not all. A thread that has ended a run takes the next in the same
//! step. Nothing is polled.
//!
//! | what a handler does | what becomes of its run |
//! |---|---|
//! | returns `Ok(value)` | COMPLETED, with the value as result |
//! | returns `Err` | retried while retries are left, else FAILED |
//! | panics | CRASHED, with the panic's message; nothing else is touched |
//! | is over its timeout | told through [`Job::stop_reason`]; when it returns, retried while retries are left, else FAILED "TimedOut" |
//! | its run is cancelled | told likewise; CANCELLED when it returns |
//! | is there no handler for the flow | CRASHED "NoHandler" |
//!
//! A thread cannot be stopped from outside: a run keeps its slots until its handler returns, so a limit stays true to what really
//! executes. Under a [lease](RunnerBuilder::lease) a handler that shows no sign of life loses its run all the same.

mod courier;
mod ending;
mod job;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use self::courier::Courier;
#[cfg(feature = "tokio")]
pub(crate) use self::courier::Duty as TellDuty;
pub(crate) use self::courier::Errand;
pub(crate) use self::ending::{Closure, called, lost};
#[cfg(feature = "tokio")]
pub(crate) use self::ending::{crashed, ended, panic_message};
pub(crate) use self::job::as_result;
pub use self::job::{Job, RunError, Step};
use crate::engine::{
    AttemptSpan, Bell, Claim, Delivery, Ending, Engine, Error, Hook, Lease, Listener, Payload, Scope,
    StopReason, StopSignal, Submitted,
};
use crate::ids::RunId;
use crate::model::{NewRun, Text};

type Handler = Box<dyn Fn(&Job) -> Result<Value, RunError> + Send + Sync>;

/// Longer than anybody sleeps without looking.
const LONG: Duration = Duration::from_secs(86_400);

impl Engine {
    /// Settings of a runner on threads of its own for this engine. An engine may have several, each serving its own pools or
    /// queues, beside those on tokio.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::{Engine, NewRun};
    ///
    /// let engine = Engine::new();
    /// let runner = engine
    ///     .runner()
    ///     .handler("double", |job| Ok(2 * job.parameter::<i64>("n")?))?
    ///     .threads(2)
    ///     .start()?;
    /// let mut end = engine.wait(engine.submit(NewRun::of("double").parameter("n", 21))?.id)?;
    /// let run = end.for_at_most(Duration::from_secs(60))?.expect("it takes no time");
    /// assert_eq!(run.result, Some(42.into()));
    /// runner.drain();
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    pub fn runner(&self) -> RunnerBuilder {
        RunnerBuilder {
            engine: self.clone(),
            scope: Scope::all(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            grace: Duration::from_secs(5),
            lease: None,
            handlers: HashMap::new(),
            couriers: Vec::new(),
        }
    }

    /// Submits a closure as a run: when its turn comes a [`Runner`], or a tokio runtime on one of its blocking threads, calls it, once.
    /// The run names its flow for the sake of its record and limits; the flow needs no handler. There is no second attempt,
    /// whatever retries the deployment has. Like any payload a closure is not part of [`export`](Self::export): after an import the run
    /// ends CRASHED "`PayloadLost`" when its turn comes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::Engine;
    ///
    /// let engine = Engine::new();
    /// engine.flow("sum")?;
    /// let numbers = vec![1, 2, 3];
    /// let run = engine.submit_closure("sum", move |_| Ok(numbers.iter().sum::<i32>()))?.id;
    /// let runner = engine.runner().start()?;
    /// let run = engine.wait(run)?.for_at_most(Duration::from_secs(60))?.expect("it takes no time");
    /// assert_eq!(run.result, Some(6.into()));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit_with`](Self::submit_with).
    pub fn submit_closure<F, T>(&self, new: impl Into<NewRun>, closure: F) -> Result<Submitted, Error>
    where
        F: FnOnce(&Job) -> Result<T, RunError> + Send + 'static,
        T: serde::Serialize,
    {
        let closure = Closure::new(Box::new(move |job| as_result(closure(job))));
        self.submit_once(new, Arc::new(closure))
    }
}

/// Settings of a [`Runner`].
#[must_use]
pub struct RunnerBuilder {
    engine: Engine,
    scope: Scope,
    threads: usize,
    grace: Duration,
    lease: Option<Lease>,
    handlers: HashMap<Text, Handler>,
    couriers: Vec<Courier>,
}

impl std::fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerBuilder")
            .field("scope", &self.scope)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl RunnerBuilder {
    /// Has the runs of a flow executed by this, and makes the flow known. The value is kept as the run's result. The last one given for
    /// a flow counts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the name cannot be that of a flow.
    pub fn handler<H, T>(mut self, flow: impl Into<Text>, handler: H) -> Result<Self, Error>
    where
        H: Fn(&Job) -> Result<T, RunError> + Send + Sync + 'static,
        T: serde::Serialize,
    {
        let flow = flow.into();
        self.engine.flow(flow.clone())?;
        let handler: Handler = Box::new(move |job| as_result(handler(job)));
        self.handlers.insert(flow, handler);
        Ok(self)
    }

    /// Makes a completion [hook](Engine::hook), and has a thread of its own call the handler for each of its deliveries, one after another in
    /// the order of completion, whoever executed the run. What returns `Err` or panics is tried again later, as the hook says. Draining
    /// tells of all that is ready before it is over; what waits for its next attempt stays in the engine, and goes with its export.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use tenfold::Engine;
    /// use tenfold::engine::Hook;
    ///
    /// let engine = Engine::new();
    /// let (told, tells) = mpsc::channel();
    /// let runner = engine
    ///     .runner()
    ///     .handler("mail", |_| Ok("sent"))?
    ///     .on_completed(Hook::named("bell"), move |delivery| {
    ///         Ok(told.send(delivery.run().map(|run| run.id))?)
    ///     })?
    ///     .start()?;
    /// let run = engine.submit("mail")?.id;
    /// assert_eq!(tells.recv().unwrap(), Some(run));
    /// runner.drain();
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Engine::hook`].
    pub fn on_completed<H>(mut self, hook: Hook, handler: H) -> Result<Self, Error>
    where
        H: Fn(&Delivery) -> Result<(), RunError> + Send + Sync + 'static,
    {
        let name = Text::from(hook.name());
        self.engine.hook(hook)?;
        self.couriers.push(Courier {
            hook: name,
            handler: Box::new(handler),
        });
        Ok(self)
    }

    /// Where it takes work from. Default: every pool.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Most handlers that execute at once, 1 to 10,000, besides the limits of the engine. Default: as many as the machine has
    /// processors.
    pub fn threads(mut self, most: usize) -> Self {
        self.threads = most;
        self
    }

    /// How long [`Runner::stop`] waits for handlers that it has asked to stop. Default: 5 seconds.
    pub fn grace(mut self, span: Duration) -> Self {
        self.grace = span;
        self
    }

    /// Its handlers hold their runs under this lease, which [`Job::heartbeat`] begins anew. Default: none.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a number of threads out of bounds, or that the system does not give; [`Error::Invalid`] for a lease
    /// out of bounds; [`Error::NotFound`] when the scope names an unknown pool or queue.
    pub fn start(self) -> Result<Runner, Error> {
        let wrong = |value: String, rule| Error::Setting {
            setting: "threads",
            value,
            rule,
        };
        if !(1..=10_000).contains(&self.threads) {
            return Err(wrong(self.threads.to_string(), "give 1 to 10,000"));
        }
        let lease = self.lease.map(Lease::check).transpose()?;
        self.engine.check_scope(&self.scope)?;
        let bell = Arc::<Bell>::default();
        let crew = Arc::new(Crew {
            _listener: Listener::on(&self.engine, bell.clone()),
            engine: self.engine,
            scope: self.scope,
            handlers: self.handlers,
            lease,
            most: self.threads,
            bell,
            lead: Mutex::new(()),
            executing: AtomicUsize::new(0),
            no_more: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            seats: Mutex::default(),
            called_off: Mutex::default(),
            roll: Arc::default(),
        });
        let mut runner = Runner {
            crew,
            grace: self.grace,
            threads: Vec::new(),
            errands: Vec::new(),
            telling: Arc::default(),
        };
        // What was started ends with the runner.
        let failed = |problem: std::io::Error| wrong(problem.to_string(), "start fewer threads");
        for number in 0..=self.threads {
            let crew = runner.crew.clone();
            let serve = move || crew.serve();
            runner
                .start(&format!("tenfold-{number}"), &runner.crew.roll.clone(), serve)
                .map_err(failed)?;
        }
        for courier in self.couriers {
            let (engine, errand) = (runner.crew.engine.clone(), Arc::<Errand>::default());
            runner.errands.push(errand.clone());
            let name = format!("tenfold-{}", courier.hook);
            let serve = move || courier.serve(&engine, &errand);
            runner
                .start(&name, &runner.telling.clone(), serve)
                .map_err(failed)?;
        }
        Ok(runner)
    }
}

/// What the threads of a runner share.
struct Crew {
    engine: Engine,
    scope: Scope,
    handlers: HashMap<Text, Handler>,
    lease: Option<Lease>,
    most: usize,
    bell: Arc<Bell>,
    /// Keeps the engine ringing it.
    _listener: Listener,
    /// Held by the thread that waits for work and for time.
    lead: Mutex<()>,
    /// How many threads execute. Raised by the one that leads.
    executing: AtomicUsize,
    no_more: AtomicBool,
    given_up: AtomicBool,
    /// What executes, by fencing token.
    seats: Mutex<HashMap<u64, (RunId, Arc<StopSignal>)>>,
    called_off: Mutex<Vec<RunId>>,
    roll: Arc<Roll>,
}

/// How many threads have not ended.
#[derive(Default)]
struct Roll {
    present: Mutex<usize>,
    gone: Condvar,
}

impl Roll {
    /// Waits until all threads have ended, at most so long; whether they have.
    fn all_gone(&self, within: Duration) -> bool {
        let mut present = self.present.lock();
        let waited = (self.gone).wait_while_for(&mut present, |present| *present > 0, within);
        !waited.timed_out()
    }
}

/// A thread that has not ended.
struct Present(Arc<Roll>);

impl Present {
    fn new(roll: &Arc<Roll>) -> Self {
        *roll.present.lock() += 1;
        Self(roll.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        *self.0.present.lock() -= 1;
        self.0.gone.notify_all();
    }
}

impl Crew {
    fn serve(&self) {
        while let Some(mut claim) = self.lead() {
            loop {
                let ending = self.execute(Arc::new(claim));
                let (claim_ended, ending) = ending;
                let scope = (!self.no_more.load(Ordering::Acquire)).then_some(&self.scope);
                // A poisoned engine takes no report and hands out nothing.
                let next = self.engine.end_and_claim(&claim_ended, ending, scope, self.lease);
                match next.unwrap_or_default() {
                    Some(next) => claim = next,
                    None => break,
                }
            }
            self.executing.fetch_sub(1, Ordering::AcqRel);
            // Who leads may take one run more, or go home.
            self.bell.ring();
        }
    }

    /// Waits for a run to execute; none when there is no more to do.
    fn lead(&self) -> Option<Claim> {
        let _lead = self.lead.lock();
        loop {
            let executing = self.executing.load(Ordering::Acquire);
            let stopping = self.no_more.load(Ordering::Acquire);
            if stopping && executing == 0 {
                return None;
            }
            let next = if stopping || executing == self.most {
                self.engine.advance()
            } else {
                match self.engine.claim_to_execute(&self.scope, self.lease) {
                    Ok(found) => {
                        if let Some(claim) = found.claim {
                            self.executing.fetch_add(1, Ordering::AcqRel);
                            return Some(claim);
                        }
                        Ok(found.next)
                    }
                    Err(error) => Err(error),
                }
            };
            match next {
                Ok(next) => drop(self.bell.wait(next.unwrap_or(LONG).min(LONG))),
                // A poisoned engine hands out nothing; what executes may still end.
                Err(_) if stopping => drop(self.bell.wait(LONG)),
                Err(_) => self.no_more.store(true, Ordering::Release),
            }
        }
    }

    /// Executes one attempt to its end, whatever the handler does.
    fn execute(&self, claim: Arc<Claim>) -> (Arc<Claim>, Ending) {
        let token = claim.token();
        // runner-given-up: looked at after the seat is taken, and set before the seats are looked at; the lock of the seats makes sure
        // that one of the two sees the other.
        (self.seats.lock()).insert(token, (claim.run(), claim.signal.clone()));
        if self.given_up.load(Ordering::Acquire) {
            claim.signal.fire(StopReason::Shutdown);
        }
        let job = Job {
            claim,
            engine: self.engine.clone(),
        };
        let span = AttemptSpan::of(&job.claim);
        let ending = match &job.claim.payload {
            Some(carried @ (Payload::Closure(_) | Payload::Lost(crate::engine::Kind::Closure))) => {
                match closure_of(carried) {
                    Some(closure) => span.in_scope(|| called(|| closure(&job))),
                    None => lost(carried),
                }
            }
            _ => match self.handlers.get(job.claim.flow()) {
                Some(handler) => span.in_scope(|| called(|| handler(&job))),
                None => Ending::no_handler(job.claim.flow()),
            },
        };
        self.seats.lock().remove(&token);
        let stopped = job.claim.stop_reason() == Some(StopReason::Shutdown);
        if stopped && !ending.is_completed() {
            self.called_off.lock().push(job.run());
            return (job.claim, Ending::shut_down());
        }
        (job.claim, ending)
    }

    fn take_no_more(&self) {
        self.no_more.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        let seats: Vec<Arc<StopSignal>> = (self.seats.lock().values())
            .map(|(_, signal)| signal.clone())
            .collect();
        for signal in seats {
            signal.fire(StopReason::Shutdown);
        }
    }
}

/// The closure that a payload is, if it can be called on a thread, and the first time.
pub(crate) fn closure_of(payload: &Payload) -> Option<ending::Blocking> {
    match payload {
        Payload::Closure(closure) => closure.downcast_ref::<Closure>()?.take(),
        _ => None,
    }
}

/// Threads that execute runs. Dropping it takes no more runs, and lets those that execute go on to their end.
#[must_use = "dropping a runner takes no more runs"]
pub struct Runner {
    crew: Arc<Crew>,
    grace: Duration,
    threads: Vec<JoinHandle<()>>,
    /// Of the threads that tell of completions.
    errands: Vec<Arc<Errand>>,
    telling: Arc<Roll>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("threads", &self.crew.most)
            .field("executing", &self.crew.executing)
            .finish_non_exhaustive()
    }
}

/// What a runner or a runtime left behind when it stopped.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StopReport {
    /// Runs that were executing at the deadline and were called off.
    pub cancelled: Vec<RunId>,
    /// Runs whose handlers were told to stop and have not, in time; they keep their slots until they end.
    pub executing: Vec<RunId>,
    /// Runs that are due and wait, in the whole engine.
    pub waiting: usize,
    /// Runs that are not due yet, in the whole engine.
    pub scheduled: usize,
    /// Deliveries to completion hooks that are not done with, in the whole engine: an [`export`](crate::Engine::export) has them.
    pub undelivered: usize,
}

impl StopReport {
    pub(crate) fn of(engine: &Engine, mut cancelled: Vec<RunId>) -> Self {
        let status = engine.snapshot();
        cancelled.sort_unstable();
        Self {
            cancelled,
            executing: Vec::new(),
            waiting: status.queued_tasks,
            scheduled: status.scheduled,
            undelivered: engine.pending_deliveries(),
        }
    }
}

#[expect(
    clippy::must_use_candidate,
    reason = "they are called for what they do; the report is for who wants it"
)]
impl Runner {
    /// Takes no more runs, and waits until those that execute have ended, however long they take, and until
    /// [hooks](RunnerBuilder::on_completed) were told of all that is ready.
    pub fn drain(mut self) -> StopReport {
        self.crew.take_no_more();
        while !self.crew.roll.all_gone(LONG) {}
        self.errands.iter().for_each(|errand| errand.leave_when_done());
        while !self.telling.all_gone(LONG) {}
        self.join();
        self.report()
    }

    /// Takes no more runs, waits at most `deadline` for those that execute, then asks the rest to stop and waits for the grace
    /// period. Their runs are CANCELLED when they end, unless they complete all the same. Handlers that have not ended by then are left
    /// to themselves: they are listed, and their runs end when they do. Of completions nothing more is told but what is being told.
    pub fn stop(mut self, deadline: Duration) -> StopReport {
        self.crew.take_no_more();
        let in_time = self.crew.roll.all_gone(deadline);
        self.errands.iter().for_each(|errand| errand.leave_now());
        if !in_time {
            self.crew.give_up();
            if !self.crew.roll.all_gone(self.grace) {
                let mut left: Vec<RunId> = self.crew.seats.lock().values().map(|seat| seat.0).collect();
                left.sort_unstable();
                return StopReport {
                    executing: left,
                    ..self.report()
                };
            }
        }
        if !self.telling.all_gone(self.grace) {
            // A handler of a hook that does not return is left to itself; its delivery is listed as not done with.
            return self.report();
        }
        self.join();
        self.report()
    }

    /// Handlers' panics are caught where they happen; any other is a bug of this crate and is not hidden.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn report(&self) -> StopReport {
        StopReport::of(&self.crew.engine, self.crew.called_off.lock().clone())
    }
}

impl Runner {
    fn start(
        &mut self,
        name: &str,
        roll: &Arc<Roll>,
        serve: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let present = Present::new(roll);
        let thread = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(move || {
            let _present = present;
            serve();
        })?);
        Ok(())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.crew.take_no_more();
        self.errands.iter().for_each(|errand| errand.leave_when_done());
    }
}
