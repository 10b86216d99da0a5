//! The schedules of one deployment: reading, adding, changing and removing single ones; and making or changing a deployment as
//! a whole, whichever it takes.
//!
//! Each is an edit of the deployment, and touches the planned runs of no other schedule.

use super::Engine;
use super::core::Core;
use super::error::Error;
use crate::ids::{DeploymentId, ScheduleId};
use crate::model::{
    Deployment, DeploymentPatch, DeploymentSchedule, NewDeployment, NewSchedule, SchedulePatch,
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
        self.call(|core| core.upsert(new))
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
