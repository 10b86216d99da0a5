//! Reading the ready order: the first, everything in order, what is blocked and where.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, btree_set};

use super::needs::{Head, Spot};
use super::{Class, Ready, Standing};
use crate::limit::LimitKey;

type Runs<'a> = crate::queue::lanes::Iter<'a, u32, super::Line>;
type Classes<'a> = btree_set::Iter<'a, (Head, u32)>;

impl Ready {
    /// The first startable run of a queue, or none. In strict order: the first run, if it is startable.
    pub(crate) fn first(&self, queue: u32) -> Option<(Head, Spot)> {
        let held = self.queue(queue);
        if held.paused {
            return None;
        }
        let free = self.class(held.free).head();
        let class = match (free, held.open.first()) {
            (None, None) => return None,
            (Some(free), Some((open, class))) if *open < free => *class,
            (None, Some((_, class))) => *class,
            (Some(_), _) => held.free,
        };
        let (ticket, _) = (self.class(class).lanes.first()).expect("an open class is not empty (I1)");
        let spot = Spot { class, ticket };
        let hidden = held.strict.as_ref().and_then(|all| all.first());
        if hidden.is_some_and(|&(first, _)| first < spot.head()) {
            return None;
        }
        Some((spot.head(), spot))
    }

    /// How many runs stand in line in a queue.
    pub(crate) fn len_of(&self, queue: u32) -> usize {
        self.queue(queue).len
    }

    /// The run that stands there.
    pub(crate) fn row(&self, spot: Spot) -> u32 {
        *self
            .class(spot.class)
            .lanes
            .get(spot.ticket)
            .expect("a spot holds its run until it is taken out")
    }

    /// Whether the run's class may start as far as limits go.
    pub(crate) fn is_let_in(&self, spot: Spot) -> bool {
        matches!(
            self.class(spot.class).standing,
            Standing::Free | Standing::Open(_)
        )
    }

    /// How many waiting runs count as blocked.
    pub(crate) fn blocked(&self) -> usize {
        self.blocked
    }

    /// How many runs stand at a limit, and how many of them are blocked.
    pub(crate) fn waiting_at(&self, limit: LimitKey) -> (usize, usize) {
        let gate = self.find_gate(limit).map(|gate| self.gate(gate));
        gate.map_or((0, 0), |gate| (gate.runs(), gate.blocked))
    }

    /// True when a limit does not let this run in now, or its queue is paused. Costs as much as its limits have room.
    pub(crate) fn is_blocked(&self, spot: Spot) -> bool {
        let class = self.class(spot.class);
        if self.queue(class.queue).paused {
            return true;
        }
        let stops = |gate: u32| self.first_stopped(gate).is_some_and(|first| first <= spot.head());
        class.needs.iter().any(|need| stops(need.gate))
    }

    /// The run that has reserved a limit before this one.
    pub(crate) fn reserved_before(&self, limit: LimitKey, spot: Spot) -> Option<u32> {
        let held = self.gate(self.find_gate(limit)?);
        let &(first, row) = held.reserved.first()?;
        (first < spot.head()).then_some(row)
    }

    /// The run that comes first in a queue in strict order, before this one.
    pub(crate) fn hidden_behind(&self, queue: u32, spot: Spot) -> Option<u32> {
        let held = self.queue(queue);
        let &(_, first) = held.strict.as_ref()?.first()?;
        let firsts = [first, held.free].into_iter();
        let first = firsts.filter_map(|class| self.class(class).lanes.first());
        let (ticket, row) = first.min_by_key(|(ticket, _)| Head::of(*ticket))?;
        (Head::of(ticket) < spot.head()).then_some(*row)
    }

    /// The limits that stop somebody, each with the first run in claim order, of those that stand there, that it stops.
    pub(crate) fn stops(&self) -> impl Iterator<Item = (LimitKey, Head)> {
        self.stopping
            .iter()
            .filter_map(|&gate| Some((self.gate(gate).limit, self.first_stopped(gate)?)))
    }

