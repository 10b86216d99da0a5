//! The parts of a plan: what each asks of an index, and what is guessed of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::kin::Kindred;
use super::narrow::SAMPLE;
use super::needs::Known;
use super::texts::{plain_needle, text_passes};
use crate::catalog::index::{Column, Index, Numbers, Order, Place, RowSet, TagLists, Texts, Values, WORDS};
use crate::catalog::view::CatalogView;
use crate::filter::{Bound, Entity, Expr, Field, Filter, Node, Op, Owned, Program, Set, Side, SortKey, Test};

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
        passes: Passes,
        passing: Vec<&'a RowSet>,
        /// Sets of the values that do not pass, where they are few.
        failing: Option<Vec<&'a RowSet>>,
    },
    /// The row is in one of the sets, or in all of them.
    Sets {
        sets: Vec<&'a RowSet>,
        all: bool,
    },
    /// The row's number is in a range. How many are is known if rows are kept in that order.
    Range {
        numbers: &'a Numbers,
        low: i64,
        high: i64,
        known: Option<usize>,
    },
    /// The row is one of those that a stretch of an order holds.
    Stretch(RowSet),
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
    /// Related rows pass a test.
    Kin(Rc<Kindred<'a>>),
    /// The row itself is asked.
    Row(Program),
}

/// The codes of the values that pass.
pub(super) enum Passes {
    /// Some of very many.
    Few(Vec<u32>),
    /// For each code, whether it does.
    Each(Vec<bool>),
}

impl Passes {
    #[inline]
    pub(super) fn has(&self, code: u32) -> bool {
        match self {
            Self::Few(codes) => codes.contains(&code),
            Self::Each(passes) => passes.get(code as usize).is_some_and(|pass| *pass),
        }
    }
}

/// How blocks are narrowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Narrow {
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
    pub(super) known: Known<'a>,
    pub(super) view: &'a CatalogView,
    /// Rows that were asked one by one, in the index or in their tables, related ones too.
    pub(super) looked: Rc<Cell<u64>>,
    pub(super) by: Cell<Narrow>,
    pub(super) spare: RefCell<Vec<Box<[u64; WORDS]>>>,
    /// Tests of related rows that were met, by where their expression lies: all parts that are made of one share what is found.
    pub(super) kindred: RefCell<Vec<(*const Expr, Rc<Kindred<'a>>)>>,
}

const NOBODY: &RowSet = &RowSet::NONE;

/// So few values out of more than so many are listed; else every value is looked at.
const FEW: usize = 8;
const MANY: usize = 64;

/// Most rows of a stretch of an order that are laid out as a set.
const STRETCH: usize = 1 << 15;

impl<'a> Sources<'a> {
    /// What is needed for an answer about rows of a kind; none if there is no index of these.
    pub(super) fn new(entity: Entity, known: Known<'a>, view: &'a CatalogView) -> Option<Self> {
        Some(Self {
            index: known[entity as usize]?,
            known,
            view,
            looked: Rc::default(),
            by: Cell::new(Narrow::Exactly),
            spare: RefCell::default(),
            kindred: RefCell::default(),
        })
    }

    pub(super) fn look(&self, rows: u64) {
        self.looked.set(self.looked.get() + rows);
    }

    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    pub(super) fn rows(&self) -> f64 {
        (self.index.live().len() as f64).max(1.0)
    }

