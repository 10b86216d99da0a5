//! What becomes of an occurrence when its instant has come: it runs, waits, or ends as missed or skipped.
//!
//! First what was missed is decided, of all that one call makes due, a schedule at a time; then each that still runs meets
//! the schedule's overlap policy, in the order of instants. A call makes at most 15,000 occurrences of one schedule due
//! and leaves the rest to the next call, which is due at once; so a schedule that fires hundreds of times a second keeps
//! no other from its turn, and of it only what has become too old meanwhile is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::core::{Core, Work};
use super::plan::{MAX_LOOKS, latest_from};
use crate::ids::ScheduleId;
use crate::model::{CatchUp, DeploymentSchedule, Overlap, Place, StateType, Text};
use crate::priority::Priority;

/// A schedule of a deployment, by row and id.
type Origin = (u32, ScheduleId);

/// What one call has made due of schedules.
#[derive(Debug, Default)]
pub(crate) struct DueNow {
    /// Occurrences that were first made due long after their instant.
    missed: BTreeMap<Origin, Vec<(i64, u32)>>,
    /// How many occurrences became due at all.
    counts: BTreeMap<Origin, usize>,
    /// Schedules whose turn is over.
    deferred: BTreeSet<Origin>,
}

/// Most occurrences of one schedule that one call makes due.
const TURN: usize = 3 * MAX_LOOKS;

impl Core {
    fn schedule_data(&self, (deployment, schedule): Origin) -> Option<&DeploymentSchedule> {
        let held = self.catalog.deployments.get(deployment)?;
        held.data.schedules.iter().find(|data| data.id == schedule)
    }

    /// A schedule-made run has become due: it is admitted, or set aside as missed.
    pub(crate) fn occurrence_due(&mut self, row: u32, due: i64, now_due: &mut DueNow) {
        let Some(origin) = Self::origin(self.run(row)) else {
            self.come_due(row);
            self.changed();
            return;
        };
        if let Some(work) = self.schedule_work(origin.0, origin.1)
            && !work.unlist(due, row)
        {
            // Somebody moved it here: it is no occurrence of this instant.
            self.come_due(row);
            self.changed();
            return;
        }
        if self.wall.saturating_sub(due) > self.settings.late_after {
            now_due.missed.entry(origin).or_default().push((due, row));
        } else {
            // What was missed lies before it, and is all there is.
            if let Some(missed) = now_due.missed.remove(&origin) {
                self.settle(origin, missed);
            }
            self.admit(row, origin);
        }
        let count = now_due.counts.entry(origin).or_default();
        *count += 1;
        if *count >= TURN {
            now_due.deferred.insert(origin);
            return;
        }
        if *count == MAX_LOOKS {
            self.leap(origin);
        }
        self.plan(origin.0, origin.1);
    }

    /// Goes on from the latest occurrences that may still run, when too many were missed to look at each.
    fn leap(&mut self, origin: Origin) {
        let Some(data) = self.schedule_data(origin) else {
            return;
        };
        let near = self.wall.saturating_sub(self.settings.late_after);
        let most = match self.policy_of(data) {
            CatchUp::Skip => 0,
            CatchUp::Latest(_) => 1,
            CatchUp::All(most) => most,
        };
        let schedule = data.schedule.clone();
        if let Some(work) = self.schedule_work(origin.0, origin.1)
            && work.cursor < near
        {
            work.cursor = latest_from(&schedule, work.cursor, near, most);
        }
    }

    /// Decides about what was missed, and lets schedules whose turn was over go on in the next call.
    pub(crate) fn settle_due(&mut self, due: DueNow) {
        for (origin, missed) in due.missed {
            self.settle(origin, missed);
        }
        for (deployment, schedule) in due.deferred {
            self.wake_planner(deployment, schedule, self.wall);
        }
    }

    /// Decides about all missed occurrences of a schedule, oldest first.
    fn settle(&mut self, origin: Origin, missed: Vec<(i64, u32)>) {
        let now = self.wall;
        let policy = self
            .schedule_data(origin)
            .map_or(self.settings.catch_up, |data| self.policy_of(data));
        let oldest_kept = match policy {
            CatchUp::Skip => missed.len(),
            CatchUp::Latest(_) => missed.len() - 1,
            CatchUp::All(most) => missed.len().saturating_sub(most),
        };
        let floor = now.saturating_sub(self.settings.window(policy));
        for (index, (due, row)) in missed.into_iter().enumerate() {
            if index >= oldest_kept && due >= floor {
                self.admit(row, origin);
            } else {
                self.totals.missed += 1;
                let late = u64::try_from(now.saturating_sub(due)).unwrap_or(0);
                let late = Duration::from_micros(late);
                let message = Text::from(format!("missed by {} s", late.as_secs()));
                self.finish(row, StateType::Cancelled, Text::of("Missed"), Some(message), now);
            }
        }
    }

    /// Lets an occurrence into the line, as its schedule's overlap policy says.
    fn admit(&mut self, row: u32, origin: Origin) {
        let overlap = self
            .schedule_data(origin)
            .map_or(Overlap::Allow, |data| data.overlap);
        let Some(work) = self.remembered(origin.0, origin.1) else {
            self.come_due(row);
            self.changed();
            return;
        };
        let earlier = work.live.first().copied();
        let earlier = earlier.filter(|_| !fault!(OverlapIgnored));
        match (overlap, earlier) {
            (Overlap::BufferOne, Some(_)) if work.buffered.is_none() => {
                work.buffered = Some(row);
                self.enter_buffer(row);
                self.changed();
            }
            (Overlap::Skip | Overlap::BufferOne, Some(earlier)) => self.skip(row, earlier),
            (Overlap::CancelRunning, Some(_)) => {
                self.call_off_earlier(origin, row);
                self.let_in(row, origin);
            }
            _ => self.let_in(row, origin),
        }
    }

