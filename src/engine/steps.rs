//! Task runs: the steps that a handler records inside its run, and the limits of their tags.
//!
//! A step belongs to one attempt. While it runs it holds one slot of each limit `tag:<tag>` that there is for its tags, all taken in one
//! step or none, from what is free at that moment, in no line. What is still running when its attempt ends, however that
//! ends, is CRASHED and gives its slots back in the same step. Records of steps go with the record of their run.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::claim::Claim;
use super::core::Core;
#[cfg(any(test, fuzzing))]
use super::core::Work;
use super::error::Error;
use super::stops::Stop;
use crate::catalog::{TaskRunRow, instant, shared_tags};
use crate::ids::{RunId, TaskRunId};
use crate::limit::{Ask, Demand, Grant, Holder, LimitKey, REQUEST_LIMITS_MAX, RequestError, TakeError};
use crate::model::{InvalidValue, MAX_NAME, NewTaskRun, StateType, TaskRun, Text, check_tags};

/// A step that runs.
#[derive(Debug)]
pub(crate) struct Step {
    grant: Option<Grant>,
    /// What it holds, kept alive by that.
    demand: Demand,
}

impl Engine {
    /// Records that the attempt of a claim begins a step: a task run, RUNNING. With the slots of its tags' limits, or the first limit
    /// that has none for it; nothing is recorded then, and the handler tries again later.
    ///
    /// ```
    /// use tenfold::limit::LimitSpec;
    /// use tenfold::model::{NewTaskRun, StateType};
    /// use tenfold::{Engine, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("load")?;
    /// engine.define_limit(LimitSpec::new("tag:db", 1))?;
    /// engine.submit("load")?;
    /// let claim = engine.claim(&Scope::all())?.expect("one waits");
    /// engine.begin(&claim)?;
    /// let step = engine.begin_task(&claim, NewTaskRun::named("write").tag("db"))?.expect("it is free");
    /// let other = engine.begin_task(&claim, NewTaskRun::named("write too").tag("db"))?;
    /// println!("{}", other.unwrap_err());
    /// engine.end_task(&claim, step, StateType::Completed)?;
    /// assert_eq!(engine.task_run(step)?.state_type, Some(StateType::Completed));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`]; [`Error::Transition`] when the attempt has not started; [`Error::Invalid`] for a name or tags out of
    /// bounds, or tags of more than eight limits; [`Error::Full`] when as many task runs are kept as may.
    pub fn begin_task(
        &self,
        claim: &Claim,
        task: impl Into<NewTaskRun>,
    ) -> Result<Result<TaskRunId, Stop>, Error> {
        let task = task.into();
        self.call(|core| core.begin_task(claim.run(), claim.token(), task))
    }

    /// Records how a step ended, and gives back the slots of its tags' limits.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`]; [`Error::NotFound`] when it is no running step of this attempt; [`Error::Invalid`] for a state that is no
    /// end.
    pub fn end_task(&self, claim: &Claim, task: TaskRunId, state: StateType) -> Result<u64, Error> {
        self.call(|core| {
            let row = core.claimed_row(claim.run(), claim.token())?;
            if !state.is_terminal() {
                let rule = "give COMPLETED, FAILED, CRASHED or CANCELLED";
                return Err(InvalidValue::new("state_type", state.default_name().as_str(), rule).into());
            }
            let step = core.step_row(row, task)?;
            core.end_step(step, state);
            Ok(core.version)
        })
    }

    /// A task run, as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn task_run(&self, id: TaskRunId) -> Result<TaskRun, Error> {
        self.call(|core| {
            let row = core.task_run_row(id).ok_or_else(|| unknown(id))?;
            Ok(core.catalog.task_runs.get(row).expect("just found").data.clone())
        })
    }
}

fn unknown(id: TaskRunId) -> Error {
    Error::NotFound {
        kind: "task run",
        name: id.to_string(),
        hint: "it was never recorded here, has ended, or went with the record of its run",
    }
}

impl Core {
    fn task_run_row(&self, id: TaskRunId) -> Option<u32> {
        let row = self.catalog.by_id.get(&id.uuid()).copied()?;
        let held = self.catalog.task_runs.get(row)?;
        (held.data.id == id).then_some(row)
    }

