//! Waiting until a submission fits (R8).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tenfold::engine::SubmitWait;
use tenfold::{Engine, Error, NewRun, RunId, Scope, Submitted};

use crate::support::{Random, refused, still, take};

const LONG: Duration = Duration::from_secs(60);

/// An engine with room for so many waiting runs, and the flow `f`.
fn with_room(most: usize) -> Engine {
    let engine = still().0.waiting_runs(most).scheduled_runs(1).build().unwrap();
    engine.flow("f").unwrap();
    engine
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn woken(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

struct Waiting {
    future: Pin<Box<SubmitWait>>,
    count: Arc<Count>,
}

impl Waiting {
    fn new(engine: &Engine) -> Self {
        Self {
            future: Box::pin(engine.submit_when_room("f")),
            count: Arc::default(),
        }
    }

    fn poll(&mut self) -> Option<Submitted> {
        let waker = Waker::from(self.count.clone());
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(submitted) => Some(submitted.unwrap()),
            Poll::Pending => None,
        }
    }
}

#[test]
fn r8_a_submission_that_fits_waits_for_nothing() {
    let engine = with_room(1);
    let mut first = Waiting::new(&engine);
    let run = first.poll().expect("it fits").id;
    assert_eq!(take(&engine).run(), run);
    assert!(
        engine
            .wait_for_room(1)
            .unwrap()
            .for_at_most(Duration::ZERO)
            .unwrap()
    );
}

#[test]
fn r8_room_goes_to_those_that_wait_in_order_and_wakes_no_others() {
    let engine = with_room(2);
    for _ in 0..2 {
        engine.submit("f").unwrap();
    }
    let mut waiting: Vec<Waiting> = (0..4).map(|_| Waiting::new(&engine)).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.poll().is_none()));
    let woken =
        |waiting: &[Waiting]| -> Vec<usize> { waiting.iter().map(|waiting| waiting.count.woken()).collect() };
    assert_eq!(woken(&waiting), [0; 4]);
    take(&engine);
    assert_eq!(woken(&waiting), [1, 0, 0, 0], "one place, one is told");
    take(&engine);
    assert_eq!(woken(&waiting), [0, 1, 0, 0]);
    // Told or not, who was not first stays where he is.
    assert!(waiting[3].poll().is_none());
    let ids: Vec<RunId> = (0..2).map(|at| waiting[at].poll().expect("told").id).collect();
    assert!(waiting[2].poll().is_none());
    assert_eq!(woken(&waiting), [0; 4]);
    assert_eq!([take(&engine).run(), take(&engine).run()], [ids[0], ids[1]]);
    assert_eq!(woken(&waiting[2..]), [1, 1]);
}

#[test]
fn r8_whoever_is_overtaken_keeps_his_place() {
    let engine = with_room(1);
    engine.submit("f").unwrap();
    let mut waiting = [Waiting::new(&engine), Waiting::new(&engine)];
    assert!(waiting.iter_mut().all(|waiting| waiting.poll().is_none()));
    take(&engine);
    // A plain submission does not wait its turn.
    engine.submit("f").unwrap();
    assert!(waiting[0].poll().is_none());
    take(&engine);
    assert_eq!(waiting.each_ref().map(|waiting| waiting.count.woken()), [2, 0]);
    assert!(waiting[1].poll().is_none());
    assert!(waiting[0].poll().is_some());
}

#[test]
fn r8_whoever_goes_away_passes_the_room_on() {
    let engine = with_room(1);
    engine.submit("f").unwrap();
    let mut waiting: Vec<Waiting> = (0..3).map(|_| Waiting::new(&engine)).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.poll().is_none()));
    // Told and gone; not told and gone.
    take(&engine);
    drop(waiting.remove(0));
    assert_eq!(waiting[0].count.woken(), 1);
    drop(waiting.remove(0));
    assert_eq!(waiting[0].count.woken(), 1);
    assert!(waiting[0].poll().is_some());
}

#[test]
fn r8_more_room_is_waited_for_as_a_whole() {
    let engine = with_room(3);
    for _ in 0..3 {
        engine.submit("f").unwrap();
    }
    let mut two = engine.wait_for_room(2).unwrap();
    let mut one = engine.wait_for_room(1).unwrap();
    take(&engine);
    assert!(!one.for_at_most(Duration::ZERO).unwrap(), "it is not its turn");
    assert!(!two.for_at_most(Duration::ZERO).unwrap());
    take(&engine);
    assert!(two.for_at_most(Duration::ZERO).unwrap());
    assert!(two.for_at_most(Duration::ZERO).unwrap(), "asked again");
    assert!(one.for_at_most(Duration::ZERO).unwrap());
    let sizes = [0, 4, usize::MAX];
    for size in sizes {
        let error = refused(&engine, |engine| engine.wait_for_room(size));
        assert!(matches!(error, Error::BatchSize { most: 3, .. }), "{error}");
    }
}

