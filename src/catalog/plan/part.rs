//! The parts of a plan: tests that an index answers, one row or one block at a time.

use std::cell::{Cell, RefCell};

use super::texts::{plain_needle, text_passes};
use super::ways::Wanted;
use crate::catalog::index::{Column, Index, Numbers, RowSet, TagLists, Texts, Values, WORDS, Wants};
use crate::catalog::view::{CatalogView, Tables};
use crate::filter::{
    Bound, By, Entity, Expr, Field, Filter, Node, Op, Owned, Program, Query, Relation, Set, Side, Test,
    Tested,
};

/// What a query needs, as far as its filter and sort say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) wants: Wants,
    /// Some test is answered from rows, its own or related ones.
    pub(crate) reads_rows: bool,
    /// Whether a run is blocked matters.
    pub(crate) reads_place: bool,
}

impl Plan {
    /// What `query` needs of `index`, which need not be built yet.
    pub(crate) fn of(query: &Query, index: &Index, wanted: Wanted) -> Self {
        let mut plan = Self::default();
        plan.need(query.filter().expr(), index);
        if wanted.rows && query.limit() > 0 {
            plan.wants.order = query.single_key().filter(|key| index.sorts_by(*key));
            plan.reads_rows |= plan.wants.order.is_none();
            plan.reads_place |= query.sort().iter().any(|key| key.field == Field::RunPlace);
        }
        plan
    }

    /// The tables that are read besides the index, and whether it matters which runs are blocked. `shows_rows` says that the answer is
    /// made from the rows themselves.
    pub(crate) fn reads(&self, entity: Entity, shows_rows: bool) -> (Tables<'static>, bool) {
        let shows_place = shows_rows && entity == Entity::Run;
        let tables = match (self.reads_rows || shows_place, shows_rows) {
            (true, _) => Tables::All,
            (false, true) => Tables::Only(entity),
            (false, false) => Tables::None,
        };
        (tables, self.reads_place || shows_place)
    }

    fn need(&mut self, expr: &Expr, index: &Index) {
        match expr.node() {
            Node::And(children) | Node::Or(children) => {
                children.iter().for_each(|child| self.need(child, index));
            }
            Node::Not(inner) => self.need(inner, index),
            Node::Test(test) => {
                self.reads_place |= test.field() == Field::RunPlace;
                if index.takes(test.field()) {
                    if !self.wants.fields.contains(&test.field()) {
                        self.wants.fields.push(test.field());
                    }
                } else {
                    self.reads_rows = true;
                }
            }
            Node::Exists(relation, inner) => {
                self.reads_rows = true;
                self.reads_place |= asks_place(inner);
                if Index::takes_link(*relation) && !self.wants.links.contains(relation) {
                    self.wants.links.push(*relation);
                }
            }
            _ => self.reads_rows = true,
        }
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

/// A part, with what is guessed of it.
pub(super) struct Part<'a> {
    pub(super) what: What<'a>,
    /// The share of rows that pass.
    pub(super) share: f64,
    /// The price of asking one row, in nanoseconds or so.
    pub(super) each: f64,
    /// The price of asking one of many rows of a block, ascending.
    pub(super) listed: f64,
    /// The price of asking all rows by blocks, if all are still open.
    pub(super) whole: f64,
    /// The price of what sets alone can rule out, by blocks; and whether sets alone decide.
    pub(super) sieve: f64,
    pub(super) exact: bool,
}

pub(super) enum What<'a> {
    All(Vec<Part<'a>>),
    Any(Vec<Part<'a>>),
    Not(Box<Part<'a>>),
    /// The row's value is one of some.
    Values {
        values: &'a Values,
        passes: Vec<bool>,
        passing: Vec<&'a RowSet>,
        /// Sets of the values that do not pass, where they are few.
        failing: Option<Vec<&'a RowSet>>,
    },
    /// The row is in one of the sets, or in all of them.
    Sets {
        sets: Vec<&'a RowSet>,
        all: bool,
    },
    /// The row's number is in a range.
    Range {
        numbers: &'a Numbers,
        low: i64,
        high: i64,
    },
    /// The row's number passes a test.
    Number {
        numbers: &'a Numbers,
        test: Program,
    },
    /// The row's text passes a test; one of the lists must hold it in all its sets.
    Text {
        texts: &'a Texts,
        test: Program,
        /// For ASCII texts the test is a search for these small letters.
        plain: Option<Box<[u8]>>,
        candidates: Option<Vec<Vec<&'a RowSet>>>,
        /// Rows in one of these pass, whatever else is to be said.
        proven: Vec<&'a RowSet>,
    },
    /// The row itself is asked.
    Row(Program),
}

/// How blocks are narrowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Narrow {
    /// To the rows that pass.
    Exactly,
    /// By sets alone: no row is asked, and rows that do not pass may be left.
    Loosely,
    /// By sets alone, to rows that surely pass: some that pass may go.
    Surely,
}

/// What an evaluation reads, and what it has looked at.
pub(super) struct Sources<'a> {
    pub(super) index: &'a Index,
    pub(super) view: &'a CatalogView,
    /// Rows that were asked one by one, in the index or in their tables.
    pub(super) looked: Cell<u64>,
    by: Cell<Narrow>,
    spare: RefCell<Vec<Box<[u64; WORDS]>>>,
}

const NOBODY: &RowSet = &RowSet::NONE;

impl<'a> Sources<'a> {
    pub(super) fn new(index: &'a Index, view: &'a CatalogView) -> Self {
        Self {
            index,
            view,
            looked: Cell::new(0),
            by: Cell::new(Narrow::Exactly),
            spare: RefCell::default(),
        }
    }

