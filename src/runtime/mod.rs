//! Handlers as tokio tasks: a thin shell that takes work from an engine and reports how it ended. Feature `tokio`.
//!
//! A host registers one handler per flow and starts a [`Runtime`]. One *driver* task sleeps until there may be work (the
//! engine rings) or something becomes due (the engine names the next deadline); it polls nothing. For each claim it
//! starts a *worker*, which, once its run has ended, takes the next run itself, without the driver; when there is none,
//! the worker ends.
//!
//! | what happens to a handler | what becomes of its run |
//! |---|---|
//! | returns `Ok(value)` | COMPLETED, with the value as result |
//! | returns `Err` | retried while retries are left, else FAILED |
//! | panics | CRASHED, with the panic's message; nothing else is touched |
//! | is over its timeout | dropped at its next await; retried while retries are left, else FAILED "TimedOut" |
//! | its run is cancelled | told through [`Context::cancelled`]; after the grace period dropped; CANCELLED |
//! | is there no handler for the flow | CRASHED "NoHandler" |
//! | the tokio runtime itself goes away | CRASHED; the handler was dropped where it waited |
//!
//! A handler that never awaits cannot be dropped: its run keeps its slots until it returns, so a limit stays true to what
//! really executes. Blocking work belongs into `tokio::task::spawn_blocking` or a process of its own.

mod context;
mod courier;
mod worker;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::task::JoinHandle;

pub use context::Context;

pub use crate::runner::{RunError, StopReport};

use crate::engine::{Delivery, Engine, Error, Hook, Lease, Scope, StopSignal, Submitted};
use crate::ids::FlowId;
use crate::model::{NewRun, Text};
use crate::runner::{Errand, as_result};
use courier::Courier;
use worker::Crew;

type HandlerFuture = Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send>>;
type Handler = Arc<dyn Fn(Context) -> HandlerFuture + Send + Sync>;

type OnceHandler = Box<dyn FnOnce(Context) -> HandlerFuture + Send>;

/// A closure that is called once, as a payload.
struct Once(parking_lot::Mutex<Option<OnceHandler>>);

/// The handlers of an engine, by flow.
#[derive(Default)]
pub(crate) struct Handlers {
    by_flow: RwLock<HashMap<Text, Handler>>,
    /// How often they have changed; a worker that remembers a handler asks no more than this.
    changes: AtomicU64,
}

impl Handlers {
    fn get(&self, flow: &str) -> Option<Handler> {
        self.by_flow.read().get(flow).cloned()
    }

    fn set(&self, flow: Text, handler: Handler) {
        let replaced = self.by_flow.write().insert(flow, handler);
        // handlers-changed: pairs with the `Acquire` in `changes`; who sees the count finds the handler.
        self.changes.fetch_add(1, Ordering::Release);
        // What it holds is the host's and may call the engine when it goes; the lock is gone by now.
        drop(replaced);
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_flow.read().keys()).finish()
    }
}

impl Engine {
    /// Registers the handler of a flow, and makes the flow known. A second handler for the same flow replaces the first
    /// for attempts that start from then on.
    ///
    /// The handler's value is kept as the run's result. Needs the feature `tokio`.
    ///
    /// ```
    /// use tenfold::{Engine, NewRun};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tenfold::Error> {
    /// let engine = Engine::new();
    /// engine.handler("double", |context| async move {
    ///     let n: i64 = context.parameter("n")?;
    ///     Ok(2 * n)
    /// })?;
    /// let runtime = engine.start()?;
    /// let run = engine.submit(NewRun::of("double").parameter("n", 21))?.id;
    /// runtime.idle().await;
    /// assert_eq!(engine.run(run)?.result, Some(42.into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the name cannot be that of a flow.
    pub fn handler<H, F, T>(&self, flow: impl Into<Text>, handler: H) -> Result<FlowId, Error>
    where
        H: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, RunError>> + Send + 'static,
        T: serde::Serialize,
    {
        let flow = flow.into();
        let id = self.flow(flow.clone())?;
        let handler: Handler = Arc::new(move |context| {
            let future = handler(context);
            Box::pin(async move { as_result(future.await) })
        });
        self.handlers().set(flow, handler);
        Ok(id)
    }