    /// A run was chosen before it came into line; from then on it counts among those of its schedule that have not ended.
    pub(crate) fn occurrence_chosen(&mut self, row: u32) {
        if let Some((deployment, schedule)) = Self::origin(self.run(row))
            && let Some(work) = self.remembered(deployment, schedule)
        {
            work.live.insert(row);
        }
    }

    pub(crate) fn let_in(&mut self, row: u32, origin: Origin) {
        if let Some(work) = self.remembered(origin.0, origin.1) {
            work.live.insert(row);
        }
        self.come_due(row);
        self.changed();
    }

    fn skip(&mut self, row: u32, earlier: u32) {
        self.totals.skipped += 1;
        let message = format!("run {} of the same schedule had not ended", self.run(earlier).id);
        let now = self.wall;
        self.finish(
            row,
            StateType::Cancelled,
            Text::of("Skipped"),
            Some(message.into()),
            now,
        );
    }

    fn call_off_earlier(&mut self, origin: Origin, row: u32) {
        let Some(work) = self.remembered(origin.0, origin.1) else {
            return;
        };
        // One that waits behind the others goes first, lest it is let in by their end.
        let rows: Vec<u32> = work
            .buffered
            .into_iter()
            .chain(work.live.iter().copied())
            .collect();
        let message = Text::from(format!(
            "run {} of the same schedule became due",
            self.run(row).id
        ));
        for earlier in rows {
            if self.run(earlier).state != Some(StateType::Cancelling) {
                let id = self.run(earlier).id;
                self.cancel(id, Some(message.clone()))
                    .expect("what is live or waits can be called off");
            }
        }
    }

    /// Holds a due run back, out of line: it counts as waiting and blocked.
    pub(crate) fn enter_buffer(&mut self, row: u32) {
        self.run_mut(row).place = Place::Blocked;
        self.set_work(row, Work::Buffered);
        self.buffered_total += 1;
        self.count_buffered(row, true);
    }

    /// Takes it out again.
    pub(crate) fn leave_buffer(&mut self, row: u32) {
        self.work[row as usize] = Work::None;
        self.buffered_total -= 1;
        self.count_buffered(row, false);
        if let Some((deployment, schedule)) = Self::origin(self.run(row))
            && let Some(work) = self.remembered(deployment, schedule)
        {
            work.buffered = None;
        }
    }

    fn count_buffered(&mut self, row: u32, in_: bool) {
        let run = self.run(row);
        let (queue, lane) = (run.in_queue() as usize, run.priority.lane());
        let (one, step) = if in_ { (1, 1) } else { (u32::MAX, usize::MAX) };
        self.queues[queue].waiting = self.queues[queue].waiting.wrapping_add(step);
        self.waiting[lane] = self.waiting[lane].wrapping_add(one);
        self.waiting_total = self.waiting_total.wrapping_add(step);
    }

    /// Gives a run that is held back another level, and the place in line that it will take.
    pub(crate) fn change_buffered(&mut self, row: u32, priority: Priority, due: i64, seq: u64) {
        self.count_buffered(row, false);
        let run = self.run_mut(row);
        (run.priority, run.due, run.seq) = (priority, due, seq);
        self.count_buffered(row, true);
    }

    /// A run has ended, or is taken back: whoever waited for the last of its schedule goes into line.
    pub(crate) fn occurrence_ended(&mut self, row: u32) {
        let Some((deployment, schedule)) = Self::origin(self.run(row)) else {
            return;
        };
        let Some(work) = self.remembered(deployment, schedule) else {
            return;
        };
        if work.live.remove(&row)
            && work.live.is_empty()
            && !fault!(BufferedForgotten)
            && let Some(next) = work.buffered
        {
            self.leave_buffer(next);
            self.let_in(next, (deployment, schedule));
        }
    }
}

/// Panics unless what is kept of schedules agrees with the runs.
#[cfg(any(test, fuzzing))]
impl Core {
    pub(crate) fn check_schedules(&self) {
        let mut buffered = 0;
        for work in self.deployments.iter().flatten() {
            let removed = work.removed.iter().map(|removed| &removed.work);
            for work in work.schedules.iter().chain(removed) {
                for (at, row) in work.planned.iter().chain(&work.asked) {
                    assert!(
                        matches!(self.work[*row as usize], Work::Later),
                        "a planned run is elsewhere"
                    );
                    assert_eq!(self.run(*row).due, *at, "a planned run is due at another instant");
                    assert_eq!(
                        work.used.get(at),
                        Some(&self.run(*row).id),
                        "R4 broken: an occurrence without its key"
                    );
                }
                for row in &work.live {
                    let place = self.run(*row).place;
                    assert!(
                        !matches!(place, Place::Finished | Place::Record),
                        "S4 broken: a live run is {place:?}"
                    );
                }
                if let Some(row) = work.buffered {
                    assert!(
                        matches!(self.work[row as usize], Work::Buffered),
                        "S4 broken: a run is not held back"
                    );
                    assert!(!work.live.is_empty(), "S4 broken: a run is held back by nobody");
                    buffered += 1;
                }
            }
        }
        assert_eq!(
            buffered, self.buffered_total,
            "S4 broken: a run is held back for nobody"
        );
    }
}
