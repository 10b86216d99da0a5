//! The queue lines: strict priority and FIFO against the plain designs and the peers, the depth, the bytes.

use std::collections::BinaryHeap;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::SegQueue;
use crossbeam::utils::Backoff;
use parking_lot::Mutex;
use tenfold::Priority;
use tenfold::queue::{Lanes, Popped, Queue};

use crate::counting;
use crate::deques::Deques;
use crate::frame::{self, Bench, Goal, Side, Unit};
use crate::workload::{Levels, SEED};

/// Pairs of push and pop in one round of one thread.
const PAIRS: usize = 200_000;
/// Items that pass from the producers to the consumers in one round.
const ITEMS: usize = 400_000;
const MILLION: usize = 1_000_000;

/// What every contestant of these lines can do.
trait Line: Send + Sync + 'static {
    fn put(&self, priority: Priority, item: u64);
    fn take(&self) -> Option<u64>;
}

impl Line for Queue<u64> {
    fn put(&self, priority: Priority, item: u64) {
        self.push(priority, item).expect("open and without bound");
    }

    fn take(&self) -> Option<u64> {
        self.try_pop().map(Popped::into_item)
    }
}

/// The core without its lock, in a plain mutex: what the lock of the queue is worth.
impl Line for Mutex<(Lanes<u64, u64>, u64)> {
    fn put(&self, priority: Priority, item: u64) {
        let (lanes, sequence) = &mut *self.lock();
        *sequence += 1;
        lanes.push(priority, *sequence, item);
    }

    fn take(&self) -> Option<u64> {
        self.lock().0.pop_first().map(|taken| taken.item)
    }
}

impl Line for Mutex<Deques> {
    fn put(&self, priority: Priority, item: u64) {
        self.lock().push(priority, item);
    }

    fn take(&self) -> Option<u64> {
        self.lock().pop()
    }
}

/// What many reach for first: a heap of (level, sequence) in one mutex.
#[derive(Default)]
struct Heap {
    heap: BinaryHeap<(Priority, std::cmp::Reverse<u64>, u64)>,
    sequence: u64,
}

impl Line for Mutex<Heap> {
    fn put(&self, priority: Priority, item: u64) {
        let mut heap = self.lock();
        heap.sequence += 1;
        let sequence = std::cmp::Reverse(heap.sequence);
        heap.heap.push((priority, sequence, item));
    }

    fn take(&self) -> Option<u64> {
        self.lock().heap.pop().map(|first| first.2)
    }
}

/// No priorities at all: what a lock-free queue of the same items does.
impl Line for SegQueue<u64> {
    fn put(&self, _: Priority, item: u64) {
        self.push(item);
    }

    fn take(&self) -> Option<u64> {
        self.pop()
    }
}

/// Makes one contestant, empty.
type Make<L> = fn() -> L;

fn ours() -> Queue<u64> {
    Queue::new()
}

fn locked(locks: usize) -> Queue<u64> {
    Queue::builder().locks(locks).build().expect("one to ten locks")
}

fn filled<L: Line>(line: L, levels: Levels, waiting: usize) -> L {
    for (item, priority) in (0..).zip(levels.take(waiting, SEED ^ 1)) {
        line.put(priority, item);
    }
    line
}

/// Push and pop in turn, on one thread, with so many waiting.
fn alone<L: Line>(make: Make<L>, levels: Levels, waiting: usize) -> Side {
    let priorities = levels.take(PAIRS, SEED);
    frame::timed_with(
        PAIRS,
        move || filled(make(), levels, waiting),
        move |line| {
            for (item, &priority) in (0..).zip(&priorities) {
                line.put(priority, item);
                black_box(line.take());
            }
            line
        },
    )
}

/// As [`alone`], on one queue that lives through all rounds: for depths that take long to fill.
fn alone_at_depth<L: Line>(make: Make<L>, waiting: usize) -> Side {
    let priorities = Levels::Uniform.take(PAIRS, SEED);
    let line = filled(make(), Levels::Uniform, waiting);
    frame::timed(PAIRS, move || {
        for (item, &priority) in (0..).zip(&priorities) {
            line.put(priority, item);
            black_box(line.take());
        }
    })
}

