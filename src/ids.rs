//! Names of things at the edge of the crate: one newtype over a uuid per kind of entity.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a uuid that names one of these, for instance one read from a document.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The uuid.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// Names a flow.
    FlowId
    /// Names a deployment.
    DeploymentId
    /// Names a schedule of a deployment.
    ScheduleId
    /// Names a run. Ids made by one engine ascend in the order of acceptance.
    RunId
    /// Names one state that a run has or had; see [`Engine::state`](crate::Engine::state).
    StateId
    /// Names a task run.
    TaskRunId
    /// Names a work pool.
    PoolId
    /// Names a work queue.
    QueueId
    /// Names a concurrency limit.
    LimitId
}
