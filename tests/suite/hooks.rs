//! Completion hooks by a runner's threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use tenfold::engine::{Delivery, Hook};
use tenfold::{Claims, Engine, NewRun, Outcome, Retry, RunId, Scope};

const LONG: Duration = Duration::from_secs(60);

fn run_of(delivery: &Delivery) -> RunId {
    delivery.run().unwrap().id
}

#[test]
fn r8_a_handler_is_told_in_the_order_of_completion_on_a_thread_of_its_own() {
    let engine = Engine::new();
    let (told, tells) = channel();
    let runner = engine
        .runner()
        .threads(1)
        .handler("work", |job| job.parameter::<usize>("n"))
        .unwrap()
        .on_completed(Hook::named("bell"), move |delivery| {
            let thread = std::thread::current().name().map(str::to_owned);
            Ok(told.send((run_of(delivery), thread))?)
        })
        .unwrap()
        .start()
        .unwrap();
    let submit = |n: usize| engine.submit(NewRun::of("work").parameter("n", n)).unwrap().id;
    let runs: Vec<RunId> = (0..50).map(submit).collect();
    for run in runs {
        let (first, thread) = tells.recv_timeout(LONG).unwrap();
        assert_eq!((first, thread.as_deref()), (run, Some("tenfold-bell")));
    }
    assert_eq!(runner.drain().undelivered, 0);
}

#[test]
fn r6_what_fails_or_panics_is_tried_again_and_a_drain_tells_the_rest() {
    let engine = Engine::new();
    let (told, tells) = channel();
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let hook = Hook::named("bell").retry(Retry::fixed(2, Duration::from_micros(1)));
    let runner = engine
        .runner()
        .handler("work", |_| Ok(()))
        .unwrap()
        .on_completed(hook, move |delivery| {
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => panic!("as asked"),
                1 => Err(std::io::Error::other("busy"))?,
                _ => {}
            }
            Ok(told.send((run_of(delivery), delivery.attempt()))?)
        })
        .unwrap()
        .start()
        .unwrap();
    let first = engine.submit("work").unwrap().id;
    assert_eq!(tells.recv_timeout(LONG).unwrap(), (first, 3));
    let second = engine.submit("work").unwrap().id;
    engine.wait(second).unwrap().for_at_most(LONG).unwrap().unwrap();
    assert_eq!(runner.drain().undelivered, 0);
    assert_eq!(tells.try_recv().unwrap(), (second, 1));
    let totals = engine.hooks().unwrap()[0].totals;
    assert_eq!(
        (totals.recorded, totals.delivered, totals.failed_attempts),
        (2, 2, 2)
    );
}

#[test]
fn e5_what_was_not_told_before_a_stop_is_told_after_an_import() {
    let engine = Engine::new();
    let runner = engine
        .runner()
        .handler("work", |_| Ok(()))
        .unwrap()
        .on_completed(Hook::named("bell"), |_| Ok(()))
        .unwrap();
    // Nobody has started it: what ends now waits.
    drop(runner);
    let runs = [(); 3].map(|()| {
        let run = engine.submit("work").unwrap().id;
        let claim = engine.claim(&Scope::all()).unwrap().unwrap();
        engine.complete(&claim, Outcome::Completed(1.into())).unwrap();
        run
    });
    let text = serde_json::to_string(&engine.export().unwrap()).unwrap();
    let moved = Engine::builder()
        .import(serde_json::from_str(&text).unwrap(), Claims::Keep)
        .unwrap();
    let (told, tells) = channel();
    let runner = moved
        .runner()
        .on_completed(Hook::named("bell"), move |delivery| {
            Ok(told.send(run_of(delivery))?)
        })
        .unwrap()
        .start()
        .unwrap();
    for run in runs {
        assert_eq!(tells.recv_timeout(LONG).unwrap(), run);
    }
    runner.stop(LONG);
}

#[test]
fn a_wait_for_deliveries_ends_with_the_first_completion() {
    let engine = Engine::new();
    engine.hook(Hook::named("bell")).unwrap();
    engine.flow("work").unwrap();
    let waits = {
        let engine = engine.clone();
        std::thread::spawn(move || engine.wait_deliveries("bell", 1, LONG, LONG).unwrap())
    };
    let run = engine.submit("work").unwrap().id;
    engine.cancel(run).unwrap();
    let told = waits.join().unwrap();
    assert_eq!(told.iter().map(run_of).collect::<Vec<_>>(), [run]);
    assert!(
        engine
            .wait_deliveries("bell", 1, LONG, Duration::ZERO)
            .unwrap()
            .is_empty()
    );
}
