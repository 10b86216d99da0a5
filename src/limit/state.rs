//! A book as a document: everything but interests, exact to the last drop of decay. Times are what remains or has
//! passed, so that a document means the same on another machine's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::book::{Book, Kind, NIL};
use super::decay::{Bucket, Rate};
use super::demand::{Ask, Demand, LimitKey};
use super::grants::Holder;
use super::lease::{Lease, LeaseHolder, LeaseId};
use super::spec::LimitSpec;

/// A book at one instant, as data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BookState {
    /// The limits. Their position is their number in the rest of the document.
    pub limits: Vec<LimitState>,
    /// The grants, in the order of taking.
    pub grants: Vec<GrantState>,
    /// The leases, by id ascending.
    pub leases: Vec<LeaseState>,
    /// The next lease's number.
    pub next_lease: u64,
}

/// One limit of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitState {
    /// Its definition.
    #[serde(flatten)]
    pub spec: LimitSpec,
    /// Whether it is one of the engine's own, which requests cannot name.
    #[serde(default)]
    pub internal: bool,
    /// The number of the template that made it.
    #[serde(default)]
    pub made_by: Option<usize>,
    /// Slots incremented without a lease.
    #[serde(default)]
    pub anonymous: u64,
    /// The level of a decaying limit in drops, 2^64 · 10^9 of them a slot: the upper and the lower 64 bits.
    #[serde(default)]
    pub level: [u64; 2],
    /// Its average occupancy.
    #[serde(default = "occupancy_default")]
    pub avg_slot_occupancy_seconds: f64,
}

fn occupancy_default() -> f64 {
    super::by_name::OCCUPANCY_DEFAULT
}

/// One grant of a document.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GrantState {
    /// Who holds it.
    pub holder: Holder,
    /// Numbers of limits, and slots.
    pub holds: Vec<(usize, u32)>,
}

/// One lease of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeaseState {
    /// Its id.
    pub id: LeaseId,
    /// For whom it is held.
    pub holder: Option<LeaseHolder>,
    /// How long ago it was taken.
    pub age: Duration,
    /// How long until it lapses.
    pub remaining: Duration,
}

/// A document cannot be restored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A limit's definition is wrong.
    #[error("limit {position}: {reason}")]
    Limit {
        /// Its position in the document.
        position: usize,
        /// What is wrong.
        reason: super::spec::SpecError,
    },
    /// A number of a limit's state is out of range, or its template is none.
    #[error("limit {position}: {what} is out of range")]
    LimitValue {
        /// Its position in the document.
        position: usize,
        /// Which number.
        what: &'static str,
    },
    /// A grant names a limit that is not in the document, or one twice, or holds nothing of it, or its holder has another.
    #[error(
        "grant {position} is inconsistent; it must name limits of this document, each once, and have its own holder"
    )]
    Grant {
        /// Its position in the document.
        position: usize,
    },
    /// A lease has no grant, or is there twice.
    #[error("lease {} is inconsistent; it must be listed once and have a grant", .id.number())]
    Lease {
        /// Its id.
        id: LeaseId,
    },
}

impl BookState {
    /// Lets time pass in which nobody takes or gives back anything: levels drain, leases come nearer to their end.
    pub(crate) fn age(&mut self, elapsed: Duration) {
        for limit in &mut self.limits {
            if let Ok(Some(rate)) = Rate::per_second(limit.spec.slot_decay_per_second) {
                let bucket = Bucket::new(join(limit.level), Duration::ZERO);
                limit.level = split(bucket.drops(rate, elapsed));
            }
        }
        for lease in &mut self.leases {
            lease.age = lease.age.saturating_add(elapsed);
            lease.remaining = lease.remaining.saturating_sub(elapsed);
        }
    }
}

impl Book {
    /// Everything in the book as data, with times relative to `now`. Interests are left out: who waits says so again.
    #[must_use]
    pub fn export(&self, now: Duration) -> BookState {
        let mut number = vec![usize::MAX; self.limits.len()];
        let live: Vec<usize> = (0..self.limits.len())
            .filter(|&index| self.limits[index].kind != Kind::Free)
            .collect();
        for (position, &index) in live.iter().enumerate() {
            number[index] = position;
        }
        let limits = live.iter().map(|&index| {
            let limit = &self.limits[index];
            let drops = limit.rate.map_or(0, |rate| limit.bucket.drops(rate, now));
            LimitState {
                spec: LimitSpec {
                    name: limit.name.to_string(),
                    slots: limit.slots,
                    active: limit.active,
                    slot_decay_per_second: limit.decay,
                },
                internal: limit.kind == Kind::Internal,
                made_by: limit
                    .made_by
                    .filter(|&by| self.get(by).is_some())
                    .map(|by| number[by.index()]),
                anonymous: limit.anonymous,
                level: split(drops),
                avg_slot_occupancy_seconds: limit.occupancy,
            }
        });
        let grants = self.grants.by_order().map(|place| GrantState {
            holder: place.holder,
            holds: place.entries[..usize::from(place.len)]
                .iter()
                .filter(|entry| entry.limit != NIL)
                .map(|entry| (number[entry.limit as usize], entry.weight))
                .collect(),
        });
        let leases = self.leases.iter().map(|(&id, lease)| LeaseState {
            id,
            holder: lease.holder,
            age: now.saturating_sub(lease.since),
            remaining: lease.expires.saturating_sub(now),
        });
        BookState {
            limits: limits.collect(),
            grants: grants.collect(),
            leases: leases.collect(),
            next_lease: self.next_lease,
        }
    }

