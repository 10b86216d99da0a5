//! Who holds what: taking all or nothing, giving back once, and listing holders.

use std::time::Duration;

use hashbrown::hash_map::Entry as MapEntry;
use serde::{Deserialize, Serialize};

use super::book::{Book, Limit, NIL};
use super::demand::{Ask, DEMAND_LIMITS_MAX, Demand, DemandError, LimitKey};
use super::lease::LeaseId;

/// Who holds slots. All but anonymous holders can be looked up, and each holds at most one grant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// One attempt of a run: its row and the attempt's number, as the engine counts them.
    Run {
        /// The row.
        row: u32,
        /// The attempt.
        attempt: u32,
    },
    /// A task run, likewise.
    TaskRun {
        /// The row.
        row: u32,
        /// The attempt.
        attempt: u32,
    },
    /// Somebody outside, for a time.
    Lease(LeaseId),
    /// A permit in this process; known by its grant alone.
    Anonymous,
}

impl Holder {
    /// A run's attempt.
    #[must_use]
    pub const fn run(row: u32, attempt: u32) -> Self {
        Self::Run { row, attempt }
    }

    /// A task run's attempt.
    #[must_use]
    pub const fn task_run(row: u32, attempt: u32) -> Self {
        Self::TaskRun { row, attempt }
    }

    fn is_found(self) -> bool {
        self != Self::Anonymous
    }
}

/// Names what one holder took in one step. Giving it back ends it; afterwards it finds nothing, never a stranger.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Grant {
    index: u32,
    generation: u32,
}

/// A demand does not fit now. Nothing was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the limit has room for {room} slots, {weight} were asked for; retry when some are given back")]
pub struct Refused {
    /// The first limit of the demand that does not fit.
    pub limit: LimitKey,
    /// The slots asked of it.
    pub weight: u32,
    /// The slots it has.
    pub room: u32,
    /// For a decaying limit: when the slots will be there if nobody else takes any, to the nanosecond. `None` when time
    /// alone does not bring them: a plain limit, or a weight above the limit.
    pub retry_after: Option<Duration>,
}

/// Nothing was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// A limit has no room now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The holder has a grant already, which is unchanged.
    #[error("this holder has its slots already; release them before it takes others")]
    AlreadyHolds(Grant),
}

/// The grants, by index.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) places: Vec<Place>,
    free: Vec<u32>,
    /// Grants opened so far.
    opened: u64,
    /// Changes of the levels of limits that decay.
    pub(super) poured: u64,
}

/// One grant's place.
#[derive(Debug)]
pub(super) struct Place {
    generation: u32,
    sequence: u64,
    pub(super) len: u8,
    pub(super) live: bool,
    pub(super) holder: Holder,
    /// The first `len` are in use, but for those whose `limit` is `NIL`: their limit was removed.
    pub(super) entries: [Entry; DEMAND_LIMITS_MAX],
}

/// Slots of one limit in one grant, and its neighbours in that limit's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) limit: u32,
    pub(super) weight: u32,
    prev: u32,
    next: u32,
}

impl Entry {
    const FREE: Self = Self {
        limit: NIL,
        weight: 0,
        prev: NIL,
        next: NIL,
    };
}

const PER_PLACE: u32 = 12;
const _: () = assert!(PER_PLACE as usize == DEMAND_LIMITS_MAX);
/// As many places as entries can be numbered in 32 bits, `NIL` excluded.
const PLACES_MAX: u32 = NIL / PER_PLACE;

impl Grants {
    /// The entry numbered `at`.
    fn entry(&mut self, at: u32) -> &mut Entry {
        &mut self.places[(at / PER_PLACE) as usize].entries[(at % PER_PLACE) as usize]
    }

    /// The grants there are, in the order of taking.
    pub(super) fn by_order(&self) -> impl Iterator<Item = &Place> {
        let mut live: Vec<&Place> = self.places.iter().filter(|place| place.live).collect();
        live.sort_unstable_by_key(|place| place.sequence);
        live.into_iter()
    }

