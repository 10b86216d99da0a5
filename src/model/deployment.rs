//! Deployments: a flow plus defaults and schedules.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{CatchUp, ConcurrencyOptions, Object, Overlap, PoolStatus, Retry, Text};
use crate::ids::{DeploymentId, FlowId, QueueId, ScheduleId};
use crate::limit::Request;
use crate::priority::Priority;
use crate::schedule::Schedule;

/// A flow plus defaults: parameters, tags, priority, work queue, concurrency limit, schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Names the deployment.
    pub id: DeploymentId,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// Unique among the deployments of its flow.
    pub name: Text,
    /// Its flow.
    pub flow_id: FlowId,
    /// Free text.
    #[serde(default)]
    pub version: Option<Text>,
    /// Free text.
    #[serde(default)]
    pub description: Option<Text>,
    /// While true, its schedules make no runs.
    #[serde(default)]
    pub paused: bool,
    /// When it runs by itself.
    #[serde(default)]
    pub schedules: Vec<DeploymentSchedule>,
    /// Most runs of it that are claimed at once.
    #[serde(default)]
    pub concurrency_limit: Option<u32>,
    /// What becomes of runs that this limit refuses; none means that they wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_options: Option<ConcurrencyOptions>,
    /// Parameters of its runs, unless the run says otherwise.
    #[serde(default)]
    pub parameters: Object,
    /// Tags of its runs, besides the run's own.
    #[serde(default)]
    pub tags: Vec<Text>,
    /// Free keys and values.
    #[serde(default)]
    pub labels: Object,
    /// The pool its runs wait in, as named by the host; none means `default`.
    #[serde(default)]
    pub work_pool_name: Option<Text>,
    /// The queue its runs wait in, as named by the host; none means `default`.
    #[serde(default)]
    pub work_queue_name: Option<Text>,
    /// The queue its runs wait in; always there for a deployment that the engine runs.
    #[serde(default)]
    pub work_queue_id: Option<QueueId>,
    /// The level of its runs, unless the run says otherwise.
    #[serde(default)]
    pub priority: Priority,
    /// What follows a failed attempt.
    #[serde(default)]
    pub retry: Retry,
    /// Longest time one attempt may take; none is no bound.
    #[serde(default, with = "super::run::maybe_seconds")]
    pub timeout: Option<Duration>,
    /// Named limits that its runs take slots of, besides those that the run names.
    #[serde(default, skip_serializing_if = "Request::is_empty")]
    pub limits: Request,
    /// Where its code is, for workers that load it.
    #[serde(default)]
    pub path: Option<Text>,
    /// What to call in that code.
    #[serde(default)]
    pub entrypoint: Option<Text>,
    /// What a worker does to get the code; not looked at by the engine.
    #[serde(default)]
    pub pull_steps: Vec<Object>,
    /// What a worker sets up a run with; not looked at by the engine.
    #[serde(default)]
    pub job_variables: Object,
    /// Whether parameters must fit the schema, if there is one.
    #[serde(default = "yes")]
    pub enforce_parameter_schema: bool,
    /// A JSON Schema of the parameters.
    #[serde(default)]
    pub parameter_openapi_schema: Option<Object>,
    /// Whether somebody asks for its runs: READY for a minute after its queue was last asked.
    #[serde(default = "PoolStatus::not_ready")]
    pub status: PoolStatus,
    /// When its queue was last asked for runs.
    #[serde(default)]
    pub last_polled: Option<DateTime<Utc>>,
}

/// One schedule of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentSchedule {
    /// Names the schedule.
    pub id: ScheduleId,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// When it fires.
    pub schedule: Schedule,
    /// While false, it makes no runs.
    pub active: bool,
    /// A stable name inside the deployment; it keeps the occurrences of a schedule that is made anew.
    #[serde(default)]
    pub slug: Option<Text>,
    /// Laid over the deployment's parameters, key by key.
    #[serde(default)]
    pub parameters: Object,
    /// Most runs of it that are planned ahead; none is the engine's own bound.
    #[serde(default)]
    pub max_scheduled_runs: Option<NonZeroU32>,
    /// What happens to an occurrence while an earlier run has not ended.
    #[serde(default, skip_serializing_if = "Overlap::is_default")]
    pub overlap: Overlap,
    /// Which missed occurrences still run; none is the engine's own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
}

/// A schedule to put on a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct NewSchedule {
    pub(crate) schedule: Schedule,
    #[serde(default = "yes")]
    pub(crate) active: bool,
    #[serde(default)]
    pub(crate) slug: Option<Text>,
    #[serde(default)]
    pub(crate) parameters: Object,
    #[serde(default)]
    pub(crate) max_scheduled_runs: Option<NonZeroU32>,
    #[serde(default)]
    pub(crate) overlap: Overlap,
    #[serde(default)]
    pub(crate) catch_up: Option<CatchUp>,
}