/// So many producers and as many consumers pass [`ITEMS`] on; nanoseconds an item.
fn across<L: Line>(make: Make<L>, each: usize, waiting: usize) -> Side {
    let priorities = Arc::new(Levels::Uniform.take(ITEMS, SEED));
    frame::figure(move || {
        let line = filled(make(), Levels::Uniform, waiting);
        let (line, left) = (&line, &AtomicUsize::new(ITEMS));
        let mut workers: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for share in priorities.chunks(ITEMS.div_ceil(each)) {
            workers.push(Box::new(move || {
                for (item, &priority) in (0..).zip(share) {
                    line.put(priority, item);
                }
            }));
            workers.push(Box::new(move || {
                let quota = share.len();
                let mut got = 0;
                let backoff = Backoff::new();
                while got < quota {
                    if black_box(line.take()).is_some() {
                        got += 1;
                        backoff.reset();
                    } else {
                        backoff.snooze();
                    }
                }
                left.fetch_sub(got, Relaxed);
            }));
        }
        let took = frame::together(workers);
        assert_eq!(left.load(Relaxed), 0, "every item arrived");
        frame::per_operation(took, ITEMS)
    })
}

/// Four threads push and pop for a while: what the slowest got, as a share of a fourth.
fn fairness() -> Side {
    frame::figure(|| {
        let queue = &filled(ours(), Levels::Uniform, 1_000);
        let stop = &AtomicBool::new(false);
        let done: [AtomicUsize; 4] = std::array::from_fn(|_| AtomicUsize::new(0));
        let mut workers: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for done in &done {
            workers.push(Box::new(move || {
                let priorities = Levels::Uniform.take(1_000, SEED);
                let mut pairs = 0;
                while !stop.load(Relaxed) {
                    for &priority in &priorities {
                        queue.put(priority, 0);
                        black_box(queue.take());
                    }
                    pairs += priorities.len();
                }
                done.store(pairs, Relaxed);
            }));
        }
        workers.push(Box::new(move || {
            std::thread::sleep(Duration::from_millis(200));
            stop.store(true, Relaxed);
        }));
        frame::together(workers);
        let done = done.map(AtomicUsize::into_inner);
        let (least, sum) = (
            done.iter().min().copied().unwrap_or(0),
            done.iter().sum::<usize>(),
        );
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let share = least as f64 / (sum as f64 / 4.0);
        share
    })
}

/// One producer at level 1, one consumer that finds its items at level 10.
fn apart(locks: usize) -> Side {
    frame::figure(move || {
        let queue = &locked(locks);
        for item in 0..ITEMS as u64 {
            queue.put(Priority::MAX, item);
        }
        let took = frame::together(vec![
            Box::new(|| (0..ITEMS as u64).for_each(|item| queue.put(Priority::MIN, item))),
            Box::new(|| {
                for _ in 0..ITEMS {
                    black_box(queue.take());
                }
            }),
        ]);
        frame::per_operation(took, ITEMS)
    })
}

// ------------------------------------------------------------------------------------------------------- waiting

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread, asleep while it pends.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

/// Items that pass in one round of the waiting lines; their peer is slow.
const AWAITED: usize = 100_000;

/// Two producer threads; two consumer threads that sleep when there is nothing.
fn sleeping_ours() -> Side {
    let priorities = Arc::new(Levels::Uniform.take(AWAITED, SEED));
    frame::figure(move || {
        let queue = &ours();
        let mut workers: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for share in priorities.chunks(AWAITED / 2) {
            workers.push(Box::new(move || {
                for &priority in share {
                    queue.put(priority, 0);
                }
            }));
            workers.push(Box::new(move || {
                for _ in share {
                    black_box(queue.pop_blocking()).expect("nobody closes it");
                }
            }));
        }
        frame::per_operation(frame::together(workers), AWAITED)
    })
}

fn sleeping_channel() -> Side {
    let priorities = Arc::new(Levels::Uniform.take(AWAITED, SEED));
    frame::figure(move || {
        let (sender, receiver) = async_priority_channel::unbounded();
        let (sender, receiver) = (&sender, &receiver);
        let mut workers: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for share in priorities.chunks(AWAITED / 2) {
            workers.push(Box::new(move || {
                for &priority in share {
                    block_on(sender.send(0_u64, priority)).expect("nobody closes it");
                }
            }));
            workers.push(Box::new(move || {
                for _ in share {
                    black_box(block_on(receiver.recv())).expect("nobody closes it");
                }
            }));
        }
        frame::per_operation(frame::together(workers), AWAITED)
    })
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .build()
        .expect("the machine gives two threads")
}

/// Two producer tasks and two consumer tasks on a runtime of two workers.
fn async_ours() -> Side {
    let priorities = Levels::Uniform.take(AWAITED, SEED);
    let runtime = runtime();
    frame::timed(AWAITED, move || {
        let queue = Arc::new(ours());
        let mut tasks = Vec::new();
        for share in priorities.chunks(AWAITED / 2) {
            let (shared, mine) = (Arc::clone(&queue), share.to_vec());
            tasks.push(runtime.spawn(async move {
                for priority in mine {
                    shared.put(priority, 0);
                    tokio::task::coop::consume_budget().await;
                }
            }));
            let (shared, quota) = (Arc::clone(&queue), share.len());
            tasks.push(runtime.spawn(async move {
                for _ in 0..quota {
                    black_box(shared.pop().await).expect("nobody closes it");
                    tokio::task::coop::consume_budget().await;
                }
            }));
        }
        runtime.block_on(async {
            for task in tasks {
                task.await.expect("no task panics");
            }
        });
    })
}

