//! Single calls of schedules and the timeline, with criterion's statistics. The promises are lines of the ratio bench.

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

criterion_group!(benches, occurrences, timeline);
criterion_main!(benches);
