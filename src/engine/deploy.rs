//! Flows and deployments: making them, and what the engine keeps of them.

mod edit;

use std::num::NonZeroU32;
use std::sync::Arc;

use super::core::{Core, DeploymentWork, Work};
use super::error::Error;
use super::plan::{MAX_LOOKS, Removed, ScheduleWork};
use super::schema::Schema;
use super::submit::{MAX_SPAN, check_labels, check_retry, check_timeout};
use crate::catalog::{DeploymentRow, FlowRow, RunBody, RunCommon, RunLimits, When, instant, shared_tags};
use crate::ids::{DeploymentId, FlowId, ScheduleId};
use crate::limit::LimitKey;
use crate::model::{
    CatchUp, ConcurrencyOptions, CreatedBy, Deployment, DeploymentSchedule, Flow, InvalidValue,
    NewDeployment, NewSchedule, Object, PoolStatus, StateType, Text, check_name, check_name_or_empty,
    check_parameters, check_tags, check_text,
};

impl Core {
    pub(crate) fn deployment_row(&self, id: DeploymentId) -> Result<u32, Error> {
        // A loaded record is there to be read, not to make runs of.
        (self.catalog.deployment(id))
            .filter(|&row| self.deployments.get(row as usize).is_some_and(Option::is_some))
            .ok_or_else(|| Error::NotFound {
                kind: "deployment",
                name: id.to_string(),
                hint: "it was never made here, or was deleted",
            })
    }

    /// The flow of that name, made if it is not there.
    pub(crate) fn flow(&mut self, name: &Text) -> Result<u32, Error> {
        if let Some(&row) = self.catalog.flow_names.get(name) {
            return Ok(row);
        }
        check_name("flow name", name)?;
        self.room_for_flow()?;
        let (id, at) = (FlowId::from_uuid(self.ids.uuid()), instant(self.wall));
        let data = Flow {
            id,
            created: at,
            updated: at,
            name: name.clone(),
            tags: Vec::new(),
            labels: Object::new(),
        };
        let row = self.catalog.flows.insert(Arc::new(FlowRow {
            data,
            tags: shared_tags(&[]),
        }));
        self.catalog.by_id.insert(id.uuid(), row);
        self.catalog.flow_names.insert(name.clone(), row);
        self.changed();
        Ok(row)
    }

    fn room_for_flow(&self) -> Result<(), Error> {
        let (waiting, capacity) = (self.catalog.flows.len(), self.settings.flows);
        if waiting < capacity {
            return Ok(());
        }
        Err(Error::Full {
            what: "flows",
            waiting,
            capacity,
            asked: 1,
        })
    }

    /// What the runs of a flow without a deployment have in common; kept until what it says may have changed.
    pub(crate) fn flow_template(&mut self, flow: u32) -> Arc<RunBody> {
        if let Some(kept) = self.flow_bodies.get(&flow) {
            return kept.clone();
        }
        let mut body = self.body(flow);
        if let Some(queue) = self.known_default_queue() {
            let data = &self.catalog.queues.get(queue).expect("names lead to rows").data;
            let (id, name) = (data.id, data.name.clone());
            let common = body.common_mut();
            (common.queue_id, common.queue_name) = (Some(id), Some(name));
        }
        let body = Arc::new(body);
        self.flow_bodies.insert(flow, body.clone());
        body
    }

    /// The labels of a flow, with these laid over them.
    fn labels_under(&self, flow: u32, labels: &Object) -> Arc<Object> {
        let held = self.catalog.flows.get(flow).expect("a flow's row was just found");
        let mut all = held.data.labels.clone();
        all.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        Arc::new(all)
    }

    fn body(&self, flow: u32) -> RunBody {
        let common = RunCommon {
            flow,
            flow_id: self
                .catalog
                .flows
                .get(flow)
                .expect("a flow's row was just found")
                .data
                .id,
            deployment_id: None,
            queue_id: None,
            queue_name: None,
            retry: crate::model::Retry::default(),
            timeout: None,
            auto_scheduled: false,
            created_by: None,
            parent: None,
            deployment_version: None,
            flow_version: None,
        };
        RunBody {
            common: Arc::new(common),
            parameters: Arc::default(),
            tags: shared_tags(&[]),
            labels: self.labels_under(flow, &Object::new()),
            key: None,
            fingerprint: 0,
            expires: When::NEVER,
            limits: None,
            own: None,
        }
    }

