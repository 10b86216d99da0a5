//! Beyond "what runs next": looking ahead, a chosen run, and several at once (C4).

use std::collections::BTreeMap;
use std::iter::Peekable;

use chrono::{DateTime, Utc};

use super::Engine;
use super::claim::{Claim, Scope, Terms};
use super::core::Core;
use super::error::{Empty, Error};
use super::read::run_of;
use super::ready::Head;
use super::stops::Stop;
use super::submit::MAX_BATCH;
use crate::ids::RunId;
use crate::model::{Run, StateType};

impl Engine {
    /// Claims up to `most` runs (1 to [`MAX_BATCH`]) in one step: what as many calls of [`claim`](Self::claim) would get, one after the
    /// other, with nobody between them.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim); [`Error::BatchSize`].
    pub fn claim_many(&self, scope: &Scope, most: usize) -> Result<Result<Vec<Claim>, Empty>, Error> {
        check_size(most)?;
        self.call(|core| {
            let mut claims = Vec::new();
            while claims.len() < most {
                match core.claim(scope, Terms::default())? {
                    Ok(claim) => claims.push(claim),
                    Err(empty) if claims.is_empty() => return Ok(Err(empty)),
                    Err(_) => break,
                }
            }
            Ok(Ok(claims))
        })
    }

