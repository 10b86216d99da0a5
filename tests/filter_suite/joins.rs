//! F3 for relations: `any run where …` by a join, by related rows and by a scan are one answer.

use tenfold::filter::{By, Entity, Expr, Filter, Limits, Query, Relation};
use tenfold::{NewDeployment, NewRun};

use super::generate::Random;
use super::indexes::{Twins, condition, sorted};
use super::laws::for_each_seed;

/// A tree whose root asks related rows, alone or beside something else.
fn related(random: &mut Random, twins: &Twins, entity: Entity, depth: u8) -> Expr {
    let relations: Vec<Relation> = entity.relations().collect();
    let relation = random.pick(&relations);
    let inner = if depth > 0 && random.below(3) == 0 {
        related(random, twins, relation.target(), depth - 1)
    } else {
        condition(random, twins, relation.target(), 1)
    };
    let exists = Expr::exists(relation, inner);
    match random.below(5) {
        0 => exists.negated(),
        1 => Expr::all([exists, condition(random, twins, entity, 1)]),
        2 => Expr::any([exists, condition(random, twins, entity, 1)]),
        3 => Expr::all([exists, related_flat(random, twins, entity)]),
        _ => exists,
    }
}

fn related_flat(random: &mut Random, twins: &Twins, entity: Entity) -> Expr {
    let relations: Vec<Relation> = entity.relations().collect();
    let relation = random.pick(&relations);
    Expr::exists(relation, condition(random, twins, relation.target(), 0))
}

/// How often each way was taken.
#[derive(Default)]
struct Ways {
    joins: usize,
    related: usize,
}

impl Ways {
    fn count(&mut self, twins: &Twins, query: &Query) {
        for tested in twins.indexed.explain_query(query).unwrap().tests {
            self.joins += usize::from(tested.by == By::Join);
            self.related += usize::from(tested.by == By::Related);
        }
    }
}

#[test]
fn f3_a_test_of_related_rows_gives_the_scans_answer_whatever_changes() {
    let ways = std::cell::RefCell::new(Ways::default());
    for_each_seed(|seed| {
        let mut random = Random(seed);
        let mut twins = Twins::new(seed);
        for _ in 0..3 {
            for _ in 0..random.below(24) {
                twins.change(&mut random);
            }
            for _ in 0..2 {
                let entity = random.pick(&Entity::ALL);
                let expr = related(&mut random, &twins, entity, 2);
                let query = Query::new(Filter::new(entity, expr, &Limits::default()).unwrap());
                let query = sorted(&mut random, query);
                twins.ask(&query);
                ways.borrow_mut().count(&twins, &query);
            }
        }
    });
    let ways = ways.into_inner();
    assert!(
        ways.joins > 0 && ways.related > 0,
        "{} joins, {} not",
        ways.joins,
        ways.related
    );
}

#[test]
fn f3_joins_and_related_rows_agree_with_the_scan_on_some_thousands() {
    let (mut random, mut twins) = (Random(11), Twins::new(11));
    for n in 0..600 {
        let new = NewDeployment::new(format!("flow-{}", n % 40), format!("own-{n}"));
        let made = twins.both(|engine| engine.deploy(new.clone()).unwrap());
        twins.deployments.push(made);
    }
    for n in 0..3_000 {
        // Most runs are of few deployments, as they are.
        let at = random.below(600).min(random.below(600)).min(random.below(600));
        let new = NewRun::of(twins.deployments[at].id)
            .name(format!("run-{n}"))
            .tag(["etl", "a", "b"][n % 3]);
        let made = twins.both(|engine| engine.submit(new.clone()).unwrap().id);
        twins.runs.push(made);
    }
    let mut ways = Ways::default();
    for turn in 0..120 {
        for _ in 0..10 {
            twins.change(&mut random);
        }
        let entity = [
            Entity::Deployment,
            Entity::Flow,
            Entity::Run,
            Entity::Queue,
            Entity::Pool,
        ][turn % 5];
        let expr = related(&mut random, &twins, entity, 1);
        let query = Query::new(Filter::new(entity, expr, &Limits::default()).unwrap());
        let query = sorted(&mut random, query);
        twins.ask(&query);
        ways.count(&twins, &query);
    }
    assert!(
        ways.joins > 5 && ways.related > 0,
        "{} joins, {} not",
        ways.joins,
        ways.related
    );
}
