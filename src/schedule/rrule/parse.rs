//! From the text of a recurrence to its rules and dates.

use std::cell::Cell;

use chrono::NaiveDate;

use super::super::civil;
use super::super::error::{ScheduleError, ScheduleErrorKind};
use super::days::DayFilter;
use super::rule::{Frequency, Rule, RuleCursor, Times, pick};
use super::{RRULE_LENGTH_MAX, RULES_MAX, Recurrence};

const EXAMPLE: &str = "FREQ=WEEKLY;BYDAY=MO,FR";
const STAMP: &str = "DTSTART:20260101T090000";
/// Most dates that `COUNT` may ask for: they are counted once, when the rule is made.
const COUNT_MAX: u64 = 5_000_000;
/// Most periods that `INTERVAL` may pass over.
const INTERVAL_MAX: i64 = 1_000_000_000;
const WEEKDAYS: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];

/// A slice of the text, for showing where something is wrong.
#[derive(Clone, Copy)]
struct Piece<'a> {
    whole: &'a str,
    text: &'a str,
}

impl<'a> Piece<'a> {
    fn refuse(self, field: &'static str, problem: impl Into<String>, example: &'static str) -> ScheduleError {
        // `text` is a slice of `whole`, so the difference of their addresses is its place.
        let start = self.text.as_ptr() as usize - self.whole.as_ptr() as usize;
        ScheduleError::new(ScheduleErrorKind::Recurrence, field, self.whole, problem, example)
            .at(start..start + self.text.len())
    }

    fn part(self, text: &'a str) -> Self {
        Self { text, ..self }
    }

    fn split(self, separator: char) -> impl Iterator<Item = Self> {
        self.text.split(separator).map(move |text| self.part(text))
    }

    fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let (left, right) = self.text.split_once(separator)?;
        Some((self.part(left), self.part(right)))
    }

    fn is(self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

/// A time stamp of the text, in seconds on the local clock, and whether it was tied to a zone (`Z` or `TZID`).
#[derive(Clone, Copy)]
struct Stamp {
    at: i64,
    zoned: bool,
}

/// The lines of the text, sorted by what they are.
#[derive(Default)]
struct Lines<'a> {
    start: Option<Stamp>,
    rules: Vec<Piece<'a>>,
    without_rules: Vec<Piece<'a>>,
    dates: Vec<i64>,
    without_dates: Vec<i64>,
    own_zone: Option<Box<str>>,
}

pub(super) fn parse(text: &str) -> Result<Recurrence, ScheduleError> {
    let whole = Piece { whole: text, text };
    let length = text.chars().count();
    if length > RRULE_LENGTH_MAX {
        let problem = format!("{length} characters are too many, at most {RRULE_LENGTH_MAX} are read");
        return Err(ScheduleError::new(
            ScheduleErrorKind::TooLong,
            "rrule",
            text,
            problem,
            EXAMPLE,
        ));
    }
    let mut lines = Lines::default();
    for line in text.split_whitespace() {
        lines.read(whole.part(line))?;
    }
    if lines.rules.is_empty() && lines.dates.is_empty() {
        return Err(whole.refuse("rrule", "holds neither a rule nor an RDATE", EXAMPLE));
    }
    if let Some(piece) = lines.rules.iter().chain(&lines.without_rules).nth(RULES_MAX) {
        let problem = format!("more than {RULES_MAX} rules in one text; a union of schedules may hold more");
        return Err(piece.refuse("rrule", problem, EXAMPLE));
    }
    let start = lines.start;
    // What COUNT may still ask for, over all rules.
    let left = Cell::new(COUNT_MAX);
    let rule = |piece: &Piece<'_>| RuleText::read(*piece)?.build(start, &left);
    let mut recurrence = Recurrence {
        text: text.into(),
        own_zone: lines.own_zone,
        rules: lines.rules.iter().map(rule).collect::<Result<_, _>>()?,
        dates: lines.dates,
        without_rules: lines.without_rules.iter().map(rule).collect::<Result<_, _>>()?,
        without_dates: lines.without_dates,
    };
    for dates in [&mut recurrence.dates, &mut recurrence.without_dates] {
        dates.sort_unstable();
        dates.dedup();
    }
    Ok(recurrence)
}

