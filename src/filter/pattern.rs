//! Text against text: SQL `LIKE`, and search by Unicode case folding. Neither allocates while it searches.

/// The simple (one character to one character) case folding of Unicode.
#[must_use]
pub(crate) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    unicode_case_mapping::case_folded(c)
        .and_then(|folded| char::from_u32(folded.get()))
        .unwrap_or(c)
}

/// A `LIKE` pattern, taken apart.
///
/// Time is the product of text and pattern at worst, the length of the text for patterns without `_`
/// that start to match rarely.
#[derive(Clone, Debug)]
pub(crate) struct Like {
    /// The pieces between the `%`, in lower case. There is at least one; `n` pieces had `n - 1` `%` between them.
    pieces: Box<[Box<[u8]>]>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    /// No `_`, and `%piece%`: a plain search.
    Inside,
    /// No `_` at all.
    Literal,
    /// Some `_`.
    Wild,
}

impl Like {
    pub(crate) fn new(pattern: &str) -> Self {
        let pieces: Box<[Box<[u8]>]> = pattern
            .split('%')
            .map(|piece| piece.to_ascii_lowercase().into_bytes().into_boxed_slice())
            .collect();
        let shape = if pattern.contains('_') {
            Shape::Wild
        } else if pieces.len() == 3 && pieces[0].is_empty() && pieces[2].is_empty() {
            Shape::Inside
        } else {
            Shape::Literal
        };
        Self { pieces, shape }
    }

    #[inline]
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = text.as_bytes();
        match self.shape {
            Shape::Inside => find(text, &self.pieces[1]).is_some(),
            Shape::Literal => self.walk(text, literal_at, find),
            Shape::Wild => self.walk(text, wild_at, |text, piece| {
                let mut start = 0;
                loop {
                    if let Some(end) = wild_at(&text[start..], piece) {
                        return Some(start + end);
                    }
                    start += char_len(*text.get(start)?);
                }
            }),
        }
    }

    /// The first piece at the start, the last at the end, the others leftmost in between, which is enough: if any
    /// arrangement fits, the leftmost one does.
    fn walk(
        &self,
        text: &[u8],
        at: impl Fn(&[u8], &[u8]) -> Option<usize>,
        search: impl Fn(&[u8], &[u8]) -> Option<usize>,
    ) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some(mut position) = at(text, first) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return position == text.len();
        };
        for piece in middle {
            let Some(end) = search(&text[position..], piece) else {
                return false;
            };
            position += end;
        }
        let Some(start) = start_of_last(&text[position..], last) else {
            return false;
        };
        at(&text[position + start..], last).is_some_and(|end| position + start + end == text.len())
    }
}

/// Where the last piece must start so that it ends with the text: as many characters before the end as it has.
fn start_of_last(text: &[u8], piece: &[u8]) -> Option<usize> {
    let characters = piece.iter().filter(|&&byte| !is_continuation(byte)).count();
    let mut start = text.len();
    for _ in 0..characters {
        start = start.checked_sub(1)?;
        while is_continuation(text[start]) {
            start = start.checked_sub(1)?;
        }
    }
    Some(start)
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Length of the character that starts with this byte of valid UTF-8.
const fn char_len(first: u8) -> usize {
    match first {
        0..=0xBF => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0.. => 4,
    }
}

/// Length of `piece` if `text` starts with it.
fn literal_at(text: &[u8], piece: &[u8]) -> Option<usize> {
    let head = text.get(..piece.len())?;
    head.iter()
        .zip(piece)
        .all(|(a, b)| a.to_ascii_lowercase() == *b)
        .then_some(piece.len())
}

/// The end of the first occurrence of `piece`, which is in lower case, in `text`.
fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    let Some(&first) = piece.first() else {
        return Some(0);
    };
    let starts = text.get(..=text.len().checked_sub(piece.len())?)?;
    // One bit tells the cases of a letter apart; with it set, both are the small letter.
    let case = if first.is_ascii_alphabetic() { 0x20 } else { 0 };
    let found = starts
        .iter()
        .enumerate()
        .position(|(start, byte)| byte | case == first && literal_at(&text[start..], piece).is_some())?;
    Some(found + piece.len())
}

/// How many bytes of `text` the piece covers if `text` starts with it; `_` covers one character.
fn wild_at(text: &[u8], piece: &[u8]) -> Option<usize> {
    let mut position = 0;
    for &wanted in piece {
        let byte = *text.get(position)?;
        if wanted == b'_' {
            position += char_len(byte);
        } else if byte.to_ascii_lowercase() == wanted {
            position += 1;
        } else {
            return None;
        }
    }
    Some(position)
}

