//! Reading single entities, and the check of everything.

use std::time::Duration;

use super::core::{Core, Work};
use super::error::Error;
use crate::catalog::{RunRow, instant};
use crate::ids::RunId;
use crate::limit::Request;
use crate::model::{Deployment, Object, Place, Run, RunPolicy, State, Text};

impl Core {
    pub(crate) fn deployment_by_name(&self, name: &str) -> Result<Deployment, Error> {
        let missing = || Error::NotFound {
            kind: "deployment",
            name: format!("{name:?}"),
            hint: "name it as `flow/deployment`, exactly as it was made",
        };
        let (flow, deployment) = name.split_once('/').ok_or_else(missing)?;
        let flow = *self.catalog.flow_names.get(flow).ok_or_else(missing)?;
        let row = self
            .catalog
            .deployment_names
            .get(&(flow, Text::from(deployment)))
            .ok_or_else(missing)?;
        Ok(self.deployment_form(*row))
    }

    /// The public form of a deployment that is there.
    pub(crate) fn deployment_form(&self, row: u32) -> Deployment {
        let held = self
            .catalog
            .deployments
            .get(row)
            .expect("the caller found the row");
        let queue = held.queue.and_then(|queue| self.catalog.queues.get(queue));
        self.polled
            .at(self.wall)
            .deployment(held, queue.map(|queue| &**queue))
    }

    pub(crate) fn read_run(&self, id: RunId) -> Result<Run, Error> {
        let row = self.find_run(id)?;
        let mut run = run_of(self.run(row));
        if let Some(Work::Line(spot)) = self.work.get(row as usize)
            && self.ready.is_blocked(*spot)
        {
            run.place = Place::Blocked;
        }
        Ok(run)
    }
}

/// The public form of a row.
pub(crate) fn run_of(row: &RunRow) -> Run {
    let body = &row.body;
    let own = body.own.as_deref();
    let state = row.state.map(|kind| State {
        kind,
        name: row.state_name(),
        timestamp: instant(row.state_at),
        message: row.said.message(),
    });
    Run {
        id: row.id,
        created: instant(row.created),
        updated: instant(row.updated),
        name: row.name.clone(),
        flow_id: body.flow_id,
        deployment_id: body.deployment_id,
        deployment_version: body.deployment_version.clone(),
        flow_version: body.flow_version.clone(),
        work_queue_id: body.queue_id,
        work_queue_name: body.queue_name.clone(),
        priority: row.priority,
        place: row.place,
        state_type: row.state,
        state_name: row.state.map(|_| row.state_name()),
        state,
        parameters: Object::clone(&body.parameters),
        tags: body.tags.iter().map(|tag| Text::from(&**tag)).collect(),
        labels: labels(row),
        context: own.map(|own| own.context.clone()).unwrap_or_default(),
        job_variables: own.map(|own| own.job_variables.clone()).unwrap_or_default(),
        idempotency_key: body.key.clone(),
        run_count: row.run_count,
        expected_start_time: row.expected_start.instant(),
        next_scheduled_start_time: row.next_start.instant(),
        start_time: row.start.instant(),
        end_time: row.end.instant(),
        total_run_time: Duration::from_micros(u64::try_from(row.total_run).unwrap_or(0)),
        auto_scheduled: body.auto_scheduled,
        created_by: body.created_by.clone(),
        parent_task_run_id: body.parent,
        empirical_policy: RunPolicy {
            retry: body.retry.clone(),
            timeout: body.timeout,
        },
        expires_at: body.expires.instant(),
        limits: (body.limits.as_deref()).map_or_else(Request::new, |limits| limits.request.clone()),
        result: row.result.as_deref().cloned(),
    }
}

