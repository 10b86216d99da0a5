//! Random schedules: against the `cron` and `rrule` crates where those are right, and against themselves.

#![expect(clippy::unwrap_used, reason = "a test panics when it is wrong")]

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestRunner;
use tenfold::schedule::{DayMatch, Exclusion, Schedule, ScheduleErrorKind};

const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "America/St_Johns",
    "Pacific/Apia",
];

fn cases(few: u32) -> ProptestConfig {
    let many = std::env::var_os("TENFOLD_DEEP").is_some_and(|deep| deep != "0");
    ProptestConfig::with_cases(if many { few * 40 } else { few })
}

/// A field of a cron text as the set of its values. `None`: `*`.
type Values = Option<BTreeSet<u32>>;

fn values(min: u32, max: u32) -> BoxedStrategy<Values> {
    let all: Vec<u32> = (min..=max).collect();
    let most = all.len().min(6);
    prop_oneof![
        1 => Just(None),
        2 => subsequence(all, 1..=most).prop_map(|values| Some(values.into_iter().collect())),
    ]
    .boxed()
}

/// A restriction of the day of week.
#[derive(Clone, Debug)]
enum Weekdays {
    Plain(Values),
    Nth(u32, u32),
    Last(u32),
}

/// One date condition of the other crate: days, weekdays (1 = Sunday), and what is left to filter.
type Term = (String, String, Filter);

/// What that crate cannot say about a day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Filter {
    Any,
    LastOfMonth,
    LastWeek,
}

impl Filter {
    fn passes(self, date: NaiveDate) -> bool {
        match self {
            Self::Any => true,
            Self::LastOfMonth => (date + TimeDelta::days(1)).day() == 1,
            Self::LastWeek => (date + TimeDelta::days(7)).month() != date.month(),
        }
    }
}

#[derive(Clone, Debug)]
struct Expression {
    second: Values,
    minute: Values,
    hour: Values,
    /// `None` in the set stands for `L`.
    day: Values,
    last_day: bool,
    month: Values,
    weekday: Weekdays,
    days: DayMatch,
}

fn expression() -> impl Strategy<Value = Expression> {
    let weekday = prop_oneof![
        4 => values(0, 6).prop_map(Weekdays::Plain),
        1 => (0..7u32, 1..6u32).prop_map(|(day, nth)| Weekdays::Nth(day, nth)),
        1 => (0..7u32).prop_map(Weekdays::Last),
    ];
    let clock = (values(0, 59), values(0, 59), values(0, 23));
    let days = (values(1, 31), any::<bool>(), values(1, 12), weekday);
    (clock, days, select(vec![DayMatch::Either, DayMatch::Both])).prop_map(
        |((second, minute, hour), (day, last_day, month, weekday), days)| Expression {
            // Seconds as a rule one a minute, else every search is about seconds.
            second: second.map(|set| set.into_iter().take(1).collect()),
            minute,
            hour,
            last_day: last_day && day.is_some(),
            day,
            month,
            weekday,
            days,
        },
    )
}

fn list(values: &Values, shift: u32) -> String {
    values.as_ref().map_or_else(
        || "*".to_owned(),
        |set| {
            set.iter()
                .map(|value| (value + shift).to_string())
                .collect::<Vec<_>>()
                .join(",")
        },
    )
}

impl Expression {
    fn ours(&self) -> String {
        let mut day = list(&self.day, 0);
        if self.last_day {
            day.push_str(",L");
        }
        let weekday = match &self.weekday {
            Weekdays::Plain(values) => list(values, 0),
            Weekdays::Nth(day, nth) => format!("{day}#{nth}"),
            Weekdays::Last(day) => format!("L{day}"),
        };
        format!(
            "{} {} {day} {} {weekday} {}",
            list(&self.minute, 0),
            list(&self.hour, 0),
            list(&self.month, 0),
            list(&self.second, 0)
        )
    }

