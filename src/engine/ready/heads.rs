//! Classes by their heads, in claim order.

use std::collections::BTreeSet;

use super::needs::Head;

/// So many are kept in a list.
const FEW: usize = 16;

/// An ordered set of classes, each under the head that it was put in with. A short one is a sorted list, whose room is kept, so
/// that a class which comes and goes with every run allocates nothing; a longer one is a tree.
#[derive(Debug)]
pub(super) enum Heads {
    Few(Vec<(Head, u32)>),
    Many(BTreeSet<(Head, u32)>),
}

impl Default for Heads {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Heads {
    pub(super) fn insert(&mut self, head: Head, class: u32) {
        match self {
            Self::Few(few) if few.len() < FEW => {
                let at = few.partition_point(|other| *other < (head, class));
                few.insert(at, (head, class));
            }
            Self::Few(few) => {
                let mut many: BTreeSet<_> = few.drain(..).collect();
                many.insert((head, class));
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert((head, class));
            }
        }
    }

    pub(super) fn remove(&mut self, head: Head, class: u32) {
        match self {
            Self::Few(few) => {
                if let Some(at) = few.iter().position(|other| *other == (head, class)) {
                    few.remove(at);
                }
            }
            Self::Many(many) => {
                many.remove(&(head, class));
                if many.len() <= FEW / 2 {
                    *self = Self::Few(many.iter().copied().collect());
                }
            }
        }
    }

    pub(super) fn first(&self) -> Option<(Head, u32)> {
        match self {
            Self::Few(few) => few.first().copied(),
            Self::Many(many) => many.first().copied(),
        }
    }

    pub(super) fn last(&self) -> Option<(Head, u32)> {
        match self {
            Self::Few(few) => few.last().copied(),
            Self::Many(many) => many.last().copied(),
        }
    }

    /// From the last in claim order to the first.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (Head, u32)> + '_ {
        let (few, many) = match self {
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(many) => ([].as_slice(), Some(many)),
        };
        let many = many.into_iter().flat_map(|many| many.iter().rev());
        few.iter().rev().chain(many).copied()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.backwards().count()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn contains(&self, head: Head, class: u32) -> bool {
        self.backwards().any(|other| other == (head, class))
    }
}

impl FromIterator<(Head, u32)> for Heads {
    fn from_iter<I: IntoIterator<Item = (Head, u32)>>(classes: I) -> Self {
        let mut heads = Self::default();
        classes
            .into_iter()
            .for_each(|(head, class)| heads.insert(head, class));
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::super::needs::Line;
    use super::*;
    use crate::priority::Priority;

    #[test]
    fn a_list_becomes_a_tree_and_a_list_again() {
        let (mut heads, mut model) = (Heads::default(), BTreeSet::new());
        let head = |seq: u64| Head::new(Priority::MIN, Line { due: 0, seq });
        // Every number once, in no order.
        for seq in (0..53).map(|n| n * 31 % 53) {
            heads.insert(head(seq), 7);
            model.insert((head(seq), 7));
            assert_eq!(heads.first(), model.first().copied());
            assert_eq!(heads.last(), model.last().copied());
        }
        assert!(matches!(heads, Heads::Many(_)));
        for seq in (0..53).map(|n| n * 17 % 53) {
            heads.remove(head(seq), 7);
            model.remove(&(head(seq), 7));
            assert!(heads.backwards().eq(model.iter().rev().copied()));
            assert_eq!(heads.len(), model.len());
        }
        assert!(heads.first().is_none() && matches!(heads, Heads::Few(_)));
    }
}