fn yes() -> bool {
    true
}

impl NewSchedule {
    /// An active schedule without a slug.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            active: true,
            slug: None,
            parameters: Object::new(),
            max_scheduled_runs: None,
            overlap: Overlap::default(),
            catch_up: None,
        }
    }

    /// A stable name inside the deployment: one or more characters, none of `/ % & > <`, at most 1,000 bytes.
    pub fn slug(mut self, slug: impl Into<Text>) -> Self {
        self.slug = Some(slug.into());
        self
    }

    /// Makes it inactive: it fires nothing until it is activated.
    pub fn inactive(mut self) -> Self {
        self.active = false;
        self
    }

    /// Laid over the deployment's parameters, key by key.
    pub fn parameters(mut self, parameters: Object) -> Self {
        self.parameters = parameters;
        self
    }

    /// Most runs of it that are planned ahead. Default: the engine's own bound.
    pub fn max_scheduled_runs(mut self, most: NonZeroU32) -> Self {
        self.max_scheduled_runs = Some(most);
        self
    }

    /// What happens to an occurrence that becomes due while an earlier run has not ended. Default: it waits in line.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Which missed occurrences still run. Default: the engine's own policy.
    pub fn catch_up(mut self, policy: CatchUp) -> Self {
        self.catch_up = Some(policy);
        self
    }
}

impl From<DeploymentSchedule> for NewSchedule {
    fn from(old: DeploymentSchedule) -> Self {
        Self {
            schedule: old.schedule,
            active: old.active,
            slug: old.slug,
            parameters: old.parameters,
            max_scheduled_runs: old.max_scheduled_runs,
            overlap: old.overlap,
            catch_up: old.catch_up,
        }
    }
}

/// What to change of one schedule; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct SchedulePatch {
    schedule: Option<Schedule>,
    active: Option<bool>,
    slug: Option<Option<Text>>,
    parameters: Option<Object>,
    max_scheduled_runs: Option<Option<NonZeroU32>>,
    overlap: Option<Overlap>,
    catch_up: Option<Option<CatchUp>>,
}

impl SchedulePatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    patches! {
        /// When it fires.
        schedule(schedule: Schedule) => schedule;

        /// Whether it makes runs.
        active(active: bool) => active;

        /// Sets or clears its name inside the deployment.
        slug(slug: Option<Text>) => slug;

        /// Replaces what is laid over the deployment's parameters.
        parameters(parameters: Object) => parameters;

        /// Sets or clears the most runs of it that are planned ahead.
        max_scheduled_runs(most: Option<NonZeroU32>) => max_scheduled_runs;

        /// What happens to an occurrence that becomes due while an earlier run has not ended.
        overlap(overlap: Overlap) => overlap;

        /// Sets the policy on missed occurrences, or goes back to the engine's own.
        catch_up(policy: Option<CatchUp>) => catch_up;
    }

    /// The schedule that it makes of one that is there.
    pub(crate) fn applied(self, old: DeploymentSchedule) -> NewSchedule {
        NewSchedule {
            schedule: self.schedule.unwrap_or(old.schedule),
            active: self.active.unwrap_or(old.active),
            slug: self.slug.unwrap_or(old.slug),
            parameters: self.parameters.unwrap_or(old.parameters),
            max_scheduled_runs: self.max_scheduled_runs.unwrap_or(old.max_scheduled_runs),
            overlap: self.overlap.unwrap_or(old.overlap),
            catch_up: self.catch_up.unwrap_or(old.catch_up),
        }
    }
}

impl NewSchedule {
    /// Whether its planned runs are others than those of `old`.
    pub(crate) fn plans_otherwise(&self, old: &DeploymentSchedule) -> bool {
        self.schedule != old.schedule
            || self.active != old.active
            || self.slug != old.slug
            || self.parameters != old.parameters
            || self.max_scheduled_runs != old.max_scheduled_runs
    }
}

impl From<Schedule> for NewSchedule {
    fn from(schedule: Schedule) -> Self {
        Self::new(schedule)
    }
}

