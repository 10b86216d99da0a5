//! The whole: one handle over deployments, schedules, the ready order, limits and run states.
//!
//! Every call takes the time once, then the engine's one lock, makes due what is due, does its one thing, and lets go;
//! what is to be woken is woken after that. So every change has one place in one total order, its *version*, and what a
//! call answers was true at one instant. The lock is held for the work of a call alone: a query takes a view under it
//! and reads at leisure.

mod active;
mod advance;
mod asked;
mod builder;
mod bulk;
#[cfg(test)]
mod bulk_tests;
mod chosen;
mod claim;
mod collision;
mod core;
mod deploy;
mod edit;
mod error;
mod events;
mod explain;
mod export;
mod finish;
mod finished;
pub mod graph;
mod handover;
mod hooks;
mod ids;
mod import;
mod kept;
mod keys;
mod lease;
#[cfg(test)]
mod limit_tests;
mod limits;
mod load;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(test)]
mod model_tests;
mod named;
mod occurrence;
mod offer;
mod pause;
mod payload;
mod places;
mod plan;
#[cfg(test)]
mod plan_tests;
mod pools;
mod query;
mod read;
mod ready;
mod remove;
mod room;
mod schedules;
mod schema;
mod signal;
mod state_id;
mod states;
mod status;
mod steps;
mod stops;
mod submit;
mod tally;
mod timers;
mod trace;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};

pub use self::asked::{Ahead, Upcoming};
pub use self::builder::EngineBuilder;
pub use self::bulk::{
    Bulk, Change, Changes, DeploymentChange, MAX_ATOMIC, PoolChange, QueueChange, RunChange, Skipped,
};
pub use self::claim::{Claim, Scope};
pub use self::core::Totals;
pub use self::error::{Empty, Error};
pub use self::events::{
    Event, Events, Follow, Happened, MAX_STREAM_EVENTS, MAX_STREAMS, Missed, Replica, Row, StateChange,
};
pub use self::explain::{
    EXPLAINED_AHEAD, EXPLAINED_HOLDERS, Explanation, Holding, LimitExplanation, Waiting, Why,
};
pub use self::export::Document;
pub use self::finish::{Ended, Outcome};
pub(crate) use self::hooks::Awaits;
pub use self::hooks::{
    Completion, Delivery, Fate, Gap, GivenUp, Hook, HookStatus, HookTotals, MAX_GIVEN_UP, MAX_HOOKS,
};
pub use self::import::Claims;
pub use self::lease::Lease;
pub use self::limits::LimitPatch;
pub use self::load::Loaded;
pub use self::named::{NamedLimit, SlotHolder};
pub use self::query::{Ids, Page};
pub use self::room::{RoomWait, SubmitWait};
pub use self::signal::StopReason;
pub use self::states::Answer;
pub use self::status::{Breakdown, Concurrency, QueueStatus};
pub use self::stops::Stop;
pub use self::submit::{MAX_BATCH, Submitted};
pub use self::wait::Wait;
pub use crate::model::{CatchUp, Overlap};

use self::claim::Terms;
use self::core::{Core, Effects, Instant};
pub(crate) use self::finish::Ending;
pub(crate) use self::payload::{Kind, Payload, drop_quietly, quietly};
pub(crate) use self::signal::Bell;
pub(crate) use self::signal::StopSignal;
use self::tally::Tally;
pub(crate) use self::trace::AttemptSpan;
use crate::clock::Clock;
use crate::ids::{DeploymentId, FlowId, PoolId, QueueId, RunId};
use crate::model::{
    Deployment, DeploymentPatch, NewDeployment, NewPool, NewQueue, NewRun, QueueOrder, Run, StateType, Text,
};
use crate::priority::Priority;

