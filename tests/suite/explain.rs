//! Why a run is where it is, in types and in words (T4).

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::engine::{EXPLAINED_HOLDERS, Lease, LimitPatch, SlotHolder, Stop, Waiting, Why};
use tenfold::limit::{LimitSpec, Mode};
use tenfold::{
    DeploymentPatch, Engine, Error, NewDeployment, NewRun, Outcome, Priority, Retry, RunId, Scope,
};

use crate::support::{engine, take};

const SECOND: Duration = Duration::from_secs(1);

fn waiting(engine: &Engine, run: RunId) -> Waiting {
    match engine.explain(run).unwrap().why {
        Why::Waiting(waiting) => waiting,
        other => panic!("it waits: {other:?}"),
    }
}

fn says(engine: &Engine, run: RunId) -> String {
    engine.explain(run).unwrap().to_string()
}

fn now(engine: &Engine) -> DateTime<Utc> {
    engine.now().unwrap()
}

#[test]
fn t4_a_run_that_is_not_due_says_when_it_is() {
    let (engine, clock) = engine();
    let at = now(&engine) + TimeDelta::seconds(90);
    let run = engine.submit(NewRun::of("f").not_before(at)).unwrap().id;
    let said = waiting(&engine, run);
    assert_eq!(said.stops, [Stop::NotDue(at)]);
    assert_eq!((said.ahead, said.estimate), (None, Some(90 * SECOND)));
    assert_eq!(
        says(&engine, run),
        format!(
            "run {run} waits: it is not due before {}; it can start in 90 s",
            at.to_rfc3339()
        )
    );
    clock.advance(90 * SECOND);
    assert_eq!(engine.explain(run).unwrap().why, Why::Next);
    assert_eq!(
        says(&engine, run),
        format!("run {run} is next: a claim of its pool gets it")
    );
}

#[test]
fn t4_a_retry_says_which_attempt_failed_and_when_the_next_is_due() {
    let (engine, _) = engine();
    let run = engine
        .submit(NewRun::of("f").retry(Retry::fixed(1, 30 * SECOND)))
        .unwrap()
        .id;
    let claim = take(&engine);
    engine.begin(&claim).unwrap();
    engine.complete(&claim, Outcome::failed("no")).unwrap();
    let said = waiting(&engine, run);
    let at = now(&engine) + TimeDelta::seconds(30);
    assert_eq!(said.stops, [Stop::Retry { at, failed: 1 }]);
    assert_eq!(said.estimate, Some(30 * SECOND));
    assert!(says(&engine, run).contains("its attempt 1 failed, and it is tried again at"));
}

#[test]
fn t4_a_run_in_line_counts_those_before_it_but_for_paused_queues() {
    let (engine, _) = engine();
    engine.create_pool(tenfold::NewPool::named("p")).unwrap();
    let queue = tenfold::NewQueue::named("p", "urgent").priority(NonZeroU32::MIN);
    engine.create_queue(queue).unwrap();
    let of = |queue: &str| NewRun::of("f").work_queue("p", queue);
    let run = engine.submit(of("default")).unwrap().id;
    engine.submit(of("default").priority(Priority::MAX)).unwrap();
    engine.submit(of("urgent")).unwrap();
    let said = waiting(&engine, run);
    assert_eq!(
        (said.stops.len(), said.ahead, said.ahead_is_more, said.estimate),
        (0, Some(2), false, None)
    );
    assert_eq!(
        says(&engine, run),
        format!("run {run} waits; 2 runs are before it")
    );
    engine.pause_queue("p", "urgent").unwrap();
    assert_eq!(waiting(&engine, run).ahead, Some(1));
    engine.pause_pool("p").unwrap();
    assert!(says(&engine, run).contains("pool \"p\" is paused; resume it"));
}

#[test]
fn t4_a_limit_names_its_holders_a_few_of_them_with_how_many_there_are() {
    let (engine, _) = engine();
    engine.define_limit(LimitSpec::new("db", 12)).unwrap();
    let mut holders = Vec::new();
    for _ in 0..12 {
        engine.submit(NewRun::of("f").slot("db")).unwrap();
        holders.push((SlotHolder::Run(take(&engine).run()), 1));
    }
    let run = engine.submit(NewRun::of("f").slots("db", 2)).unwrap().id;
    let said = waiting(&engine, run);
    let limit = &said.limits[0];
    assert_eq!(
        (limit.used, limit.slots, limit.wanted, limit.holders_total),
        (12, 12, 2, 12)
    );
    assert_eq!(limit.holders, holders[..EXPLAINED_HOLDERS]);
    assert_eq!(
        (limit.waiting, limit.blocked, limit.retry_after, said.estimate),
        (1, 1, None, None)
    );
    assert!(says(&engine, run).contains("limit \"db\" has room for 0 and it needs 2, held by run"));
    assert!(
        says(&engine, run).ends_with("and 2 more"),
        "{}",
        says(&engine, run)
    );
    let whole = engine.explain_limit("db").unwrap();
    assert!(
        whole
            .to_string()
            .contains("limit \"db\" has 12 of 12 slots in use"),
        "{whole}"
    );
    assert!(
        whole.to_string().contains("1 runs wait at it, 1 of them blocked"),
        "{whole}"
    );
}

