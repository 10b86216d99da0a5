//! Handlers on tokio: whatever a handler does, its run ends once, its slots come back, and nothing else is touched.
//!
//! Time is tokio's, paused: the engine's clock follows it, so nothing here waits for real time.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod closures;
mod dropped;
mod endings;
mod hooks;
mod sharing;
mod stopping;
mod support;
