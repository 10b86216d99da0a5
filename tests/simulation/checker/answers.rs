//! What must hold of claims, reports and moves.

use std::cmp::Reverse;

use tenfold::engine::QueueStatus;
use tenfold::ids::QueueId;
use tenfold::model::{Place, StateType};
use tenfold::{Run, RunId};
use uuid::Uuid;

use super::{At, Checker, Seen, Slots, Used, micros};

/// What is asked of it about claims and reports.
impl Checker {
    /// Whether the slots of a run would fit, given what is in use.
    pub(super) fn fits(&self, seen: &Seen, used: &Used) -> bool {
        let Some(queue) = seen.run.work_queue_id.map(QueueId::uuid) else {
            return false;
        };
        let held = &self.queues[&queue];
        let pool = self.pools[&held.pool];
        let room = |limit: Option<u32>, used: u32| limit.is_none_or(|limit| used < limit);
        let own = self.own_limit(seen);
        seen.is_ready()
            && (!held.strict || self.is_surely_first(seen))
            && !held.paused
            && !pool.1
            && room(self.engine_limit, used.engine)
            && room(held.limit, used.queues.get(&queue).copied().unwrap_or(0))
            && room(pool.0, used.pools.get(&held.pool).copied().unwrap_or(0))
            && own.is_none_or(|(id, limit)| used.deployments.get(&id).copied().unwrap_or(0) < limit)
            && seen.needs.iter().all(|(name, generation, weight)| {
                let limit = self
                    .limits
                    .get(name)
                    .filter(|limit| limit.generation == *generation && limit.active);
                limit.is_none_or(|limit| {
                    if limit.decay > 0.0 {
                        let mut limit = limit.clone();
                        limit.drain(self.now);
                        return limit.told_once
                            && limit.level + f64::from(*weight) <= f64::from(limit.slots) - 1e-3;
                    }
                    used.named[&(name.clone(), *generation)] + u64::from(*weight) <= u64::from(limit.slots)
                })
            })
    }

    /// Whether nothing of its queue can stand before it.
    fn is_surely_first(&self, seen: &Seen) -> bool {
        self.runs.values().all(|other| {
            other.run.id == seen.run.id
                || other.run.work_queue_id != seen.run.work_queue_id
                || !other.is_ready()
                || surely_before(seen, other)
        })
    }

    pub(super) fn place(&self, seen: &Seen) -> (u32, Reverse<u8>) {
        let queue = &self.queues[&seen.run.work_queue_id.expect("every run has a queue").uuid()];
        (queue.priority, Reverse(seen.run.priority.level()))
    }

    /// Q1, Q2, C1, C2, L4: a claim of one pool got this run, or nothing, and that was right.
    pub(crate) fn judge_claim(&self, pool: Uuid, got: Option<RunId>) {
        let in_pool = |seen: &&Seen| {
            let queue = seen.run.work_queue_id.and_then(|id| self.queues.get(&id.uuid()));
            queue.is_some_and(|queue| queue.pool == pool)
        };
        let Some(run) = got else {
            let used = self.used();
            let left_out = self
                .runs
                .values()
                .filter(in_pool)
                .find(|seen| self.fits(seen, &used));
            assert!(
                left_out.is_none(),
                "L4 broken: nothing was handed out, and this fits: {left_out:?}"
            );
            return;
        };
        let taken = &self.runs[&run];
        assert!(in_pool(&taken), "C1 broken: run {run} is of another pool");
        let without = self.clone_without(run);
        let queue = taken.run.work_queue_id.expect("every run has a queue");
        if self.queues[&queue.uuid()].strict && taken.slots != Slots::PassedOn {
            let mut ready = without.runs.values().filter(|seen| seen.is_ready());
            let before =
                ready.find(|seen| seen.run.work_queue_id == Some(queue) && surely_before(seen, taken));
            assert!(
                before.is_none(),
                "L4 broken: {run} overtook in strict order: {before:?}"
            );
        }
        let used = without.used();
        let others = without
            .runs
            .values()
            .filter(in_pool)
            .filter(|seen| seen.run.id != run);
        for seen in others.filter(|seen| without.fits(seen, &used)) {
            let (one, two) = (self.place(seen), self.place(taken));
            let before = one < two || (one == two && surely_before(seen, taken));
            assert!(!before, "C1 broken: {run} was handed out before {}", seen.run.id);
        }
    }

    /// The same as before a claim of this run.
    pub(super) fn clone_without(&self, run: RunId) -> Self {
        let mut limits = self.limits.clone();
        let taken = &self.runs[&run];
        for (name, generation, weight) in taken.needs.iter().filter(|_| taken.slots != Slots::PassedOn) {
            if let Some(limit) = limits
                .get_mut(name)
                .filter(|limit| limit.generation == *generation)
            {
                limit.level -= f64::from(*weight);
            }
        }
        let mut runs = self.runs.clone();
        if let Some(seen) = runs.get_mut(&run).filter(|seen| seen.slots != Slots::PassedOn) {
            seen.state = StateType::Completed;
        }
        Self {
            runs,
            limits,
            pools: self.pools.clone(),
            queues: self.queues.clone(),
            deployments: self.deployments.clone(),
            engine_limit: self.engine_limit,
            now: self.now,
            ..Self::default()
        }
    }

