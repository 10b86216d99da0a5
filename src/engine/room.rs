//! Waiting until a submission fits.
//!
//! Who waits has a ticket, in one of two lines: for runs that are due, and for runs that are not due yet. A call that leaves room tells
//! the first of the line, and as many more as fit beside it, and nobody else; one that is told counts as having the room until it
//! has looked. Whoever finds, when he looks, that somebody else was quicker keeps his ticket, and with it his place; whoever goes
//! away passes the room on in the step in which he goes. So nobody is told in vain by the engine, and no room stays untold.
//!
//! A plain [`Engine::submit`] does not look at these lines: it takes what room there is.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::Core;
use super::error::Error;
use super::schema::Vouched;
use super::signal::Bell;
use super::submit::Submitted;
use super::{Engine, carry_out};
use crate::model::NewRun;

/// Who waits for room of one kind.
#[derive(Debug, Default)]
struct Line {
    untold: BTreeMap<u64, Asked>,
    told: BTreeMap<u64, Asked>,
    /// Sum of what those that were told have asked for.
    promised: usize,
}

#[derive(Debug)]
struct Asked {
    runs: usize,
    bell: Arc<Bell>,
}

/// Who waits for room.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    due: Line,
    later: Line,
    next: u64,
}

impl Line {
    /// Takes a ticket out, told or not.
    fn remove(&mut self, ticket: u64) -> Option<Asked> {
        if let Some(asked) = self.told.remove(&ticket) {
            self.promised -= asked.runs;
            return Some(asked);
        }
        self.untold.remove(&ticket)
    }

    fn is_empty(&self) -> bool {
        self.untold.is_empty() && self.told.is_empty()
    }

    /// Tells as many as fit, in their order.
    fn tell(&mut self, room: usize, all: bool, bells: &mut Vec<Arc<Bell>>) {
        while let Some(first) = self.untold.first_entry() {
            let runs = first.get().runs;
            if !all && self.promised.saturating_add(runs) > room {
                break;
            }
            let (ticket, asked) = first.remove_entry();
            self.promised = self.promised.saturating_add(runs);
            bells.push(asked.bell.clone());
            self.told.insert(ticket, asked);
        }
    }
}

impl Rooms {
    /// Somebody waits who has not been told.
    pub(crate) fn any_untold(&self) -> bool {
        !(self.due.untold.is_empty() && self.later.untold.is_empty())
    }

    fn line(&mut self, later: bool) -> &mut Line {
        if later { &mut self.later } else { &mut self.due }
    }
}

/// A place among those that wait for room.
#[derive(Debug)]
struct Place {
    engine: Engine,
    bell: Arc<Bell>,
    /// The kind of room and the ticket, while it waits.
    ticket: Option<(bool, u64)>,
}

impl Place {
    fn new(engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            bell: Arc::default(),
            ticket: None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((later, ticket)) = self.ticket else {
            return;
        };
        let effects = {
            let mut core = self.engine.shared.core.lock();
            core.rooms.line(later).remove(ticket);
            core.take_effects()
        };
        if let Some(effects) = effects {
            carry_out(effects);
        }
    }
}

/// A wait for room, made by [`Engine::wait_for_room`]: a future that is ready once so many runs would fit. Dropping it at any time is
/// safe and lets the next in line have the room. After its answer it is ready at once.
///
/// As a future it needs somebody who calls the engine, such as a runtime or whoever claims; [`for_at_most`](Self::for_at_most) waits on
/// its thread. In an engine that is poisoned room comes no more.
#[derive(Debug)]
#[must_use = "it waits when it is awaited, or on a thread"]
pub struct RoomWait {
    place: Place,
    runs: usize,
}

/// A submission that waits until it fits, made by [`Engine::submit_when_room`]: a future of the answer. Dropped before that,
/// nothing was submitted.
#[derive(Debug)]
#[must_use = "it submits when it is awaited, or waited for on a thread"]
pub struct SubmitWait {
    place: Place,
    /// None once it was answered.
    new: Option<NewRun>,
}

