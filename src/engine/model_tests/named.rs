//! Named limits in the model, and the calls on them: who needs which, and how much of each is held.

use std::time::Duration;

use super::super::{LimitPatch, StateType, Stop};
use super::calls::{Named, Order};
use super::list::{Alarm, At, Model, ModelRun};
use super::{Both, queue_name};
use crate::limit::{LeaseId, LimitSpec, Mode};
use crate::model::QueueOrder;

/// The template is that of the two before it; the last drains by half a slot in a second, and only runs name it.
const NAMES: [&str; 6] = ["a", "b", "t:1", "t:2", "t:*", "r"];
const TEMPLATE: usize = 4;
const DRAINS: usize = 5;
/// What a slot of the limit that drains is, in what drains in a microsecond.
const DROPS: i64 = 2_000_000;
/// The alarms of leases are numbered from here, past those of runs.
const LEASES: usize = 1 << 32;
const MINUTE: i64 = 60_000_000;

/// What deployment `n` of four names.
pub(super) const DEFAULTS: [&[(usize, u32)]; 4] = [&[], &[(0, 1)], &[], &[(2, 2), (1, 1)]];

#[derive(Clone, Debug)]
pub(super) struct ModelLimit {
    name: usize,
    slots: u32,
    active: bool,
    live: bool,
    /// A template has made it.
    made: bool,
    anonymous: u32,
}

#[derive(Clone, Debug)]
pub(super) struct ModelLease {
    id: LeaseId,
    limits: Vec<usize>,
    slots: u32,
    live: bool,
}

pub(super) fn name(of: usize) -> &'static str {
    NAMES[of]
}

impl Model {
    /// What was taken or given back since it was looked at last goes into the limit that drains, or out of it.
    pub(super) fn drain(&mut self) {
        let Some(limit) = self.find(DRAINS) else { return };
        let (holders, mono) = (i64::from(self.holders_of(limit)), self.mono);
        let (drops, at, held) = self.bucket;
        let left = (drops - (mono - at)).max(0);
        self.bucket = ((left + (holders - held) * DROPS).max(0), mono, holders);
    }

    /// Some run waits for what time brings, or has: what was to wake it comes all the same.
    pub(super) fn awaits_drain(&self) -> bool {
        let drains = |need: &(usize, u32)| self.named[need.0].name == DRAINS;
        self.runs.iter().any(|run| run.needs.iter().any(drains))
    }

    fn held_named(&self, limit: usize) -> u32 {
        if self.named[limit].name == DRAINS {
            let (drops, at, _) = self.bucket;
            let left = (drops - (self.mono - at)).max(0);
            return u32::try_from((left + DROPS - 1) / DROPS).unwrap();
        }
        self.holders_of(limit)
    }

    fn holders_of(&self, limit: usize) -> u32 {
        let claimed = self
            .runs
            .iter()
            .filter(|run| matches!(run.at, At::Claimed { .. }));
        let runs = claimed.flat_map(|run| &run.needs).filter(|need| need.0 == limit);
        let leases = self
            .leases
            .iter()
            .filter(|lease| lease.live && lease.limits.contains(&limit));
        let leased: u32 = leases.map(|lease| lease.slots).sum();
        runs.map(|need| need.1).sum::<u32>() + leased + self.named[limit].anonymous
    }

    /// Free slots of a limit; none while it is unlimited.
    fn room_named(&self, limit: usize) -> Option<u32> {
        let of = &self.named[limit];
        (of.live && of.active).then(|| of.slots.saturating_sub(self.held_named(limit)))
    }

    pub(super) fn fits_named(&self, run: &ModelRun) -> bool {
        run.needs
            .iter()
            .all(|&(limit, weight)| self.room_named(limit).is_none_or(|room| weight <= room))
    }

    fn needs_now(&self, run: &ModelRun) -> impl Iterator<Item = (usize, u32)> {
        let live = |need: &&(usize, u32)| self.named[need.0].live;
        run.needs.iter().filter(live).copied()
    }

