//! Named limits shared between threads: one [`Book`] behind one short lock, permits over several limits at once, and who
//! waits for them.
//!
//! Who waits is in [`lines`](super::lines), what is handed out in [`permits`](super::permits).

use std::fmt;
use std::time::Duration;

use super::book::{Book, LimitStatus};
use super::by_name::{IncrementError, Incremented, Mode};
use super::demand::{LimitKey, Request, RequestError};
use super::faults::{Fault, Faults};
use super::grants::{Grant, Holder, Refused, TakeError};
use super::lease::{Lapsed, LeaseError, LeaseHolder, LeaseId};
use super::lines::{State, limits_of};
use super::permits::{MultiPermit, OwnedMultiPermit, Prepared, Waiting};
use super::spec::{LimitSpec, SpecError};
use super::wake::WakeList;
use crate::sync::{Arc, Mutex};

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

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) faults: Faults,
}

/// Nothing was taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// It could never be granted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not now: a limit has no room, or others wait there.
    #[error(
        "limit {name:?} has room for {} slots, {} were asked for{}; retry when some are given back",
        .refused.room, .refused.weight, line(.refused)
    )]
    Refused {
        /// The name of that limit.
        name: std::sync::Arc<str>,
        /// What was asked of it, and when it may be there.
        refused: Refused,
    },
    /// The holder has slots already.
    #[error("this holder has its slots already; release them before it takes others")]
    AlreadyHolds,
}

/// There is room and yet none for a newcomer: others stand in line.
fn line(refused: &Refused) -> &'static str {
    if refused.room < refused.weight {
        ""
    } else {
        " and others wait for them"
    }
}

impl LimitsError {
    pub(super) fn of(error: impl Into<TakeError>, book: &Book) -> Self {
        match error.into() {
            TakeError::Refused(refused) => Self::Refused {
                // A limit that is gone refuses nobody.
                name: book.name(refused.limit).cloned().unwrap_or_default(),
                refused,
            },
            TakeError::AlreadyHolds(_) => Self::AlreadyHolds,
        }
    }
}

impl Shared {
    /// Gives back what a permit holds.
    pub(super) fn give_back(&self, grant: Grant) {
        if self.faults.has(Fault::ReleaseForgetsWaiters) {
            self.state.lock().release(grant);
            return;
        }
        self.change(|state| ((), state.release(grant)));
    }

    /// Changes something, then lets in who can go. The change says at which limits to look.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> (R, Vec<LimitKey>)) -> R {
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
    pub(super) fn change_at<R>(
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
        let state = State::over(book);
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
        Ok(MultiPermit::new(&self.0, grant))
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
        Ok(OwnedMultiPermit::new(&self.0, grant))
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
        Ok(Prepared::new(&self.0, demand))
    }

    /// Lets in who fits by `now` and ends the leases that have lapsed. Returns those, and when to call again: the earliest
    /// moment at which time alone changes something.
    #[must_use = "it says when to call again"]
    pub fn advance(&self, now: Duration) -> (Vec<Lapsed>, Option<Duration>) {
        let lapsed = self.0.change(|state| {
            let (open, lapsed) = state.pass_to(now);
            (lapsed, open)
        });
        (lapsed, self.0.state.lock().next_deadline())
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

    /// Ends a lease: gives its slots back, exactly once, and lets in who waits for them. How long they were held goes into the
    /// averages. Answers whether the lease was there; if not (it was released, or has lapsed), nothing happens.
    #[expect(
        clippy::must_use_candidate,
        reason = "a lease that is gone already is as good"
    )]
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
        self.0.state.lock().check_invariants();
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