    /// The first run, in claim order, that does not fit a gate's room together with those before it; none when all fit.
    fn first_stopped(&self, gate: u32) -> Option<Head> {
        let held = self.gate(gate);
        if held.blocked == 0 {
            return None;
        }
        let lines = held.lines.iter().filter(|(queue, _)| !self.queue(**queue).paused);
        let mut order = InOrder::over(self);
        for (_, line) in lines {
            order.add(line.let_in.iter());
            for parked in line.parked.values() {
                order.add(parked.iter());
            }
        }
        let mut left = u64::from(held.room);
        for (head, class, _) in order {
            let class = self.class(class);
            if class.gate() != Some(gate) {
                continue;
            }
            match left.checked_sub(u64::from(class.needs.weight_at(gate))) {
                Some(less) => left = less,
                None => return Some(head),
            }
        }
        None
    }

    /// Claim order of one queue, whether limits have room or not: the waiting rows with their heads. Begins with a look at
    /// every class of the queue.
    pub(crate) fn in_order(&self, queue: u32) -> impl Iterator<Item = (Head, u32)> + '_ {
        let mut order = InOrder::over(self);
        for (_, class) in self.members(queue) {
            order.open(class);
        }
        order.map(|(head, _, row)| (head, row))
    }

    fn members(&self, queue: u32) -> impl Iterator<Item = (&Class, u32)> {
        (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| Some((class.as_ref()?, number)))
            .filter(move |(class, _)| class.queue == queue)
    }
}

/// Runs of many classes in claim order. Classes that stand in an ordered set are opened when their turn comes.
struct InOrder<'a> {
    ready: &'a Ready,
    /// Sets of classes, by their next head.
    sets: BinaryHeap<Reverse<(Head, usize)>>,
    set_iters: Vec<std::iter::Peekable<Classes<'a>>>,
    /// Opened classes, by the head of their next run.
    runs: BinaryHeap<Reverse<(Head, usize)>>,
    run_iters: Vec<(u32, std::iter::Peekable<Runs<'a>>)>,
}

impl<'a> InOrder<'a> {
    fn over(ready: &'a Ready) -> Self {
        Self {
            ready,
            sets: BinaryHeap::new(),
            set_iters: Vec::new(),
            runs: BinaryHeap::new(),
            run_iters: Vec::new(),
        }
    }

    fn add(&mut self, classes: Classes<'a>) {
        let mut classes = classes.peekable();
        if let Some(&&(head, _)) = classes.peek() {
            self.sets.push(Reverse((head, self.set_iters.len())));
            self.set_iters.push(classes);
        }
    }

    fn open(&mut self, class: u32) {
        let mut runs = self.ready.class(class).lanes.iter().peekable();
        if let Some((ticket, _)) = runs.peek() {
            let head = Head::of(*ticket);
            self.runs.push(Reverse((head, self.run_iters.len())));
            self.run_iters.push((class, runs));
        }
    }
}

impl Iterator for InOrder<'_> {
    /// Its head, its class, its row.
    type Item = (Head, u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&Reverse((head, set))) = self.sets.peek()
            && self.runs.peek().is_none_or(|Reverse((first, _))| head < *first)
        {
            self.sets.pop();
            let classes = &mut self.set_iters[set];
            let (_, class) = classes.next()?;
            if let Some(&&(next, _)) = classes.peek() {
                self.sets.push(Reverse((next, set)));
            }
            self.open(*class);
        }
        let Reverse((head, at)) = self.runs.pop()?;
        let (class, runs) = &mut self.run_iters[at];
        let (_, row) = runs.next()?;
        if let Some((ticket, _)) = runs.peek() {
            self.runs.push(Reverse((Head::of(*ticket), at)));
        }
        Some((head, *class, *row))
    }
}
