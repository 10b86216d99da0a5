//! T4: what `explain` says against what the next claim does, after histories of the model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::calls::{Op, op_with_names};
use super::{Both, POOLS, queue_name};
use crate::engine::{LimitPatch, Scope, Stop, Why};
use crate::ids::RunId;
use crate::model::DeploymentPatch;

impl Both {
    fn why(&self, run: RunId) -> Why {
        let said = self.engine.explain(run).unwrap();
        assert_eq!(said.run, run);
        let json = serde_json::to_value(&said).unwrap();
        assert_eq!(
            serde_json::from_value::<super::super::Explanation>(json).unwrap(),
            said
        );
        assert!(said.to_string().starts_with(&format!("run {run} ")));
        said.why
    }

    fn stops(&self, run: RunId) -> Vec<Stop> {
        match self.why(run) {
            Why::Waiting(waiting) => waiting.stops,
            Why::Next => Vec::new(),
            other => panic!("run {run} waits: {other:?}"),
        }
    }

    /// Of every pool, the one run that is said to be next is the one that a claim gets; nobody is, when a claim gets nothing.
    fn t4_next_is_next(&self) {
        let mut next: BTreeMap<usize, Vec<RunId>> = BTreeMap::new();
        for run in &self.model.runs {
            if self.why(run.id) == Why::Next {
                next.entry(run.queue / 3).or_default().push(run.id);
            }
        }
        for (pool, name) in POOLS.iter().enumerate() {
            let said = next.remove(&pool).unwrap_or_default();
            let claim = self.engine.claim(&Scope::pool(*name)).unwrap();
            match claim {
                Ok(claim) => {
                    assert_eq!(said, [claim.run()], "pool {name}");
                    self.engine.give_back(&claim).unwrap();
                }
                Err(empty) => assert_eq!(said, [], "pool {name}: {empty}"),
            }
        }
    }

    /// Whatever is said to stop a run goes when exactly that is taken away.
    fn t4_a_reason_goes_with_its_cause(&self, run: RunId) {
        for stop in self.stops(run) {
            let at = self.model.runs.iter().find(|held| held.id == run).unwrap();
            let (pool, queue) = queue_name(at.queue);
            let _version = match &stop {
                Stop::NotDue(_)
                | Stop::Retry { .. }
                | Stop::HeldBack
                | Stop::Reserved { .. }
                | Stop::Behind(_) => continue,
                Stop::RunPaused => self.engine.resume(run).unwrap(),
                Stop::PoolPaused(name) => self.engine.resume_pool(name).unwrap(),
                Stop::QueuePaused(name) => self.engine.resume_queue(pool, name).unwrap(),
                Stop::EngineFull(slots) => self.engine.set_limit(Some(slots + 20)).unwrap(),
                Stop::PoolFull(slots) => self.engine.set_pool_limit(pool, Some(slots + 20)).unwrap(),
                Stop::QueueFull(slots) => self
                    .engine
                    .set_queue_limit(pool, queue, Some(slots + 20))
                    .unwrap(),
                Stop::Limit {
                    name: Some(name),
                    weight,
                    ..
                } => {
                    let said = self.engine.explain_limit(name).unwrap();
                    assert!(said.to_string().contains("slots in use"), "{said}");
                    let slots = u32::try_from(said.used).unwrap() + weight;
                    self.engine
                        .update_limit(name, LimitPatch::new().slots(slots))
                        .unwrap()
                }
                Stop::Limit { name: None, .. } => {
                    let own = at.deployment.unwrap();
                    let patch = DeploymentPatch::new().concurrency_limit(None);
                    self.engine.update_deployment(own, patch).unwrap()
                }
            };
            let kind = std::mem::discriminant(&stop);
            let name = |stop: &Stop| match stop {
                Stop::Limit { name, .. } => name.clone(),
                _ => None,
            };
            let left = self.stops(run);
            assert!(
                !left
                    .iter()
                    .any(|other| std::mem::discriminant(other) == kind && name(other) == name(&stop)),
                "{stop} is still there: {left:?}"
            );
        }
        // With every reason gone it can be claimed.
        if self.stops(run).is_empty() {
            let claim = self.engine.claim_run(run).unwrap().unwrap();
            assert!(
                matches!(self.why(run), Why::Claimed(held) if held.token == claim.token() && !held.started)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t4_explain_says_what_the_next_claim_does(ops in prop::collection::vec(op_with_names(), 20..80), pick: prop::sample::Index) {
        let mut both = Both::with_names();
        for op in &ops {
            both.apply(op);
        }
        both.apply(&Op::Advance);
        both.t4_next_is_next();
        let waiting: Vec<RunId> = both.model.runs.iter().map(|run| run.id)
            .filter(|&run| matches!(both.why(run), Why::Waiting(_) | Why::Next)).collect();
        if !waiting.is_empty() {
            both.t4_a_reason_goes_with_its_cause(waiting[pick.index(waiting.len())]);
        }
    }
}
