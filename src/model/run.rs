//! Runs and task runs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Object, Retry, State, StateType, Text};
use crate::ids::{DeploymentId, FlowId, QueueId, RunId, ScheduleId, TaskRunId};
use crate::limit::Request;
use crate::priority::Priority;

/// Durations as seconds in JSON, as the reference has them.
pub(crate) mod seconds {
    use super::{Deserialize, Duration};
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(span.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        of(f64::deserialize(deserializer)?).map_err(de::Error::custom)
    }

    pub(crate) fn of(seconds: f64) -> Result<Duration, String> {
        // Microseconds are what the engine counts in; finer digits would not survive a round trip.
        match Duration::try_from_secs_f64(seconds) {
            Ok(span) => Ok(Duration::from_micros(
                u64::try_from(span.as_micros()).unwrap_or(u64::MAX),
            )),
            Err(_) => Err(format!(
                "{seconds} is not a span of time; give seconds of zero or more"
            )),
        }
    }
}

/// The same for a span that may be missing.
pub(crate) mod maybe_seconds {
    use super::{Deserialize, Duration, seconds};
    use serde::{Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => seconds::serialize(span, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            Some(number) => seconds::of(number).map(Some).map_err(de::Error::custom),
            None => Ok(None),
        }
    }
}

/// Where a run is. Every run is in exactly one place at every version.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Place {
    /// Not due yet. Counts as nothing.
    Scheduled,
    /// Due; the next claim of its queue may take it. Counts as queued.
    Ready,
    /// Due, but a limit that it is under, named or its deployment's, has fewer free slots than it needs, its queue or pool is
    /// paused, or it waits behind an earlier run of its schedule. Counts as queued. (A full engine, pool or queue leaves its
    /// runs ready, and so does a run before it that would take the slots.)
    Blocked,
    /// Handed to a worker; holds all its slots. Counts as processing.
    Claimed,
    /// Stopped in the middle until it is resumed. Counts as nothing.
    Paused,
    /// Ended. Counts as nothing.
    Finished,
    /// Read from a document as a record only: no part of the engine's work.
    Record,
}

/// Who made a run that nobody submitted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CreatedBy {
    /// The schedule.
    pub id: Option<Uuid>,
    /// `SCHEDULE`.
    #[serde(rename = "type")]
    pub kind: Option<Text>,
    /// The slug or the kind of the schedule.
    pub display_value: Option<Text>,
}

/// What follows a failed attempt of a run, and how long an attempt may take.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct RunPolicy {
    /// What follows a failed attempt.
    #[serde(default)]
    pub retry: Retry,
    /// Longest time of one attempt.
    #[serde(default, with = "maybe_seconds")]
    pub timeout: Option<Duration>,
}

/// One execution of a flow, as it was at the version at which it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Names the run.
    pub id: RunId,
    /// When it was accepted.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// What people call it; two random words unless it was given.
    pub name: Text,
    /// Its flow.
    pub flow_id: FlowId,
    /// The deployment that it was made from. It outlives the deployment.
    pub deployment_id: Option<DeploymentId>,
    /// The version of that deployment, when the run was made.
    pub deployment_version: Option<Text>,
    /// The version of the flow that it executes, where one was told.
    pub flow_version: Option<Text>,
    /// The queue it waits in.
    pub work_queue_id: Option<QueueId>,
    /// The name of that queue.
    pub work_queue_name: Option<Text>,
    /// Its level.
    pub priority: Priority,
    /// Where it is.
    pub place: Place,
    /// Its state; none only on loaded records that have none.
    pub state: Option<State>,
    /// The kind of its state.
    pub state_type: Option<StateType>,
    /// The name of its state.
    pub state_name: Option<Text>,
    /// What its handler works on.
    pub parameters: Object,
    /// Words to find it by.
    pub tags: Vec<Text>,
    /// Free keys and values: those of its flow, deployment and its own, and `prefect.flow.id` and `prefect.deployment.id`.
    pub labels: Object,
    /// What its submitter wants to know of it again. The engine keeps it and never looks at it.
    #[serde(default)]
    pub context: Object,
    /// Its own settings for the infrastructure that executes it; those of the deployment lie under them, which is the worker's affair.
    #[serde(default)]
    pub job_variables: Object,
    /// The caller's own key: one key, one run.
    pub idempotency_key: Option<Text>,
    /// How often it has been started.
    pub run_count: u32,
    /// When it was first meant to start. Never changes.
    pub expected_start_time: Option<DateTime<Utc>>,
    /// When it is meant to start next, while it is scheduled.
    pub next_scheduled_start_time: Option<DateTime<Utc>>,
    /// When its first attempt began; none if it never did.
    pub start_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// Sum of the time it was executing.
    #[serde(with = "seconds")]
    pub total_run_time: Duration,
    /// Made by a schedule.
    pub auto_scheduled: bool,
    /// What made it.
    pub created_by: Option<CreatedBy>,
    /// The step that this run is part of.
    pub parent_task_run_id: Option<TaskRunId>,
    /// Retries and timeout.
    pub empirical_policy: RunPolicy,
    /// When it ends, if nobody has claimed it by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The named limits that it takes slots of, its deployment's included.
    #[serde(default, skip_serializing_if = "Request::is_empty")]
    pub limits: Request,
    /// What its handler returned.
    pub result: Option<Value>,
}