    /// A limit that a template has made goes with the last that needs it.
    pub(super) fn collect(&mut self) {
        for limit in 0..self.named.len() {
            let of = &self.named[limit];
            let needed = |run: &ModelRun| {
                !matches!(run.at, At::Finished(_)) && run.needs.iter().any(|need| need.0 == limit)
            };
            if of.live && of.made && self.count(needed) == 0 && self.held_named(limit) == 0 {
                self.named[limit].live = false;
            }
        }
    }

    fn find(&self, name: usize) -> Option<usize> {
        self.named
            .iter()
            .position(|limit| limit.live && limit.name == name)
    }

    /// The limit that a name stands for, or the template that would make it.
    fn meant(&self, name: usize) -> Option<usize> {
        match self.find(name) {
            None if name == 2 || name == 3 => self.find(TEMPLATE),
            found => found,
        }
    }

    fn never(&self, limit: usize, weight: u32) -> bool {
        self.named[limit].active && self.named[limit].slots < weight
    }

    fn bind(&mut self, name: usize) -> Option<usize> {
        let meant = self.meant(name)?;
        if self.named[meant].name == name {
            return Some(meant);
        }
        let made = ModelLimit {
            name,
            made: true,
            ..self.named[meant].clone()
        };
        self.named.push(made);
        Some(self.named.len() - 1)
    }

    /// What an order names, laid over what its deployment does; none when it could never be granted.
    pub(super) fn asks(&self, order: &Order) -> Option<Vec<(usize, u32)>> {
        let mut all = order.named.clone();
        if order.named.iter().any(|&(name, _)| self.meant(name).is_none()) {
            return None;
        }
        if self.deployments.get(order.target).is_some_and(Option::is_some) {
            let defaults = self.defaults(order.target);
            let own = |name: usize| order.named.iter().any(|own| own.0 == name);
            all.extend(defaults.iter().filter(|other| !own(other.0)));
        }
        let never = |&(name, weight): &(usize, u32)| {
            let meant = self.meant(name);
            meant.is_some_and(|limit| self.never(limit, weight))
        };
        (!all.iter().any(never)).then_some(all)
    }

    pub(super) fn bind_all(&mut self, asks: &[(usize, u32)]) -> Vec<(usize, u32)> {
        asks.iter()
            .filter_map(|&(name, weight)| Some((self.bind(name)?, weight)))
            .collect()
    }

