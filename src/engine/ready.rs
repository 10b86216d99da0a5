//! The ready order: which waiting run is next in a work queue, while limits hold.
//!
//! Runs of one work queue that name the same limits form a *class*: with respect to limits they are
//! interchangeable, so a class may start as a whole or is stopped as a whole, and only its head matters. A queue
//! keeps its *open* classes ordered by head. Taking the first of a queue looks at the best open class; when a limit
//! has no room for it, the whole class is *parked* at that limit, however many runs it holds, and the next best is
//! looked at. When a limit gains room, the best class parked there comes back, one for every queue. So a million
//! runs behind a full limit cost a claim nothing, and arriving while the limit was free makes no difference.
//!
//! A run that names no limit is in its queue's *free* class, a plain set of ten lanes.
//!
//! # Invariants
//!
//! * **I1** a class with needs is in exactly one ordered set, under its head: its queue's `open`, or the `parked` set of
//!   one of its needs; an empty one is *idle*, in no set, and a few of those are kept for the next run like theirs;
//! * **I2** for a limit with room, the best class parked there in a queue is not better than every open class of that
//!   queue that needs the limit: the best startable run is always in an open class;
//! * **I3** `gate.waiting` counts the runs, outside paused queues, whose class is parked at the limit or is open and has
//!   it as first need; `blocked` is the sum over gates of what exceeds their room, plus the runs of paused queues;
//! * **I4** `gate.members` holds exactly the classes that need the limit, idle ones too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::priority::Priority;
use crate::queue::{Lanes, lanes::Ticket};

/// A place in line: due instant (microseconds since 1970), then sequence of acceptance.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Line {
    pub(crate) due: i64,
    pub(crate) seq: u64,
}

/// Claim order inside a queue: the smaller head is first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Head {
    pub(crate) priority: Reverse<Priority>,
    pub(crate) line: Line,
}

impl Head {
    pub(crate) fn new(priority: Priority, line: Line) -> Self {
        Self {
            priority: Reverse(priority),
            line,
        }
    }

    fn of(ticket: Ticket<Line>) -> Self {
        Self::new(ticket.priority(), ticket.place())
    }
}

/// Where a waiting run stands; needed to take it out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spot {
    class: u32,
    ticket: Ticket<Line>,
}

/// Most limits that one run names: eight by name, and its deployment's own.
const MOST_NEEDS: usize = 9;

/// The limits a run takes one slot of each, ascending, by their gate numbers. Lives in place: what a run needs costs
/// it no allocation.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    gates: [u32; MOST_NEEDS],
    len: u8,
}

impl Needs {
    /// No limit at all.
    pub(crate) const NONE: Self = Self {
        gates: [0; MOST_NEEDS],
        len: 0,
    };

    /// One limit.
    pub(crate) const fn of(gate: u32) -> Self {
        let mut needs = Self::NONE;
        needs.gates[0] = gate;
        needs.len = 1;
        needs
    }
}

impl From<&[u32]> for Needs {
    /// The first [`MOST_NEEDS`] of them; a submission that names more is refused before it comes here.
    fn from(gates: &[u32]) -> Self {
        let mut needs = Self::NONE;
        for (at, &gate) in needs.gates.iter_mut().zip(gates) {
            *at = gate;
            needs.len += 1;
        }
        needs
    }
}

impl std::ops::Deref for Needs {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.gates[..usize::from(self.len)]
    }
}

impl std::hash::Hash for Needs {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl std::fmt::Debug for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

const QUEUE: &str = "a queue is added before it is used";
const GATE: &str = "a limit is added before it is used";
const CLASS: &str = "a class exists while a run stands in it (I1)";

/// A limit that never refuses has this much room.
pub(crate) const UNLIMITED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// The class of the queue's runs without limits; in no set.
    Free,
    Open,
    /// At this gate.
    Parked(u32),
    /// Empty, and in no set.
    Idle,
}

#[derive(Debug)]
struct Class {
    queue: u32,
    needs: Needs,
    standing: Standing,
    lanes: Lanes<u32, Line>,
}

impl Class {
    fn head(&self) -> Option<Head> {
        self.lanes.first().map(|(ticket, _)| Head::of(ticket))
    }

    /// The limit under which its runs count as waiting (I3).
    fn gate(&self) -> Option<u32> {
        match self.standing {
            Standing::Free | Standing::Idle => None,
            Standing::Open => self.needs.first().copied(),
            Standing::Parked(gate) => Some(gate),
        }
    }
}

#[derive(Debug)]
struct Queue {
    free: u32,
    open: BTreeSet<(Head, u32)>,
    paused: bool,
    len: usize,
}

