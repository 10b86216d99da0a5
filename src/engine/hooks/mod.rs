//! Completion hooks: what has ended is kept, in order, until somebody outside has been told of it.
//!
//! A [`Hook`] has a name and says which ends it wants. From then on each run that ends so is put, in the step that ends it, into the
//! hook's line: a copy of a row, and nothing else happens there. Nobody's code runs under the engine's lock or on the thread that completes. A
//! *deliverer* takes from the line, does what it does, and reports; a handler given to
//! [`RunnerBuilder::on_completed`](crate::runner::RunnerBuilder::on_completed) or
//! [`RuntimeBuilder::on_completed`](crate::runtime::RuntimeBuilder::on_completed) is one that needs no more than that.
//!
//! | promise | |
//! |---|---|
//! | order | first attempts are handed out in the order of completion |
//! | retries | a failed attempt is tried again after a delay of the hook's [`Retry`]: five attempts, 2, 4, 8 and 16 minutes apart unless said otherwise. Meanwhile later ones go on; [`Hook::in_sequence`] holds them back instead |
//! | at least once | a report that does not come (a lease that lapses, a deliverer that is gone) counts as a failure. So a delivery may come twice: its number tells |
//! | given up | after the last attempt a delivery is a [`GivenUp`]: kept with the hook (the newest [`MAX_GIVEN_UP`]), counted, and an [event](crate::engine::Happened::GivenUp) |
//! | bounded | a hook holds [`deliveries`](crate::EngineBuilder::deliveries). What ends while it is full is counted in a [`Gap`], which takes its own place in line as soon as there is room: nothing is dropped without a word, and no completion waits |
//! | moving | lines, attempts, delays and what remains of leases are part of [`export`](Engine::export). What was handed out without a lease, to a handler of the old process, counts as failed after an import; under [`Claims::PutBack`](crate::Claims) all that was handed out does |
//!
//! | file | owns |
//! |---|---|
//! | `mod` | hooks, deliveries, the calls |
//! | `outbox` | the lines |
//! | `doc` | what a document and a follower have of them |

mod doc;
mod outbox;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub(super) use self::doc::{OutboxCopy, OutboxDoc, OutboxRow};
pub(crate) use self::outbox::Outbox;
use super::core::{Core, Instant, MonoEvent};
use super::error::Error;
use super::events::Happened;
use super::signal::Bell;
use super::submit::{MAX_SPAN, check_retry, check_timeout};
use super::{Engine, advance};
use crate::ids::{DeploymentId, RunId};
use crate::model::{InvalidValue, Retry, Run, StateType, Text, check_name, check_tags};

/// Most hooks of one engine.
pub const MAX_HOOKS: usize = 64;

/// How many deliveries that were given up a hook remembers.
pub const MAX_GIVEN_UP: usize = 100;

/// Which ends of runs are delivered, under which name, and how often it is tried.
///
/// ```
/// use std::time::Duration;
/// use tenfold::engine::Hook;
/// use tenfold::model::StateType;
/// use tenfold::Retry;
///
/// let alarms = Hook::named("alarms")
///     .states([StateType::Failed, StateType::Crashed])
///     .flow("report")
///     .retry(Retry::fixed(2, Duration::from_secs(10)));
/// # let _ = alarms;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Hook {
    name: Text,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<StateType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flow: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<Text>,
    retry: Retry,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_sequence: bool,
}

