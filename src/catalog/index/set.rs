//! Sets of row numbers.

/// Rows in a block: what one chunk of a set covers, and what an evaluation works on at a time.
const BLOCK: usize = 1 << 16;
/// Words of a block.
pub(crate) const WORDS: usize = BLOCK / 64;
/// Beyond so many rows, a chunk is kept as bits: they are then the smaller form.
const FEW: usize = 4_096;

/// A set of rows, in chunks of 65,536: a sorted list of two-byte offsets where rows are few, bits where they are many.
///
/// Asking for a row takes constant time in a chunk of bits and a dozen comparisons in a list.
///
/// # Invariants
///
/// * **I1** a list is ascending and holds at most 4,096 offsets;
/// * **I2** `len` is the number of rows in all chunks, and a chunk of bits knows how many it holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSet {
    chunks: Vec<Chunk>,
    len: u32,
}

#[derive(Clone, Debug)]
enum Chunk {
    Few(Vec<u16>),
    Many(Box<[u64; WORDS]>, u32),
}

impl RowSet {
    /// The empty set.
    pub(crate) const NONE: Self = Self {
        chunks: Vec::new(),
        len: 0,
    };

    /// The rows whose bits are set.
    pub(crate) fn of_bits(words: &[u64]) -> Self {
        let mut made = Self::default();
        for words in words.chunks(WORDS) {
            let len: u32 = words.iter().map(|word| word.count_ones()).sum();
            made.chunks.push(if len as usize <= FEW {
                Chunk::Few(bits(words).map(low).collect())
            } else {
                let mut held = Box::new([0; WORDS]);
                held[..words.len()].copy_from_slice(words);
                Chunk::Many(held, len)
            });
            made.len += len; // I2
        }
        made
    }

