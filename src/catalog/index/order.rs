//! The rows of a table in the order of a sort.

use std::cmp::Ordering;

/// Most rows in a chunk; a full one is cut in two.
const CHUNK: usize = 512;
/// Rows in a chunk when all are put in at once.
const FILL: usize = 384;

/// The home of a row that is not in.
const NOWHERE: u32 = u32::MAX;

/// Row numbers in an order that the caller's comparison gives, in chunks; every row knows its chunk.
///
/// About ten bytes a row. Putting a row in takes some twenty comparisons; taking it out, or asking where it stands, takes none.
///
/// # Invariants
///
/// * **I1** the chunks of `sequence`, one after the other, are in order; none of them is empty;
/// * **I2** `homes[row]` is the chunk that holds the row; `ordinals[chunk]` is that chunk's place in `sequence`;
/// * **I3** `len` is the number of rows.
#[derive(Debug, Default)]
pub(crate) struct Order {
    chunks: Vec<Vec<u32>>,
    sequence: Vec<u32>,
    ordinals: Vec<u32>,
    vacant: Vec<u32>,
    homes: Vec<u32>,
    len: usize,
}

impl Order {
    /// Takes rows that are in order already.
    pub(crate) fn of(rows: &[u32]) -> Self {
        let mut made = Self {
            len: rows.len(),
            ..Self::default()
        };
        for rows in rows.chunks(FILL) {
            let chunk = number(made.chunks.len());
            for &row in rows {
                made.house(row, chunk);
            }
            made.chunks.push(rows.to_vec());
            made.sequence.push(chunk);
        }
        made.homes.shrink_to_fit();
        made.count_off(0);
        made
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The rows from `place` on.
    pub(crate) fn from(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        let rest = self.sequence.get(place.chunk..).unwrap_or_default();
        let mut skip = place.slot;
        rest.iter().flat_map(move |&chunk| {
            let rows = &self.chunks[chunk as usize];
            let from = std::mem::take(&mut skip).min(rows.len());
            rows[from..].iter().copied()
        })
    }

    /// How many rows lie between two places.
    pub(crate) fn len_between(&self, start: Place, end: Place) -> usize {
        let chunks = self.sequence.get(start.chunk..end.chunk).unwrap_or_default();
        let rows: usize = chunks
            .iter()
            .map(|&chunk| self.chunks[chunk as usize].len())
            .sum();
        (rows + end.slot).saturating_sub(start.slot)
    }

    /// The first place whose row is not `before`.
    pub(crate) fn search(&self, mut before: impl FnMut(u32) -> bool) -> Place {
        let chunk = self
            .sequence
            .partition_point(|&chunk| self.chunks[chunk as usize].last().is_some_and(|&row| before(row)));
        let slot = self.sequence.get(chunk).map_or(0, |&chunk| {
            self.chunks[chunk as usize].partition_point(|&row| before(row))
        });
        Place { chunk, slot }
    }

    /// Puts in a row that is not in.
    pub(crate) fn insert(&mut self, row: u32, order: impl Fn(u32, u32) -> Ordering) {
        let mut place = self.search(|other| order(other, row).is_lt());
        if self.sequence.is_empty() {
            let chunk = self.vacate();
            self.sequence.push(chunk);
            self.count_off(0);
        } else if place.chunk == self.sequence.len() {
            // After the last row: into the last chunk.
            place.chunk -= 1;
            place.slot = self.rows_at(place.chunk).len();
        }
        let chunk = self.sequence[place.chunk];
        self.chunks[chunk as usize].insert(place.slot, row);
        self.house(row, chunk);
        self.len += 1;
        if CHUNK < self.chunks[chunk as usize].len() {
            self.cut(place.chunk);
        }
    }

    /// Takes a row out; false if it was not in.
    pub(crate) fn remove(&mut self, row: u32) -> bool {
        let Some(home) = self.homes.get_mut(row as usize) else {
            return false;
        };
        let chunk = std::mem::replace(home, NOWHERE);
        if chunk == NOWHERE {
            return false;
        }
        let rows = &mut self.chunks[chunk as usize];
        let slot = rows.iter().position(|&other| other == row);
        rows.remove(slot.expect("a row is in its home (I2)"));
        self.len -= 1;
        if rows.is_empty() {
            let ordinal = self.ordinals[chunk as usize] as usize;
            self.sequence.remove(ordinal);
            self.vacant.push(chunk); // I1
            self.count_off(ordinal);
        }
        true
    }

    /// Puts `rows`, each of which is in, in order, and keeps of them what lies in the window.
    pub(crate) fn window(&self, rows: Vec<u32>, skip: usize, take: usize) -> Vec<u32> {
        let reach = skip.saturating_add(take).min(rows.len());
        // First by chunk, which takes two reads; then, only where it matters, inside the chunks.
        let mut keyed: Vec<u64> = rows
            .into_iter()
            .map(|row| u64::from(self.ordinals[self.homes[row as usize] as usize]) << 32 | u64::from(row))
            .collect();
        if reach < keyed.len() / 2 && reach > 0 {
            keyed.select_nth_unstable(reach - 1);
            // Rows of the last chunk that counts must all stay until they are told apart.
            let last = keyed[reach - 1] >> 32;
            keyed.retain(|key| key >> 32 <= last);
        }
        keyed.sort_unstable();
        let mut sorted = Vec::with_capacity(reach);
        for group in keyed.chunk_by(|a, b| a >> 32 == b >> 32) {
            if sorted.len() >= reach {
                break;
            }
            let row = |key: &u64| u32::try_from(key & u64::from(u32::MAX)).expect("32 bits");
            if let [only] = group {
                sorted.push(row(only));
                continue;
            }
            let members = self.rows_at(usize::try_from(group[0] >> 32).expect("32 bits"));
            // The group ascends by row number.
            if group.len() * 4 < members.len() {
                let mut slots: Vec<(usize, u32)> = group
                    .iter()
                    .filter_map(|key| Some((members.iter().position(|&other| other == row(key))?, row(key))))
                    .collect();
                slots.sort_unstable();
                sorted.extend(slots.into_iter().map(|(_, row)| row));
            } else {
                let is_in = |member: &u32| group.binary_search_by_key(member, row).is_ok();
                sorted.extend(members.iter().copied().filter(is_in));
            }
        }
        sorted.truncate(reach);
        sorted.drain(..skip.min(sorted.len()));
        sorted
    }

    fn rows_at(&self, ordinal: usize) -> &[u32] {
        &self.chunks[self.sequence[ordinal] as usize]
    }

    fn house(&mut self, row: u32, chunk: u32) {
        if self.homes.len() <= row as usize {
            self.homes.resize(row as usize + 1, NOWHERE);
        }
        self.homes[row as usize] = chunk; // I2
    }

    fn vacate(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.chunks.push(Vec::new());
            number(self.chunks.len() - 1)
        })
    }

    fn cut(&mut self, ordinal: usize) {
        let full = self.sequence[ordinal] as usize;
        // Rows that come in ascending order leave full chunks behind them.
        let at = if ordinal + 1 == self.sequence.len() {
            FILL
        } else {
            CHUNK / 2
        };
        let rows = self.chunks[full].split_off(at);
        let chunk = self.vacate();
        for &row in &rows {
            self.house(row, chunk);
        }
        self.chunks[chunk as usize] = rows;
        self.sequence.insert(ordinal + 1, chunk);
        self.count_off(ordinal);
    }

    /// Numbers the chunks from `first` on.
    fn count_off(&mut self, first: usize) {
        self.ordinals.resize(self.chunks.len(), 0);
        for (ordinal, &chunk) in self.sequence.iter().enumerate().skip(first) {
            self.ordinals[chunk as usize] = number(ordinal);
        }
    }

    #[cfg(test)]
    pub(crate) fn check(&self, order: impl Fn(u32, u32) -> Ordering) {
        let rows: Vec<u32> = self.from(Place::FIRST).collect();
        assert!(
            rows.is_sorted_by(|&a, &b| order(a, b).is_lt()),
            "I1 broken: order"
        );
        assert_eq!(rows.len(), self.len, "I3 broken");
        for (ordinal, &chunk) in self.sequence.iter().enumerate() {
            assert!(!self.chunks[chunk as usize].is_empty(), "I1 broken: empty chunk");
            assert_eq!(self.ordinals[chunk as usize] as usize, ordinal, "I2 broken");
            for &row in &self.chunks[chunk as usize] {
                assert_eq!(self.homes[row as usize], chunk, "I2 broken: row {row}");
            }
        }
        let housed = self.homes.iter().filter(|&&home| home != NOWHERE).count();
        assert_eq!(housed, self.len, "I2 broken: a row that is not in has a home");
    }
}

