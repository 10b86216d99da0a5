//! States, as clients propose them and as they are answered.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use tenfold::RunId;
use tenfold::engine::Answer;
use tenfold::model::{NewState, StateType, Text};

use super::forms::state_of;

/// A state that a client proposes. What it brings as data is its own result record, which the engine does not keep.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposed {
    #[serde(rename = "type")]
    pub kind: StateType,
    name: Option<Text>,
    message: Option<Text>,
    #[serde(default)]
    state_details: Details,
    #[serde(default)]
    #[expect(dead_code, reason = "read so that it may be there")]
    data: Value,
}

/// What the engine acts on of a state's details; the rest are the client's own notes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    scheduled_time: Option<DateTime<Utc>>,
    pause_timeout: Option<DateTime<Utc>>,
}

impl Proposed {
    /// When it is to start, for a SCHEDULED state of the future.
    pub fn later(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let at = self.state_details.scheduled_time?;
        (self.kind == StateType::Scheduled && now < at).then_some(at)
    }

    /// In the engine's words.
    pub fn state(self, now: DateTime<Utc>, force: bool) -> NewState {
        let mut state = NewState::of(self.kind);
        // The reference takes an empty name for none.
        if let Some(name) = self.name.filter(|name| !name.is_empty()) {
            state = state.name(name);
        }
        if let Some(message) = self.message {
            state = state.message(message);
        }
        if let Some(at) = self.state_details.scheduled_time {
            state = state.at(at);
        }
        if let Some(end) = self.state_details.pause_timeout {
            // One that is past ends the pause at once.
            let span = (end - now).to_std().unwrap_or(Duration::from_micros(1));
            state = state.timeout(span);
        }
        if force { state.force() } else { state }
    }
}

/// The engine's answer in the reference's words, and whether the run has the state that was proposed.
pub fn answered(run: RunId, answer: &Answer) -> (bool, Value) {
    let state = answer.state().map(|state| state_of(run, state, None));
    let (status, details) = match answer {
        Answer::Accepted { .. } => ("ACCEPT", json!({ "type": "accept_details" })),
        Answer::Rejected { reason, .. } => (
            "REJECT",
            json!({ "type": "reject_details", "reason": reason.as_str() }),
        ),
        Answer::Wait(span) => (
            "WAIT",
            json!({
                "type": "wait_details",
                "delay_seconds": span.as_secs() + u64::from(span.subsec_nanos() > 0),
                "reason": "it is not due yet",
            }),
        ),
        Answer::Aborted(reason) => (
            "ABORT",
            json!({ "type": "abort_details", "reason": reason.as_str() }),
        ),
        // The engine has four answers; a fifth would change nothing that is known here.
        _ => (
            "ABORT",
            json!({ "type": "abort_details", "reason": "not known here" }),
        ),
    };
    let answer = json!({ "state": state, "status": status, "details": details });
    (status == "ACCEPT", answer)
}
