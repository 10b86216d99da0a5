//! The recorded vectors, asked of the crate. `TENFOLD_VECTORS` names another folder with `filters/` and `schedules/` in it.

#[path = "vectors/filters.rs"]
mod filters;
#[path = "vectors/schedules.rs"]
mod schedules;
