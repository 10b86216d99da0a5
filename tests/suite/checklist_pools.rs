//! The reference's checklist (its section 11) by number: lines 40 to 47, which runs a worker gets, and 50 to 55, the dates of
//! schedules. Line 49 is in `asked`, 23 to 30 in `limit_reference`, 31 to 39 in `states` and `collisions`, the others in
//! `checklist`.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenfold::clock::{Clock, ManualClock};
use tenfold::schedule::DayMatch;
use tenfold::{Empty, Engine, NewPool, NewQueue, NewRun, RunId, Schedule, Scope};

use crate::support::still;

/// Pool `p` with the queues auto2 (1), mid (2), hi (3), default (4), and a run of each sort the lines tell apart.
struct Pool {
    engine: Engine,
    clock: ManualClock,
    runs: Vec<(&'static str, RunId)>,
}

impl Pool {
    fn new() -> Self {
        let (builder, clock) = still();
        let engine = builder.build().unwrap();
        engine.flow("f").unwrap();
        engine.create_pool(NewPool::named("p")).unwrap();
        for (number, name) in (1..).zip(["auto2", "mid", "hi"]) {
            let queue = NewQueue::named("p", name).priority(NonZeroU32::new(number).unwrap());
            engine.create_queue(queue).unwrap();
        }
        let mut pool = Self {
            engine,
            clock,
            runs: Vec::new(),
        };
        // Two hundred seconds before the question, and then one hundred.
        pool.submit("def-early", "default", 0);
        pool.clock.advance(Duration::from_secs(100));
        pool.submit("mid-early", "mid", 0);
        pool.clock.advance(Duration::from_secs(100));
        pool.submit("a2", "auto2", 10);
        pool.submit("hi-soon", "hi", 50);
        pool.submit("hi-late", "hi", 100);
        pool
    }

    /// The same a hundred seconds later: all are due.
    fn all_due() -> Self {
        let pool = Self::new();
        pool.clock.advance(Duration::from_secs(100));
        pool
    }

    fn submit(&mut self, name: &'static str, queue: &str, seconds: i64) {
        let new = NewRun::of("f")
            .work_queue("p", queue)
            .not_before(self.now() + TimeDelta::seconds(seconds));
        self.runs.push((name, self.engine.submit(new).unwrap().id));
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now().wall
    }

    fn name(&self, run: RunId) -> &'static str {
        self.runs.iter().find(|(_, id)| *id == run).unwrap().0
    }

    fn peek(
        &self,
        after: Option<DateTime<Utc>>,
        before: Option<DateTime<Utc>>,
        n: usize,
    ) -> Vec<&'static str> {
        let ahead = self.engine.peek(&Scope::pool("p"), after, before, n).unwrap();
        ahead.into_iter().map(|run| self.name(run.id)).collect()
    }

    /// What a worker gets that asks for so many.
    fn claim(&self, most: usize) -> Vec<&'static str> {
        let claims = self.engine.claim_many(&Scope::pool("p"), most).unwrap();
        let claims = claims.unwrap_or_default();
        claims.iter().map(|claim| self.name(claim.run())).collect()
    }

    fn limit(self, limit: u32) -> Self {
        self.engine.set_pool_limit("p", Some(limit)).unwrap();
        self
    }
}

#[test]
fn c1_line_40_s_a_full_pool_hands_out_the_first_by_queue() {
    assert_eq!(Pool::all_due().limit(3).claim(10), ["a2", "mid-early", "hi-soon"]);
    // (S) the reference hands out what is not due, too, and lets it take the slots of what is.
    assert_eq!(Pool::new().limit(3).claim(10), ["mid-early", "def-early"]);
    assert_eq!(Pool::new().limit(1).claim(10), ["mid-early"]);
}

#[test]
fn c4_lines_41_and_42_a_look_before_and_after_now() {
    let pool = Pool::new().limit(3);
    let now = pool.now();
    assert_eq!(pool.peek(None, Some(now), 10), ["mid-early", "def-early"]);
    assert_eq!(pool.peek(Some(now), None, 10), ["a2", "hi-soon", "hi-late"]);
}

#[test]
fn c1_lines_43_and_44_as_many_as_are_asked_for() {
    assert_eq!(Pool::all_due().limit(3).claim(2), ["a2", "mid-early"]);
    let all = ["a2", "mid-early", "hi-soon", "hi-late", "def-early"];
    assert_eq!(Pool::all_due().claim(10), all);
    assert_eq!(Pool::all_due().peek(None, None, 10), all);
    // (S) what is not due comes behind what is, and not between it.
    let ahead = ["mid-early", "def-early", "a2", "hi-soon", "hi-late"];
    assert_eq!(Pool::new().peek(None, None, 10), ahead);
    assert_eq!(Pool::new().peek(None, None, 2), ahead[..2]);
}