    pub(crate) fn deploy(&mut self, new: NewDeployment) -> Result<Deployment, Error> {
        self.accepts_work()?;
        check_name("flow name", &new.flow)?;
        check_name_or_empty("deployment name", &new.name)?;
        check_tags(new.tags.as_deref().unwrap_or_default())?;
        check_parameters(&new.parameters)?;
        check_labels(&new.labels)?;
        new.retry.as_ref().map_or(Ok(()), check_retry)?;
        check_timeout(new.timeout)?;
        new.options.map_or(Ok(()), ConcurrencyOptions::check)?;
        check_schedules(&new.schedules, &self.settings)?;
        self.check_limits(&new.limits)?;
        for text in [&new.version, &new.description, &new.path, &new.entrypoint] {
            check_text(text.as_ref())?;
        }
        check_objects(new.pull_steps.as_deref(), new.job_variables.as_ref())?;
        let enforce = new.enforce.unwrap_or(true);
        let named = new.pool.clone().zip(new.queue.clone());
        let queue = self.named_queue(named.as_ref())?;
        if let Some(&flow) = self.catalog.flow_names.get(&new.flow)
            && self
                .catalog
                .deployment_names
                .contains_key(&(flow, new.name.clone()))
        {
            return Err(Error::Duplicate {
                kind: "deployment",
                name: format!("{:?}", format!("{}/{}", new.flow, new.name)),
            });
        }
        let held = self.catalog.deployments.len();
        if held >= self.settings.deployments {
            let capacity = self.settings.deployments;
            return Err(Error::Full {
                what: "deployments",
                waiting: held,
                capacity,
                asked: 1,
            });
        }
        if !self.catalog.flow_names.contains_key(&new.flow) {
            self.room_for_flow()?;
        }
        // Nothing below fails.
        let queue = queue.unwrap_or_else(|| self.default_queue());
        let flow = self.flow(&new.flow)?;
        let id = DeploymentId::from_uuid(self.ids.uuid_in(self.catalog.deployments.next_row()));
        let at = instant(self.wall);
        let schedules = new
            .schedules
            .into_iter()
            .map(|schedule| self.make_schedule(schedule))
            .collect();
        let data = Deployment {
            id,
            created: at,
            updated: at,
            name: new.name.clone(),
            flow_id: self.catalog.flows.get(flow).expect("just found or made").data.id,
            version: new.version,
            description: new.description,
            paused: new.paused.unwrap_or_default(),
            schedules,
            concurrency_limit: new.limit.map(NonZeroU32::get),
            concurrency_options: new.options,
            parameters: new.parameters,
            tags: new.tags.unwrap_or_default(),
            labels: new.labels,
            work_pool_name: new.pool,
            work_queue_name: new.queue,
            work_queue_id: Some(self.catalog.queues.get(queue).expect("just found").data.id),
            priority: new.priority.unwrap_or_default(),
            retry: new.retry.unwrap_or_default(),
            timeout: new.timeout,
            limits: new.limits,
            path: new.path,
            entrypoint: new.entrypoint,
            pull_steps: new.pull_steps.unwrap_or_default(),
            job_variables: new.job_variables.unwrap_or_default(),
            enforce_parameter_schema: enforce,
            parameter_openapi_schema: new.schema,
            status: PoolStatus::NotReady,
            last_polled: None,
        };
        let tags = shared_tags(&data.tags);
        let row = self.catalog.deployments.insert(Arc::new(DeploymentRow {
            data: data.clone(),
            flow,
            queue: Some(queue),
            tags,
        }));
        self.catalog.note_deployment(id, row);
        self.catalog.deployment_names.insert((flow, new.name), row);
        self.changed();
        self.employ(row);
        self.plan_all(row);
        Ok(data)
    }

    fn make_schedule(&mut self, new: NewSchedule) -> DeploymentSchedule {
        let at = instant(self.wall);
        DeploymentSchedule {
            id: ScheduleId::from_uuid(self.ids.uuid()),
            created: at,
            updated: at,
            schedule: new.schedule,
            active: new.active,
            slug: new.slug,
            parameters: new.parameters,
            max_scheduled_runs: new.max_scheduled_runs,
            overlap: new.overlap,
            catch_up: new.catch_up,
        }
    }