impl Engine {
    /// Waits until so many runs that are due would fit, in order of arrival. The room is not kept: between the answer and the
    /// submission somebody else may take it. [`submit_when_room`](Self::submit_when_room) does both in one step.
    ///
    /// # Errors
    ///
    /// [`Error::BatchSize`] for no runs or more than [`waiting_runs`](crate::EngineBuilder::waiting_runs); [`Error::Stopped`].
    pub fn wait_for_room(&self, runs: usize) -> Result<RoomWait, Error> {
        let mut place = Place::new(self);
        let bell = place.bell.clone();
        let ticket = self.call(|core| {
            core.accepts_work()?;
            let most = core.settings.waiting_runs;
            if !(1..=most).contains(&runs) {
                return Err(Error::BatchSize { size: runs, most });
            }
            Ok(core.wait_in(false, None, runs, bell))
        })?;
        place.ticket = Some((false, ticket));
        Ok(RoomWait { place, runs })
    }

    /// Submits a run as soon as it fits, in order of arrival among all that wait like this.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::{Engine, Scope};
    ///
    /// let engine = Engine::builder().waiting_runs(1).build()?;
    /// engine.flow("mail")?;
    /// engine.submit("mail")?;
    /// let mut second = engine.submit_when_room("mail");
    /// assert!(second.for_at_most(Duration::ZERO)?.is_none(), "one waits already");
    /// engine.claim(&Scope::all())?.expect("that one");
    /// let second = second.for_at_most(Duration::ZERO)?.expect("now it fits");
    /// assert_eq!(engine.claim(&Scope::all())?.unwrap().run(), second.id);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    pub fn submit_when_room(&self, new: impl Into<NewRun>) -> SubmitWait {
        SubmitWait {
            place: Place::new(self),
            new: Some(new.into()),
        }
    }
}

impl RoomWait {
    /// Waits on this thread, at most so long in real time; whether there is room.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], [`Error::Poisoned`].
    pub fn for_at_most(&mut self, timeout: Duration) -> Result<bool, Error> {
        let (engine, bell) = (self.place.engine.clone(), self.place.bell.clone());
        let found = engine.wait_on(&bell, timeout, || Ok(self.look()?.then_some(())))?;
        Ok(found.is_some())
    }

    /// Whether there is room now and it is this one's turn; then it waits no more.
    fn look(&mut self) -> Result<bool, Error> {
        let Some((later, ticket)) = self.place.ticket else {
            return Ok(true);
        };
        let runs = self.runs;
        let found = self
            .place
            .engine
            .call(|core| core.look_for_room(later, ticket, runs));
        if !matches!(found, Ok(false)) {
            self.place.ticket = None;
        }
        found
    }
}

