//! Reading the ready order: the first, everything in order, what is blocked and where.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::heads::Heads;
use super::needs::{Head, Need, Spot};
use super::{Class, Ready, Standing};
use crate::limit::{Ask, LimitKey};

type Runs<'a> = crate::queue::lanes::Iter<'a, u32, super::Line>;

impl Ready {
    /// The first startable run of a queue, or none. In strict order: the first run, if it is startable.
    pub(crate) fn first(&self, queue: u32) -> Option<(Head, Spot)> {
        let held = self.queue(queue);
        if held.paused {
            return None;
        }
        let free = self.class(held.free).head;
        let class = match (free, held.open.first()) {
            (None, None) => return None,
            (Some(free), Some((open, class))) if open < free => class,
            (None, Some((_, class))) => class,
            (Some(_), _) => held.free,
        };
        let (ticket, _) = (self.class(class).lanes.first()).expect("an open class is not empty (I1)");
        let spot = Spot { class, ticket };
        let hidden = held.strict.as_ref().and_then(Heads::first);
        if hidden.is_some_and(|(first, _)| first < spot.head()) && !fault!(StrictIsForgotten) {
            return None;
        }
        // As a page of one that is filtered afterwards.
        if fault!(PageThenFilter)
            && (self.in_order(queue).next()).is_some_and(|(head, _)| head != spot.head())
        {
            return None;
        }
        Some((spot.head(), spot))
    }

    /// The first run that waits for a limit, with its queue, if all that stops it is `weight` slots that the limit had not, and has
    /// now that its room is `room`, of which the gate was not told: while one class alone has to do with the limit, and needs just these
    /// slots. Once it has them the gate stands as it does.
    pub(crate) fn heir_of(&self, limit: LimitKey, weight: u32, room: u32) -> Option<(u32, Head, u32)> {
        let held = self.gate(self.find_gate(limit)?);
        let one = held.parked == 1 && held.lines.len() == 1;
        let plain = held.reserved.is_empty() && !held.decays && !self.bypass.is_bound();
        if !one || !plain || held.room.checked_add(weight) != Some(room) {
            return None;
        }
        let (&queue, line) = held.lines.first_key_value()?;
        let (needed, head, class) = line.firsts().next()?;
        let (of, class) = (self.queue(queue), self.class(class));
        if line.taken > 0 || needed != weight || class.needs.len() > 1 || of.paused || of.strict.is_some() {
            return None;
        }
        let (_, &row) = class.lanes.first()?;
        Some((queue, head, row))
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
        matches!(self.class(spot.class).standing, Standing::Free | Standing::Open)
    }

    /// How many runs stand in line in a queue.
    pub(crate) fn len_of(&self, queue: u32) -> usize {
        self.queue(queue).len
    }

    /// How many waiting runs count as blocked.
    pub(crate) fn blocked(&self) -> usize {
        self.blocked
    }

    /// How many runs outside paused queues wait that need slots of a limit, and for how many of them it has too few.
    pub(crate) fn waiting_at(&self, limit: LimitKey) -> (usize, usize) {
        let gate = self.find_gate(limit).map(|gate| self.gate(gate));
        gate.map_or((0, 0), |gate| (gate.runs(), gate.refused))
    }

    /// True when a limit has fewer slots than this run needs, or its queue is paused.
    pub(crate) fn is_blocked(&self, spot: Spot) -> bool {
        let class = self.class(spot.class);
        let refused = |need: &super::needs::Need| self.gate(need.gate).room < need.weight;
        self.queue(class.queue).paused || class.needs.iter().any(refused)
    }

