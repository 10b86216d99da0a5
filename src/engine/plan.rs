//! Planning: occurrences become runs ahead of time, each once.
//!
//! A schedule is kept planned by the reference's rule: at least 3 runs and at least an hour ahead, at most 100 runs and
//! 100 days. Where an occurrence lies exactly an hour ahead, the next one is planned when one becomes due. An occurrence is keyed by deployment, schedule (its slug, else its id) and UTC instant; its key stays used
//! while the record of its run is kept and until its instant is past, whatever becomes of the run, so that planning again,
//! or planning after an edit, never makes a second run of it. What planning itself takes back (an edit, a pause) frees its
//! keys. A schedule that an edit removes is remembered as long as it has used keys, and gets them back should a later edit
//! add it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::{Core, WallEvent, Work};
use super::timers::TimerKey;
use crate::catalog::{RunBody, RunRow, instant};
use crate::ids::{RunId, ScheduleId};
use crate::model::{CatchUp, DeploymentSchedule};
use crate::schedule::Schedule;

/// What the engine keeps of one schedule besides its data.
#[derive(Debug)]
pub(crate) struct ScheduleWork {
    pub(crate) id: ScheduleId,
    /// What its runs have in common.
    pub(crate) template: Arc<RunBody>,
    /// The first instant that has not been looked at.
    pub(crate) cursor: i64,
    /// Planned runs that are not due yet, by the rule; all before the cursor.
    pub(crate) planned: BTreeMap<i64, u32>,
    /// Runs that are not due yet and that somebody asked for.
    pub(crate) asked: BTreeMap<i64, u32>,
    /// Instants whose key is used, and by which run.
    pub(crate) used: BTreeMap<i64, RunId>,
    /// Its runs that have become due and have not ended, but for those of a backfill.
    pub(crate) live: BTreeSet<u32>,
    /// Waits until the last of `live` has ended; only while there are some.
    pub(crate) buffered: Option<u32>,
    pub(crate) timer: Option<TimerKey>,
}

impl ScheduleWork {
    /// A run is planned for that instant no more. False when it was not: it had been moved there, or given back.
    pub(crate) fn unlist(&mut self, at: i64, row: u32) -> bool {
        for list in [&mut self.planned, &mut self.asked] {
            if list.get(&at) == Some(&row) {
                list.remove(&at);
                return true;
            }
        }
        false
    }

    pub(crate) fn new(id: ScheduleId, template: Arc<RunBody>, now: i64) -> Self {
        Self {
            id,
            template,
            cursor: now,
            planned: BTreeMap::new(),
            asked: BTreeMap::new(),
            used: BTreeMap::new(),
            live: BTreeSet::new(),
            buffered: None,
            timer: None,
        }
    }

    /// Occurrences from `now` on that were called off.
    pub(crate) fn called_off(&self, now: i64) -> usize {
        let waiting = self.planned.len() + self.asked.len();
        if self.used.len() == waiting {
            return 0;
        }
        let free = |(at, _): &(&i64, _)| !self.planned.contains_key(at) && !self.asked.contains_key(at);
        self.used.range(now..).filter(free).count()
    }

    /// Whether there is something to remember of it when it is removed.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        !self.used.is_empty() || !self.live.is_empty()
    }

    /// Whether forgetting it could make an occurrence run twice, or leave a run held back for ever.
    pub(crate) fn is_needed(&self, now: i64) -> bool {
        !self.live.is_empty() || self.called_off(now) > 0
    }
}

/// A schedule that an edit removed, with what must be remembered of it.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) data: DeploymentSchedule,
    pub(crate) work: ScheduleWork,
}

/// Most occurrences of one schedule that are caught up, and most instants that one planning looks at.
pub(crate) const MAX_LOOKS: usize = 5_000;

impl Core {
    pub(crate) fn schedule_work(
        &mut self,
        deployment: u32,
        schedule: ScheduleId,
    ) -> Option<&mut ScheduleWork> {
        let work = self.deployment_work(deployment)?;
        work.schedules.iter_mut().find(|work| work.id == schedule)
    }

