//! One limit, as the ready order sees it: its room, whom it lets in, who is parked there, whom it refuses.

use std::collections::{BTreeMap, BTreeSet};

use super::heads::Heads;
use super::needs::Head;
use crate::limit::LimitKey;

/// A limit that never refuses has this much room.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// What a gate says to a class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// There is room beside those let in.
    Fits,
    /// There is, once some that come later in claim order are put out.
    Displaces,
    /// Those let in before it take the room.
    Outranked,
    /// The free slots are fewer than it needs, or a run before it has reserved them.
    Full,
}

/// So many weights are kept though nobody of that weight is there.
const FEW: usize = 4;

/// The classes of one queue at one gate.
#[derive(Debug, Default)]
pub(super) struct GateLine {
    /// How many classes of the queue need the gate, idle ones too.
    pub(super) members: usize,
    pub(super) let_in: Heads,
    /// Sum of the weights of the heads of those let in.
    pub(super) taken: u64,
    /// By weight ascending, so that the best that fits is found without looking at heavier ones. A few weights stay when their
    /// set is empty: the next class is likely to need one of these.
    parked: Vec<(u32, Heads)>,
}

impl GateLine {
    pub(super) fn park(&mut self, weight: u32, head: Head, class: u32) {
        let found = self.parked.binary_search_by_key(&weight, |&(weight, _)| weight);
        let at = found.unwrap_or_else(|_| {
            if FEW <= self.parked.len() {
                self.parked.retain(|(_, classes)| classes.first().is_some());
            }
            let at = self.parked.partition_point(|&(other, _)| other < weight);
            self.parked.insert(at, (weight, Heads::default()));
            at
        });
        self.parked[at].1.insert(head, class);
    }

    pub(super) fn unpark(&mut self, weight: u32, head: Head, class: u32) {
        if let Some(parked) = self.parked_at(weight) {
            parked.remove(head, class);
        }
    }

    fn parked_at(&mut self, weight: u32) -> Option<&mut Heads> {
        let at = self.parked.binary_search_by_key(&weight, |&(weight, _)| weight);
        Some(&mut self.parked[at.ok()?].1)
    }

    /// The first parked class of each weight, lightest first.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (u32, Head, u32)> {
        self.parked.iter().filter_map(|(weight, classes)| {
            let (head, class) = classes.first()?;
            Some((*weight, head, class))
        })
    }

    pub(super) fn has_parked(&self) -> bool {
        self.firsts().next().is_some()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_parked(&self, weight: u32, head: Head, class: u32) -> bool {
        let mut here = self.parked.iter().filter(|&&(here, _)| here == weight);
        here.any(|(_, classes)| classes.contains(head, class))
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) limit: LimitKey,
    pub(super) room: u32,
    /// The room it has while nobody holds a slot.
    pub(super) slots: u32,
    /// Room comes by time alone.
    pub(super) decays: bool,
    /// How many classes need it, idle ones too.
    pub(super) members: usize,
    /// By queue.
    pub(super) lines: BTreeMap<u32, GateLine>,
    /// How many classes are parked here.
    pub(super) parked: usize,
    /// Runs that were overtaken here as often as may be; the first of them lets no later run in.
    pub(super) reserved: BTreeSet<(Head, u32)>,
    /// The runs that need it, outside paused queues: how many need so many slots, by slots ascending. Some may be none.
    pub(super) standing: Vec<(u32, usize)>,
    /// Of those, how many need more than its room.
    pub(super) refused: usize,
    /// Where it stands in the list of those that refuse somebody, or nowhere.
    pub(super) listed: u32,
    /// Its steps among the [groups](super::groups), by weight.
    pub(super) groups: BTreeSet<(u32, u32)>,
}

impl Gate {
    pub(super) fn new(limit: LimitKey, room: u32, slots: u32, decays: bool) -> Self {
        Self {
            limit,
            room,
            slots,
            decays,
            members: 0,
            lines: BTreeMap::new(),
            parked: 0,
            reserved: BTreeSet::new(),
            standing: Vec::new(),
            refused: 0,
            listed: super::NIL,
            groups: BTreeSet::new(),
        }
    }

    /// What is left of the room beside those of the queue that are let in.
    pub(super) fn free(&self, queue: u32) -> u64 {
        if self.room == UNLIMITED {
            return u64::MAX;
        }
        let taken = self.lines.get(&queue).map_or(0, |line| line.taken);
        u64::from(self.room).saturating_sub(taken)
    }

    /// The classes of a queue that has some here.
    pub(super) fn line(&mut self, queue: u32) -> &mut GateLine {
        self.lines
            .get_mut(&queue)
            .expect("a line is kept while a class of its queue needs the gate")
    }

    /// Whether a reserved run comes before this one.
    pub(super) fn is_reserved_before(&self, head: Head) -> bool {
        self.reserved.first().is_some_and(|&(first, _)| first < head)
    }

    /// Whether time alone may change what becomes of somebody here.
    pub(super) fn is_thirsty(&self) -> bool {
        self.decays && (0 < self.parked || 0 < self.refused)
    }

    /// Changes how many runs of a weight need it.
    pub(super) fn stand(&mut self, weight: u32, runs: usize, more: bool) {
        if self.room < weight {
            self.refused = moved(self.refused, runs, more);
        }
        match self.standing.binary_search_by_key(&weight, |&(weight, _)| weight) {
            Ok(at) => {
                let left = moved(self.standing[at].1, runs, more);
                self.standing[at].1 = left;
                // A few weights stay, which are likely to come again.
                if left == 0 && FEW < self.standing.len() {
                    self.standing.remove(at);
                }
            }
            Err(at) => {
                debug_assert!(more, "whoever goes has stood here");
                self.standing.insert(at, (weight, runs));
            }
        }
    }

    /// How many runs that need it wait.
    pub(super) fn runs(&self) -> usize {
        self.standing.iter().map(|&(_, runs)| runs).sum()
    }

    /// Of those, how many need more than its room.
    pub(super) fn count_refused(&self) -> usize {
        let refused = self.standing.partition_point(|&(weight, _)| weight <= self.room);
        self.standing[refused..].iter().map(|&(_, runs)| runs).sum()
    }

    /// The least room with which somebody who is parked could come in, or somebody who is refused were not; none while
    /// neither can be.
    pub(super) fn wanted(&self) -> Option<u32> {
        let parked = self.lines.values().flat_map(|line| {
            let best = line.let_in.first();
            line.firsts().map(move |(weight, head, _)| {
                let first = best.is_none_or(|(best, _)| head < best);
                if first && self.room < weight {
                    weight
                } else {
                    self.room.saturating_add(1)
                }
            })
        });
        let refused = self.standing.iter().filter(|&&(_, runs)| 0 < runs);
        let refused = refused.map(|&(weight, _)| weight);
        let wanted = parked.chain(refused).filter(|&wanted| self.room < wanted).min();
        wanted.filter(|&wanted| wanted <= self.slots)
    }
}

/// A count after so many have come, or gone.
pub(super) fn moved(count: usize, runs: usize, more: bool) -> usize {
    if more { count + runs } else { count - runs }
}
