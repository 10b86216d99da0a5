//! Random histories of schedules under every overlap policy: after each step every invariant holds, no policy lets in more
//! than it allows, and the engine made from an export goes on like the one it came from.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::ids::Random;
use super::*;
use crate::clock::{Clock, ManualClock};
use crate::filter::{Entity, Filter, Query};
use crate::model::{CatchUp, NewSchedule, Overlap, Place, Retry};
use crate::schedule::Schedule;

const POLICIES: [Overlap; 4] = [
    Overlap::Allow,
    Overlap::Skip,
    Overlap::BufferOne,
    Overlap::CancelRunning,
];

fn schedule(random: &mut Random, overlap: Overlap, slug: bool) -> NewSchedule {
    let text = ["* * * * *", "*/2 * * * *", "*/5 * * * *", "* * * * * */20"];
    let text = text[usize::try_from(random.next() % 4).unwrap()];
    let made = NewSchedule::new(Schedule::cron(text, "UTC").unwrap()).overlap(overlap);
    let made = match random.next() % 3 {
        0 => made.catch_up(CatchUp::Skip),
        1 => made.catch_up(CatchUp::All(3)),
        _ => made,
    };
    if slug { made.slug("s") } else { made }
}

/// Checks that no schedule of a deployment has let in more runs than its policy allows; those called off do not count.
fn check_policy(engine: &Engine, deployment: DeploymentId, overlap: Overlap) {
    let query = Query::new(Filter::everything(Entity::Run));
    let mut counts: BTreeMap<Uuid, (usize, usize)> = BTreeMap::new();
    for run in engine.runs(&query).unwrap().results {
        if run.deployment_id != Some(deployment) || run.state_type == Some(StateType::Cancelling) {
            continue;
        }
        let Some(schedule) = run.created_by.and_then(|by| by.id) else {
            continue;
        };
        let (let_in, held_back) = counts.entry(schedule).or_default();
        match run.place {
            Place::Ready | Place::Claimed => *let_in += 1,
            Place::Scheduled if run.run_count > 0 => *let_in += 1,
            Place::Blocked => *held_back += 1,
            _ => {}
        }
    }
    for (let_in, held_back) in counts.into_values() {
        assert!(
            let_in <= 1 || overlap == Overlap::Allow,
            "{overlap:?} lets {let_in} in"
        );
        let buffer = usize::from(overlap == Overlap::BufferOne);
        assert!(held_back <= buffer, "{overlap:?} holds {held_back} back");
    }
}

fn history(seed: u64) -> Vec<(RunId, u64)> {
    let mut random = Random::new(seed);
    let clock = ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap());
    let mut engine = Engine::builder()
        .clock(clock.clone())
        .seed(seed)
        .finished_runs(60)
        .planned_runs(2, 6)
        .schedules(3)
        .called_off(5)
        .build()
        .unwrap();
    let mut ids = Vec::new();
    for (n, overlap) in POLICIES.into_iter().enumerate() {
        let new = NewDeployment::new("f", format!("d{n}"))
            .retry(Retry::fixed(1, Duration::from_secs(30)))
            .schedule(schedule(&mut random, overlap, true));
        ids.push(engine.deploy(new).unwrap().id);
    }
    let mut backfilled = false;
    let (mut claims, mut taken): (Vec<Claim>, Vec<_>) = (Vec::new(), Vec::new());
    for _ in 0..250 {
        let at = usize::try_from(random.next() % 4).unwrap();
        let (id, overlap) = (ids[at], POLICIES[at]);
        let Ok(held) = engine.deployment(id) else { continue };
        let first = held.schedules.first().map(|data| data.id);
        match random.next() % 24 {
            0 => {
                let edit = match random.next() % 3 {
                    0 => vec![],
                    1 => vec![schedule(&mut random, overlap, true)],
                    _ => vec![schedule(&mut random, overlap, false)],
                };
                let patch = DeploymentPatch::new().schedules(edit);
                // It may be refused, when too many removed ones must be remembered.
                let _ = engine.update_deployment(id, patch);
            }
            1 => drop(engine.pause_deployment(id)),
            2 | 3 => drop(engine.resume_deployment(id)),
            4 => drop(first.map(|first| engine.pause_schedule(id, first))),
            5 => drop(first.map(|first| engine.resume_schedule(id, first))),
            6 => {
                let now = clock.now().wall;
                let range = now - TimeDelta::minutes(4)..=now + TimeDelta::minutes(4);
                backfilled |= engine
                    .backfill(id, first, range)
                    .is_ok_and(|made| !made.is_empty());
            }
            7 => {
                if let Some(told) = first.and_then(|first| engine.explain_schedule(id, first, 3).ok()) {
                    for run in told.iter().filter_map(|told| told.run).take(1) {
                        let _ = engine.cancel(run);
                    }
                }
            }
            8 => {
                let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
                let document = serde_json::from_str(&text).unwrap();
                engine = Engine::builder()
                    .clock(clock.clone())
                    .import(document, Claims::Keep)
                    .unwrap();
                assert_eq!(serde_json::to_string(&engine.export().unwrap()).unwrap(), text);
            }
            9..15 => {
                if let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
                    engine.begin(&claim).unwrap();
                    taken.push((claim.run(), claim.token()));
                    claims.push(claim);
                }
            }
            15..20 if !claims.is_empty() => {
                let at = usize::try_from(random.next()).unwrap_or(0) % claims.len();
                let claim = claims.swap_remove(at);
                let outcome = match random.next() % 3 {
                    0 => Outcome::failed("no"),
                    _ => Outcome::Completed(json!(1)),
                };
                engine.complete(&claim, outcome).unwrap();
            }
            _ => clock.advance(Duration::from_secs(random.next() % 100)),
        }
        engine.advance().unwrap();
        engine.check_invariants();
        if !backfilled {
            check_policy(&engine, id, overlap);
        }
    }
    for id in ids {
        engine.delete_deployment(id).unwrap();
        engine.check_invariants();
    }
    for claim in claims {
        engine.complete(&claim, Outcome::Cancelled).unwrap();
        engine.check_invariants();
    }
    let status = engine.snapshot();
    assert_eq!(
        (status.queued_tasks, status.scheduled, status.processing_tasks),
        (0, 0, 0)
    );
    assert_eq!(engine.advance().unwrap(), None, "nothing wakes an empty engine");
    taken
}

#[test]
fn s4_every_policy_holds_through_random_histories() {
    let mut taken = 0;
    for seed in 1..60 {
        let first = history(seed);
        if seed % 10 == 0 {
            assert_eq!(history(seed), first, "E1: seed {seed}");
        }
        taken += first.len();
    }
    assert!(taken > 1_000, "{taken}");
}
