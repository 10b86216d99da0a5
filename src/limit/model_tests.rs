//! Random histories against obvious models: the book, the bucket, the semaphore, the shared limits.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const T0: Duration = Duration::ZERO;
const NAMES: [&str; 3] = ["a", "b", "t:1"];

/// A limit as one would write it on paper: who holds how much.
#[derive(Debug, Default)]
struct Paper {
    slots: u32,
    active: bool,
    anonymous: u64,
    held: BTreeMap<u32, u32>,
}

impl Paper {
    fn used(&self) -> u64 {
        self.anonymous + self.held.values().map(|&weight| u64::from(weight)).sum::<u64>()
    }

    fn fits(&self, weight: u32) -> bool {
        !self.active || self.used() + u64::from(weight) <= u64::from(self.slots)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take { row: u32, weights: [u32; 3] },
    Seize { row: u32, weights: [u32; 3] },
    Release { row: u32 },
    Detach { row: u32, limit: usize },
    Attach { row: u32, limit: usize, weight: u32 },
    SetSlots { limit: usize, slots: u32 },
    SetActive { limit: usize, active: bool },
    Increment { limit: usize, slots: u32 },
    Decrement { limit: usize, slots: u32 },
    Replace { limit: usize, slots: u32 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let row = 0..6_u32;
    let limit = 0..2_usize;
    let weights = prop::array::uniform3(0..4_u32);
    let op = prop_oneof![
        4 => (row.clone(), weights.clone()).prop_map(|(row, weights)| Op::Take { row, weights }),
        1 => (row.clone(), weights).prop_map(|(row, weights)| Op::Seize { row, weights }),
        3 => row.clone().prop_map(|row| Op::Release { row }),
        1 => (row.clone(), limit.clone()).prop_map(|(row, limit)| Op::Detach { row, limit }),
        1 => (row, limit.clone(), 1..3_u32).prop_map(|(row, limit, weight)| Op::Attach { row, limit, weight }),
        1 => (limit.clone(), 0..6_u32).prop_map(|(limit, slots)| Op::SetSlots { limit, slots }),
        1 => (limit.clone(), any::<bool>()).prop_map(|(limit, active)| Op::SetActive { limit, active }),
        1 => (limit.clone(), 1..4_u32).prop_map(|(limit, slots)| Op::Increment { limit, slots }),
        1 => (limit.clone(), 1..4_u32).prop_map(|(limit, slots)| Op::Decrement { limit, slots }),
        1 => (limit, 0..6_u32).prop_map(|(limit, slots)| Op::Replace { limit, slots }),
    ];
    prop::collection::vec(op, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// L1, L2, L3, L7: the book is its holders, and every answer is the paper's.
    #[test]
    fn l2_the_book_agrees_with_the_paper(ops in ops()) {
        let mut book = Book::new();
        let mut paper: [Paper; 3] = Default::default();
        for (limit, name) in NAMES.iter().enumerate() {
            let name = if limit == 2 { "t:*" } else { name };
            book.define(LimitSpec::new(name, 4), T0).unwrap();
            paper[limit].slots = 4;
            paper[limit].active = true;
        }
        let mut running: BTreeMap<u32, [u32; 3]> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Take { row, weights } => {
                    let asks = || NAMES.into_iter().zip(weights).filter(|&(_, weight)| 0 < weight);
                    let never = (0..3).any(|n| paper[n].active && paper[n].slots < weights[n]);
                    match book.resolve(asks(), T0) {
                        Err(error) => prop_assert!(never, "{error}"),
                        Ok(demand) => {
                            prop_assert!(!never);
                            let fits = (0..3).all(|n| weights[n] == 0 || paper[n].fits(weights[n]));
                            match book.take(&demand, Holder::run(row, 1), T0) {
                                Ok(_) => {
                                    prop_assert!(fits && !running.contains_key(&row));
                                    running.insert(row, weights);
                                }
                                Err(TakeError::Refused(_)) => prop_assert!(!fits),
                                Err(TakeError::AlreadyHolds(_)) => prop_assert!(running.contains_key(&row)),
                            }
                            book.forget(&demand, T0);
                        }
                    }
                }
                Op::Seize { row, weights } => {
                    let mut demand = Demand::new();
                    for (n, &weight) in weights.iter().enumerate().take(2) {
                        if 0 < weight {
                            demand.push(Ask { limit: book.find(NAMES[n]).unwrap(), weight }).unwrap();
                        }
                    }
                    let answer = book.seize(&demand, Holder::run(row, 1), T0);
                    prop_assert_eq!(answer.is_ok(), !running.contains_key(&row));
                    if answer.is_ok() {
                        running.insert(row, [weights[0], weights[1], 0]);
                    }
                }
                Op::Release { row } => {
                    let released = book.release_holder(Holder::run(row, 1), T0);
                    prop_assert_eq!(released.is_some(), running.remove(&row).is_some());
                }
                Op::Detach { row, limit } => {
                    if let Some(grant) = book.grant_of(Holder::run(row, 1)) {
                        let key = book.find(NAMES[limit]).unwrap();
                        let held = running.get_mut(&row).map_or(0, |weights| std::mem::take(&mut weights[limit]));
                        prop_assert_eq!(book.detach(grant, key, T0), (0 < held).then_some(held));
                    }
                }
                Op::Attach { row, limit, weight } => {
                    if let Some(grant) = book.grant_of(Holder::run(row, 1)) {
                        let key = book.find(NAMES[limit]).unwrap();
                        let weights = running.get_mut(&row).unwrap();
                        let answer = book.attach(grant, Ask { limit: key, weight }, T0);
                        prop_assert_eq!(answer.is_ok(), weights[limit] == 0);
                        if answer.is_ok() {
                            weights[limit] = weight;
                        }
                    }
                }
                Op::SetSlots { limit, slots } => {
                    let key = book.find(NAMES[limit]).unwrap();
                    let before = book.room(key, T0);
                    let opened = book.set_slots(key, slots, T0).unwrap();
                    paper[limit].slots = slots;
                    prop_assert_eq!(!opened.is_empty(), before < book.room(key, T0));
                }
                Op::SetActive { limit, active } => {
                    let key = book.find(NAMES[limit]).unwrap();
                    book.set_active(key, active, T0).unwrap();
                    paper[limit].active = active;
                }
                Op::Increment { limit, slots } => {
                    let answer = book.increment([NAMES[limit]], slots, Mode::Concurrency, T0);
                    let paper = &mut paper[limit];
                    prop_assert_eq!(answer.is_ok(), paper.fits(slots));
                    if answer.is_ok() && paper.active {
                        paper.anonymous += u64::from(slots);
                    }
                }
                Op::Decrement { limit, slots } => {
                    book.decrement([NAMES[limit]], slots, None, T0);
                    let paper = &mut paper[limit];
                    paper.anonymous = paper.anonymous.saturating_sub(u64::from(slots));
                }
                Op::Replace { limit, slots } => {
                    book.remove(book.find(NAMES[limit]).unwrap()).unwrap();
                    book.define(LimitSpec::new(NAMES[limit], slots), T0).unwrap();
                    paper[limit] = Paper { slots, active: true, ..Paper::default() };
                    for weights in running.values_mut() {
                        weights[limit] = 0;
                    }
                }
            }
            for (limit, paper) in paper.iter_mut().enumerate() {
                let held = running.iter().filter(|(_, weights)| 0 < weights[limit]);
                paper.held = held.map(|(&row, weights)| (row, weights[limit])).collect();
            }
            book.check_invariants();
            for (limit, paper) in paper.iter().enumerate() {
                let held = book.find(NAMES[limit]).map(|key| book.held(key, T0));
                prop_assert_eq!(held.unwrap_or_default(), paper.used());
                prop_assert!(held.is_some() || limit == 2, "L8: only what a template made is forgotten");
            }
        }
        let state = book.export(T0);
        let (restored, _) = Book::restore(&state, T0).unwrap();
        restored.check_invariants();
        prop_assert_eq!(restored.export(T0), state);
    }
}

/// A small generator, so that ten thousand histories are quick and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// L5 against the closed form of a reflected process: with X(t) = what was poured less what was given back less rate · t,
/// the level is X(t) - min(0, the least X so far). The rate is a whole number of 1024ths a second, so the form is exact in
/// integers: one slot is 1024 · 10^9 units, and `rate` units drain in a nanosecond.
#[test]
fn l5_decay_equals_its_closed_form_over_ten_thousand_histories_however_often_one_looks() {
    const SLOT: i128 = 1_024 * 1_000_000_000;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..10_000 {
        let rate = 1 + random.below(20_000);
        let slots = 1 + u32::try_from(random.below(50)).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "below 2^20")]
        let decay = rate as f64 / 1_024.0;
        let spec = LimitSpec::new("x", slots).decay(decay);
        let (mut quiet, mut polled) = (Book::new(), Book::new());
        let limit = quiet.define(spec.clone(), T0).unwrap();
        polled.define(spec, T0).unwrap();
        let (mut now, mut x, mut least) = (0_u64, 0_i128, 0_i128);
        let mut grants: VecDeque<(Grant, Grant, u32)> = VecDeque::new();
        for _ in 0..12 {
            let step = random.below(3_000_000_000);
            for _ in 0..random.below(3) {
                // Looking, refused attempts and no-op changes on the way must not matter.
                let between = Duration::from_nanos(now + random.below(step + 1));
                let _ = polled.held(limit, between);
                let _ = polled.set_slots(limit, slots, between).unwrap();
                polled.set_decay(limit, decay, between).unwrap();
            }
            now += step;
            x -= i128::from(rate) * i128::from(step);
            least = least.min(x);
            let at = Duration::from_nanos(now);
            let level = x - least;
            if random.below(4) == 0
                && let Some((one, other, weight)) = grants.pop_front()
            {
                quiet.release(one, at).unwrap();
                polled.release(other, at).unwrap();
                x -= i128::from(weight) * SLOT;
                least = least.min(x);
            } else {
                let weight = 1 + u32::try_from(random.below(u64::from(slots))).unwrap();
                let mut demand = Demand::new();
                demand.push(Ask { limit, weight }).unwrap();
                let fits = level + i128::from(weight) * SLOT <= i128::from(slots) * SLOT;
                let answers = [&mut quiet, &mut polled].map(|book| book.take(&demand, Holder::Anonymous, at));
                match answers {
                    [Ok(one), Ok(other)] => {
                        assert!(fits);
                        x += i128::from(weight) * SLOT;
                        grants.push_back((one, other, weight));
                    }
                    [Err(TakeError::Refused(one)), Err(TakeError::Refused(other))] => {
                        assert!(!fits);
                        assert_eq!(one, other);
                        let excess = level + i128::from(weight) * SLOT - i128::from(slots) * SLOT;
                        let wait = excess.unsigned_abs().div_ceil(u128::from(rate));
                        assert_eq!(one.retry_after.unwrap().as_nanos(), wait);
                    }
                    answers => panic!("the two differ: {answers:?}"),
                }
            }
            let used = (x - least).unsigned_abs().div_ceil(SLOT.unsigned_abs());
            assert_eq!(u128::from(quiet.held(limit, at)), used);
            assert_eq!(u128::from(polled.held(limit, at)), used);
            assert_eq!(
                quiet.export(at).limits[0].level,
                polled.export(at).limits[0].level
            );
        }
    }
}