    fn terms(&self) -> Vec<Term> {
        let any = "*".to_owned();
        let mut dates = vec![(list(&self.day, 0), Filter::Any)];
        if self.last_day {
            dates.push(("28,29,30,31".to_owned(), Filter::LastOfMonth));
        }
        // (days, weekdays, filter) of the weekday field.
        let weekday = match &self.weekday {
            Weekdays::Plain(values) => (any.clone(), list(values, 1), Filter::Any),
            Weekdays::Nth(day, nth) => {
                let days = (7 * nth - 6..=(7 * nth).min(31))
                    .map(|day| day.to_string())
                    .collect::<Vec<_>>();
                (days.join(","), (day + 1).to_string(), Filter::Any)
            }
            Weekdays::Last(day) => (
                (22..=31)
                    .map(|d: u32| d.to_string())
                    .collect::<Vec<_>>()
                    .join(","),
                (day + 1).to_string(),
                Filter::LastWeek,
            ),
        };
        let weekday_star = matches!(self.weekday, Weekdays::Plain(None));
        if self.day.is_none() {
            vec![weekday]
        } else if weekday_star {
            dates
                .into_iter()
                .map(|(days, filter)| (days, any.clone(), filter))
                .collect()
        } else if self.days == DayMatch::Either {
            let mut terms: Vec<_> = dates
                .into_iter()
                .map(|(days, filter)| (days, any.clone(), filter))
                .collect();
            terms.push(weekday);
            terms
        } else {
            // Every pair: the days of both sides, as sets.
            dates
                .into_iter()
                .filter_map(|(days, filter)| {
                    let both = intersection(&days, &weekday.0)?;
                    // The last day of a month is in its last week.
                    let pair = if filter == Filter::Any { weekday.2 } else { filter };
                    Some((both, weekday.1.clone(), pair))
                })
                .collect()
        }
    }

    /// What the other crate says, term by term on a bare clock: the first `n` times not before `from`.
    fn theirs(&self, from: DateTime<Utc>, n: usize) -> Vec<DateTime<Utc>> {
        let mut all = BTreeSet::new();
        for (days, weekdays, filter) in self.terms() {
            let text = format!(
                "{} {} {} {days} {} {weekdays} *",
                list(&self.second, 0),
                list(&self.minute, 0),
                list(&self.hour, 0),
                list(&self.month, 0)
            );
            let schedule = cron::Schedule::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let before = from - TimeDelta::seconds(1);
            all.extend(
                schedule
                    .after(&before)
                    .take_while(|at| at.year() < 2060)
                    .filter(|at| filter.passes(at.date_naive()))
                    .take(n),
            );
        }
        all.into_iter().take(n).collect()
    }
}

fn intersection(a: &str, b: &str) -> Option<String> {
    let set = |text: &str| -> BTreeSet<u32> {
        if text == "*" {
            (1..=31).collect()
        } else {
            text.split(',').map(|day| day.parse().unwrap()).collect()
        }
    };
    let both: Vec<String> = set(a).intersection(&set(b)).map(ToString::to_string).collect();
    (!both.is_empty()).then(|| both.join(","))
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    // 1995 to 2045.
    (
        788_918_400i64..2_366_841_600,
        prop_oneof![Just(0u32), 0..1_000_000_000u32],
    )
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn s1_cron_agrees_with_the_cron_crate_term_by_term(expression in expression(), from in instant()) {
        let from = DateTime::from_timestamp(from.timestamp(), 0).unwrap();
        let theirs = expression.theirs(from, 40);
        match Schedule::cron_with_days(&expression.ours(), "UTC", expression.days) {
            Ok(schedule) => {
                let end: DateTime<Utc> = "2060-01-01T00:00:00Z".parse().unwrap();
                let ours: Vec<_> = schedule.occurrences(from..end).take(40).collect();
                prop_assert_eq!(ours, theirs, "{}", expression.ours());
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ScheduleErrorKind::NeverFires);
                prop_assert!(theirs.is_empty(), "{}", expression.ours());
            }
        }
    }
}

