//! Real threads use a queue and write down what they saw; a checker that knows nothing of the queue decides whether a
//! strict priority queue can have answered so.

#[path = "queue_history/checker.rs"]
mod checker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use checker::{Call, Event, inversion, linearize};
use tenfold::Priority;
use tenfold::queue::{Popped, Queue, Ticket};

const LOCKS: [usize; 4] = [1, 2, 3, 10];

/// Takes the ticks. Sequentially consistent, so that a call that ended before another began has the lower tick.
#[derive(Default)]
struct Recorder {
    tick: AtomicU64,
}

impl Recorder {
    fn record(&self, log: &mut Vec<Event>, call: impl FnOnce() -> Call) {
        let begin = self.tick.fetch_add(1, SeqCst);
        let call = call();
        let end = self.tick.fetch_add(1, SeqCst);
        log.push(Event { call, begin, end });
    }
}

/// A small generator, so that every round is another and every failure has a number.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % bound
    }

    /// Few levels, so that calls meet: the highest, the lowest, and two between that share a lock or do not.
    fn level(&mut self) -> u8 {
        [1, 5, 6, 10][usize::try_from(self.below(4)).expect("below four")]
    }
}

fn at(level: u8) -> Priority {
    Priority::new(level).expect("one of the ten")
}

fn pop(queue: &Queue<u32>) -> Call {
    Call::Pop {
        found: queue.try_pop().map(Popped::into_item),
    }
}

/// Three threads of six calls each on one queue, then all that is left, in order.
fn round(locks: usize, seed: u64) -> Vec<Event> {
    let queue: Arc<Queue<u32>> = Arc::new(Queue::builder().locks(locks).build().expect("one to ten locks"));
    let recorder = Arc::new(Recorder::default());
    let gate = Arc::new(AtomicUsize::new(0));
    let mut history = Vec::new();
    let mut shared: Vec<(u32, Ticket)> = Vec::new();
    let mut random = Random(seed);
    for item in 0..3 {
        let level = random.level();
        recorder.record(&mut history, || {
            shared.push((item, queue.push(at(level), item).expect("open")));
            Call::Push { level, item }
        });
    }
    let threads: Vec<_> = (0..3_u32)
        .map(|thread| {
            let (queue, recorder, gate) = (Arc::clone(&queue), Arc::clone(&recorder), Arc::clone(&gate));
            let mut tickets = shared.clone();
            let mut random = Random(seed ^ u64::from(thread + 1) << 40);
            std::thread::spawn(move || {
                let mut log = Vec::new();
                // A barrier wakes one after the other; the first would be done before the last has begun.
                gate.fetch_add(1, SeqCst);
                while gate.load(SeqCst) < 3 {
                    std::thread::yield_now();
                }
                for turn in 0..6 {
                    let (draw, level) = (random.below(10), random.level());
                    let pick = random.below(tickets.len() as u64);
                    let pick = usize::try_from(pick).expect("an index");
                    recorder.record(&mut log, || match draw {
                        0..4 => {
                            let item = 100 * (thread + 1) + turn;
                            tickets.push((item, queue.push(at(level), item).expect("open")));
                            Call::Push { level, item }
                        }
                        4..8 => pop(&queue),
                        8 => {
                            let (item, ticket) = tickets[pick];
                            match queue.relevel(ticket, at(level)) {
                                // The others' tickets of it are stale now, and so is what they find with them: only what
                                // nobody else holds a ticket of is moved.
                                Some(ticket) => {
                                    tickets[pick].1 = ticket;
                                    Call::Relevel {
                                        item,
                                        level,
                                        found: true,
                                    }
                                }
                                None => Call::Count { items: queue.len() },
                            }
                        }
                        _ if draw % 2 == 0 => Call::Count {
                            items: queue.counts().iter().sum(),
                        },
                        _ => {
                            let (item, ticket) = tickets[pick];
                            match queue.remove(ticket) {
                                Some(popped) => {
                                    assert_eq!(popped.item, item, "a ticket found a stranger");
                                    Call::Remove { item, found: true }
                                }
                                None => Call::Count { items: queue.len() },
                            }
                        }
                    });
                }
                log
            })
        })
        .collect();
    for thread in threads {
        history.extend(thread.join().expect("no thread panics"));
    }
    loop {
        recorder.record(&mut history, || pop(&queue));
        if history
            .last()
            .is_some_and(|event| event.call == Call::Pop { found: None })
        {
            return history;
        }
    }
}

#[test]
fn q1_q2_q3_q5_short_histories_of_real_threads_are_linearizable() {
    for locks in LOCKS {
        for seed in 0..400 {
            let history = round(locks, seed);
            assert!(
                linearize(&history).is_some(),
                "{locks} locks, seed {seed}: {history:#?}"
            );
        }
    }
}

