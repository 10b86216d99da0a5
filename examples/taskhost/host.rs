//! The host: an engine with the file's deployments, a burst of ad-hoc runs, and the verdict at the end.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tenfold::filter::{Entity, Limits, Query, Shape};
use tenfold::ids::DeploymentId;
use tenfold::model::{NewDeployment, NewPool, NewQueue, NewRun, Place, Retry, Run};
use tenfold::runtime::{Context, RunError, Runtime};
use tenfold::{Engine, Error, Priority, QueueStatus};

use crate::args::Options;
use crate::child;
use crate::display::{Display, View};
use crate::file::{Entry, File, Wrong};
use crate::jobs;
use crate::ledger::{Ending, Final, Ledger, Seen};
use crate::now;
use crate::report::{Line, Table};

/// How often the engine is looked at.
const TICK: Duration = Duration::from_millis(50);
/// When the burst arrives: so that the first report tells of it.
const BURST_AT: Duration = Duration::from_secs(4);
/// How often the status report is printed while the host runs.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Why a host could not run: the file, or a machine that refuses something.
#[derive(Debug)]
pub enum Trouble {
    /// Something is wrong with the deployments file.
    File(Wrong),
    /// The engine refused a call that has nothing to do with the file.
    Engine(Error),
    /// The machine refused a directory or a thread.
    Machine(std::io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(wrong) => wrong.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::Machine(error) => error.fmt(f),
        }
    }
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Self::File(wrong)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Machine(error)
    }
}

/// Runs the deployments of the file as `options` say. True when every check passed.
///
/// # Errors
///
/// [`Trouble`] before anything has run; what goes wrong later is a check that does not pass.
pub fn run(options: &Options) -> Result<bool, Trouble> {
    let file = File::read(&options.file)?;
    let engine = Engine::builder().limit(options.limit).build()?;
    let ledger = Ledger::new(options.limit as usize);
    let names = deploy(&engine, &file, &ledger)?;

    let scratch = Scratch::new()?;
    for job in jobs::NAMES {
        register(&engine, job, &ledger, &names, &scratch)?;
    }
    let host = Host {
        engine,
        ledger,
        names,
        burst: ad_hoc(&file, options.burst),
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    tokio.block_on(host.run(options))
}

/// Makes the pools, queues and deployments of the file. Answers the names of the deployments.
fn deploy(engine: &Engine, file: &File, ledger: &Ledger) -> Result<Names, Trouble> {
    let mut places = BTreeSet::new();
    let mut names = HashMap::new();
    for (index, entry) in file.entries.iter().enumerate() {
        let (pool, queue) = entry.work_place();
        if pool != "default" && places.insert((pool, None)) {
            engine
                .create_pool(NewPool::named(pool))
                .map_err(|error| file.wrong(index, "work_pool_name", error))?;
        }
        if queue != "default" && places.insert((pool, Some(queue))) {
            engine
                .create_queue(NewQueue::named(pool, queue))
                .map_err(|error| file.wrong(index, "work_queue_name", error))?;
        }
        let made = engine
            .deploy(new(entry))
            .map_err(|error| file.wrong(index, "name", error))?;
        let name = entry.full_name();
        if let Some(limit) = entry.concurrency_limit {
            ledger.limit(name.clone(), limit.get() as usize);
        }
        names.insert(made.id, name);
    }
    Ok(Arc::new(names))
}

/// Which deployment has which name, as `flow/name`.
type Names = Arc<HashMap<DeploymentId, String>>;

fn new(entry: &Entry) -> NewDeployment {
    let (pool, queue) = entry.work_place();
    let mut new = NewDeployment::new(&*entry.flow_name, &*entry.name)
        .priority(entry.priority)
        .parameters(entry.parameters.clone())
        .labels(entry.labels.clone())
        .work_queue(pool, queue)
        .retry(Retry::fixed(entry.retries, entry.retry_delay_seconds));
    for schedule in &entry.schedules {
        new = new.schedule(schedule.clone());
    }
    for tag in &entry.tags {
        new = new.tag(&**tag);
    }
    if let Some(limit) = entry.concurrency_limit {
        new = new.concurrency_limit(limit);
    }
    if let Some(timeout) = entry.timeout_seconds {
        new = new.timeout(timeout);
    }
    if let Some(text) = &entry.description {
        new = new.description(&**text);
    }
    if let Some(text) = &entry.version {
        new = new.version(&**text);
    }
    if entry.paused { new.paused() } else { new }
}

/// The handler of a flow: notes the start, does the job in a child process, notes the end.
fn register(
    engine: &Engine,
    job: &'static str,
    ledger: &Ledger,
    names: &Names,
    scratch: &Scratch,
) -> Result<(), Error> {
    let (ledger, names, scratch) = (ledger.clone(), names.clone(), scratch.0.clone());
    engine.handler(job, move |context: Context| {
        let (ledger, names, scratch) = (ledger.clone(), names.clone(), scratch.clone());
        async move {
            let work = ledger.begin(
                context.run(),
                context.attempt(),
                name(&names, context.deployment()),
            );
            let parameters = context.parameters().clone().into();
            let answer = child::run(job, &parameters, context.attempt(), &scratch).await;
            work.end(if answer.is_ok() {
                Ending::Done
            } else {
                Ending::Failed
            });
            answer.map_err(RunError::new)
        }
    })?;
    Ok(())
}

fn name(names: &Names, deployment: Option<DeploymentId>) -> &str {
    deployment
        .and_then(|id| names.get(&id))
        .map_or("(no deployment)", String::as_str)
}

/// `count` runs over the deployments with the tag `ad-hoc`, their priorities mixed over all ten levels.
fn ad_hoc(file: &File, count: usize) -> Vec<NewRun> {
    let targets: Vec<_> = file
        .entries
        .iter()
        .filter(|entry| entry.tags.iter().any(|tag| tag == "ad-hoc"))
        .collect();
    let levels: Vec<Priority> = Priority::descending().collect();
    let pairs = targets.iter().cycle().take(count).enumerate();
    // Seven has no factor in common with ten, so every deployment meets every level.
    pairs
        .map(|(index, entry)| NewRun::of(&*entry.full_name()).priority(levels[index * 7 % 10]))
        .collect()
}

/// Everything that a host at work holds.
struct Host {
    engine: Engine,
    ledger: Ledger,
    names: Names,
    burst: Vec<NewRun>,
}

/// How far the host has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Schedules fire.
    Open,
    /// Schedules are paused; what waits is finished.
    Draining,
    /// Asked to stop at once.
    Stopping,
}