impl Hook {
    /// A hook for all runs that end, with five attempts, 2, 4, 8 and 16 minutes apart.
    pub fn named(name: impl Into<Text>) -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            name: name.into(),
            states: Vec::new(),
            flow: None,
            deployment: None,
            tag: None,
            retry: Retry::exponential(4, 2 * MINUTE, 16 * MINUTE),
            in_sequence: false,
        }
    }

    /// Of runs that end in one of these states: COMPLETED, FAILED, CRASHED, CANCELLED. None is all.
    pub fn states(mut self, states: impl IntoIterator<Item = StateType>) -> Self {
        // Said twice is said once: there are as many as there are types.
        self.states = Vec::new();
        for state in states {
            if !self.states.contains(&state) {
                self.states.push(state);
            }
        }
        self
    }

    /// Of runs of this flow.
    pub fn flow(mut self, flow: impl Into<Text>) -> Self {
        self.flow = Some(flow.into());
        self
    }

    /// Of runs of this deployment.
    pub fn deployment(mut self, deployment: DeploymentId) -> Self {
        self.deployment = Some(deployment);
        self
    }

    /// Of runs with this tag.
    pub fn tag(mut self, tag: impl Into<Text>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// How often a delivery that failed is tried again, and after which delays, in engine (monotonic) time.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// One at a time: nothing is handed out before all that ended earlier was delivered or given up. A delivery that fails holds up
    /// all later ones until then, with the defaults for half an hour.
    pub fn in_sequence(mut self) -> Self {
        self.in_sequence = true;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<(), InvalidValue> {
        check_name("hook name", &self.name)?;
        self.flow
            .as_ref()
            .map_or(Ok(()), |flow| check_name("flow name", flow))?;
        check_tags(self.tag.as_slice())?;
        if let Some(state) = self.states.iter().find(|state| !state.is_terminal()) {
            let rule = "give states that end a run: COMPLETED, FAILED, CRASHED, CANCELLED";
            return Err(InvalidValue::new("hook state", &state.to_string(), rule));
        }
        let twice = |at: usize| self.states[..at].contains(&self.states[at]);
        if let Some(at) = (0..self.states.len()).find(|&at| twice(at)) {
            let rule = "give each state once";
            return Err(InvalidValue::new(
                "hook state",
                &self.states[at].to_string(),
                rule,
            ));
        }
        check_retry(&self.retry)?;
        if self.retry.keeps_slots() || self.retry.time_in_all().is_some() {
            let rule = "a hook holds no slots and has no time in all; give retries, delays and jitter alone";
            return Err(InvalidValue::new("hook retry", "keep_slots or within", rule));
        }
        Ok(())
    }
}

/// One attempt to tell of one end. Its number names it in its hook and ascends in the order of completion; with the attempt it is what a
/// report is checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    hook: Text,
    number: u64,
    attempt: u32,
    last: bool,
    completion: Completion,
}

/// What is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Completion {
    /// A run, as it ended. Its record may be gone by now.
    Run(Arc<Run>),
    /// Here some are missing, because the hook was full when they ended.
    Missed(Gap),
}

/// Runs whose end is not delivered, because the hook held as many as it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// How many.
    pub count: u64,
    /// The version at which the first of them ended.
    pub from: u64,
    /// The version at which the last of them did.
    pub to: u64,
}

/// A delivery that failed as often as it may.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GivenUp {
    /// The hook.
    pub hook: Text,
    /// The delivery.
    pub number: u64,
    /// The run; none where a gap was to be told.
    pub run: Option<RunId>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub problem: Text,
    /// Engine time of that.
    pub at: DateTime<Utc>,
}

/// What becomes of a delivery whose attempt has failed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fate {
    /// It is tried again.
    Retrying,
    /// It is not.
    GivenUp(GivenUp),
}

/// How a hook stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HookStatus {
    /// What it wants.
    pub hook: Hook,
    /// Deliveries that wait for somebody who takes them.
    pub ready: usize,
    /// Those that are handed out.
    pub taken: usize,
    /// Those that wait for their next attempt.
    pub retrying: usize,
    /// What was missed and is not in line yet, because there is no room.
    pub missed: Option<Gap>,
    /// Since it was made.
    pub totals: HookTotals,
    /// The newest that were given up, oldest first; at most [`MAX_GIVEN_UP`].
    pub given_up: Vec<GivenUp>,
}

/// Counts since a hook was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookTotals {
    /// Runs that ended as it wants.
    pub recorded: u64,
    /// Deliveries that were reported as done, those that tell of a gap included.
    pub delivered: u64,
    /// Attempts that failed or were never reported.
    pub failed_attempts: u64,
    /// Deliveries that were given up.
    pub given_up: u64,
    /// Runs whose end is not delivered; gaps say so.
    pub missed: u64,
}

impl Delivery {
    /// The hook.
    #[must_use]
    pub fn hook(&self) -> &str {
        &self.hook
    }

