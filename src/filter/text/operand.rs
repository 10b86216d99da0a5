//! What stands behind an operator: texts, numbers, durations, times, words, and lists of them.

use crate::suggest;
use std::ops::Range;

use uuid::Uuid;

use super::super::expr::{Bound, Op, Set, Side};
use super::super::field::{Field, Kind};
use super::super::json::time_of_text;
use super::super::limits::Invalid;
use super::error::TextErrorKind;
use super::lexer::Token;
use super::parser::{Parsed, Parser, UNITS, shown};

impl Parser<'_> {
    pub(super) fn equal(&mut self, field: Field, span: Range<usize>) -> Parsed<Op> {
        Ok(match field.kind() {
            Kind::Bool => {
                if self.take_word("true")? {
                    Op::Is(true)
                } else if self.take_word("false")? {
                    Op::Is(false)
                } else {
                    return Err(self.wrong(field, "`true` or `false`"));
                }
            }
            Kind::Uuid => Op::In(Set::Uuids(vec![self.uuid(field)?].into())),
            Kind::Text => Op::In(Set::Texts(vec![self.text(field)?].into())),
            Kind::Int | Kind::Duration => Op::In(Set::Ints(vec![self.int(field)?].into())),
            Kind::Time => Op::In(Set::Times(vec![self.time(field)?].into())),
            Kind::Code(words) => Op::In(Set::Codes(vec![self.code(field, words)?].into())),
            Kind::Tags => return Err(self.fault_at(span, TextErrorKind::Operator { op: "=", field })),
        })
    }

    pub(super) fn bound(&mut self, field: Field, side: Side, span: Range<usize>) -> Parsed<Bound> {
        Ok(match field.kind() {
            Kind::Int | Kind::Duration => Bound::Int(self.int(field)?),
            Kind::Time => Bound::Time(self.time(field)?),
            Kind::Text => Bound::Text(self.text(field)?),
            _ => {
                return Err(self.fault_at(
                    span,
                    TextErrorKind::Operator {
                        op: side.symbol(),
                        field,
                    },
                ));
            }
        })
    }

    pub(super) fn set(&mut self, field: Field) -> Parsed<Set> {
        Ok(match field.kind() {
            Kind::Uuid => Set::Uuids(self.list(|parser| parser.uuid(field))?.into()),
            Kind::Int | Kind::Duration => Set::Ints(self.list(|parser| parser.int(field))?.into()),
            Kind::Time => Set::Times(self.list(|parser| parser.time(field))?.into()),
            Kind::Code(words) => Set::Codes(self.list(|parser| parser.code(field, words))?.into()),
            Kind::Text | Kind::Bool | Kind::Tags => {
                Set::Texts(self.list(|parser| parser.text(field))?.into())
            }
        })
    }

    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.symbol("[", "a list such as [\"a\", \"b\"]")?;
        let mut items = Vec::new();
        while self.token != Token::Symbol("]") {
            self.items += 1;
            if self.items > self.limits.items {
                return Err(self.fault(TextErrorKind::Large(Invalid::Items {
                    limit: self.limits.items,
                })));
            }
            items.push(item(self)?);
            if self.token != Token::Symbol(",") {
                break;
            }
            self.advance()?;
        }
        self.symbol("]", "`,` or `]`")?;
        Ok(items)
    }

    pub(super) fn text(&mut self, field: Field) -> Parsed<Box<str>> {
        let Token::Text(text) = &mut self.token else {
            return Err(self.wrong(field, "a text in quotes"));
        };
        let text = std::mem::take(text);
        if text.len() > self.limits.operand {
            let large = Invalid::Operand {
                bytes: text.len(),
                limit: self.limits.operand,
            };
            return Err(self.fault(TextErrorKind::Large(large)));
        }
        self.advance()?;
        Ok(text.into())
    }

    fn uuid(&mut self, field: Field) -> Parsed<Uuid> {
        const EXPECTED: &str = "a uuid in quotes";
        let Token::Text(text) = &self.token else {
            return Err(self.wrong(field, EXPECTED));
        };
        let uuid = text.parse().map_err(|_| self.wrong(field, EXPECTED))?;
        self.advance()?;
        Ok(uuid)
    }

    fn code(&mut self, field: Field, words: &[&'static str]) -> Parsed<u8> {
        let word = match &self.token {
            Token::Text(text) => text.as_str(),
            Token::Word(word) => word,
            _ => return Err(self.wrong(field, "one of its words")),
        };
        let Some(index) = words.iter().position(|known| *known == word) else {
            let suggestion = suggest::nearest(word, words.iter().copied());
            return Err(self.fault(TextErrorKind::Word { field, suggestion }));
        };
        self.advance()?;
        u8::try_from(index).map_err(|_| self.fault(TextErrorKind::Range("the word"))) // there are at most 64
    }

    fn int(&mut self, field: Field) -> Parsed<i64> {
        if field.kind() == Kind::Duration {
            return self.duration(field);
        }
        let negative = self.take_symbol("-")?;
        let Token::Number(digits) = self.token else {
            return Err(self.wrong(field, "a whole number"));
        };
        self.number(digits, negative, || TextErrorKind::Value {
            field,
            expected: "a whole number",
            found: shown(digits),
        })
    }

    fn number(&mut self, digits: &str, negative: bool, wrong: impl Fn() -> TextErrorKind) -> Parsed<i64> {
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.fault(wrong()));
        }
        // Read with its sign, so that the least number can be read.
        let number = digits.bytes().try_fold(0_i64, |sum, digit| {
            let digit = i64::from(digit - b'0');
            let sum = sum.checked_mul(10)?;
            if negative {
                sum.checked_sub(digit)
            } else {
                sum.checked_add(digit)
            }
        });
        let number = number.ok_or_else(|| self.fault(TextErrorKind::Range("this number")))?;
        self.advance()?;
        Ok(number)
    }

    fn duration(&mut self, field: Field) -> Parsed<i64> {
        let negative = self.take_symbol("-")?;
        let Token::Number(text) = self.token else {
            return Err(self.wrong(field, "a duration such as 90s or 2h30m"));
        };
        let micros = self.micros(text, field)?;
        let micros = i64::try_from(if negative { -micros } else { micros });
        let micros = micros.map_err(|_| self.fault(TextErrorKind::Range("this duration")))?;
        self.advance()?;
        Ok(micros)
    }

    /// The microseconds of `2h30m`.
    fn micros(&self, text: &str, field: Field) -> Parsed<i128> {
        let wrong = || {
            self.wrong(
                field,
                "a duration such as 90s or 2h30m, in w, d, h, m, s, ms or us",
            )
        };
        let mut rest = text;
        let mut sum = 0_i128;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let &(_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            if number.is_empty() {
                return Err(wrong());
            }
            let number: u64 = number
                .parse()
                .map_err(|_| self.fault(TextErrorKind::Range("this duration")))?;
            sum += i128::from(number) * i128::from(size); // below 2^104 each, and the text is bounded
            rest = tail;
        }
        Ok(sum)
    }

    fn time(&mut self, field: Field) -> Parsed<i64> {
        const EXPECTED: &str = "a time such as \"2024-05-01T10:00:00Z\", `now` or `now - 2h`";
        match &self.token {
            Token::Text(text) => {
                let micros = time_of_text(text.trim()).ok_or_else(|| self.wrong(field, EXPECTED))?;
                self.advance()?;
                Ok(micros)
            }
            Token::Symbol("@") => {
                self.advance()?;
                let negative = self.take_symbol("-")?;
                let Token::Number(digits) = self.token else {
                    return Err(self.expected("microseconds since 1970"));
                };
                self.number(digits, negative, || TextErrorKind::Range("this time"))
            }
            Token::Word(word) if word.eq_ignore_ascii_case("now") => {
                self.advance()?;
                let negative = match self.token {
                    Token::Symbol("+") => false,
                    Token::Symbol("-") => true,
                    _ => return Ok(self.now),
                };
                self.advance()?;
                let Token::Number(text) = self.token else {
                    return Err(self.expected("a duration such as 90s or 2h30m"));
                };
                let micros = self.micros(text, field)?;
                let time = i128::from(self.now) + if negative { -micros } else { micros };
                let time = i64::try_from(time).map_err(|_| self.fault(TextErrorKind::Range("this time")))?;
                self.advance()?;
                Ok(time)
            }
            _ => Err(self.wrong(field, EXPECTED)),
        }
    }
}
