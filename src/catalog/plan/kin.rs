//! Tests of related rows: `any run where …`, and what a run's deployment or queue is like.
//!
//! There are two ways to answer one, and both give the same rows:
//!
//! | way | how | quick when |
//! |---|---|---|
//! | join | the related rows that pass are found first, by their own index; then the rows that they belong to | most rows are asked |
//! | related | each row asks those that are related to it, until one passes | few rows are asked, or most pass at once |
//!
//! The estimates choose before a row is asked. Rows that are asked after that add up what they cost: once it is as much as the join,
//! the join is made. So the worst choice costs twice the best.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::part::{Part, Sources, What, small};
use crate::catalog::index::{Kin, RowSet, Values, WORDS, inverse};
use crate::filter::{Expr, Owned, Place, Program, Relation};

/// What a step from a row to a related one costs, in nanoseconds or so.
const STEP: f64 = 8.0;

/// A test of related rows.
pub(super) struct Kindred<'a> {
    kin: &'a Kin,
    /// Whether the relation leads from a row to many.
    many: bool,
    /// Of the related rows.
    sources: Sources<'a>,
    part: Part<'a>,
    /// The rows to which a related row that passes belongs.
    joined: OnceCell<RowSet>,
    /// What asking rows has cost so far, and what a join costs.
    spent: Cell<f64>,
    price: f64,
}

impl Kindred<'_> {
    /// The rows that pass, if they are known.
    pub(super) fn set(&self) -> Option<&RowSet> {
        self.joined.get()
    }

    /// What finding them costs.
    pub(super) fn price(&self) -> f64 {
        if self.set().is_some() { 0.0 } else { self.price }
    }

    /// Finds them. `rows` are those that the test is about.
    pub(super) fn join(&self, rows: &Sources<'_>) -> &RowSet {
        self.joined.get_or_init(|| {
            let mut words = vec![0_u64; (rows.index.bound() as usize).div_ceil(64)];
            let mut mark = |row: u32| {
                if let Some(word) = words.get_mut(row as usize / 64) {
                    *word |= 1 << (row % 64);
                }
            };
            self.sources.every(&self.part, |row| {
                if self.many {
                    self.kin.parent(row).into_iter().for_each(&mut mark);
                } else {
                    self.kin.children(row).for_each(&mut mark);
                }
            });
            for (block, words) in words.chunks_mut(WORDS).enumerate() {
                rows.index.live().and_into(block, words);
            }
            RowSet::of_bits(&words)
        })
    }

    /// Whether a row passes.
    pub(super) fn passes(&self, rows: &Sources<'_>, row: u32) -> bool {
        if let Some(set) = self.set() {
            return set.contains(row);
        }
        if self.price < self.spent.get() {
            return self.join(rows).contains(row);
        }
        let mut asked = 0;
        let passes = |row: u32| {
            asked += 1;
            self.sources.passes(&self.part, row)
        };
        let found = if self.many {
            self.kin.children(row).any(passes)
        } else {
            self.kin.parent(row).is_some_and(passes)
        };
        self.sources.look(asked);
        let cost = small(usize::try_from(asked).unwrap_or(usize::MAX)) * (self.part.each + STEP);
        self.spent.set(self.spent.get() + cost + STEP);
        found
    }

    /// So many rows are about to be asked: makes the join if that is sooner done.
    pub(super) fn expect(&self, rows: &Sources<'_>, asked: u64) {
        let asked = small(usize::try_from(asked).unwrap_or(usize::MAX));
        if self.set().is_none() && self.price < self.spent.get() + asked * self.each(rows) {
            self.join(rows);
        }
    }

    /// What asking one row costs: its related ones are asked until one passes.
    fn each(&self, rows: &Sources<'_>) -> f64 {
        let related = if self.many {
            small(self.kin.linked()) / rows.rows()
        } else {
            1.0
        };
        STEP + related.min(1.0 / self.part.share.max(1e-9)) * (self.part.each + STEP)
    }
}

