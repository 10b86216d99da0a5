//! Order: ten levels, first in first out inside each, and tickets.
//!
//! [`Queue`] is shared between threads; [`Lanes`] is the same order without a lock, for those who have one already. The
//! module knows no clock and no runtime: time is told, and a waiter is a [`Waker`](std::task::Waker).
//!
//! | promise | of a [`Queue`] |
//! |---|---|
//! | **Q1** strict priority | linearizable: a pop takes from the highest level that holds an item at one instant; `None` means that all were empty at one |
//! | **Q2** FIFO | inside a level in the order in which pushes took effect |
//! | **Q3** tickets | find, remove and move an item in constant time; a stale or foreign one finds nothing, never another item; [`Queue::put_back`] returns an item to its old place |
//! | **Q4** bounded | by a capacity; a refused push returns the item and says *not now* or *never*; batches are let in whole or not at all |
//! | **Q5** counts | of all levels, at one instant |
//! | **Q6** aging | optional: an item at level p is never overtaken by one pushed more than 10 - p intervals after it |
//! | **Q7** depth | no cost grows with what waits |
//!
//! What each of a million waiting items costs beyond its own bytes, by an allocator's count (`cargo bench --bench ratios --
//! queue/memory`): 1.3 bytes in a `Queue<u64>`; 21.3 in a `Lanes<u32, (i64, u64)>`, which keeps a place of 16 bytes with each.
//! An item that was put back and still waits sits in a tree: 26.3 bytes.
//!
//! # How it is built
//!
//! * `lane`: one level. A ring of chunks of 64 numbers each, a mask in each chunk, and a tree for what came out of order.
//! * [`lanes`]: ten of them and a bitmap; levels, tickets, iteration.
//! * `bands`: the locks, and the one rule that makes every answer one of an instant: hold all the locks it depends on.
//! * `batch`: what batches give, tickets and items, made when they are asked for.
//! * `wait`: the line of waiters, and why no wake-up is lost. `pop`, `room`: the futures that wait for an item and for room,
//!   and the thread that sleeps on one.
//! * `fault`: deliberate mistakes, so that the models in `loom_tests` are seen to fail.
//!
//! # How many locks
//!
//! [`QueueBuilder::locks`] says how many locks the ten levels share; the promises do not depend on it. **The default is 1.**
//! A pop has to know that every level above the one it takes from is empty, so it must touch the locks above (or something
//! else that every push up there writes); with one lock it touches one line. More locks pay when those who push keep to
//! levels below those who pop. Refused designs, with the figures of prototypes measured beforehand on two quiet cores (million
//! push and pop pairs a second, levels uniform, nothing waiting: 1 thread, 1 + 1, 2 + 2):
//!
//! | design | 1 | 1 + 1 | 2 + 2 | why not |
//! |---|---|---|---|---|
//! | one short, spinning, backing-off lock over ten lanes | 140 | 72 | 76 | this one |
//! | a lock per level and an atomic bitmap, second look at the bitmap | 109 | 26 | 32 | every call drags a cold line across when all touch all levels; its argument needs a total order of the bitmap's loads |
//! | lock-free intake, merged by the popper | 78 | 54 | 58 | slower, and tickets would need a second path into the intake |
//! | ten lock-free queues and a bitmap | 38 | 14 | 27 | breaks priority under threads; no tickets |
//! | a heap in a mutex | 87 | 5 | 6 | grows with what waits |
//!
//! Of the other choices:
//!
//! * *The lock* is a [`spin`] lock: one exchange to take it and one store to let it go, where a lock that can put its waiters
//!   to sleep needs a second exchange. Who finds it taken stays away for 64 pauses and more, so that the holder's next calls
//!   find their lines still in its cache: 20 ns an item from one producer to one consumer, against 24 with a first look after
//!   one pause (best of 21 rounds on a busy machine).
//! * *An item is as small as it can be*: between two cores it is the items' own cache lines that travel. With slots of 24, 16
//!   and 8 bytes for an item of 8, the same took 45, 33 and 25 ns.
//! * *Tickets without an index*: a number that is never given out twice says chunk and bit. A slab with generations would
//!   put links and a generation into every item, and lose the order of memory in which a deep queue is read.
//!
//! # Waiting
//!
//! [`Queue::try_pop`] does not wait, [`Queue::pop_blocking`] and [`Queue::pop_until`] put the thread to sleep,
//! [`Queue::pop`] is a future. So for room in a bounded queue: [`Queue::push`] does not wait, [`Queue::push_blocking`] and
//! [`Queue::push_until`] sleep, [`Queue::push_wait`] is a future. Nobody is woken, and no waker is cloned or dropped, while a lock is held.

mod bands;
mod batch;
mod error;
mod fault;
mod handle;
mod lane;
pub mod lanes;
mod lock;
mod pop;
mod room;
mod settings;
mod wait;

pub use batch::{Batch, Tickets};
pub use error::{Closed, PushError, Rejected, SettingsError, WaitError};
pub use handle::{Popped, Queue, Ticket};
pub use lanes::Lanes;
pub use pop::Pop;
pub use room::PushWait;
pub use settings::QueueBuilder;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod wait_tests;
