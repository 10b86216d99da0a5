//! The form for Rust code: conditions whose types are checked by the compiler.
//!
//! One module per kind of row, one function per field and per relation. A field gives conditions on its row; conditions join with
//! [`and`](Condition::and), [`or`](Condition::or) and `!` (or `&` and `|`); a relation takes a condition on the related row.
//!
//! ```
//! use tenfold::filter::build::{deployment, flow, run};
//! use tenfold::filter::{Entity, Limits, StateType};
//!
//! let condition = deployment::tags()
//!     .has_all(["etl"])
//!     .and(!deployment::paused().is(true))
//!     .and(deployment::any_run(run::state_type().is(StateType::Failed).and(run::run_count().at_least(3))))
//!     .or(deployment::flow(flow::name().contains("nightly")));
//! let filter = condition.filter(&Limits::default())?;
//! assert_eq!(filter.entity(), Entity::Deployment);
//! assert_eq!(
//!     filter.to_string(),
//!     r#"tags has_all ["etl"] and not paused and any run where (state_type = "FAILED" and run_count >= 3) or flow.name contains "nightly""#
//! );
//! # Ok::<(), tenfold::filter::Invalid>(())
//! ```
//!
//! A value of another type does not compile:
//!
//! ```compile_fail
//! # use tenfold::filter::build::deployment;
//! deployment::paused().is("yes");
//! ```
//!
//! nor does an operator that the field does not have:
//!
//! ```compile_fail
//! # use tenfold::filter::build::deployment;
//! deployment::tags().contains("etl");
//! ```
//!
//! nor a field of another kind of row:
//!
//! ```compile_fail
//! # use tenfold::filter::build::{deployment, run};
//! deployment::paused().is(true).and(run::auto_scheduled().is(true));
//! ```
//!
//! nor a word of another vocabulary:
//!
//! ```compile_fail
//! # use tenfold::filter::{Place, build::run};
//! run::state_type().is(Place::Ready);
//! ```

mod handles;

use std::marker::PhantomData;

pub use handles::{
    BoolField, CodeField, DurationField, IntField, TagsField, TextField, TimeField, UuidField, Word,
};

use super::Filter;
use super::expr::{Expr, Node};
use super::field::{Entity, Place, StateType, Status};
use super::limits::{Invalid, Limits};
use super::relation::Relation;

/// A kind of row, as a type. Sealed: the kinds are those of [`Entity`].
pub trait Row: sealed::Sealed {
    /// The same as a value.
    const ENTITY: Entity;
}

mod sealed {
    #[expect(unnameable_types, reason = "sealing the trait is the point")]
    pub trait Sealed {}
}

/// A condition on rows of kind `E`.
#[must_use]
pub struct Condition<E> {
    expr: Expr,
    row: PhantomData<fn(E)>,
}

impl<E: Row> Condition<E> {
    pub(super) const fn new(expr: Expr) -> Self {
        Self {
            expr,
            row: PhantomData,
        }
    }

    /// Every row.
    pub fn everything() -> Self {
        Self::new(Expr::yes())
    }

    /// No row.
    pub fn nothing() -> Self {
        Self::new(Expr::no())
    }

    /// Both hold.
    pub fn and(self, other: Self) -> Self {
        let mut children = match self.expr.into_node() {
            Node::And(children) if !children.is_empty() => children,
            node => vec![node.into()],
        };
        children.push(other.expr);
        Self::new(Expr::all(children))
    }

    /// One of the two holds.
    pub fn or(self, other: Self) -> Self {
        let mut children = match self.expr.into_node() {
            Node::Or(children) if !children.is_empty() => children,
            node => vec![node.into()],
        };
        children.push(other.expr);
        Self::new(Expr::any(children))
    }

    /// The tree.
    #[must_use]
    pub fn into_expr(self) -> Expr {
        self.expr
    }

    /// Compiles it.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it is larger than `limits`.
    pub fn filter(self, limits: &Limits) -> Result<Filter, Invalid> {
        Filter::new(E::ENTITY, self.expr, limits)
    }

    fn exists<F>(relation: Relation, inner: Condition<F>) -> Self {
        Self::new(Expr::exists(relation, inner.expr))
    }
}

