//! Planning: occurrences become runs ahead of time, each once.
//!
//! A schedule is kept planned by the reference's rule: at least 3 runs and at least an hour ahead, at most 100 runs and
//! 100 days. An occurrence is keyed by deployment, schedule (its slug, else its id) and UTC instant; a key stays used
//! when its run was cancelled or has ended, so that planning again, or planning after an edit, never makes a second
//! run of it. What planning itself takes back (an edit, a pause) frees its keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, WallEvent, Work};
use super::timers::TimerKey;
use crate::catalog::{RunBody, instant};
use crate::ids::ScheduleId;
use crate::model::{StateType, Text};

/// Which of the missed occurrences of a schedule still run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CatchUp {
    /// None.
    Skip,
    /// The latest, unless it is older than this.
    Latest(Duration),
    /// The latest so many of those that were planned or lie within the last day.
    All(usize),
}

/// What the engine keeps of one schedule besides its data.
#[derive(Debug)]
pub(crate) struct ScheduleWork {
    pub(crate) id: ScheduleId,
    /// What its runs have in common.
    pub(crate) template: Arc<RunBody>,
    /// The first instant that has not been looked at.
    pub(crate) cursor: i64,
    /// Planned runs that are not due yet.
    pub(crate) planned: BTreeMap<i64, u32>,
    /// Instants whose key is used.
    pub(crate) used: BTreeSet<i64>,
    pub(crate) timer: Option<TimerKey>,
}

/// What one call has made due, by (deployment, schedule).
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// Occurrences that were first made due long after their instant.
    runs: BTreeMap<(u32, ScheduleId), Vec<(i64, u32)>>,
    /// How many occurrences became due at all.
    due: BTreeMap<(u32, ScheduleId), usize>,
}

/// Most instants looked at in one planning of one schedule, and most occurrences of it that one call makes due. A
/// schedule that still has some past instants then goes on from now: but for one that fires more than 600 times a
/// second, what it dropped was missed anyway.
const MAX_LOOKS: usize = 10_000;

impl Core {
    fn schedule_work(&mut self, deployment: u32, schedule: ScheduleId) -> Option<&mut ScheduleWork> {
        let work = self.deployments.get_mut(deployment as usize)?.as_mut()?;
        work.schedules.iter_mut().find(|work| work.id == schedule)
    }

    /// Plans one schedule as far ahead as the settings say. Planning again adds nothing.
    pub(crate) fn plan(&mut self, deployment: u32, schedule: ScheduleId) {
        let Some(row) = self.catalog.deployments.get(deployment).cloned() else {
            return;
        };
        let Some(data) = row.data.schedules.iter().find(|data| data.id == schedule) else {
            return;
        };
        let (now, settings) = (self.wall, self.settings.clone());
        let most = data.max_scheduled_runs.map_or(settings.planned_most, |most| {
            settings.planned_most.min(most.get() as usize)
        });
        let floor = now.saturating_sub(settings.catch_up_window());
        let Some(work) = self.schedule_work(deployment, schedule) else {
            return;
        };
        if let Some(timer) = work.timer.take() {
            self.wall_timers.cancel(timer);
        }
        if row.data.paused || !data.active || self.stopped {
            return;
        }
        let work = self
            .schedule_work(deployment, schedule)
            .expect("it was there a moment ago");
        work.cursor = work.cursor.max(floor);
        // Keys of instants that are never looked at again can go.
        let cursor = work.cursor;
        work.used = work.used.split_off(&cursor.min(floor));
        let mut wake = None;
        for looked in 0.. {
            let work = self
                .schedule_work(deployment, schedule)
                .expect("it was there a moment ago");
            let last = work.planned.last_key_value().map(|(&at, _)| at);
            let enough = work.planned.len() >= settings.planned_least
                && last.is_some_and(|last| last >= now.saturating_add(settings.planned_span_least));
            if enough || work.planned.len() >= most {
                // Room comes when the first of them is due; should they all be cancelled, when the last would have been.
                wake = last.map(|last| {
                    if enough {
                        last - settings.planned_span_least
                    } else {
                        last
                    }
                });
                break;
            }
            if looked >= MAX_LOOKS {
                work.cursor = work.cursor.max(now);
                wake = Some(now.saturating_add(1_000_000));
                break;
            }
            let Some(next) = data.schedule.next_at_or_after(instant(work.cursor)) else {
                break;
            };
            let at = next.timestamp_micros();
            if at > now.saturating_add(settings.planned_span_most) {
                wake = Some(at - settings.planned_span_most);
                break;
            }
            if self.scheduled_total >= self.settings.scheduled_runs {
                // The engine holds as many scheduled runs as it may; look again when some have become due.
                wake = Some(now.saturating_add(60_000_000));
                break;
            }
            let work = self
                .schedule_work(deployment, schedule)
                .expect("it was there a moment ago");
            work.cursor = at + 1;
            if work.used.insert(at) {
                let template = work.template.clone();
                self.make_occurrence(deployment, schedule, template, at);
            }
        }
        if let Some(wake) = wake {
            let timer = self
                .wall_timers
                .insert(wake.max(now + 1), WallEvent::Plan { deployment, schedule });
            self.schedule_work(deployment, schedule)
                .expect("it was there a moment ago")
                .timer = Some(timer);
            self.effects.ring = true;
        }
    }

