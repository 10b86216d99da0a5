//! Named limits shared between threads: one [`Book`] behind one short lock, permits over several limits at once, and who
//! waits for them.
//!
//! # Waiting
//!
//! A waiter stands at one limit: the first of its demand that has no room, or at which somebody who came earlier stands.
//! When that limit has room again the waiters there are looked at in the order of their coming: one whose whole demand fits
//! is let in; one that is stopped by another limit goes to stand there, at the place its coming gives it; the first that is
//! stopped by this very limit ends the look. So as many are let in as fit, a heavy waiter is not overtaken at its limit, who
//! waits elsewhere delays nobody here, and nothing is held while waiting, so there is no deadlock.
//!
//! * **W1** whenever the lock is free, the first waiter at each limit does not fit that limit, but for limits that have not
//!   been looked at yet by a change that let go of the lock between two batches;
//! * **W2** a waiter stands at exactly one limit, one that it asks for;
//! * **W3** a decaying limit with waiters is due when its first one will fit; every call that takes the time looks at what
//!   is due first.
//!
//! A release costs the waiters it lets in and those that move on, each logarithmic in who waits; the lock is held for a
//! batch of them at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::book::{Book, LimitStatus};
use super::by_name::{IncrementError, Incremented, Mode};
use super::demand::{Demand, LimitKey, Request, RequestError};
use super::faults::{Fault, Faults};
use super::grants::{Grant, Holder, Refused, TakeError};
use super::lease::{Lapsed, LeaseError, LeaseHolder, LeaseId};
use super::spec::{LimitSpec, SpecError};
use super::wake::WakeList;
use crate::sync::{Arc, Mutex};

/// Waiters that move on under one holding of the lock, besides those let in.
const MOVES_MAX: usize = 64;

/// Named limits for any number of threads. Cloning gives another handle on the same limits.
///
/// `now` is monotonic time; a call that is given an earlier time than another call before it uses the later one. Dropping a
/// permit takes no time: draining and giving back a bucket's slots can be done in either order with the same result, so
/// the last time that was told is as good as the true one.
///
/// ```
/// use std::time::Duration;
/// use tenfold::limit::{Limits, LimitSpec, Request};
///
/// let now = Duration::ZERO;
/// let limits = Limits::new();
/// limits.define(LimitSpec::new("database", 2), now)?;
/// limits.define(LimitSpec::new("tenant:*", 1), now)?;
///
/// let request = Request::new().slot("database").slot("tenant:42");
/// let both = limits.try_acquire(&request, now)?;
/// assert!(limits.try_acquire(&request, now).is_err(), "this tenant has its one");
/// drop(both);
/// assert!(limits.try_acquire(&request, now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    faults: Faults,
}

#[derive(Default)]
struct State {
    book: Book,
    latest: Duration,
    /// Who stands where. No line is empty.
    lines: BTreeMap<LimitKey, Line>,
    /// The lines of decaying limits, by when the first of each will fit.
    dues: BTreeSet<(Duration, LimitKey)>,
    /// Who waits, or was let in and has not looked yet, by the order of coming.
    waiters: BTreeMap<u64, Waiter>,
    next: u64,
}

/// Who stands at one limit, by the order of coming, and when the first will fit (W3).
#[derive(Default)]
struct Line {
    turns: BTreeSet<u64>,
    due: Option<Duration>,
}

struct Waiter {
    demand: Demand,
    holder: Holder,
    /// Where it stands; nowhere once it was called.
    at: Option<LimitKey>,
    answer: Option<Result<Grant, LimitsError>>,
    waker: Option<Waker>,
}

/// Slots of several limits, given back together when dropped.
#[must_use = "the slots are given back when the permit is dropped"]
pub struct MultiPermit<'a> {
    shared: &'a Shared,
    grant: Grant,
}

/// Slots of several limits that can be moved anywhere, given back together when dropped.
#[must_use = "the slots are given back when the permit is dropped"]
pub struct OwnedMultiPermit {
    shared: Arc<Shared>,
    grant: Grant,
}

/// A request resolved once, to be granted many times without looking up a name. Until it is dropped, the limits that
/// templates made for it are kept.
pub struct Prepared {
    shared: Arc<Shared>,
    demand: Demand,
}

