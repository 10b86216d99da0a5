//! Rows under dense numbers, and views of them that stand still.
//!
//! A table is copy-on-write in two levels: a root of nodes, a node of chunks, a chunk of rows. Taking a [`View`]
//! copies the root alone (one shared pointer for every 4,096 rows), so a reader holds the engine's lock for
//! microseconds however long it then reads. A change copies the node and the chunk it touches, and only when some
//! view still shares them. The measurements behind this are in the design document, decision (c).
//!
//! Who keeps something about the rows elsewhere asks for the rows that changed ([`Table::changes`]). From the first time on, a
//! change marks its row, with one bit; a table that nobody asks marks nothing. Who is told of each change as it happens has them
//! [logged](Table::follow).

use std::sync::Arc;

/// Rows in a chunk: what a change copies while a view is out.
const CHUNK: usize = 64;
/// Chunks in a node.
const NODE: usize = 64;
/// Chunks that are sooner copied one by one than with the whole root.
const FEW: usize = 64;

type Chunk<T> = [Option<T>; CHUNK];

/// # Invariants
///
/// * **I1** every row below `rows` lies in a chunk; what lies in the last chunk beyond `rows` is empty;
/// * **I2** `free` holds exactly the empty rows below `rows`, each once;
/// * **I3** `live` is the number of rows that hold something;
/// * **I4** once there are `marks`, every row that may have changed since they were last taken is marked, and marked as
///   whole unless all its changes were light ones.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    root: Vec<Arc<Vec<Arc<Chunk<T>>>>>,
    rows: u32,
    free: Vec<u32>,
    live: usize,
    marks: Option<Marks>,
    log: Option<Box<Log<T>>>,
}

/// What has been touched since the log was taken last.
#[derive(Clone, Debug)]
pub(crate) struct Log<T> {
    /// Rows that may have changed, ascending, each once.
    pub(crate) rows: Vec<u32>,
    /// What was taken out.
    pub(crate) gone: Vec<T>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            gone: Vec::new(),
        }
    }
}

impl<T> Log<T> {
    fn touch(&mut self, row: u32) {
        if self.rows.last() != Some(&row) {
            self.rows.push(row);
        }
    }
}

/// Two bits for every row, and the chunks in which some bit is set.
#[derive(Clone, Debug, Default)]
struct Marks {
    masks: Vec<Masks>,
    chunks: Vec<u32>,
}

/// The rows of a chunk that changed, and of these the rows that may have changed in more than what a light change touches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Masks {
    any: u64,
    whole: u64,
}

/// What changed in a table since it was asked last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Changes {
    /// Nobody has asked before: take every row for changed.
    All,
    /// Rows of these chunks, at most one mark for a chunk.
    Rows(Vec<Mark>),
}

impl Changes {
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Rows(marks) if marks.is_empty())
    }

    /// The chunks in which rows changed, if they are few.
    pub(crate) fn few(&self) -> Option<&[Mark]> {
        match self {
            Self::Rows(marks) if marks.len() <= FEW => Some(marks),
            _ => None,
        }
    }
}

/// Rows of one chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    chunk: u32,
    masks: Masks,
}

// A chunk's rows are the bits of one mask.
const _: () = assert!(CHUNK == u64::BITS as usize);

impl Mark {
    /// How many rows are marked.
    pub(crate) fn len(self) -> usize {
        self.masks.any.count_ones() as usize
    }

    /// The rows that are marked, ascending, each with whether nothing but light changes befell it.
    pub(crate) fn rows(self) -> impl Iterator<Item = (u32, bool)> {
        let mut left = self.masks.any;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some((self.chunk * u64::BITS + bit, self.masks.whole >> bit & 1 == 0))
        })
    }
}

/// The rows of a table as they were when the view was taken. Costs memory only for what changes meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct View<T> {
    shown: Shown<T>,
    rows: u32,
}

#[derive(Clone, Debug)]
enum Shown<T> {
    All(Vec<Arc<Vec<Arc<Chunk<T>>>>>),
    /// Some chunks, ascending by their numbers.
    Some(Vec<(u32, Arc<Chunk<T>>)>),
}

fn split(row: u32) -> (usize, usize, usize) {
    let row = row as usize;
    (row / (CHUNK * NODE), row / CHUNK % NODE, row % CHUNK)
}

fn get<T>(root: &[Arc<Vec<Arc<Chunk<T>>>>], row: u32) -> Option<&T> {
    let (node, chunk, index) = split(row);
    root.get(node)?.get(chunk)?.get(index)?.as_ref()
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            root: Vec::new(),
            rows: 0,
            free: Vec::new(),
            live: 0,
            marks: None,
            log: None,
        }
    }
}

