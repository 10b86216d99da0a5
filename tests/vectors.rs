//! The recorded vectors, asked of the crate. `TENFOLD_VECTORS` names another folder with `filters/` and `schedules/` in it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "vectors/filters.rs"]
mod filters;
#[path = "vectors/schedules.rs"]
mod schedules;
