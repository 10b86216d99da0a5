//! A short list for every row, close together.

use super::set::RowSet;

/// Rows in a chunk: what is copied when one list changes. So few that where a list lies fits a cache line.
const CHUNK: usize = 16;

/// Lists of small items (the bytes of a name, the numbers of tags), 16 rows to an allocation.
///
/// A row costs its items and five bytes. Changing a list copies its chunk; an equal list changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists<T> {
    chunks: Vec<Chunk<T>>,
}

#[derive(Clone, Debug)]
struct Chunk<T> {
    items: Box<[T]>,
    /// Where each list ends.
    ends: [u32; CHUNK],
}

impl<T: Copy + Eq> Lists<T> {
    /// The list of a row; empty for one that was never set.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> &[T] {
        let (chunk, slot) = (row as usize / CHUNK, row as usize % CHUNK);
        self.chunks.get(chunk).map_or(&[], |chunk| chunk.get(slot))
    }

    /// Replaces the list of a row.
    pub(crate) fn set(&mut self, row: u32, list: &[T]) {
        if self.get(row) == list {
            return;
        }
        let (chunk, slot) = (row as usize / CHUNK, row as usize % CHUNK);
        while self.chunks.len() <= chunk {
            self.chunks.push(Chunk {
                items: Box::default(),
                ends: [0; CHUNK],
            });
        }
        let held = &mut self.chunks[chunk];
        let lists: Vec<T> = (0..CHUNK)
            .flat_map(|n| if n == slot { list } else { held.get(n) })
            .copied()
            .collect();
        let (before, after) = (held.get(slot).len(), list.len());
        for end in &mut held.ends[slot..] {
            *end = u32::try_from(*end as usize - before + after).expect("16 short lists");
        }
        held.items = lists.into_boxed_slice();
    }

    /// Lists for every row of `rows` at once.
    pub(crate) fn build(rows: &RowSet, bound: u32, mut list: impl FnMut(u32, &mut Vec<T>)) -> Self {
        let mut chunks = Vec::with_capacity((bound as usize).div_ceil(CHUNK));
        let mut items = Vec::new();
        let mut row = 0;
        while row < bound {
            items.clear();
            let mut ends = [0; CHUNK];
            for end in &mut ends {
                if rows.contains(row) {
                    list(row, &mut items);
                }
                *end = u32::try_from(items.len()).expect("16 short lists");
                row += 1;
            }
            chunks.push(Chunk {
                items: items.as_slice().into(),
                ends,
            });
        }
        Self { chunks }
    }
}

impl<T> Chunk<T> {
    #[inline]
    fn get(&self, slot: usize) -> &[T] {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.items[start as usize..self.ends[slot] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_a_chunk_change_without_each_other() {
        let rows: RowSet = (0..200).collect();
        let mut lists = Lists::build(&rows, 200, |row, items: &mut Vec<u8>| {
            items.extend(std::iter::repeat_n(7, row as usize % 5));
        });
        lists.set(70, b"seventy");
        lists.set(64, b"");
        lists.set(500, b"far");
        for row in 0..600 {
            let expected: &[u8] = match row {
                70 => b"seventy",
                64 => b"",
                500 => b"far",
                0..200 => &[7; 4][..row as usize % 5],
                _ => b"",
            };
            assert_eq!(lists.get(row), expected, "row {row}");
        }
    }
}