#[test]
fn t4_a_limit_that_drains_says_when_it_will_have_and_one_lowered_too_far_that_it_never_will() {
    let (engine, clock) = engine();
    engine.define_limit(LimitSpec::new("api", 4).decay(0.5)).unwrap();
    engine.increment_slots(&["api"], 4, Mode::Concurrency).unwrap();
    let run = engine.submit(NewRun::of("f").slots("api", 3)).unwrap().id;
    let said = waiting(&engine, run);
    assert_eq!(
        (said.estimate, said.limits[0].retry_after),
        (Some(6 * SECOND), Some(6 * SECOND))
    );
    assert!(
        says(&engine, run).contains("retry after 6 s"),
        "{}",
        says(&engine, run)
    );
    clock.advance(2 * SECOND);
    assert_eq!(waiting(&engine, run).estimate, Some(4 * SECOND));
    engine.update_limit("api", LimitPatch::new().slots(2)).unwrap();
    assert_eq!(waiting(&engine, run).estimate, None);
    assert!(
        says(&engine, run).contains("has 2 slots and it needs 3; raise the limit"),
        "{}",
        says(&engine, run)
    );
    engine
        .update_limit("api", LimitPatch::new().active(false))
        .unwrap();
    assert_eq!(engine.explain(run).unwrap().why, Why::Next);
    assert!(
        engine
            .explain_limit("api")
            .unwrap()
            .to_string()
            .contains("is inactive and stops nobody")
    );
}

#[test]
fn t4_the_limit_of_a_deployment_names_the_deployment_and_a_full_scope_its_slots() {
    let (engine, _) = engine();
    let one = NewDeployment::new("f", "one").concurrency_limit(NonZeroU32::MIN);
    let deployment = engine.deploy(one).unwrap().id;
    engine.submit("f/one").unwrap();
    let holder = take(&engine).run();
    let run = engine.submit("f/one").unwrap().id;
    let said = waiting(&engine, run);
    assert_eq!(
        (&said.limits[0].name, said.limits[0].deployment),
        (&None, Some(deployment))
    );
    assert_eq!(said.limits[0].holders, [(SlotHolder::Run(holder), 1)]);
    engine
        .update_deployment(deployment, DeploymentPatch::new().concurrency_limit(None))
        .unwrap();
    engine.set_limit(Some(1)).unwrap();
    engine.set_pool_limit("default", Some(1)).unwrap();
    engine.set_queue_limit("default", "default", Some(1)).unwrap();
    let stops = waiting(&engine, run).stops;
    assert_eq!(
        stops,
        [Stop::EngineFull(1), Stop::PoolFull(1), Stop::QueueFull(1)]
    );
    assert!(says(&engine, run).contains("all 1 slots of the engine are in use; and all 1 slots of its pool"));
}

#[test]
fn t4_a_claimed_run_says_who_has_it_since_when_and_until_when() {
    let (engine, clock) = engine();
    let run = engine.submit(NewRun::of("f").timeout(60 * SECOND)).unwrap().id;
    let since = now(&engine);
    let claim = engine
        .claim_leased(&Scope::all(), Lease::of(20 * SECOND))
        .unwrap()
        .unwrap();
    clock.advance(5 * SECOND);
    engine.begin(&claim).unwrap();
    let Why::Claimed(held) = engine.explain(run).unwrap().why else {
        panic!("it is claimed")
    };
    assert_eq!(
        (held.attempt, held.token, held.supervised),
        (1, claim.token(), false)
    );
    assert_eq!(
        (held.since, held.started, held.stopping),
        (Some(since), true, false)
    );
    assert_eq!(held.lease_until, Some(since + TimeDelta::seconds(20)));
    assert_eq!(held.timeout_at, Some(since + TimeDelta::seconds(65)));
    engine.cancel(run).unwrap();
    let said = says(&engine, run);
    assert!(
        said.contains("runs: a worker of the host has attempt 1"),
        "{said}"
    );
    assert!(said.ends_with("it was asked to stop"), "{said}");
    engine.complete(&claim, Outcome::Cancelled).unwrap();
    assert_eq!(
        says(&engine, run),
        format!("run {run} ended Cancelled at {}", now(&engine).to_rfc3339())
    );
}

#[test]
fn t4_an_unknown_run_or_limit_is_refused() {
    let (engine, _) = engine();
    let run = RunId::from_uuid(uuid::Uuid::nil());
    assert!(matches!(
        engine.explain(run),
        Err(Error::NotFound { kind: "run", .. })
    ));
    assert!(matches!(
        engine.explain_limit("no"),
        Err(Error::NotFound { kind: "limit", .. })
    ));
}
