//! Cron: the dialect, as sets of bits.
//!
//! Five fields (minute, hour, day of month, month, day of week), six with seconds as the *last*, or seven with
//! seconds and year last. Names of months and weekdays in three letters and any case; lists, ranges, steps; `a/n`
//! runs from `a` to the maximum; ranges may wrap (`22-2`, `fri-mon`). `?` alone in a day field is `*`; `L` is the
//! last day of the month, `L5` the last Friday, `5#2` the second. Weekday 7 is Sunday in the five-field form only.
//!
//! A day matches when both day fields do. When neither contains a bare `*`, [`DayMatch`] decides.

mod parse;
mod step;

pub(crate) use step::CronCursor;

use super::civil;

/// How the two day fields of a cron text combine when neither contains a bare `*`. `*/2` is a restriction.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum DayMatch {
    /// A day matches if either field does, as in Vixie cron. The reference's `day_or: true`.
    #[default]
    Either,
    /// A day matches if both fields do: `0 0 13 * 5` is Friday the 13th.
    Both,
}

/// A parsed cron text. Bit `n` of a set stands for the value `n`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cron {
    pub(crate) text: Box<str>,
    pub(crate) day_match: DayMatch,
    seconds: u64,
    minutes: u64,
    hours: u32,
    /// Bits 1 to 31.
    days: u32,
    last_day: bool,
    /// Bits 1 to 12.
    months: u16,
    /// Bits 0 (Sunday) to 6.
    weekdays: u8,
    /// `nth[k]` holds the weekdays of which the occurrence `k + 1` in the month matches.
    nth: [u8; 5],
    /// Weekdays of which the last in the month matches.
    last: u8,
    /// Whether one matching day field is enough.
    either: bool,
    /// Bit `n` stands for the year 1970 + n. `None`: every year.
    years: Option<Box<[u64; 3]>>,
    /// Whether no day is left out, as the other fields say it: then the calendar need not be asked.
    every_day: bool,
}

impl Cron {
    /// The days of a month that match, as bits 1 to 31. `first` is the day number of its first day.
    fn days_of_month(&self, year: i32, month: u32, first: i64) -> u32 {
        super::steps::step();
        if self.months & (1 << month) == 0 || !self.has_year(year) {
            return 0;
        }
        let length = civil::month_days(year, month);
        let all = u32::MAX >> (31 - length) & !1;
        let mut by_date = self.days & all;
        if self.last_day {
            by_date |= 1 << length;
        }
        let first = civil::weekday(first);
        let mut by_weekday = civil::days_on_weekdays(self.weekdays, first);
        if self.last | self.nth.iter().fold(0, |any, set| any | set) != 0 {
            by_weekday |= civil::days_on_weekdays(self.last, first) & (u32::MAX << (length - 6));
            for (k, &set) in (0u32..).zip(&self.nth) {
                by_weekday |= civil::days_on_weekdays(set, first) & (0b1111_1110 << (7 * k));
            }
        }
        let days = if self.either {
            by_date | by_weekday
        } else {
            by_date & by_weekday
        };
        days & all
    }

    fn has_year(&self, year: i32) -> bool {
        self.years.as_deref().is_none_or(|years| {
            usize::try_from(year - 1970)
                .ok()
                .and_then(|bit| years.get(bit / 64).map(|word| word >> (bit % 64) & 1 == 1))
                .unwrap_or(false)
        })
    }

    /// The years in which the text may fire: the calendar repeats after 400.
    fn years_to_try(&self) -> std::ops::RangeInclusive<i32> {
        if self.years.is_some() {
            1970..=2099
        } else {
            2000..=2399
        }
    }

    fn fires_every_day(&self) -> bool {
        let (dates, weekdays) = (self.days | 1 == u32::MAX, self.weekdays == 0x7F);
        let days = if self.either {
            dates || weekdays
        } else {
            dates && weekdays
        };
        days && self.months | 1 == 0x1FFF && self.years.is_none()
    }

    /// Whether some day, and so some time, matches at all.
    fn ever_fires(&self) -> bool {
        self.years_to_try().any(|year| {
            (1..=12).any(|month| self.days_of_month(year, month, civil::days_of(year, month, 1)) != 0)
        })
    }
}
