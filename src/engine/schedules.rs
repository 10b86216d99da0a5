//! The schedules of one deployment: reading, adding, changing and removing single ones; making or changing a deployment as a
//! whole, whichever it takes; and looking at what is scheduled or claimed.
//!
//! Each is an edit of the deployment, and touches the planned runs of no other schedule.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Engine;
use super::claim::Claim;
use super::core::{Core, Work};
use super::error::Error;
use crate::catalog::instant;
use crate::ids::{DeploymentId, RunId, ScheduleId};
use crate::model::{
    Deployment, DeploymentPatch, DeploymentSchedule, NewDeployment, NewSchedule, Run, SchedulePatch,
    StateType,
};

impl Engine {
    /// Makes a deployment, or changes the one of that name into this one: what is said is overwritten, what is not said stays, and
    /// parameters, labels and schedules are replaced even so. A schedule with a known slug, or the same in all it
    /// says, keeps its id and its used occurrences. Answers the deployment, and whether it was made.
    ///
    /// ```
    /// use tenfold::{Engine, NewDeployment, Priority};
    ///
    /// let engine = Engine::new();
    /// let (first, made) = engine.upsert(NewDeployment::new("report", "nightly").tag("etl"))?;
    /// assert!(made);
    /// let (second, made) = engine.upsert(NewDeployment::new("report", "nightly").priority(Priority::MAX))?;
    /// assert!(!made);
    /// assert_eq!((second.id, &second.tags, second.priority), (first.id, &first.tags, Priority::MAX));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`deploy`](Self::deploy), but for [`Error::Duplicate`]. Nothing is changed then.
    pub fn upsert(&self, new: NewDeployment) -> Result<(Deployment, bool), Error> {
        self.vouching(new, Core::asks_of_new, |core, new, _| core.upsert(new))
    }

    /// The schedules of a deployment, the latest changed first.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn schedules(&self, deployment: DeploymentId) -> Result<Vec<DeploymentSchedule>, Error> {
        let mut schedules = self.deployment(deployment)?.schedules;
        schedules.sort_by_key(|schedule| (std::cmp::Reverse(schedule.updated), schedule.id));
        Ok(schedules)
    }

    /// Adds schedules to a deployment, which are planned at once; those that it has stay as they are. Answers the new ones.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Schedule`] and [`Error::Invalid`] for one that breaks its rules, such as a slug that is
    /// taken. Nothing is added then.
    pub fn add_schedules(
        &self,
        deployment: DeploymentId,
        new: Vec<NewSchedule>,
    ) -> Result<Vec<DeploymentSchedule>, Error> {
        self.call(|core| core.add_schedules(deployment, new))
    }

    /// The scheduled runs of these deployments that start up to `before` (all, if none is named), the first first, at most
    /// `most`: due, retried, held back and future ones, whatever is paused or full. It is a look and claims nothing, and counts
    /// as asking the deployments for work. Linear in their unfinished runs.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a deployment; none is marked as asked then.
    pub fn scheduled_runs(
        &self,
        deployments: &[DeploymentId],
        before: Option<DateTime<Utc>>,
        most: usize,
    ) -> Result<Vec<Run>, Error> {
        self.call(|core| core.scheduled_runs(deployments, before, most))
    }

    /// Every claim that is out, by token: for hosts that lost theirs. Linear in the runs of the engine.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn claims(&self) -> Result<Vec<Claim>, Error> {
        self.call(|core| {
            let mut out: Vec<(u64, RunId)> = (0..)
                .zip(&core.work)
                .filter_map(|(row, work)| match work {
                    Work::Claimed(held) => Some((held.token, core.run(row).id)),
                    _ => None,
                })
                .collect();
            out.sort_unstable();
            out.into_iter()
                .map(|(token, run)| core.claim_again(run, token))
                .collect()
        })
    }

    /// Changes one schedule of a deployment. Its future runs are planned again, those of other schedules stay.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the deployment, or a schedule that it does not have; [`Error::Schedule`] and
    /// [`Error::Invalid`] as in [`deploy`](Self::deploy). Nothing is changed then.
    pub fn update_schedule(
        &self,
        deployment: DeploymentId,
        schedule: ScheduleId,
        patch: SchedulePatch,
    ) -> Result<DeploymentSchedule, Error> {
        self.call(|core| core.update_schedule(deployment, schedule, patch))
    }

    /// Removes one schedule of a deployment. Its runs that are planned or late are taken back, those of other schedules stay.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the deployment, or a schedule that it does not have.
    pub fn delete_schedule(&self, deployment: DeploymentId, schedule: ScheduleId) -> Result<u64, Error> {
        self.call(|core| {
            core.delete_schedule(deployment, schedule)?;
            Ok(core.version)
        })
    }
}

