//! Settings of an engine, their defaults and their bounds.

use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::submit::MAX_SPAN;
use super::{Engine, core::Core};
use crate::clock::{Clock, SystemClock};
use crate::model::CatchUp;

/// Every bound of an engine, in the engine's own units.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Settings {
    pub(crate) limit: Option<u32>,
    pub(crate) waiting_runs: usize,
    pub(crate) scheduled_runs: usize,
    pub(crate) finished_runs: usize,
    /// Microseconds, as are the other spans.
    pub(crate) finished_age: i64,
    pub(crate) paused_runs: usize,
    #[serde(default = "payloads")]
    pub(crate) task_runs: usize,
    #[serde(default = "payloads")]
    pub(crate) payloads: usize,
    #[serde(default = "payloads")]
    pub(crate) deliveries: usize,
    /// States kept of one run besides the one it has.
    pub(crate) run_states: usize,
    pub(crate) flows: usize,
    pub(crate) deployments: usize,
    pub(crate) queues: usize,
    pub(crate) schedules: usize,
    #[serde(default = "index_from")]
    pub(crate) index_from: usize,
    pub(crate) limits: usize,
    pub(crate) bypass_bound: Option<u32>,
    pub(crate) planned_least: usize,
    pub(crate) planned_most: usize,
    pub(crate) planned_span_least: i64,
    pub(crate) planned_span_most: i64,
    pub(crate) late_after: i64,
    pub(crate) catch_up: CatchUp,
    pub(crate) called_off: usize,
}

const SECOND: i64 = 1_000_000;

const fn payloads() -> usize {
    100_000
}

/// Below so many rows, reading them all takes no longer than asking an index.
const fn index_from() -> usize {
    512
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: None,
            waiting_runs: 100_000,
            scheduled_runs: 1_000_000,
            finished_runs: 100_000,
            finished_age: 24 * 3600 * SECOND,
            paused_runs: 100_000,
            task_runs: payloads(),
            payloads: payloads(),
            deliveries: payloads(),
            run_states: 20,
            flows: 100_000,
            deployments: 1_000_000,
            queues: 10_000,
            schedules: 100,
            index_from: index_from(),
            limits: 100_000,
            bypass_bound: None,
            planned_least: 3,
            planned_most: 100,
            planned_span_least: 3600 * SECOND,
            planned_span_most: 100 * 86_400 * SECOND,
            late_after: 15 * SECOND,
            catch_up: CatchUp::Latest(Duration::from_secs(600)),
            called_off: 10_000,
        }
    }
}

impl Settings {
    /// How far back a missed occurrence may still run. Under `All` it is a day: further back the count decides nothing.
    pub(crate) fn window(&self, policy: CatchUp) -> i64 {
        match policy {
            CatchUp::Skip => self.late_after,
            CatchUp::Latest(window) => micros(window).max(self.late_after),
            CatchUp::All(_) => (86_400 * SECOND).max(self.late_after),
        }
    }
}

pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Settings of a new engine; [`build`](Self::build) checks them and makes it.
///
/// | setting | default | what it bounds |
/// |---|---|---|
/// | [`limit`](Self::limit) | none | runs claimed at once, in the whole engine |
/// | [`waiting_runs`](Self::waiting_runs) | 100,000 | runs that are due and wait, when one is submitted; accepted ones always enter. Also the runs of one schedule that are due and have not ended: it is planned no further until some have |
/// | [`scheduled_runs`](Self::scheduled_runs) | 1,000,000 | runs that are not due yet, when one is submitted or planned; retries always enter |
/// | [`finished_runs`](Self::finished_runs) | 100,000 | records of runs that have ended, the oldest go first |
/// | [`finished_age`](Self::finished_age) | 24 hours | their age |
/// | [`paused_runs`](Self::paused_runs) | 100,000 | runs that are paused, when one more is to be |
/// | [`payloads`](Self::payloads) | 100,000 | runs that carry a value or a closure, when one more is submitted with one |
/// | [`task_runs`](Self::task_runs) | 100,000 | task runs, of runs whose records are kept, when one more is recorded |
/// | [`deliveries`](Self::deliveries) | 100,000 | deliveries of one completion hook; what ends beyond it is told as a gap |
/// | [`run_states`](Self::run_states) | 20 | states that a run has left: the first three and the newest are kept |
/// | [`flows`](Self::flows) | 100,000 | flows |
/// | [`deployments`](Self::deployments) | 1,000,000 | deployments |
/// | [`queues`](Self::queues) | 10,000 | work queues, in all pools |
/// | [`schedules`](Self::schedules) | 100 | schedules of one deployment; and removed ones whose used occurrences are remembered |
/// | [`called_off`](Self::called_off) | 10,000 | future occurrences of one schedule that were called off; it is planned no further until one is past |
/// | [`index_from`](Self::index_from) | 512 | rows of a table that queries scan, without an index |
/// | [`limits`](Self::limits) | 100,000 | named limits, templates and what they make included |
/// | [`bypass_bound`](Self::bypass_bound) | none | how often a waiting run is overtaken at a limit before it reserves it |
/// | [`planned_runs`](Self::planned_runs) | 3 to 100 | runs planned ahead for one schedule |
/// | [`planned_span`](Self::planned_span) | 1 hour to 100 days | how far ahead they are planned |
/// | [`late_after`](Self::late_after) | 15 seconds | after that, an occurrence first seen is missed |
/// | [`catch_up`](Self::catch_up) | the latest, within 10 minutes | which missed occurrences still run |
///
/// Fixed: 64 completion hooks, eight limits that a run names, 1,000,000 leases of slots, 500 runs in a batch, 524,288 bytes of parameters in a run and as many of its result, both nested at most 100 deep,
/// 10,000 bytes of a message, nested 100 deep, 100 tags, 1,000 bytes in a name,
/// tag or key, 10,000 retries, 100 years for any span.
#[derive(Debug)]
#[must_use]
pub struct EngineBuilder {
    settings: Settings,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
}

