//! Intervals: every so much time, counted from an anchor.
//!
//! Below 24 hours the count is elapsed time, in whole microseconds. From 24 hours on it is the local clock's: the
//! anchor's local time plus whole multiples of the interval, each turned into an instant by the zone's rule.
//! Dates before the anchor exist too.

use super::civil::{self, DAY};
use super::error::{ScheduleError, ScheduleErrorKind};
use super::zone::Zone;

/// Longest interval: the days from the year 1 to 9999, about 10,000 years.
const LONGEST: i64 = 3_652_059 * DAY;
const EXAMPLE: &str = "3600";

/// An interval with its anchor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Interval {
    /// Microseconds from one date to the next, 1 to [`LONGEST`].
    pub(crate) every: i64,
    /// The instant that the dates are counted from.
    pub(crate) anchor: i64,
}

impl Interval {
    /// Checks an interval of `every` microseconds; `text` is how the caller wrote it.
    pub(crate) fn new(every: Option<i64>, text: &str, anchor: i64) -> Result<Self, ScheduleError> {
        let refuse = |problem: &str| {
            ScheduleError::new(ScheduleErrorKind::Interval, "interval", text, problem, EXAMPLE)
        };
        match every {
            Some(every @ 1..=LONGEST) => {
                if (civil::FIRST..=civil::LAST).contains(&anchor) {
                    Ok(Self { every, anchor })
                } else {
                    Err(ScheduleError::new(
                        ScheduleErrorKind::Timestamp,
                        "anchor_date",
                        &civil::instant_of(anchor.clamp(civil::FIRST - DAY, civil::LAST + 1)).to_rfc3339(),
                        "lies outside the years 1 to 9999",
                        "2026-01-01T00:00:00Z",
                    ))
                }
            }
            Some(..=0) => Err(refuse(
                "must be at least one microsecond; zero or less leads nowhere",
            )),
            Some(_) | None => Err(refuse("is longer than 3,652,059 days, the years 1 to 9999")),
        }
    }

    /// Whether the dates are counted on the local clock.
    pub(crate) fn is_wall(&self) -> bool {
        self.every >= DAY
    }

    /// The first multiple of the interval from `origin` that is not before `from`.
    pub(crate) fn first_from(&self, origin: i64, from: i64) -> Option<i64> {
        // Both lie in the years 1 to 9999 (with a margin of days), so the difference fits.
        let beyond = (from - origin).rem_euclid(self.every);
        let first = if beyond == 0 {
            from
        } else {
            from.checked_add(self.every - beyond)?
        };
        (first <= civil::LAST).then_some(first)
    }
}

/// The local times of an interval of 24 hours or more. Forward only.
#[derive(Clone, Debug)]
pub(crate) struct IntervalCursor {
    interval: Interval,
    next: Option<i64>,
}

impl IntervalCursor {
    pub(crate) fn new(interval: Interval, zone: &Zone, from: i64) -> Self {
        let next = interval.first_from(zone.local(interval.anchor), from.max(civil::FIRST));
        Self { interval, next }
    }

    pub(crate) fn peek(&self) -> Option<i64> {
        self.next
    }

    pub(crate) fn advance(&mut self) {
        self.next = self
            .next
            .and_then(|next| next.checked_add(self.interval.every))
            .filter(|&next| next <= civil::LAST);
    }

    pub(crate) fn advance_to(&mut self, from: i64) {
        if let Some(next) = self.next.filter(|&next| next < from) {
            self.next = self.interval.first_from(next, from);
        }
    }
}
