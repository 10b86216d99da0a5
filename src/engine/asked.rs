//! What hosts ask of schedules: runs of a range of occurrences, a pause of one schedule, and what comes next.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::Engine;
use super::builder::micros;
use super::core::Core;
use super::error::Error;
use super::submit::MAX_SPAN;
use crate::catalog::instant;
use crate::ids::{DeploymentId, RunId, ScheduleId};
use crate::model::{DeploymentSchedule, InvalidValue};
use crate::schedule::Explained;

/// Most runs of one schedule that one call makes, and most dates that one call tells.
const MAX_ASKED: usize = 1_000;

/// Which occurrences [`Engine::schedule_runs`] makes runs of: from the start on, until there are both the fewest runs and
/// the shortest time, but none after the end, and never more than the most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Ahead {
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    min_time: Duration,
    min_runs: usize,
    max_runs: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            start: None,
            end: None,
            min_time: Duration::from_hours(1),
            min_runs: 3,
            max_runs: 100,
        }
    }
}

impl Ahead {
    /// At least 3 runs and an hour, at most 100 runs and 100 days, from now.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to begin, inclusive; may be past. Default: now.
    pub const fn start(mut self, start: DateTime<Utc>) -> Self {
        self.start = Some(start);
        self
    }

    /// Where to end, inclusive. Default: 100 days after the start.
    pub const fn end(mut self, end: DateTime<Utc>) -> Self {
        self.end = Some(end);
        self
    }

    /// Time that is covered at least, unless the end or the most runs come first. Default: an hour.
    pub const fn min_time(mut self, time: Duration) -> Self {
        self.min_time = time;
        self
    }

    /// Fewest runs, unless the end or the most runs come first. Default: 3.
    pub const fn min_runs(mut self, least: usize) -> Self {
        self.min_runs = least;
        self
    }

    /// Most runs of each schedule, 1 to 1,000. Default: 100.
    pub const fn max_runs(mut self, most: usize) -> Self {
        self.max_runs = most;
        self
    }
}

/// A coming date of a schedule, as [`Engine::explain_schedule`] tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Upcoming {
    /// The instant, what the clock of the schedule's zone shows, and notes.
    pub date: Explained,
    /// The run that was made for it, while its record is kept.
    pub run: Option<RunId>,
    /// Whether it will fire: not when it was called off, nor while its schedule or deployment is paused.
    pub fires: bool,
}

impl fmt::Display for Upcoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date)?;
        f.write_str(if self.fires { "" } else { ": does not fire" })
    }
}

impl Engine {
    /// Makes runs of the next occurrences of each active schedule of a deployment, besides those that are planned anyway;
    /// also while the deployment is paused. An occurrence that has its run, or was called off, gets no other: asking twice
    /// adds nothing. Answers the new runs, in the order of schedules and instants.
    ///
    /// A past occurrence becomes a run that is due now, stands in line behind what waits, and has the occurrence as its
    /// expected start. Catch-up and overlap policies do not apply to it. Edits and pauses take such runs back like planned
    /// ones.
    ///
    /// ```
    /// use tenfold::engine::Ahead;
    /// use tenfold::{Engine, NewDeployment, Schedule};
    ///
    /// let engine = Engine::new();
    /// let hourly = Schedule::cron("0 * * * *", "UTC")?;
    /// let made = engine.deploy(NewDeployment::new("report", "hourly").schedule(hourly))?;
    /// let day = Ahead::new().min_runs(24);
    /// assert_eq!(engine.schedule_runs(made.id, day)?.len(), 21, "three were planned already");
    /// assert_eq!(engine.schedule_runs(made.id, day)?.len(), 0);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for a most of zero or above 1,000 and an end before the start;
    /// [`Error::Full`], [`Error::Stopped`]. Nothing is made then.
    pub fn schedule_runs(&self, deployment: DeploymentId, ahead: Ahead) -> Result<Vec<RunId>, Error> {
        self.call(|core| core.schedule_runs(deployment, ahead))
    }

