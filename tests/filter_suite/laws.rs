//! F3: the laws of the algebra, each on generated data and trees. `TENFOLD_DEEP=1` draws 100,000 cases per law instead of 2,000;
//! `TENFOLD_SEED=n` draws case `n` alone.

use chrono::DateTime;
use tenfold::filter::{Entity, Expr, Filter, Limits, Query, SortKey, Start};

use super::generate::{Random, tree, world};
use super::naive;
use super::support::Tables;

struct Case {
    random: Random,
    tables: Tables,
    entity: Entity,
}

impl Case {
    fn tree(&mut self) -> Expr {
        tree(&mut self.random, self.entity, 3)
    }

    fn rows(&self, expr: &Expr) -> Vec<u32> {
        let filter = Filter::new(self.entity, expr.clone(), &Limits::default()).unwrap();
        (0..self.tables.count(self.entity))
            .filter(|&row| filter.matches(&self.tables, row))
            .collect()
    }

    #[track_caller]
    fn same(&self, a: &Expr, b: &Expr) {
        assert_eq!(self.rows(a), self.rows(b), "{} {a} / {b}", self.entity);
    }
}

/// Draws cases from seeds; see [`for_each_seed`].
fn for_each_case(law: impl Fn(&mut Case)) {
    for_each_seed(|seed| {
        let mut random = Random(seed);
        let tables = world(&mut random);
        let entity = random.pick(&Entity::ALL);
        law(&mut Case {
            random,
            tables,
            entity,
        });
    });
}

