//! "What runs next": a run and all its slots in one step.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Held, MonoEvent, Work};
use super::error::{Empty, Error};
use super::graph::By;
use super::handover::Heir;
use super::lease::Lease;
use super::pause::RESUMING;
use super::payload::Payload;
use super::pools::DEFAULT;
use super::ready::Head;
use super::signal::{StopReason, StopSignal};
use crate::catalog::{When, instant};
use crate::ids::{DeploymentId, RunId};
use crate::model::{Object, Place, StateType, Text};
use crate::priority::Priority;

/// Where a claim looks: every pool, some pools, or some queues of them.
///
/// ```
/// use tenfold::Scope;
///
/// let everything = Scope::all();
/// let two = Scope::pool("gpu").and_queue("cpu", "urgent");
/// # let _ = (everything, two);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Scope {
    /// Empty means every pool. A pool without queues means all its queues.
    parts: Vec<(Text, Vec<Text>)>,
}

impl Scope {
    /// Every queue of every pool, those made later too.
    pub const fn all() -> Self {
        Self { parts: Vec::new() }
    }

    /// Every queue of one pool.
    pub fn pool(pool: impl Into<Text>) -> Self {
        Self::all().and_pool(pool)
    }

    /// One queue of one pool.
    pub fn queue(pool: impl Into<Text>, queue: impl Into<Text>) -> Self {
        Self::all().and_queue(pool, queue)
    }

    /// Adds every queue of a pool.
    pub fn and_pool(mut self, pool: impl Into<Text>) -> Self {
        let pool = pool.into();
        self.parts.retain(|(name, _)| *name != pool);
        self.parts.push((pool, Vec::new()));
        self
    }

    /// Adds one queue of a pool. Adds nothing when the whole pool is in already.
    pub fn and_queue(mut self, pool: impl Into<Text>, queue: impl Into<Text>) -> Self {
        let (pool, queue) = (pool.into(), queue.into());
        match self.parts.iter_mut().find(|(name, _)| *name == pool) {
            Some((_, queues)) if queues.is_empty() => {}
            Some((_, queues)) => {
                if !queues.contains(&queue) {
                    queues.push(queue);
                }
            }
            None => self.parts.push((pool, vec![queue])),
        }
        self
    }
}

/// The right to execute one attempt of one run.
///
/// It is plain data: dropping it gives nothing back. Whoever holds it ends the attempt with
/// [`Engine::complete`](crate::Engine::complete), or gives it up before its start with
/// [`Engine::give_back`](crate::Engine::give_back).
#[derive(Clone, Debug)]
pub struct Claim {
    pub(crate) run: RunId,
    pub(crate) attempt: u32,
    pub(crate) token: u64,
    pub(crate) name: Text,
    pub(crate) flow: Text,
    pub(crate) deployment: Option<DeploymentId>,
    pub(crate) priority: Priority,
    pub(crate) parameters: Arc<Object>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) payload: Option<Payload>,
    pub(crate) signal: Arc<StopSignal>,
}

impl Claim {
    /// The run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// Which attempt of the run this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The fencing token: greater than that of every earlier claim of the engine.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// What people call the run.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the flow to execute.
    #[must_use]
    pub fn flow(&self) -> &str {
        &self.flow
    }

    /// The deployment it was made from.
    #[must_use]
    pub const fn deployment(&self) -> Option<DeploymentId> {
        self.deployment
    }

    /// Its level.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// What to work on.
    #[must_use]
    pub fn parameters(&self) -> &Object {
        &self.parameters
    }

    /// The value that the run carries, if it carries one of this type; see [`Engine::submit_with`](crate::Engine::submit_with).
    #[must_use]
    pub fn payload<T: std::any::Any + Send + Sync>(&self) -> Option<Arc<T>> {
        match &self.payload {
            Some(Payload::Value(value)) => value.clone().downcast().ok(),
            _ => None,
        }
    }

    /// Longest time of the attempt, counted from its start.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Why the attempt should stop, once somebody has asked for it.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.signal.reason()
    }
}

/// How a claim is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// The worker reports the end of the attempt whatever happens, so a timeout asks and waits.
    pub(crate) supervised: bool,
    /// The attempt starts with the claim.
    pub(crate) begin: bool,
    /// The worker shows from time to time that it is alive.
    pub(crate) lease: Option<Lease>,
}

impl Terms {
    /// Those of the engine's own workers.
    pub(crate) const fn to_execute(lease: Option<Lease>) -> Self {
        Self {
            supervised: true,
            begin: true,
            lease,
        }
    }
}

