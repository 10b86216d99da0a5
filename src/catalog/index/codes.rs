//! A small number for every row, in as few bytes as the largest one takes.

/// The code of a row that is not there.
pub(super) const NONE: u32 = u32::MAX;

/// Codes of rows: one byte a row while there are fewer than 255 different ones, two up to 65,535, else four. What is asked row by
/// row so stays in the caches longer.
#[derive(Debug)]
pub(super) enum Codes {
    Bytes(Vec<u8>),
    Shorts(Vec<u16>),
    Words(Vec<u32>),
}

impl Default for Codes {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Codes {
    /// The code of a row; [`NONE`] for a row that has none.
    #[inline]
    pub(super) fn get(&self, row: u32) -> u32 {
        let row = row as usize;
        match self {
            Self::Bytes(codes) => codes
                .get(row)
                .map_or(NONE, |&code| widen(code.into(), u8::MAX.into())),
            Self::Shorts(codes) => codes
                .get(row)
                .map_or(NONE, |&code| widen(code.into(), u16::MAX.into())),
            Self::Words(codes) => codes.get(row).copied().unwrap_or(NONE),
        }
    }

    pub(super) fn set(&mut self, row: u32, code: u32) {
        let index = row as usize;
        match self {
            Self::Bytes(codes) => {
                if let Some(code) = narrow(code, u8::MAX) {
                    return put(codes, index, code, u8::MAX);
                }
                let wide = |&code: &u8| if code == u8::MAX { u16::MAX } else { code.into() };
                *self = Self::Shorts(codes.iter().map(wide).collect());
            }
            Self::Shorts(codes) => {
                if let Some(code) = narrow(code, u16::MAX) {
                    return put(codes, index, code, u16::MAX);
                }
                let wide = |&code: &u16| if code == u16::MAX { NONE } else { code.into() };
                *self = Self::Words(codes.iter().map(wide).collect());
            }
            Self::Words(codes) => return put(codes, index, code, NONE),
        }
        // Wider now.
        self.set(row, code);
    }

    pub(super) fn shrink(&mut self) {
        match self {
            Self::Bytes(codes) => codes.shrink_to_fit(),
            Self::Shorts(codes) => codes.shrink_to_fit(),
            Self::Words(codes) => codes.shrink_to_fit(),
        }
    }
}

#[inline]
fn widen(code: u32, none: u32) -> u32 {
    if code == none { NONE } else { code }
}

/// The code in fewer bytes, if it fits beside `none`, which stands for [`NONE`].
fn narrow<T: TryFrom<u32> + PartialEq>(code: u32, none: T) -> Option<T> {
    if code == NONE {
        return Some(none);
    }
    T::try_from(code).ok().filter(|code| *code != none)
}

fn put<T: Copy>(codes: &mut Vec<T>, row: usize, code: T, none: T) {
    if codes.len() <= row {
        codes.resize(row + 1, none);
    }
    codes[row] = code;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_grow_with_the_largest_and_lose_nothing() {
        let mut codes = Codes::default();
        let mut model = vec![NONE; 90];
        let mut set = |row: u32, code: u32| {
            codes.set(row, code);
            model[row as usize] = code;
            for (row, code) in (0..).zip(&model) {
                assert_eq!(codes.get(row), *code, "row {row}");
            }
        };
        for (row, code) in [
            (3, 0),
            (5, 254),
            (3, NONE),
            (7, 255),
            (8, 65_534),
            (5, NONE),
            (9, 65_535),
        ] {
            set(row, code);
        }
        set(80, 70_000);
        set(80, 1);
        assert_eq!(codes.get(100), NONE);
        assert!(matches!(codes, Codes::Words(_)));
    }
}