    /// Makes runs of all occurrences in a range: of one schedule of a deployment, active or not, or of all active ones.
    /// Otherwise as [`schedule_runs`](Self::schedule_runs).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] when the range ends before it begins or holds more than 1,000 occurrences of
    /// one schedule; [`Error::Full`], [`Error::Stopped`]. Nothing is made then.
    pub fn backfill(
        &self,
        deployment: DeploymentId,
        schedule: Option<ScheduleId>,
        range: impl RangeBounds<DateTime<Utc>>,
    ) -> Result<Vec<RunId>, Error> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.call(|core| core.backfill(deployment, schedule, range))
    }

    /// Stops one schedule of a deployment and takes back its runs that are not claimed, late ones too. Again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn pause_schedule(&self, deployment: DeploymentId, schedule: ScheduleId) -> Result<u64, Error> {
        self.call(|core| {
            core.set_schedule_active(deployment, schedule, false)
                .map(|()| core.version)
        })
    }

    /// Plans one schedule of a deployment again, from now. Again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn resume_schedule(&self, deployment: DeploymentId, schedule: ScheduleId) -> Result<u64, Error> {
        self.call(|core| {
            core.set_schedule_active(deployment, schedule, true)
                .map(|()| core.version)
        })
    }

    /// The next `n` instants at which a schedule will make a run due, if nothing is changed meanwhile: what was called off
    /// is not among them, and a paused schedule has only those that were asked for.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] unless `n` is 1 to 1,000.
    pub fn preview_schedule(
        &self,
        deployment: DeploymentId,
        schedule: ScheduleId,
        n: usize,
    ) -> Result<Vec<DateTime<Utc>>, Error> {
        self.call(|core| core.preview_schedule(deployment, schedule, n))
    }

    /// The next `n` dates of a schedule with notes, such as *moved out of a gap*, and whether each will fire.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] unless `n` is 1 to 1,000.
    pub fn explain_schedule(
        &self,
        deployment: DeploymentId,
        schedule: ScheduleId,
        n: usize,
    ) -> Result<Vec<Upcoming>, Error> {
        self.call(|core| core.explain_schedule(deployment, schedule, n))
    }
}

/// An occurrence to make a run of.
type Wanted = (ScheduleId, i64);

impl Core {
    fn schedule_of(&self, row: u32, schedule: ScheduleId) -> Result<&DeploymentSchedule, Error> {
        let held = self.catalog.deployments.get(row).expect("just found");
        let found = held.data.schedules.iter().find(|data| data.id == schedule);
        found.ok_or_else(|| Error::NotFound {
            kind: "schedule",
            name: schedule.to_string(),
            hint: "its deployment lists those it has; an edit may have removed it",
        })
    }

