//! The ways to an answer, and the choice between them.

use std::ops::ControlFlow;

use super::narrow::{base, count};
use super::needs::Known;
use super::part::{Part, Sources, What, small};
use crate::catalog::index::{Order, Place, RowSet, WORDS, bits};
use crate::catalog::view::CatalogView;
use crate::filter::{Query, Tested, Way};

/// What is wanted of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) rows: bool,
    pub(crate) count: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Found {
    /// The rows of the window, in order.
    pub(crate) rows: Vec<u32>,
    /// How many rows match, if that was wanted.
    pub(crate) count: Option<u64>,
    pub(crate) way: Way,
    /// Rows asked one by one.
    pub(crate) looked: u64,
}

/// Answers from indexes that have what the query's plan wants, and a view of the same version that shows what it reads.
///
/// # Panics
///
/// Without an index of the query's own rows.
pub(crate) fn answer(query: &Query, known: &Known<'_>, view: &CatalogView, wanted: Wanted) -> Found {
    let sources = sources(query, known, view);
    let (rows, count, way) = find(query, &sources, wanted);
    Found {
        rows,
        count,
        way,
        looked: sources.looked.get(),
    }
}

/// What answers each test of a query's filter, when its page is asked for.
pub(crate) fn tests(query: &Query, known: &Known<'_>, view: &CatalogView) -> Vec<Tested> {
    let sources = sources(query, known, view);
    let page = Wanted {
        rows: true,
        count: false,
    };
    find(query, &sources, page);
    sources.tests(query.filter().expr())
}

fn sources<'a>(query: &Query, known: &Known<'a>, view: &'a CatalogView) -> Sources<'a> {
    Sources::new(query.entity(), *known, view)
        .expect("the caller has an index of the rows that are asked for")
}

fn find(query: &Query, sources: &Sources<'_>, wanted: Wanted) -> (Vec<u32>, Option<u64>, Way) {
    let job = Job {
        query,
        sources,
        order: query.single_key().and_then(|key| sources.index.order(key)),
        skip: usize::try_from(query.offset()).unwrap_or(usize::MAX),
        take: query.limit() as usize,
    };
    let wanted = Wanted {
        rows: wanted.rows && query.limit() > 0,
        ..wanted
    };
    let mut part = sources.part(query.filter());
    if let Some(price) = sources.price_of_joins()
        && price < job.price(&part, wanted)
    {
        sources.join();
        part = sources.part(query.filter());
    }
    job.find(&part, wanted)
}

impl Sources<'_> {
    /// The price of finding every row that passes.
    pub(super) fn price_of_all(&self, part: &Part<'_>) -> f64 {
        pick(part)
            .map_or(f64::INFINITY, |(_, price)| price)
            .min(part.whole + self.passes_over())
    }

    /// The bits of all rows are laid out, and gone through at the end.
    fn passes_over(&self) -> f64 {
        3.0 * self.pass() + 2_000.0
    }

    /// Shows every row that passes, once.
    pub(super) fn every(&self, part: &Part<'_>, mut take: impl FnMut(u32)) {
        if let Some((sets, price)) = pick(part)
            && price < part.whole + self.passes_over()
        {
            return self.every_of(&sets, part, take);
        }
        let (left, _) = self.bits(|block, open| self.narrow(part, block, open));
        bits(&left).for_each(&mut take);
    }

    /// Shows every row of disjoint sets that passes.
    fn every_of(&self, sets: &[&RowSet], part: &Part<'_>, mut take: impl FnMut(u32)) {
        let mut offsets = Vec::new();
        for set in sets {
            for block in 0..set.blocks() {
                offsets.clear();
                set.offsets(block, &mut offsets);
                self.filter(part, block, &mut offsets);
                let base = base(block);
                offsets.iter().for_each(|&offset| take(base + u32::from(offset)));
            }
        }
    }

    /// Bits for all rows, narrowed block by block, and how many are left.
    fn bits(&self, narrow: impl Fn(usize, &mut [u64])) -> (Vec<u64>, u64) {
        let mut left = vec![0; (self.index.bound() as usize).div_ceil(64)];
        let mut total = 0;
        for (block, open) in left.chunks_mut(WORDS).enumerate() {
            self.index.live().or_into(block, open);
            narrow(block, open);
            total += count(open);
        }
        (left, total)
    }
}

