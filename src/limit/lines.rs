//! Who waits at which limit: the pure part of [`Limits`](super::Limits), under its lock.
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
use std::task::Waker;
use std::time::Duration;

use super::book::Book;
use super::by_name::IncrementError;
use super::demand::{Ask, Demand, LimitKey};
use super::faults::{Fault, Faults};
use super::grants::{Grant, Holder, Refused};
use super::lease::Lapsed;
use super::limits::LimitsError;
use super::wake::WakeList;

/// Waiters that move on under one holding of the lock, besides those let in.
const MOVES_MAX: usize = 64;

/// A book and who waits for it.
#[derive(Default)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) latest: Duration,
    /// Who stands where. No line is empty.
    pub(super) lines: BTreeMap<LimitKey, Line>,
    /// The lines of decaying limits, by when the first of each will fit.
    dues: BTreeSet<(Duration, LimitKey)>,
    /// Who waits, or was let in and has not looked yet, by the order of coming.
    pub(super) waiters: BTreeMap<u64, Waiter>,
    next: u64,
}

/// Who stands at one limit, by the order of coming, and when the first will fit (W3).
#[derive(Default)]
pub(super) struct Line {
    pub(super) turns: BTreeSet<u64>,
    due: Option<Duration>,
}

pub(super) struct Waiter {
    demand: Demand,
    holder: Holder,
    /// Where it stands; nowhere once it was called.
    at: Option<LimitKey>,
    answer: Option<Result<Grant, LimitsError>>,
    pub(super) waker: Option<Waker>,
}

impl State {
    /// This book, and nobody waits.
    pub(super) fn over(book: Book) -> Self {
        Self {
            book,
            ..Self::default()
        }
    }

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
    pub(super) fn try_take(&mut self, demand: &Demand, holder: Holder) -> Result<Grant, LimitsError> {
        if !self.lines.is_empty()
            && let Some(ask) = demand
                .asks()
                .iter()
                .find(|ask| self.lines.contains_key(&ask.limit))
        {
            let line = Refused {
                limit: ask.limit,
                weight: ask.weight,
                room: self.book.room(ask.limit, self.latest),
                retry_after: None,
            };
            let refused = self.book.check(demand, self.latest).err().unwrap_or(line);
            return Err(LimitsError::of(refused, &self.book));
        }
        let taken = self.book.take(demand, holder, self.latest);
        taken.map_err(|error| LimitsError::of(error, &self.book))
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
    pub(super) fn let_in(&mut self, limits: &mut Vec<LimitKey>, wakes: &mut WakeList) {
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
            let stop = self.stop(&demand, turn);
            self.step_out(turn, limit);
            if let Some(stop) = stop {
                self.stand(turn, stop);
                moves += 1;
            } else {
                let answer = self.book.take(&demand, holder, self.latest);
                let waiter = self.waiters.get_mut(&turn).expect("just seen");
                waiter.answer = Some(answer.map_err(|error| LimitsError::of(error, &self.book)));
                wakes.push(waiter.waker.take());
            }
        }
    }

    /// Moves on to `now` and says at which limits there may be room by it.
    pub(super) fn pass_to(&mut self, now: Duration) -> (Vec<LimitKey>, Vec<Lapsed>) {
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

    /// The earliest moment at which time alone changes something.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let due = self.dues.first().map(|&(due, _)| due);
        due.into_iter().chain(self.book.next_expiry()).min()
    }

    /// Gives a grant back and says where there is room now, if anybody waits.
    pub(super) fn release(&mut self, grant: Grant) -> Vec<LimitKey> {
        if self.lines.is_empty() {
            self.book.release_unseen(grant, self.latest);
            return Vec::new();
        }
        let released = self.book.release(grant, self.latest);
        released.as_ref().map(limits_of).unwrap_or_default()
    }

    /// Takes now, or comes to wait: what was granted, or the turn.
    pub(super) fn come(&mut self, demand: &Demand, holder: Holder) -> (Option<Grant>, Option<u64>) {
        let turn = self.next;
        let stop = self.stop(demand, turn);
        let answer = match stop {
            None => match self.book.take(demand, holder, self.latest) {
                Ok(grant) => return (Some(grant), None),
                Err(error) => Some(Err(LimitsError::of(error, &self.book))),
            },
            Some(_) => None,
        };
        self.next += 1;
        self.book.retain(demand);
        let waiter = Waiter {
            demand: demand.clone(),
            holder,
            at: None,
            answer,
            waker: None,
        };
        self.waiters.insert(turn, waiter);
        if let Some(stop) = stop {
            self.stand(turn, stop);
        }
        (None, Some(turn))
    }

    /// The answer to who waits, if there is one; then the turn is over. Else has this waker woken and gives the old one
    /// back, to be dropped without the lock.
    pub(super) fn look(
        &mut self,
        turn: u64,
        waker: Waker,
    ) -> Result<Result<Grant, LimitsError>, Option<Waker>> {
        let waiter = self
            .waiters
            .get_mut(&turn)
            .expect("a turn is kept until it was looked at");
        let Some(answer) = waiter.answer.take() else {
            return Err(waiter.waker.replace(waker));
        };
        let waiter = self.waiters.remove(&turn).expect("just seen");
        self.book.forget(&waiter.demand, self.latest);
        Ok(answer)
    }

    /// Who waits leaves, whatever has become of it. Returns where to look now, and a waker to be dropped without the lock.
    pub(super) fn leave(&mut self, turn: u64, faults: Faults) -> (Option<Waker>, Vec<LimitKey>) {
        let Some(limit) = self.waiters.get(&turn).map(|waiter| waiter.at) else {
            return (None, Vec::new());
        };
        let mut open = Vec::new();
        if let Some(limit) = limit {
            self.step_out(turn, limit);
            if !faults.has(Fault::CancelKeepsTurn) {
                open.push(limit);
            }
        }
        let waiter = self.waiters.remove(&turn).expect("just seen");
        if let Some(Ok(grant)) = waiter.answer
            && !faults.has(Fault::CancelLeaks)
        {
            open = self.release(grant);
        }
        self.book.forget(&waiter.demand, self.latest);
        (waiter.waker, open)
    }

    /// Refuses to take by name where somebody waits.
    pub(super) fn not_waited_for(&self, names: &[&str], slots: u32) -> Result<(), IncrementError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        for name in names {
            if let Some(limit) = self.book.find(name)
                && let Some(line) = self.lines.get(&limit)
            {
                let ask = Ask {
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

    /// Panics unless the invariants hold.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.book.check_invariants();
        let mut standing = 0;
        for (&limit, line) in &self.lines {
            standing += line.turns.len();
            let first = line.turns.first().expect("no line is empty");
            let demand = &self.waiters[first].demand;
            assert!(!self.fits_at(demand, limit), "W1 broken");
            for turn in &line.turns {
                assert_eq!(self.waiters[turn].at, Some(limit), "W2 broken");
            }
            assert_eq!(
                line.due.is_some(),
                self.dues
                    .iter()
                    .any(|&(due, key)| key == limit && Some(due) == line.due),
                "W3 broken"
            );
        }
        let at_some = self.waiters.values().filter(|waiter| waiter.at.is_some());
        assert_eq!(at_some.count(), standing, "W2 broken");
    }
}

pub(super) fn limits_of(demand: &Demand) -> Vec<LimitKey> {
    demand.asks().iter().map(|ask| ask.limit).collect()
}
