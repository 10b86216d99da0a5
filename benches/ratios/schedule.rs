//! When: the next date of a schedule, and a million due times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tenfold::schedule::Schedule;
use tenfold::timeline::{Handle, Timeline};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::frame::{Bench, Goal, Side, once, timed, timed_with};
use crate::workload::{Random, SEED};

/// Dates that are asked for in a round, one after the other.
const DATES: usize = 2_000;
/// Entries of the timelines.
const ENTRIES: usize = 1_000_000;
/// The due times lie within a day, in microseconds.
const SPAN: usize = 86_400_000_000;
const ZONE: &str = "America/New_York";

/// In five fields, and in the seven of the `cron` crate.
const TEXTS: [(&str, &str); 5] = [
    ("* * * * *", "0 * * * * * *"),
    ("0 9 * * 1-5", "0 0 9 * * 2-6 *"),
    ("0 0 1 * *", "0 0 0 1 * * *"),
    ("*/15 8-17 * * *", "0 */15 8-17 * * * *"),
    ("0 0 29 2 *", "0 0 0 29 2 * *"),
];

/// Every line about schedules and the timeline.
pub fn lines(bench: &mut Bench) {
    for (text, theirs) in TEXTS {
        bench.versus(
            &format!("schedule/next of `{text}`, no zone, to the cron crate"),
            Goal::at_least(2.0),
            || (ours(text, "UTC"), crons(theirs, Utc)),
        );
        bench.versus(
            &format!("schedule/next of `{text}`, no zone, to croner"),
            Goal::at_least(5.0),
            || (ours(text, "UTC"), croners(text, Utc)),
        );
        bench.versus(
            &format!("schedule/next of `{text}`, in a zone, to the cron crate"),
            Goal::at_least(2.0),
            || (ours(text, ZONE), crons(theirs, rrule::Tz::America__New_York)),
        );
        bench.versus(
            &format!("schedule/next of `{text}`, in a zone, to croner"),
            Goal::at_least(5.0),
            || (ours(text, ZONE), croners(text, rrule::Tz::America__New_York)),
        );
    }
    for rule in [
        "FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=MO,WE,FR",
        "FREQ=MONTHLY;BYDAY=-1FR",
        "FREQ=HOURLY",
    ] {
        bench.versus(
            &format!("schedule/walk `{rule}`, to the rrule crate"),
            Goal::at_least(1.0),
            || (walk(rule), rrules(rule)),
        );
    }
    timelines(bench);
}

fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().expect("a time stamp")
}

/// Each date from the one before, as a scheduler asks; rare ones from the start again.
fn chain<T: Copy + 'static>(start: T, next: impl Fn(T) -> Option<T> + 'static) -> Side {
    timed(DATES, move || {
        let mut at = start;
        for n in 0..DATES {
            at = if n % 100 == 0 {
                start
            } else {
                next(at).unwrap_or(start)
            };
        }
        black_box(at);
    })
}

fn ours(text: &str, zone: &str) -> Side {
    let schedule = Schedule::cron(text, zone).expect("a cron text");
    chain(start(), move |at| schedule.next_after(at))
}

fn crons<Z: chrono::TimeZone + Copy + 'static>(text: &str, zone: Z) -> Side
where
    Z::Offset: Copy,
{
    let schedule = cron::Schedule::from_str(text).expect("a text in its dialect");
    chain(start().with_timezone(&zone), move |at| schedule.after(&at).next())
}

fn croners<Z: chrono::TimeZone + Copy + 'static>(text: &str, zone: Z) -> Side
where
    Z::Offset: Copy,
{
    let schedule = croner::Cron::from_str(text).expect("a cron text");
    chain(start().with_timezone(&zone), move |at| {
        schedule.find_next_occurrence(&at, false).ok()
    })
}

fn text_of(rule: &str) -> String {
    format!("DTSTART:20260101T000000Z\nRRULE:{rule}")
}

fn walk(rule: &str) -> Side {
    let schedule = Schedule::rrule(&text_of(rule), "UTC").expect("a rule");
    timed(DATES, move || {
        black_box(schedule.occurrences(start()..).take(DATES).last());
    })
}

fn rrules(rule: &str) -> Side {
    let set: rrule::RRuleSet = text_of(rule).parse().expect("a rule");
    timed(DATES, move || {
        black_box(set.into_iter().take(DATES).last());
    })
}

fn timelines(bench: &mut Bench) {
    bench.versus(
        "timeline/insert, 1 million, to DelayQueue",
        Goal::at_least(5.0),
        || (insert(), delays(Step::Insert)),
    );
    bench.versus(
        "timeline/insert again, 1 million, to DelayQueue",
        Goal::at_least(5.0),
        || (insert_again(), delays(Step::InsertAgain)),
    );
    bench.versus(
        "timeline/cancel, 1 million, to DelayQueue",
        Goal::at_least(10.0),
        || (cancel(), delays(Step::Cancel)),
    );
    bench.versus(
        "timeline/expire, 1 million, to DelayQueue",
        Goal::at_least(5.0),
        || (expire(), delays(Step::Expire)),
    );
    bench.versus(
        "timeline/insert, 1 million, to a binary heap",
        Goal::shown(crate::frame::Unit::Nanos),
        || (insert(), heap_insert()),
    );
    bench.versus(
        "timeline/expire, 1 million, to a binary heap",
        Goal::shown(crate::frame::Unit::Nanos),
        || (expire(), heap_expire()),
    );
    bench.absolute(
        "timeline/bytes an entry, 1 million",
        Goal::under(32.001, crate::frame::Unit::Bytes),
        || {
            once(|| {
                let (timeline, _) = filled(&times());
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
                let bytes = timeline.allocated_bytes() as f64;
                #[expect(clippy::cast_precision_loss, reason = "a million")]
                let entries = ENTRIES as f64;
                bytes / entries
            })
        },
    );
}

