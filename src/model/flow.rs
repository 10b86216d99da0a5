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

/// A flow to make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct NewFlow {
    pub(crate) name: Text,
    #[serde(default)]
    pub(crate) tags: Vec<Text>,
    #[serde(default)]
    pub(crate) labels: Object,
}

impl NewFlow {
    /// A flow of that name.
    pub fn named(name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a tag.
    pub fn tag(mut self, tag: impl Into<Text>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Labels: free keys and values. Runs of the flow have them too, under those of their deployment and their own.
    pub fn labels(mut self, labels: Object) -> Self {
        self.labels = labels;
        self
    }
}
