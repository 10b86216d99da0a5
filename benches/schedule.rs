//! Single calls of schedules and the timeline, with criterion's statistics. The promises are lines of the ratio bench.

use std::collections::BTreeMap;
use std::hint::black_box;

use chrono::{DateTime, TimeDelta, Utc};
use criterion::{Criterion, criterion_group, criterion_main};
use tenfold::schedule::Schedule;
use tenfold::timeline::Timeline;

fn schedules() -> [(&'static str, Schedule); 6] {
    let zone = "Europe/Berlin";
    let anchor = DateTime::UNIX_EPOCH;
    let made = |schedule: Result<Schedule, _>| schedule.expect("a schedule");
    [
        ("cron/every_minute", made(Schedule::cron("* * * * *", zone))),
        ("cron/weekdays", made(Schedule::cron("0 9 * * mon-fri", zone))),
        ("cron/leap_mondays", made(Schedule::cron("0 0 29 2 *", zone))),
        (
            "interval/hour",
            made(Schedule::interval(TimeDelta::hours(1), anchor, zone)),
        ),
        (
            "interval/day",
            made(Schedule::interval(TimeDelta::hours(24), anchor, zone)),
        ),
        (
            "rrule/last_friday",
            made(Schedule::rrule("FREQ=MONTHLY;BYDAY=-1FR", zone)),
        ),
    ]
}

fn occurrences(criterion: &mut Criterion) {
    let at: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().expect("a time stamp");
    for (name, schedule) in schedules() {
        criterion.bench_function(&format!("next/{name}"), |bench| {
            bench.iter(|| black_box(&schedule).next_after(black_box(at)));
        });
        criterion.bench_function(&format!("hundred/{name}"), |bench| {
            bench.iter(|| black_box(&schedule).occurrences(black_box(at)..).take(100).last());
        });
    }
    criterion.bench_function("parse/cron", |bench| {
        bench.iter(|| Schedule::cron(black_box("0 9 * * mon-fri"), "UTC"));
    });
    criterion.bench_function("parse/rrule", |bench| {
        bench.iter(|| Schedule::rrule(black_box("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9"), "UTC"));
    });
}

fn timeline(criterion: &mut Criterion) {
    criterion.bench_function("timeline/rearm_among_a_million", |bench| {
        let mut timeline = Timeline::new();
        let mut handles: Vec<_> = (0..1_000_000i64).map(|n| timeline.insert(n * 1_000, n)).collect();
        let mut n = 0;
        bench.iter(|| {
            n = (n + 7_919) % handles.len();
            let at = 1_000_000_000 + i64::try_from(n).expect("below a million");
            handles[n] = timeline.rearm(handles[n], at).expect("it is there");
        });
    });
}

/// What the engine does with the timeout of an attempt: insert, ask for the next deadline, cancel, ask again; among 100,000
/// that wait. An ordered map, which the engine uses, and the timeline.
fn timers(criterion: &mut Criterion) {
    const AMONG: i64 = 100_000;
    const AHEAD: i64 = 60_000_000;
    criterion.bench_function("timers/ordered_map", |bench| {
        let mut map: BTreeMap<(i64, u64), u32> = BTreeMap::new();
        let mut seq = 0;
        for n in 0..AMONG {
            map.insert((n * 7_919 % AMONG * 1_000, seq), 0);
            seq += 1;
        }
        let mut now = 0;
        bench.iter(|| {
            now += 100;
            seq += 1;
            map.insert((now % 1_000_000 + AHEAD, seq), 0);
            black_box(map.first_key_value());
            map.remove(&(now % 1_000_000 + AHEAD, seq));
            black_box(map.first_key_value());
        });
    });
    criterion.bench_function("timers/timeline", |bench| {
        let mut timeline = Timeline::new();
        timeline.pop_due(-1);
        for n in 0..AMONG {
            timeline.insert(n * 7_919 % AMONG * 1_000, 0_u32);
        }
        let mut now = 0;
        bench.iter(|| {
            now += 100;
            let handle = timeline.insert(now % 1_000_000 + AHEAD, 0);
            black_box(timeline.next_deadline());
            timeline.cancel(handle);
            black_box(timeline.next_deadline());
        });
    });
}

criterion_group!(benches, occurrences, timeline, timers);
criterion_main!(benches);