    /// The same, also for a schedule that was removed.
    pub(crate) fn remembered(&mut self, deployment: u32, schedule: ScheduleId) -> Option<&mut ScheduleWork> {
        let work = self.deployment_work(deployment)?;
        let removed = work.removed.iter_mut().map(|removed| &mut removed.work);
        work.schedules
            .iter_mut()
            .chain(removed)
            .find(|work| work.id == schedule)
    }

    /// Plans one schedule as far ahead as the settings say. Planning again adds nothing.
    pub(crate) fn plan(&mut self, deployment: u32, schedule: ScheduleId) {
        let Some(row) = self.catalog.deployments.get(deployment).cloned() else {
            return;
        };
        let Some(data) = row.data.schedules.iter().find(|data| data.id == schedule) else {
            return;
        };
        let Some(work) = self.schedule_work(deployment, schedule) else {
            return;
        };
        if let Some(timer) = work.timer.take() {
            self.wall_timers.cancel(timer);
        }
        if row.data.paused || !data.active || self.stopped {
            return;
        }
        let floor = self
            .wall
            .saturating_sub(self.settings.window(self.policy_of(data)));
        let work = self
            .schedule_work(deployment, schedule)
            .expect("it was there a moment ago");
        work.cursor = work.cursor.max(floor);
        self.forget_keys(deployment, schedule);
        let before = self.totals.accepted;
        if let Some(wake) = self.plan_ahead(deployment, data) {
            self.wake_planner(deployment, schedule, wake.max(self.wall + 1));
        }
        self.trace_planned(row.data.id, schedule, self.totals.accepted - before);
    }

    /// Has a schedule planned again at an instant.
    pub(crate) fn wake_planner(&mut self, deployment: u32, schedule: ScheduleId, at: i64) {
        let timer = self
            .wall_timers
            .insert(at, WallEvent::Plan { deployment, schedule });
        let work = self.schedule_work(deployment, schedule);
        let before = work.and_then(|work| work.timer.replace(timer));
        if let Some(before) = before {
            self.wall_timers.cancel(before);
        }
        self.effects.ring = true;
    }

    /// Makes the runs that are missing, and says when to look again; never, when the schedule has ended.
    fn plan_ahead(&mut self, deployment: u32, data: &DeploymentSchedule) -> Option<i64> {
        let (now, settings) = (self.wall, &self.settings);
        let (least, span_least, span_most) = (
            settings.planned_least,
            settings.planned_span_least,
            settings.planned_span_most,
        );
        let most = data.max_scheduled_runs.map_or(settings.planned_most, |most| {
            settings.planned_most.min(most.get() as usize)
        });
        let (backlog, called_off) = (settings.waiting_runs, settings.called_off);
        for _ in 0..MAX_LOOKS {
            let full = self.scheduled_total >= self.settings.scheduled_runs;
            let work = self
                .schedule_work(deployment, data.id)
                .expect("it was there a moment ago");
            let last = work.planned.last_key_value().map(|(&at, _)| at);
            let enough = work.planned.len() >= least
                && last.is_some_and(|last| last >= now.saturating_add(span_least));
            if enough || work.planned.len() >= most {
                // Room comes when the first of them is due; should they all be cancelled, when the last would have been.
                let wake = last.map(|last| if enough { last - span_least } else { last })?;
                if wake > now {
                    return Some(wake);
                }
                // Time stands exactly where the rule is kept, and any later instant would break it. It is kept again when
                // the next of them is due, so that a host is woken once for each and not just after each, too.
                let next = work.planned.range(now + 1..).next();
                return Some(next.map_or(wake, |(&at, _)| at));
            }
            if work.live.len() + work.planned.len() >= backlog.max(1) {
                // So many of its runs wait or run that no more are made until some have ended.
                return Some(now.saturating_add(1_000_000));
            }
            let next = data.schedule.next_at_or_after(instant(work.cursor))?;
            let at = next.timestamp_micros();
            if at > now.saturating_add(span_most) {
                return Some(at - span_most);
            }
            if full {
                // The engine holds as many scheduled runs as it may; look again when some have become due.
                return Some(now.saturating_add(60_000_000));
            }
            // One at `now` itself is as good as past.
            if work.used.len() > called_off && work.called_off(now + 1) >= called_off.max(1) {
                // The first of them has to pass before another can be remembered.
                let (planned, asked) = (&work.planned, &work.asked);
                let mut keys = work.used.range(now + 1..).map(|(&at, _)| at);
                return keys.find(|at| !planned.contains_key(at) && !asked.contains_key(at));
            }
            work.cursor = at + 1;
            if !work.used.contains_key(&at) {
                let row = self.make_occurrence(deployment, data.id, at, at);
                self.enter_later(row);
                self.schedule_work(deployment, data.id)
                    .expect("it is being planned")
                    .planned
                    .insert(at, row);
            }
        }
        // All those were used; there is more to see.
        Some(now)
    }

