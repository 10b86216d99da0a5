//! An embeddable, in-memory scheduling engine: make deployments, give them schedules, and take runs in order of
//! urgency while concurrency limits hold.
//!
//! ```
//! use tenfold::{Engine, NewDeployment, Outcome, Priority, Scope};
//!
//! let engine = Engine::new();
//! engine.deploy(NewDeployment::new("report", "nightly").priority(Priority::new(7)?))?;
//! let run = engine.submit("report/nightly")?.id;
//!
//! let claim = engine.claim(&Scope::all())?.expect("one run is ready");
//! assert_eq!((claim.run(), claim.flow()), (run, "report"));
//! engine.begin(&claim)?;
//! engine.complete(&claim, Outcome::Completed("42 pages".into()))?;
//! assert_eq!(engine.run(run)?.result, Some("42 pages".into()));
//! # Ok::<(), tenfold::Error>(())
//! ```
//!
//! The few ideas: a *flow* is a named kind of work; a *deployment* is a flow plus defaults and *schedules*; a *run* is one
//! execution, made by a schedule, from a deployment, or submitted directly. Due runs wait in *work queues* at ten
//! *levels*, 10 first, in order of acceptance inside a level. A *claim* is the right to execute one attempt of one run,
//! and holds a slot of every limit that the run is under.
//!
//! | module | owns | promises |
//! |---|---|---|
//! | [`engine`] | the whole: one handle over everything below | a change has one place in one order, its version |
//! | [`queue`] | what waits, in which order | most urgent first, then oldest first; linearizable |
//! | [`limit`] | how many at once | never more holders than slots; all slots or none |
//! | [`schedule`] | when a deployment runs | a pure function of the schedule, in every zone |
//! | [`filter`] | which entities a caller means | a parsed filter always has an answer |
//! | [`model`] | the entities, as plain data | serde types with the keys of the reference's JSON |
//! | [`runner`] | handlers on plain threads | the same, without an async runtime |
//! | [`runtime`](crate::Engine::start) | handlers as tokio tasks (feature `tokio`) | a panic fails its run and nothing else |
//! | [`timeline`] | what is due when, among many | constant-time insert and cancel; useful alone |
//! | [`clock`] | where time comes from | engine time never goes back |
//! | [`ids`] | what names an entity | a type for each kind, a uuid inside |
//!
//! # Guarantees
//!
//! * **Order.** A claim gets the first run of its scope, by queue (1 first), level (10 first) and place in line, among those
//!   that are due, unpaused and whose limits have room at that instant. A blocked run never delays a runnable one.
//! * **Limits.** Slots in use never exceed a limit. Lowering a limit ends nothing; it lets nobody in until it is kept.
//! * **Runs.** An accepted run is in exactly one place until its record is removed. An attempt is handed out once; a report
//!   with an old fencing token is refused and changes nothing.
//! * **Time.** The order of runs does not depend on when the engine was called; the same seed, clock and calls give the
//!   same history.
//! * **Errors.** A refused call changes nothing and says what to do. Bad input does not panic. Should an invariant of the
//!   engine break, the call panics, and every later one answers [`Error::Poisoned`].
//! * **Status.** A [`QueueStatus`] is of one instant: its sums agree.
//!
//! Everything lives in memory, in one process: what must survive goes through [`Engine::export`].
//!
//! # Features
//!
//! * `schema`: parameters are checked against the JSON Schema of their deployment.
//! * `tokio` (default): handlers as tasks, [`Engine::start`]. Without it the crate starts no thread and knows no runtime.
//! * `metrics`: `Engine::record_metrics`, the engine's numbers for recorders of the `metrics` crate.
//! * `tracing`: steps of runs, planning, imports and attempts as events and spans of the `tracing` crate, told while no lock is held.
//!
//! What `tracing` is told:
//!
//! | target | level | message | fields |
//! |---|---|---|---|
//! | `tenfold::run` | DEBUG; INFO for COMPLETED and CANCELLED; WARN for FAILED, CRASHED and a retry | `run accepted`, `run claimed`, `run started`, `run awaits its retry`, `run ended`, `run changed` | `run`, `deployment`, `queue`, `from`, `state`, `name`, `attempt`, `token`, `problem` |
//! | `tenfold::run` | WARN | `lease lapsed` | `run`, `token` |
//! | `tenfold::plan` | DEBUG | `schedule planned` | `deployment`, `schedule`, `runs` |
//! | `tenfold::import` | INFO, a span | `import` | `version`, `runs`, `deployments` |
//! | `tenfold::attempt` | INFO, a span | `attempt` | `run`, `flow`, `deployment`, `attempt`, `token` |
//!
//! How it is built: [`_docs`].

#![forbid(unsafe_code)]

#[macro_use]
mod faults;

mod catalog;
pub mod clock;
pub mod engine;
pub mod filter;
pub mod ids;
pub mod limit;
pub mod model;
pub mod priority;
pub mod queue;
pub mod runner;
#[cfg(feature = "tokio")]
pub mod runtime;
pub mod schedule;
mod suggest;
pub(crate) mod sync;
pub mod timeline;

pub use engine::{
    Claim, Claims, Document, Empty, Ended, Engine, EngineBuilder, Error, Ids, Outcome, Page, QueueStatus,
    Scope, Submitted,
};
pub use ids::{DeploymentId, RunId};
pub use model::{
    Deployment, DeploymentPatch, NewDeployment, NewPool, NewQueue, NewRun, NewSchedule, Retry, Run,
};
pub use priority::{Priority, PriorityOutOfRange};
pub use runner::{Job, RunError, Runner};
#[cfg(feature = "tokio")]
pub use runtime::{Context, Runtime};
pub use schedule::Schedule;

/// How the crate is built, and why so.
#[doc = include_str!("docs/architecture.md")]
///
#[doc = include_str!("docs/design.md")]
///
#[doc = include_str!("docs/status.md")]
///
#[doc = include_str!("docs/speed.md")]
///
#[doc = include_str!("docs/changelog.md")]
pub mod _docs {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