impl Future for RoomWait {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while self.place.ticket.is_some() {
            if self.place.bell.poll(context).is_pending() {
                return Poll::Pending;
            }
            match self.look() {
                Ok(false) => {}
                Ok(true) => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl SubmitWait {
    /// Waits on this thread, at most so long in real time; none when the run does not fit by then. It may be asked again.
    ///
    /// # Errors
    ///
    /// As [`Engine::submit`], but for room; [`Error::Full`] where there can never be any.
    pub fn for_at_most(&mut self, timeout: Duration) -> Result<Option<Submitted>, Error> {
        let (engine, bell) = (self.place.engine.clone(), self.place.bell.clone());
        engine.wait_on(&bell, timeout, || self.look())
    }

    fn look(&mut self) -> Result<Option<Submitted>, Error> {
        let Some(new) = &self.new else { return Ok(None) };
        let (bell, before) = (self.place.bell.clone(), self.place.ticket);
        let submitted = (self.place.engine).vouching(
            (new, bell),
            |core, (new, _), vouched| core.asks_of_run(new, vouched),
            |core, (new, bell), vouched| core.submit_in_turn(new, before, bell, vouched),
        );
        match submitted {
            Ok(Err(ticket)) => {
                self.place.ticket = Some(ticket);
                Ok(None)
            }
            Ok(Ok(submitted)) => {
                (self.place.ticket, self.new) = (None, None);
                Ok(Some(submitted))
            }
            Err(error) => {
                (self.place.ticket, self.new) = (None, None);
                Err(error)
            }
        }
    }
}

impl Future for SubmitWait {
    type Output = Result<Submitted, Error>;

    /// # Panics
    ///
    /// When it is polled after its answer.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            // The first look asks for no bell; later ones come when it was rung.
            if self.place.ticket.is_some() && self.place.bell.poll(context).is_pending() {
                return Poll::Pending;
            }
            assert!(self.new.is_some(), "a submission is not polled after its answer");
            match self.look() {
                Ok(None) => {}
                Ok(Some(submitted)) => return Poll::Ready(Ok(submitted)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Core {
    /// Room for so many more runs, due or not.
    fn room(&self, later: bool) -> usize {
        let (held, most) = if later {
            (self.scheduled_total, self.settings.scheduled_runs)
        } else {
            (self.waiting_total, self.settings.waiting_runs)
        };
        most.saturating_sub(held)
    }

    /// Tells those that wait for room what there is; everybody, when no room will come.
    pub(crate) fn tell_rooms(&mut self) {
        for later in [false, true] {
            let (room, all) = (self.room(later), self.stopped);
            self.rooms.line(later).tell(room, all, &mut self.effects.bells);
        }
    }

    /// Puts somebody in line, under the ticket that he had.
    fn wait_in(&mut self, later: bool, ticket: Option<u64>, runs: usize, bell: Arc<Bell>) -> u64 {
        let ticket = ticket.unwrap_or_else(|| {
            self.rooms.next += 1;
            self.rooms.next
        });
        self.rooms.line(later).untold.insert(ticket, Asked { runs, bell });
        ticket
    }

    fn look_for_room(&mut self, later: bool, ticket: u64, runs: usize) -> Result<bool, Error> {
        let room = self.room(later);
        let line = self.rooms.line(later);
        let told = line.told.contains_key(&ticket);
        if self.stopped || (told && runs <= room) {
            line.remove(ticket);
            return self.accepts_work().map(|()| true);
        }
        if told && let Some(asked) = line.remove(ticket) {
            line.untold.insert(ticket, asked);
        }
        Ok(false)
    }

    /// Submits a run if it is its turn and it fits; else answers the kind of room that it waits for, and its ticket.
    fn submit_in_turn(
        &mut self,
        new: &NewRun,
        before: Option<(bool, u64)>,
        bell: Arc<Bell>,
        vouched: &Vouched,
    ) -> Result<Result<Submitted, (bool, u64)>, Error> {
        let later = new.not_before.is_some_and(|at| at.timestamp_micros() > self.wall);
        // It may have become due while it waited for room among those that are not.
        let ticket = before.filter(|before| before.0 == later).map(|before| before.1);
        let line = self.rooms.line(later);
        let turn = match ticket {
            Some(ticket) => line.told.contains_key(&ticket),
            None => line.is_empty(),
        };
        if turn || self.stopped {
            let submitted = self.submit(new.clone(), vouched);
            let full = matches!(&submitted, Err(Error::Full { what, capacity, .. })
                if matches!(*what, "waiting runs" | "scheduled runs") && *capacity > 0);
            if !full {
                self.leave_room(before);
                return submitted.map(Ok);
            }
        } else if let Some(ticket) = ticket {
            return Ok(Err((later, ticket)));
        }
        self.leave_room(before);
        Ok(Err((later, self.wait_in(later, ticket, 1, bell))))
    }

    fn leave_room(&mut self, ticket: Option<(bool, u64)>) {
        if let Some((later, ticket)) = ticket {
            self.rooms.line(later).remove(ticket);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    //! One who was told that there is room goes away, while the room is told of: the next hears of it.

    use loom::thread;

    use super::*;
    use crate::sync::Arc as Shared;
    use crate::sync::Mutex;

    fn goes_away(passes_on: bool) {
        let bells = [Arc::<Bell>::default(), Arc::<Bell>::default()];
        let line = Shared::new(Mutex::new((Line::default(), 0)));
        for (ticket, bell) in (1..).zip(&bells) {
            let asked = Asked {
                runs: 1,
                bell: bell.clone(),
            };
            line.lock().0.untold.insert(ticket, asked);
        }
        let told = |held: &mut (Line, usize)| {
            let mut bells = Vec::new();
            held.0.tell(held.1, false, &mut bells);
            bells
        };
        let claims = {
            let line = Shared::clone(&line);
            thread::spawn(move || {
                let bells = {
                    let mut held = line.lock();
                    held.1 = 1;
                    told(&mut held)
                };
                bells.iter().for_each(|bell| bell.ring());
            })
        };
        let rings = {
            let mut held = line.lock();
            held.0.remove(1);
            if passes_on { told(&mut held) } else { Vec::new() }
        };
        rings.iter().for_each(|bell| bell.ring());
        claims.join().unwrap();
        assert!(bells[1].is_rung(), "there is room, and nobody hears of it");
    }

    #[test]
    fn loom_a_dropped_wait_passes_the_room_on() {
        loom::model(|| goes_away(true));
    }

    #[test]
    #[should_panic]
    fn loom_a_dropped_wait_that_keeps_the_room_is_found() {
        loom::model(|| goes_away(false));
    }
}