/// A scheduling engine. Cheap to clone; clones are the same engine. Every method may be called from any thread.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    core: Mutex<Core>,
    /// The status report of the last change, written under the lock and read without it.
    tally: Tally<{ status::WORDS }>,
    clock: Arc<dyn Clock>,
    /// What makes queries quick; no state of the engine.
    indexes: query::Indexes,
    #[cfg(feature = "tokio")]
    handlers: crate::runtime::Handlers,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("status", &self.snapshot())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with the default settings.
    ///
    /// # Panics
    ///
    /// Never: the defaults fit together.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults fit together")
    }

    /// Settings for a new engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    pub(crate) fn of(core: Core, clock: Arc<dyn Clock>) -> Self {
        let tally = Tally::new();
        core.publish(&tally);
        Self {
            shared: Arc::new(Shared {
                tally,
                core: Mutex::new(core),
                clock,
                indexes: query::Indexes::default(),
                #[cfg(feature = "tokio")]
                handlers: crate::runtime::Handlers::default(),
            }),
        }
    }

    /// Runs one call: the time, the lock, what is due, the call itself; then, without the lock, what is to be woken.
    fn call<T>(&self, call: impl FnOnce(&mut Core) -> Result<T, Error>) -> Result<T, Error> {
        let (answer, effects) = self.call_inside(call)?;
        if let Some(effects) = effects {
            carry_out(effects);
        }
        answer
    }

    /// As [`call`](Self::call), for one who holds another lock: what is to be woken is added to `effects`, to be carried out when that
    /// lock is gone too.
    fn call_quietly<T>(
        &self,
        effects: &mut Effects,
        call: impl FnOnce(&mut Core) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (answer, more) = self.call_inside(call)?;
        if let Some(more) = more {
            effects.bells.extend(more.bells);
            effects.stops.extend(more.stops);
            effects.ended.extend(more.ended);
            effects.spent.extend(more.spent);
            effects.traces.append(more.traces);
        }
        answer
    }

    fn call_inside<T>(
        &self,
        call: impl FnOnce(&mut Core) -> Result<T, Error>,
    ) -> Result<(Result<T, Error>, Option<Effects>), Error> {
        // Counted out before the lock is taken.
        let (wall, mono) = self.shared.clock.micros();
        let now = Instant { wall, mono };
        let mut core = self.lock()?;
        core.busy = true;
        let before = core.version;
        let seen = core.observe(now);
        core.make_due(seen);
        let answer = call(&mut core);
        core.commit();
        core.busy = false;
        if core.version != before {
            core.publish(&self.shared.tally);
        }
        Ok((answer, core.take_effects()))
    }

    fn lock(&self) -> Result<MutexGuard<'_, Core>, Error> {
        let core = self.shared.core.lock();
        // A call that panicked never came to clear it.
        if core.busy { Err(Error::Poisoned) } else { Ok(core) }
    }

    /// Rings from now on when there may be work, or an earlier deadline.
    pub(crate) fn listen(&self) -> Listener {
        Listener::on(self, Arc::default())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn handlers(&self) -> &crate::runtime::Handlers {
        &self.shared.handlers
    }

    /// Makes due what is due, and answers how long until something else becomes due; none when nothing will.
    ///
    /// Calling it is never needed for the order of runs, since every other call makes due what is due first. A host that
    /// sleeps between calls sleeps no longer than this. When the wall clock has gone back, the answer holds the time in which
    /// it catches up, too; a clock that is moved by the answer always comes to the next thing.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn advance(&self) -> Result<Option<Duration>, Error> {
        self.call(|core| Ok(core.next_deadline()))
    }

    /// Engine time: the wall clock as the engine last saw it, never going back.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn now(&self) -> Result<DateTime<Utc>, Error> {
        self.call(|core| Ok(crate::catalog::instant(core.wall)))
    }

    /// Makes a flow known, so that runs of it can be submitted without a deployment. Again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is empty, long, or holds one of `/ % & > <`.
    pub fn flow(&self, name: impl Into<Text>) -> Result<FlowId, Error> {
        let name = name.into();
        self.call(|core| {
            let row = core.flow(&name)?;
            Ok(core.catalog.flows.get(row).expect("just found or made").data.id)
        })
    }

    /// Makes a deployment, and its flow when that is not there. Its schedules are planned at once.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] when the flow has a deployment of that name; [`Error::NotFound`] for an unknown pool or
    /// queue; [`Error::Invalid`] and [`Error::Schedule`] for values that break their rules; [`Error::Full`];
    /// [`Error::Stopped`].
    pub fn deploy(&self, new: NewDeployment) -> Result<Deployment, Error> {
        self.vouching(new, Core::asks_of_new, |core, new, _| core.deploy(new))
    }

    /// A deployment, by id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn deployment(&self, id: DeploymentId) -> Result<Deployment, Error> {
        self.call(|core| {
            let row = core.deployment_row(id)?;
            Ok(core.deployment_form(row))
        })
    }

    /// A deployment, by the names of its flow and its own: `flow/deployment`. Exact, case-sensitive.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn deployment_by_name(&self, name: &str) -> Result<Deployment, Error> {
        self.call(|core| core.deployment_by_name(name))
    }

    /// Changes a deployment. Its future scheduled runs are planned again under the new values; runs that are due, and
    /// runs that were submitted, stay as they are.
    ///
    /// # Errors
    ///
    /// As [`deploy`](Self::deploy); nothing is changed then.
    pub fn update_deployment(&self, id: DeploymentId, patch: DeploymentPatch) -> Result<u64, Error> {
        self.vouching(
            patch,
            |core, patch, vouched| core.asks_of_patch(id, patch, vouched),
            |core, patch, _| core.update_deployment(id, patch).map(|()| core.version),
        )
    }

    /// Stops planning the schedules of a deployment and takes back its schedule-made runs that are not claimed, late
    /// ones too. Other runs go on. Again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn pause_deployment(&self, id: DeploymentId) -> Result<u64, Error> {
        self.call(|core| core.set_deployment_paused(id, true).map(|()| core.version))
    }

    /// Plans the schedules of a deployment again, from now. Again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn resume_deployment(&self, id: DeploymentId) -> Result<u64, Error> {
        self.call(|core| core.set_deployment_paused(id, false).map(|()| core.version))
    }

    /// Deletes a deployment. Its waiting runs are cancelled, claimed ones end normally, records of ended ones stay.
    /// Linear in its unfinished runs and in the records of finished ones.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn delete_deployment(&self, id: DeploymentId) -> Result<u64, Error> {
        self.call(|core| core.delete_deployment(id).map(|()| core.version))
    }

    /// Makes a work pool, with a queue named `default` in it.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`], [`Error::Invalid`], [`Error::Full`].
    pub fn create_pool(&self, new: NewPool) -> Result<PoolId, Error> {
        self.call(|core| core.create_pool(new))
    }

    /// Makes a work queue. When its priority is taken, the queues from there on move down by the least.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the pool, [`Error::Duplicate`], [`Error::Invalid`], [`Error::Full`].
    pub fn create_queue(&self, new: NewQueue) -> Result<QueueId, Error> {
        self.call(|core| core.create_queue(new))
    }

    /// Nothing is claimed from a paused pool. Its waiting runs keep their places and count as blocked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn pause_pool(&self, pool: &str) -> Result<u64, Error> {
        self.call(|core| core.set_pool_paused(pool, true).map(|()| core.version))
    }

    /// Ends the pause of a pool.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn resume_pool(&self, pool: &str) -> Result<u64, Error> {
        self.call(|core| core.set_pool_paused(pool, false).map(|()| core.version))
    }

    /// Nothing is claimed from a paused queue. Its waiting runs keep their places and count as blocked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn pause_queue(&self, pool: &str, queue: &str) -> Result<u64, Error> {
        self.call(|core| core.set_queue_paused(pool, queue, true).map(|()| core.version))
    }

    /// Ends the pause of a queue.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn resume_queue(&self, pool: &str, queue: &str) -> Result<u64, Error> {
        self.call(|core| core.set_queue_paused(pool, queue, false).map(|()| core.version))
    }

    /// Most runs of a pool that are claimed at once; none is unlimited, 0 closes it. Lowering it ends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn set_pool_limit(&self, pool: &str, limit: Option<u32>) -> Result<u64, Error> {
        self.call(|core| core.set_pool_limit(pool, limit).map(|()| core.version))
    }

    /// Most runs of a queue that are claimed at once; none is unlimited, 0 closes it. Lowering it ends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn set_queue_limit(&self, pool: &str, queue: &str, limit: Option<u32>) -> Result<u64, Error> {
        self.call(|core| core.set_queue_limit(pool, queue, limit).map(|()| core.version))
    }

    /// What happens in a queue when its first run cannot start because of a limit: the next that can does, or all wait. Linear in
    /// the different sets of limits that wait.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn set_queue_order(&self, pool: &str, queue: &str, order: QueueOrder) -> Result<u64, Error> {
        self.call(|core| core.set_queue_order(pool, queue, order).map(|()| core.version))
    }

    /// Most runs claimed at once in the whole engine; none is unlimited. Lowering it ends nothing: it lets nobody in
    /// until fewer are claimed.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn set_limit(&self, limit: Option<u32>) -> Result<u64, Error> {
        self.call(|core| {
            core.settings.limit = limit;
            core.effects.ring = true;
            Ok(core.changed())
        })
    }

    /// Submits a run of a deployment (`flow/deployment`, or its id) or of a flow.
    ///
    /// ```
    /// use tenfold::{Engine, NewRun, Priority, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// engine.submit("mail")?;
    /// let urgent = engine.submit(NewRun::of("mail").priority(Priority::MAX))?;
    /// let claim = engine.claim(&Scope::all())?.expect("two runs wait");
    /// assert_eq!(claim.run(), urgent.id);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for what it names, [`Error::Invalid`], [`Error::KeyConflict`], [`Error::Full`] (later),
    /// [`Error::Stopped`] (never). A refused submission changes nothing.
    pub fn submit(&self, new: impl Into<NewRun>) -> Result<Submitted, Error> {
        self.vouching(new.into(), Core::asks_of_run, Core::submit)
    }

    /// Submits 1 to 500 runs. They are checked one by one and answered in the order of input; a run that is refused does
    /// not hinder the others. Capacity comes first, for all at once and whatever keys they have: a batch that would not fit
    /// is refused whole. A key that stands twice in one batch is refused the second time.
    ///
    /// # Errors
    ///
    /// [`Error::BatchSize`], [`Error::Full`], [`Error::Stopped`]: nothing was submitted then.
    pub fn submit_batch(&self, batch: Vec<NewRun>) -> Result<Vec<Result<Submitted, Error>>, Error> {
        self.vouching(
            batch,
            |core, batch, vouched| {
                // One that is refused is refused again when its turn comes, alone.
                batch.iter().for_each(|new| drop(core.asks_of_run(new, vouched)));
                Ok(())
            },
            Core::submit_batch,
        )
    }

    /// A run, as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn run(&self, id: RunId) -> Result<Run, Error> {
        self.call(|core| core.read_run(id))
    }

    /// Takes the first run of the scope that may start, with all its slots, in one step; or says why there is none.
    /// The run is PENDING then; [`begin`](Self::begin) starts the attempt.
    ///
    /// Order: inside a pool by queue (1 first), then level (10 first), then place in line; between pools by level, then
    /// place. Cost: logarithmic in what waits, linear in the queues of the scope.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when the scope names an unknown pool or queue.
    pub fn claim(&self, scope: &Scope) -> Result<Result<Claim, Empty>, Error> {
        self.call(|core| core.claim(scope, Terms::default()))
    }

    /// As [`claim`](Self::claim), and when there is nothing, waits on this thread until there is, at most `timeout`: for
    /// workers without a runtime. It sleeps until the engine has news or something becomes due; it polls nothing. The sleep is
    /// real time: after moving a [`ManualClock`](crate::clock::ManualClock), call [`advance`](Self::advance) to wake it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::{Engine, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let worker = {
    ///     let engine = engine.clone();
    ///     std::thread::spawn(move || engine.claim_wait(&Scope::all(), Duration::from_secs(60)))
    /// };
    /// let run = engine.submit("mail")?.id;
    /// assert_eq!(worker.join().unwrap()?.expect("a run came").run(), run);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    pub fn claim_wait(&self, scope: &Scope, timeout: Duration) -> Result<Result<Claim, Empty>, Error> {
        self.claim_when_rung(scope, timeout, &self.listen())
    }

    fn claim_when_rung(
        &self,
        scope: &Scope,
        timeout: Duration,
        bell: &Bell,
    ) -> Result<Result<Claim, Empty>, Error> {
        let end = self.shared.clock.now().mono.saturating_add(timeout);
        loop {
            // A ring between the look and the wait is remembered.
            let (claimed, next) =
                self.call(|core| Ok((core.claim(scope, Terms::default())?, core.next_deadline())))?;
            let left = end.saturating_sub(self.shared.clock.now().mono);
            if claimed.is_ok() || left.is_zero() {
                return Ok(claimed);
            }
            let wait = next.map_or(left, |next| next.min(left));
            if !bell.wait(wait) && wait == left {
                return self.claim(scope);
            }
        }
    }

    /// A claim whose attempt starts at once, by a worker that reports its end whatever happens; and what a driver needs to
    /// know next, so that it need not ask.
    pub(crate) fn claim_to_execute(&self, scope: &Scope, lease: Option<Lease>) -> Result<Found, Error> {
        let terms = Terms::to_execute(lease);
        self.call(|core| {
            let claim = core.claim(scope, terms)?.ok();
            Ok(Found {
                more: claim.is_some() && core.may_start_more(),
                next: core.next_deadline(),
                claim,
            })
        })
    }

    /// Ends an attempt and takes the next run of the scope, in one step.
    pub(crate) fn end_and_claim(
        &self,
        claim: &Claim,
        ending: Ending,
        scope: Option<&Scope>,
        lease: Option<Lease>,
    ) -> Result<Option<Claim>, Error> {
        self.call(|core| {
            let before = core.next_deadline();
            // Somebody else may have ended the attempt; then there is nothing left to report.
            let Some(scope) = scope else {
                let _ = core.complete(claim.run, claim.token, ending);
                return Ok(None);
            };
            let next = core.with_handover(|core| {
                let _ = core.complete(claim.run, claim.token, ending);
                core.claim(scope, Terms::to_execute(lease))
            });
            let next = next?.ok();
            // The only one who listens starts workers; when no further run may start, there is nothing to tell him,
            // unless a retry or a timeout comes before what he sleeps until.
            let alone = core.bells.len() <= 1;
            let sooner = core
                .next_deadline()
                .is_some_and(|after| before.is_none_or(|before| after < before));
            if alone && !sooner && next.is_some() && !core.may_start_more() {
                core.effects.ring = false;
            }
            Ok(next)
        })
    }

    pub(crate) fn check_scope(&self, scope: &Scope) -> Result<(), Error> {
        self.call(|core| core.scope_rows(scope).map(drop))
    }

    /// Starts a claimed attempt: the run is RUNNING, and its timeout begins to count.
    ///
    /// A worker of the host's own goes like this: claim; begin; work, and look at
    /// [`Claim::stop_reason`](crate::Claim::stop_reason) from time to time; complete. When `begin` is refused because the
    /// run was cancelled, the claim still holds its slots: complete it with [`Outcome::Cancelled`]. When a timeout passes,
    /// the engine ends the attempt by itself, frees its slots and refuses the late report; it cannot end the work.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`]; [`Error::Transition`] when it has started already or is being cancelled. A claimed run that
    /// [`set_state`](Self::set_state) made RUNNING has started: go on with the work and complete the claim.
    pub fn begin(&self, claim: &Claim) -> Result<(), Error> {
        self.call(|core| core.begin(claim.run, claim.token))
    }

    /// Gives up a claim whose attempt has not started. The run returns to its old place in line.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`]; [`Error::Transition`] when the attempt has started.
    pub fn give_back(&self, claim: &Claim) -> Result<(), Error> {
        self.call(|core| core.give_back(claim.run, claim.token))
    }

    /// Ends an attempt. The slots are free from here on; a failed attempt is tried again while retries are left.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`] when the attempt has ended before or another has begun: nothing is changed then.
    pub fn complete(&self, claim: &Claim, outcome: Outcome) -> Result<Ended, Error> {
        if let Outcome::Completed(result) = &outcome {
            crate::model::check_result(result)?;
        }
        self.call(|core| core.complete(claim.run, claim.token, Ending::of(outcome)))
    }

    /// The claim of a run again, from the token it was handed out with: for workers that only kept the two numbers, and
    /// after an import.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`].
    pub fn claim_again(&self, run: RunId, token: u64) -> Result<Claim, Error> {
        self.call(|core| core.claim_again(run, token))
    }

    /// Calls a run off. One that waits is CANCELLED at once; one that is claimed is CANCELLING, is asked to stop, and
    /// is CANCELLED when its handler has ended. Answers which of the two.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] when it has ended.
    pub fn cancel(&self, id: RunId) -> Result<StateType, Error> {
        self.call(|core| core.cancel(id, None))
    }

    /// Moves a run to another level; one that waits goes to the back of that level. A claimed one waits there when it is
    /// tried again. The level that it has already is no change.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] when it has ended.
    pub fn set_priority(&self, id: RunId, priority: Priority) -> Result<u64, Error> {
        self.call(|core| core.set_priority(id, priority).map(|()| core.version))
    }

    /// The queue status report of this instant, without the engine's lock.
    ///
    /// It does not make due what is due: it tells how the engine stands, and changes nothing.
    #[must_use]
    pub fn snapshot(&self) -> QueueStatus {
        match self.shared.tally.read() {
            Some(words) => QueueStatus::of_words(&words),
            None => self.shared.core.lock().status(),
        }
    }

    /// Takes no new work from now on: submissions and deployments are refused, schedules plan nothing more, retries end.
    /// What waits can still be claimed and completed. Again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn close(&self) -> Result<u64, Error> {
        self.call(|core| {
            core.stopped = true;
            core.effects.ring = true;
            Ok(core.changed())
        })
    }

    /// Panics unless every invariant holds. For tests and fuzzing.
    #[doc(hidden)]
    #[cfg(any(test, fuzzing))]
    pub fn check_invariants(&self) {
        self.shared.core.lock().check();
    }
}

