//! The reference's way to count: increment and decrement by name, with or without a lease, and a hint when to retry.
//!
//! It differs from [`Book::take`] where the reference does: unknown names are passed over (and told), a name given twice
//! counts once, inactive limits count nothing, and slots without a lease have no holder, so nobody but a decrement gives them
//! back. A decrement never takes away what a holder holds.

use std::time::Duration;

use super::book::Book;
use super::demand::{Ask, Demand, LimitKey, REQUEST_LIMITS_MAX, RequestError};
use super::lease::{LeaseError, LeaseHolder, LeaseId, check_duration};
use super::templates::Named;

/// Seconds that a slot is held on average, before anybody has told.
pub(super) const OCCUPANCY_DEFAULT: f64 = 2.0;
/// The longest hint, for limits named `tag:…`.
const TAG_WAIT_MAX: f64 = 10.0;
/// The longest hint for other plain limits.
const WAIT_MAX: f64 = 30.0;

/// What an increment is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// So many at once; given back by a decrement or a lease's end. Decaying limits may be named too.
    #[default]
    Concurrency,
    /// So many per time: every active limit named must decay.
    RateLimit,
}

/// An increment that was granted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Incremented {
    /// The limits found, inactive ones included, in the order named.
    pub limits: Vec<LimitKey>,
    /// Names for which there is no limit. The reference passes over them in silence.
    pub unknown: Vec<String>,
}

/// Nothing was incremented.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IncrementError {
    /// It could never be granted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The lease's duration is out of range.
    #[error(transparent)]
    Lease(LeaseError),
    /// A limit has no room now.
    #[error("limit {name:?} has no room; retry after about {} s", .retry_after.as_secs_f64())]
    Busy {
        /// The first such limit.
        name: String,
        /// When to try again: for decaying limits the exact time at which the slots will be there, for plain ones an
        /// estimate from the average occupancy, the longest of all that are full.
        retry_after: Duration,
    },
}

