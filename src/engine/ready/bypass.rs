//! The bypass bound: a run that was overtaken so often at a limit reserves it.
//!
//! Whenever somebody takes slots of a limit, the first run in claim order that is parked there for want of slots, if it comes
//! before the taker, has been *overtaken*. After as many times as the bound says it *reserves* the limit: until it starts, is
//! called off, changes its level or its queue is paused, no run that comes after it in claim order is let in there. The order is that of
//! level and place over all queues, in which no two runs are equal; a reservation holds against later runs only, so the first
//! of those that have reserved something is held up by none of the others, and no two wait for each other. A run that needs
//! more slots than the limit has reserves nothing: it could never start.

use std::collections::BTreeMap;

use super::Ready;
use super::needs::{Head, Spot};
use crate::limit::LimitKey;

/// What a run has been through.
#[derive(Debug)]
struct Overtaken {
    gate: u32,
    weight: u32,
    queue: u32,
    head: Head,
    times: u32,
    reserved: bool,
}

/// The counts of overtaken runs, by row.
#[derive(Debug, Default)]
pub(super) struct Bypass {
    bound: Option<u32>,
    overtaken: BTreeMap<u32, Vec<Overtaken>>,
    /// Rows whose counts have changed, while somebody follows them.
    touched: Option<Vec<u32>>,
}

impl Bypass {
    /// Whether somebody counts who is overtaken.
    pub(super) fn is_bound(&self) -> bool {
        self.bound.is_some()
    }
}

impl Ready {
    /// How often a run may be overtaken at a limit; none is any number of times.
    pub(crate) fn set_bypass_bound(&mut self, bound: Option<u32>) {
        self.bypass.bound = bound;
    }

    /// Begins to log whose counts change, or ends it.
    pub(crate) fn follow_overtaken(&mut self, on: bool) {
        self.bypass.touched = on.then(Vec::new);
    }

    /// Adds the rows whose counts have changed.
    pub(crate) fn take_overtaken(&mut self, rows: &mut Vec<u32>) {
        if let Some(touched) = &mut self.bypass.touched {
            rows.append(touched);
        }
    }

    /// The run that stands there takes slots: whoever waits before it for one of its limits has been overtaken.
    pub(super) fn count_overtaken(&mut self, spot: Spot) {
        if self.bypass.bound.is_none() {
            return;
        }
        let needs = self.class(spot.class).needs;
        for need in &*needs {
            let held = self.gate(need.gate);
            let first = held
                .lines
                .iter()
                .filter(|&(&queue, _)| !self.queue(queue).paused)
                .flat_map(|(_, line)| line.firsts())
                .filter(|&(weight, head, _)| held.room < weight && head < spot.head())
                .map(|(_, head, class)| (head, class))
                .min();
            if let Some((head, class)) = first {
                let (_, &row) = self.class(class).lanes.first().expect("it has this head");
                self.overtake(row, class, need.gate, head, 1);
            }
        }
    }

    fn overtake(&mut self, row: u32, class: u32, gate: u32, head: Head, times: u32) {
        let Some(bound) = self.bypass.bound else { return };
        let held = self.class(class);
        let (queue, weight) = (held.queue, held.needs.weight_at(gate));
        let slots = self.gate(gate).slots;
        let paused = self.queue(queue).paused;
        if let Some(touched) = &mut self.bypass.touched {
            touched.push(row);
        }
        let counts = self.bypass.overtaken.entry(row).or_default();
        let at = counts.iter().position(|count| count.gate == gate);
        let at = at.unwrap_or_else(|| {
            counts.push(Overtaken {
                gate,
                weight,
                queue,
                head,
                times: 0,
                reserved: false,
            });
            counts.len() - 1
        });
        let count = &mut counts[at];
        count.times = count.times.saturating_add(times);
        if count.times < bound || count.reserved || slots < weight || paused {
            return;
        }
        count.reserved = true;
        self.gate_mut(gate).reserved.insert((head, row));
        let queues: Vec<u32> = self.gate(gate).lines.keys().copied().collect();
        for queue in queues {
            while let Some(line) = self.gate(gate).lines.get(&queue)
                && let Some((worst, class)) = line.let_in.last()
                && head < worst
            {
                self.evict(class, gate);
            }
        }
    }

    /// A run leaves the line: what it has reserved is free again.
    pub(super) fn forget_overtaken(&mut self, row: u32) {
        if self.bypass.overtaken.is_empty() {
            return;
        }
        for count in self.bypass.overtaken.remove(&row).into_iter().flatten() {
            self.free_reserved(row, &count);
        }
    }

    fn free_reserved(&mut self, row: u32, count: &Overtaken) {
        if count.reserved && self.gate_mut(count.gate).reserved.remove(&(count.head, row)) {
            self.look_again(count.gate);
        }
    }

    /// Gives up what the bound has reserved at a gate for runs that it cannot hold any more, or that stand in a queue.
    pub(super) fn drop_reserved(&mut self, unfit: impl Fn(u32, u32, u32) -> bool) {
        let mut all = std::mem::take(&mut self.bypass.overtaken);
        for (&row, counts) in &mut all {
            for count in counts.iter_mut().filter(|count| count.reserved) {
                if unfit(count.gate, count.weight, count.queue) {
                    self.free_reserved(row, count);
                    count.reserved = false;
                }
            }
        }
        self.bypass.overtaken = all;
    }

    /// How often a waiting run was overtaken, by limit.
    pub(crate) fn overtaken(&self, row: u32) -> Vec<(LimitKey, u32)> {
        let counts = self.bypass.overtaken.get(&row).into_iter().flatten();
        counts
            .map(|count| (self.gate(count.gate).limit, count.times))
            .collect()
    }

    /// Puts back what was counted before an export.
    pub(crate) fn restore_overtaken(&mut self, spot: Spot, limit: LimitKey, times: u32) {
        let Some(gate) = self.find_gate(limit) else { return };
        let class = self.class(spot.class);
        if class.needs.iter().any(|need| need.gate == gate) {
            let row = self.row(spot);
            self.overtake(row, spot.class, gate, spot.head(), times);
            self.settle();
        }
    }
}
