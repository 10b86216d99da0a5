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

    use chrono::DateTime;
    use proptest::prelude::*;

    use crate::clock::ManualClock;
    use crate::engine::{Claim, Ending, Engine, Outcome, Scope};
    use crate::limit::LimitSpec;
    use crate::model::QueueOrder;
    use crate::{NewDeployment, NewRun, Priority};

    #[derive(Clone, Debug)]
    enum Step {
        Submit {
            deployment: usize,
            level: u8,
            named: u32,
        },
        Next {
            at: usize,
            fails: bool,
        },
        Limit {
            slots: u32,
        },
        Strict(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..3_usize, 1..=10_u8, 0..3_u32).prop_map(|(deployment, level, named)| Step::Submit { deployment, level, named }),
            6 => (0..8_usize, any::<bool>()).prop_map(|(at, fails)| Step::Next { at, fails }),
            1 => (0..4_u32).prop_map(|slots| Step::Limit { slots }),
            1 => any::<bool>().prop_map(Step::Strict),
        ];
        prop::collection::vec(step, 0..120)
    }

    fn engine() -> Engine {
        let engine = Engine::builder()
            .seed(1)
            .limit(4)
            .clock(ManualClock::at(DateTime::UNIX_EPOCH))
            .build()
            .expect("the settings fit together");
        engine.define_limit(LimitSpec::new("gpu", 3)).expect("a new name");
        for (name, limit) in [
            ("none", None),
            ("one", NonZeroU32::new(1)),
            ("two", NonZeroU32::new(2)),
        ] {
            let mut new = NewDeployment::new("f", name);
            if let Some(limit) = limit {
                new = new.concurrency_limit(limit);
            }
            engine.deploy(new).expect("a new name");
        }
        engine
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// An end and a claim in one step do what they do one after the other, whatever waits.
        #[test]
        fn l1_l4_c1_a_handover_is_an_end_and_a_claim(steps in steps()) {
            let (one, two) = (engine(), engine());
            let scope = Scope::all();
            let mut held: Vec<(Claim, Claim)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Submit { deployment, level, named } => {
                        let name = ["f/none", "f/one", "f/two"][deployment];
                        let mut new = NewRun::of(name).priority(Priority::new(level).unwrap());
                        if named > 0 {
                            new = new.slots("gpu", named);
                        }
                        let ids = [&one, &two].map(|engine| engine.submit(new.clone()).ok().map(|made| made.id));
                        prop_assert_eq!(ids[0], ids[1]);
                    }
                    Step::Next { .. } if held.is_empty() => {
                        let claims = [&one, &two].map(|engine| engine.claim_to_execute(&scope, None).unwrap().claim);
                        if let [Some(first), Some(second)] = claims {
                            held.push((first, second));
                        }
                    }
                    Step::Next { at, fails } => {
                        let more = [&one, &two].map(|engine| engine.claim_to_execute(&scope, None).unwrap().claim);
                        if let [Some(first), Some(second)] = more {
                            held.push((first, second));
                        }
                        let (first, second) = held.swap_remove(at % held.len());
                        let ending = || Ending::of(if fails { Outcome::failed("as told") } else { Outcome::Completed(().into()) });
                        let next = one.end_and_claim(&first, ending(), Some(&scope), None).unwrap();
                        two.end_and_claim(&second, ending(), None, None).unwrap();
                        let other = two.claim_to_execute(&scope, None).unwrap().claim;
                        prop_assert_eq!(next.as_ref().map(Claim::run), other.as_ref().map(Claim::run));
                        held.extend(next.zip(other));
                    }
                    Step::Limit { slots } => {
                        for engine in [&one, &two] {
                            engine.update_limit("gpu", crate::engine::LimitPatch::new().slots(slots)).unwrap();
                        }
                    }
                    Step::Strict(strict) => {
                        let order = if strict { QueueOrder::StrictFifo } else { QueueOrder::BestEffort };
                        for engine in [&one, &two] {
                            let _ = engine.set_queue_order("default", "default", order);
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