/// A deployment to make. Reads from JSON with the keys of a [`Deployment`], and `flow`; other keys are refused.
///
/// What is not said has its default in a new deployment, and stays as it is in one that is there
/// ([`Engine::upsert`](crate::Engine::upsert)), but for parameters, labels and schedules, which are always replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct NewDeployment {
    pub(crate) flow: Text,
    pub(crate) name: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<bool>,
    #[serde(default)]
    pub(crate) schedules: Vec<NewSchedule>,
    #[serde(
        default,
        rename = "concurrency_limit",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) limit: Option<NonZeroU32>,
    #[serde(
        default,
        rename = "concurrency_options",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) options: Option<ConcurrencyOptions>,
    #[serde(default)]
    pub(crate) parameters: Object,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<Text>>,
    #[serde(default)]
    pub(crate) labels: Object,
    #[serde(default, rename = "work_pool_name", skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Text>,
    #[serde(default, rename = "work_queue_name", skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<Priority>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Retry>,
    #[serde(
        default,
        with = "super::run::maybe_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Request::is_empty")]
    pub(crate) limits: Request,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pull_steps: Option<Vec<Object>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job_variables: Option<Object>,
    #[serde(
        default,
        rename = "enforce_parameter_schema",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) enforce: Option<bool>,
    #[serde(
        default,
        rename = "parameter_openapi_schema",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) schema: Option<Object>,
}

