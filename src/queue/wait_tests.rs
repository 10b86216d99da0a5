//! Waiting on the queue for real: deadlines, wake-ups, and futures dropped wherever they can be. The interleavings are in
//! `loom_tests`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use super::{Closed, Popped, PushError, Queue, WaitError};
use crate::Priority;

fn at(level: usize) -> Priority {
    Priority::descending().nth(level % 10).expect("one of ten")
}

#[test]
fn a_wait_ends_at_its_deadline_and_takes_what_is_there() {
    let queue = Queue::new();
    #[expect(clippy::disallowed_methods, reason = "a deadline that has passed")]
    let past = Instant::now();
    assert_eq!(queue.pop_until(past).unwrap_err(), WaitError::TimedOut);
    queue.push(Priority::MIN, 1).unwrap();
    assert_eq!(queue.pop_until(past).unwrap().item, 1);
    queue.close();
    assert_eq!(queue.pop_until(past).unwrap_err(), WaitError::Closed(Closed));
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_waiter_that_goes_away_passes_its_wake_up_on() {
    let queue = Queue::new();
    let counts: [Arc<Count>; 3] = std::array::from_fn(|_| Arc::default());
    let woken = || counts.each_ref().map(|count| count.0.load(Relaxed));
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    let mut waits: Vec<_> = (0..3).map(|_| Some(Box::pin(queue.pop()))).collect();
    for (wait, waker) in waits.iter_mut().zip(&wakers) {
        let wait = wait.as_mut().expect("none went away yet");
        assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    queue.push(Priority::MIN, 'a').unwrap();
    assert_eq!(woken(), [1, 0, 0]);
    waits[0] = None;
    assert_eq!(woken(), [1, 1, 0]);
    let wait = waits[1].as_mut().expect("it is still there");
    let Poll::Ready(popped) = wait.as_mut().poll(&mut Context::from_waker(&wakers[1])) else {
        panic!("it was woken for an item")
    };
    assert_eq!(popped.map(Popped::into_item), Ok('a'));
    waits[1] = None;
    assert_eq!(woken(), [1, 1, 0], "its wake-up was used");
    queue.close();
    assert_eq!(woken(), [1, 1, 1]);
}

#[test]
fn a_waker_that_changes_is_the_one_that_is_woken() {
    let queue = Queue::<u8>::new();
    let (old, new) = (Arc::<Count>::default(), Arc::<Count>::default());
    let mut wait = pin!(queue.pop());
    for count in [&old, &new] {
        let waker = Waker::from(Arc::clone(count));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    queue.push(Priority::MIN, 0).unwrap();
    assert_eq!((old.0.load(Relaxed), new.0.load(Relaxed)), (0, 1));
}

#[test]
fn blocked_threads_get_every_item_once() {
    let queue = Queue::builder().locks(2).build().unwrap();
    let sum = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Ok(popped) = queue.pop_blocking() {
                    sum.fetch_add(popped.item, Relaxed);
                }
            });
        }
        for item in 1..=1_000 {
            queue.push(at(item), item).unwrap();
        }
        queue.close();
    });
    assert_eq!(sum.into_inner(), 500_500);
}

#[test]
fn a_queue_is_shared_and_its_future_moves() {
    fn shared<T: Send + Sync>() {}
    fn moves<T: Send>() {}
    shared::<Queue<Box<dyn Send>>>();
    moves::<super::Pop<'static, Box<dyn Send>>>();
}

fn past() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a deadline that has passed")]
    Instant::now()
}

/// A queue of one place that is taken.
fn full<T>(item: T) -> Queue<T> {
    let queue = Queue::builder().capacity(1).build().expect("a capacity");
    assert!(queue.push(Priority::MIN, item).is_ok());
    queue
}

#[test]
fn q4_a_wait_for_room_ends_at_its_deadline_and_gives_the_item_back() {
    let queue = full('a');
    let refused = queue.push_until(Priority::MAX, 'b', past()).unwrap_err();
    assert_eq!(
        (refused.value, refused.reason),
        ('b', PushError::Full { capacity: 1 })
    );
    assert_eq!(queue.try_pop().unwrap().item, 'a');
    let ticket = queue
        .push_until(Priority::MAX, 'b', past())
        .expect("there is room now");
    assert!(queue.contains(ticket));
    queue.close();
    let refused = queue.push_until(Priority::MAX, 'c', past()).unwrap_err();
    assert_eq!((refused.value, refused.reason), ('c', PushError::Closed));
}