/// Tries seeds 0, 1, 2, …; a failure names its seed.
pub(super) fn for_each_seed(law: impl Fn(u64)) {
    let only = std::env::var("TENFOLD_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let cases = if std::env::var_os("TENFOLD_DEEP").is_some() {
        100_000
    } else {
        2_000
    };
    for seed in only.map_or(0..cases, |seed| seed..seed + 1) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| law(seed)));
        if let Err(panic) = outcome {
            eprintln!("replay with TENFOLD_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn f3_the_compiled_form_agrees_with_the_naive_evaluator() {
    for_each_case(|case| {
        let expr = case.tree();
        let expected: Vec<u32> = (0..case.tables.count(case.entity))
            .filter(|&row| naive::holds(&case.tables, &expr, row))
            .collect();
        assert_eq!(case.rows(&expr), expected, "{} {expr}", case.entity);
    });
}

#[test]
fn f3_de_morgan() {
    for_each_case(|case| {
        let (a, b) = (case.tree(), case.tree());
        let (not_a, not_b) = (a.clone().negated(), b.clone().negated());
        case.same(
            &Expr::all([a.clone(), b.clone()]).negated(),
            &Expr::any([not_a.clone(), not_b.clone()]),
        );
        case.same(&Expr::any([a, b]).negated(), &Expr::all([not_a, not_b]));
    });
}

#[test]
fn f3_double_negation() {
    for_each_case(|case| {
        let a = case.tree();
        case.same(&a.clone().negated().negated(), &a);
    });
}

#[test]
fn f3_absorption() {
    for_each_case(|case| {
        let (a, b) = (case.tree(), case.tree());
        case.same(&Expr::all([a.clone(), Expr::any([a.clone(), b.clone()])]), &a);
        case.same(&Expr::any([a.clone(), Expr::all([a.clone(), b])]), &a);
    });
}

#[test]
fn f3_commutation_association_distribution() {
    for_each_case(|case| {
        let (a, b, c) = (case.tree(), case.tree(), case.tree());
        let (ab, ac) = ([a.clone(), b.clone()], [a.clone(), c.clone()]);
        let ba = [b.clone(), a.clone()];
        case.same(&Expr::all(ab.clone()), &Expr::all(ba.clone()));
        case.same(&Expr::any(ab.clone()), &Expr::any(ba));
        let bc = [b, c];
        case.same(
            &Expr::all([Expr::all(ab.clone()), bc[1].clone()]),
            &Expr::all([a.clone(), Expr::all(bc.clone())]),
        );
        case.same(
            &Expr::any([Expr::any(ab.clone()), bc[1].clone()]),
            &Expr::any([a.clone(), Expr::any(bc.clone())]),
        );
        case.same(
            &Expr::all([a.clone(), Expr::any(bc.clone())]),
            &Expr::any([Expr::all(ab.clone()), Expr::all(ac.clone())]),
        );
        case.same(
            &Expr::any([a, Expr::all(bc)]),
            &Expr::all([Expr::any(ab), Expr::any(ac)]),
        );
    });
}

#[test]
fn f3_identities() {
    for_each_case(|case| {
        let a = case.tree();
        let total = case.tables.count(case.entity);
        assert_eq!(case.rows(&Expr::all([])), (0..total).collect::<Vec<_>>());
        assert!(case.rows(&Expr::any([])).is_empty());
        case.same(&Expr::all([a.clone(), Expr::yes()]), &a);
        case.same(&Expr::any([a.clone(), Expr::no()]), &a);
        case.same(&Expr::all([a.clone(), Expr::no()]), &Expr::no());
        case.same(&Expr::any([a.clone(), Expr::yes()]), &Expr::yes());
        case.same(&Expr::all([a.clone(), a.clone()]), &a);
        case.same(&Expr::all([a.clone(), a.clone().negated()]), &Expr::no());
        case.same(&Expr::any([a.clone(), a.clone().negated()]), &Expr::yes());
        case.same(&a.plain(), &a);
    });
}

#[test]
fn f3_a_count_and_the_count_of_its_complement_make_the_total() {
    for_each_case(|case| {
        let a = case.tree();
        let total = case.tables.count(case.entity);
        let count = |expr: Expr| {
            let filter = Filter::new(case.entity, expr, &Limits::default()).unwrap();
            Query::new(filter).run(&case.tables, 0..total).count
        };
        assert_eq!(
            count(a.clone()) + count(a.clone().negated()),
            u64::from(total),
            "{} {a}",
            case.entity
        );
    });
}

#[test]
fn f3_text_prints_every_tree_and_parses_back_to_it() {
    let limits = Limits::default();
    for_each_case(|case| {
        let filter = Filter::new(case.entity, case.tree(), &limits).unwrap();
        let text = filter.to_string();
        let parsed = Filter::parse(case.entity, &text, DateTime::UNIX_EPOCH, &limits);
        let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(parsed, filter, "printed as {text}");
    });
}

#[test]
fn f3_json_prints_what_it_can_and_reads_back_to_it() {
    let limits = Limits::default();
    for_each_case(|case| {
        // Small trees, of which JSON can say a good part.
        let expr = tree(&mut case.random, case.entity, 1);
        let filter = Filter::new(case.entity, expr, &limits).unwrap();
        match filter.to_json() {
            Ok(body) => {
                let read = Filter::from_json(case.entity, &body, &limits).unwrap();
                case.same(read.expr(), filter.expr());
                assert_eq!(read.notices(), []);
                let text = read.to_string();
                assert_eq!(
                    Filter::parse(case.entity, &text, DateTime::UNIX_EPOCH, &limits).unwrap(),
                    read
                );
            }
            Err(unprintable) => assert!(!unprintable.part.is_empty()),
        }
    });
}

#[test]
fn f3_list_count_and_pages_agree() {
    let limits = Limits::default();
    for_each_case(|case| {
        let filter = Filter::new(case.entity, case.tree(), &limits).unwrap();
        let fields: Vec<_> = case
            .entity
            .fields()
            .filter(|field| field.kind() != tenfold::filter::Kind::Tags)
            .collect();
        let key = case.random.pick(&fields);
        let key = if case.random.below(2) == 0 {
            SortKey::ascending(key)
        } else {
            SortKey::descending(key)
        };
        let query = Query::new(filter.clone()).sorted_by([key]).unwrap();
        let mut expected: Vec<u32> = case.rows(filter.expr());
        expected.sort_by(|&a, &b| query.order(&case.tables, a, b));
        for pair in expected.windows(2) {
            assert!(
                query.order(&case.tables, pair[0], pair[1]).is_lt(),
                "the order is total"
            );
        }
        let total = case.tables.count(case.entity);
        let limit = u32::try_from(case.random.below(4)).unwrap();
        let page = 1 + case.random.next() % 4;
        let answer = query
            .window(Start::Page(page), limit, &limits)
            .unwrap()
            .run(&case.tables, 0..total);
        let offset = usize::try_from((page - 1) * u64::from(limit))
            .unwrap()
            .min(expected.len());
        let end = (offset + limit as usize).min(expected.len());
        assert_eq!(answer.rows, expected[offset..end]);
        assert_eq!(answer.count, expected.len() as u64);
        let pages = if limit == 0 {
            0
        } else {
            expected.len().div_ceil(limit as usize)
        };
        assert_eq!(answer.pages, pages as u64);
    });
}
