//! The compiled form: a list of checks, each with two exits.
//!
//! `and`, `or` and `not` leave no trace in it. They only decide where each check goes on to when it holds and when it does
//! not, so a row passes through the checks it needs and no others. Children of one node are put in the order of their cost;
//! evaluation has no effects, so the answer is the same.

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
    check: Check,
    yes: u32,
    no: u32,
}

#[derive(Debug)]
enum Check {
    Field(Field, Ready),
    Exists(Relation, Box<Program>),
}

/// What a value must be; the operators, made ready.
#[derive(Debug)]
enum Ready {
    Never,
    Null,
    Is(bool),
    /// Int, duration or time.
    Within(i64, i64),
    Numbers(Box<[i64]>),
    Codes(u64),
    OneUuid(Uuid),
    Uuids(Box<[Uuid]>),
    OneText(Box<str>),
    Texts(Box<[Box<str>]>),
    TextSide(Side, Box<str>),
    Like(Like),
    Contains(Folded),
    StartsWith(Folded),
    EndsWith(Folded),
    OneTag(Box<str>),
    AllTags(Box<[Box<str>]>),
    AnyTag(Box<[Box<str>]>),
    NoTags,
    NoneOf(Box<Ready>),
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

    #[inline]
    pub(crate) fn matches<R: Records + ?Sized>(&self, records: &R, row: u32) -> bool {
        let mut at = self.start;
        while let Some(step) = self.steps.get(at as usize) {
            let holds = match &step.check {
                Check::Field(field, test) => test.holds(read(records, *field, row)),
                Check::Exists(relation, inner) => {
                    records.any_related(*relation, row, &mut |other| inner.matches(records, other))
                }
            };
            at = if holds { step.yes } else { step.no };
        }
        at == YES
    }
}

/// Adds the steps of `expr`, made so that it goes to `yes` or `no`, and returns where it starts.
fn emit(expr: &Expr, yes: u32, no: u32, steps: &mut Vec<Step>) -> u32 {
    let check = match expr.node() {
        Node::And(children) => {
            return by_cost(children)
                .rev()
                .fold(yes, |next, child| emit(child, next, no, steps));
        }
        Node::Or(children) => {
            return by_cost(children)
                .rev()
                .fold(no, |next, child| emit(child, yes, next, steps));
        }
        Node::Not(inner) => return emit(inner, no, yes, steps),
        Node::TooDeep => return no,
        Node::Test(test) => Check::Field(test.field(), prepare(test)),
        Node::Exists(relation, inner) => Check::Exists(*relation, Box::new(Program::new(inner))),
    };
    let index = u32::try_from(steps.len()).expect("limits allow fewer nodes than there are numbers");
    steps.push(Step { check, yes, no });
    index
}

fn by_cost(children: &[Expr]) -> impl DoubleEndedIterator<Item = &Expr> {
    let mut order: Vec<(u32, &Expr)> = children.iter().map(|child| (cost(child), child)).collect();
    order.sort_by_key(|&(cost, _)| cost);
    order.into_iter().map(|(_, child)| child)
}

/// A rough price of looking at one row.
fn cost(expr: &Expr) -> u32 {
    match expr.node() {
        Node::And(children) | Node::Or(children) => children
            .iter()
            .fold(0_u32, |sum, child| sum.saturating_add(cost(child))),
        Node::Not(inner) => cost(inner),
        Node::TooDeep => 0,
        Node::Test(test) => match test.op() {
            Op::IsNull | Op::Is(_) | Op::IsEmpty | Op::Compare(_, Bound::Int(_) | Bound::Time(_)) => 1,
            Op::In(set) | Op::NoneOf(set) => match set {
                Set::Codes(_) => 1,
                Set::Uuids(items) if items.len() <= 1 => 2,
                Set::Ints(items) | Set::Times(items) if items.len() <= 1 => 1,
                Set::Texts(items) if items.len() <= 1 => 3,
                _ => 6,
            },
            Op::Compare(..) | Op::StartsWith(_) | Op::EndsWith(_) => 4,
            Op::HasAll(tags) | Op::HasAny(tags) => {
                u32::try_from(tags.len()).unwrap_or(u32::MAX).saturating_mul(8)
            }
            Op::Like(_) | Op::Contains(_) => 16,
        },
        Node::Exists(relation, inner) => {
            let times = if relation.is_many() { 16 } else { 1 };
            cost(inner).saturating_add(4).saturating_mul(times)
        }
    }
}