impl<E> Clone for Condition<E> {
    fn clone(&self) -> Self {
        Self {
            expr: self.expr.clone(),
            row: PhantomData,
        }
    }
}

impl<E> std::fmt::Debug for Condition<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.expr).finish()
    }
}

/// The complement.
impl<E: Row> std::ops::Not for Condition<E> {
    type Output = Self;

    fn not(self) -> Self {
        Self::new(self.expr.negated())
    }
}

/// Both hold.
impl<E: Row> std::ops::BitAnd for Condition<E> {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and(other)
    }
}

/// One of the two holds.
impl<E: Row> std::ops::BitOr for Condition<E> {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

macro_rules! rows {
    ($($module:ident $row:ident
        { $($field:ident: $handle:ident $(<$word:ident>)? = $variant:ident;)* }
        { $($step:ident: $target:ident = $relation:ident;)* }
    )*) => {
        $(
            #[doc = concat!("Rows of the kind `Entity::", stringify!($row), "`.")]
            #[derive(Clone, Copy, Debug)]
            pub enum $row {}

            impl sealed::Sealed for $row {}

            impl Row for $row {
                const ENTITY: Entity = Entity::$row;
            }

            #[doc = concat!("The fields and relations of `Entity::", stringify!($row), "`.")]
            pub mod $module {
                use super::*;
                use crate::filter::Field;

                $(
                    #[doc = concat!("`Field::", stringify!($variant), "`.")]
                    pub const fn $field() -> $handle<$row $(, $word)?> {
                        $handle::new(Field::$variant)
                    }
                )*

                $(
                    #[doc = concat!("`Relation::", stringify!($relation), "` leads to a row that passes.")]
                    pub fn $step(inner: Condition<$target>) -> Condition<$row> {
                        Condition::exists(Relation::$relation, inner)
                    }
                )*
            }
        )*

        /// Every field and relation that has a function.
        #[cfg(test)]
        const COVERED: (&[super::field::Field], &[Relation]) =
            (&[$($(super::field::Field::$variant,)*)*], &[$($(Relation::$relation,)*)*]);
    };
}

rows! {
    flow Flow {
        id: UuidField = FlowId;
        created: TimeField = FlowCreated;
        updated: TimeField = FlowUpdated;
        name: TextField = FlowName;
        tags: TagsField = FlowTags;
    } {
        any_deployment: Deployment = FlowDeployments;
        any_run: Run = FlowRuns;
    }
    deployment Deployment {
        id: UuidField = DeploymentId;
        created: TimeField = DeploymentCreated;
        updated: TimeField = DeploymentUpdated;
        name: TextField = DeploymentName;
        version: TextField = DeploymentVersion;
        description: TextField = DeploymentDescription;
        path: TextField = DeploymentPath;
        entrypoint: TextField = DeploymentEntrypoint;
        flow_id: UuidField = DeploymentFlowId;
        paused: BoolField = DeploymentPaused;
        tags: TagsField = DeploymentTags;
        work_queue_name: TextField = DeploymentWorkQueueName;
        work_queue_id: UuidField = DeploymentQueueId;
        status: CodeField<Status> = DeploymentStatus;
        last_polled: TimeField = DeploymentLastPolled;
        priority: IntField = DeploymentPriority;
        concurrency_limit: IntField = DeploymentConcurrencyLimit;
        schedules: IntField = DeploymentSchedules;
        active_schedules: IntField = DeploymentActiveSchedules;
        enforce_parameter_schema: BoolField = DeploymentEnforceParameterSchema;
    } {
        flow: Flow = DeploymentFlow;
        queue: Queue = DeploymentQueue;
        any_run: Run = DeploymentRuns;
    }
    run Run {
        id: UuidField = RunId;
        created: TimeField = RunCreated;
        updated: TimeField = RunUpdated;
        name: TextField = RunName;
        flow_id: UuidField = RunFlowId;
        deployment_id: UuidField = RunDeploymentId;
        deployment_version: TextField = RunDeploymentVersion;
        flow_version: TextField = RunFlowVersion;
        work_queue_id: UuidField = RunQueueId;
        work_queue_name: TextField = RunWorkQueueName;
        idempotency_key: TextField = RunIdempotencyKey;
        tags: TagsField = RunTags;
        parent_task_run_id: UuidField = RunParentTaskRunId;
        state_type: CodeField<StateType> = RunStateType;
        state_name: TextField = RunStateName;
        state_timestamp: TimeField = RunStateTimestamp;
        place: CodeField<Place> = RunPlace;
        priority: IntField = RunPriority;
        run_count: IntField = RunCount;
        expected_start_time: TimeField = RunExpectedStartTime;
        next_scheduled_start_time: TimeField = RunNextScheduledStartTime;
        start_time: TimeField = RunStartTime;
        start_or_expected: TimeField = RunStartOrExpected;
        end_time: TimeField = RunEndTime;
        total_run_time: DurationField = RunTotalRunTime;
        auto_scheduled: BoolField = RunAutoScheduled;
        created_by_id: UuidField = RunCreatedById;
        created_by_type: TextField = RunCreatedByType;
    } {
        flow: Flow = RunFlow;
        deployment: Deployment = RunDeployment;
        queue: Queue = RunQueue;
        any_task_run: TaskRun = RunTaskRuns;
        parent: TaskRun = RunParent;
    }
    task_run TaskRun {
        id: UuidField = TaskRunId;
        created: TimeField = TaskRunCreated;
        updated: TimeField = TaskRunUpdated;
        name: TextField = TaskRunName;
        run_id: UuidField = TaskRunRunId;
        task_key: TextField = TaskRunTaskKey;
        dynamic_key: TextField = TaskRunDynamicKey;
        cache_key: TextField = TaskRunCacheKey;
        task_version: TextField = TaskRunTaskVersion;
        tags: TagsField = TaskRunTags;
        state_type: CodeField<StateType> = TaskRunStateType;
        state_name: TextField = TaskRunStateName;
        state_timestamp: TimeField = TaskRunStateTimestamp;
        run_count: IntField = TaskRunCount;
        expected_start_time: TimeField = TaskRunExpectedStartTime;
        next_scheduled_start_time: TimeField = TaskRunNextScheduledStartTime;
        start_time: TimeField = TaskRunStartTime;
        end_time: TimeField = TaskRunEndTime;
        total_run_time: DurationField = TaskRunTotalRunTime;
    } {
        run: Run = TaskRunRun;
        any_subrun: Run = TaskRunSubruns;
    }
    pool Pool {
        id: UuidField = PoolId;
        created: TimeField = PoolCreated;
        updated: TimeField = PoolUpdated;
        name: TextField = PoolName;
        description: TextField = PoolDescription;
        r#type: TextField = PoolType;
        paused: BoolField = PoolPaused;
        concurrency_limit: IntField = PoolConcurrencyLimit;
        status: CodeField<Status> = PoolStatus;
        default_queue_id: UuidField = PoolDefaultQueueId;
    } {
        any_queue: Queue = PoolQueues;
    }
    queue Queue {
        id: UuidField = QueueId;
        created: TimeField = QueueCreated;
        updated: TimeField = QueueUpdated;
        name: TextField = QueueName;
        description: TextField = QueueDescription;
        paused: BoolField = QueuePaused;
        concurrency_limit: IntField = QueueConcurrencyLimit;
        priority: IntField = QueuePriority;
        work_pool_id: UuidField = QueuePoolId;
        last_polled: TimeField = QueueLastPolled;
        status: CodeField<Status> = QueueStatus;
    } {
        pool: Pool = QueuePool;
        any_deployment: Deployment = QueueDeployments;
        any_run: Run = QueueRuns;
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Field;
    use super::*;

    #[test]
    fn f1_every_field_and_relation_has_a_function() {
        assert_eq!(COVERED.0, Field::ALL);
        assert_eq!(COVERED.1.len(), Relation::ALL.len());
    }

    #[test]
    fn f1_joining_flattens() {
        let named = |name: &str| run::name().is(name);
        let three = named("a").and(named("b")).and(named("c")).into_expr();
        assert!(matches!(three.node(), Node::And(children) if children.len() == 3));
        let mut many = Condition::<Run>::nothing();
        for _ in 0..1000 {
            many = !many;
        }
        assert!(
            many.filter(&Limits::default()).is_err(),
            "a tree too deep is refused, not a stack overflow"
        );
    }
}