    /// How many rows are in it.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
        let (chunk, offset) = split(row);
        match self.chunks.get(chunk) {
            None => false,
            Some(Chunk::Few(offsets)) => offsets.binary_search(&offset).is_ok(),
            Some(Chunk::Many(words, _)) => words[offset as usize / 64] >> (offset % 64) & 1 == 1,
        }
    }

    /// Puts a row in; false if it was there.
    pub(crate) fn insert(&mut self, row: u32) -> bool {
        let (chunk, offset) = split(row);
        while self.chunks.len() <= chunk {
            self.chunks.push(Chunk::Few(Vec::new()));
        }
        let added = match &mut self.chunks[chunk] {
            Chunk::Few(offsets) => {
                // Rows mostly come in ascending order.
                let at = if offsets.last().is_none_or(|&last| last < offset) {
                    Err(offsets.len())
                } else {
                    offsets.binary_search(&offset)
                };
                at.map_err(|at| offsets.insert(at, offset)).is_err()
            }
            Chunk::Many(words, len) => {
                let (word, bit) = (&mut words[offset as usize / 64], 1 << (offset % 64));
                let added = *word & bit == 0;
                *word |= bit;
                *len += u32::from(added);
                added
            }
        };
        self.len += u32::from(added);
        if let Chunk::Few(offsets) = &self.chunks[chunk]
            && FEW < offsets.len()
        {
            self.chunks[chunk] = as_bits(offsets);
        }
        added
    }

    /// Takes a row out; false if it was not there.
    pub(crate) fn remove(&mut self, row: u32) -> bool {
        let (chunk, offset) = split(row);
        let Some(held) = self.chunks.get_mut(chunk) else {
            return false;
        };
        let removed = match held {
            Chunk::Few(offsets) => offsets
                .binary_search(&offset)
                .map(|at| offsets.remove(at))
                .is_ok(),
            Chunk::Many(words, len) => {
                let (word, bit) = (&mut words[offset as usize / 64], 1 << (offset % 64));
                let removed = *word & bit != 0;
                *word &= !bit;
                *len -= u32::from(removed);
                removed
            }
        };
        self.len -= u32::from(removed);
        // Well below the bound, so that a set at the bound does not change its form with every row.
        if let Chunk::Many(words, len) = held
            && (*len as usize) < FEW / 2
        {
            *held = Chunk::Few(bits(&words[..]).map(low).collect());
        }
        removed
    }

    /// The rows, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.chunks).flat_map(|(chunk, held)| {
            let base: u32 = chunk << 16;
            let (few, many) = match held {
                Chunk::Few(offsets) => (Some(offsets.iter().map(|&offset| u32::from(offset))), None),
                Chunk::Many(words, _) => (None, Some(bits(&words[..]))),
            };
            few.into_iter()
                .flatten()
                .chain(many.into_iter().flatten())
                .map(move |offset| base | offset)
        })
    }

    /// Adds the rows of a block to `out`.
    pub(crate) fn or_into(&self, block: usize, out: &mut [u64]) {
        match self.chunks.get(block) {
            None => {}
            Some(Chunk::Few(offsets)) => {
                for &offset in offsets {
                    if let Some(word) = out.get_mut(offset as usize / 64) {
                        *word |= 1 << (offset % 64);
                    }
                }
            }
            Some(Chunk::Many(words, _)) => {
                for (out, word) in out.iter_mut().zip(&words[..]) {
                    *out |= word;
                }
            }
        }
    }

    /// Keeps of `out` the rows of a block that are in the set.
    pub(crate) fn and_into(&self, block: usize, out: &mut [u64]) {
        match self.chunks.get(block) {
            None => out.fill(0),
            Some(Chunk::Few(offsets)) => {
                // From one offset to the next, what lies between goes.
                let mut next = 0;
                for same in offsets.chunk_by(|a, b| a / 64 == b / 64) {
                    let index = same[0] as usize / 64;
                    let Some(word) = out.get_mut(index) else { break };
                    *word &= same.iter().fold(0, |kept, offset| kept | 1 << (offset % 64));
                    out[next..index].fill(0);
                    next = index + 1;
                }
                out.get_mut(next..).unwrap_or_default().fill(0);
            }
            Some(Chunk::Many(words, _)) => {
                for (out, word) in out.iter_mut().zip(&words[..]) {
                    *out &= word;
                }
            }
        }
    }

    /// Takes the rows of the set out of `out`.
    pub(crate) fn and_not_into(&self, block: usize, out: &mut [u64]) {
        match self.chunks.get(block) {
            None => {}
            Some(Chunk::Few(offsets)) => {
                for &offset in offsets {
                    if let Some(word) = out.get_mut(offset as usize / 64) {
                        *word &= !(1 << (offset % 64));
                    }
                }
            }
            Some(Chunk::Many(words, _)) => {
                for (out, word) in out.iter_mut().zip(&words[..]) {
                    *out &= !word;
                }
            }
        }
    }

    /// How many blocks there are up to the last row.
    pub(crate) fn blocks(&self) -> usize {
        self.chunks.len()
    }

    /// Adds the offsets of a block's rows to `out`, ascending.
    pub(crate) fn offsets(&self, block: usize, out: &mut Vec<u16>) {
        match self.chunks.get(block) {
            None => {}
            Some(Chunk::Few(offsets)) => out.extend_from_slice(offsets),
            Some(Chunk::Many(words, _)) => out.extend(bits(&words[..]).map(low)),
        }
    }

    /// Keeps of some ascending offsets of a block those in the set.
    pub(crate) fn retain(&self, block: usize, offsets: &mut Vec<u16>) {
        match self.chunks.get(block) {
            None => offsets.clear(),
            Some(Chunk::Many(words, _)) => {
                let mut kept = 0;
                for at in 0..offsets.len() {
                    let offset = offsets[at];
                    // Written in any case: there is no branch to guess wrong.
                    offsets[kept] = offset;
                    kept += usize::from(words[offset as usize / 64] >> (offset % 64) & 1 == 1);
                }
                offsets.truncate(kept);
            }
            Some(Chunk::Few(held)) => {
                let mut rest = &held[..];
                offsets.retain(|offset| {
                    rest = &rest[ahead(rest, *offset)..];
                    rest.first() == Some(offset)
                });
            }
        }
    }

    /// Gives back what the lists have grown beyond their length.
    pub(crate) fn shrink(&mut self) {
        self.chunks.shrink_to_fit();
        for chunk in &mut self.chunks {
            if let Chunk::Few(offsets) = chunk {
                offsets.shrink_to_fit();
            }
        }
    }
}

