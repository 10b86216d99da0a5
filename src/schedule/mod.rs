//! When something runs: cron texts, intervals and recurrence rules in an IANA time zone, as pure date arithmetic.
//!
//! A [`Schedule`] is an immutable value. It holds no clock, no lock and no state: the same question has the same
//! answer for ever, asking in pieces equals asking at once, and dates are strictly increasing instants in UTC.
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use tenfold::schedule::Schedule;
//!
//! let weekdays = Schedule::cron("0 9 * * mon-fri", "Europe/Berlin")?;
//! let friday: DateTime<Utc> = "2026-03-27T09:00:00Z".parse().unwrap();
//!
//! // The clocks go forward on Sunday, and 09:00 in Berlin stays 09:00 in Berlin.
//! let next: Vec<String> = weekdays.preview(friday, 2).iter().map(|at| at.to_rfc3339()).collect();
//! assert_eq!(next, ["2026-03-30T07:00:00+00:00", "2026-03-31T07:00:00+00:00"]);
//! # Ok::<(), tenfold::schedule::ScheduleError>(())
//! ```
//!
//! # When the clocks change
//!
//! Cron texts, recurrence rules and intervals of 24 hours or more are sets of *local* times. Intervals below 24 hours
//! count elapsed time. For New York in 2026, forward from 02:00 to 03:00 on 8 March and back from 02:00 to 01:00 on
//! 1 November:
//!
//! | schedule | on the day of the gap | on the day of the fold |
//! |---|---|---|
//! | `30 2 * * *` | once, at 03:30: the offset before the gap applies | once, at 02:30 |
//! | `30 1 * * *` | once, at 01:30 | once, the first time it is 01:30 |
//! | `0 * * * *` | 00:00, 01:00, 03:00: 02:00 would be 03:00, which is there already | 01:00 once, so two hours pass to 02:00 |
//! | `*/30 * * * *` | 01:30, 03:00, 03:30: every half hour of elapsed time | 01:00, 01:30, then 02:00 |
//! | every 1 hour | every hour of elapsed time | every hour of elapsed time, 01:00 twice |
//! | every 24 hours, anchored at 09:00 | 09:00, after 23 hours | 09:00, after 25 hours |
//! | every 24 hours, anchored at 02:30 | 03:30, and 02:30 again from the next day on | 02:30 |
//!
//! No date depends on where a search begins. [`zone_data_version`] names the rules in use; they are carried inside
//! the crate.
//!
//! # Bounds
//!
//! Dates lie in the years 1 to 9999 and have whole microseconds. A schedule that can never fire is refused when it
//! is made; one that has ended is valid and yields nothing. Every search is bounded in steps.

mod civil;
mod cron;
mod error;
mod explain;
#[cfg(test)]
mod extreme_tests;
mod foreign;
#[cfg(test)]
mod hostile_tests;
mod interval;
mod json;
mod occurrences;
mod rrule;
mod settings;
mod steps;
mod walk;
mod zone;

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

pub use self::cron::DayMatch;
pub use error::{ScheduleError, ScheduleErrorKind};
pub use explain::{Explained, Note};
pub use occurrences::Occurrences;
pub use rrule::RRULE_LENGTH_MAX;
pub use settings::{EXCLUSIONS_MAX, Exclusion, JITTER_MAX};
pub use zone::zone_data_version;

use self::cron::Cron;
use foreign::CronCrate;
use interval::Interval;
use rrule::Recurrence;
use settings::{Jitter, Settings};
use zone::Zone;

/// Most members that a union may have.
pub const UNION_MAX: usize = 64;
/// Most dates that one call of [`Schedule::dates`] gives.
pub const DATES_MAX: usize = 1_002;

/// Most dates that one call of [`Schedule::preview`] or [`Schedule::explain`] gives; [`Schedule::occurrences`] gives more, one by one.
pub const PREVIEW_MAX: usize = 100_000;

/// When something runs. See the [module](self) for the rules.
///
/// Cloning is cheap and shares what was parsed. `Serialize` and `Deserialize` use the reference's JSON, told apart by
/// their keys: `{"cron", "timezone", "day_or"}`, `{"interval", "anchor_date", "timezone"}`, `{"rrule", "timezone"}`,
/// and of this crate `{"cron_crate", "timezone"}` and `{"union": [..]}`; each with the optional settings `start`,
/// `end`, `exclude`, `jitter` and `seed`. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    rule: Rule,
    settings: Option<Arc<Settings>>,
}

