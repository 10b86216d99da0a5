//! Who is let in: admission at all gates at once, eviction of the worst, and looking again when room comes.

use std::ops::Bound;

use super::gate::{GateLine, UNLIMITED, Verdict};
use super::heads::Heads;
use super::needs::Head;
use super::{Ready, Standing};

impl Ready {
    /// What a gate says to a class of `queue` with this head that needs `weight` slots.
    pub(super) fn verdict(&self, gate: u32, queue: u32, head: Head, weight: u32) -> Verdict {
        let held = self.gate(gate);
        if held.room < weight || held.is_reserved_before(head) {
            return Verdict::Full;
        }
        let free = held.free(queue);
        let Some(mut lacking) = u64::from(weight).checked_sub(free).filter(|&lacking| 0 < lacking) else {
            return Verdict::Fits;
        };
        let line = &held.lines[&queue];
        for (other, class) in line.let_in.backwards() {
            if other < head {
                return Verdict::Outranked;
            }
            let gained = u64::from(self.class(class).needs.weight_at(gate));
            if lacking <= gained {
                return Verdict::Displaces;
            }
            lacking -= gained;
        }
        Verdict::Outranked
    }

    /// Lets a class in that stands nowhere, or parks it at the gate that refuses it; at the one with the fewest classes when
    /// several do, so that a gate which many share does not look at them in vain.
    pub(super) fn admit(&mut self, class: u32) {
        let held = self.class(class);
        let (queue, needs) = (held.queue, held.needs);
        let head = held.head.expect("a class without runs is idle (I1)");
        let refusing = needs
            .iter()
            .filter_map(|need| {
                let verdict = self.verdict(need.gate, queue, head, need.weight);
                let refused = matches!(verdict, Verdict::Full | Verdict::Outranked);
                refused.then(|| {
                    (
                        verdict == Verdict::Outranked,
                        self.gate(need.gate).members,
                        need.gate,
                    )
                })
            })
            .min();
        if let Some((_, _, gate)) = refusing {
            self.park(class, gate);
            return;
        }
        for need in &*needs {
            while self.gate(need.gate).free(queue) < u64::from(need.weight) {
                let line = &self.gate(need.gate).lines[&queue];
                let (_, worst) = line.let_in.last().expect("the slots that lack are let in to");
                self.evict(worst, need.gate);
            }
            let line = self.gate_mut(need.gate).line(queue);
            line.let_in.insert(head, class);
            line.taken += u64::from(need.weight);
        }
        self.queue_mut(queue).open.insert(head, class);
        self.class_mut(class).standing = Standing::Open;
    }

    /// Takes a class out of every set, whether it is let in or parked, where it stands under this head; the gates it leaves are
    /// looked at again.
    pub(super) fn withdraw(&mut self, class: u32, head: Head) {
        let held = self.class(class);
        let (queue, needs, standing) = (held.queue, held.needs, held.standing);
        match standing {
            Standing::Open => {
                self.queue_mut(queue).open.remove(head, class);
                for need in &*needs {
                    let line = self.gate_mut(need.gate).line(queue);
                    line.let_in.remove(head, class);
                    line.taken -= u64::from(need.weight);
                    if line.has_parked() {
                        self.dirty.push((need.gate, queue));
                    }
                }
            }
            Standing::Parked(gate) => {
                let held = self.gate_mut(gate);
                held.parked -= 1;
                held.line(queue).unpark(needs.weight_at(gate), head, class);
            }
            Standing::Free | Standing::Idle => unreachable!("it stands in a set"),
        }
    }

    fn park(&mut self, class: u32, gate: u32) {
        let held = self.class(class);
        let (queue, weight) = (held.queue, held.needs.weight_at(gate));
        let head = held.head.expect("a class without runs is idle (I1)");
        let at = self.gate_mut(gate);
        at.parked += 1;
        at.line(queue).park(weight, head, class);
        self.note_thirst(gate);
        self.class_mut(class).standing = Standing::Parked(gate);
    }

    /// Puts a class out that is let in.
    pub(super) fn evict(&mut self, class: u32, gate: u32) {
        let head = self
            .class(class)
            .head
            .expect("a class that is let in is not empty (I1)");
        self.withdraw(class, head);
        self.park(class, gate);
    }