    /// Makes what the engine keeps of a deployment besides its data, from that data.
    pub(crate) fn employ(&mut self, row: u32) {
        let data = &self.catalog.deployments.get(row).expect("just made").data;
        let limit = data
            .concurrency_limit
            .map(|slots| self.define_deployment_limit(row, slots));
        self.employ_under(row, limit);
    }

    /// The same, under a limit that is in the book already.
    pub(crate) fn employ_under(&mut self, row: u32, limit: Option<LimitKey>) {
        if self.deployments.len() <= row as usize {
            self.deployments.resize_with(row as usize + 1, || None);
        }
        let template = self.deployment_template(row);
        self.deployments[row as usize] = Some(DeploymentWork {
            limit,
            active: super::active::First::default(),
            template,
            schedules: Vec::new(),
            removed: Vec::new(),
            collision: None,
            schema: None,
        });
        self.set_collision(row);
        self.refresh_schedules(row, &[]);
    }

    fn deployment_template(&self, row: u32) -> Arc<RunBody> {
        let held = self
            .catalog
            .deployments
            .get(row)
            .expect("an employed deployment is kept");
        let queue = held.queue.and_then(|queue| self.catalog.queues.get(queue));
        let queue = queue.expect("an employed deployment has a queue");
        let limits = (!held.data.limits.is_empty()).then(|| {
            Arc::new(RunLimits {
                request: held.data.limits.clone(),
                keys: Vec::new(),
            })
        });
        let body = self.body(held.flow);
        let common = RunCommon {
            deployment_id: Some(held.data.id),
            retry: held.data.retry.clone(),
            timeout: held.data.timeout,
            deployment_version: held.data.version.clone(),
            queue_id: Some(queue.data.id),
            queue_name: Some(queue.data.name.clone()),
            ..(*body.common).clone()
        };
        Arc::new(RunBody {
            common: Arc::new(common),
            limits,
            parameters: Arc::new(held.data.parameters.clone()),
            tags: held.tags.clone(),
            labels: self.labels_under(held.flow, &held.data.labels),
            ..body
        })
    }