impl Core {
    /// The rows of a scope: pools with their queues in order of importance.
    pub(crate) fn scope_rows(&self, scope: &Scope) -> Result<Vec<(u32, Vec<u32>)>, Error> {
        let mut rows = Vec::with_capacity(scope.parts.len());
        for (pool, queues) in &scope.parts {
            if *pool == DEFAULT && !self.catalog.pool_names.contains_key(DEFAULT) {
                // It comes with the first run that needs it; until then there is nothing in it.
                continue;
            }
            let pool_row = self.pool_row(pool)?;
            let all = self
                .catalog
                .pools
                .get(pool_row)
                .expect("names lead to rows")
                .queues
                .clone();
            if queues.is_empty() {
                rows.push((pool_row, all));
                continue;
            }
            let wanted = queues
                .iter()
                .map(|queue| self.queue_row(pool, queue))
                .collect::<Result<Vec<u32>, Error>>()?;
            rows.push((
                pool_row,
                all.iter()
                    .copied()
                    .filter(|queue| wanted.contains(queue))
                    .collect(),
            ));
        }
        Ok(rows)
    }

    /// The same for the whole engine too: every pool with its queues.
    pub(crate) fn rows_of(&self, scope: &Scope) -> Result<Vec<(u32, Vec<u32>)>, Error> {
        if !scope.parts.is_empty() {
            return self.scope_rows(scope);
        }
        let pools = self.pool_order.iter();
        Ok(pools
            .filter_map(|&pool| Some((pool, self.catalog.pools.get(pool)?.queues.clone())))
            .collect())
    }

    /// Hands out the first startable run of the scope.
    pub(crate) fn claim(&mut self, scope: &Scope, terms: Terms) -> Result<Result<Claim, Empty>, Error> {
        let now = self.wall;
        let heir = self.heir();
        if scope.parts.is_empty() {
            self.polled.all = now;
            let mut best = None;
            let mut empty = Empty::Nothing;
            for index in 0..self.pool_order.len() {
                let pool = self.pool_order[index];
                // The row is shared; holding it lets the engine change while its queues are walked.
                let row = self
                    .catalog
                    .pools
                    .get(pool)
                    .expect("pools in order exist")
                    .clone();
                self.best_of(pool, &row.queues, heir, &mut best, &mut empty);
            }
            return Ok(self.hand_out(best, heir, empty, terms));
        }
        let rows = self.scope_rows(scope)?;
        for &queue in rows.iter().flat_map(|(_, queues)| queues) {
            self.polled.poll_queue(queue, now);
        }
        let (mut best, mut empty) = (None, Empty::Nothing);
        for (pool, queues) in &rows {
            self.best_of(*pool, queues, heir, &mut best, &mut empty);
        }
        Ok(self.hand_out(best, heir, empty, terms))
    }

    /// Improves `best` by the first of these queues that has a startable run, or `empty` by why there is none.
    pub(crate) fn best_of(
        &self,
        pool: u32,
        queues: &[u32],
        heir: Option<Heir>,
        best: &mut Option<(Head, u32)>,
        empty: &mut Empty,
    ) {
        let data = &self.catalog.pools.get(pool).expect("pools in order exist").data;
        let (paused, limit) = (data.is_paused, data.concurrency_limit);
        let pool_full = self.engine_full()
            || limit
                .is_some_and(|limit| self.pools[pool as usize].held >= limit && !fault!(PoolLimitIsAdvice));
        for &queue in queues {
            let work = &self.queues[queue as usize];
            // What has its slots is stopped by nothing that is full.
            let kept = match self.holding_total {
                0 => None,
                _ => work.holding.first().copied(),
            };
            if work.waiting == 0 && kept.is_none() {
                let next = [&work.later, &work.retrying]
                    .into_iter()
                    .filter_map(|set| set.first())
                    .map(|first| first.0)
                    .min();
                if let Some(at) = next {
                    *empty = milder(*empty, Empty::NotDue(instant(at)));
                }
                continue;
            }
            let data = &self
                .catalog
                .queues
                .get(queue)
                .expect("a pool's queues exist")
                .data;
            if paused || data.is_paused {
                *empty = milder(*empty, Empty::Paused);
                continue;
            }
            let full = pool_full || data.concurrency_limit.is_some_and(|limit| work.held >= limit);
            let ready = if full { None } else { self.ready.first(queue) };
            let ready = ready.map(|(head, spot)| (head, self.ready.row(spot)));
            let heir = heir.filter(|heir| heir.queue == queue && !full);
            let heir = heir.map(|heir| heir.first);
            if let Some(first) = kept.into_iter().chain(ready).chain(heir).min() {
                if best.as_ref().is_none_or(|other| first < *other) {
                    *best = Some(first);
                }
                if !fault!(QueueOrderIgnored) {
                    return;
                }
            }
            *empty = milder(*empty, if full { Empty::Full } else { Empty::Blocked });
        }
    }