impl<T: Clone> Table<T> {
    /// How many rows hold something.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn get(&self, row: u32) -> Option<&T> {
        get(&self.root, row)
    }

    pub(crate) fn get_mut(&mut self, row: u32) -> Option<&mut T> {
        self.place(row)?.as_mut()
    }

    /// A row for a *light* change: of nothing but the fields that the index of the table calls light. It spares the index a look at
    /// every other field.
    pub(crate) fn get_mut_lightly(&mut self, row: u32) -> Option<&mut T> {
        if let Some(marks) = &mut self.marks
            && row < self.rows
        {
            marks.mark(row, false); // I4
        }
        if let Some(log) = &mut self.log {
            log.touch(row);
        }
        self.unmarked(row)?.as_mut()
    }

    /// The row that the next [`insert`](Self::insert) uses.
    pub(crate) fn next_row(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.rows)
    }

    /// Puts `value` into a free row and returns its number.
    ///
    /// # Panics
    ///
    /// When 2^32 - 1 rows are in use; every table has a cap far below.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let row = self.free.pop().unwrap_or_else(|| self.grow());
        *self.place(row).expect("a free row lies inside the table (I2)") = Some(value);
        self.live += 1;
        row
    }

    /// Puts `value` into row `row`, which must be free; rows up to it become free rows.
    pub(crate) fn insert_at(&mut self, row: u32, value: T) {
        while self.rows <= row {
            let grown = self.grow();
            self.free.push(grown);
        }
        let at = self
            .free
            .iter()
            .rposition(|&free| free == row)
            .expect("the caller found the row free");
        self.free.swap_remove(at);
        *self.place(row).expect("a free row lies inside the table (I2)") = Some(value);
        self.live += 1;
    }

    pub(crate) fn remove(&mut self, row: u32) -> Option<T> {
        let value = self.place(row)?.take()?;
        self.free.push(row);
        self.live -= 1;
        if let Some(log) = &mut self.log {
            log.gone.push(value.clone());
        }
        Some(value)
    }

    /// Begins to log what is touched, or ends it.
    pub(crate) fn follow(&mut self, on: bool) {
        self.log = on.then(Box::default);
    }

    /// Takes the log; nothing while nobody follows.
    pub(crate) fn followed(&mut self) -> Log<T> {
        let mut log = self.log.as_deref_mut().map(std::mem::take).unwrap_or_default();
        log.rows.sort_unstable();
        log.rows.dedup();
        log
    }

    /// How many rows before this one hold something. Linear in the rows that hold nothing.
    pub(crate) fn rank(&self, row: u32) -> usize {
        row as usize - self.free.iter().filter(|&&free| free < row).count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.rows).filter_map(|row| Some((row, self.get(row)?)))
    }

    /// The rows that may have changed since the last call. Takes a few nanoseconds for each chunk of 64 rows in which some did;
    /// an empty answer costs nothing.
    pub(crate) fn changes(&mut self) -> Changes {
        let Some(marks) = &mut self.marks else {
            self.marks = Some(Marks {
                masks: vec![Masks::default(); (self.rows as usize).div_ceil(CHUNK)],
                chunks: Vec::new(),
            });
            return Changes::All;
        };
        let mut taken: Vec<Mark> = (marks.chunks.drain(..))
            .map(|chunk| Mark {
                chunk,
                masks: std::mem::take(&mut marks.masks[chunk as usize]),
            })
            .collect();
        taken.sort_unstable_by_key(|mark| mark.chunk);
        Changes::Rows(taken)
    }

    /// Whether [`changes`](Self::changes) would say that nothing has changed.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| marks.chunks.is_empty())
    }

    pub(crate) fn view(&self) -> View<T> {
        View {
            shown: Shown::All(self.root.clone()),
            rows: self.rows,
        }
    }

    /// A view that shows the rows near those that are marked, and no others: for who takes in a few changes of a large table.
    pub(crate) fn view_near(&self, marks: &[Mark]) -> View<T> {
        let chunk = |number: u32| {
            let (node, chunk, _) = split(number * u64::BITS);
            self.root.get(node)?.get(chunk).cloned()
        };
        let chunks = marks
            .iter()
            .filter_map(|mark| Some((mark.chunk, chunk(mark.chunk)?)));
        View {
            shown: Shown::Some(chunks.collect()),
            rows: self.rows,
        }
    }

    fn grow(&mut self) -> u32 {
        let row = self.rows;
        let (node, chunk, _) = split(row);
        if node == self.root.len() {
            self.root.push(Arc::default());
        }
        let chunks = Arc::make_mut(&mut self.root[node]);
        if chunk == chunks.len() {
            chunks.push(Arc::new([const { None }; CHUNK]));
        }
        self.rows = row
            .checked_add(1)
            .expect("every table is capped far below 2^32 rows");
        row
    }

    fn place(&mut self, row: u32) -> Option<&mut Option<T>> {
        if let Some(marks) = &mut self.marks
            && row < self.rows
        {
            marks.mark(row, true); // I4
        }
        if let Some(log) = &mut self.log {
            log.touch(row);
        }
        self.unmarked(row)
    }

    fn unmarked(&mut self, row: u32) -> Option<&mut Option<T>> {
        let (node, chunk, index) = split(row);
        let chunks = Arc::make_mut(self.root.get_mut(node)?);
        Arc::make_mut(chunks.get_mut(chunk)?).get_mut(index)
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(&self) {
        let mut empty: Vec<u32> = (0..self.rows).filter(|&row| self.get(row).is_none()).collect();
        let mut free = self.free.clone();
        empty.sort_unstable();
        free.sort_unstable();
        assert_eq!(empty, free, "I2 broken");
        assert_eq!(self.live, self.rows as usize - empty.len(), "I3 broken");
    }
}