    /// Makes the templates of a deployment anew, and what is kept of each schedule. A schedule that was there before keeps
    /// its used occurrences; one that is in `former` only is remembered while it has some.
    pub(crate) fn refresh_schedules(&mut self, row: u32, former: &[DeploymentSchedule]) {
        let template = self.deployment_template(row);
        let held = self
            .catalog
            .deployments
            .get(row)
            .expect("an employed deployment is kept")
            .clone();
        let now = self.wall;
        let work = self.deployments[row as usize]
            .as_mut()
            .expect("an employed deployment");
        let mut before = std::mem::take(&mut work.schedules);
        let mut removed = std::mem::take(&mut work.removed);
        work.template = template.clone();
        let (enforce, schema) = (
            held.data.enforce_parameter_schema,
            held.data.parameter_openapi_schema.as_ref(),
        );
        if !(work.schema.as_ref()).is_some_and(|held| held.is_of_runs(enforce, schema)) {
            work.schema = Schema::of_runs(enforce, schema);
            self.enforces |= work.schema.is_some();
        }
        for schedule in &held.data.schedules {
            let mut parameters = held.data.parameters.clone();
            parameters.extend(
                schedule
                    .parameters
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
            let mut tags = vec![Text::of("auto-scheduled")];
            tags.extend(
                held.data
                    .tags
                    .iter()
                    .filter(|tag| **tag != "auto-scheduled")
                    .cloned(),
            );
            let label = schedule
                .slug
                .clone()
                .unwrap_or_else(|| Text::from(format!("{:?}Schedule", schedule.schedule.kind())));
            let common = RunCommon {
                auto_scheduled: true,
                created_by: Some(CreatedBy::schedule(schedule.id, label)),
                ..(*template.common).clone()
            };
            let template = Arc::new(RunBody {
                common: Arc::new(common),
                parameters: Arc::new(parameters),
                tags: shared_tags(&tags),
                ..(*template).clone()
            });
            let kept = before.iter().position(|work| work.id == schedule.id);
            let kept = kept.map(|at| before.remove(at)).or_else(|| {
                let at = removed
                    .iter()
                    .position(|removed| removed.work.id == schedule.id)?;
                // What it would have fired meanwhile is not made up for.
                let work = removed.remove(at).work;
                Some(ScheduleWork { cursor: now, ..work })
            });
            let kept = kept.filter(|_| !fault!(EditForgetsKeys));
            let work_of = match kept {
                Some(kept) => ScheduleWork { template, ..kept },
                None => ScheduleWork::new(schedule.id, template, now),
            };
            self.deployments[row as usize]
                .as_mut()
                .expect("an employed deployment")
                .schedules
                .push(work_of);
        }
        for work in before.into_iter().filter(ScheduleWork::is_worth_keeping) {
            let data = former.iter().find(|data| data.id == work.id);
            let data = data
                .expect("what is kept of a schedule stands beside its data")
                .clone();
            removed.push(Removed { data, work });
        }
        // Those with nothing to come are remembered for the sake of backfills only; the oldest go first.
        let mut spare = removed.len().saturating_sub(self.settings.schedules);
        removed.retain(|removed| {
            let goes = spare > 0 && !removed.work.is_needed(now);
            spare -= usize::from(goes);
            !goes
        });
        self.deployments[row as usize]
            .as_mut()
            .expect("an employed deployment")
            .removed = removed;
    }

    /// Remembers a removed schedule, of which nothing is known yet.
    pub(crate) fn remember(&mut self, row: u32, data: DeploymentSchedule) {
        let now = self.wall;
        let work = self.deployments[row as usize]
            .as_mut()
            .expect("an employed deployment");
        let template = work.template.clone();
        work.removed.push(Removed {
            work: ScheduleWork::new(data.id, template, now),
            data,
        });
    }

    pub(crate) fn plan_all(&mut self, row: u32) {
        for schedule in self.schedule_ids(row) {
            self.plan(row, schedule);
        }
    }

    /// Whether so many schedules can be remembered after their removal.
    fn can_remember<'a>(&self, removed: impl Iterator<Item = &'a ScheduleWork>) -> Result<(), Error> {
        let (asked, capacity) = (1, self.settings.schedules);
        let waiting = removed.filter(|work| work.is_needed(self.wall)).count();
        if waiting > capacity {
            return Err(Error::Full {
                what: "removed schedules with occurrences to remember",
                waiting: capacity,
                capacity,
                asked,
            });
        }
        Ok(())
    }

    /// Whether a schedule can be removed and remembered.
    pub(crate) fn room_to_remember(&self, row: u32, schedule: ScheduleId) -> Result<(), Error> {
        let work = self.deployments[row as usize].as_ref().expect("just found");
        let leaving = work.schedules.iter().filter(|work| work.id == schedule);
        self.can_remember(work.removed.iter().map(|removed| &removed.work).chain(leaving))
    }

    pub(crate) fn set_deployment_paused(&mut self, id: DeploymentId, paused: bool) -> Result<(), Error> {
        let row = self.deployment_row(id)?;
        if self.catalog.deployments.get(row).expect("just found").data.paused == paused {
            return Ok(());
        }
        if paused {
            self.unplan_all(row, None);
        }
        let at = instant(self.wall);
        let held = self.catalog.deployments.get_mut_lightly(row).expect("just found");
        let held = Arc::make_mut(held);
        held.data.paused = paused;
        held.data.updated = at;
        self.changed();
        if !paused {
            let now = self.wall;
            for work in &mut self.deployments[row as usize]
                .as_mut()
                .expect("just found")
                .schedules
            {
                work.cursor = now;
            }
            self.plan_all(row);
        }
        Ok(())
    }

