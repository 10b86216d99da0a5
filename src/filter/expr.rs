//! The one expression tree that every form of a filter becomes.
//!
//! Evaluation is two-valued: a test is false on null unless it asks for null ([`Op::IsNull`]), and `Not` is the complement. Two
//! meanings are two operators: what the JSON form calls `like_` is [`Op::Like`], what the text form calls `contains` is
//! [`Op::Contains`].

use uuid::Uuid;

use super::field::{Field, Kind};
use super::relation::Relation;

/// A condition on a row.
///
/// # Invariants
///
/// * **X1** no tree is deeper than [`Expr::DEPTH_MAX`]: what would be becomes [`Node::TooDeep`], which no filter accepts. So
///   walking, comparing, cloning and dropping a tree need a bounded stack;
/// * **X2** `And` and `Or` never hold exactly one child (that child takes their place);
/// * **X3** every [`Test`] has an operator that fits its field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expr {
    node: Node,
    depth: u8,
}

/// What an [`Expr`] is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Node {
    /// All of them hold; true when there are none.
    And(Vec<Expr>),
    /// One of them holds; false when there are none.
    Or(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// A field passes a test.
    Test(Test),
    /// It holds for a related row.
    Exists(Relation, Box<Expr>),
    /// In place of a tree deeper than [`Expr::DEPTH_MAX`].
    TooDeep,
}

impl Expr {
    /// How deep a tree can be at all. The setting [`Limits::depth`](super::Limits::depth) is at most this.
    pub const DEPTH_MAX: u8 = 100;

    /// All of `children` hold. True without children; a single child stands for itself.
    pub fn all(children: impl IntoIterator<Item = Self>) -> Self {
        Node::And(children.into_iter().collect()).into()
    }

    /// One of `children` holds. False without children; a single child stands for itself.
    pub fn any(children: impl IntoIterator<Item = Self>) -> Self {
        Node::Or(children.into_iter().collect()).into()
    }

    /// Always true: `And([])`.
    #[must_use]
    pub fn yes() -> Self {
        Self::all([])
    }

    /// Always false: `Or([])`.
    #[must_use]
    pub fn no() -> Self {
        Self::any([])
    }

    /// The complement.
    #[must_use]
    pub fn negated(self) -> Self {
        Node::Not(Box::new(self)).into()
    }

    /// `inner` holds for a row that `relation` leads to.
    #[must_use]
    pub fn exists(relation: Relation, inner: Self) -> Self {
        Node::Exists(relation, Box::new(inner)).into()
    }

    /// `field` passes `op`.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] if the operator does not fit the field's type.
    pub fn test(field: Field, op: Op) -> Result<Self, Mismatch> {
        Test::new(field, op).map(|test| Node::Test(test).into())
    }

