//! The words that texts are made of most often, and which rows have each.

use hashbrown::HashMap;

use super::lists::Lists;
use super::set::RowSet;

/// Most words that are kept.
const WORDS_MAX: usize = 1_024;
/// Longer runs of letters are no words.
const LENGTH_MAX: usize = 32;
/// Rows that are looked at to see which words are frequent.
const SAMPLE: usize = 1 << 15;

/// For each frequent word, the rows whose text has it.
///
/// A word is a run of ASCII letters with no letter before or behind it, in small letters. A text that has a word has every part of
/// it, so for letters searched for anywhere in a text, these sets *prove* most rows, and no text need be read. What they do not
/// prove is found by other means, so which words are kept is a matter of time alone. Two bytes or less a row and word.
///
/// # Invariants
///
/// * **I1** each set holds exactly the rows whose text has the word.
#[derive(Debug, Default)]
pub(super) struct Words {
    sets: HashMap<Vec<u8>, RowSet>,
    /// How many rows there were when the words were chosen.
    rows: usize,
}

impl Words {
    /// Chooses words and finds their rows.
    pub(super) fn build(rows: &RowSet, texts: &Lists<u8>) -> Self {
        let step = rows.len() / SAMPLE + 1;
        let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut word = Vec::new();
        for row in rows.iter().step_by(step) {
            each(texts.get(row), &mut word, |word| {
                *counts.entry_ref(word).or_default() += 1;
            });
        }
        let least = u32::try_from(rows.len() / step / 4_096).map_or(u32::MAX, |least| least.max(2));
        let mut frequent: Vec<(u32, Vec<u8>)> = (counts.into_iter())
            .filter(|&(_, count)| least <= count)
            .map(|(word, count)| (count, word))
            .collect();
        frequent.sort_unstable_by(|a, b| b.cmp(a));
        frequent.truncate(WORDS_MAX);
        let mut made = Self {
            sets: (frequent.into_iter())
                .map(|(_, word)| (word, RowSet::default()))
                .collect(),
            rows: rows.len(),
        };
        for row in rows.iter() {
            made.insert(row, texts.get(row));
        }
        made.sets.values_mut().for_each(RowSet::shrink);
        made
    }

    /// Whether there are so many more rows that other words may be frequent.
    pub(super) fn is_outgrown(&self, rows: usize) -> bool {
        2 * self.rows + 1_024 < rows
    }

    /// Notes the text of a row that had none.
    pub(super) fn insert(&mut self, row: u32, text: &[u8]) {
        each(text, &mut Vec::new(), |word| {
            if let Some(set) = self.sets.get_mut(word) {
                set.insert(row); // I1
            }
        });
    }

    /// Notes that a row has this text no more.
    pub(super) fn remove(&mut self, row: u32, text: &[u8]) {
        each(text, &mut Vec::new(), |word| {
            if let Some(set) = self.sets.get_mut(word) {
                set.remove(row); // I1
            }
        });
    }

    /// Rows whose texts surely hold `needle`, small letters: those that have a word with it.
    pub(super) fn with(&self, needle: &[u8]) -> Vec<&RowSet> {
        if needle.is_empty() || !needle.iter().all(u8::is_ascii_lowercase) {
            return Vec::new();
        }
        let has = |word: &[u8]| word.windows(needle.len()).any(|part| part == needle);
        let mut sets: Vec<&RowSet> = (self.sets.iter())
            .filter(|(word, _)| has(word))
            .map(|(_, set)| set)
            .collect();
        // The map's order must not show, not even in how long an answer takes.
        sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
        sets
    }
}

/// The words of a text, in small letters; one that stands in it twice comes twice.
fn each(text: &[u8], word: &mut Vec<u8>, mut take: impl FnMut(&[u8])) {
    for run in text.split(|byte| !byte.is_ascii_alphabetic()) {
        if !run.is_empty() && run.len() <= LENGTH_MAX {
            word.clear();
            word.extend(run.iter().map(u8::to_ascii_lowercase));
            take(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_prove_what_they_hold() {
        let texts = ["sync-report-1", "Report_sync", "reports", "über-sync", "", "x"];
        let rows: RowSet = (0..600).collect();
        let lists = Lists::build(&rows, 600, |row, items: &mut Vec<u8>| {
            items.extend_from_slice(texts[row as usize % 6].as_bytes());
        });
        let mut words = Words::build(&rows, &lists);
        let holds = |words: &Words, needle: &str, row: u32| {
            words.with(needle.as_bytes()).iter().any(|set| set.contains(row))
        };
        for row in 0..600 {
            let text = texts[row as usize % 6].to_lowercase();
            for needle in ["sync", "report", "por", "ber", "x"] {
                assert_eq!(
                    holds(&words, needle, row),
                    text.contains(needle),
                    "{needle} in {text}"
                );
            }
            assert!(!holds(&words, "c-r", row) && !holds(&words, "", row));
        }
        words.remove(1, b"Report_sync");
        words.insert(1, b"SYNC sync");
        assert!(holds(&words, "sync", 1) && !holds(&words, "report", 1));
        assert!(words.is_outgrown(3_000) && !words.is_outgrown(2_000));
    }
}
