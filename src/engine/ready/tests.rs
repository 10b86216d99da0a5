//! The ready order against the obvious model: one list, scanned for the first run that every limit lets in.

use std::time::Duration;

use proptest::prelude::*;

use super::{Head, Line, Needs, Ready, Spot, UNLIMITED};
use crate::Priority;
use crate::limit::{Book, LimitKey, LimitSpec};

const QUEUES: u32 = 3;
const GATES: u32 = 4;

#[derive(Clone, Debug)]
struct Waiting {
    queue: u32,
    needs: Needs,
    head: Head,
    row: u32,
    spot: Spot,
    /// How often it was overtaken at its limit, and whether it has reserved that.
    overtaken: u32,
    reserved: bool,
}

/// The obvious ready order.
#[derive(Default)]
struct Model {
    waiting: Vec<Waiting>,
    room: Vec<u32>,
    paused: Vec<bool>,
    strict: Vec<bool>,
    /// For runs that name one limit at most.
    bound: Option<u32>,
}

impl Model {
    fn fits(&self, run: &Waiting) -> bool {
        let fits = |need: &super::needs::Need| need.weight <= self.room[need.gate as usize];
        !self.paused[run.queue as usize] && run.needs.iter().all(fits)
    }

    fn lets_in(&self, run: &Waiting) -> bool {
        let before = |other: &Waiting| {
            other.reserved && other.needs[0].gate == run.needs[0].gate && other.head < run.head
        };
        self.fits(run) && (run.needs.is_empty() || !self.waiting.iter().any(before))
    }

    /// A run takes slots of its limit: who waits before it for want of slots there has been overtaken.
    fn overtake(&mut self, taker: &Waiting) {
        let (Some(bound), Some(need)) = (self.bound, taker.needs.first()) else {
            return;
        };
        let (room, paused) = (self.room[need.gate as usize], &self.paused);
        let refused = |run: &&mut Waiting| {
            let here = |other: &super::needs::Need| other.gate == need.gate && room < other.weight;
            run.needs.iter().any(here) && run.head < taker.head && !paused[run.queue as usize]
        };
        if let Some(first) = self.waiting.iter_mut().filter(refused).min_by_key(|run| run.head) {
            first.overtaken += 1;
            first.reserved |= first.overtaken >= bound;
        }
    }

    fn first(&self, queue: u32) -> Option<(Head, u32)> {
        let here = self.waiting.iter().filter(|run| run.queue == queue);
        if self.strict[queue as usize] {
            return here
                .min_by_key(|run| run.head)
                .filter(|run| self.lets_in(run))
                .map(|run| (run.head, run.row));
        }
        here.filter(|run| self.lets_in(run))
            .map(|run| (run.head, run.row))
            .min()
    }

    fn in_order(&self, queue: u32) -> Vec<(Head, u32)> {
        let mut order: Vec<_> = self
            .waiting
            .iter()
            .filter(|run| run.queue == queue)
            .map(|run| (run.head, run.row))
            .collect();
        order.sort_unstable();
        order
    }

