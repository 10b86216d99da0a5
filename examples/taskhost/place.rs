//! Finds the place of a value in a JSON text, so that a message can say where to look.

use std::fmt;

/// One step into a JSON value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The element of an array.
    Index(usize),
    /// The value under a key.
    Key(String),
}

/// A path from the root of a document, printed as `[2].schedules[0].cron`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Path(pub Vec<Step>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// Line and column, both from 1, of the value at `path` in `text`, which is valid JSON as far as that value; of the
/// last value on the way when the path leads on into nothing.
pub fn locate(text: &str, path: &Path) -> (usize, usize) {
    let mut at = Cursor {
        text: text.as_bytes(),
        at: 0,
    };
    at.blank();
    let mut found = at.at;
    for step in &path.0 {
        if !at.enter(step) {
            break;
        }
        found = at.at;
    }
    line_and_column(text, found)
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

/// Walks over a text that is known to be JSON. Wherever it is not, the walk stops where it is.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.blank();
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// From the start of a value to the start of the value one step inside. False: there is none.
    fn enter(&mut self, step: &Step) -> bool {
        let mut inside = Cursor {
            text: self.text,
            at: self.at,
        };
        let found = match step {
            Step::Index(index) => inside.eat(b'[') && inside.element(*index),
            Step::Key(key) => inside.eat(b'{') && inside.member(key),
        };
        if found {
            inside.blank();
            self.at = inside.at;
        }
        found
    }

    fn element(&mut self, index: usize) -> bool {
        for _ in 0..index {
            self.value();
            if !self.eat(b',') {
                return false;
            }
        }
        self.blank();
        self.peek() != Some(b']')
    }

    fn member(&mut self, key: &str) -> bool {
        loop {
            self.blank();
            let start = self.at;
            self.value();
            let name = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
            let found = serde_json::from_str::<String>(name).is_ok_and(|name| name == key);
            if !self.eat(b':') {
                return false;
            }
            if found {
                return true;
            }
            self.value();
            if !self.eat(b',') {
                return false;
            }
        }
    }

    /// Over one value, whatever it is.
    fn value(&mut self) {
        self.blank();
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' | b',' | b':' if depth == 0 => return,
                b']' | b'}' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(byte, b'"' | b']' | b'}') {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += match byte {
                b'\\' => 2,
                _ => 1,
            };
            if byte == b'"' {
                return;
            }
        }
        self.at = self.at.min(self.text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &[Step]) -> (usize, usize) {
        locate(text, &Path(path.to_vec()))
    }

    #[test]
    fn a_value_is_found_behind_anything_that_json_allows() {
        let text = "\n[ [], {\"a\\\"]\": {\"x\": [1, \"}\"]}, \"b\":\n  [true, null , -1.5e3]}]";
        let (one, b) = (Step::Index(1), Step::Key("b".to_owned()));
        assert_eq!(at(text, &[]), (2, 1));
        assert_eq!(at(text, &[Step::Index(0)]), (2, 3));
        assert_eq!(at(text, &[one.clone(), b.clone()]), (3, 3));
        assert_eq!(at(text, &[one.clone(), b.clone(), Step::Index(2)]), (3, 17));
        assert_eq!(
            at(
                text,
                &[
                    one.clone(),
                    Step::Key("a\"]".to_owned()),
                    Step::Key("x".to_owned())
                ]
            ),
            (2, 22)
        );
    }

    #[test]
    fn a_path_that_leads_into_nothing_ends_at_its_last_value() {
        assert_eq!(
            at("[1, {\"a\": 2}]", &[Step::Index(1), Step::Key("z".to_owned())]),
            (1, 5)
        );
        assert_eq!(at("[1, 2]", &[Step::Index(7)]), (1, 1));
        assert_eq!(at("", &[Step::Index(0)]), (1, 1));
        assert_eq!(at("[\"abc", &[Step::Index(1)]), (1, 1));
    }
}
