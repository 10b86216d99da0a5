//! Which: one expression tree for conditions on flows, deployments, runs, task runs, pools and queues, and its evaluation.

pub mod build;
mod cursor;
mod explain;
mod expr;
mod field;
pub mod json;
mod limits;
mod pattern;
mod program;
mod query;
mod records;
mod relation;
mod short;
pub mod text;

use std::sync::Arc;

pub use cursor::{Cursor, CursorError};
pub use explain::{By, Explained, Tested, Way};
pub use expr::{Bound, Expr, Mismatch, Node, Op, Set, Side, Sorted, Test};
pub use field::{Entity, Field, Kind, PLACES, Place, STATE_TYPES, STATUSES, StateType, Status};
pub use json::{Location, Notice, NoticeKind, Part, Refusal, RefusalKind, Shape, Unprintable};
pub use limits::{Invalid, Limits, Stranger};
pub use query::{Answer, Direction, Query, QueryError, Sort, SortKey, Start};
pub use records::{Records, Tags, Value};
pub use relation::Relation;
pub use text::{TextError, TextErrorKind};

pub(crate) use pattern::fold;
pub(crate) use program::Program;
pub(crate) use records::{Owned, read};

/// A condition on rows of one kind: checked, compiled, and then never changed.
///
/// Matching cannot fail and allocates nothing. A clone shares the compiled form, so it costs a counter.
#[derive(Clone)]
pub struct Filter(Arc<Inner>);

struct Inner {
    entity: Entity,
    expr: Expr,
    program: Program,
    notices: Vec<Notice>,
}

impl Filter {
    /// Compiles a condition on rows of `entity`.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it tests a field of other rows or is larger than `limits`.
    pub fn new(entity: Entity, expr: Expr, limits: &Limits) -> Result<Self, Invalid> {
        limits.check(entity, &expr)?;
        let program = Program::new(&expr);
        Ok(Self(Arc::new(Inner {
            entity,
            expr,
            program,
            notices: Vec::new(),
        })))
    }

    /// The filter that every row of `entity` passes.
    #[must_use]
    pub fn everything(entity: Entity) -> Self {
        let expr = Expr::yes();
        let program = Program::new(&expr);
        Self(Arc::new(Inner {
            entity,
            expr,
            program,
            notices: Vec::new(),
        }))
    }

    pub(crate) fn noticing(self, notices: Vec<Notice>) -> Self {
        if notices.is_empty() {
            return self;
        }
        let Inner { entity, expr, .. } = &*self.0;
        let (entity, expr) = (*entity, expr.clone());
        let program = Program::new(&expr);
        Self(Arc::new(Inner {
            entity,
            expr,
            program,
            notices,
        }))
    }

    /// The kind of rows it is about.
    #[must_use]
    pub fn entity(&self) -> Entity {
        self.0.entity
    }

    /// The condition it was made from.
    #[must_use]
    pub fn expr(&self) -> &Expr {
        &self.0.expr
    }

    /// What was ignored while reading the JSON form; empty for the other forms. A caller who changes rows by a filter refuses it
    /// unless this is empty.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.0.notices
    }

    /// Whether the row passes. Time grows with the tests that decide it, and with the related rows looked at.
    #[must_use]
    #[inline]
    pub fn matches<R: Records + ?Sized>(&self, records: &R, row: u32) -> bool {
        self.0.program.matches(records, row)
    }
}

/// Two filters are equal if they are about the same kind of row and their trees are.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.entity() == other.entity() && self.expr() == other.expr()
    }
}

impl Eq for Filter {}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("entity", &self.entity())
            .field("expr", self.expr())
            .finish_non_exhaustive()
    }
}