    /// How many runs that need a gate wait outside paused queues, and how many of them it has too little room for.
    fn at_gate(&self, gate: u32) -> (usize, usize) {
        let waiting = self.waiting.iter().filter(|run| !self.paused[run.queue as usize]);
        let weights: Vec<u32> = waiting
            .flat_map(|run| run.needs.iter())
            .filter(|need| need.gate == gate)
            .map(|need| need.weight)
            .collect();
        let room = self.room[gate as usize];
        let refused = weights.iter().filter(|&&weight| room < weight).count();
        (weights.len(), refused)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Due instants rise, mostly.
    Insert {
        queue: u32,
        needs: Needs,
        level: u8,
        back: u32,
    },
    /// Takes out some run, wherever it stands.
    Remove(usize),
    /// Puts a run that was taken out back at its old place.
    PutBack(usize),
    /// Moves a run to another level.
    Relevel(usize, u8),
    /// Looks at the first of a queue.
    First(u32),
    /// Takes the first of a queue and a slot of each of its limits, in the engine's order: slots first.
    Claim(u32),
    /// Gives a slot of a gate back.
    Release(u32),
    SetRoom(u32, u32),
    SetPaused(u32, bool),
    SetStrict(u32, bool),
}

fn needs(gates: &[u32], weights: &[u32]) -> Needs {
    let mut needs = Needs::NONE;
    for (&gate, &weight) in gates.iter().zip(weights) {
        needs.push(gate, weight);
    }
    needs
}

fn op(most_needs: usize, heaviest: u32) -> impl Strategy<Value = Op> {
    let gates: Vec<u32> = (0..GATES).collect();
    let room = prop_oneof![4 => 0..2 + 2 * heaviest, 1 => Just(UNLIMITED)];
    prop_oneof![
        10 => (
            0..QUEUES,
            prop::sample::subsequence(gates, 0..=most_needs),
            prop::collection::vec(1..=heaviest, most_needs),
            1..=3_u8,
            0..4_u32,
        )
            .prop_map(|(queue, gates, weights, level, back)| {
                Op::Insert { queue, needs: needs(&gates, &weights), level, back }
            }),
        3 => any::<usize>().prop_map(Op::Remove),
        2 => any::<usize>().prop_map(Op::PutBack),
        1 => (any::<usize>(), 1..=3_u8).prop_map(|(run, level)| Op::Relevel(run, level)),
        4 => (0..QUEUES).prop_map(Op::First),
        6 => (0..QUEUES).prop_map(Op::Claim),
        3 => (0..GATES).prop_map(Op::Release),
        3 => (0..GATES, room).prop_map(|(gate, room)| Op::SetRoom(gate, room)),
        1 => (0..QUEUES, any::<bool>()).prop_map(|(queue, paused)| Op::SetPaused(queue, paused)),
        1 => (0..QUEUES, any::<bool>()).prop_map(|(queue, strict)| Op::SetStrict(queue, strict)),
    ]
}

/// The ready order and its model, driven side by side.
struct Both {
    ready: Ready,
    /// The limits behind the gates. Only their keys matter here.
    limits: Vec<LimitKey>,
    model: Model,
    gone: Vec<Waiting>,
    seq: u64,
}

impl Both {
    fn new() -> Self {
        let mut ready = Ready::default();
        (0..QUEUES).for_each(|queue| ready.add_queue(queue, false));
        let mut book = Book::new();
        let limits: Vec<LimitKey> = (0..GATES)
            .map(|gate| {
                let spec = LimitSpec::new(gate.to_string(), 1);
                book.define(spec, Duration::ZERO).unwrap()
            })
            .collect();
        let model = Model {
            waiting: Vec::new(),
            room: vec![1; GATES as usize],
            paused: vec![false; QUEUES as usize],
            strict: vec![false; QUEUES as usize],
            bound: None,
        };
        Self {
            limits,
            ready,
            model,
            gone: Vec::new(),
            seq: 0,
        }
    }

    /// The ready order's number of a gate of the model, if there is one now.
    fn gate(&self, gate: u32) -> Option<u32> {
        self.ready.find_gate(self.limits[gate as usize])
    }

    fn insert(&mut self, queue: u32, needs: Needs, head: Head, row: u32) {
        let mut real = Needs::NONE;
        for need in &*needs {
            let (limit, room) = (
                self.limits[need.gate as usize],
                self.model.room[need.gate as usize],
            );
            real.push(self.ready.gate_of(limit, room, UNLIMITED, false), need.weight);
        }
        let spot = self.ready.insert(queue, real, head.priority.0, head.line, row);
        self.model.waiting.push(Waiting {
            queue,
            needs,
            head,
            row,
            spot,
            overtaken: 0,
            reserved: false,
        });
    }

    fn remove(&mut self, at: usize) -> Waiting {
        let run = self.model.waiting.swap_remove(at);
        assert_eq!(self.ready.remove(run.spot), run.row);
        run
    }