#[test]
fn room_is_told_of_in_the_order_of_waiting_and_a_wake_up_is_passed_on() {
    let queue = full(0);
    let counts: [Arc<Count>; 3] = std::array::from_fn(|_| Arc::default());
    let woken = || counts.each_ref().map(|count| count.0.load(Relaxed));
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    let mut waits: Vec<_> = (1..=3)
        .map(|item| Some(queue.push_wait(Priority::MIN, item)))
        .collect();
    for (wait, waker) in waits.iter_mut().flatten().zip(&wakers) {
        assert!(Pin::new(wait).poll(&mut Context::from_waker(waker)).is_pending());
    }
    queue.try_pop().unwrap();
    assert_eq!(woken(), [1, 0, 0]);
    assert_eq!(
        waits[0].take().and_then(super::PushWait::into_item),
        Some(1),
        "it gave up"
    );
    assert_eq!(woken(), [1, 1, 0]);
    let second = waits[1].as_mut().expect("it is still there");
    let mut context = Context::from_waker(&wakers[1]);
    assert!(Pin::new(&mut *second).poll(&mut context).is_ready());
    assert!(
        Pin::new(&mut *second).poll(&mut context).is_pending(),
        "it has resolved"
    );
    waits[1] = None;
    assert_eq!(woken(), [1, 1, 0], "its wake-up was used");
    let ticket = queue.try_pop().unwrap().ticket();
    assert_eq!((ticket.priority(), woken()), (Priority::MIN, [1, 1, 1]));
    // Another was faster: the third keeps its place in line, and the next room is its.
    queue.push(Priority::MIN, 9).unwrap();
    let third = waits[2].as_mut().expect("it is still there");
    assert!(
        Pin::new(&mut *third)
            .poll(&mut Context::from_waker(&wakers[2]))
            .is_pending()
    );
    queue.pop_batch(5);
    assert_eq!(woken(), [1, 1, 2]);
    let third = Pin::new(third).poll(&mut Context::from_waker(&wakers[2]));
    assert!(third.is_ready());
}

/// How often an item was dropped.
struct Dropped(Arc<Count>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Relaxed);
    }
}

/// Each wait is dropped before its first poll, while it waits, after it was woken, and after its end: nothing is lost, nothing is
/// taken, and the line is empty.
#[test]
fn waits_may_be_dropped_at_every_point() {
    for point in 0..4 {
        let drops = Arc::<Count>::default();
        let item = || Dropped(Arc::clone(&drops));
        let mut context = Context::from_waker(Waker::noop());

        let queue = full(item());
        let mut push = queue.push_wait(Priority::MAX, item());
        if 1 <= point {
            assert!(Pin::new(&mut push).poll(&mut context).is_pending());
        }
        if 2 <= point {
            drop(queue.try_pop());
        }
        if 3 <= point {
            assert!(Pin::new(&mut push).poll(&mut context).is_ready());
        }
        drop(push);
        assert_eq!(queue.len(), usize::from(point != 2), "at point {point}");
        drop(queue);
        assert_eq!(
            drops.0.load(Relaxed),
            2,
            "each item is dropped once, at point {point}"
        );

        let queue = Queue::new();
        let mut pop = queue.pop();
        if 1 <= point {
            assert!(Pin::new(&mut pop).poll(&mut context).is_pending());
        }
        if 2 <= point {
            assert!(queue.push(Priority::MIN, ()).is_ok());
        }
        if 3 <= point {
            assert!(Pin::new(&mut pop).poll(&mut context).is_ready());
        }
        drop(pop);
        assert_eq!(queue.len(), usize::from(point == 2), "at point {point}");
        let next = Arc::<Count>::default();
        let mut wait = pin!(queue.pop());
        let waker = Waker::from(Arc::clone(&next));
        if wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            assert!(queue.push(Priority::MIN, ()).is_ok());
            assert_eq!(
                next.0.load(Relaxed),
                1,
                "nobody else stands in line, at point {point}"
            );
        }
    }
}

#[test]
fn threads_that_wait_for_room_and_for_items_pass_all_on_and_never_exceed_the_capacity() {
    const EACH: usize = 2_000;
    for locks in [1, 2, 10] {
        let queue = &Queue::builder().capacity(3).locks(locks).build().unwrap();
        let sum: usize = std::thread::scope(|scope| {
            for producer in 0..3 {
                scope.spawn(move || {
                    for item in 0..EACH {
                        queue
                            .push_blocking(at(item), producer * EACH + item)
                            .expect("nobody closes it");
                    }
                });
            }
            let consumers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(move || {
                        let mut sum = 0;
                        for _ in 0..3 * EACH / 2 {
                            assert!(queue.len() <= 3, "above the capacity");
                            sum += queue.pop_blocking().expect("nobody closes it").item;
                        }
                        sum
                    })
                })
                .collect();
            consumers
                .into_iter()
                .map(|consumer| consumer.join().unwrap())
                .sum()
        });
        let all = 3 * EACH;
        assert_eq!((sum, queue.len()), (all * (all - 1) / 2, 0));
    }
}