    fn schedule_runs(&mut self, id: DeploymentId, ahead: Ahead) -> Result<Vec<RunId>, Error> {
        let row = self.deployment_row(id)?;
        let max = ahead.max_runs;
        if !(1..=MAX_ASKED).contains(&max) {
            return Err(InvalidValue::new("max_runs", &max.to_string(), "give 1 to 1,000").into());
        }
        let start = ahead.start.unwrap_or_else(|| instant(self.wall));
        let end = ahead
            .end
            .or_else(|| start.checked_add_signed(TimeDelta::days(100)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        check_order(start, end)?;
        let covered = start
            .timestamp_micros()
            .saturating_add(micros(ahead.min_time.min(MAX_SPAN)));
        let mut wanted: Vec<Wanted> = Vec::new();
        let held = self.catalog.deployments.get(row).expect("just found");
        for data in held.data.schedules.iter().filter(|data| data.active) {
            let dates = data.schedule.occurrences(start..=end).take(max);
            for (count, date) in (1..).zip(dates) {
                let at = date.timestamp_micros();
                wanted.push((data.id, at));
                if count >= ahead.min_runs && at >= covered {
                    break;
                }
            }
        }
        self.make_asked(row, wanted)
    }

    fn backfill(
        &mut self,
        id: DeploymentId,
        schedule: Option<ScheduleId>,
        range: (Bound<DateTime<Utc>>, Bound<DateTime<Utc>>),
    ) -> Result<Vec<RunId>, Error> {
        let row = self.deployment_row(id)?;
        if let Some(schedule) = schedule {
            self.schedule_of(row, schedule)?;
        }
        if let (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) = range
        {
            check_order(start, end)?;
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        let held = self.catalog.deployments.get(row).expect("just found");
        let chosen = |data: &&DeploymentSchedule| schedule.map_or(data.active, |only| data.id == only);
        for data in held.data.schedules.iter().filter(chosen) {
            let before = wanted.len();
            let dates = data.schedule.occurrences(range).take(MAX_ASKED + 1);
            wanted.extend(dates.map(|date| (data.id, date.timestamp_micros())));
            if wanted.len() - before > MAX_ASKED {
                let value = data.schedule.to_string();
                let rule = "its range holds more than 1,000 occurrences; ask for shorter ranges";
                return Err(InvalidValue::new("backfill of", &value, rule).into());
            }
        }
        self.make_asked(row, wanted)
    }

    /// Makes runs of those occurrences that have none: of all, or of none when there is no room.
    fn make_asked(&mut self, row: u32, mut wanted: Vec<Wanted>) -> Result<Vec<RunId>, Error> {
        self.accepts_work()?;
        let now = self.wall;
        wanted.retain(|&(schedule, at)| {
            self.schedule_work(row, schedule)
                .is_some_and(|work| !work.used.contains_key(&at))
        });
        let past = wanted.iter().filter(|(_, at)| *at <= now).count();
        self.fits_waiting(past)?;
        self.fits_scheduled(wanted.len() - past)?;
        let mut made = Vec::with_capacity(wanted.len());
        for (schedule, at) in wanted {
            let run = self.make_occurrence(row, schedule, at, at.max(now));
            made.push(self.run(run).id);
            if at > now {
                self.enter_later(run);
                let work = self
                    .schedule_work(row, schedule)
                    .expect("it was there a moment ago");
                work.asked.insert(at, run);
            } else {
                self.come_due(run);
            }
        }
        Ok(made)
    }

    fn set_schedule_active(
        &mut self,
        id: DeploymentId,
        schedule: ScheduleId,
        active: bool,
    ) -> Result<(), Error> {
        let row = self.deployment_row(id)?;
        if self.schedule_of(row, schedule)?.active == active {
            return Ok(());
        }
        let at = instant(self.wall);
        if !active {
            self.unplan_all(row, Some(schedule));
        }
        let held = Arc::make_mut(self.catalog.deployments.get_mut(row).expect("just found"));
        held.data.updated = at;
        for data in held.data.schedules.iter_mut().filter(|data| data.id == schedule) {
            data.active = active;
            data.updated = at;
        }
        self.changed();
        if active {
            let now = self.wall;
            if let Some(work) = self.schedule_work(row, schedule) {
                work.cursor = now;
            }
            self.plan(row, schedule);
        }
        Ok(())
    }

    fn preview_schedule(
        &mut self,
        id: DeploymentId,
        schedule: ScheduleId,
        n: usize,
    ) -> Result<Vec<DateTime<Utc>>, Error> {
        check_n(n)?;
        let row = self.deployment_row(id)?;
        let data = self.schedule_of(row, schedule)?.clone();
        let (now, stopped) = (self.wall, self.stopped);
        let paused = self
            .catalog
            .deployments
            .get(row)
            .is_some_and(|held| held.data.paused);
        let work = self.schedule_work(row, schedule).expect("its data is there");
        if paused || !data.active || stopped {
            // Nothing more is planned; what waits still fires.
            let mut waits: Vec<i64> = work.planned.keys().chain(work.asked.keys()).copied().collect();
            waits.sort_unstable();
            return Ok(waits.into_iter().take(n).map(instant).collect());
        }
        let fires = |date: &DateTime<Utc>| {
            let at = date.timestamp_micros();
            !work.used.contains_key(&at) || work.planned.contains_key(&at) || work.asked.contains_key(&at)
        };
        Ok(data
            .schedule
            .occurrences(instant(now)..)
            .filter(fires)
            .take(n)
            .collect())
    }

    fn explain_schedule(
        &mut self,
        id: DeploymentId,
        schedule: ScheduleId,
        n: usize,
    ) -> Result<Vec<Upcoming>, Error> {
        check_n(n)?;
        let row = self.deployment_row(id)?;
        let data = self.schedule_of(row, schedule)?.clone();
        let now = instant(self.wall);
        let paused = self
            .catalog
            .deployments
            .get(row)
            .is_some_and(|held| held.data.paused);
        let rests = paused || !data.active || self.stopped;
        let dates = data.schedule.explain(now, n);
        let told = dates.into_iter().map(|date| {
            let at = date.at.timestamp_micros();
            let work = self.schedule_work(row, schedule).expect("its data is there");
            let run = work.used.get(&at).copied();
            let waits = work.planned.contains_key(&at) || work.asked.contains_key(&at);
            Upcoming {
                date,
                fires: waits || (run.is_none() && !rests),
                run: run.filter(|&run| self.run_row(run).is_some()),
            }
        });
        Ok(told.collect())
    }
}

fn check_n(n: usize) -> Result<(), InvalidValue> {
    if (1..=MAX_ASKED).contains(&n) {
        return Ok(());
    }
    Err(InvalidValue::new("n", &n.to_string(), "give 1 to 1,000"))
}

fn check_order(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<(), InvalidValue> {
    if start <= end {
        return Ok(());
    }
    Err(InvalidValue::new(
        "end",
        &end.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        "give an end that is not before the start",
    ))
}
