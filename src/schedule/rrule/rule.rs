//! One recurrence rule, expanded period by period.
//!
//! A rule jumps straight to the period it is asked for. `COUNT` is turned into an end when the rule is made, so
//! that no later search counts from the beginning.
//!
//! Yearly, monthly and weekly rules collect the days of a period, then pair them with the times of a day. Daily
//! rules collect a month at a time. Hourly and faster rules step from candidate to candidate, keeping the phase of
//! `INTERVAL`, and skip days, hours and minutes that cannot match.

use super::super::civil::{self, LAST_YEAR};
use super::super::steps::step;
use super::days::DayFilter;

/// Steps without a result after which an hourly or faster rule counts as ended.
const STEPS_MAX: u32 = 200_000;
/// Seconds since 1970 after which there is no local time.
const LAST_SECOND: i64 = civil::LAST / civil::SECOND;

/// How often a rule repeats, from the longest period.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Frequency {
    Yearly,
    Monthly,
    Weekly,
    Daily,
    Hourly,
    Minutely,
    Secondly,
}

impl Frequency {
    /// Seconds of the unit that times are added to: a day, or the period itself when it is shorter.
    const fn unit(self) -> i64 {
        match self {
            Self::Yearly | Self::Monthly | Self::Weekly | Self::Daily => 86_400,
            Self::Hourly => 3_600,
            Self::Minutely => 60,
            Self::Secondly => 1,
        }
    }
}

/// A rule, ready to be expanded. Times are seconds on the local clock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) frequency: Frequency,
    /// Periods from one to the next, at least 1.
    pub(super) interval: i64,
    pub(super) start: i64,
    /// The last second that may fire.
    pub(super) until: i64,
    pub(super) days: DayFilter,
    /// Hours and minutes and seconds that may fire, where they filter; full where they expand.
    pub(super) hours: u32,
    pub(super) minutes: u64,
    pub(super) seconds: u64,
    pub(super) times: Times,
    /// `BYSETPOS` for yearly, monthly and weekly rules; shorter ones have it in `times`.
    pub(super) positions: Vec<i32>,
}

/// The times inside a unit, ascending, as seconds from its start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Times {
    pub(super) hours: Vec<u8>,
    pub(super) minutes: Vec<u8>,
    pub(super) seconds: Vec<u8>,
    /// Indexes that `BYSETPOS` picks, ascending. `None`: all.
    pub(super) picked: Option<Vec<usize>>,
}

impl Times {
    /// How many there are before `BYSETPOS`.
    pub(super) fn full(&self) -> usize {
        self.hours.len() * self.minutes.len() * self.seconds.len()
    }

    fn len(&self) -> usize {
        self.picked.as_ref().map_or_else(|| self.full(), Vec::len)
    }

    fn at(&self, index: usize) -> i64 {
        let index = self.picked.as_ref().map_or(index, |picked| picked[index]);
        let (seconds, minutes) = (self.seconds.len(), self.minutes.len());
        i64::from(self.hours[index / (seconds * minutes)]) * 3_600
            + i64::from(self.minutes[index / seconds % minutes]) * 60
            + i64::from(self.seconds[index % seconds])
    }

