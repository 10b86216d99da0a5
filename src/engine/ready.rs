//! The ready order: which waiting run is next in a work queue, while limits hold.
//!
//! Runs of one work queue that need the same slots of the same limits form a *class*: with respect to limits they are
//! interchangeable, so a class may start as a whole or is stopped as a whole, and only its head matters. Each limit is a *gate*. In every
//! queue a gate *lets in* classes in claim order while the weights of their heads together fit its room, and those that fit
//! behind one that does not; the others are *parked* there on arrival, however many runs they hold. A class that all its gates let in is
//! *open*; a queue keeps its open classes ordered by head, and a claim takes the first. When room comes, or a class that was let in
//! leaves, the best parked are let in, as many as fit. So a million runs behind a full limit cost a claim nothing, in one class or in as many
//! classes as there are runs, and arriving while the limit was free makes no difference. Nothing that waits holds a slot.
//!
//! When several gates refuse a class it is parked at the one with the fewest classes: at a tenant's own limit and not at the
//! one that all tenants share. What remains is that a class parked at one gate may be refused by another when its turn
//! comes, and moves there; with two limits that are full in turn, one step can move all the classes between them. Each of these
//! moves costs a logarithm, and was paid for by a slot that was taken at the other limit.
//!
//! A run that needs no slot is in its queue's *free* class, a plain set of ten lanes, and pays for nothing of this.
//!
//! **Blocked** is a waiting run that needs more slots of some limit than it has free, and every run of a paused queue: just those
//! that a claim of this one run would be refused for. It depends on the room of gates alone and on nobody else in line; so a
//! parked class is not blocked while the one that takes the room before it has not been claimed.
//!
//! | file | owns |
//! |---|---|
//! | `needs` | places in line, needs |
//! | `heads` | an ordered set of classes, small or large |
//! | `gate` | one limit's room, whom it lets in, who is parked there |
//! | `groups` | how many runs are blocked |
//! | `admission` | letting in, putting out, looking again |
//! | `bypass` | the bypass bound and what it reserves |
//! | `look` | reading: the first, the order, what is blocked |
//! | `check` | the invariants, for tests |
//!
//! # Invariants
//!
//! * **I1** a class with needs is in its queue's `open` set and let in at all its gates, or parked at exactly one of them, under
//!   its head; an empty one is *idle*, in no set, and a few of those are kept for the next run like theirs;
//! * **I2** in each queue the weights let in at a gate are within its room: an open class can start;
//! * **I3** a parked class cannot start, or one of the same queue that is let in at its gate comes before it, or a run before
//!   it has reserved the gate; so the first of a queue that can start is always open;
//! * **I4** `standing` counts the runs outside paused queues at each gate that they need, `refused` those of them that need more
//!   than its room, and `blocked` is how many runs some gate refuses, plus the runs of paused queues;
//! * **I5** `members` is the number of classes that need a gate, idle ones too; a gate without any is forgotten;
//! * **I6** a queue in strict order knows all its classes with needs by head.

mod admission;
mod bypass;
#[cfg(any(test, fuzzing))]
mod check;
mod gate;
mod groups;
mod heads;
mod look;
mod needs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use hashbrown::HashMap;

use self::bypass::Bypass;
pub(crate) use self::gate::UNLIMITED;
use self::gate::{Gate, moved};
use self::groups::Groups;
use self::heads::Heads;
pub(crate) use self::needs::{Head, Line, Needs, Spot};
use crate::limit::LimitKey;
use crate::priority::Priority;
use crate::queue::Lanes;

const QUEUE: &str = "a queue is added before it is used";
const GATE: &str = "a gate is kept while a class needs it (I5)";
const CLASS: &str = "a class exists while a run stands in it (I1)";

/// No gate.
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// The class of the queue's runs without limits; in no set.
    Free,
    /// Let in.
    Open,
    /// At this gate.
    Parked(u32),
    /// In no set: empty, or about to be admitted.
    Idle,
}

#[derive(Debug)]
struct Class {
    queue: u32,
    needs: Needs,
    standing: Standing,
    /// The last step of its path among the [groups].
    group: u32,
    /// Of its first run.
    head: Option<Head>,
    lanes: Lanes<u32, Line>,
}

