//! The compiled form: a list of checks, each with two exits.
//!
//! `and`, `or` and `not` leave no trace in it. They only decide where each check goes on to when it holds and when it does
//! not, so a row passes through the checks it needs and no others. Children of one node are asked in an order of cost and
//! guessed chance; evaluation has no effects, so the answer is the same.

use uuid::Uuid;

use super::expr::{Bound, Expr, Node, Op, Set, Side, Test};
use super::field::Field;
use super::pattern::{Folded, Like};
use super::records::{Records, Value, read};
use super::relation::Relation;

/// Exit: the row matches.
const YES: u32 = u32::MAX;
/// Exit: it does not.
const NO: u32 = u32::MAX - 1;

/// Checks in the order of execution.
///
/// # Invariants
///
/// * **P1** each exit is `YES`, `NO` or the index of a later step, so a run ends.
#[derive(Debug)]
pub(crate) struct Program {
    start: u32,
    steps: Box<[Step]>,
}

#[derive(Debug)]
struct Step {
    field: Field,
    yes: u32,
    no: u32,
    check: Check,
}

/// What is checked: the operators, made ready. Those that filters use most stand for themselves, so that each reads the value
/// in the one type it needs; the others go through [`Rare`].
#[derive(Debug)]
enum Check {
    Null,
    Is(bool),
    /// Int, duration or time.
    Within(i64, i64),
    /// One bit for each code.
    Codes(u64),
    Uuid(Uuid),
    Text(Box<str>),
    Tag(Box<str>),
    Like(Box<Like>),
    Contains(Box<Folded>),
    Rare(Box<Rare>),
    /// A field that is derived from others; the records are not asked for it.
    Derived(Box<Rare>),
    /// The step's field is not used.
    Exists(Relation, Box<Program>),
}

/// The operators that take any value.
#[derive(Debug)]
enum Rare {
    Never,
    Null,
    Within(i64, i64),
    Numbers(Box<[i64]>),
    Codes(u64),
    Uuids(Box<[Uuid]>),
    Texts(Texts),
    TextSide(Side, Box<str>),
    StartsWith(Folded),
    EndsWith(Folded),
    AllTags(Texts),
    AnyTag(Texts),
    NoTags,
    NoneOf(Box<Rare>),
}

/// A set of texts, the short ones first and equally long ones by their bytes, so that most comparisons end with the length.
#[derive(Debug)]
struct Texts(Box<[Box<str>]>);

impl Texts {
    /// Below this, comparing with each is quicker than searching.
    const FEW: usize = 12;

    fn new(items: &[Box<str>]) -> Self {
        let mut items: Box<[Box<str>]> = items.into();
        items.sort_unstable_by(|a, b| (a.len(), &**a).cmp(&(b.len(), &**b)));
        Self(items)
    }

    fn contains(&self, text: &str) -> bool {
        if self.0.len() < Self::FEW {
            return self.0.iter().any(|item| **item == *text);
        }
        self.0
            .binary_search_by(|item| (item.len(), &**item).cmp(&(text.len(), text)))
            .is_ok()
    }
}

impl Program {
    pub(crate) fn new(expr: &Expr) -> Self {
        let mut steps = Vec::new();
        let start = emit(expr, YES, NO, &mut steps);
        // Steps were made last first; turn them round so that a row walks forward through memory.
        let count = u32::try_from(steps.len()).expect("limits allow fewer nodes than there are numbers");
        let turn = |exit: u32| if exit >= NO { exit } else { count - 1 - exit };
        steps.reverse();
        for step in &mut steps {
            step.yes = turn(step.yes);
            step.no = turn(step.no);
        }
        Self {
            start: turn(start),
            steps: steps.into_boxed_slice(),
        }
    }

    /// Whether the test of one field holds on this value. For programs made of a single test.
    pub(crate) fn accepts(&self, value: Value<'_>) -> bool {
        self.matches(&Single(value), 0)
    }

    #[inline]
    pub(crate) fn matches<R: Records + ?Sized>(&self, records: &R, row: u32) -> bool {
        let mut at = self.start;
        while let Some(step) = self.steps.get(at as usize) {
            at = if step.holds(records, row) {
                step.yes
            } else {
                step.no
            };
        }
        at == YES
    }
}

/// One value, in the place of every field.
struct Single<'a>(Value<'a>);

impl Records for Single<'_> {
    #[inline]
    fn value(&self, _: Field, _: u32) -> Value<'_> {
        self.0
    }

    fn any_related(&self, _: Relation, _: u32, _: &mut dyn FnMut(u32) -> bool) -> bool {
        false
    }
}