    /// The row of a running step of a run.
    fn step_row(&self, run: u32, id: TaskRunId) -> Result<u32, Error> {
        let row = self.task_run_row(id).filter(|row| self.steps.contains_key(row));
        row.filter(|row| (self.catalog.task_runs.get(*row)).is_some_and(|held| held.run == Some(run)))
            .ok_or_else(|| unknown(id))
    }

    fn begin_task(
        &mut self,
        run: RunId,
        token: u64,
        task: NewTaskRun,
    ) -> Result<Result<TaskRunId, Stop>, Error> {
        let row = self.claimed_row(run, token)?;
        if !matches!(
            self.run(row).state,
            Some(StateType::Running | StateType::Cancelling)
        ) {
            return Err(Error::Transition {
                run,
                from: self.run(row).state.unwrap_or(StateType::Pending),
                to: StateType::Running,
                reason: "its attempt has not started; begin it before its steps",
            });
        }
        if task.name.len() > MAX_NAME {
            return Err(InvalidValue::new("task run name", &task.name, "keep it within 1,000 bytes").into());
        }
        check_tags(&task.tags)?;
        let (waiting, capacity) = (self.catalog.task_runs.len(), self.settings.task_runs);
        if waiting >= capacity {
            return Err(Error::Full {
                what: "task runs",
                waiting,
                capacity,
                asked: 1,
            });
        }
        let demand = self.demand_of_tags(&task.tags)?;
        // Its row is not known yet: it is the next one.
        let step = self.catalog.task_runs.next_row();
        let grant = match self.take_for_step(&demand, step) {
            Ok(grant) => grant,
            Err(stop) => {
                self.limits.book.forget(&demand, self.mono_time());
                return Ok(Err(stop));
            }
        };
        let id = TaskRunId::from_uuid(self.ids.uuid());
        let (at, tags) = (instant(self.wall), shared_tags(&task.tags));
        let recorded = self.tasks.entry(row).or_default();
        let data = TaskRun {
            id,
            created: at,
            updated: at,
            name: task.name,
            flow_run_id: Some(run),
            task_key: task.key,
            dynamic_key: Some(Text::from(recorded.len().to_string())),
            cache_key: None,
            task_version: None,
            total_run_time: Duration::ZERO,
            labels: crate::model::Object::new(),
            tags: task.tags,
            state_type: Some(StateType::Running),
            state_name: Some(StateType::Running.default_name()),
            run_count: 1,
            expected_start_time: Some(at),
            next_scheduled_start_time: None,
            start_time: Some(at),
            end_time: None,
        };
        recorded.push(step);
        let made = self.catalog.task_runs.insert(Arc::new(TaskRunRow {
            data,
            tags,
            run: Some(row),
        }));
        debug_assert_eq!(made, step, "L2 broken: the slots are another step's");
        self.catalog.by_id.insert(id.uuid(), step);
        self.steps.insert(step, Step { grant, demand });
        self.changed();
        Ok(Ok(id))
    }

    /// One slot of each limit that there is for these tags, each with an interest in it.
    fn demand_of_tags(&mut self, tags: &[Text]) -> Result<Demand, Error> {
        let now = self.mono_time();
        let mut demand = Demand::new();
        for (at, tag) in tags.iter().enumerate() {
            if tags[..at].contains(tag) {
                continue;
            }
            match self.bind_tag(tag, now) {
                Ok(None) => {}
                Ok(Some(limit)) if demand.asks().len() < REQUEST_LIMITS_MAX => {
                    demand
                        .push(Ask { limit, weight: 1 })
                        .expect("one slot of a limit that is not in it");
                    self.limits.book.retain_key(limit);
                }
                Ok(Some(_)) => {
                    self.limits.book.forget(&demand, now);
                    let rule = "give tags of at most eight limits";
                    return Err(InvalidValue::new("tags", tag, rule).into());
                }
                Err(error) => {
                    self.limits.book.forget(&demand, now);
                    return Err(error.into());
                }
            }
        }
        Ok(demand)
    }

