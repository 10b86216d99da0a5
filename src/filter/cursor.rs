//! A place in a sort that stays where it is while rows come and go.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::field::{Entity, Field, Kind};
use super::query::{Direction, SortKey};
use super::records::{Owned, Records, Value, read};

/// Where a page ended: the sort keys of its last row.
///
/// A query that starts after a cursor ([`Query::after`](super::Query::after)) gives the rows that sort behind it. So rows that do not
/// change are neither repeated nor missed, whatever else is made, changed or deleted between two pages, the cursor's own row included.
/// A row whose sort keys change moves, and is seen where it then stands.
///
/// It prints as text that needs no escaping in a URL, and parses back.
///
/// ```
/// use tenfold::filter::{Cursor, Filter, Query};
/// # use tenfold::{Engine, NewDeployment, filter::{Entity, Limits, Start}};
/// # let engine = Engine::new();
/// for name in ["a", "b", "c"] {
///     engine.deploy(NewDeployment::new("report", name))?;
/// }
/// let query = Query::new(Filter::everything(Entity::Deployment)).window(Start::Offset(0), 2, &Limits::default())?;
/// let first = engine.ids(&query)?;
/// let text = first.next.expect("there is more").to_string();
/// let second = engine.ids(&query.after(text.parse::<Cursor>()?)?)?;
/// assert_eq!((first.ids.len(), second.ids.len(), second.next), (2, 1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Cursor {
    keys: Box<[(SortKey, Owned)]>,
}

impl Cursor {
    /// The place of a row in a sort.
    pub(crate) fn of<R: Records + ?Sized>(sort: &[SortKey], records: &R, row: u32) -> Self {
        Self::from_values(sort, |field| read(records, field, row))
    }

    /// The place of the row that has these values.
    pub(crate) fn from_values<'a>(sort: &[SortKey], value: impl Fn(Field) -> Value<'a>) -> Self {
        let keys = sort
            .iter()
            .map(|key| {
                // Numbers may come as instants from where they are kept.
                let held = match (Owned::of(value(key.field)), key.field.kind()) {
                    (Owned::Time(number), Kind::Int | Kind::Duration) => Owned::Int(number),
                    (held, _) => held,
                };
                (*key, held)
            })
            .collect();
        Self { keys }
    }

    /// Whether it is a place in this sort.
    pub(crate) fn fits(&self, sort: &[SortKey]) -> bool {
        self.keys.iter().map(|(key, _)| key).eq(sort)
    }

    /// Whether the row with these values sorts behind the cursor.
    pub(crate) fn is_before<'a>(&self, value: impl Fn(Field) -> Value<'a>) -> bool {
        for (key, held) in &self.keys {
            let order = match (value(key.field), held) {
                (Value::Time(number), Owned::Int(bound)) => number.cmp(bound),
                (value, held) => value.order(held.value()),
            };
            let order = match key.direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            };
            if order.is_ne() {
                return order.is_gt();
            }
        }
        false
    }
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no cursor (its part {part}); give the text that a page's cursor printed, unchanged")]
pub struct CursorError {
    /// The part that cannot be read, counted from 1.
    pub part: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, held)) in self.keys.iter().enumerate() {
            if n > 0 {
                f.write_str("~")?;
            }
            let way = match key.direction {
                Direction::Ascending => 'a',
                Direction::Descending => 'd',
            };
            write!(f, "{}.{way}.", key.field)?;
            match held {
                Owned::Null => f.write_str("n")?,
                Owned::Bool(value) => write!(f, "b{}", u8::from(*value))?,
                Owned::Int(value) => write!(f, "i{value}")?,
                Owned::Time(value) => write!(f, "t{value}")?,
                Owned::Code(value) => write!(f, "c{value}")?,
                Owned::Uuid(value) => write!(f, "u{}", value.simple())?,
                Owned::Text(text) => {
                    f.write_str("s")?;
                    for byte in text.bytes() {
                        if byte.is_ascii_alphanumeric() || byte == b'-' {
                            write!(f, "{}", char::from(byte))?;
                        } else {
                            write!(f, "_{byte:02x}")?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let parts = text.split('~').enumerate();
        let keys = parts.map(|(n, part)| key(part).ok_or(CursorError { part: n + 1 }));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

/// `deployment.name.a.sNightly`, taken apart.
fn key(part: &str) -> Option<(SortKey, Owned)> {
    let mut pieces = part.splitn(4, '.');
    let entity = pieces.next()?;
    let entity = Entity::ALL.into_iter().find(|other| other.name() == entity)?;
    let field = entity.field(pieces.next()?)?;
    let key = match pieces.next()? {
        "a" => SortKey::ascending(field),
        "d" => SortKey::descending(field),
        _ => return None,
    };
    let value = pieces.next()?;
    let (tag, rest) = (value.get(..1)?, value.get(1..)?);
    let held = match (tag, field.kind()) {
        ("n", _) if rest.is_empty() => Owned::Null,
        ("b", Kind::Bool) => Owned::Bool(match rest {
            "0" => false,
            "1" => true,
            _ => return None,
        }),
        ("i", Kind::Int | Kind::Duration) => Owned::Int(rest.parse().ok()?),
        ("t", Kind::Time) => Owned::Time(rest.parse().ok()?),
        ("c", Kind::Code(words)) => Owned::Code(
            rest.parse()
                .ok()
                .filter(|&code| usize::from(code) < words.len())?,
        ),
        ("u", Kind::Uuid) => Owned::Uuid(Uuid::try_parse(rest).ok()?),
        ("s", Kind::Text) => Owned::Text(unescape(rest)?.into()),
        _ => return None,
    };
    Some((key, held))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        if first == b'_' {
            let digits = std::str::from_utf8(more.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &more[2..];
        } else {
            bytes.push(first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_prints_without_escapes_and_parses_back() {
        let sort = [
            SortKey::descending(Field::RunName),
            SortKey::ascending(Field::RunStateType),
            SortKey::ascending(Field::RunEndTime),
            SortKey::descending(Field::RunPriority),
            SortKey::ascending(Field::RunAutoScheduled),
            SortKey::ascending(Field::RunId),
        ];
        let cursor = Cursor::from_values(&sort, |field| match field {
            Field::RunName => Value::Text("a_b ~.é%"),
            Field::RunStateType => Value::Code(3),
            Field::RunPriority => Value::Time(-7),
            Field::RunAutoScheduled => Value::Bool(true),
            Field::RunId => Value::Uuid(Uuid::from_u128(5)),
            _ => Value::Null,
        });
        let text = cursor.to_string();
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(cursor.clone()));
        assert!(cursor.fits(&sort) && !cursor.fits(&sort[1..]));
    }

    #[test]
    fn what_is_no_cursor_is_refused_with_its_part() {
        for (text, part) in [
            ("", 1),
            ("run.name.a", 1),
            ("run.name.a.s_z", 1),
            ("run.name.a.s_", 1),
            ("run.name.a.é", 1),
            ("run.name.a.sx~run.id.a.i5", 2),
            ("run.nme.a.sx", 1),
            ("run.name.x.sx", 1),
            ("run.state_type.a.c9", 1),
            ("run.priority.a.i99999999999999999999", 1),
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError { part }), "{text}");
        }
    }
}
