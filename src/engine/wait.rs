//! Waiting for the end of a run.
//!
//! Who waits leaves a *cell* with the engine, under the engine's lock, in the same step that finds the run unfinished; the end of
//! the run takes the cells out in the step that makes it, and fills and rings them when the lock is gone. So an end between the
//! look and the sleep finds the cell, and the bell in it remembers a ring that nobody heard yet.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

use super::core::Core;
use super::error::Error;
use super::read::run_of;
use super::signal::Bell;
use super::{Engine, Listener};
use crate::ids::RunId;
use crate::model::{Place, Run};

/// Where one waiter is told of the end.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    ended: Mutex<Option<Run>>,
    bell: Arc<Bell>,
}

impl Cell {
    /// Never called while the engine's lock is held.
    pub(crate) fn fill(&self, run: Run) {
        *self.ended.lock() = Some(run);
        self.bell.ring();
    }
}

/// A wait for the end of a run, made by [`Engine::wait`]: a future of the run as it ended, its result included, also when its record
/// is gone by then. Dropping it at any time is safe and ends the wait; it may be polled again after its answer.
///
/// As a future it needs somebody who calls the engine when something becomes due, such as a runtime; [`for_at_most`](Self::for_at_most),
/// which waits on its thread, does that itself. In an engine that is poisoned nothing ends any more.
#[derive(Debug)]
#[must_use = "it waits when it is awaited, or on a thread"]
pub struct Wait {
    engine: Engine,
    run: RunId,
    cell: Arc<Cell>,
}

impl Engine {
    /// Waits for the end of a run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::{Engine, Outcome, Scope};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let mut end = engine.wait(engine.submit("mail")?.id)?;
    /// let worker = {
    ///     let engine = engine.clone();
    ///     std::thread::spawn(move || {
    ///         let claim = engine.claim(&Scope::all())?.expect("one waits");
    ///         engine.complete(&claim, Outcome::Completed("sent".into()))
    ///     })
    /// };
    /// let run = end.for_at_most(Duration::from_secs(60))?.expect("it takes no time");
    /// assert_eq!(run.result, Some("sent".into()));
    /// # worker.join().unwrap()?;
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]. A loaded record counts as ended.
    pub fn wait(&self, run: RunId) -> Result<Wait, Error> {
        let cell = Arc::new(Cell::default());
        let ended = self.call(|core| {
            let row = core.find_run(run)?;
            if matches!(core.run(row).place, Place::Finished | Place::Record) {
                return Ok(Some(run_of(core.run(row))));
            }
            core.waiters.entry(run).or_default().push(cell.clone());
            Ok(None)
        })?;
        if let Some(ended) = ended {
            cell.fill(ended);
        }
        Ok(Wait {
            engine: self.clone(),
            run,
            cell,
        })
    }
}

impl Engine {
    /// Waits on this thread until `look` finds something, at most so long in real time. It looks when the bell was rung, and
    /// whenever the engine has news or something becomes due.
    pub(super) fn wait_on<T>(
        &self,
        bell: &Arc<Bell>,
        timeout: Duration,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        // Rung by an earlier deadline of the engine too.
        let _news = Listener::on(self, bell.clone());
        let end = self.shared.clock.now().mono.saturating_add(timeout);
        loop {
            let next = self.advance()?;
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let left = end.saturating_sub(self.shared.clock.now().mono);
            let wait = next.map_or(left, |next| next.min(left));
            if left.is_zero() || (!bell.wait(wait) && wait == left) {
                self.advance()?;
                return look();
            }
        }
    }
}

impl Wait {
    /// Waits on this thread, at most so long in real time; none when the run has not ended by then. It sleeps until the end or
    /// until something becomes due, and polls nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn for_at_most(&mut self, timeout: Duration) -> Result<Option<Run>, Error> {
        let cell = &self.cell;
        (self.engine).wait_on(&cell.bell, timeout, || Ok(cell.ended.lock().clone()))
    }
}

impl Future for Wait {
    type Output = Run;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Run> {
        loop {
            if let Some(run) = self.cell.ended.lock().clone() {
                return Poll::Ready(run);
            }
            if self.cell.bell.poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.engine.shared.core.lock().forget_waiter(self.run, &self.cell);
    }
}

impl Core {
    /// A run has ended: whoever waits for that is told when the lock is gone.
    pub(crate) fn tell_waiters(&mut self, row: u32) {
        if self.waiters.is_empty() || fault!(EndTellsNobody) {
            return;
        }
        let id = self.run(row).id;
        if let Some(cells) = self.waiters.remove(&id) {
            let run = run_of(self.run(row));
            self.effects.ended.push((cells, run));
        }
    }

    fn forget_waiter(&mut self, run: RunId, cell: &Arc<Cell>) {
        if let Some(cells) = self.waiters.get_mut(&run) {
            cells.retain(|other| !Arc::ptr_eq(other, cell));
            if cells.is_empty() {
                self.waiters.remove(&run);
            }
        }
    }
}
