//! What the filter promises: F1 to F4, tested on the filter alone; F3 and F5 on an engine and its indexes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "filter_suite/extremes.rs"]
mod extremes;
#[path = "filter_suite/forms.rs"]
mod forms;
#[path = "filter_suite/generate.rs"]
mod generate;
#[path = "filter_suite/hostile.rs"]
mod hostile;
#[path = "filter_suite/indexes.rs"]
mod indexes;
#[path = "filter_suite/joins.rs"]
mod joins;
#[path = "filter_suite/laws.rs"]
mod laws;
#[path = "filter_suite/naive.rs"]
mod naive;
#[path = "filter_suite/reference.rs"]
mod reference;
#[path = "filter_suite/support.rs"]
mod support;
#[path = "filter_suite/text.rs"]
mod text;
