//! A text for every row, and which rows hold which three bytes of it.

use hashbrown::HashMap;

use super::lists::Lists;
use super::set::RowSet;
use super::words::Words;
use crate::filter::{Op, Set, Value, fold};

/// The texts of all rows, side by side, with an index of trigrams.
///
/// A trigram is three successive bytes of the text after simple case folding. A text that contains another, letters of all cases
/// being equal, has all trigrams of it; so the rows that have them are candidates, and their texts decide.
///
/// # Invariants
///
/// * **I1** `grams[g]` holds a row exactly when the folded text of the row has the trigram `g`;
/// * **I2** a row that is gone, and one whose text is null, has no text here; `nulls` holds the latter.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    texts: Lists<u8>,
    nulls: RowSet,
    grams: HashMap<[u8; 3], RowSet>,
    words: Words,
}

impl Texts {
    /// The text of a row.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> Value<'_> {
        let bytes = self.texts.get(row);
        if bytes.is_empty() && self.nulls.contains(row) {
            return Value::Null;
        }
        Value::Text(std::str::from_utf8(bytes).unwrap_or_default())
    }

    /// The bytes of a row's text; none are those of null too.
    #[inline]
    pub(crate) fn bytes(&self, row: u32) -> &[u8] {
        self.texts.get(row)
    }

    pub(crate) fn is_null(&self, row: u32) -> bool {
        self.nulls.contains(row)
    }

    /// Makes the index of all rows at once.
    pub(crate) fn build<'a>(rows: &RowSet, bound: u32, value: impl Fn(u32) -> Value<'a>) -> Self {
        let mut made = Self::default();
        let (mut folded, mut found) = (Vec::new(), Vec::new());
        made.texts = Lists::build(rows, bound, |row, items| match value(row) {
            Value::Text(text) => {
                items.extend_from_slice(text.as_bytes());
                grams_of(text, &mut folded, &mut found);
                for &gram in &found {
                    made.grams.entry(gram).or_default().insert(row);
                }
            }
            _ => {
                made.nulls.insert(row);
            }
        });
        made.grams.values_mut().for_each(RowSet::shrink);
        made.words = Words::build(rows, &made.texts);
        made
    }

    /// Notes the text of a row, or that the row is gone; true if it is another one than before.
    pub(crate) fn update(&mut self, row: u32, value: Option<Value<'_>>) -> bool {
        let null = value.is_some_and(|value| !matches!(value, Value::Text(_)));
        let turned = if null {
            self.nulls.insert(row)
        } else {
            self.nulls.remove(row)
        };
        let text = match value {
            Some(Value::Text(text)) => text,
            _ => "",
        };
        if self.texts.get(row) == text.as_bytes() {
            return turned;
        }
        let (mut folded, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
        let old = std::str::from_utf8(self.texts.get(row)).unwrap_or_default();
        grams_of(old, &mut folded, &mut before);
        grams_of(text, &mut folded, &mut after);
        for gram in before.iter().filter(|gram| after.binary_search(gram).is_err()) {
            if let Some(set) = self.grams.get_mut(gram) {
                set.remove(row);
                if set.is_empty() {
                    self.grams.remove(gram);
                }
            }
        }
        for gram in after.iter().filter(|gram| before.binary_search(gram).is_err()) {
            self.grams.entry(*gram).or_default().insert(row);
        }
        self.words.remove(row, self.texts.get(row));
        self.texts.set(row, text.as_bytes());
        self.words.insert(row, text.as_bytes());
        true
    }

    /// Chooses words anew when the rows, which are `rows` now, have become many more.
    pub(crate) fn refresh(&mut self, rows: &RowSet) {
        if self.words.is_outgrown(rows.len()) {
            self.words = Words::build(rows, &self.texts);
        }
    }

    /// Sets of rows whose texts surely hold these small letters, each larger than the next.
    pub(crate) fn proven(&self, needle: &[u8]) -> Vec<&RowSet> {
        self.words.with(needle)
    }

    /// What a text must have for an operator to hold: one of some lists of sets must hold the row in all of its sets.
    /// `None` when the trigrams do not narrow it down.
    pub(crate) fn candidates(&self, op: &Op) -> Option<Vec<Vec<&RowSet>>> {
        match op {
            Op::Contains(text) | Op::StartsWith(text) | Op::EndsWith(text) => self.all_of(&[text]).map(one),
            Op::Like(pattern) => {
                let pieces: Vec<&str> = pattern.split(['%', '_']).collect();
                self.all_of(&pieces).map(one)
            }
            Op::In(Set::Texts(texts)) if texts.len() <= TEXTS_MAX => {
                texts.iter().map(|text| self.all_of(&[text])).collect()
            }
            _ => None,
        }
    }

    /// The sets of the trigrams of these pieces, the smallest first and only those that pay.
    fn all_of(&self, pieces: &[&str]) -> Option<Vec<&RowSet>> {
        const NOBODY: &RowSet = &RowSet::NONE;
        let (mut folded, mut found) = (Vec::new(), Vec::new());
        let mut sets = Vec::new();
        for piece in pieces {
            grams_of(piece, &mut folded, &mut found);
            sets.extend(found.iter().map(|gram| self.grams.get(gram).unwrap_or(NOBODY)));
        }
        sets.sort_by_key(|set| set.len());
        sets.truncate(GRAMS_MAX);
        (!sets.is_empty()).then_some(sets)
    }
}

/// One of so many texts or more is sooner found among them than by what each of them proposes.
const TEXTS_MAX: usize = 32;

/// Beyond so many trigrams, looking at a text is cheaper than asking for one more.
const GRAMS_MAX: usize = 6;

fn one<T>(item: T) -> Vec<T> {
    vec![item]
}

/// The trigrams of a text, ascending, each once.
fn grams_of(text: &str, folded: &mut Vec<u8>, found: &mut Vec<[u8; 3]>) {
    folded.clear();
    found.clear();
    if text.is_ascii() {
        folded.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        let mut buffer = [0; 4];
        for c in text.chars() {
            folded.extend_from_slice(fold(c).encode_utf8(&mut buffer).as_bytes());
        }
    }
    found.extend(folded.windows(3).map(|three| [three[0], three[1], three[2]]));
    found.sort_unstable();
    found.dedup();
}
