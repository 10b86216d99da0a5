//! What a host writes for itself: a heap, a map of records and a counter, under one lock.
//!
//! It keeps the order (level, then first in first out), a record of each run with its states and times, one limit,
//! and the last so many finished records. It has no deployments, no limits besides its one, no tickets (nothing can be
//! taken out of the heap), no schedules, no retries, no views and no versions.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::Value;
use tenfold::Priority;
use uuid::Uuid;

/// How many finished records are kept, as an engine does unless told otherwise.
const FINISHED: usize = 100_000;

/// The states that a run of the glue goes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Scheduled,
    Pending,
    Running,
    Completed,
}

/// What is kept of a run.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "a host reads them; the bench only has them kept")]
pub struct Record {
    pub name: String,
    pub flow: String,
    pub priority: Priority,
    pub state: State,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
    pub started: Option<DateTime<Utc>>,
    pub ended: Option<DateTime<Utc>>,
    pub attempts: u32,
    pub parameters: HashMap<String, Value>,
    pub result: Option<Value>,
}

/// How the glue stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    pub waiting: [u32; Priority::LEVELS],
    pub queued: usize,
    pub processing: u32,
    pub finished: usize,
}

#[derive(Debug)]
struct Inner {
    heap: BinaryHeap<(Priority, Reverse<u64>, Uuid)>,
    records: HashMap<Uuid, Record>,
    finished: VecDeque<Uuid>,
    waiting: [u32; Priority::LEVELS],
    running: u32,
    limit: u32,
    sequence: u64,
}

/// The whole of it.
#[derive(Debug)]
pub struct Glue(Mutex<Inner>);

#[expect(
    clippy::disallowed_methods,
    reason = "a host's own code reads the machine's clock"
)]
fn wall() -> DateTime<Utc> {
    Utc::now()
}

fn lane(priority: Priority) -> usize {
    usize::from(priority.level()) - 1
}

impl Glue {
    pub fn new(limit: u32) -> Self {
        Self(Mutex::new(Inner {
            heap: BinaryHeap::new(),
            records: HashMap::new(),
            finished: VecDeque::new(),
            waiting: [0; Priority::LEVELS],
            running: 0,
            limit,
            sequence: 0,
        }))
    }

    pub fn submit(&self, flow: &str, priority: Priority) -> Uuid {
        let (id, at) = (Uuid::new_v4(), wall());
        let record = Record {
            name: String::from("amber-acorn"),
            flow: flow.to_owned(),
            priority,
            state: State::Scheduled,
            created: at,
            updated: at,
            started: None,
            ended: None,
            attempts: 0,
            parameters: HashMap::new(),
            result: None,
        };
        let mut inner = self.0.lock();
        inner.sequence += 1;
        let sequence = inner.sequence;
        inner.records.insert(id, record);
        inner.heap.push((priority, Reverse(sequence), id));
        inner.waiting[lane(priority)] += 1;
        id
    }

    pub fn claim(&self) -> Option<Uuid> {
        let at = wall();
        let mut inner = self.0.lock();
        if inner.running >= inner.limit {
            return None;
        }
        let (priority, _, id) = inner.heap.pop()?;
        inner.waiting[lane(priority)] -= 1;
        inner.running += 1;
        let record = inner.records.get_mut(&id)?;
        record.state = State::Pending;
        record.updated = at;
        record.attempts += 1;
        Some(id)
    }

    pub fn begin(&self, id: Uuid) -> bool {
        let at = wall();
        let mut inner = self.0.lock();
        let Some(record) = inner.records.get_mut(&id) else {
            return false;
        };
        record.state = State::Running;
        record.updated = at;
        record.started = Some(at);
        true
    }

    pub fn complete(&self, id: Uuid, result: Value) -> bool {
        let at = wall();
        let mut inner = self.0.lock();
        let Some(record) = inner.records.get_mut(&id) else {
            return false;
        };
        record.state = State::Completed;
        record.updated = at;
        record.ended = Some(at);
        record.result = Some(result);
        inner.running -= 1;
        inner.finished.push_back(id);
        if inner.finished.len() > FINISHED
            && let Some(oldest) = inner.finished.pop_front()
        {
            inner.records.remove(&oldest);
        }
        true
    }

    pub fn status(&self) -> Status {
        let inner = self.0.lock();
        Status {
            waiting: inner.waiting,
            queued: inner.heap.len(),
            processing: inner.running,
            finished: inner.finished.len(),
        }
    }
}
