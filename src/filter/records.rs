//! What a filter reads: rows by number, behind a trait that whoever keeps the rows implements.

use std::cmp::Ordering;
use std::sync::Arc;

use uuid::Uuid;

use super::field::Field;
use super::relation::Relation;

/// Rows that a filter can look at.
///
/// An implementer owes four things:
///
/// * `value` returns the [`Value`] of the field's [`Kind`](super::Kind), or `Null`, for every row number that it hands to a
///   filter, directly or through `any_related`; a code is below the length of its vocabulary;
/// * tag lists are never null;
/// * a field or relation that the implementer does not keep reads as `Null` or as no rows;
/// * the answers do not change during one call of a filter, and do not call back into it.
///
/// Derived fields ([`Field::RunStartOrExpected`]) are never asked for.
pub trait Records {
    /// The value of a field of one row. Rows are numbered per entity.
    fn value(&self, field: Field, row: u32) -> Value<'_>;

    /// Whether `holds` is true for a row related to `row`. Stops at the first that is.
    fn any_related(&self, relation: Relation, row: u32, holds: &mut dyn FnMut(u32) -> bool) -> bool;
}

impl<R: Records + ?Sized> Records for &R {
    #[inline]
    fn value(&self, field: Field, row: u32) -> Value<'_> {
        (**self).value(field, row)
    }

    #[inline]
    fn any_related(&self, relation: Relation, row: u32, holds: &mut dyn FnMut(u32) -> bool) -> bool {
        (**self).any_related(relation, row, holds)
    }
}

/// One field of one row, borrowed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Not there.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number, or a duration in microseconds.
    Int(i64),
    /// Microseconds since 1970 UTC.
    Time(i64),
    /// Index in the vocabulary of the field.
    Code(u8),
    /// A text.
    Text(&'a str),
    /// A uuid.
    Uuid(Uuid),
    /// A list of tags.
    Tags(Tags<'a>),
}

/// A borrowed list of tags, in the layout in which the rows keep it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Tags<'a> {
    /// Owned texts.
    Strings(&'a [String]),
    /// Shared texts.
    Shared(&'a [Arc<str>]),
    /// Indices into a table of texts. An index outside the table is no tag.
    Interned {
        /// The list.
        numbers: &'a [u32],
        /// The table.
        names: &'a [Arc<str>],
    },
}

impl<'a> Tags<'a> {
    /// How many tags there are, repetitions included.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Strings(tags) => tags.len(),
            Self::Shared(tags) => tags.len(),
            Self::Interned { numbers, .. } => numbers.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether this tag is among them. Exact text; linear in the list.
    #[must_use]
    #[inline]
    pub fn contains(self, tag: &str) -> bool {
        self.any(|other| other == tag)
    }

    /// Whether `holds` is true for one of them.
    #[inline]
    pub fn any(self, mut holds: impl FnMut(&'a str) -> bool) -> bool {
        match self {
            Self::Strings(tags) => tags.iter().any(|tag| holds(tag)),
            Self::Shared(tags) => tags.iter().any(|tag| holds(tag)),
            Self::Interned { numbers, names } => numbers
                .iter()
                .any(|&number| names.get(number as usize).is_some_and(|tag| holds(tag))),
        }
    }

    /// The tags, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).filter_map(move |n| match self {
            Self::Strings(tags) => tags.get(n).map(String::as_str),
            Self::Shared(tags) => tags.get(n).map(|tag| &**tag),
            Self::Interned { numbers, names } => names.get(*numbers.get(n)? as usize).map(|tag| &**tag),
        })
    }
}

impl Value<'_> {
    /// The order of sorts: nulls smallest, texts by bytes, false before true. Values of different kinds, which one field never
    /// has, and tag lists, which nothing sorts by, are equal.
    #[must_use]
    pub fn order(self, other: Value<'_>) -> Ordering {
        match (self, other) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Less,
            (_, Value::Null) => Ordering::Greater,
            (Value::Bool(a), Value::Bool(b)) => a.cmp(&b),
            (Value::Int(a), Value::Int(b)) | (Value::Time(a), Value::Time(b)) => a.cmp(&b),
            (Value::Code(a), Value::Code(b)) => a.cmp(&b),
            (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(&b),
            _ => Ordering::Equal,
        }
    }
}

/// A value, owned; not for tag lists, which count as null.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Owned {
    Null,
    Bool(bool),
    Int(i64),
    Time(i64),
    Code(u8),
    Text(Arc<str>),
    Uuid(Uuid),
}

impl Owned {
    pub(crate) fn of(value: Value<'_>) -> Self {
        match value {
            Value::Null | Value::Tags(_) => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Time(value) => Self::Time(value),
            Value::Code(value) => Self::Code(value),
            Value::Text(value) => Self::Text(value.into()),
            Value::Uuid(value) => Self::Uuid(value),
        }
    }

    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Time(value) => Value::Time(*value),
            Self::Code(value) => Value::Code(*value),
            Self::Text(value) => Value::Text(value),
            Self::Uuid(value) => Value::Uuid(*value),
        }
    }

    /// Whether this is the value. Allocates nothing.
    pub(crate) fn is(&self, value: Value<'_>) -> bool {
        std::mem::discriminant(&self.value()) == std::mem::discriminant(&value)
            && self.value().order(value).is_eq()
    }
}

/// Reads a field, derived ones included.
#[inline]
pub(crate) fn read<R: Records + ?Sized>(records: &R, field: Field, row: u32) -> Value<'_> {
    if field == Field::RunStartOrExpected {
        return match records.value(Field::RunStartTime, row) {
            Value::Null => records.value(Field::RunExpectedStartTime, row),
            start => start,
        };
    }
    records.value(field, row)
}
