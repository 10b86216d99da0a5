//! One type per type of field; its methods are the operators that fit.

use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::expr::{Bound, Expr, Op, Set, Side};
use super::super::field::{Field, Kind, Place, StateType, Status};
use super::{Condition, Row, sealed};

/// A word of a closed vocabulary. Sealed: the vocabularies are those of the fields.
pub trait Word: sealed::Sealed + Copy {
    #[doc(hidden)]
    fn index(self) -> u8;
    #[doc(hidden)]
    const WORDS: usize;
}

macro_rules! words {
    ($($word:ident)*) => {$(
        impl sealed::Sealed for $word {}
        impl Word for $word {
            const WORDS: usize = $word::ALL.len();
            fn index(self) -> u8 {
                self.code()
            }
        }
    )*};
}
words! { StateType Place Status }

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident $kind:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub struct $name<E> {
            field: Field,
            row: PhantomData<fn(E)>,
        }

        impl<E: Row> $name<E> {
            pub(super) const fn new(field: Field) -> Self {
                assert!(matches!(field.kind(), Kind::$kind), "a handle is of its field's type");
                Self { field, row: PhantomData }
            }
            fn test(self, op: Op) -> Condition<E> {
                Condition::new(Expr::test(self.field, op).expect("a handle has only the operators of its type"))
            }
        }

        impl<E> std::fmt::Debug for $name<E> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.field).finish()
            }
        }
    )*};
}

handles! {
    /// A field with a uuid.
    UuidField Uuid;
    /// A field with a text.
    TextField Text;
    /// A field that is true or false.
    BoolField Bool;
    /// A field with a whole number.
    IntField Int;
    /// A field with a length of time.
    DurationField Duration;
    /// A field with an instant.
    TimeField Time;
    /// A field with tags.
    TagsField Tags;
}

/// A field with a word of the vocabulary `W`.
#[must_use]
pub struct CodeField<E, W> {
    field: Field,
    row: PhantomData<fn(E, W)>,
}

impl<E, W> std::fmt::Debug for CodeField<E, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CodeField").field(&self.field).finish()
    }
}

macro_rules! null {
    ($($name:ident)*) => {$(
        impl<E: Row> $name<E> {
            /// There is no value.
            pub fn is_null(self) -> Condition<E> {
                self.test(Op::IsNull)
            }
        }
    )*};
}
null! { UuidField TextField BoolField IntField DurationField TimeField }

impl<E: Row> UuidField<E> {
    /// It is this one.
    pub fn is(self, id: impl Into<Uuid>) -> Condition<E> {
        self.is_in([id])
    }

    /// It is one of these.
    pub fn is_in<I: Into<Uuid>>(self, ids: impl IntoIterator<Item = I>) -> Condition<E> {
        self.test(Op::In(Set::Uuids(ids.into_iter().map(Into::into).collect())))
    }

    /// There is one, and it is none of these. (The complement of `is_in` holds without one too.)
    pub fn is_none_of<I: Into<Uuid>>(self, ids: impl IntoIterator<Item = I>) -> Condition<E> {
        self.test(Op::NoneOf(Set::Uuids(ids.into_iter().map(Into::into).collect())))
    }
}

fn texts<T: Into<Box<str>>>(texts: impl IntoIterator<Item = T>) -> super::super::Sorted<Box<str>> {
    texts.into_iter().map(Into::into).collect()
}

impl<E: Row> TextField<E> {
    /// It is exactly this.
    pub fn is(self, text: impl Into<Box<str>>) -> Condition<E> {
        self.is_in([text])
    }

    /// It is exactly one of these.
    pub fn is_in<T: Into<Box<str>>>(self, items: impl IntoIterator<Item = T>) -> Condition<E> {
        self.test(Op::In(Set::Texts(texts(items))))
    }

    /// There is a text, and it is none of these.
    pub fn is_none_of<T: Into<Box<str>>>(self, items: impl IntoIterator<Item = T>) -> Condition<E> {
        self.test(Op::NoneOf(Set::Texts(texts(items))))
    }

    /// It contains this. Letters compare by Unicode simple case folding.
    pub fn contains(self, text: impl Into<Box<str>>) -> Condition<E> {
        self.test(Op::Contains(text.into()))
    }

    /// It starts with this. Letters compare by Unicode simple case folding.
    pub fn starts_with(self, text: impl Into<Box<str>>) -> Condition<E> {
        self.test(Op::StartsWith(text.into()))
    }

    /// It ends with this. Letters compare by Unicode simple case folding.
    pub fn ends_with(self, text: impl Into<Box<str>>) -> Condition<E> {
        self.test(Op::EndsWith(text.into()))
    }

    /// It fits this SQL `LIKE` pattern: `%` is any text, `_` any character, A-Z equal a-z.
    pub fn like(self, pattern: impl Into<Box<str>>) -> Condition<E> {
        self.test(Op::Like(pattern.into()))
    }