/// A wait for slots of several limits. It has its place in line since it was made, polled or not; dropping it at any point
/// leaves the line and keeps nothing. Needs no particular runtime.
#[must_use = "dropping it leaves the line"]
pub struct Waiting {
    shared: Arc<Shared>,
    ready: Option<Grant>,
    turn: Option<u64>,
}

/// Nothing was taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// It could never be granted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not now: a limit has no room, or others wait there.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The holder has slots already.
    #[error("this holder has its slots already; release them before it takes others")]
    AlreadyHolds,
}

impl From<TakeError> for LimitsError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Refused(refused) => Self::Refused(refused),
            TakeError::AlreadyHolds(_) => Self::AlreadyHolds,
        }
    }
}

impl State {
    /// The first limit of the demand at which somebody who came at `turn` has to stand.
    fn stop(&self, demand: &Demand, turn: u64) -> Option<LimitKey> {
        let refused = self
            .book
            .check(demand, self.latest)
            .err()
            .map(|refused| refused.limit);
        demand.asks().iter().map(|ask| ask.limit).find(|limit| {
            let line = self.lines.get(limit).and_then(|line| line.turns.first());
            refused == Some(*limit) || line.is_some_and(|&first| first < turn)
        })
    }

    /// Whether what the demand asks of this limit fits there.
    fn fits_at(&self, demand: &Demand, limit: LimitKey) -> bool {
        let ask = demand.asks().iter().find(|ask| ask.limit == limit);
        ask.is_none_or(|&ask| self.book.fits(ask, self.latest))
    }

    /// Takes unless somebody waits at one of the limits.
    fn try_take(&mut self, demand: &Demand, holder: Holder) -> Result<Grant, LimitsError> {
        if !self.lines.is_empty()
            && let Some(ask) = demand
                .asks()
                .iter()
                .find(|ask| self.lines.contains_key(&ask.limit))
        {
            self.book.check(demand, self.latest)?;
            return Err(LimitsError::Refused(Refused {
                limit: ask.limit,
                weight: ask.weight,
                room: self.book.room(ask.limit, self.latest),
                retry_after: None,
            }));
        }
        Ok(self.book.take(demand, holder, self.latest)?)
    }

    fn stand(&mut self, turn: u64, limit: LimitKey) {
        let line = self.lines.entry(limit).or_default();
        line.turns.insert(turn);
        let first = line.turns.first() == Some(&turn);
        if let Some(waiter) = self.waiters.get_mut(&turn) {
            waiter.at = Some(limit); // W2
        }
        if first {
            self.set_due(limit);
        }
    }

    fn step_out(&mut self, turn: u64, limit: LimitKey) {
        if let Some(waiter) = self.waiters.get_mut(&turn) {
            waiter.at = None;
        }
        if let Some(line) = self.lines.get_mut(&limit) {
            line.turns.remove(&turn);
            if line.turns.is_empty() {
                let due = line.due;
                self.lines.remove(&limit);
                if let Some(due) = due {
                    self.dues.remove(&(due, limit));
                }
            }
        }
    }

    /// Works out when the first in line will fit (W3).
    fn set_due(&mut self, limit: LimitKey) {
        let Some(line) = self.lines.get_mut(&limit) else {
            return;
        };
        let waiter = line.turns.first().and_then(|first| self.waiters.get(first));
        let ask = waiter.and_then(|waiter| waiter.demand.asks().iter().find(|ask| ask.limit == limit));
        let wait = ask.and_then(|ask| self.book.wait_for(*ask, self.latest));
        let due = wait.map(|wait| self.latest.saturating_add(wait));
        if line.due != due {
            if let Some(old) = std::mem::replace(&mut line.due, due) {
                self.dues.remove(&(old, limit));
            }
            self.dues.extend(due.map(|due| (due, limit)));
        }
    }

