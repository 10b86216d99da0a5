//! Leases: slots held by somebody outside, until given back or not renewed in time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::book::Book;
use super::demand::Demand;
use super::grants::{Holder, Refused, TakeError};

/// The shortest lease.
pub const LEASE_MIN: Duration = Duration::from_mins(1);
/// The longest lease.
pub const LEASE_MAX: Duration = Duration::from_hours(24);
/// The lease of somebody who names no duration.
pub const LEASE_DEFAULT: Duration = Duration::from_mins(5);

/// Leases that one book keeps.
pub const LEASES_MAX: usize = 1_000_000;
/// Idle decaying limits made by templates that are looked at in passing, to forget those that have drained.
const SWEPT_PER_CALL: usize = 4;

/// Names a lease. Never given twice by one book.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub(super) u64);

impl LeaseId {
    /// The number, as it is written in documents.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The lease of this number, as read from a document. It need not exist.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// For whom a lease is held, as far as its taker says. Shown, never acted on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// The kind of entity.
    #[serde(rename = "type")]
    pub kind: LeaseHolderKind,
    /// Its id.
    pub id: Uuid,
}

/// What kind of entity a lease is held for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseHolderKind {
    /// A run.
    FlowRun,
    /// A task run.
    TaskRun,
    /// A deployment.
    Deployment,
}

/// One lease's record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease {
    /// For whom it is held.
    pub holder: Option<LeaseHolder>,
    /// When it was taken, in monotonic time.
    pub since: Duration,
    /// When it lapses unless renewed, in monotonic time.
    pub expires: Duration,
}

/// A lease that lapsed, and what it held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lapsed {
    /// Its id.
    pub id: LeaseId,
    /// For whom it was held.
    pub holder: Option<LeaseHolder>,
    /// What was given back.
    pub released: Demand,
}

/// A lease was not made or renewed; nothing changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The duration is out of range.
    #[error("a lease of {} s is out of range; use {} to {} s", .duration.as_secs_f64(), LEASE_MIN.as_secs(), LEASE_MAX.as_secs())]
    Duration {
        /// What was asked for.
        duration: Duration,
    },
    /// The book is full of leases.
    #[error("there are {LEASES_MAX} leases, the most a book keeps; release some or let them lapse")]
    TooMany,
    /// A limit has no room now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The lease has lapsed or was released; its slots are gone.
    #[error("lease {} has lapsed or was released; take a new one", .id.number())]
    Gone {
        /// Its id.
        id: LeaseId,
    },
}

/// Checks a lease's duration.
pub(super) fn check_duration(duration: Duration) -> Result<(), LeaseError> {
    if (LEASE_MIN..=LEASE_MAX).contains(&duration) {
        Ok(())
    } else {
        Err(LeaseError::Duration { duration })
    }
}

impl Book {
    /// Takes all of the demand for `duration`, [`LEASE_MIN`] to [`LEASE_MAX`].
    ///
    /// # Errors
    ///
    /// A duration out of range, a limit without room, or too many leases.
    pub fn lease(
        &mut self,
        demand: &Demand,
        duration: Duration,
        holder: Option<LeaseHolder>,
        now: Duration,
    ) -> Result<LeaseId, LeaseError> {
        check_duration(duration)?;
        if LEASES_MAX <= self.leases.len() {
            return Err(LeaseError::TooMany);
        }
        let id = loop {
            let id = LeaseId(self.next_lease);
            match self.take(demand, Holder::Lease(id), now) {
                Ok(_) => break id,
                Err(TakeError::Refused(refused)) => return Err(refused.into()),
                // Somebody took slots under a number yet to come; it is theirs.
                Err(TakeError::AlreadyHolds(_)) => self.next_lease += 1,
            }
        };
        self.next_lease += 1;
        self.revision += 1;
        let lease = Lease {
            holder,
            since: now,
            expires: now.saturating_add(duration),
        };
        self.leases.insert(id, lease); // B5
        self.expiries.insert((lease.expires, id)); // B5
        Ok(id)
    }

    /// Lets a lease last until `now + duration`.
    ///
    /// # Errors
    ///
    /// A duration out of range; or the lease is gone. One whose expiry has come is gone, whether or not
    /// [`expire`](Self::expire) has seen it.
    pub fn renew(&mut self, id: LeaseId, duration: Duration, now: Duration) -> Result<(), LeaseError> {
        check_duration(duration)?;
        let lease = self
            .leases
            .get_mut(&id)
            .filter(|lease| now < lease.expires)
            .ok_or(LeaseError::Gone { id })?;
        self.revision += 1;
        self.expiries.remove(&(lease.expires, id)); // B5
        lease.expires = now.saturating_add(duration);
        self.expiries.insert((lease.expires, id)); // B5
        Ok(())
    }

    /// Ends a lease and gives its slots back, exactly once; how long they were held goes into the averages. `None`, and
    /// nothing happens, if the lease is gone.
    pub fn release_lease(&mut self, id: LeaseId, now: Duration) -> Option<Demand> {
        let lease = *self.leases.get(&id)?;
        let held = now.min(lease.expires).saturating_sub(lease.since);
        let released = self.release_holder(Holder::Lease(id), now)?;
        for ask in released.asks() {
            self.observe(ask.limit, held, ask.weight);
        }
        Some(released)
    }

    /// A lease's record; `None` if it is gone.
    #[must_use]
    pub fn lease_record(&self, id: LeaseId) -> Option<Lease> {
        self.leases.get(&id).copied()
    }

    /// When the next lease lapses.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        self.expiries.first().map(|&(expires, _)| expires)
    }

    /// Ends every lease whose time has come, the earliest first, each looked at as it is now: one that was renewed stays.
    ///
    /// Whoever keeps a book calls this first in each call that takes the time, so that what is held does not depend on how
    /// often anybody looks. With nothing due it costs a few comparisons.
    pub fn expire(&mut self, now: Duration) -> Vec<Lapsed> {
        let mut lapsed = Vec::new();
        while let Some(&(expires, id)) = self.expiries.first()
            && expires <= now
        {
            let holder = self.leases.get(&id).and_then(|lease| lease.holder);
            let released = self
                .release_lease(id, now)
                .expect("a lease that is listed has a grant (B5)");
            lapsed.push(Lapsed { id, holder, released });
        }
        self.sweep(SWEPT_PER_CALL, now);
        lapsed
    }

    /// Removes a lease's record; its grant is being given back.
    pub(super) fn end_lease(&mut self, id: LeaseId) {
        self.revision += 1;
        if let Some(lease) = self.leases.remove(&id) {
            self.expiries.remove(&(lease.expires, id)); // B5
        }
    }
}
