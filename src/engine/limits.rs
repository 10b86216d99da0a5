//! Limits inside the engine: named ones and those of deployments are a [`Book`] under the engine's lock.
//!
//! A run that is claimed holds one grant: one slot of its deployment's limit, and of each limit that it names as many as it
//! says, all taken in one step. The engine, its pools and its queues count for themselves: they close a scope and park
//! nobody (C3). The ready order is told how much room a limit has whenever that changes; what time alone brings (slots that
//! drain, leases that lapse) comes at its exact instant, by a timer for the first that waits for it.
//!
//! Names are looked up when a run is accepted. A deployment's list is checked when it is made, and looked up again for each of
//! its runs: a name that stands for nothing any more is passed over (L7). A run's interest in its limits lasts until it has
//! ended, so that a limit made by a template goes with its last holder and waiter (L8).

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::core::{Core, MonoEvent, Work};
use super::error::Error;
use super::ready::Needs;
use super::timers::TimerKey;
use crate::catalog::{RunBody, RunLimits};
use crate::limit::{Ask, Book, Demand, Grant, Holder, LimitKey, LimitSpec, Request, RequestError, SpecError};

/// The book, and what time will bring to it.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) book: Book,
    /// For limits that decay: when the first that waits will fit.
    drains: HashMap<LimitKey, (i64, TimerKey)>,
    lease: Option<(i64, TimerKey)>,
    /// The deployments that have a limit of their own.
    pub(crate) owners: HashMap<LimitKey, u32>,
}

impl Limits {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            book: Book::with_limits_max(most),
            drains: HashMap::new(),
            lease: None,
            owners: HashMap::new(),
        }
    }
}

/// What to change of a named limit; what is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use]
pub struct LimitPatch {
    pub(crate) slots: Option<u32>,
    pub(crate) active: Option<bool>,
    pub(crate) decay: Option<f64>,
}

impl LimitPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many slots there are. Lowering takes nothing away: it lets nobody in until less is held.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Whether it counts. An inactive limit lets everybody in; what is held meanwhile counts once it is active again.
    pub fn active(mut self, active: bool) -> Self {
        self.active = Some(active);
        self
    }

    /// Sets how many slots drain away each second; 0 for none.
    pub fn decay(mut self, slots_per_second: f64) -> Self {
        self.decay = Some(slots_per_second);
        self
    }
}

fn micros(span: Duration) -> i64 {
    // Up, so that what is to have happened by then has.
    i64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}

