//! One limit, as the ready order sees it: its room, whom it lets in, who is parked there.

use std::collections::{BTreeMap, BTreeSet};

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

/// The classes of one queue at one gate.
#[derive(Debug, Default)]
pub(super) struct GateLine {
    pub(super) let_in: BTreeSet<(Head, u32)>,
    /// Sum of the weights of the heads of those let in.
    pub(super) taken: u64,
    /// By weight, so that the best that fits is found without looking at heavier ones.
    pub(super) parked: BTreeMap<u32, BTreeSet<(Head, u32)>>,
}

impl GateLine {
    pub(super) fn is_empty(&self) -> bool {
        self.let_in.is_empty() && self.parked.is_empty()
    }

    /// The first parked class of each weight, lightest first.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (u32, Head, u32)> {
        self.parked.iter().filter_map(|(&weight, classes)| {
            let &(head, class) = classes.first()?;
            Some((weight, head, class))
        })
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
    /// Runs that were overtaken here as often as may be; the first of them lets no later run in.
    pub(super) reserved: BTreeSet<(Head, u32)>,
    /// The runs that stand here, outside paused queues: how many need so many slots, by slots ascending.
    pub(super) standing: Vec<(u32, usize)>,
    /// Of those, how many would not fit the room together.
    pub(super) blocked: usize,
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
            reserved: BTreeSet::new(),
            standing: Vec::new(),
            blocked: 0,
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

    /// Whether a reserved run comes before this one.
    pub(super) fn is_reserved_before(&self, head: Head) -> bool {
        self.reserved.first().is_some_and(|&(first, _)| first < head)
    }

    pub(super) fn has_parked(&self) -> bool {
        self.lines.values().any(|line| !line.parked.is_empty())
    }

    /// Changes how many runs of a weight stand here.
    pub(super) fn stand(&mut self, weight: u32, runs: usize, more: bool) {
        match self.standing.binary_search_by_key(&weight, |&(weight, _)| weight) {
            Ok(at) if more => self.standing[at].1 += runs,
            Ok(at) => {
                self.standing[at].1 -= runs;
                if self.standing[at].1 == 0 {
                    self.standing.remove(at);
                }
            }
            Err(at) => {
                debug_assert!(more, "whoever goes has stood here");
                self.standing.insert(at, (weight, runs));
            }
        }
    }

    /// How many of those that stand here would not fit the room together, the lightest first. As many steps as there are
    /// different weights, at most about the root of twice the room.
    pub(super) fn not_fitting(&self) -> usize {
        if self.room == UNLIMITED {
            return 0;
        }
        let mut left = self.room as usize;
        let mut fitting = 0;
        for &(weight, runs) in &self.standing {
            let fit = runs.min(left / weight as usize);
            fitting += fit;
            left -= fit * weight as usize;
            if fit < runs {
                break;
            }
        }
        self.runs() - fitting
    }

    /// How many runs stand here.
    pub(super) fn runs(&self) -> usize {
        self.standing.iter().map(|&(_, runs)| runs).sum()
    }

    /// The least room with which somebody who is parked could come in; none while nobody could.
    pub(super) fn wanted(&self) -> Option<u32> {
        let wanted = self.lines.values().flat_map(|line| {
            let best = line.let_in.first();
            line.firsts().map(move |(weight, head, _)| {
                let first = best.is_none_or(|&(best, _)| head < best);
                if first && self.room < weight {
                    weight
                } else {
                    self.room.saturating_add(1)
                }
            })
        });
        wanted
            .min()
            .filter(|&wanted| self.room < wanted && wanted <= self.slots)
    }
}
