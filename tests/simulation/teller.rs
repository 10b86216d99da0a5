//! Who is told of completions: two hooks, deliverers that are slow, fail, lose their leases and report twice, and a judge of what they get.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{Completion, Delivery, Event, Happened, Hook};
use tenfold::model::StateType;
use tenfold::{Engine, Error, Retry, RunId};

/// Most deliveries of a hook.
pub(crate) const MOST: usize = 6;
const DELAY: Duration = Duration::from_secs(9);
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, Debug)]
enum Stands {
    /// Handed out until then.
    Taken(Duration),
    /// Failed; handed out again from then on.
    Waiting(Duration),
}

#[derive(Debug)]
struct Seen {
    name: &'static str,
    in_sequence: bool,
    wanted: fn(StateType) -> bool,
    /// Ends that nobody was told of yet, oldest first; none where the judge could not see which run it was.
    ends: VecDeque<Option<RunId>>,
    total: u64,
    last: u64,
    /// Attempts and what became of them, by number.
    open: BTreeMap<u64, (u32, Stands)>,
}

#[derive(Debug)]
pub(crate) struct Teller {
    random: u64,
    hooks: [Seen; 2],
    /// Deliveries that somebody has, or had.
    had: Vec<Delivery>,
}

impl Seen {
    fn new(name: &'static str, in_sequence: bool, wanted: fn(StateType) -> bool) -> Self {
        Self {
            name,
            in_sequence,
            wanted,
            ends: VecDeque::new(),
            total: 0,
            last: 0,
            open: BTreeMap::new(),
        }
    }

    /// Forgets what lapsed for the last time.
    fn pass(&mut self, now: Duration) {
        self.open
            .retain(|_, open| !matches!(open, (ATTEMPTS, Stands::Taken(until)) if *until <= now));
    }

    fn is_current(&self, delivery: &Delivery, now: Duration) -> bool {
        let open = self.open.get(&delivery.number());
        open.is_some_and(|(attempt, stands)| {
            *attempt == delivery.attempt() && matches!(stands, Stands::Taken(until) if *until > now)
        })
    }

    fn handed(&mut self, delivery: &Delivery, now: Duration, until: Duration) {
        let (number, attempt) = (delivery.number(), delivery.attempt());
        let earlier = self.open.keys().next().is_some_and(|first| *first < number);
        assert!(
            !(self.in_sequence && earlier),
            "hooks broken: {number} passes what is not done with"
        );
        if attempt == 1 {
            assert!(number > self.last, "hooks broken: {number} is out of order");
            self.last = number;
            match delivery.completion() {
                Completion::Run(run) => {
                    let end = self.ends.pop_front().expect("hooks broken: told of no end");
                    assert!(
                        end.is_none_or(|end| end == run.id),
                        "hooks broken: {} out of order",
                        run.id
                    );
                }
                Completion::Missed(gap) => (0..gap.count).for_each(|_| {
                    self.ends
                        .pop_front()
                        .expect("hooks broken: more missed than ended");
                }),
                other => panic!("{other:?}"),
            }
        } else {
            let (before, stands) = self.open[&number];
            let from = match stands {
                Stands::Taken(until) => until + DELAY,
                Stands::Waiting(from) => from,
            };
            assert!(
                attempt == before + 1 && attempt <= ATTEMPTS && from <= now,
                "hooks broken: attempt {attempt} of {number} after {before}"
            );
        }
        self.open.insert(number, (attempt, Stands::Taken(until)));
    }

    fn failed(&mut self, number: u64, attempt: u32, now: Duration) {
        if attempt == ATTEMPTS {
            self.open.remove(&number);
        } else {
            self.open.insert(number, (attempt, Stands::Waiting(now + DELAY)));
        }
    }
}

impl Teller {
    pub(crate) fn new(engine: &Engine, seed: u64) -> Self {
        let retry = Retry::fixed(ATTEMPTS - 1, DELAY);
        engine.hook(Hook::named("all").retry(retry.clone())).unwrap();
        let bad = Hook::named("bad").states([StateType::Failed, StateType::Crashed]);
        engine.hook(bad.in_sequence().retry(retry)).unwrap();
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            hooks: [
                Seen::new("all", false, StateType::is_terminal),
                Seen::new("bad", true, |state| {
                    matches!(state, StateType::Failed | StateType::Crashed)
                }),
            ],
            had: Vec::new(),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % below
    }