#[derive(Debug, Default)]
struct Gate {
    room: u32,
    waiting: usize,
    /// The classes that need this limit.
    members: BTreeSet<u32>,
    /// By queue: the classes that wait for this limit.
    parked: BTreeMap<u32, BTreeSet<(Head, u32)>>,
}

impl Gate {
    fn blocked(&self) -> usize {
        self.waiting.saturating_sub(self.room as usize)
    }
}

/// Emptied classes that are kept. A class that comes and goes with its one run would otherwise be built and torn down
/// for every run.
const IDLE: usize = 16;

/// The waiting runs of all work queues.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// By number of the queue.
    queues: Vec<Option<Queue>>,
    classes: Vec<Option<Class>>,
    vacant: Vec<u32>,
    by_needs: HashMap<(u32, Needs), u32>,
    /// By number of the limit.
    gates: Vec<Option<Gate>>,
    vacant_gates: Vec<u32>,
    /// Idle classes, the longest idle first.
    idle: VecDeque<u32>,
    blocked: usize,
}

/// Puts `value` under `number`, past the end too.
fn put<T>(all: &mut Vec<Option<T>>, number: u32, value: T) {
    let number = number as usize;
    if all.len() <= number {
        all.resize_with(number + 1, || None);
    }
    all[number] = Some(value);
}

impl Ready {
    pub(crate) fn add_queue(&mut self, queue: u32, paused: bool) {
        let free = self.new_class(queue, Needs::NONE, Standing::Free);
        put(
            &mut self.queues,
            queue,
            Queue {
                free,
                open: BTreeSet::new(),
                paused,
                len: 0,
            },
        );
    }

    /// Makes a limit known, with its room.
    pub(crate) fn add_gate(&mut self, gate: u32, room: u32) {
        put(
            &mut self.gates,
            gate,
            Gate {
                room,
                ..Gate::default()
            },
        );
    }

    /// Drops a limit that no waiting run names any more; its number is free for another.
    pub(crate) fn forget_gate(&mut self, gate: u32) {
        // What is left of it are idle classes; kept, they would stand for whatever has the number next.
        for class in self.gate(gate).members.clone() {
            self.drop_idle(class);
        }
        let held = self.gates[gate as usize].take().expect(GATE);
        debug_assert!(held.waiting == 0 && held.parked.is_empty());
        self.vacant_gates.push(gate);
    }

