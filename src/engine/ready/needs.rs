//! What a waiting run is known by in the ready order: its place in line, and the slots that it needs.

use std::cmp::Reverse;

use crate::priority::Priority;
use crate::queue::lanes::Ticket;

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

    pub(super) fn of(ticket: Ticket<Line>) -> Self {
        Self::new(ticket.priority(), ticket.place())
    }
}

/// Where a waiting run stands; needed to take it out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spot {
    pub(super) class: u32,
    pub(super) ticket: Ticket<Line>,
}

impl Spot {
    pub(super) fn head(self) -> Head {
        Head::of(self.ticket)
    }
}

/// Most limits that one run names: eight by name, and its deployment's own.
pub(super) const MOST_NEEDS: usize = 9;

/// So many slots of the limit behind a gate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Need {
    pub(crate) gate: u32,
    pub(crate) weight: u32,
}

/// The slots that a run takes, one need for each limit, by gate ascending. Lives in place: what a run needs costs it no
/// allocation.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    needs: [Need; MOST_NEEDS],
    len: u8,
}

impl Needs {
    /// No limit at all.
    pub(crate) const NONE: Self = Self {
        needs: [Need { gate: 0, weight: 0 }; MOST_NEEDS],
        len: 0,
    };

    /// Adds a limit that is not in yet. What goes beyond [`MOST_NEEDS`] is left out: a submission that names more is refused
    /// before it comes here.
    pub(crate) fn push(&mut self, gate: u32, weight: u32) {
        let len = usize::from(self.len);
        if len == MOST_NEEDS {
            return;
        }
        self.needs[len] = Need { gate, weight };
        self.len += 1;
        self.needs[..=len].sort_unstable();
    }

    /// How many slots of that limit.
    pub(super) fn weight_at(&self, gate: u32) -> u32 {
        let need = self.iter().find(|need| need.gate == gate);
        need.expect("a class stands only at limits that it needs").weight
    }
}

impl std::ops::Deref for Needs {
    type Target = [Need];

    fn deref(&self) -> &[Need] {
        &self.needs[..usize::from(self.len)]
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