    /// Looks at who stands at these limits. Leaves in `limits` what is still to be looked at when a batch is full.
    fn let_in(&mut self, limits: &mut Vec<LimitKey>, wakes: &mut WakeList) {
        let mut moves = 0;
        while let Some(&limit) = limits.last() {
            if wakes.is_full() || moves == MOVES_MAX {
                return;
            }
            let Some(&turn) = self.lines.get(&limit).and_then(|line| line.turns.first()) else {
                limits.pop();
                continue;
            };
            let waiter = self.waiters.get(&turn).expect("who stands in line waits (W2)");
            let (demand, holder) = (waiter.demand.clone(), waiter.holder);
            if !self.fits_at(&demand, limit) {
                self.set_due(limit);
                limits.pop();
                continue;
            }
            match self.stop(&demand, turn) {
                Some(stop) => {
                    self.step_out(turn, limit);
                    self.stand(turn, stop);
                    moves += 1;
                }
                None => {
                    self.step_out(turn, limit);
                    let answer = self.book.take(&demand, holder, self.latest);
                    let waiter = self.waiters.get_mut(&turn).expect("just seen");
                    waiter.answer = Some(answer.map_err(LimitsError::from));
                    wakes.push(waiter.waker.take());
                }
            }
        }
    }

    /// Moves on to `now` and says at which limits there may be room by it.
    fn pass_to(&mut self, now: Duration) -> (Vec<LimitKey>, Vec<Lapsed>) {
        self.latest = self.latest.max(now);
        let mut open = Vec::new();
        let mut lapsed = Vec::new();
        if self
            .book
            .next_expiry()
            .is_some_and(|expiry| expiry <= self.latest)
        {
            lapsed = self.book.expire(self.latest);
            let asks = lapsed.iter().flat_map(|lapsed| lapsed.released.asks());
            open.extend(asks.map(|ask| ask.limit));
        }
        while let Some(&(due, limit)) = self.dues.first()
            && due <= self.latest
        {
            self.dues.remove(&(due, limit));
            if let Some(line) = self.lines.get_mut(&limit) {
                line.due = None;
            }
            open.push(limit);
        }
        (open, lapsed)
    }

    /// Gives a grant back and says where there is room now, if anybody waits.
    fn release(&mut self, grant: Grant) -> Vec<LimitKey> {
        if self.lines.is_empty() {
            self.book.release_unseen(grant, self.latest);
            return Vec::new();
        }
        let released = self.book.release(grant, self.latest);
        released.as_ref().map(limits_of).unwrap_or_default()
    }
}

fn limits_of(demand: &Demand) -> Vec<LimitKey> {
    demand.asks().iter().map(|ask| ask.limit).collect()
}

impl Shared {
    /// Changes something, then lets in who can go. The change says at which limits to look.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> (R, Vec<LimitKey>)) -> R {
        let mut state = self.state.lock();
        let (answer, mut limits) = change(&mut state);
        if limits.is_empty() || state.lines.is_empty() {
            return answer;
        }
        let mut wakes = WakeList::default();
        loop {
            state.let_in(&mut limits, &mut wakes);
            drop(state);
            wakes.wake();
            if limits.is_empty() {
                return answer;
            }
            state = self.state.lock();
        }
    }

    /// As [`change`](Self::change), after what `now` makes due.
    fn change_at<R>(
        &self,
        now: Duration,
        change: impl FnOnce(&mut State, Duration) -> (R, Vec<LimitKey>),
    ) -> R {
        // What is due is let in before the change sees the book, so that no newcomer is put before who waited.
        let due = |state: &mut State| {
            let (open, _) = state.pass_to(now);
            ((), open)
        };
        let mut state = self.state.lock();
        let ((), open) = due(&mut state);
        if !open.is_empty() && !state.lines.is_empty() {
            drop(state);
            self.change(|_| ((), open));
            state = self.state.lock();
        }
        let now = state.latest;
        let (answer, limits) = change(&mut state, now);
        drop(state);
        if !limits.is_empty() {
            self.change(|_| ((), limits));
        }
        answer
    }
}

impl Limits {
    /// No limits yet.
    #[must_use]
    pub fn new() -> Self {
        Self::over(Book::new())
    }

    /// Shares this book, for instance one that was restored.
    #[must_use]
    pub fn over(book: Book) -> Self {
        Self::with_faults(book, Faults::default())
    }

