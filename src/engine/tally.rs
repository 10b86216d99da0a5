//! The counters of the status report, readable without the engine's lock.
//!
//! A sequence lock: the one writer at a time (whoever holds the engine's lock) makes the sequence odd, writes the words
//! and makes it even again; a reader that saw the same even number before and after has read one instant. A reader
//! that shares its processor with an interrupted writer would try in vain, so it tries a bounded number of times, and
//! then takes the engine's lock. What this buys over always taking the lock is measured in the design document, (b).

use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Tries before a reader gives up: each is some tens of nanoseconds.
const TRIES: usize = if cfg!(loom) { 2 } else { 128 };

/// `N` words that are always read as they were written together.
#[derive(Debug)]
pub(crate) struct Tally<const N: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Tally<N> {
    pub(crate) fn new(words: [u64; N]) -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: words.map(AtomicU64::new),
        }
    }

    /// Writes all words. Only under the engine's lock: there is one writer at a time.
    pub(crate) fn publish(&self, words: &[u64; N]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // tally-words: a reader that sees one of the words below sees the odd sequence, through its fence.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
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

    /// A reader without the second look at the sequence.
    fn careless(tally: &Tally<2>) -> Option<[u64; 2]> {
        let before = tally.sequence.load(Ordering::Acquire);
        let words = std::array::from_fn(|index| tally.words[index].load(Ordering::Relaxed));
        before.is_multiple_of(2).then_some(words)
    }

    fn torn(read: impl Fn(&Tally<2>) -> Option<[u64; 2]> + Send + Sync + Copy + 'static) {
        loom::model(move || {
            let tally = Arc::new(Tally::new([0, 0]));
            let writer = {
                let tally = Arc::clone(&tally);
                loom::thread::spawn(move || {
                    tally.publish(&[1, 1]);
                    tally.publish(&[2, 2]);
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
        let tally = Tally::new([0; 8]);
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=20_000).for_each(|n| tally.publish(&[n; 8])));
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