#[test]
fn c3_lines_45_to_47_limits_and_pauses_of_queues_and_of_the_pool() {
    let pool = Pool::all_due();
    pool.engine.set_queue_limit("p", "hi", Some(1)).unwrap();
    assert_eq!(pool.claim(10), ["a2", "mid-early", "hi-soon", "def-early"]);
    let pool = Pool::all_due();
    pool.engine.pause_queue("p", "hi").unwrap();
    assert_eq!(pool.claim(10), ["a2", "mid-early", "def-early"]);
    let pool = Pool::all_due();
    pool.engine.pause_pool("p").unwrap();
    assert_eq!(pool.claim(10), [""; 0]);
    assert_eq!(
        pool.engine.claim(&Scope::pool("p")).unwrap().unwrap_err(),
        Empty::Paused
    );
}

const NEW_YORK: &str = "America/New_York";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Dates on the clock of the schedule's zone, with its offset in hours.
fn local(schedule: &Schedule, from: &str, n: usize) -> Vec<String> {
    let dates = schedule.preview(at(from), n);
    let shown = dates.into_iter().map(|date| {
        let offset = schedule.offset_at(date);
        let clock = date + TimeDelta::seconds(offset.into());
        format!("{} {}", clock.format("%m-%d %H:%M"), offset / 3_600)
    });
    shown.collect()
}

fn every(hours: i64, anchor: &str) -> Schedule {
    Schedule::interval(TimeDelta::hours(hours), at(anchor), NEW_YORK).unwrap()
}

#[test]
fn s2_line_50_s_intervals_over_a_change_of_clocks() {
    let daily = every(24, "2024-01-01T14:00:00Z");
    assert_eq!(
        local(&daily, "2024-03-08T05:00:00Z", 3),
        ["03-08 09:00 -5", "03-09 09:00 -5", "03-10 09:00 -4"]
    );
    // (S) the reference loses the hour when it is asked later: 10:00 all summer.
    for from in ["2024-03-11T04:00:00Z", "2024-07-01T04:00:00Z"] {
        assert!(local(&daily, from, 1)[0].ends_with(" 09:00 -4"));
    }
    assert_eq!(
        local(&daily, "2024-11-01T04:00:00Z", 3),
        ["11-01 09:00 -4", "11-02 09:00 -4", "11-03 09:00 -5"]
    );
    // (S) 08:00 there.
    let summer = every(24, "2024-07-01T13:00:00Z");
    assert_eq!(local(&summer, "2025-01-01T05:00:00Z", 1), ["01-01 09:00 -5"]);
    // (S) a date that was moved out of the gap is moved alone; there it stays at 03:30.
    let gap = every(24, "2024-01-01T07:30:00Z");
    assert_eq!(
        local(&gap, "2024-03-09T05:00:00Z", 3),
        ["03-09 02:30 -5", "03-10 03:30 -4", "03-11 02:30 -4"]
    );
    let odd = every(36, "2024-03-08T05:00:00Z");
    assert_eq!(
        local(&odd, "2024-03-08T05:00:00Z", 4),
        [
            "03-08 00:00 -5",
            "03-09 12:00 -5",
            "03-11 00:00 -4",
            "03-12 12:00 -4"
        ]
    );
    let hourly = every(1, "2024-01-01T05:00:00Z");
    assert_eq!(
        local(&hourly, "2024-03-10T05:00:00Z", 4),
        [
            "03-10 00:00 -5",
            "03-10 01:00 -5",
            "03-10 03:00 -4",
            "03-10 04:00 -4"
        ]
    );
    assert_eq!(
        local(&hourly, "2024-11-03T04:00:00Z", 4),
        [
            "11-03 00:00 -4",
            "11-03 01:00 -4",
            "11-03 01:00 -5",
            "11-03 02:00 -5"
        ]
    );
}

