//! Characters to tokens, one at a time.

use std::ops::Range;

use super::error::{TextError, TextErrorKind};

/// The smallest piece with a meaning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token<'a> {
    /// Letters, digits and underscores, beginning with a letter or underscore.
    Word(&'a str),
    /// Digits, and letters behind them as in `2h30m`.
    Number(&'a str),
    /// A quoted text, without quotes and escapes.
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// Longer symbols come before those they begin with.
const SYMBOLS: [&str; 15] = [
    "==", "!=", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-",
];

pub(super) struct Lexer<'a> {
    source: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(source: &'a str) -> Self {
        Self { source, position: 0 }
    }

    /// The next token and where it stands.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Range<usize>), TextError> {
        let rest = &self.source[self.position..];
        let rest = rest.trim_start();
        let start = self.source.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            self.position = self.source.len();
            return Ok((Token::End, start..start));
        };
        if first == '"' || first == '\'' {
            return self.text(start, first);
        }
        let run = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let (token, length) = if first.is_alphabetic() || first == '_' {
            let length = run(|c| c.is_alphanumeric() || c == '_');
            (Token::Word(&rest[..length]), length)
        } else if first.is_ascii_digit() {
            let length = run(|c| c.is_alphanumeric() || c == '_');
            (Token::Number(&rest[..length]), length)
        } else if first == '@' {
            (Token::Symbol("@"), 1)
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Token::Symbol(symbol), symbol.len())
        } else {
            let span = start..start + first.len_utf8();
            return Err(TextError::new(self.source, span, TextErrorKind::Character(first)));
        };
        self.position = start + length;
        Ok((token, start..self.position))
    }

    fn text(&mut self, start: usize, quote: char) -> Result<(Token<'a>, Range<usize>), TextError> {
        let body = start + quote.len_utf8();
        let mut text = String::new();
        let mut chars = self.source[body..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.position = body + at + quote.len_utf8();
                return Ok((Token::Text(text), start..self.position));
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let escaped = match chars.next().map(|(_, c)| c) {
                Some(c @ ('"' | '\'' | '\\')) => Some(c),
                Some('n') => Some('\n'),
                Some('r') => Some('\r'),
                Some('t') => Some('\t'),
                Some('u') => unicode(&mut chars),
                _ => None,
            };
            let Some(escaped) = escaped else {
                let span = body + at..body + chars.offset();
                return Err(TextError::new(self.source, span, TextErrorKind::Escape));
            };
            text.push(escaped);
        }
        Err(TextError::new(
            self.source,
            start..self.source.len(),
            TextErrorKind::Unterminated,
        ))
    }
}

/// The character of `{1F680}`.
fn unicode(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let text = chars.as_str().strip_prefix('{')?;
    let end = text.char_indices().take(9).find(|&(_, c)| c == '}')?.0;
    let digits = &text[..end];
    for _ in 0..digits.chars().count() + 2 {
        chars.next();
    }
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
