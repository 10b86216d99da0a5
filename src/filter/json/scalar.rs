//! Single values of the JSON form, read as leniently as the reference reads them.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde_json::{Number, Value};
use uuid::Uuid;

/// Hyphenated, bare, braced or as a urn, in any letter case.
pub(super) fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

/// `true`, `0`, `1.0`, `"yes"`, `"off"` and the like.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Value::String(text) if text.len() <= 5 => match text.to_ascii_lowercase().as_str() {
            "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
            "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// `5`, `5.0`, `"5"`, `"+5"`, `"5.0"`, `true`. A number beyond `i64` becomes the nearest one inside.
pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Number(number) => int_of_number(number),
        Value::String(text) => int_of_text(text.trim()),
        _ => None,
    }
}

fn int_of_number(number: &Number) -> Option<i64> {
    if let Some(number) = number.as_i64() {
        return Some(number);
    }
    if number.is_u64() {
        return Some(i64::MAX);
    }
    let number = number.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number; `as` takes the nearest i64"
    )]
    (number.fract() == 0.0).then_some(number as i64)
}

fn int_of_text(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let (negative, digits) = match whole.as_bytes().first()? {
        b'-' => (true, &whole[1..]),
        b'+' => (false, &whole[1..]),
        _ => (false, whole),
    };
    // Underscores may stand between digits.
    let groups = || digits.split('_');
    if groups().any(|group| group.is_empty() || !group.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    Some(groups().flat_map(str::bytes).fold(0_i64, |sum, digit| {
        let digit = i64::from(digit - b'0');
        let sum = sum.saturating_mul(10);
        if negative {
            sum.saturating_sub(digit)
        } else {
            sum.saturating_add(digit)
        }
    }))
}

/// Microseconds since 1970 UTC of a date, a date with a time (UTC if it names no zone), or a number of seconds since 1970
/// (milliseconds above 20,000,000,000), which may stand in a text.
pub(super) fn time(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => of_unix_int(number),
            None => of_unix_float(number.as_f64()?),
        },
        Value::String(text) if text.len() <= 64 => {
            let text = text.trim();
            of_text(text)
                .or_else(|| text.parse().ok().and_then(of_unix_int))
                .or_else(|| {
                    number_like(text)
                        .then(|| text.parse().ok())
                        .flatten()
                        .and_then(of_unix_float)
                })
        }
        _ => None,
    }
}

/// Above this, a number counts milliseconds.
const MILLISECONDS_ABOVE: i64 = 20_000_000_000;
/// The years 1 to 9999, in seconds.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

fn number_like(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'))
}

fn of_unix_int(number: i64) -> Option<i64> {
    let micros = if number.unsigned_abs() > MILLISECONDS_ABOVE.unsigned_abs() {
        number.checked_mul(1000)?
    } else {
        number.checked_mul(1_000_000)?
    };
    in_range(micros)
}

fn of_unix_float(number: f64) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "the bound is exact in a double")]
    let seconds = if number.abs() > MILLISECONDS_ABOVE as f64 {
        number / 1000.0
    } else {
        number
    };
    let micros = (seconds * 1e6).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be within the years 1 to 9999"
    )]
    (micros.is_finite() && micros.abs() < 3e17)
        .then_some(micros as i64)
        .and_then(in_range)
}

/// Whether the year of this instant is one to four digits, so that [`of_text`] reads what is printed of it.
pub(in super::super) fn is_plain_year(micros: i64) -> bool {
    in_range(micros).is_some()
}

fn in_range(micros: i64) -> Option<i64> {
    (FIRST_SECOND..=LAST_SECOND)
        .contains(&micros.div_euclid(1_000_000))
        .then_some(micros)
}

