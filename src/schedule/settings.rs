//! What narrows or spreads a schedule: bounds, exclusions, jitter.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use super::civil::{self, DAY};
use super::error::{ScheduleError, ScheduleErrorKind};
use super::zone::Zone;

/// Most exclusions that a schedule may have.
pub const EXCLUSIONS_MAX: usize = 10_000;
/// Longest jitter.
pub const JITTER_MAX: Duration = Duration::from_hours(24);

/// Dates that a schedule leaves out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Exclusion {
    /// One exact instant.
    Instant(DateTime<Utc>),
    /// Everything that happens while the clock of the schedule's zone shows this day.
    Day(NaiveDate),
}

/// A spread that is the same whenever it is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Jitter {
    /// Most microseconds that a date is moved later.
    pub(crate) max: i64,
    pub(crate) seed: u64,
}

impl Jitter {
    pub(crate) fn new(max: Duration, seed: u64) -> Result<Self, ScheduleError> {
        if max > JITTER_MAX {
            return Err(ScheduleError::new(
                ScheduleErrorKind::Setting,
                "jitter",
                &max.as_secs_f64().to_string(),
                "is longer than a day (86,400 seconds)",
                "30",
            ));
        }
        let max = i64::try_from(max.as_micros()).expect("a day of microseconds fits");
        Ok(Self { max, seed })
    }

    /// The moved date of a date at `at` whose follower comes at `next`: not before `at`, before `next`.
    pub(crate) fn moved(self, at: i64, next: Option<i64>) -> i64 {
        let room = next.map_or(i64::MAX, |next| next - at - 1).min(self.max);
        let hash = mix(self.seed ^ mix(at.cast_unsigned()));
        // The high half of a product spreads the hash evenly over 0 to `room`.
        let moved = (u128::from(hash) * (u128::from(room.unsigned_abs()) + 1)) >> 64;
        at + i64::try_from(moved).expect("at most `room`")
    }
}

/// The finaliser of the `SplitMix64` generator: every input bit reaches every output bit.
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The settings of one schedule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// No date before this instant.
    pub(crate) start: Option<i64>,
    /// No date after this instant.
    pub(crate) end: Option<i64>,
    instants: BTreeSet<i64>,
    days: BTreeSet<i64>,
    pub(crate) jitter: Option<Jitter>,
}

impl Settings {
    pub(crate) const NONE: Self = Self {
        start: None,
        end: None,
        instants: BTreeSet::new(),
        days: BTreeSet::new(),
        jitter: None,
    };

    pub(crate) fn exclude(&mut self, exclusion: Exclusion) -> Result<(), ScheduleError> {
        match exclusion {
            Exclusion::Instant(at) => self.instants.insert(at.timestamp_micros()),
            Exclusion::Day(day) => self.days.insert(civil::day_number(day)),
        };
        if self.instants.len() + self.days.len() > EXCLUSIONS_MAX {
            return Err(ScheduleError::new(
                ScheduleErrorKind::Setting,
                "exclude",
                "",
                format!("more than {EXCLUSIONS_MAX} exclusions; bounds or another rule may say the same"),
                "[\"2026-12-25\"]",
            ));
        }
        Ok(())
    }

    /// The exclusions in order: instants, then days.
    pub(crate) fn exclusions(&self) -> impl Iterator<Item = Exclusion> {
        let instants = self
            .instants
            .iter()
            .map(|&at| Exclusion::Instant(civil::instant_of(at)));
        let days = self
            .days
            .iter()
            .map(|&day| Exclusion::Day(civil::naive_of(day * DAY).date()));
        instants.chain(days)
    }

    /// Whether an exclusion covers `at`, and if so the first instant after it that may not be covered.
    pub(crate) fn excluded_until(&self, at: i64, zone: &Zone) -> Option<i64> {
        if self.instants.contains(&at) {
            return Some(at + 1);
        }
        if self.days.is_empty() {
            return None;
        }
        let segment = zone.segment_at(at);
        let mut day = civil::day_of(at + segment.offset);
        if !self.days.contains(&day) {
            return None;
        }
        while self.days.contains(&day) {
            day += 1;
        }
        // The next day's first instant; but a clock that goes back may show the day before again.
        Some(zone.resolve(day * DAY).min(segment.end).max(at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_stable_stays_in_its_room_and_uses_all_of_it() {
        let jitter = Jitter::new(Duration::from_micros(10), 7).unwrap();
        let mut seen = BTreeSet::new();
        for at in 0..1_000 {
            let moved = jitter.moved(at, None);
            assert_eq!(moved, jitter.moved(at, None));
            assert!((at..=at + 10).contains(&moved));
            seen.insert(moved - at);
            assert_eq!(jitter.moved(at, Some(at + 1)), at);
            assert!(jitter.moved(at, Some(at + 4)) < at + 4);
        }
        assert_eq!(seen.len(), 11);
        assert!(Jitter::new(JITTER_MAX + Duration::from_nanos(1), 0).is_err());
    }
}