impl Step {
    #[inline]
    fn holds<R: Records + ?Sized>(&self, records: &R, row: u32) -> bool {
        match (&self.check, self.field) {
            (Check::Null, field) => matches!(records.value(field, row), Value::Null),
            (Check::Is(wanted), field) => {
                matches!(records.value(field, row), Value::Bool(value) if value == *wanted)
            }
            (Check::Within(low, high), field) => {
                matches!(records.value(field, row), Value::Int(value) | Value::Time(value)
                    if *low <= value && value <= *high)
            }
            (Check::Codes(mask), field) => {
                matches!(records.value(field, row), Value::Code(code) if mask & bit(code) != 0)
            }
            (Check::Uuid(wanted), field) => {
                matches!(records.value(field, row), Value::Uuid(value) if value == *wanted)
            }
            (Check::Text(wanted), field) => {
                matches!(records.value(field, row), Value::Text(value) if *value == **wanted)
            }
            (Check::Tag(wanted), field) => {
                matches!(records.value(field, row), Value::Tags(tags) if tags.contains(wanted))
            }
            (Check::Like(pattern), field) => {
                matches!(records.value(field, row), Value::Text(text) if pattern.matches(text))
            }
            (Check::Contains(needle), field) => {
                matches!(records.value(field, row), Value::Text(text) if needle.is_in(text))
            }
            (Check::Rare(rare), field) => rare.holds(records.value(field, row)),
            (Check::Derived(rare), field) => rare.holds(read(records, field, row)),
            (Check::Exists(relation, inner), _) => {
                records.any_related(*relation, row, &mut |other| inner.matches(records, other))
            }
        }
    }
}

/// Adds the steps of `expr`, made so that it goes to `yes` or `no`, and returns where it starts.
fn emit(expr: &Expr, yes: u32, no: u32, steps: &mut Vec<Step>) -> u32 {
    let (field, check) = match expr.node() {
        Node::And(children) => {
            return in_order(children, |child| 1.0 - child.share)
                .rev()
                .fold(yes, |next, child| emit(child, next, no, steps));
        }
        Node::Or(children) => {
            return in_order(children, |child| child.share)
                .rev()
                .fold(no, |next, child| emit(child, yes, next, steps));
        }
        Node::Not(inner) => return emit(inner, no, yes, steps),
        Node::TooDeep => return no,
        Node::Test(test) => (test.field(), prepare(test)),
        Node::Exists(relation, inner) => (
            relation.source().id(),
            Check::Exists(*relation, Box::new(Program::new(inner))),
        ),
    };
    let index = u32::try_from(steps.len()).expect("limits allow fewer nodes than there are numbers");
    steps.push(Step {
        field,
        yes,
        no,
        check,
    });
    index
}

/// Children in the order in which they are best asked: what is cheap and likely to decide comes first.
fn in_order(children: &[Expr], decisive: fn(Guess) -> f32) -> impl DoubleEndedIterator<Item = &Expr> {
    let mut order: Vec<(f32, &Expr)> = children
        .iter()
        .map(|child| {
            let guess = guess(child);
            (guess.cost / decisive(guess).max(0.001), child)
        })
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    order.into_iter().map(|(_, child)| child)
}

/// What is assumed of an expression before any row has been seen.
#[derive(Clone, Copy)]
struct Guess {
    /// The price of looking at one row, in comparisons of a number.
    cost: f32,
    /// The share of rows for which it holds.
    share: f32,
}

fn guess(expr: &Expr) -> Guess {
    let (cost, share) = match expr.node() {
        Node::And(children) => in_turn(children, |share| share),
        Node::Or(children) => {
            let (cost, missed) = in_turn(children, |share| 1.0 - share);
            (cost, 1.0 - missed)
        }
        Node::Not(inner) => {
            let inner = guess(inner);
            (inner.cost, 1.0 - inner.share)
        }
        Node::TooDeep => (0.0, 0.0),
        Node::Test(test) => match test.op() {
            Op::IsNull | Op::IsEmpty => (1.0, 0.2),
            Op::Is(_) => (1.0, 0.5),
            Op::Compare(_, Bound::Int(_) | Bound::Time(_)) => (1.0, 0.4),
            Op::Compare(..) => (4.0, 0.4),
            Op::In(set) | Op::NoneOf(set) => {
                let items = small(set.len());
                let (cost, share) = match set {
                    Set::Codes(_) => (1.0, items / 6.0),
                    Set::Uuids(_) | Set::Ints(_) | Set::Times(_) => (1.0 + items.sqrt(), items / 50.0),
                    Set::Texts(_) => (2.0 + items.sqrt(), items / 30.0),
                };
                let share = share.min(0.9);
                (
                    cost,
                    if matches!(test.op(), Op::In(_)) {
                        share
                    } else {
                        0.9 - share
                    },
                )
            }
            Op::StartsWith(_) | Op::EndsWith(_) => (4.0, 0.1),
            Op::Like(_) | Op::Contains(_) => (12.0, 0.1),
            Op::HasAll(tags) => (8.0, 0.1 / small(tags.len()).max(1.0)),
            Op::HasAny(tags) => (6.0 + 2.0 * small(tags.len()), (0.1 * small(tags.len())).min(0.9)),
        },
        Node::Exists(relation, inner) => {
            let inner = guess(inner);
            if relation.is_many() {
                (10.0 + 20.0 * inner.cost, (3.0 * inner.share).min(0.8))
            } else {
                (4.0 + inner.cost, 0.9 * inner.share)
            }
        }
    };
    Guess { cost, share }
}

