//! What follows a failed attempt.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most retries of a run.
pub const MAX_RETRIES: u32 = 10_000;
/// Most delays in a list of them, as in the reference.
pub const MAX_DELAYS: usize = 50;
/// Most jitter, in percent of a delay.
const MAX_JITTER: u32 = 1_000;

/// When a failed attempt is tried again. Cheap to clone.
///
/// ```
/// use std::time::Duration;
/// use tenfold::Retry;
///
/// let second = Duration::from_secs(1);
/// let retry = Retry::exponential(5, second, 10 * second).jitter(20).within(60 * second);
/// assert_eq!(retry.delay_after(1), second);
/// assert_eq!(retry.delay_after(4), 8 * second);
/// assert_eq!(retry.delay_after(5), 10 * second);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// How often a run is tried again after its first attempt failed. At most 10,000.
    pub retries: u32,
    /// How long after the failure, in engine (monotonic) time: the first delay, where they grow.
    #[serde(with = "super::run::seconds")]
    pub delay: Duration,
    /// What goes beyond that; one word while nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more: Option<Arc<More>>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct More {
    #[serde(default)]
    backoff: Backoff,
    /// Percent of a delay that chance may add to it.
    #[serde(default)]
    jitter: u32,
    #[serde(default, with = "super::run::maybe_seconds")]
    within: Option<Duration>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keeps_slots: bool,
}

/// How the delays of a run's retries follow each other.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Backoff {
    /// Each is the first.
    #[default]
    Fixed,
    /// Each is twice the one before, up to this.
    Exponential(#[serde(with = "super::run::seconds")] Duration),
    /// These, one by one; the last for all that follow.
    List(Vec<Duration>),
}

impl Retry {
    /// `retries` more attempts, each `delay` after the failure before it.
    #[must_use]
    pub const fn fixed(retries: u32, delay: Duration) -> Self {
        Self {
            retries,
            delay,
            more: None,
        }
    }

    /// `retries` more attempts, the first `delay` after the failure, each later one after twice the time before it, and never
    /// after more than `most`.
    #[must_use]
    pub fn exponential(retries: u32, delay: Duration, most: Duration) -> Self {
        let mut retry = Self::fixed(retries, delay);
        retry.more_mut().backoff = Backoff::Exponential(most);
        retry
    }

    /// `retries` more attempts after these delays, one by one, and the last of them for all that follow. 1 to 50.
    #[must_use]
    pub fn list(retries: u32, delays: impl IntoIterator<Item = Duration>) -> Self {
        // One more than may be is enough to be refused.
        let delays: Vec<Duration> = delays.into_iter().take(MAX_DELAYS + 1).collect();
        let mut retry = Self::fixed(retries, delays.first().copied().unwrap_or_default());
        retry.more_mut().backoff = Backoff::List(delays);
        retry
    }

    /// Chance adds up to this many percent to each delay, from the engine's seeded generator. At most 1,000.
    #[must_use]
    pub fn jitter(mut self, percent: u32) -> Self {
        self.more_mut().jitter = percent;
        self
    }

    /// Longest time from the first start to the end, attempts and delays together: an attempt is over its time then, and one
    /// that could start only after it is not waited for. In engine (monotonic) time.
    #[must_use]
    pub fn within(mut self, span: Duration) -> Self {
        self.more_mut().within = Some(span);
        self
    }

    /// From the failure until it is tried again the run keeps all its slots: those of the engine, its pool and queue, its deployment
    /// and the limits that it names. It stays claimed and counts as being processed, so nobody takes its place; and since
    /// its slots are there, no full limit keeps it waiting when its delay is over. Without this it gives them up and waits for them in
    /// line.
    #[must_use]
    pub fn keep_slots(mut self) -> Self {
        self.more_mut().keeps_slots = true;
        self
    }

    fn more_mut(&mut self) -> &mut More {
        Arc::make_mut(self.more.get_or_insert_default())
    }

    /// How the delays follow each other.
    #[must_use]
    pub fn backoff(&self) -> &Backoff {
        self.more.as_ref().map_or(&Backoff::Fixed, |more| &more.backoff)
    }

    /// Percent of a delay that chance may add.
    #[must_use]
    pub fn jitter_percent(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.jitter)
    }

    /// Longest time from the first start to the end.
    #[must_use]
    pub fn time_in_all(&self) -> Option<Duration> {
        self.more.as_ref()?.within
    }

    /// Whether the run keeps its slots until it is tried again.
    #[must_use]
    pub fn keeps_slots(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.keeps_slots)
    }

    /// The delay after the failure of this attempt, from 1, without jitter.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Duration {
        let before = attempt.saturating_sub(1);
        match self.backoff() {
            Backoff::Fixed => self.delay,
            Backoff::Exponential(most) => {
                let factor = 1_u32.checked_shl(before).filter(|_| before < 32);
                let delay = factor.and_then(|factor| self.delay.checked_mul(factor));
                delay.map_or(*most, |delay| delay.min(*most))
            }
            Backoff::List(delays) => {
                let at = (before as usize).min(delays.len().saturating_sub(1));
                delays.get(at).copied().unwrap_or_default()
            }
        }
    }

    /// The first rule that this breaks: the field, its value, what it takes.
    pub(crate) fn problem(&self, longest: Duration) -> Option<(&'static str, String, &'static str)> {
        if self.retries > MAX_RETRIES {
            return Some(("retries", self.retries.to_string(), "give at most 10,000"));
        }
        let no_delays: &[Duration] = &[];
        let listed = match self.backoff() {
            Backoff::List(delays) if !(1..=MAX_DELAYS).contains(&delays.len()) => {
                let value = if delays.is_empty() {
                    "no delays"
                } else {
                    "more than 50 delays"
                };
                return Some(("retry_delay", value.to_owned(), "give 1 to 50 delays"));
            }
            Backoff::List(delays) => delays,
            Backoff::Exponential(most) => std::slice::from_ref(most),
            Backoff::Fixed => no_delays,
        };
        if let Some(long) = listed.iter().chain([&self.delay]).find(|delay| **delay > longest) {
            return Some(("retry_delay", format!("{long:?}"), "give at most 100 years"));
        }
        if self.jitter_percent() > MAX_JITTER {
            return Some((
                "retry_jitter",
                format!("{} percent", self.jitter_percent()),
                "give at most 1,000 percent",
            ));
        }
        match self.time_in_all() {
            Some(span) if span.as_micros() == 0 || span > longest => Some((
                "retry_within",
                format!("{span:?}"),
                "give one microsecond to 100 years, or none",
            )),
            _ => None,
        }
    }
}
