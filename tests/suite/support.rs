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