/// What a schedule is made of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ScheduleKind {
    /// A cron text.
    Cron,
    /// A span of time from an anchor.
    Interval,
    /// An RFC 5545 recurrence rule or set.
    Recurrence,
    /// A schedule in the dialect of the `cron` crate.
    CronCrate,
    /// All dates of several schedules.
    Union,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    Cron(Arc<Cron>, Zone),
    Interval(Interval, Zone),
    Recurrence(Arc<Recurrence>, Zone),
    CronCrate(Arc<CronCrate>, Zone),
    Union(Arc<[Schedule]>),
}

impl Schedule {
    /// A schedule by a cron text of five fields, of six with seconds last, or of seven with seconds and year last.
    ///
    /// `timezone` is the exact name of an IANA zone; `""` is UTC. When both day fields are restricted, one of them is
    /// enough; [`cron_with_days`](Self::cron_with_days) offers the other reading.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] with the field and the place when the text is not in the dialect, when it uses random or
    /// hashed forms, when it never fires, and for an unknown zone.
    ///
    /// ```
    /// use tenfold::schedule::Schedule;
    ///
    /// assert!(Schedule::cron("0 0 L * *", "UTC").is_ok());
    /// assert_eq!(Schedule::cron("0 25 * * *", "UTC").unwrap_err().field(), "hour");
    /// ```
    pub fn cron(text: &str, timezone: &str) -> Result<Self, ScheduleError> {
        Self::cron_with_days(text, timezone, DayMatch::Either)
    }

