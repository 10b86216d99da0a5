//! What is asked of limits at once: by name (a request), and resolved to keys (a demand).

use serde::{Deserialize, Serialize};

/// Limits that one request may name.
pub const REQUEST_LIMITS_MAX: usize = 8;
/// Limits that one demand may hold: those named, and the engine's own on top.
pub const DEMAND_LIMITS_MAX: usize = 12;

/// Where a limit stands in its [`Book`](super::Book): a dense index with a generation, so the key of a removed limit
/// finds nothing, never a stranger.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LimitKey {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl LimitKey {
    /// The index, dense and small, for tables beside the book. Reused after a limit is removed.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// So many slots of one limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ask {
    /// The limit.
    pub limit: LimitKey,
    /// How many of its slots; at least 1.
    pub weight: u32,
}

impl Ask {
    const NOTHING: Self = Self {
        limit: LimitKey {
            index: u32::MAX,
            generation: u32::MAX,
        },
        weight: 0,
    };
}

/// Up to [`DEMAND_LIMITS_MAX`] different limits with a weight of at least 1 each: what is taken in one step or not at
/// all (L3). Held inline; nothing is allocated.
///
/// # Invariants
///
/// * **D1** the first `len` asks name different limits, each with a weight of at least 1.
#[derive(Clone)]
pub struct Demand {
    asks: [Ask; DEMAND_LIMITS_MAX],
    len: u8,
}

/// A limit cannot join a demand; the demand is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// The weight is 0.
    #[error("a weight of 0 slots asks for nothing; use at least 1")]
    WeightZero,
    /// The limit is in the demand already.
    #[error("one demand names the same limit twice; add the weights instead")]
    Duplicate,
    /// The demand is full.
    #[error("one demand takes at most {DEMAND_LIMITS_MAX} limits")]
    TooMany,
}

impl Demand {
    /// A demand for nothing, which always fits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            asks: [Ask::NOTHING; DEMAND_LIMITS_MAX],
            len: 0,
        }
    }

    /// A demand of these asks, for instance from a compact copy kept elsewhere.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn of(asks: &[Ask]) -> Result<Self, DemandError> {
        let mut demand = Self::new();
        for &ask in asks {
            demand.push(ask)?;
        }
        Ok(demand)
    }

    /// Adds one limit.
    ///
    /// # Errors
    ///
    /// A weight of 0, a limit that is in it already, or one too many.
    pub fn push(&mut self, ask: Ask) -> Result<(), DemandError> {
        if ask.weight == 0 {
            return Err(DemandError::WeightZero);
        }
        if self.asks().iter().any(|other| other.limit == ask.limit) {
            return Err(DemandError::Duplicate);
        }
        let free = self
            .asks
            .get_mut(usize::from(self.len))
            .ok_or(DemandError::TooMany)?;
        *free = ask;
        self.len += 1; // D1
        Ok(())
    }

    /// The asks, in the order in which they were added. A refusal names the first that does not fit.
    #[must_use]
    pub fn asks(&self) -> &[Ask] {
        &self.asks[..usize::from(self.len)]
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.asks()).finish()
    }
}

impl PartialEq for Demand {
    fn eq(&self, other: &Self) -> bool {
        self.asks() == other.asks()
    }
}

impl Eq for Demand {}

/// What somebody asks for by name: up to [`REQUEST_LIMITS_MAX`] limits, each with a weight. Plain data; checked when a
/// book resolves it.
///
/// ```
/// use tenfold::limit::Request;
///
/// let request = Request::new().slot("database").slots("gpu-memory", 4);
/// assert_eq!(request.iter().count(), 2);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use]
pub struct Request {
    asks: Vec<(String, u32)>,
}

impl Request {
    /// Asks for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for one slot of a limit.
    pub fn slot(self, name: impl Into<String>) -> Self {
        self.slots(name, 1)
    }

    /// Asks for several slots of a limit.
    pub fn slots(mut self, name: impl Into<String>, weight: u32) -> Self {
        self.asks.push((name.into(), weight));
        self
    }

    /// The names and weights, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        self.asks.iter().map(|(name, weight)| (name.as_str(), *weight))
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// This request laid over another, name by name: what both name is asked for as here.
    pub(crate) fn over(&self, other: &Self) -> Self {
        let named = |name: &str| self.asks.iter().any(|(own, _)| own == name);
        let others = other.asks.iter().filter(|(name, _)| !named(name));
        Self {
            asks: others.chain(&self.asks).cloned().collect(),
        }
    }
}

/// A request can never be granted as it stands. It was not waited for and changed nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No limit and no template has this name.
    #[error("unknown limit {name:?}; define it, or a template that covers it")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The name is a template's own.
    #[error("{name:?} is a template; name one of its limits, with something in place of the *")]
    Template {
        /// The name.
        name: String,
    },
    /// The weight is 0.
    #[error("limit {name:?} is asked for 0 slots; use at least 1")]
    WeightZero {
        /// The name.
        name: String,
    },
    /// More slots are asked for than there are, so it could never be granted.
    #[error("limit {name:?} has {slots} slots, {weight} were asked for; ask for fewer or raise the limit")]
    AboveLimit {
        /// The name.
        name: String,
        /// The slots asked for.
        weight: u32,
        /// The slots there are.
        slots: u32,
    },
    /// A limit is named twice.
    #[error("limit {name:?} is named twice; name it once with the sum of the weights")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Too many limits are named.
    #[error("one request names at most {REQUEST_LIMITS_MAX} limits")]
    TooMany,
    /// A rate was asked of limits that do not decay.
    #[error("these limits have no slot decay and cannot limit a rate: {}", .names.join(", "))]
    NotARate {
        /// Their names, in the order of the request.
        names: Vec<String>,
    },
    /// A template would have made a limit, but the book is full.
    #[error("there are {limits} limits already, the most this book keeps; remove one or raise the maximum")]
    TooManyLimits {
        /// How many there are.
        limits: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(index: u32, weight: u32) -> Ask {
        Ask {
            limit: LimitKey { index, generation: 0 },
            weight,
        }
    }

    #[test]
    fn l3_a_demand_names_twelve_different_limits_at_most() {
        let mut demand = Demand::new();
        for index in 0..12 {
            demand.push(ask(index, 1)).unwrap();
        }
        let full = demand.clone();
        assert_eq!(demand.push(ask(3, 1)), Err(DemandError::Duplicate));
        assert_eq!(demand.push(ask(99, 0)), Err(DemandError::WeightZero));
        assert_eq!(demand.push(ask(99, 1)), Err(DemandError::TooMany));
        assert_eq!(demand, full);
        assert_eq!(Demand::of(full.asks()), Ok(full));
    }
}