/// A run's labels, with those that every run has: the ids of its flow and deployment, unless somebody gave the label another value.
fn labels(row: &RunRow) -> Object {
    let (body, mut labels) = (&row.body, Object::clone(&row.body.labels));
    if row.place != Place::Record {
        let mut add = |key: &str, id: String| {
            labels.entry(key).or_insert_with(|| id.into());
        };
        add("prefect.flow.id", body.flow_id.to_string());
        if let Some(deployment) = body.deployment_id {
            add("prefect.deployment.id", deployment.to_string());
        }
    }
    labels
}

/// Panics unless what is kept twice agrees. Linear in everything.
#[cfg(any(test, fuzzing))]
impl Core {
    pub(crate) fn check(&self) {
        self.ready.check();
        self.catalog.runs.check();
        let mut waiting = [0_u32; crate::priority::Priority::LEVELS];
        let (mut scheduled, mut held, mut finished) = (0, 0, 0);
        let (mut buffered, mut paused, mut holding) = (0, 0, 0);
        let mut queue_held = vec![0; self.queues.len()];
        for (row, run) in self.catalog.runs.iter() {
            match (&self.work[row as usize], run.place) {
                (Work::Later | Work::Retry(_), Place::Scheduled) => scheduled += 1,
                (Work::Line(spot), Place::Ready) => {
                    assert_eq!(self.ready.row(*spot), row, "a spot leads to another run");
                    waiting[run.priority.lane()] += 1;
                }
                (Work::Buffered, Place::Blocked) => {
                    buffered += 1;
                    waiting[run.priority.lane()] += 1;
                }
                (Work::Kept(kept), Place::Claimed) => {
                    held += 1;
                    queue_held[run.queue.expect("own runs have queues") as usize] += 1;
                    if let super::kept::Until::Claim(head) = kept.until {
                        holding += 1;
                        let queue = run.queue.expect("own runs have queues") as usize;
                        assert!(
                            self.queues[queue].holding.contains(&(head, row)),
                            "R1 broken: kept, and nobody finds it"
                        );
                    }
                }
                (Work::Claimed(_), Place::Claimed) => {
                    held += 1;
                    queue_held[run.queue.expect("own runs have queues") as usize] += 1;
                }
                (Work::Paused(_), Place::Paused) => paused += 1,
                (Work::None, Place::Finished) => finished += 1,
                (Work::None, Place::Record) => {}
                (work, place) => panic!("R1 broken: run {} is {place:?} and {work:?}", run.id),
            }
        }
        assert_eq!(waiting, self.waiting, "T1 broken: waiting by level");
        assert_eq!(
            waiting.iter().sum::<u32>() as usize,
            self.waiting_total,
            "T1 broken: waiting"
        );
        assert_eq!(buffered, self.buffered_total, "buffered runs miscounted");
        let waits = |run: &RunRow| {
            !matches!(run.place, Place::Claimed | Place::Finished | Place::Record) && run.run_count == 0
        };
        let expiries = (self.catalog.runs.iter())
            .filter(|(_, run)| waits(run))
            .filter_map(|(row, run)| Some((run.body.expires.micros()?, row)));
        assert_eq!(
            expiries.collect::<std::collections::BTreeSet<_>>(),
            self.expiries,
            "a run would not expire"
        );
        self.check_schedules();
        self.check_collisions();
        assert_eq!(scheduled, self.scheduled_total, "scheduled runs miscounted");
        assert_eq!(paused, self.paused_total, "paused runs miscounted");
        assert_eq!(holding, self.holding_total, "kept runs miscounted");
        let listed: usize = self.queues.iter().map(|queue| queue.holding.len()).sum();
        assert_eq!(listed, self.holding_total, "kept runs miscounted");
        assert_eq!(held, self.held, "L2 broken: engine slots");
        assert_eq!(finished, self.finished.len(), "finished runs miscounted");
        for (queue, work) in self.queues.iter().enumerate() {
            assert_eq!(queue_held[queue], work.held, "L2 broken: slots of queue {queue}");
        }
        self.check_limits_kept();
        self.outbox.check_invariants(self.settings.deliveries);
    }
}
