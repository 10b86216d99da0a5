//! The states of a run: the reference's types and names.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Text;

/// The kind of a state. The kind drives what the engine does; a state's *name* says more to people.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum StateType {
    /// Accepted, not yet handed to a worker.
    Scheduled,
    /// Claimed by a worker that has not begun.
    Pending,
    /// Executing.
    Running,
    /// Stopped in the middle; waits to be resumed.
    Paused,
    /// Asked to stop; holds its slots until its handler has ended.
    Cancelling,
    /// Ended well.
    Completed,
    /// Ended with an error of its own.
    Failed,
    /// Ended by something outside it: a panic, a lost worker.
    Crashed,
    /// Ended by request.
    Cancelled,
}

impl StateType {
    /// True for the four states that end a run: nothing follows them.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Crashed | Self::Cancelled
        )
    }

    /// The name of this type in the reference's JSON, such as `SCHEDULED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Cancelling => "CANCELLING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Crashed => "CRASHED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The default name of a state of this type, such as `Scheduled`.
    #[must_use]
    pub const fn default_name(self) -> Text {
        Text::of(match self {
            Self::Scheduled => "Scheduled",
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Cancelling => "Cancelling",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Crashed => "Crashed",
            Self::Cancelled => "Cancelled",
        })
    }
}

impl std::fmt::Display for StateType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One state of a run, with the instant at which it was entered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The kind of state.
    #[serde(rename = "type")]
    pub kind: StateType,
    /// The name people see; the default is that of the kind.
    pub name: Text,
    /// When it was entered, in engine time.
    pub timestamp: DateTime<Utc>,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
}
