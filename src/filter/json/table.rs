//! The reference's filter objects as a table: families, criteria, keys, and what each key means.

use super::super::field::{Entity, Field};
use super::super::relation::Relation;

/// What one key of a criterion asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// A list: the value is in it.
    Any(Field),
    /// A list: there is a value and it is not in it. Empty: no condition.
    NotAny(Field),
    /// A list: every item is among the tags. Empty: no condition.
    AllTags(Field),
    /// A list: one item is among the tags.
    AnyTag(Field),
    /// A boolean: null (for tags: empty) or not.
    Null(Field),
    /// A text: the SQL pattern `%text%`. Empty: no condition.
    Like(Field),
    /// The same, for a deployment's name or its flow's.
    LikeEitherName,
    /// A list: one of the SQL patterns `item%`. Empty: vanishes.
    Prefix(Field),
    /// A time: at or before it.
    AtMost(Field),
    /// A time: at or after it.
    AtLeast(Field),
    /// A boolean.
    Is(Field),
    /// A boolean: whether there is a related row.
    Has(Relation),
    /// A boolean: whether there is none.
    HasNot(Relation),
    /// A list: ids of runs, one of which has the task run that is the parent.
    ParentRun,
    /// A whole number, checked and then ignored.
    IgnoredInt,
    /// A boolean, checked and then ignored.
    IgnoredBool,
}

