//! Single calls of the queue beside the plain alternative, with criterion's statistics. The promises are in the ratio bench.
//!
//! ```text
//! cargo bench --bench queue
//! ```

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use tenfold::Priority;
use tenfold::queue::Queue;

#[path = "workload/deques.rs"]
mod deques;
#[path = "workload/mod.rs"]
mod workload;
use deques::Deques;
use workload::{Levels, Random, SEED};

fn filled(waiting: usize) -> Queue<u64> {
    let queue = Queue::new();
    for priority in Levels::Uniform.take(waiting, SEED) {
        queue.push(priority, 0).expect("open and without bound");
    }
    queue
}

fn calls(criterion: &mut Criterion) {
    for waiting in [0, 1_000_000] {
        let mut group = criterion.benchmark_group(format!("{waiting} wait"));
        let (queue, mut random) = (filled(waiting), Random::new(SEED));
        group.bench_function("push and pop", |bencher| {
            bencher.iter(|| {
                let pushed = queue.push(Levels::Uniform.draw(&mut random), 0);
                black_box(pushed).expect("open and without bound");
                black_box(queue.try_pop())
            });
        });
        group.bench_function("push and remove", |bencher| {
            bencher.iter(|| {
                let pushed = queue.push(Levels::Uniform.draw(&mut random), 0);
                let ticket = pushed.expect("open and without bound");
                black_box(queue.remove(ticket)).expect("it waits")
            });
        });
        group.bench_function("relevel", |bencher| {
            let mut ticket = queue.push(Priority::MIN, 0).expect("open and without bound");
            bencher.iter(|| {
                let moved = queue.relevel(ticket, Levels::Uniform.draw(&mut random));
                ticket = moved.expect("it waits");
            });
            queue.remove(ticket);
        });
        group.bench_function("pop and put back", |bencher| {
            queue.push(Priority::MIN, 0).expect("open and without bound");
            bencher.iter(|| {
                let popped = queue.try_pop().expect("at least one waits");
                queue.put_back(popped).expect("it is of this queue")
            });
        });
        group.bench_function("counts", |bencher| bencher.iter(|| black_box(queue.counts())));
        drop(queue);

        let deques = Mutex::new(Deques::default());
        for priority in Levels::Uniform.take(waiting, SEED) {
            deques.lock().push(priority, 0);
        }
        group.bench_function("push and pop, ten deques in a mutex", |bencher| {
            bencher.iter(|| {
                deques.lock().push(Levels::Uniform.draw(&mut random), 0);
                black_box(deques.lock().pop())
            });
        });
        group.finish();
    }
}

fn batches(criterion: &mut Criterion) {
    const BATCH: usize = 64;
    let mut group = criterion.benchmark_group("batch of 64");
    group.throughput(Throughput::Elements(BATCH as u64));
    let queue = filled(1_000);
    let batch: Vec<(Priority, u64)> = (Levels::Uniform.take(BATCH, SEED).into_iter())
        .map(|priority| (priority, 0))
        .collect();
    group.bench_function("push and pop", |bencher| {
        bencher.iter_batched(
            || batch.clone(),
            |batch| {
                black_box(queue.push_batch(batch)).expect("open and without bound");
                queue.pop_batch(BATCH)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("push and pop, item by item", |bencher| {
        bencher.iter(|| {
            for &(priority, item) in &batch {
                black_box(queue.push(priority, item)).expect("open and without bound");
            }
            for _ in 0..BATCH {
                black_box(queue.try_pop());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, calls, batches);
criterion_main!(benches);
