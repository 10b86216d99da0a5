//! What `tracing` is told, when the feature of that name is on: each step of a run, lapsed leases, planning, and a span around each attempt that a
//! handler of this process executes.
//!
//! A subscriber is the host's code and never runs under the engine's lock: what it is to be told is put aside there, and told when the lock is
//! gone. So it may call the engine; what its calls do is told to it in turn, so one that answers each event with a step of a run never ends. One
//! that panics misses what it was being told, and nobody else notices. While nobody subscribes, or only to graver things, a step costs one look at a number of the process.
//!
//! What is told, with its levels and fields, is a table of the crate's front page.

#[cfg(feature = "tracing")]
pub(crate) use self::told::{AttemptSpan, Traces, import_span};
#[cfg(not(feature = "tracing"))]
pub(crate) use self::untold::{AttemptSpan, Traces};

#[cfg(feature = "tracing")]
mod told {
    use tracing::level_filters::LevelFilter;
    use tracing::{Level, Span, event};

    use super::super::claim::Claim;
    use super::super::core::Core;
    use super::super::events::StateChange;
    use crate::engine::{Document, drop_quietly, quietly};
    use crate::ids::{DeploymentId, RunId, ScheduleId};
    use crate::model::{StateType, Text};

    #[derive(Debug)]
    enum Trace {
        State(StateChange, Option<Text>),
        Lapsed(RunId, u64),
        Planned(DeploymentId, ScheduleId, u64),
    }

    /// What is to be told once the lock is gone.
    #[derive(Debug, Default)]
    pub(crate) struct Traces(Vec<Trace>);

    /// Whether anybody in the process listens at this level: one relaxed load, and no code of a subscriber.
    fn listens(level: Level) -> bool {
        LevelFilter::current() >= level
    }

    fn level_of(change: &StateChange) -> Level {
        match change.state {
            StateType::Failed | StateType::Crashed => Level::WARN,
            StateType::Scheduled if is_retry(change) => Level::WARN,
            StateType::Completed | StateType::Cancelled => Level::INFO,
            _ => Level::DEBUG,
        }
    }

    fn is_retry(change: &StateChange) -> bool {
        &*change.name == "AwaitingRetry"
    }

    impl Traces {
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn append(&mut self, mut more: Self) {
            self.0.append(&mut more.0);
        }

        /// Tells all of it. No lock is held.
        pub(crate) fn tell(self) {
            for trace in self.0 {
                quietly(|| trace.tell());
            }
        }
    }

    impl Trace {
        fn tell(self) {
            match self {
                Self::State(change, queue) => tell_state(&change, queue.as_deref()),
                Self::Lapsed(run, token) => {
                    event!(target: "tenfold::run", Level::WARN, %run, token, "lease lapsed");
                }
                Self::Planned(deployment, schedule, runs) => {
                    event!(target: "tenfold::plan", Level::DEBUG, %deployment, %schedule, runs, "schedule planned");
                }
            }
        }
    }

    fn tell_state(change: &StateChange, queue: Option<&str>) {
        let what = match (change.from, change.state) {
            (None, _) => "run accepted",
            (_, StateType::Pending) => "run claimed",
            (_, StateType::Running) => "run started",
            (_, state) if state.is_terminal() => "run ended",
            _ if is_retry(change) => "run awaits its retry",
            _ => "run changed",
        };
        macro_rules! tell {
            ($level:expr) => {
                event!(
                    target: "tenfold::run",
                    $level,
                    run = %change.run,
                    deployment = change.deployment.map(tracing::field::display),
                    queue,
                    from = change.from.map(tracing::field::display),
                    state = %change.state,
                    name = &*change.name,
                    attempt = change.attempt,
                    token = change.token,
                    problem = change.message.as_deref(),
                    "{what}"
                )
            };
        }
        match level_of(change) {
            Level::WARN => tell!(Level::WARN),
            Level::INFO => tell!(Level::INFO),
            _ => tell!(Level::DEBUG),
        }
    }

    impl Core {
        /// Whether somebody may listen to what happens to runs.
        pub(crate) fn traces_states() -> bool {
            listens(Level::WARN)
        }

        pub(crate) fn trace_state(&mut self, change: StateChange, queue: Option<Text>) {
            if listens(level_of(&change)) {
                self.effects.traces.0.push(Trace::State(change, queue));
            }
        }

        pub(crate) fn trace_lapse(&mut self, row: u32) {
            if listens(Level::WARN)
                && let super::super::core::Work::Claimed(held) = &self.work[row as usize]
            {
                let lapsed = Trace::Lapsed(self.run(row).id, held.token);
                self.effects.traces.0.push(lapsed);
            }
        }

        pub(crate) fn trace_planned(&mut self, deployment: DeploymentId, schedule: ScheduleId, runs: u64) {
            if runs > 0 && listens(Level::DEBUG) {
                let planned = Trace::Planned(deployment, schedule, runs);
                self.effects.traces.0.push(planned);
            }
        }
    }

    /// The span of an import.
    pub(crate) fn import_span(document: &Document) -> Span {
        tracing::info_span!(
            target: "tenfold::import",
            "import",
            version = document.version,
            runs = document.flow_runs.len(),
            deployments = document.deployments.len(),
        )
    }

    /// The span in which a handler executes an attempt.
    #[derive(Debug)]
    pub(crate) struct AttemptSpan(Span);

    impl AttemptSpan {
        pub(crate) fn of(claim: &Claim) -> Self {
            let span = quietly(|| {
                tracing::info_span!(
                    target: "tenfold::attempt",
                    "attempt",
                    run = %claim.run(),
                    flow = claim.flow(),
                    deployment = claim.deployment().map(tracing::field::display),
                    attempt = claim.attempt(),
                    token = claim.token(),
                )
            });
            Self(span.unwrap_or_else(Span::none))
        }

        /// `work` catches its panics itself.
        pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
            let entered = quietly(|| self.0.enter());
            let answer = work();
            drop_quietly(entered);
            answer
        }
    }

    impl Drop for AttemptSpan {
        fn drop(&mut self) {
            drop_quietly(std::mem::replace(&mut self.0, Span::none()));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    //! The same, and nothing in it.

    use super::super::claim::Claim;
    use super::super::core::Core;
    use super::super::events::StateChange;
    use crate::ids::{DeploymentId, ScheduleId};
    use crate::model::Text;

    #[derive(Debug, Default)]
    pub(crate) struct Traces;

    #[expect(
        clippy::unused_self,
        reason = "with the feature there is something to look at"
    )]
    impl Traces {
        pub(crate) const fn is_empty(&self) -> bool {
            true
        }

        pub(crate) const fn append(&mut self, _: Self) {}

        pub(crate) const fn tell(self) {}
    }

    #[expect(
        clippy::unused_self,
        reason = "with the feature there is something to look at"
    )]
    impl Core {
        pub(crate) const fn traces_states() -> bool {
            false
        }

        pub(crate) fn trace_state(&mut self, _: StateChange, _: Option<Text>) {}

        pub(crate) const fn trace_lapse(&mut self, _: u32) {}

        pub(crate) const fn trace_planned(&mut self, _: DeploymentId, _: ScheduleId, _: u64) {}
    }

    #[derive(Debug)]
    pub(crate) struct AttemptSpan;

    #[expect(
        clippy::unused_self,
        reason = "with the feature there is something to look at"
    )]
    impl AttemptSpan {
        pub(crate) const fn of(_: &Claim) -> Self {
            Self
        }

        #[inline]
        pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
            work()
        }
    }
}