impl Core {
    /// Monotonic time, as limits count it.
    pub(crate) fn mono_time(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.mono).unwrap_or(0))
    }

    /// What a run takes when it is claimed, deployment first; `None` for a run without limits.
    pub(crate) fn demand_of(&self, row: u32) -> Option<Demand> {
        let run = self.run(row);
        let own = run
            .deployment
            .and_then(|deployment| self.deployments[deployment as usize].as_ref()?.limit);
        let named = run.body.limits.as_deref();
        if own.is_none() && named.is_none() {
            return None;
        }
        let mut demand = Demand::new();
        let own = own.map(|limit| Ask { limit, weight: 1 });
        for ask in own.into_iter().chain(named.into_iter().flat_map(RunLimits::asks)) {
            if self.limits.book.is_live(ask.limit) {
                demand
                    .push(ask)
                    .expect("a list of limits is checked when it is accepted");
            }
        }
        (!demand.is_empty()).then_some(demand)
    }

    /// The same for the ready order, whose gates are made and told their room.
    pub(crate) fn needs_of(&mut self, row: u32) -> Needs {
        let mut needs = Needs::NONE;
        let now = self.mono_time();
        let Self {
            catalog,
            deployments,
            limits,
            ready,
            ..
        } = self;
        let run = catalog.runs.get(row).expect("work names rows that hold a run");
        let own = run
            .deployment
            .and_then(|deployment| deployments[deployment as usize].as_ref()?.limit);
        let own = own.map(|limit| Ask { limit, weight: 1 });
        let named = run.body.limits.as_deref();
        for ask in own.into_iter().chain(named.into_iter().flat_map(RunLimits::asks)) {
            let Some((room, slots, decays)) = limits.book.gate(ask.limit, now) else {
                continue;
            };
            let gate = ready.gate_of(ask.limit, room, slots, decays);
            if decays {
                // What has drained since somebody looked.
                ready.set_room(gate, room);
            }
            needs.push(gate, ask.weight);
        }
        needs
    }

    /// Takes the slots of a run in line for its next attempt: engine, pool, queue, and its limits in one step; and the run out of
    /// line. The caller has seen that all of them fit.
    pub(crate) fn take_slots(&mut self, row: u32) -> Option<Grant> {
        self.count_slots(row, |count| *count += 1);
        let Work::Line(spot) = self.work[row as usize] else {
            unreachable!("a run is claimed out of its line")
        };
        let holder = Holder::run(row, self.run(row).attempt + 1);
        let now = self.mono_time();
        let (mut demand, mut rooms) = (Demand::new(), [(0, 0); crate::limit::DEMAND_LIMITS_MAX]);
        let book = &mut self.limits.book;
        for (gate, ask) in self.ready.needs_at(spot) {
            if book.is_live(ask.limit) {
                rooms[demand.asks().len()].0 = gate;
                demand
                    .push(ask)
                    .expect("a list of limits is checked when it is accepted");
            }
        }
        let rooms = &mut rooms[..demand.asks().len()];
        let grant = (!demand.is_empty()).then(|| {
            book.take(&demand, holder, now)
                .expect("the ready order lets in who fits, and an attempt takes its slots once")
        });
        for (room, ask) in rooms.iter_mut().zip(demand.asks()) {
            room.1 = book.room(ask.limit, now);
        }
        self.leave_line_by(row, |ready, spot| ready.take(spot, rooms));
        grant
    }

    /// Takes the slots that a claim held when it was exported, whether they fit or not.
    pub(crate) fn seize_slots(&mut self, row: u32) -> Option<Grant> {
        self.count_slots(row, |count| *count += 1);
        let demand = self.demand_of(row)?;
        let (holder, now) = (Holder::run(row, self.run(row).attempt), self.mono_time());
        self.limits.book.seize(&demand, holder, now).ok()
    }

    /// Gives slots back. Called exactly once for each taking, by whoever moves the run out of `Claimed`.
    pub(crate) fn release_slots(&mut self, row: u32, grant: Option<Grant>) {
        self.count_slots(row, |count| {
            *count -= 1 + u32::from(fault!(DoubleRelease));
        });
        let now = self.mono_time();
        if fault!(LostRelease) {
            return;
        }
        if let Some(released) = grant.and_then(|grant| self.limits.book.release(grant, now)) {
            self.give_room(released);
        }
        self.effects.ring = true;
    }

    /// The pool of a queue that has runs.
    pub(crate) fn queue_pool(&self, queue: u32) -> u32 {
        let queue = self.catalog.queues.get(queue).expect("a queue with runs is kept");
        queue.pool
    }

    fn count_slots(&mut self, row: u32, change: impl Fn(&mut u32)) {
        let queue = self.run(row).in_queue();
        let pool = self.queue_pool(queue);
        change(&mut self.held);
        change(&mut self.queues[queue as usize].held);
        change(&mut self.pools[pool as usize].held);
    }

    /// Tells the ready order how much room a limit has.
    pub(crate) fn room_changed(&mut self, limit: LimitKey) {
        if let Some(gate) = self.ready.find_gate(limit) {
            let room = self.limits.book.room(limit, self.mono_time());
            self.ready.set_room(gate, room);
            self.arm_limits();
        }
    }

    /// The same after its definition has changed.
    fn limit_changed(&mut self, limit: LimitKey) {
        if fault!(LostWakeOnRaise) {
            return;
        }
        if let Some(gate) = self.ready.find_gate(limit) {
            let book = &self.limits.book;
            let (slots, decays) = (book.slots(limit), book.decays(limit));
            self.ready.set_slots(gate, slots, decays);
        }
        self.room_changed(limit);
        self.effects.ring = true;
    }

    /// Sets a timer for each limit at which somebody waits for what drains, for the instant at which the first fits. What has
    /// drained by now is told first: nobody may have waited for it until now, or only runs of a paused queue.
    pub(crate) fn arm_limits(&mut self) {
        while let Some((gate, limit)) = self.ready.thirsty() {
            let now = self.mono_time();
            let room = self.limits.book.room(limit, now);
            let (news, wanted) = self.ready.wanted(gate, room);
            self.effects.ring |= news;
            let at = wanted
                .and_then(|room| self.limits.book.room_in(limit, room, now))
                .map(|wait| self.mono.saturating_add(micros(wait)));
            let before = self.limits.drains.get(&limit).copied();
            if before.map(|(at, _)| at) == at {
                continue;
            }
            if let Some((_, timer)) = before {
                self.mono_timers.cancel(timer);
                self.limits.drains.remove(&limit);
            }
            if let Some(at) = at {
                let timer = self.mono_timers.insert(at, MonoEvent::Room { limit });
                self.limits.drains.insert(limit, (at, timer));
                self.effects.ring = true;
            }
        }
    }

    /// Slots have drained: somebody fits.
    pub(crate) fn room_came(&mut self, limit: LimitKey) {
        self.limits.drains.remove(&limit);
        self.room_changed(limit);
        self.changed();
        self.effects.ring = true;
    }

    /// Ends the leases that have lapsed.
    pub(crate) fn leases_lapsed(&mut self) {
        self.limits.lease = None;
        let lapsed = self.limits.book.expire(self.mono_time());
        for lease in &lapsed {
            for ask in lease.released.asks() {
                self.room_changed(ask.limit);
            }
        }
        if !lapsed.is_empty() {
            self.changed();
            self.effects.ring = true;
        }
        self.arm_lease();
    }

    pub(crate) fn arm_lease(&mut self) {
        let at = self.limits.book.next_expiry().map(micros);
        if self.limits.lease.map(|(at, _)| at) == at {
            return;
        }
        if let Some((_, timer)) = self.limits.lease.take() {
            self.mono_timers.cancel(timer);
        }
        if let Some(at) = at {
            self.limits.lease = Some((at, self.mono_timers.insert(at, MonoEvent::Lease)));
            self.effects.ring = true;
        }
    }

    /// Checks a list of limits that a deployment or a run names.
    pub(crate) fn check_limits(&self, request: &Request) -> Result<(), RequestError> {
        self.limits.book.check_request(request.iter()).map(drop)
    }

    /// The limits of a run that names `own` and is made from what names `defaults`: its own laid over the others, name by
    /// name. What the defaults name and is gone by now is passed over.
    pub(crate) fn laid_over(
        &self,
        own: &Request,
        defaults: Option<&RunLimits>,
    ) -> Result<Option<Arc<RunLimits>>, RequestError> {
        let all = match defaults {
            Some(defaults) => own.over(&defaults.request),
            None => own.clone(),
        };
        let gone = |error: &RequestError| matches!(error, RequestError::Unknown { name } if !own.iter().any(|(own, _)| own == name));
        let known = all.iter().filter(|&ask| {
            !self
                .limits
                .book
                .check_request([ask])
                .is_err_and(|error| gone(&error))
        });
        self.limits.book.check_request(known)?;
        Ok((!all.is_empty()).then(|| {
            Arc::new(RunLimits {
                request: all,
                keys: Vec::new(),
            })
        }))
    }

    /// A body whose limits have been looked up now, with an interest in each.
    pub(crate) fn bind_limits(&mut self, mut body: Arc<RunBody>, deployment: Option<u32>) -> Arc<RunBody> {
        let Some(limits) = body.limits.clone() else {
            return body;
        };
        let now = self.mono_time();
        let book = &mut self.limits.book;
        book.make_way(now);
        let mut names = limits.request.iter().zip(&limits.keys);
        let current = limits.keys.len() == limits.request.iter().len()
            && names.all(|((name, _), key)| key.is_some() && book.find(name) == *key);
        let keys = if current {
            limits.keys.clone()
        } else {
            let keys: Vec<_> = limits
                .request
                .iter()
                .map(|(name, _)| book.bind(name, now))
                .collect();
            let shared = deployment.and_then(|row| self.deployments[row as usize].as_mut());
            let shared = shared.filter(|work| Arc::ptr_eq(&work.template, &body));
            let bound = Arc::new(RunBody {
                limits: Some(Arc::new(RunLimits {
                    request: limits.request.clone(),
                    keys: keys.clone(),
                })),
                ..(*body).clone()
            });
            if let Some(work) = shared {
                work.template = bound.clone();
            }
            body = bound;
            keys
        };
        for key in keys.into_iter().flatten() {
            self.limits.book.retain_key(key);
        }
        body
    }

    /// The run of this row, which was read from a document, needs its limits.
    pub(crate) fn retain_limits(&mut self, row: u32) {
        let limits = self.run(row).body.limits.clone();
        for key in limits.iter().flat_map(|limits| limits.keys.iter().flatten()) {
            self.limits.book.retain_key(*key);
        }
    }

    /// The run of this row needs its limits no more.
    pub(crate) fn forget_limits(&mut self, row: u32) {
        let Some(limits) = self.run(row).body.limits.clone() else {
            return;
        };
        let now = self.mono_time();
        for key in limits.keys.iter().flatten() {
            self.limits.book.forget_key(*key, now);
        }
    }

    /// Gives a deployment a limit of its own, changes it, or takes it away. What runs already counts (L1).
    pub(crate) fn set_deployment_limit(&mut self, row: u32, limit: Option<u32>) {
        let now = self.mono_time();
        let work = self.deployments[row as usize].as_mut().expect("just found");
        match (work.limit, limit) {
            (None, None) => {}
            (Some(key), Some(slots)) => {
                let book = &mut self.limits.book;
                book.set_slots(key, slots, now)
                    .expect("the limit of a deployment is kept with it");
                self.limit_changed(key);
            }
            (Some(key), None) => {
                work.limit = None;
                self.remove_limit(key);
            }
            (None, Some(slots)) => {
                let key = self.define_deployment_limit(row, slots);
                let work = self.deployments[row as usize].as_mut().expect("just found");
                work.limit = Some(key);
                let runs: Vec<u32> = self.active.rows(work.active).collect();
                let (claimed, others): (Vec<u32>, Vec<u32>) = runs
                    .into_iter()
                    .partition(|&run| matches!(self.work[run as usize], Work::Claimed(_) | Work::Kept(_)));
                for run in claimed {
                    self.attach(
                        run,
                        Ask {
                            limit: key,
                            weight: 1,
                        },
                    );
                }
                // Its waiting runs stand among those without it; they go to their class, at their own places.
                for run in others {
                    if matches!(self.work[run as usize], Work::Line(_)) {
                        self.leave_line(run);
                        self.enter_line(run);
                    }
                }
            }
        }
        self.effects.ring = true;
    }

    pub(crate) fn define_deployment_limit(&mut self, row: u32, slots: u32) -> LimitKey {
        let now = self.mono_time();
        let key = self
            .limits
            .book
            .define_internal("deployment", slots, now)
            .expect("there are fewer deployments than limits a book can number");
        self.limits.owners.insert(key, row);
        key
    }

    fn attach(&mut self, row: u32, ask: Ask) {
        if fault!(AttachCountsNothing) {
            return;
        }
        let (holder, now) = (Holder::run(row, self.run(row).attempt), self.mono_time());
        let held = match &mut self.work[row as usize] {
            Work::Claimed(held) => &mut held.grant,
            Work::Kept(kept) => &mut kept.grant,
            _ => return,
        };
        let book = &mut self.limits.book;
        if let Some(grant) = *held {
            book.attach(grant, ask, now)
                .expect("a grant has room for its eight limits and one more");
        } else {
            let demand = Demand::of(&[ask]).expect("one slot of one limit");
            *held = book.seize(&demand, holder, now).ok();
        }
    }

    /// Removes a limit from the book, in use or not: holders keep what else they hold, waiters go on (L7).
    pub(crate) fn remove_limit(&mut self, key: LimitKey) {
        for key in self.limits.book.remove(key).unwrap_or_default() {
            self.limits.owners.remove(&key);
            self.ready.lift(key);
            if let Some((_, timer)) = self.limits.drains.remove(&key) {
                self.mono_timers.cancel(timer);
            }
        }
        self.arm_limits();
        self.effects.ring = true;
    }

    /// The limit or template of this name.
    pub(crate) fn limit_key(&self, name: &str) -> Result<LimitKey, Error> {
        self.limits.book.find(name).ok_or_else(|| Error::NotFound {
            kind: "limit",
            name: format!("{name:?}"),
            hint: "define it first with `define_limit`; what a template makes is forgotten when nobody needs it",
        })
    }

    pub(crate) fn define_limit(&mut self, spec: LimitSpec) -> Result<(), SpecError> {
        let now = self.mono_time();
        let key = self.limits.book.define(spec, now)?;
        // It may have been made by a template before, with other slots.
        self.limit_changed(key);
        self.changed();
        Ok(())
    }

    pub(crate) fn update_limit(&mut self, name: &str, patch: LimitPatch) -> Result<(), Error> {
        let (key, now) = (self.limit_key(name)?, self.mono_time());
        let book = &mut self.limits.book;
        // The one that can fail comes first.
        if let Some(decay) = patch.decay {
            book.set_decay(key, decay, now)?;
        }
        if let Some(slots) = patch.slots {
            book.set_slots(key, slots, now)?;
        }
        if let Some(active) = patch.active {
            book.set_active(key, active, now)?;
        }
        for key in book.with_instances(key) {
            self.limit_changed(key);
        }
        self.changed();
        Ok(())
    }

    pub(crate) fn delete_limit(&mut self, name: &str) -> Result<(), Error> {
        let key = self.limit_key(name)?;
        self.remove_limit(key);
        self.changed();
        Ok(())
    }
}