/// A text to be found by Unicode case folding. Time is linear in the text searched (Knuth, Morris and Pratt).
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    needle: Box<[char]>,
    /// The needle's bytes if they are few and all are ASCII: then a plain search by bytes is quickest, and short texts are what
    /// filters mostly see.
    ascii: Option<Box<[u8]>>,
    /// Whether a letter outside ASCII folds to one in the needle (the Kelvin sign to `k`, the long s to `s`), so that the plain
    /// search is right for ASCII texts only.
    reachable: bool,
    /// `borders[n]`: length of the longest proper prefix of `needle[..=n]` that is also its suffix.
    borders: Box<[u32]>,
}

impl Folded {
    pub(crate) fn new(needle: &str) -> Self {
        let needle: Box<[char]> = needle.chars().map(fold).collect();
        let mut borders = vec![0_u32; needle.len()].into_boxed_slice();
        for n in 1..needle.len() {
            let mut border = borders[n - 1];
            while border > 0 && needle[n] != needle[border as usize] {
                border = borders[border as usize - 1];
            }
            borders[n] = border + u32::from(needle[n] == needle[border as usize]);
        }
        let ascii = match needle.len() {
            0..=32 => needle
                .iter()
                .map(|&c| u8::try_from(c).ok().filter(u8::is_ascii))
                .collect(),
            _ => None,
        };
        let reachable = needle.contains(&'k') || needle.contains(&'s');
        Self {
            needle,
            ascii,
            reachable,
            borders,
        }
    }

    #[inline]
    pub(crate) fn is_in(&self, text: &str) -> bool {
        if let Some(needle) = self.ascii.as_deref()
            && (!self.reachable || text.is_ascii())
        {
            return find(text.as_bytes(), needle).is_some();
        }
        let mut matched = 0_usize;
        if self.needle.is_empty() {
            return true;
        }
        for c in text.chars().map(fold) {
            while matched > 0 && self.needle[matched] != c {
                matched = self.borders[matched - 1] as usize;
            }
            if self.needle[matched] == c {
                matched += 1;
                if matched == self.needle.len() {
                    return true;
                }
            }
        }
        false
    }

    pub(crate) fn starts(&self, text: &str) -> bool {
        let mut chars = text.chars().map(fold);
        self.needle.iter().all(|&wanted| chars.next() == Some(wanted))
    }

    pub(crate) fn ends(&self, text: &str) -> bool {
        let mut chars = text.chars().rev().map(fold);
        self.needle
            .iter()
            .rev()
            .all(|&wanted| chars.next() == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of `LIKE`, by recursion.
    fn like(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|n| like(rest, &text[n..])),
            Some(('_', rest)) => !text.is_empty() && like(rest, &text[1..]),
            Some((c, rest)) => {
                text.first().is_some_and(|t| t.eq_ignore_ascii_case(c)) && like(rest, &text[1..])
            }
        }
    }

    #[test]
    fn like_agrees_with_its_definition() {
        let alphabet = ['a', 'B', '%', '_', 'é'];
        let words: Vec<Vec<char>> = (0..=4_u32)
            .flat_map(|len| (0..5_usize.pow(len)).map(move |n| (len, n)))
            .map(|(len, n)| {
                (0..len)
                    .map(|digit| alphabet[n / 5_usize.pow(digit) % 5])
                    .collect()
            })
            .collect();
        let texts = [
            "", "a", "b", "ab", "ba", "aé", "éab", "aab", "abab", "AbÉé", "a%b", "_", "bbaaé",
        ];
        for pattern in &words {
            let compiled = Like::new(&pattern.iter().collect::<String>());
            for text in texts {
                let expected = like(pattern, &text.chars().collect::<Vec<_>>());
                assert_eq!(compiled.matches(text), expected, "{pattern:?} on {text:?}");
            }
        }
    }

    #[test]
    fn folding_finds_letters_of_every_case() {
        for (text, needle) in [
            ("FLÖW", "flöw"),
            ("straße", "STRAẞE"),
            ("ΟΔΟΣ", "οδος"),
            ("\u{212A}elvin", "kelvin"),
            ("aaab", "AAB"),
            ("été Éa", "éA"),
            ("x\u{17F}y", "SY"),
            ("naïve etl", "ETL"),
            ("", ""),
            ("x", ""),
        ] {
            assert!(Folded::new(needle).is_in(text), "{needle} in {text}");
        }
        assert!(!Folded::new("ı").is_in("I"), "the dotless i folds to itself");
        assert!(Folded::new("ÉT").starts("été") && Folded::new("tÉ").ends("été"));
        assert!(!Folded::new("long").starts("lon") && !Folded::new("long").ends("ong"));
    }

    #[test]
    fn search_by_borders_agrees_with_the_plain_search() {
        for needle in ["a", "ab", "aab", "abaab", "aaaa", "abcabd"] {
            let folded = Folded::new(needle);
            let slow = Folded {
                ascii: None,
                ..folded.clone()
            };
            for text in ["aabaab", "abcabcabd", "aaa", "aaaaa", "xababaabx", ""] {
                assert_eq!(slow.is_in(text), text.contains(needle), "{needle} in {text}");
                assert_eq!(folded.is_in(text), text.contains(needle), "{needle} in {text}");
            }
        }
    }
}