    fn defaults(&self, deployment: usize) -> &'static [(usize, u32)] {
        if self.with_names {
            DEFAULTS[deployment]
        } else {
            &[]
        }
    }

    /// Whether what a deployment names may be named now.
    pub(super) fn may_deploy(&self, at: usize) -> bool {
        let defaults = self.defaults(at);
        defaults.iter().all(|&(name, weight)| {
            let meant = self.meant(name);
            meant.is_some_and(|limit| !self.never(limit, weight))
        })
    }

    /// The limits of these names that count now, if each has so many slots left; none when one has not, or never will.
    fn counted(&mut self, names: &[usize], slots: u32) -> Option<Vec<usize>> {
        let mut limits = Vec::new();
        for &name in names {
            let Some(limit) = self.meant(name) else { continue };
            if name == TEMPLATE || self.never(limit, slots) {
                return None;
            }
            limits.push(name);
        }
        let limits: Vec<usize> = limits
            .into_iter()
            .filter_map(|name| {
                let meant = self.meant(name)?;
                if !self.named[meant].active {
                    return None;
                }
                self.bind(name)
            })
            .collect();
        let free = |&limit: &usize| self.room_named(limit).is_none_or(|room| slots <= room);
        limits.iter().all(free).then_some(limits)
    }

    pub(super) fn lease_lapsed(&mut self, alarm: usize) {
        self.leases[alarm - LEASES].live = false;
    }

    /// Whether a claim would take it, were it to take all that it can, one after the other.
    fn startable(&self, run: &ModelRun) -> bool {
        let closed = |limit: Option<u32>, held: u32| limit.is_some_and(|limit| limit <= held);
        let pool = run.queue / 3;
        let here = !self.blocked(run)
            && !closed(self.pool_limit[pool], self.held(|other| other.queue / 3 == pool))
            && !closed(
                self.queue_limit[run.queue],
                self.held(|other| other.queue == run.queue),
            );
        let before = |other: &&ModelRun| {
            other.at == At::Line && other.queue == run.queue && other.place_in_line() < run.place_in_line()
        };
        here && (!self.strict[run.queue] || self.runs.iter().filter(before).all(|other| !self.blocked(other)))
    }

    /// Waiting runs as `peek` lists them: those in line in claim order, then the others. Of two pools the one comes first whose first
    /// run that may start does; what is stopped before that comes with it, and what is stopped behind all at the end.
    fn peek(&self) -> (Vec<usize>, Vec<usize>) {
        let mut pools = [0, 1].map(|pool| {
            let mut line: Vec<usize> = (0..self.runs.len())
                .filter(|&at| self.runs[at].at == At::Line && self.runs[at].queue / 3 == pool)
                .collect();
            line.sort_by_key(|&at| (self.runs[at].queue, self.runs[at].place_in_line()));
            line
        });
        let mut order = Vec::new();
        while let Some(pool) = (0..2)
            .filter(|&pool| !pools[pool].is_empty())
            .min_by_key(|&pool| {
                let startable = pools[pool].iter().find(|&&at| self.startable(&self.runs[at]));
                let first = startable.unwrap_or(&pools[pool][0]);
                (startable.is_none(), self.runs[*first].place_in_line())
            })
        {
            order.push(pools[pool].remove(0));
        }
        let mut later: Vec<usize> = (0..self.runs.len())
            .filter(|&at| matches!(self.runs[at].at, At::Later | At::Retry))
            .collect();
        later.sort_by_key(|&at| self.runs[at].id);
        (order, later)
    }
}

impl Both {
    /// Two limits and a template, and a queue in strict order.
    pub(super) fn with_names() -> Self {
        let mut both = Self::bare();
        both.model.with_names = true;
        for (name, slots) in [(0, 3), (1, 2), (TEMPLATE, 2)] {
            both.name(&Named::Define(name, slots, true));
        }
        both.name(&Named::Strict(4, true));
        let drains = LimitSpec::new(NAMES[DRAINS], 3).decay(0.5);
        both.engine.define_limit(drains).unwrap();
        both.model.named.push(ModelLimit {
            name: DRAINS,
            slots: 3,
            active: true,
            live: true,
            made: false,
            anonymous: 0,
        });
        (0..4).for_each(|deployment| both.deploy(deployment));
        both
    }

