//! The tree as text. What is printed parses back to an equal tree.

use std::fmt::{self, Display, Formatter, Write};

use chrono::{DateTime, SecondsFormat, Utc};

use super::super::Filter;
use super::super::expr::{Bound, Expr, Node, Op, Set, Sorted, Test};
use super::super::field::{Field, Kind};

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.expr().fmt(f)
    }
}

/// The text form, with the names of the row it is about. The walk is as deep as the tree.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.node() {
            Node::And(children) if children.is_empty() => f.write_str("true"),
            Node::Or(children) if children.is_empty() => f.write_str("false"),
            Node::And(children) => list(
                f,
                children,
                " and ",
                |child| matches!(child.node(), Node::And(inner) | Node::Or(inner) if !inner.is_empty()),
            ),
            Node::Or(children) => list(
                f,
                children,
                " or ",
                |child| matches!(child.node(), Node::Or(inner) if !inner.is_empty()),
            ),
            Node::Not(inner) => negated(f, inner),
            Node::Test(test) => write_test(f, "", test, false),
            Node::Exists(relation, inner) => {
                if let Some((names, test)) = path(self) {
                    return write_test(f, &names, test, false);
                }
                write!(f, "any {}", relation.name())?;
                condition(f, inner)
            }
            Node::TooDeep => f.write_str("(too deep)"),
        }
    }
}

fn list(
    f: &mut Formatter<'_>,
    children: &[Expr],
    between: &str,
    in_brackets: fn(&Expr) -> bool,
) -> fmt::Result {
    for (n, child) in children.iter().enumerate() {
        if n > 0 {
            f.write_str(between)?;
        }
        if in_brackets(child) {
            write!(f, "({child})")?;
        } else {
            child.fmt(f)?;
        }
    }
    Ok(())
}

fn negated(f: &mut Formatter<'_>, inner: &Expr) -> fmt::Result {
    match inner.node() {
        Node::And(children) | Node::Or(children) if !children.is_empty() => write!(f, "not ({inner})"),
        Node::Test(test) => write_test(f, "", test, true),
        Node::Exists(relation, below) => {
            if let Some((names, test)) = path(inner) {
                return write_test(f, &names, test, true);
            }
            write!(f, "no {}", relation.name())?;
            condition(f, below)
        }
        _ => write!(f, "not {inner}"),
    }
}

fn condition(f: &mut Formatter<'_>, inner: &Expr) -> fmt::Result {
    match inner.node() {
        Node::And(children) if children.is_empty() => Ok(()),
        _ => write!(f, " where ({inner})"),
    }
}

/// The path form of a test reached through relations to one row, where it means the same.
fn path(expr: &Expr) -> Option<(String, &Test)> {
    let mut names = String::new();
    let mut expr = expr;
    loop {
        match expr.node() {
            Node::Exists(relation, inner) if !relation.is_many() => {
                write!(names, "{}.", relation.name()).ok()?;
                expr = inner;
            }
            // Asking for null through a path is another tree: there a path that leads nowhere counts.
            Node::Test(test) if !matches!(test.op(), Op::IsNull | Op::IsEmpty) => return Some((names, test)),
            _ => return None,
        }
    }
}

fn write_test(f: &mut Formatter<'_>, path: &str, test: &Test, negated: bool) -> fmt::Result {
    let field = test.field();
    let name = Named(path, field);
    match (test.op(), negated) {
        (Op::IsNull, false) => write!(f, "{name} is null"),
        (Op::IsNull, true) => write!(f, "{name} is not null"),
        (Op::IsEmpty, false) => write!(f, "{name} is empty"),
        (Op::IsEmpty, true) => write!(f, "{name} is not empty"),
        (Op::Is(true), false) => write!(f, "{name}"),
        (Op::Is(true), true) => write!(f, "not {name}"),
        (Op::Is(false), false) => write!(f, "{name} = false"),
        (Op::Is(false), true) => write!(f, "{name} != false"),
        (Op::In(set), negated) if set.len() == 1 => {
            write!(f, "{name} {} ", if negated { "!=" } else { "=" })?;
            items(f, field, set)
        }
        (Op::In(set), negated) => {
            write!(f, "{name} {}in [", if negated { "not " } else { "" })?;
            items(f, field, set)?;
            f.write_char(']')
        }
        (op, true) => write!(f, "not {}", Positive(name, op)),
        (op, false) => Positive(name, op).fmt(f),
    }
}

struct Named<'a>(&'a str, Field);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1.name())
    }
}

/// A test whose negation is `not` in front of it.
struct Positive<'a>(Named<'a>, &'a Op);

impl Display for Positive<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(name, op) = self;
        write!(f, "{name} {} ", op.name())?;
        match op {
            Op::NoneOf(set) => {
                f.write_char('[')?;
                items(f, name.1, set)?;
                f.write_char(']')
            }
            Op::Compare(_, Bound::Int(number)) => number_of(f, name.1, *number),
            Op::Compare(_, Bound::Time(micros)) => time(f, *micros),
            Op::Compare(_, Bound::Text(text))
            | Op::Like(text)
            | Op::Contains(text)
            | Op::StartsWith(text)
            | Op::EndsWith(text) => quoted(f, text),
            Op::HasAll(tags) | Op::HasAny(tags) => {
                f.write_char('[')?;
                separated(f, tags, |f, tag| quoted(f, tag))?;
                f.write_char(']')
            }
            Op::IsNull | Op::Is(_) | Op::In(_) | Op::IsEmpty => Ok(()), // written above
        }
    }
}

fn items(f: &mut Formatter<'_>, field: Field, set: &Set) -> fmt::Result {
    match set {
        Set::Uuids(uuids) => separated(f, uuids, |f, uuid| write!(f, "\"{uuid}\"")),
        Set::Texts(texts) => separated(f, texts, |f, text| quoted(f, text)),
        Set::Ints(numbers) => separated(f, numbers, |f, number| number_of(f, field, *number)),
        Set::Times(times) => separated(f, times, |f, micros| time(f, *micros)),
        Set::Codes(codes) => separated(f, codes, |f, code| {
            let Kind::Code(words) = field.kind() else {
                return Ok(());
            };
            words.get(*code as usize).map_or(Ok(()), |word| quoted(f, word))
        }),
    }
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &Sorted<T>,
    write: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            // What a reader cannot see, and what turns the direction of a line.
            c if c.is_control()
                || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}') =>
            {
                write!(f, "\\u{{{:X}}}", c as u32)?;
            }
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

fn number_of(f: &mut Formatter<'_>, field: Field, number: i64) -> fmt::Result {
    if field.kind() != Kind::Duration {
        return write!(f, "{number}");
    }
    if number == 0 {
        return f.write_str("0s");
    }
    if number < 0 {
        f.write_char('-')?;
    }
    let mut rest = number.unsigned_abs();
    for (unit, micros) in super::parser::UNITS {
        if unit != "w" && rest >= micros {
            write!(f, "{}{unit}", rest / micros)?;
            rest %= micros;
        }
    }
    Ok(())
}

fn time(f: &mut Formatter<'_>, micros: i64) -> fmt::Result {
    // Four-digit years read back; the rest is written as a number.
    match DateTime::<Utc>::from_timestamp_micros(micros) {
        Some(time) if super::super::json::is_plain_year(micros) => {
            write!(f, "\"{}\"", time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        }
        _ => write!(f, "@{micros}"),
    }
}
