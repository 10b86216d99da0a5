//! What is wrong with a text, where, and what to write instead.

use crate::suggest;
use std::fmt;
use std::ops::Range;

use super::super::field::{Entity, Field};
use super::super::limits::Invalid;
use super::super::relation::Relation;

/// A text that is no filter. Owns the text; `Display` draws it with a caret under the fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TextError {
    source: Box<str>,
    span: Range<usize>,
    kind: TextErrorKind,
}

/// What is wrong with a text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TextErrorKind {
    /// Nothing but blanks.
    #[error("the filter is empty; write `true` for everything")]
    Empty,
    /// The text is longer than [`Limits::source`](super::super::Limits::source); the error then owns only its beginning.
    #[error("the filter is {bytes} bytes long, {limit} are allowed; use lists or raise the limit `source`")]
    Long {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A character that begins nothing.
    #[error("unexpected character {0:?}; put texts in quotes")]
    Character(char),
    /// A text without its closing quote.
    #[error("this text has no closing quote")]
    Unterminated,
    /// A backslash with something unknown behind it.
    #[error(r#"unknown escape; use \" \' \\ \n \r \t or \u{{…}} with a character's number"#)]
    Escape,
    /// Something else stands where only some things can.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What can stand there.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// No such field.
    #[error("a {entity} has no field `{name}`{}", advice(*entity, name, *suggestion))]
    UnknownField {
        /// Whose field it would be.
        entity: Entity,
        /// The name, shortened.
        name: String,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// No such relation.
    #[error("a {entity} is not related to `{name}`, but to {}{}", relations(*entity), suggest::phrase(*suggestion))]
    UnknownRelation {
        /// Where it would start.
        entity: Entity,
        /// The name, shortened.
        name: String,
        /// The relation that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A path through a relation that can lead to many rows.
    #[error("a {} can have more than one {}; write `any {} where (…)`", .0.source(), .0.name(), .0.name())]
    Many(Relation),
    /// The operator cannot test the field.
    #[error("`{op}` cannot test `{}`, which is {}; use {}", field.name(), field.kind().name(), operators(*field))]
    Operator {
        /// The operator.
        op: &'static str,
        /// The field.
        field: Field,
    },
    /// The operand is not of the field's type.
    #[error("`{}` is {}; expected {expected}, found {found}", field.name(), field.kind().name())]
    Value {
        /// The field.
        field: Field,
        /// What can stand there.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// A word outside the vocabulary of the field.
    #[error("`{}` is one of {}{}", field.name(), words(*field), suggest::phrase(*suggestion))]
    Word {
        /// The field.
        field: Field,
        /// The word that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A number, duration or time that is out of range.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// The filter is larger than the limits allow.
    #[error(transparent)]
    Large(Invalid),
}

fn advice(entity: Entity, name: &str, suggestion: Option<&'static str>) -> String {
    if let Some((relation, field)) = related_field(entity, name) {
        return suggest::phrase(Some(&format!("{}.{}", relation.name(), field.name())));
    }
    if suggestion.is_some() {
        return suggest::phrase(suggestion);
    }
    let names: Vec<&str> = entity.fields().map(Field::name).collect();
    format!("; it has {}", names.join(", "))
}

/// What `flow_name` probably means, where a row is related to one flow and has no such field.
fn related_field(entity: Entity, name: &str) -> Option<(Relation, Field)> {
    entity
        .relations()
        .filter(|relation| !relation.is_many())
        .find_map(|relation| {
            let rest = name.strip_prefix(relation.name())?.strip_prefix('_')?;
            Some((relation, relation.target().field(rest)?))
        })
}

fn relations(entity: Entity) -> String {
    let names: Vec<&str> = entity.relations().map(Relation::name).collect();
    names.join(", ")
}

fn words(field: Field) -> String {
    match field.kind() {
        super::super::field::Kind::Code(words) => words.join(", "),
        _ => String::new(),
    }
}

/// The operators for a field, as advice.
fn operators(field: Field) -> &'static str {
    use super::super::field::Kind;
    match field.kind() {
        Kind::Uuid | Kind::Code(_) => "=, !=, in, not in, none_of, is null",
        Kind::Text => {
            "=, !=, in, not in, none_of, <, <=, >, >=, like, contains, starts_with, ends_with, is null"
        }
        Kind::Bool => "it alone, `not`, = true, = false, is null",
        Kind::Int | Kind::Duration | Kind::Time => "=, !=, <, <=, >, >=, in, not in, none_of, is null",
        Kind::Tags => "has_all, has_any, has, is empty",
    }
}

impl TextError {
    /// `span` is in bytes and is moved onto character boundaries.
    pub(super) fn new(source: &str, span: Range<usize>, kind: TextErrorKind) -> Self {
        let start = source.floor_char_boundary(span.start.min(source.len()));
        let end = source.ceil_char_boundary(span.end.clamp(start, source.len()));
        Self {
            source: source.into(),
            span: start..end,
            kind,
        }
    }

    /// What is wrong, for programs.
    #[must_use]
    pub const fn kind(&self) -> &TextErrorKind {
        &self.kind
    }

    /// The text.
    #[must_use]
    pub const fn source_text(&self) -> &str {
        &self.source
    }

    /// Where the fault is: bytes of the text, on character boundaries.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// Characters shown on either side of the fault.
const AROUND: usize = 60;

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The line with the fault, and of a long line the part around it.
        let before = &self.source[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &self.source[self.span.start..];
        let line_end = rest
            .find('\n')
            .map_or(self.source.len(), |newline| self.span.start + newline);
        let lead = &before[line_start..];
        let from = lead.char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
        let lead = &lead[from..];
        let fault_end = self.span.end.min(line_end);
        let fault = &self.source[self.span.start..fault_end];
        let fault_shown = head(fault, AROUND);
        let tail = if fault_shown.len() < fault.len() {
            ""
        } else {
            head(&self.source[fault_end..line_end], AROUND)
        };
        let cut_before = if 0 < from { "…" } else { "" };
        let shown_to = self.span.start + fault_shown.len() + tail.len();
        let cut_after = if shown_to < line_end { "…" } else { "" };

        write!(f, "{}\n  | {cut_before}", self.kind)?;
        for c in lead.chars().chain(fault_shown.chars()).chain(tail.chars()) {
            write!(f, "{}", if c.is_control() { ' ' } else { c })?;
        }
        let column = cut_before.chars().count() + lead.chars().count();
        let width = fault_shown.chars().count().max(1);
        write!(f, "{cut_after}\n  | {:column$}{:^<width$}", "", "")
    }
}

impl std::error::Error for TextError {}

/// The first `count` characters.
fn head(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(at, _)| &text[..at])
}
