//! Flows: named kinds of work.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Object, Text};
use crate::ids::FlowId;

/// A named kind of work. Made when it is first named; its name is unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Names the flow.
    pub id: FlowId,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// Unique name.
    pub name: Text,
    /// Free words to find it by.
    #[serde(default)]
    pub tags: Vec<Text>,
    /// Free keys and values.
    #[serde(default)]
    pub labels: Object,
}
