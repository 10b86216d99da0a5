//! Counts the turns of every loop that searches, so that tests can hold hostile input to a bound. Nothing outside of
//! tests.

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One turn of a search.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

/// The steps that `work` takes on this thread, and its answer.
#[cfg(test)]
pub(super) fn count<T>(work: impl FnOnce() -> T) -> (u64, T) {
    TAKEN.with(|taken| taken.set(0));
    let answer = work();
    (TAKEN.with(std::cell::Cell::get), answer)
}