    /// The same in every attempt; ascends in the order of completion.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it is given up when this attempt fails.
    #[must_use]
    pub const fn is_last_attempt(&self) -> bool {
        self.last
    }

    /// What is told.
    #[must_use]
    pub const fn completion(&self) -> &Completion {
        &self.completion
    }

    /// The run as it ended; none where a gap is told.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        match &self.completion {
            Completion::Run(run) => Some(run),
            Completion::Missed(_) => None,
        }
    }
}

impl Engine {
    /// Makes a hook: the runs that end from now on, and that it wants, are kept for it until they are delivered. One that is there gets
    /// these settings and keeps its line; so a host makes its hooks whenever it starts, after an import too. Answers the version.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::engine::Hook;
    /// use tenfold::{Engine, Outcome, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.hook(Hook::named("bell"))?;
    /// engine.flow("mail")?;
    /// let run = engine.submit("mail")?.id;
    /// let claim = engine.claim(&Scope::all())?.unwrap();
    /// engine.complete(&claim, Outcome::Completed("sent".into()))?;
    ///
    /// let minute = Duration::from_secs(60);
    /// let told = engine.take_deliveries("bell", 10, minute)?;
    /// assert_eq!(told[0].run().map(|run| run.id), Some(run));
    /// engine.delivered(&told[0])?;
    /// assert!(engine.take_deliveries("bell", 10, minute)?.is_empty());
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is none, a state that ends no run, retries out of bounds, or with slots or a time in all;
    /// [`Error::Full`] when there are [`MAX_HOOKS`].
    pub fn hook(&self, hook: Hook) -> Result<u64, Error> {
        self.call(|core| core.hook(hook))
    }