    /// The index of the first time that is not before `time`.
    fn first_from(&self, time: i64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.at(middle) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The zero-based indexes that positions (from the end when negative) pick among `len` members, ascending, each once.
pub(super) fn pick(positions: &[i32], len: usize) -> Vec<usize> {
    let mut picked: Vec<usize> = positions
        .iter()
        .filter_map(|&position| {
            let distance = usize::try_from(position.unsigned_abs()).ok()?;
            if position > 0 {
                Some(distance - 1).filter(|&index| index < len)
            } else {
                len.checked_sub(distance)
            }
        })
        .collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

/// Walks the local times of a rule. Forward only.
#[derive(Clone, Debug)]
pub(super) struct RuleCursor<'a> {
    rule: &'a Rule,
    next: Option<i64>,
    /// The period to load after the present one, in the frequency's own count.
    period: i64,
    /// Starts of the units that match in the present period; or, with `BYSETPOS`, the times themselves.
    units: Vec<i64>,
    unit: usize,
    time: usize,
    /// The month that was filtered last, and its days.
    month: (i32, u32),
    month_days: u32,
}

impl<'a> RuleCursor<'a> {
    /// A cursor at the first local second not before `from`.
    pub(super) fn new(rule: &'a Rule, from: i64) -> Self {
        let mut cursor = Self {
            rule,
            next: None,
            period: 0,
            units: Vec::new(),
            unit: 0,
            time: 0,
            month: (0, 0),
            month_days: 0,
        };
        cursor.seek(from);
        cursor
    }

    pub(super) fn peek(&self) -> Option<i64> {
        self.next
    }

    pub(super) fn advance_to(&mut self, from: i64) {
        if self.next.is_some_and(|next| next < from) {
            self.seek(from);
        }
    }

    pub(super) fn advance(&mut self) {
        self.time += 1;
        if self.time >= self.times_per_unit() {
            (self.time, self.unit) = (0, self.unit + 1);
        }
        self.settle();
    }

    fn seek(&mut self, from: i64) {
        let from = from.max(self.rule.start);
        self.next = None;
        if from > self.rule.until {
            return;
        }
        self.units.clear();
        (self.unit, self.time) = (0, 0);
        self.period = self.period_of(from);
        self.settle();
        while self.next.is_some_and(|next| next < from) {
            if self.rule.positions.is_empty() {
                // Whole units go by, then the times inside one.
                let unit = self.rule.frequency.unit();
                self.unit += self.units[self.unit..].partition_point(|&start| start + unit <= from);
                self.time = match self.units.get(self.unit) {
                    Some(&start) => self.rule.times.first_from(from - start),
                    None => 0,
                };
                if self.time >= self.times_per_unit() {
                    (self.time, self.unit) = (0, self.unit + 1);
                }
            } else {
                self.unit += self.units[self.unit..].partition_point(|&time| time < from);
            }
            self.settle();
        }
    }

    fn times_per_unit(&self) -> usize {
        if self.rule.positions.is_empty() {
            self.rule.times.len()
        } else {
            1
        }
    }

    /// Finds the time at the present place, or at the first place after it that has one.
    fn settle(&mut self) {
        if self.unit >= self.units.len() {
            (self.unit, self.time) = (0, 0);
            if self.times_per_unit() == 0 || !self.load() {
                self.next = None;
                return;
            }
        }
        let start = self.units[self.unit];
        let at = if self.rule.positions.is_empty() {
            start + self.rule.times.at(self.time)
        } else {
            start
        };
        self.next = (at <= self.rule.until.min(LAST_SECOND)).then_some(at);
    }

    /// The period in which `at` lies, or the next one that the interval meets.
    fn period_of(&self, at: i64) -> i64 {
        let rule = self.rule;
        let day = at.div_euclid(86_400);
        let start_day = rule.start.div_euclid(86_400);
        let (year, month, _) = civil::civil_of(day);
        let (start_year, start_month, _) = civil::civil_of(start_day);
        let months = |year: i32, month: u32| i64::from(year) * 12 + i64::from(month) - 1;
        match rule.frequency {
            Frequency::Yearly => self.aligned(i64::from(year), i64::from(start_year)),
            Frequency::Monthly => self.aligned(months(year, month), months(start_year, start_month)),
            // A month at a time; the interval is kept day by day.
            Frequency::Daily => months(year, month),
            Frequency::Weekly => {
                let weeks = (self.week_of(day) - self.week_of(start_day)).div_euclid(7);
                self.aligned(weeks, 0)
            }
            _ => self.aligned(
                at.div_euclid(rule.frequency.unit()),
                rule.start.div_euclid(rule.frequency.unit()),
            ),
        }
    }

    /// The first number from `at` on that is a whole number of intervals from `origin`.
    fn aligned(&self, at: i64, origin: i64) -> i64 {
        let beyond = (at - origin).rem_euclid(self.rule.interval);
        if beyond == 0 {
            at
        } else {
            at.saturating_add(self.rule.interval - beyond)
        }
    }

    /// The day on which the week of `day` begins.
    fn week_of(&self, day: i64) -> i64 {
        day - i64::from((civil::weekday(day) + 7 - self.rule.days.week_start) % 7)
    }

    /// Loads the next period that has anything. False: there is none.
    fn load(&mut self) -> bool {
        if self.rule.frequency >= Frequency::Hourly {
            return self.load_unit();
        }
        self.units.clear();
        while self.units.is_empty() {
            let begins = match self.rule.frequency {
                Frequency::Yearly => self.load_year(),
                Frequency::Monthly => self.load_months(self.rule.interval),
                Frequency::Weekly => self.load_week(),
                _ => self.load_months(1),
            };
            if begins.is_none_or(|day| day * 86_400 > self.rule.until) {
                return false;
            }
            if !self.rule.positions.is_empty() {
                let times = &self.rule.times;
                let per_day = times.full();
                let picked = pick(&self.rule.positions, self.units.len() * per_day);
                self.units = picked
                    .into_iter()
                    .map(|index| self.units[index / per_day] + times.at(index % per_day))
                    .collect();
            }
        }
        true
    }

    /// Loads a year. The day on which it begins; `None` after the last.
    fn load_year(&mut self) -> Option<i64> {
        let year = i32::try_from(self.period)
            .ok()
            .filter(|&year| year <= LAST_YEAR)?;
        self.period = self.period.saturating_add(self.rule.interval);
        for month in 1..=12 {
            let days = self.rule.days.of_month(year, month);
            self.push_days(civil::days_of(year, month, 1), days);
        }
        Some(civil::days_of(year, 1, 1))
    }

    fn load_months(&mut self, interval: i64) -> Option<i64> {
        let year = i32::try_from(self.period.div_euclid(12))
            .ok()
            .filter(|&year| year <= LAST_YEAR)?;
        let month = u32::try_from(self.period.rem_euclid(12)).expect("below 12") + 1;
        self.period = self.period.saturating_add(interval);
        let first = civil::days_of(year, month, 1);
        let mut days = self.rule.days.of_month(year, month);
        if self.rule.frequency == Frequency::Daily && self.rule.interval > 1 {
            let start_day = self.rule.start.div_euclid(86_400);
            let mut kept = 0;
            let mut day = self.aligned(first, start_day) - first;
            while day < 31 {
                kept |= 2 << day;
                day += self.rule.interval;
            }
            days &= kept;
        }
        self.push_days(first, days);
        Some(first)
    }

    fn load_week(&mut self) -> Option<i64> {
        let start_day = self.rule.start.div_euclid(86_400);
        let begin = self.period.checked_mul(7)?.checked_add(self.week_of(start_day))?;
        self.period = self.period.saturating_add(self.rule.interval);
        if begin * 86_400 > LAST_SECOND {
            return None;
        }
        for day in begin..begin + 7 {
            if self.has_day(day) {
                self.units.push(day * 86_400);
            }
        }
        if self.units.is_empty() {
            // Straight to the next week that has a day.
            let day = self.day_after(begin + 6)?;
            let weeks = (self.week_of(day) - self.week_of(start_day)).div_euclid(7);
            self.period = self.aligned(weeks, 0);
        }
        Some(begin)
    }

    fn push_days(&mut self, first: i64, mut days: u32) {
        while days != 0 {
            self.units
                .push((first + i64::from(days.trailing_zeros()) - 1) * 86_400);
            days &= days - 1;
        }
    }

    fn has_day(&mut self, day: i64) -> bool {
        let (year, month, date) = civil::civil_of(day);
        self.enter_month(year, month);
        self.month_days & 1 << date != 0
    }

    fn enter_month(&mut self, year: i32, month: u32) {
        if self.month != (year, month) {
            self.month = (year, month);
            self.month_days = self.rule.days.of_month(year, month);
        }
    }

    /// The first matching day after `day`.
    fn day_after(&mut self, day: i64) -> Option<i64> {
        let (mut year, mut month, date) = civil::civil_of(day);
        self.enter_month(year, month);
        let mut days = self.month_days & (u32::MAX << 1 << date);
        while days == 0 {
            (year, month) = if month == 12 {
                (year + 1, 1)
            } else {
                (year, month + 1)
            };
            if year > LAST_YEAR {
                return None;
            }
            self.enter_month(year, month);
            days = self.month_days;
        }
        Some(civil::days_of(year, month, 1) + i64::from(days.trailing_zeros()) - 1)
    }

    /// Loads the next hour, minute or second that matches. False: there is none within the step bound.
    fn load_unit(&mut self) -> bool {
        let rule = self.rule;
        let unit = rule.frequency.unit();
        let origin = rule.start.div_euclid(unit);
        self.units.clear();
        for _ in 0..STEPS_MAX {
            step();
            let Some(at) = self
                .period
                .checked_mul(unit)
                .filter(|&at| at <= rule.until.min(LAST_SECOND))
            else {
                return false;
            };
            let (day, time) = (at.div_euclid(86_400), at.rem_euclid(86_400));
            let target = if self.has_day(day) {
                match self.time_from(time) {
                    Some(there) if there == time => {
                        self.units.push(at);
                        self.period = self.period.saturating_add(rule.interval);
                        return true;
                    }
                    Some(there) => day * 86_400 + there,
                    None => (day + 1) * 86_400,
                }
            } else {
                match self.day_after(day) {
                    Some(day) => day * 86_400,
                    None => return false,
                }
            };
            // The first candidate from the target on; targets are whole units.
            self.period = self.aligned(target.div_euclid(unit), origin);
        }
        false
    }

    /// The first second of a day, not before `time`, whose hour, minute and second pass the filters.
    fn time_from(&self, time: i64) -> Option<i64> {
        let rule = self.rule;
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        if rule.hours & 1 << hour == 0 {
            let later = rule.hours & (u32::MAX << hour);
            return (later != 0).then(|| i64::from(later.trailing_zeros()) * 3_600);
        }
        let next_hour = || self.time_from((hour + 1) * 3_600).filter(|_| hour < 23);
        if rule.minutes & 1 << minute == 0 {
            let later = rule.minutes & (u64::MAX << minute);
            return match later {
                0 => next_hour(),
                later => Some(hour * 3_600 + i64::from(later.trailing_zeros()) * 60),
            };
        }
        if rule.seconds & 1 << second == 0 {
            let later = rule.seconds & (u64::MAX << second);
            return match later {
                0 if minute < 59 => self.time_from(hour * 3_600 + (minute + 1) * 60),
                0 => next_hour(),
                later => Some(time - second + i64::from(later.trailing_zeros())),
            };
        }
        Some(time)
    }
}
