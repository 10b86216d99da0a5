//! The text form: what a person writes.
//!
//! ```text
//! deployment.tags has_all ["etl"] and not paused
//! state_type in [RUNNING, PENDING] and start_time < now - 2h
//! any run where (state_name = "Crashed" and no task_run where (name starts_with "load")) or queue.pool.name = "gpu"
//! ```
//!
//! # Grammar
//!
//! ```text
//! filter   = and { "or" and }
//! and      = unary { "and" unary }
//! unary    = "not" unary | "(" filter ")" | "true" | "false" | related | test
//! related  = ( "any" | "no" ) relation [ "where" "(" filter ")" ]
//! test     = path                                           (a boolean field: it is true)
//!          | path ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!          | path [ "not" ] "in" list
//!          | path "none_of" list
//!          | path "is" [ "not" ] ( "null" | "empty" )
//!          | path [ "not" ] ( "like" | "contains" | "starts_with" | "ends_with" ) text
//!          | path ( "has_all" | "has_any" ) list | path "has" text
//! path     = [ entity "." ] { relation "." } field
//! list     = "[" [ value { "," value } [ "," ] ] "]"
//! value    = text | word | number | duration | time | "true" | "false"
//! text     = '"' … '"' | "'" … "'"            with \" \' \\ \n \r \t \u{1F680}
//! time     = text ("2024-05-01", "2024-05-01T10:00:00Z") | "now" [ ( "+" | "-" ) duration ] | "@" microseconds
//! duration = [ "-" ] { digits ( "w" | "d" | "h" | "m" | "s" | "ms" | "us" ) }
//! ```
//!
//! `or` binds least, then `and`, then `not`. Keywords are read in any letter case, names of fields are not. `word` is for fields with
//! a closed vocabulary, `state_type = RUNNING`. `now` is an argument of [`Filter::parse`], and gone from the tree.
//!
//! # Meaning
//!
//! * A test is false on null, `is null` excepted. `not` is the complement, and `!=`, `not in`, `is not null` are `not` with the
//!   operator: `version != "1"` holds where there is no version. `none_of` asks for a value that is not in the list.
//! * `contains`, `starts_with` and `ends_with` take the text as it stands and compare letters by Unicode simple case folding; `like` is
//!   SQL's, with `%` and `_`, and folds A-Z only. `=`, `in` and the tag operators are exact. `<` compares texts by their bytes.
//! * `any run where (…)` holds if one of the related rows passes; `no` is its complement. Inside the parentheses names are those
//!   of the related row.
//! * A path may go through relations that lead to one row: `queue.pool.name = "gpu"` is `any queue where (any pool where (name = "gpu"))`.
//!   A path that leads nowhere ends in null.
//!
//! # Printing
//!
//! Every tree prints ([`std::fmt::Display`] of [`Filter`] and [`Expr`](super::Expr)), and what is printed parses back to an equal tree.

mod error;
mod lexer;
mod operand;
mod parser;
mod print;

pub use error::{TextError, TextErrorKind};

use chrono::{DateTime, Utc};

use super::Filter;
use super::field::Entity;
use super::limits::Limits;

impl Filter {
    /// Reads a condition on rows of `entity` from text; see the [module](self) for the grammar. `now` is what the text calls
    /// `now`.
    ///
    /// # Errors
    ///
    /// [`TextError`] owns the text, knows the place, and prints both with a caret. Time and memory are bounded by `limits`.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use tenfold::filter::{Entity, Filter, Limits};
    ///
    /// let (now, limits) = (DateTime::UNIX_EPOCH, Limits::default());
    /// let filter = Filter::parse(Entity::Run, "start_time < now - 1h and tags has_any ['etl']", now, &limits)?;
    /// assert_eq!(filter.to_string(), r#"start_time < "1969-12-31T23:00:00Z" and tags has_any ["etl"]"#);
    ///
    /// let error = Filter::parse(Entity::Run, "priority > 3 and stat_type = RUNNING", now, &limits).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "a run has no field `stat_type` (did you mean `state_type`?)\n  \
    ///        | priority > 3 and stat_type = RUNNING\n  \
    ///        |                  ^^^^^^^^^"
    /// );
    /// # Ok::<(), tenfold::filter::TextError>(())
    /// ```
    pub fn parse(entity: Entity, text: &str, now: DateTime<Utc>, limits: &Limits) -> Result<Self, TextError> {
        let expr = parser::parse(entity, text, now.timestamp_micros(), limits)?;
        Self::new(entity, expr, limits)
            .map_err(|invalid| TextError::new(text, 0..text.len(), TextErrorKind::Large(invalid)))
    }
}