impl<'a> Lines<'a> {
    fn read(&mut self, line: Piece<'a>) -> Result<(), ScheduleError> {
        let Some((head, value)) = line.split_once(':') else {
            self.rules.push(line);
            return Ok(());
        };
        let mut parameters = head.split(';');
        let name = parameters.next().unwrap_or(head);
        let rule = name.is("RRULE") || name.is("EXRULE");
        let mut zoned = false;
        for parameter in parameters {
            match parameter.split_once('=') {
                Some((key, zone)) if key.is("TZID") && !rule && !zone.text.is_empty() => {
                    zoned = true;
                    self.own_zone.get_or_insert_with(|| zone.text.into());
                }
                Some((key, kind))
                    if key.is("VALUE") && !rule && (kind.is("DATE") || kind.is("DATE-TIME")) => {}
                _ => {
                    let problem = format!("the parameter `{}` has no place here", parameter.text);
                    return Err(parameter.refuse("rrule", problem, STAMP));
                }
            }
        }
        let stamps = |out: &mut Vec<i64>| -> Result<(), ScheduleError> {
            for text in value.split(',') {
                out.push(stamp(text, zoned)?.at);
            }
            Ok(())
        };
        if name.is("RRULE") {
            self.rules.push(value);
        } else if name.is("EXRULE") {
            self.without_rules.push(value);
        } else if name.is("RDATE") {
            stamps(&mut self.dates)?;
        } else if name.is("EXDATE") {
            stamps(&mut self.without_dates)?;
        } else if name.is("DTSTART") {
            if self.start.is_some() {
                return Err(line.refuse("DTSTART", "is given twice", STAMP));
            }
            self.start = Some(stamp(value, zoned)?);
        } else {
            let problem = format!(
                "`{}` is none of RRULE, EXRULE, RDATE, EXDATE and DTSTART",
                name.text
            );
            return Err(name.refuse("rrule", problem, "RRULE:FREQ=DAILY"));
        }
        Ok(())
    }
}

/// `YYYYMMDD`, `YYYYMMDDTHHMMSS` or without seconds, each with an optional `Z`.
fn stamp(piece: Piece<'_>, zoned: bool) -> Result<Stamp, ScheduleError> {
    let refuse = |problem: &str| piece.refuse("DTSTART", problem, STAMP);
    let (digits, utc) = match piece.text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, true),
        None => (piece.text, false),
    };
    let (date, time) = digits.split_once(['T', 't']).unwrap_or((digits, "000000"));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !plain(date) || !plain(time) || date.len() != 8 || ![4, 6].contains(&time.len()) {
        return Err(refuse("is not a date-time such as 20260101T090000"));
    }
    let number = |text: &str| text.parse::<u32>().expect("at most four digits");
    let time_part = |at: usize| {
        if at < time.len() {
            number(&time[at..at + 2])
        } else {
            0
        }
    };
    let at = i32::try_from(number(&date[..4]))
        .ok()
        .filter(|&year| year >= 1)
        .and_then(|year| NaiveDate::from_ymd_opt(year, number(&date[4..6]), number(&date[6..])))
        .and_then(|date| date.and_hms_opt(time_part(0), time_part(2), time_part(4)))
        .ok_or_else(|| refuse("names a date or time that does not exist"))?;
    Ok(Stamp {
        at: at.and_utc().timestamp(),
        zoned: zoned || utc,
    })
}