    /// Claims a chosen run, wherever it stands in line and before it is due: all its slots in one step, or the first thing that stops
    /// it; also when it is paused or held back by its schedule. It overtakes whoever is before it, reserved limits and strict order included; pauses and limits hold.
    ///
    /// ```
    /// use tenfold::engine::Stop;
    /// use tenfold::limit::LimitSpec;
    /// use tenfold::{Engine, NewRun, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("train")?;
    /// engine.define_limit(LimitSpec::new("gpu", 4))?;
    /// engine.submit("train")?;
    /// let large = engine.submit(NewRun::of("train").slots("gpu", 3))?.id;
    /// let next = engine.submit(NewRun::of("train").slots("gpu", 2))?.id;
    ///
    /// assert_eq!(engine.claim_run(large)?.unwrap().run(), large);
    /// let refused = engine.claim_run(next)?.unwrap_err();
    /// assert!(matches!(refused, Stop::Limit { weight: 2, room: 1, .. }), "{refused}");
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Transition`] when it is claimed already or has ended.
    pub fn claim_run(&self, run: RunId) -> Result<Result<Claim, Stop>, Error> {
        self.call(|core| core.claim_run(run))
    }

    /// Waiting runs of a scope, claiming nothing: first those that are due in claim order, whether something stops them or not; then those
    /// that are not due yet, by instant. Runs that may start stand in the order in which claims would take them, each ended before
    /// the next; one that is stopped stands in its place in its pool, before the next of that pool that may start, and where
    /// none may, at the end. At most `n` (1 to [`MAX_BATCH`]) of those whose due instant is neither before
    /// `after` nor past `before`.
    ///
    /// Looks at each set of limits that waits in the scope, and at what comes before the last run it lists.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when the scope names an unknown pool or queue; [`Error::BatchSize`].
    pub fn peek(
        &self,
        scope: &Scope,
        after: Option<DateTime<Utc>>,
        before: Option<DateTime<Utc>>,
        n: usize,
    ) -> Result<Vec<Run>, Error> {
        check_size(n)?;
        self.call(|core| core.peek(scope, after, before, n))
    }
}

fn check_size(size: usize) -> Result<(), Error> {
    let most = MAX_BATCH;
    if (1..=most).contains(&size) {
        return Ok(());
    }
    Err(Error::BatchSize { size, most })
}

impl Core {
    fn claim_run(&mut self, id: RunId) -> Result<Result<Claim, Stop>, Error> {
        let row = self.waiting_row(id)?;
        let mut stops = Vec::new();
        self.stops_of(row, &mut stops);
        if let Some(stop) = stops.into_iter().next() {
            if matches!(stop, Stop::Limit { .. }) {
                self.chosen_collides(row);
            }
            return Ok(Err(stop));
        }
        let (state, name) = (StateType::Pending, StateType::Pending.default_name());
        Ok(Ok(self.claim_chosen(row, state, name, None)))
    }

    /// What is due in a queue, in claim order: what waits in line, and between that what kept its slots.
    fn line_of(&self, queue: u32) -> impl Iterator<Item = (Head, u32)> {
        merged(self.kept_of(queue), self.ready.in_order(queue))
    }

    /// Of these, the runs that a claim would take now, were it to take them all.
    fn startable_of(&self, pool: u32, queue: u32) -> impl Iterator<Item = (Head, u32)> {
        let of = self.catalog.queues.get(queue).map(|held| &held.data);
        let pool_data = self.catalog.pools.get(pool).map(|held| &held.data);
        let paused = pool_data.is_some_and(|data| data.is_paused) || of.is_some_and(|data| data.is_paused);
        let over = |limit: Option<u32>, held: u32| limit.is_some_and(|limit| limit <= held);
        let full = over(
            pool_data.and_then(|data| data.concurrency_limit),
            self.pools[pool as usize].held,
        ) || over(
            of.and_then(|data| data.concurrency_limit),
            self.queues[queue as usize].held,
        );
        let ready = (!full).then(|| self.ready.may_start(queue));
        let kept = (!paused).then(|| self.kept_of(queue));
        merged(kept.into_iter().flatten(), ready.into_iter().flatten())
    }

    fn kept_of(&self, queue: u32) -> impl Iterator<Item = (Head, u32)> {
        self.queues[queue as usize].holding.iter().copied()
    }

    fn peek(
        &self,
        scope: &Scope,
        after: Option<DateTime<Utc>>,
        before: Option<DateTime<Utc>>,
        n: usize,
    ) -> Result<Vec<Run>, Error> {
        let after = after.map_or(i64::MIN, |at| at.timestamp_micros());
        let before = before.map_or(i64::MAX, |at| at.timestamp_micros());
        let pools = self.rows_of(scope)?;
        // Of each pool its runs, by queue, and those of them that may start.
        let mut lines: Vec<_> = pools
            .iter()
            .map(|(pool, queues)| {
                let line = queues.iter().flat_map(|&queue| self.line_of(queue));
                let startable = queues.iter().flat_map(|&queue| self.startable_of(*pool, queue));
                (line.peekable(), startable.peekable())
            })
            .collect();
        let mut turns: BTreeMap<Turn, usize> = BTreeMap::new();
        for (at, (line, startable)) in lines.iter_mut().enumerate() {
            turns.extend(turn_of(line, startable).map(|turn| (turn, at)));
        }
        let mut rows = Vec::new();
        while rows.len() < n
            && let Some((_, at)) = turns.pop_first()
        {
            let (line, startable) = &mut lines[at];
            if let Some((head, row)) = line.next() {
                startable.next_if(|&(_, first)| first == row);
                rows.extend((after..=before).contains(&head.line.due).then_some(row));
            }
            turns.extend(turn_of(line, startable).map(|turn| (turn, at)));
        }
        if rows.len() < n && after <= before {
            let queues = pools.iter().flat_map(|(_, queues)| queues);
            let window = (after, 0, 0)..=(before, u64::MAX, u32::MAX);
            let later = queues.flat_map(|&queue| {
                let work = &self.queues[queue as usize];
                let (planned, retrying) = (
                    work.later.range(window.clone()),
                    work.retrying.range(window.clone()),
                );
                planned.take(n).chain(retrying.take(n)).copied()
            });
            let mut later: Vec<(i64, u64, u32)> = later.collect();
            later.sort_unstable();
            let left = n - rows.len();
            rows.extend(later.into_iter().take(left).map(|(_, _, row)| row));
        }
        Ok(rows
            .into_iter()
            .map(|row| match self.spot_of(row) {
                Some(spot) if self.ready.is_blocked(spot) => Run {
                    place: crate::model::Place::Blocked,
                    ..run_of(self.run(row))
                },
                _ => run_of(self.run(row)),
            })
            .collect())
    }
}

/// When a pool's turn to be listed comes: with the first of its runs that may start; where none may, after all others.
type Turn = (bool, Head);

fn turn_of(
    line: &mut Peekable<impl Iterator<Item = (Head, u32)>>,
    startable: &mut Peekable<impl Iterator<Item = (Head, u32)>>,
) -> Option<Turn> {
    let turn = startable.peek().map(|&(head, _)| (false, head));
    turn.or_else(|| line.peek().map(|&(head, _)| (true, head)))
}

/// Two lists in claim order as one.
fn merged(
    one: impl Iterator<Item = (Head, u32)>,
    other: impl Iterator<Item = (Head, u32)>,
) -> impl Iterator<Item = (Head, u32)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if second < first => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
