//! How large a filter may be, and the check that a tree is one.

use super::expr::{Bound, Expr, Node, Op, Set};
use super::field::{Entity, Field};
use super::relation::Relation;

/// How large a filter and its pages may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Nodes on the longest way down the tree. Default 32, at most [`Expr::DEPTH_MAX`].
    pub depth: u8,
    /// Nodes in the tree. Default 10,000.
    pub nodes: usize,
    /// Items in all the lists of a filter together. Default 100,000.
    pub items: usize,
    /// Bytes of one text operand, pattern or tag. Default 65,536.
    pub operand: usize,
    /// Bytes of a filter in the text form. Default 4 MiB.
    pub source: usize,
    /// `Exists` inside `Exists`; a related row's related rows multiply. Default 6.
    pub relations: u8,
    /// Rows of a page when none are named, and the most that may be named. Default 200.
    pub page: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 32,
            nodes: 10_000,
            items: 100_000,
            operand: 65_536,
            source: 4 << 20,
            relations: 6,
            page: 200,
        }
    }
}

/// A tree that is no filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A field or relation of another kind of row stands where rows of this kind are tested.
    #[error("{what} is not of a {expected}; reach it through `Exists` and a relation")]
    Stranger {
        /// The kind of row tested there.
        expected: Entity,
        /// The stranger.
        what: Stranger,
    },
    /// More levels than [`Limits::depth`].
    #[error("the filter is more than {limit} levels deep; flatten it or raise the limit `depth`")]
    Depth {
        /// The limit.
        limit: u8,
    },
    /// More nodes than [`Limits::nodes`].
    #[error("the filter has more than {limit} nodes; use a list operator or raise the limit `nodes`")]
    Nodes {
        /// The limit.
        limit: usize,
    },
    /// More list items than [`Limits::items`].
    #[error("the lists of the filter hold more than {limit} items; ask in parts or raise the limit `items`")]
    Items {
        /// The limit.
        limit: usize,
    },
    /// A text longer than [`Limits::operand`].
    #[error(
        "a text of {bytes} bytes is longer than the {limit} allowed; shorten it or raise the limit `operand`"
    )]
    Operand {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More relations inside one another than [`Limits::relations`].
    #[error(
        "the filter follows more than {limit} relations in a row; start nearer or raise the limit `relations`"
    )]
    Relations {
        /// The limit.
        limit: u8,
    },
}

/// A field or relation, in [`Invalid::Stranger`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stranger {
    /// A field.
    Field(Field),
    /// A relation.
    Relation(Relation),
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(field) => write!(f, "the field {field}"),
            Self::Relation(relation) => write!(f, "the relation {relation}"),
        }
    }
}

impl Limits {
    /// Checks that `expr` is a condition on rows of `entity`, within these limits.
    ///
    /// # Errors
    ///
    /// [`Invalid`] says what is not.
    pub fn check(&self, entity: Entity, expr: &Expr) -> Result<(), Invalid> {
        if expr.depth() > self.depth.min(Expr::DEPTH_MAX - 1) {
            return Err(Invalid::Depth {
                limit: self.depth.min(Expr::DEPTH_MAX - 1),
            });
        }
        Count {
            limits: self,
            nodes: 0,
            items: 0,
        }
        .visit(entity, expr, 0)
    }
}

/// A walk that adds up. Its recursion is bounded by X1.
struct Count<'a> {
    limits: &'a Limits,
    nodes: usize,
    items: usize,
}

impl Count<'_> {
    fn visit(&mut self, entity: Entity, expr: &Expr, relations: u8) -> Result<(), Invalid> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(Invalid::Nodes {
                limit: self.limits.nodes,
            });
        }
        match expr.node() {
            Node::And(children) | Node::Or(children) => children
                .iter()
                .try_for_each(|child| self.visit(entity, child, relations)),
            Node::Not(inner) => self.visit(entity, inner, relations),
            Node::Test(test) if test.field().entity() != entity => Err(Invalid::Stranger {
                expected: entity,
                what: Stranger::Field(test.field()),
            }),
            Node::Test(test) => self.operand(test.op()),
            Node::Exists(relation, _) if relation.source() != entity => Err(Invalid::Stranger {
                expected: entity,
                what: Stranger::Relation(*relation),
            }),
            Node::Exists(relation, inner) => {
                if relations >= self.limits.relations {
                    return Err(Invalid::Relations {
                        limit: self.limits.relations,
                    });
                }
                self.visit(relation.target(), inner, relations + 1)
            }
            Node::TooDeep => Err(Invalid::Depth {
                limit: Expr::DEPTH_MAX - 1,
            }),
        }
    }

    fn operand(&mut self, op: &Op) -> Result<(), Invalid> {
        match op {
            Op::IsNull | Op::Is(_) | Op::IsEmpty | Op::Compare(_, Bound::Int(_) | Bound::Time(_)) => Ok(()),
            Op::Compare(_, Bound::Text(text))
            | Op::Like(text)
            | Op::Contains(text)
            | Op::StartsWith(text)
            | Op::EndsWith(text) => self.text(text),
            Op::In(Set::Texts(texts))
            | Op::NoneOf(Set::Texts(texts))
            | Op::HasAll(texts)
            | Op::HasAny(texts) => {
                self.count(texts.len())?;
                texts.iter().try_for_each(|text| self.text(text))
            }
            Op::In(set) | Op::NoneOf(set) => self.count(set.len()),
        }
    }

    fn count(&mut self, items: usize) -> Result<(), Invalid> {
        self.items = self.items.saturating_add(items);
        if self.items > self.limits.items {
            return Err(Invalid::Items {
                limit: self.limits.items,
            });
        }
        Ok(())
    }

    fn text(&self, text: &str) -> Result<(), Invalid> {
        if text.len() > self.limits.operand {
            return Err(Invalid::Operand {
                bytes: text.len(),
                limit: self.limits.operand,
            });
        }
        Ok(())
    }
}
