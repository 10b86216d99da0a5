//! The obvious evaluator: what each operator means, said once more and slowly.

use tenfold::filter::{Bound, Expr, Field, Node, Op, Set};

use super::support::{Cell, Tables};

pub(super) fn holds(tables: &Tables, expr: &Expr, row: u32) -> bool {
    match expr.node() {
        Node::And(children) => children.iter().all(|child| holds(tables, child, row)),
        Node::Or(children) => children.iter().any(|child| holds(tables, child, row)),
        Node::Not(inner) => !holds(tables, inner, row),
        Node::Exists(relation, inner) => tables
            .linked(*relation, row)
            .iter()
            .any(|&other| holds(tables, inner, other)),
        Node::Test(test) => passes(cell(tables, test.field(), row), test.op()),
        other => panic!("{other:?} is not in a filter"),
    }
}

fn cell(tables: &Tables, field: Field, row: u32) -> &Cell {
    if field == Field::RunStartOrExpected {
        let start = tables.cell(Field::RunStartTime, row);
        return if *start == Cell::Null {
            tables.cell(Field::RunExpectedStartTime, row)
        } else {
            start
        };
    }
    tables.cell(field, row)
}

fn passes(cell: &Cell, op: &Op) -> bool {
    let lower = |text: &str| text.to_lowercase();
    match (op, cell) {
        (Op::IsNull, cell) => *cell == Cell::Null,
        (_, Cell::Null) => false,
        (Op::Is(wanted), Cell::Bool(value)) => wanted == value,
        (Op::In(set), cell) => within(set, cell),
        (Op::NoneOf(set), cell) => !within(set, cell),
        (Op::Compare(side, Bound::Int(bound)), Cell::Int(value))
        | (Op::Compare(side, Bound::Time(bound)), Cell::Time(value)) => side.admits(value.cmp(bound)),
        (Op::Compare(side, Bound::Text(bound)), Cell::Text(value)) => side.admits(value.as_str().cmp(bound)),
        (Op::Like(pattern), Cell::Text(text)) => like(pattern, text),
        (Op::Contains(part), Cell::Text(text)) => lower(text).contains(&lower(part)),
        (Op::StartsWith(part), Cell::Text(text)) => lower(text).starts_with(&lower(part)),
        (Op::EndsWith(part), Cell::Text(text)) => lower(text).ends_with(&lower(part)),
        (Op::HasAll(wanted), Cell::Tags(tags)) => wanted.iter().all(|tag| tags.contains(&tag.to_string())),
        (Op::HasAny(wanted), Cell::Tags(tags)) => wanted.iter().any(|tag| tags.contains(&tag.to_string())),
        (Op::IsEmpty, Cell::Tags(tags)) => tags.is_empty(),
        (op, cell) => panic!("{op:?} on {cell:?}"),
    }
}

fn within(set: &Set, cell: &Cell) -> bool {
    match (set, cell) {
        (Set::Uuids(items), Cell::Uuid(value)) => items.contains(value),
        (Set::Texts(items), Cell::Text(value)) => items.iter().any(|item| **item == **value),
        (Set::Ints(items), Cell::Int(value)) | (Set::Times(items), Cell::Time(value)) => {
            items.contains(value)
        }
        (Set::Codes(items), Cell::Code(value)) => items.contains(value),
        (set, cell) => panic!("{cell:?} in {set:?}"),
    }
}

fn like(pattern: &str, text: &str) -> bool {
    let mut rest = text.chars();
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('%') => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| like(&pattern[1..], &text[at..])),
        Some(c) => {
            let fits = rest
                .next()
                .is_some_and(|t| c == '_' || c.eq_ignore_ascii_case(&t));
            fits && like(&pattern[c.len_utf8()..], rest.as_str())
        }
    }
}