    pub(super) fn name(&mut self, op: &Named) {
        match op {
            Named::Define(of, slots, active) => {
                let mut spec = LimitSpec::new(name(*of), *slots);
                spec.active = *active;
                let answer = self.engine.define_limit(spec);
                match self.model.find(*of) {
                    Some(limit) if !self.model.named[limit].made => {
                        answer.unwrap_err();
                        return self.refused();
                    }
                    Some(limit) => {
                        let limit = &mut self.model.named[limit];
                        (limit.slots, limit.active, limit.made) = (*slots, *active, false);
                    }
                    None => self.model.named.push(ModelLimit {
                        name: *of,
                        slots: *slots,
                        active: *active,
                        live: true,
                        made: false,
                        anonymous: 0,
                    }),
                }
                answer.unwrap();
            }
            Named::Change(of, slots, active) => {
                let mut patch = LimitPatch::new();
                if let Some(slots) = *slots {
                    patch = patch.slots(slots);
                }
                if let Some(active) = *active {
                    patch = patch.active(active);
                }
                let answer = self.engine.update_limit(name(*of), patch);
                let Some(found) = self.model.find(*of) else {
                    answer.unwrap_err();
                    return self.refused();
                };
                answer.unwrap();
                for (at, limit) in self.model.named.iter_mut().enumerate() {
                    if at == found || (*of == TEMPLATE && limit.live && limit.made) {
                        limit.slots = slots.unwrap_or(limit.slots);
                        limit.active = active.unwrap_or(limit.active);
                    }
                }
            }
            Named::Remove(of) => {
                let answer = self.engine.delete_limit(name(*of));
                let Some(found) = self.model.find(*of) else {
                    answer.unwrap_err();
                    return self.refused();
                };
                answer.unwrap();
                for (at, limit) in self.model.named.iter_mut().enumerate() {
                    limit.live &= at != found && !(*of == TEMPLATE && limit.made);
                }
            }
            Named::Increment(of, slots) => {
                let names: Vec<&str> = of.iter().map(|&of| name(of)).collect();
                let answer = self.engine.increment_slots(&names, *slots, Mode::Concurrency);
                let counted = self.model.counted(of, *slots);
                assert_eq!(answer.is_ok(), counted.is_some(), "L3: {answer:?}");
                for limit in counted.into_iter().flatten() {
                    self.model.named[limit].anonymous += slots;
                }
                self.model.collect();
            }
            Named::Decrement(of, slots) => {
                let names: Vec<&str> = of.iter().map(|&of| name(of)).collect();
                self.engine.decrement_slots(&names, *slots, None).unwrap();
                for &of in of {
                    if let Some(limit) = self.model.find(of) {
                        let limit = &mut self.model.named[limit];
                        limit.anonymous = limit.anonymous.saturating_sub(*slots);
                    }
                }
            }
            Named::Lease(of, slots) => {
                let names: Vec<&str> = of.iter().map(|&of| name(of)).collect();
                let minute = Duration::from_secs(60);
                let answer = self
                    .engine
                    .lease_slots(&names, *slots, Mode::Concurrency, minute, None);
                let counted = self.model.counted(of, *slots);
                assert_eq!(answer.is_ok(), counted.is_some(), "L3: {answer:?}");
                if let (Ok((id, _)), Some(limits)) = (answer, counted) {
                    let alarm = LEASES + self.model.leases.len();
                    self.model.alarm(self.model.mono + MINUTE, alarm, Alarm::Lease);
                    let lease = ModelLease {
                        id,
                        limits,
                        slots: *slots,
                        live: true,
                    };
                    self.model.leases.push(lease);
                }
                self.model.collect();
            }
            Named::Release(pick) => {
                let Some(at) = pick.checked_rem(self.model.leases.len()) else {
                    return self.look();
                };
                let lease = &mut self.model.leases[at];
                let was = std::mem::replace(&mut lease.live, false);
                assert_eq!(self.engine.release_slots(lease.id).unwrap(), was, "L2");
                self.model.alarms.retain(|alarm| alarm.2 != LEASES + at);
            }
            Named::Strict(queue, strict) => {
                let (pool, of) = queue_name(*queue);
                let order = if *strict {
                    QueueOrder::StrictFifo
                } else {
                    QueueOrder::BestEffort
                };
                self.engine.set_queue_order(pool, of, order).unwrap();
                self.model.strict[*queue] = *strict;
            }
            Named::ClaimRun(pick) => self.claim_run(*pick),
            Named::ClaimMany(most) => {
                let answer = self.engine.claim_many(&super::Scope::all(), *most).unwrap();
                let all = [0, 1, 2, 3, 4, 5];
                let claims = answer.unwrap_or_default();
                let len = claims.len();
                for claim in claims {
                    let at = self.model.claim(&all).expect("C1: nothing fits");
                    self.claimed(claim, at);
                }
                assert!(
                    len == *most || self.model.claim(&all).is_err(),
                    "L4: another fits"
                );
            }
            Named::Peek => {
                let runs = self.engine.peek(&super::Scope::all(), None, None, 100).unwrap();
                let (line, later) = self.model.peek();
                let ids = |rows: &[usize]| rows.iter().map(|&at| self.model.runs[at].id).collect::<Vec<_>>();
                let listed: Vec<_> = runs.iter().map(|run| run.id).collect();
                let (first, mut rest) = (listed[..line.len()].to_vec(), listed[line.len()..].to_vec());
                rest.sort_unstable();
                assert_eq!((first, rest), (ids(&line), ids(&later)), "C4: in claim order");
            }
        }
    }