fn async_channel() -> Side {
    let priorities = Levels::Uniform.take(AWAITED, SEED);
    let runtime = runtime();
    frame::timed(AWAITED, move || {
        let (sender, receiver) = async_priority_channel::unbounded();
        let mut tasks = Vec::new();
        for share in priorities.chunks(AWAITED / 2) {
            let (sender, mine) = (sender.clone(), share.to_vec());
            tasks.push(runtime.spawn(async move {
                for priority in mine {
                    sender.send(0_u64, priority).await.expect("nobody closes it");
                    tokio::task::coop::consume_budget().await;
                }
            }));
            let (receiver, quota) = (receiver.clone(), share.len());
            tasks.push(runtime.spawn(async move {
                for _ in 0..quota {
                    black_box(receiver.recv().await).expect("nobody closes it");
                    tokio::task::coop::consume_budget().await;
                }
            }));
        }
        runtime.block_on(async {
            for task in tasks {
                task.await.expect("no task panics");
            }
        });
    })
}

/// Workers that stand at the queue, on a runtime of two workers.
const STANDING: usize = 64;

/// So many tasks take no-op jobs as they come from outside the runtime, until all are taken; `job` makes a task's next one.
fn standing<F>(runtime: &tokio::runtime::Runtime, put: impl Fn(), job: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..STANDING).map(|_| runtime.spawn(job())).collect();
    for _ in 0..AWAITED {
        put();
    }
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
}

fn standing_ours() -> Side {
    let runtime = runtime();
    frame::timed(AWAITED, move || {
        let (queue, left) = (Arc::new(ours()), Arc::new(AtomicUsize::new(AWAITED)));
        let job = || {
            let (queue, left) = (Arc::clone(&queue), Arc::clone(&left));
            async move {
                while queue.pop().await.is_ok() {
                    if left.fetch_sub(1, Relaxed) == 1 {
                        queue.close();
                    }
                    tokio::task::coop::consume_budget().await;
                }
            }
        };
        standing(&runtime, || queue.put(Priority::MIN, 0), job);
    })
}

fn standing_kanal() -> Side {
    let runtime = runtime();
    frame::timed(AWAITED, move || {
        let (sender, receiver) = kanal::unbounded::<u64>();
        let left = Arc::new(AtomicUsize::new(AWAITED));
        let job = || {
            let (receiver, left) = (receiver.clone_async(), Arc::clone(&left));
            async move {
                while receiver.recv().await.is_ok() {
                    if left.fetch_sub(1, Relaxed) == 1 {
                        let _ = receiver.close();
                    }
                    tokio::task::coop::consume_budget().await;
                }
            }
        };
        standing(
            &runtime,
            || sender.send(0).expect("open until all are taken"),
            job,
        );
    })
}

// ------------------------------------------------------------------------------------------------ batches, bytes

const BATCH: usize = 64;

fn batches() -> Side {
    let priorities = Levels::Uniform.take(PAIRS, SEED);
    let queue = filled(ours(), Levels::Uniform, 1_000);
    frame::timed(PAIRS, move || {
        for share in priorities.chunks(BATCH) {
            let batch = share.iter().map(|&priority| (priority, 0)).collect();
            black_box(queue.push_batch(batch)).expect("open and without bound");
            black_box(queue.pop_batch(share.len()));
        }
    })
}

fn one_by_one() -> Side {
    let priorities = Levels::Uniform.take(PAIRS, SEED);
    let queue = filled(ours(), Levels::Uniform, 1_000);
    frame::timed(PAIRS, move || {
        for share in priorities.chunks(BATCH) {
            for &priority in share {
                queue.put(priority, 0);
            }
            for _ in share {
                black_box(queue.take());
            }
        }
    })
}

/// Bytes of heap for each of a million waiting items, beyond the item itself.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes<V>(item: usize, build: impl Fn() -> V + 'static) -> Side {
    frame::once(move || counting::held(&build).1 as f64 / MILLION as f64 - item as f64)
}

fn put_back_all() -> Queue<u64> {
    let queue = filled(ours(), Levels::Uniform, MILLION);
    let mut out: Vec<_> = queue.pop_batch(MILLION).collect();
    // The order of putting back is the worst for a tree that fills its nodes.
    out.reverse();
    for popped in out {
        queue.put_back(popped).expect("it is of this queue");
    }
    queue
}