    pub(super) fn look(&self, rows: u64) {
        self.looked.set(self.looked.get() + rows);
    }

    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    fn rows(&self) -> f64 {
        (self.index.live().len() as f64).max(1.0)
    }

    /// The part for a filter.
    pub(super) fn part(&self, filter: &Filter) -> Part<'a> {
        self.make(filter.expr())
    }

    fn make(&self, expr: &Expr) -> Part<'a> {
        match expr.node() {
            Node::And(children) => self.all(children.iter().map(|child| self.make(child)).collect()),
            Node::Or(children) => self.any(children.iter().map(|child| self.make(child)).collect()),
            Node::Not(inner) => {
                let inner = self.make(inner);
                Part {
                    share: 1.0 - inner.share,
                    each: inner.each,
                    listed: inner.each,
                    whole: inner.whole + self.pass(),
                    sieve: inner.sieve + self.pass(),
                    exact: inner.exact,
                    what: What::Not(Box::new(inner)),
                }
            }
            Node::Test(test) => self.test(expr, test),
            Node::Exists(relation, inner) => self.exists(expr, *relation, inner),
            _ => self.row(expr),
        }
    }

    /// The price of one pass over the bits of all rows.
    pub(super) fn pass(&self) -> f64 {
        self.rows() / 64.0 * 0.3
    }

    /// The price of laying these sets over the bits of all rows, one after the other: those that are lists cost by the row.
    fn sets(&self, sets: &[&RowSet]) -> f64 {
        let list = |set: &&RowSet| Some(small(set.len())).filter(|len| *len < self.rows() / 16.0);
        small(sets.len()) * self.pass() + 3.0 * sets.iter().take(1_024).filter_map(list).sum::<f64>()
    }

    fn all(&self, mut parts: Vec<Part<'a>>) -> Part<'a> {
        // What is cheap and lets few pass comes first.
        parts.sort_by(|a, b| {
            let rank = |part: &Part<'_>| part.whole / (1.001 - part.share);
            rank(a).total_cmp(&rank(b))
        });
        let (mut share, mut each, mut listed, mut whole) = (1.0, 1.0, 0.0, 0.0);
        for part in &parts {
            each += share * part.each;
            listed += share * part.listed;
            whole += part.open(share, self);
            share *= part.share;
        }
        Part {
            sieve: parts.iter().map(|part| part.sieve).sum(),
            exact: parts.iter().all(|part| part.exact),
            what: What::All(parts),
            share,
            each,
            listed,
            whole,
        }
    }

    fn any(&self, mut parts: Vec<Part<'a>>) -> Part<'a> {
        parts.sort_by(|a, b| {
            let rank = |part: &Part<'_>| part.whole / (0.001 + part.share);
            rank(a).total_cmp(&rank(b))
        });
        let (mut left, mut each, mut whole) = (1.0, 1.0, 0.0);
        for part in &parts {
            each += left * part.each;
            whole += part.open(left, self) + 3.0 * self.pass();
            left *= 1.0 - part.share;
        }
        Part {
            sieve: parts.iter().map(|part| part.sieve + 3.0 * self.pass()).sum(),
            exact: parts.iter().all(|part| part.exact),
            what: What::Any(parts),
            share: 1.0 - left,
            each,
            listed: each,
            whole,
        }
    }

    fn row(&self, expr: &Expr) -> Part<'a> {
        Part {
            what: What::Row(Program::new(expr)),
            share: 0.3,
            each: 150.0,
            listed: 150.0,
            whole: self.rows() * 150.0,
            sieve: 0.0,
            exact: false,
        }
    }

    fn test(&self, expr: &Expr, test: &Test) -> Part<'a> {
        match self.index.column(test.field()) {
            None => self.row(expr),
            Some(Column::Values(values)) => self.values(values, |passes| {
                let mut pass = |key: &Owned| {
                    if let Some(code) = values.code(key) {
                        passes[code as usize] = true;
                    }
                };
                match test.op() {
                    Op::Is(wanted) => pass(&Owned::Bool(*wanted)),
                    Op::IsNull => pass(&Owned::Null),
                    Op::In(Set::Uuids(items)) => items.iter().for_each(|item| pass(&Owned::Uuid(*item))),
                    Op::In(Set::Texts(items)) => {
                        items.iter().for_each(|item| pass(&Owned::Text((&**item).into())));
                    }
                    Op::In(Set::Codes(items)) => items.iter().for_each(|item| pass(&Owned::Code(*item))),
                    _ => {
                        let program = Program::new(expr);
                        for (code, key, _) in values.each() {
                            passes[code as usize] = program.accepts(key.value());
                        }
                    }
                }
            }),
            Some(Column::Tags(tags)) => self.tags(tags, test.op()),
            Some(Column::Numbers(numbers)) => self.number(numbers, expr, test.op()),
            Some(Column::Text(texts)) => self.text(texts, expr, test.op()),
        }
    }

    fn values(&self, values: &'a Values, mark: impl FnOnce(&mut [bool])) -> Part<'a> {
        let mut passes = vec![false; values.bound()];
        mark(&mut passes);
        let passing: Vec<&RowSet> = (0..)
            .zip(&passes)
            .filter(|(_, pass)| **pass)
            .map(|(code, _)| values.set(code))
            .collect();
        let failing = (values.distinct() - passing.len() < passing.len().min(64)).then(|| {
            (values.each())
                .filter(|(code, ..)| !passes[*code as usize])
                .map(|(.., set)| set)
                .collect::<Vec<_>>()
        });
        let rows: usize = passing.iter().map(|set| set.len()).sum();
        let sieve = self.sets(failing.as_ref().unwrap_or(&passing));
        Part {
            share: self.share(rows),
            each: 10.0,
            listed: 3.0,
            whole: sieve,
            sieve,
            exact: true,
            what: What::Values {
                values,
                passes,
                passing,
                failing,
            },
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    fn share(&self, rows: usize) -> f64 {
        rows as f64 / self.rows()
    }

    fn tags(&self, tags: &'a TagLists, op: &Op) -> Part<'a> {
        let with = |wanted: &[Box<str>]| -> Vec<&'a RowSet> {
            wanted
                .iter()
                .map(|tag| tags.with(tag).unwrap_or(NOBODY))
                .collect()
        };
        let (sets, all) = match op {
            Op::HasAll(wanted) => {
                let mut sets = with(wanted);
                sets.sort_by_key(|set| set.len());
                (sets, true)
            }
            Op::HasAny(wanted) => {
                let mut sets = with(wanted);
                sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
                (sets, false)
            }
            // The other operator that tags take.
            _ => (vec![tags.untagged()], true),
        };
        let share = if all {
            sets.iter().map(|set| self.share(set.len())).product()
        } else {
            1.0 - sets
                .iter()
                .map(|set| 1.0 - self.share(set.len()))
                .product::<f64>()
        };
        let sieve = self.sets(&sets) + self.pass();
        Part {
            share,
            each: 25.0 * small(sets.len()),
            listed: if all { 4.0 } else { 10.0 * small(sets.len()) },
            whole: sieve,
            sieve,
            exact: true,
            what: What::Sets { sets, all },
        }
    }

    fn number(&self, numbers: &'a Numbers, expr: &Expr, op: &Op) -> Part<'a> {
        let range = match op {
            Op::Compare(side, Bound::Int(bound) | Bound::Time(bound)) => match side {
                Side::Less => bound.checked_sub(1).map(|high| (i64::MIN, high)),
                Side::AtMost => Some((i64::MIN, *bound)),
                Side::AtLeast => Some((*bound, i64::MAX)),
                Side::Greater => bound.checked_add(1).map(|low| (low, i64::MAX)),
            },
            _ => None,
        };
        let what = match range {
            Some((low, high)) => What::Range { numbers, low, high },
            None => What::Number {
                numbers,
                test: Program::new(expr),
            },
        };
        Part {
            what,
            share: 0.3,
            each: 6.0,
            listed: 4.0,
            whole: self.rows() * 2.0,
            sieve: 0.0,
            exact: false,
        }
    }

    fn text(&self, texts: &'a Texts, expr: &Expr, op: &Op) -> Part<'a> {
        let candidates = texts.candidates(op);
        let test = Program::new(expr);
        let plain = plain_needle(op);
        let proven = plain
            .as_deref()
            .map_or_else(Vec::new, |needle| texts.proven(needle));
        let sets: usize = candidates
            .as_ref()
            .map_or(0, |lists| lists.iter().map(Vec::len).sum());
        // The rarest trigram says how many pass at most; its first rows say what part of them does.
        let (mut share, mut open, mut proposed_most) = (0.3, 1.0, self.index.live().len());
        // Of the rows that the rarest trigram leaves, those that the others leave too.
        let mut rest = 1.0;
        if let Some(lists) = &candidates {
            let rarest: Vec<&RowSet> = lists.iter().filter_map(|list| list.first().copied()).collect();
            let some = rarest.iter().flat_map(|set| set.iter().take(SAMPLE));
            let (mut asked, mut proposed, mut passed) = (0, 0, 0);
            for row in some.take(4 * SAMPLE) {
                asked += 1;
                let may = lists.iter().any(|list| list.iter().all(|set| set.contains(row)));
                proposed += u32::from(may);
                passed +=
                    u32::from(may && text_passes(texts, &test, plain.as_deref(), row, texts.bytes(row)));
            }
            proposed_most = proposed_most.min(rarest.iter().map(|set| set.len()).sum());
            let most = self.share(proposed_most);
            let part = |hits: u32| most * (f64::from(hits) + 0.2) / (f64::from(asked) + 0.2);
            (share, open) = (part(passed), part(proposed));
            rest = (f64::from(proposed) + 0.2) / (f64::from(asked) + 0.2);
        }
        let sure: usize = proven.iter().map(|set| set.len()).sum();
        let unproven = (self.rows() * open).min(small(proposed_most.saturating_sub(sure)));
        let lists = candidates.iter().flatten();
        let sieve = lists.map(|list| self.sets(list)).sum::<f64>() + 2.0 * self.sets(&proven);
        Part {
            what: What::Text {
                texts,
                test,
                plain,
                candidates,
                proven,
            },
            share,
            each: if sets == 0 { 100.0 } else { 60.0 + 100.0 * open },
            listed: if sets == 0 { 60.0 } else { 6.0 + 60.0 * rest },
            whole: sieve + unproven * 40.0,
            sieve,
            exact: false,
        }
    }

    /// A test of related rows. Where the row names the one that it is related to, each such one is asked once.
    fn exists(&self, expr: &Expr, relation: Relation, inner: &Expr) -> Part<'a> {
        let Some(values) = self.index.link(relation) else {
            return self.row(expr);
        };
        let test = Program::new(inner);
        self.values(values, |passes| {
            for (code, key, _) in values.each() {
                if let Owned::Int(row) = key
                    && let Ok(row) = u32::try_from(*row)
                {
                    self.look(1);
                    passes[code as usize] = test.matches(self.view, row);
                }
            }
        })
    }

    /// What answers each test of an expression, in the order of its text.
    pub(super) fn tests(&self, expr: &Expr) -> Vec<Tested> {
        match expr.node() {
            Node::And(children) | Node::Or(children) => {
                children.iter().flat_map(|child| self.tests(child)).collect()
            }
            Node::Not(inner) => self.tests(inner),
            _ => {
                let (by, rows) = match self.make(expr).what {
                    What::Values { passing, .. } => (By::Values, Some(rows_of(&passing))),
                    What::Sets { sets, all: true } => (By::Tags, sets.first().map(|set| set.len() as u64)),
                    What::Sets { sets, .. } => (By::Tags, Some(rows_of(&sets))),
                    What::Range { .. } | What::Number { .. } => (By::Numbers, None),
                    What::Text { candidates, .. } => match candidates {
                        None => (By::Texts, None),
                        Some(lists) => {
                            let least = lists.iter().filter_map(|list| list.first());
                            (By::Trigrams, Some(least.map(|set| set.len() as u64).sum()))
                        }
                    },
                    _ => (By::Rows, None),
                };
                let test = expr.to_string();
                vec![Tested { test, by, rows }]
            }
        }
    }

    /// Whether a row passes.
    pub(super) fn passes(&self, part: &Part<'_>, row: u32) -> bool {
        match &part.what {
            What::All(parts) => parts.iter().all(|part| self.passes(part, row)),
            What::Any(parts) => parts.iter().any(|part| self.passes(part, row)),
            What::Not(inner) => !self.passes(inner, row),
            What::Values { values, passes, .. } => {
                passes.get(values.of(row) as usize).is_some_and(|pass| *pass)
            }
            What::Sets { sets, all: true } => sets.iter().all(|set| set.contains(row)),
            What::Sets { sets, all: false } => sets.iter().any(|set| set.contains(row)),
            What::Range { numbers, low, high } => numbers
                .key(row)
                .is_some_and(|number| *low <= number && number <= *high),
            What::Number { numbers, test } => test.accepts(numbers.get(row)),
            What::Text {
                texts,
                test,
                plain,
                candidates,
                proven,
            } => {
                if proven.iter().take(PROOFS).any(|set| set.contains(row)) {
                    return true;
                }
                let may = candidates
                    .as_ref()
                    .is_none_or(|lists| lists.iter().any(|list| list.iter().all(|set| set.contains(row))));
                may && text_passes(texts, test, plain.as_deref(), row, texts.bytes(row))
            }
            What::Row(test) => test.matches(self.view, row),
        }
    }

    /// Takes out of `open`, bits of rows of a block, those that do not pass.
    pub(super) fn narrow(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        match &part.what {
            What::All(parts) => {
                for part in parts {
                    if open.iter().all(|word| *word == 0) {
                        return;
                    }
                    self.narrow(part, block, open);
                }
            }
            What::Any(parts) => self.with_spare(open.len(), |passed| {
                passed.fill(0);
                self.with_spare(open.len(), |rest| {
                    for part in parts {
                        for ((rest, open), passed) in rest.iter_mut().zip(&*open).zip(&*passed) {
                            *rest = open & !passed;
                        }
                        if rest.iter().all(|word| *word == 0) {
                            break;
                        }
                        self.narrow(part, block, rest);
                        for (passed, rest) in passed.iter_mut().zip(&*rest) {
                            *passed |= rest;
                        }
                    }
                });
                open.copy_from_slice(passed);
            }),
            What::Not(inner) => self.with_spare(open.len(), |passed| {
                passed.copy_from_slice(open);
                let by = self.by.get();
                self.by.set(match by {
                    Narrow::Exactly => Narrow::Exactly,
                    Narrow::Loosely => Narrow::Surely,
                    Narrow::Surely => Narrow::Loosely,
                });
                self.narrow(inner, block, passed);
                self.by.set(by);
                for (open, passed) in open.iter_mut().zip(&*passed) {
                    *open &= !passed;
                }
            }),
            What::Values { passing, failing, .. } => {
                let asked = failing.as_ref().map_or(passing.len(), Vec::len);
                // A set costs about as much as asking sixty rows.
                if asked > 1 && self.by.get() == Narrow::Exactly && count(open) < asked as u64 * 60 {
                    self.sift(part, block, open);
                } else if let Some(failing) = failing {
                    failing.iter().for_each(|set| set.and_not_into(block, open));
                } else {
                    self.keep_any(passing, block, open);
                }
            }
            What::Sets { sets, all: true } => sets.iter().for_each(|set| set.and_into(block, open)),
            What::Sets { sets, all: false } => self.keep_any(sets, block, open),
            What::Text { proven, .. } => match self.by.get() {
                Narrow::Exactly if proven.is_empty() => {
                    self.propose(part, block, open);
                    self.sift_texts(part, block, open);
                }
                Narrow::Exactly => self.with_spare(open.len(), |sure| {
                    sure.copy_from_slice(open);
                    self.keep_any(proven, block, sure);
                    self.propose(part, block, open);
                    for (open, sure) in open.iter_mut().zip(&*sure) {
                        *open &= !sure;
                    }
                    self.sift_texts(part, block, open);
                    for (open, sure) in open.iter_mut().zip(&*sure) {
                        *open |= sure;
                    }
                }),
                Narrow::Loosely => self.propose(part, block, open),
                Narrow::Surely => self.keep_any(proven, block, open),
            },
            What::Range { .. } | What::Number { .. } | What::Row(_) => self.sift(part, block, open),
        }
    }

    /// Takes out of `open` the rows whose texts no trigram proposes.
    fn propose(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        let What::Text { candidates, .. } = &part.what else {
            return;
        };
        match candidates.as_deref() {
            None => {}
            Some([list]) => {
                for set in list {
                    set.and_into(block, open);
                    // So few texts are looked at sooner than another set.
                    if count(open) < 32 {
                        break;
                    }
                }
            }
            Some(lists) => self.with_spare(open.len(), |passed| {
                passed.fill(0);
                self.with_spare(open.len(), |rest| {
                    for list in lists {
                        rest.copy_from_slice(open);
                        list.iter().for_each(|set| set.and_into(block, rest));
                        for (passed, rest) in passed.iter_mut().zip(&*rest) {
                            *passed |= rest;
                        }
                    }
                });
                open.copy_from_slice(passed);
            }),
        }
    }

    /// Takes out of `open` what sets alone can tell not to pass.
    pub(super) fn sieve(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        self.by.set(Narrow::Loosely);
        self.narrow(part, block, open);
        self.by.set(Narrow::Exactly);
    }

    /// Keeps of some ascending offsets of a block those whose rows pass.
    pub(super) fn filter(&self, part: &Part<'_>, block: usize, offsets: &mut Vec<u16>) {
        match &part.what {
            What::All(parts) => {
                for part in parts {
                    if offsets.is_empty() {
                        return;
                    }
                    self.filter(part, block, offsets);
                }
            }
            What::Sets { sets, all } if *all || sets.len() == 1 => {
                sets.iter().for_each(|set| set.retain(block, offsets));
            }
            What::Text {
                candidates: Some(lists),
                ..
            } if lists.len() == 1 => {
                // Bits are looked up at once; lists are gone through when few are left to look for.
                for set in lists[0].iter().rev() {
                    set.retain(block, offsets);
                }
                self.ask(part, block, offsets);
            }
            _ => self.ask(part, block, offsets),
        }
    }

    /// Asks each of these rows.
    fn ask(&self, part: &Part<'_>, block: usize, offsets: &mut Vec<u16>) {
        let base = base(block);
        self.look(offsets.len() as u64);
        offsets.retain(|offset| self.passes(part, base + u32::from(*offset)));
    }

    /// Keeps the rows that are in one of the sets.
    fn keep_any(&self, sets: &[&RowSet], block: usize, open: &mut [u64]) {
        if let [set] = sets {
            set.and_into(block, open);
            return;
        }
        self.with_spare(open.len(), |passed| {
            passed.fill(0);
            sets.iter().for_each(|set| set.or_into(block, passed));
            for (open, passed) in open.iter_mut().zip(&*passed) {
                *open &= passed;
            }
        });
    }

    /// Asks every row that is open.
    fn sift(&self, part: &Part<'_>, block: usize, open: &mut [u64]) {
        self.sift_by(block, open, |row| self.passes(part, row));
    }

    fn sift_by(&self, block: usize, open: &mut [u64], passes: impl Fn(u32) -> bool) {
        match self.by.get() {
            Narrow::Exactly => {}
            Narrow::Loosely => return,
            Narrow::Surely => return open.fill(0),
        }
        let base = base(block);
        let mut looked = 0;
        for (index, word) in (0..).zip(open) {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                looked += 1;
                if !passes(base + index * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
        self.look(looked);
    }

    /// Lends a block of bits, whatever they are.
    fn with_spare(&self, words: usize, lend: impl FnOnce(&mut [u64])) {
        let spare = self.spare.borrow_mut().pop();
        let mut bits = spare.unwrap_or_else(|| Box::new([0; WORDS]));
        lend(&mut bits[..words]);
        self.spare.borrow_mut().push(bits);
    }
}

impl Part<'_> {
    /// The price by blocks when only this share of rows is still open.
    fn open(&self, share: f64, sources: &Sources<'_>) -> f64 {
        match &self.what {
            What::All(_) | What::Any(_) | What::Not(_) | What::Sets { .. } => self.whole,
            What::Values { .. } => self.whole.min(sources.rows() * share * self.each),
            What::Range { .. } | What::Number { .. } | What::Text { .. } | What::Row(_) => self.whole * share,
        }
    }
}

/// So many sets are sooner asked for a row than its text.
const PROOFS: usize = 3;

/// Rows of a rare trigram that are looked at for an estimate.
const SAMPLE: usize = 24;

fn rows_of(sets: &[&RowSet]) -> u64 {
    sets.iter().map(|set| set.len() as u64).sum()
}

/// The first row of a block.
pub(super) fn base(block: usize) -> u32 {
    u32::try_from(block).expect("rows have 32 bits") << 16
}

pub(super) fn count(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// A length as a figure; beyond some length it makes no difference.
fn small(length: usize) -> f64 {
    u32::try_from(length).map_or(f64::from(u32::MAX), f64::from)
}