/// Counts wake-ups.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task<F: Future> {
    future: Pin<Box<F>>,
    flag: Arc<Flag>,
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            flag: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.flag));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> bool {
        self.flag.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Debug)]
enum Act {
    Try(u32),
    Wait(u32),
    Poll(usize),
    Cancel(usize),
    Drop(usize),
    SetLimit(u32),
    Close,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        20 => (0..5_u32).prop_map(Act::Try),
        20 => (0..5_u32).prop_map(Act::Wait),
        10 => any::<usize>().prop_map(Act::Poll),
        10 => any::<usize>().prop_map(Act::Cancel),
        20 => any::<usize>().prop_map(Act::Drop),
        6 => (0..6_u32).prop_map(Act::SetLimit),
        1 => Just(Act::Close),
    ];
    prop::collection::vec(act, 1..100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// L1, L2 and first in, first out, with waiters that come, look, leave and are let in, while the limit moves.
    #[test]
    fn l1_the_semaphore_agrees_with_a_list(acts in acts()) {
        let semaphore = Semaphore::new(3);
        let (mut limit, mut closed) = (3_u32, false);
        let mut permits: Vec<OwnedPermit> = Vec::new();
        // Waiters by the order of coming, whether let in or not.
        let mut tasks: Vec<(u32, Task<AcquireOwned>)> = Vec::new();
        for act in acts {
            let held: u32 = permits.iter().map(OwnedPermit::weight).sum();
            let let_in: u32 = tasks.iter().filter(|(_, task)| task.woken()).map(|(weight, _)| weight).sum();
            let held = held + let_in;
            let line = tasks.iter().any(|(_, task)| !task.woken());
            let free = !closed && !line;
            match act {
                Act::Try(weight) | Act::Wait(weight) if weight == 0 || limit < weight => {
                    let error = semaphore.try_acquire(weight).unwrap_err();
                    match error {
                        AcquireError::WeightZero => prop_assert_eq!(weight, 0),
                        AcquireError::Closed => prop_assert!(closed),
                        AcquireError::AboveLimit { .. } => prop_assert!(limit < weight),
                        error => prop_assert!(false, "{error}"),
                    }
                    let polled = Task::new(semaphore.acquire_owned(weight)).poll();
                    prop_assert!(matches!(polled, Poll::Ready(Err(other)) if other == error));
                }
                Act::Try(weight) => match semaphore.try_acquire_owned(weight) {
                    Ok(permit) => {
                        prop_assert!(free && held + weight <= limit);
                        permits.push(permit);
                    }
                    Err(AcquireError::Closed) => prop_assert!(closed),
                    Err(_) => prop_assert!(!free || limit < held + weight),
                },
                Act::Wait(weight) => {
                    let mut task = Task::new(semaphore.acquire_owned(weight));
                    match task.poll() {
                        Poll::Ready(Ok(permit)) => {
                            prop_assert!(free && held + weight <= limit);
                            permits.push(permit);
                        }
                        Poll::Ready(Err(error)) => {
                            prop_assert!(closed);
                            prop_assert_eq!(error, AcquireError::Closed);
                        }
                        Poll::Pending => {
                            prop_assert!(!closed && (line || limit < held + weight));
                            tasks.push((weight, task));
                        }
                    }
                }
                Act::Poll(which) if !tasks.is_empty() => {
                    let which = which % tasks.len();
                    let woken = tasks[which].1.woken();
                    match tasks[which].1.poll() {
                        Poll::Pending => prop_assert!(!woken),
                        Poll::Ready(answer) => {
                            prop_assert!(woken);
                            tasks.remove(which);
                            match answer {
                                Ok(permit) => permits.push(permit),
                                Err(error) => prop_assert!(closed && error == AcquireError::Closed),
                            }
                        }
                    }
                }
                Act::Cancel(which) if !tasks.is_empty() => {
                    tasks.remove(which % tasks.len());
                }
                Act::Drop(which) if !permits.is_empty() => {
                    drop(permits.swap_remove(which % permits.len()));
                }
                Act::SetLimit(to) => {
                    semaphore.set_limit(to);
                    limit = to;
                }
                Act::Close => {
                    semaphore.close();
                    closed = true;
                }
                Act::Poll(_) | Act::Cancel(_) | Act::Drop(_) => {}
            }
            let status = semaphore.status();
            let waiting = tasks.iter().filter(|(_, task)| !task.woken()).count();
            prop_assert_eq!((status.limit, status.waiting, status.closed), (limit, waiting, closed));
            let held: u32 = permits.iter().map(OwnedPermit::weight).sum();
            if !closed {
                let let_in: u32 = tasks.iter().filter(|(_, task)| task.woken()).map(|(weight, _)| weight).sum();
                prop_assert_eq!(status.held, held + let_in, "held is what permits and those let in stand for");
                // First in, first out: those let in came before those who stand, and the front does not fit.
                let first = tasks.iter().position(|(_, task)| !task.woken());
                if let Some(first) = first {
                    prop_assert!(tasks[first..].iter().all(|(_, task)| !task.woken()));
                    prop_assert!(limit < status.held + tasks[first].0, "nobody who fits is left standing");
                }
            }
        }
        tasks.clear();
        permits.clear();
        prop_assert_eq!(semaphore.status().held, 0);
    }

    /// L1, L2, L3 over several limits at once: what is held is what live permits hold, whatever is cancelled when.
    #[test]
    fn l3_shared_limits_hold_what_live_permits_hold(
        acts in prop::collection::vec((0..8_u8, prop::array::uniform3(0..3_u32), any::<usize>()), 1..80)
    ) {
        let limits = Limits::new();
        for (name, slots) in [("a", 2), ("b", 3)] {
            limits.define(LimitSpec::new(name, slots), T0).unwrap();
        }
        limits.define(LimitSpec::new("t:*", 2), T0).unwrap();
        let mut permits: Vec<([u32; 3], OwnedMultiPermit)> = Vec::new();
        let mut tasks: Vec<([u32; 3], Task<Waiting>)> = Vec::new();
        for (act, weights, which) in acts {
            let mut request = Request::new();
            for (name, weight) in NAMES.into_iter().zip(weights) {
                if 0 < weight {
                    request = request.slots(name, weight);
                }
            }
            match act {
                0 | 1 => {
                    if let Ok(permit) = limits.try_acquire_owned(&request, Holder::Anonymous, T0) {
                        permits.push((weights, permit));
                    }
                }
                2..=4 => {
                    if let Ok(waiting) = limits.acquire(&request, T0) {
                        let mut task = Task::new(waiting);
                        match task.poll() {
                            Poll::Ready(answer) => permits.push((weights, answer.unwrap())),
                            Poll::Pending => tasks.push((weights, task)),
                        }
                    }
                }
                5 if !tasks.is_empty() => drop(tasks.remove(which % tasks.len())),
                6 if !permits.is_empty() => drop(permits.swap_remove(which % permits.len())),
                7 => {
                    let slots = 1 + u32::try_from(which % 4).unwrap();
                    limits.set_slots(limits.find("a").unwrap(), slots, T0).unwrap();
                }
                _ => {}
            }
            limits.check_invariants();
            for at in (0..tasks.len()).rev() {
                if tasks[at].1.woken() {
                    let (weights, mut task) = tasks.remove(at);
                    match task.poll() {
                        Poll::Ready(answer) => permits.push((weights, answer.unwrap())),
                        Poll::Pending => prop_assert!(false, "woken for nothing"),
                    }
                }
            }
            for (n, name) in NAMES.iter().enumerate() {
                let held: u64 = permits.iter().map(|(weights, _)| u64::from(weights[n])).sum();
                let status = limits.find(name).and_then(|limit| limits.status(limit, T0));
                prop_assert_eq!(status.map_or(0, |status| status.active_slots), held);
            }
        }
        // Everybody is served in the end: as permits are dropped, who waits is let in.
        limits.set_slots(limits.find("a").unwrap(), 2, T0).unwrap();
        while !tasks.is_empty() {
            permits.clear();
            let before = tasks.len();
            tasks.retain_mut(|(_, task)| !task.woken() || task.poll().is_pending());
            prop_assert!(tasks.len() < before, "nothing is held and nobody is let in");
        }
        permits.clear();
        limits.check_invariants();
        prop_assert!(limits.find("t:1").is_none(), "L8");
    }
}