/// The parts of a rule as they stand, each checked alone.
struct RuleText<'a> {
    whole: Piece<'a>,
    frequency: Frequency,
    interval: i64,
    count: Option<(u64, Piece<'a>)>,
    until: Option<(Stamp, Piece<'a>)>,
    week_start: u32,
    months: Vec<i32>,
    month_days: Vec<i32>,
    year_days: Vec<i32>,
    weeks: Vec<i32>,
    weekdays: Vec<(i32, u32)>,
    hours: Vec<i32>,
    minutes: Vec<i32>,
    seconds: Vec<i32>,
    positions: Vec<i32>,
    easter: Vec<i32>,
}

impl<'a> RuleText<'a> {
    fn read(whole: Piece<'a>) -> Result<Self, ScheduleError> {
        let mut this = Self {
            whole,
            frequency: Frequency::Yearly,
            interval: 1,
            count: None,
            until: None,
            week_start: 1,
            months: Vec::new(),
            month_days: Vec::new(),
            year_days: Vec::new(),
            weeks: Vec::new(),
            weekdays: Vec::new(),
            hours: Vec::new(),
            minutes: Vec::new(),
            seconds: Vec::new(),
            positions: Vec::new(),
            easter: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        for part in whole.split(';') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(part.refuse("rrule", "a part has the form NAME=VALUE", EXAMPLE));
            };
            let key = part.part(key.text);
            let name = key.text.to_ascii_uppercase();
            if seen.contains(&name) {
                return Err(part.refuse("rrule", format!("{name} is given twice"), EXAMPLE));
            }
            this.part(&name, key, value)?;
            seen.push(name);
        }
        if seen.iter().any(|name| name == "FREQ") {
            Ok(this)
        } else {
            Err(whole.refuse("FREQ", "is missing", EXAMPLE))
        }
    }

    fn part(&mut self, name: &str, key: Piece<'a>, value: Piece<'a>) -> Result<(), ScheduleError> {
        match name {
            "FREQ" => self.frequency = frequency(value)?,
            "INTERVAL" => {
                self.interval = value
                    .text
                    .parse()
                    .ok()
                    .filter(|interval| (1..=INTERVAL_MAX).contains(interval) && !value.text.starts_with('+'))
                    .ok_or_else(|| {
                        value.refuse(
                            "INTERVAL",
                            "is not a number from 1 to 1,000,000,000",
                            "INTERVAL=2",
                        )
                    })?;
            }
            "COUNT" => {
                let count = value
                    .text
                    .parse()
                    .ok()
                    .filter(|count| (1..=COUNT_MAX).contains(count));
                let count = count.ok_or_else(|| {
                    value.refuse(
                        "COUNT",
                        "is not a number from 1 to 5,000,000; UNTIL has no such bound",
                        "COUNT=10",
                    )
                })?;
                self.count = Some((count, value));
            }
            "UNTIL" => self.until = Some((stamp(value, false)?, value)),
            "WKST" => {
                self.week_start = weekday(value.text).ok_or_else(|| {
                    value.refuse("WKST", "is none of SU, MO, TU, WE, TH, FR, SA", "WKST=MO")
                })?;
            }
            "BYMONTH" => self.months = numbers("BYMONTH", value, 1, 12, false, "BYMONTH=1,7")?,
            "BYMONTHDAY" => self.month_days = numbers("BYMONTHDAY", value, 1, 31, true, "BYMONTHDAY=1,-1")?,
            "BYYEARDAY" => self.year_days = numbers("BYYEARDAY", value, 1, 366, true, "BYYEARDAY=1,-1")?,
            "BYWEEKNO" => self.weeks = numbers("BYWEEKNO", value, 1, 53, true, "BYWEEKNO=20")?,
            "BYHOUR" => self.hours = numbers("BYHOUR", value, 0, 23, false, "BYHOUR=9,17")?,
            "BYMINUTE" => self.minutes = numbers("BYMINUTE", value, 0, 59, false, "BYMINUTE=0,30")?,
            "BYSECOND" => self.seconds = numbers("BYSECOND", value, 0, 59, false, "BYSECOND=0")?,
            "BYSETPOS" => self.positions = numbers("BYSETPOS", value, 1, 366, true, "BYSETPOS=-1")?,
            "BYEASTER" => self.easter = numbers("BYEASTER", value, 0, 366, true, "BYEASTER=-2")?,
            "BYDAY" => self.weekdays = value.split(',').map(ordinal_weekday).collect::<Result<_, _>>()?,
            _ => {
                let problem = format!("`{}` is not a part of a rule", key.text);
                return Err(key.refuse("rrule", problem, EXAMPLE));
            }
        }
        Ok(())
    }

    /// Puts the parts together, with what DTSTART gives where a part is absent.
    fn build(self, start: Option<Stamp>, left: &Cell<u64>) -> Result<Rule, ScheduleError> {
        if let (Some(start), Some((until, piece))) = (start, self.until)
            && start.zoned != until.zoned
        {
            let problem = "must have a Z if and only if DTSTART has a Z or a TZID";
            return Err(piece.refuse("UNTIL", problem, "UNTIL=20270101T000000"));
        }
        let start = start.map_or(civil::days_of(2020, 1, 1) * 86_400, |start| start.at);
        let day = start.div_euclid(86_400);
        let (_, month, date) = civil::civil_of(day);
        let (hour, minute, second) = (
            start.rem_euclid(86_400) / 3_600,
            start.rem_euclid(3_600) / 60,
            start.rem_euclid(60),
        );
        self.check_phase(hour, minute, second)?;

        let frequency = self.frequency;
        let times_of = |given: &[i32], default: i64, expands: bool| match (given, expands) {
            (_, false) => vec![0],
            ([], true) => vec![u8::try_from(default).expect("below 60")],
            (given, true) => given
                .iter()
                .map(|&at| u8::try_from(at).expect("below 60"))
                .collect(),
        };
        let mut times = Times {
            hours: times_of(&self.hours, hour, frequency < Frequency::Hourly),
            minutes: times_of(&self.minutes, minute, frequency < Frequency::Minutely),
            seconds: times_of(&self.seconds, second, frequency < Frequency::Secondly),
            picked: None,
        };
        let filter_of = |given: &[i32], filters: bool| match (given, filters) {
            ([], _) | (_, false) => u64::MAX,
            (given, true) => given.iter().fold(0, |set, &at| set | 1 << at),
        };
        #[expect(clippy::cast_possible_truncation, reason = "24 bits, or all of them")]
        let hours = filter_of(&self.hours, frequency >= Frequency::Hourly) as u32;
        // Where a period is one unit, positions pick the same times in each.
        let mut positions = self.positions.clone();
        if frequency >= Frequency::Daily && !positions.is_empty() {
            times.picked = Some(pick(&positions, times.full()));
            positions.clear();
        }
        let mut rule = Rule {
            frequency,
            interval: self.interval,
            start,
            until: self.until.map_or(i64::MAX, |(until, _)| until.at),
            days: self.day_filter(day, month, date),
            hours,
            minutes: filter_of(&self.minutes, frequency >= Frequency::Minutely),
            seconds: filter_of(&self.seconds, frequency >= Frequency::Secondly),
            times,
            positions,
        };
        if let Some((count, piece)) = self.count {
            let problem = "asks for more than 5,000,000 dates in all rules together; UNTIL has no such bound";
            let rest = left.get().checked_sub(count);
            left.set(rest.ok_or_else(|| piece.refuse("COUNT", problem, "COUNT=10"))?);
            let mut cursor = RuleCursor::new(&rule, start);
            for _ in 1..count {
                cursor.advance();
            }
            if let Some(last) = cursor.peek() {
                rule.until = last;
            }
        }
        Ok(rule)
    }

    fn day_filter(&self, day: i64, month: u32, date: u32) -> DayFilter {
        let ordinal = self.frequency <= Frequency::Monthly;
        let mut filter = DayFilter {
            months: self.months.iter().fold(0, |set, &month| set | 1 << month),
            month_days: self.month_days.iter().fold((0, 0), |(start, end), &day| {
                if day > 0 {
                    (start | 1 << day, end)
                } else {
                    (start, end | 1 << -day)
                }
            }),
            year_days: self.year_days.clone(),
            // Below a month an ordinal has nothing to count in, and only the weekday is left.
            weekdays: self
                .weekdays
                .iter()
                .filter(|(n, _)| *n == 0 || !ordinal)
                .fold(0, |set, (_, weekday)| set | 1 << weekday),
            nth: self
                .weekdays
                .iter()
                .copied()
                .filter(|(n, _)| *n != 0 && ordinal)
                .collect(),
            nth_of_year: self.frequency == Frequency::Yearly && self.months.is_empty(),
            weeks: self.weeks.clone(),
            easter: self.easter.iter().copied().map(i64::from).collect(),
            week_start: self.week_start,
        };
        if filter.names_no_day() {
            match self.frequency {
                Frequency::Yearly => {
                    if filter.months == 0 {
                        filter.months = 1 << month;
                    }
                    filter.month_days.0 = 1 << date;
                }
                Frequency::Monthly => filter.month_days.0 = 1 << date,
                Frequency::Weekly => filter.weekdays = 1 << civil::weekday(day),
                _ => {}
            }
        }
        filter
    }

    /// Refuses times that the interval steps over for ever: `INTERVAL=2` from hour 1 never meets `BYHOUR=10`.
    fn check_phase(&self, hour: i64, minute: i64, second: i64) -> Result<(), ScheduleError> {
        let (field, given, from, cycle) = match self.frequency {
            Frequency::Hourly => ("BYHOUR", &self.hours, hour, 24),
            Frequency::Minutely => ("BYMINUTE", &self.minutes, minute, 60),
            Frequency::Secondly => ("BYSECOND", &self.seconds, second, 60),
            _ => return Ok(()),
        };
        let step = gcd(self.interval, cycle);
        if given.is_empty() || given.iter().any(|&at| (i64::from(at) - from) % step == 0) {
            return Ok(());
        }
        let problem = format!(
            "names nothing that INTERVAL={} from {from} on ever meets",
            self.interval
        );
        Err(self
            .whole
            .refuse(field, problem, "FREQ=HOURLY;INTERVAL=2;BYHOUR=8,10"))
    }
}

const fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn frequency(value: Piece<'_>) -> Result<Frequency, ScheduleError> {
    [
        ("YEARLY", Frequency::Yearly),
        ("MONTHLY", Frequency::Monthly),
        ("WEEKLY", Frequency::Weekly),
        ("DAILY", Frequency::Daily),
        ("HOURLY", Frequency::Hourly),
        ("MINUTELY", Frequency::Minutely),
        ("SECONDLY", Frequency::Secondly),
    ]
    .into_iter()
    .find(|(name, _)| value.is(name))
    .map(|(_, frequency)| frequency)
    .ok_or_else(|| {
        value.refuse(
            "FREQ",
            format!("`{}` is not a frequency", value.text),
            "FREQ=DAILY",
        )
    })
}

fn weekday(text: &str) -> Option<u32> {
    (0u32..)
        .zip(WEEKDAYS)
        .find(|(_, name)| text.eq_ignore_ascii_case(name))
        .map(|(day, _)| day)
}

/// `MO`, `2TU` or `-1FR`. The number is 0 when there is none.
fn ordinal_weekday(piece: Piece<'_>) -> Result<(i32, u32), ScheduleError> {
    let refuse = || {
        piece.refuse(
            "BYDAY",
            "is not a weekday such as MO, 2TU or -1FR",
            "BYDAY=MO,-1FR",
        )
    };
    let at = piece
        .text
        .len()
        .checked_sub(2)
        .filter(|&at| piece.text.is_char_boundary(at));
    let (number, name) = piece.text.split_at(at.ok_or_else(refuse)?);
    let weekday = weekday(name).ok_or_else(refuse)?;
    if number.is_empty() {
        return Ok((0, weekday));
    }
    let number: i32 = number.parse().map_err(|_| refuse())?;
    if number == 0 || number.abs() > 53 {
        return Err(piece.refuse(
            "BYDAY",
            "counts from 1 to 53 or from the end, -1 to -53",
            "BYDAY=MO,-1FR",
        ));
    }
    Ok((number, weekday))
}

