//! Waiting for the end of a run: as a future and on a thread, dropped wherever it may be.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tenfold::engine::{Lease, Outcome};
use tenfold::model::{NewState, StateType};
use tenfold::{Engine, Error, Scope};

use crate::support::{engine, refused, still, take};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn r8_a_wait_gives_the_run_as_it_ended_also_when_its_record_is_gone() {
    let (builder, _) = still();
    let engine = builder.finished_runs(0).build().unwrap();
    engine.flow("f").unwrap();
    let run = engine.submit("f").unwrap().id;
    let mut wait = engine.wait(run).unwrap();
    assert_eq!(wait.for_at_most(Duration::ZERO).unwrap(), None);
    engine
        .complete(&take(&engine), Outcome::Completed(7.into()))
        .unwrap();
    assert!(engine.run(run).is_err(), "no records are kept");
    let ended = wait.for_at_most(Duration::ZERO).unwrap().unwrap();
    assert_eq!(
        (ended.id, ended.result, ended.state_type),
        (run, Some(7.into()), Some(StateType::Completed))
    );
    assert!(matches!(
        refused(&engine, |engine| engine.wait(run)),
        Error::NotFound { .. }
    ));
}

#[test]
fn r8_every_end_is_told_and_one_that_was_before_the_wait_too() {
    let (engine, clock) = engine();
    let ends: [fn(&Engine, tenfold::RunId); 4] = [
        |engine, run| {
            engine.cancel(run).unwrap();
        },
        |engine, run| {
            engine.set_state(run, NewState::of(StateType::Crashed)).unwrap();
        },
        |engine, run| {
            engine.delete_run(run).unwrap();
        },
        |engine, _| {
            engine
                .claim_leased(&Scope::all(), Lease::of(MINUTE))
                .unwrap()
                .unwrap();
        },
    ];
    let states = [
        StateType::Cancelled,
        StateType::Crashed,
        StateType::Cancelled,
        StateType::Crashed,
    ];
    for (end, state) in ends.into_iter().zip(states) {
        let run = engine.submit("f").unwrap().id;
        let mut wait = engine.wait(run).unwrap();
        end(&engine, run);
        clock.advance(MINUTE);
        let ended = wait.for_at_most(Duration::ZERO).unwrap().unwrap();
        assert_eq!(ended.state_type, Some(state));
        if engine.run(run).is_ok() {
            let after = engine.wait(run).unwrap().for_at_most(Duration::ZERO).unwrap();
            assert_eq!(after.unwrap(), ended);
        }
    }
}

#[test]
fn r8_a_wait_dropped_at_any_poll_takes_nothing_from_the_others() {
    for polls in 0..4 {
        let (engine, _) = engine();
        let run = engine.submit("f").unwrap().id;
        let (gone, stays) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut other = pin!(engine.wait(run).unwrap());
        {
            let mut dropped = pin!(engine.wait(run).unwrap());
            let waker = Waker::from(gone.clone());
            for _ in 0..polls {
                assert!(
                    dropped
                        .as_mut()
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending()
                );
            }
            // Awaited from another task from then on: the newest waker counts.
            let first = Waker::from(gone.clone());
            assert!(other.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
            let waker = Waker::from(stays.clone());
            assert!(other.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        engine.cancel(run).unwrap();
        assert_eq!(
            (gone.0.load(Ordering::SeqCst), stays.0.load(Ordering::SeqCst)),
            (0, 1),
            "{polls}"
        );
        let waker = Waker::from(stays);
        for _ in 0..2 {
            let Poll::Ready(ended) = other.as_mut().poll(&mut Context::from_waker(&waker)) else {
                panic!("the end was told and is not there")
            };
            assert_eq!(ended.id, run);
        }
    }
}

#[test]
fn r8_no_end_is_lost_between_the_look_and_the_sleep() {
    let engine = Engine::new();
    engine.flow("f").unwrap();
    for _ in 0..300 {
        let run = engine.submit("f").unwrap().id;
        let (ended, ends) = mpsc::channel();
        for _ in 0..2 {
            let (engine, ended) = (engine.clone(), ended.clone());
            std::thread::spawn(move || {
                let run = engine.wait(run).unwrap().for_at_most(60 * MINUTE).unwrap();
                let _ = ended.send(run);
            });
        }
        engine.complete(&take(&engine), Outcome::Cancelled).unwrap();
        for _ in 0..2 {
            // The time counts from here, and in parts: one may pass while the machine does something else.
            let told = (0..4).find_map(|_| ends.recv_timeout(MINUTE / 4).ok());
            assert!(told.is_some_and(|run| run.is_some()), "nobody was woken");
        }
    }
}
