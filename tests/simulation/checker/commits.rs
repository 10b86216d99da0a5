//! What must hold at the end of each commit.

use std::collections::{BTreeMap, BTreeSet};

use tenfold::ids::QueueId;
use tenfold::model::{Overlap, Place, StateType};
use tenfold::{DeploymentId, RunId};

use super::{At, Checker, Seen, Slots, Used, micros};

/// At the end of each commit.
impl Checker {
    pub(super) fn end(&mut self, version: u64, wall: At) {
        let (earlier, first) = (self.wall, self.commit == 0);
        (self.version, self.wall) = (version, wall);
        assert!(wall >= earlier || first, "engine time went back");
        let used = self.used();
        self.limits_hold(&used);
        self.buckets();
        self.times();
        if !first {
            self.occurrences(earlier);
        }
        self.overlaps();
        self.collisions(&used);
        let finished = self.runs.values().filter(|seen| seen.state.is_terminal()).count();
        assert!(
            finished <= self.finished_most,
            "R7 broken: {finished} finished runs are kept"
        );
        self.fresh.clear();
        self.released.clear();
        self.edited.clear();
        self.commit += 1;
    }

    pub(super) fn used(&self) -> Used {
        let mut used = Used::default();
        for seen in self.runs.values().filter(|seen| seen.holds()) {
            used.engine += 1;
            if let Some(queue) = seen.run.work_queue_id.map(QueueId::uuid) {
                *used.queues.entry(queue).or_default() += 1;
                if let Some(held) = self.queues.get(&queue) {
                    *used.pools.entry(held.pool).or_default() += 1;
                }
            }
            if let Some(deployment) = seen.run.deployment_id {
                *used.deployments.entry(deployment).or_default() += 1;
            }
            for (name, generation, weight) in &seen.needs {
                *used.named.entry((name.clone(), *generation)).or_default() += u64::from(*weight);
            }
        }
        for (name, limit) in &self.limits {
            *used.named.entry((name.clone(), limit.generation)).or_default() += limit.others;
        }
        used
    }

    pub(super) fn own_limit(&self, seen: &Seen) -> Option<(DeploymentId, u32)> {
        let deployment = seen.run.deployment_id?;
        Some((deployment, self.deployments.get(&deployment)?.limit?))
    }

    /// L1, C3: whoever was let in now had room.
    pub(super) fn limits_hold(&self, used: &Used) {
        for seen in self.fresh.iter().filter_map(|run| self.runs.get(run)) {
            if !seen.is_claimed() {
                continue;
            }
            let run = seen.run.id;
            let within = |limit: Option<u32>, used: u32| limit.is_none_or(|limit| used <= limit);
            assert!(
                within(self.engine_limit, used.engine),
                "L1 broken: the engine has {} of {:?}",
                used.engine,
                self.engine_limit
            );
            let queue = seen.run.work_queue_id.expect("every run has a queue").uuid();
            let held = &self.queues[&queue];
            let in_queue = used.queues.get(&queue).copied().unwrap_or(0);
            assert!(
                within(held.limit, in_queue),
                "L1 broken: {in_queue} of {:?} in the queue of {run}",
                held.limit
            );
            let pool = self.pools[&held.pool];
            let in_pool = used.pools.get(&held.pool).copied().unwrap_or(0);
            assert!(
                within(pool.0, in_pool),
                "L1 broken: {in_pool} of {:?} in the pool of {run}",
                pool.0
            );
            assert!(
                !held.paused && !pool.1,
                "C1 broken: run {run} came out of what is paused"
            );
            if let Some((deployment, limit)) = self.own_limit(seen) {
                let own = used.deployments.get(&deployment).copied().unwrap_or(0);
                assert!(
                    own <= limit,
                    "L1 broken: {own} of {limit} of the deployment of {run}"
                );
            }
            for (name, generation, _) in &seen.needs {
                let Some(limit) = self
                    .limits
                    .get(name)
                    .filter(|limit| limit.generation == *generation)
                else {
                    continue;
                };
                let held = used.named[&(name.clone(), *generation)];
                let over = limit.active && limit.decay == 0.0 && held > u64::from(limit.slots);
                assert!(!over, "L1 broken: limit {name} has {held} of {}", limit.slots);
            }
        }
    }

    /// L5: the level of each decaying limit, poured and drained here.
    pub(super) fn buckets(&mut self) {
        let now = self.now;
        let mut changes: BTreeMap<(String, u64), (f64, f64)> = BTreeMap::new();
        for run in &self.fresh {
            for (name, generation, weight) in self.runs.get(run).iter().flat_map(|seen| &seen.needs) {
                changes.entry((name.clone(), *generation)).or_default().0 += f64::from(*weight);
            }
        }
        for run in &self.released {
            for (name, generation, weight) in self.runs.get(run).iter().flat_map(|seen| &seen.needs) {
                changes.entry((name.clone(), *generation)).or_default().1 += f64::from(*weight);
            }
        }
        let gone: BTreeSet<RunId> = self
            .released
            .iter()
            .copied()
            .filter(|run| !self.runs.contains_key(run))
            .collect();
        for (name, limit) in &mut self.limits {
            limit.drain(now);
            let (poured, drained) = changes
                .remove(&(name.clone(), limit.generation))
                .unwrap_or_default();
            let by_name = self.poured.remove(name).unwrap_or(0.0);
            let mixed = (poured > 0.0 && drained > 0.0) || by_name != 0.0 || !gone.is_empty();
            limit.level = (limit.level + poured - drained).max(0.0);
            if limit.decay == 0.0 {
                continue;
            }
            let Some(told) = self.told.get(name) else { continue };
            if !mixed && limit.told_once {
                assert!(
                    (told - limit.level).abs() < 1e-3,
                    "L5 broken: limit {name} is at {told}, and should be at {}",
                    limit.level
                );
            }
            (limit.level, limit.told_once) = (*told, true);
        }
        self.told.clear();
    }

