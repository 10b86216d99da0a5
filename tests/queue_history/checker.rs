//! Decides whether a recorded history is one of a strict priority queue, FIFO inside each level.
//!
//! It knows nothing of the queue under test: it reads calls, answers, and two ticks each, one taken before the call and
//! one after its return.
//!
//! * [`linearize`] decides exactly: it looks for an order of the calls that respects real time (a call that returned before
//!   another began comes first) and in which the obvious queue gives every answer. Exponential in what overlaps, so for
//!   histories of up to 64 calls.
//! * [`inversion`] looks through a history of any length for two calls whose order no linearization can explain. It
//!   accepts some wrong histories and rejects no right one.

use std::collections::{HashMap, HashSet};

/// What was called, and what it answered. Items are named by numbers that are pushed once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    Push { level: u8, item: u32 },
    Pop { found: Option<u32> },
    Remove { item: u32, found: bool },
    Relevel { item: u32, level: u8, found: bool },
    Count { items: usize },
}

/// One call of one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    /// Tick before the call.
    pub(crate) begin: u64,
    /// Tick after the return.
    pub(crate) end: u64,
}

/// The obvious queue: the items in order of arrival, with their levels.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Obvious(Vec<(u8, u32)>);

impl Obvious {
    fn first(&self) -> Option<usize> {
        // The greatest level; of equal ones the earliest.
        (0..self.0.len()).min_by_key(|&at| (std::cmp::Reverse(self.0[at].0), at))
    }

    fn find(&self, item: u32) -> Option<usize> {
        self.0.iter().position(|held| held.1 == item)
    }

    /// Does the call, if the queue answers as recorded.
    fn answers(&mut self, call: Call) -> bool {
        match call {
            Call::Push { level, item } => {
                self.0.push((level, item));
                true
            }
            Call::Pop { found } => {
                let first = self.first().map(|at| self.0.remove(at).1);
                first == found
            }
            Call::Remove { item, found } => {
                let held = self.find(item);
                if let Some(at) = held {
                    self.0.remove(at);
                }
                held.is_some() == found
            }
            Call::Relevel { item, level, found } => {
                let held = self.find(item);
                if let Some(at) = held {
                    self.0.remove(at);
                    self.0.push((level, item));
                }
                held.is_some() == found
            }
            Call::Count { items } => self.0.len() == items,
        }
    }
}

/// An order of the calls (indexes into `history`) that a strict priority queue explains, or `None`: there is none.
pub(crate) fn linearize(history: &[Event]) -> Option<Vec<usize>> {
    assert!(
        history.len() <= 64,
        "a history of {} calls is too long to decide",
        history.len()
    );
    let mut order = Vec::new();
    let mut dead_ends = HashSet::new();
    search(history, 0, &Obvious::default(), &mut order, &mut dead_ends).then_some(order)
}

fn search(
    history: &[Event],
    done: u64,
    queue: &Obvious,
    order: &mut Vec<usize>,
    dead_ends: &mut HashSet<(u64, Obvious)>,
) -> bool {
    let left = || (0..history.len()).filter(|at| done >> at & 1 == 0);
    // Whoever begins after another has ended cannot come before it.
    let Some(bound) = left().map(|at| history[at].end).min() else {
        return true;
    };
    if dead_ends.contains(&(done, queue.clone())) {
        return false;
    }
    for next in left().filter(|&at| history[at].begin < bound) {
        let mut after = queue.clone();
        if after.answers(history[next].call) {
            order.push(next);
            if search(history, done | 1 << next, &after, order, dead_ends) {
                return true;
            }
            order.pop();
        }
    }
    dead_ends.insert((done, queue.clone()));
    false
}

/// What is wrong with a history of pushes and pops, if it can be seen from two calls.
pub(crate) fn inversion(history: &[Event]) -> Option<String> {
    /// When an item surely was in: from the end of its push to the begin of its pop.
    #[derive(Clone, Copy)]
    struct Stay {
        level: u8,
        pushed: Event,
        popped: Option<Event>,
    }
    let mut stays: HashMap<u32, Stay> = HashMap::new();
    for event in history {
        if let Call::Push { level, item } = event.call
            && stays
                .insert(
                    item,
                    Stay {
                        level,
                        pushed: *event,
                        popped: None,
                    },
                )
                .is_some()
        {
            return Some(format!("item {item} was pushed twice"));
        }
    }
    for event in history {
        if let Call::Pop { found: Some(item) } = event.call {
            let Some(stay) = stays.get_mut(&item) else {
                return Some(format!("item {item} was popped and never pushed"));
            };
            if stay.popped.replace(*event).is_some() {
                return Some(format!("item {item} was popped twice"));
            }
            if event.end < stay.pushed.begin {
                return Some(format!("item {item} was popped before it was pushed"));
            }
        }
    }
    // Of each level: ends of pushes, and the latest begin of a pop among the items pushed until then.
    let mut levels: Vec<Vec<(u64, u64)>> = vec![Vec::new(); 11];
    for stay in stays.values() {
        let leaves = stay.popped.map_or(u64::MAX, |event| event.begin);
        levels[usize::from(stay.level)].push((stay.pushed.end, leaves));
    }
    for level in &mut levels {
        level.sort_unstable();
        let mut latest = 0;
        for (_, leaves) in level {
            latest = latest.max(*leaves);
            *leaves = latest;
        }
    }
    // Whether an item of the level was in from before `from` until after `to`.
    let stayed = |level: u8, from: u64, to: u64| {
        let level = &levels[usize::from(level)];
        let before = level.partition_point(|&(pushed, _)| pushed < from);
        before.checked_sub(1).is_some_and(|last| to < level[last].1)
    };
    for event in history {
        let Call::Pop { found } = event.call else { continue };
        let level = found.map_or(0, |item| stays[&item].level);
        if let Some(above) = (level + 1..=10).find(|&above| stayed(above, event.begin, event.end)) {
            return Some(format!(
                "a pop found {found:?} while an item of level {above} waited: {event:?}"
            ));
        }
        if let Some(item) = found
            && stayed(level, stays[&item].pushed.begin, event.end)
        {
            return Some(format!("item {item} overtook one of its level: {event:?}"));
        }
    }
    None
}