impl NewDeployment {
    /// A deployment `name` of the flow `flow`; the flow is made if it is not there.
    pub fn new(flow: impl Into<Text>, name: impl Into<Text>) -> Self {
        Self {
            flow: flow.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    patches! {
        /// Level of its runs. Default: 1.
        priority(priority: Priority) => priority;

        /// Most runs of it that are claimed at once, 1 or more. Default: unlimited.
        concurrency_limit(limit: NonZeroU32) => limit;

        /// What becomes of runs that its limit refuses. Default: they wait.
        concurrency_options(options: ConcurrencyOptions) => options;
    }

    /// Its runs take one slot of this named limit, on top of the deployment's own. Several deployments that name one limit
    /// share it.
    pub fn slot(self, limit: impl Into<String>) -> Self {
        self.slots(limit, 1)
    }

    /// Its runs take so many slots of this named limit. A run that names the same limit takes what the run says.
    pub fn slots(mut self, limit: impl Into<String>, weight: u32) -> Self {
        self.limits = self.limits.slots(limit, weight);
        self
    }

    /// Adds a schedule.
    pub fn schedule(mut self, schedule: impl Into<NewSchedule>) -> Self {
        self.schedules.push(schedule.into());
        self
    }

    /// Parameters of its runs, unless the run says otherwise.
    pub fn parameters(mut self, parameters: Object) -> Self {
        self.parameters = parameters;
        self
    }

    /// Adds a tag. Any text of at most 1,000 bytes is one, the empty one too.
    pub fn tag(mut self, tag: impl Into<Text>) -> Self {
        self.tags.get_or_insert_default().push(tag.into());
        self
    }

    /// Sets all tags; none at all is said too.
    pub fn tags<T: Into<Text>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Labels: free keys and values.
    pub fn labels(mut self, labels: Object) -> Self {
        self.labels = labels;
        self
    }

    /// The queue its runs wait in: a queue of a pool, both made beforehand. Default: `default` of `default`.
    pub fn work_queue(mut self, pool: impl Into<Text>, queue: impl Into<Text>) -> Self {
        self.pool = Some(pool.into());
        self.queue = Some(queue.into());
        self
    }

    patches! {
        /// What follows a failed attempt. Default: nothing.
        retry(retry: Retry) => retry;

        /// Longest time one attempt may take. Default: no bound.
        timeout(timeout: Duration) => timeout;
    }

    /// Makes it paused: its schedules make no runs until it is resumed.
    pub fn paused(mut self) -> Self {
        self.paused = Some(true);
        self
    }

    /// Free text for people.
    pub fn description(mut self, text: impl Into<Text>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Free text: the version of what is deployed.
    pub fn version(mut self, text: impl Into<Text>) -> Self {
        self.version = Some(text.into());
        self
    }

    /// Where its code is, for workers that load it.
    pub fn path(mut self, path: impl Into<Text>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// What to call in that code.
    pub fn entrypoint(mut self, entrypoint: impl Into<Text>) -> Self {
        self.entrypoint = Some(entrypoint.into());
        self
    }

    patches! {
        /// What a worker does to get the code.
        pull_steps(steps: Vec<Object>) => pull_steps;

        /// What a worker sets up a run with.
        job_variables(variables: Object) => job_variables;

        /// A JSON Schema (draft 2020-12) that the parameters of its runs must fit, by themselves without the keys that it requires, and
        /// with them when a run is submitted. Checking takes the feature `schema`.
        parameter_schema(schema: Object) => schema;

        /// Whether parameters must fit the schema. Default: they must.
        enforce_parameter_schema(enforce: bool) => enforce;
    }

    /// The change that makes a deployment that is there into this one.
    pub(crate) fn into_patch(self) -> DeploymentPatch {
        DeploymentPatch {
            version: self.version.map(Some),
            description: self.description.map(Some),
            paused: self.paused,
            limit: self.limit.map(Some),
            options: self.options.map(Some),
            parameters: Some(self.parameters),
            tags: self.tags,
            labels: Some(self.labels),
            queue: self.pool.zip(self.queue),
            priority: self.priority,
            retry: self.retry,
            timeout: self.timeout.map(Some),
            schedules: Some(self.schedules),
            path: self.path.map(Some),
            entrypoint: self.entrypoint.map(Some),
            pull_steps: self.pull_steps,
            job_variables: self.job_variables,
            enforce: self.enforce,
            schema: self.schema.map(Some),
            limits: (!self.limits.is_empty()).then_some(self.limits),
        }
    }
}

/// What to change of a deployment; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct DeploymentPatch {
    pub(crate) version: Option<Option<Text>>,
    pub(crate) description: Option<Option<Text>>,
    pub(crate) limit: Option<Option<NonZeroU32>>,
    pub(crate) options: Option<Option<ConcurrencyOptions>>,
    pub(crate) parameters: Option<Object>,
    pub(crate) tags: Option<Vec<Text>>,
    pub(crate) labels: Option<Object>,
    pub(crate) queue: Option<(Text, Text)>,
    pub(crate) priority: Option<Priority>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) schedules: Option<Vec<NewSchedule>>,
    pub(crate) limits: Option<Request>,
    pub(crate) paused: Option<bool>,
    pub(crate) path: Option<Option<Text>>,
    pub(crate) entrypoint: Option<Option<Text>>,
    pub(crate) pull_steps: Option<Vec<Object>>,
    pub(crate) job_variables: Option<Object>,
    pub(crate) enforce: Option<bool>,
    pub(crate) schema: Option<Option<Object>>,
}

impl DeploymentPatch {
    /// Whether runs made after it look different from those made before.
    pub(crate) fn changes_runs(&self) -> bool {
        self.version.is_some()
            || self.parameters.is_some()
            || self.tags.is_some()
            || self.labels.is_some()
            || self.queue.is_some()
            || self.priority.is_some()
            || self.retry.is_some()
            || self.timeout.is_some()
    }

    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    patches! {
        /// Level of runs made from now on; waiting ones keep theirs.
        priority(priority: Priority) => priority;

        /// Sets or removes the limit. Lowering it kills nothing; raising or removing it lets waiting runs in.
        concurrency_limit(limit: Option<NonZeroU32>) => limit;

        /// Sets what becomes of runs that the limit refuses from now on, or goes back to letting them wait.
        concurrency_options(options: Option<ConcurrencyOptions>) => options;

        /// Replaces the named limits of runs made from now on; planned runs are planned again with them.
        limits(limits: Request) => limits;

        /// Replaces the parameters of runs made from now on; planned runs are planned again with them.
        parameters(parameters: Object) => parameters;
    }

    /// Replaces the tags.
    pub fn tags<T: Into<Text>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Replaces the labels.
    pub fn labels(mut self, labels: Object) -> Self {
        self.labels = Some(labels);
        self
    }

    /// The queue of runs made from now on; waiting ones stay where they are.
    pub fn work_queue(mut self, pool: impl Into<Text>, queue: impl Into<Text>) -> Self {
        self.queue = Some((pool.into(), queue.into()));
        self
    }

    patches! {
        /// What follows a failed attempt, for runs made from now on.
        retry(retry: Retry) => retry;

        /// Longest time of one attempt, for runs made from now on; `None` removes the bound.
        timeout(timeout: Option<Duration>) => timeout;

        /// Sets or clears the description.
        description(text: Option<Text>) => description;

        /// Sets or clears the version text.
        version(text: Option<Text>) => version;

        /// Pauses or resumes it, as [`Engine::pause_deployment`](crate::Engine::pause_deployment) and
        /// [`Engine::resume_deployment`](crate::Engine::resume_deployment) do.
        paused(paused: bool) => paused;

        /// Sets or clears where its code is.
        path(path: Option<Text>) => path;

        /// Sets or clears what to call in that code.
        entrypoint(entrypoint: Option<Text>) => entrypoint;

        /// Replaces what a worker does to get the code.
        pull_steps(steps: Vec<Object>) => pull_steps;

        /// Replaces what a worker sets up a run with; an empty object clears it.
        job_variables(variables: Object) => job_variables;

        /// Sets or removes the JSON Schema of the parameters; see [`NewDeployment::parameter_schema`].
        parameter_schema(schema: Option<Object>) => schema;

        /// Whether parameters must fit the schema.
        enforce_parameter_schema(enforce: bool) => enforce;

        /// Replaces all schedules. One with the slug of a former schedule keeps that schedule's id, so that none of its
        /// occurrences runs twice; an empty list removes all.
        schedules(schedules: Vec<NewSchedule>) => schedules;
    }
}