impl Class {
    fn first_head(&self) -> Option<Head> {
        self.lanes.first().map(|(ticket, _)| Head::of(ticket))
    }
}

#[derive(Debug)]
struct Queue {
    free: u32,
    open: Heads,
    paused: bool,
    len: usize,
    /// The classes with needs by head, while the queue is in strict order (I6).
    strict: Option<Heads>,
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
    gates: Vec<Option<Gate>>,
    vacant_gates: Vec<u32>,
    /// By index of the limit: its gate.
    by_limit: Vec<u32>,
    /// Idle classes, the longest idle first.
    idle: VecDeque<u32>,
    /// Queues at gates that are to be looked at before the step ends.
    dirty: Vec<(u32, u32)>,
    /// Gates whose room grows by time alone, and at which somebody has been parked since it was asked.
    thirsty: Vec<u32>,
    bypass: Bypass,
    groups: Groups,
    /// The gates that refuse somebody, in no order.
    stopping: Vec<u32>,
    blocked: usize,
}

impl Ready {
    /// Makes a queue known. The number of one that is gone, and in which nothing waits, can be used again.
    pub(crate) fn add_queue(&mut self, queue: u32, paused: bool) {
        if self.queues.get(queue as usize).is_some_and(Option::is_some) {
            self.set_paused(queue, paused);
            return;
        }
        let free = self.place_class(queue, Needs::NONE, Standing::Free);
        let number = queue as usize;
        if self.queues.len() <= number {
            self.queues.resize_with(number + 1, || None);
        }
        self.queues[number] = Some(Queue {
            free,
            open: Heads::default(),
            paused,
            len: 0,
            strict: None,
        });
    }

    /// The gate of a limit, if somebody waits for it or has lately.
    pub(crate) fn find_gate(&self, limit: LimitKey) -> Option<u32> {
        let &gate = self.by_limit.get(limit.index())?;
        let held = self.gates.get(gate as usize)?.as_ref()?;
        (held.limit == limit).then_some(gate)
    }

    /// The gate of a limit, made when nobody has waited for it before; the room and the slots that it has when it is made,
    /// and whether room comes by time alone.
    pub(crate) fn gate_of(&mut self, limit: LimitKey, room: u32, slots: u32, decays: bool) -> u32 {
        if let Some(gate) = self.find_gate(limit) {
            return gate;
        }
        let made = Some(Gate::new(limit, room, slots, decays));
        let gate = if let Some(gate) = self.vacant_gates.pop() {
            self.gates[gate as usize] = made;
            gate
        } else {
            self.gates.push(made);
            u32::try_from(self.gates.len() - 1).expect("there are fewer gates than limits")
        };
        if self.by_limit.len() <= limit.index() {
            self.by_limit.resize(limit.index() + 1, NIL);
        }
        self.by_limit[limit.index()] = gate;
        gate
    }

    /// Tells how much room a gate has now; lets in who may start. A logarithm for each class that is let in or put out, in
    /// each queue that waits there.
    pub(crate) fn set_room(&mut self, gate: u32, room: u32) {
        if fault!(LoweringIsIgnored) && room < self.gate(gate).room {
            return;
        }
        self.room_is(gate, room);
        self.note_thirst(gate);
        self.settle();
    }

    /// A gate that somebody waits at whom time alone can let in is looked at before the step ends.
    fn note_thirst(&mut self, gate: u32) {
        if self.gate(gate).is_thirsty() {
            self.thirsty.push(gate);
        }
    }

    /// Tells what a limit has become, besides its room.
    pub(crate) fn set_slots(&mut self, gate: u32, slots: u32, decays: bool) {
        let held = self.gate_mut(gate);
        held.decays = decays;
        held.slots = slots;
        self.drop_reserved(|at, weight, _| at == gate && slots < weight);
        self.settle();
    }

    /// The limit is gone: whoever waits for it goes on as if it had not been there.
    pub(crate) fn lift(&mut self, limit: LimitKey) {
        let Some(gate) = self.find_gate(limit) else { return };
        self.by_limit[limit.index()] = NIL;
        self.drop_reserved(|at, _, _| at == gate);
        self.set_slots(gate, UNLIMITED, false);
        self.set_room(gate, UNLIMITED);
    }

