//! The local times at which a cron text fires, in order.

use super::super::civil::{self, DAY, LAST_YEAR, SECOND};
use super::super::steps::step;
use super::Cron;

const HOUR: i64 = 3_600 * SECOND;
const MINUTE: i64 = 60 * SECOND;

/// Walks the local times of a cron text. Forward only.
///
/// Each set below holds what is still to come in its enclosing unit, so that a step is mostly one bit scan.
#[derive(Clone, Debug)]
pub(crate) struct CronCursor<'a> {
    cron: &'a Cron,
    /// The next local time. `None`: there is none up to the year 9999.
    next: Option<i64>,
    year: i32,
    month: u32,
    /// Local midnight of day 0 of the month, so that day `n` begins `n` days later.
    month_base: i64,
    days: u32,
    day_base: i64,
    hours: u32,
    hour_base: i64,
    minutes: u64,
    minute_base: i64,
    seconds: u64,
}

impl<'a> CronCursor<'a> {
    /// A cursor at the first local time not before `from`.
    pub(crate) fn new(cron: &'a Cron, from: i64) -> Self {
        let mut cursor = Self {
            cron,
            next: None,
            year: 0,
            month: 0,
            month_base: 0,
            days: 0,
            day_base: 0,
            hours: 0,
            hour_base: 0,
            minutes: 0,
            minute_base: 0,
            seconds: 0,
        };
        cursor.seek(from);
        cursor
    }

    pub(crate) fn peek(&self) -> Option<i64> {
        self.next
    }

    /// Moves on to the first local time not before `from`; never back.
    pub(crate) fn advance_to(&mut self, from: i64) {
        if self.next.is_some_and(|next| next < from) {
            self.seek(from);
        }
    }

    /// Moves on to the next local time.
    pub(crate) fn advance(&mut self) {
        self.next = self.find();
    }

    fn seek(&mut self, from: i64) {
        // Whole seconds, rounded up.
        let from = from.max(civil::FIRST);
        let from = from.div_euclid(SECOND) + i64::from(from.rem_euclid(SECOND) != 0);
        if from > civil::LAST / SECOND {
            self.next = None;
            return;
        }
        let (day, second) = (from.div_euclid(86_400), from.rem_euclid(86_400));
        let (year, month, date) = civil::civil_of(day);
        self.enter_month(year, month);
        self.days &= u32::MAX << date;
        // Inside the month, day, hour and minute of `from` only what is not before it remains.
        if self.enter_day_at(date) {
            let hour = second / 3_600;
            self.hours &= u32::MAX << hour;
            if self.hours & 1 << hour != 0 {
                self.enter_hour();
                let minute = second / 60 % 60;
                self.minutes &= u64::MAX << minute;
                if self.minutes & 1 << minute != 0 {
                    self.enter_minute();
                    self.seconds &= u64::MAX << (second % 60);
                }
            }
        }
        self.next = self.find();
    }

    fn find(&mut self) -> Option<i64> {
        loop {
            step();
            if self.seconds != 0 {
                let second = i64::from(self.seconds.trailing_zeros());
                self.seconds &= self.seconds - 1;
                return Some(self.minute_base + second * SECOND);
            }
            if self.minutes != 0 {
                self.enter_minute();
            } else if self.hours != 0 {
                self.enter_hour();
            } else if self.days != 0 {
                self.enter_day();
            } else if !self.next_month() {
                return None;
            }
        }
    }

    fn enter_minute(&mut self) {
        let minute = i64::from(self.minutes.trailing_zeros());
        self.minutes &= self.minutes - 1;
        self.minute_base = self.hour_base + minute * MINUTE;
        self.seconds = self.cron.seconds;
    }

    fn enter_hour(&mut self) {
        let hour = i64::from(self.hours.trailing_zeros());
        self.hours &= self.hours - 1;
        self.hour_base = self.day_base + hour * HOUR;
        self.minutes = self.cron.minutes;
    }

    fn enter_day(&mut self) {
        let day = i64::from(self.days.trailing_zeros());
        self.days &= self.days - 1;
        self.day_base = self.month_base + day * DAY;
        self.hours = self.cron.hours;
    }

    /// Enters the next matching day; whether that is `date`.
    fn enter_day_at(&mut self, date: u32) -> bool {
        (self.hours, self.minutes, self.seconds) = (0, 0, 0);
        let there = self.days & 1 << date != 0;
        if there {
            self.enter_day();
        }
        there
    }

    fn enter_month(&mut self, year: i32, month: u32) {
        (self.year, self.month) = (year, month);
        let first = civil::days_of(year, month, 1);
        self.month_base = (first - 1) * DAY;
        self.days = self.cron.days_of_month(year, month, first);
    }

    /// Enters the next month that may match. False after the last year.
    fn next_month(&mut self) -> bool {
        let next = self.cron.month_after(self.year, self.month);
        if let Some((year, month)) = next {
            self.enter_month(year, month);
        }
        next.is_some()
    }
}

