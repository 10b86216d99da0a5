//! The records of ended runs in the order in which they ended, so that retention finds the oldest.

use std::collections::VecDeque;

use hashbrown::HashSet;

use crate::ids::RunId;

/// One ended run: when it ended, its row, its id.
pub(crate) type Entry = (i64, u32, RunId);

/// Ended runs, oldest first.
///
/// # Invariants
///
/// * **I1** every id in `gone` is in `line`, and `line` holds each id once;
/// * **I2** what is gone is less than half of the line, or less than [`FEW`]: so the line is never much longer than what it holds.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    line: VecDeque<Entry>,
    /// Taken out of the middle, and not yet out of the line.
    gone: HashSet<RunId>,
}

/// So many that are gone are not worth going through the line.
const FEW: usize = 1_000;

impl Finished {
    pub(crate) fn len(&self) -> usize {
        self.line.len() - self.gone.len()
    }

    /// The newest.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.line.push_back(entry);
    }

    /// Puts these, oldest first, before all others.
    pub(crate) fn put_before(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.line.push_front(entry);
        }
    }

    pub(crate) fn first(&mut self) -> Option<Entry> {
        loop {
            let &first = self.line.front()?;
            if !self.gone.remove(&first.2) {
                return Some(first);
            }
            self.line.pop_front();
        }
    }

    /// When the oldest ended, or something that is gone and had ended before it; the end of time when there is none. A look and no
    /// more, for every call.
    pub(crate) fn begins_at(&self) -> i64 {
        self.line.front().map_or(i64::MAX, |first| first.0)
    }

    pub(crate) fn pop_first(&mut self) -> Option<Entry> {
        self.first()?;
        self.line.pop_front()
    }

    /// Takes out a run that is in the line. Constant time, but for going through the line once in so many times as it is long.
    pub(crate) fn remove(&mut self, id: RunId) {
        self.gone.insert(id);
        if self.gone.len() >= FEW && self.gone.len() * 2 >= self.line.len() {
            self.line.retain(|entry| !self.gone.contains(&entry.2));
            self.gone.clear();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.line
            .iter()
            .copied()
            .filter(|entry| !self.gone.contains(&entry.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_out_of_the_middle_is_gone(ops in prop::collection::vec(0_u8..4, 0..4_000), seed: u64) {
            let (mut finished, mut model) = (Finished::default(), Vec::new());
            let mut random = seed | 1;
            for (step, op) in (0..).zip(ops) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match op {
                    0 | 1 => {
                        let entry = (i64::from(step), step, RunId::from_uuid(uuid::Uuid::from_u128(step.into())));
                        finished.push(entry);
                        model.push(entry);
                    }
                    2 if !model.is_empty() => {
                        let at = usize::try_from(random >> 40).unwrap() % model.len();
                        finished.remove(model.remove(at).2);
                    }
                    _ => {
                        let first = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(finished.pop_first(), first);
                    }
                }
                prop_assert_eq!(finished.len(), model.len());
            }
            prop_assert!(finished.line.len() <= model.len() * 2 + FEW);
            prop_assert_eq!(finished.iter().collect::<Vec<_>>(), model);
        }
    }
}