    fn open(&mut self, holder: Holder) -> u32 {
        self.opened += 1;
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.live = true;
            place.len = 0;
            place.sequence = self.opened;
            place.holder = holder;
            return index;
        }
        let index = u32::try_from(self.places.len())
            .ok()
            .filter(|&index| index < PLACES_MAX)
            .expect("357 million grants are 80 GB; memory ends before");
        self.places.push(Place {
            generation: 0,
            sequence: self.opened,
            len: 0,
            live: true,
            holder,
            entries: [Entry::FREE; DEMAND_LIMITS_MAX],
        });
        index
    }

    fn close(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        place.live = false;
        self.free.push(index);
    }

    fn grant(&self, index: u32) -> Grant {
        Grant {
            index,
            generation: self.places[index as usize].generation,
        }
    }

    fn get(&self, grant: Grant) -> Option<&Place> {
        self.places
            .get(grant.index as usize)
            .filter(|place| place.live && place.generation == grant.generation)
    }

    /// Puts an entry in a free position of a grant, at the end of its limit's list.
    fn link(&mut self, limit: &mut Limit, index: u32, position: u8, ask: Ask, now: Duration) {
        let place = &mut self.places[index as usize];
        let at = index * PER_PLACE + u32::from(position);
        let tail = limit.tail;
        place.entries[usize::from(position)] = Entry {
            limit: ask.limit.index,
            weight: ask.weight,
            prev: tail,
            next: NIL,
        };
        place.len = place.len.max(position + 1);
        limit.tail = at; // B2
        if tail == NIL {
            limit.head = at;
        } else {
            self.entry(tail).next = at;
        }
        limit.held += u64::from(ask.weight); // B1
        if let Some(rate) = limit.rate {
            limit.bucket.pour(rate, ask.weight, now);
            self.poured += 1;
        }
    }

    /// Takes an entry out of its limit's list and gives its slots back.
    fn unlink(&mut self, limits: &mut [Limit], at: u32, now: Duration) -> Option<Ask> {
        let entry = *self.entry(at);
        if entry.limit == NIL {
            return None;
        }
        let limit = &mut limits[entry.limit as usize];
        if entry.prev == NIL {
            limit.head = entry.next; // B2
        } else {
            self.entry(entry.prev).next = entry.next;
        }
        if entry.next == NIL {
            limit.tail = entry.prev;
        } else {
            self.entry(entry.next).prev = entry.prev;
        }
        self.entry(at).limit = NIL;
        limit.held -= u64::from(entry.weight); // B1
        if let Some(rate) = limit.rate {
            limit.bucket.drain(rate, entry.weight, now);
            self.poured += 1;
        }
        Some(Ask {
            limit: LimitKey {
                index: entry.limit,
                generation: limit.generation,
            },
            weight: entry.weight,
        })
    }
}

/// The first ask that does not fit.
fn refusal(limits: &[Limit], demand: &Demand, now: Duration) -> Option<Ask> {
    demand
        .asks()
        .iter()
        .find(|ask| {
            limits
                .get(ask.limit.index())
                .is_some_and(|limit| limit.generation == ask.limit.generation && !limit.fits(ask.weight, now))
        })
        .copied()
}

impl Book {
    /// Whether the whole demand fits now. Limits that are inactive or gone admit everything (L7).
    ///
    /// # Errors
    ///
    /// [`Refused`] with the first limit that does not fit.
    pub fn check(&self, demand: &Demand, now: Duration) -> Result<(), Refused> {
        match refusal(&self.limits, demand, now) {
            None => Ok(()),
            Some(ask) => Err(self.refused(ask, now)),
        }
    }

    #[cold]
    fn refused(&self, ask: Ask, now: Duration) -> Refused {
        let limit = &self.limits[ask.limit.index()];
        Refused {
            limit: ask.limit,
            weight: ask.weight,
            room: limit.room(now),
            retry_after: limit.fits_in(ask.weight, now),
        }
    }

