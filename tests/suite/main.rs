//! What the engine promises, seen from outside: one module per capability.
#![expect(clippy::missing_errors_doc, reason = "tests")]

mod attempts;
mod support;
