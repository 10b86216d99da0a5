//! How many run at once: named limits, slot decay, permits, and who waits.
//!
//! | file | owns |
//! |---|---|
//! | `spec` | what a limit is, and which definitions are wrong |
//! | `demand` | what is asked: by name, and resolved |
//! | `book` | the limits: define, find, change live, read |
//! | `grants` | who holds what: all or nothing, exactly once |
//! | `templates` | limits made on first use, forgotten after the last |
//! | `lease` | slots held for a time |
//! | `by_name` | the reference's increment and decrement, and its retry hints |
//! | `decay` | the exact leaky bucket |
//! | `state` | a book as a document |
//! | `limits` | a book shared between threads |
//! | `lines` | who waits at which limit |
//! | `permits` | what the shared limits hand out: permits over several limits, prepared requests, waits |
//! | `semaphore` | one cap without a name, and its permits |
//! | `core` | how it counts: the word, the line, the protocol |
//! | `waiters`, `wake` | a line of waiters; waking after the lock |

mod book;
mod by_name;
mod core;
mod decay;
mod demand;
mod faults;
mod grants;
mod lease;
mod limits;
mod lines;
mod permits;
mod semaphore;
mod spec;
mod state;
mod templates;
mod waiters;
mod wake;

pub use book::{Book, LimitStatus};
pub use by_name::{IncrementError, Incremented, Mode, jittered};
pub use demand::{
    Ask, DEMAND_LIMITS_MAX, Demand, DemandError, LimitKey, REQUEST_LIMITS_MAX, Request, RequestError,
};
pub use grants::{Grant, Holder, Refused, TakeError};
pub use lease::{
    LEASE_DEFAULT, LEASE_MAX, LEASE_MIN, LEASES_MAX, Lapsed, Lease, LeaseError, LeaseHolder, LeaseHolderKind,
    LeaseId,
};
pub use limits::{Limits, LimitsError};
pub use permits::{MultiPermit, OwnedMultiPermit, Prepared, Waiting};
pub use semaphore::{Acquire, AcquireError, AcquireOwned, OwnedPermit, Permit, Semaphore, SemaphoreStatus};
pub use spec::{LimitSpec, NAME_BYTES_MAX, SpecError};
pub use state::{BookState, GrantState, LeaseState, LimitState, RestoreError};

#[cfg(test)]
mod book_tests;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;