/// A step that a handler recorded inside its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    /// Names the task run.
    pub id: TaskRunId,
    /// When it was recorded.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// What people call it.
    pub name: Text,
    /// The run it is a step of.
    #[serde(default)]
    pub flow_run_id: Option<RunId>,
    /// Which task it is.
    #[serde(default)]
    pub task_key: Option<Text>,
    /// Which of the task's executions in its run it is.
    #[serde(default)]
    pub dynamic_key: Option<Text>,
    /// Under which key its result is kept.
    #[serde(default)]
    pub cache_key: Option<Text>,
    /// The version of the task.
    #[serde(default)]
    pub task_version: Option<Text>,
    /// Sum of the time it was executing.
    #[serde(default, with = "seconds")]
    pub total_run_time: Duration,
    /// Free keys and values.
    #[serde(default)]
    pub labels: Object,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<Text>,
    /// The kind of its state.
    #[serde(default)]
    pub state_type: Option<StateType>,
    /// The name of its state.
    #[serde(default)]
    pub state_name: Option<Text>,
    /// How often it has been started.
    #[serde(default)]
    pub run_count: u32,
    /// When it was meant to start.
    #[serde(default)]
    pub expected_start_time: Option<DateTime<Utc>>,
    /// When it is meant to start next.
    #[serde(default)]
    pub next_scheduled_start_time: Option<DateTime<Utc>>,
    /// When it began.
    #[serde(default)]
    pub start_time: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default)]
    pub end_time: Option<DateTime<Utc>>,
}

/// A step to record inside a run.
///
/// ```
/// use tenfold::model::NewTaskRun;
///
/// let step = NewTaskRun::named("download").tag("net");
/// # let _ = step;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct NewTaskRun {
    pub(crate) name: Text,
    #[serde(default, rename = "task_key")]
    pub(crate) key: Option<Text>,
    #[serde(default)]
    pub(crate) tags: Vec<Text>,
}

impl NewTaskRun {
    /// A step of this name.
    pub fn named(name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            key: None,
            tags: Vec::new(),
        }
    }

    /// Which task it is an execution of.
    pub fn task_key(mut self, key: impl Into<Text>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a tag. While it runs the step holds a slot of the limit `tag:<tag>`, if there is one.
    pub fn tag(mut self, tag: impl Into<Text>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

impl From<&str> for NewTaskRun {
    fn from(name: &str) -> Self {
        Self::named(Text::from(name))
    }
}

/// What a new run executes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// A deployment, by id.
    Deployment(DeploymentId),
    /// A deployment, by the name of its flow and its own.
    Named {
        /// Name of the flow.
        flow: Text,
        /// Name of the deployment.
        deployment: Text,
    },
    /// A flow, without a deployment. The flow must be known.
    Flow(Text),
}

impl From<&str> for Target {
    /// `flow/deployment`, or the name of a flow alone. (Neither kind of name can hold a `/`.)
    fn from(text: &str) -> Self {
        match text.split_once('/') {
            Some((flow, deployment)) => Self::Named {
                flow: flow.into(),
                deployment: deployment.into(),
            },
            None => Self::Flow(text.into()),
        }
    }
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Target {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<DeploymentId> for Target {
    fn from(id: DeploymentId) -> Self {
        Self::Deployment(id)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deployment(id) => id.fmt(f),
            Self::Named { flow, deployment } => write!(f, "{flow}/{deployment}"),
            Self::Flow(name) => name.fmt(f),
        }
    }
}

/// A run to submit. What is not said comes from the deployment.
///
/// ```
/// use tenfold::{NewRun, Priority};
///
/// let run = NewRun::of("report/nightly").priority(Priority::MAX).tag("by-hand");
/// # let _ = run;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct NewRun {
    pub(crate) target: Target,
    pub(crate) name: Option<Text>,
    pub(crate) priority: Option<Priority>,
    pub(crate) parameters: Object,
    pub(crate) tags: Vec<Text>,
    pub(crate) labels: Object,
    pub(crate) context: Object,
    pub(crate) job_variables: Object,
    pub(crate) queue: Option<(Text, Text)>,
    pub(crate) key: Option<Text>,
    pub(crate) not_before: Option<DateTime<Utc>>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) limits: Request,
    pub(crate) flow_version: Option<Text>,
}