    /// R1, R5, R8: what is due has come, what is over its time has ended.
    pub(super) fn times(&self) {
        for (run, seen) in &self.runs {
            let place = match seen.state {
                StateType::Scheduled if seen.slots == Slots::Kept => seen.run.place == Place::Claimed,
                StateType::Scheduled => {
                    matches!(seen.run.place, Place::Scheduled | Place::Ready | Place::Blocked)
                }
                StateType::Paused => seen.run.place == Place::Paused,
                _ if seen.is_claimed() => seen.run.place == Place::Claimed,
                _ => seen.run.place == Place::Finished,
            };
            assert!(
                place,
                "R1 broken: run {run} is {} and in place {:?}",
                seen.state, seen.run.place
            );
            if seen.state == StateType::Scheduled
                && seen.run.place == Place::Scheduled
                && seen.name != "AwaitingRetry"
            {
                let due = seen
                    .run
                    .next_scheduled_start_time
                    .map(micros)
                    .expect("it is scheduled");
                // What a call plans for its very instant comes into line with the next look at the clock.
                let planned = seen.run.auto_scheduled && seen.spot.commit == self.commit;
                assert!(
                    due > self.wall || (planned && due == self.wall),
                    "R1 broken: run {run} is due and not in line"
                );
            }
            // Whose worker has just let it go ends with the next look at the clock.
            let waited = seen.state == StateType::Scheduled
                && seen.slots != Slots::Kept
                && !self.released.contains(run);
            if waited && seen.run.run_count == 0 {
                let until = seen.run.expires_at.map(micros);
                assert!(
                    until.is_none_or(|until| self.wall < until),
                    "R8 broken: run {run} waits, and is of use no more"
                );
            }
            if seen.state.is_terminal() && seen.run.run_count == 0 {
                assert_eq!(seen.run.start_time, None, "a run that never ran has started");
            }
            let Some(token) = seen.token else { continue };
            if let Some(end) = self.leases.get(&token) {
                assert!(*end > self.now, "R5 broken: the lease of run {run} is over");
            }
            if let (Some(begun), Some(most), StateType::Running) =
                (seen.begun, seen.run.empirical_policy.timeout, seen.state)
            {
                assert!(
                    begun + most > self.now,
                    "R5 broken: run {run} is over its timeout"
                );
            }
        }
    }

    /// S1, S3, S4: each occurrence once, and none left out while time went on in small steps.
    pub(super) fn occurrences(&mut self, earlier: At) {
        let due: Vec<((DeploymentId, At), RunId)> = (self.planned.iter())
            .filter(|(_, run)| {
                let seen = self.runs.get(run);
                seen.is_none_or(|seen| {
                    seen.run.place != Place::Scheduled || seen.state != StateType::Scheduled
                })
            })
            .map(|(key, run)| (*key, *run))
            .collect();
        for (key, run) in due {
            self.planned.remove(&key);
            assert_eq!(
                self.fired.insert(key, run),
                None,
                "S broken: an occurrence fires twice"
            );
        }
        if self.wall - earlier > 15_000_000 {
            return;
        }
        let minute = 60_000_000;
        let instants = (earlier.div_euclid(minute) + 1)..=self.wall.div_euclid(minute);
        for (id, deployment) in &self.deployments {
            for at in instants.clone().map(|number| number * minute) {
                let known = self.fired.contains_key(&(*id, at));
                let fires = deployment.fires && self.firing.get(id).is_some_and(|since| *since <= earlier);
                assert!(known || !fires, "S4 broken: deployment {id} has no run at {at}");
            }
        }
        let wall = self.wall;
        self.firing
            .retain(|id, _| self.deployments.get(id).is_some_and(|held| held.fires));
        for (id, _) in self.deployments.iter().filter(|(_, held)| held.fires) {
            self.firing.entry(*id).or_insert(wall);
        }
    }

    /// S4: as many runs of a schedule at once as its overlap policy says.
    pub(super) fn overlaps(&self) {
        let mut live: BTreeMap<DeploymentId, (usize, usize)> = BTreeMap::new();
        let runs = self
            .runs
            .values()
            .filter(|seen| seen.run.auto_scheduled && !seen.state.is_terminal());
        for seen in runs.filter(|seen| seen.run.place != Place::Scheduled || seen.name == "AwaitingRetry") {
            let count = live
                .entry(seen.run.deployment_id.expect("a schedule made it"))
                .or_default();
            match seen.run.place {
                Place::Blocked => count.1 += 1,
                _ => count.0 += 1,
            }
        }
        for (deployment, (live, held_back)) in live {
            let overlap = self.deployments.get(&deployment).and_then(|held| held.overlap);
            let fits = match overlap {
                Some(Overlap::Skip) => live <= 1 && held_back == 0,
                Some(Overlap::BufferOne) => live <= 1 && held_back <= 1,
                _ => held_back == 0,
            };
            assert!(
                held_back == 0 || live > 0,
                "S4 broken: a run is held back by nobody"
            );
            assert!(
                fits,
                "S4 broken: {live} runs are live and {held_back} held back under {overlap:?}"
            );
        }
    }
}