    /// The same condition, written in one way where there are several: no `and` inside an `and`, no `or` inside an `or`, no
    /// parts that decide nothing, children in a fixed order and each once, no double `not`, nothing sought in an empty list. Equal plain
    /// forms hold for the same rows.
    #[must_use]
    pub fn plain(&self) -> Self {
        match &self.node {
            Node::And(children) => plain_list(children, true),
            Node::Or(children) => plain_list(children, false),
            Node::Not(inner) => match inner.plain().node {
                Node::Not(inner) => *inner,
                Node::And(children) if children.is_empty() => Self::no(),
                Node::Or(children) if children.is_empty() => Self::yes(),
                node => Self::from(node).negated(),
            },
            Node::Exists(relation, inner) => Self::exists(*relation, inner.plain()),
            Node::Test(test) => match &test.op {
                Op::In(set) if set.is_empty() => Self::no(),
                Op::HasAny(tags) if tags.is_empty() => Self::no(),
                Op::HasAll(tags) if tags.is_empty() => Self::yes(),
                _ => self.clone(),
            },
            Node::TooDeep => self.clone(),
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// What it was made of.
    #[must_use]
    pub fn into_node(self) -> Node {
        self.node
    }

    /// Nodes on the longest way down, itself included.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }
}

/// The plain form of an `and` (or an `or`) of `children`.
fn plain_list(children: &[Expr], is_and: bool) -> Expr {
    let mut parts = Vec::new();
    for child in children {
        match child.plain().node {
            Node::And(inner) if is_and => parts.extend(inner),
            Node::Or(inner) if !is_and => parts.extend(inner),
            // The other connective without children decides alone.
            Node::And(inner) | Node::Or(inner) if inner.is_empty() => {
                return if is_and { Expr::no() } else { Expr::yes() };
            }
            node => parts.push(Expr::from(node)),
        }
    }
    parts.sort_by_cached_key(|part| format!("{part:?}"));
    parts.dedup();
    if is_and {
        Expr::all(parts)
    } else {
        Expr::any(parts)
    }
}

impl From<Node> for Expr {
    fn from(mut node: Node) -> Self {
        let below = match &mut node {
            Node::And(children) | Node::Or(children) => {
                if children.len() == 1 {
                    return children.pop().expect("there is one child"); // X2
                }
                children.iter().map(Self::depth).max().unwrap_or(0)
            }
            Node::Not(inner) | Node::Exists(_, inner) => inner.depth,
            Node::Test(_) => 0,
            Node::TooDeep => Self::DEPTH_MAX,
        };
        if below < Self::DEPTH_MAX {
            Self {
                node,
                depth: below + 1,
            }
        } else {
            Self {
                node: Node::TooDeep,
                depth: Self::DEPTH_MAX,
            } // X1
        }
    }
}

/// A field and what it must pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Test {
    field: Field,
    op: Op,
}

impl Test {
    /// Pairs a field with an operator that fits it.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] if it does not.
    pub fn new(field: Field, op: Op) -> Result<Self, Mismatch> {
        if op.fits(field.kind()) {
            Ok(Self { field, op })
        } else {
            Err(Mismatch { field, op: op.name() })
        }
    }

    /// The field.
    #[must_use]
    pub const fn field(&self) -> Field {
        self.field
    }

    /// The operator and its operand.
    #[must_use]
    pub const fn op(&self) -> &Op {
        &self.op
    }
}

/// An operator was put on a field of a type that it cannot test.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{op}` cannot test {field}, which is {kind}", kind = field.kind().name())]
pub struct Mismatch {
    /// The field.
    pub field: Field,
    /// The operator's name in the text form.
    pub op: &'static str,
}

/// What a field's value must pass. All are false on null but `IsNull`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// The value is null. Any field but tags.
    IsNull,
    /// The boolean is this one.
    Is(bool),
    /// The value is in the set. Any field but booleans and tags.
    In(Set),
    /// There is a value and it is not in the set. (The complement of `In` holds on null too.)
    NoneOf(Set),
    /// The number, duration, time or text is on this side of the bound.
    Compare(Side, Bound),
    /// SQL `LIKE`: `%` is any text, `_` any one character, A-Z and a-z are equal, backslash is a plain character.
    Like(Box<str>),
    /// The text contains this one, letters compared by Unicode simple case folding.
    Contains(Box<str>),
    /// The text starts with this one, letters compared by Unicode simple case folding.
    StartsWith(Box<str>),
    /// The text ends with this one, letters compared by Unicode simple case folding.
    EndsWith(Box<str>),
    /// Every one of these is among the tags. True when there are none. Exact text.
    HasAll(Sorted<Box<str>>),
    /// One of these is among the tags. False when there are none. Exact text.
    HasAny(Sorted<Box<str>>),
    /// There are no tags.
    IsEmpty,
}