    fn set_room(&mut self, gate: u32, room: u32) {
        self.model.room[gate as usize] = room;
        if let Some(gate) = self.gate(gate) {
            self.ready.set_room(gate, room);
        }
    }

    fn first(&mut self, queue: u32) -> Option<usize> {
        let found = self
            .ready
            .first(queue)
            .map(|(head, spot)| (head, self.ready.row(spot)));
        assert_eq!(found, self.model.first(queue), "the first of queue {queue}");
        let (_, row) = found?;
        self.model.waiting.iter().position(|run| run.row == row)
    }

    fn apply(&mut self, op: Op) {
        let pick = |many: usize, of: usize| (of > 0).then(|| many % of);
        match op {
            Op::Insert {
                queue,
                needs,
                level,
                back,
            } => {
                self.seq += 1;
                let due = i64::try_from(self.seq).unwrap() - i64::from(back) * 3;
                let line = Line { due, seq: self.seq };
                let row = u32::try_from(self.seq).unwrap();
                self.insert(queue, needs, Head::new(Priority::new(level).unwrap(), line), row);
            }
            Op::Remove(run) => {
                if let Some(at) = pick(run, self.model.waiting.len()) {
                    let run = self.remove(at);
                    self.gone.push(run);
                }
            }
            Op::PutBack(run) => {
                if let Some(at) = pick(run, self.gone.len()) {
                    let run = self.gone.swap_remove(at);
                    self.insert(run.queue, run.needs, run.head, run.row);
                }
            }
            Op::Relevel(run, level) => {
                if let Some(at) = pick(run, self.model.waiting.len()) {
                    let run = self.remove(at);
                    let head = Head::new(Priority::new(level).unwrap(), run.head.line);
                    self.insert(run.queue, run.needs, head, run.row);
                }
            }
            Op::First(queue) => drop(self.first(queue)),
            Op::Claim(queue) => {
                if let Some(at) = self.first(queue) {
                    let run = self.model.waiting.swap_remove(at);
                    self.model.overtake(&run);
                    let mut rooms = Vec::new();
                    for need in &*run.needs {
                        let room = &mut self.model.room[need.gate as usize];
                        if *room != UNLIMITED {
                            *room -= need.weight;
                        }
                        rooms.push((
                            self.ready.find_gate(self.limits[need.gate as usize]).unwrap(),
                            *room,
                        ));
                    }
                    assert_eq!(self.ready.take(run.spot, &rooms), run.row);
                    self.gone.push(run);
                }
            }
            Op::Release(gate) => {
                let room = self.model.room[gate as usize];
                self.set_room(gate, room.saturating_add(1));
            }
            Op::SetRoom(gate, room) => self.set_room(gate, room),
            Op::SetPaused(queue, paused) => {
                if paused && !self.model.paused[queue as usize] {
                    let here = self.model.waiting.iter_mut().filter(|run| run.queue == queue);
                    here.for_each(|run| run.reserved = false);
                }
                self.model.paused[queue as usize] = paused;
                self.ready.set_paused(queue, paused);
            }
            Op::SetStrict(queue, strict) => {
                self.model.strict[queue as usize] = strict;
                self.ready.set_strict(queue, strict);
            }
        }
        self.ready.check();
    }

    fn agree_on_blocked(&self) {
        let mut blocked = 0;
        for run in &self.model.waiting {
            let is = !self.model.fits(run);
            blocked += usize::from(is);
            assert_eq!(self.ready.is_blocked(run.spot), is, "row {}", run.row);
        }
        assert_eq!(self.ready.blocked(), blocked);
        let stops: std::collections::BTreeMap<LimitKey, u32> = self.ready.stops().collect();
        for gate in 0..GATES {
            let (limit, here) = (self.limits[gate as usize], self.model.at_gate(gate));
            assert_eq!(self.ready.waiting_at(limit), here);
            let room = (0 < here.1).then(|| self.model.room[gate as usize]);
            assert_eq!(stops.get(&limit).copied(), room);
        }
    }

