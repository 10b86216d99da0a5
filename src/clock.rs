//! Where time comes from. The engine asks a [`Clock`]; nothing else in the crate reads the machine's time.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

/// One reading of both times.
///
/// *Wall* time names instants that people and calendars mean: due times, schedules, retention. *Monotonic* time
/// measures spans: leases, timeouts, retry delays, decay, aging. The two may drift and the wall may jump.
///
/// An engine takes the greatest wall reading so far as its time. After a backward jump its wall time stands still until
/// the clock has caught up, so nothing fires twice; what is due by the wall clock waits that long. A clock that once
/// leapt far ahead therefore holds schedules back: give the engine a clock that does not, or import its export.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// The civil instant.
    pub wall: DateTime<Utc>,
    /// Time since some fixed origin of the clock; never goes back.
    pub mono: Duration,
}

/// A source of time.
///
/// An implementer owes: `mono` never goes back, a call is cheap, does not block and does not call into the engine.
/// The engine samples it once per call, before it takes any lock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Reads both times.
    fn now(&self) -> Now;

    /// The same in microseconds, since 1970 and since the clock's origin, which is what an engine counts in. Provided; a clock that
    /// knows these numbers spares every call the way over the calendar.
    #[doc(hidden)]
    fn micros(&self) -> (i64, i64) {
        let now = self.now();
        (now.wall.timestamp_micros(), micros_of(now.mono))
    }
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The machine's clocks. The default of an engine, which reads the wall clock at most every half millisecond and goes on from there
/// by the monotonic one: what somebody sets the machine's time to is seen that much later.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
    /// How long after the beginning of this process that is.
    after: Duration,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's time"
    )]
    pub fn new() -> Self {
        let process = *PROCESS;
        let origin = std::time::Instant::now();
        Self {
            origin,
            after: origin.saturating_duration_since(process),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's time"
    )]
    fn now(&self) -> Now {
        Now {
            wall: Utc::now(),
            mono: self.origin.elapsed(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's time"
    )]
    fn micros(&self) -> (i64, i64) {
        let since = std::time::Instant::now().saturating_duration_since(*PROCESS);
        let (process, mono) = (micros_of(since), micros_of(since.saturating_sub(self.after)));
        // wall-read: pairs with the `Release` below; who sees when the wall clock was read sees what it said then, or later.
        let read_at = READ_AT.load(Ordering::Acquire);
        if process.saturating_sub(read_at) < READ_EVERY {
            return (process.saturating_add(AHEAD.load(Ordering::Relaxed)), mono);
        }
        let wall = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => micros_of(since),
            // Down, as the calendar does it.
            Err(before) => -micros_of(before.duration() + Duration::from_nanos(999)),
        };
        AHEAD.store(wall.saturating_sub(process), Ordering::Relaxed);
        // wall-read: pairs with the `Acquire` above.
        READ_AT.store(process, Ordering::Release);
        (wall, mono)
    }
}

/// How long a reading of the wall clock is carried on, in microseconds. Reading one clock is a good part of a short call.
const READ_EVERY: i64 = 500;

/// The monotonic time of this process begins here.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the machine's time"
)]
static PROCESS: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// When the wall clock was read last, in the time of this process; before all time when it was not.
static READ_AT: AtomicI64 = AtomicI64::new(i64::MIN);

/// How far the wall clock was ahead of the time of this process then.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// A clock that stands still until it is told to move, for tests and simulations. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use tenfold::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().wall.to_rfc3339(), "2026-01-01T00:01:30+00:00");
/// assert_eq!(clock.now().mono, Duration::from_secs(90));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Now>>);

impl ManualClock {
    /// A clock that stands at `wall`, its monotonic time at zero.
    #[must_use]
    pub fn at(wall: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(Now {
            wall,
            mono: Duration::ZERO,
        })))
    }

    /// Moves both times forward. Saturates at the ends of time.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        now.mono = now.mono.saturating_add(by);
        let delta = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        now.wall = now
            .wall
            .checked_add_signed(delta)
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
    }

    /// Sets the wall time alone, as when an operator or a time server corrects the machine; it may go back.
    pub fn jump_to(&self, wall: DateTime<Utc>) {
        self.0.lock().wall = wall;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_microseconds_are_those_of_the_reading() {
        for wall in ["2026-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z"] {
            let clock = ManualClock::at(wall.parse().unwrap());
            clock.advance(Duration::from_micros(7));
            let (now, micros) = (clock.now(), clock.micros());
            assert_eq!(micros, (now.wall.timestamp_micros(), 7));
        }
        let clock = SystemClock::new();
        let (before, between, after) = (clock.now(), clock.micros(), clock.now());
        // The wall clock is carried on by the other one, which it may be adjusted against meanwhile.
        let wall = before.wall.timestamp_micros() - READ_EVERY..=after.wall.timestamp_micros() + READ_EVERY;
        assert!(wall.contains(&between.0), "{} is not in {wall:?}", between.0);
        assert!((micros_of(before.mono)..=micros_of(after.mono)).contains(&between.1));
    }
}
