//! Named limits, from the outside: define, change, delete, read, and take by name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::core::{Core, Work};
use super::error::Error;
use super::limits::LimitPatch;
use crate::ids::RunId;
use crate::limit::{
    Holder, IncrementError, Incremented, LeaseHolder, LeaseId, LimitKey, LimitSpec, LimitStatus, Mode,
};

/// A named limit, as it stood at one version.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NamedLimit {
    /// Its definition, its slots in use and free.
    pub status: LimitStatus,
    /// Runs that are due and need slots of it, outside paused queues.
    pub waiting: usize,
    /// Of those, the ones that need more than it has free.
    pub blocked: usize,
}

/// Who holds slots of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SlotHolder {
    /// An attempt of a run.
    Run(RunId),
    /// A step of a run, by the limits of its tags.
    TaskRun(crate::ids::TaskRunId),
    /// A lease, taken by [`Engine::lease_slots`].
    Lease(LeaseId),
}

impl Engine {
    /// Defines a named limit, or with a name that ends in `*` a template. A run names it with
    /// [`NewRun::slot`](crate::NewRun::slot), a deployment with [`NewDeployment::slot`](crate::NewDeployment::slot). A limit of
    /// this name that a template has made becomes the one defined here, holders and waiters kept.
    ///
    /// ```
    /// use tenfold::limit::LimitSpec;
    /// use tenfold::{Engine, NewRun, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("crawl")?;
    /// engine.define_limit(LimitSpec::new("host:*", 1))?;
    /// let first = engine.submit(NewRun::of("crawl").slot("host:a.example"))?.id;
    /// engine.submit(NewRun::of("crawl").slot("host:a.example"))?;
    /// let other = engine.submit(NewRun::of("crawl").slot("host:b.example"))?.id;
    ///
    /// assert_eq!(engine.claim(&Scope::all())?.unwrap().run(), first);
    /// assert_eq!(engine.claim(&Scope::all())?.unwrap().run(), other, "the second waits for its host");
    /// assert!(engine.claim(&Scope::all())?.is_err());
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Limit`]: a wrong or taken name, a decay that is no rate, as many limits as there may be.
    pub fn define_limit(&self, spec: LimitSpec) -> Result<u64, Error> {
        self.call(|core| {
            core.define_limit(spec)?;
            Ok(core.version)
        })
    }

    /// Changes a limit; a template and all it has made. Lowering it ends nothing; raising it, deactivating it and a faster decay
    /// let in who fits, in claim order. A waiting run that needs more slots than there are now stays blocked;
    /// [`blocked_by`](Self::blocked_by) says so. Costs a logarithm for each set of limits that is let in or put out.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Limit`] for a decay that is no rate. Nothing is changed then.
    pub fn update_limit(&self, name: &str, patch: LimitPatch) -> Result<u64, Error> {
        self.call(|core| core.update_limit(name, patch).map(|()| core.version))
    }

    /// Deletes a limit, or a template and all it has made, in use or not: holders keep what else they hold, and who waits for it goes
    /// on as if it had not been there. Runs that were accepted before do not come under a later limit of the same name; deployments that
    /// name it do, with their later runs.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn delete_limit(&self, name: &str) -> Result<u64, Error> {
        self.call(|core| core.delete_limit(name).map(|()| core.version))
    }

    /// A limit or template, as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn limit(&self, name: &str) -> Result<NamedLimit, Error> {
        self.call(|core| {
            let key = core.limit_key(name)?;
            Ok(core.named_limit(key).expect("just found"))
        })
    }

    /// All limits and templates at one version, by name ascending. The lock is held for copying them.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn limits(&self) -> Result<Vec<NamedLimit>, Error> {
        self.call(|core| {
            let keys = core.limits.book.keys().into_iter();
            Ok(keys.filter_map(|key| core.named_limit(key)).collect())
        })
    }

    /// Who holds how many slots of a limit, in the order of taking (after an import: leases, then claims, each in that order). Slots that were [incremented](Self::increment_slots)
    /// without a lease have no holder; they are in the status alone.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn limit_holders(&self, name: &str) -> Result<Vec<(SlotHolder, u32)>, Error> {
        self.call(|core| {
            let key = core.limit_key(name)?;
            Ok(core.holders_of(key))
        })
    }

    /// Takes `slots` of each limit named, all or nothing, without a holder: what is free now, in no line, before who waits. Names
    /// that stand for nothing are passed over and told; a name given twice counts once.
    ///
    /// # Errors
    ///
    /// [`Error::Increment`]: [`IncrementError::Busy`] says when to try again; the rest could never be granted.
    pub fn increment_slots(&self, names: &[&str], slots: u32, mode: Mode) -> Result<Incremented, Error> {
        self.call(|core| {
            let now = core.mono_time();
            let book = &mut core.limits.book;
            let taken = book.increment(names.iter().copied(), slots, mode, now)?;
            core.rooms_changed(&taken.limits);
            Ok(taken)
        })
    }

    /// Gives back `slots` of each limit named, as far as they were incremented without a lease; a limit that decays is drained by as
    /// much. `occupancy` is how long they were held, all together; it goes into the estimates of when to retry. Unknown names are
    /// passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn decrement_slots(
        &self,
        names: &[&str],
        slots: u32,
        occupancy: Option<Duration>,
    ) -> Result<u64, Error> {
        self.call(|core| {
            let now = core.mono_time();
            let book = &mut core.limits.book;
            let opened = book.decrement(names.iter().copied(), slots, occupancy, now);
            core.rooms_changed(&opened);
            Ok(core.version)
        })
    }

    /// As [`increment_slots`](Self::increment_slots), for a time: one minute to 24 hours. A lease that is neither
    /// [renewed](Self::renew_slots) nor [released](Self::release_slots) gives its slots back when it lapses.
    ///
    /// # Errors
    ///
    /// [`Error::Increment`].
    pub fn lease_slots(
        &self,
        names: &[&str],
        slots: u32,
        mode: Mode,
        duration: Duration,
        holder: Option<LeaseHolder>,
    ) -> Result<(LeaseId, Incremented), Error> {
        self.call(|core| {
            let now = core.mono_time();
            let names = names.iter().copied();
            let book = &mut core.limits.book;
            let (id, taken) = book.increment_with_lease(names, slots, mode, duration, holder, now)?;
            core.rooms_changed(&taken.limits);
            core.arm_lease();
            Ok((id, taken))
        })
    }

    /// Lets a lease last for `duration` from now.
    ///
    /// # Errors
    ///
    /// [`Error::Lease`]: it is gone, or the duration is out of range.
    pub fn renew_slots(&self, lease: LeaseId, duration: Duration) -> Result<u64, Error> {
        self.call(|core| {
            let now = core.mono_time();
            core.limits.book.renew(lease, duration, now)?;
            core.arm_lease();
            Ok(core.changed())
        })
    }

    /// Ends a lease and gives its slots back, exactly once. Answers whether it was there.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn release_slots(&self, lease: LeaseId) -> Result<bool, Error> {
        self.call(|core| {
            let now = core.mono_time();
            let Some(released) = core.limits.book.release_lease(lease, now) else {
                return Ok(false);
            };
            let limits: Vec<LimitKey> = released.asks().iter().map(|ask| ask.limit).collect();
            core.rooms_changed(&limits);
            core.arm_lease();
            Ok(true)
        })
    }
}