    /// C4: all its slots in one step, or the first thing that stops it.
    fn claim_run(&mut self, pick: usize) {
        let Some(at) = pick.checked_rem(self.model.runs.len()) else {
            return self.look();
        };
        let run = self.model.runs[at].clone();
        match (self.engine.claim_run(run.id), run.at) {
            (Err(_), At::Claimed { .. } | At::Finished(_)) => self.refused(),
            (Ok(Err(stop)), At::Later | At::Line | At::Retry | At::Paused) => {
                let model = &self.model;
                let expected = match stop {
                    Stop::PoolPaused(_) | Stop::QueuePaused(_) => model.paused(run.queue),
                    Stop::EngineFull(_) | Stop::PoolFull(_) | Stop::QueueFull(_) => model.full(run.queue),
                    Stop::Limit { name: None, .. } => model.room(&run) == Some(0),
                    Stop::Limit {
                        name: Some(of),
                        weight,
                        room,
                        slots,
                        ..
                    } => model.needs_now(&run).any(|(limit, needs)| {
                        let here = &model.named[limit];
                        name(here.name) == of
                            && (needs, here.slots) == (weight, slots)
                            && model.room_named(limit) == Some(room)
                            && room < weight
                    }),
                    _ => false,
                };
                assert!(expected, "run {run:?} was refused");
                self.refused();
            }
            (Ok(Ok(claim)), At::Later | At::Line | At::Retry | At::Paused) => {
                assert_eq!(self.model.why_not(&run), None, "L1: {run:?} does not fit");
                self.chosen(claim, at);
            }
            other => panic!("{other:?}"),
        }
    }

    /// A chosen run is claimed.
    pub(super) fn chosen(&mut self, claim: super::Claim, at: usize) {
        self.model.alarms.retain(|alarm| alarm.2 != at);
        let (wall, seq) = (self.model.wall, self.model.next());
        let run = &mut self.model.runs[at];
        if run.at == At::Paused {
            (run.due, run.seq, run.resumed) = (wall, seq, true);
        }
        self.claimed(claim, at);
    }

    /// A run is claimed.
    pub(super) fn claimed(&mut self, claim: super::Claim, at: usize) {
        let run = &mut self.model.runs[at];
        assert_eq!(claim.run(), run.id, "C1: the first of its scope");
        run.attempt += 1;
        assert_eq!(
            (claim.attempt(), claim.priority().level()),
            (run.attempt, run.level)
        );
        assert!(claim.token() > self.model.token, "tokens ascend");
        self.model.token = claim.token();
        self.model.claimed += 1;
        run.at = At::Claimed {
            token: claim.token(),
            state: StateType::Pending,
        };
        self.claims.push((claim, at));
        self.model.drain();
    }

    /// L1 and L2: each limit holds what its holders hold, no more and no less. L8: what templates made is there while needed.
    pub(super) fn agree_on_limits(&mut self) {
        self.model.collect();
        let model = &self.model;
        let mut expected: Vec<_> = (0..model.named.len())
            .filter(|&at| model.named[at].live)
            .map(|at| {
                let limit = &model.named[at];
                let held = u64::from(model.held_named(at));
                (name(limit.name), limit.slots, limit.active, held)
            })
            .collect();
        expected.sort_unstable();
        let limits = self.engine.limits().unwrap();
        let told: Vec<_> = limits
            .iter()
            .map(|limit| {
                let status = &limit.status;
                (
                    status.name.as_str(),
                    status.limit,
                    status.active,
                    status.active_slots,
                )
            })
            .collect();
        assert_eq!(told, expected);
    }

    pub(super) fn remove_names(&mut self) {
        for of in 0..NAMES.len() {
            if self.model.find(of).is_some() {
                self.apply(&super::Op::Named(Named::Remove(of)));
            }
        }
    }
}
