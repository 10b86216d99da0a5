//! Every interleaving of two or three threads at the queue. Each model stands beside its twin: the same model with one
//! step of the protocol done wrongly (see [`Fault`]), which must fail.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Arc;
use loom::thread;

use super::fault::Fault;
use super::{Closed, Pop, Popped, PushError, PushWait, Queue};
use crate::Priority;

const HIGH: Priority = Priority::MAX;
const LOW: Priority = Priority::MIN;

fn queue(locks: usize, capacity: Option<usize>, fault: Fault) -> Arc<Queue<u8>> {
    let mut queue = Queue::with(capacity, locks, None);
    queue.break_with(fault);
    Arc::new(queue)
}

fn pop(queue: &Queue<u8>) -> Option<u8> {
    queue.try_pop().map(Popped::into_item)
}

/// A model and its twin: `sound` runs it as it is, `broken` with the fault.
macro_rules! models {
    ($($(#[$doc:meta])* $name:ident breaks with $fault:ident)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::Fault;

            #[test]
            fn holds() {
                loom::model(|| super::$name(Fault::None));
            }

            #[test]
            #[should_panic]
            fn breaks() {
                loom::model(|| super::$name(Fault::$fault));
            }
        }
    )*};
}

models! {
    loom_push_pop breaks with LetGo
    loom_empty breaks with LetGo
    loom_pop_pop breaks with LookThenTake
    loom_remove_pop breaks with FindThenTake
    loom_relevel_pop breaks with MoveApart
    loom_counts_move breaks with CountApart
    loom_capacity_batch breaks with CheckThenCount
    loom_wake breaks with WakeFirst
    loom_enter breaks with LookThenEnter
    loom_cancelled_head breaks with KeepWakeUp
    loom_second_wake breaks with KeepSecond
    loom_close_wait breaks with WakeThenClose
    loom_room breaks with LookAtOneLock
    loom_room_enter breaks with LookThenEnter
    loom_room_wake breaks with WakeFirst
    loom_room_cancelled_head breaks with KeepWakeUp
    loom_room_second_wake breaks with KeepSecond
    loom_room_close breaks with WakeThenClose
}

/// Q1: nobody gets the item of a low level that was pushed after one of a high level that still waits.
fn loom_push_pop(fault: Fault) {
    let queue = queue(2, None, fault);
    let shared = Arc::clone(&queue);
    let pusher = thread::spawn(move || {
        shared.push(HIGH, 1).unwrap();
        shared.push(LOW, 2).unwrap();
    });
    let first = pop(&queue);
    pusher.join().unwrap();
    assert_ne!(first, Some(2), "1 was pushed before 2 and is more urgent");
    let rest = [pop(&queue), pop(&queue)];
    match first {
        None => assert_eq!(rest, [Some(1), Some(2)]),
        _ => assert_eq!(rest, [Some(2), None]),
    }
}

/// Q1: `None` means that all levels were empty at one instant; here none ever is.
fn loom_empty(fault: Fault) {
    let queue = queue(2, None, fault);
    let ticket = queue.push(LOW, 1).unwrap();
    let shared = Arc::clone(&queue);
    let mover = thread::spawn(move || {
        shared.push(HIGH, 2).unwrap();
        shared.remove(ticket).is_some()
    });
    assert!(pop(&queue).is_some(), "the queue was never empty");
    mover.join().unwrap();
}

/// Two pops get two different items, the most urgent first.
fn loom_pop_pop(fault: Fault) {
    let queue = queue(1, None, fault);
    queue.push(HIGH, 2).unwrap();
    queue.push(LOW, 1).unwrap();
    let shared = Arc::clone(&queue);
    let rival = thread::spawn(move || pop(&shared));
    let mine = pop(&queue);
    let theirs = rival.join().unwrap();
    let mut both = [mine, theirs];
    both.sort_unstable();
    assert_eq!(both, [Some(1), Some(2)]);
}

/// Q3: an item is removed or popped, not both, and a removal never takes another.
fn loom_remove_pop(fault: Fault) {
    let queue = queue(2, None, fault);
    let ticket = queue.push(LOW, 1).unwrap();
    queue.push(LOW, 2).unwrap();
    let shared = Arc::clone(&queue);
    let remover = thread::spawn(move || shared.remove(ticket).map(Popped::into_item));
    let popped = pop(&queue);
    match remover.join().unwrap() {
        Some(removed) => assert_eq!((removed, popped), (1, Some(2))),
        None => assert_eq!((popped, pop(&queue)), (Some(1), Some(2))),
    }
}