    /// A gate whose room grows by time alone, and at which somebody was refused since it was asked about. Asking takes it from
    /// the list.
    pub(crate) fn thirsty(&mut self) -> Option<(u32, LimitKey)> {
        loop {
            let gate = self.thirsty.pop()?;
            // What was refused may have gone, and the gate with it.
            if let Some(held) = &self.gates[gate as usize] {
                return Some((gate, held.limit));
            }
        }
    }

    /// Tells such a gate its room of now. Whether that is news, and with how much room somebody would be refused no longer.
    pub(crate) fn wanted(&mut self, gate: u32, room: u32) -> (bool, Option<u32>) {
        let news = self.gate(gate).room != room;
        self.room_is(gate, room);
        self.settle();
        (news, self.gate(gate).wanted())
    }

    /// Runs of paused queues count as blocked and are not first of anything.
    pub(crate) fn set_paused(&mut self, queue: u32, paused: bool) {
        if self.queue(queue).paused == paused {
            return;
        }
        let members: Vec<u32> = (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| Some((number, class.as_ref()?)))
            .filter(|(_, class)| class.queue == queue && !matches!(class.standing, Standing::Idle))
            .map(|(number, _)| number)
            .collect();
        for &class in &members {
            self.count_class(class, false);
        }
        self.queue_mut(queue).paused = paused;
        for &class in &members {
            self.count_class(class, true);
        }
        if paused {
            self.drop_reserved(|_, _, of| of == queue);
        }
        self.settle();
    }

    /// In strict order, nothing of a queue starts before what comes first in it (L4 is suspended there).
    pub(crate) fn set_strict(&mut self, queue: u32, strict: bool) {
        let members = strict.then(|| {
            let classes = (0..).zip(&self.classes);
            classes
                .filter_map(|(number, class)| Some((number, class.as_ref()?)))
                .filter(|(_, class)| class.queue == queue && class.standing != Standing::Free)
                .filter_map(|(number, class)| Some((class.head?, number)))
                .collect()
        });
        self.queue_mut(queue).strict = members;
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
        if needs.is_empty() {
            let class = self.queue(queue).free;
            let held = self.class_mut(class);
            let ticket = held.lanes.push(priority, line, row);
            let head = Head::of(ticket);
            held.head = Some(held.head.map_or(head, |first| first.min(head)));
            self.count_free(queue, true);
            return Spot { class, ticket };
        }
        let class = self.class_of(queue, needs);
        let held = self.class_mut(class);
        let before = held.head;
        let ticket = held.lanes.push(priority, line, row);
        let after = Head::of(ticket);
        if before.is_none_or(|before| after < before) {
            held.head = Some(after);
        }
        self.queue_mut(queue).len += 1;
        self.count_runs(class, 1, true);
        match before {
            None => {
                self.employ(class);
                self.head_moved(class, None, Some(after));
                self.admit(class);
            }
            Some(before) if after < before => {
                self.head_moved(class, Some(before), Some(after));
                self.reposition(class, before, after);
            }
            Some(_) => {}
        }
        self.settle();
        Spot { class, ticket }
    }

    /// Takes a run out of line, wherever it stands.
    pub(crate) fn remove(&mut self, spot: Spot) -> u32 {
        self.take_out(spot, &[])
    }

    /// Takes a run out of line that has taken its slots; `rooms` is what its gates have room for now. Lets in who still fits.
    pub(crate) fn take(&mut self, spot: Spot, rooms: &[(u32, u32)]) -> u32 {
        if !rooms.is_empty() {
            self.count_overtaken(spot);
        }
        self.take_out(spot, rooms)
    }