impl Book {
    /// Takes `slots` of each limit named, all or nothing, without a holder.
    ///
    /// # Errors
    ///
    /// [`IncrementError`]; then nothing is changed.
    pub fn increment<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        slots: u32,
        mode: Mode,
        now: Duration,
    ) -> Result<Incremented, IncrementError> {
        let (demand, incremented) = self.counted(names, slots, mode, now)?;
        let granted = self.check_counted(&demand, now);
        if granted.is_ok() {
            self.revision += 1;
            for ask in demand.asks() {
                let limit = &mut self.limits[ask.limit.index()];
                if let Some(rate) = limit.rate {
                    limit.bucket.pour(rate, ask.weight, now);
                } else {
                    limit.anonymous += u64::from(ask.weight);
                    limit.held += u64::from(ask.weight); // B1
                }
            }
        }
        self.collect_all(&incremented.limits, now);
        granted.map(|()| incremented)
    }

    /// Takes `slots` of each limit named, all or nothing, for `duration`.
    ///
    /// A lease over no limits is a lease too.
    ///
    /// # Errors
    ///
    /// [`IncrementError`]; then nothing is changed.
    pub fn increment_with_lease<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        slots: u32,
        mode: Mode,
        duration: Duration,
        holder: Option<LeaseHolder>,
        now: Duration,
    ) -> Result<(LeaseId, Incremented), IncrementError> {
        check_duration(duration).map_err(IncrementError::Lease)?;
        let (demand, incremented) = self.counted(names, slots, mode, now)?;
        let granted = self.check_counted(&demand, now).and_then(|()| {
            self.lease(&demand, duration, holder, now)
                .map_err(IncrementError::Lease)
        });
        self.collect_all(&incremented.limits, now);
        granted.map(|id| (id, incremented))
    }

    /// Gives back `slots` of each limit named, as far as they were incremented without a lease; decaying limits are drained by
    /// as much. Unknown names are passed over.
    ///
    /// `occupancy` is how long they were held, all together, as the reference has it; it goes into the averages.
    ///
    /// Returns the limits that have more room than before.
    pub fn decrement<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        slots: u32,
        occupancy: Option<Duration>,
        now: Duration,
    ) -> Vec<LimitKey> {
        let mut opened: Vec<LimitKey> = Vec::new();
        let mut seen: Vec<LimitKey> = Vec::new();
        for name in names {
            let Some(key) = self.find(name).filter(|key| !seen.contains(key)) else {
                continue;
            };
            seen.push(key);
            self.revision += 1;
            let limit = &mut self.limits[key.index()];
            let before = limit.room(now);
            if let Some(rate) = limit.rate {
                limit.bucket.drain(rate, slots, now);
            } else {
                let given = limit.anonymous.min(u64::from(slots));
                limit.anonymous -= given;
                limit.held -= given; // B1
            }
            if before < limit.room(now) {
                opened.push(key);
            }
            if let Some(occupancy) = occupancy {
                self.observe(key, occupancy, slots);
            }
            self.collect(key, now);
        }
        opened
    }

    /// Slots of a plain limit that were incremented without a lease and not decremented.
    #[must_use]
    pub fn anonymous(&self, limit: LimitKey) -> u64 {
        self.get(limit).map_or(0, |limit| limit.anonymous)
    }

    /// How long to wait before trying a demand again: the longest over its limits without room; zero if it fits.
    ///
    /// For a decaying limit this is exact. For a plain one it is the mean the reference uses, `min(average occupancy ·
    /// slots / limit, cap)`, with a cap of 30 s (10 s for names that begin with `tag:`), which is also the answer when the
    /// slots can never be there. The same question always has the same answer; [`jittered`] spreads it.
    #[must_use]
    pub fn retry_hint(&self, demand: &Demand, now: Duration) -> Duration {
        let hint = |ask: &Ask| {
            let limit = self.get(ask.limit)?;
            if limit.fits(ask.weight, now) {
                return None;
            }
            let cap = if limit.name.starts_with("tag:") {
                TAG_WAIT_MAX
            } else {
                WAIT_MAX
            };
            Some(limit.fits_in(ask.weight, now).unwrap_or_else(|| {
                if limit.rate.is_some() || limit.slots < ask.weight {
                    return Duration::from_secs_f64(cap);
                }
                let blocking = f64::from(ask.weight) / f64::from(limit.slots);
                Duration::from_secs_f64((limit.occupancy.min(cap) * blocking).min(cap))
            }))
        };
        demand.asks().iter().filter_map(hint).max().unwrap_or_default()
    }

    /// Moves a limit's average by one observation, as the reference does.
    pub(super) fn observe(&mut self, key: LimitKey, occupancy: Duration, slots: u32) {
        if occupancy.is_zero() || slots == 0 {
            return;
        }
        self.revision += 1;
        if let Some(limit) = self.get_mut(key)
            && 0 < limit.slots
        {
            let each = (occupancy.as_secs_f64() / f64::from(slots)).max(0.1);
            limit.occupancy += (each - limit.occupancy) / (2.0 * f64::from(limit.slots));
        }
    }

    /// The demand for the active limits among those named, and all that were found.
    fn counted<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        slots: u32,
        mode: Mode,
        now: Duration,
    ) -> Result<(Demand, Incremented), IncrementError> {
        self.make_way(now);
        let mut found: Vec<(&str, Named)> = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        let mut not_rates = Vec::new();
        for name in names {
            if found.iter().any(|(other, _)| *other == name) {
                continue;
            }
            if slots == 0 {
                return Err(RequestError::WeightZero {
                    name: name.to_owned(),
                }
                .into());
            }
            let Some(meant) = self.named(name)? else {
                if !unknown.iter().any(|other| other == name) {
                    unknown.push(name.to_owned());
                }
                continue;
            };
            if found.len() == REQUEST_LIMITS_MAX {
                return Err(RequestError::TooMany.into());
            }
            self.check_weight(name, &meant, slots)?;
            let (Named::Limit(key) | Named::Made { by: key }) = meant;
            let limit = &self.limits[key.index()];
            if mode == Mode::RateLimit && limit.active && limit.rate.is_none() {
                not_rates.push(name.to_owned());
            }
            found.push((name, meant));
        }
        if !not_rates.is_empty() {
            return Err(RequestError::NotARate { names: not_rates }.into());
        }
        let new = found
            .iter()
            .filter(|(_, named)| matches!(named, Named::Made { .. }));
        self.check_places(new.count())?;
        let mut demand = Demand::new();
        let mut limits = Vec::with_capacity(found.len());
        for (name, named) in found {
            let limit = self.make(name, &named, now);
            limits.push(limit);
            if self.limits[limit.index()].active {
                demand
                    .push(Ask { limit, weight: slots })
                    .expect("eight different limits, each with a weight");
            }
        }
        Ok((demand, Incremented { limits, unknown }))
    }

    fn check_counted(&self, demand: &Demand, now: Duration) -> Result<(), IncrementError> {
        self.check(demand, now).map_err(|refused| IncrementError::Busy {
            name: self
                .name(refused.limit)
                .map(ToString::to_string)
                .unwrap_or_default(),
            retry_after: self.retry_hint(demand, now),
        })
    }

    fn collect_all(&mut self, limits: &[LimitKey], now: Duration) {
        for &limit in limits {
            self.collect(limit, now);
        }
    }
}

/// Spreads a mean wait as the reference does: an exponential variate clamped to 0.7518 to 1.3 times the mean, so that
/// those refused together do not come back together. `unit` is a random number, 0 up to 1; anything else is clamped.
#[must_use]
pub fn jittered(mean: Duration, unit: f64) -> Duration {
    let unit = if unit.is_nan() { 0.5 } else { unit.clamp(0.0, 1.0) };
    // The smallest number above zero keeps the logarithm finite.
    let variate = -(1.0 - unit).max(f64::EPSILON).ln();
    let spread = mean.as_secs_f64() * variate.clamp(0.7518, 1.3);
    Duration::try_from_secs_f64(spread).unwrap_or(Duration::MAX)
}