impl Core {
    fn upsert(&mut self, new: NewDeployment) -> Result<(Deployment, bool), Error> {
        let flow = self.catalog.flow_names.get(&new.flow);
        let held = flow.and_then(|&flow| self.catalog.deployment_names.get(&(flow, new.name.clone())));
        let Some(&row) = held else {
            return Ok((self.deploy(new)?, true));
        };
        self.accepts_work()?;
        let id = self
            .catalog
            .deployments
            .get(row)
            .expect("names lead to rows")
            .data
            .id;
        self.update_deployment(id, new.into_patch())?;
        Ok((self.deployment_form(row), false))
    }

    fn scheduled_runs(
        &mut self,
        deployments: &[DeploymentId],
        before: Option<DateTime<Utc>>,
        most: usize,
    ) -> Result<Vec<Run>, Error> {
        let mut rows = Vec::with_capacity(deployments.len());
        for &deployment in deployments {
            rows.push(self.deployment_row(deployment)?);
        }
        rows.sort_unstable();
        rows.dedup();
        let before = before.map_or(i64::MAX, |at| at.timestamp_micros());
        let mut found = Vec::new();
        for &row in &rows {
            let work = self.deployments[row as usize].as_ref().expect("just found");
            let waiting = self.active.rows(work.active).filter_map(|run| {
                let held = self.run(run);
                let at = held.next_start.micros().filter(|at| *at <= before)?;
                (held.state == Some(StateType::Scheduled)).then_some((at, held.seq, held.id))
            });
            found.extend(waiting);
        }
        found.sort_unstable();
        found.truncate(most);
        let at = instant(self.wall);
        for row in rows {
            let held = self.catalog.deployments.get_mut(row).expect("just found");
            Arc::make_mut(held).data.last_polled = Some(at);
        }
        found.into_iter().map(|(_, _, run)| self.read_run(run)).collect()
    }

    fn held_schedules(&self, deployment: DeploymentId) -> Result<Vec<DeploymentSchedule>, Error> {
        let row = self.deployment_row(deployment)?;
        Ok(self
            .catalog
            .deployments
            .get(row)
            .expect("just found")
            .data
            .schedules
            .clone())
    }

    fn held_schedule(
        &self,
        deployment: DeploymentId,
        schedule: ScheduleId,
    ) -> Result<(Vec<DeploymentSchedule>, usize), Error> {
        let held = self.held_schedules(deployment)?;
        match held.iter().position(|held| held.id == schedule) {
            Some(at) => Ok((held, at)),
            None => Err(Error::NotFound {
                kind: "schedule",
                name: schedule.to_string(),
                hint: "the deployment has no such schedule; `schedules` lists those it has",
            }),
        }
    }

    fn add_schedules(
        &mut self,
        deployment: DeploymentId,
        new: Vec<NewSchedule>,
    ) -> Result<Vec<DeploymentSchedule>, Error> {
        self.accepts_work()?;
        let held = self.held_schedules(deployment)?;
        let before = held.len();
        let mut all: Vec<NewSchedule> = held.iter().cloned().map(NewSchedule::from).collect();
        let mut same: Vec<Option<DeploymentSchedule>> = held.into_iter().map(Some).collect();
        same.resize(before + new.len(), None);
        all.extend(new);
        self.replace_schedules(deployment, all, same)?;
        Ok(self.held_schedules(deployment)?.split_off(before))
    }

    fn update_schedule(
        &mut self,
        deployment: DeploymentId,
        schedule: ScheduleId,
        patch: SchedulePatch,
    ) -> Result<DeploymentSchedule, Error> {
        let (held, at) = self.held_schedule(deployment, schedule)?;
        let mut all: Vec<NewSchedule> = held.iter().cloned().map(NewSchedule::from).collect();
        all[at] = patch.applied(held[at].clone());
        self.replace_schedules(deployment, all, held.into_iter().map(Some).collect())?;
        Ok(self.held_schedules(deployment)?.swap_remove(at))
    }

    fn delete_schedule(&mut self, deployment: DeploymentId, schedule: ScheduleId) -> Result<(), Error> {
        let (mut held, at) = self.held_schedule(deployment, schedule)?;
        let row = self.deployment_row(deployment)?;
        self.room_to_remember(row, schedule)?;
        self.unplan_all(row, Some(schedule));
        held.remove(at);
        let all = held.iter().cloned().map(NewSchedule::from).collect();
        self.replace_schedules(deployment, all, held.into_iter().map(Some).collect())
    }

    fn replace_schedules(
        &mut self,
        deployment: DeploymentId,
        all: Vec<NewSchedule>,
        same: Vec<Option<DeploymentSchedule>>,
    ) -> Result<(), Error> {
        self.edit_deployment(deployment, DeploymentPatch::new().schedules(all), Some(same))
    }
}
