//! What is wrong with a schedule, where, and what would do.

use std::fmt;
use std::ops::Range;

/// Longest piece of a refused text that is shown back, in characters.
const SHOWN: usize = 72;

/// What kind of thing was refused, for programs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ScheduleErrorKind {
    /// A cron text outside the dialect.
    Cron,
    /// A cron text with `R` or `H`: random and hashed forms have no fixed dates.
    RandomCron,
    /// An interval that is not a positive span of whole microseconds.
    Interval,
    /// A recurrence rule that cannot be read, or whose parts contradict each other.
    Recurrence,
    /// A recurrence rule of more than 6,500 characters.
    TooLong,
    /// A zone that is not the exact name of a zone in the database.
    Zone,
    /// A time stamp that cannot be read or lies outside the years 1 to 9999.
    Timestamp,
    /// The schedule fires at no time up to the year 9999, or none was found within the step bound.
    NeverFires,
    /// The end of the bounds lies before their start.
    Bounds,
    /// The JSON has a key that no schedule has, lacks one that it needs, or has a value of the wrong type.
    Json,
    /// A setting of the schedule (exclusions, union, jitter) is over its limit.
    Setting,
}

/// A schedule that was refused: the field, its text, the place in it, and what would do.
///
/// `Display` names the problem and a way out, then shows the text with the place underlined.
#[derive(Clone, Eq, PartialEq)]
pub struct ScheduleError(Box<Parts>);

#[derive(Clone, Eq, PartialEq)]
struct Parts {
    kind: ScheduleErrorKind,
    field: &'static str,
    text: String,
    span: Range<usize>,
    problem: String,
    example: &'static str,
}

impl ScheduleError {
    /// An error about the whole of `text`.
    pub(crate) fn new(
        kind: ScheduleErrorKind,
        field: &'static str,
        text: &str,
        problem: impl Into<String>,
        example: &'static str,
    ) -> Self {
        Self(Box::new(Parts {
            kind,
            field,
            text: text.to_owned(),
            span: 0..text.len(),
            problem: problem.into(),
            example,
        }))
    }

    /// The same, about the bytes of `span`; both ends are moved to character boundaries inside the text.
    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        let text = &self.0.text;
        let down = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = down(span.start);
        self.0.span = start..down(span.end).max(start);
        self
    }

    /// What kind of thing was refused.
    #[must_use]
    pub fn kind(&self) -> ScheduleErrorKind {
        self.0.kind
    }

    /// The field at fault, such as `hour`, `timezone` or `BYDAY`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.0.field
    }

    /// The text that was refused, whole.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The bytes of [`text`](Self::text) that are at fault.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.0.span.clone()
    }

    /// Something that would be accepted in this place.
    #[must_use]
    pub fn example(&self) -> &'static str {
        self.0.example
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            field,
            text,
            span,
            problem,
            example,
            ..
        } = &*self.0;
        write!(f, "{field}: {problem}; for example `{example}`")?;
        if text.is_empty() {
            return Ok(());
        }
        // Long texts are cut to a window around the place; control characters would break the picture.
        let before = text[..span.start].chars().count();
        let marked = text[span.clone()].chars().count().max(1);
        let skip = if before + marked > SHOWN {
            before.saturating_sub(SHOWN / 3)
        } else {
            0
        };
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let window: String = text.chars().skip(skip).take(SHOWN).map(clean).collect();
        let carets = marked.min(SHOWN - (before - skip).min(SHOWN - 1));
        write!(
            f,
            "\n  | {window}\n  | {:pad$}{:^<carets$}",
            "",
            "",
            pad = before - skip
        )
    }
}

impl fmt::Debug for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleError")
            .field("kind", &self.0.kind)
            .field("field", &self.0.field)
            .field("text", &self.0.text)
            .field("span", &self.0.span)
            .field("problem", &self.0.problem)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ScheduleError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_place() {
        let error = ScheduleError::new(
            ScheduleErrorKind::Cron,
            "hour",
            "0 25 * * *",
            "25 is above 23",
            "0 9 * * *",
        )
        .at(2..4);
        assert_eq!(
            error.to_string(),
            "hour: 25 is above 23; for example `0 9 * * *`\n  | 0 25 * * *\n  |   ^^"
        );
    }

    #[test]
    fn any_span_of_any_text_can_be_shown() {
        let long = "ä".repeat(500);
        for text in ["", "a", "ä\n", long.as_str()] {
            for start in 0..text.len().min(20) + 3 {
                for end in [0, start, start + 1, start + 90, text.len(), text.len() + 9] {
                    let error =
                        ScheduleError::new(ScheduleErrorKind::Cron, "f", text, "p", "e").at(start..end);
                    assert!(error.to_string().len() < 800);
                }
            }
        }
    }
}
