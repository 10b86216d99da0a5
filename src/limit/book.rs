//! The book of named limits: what is defined, found, changed live and read. Taking and giving back is in
//! [`grants`](super::grants), templates are in [`templates`](super::templates).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::decay::{Bucket, Rate};
use super::demand::LimitKey;
use super::grants::{Grants, Holder};
use super::lease::{Lease, LeaseId};
use super::spec::{LimitSpec, SpecError, check_name, template_prefix};

/// End of a linked list.
pub(super) const NIL: u32 = u32::MAX;

/// Named limits, who holds their slots, and leases: a single-threaded, pure core. It has no lock and no clock; `now` is
/// monotonic time. [`Limits`](super::Limits) is this behind one short lock; the engine keeps one under its own.
///
/// ```
/// use std::time::Duration;
/// use tenfold::limit::{Book, Holder, LimitSpec};
///
/// let now = Duration::ZERO;
/// let mut book = Book::new();
/// book.define(LimitSpec::new("database", 1), now)?;
///
/// let demand = book.resolve([("database", 1)], now)?;
/// let first = book.take(&demand, Holder::run(1, 1), now)?;
/// let refused = book.take(&demand, Holder::run(2, 1), now);
/// assert!(refused.is_err());
///
/// assert!(book.release(first, now).is_some());
/// assert!(book.release(first, now).is_none(), "released exactly once");
/// assert!(book.take(&demand, Holder::run(2, 1), now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Invariants
///
/// * **B1** a limit's `held` is its anonymous slots plus the weights of its entries in live grants, whether or not it
///   decays or is active;
/// * **B2** the list of a limit holds exactly the entries of live grants that name it, in the order of taking;
/// * **B3** every holder that can be looked up has one grant, and every live grant of such a holder is found by it;
/// * **B4** `names` holds exactly the limits that have a name and are not internal;
/// * **B5** while a lease exists its holder has a grant, and it is in `expiries` once, at its expiry.
#[derive(Debug)]
pub struct Book {
    pub(super) limits: Vec<Limit>,
    free: Vec<u32>,
    /// Internal limits, which `limits_max` does not count: who defines them bounds them.
    internal: usize,
    limits_max: usize,
    pub(super) names: HashMap<Arc<str>, u32>,
    pub(super) templates: usize,
    pub(super) draining: VecDeque<LimitKey>,
    pub(super) grants: Grants,
    pub(super) by_holder: HashMap<Holder, u32>,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    pub(super) expiries: BTreeSet<(Duration, LeaseId)>,
    pub(super) next_lease: u64,
    /// Counts changes of what [`export`](Self::export) says, but for grants of runs and what time does.
    pub(super) revision: u64,
}

/// One limit's place in the book. A free place keeps its generation and nothing else of meaning.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) generation: u32,
    pub(super) slots: u32,
    pub(super) active: bool,
    pub(super) kind: Kind,
    /// Whether it stands in `draining`.
    pub(super) listed: bool,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) interest: u64,
    pub(super) held: u64,
    pub(super) anonymous: u64,
    pub(super) rate: Option<Rate>,
    pub(super) bucket: Bucket,
    pub(super) decay: f64,
    pub(super) occupancy: f64,
    pub(super) made_by: Option<LimitKey>,
    pub(super) name: Arc<str>,
}

/// What a place in the book is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Nothing; waits to be used again.
    Free,
    /// A limit that requests name.
    Named,
    /// A limit of the engine's own.
    Internal,
    /// Makes limits of its prefix.
    Template,
}

/// How one limit stands. Plain data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// Its name.
    pub name: String,
    /// How many slots there are.
    pub limit: u32,
    /// Whether it counts (L7).
    pub active: bool,
    /// Slots in use, with decay up to the moment of asking, a begun slot counted whole.
    pub active_slots: u64,
    /// Slots that could be taken now; `null` when inactive.
    pub room: Option<u32>,
    /// Slots that drain away each second; 0 for a plain limit.
    pub slot_decay_per_second: f64,
    /// How long a slot was held, on average: 2 seconds to begin with, then moved by each lease that ends and each decrement that
    /// tells an occupancy. Permits and the runs of an engine tell it nothing; runs have their own start and end.
    pub avg_slot_occupancy_seconds: f64,
    /// Holders and waiters that keep an interest in it.
    pub interest: u64,
    /// The template that made it.
    pub template: Option<String>,
}