    /// A schedule by a cron text, with a choice of how its two day fields combine.
    ///
    /// # Errors
    ///
    /// As [`cron`](Self::cron).
    pub fn cron_with_days(text: &str, timezone: &str, days: DayMatch) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(text, days)?;
        Ok(Self::of(Rule::Cron(Arc::new(cron), zone_or_utc(timezone)?)))
    }

    /// A schedule every so much time, counted from `anchor` in both directions.
    ///
    /// Below 24 hours the time is elapsed time; from 24 hours on it is counted on the clock of `timezone` from the
    /// anchor's local time. `every` has microseconds; nanoseconds below are cut off.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when `every` is less than a microsecond or more than 3,652,059 days, when the anchor lies
    /// outside the years 1 to 9999, and for an unknown zone.
    pub fn interval(every: TimeDelta, anchor: DateTime<Utc>, timezone: &str) -> Result<Self, ScheduleError> {
        // Beyond an i64 of microseconds it is too long, and the check says so.
        let micros = every.num_microseconds();
        let micros = if every < TimeDelta::zero() {
            Some(-1)
        } else {
            micros
        };
        let interval = Interval::new(micros, &every.to_string(), anchor.timestamp_micros())?;
        Ok(Self::of(Rule::Interval(interval, zone_or_utc(timezone)?)))
    }

    /// A schedule by an RFC 5545 recurrence rule, or a set of them with `RDATE`, `EXDATE` and `EXRULE`.
    ///
    /// All digits of the text are local times in `timezone`, whatever `Z` or `TZID` it has. Without `DTSTART` the rule
    /// begins at 2020-01-01T00:00:00.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] with the part and the place when the text cannot be read, has more than
    /// [`RRULE_LENGTH_MAX`] characters, or never fires; and for an unknown or empty zone.
    ///
    /// ```
    /// use tenfold::schedule::Schedule;
    ///
    /// let last_fridays = Schedule::rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=16", "Europe/London")?;
    /// let next = last_fridays.next_at_or_after("2026-06-01T00:00:00Z".parse().unwrap()).unwrap();
    /// assert_eq!(next.to_rfc3339(), "2026-06-26T15:00:00+00:00");
    /// # Ok::<(), tenfold::schedule::ScheduleError>(())
    /// ```
    pub fn rrule(text: &str, timezone: &str) -> Result<Self, ScheduleError> {
        let zone = Zone::named(timezone)?;
        Ok(Self::of(Rule::Recurrence(
            Arc::new(Recurrence::parse(text)?),
            zone,
        )))
    }

    /// The same in the zone that the text itself names by its first `TZID`, or in UTC when it names none.
    ///
    /// # Errors
    ///
    /// As [`rrule`](Self::rrule).
    pub fn rrule_in_own_zone(text: &str) -> Result<Self, ScheduleError> {
        let recurrence = Recurrence::parse(text)?;
        let zone = zone_or_utc(recurrence.own_zone.as_deref().unwrap_or_default())?;
        Ok(Self::of(Rule::Recurrence(Arc::new(recurrence), zone)))
    }

    /// A schedule by a text in the dialect of the `cron` crate: seconds *first*, weekdays from 1 = Sunday, both day
    /// fields combined with *and*. It is evaluated by that crate on a bare wall clock, with this module's rules where
    /// the clocks change. Its years end in 2100.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when that crate refuses the text, when it never fires, and for an unknown zone.
    pub fn cron_crate(text: &str, timezone: &str) -> Result<Self, ScheduleError> {
        let zone = zone_or_utc(timezone)?;
        Ok(Self::of(Rule::CronCrate(Arc::new(CronCrate::parse(text)?), zone)))
    }

    /// The same from a schedule of that crate that the host already holds.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when it never fires, and for an unknown zone.
    pub fn from_cron_crate(schedule: ::cron::Schedule, timezone: &str) -> Result<Self, ScheduleError> {
        let zone = zone_or_utc(timezone)?;
        Ok(Self::of(Rule::CronCrate(
            Arc::new(CronCrate::of(schedule)?),
            zone,
        )))
    }

    /// All dates of `members`, each once. A member keeps its own zone and settings.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when there are none or more than [`UNION_MAX`], and when a member is itself a union.
    pub fn union(members: impl IntoIterator<Item = Self>) -> Result<Self, ScheduleError> {
        let members: Vec<Self> = members.into_iter().take(UNION_MAX + 1).collect();
        let problem = if members.is_empty() {
            "has no members"
        } else if members.len() > UNION_MAX {
            "has more than 64 members"
        } else if members.iter().any(|member| matches!(member.rule, Rule::Union(_))) {
            "holds another union; list its members instead"
        } else {
            return Ok(Self::of(Rule::Union(members.into())));
        };
        let example = "[{\"cron\": \"0 9 * * *\"}, {\"cron\": \"30 17 * * 5\"}]";
        Err(ScheduleError::new(
            ScheduleErrorKind::Setting,
            "union",
            "",
            problem,
            example,
        ))
    }

    fn of(rule: Rule) -> Self {
        Self { rule, settings: None }
    }

    /// The schedule without its dates outside `bounds`.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when the end lies before the start, or no date remains.
    ///
    /// ```
    /// use chrono::{DateTime, Utc};
    /// use tenfold::schedule::Schedule;
    ///
    /// let from: DateTime<Utc> = "2026-06-01T00:00:00Z".parse().unwrap();
    /// let summer = Schedule::cron("0 12 * * *", "UTC")?.within(from..)?;
    /// assert_eq!(summer.next_at_or_after("2026-01-01T00:00:00Z".parse().unwrap()).unwrap().to_rfc3339(),
    ///     "2026-06-01T12:00:00+00:00");
    /// # Ok::<(), tenfold::schedule::ScheduleError>(())
    /// ```
    pub fn within(self, bounds: impl RangeBounds<DateTime<Utc>>) -> Result<Self, ScheduleError> {
        let (start, end) = (start_of(&bounds), end_of(&bounds));
        if end < start {
            let written = |bound: Bound<&DateTime<Utc>>, unbounded| match bound {
                Bound::Included(at) => (at.to_rfc3339(), ""),
                Bound::Excluded(at) => (at.to_rfc3339(), ", which is excluded,"),
                Bound::Unbounded => (civil::instant_of(unbounded).to_rfc3339(), ""),
            };
            let (first, _) = written(bounds.start_bound(), start);
            let (last, excluded) = written(bounds.end_bound(), end);
            return Err(ScheduleError::new(
                ScheduleErrorKind::Bounds,
                "end",
                &last,
                format!("the end{excluded} leaves nothing from the start, {first}, on; give a later one"),
                "2027-01-01T00:00:00Z",
            ));
        }
        let some = |bound: Bound<_>, at| (bound != Bound::Unbounded).then_some(at);
        let (start, end) = (some(bounds.start_bound(), start), some(bounds.end_bound(), end));
        self.with(|settings| {
            (settings.start, settings.end) = (start, end);
            Ok(())
        })
    }

    /// The schedule without `exclusions`, in addition to those it has. Days are read in the schedule's zone.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when there are more than [`EXCLUSIONS_MAX`], or no date remains.
    pub fn without(self, exclusions: impl IntoIterator<Item = Exclusion>) -> Result<Self, ScheduleError> {
        self.with(|settings| exclusions.into_iter().try_for_each(|each| settings.exclude(each)))
    }

    /// The schedule with each date moved later by up to `max`, but never to the next date or beyond.
    ///
    /// How far is a function of `seed` and the date alone, so that it is the same whenever it is asked for.
    /// Bounds and exclusions speak of the dates before they are moved.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when `max` is above [`JITTER_MAX`].
    pub fn with_jitter(self, max: Duration, seed: u64) -> Result<Self, ScheduleError> {
        let jitter = Jitter::new(max, seed)?;
        self.with(|settings| {
            settings.jitter = Some(jitter);
            Ok(())
        })
    }

    fn with(
        mut self,
        change: impl FnOnce(&mut Settings) -> Result<(), ScheduleError>,
    ) -> Result<Self, ScheduleError> {
        let mut settings = self.settings.as_deref().unwrap_or(&Settings::NONE).clone();
        change(&mut settings)?;
        self.settings = (settings != Settings::NONE).then(|| Arc::new(settings));
        if self.occurrences(..).next().is_some() {
            return Ok(self);
        }
        Err(ScheduleError::new(
            ScheduleErrorKind::NeverFires,
            "schedule",
            &self.to_string(),
            "no date remains inside the bounds and outside the exclusions, so it never fires",
            "0 9 * * 1-5",
        ))
    }

    /// What the schedule is made of.
    #[must_use]
    pub fn kind(&self) -> ScheduleKind {
        match self.rule {
            Rule::Cron(..) => ScheduleKind::Cron,
            Rule::Interval(..) => ScheduleKind::Interval,
            Rule::Recurrence(..) => ScheduleKind::Recurrence,
            Rule::CronCrate(..) => ScheduleKind::CronCrate,
            Rule::Union(_) => ScheduleKind::Union,
        }
    }

    /// The name of the schedule's zone. That of a union is its members' when they agree, else UTC.
    #[must_use]
    pub fn timezone(&self) -> &str {
        self.zone().name()
    }

    /// The instant at which the clock of the schedule's zone shows `local`: in a gap by the offset before it, in a
    /// fold the first time.
    #[must_use]
    pub fn resolve(&self, local: NaiveDateTime) -> DateTime<Utc> {
        self.zone().resolve_naive(local)
    }

    /// Seconds by which the clock of the schedule's zone is ahead of UTC at `at`.
    #[must_use]
    pub fn offset_at(&self, at: DateTime<Utc>) -> i32 {
        let offset = self.zone().offset_at(civil::floor_micros(at)) / civil::SECOND;
        i32::try_from(offset).expect("offsets are below a day")
    }

    pub(crate) fn zone(&self) -> &Zone {
        match &self.rule {
            Rule::Cron(_, zone)
            | Rule::Interval(_, zone)
            | Rule::Recurrence(_, zone)
            | Rule::CronCrate(_, zone) => zone,
            Rule::Union(members) => {
                let first = members[0].zone();
                if members.iter().all(|member| member.zone() == first) {
                    first
                } else {
                    Zone::utc_ref()
                }
            }
        }
    }

    /// The dates in `range`, ascending, found as they are asked for. An unbounded start is the year 1, an unbounded
    /// end the year 9999.
    ///
    /// ```
    /// use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
    /// use tenfold::schedule::Schedule;
    ///
    /// let noon: DateTime<Utc> = "2026-01-01T12:00:00Z".parse().unwrap();
    /// let hourly = Schedule::interval(TimeDelta::hours(1), noon, "UTC")?;
    /// assert_eq!(hourly.occurrences(noon..=noon + TimeDelta::hours(2)).count(), 3);
    /// assert_eq!(hourly.occurrences(noon..noon + TimeDelta::hours(2)).count(), 2);
    /// # Ok::<(), tenfold::schedule::ScheduleError>(())
    /// ```
    pub fn occurrences(&self, range: impl RangeBounds<DateTime<Utc>>) -> Occurrences<'_> {
        Occurrences::new(self, start_of(&range), end_of(&range))
    }

    /// The first date not before `at`.
    #[must_use]
    pub fn next_at_or_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.first_from(start_of(&(at..))).map(civil::instant_of)
    }

    /// The first date after `at`.
    #[must_use]
    pub fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let from = start_of(&(Bound::Excluded(at), Bound::Unbounded));
        self.first_from(from).map(civil::instant_of)
    }

    /// The first date from `from` on, in microseconds: what the iterator says, on a shorter way where there is one.
    fn first_from(&self, from: i64) -> Option<i64> {
        match &self.rule {
            Rule::Cron(cron, zone) if self.settings.is_none() => {
                let segment = zone.segment_at(from);
                // Away from a gap the first local time is the first instant.
                if segment.gap() == 0 || from - segment.start >= segment.gap() {
                    let local = cron.first_from((from + segment.offset).max(segment.fresh_from()))?;
                    let (at, in_gap) = if local < segment.local_end() {
                        (local - segment.offset, false)
                    } else {
                        zone.find(local)
                    };
                    if !in_gap {
                        return (at <= civil::LAST).then_some(at);
                    }
                }
            }
            Rule::Interval(interval, _) if self.settings.is_none() && !interval.is_wall() => {
                return interval.first_from(interval.anchor, from);
            }
            _ => {}
        }
        Occurrences::new(self, from, civil::LAST)
            .next_hit()
            .map(|(at, _)| at)
    }

    /// The first `n` dates not before `at`; fewer when the schedule ends, and [`PREVIEW_MAX`] at most.
    #[must_use]
    pub fn preview(&self, at: DateTime<Utc>, n: usize) -> Vec<DateTime<Utc>> {
        self.occurrences(at..).take(n.min(PREVIEW_MAX)).collect()
    }

    /// The dates t with `start` <= t <= `end`, at most `n`, as the reference counts them: without `n` one, or 1,000
    /// when there is an `end`; none when `n` is zero or less; never more than [`DATES_MAX`].
    #[must_use]
    pub fn dates(
        &self,
        n: Option<i64>,
        start: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> Vec<DateTime<Utc>> {
        let n = n.unwrap_or(if end.is_some() { 1_000 } else { 1 });
        let n = usize::try_from(n).unwrap_or(0).min(DATES_MAX);
        let end = end.map_or(Bound::Unbounded, Bound::Included);
        self.occurrences((Bound::Included(start), end)).take(n).collect()
    }
}

