//! Slots that go from a run that ends to the one that its worker takes next, in one step.
//!
//! While more runs wait for a limit than it has slots, a worker gives a slot back and takes it again for the next run. Telling the
//! ready order of both would let the waiting class in and put it out once for every run. So the order is not told of the
//! slots before the claim has chosen: if the choice is the first that waits for them, the limit has as much room as before; else it is told
//! then. Nobody sees the time between: both happen under one hold of the engine's lock.

use super::core::Core;
use super::ready::Head;
use crate::limit::Demand;

/// Where a handover stands.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// A claim follows in this step.
    expected: bool,
    /// Given back in this step, and not told.
    untold: Option<Demand>,
}

/// The run that may take over what is not told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heir {
    pub(crate) queue: u32,
    /// Its place in line, and its row.
    pub(crate) first: (Head, u32),
}

impl Core {
    /// Ends an attempt and claims the next run; the slots may go from the one to the other.
    pub(crate) fn with_handover<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> T {
        // What is decided when a limit refuses somebody is decided in the order of its slots.
        self.handover.expected = self.collisions == 0;
        let answer = step(self);
        self.handover.expected = false;
        self.tell_room();
        answer
    }

    /// Slots were given back: whoever waits for them is looked at now, or when the claim of this step has chosen.
    pub(crate) fn give_room(&mut self, released: Demand) {
        if self.handover.expected && self.handover.untold.is_none() && released.asks().len() == 1 {
            self.handover.untold = Some(released);
            return;
        }
        for ask in released.asks() {
            self.room_changed(ask.limit);
        }
    }

    fn tell_room(&mut self) {
        for ask in self.handover.untold.take().iter().flat_map(Demand::asks) {
            self.room_changed(ask.limit);
        }
    }

    /// Who could take over what was given back; if nobody can, the ready order is told of it.
    pub(crate) fn heir(&mut self) -> Option<Heir> {
        let ask = *self.handover.untold.as_ref()?.asks().first()?;
        let room = self.limits.book.room(ask.limit, self.mono_time());
        let found = self.ready.heir_of(ask.limit, ask.weight, room);
        if found.is_none() {
            self.tell_room();
        }
        found.map(|(queue, head, row)| Heir {
            queue,
            first: (head, row),
        })
    }