    /// Submits a future as a run: when its turn comes a tokio [`Runtime`] calls the closure, once, and executes what it returns. As
    /// [`submit_closure`](Self::submit_closure) otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tenfold::Error> {
    /// use tenfold::Engine;
    ///
    /// let engine = Engine::new();
    /// engine.flow("greet")?;
    /// let name = String::from("world");
    /// let run = engine.submit_future("greet", |_| async move { Ok(format!("hello, {name}")) })?.id;
    /// let runtime = engine.start()?;
    /// assert_eq!(engine.wait(run)?.await.result, Some("hello, world".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit_with`](Self::submit_with).
    pub fn submit_future<C, F, T>(&self, new: impl Into<NewRun>, closure: C) -> Result<Submitted, Error>
    where
        C: FnOnce(Context) -> F + Send + 'static,
        F: Future<Output = Result<T, RunError>> + Send + 'static,
        T: serde::Serialize,
    {
        let once: OnceHandler = Box::new(move |context| {
            let future = closure(context);
            Box::pin(async move { as_result(future.await) })
        });
        self.submit_once(new, Arc::new(Once(parking_lot::Mutex::new(Some(once)))))
    }

    /// Starts handlers for all pools, with the default settings. See [`Engine::runtime`].
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] outside a tokio runtime.
    pub fn start(&self) -> Result<Runtime, Error> {
        self.runtime().start()
    }

    /// Settings of a runtime for this engine. An engine may have several, each serving its own pools or queues.
    pub fn runtime(&self) -> RuntimeBuilder {
        RuntimeBuilder {
            engine: self.clone(),
            scope: Scope::all(),
            workers: 256,
            grace: Duration::from_secs(5),
            lease: None,
            couriers: Vec::new(),
        }
    }
}

/// Settings of a [`Runtime`].
#[derive(Debug)]
#[must_use]
pub struct RuntimeBuilder {
    engine: Engine,
    scope: Scope,
    workers: usize,
    grace: Duration,
    lease: Option<Lease>,
    couriers: Vec<Courier>,
}

impl RuntimeBuilder {
    /// Makes a completion [hook](Engine::hook), and has a task of its own await the handler for each of its deliveries, one after another
    /// in the order of completion, whoever executed the run. What answers `Err` or panics is tried again later, as the hook says. Draining
    /// tells of all that is ready before it is over; what waits for its next attempt stays in the engine, and goes with its export.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tenfold::Error> {
    /// use tenfold::Engine;
    /// use tenfold::engine::Hook;
    ///
    /// let engine = Engine::new();
    /// engine.handler("mail", |_| async { Ok("sent") })?;
    /// let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    /// let runtime = engine
    ///     .runtime()
    ///     .on_completed(Hook::named("bell"), move |delivery| {
    ///         let told = told.clone();
    ///         async move { Ok(told.send(delivery.run().map(|run| run.id))?) }
    ///     })?
    ///     .start()?;
    /// let run = engine.submit("mail")?.id;
    /// assert_eq!(tells.recv().await, Some(Some(run)));
    /// runtime.drain().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Engine::hook`].
    pub fn on_completed<H, F>(mut self, hook: Hook, handler: H) -> Result<Self, Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        self.couriers.push(Courier::new(hook.name(), handler));
        self.engine.hook(hook)?;
        Ok(self)
    }

    /// Where it takes work from. Default: every pool.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Most handlers of this runtime that execute at once, besides the limits of the engine. Default: 256.
    pub fn workers(mut self, most: usize) -> Self {
        self.workers = most;
        self
    }

    /// How long a cancelled handler may go on after it was told, before it is dropped. Default: 5 seconds.
    pub fn grace(mut self, span: Duration) -> Self {
        self.grace = span;
        self
    }

    /// Its handlers hold their runs under this lease, which [`Job::heartbeat`](crate::runner::Job::heartbeat) begins anew: one that shows no
    /// sign of life, such as one that never awaits, loses its run. Default: none.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Starts it on the tokio runtime that this is called in.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] outside a tokio runtime, or for no workers; [`Error::Invalid`] for a lease out of
    /// bounds; [`Error::NotFound`] when the scope names an unknown pool or queue.
    pub fn start(self) -> Result<Runtime, Error> {
        let setting = |setting, value: &str, rule| Error::Setting {
            setting,
            value: value.to_owned(),
            rule,
        };
        if self.workers == 0 {
            return Err(setting("workers", "0", "give 1 or more"));
        }
        let Ok(tokio) = tokio::runtime::Handle::try_current() else {
            return Err(setting(
                "start",
                "called here",
                "call it inside a tokio runtime that has time enabled",
            ));
        };
        let lease = self.lease.map(Lease::check).transpose()?;
        self.engine.check_scope(&self.scope)?;
        let crew = Arc::new(Crew {
            engine: self.engine,
            scope: self.scope,
            workers: self.workers,
            grace: self.grace,
            lease,
            no_more: StopSignal::default(),
            seats: parking_lot::Mutex::default(),
            given_up: AtomicBool::new(false),
            called_off: parking_lot::Mutex::default(),
        });
        let driver = tokio.spawn(worker::drive(crew.clone()));
        let couriers = self.couriers.into_iter().map(|courier| {
            let errand = Arc::<Errand>::default();
            let serve = courier.serve(crew.engine.clone(), errand.clone(), crew.grace);
            (errand, tokio.spawn(serve))
        });
        Ok(Runtime {
            couriers: couriers.collect(),
            crew,
            driver: Some(driver),
        })
    }
}