pub(super) type Key = (&'static str, Meaning);

#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    /// Joined with and.
    Plain(&'static [Key]),
    /// Joined by its own `operator`.
    Joined(&'static [Key]),
    /// Two sub-objects, each kept only if it comes down to exactly one condition, joined by `operator`.
    State([(&'static str, &'static [Key]); 2]),
    /// `task_runs.flow_run_id` with its own decision table; `operator` is read and means nothing.
    RunOfTask,
}

pub(super) struct Criterion {
    pub(super) name: &'static str,
    pub(super) keys: Keys,
}

const fn plain(name: &'static str, keys: &'static [Key]) -> Criterion {
    Criterion {
        name,
        keys: Keys::Plain(keys),
    }
}

const fn joined(name: &'static str, keys: &'static [Key]) -> Criterion {
    Criterion {
        name,
        keys: Keys::Joined(keys),
    }
}

use Field as F;
use Meaning::{
    AllTags, Any, AnyTag, AtLeast, AtMost, Has, HasNot, IgnoredBool, IgnoredInt, Is, Like, LikeEitherName,
    NotAny, Null, ParentRun, Prefix,
};

const FLOWS: &[Criterion] = &[
    plain("id", &[("any_", Any(F::FlowId)), ("not_any_", NotAny(F::FlowId))]),
    joined("deployment", &[("is_null_", HasNot(Relation::FlowDeployments))]),
    plain(
        "name",
        &[("any_", Any(F::FlowName)), ("like_", Like(F::FlowName))],
    ),
    joined(
        "tags",
        &[("all_", AllTags(F::FlowTags)), ("is_null_", Null(F::FlowTags))],
    ),
];

const DEPLOYMENTS: &[Criterion] = &[
    plain(
        "id",
        &[
            ("any_", Any(F::DeploymentId)),
            ("not_any_", NotAny(F::DeploymentId)),
        ],
    ),
    plain(
        "name",
        &[
            ("any_", Any(F::DeploymentName)),
            ("like_", Like(F::DeploymentName)),
        ],
    ),
    plain("flow_or_deployment_name", &[("like_", LikeEitherName)]),
    plain("paused", &[("eq_", Is(F::DeploymentPaused))]),
    joined(
        "tags",
        &[
            ("all_", AllTags(F::DeploymentTags)),
            ("any_", AnyTag(F::DeploymentTags)),
            ("is_null_", Null(F::DeploymentTags)),
        ],
    ),
    plain("work_queue_name", &[("any_", Any(F::DeploymentWorkQueueName))]),
    plain(
        "concurrency_limit",
        &[
            ("ge_", IgnoredInt),
            ("le_", IgnoredInt),
            ("is_null_", IgnoredBool),
        ],
    ),
];

const RUNS: &[Criterion] = &[
    plain("id", &[("any_", Any(F::RunId)), ("not_any_", NotAny(F::RunId))]),
    plain("name", &[("any_", Any(F::RunName)), ("like_", Like(F::RunName))]),
    joined(
        "tags",
        &[
            ("all_", AllTags(F::RunTags)),
            ("any_", AnyTag(F::RunTags)),
            ("is_null_", Null(F::RunTags)),
        ],
    ),
    joined(
        "deployment_id",
        &[
            ("any_", Any(F::RunDeploymentId)),
            ("is_null_", Null(F::RunDeploymentId)),
        ],
    ),
    joined(
        "work_queue_name",
        &[
            ("any_", Any(F::RunWorkQueueName)),
            ("is_null_", Null(F::RunWorkQueueName)),
        ],
    ),
    Criterion {
        name: "state",
        keys: Keys::State([
            (
                "type",
                &[
                    ("any_", Any(F::RunStateType)),
                    ("not_any_", NotAny(F::RunStateType)),
                ],
            ),
            (
                "name",
                &[
                    ("any_", Any(F::RunStateName)),
                    ("not_any_", NotAny(F::RunStateName)),
                ],
            ),
        ]),
    },
    plain("flow_version", &[("any_", Any(F::RunFlowVersion))]),
    plain(
        "start_time",
        &[
            ("before_", AtMost(F::RunStartOrExpected)),
            ("after_", AtLeast(F::RunStartOrExpected)),
            ("is_null_", Null(F::RunStartTime)),
        ],
    ),
    plain(
        "end_time",
        &[
            ("before_", AtMost(F::RunEndTime)),
            ("after_", AtLeast(F::RunEndTime)),
            ("is_null_", Null(F::RunEndTime)),
        ],
    ),
    plain(
        "expected_start_time",
        &[
            ("before_", AtMost(F::RunExpectedStartTime)),
            ("after_", AtLeast(F::RunExpectedStartTime)),
        ],
    ),
    plain(
        "next_scheduled_start_time",
        &[
            ("before_", AtMost(F::RunNextScheduledStartTime)),
            ("after_", AtLeast(F::RunNextScheduledStartTime)),
        ],
    ),
    joined("parent_flow_run_id", &[("any_", ParentRun)]),
    joined(
        "parent_task_run_id",
        &[
            ("any_", Any(F::RunParentTaskRunId)),
            ("is_null_", Null(F::RunParentTaskRunId)),
        ],
    ),
    plain(
        "idempotency_key",
        &[
            ("any_", Any(F::RunIdempotencyKey)),
            ("not_any_", NotAny(F::RunIdempotencyKey)),
        ],
    ),
    joined(
        "created_by",
        &[
            ("id_", Any(F::RunCreatedById)),
            ("type_", Any(F::RunCreatedByType)),
            ("is_null_", Null(F::RunCreatedByType)),
        ],
    ),
];

const TASK_RUNS: &[Criterion] = &[
    plain("id", &[("any_", Any(F::TaskRunId))]),
    plain(
        "name",
        &[("any_", Any(F::TaskRunName)), ("like_", Like(F::TaskRunName))],
    ),
    joined(
        "tags",
        &[
            ("all_", AllTags(F::TaskRunTags)),
            ("is_null_", Null(F::TaskRunTags)),
        ],
    ),
    Criterion {
        name: "state",
        keys: Keys::State([
            ("type", &[("any_", Any(F::TaskRunStateType))]),
            ("name", &[("any_", Any(F::TaskRunStateName))]),
        ]),
    },
    plain(
        "start_time",
        &[
            ("before_", AtMost(F::TaskRunStartTime)),
            ("after_", AtLeast(F::TaskRunStartTime)),
            ("is_null_", Null(F::TaskRunStartTime)),
        ],
    ),
    plain(
        "end_time",
        &[
            ("before_", AtMost(F::TaskRunEndTime)),
            ("after_", AtLeast(F::TaskRunEndTime)),
            ("is_null_", Null(F::TaskRunEndTime)),
        ],
    ),
    plain(
        "expected_start_time",
        &[
            ("before_", AtMost(F::TaskRunExpectedStartTime)),
            ("after_", AtLeast(F::TaskRunExpectedStartTime)),
        ],
    ),
    plain("subflow_runs", &[("exists_", Has(Relation::TaskRunSubruns))]),
    Criterion {
        name: "flow_run_id",
        keys: Keys::RunOfTask,
    },
];

const POOLS: &[Criterion] = &[
    plain("id", &[("any_", Any(F::PoolId))]),
    plain("name", &[("any_", Any(F::PoolName))]),
    plain("type", &[("any_", Any(F::PoolType))]),
];

const QUEUES: &[Criterion] = &[
    plain("id", &[("any_", Any(F::QueueId))]),
    plain(
        "name",
        &[("any_", Any(F::QueueName)), ("startswith_", Prefix(F::QueueName))],
    ),
];

/// The criteria of a family.
pub(super) const fn criteria(entity: Entity) -> &'static [Criterion] {
    match entity {
        Entity::Flow => FLOWS,
        Entity::Deployment => DEPLOYMENTS,
        Entity::Run => RUNS,
        Entity::TaskRun => TASK_RUNS,
        Entity::Pool => POOLS,
        Entity::Queue => QUEUES,
    }
}

/// The families that a question about these rows may name, and under which key.
pub(super) const fn families(entity: Entity) -> &'static [(&'static str, Entity)] {
    const ALL: &[(&str, Entity)] = &[
        ("flows", Entity::Flow),
        ("flow_runs", Entity::Run),
        ("task_runs", Entity::TaskRun),
        ("deployments", Entity::Deployment),
        ("work_pools", Entity::Pool),
        ("work_pool_queues", Entity::Queue),
    ];
    match entity {
        Entity::Deployment | Entity::Run => ALL,
        Entity::Flow => ALL.split_at(5).0,
        Entity::TaskRun => ALL.split_at(4).0,
        Entity::Pool => &[("work_pools", Entity::Pool)],
        Entity::Queue => &[("work_queues", Entity::Queue)],
    }
}