    /// Takes a hook away, with all that waits in it. Answers how many deliveries that were. Who waits for its deliveries waits no more, handlers of
    /// runners and runtimes included: they serve a hook that is made again under its name when they are started again.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn unhook(&self, name: &str) -> Result<usize, Error> {
        self.call(|core| core.unhook(name))
    }

    /// How the hooks stand, in the order of their making. Linear in what waits in them.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn hooks(&self) -> Result<Vec<HookStatus>, Error> {
        self.call(|core| Ok(core.outbox.lines.iter().map(outbox::Line::status).collect()))
    }

    /// Takes deliveries of a hook, in the order of completion and at most `n`; none when nothing is ready. Each is to be reported within
    /// `lease` (one microsecond to 100 years of engine time), by [`delivered`](Self::delivered) or
    /// [`not_delivered`](Self::not_delivered); if not, its attempt has failed. Several may take from one hook; then they decide
    /// themselves who is first to tell.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for the lease.
    pub fn take_deliveries(&self, hook: &str, n: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        let span = lease_span(lease)?;
        self.call(|core| {
            let line = core.hook_line(hook)?;
            Ok(core.take_deliveries(line, n, Some(span)))
        })
    }

    /// As [`take_deliveries`](Self::take_deliveries), and when nothing is ready, waits on this thread until something is, at most
    /// `timeout` in real time.
    ///
    /// # Errors
    ///
    /// As [`take_deliveries`](Self::take_deliveries).
    pub fn wait_deliveries(
        &self,
        hook: &str,
        n: usize,
        lease: Duration,
        timeout: Duration,
    ) -> Result<Vec<Delivery>, Error> {
        let span = lease_span(lease)?;
        let waits = self.await_deliveries(hook, Arc::default())?;
        let found = self.wait_on(&waits.bell, timeout, || {
            let taken = waits.take(n, Some(span))?;
            Ok((n == 0 || !taken.is_empty()).then_some(taken))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The delivery has reached whom it was for; it is done with. Answers the version.
    ///
    /// # Errors
    ///
    /// [`Error::StaleDelivery`] when the attempt has ended already: its lease has lapsed, or it was reported. It may be tried again, or
    /// have been. [`Error::NotFound`] when the hook was taken away.
    pub fn delivered(&self, delivery: &Delivery) -> Result<u64, Error> {
        self.call(|core| {
            let line = core.reported(delivery)?;
            let most = core.settings.deliveries;
            let bells = &mut core.effects.bells;
            core.outbox.delivered(line, delivery.number, most, bells);
            core.arm_outbox();
            Ok(core.changed())
        })
    }

    /// The attempt has failed, for this reason (10,000 bytes of it are kept).
    ///
    /// # Errors
    ///
    /// As [`delivered`](Self::delivered).
    pub fn not_delivered(&self, delivery: &Delivery, problem: impl Into<Text>) -> Result<Fate, Error> {
        let problem = super::finish::shortened(problem.into());
        self.call(|core| {
            let line = core.reported(delivery)?;
            let now = core.now();
            let fate = core.delivery_failed(line, delivery.number, problem, now);
            core.arm_outbox();
            Ok(fate)
        })
    }

    /// Deliveries that wait, in all hooks.
    pub(crate) fn pending_deliveries(&self) -> usize {
        self.shared.core.lock().outbox.pending()
    }

    /// The bell is rung from now on when something of this hook is ready.
    pub(crate) fn await_deliveries(&self, hook: &str, bell: Arc<Bell>) -> Result<Awaits, Error> {
        self.call(|core| {
            let line = core.hook_line(hook)?;
            core.outbox.lines[line].bells.push(bell.clone());
            Ok(())
        })?;
        Ok(Awaits {
            engine: self.clone(),
            hook: Text::from(hook),
            bell,
        })
    }
}

/// Somebody waits for deliveries of a hook, until this is dropped.
pub(crate) struct Awaits {
    engine: Engine,
    hook: Text,
    pub(crate) bell: Arc<Bell>,
}

impl Awaits {
    fn take(&self, n: usize, lease: Option<i64>) -> Result<Vec<Delivery>, Error> {
        self.engine.call(|core| {
            let line = core.hook_line(&self.hook)?;
            // One that was made under its name since is another, which rings other bells.
            let rings = |bell: &Arc<Bell>| Arc::ptr_eq(bell, &self.bell);
            if !core.outbox.lines[line].bells.iter().any(rings) {
                return Err(no_hook(&self.hook));
            }
            Ok(core.take_deliveries(line, n, lease))
        })
    }

    /// Takes one, for a handler of this process: there is no lease, and its report comes whatever happens. An error means that there will be
    /// none: the hook was taken away, or the engine is poisoned.
    pub(crate) fn take_one(&self) -> Result<Option<Delivery>, Error> {
        Ok(self.take(1, None)?.pop())
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Awaits {
    fn drop(&mut self) {
        let mut core = self.engine.shared.core.lock();
        if let Some(line) = core.outbox.find(&self.hook) {
            core.outbox.lines[line]
                .bells
                .retain(|other| !Arc::ptr_eq(other, &self.bell));
        }
    }
}

fn no_hook(name: &str) -> Error {
    Error::NotFound {
        kind: "hook",
        name: format!("{name:?}"),
        hint: "make it with `Engine::hook`; it may have been taken away",
    }
}

fn lease_span(lease: Duration) -> Result<i64, InvalidValue> {
    if lease > MAX_SPAN {
        check_timeout(Some(lease))?;
    }
    let micros = super::builder::micros(lease);
    if micros == 0 {
        return Err(InvalidValue::new(
            "lease",
            "0 s",
            "give one microsecond to 100 years",
        ));
    }
    Ok(micros)
}

impl Core {
    fn hook_line(&self, name: &str) -> Result<usize, Error> {
        self.outbox.find(name).ok_or_else(|| no_hook(name))
    }

    fn hook(&mut self, hook: Hook) -> Result<u64, Error> {
        hook.check()?;
        match self.outbox.find(&hook.name) {
            Some(line) => {
                let held = &mut self.outbox.lines[line];
                held.hook = hook;
                self.effects.bells.extend(held.bells.iter().cloned());
            }
            None if self.outbox.lines.len() == MAX_HOOKS => {
                return Err(Error::Full {
                    what: "hooks",
                    waiting: MAX_HOOKS,
                    capacity: MAX_HOOKS,
                    asked: 1,
                });
            }
            None => self.outbox.lines.push(outbox::Line::new(hook)),
        }
        self.outbox.note_head();
        Ok(self.changed())
    }

    fn unhook(&mut self, name: &str) -> Result<usize, Error> {
        let line = self.hook_line(name)?;
        let gone = self.outbox.lines.remove(line);
        // Whoever waits finds out that there is nothing to wait for.
        self.effects.bells.extend(gone.bells);
        self.outbox.note_head();
        self.arm_outbox();
        self.changed();
        Ok(gone.entries.len())
    }

    /// A run has ended: who wants it gets it in line. Nothing but copies of a row, under the lock.
    #[inline]
    pub(crate) fn tell_hooks(&mut self, row: u32) {
        if !self.outbox.is_empty() && !fault!(EndReachesNoHook) {
            self.record_completion(row);
        }
    }

    fn record_completion(&mut self, row: u32) {
        let (most, version) = (self.settings.deliveries, self.version);
        let run = self.catalog.runs.get(row).expect("a run that ends is kept");
        let flow = self
            .catalog
            .flows
            .get(run.body.flow)
            .expect("a flow with runs is kept");
        for line in 0..self.outbox.lines.len() {
            let hook = &self.outbox.lines[line].hook;
            let wanted = (hook.states.is_empty()
                || run.state.is_some_and(|state| hook.states.contains(&state)))
                && hook.flow.as_ref().is_none_or(|name| *name == flow.data.name)
                && (hook.deployment.is_none() || hook.deployment == run.body.deployment_id)
                && (hook.tag.as_ref()).is_none_or(|tag| run.body.tags.iter().any(|other| **other == **tag));
            if wanted {
                let bells = &mut self.effects.bells;
                self.outbox.record(line, run, version, most, bells);
            }
        }
    }

    fn take_deliveries(&mut self, line: usize, n: usize, lease: Option<i64>) -> Vec<Delivery> {
        let until = lease.map(|span| self.mono.saturating_add(span));
        let taken = self.outbox.take(line, n, until);
        if !taken.is_empty() {
            self.changed();
            self.arm_outbox();
        }
        taken
    }

    /// The line of a delivery whose report is current.
    fn reported(&self, delivery: &Delivery) -> Result<usize, Error> {
        let line = self.hook_line(&delivery.hook)?;
        let stale = |reason| Error::StaleDelivery {
            hook: delivery.hook.to_string(),
            number: delivery.number,
            attempt: delivery.attempt,
            reason,
        };
        (self.outbox.check(line, delivery.number, delivery.attempt)).map_err(stale)?;
        Ok(line)
    }

    fn delivery_failed(&mut self, line: usize, number: u64, problem: Text, at: Instant) -> Fate {
        let (most, ids) = (self.settings.deliveries, &mut self.ids);
        let mut delay = |retry: &Retry, attempt| advance::delay(ids.random(), retry, attempt);
        let (of, at) = ((line, number), (at.wall, at.mono));
        let bells = &mut self.effects.bells;
        let fate = self.outbox.failed(of, problem, at, most, &mut delay, bells);
        self.changed();
        if let Fate::GivenUp(given_up) = &fate
            && self.feed.states
        {
            self.note(Happened::GivenUp(given_up.clone()));
        }
        fate
    }

    /// The timer of the hooks has fired: leases lapse, delays end, each at its own instant.
    pub(super) fn deliveries_due(&mut self, at: Instant) {
        self.outbox.timer = None;
        while let Some((line, number, lapsed)) = self.outbox.due(at.mono, &mut self.effects.bells) {
            if lapsed {
                let problem = Text::of("nobody reported it within its lease");
                self.delivery_failed(line, number, problem, at);
            } else {
                self.changed();
            }
        }
        self.arm_outbox();
    }

    /// The one timer of the hooks stands at their first instant.
    fn arm_outbox(&mut self) {
        let deadline = self.outbox.deadline();
        if self.outbox.timer.map(super::timers::TimerKey::at) == deadline {
            return;
        }
        if let Some(timer) = self.outbox.timer.take() {
            self.mono_timers.cancel(timer);
        }
        if let Some(at) = deadline {
            // An earlier deadline is news to whoever sleeps until another.
            self.effects.ring |= self.mono_timers.deadline().is_none_or(|first| at < first);
            self.outbox.timer = Some(self.mono_timers.insert(at, MonoEvent::Deliveries));
        }
    }
}

#[cfg(test)]
mod tests;
