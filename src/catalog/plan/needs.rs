//! What a query needs: of which tables an index, and of which of these what.

use crate::catalog::index::{Index, Wants, inverse};
use crate::catalog::view::Tables;
use crate::filter::{Entity, Expr, Field, Node, Query, Relation};

use super::ways::Wanted;

/// The indexes that a query reads, by the kind of their rows.
pub(crate) type Known<'a> = [Option<&'a Index>; Entity::ALL.len()];

/// What a query needs, as far as its filter and sort say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Of the index of each table.
    pub(crate) wants: [Wants; Entity::ALL.len()],
    /// Some test is answered from rows, its own or related ones.
    pub(crate) reads_rows: bool,
    /// Whether a run is blocked matters.
    pub(crate) reads_place: bool,
}

impl Plan {
    /// The tables whose indexes a query reads: its own, and those that relations in its filter lead to.
    pub(crate) fn entities(query: &Query) -> [bool; Entity::ALL.len()] {
        let mut found = [false; Entity::ALL.len()];
        found[query.entity() as usize] = true;
        lead(query.filter().expr(), &mut found);
        found
    }

    /// What `query` needs of the indexes of its [`entities`](Self::entities), which need not be built yet.
    pub(crate) fn of(query: &Query, known: &Known<'_>, wanted: Wanted) -> Self {
        let mut plan = Self::default();
        let entity = query.entity();
        plan.need(query.filter().expr(), entity, known);
        if wanted.rows && query.limit() > 0 {
            let sorts = |key: &_| known[entity as usize].is_some_and(|index| index.sorts_by(*key));
            let order = query.single_key().filter(sorts);
            plan.wants[entity as usize].order = order;
            plan.reads_rows |= order.is_none();
            plan.reads_place |= query.sort().iter().any(|key| key.field == Field::RunPlace);
        }
        plan
    }

    /// Whether everything that is wanted has been built.
    pub(crate) fn is_met(&self, known: &Known<'_>) -> bool {
        (known.iter().zip(&self.wants)).all(|(index, wants)| index.is_none_or(|index| index.has(wants)))
    }

    /// The tables that are read besides the indexes, and whether it matters which runs are blocked. `shows_rows` says that the
    /// answer is made from the rows themselves.
    pub(crate) fn reads(&self, entity: Entity, shows_rows: bool) -> (Tables<'static>, bool) {
        let shows_place = shows_rows && entity == Entity::Run;
        let tables = match (self.reads_rows || shows_place, shows_rows) {
            (true, _) => Tables::All,
            (false, true) => Tables::Only(entity),
            (false, false) => Tables::None,
        };
        (tables, self.reads_place || shows_place)
    }

    fn need(&mut self, expr: &Expr, entity: Entity, known: &Known<'_>) {
        let Some(index) = known[entity as usize] else {
            self.reads_rows = true;
            self.reads_place |= asks_place(expr);
            return;
        };
        let wants = &mut self.wants[entity as usize];
        match expr.node() {
            Node::And(children) | Node::Or(children) => {
                children.iter().for_each(|child| self.need(child, entity, known));
            }
            Node::Not(inner) => self.need(inner, entity, known),
            Node::Test(test) => {
                if test.field() == Field::RunPlace {
                    // Which of the ready ones are blocked: limits say so by name, queues and deployments by their rows.
                    self.reads_place = true;
                    self.reads_rows = true;
                    for relation in [Relation::RunQueue, Relation::RunDeployment] {
                        if index.takes_link(relation) {
                            add(&mut wants.links, relation);
                        }
                    }
                }
                if index.takes(test.field()) {
                    add(&mut wants.fields, test.field());
                } else {
                    self.reads_rows = true;
                }
            }
            Node::Exists(relation, inner) => {
                match inverse(*relation) {
                    Some(inverse) => add(&mut self.wants[relation.target() as usize].kin, inverse),
                    None if index.takes_link(*relation) => add(&mut wants.links, *relation),
                    None if follows(*relation) => add(&mut wants.kin, *relation),
                    None => {
                        self.reads_rows = true;
                        self.reads_place |= asks_place(inner);
                        return;
                    }
                }
                self.need(inner, relation.target(), known);
            }
            _ => self.reads_rows = true,
        }
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Whether a relation is answered from indexes: rows name the other row themselves, from the one end or the other.
fn follows(relation: Relation) -> bool {
    inverse(relation).is_some() || Index::names(relation)
}

/// The tables that relations of an expression lead to.
fn lead(expr: &Expr, found: &mut [bool; Entity::ALL.len()]) {
    match expr.node() {
        Node::And(children) | Node::Or(children) => children.iter().for_each(|child| lead(child, found)),
        Node::Not(inner) => lead(inner, found),
        Node::Exists(relation, inner) if follows(*relation) => {
            found[relation.target() as usize] = true;
            lead(inner, found);
        }
        _ => {}
    }
}

fn asks_place(expr: &Expr) -> bool {
    match expr.node() {
        Node::And(children) | Node::Or(children) => children.iter().any(asks_place),
        Node::Not(inner) | Node::Exists(_, inner) => asks_place(inner),
        Node::Test(test) => test.field() == Field::RunPlace,
        _ => false,
    }
}
