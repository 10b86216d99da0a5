//! What can be asked about: the six kinds of rows, their fields, and the type of each field.

use super::relation::Relation;

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident $list:ident, $list_doc:literal { $($variant:ident $word:literal $word_doc:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $word_doc] $variant,)* }

        #[doc = $list_doc]
        pub const $list: [&str; [$($word),*].len()] = [$($word),*];

        impl $name {
            /// All of them, in the order of their codes.
            pub const ALL: [Self; $list.len()] = [$(Self::$variant),*];

            /// The word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The code: its index in the vocabulary.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

vocabulary! {
    /// The type of the state of a run or task run, in the reference's words. Made of a
    /// [`model::StateType`](crate::model::StateType), which is the one that the engine's calls take and answer.
    StateType STATE_TYPES, "The words of [`StateType`], in the order of their codes." {
        Scheduled "SCHEDULED" "To run later.",
        Pending "PENDING" "Handed out, not started.",
        Running "RUNNING" "Started.",
        Completed "COMPLETED" "Ended well.",
        Failed "FAILED" "Ended badly.",
        Cancelled "CANCELLED" "Ended by request.",
        Crashed "CRASHED" "Ended by an outside cause.",
        Paused "PAUSED" "Waiting to be resumed.",
        Cancelling "CANCELLING" "Asked to end.",
    }
}

vocabulary! {
    /// Where a run is. Runs themselves say it as a [`model::Place`](crate::model::Place).
    Place PLACES, "The words of [`Place`], in the order of their codes." {
        Scheduled "scheduled" "Not due.",
        Ready "ready" "Due, and nothing that it names holds it back.",
        Blocked "blocked" "Due, and a limit has too few slots for it or its queue is paused.",
        Claimed "claimed" "Handed out; it holds its slots.",
        Paused "paused" "Waiting to be resumed.",
        Finished "finished" "Ended.",
    }
}

vocabulary! {
    /// Whether a deployment, pool or queue is being asked for work. Made of a [`model::PoolStatus`](crate::model::PoolStatus).
    Status STATUSES, "The words of [`Status`], in the order of their codes." {
        Ready "READY" "It is.",
        NotReady "NOT_READY" "It is not.",
        Paused "PAUSED" "It is paused.",
    }
}

/// The type of a field; it decides which operators apply and what an operand looks like.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A uuid.
    Uuid,
    /// Free text, compared by its UTF-8 bytes.
    Text,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A length of time, whole microseconds.
    Duration,
    /// An instant, whole microseconds since 1970 UTC.
    Time,
    /// One word of a closed vocabulary. A record holds the word's index in this list; there are at most 64.
    Code(&'static [&'static str]),
    /// A list of texts; never null, may be empty.
    Tags,
}

impl Kind {
    /// What the kind is called in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "a uuid",
            Self::Text => "a text",
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Duration => "a duration",
            Self::Time => "a time",
            Self::Code(_) => "one of a few words",
            Self::Tags => "a list of tags",
        }
    }
}

/// A kind of row that a filter can be about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Entity {
    /// A named kind of work.
    Flow,
    /// A flow with defaults.
    Deployment,
    /// One execution.
    Run,
    /// A step inside a run.
    TaskRun,
    /// A work pool.
    Pool,
    /// A work queue.
    Queue,
}

impl Entity {
    /// All six.
    pub const ALL: [Self; 6] = [
        Self::Flow,
        Self::Deployment,
        Self::Run,
        Self::TaskRun,
        Self::Pool,
        Self::Queue,
    ];

