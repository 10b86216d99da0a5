//! The counters of the status report, readable without the engine's lock.
//!
//! A sequence lock: the one writer at a time (whoever holds the engine's lock) makes the sequence odd, writes the words
//! and makes it even again; a reader that saw the same even number before and after has read one instant. A reader
//! that shares its processor with an interrupted writer would try in vain, so it tries a bounded number of times, and
//! then takes the engine's lock. What this buys over always taking the lock is measured in the design document, (b).
//!
//! A word that is as it was is not written again: its cache line then stays with every thread that reads or writes here.

use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Tries before a reader gives up: each is some tens of nanoseconds.
const TRIES: usize = if cfg!(loom) { 2 } else { 128 };

/// `N` words that are always read as they were written together.
// From the start of a line on, with the sequence and the words that change most in the first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Tally<const N: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; N],
}

/// The words, while they are written.
pub(crate) struct Words<'a, const N: usize>(&'a [AtomicU64; N]);

impl<const N: usize> Words<'_, N> {
    #[inline(always)]
    pub(crate) fn set(&mut self, index: usize, value: u64) {
        // Relaxed: only who holds the engine's lock writes, so this is what was written last. The models do without the
        // look, and leave words out themselves: between a reader's look at a word and the writer's store the writer's own
        // look would hide from the model checker that the two depend on each other.
        if cfg!(loom) || self.0[index].load(Ordering::Relaxed) != value {
            self.0[index].store(value, Ordering::Relaxed);
        }
    }
}

impl<const N: usize> Tally<N> {
    /// All words are zero.
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Writes the words that `write` names. Only under the engine's lock: there is one writer at a time.
    #[inline(always)]
    pub(crate) fn publish(&self, write: impl FnOnce(&mut Words<'_, N>)) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // tally-words: a reader that sees one of the words below sees the odd sequence, through its fence.
        fence(Ordering::Release);
        write(&mut Words(&self.words));
        // tally-sequence: pairs with the `Acquire` in `read`; who sees the even number sees the words.
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// All words of one instant; none when writers were always in the way.
    pub(crate) fn read(&self) -> Option<[u64; N]> {
        (0..TRIES).find_map(|_| {
            // tally-sequence: pairs with the `Release` in `publish`.
            let before = self.sequence.load(Ordering::Acquire);
            let words = std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
            // tally-words: pairs with the fence in `publish`.
            fence(Ordering::Acquire);
            let after = self.sequence.load(Ordering::Relaxed);
            if before.is_multiple_of(2) && before == after {
                return Some(words);
            }
            std::hint::spin_loop();
            None
        })
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;

    fn publish(tally: &Tally<2>, value: u64) {
        tally.publish(|words| (0..2).for_each(|index| words.set(index, value)));
    }

    /// A reader without the second look at the sequence.
    fn careless(tally: &Tally<2>) -> Option<[u64; 2]> {
        let before = tally.sequence.load(Ordering::Acquire);
        let words = std::array::from_fn(|index| tally.words[index].load(Ordering::Relaxed));
        before.is_multiple_of(2).then_some(words)
    }

    fn torn(read: impl Fn(&Tally<2>) -> Option<[u64; 2]> + Send + Sync + Copy + 'static) {
        loom::model(move || {
            let tally = Arc::new(Tally::new());
            let writer = {
                let tally = Arc::clone(&tally);
                loom::thread::spawn(move || {
                    publish(&tally, 1);
                    publish(&tally, 2);
                })
            };
            if let Some([one, other]) = read(&tally) {
                assert_eq!(one, other, "words of two instants");
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn t1_a_report_is_of_one_instant() {
        torn(Tally::read);
    }

    #[test]
    fn t1_words_left_as_they_were_are_of_the_same_instant() {
        loom::model(|| {
            let tally = Arc::new(Tally::<2>::new());
            publish(&tally, 1);
            let writer = {
                let tally = Arc::clone(&tally);
                // Another thread than the first writer: the engine's lock, here the spawn, hands over.
                loom::thread::spawn(move || {
                    tally.publish(|words| words.set(1, 2));
                })
            };
            if let Some(words) = tally.read() {
                assert!(words == [1, 1] || words == [1, 2], "{words:?}");
            }
            writer.join().unwrap();
            assert_eq!(tally.read(), Some([1, 2]));
        });
    }

    #[test]
    #[should_panic(expected = "words of two instants")]
    fn t1_twin_without_the_second_look_tears() {
        torn(careless);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn t1_what_is_read_was_written_together() {
        let tally = Tally::<8>::new();
        let publish = |n| tally.publish(|words| (0..8).for_each(|index| words.set(index, n)));
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=20_000).for_each(publish));
            let mut last = 0;
            for _ in 0..20_000 {
                let Some(words) = tally.read() else { continue };
                assert_eq!(words, [words[0]; 8]);
                assert!(last <= words[0], "reports go back");
                last = words[0];
            }
        });
        assert_eq!(tally.read(), Some([20_000; 8]));
    }
}