impl EngineBuilder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            clock: None,
            seed: None,
        }
    }

    /// Most runs claimed at once, in the whole engine. 0 lets nothing start. Default: unlimited.
    pub fn limit(mut self, limit: u32) -> Self {
        self.settings.limit = Some(limit);
        self
    }

    /// Most runs that are due and wait, ready or blocked. Default: 100,000.
    pub fn waiting_runs(mut self, most: usize) -> Self {
        self.settings.waiting_runs = most;
        self
    }

    /// Most runs that are not due yet. Default: 1,000,000.
    pub fn scheduled_runs(mut self, most: usize) -> Self {
        self.settings.scheduled_runs = most;
        self
    }

    /// Most records of ended runs; the oldest go first. Default: 100,000.
    pub fn finished_runs(mut self, most: usize) -> Self {
        self.settings.finished_runs = most;
        self
    }

    /// How long the record of an ended run is kept. Default: 24 hours.
    pub fn finished_age(mut self, most: Duration) -> Self {
        self.settings.finished_age = micros(most);
        self
    }

    /// Most runs that are paused at once; one more is refused its pause. Default: 100,000.
    pub fn paused_runs(mut self, most: usize) -> Self {
        self.settings.paused_runs = most;
        self
    }

    /// Most runs that carry a value or a closure. Default: 100,000.
    pub fn payloads(mut self, most: usize) -> Self {
        self.settings.payloads = most;
        self
    }

    /// Most task runs that are kept; they go with the records of their runs. Default: 100,000.
    pub fn task_runs(mut self, most: usize) -> Self {
        self.settings.task_runs = most;
        self
    }

    /// Most deliveries that one completion hook holds until they are done with. What ends while it is full is counted, and told as a
    /// [`Gap`](crate::engine::Gap) as soon as there is room. 1 or more. Default: 100,000.
    pub fn deliveries(mut self, most: usize) -> Self {
        self.settings.deliveries = most;
        self
    }

    /// How many of the states that a run has left are kept: the first three and the newest. 0 keeps none. Default: 20.
    pub fn run_states(mut self, most: usize) -> Self {
        self.settings.run_states = most;
        self
    }

    /// Most flows. They are never removed. Default: 100,000.
    pub fn flows(mut self, most: usize) -> Self {
        self.settings.flows = most;
        self
    }

    /// Most deployments. Default: 1,000,000.
    pub fn deployments(mut self, most: usize) -> Self {
        self.settings.deployments = most;
        self
    }

    /// Most work queues in all pools. Default: 10,000.
    pub fn queues(mut self, most: usize) -> Self {
        self.settings.queues = most;
        self
    }

    /// Most schedules of one deployment. Default: 100.
    pub fn schedules(mut self, most: usize) -> Self {
        self.settings.schedules = most;
        self
    }

    /// Most future occurrences of one schedule that were called off and must not come back. Default: 10,000.
    pub fn called_off(mut self, most: usize) -> Self {
        self.settings.called_off = most;
        self
    }

    /// Tables of so many rows get an index when a query first asks for them; smaller ones are scanned. `usize::MAX` makes no indexes.
    /// Default: 512.
    ///
    /// Parts of an index are made when a query first needs them, and brought up to date by the queries; a table of deployments in
    /// which names, tags, flow, queue, limit and pause are filtered takes about 150 bytes a row for it.
    pub fn index_from(mut self, rows: usize) -> Self {
        self.settings.index_from = rows;
        self
    }

    /// Most named limits, templates and what they make included. Default: 100,000.
    pub fn limits(mut self, most: usize) -> Self {
        self.settings.limits = most;
        self
    }

    /// How often the first that waits for slots of a limit may be overtaken there by runs that come later in claim order
    /// and need fewer. After that it reserves the limit: until it has started (or is called off, or its queue is paused), no later run
    /// is let in there, but for one that is chosen ([`Engine::claim_run`], or a change of state), which stands outside of the order. Without it a run that needs many slots can wait for as long as others that need few keep coming. 1 or more. Default:
    /// none, which is any number of times.
    pub fn bypass_bound(mut self, times: u32) -> Self {
        self.settings.bypass_bound = Some(times);
        self
    }

    /// How many runs are planned ahead for one schedule, at least and at most. Default: 3 and 100.
    pub fn planned_runs(mut self, least: usize, most: usize) -> Self {
        self.settings.planned_least = least;
        self.settings.planned_most = most;
        self
    }

    /// How far ahead a schedule is planned, at least and at most. Default: an hour and 100 days.
    pub fn planned_span(mut self, least: Duration, most: Duration) -> Self {
        self.settings.planned_span_least = micros(least);
        self.settings.planned_span_most = micros(most);
        self
    }

    /// An occurrence that the engine first makes due more than this after its instant is missed. Default: 15 seconds.
    pub fn late_after(mut self, span: Duration) -> Self {
        self.settings.late_after = micros(span);
        self
    }

    /// Which missed occurrences of a schedule still run. Default: the latest, within ten minutes.
    pub fn catch_up(mut self, policy: CatchUp) -> Self {
        self.settings.catch_up = policy;
        self
    }

    /// Where time comes from. Default: the machine's clocks.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Seed of ids and names. The same seed, clock readings and calls give the same history. Default: a random one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the engine.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when a setting is out of its bounds or two do not fit together.
    pub fn build(self) -> Result<Engine, Error> {
        let (settings, clock, seed) = self.checked()?;
        let now = clock.now();
        Ok(Engine::of(Core::new(settings, seed, now), clock))
    }

    pub(crate) fn checked(self) -> Result<(Settings, Arc<dyn Clock>, u64), Error> {
        self.settings.check()?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let seed = self.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        Ok((self.settings, clock, seed))
    }
}