    fn hand_out(
        &mut self,
        best: Option<(Head, u32)>,
        heir: Option<Heir>,
        empty: Empty,
        terms: Terms,
    ) -> Result<Claim, Empty> {
        if let Some(heir) = heir {
            self.hand_over(best == Some(heir.first));
        }
        match best {
            Some((_, row)) => Ok(self.take(row, terms)),
            None => Err(empty),
        }
    }

    /// Moves a run from the line into a worker's hands: slots, token, PENDING.
    pub(crate) fn take(&mut self, row: u32, terms: Terms) -> Claim {
        let grant = if let Some(Work::Kept(_)) = self.work.get(row as usize) {
            self.pass_on_slots(row)
        } else {
            self.take_slots(row)
        };
        self.forget_expiry(row);
        self.token += u64::from(!fault!(TokenAgain));
        self.totals.claimed += 1;
        let (token, at) = (self.token, self.wall);
        let signal = Arc::new(StopSignal::default());
        let resumed = self.run(row).is_called(&RESUMING);
        let held = Held {
            token,
            timer: None,
            signal: Some(signal.clone()),
            supervised: terms.supervised,
            timed_out: false,
            resumed,
            grant,
            lease: None,
        };
        self.work[row as usize] = Work::Claimed(held);
        let run = self.enter(
            row,
            StateType::Pending,
            StateType::Pending.default_name(),
            None,
            at,
        );
        run.place = Place::Claimed;
        run.attempt += 1;
        if terms.begin {
            self.begin_row(row);
        }
        if let Some(lease) = terms.lease {
            let id = self.run(row).id;
            self.begin_lease(id, token, lease)
                .expect("the claim was made a moment ago");
        }
        if self.collisions > 0 {
            self.claimed_under_options(row, token, terms);
        }
        self.claim_form(row, token, signal)
    }

    /// The worker's form of a claim.
    fn claim_form(&self, row: u32, token: u64, signal: Arc<StopSignal>) -> Claim {
        let run = self.run(row);
        let body = &run.body;
        Claim {
            run: run.id,
            attempt: run.attempt,
            token,
            name: run.name.clone(),
            flow: self
                .catalog
                .flows
                .get(body.flow)
                .expect("a flow with runs is kept")
                .data
                .name
                .clone(),
            deployment: body.deployment_id,
            priority: run.priority,
            parameters: body.parameters.clone(),
            timeout: body.timeout,
            payload: self.payload_of(row),
            signal,
        }
    }

    /// The claim that is current for a run, again.
    pub(crate) fn claim_again(&mut self, run: RunId, token: u64) -> Result<Claim, Error> {
        let row = self.claimed_row(run, token)?;
        let Work::Claimed(held) = &mut self.work[row as usize] else {
            unreachable!("the token was just checked")
        };
        let signal = held.signal.get_or_insert_default().clone();
        if held.timed_out {
            self.effects.stops.push((signal.clone(), StopReason::TimedOut));
        } else if self.run(row).state == Some(StateType::Cancelling) {
            self.effects.stops.push((signal.clone(), StopReason::Cancelled));
        }
        Ok(self.claim_form(row, token, signal))
    }

    /// Starts the attempt: RUNNING, and its timeout begins to count.
    pub(crate) fn begin(&mut self, run: RunId, token: u64) -> Result<(), Error> {
        let row = self.claimed_row(run, token)?;
        self.permit(row, StateType::Running, By::Worker)?;
        self.begin_row(row);
        Ok(())
    }

    pub(crate) fn begin_row(&mut self, row: u32) {
        let at = self.wall;
        let retrying = self.run(row).attempt > 1;
        let resumed = matches!(&self.work[row as usize], Work::Claimed(held) if held.resumed);
        let name = if retrying {
            Text::of("Retrying")
        } else {
            StateType::Running.default_name()
        };
        let run = self.enter(row, StateType::Running, name, None, at);
        run.run_count += u32::from(!resumed);
        if run.start == When::NEVER {
            run.start = When::at(at);
        }
        let (timeout, within) = (run.body.timeout, run.body.retry.time_in_all());
        let mono = self.mono;
        let end_of =
            |span: Duration| mono.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
        // All that a run may take counts from its first start.
        let in_all = within.map(|span| *self.within.entry(row).or_insert_with(|| end_of(span)));
        if let Some(end) = timeout
            .filter(|_| !fault!(TimeoutForgotten))
            .map(end_of)
            .into_iter()
            .chain(in_all)
            .min()
        {
            let timer = self.mono_timers.insert(end, MonoEvent::Timeout { row });
            if let Work::Claimed(held) = &mut self.work[row as usize] {
                held.timer = Some(timer);
            }
            self.effects.ring = true;
        }
    }

