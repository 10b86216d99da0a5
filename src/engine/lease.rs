//! Leases: a worker that the engine cannot watch shows from time to time that it is alive.
//!
//! A claim without a lease is its worker's until it is ended. One with a lease lapses when nobody has extended it for its
//! span, to the microsecond of the engine's monotonic time: from that instant the token is stale, the slots are free, and a late heartbeat or
//! report is refused and changes nothing. What remains of a lease moves with an export.

use std::time::Duration;

use super::Engine;
use super::claim::{Claim, Scope, Terms};
use super::core::{Core, Instant, MonoEvent, Work};
use super::error::{Empty, Error};
use super::finish::Ending;
use super::signal::StopReason;
use super::submit::MAX_SPAN;
use super::timers::TimerKey;
use crate::model::{InvalidValue, StateType, Text};

/// What a worker promises, and what becomes of its run when it does not keep it.
///
/// ```
/// use std::time::Duration;
/// use tenfold::engine::Lease;
///
/// let lease = Lease::of(Duration::from_secs(60)).or_retry();
/// # let _ = lease;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Lease {
    span: Duration,
    retry: bool,
}

impl Lease {
    /// A heartbeat at least this often. A run whose worker does not keep that is CRASHED.
    pub const fn of(span: Duration) -> Self {
        Self { span, retry: false }
    }

    /// A run whose worker does not keep it is tried again while it has retries left, after the delay that any retry has; else
    /// CRASHED.
    pub const fn or_retry(mut self) -> Self {
        self.retry = true;
        self
    }

    pub(crate) fn check(self) -> Result<Self, InvalidValue> {
        if self.span.as_micros() == 0 || self.span > MAX_SPAN {
            return Err(InvalidValue::new(
                "lease",
                &format!("{:?}", self.span),
                "give one microsecond to 100 years",
            ));
        }
        Ok(self)
    }
}

/// A lease, from the engine's side.
#[derive(Debug)]
pub(crate) struct Leased {
    /// Microseconds.
    pub(crate) span: i64,
    pub(crate) retry: bool,
    pub(crate) timer: Option<TimerKey>,
}

impl Engine {
    /// As [`claim`](Self::claim), under a lease that begins with the claim.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold::clock::ManualClock;
    /// use tenfold::engine::Lease;
    /// use tenfold::{Engine, Error, Outcome, Scope};
    ///
    /// let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    /// let engine = Engine::builder().clock(clock.clone()).build()?;
    /// engine.flow("mail")?;
    /// engine.submit("mail")?;
    /// let minute = Duration::from_secs(60);
    /// let claim = engine.claim_leased(&Scope::all(), Lease::of(minute))?.unwrap();
    /// clock.advance(minute / 2);
    /// engine.heartbeat(&claim)?;
    /// clock.advance(minute);
    /// let late = engine.complete(&claim, Outcome::Cancelled);
    /// assert!(matches!(late, Err(Error::StaleClaim { .. })));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim); [`Error::Invalid`] for a span of nothing or over 100 years.
    pub fn claim_leased(&self, scope: &Scope, lease: Lease) -> Result<Result<Claim, Empty>, Error> {
        let lease = lease.check()?;
        self.call(|core| {
            let claim = core.claim(scope, Terms::default())?;
            if let Ok(claim) = &claim {
                core.begin_lease(claim.run, claim.token, lease)?;
            }
            Ok(claim)
        })
    }

    /// Puts a claim under a lease from now on, or under another one.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`]; [`Error::Invalid`] for a span of nothing or over 100 years.
    pub fn lease(&self, claim: &Claim, lease: Lease) -> Result<(), Error> {
        let lease = lease.check()?;
        self.call(|core| core.begin_lease(claim.run, claim.token, lease))
    }

    /// Shows that the worker is alive: its lease, if it has one, begins anew. Answers why it should stop, if somebody asked for
    /// that, for workers that cannot look at the claim.
    ///
    /// # Errors
    ///
    /// [`Error::StaleClaim`] when the lease has lapsed or the attempt has ended otherwise. Nothing is changed then; stop the
    /// work, which is somebody else's by now.
    pub fn heartbeat(&self, claim: &Claim) -> Result<Option<StopReason>, Error> {
        self.call(|core| core.heartbeat(claim.run, claim.token))
    }
}

impl Core {
    pub(crate) fn begin_lease(
        &mut self,
        run: crate::ids::RunId,
        token: u64,
        lease: Lease,
    ) -> Result<(), Error> {
        let row = self.claimed_row(run, token)?;
        if let Work::Claimed(held) = &mut self.work[row as usize] {
            let before = held.lease.replace(Box::new(Leased {
                span: i64::try_from(lease.span.as_micros()).unwrap_or(i64::MAX),
                retry: lease.retry,
                timer: None,
            }));
            if let Some(timer) = before.and_then(|lease| lease.timer) {
                self.mono_timers.cancel(timer);
            }
        }
        self.extend(row);
        Ok(())
    }

    /// Begins a lease, if there is one, anew.
    fn extend(&mut self, row: u32) {
        let Work::Claimed(held) = &mut self.work[row as usize] else {
            unreachable!("the token was just checked")
        };
        let Some(lease) = &mut held.lease else {
            return;
        };
        if let Some(timer) = lease.timer.take() {
            self.mono_timers.cancel(timer);
        }
        let end = self
            .mono
            .saturating_add(lease.span * if fault!(LeaseTooLong) { 2 } else { 1 });
        lease.timer = Some(self.mono_timers.insert(end, MonoEvent::Lapse { row }));
        self.effects.ring = true;
        if !fault!(HeartbeatUntold) {
            self.touch(row);
        }
        self.changed();
    }

    fn heartbeat(&mut self, run: crate::ids::RunId, token: u64) -> Result<Option<StopReason>, Error> {
        let row = self.claimed_row(run, token)?;
        self.extend(row);
        let timed_out = matches!(&self.work[row as usize], Work::Claimed(held) if held.timed_out);
        let cancelling = self.run(row).state == Some(StateType::Cancelling);
        Ok(match (timed_out, cancelling) {
            (true, _) => Some(StopReason::TimedOut),
            (_, true) => Some(StopReason::Cancelled),
            _ => None,
        })
    }

    /// Nobody extended the lease of a claim in time.
    pub(crate) fn lapsed(&mut self, row: u32, at: Instant) {
        let Work::Claimed(held) = &mut self.work[row as usize] else {
            unreachable!("the timer of a lease is cancelled when the claim ends")
        };
        let lease = held.lease.take();
        self.trace_lapse(row);
        if fault!(PendingNeverExpires) && self.run(row).state == Some(StateType::Pending) {
            return;
        }
        let cancelling = self.run(row).state == Some(StateType::Cancelling);
        let again = lease.is_some_and(|lease| lease.retry) && !cancelling;
        self.tell(row, StopReason::Superseded);
        let message = Text::of("the lease of its worker lapsed");
        if again && self.retries_left(row, at.mono) {
            self.try_again(row, Some(message), at);
        } else {
            self.end_attempt(row, Ending::lapsed(message), at);
        }
    }
}
