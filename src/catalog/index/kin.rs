//! To which row of another table each row belongs, and for each such row those that belong to it.

/// No row.
const NONE: u32 = u32::MAX;

/// A relation that rows name themselves, from both ends: the deployment of a run, and the runs of a deployment.
///
/// The rows of one parent are a list in arrays, so twelve bytes a row and four a parent; a change costs the rows beside it in
/// two lists. Rows of one parent come in no order that matters: who asks wants to know whether there is one.
///
/// # Invariants
///
/// * **I1** a row with a parent is in that parent's list and in no other; a row without one is in none;
/// * **I2** `before` and `after` name each other; `first` names the row of a list that has none before it;
/// * **I3** `linked` is the number of rows with a parent.
#[derive(Debug, Default)]
pub(crate) struct Kin {
    parents: Vec<u32>,
    first: Vec<u32>,
    after: Vec<u32>,
    before: Vec<u32>,
    linked: usize,
}

impl Kin {
    /// How many rows have a parent.
    pub(crate) fn linked(&self) -> usize {
        self.linked
    }

    /// The row that a row belongs to.
    #[inline]
    pub(crate) fn parent(&self, row: u32) -> Option<u32> {
        at(&self.parents, row)
    }

    /// The rows that belong to a row.
    pub(crate) fn children(&self, parent: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(at(&self.first, parent), |&row| at(&self.after, row))
    }

    /// Notes to which row a row belongs; to none, too, if it is gone.
    pub(crate) fn update(&mut self, row: u32, parent: Option<u32>) {
        let old = self.parent(row);
        if old == parent {
            return;
        }
        if let Some(old) = old {
            let (before, after) = (at(&self.before, row), at(&self.after, row));
            match before {
                Some(before) => put(&mut self.after, before, after),
                None => put(&mut self.first, old, after),
            }
            if let Some(after) = after {
                put(&mut self.before, after, before);
            }
            self.linked -= 1;
        }
        put(&mut self.parents, row, parent); // I1
        if let Some(parent) = parent {
            let next = at(&self.first, parent);
            put(&mut self.first, parent, Some(row));
            put(&mut self.before, row, None);
            put(&mut self.after, row, next);
            if let Some(next) = next {
                put(&mut self.before, next, Some(row)); // I2
            }
            self.linked += 1; // I3
        }
    }

    pub(crate) fn shrink(&mut self) {
        for list in [
            &mut self.parents,
            &mut self.first,
            &mut self.after,
            &mut self.before,
        ] {
            list.shrink_to_fit();
        }
    }
}

#[inline]
fn at(list: &[u32], row: u32) -> Option<u32> {
    list.get(row as usize).copied().filter(|&held| held != NONE)
}

fn put(list: &mut Vec<u32>, row: u32, value: Option<u32>) {
    if list.len() <= row as usize {
        list.resize(row as usize + 1, NONE);
    }
    list[row as usize] = value.unwrap_or(NONE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn lists_of_parents_are_what_the_rows_say(
            changes in prop::collection::vec((0_u32..40, prop::option::of(0_u32..12)), 0..300)
        ) {
            let (mut kin, mut model) = (Kin::default(), BTreeMap::new());
            for (row, parent) in changes {
                kin.update(row, parent);
                model.insert(row, parent);
                for other in 0..12 {
                    let theirs: Vec<u32> = kin.children(other).take(41).collect();
                    let expected: BTreeSet<u32> =
                        model.iter().filter(|(_, parent)| **parent == Some(other)).map(|(row, _)| *row).collect();
                    prop_assert_eq!(theirs.len(), expected.len());
                    prop_assert_eq!(theirs.into_iter().collect::<BTreeSet<_>>(), expected);
                }
                prop_assert!(model.iter().all(|(row, parent)| kin.parent(*row) == *parent));
                prop_assert_eq!(kin.linked(), model.values().flatten().count());
            }
        }
    }
}
