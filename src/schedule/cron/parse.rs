//! From cron text to sets of bits.

use super::super::error::{ScheduleError, ScheduleErrorKind};
use super::{Cron, DayMatch};

/// Longest cron text, in bytes. The longest that says anything new has about 900.
const LENGTH_MAX: usize = 2_000;
const EXAMPLE: &str = "0 9 * * 1-5";
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
    /// The value of the first name.
    names_from: u32,
    example: &'static str,
}

const fn field(name: &'static str, min: u32, max: u32, example: &'static str) -> Field {
    Field {
        name,
        min,
        max,
        names: &[],
        names_from: 0,
        example,
    }
}

const MINUTE: Field = field("minute", 0, 59, "0 9 * * *");
const HOUR: Field = field("hour", 0, 23, "0 9-17/2 * * *");
const DAY: Field = field("day of month", 1, 31, "0 9 1,15,L * *");
const MONTH: Field = Field {
    names: &MONTHS,
    names_from: 1,
    ..field("month", 1, 12, "0 9 1 jan-jun *")
};
const WEEKDAY: Field = Field {
    names: &WEEKDAYS,
    names_from: 0,
    ..field("day of week", 0, 6, "0 9 * * mon-fri")
};
const SECOND: Field = field("second", 0, 59, "0 9 * * * 30");
const YEAR: Field = field("year", 1970, 2099, "0 9 * * * 0 2027");

/// The text of the whole expression and where one of its fields lies.
#[derive(Clone, Copy)]
struct Piece<'a> {
    whole: &'a str,
    start: usize,
    text: &'a str,
    /// How many fields the expression has.
    fields: usize,
}

impl<'a> Piece<'a> {
    fn refuse(self, field: &Field, problem: impl Into<String>) -> ScheduleError {
        let kind = ScheduleErrorKind::Cron;
        ScheduleError::new(kind, field.name, self.whole, problem, field.example)
            .at(self.start..self.start + self.text.len())
    }

    /// A part of this piece; `text` must be a slice of its text.
    fn part(self, from: usize, text: &'a str) -> Self {
        Self {
            start: self.start + from,
            text,
            ..self
        }
    }

    /// The parts between separators, with their places.
    fn split(self, separator: char) -> impl Iterator<Item = Self> {
        let mut from = 0;
        self.text.split(separator).map(move |text| {
            let part = self.part(from, text);
            from += text.len() + 1;
            part
        })
    }
}

impl Cron {
    /// Parses `text`.
    pub(crate) fn parse(text: &str, day_match: DayMatch) -> Result<Self, ScheduleError> {
        let whole = |kind, problem: String| ScheduleError::new(kind, "cron", text, problem, EXAMPLE);
        if text.len() > LENGTH_MAX {
            let problem = format!("{} bytes are too many, at most {LENGTH_MAX} are read", text.len());
            return Err(whole(ScheduleErrorKind::Cron, problem));
        }
        let expanded = match text.to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => text,
        };
        let pieces: Vec<Piece<'_>> = expanded
            .split_ascii_whitespace()
            .map(|text| Piece {
                whole: expanded,
                start: text.as_ptr() as usize - expanded.as_ptr() as usize,
                text,
                fields: 0,
            })
            .collect();
        if !(5..=7).contains(&pieces.len()) {
            let problem = format!(
                "has {} fields instead of 5 (minute, hour, day, month, weekday), 6 (and second) or 7 (and year)",
                pieces.len()
            );
            return Err(whole(ScheduleErrorKind::Cron, problem));
        }
        let fields = [&MINUTE, &HOUR, &DAY, &MONTH, &WEEKDAY, &SECOND, &YEAR];
        if let Some((piece, field)) = pieces.iter().zip(fields).find(|(piece, _)| is_random(piece.text)) {
            let kind = ScheduleErrorKind::RandomCron;
            let problem = "random and hashed forms (`R`, `H`) have no fixed dates and are refused";
            let place = piece.start..piece.start + piece.text.len();
            return Err(ScheduleError::new(kind, field.name, expanded, problem, field.example).at(place));
        }
        let fields = pieces.len();
        let piece = |at: usize| pieces.get(at).map(|&piece| Piece { fields, ..piece });
        let required = |at: usize| piece(at).expect("five fields at least");