    /// It is on this side of a text, by UTF-8 bytes.
    pub fn compares(self, side: Side, text: impl Into<Box<str>>) -> Condition<E> {
        self.test(Op::Compare(side, Bound::Text(text.into())))
    }
}

impl<E: Row> BoolField<E> {
    /// It is this.
    pub fn is(self, wanted: bool) -> Condition<E> {
        self.test(Op::Is(wanted))
    }
}

macro_rules! numbers {
    ($($name:ident $value:ty, $bound:ident, $set:ident, $micros:expr;)*) => {$(
        impl<E: Row> $name<E> {
            /// It is this.
            pub fn is(self, value: $value) -> Condition<E> {
                self.is_in([value])
            }

            /// It is one of these.
            pub fn is_in(self, values: impl IntoIterator<Item = $value>) -> Condition<E> {
                self.test(Op::In(Set::$set(values.into_iter().map($micros).collect())))
            }

            /// There is a value, and it is none of these.
            pub fn is_none_of(self, values: impl IntoIterator<Item = $value>) -> Condition<E> {
                self.test(Op::NoneOf(Set::$set(values.into_iter().map($micros).collect())))
            }

            /// It is below this.
            pub fn below(self, value: $value) -> Condition<E> {
                self.test(Op::Compare(Side::Less, Bound::$bound($micros(value))))
            }

            /// It is this or below.
            pub fn at_most(self, value: $value) -> Condition<E> {
                self.test(Op::Compare(Side::AtMost, Bound::$bound($micros(value))))
            }

            /// It is this or above.
            pub fn at_least(self, value: $value) -> Condition<E> {
                self.test(Op::Compare(Side::AtLeast, Bound::$bound($micros(value))))
            }

            /// It is above this.
            pub fn above(self, value: $value) -> Condition<E> {
                self.test(Op::Compare(Side::Greater, Bound::$bound($micros(value))))
            }
        }
    )*};
}
numbers! {
    IntField i64, Int, Ints, std::convert::identity;
    DurationField Duration, Int, Ints, |value: Duration| i64::try_from(value.as_micros()).unwrap_or(i64::MAX);
    TimeField DateTime<Utc>, Time, Times, |value: DateTime<Utc>| value.timestamp_micros();
}

fn codes<W: Word>(words: impl IntoIterator<Item = impl Into<W>>) -> Set {
    Set::Codes(words.into_iter().map(|word| word.into().index()).collect())
}

impl<E: Row, W: Word> CodeField<E, W> {
    pub(super) const fn new(field: Field) -> Self {
        assert!(
            matches!(field.kind(), Kind::Code(words) if words.len() == W::WORDS),
            "a handle is of its field's vocabulary"
        );
        Self {
            field,
            row: PhantomData,
        }
    }
    fn test(self, op: Op) -> Condition<E> {
        Condition::new(Expr::test(self.field, op).expect("a handle has only the words of its vocabulary"))
    }

    /// It is this word, of the filter's vocabulary or as the model has it.
    ///
    /// ```
    /// use tenfold::filter::Query;
    /// use tenfold::filter::build::run;
    /// use tenfold::model::StateType;
    ///
    /// let failed = Query::try_from(run::state_type().is(StateType::Failed))?;
    /// # let _ = failed;
    /// # Ok::<(), tenfold::filter::Invalid>(())
    /// ```
    pub fn is(self, word: impl Into<W>) -> Condition<E> {
        self.is_in([word])
    }

    /// It is one of these.
    pub fn is_in(self, words: impl IntoIterator<Item = impl Into<W>>) -> Condition<E> {
        self.test(Op::In(codes(words)))
    }

    /// There is a word, and it is none of these.
    pub fn is_none_of(self, words: impl IntoIterator<Item = impl Into<W>>) -> Condition<E> {
        self.test(Op::NoneOf(codes(words)))
    }

    /// There is no word.
    pub fn is_null(self) -> Condition<E> {
        self.test(Op::IsNull)
    }
}

impl<E: Row> TagsField<E> {
    /// This is among them.
    pub fn has(self, tag: impl Into<Box<str>>) -> Condition<E> {
        self.has_all([tag])
    }

    /// All of these are among them.
    pub fn has_all<T: Into<Box<str>>>(self, tags: impl IntoIterator<Item = T>) -> Condition<E> {
        self.test(Op::HasAll(texts(tags)))
    }

    /// One of these is among them.
    pub fn has_any<T: Into<Box<str>>>(self, tags: impl IntoIterator<Item = T>) -> Condition<E> {
        self.test(Op::HasAny(texts(tags)))
    }

    /// There are none.
    pub fn is_empty(self) -> Condition<E> {
        self.test(Op::IsEmpty)
    }
}
