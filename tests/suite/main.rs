//! What the engine promises, seen from outside: one module per capability.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod asked;
mod attempts;
mod bounds;
mod checklist;
mod clocks;
mod collisions;
mod entities;
mod expiry;
mod explain;
mod keys;
mod leases;
mod offers;
mod overlap;
mod refusals;
mod room;
mod schedules;
mod schemas;
mod states;
mod status;
mod support;
mod waiting;