/// `2024-05-01`, `2024-05-01T10:00`, `2024-05-01 10:00:00.25+02:00`; microseconds, further digits are cut off.
pub(in super::super) fn of_text(text: &str) -> Option<i64> {
    let date = text.get(..10)?;
    let date = NaiveDate::from_ymd_opt(
        digits(date.get(..4)?)?.try_into().ok()?,
        digits(date.strip_prefix(&date[..4])?.strip_prefix('-')?.get(..2)?)?,
        digits(date.get(7..)?.strip_prefix('-')?)?,
    )?;
    let rest = &text[10..];
    if rest.is_empty() {
        return in_range(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let rest = rest.strip_prefix(['T', 't', ' ', '_'])?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) if clock.len() == 8 => (clock, micros_of(fraction)?),
        Some(_) => return None,
        None => (clock, 0),
    };
    let second = match clock.get(5..)? {
        "" => 0,
        second => digits(second.strip_prefix(':')?)?,
    };
    let time = NaiveTime::from_hms_micro_opt(
        digits(clock.get(..2)?)?,
        digits(clock.get(2..5)?.strip_prefix(':')?)?,
        second,
        fraction,
    )?;
    let local = NaiveDateTime::new(date, time).and_utc().timestamp_micros();
    in_range(local.checked_sub(offset_of(zone)?.checked_mul(1_000_000)?)?)
}

fn digits(text: &str) -> Option<u32> {
    let fits = matches!(text.len(), 2 | 4) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn micros_of(fraction: &str) -> Option<u32> {
    let valid = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| {
        (0..6).fold(0, |sum, n| {
            sum * 10 + fraction.as_bytes().get(n).map_or(0, |b| u32::from(b - b'0'))
        })
    })
}

/// Seconds east of UTC.
fn offset_of(zone: &str) -> Option<i64> {
    let (sign, clock) = match zone.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (zone.len() == 1).then_some(0),
        Some(b'+') => (1, &zone[1..]),
        Some(_) => (-1, zone.strip_prefix('-')?),
    };
    let hours = digits(clock.get(..2)?)?;
    let minutes = digits(
        clock
            .get(2..)
            .map(|rest| rest.strip_prefix(':').unwrap_or(rest))?,
    )?;
    (hours < 24 && minutes < 60 && clock.len() <= 5).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

/// A value as a message shows it: short, whatever its size.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            let more = if short.len() < text.len() { "…" } else { "" };
            format!("{short:?}{more}")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn f2_numbers_are_read_leniently() {
        for (value, expected) in [
            (json!(5), Some(5)),
            (json!("5"), Some(5)),
            (json!(5.0), Some(5)),
            (json!("+2"), Some(2)),
            (json!("-2"), Some(-2)),
            (json!("3.0"), Some(3)),
            (json!(true), Some(1)),
            (json!("1_000"), Some(1000)),
            (json!(u64::MAX), Some(i64::MAX)),
            (json!("99999999999999999999"), Some(i64::MAX)),
            (json!(5.5), None),
            (json!("3.5"), None),
            (json!("x"), None),
            (json!(""), None),
            (json!("1__0"), None),
            (json!([]), None),
        ] {
            assert_eq!(int(&value), expected, "{value}");
        }
        assert_eq!(boolean(&json!("TRUE")), Some(true));
        assert_eq!(boolean(&json!(1.0)), Some(true));
        assert_eq!(boolean(&json!(2)), None);
        assert_eq!(boolean(&json!("truee")), None);
    }

    #[test]
    fn f2_times_are_read_leniently() {
        let second = 1_000_000;
        for (value, expected) in [
            (json!("1970-01-02"), Some(86_400 * second)),
            (json!("1970-01-01T00:00:01"), Some(second)),
            (json!("1970-01-01 01:00:01.5+01:00"), Some(1_500_000)),
            (json!("1970-01-01T00:00:00.0000019Z"), Some(1)),
            (json!("1970-01-01T00:01+0000"), Some(60 * second)),
            (json!(5), Some(5 * second)),
            (json!(1.5), Some(1_500_000)),
            (json!("1716369344"), Some(1_716_369_344 * second)),
            (json!(20_000_000_001_i64), Some(20_000_000_001_000)),
            (json!("2024-13-01T00:00:00Z"), None),
            (json!("2024-02-30"), None),
            (json!("2024-03-01T25:00:00Z"), None),
            (json!("tomorrow"), None),
            (json!(""), None),
            (json!(true), None),
            (json!(1e300), None),
            (json!(i64::MAX), None),
            (json!("2024-05-01T00:00:00+99:00"), None),
            (json!("２０２４-05-01"), None),
        ] {
            assert_eq!(time(&value), expected, "{value}");
        }
    }
}
