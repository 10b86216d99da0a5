//! What becomes of new runs that the limit of their deployment refuses.

use std::collections::BTreeMap;

use tenfold::model::{Collision, StateType};
use tenfold::{DeploymentId, RunId};

use super::{Checker, Seen, Used};

impl Checker {
    fn strategy(&self, seen: &Seen) -> Option<Collision> {
        let deployment = self.deployments.get(&seen.run.deployment_id?)?;
        Some(deployment.collision)
    }

    /// L6: a run has ended by a strategy of its deployment.
    pub(super) fn collided(&self, run: RunId) {
        let seen = &self.runs[&run];
        if seen.state == StateType::Cancelled && seen.name == "Replaced" {
            let strategy = self.strategy(seen);
            assert_eq!(
                strategy,
                Some(Collision::ReplaceWaiting),
                "L6 broken: {run} was replaced"
            );
            assert!(seen.is_new(), "L6 broken: {run} was replaced, and had started");
        }
    }

    /// L6: while the slots of a deployment are taken, the new runs in line that were not refused before are dealt with: those that come,
    /// and those that waited when the last slot was taken.
    pub(super) fn collisions(&mut self, used: &Used) {
        let mut new: BTreeMap<DeploymentId, Vec<RunId>> = BTreeMap::new();
        for seen in self.runs.values().filter(|seen| seen.is_ready() && seen.is_new()) {
            if let Some(deployment) = seen.run.deployment_id {
                new.entry(deployment).or_default().push(seen.run.id);
            }
        }
        let of = |runs: &[RunId], deployment: DeploymentId| {
            let mut runs = runs.iter().map(|run| self.runs.get(run));
            // Of a run that is gone nobody knows.
            runs.any(|seen| seen.is_none_or(|seen| seen.run.deployment_id == Some(deployment)))
        };
        let mut maybe: Vec<RunId> = Vec::new();
        for (id, runs) in &new {
            let Some(deployment) = self.deployments.get(id) else {
                continue;
            };
            let held = used.deployments.get(id).copied().unwrap_or(0);
            let full = deployment.limit.is_some_and(|limit| limit <= held);
            let undecided = runs.iter().filter(|run| !self.refused.contains(run)).count();
            let mixed = of(&self.released, *id) || self.edited.contains(id);
            if full && !mixed {
                let called_off = self.runs.values().filter(|seen| {
                    seen.run.deployment_id == Some(*id) && seen.state == StateType::Cancelling
                });
                // What was handed out just now is spared.
                let oldest =
                    usize::try_from(held).expect("a count of runs") - usize::from(of(&self.fresh, *id));
                let fits = match deployment.collision {
                    Collision::CancelNew => undecided == 0,
                    Collision::ReplaceWaiting => undecided <= 1,
                    Collision::CancelRunning => undecided.min(oldest) <= called_off.count(),
                    _ => true,
                };
                assert!(
                    fits,
                    "L6 broken: {undecided} runs of {id} wait under {:?}, whose limit is full",
                    deployment.collision
                );
            }
            if full || mixed {
                maybe.extend(runs);
            }
        }
        self.refused.extend(maybe);
        let (runs, deployments) = (&mut self.runs, &self.deployments);
        self.refused.retain(|run| runs.contains_key(run));
        for seen in runs.values_mut() {
            let deployment = seen.run.deployment_id.and_then(|id| deployments.get(&id));
            // Who calls off another takes its place.
            seen.unsure |= deployment.is_some_and(|of| of.collision == Collision::CancelRunning);
        }
    }
}