impl Host {
    async fn run(mut self, options: &Options) -> Result<bool, Trouble> {
        let runtime = self.engine.start()?;
        let mut display = Display::new(options.limit as usize);
        let start = now();
        let mut phase = Phase::Open;
        let mut reports = 1;
        // Kept from tick to tick, so that none is missed between two looks.
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        while phase != Phase::Stopping {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                heard = &mut interrupt => {
                    heard?;
                    interrupt.set(tokio::signal::ctrl_c());
                    phase = match phase {
                        Phase::Open => self.pause(&display, "interrupted: draining; once more stops at once")?,
                        Phase::Draining | Phase::Stopping => Phase::Stopping,
                    };
                }
            }
            let (elapsed, status) = (start.elapsed(), self.look());
            display.show(&self.view(elapsed, &status));
            if elapsed >= REPORT_EVERY * reports {
                display.print(&format!("status: {}", compact(&status)));
                reports += 1;
            }
            if elapsed >= BURST_AT && phase == Phase::Open {
                self.submit(&display)?;
            }
            if elapsed >= options.span && phase == Phase::Open {
                phase = self.pause(&display, "draining: schedules are paused, what waits is finished")?;
            }
            if phase == Phase::Draining
                && status.queued_tasks + status.processing_tasks + status.scheduled == 0
            {
                break;
            }
        }
        self.finish(runtime, &display, phase == Phase::Stopping).await
    }

    /// Submits the burst, the first time.
    fn submit(&mut self, display: &Display) -> Result<(), Error> {
        if self.burst.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.burst);
        let size = batch.len();
        for answer in self.engine.submit_batch(batch)? {
            self.ledger.accept(answer?.id);
        }
        display.print(&format!("submitted {size} ad-hoc runs at mixed priorities"));
        Ok(())
    }

    fn pause(&self, display: &Display, why: &str) -> Result<Phase, Error> {
        display.print(why);
        for id in self.names.keys() {
            self.engine.pause_deployment(*id)?;
        }
        Ok(Phase::Draining)
    }

    /// Takes a snapshot and checks it.
    fn look(&self) -> QueueStatus {
        let status = self.engine.snapshot();
        self.ledger.see(&Seen {
            queued: status.queued_tasks as u64,
            levels: levels(&status),
            processing: status.processing_tasks as u64,
            slots: status
                .concurrency
                .map(|slots| (u64::from(slots.used), u64::from(slots.max))),
        });
        status
    }

    fn view(&self, elapsed: Duration, status: &QueueStatus) -> View {
        let totals = status.totals;
        let failed = totals.failed + totals.crashed + totals.cancelled;
        View {
            elapsed,
            levels: levels(status),
            queued: status.queued_tasks as u64,
            processing: status.processing_tasks as u64,
            finished: totals.completed + failed,
            failed,
            running: self.ledger.running(),
        }
    }

    /// All runs that a filter in the reference's JSON form matches, page by page.
    fn runs(&self, filter: &Value) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        for number in 1.. {
            let body = json!({ "flow_runs": filter, "sort": "EXPECTED_START_TIME_ASC", "page": number, "limit": 200 });
            let query = Query::from_json(Entity::Run, Shape::Paginate, &body, &Limits::default())
                .map_err(|refusal| Error::Query(refusal.to_string()))?;
            let page = self.engine.runs(&query)?;
            runs.extend(page.results);
            if number >= page.pages {
                break;
            }
        }
        Ok(runs)
    }

    /// Stops, prints the last report and the table, and says whether everything was as promised.
    async fn finish(self, runtime: Runtime, display: &Display, stop: bool) -> Result<bool, Trouble> {
        let left = if stop {
            runtime.stop(Duration::ZERO).await
        } else {
            runtime.drain().await
        };
        display.close();
        let status = self.look();
        println!(
            "\nstatus at the end:\n{}",
            serde_json::to_string_pretty(&status).unwrap_or_default()
        );
        if stop {
            println!(
                "stopped: {} called off, {} left waiting",
                left.cancelled.len(),
                left.waiting
            );
        }

        let runs = self.runs(&json!({}))?;
        println!(
            "\n{}",
            runs.iter()
                .filter_map(|run| line(run, &self.names))
                .collect::<Table>()
        );
        let finals: Vec<Final> = runs.iter().map(last).collect();
        let (mut wrongs, checked) = self.ledger.close(&finals, !stop);
        let totals = status.totals;
        let counts = [
            ("COMPLETED", totals.completed),
            ("FAILED", totals.failed),
            ("CRASHED", totals.crashed),
        ];
        for (state, counted) in counts {
            let found = self
                .runs(&json!({ "state": { "type": { "any_": [state] } } }))?
                .len() as u64;
            if found != counted {
                wrongs.push(format!(
                    "the engine counts {counted} {state} runs, and its filter finds {found}"
                ));
            }
        }
        println!("checked: {checked}");
        for wrong in &wrongs {
            println!("WRONG: {wrong}");
        }
        if wrongs.is_empty() {
            println!("nothing was lost, doubled or over its limit");
        }
        Ok(wrongs.is_empty())
    }
}

fn levels(status: &QueueStatus) -> Vec<(u8, u64)> {
    let levels = status.priority_breakdown.iter();
    levels
        .map(|(priority, count)| (priority.level(), u64::from(count)))
        .collect()
}

fn compact(status: &QueueStatus) -> String {
    serde_json::to_string(status).unwrap_or_else(|error| format!("no report: {error}"))
}

fn last(run: &Run) -> Final {
    Final {
        run: run.id,
        state: run.state_type.map_or("(none)", |state| state.as_str()).to_owned(),
        ended: run.place == Place::Finished,
        planned: run.place == Place::Scheduled,
        attempts: run.run_count,
    }
}

/// The run's line in the table; none if it never started.
fn line(run: &Run, names: &Names) -> Option<Line> {
    let started = run.start_time?;
    Some(Line {
        deployment: name(names, run.deployment_id).to_owned(),
        state: run.state_type.map_or("(none)", |state| state.as_str()).to_owned(),
        attempts: run.run_count,
        wait: span(run.expected_start_time?, started),
        ran: run.total_run_time,
    })
}

fn span(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

/// A directory for this host and its jobs, gone when the host is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("taskhost-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the machine's to clean up.
        let _ = fs::remove_dir_all::<&Path>(&self.0);
    }
}