    pub(super) fn with_faults(book: Book, faults: Faults) -> Self {
        let state = State {
            book,
            ..State::default()
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            faults,
        }))
    }

    /// Defines a limit or a template; see [`Book::define`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn define(&self, spec: LimitSpec, now: Duration) -> Result<LimitKey, SpecError> {
        self.0.change_at(now, |state, now| {
            let key = state.book.define(spec, now);
            let open = key.as_ref().map(|&key| vec![key]).unwrap_or_default();
            (key, open)
        })
    }

    /// The limit or template of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<LimitKey> {
        self.0.state.lock().book.find(name)
    }

    /// Sets the number of slots; raising lets in who fits, lowering takes nothing away.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`].
    pub fn set_slots(&self, limit: LimitKey, slots: u32, now: Duration) -> Result<(), SpecError> {
        self.edit(now, |book, now| book.set_slots(limit, slots, now))
    }

    /// Activates or deactivates a limit; an inactive one lets everybody in.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`].
    pub fn set_active(&self, limit: LimitKey, active: bool, now: Duration) -> Result<(), SpecError> {
        self.edit(now, |book, now| book.set_active(limit, active, now))
    }

    /// Sets the slots that drain away each second.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`], or a decay that is no rate.
    pub fn set_decay(&self, limit: LimitKey, slots_per_second: f64, now: Duration) -> Result<(), SpecError> {
        self.edit(now, |book, now| book.set_decay(limit, slots_per_second, now))
    }

    /// Gives a limit another name.
    ///
    /// # Errors
    ///
    /// As [`Book::rename`].
    pub fn rename(&self, limit: LimitKey, name: &str) -> Result<(), SpecError> {
        self.0.state.lock().book.rename(limit, name)
    }

    /// Removes a limit, in use or not, and lets its waiters go on.
    ///
    /// # Errors
    ///
    /// [`SpecError::Gone`].
    pub fn remove(&self, limit: LimitKey, now: Duration) -> Result<(), SpecError> {
        self.edit(now, |book, _| book.remove(limit))
    }

    fn edit(
        &self,
        now: Duration,
        edit: impl FnOnce(&mut Book, Duration) -> Result<Vec<LimitKey>, SpecError>,
    ) -> Result<(), SpecError> {
        self.0
            .change_at(now, |state, now| match edit(&mut state.book, now) {
                Ok(open) => (Ok(()), open),
                Err(error) => (Err(error), Vec::new()),
            })
    }

    /// Takes everything the request names, or nothing, without waiting. Nobody who waits at one of the limits is overtaken.
    ///
    /// # Errors
    ///
    /// [`LimitsError::Refused`] for *not now*, [`LimitsError::Request`] for *never*.
    pub fn try_acquire(&self, request: &Request, now: Duration) -> Result<MultiPermit<'_>, LimitsError> {
        self.try_acquire_as(request, Holder::Anonymous, now)
    }

    /// As [`try_acquire`](Self::try_acquire), for a holder that [`holders`](Self::holders) will show.
    ///
    /// # Errors
    ///
    /// As there, and [`LimitsError::AlreadyHolds`].
    pub fn try_acquire_as(
        &self,
        request: &Request,
        holder: Holder,
        now: Duration,
    ) -> Result<MultiPermit<'_>, LimitsError> {
        let grant = self.take_by_name(request, holder, now)?;
        Ok(MultiPermit {
            shared: &self.0,
            grant,
        })
    }

    /// As [`try_acquire_as`](Self::try_acquire_as), with a permit that can be moved anywhere.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire_owned(
        &self,
        request: &Request,
        holder: Holder,
        now: Duration,
    ) -> Result<OwnedMultiPermit, LimitsError> {
        let grant = self.take_by_name(request, holder, now)?;
        Ok(OwnedMultiPermit {
            shared: Arc::clone(&self.0),
            grant,
        })
    }

    fn take_by_name(&self, request: &Request, holder: Holder, now: Duration) -> Result<Grant, LimitsError> {
        self.0.change_at(now, |state, now| {
            let answer = match state.book.resolve(request.iter(), now) {
                Ok(demand) => {
                    let answer = state.try_take(&demand, holder);
                    state.book.forget(&demand, now);
                    answer
                }
                Err(error) => Err(error.into()),
            };
            (answer, Vec::new())
        })
    }

    /// Takes everything the request names, or stands in line for it.
    ///
    /// # Errors
    ///
    /// [`LimitsError::Request`] for *never*, said at once and not waited for.
    pub fn acquire(&self, request: &Request, now: Duration) -> Result<Waiting, LimitsError> {
        self.prepare(request, now)
            .map(|prepared| prepared.acquire(now))
            .map_err(LimitsError::from)
    }

    /// Looks the names up once, to take by them many times.
    ///
    /// # Errors
    ///
    /// What could never be granted.
    pub fn prepare(&self, request: &Request, now: Duration) -> Result<Prepared, RequestError> {
        let demand = self.0.change_at(now, |state, now| {
            (state.book.resolve(request.iter(), now), Vec::new())
        })?;
        Ok(Prepared {
            shared: Arc::clone(&self.0),
            demand,
        })
    }

    /// Lets in who fits by `now` and ends the leases that have lapsed. Returns those, and when to call again: the earliest
    /// moment at which time alone changes something.
    pub fn advance(&self, now: Duration) -> (Vec<Lapsed>, Option<Duration>) {
        let lapsed = self.0.change(|state| {
            let (open, lapsed) = state.pass_to(now);
            (lapsed, open)
        });
        let state = self.0.state.lock();
        let due = state.dues.first().map(|&(due, _)| due);
        let expiry = state.book.next_expiry();
        (lapsed, due.into_iter().chain(expiry).min())
    }

    /// Takes by name without a holder; see [`Book::increment`]. A limit at which somebody waits is busy.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn increment(
        &self,
        names: &[&str],
        slots: u32,
        mode: Mode,
        now: Duration,
    ) -> Result<Incremented, IncrementError> {
        self.0.change_at(now, |state, now| {
            let answer = state
                .not_waited_for(names, slots)
                .and_then(|()| state.book.increment(names.iter().copied(), slots, mode, now));
            (answer, Vec::new())
        })
    }

    /// Takes by name for a time; see [`Book::increment_with_lease`]. A limit at which somebody waits is busy.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn increment_with_lease(
        &self,
        names: &[&str],
        slots: u32,
        mode: Mode,
        duration: Duration,
        holder: Option<LeaseHolder>,
        now: Duration,
    ) -> Result<(LeaseId, Incremented), IncrementError> {
        self.0.change_at(now, |state, now| {
            let answer = state.not_waited_for(names, slots).and_then(|()| {
                let names = names.iter().copied();
                state
                    .book
                    .increment_with_lease(names, slots, mode, duration, holder, now)
            });
            (answer, Vec::new())
        })
    }

    /// Gives back by name; see [`Book::decrement`].
    pub fn decrement(&self, names: &[&str], slots: u32, occupancy: Option<Duration>, now: Duration) {
        self.0.change_at(now, |state, now| {
            (
                (),
                state.book.decrement(names.iter().copied(), slots, occupancy, now),
            )
        });
    }

    /// Lets a lease last until `now + duration`.
    ///
    /// # Errors
    ///
    /// As [`Book::renew`].
    pub fn renew(&self, id: LeaseId, duration: Duration, now: Duration) -> Result<(), LeaseError> {
        self.0.change_at(now, |state, now| {
            (state.book.renew(id, duration, now), Vec::new())
        })
    }

    /// Ends a lease. Returns whether it was there; if not, nothing happens.
    pub fn release_lease(&self, id: LeaseId, now: Duration) -> bool {
        self.0.change_at(now, |state, now| {
            let released = state.book.release_lease(id, now);
            (
                released.is_some(),
                released.as_ref().map(limits_of).unwrap_or_default(),
            )
        })
    }

    /// How a limit stands; `None` if it is gone.
    #[must_use]
    pub fn status(&self, limit: LimitKey, now: Duration) -> Option<LimitStatus> {
        let state = self.0.state.lock();
        state.book.status(limit, now.max(state.latest))
    }

    /// How all named limits and templates stand at one instant, by name ascending. Holds the lock for as long as it takes to
    /// copy them.
    #[must_use]
    pub fn list(&self, now: Duration) -> Vec<LimitStatus> {
        let state = self.0.state.lock();
        let now = now.max(state.latest);
        let keys = state.book.keys();
        keys.into_iter()
            .filter_map(|key| state.book.status(key, now))
            .collect()
    }

    /// Who holds slots of a limit, in the order of taking.
    #[must_use]
    pub fn holders(&self, limit: LimitKey) -> Vec<(Holder, u32)> {
        self.0.state.lock().book.holders(limit).collect()
    }

    /// How many stand in line at a limit.
    #[must_use]
    pub fn waiting(&self, limit: LimitKey) -> usize {
        let state = self.0.state.lock();
        state.lines.get(&limit).map_or(0, |line| line.turns.len())
    }

    /// Everything but who waits, as a document; see [`Book::export`].
    #[must_use]
    pub fn export(&self, now: Duration) -> super::state::BookState {
        let state = self.0.state.lock();
        state.book.export(now.max(state.latest))
    }

    /// Panics unless the invariants hold.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let state = self.0.state.lock();
        state.book.check_invariants();
        let mut standing = 0;
        for (&limit, line) in &state.lines {
            standing += line.turns.len();
            let first = line.turns.first().expect("no line is empty");
            let demand = &state.waiters[first].demand;
            assert!(!state.fits_at(demand, limit), "W1 broken");
            for turn in &line.turns {
                assert_eq!(state.waiters[turn].at, Some(limit), "W2 broken");
            }
            assert_eq!(
                line.due.is_some(),
                state
                    .dues
                    .iter()
                    .any(|&(due, key)| key == limit && Some(due) == line.due),
                "W3 broken"
            );
        }
        let at_some = state.waiters.values().filter(|waiter| waiter.at.is_some());
        assert_eq!(at_some.count(), standing, "W2 broken");
    }
}

