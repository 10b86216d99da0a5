//! One value for every row, of which there are few different ones.

use std::sync::Arc;

use hashbrown::HashMap;

use super::codes::{Codes, NONE};
use super::set::RowSet;
use crate::filter::{Owned, Value};

/// An inverted index: for each value, the rows that have it; for each row, which value.
///
/// One byte a row (two or four where values are many) and about two more for its place in a set. A change costs a comparison, and if the value is
/// another one, two sets.
///
/// # Invariants
///
/// * **I1** the code of a row is `c` exactly when `sets[c]` holds the row, and no other set does;
/// * **I2** `numbers` leads from each value that some row has to its code; the other codes are in `vacant`.
#[derive(Debug, Default)]
pub(crate) struct Values {
    codes: Codes,
    keys: Vec<Owned>,
    sets: Vec<RowSet>,
    numbers: HashMap<Owned, u32>,
    vacant: Vec<u32>,
}

impl Values {
    /// How many different values the rows have.
    pub(crate) fn distinct(&self) -> usize {
        self.numbers.len()
    }

    /// Codes are below this.
    pub(crate) fn bound(&self) -> usize {
        self.keys.len()
    }

    /// The values that some row has, with their codes and rows.
    pub(crate) fn each(&self) -> impl Iterator<Item = (u32, &Owned, &RowSet)> {
        (0..)
            .zip(self.keys.iter().zip(&self.sets))
            .filter(|(_, (_, set))| !set.is_empty())
            .map(|(code, (key, set))| (code, key, set))
    }

    /// The code of a value.
    pub(crate) fn code(&self, key: &Owned) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    pub(crate) fn set(&self, code: u32) -> &RowSet {
        &self.sets[code as usize]
    }

    /// The code of a row's value; `u32::MAX` when there is no such row.
    #[inline]
    pub(crate) fn of(&self, row: u32) -> u32 {
        self.codes.get(row)
    }

    /// Notes the value of a row, or that the row is gone.
    pub(crate) fn update(&mut self, row: u32, value: Option<Value<'_>>) {
        let before = self.of(row);
        match value {
            None if before == NONE => return,
            Some(value) if before != NONE && self.keys[before as usize].is(value) => return,
            _ => {}
        }
        if before != NONE {
            self.sets[before as usize].remove(row);
            if self.sets[before as usize].is_empty() {
                let key = std::mem::replace(&mut self.keys[before as usize], Owned::Null);
                self.numbers.remove(&key);
                self.sets[before as usize] = RowSet::default();
                self.vacant.push(before); // I2
            }
        }
        let after = value.map_or(NONE, |value| self.number(Owned::of(value)));
        self.codes.set(row, after);
        if after != NONE {
            self.sets[after as usize].insert(row); // I1
        }
    }

    fn number(&mut self, key: Owned) -> u32 {
        if let Some(&code) = self.numbers.get(&key) {
            return code;
        }
        let code = self.vacant.pop().unwrap_or_else(|| {
            self.keys.push(Owned::Null);
            self.sets.push(RowSet::default());
            u32::try_from(self.sets.len() - 1).expect("fewer values than rows")
        });
        self.keys[code as usize] = key.clone();
        self.numbers.insert(key, code);
        code
    }

    pub(crate) fn shrink(&mut self) {
        self.codes.shrink();
        self.sets.iter_mut().for_each(RowSet::shrink);
    }
}

/// The tags of every row, and for each tag the rows that have it.
///
/// Four bytes a tag of a row, as many for the row, and two or less for each place in a set.
#[derive(Debug, Default)]
pub(crate) struct TagLists {
    lists: super::lists::Lists<u32>,
    sets: Vec<RowSet>,
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    vacant: Vec<u32>,
    /// Rows without a tag.
    untagged: RowSet,
}

impl TagLists {
    /// The rows that have this tag.
    pub(crate) fn with(&self, tag: &str) -> Option<&RowSet> {
        self.numbers.get(tag).map(|&code| &self.sets[code as usize])
    }

    /// The rows that have no tag.
    pub(crate) fn untagged(&self) -> &RowSet {
        &self.untagged
    }

    /// Makes the lists of all rows at once.
    pub(crate) fn build<'a>(rows: &RowSet, bound: u32, value: impl Fn(u32) -> Value<'a>) -> Self {
        let mut made = Self::default();
        let mut codes = Vec::new();
        made.lists = super::lists::Lists::build(rows, bound, |row, items| {
            made_codes(
                &mut made.numbers,
                &mut made.names,
                &mut made.sets,
                &mut made.vacant,
                value(row),
                &mut codes,
            );
            for &code in &codes {
                made.sets[code as usize].insert(row);
            }
            if codes.is_empty() {
                made.untagged.insert(row);
            }
            items.extend_from_slice(&codes);
        });
        made.sets.iter_mut().for_each(RowSet::shrink);
        made.untagged.shrink();
        made
    }

    /// Notes the tags of a row, or that the row is gone.
    pub(crate) fn update(&mut self, row: u32, value: Option<Value<'_>>) {
        let mut codes = Vec::new();
        if let Some(value) = value {
            made_codes(
                &mut self.numbers,
                &mut self.names,
                &mut self.sets,
                &mut self.vacant,
                value,
                &mut codes,
            );
        }
        let before = self.lists.get(row).to_vec();
        for &code in before.iter().filter(|code| !codes.contains(code)) {
            self.sets[code as usize].remove(row);
        }
        for &code in codes.iter().filter(|code| !before.contains(code)) {
            self.sets[code as usize].insert(row);
        }
        for &code in before.iter().filter(|code| !codes.contains(code)) {
            if self.sets[code as usize].is_empty() {
                let name = std::mem::replace(&mut self.names[code as usize], "".into());
                self.numbers.remove(&name);
                self.sets[code as usize] = RowSet::default();
                self.vacant.push(code);
            }
        }
        if value.is_some() && codes.is_empty() {
            self.untagged.insert(row);
        } else {
            self.untagged.remove(row);
        }
        self.lists.set(row, &codes);
    }
}

/// The codes of a list of tags, ascending, each once; new tags get one.
fn made_codes(
    numbers: &mut HashMap<Arc<str>, u32>,
    names: &mut Vec<Arc<str>>,
    sets: &mut Vec<RowSet>,
    vacant: &mut Vec<u32>,
    value: Value<'_>,
    codes: &mut Vec<u32>,
) {
    codes.clear();
    let Value::Tags(tags) = value else { return };
    for tag in tags.iter() {
        let code = numbers.get(tag).copied().unwrap_or_else(|| {
            let code = vacant.pop().unwrap_or_else(|| {
                names.push("".into());
                sets.push(RowSet::default());
                u32::try_from(sets.len() - 1).expect("fewer tags than bytes of memory")
            });
            let name: Arc<str> = tag.into();
            names[code as usize] = name.clone();
            numbers.insert(name, code);
            code
        });
        codes.push(code);
    }
    codes.sort_unstable();
    codes.dedup();
}