    /// Whether one ask fits now.
    #[must_use]
    pub fn fits(&self, ask: Ask, now: Duration) -> bool {
        self.get(ask.limit)
            .is_none_or(|limit| limit.fits(ask.weight, now))
    }

    /// The exact time until an ask fits a limit that decays, by time alone; zero if it fits. `None` as in
    /// [`Refused::retry_after`].
    #[must_use]
    pub fn wait_for(&self, ask: Ask, now: Duration) -> Option<Duration> {
        let limit = self.get(ask.limit)?;
        limit.rate?;
        if limit.fits(ask.weight, now) {
            return Some(Duration::ZERO);
        }
        limit.fits_in(ask.weight, now)
    }

    /// Takes all of the demand in one step, or nothing (L3).
    ///
    /// # Errors
    ///
    /// [`TakeError::Refused`] when a limit has no room, [`TakeError::AlreadyHolds`] when the holder has a grant, whatever it
    /// is for.
    pub fn take(&mut self, demand: &Demand, holder: Holder, now: Duration) -> Result<Grant, TakeError> {
        self.enter(demand, holder, now, false)
    }

    /// Takes all of the demand whether it fits or not: for what runs already, when a document is restored or a state is
    /// forced. Admits no one else until the limits fall below.
    ///
    /// # Errors
    ///
    /// [`TakeError::AlreadyHolds`].
    pub fn seize(&mut self, demand: &Demand, holder: Holder, now: Duration) -> Result<Grant, TakeError> {
        self.enter(demand, holder, now, true)
    }

    fn enter(
        &mut self,
        demand: &Demand,
        holder: Holder,
        now: Duration,
        seize: bool,
    ) -> Result<Grant, TakeError> {
        let vacant = if holder.is_found() {
            match self.by_holder.entry(holder) {
                MapEntry::Occupied(entry) => {
                    return Err(TakeError::AlreadyHolds(self.grants.grant(*entry.get())));
                }
                MapEntry::Vacant(entry) => Some(entry),
            }
        } else {
            None
        };
        if !seize && let Some(ask) = refusal(&self.limits, demand, now) {
            return Err(self.refused(ask, now).into());
        }
        let index = self.grants.open(holder);
        if let Some(entry) = vacant {
            entry.insert(index); // B3
        }
        let mut position = 0;
        for &ask in demand.asks() {
            let limit = self.limits.get_mut(ask.limit.index());
            if let Some(limit) = limit.filter(|limit| limit.generation == ask.limit.generation) {
                self.grants.link(limit, index, position, ask, now);
                position += 1;
            }
        }
        Ok(self.grants.grant(index))
    }

    /// Gives back everything a grant holds, exactly once (L2). A decaying limit is drained by as much, never below zero.
    ///
    /// Returns what was held, so that waiters of those limits can be let in as far as there is [`room`](Self::room);
    /// `None` if the grant has ended before.
    pub fn release(&mut self, grant: Grant, now: Duration) -> Option<Demand> {
        self.grants.get(grant)?;
        Some(self.give_back(grant.index, now))
    }

    /// As [`release`](Self::release), for a caller whom nobody waits for.
    pub(super) fn release_unseen(&mut self, grant: Grant, now: Duration) {
        if self.grants.get(grant).is_some() {
            self.give_back_each(grant.index, now, |_| {});
        }
    }

    /// Gives back everything a holder holds, exactly once; as [`release`](Self::release).
    pub fn release_holder(&mut self, holder: Holder, now: Duration) -> Option<Demand> {
        let &index = self.by_holder.get(&holder)?;
        Some(self.give_back(index, now))
    }

    /// What a holder has.
    #[must_use]
    pub fn grant_of(&self, holder: Holder) -> Option<Grant> {
        self.by_holder.get(&holder).map(|&index| self.grants.grant(index))
    }