    /// A book as it was exported, its times counted from `now`. What is held is held again, above a limit too. The keys are
    /// in the order of the document's limits; made limits that nobody holds stay until somebody has shown and given up an
    /// interest.
    ///
    /// # Errors
    ///
    /// The first inconsistency of the document.
    pub fn restore(state: &BookState, now: Duration) -> Result<(Self, Vec<LimitKey>), RestoreError> {
        let mut book = Self::with_limits_max(Self::LIMITS_MAX_DEFAULT.max(state.limits.len()));
        let mut keys = Vec::with_capacity(state.limits.len());
        for (position, limit) in state.limits.iter().enumerate() {
            keys.push(book.restore_limit(position, limit, now)?);
        }
        for (position, limit) in state.limits.iter().enumerate() {
            if let Some(by) = limit.made_by {
                let by = keys
                    .get(by)
                    .filter(|by| book.limits[by.index()].kind == Kind::Template);
                book.limits[keys[position].index()].made_by = Some(*by.ok_or(RestoreError::LimitValue {
                    position,
                    what: "made_by",
                })?);
            }
        }
        for (position, grant) in state.grants.iter().enumerate() {
            let mut demand = Demand::new();
            for &(limit, weight) in &grant.holds {
                let limit = *keys.get(limit).ok_or(RestoreError::Grant { position })?;
                demand
                    .push(Ask { limit, weight })
                    .map_err(|_| RestoreError::Grant { position })?;
            }
            book.seize(&demand, grant.holder, now)
                .map_err(|_| RestoreError::Grant { position })?;
        }
        book.restore_levels(state, &keys, now);
        for lease in &state.leases {
            let id = lease.id;
            let record = Lease {
                holder: lease.holder,
                since: now.saturating_sub(lease.age),
                expires: now.saturating_add(lease.remaining),
            };
            if book.grant_of(Holder::Lease(id)).is_none() || book.leases.insert(id, record).is_some() {
                return Err(RestoreError::Lease { id });
            }
            book.expiries.insert((record.expires, id)); // B5
        }
        let last = book.leases.last_key_value().map_or(0, |(id, _)| id.0);
        book.next_lease = state.next_lease.max(last.saturating_add(1));
        Ok((book, keys))
    }

    /// Fills the buckets as the document says: after the grants were put back, which pour into them.
    pub(crate) fn restore_levels(&mut self, state: &BookState, keys: &[LimitKey], now: Duration) {
        for (&key, limit) in keys.iter().zip(&state.limits) {
            if let Some(held) = self.get_mut(key) {
                held.bucket = Bucket::new(join(limit.level), now);
            }
        }
    }

    fn restore_limit(
        &mut self,
        position: usize,
        state: &LimitState,
        now: Duration,
    ) -> Result<LimitKey, RestoreError> {
        let wrong = |reason| RestoreError::Limit { position, reason };
        let out_of_range = |what| RestoreError::LimitValue { position, what };
        let occupancy = state.avg_slot_occupancy_seconds;
        if !occupancy.is_finite() || occupancy < 0.0 {
            return Err(out_of_range("avg_slot_occupancy_seconds"));
        }
        let rate = Rate::per_second(state.spec.slot_decay_per_second).map_err(wrong)?;
        if u64::from(u32::MAX) < state.anonymous || (rate.is_some() && 0 < state.anonymous) {
            return Err(out_of_range("anonymous"));
        }
        let key = if state.internal {
            self.define_internal(&state.spec.name, state.spec.slots, now)
        } else {
            self.define(state.spec.clone(), now)
        }
        .map_err(wrong)?;
        let limit = &mut self.limits[key.index()];
        limit.active = state.spec.active;
        limit.rate = rate;
        limit.decay = state.spec.slot_decay_per_second;
        limit.occupancy = occupancy;
        limit.anonymous = state.anonymous;
        limit.held = state.anonymous; // B1
        Ok(key)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are what is wanted"
)]
fn split(drops: u128) -> [u64; 2] {
    [(drops >> 64) as u64, drops as u64]
}

fn join([upper, lower]: [u64; 2]) -> u128 {
    u128::from(upper) << 64 | u128::from(lower)
}
