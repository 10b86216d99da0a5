//! How urgent something is: ten levels.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How urgent a run is, from 1 to 10. The greater priority runs first, so `Ord` reads as urgency.
///
/// The default is 1, as in the reference's task queue.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Priority(u8);

/// The number named is not a priority level.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("priority {level} is not a level; use 1 (least urgent) to 10 (most urgent)")]
pub struct PriorityOutOfRange {
    /// The number that was asked for.
    pub level: i64,
}

impl Priority {
    /// How many levels there are.
    pub const LEVELS: usize = 10;
    /// The least urgent level, 1. Also the default.
    pub const MIN: Self = Self(1);
    /// The most urgent level, 10.
    pub const MAX: Self = Self(10);

    /// Returns the priority for `level`.
    ///
    /// # Errors
    ///
    /// [`PriorityOutOfRange`] unless `level` is 1 to 10.
    ///
    /// ```
    /// use tenfold::Priority;
    ///
    /// assert_eq!(Priority::new(10)?, Priority::MAX);
    /// assert!(Priority::new(11).is_err());
    /// # Ok::<(), tenfold::PriorityOutOfRange>(())
    /// ```
    pub const fn new(level: u8) -> Result<Self, PriorityOutOfRange> {
        if 1 <= level && level as usize <= Self::LEVELS {
            Ok(Self(level))
        } else {
            Err(PriorityOutOfRange { level: level as i64 })
        }
    }

    /// The level as a number, 1 to 10.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }

    /// Index of this level's lane, 0 to 9. Always below [`Self::LEVELS`].
    pub(crate) const fn lane(self) -> usize {
        self.0 as usize - 1
    }

    /// The level whose lane has this index.
    pub(crate) const fn of_lane(lane: usize) -> Self {
        assert!(lane < Self::LEVELS, "there are ten lanes");
        #[expect(clippy::cast_possible_truncation, reason = "below ten")]
        Self(lane as u8 + 1)
    }

    /// All levels, the most urgent first.
    pub fn descending() -> impl ExactSizeIterator<Item = Self> {
        (0..Self::LEVELS).rev().map(Self::of_lane)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::MIN
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<i64> for Priority {
    type Error = PriorityOutOfRange;

    fn try_from(level: i64) -> Result<Self, PriorityOutOfRange> {
        u8::try_from(level)
            .ok()
            .and_then(|level| Self::new(level).ok())
            .ok_or(PriorityOutOfRange { level })
    }
}

impl TryFrom<u8> for Priority {
    type Error = PriorityOutOfRange;

    fn try_from(level: u8) -> Result<Self, PriorityOutOfRange> {
        Self::new(level)
    }
}

impl Serialize for Priority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let level = i64::deserialize(deserializer)?;
        Self::try_from(level).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_to_ten_are_levels() {
        for level in 0..=u8::MAX {
            assert_eq!(Priority::new(level).is_ok(), (1..=10).contains(&level), "{level}");
            assert_eq!(Priority::try_from(level), Priority::new(level));
        }
        assert_eq!(
            Priority::try_from(-3_i64).unwrap_err().to_string(),
            "priority -3 is not a level; use 1 (least urgent) to 10 (most urgent)"
        );
    }

    #[test]
    fn a_lane_and_its_level_name_each_other() {
        for priority in Priority::descending() {
            assert_eq!(Priority::of_lane(priority.lane()), priority);
        }
        assert_eq!(Priority::descending().next(), Some(Priority::MAX));
    }
}
