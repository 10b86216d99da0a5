//! The JSON form: the reference's filter objects and query bodies, to the letter.
//!
//! What it accepts is a body such as
//!
//! ```json
//! {"deployments": {"operator": "or_", "tags": {"all_": ["etl"]}, "paused": {"eq_": true}},
//!  "flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}, "sort": "NAME_ASC", "limit": 50, "page": 2}
//! ```
//!
//! The meaning is the reference's also where it is surprising: `%` and `_` in `like_` are wildcards and only A-Z are folded, a family
//! that is present asks for a related row even when it is `{}`, `any_: []` matches nothing and `all_: []` everything, a
//! `state.type` with both `any_` and `not_any_` is dropped. What is dropped or ignored is told as a [`Notice`]. An unknown key is
//! ignored at the top of a body and refused inside a family.

mod print;
mod reader;
mod scalar;
mod table;

use crate::suggest;
use serde_json::Value;

pub use print::Unprintable;
pub(super) use scalar::{is_plain_year, of_text as time_of_text};

use reader::Reader;

use super::Filter;
use super::field::Entity;
use super::limits::{Invalid, Limits};
use super::query::Query;

/// The form of a question in JSON.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Shape {
    /// Rows after an offset: keys `limit`, `offset`, `sort`.
    Filter,
    /// A page of rows with the count: keys `limit`, `page`, `sort`.
    Paginate,
    /// The count alone: no keys beside the families.
    Count,
}

/// One step on the way to a place in a JSON document.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// Into an object.
    Key(Box<str>),
    /// Into a list.
    Index(usize),
}

/// A place in the body of a request. As text: `body.deployments.id.any_[0]`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Location(Vec<Part>);

impl Location {
    /// The steps, the first is the key `body`.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) => {
                    let short: String = key.chars().take(40).collect();
                    write!(f, "{}{short}", if n == 0 { "" } else { "." })?;
                }
                Part::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something in a JSON filter that was read and has no effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Where it stands.
    pub location: Location,
    /// Why it has none.
    pub kind: NoticeKind,
}

/// Why something in a JSON filter has no effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NoticeKind {
    /// No key of that name is read at the top of this body.
    UnknownKey,
    /// This criterion is accepted and never tested.
    Ignored,
    /// `any_` and `not_any_` stand together, and the reference drops both.
    BothAnyAndNotAny,
    /// An empty `startswith_`, which the reference drops instead of matching nothing.
    EmptyStartsWith,
    /// `any_` beside `is_null_: true`, which decides alone.
    Overruled,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match self.kind {
            NoticeKind::UnknownKey => "unknown key, ignored",
            NoticeKind::Ignored => "accepted and ignored, rows are not tested by it",
            NoticeKind::BothAnyAndNotAny => "`any_` with `not_any_` is dropped; use one of them",
            NoticeKind::EmptyStartsWith => "an empty `startswith_` is dropped; leave it out or name a prefix",
            NoticeKind::Overruled => "`any_` is ignored beside `is_null_: true`; use one of them",
        };
        write!(f, "{}: {why}", self.location)
    }
}

/// A JSON body that is no question.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{location}: {kind}")]
pub struct Refusal {
    /// The place of the fault, as the reference would name it.
    pub location: Location,
    /// The fault.
    pub kind: RefusalKind,
}

/// What is wrong with a JSON body.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalKind {
    /// A value of a type that cannot stand there.
    #[error("{found} is not {expected}")]
    Type {
        /// What can stand there, in words.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// A key that this filter does not have.
    #[error("unknown key; known here: {}{}", known.join(", "), suggest::phrase(*suggestion))]
    UnknownKey {
        /// The keys it has.
        known: Vec<&'static str>,
        /// The one that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A word outside a closed vocabulary.
    #[error("{found} is none of {}{}", choices.join(", "), suggest::phrase(*suggestion))]
    Word {
        /// The vocabulary.
        choices: Vec<&'static str>,
        /// What stands there, shortened.
        found: String,
        /// The one that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A number outside its range.
    #[error("{found} is not from {least} to {most}")]
    Range {
        /// The least that is allowed.
        least: i64,
        /// The most that is allowed.
        most: i64,
        /// The number.
        found: i64,
    },
    /// The filter is larger than the limits allow.
    #[error(transparent)]
    Large(Invalid),
}

impl Query {
    /// Reads the body of a question about rows of `entity`.
    ///
    /// A body of `null` is `{}`. The result [notices](Query::notices) what has no effect.
    ///
    /// # Errors
    ///
    /// [`Refusal`] names the place of the first fault and the way out. Nothing larger than `limits` is accepted.
    ///
    /// ```
    /// use serde_json::json;
    /// use tenfold::filter::{Entity, Limits, Query, Shape};
    ///
    /// let body = json!({"deployments": {"tags": {"al_": ["etl"]}}, "limit": 10});
    /// let refusal = Query::from_json(Entity::Deployment, Shape::Paginate, &body, &Limits::default()).unwrap_err();
    /// assert_eq!(
    ///     refusal.to_string(),
    ///     "body.deployments.tags.al_: unknown key; known here: all_, any_, is_null_, operator (did you mean `all_`?)"
    /// );
    /// ```
    pub fn from_json(entity: Entity, shape: Shape, body: &Value, limits: &Limits) -> Result<Self, Refusal> {
        Reader::new(limits).query(entity, shape, body, None)
    }

    /// Reads the body of a question about the queues of the pool named `pool`, which come by priority.
    ///
    /// Whether there is such a pool is for the caller to find out: the query just finds nothing if not.
    ///
    /// # Errors
    ///
    /// As [`Query::from_json`].
    pub fn of_pool_from_json(
        pool: &str,
        shape: Shape,
        body: &Value,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        Reader::new(limits).query(Entity::Queue, shape, body, Some(pool))
    }
}

impl Filter {
    /// Reads the families of a body, as [`Query::from_json`] does; every other key is ignored with a notice.
    ///
    /// So a body without its family (`{"tags": {...}}` in place of `{"deployments": {"tags": {...}}}`) matches *everything*, as
    /// in the reference, and only [`notices`](Filter::notices) tells: look at them before the filter decides anything.
    ///
    /// # Errors
    ///
    /// [`Refusal`] names the place of the first fault and the way out.
    ///
    /// ```
    /// use serde_json::json;
    /// use tenfold::filter::{Entity, Filter, Limits};
    ///
    /// let filter = Filter::from_json(
    ///     Entity::Deployment,
    ///     &json!({"deployments": {"tags": {"all_": ["etl"]}}, "work_queues": {}}),
    ///     &Limits::default(),
    /// )?;
    /// assert_eq!(filter.to_string(), r#"tags has_all ["etl"]"#);
    /// assert_eq!(filter.notices()[0].to_string(), "body.work_queues: unknown key, ignored");
    /// # Ok::<(), tenfold::filter::Refusal>(())
    /// ```
    pub fn from_json(entity: Entity, body: &Value, limits: &Limits) -> Result<Self, Refusal> {
        Reader::new(limits)
            .query(entity, Shape::Count, body, None)
            .map(|query| query.filter().clone())
    }
}