#[test]
fn q1_q2_a_long_history_of_real_threads_shows_no_inversion() {
    for locks in LOCKS {
        let queue: Arc<Queue<u32>> =
            Arc::new(Queue::builder().locks(locks).build().expect("one to ten locks"));
        let recorder = Arc::new(Recorder::default());
        let threads: Vec<_> = (0..4_u32)
            .map(|thread| {
                let (queue, recorder) = (Arc::clone(&queue), Arc::clone(&recorder));
                std::thread::spawn(move || {
                    let mut log = Vec::new();
                    let mut random = Random(u64::from(thread));
                    for turn in 0..10_000 {
                        let level = random.level();
                        if random.below(2) == 0 {
                            let item = thread << 20 | turn;
                            recorder.record(&mut log, || {
                                queue.push(at(level), item).expect("open");
                                Call::Push { level, item }
                            });
                        } else {
                            recorder.record(&mut log, || pop(&queue));
                        }
                    }
                    log
                })
            })
            .collect();
        let mut history = Vec::new();
        for thread in threads {
            history.extend(thread.join().expect("no thread panics"));
        }
        assert_eq!(inversion(&history), None, "{locks} locks");
    }
}

/// Calls with their ticks, as one would draw them.
fn drawn(calls: &[(u64, u64, Call)]) -> Vec<Event> {
    calls
        .iter()
        .map(|&(begin, end, call)| Event { call, begin, end })
        .collect()
}

fn push(level: u8, item: u32) -> Call {
    Call::Push { level, item }
}

fn popped(found: impl Into<Option<u32>>) -> Call {
    Call::Pop { found: found.into() }
}

#[test]
fn the_checker_accepts_what_overlaps_in_either_order() {
    for order in [[1, 2], [2, 1]] {
        let history = drawn(&[
            (0, 3, push(5, 1)),
            (1, 2, push(5, 2)),
            (4, 5, popped(order[0])),
            (6, 7, popped(order[1])),
        ]);
        assert!(linearize(&history).is_some());
        assert_eq!(inversion(&history), None);
    }
    // The pop of the lower level took effect before the push of the higher one that it overlaps.
    let history = drawn(&[
        (0, 1, push(1, 1)),
        (2, 5, push(10, 2)),
        (3, 4, popped(1)),
        (6, 7, popped(2)),
    ]);
    assert!(linearize(&history).is_some());
}

#[test]
fn the_checker_rejects_planted_histories() {
    let found_none = Call::Remove {
        item: 1,
        found: false,
    };
    let planted: [(&str, bool, Vec<Event>); 9] = [
        (
            "priority",
            true,
            drawn(&[
                (0, 1, push(1, 1)),
                (2, 3, push(10, 2)),
                (4, 5, popped(1)),
                (6, 7, popped(2)),
            ]),
        ),
        (
            "fifo",
            true,
            drawn(&[
                (0, 1, push(5, 1)),
                (2, 3, push(5, 2)),
                (4, 5, popped(2)),
                (6, 7, popped(1)),
            ]),
        ),
        (
            "empty",
            true,
            drawn(&[(0, 1, push(5, 1)), (2, 3, popped(None)), (4, 5, popped(1))]),
        ),
        (
            "twice",
            true,
            drawn(&[(0, 1, push(5, 1)), (2, 4, popped(1)), (3, 5, popped(1))]),
        ),
        (
            "from nowhere",
            true,
            drawn(&[(0, 1, push(5, 1)), (2, 3, popped(7))]),
        ),
        (
            "lost",
            false,
            drawn(&[
                (0, 1, push(5, 1)),
                (2, 3, push(5, 2)),
                (4, 5, popped(1)),
                (6, 7, popped(None)),
            ]),
        ),
        (
            "a ticket that should find",
            false,
            drawn(&[(0, 1, push(5, 1)), (2, 3, found_none), (4, 5, popped(1))]),
        ),
        (
            // The sum was 1 at every instant; two levels read one after the other make it 0.
            "counts of two instants",
            false,
            drawn(&[
                (0, 1, push(1, 1)),
                (
                    2,
                    5,
                    Call::Relevel {
                        item: 1,
                        level: 10,
                        found: true,
                    },
                ),
                (3, 4, Call::Count { items: 0 }),
                (6, 7, popped(1)),
            ]),
        ),
        (
            // No two calls show it: 2 was pushed after 1, and a level was never empty of more urgent ones.
            "three calls",
            false,
            drawn(&[
                (0, 1, push(1, 3)),
                (2, 3, push(10, 1)),
                (4, 9, popped(3)),
                (5, 6, push(10, 2)),
                (7, 8, popped(1)),
                (10, 11, popped(2)),
            ]),
        ),
    ];
    for (name, by_two_calls, history) in planted {
        assert_eq!(linearize(&history), None, "{name}");
        if by_two_calls {
            assert!(inversion(&history).is_some(), "{name}");
        }
    }
}