    pub(crate) fn event(&mut self, event: &Event) {
        if let Happened::State(change) = &event.what
            && change.state.is_terminal()
        {
            for hook in self.hooks.iter_mut().filter(|hook| (hook.wanted)(change.state)) {
                hook.ends.push_back(Some(change.run));
                hook.total += 1;
            }
        }
    }

    /// The engine has moved: whoever had something has it still, unless claims were put back.
    pub(crate) fn moved(&mut self, engine: &Engine, put_back: bool, now: Duration) {
        for (hook, status) in self.hooks.iter_mut().zip(engine.hooks().unwrap()) {
            hook.pass(now);
            let taken = |(number, open): (&u64, &(u32, Stands))| match open {
                (attempt, Stands::Taken(until)) if *until > now => Some((*number, *attempt)),
                _ => None,
            };
            let taken: Vec<(u64, u32)> = hook.open.iter().filter_map(taken).filter(|_| put_back).collect();
            for (number, attempt) in taken {
                hook.failed(number, attempt, now);
            }
            // Runs that had been called off ended while the document was read.
            let unseen = status.totals.recorded - hook.total;
            assert!(
                put_back || unseen == 0,
                "hooks broken: {unseen} ends from nowhere"
            );
            hook.ends.extend((0..unseen).map(|_| None));
            hook.total += unseen;
        }
    }

    pub(crate) fn step(&mut self, engine: &Engine, now: Duration) {
        self.hooks.iter_mut().for_each(|hook| hook.pass(now));
        match self.draw(8) {
            0..=2 => {
                let (at, n) = (self.draw(2), self.draw(3));
                let lease = Duration::from_secs(3 + u64::try_from(self.draw(20)).unwrap());
                let hook = &mut self.hooks[at];
                for delivery in engine.take_deliveries(hook.name, n, lease).unwrap() {
                    hook.handed(&delivery, now, now + lease);
                    self.had.push(delivery);
                }
            }
            // What was reported stays, and may be reported again.
            3..=5 if !self.had.is_empty() => {
                let at = self.draw(self.had.len());
                let (done, forget) = (self.draw(3) > 0, self.draw(2) == 0);
                let delivery = self.had[at].clone();
                let hook = self
                    .hooks
                    .iter_mut()
                    .find(|hook| hook.name == delivery.hook())
                    .unwrap();
                let current = hook.is_current(&delivery, now);
                let said = if done {
                    engine.delivered(&delivery).map(drop)
                } else {
                    engine.not_delivered(&delivery, "busy").map(drop)
                };
                assert_eq!(said.is_ok(), current, "hooks broken: a report got {said:?}");
                assert!(current || matches!(said, Err(Error::StaleDelivery { .. })));
                if current && done {
                    hook.open.remove(&delivery.number());
                } else if current {
                    hook.failed(delivery.number(), delivery.attempt(), now);
                }
                if forget {
                    self.had.swap_remove(at);
                }
            }
            _ => {}
        }
        self.judge(engine);
    }

    fn judge(&self, engine: &Engine) {
        for (hook, status) in self.hooks.iter().zip(engine.hooks().unwrap()) {
            let held = status.ready + status.taken + status.retrying;
            assert!(held <= MOST, "hooks broken: {held} are held");
            assert!(
                status.missed.is_none() || held == MOST,
                "hooks broken: there is room, and what was missed is not told"
            );
            assert_eq!(status.totals.recorded, hook.total, "hooks broken: an end is lost");
        }
    }

    /// Everything that has ended is told of, or was given up, or is told to be missing.
    pub(crate) fn end(&mut self, engine: &Engine, clock: &ManualClock) {
        for _ in 0..200 {
            let now = clock.now().mono;
            let mut open = false;
            for hook in &mut self.hooks {
                hook.pass(now);
                let lease = Duration::from_secs(1);
                for delivery in engine.take_deliveries(hook.name, 100, lease).unwrap() {
                    hook.handed(&delivery, now, now + lease);
                    engine.delivered(&delivery).unwrap();
                    hook.open.remove(&delivery.number());
                }
                open |= !hook.open.is_empty() || !hook.ends.is_empty();
            }
            self.judge(engine);
            if !open {
                return;
            }
            clock.advance(Duration::from_secs(3));
        }
        panic!("hooks broken: never told: {:?}", self.hooks);
    }
}