/// The price of asking children until one stops the walk, and the share of rows that pass them all.
fn in_turn(children: &[Expr], passes: fn(f32) -> f32) -> (f32, f32) {
    children
        .iter()
        .map(guess)
        .fold((0.0, 1.0), |(cost, left), child| {
            (cost + left * child.cost, left * passes(child.share))
        })
}

/// A length as a figure; beyond some length it makes no difference.
fn small(length: usize) -> f32 {
    u16::try_from(length).map_or(f32::from(u16::MAX), f32::from)
}

fn prepare(asked: &Test) -> Check {
    let rare = match asked.op() {
        Op::IsNull => Rare::Null,
        Op::Is(wanted) => return Check::Is(*wanted),
        Op::In(set) => member(set),
        Op::NoneOf(set) => Rare::NoneOf(Box::new(member(set))),
        Op::Compare(side, Bound::Int(bound) | Bound::Time(bound)) => {
            let range = match side {
                Side::Less => bound.checked_sub(1).map(|high| (i64::MIN, high)),
                Side::AtMost => Some((i64::MIN, *bound)),
                Side::AtLeast => Some((*bound, i64::MAX)),
                Side::Greater => bound.checked_add(1).map(|low| (low, i64::MAX)),
            };
            range.map_or(Rare::Never, |(low, high)| Rare::Within(low, high))
        }
        Op::Compare(side, Bound::Text(bound)) => Rare::TextSide(*side, bound.clone()),
        Op::Like(pattern) => return Check::Like(Box::new(Like::new(pattern))),
        Op::Contains(text) => return Check::Contains(Box::new(Folded::new(text))),
        Op::StartsWith(text) => Rare::StartsWith(Folded::new(text)),
        Op::EndsWith(text) => Rare::EndsWith(Folded::new(text)),
        Op::HasAll(tags) | Op::HasAny(tags) if tags.len() == 1 => return Check::Tag(tags[0].clone()),
        Op::HasAll(tags) => Rare::AllTags(Texts::new(tags)),
        Op::HasAny(tags) => Rare::AnyTag(Texts::new(tags)),
        Op::IsEmpty => Rare::NoTags,
    };
    if asked.field() == Field::RunStartOrExpected {
        return Check::Derived(Box::new(rare));
    }
    match rare {
        Rare::Null => Check::Null,
        Rare::Within(low, high) => Check::Within(low, high),
        Rare::Codes(mask) => Check::Codes(mask),
        Rare::Uuids(uuids) if uuids.len() == 1 => Check::Uuid(uuids[0]),
        Rare::Texts(Texts(texts)) if texts.len() == 1 => Check::Text(texts[0].clone()),
        rare => Check::Rare(Box::new(rare)),
    }
}

fn member(set: &Set) -> Rare {
    match set {
        Set::Codes(codes) => Rare::Codes(codes.iter().fold(0, |mask, &code| mask | bit(code))),
        Set::Ints(numbers) | Set::Times(numbers) => match **numbers {
            [number] => Rare::Within(number, number),
            ref numbers => Rare::Numbers(numbers.into()),
        },
        Set::Uuids(uuids) => Rare::Uuids((**uuids).into()),
        Set::Texts(texts) => Rare::Texts(Texts::new(texts)),
    }
}

/// The bit of a code; none for a code beyond 63, which no vocabulary has.
const fn bit(code: u8) -> u64 {
    if code < 64 { 1 << code } else { 0 }
}

impl Rare {
    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Null, value) => matches!(value, Value::Null),
            (Self::NoneOf(inner), value) => !matches!(value, Value::Null) && !inner.holds(value),
            (Self::Within(low, high), Value::Int(value) | Value::Time(value)) => {
                *low <= value && value <= *high
            }
            (Self::Numbers(wanted), Value::Int(value) | Value::Time(value)) => {
                wanted.binary_search(&value).is_ok()
            }
            (Self::Codes(mask), Value::Code(code)) => mask & bit(code) != 0,
            (Self::Uuids(wanted), Value::Uuid(value)) => wanted.binary_search(&value).is_ok(),
            (Self::Texts(wanted), Value::Text(value)) => wanted.contains(value),
            (Self::TextSide(side, bound), Value::Text(value)) => side.admits((*value).cmp(bound)),
            (Self::StartsWith(needle), Value::Text(text)) => needle.starts(text),
            (Self::EndsWith(needle), Value::Text(text)) => needle.ends(text),
            (Self::AllTags(wanted), Value::Tags(tags)) => wanted.0.iter().all(|tag| tags.contains(tag)),
            (Self::AnyTag(wanted), Value::Tags(tags)) => tags.any(|tag| wanted.contains(tag)),
            (Self::NoTags, Value::Tags(tags)) => tags.is_empty(),
            _ => false,
        }
    }
}
