//! Changes of what the engine goes by: limits, pauses, orders, deployments.

use std::num::NonZeroU32;

use tenfold::DeploymentPatch;
use tenfold::engine::LimitPatch;
use tenfold::limit::{LimitSpec, Mode};
use tenfold::model::{Collision, ConcurrencyOptions, QueueOrder};

use super::{QUEUES, SECOND, World};

impl World {
    pub(super) fn strategy(&mut self) -> Collision {
        [
            Collision::Enqueue,
            Collision::CancelNew,
            Collision::CancelRunning,
            Collision::ReplaceWaiting,
        ][self.draw(4)]
    }

    pub(super) fn limits(&mut self) {
        self.checker.deletes = true;
        let name = ["a", "b", "rate", "tenant:*"][self.draw(4)];
        match self.draw(9) {
            0..=2 => {
                let slots = u32::try_from(self.draw(5)).unwrap();
                let _ = self.engine.update_limit(name, LimitPatch::new().slots(slots));
            }
            3 => {
                let active = self.chance(2);
                let _ = self.engine.update_limit(name, LimitPatch::new().active(active));
            }
            4 if name != "rate" && self.chance(3) => drop(self.engine.delete_limit(name)),
            4 => drop(self.engine.define_limit(LimitSpec::new(name, 2))),
            5 | 6 => {
                let name = ["a", "b"][self.draw(2)];
                if let Ok((lease, _)) =
                    self.engine
                        .lease_slots(&[name], 1, Mode::Concurrency, 60 * SECOND, None)
                {
                    self.leases.push(lease);
                }
            }
            7 => {
                for lease in std::mem::take(&mut self.leases) {
                    // One that has lapsed has given them back already.
                    let _ = self.engine.release_slots(lease).unwrap();
                }
            }
            _ => {
                let poured = self
                    .engine
                    .increment_slots(&["rate"], 1, Mode::Concurrency)
                    .is_ok();
                if poured {
                    *self.checker.poured.entry("rate".to_owned()).or_default() += 1.0;
                }
            }
        }
        self.read();
        self.checker.deletes = false;
        for name in ["a", "b", "tenant:1"] {
            if self.checker.limits.contains_key(name) {
                let used = self.engine.limit(name).unwrap().status.active_slots;
                self.checker.judge_limit(name, used);
            }
        }
    }

    /// Pauses, limits of scopes, deployments.
    pub(super) fn meddle(&mut self) {
        let (pool, queue) = QUEUES[self.draw(4)];
        let few = |of: usize| (of > 0).then(|| u32::try_from(of).unwrap());
        match self.draw(11) {
            0 => drop(self.engine.pause_queue(pool, queue).unwrap()),
            1 | 2 => drop(self.engine.resume_queue(pool, queue).unwrap()),
            3 if self.chance(3) => drop(self.engine.pause_pool(pool).unwrap()),
            3 | 4 => drop(self.engine.resume_pool(pool).unwrap()),
            5 => {
                let limit = self.draw(6);
                self.engine.set_pool_limit(pool, few(limit)).unwrap();
            }
            6 => {
                let limit = self.draw(4);
                self.engine.set_queue_limit(pool, queue, few(limit)).unwrap();
            }
            7 => {
                let limit = self.draw(10);
                self.engine.set_limit(few(limit)).unwrap();
            }
            8 => {
                let order = [QueueOrder::BestEffort, QueueOrder::StrictFifo][self.draw(2)];
                self.engine.set_queue_order(pool, queue, order).unwrap();
            }
            _ => {
                let at = self.draw(4);
                let id = self.deployments[at];
                match self.draw(5) {
                    0 => drop(self.engine.pause_deployment(id).unwrap()),
                    1 => drop(self.engine.resume_deployment(id).unwrap()),
                    2 => {
                        let schedules = vec![Self::schedule(at)];
                        let patch = DeploymentPatch::new().schedules(schedules);
                        self.engine.update_deployment(id, patch).unwrap();
                    }
                    3 => {
                        let options = ConcurrencyOptions::new(self.strategy());
                        let patch = DeploymentPatch::new().concurrency_options(Some(options));
                        self.engine.update_deployment(id, patch).unwrap();
                    }
                    _ => {
                        let limit = self.draw(3);
                        let limit = few(limit).and_then(NonZeroU32::new);
                        let patch = DeploymentPatch::new().concurrency_limit(limit);
                        self.engine.update_deployment(id, patch).unwrap();
                    }
                }
            }
        }
    }
}