    /// Fills a row for the occurrence at `at`, which is due at `due`, and uses its key. The caller puts it into its place.
    pub(crate) fn make_occurrence(
        &mut self,
        deployment: u32,
        schedule: ScheduleId,
        at: i64,
        due: i64,
    ) -> u32 {
        let held = self.catalog.deployments.get(deployment);
        let held = held.expect("a planned deployment is kept");
        let (priority, queue) = (held.data.priority, held.queue);
        let queue = queue.expect("an employed deployment has a queue");
        let work = self
            .schedule_work(deployment, schedule)
            .expect("it is being planned");
        let template = work.template.clone();
        let name = self.some_name();
        let row = self.insert_run(template, name, queue, Some(deployment), priority, due);
        if at != due {
            self.run_mut(row).expected_start = crate::catalog::When::at(at);
        }
        let id = self.run(row).id;
        self.schedule_work(deployment, schedule)
            .expect("it is being planned")
            .used
            .insert(at, id);
        row
    }

    pub(crate) fn policy_of(&self, data: &DeploymentSchedule) -> CatchUp {
        data.catch_up.unwrap_or(self.settings.catch_up)
    }

    /// The schedule that made a run.
    pub(crate) fn origin(run: &RunRow) -> Option<(u32, ScheduleId)> {
        if !run.body.auto_scheduled {
            return None;
        }
        let id = ScheduleId::from_uuid(run.body.created_by.as_ref()?.id?);
        Some((run.deployment?, id))
    }

    /// Lets go of keys that nothing asks for any more: their instant is past and the record of their run is gone.
    pub(crate) fn forget_keys(&mut self, deployment: u32, schedule: ScheduleId) {
        let now = self.wall;
        while let Some(work) = self.remembered(deployment, schedule)
            && let Some((&at, &id)) = work.used.first_key_value()
            && at < work.cursor.min(now)
            && self.run_row(id).is_none()
        {
            self.remembered(deployment, schedule)
                .expect("it was there a moment ago")
                .used
                .remove(&at);
        }
    }

    /// The record of a run is gone.
    pub(crate) fn occurrence_forgotten(&mut self, run: &RunRow) {
        let (Some((deployment, schedule)), Some(at)) = (Self::origin(run), run.expected_start.micros())
        else {
            return;
        };
        let now = self.wall;
        let Some(work) = self.remembered(deployment, schedule) else {
            return;
        };
        if at < work.cursor.min(now) && work.used.get(&at) == Some(&run.id) {
            work.used.remove(&at);
        }
        self.forget_keys(deployment, schedule);
        if let Some(work) = self.deployment_work(deployment) {
            work.removed.retain(|removed| removed.work.is_worth_keeping());
        }
    }