    /// The part for a filter.
    pub(super) fn part(&self, filter: &Filter) -> Part<'a> {
        self.make(filter.expr())
    }

    pub(super) fn make(&self, expr: &Expr) -> Part<'a> {
        match expr.node() {
            Node::And(children) => self.all(children.iter().map(|child| self.make(child)).collect()),
            Node::Or(children) => self.any(children.iter().map(|child| self.make(child)).collect()),
            Node::Not(inner) => self.none_of(self.make(inner)),
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
    pub(super) fn sets(&self, sets: &[&RowSet]) -> f64 {
        let list = |set: &&RowSet| Some(small(set.len())).filter(|len| *len < self.rows() / 16.0);
        small(sets.len()) * self.pass() + 3.0 * sets.iter().take(1_024).filter_map(list).sum::<f64>()
    }

    pub(super) fn none_of(&self, inner: Part<'a>) -> Part<'a> {
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

    pub(super) fn all(&self, mut parts: Vec<Part<'a>>) -> Part<'a> {
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

    pub(super) fn any(&self, mut parts: Vec<Part<'a>>) -> Part<'a> {
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

    pub(super) fn row(&self, expr: &Expr) -> Part<'a> {
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
            Some(Column::Values(values)) if test.field() == Field::RunPlace => self.place(values, expr),
            Some(Column::Values(values)) => {
                let code = |key| values.code(&key);
                let mut codes: Vec<u32> = match test.op() {
                    Op::Is(wanted) => code(Owned::Bool(*wanted)).into_iter().collect(),
                    Op::IsNull => code(Owned::Null).into_iter().collect(),
                    Op::In(Set::Uuids(items)) => {
                        items.iter().filter_map(|item| code(Owned::Uuid(*item))).collect()
                    }
                    Op::In(Set::Texts(items)) => (items
                        .iter()
                        .filter_map(|item| code(Owned::Text((&**item).into()))))
                    .collect(),
                    Op::In(Set::Codes(items)) => {
                        items.iter().filter_map(|item| code(Owned::Code(*item))).collect()
                    }
                    _ => {
                        let program = Program::new(expr);
                        return self.values(values, |passes| {
                            for (code, key, _) in values.each() {
                                passes[code as usize] = program.accepts(key.value());
                            }
                        });
                    }
                };
                codes.sort_unstable();
                codes.dedup();
                if codes.len() <= FEW && MANY < values.bound() {
                    let passing = codes.iter().map(|code| values.set(*code)).collect();
                    return self.by_values(values, Passes::Few(codes), passing);
                }
                self.values(values, |passes| {
                    codes.iter().for_each(|code| passes[*code as usize] = true);
                })
            }
            Some(Column::Tags(tags)) => self.tags(tags, test.op()),
            Some(Column::Numbers(numbers)) => self.number(numbers, expr, test),
            Some(Column::Text(texts)) => self.text(texts, expr, test.op()),
        }
    }

    pub(super) fn values(&self, values: &'a Values, mark: impl FnOnce(&mut [bool])) -> Part<'a> {
        let mut passes = vec![false; values.bound()];
        mark(&mut passes);
        let passing: Vec<&RowSet> = (0..)
            .zip(&passes)
            .filter(|(_, pass)| **pass)
            .map(|(code, _)| values.set(code))
            .collect();
        self.by_values(values, Passes::Each(passes), passing)
    }

    fn by_values(&self, values: &'a Values, passes: Passes, passing: Vec<&'a RowSet>) -> Part<'a> {
        let failing = (values.distinct() - passing.len() < passing.len().min(64)).then(|| {
            (values.each())
                .filter(|(code, ..)| !passes.has(*code))
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
    pub(super) fn share(&self, rows: usize) -> f64 {
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
                sets.retain(|set| !set.is_empty());
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

    fn number(&self, numbers: &'a Numbers, expr: &Expr, test: &Test) -> Part<'a> {
        let (field, op) = (test.field(), test.op());
        let range = match op {
            Op::Compare(side, Bound::Int(bound) | Bound::Time(bound)) => match side {
                Side::Less => bound.checked_sub(1).map(|high| (i64::MIN, high)),
                Side::AtMost => Some((i64::MIN, *bound)),
                Side::AtLeast => Some((*bound, i64::MAX)),
                Side::Greater => bound.checked_add(1).map(|low| (low, i64::MAX)),
            },
            _ => None,
        };
        let Some((low, high)) = range else {
            let test = Program::new(expr);
            return self.by_number(What::Number { numbers, test }, 0.3);
        };
        let stretch = self.stretch(field, numbers, low, high);
        let stretch = stretch.map(|(order, start, end)| (order, start, order.len_between(start, end)));
        let Some((order, start, known)) = stretch.filter(|(.., known)| *known <= STRETCH) else {
            let known = stretch.map(|(.., known)| known);
            let range = What::Range {
                numbers,
                low,
                high,
                known,
            };
            return self.by_number(range, known.map_or(0.3, |known| self.share(known)));
        };
        let mut words = vec![0_u64; (self.index.bound() as usize).div_ceil(64)];
        for row in order.from(start).take(known) {
            words[row as usize / 64] |= 1 << (row % 64);
        }
        let set = RowSet::of_bits(&words);
        let sieve = self.sets(&[&set]);
        Part {
            share: self.share(known),
            each: 6.0,
            listed: 3.0,
            whole: sieve,
            sieve,
            exact: true,
            what: What::Stretch(set),
        }
    }

    fn by_number(&self, what: What<'a>, share: f64) -> Part<'a> {
        Part {
            what,
            share,
            each: 6.0,
            listed: 4.0,
            whole: self.rows() * 2.0,
            sieve: 0.0,
            exact: false,
        }
    }

    /// Where the rows with numbers in a range begin and end, if rows are kept in that order.
    fn stretch(
        &self,
        field: Field,
        numbers: &Numbers,
        low: i64,
        high: i64,
    ) -> Option<(&'a Order, Place, Place)> {
        let above = |row| numbers.key(row) > Some(high);
        let below = |row| numbers.key(row) < Some(low);
        if let Some(order) = self.index.order(SortKey::ascending(field)) {
            return Some((order, order.search(below), order.search(|row| !above(row))));
        }
        let order = self.index.order(SortKey::descending(field))?;
        Some((order, order.search(above), order.search(|row| !below(row))))
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
}

impl Part<'_> {
    /// The price by blocks when only this share of rows is still open.
    fn open(&self, share: f64, sources: &Sources<'_>) -> f64 {
        match &self.what {
            What::All(_) | What::Any(_) | What::Not(_) | What::Sets { .. } | What::Stretch(_) => self.whole,
            What::Values { .. } => self.whole.min(sources.rows() * share * self.each),
            What::Kin(kindred) if kindred.set().is_some() => self.whole,
            What::Range { .. } | What::Number { .. } | What::Text { .. } | What::Kin(_) | What::Row(_) => {
                self.whole * share
            }
        }
    }
}

/// A length as a figure; beyond some length it makes no difference.
pub(super) fn small(length: usize) -> f64 {
    u32::try_from(length).map_or(f64::from(u32::MAX), f64::from)
}
