//! Something to look at: deployments with schedules, and tasks that come in waves.

use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use tenfold::{Error, NewDeployment, NewRun, Priority, Retry, Schedule};

use crate::host::Org;
use crate::work::{FLOW, POOL, QUEUE};

/// Deploys, and lets tasks come from then on.
///
/// # Errors
///
/// What the engine refuses.
pub fn start(org: &Arc<Org>) -> Result<(), Error> {
    let every = |seconds: i64, offset: i64| {
        let anchor = DateTime::UNIX_EPOCH + TimeDelta::seconds(offset);
        Schedule::interval(TimeDelta::seconds(seconds), anchor, "UTC")
    };
    let deployments = [
        ("heartbeat", 9, every(15, 0)?, json!({ "seconds": 0.4 }), "sleep"),
        (
            "thumbnails",
            5,
            every(40, 5)?,
            json!({ "text": "thumbnails", "rounds": 300_000 }),
            "hash",
        ),
        (
            "ledger",
            7,
            Schedule::cron("* * * * *", "Europe/Berlin")?,
            json!({ "seconds": 2 }),
            "sleep",
        ),
        (
            "flaky-import",
            3,
            every(90, 20)?,
            json!({ "message": "the other side hung up" }),
            "fail",
        ),
    ];
    for (name, level, schedule, payload, kind) in deployments {
        let mut new = NewDeployment::new(FLOW, name)
            .work_queue(POOL, QUEUE)
            .priority(Priority::new(level)?)
            .tag("demo")
            .parameters(
                [
                    ("taskType".to_owned(), json!(kind)),
                    ("payload".to_owned(), payload),
                ]
                .into_iter()
                .collect(),
            )
            .schedule(schedule);
        if name == "ledger" {
            new = new.concurrency_limit(NonZeroU32::MIN);
        }
        if name == "flaky-import" {
            new = new.retry(Retry::fixed(2, Duration::from_secs(5)));
        }
        org.engine.deploy(new)?;
    }
    tokio::spawn(waves(Arc::downgrade(org)));
    Ok(())
}

/// More tasks than there are slots, then fewer, and again: each wave takes forty seconds.
async fn waves(org: Weak<Org>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    // A small generator of its own: the same demo every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for tick in 0_u64.. {
        ticks.tick().await;
        let Some(org) = org.upgrade() else { return };
        let high = tick % 80 < 30;
        for _ in 0..if high { 8 } else { 2 } {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let [draw, level, ..] = (state >> 32).to_be_bytes()[4..] else {
                continue;
            };
            let (kind, payload): (&str, Value) = match draw {
                0..=159 => ("sleep", json!({ "seconds": f64::from(draw) / 160.0 + 0.1 })),
                160..=245 => ("hash", json!({ "text": format!("{tick}"), "rounds": 20_000 })),
                _ => ("fail", json!({ "message": "asked to fail, for the demo" })),
            };
            // Mostly little urgent.
            let level = 1 + (level % 10).min(level / 26 % 10);
            let run = NewRun::of(FLOW)
                .work_queue(POOL, QUEUE)
                .priority(Priority::new(level).unwrap_or_default())
                .tag(kind)
                .parameter("taskType", kind)
                .parameter("payload", payload);
            if org.engine.submit(run).is_err() {
                // Full, or stopping: the next wave may have more luck.
                break;
            }
        }
    }
}