impl Marks {
    fn mark(&mut self, row: u32, whole: bool) {
        let chunk = row as usize / CHUNK;
        if self.masks.len() <= chunk {
            self.masks.resize(chunk + 1, Masks::default());
        }
        let masks = &mut self.masks[chunk];
        if masks.any == 0 {
            self.chunks.push(row / u64::BITS);
        }
        masks.any |= 1 << (row % u64::BITS);
        masks.whole |= u64::from(whole) << (row % u64::BITS);
    }
}

impl<T> View<T> {
    /// A view of nothing.
    pub(crate) const EMPTY: Self = Self {
        shown: Shown::Some(Vec::new()),
        rows: 0,
    };

    /// Row numbers are below this.
    pub(crate) fn bound(&self) -> u32 {
        self.rows
    }

    pub(crate) fn get(&self, row: u32) -> Option<&T> {
        match &self.shown {
            Shown::All(root) => get(root, row),
            Shown::Some(chunks) => {
                let at = chunks.binary_search_by_key(&(row / u64::BITS), |(number, _)| *number);
                chunks[at.ok()?].1.get(row as usize % CHUNK)?.as_ref()
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.rows).filter_map(|row| Some((row, self.get(row)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u16),
        Remove(u8),
        Change(u8, u16),
        Light(u8, u16),
        View,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => any::<u16>().prop_map(Op::Insert),
            2 => any::<u8>().prop_map(Op::Remove),
            3 => (any::<u8>(), any::<u16>()).prop_map(|(row, value)| Op::Change(row, value)),
            2 => (any::<u8>(), any::<u16>()).prop_map(|(row, value)| Op::Light(row, value)),
            1 => Just(Op::View),
        ]
    }

    proptest! {
        #[test]
        fn f5_a_view_stands_still_while_the_table_changes(ops in prop::collection::vec(op(), 1..400)) {
            let mut table = Table::default();
            let mut model: BTreeMap<u32, u16> = BTreeMap::new();
            let (mut views, mut whole) = (Vec::new(), std::collections::BTreeSet::new());
            let mut followed: BTreeMap<u32, u16> = BTreeMap::new();
            prop_assert_eq!(table.changes(), Changes::All);
            for op in ops {
                match op {
                    Op::Insert(value) => {
                        let row = table.insert(value);
                        whole.insert(row);
                        prop_assert!(model.insert(row, value).is_none());
                    }
                    Op::Remove(row) => {
                        let removed = table.remove(row.into());
                        whole.extend(removed.map(|_| u32::from(row)));
                        prop_assert_eq!(removed, model.remove(&row.into()));
                    }
                    Op::Light(row, value) => {
                        if let Some(held) = table.get_mut_lightly(row.into()) {
                            *held = value;
                            model.insert(row.into(), value);
                        }
                    }
                    Op::Change(row, value) => {
                        if let Some(held) = table.get_mut(row.into()) {
                            *held = value;
                            model.insert(row.into(), value);
                            whole.insert(row.into());
                        }
                    }
                    Op::View => {
                        views.push((table.view(), model.clone()));
                        let Changes::Rows(marks) = table.changes() else { panic!("asked before") };
                        let near = table.view_near(&marks);
                        for (row, light) in marks.iter().flat_map(|mark| mark.rows()) {
                            prop_assert_eq!(near.get(row), table.get(row));
                            prop_assert!(!(light && whole.contains(&row)), "a whole change passed for a light one");
                            match table.get(row) {
                                Some(value) => followed.insert(row, *value),
                                None => followed.remove(&row),
                            };
                        }
                        prop_assert_eq!(&followed, &model, "a change was not marked");
                        whole.clear();
                    }
                }
                table.check();
            }
            views.push((table.view(), model));
            for (view, model) in views {
                let seen: BTreeMap<u32, u16> = view.iter().map(|(row, value)| (row, *value)).collect();
                prop_assert_eq!(seen, model);
            }
        }
    }

    #[test]
    fn a_row_can_be_filled_by_its_number() {
        let mut table = Table::default();
        table.insert_at(5, 'x');
        table.check();
        assert_eq!(table.get(5), Some(&'x'));
        assert_eq!(table.len(), 1);
        let rows: Vec<u32> = (0..5).map(|_| table.insert('y')).collect();
        assert_eq!(rows, [4, 3, 2, 1, 0]);
    }
}