    /// What the run that stands there needs, each with its limit.
    pub(crate) fn needs_at(&self, spot: Spot) -> impl Iterator<Item = (u32, Ask)> + '_ {
        let needs = self.class(spot.class).needs.iter();
        needs.map(|need| {
            let limit = self.gate(need.gate).limit;
            (
                need.gate,
                Ask {
                    limit,
                    weight: need.weight,
                },
            )
        })
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
        let (_, first) = held.strict.as_ref()?.first()?;
        let firsts = [first, held.free].into_iter();
        let first = firsts.filter_map(|class| self.class(class).lanes.first());
        let (ticket, row) = first.min_by_key(|(ticket, _)| Head::of(*ticket))?;
        (Head::of(ticket) < spot.head()).then_some(*row)
    }

    /// The limits that refuse somebody, each with its room, in no order.
    pub(crate) fn stops(&self) -> impl Iterator<Item = (LimitKey, u32)> {
        self.stopping.iter().map(|&gate| {
            let held = self.gate(gate);
            (held.limit, held.room)
        })
    }

    /// Claim order of one queue, whether limits have room or not: the waiting rows with their heads. Begins with a look at
    /// every class of the queue.
    pub(crate) fn in_order(&self, queue: u32) -> impl Iterator<Item = (Head, u32)> + '_ {
        let mut order = InOrder::over(self);
        for (_, class) in self.members(queue) {
            order.open(class, None);
        }
        order
    }

    /// Claim order of what would start in one queue, one after the other, as far as limits have room: the rows with their heads.
    /// `rooms` is what is left at each gate, for those that take of it before and after. Begins with a look at every class of
    /// the queue.
    pub(crate) fn startable<'a>(
        &'a self,
        queue: u32,
        rooms: &'a mut BTreeMap<u32, u32>,
    ) -> impl Iterator<Item = (Head, u32)> + 'a {
        let held = self.queue(queue);
        let mut order = InOrder::over(self);
        if !held.paused {
            let let_in = |class: &Class| matches!(class.standing, Standing::Free | Standing::Open);
            for (_, class) in self.members(queue).filter(|(class, _)| let_in(class)) {
                order.open(class, None);
            }
        }
        let strict = held.strict.is_some();
        std::iter::from_fn(move || {
            loop {
                let (head, number, row) = order.next_of()?;
                let class = self.class(number);
                let first = held.strict.as_ref().and_then(Heads::first);
                let hidden = first.is_some_and(|(first, at)| first < head && at != number);
                let mut left = |need: &Need| {
                    *rooms
                        .entry(need.gate)
                        .or_insert_with(|| self.gate(need.gate).room)
                };
                let fits = class.needs.iter().all(|need| need.weight <= left(need));
                if fits && !hidden {
                    for need in class.needs.iter() {
                        if let Some(left) = rooms.get_mut(&need.gate) {
                            *left -= need.weight;
                        }
                    }
                    return Some((head, row));
                }
                if strict {
                    return None;
                }
                order.close(number);
            }
        })
    }

    /// Of [`in_order`](Self::in_order), the runs that may each start now as far as pauses, limits, what is reserved and the queue's order go.
    pub(crate) fn may_start(&self, queue: u32) -> impl Iterator<Item = (Head, u32)> + '_ {
        let held = self.queue(queue);
        let (mut order, mut first_stopped) = (InOrder::over(self), None::<Head>);
        for (class, number) in self.members(queue) {
            let gates = || class.needs.iter().map(|need| (self.gate(need.gate), need.weight));
            let refused = held.paused || gates().any(|(gate, weight)| gate.room < weight);
            // Who has reserved a gate lets no later run in.
            let reserved = gates().filter_map(|(gate, _)| gate.reserved.first());
            let until = reserved.map(|&(first, _)| first).min();
            let stopped = if refused {
                class.head
            } else {
                order.open(number, until);
                // Only where the order is strict does it matter who is the first of them.
                let mut heads = class.lanes.iter().map(|(ticket, _)| Head::of(ticket));
                until
                    .filter(|_| held.strict.is_some())
                    .and_then(|until| heads.find(|head| until < *head))
            };
            first_stopped = first_stopped.into_iter().chain(stopped).min();
        }
        let end = first_stopped.filter(|_| held.strict.is_some());
        order.take_while(move |(head, _)| end.is_none_or(|end| *head < end))
    }

    fn members(&self, queue: u32) -> impl Iterator<Item = (&Class, u32)> {
        (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| Some((class.as_ref()?, number)))
            .filter(move |(class, _)| class.queue == queue)
    }
}

/// The runs of a class that are still to come, and where they end.
struct Opened<'a> {
    class: u32,
    runs: std::iter::Peekable<Runs<'a>>,
    until: Option<Head>,
}

/// Runs of many classes in claim order.
struct InOrder<'a> {
    ready: &'a Ready,
    /// Classes, by the head of their next run.
    runs: BinaryHeap<Reverse<(Head, usize)>>,
    iters: Vec<Opened<'a>>,
}

impl<'a> InOrder<'a> {
    fn over(ready: &'a Ready) -> Self {
        Self {
            ready,
            runs: BinaryHeap::new(),
            iters: Vec::new(),
        }
    }

    /// Nothing more of a class that was opened.
    fn close(&mut self, class: u32) {
        let iters = &self.iters;
        self.runs.retain(|Reverse((_, at))| iters[*at].class != class);
    }

    /// The next run: its head, its class, its row.
    fn next_of(&mut self) -> Option<(Head, u32, u32)> {
        let Reverse((head, at)) = self.runs.pop()?;
        let opened = &mut self.iters[at];
        let (class, (_, row)) = (opened.class, opened.runs.next()?);
        self.list(at);
        Some((head, class, *row))
    }

    /// Adds the runs of a class, none that comes after `until`.
    fn open(&mut self, class: u32, until: Option<Head>) {
        let runs = self.ready.class(class).lanes.iter().peekable();
        self.iters.push(Opened { class, runs, until });
        self.list(self.iters.len() - 1);
    }

    fn list(&mut self, at: usize) {
        let opened = &mut self.iters[at];
        if let Some((ticket, _)) = opened.runs.peek() {
            let head = Head::of(*ticket);
            if opened.until.is_none_or(|until| head <= until) {
                self.runs.push(Reverse((head, at)));
            }
        }
    }
}

impl Iterator for InOrder<'_> {
    /// Its head, its row.
    type Item = (Head, u32);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_of().map(|(head, _, row)| (head, row))
    }
}