    /// How often each was overtaken.
    fn agree_on_overtaken(&self) {
        for run in &self.model.waiting {
            let told: u32 = self
                .ready
                .overtaken(run.row)
                .iter()
                .map(|&(_, times)| times)
                .sum();
            assert_eq!(told, run.overtaken, "row {}", run.row);
        }
    }

    fn agree_on_order(&mut self) {
        for queue in 0..QUEUES {
            let lets_in = |row: u32| {
                let run = self.model.waiting.iter().find(|run| run.row == row);
                run.is_some_and(|run| self.model.lets_in(run))
            };
            let mut startable = self.model.in_order(queue);
            if self.model.strict[queue as usize] {
                let stopped = startable.iter().position(|&(_, row)| !lets_in(row));
                startable.truncate(stopped.unwrap_or(startable.len()));
            }
            startable.retain(|&(_, row)| lets_in(row));
            let told: Vec<(Head, u32)> = self.ready.may_start(queue).collect();
            assert_eq!(told, startable, "queue {queue}");
            let order: Vec<(Head, u32)> = self.ready.in_order(queue).collect();
            assert_eq!(order, self.model.in_order(queue), "queue {queue}");
        }
    }

    fn drain(&mut self) {
        for queue in 0..QUEUES {
            self.apply(Op::SetPaused(queue, false));
            self.apply(Op::SetStrict(queue, false));
        }
        for gate in 0..GATES {
            self.apply(Op::SetRoom(gate, UNLIMITED));
        }
        // What is reserved for a run of one queue holds up those of another.
        while let Some(queue) = (0..QUEUES).find(|&queue| self.first(queue).is_some()) {
            self.apply(Op::Claim(queue));
        }
        assert!(
            self.model.waiting.is_empty(),
            "a run was lost: {:?}",
            self.model.waiting
        );
        assert_eq!(self.ready.blocked(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn c1_the_first_of_a_queue_is_the_first_that_all_its_limits_let_in(
        ops in prop::collection::vec(op(3, 3), 1..120),
    ) {
        let mut both = Both::new();
        for op in ops {
            both.apply(op);
            both.agree_on_order();
        }
        both.drain();
    }

    #[test]
    fn t1_blocked_are_those_that_some_limit_has_too_little_room_for_and_those_of_paused_queues(
        ops in prop::collection::vec(op(4, 3), 1..120),
    ) {
        let mut both = Both::new();
        for op in ops {
            both.apply(op);
            both.agree_on_blocked();
        }
        both.drain();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn l4_who_was_overtaken_as_often_as_the_bound_says_is_next_at_its_limit(
        bound in 1..4_u32,
        ops in prop::collection::vec(op(1, 3), 1..120),
    ) {
        let mut both = Both::new();
        both.ready.set_bypass_bound(Some(bound));
        both.model.bound = Some(bound);
        for op in ops {
            both.apply(op);
            both.agree_on_overtaken();
            both.agree_on_blocked();
            both.agree_on_order();
        }
        both.drain();
    }
}

#[test]
fn l4_a_class_behind_two_full_limits_starts_when_the_second_gains_room() {
    let mut both = Both::new();
    let level = Priority::MIN;
    let line = |seq| Line { due: 0, seq };
    both.set_room(0, 1);
    both.set_room(1, 0);
    // The better class needs both limits, and hides the other one at limit 0 only while it may start.
    both.insert(0, needs(&[0, 1], &[1, 1]), Head::new(level, line(1)), 1);
    both.insert(0, needs(&[0], &[1]), Head::new(level, line(2)), 2);
    assert_eq!(both.first(0).map(|at| both.model.waiting[at].row), Some(2));
    both.apply(Op::SetRoom(0, 0));
    assert_eq!(both.first(0), None);
    both.apply(Op::SetRoom(1, 1));
    assert_eq!(both.first(0), None);
    both.apply(Op::SetRoom(0, 1));
    assert_eq!(both.first(0).map(|at| both.model.waiting[at].row), Some(1));
}