#[test]
fn s2_line_50_cron_over_a_change_of_clocks() {
    let cron = |text: &str, from: &str, n: usize| local(&Schedule::cron(text, NEW_YORK).unwrap(), from, n);
    let (spring, autumn) = ("2024-03-10T05:00:00Z", "2024-11-03T04:00:00Z");
    for from in ["2024-03-09T05:00:00Z", "2024-11-02T04:00:00Z"] {
        assert!(
            cron("0 9 * * *", from, 3)
                .iter()
                .all(|date| date.contains(" 09:00 "))
        );
    }
    assert_eq!(
        cron("0 * * * *", spring, 4),
        [
            "03-10 00:00 -5",
            "03-10 01:00 -5",
            "03-10 03:00 -4",
            "03-10 04:00 -4"
        ]
    );
    assert_eq!(
        cron("0 * * * *", autumn, 3),
        ["11-03 00:00 -4", "11-03 01:00 -4", "11-03 02:00 -5"]
    );
    assert_eq!(
        cron("*/30 * * * *", "2024-11-03T05:00:00Z", 3),
        ["11-03 01:00 -4", "11-03 01:30 -4", "11-03 02:00 -5"]
    );
    assert_eq!(
        cron("30 1 * * *", autumn, 2),
        ["11-03 01:30 -4", "11-04 01:30 -5"]
    );
    assert_eq!(
        cron("30 2 * * *", spring, 2),
        ["03-10 03:30 -4", "03-11 02:30 -4"]
    );
    let day = |days, n| {
        let schedule = Schedule::cron_with_days("0 0 13 * 5", "UTC", days).unwrap();
        let dates = schedule.preview(at("2024-01-01T00:00:00Z"), n);
        let shown = dates.into_iter().map(|date| date.format("%Y-%m-%d").to_string());
        shown.collect::<Vec<_>>()
    };
    assert_eq!(
        day(DayMatch::Either, 4),
        ["2024-01-05", "2024-01-12", "2024-01-13", "2024-01-19"]
    );
    assert_eq!(day(DayMatch::Both, 3), ["2024-09-13", "2024-12-13", "2025-06-13"]);
}

#[test]
fn s2_line_50_s_recurrence_rules_over_a_change_of_clocks() {
    let rule = |text: &str, from: &str, n: usize| local(&Schedule::rrule(text, NEW_YORK).unwrap(), from, n);
    let daily = "DTSTART:20240101T090000\nRRULE:FREQ=DAILY";
    for from in ["2024-03-09T05:00:00Z", "2024-11-02T04:00:00Z"] {
        assert!(rule(daily, from, 3).iter().all(|date| date.contains(" 09:00 ")));
    }
    assert_eq!(
        rule(
            "DTSTART:20240101T000000\nRRULE:FREQ=HOURLY",
            "2024-11-03T05:00:00Z",
            2
        ),
        ["11-03 01:00 -4", "11-03 02:00 -5"]
    );
    // (S) the offset before the gap holds in it, as for cron; the reference fires an hour early.
    assert_eq!(
        rule(
            "DTSTART:20240101T023000\nRRULE:FREQ=DAILY",
            "2024-03-10T05:00:00Z",
            1
        ),
        ["03-10 03:30 -4"]
    );
    assert_eq!(
        rule(
            "DTSTART:20240101T013000\nRRULE:FREQ=DAILY",
            "2024-11-03T04:00:00Z",
            2
        ),
        ["11-03 01:30 -4", "11-04 01:30 -5"]
    );
}

#[test]
fn s3_lines_51_and_52_both_ends_are_included() {
    let hourly = Schedule::cron("0 * * * *", "UTC").unwrap();
    let one = at("2024-01-01T01:00:00Z");
    assert_eq!(hourly.next_at_or_after(one), Some(one));
    let micro = TimeDelta::microseconds(1);
    assert_eq!(
        hourly.next_at_or_after(one + micro),
        Some(one + TimeDelta::hours(1))
    );
    let three = one + TimeDelta::hours(2);
    assert_eq!(hourly.dates(None, one, Some(three)).len(), 3);
    assert_eq!(hourly.dates(None, one, Some(three - micro)).len(), 2);
}

#[test]
fn s1_lines_53_to_55_counts_exceptions_and_last_days() {
    let days = |schedule: &Schedule, from: &str, n: usize| -> Vec<String> {
        let dates = schedule.preview(at(from), n).into_iter();
        dates.map(|date| date.format("%m-%d").to_string()).collect()
    };
    let three = Schedule::rrule("DTSTART:20240101T000000\nRRULE:FREQ=DAILY;COUNT=3", "UTC").unwrap();
    assert_eq!(days(&three, "2024-01-02T00:00:00Z", 9), ["01-02", "01-03"]);
    let without = "DTSTART:20240101T000000\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE:20240102T000000";
    let without = Schedule::rrule(without, "UTC").unwrap();
    assert_eq!(
        days(&without, "2024-01-01T00:00:00Z", 9),
        ["01-01", "01-03", "01-04"]
    );
    let start = "2024-01-01T00:00:00Z";
    let cron = |text: &str, n| days(&Schedule::cron(text, "UTC").unwrap(), start, n);
    assert_eq!(cron("0 0 L * *", 3), ["01-31", "02-29", "03-31"]);
    assert_eq!(cron("0 0 * * 5#3", 2), ["01-19", "02-16"]);
    assert_eq!(cron("0 0 * * L5", 2), ["01-26", "02-23"]);
}