impl<'a> Sources<'a> {
    /// The part for a test of related rows.
    pub(super) fn exists(&self, expr: &Expr, relation: Relation, inner: &Expr) -> Part<'a> {
        let named = inverse(relation).unwrap_or(relation);
        let related = self.known[relation.target() as usize];
        if let Some(values) = self.index.link(relation)
            && let Some(sources) = self.related(relation)
        {
            return self.one(values, &sources, inner);
        }
        let many = relation.is_many();
        let kin = if many { related } else { Some(self.index) };
        let Some(kin) = kin.and_then(|index| index.kin(named)) else {
            return self.row(expr);
        };
        let met = self.met(inner).or_else(|| {
            let kindred = Rc::new(self.kindred(kin, many, self.related(relation)?, inner));
            self.kindred.borrow_mut().push((inner, Rc::clone(&kindred)));
            Some(kindred)
        });
        met.map_or_else(|| self.row(expr), |kindred| self.by_kin(kindred))
    }

    /// The test of related rows that was made of this expression before.
    fn met(&self, inner: &Expr) -> Option<Rc<Kindred<'a>>> {
        let kindred = self.kindred.borrow();
        let found = kindred.iter().find(|(held, _)| std::ptr::eq(*held, inner));
        found.map(|(_, kindred)| Rc::clone(kindred))
    }

    /// What is asked of the rows that a relation leads to.
    fn related(&self, relation: Relation) -> Option<Self> {
        let made = Self::new(relation.target(), self.known, self.view)?;
        Some(Self {
            looked: Rc::clone(&self.looked),
            ..made
        })
    }

    fn kindred(&self, kin: &'a Kin, many: bool, sources: Self, inner: &Expr) -> Kindred<'a> {
        let part = sources.make(inner);
        let passing = part.share * sources.rows();
        Kindred {
            price: sources.price_of_all(&part) + passing * 4.0 + 2.0 * self.pass(),
            kin,
            many,
            sources,
            part,
            joined: OnceCell::new(),
            spent: Cell::new(0.0),
        }
    }

    fn by_kin(&self, kindred: Rc<Kindred<'a>>) -> Part<'a> {
        if let Some(set) = kindred.set() {
            let sieve = self.sets(&[set]);
            return Part {
                share: self.share(set.len()),
                each: 6.0,
                listed: 3.0,
                whole: sieve,
                sieve,
                exact: true,
                what: What::Kin(kindred),
            };
        }
        let each = kindred.each(self);
        let related = small(kindred.kin.linked()) / self.rows();
        Part {
            share: (1.0 - (1.0 - kindred.part.share).powf(related)).clamp(0.01, 0.95),
            each,
            listed: each,
            whole: (self.rows() * each).min(kindred.price + 2.0 * self.pass()),
            sieve: 0.0,
            exact: false,
            what: What::Kin(kindred),
        }
    }

    /// Where many rows name the same other row, each of these is asked once; or all of them at once, if that is less work.
    fn one(&self, values: &'a Values, sources: &Self, inner: &Expr) -> Part<'a> {
        let part = sources.make(inner);
        let each = small(values.distinct()) * part.each;
        let passing: Option<RowSet> = (sources.price_of_all(&part) < each).then(|| {
            let mut words = vec![0_u64; (sources.index.bound() as usize).div_ceil(64)];
            sources.every(&part, |row| words[row as usize / 64] |= 1 << (row % 64));
            RowSet::of_bits(&words)
        });
        self.leading_to(values, |row| {
            if let Some(passing) = &passing {
                return passing.contains(row);
            }
            self.look(1);
            sources.index.live().contains(row) && sources.passes(&part, row)
        })
    }

    /// The rows that name one of the rows that pass.
    fn leading_to(&self, values: &'a Values, holds: impl Fn(u32) -> bool) -> Part<'a> {
        self.values(values, |passes| {
            for (code, key, _) in values.each() {
                if let Owned::Int(row) = key
                    && let Ok(row) = u32::try_from(*row)
                {
                    passes[code as usize] = holds(row);
                }
            }
        })
    }

    /// The part for a test of a run's place. Its row says all of it, but whether a ready run is blocked.
    pub(super) fn place(&self, values: &'a Values, expr: &Expr) -> Part<'a> {
        let test = Program::new(expr);
        let accepts = |place: Place| test.accepts(Owned::Code(place.code()).value());
        let (ready, blocked) = (accepts(Place::Ready), accepts(Place::Blocked));
        let told = |wanted: &dyn Fn(&Owned) -> bool| {
            self.values(values, |passes| {
                for (code, key, _) in values.each() {
                    passes[code as usize] = wanted(key);
                }
            })
        };
        if ready == blocked || !self.view.blocks() {
            return told(&|key| test.accepts(key.value()));
        }
        let is_ready = |key: &Owned| key.is(Owned::Code(Place::Ready.code()).value());
        let others = told(&|key| !is_ready(key) && test.accepts(key.value()));
        let stopped = match (
            self.index.link(Relation::RunQueue),
            self.index.link(Relation::RunDeployment),
        ) {
            (Some(queues), Some(deployments)) if self.view.stopped_by_name.is_empty() => {
                let queues = self.leading_to(queues, |row| self.view.is_paused(row));
                let deployments = self.leading_to(deployments, |row| self.view.stopped.contains(&row));
                let stopped = self.any(vec![queues, deployments]);
                if blocked { stopped } else { self.none_of(stopped) }
            }
            _ => self.row(expr),
        };
        self.any(vec![others, self.all(vec![told(&is_ready), stopped])])
    }

    /// Finds the rows of all tests of related rows that were met.
    pub(super) fn join(&self) {
        for (_, kindred) in &*self.kindred.borrow() {
            kindred.join(self);
        }
    }

    /// What that costs; none if there are no such tests, or all of them are known.
    pub(super) fn price_of_joins(&self) -> Option<f64> {
        let price: f64 = (self.kindred.borrow().iter())
            .map(|(_, kindred)| kindred.price())
            .sum();
        (price > 0.0).then_some(price)
    }
}