fn prepare(asked: &Test) -> Ready {
    match asked.op() {
        Op::IsNull => Ready::Null,
        Op::Is(wanted) => Ready::Is(*wanted),
        Op::In(set) => member(set),
        Op::NoneOf(set) => Ready::NoneOf(Box::new(member(set))),
        Op::Compare(side, Bound::Int(bound) | Bound::Time(bound)) => {
            let range = match side {
                Side::Less => bound.checked_sub(1).map(|high| (i64::MIN, high)),
                Side::AtMost => Some((i64::MIN, *bound)),
                Side::AtLeast => Some((*bound, i64::MAX)),
                Side::Greater => bound.checked_add(1).map(|low| (low, i64::MAX)),
            };
            range.map_or(Ready::Never, |(low, high)| Ready::Within(low, high))
        }
        Op::Compare(side, Bound::Text(bound)) => Ready::TextSide(*side, bound.clone()),
        Op::Like(pattern) => Ready::Like(Like::new(pattern)),
        Op::Contains(text) => Ready::Contains(Folded::new(text)),
        Op::StartsWith(text) => Ready::StartsWith(Folded::new(text)),
        Op::EndsWith(text) => Ready::EndsWith(Folded::new(text)),
        Op::HasAll(tags) | Op::HasAny(tags) if tags.len() == 1 => Ready::OneTag(tags[0].clone()),
        Op::HasAll(tags) => Ready::AllTags(tags.to_vec().into_boxed_slice()),
        Op::HasAny(tags) => Ready::AnyTag(tags.to_vec().into_boxed_slice()),
        Op::IsEmpty => Ready::NoTags,
    }
}

fn member(set: &Set) -> Ready {
    match set {
        Set::Codes(codes) => Ready::Codes(codes.iter().fold(0, |mask, &code| mask | bit(code))),
        Set::Ints(numbers) | Set::Times(numbers) => match **numbers {
            [number] => Ready::Within(number, number),
            ref numbers => Ready::Numbers(numbers.into()),
        },
        Set::Uuids(uuids) => match **uuids {
            [uuid] => Ready::OneUuid(uuid),
            ref uuids => Ready::Uuids(uuids.into()),
        },
        Set::Texts(texts) => match &**texts {
            [text] => Ready::OneText(text.clone()),
            texts => Ready::Texts(texts.into()),
        },
    }
}

/// The bit of a code; none for a code beyond 63, which no vocabulary has.
const fn bit(code: u8) -> u64 {
    if code < 64 { 1 << code } else { 0 }
}

impl Ready {
    #[inline]
    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Null, value) => matches!(value, Value::Null),
            (Self::Is(wanted), Value::Bool(value)) => value == *wanted,
            (Self::Within(low, high), Value::Int(value) | Value::Time(value)) => {
                *low <= value && value <= *high
            }
            (Self::Codes(mask), Value::Code(code)) => mask & bit(code) != 0,
            (Self::OneUuid(wanted), Value::Uuid(value)) => value == *wanted,
            (Self::OneText(wanted), Value::Text(value)) => *value == **wanted,
            (Self::OneTag(wanted), Value::Tags(tags)) => tags.contains(wanted),
            (Self::Like(pattern), Value::Text(text)) => pattern.matches(text),
            (Self::Contains(needle), Value::Text(text)) => needle.is_in(text),
            _ => self.holds_rarely(value),
        }
    }

    /// The rest, kept out of the loop so that the loop stays small.
    fn holds_rarely(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Numbers(wanted), Value::Int(value) | Value::Time(value)) => {
                wanted.binary_search(&value).is_ok()
            }
            (Self::Uuids(wanted), Value::Uuid(value)) => wanted.binary_search(&value).is_ok(),
            (Self::Texts(wanted), Value::Text(value)) => {
                wanted.binary_search_by(|item| (**item).cmp(value)).is_ok()
            }
            (Self::TextSide(side, bound), Value::Text(value)) => side.admits((*value).cmp(bound)),
            (Self::StartsWith(needle), Value::Text(text)) => needle.starts(text),
            (Self::EndsWith(needle), Value::Text(text)) => needle.ends(text),
            (Self::AllTags(wanted), Value::Tags(tags)) => wanted.iter().all(|tag| tags.contains(tag)),
            (Self::AnyTag(wanted), Value::Tags(tags)) => tags
                .iter()
                .any(|tag| wanted.binary_search_by(|item| (**item).cmp(tag)).is_ok()),
            (Self::NoTags, Value::Tags(tags)) => tags.is_empty(),
            (Self::NoneOf(inner), value) => !matches!(value, Value::Null) && !inner.holds(value),
            _ => false,
        }
    }
}