/// Q3: an item that moves from level to level is always in one of them.
fn loom_relevel_pop(fault: Fault) {
    let queue = queue(2, None, fault);
    let ticket = queue.push(HIGH, 1).unwrap();
    let shared = Arc::clone(&queue);
    let mover = thread::spawn(move || shared.relevel(ticket, LOW).is_some());
    assert_eq!(pop(&queue), Some(1), "the queue was never empty");
    mover.join().unwrap();
    assert_eq!(pop(&queue), None);
}

/// Q5: the counts are those of one instant, whatever moves.
fn loom_counts_move(fault: Fault) {
    let queue = queue(2, None, fault);
    let ticket = queue.push(LOW, 1).unwrap();
    let shared = Arc::clone(&queue);
    let mover = thread::spawn(move || {
        shared.relevel(ticket, HIGH).unwrap();
    });
    let counts = queue.counts();
    assert_eq!(counts.iter().sum::<usize>(), 1, "{counts:?}");
    mover.join().unwrap();
}

/// Q4: a batch and an item that do not both fit are not both let in.
fn loom_capacity_batch(fault: Fault) {
    let queue = queue(2, Some(2), fault);
    let shared = Arc::clone(&queue);
    let pusher = thread::spawn(move || shared.push_batch(vec![(LOW, 1), (LOW, 2)]).is_ok());
    let mine = queue.push(HIGH, 3).is_ok();
    let theirs = pusher.join().unwrap();
    assert!(mine ^ theirs, "one fits: {mine} {theirs}");
    assert_eq!(queue.len(), if mine { 1 } else { 2 });
}

/// Remembers that it was woken. Looked at after all threads have ended, so it need not be loom's.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A waiter that is polled by hand. That a sleep would never end then shows as a bell that did not ring, and not as a
/// deadlock.
struct Waiter<F> {
    future: Pin<Box<F>>,
    bell: std::sync::Arc<Bell>,
}

impl<'a> Waiter<Pop<'a, u8>> {
    fn new(queue: &'a Queue<u8>) -> Self {
        Self::of(queue.pop())
    }

    fn poll(&mut self) -> Poll<Result<u8, Closed>> {
        self.look().map_ok(Popped::into_item)
    }
}

impl<'a> Waiter<PushWait<'a, u8>> {
    fn pushing(queue: &'a Queue<u8>, priority: Priority, item: u8) -> Self {
        Self::of(queue.push_wait(priority, item))
    }
}

impl<F: Future> Waiter<F> {
    fn of(future: F) -> Self {
        Self {
            future: Box::pin(future),
            bell: std::sync::Arc::default(),
        }
    }

