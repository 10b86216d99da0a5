//! What a named limit is: its name, its slots, whether it counts at all, and how fast its slots decay.

use serde::{Deserialize, Serialize};

use super::decay::Rate;

/// A name may have at most this many bytes.
pub const NAME_BYTES_MAX: usize = 1_024;

/// The definition of a limit, as plain data.
///
/// A name that ends in `*` defines a *template*: `tenant:*` caps every `tenant:…` on its own.
///
/// ```
/// use tenfold::limit::LimitSpec;
///
/// let database = LimitSpec::new("database", 8);
/// let api = LimitSpec::new("api", 10).decay(0.5); // a bucket of ten that drains one slot in two seconds
/// assert!(database.active && api.slot_decay_per_second > 0.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct LimitSpec {
    /// Unique among limits; 1 to [`NAME_BYTES_MAX`] bytes, none of `/ % & > <`.
    pub name: String,
    /// How many slots there are. 0 admits nothing.
    #[serde(rename = "limit")]
    pub slots: u32,
    /// An inactive limit admits everything (L7). Default: true.
    #[serde(default = "yes")]
    pub active: bool,
    /// Slots that drain away each second. Default: 0, a plain limit.
    ///
    /// A limit that decays is a bucket: what is taken pours in, and both time and giving back (a permit that is dropped, a
    /// run that ends, a decrement) drain it, never below empty. So a permit limits how many at once *and* how many per time.
    /// Who wants a rate alone takes without giving back: by [`increment`](super::Limits::increment) without a decrement.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::limit::{IncrementError, LimitSpec, Limits, Mode};
    ///
    /// // Ten calls, refilled at 0.5 a second.
    /// let limits = Limits::new();
    /// let now = Duration::ZERO;
    /// limits.define(LimitSpec::new("api", 10).decay(0.5), now)?;
    /// for _ in 0..10 {
    ///     limits.increment(&["api"], 1, Mode::RateLimit, now)?;
    /// }
    /// let Err(IncrementError::Busy { retry_after, .. }) = limits.increment(&["api"], 1, Mode::RateLimit, now) else {
    ///     panic!("the bucket is full");
    /// };
    /// assert_eq!(retry_after, Duration::from_secs(2));
    /// limits.increment(&["api"], 1, Mode::RateLimit, now + retry_after)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[serde(default)]
    pub slot_decay_per_second: f64,
}

fn yes() -> bool {
    true
}

impl LimitSpec {
    /// An active limit of `slots` slots without decay.
    pub fn new(name: impl Into<String>, slots: u32) -> Self {
        Self {
            name: name.into(),
            slots,
            active: true,
            slot_decay_per_second: 0.0,
        }
    }

    /// Sets how many slots drain away each second.
    pub fn decay(mut self, slots_per_second: f64) -> Self {
        self.slot_decay_per_second = slots_per_second;
        self
    }

    /// Makes the limit admit everything until it is activated.
    pub fn inactive(mut self) -> Self {
        self.active = false;
        self
    }
}

/// A limit was not made or changed; nothing happened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The name is empty.
    #[error("a limit needs a name of 1 to {NAME_BYTES_MAX} bytes")]
    NameEmpty,
    /// The name is too long.
    #[error("limit name has {bytes} bytes; use at most {NAME_BYTES_MAX}")]
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The name holds a character that names cannot hold.
    #[error("limit name {name:?} holds {found:?}; names hold none of / % & > <")]
    NameCharacter {
        /// The name.
        name: String,
        /// The first such character.
        found: char,
    },
    /// Another limit has this name.
    #[error("limit {name:?} exists already; change it, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A template cannot become a plain limit by renaming, nor the other way round.
    #[error(
        "renaming {from:?} to {to:?} would turn a template into a limit or back; define a new one instead"
    )]
    TemplateMismatch {
        /// The present name.
        from: String,
        /// The name asked for.
        to: String,
    },
    /// The decay is negative, not a number, or infinite.
    #[error(
        "slot decay {decay} is not a rate; use 0 for none, or a finite number of slots per second above 0"
    )]
    DecayNotARate {
        /// The number.
        decay: f64,
    },
    /// The decay is so slow that it would be lost in rounding.
    #[error(
        "slot decay {decay} per second is below {}; use 0 for none",
        Rate::MIN_PER_SECOND
    )]
    DecayTooSlow {
        /// The number.
        decay: f64,
    },
    /// The book is full.
    #[error("there are {limits} limits already, the most this book keeps; remove one or raise the maximum")]
    TooManyLimits {
        /// How many there are.
        limits: usize,
    },
    /// The key names no limit (any more).
    #[error("no such limit; it was removed or belongs to another book")]
    Gone,
}

/// Checks a limit's name.
pub(super) fn check_name(name: &str) -> Result<(), SpecError> {
    if name.is_empty() {
        return Err(SpecError::NameEmpty);
    }
    if NAME_BYTES_MAX < name.len() {
        return Err(SpecError::NameTooLong { bytes: name.len() });
    }
    match name.chars().find(|c| matches!(c, '/' | '%' | '&' | '>' | '<')) {
        Some(found) => Err(SpecError::NameCharacter {
            name: name.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// The part of a template's name before its `*`; `None` for a plain name. A bare `*` caps every name.
pub(super) fn template_prefix(name: &str) -> Option<&str> {
    name.strip_suffix('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_refused_with_its_reason() {
        assert_eq!(check_name(""), Err(SpecError::NameEmpty));
        assert_eq!(
            check_name(&"x".repeat(1_025)),
            Err(SpecError::NameTooLong { bytes: 1_025 })
        );
        for found in "/%&><".chars() {
            assert!(matches!(
                check_name(&format!("a{found}b")),
                Err(SpecError::NameCharacter { found: f, .. }) if f == found
            ));
        }
        assert_eq!(check_name("tag:größe"), Ok(()));
        assert_eq!(check_name(" "), Ok(()));
    }

    #[test]
    fn a_spec_reads_from_the_references_json() {
        let spec: LimitSpec = serde_json::from_str(r#"{"name":"db","limit":3}"#).unwrap();
        assert_eq!(spec, LimitSpec::new("db", 3));
        assert!(serde_json::from_str::<LimitSpec>(r#"{"name":"db","limit":-1}"#).is_err());
        assert!(serde_json::from_str::<LimitSpec>(r#"{"name":"db","limit":1,"lmit":2}"#).is_err());
    }
}