    fn make_occurrence(&mut self, deployment: u32, schedule: ScheduleId, template: Arc<RunBody>, at: i64) {
        let data = &self
            .catalog
            .deployments
            .get(deployment)
            .expect("a planned deployment is kept")
            .data;
        let priority = data.priority;
        let queue = self.catalog.deployments.get(deployment).and_then(|row| row.queue);
        let queue = queue.expect("an employed deployment has a queue");
        let name = self.some_name();
        let row = self.insert_run(template, name, queue, Some(deployment), priority, at);
        self.enter_later(row);
        self.schedule_work(deployment, schedule)
            .expect("it is being planned")
            .planned
            .insert(at, row);
    }

    /// The schedule that made a run, if it is still there.
    fn origin(&self, row: u32) -> Option<(u32, ScheduleId)> {
        let run = self.run(row);
        let id = ScheduleId::from_uuid(run.body.created_by.as_ref()?.id?);
        Some((run.deployment?, id))
    }

    /// A schedule-made run has become due: it enters the line, or is set aside as missed.
    pub(crate) fn occurrence_due(&mut self, row: u32, due: i64, missed: &mut Missed) {
        let origin = self.origin(row);
        if let Some((deployment, schedule)) = origin
            && let Some(work) = self.schedule_work(deployment, schedule)
        {
            work.planned.remove(&due);
        }
        match origin {
            Some(origin) if self.wall.saturating_sub(due) > self.settings.late_after => {
                missed.runs.entry(origin).or_default().push((due, row));
            }
            _ => {
                self.enter_line(row);
                self.changed();
            }
        }
        if let Some((deployment, schedule)) = origin {
            let made_due = missed.due.entry((deployment, schedule)).or_default();
            *made_due += 1;
            let now = self.wall;
            if *made_due >= MAX_LOOKS
                && let Some(work) = self.schedule_work(deployment, schedule)
            {
                work.cursor = work.cursor.max(now);
            }
            self.plan(deployment, schedule);
        }
    }

    /// Decides about what was missed, all of a schedule at once.
    pub(crate) fn settle_missed(&mut self, missed: Missed) {
        for runs in missed.runs.into_values() {
            let (now, oldest_kept) = (
                self.wall,
                match self.settings.catch_up {
                    CatchUp::Skip => runs.len(),
                    CatchUp::Latest(_) => runs.len() - 1,
                    CatchUp::All(most) => runs.len().saturating_sub(most),
                },
            );
            let floor = now.saturating_sub(self.settings.catch_up_window());
            for (index, (due, row)) in runs.into_iter().enumerate() {
                if index >= oldest_kept && due >= floor {
                    self.enter_line(row);
                    self.changed();
                } else {
                    self.totals.missed += 1;
                    let late = u64::try_from(now.saturating_sub(due)).unwrap_or(0);
                    let late = Duration::from_micros(late);
                    let message = Text::from(format!("missed by {} s", late.as_secs()));
                    self.finish(row, StateType::Cancelled, Text::of("Missed"), Some(message), now);
                }
            }
        }
    }

    /// A planned run is called off for good: its occurrence stays used.
    pub(crate) fn forget_occurrence(&mut self, row: u32) {
        let due = self.run(row).due;
        if !self.run(row).body.auto_scheduled {
            return;
        }
        if let Some((deployment, schedule)) = self.origin(row)
            && let Some(work) = self.schedule_work(deployment, schedule)
        {
            work.planned.remove(&due);
        }
    }

    /// Takes back the planned runs of a schedule that are not due, frees their keys, and looks again from now.
    pub(crate) fn unplan(&mut self, deployment: u32, schedule: ScheduleId) {
        let now = self.wall;
        let Some(work) = self.schedule_work(deployment, schedule) else {
            return;
        };
        let planned = std::mem::take(&mut work.planned);
        for at in planned.keys() {
            work.used.remove(at);
        }
        work.cursor = now;
        let timer = work.timer.take();
        if let Some(timer) = timer {
            self.wall_timers.cancel(timer);
        }
        for row in planned.into_values() {
            self.leave_later(row);
            self.discard(row);
        }
    }

    /// Takes back every schedule-made run of a deployment that is not claimed, late ones too.
    pub(crate) fn unplan_all(&mut self, deployment: u32) {
        let Some(work) = self.deployments[deployment as usize].as_ref() else {
            return;
        };
        let schedules: Vec<ScheduleId> = work.schedules.iter().map(|work| work.id).collect();
        for schedule in schedules {
            self.unplan(deployment, schedule);
        }
        let Some(work) = self.deployments[deployment as usize].as_ref() else {
            return;
        };
        let late: Vec<u32> = self
            .active
            .rows(work.active)
            .filter(|&row| {
                let run = self.run(row);
                run.body.auto_scheduled
                    && run.run_count == 0
                    && matches!(self.work[row as usize], Work::Line(_))
            })
            .collect();
        for row in late {
            self.leave_line(row);
            self.discard(row);
        }
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
        self.work[row as usize] = Work::None;
        self.catalog.runs.remove(row);
        self.changed();
    }
}