impl State {
    fn not_waited_for(&self, names: &[&str], slots: u32) -> Result<(), IncrementError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        for name in names {
            if let Some(limit) = self.book.find(name)
                && let Some(line) = self.lines.get(&limit)
            {
                let ask = super::demand::Ask {
                    limit,
                    weight: slots.max(1),
                };
                let mut demand = Demand::new();
                demand.push(ask).expect("one limit, with a weight");
                let due = line.due.map(|due| due.saturating_sub(self.latest));
                return Err(IncrementError::Busy {
                    name: (*name).to_owned(),
                    retry_after: due.unwrap_or_else(|| self.book.retry_hint(&demand, self.latest)),
                });
            }
        }
        Ok(())
    }
}

impl Prepared {
    /// Takes everything, or nothing, without waiting.
    ///
    /// # Errors
    ///
    /// [`LimitsError::Refused`].
    pub fn try_acquire(&self, now: Duration) -> Result<MultiPermit<'_>, LimitsError> {
        self.try_acquire_as(Holder::Anonymous, now)
    }

    /// As [`try_acquire`](Self::try_acquire), for a holder that can be seen.
    ///
    /// # Errors
    ///
    /// As there, and [`LimitsError::AlreadyHolds`].
    pub fn try_acquire_as(&self, holder: Holder, now: Duration) -> Result<MultiPermit<'_>, LimitsError> {
        let grant = self.take(holder, now)?;
        Ok(MultiPermit {
            shared: &self.shared,
            grant,
        })
    }

    /// As [`try_acquire_as`](Self::try_acquire_as), with a permit that can be moved anywhere.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire_owned(&self, holder: Holder, now: Duration) -> Result<OwnedMultiPermit, LimitsError> {
        let grant = self.take(holder, now)?;
        Ok(OwnedMultiPermit {
            shared: Arc::clone(&self.shared),
            grant,
        })
    }

    fn take(&self, holder: Holder, now: Duration) -> Result<Grant, LimitsError> {
        self.shared
            .change_at(now, |state, _| (state.try_take(&self.demand, holder), Vec::new()))
    }

    /// Takes everything, or stands in line for it.
    pub fn acquire(&self, now: Duration) -> Waiting {
        self.acquire_as(Holder::Anonymous, now)
    }

    /// As [`acquire`](Self::acquire), for a holder that can be seen. If it has slots when its turn comes, the answer is
    /// [`LimitsError::AlreadyHolds`].
    pub fn acquire_as(&self, holder: Holder, now: Duration) -> Waiting {
        let (ready, turn) = self.shared.change_at(now, |state, _| {
            let turn = state.next;
            let stop = state.stop(&self.demand, turn);
            let answer = match stop {
                None => match state.book.take(&self.demand, holder, state.latest) {
                    Ok(grant) => return ((Some(grant), None), Vec::new()),
                    Err(error) => Some(Err(error.into())),
                },
                Some(_) => None,
            };
            state.next += 1;
            state.book.retain(&self.demand);
            let waiter = Waiter {
                demand: self.demand.clone(),
                holder,
                at: None,
                answer,
                waker: None,
            };
            state.waiters.insert(turn, waiter);
            if let Some(stop) = stop {
                state.stand(turn, stop);
            }
            ((None, Some(turn)), Vec::new())
        });
        Waiting {
            shared: Arc::clone(&self.shared),
            ready,
            turn,
        }
    }
}

