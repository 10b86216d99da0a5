//! Engines that stand still in time, and short ways to what every test needs.

use tenfold::clock::ManualClock;
use tenfold::engine::Claim;
use tenfold::{Engine, EngineBuilder, Priority, Scope};

/// Where every test begins.
pub(crate) const START: &str = "2026-01-01T00:00:00Z";

/// Settings of an engine on a clock that stands still.
pub(crate) fn still() -> (EngineBuilder, ManualClock) {
    let clock = ManualClock::at(START.parse().unwrap());
    (Engine::builder().clock(clock.clone()).seed(1), clock)
}

/// An engine on a clock that stands still, with the flow `f`.
pub(crate) fn engine() -> (Engine, ManualClock) {
    let (builder, clock) = still();
    let engine = builder.build().unwrap();
    engine.flow("f").unwrap();
    (engine, clock)
}

pub(crate) fn take(engine: &Engine) -> Claim {
    engine
        .claim(&Scope::all())
        .unwrap()
        .expect("something is there to claim")
}

pub(crate) fn level(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

/// A small seeded generator, so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

/// Makes a call that must be refused, and asserts that the engine is as it was: same report, same version, same
/// everything that an export holds.
pub(crate) fn refused<T: std::fmt::Debug>(
    engine: &Engine,
    call: impl FnOnce(&Engine) -> Result<T, tenfold::Error>,
) -> tenfold::Error {
    engine.advance().unwrap();
    let (status, all) = (engine.snapshot(), engine.export().unwrap());
    let error = call(engine).expect_err("the call is refused");
    assert_eq!(engine.snapshot(), status, "{error}");
    assert_eq!(engine.export().unwrap(), all, "{error}");
    error
}

/// Asserts that an error says all of these.
pub(crate) fn says(error: &impl std::fmt::Display, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.ends_with('.'), "{text:?} ends with a full stop");
}