    /// Who has a grant; `None` if it has ended.
    #[must_use]
    pub fn holder_of(&self, grant: Grant) -> Option<Holder> {
        self.grants.get(grant).map(|place| place.holder)
    }

    /// What a grant holds; `None` if it has ended.
    #[must_use]
    pub fn holdings(&self, grant: Grant) -> Option<Demand> {
        let place = self.grants.get(grant)?;
        let mut demand = Demand::new();
        for entry in &place.entries[..usize::from(place.len)] {
            if entry.limit != NIL {
                demand
                    .push(Ask {
                        limit: self.key(entry.limit),
                        weight: entry.weight,
                    })
                    .expect("a grant names each limit once");
            }
        }
        Some(demand)
    }

    /// Who holds slots of a limit, and how many, in the order of taking. Slots incremented by name are not listed; see
    /// [`anonymous`](Self::anonymous). Costs as much as is read.
    pub fn holders(&self, limit: LimitKey) -> impl Iterator<Item = (Holder, u32)> {
        let mut at = self.get(limit).map_or(NIL, |limit| limit.head);
        std::iter::from_fn(move || {
            if at == NIL {
                return None;
            }
            let place = &self.grants.places[(at / PER_PLACE) as usize];
            let entry = place.entries[(at % PER_PLACE) as usize];
            at = entry.next;
            Some((place.holder, entry.weight))
        })
    }

