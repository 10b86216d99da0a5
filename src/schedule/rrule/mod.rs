//! Recurrence rules: RFC 5545 texts, expanded by this crate.
//!
//! A text is one rule, or a set: any number of `RRULE`, `EXRULE`, `RDATE` and `EXDATE`, and one `DTSTART`, separated
//! by white space. Without `DTSTART` the rule begins at 2020-01-01T00:00:00. All digits are local times of the
//! schedule's zone, whatever `Z` or `TZID` says. Beyond the RFC, `EXRULE`, `BYEASTER`, `COUNT` together with `UNTIL`,
//! and times without seconds are read. A set whose `EXRULE`s take away a million dates in a row counts as ended there.

mod days;
mod parse;
mod rule;

use super::civil::{self, SECOND};
use super::error::{ScheduleError, ScheduleErrorKind};
use super::steps::step;
use rule::{Rule, RuleCursor};

/// Longest text, in characters.
pub const RRULE_LENGTH_MAX: usize = 6_500;
/// Most rules in a text, `EXRULE`s counted too.
const RULES_MAX: usize = 32;
/// Dates in a row that `EXRULE`s may take away before the set counts as ended: 11 days of seconds, 694 of minutes.
const EXCLUDED_MAX: u32 = 1_000_000;

/// A parsed text. Dates are seconds on the local clock, ascending.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Recurrence {
    pub(crate) text: Box<str>,
    /// The first `TZID` of the text.
    pub(crate) own_zone: Option<Box<str>>,
    rules: Vec<Rule>,
    dates: Vec<i64>,
    without_rules: Vec<Rule>,
    without_dates: Vec<i64>,
}

impl Recurrence {
    pub(crate) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let mut this = parse::parse(text)?;
        // A rule whose end lies before its start has ended; one that finds no time can never fire, and would be
        // searched again and again.
        let fires =
            |rule: &Rule| rule.until < rule.start || RuleCursor::new(rule, rule.start).peek().is_some();
        let ended = !this.rules.is_empty() && this.rules.iter().all(|rule| rule.until < rule.start);
        let all_fire = this.rules.iter().chain(&this.without_rules).all(fires);
        // A rule that an EXRULE repeats gives no date: it goes, instead of being walked to the end of the bound.
        let without = &this.without_rules;
        this.rules.retain(|rule| !without.contains(rule));
        if all_fire && (ended || SetCursor::new(&this, civil::FIRST).peek().is_some()) {
            return Ok(this);
        }
        Err(ScheduleError::new(
            ScheduleErrorKind::NeverFires,
            "rrule",
            text,
            "a rule matches no time up to the year 9999, or none was found within the step bound",
            "FREQ=WEEKLY;BYDAY=MO,FR",
        ))
    }
}

/// Walks the local times of a set. Forward only.
#[derive(Clone, Debug)]
pub(crate) struct SetCursor<'a> {
    set: &'a Recurrence,
    rules: Vec<RuleCursor<'a>>,
    /// Index of the next of the single dates.
    date: usize,
    without: Vec<RuleCursor<'a>>,
    next: Option<i64>,
}

impl<'a> SetCursor<'a> {
    /// A cursor at the first local time (in microseconds) not before `from`.
    pub(crate) fn new(set: &'a Recurrence, from: i64) -> Self {
        let from = ceil_second(from);
        let at = |rules: &'a [Rule]| rules.iter().map(|rule| RuleCursor::new(rule, from)).collect();
        let mut cursor = Self {
            set,
            rules: at(&set.rules),
            date: set.dates.partition_point(|&date| date < from),
            without: at(&set.without_rules),
            next: None,
        };
        cursor.settle();
        cursor
    }

    pub(crate) fn peek(&self) -> Option<i64> {
        self.next.map(|next| next * SECOND)
    }

    pub(crate) fn advance_to(&mut self, from: i64) {
        let from = ceil_second(from);
        if self.next.is_some_and(|next| next < from) {
            self.rules.iter_mut().for_each(|rule| rule.advance_to(from));
            self.date += self.set.dates[self.date..].partition_point(|&date| date < from);
            self.settle();
        }
    }

    pub(crate) fn advance(&mut self) {
        if let Some(at) = self.next {
            self.pass(at);
            self.settle();
        }
    }

    /// Moves every part beyond `at`.
    fn pass(&mut self, at: i64) {
        for rule in &mut self.rules {
            if rule.peek() == Some(at) {
                rule.advance();
            }
        }
        if self.set.dates.get(self.date) == Some(&at) {
            self.date += 1;
        }
    }

    /// Finds the first time from the present places on that nothing takes away.
    fn settle(&mut self) {
        self.next = None;
        for _ in 0..EXCLUDED_MAX {
            step();
            let single = self.set.dates.get(self.date).copied();
            let Some(at) = self.rules.iter().filter_map(RuleCursor::peek).chain(single).min() else {
                return;
            };
            if !self.takes_away(at) {
                self.next = Some(at);
                return;
            }
            self.pass(at);
        }
    }

