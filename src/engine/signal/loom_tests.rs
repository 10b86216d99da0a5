//! Bells and requests to stop under every interleaving, each model again with one step of it broken.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicBool as Flag, Ordering::SeqCst};
use std::task::Wake;
use std::time::Duration;

use loom::thread;

use super::*;
use crate::sync::Arc;

const LONG: Duration = Duration::MAX;

/// A model, and its twins: `sound` as it is, the others with a fault, which must be found.
macro_rules! models {
    ($($(#[$doc:meta])* $model:ident { $($twin:ident: $fault:ident),* })*) => {$(
        $(#[$doc])*
        mod $model {
            use super::*;

            #[test]
            fn holds() {
                loom::model(|| super::$model(Faults::default()));
            }

            $(
                #[test]
                #[should_panic]
                fn $twin() {
                    loom::model(|| super::$model(Faults { planted: Some(Fault::$fault) }));
                }
            )*
        }
    )*};
}

models! {
    /// A thread that found nothing sleeps; what is put there meanwhile wakes it. (A twin would hang, and loom dies of that; the task below has it.)
    a_claim_that_waits_hears_of_work { }
    /// Two things come from two threads; both are found, whichever ring is heard.
    two_that_ring_are_both_heard { }
    /// The same with a task for a thread.
    a_task_that_waits_hears_of_work { broken_by_looking_apart: LookThenRegister, broken_by_waking_first: RingWakesFirst }
    /// A wait is ended by a ring of its own, not by the end of one that was heard before.
    a_ring_that_was_heard_ends_no_later_wait { broken_by_waiting_once: WaitOnce }
    /// A request to stop reaches whoever waits for it.
    a_request_to_stop_reaches_who_waits { broken_without_a_second_look: NoSecondLook }
    /// The first reason stays, for everybody.
    the_first_reason_stays { broken_by_the_last: FireOverwrites }
}

fn bell(faults: Faults) -> Arc<Bell> {
    Arc::new(Bell {
        faults,
        ..Bell::default()
    })
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(Flag);

impl Wake for Woken {
    fn wake(self: Shared<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// What there is to claim. Work is put in under the lock, and the bell is rung without it; who finds nothing goes to sleep without it.
type Work = Arc<Mutex<u32>>;

fn put(work: &Work, bell: &Bell) {
    *work.lock() += 1;
    bell.ring();
}

fn take(work: &Work) -> bool {
    let mut left = work.lock();
    let found = *left > 0;
    *left -= u32::from(found);
    found
}

fn host(work: &Work, bell: &Arc<Bell>) -> thread::JoinHandle<()> {
    let (work, bell) = (Arc::clone(work), Arc::clone(bell));
    thread::spawn(move || put(&work, &bell))
}

fn a_claim_that_waits_hears_of_work(faults: Faults) {
    let (work, bell) = (Work::default(), bell(faults));
    let host = host(&work, &bell);
    while !take(&work) {
        bell.wait(LONG);
    }
    host.join().unwrap();
}

fn two_that_ring_are_both_heard(faults: Faults) {
    let (work, bell) = (Work::default(), bell(faults));
    let hosts = [host(&work, &bell), host(&work, &bell)];
    for _ in 0..2 {
        while !take(&work) {
            bell.wait(LONG);
        }
    }
    hosts.into_iter().for_each(|host| host.join().unwrap());
}

fn a_task_that_waits_hears_of_work(faults: Faults) {
    let (work, bell) = (Work::default(), bell(faults));
    let host = host(&work, &bell);
    let woken = Shared::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut claim = pin!(async {
        while !take(&work) {
            poll_fn(|context| bell.poll(context)).await;
        }
    });
    let first = claim.as_mut().poll(&mut context);
    host.join().unwrap();
    if first.is_pending() {
        assert!(
            woken.0.load(SeqCst),
            "there is work, and nobody wakes who waits for it"
        );
        assert!(claim.as_mut().poll(&mut context).is_ready());
    }
}

fn a_ring_that_was_heard_ends_no_later_wait(faults: Faults) {
    let (work, bell) = (Work::default(), bell(faults));
    let first = host(&work, &bell);
    // Heard, maybe before the thread that rang has come to wake anybody.
    assert!(bell.wait(LONG));
    let second = host(&work, &bell);
    assert!(
        bell.wait(LONG),
        "a wait was over before its time, and nobody had rung"
    );
    first.join().unwrap();
    second.join().unwrap();
}

fn a_request_to_stop_reaches_who_waits(faults: Faults) {
    let signal = Arc::new(StopSignal {
        faults,
        ..StopSignal::default()
    });
    let host = {
        let signal = Arc::clone(&signal);
        thread::spawn(move || signal.fire(StopReason::Cancelled))
    };
    let woken = Shared::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let first = signal.poll(&mut Context::from_waker(&waker));
    host.join().unwrap();
    assert!(
        first.is_ready() || woken.0.load(SeqCst),
        "it was asked to stop, and does not hear of it"
    );
    assert_eq!(signal.reason(), Some(StopReason::Cancelled));
}

fn the_first_reason_stays(faults: Faults) {
    let signal = Arc::new(StopSignal {
        faults,
        ..StopSignal::default()
    });
    let fires = |reason| {
        let signal = Arc::clone(&signal);
        thread::spawn(move || {
            signal.fire(reason);
            signal.reason()
        })
    };
    let said = [fires(StopReason::Cancelled), fires(StopReason::TimedOut)];
    let [one, other] = said.map(|said| said.join().unwrap());
    assert!(
        one.is_some() && one == other && one == signal.reason(),
        "{one:?} and {other:?}"
    );
}