impl Limit {
    /// Whether `weight` more slots fit.
    pub(super) fn fits(&self, weight: u32, now: Duration) -> bool {
        match self.rate {
            _ if !self.active && !fault!(InactiveBlocks) => true,
            None => self.held.saturating_add(u64::from(weight)) <= u64::from(self.slots),
            Some(rate) => self.bucket.fits(rate, self.slots, weight, now),
        }
    }

    /// Slots in use.
    pub(super) fn used(&self, now: Duration) -> u64 {
        match self.rate {
            None => self.held,
            Some(rate) => self.bucket.slots(rate, now),
        }
    }

    /// Slots that could be taken.
    pub(super) fn room(&self, now: Duration) -> u32 {
        if self.active || fault!(InactiveBlocks) {
            let used = u32::try_from(self.used(now)).unwrap_or(u32::MAX);
            self.slots.saturating_sub(used)
        } else {
            u32::MAX
        }
    }

    /// The exact time until `weight` slots have drained free, for a decaying limit.
    pub(super) fn fits_in(&self, weight: u32, now: Duration) -> Option<Duration> {
        self.bucket.fits_in(self.rate?, self.slots, weight, now)
    }

    fn set_rate(&mut self, rate: Option<Rate>, decay: f64, now: Duration) {
        match (self.rate, rate) {
            (None, Some(_)) => {
                self.bucket = Bucket::of_slots(self.held, now);
                // What nobody will release by name drains from now on.
                self.held -= self.anonymous; // B1
                self.anonymous = 0;
            }
            (Some(old), Some(_)) => self.bucket.settle(old, now),
            // Its holders are the truth again; what was only poured has no holder.
            (_, None) => {}
        }
        self.rate = rate;
        self.decay = decay;
    }
}

impl Book {
    /// Limits that a book keeps unless told otherwise.
    pub const LIMITS_MAX_DEFAULT: usize = 1_000_000;

