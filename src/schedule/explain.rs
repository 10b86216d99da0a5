//! The next dates in words: what the clock shows, and why a date is not where it was asked for.

use std::fmt;

use chrono::{DateTime, FixedOffset, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

use super::civil;
use super::walk::Hit;
use super::zone::Zone;
use super::{Occurrences, Schedule};

/// One date of a schedule, explained. Made by [`Schedule::explain`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Explained {
    /// The instant at which it fires.
    pub at: DateTime<Utc>,
    /// The same instant on the clock of the schedule's zone.
    pub local: DateTime<FixedOffset>,
    /// What is special about it; mostly nothing.
    pub notes: Vec<Note>,
}

/// What is special about a date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The clock skips `wanted`, so the date moved forward by the length of the gap.
    MovedOutOfGap {
        /// The local time that does not exist on that day.
        wanted: NaiveDateTime,
    },
    /// The clock shows this local time twice, and this is the first time.
    FirstOfTwo,
    /// The clock shows this local time twice, and this is the second time.
    SecondOfTwo,
    /// Jitter moved the date later.
    Spread {
        /// By how much.
        by: TimeDelta,
    },
}

impl Schedule {
    /// The first `n` dates not before `at`, each with what the clock shows and with notes where it was moved or
    /// where its local time comes twice.
    ///
    /// ```
    /// use tenfold::schedule::Schedule;
    ///
    /// let nightly = Schedule::cron("30 2 * * *", "America/New_York")?;
    /// let told = nightly.explain("2026-03-08T00:00:00-05:00".parse().unwrap(), 1);
    /// assert_eq!(told[0].to_string(),
    ///     "2026-03-08T03:30:00-04:00 (moved out of a gap: the clock skips 2026-03-08 02:30:00)");
    /// # Ok::<(), tenfold::schedule::ScheduleError>(())
    /// ```
    #[must_use]
    pub fn explain(&self, at: DateTime<Utc>, n: usize) -> Vec<Explained> {
        let mut dates: Occurrences<'_> = self.occurrences(at..);
        std::iter::from_fn(|| dates.next_hit())
            .take(n.min(super::PREVIEW_MAX))
            .map(|(at, hit)| Explained::of(at, hit, self.zone()))
            .collect()
    }
}

impl Explained {
    fn of(at: i64, hit: Hit, zone: &Zone) -> Self {
        let mut notes = Vec::new();
        let segment = zone.segment_at(hit.at);
        let local = hit.at + segment.offset;
        if hit.wanted != local {
            notes.push(Note::MovedOutOfGap {
                wanted: civil::naive_of(hit.wanted),
            });
        } else if local < segment.fresh_from() {
            notes.push(Note::SecondOfTwo);
        } else if segment.end < civil::LAST && segment.end - hit.at <= zone.segment_at(segment.end).fold() {
            notes.push(Note::FirstOfTwo);
        }
        if at != hit.at {
            notes.push(Note::Spread {
                by: TimeDelta::microseconds(at - hit.at),
            });
        }
        let at_utc = civil::instant_of(at);
        let seconds = zone.offset_at(at) / civil::SECOND;
        let offset = i32::try_from(seconds).ok().and_then(FixedOffset::east_opt);
        Self {
            at: at_utc,
            local: at_utc.with_timezone(&offset.expect("offsets are below a day")),
            notes,
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.local.to_rfc3339_opts(SecondsFormat::AutoSi, false))?;
        for (i, note) in self.notes.iter().enumerate() {
            write!(f, "{}{note}", if i == 0 { " (" } else { "; " })?;
        }
        f.write_str(if self.notes.is_empty() { "" } else { ")" })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MovedOutOfGap { wanted } => write!(f, "moved out of a gap: the clock skips {wanted}"),
            Self::FirstOfTwo => f.write_str("first pass of a repeated hour"),
            Self::SecondOfTwo => f.write_str("second pass of a repeated hour"),
            Self::Spread { by } => {
                let seconds = by.num_seconds();
                write!(f, "spread by {seconds}.{:06} s", by.subsec_micros())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(schedule: &Schedule, at: &str, n: usize) -> Vec<String> {
        schedule
            .explain(at.parse().unwrap(), n)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn s2_the_table_in_the_module_is_true() {
        let gap = "2026-03-08T06:00:00Z";
        let fold = "2026-11-01T05:00:00Z";
        let cron = |text: &str| Schedule::cron(text, "America/New_York").unwrap();
        let starts = |told: Vec<String>| {
            told.iter()
                .map(|text| text[11..22].to_owned())
                .collect::<Vec<_>>()
        };
        let at = |schedule: &Schedule, from: &str, n: usize| starts(told(schedule, from, n));

        assert_eq!(at(&cron("30 2 * * *"), gap, 1), ["03:30:00-04"]);
        assert_eq!(at(&cron("30 2 * * *"), fold, 1), ["02:30:00-05"]);
        assert_eq!(at(&cron("30 1 * * *"), gap, 1), ["01:30:00-05"]);
        assert_eq!(at(&cron("30 1 * * *"), fold, 1), ["01:30:00-04"]);
        assert_eq!(
            at(&cron("0 * * * *"), "2026-03-08T05:00:00Z", 3),
            ["00:00:00-05", "01:00:00-05", "03:00:00-04"]
        );
        assert_eq!(at(&cron("0 * * * *"), fold, 2), ["01:00:00-04", "02:00:00-05"]);
        assert_eq!(
            at(&cron("*/30 * * * *"), "2026-03-08T06:30:00Z", 3),
            ["01:30:00-05", "03:00:00-04", "03:30:00-04"]
        );
        assert_eq!(
            at(&cron("*/30 * * * *"), fold, 3),
            ["01:00:00-04", "01:30:00-04", "02:00:00-05"]
        );

        let every = |hours, anchor: &str| {
            Schedule::interval(
                TimeDelta::hours(hours),
                anchor.parse().unwrap(),
                "America/New_York",
            )
            .unwrap()
        };
        let hourly = every(1, "2026-01-01T00:00:00Z");
        assert_eq!(at(&hourly, gap, 2), ["01:00:00-05", "03:00:00-04"]);
        assert_eq!(
            at(&hourly, fold, 3),
            ["01:00:00-04", "01:00:00-05", "02:00:00-05"]
        );
        let morning = every(24, "2026-01-01T14:00:00Z");
        assert_eq!(at(&morning, gap, 1), ["09:00:00-04"]);
        assert_eq!(at(&morning, fold, 1), ["09:00:00-05"]);
        let night = every(24, "2026-01-01T07:30:00Z");
        assert_eq!(at(&night, gap, 2), ["03:30:00-04", "02:30:00-04"]);
        assert_eq!(at(&night, fold, 1), ["02:30:00-05"]);
    }

    #[test]
    fn notes_say_what_happened() {
        let hourly =
            Schedule::interval(TimeDelta::hours(1), DateTime::UNIX_EPOCH, "America/New_York").unwrap();
        assert_eq!(
            told(&hourly, "2026-11-01T05:00:00Z", 3),
            [
                "2026-11-01T01:00:00-04:00 (first pass of a repeated hour)",
                "2026-11-01T01:00:00-05:00 (second pass of a repeated hour)",
                "2026-11-01T02:00:00-05:00"
            ]
        );
        let spread = hourly.with_jitter(Duration::from_secs(30), 1).unwrap();
        let explained = &spread.explain("2026-05-01T05:00:00Z".parse().unwrap(), 1)[0];
        assert!(matches!(explained.notes[..], [Note::Spread { by }] if by <= TimeDelta::seconds(30)));
    }
}