impl Op {
    /// The operator's name in the text form.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::IsNull => "is null",
            Self::Is(_) => "=",
            Self::In(_) => "in",
            Self::NoneOf(_) => "none_of",
            Self::Compare(side, _) => side.symbol(),
            Self::Like(_) => "like",
            Self::Contains(_) => "contains",
            Self::StartsWith(_) => "starts_with",
            Self::EndsWith(_) => "ends_with",
            Self::HasAll(_) => "has_all",
            Self::HasAny(_) => "has_any",
            Self::IsEmpty => "is empty",
        }
    }

    fn fits(&self, kind: Kind) -> bool {
        match self {
            Self::IsNull => kind != Kind::Tags,
            Self::Is(_) => kind == Kind::Bool,
            Self::In(set) | Self::NoneOf(set) => match (set, kind) {
                (Set::Uuids(_), Kind::Uuid)
                | (Set::Texts(_), Kind::Text)
                | (Set::Ints(_), Kind::Int | Kind::Duration)
                | (Set::Times(_), Kind::Time) => true,
                (Set::Codes(codes), Kind::Code(words)) => {
                    codes.iter().all(|&code| (code as usize) < words.len())
                }
                _ => false,
            },
            Self::Compare(_, bound) => matches!(
                (bound, kind),
                (Bound::Int(_), Kind::Int | Kind::Duration)
                    | (Bound::Time(_), Kind::Time)
                    | (Bound::Text(_), Kind::Text)
            ),
            Self::Like(_) | Self::Contains(_) | Self::StartsWith(_) | Self::EndsWith(_) => kind == Kind::Text,
            Self::HasAll(_) | Self::HasAny(_) | Self::IsEmpty => kind == Kind::Tags,
        }
    }
}

/// On which side of a bound a value must be.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// Below it.
    Less,
    /// Below it or equal.
    AtMost,
    /// Equal or above it.
    AtLeast,
    /// Above it.
    Greater,
}

impl Side {
    /// How it is written: `<`, `<=`, `>=`, `>`.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Greater => ">",
        }
    }

    /// Whether `ordering` (of value against bound) is on this side.
    #[must_use]
    #[inline]
    pub const fn admits(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::AtLeast => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

/// What a value is compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Bound {
    /// A number, or a duration in microseconds.
    Int(i64),
    /// Microseconds since 1970 UTC.
    Time(i64),
    /// A text, compared by its UTF-8 bytes.
    Text(Box<str>),
}

/// Values to be one of. Order and repetition of what it was made from mean nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Set {
    /// Uuids.
    Uuids(Sorted<Uuid>),
    /// Texts, compared exactly.
    Texts(Sorted<Box<str>>),
    /// Numbers, or durations in microseconds.
    Ints(Sorted<i64>),
    /// Microseconds since 1970 UTC.
    Times(Sorted<i64>),
    /// Indices in the vocabulary of the field.
    Codes(Sorted<u8>),
}

impl Set {
    /// How many different values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Uuids(items) => items.len(),
            Self::Texts(items) => items.len(),
            Self::Ints(items) | Self::Times(items) => items.len(),
            Self::Codes(items) => items.len(),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An empty set of the type that `kind` needs; `None` for booleans and tags, which are not tested by sets.
    #[must_use]
    pub fn empty(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Uuid => Some(Self::Uuids(Sorted::default())),
            Kind::Text => Some(Self::Texts(Sorted::default())),
            Kind::Int | Kind::Duration => Some(Self::Ints(Sorted::default())),
            Kind::Time => Some(Self::Times(Sorted::default())),
            Kind::Code(_) => Some(Self::Codes(Sorted::default())),
            Kind::Bool | Kind::Tags => None,
        }
    }
}

/// A list in ascending order, each item once.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sorted<T>(Box<[T]>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: Ord> From<Vec<T>> for Sorted<T> {
    fn from(mut items: Vec<T>) -> Self {
        items.sort_unstable();
        items.dedup();
        Self(items.into_boxed_slice())
    }
}

impl<T: Ord> FromIterator<T> for Sorted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl<T> std::ops::Deref for Sorted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}
