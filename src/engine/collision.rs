//! What becomes of a new run that the limit of its deployment refuses (L6).
//!
//! It is decided once for each run. One that becomes due while the limit is full is refused there and then, before it enters the
//! line. One that came while there was room is refused by the claim that takes the last slot, whoever's run that claims: so what
//! becomes of a run depends on the order of claims, and not on how many workers ask. A run that has started before is not new.
//!
//! Deployments without options of their own pay one comparison. For the others the new runs in line are listed, so a decision
//! costs a logarithm for each run that it ends, and calling off the oldest is linear in the slots of the limit.

use std::collections::BTreeSet;
use std::time::Duration;

use super::claim::Terms;
use super::core::{Core, Work};
use super::lease::Lease;
use crate::ids::RunId;
use crate::limit::{Holder, LimitKey};
use crate::model::{Collision, StateType, Text};

/// What is kept of a deployment with concurrency options.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    strategy: Collision,
    grace: Option<Duration>,
    /// New runs in line that the limit has not refused.
    undecided: BTreeSet<RunId>,
    /// Runs that it has refused, until they are claimed or end.
    pub(crate) decided: BTreeSet<RunId>,
}

impl Core {
    /// Takes up the concurrency options of a deployment as they are now. What the limit has refused before waits on.
    pub(crate) fn set_collision(&mut self, row: u32) {
        let data = &self.catalog.deployments.get(row).expect("just found").data;
        let options = data.concurrency_options.unwrap_or_default();
        let (strategy, seconds) = (options.collision_strategy, options.grace_period_seconds);
        let grace = seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let work = self.deployments[row as usize].as_mut().expect("just found");
        if strategy == Collision::Enqueue && grace.is_none() {
            self.collisions -= usize::from(work.collision.take().is_some());
            return;
        }
        let known = work.collision.is_some();
        let waiting = work.collision.get_or_insert_default();
        (waiting.strategy, waiting.grace) = (strategy, grace);
        if !known {
            self.collisions += 1;
            let runs: Vec<u32> = self.active.rows(work.active).collect();
            for run in runs {
                if matches!(self.work.get(run as usize), Some(Work::Line(_))) {
                    self.collision_in_line(run, true);
                }
            }
        }
    }

    fn waiting_mut(&mut self, row: u32) -> Option<&mut Waiting> {
        let deployment = self.run(row).deployment?;
        self.deployment_work(deployment)?.collision.as_deref_mut()
    }

    /// A run that has not started before.
    fn is_new(&self, row: u32) -> bool {
        let run = self.run(row);
        run.run_count == 0 && run.attempt == 0
    }

    /// The own limit of a run's deployment, when it is full.
    fn full_own_limit(&self, row: u32) -> Option<LimitKey> {
        let deployment = self.run(row).deployment?;
        let limit = self.deployments[deployment as usize].as_ref()?.limit?;
        (self.limits.book.room(limit, self.mono_time()) == 0).then_some(limit)
    }

    /// A run has come into line, or leaves it. Called only while there are collision strategies.
    pub(crate) fn collision_in_line(&mut self, row: u32, in_: bool) {
        if !self.is_new(row) {
            return;
        }
        let (id, full) = (self.run(row).id, self.full_own_limit(row).is_some());
        let Some(waiting) = self.waiting_mut(row) else {
            return;
        };
        if !in_ {
            waiting.undecided.remove(&id);
        } else if full {
            waiting.decided.insert(id);
        } else if !waiting.decided.contains(&id) {
            waiting.undecided.insert(id);
        }
    }

    /// A run waits no more for the limit.
    pub(crate) fn collision_over(&mut self, row: u32) {
        let id = self.run(row).id;
        if let Some(waiting) = self.waiting_mut(row) {
            waiting.decided.remove(&id);
        }
    }

    /// Puts a run in line whose instant has come, if the limit of its deployment does not end it.
    pub(crate) fn come_due(&mut self, row: u32) {
        let collides = self.collisions > 0 && self.is_new(row) && self.full_own_limit(row).is_some();
        if collides && !fault!(CollisionOnArrivalIsMissed) {
            match self.waiting_mut(row).map(|waiting| waiting.strategy) {
                Some(Collision::CancelNew) => return self.refuse_new(row),
                Some(Collision::CancelRunning) => self.call_off_oldest(row, None),
                Some(Collision::ReplaceWaiting) if !self.replace_waiting(row) => return,
                Some(Collision::ReplaceWaiting | Collision::Enqueue) | None => {}
            }
        }
        self.enter_line(row);
    }