    /// Sets the room of a gate and puts out whom it does not hold any more.
    pub(super) fn room_is(&mut self, gate: u32, room: u32) {
        let held = self.gate_mut(gate);
        let before = std::mem::replace(&mut held.room, room);
        if room == before {
            return;
        }
        self.turn_groups(gate, before);
        let held = self.gate(gate);
        if room < before {
            let over = |line: &GateLine| room != UNLIMITED && u64::from(room) < line.taken;
            let mut next = (held.lines.iter().find(|(_, line)| over(line))).map(|(&queue, _)| queue);
            while let Some(queue) = next {
                while let Some(line) = self.gate(gate).lines.get(&queue)
                    && over(line)
                    && let Some((_, worst)) = line.let_in.last()
                {
                    self.evict(worst, gate);
                }
                let lines = &self.gate(gate).lines;
                // Most limits are those of one queue.
                next = if lines.len() == 1 {
                    None
                } else {
                    let mut later = lines.range((Bound::Excluded(queue), Bound::Unbounded));
                    later.find(|(_, line)| over(line)).map(|(&queue, _)| queue)
                };
            }
        } else {
            self.look_again(gate);
        }
    }

    /// Has all queues at a gate looked at again.
    pub(super) fn look_again(&mut self, gate: u32) {
        let Some(held) = self.gates[gate as usize].as_ref() else {
            return;
        };
        if held.parked == 0 {
            return;
        }
        let lines = held.lines.iter().filter(|(_, line)| line.has_parked());
        self.dirty.extend(lines.map(|(&queue, _)| (gate, queue)));
    }

    /// Looks again at every gate that something has changed at, until nothing more comes in.
    pub(super) fn settle(&mut self) {
        while let Some((gate, queue)) = self.dirty.pop() {
            self.refill(gate, queue);
        }
    }

    /// Lets in the best that are parked, as many as fit.
    fn refill(&mut self, gate: u32, queue: u32) {
        loop {
            let Some(held) = self.gates.get(gate as usize).and_then(Option::as_ref) else {
                return;
            };
            let Some(line) = held.lines.get(&queue) else {
                return;
            };
            let best = line
                .firsts()
                .take_while(|&(weight, ..)| weight <= held.room)
                .filter(|&(weight, head, _)| {
                    matches!(
                        self.verdict(gate, queue, head, weight),
                        Verdict::Fits | Verdict::Displaces
                    )
                })
                .map(|(_, head, class)| (head, class))
                .min();
            let Some((head, class)) = best else { return };
            self.withdraw(class, head);
            self.admit(class);
        }
    }

    /// Moves a class in the sets it stands in, after its head has changed; both heads are of runs.
    pub(super) fn reposition(&mut self, class: u32, before: Head, after: Head) {
        fn moved(set: &mut Heads, class: u32, before: Head, after: Head) {
            set.remove(before, class);
            set.insert(after, class);
        }
        let held = self.class(class);
        let (queue, needs) = (held.queue, held.needs);
        match held.standing {
            Standing::Open => {
                moved(&mut self.queue_mut(queue).open, class, before, after);
                for need in &*needs {
                    let line = self.gate_mut(need.gate).line(queue);
                    moved(&mut line.let_in, class, before, after);
                    if line.has_parked() {
                        self.dirty.push((need.gate, queue));
                    }
                }
                // Its next run may come after one that has reserved a gate, which it did not.
                let reserved = |gate: u32| self.gate(gate).is_reserved_before(after);
                if let Some(need) = needs.iter().find(|need| reserved(need.gate)) {
                    self.evict(class, need.gate);
                }
            }
            Standing::Parked(gate) => {
                let (weight, line) = (needs.weight_at(gate), self.gate_mut(gate).line(queue));
                line.unpark(weight, before, class);
                line.park(weight, after, class);
                // Its head may have become the best of its gate, and have to start before one let in (I3).
                self.dirty.push((gate, queue));
            }
            Standing::Free | Standing::Idle => unreachable!("it stands in a set"),
        }
    }
}