/// A list of numbers from `min` to `max`, ascending and each once; `signed` allows the same below zero.
fn numbers(
    field: &'static str,
    value: Piece<'_>,
    min: i32,
    max: i32,
    signed: bool,
    example: &'static str,
) -> Result<Vec<i32>, ScheduleError> {
    let mut out = Vec::new();
    for piece in value.split(',') {
        let number: i32 = piece
            .text
            .parse()
            .map_err(|_| piece.refuse(field, format!("`{}` is not a number", piece.text), example))?;
        let size = if signed { number.abs() } else { number };
        if !(min..=max).contains(&size) {
            let also = if signed { " or the same below zero" } else { "" };
            return Err(piece.refuse(field, format!("{number} is not {min} to {max}{also}"), example));
        }
        out.push(number);
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_the_part_and_the_place() {
        for (text, field, marked) in [
            ("FREQ=DAILY;BYHOUR=9,24", "BYHOUR", "24"),
            ("FREQ=FORTNIGHTLY", "FREQ", "FORTNIGHTLY"),
            ("BYDAY=MO", "FREQ", "BYDAY=MO"),
            ("FREQ=DAILY;INTERVAL=0", "INTERVAL", "0"),
            ("FREQ=DAILY;COUNT=", "COUNT", ""),
            (
                "FREQ=DAILY;COUNT=99999999999999999999",
                "COUNT",
                "99999999999999999999",
            ),
            ("FREQ=MONTHLY;BYDAY=MO,0TU", "BYDAY", "0TU"),
            ("FREQ=MONTHLY;BYDAY=MO,,TU", "BYDAY", ""),
            ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY", "0"),
            ("FREQ=DAILY;BYSETPOS=-367", "BYSETPOS", "-367"),
            ("FREQ=DAILY;FREQ=DAILY", "rrule", "FREQ=DAILY"),
            ("FREQ=DAILY;WHEN=NOW", "rrule", "WHEN"),
            ("FREQ=DAILY;", "rrule", ""),
            ("XRULE:FREQ=DAILY", "rrule", "XRULE"),
            ("RRULE;X=1:FREQ=DAILY", "rrule", "X=1"),
            ("DTSTART:20230231T000000 FREQ=DAILY", "DTSTART", "20230231T000000"),
            (
                "DTSTART:20230101T090000 RRULE:FREQ=DAILY;UNTIL=20230105T090000Z",
                "UNTIL",
                "20230105T090000Z",
            ),
            (
                "FREQ=MINUTELY;INTERVAL=60;BYMINUTE=30",
                "BYMINUTE",
                "FREQ=MINUTELY;INTERVAL=60;BYMINUTE=30",
            ),
            ("DTSTART:20230101T090000", "rrule", "DTSTART:20230101T090000"),
        ] {
            let error = Recurrence::parse(text).unwrap_err();
            assert_eq!(
                (error.field(), &error.text()[error.span()]),
                (field, marked),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_length_counts_characters() {
        let text = format!("FREQ=DAILY{}", " ".repeat(RRULE_LENGTH_MAX - 10));
        assert!(Recurrence::parse(&text).is_ok());
        let error = Recurrence::parse(&format!("{text} ")).unwrap_err();
        assert_eq!(error.kind(), ScheduleErrorKind::TooLong);
    }
}
