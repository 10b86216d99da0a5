//! An allocator that can say how many bytes a value holds on the heap.
//!
//! It is the system's allocator and a switch. While the switch is off, which is always except inside [`held`], an
//! allocation pays one relaxed load of a flag that nobody writes, so the timing lines of the same process are not
//! disturbed. Counted are the bytes that were asked for, not the allocator's own rounding and headers.

#![expect(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; this one hands every call to the system's"
)]
#![allow(dead_code, reason = "memory lines use it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Whether bytes are counted now. `Relaxed`: set and cleared by the thread that measures, around the work.
static COUNTED: AtomicBool = AtomicBool::new(false);
/// Bytes taken less bytes given back while counting, by any thread.
static HELD: AtomicI64 = AtomicI64::new(0);

/// Builds a value and says how many bytes of heap it keeps. Temporaries that `build` frees do not count; other
/// threads that allocate meanwhile do, so nothing else runs while a memory line is measured.
pub fn held<T>(build: impl FnOnce() -> T) -> (T, i64) {
    HELD.store(0, Relaxed);
    COUNTED.store(true, Relaxed);
    let value = build();
    COUNTED.store(false, Relaxed);
    (value, HELD.load(Relaxed))
}

/// The bytes that are held by what the [`held`] that is going on has built so far.
pub fn held_now() -> i64 {
    HELD.load(Relaxed)
}

struct Counting;

fn count(bytes: usize, sign: i64) {
    if COUNTED.load(Relaxed) {
        let bytes = i64::try_from(bytes).expect("a layout is at most isize::MAX bytes");
        HELD.fetch_add(sign * bytes, Relaxed);
    }
}

// SAFETY: every method passes its arguments unchanged to `System`, whose contract is the one that is owed; the
// counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise about `layout` is the one `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: `block` came from `System` through this allocator, with this `layout`, by the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as in `dealloc`; the caller promises that `size` is a valid, non-zero size for this layout.
        unsafe { System.realloc(block, layout, size) }
    }
}