        let mut days = DaySets::default();
        days.dates(required(2))?;
        days.weekdays(required(4))?;
        let cron = Self {
            text: text.into(),
            day_match,
            minutes: small_set(required(0), &MINUTE)?,
            hours: narrow(small_set(required(1), &HOUR)?),
            days: days.days,
            last_day: days.last_day,
            months: narrow(small_set(required(3), &MONTH)?),
            weekdays: days.weekdays,
            nth: days.nth,
            last: days.last,
            either: day_match == DayMatch::Either && !days.dates_star && !days.weekdays_star,
            seconds: piece(5).map_or(Ok(1), |piece| small_set(piece, &SECOND))?,
            years: piece(6).map(year_set).transpose()?.flatten(),
            every_day: false,
        };
        let cron = Self {
            every_day: cron.fires_every_day(),
            ..cron
        };
        if cron.ever_fires() {
            Ok(cron)
        } else {
            Err(whole(
                ScheduleErrorKind::NeverFires,
                "no day matches in any year, so it never fires".into(),
            ))
        }
    }
}

/// Whether a field uses the random or hashed form: a bare `R` or `H`, or one before `/` or `(`.
fn is_random(field: &str) -> bool {
    field.split(',').any(|item| {
        let rest = item.strip_prefix(['r', 'R', 'h', 'H']);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '(']))
    })
}

/// Both day fields, which are sets with more kinds of members than the others.
#[derive(Default)]
struct DaySets {
    days: u32,
    last_day: bool,
    dates_star: bool,
    weekdays: u8,
    nth: [u8; 5],
    last: u8,
    weekdays_star: bool,
}

impl DaySets {
    fn dates(&mut self, piece: Piece<'_>) -> Result<(), ScheduleError> {
        if piece.text == "?" {
            self.dates_star = true;
            self.days = u32::MAX;
            return Ok(());
        }
        for item in piece.split(',') {
            if item.text.eq_ignore_ascii_case("l") {
                self.last_day = true;
            } else {
                self.dates_star |= item.text == "*";
                range(item, &DAY, |value| self.days |= 1 << value)?;
            }
        }
        Ok(())
    }

    fn weekdays(&mut self, piece: Piece<'_>) -> Result<(), ScheduleError> {
        if piece.text == "?" {
            self.weekdays_star = true;
            self.weekdays = 0x7F;
            return Ok(());
        }
        let (mut plain, mut special) = (false, false);
        for item in piece.split(',') {
            if let Some(at) = item.text.find('#') {
                special = true;
                let day = value(item.part(0, &item.text[..at]), &WEEKDAY)?;
                let nth = item.part(at + 1, &item.text[at + 1..]);
                let k = match nth.text {
                    "1" => 0,
                    "2" => 1,
                    "3" => 2,
                    "4" => 3,
                    "5" => 4,
                    _ => {
                        return Err(
                            nth.refuse(&WEEKDAY, "only the 1st to 5th weekday can be named after `#`")
                        );
                    }
                };
                self.nth[k] |= 1 << (day % 7);
            } else if let Some(rest) = item.text.strip_prefix(['l', 'L']) {
                special = true;
                let day = item.part(1, rest);
                if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(item.refuse(&WEEKDAY, "`L` needs the number of a weekday, as in `L5`"));
                }
                self.last |= 1 << (value(day, &WEEKDAY)? % 7);
            } else {
                plain = true;
                self.weekdays_star |= item.text == "*";
                range(item, &WEEKDAY, |value| self.weekdays |= 1 << (value % 7))?;
            }
        }
        if plain && special {
            let problem = "`L5` and `5#2` cannot be mixed with plain weekdays";
            return Err(piece.refuse(&WEEKDAY, problem));
        }
        Ok(())
    }
}

fn small_set(piece: Piece<'_>, field: &Field) -> Result<u64, ScheduleError> {
    let mut set = 0;
    for item in piece.split(',') {
        range(item, field, |value| set |= 1 << value)?;
    }
    Ok(set)
}

/// The year field; `None` when it holds every year.
fn year_set(piece: Piece<'_>) -> Result<Option<Box<[u64; 3]>>, ScheduleError> {
    let mut set = Box::new([0u64; 3]);
    let mut every = false;
    for item in piece.split(',') {
        every |= item.text == "*";
        range(item, &YEAR, |year| {
            let bit = (year - YEAR.min) as usize;
            set[bit / 64] |= 1 << (bit % 64);
        })?;
    }
    Ok((!every).then_some(set))
}

fn narrow<T: TryFrom<u64>>(set: u64) -> T {
    T::try_from(set).unwrap_or_else(|_| unreachable!("the field's maximum fits its set"))
}