/// A rule of the kinds that the other crate gets right: daily and slower, weekdays plain or ordinal but not both,
/// positions only where the first period is whole.
fn rule() -> impl Strategy<Value = String> {
    let numbers = |min: i32, max: i32, most: usize| {
        subsequence((min..=max).filter(|n| *n != 0).collect::<Vec<_>>(), 1..=most)
            .prop_map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    };
    let weekdays = subsequence(vec!["MO", "TU", "WE", "TH", "FR", "SA", "SU"], 1..=3);
    let part = |name: &'static str, values: BoxedStrategy<String>, chance: f64| {
        prop::option::weighted(chance, values)
            .prop_map(move |values| values.map_or_else(String::new, |values| format!(";{name}={values}")))
    };
    (
        select(vec!["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]),
        1..5u32,
        part("BYMONTH", numbers(1, 12, 4).boxed(), 0.3),
        part("BYMONTHDAY", numbers(-31, 31, 4).boxed(), 0.3),
        prop::option::weighted(
            0.5,
            (
                weekdays,
                prop::option::weighted(0.3, select(vec![-4, -3, -2, -1, 1, 2, 3, 4])),
            ),
        ),
        part("BYHOUR", numbers(1, 23, 3).boxed(), 0.3),
        part("BYMINUTE", numbers(1, 59, 3).boxed(), 0.3),
        prop::option::weighted(0.3, 1..30u32),
        prop::option::weighted(0.2, select(vec!["1", "-1", "2", "1,-1"])),
        (0..9_000i64, 0..86_400i64),
    )
        .prop_map(
            |(frequency, interval, month, month_day, weekdays, hour, minute, count, position, start)| {
                let start = DateTime::from_timestamp(978_307_200 + start.0 * 86_400 + start.1, 0).unwrap();
                let mut rule = format!(
                    "DTSTART:{}Z\nRRULE:FREQ={frequency};INTERVAL={interval}",
                    start.format("%Y%m%dT%H%M%S")
                );
                rule += &month;
                let mut named = !month.is_empty();
                if frequency != "WEEKLY" {
                    rule += &month_day;
                    named |= !month_day.is_empty();
                }
                if let Some((weekdays, nth)) = weekdays {
                    let nth = nth.filter(|_| frequency == "MONTHLY" || frequency == "YEARLY");
                    let nth = nth.map_or_else(String::new, |nth| nth.to_string());
                    let days: Vec<String> = weekdays.iter().map(|day| format!("{nth}{day}")).collect();
                    rule = format!("{rule};BYDAY={}", days.join(","));
                    named = true;
                }
                rule = rule + &hour + &minute;
                if let (Some(position), true, "YEARLY" | "MONTHLY") = (position, named, frequency) {
                    rule = format!("{rule};BYSETPOS={position}");
                }
                if let Some(count) = count {
                    rule = format!("{rule};COUNT={count}");
                }
                rule
            },
        )
}

#[test]
fn s1_rules_agree_with_the_rrule_crate() {
    let compared = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(cases(300));
    let done = runner.run(&rule(), |text| {
        let Ok(theirs) = text.parse::<rrule::RRuleSet>() else {
            return Ok(()); // It refuses some legal rules.
        };
        let theirs = theirs.all(60);
        let dates: Vec<DateTime<Utc>> = theirs.dates.iter().map(DateTime::to_utc).collect();
        match Schedule::rrule(&text, "UTC") {
            Ok(schedule) => {
                let ours: Vec<_> = schedule.occurrences(..).take(60).collect();
                // It gives up after a number of periods, so its dates may be fewer than there are.
                let gave_up = dates.len() < 60 && !text.contains("COUNT");
                let n = if gave_up { dates.len().min(ours.len()) } else { 60 };
                prop_assert_eq!(
                    &ours[..n.min(ours.len())],
                    &dates[..n.min(dates.len())],
                    "{}",
                    text
                );
                compared.set(compared.get() + 1);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ScheduleErrorKind::NeverFires);
                prop_assert!(dates.is_empty(), "{}", text);
            }
        }
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        compared.get() > 200,
        "only {} rules were compared",
        compared.get()
    );
}

/// Any schedule, with any settings.
fn schedule() -> impl Strategy<Value = Schedule> {
    let zone = || select(ZONES.to_vec());
    let cron = (expression(), zone()).prop_filter_map("never fires", |(it, zone)| {
        Schedule::cron_with_days(&it.ours(), zone, it.days).ok()
    });
    let interval = (
        prop_oneof![
            (1i64..200_000).prop_map(TimeDelta::seconds),
            (1i64..90).prop_map(|half_days| TimeDelta::hours(12) * i32::try_from(half_days).unwrap()),
            (1i64..400_000_000_000).prop_map(TimeDelta::microseconds),
        ],
        instant(),
        zone(),
    )
        .prop_map(|(every, anchor, zone)| Schedule::interval(every, anchor, zone).unwrap());
    let hours = (select(vec!["HOURLY", "MINUTELY"]), 1..200u32, zone()).prop_filter_map(
        "never fires",
        |(frequency, interval, zone)| {
            // Every 84th hour, for instance, may never fall on one of these days.
            Schedule::rrule(
                &format!("FREQ={frequency};INTERVAL={interval};BYDAY=SU,MO,TU"),
                zone,
            )
            .ok()
        },
    );
    let rule =
        (rule(), zone()).prop_filter_map("never fires", |(text, zone)| Schedule::rrule(&text, zone).ok());
    let theirs = zone().prop_map(|zone| Schedule::cron_crate("0 */20 1-4 * * Sun,Mon", zone).unwrap());
    let one = prop_oneof![3 => cron, 3 => interval, 1 => hours, 2 => rule, 1 => theirs].boxed();
    let union =
        prop::collection::vec(one.clone(), 1..4).prop_map(|members| Schedule::union(members).unwrap());
    let bounds = prop::option::weighted(0.3, (instant(), 1i64..4_000));
    let days = prop::option::weighted(0.3, prop::collection::vec((0..7_000i64, 1..5i64), 1..40));
    let jitter = prop::option::weighted(0.3, (0u64..100_000, any::<u64>()));
    (prop_oneof![5 => one, 1 => union], bounds, days, jitter).prop_filter_map(
        "nothing is left",
        |(mut schedule, bounds, days, jitter)| {
            if let Some((start, days)) = bounds {
                schedule = schedule.within(start..start + TimeDelta::days(days)).ok()?;
            }
            if let Some(days) = days {
                let first = NaiveDate::from_ymd_opt(2020, 1, 1).unwrap();
                let days = days.into_iter().flat_map(|(ahead, run)| {
                    (0..run).map(move |day| Exclusion::Day(first + TimeDelta::days(ahead + day)))
                });
                let some = schedule.preview("2021-01-01T00:00:00Z".parse().unwrap(), 3);
                let some = some.into_iter().take(2).map(Exclusion::Instant);
                schedule = schedule.without(days.chain(some)).ok()?;
            }
            if let Some((max, seed)) = jitter {
                schedule = schedule.with_jitter(Duration::from_millis(max), seed).ok()?;
            }
            Some(schedule)
        },
    )
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn s3_asking_in_pieces_is_asking_at_once(schedule in schedule(), from in instant(), cuts in prop::collection::vec(0..30_000_000i64, 0..6)) {
        let mut whole: Vec<_> = schedule.occurrences(from..).take(60).collect();
        prop_assert!(whole.windows(2).all(|pair| pair[0] < pair[1]), "strictly increasing");
        prop_assert!(whole.iter().all(|at| *at >= from));
        let last = whole.last().copied().unwrap_or(from);
        // At chosen instants, and just before, at and just after every date.
        let micro = TimeDelta::microseconds(1);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| from + TimeDelta::seconds(cut)).collect();
        cuts.extend(whole.iter().flat_map(|at| [*at - micro, *at, *at + micro]).filter(|at| *at > from));
        cuts.retain(|cut| *cut <= last);
        cuts.sort();
        let mut pieces = Vec::new();
        let mut begin = from;
        for cut in cuts {
            pieces.extend(schedule.occurrences(begin..cut));
            begin = cut;
        }
        pieces.extend(schedule.occurrences(begin..=last));
        whole.retain(|at| *at <= last);
        prop_assert_eq!(&pieces, &whole, "{}", schedule);
        // One at a time, as an engine asks.
        let mut at = from;
        for expected in whole.iter().take(20) {
            let next = schedule.next_at_or_after(at);
            prop_assert_eq!(next, Some(*expected));
            prop_assert_eq!(schedule.next_after(*expected - micro), Some(*expected));
            at = *expected + micro;
        }
        prop_assert_eq!(schedule.preview(from, whole.len()), whole);
    }

    #[test]
    fn s3_json_gives_back_the_same_schedule(schedule in schedule(), from in instant()) {
        let json = serde_json::to_string(&schedule).unwrap();
        let back: Schedule = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back.preview(from, 10), schedule.preview(from, 10), "{}", json);
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
        prop_assert_eq!(&back, &schedule);
    }

    #[test]
    fn s5_any_text_is_answered(text in "[-0-9*,/?LlRrHh#@a-jA-J ]{0,40}", json in "[{}\\[\\]\":,a-z0-9 .-]{0,60}") {
        let _ = Schedule::cron(&text, "UTC").map(|schedule| schedule.preview(DateTime::UNIX_EPOCH, 3));
        let _ = Schedule::rrule(&text, "UTC");
        let _ = Schedule::cron_crate(&text, &text);
        let _ = serde_json::from_str::<Schedule>(&json);
    }
}
