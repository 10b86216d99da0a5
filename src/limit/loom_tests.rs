//! The protocols under every interleaving, and each again with one step broken: a model is worth something once it has been
//! seen to fail.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::book::Book;
use super::demand::Request;
use super::faults::{Fault, Faults};
use super::grants::Holder;
use super::limits::Limits;
use super::semaphore::{AcquireError, Semaphore};
use super::spec::LimitSpec;

const T0: Duration = Duration::ZERO;

/// Declares a model and its broken twins: `name: fault, ...` makes a test that passes and one per fault that must panic.
macro_rules! models {
    ($($(#[$doc:meta])* $model:ident { $($twin:ident: $fault:ident),* })*) => {$(
        $(#[$doc])*
        mod $model {
            use super::*;

            #[test]
            fn holds() {
                loom::model(|| super::models::$model(Faults::default()));
            }

            $(
                #[test]
                #[should_panic]
                fn $twin() {
                    loom::model(|| super::models::$model(Faults::plant(Fault::$fault)));
                }
            )*
        }
    )*};
}

models! {
    /// L1: two takers of one slot.
    l1_takers_never_exceed_the_limit { broken_by_taking_in_two_steps: TakeInTwoSteps }
    /// What was written under a permit is seen under the next.
    a_permit_hands_over_what_was_written { broken_by_a_relaxed_release: ReleaseRelaxed }
    /// A release reaches who waits.
    a_released_slot_reaches_the_waiter {
        broken_by_a_release_that_forgets: ReleaseForgetsWaiters,
        broken_without_a_second_look: NoSecondLook
    }
    /// A heavy waiter at the front leaves; the light one behind it fits.
    a_cancelled_front_passes_its_turn_on { broken_by_keeping_the_turn: CancelKeepsTurn }
    /// L2: a waiter leaves while it is being let in.
    l2_a_cancelled_grant_is_given_back { broken_by_a_leak: CancelLeaks }
    /// L1: lowering against taking and giving back.
    l1_lowering_loses_no_slot { broken_by_lowering_in_two_steps: LowerInTwoSteps }
    /// Raising reaches who waits.
    raising_lets_in { broken_by_letting_nobody_in: RaiseLetsNobodyIn }
    /// Closing against waiting: every waiter gets an answer.
    closing_answers_who_waits { broken_by_waking_nobody: CloseWakesNobody }
    /// First in, first out: nobody who comes later takes what the front waits for.
    a_newcomer_does_not_overtake { broken_by_passing_the_line: TakePassesLine }
    /// L3: two limits in opposite orders.
    l3_two_limits_cannot_deadlock { }
    /// A release of several limits reaches who waits for one.
    a_released_limit_reaches_the_waiter { broken_by_a_release_that_forgets: ReleaseForgetsWaiters }
    /// A waiter at a limit leaves; the one behind it fits.
    a_cancelled_front_at_a_limit_passes_its_turn_on { broken_by_keeping_the_turn: CancelKeepsTurn }
    /// L2: a waiter for limits leaves while it is being let in.
    l2_a_cancelled_grant_of_limits_is_given_back { broken_by_a_leak: CancelLeaks }
    /// A waiter moves from one limit to another while both are given back.
    a_waiter_that_moves_on_is_not_forgotten { broken_by_a_release_that_forgets: ReleaseForgetsWaiters }
}

/// The broken twin of `l3_two_limits_cannot_deadlock`: the same taken one by one, each kept while waiting for the next.
#[test]
#[should_panic]
fn l3_two_semaphores_in_opposite_orders_do_deadlock() {
    loom::model(|| {
        let (a, b) = (Semaphore::new(1), Semaphore::new(1));
        let one_by_one = |first: Semaphore, second: Semaphore| async move {
            let _first = first.acquire(1).await.unwrap();
            let _second = second.acquire(1).await.unwrap();
        };
        let other = {
            let both = one_by_one(b.clone(), a.clone());
            thread::spawn(move || Waited::begin(both))
        };
        let mine = Waited::begin(one_by_one(a, b));
        let other = other.join().unwrap();
        mine.end();
        other.end();
    });
}

/// A wait that fails instead of hanging: it begins while other threads run, and when they have ended it must be over, or
/// woken and then over. (A hang would be found too, but loom then dies while it cleans up.)
struct Waited<F: Future> {
    future: Pin<Box<F>>,
    output: Option<F::Output>,
    woken: std::sync::Arc<Flag>,
}

#[derive(Default)]
struct Flag(std::sync::atomic::AtomicBool);

impl Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl<F: Future> Waited<F> {
    fn begin(future: F) -> Self {
        let mut waited = Self {
            future: Box::pin(future),
            output: None,
            woken: std::sync::Arc::default(),
        };
        waited.poll();
        waited
    }

    fn poll(&mut self) {
        let waker = Waker::from(self.woken.clone());
        if let Poll::Ready(output) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.output = Some(output);
        }
    }

    /// The output, once everybody else has done what they do. May need to be polled again as often as it was woken.
    fn end(mut self) -> F::Output {
        loop {
            if let Some(output) = self.output.take() {
                return output;
            }
            let woken = self.woken.0.swap(false, std::sync::atomic::Ordering::SeqCst);
            assert!(woken, "nobody will ever wake who waits here");
            self.poll();
        }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn limits(names: &[&str], faults: Faults) -> Limits {
    let mut book = Book::new();
    for name in names {
        book.define(LimitSpec::new(*name, 1), T0).unwrap();
    }
    Limits::with_faults(book, faults)
}

mod models {
    use super::*;

    pub(super) fn l1_takers_never_exceed_the_limit(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let inside = Arc::new(AtomicUsize::new(0));
        let work = |semaphore: &Semaphore, inside: &AtomicUsize| {
            if let Ok(permit) = semaphore.try_acquire(1) {
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                inside.fetch_sub(1, Ordering::Relaxed);
                drop(permit);
            }
        };
        let other = {
            let (semaphore, inside) = (semaphore.clone(), inside.clone());
            thread::spawn(move || work(&semaphore, &inside))
        };
        work(&semaphore, &inside);
        other.join().unwrap();
        assert_eq!(semaphore.status().held, 0);
    }

    pub(super) fn a_permit_hands_over_what_was_written(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let data = Arc::new(AtomicUsize::new(0));
        let permit = semaphore.try_acquire_owned(1).unwrap();
        let other = {
            let data = data.clone();
            thread::spawn(move || {
                data.store(7, Ordering::Relaxed);
                drop(permit);
            })
        };
        if let Ok(_permit) = semaphore.try_acquire(1) {
            assert_eq!(data.load(Ordering::Relaxed), 7);
        }
        other.join().unwrap();
    }

    pub(super) fn a_released_slot_reaches_the_waiter(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let permit = semaphore.try_acquire_owned(1).unwrap();
        let other = thread::spawn(move || drop(permit));
        let waited = Waited::begin(semaphore.acquire(1));
        other.join().unwrap();
        drop(waited.end().unwrap());
        assert_eq!(semaphore.status().held, 0);
    }

    pub(super) fn a_cancelled_front_passes_its_turn_on(faults: Faults) {
        let semaphore = Semaphore::with_faults(2, faults);
        let kept = semaphore.try_acquire(1).unwrap();
        let mut heavy = Box::pin(semaphore.acquire_owned(2));
        assert!(poll_once(heavy.as_mut()).is_pending());
        let other = thread::spawn(move || drop(heavy));
        let waited = Waited::begin(semaphore.acquire(1));
        other.join().unwrap();
        drop(waited.end().unwrap());
        drop(kept);
        assert_eq!(semaphore.status().held, 0);
    }

    pub(super) fn l2_a_cancelled_grant_is_given_back(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let permit = semaphore.try_acquire_owned(1).unwrap();
        let mut waiter = Box::pin(semaphore.acquire_owned(1));
        assert!(poll_once(waiter.as_mut()).is_pending());
        let other = thread::spawn(move || drop(permit));
        drop(waiter);
        other.join().unwrap();
        let status = semaphore.status();
        assert_eq!((status.held, status.waiting), (0, 0));
        assert!(semaphore.try_acquire(1).is_ok());
    }

    pub(super) fn l1_lowering_loses_no_slot(faults: Faults) {
        let semaphore = Semaphore::with_faults(2, faults);
        let other = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(semaphore.try_acquire(2)))
        };
        semaphore.set_limit(1);
        if let Ok(permit) = semaphore.try_acquire(1) {
            // Admitted after lowering: nothing else is held, and nothing is let in above it.
            assert!(semaphore.try_acquire(1).is_err());
            drop(permit);
        }
        other.join().unwrap();
        let status = semaphore.status();
        assert_eq!((status.held, status.limit), (0, 1));
        assert_eq!(semaphore.available(), 1);
    }

    pub(super) fn raising_lets_in(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let _kept = semaphore.try_acquire(1).unwrap();
        let other = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.set_limit(2))
        };
        let waited = Waited::begin(semaphore.acquire(1));
        other.join().unwrap();
        drop(waited.end().unwrap());
    }

    pub(super) fn closing_answers_who_waits(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let permit = semaphore.try_acquire_owned(1).unwrap();
        let other = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.close())
        };
        let waited = Waited::begin(semaphore.acquire(1));
        other.join().unwrap();
        assert_eq!(waited.end().unwrap_err(), AcquireError::Closed);
        drop(permit);
        let status = semaphore.status();
        assert_eq!((status.held, status.waiting, status.closed), (0, 0, true));
    }

    pub(super) fn a_newcomer_does_not_overtake(faults: Faults) {
        let semaphore = Semaphore::with_faults(1, faults);
        let permit = semaphore.try_acquire_owned(1).unwrap();
        let mut front = pin!(semaphore.acquire(1));
        assert!(poll_once(front.as_mut()).is_pending());
        let newcomer = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.try_acquire(1).is_ok())
        };
        drop(permit);
        let front = poll_once(front.as_mut());
        assert!(front.is_ready());
        assert!(!newcomer.join().unwrap());
        drop(front);
    }

    pub(super) fn l3_two_limits_cannot_deadlock(faults: Faults) {
        let limits = limits(&["a", "b"], faults);
        let both = |limits: Limits, first, second| async move {
            let request = Request::new().slot(first).slot(second);
            drop(limits.acquire(&request, T0).unwrap().await.unwrap());
        };
        let other = {
            let both = both(limits.clone(), "b", "a");
            thread::spawn(move || Waited::begin(both))
        };
        let mine = Waited::begin(both(limits.clone(), "a", "b"));
        let other = other.join().unwrap();
        mine.end();
        other.end();
        assert!(limits.list(T0).iter().all(|limit| limit.active_slots == 0));
    }

    pub(super) fn a_released_limit_reaches_the_waiter(faults: Faults) {
        let limits = limits(&["a", "b"], faults);
        let both = limits
            .try_acquire_owned(&Request::new().slot("a").slot("b"), Holder::Anonymous, T0)
            .unwrap();
        let other = thread::spawn(move || drop(both));
        let waited = Waited::begin(limits.acquire(&Request::new().slot("b"), T0).unwrap());
        other.join().unwrap();
        drop(waited.end().unwrap());
    }

    pub(super) fn a_cancelled_front_at_a_limit_passes_its_turn_on(faults: Faults) {
        let limits = limits(&["a"], faults);
        limits.set_slots(limits.find("a").unwrap(), 2, T0).unwrap();
        let one = Request::new().slot("a");
        let kept = limits.try_acquire(&one, T0).unwrap();
        let heavy = limits.acquire(&Request::new().slots("a", 2), T0).unwrap();
        let other = thread::spawn(move || drop(heavy));
        let waited = Waited::begin(limits.acquire(&one, T0).unwrap());
        other.join().unwrap();
        drop(waited.end().unwrap());
        drop(kept);
    }

    pub(super) fn l2_a_cancelled_grant_of_limits_is_given_back(faults: Faults) {
        let limits = limits(&["a"], faults);
        let one = Request::new().slot("a");
        let permit = limits.try_acquire_owned(&one, Holder::Anonymous, T0).unwrap();
        let waiter = limits.acquire(&one, T0).unwrap();
        let other = thread::spawn(move || drop(permit));
        drop(waiter);
        other.join().unwrap();
        assert!(limits.try_acquire(&one, T0).is_ok());
    }

    pub(super) fn a_waiter_that_moves_on_is_not_forgotten(faults: Faults) {
        let limits = limits(&["a", "b"], faults);
        let a = limits
            .try_acquire_owned(&Request::new().slot("a"), Holder::Anonymous, T0)
            .unwrap();
        let b = limits
            .try_acquire_owned(&Request::new().slot("b"), Holder::Anonymous, T0)
            .unwrap();
        let both = limits.acquire(&Request::new().slot("a").slot("b"), T0).unwrap();
        let other = thread::spawn(move || drop(a));
        let waited = Waited::begin(both);
        drop(b);
        other.join().unwrap();
        drop(waited.end().unwrap());
    }
}