    /// The word for it in the text form.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Deployment => "deployment",
            Self::Run => "run",
            Self::TaskRun => "task_run",
            Self::Pool => "pool",
            Self::Queue => "queue",
        }
    }

    /// The field that names a row of this kind, the last key of every sort.
    #[must_use]
    pub const fn id(self) -> Field {
        match self {
            Self::Flow => Field::FlowId,
            Self::Deployment => Field::DeploymentId,
            Self::Run => Field::RunId,
            Self::TaskRun => Field::TaskRunId,
            Self::Pool => Field::PoolId,
            Self::Queue => Field::QueueId,
        }
    }

    /// The fields of this kind of row.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .iter()
            .copied()
            .filter(move |field| field.entity() == self)
    }

    /// The field of this name, if this kind of row has one.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Field> {
        self.fields().find(|field| field.name() == name)
    }

    /// The relations that start at this kind of row.
    pub fn relations(self) -> impl Iterator<Item = Relation> {
        Relation::ALL
            .iter()
            .copied()
            .filter(move |relation| relation.source() == self)
    }
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! fields {
    ($($entity:ident { $($variant:ident $name:literal $kind:expr, $doc:literal;)* })*) => {
        /// A field of one kind of row. Each belongs to exactly one [`Entity`].
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Field {
            $($(#[doc = $doc] $variant,)*)*
        }

        impl Field {
            /// Every field, in the order of declaration.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// Whose field it is.
            #[must_use]
            pub const fn entity(self) -> Entity {
                match self { $($(Self::$variant => Entity::$entity,)*)* }
            }

            /// Its name in the text form, without the entity.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            /// Its type.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $($(Self::$variant => $kind,)*)* }
            }
        }
    };
}

fields! {
    Flow {
        FlowId "id" Kind::Uuid, "Id of the flow.";
        FlowCreated "created" Kind::Time, "When the flow was made.";
        FlowUpdated "updated" Kind::Time, "When the flow last changed.";
        FlowName "name" Kind::Text, "Name of the flow.";
        FlowTags "tags" Kind::Tags, "Tags of the flow.";
    }
    Deployment {
        DeploymentId "id" Kind::Uuid, "Id of the deployment.";
        DeploymentCreated "created" Kind::Time, "When the deployment was made.";
        DeploymentUpdated "updated" Kind::Time, "When the deployment last changed.";
        DeploymentName "name" Kind::Text, "Name of the deployment, may be empty.";
        DeploymentVersion "version" Kind::Text, "Version, null when none was given.";
        DeploymentDescription "description" Kind::Text, "Description, null when none was given.";
        DeploymentPath "path" Kind::Text, "Path, null when none was given.";
        DeploymentEntrypoint "entrypoint" Kind::Text, "Entry point, null when none was given.";
        DeploymentFlowId "flow_id" Kind::Uuid, "Id of its flow.";
        DeploymentPaused "paused" Kind::Bool, "Whether its schedules are paused.";
        DeploymentTags "tags" Kind::Tags, "Tags of the deployment.";
        DeploymentWorkQueueName "work_queue_name" Kind::Text,
            "The stored name of its work queue, null when only the pool was named; may be out of date.";
        DeploymentQueueId "work_queue_id" Kind::Uuid, "Id of its work queue, or null.";
        DeploymentStatus "status" Kind::Code(&STATUSES), "`READY` while polled, else `NOT_READY`.";
        DeploymentLastPolled "last_polled" Kind::Time, "When a worker last asked for its runs, or null.";
        DeploymentPriority "priority" Kind::Int, "Level that its runs start with, 1 to 10.";
        DeploymentConcurrencyLimit "concurrency_limit" Kind::Int, "Its own limit, or null.";
        DeploymentSchedules "schedules" Kind::Int, "How many schedules it has.";
        DeploymentActiveSchedules "active_schedules" Kind::Int, "How many of its schedules are active.";
        DeploymentEnforceParameterSchema "enforce_parameter_schema" Kind::Bool,
            "Whether parameters must fit its schema.";
    }
    Run {
        RunId "id" Kind::Uuid, "Id of the run.";
        RunCreated "created" Kind::Time, "When the run was accepted.";
        RunUpdated "updated" Kind::Time, "When the run last changed.";
        RunName "name" Kind::Text, "Name of the run.";
        RunFlowId "flow_id" Kind::Uuid, "Id of its flow.";
        RunDeploymentId "deployment_id" Kind::Uuid, "Id of its deployment, or null.";
        RunDeploymentVersion "deployment_version" Kind::Text, "Version of the deployment it came from, or null.";
        RunFlowVersion "flow_version" Kind::Text, "Version of the flow it executed, or null.";
        RunQueueId "work_queue_id" Kind::Uuid, "Id of its work queue, or null.";
        RunWorkQueueName "work_queue_name" Kind::Text, "The stored name of its work queue, or null; may be out of date.";
        RunIdempotencyKey "idempotency_key" Kind::Text, "The key it was submitted under, or null.";
        RunTags "tags" Kind::Tags, "Tags of the run.";
        RunParentTaskRunId "parent_task_run_id" Kind::Uuid, "The task run that started it, or null.";
        RunStateType "state_type" Kind::Code(&STATE_TYPES), "Type of its state, or null.";
        RunStateName "state_name" Kind::Text, "Name of its state, or null.";
        RunStateTimestamp "state_timestamp" Kind::Time, "When it entered its state, or null.";
        RunPlace "place" Kind::Code(&PLACES), "Which of the six places it is in.";
        RunPriority "priority" Kind::Int, "Its level, 1 to 10.";
        RunCount "run_count" Kind::Int, "How often it has entered RUNNING.";
        RunExpectedStartTime "expected_start_time" Kind::Time, "When it was first expected to start, or null.";
        RunNextScheduledStartTime "next_scheduled_start_time" Kind::Time, "When it is due next; null unless scheduled.";
        RunStartTime "start_time" Kind::Time, "When it started, or null.";
        RunStartOrExpected "start_or_expected" Kind::Time,
            "Its start, or while it has none, its expected start. Derived: no record holds it.";
        RunEndTime "end_time" Kind::Time, "When it ended, or null.";
        RunTotalRunTime "total_run_time" Kind::Duration, "Time spent in completed RUNNING periods.";
        RunAutoScheduled "auto_scheduled" Kind::Bool, "Whether a schedule made it.";
        RunCreatedById "created_by_id" Kind::Uuid, "Id of what made it, or null.";
        RunCreatedByType "created_by_type" Kind::Text, "Kind of what made it, such as `SCHEDULE`, or null.";
    }
    TaskRun {
        TaskRunId "id" Kind::Uuid, "Id of the task run.";
        TaskRunCreated "created" Kind::Time, "When the task run was recorded.";
        TaskRunUpdated "updated" Kind::Time, "When the task run last changed.";
        TaskRunName "name" Kind::Text, "Name of the task run.";
        TaskRunRunId "run_id" Kind::Uuid, "Id of its run, or null.";
        TaskRunTaskKey "task_key" Kind::Text, "Which task it is.";
        TaskRunDynamicKey "dynamic_key" Kind::Text, "Which of the task's executions in its run it is.";
        TaskRunCacheKey "cache_key" Kind::Text, "Cache key, or null.";
        TaskRunTaskVersion "task_version" Kind::Text, "Version of the task, or null.";
        TaskRunTags "tags" Kind::Tags, "Tags of the task run.";
        TaskRunStateType "state_type" Kind::Code(&STATE_TYPES), "Type of its state, or null.";
        TaskRunStateName "state_name" Kind::Text, "Name of its state, or null.";
        TaskRunStateTimestamp "state_timestamp" Kind::Time, "When it entered its state, or null.";
        TaskRunCount "run_count" Kind::Int, "How often it has entered RUNNING.";
        TaskRunExpectedStartTime "expected_start_time" Kind::Time, "When it was expected to start, or null.";
        TaskRunNextScheduledStartTime "next_scheduled_start_time" Kind::Time, "When it is due next, or null.";
        TaskRunStartTime "start_time" Kind::Time, "When it started, or null.";
        TaskRunEndTime "end_time" Kind::Time, "When it ended, or null.";
        TaskRunTotalRunTime "total_run_time" Kind::Duration, "Time spent in completed RUNNING periods.";
    }
    Pool {
        PoolId "id" Kind::Uuid, "Id of the pool.";
        PoolCreated "created" Kind::Time, "When the pool was made.";
        PoolUpdated "updated" Kind::Time, "When the pool last changed.";
        PoolName "name" Kind::Text, "Name of the pool.";
        PoolDescription "description" Kind::Text, "Description, or null.";
        PoolType "type" Kind::Text, "Type of the pool.";
        PoolPaused "paused" Kind::Bool, "Whether the pool is paused.";
        PoolConcurrencyLimit "concurrency_limit" Kind::Int, "How many runs at once, or null for no limit.";
        PoolStatus "status" Kind::Code(&STATUSES), "Status, or null.";
        PoolDefaultQueueId "default_queue_id" Kind::Uuid, "Id of its default queue.";
    }
    Queue {
        QueueId "id" Kind::Uuid, "Id of the queue.";
        QueueCreated "created" Kind::Time, "When the queue was made.";
        QueueUpdated "updated" Kind::Time, "When the queue last changed.";
        QueueName "name" Kind::Text, "Name of the queue.";
        QueueDescription "description" Kind::Text, "Description, or null.";
        QueuePaused "paused" Kind::Bool, "Whether the queue is paused.";
        QueueConcurrencyLimit "concurrency_limit" Kind::Int, "How many runs at once, or null for no limit.";
        QueuePriority "priority" Kind::Int, "Its place among the queues of its pool, 1 first.";
        QueuePoolId "work_pool_id" Kind::Uuid, "Id of its pool.";
        QueueLastPolled "last_polled" Kind::Time, "When a worker last asked it for runs, or null.";
        QueueStatus "status" Kind::Code(&STATUSES), "Status, or null.";
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.entity(), self.name())
    }
}
