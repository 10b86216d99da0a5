//! Hooks against the obvious implementation, and single promises.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::engine::events::{Follow, Replica};
use crate::engine::{Claims, Document, Outcome, Scope};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn engine(most: usize) -> (Engine, ManualClock) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let builder = Engine::builder().clock(clock.clone()).seed(7).deliveries(most);
    let engine = builder.finished_runs(1).build().unwrap();
    engine.flow("f").unwrap();
    (engine, clock)
}

/// A run that ends so.
fn end(engine: &Engine, outcome: Outcome) -> RunId {
    let run = engine.submit("f").unwrap().id;
    let claim = engine.claim(&Scope::all()).unwrap().unwrap();
    engine.begin(&claim).unwrap();
    engine.complete(&claim, outcome).unwrap();
    run
}

fn completed() -> Outcome {
    Outcome::Completed("done".into())
}

fn moved(engine: &Engine, clock: &ManualClock, claims: Claims) -> Engine {
    let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let document: Document = serde_json::from_str(&text).unwrap();
    let moved = Engine::builder()
        .clock(clock.clone())
        .import(document, claims)
        .unwrap();
    moved.check_invariants();
    moved
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Ready,
    Taken(Duration),
    Waiting(Duration),
}

/// The obvious hook: one list, scanned.
#[derive(Clone, Debug, Default)]
struct Model {
    in_sequence: bool,
    failures_alone: bool,
    /// Number, attempts, where; and the run, or how many were missed.
    list: Vec<(u64, u32, At, Result<RunId, u64>)>,
    missed: u64,
    given_up: u64,
}

const MOST: usize = 4;
const DELAYS: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(40)];

impl Model {
    fn end(&mut self, run: RunId, failed: bool, number: &mut u64) {
        if self.failures_alone && !failed {
            return;
        }
        if self.missed > 0 || self.list.len() >= MOST {
            self.missed += 1;
        } else {
            *number += 1;
            self.list.push((*number, 0, At::Ready, Ok(run)));
        }
    }

    fn take(&mut self, n: usize, until: Duration) -> Vec<(u64, u32, Result<RunId, u64>)> {
        let mut taken = Vec::new();
        for (at, item) in self.list.iter_mut().enumerate() {
            let held_back = self.in_sequence && at > 0;
            if item.2 == At::Ready && taken.len() < n && !held_back {
                (item.1, item.2) = (item.1 + 1, At::Taken(until));
                taken.push((item.0, item.1, item.3));
            }
        }
        taken
    }

    fn is_current(&self, number: u64, attempt: u32) -> bool {
        let item = self.list.iter().find(|item| item.0 == number);
        item.is_some_and(|item| item.1 == attempt && matches!(item.2, At::Taken(_)))
    }

    fn leave(&mut self, number: u64, next: &mut u64) {
        self.list.retain(|item| item.0 != number);
        if self.missed > 0 && self.list.len() < MOST {
            *next += 1;
            self.list.push((*next, 0, At::Ready, Err(self.missed)));
            self.missed = 0;
        }
    }

    fn fail(&mut self, number: u64, at: Duration, next: &mut u64) {
        let item = self.list.iter_mut().find(|item| item.0 == number).unwrap();
        if let Some(delay) = DELAYS.get(item.1 as usize - 1) {
            item.2 = At::Waiting(at + *delay);
        } else {
            self.given_up += 1;
            self.leave(number, next);
        }
    }

    /// What happens first of itself, up to now.
    fn first(&self, now: Duration) -> Option<(Duration, u64, bool)> {
        let waits = self.list.iter().filter_map(|item| match item.2 {
            At::Ready => None,
            At::Taken(at) => Some((at, item.0, true)),
            At::Waiting(at) => Some((at, item.0, false)),
        });
        waits.min().filter(|first| first.0 <= now)
    }
}

