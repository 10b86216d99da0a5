//! The live side of the page: a look a second, kept for ten minutes, and a stream of changes to whoever looks.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tenfold::limit::OwnedPermit;
use tokio::time::{Interval, MissedTickBehavior};

use crate::answer::{Refusal, with_type};
use crate::host::{Caller, Host, Org};

/// Looks that are kept: ten minutes.
const KEPT: usize = 600;
/// How often a stream looks for a change.
const TICK: Duration = Duration::from_millis(250);
/// Ticks without news after which a stream says that it is still there.
const QUIET: u32 = 40;

/// How the engine stood at one second.
#[derive(Clone, Copy, Debug)]
struct Look {
    second: i64,
    queued: usize,
    processing: usize,
    /// Runs that have ended since the engine was made.
    done: u64,
}

impl Look {
    fn at(org: &Org) -> Self {
        let status = org.engine.snapshot();
        let totals = status.totals;
        Self {
            // A poisoned engine has no time; the looks then stand still.
            second: org.engine.now().map_or(0, |now| now.timestamp()),
            queued: status.queued_tasks,
            processing: status.processing_tasks,
            done: totals.completed + totals.failed + totals.crashed + totals.cancelled,
        }
    }

    fn json(self) -> Value {
        json!([self.second, self.queued, self.processing, self.done])
    }
}

/// The last ten minutes, a look a second.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Look>>);

impl History {
    fn push(&self, look: Look) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(look);
    }

    fn last(&self) -> Option<Look> {
        self.0.lock().back().copied()
    }

    fn json(&self) -> Value {
        self.0.lock().iter().map(|look| look.json()).collect()
    }
}

/// Looks at the engine once a second, until the organisation is gone.
pub async fn sample(org: Weak<Org>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        let Some(org) = org.upgrade() else { return };
        org.history.push(Look::at(&org));
    }
}

/// Who watches, and what they know already.
struct Watcher {
    org: Arc<Org>,
    ticks: Interval,
    version: Option<u64>,
    second: i64,
    quiet: u32,
    _seat: OwnedPermit,
}

impl Watcher {
    /// Waits for the next thing to tell.
    async fn next(&mut self) -> String {
        if self.version.is_none() {
            self.version = Some(0);
            let history = json!({ "organisation": self.org.name, "looks": self.org.history.json() });
            return event("history", &history);
        }
        loop {
            self.ticks.tick().await;
            let status = self.org.engine.snapshot();
            let look = self.org.history.last();
            let news = look.is_some_and(|look| look.second != self.second);
            if Some(status.version) == self.version && !news {
                self.quiet += 1;
                if self.quiet < QUIET {
                    continue;
                }
                self.quiet = 0;
                // A comment: nobody reads it, but a connection that is gone is noticed.
                return ": still here\n\n".to_owned();
            }
            self.quiet = 0;
            self.version = Some(status.version);
            self.second = look.map_or(0, |look| look.second);
            let totals = status.totals;
            let told = json!({
                "status": status,
                "version": status.version,
                "blocked": status.blocked,
                "scheduled": status.scheduled,
                "finished": status.finished,
                "totals": {
                    "accepted": totals.accepted,
                    "completed": totals.completed,
                    "failed": totals.failed + totals.crashed,
                    "cancelled": totals.cancelled,
                },
                "look": look.map(Look::json),
            });
            return event("status", &told);
        }
    }
}

fn event(name: &str, data: &Value) -> String {
    // JSON in one line; nothing in it can end the event.
    format!("event: {name}\ndata: {data}\n\n")
}

/// `GET /page/live`: server-sent events. `history` once, then `status` whenever something has changed and once a second.
///
/// # Errors
///
/// 429 when the organisation has too many pages open.
pub async fn stream(State(_): State<Host>, Caller(org): Caller) -> Result<Response, Refusal> {
    let seat = org.pages.try_acquire_owned(1).map_err(|_| {
        Refusal::later(
            "TOO_MANY_PAGES",
            "the organisation has too many live pages open; close one",
            Duration::from_secs(5),
        )
    })?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        org,
        ticks,
        version: None,
        second: 0,
        quiet: 0,
        _seat: seat,
    };
    // Asked for one event at a time: a client that does not read makes nothing pile up.
    let events = futures_util::stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await;
        Some((Ok::<_, std::convert::Infallible>(event), watcher))
    });
    Ok(with_type(
        StatusCode::OK,
        "text/event-stream",
        Body::from_stream(events),
    ))
}