/// What a driver finds when it looks for work.
pub(crate) struct Found {
    pub(crate) claim: Option<Claim>,
    /// Another claim may find another run.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(dead_code, reason = "threads look for themselves")
    )]
    pub(crate) more: bool,
    /// How long until something becomes due.
    pub(crate) next: Option<Duration>,
}

/// Wakes who is to be woken; the engine's lock is not held. Wakers and subscribers are the host's: one that panics keeps the news from nobody
/// else, and its answer from the caller neither.
fn carry_out(effects: Effects) {
    effects.traces.tell();
    for (signal, reason) in effects.stops {
        quietly(|| signal.fire(reason));
    }
    for bell in effects.bells {
        quietly(|| bell.ring());
    }
    for (cells, run) in effects.ended {
        for cell in cells {
            quietly(|| cell.fill(run.clone()));
        }
    }
    effects.spent.into_iter().for_each(drop_quietly);
}

/// A bell that the engine rings until this is dropped.
pub(crate) struct Listener {
    engine: Engine,
    bell: Arc<Bell>,
}

impl Listener {
    /// The engine rings this bell too, until the listener is dropped.
    pub(crate) fn on(engine: &Engine, bell: Arc<Bell>) -> Self {
        engine.shared.core.lock().bells.push(bell.clone());
        Self {
            engine: engine.clone(),
            bell,
        }
    }
}

impl std::ops::Deref for Listener {
    type Target = Bell;

    fn deref(&self) -> &Bell {
        &self.bell
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut core = self.engine.shared.core.lock();
        core.bells.retain(|other| !Arc::ptr_eq(other, &self.bell));
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
