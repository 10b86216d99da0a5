//! What the engine promises, seen from outside: one module per capability.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod asked;
mod attempts;
mod bounds;
mod checklist;
mod checklist_pools;
mod clocks;
mod collisions;
mod damage;
mod entities;
mod expiry;
mod explain;
mod hooks;
mod hostile;
mod interleavings;
mod keys;
mod leases;
mod offers;
mod overlap;
mod payloads;
mod refusals;
mod room;
mod runner;
mod schedules;
mod schemas;
mod states;
mod status;
mod steps;
mod support;
mod waiting;
