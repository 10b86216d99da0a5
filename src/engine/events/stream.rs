//! The buffer of one follower.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Event, Follow};
use crate::engine::Engine;
use crate::engine::signal::Bell;

/// Events were missed, because the stream was full and nobody read it. What follows them comes next.
///
/// For a [`Replica`](super::Replica): make a new [`export`](Engine::export), which is of a later version than the last that was missed, and go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "events from version {from} to version {to} were missed, because the stream was full; export again, read faster or follow with a greater capacity"
)]
#[non_exhaustive]
pub struct Missed {
    /// The version of the first event that was missed.
    pub from: u64,
    /// The version of the last.
    pub to: u64,
}

#[derive(Debug, Default)]
struct Buffer {
    events: VecDeque<Event>,
    /// What is missing after the events in the buffer. While there is something, nothing is added.
    missed: Option<Missed>,
}

/// One follower's end, from the engine's side.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) follow: Follow,
    buffer: Mutex<Buffer>,
    pub(super) bell: Arc<Bell>,
}

impl Stream {
    pub(super) fn new(follow: Follow) -> Self {
        Self {
            follow,
            buffer: Mutex::default(),
            bell: Arc::default(),
        }
    }

    /// Adds what the follower wants of a commit. Answers whether there was something.
    pub(super) fn push(&self, events: impl Iterator<Item = Event>) -> bool {
        let mut buffer = self.buffer.lock();
        let mut any = false;
        for event in events {
            any = true;
            if let Some(missed) = &mut buffer.missed {
                missed.to = event.version;
            } else if buffer.events.len() < self.follow.capacity {
                buffer.events.push_back(event);
            } else {
                buffer.missed = Some(Missed {
                    from: event.version,
                    to: event.version,
                });
            }
        }
        any
    }

    fn take(&self) -> Result<Option<Event>, Missed> {
        let mut buffer = self.buffer.lock();
        match buffer.events.pop_front() {
            Some(event) => Ok(Some(event)),
            None => buffer.missed.take().map_or(Ok(None), Err),
        }
    }
}

/// A stream of events, made by [`Engine::events`]. It holds a bounded number of them; when it is full, those that come are missed
/// until everything in it was read, and then it says which.
#[derive(Debug)]
pub struct Events {
    engine: Engine,
    stream: Arc<Stream>,
}

impl Events {
    pub(super) fn new(engine: Engine, stream: Arc<Stream>) -> Self {
        Self { engine, stream }
    }

    /// The next event, if one is there.
    ///
    /// # Errors
    ///
    /// [`Missed`], in the place of those that are missing; the next call goes on behind them.
    pub fn try_next(&mut self) -> Result<Option<Event>, Missed> {
        self.stream.take()
    }

    /// The next event, waiting on this thread for at most so long in real time. What becomes due meanwhile is made due by whoever calls the engine, not by this
    /// wait.
    ///
    /// # Errors
    ///
    /// As [`try_next`](Self::try_next).
    pub fn next_for_at_most(&mut self, timeout: Duration) -> Result<Option<Event>, Missed> {
        loop {
            if let Some(event) = self.stream.take()? {
                return Ok(Some(event));
            }
            if !self.stream.bell.wait(timeout) {
                return self.stream.take();
            }
        }
    }

    /// The next event, as a future: of any executor, needing no runtime. Dropping it loses nothing.
    pub fn next_event(&mut self) -> impl Future<Output = Result<Event, Missed>> + Send + '_ {
        Next(&self.stream)
    }
}

struct Next<'a>(&'a Stream);

impl Future for Next<'_> {
    type Output = Result<Event, Missed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.0.take() {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Err(missed) => return Poll::Ready(Err(missed)),
                // A ring between the look and this is remembered.
                Ok(None) if self.0.bell.poll(context).is_pending() => return Poll::Pending,
                Ok(None) => {}
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.engine.unfollow(&self.stream);
    }
}