impl Cron {
    /// The first local time not before `from`: what a new cursor stands at, without making one.
    pub(crate) fn first_from(&self, from: i64) -> Option<i64> {
        let from = from.max(civil::FIRST);
        let from = from.div_euclid(SECOND) + i64::from(from.rem_euclid(SECOND) != 0);
        if from > civil::LAST / SECOND {
            return None;
        }
        let (day, time) = (from.div_euclid(86_400), from.rem_euclid(86_400));
        if self.every_day {
            let at = match self.time_from(time) {
                Some(time) => day * 86_400 + time,
                None => (day + 1) * 86_400 + self.time_from(0)?,
            };
            return (at <= civil::LAST / SECOND).then_some(at * SECOND);
        }
        let (mut year, mut month, date) = civil::civil_of(day);
        let mut first = day - i64::from(date) + 1;
        let mut days = self.days_of_month(year, month, first) & (u32::MAX << date);
        if days & 1 << date != 0 {
            if let Some(time) = self.time_from(time) {
                return Some((day * 86_400 + time) * SECOND);
            }
            days &= days - 1;
        }
        while days == 0 {
            (year, month) = self.month_after(year, month)?;
            first = civil::days_of(year, month, 1);
            days = self.days_of_month(year, month, first);
        }
        let midnight = (first + i64::from(days.trailing_zeros()) - 1) * 86_400;
        self.time_from(0).map(|time| (midnight + time) * SECOND)
    }

    /// The first second of a day, not before `time`, that matches.
    fn time_from(&self, time: i64) -> Option<i64> {
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        let first_of = |hour: i64, minutes: u64, seconds: u64| {
            hour * 3_600 + i64::from(minutes.trailing_zeros()) * 60 + i64::from(seconds.trailing_zeros())
        };
        if self.hours & 1 << hour != 0 {
            let seconds = self.seconds & (u64::MAX << second);
            if self.minutes & 1 << minute != 0 && seconds != 0 {
                return Some(first_of(hour, 1 << minute, seconds));
            }
            let minutes = self.minutes & (u64::MAX << 1 << minute);
            if minutes != 0 {
                return Some(first_of(hour, minutes, self.seconds));
            }
        }
        let hours = self.hours & (u32::MAX << 1 << hour);
        (hours != 0).then(|| first_of(i64::from(hours.trailing_zeros()), self.minutes, self.seconds))
    }

    /// The next month that may match. `None` after the last year.
    fn month_after(&self, year: i32, month: u32) -> Option<(i32, u32)> {
        let later = u32::from(self.months) & (u32::MAX << 1 << month);
        if later != 0 {
            return Some((year, later.trailing_zeros()));
        }
        let last = if self.years.is_some() { 2099 } else { LAST_YEAR };
        let year = (year + 1..=last).find(|&year| self.has_year(year))?;
        Some((year, u32::from(self.months).trailing_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::DayMatch;
    use super::*;

    fn times(text: &str, day_match: DayMatch, from: &str, n: usize) -> Vec<String> {
        let cron = Cron::parse(text, day_match).unwrap();
        let from = civil::local_of(from.parse().unwrap());
        let mut cursor = CronCursor::new(&cron, from);
        let mut out = Vec::new();
        while let Some(next) = cursor.peek().filter(|_| out.len() < n) {
            out.push(civil::naive_of(next).format("%F %T").to_string());
            cursor.advance();
        }
        out
    }

    #[test]
    fn friday_the_thirteenth() {
        assert_eq!(
            times("0 0 13 * 5", DayMatch::Both, "2024-01-01T00:00:00", 2),
            ["2024-09-13 00:00:00", "2024-12-13 00:00:00"]
        );
        assert_eq!(
            times("0 0 13 * 5", DayMatch::Either, "2024-01-01T00:00:00", 3),
            [
                "2024-01-05 00:00:00",
                "2024-01-12 00:00:00",
                "2024-01-13 00:00:00"
            ]
        );
    }

    #[test]
    fn rare_days_are_found_and_time_ends_in_9999() {
        assert_eq!(
            times("0 0 29 2 1", DayMatch::Both, "2096-03-01T00:00:00", 1),
            ["2112-02-29 00:00:00"]
        );
        assert_eq!(
            times("59 23 31 12 *", DayMatch::Either, "9998-12-31T23:59:00.5", 9),
            ["9999-12-31 23:59:00"]
        );
        assert!(times("0 0 1 1 * 0 2020", DayMatch::Either, "2020-01-01T00:00:01", 1).is_empty());
    }

    #[test]
    fn seeking_is_the_same_as_walking() {
        for text in [
            "*/7 3,22 10-20 * fri 5,50",
            "0 0 L * *",
            "1-59/13 * * * L5",
            "30 12 29 2 *",
        ] {
            let cron = Cron::parse(text, DayMatch::Either).unwrap();
            let mut walker = CronCursor::new(&cron, 0);
            for _ in 0..500 {
                let at = walker.peek().unwrap();
                for from in [at, at - 1, at - SECOND + 1] {
                    assert_eq!(CronCursor::new(&cron, from).peek(), Some(at), "{text}");
                    assert_eq!(cron.first_from(from), Some(at), "{text}");
                }
                walker.advance();
                assert_eq!(CronCursor::new(&cron, at + 1).peek(), walker.peek(), "{text}");
            }
        }
    }
}
