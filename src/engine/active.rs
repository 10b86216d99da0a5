//! The unfinished runs of each deployment, as linked lists over run rows: constant time, eight bytes a run.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// First row of one list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct First(u32);

impl Default for First {
    fn default() -> Self {
        Self(NONE)
    }
}

/// The links of all lists. A row is in at most one list.
#[derive(Debug, Default)]
pub(crate) struct Active {
    links: Vec<Link>,
}

impl Active {
    pub(crate) fn push(&mut self, first: &mut First, row: u32) {
        if self.links.len() <= row as usize {
            self.links.resize(
                row as usize + 1,
                Link {
                    previous: NONE,
                    next: NONE,
                },
            );
        }
        self.links[row as usize] = Link {
            previous: NONE,
            next: first.0,
        };
        if first.0 != NONE {
            self.links[first.0 as usize].previous = row;
        }
        first.0 = row;
    }

    /// The row must be in the list that starts at `first`.
    pub(crate) fn remove(&mut self, first: &mut First, row: u32) {
        let Link { previous, next } = self.links[row as usize];
        if previous == NONE {
            first.0 = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
    }

    /// The rows of a list, the newest first.
    pub(crate) fn rows(&self, first: First) -> impl Iterator<Item = u32> + '_ {
        let mut at = first.0;
        std::iter::from_fn(move || {
            let row = (at != NONE).then_some(at)?;
            at = self.links[row as usize].next;
            Some(row)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_leave_from_the_front_the_middle_and_the_end() {
        let (mut active, mut first) = (Active::default(), First::default());
        for row in [3, 1, 4, 0] {
            active.push(&mut first, row);
        }
        assert_eq!(active.rows(first).collect::<Vec<_>>(), [0, 4, 1, 3]);
        active.remove(&mut first, 4);
        active.remove(&mut first, 0);
        active.remove(&mut first, 3);
        assert_eq!(active.rows(first).collect::<Vec<_>>(), [1]);
        active.remove(&mut first, 1);
        assert_eq!(first, First::default());
    }
}