    /// The claim has chosen: the heir, who takes over, or another.
    pub(crate) fn hand_over(&mut self, to_heir: bool) {
        if to_heir {
            self.handover.untold = None;
        } else {
            self.tell_room();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use chrono::DateTime;
    use proptest::prelude::*;

    use crate::clock::ManualClock;
    use crate::engine::{Claim, Ending, Engine, LimitPatch, Outcome, Scope};
    use crate::limit::LimitSpec;
    use crate::model::{Collision, ConcurrencyOptions, NewPool, NewQueue, QueueOrder};
    use crate::{NewDeployment, NewRun, Priority, Retry};

    #[derive(Clone, Debug)]
    enum Step {
        Submit {
            deployment: usize,
            level: u8,
            named: u32,
            retry: Option<bool>,
        },
        Next {
            at: usize,
            fails: bool,
            scope: usize,
        },
        Cancel(usize),
        Level(usize, u8),
        Limit {
            slots: u32,
            active: bool,
        },
        Decays(bool),
        Redefine(u32),
        Strict(usize, bool),
        PauseQueue(usize, bool),
        PausePool(usize, bool),
        QueueLimit(usize, Option<u32>),
        PoolLimit(usize, Option<u32>),
        Pass(u64),
    }

    const QUEUES: [(&str, &str); 3] = [("default", "default"), ("default", "late"), ("other", "default")];
    const DEPLOYMENTS: [&str; 6] = ["none", "one", "two", "one late", "one other", "colliding"];

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let limit = || prop::option::of(0..3_u32);
        let step = prop_oneof![
            24 => (0..6_usize, 1..=10_u8, 0..3_u32, prop::option::weighted(0.3, any::<bool>()))
                .prop_map(|(deployment, level, named, retry)| Step::Submit { deployment, level, named, retry }),
            24 => (0..8_usize, any::<bool>(), 0..4_usize).prop_map(|(at, fails, scope)| Step::Next { at, fails, scope }),
            2 => (0..100_usize).prop_map(Step::Cancel),
            2 => (0..100_usize, 1..=10_u8).prop_map(|(run, level)| Step::Level(run, level)),
            3 => (0..4_u32, prop::bool::weighted(0.8)).prop_map(|(slots, active)| Step::Limit { slots, active }),
            1 => any::<bool>().prop_map(Step::Decays),
            1 => (0..4_u32).prop_map(Step::Redefine),
            2 => (0..3_usize, any::<bool>()).prop_map(|(queue, strict)| Step::Strict(queue, strict)),
            2 => (0..3_usize, prop::bool::weighted(0.3)).prop_map(|(queue, pause)| Step::PauseQueue(queue, pause)),
            1 => (0..2_usize, prop::bool::weighted(0.3)).prop_map(|(pool, pause)| Step::PausePool(pool, pause)),
            2 => (0..3_usize, limit()).prop_map(|(queue, limit)| Step::QueueLimit(queue, limit)),
            2 => (0..2_usize, limit()).prop_map(|(pool, limit)| Step::PoolLimit(pool, limit)),
            2 => (1..3_000_u64).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 0..160)
    }

    fn engine(bypass: Option<u32>, collision: Option<Collision>) -> (Engine, ManualClock) {
        let clock = ManualClock::at(DateTime::UNIX_EPOCH);
        let mut builder = Engine::builder().seed(1).limit(4).clock(clock.clone());
        if let Some(times) = bypass {
            builder = builder.bypass_bound(times);
        }
        let engine = builder.build().expect("the settings fit together");
        engine.define_limit(LimitSpec::new("gpu", 3)).expect("a new name");
        engine.create_pool(NewPool::named("other")).expect("a new name");
        engine
            .create_queue(NewQueue::named("default", "late").priority(NonZeroU32::MAX))
            .expect("a new name");
        for (name, limit, queue) in [
            ("none", 0, 0),
            ("one", 1, 0),
            ("two", 2, 0),
            ("one late", 1, 1),
            ("one other", 1, 2),
            ("colliding", 1, 0),
        ] {
            let mut new = NewDeployment::new("f", name).work_queue(QUEUES[queue].0, QUEUES[queue].1);
            if let Some(limit) = NonZeroU32::new(limit) {
                new = new.concurrency_limit(limit);
            }
            if let Some(collision) = collision.filter(|_| name == "colliding") {
                new = new.concurrency_options(ConcurrencyOptions::new(collision));
            }
            engine.deploy(new).expect("a new name");
        }
        (engine, clock)
    }

    fn scope(number: usize) -> Scope {
        match number {
            0 => Scope::pool("other"),
            1 => Scope::queue("default", "late"),
            _ => Scope::all(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// An end and a claim in one step do what they do one after the other, whatever waits, for whatever, in whatever is paused or full.
        #[test]
        fn l1_l4_c1_a_handover_is_an_end_and_a_claim(
            steps in steps(),
            bypass in prop::option::weighted(0.2, 1..3_u32),
            collision in prop::option::weighted(0.3, prop::sample::select(vec![
                Collision::CancelNew,
                Collision::CancelRunning,
                Collision::ReplaceWaiting,
            ])),
        ) {
            let [(one, first_clock), (two, second_clock)] = [(); 2].map(|()| engine(bypass, collision));
            let mut held: Vec<(Claim, Claim)> = Vec::new();
            let mut runs = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let both = [&one, &two];
                match step {
                    Step::Submit { deployment, level, named, retry } => {
                        let name = format!("f/{}", DEPLOYMENTS[deployment]);
                        let mut new = NewRun::of(&*name).priority(Priority::new(level).unwrap());
                        if named > 0 {
                            new = new.slots("gpu", named);
                        }
                        if let Some(keeps) = retry {
                            let retry = Retry::fixed(1, Duration::from_secs(1 + u64::from(level > 5)));
                            new = new.retry(if keeps { retry.keep_slots() } else { retry });
                        }
                        let ids = both.map(|engine| engine.submit(new.clone()).ok().map(|made| made.id));
                        prop_assert_eq!(ids[0], ids[1]);
                        runs.extend(ids[0]);
                    }
                    Step::Next { at, fails, scope: number } => {
                        let scope = scope(number);
                        if held.len() < 3 {
                            let more = both.map(|engine| engine.claim_to_execute(&scope, None).unwrap().claim);
                            prop_assert_eq!(more[0].as_ref().map(Claim::run), more[1].as_ref().map(Claim::run));
                            if let [Some(first), Some(second)] = more {
                                held.push((first, second));
                            }
                        }
                        if held.is_empty() {
                            continue;
                        }
                        let (first, second) = held.swap_remove(at % held.len());
                        let ending = || Ending::of(if fails { Outcome::failed("as told") } else { Outcome::Completed(().into()) });
                        let next = one.end_and_claim(&first, ending(), Some(&scope), None).unwrap();
                        two.end_and_claim(&second, ending(), None, None).unwrap();
                        let other = two.claim_to_execute(&scope, None).unwrap().claim;
                        prop_assert_eq!(next.as_ref().map(Claim::run), other.as_ref().map(Claim::run));
                        held.extend(next.zip(other));
                    }
                    Step::Cancel(_) | Step::Level(..) if runs.is_empty() => {}
                    Step::Cancel(run) => drop(both.map(|engine| engine.cancel(runs[run % runs.len()]))),
                    Step::Level(run, level) => {
                        let level = Priority::new(level).unwrap();
                        drop(both.map(|engine| engine.set_priority(runs[run % runs.len()], level)));
                    }
                    Step::Limit { slots, active } => {
                        let patch = || LimitPatch::new().slots(slots).active(active);
                        drop(both.map(|engine| engine.update_limit("gpu", patch())));
                    }
                    Step::Decays(decays) => {
                        let patch = || LimitPatch::new().decay(f64::from(u8::from(decays)));
                        drop(both.map(|engine| engine.update_limit("gpu", patch())));
                    }
                    Step::Redefine(slots) => for engine in both {
                        let _ = engine.delete_limit("gpu");
                        if slots > 0 {
                            engine.define_limit(LimitSpec::new("gpu", slots)).unwrap();
                        }
                    },
                    Step::Strict(queue, strict) => {
                        let order = if strict { QueueOrder::StrictFifo } else { QueueOrder::BestEffort };
                        let (pool, queue) = QUEUES[queue];
                        drop(both.map(|engine| engine.set_queue_order(pool, queue, order)));
                    }
                    Step::PauseQueue(queue, pause) => {
                        let (pool, queue) = QUEUES[queue];
                        drop(both.map(|engine| if pause { engine.pause_queue(pool, queue) } else { engine.resume_queue(pool, queue) }));
                    }
                    Step::PausePool(pool, pause) => {
                        let pool = ["default", "other"][pool];
                        drop(both.map(|engine| if pause { engine.pause_pool(pool) } else { engine.resume_pool(pool) }));
                    }
                    Step::QueueLimit(queue, limit) => {
                        let (pool, queue) = QUEUES[queue];
                        drop(both.map(|engine| engine.set_queue_limit(pool, queue, limit)));
                    }
                    Step::PoolLimit(pool, limit) => drop(both.map(|engine| engine.set_pool_limit(["default", "other"][pool], limit))),
                    Step::Pass(millis) => {
                        for (clock, engine) in [(&first_clock, &one), (&second_clock, &two)] {
                            clock.advance(Duration::from_millis(millis));
                            engine.advance().unwrap();
                        }
                    }
                }
                prop_assert_eq!(
                    serde_json::to_value(one.snapshot()).unwrap(),
                    serde_json::to_value(two.snapshot()).unwrap()
                );
                if !number.is_multiple_of(10) {
                    continue;
                }
                one.check_invariants();
                let texts = [&one, &two].map(|engine| {
                    let mut document = serde_json::to_value(engine.export().unwrap()).unwrap();
                    // Two calls count more versions than one only where something changed in each.
                    document["version"] = 0.into();
                    document
                });
                prop_assert_eq!(&texts[0], &texts[1]);
            }
        }
    }
}