    fn take_out(&mut self, spot: Spot, rooms: &[(u32, u32)]) -> u32 {
        let class = spot.class;
        let held = self.class_mut(class);
        let taken = held.lanes.remove(spot.ticket);
        let row = taken
            .expect("a waiting run's spot holds it until it is taken out")
            .item;
        let before = held.head;
        if before == Some(spot.head()) {
            held.head = held.first_head();
        }
        let (queue, after) = (held.queue, held.head);
        if held.standing == Standing::Free {
            self.count_free(queue, false);
            return row;
        }
        self.queue_mut(queue).len -= 1;
        self.count_runs(class, 1, false);
        self.forget_overtaken(row);
        match (before, after) {
            (Some(before), None) => {
                self.withdraw(class, before);
                self.retire(class, before);
            }
            (Some(before), Some(after)) if before != after => {
                self.head_moved(class, Some(before), Some(after));
                self.reposition(class, before, after);
            }
            _ => {}
        }
        for &(gate, room) in rooms {
            self.room_is(gate, room);
            self.note_thirst(gate);
        }
        self.settle();
        row
    }

    /// Keeps I6.
    fn head_moved(&mut self, class: u32, before: Option<Head>, after: Option<Head>) {
        let queue = self.class(class).queue;
        if let Some(all) = &mut self.queue_mut(queue).strict {
            if let Some(before) = before {
                all.remove(before, class);
            }
            if let Some(after) = after {
                all.insert(after, class);
            }
        }
    }

    fn class_of(&mut self, queue: u32, needs: Needs) -> u32 {
        if let Some(&class) = self.by_needs.get(&(queue, needs)) {
            return class;
        }
        let class = self.place_class(queue, needs, Standing::Idle);
        self.class_mut(class).group = self.enter_group(&needs);
        for need in &*needs {
            let held = self.gate_mut(need.gate);
            held.members += 1;
            held.lines.entry(queue).or_default().members += 1;
        }
        self.by_needs.insert((queue, needs), class);
        class
    }

    fn place_class(&mut self, queue: u32, needs: Needs, standing: Standing) -> u32 {
        let class = Class {
            queue,
            needs,
            standing,
            group: NIL,
            head: None,
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

    /// An idle class that a run comes to is idle no more.
    fn employ(&mut self, class: u32) {
        // The one that has just become idle is the likeliest to be wanted again.
        if let Some(at) = self.idle.iter().rposition(|&idle| idle == class) {
            self.idle.remove(at);
        }
    }

    /// Keeps an emptied class for the next run like its last.
    fn retire(&mut self, class: u32, last: Head) {
        self.head_moved(class, Some(last), None);
        self.class_mut(class).standing = Standing::Idle;
        self.idle.push_back(class);
        if self.idle.len() > IDLE
            && let Some(longest) = self.idle.pop_front()
        {
            self.drop_class(longest);
        }
    }

    fn drop_class(&mut self, class: u32) {
        let Some(Class {
            queue, needs, group, ..
        }) = self.classes[class as usize].take()
        else {
            return;
        };
        self.vacant.push(class);
        self.by_needs.remove(&(queue, needs));
        self.leave_group(group);
        for need in &*needs {
            let held = self.gate_mut(need.gate);
            let line = held.line(queue);
            line.members -= 1;
            if line.members == 0 {
                held.lines.remove(&queue);
            }
            held.members -= 1;
            if held.members == 0 {
                let limit = held.limit;
                self.gates[need.gate as usize] = None;
                self.vacant_gates.push(need.gate);
                if self.by_limit[limit.index()] == need.gate {
                    self.by_limit[limit.index()] = NIL;
                }
            }
        }
    }

    fn count_free(&mut self, queue: u32, more: bool) {
        let held = self.queue_mut(queue);
        held.len = moved(held.len, 1, more);
        if held.paused {
            self.blocked = moved(self.blocked, 1, more);
        }
    }

    /// Counts all runs of a class (I4).
    fn count_class(&mut self, class: u32, more: bool) {
        self.count_runs(class, self.class(class).lanes.len(), more);
    }

    fn count_runs(&mut self, class: u32, runs: usize, more: bool) {
        let held = self.class(class);
        if self.queue(held.queue).paused {
            self.blocked = moved(self.blocked, runs, more);
            return;
        }
        let (needs, group) = (held.needs, held.group);
        for need in &*needs {
            let held = self.gate_mut(need.gate);
            held.stand(need.weight, runs, more);
            if held.room < need.weight {
                self.list_stopping(need.gate);
                self.note_thirst(need.gate);
            }
        }
        self.count_group(group, runs, more);
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
}