    /// An empty book of at most [`LIMITS_MAX_DEFAULT`](Self::LIMITS_MAX_DEFAULT) limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits_max(Self::LIMITS_MAX_DEFAULT)
    }

    /// An empty book that keeps at most so many limits, templates and what they make included; internal ones are not
    /// counted.
    #[must_use]
    pub fn with_limits_max(limits_max: usize) -> Self {
        Self {
            limits: Vec::new(),
            free: Vec::new(),
            internal: 0,
            limits_max: limits_max.min(NIL as usize / 2),
            names: HashMap::new(),
            templates: 0,
            draining: VecDeque::new(),
            grants: Grants::default(),
            by_holder: HashMap::new(),
            leases: BTreeMap::new(),
            expiries: BTreeSet::new(),
            next_lease: 1,
            revision: 0,
        }
    }

    /// Sets how many limits it keeps; what is there stays.
    pub(crate) fn set_limits_max(&mut self, limits_max: usize) {
        self.limits_max = limits_max.min(NIL as usize / 2);
    }

    /// Defines a limit or, when the name ends in `*`, a template (L8).
    ///
    /// A limit of this name that a template has made becomes the one defined here, its holders kept; its
    /// [`room`](Self::room) may have grown.
    ///
    /// # Errors
    ///
    /// A wrong name, a name that is taken, a decay that is no rate, or a full book. Nothing is changed.
    pub fn define(&mut self, spec: LimitSpec, now: Duration) -> Result<LimitKey, SpecError> {
        check_name(&spec.name)?;
        let rate = Rate::per_second(spec.slot_decay_per_second)?;
        self.make_way(now);
        if let Some(&index) = self.names.get(spec.name.as_str()) {
            let limit = &mut self.limits[index as usize];
            if limit.made_by.take().is_none() {
                return Err(SpecError::NameTaken { name: spec.name });
            }
            limit.slots = spec.slots;
            limit.active = spec.active;
            limit.set_rate(rate, spec.slot_decay_per_second, now);
            self.revision += 1;
            return Ok(self.key(index));
        }
        let name: Arc<str> = spec.name.into();
        let kind = match template_prefix(&name) {
            Some(_) => Kind::Template,
            None => Kind::Named,
        };
        let key = self.insert(Arc::clone(&name), kind, spec.slots, now)?;
        let limit = &mut self.limits[key.index()];
        limit.active = spec.active;
        limit.set_rate(rate, spec.slot_decay_per_second, now);
        self.templates += usize::from(kind == Kind::Template);
        self.names.insert(name, key.index); // B4
        Ok(key)
    }

    /// Makes a plain limit that requests cannot name, for what an engine counts on its own account: itself, a pool, a
    /// queue. `label` is what [`status`](Self::status) shows; it need not be unique.
    ///
    /// # Errors
    ///
    /// A full book.
    pub fn define_internal(&mut self, label: &str, slots: u32, now: Duration) -> Result<LimitKey, SpecError> {
        let key = self.insert(label.into(), Kind::Internal, slots, now)?;
        self.internal += 1;
        Ok(key)
    }

    /// The limit or template of this name. Finds nothing that a template has yet to make.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<LimitKey> {
        self.names.get(name).map(|&index| self.key(index))
    }

    /// The name, or the label of an internal limit.
    #[must_use]
    pub fn name(&self, limit: LimitKey) -> Option<&Arc<str>> {
        self.get(limit).map(|limit| &limit.name)
    }

    /// Slots that could be taken now. `u32::MAX` for an inactive limit and for one that is gone: neither stops anyone.
    #[must_use]
    pub fn room(&self, limit: LimitKey, now: Duration) -> u32 {
        self.get(limit).map_or(u32::MAX, |limit| limit.room(now))
    }

    /// Slots in use now, with decay. 0 for a limit that is gone.
    #[must_use]
    pub fn held(&self, limit: LimitKey, now: Duration) -> u64 {
        self.get(limit).map_or(0, |limit| limit.used(now))
    }

    /// How a limit stands; `None` if it is gone.
    #[must_use]
    pub fn status(&self, limit: LimitKey, now: Duration) -> Option<LimitStatus> {
        self.get(limit).map(|limit| LimitStatus {
            name: limit.name.to_string(),
            limit: limit.slots,
            active: limit.active,
            active_slots: limit.used(now),
            room: limit.active.then(|| limit.room(now)),
            slot_decay_per_second: limit.decay,
            avg_slot_occupancy_seconds: limit.occupancy,
            interest: limit.interest,
            template: limit
                .made_by
                .and_then(|by| self.name(by))
                .map(ToString::to_string),
        })
    }

    /// The keys of all limits and templates that have a name, by name ascending.
    #[must_use]
    pub fn keys(&self) -> Vec<LimitKey> {
        let mut indexes: Vec<u32> = self.names.values().copied().collect();
        indexes.sort_unstable_by(|&a, &b| self.limits[a as usize].name.cmp(&self.limits[b as usize].name));
        indexes.into_iter().map(|index| self.key(index)).collect()
    }

    /// How many limits there are, templates and internal ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limits.len() - self.free.len()
    }

    /// Whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the number of slots; of a template, for all it has made too. Lowering below what is held admits no one until
    /// less is held, and takes nothing away (L1).
    ///
    /// Returns the limits that have more room than before, whose waiters may be let in.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`].
    pub fn set_slots(
        &mut self,
        limit: LimitKey,
        slots: u32,
        now: Duration,
    ) -> Result<Vec<LimitKey>, SpecError> {
        self.change(limit, now, |limit| limit.slots = slots)
    }

    /// Activates or deactivates a limit; of a template, all it has made too. What is held while inactive counts once it is
    /// active again.
    ///
    /// Returns the limits that have more room than before.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`].
    pub fn set_active(
        &mut self,
        limit: LimitKey,
        active: bool,
        now: Duration,
    ) -> Result<Vec<LimitKey>, SpecError> {
        self.change(limit, now, |limit| limit.active = active)
    }

    /// Sets the slots that drain away each second; of a template, for all it has made too.
    ///
    /// A limit that begins to decay starts with what is held. One that ceases to is its holders again; slots that were
    /// incremented by name in either case have no holder then, and are forgotten.
    ///
    /// Returns the limits that have more room than before, or will have it at another time than before.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`], or a decay that is no rate.
    pub fn set_decay(
        &mut self,
        limit: LimitKey,
        slots_per_second: f64,
        now: Duration,
    ) -> Result<Vec<LimitKey>, SpecError> {
        let rate = Rate::per_second(slots_per_second)?;
        self.change(limit, now, |limit| limit.set_rate(rate, slots_per_second, now))?;
        Ok(self.with_instances(limit))
    }

    /// Gives a limit another name; holders and waiters stay. A limit that a template has made becomes one of its own.
    ///
    /// # Errors
    ///
    /// A wrong or taken name, or a template renamed to a plain name or back.
    pub fn rename(&mut self, limit: LimitKey, name: &str) -> Result<(), SpecError> {
        check_name(name)?;
        let old = Arc::clone(&self.get(limit).ok_or(SpecError::Gone)?.name);
        if &*old == name {
            return Ok(());
        }
        self.revision += 1;
        let place = &self.limits[limit.index()];
        if place.kind == Kind::Internal {
            self.limits[limit.index()].name = name.into();
            return Ok(());
        }
        if template_prefix(name).is_some() != (place.kind == Kind::Template) {
            return Err(SpecError::TemplateMismatch {
                from: old.to_string(),
                to: name.to_owned(),
            });
        }
        if self.names.contains_key(name) {
            return Err(SpecError::NameTaken {
                name: name.to_owned(),
            });
        }
        let name: Arc<str> = name.into();
        self.names.remove(&old);
        self.names.insert(Arc::clone(&name), limit.index); // B4
        let place = &mut self.limits[limit.index()];
        place.made_by = None;
        place.name = name;
        Ok(())
    }

    /// Removes a limit, or a template and all it has made, in use or not (L7). Holders keep what they hold of other limits
    /// and give back what is left; demands that name it go on as if it were not there.
    ///
    /// Returns the keys that were removed: whoever waits for them may be let in.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`].
    pub fn remove(&mut self, limit: LimitKey) -> Result<Vec<LimitKey>, SpecError> {
        self.get(limit).ok_or(SpecError::Gone)?;
        let keys = self.with_instances(limit);
        for &key in &keys {
            self.detach_all(key);
            self.forget_place(key);
        }
        Ok(keys)
    }

    /// Another number than before says that something has changed of what [`export`](Self::export) says, grants of runs and what time
    /// does left out.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.wrapping_add(self.grants.poured)
    }

    /// Whether the key still names a limit.
    pub(crate) fn is_live(&self, limit: LimitKey) -> bool {
        self.get(limit).is_some()
    }

    /// The number of slots; `u32::MAX` for an inactive limit and for one that is gone.
    pub(crate) fn slots(&self, limit: LimitKey) -> u32 {
        self.get(limit).map_or(
            u32::MAX,
            |limit| if limit.active { limit.slots } else { u32::MAX },
        )
    }

    /// What a line before the limit has to know: its room, its slots as [`slots`](Self::slots) tells them, and whether it decays;
    /// none for a limit that is gone.
    pub(crate) fn gate(&self, limit: LimitKey, now: Duration) -> Option<(u32, u32, bool)> {
        let held = self.get(limit)?;
        let slots = if held.active { held.slots } else { u32::MAX };
        Some((held.room(now), slots, held.active && held.rate.is_some()))
    }

    /// Whether it is a limit of the engine's own.
    pub(crate) fn is_internal(&self, limit: LimitKey) -> bool {
        self.get(limit).is_some_and(|limit| limit.kind == Kind::Internal)
    }

    /// Whether it is a limit that requests name.
    pub(crate) fn is_named(&self, limit: LimitKey) -> bool {
        self.get(limit).is_some_and(|limit| limit.kind == Kind::Named)
    }

    /// Whether its slots drain by time alone.
    pub(crate) fn decays(&self, limit: LimitKey) -> bool {
        self.get(limit)
            .is_some_and(|limit| limit.active && limit.rate.is_some())
    }

    /// The exact time until a decaying limit has so much room.
    pub(crate) fn room_in(&self, limit: LimitKey, room: u32, now: Duration) -> Option<Duration> {
        self.get(limit)?.fits_in(room, now)
    }

    /// The keys in the order in which [`export`](Self::export) lists the limits.
    pub(crate) fn listed(&self) -> Vec<LimitKey> {
        (0..self.limits.len())
            .filter(|&index| self.limits[index].kind != Kind::Free)
            .map(|index| self.key(u32::try_from(index).expect("limits_max fits in 32 bits")))
            .collect()
    }

    /// The key of a place in use.
    pub(super) fn key(&self, index: u32) -> LimitKey {
        LimitKey {
            index,
            generation: self.limits[index as usize].generation,
        }
    }

    /// The limit of a key that is not stale.
    pub(super) fn get(&self, key: LimitKey) -> Option<&Limit> {
        self.limits
            .get(key.index())
            .filter(|limit| limit.generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: LimitKey) -> Option<&mut Limit> {
        self.limits
            .get_mut(key.index())
            .filter(|limit| limit.generation == key.generation)
    }

    /// How many more limits the book would keep.
    pub(super) fn places_left(&self) -> usize {
        self.limits_max.saturating_sub(self.len() - self.internal)
    }

    pub(super) fn insert(
        &mut self,
        name: Arc<str>,
        kind: Kind,
        slots: u32,
        now: Duration,
    ) -> Result<LimitKey, SpecError> {
        let full = match kind {
            Kind::Internal => self.internal >= NIL as usize / 2,
            _ => self.places_left() == 0,
        };
        if full {
            return Err(SpecError::TooManyLimits { limits: self.len() });
        }
        Ok(self.place(name, kind, slots, now))
    }

    /// As [`insert`](Self::insert), whether the book is full or not.
    pub(super) fn place(&mut self, name: Arc<str>, kind: Kind, slots: u32, now: Duration) -> LimitKey {
        self.revision += 1;
        let mut limit = Limit {
            generation: 0,
            slots,
            active: true,
            kind,
            listed: false,
            head: NIL,
            tail: NIL,
            interest: 0,
            held: 0,
            anonymous: 0,
            rate: None,
            bucket: Bucket::of_slots(0, now),
            decay: 0.0,
            occupancy: super::by_name::OCCUPANCY_DEFAULT,
            made_by: None,
            name,
        };
        let index = if let Some(index) = self.free.pop() {
            limit.generation = self.limits[index as usize].generation;
            self.limits[index as usize] = limit;
            index
        } else {
            self.limits.push(limit);
            u32::try_from(self.limits.len() - 1).expect("limits_max fits in 32 bits")
        };
        self.key(index)
    }

    /// Frees the place of a limit that no entry names any more.
    pub(super) fn forget_place(&mut self, key: LimitKey) {
        self.revision += 1;
        let limit = &mut self.limits[key.index()];
        debug_assert_eq!(limit.head, NIL, "a limit with holders is not forgotten");
        limit.generation = limit.generation.wrapping_add(1);
        if limit.kind == Kind::Internal {
            self.internal -= 1;
        } else {
            self.names.remove(&limit.name); // B4
        }
        self.templates -= usize::from(limit.kind == Kind::Template);
        limit.kind = Kind::Free;
        limit.name = Arc::default();
        self.free.push(key.index);
    }

    /// A limit and, of a template, what it has made.
    pub(crate) fn with_instances(&self, key: LimitKey) -> Vec<LimitKey> {
        let mut keys = vec![key];
        if self.get(key).is_some_and(|limit| limit.kind == Kind::Template) {
            keys.extend((0..).zip(&self.limits).filter_map(|(index, limit)| {
                (limit.kind == Kind::Named && limit.made_by == Some(key)).then_some(LimitKey {
                    index,
                    generation: limit.generation,
                })
            }));
        }
        keys
    }

    fn change(
        &mut self,
        key: LimitKey,
        now: Duration,
        change: impl Fn(&mut Limit),
    ) -> Result<Vec<LimitKey>, SpecError> {
        self.get(key).ok_or(SpecError::Gone)?;
        self.revision += 1;
        let mut keys = self.with_instances(key);
        keys.retain(|key| {
            let limit = &mut self.limits[key.index()];
            let before = limit.room(now);
            if fault!(PatchRestartsDecay) {
                limit.bucket =
                    Bucket::of_slots(limit.bucket.slots(limit.rate.unwrap_or_default(), now) + 1, now);
            }
            change(limit);
            before < limit.room(now)
        });
        Ok(keys)
    }
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}
