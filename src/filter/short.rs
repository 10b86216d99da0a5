//! The same calls within the default [`Limits`], for whoever has no others.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::build::{Condition, Row};
use super::field::Entity;
use super::json::{Refusal, Shape};
use super::limits::{Invalid, Limits};
use super::query::{Query, QueryError, Start};
use super::{Filter, TextError};

impl Filter {
    /// [`Filter::parse`] within the default limits.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// ```
    /// use tenfold::Engine;
    /// use tenfold::filter::{Entity, Filter, Query};
    ///
    /// let engine = Engine::new();
    /// let text = r#"tags has_all ["etl"] and not paused"#;
    /// let query = Query::new(Filter::of_text(Entity::Deployment, text, engine.now()?)?);
    /// assert_eq!(engine.count(&query)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_text(entity: Entity, text: &str, now: DateTime<Utc>) -> Result<Self, TextError> {
        Self::parse(entity, text, now, &Limits::default())
    }

    /// [`Filter::from_json`] within the default limits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn of_json(entity: Entity, body: &Value) -> Result<Self, Refusal> {
        Self::from_json(entity, body, &Limits::default())
    }
}

impl Query {
    /// [`Query::from_json`] within the default limits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn of_json(entity: Entity, shape: Shape, body: &Value) -> Result<Self, Refusal> {
        Self::from_json(entity, shape, body, &Limits::default())
    }

    /// [`Query::window`] within the default limits: at most 200 rows from `start` on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rows(self, start: Start, limit: u32) -> Result<Self, QueryError> {
        self.window(start, limit, &Limits::default())
    }
}

/// Compiles it within the default limits.
impl<E: Row> TryFrom<Condition<E>> for Filter {
    type Error = Invalid;

    fn try_from(condition: Condition<E>) -> Result<Self, Invalid> {
        condition.filter(&Limits::default())
    }
}

/// The first page of the rows that pass, within the default limits.
///
/// ```
/// use tenfold::filter::Query;
/// use tenfold::filter::build::deployment;
/// use tenfold::{Engine, NewDeployment};
///
/// let engine = Engine::new();
/// engine.deploy(NewDeployment::new("report", "nightly").tag("etl"))?;
/// let query = Query::try_from(deployment::tags().has("etl"))?;
/// assert_eq!(engine.deployments(&query)?.count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<E: Row> TryFrom<Condition<E>> for Query {
    type Error = Invalid;

    fn try_from(condition: Condition<E>) -> Result<Self, Invalid> {
        Filter::try_from(condition).map(Self::new)
    }
}