    /// A chosen run was refused; whether that has ended it.
    pub(crate) fn chosen_collides(&mut self, row: u32) -> bool {
        let ends = self.collisions > 0
            && self.is_new(row)
            && self.full_own_limit(row).is_some()
            && (self.waiting_mut(row)).is_some_and(|waiting| waiting.strategy == Collision::CancelNew);
        if ends {
            self.leave(row);
            self.refuse_new(row);
        }
        ends
    }

    /// A run was claimed, whose deployment may have concurrency options: its lease begins, and who waits beside it is refused if it
    /// took the last slot.
    pub(crate) fn claimed_under_options(&mut self, row: u32, token: u64, terms: Terms) {
        self.collision_over(row);
        let id = self.run(row).id;
        let Some(waiting) = self.waiting_mut(row) else {
            return;
        };
        let (grace, strategy) = (waiting.grace, waiting.strategy);
        if let Some(grace) = grace.filter(|_| !terms.supervised) {
            self.begin_lease(id, token, Lease::of(grace))
                .expect("the claim was made a moment ago");
        }
        if self.full_own_limit(row).is_none() {
            return;
        }
        let Some(waiting) = self.waiting_mut(row) else {
            return;
        };
        let refused = std::mem::take(&mut waiting.undecided);
        if fault!(CollisionOnClaimIsMissed) {
            return;
        }
        waiting.decided.extend(&refused);
        let place = |&id: &RunId| {
            self.run_row(id)
                .map(|row| (self.run(row).due, self.run(row).seq, id))
        };
        let newest = refused.iter().filter_map(place).max().map(|(.., id)| id);
        for id in refused {
            // Those before it may have changed what becomes of it.
            let Some(other) = self.run_row(id).filter(|&other| self.spot_of(other).is_some()) else {
                continue;
            };
            match strategy {
                Collision::CancelNew => {
                    self.leave_line(other);
                    self.refuse_new(other);
                }
                Collision::CancelRunning => self.call_off_oldest(other, Some(row)),
                Collision::ReplaceWaiting if Some(id) == newest => drop(self.replace_waiting(other)),
                Collision::ReplaceWaiting | Collision::Enqueue => {}
            }
        }
    }

    /// Ends a run that waits nowhere any more.
    fn refuse_new(&mut self, row: u32) {
        let limit = self.full_own_limit(row);
        let slots = limit.map_or(0, |limit| self.limits.book.slots(limit));
        let message = format!("the limit of its deployment is full ({slots}), which calls off what is new");
        let (state, at) = (StateType::Cancelled, self.wall);
        self.finish(row, state, state.default_name(), Some(message.into()), at);
    }

    /// Calls off the run of the deployment that has been claimed for longest, but for one that is spared. The new run, in line or on
    /// its way there, is next: it takes the other's place.
    fn call_off_oldest(&mut self, row: u32, spared: Option<u32>) {
        let Some(limit) = self.full_own_limit(row) else {
            return;
        };
        let oldest = (self.limits.book.holders(limit))
            .filter_map(|(holder, _)| match holder {
                Holder::Run { row, .. } => Some(row),
                _ => None,
            })
            .find(|&other| Some(other) != spared && self.run(other).state != Some(StateType::Cancelling))
            .filter(|_| !fault!(NobodyIsCalledOff));
        let Some(oldest) = oldest else { return };
        let (mine, other) = (self.run(row), self.run(oldest));
        let (id, called_off) = (mine.id, other.id);
        let (place, former) = ((other.due, other.seq), (mine.due, mine.seq));
        let message = Text::from(format!("run {id} of the same deployment became due"));
        self.cancel(called_off, Some(message))
            .expect("what holds a slot and is not being called off can be");
        // One that was chosen before it was due has a place that is still to come.
        if place > former {
            return;
        }
        let in_line = self.spot_of(row).is_some();
        if in_line {
            self.leave_line(row);
        }
        let run = self.run_mut(row);
        (run.due, run.seq) = place;
        // One that only kept its slot has ended by now, and its record may be gone.
        if self.run_row(called_off) == Some(oldest) {
            let run = self.run_mut(oldest);
            (run.due, run.seq) = former;
        }
        if in_line {
            self.enter_line(row);
        }
    }