    fn look(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(std::sync::Arc::clone(&self.bell));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> bool {
        self.bell.0.load(SeqCst)
    }
}

/// A waiter gets the item that a push brings, whenever it comes.
fn loom_wake(fault: Fault) {
    let queue = queue(2, None, fault);
    let shared = Arc::clone(&queue);
    let pusher = thread::spawn(move || {
        shared.push(LOW, 1).unwrap();
    });
    let mut waiter = Waiter::new(&queue);
    let first = waiter.poll();
    pusher.join().unwrap();
    if first.is_pending() {
        assert!(waiter.woken(), "an item waits and the waiter sleeps");
        assert_eq!(waiter.poll(), Poll::Ready(Ok(1)));
    }
}

/// A waiter looks again after it entered the line.
fn loom_enter(fault: Fault) {
    loom_wake(fault);
}

/// A waiter at the head of the line that goes away does not take a wake-up with it.
fn loom_cancelled_head(fault: Fault) {
    let queue = queue(1, None, fault);
    let (mut head, mut next) = (Waiter::new(&queue), Waiter::new(&queue));
    assert!(head.poll().is_pending());
    assert!(next.poll().is_pending());
    let shared = Arc::clone(&queue);
    let pusher = thread::spawn(move || {
        shared.push(LOW, 1).unwrap();
    });
    drop(head);
    pusher.join().unwrap();
    assert!(next.woken(), "an item waits and the waiter sleeps");
    assert_eq!(next.poll(), Poll::Ready(Ok(1)));
}

/// A waiter that finds an item itself, and was woken for another meanwhile, passes that wake-up on.
fn loom_second_wake(fault: Fault) {
    let queue = queue(1, None, fault);
    let (mut first, mut second) = (Waiter::new(&queue), Waiter::new(&queue));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    let shared = Arc::clone(&queue);
    let pusher = thread::spawn(move || {
        shared.push(LOW, 1).unwrap();
        shared.push(LOW, 2).unwrap();
    });
    let found = first.poll();
    pusher.join().unwrap();
    if found.is_ready() {
        assert!(second.woken(), "an item waits and the waiter sleeps");
    }
}

/// A close reaches whoever waits or is about to.
fn loom_close_wait(fault: Fault) {
    let queue = queue(2, None, fault);
    let shared = Arc::clone(&queue);
    let closer = thread::spawn(move || shared.close());
    let mut waiter = Waiter::new(&queue);
    let first = waiter.poll();
    assert!(closer.join().unwrap());
    if first.is_pending() {
        assert!(waiter.woken(), "the queue is closed and the waiter sleeps");
        assert_eq!(waiter.poll(), Poll::Ready(Err(Closed)));
    }
}

/// A waiter for room gets the room that a pop makes, also when the pop holds another lock than the waiter's level.
fn loom_room(fault: Fault) {
    let queue = queue(2, Some(1), fault);
    queue.push(HIGH, 1).unwrap();
    let shared = Arc::clone(&queue);
    let popper = thread::spawn(move || pop(&shared));
    let mut waiter = Waiter::pushing(&queue, LOW, 2);
    let first = waiter.look();
    assert_eq!(popper.join().unwrap(), Some(1));
    if first.is_pending() {
        assert!(waiter.woken(), "there is room and the waiter sleeps");
        assert!(waiter.look().is_ready());
    }
    assert_eq!(pop(&queue), Some(2));
}

/// A waiter for room looks again after it entered the line.
fn loom_room_enter(fault: Fault) {
    loom_room(fault);
}

/// A pop wakes after its item is out.
fn loom_room_wake(fault: Fault) {
    loom_room(fault);
}

/// A waiter for room that goes away does not take a wake-up with it.
fn loom_room_cancelled_head(fault: Fault) {
    let queue = queue(1, Some(1), fault);
    queue.push(LOW, 1).unwrap();
    let mut head = Waiter::pushing(&queue, LOW, 2);
    let mut next = Waiter::pushing(&queue, LOW, 3);
    assert!(head.look().is_pending());
    assert!(next.look().is_pending());
    let shared = Arc::clone(&queue);
    let popper = thread::spawn(move || pop(&shared));
    drop(head);
    assert_eq!(popper.join().unwrap(), Some(1));
    assert!(next.woken(), "there is room and the waiter sleeps");
    assert!(next.look().is_ready());
}

/// A waiter that finds room itself, and was woken for other room meanwhile, passes that wake-up on.
fn loom_room_second_wake(fault: Fault) {
    let queue = queue(1, Some(2), fault);
    queue.push_batch(vec![(LOW, 1), (LOW, 2)]).unwrap();
    let mut first = Waiter::pushing(&queue, LOW, 3);
    let mut second = Waiter::pushing(&queue, LOW, 4);
    assert!(first.look().is_pending());
    assert!(second.look().is_pending());
    let shared = Arc::clone(&queue);
    let popper = thread::spawn(move || [pop(&shared), pop(&shared)]);
    let found = first.look();
    popper.join().unwrap();
    if found.is_ready() {
        assert!(second.woken(), "there is room and the waiter sleeps");
    }
}

/// A close reaches whoever waits for room, and gives the item back.
fn loom_room_close(fault: Fault) {
    let queue = queue(2, Some(1), fault);
    queue.push(HIGH, 1).unwrap();
    let shared = Arc::clone(&queue);
    let closer = thread::spawn(move || shared.close());
    let mut waiter = Waiter::pushing(&queue, LOW, 2);
    let mut answer = waiter.look();
    assert!(closer.join().unwrap());
    if answer.is_pending() {
        assert!(waiter.woken(), "the queue is closed and the waiter sleeps");
        answer = waiter.look();
    }
    let Poll::Ready(Err(refused)) = answer else {
        panic!("it was let into a closed queue")
    };
    assert_eq!((refused.value, refused.reason), (2, PushError::Closed));
}