/// Handlers at work. Dropping it takes no more runs, and lets those that execute go on to their end.
#[derive(Debug)]
#[must_use = "dropping a runtime takes no more runs"]
pub struct Runtime {
    crew: Arc<Crew>,
    driver: Option<JoinHandle<()>>,
    /// Tasks that tell of completions.
    couriers: Vec<(Arc<Errand>, JoinHandle<()>)>,
}

impl Runtime {
    /// Waits until no run of the engine is due or executes. Others may be scheduled for later.
    pub async fn idle(&self) {
        let bell = self.crew.engine.listen();
        loop {
            // Rings between the look and the wait are remembered.
            let status = self.crew.engine.snapshot();
            if status.queued_tasks == 0 && status.processing_tasks == 0 {
                break;
            }
            std::future::poll_fn(|context| bell.poll(context)).await;
        }
    }

    /// Takes no more runs, and waits until those that execute have ended, and until [hooks](RuntimeBuilder::on_completed) were told of all
    /// that is ready.
    pub async fn drain(mut self) -> StopReport {
        self.crew.no_more.fire(crate::engine::StopReason::Shutdown);
        self.join().await;
        self.dismiss(Errand::leave_when_done).await;
        self.report()
    }

    /// Takes no more runs, waits at most `deadline` for those that execute, then calls the rest off: their handlers are
    /// told, get the grace period, are dropped; their runs are CANCELLED, unless they complete all the same.
    ///
    /// A handler that never awaits cannot be dropped: this waits for it however long it takes. A host that must not wait
    /// puts a timeout of its own around the call, and exits.
    ///
    /// Of completions nothing more is told after that: a handler of a hook that has not ended then gets the grace period.
    pub async fn stop(mut self, deadline: Duration) -> StopReport {
        self.crew.no_more.fire(crate::engine::StopReason::Shutdown);
        let driver = self.driver.as_mut().expect("only drain and stop take the driver");
        if tokio::time::timeout(deadline, driver).await.is_ok() {
            self.driver = None;
        } else {
            self.crew.give_up();
            self.join().await;
        }
        self.dismiss(Errand::leave_now).await;
        self.report()
    }

    /// Tells the couriers to leave, and waits until they have.
    async fn dismiss(&mut self, how: impl Fn(&Errand)) {
        self.couriers.iter().for_each(|(errand, _)| how(errand));
        for (_, courier) in self.couriers.drain(..) {
            if let Err(problem) = courier.await
                && problem.is_panic()
            {
                std::panic::resume_unwind(problem.into_panic());
            }
        }
    }

    async fn join(&mut self) {
        if let Some(driver) = self.driver.take()
            && let Err(problem) = driver.await
            && problem.is_panic()
        {
            std::panic::resume_unwind(problem.into_panic());
        }
    }

    fn report(&self) -> StopReport {
        StopReport::of(&self.crew.engine, self.crew.called_off.lock().clone())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.crew.no_more.fire(crate::engine::StopReason::Shutdown);
        self.couriers
            .iter()
            .for_each(|(errand, _)| errand.leave_when_done());
    }
}