/// One item of a list: `*`, `a`, `a-b`, each with an optional `/n`.
fn range(item: Piece<'_>, field: &Field, mut add: impl FnMut(u32)) -> Result<(), ScheduleError> {
    let (span, step) = match item.text.find('/') {
        Some(at) => {
            let text = item.part(at + 1, &item.text[at + 1..]);
            let step = number(text, field)?;
            if step == 0 {
                return Err(text.refuse(field, "a step of 0 leads nowhere"));
            }
            (item.part(0, &item.text[..at]), Some(step))
        }
        None => (item, None),
    };
    let (low, high) = if span.text == "*" {
        (field.min, field.max)
    } else if let Some(at) = span.text.find('-') {
        let (low, high) = (
            span.part(0, &span.text[..at]),
            span.part(at + 1, &span.text[at + 1..]),
        );
        // `20-L` reads to the end of the month.
        let to_end = field.max == DAY.max && high.text.eq_ignore_ascii_case("l");
        (
            value(low, field)?,
            if to_end { DAY.max } else { value(high, field)? },
        )
    } else {
        let low = value(span, field)?;
        (low, if step.is_some() { field.max.max(low) } else { low })
    };
    let step = step.unwrap_or(1);
    if low <= high {
        (low..=high).step_by(step as usize).for_each(add);
    } else if field.max == YEAR.max {
        return Err(span.refuse(field, format!("the years end before they begin, at {high}")));
    } else {
        // Wraps: the values from `low` on, counted past the maximum.
        let size = field.max - field.min + 1;
        let low = if low > field.max { low - size } else { low };
        let high = if low <= high { high } else { high + size };
        (low..=high)
            .step_by(step as usize)
            .for_each(|value| add((value - field.min) % size + field.min));
    }
    Ok(())
}

/// A single value: a number in range, or a name.
fn value(piece: Piece<'_>, field: &Field) -> Result<u32, ScheduleError> {
    if let Some(index) = field
        .names
        .iter()
        .position(|name| piece.text.eq_ignore_ascii_case(name))
    {
        return Ok(field.names_from + u32::try_from(index).expect("at most twelve names"));
    }
    let number = number(piece, field)?;
    let five_fields = piece.fields == 5;
    match number {
        // Sunday as 7, in the classical form only.
        7 if field.max == WEEKDAY.max && five_fields => Ok(7),
        // The reference reads day 0 as 1 in the six-field form only.
        0 if field.name == DAY.name && piece.fields == 6 => Ok(1),
        _ if number < field.min => Err(piece.refuse(field, format!("{number} is below {}", field.min))),
        _ if number > field.max => Err(piece.refuse(field, format!("{number} is above {}", field.max))),
        _ => Ok(number),
    }
}

fn number(piece: Piece<'_>, field: &Field) -> Result<u32, ScheduleError> {
    if piece.text.is_empty() {
        return Err(piece.refuse(field, "a value is missing"));
    }
    if !piece.text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(piece.refuse(field, format!("`{}` is not a value of this field", piece.text)));
    }
    piece
        .text
        .parse()
        .map_err(|_| piece.refuse(field, "the number is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Cron, ScheduleError> {
        Cron::parse(text, DayMatch::Either)
    }

    #[test]
    fn each_refusal_names_the_field_and_the_place() {
        for (text, field, marked) in [
            ("60 * * * *", "minute", "60"),
            ("0 9,25 * * *", "hour", "25"),
            ("* * 32 * *", "day of month", "32"),
            ("* * * 0 *", "month", "0"),
            ("* * * * funday", "day of week", "funday"),
            ("* * * * * 60", "second", "60"),
            ("* * * * * * 2100", "year", "2100"),
            ("*/0 * * * *", "minute", "0"),
            ("1,,2 * * * *", "minute", ""),
            ("* * * * 5#6", "day of week", "6"),
            ("* * * * 5#2,1", "day of week", "5#2,1"),
            ("99999999999999999999 * * * *", "minute", "99999999999999999999"),
            ("R/15 * * * *", "minute", "R/15"),
            ("0 0 30 2 *", "cron", "0 0 30 2 *"),
            ("* *", "cron", "* *"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                (error.field(), &error.text()[error.span()]),
                (field, marked),
                "{text}"
            );
            assert!(error.to_string().contains(error.example()));
            assert!(parse(error.example()).is_ok(), "{}", error.example());
        }
    }

    #[test]
    fn ranges_wrap_and_keep_their_step() {
        let bits = |values: &[u32]| values.iter().fold(0u64, |set, value| set | 1 << value);
        assert_eq!(parse("45-15/10 * * * *").unwrap().minutes, bits(&[45, 55, 5, 15]));
        assert_eq!(
            u64::from(parse("0 0 1 oct-mar/2 *").unwrap().months),
            bits(&[10, 12, 2])
        );
        assert_eq!(
            u64::from(parse("0 0 * * fri-mon").unwrap().weekdays),
            bits(&[5, 6, 0, 1])
        );
        assert_eq!(
            u64::from(parse("0 0 * * 7-2").unwrap().weekdays),
            bits(&[0, 1, 2])
        );
        assert_eq!(
            u64::from(parse("0 0 * * 5-7").unwrap().weekdays),
            bits(&[5, 6, 0])
        );
        assert_eq!(parse("59/5 * * * *").unwrap().minutes, bits(&[59]));
    }
}
