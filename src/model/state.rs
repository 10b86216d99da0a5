//! The states of a run: the reference's types and names.

use std::time::Duration;

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

/// The word of filters.
impl From<StateType> for crate::filter::StateType {
    #[inline]
    fn from(kind: StateType) -> Self {
        match kind {
            StateType::Scheduled => Self::Scheduled,
            StateType::Pending => Self::Pending,
            StateType::Running => Self::Running,
            StateType::Paused => Self::Paused,
            StateType::Cancelling => Self::Cancelling,
            StateType::Completed => Self::Completed,
            StateType::Failed => Self::Failed,
            StateType::Crashed => Self::Crashed,
            StateType::Cancelled => Self::Cancelled,
        }
    }
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
        Text::of(self.default_str())
    }

    pub(crate) const fn default_str(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Cancelling => "Cancelling",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Crashed => "Crashed",
            Self::Cancelled => "Cancelled",
        }
    }
}

impl std::fmt::Display for StateType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state that somebody wants a run to have.
///
/// ```
/// use tenfold::model::{NewState, StateType};
///
/// let plain: NewState = StateType::Completed.into();
/// let said = NewState::of(StateType::Failed).message("the disk is full").force();
/// # let _ = (plain, said);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct NewState {
    pub(crate) kind: StateType,
    pub(crate) name: Option<Text>,
    pub(crate) message: Option<Text>,
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) force: bool,
}

impl NewState {
    /// A state of this kind, under its default name.
    pub fn of(kind: StateType) -> Self {
        Self {
            kind,
            name: None,
            message: None,
            at: None,
            timeout: None,
            force: false,
        }
    }

    /// What people call the state. Default: the kind's own; "Resuming" for a paused run that is scheduled again.
    pub fn name(mut self, name: impl Into<Text>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Why. One over 10,000 bytes is shortened.
    pub fn message(mut self, message: impl Into<Text>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// When a SCHEDULED run is due; one that is past means now, and either is a new place in line. Default: where it stands,
    /// and now for one that stands nowhere. Other kinds do not look at it.
    pub fn at(mut self, instant: DateTime<Utc>) -> Self {
        self.at = Some(instant);
        self
    }

    /// How long a PAUSED run waits to be resumed before it is FAILED. Default: for ever. Other kinds do not look at it.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Skips the rules of transition. Limits, fencing and the end of a run stand.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }
}

impl From<StateType> for NewState {
    fn from(kind: StateType) -> Self {
        Self::of(kind)
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

#[cfg(test)]
mod tests {
    use super::StateType;
    use crate::filter::STATE_TYPES;

    #[test]
    fn each_type_is_its_word_in_filters() {
        for word in STATE_TYPES {
            let kind: StateType = serde_json::from_value(word.into()).expect("a word is a type");
            assert_eq!(
                (kind.as_str(), crate::filter::StateType::from(kind).name()),
                (word, word)
            );
        }
    }
}