    fn takes_away(&mut self, at: i64) -> bool {
        self.set.without_dates.binary_search(&at).is_ok()
            || self.without.iter_mut().any(|rule| {
                rule.advance_to(at);
                rule.peek() == Some(at)
            })
    }
}

fn ceil_second(local: i64) -> i64 {
    local.div_euclid(SECOND) + i64::from(local.rem_euclid(SECOND) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, from: &str, n: usize) -> Vec<String> {
        let set = Recurrence::parse(text).unwrap();
        let mut cursor = SetCursor::new(&set, civil::local_of(from.parse().unwrap()));
        let mut out = Vec::new();
        while let Some(next) = cursor.peek().filter(|_| out.len() < n) {
            out.push(civil::naive_of(next).format("%F %T").to_string());
            cursor.advance();
        }
        out
    }

    #[test]
    fn positions_count_in_the_whole_first_week() {
        assert_eq!(
            times(
                "DTSTART:20230104T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1",
                "2023-01-01T00:00:00",
                2
            ),
            ["2023-01-09 09:00:00", "2023-01-16 09:00:00"]
        );
    }

    #[test]
    fn a_far_minutely_rule_keeps_its_phase() {
        let text = "DTSTART:20200101T000000\nRRULE:FREQ=MINUTELY;INTERVAL=7;BYHOUR=3;BYDAY=SU";
        let all = times(text, "2020-01-01T00:00:00", 5_000);
        let late = times(text, "2025-03-01T00:00:00", 5);
        let at = all.iter().position(|time| *time == late[0]).unwrap();
        assert_eq!(all[at..at + 5], late[..]);
        assert!(all[at - 1].as_str() < "2025-03-01");
    }

    #[test]
    fn seeking_is_the_same_as_walking() {
        for text in [
            "DTSTART:20200131T235959 RRULE:FREQ=MONTHLY;INTERVAL=5;BYHOUR=3,9;BYDAY=MO,-1FR,2TU",
            "RRULE:FREQ=YEARLY;INTERVAL=2;BYWEEKNO=1,-1;BYDAY=MO,SU",
            "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU,WE;WKST=SU;BYMINUTE=5,55;BYSETPOS=1,-1,3",
            "FREQ=DAILY;INTERVAL=11;BYMONTH=2,3;BYHOUR=1,5;BYSETPOS=-1",
            "DTSTART:20200101T002000 FREQ=HOURLY;INTERVAL=25;BYDAY=MO;BYSECOND=1,2",
            "FREQ=SECONDLY;INTERVAL=7919;BYMINUTE=7 RDATE:20210101T000000 EXRULE:FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=1,2",
            "FREQ=DAILY;COUNT=900 EXDATE:20200103T000000",
        ] {
            let set = Recurrence::parse(text).unwrap();
            let mut walker = SetCursor::new(&set, civil::FIRST);
            for _ in 0..400 {
                let at = walker.peek().unwrap();
                for from in [at, at - 1, at - SECOND + 1] {
                    assert_eq!(SetCursor::new(&set, from).peek(), Some(at), "{text}");
                }
                walker.advance();
                assert_eq!(SetCursor::new(&set, at + 1).peek(), walker.peek(), "{text}");
            }
        }
    }

    #[test]
    fn a_rule_that_an_exrule_repeats_gives_nothing_and_costs_nothing() {
        for text in [
            "FREQ=SECONDLY RDATE:20300101T000000 EXRULE:FREQ=SECONDLY;UNTIL=20290101T000000 EXRULE:INTERVAL=1;FREQ=SECONDLY",
            "RRULE:FREQ=SECONDLY RRULE:FREQ=YEARLY;BYMONTH=1 EXRULE:FREQ=SECONDLY;BYMONTH=2 EXRULE:FREQ=SECONDLY",
        ] {
            let set = Recurrence::parse(text);
            assert!(set.is_err(), "the EXRULE takes the other dates too: {text}");
        }
        let text = "FREQ=SECONDLY RRULE:FREQ=SECONDLY;BYSECOND=7 EXRULE:FREQ=SECONDLY;BYSECOND=7";
        assert_eq!(
            times(text, "2020-01-01T00:00:06", 2),
            ["2020-01-01 00:00:06", "2020-01-01 00:00:08"]
        );
    }

    #[test]
    fn s5_an_ended_rule_is_valid_and_one_that_never_fires_is_refused() {
        let ended =
            Recurrence::parse("DTSTART:20200101T000000 RRULE:FREQ=DAILY;UNTIL=20190101T000000").unwrap();
        assert_eq!(SetCursor::new(&ended, civil::FIRST).peek(), None);
        for text in [
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=SECONDLY;BYYEARDAY=366;BYMONTH=1",
            "FREQ=DAILY;BYSETPOS=2",
            "FREQ=SECONDLY;INTERVAL=120;BYMINUTE=1,3,5",
            "FREQ=DAILY EXRULE:FREQ=DAILY",
        ] {
            let error = Recurrence::parse(text).unwrap_err();
            assert_eq!(error.kind(), ScheduleErrorKind::NeverFires, "{text}");
        }
    }
}
