//! Single queries over 100,000 deployments, with criterion's statistics. The promises are in the ratio bench.
//!
//! ```text
//! cargo bench --bench filter
//! ```

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tenfold::filter::build::{Condition, Deployment, deployment};
use tenfold::filter::{Limits, Query, Start};
use tenfold::{Engine, NewDeployment};

#[path = "workload/mod.rs"]
mod workload;
use workload::SEED;

const SIZE: usize = 100_000;

fn engine() -> Engine {
    let engine = Engine::builder()
        .seed(SEED)
        .build()
        .expect("the settings fit together");
    for made in workload::deployments(SIZE, SEED) {
        let mut new = NewDeployment::new(format!("flow-{}", made.flow), made.name);
        for tag in made.tags {
            new = new.tag(tag);
        }
        if made.paused {
            new = new.paused();
        }
        engine.deploy(new).expect("a new name");
    }
    engine
}

fn query(condition: Condition<Deployment>) -> Query {
    let limits = Limits::default();
    let filter = condition.filter(&limits).expect("a small filter");
    Query::new(filter)
        .window(Start::Offset(0), 200, &limits)
        .expect("a page")
}

fn queries(c: &mut Criterion) {
    let engine = engine();
    let cases = [
        ("not paused", query(!deployment::paused().is(true))),
        ("two tags", query(deployment::tags().has_all(["eu", "critical"]))),
        ("name contains", query(deployment::name().contains("train-score"))),
    ];
    let mut group = c.benchmark_group("filter");
    for (name, query) in &cases {
        group.bench_function(format!("ids/{name}"), |b| {
            b.iter(|| black_box(engine.ids(query).expect("a query")));
        });
        group.bench_function(format!("count/{name}"), |b| {
            b.iter(|| black_box(engine.count(query).expect("a query")));
        });
        group.bench_function(format!("page/{name}"), |b| {
            b.iter(|| black_box(engine.deployments(query).expect("a query")));
        });
    }
    let some = engine.ids(&cases[0].1).expect("a query").ids[0];
    let id = tenfold::DeploymentId::from_uuid(some);
    group.bench_function("ids/after one change", |b| {
        b.iter_batched(
            || {
                engine.pause_deployment(id).expect("a deployment");
                engine.resume_deployment(id).expect("a deployment");
            },
            |()| black_box(engine.ids(&cases[0].1).expect("a query")),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