#[cfg(any(test, fuzzing))]
impl Core {
    /// Panics unless the book, the claims and the ready order agree.
    pub(crate) fn check_limits_kept(&self) {
        self.limits.book.check_invariants();
        let mut grants = 0;
        for (row, run) in self.catalog.runs.iter() {
            let grant = match &self.work[row as usize] {
                Work::Claimed(held) => held.grant,
                Work::Kept(kept) => kept.grant,
                _ => continue,
            };
            grants += usize::from(grant.is_some());
            let mut asked: Vec<(usize, u32)> = self
                .demand_of(row)
                .iter()
                .flat_map(Demand::asks)
                .map(|ask| (ask.limit.index(), ask.weight))
                .collect();
            let held = grant.map(|grant| self.limits.book.holdings(grant));
            let held = held.map(|held| held.expect("L2 broken: a claim's grant has ended"));
            let mut holds: Vec<(usize, u32)> = held
                .iter()
                .flat_map(Demand::asks)
                .map(|ask| (ask.limit.index(), ask.weight))
                .collect();
            asked.sort_unstable();
            holds.sort_unstable();
            assert_eq!(
                asked, holds,
                "L3 broken: run {} holds other slots than it needs",
                run.id
            );
        }
        let leases = self.limits.book.export(self.mono_time()).leases.len();
        assert_eq!(
            grants + leases + self.check_steps(),
            self.limits.book.grants(),
            "L2 broken: a grant has no claim"
        );
        let now = self.mono_time();
        for limit in self.limits.book.listed() {
            let room = self.limits.book.room(limit, now);
            match self.ready.room_at(limit) {
                Some(known) if self.limits.book.decays(limit) => {
                    assert!(known <= room, "L1 broken: more room is believed in than there is");
                }
                Some(known) => assert_eq!(known, room, "L1 broken: the room of a limit"),
                None => {}
            }
        }
    }
}
