//! Tests of texts: whether one passes, and all of a block.

use super::narrow::base;
use super::part::{Part, Sources, What};
use crate::catalog::index::Texts;
use crate::filter::{Op, Program};

impl Sources<'_> {
    /// Asks the text of every row that is open, some at a time: their reads of cold memory then go on side by side.
    pub(super) fn sift_texts(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        let What::Text {
            texts, test, plain, ..
        } = &part.what
        else {
            return;
        };
        let (base, plain) = (base(block), plain.as_deref());
        let mut rows = [0; 32];
        let mut some = 0;
        let ask = |rows: &[u32], open: &mut [u64]| {
            let mut held: [&[u8]; 32] = [&[]; 32];
            for (held, &row) in held.iter_mut().zip(rows) {
                *held = texts.bytes(base + row);
            }
            std::hint::black_box(
                held.iter()
                    .fold(0, |seen, text| seen | text.first().unwrap_or(&0)),
            );
            for (text, &row) in held.iter().zip(rows) {
                if !text_passes(texts, test, plain, base + row, text) {
                    open[row as usize / 64] &= !(1 << (row % 64));
                }
            }
            self.look(rows.len() as u64);
        };
        for index in 0..open.len() {
            let mut left = open[index];
            while left != 0 {
                rows[some] = u32::try_from(index * 64).expect("a block is small") + left.trailing_zeros();
                left &= left - 1;
                some += 1;
                if some == rows.len() {
                    ask(&rows, open);
                    some = 0;
                }
            }
        }
        ask(&rows[..some], open);
    }
}

/// What an operator looks for anywhere in a text, in small letters, if that is all that it does to ASCII texts.
pub(super) fn plain_needle(op: &Op) -> Option<Box<[u8]>> {
    let needle = match op {
        Op::Contains(text) => text,
        Op::Like(pattern) => pattern.strip_prefix('%')?.strip_suffix('%')?,
        _ => return None,
    };
    let literal = matches!(op, Op::Contains(_)) || !needle.contains(['%', '_']);
    (literal && needle.is_ascii()).then(|| needle.to_ascii_lowercase().into_bytes().into_boxed_slice())
}

/// Whether `text`, that of a row, passes.
#[inline]
pub(super) fn text_passes(
    texts: &Texts,
    test: &Program,
    plain: Option<&[u8]>,
    row: u32,
    text: &[u8],
) -> bool {
    match plain {
        Some(needle) if !text.is_empty() && text.is_ascii() => holds(text, needle),
        _ => test.accepts(texts.get(row)),
    }
}

/// Whether a text has these small letters in it, in any case.
fn holds(text: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else {
        return true;
    };
    if text.len() < needle.len() {
        return false;
    }
    let starts = &text[..=text.len() - needle.len()];
    starts.iter().enumerate().any(|(at, byte)| {
        byte.to_ascii_lowercase() == first
            && (rest.iter().zip(&text[at + 1..])).all(|(wanted, byte)| byte.to_ascii_lowercase() == *wanted)
    })
}