impl From<IncrementError> for Error {
    fn from(error: IncrementError) -> Self {
        match error {
            IncrementError::Request(request) => Self::LimitRequest(request),
            IncrementError::Lease(lease) => Self::Lease(lease),
            busy => Self::Increment(busy),
        }
    }
}

impl Core {
    fn named_limit(&self, key: LimitKey) -> Option<NamedLimit> {
        let (waiting, blocked) = self.ready.waiting_at(key);
        Some(NamedLimit {
            status: self.limits.book.status(key, self.mono_time())?,
            waiting,
            blocked,
        })
    }

    pub(crate) fn holders_of(&self, key: LimitKey) -> Vec<(SlotHolder, u32)> {
        let holders = self.limits.book.holders(key);
        let named = |holder| match holder {
            Holder::Run { row, .. } => Some(SlotHolder::Run(self.run(row).id)),
            Holder::Lease(id) => Some(SlotHolder::Lease(id)),
            Holder::TaskRun { row, .. } => {
                let held = self.catalog.task_runs.get(row)?;
                Some(SlotHolder::TaskRun(held.data.id))
            }
            Holder::Anonymous => None,
        };
        holders
            .filter_map(|(holder, slots)| Some((named(holder)?, slots)))
            .collect()
    }

    /// Slots were taken or given back by name.
    fn rooms_changed(&mut self, limits: &[LimitKey]) {
        for &limit in limits {
            self.room_changed(limit);
        }
        self.effects.ring |= !limits.is_empty();
        self.changed();
    }

    /// The spot of a run that stands in line.
    pub(crate) fn spot_of(&self, row: u32) -> Option<super::ready::Spot> {
        match self.work.get(row as usize) {
            Some(Work::Line(spot)) => Some(*spot),
            _ => None,
        }
    }
}
