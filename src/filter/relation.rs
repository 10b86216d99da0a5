//! How rows hang together.

use super::field::Entity;

macro_rules! relations {
    ($($variant:ident $source:ident $name:literal $target:ident $many:literal, $doc:literal;)*) => {
        /// A step from a row to the rows related to it.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Relation {
            $(#[doc = $doc] $variant,)*
        }

        impl Relation {
            /// Every relation, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kind of row it starts at.
            #[must_use]
            pub const fn source(self) -> Entity {
                match self { $(Self::$variant => Entity::$source,)* }
            }

            /// The kind of row it leads to.
            #[must_use]
            pub const fn target(self) -> Entity {
                match self { $(Self::$variant => Entity::$target,)* }
            }

            /// Its name in the text form, unique among the relations of its source.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it can lead to more than one row.
            #[must_use]
            pub const fn is_many(self) -> bool {
                match self { $(Self::$variant => $many,)* }
            }
        }
    };
}

relations! {
    FlowDeployments Flow "deployment" Deployment true, "The deployments of a flow.";
    FlowRuns Flow "run" Run true, "The runs of a flow.";
    DeploymentFlow Deployment "flow" Flow false, "The flow of a deployment.";
    DeploymentQueue Deployment "queue" Queue false, "The work queue of a deployment; none if it names none.";
    DeploymentRuns Deployment "run" Run true, "The runs of a deployment.";
    RunFlow Run "flow" Flow false, "The flow of a run.";
    RunDeployment Run "deployment" Deployment false, "The deployment of a run; none if it has none or it was deleted.";
    RunQueue Run "queue" Queue false, "The run's own work queue, which need not be its deployment's.";
    RunTaskRuns Run "task_run" TaskRun true, "The task runs of a run.";
    RunParent Run "parent" TaskRun false, "The task run that started a run.";
    TaskRunRun TaskRun "run" Run false, "The run of a task run.";
    TaskRunSubruns TaskRun "subrun" Run true, "The runs that a task run started.";
    PoolQueues Pool "queue" Queue true, "The queues of a pool.";
    QueuePool Queue "pool" Pool false, "The pool of a queue.";
    QueueDeployments Queue "deployment" Deployment true, "The deployments on a queue.";
    QueueRuns Queue "run" Run true, "The runs on a queue.";
}

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.source(), self.name())
    }
}