    /// Takes back a claim whose attempt has not started; the run returns to its old place in line.
    pub(crate) fn give_back(&mut self, run: RunId, token: u64) -> Result<(), Error> {
        let row = self.claimed_row(run, token)?;
        self.permit(row, StateType::Scheduled, By::Worker)?;
        if fault!(GivenBackToTheEnd) {
            (self.run_mut(row).due, self.run_mut(row).seq) = (self.wall, self.next_seq());
        }
        let resumed = matches!(&self.work[row as usize], Work::Claimed(held) if held.resumed);
        self.drop_claim(row);
        self.run_mut(row).attempt -= 1;
        self.return_to_place(row, resumed);
        Ok(())
    }

    /// Puts a run whose claim was dropped before its start back where it was taken from.
    pub(crate) fn return_to_place(&mut self, row: u32, resumed: bool) {
        let name = if resumed {
            RESUMING
        } else {
            StateType::Scheduled.default_name()
        };
        let (at, now) = (self.wall, self.wall);
        let run = self.enter(row, StateType::Scheduled, name, None, at);
        run.next_start = When::at(run.due);
        self.await_expiry(row);
        if self.run(row).due > now {
            // It was chosen before its time.
            self.enter_later(row);
            self.restore_occurrence(row);
        } else {
            self.enter_line(row);
        }
    }

    /// Whether `set_priority` would be carried out; the error is the one it would give.
    pub(crate) fn check_priority(&self, row: u32) -> Result<(), Error> {
        if !matches!(self.work[row as usize], Work::None) {
            return Ok(());
        }
        let run = self.run(row);
        Err(Error::Transition {
            run: run.id,
            from: run.state.unwrap_or(StateType::Scheduled),
            to: StateType::Scheduled,
            reason: "a run that has ended or is only a record has no place in line to change",
        })
    }

    /// Moves a run to another level, to the back of it.
    pub(crate) fn set_priority(&mut self, id: RunId, priority: Priority) -> Result<(), Error> {
        let row = self.find_run(id)?;
        self.check_priority(row)?;
        if self.run(row).priority == priority {
            return Ok(());
        }
        let (at, mut seq) = (self.wall, self.next_seq());
        if fault!(LevelKeepsItsPlace) {
            seq = 1;
        }
        match self.work[row as usize] {
            Work::Line(_) => {
                self.leave_line(row);
                let run = self.run_mut(row);
                (run.priority, run.due, run.seq) = (priority, at, seq);
                self.enter_line(row);
            }
            // It counts at its new level, and takes the new place when it is let in.
            Work::Buffered => self.change_buffered(row, priority, at, seq),
            // Not due yet: its instant stays, and among those of the same instant it stands last.
            Work::Later => {
                self.leave_later(row);
                let run = self.run_mut(row);
                (run.priority, run.seq) = (priority, seq);
                self.enter_later(row);
            }
            // Should it be given back, it returns to the place that the change gave it.
            Work::Claimed(_) => {
                let run = self.run_mut(row);
                (run.priority, run.due, run.seq) = (priority, at, seq);
            }
            // Its place is made when it becomes due.
            Work::Kept(_) => self.move_kept(row, priority, seq),
            Work::Retry(_) | Work::Paused(_) => self.run_mut(row).priority = priority,
            Work::None => unreachable!("a run in one of these places has its work"),
        }
        self.run_mut(row).updated = at;
        self.changed();
        Ok(())
    }
}

/// Which of two reasons says more about what a worker could get: a limit that may open at any time before a pause
/// that somebody has to end, and both before what is not due.
fn milder(one: Empty, other: Empty) -> Empty {
    let rank = |empty: &Empty| match empty {
        Empty::Full => 4,
        Empty::Blocked => 3,
        Empty::Paused => 2,
        Empty::NotDue(_) => 1,
        Empty::Nothing => 0,
    };
    match (one, other) {
        (Empty::NotDue(one), Empty::NotDue(other)) => Empty::NotDue(one.min(other)),
        _ if rank(&other) > rank(&one) => other,
        _ => one,
    }
}