/// The first microsecond of a range.
fn start_of(range: &impl RangeBounds<DateTime<Utc>>) -> i64 {
    match range.start_bound() {
        Bound::Included(&at) => civil::ceil_micros(at),
        Bound::Excluded(&at) => civil::floor_micros(at) + 1,
        Bound::Unbounded => civil::FIRST,
    }
}

/// The last microsecond of a range.
fn end_of(range: &impl RangeBounds<DateTime<Utc>>) -> i64 {
    match range.end_bound() {
        Bound::Included(&at) => civil::floor_micros(at),
        Bound::Excluded(&at) => civil::ceil_micros(at) - 1,
        Bound::Unbounded => civil::LAST,
    }
}

fn zone_or_utc(name: &str) -> Result<Zone, ScheduleError> {
    if name.is_empty() {
        Ok(Zone::utc())
    } else {
        Zone::named(name)
    }
}

impl fmt::Display for Schedule {
    /// One line for people: the rule and its zone, then the settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Cron(cron, zone) => {
                write!(f, "cron `{}`", cron.text)?;
                if cron.day_match == DayMatch::Both {
                    f.write_str(" (both day fields)")?;
                }
                write!(f, " in {zone}")?;
            }
            Rule::Interval(interval, zone) => {
                write!(f, "every {} s", interval.every / civil::SECOND)?;
                match interval.every % civil::SECOND {
                    0 => {}
                    micros => write!(f, " and {micros} us")?,
                }
                write!(f, " from {} in {zone}", shown(interval.anchor))?;
            }
            Rule::Recurrence(set, zone) => {
                let text: Vec<&str> = set.text.split_whitespace().collect();
                write!(f, "recurrence `{}` in {zone}", text.join(" "))?;
            }
            Rule::CronCrate(of, zone) => write!(f, "cron crate `{}` in {zone}", of.text())?,
            Rule::Union(members) => {
                f.write_str("union of ")?;
                for (i, member) in members.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "; " };
                    write!(f, "{separator}{member}")?;
                }
            }
        }
        let Some(settings) = self.settings.as_deref() else {
            return Ok(());
        };
        if let Some(start) = settings.start {
            write!(f, ", not before {}", shown(start))?;
        }
        if let Some(end) = settings.end {
            write!(f, ", not after {}", shown(end))?;
        }
        match settings.exclusions().count() {
            0 => {}
            n => write!(f, ", {n} excluded")?,
        }
        if let Some(jitter) = settings.jitter {
            write!(
                f,
                ", up to {:?} later",
                Duration::from_micros(jitter.max.unsigned_abs())
            )?;
        }
        Ok(())
    }
}

fn shown(micros: i64) -> String {
    let format = chrono::SecondsFormat::AutoSi;
    civil::instant_of(micros.clamp(civil::FIRST - 1, civil::LAST + 1)).to_rfc3339_opts(format, true)
}