impl Waiting {
    fn look(&mut self, waker: &Waker) -> Poll<Result<OwnedMultiPermit, LimitsError>> {
        if let Some(grant) = self.ready.take() {
            return Poll::Ready(Ok(self.permit(grant)));
        }
        let Some(turn) = self.turn else {
            return Poll::Pending;
        };
        // Cloned before, dropped after the lock: both are the user's code.
        let waker = waker.clone();
        let mut state = self.shared.state.lock();
        let waiter = state
            .waiters
            .get_mut(&turn)
            .expect("a turn is kept until it was looked at");
        let Some(answer) = waiter.answer.take() else {
            let old = waiter.waker.replace(waker);
            drop(state);
            drop(old);
            return Poll::Pending;
        };
        let waiter = state.waiters.remove(&turn).expect("just seen");
        let now = state.latest;
        state.book.forget(&waiter.demand, now);
        drop(state);
        self.turn = None;
        Poll::Ready(answer.map(|grant| self.permit(grant)))
    }

    fn permit(&self, grant: Grant) -> OwnedMultiPermit {
        OwnedMultiPermit {
            shared: Arc::clone(&self.shared),
            grant,
        }
    }

    /// Blocks this thread until it is let in, at most for `timeout`; then it has left the line and the answer is `None`.
    ///
    /// Time that lets somebody in by decay has to be told by somebody else, through [`Limits::advance`].
    #[cfg(not(loom))]
    pub fn wait(mut self, timeout: Option<Duration>) -> Option<Result<OwnedMultiPermit, LimitsError>> {
        let (signal, waker) = super::wake::Signal::new();
        if let Poll::Ready(answer) = self.look(&waker) {
            return Some(answer);
        }
        signal.wait(timeout);
        match self.look(&waker) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}

impl Future for Waiting {
    type Output = Result<OwnedMultiPermit, LimitsError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(cx.waker())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.ready.is_none() && self.turn.is_none() {
            return;
        }
        let (ready, turn) = (self.ready.take(), self.turn.take());
        let faults = self.shared.faults;
        let waiter = self.shared.change(|state| {
            if let Some(grant) = ready {
                return (None, state.release(grant));
            }
            let Some((turn, waiter)) = turn.and_then(|turn| state.waiters.remove_entry(&turn)) else {
                return (None, Vec::new());
            };
            let mut open = Vec::new();
            if let Some(limit) = waiter.at {
                state.step_out(turn, limit);
                if !faults.has(Fault::CancelKeepsTurn) {
                    open.push(limit);
                }
            } else if let Some(Ok(grant)) = waiter.answer
                && !faults.has(Fault::CancelLeaks)
            {
                open = state.release(grant);
            }
            let now = state.latest;
            state.book.forget(&waiter.demand, now);
            (Some(waiter), open)
        });
        drop(waiter);
    }
}

impl Shared {
    fn give_back(&self, grant: Grant) {
        if self.faults.has(Fault::ReleaseForgetsWaiters) {
            self.state.lock().release(grant);
            return;
        }
        self.change(|state| ((), state.release(grant)));
    }
}

impl Drop for MultiPermit<'_> {
    fn drop(&mut self) {
        self.shared.give_back(self.grant);
    }
}

impl Drop for OwnedMultiPermit {
    fn drop(&mut self) {
        self.shared.give_back(self.grant);
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let now = state.latest;
        state.book.forget(&self.demand, now);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Limits")
            .field("limits", &state.book.len())
            .field("grants", &state.book.grants())
            .field("waiters", &state.waiters.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MultiPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MultiPermit").field(&self.grant).finish()
    }
}

impl fmt::Debug for OwnedMultiPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedMultiPermit").field(&self.grant).finish()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.demand).finish()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
