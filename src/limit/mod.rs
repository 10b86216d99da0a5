//! How many run at once: a semaphore, named limits, slot decay, permits over several limits, leases, and who waits.
//!
//! | type | is | reach for it when |
//! |---|---|---|
//! | [`Semaphore`] | one cap without a name; a permit costs one atomic operation each way | you count one thing and need it fast |
//! | [`Limits`] | named caps for many threads; a permit takes up to eight in one step | what may run depends on several caps, known by name |
//! | [`Book`] | the same as pure, single-threaded data | you have a lock (or a simulation) of your own; the engine does |
//!
//! # Promises
//!
//! * **L1** held slots never exceed the limit, at any instant, under any interleaving. Lowering takes nothing away: it admits
//!   no one until less is held. What is attached or seized while it runs counts, also above the limit.
//! * **L2** a limit without decay *is* its holders. Whatever ends a holder (drop, panic, cancelled future, lapsed lease) gives
//!   back exactly once, and a second time finds nothing, never a stranger.
//! * **L3** all of a demand is taken in one step or nothing is; nothing is held while waiting, so nothing deadlocks. What can
//!   never be granted is refused at once.
//! * **L5** a limit that decays is an exact leaky bucket: its level is the same to the last drop however often anybody looked.
//! * **L7** an inactive limit and a removed one stop nobody, and let go who waits for them.
//! * **L8** a template makes a limit when it is first named and forgets it after its last holder and waiter.
//! * Waiting is first in, first out at each limit; a heavy waiter is not overtaken there. (That a blocked *run* delays nobody
//!   is the engine's promise; it orders its runs itself and asks a [`Book`] only for what fits.)
//! * Nobody is woken and no user code runs while a lock is held. Time is always an argument, and monotonic.
//!
//! # Decisions
//!
//! * **The semaphore is one word.** Free slots and the flags *closed* and *somebody waits* change together, so taking is one
//!   compare-and-swap, giving back one addition, and no wake-up can fall between two words. Taking by subtraction and undoing
//!   what went below zero was rejected: its undone steps make others fail although there is room, which is not
//!   linearizable.
//! * **Losing a compare-and-swap backs off** (`core`), which lets the other core do several operations while it has the line.
//! * **The word is not padded away from the reference count**: an owned permit changes both, and one contended line is cheaper
//!   than two.
//! * **A book keeps entries, not counters.** A grant holds its entries inline, linked into a list per limit: giving back is
//!   constant per limit, listing holders costs as many as there are, and the count is only a sum that tests compare.
//! * **Decay is integers** (`decay`): draining twice equals draining once for the sum, which no `f64` level keeps.
//! * **Dropping a permit needs no clock**: max(0, level - weight - drained) is the same in either order, so the last time told
//!   is as good as the present one.
//! * **Waiting at several limits stands at one of them** (`lines`) and moves on when another stops it. Standing at all of
//!   them would let a release look at everybody who names it.
//!
//! Beside the reference these differ on purpose: slots are holders and not a counter, so nothing is released twice; an inactive
//! or removed limit never blocks; the fraction of a decayed slot is kept across writes; a hint when to retry is exact for
//! decaying limits and otherwise deterministic ([`jittered`] spreads it); lapsed leases are looked at as they are when they are
//! ended.
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
#[cfg(all(test, not(loom)))]
mod limits_tests;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;