/// Random due times within a day of now.
fn times() -> Vec<i64> {
    let mut random = Random::new(SEED);
    let due = |ahead: usize| i64::try_from(ahead).expect("a day of microseconds");
    (0..ENTRIES)
        .map(|_| start().timestamp_micros() + due(random.below(SPAN)))
        .collect()
}

/// In another order than they went in.
fn shuffled<T>(mut items: Vec<T>) -> Vec<T> {
    Random::new(SEED + 1).shuffle(&mut items);
    items
}

fn empty() -> Timeline<u64> {
    let mut timeline = Timeline::new();
    timeline.pop_due(start().timestamp_micros() - 1);
    timeline
}

fn filled(times: &[i64]) -> (Timeline<u64>, Vec<Handle>) {
    let mut timeline = empty();
    let handles = times
        .iter()
        .zip(0..)
        .map(|(&at, item)| timeline.insert(at, item))
        .collect();
    (timeline, handles)
}

fn insert() -> Side {
    let times = times();
    timed_with(ENTRIES, empty, move |mut timeline| {
        for (&at, item) in times.iter().zip(0..) {
            black_box(timeline.insert(at, item));
        }
        timeline
    })
}

/// Into one that has had as many before, and so touches no fresh memory.
fn insert_again() -> Side {
    let times = times();
    let day = i64::try_from(SPAN).expect("a day of microseconds");
    let first = times.clone();
    let prepare = move || {
        let mut timeline = filled(&first).0;
        black_box(timeline.expire(start().timestamp_micros() + day).count());
        timeline
    };
    timed_with(ENTRIES, prepare, move |mut timeline| {
        for (&at, item) in times.iter().zip(0..) {
            black_box(timeline.insert(at + day + 1, item));
        }
        timeline
    })
}

fn cancel() -> Side {
    let times = times();
    let prepare = move || {
        let (timeline, handles) = filled(&times);
        (timeline, shuffled(handles))
    };
    timed_with(ENTRIES, prepare, |(mut timeline, handles)| {
        for handle in &handles {
            black_box(timeline.cancel(*handle));
        }
        (timeline, handles)
    })
}

fn expire() -> Side {
    let times = times();
    let day = i64::try_from(SPAN).expect("a day of microseconds");
    timed_with(
        ENTRIES,
        move || filled(&times).0,
        move |mut timeline| {
            // In a thousand steps, as time goes by.
            for step in 1..=1_000 {
                for due in timeline.expire(start().timestamp_micros() + day / 1_000 * step) {
                    black_box(due);
                }
            }
            timeline
        },
    )
}

fn heap() -> BinaryHeap<Reverse<(i64, u64)>> {
    BinaryHeap::new()
}

fn heap_insert() -> Side {
    let times = times();
    timed_with(ENTRIES, heap, move |mut heap| {
        for (&at, item) in times.iter().zip(0..) {
            heap.push(Reverse((at, item)));
        }
        heap
    })
}

fn heap_expire() -> Side {
    let times = times();
    let fill = move || -> BinaryHeap<_> { times.iter().copied().zip(0u64..).map(Reverse).collect() };
    timed_with(ENTRIES, fill, |mut heap| {
        while let Some(due) = heap.pop() {
            black_box(due);
        }
        heap
    })
}

/// What is asked of the other queue.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    Insert,
    InsertAgain,
    Cancel,
    Expire,
}

/// The same with `DelayQueue`, on a runtime whose clock stands still until it is moved.
///
/// As the timeline, it is told instants (`insert`, which reads a clock each time, takes a third longer), begins empty and grows
/// (made `with_capacity` it is as fast), and its keys are kept only where they are used again.
fn delays(step: Step) -> Side {
    let ahead: Vec<Duration> = times()
        .into_iter()
        .map(|at| Duration::from_micros((at - start().timestamp_micros()).unsigned_abs()))
        .collect();
    crate::frame::figure(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(tokio::task::unconstrained(async {
            let mut queue = DelayQueue::new();
            let due = || {
                let now = tokio::time::Instant::now();
                ahead.iter().map(move |ahead| now + *ahead).zip(0u64..)
            };
            let mut keys: Vec<Key> = Vec::new();
            if step != Step::Insert {
                keys = shuffled(due().map(|(due, item)| queue.insert_at(item, due)).collect());
            }
            if step == Step::InsertAgain {
                all_expire(&mut queue).await;
            }
            let begin = crate::frame::now();
            match step {
                Step::Insert | Step::InsertAgain => {
                    for (due, item) in due() {
                        black_box(queue.insert_at(item, due));
                    }
                }
                Step::Cancel => {
                    for key in &keys {
                        black_box(queue.remove(key));
                    }
                }
                Step::Expire => all_expire(&mut queue).await,
            }
            crate::frame::per_operation(begin.elapsed(), ENTRIES)
        }))
    })
}

async fn all_expire(queue: &mut DelayQueue<u64>) {
    tokio::time::advance(Duration::from_hours(25)).await;
    while let Some(due) = std::future::poll_fn(|context| queue.poll_expired(context)).await {
        black_box(due.into_inner());
    }
}