    /// The limit of a tag, made if a template covers it.
    fn bind_tag(&mut self, tag: &Text, now: Duration) -> Result<Option<LimitKey>, RequestError> {
        let (name, book) = (format!("tag:{tag}"), &mut self.limits.book);
        if book.find(&name).is_none() {
            match book.check_request([(name.as_str(), 1)]) {
                Ok(_) => {}
                Err(RequestError::Unknown { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(book.bind(&name, now))
    }

    fn take_for_step(&mut self, demand: &Demand, step: u32) -> Result<Option<Grant>, Stop> {
        if demand.is_empty() {
            return Ok(None);
        }
        let now = self.mono_time();
        match self.limits.book.take(demand, Holder::task_run(step, 1), now) {
            Ok(grant) => {
                for ask in demand.asks() {
                    self.room_changed(ask.limit);
                }
                Ok(Some(grant))
            }
            Err(TakeError::Refused(refused)) => Err(Stop::Limit {
                name: self.limits.book.name(refused.limit).map(ToString::to_string),
                weight: refused.weight,
                room: refused.room,
                slots: self.limits.book.slots(refused.limit),
                retry_after: refused.retry_after,
            }),
            Err(TakeError::AlreadyHolds(_)) => unreachable!("a row that is free holds nothing"),
        }
    }

    fn end_step(&mut self, step: u32, state: StateType) {
        let at = instant(self.wall);
        if let Some(held) = self.catalog.task_runs.get_mut(step) {
            let data = &mut Arc::make_mut(held).data;
            data.updated = at;
            data.end_time = Some(at);
            (data.state_type, data.state_name) = (Some(state), Some(state.default_name()));
            let ran = data.start_time.and_then(|start| (at - start).to_std().ok());
            data.total_run_time = ran.unwrap_or_default();
        }
        self.release_step(step);
        self.changed();
    }

    fn release_step(&mut self, step: u32) {
        let Some(Step { grant, demand }) = self.steps.remove(&step) else {
            return;
        };
        let now = self.mono_time();
        if let Some(released) = grant.and_then(|grant| self.limits.book.release(grant, now)) {
            for ask in released.asks() {
                self.room_changed(ask.limit);
            }
            self.effects.ring = true;
        }
        self.limits.book.forget(&demand, now);
    }

    /// The attempt of a run ends, and with it what its handler has not ended.
    pub(crate) fn end_steps(&mut self, row: u32) {
        if self.steps.is_empty() {
            return;
        }
        let open: Vec<u32> = (self.tasks.get(&row).into_iter().flatten().copied())
            .filter(|step| self.steps.contains_key(step))
            .collect();
        for step in open {
            self.end_step(step, StateType::Crashed);
        }
    }

    /// The record of a run goes, and those of its steps.
    pub(crate) fn forget_steps(&mut self, row: u32) {
        if self.tasks.is_empty() {
            return;
        }
        for step in self.tasks.remove(&row).unwrap_or_default() {
            if let Some(held) = self.catalog.task_runs.remove(step) {
                self.catalog.by_id.remove(&held.data.id.uuid());
            }
        }
    }

    /// A task run of a document belongs to this run. One that was running goes on if its run is claimed.
    pub(crate) fn restore_step(&mut self, step: u32, row: u32) {
        self.tasks.entry(row).or_default().push(step);
    }

    /// Takes the slots of the steps of a claimed run again, whether they fit or not.
    pub(crate) fn seize_for_steps(&mut self, row: u32) {
        let steps = self.tasks.get(&row).cloned().unwrap_or_default();
        for step in steps {
            let Some(held) = self.catalog.task_runs.get(step).cloned() else {
                continue;
            };
            if held.data.state_type != Some(StateType::Running) {
                continue;
            }
            let Ok(demand) = self.demand_of_tags(&held.data.tags) else {
                continue;
            };
            let (holder, now) = (Holder::task_run(step, 1), self.mono_time());
            let grant = if demand.is_empty() {
                None
            } else {
                self.limits.book.seize(&demand, holder, now).ok()
            };
            self.steps.insert(step, Step { grant, demand });
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Core {
    /// Panics unless the steps that hold slots are those of claims; answers how many grants they have.
    pub(crate) fn check_steps(&self) -> usize {
        for step in self.steps.keys() {
            let held = self.catalog.task_runs.get(*step);
            let run = held.and_then(|held| held.run).expect("a step has a run");
            assert!(
                matches!(self.work[run as usize], Work::Claimed(_)),
                "L2 broken: a step outlives its attempt"
            );
            assert!(self.tasks[&run].contains(step), "a step is not listed");
        }
        self.steps.values().filter(|step| step.grant.is_some()).count()
    }
}
