//! What parts do: say of a row whether it passes, narrow a block of bits, keep of some rows those that pass.

use super::part::{Narrow, Part, Sources, What};
use super::texts::text_passes;
use crate::catalog::index::{RowSet, WORDS};
use crate::filter::{By, Expr, Node, Tested};

impl Sources<'_> {
    /// What answers each test of an expression, in the order of its text.
    pub(super) fn tests(&self, expr: &Expr) -> Vec<Tested> {
        match expr.node() {
            Node::And(children) | Node::Or(children) => {
                children.iter().flat_map(|child| self.tests(child)).collect()
            }
            Node::Not(inner) => self.tests(inner),
            _ => {
                let (by, rows) = match self.make(expr).what {
                    What::Values { passing, .. } => (By::Values, Some(rows_of(&passing))),
                    What::Sets { sets, all: true } => (By::Tags, sets.first().map(|set| set.len() as u64)),
                    What::Sets { sets, .. } => (By::Tags, Some(rows_of(&sets))),
                    What::Stretch(set) => (By::Order, Some(set.len() as u64)),
                    What::Range { known, .. } => (By::Numbers, known.map(|known| known as u64)),
                    What::Number { .. } => (By::Numbers, None),
                    What::Text { candidates, .. } => match candidates {
                        None => (By::Texts, None),
                        Some(lists) => {
                            let least = lists.iter().filter_map(|list| list.first());
                            (By::Trigrams, Some(least.map(|set| set.len() as u64).sum()))
                        }
                    },
                    What::Kin(kindred) => match kindred.set() {
                        Some(set) => (By::Join, Some(set.len() as u64)),
                        None => (By::Related, None),
                    },
                    // A place is answered by sets, and by rows where limits have names.
                    What::Any(_) => (By::Values, None),
                    _ => (By::Rows, None),
                };
                let test = expr.to_string();
                vec![Tested { test, by, rows }]
            }
        }
    }

    /// Whether a row passes.
    pub(super) fn passes(&self, part: &Part<'_>, row: u32) -> bool {
        match &part.what {
            What::All(parts) => parts.iter().all(|part| self.passes(part, row)),
            What::Any(parts) => parts.iter().any(|part| self.passes(part, row)),
            What::Not(inner) => !self.passes(inner, row),
            What::Values { values, passes, .. } => passes.has(values.of(row)),
            What::Stretch(set) => set.contains(row),
            What::Sets { sets, all: true } => sets.iter().all(|set| set.contains(row)),
            What::Sets { sets, all: false } => sets.iter().any(|set| set.contains(row)),
            What::Range {
                numbers, low, high, ..
            } => numbers
                .key(row)
                .is_some_and(|number| *low <= number && number <= *high),
            What::Number { numbers, test } => test.accepts(numbers.get(row)),
            What::Text {
                texts,
                test,
                plain,
                candidates,
                proven,
            } => {
                if proven.iter().take(PROOFS).any(|set| set.contains(row)) {
                    return true;
                }
                let may = candidates
                    .as_ref()
                    .is_none_or(|lists| lists.iter().any(|list| list.iter().all(|set| set.contains(row))));
                may && text_passes(texts, test, plain.as_deref(), row, texts.bytes(row))
            }
            What::Kin(kindred) => kindred.passes(self, row),
            What::Row(test) => test.matches(self.view, row),
        }
    }

    /// Takes out of `open`, bits of rows of a block, those that do not pass.
    pub(super) fn narrow(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        match &part.what {
            What::All(parts) => {
                for part in parts {
                    if open.iter().all(|word| *word == 0) {
                        return;
                    }
                    self.narrow(part, block, open);
                }
            }
            What::Any(parts) => self.with_spare(open.len(), |passed| {
                passed.fill(0);
                self.with_spare(open.len(), |rest| {
                    for part in parts {
                        for ((rest, open), passed) in rest.iter_mut().zip(&*open).zip(&*passed) {
                            *rest = open & !passed;
                        }
                        if rest.iter().all(|word| *word == 0) {
                            break;
                        }
                        self.narrow(part, block, rest);
                        for (passed, rest) in passed.iter_mut().zip(&*rest) {
                            *passed |= rest;
                        }
                    }
                });
                open.copy_from_slice(passed);
            }),
            What::Not(inner) => self.with_spare(open.len(), |passed| {
                passed.copy_from_slice(open);
                let by = self.by.get();
                self.by.set(match by {
                    Narrow::Exactly => Narrow::Exactly,
                    Narrow::Loosely => Narrow::Surely,
                    Narrow::Surely => Narrow::Loosely,
                });
                self.narrow(inner, block, passed);
                self.by.set(by);
                for (open, passed) in open.iter_mut().zip(&*passed) {
                    *open &= !passed;
                }
            }),
            What::Values { passing, failing, .. } => {
                let asked = failing.as_ref().map_or(passing.len(), Vec::len);
                // A set costs about as much as asking sixty rows.
                if asked > 1 && self.by.get() == Narrow::Exactly && count(open) < asked as u64 * 60 {
                    self.sift(part, block, open);
                } else if let Some(failing) = failing {
                    failing.iter().for_each(|set| set.and_not_into(block, open));
                } else {
                    self.keep_any(passing, block, open);
                }
            }
            What::Stretch(set) => set.and_into(block, open),
            What::Sets { sets, all: true } => sets.iter().for_each(|set| set.and_into(block, open)),
            What::Sets { sets, all: false } => self.keep_any(sets, block, open),
            What::Text { proven, .. } => match self.by.get() {
                Narrow::Exactly if proven.is_empty() => {
                    self.propose(part, block, open);
                    self.sift_texts(part, block, open);
                }
                Narrow::Exactly => self.with_spare(open.len(), |sure| {
                    sure.copy_from_slice(open);
                    self.keep_any(proven, block, sure);
                    self.propose(part, block, open);
                    for (open, sure) in open.iter_mut().zip(&*sure) {
                        *open &= !sure;
                    }
                    self.sift_texts(part, block, open);
                    for (open, sure) in open.iter_mut().zip(&*sure) {
                        *open |= sure;
                    }
                }),
                Narrow::Loosely => self.propose(part, block, open),
                Narrow::Surely => self.keep_any(proven, block, open),
            },
            What::Kin(kindred) => {
                if self.by.get() == Narrow::Exactly {
                    kindred.expect(self, count(open));
                }
                match kindred.set() {
                    Some(set) => set.and_into(block, open),
                    None => self.sift(part, block, open),
                }
            }
            What::Range { .. } | What::Number { .. } | What::Row(_) => self.sift(part, block, open),
        }
    }

    /// Takes out of `open` the rows whose texts no trigram proposes.
    fn propose(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        let What::Text { candidates, .. } = &part.what else {
            return;
        };
        match candidates.as_deref() {
            None => {}
            Some([list]) => {
                for set in list {
                    set.and_into(block, open);
                    // So few texts are looked at sooner than another set.
                    if count(open) < 32 {
                        break;
                    }
                }
            }
            Some(lists) => self.with_spare(open.len(), |passed| {
                passed.fill(0);
                self.with_spare(open.len(), |rest| {
                    for list in lists {
                        rest.copy_from_slice(open);
                        list.iter().for_each(|set| set.and_into(block, rest));
                        for (passed, rest) in passed.iter_mut().zip(&*rest) {
                            *passed |= rest;
                        }
                    }
                });
                open.copy_from_slice(passed);
            }),
        }
    }

    /// Takes out of `open` what sets alone can tell not to pass.
    pub(super) fn sieve(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        self.by.set(Narrow::Loosely);
        self.narrow(part, block, open);
        self.by.set(Narrow::Exactly);
    }

    /// Keeps of some ascending offsets of a block those whose rows pass.
    pub(super) fn filter(&self, part: &Part<'_>, block: usize, offsets: &mut Vec<u16>) {
        match &part.what {
            What::All(parts) => {
                for part in parts {
                    if offsets.is_empty() {
                        return;
                    }
                    self.filter(part, block, offsets);
                }
            }
            What::Sets { sets, all } if *all || sets.len() == 1 => {
                sets.iter().for_each(|set| set.retain(block, offsets));
            }
            What::Stretch(set) => set.retain(block, offsets),
            What::Text {
                candidates: Some(lists),
                ..
            } if lists.len() == 1 => {
                // Bits are looked up at once; lists are gone through when few are left to look for.
                for set in lists[0].iter().rev() {
                    set.retain(block, offsets);
                }
                self.ask(part, block, offsets);
            }
            _ => self.ask(part, block, offsets),
        }
    }

    /// Asks each of these rows.
    fn ask(&self, part: &Part<'_>, block: usize, offsets: &mut Vec<u16>) {
        let base = base(block);
        self.look(offsets.len() as u64);
        offsets.retain(|offset| self.passes(part, base + u32::from(*offset)));
    }

    /// Keeps the rows that are in one of the sets.
    fn keep_any(&self, sets: &[&RowSet], block: usize, open: &mut [u64]) {
        if let [set] = sets {
            set.and_into(block, open);
            return;
        }
        self.with_spare(open.len(), |passed| {
            passed.fill(0);
            sets.iter().for_each(|set| set.or_into(block, passed));
            for (open, passed) in open.iter_mut().zip(&*passed) {
                *open &= passed;
            }
        });
    }

    /// Asks every row that is open.
    fn sift(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        self.sift_by(block, open, |row| self.passes(part, row));
    }

    fn sift_by(&self, block: usize, open: &mut [u64], passes: impl Fn(u32) -> bool) {
        match self.by.get() {
            Narrow::Exactly => {}
            Narrow::Loosely => return,
            Narrow::Surely => return open.fill(0),
        }
        let base = base(block);
        let mut looked = 0;
        for (index, word) in (0..).zip(open) {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                looked += 1;
                if !passes(base + index * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
        self.look(looked);
    }

    /// Lends a block of bits, whatever they are.
    fn with_spare(&self, words: usize, lend: impl FnOnce(&mut [u64])) {
        let spare = self.spare.borrow_mut().pop();
        let mut bits = spare.unwrap_or_else(|| Box::new([0; WORDS]));
        lend(&mut bits[..words]);
        self.spare.borrow_mut().push(bits);
    }
}

/// So many sets are sooner asked for a row than its text.
const PROOFS: usize = 3;

/// Rows of a rare trigram that are looked at for an estimate.
pub(super) const SAMPLE: usize = 24;

fn rows_of(sets: &[&RowSet]) -> u64 {
    sets.iter().map(|set| set.len() as u64).sum()
}

/// The first row of a block.
pub(super) fn base(block: usize) -> u32 {
    u32::try_from(block).expect("rows have 32 bits") << 16
}

pub(super) fn count(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}