/// L1, L2 with real threads, some of which panic while they hold a permit.
#[test]
fn l2_permits_come_back_from_threads_that_panic() {
    let semaphore = Semaphore::new(3);
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (semaphore, inside) = (&semaphore, &inside);
            scope.spawn(move || {
                for n in 0..2_000_u32 {
                    let weight = 1 + (n + thread) % 3;
                    let work = std::panic::AssertUnwindSafe(|| {
                        let permit = if n % 2 == 0 {
                            semaphore.acquire_blocking(weight).ok()
                        } else {
                            semaphore.try_acquire(weight).ok()
                        };
                        if let Some(permit) = &permit {
                            let others = inside.fetch_add(permit.weight(), Ordering::Relaxed);
                            assert!(others + weight <= 3, "{others} + {weight} slots are in use");
                            inside.fetch_sub(permit.weight(), Ordering::Relaxed);
                        }
                        if n % 64 == 63 {
                            std::panic::resume_unwind(Box::new("as a handler might"));
                        }
                    });
                    let ended = std::panic::catch_unwind(work);
                    assert_eq!(ended.is_err(), n % 64 == 63);
                }
            });
        }
    });
    let status = semaphore.status();
    assert_eq!((status.held, status.waiting), (0, 0));
    assert_eq!(semaphore.available(), 3);
}

/// L3 with real threads that name the same limits in different orders and wait.
#[test]
fn l3_threads_that_wait_for_limits_in_any_order_all_end() {
    let limits = Limits::new();
    for name in ["a", "b", "c"] {
        limits.define(LimitSpec::new(name, 1), T0).unwrap();
    }
    let inside = [const { AtomicU32::new(0) }; 3];
    std::thread::scope(|scope| {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let (limits, inside) = (&limits, &inside);
            scope.spawn(move || {
                for n in 0..500 {
                    let used = &order[..=n % 3];
                    let request = used
                        .iter()
                        .fold(Request::new(), |request, &at| request.slot(["a", "b", "c"][at]));
                    let waiting = limits.acquire(&request, T0).unwrap();
                    let permit = waiting.wait(None).unwrap().unwrap();
                    for &at in used {
                        assert_eq!(inside[at].fetch_add(1, Ordering::Relaxed), 0);
                    }
                    for &at in used {
                        inside[at].fetch_sub(1, Ordering::Relaxed);
                    }
                    drop(permit);
                }
            });
        }
    });
    limits.check_invariants();
    assert!(limits.list(T0).iter().all(|limit| limit.active_slots == 0));
}