    /// Ends the new runs that wait for the limit but for the newest by place, which may be this one, in line or on its way there.
    /// Whether it is. The end of one may let in another that its schedule held back, at the place that it has kept.
    fn replace_waiting(&mut self, row: u32) -> bool {
        let (id, in_line) = (self.run(row).id, self.spot_of(row).is_some());
        loop {
            let others = self.waiting_beside(row, id);
            if others.is_empty() {
                return true;
            }
            for other in others {
                let Some(other) = self.run_row(other).filter(|&other| self.spot_of(other).is_some()) else {
                    continue;
                };
                let (mine, others) = (self.run(row), self.run(other));
                if (mine.due, mine.seq) < (others.due, others.seq) {
                    let newer = others.id;
                    if self.spot_of(row).is_some() {
                        self.leave_line(row);
                    }
                    self.replaced(row, newer);
                    return false;
                }
                self.leave_line(other);
                self.replaced(other, id);
                if in_line && self.run_row(id).is_none_or(|row| self.spot_of(row).is_none()) {
                    // Whoever was let in had a newer place.
                    return false;
                }
            }
        }
    }

    /// The new runs in line beside this one.
    fn waiting_beside(&mut self, row: u32, id: RunId) -> Vec<RunId> {
        let Some(waiting) = self.waiting_mut(row).filter(|_| !fault!(NobodyIsReplaced)) else {
            return Vec::new();
        };
        let listed: Vec<RunId> = waiting.undecided.union(&waiting.decided).copied().collect();
        let in_line = |id: &RunId| self.run_row(*id).is_some_and(|row| self.spot_of(row).is_some());
        listed
            .into_iter()
            .filter(|other| *other != id && in_line(other))
            .collect()
    }

    fn replaced(&mut self, row: u32, by: RunId) {
        let message = Text::from(format!("run {by} of the same deployment waits in its stead"));
        let (state, at) = (StateType::Cancelled, self.wall);
        self.finish(row, state, Text::of("Replaced"), Some(message), at);
    }

