//! Small worlds and trees from a seed. Operands come from the pools that the data come from, so that they meet.

use std::collections::HashMap;

use tenfold::filter::{Bound, Entity, Expr, Field, Kind, Op, Relation, Set, Side};
use uuid::Uuid;

use super::support::{Cell, Tables};

/// `SplitMix64`: one number after another, the same for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

// Lower case equals simple folding for these letters, so the naive evaluator may use it.
const TEXTS: [&str; 14] = [
    "",
    "a",
    "A",
    "etl",
    "ETL",
    "é",
    "É",
    "été",
    "a_b",
    "a%b",
    "axb",
    "naïve",
    "ß",
    "quo\"te\\\n\u{202E}'",
];
const INTS: [i64; 7] = [i64::MIN, -1, 0, 1, 2, 10, i64::MAX];
const TIMES: [i64; 7] = [
    i64::MIN,
    -62_135_596_800_000_000,
    -1,
    0,
    1_714_000_000_000_001,
    253_402_300_799_999_999,
    i64::MAX,
];

fn uuid(random: &mut Random) -> Uuid {
    Uuid::from_u128(random.below(8) as u128)
}

fn value(random: &mut Random, kind: Kind) -> Cell {
    match kind {
        Kind::Uuid => Cell::Uuid(uuid(random)),
        Kind::Text => Cell::Text(random.pick(&TEXTS).to_owned()),
        Kind::Bool => Cell::Bool(random.chance(2)),
        Kind::Int | Kind::Duration => Cell::Int(random.pick(&INTS)),
        Kind::Time => Cell::Time(random.pick(&TIMES)),
        Kind::Code(words) => Cell::Code(u8::try_from(random.below(words.len())).unwrap()),
        Kind::Tags => Cell::Tags(
            (0..random.below(4))
                .map(|_| random.pick(&TEXTS).to_owned())
                .collect(),
        ),
        other => panic!("{other:?} is new; say how it is made"),
    }
}

/// Up to five rows of each kind. Ids are the row numbers; everything else may be null or anything of its type.
pub(super) fn world(random: &mut Random) -> Tables {
    let mut tables = Tables::default();
    for entity in Entity::ALL {
        let rows = (0..random.below(6)).map(|row| {
            let mut cells: HashMap<Field, Cell> = HashMap::new();
            for field in entity
                .fields()
                .filter(|&field| field != Field::RunStartOrExpected)
            {
                let null = field.kind() != Kind::Tags && random.chance(4);
                cells.insert(
                    field,
                    if null {
                        Cell::Null
                    } else {
                        value(random, field.kind())
                    },
                );
            }
            cells.insert(entity.id(), Cell::Uuid(Uuid::from_u128(row as u128)));
            cells
        });
        tables.rows.insert(entity, rows.collect());
    }
    tables.link();
    tables
}

fn items<T>(random: &mut Random, item: impl Fn(&mut Random) -> T) -> Vec<T> {
    (0..random.below(4)).map(|_| item(random)).collect()
}

fn text(random: &mut Random) -> Box<str> {
    random.pick(&TEXTS).into()
}

fn set(random: &mut Random, kind: Kind) -> Set {
    match kind {
        Kind::Uuid => Set::Uuids(items(random, uuid).into()),
        Kind::Text => Set::Texts(items(random, text).into()),
        Kind::Time => Set::Times(items(random, |random| random.pick(&TIMES)).into()),
        Kind::Code(words) => {
            Set::Codes(items(random, |random| u8::try_from(random.below(words.len())).unwrap()).into())
        }
        _ => Set::Ints(items(random, |random| random.pick(&INTS)).into()),
    }
}

fn op(random: &mut Random, kind: Kind) -> Op {
    let side = random.pick(&[Side::Less, Side::AtMost, Side::AtLeast, Side::Greater]);
    match (kind, random.below(8)) {
        (Kind::Tags, 0) => Op::IsEmpty,
        (Kind::Tags, 1..=3) => Op::HasAny(items(random, text).into()),
        (Kind::Tags, _) => Op::HasAll(items(random, text).into()),
        (_, 0) => Op::IsNull,
        (Kind::Bool, _) => Op::Is(random.chance(2)),
        (kind, 1) => Op::NoneOf(set(random, kind)),
        (Kind::Text, 2) => Op::Compare(side, Bound::Text(text(random))),
        (Kind::Text, 3) => Op::Like(pattern(random)),
        (Kind::Text, 4) => Op::Contains(text(random)),
        (Kind::Text, 5) => Op::StartsWith(text(random)),
        (Kind::Text, 6) => Op::EndsWith(text(random)),
        (Kind::Int | Kind::Duration, 2..=5) => Op::Compare(side, Bound::Int(random.pick(&INTS))),
        (Kind::Time, 2..=5) => Op::Compare(side, Bound::Time(random.pick(&TIMES))),
        (kind, _) => Op::In(set(random, kind)),
    }
}

fn pattern(random: &mut Random) -> Box<str> {
    (0..random.below(5))
        .map(|_| random.pick(&["%", "_", "a", "É", "B", "%"]))
        .collect::<String>()
        .into()
}

/// A tree about `entity`, at most `depth` levels above its leaves.
pub(super) fn tree(random: &mut Random, entity: Entity, depth: u8) -> Expr {
    let kind = if depth == 0 { 9 } else { random.below(10) };
    let children = |random: &mut Random| {
        let count = random.pick(&[0, 2, 2, 3]);
        (0..count)
            .map(|_| tree(random, entity, depth - 1))
            .collect::<Vec<_>>()
    };
    match kind {
        0 | 1 => Expr::all(children(random)),
        2 | 3 => Expr::any(children(random)),
        4 => tree(random, entity, depth - 1).negated(),
        5 | 6 => {
            let relations: Vec<Relation> = entity.relations().collect();
            let relation = random.pick(&relations);
            Expr::exists(relation, tree(random, relation.target(), depth - 1))
        }
        _ => {
            let fields: Vec<Field> = entity.fields().collect();
            let field = random.pick(&fields);
            Expr::test(field, op(random, field.kind())).unwrap()
        }
    }
}
