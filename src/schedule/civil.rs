//! Calendar arithmetic on whole numbers: days since 1970-01-01 and microseconds of a wall clock.
//!
//! A *local* time is a wall-clock reading as microseconds since 1970-01-01T00:00:00 on that same clock; an
//! *instant* is microseconds since that moment in UTC. Both are `i64`, both run from the year 1 to 9999.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

/// Microseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
pub(crate) const DAY: i64 = 86_400 * SECOND;
/// The first local time and instant there is: 0001-01-01T00:00:00.
pub(crate) const FIRST: i64 = days_of(1, 1, 1) * DAY;
/// The last local time and instant there is: 9999-12-31T23:59:59.999999.
pub(crate) const LAST: i64 = days_of(10_000, 1, 1) * DAY - 1;
/// The last year there is.
pub(crate) const LAST_YEAR: i32 = 9999;

/// Days from 1970-01-01 to the given day of the proleptic Gregorian calendar.
pub(crate) const fn days_of(year: i32, month: u32, day: u32) -> i64 {
    // Years that begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year } as i64;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month as i64 + 9) % 12) + 2) / 5 + day as i64 - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The (year, month, day) of a day number.
pub(crate) const fn civil_of(days: i64) -> (i32, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + if month <= 2 { 1 } else { 0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a year below 10,000, a month to 12, a day to 31"
    )]
    (year as i32, month as u32, day as u32)
}

/// Whether `year` has a 29 February.
pub(crate) const fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days the month has. `month` is 1 to 12.
pub(crate) const fn month_days(year: i32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Weekday of a day number, 0 = Sunday.
pub(crate) const fn weekday(days: i64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "0 to 6")]
    {
        (days + 4).rem_euclid(7) as u32
    }
}

/// The days of a month whose weekday is in `set`, as bits from 1 on; the month begins on weekday `first`.
pub(crate) const fn days_on_weekdays(set: u8, first: u32) -> u32 {
    // Rotated so that bit 0 is the weekday of day 1, then repeated every seven days, then moved to bit 1.
    let set = set as u32;
    let week = (set >> first | set << (7 - first)) & 0x7F;
    (week | week << 7 | week << 14 | week << 21 | week << 28) << 1
}

/// The day number in which a local time lies.
pub(crate) const fn day_of(local: i64) -> i64 {
    local.div_euclid(DAY)
}

/// Microseconds of an instant, rounded up to the next whole one; [`FIRST`] at the least, just after [`LAST`] at most.
pub(crate) fn ceil_micros(at: DateTime<Utc>) -> i64 {
    let up = i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1_000));
    (at.timestamp_micros() + up).clamp(FIRST, LAST + 1)
}

/// Microseconds of an instant, rounded down; just before [`FIRST`] at the least, [`LAST`] at most.
pub(crate) fn floor_micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros().clamp(FIRST - 1, LAST)
}

/// The instant of `micros`, which lies in the years 0 to 10,000.
pub(crate) fn instant_of(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros)
        .expect("an i64 between the years 0 and 10,000 is in chrono's range")
}

/// The wall-clock reading of `micros`, as chrono shows it.
pub(crate) fn naive_of(micros: i64) -> NaiveDateTime {
    instant_of(micros).naive_utc()
}

/// Microseconds of a wall-clock reading, rounded down.
pub(crate) fn local_of(naive: NaiveDateTime) -> i64 {
    naive.and_utc().timestamp_micros()
}

/// The day number of a chrono date.
pub(crate) fn day_number(date: NaiveDate) -> i64 {
    day_of(local_of(date.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Datelike;

    #[test]
    fn agrees_with_chrono_on_every_day_of_eight_centuries() {
        let mut date = NaiveDate::from_ymd_opt(1599, 12, 1).unwrap();
        for _ in 0..800 * 366 {
            let days = day_number(date);
            assert_eq!(civil_of(days), (date.year(), date.month(), date.day()));
            assert_eq!(days_of(date.year(), date.month(), date.day()), days);
            assert_eq!(weekday(days), date.weekday().num_days_from_sunday());
            if date.succ_opt().unwrap().day() == 1 {
                assert_eq!(month_days(date.year(), date.month()), date.day());
            }
            date = date.succ_opt().unwrap();
        }
    }

    #[test]
    fn the_ends_of_time_are_the_years_1_and_9999() {
        assert_eq!(instant_of(FIRST).to_rfc3339(), "0001-01-01T00:00:00+00:00");
        assert_eq!(instant_of(LAST).to_rfc3339(), "9999-12-31T23:59:59.999999+00:00");
        assert_eq!(floor_micros(DateTime::<Utc>::MAX_UTC), LAST);
        assert_eq!(ceil_micros(DateTime::<Utc>::MIN_UTC), FIRST);
    }
}