impl NewRun {
    /// A run of a deployment (by id, or as `flow/deployment`) or of a flow alone, due now.
    pub fn of(target: impl Into<Target>) -> Self {
        Self {
            target: target.into(),
            name: None,
            priority: None,
            parameters: Object::new(),
            tags: Vec::new(),
            labels: Object::new(),
            context: Object::new(),
            job_variables: Object::new(),
            queue: None,
            key: None,
            not_before: None,
            expires_at: None,
            retry: None,
            timeout: None,
            limits: Request::new(),
            flow_version: None,
        }
    }

    /// The version of the flow that it executes: free text, at most 1,000 bytes. No part of what an idempotency key compares.
    pub fn flow_version(mut self, version: impl Into<Text>) -> Self {
        self.flow_version = Some(version.into());
        self
    }

    /// What people call it. Default: two random words.
    pub fn name(mut self, name: impl Into<Text>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its level. Default: the deployment's, else 1.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Laid over the deployment's parameters, key by key.
    pub fn parameters(mut self, parameters: Object) -> Self {
        self.parameters = parameters;
        self
    }

    /// Sets one parameter.
    pub fn parameter(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.parameters.insert(key.into(), value.into());
        self
    }

    /// Adds a tag to those of the deployment.
    pub fn tag(mut self, tag: impl Into<Text>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Laid over the deployment's labels, key by key.
    pub fn labels(mut self, labels: Object) -> Self {
        self.labels = labels;
        self
    }

    /// What its submitter wants to know of it again: kept, and never looked at. Bounded like parameters.
    pub fn context(mut self, context: Object) -> Self {
        self.context = context;
        self
    }

    /// Its own settings for the infrastructure that executes it: kept, and never looked at. Bounded like parameters.
    pub fn job_variables(mut self, job_variables: Object) -> Self {
        self.job_variables = job_variables;
        self
    }

    /// The queue it waits in. Default: the deployment's, else `default` of pool `default`.
    pub fn work_queue(mut self, pool: impl Into<Text>, queue: impl Into<Text>) -> Self {
        self.queue = Some((pool.into(), queue.into()));
        self
    }

    /// The caller's own key, unique in the deployment (without one, in the flow): a second submission with the same key
    /// and content answers with the first run, whatever became of it. The content is everything else that the submission
    /// says. A key lives as long as the record of its run.
    pub fn idempotency_key(mut self, key: impl Into<Text>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Not before this instant. One that is past means now.
    pub fn not_before(mut self, instant: DateTime<Utc>) -> Self {
        self.not_before = Some(instant);
        self
    }

    /// Only until this instant: a run that nobody has claimed by then ends CANCELLED "Expired". Once it has been claimed and begun, nothing
    /// comes of it any more; a claim that is given back after the instant ends the run. An instant that is past, or not after
    /// [`not_before`](Self::not_before), is refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::clock::ManualClock;
    /// use tenfold::{Engine, NewRun};
    ///
    /// let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    /// let engine = Engine::builder().clock(clock.clone()).build()?;
    /// engine.flow("quote")?;
    /// let until = "2026-01-01T00:00:30Z".parse().unwrap();
    /// let run = engine.submit(NewRun::of("quote").expires_at(until))?.id;
    /// clock.advance(Duration::from_secs(30));
    /// assert_eq!(engine.run(run)?.state_name.as_deref(), Some("Expired"));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    pub fn expires_at(mut self, instant: DateTime<Utc>) -> Self {
        self.expires_at = Some(instant);
        self
    }

    /// It takes one slot of this named limit, besides those of its deployment's list.
    pub fn slot(self, limit: impl Into<String>) -> Self {
        self.slots(limit, 1)
    }

    /// It takes so many slots of this named limit. The run's list is laid over that of its deployment, name by name; together
    /// they name eight limits at most. All are taken in one step, when the run is claimed, or none.
    pub fn slots(mut self, limit: impl Into<String>, weight: u32) -> Self {
        self.limits = self.limits.slots(limit, weight);
        self
    }

    /// What follows a failed attempt. Default: the deployment's.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Longest time of one attempt. Default: the deployment's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// What people may change of a run that is there; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct RunPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<Text>>,
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub(crate) labels: Object,
}

impl RunPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What people call it: 1 to 1,000 bytes.
    pub fn name(mut self, name: impl Into<Text>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Replaces its tags.
    pub fn tags<T: Into<Text>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Laid over its labels, key by key.
    pub fn labels(mut self, labels: Object) -> Self {
        self.labels = labels;
        self
    }
}

impl From<&str> for NewRun {
    fn from(target: &str) -> Self {
        Self::of(target)
    }
}

impl From<DeploymentId> for NewRun {
    fn from(id: DeploymentId) -> Self {
        Self::of(id)
    }
}

impl CreatedBy {
    pub(crate) fn schedule(id: ScheduleId, label: Text) -> Self {
        Self {
            id: Some(id.uuid()),
            kind: Some(Text::of("SCHEDULE")),
            display_value: Some(label),
        }
    }
}