/// A place in an [`Order`], until it changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    chunk: usize,
    slot: usize,
}

impl Place {
    pub(crate) const FIRST: Self = Self { chunk: 0, slot: 0 };
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer chunks than rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn rows_stay_in_order_and_windows_are_cut_from_it(
            built in prop::collection::btree_set(0_u32..3_000, 0..2_000),
            ops in prop::collection::vec((any::<bool>(), 0_u32..3_000), 0..1_500),
            picked in prop::collection::btree_set(0_u32..3_000, 0..900),
            (skip, take) in (0_usize..40, 0_usize..300),
        ) {
            // An order that is not that of the numbers.
            let key = |row: u32| (row.wrapping_mul(0x9E37_79B1) >> 7, row);
            let order = |a: u32, b: u32| key(a).cmp(&key(b));
            let mut rows: Vec<u32> = built.iter().copied().collect();
            rows.sort_by(|&a, &b| order(a, b));
            let (mut kept, mut model) = (Order::of(&rows), built);
            kept.check(order);
            for (insert, row) in ops {
                if insert {
                    if model.insert(row) {
                        kept.insert(row, order);
                    }
                } else {
                    prop_assert_eq!(kept.remove(row), model.remove(&row));
                }
            }
            kept.check(order);
            let mut expected: Vec<u32> = model.iter().copied().collect();
            expected.sort_by(|&a, &b| order(a, b));
            prop_assert!(kept.from(Place::FIRST).eq(expected.iter().copied()));
            let bar = key(1_500);
            let from = kept.search(|row| key(row) < bar);
            let to = kept.search(|row| key(row) < key(2_500));
            let count = |bar| expected.iter().filter(|&&row| key(row) < bar).count();
            prop_assert_eq!(kept.len_between(from, to), count(key(2_500)).saturating_sub(count(bar)));
            prop_assert!(kept.from(from).eq(expected.iter().copied().filter(|&row| key(row) >= bar)));
            let some: BTreeSet<u32> = picked.intersection(&model).copied().collect();
            let window: Vec<u32> = expected.iter().copied().filter(|row| some.contains(row)).skip(skip).take(take).collect();
            prop_assert_eq!(kept.window(some.into_iter().collect(), skip, take), window);
        }
    }
}
