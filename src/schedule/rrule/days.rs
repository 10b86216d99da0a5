//! Which days of a month a recurrence rule's `BY` parts let through.

use super::super::civil;
use super::super::steps::step;

/// The filter that the day-level parts of a rule make together: a day matches when every part that is given does.
///
/// Plain and ordinal weekdays are one part (a union, as RFC 5545 has it), positive and negative days of a month too.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct DayFilter {
    /// Bits 1 to 12; 0 means any.
    pub(super) months: u16,
    /// `BYMONTHDAY` from the start (bits 1 to 31) and from the end.
    pub(super) month_days: (u32, u32),
    /// `BYYEARDAY`, positive and negative, ascending.
    pub(super) year_days: Vec<i32>,
    /// Bits 0 (Sunday) to 6.
    pub(super) weekdays: u8,
    /// Ordinal weekdays: which one, from the end when negative; weekday.
    pub(super) nth: Vec<(i32, u32)>,
    /// Ordinals count within the year instead of the month.
    pub(super) nth_of_year: bool,
    /// `BYWEEKNO`, positive and negative, ascending.
    pub(super) weeks: Vec<i32>,
    /// Days from Easter Sunday.
    pub(super) easter: Vec<i64>,
    /// The weekday on which weeks begin.
    pub(super) week_start: u32,
}

impl DayFilter {
    /// Whether no part but `BYMONTH` is given.
    pub(super) fn names_no_day(&self) -> bool {
        self.month_days == (0, 0)
            && self.year_days.is_empty()
            && self.weekdays == 0
            && self.nth.is_empty()
            && self.weeks.is_empty()
            && self.easter.is_empty()
    }

    /// The matching days of a month, as bits 1 to 31.
    pub(super) fn of_month(&self, year: i32, month: u32) -> u32 {
        step();
        if self.months != 0 && self.months & 1 << month == 0 {
            return 0;
        }
        let length = civil::month_days(year, month);
        let mut days = u32::MAX >> (31 - length) & !1;
        if self.names_no_day() {
            return days;
        }
        let first = civil::days_of(year, month, 1);
        if self.month_days != (0, 0) {
            let (from_start, from_end) = self.month_days;
            // Bit k of `from_end` is day length + 1 - k.
            let mirrored = if from_end == 0 {
                0
            } else {
                (1..=length).fold(0, |set, k| set | (from_end >> k & 1) << (length + 1 - k))
            };
            days &= from_start | mirrored;
        }
        if self.weekdays != 0 || !self.nth.is_empty() {
            days &= civil::days_on_weekdays(self.weekdays, civil::weekday(first))
                | self.nth_weekdays(year, first, length);
        }
        if !self.year_days.is_empty() && days != 0 {
            days &= self.days_of_year(year, first, length);
        }
        if !self.weeks.is_empty() && days != 0 {
            days &= self.days_of_weeks(first, length);
        }
        if !self.easter.is_empty() && days != 0 {
            let sunday = easter(year);
            days &= bits_from(first, length, self.easter.iter().map(|offset| sunday + offset));
        }
        days
    }

    fn nth_weekdays(&self, year: i32, first: i64, length: u32) -> u32 {
        let (span_first, span_last) = if self.nth_of_year {
            (civil::days_of(year, 1, 1), civil::days_of(year, 12, 31))
        } else {
            (first, first + i64::from(length) - 1)
        };
        let days = self.nth.iter().filter_map(|&(n, weekday)| {
            let n = i64::from(n);
            let day = if n > 0 {
                let ahead = i64::from((weekday + 7 - civil::weekday(span_first)) % 7);
                span_first + ahead + 7 * (n - 1)
            } else {
                let back = i64::from((civil::weekday(span_last) + 7 - weekday) % 7);
                span_last - back + 7 * (n + 1)
            };
            (span_first <= day && day <= span_last).then_some(day)
        });
        bits_from(first, length, days)
    }

    fn days_of_year(&self, year: i32, first: i64, length: u32) -> u32 {
        let before = civil::days_of(year, 1, 1) - 1;
        let after = civil::days_of(year, 12, 31) + 1;
        let days = self.year_days.iter().map(|&day| {
            let base = if day > 0 { before } else { after };
            base + i64::from(day)
        });
        bits_from(first, length, days)
    }

    fn days_of_weeks(&self, first: i64, length: u32) -> u32 {
        let last = first + i64::from(length) - 1;
        let back = i64::from((civil::weekday(first) + 7 - self.week_start) % 7);
        let mut days = 0;
        let mut week = first - back;
        while week <= last {
            if self.has_week(week) {
                days |= bits_from(first, length, week..week + 7);
            }
            week += 7;
        }
        days
    }

    /// Whether the week that begins on day `start` is named. A week belongs to the year of its fourth day.
    fn has_week(&self, start: i64) -> bool {
        let (year, ..) = civil::civil_of(start + 3);
        let number_of = |start: i64| (start + 3 - civil::days_of(year, 1, 1)) / 7 + 1;
        // 28 December is always in the last week.
        let late = civil::days_of(year, 12, 28);
        let back = i64::from((civil::weekday(late) + 7 - self.week_start) % 7);
        let (number, count) = (number_of(start), number_of(late - back));
        self.weeks.iter().any(|&week| {
            let week = i64::from(week);
            week == number || week == number - count - 1
        })
    }
}

/// The days of a month, given as day numbers, as bits 1 to 31; days outside it are left out.
fn bits_from(first: i64, length: u32, days: impl Iterator<Item = i64>) -> u32 {
    days.filter_map(|day| u32::try_from(day - first).ok())
        .filter(|&ahead| ahead < length)
        .fold(0, |set, ahead| set | 2 << ahead)
}

/// The day number of Easter Sunday in the Gregorian calendar.
fn easter(year: i32) -> i64 {
    let (golden, century) = (year.rem_euclid(19), year.div_euclid(100));
    let epact = (century - century / 4 - (8 * century + 13) / 25 + 19 * golden + 15) % 30;
    let moon = epact - (epact / 28) * (1 - (29 / (epact + 1)) * ((21 - golden) / 11));
    let weekday = (year + year / 4 + moon + 2 - century + century / 4) % 7;
    civil::days_of(year, 3, 28) + i64::from(moon - weekday)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easter_sundays() {
        for (year, month, day) in [
            (1961, 4, 2),
            (2000, 4, 23),
            (2024, 3, 31),
            (2025, 4, 20),
            (2038, 4, 25),
        ] {
            assert_eq!(easter(year), civil::days_of(year, month, day), "{year}");
        }
    }

    #[test]
    fn weeks_agree_with_iso_weeks() {
        use chrono::Datelike;

        for year in 1998..2060 {
            for month in 1..=12 {
                for day in 1..=civil::month_days(year, month) {
                    let iso = chrono::NaiveDate::from_ymd_opt(year, month, day)
                        .unwrap()
                        .iso_week();
                    let filter = DayFilter {
                        weeks: vec![i32::try_from(iso.week()).unwrap()],
                        week_start: 1,
                        ..DayFilter::default()
                    };
                    assert!(
                        filter.of_month(year, month) & 1 << day != 0,
                        "{year}-{month}-{day}"
                    );
                }
            }
        }
    }
}