impl Settings {
    /// Each within its bounds, and all together; for those of a document too.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: String, rule| Err(Error::Setting { setting, value, rule });
        if self.planned_least > self.planned_most || self.planned_most == 0 {
            let value = format!("{} to {}", self.planned_least, self.planned_most);
            return refuse(
                "planned_runs",
                value,
                "give a least that is not above the most, and a most of 1 or more",
            );
        }
        if self.planned_span_least > self.planned_span_most {
            let value = format!(
                "{} to {} microseconds",
                self.planned_span_least, self.planned_span_most
            );
            return refuse("planned_span", value, "give a least that is not above the most");
        }
        let spans = [
            ("finished_age", self.finished_age),
            ("planned_span", self.planned_span_least),
            ("planned_span", self.planned_span_most),
            ("late_after", self.late_after),
        ];
        if let Some((setting, span)) = spans
            .into_iter()
            .find(|(_, span)| !(0..=micros(MAX_SPAN)).contains(span))
        {
            return refuse(setting, format!("{span} microseconds"), "give at most 100 years");
        }
        super::deploy::check_catch_up(self.catch_up).map_err(|refused| Error::Setting {
            setting: "catch_up",
            value: refused.value,
            rule: refused.rule,
        })?;
        let counts = [
            ("waiting_runs", self.waiting_runs),
            ("scheduled_runs", self.scheduled_runs),
            ("finished_runs", self.finished_runs),
            ("paused_runs", self.paused_runs),
            ("task_runs", self.task_runs),
            ("payloads", self.payloads),
            ("deliveries", self.deliveries),
            ("flows", self.flows),
            ("deployments", self.deployments),
            ("queues", self.queues),
            ("limits", self.limits),
            ("planned_runs", self.planned_most),
            ("called_off", self.called_off),
        ];
        if let Some((setting, count)) = counts.into_iter().find(|(_, count)| *count > MAX_ROWS) {
            return refuse(setting, count.to_string(), "give at most 1,000,000,000");
        }
        if self.run_states > 10_000 || (1..=3).contains(&self.run_states) {
            let value = self.run_states.to_string();
            return refuse("run_states", value, "give 0, or 4 to 10,000");
        }
        if self.deliveries == 0 {
            let rule = "give 1 or more; a hook that may hold nothing has nothing to tell";
            return refuse("deliveries", "0".to_owned(), rule);
        }
        if self.queues == 0 {
            return refuse(
                "queues",
                "0".to_owned(),
                "give 1 or more: every engine has the queue `default`",
            );
        }
        if self.bypass_bound == Some(0) {
            let rule = "give 1 or more; for strict order set the queue to `StrictFifo`";
            return refuse("bypass_bound", "0".to_owned(), rule);
        }
        Ok(())
    }
}

/// Row numbers have 32 bits; the caps together stay below.
const MAX_ROWS: usize = 1_000_000_000;