    /// How many grants there are.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.grants.places.len() - self.grants.free.len()
    }

    /// Adds a limit to what a grant holds, whether it fits or not: a limit that is attached to something counts what
    /// already runs (L1).
    ///
    /// # Errors
    ///
    /// A weight of 0, a limit that the grant holds already, or one too many. A grant that has ended and a limit that is
    /// gone are left alone.
    pub fn attach(&mut self, grant: Grant, ask: Ask, now: Duration) -> Result<(), DemandError> {
        let Some(mut held) = self.holdings(grant) else {
            return Ok(());
        };
        let limit = self.limits.get_mut(ask.limit.index());
        let Some(limit) = limit.filter(|limit| limit.generation == ask.limit.generation) else {
            return Ok(());
        };
        held.push(ask)?;
        let place = &self.grants.places[grant.index as usize];
        let position = (0..)
            .zip(&place.entries)
            .find_map(|(position, entry)| (place.len <= position || entry.limit == NIL).then_some(position))
            .ok_or(DemandError::TooMany)?;
        self.grants.link(limit, grant.index, position, ask, now);
        Ok(())
    }

    /// Gives back what a grant holds of one limit. Returns how many slots that were; `None` if it held none.
    pub fn detach(&mut self, grant: Grant, limit: LimitKey, now: Duration) -> Option<u32> {
        self.get(limit)?;
        let place = self.grants.get(grant)?;
        let position = place.entries[..usize::from(place.len)]
            .iter()
            .position(|entry| entry.limit == limit.index)?;
        let at = grant.index * PER_PLACE + u32::try_from(position).ok()?;
        let ask = self.grants.unlink(&mut self.limits, at, now)?;
        self.collect(limit, now);
        Some(ask.weight)
    }

    /// Hands a grant to another holder, as when an attempt is retried and keeps its slots.
    ///
    /// # Errors
    ///
    /// [`TakeError::AlreadyHolds`] when that holder has a grant; then nothing is changed. A grant that has ended is left
    /// alone. A lease's grant ends with its lease: it stays where it is, and no other grant is handed to a lease.
    pub fn pass_on(&mut self, grant: Grant, holder: Holder) -> Result<(), TakeError> {
        let Some(place) = self.grants.get(grant) else {
            return Ok(());
        };
        let old = place.holder;
        if old == holder || matches!(old, Holder::Lease(_)) || matches!(holder, Holder::Lease(_)) {
            return Ok(());
        }
        if holder.is_found() {
            match self.by_holder.entry(holder) {
                MapEntry::Occupied(entry) => {
                    return Err(TakeError::AlreadyHolds(self.grants.grant(*entry.get())));
                }
                MapEntry::Vacant(entry) => {
                    entry.insert(grant.index); // B3
                }
            }
        }
        self.by_holder.remove(&old);
        self.grants.places[grant.index as usize].holder = holder;
        Ok(())
    }

    fn give_back(&mut self, index: u32, now: Duration) -> Demand {
        let mut released = Demand::new();
        self.give_back_each(index, now, |ask| {
            released.push(ask).expect("a grant names each limit once");
        });
        released
    }

    fn give_back_each(&mut self, index: u32, now: Duration, mut each: impl FnMut(Ask)) {
        let place = &self.grants.places[index as usize];
        let (len, holder) = (u32::from(place.len), place.holder);
        if holder.is_found() {
            self.by_holder.remove(&holder); // B3
            if let Holder::Lease(id) = holder {
                self.end_lease(id); // B5
            }
        }
        for at in index * PER_PLACE..index * PER_PLACE + len {
            if let Some(ask) = self.grants.unlink(&mut self.limits, at, now) {
                if self.limits[ask.limit.index()].made_by.is_some() {
                    self.collect(ask.limit, now);
                }
                each(ask);
            }
        }
        self.grants.close(index);
    }

    /// Takes a limit that is being removed out of all grants.
    pub(super) fn detach_all(&mut self, key: LimitKey) {
        let limit = &mut self.limits[key.index()];
        let mut at = limit.head;
        limit.head = NIL;
        limit.tail = NIL;
        limit.held = 0;
        limit.anonymous = 0;
        while at != NIL {
            let entry = self.grants.entry(at);
            entry.limit = NIL;
            at = entry.next;
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Book {
    /// Panics unless every invariant of the book holds.
    pub(crate) fn check_invariants(&self) {
        use super::book::Kind;

        let mut held = vec![0_u64; self.limits.len()];
        let mut entries = vec![0_usize; self.limits.len()];
        for (index, place) in (0_u32..).zip(&self.grants.places) {
            if !place.live {
                continue;
            }
            if place.holder.is_found() {
                assert_eq!(self.by_holder.get(&place.holder), Some(&index), "B3 broken");
            }
            for entry in &place.entries[..usize::from(place.len)] {
                if entry.limit != NIL {
                    held[entry.limit as usize] += u64::from(entry.weight);
                    entries[entry.limit as usize] += 1;
                }
            }
        }
        let found = self
            .grants
            .places
            .iter()
            .filter(|place| place.live && place.holder.is_found());
        assert_eq!(self.by_holder.len(), found.count(), "B3 broken");
        let mut named = 0;
        for (index, limit) in (0_u32..).zip(&self.limits) {
            let key = self.key(index);
            if limit.kind == Kind::Free {
                assert_eq!(entries[key.index()], 0, "an entry names a free place");
                continue;
            }
            assert_eq!(limit.held, held[key.index()] + limit.anonymous, "B1 broken");
            assert!(
                limit.rate.is_none() || limit.anonymous == 0,
                "B1 broken: a bucket keeps no count"
            );
            let listed: Vec<_> = self.holders(key).collect();
            assert_eq!(listed.len(), entries[key.index()], "B2 broken");
            if limit.kind != Kind::Internal {
                named += 1;
                assert_eq!(self.names.get(&limit.name), Some(&index), "B4 broken");
            }
        }
        assert_eq!(self.names.len(), named, "B4 broken");
        assert_eq!(self.leases.len(), self.expiries.len(), "B5 broken");
        for (&id, lease) in &self.leases {
            assert!(self.by_holder.contains_key(&Holder::Lease(id)), "B5 broken");
            assert!(self.expiries.contains(&(lease.expires, id)), "B5 broken");
        }
    }
}