    /// A planned run leaves its place before its time, called off or chosen: its occurrence stays used, and until it has
    /// ended it counts as one that has become due.
    pub(crate) fn forget_occurrence(&mut self, row: u32) {
        let due = self.run(row).due;
        if let Some((deployment, schedule)) = Self::origin(self.run(row))
            && let Some(work) = self.schedule_work(deployment, schedule)
            && work.unlist(due, row)
        {
            work.live.insert(row);
        }
    }

    /// A run that was chosen before its time is planned again.
    pub(crate) fn restore_occurrence(&mut self, row: u32) {
        self.occurrence_ended(row);
        let (due, id) = (self.run(row).due, self.run(row).id);
        if let Some((deployment, schedule)) = Self::origin(self.run(row))
            && let Some(work) = self.schedule_work(deployment, schedule)
            && work.used.get(&due) == Some(&id)
        {
            work.asked.insert(due, row);
        }
    }

    /// Takes back the runs of a schedule that are not due, frees their keys, and looks again from now.
    pub(crate) fn unplan(&mut self, deployment: u32, schedule: ScheduleId) {
        let now = self.wall;
        let Some(work) = self.schedule_work(deployment, schedule) else {
            return;
        };
        let mut rows = std::mem::take(&mut work.planned);
        rows.append(&mut work.asked);
        for at in rows.keys() {
            work.used.remove(at);
        }
        work.cursor = now;
        let timer = work.timer.take();
        if let Some(timer) = timer {
            self.wall_timers.cancel(timer);
        }
        for row in rows.into_values() {
            self.leave_later(row);
            self.discard(row);
        }
    }

    /// Takes back every run of a deployment's schedules, or of one of them, that is not claimed, late ones too.
    pub(crate) fn unplan_all(&mut self, deployment: u32, only: Option<ScheduleId>) {
        for schedule in self.schedule_ids(deployment) {
            if only.is_none_or(|only| only == schedule) {
                self.unplan(deployment, schedule);
            }
        }
        let Some(work) = self.deployments[deployment as usize].as_ref() else {
            return;
        };
        let mut late: Vec<u32> = self
            .active
            .rows(work.active)
            .filter(|&row| {
                let run = self.run(row);
                let mine = Self::origin(run).is_some_and(|(_, made)| only.is_none_or(|only| only == made));
                mine && run.run_count == 0
                    && matches!(self.work[row as usize], Work::Line(_) | Work::Buffered)
            })
            .collect();
        // One that waits behind another goes first, lest it is let in by the other's end, and with it ends some of these.
        late.sort_by_key(|&row| !matches!(self.work[row as usize], Work::Buffered));
        for row in late {
            self.leave(row);
            self.occurrence_ended(row);
            self.discard(row);
        }
    }

    pub(crate) fn schedule_ids(&self, deployment: u32) -> Vec<ScheduleId> {
        let work = self.deployments[deployment as usize].as_ref();
        let schedules = work.map_or(&[][..], |work| &work.schedules);
        schedules.iter().map(|work| work.id).collect()
    }

    /// Removes a run that never started and now never will, record and all.
    fn discard(&mut self, row: u32) {
        let deployment = self
            .run(row)
            .deployment
            .expect("only schedules make runs that are taken back");
        if let Some(work) = self.deployments[deployment as usize].as_mut() {
            self.active.remove(&mut work.active, row);
        }
        self.forget_limits(row);
        self.work[row as usize] = Work::None;
        if self.collisions > 0 {
            self.collision_over(row);
        }
        let run = self.catalog.runs.remove(row).expect("it was there a moment ago");
        self.changed();
        self.note_forgotten(run.id);
    }
}

/// The latest instant in `from..before` from which `most` occurrences come before `before`; `from` when there are fewer.
pub(crate) fn latest_from(schedule: &Schedule, from: i64, before: i64, most: usize) -> i64 {
    let holds = |at| {
        schedule
            .occurrences(instant(at)..instant(before))
            .take(most)
            .count()
            == most
    };
    if from >= before || most == 0 {
        return before.max(from);
    }
    if !holds(from) {
        return from;
    }
    let (mut low, mut high) = (from, before);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