#[test]
fn r8_runs_for_later_wait_for_room_of_their_own() {
    let (builder, clock) = still();
    let engine = builder.waiting_runs(1).scheduled_runs(1).build().unwrap();
    engine.flow("f").unwrap();
    let in_ = |seconds: i64| {
        let now = tenfold::clock::Clock::now(&clock).wall;
        NewRun::of("f").not_before(now + chrono::TimeDelta::seconds(seconds))
    };
    let first = engine.submit(in_(5)).unwrap().id;
    let mut second = engine.submit_when_room(in_(10));
    assert!(second.for_at_most(Duration::ZERO).unwrap().is_none());
    // Due runs are no matter of these.
    assert!(
        engine
            .submit_when_room("f")
            .for_at_most(Duration::ZERO)
            .unwrap()
            .is_some()
    );
    take(&engine);
    clock.advance(Duration::from_secs(5));
    assert_eq!(take(&engine).run(), first);
    assert!(second.for_at_most(Duration::ZERO).unwrap().is_some());
    // One that becomes due while it waits wants the other room.
    let mut third = engine.submit_when_room(in_(2));
    assert!(third.for_at_most(Duration::ZERO).unwrap().is_none());
    engine.submit("f").unwrap();
    clock.advance(Duration::from_secs(3));
    assert!(third.for_at_most(Duration::ZERO).unwrap().is_none());
    take(&engine);
    let third = third.for_at_most(Duration::ZERO).unwrap().unwrap().id;
    assert_eq!(take(&engine).run(), third);
}

#[test]
fn r8_a_closed_engine_and_a_wrong_submission_end_the_wait() {
    let engine = with_room(1);
    engine.submit("f").unwrap();
    let mut waiting = engine.submit_when_room("f");
    let mut room = engine.wait_for_room(1).unwrap();
    assert!(waiting.for_at_most(Duration::ZERO).unwrap().is_none());
    let mut wrong = engine.submit_when_room("nobody");
    assert!(
        wrong.for_at_most(Duration::ZERO).unwrap().is_none(),
        "it is not its turn"
    );
    engine.close().unwrap();
    assert!(matches!(waiting.for_at_most(LONG), Err(Error::Stopped)));
    assert!(matches!(room.for_at_most(LONG), Err(Error::Stopped)));
    let engine = with_room(1);
    let mut wrong = engine.submit_when_room("nobody");
    assert!(matches!(wrong.for_at_most(LONG), Err(Error::NotFound { .. })));
    let none = still().0.waiting_runs(0).build().unwrap();
    none.flow("f").unwrap();
    let mut never = none.submit_when_room("f");
    assert!(matches!(
        never.for_at_most(LONG),
        Err(Error::Full { capacity: 0, .. })
    ));
}

#[test]
fn r8_threads_that_wait_all_get_in() {
    let engine = Engine::builder().waiting_runs(2).build().unwrap();
    engine.flow("f").unwrap();
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let submit = || engine.submit_when_room("f").for_at_most(LONG).unwrap();
                    (0..50)
                        .map(|_| submit().expect("somebody claims").id)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut claimed = Vec::new();
        while claimed.len() < 200 {
            let claim = engine
                .claim_wait(&Scope::all(), LONG)
                .unwrap()
                .expect("somebody submits");
            claimed.push(claim.run());
        }
        let mut submitted: Vec<RunId> = producers
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        submitted.sort_unstable();
        claimed.sort_unstable();
        assert_eq!(claimed, submitted);
    });
}

/// Whatever is dropped at whatever await point: nobody who still waits is forgotten while there is room.
#[test]
fn r8_futures_dropped_at_any_point_lose_no_room() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let engine = with_room(2);
        let mut waiting: Vec<Waiting> = Vec::new();
        for _ in 0..60 {
            match random.below(5) {
                0 => waiting.push(Waiting::new(&engine)),
                1 if !waiting.is_empty() => drop(waiting.remove(random.below(waiting.len()))),
                2 => drop(engine.submit("f")),
                3 => drop(engine.claim(&Scope::all()).unwrap()),
                _ if !waiting.is_empty() => {
                    let at = random.below(waiting.len());
                    if waiting[at].poll().is_some() {
                        waiting.remove(at);
                    }
                }
                _ => {}
            }
        }
        // From here on only who is woken, or was never asked, is polled.
        for waiting in &mut waiting {
            let _ = waiting.count.woken();
        }
        waiting.retain_mut(|waiting| waiting.poll().is_none());
        while !waiting.is_empty() {
            let before = waiting.len();
            while engine.claim(&Scope::all()).unwrap().is_ok() {}
            waiting.retain_mut(|waiting| waiting.count.woken() == 0 || waiting.poll().is_none());
            assert!(
                waiting.len() < before,
                "seed {seed}: {before} wait, and nobody is woken"
            );
        }
    }
}