    /// Sets which of a deployment's runs the limit has refused, as a document says.
    pub(crate) fn restore_decided(&mut self, deployment: u32, decided: BTreeSet<RunId>) {
        let work = self.deployments[deployment as usize].as_mut();
        if let Some(waiting) = work.and_then(|work| work.collision.as_deref_mut()) {
            waiting.undecided.append(&mut waiting.decided);
            waiting.undecided.retain(|id| !decided.contains(id));
            waiting.decided = decided;
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Core {
    /// Panics unless the new runs in line are those that are listed.
    pub(crate) fn check_collisions(&self) {
        let mut collisions = 0;
        for work in self.deployments.iter().flatten() {
            let Some(waiting) = &work.collision else { continue };
            collisions += 1;
            let active: BTreeSet<RunId> = (self.active.rows(work.active))
                .map(|row| self.run(row).id)
                .collect();
            assert!(
                waiting.decided.is_subset(&active),
                "L6 broken: refused, and not there"
            );
            let rows = self.active.rows(work.active);
            let new = rows.filter(|&row| self.spot_of(row).is_some() && self.is_new(row));
            let new: BTreeSet<RunId> = new.map(|row| self.run(row).id).collect();
            assert!(
                waiting.undecided.is_disjoint(&waiting.decided),
                "L6 broken: decided twice"
            );
            assert!(waiting.undecided.is_subset(&new), "L6 broken: it does not wait");
            let listed: BTreeSet<RunId> = waiting.undecided.union(&waiting.decided).copied().collect();
            assert!(new.is_subset(&listed), "L6 broken: it waits and is not listed");
        }
        assert_eq!(
            collisions, self.collisions,
            "L6 broken: strategies are counted wrong"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::model::{ConcurrencyOptions, NewRun};
    use crate::priority::Priority;
    use crate::{DeploymentPatch, Engine, NewDeployment, Outcome, Retry, Scope};

    /// Found by histories: such a run was gone and still listed, and the engine's own export was refused.
    #[test]
    fn e5_l6_a_refused_run_that_is_taken_back_is_not_listed_any_more() {
        for overlap in [crate::model::Overlap::Allow, crate::model::Overlap::BufferOne] {
            let clock = crate::clock::ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
            let engine = Engine::builder().seed(1).clock(clock.clone()).build().unwrap();
            let anchor = "2026-01-01T00:00:00Z".parse().unwrap();
            let every = crate::Schedule::interval(chrono::TimeDelta::seconds(1), anchor, "UTC").unwrap();
            let new = NewDeployment::new("f", "d")
                .concurrency_limit(NonZeroU32::MIN)
                .concurrency_options(ConcurrencyOptions::new(Collision::ReplaceWaiting))
                .schedule(crate::NewSchedule::new(every).overlap(overlap));
            let d = engine.deploy(new).unwrap().id;
            engine.submit(NewRun::of(d)).unwrap();
            let claim = engine.claim(&Scope::all()).unwrap().unwrap();
            for _ in 0..4 {
                clock.advance(Duration::from_secs(1));
                engine.advance().unwrap();
                engine.check_invariants();
            }
            engine
                .update_deployment(d, DeploymentPatch::new().schedules(Vec::new()))
                .unwrap();
            engine.pause_deployment(d).unwrap();
            engine.check_invariants();
            let document = engine.export().unwrap();
            let moved = Engine::builder()
                .clock(clock.clone())
                .import(document, crate::Claims::Keep);
            moved.unwrap().check_invariants();
            engine.complete(&claim, Outcome::Cancelled).unwrap();
            engine.delete_deployment(d).unwrap();
            engine.check_invariants();
        }
    }

    /// Found by the simulation: the end of a replaced run let in the one that its schedule held back, and two waited.
    #[test]
    fn l6_a_run_that_its_schedule_held_back_does_not_wait_beside_the_newest() {
        let clock = crate::clock::ManualClock::at("2026-01-01T00:00:00.5Z".parse().unwrap());
        let engine = Engine::builder().seed(1).clock(clock.clone()).build().unwrap();
        let anchor = "2026-01-01T00:00:00Z".parse().unwrap();
        let every = crate::Schedule::interval(chrono::TimeDelta::seconds(1), anchor, "UTC").unwrap();
        let new = NewDeployment::new("f", "d")
            .concurrency_limit(NonZeroU32::MIN)
            .concurrency_options(ConcurrencyOptions::new(Collision::ReplaceWaiting))
            .schedule(crate::NewSchedule::new(every).overlap(crate::model::Overlap::BufferOne));
        let d = engine.deploy(new).unwrap().id;
        engine.submit(d).unwrap();
        engine.claim(&Scope::all()).unwrap().unwrap();
        for _ in 0..2 {
            clock.advance(Duration::from_secs(1));
            engine.advance().unwrap();
        }
        assert_eq!(engine.snapshot().queued_tasks, 2, "one in line, one held back");
        let newest = engine.submit(d).unwrap().id;
        assert_eq!(engine.snapshot().queued_tasks, 1);
        assert_eq!(engine.run(newest).unwrap().state_type, Some(StateType::Scheduled));
        engine.check_invariants();
    }

    #[test]
    fn l6_the_newest_by_place_replaces_also_a_run_that_was_made_later() {
        let clock = crate::clock::ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let engine = Engine::builder().clock(clock.clone()).build().unwrap();
        let new = NewDeployment::new("f", "d")
            .concurrency_limit(NonZeroU32::new(2).unwrap())
            .concurrency_options(ConcurrencyOptions::new(Collision::ReplaceWaiting));
        let d = engine.deploy(new).unwrap().id;
        let due = engine.now().unwrap() + chrono::TimeDelta::seconds(10);
        let early = engine.submit(NewRun::of(d).not_before(due)).unwrap().id;
        engine.submit(d).unwrap();
        let first = engine.claim(&Scope::all()).unwrap().unwrap();
        engine.submit(d).unwrap();
        engine.claim(&Scope::all()).unwrap().unwrap();
        let refused = engine.submit(d).unwrap().id;
        engine.complete(&first, Outcome::Cancelled).unwrap();
        clock.advance(Duration::from_secs(10));
        let urgent = engine.submit(NewRun::of(d).priority(Priority::MAX)).unwrap().id;
        assert_eq!(engine.claim(&Scope::all()).unwrap().unwrap().run(), urgent);
        assert_eq!(engine.snapshot().queued_tasks, 1, "one waits");
        assert_eq!(
            engine.run(refused).unwrap().state_name,
            Some(crate::model::Text::from("Replaced"))
        );
        assert_eq!(engine.run(early).unwrap().state_type, Some(StateType::Scheduled));
    }

    #[test]
    fn l6_whoever_calls_off_a_run_that_was_chosen_early_keeps_its_own_place() {
        let clock = crate::clock::ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let engine = Engine::builder().clock(clock.clone()).build().unwrap();
        let new = NewDeployment::new("f", "d")
            .concurrency_limit(NonZeroU32::new(1).unwrap())
            .concurrency_options(ConcurrencyOptions::new(Collision::CancelRunning));
        let d = engine.deploy(new).unwrap().id;
        let due = engine.now().unwrap() + chrono::TimeDelta::seconds(10);
        let chosen = engine.submit(NewRun::of(d).not_before(due)).unwrap().id;
        engine.claim_run(chosen).unwrap().unwrap();
        engine.submit(d).unwrap();
        let document = engine.export().unwrap();
        let again = Engine::builder()
            .clock(clock)
            .import(document, crate::engine::Claims::Keep);
        again.expect("nobody stands in line too early");
    }

    /// Histories with changes of level, strategy and limit in them, for which there is no model but the invariants.
    #[test]
    fn l6_what_is_listed_is_what_waits_whatever_changes() {
        for seed in 0..60 {
            let clock = crate::clock::ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
            let engine = Engine::builder().seed(seed).clock(clock.clone()).build().unwrap();
            let d = engine.deploy(NewDeployment::new("f", "d")).unwrap().id;
            let mut random = crate::engine::ids::Ids::new(seed);
            let mut below = |n: u64| random.random().next() % n;
            let (mut runs, mut claims) = (Vec::new(), Vec::new());
            for _ in 0..120 {
                let run = runs
                    .get(usize::try_from(below(runs.len().max(1) as u64)).unwrap())
                    .copied();
                match (below(12), run) {
                    (0..=3, _) => {
                        let retry = Retry::fixed(1, Duration::from_secs(1));
                        let keeps = below(2) == 0;
                        let retry = if keeps { retry.keep_slots() } else { retry };
                        let mut new = NewRun::of(d).retry(retry);
                        if below(3) == 0 {
                            let until = chrono::TimeDelta::seconds(3);
                            new = new.expires_at(engine.now().unwrap() + until);
                        }
                        if below(3) == 0 {
                            new = new.not_before(engine.now().unwrap() + chrono::TimeDelta::seconds(2));
                        }
                        runs.push(engine.submit(new).unwrap().id);
                    }
                    (4..=5, _) => claims.extend(engine.claim(&Scope::all()).unwrap().ok()),
                    (6..=7, _) if !claims.is_empty() => {
                        let at = usize::try_from(below(claims.len() as u64)).unwrap();
                        let claim = claims.swap_remove(at);
                        let _ = match below(3) {
                            0 => engine.give_back(&claim),
                            1 => engine.complete(&claim, Outcome::failed("so")).map(drop),
                            _ => engine.complete(&claim, Outcome::Cancelled).map(drop),
                        };
                    }
                    (8, Some(run)) => drop(engine.set_priority(run, Priority::MAX)),
                    (9, Some(run)) => drop(engine.cancel(run)),
                    (10, _) => {
                        let strategy = [
                            Collision::Enqueue,
                            Collision::CancelNew,
                            Collision::CancelRunning,
                            Collision::ReplaceWaiting,
                        ][usize::try_from(below(4)).unwrap()];
                        let limit = u32::try_from(below(4)).unwrap();
                        let patch = DeploymentPatch::new()
                            .concurrency_limit(NonZeroU32::new(limit))
                            .concurrency_options(Some(ConcurrencyOptions::new(strategy)));
                        engine.update_deployment(d, patch).unwrap();
                    }
                    (11, Some(run)) => drop(engine.claim_run(run)),
                    _ => clock.advance(Duration::from_millis(700)),
                }
                engine.check_invariants();
            }
        }
    }
}