/// Makes all due, of all hooks in the order of the instants.
fn pass(models: &mut [Model; 2], now: Duration, number: &mut u64) {
    loop {
        let firsts = (0..2).filter_map(|line| Some((models[line].first(now)?, line)));
        let Some(((at, first, lapsed), line)) = firsts.min() else {
            return;
        };
        if lapsed {
            models[line].fail(first, at, number);
        } else {
            let item = models[line].list.iter_mut().find(|item| item.0 == first).unwrap();
            item.2 = At::Ready;
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    End(bool),
    Take(usize, usize, u64),
    Delivered(prop::sample::Index),
    Failed(prop::sample::Index),
    Pass(u64),
    Move(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any::<bool>().prop_map(Op::End),
        4 => (0..2_usize, 0..3_usize, 1..40_u64).prop_map(|(hook, n, lease)| Op::Take(hook, n, lease)),
        3 => any::<prop::sample::Index>().prop_map(Op::Delivered),
        3 => any::<prop::sample::Index>().prop_map(Op::Failed),
        3 => (1..50_u64).prop_map(Op::Pass),
        1 => any::<bool>().prop_map(Op::Move),
    ]
}

const NAMES: [&str; 2] = ["all", "failures"];

fn told(delivery: &Delivery) -> (u64, u32, Result<RunId, u64>) {
    let of = match &delivery.completion {
        Completion::Run(run) => Ok(run.id),
        Completion::Missed(gap) => Err(gap.count),
    };
    (delivery.number, delivery.attempt, of)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// R8: what is handed out, to whom, in which order and as which attempt; what is refused, missed, given up; over moves of the engine.
    #[test]
    fn r8_hooks_are_the_obvious_lists(ops in prop::collection::vec(op(), 1..80)) {
        let (mut engine, clock) = engine(MOST);
        let retry = Retry::list(2, DELAYS);
        engine.hook(Hook::named(NAMES[0]).retry(retry.clone())).unwrap();
        let failures = Hook::named(NAMES[1]).states([StateType::Failed]).in_sequence().retry(retry);
        engine.hook(failures).unwrap();
        let mut models = [Model::default(), Model { in_sequence: true, failures_alone: true, ..Model::default() }];
        let (mut number, mut now) = (0, Duration::ZERO);
        let mut handed: Vec<Delivery> = Vec::new();
        let mut events = engine.events(Follow::everything().capacity(100_000)).unwrap();
        let mut copy = Replica::new(engine.export().unwrap());
        for op in ops {
            match op {
                Op::End(failed) => {
                    let run = end(&engine, if failed { Outcome::failed("no") } else { completed() });
                    models.iter_mut().for_each(|model| model.end(run, failed, &mut number));
                }
                Op::Take(hook, n, lease) => {
                    let lease = u32::try_from(lease).unwrap() * SECOND;
                    let taken = engine.take_deliveries(NAMES[hook], n, lease).unwrap();
                    let wanted = models[hook].take(n, now + lease);
                    prop_assert_eq!(taken.iter().map(told).collect::<Vec<_>>(), wanted);
                    handed.extend(taken);
                }
                Op::Delivered(_) | Op::Failed(_) if handed.is_empty() => {}
                Op::Delivered(at) => {
                    let delivery = at.get(&handed);
                    let line = usize::from(delivery.hook() == NAMES[1]);
                    let current = models[line].is_current(delivery.number, delivery.attempt);
                    let said = engine.delivered(delivery);
                    prop_assert_eq!(said.is_ok(), current, "{:?}", said);
                    if current {
                        models[line].leave(delivery.number, &mut number);
                    }
                }
                Op::Failed(at) => {
                    let delivery = at.get(&handed);
                    let line = usize::from(delivery.hook() == NAMES[1]);
                    let current = models[line].is_current(delivery.number, delivery.attempt);
                    let said = engine.not_delivered(delivery, "busy");
                    prop_assert_eq!(said.is_ok(), current);
                    if let Ok(fate) = said {
                        prop_assert_eq!(fate == Fate::Retrying, !delivery.is_last_attempt());
                        models[line].fail(delivery.number, now, &mut number);
                    }
                }
                Op::Pass(seconds) => {
                    now += u32::try_from(seconds).unwrap() * SECOND;
                    clock.advance(u32::try_from(seconds).unwrap() * SECOND);
                    pass(&mut models, now, &mut number);
                    let next = models.iter().filter_map(|model| model.first(Duration::MAX)).min();
                    let wait = engine.advance().unwrap();
                    // Records grow old too; what hooks wait for is never later than told.
                    prop_assert_eq!(wait, next.map(|next| next.0.saturating_sub(now)));
                }
                Op::Move(keep) => {
                    let version = engine.export().unwrap();
                    for event in std::iter::from_fn(|| events.try_next().unwrap()) {
                        copy.apply(event).unwrap();
                    }
                    crate::engine::events::tests::assert_same(&copy.document(), &version);
                    let claims = if keep { Claims::Keep } else { Claims::PutBack };
                    engine = moved(&engine, &clock, claims);
                    for model in models.iter_mut().filter(|_| !keep) {
                        let taken = model.list.iter().filter(|item| matches!(item.2, At::Taken(_)));
                        for lost in taken.map(|item| item.0).collect::<Vec<_>>() {
                            model.fail(lost, now, &mut number);
                        }
                    }
                    events = engine.events(Follow::everything().capacity(100_000)).unwrap();
                    copy = Replica::new(engine.export().unwrap());
                }
            }
            engine.check_invariants();
            for (status, model) in engine.hooks().unwrap().iter().zip(&models) {
                let count = |of: fn(&At) -> bool| model.list.iter().filter(|item| of(&item.2)).count();
                prop_assert_eq!(status.ready, count(|at| *at == At::Ready));
                prop_assert_eq!(status.taken, count(|at| matches!(at, At::Taken(_))));
                prop_assert_eq!(status.retrying, count(|at| matches!(at, At::Waiting(_))));
                prop_assert_eq!(status.missed.map_or(0, |gap| gap.count), model.missed);
                prop_assert_eq!(status.totals.given_up, model.given_up);
            }
        }
    }
}

#[test]
fn r8_five_attempts_after_two_four_eight_and_sixteen_minutes_and_then_it_is_given_up() {
    let (engine, clock) = engine(10);
    engine.hook(Hook::named("bell")).unwrap();
    let mut events = engine.events(Follow::states()).unwrap();
    let run = end(&engine, completed());
    let mut after = Vec::new();
    for attempt in 1..=5 {
        let taken = engine.take_deliveries("bell", 9, MINUTE).unwrap();
        assert_eq!((taken.len(), taken[0].attempt()), (1, attempt));
        let fate = engine.not_delivered(&taken[0], format!("no {attempt}")).unwrap();
        assert_eq!(fate == Fate::Retrying, attempt < 5);
        let wait = engine.advance().unwrap();
        after.extend(wait);
        let moment = Duration::from_micros(1);
        clock.advance(wait.unwrap_or_default().saturating_sub(moment));
        assert!(
            engine.take_deliveries("bell", 9, MINUTE).unwrap().is_empty(),
            "too early"
        );
        clock.advance(moment);
    }
    assert_eq!(after, [2, 4, 8, 16].map(|minutes| minutes * MINUTE));
    let given_up = &engine.hooks().unwrap()[0].given_up;
    assert_eq!((given_up[0].run, given_up[0].attempts), (Some(run), 5));
    assert_eq!(&*given_up[0].problem, "no 5");
    let told = std::iter::from_fn(|| events.try_next().unwrap())
        .any(|event| matches!(event.what, Happened::GivenUp(told) if told == given_up[0]));
    assert!(told, "followers hear of what was given up");
}

#[test]
fn r8_a_delivery_that_waits_for_its_retry_holds_up_nobody_unless_in_sequence() {
    let (engine, clock) = engine(10);
    engine.hook(Hook::named("loose")).unwrap();
    engine.hook(Hook::named("strict").in_sequence()).unwrap();
    let runs = [(); 3].map(|()| end(&engine, completed()));
    let runs_of = |hook: &str| -> Vec<RunId> {
        let taken = engine.take_deliveries(hook, 9, MINUTE).unwrap();
        for delivery in &taken {
            if delivery.run().unwrap().id == runs[0] && delivery.attempt() == 1 {
                engine.not_delivered(delivery, "busy").unwrap();
            } else {
                engine.delivered(delivery).unwrap();
            }
        }
        taken.iter().map(|delivery| delivery.run().unwrap().id).collect()
    };
    assert_eq!(runs_of("loose"), runs);
    assert_eq!(runs_of("strict"), runs[..1]);
    assert_eq!(runs_of("strict"), []);
    clock.advance(2 * MINUTE);
    assert_eq!(runs_of("loose"), runs[..1]);
    assert_eq!(
        [runs_of("strict"), runs_of("strict"), runs_of("strict")].concat(),
        runs
    );
}

#[test]
fn r8_a_delivery_has_the_run_as_it_ended_also_when_its_record_is_gone() {
    let (engine, clock) = engine(10);
    engine.hook(Hook::named("bell")).unwrap();
    let first = end(&engine, completed());
    end(&engine, completed());
    end(&engine, completed());
    assert!(
        matches!(engine.run(first), Err(Error::NotFound { .. })),
        "one record is kept"
    );
    let engine = moved(&engine, &clock, Claims::Keep);
    let taken = engine.take_deliveries("bell", 1, MINUTE).unwrap();
    let run = taken[0].run().unwrap();
    assert_eq!((run.id, run.result.clone()), (first, Some("done".into())));
    assert_eq!(run.state_type, Some(StateType::Completed));
}

#[test]
fn e4_what_does_not_fit_is_told_as_a_gap_in_its_place() {
    let (engine, _) = engine(2);
    engine.hook(Hook::named("bell")).unwrap();
    let before = engine.export().unwrap().version();
    let kept = [(); 2].map(|()| end(&engine, completed()));
    let missed = [(); 3].map(|()| end(&engine, completed()));
    let status = &engine.hooks().unwrap()[0];
    let gap = status.missed.unwrap();
    assert_eq!((status.ready, gap.count, status.totals.missed), (2, 3, 3));
    assert!(before < gap.from && gap.from < gap.to, "{gap:?}");
    let taken = engine.take_deliveries("bell", 9, MINUTE).unwrap();
    assert_eq!([0, 1].map(|at| taken[at].run().unwrap().id), kept);
    engine.delivered(&taken[0]).unwrap();
    // The gap has the place that came free: what ends now is missed too, and told in a gap of its own.
    let last = end(&engine, completed());
    let told = engine.take_deliveries("bell", 9, MINUTE).unwrap();
    assert!(
        matches!(told[0].completion(), Completion::Missed(told) if *told == gap),
        "{told:?}"
    );
    engine.delivered(&taken[1]).unwrap();
    engine.delivered(&told[0]).unwrap();
    let told = engine.take_deliveries("bell", 9, MINUTE).unwrap();
    assert!(
        matches!(told[0].completion(), Completion::Missed(gap) if gap.count == 1),
        "{told:?} {missed:?} {last}"
    );
}

#[test]
fn r2_a_late_report_of_a_delivery_is_refused_and_changes_nothing() {
    let (engine, clock) = engine(10);
    engine
        .hook(Hook::named("bell").retry(Retry::fixed(1, SECOND)))
        .unwrap();
    end(&engine, completed());
    let first = engine.take_deliveries("bell", 1, MINUTE).unwrap();
    clock.advance(MINUTE);
    let before = engine.hooks().unwrap();
    assert_eq!((before[0].retrying, before[0].totals.failed_attempts), (1, 1));
    let refused = [
        engine.delivered(&first[0]).unwrap_err(),
        engine.not_delivered(&first[0], "late").unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(
            refused.to_string(),
            "attempt 1 of delivery 1 of hook \"bell\" is stale: the attempt has ended; its lease may have lapsed"
        );
    }
    assert_eq!(engine.hooks().unwrap(), before);
    clock.advance(SECOND);
    let second = engine.take_deliveries("bell", 1, MINUTE).unwrap();
    assert!(second[0].is_last_attempt());
    assert!(matches!(
        engine.delivered(&first[0]),
        Err(Error::StaleDelivery { .. })
    ));
    engine.delivered(&second[0]).unwrap();
    assert!(matches!(
        engine.delivered(&second[0]),
        Err(Error::StaleDelivery { .. })
    ));
}

#[test]
fn e5_what_a_handler_of_the_old_process_had_is_tried_again() {
    let (engine, clock) = engine(10);
    engine
        .hook(Hook::named("bell").retry(Retry::fixed(4, SECOND)))
        .unwrap();
    end(&engine, completed());
    let waits = engine.await_deliveries("bell", Arc::default()).unwrap();
    let had = waits.take_one().unwrap().unwrap();
    let moved = moved(&engine, &clock, Claims::Keep);
    assert_eq!(moved.hooks().unwrap()[0].retrying, 1);
    clock.advance(SECOND);
    let again = moved.take_deliveries("bell", 1, MINUTE).unwrap();
    assert_eq!((again[0].number(), again[0].attempt()), (had.number(), 2));
}

#[test]
fn e2_a_hook_out_of_bounds_is_refused() {
    let (engine, _) = engine(10);
    let wrong = [
        Hook::named(""),
        Hook::named("a").flow("a/b"),
        Hook::named("a").states([StateType::Running]),
        Hook::named("a").retry(Retry::fixed(10_001, SECOND)),
        Hook::named("a").retry(Retry::fixed(1, SECOND).keep_slots()),
        Hook::named("a").retry(Retry::fixed(1, SECOND).within(SECOND)),
    ];
    for wrong in wrong {
        let refused = engine.hook(wrong);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    assert_eq!(engine.hooks().unwrap(), []);
    for number in 0..MAX_HOOKS {
        engine.hook(Hook::named(format!("hook {number}"))).unwrap();
    }
    assert!(matches!(
        engine.hook(Hook::named("more")),
        Err(Error::Full { .. })
    ));
    engine.hook(Hook::named("hook 7").in_sequence()).unwrap();
    assert!(matches!(
        engine.take_deliveries("more", 1, MINUTE),
        Err(Error::NotFound { .. })
    ));
    for lease in [Duration::ZERO, Duration::MAX] {
        assert!(matches!(
            engine.take_deliveries("hook 1", 1, lease),
            Err(Error::Invalid(_))
        ));
    }
    assert!(matches!(
        Engine::builder().deliveries(0).build(),
        Err(Error::Setting { .. })
    ));
}

#[test]
fn taking_a_hook_away_drops_its_line_and_answers_who_waits() {
    let (engine, _) = engine(10);
    engine.hook(Hook::named("bell")).unwrap();
    end(&engine, completed());
    let taken = engine.take_deliveries("bell", 1, MINUTE).unwrap();
    end(&engine, completed());
    assert_eq!(engine.unhook("bell"), Ok(2));
    assert!(matches!(engine.delivered(&taken[0]), Err(Error::NotFound { .. })));
    assert_eq!(engine.advance().unwrap(), None, "its lease waits for nothing");
    let waits = engine.wait_deliveries("bell", 1, MINUTE, MINUTE);
    assert!(matches!(waits, Err(Error::NotFound { .. })));
}

#[test]
fn r8_who_waits_is_told_that_its_hook_was_taken_away_also_when_another_has_its_name_by_then() {
    let (engine, _) = engine(10);
    engine.hook(Hook::named("bell")).unwrap();
    let waits = engine.await_deliveries("bell", Arc::default()).unwrap();
    engine.unhook("bell").unwrap();
    assert!(waits.bell.is_rung());
    engine.hook(Hook::named("bell")).unwrap();
    end(&engine, completed());
    // Nothing rings its bell any more, so it may not go on as if something did.
    assert!(matches!(waits.take_one(), Err(Error::NotFound { .. })));
    assert_eq!(engine.take_deliveries("bell", 9, MINUTE).unwrap().len(), 1);
}

#[test]
fn e2_a_state_said_twice_is_said_once_and_none_is_forgotten() {
    let (engine, _) = engine(10);
    let many = std::iter::repeat_n(StateType::Completed, 20).chain([StateType::Failed]);
    engine.hook(Hook::named("bell").states(many)).unwrap();
    end(&engine, Outcome::failed("no"));
    end(&engine, completed());
    assert_eq!(engine.hooks().unwrap()[0].ready, 2);
}

/// A document with one hook: a delivery that waits for its second attempt, and one that was given up.
fn document() -> serde_json::Value {
    let (engine, clock) = engine(10);
    let retry = Retry::fixed(1, SECOND);
    engine.hook(Hook::named("bell").retry(retry)).unwrap();
    for fails in [2, 1] {
        end(&engine, completed());
        for _ in 0..fails {
            let taken = engine.take_deliveries("bell", 1, MINUTE).unwrap();
            engine.not_delivered(&taken[0], "busy").unwrap();
            clock.advance(SECOND);
        }
        engine.advance().unwrap();
    }
    let taken = engine.take_deliveries("bell", 1, MINUTE).unwrap();
    assert_eq!(taken[0].number(), 2);
    serde_json::to_value(engine.export().unwrap()).unwrap()
}

fn imported(document: serde_json::Value) -> Result<Engine, String> {
    let document: Document = serde_json::from_value(document).map_err(|wrong| wrong.to_string())?;
    Engine::builder()
        .clock(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()))
        .import(document, Claims::Keep)
        .map_err(|wrong| wrong.to_string())
}

/// What a document that is let in becomes can be moved again, whatever happens to it meanwhile.
#[test]
fn e5_hooks_that_do_not_fit_together_are_refused_with_their_place() {
    let good = document();
    imported(good.clone()).unwrap();
    let hook = "/hooks/hooks/0";
    let most = u64::from(crate::model::MAX_RETRIES);
    let wrong = [
        ("/pending/2/attempts", serde_json::json!(most + 2)),
        ("/pending/2/attempts", serde_json::json!(0)),
        ("/pending/2/left", serde_json::json!(-1)),
        ("/pending/2/left", serde_json::json!(i64::MAX)),
        ("/pending/2/stage", serde_json::json!("ready")),
        ("/given_up/0/hook", serde_json::json!("another")),
        ("/given_up/0/number", serde_json::json!(9)),
        ("/given_up/0/attempts", serde_json::json!(0)),
        ("/head/hook/name", serde_json::json!("")),
        ("/head/hook/states", serde_json::json!(["FAILED", "FAILED"])),
        ("/head/totals/recorded", serde_json::json!(u64::MAX)),
        (
            "/head/missed",
            serde_json::json!({"count": 1, "from": 1, "to": 1}),
        ),
    ];
    for (place, value) in wrong {
        let mut document = good.clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        document.pointer_mut(&format!("{hook}{parent}")).unwrap()[name] = value.clone();
        let refused = imported(document);
        let said = refused
            .err()
            .unwrap_or_else(|| panic!("{place} = {value} was let in"));
        assert!(said.contains("hooks[0]"), "{said}");
    }
    // As often as may be, and so never as often and waiting for one more.
    for (stage, attempts, fits) in [
        ("taken", most + 1, true),
        ("waiting", most, true),
        ("waiting", most + 1, false),
        ("ready", most, true),
        ("ready", most + 1, false),
    ] {
        let mut document = good.clone();
        let entry = document.pointer_mut(&format!("{hook}/pending/2")).unwrap();
        (entry["stage"], entry["attempts"]) = (stage.into(), attempts.into());
        if stage == "ready" {
            entry.as_object_mut().unwrap().remove("left");
        }
        let said = imported(document);
        assert_eq!(said.is_ok(), fits, "{stage} {attempts}");
        if let Ok(engine) = said {
            let _ = engine.take_deliveries("bell", 9, MINUTE).unwrap();
            imported(serde_json::to_value(engine.export().unwrap()).unwrap()).unwrap();
        }
    }
    let mut long = good;
    *long.pointer_mut("/hooks/hooks/0/given_up/0/problem").unwrap() = "x".repeat(99_999).into();
    let engine = imported(long).unwrap();
    assert!(engine.hooks().unwrap()[0].given_up[0].problem.len() < 10_100);
}