    /// Removes a deployment. Its waiting runs are cancelled; claimed ones end normally; records stay.
    pub(crate) fn delete_deployment(&mut self, id: DeploymentId) -> Result<(), Error> {
        let row = self.deployment_row(id)?;
        self.unplan_all(row, None);
        let first = self.deployments[row as usize]
            .as_ref()
            .expect("just found")
            .active;
        let (claimed, waiting): (Vec<u32>, Vec<u32>) = self
            .active
            .rows(first)
            .partition(|&run| matches!(self.work[run as usize], Work::Claimed(_)));
        let at = self.wall;
        for run in waiting {
            self.leave(run);
            let message = Some(Text::of("its deployment was deleted"));
            self.finish(
                run,
                StateType::Cancelled,
                StateType::Cancelled.default_name(),
                message,
                at,
            );
        }
        let work = self.deployments[row as usize].take().expect("just found");
        self.collisions -= usize::from(work.collision.is_some());
        if let Some(limit) = work.limit {
            self.remove_limit(limit);
        }
        for run in claimed {
            self.run_mut(run).deployment = None;
        }
        // Finished records name the deployment by id only; its row may be used again.
        let finished: Vec<u32> = self.finished.iter().map(|(_, run, _)| run).collect();
        for run in finished {
            if self
                .catalog
                .runs
                .get(run)
                .is_some_and(|held| held.deployment == Some(row))
            {
                self.run_mut(run).deployment = None;
            }
        }
        let held = self.catalog.deployments.remove(row).expect("just found");
        self.catalog.by_id.remove(&id.uuid());
        self.catalog
            .deployment_names
            .remove(&(held.flow, held.data.name.clone()));
        self.changed();
        Ok(())
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// What workers set up runs with is bounded like parameters are.
fn check_objects(steps: Option<&[Object]>, variables: Option<&Object>) -> Result<(), InvalidValue> {
    let name = |field| move |refused| InvalidValue { field, ..refused };
    let steps = steps.unwrap_or_default();
    if steps.len() > MAX_STEPS {
        let rule = "give at most 100 steps";
        return Err(InvalidValue::new(
            "pull_steps",
            &format!("{} steps", steps.len()),
            rule,
        ));
    }
    (steps.iter()).try_for_each(|step| check_parameters(step).map_err(name("pull_steps")))?;
    variables.map_or(Ok(()), |variables| {
        check_parameters(variables).map_err(name("job_variables"))
    })
}

/// Most steps by which a worker gets the code of a deployment.
const MAX_STEPS: usize = 100;

pub(super) fn check_schedules(
    schedules: &[NewSchedule],
    settings: &super::builder::Settings,
) -> Result<(), Error> {
    if schedules.len() > settings.schedules {
        let problem = format!("a deployment takes at most {} schedules", settings.schedules);
        return Err(Error::Schedule {
            index: settings.schedules,
            problem,
        });
    }
    for (index, schedule) in schedules.iter().enumerate() {
        check_parameters(&schedule.parameters)?;
        if schedule
            .max_scheduled_runs
            .is_some_and(|most| most.get() as usize > MAX_SCHEDULED_RUNS)
        {
            let value = schedule.max_scheduled_runs.map_or(0, NonZeroU32::get).to_string();
            return Err(InvalidValue::new("max_scheduled_runs", &value, "give 1 to 50").into());
        }
        schedule.catch_up.map_or(Ok(()), check_catch_up)?;
        let Some(slug) = &schedule.slug else { continue };
        check_name("slug", slug)?;
        if let Some(twin) = schedules[..index]
            .iter()
            .position(|other| other.slug.as_ref() == Some(slug))
        {
            let problem = format!("the slug {slug:?} is that of schedule {twin} already; give each its own");
            return Err(Error::Schedule { index, problem });
        }
    }
    Ok(())
}

/// The bounds of a catch-up policy, wherever it is given.
pub(crate) fn check_catch_up(policy: CatchUp) -> Result<(), InvalidValue> {
    let (value, rule) = match policy {
        CatchUp::All(most) if !(1..=MAX_LOOKS).contains(&most) => (
            format!("all {most}"),
            "give 1 to 5,000; `CatchUp::Skip` lets none run",
        ),
        CatchUp::Latest(window) if window.is_zero() || window > MAX_SPAN => (
            format!("latest within {window:?}"),
            "give a window above 0, of at most 100 years; `CatchUp::Skip` lets none run",
        ),
        _ => return Ok(()),
    };
    Err(InvalidValue::new("catch_up", &value, rule))
}

/// The reference's `deployment_schedule_max_scheduled_runs`.
const MAX_SCHEDULED_RUNS: usize = 50;