/// Adds the lines of this group.
pub fn lines(bench: &mut Bench) {
    for levels in Levels::ALL {
        for (waiting, name) in [(0, "0"), (MILLION, "1m")] {
            let word = levels.name();
            bench.versus(
                &format!("queue/1/{word}/{name}/deques"),
                Goal::at_least(0.9),
                || {
                    (
                        alone(ours, levels, waiting),
                        alone(Mutex::<Deques>::default, levels, waiting),
                    )
                },
            );
            let goal = Goal::at_least(if waiting == 0 { 1.0 } else { 30.0 });
            bench.versus(&format!("queue/1/{word}/{name}/heap"), goal, || {
                (
                    alone(ours, levels, waiting),
                    alone(Mutex::<Heap>::default, levels, waiting),
                )
            });
        }
    }
    for each in [1, 2] {
        for (waiting, name) in [(0, "0"), (MILLION, "1m")] {
            let path = format!("queue/{each}+{each}/{name}");
            bench.versus(&format!("{path}/deques"), Goal::at_least(1.2), || {
                (
                    across(ours, each, waiting),
                    across(Mutex::<Deques>::default, each, waiting),
                )
            });
            bench.versus(&format!("{path}/heap"), Goal::at_least(8.0), || {
                (
                    across(ours, each, waiting),
                    across(Mutex::<Heap>::default, each, waiting),
                )
            });
            bench.versus(&format!("{path}/segqueue"), Goal::at_least(0.8), || {
                (across(ours, each, waiting), across(SegQueue::new, each, waiting))
            });
        }
    }
    threads(bench);
    depth_and_bytes(bench);
}

fn threads(bench: &mut Bench) {
    bench.absolute("queue/4/least-share", Goal::no_less(0.25, Unit::Number), fairness);
    bench.versus("queue/levels-apart/2-locks/1-lock", Goal::at_least(1.2), || {
        (apart(2), apart(1))
    });
    bench.versus("queue/levels-apart/10-locks/1-lock", Goal::at_least(1.2), || {
        (apart(10), apart(1))
    });
    bench.versus("queue/locks/2/1", Goal::at_least(0.0), || {
        (across(|| locked(2), 1, 0), across(ours, 1, 0))
    });
    bench.versus("queue/locks/10/1", Goal::at_least(0.0), || {
        (across(|| locked(10), 1, 0), across(ours, 1, 0))
    });
    bench.versus("queue/spinning/plain-mutex", Goal::at_least(0.0), || {
        (
            across(ours, 1, 0),
            across(Mutex::<(Lanes<u64, u64>, u64)>::default, 1, 0),
        )
    });
    bench.versus(
        "queue/blocking/2+2/async-priority-channel",
        Goal::at_least(5.0),
        || (sleeping_ours(), sleeping_channel()),
    );
    bench.versus(
        "queue/async/2+2/async-priority-channel",
        Goal::at_least(5.0),
        || (async_ours(), async_channel()),
    );
    bench.versus("queue/64-workers/kanal", Goal::at_least(0.9), || {
        (standing_ours(), standing_kanal())
    });
    bench.versus("queue/batch-64/item-by-item", Goal::at_least(2.5), || {
        (batches(), one_by_one())
    });
}

fn depth_and_bytes(bench: &mut Bench) {
    let sizes = [1_000, 10_000, 100_000, MILLION, 10 * MILLION];
    bench.growth(
        "queue/depth fit/1k-to-10m",
        &sizes,
        Goal::at_most(3.0),
        |waiting| alone_at_depth(ours, waiting),
    );
    bench.versus("queue/depth/10m/1m", Goal::at_most(1.2), || {
        (alone_at_depth(ours, 10 * MILLION), alone_at_depth(ours, MILLION))
    });
    bench.absolute(
        "queue/memory/beyond-the-item",
        Goal::under(32.0, Unit::Bytes),
        || bytes(size_of::<u64>(), || filled(ours(), Levels::Uniform, MILLION)),
    );
    bench.absolute("queue/memory/put-back", Goal::shown(Unit::Bytes), || {
        bytes(size_of::<u64>(), put_back_all)
    });
    bench.absolute(
        "queue/memory/lanes-of-rows",
        Goal::under(32.0, Unit::Bytes),
        || {
            bytes(size_of::<u32>(), || {
                let mut lanes = Lanes::new();
                for (sequence, priority) in (0..).zip(Levels::Uniform.take(MILLION, SEED)) {
                    lanes.push(priority, (0_i64, sequence), 0_u32);
                }
                lanes
            })
        },
    );
}
