//! What the engine keeps, as plain data: flows, deployments, schedules, runs, task runs, pools and queues.
//!
//! Everything here is a value: reading one costs a copy, changing one changes nothing in the engine. The `New…`
//! and `…Patch` types are what callers hand in; the others are what they get back.
//!
//! All are serde types, what they get back with the keys of the reference's JSON, so that a document written for one reads in the
//! other; but [`NewRun`], [`DeploymentPatch`] and [`SchedulePatch`] are made by their methods alone.

mod collision;
/// Setters of a patch: each names what is to be changed, and to what.
macro_rules! patches {
    ($($(#[$doc:meta])* $name:ident($value:ident: $kind:ty) => $field:ident;)+) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $value: $kind) -> Self {
            self.$field = Some($value);
            self
        }
    )+};
}

mod deployment;
mod flow;
mod policy;
mod pool;
mod retry;
mod rules;
mod run;
mod state;
mod text;

pub use collision::{Collision, ConcurrencyOptions};
pub use deployment::{
    Deployment, DeploymentPatch, DeploymentSchedule, NewDeployment, NewSchedule, SchedulePatch,
};
pub use flow::{Flow, NewFlow};
pub use policy::{CatchUp, Overlap};
pub use pool::{
    NewPool, NewQueue, PoolPatch, PoolStatus, QueueFilter, QueueOrder, QueuePatch, WorkPool, WorkQueue,
};
pub use retry::{Backoff, MAX_DELAYS, MAX_RETRIES, Retry};
pub use rules::{InvalidValue, MAX_NAME, MAX_PARAMETERS, MAX_TAGS, MAX_TEXT};
pub(crate) use rules::{
    check_depth, check_kept, check_name, check_name_or_empty, check_parameters, check_result, check_tags,
    check_template, check_text,
};
pub(crate) use run::maybe_seconds;
pub use run::{CreatedBy, NewRun, NewTaskRun, Place, Run, RunPatch, RunPolicy, Target, TaskRun};
pub use state::{NewState, State, StateType};
pub use text::Text;

/// A JSON object: parameters, labels, context.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// Reads what is given, null included, as given: a patch tells *null* from *not there*.
fn given<'de, T, D>(source: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(source).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{PoolPatch, QueuePatch, RunPatch};
    use serde_json::{from_value, json, to_value};

    #[test]
    fn a_patch_tells_null_from_nothing_and_reads_what_it_writes() {
        let clears = PoolPatch::new()
            .description(None)
            .concurrency_limit(None)
            .paused(true);
        let stored = json!({"description": null, "concurrency_limit": null, "is_paused": true});
        assert_eq!(to_value(&clears).unwrap(), stored);
        assert_eq!(from_value::<PoolPatch>(stored).unwrap(), clears);
        assert_eq!(from_value::<PoolPatch>(json!({})).unwrap(), PoolPatch::new());
        let queue = QueuePatch::new().filter(None).concurrency_limit(Some(3));
        assert_eq!(
            from_value::<QueuePatch>(to_value(&queue).unwrap()).unwrap(),
            queue
        );
        let run = RunPatch::new().name("monday").tags(["news"]);
        assert_eq!(from_value::<RunPatch>(to_value(&run).unwrap()).unwrap(), run);
        assert!(
            from_value::<QueuePatch>(json!({"paused": true})).is_err(),
            "an unknown key is refused"
        );
    }
}