    /// A number that a limit had that is gone.
    pub(crate) fn vacant_gate(&mut self) -> Option<u32> {
        self.vacant_gates.pop()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn gates(&self) -> usize {
        self.gates.iter().flatten().count()
    }

    /// Tells how much room a limit has now; lets in who may start. Logarithmic, once per queue that waits there.
    pub(crate) fn set_room(&mut self, gate: u32, room: u32) {
        let held = self.gates[gate as usize].as_mut().expect(GATE);
        let gained = held.room < room;
        self.blocked -= held.blocked();
        held.room = room;
        self.blocked += held.blocked();
        if gained && !held.parked.is_empty() {
            let queues: Vec<u32> = held.parked.keys().copied().collect();
            for queue in queues {
                self.expose(gate, queue);
            }
        }
    }

    /// Runs of paused queues count as blocked and are not first of anything.
    pub(crate) fn set_paused(&mut self, queue: u32, paused: bool) {
        let held = self.queue_mut(queue);
        if held.paused == paused {
            return;
        }
        held.paused = paused;
        let members: Vec<u32> = (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| Some((number, class.as_ref()?)))
            .filter(|(_, class)| class.queue == queue)
            .map(|(number, _)| number)
            .collect();
        let len = self.queue(queue).len;
        if paused {
            self.blocked += len;
        } else {
            self.blocked -= len;
        }
        for class in members {
            let (gate, runs) = (self.class(class).gate(), self.class(class).lanes.len());
            self.count_at(gate, runs, !paused);
        }
    }

    /// Puts a run in line. A line before others of its level is an earlier place that it comes back to.
    pub(crate) fn insert(
        &mut self,
        queue: u32,
        needs: Needs,
        priority: Priority,
        line: Line,
        row: u32,
    ) -> Spot {
        let class = if needs.is_empty() {
            self.queue(queue).free
        } else if let Some(&class) = self.by_needs.get(&(queue, needs)) {
            self.employ(class);
            class
        } else {
            let class = self.new_class(queue, needs, Standing::Open);
            self.by_needs.insert((queue, needs), class);
            class
        };
        let ticket = self.rehead(class, |lanes| lanes.push(priority, line, row));
        self.count(class, 1, true);
        // A parked class whose head became the best of its gate may have to start before the one let in (I2).
        if let Standing::Parked(gate) = self.class(class).standing {
            self.expose(gate, queue);
        }
        Spot { class, ticket }
    }

    /// Takes a run out of line, wherever it stands.
    pub(crate) fn remove(&mut self, spot: Spot) -> u32 {
        let taken = self
            .rehead(spot.class, |lanes| lanes.remove(spot.ticket))
            .expect("a waiting run's spot holds it until it is taken out");
        self.left(spot.class);
        taken.item
    }

    /// The first startable run of a queue, or none. Parks what it finds refused.
    pub(crate) fn first(&mut self, queue: u32) -> Option<(Head, Spot)> {
        if self.queue(queue).paused {
            return None;
        }
        loop {
            let held = self.queue(queue);
            let free = self.class(held.free).head();
            let class = match (free, held.open.first()) {
                (None, None) => return None,
                (Some(free), Some((open, class))) if *open < free => *class,
                (None, Some((_, class))) => *class,
                (Some(_), _) => held.free,
            };
            let refusing = self
                .class(class)
                .needs
                .iter()
                .copied()
                .find(|&gate| self.gate(gate).room == 0);
            let Some(gate) = refusing else {
                let (ticket, _) = self
                    .class(class)
                    .lanes
                    .first()
                    .expect("an open class is not empty (I1)");
                return Some((Head::of(ticket), Spot { class, ticket }));
            };
            self.park(class, gate);
        }
    }

    /// The run that stands there.
    pub(crate) fn row(&self, spot: Spot) -> u32 {
        *self
            .class(spot.class)
            .lanes
            .get(spot.ticket)
            .expect("a spot holds its run until it is taken out")
    }

    /// How many waiting runs count as blocked.
    pub(crate) fn blocked(&self) -> usize {
        self.blocked
    }

    /// True when a limit does not let this run in now, or its queue is paused. Costs as much as there is room.
    pub(crate) fn is_blocked(&self, spot: Spot) -> bool {
        let class = self.class(spot.class);
        if self.queue(class.queue).paused {
            return true;
        }
        let Some(gate) = class.gate() else { return false };
        self.first_stopped(gate)
            .is_some_and(|first| Head::of(spot.ticket) >= first)
    }

    /// The first run, in claim order, that a limit does not let in; none when it lets in all that wait. Let in are the
    /// first of those that wait at the limit, as many as there is room.
    pub(crate) fn first_stopped(&self, gate: u32) -> Option<Head> {
        let held = self.gates.get(gate as usize).and_then(Option::as_ref);
        let held = held.filter(|gate| gate.blocked() > 0)?;
        let room = held.room as usize;
        let at_gate = (held.members.iter().map(|&class| self.class(class)))
            .filter(|class| class.gate() == Some(gate) && !self.queue(class.queue).paused);
        let mut heads: Vec<Head> = at_gate
            .flat_map(|class| {
                class
                    .lanes
                    .iter()
                    .take(room + 1)
                    .map(|(ticket, _)| Head::of(ticket))
            })
            .collect();
        heads.sort_unstable();
        heads.get(room).copied()
    }

    fn class(&self, class: u32) -> &Class {
        self.classes[class as usize].as_ref().expect(CLASS)
    }

    fn class_mut(&mut self, class: u32) -> &mut Class {
        self.classes[class as usize].as_mut().expect(CLASS)
    }

    fn queue(&self, queue: u32) -> &Queue {
        self.queues[queue as usize].as_ref().expect(QUEUE)
    }

    fn queue_mut(&mut self, queue: u32) -> &mut Queue {
        self.queues[queue as usize].as_mut().expect(QUEUE)
    }

    fn gate(&self, gate: u32) -> &Gate {
        self.gates[gate as usize].as_ref().expect(GATE)
    }

    fn gate_mut(&mut self, gate: u32) -> &mut Gate {
        self.gates[gate as usize].as_mut().expect(GATE)
    }

    fn new_class(&mut self, queue: u32, needs: Needs, standing: Standing) -> u32 {
        let number = self.place_class(queue, needs, standing);
        for &gate in &*needs {
            self.gate_mut(gate).members.insert(number);
        }
        number
    }

    fn place_class(&mut self, queue: u32, needs: Needs, standing: Standing) -> u32 {
        let class = Class {
            queue,
            needs,
            standing,
            lanes: Lanes::default(),
        };
        if let Some(number) = self.vacant.pop() {
            self.classes[number as usize] = Some(class);
            number
        } else {
            self.classes.push(Some(class));
            u32::try_from(self.classes.len() - 1).expect("there are fewer classes than waiting runs")
        }
    }

    /// Changes a class's lanes and keeps it in its set under its head (I1).
    fn rehead<T>(&mut self, class: u32, change: impl FnOnce(&mut Lanes<u32, Line>) -> T) -> T {
        let held = self.class_mut(class);
        if held.standing == Standing::Free {
            return change(&mut held.lanes);
        }
        let before = held.head();
        let answer = change(&mut held.lanes);
        let after = held.head();
        if before != after {
            let (queue, standing) = (held.queue, held.standing);
            let set = self.set(queue, standing);
            if let Some(before) = before {
                set.remove(&(before, class));
            }
            if let Some(after) = after {
                set.insert((after, class));
            }
        }
        answer
    }

    fn set(&mut self, queue: u32, standing: Standing) -> &mut BTreeSet<(Head, u32)> {
        match standing {
            Standing::Parked(gate) => self.gate_mut(gate).parked.entry(queue).or_default(),
            _ => &mut self.queue_mut(queue).open,
        }
    }

    /// Keeps the counts after one run left a class, drops the class when it was the last, and lets in the next.
    fn left(&mut self, class: u32) {
        self.count(class, 1, false);
        let held = self.class(class);
        let (queue, standing, needs) = (held.queue, held.standing, held.needs);
        if standing == Standing::Free {
            return;
        }
        if held.lanes.is_empty() {
            self.class_mut(class).standing = Standing::Idle;
            self.idle.push_back(class);
            self.forget_if_empty(queue, standing);
            if self.idle.len() > IDLE
                && let Some(&longest) = self.idle.front()
            {
                self.drop_idle(longest);
            }
        }
        // A let-in run that is gone, whether it took the slots or not, makes room for a better look (I2).
        for &gate in &*needs {
            self.expose(gate, queue);
        }
    }

    /// Opens a class that was idle, for the run that comes.
    fn employ(&mut self, class: u32) {
        if self.class(class).standing == Standing::Idle {
            self.class_mut(class).standing = Standing::Open;
            // The one that has just become idle is the likeliest to be wanted again.
            if let Some(at) = self.idle.iter().rposition(|&idle| idle == class) {
                self.idle.remove(at);
            }
        }
    }

    /// Gives up a class that is idle.
    fn drop_idle(&mut self, class: u32) {
        self.idle.retain(|&idle| idle != class);
        let Some(Class { queue, needs, .. }) = self.classes[class as usize].take() else {
            return;
        };
        self.vacant.push(class);
        self.by_needs.remove(&(queue, needs));
        for &gate in &*needs {
            self.gate_mut(gate).members.remove(&class);
        }
    }

    fn park(&mut self, class: u32, gate: u32) {
        self.stand(class, Standing::Parked(gate));
        let queue = self.class(class).queue;
        let needs = self.class(class).needs;
        for &other in &*needs {
            if other != gate {
                self.expose(other, queue);
            }
        }
    }

    /// Opens the best class of `queue` that is parked at `gate`, if the gate has room.
    fn expose(&mut self, gate: u32, queue: u32) {
        let held = self.gate(gate);
        if held.room == 0 {
            return;
        }
        if let Some(&(_, class)) = held.parked.get(&queue).and_then(BTreeSet::first) {
            self.stand(class, Standing::Open);
        }
    }

    fn stand(&mut self, class: u32, standing: Standing) {
        let held = self.class(class);
        let (queue, before, runs) = (held.queue, held.standing, held.lanes.len());
        let head = held
            .head()
            .expect("a class that stands somewhere is not empty (I1)");
        let counted = !self.queue(queue).paused;
        let gate = held.gate();
        if counted {
            self.count_at(gate, runs, false);
        }
        self.set(queue, before).remove(&(head, class));
        self.forget_if_empty(queue, before);
        self.class_mut(class).standing = standing;
        self.set(queue, standing).insert((head, class));
        if counted {
            let gate = self.class(class).gate();
            self.count_at(gate, runs, true);
        }
    }

    fn forget_if_empty(&mut self, queue: u32, standing: Standing) {
        if let Standing::Parked(gate) = standing {
            let parked = &mut self.gate_mut(gate).parked;
            if parked.get(&queue).is_some_and(BTreeSet::is_empty) {
                parked.remove(&queue);
            }
        }
    }

    fn count(&mut self, class: u32, runs: usize, more: bool) {
        let held = self.class(class);
        let (queue, gate) = (held.queue, held.gate());
        let queue = self.queue_mut(queue);
        queue.len = if more { queue.len + runs } else { queue.len - runs };
        if queue.paused {
            self.blocked = if more {
                self.blocked + runs
            } else {
                self.blocked - runs
            };
        } else {
            self.count_at(gate, runs, more);
        }
    }

    fn count_at(&mut self, gate: Option<u32>, runs: usize, more: bool) {
        let Some(gate) = gate else { return };
        let gate = self.gates[gate as usize].as_mut().expect(GATE);
        self.blocked -= gate.blocked();
        gate.waiting = if more {
            gate.waiting + runs
        } else {
            gate.waiting - runs
        };
        self.blocked += gate.blocked();
    }

    /// Panics unless every invariant holds. Linear in what waits.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(&self) {
        let mut waiting: BTreeMap<u32, usize> = BTreeMap::new();
        let mut blocked = 0;
        for (number, class) in (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| Some((number, class.as_ref()?)))
        {
            let queue = self.queue(class.queue);
            if queue.paused {
                blocked += class.lanes.len();
            } else if let Some(gate) = class.gate() {
                *waiting.entry(gate).or_default() += class.lanes.len();
            }
            let places = self
                .queues
                .iter()
                .flatten()
                .filter(|queue| queue.open.iter().any(|(_, c)| *c == number))
                .count()
                + self
                    .gates
                    .iter()
                    .flatten()
                    .flat_map(|gate| gate.parked.values())
                    .flatten()
                    .filter(|(_, c)| *c == number)
                    .count();
            assert_eq!(
                places,
                usize::from(!matches!(class.standing, Standing::Free | Standing::Idle)),
                "I1 broken: class {number} is in {places} sets"
            );
            assert!(
                class.standing == Standing::Free
                    || class.lanes.is_empty() == (class.standing == Standing::Idle),
                "I1 broken: class {number} stands {:?} and holds {}",
                class.standing,
                class.lanes.len()
            );
        }
        for ((queue, needs), &number) in &self.by_needs {
            let class = self.class(number);
            assert_eq!(
                (class.queue, class.needs),
                (*queue, *needs),
                "class {number} is found under other needs"
            );
        }
        let gates = (0..).zip(&self.gates);
        for (number, gate) in gates.filter_map(|(number, gate)| Some((number, gate.as_ref()?))) {
            let needing = (0..)
                .zip(&self.classes)
                .filter(|(_, class)| class.as_ref().is_some_and(|class| class.needs.contains(&number)));
            let needing: BTreeSet<u32> = needing.map(|(class, _)| class).collect();
            assert_eq!(gate.members, needing, "I4 broken at gate {number}");
            assert_eq!(
                gate.waiting,
                waiting.get(&number).copied().unwrap_or(0),
                "I3 broken at gate {number}"
            );
            blocked += gate.blocked();
            for (queue, parked) in gate.parked.iter().filter(|_| gate.room > 0) {
                let best = parked.first().expect("an empty set is forgotten").0;
                let covered = self
                    .classes
                    .iter()
                    .flatten()
                    .filter(|class| class.queue == *queue)
                    .any(|class| {
                        class.standing == Standing::Open
                            && class.needs.contains(&number)
                            && class.head().is_some_and(|head| head < best)
                    });
                assert!(
                    covered,
                    "I2 broken: gate {number} has room and its best class stays parked"
                );
            }
        }
        assert_eq!(self.blocked, blocked, "I3 broken");
    }
}

/// What only tests ask.
#[cfg(test)]
impl Ready {
    /// How many runs wait at a limit, whether it lets them in or not.
    pub(crate) fn waiting_at(&self, gate: u32) -> usize {
        let held = self.gates.get(gate as usize).and_then(Option::as_ref);
        held.map_or(0, |gate| gate.waiting)
    }

    /// Claim order of one queue, whether limits have room or not: the waiting rows with their heads.
    pub(crate) fn in_order(&self, queue: u32) -> impl Iterator<Item = (Head, u32)> + '_ {
        let mut sources: Vec<_> = self
            .members(queue)
            .map(|class| {
                class
                    .lanes
                    .iter()
                    .map(|(ticket, row)| (Head::of(ticket), *row))
                    .peekable()
            })
            .collect();
        std::iter::from_fn(move || {
            let best = sources
                .iter_mut()
                .filter_map(|source| source.peek().map(|(head, _)| *head))
                .min()?;
            sources
                .iter_mut()
                .find_map(|source| source.next_if(|(head, _)| *head == best))
        })
    }

    fn members(&self, queue: u32) -> impl Iterator<Item = &Class> {
        self.classes
            .iter()
            .flatten()
            .filter(move |class| class.queue == queue)
    }
}