impl FromIterator<u32> for RowSet {
    fn from_iter<I: IntoIterator<Item = u32>>(rows: I) -> Self {
        let mut set = Self::default();
        for row in rows {
            set.insert(row);
        }
        set
    }
}

/// The positions of the bits that are set, ascending.
pub(crate) fn bits(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    (0..).zip(words).flat_map(|(index, &word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(index * 64 + bit)
        })
    })
}

/// How many of some ascending offsets lie before `wanted`, which is not far: steps that double, then halves.
fn ahead(offsets: &[u16], wanted: u16) -> usize {
    let mut step = 1;
    while step < offsets.len() && offsets[step] < wanted {
        step *= 2;
    }
    let (low, high) = (step / 2, offsets.len().min(step + 1));
    low + offsets[low..high].partition_point(|&offset| offset < wanted)
}

fn split(row: u32) -> (usize, u16) {
    ((row >> 16) as usize, low(row))
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(row: u32) -> u16 {
    row as u16
}

fn as_bits(offsets: &[u16]) -> Chunk {
    let mut words = Box::new([0; WORDS]);
    for &offset in offsets {
        words[offset as usize / 64] |= 1 << (offset % 64);
    }
    let len = u32::try_from(offsets.len()).expect("a chunk holds at most 65,536 rows");
    Chunk::Many(words, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_set_holds_what_was_put_in_and_not_taken_out(
            runs in prop::collection::vec((any::<bool>(), 0_u32..140_000, 1_u32..6_000), 1..12)
        ) {
            let (mut set, mut model) = (RowSet::default(), BTreeSet::new());
            for (insert, from, count) in runs {
                for row in from..from + count {
                    if insert {
                        prop_assert_eq!(set.insert(row), model.insert(row));
                    } else {
                        prop_assert_eq!(set.remove(row), model.remove(&row));
                    }
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert!(set.iter().eq(model.iter().copied()));
            }
            let mut words = vec![0_u64; 3 * WORDS];
            model.iter().for_each(|&row| words[row as usize / 64] |= 1 << (row % 64));
            let made = RowSet::of_bits(&words);
            prop_assert_eq!(made.len(), model.len());
            prop_assert!(made.iter().eq(model.iter().copied()));
            prop_assert!(model.iter().all(|&row| made.contains(row)));
            for block in 0..3 {
                let base = u32::try_from(block * BLOCK).unwrap();
                let expected: Vec<bool> = (0..BLOCK).map(|n| model.contains(&(base + u32::try_from(n).unwrap()))).collect();
                let is = |words: &[u64]| (0..BLOCK).map(|n| words[n / 64] >> (n % 64) & 1 == 1).collect::<Vec<_>>();
                let (mut or, mut and, mut not) = ([0; WORDS], [u64::MAX; WORDS], [u64::MAX; WORDS]);
                set.or_into(block, &mut or);
                set.and_into(block, &mut and);
                set.and_not_into(block, &mut not);
                prop_assert_eq!(&is(&or), &expected);
                prop_assert_eq!(&is(&and), &expected);
                prop_assert!(is(&not).iter().zip(&expected).all(|(a, b)| a != b));
                for row in (base..base + 65_536).step_by(997) {
                    prop_assert_eq!(set.contains(row), model.contains(&row));
                }
                let mut all = Vec::new();
                set.offsets(block, &mut all);
                prop_assert!(all.iter().map(|&offset| offset as usize).eq((0..BLOCK).filter(|&n| expected[n])));
                for step in [1, 7, 500, 9_001] {
                    let mut kept: Vec<u16> = (0..BLOCK).step_by(step).map(|n| low(u32::try_from(n).unwrap())).collect();
                    set.retain(block, &mut kept);
                    prop_assert!(kept.iter().map(|&offset| offset as usize).eq((0..BLOCK).step_by(step).filter(|&n| expected[n])));
                }
            }
        }
    }
}