    /// R2: whether a claim is the current one of its run.
    pub(crate) fn is_current(&self, run: RunId, token: u64) -> bool {
        self.runs.get(&run).is_some_and(|seen| seen.token == Some(token))
    }

    /// T1: a status report is of one instant, and this one.
    pub(crate) fn judge_status(&self, status: &QueueStatus) {
        assert_eq!(status.version, self.version, "a change was not told");
        let count = |which: &dyn Fn(&Seen) -> bool| self.runs.values().filter(|seen| which(seen)).count();
        let waits = |seen: &Seen| {
            seen.state == StateType::Scheduled
                && seen.run.place != Place::Scheduled
                && seen.slots != Slots::Kept
        };
        assert_eq!(status.queued_tasks, count(&waits), "T1 broken: what waits");
        assert_eq!(
            status.priority_breakdown.total(),
            status.queued_tasks,
            "T1 broken: the sum"
        );
        for (priority, at_level) in status.priority_breakdown.iter() {
            let here = count(&|seen| waits(seen) && seen.run.priority == priority);
            assert_eq!(at_level as usize, here, "T1 broken: level {priority}");
        }
        assert_eq!(
            status.processing_tasks,
            count(&Seen::holds),
            "T1 broken: what is claimed"
        );
        let later = |seen: &Seen| seen.state == StateType::Scheduled && seen.run.place == Place::Scheduled;
        assert_eq!(status.scheduled, count(&later), "T1 broken: what is scheduled");
        assert_eq!(
            status.finished,
            count(&|seen| seen.state.is_terminal()),
            "T1 broken: what has ended"
        );
        assert_eq!(
            status.concurrency.map(|slots| slots.max),
            self.engine_limit,
            "T1 broken: the slots"
        );
    }

    /// L2: the slots in use of a named limit, which the engine says are so many.
    pub(crate) fn judge_limit(&self, name: &str, used: u64) {
        let limit = &self.limits[name];
        if limit.decay == 0.0 {
            let own = self.used().named[&(name.to_owned(), limit.generation)];
            assert_eq!(used, own, "L2 broken: limit {name}");
            return;
        }
        if !limit.told_once {
            return;
        }
        let mut limit = limit.clone();
        limit.drain(self.now);
        #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
        let off = used as f64 - limit.level;
        assert!(
            (-1e-3..1.001).contains(&off),
            "L5 broken: limit {name} says {used}, and is at {}",
            limit.level
        );
    }

    /// E5: claims were put back by an import: their runs are as they say they are.
    pub(crate) fn put_back(&mut self, wall: At, read: impl Fn(RunId) -> Option<Run>) {
        let claimed: Vec<RunId> = (self.runs.values().filter(|seen| seen.is_claimed()))
            .map(|seen| seen.run.id)
            .collect();
        for id in claimed {
            let Some(run) = read(id) else {
                self.runs.remove(&id);
                continue;
            };
            let seen = self.runs.get_mut(&id).expect("just listed");
            // Put back after its time, it has ended as well.
            let expired = run.state_name.as_deref() == Some("Expired") && seen.run.run_count == 0;
            assert!(
                !expired || seen.run.expires_at.is_some_and(|until| micros(until) <= wall),
                "R8 broken: run {id} has expired"
            );
            let ended = seen.state == StateType::Cancelling || expired;
            // Only an attempt that has not begun was none.
            match seen.state {
                StateType::Pending => seen.attempt -= 1,
                _ => seen.failures += 1,
            }
            // What ends while a document is read is pruned with the next that ends.
            self.finished_most += usize::from(ended);
            seen.state = run.state_type.expect("a run has a state");
            assert_eq!(
                ended,
                seen.state == StateType::Cancelled,
                "E5 broken: run {id} was put back"
            );
            assert!(
                ended || seen.state == StateType::Scheduled,
                "E5 broken: run {id} was put back"
            );
            run.state_name
                .as_deref()
                .unwrap_or_default()
                .clone_into(&mut seen.name);
            (seen.token, seen.begun, seen.unsure) = (None, None, true);
            seen.begins = run.next_scheduled_start_time.or(seen.begins);
            seen.run = run;
            if seen.run.place == Place::Blocked {
                seen.run.place = Place::Ready;
            }
        }
        self.leases.clear();
        self.runs
            .retain(|id, seen| !seen.state.is_terminal() || read(*id).is_some());
    }

    /// The engine is another one, made from its document: what it says of levels is where they are.
    pub(crate) fn moved(&mut self) {
        self.limits.values_mut().for_each(|limit| limit.told_once = false);
        self.firing.clear();
        self.edited.extend(self.deployments.keys());
    }
}

/// Whether a run of a queue stands before another of it, as far as anybody outside can know.
fn surely_before(one: &Seen, two: &Seen) -> bool {
    let (level, other) = (one.run.priority, two.run.priority);
    level > other || (level == other && !one.unsure && !two.unsure && one.spot.is_before(two.spot))
}