struct Job<'a, 's> {
    query: &'a Query,
    sources: &'a Sources<'s>,
    order: Option<&'a Order>,
    skip: usize,
    take: usize,
}

impl Job<'_, '_> {
    /// The price of the best way that asks rows one by one where sets do not say.
    fn price(&self, part: &Part<'_>, wanted: Wanted) -> f64 {
        let all = self.sources.price_of_all(part);
        if wanted.rows && !wanted.count && self.order.is_some() {
            return all.min(self.steps(part) * (part.each + 1.5));
        }
        all
    }

    /// How many rows of the order are asked before the page is full, if those that pass lie evenly in it.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn steps(&self, part: &Part<'_>) -> f64 {
        let reach = self.skip.saturating_add(self.take) as f64;
        (reach / part.share.max(1e-9)).min(self.sources.rows())
    }

    fn find(&self, part: &Part<'_>, wanted: Wanted) -> (Vec<u32>, Option<u64>, Way) {
        let known = wanted.count.then(|| self.size(part)).flatten();
        if !wanted.rows && (known.is_some() || !wanted.count) {
            return (Vec::new(), known, Way::Sizes);
        }
        let rarest = pick(part);
        let picked = (rarest.as_ref()).map_or(f64::INFINITY, |(_, price)| {
            price + part.share * self.sources.rows() * 30.0
        });
        let passes = self.sources.passes_over();
        if wanted.rows && (known.is_some() || !wanted.count) && self.order.is_some() {
            let steps = self.steps(part);
            let each = part.each + 1.5;
            // A step through bits is a look at one, and few of them are asked.
            let sieve = part.sieve + passes + 3.0 * steps;
            let other = picked.min(sieve);
            // What passes may lie at the far end of the order. A walk is given up when it has cost what the other way costs.
            if steps * each <= other
                && let Some(found) = self.walk(part, other / each + 256.0)
            {
                return (found, known, Way::Walk);
            }
            if sieve <= picked {
                let (found, way) = self.sieve(part);
                return (found, known, way);
            }
        }
        if let Some((sets, _)) = rarest
            && picked < part.whole + passes
        {
            let mut matching: Vec<u32> = Vec::new();
            self.sources.every_of(&sets, part, |row| matching.push(row));
            let count = matching.len() as u64;
            let found = if wanted.rows {
                self.picked(matching)
            } else {
                Vec::new()
            };
            return (found, Some(count), Way::Pick);
        }
        self.blocks(part, wanted)
    }

    /// How many rows pass, where that is known without asking any.
    fn size(&self, part: &Part<'_>) -> Option<u64> {
        let all = self.sources.index.live().len() as u64;
        match &part.what {
            What::All(parts) if parts.is_empty() => Some(all),
            What::Any(parts) if parts.is_empty() => Some(0),
            What::Not(inner) => Some(all - self.size(inner)?),
            What::Values { passing, .. } => Some(passing.iter().map(|set| set.len() as u64).sum()),
            What::Sets { sets, .. } if sets.len() == 1 => Some(sets[0].len() as u64),
            What::Kin(kindred) => kindred.set().map(|set| set.len() as u64),
            What::Stretch(set) => Some(set.len() as u64),
            What::Range { known, .. } => known.map(|known| known as u64),
            _ => None,
        }
    }

    /// The first place behind the query's cursor.
    fn start(&self, order: &Order) -> Place {
        match self.query.cursor() {
            None => Place::FIRST,
            Some(_) => order.search(|row| !self.is_open(row)),
        }
    }

    fn is_open(&self, row: u32) -> bool {
        let index = self.sources.index;
        (self.query.cursor()).is_none_or(|cursor| cursor.is_before(|field| index.sort_value(field, row)))
    }

    /// The window, by asking rows in the order of the sort; `None` when that takes more than `most` steps.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    fn walk(&self, part: &Part<'_>, most: f64) -> Option<Vec<u32>> {
        let order = self.order?;
        let mut left = most as u64;
        let mut skip = self.skip;
        let mut found = Vec::with_capacity(self.take.min(1_024));
        let ended = order.from(self.start(order)).try_for_each(|row| {
            if left == 0 {
                return ControlFlow::Break(false);
            }
            left -= 1;
            if self.sources.passes(part, row) {
                if skip > 0 {
                    skip -= 1;
                } else {
                    found.push(row);
                    if found.len() == self.take {
                        return ControlFlow::Break(true);
                    }
                }
            }
            ControlFlow::Continue(())
        });
        self.sources.look(most as u64 - left);
        (ended != ControlFlow::Break(false)).then_some(found)
    }

    /// The window, from the rows whose bits are set and that pass, in the order of the sort.
    fn stroll(&self, order: &Order, left: &[u64], passes: impl Fn(u32) -> bool) -> Vec<u32> {
        let (mut found, mut skip) = (Vec::new(), self.skip);
        // A loop inside the iterator: a step costs a nanosecond or two, and there may be tens of thousands.
        let _ = order.from(self.start(order)).try_for_each(|row| {
            if is_set(left, row) && passes(row) {
                if skip > 0 {
                    skip -= 1;
                } else if found.len() < self.take {
                    found.push(row);
                }
            }
            if found.len() < self.take {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        found
    }

    /// The window, from all rows that match.
    fn picked(&self, mut matching: Vec<u32>) -> Vec<u32> {
        match self.order {
            Some(order) => {
                if self.query.cursor().is_some() {
                    matching.retain(|&row| self.is_open(row));
                }
                order.window(matching, self.skip, self.take)
            }
            None => self.query.window_of(self.sources.view, matching.into_iter()),
        }
    }

    /// The window, from bits for all rows that sets alone leave, and asking those that matter.
    fn sieve(&self, part: &Part<'_>) -> (Vec<u32>, Way) {
        let (left, total) = self
            .sources
            .bits(|block, open| self.sources.sieve(part, block, open));
        let passes = |row: u32| {
            part.exact || {
                self.sources.look(1);
                self.sources.passes(part, row)
            }
        };
        let reach = self.skip.saturating_add(self.take) as u64;
        if let Some(order) = self.order
            && is_walked(order, reach, total)
        {
            return (self.stroll(order, &left, passes), Way::BlocksWalk);
        }
        (
            self.picked(bits(&left).filter(|&row| passes(row)).collect()),
            Way::Blocks,
        )
    }

    /// The window and the count, from bits for all rows.
    fn blocks(&self, part: &Part<'_>, wanted: Wanted) -> (Vec<u32>, Option<u64>, Way) {
        let (left, total) = self
            .sources
            .bits(|block, open| self.sources.narrow(part, block, open));
        if !wanted.rows {
            return (Vec::new(), Some(total), Way::Blocks);
        }
        let reach = self.skip.saturating_add(self.take) as u64;
        if let Some(order) = self.order
            && is_walked(order, reach, total)
        {
            return (self.stroll(order, &left, |_| true), Some(total), Way::BlocksWalk);
        }
        (self.picked(bits(&left).collect()), Some(total), Way::Blocks)
    }
}

/// Whether the end of the page is sooner reached through the order than by putting `total` rows in order: a step of a walk is
/// an eighth of the price.
fn is_walked(order: &Order, reach: u64, total: u64) -> bool {
    let steps = u128::from(reach) * order.len() as u128;
    total > 0 && steps < 8 * u128::from(total) * u128::from(total)
}

#[inline]
fn is_set(words: &[u64], row: u32) -> bool {
    (words.get(row as usize / 64)).is_some_and(|word| word >> (row % 64) & 1 == 1)
}

/// The rarest group of sets that holds every row that passes, and the price of asking its rows.
fn pick<'a>(part: &'a Part<'_>) -> Option<(Vec<&'a RowSet>, f64)> {
    let sets = rarest(part)?;
    let rare: usize = sets.iter().map(|set| set.len()).sum();
    Some((sets, small(rare) * (part.listed + 4.0)))
}

/// The smallest group of sets of which one must hold every row that passes.
fn rarest<'a>(part: &'a Part<'_>) -> Option<Vec<&'a RowSet>> {
    let size = |sets: &Vec<&RowSet>| sets.iter().map(|set| set.len()).sum::<usize>();
    match &part.what {
        What::All(parts) => parts.iter().filter_map(rarest).min_by_key(size),
        What::Values { passing, .. } => Some(passing.clone()),
        What::Sets { sets, all: true } => Some(vec![sets.first()?]),
        What::Sets { sets, all: false } if sets.len() == 1 => Some(sets.clone()),
        What::Text {
            candidates: Some(lists),
            ..
        } if lists.len() == 1 => Some(vec![lists[0].first()?]),
        What::Kin(kindred) => Some(vec![kindred.set()?]),
        What::Stretch(set) => Some(vec![set]),
        _ => None,
    }
}
