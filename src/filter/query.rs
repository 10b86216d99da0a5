//! Which rows, in which order, from where to where; and the plain way to answer that.

use std::cmp::Ordering;

use super::cursor::Cursor;
use super::field::{Entity, Field, Kind};
use super::limits::Limits;
use super::records::{Records, read};
use super::{Filter, Notice};

/// Ascending or descending. Nulls are smallest: first going up, last going down.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// One key of a sort.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SortKey {
    /// What is compared.
    pub field: Field,
    /// Which way.
    pub direction: Direction,
}

impl SortKey {
    /// Smallest first.
    #[must_use]
    pub const fn ascending(field: Field) -> Self {
        Self {
            field,
            direction: Direction::Ascending,
        }
    }

    /// Greatest first.
    #[must_use]
    pub const fn descending(field: Field) -> Self {
        Self {
            field,
            direction: Direction::Descending,
        }
    }
}

/// The orders that the reference names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Sort {
    /// The latest made first.
    CreatedDesc,
    /// The latest changed first.
    UpdatedDesc,
    /// By name.
    NameAsc,
    /// By name, backwards.
    NameDesc,
    /// The greatest id first.
    IdDesc,
    /// The earliest start, or expected start, first.
    StartTimeAsc,
    /// The latest start, or expected start, first.
    StartTimeDesc,
    /// The earliest expected start first.
    ExpectedStartTimeAsc,
    /// The latest expected start first.
    ExpectedStartTimeDesc,
    /// The next to be due first.
    NextScheduledStartTimeAsc,
    /// The latest end first.
    EndTimeDesc,
    /// By priority, 1 first: the fixed order of the queues of one pool.
    PriorityAsc,
}

impl Sort {
    /// How the reference writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreatedDesc => "CREATED_DESC",
            Self::UpdatedDesc => "UPDATED_DESC",
            Self::NameAsc => "NAME_ASC",
            Self::NameDesc => "NAME_DESC",
            Self::IdDesc => "ID_DESC",
            Self::StartTimeAsc => "START_TIME_ASC",
            Self::StartTimeDesc => "START_TIME_DESC",
            Self::ExpectedStartTimeAsc => "EXPECTED_START_TIME_ASC",
            Self::ExpectedStartTimeDesc => "EXPECTED_START_TIME_DESC",
            Self::NextScheduledStartTimeAsc => "NEXT_SCHEDULED_START_TIME_ASC",
            Self::EndTimeDesc => "END_TIME_DESC",
            Self::PriorityAsc => "PRIORITY_ASC",
        }
    }

    /// The orders that can be asked for in the JSON form; none for pools and queues, whose order is fixed. The first is the
    /// default.
    #[must_use]
    pub const fn choices(entity: Entity) -> &'static [Self] {
        match entity {
            Entity::Flow | Entity::Deployment => &[
                Self::NameAsc,
                Self::NameDesc,
                Self::CreatedDesc,
                Self::UpdatedDesc,
            ],
            Entity::Run => &[
                Self::IdDesc,
                Self::StartTimeAsc,
                Self::StartTimeDesc,
                Self::ExpectedStartTimeAsc,
                Self::ExpectedStartTimeDesc,
                Self::NameAsc,
                Self::NameDesc,
                Self::NextScheduledStartTimeAsc,
                Self::EndTimeDesc,
            ],
            Entity::TaskRun => &[
                Self::IdDesc,
                Self::ExpectedStartTimeAsc,
                Self::ExpectedStartTimeDesc,
                Self::NameAsc,
                Self::NameDesc,
                Self::NextScheduledStartTimeAsc,
                Self::EndTimeDesc,
            ],
            Entity::Pool | Entity::Queue => &[],
        }
    }

    /// The order when none is named: by name, runs and task runs by id with the greatest first.
    #[must_use]
    pub const fn default_of(entity: Entity) -> Self {
        match entity {
            Entity::Run | Entity::TaskRun => Self::IdDesc,
            Entity::Flow | Entity::Deployment | Entity::Pool | Entity::Queue => Self::NameAsc,
        }
    }

    /// The key it stands for; `None` if such rows have no such field.
    #[must_use]
    pub fn key(self, entity: Entity) -> Option<SortKey> {
        let (name, direction) = match self {
            Self::CreatedDesc => ("created", Direction::Descending),
            Self::UpdatedDesc => ("updated", Direction::Descending),
            Self::NameAsc => ("name", Direction::Ascending),
            Self::NameDesc => ("name", Direction::Descending),
            Self::IdDesc => ("id", Direction::Descending),
            Self::StartTimeAsc => ("start_or_expected", Direction::Ascending),
            Self::StartTimeDesc => ("start_or_expected", Direction::Descending),
            Self::ExpectedStartTimeAsc => ("expected_start_time", Direction::Ascending),
            Self::ExpectedStartTimeDesc => ("expected_start_time", Direction::Descending),
            Self::NextScheduledStartTimeAsc => ("next_scheduled_start_time", Direction::Ascending),
            Self::EndTimeDesc => ("end_time", Direction::Descending),
            Self::PriorityAsc => ("priority", Direction::Ascending),
        };
        entity.field(name).map(|field| SortKey { field, direction })
    }
}

/// Which part of the sorted rows is wanted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Start {
    /// After this many rows.
    Offset(u64),
    /// At this page, from 1; a page past the end is empty.
    Page(u64),
}

/// A question: rows of one kind that match, in a total order, a window of them.
#[derive(Clone, Debug)]
pub struct Query {
    filter: Filter,
    sort: Vec<SortKey>,
    start: Start,
    after: Option<Cursor>,
    limit: u32,
    notices: Vec<Notice>,
}

/// A query that cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// More rows than the cap.
    #[error("limit {limit} is above {cap}; ask in pages")]
    Limit {
        /// The limit asked for.
        limit: u32,
        /// [`Limits::page`].
        cap: u32,
    },
    /// Page 0.
    #[error("there is no page 0; the first page is 1")]
    Page,
    /// A sort by a field of other rows, or by tags.
    #[error("{field} cannot sort a {entity}; use a field of the {entity} that is not a list")]
    Sort {
        /// The field.
        field: Field,
        /// What is sorted.
        entity: Entity,
    },
    /// A cursor of another sort.
    #[error("the cursor belongs to another sort; ask with the sort of the page that gave it")]
    Cursor,
}

impl Query {
    /// The first page, in the default order of its kind of row.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        let sort = Sort::default_of(filter.entity())
            .key(filter.entity())
            .into_iter()
            .collect();
        Self {
            filter,
            sort,
            start: Start::Offset(0),
            after: None,
            limit: Limits::default().page,
            notices: Vec::new(),
        }
        .with_id()
    }

    /// Sets the order, such as `[SortKey::descending(Field::RunStartTime)]`, or the [key](Sort::key) of one that the reference names.
    /// The id comes as the last key by itself. Default: [`Sort::default_of`].
    ///
    /// # Errors
    ///
    /// [`QueryError::Sort`] if a field is not of these rows or is a list.
    pub fn sorted_by(mut self, keys: impl IntoIterator<Item = SortKey>) -> Result<Self, QueryError> {
        let entity = self.entity();
        self.after = None;
        self.sort.clear();
        for key in keys {
            if key.field.entity() != entity || key.field.kind() == Kind::Tags {
                return Err(QueryError::Sort {
                    field: key.field,
                    entity,
                });
            }
            if self.sort.iter().all(|earlier| earlier.field != key.field) {
                self.sort.push(key);
            }
        }
        Ok(self.with_id())
    }

    /// Sets the window: at most `limit` rows from `start` on. Default: the first 200 rows.
    ///
    /// # Errors
    ///
    /// [`QueryError::Limit`] if `limit` is above [`Limits::page`], [`QueryError::Page`] for page 0.
    pub fn window(mut self, start: Start, limit: u32, limits: &Limits) -> Result<Self, QueryError> {
        if limit > limits.page {
            return Err(QueryError::Limit {
                limit,
                cap: limits.page,
            });
        }
        if start == Start::Page(0) {
            return Err(QueryError::Page);
        }
        self.start = start;
        self.limit = limit;
        Ok(self)
    }

    /// Starts behind a place in the sort, in which [`start`](Self::start) then counts. The count of an answer stays that of all
    /// rows that match.
    ///
    /// # Errors
    ///
    /// [`QueryError::Cursor`] if the cursor is not of this query's sort. Setting the sort drops the cursor.
    pub fn after(mut self, cursor: Cursor) -> Result<Self, QueryError> {
        if !cursor.fits(&self.sort) {
            return Err(QueryError::Cursor);
        }
        self.after = Some(cursor);
        Ok(self)
    }

    /// The place behind which it starts, if one was given.
    #[must_use]
    pub const fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref()
    }

    /// Whether a row sorts behind the cursor, if there is one.
    fn is_open<R: Records + ?Sized>(&self, records: &R, row: u32) -> bool {
        (self.after.as_ref()).is_none_or(|cursor| cursor.is_before(|field| read(records, field, row)))
    }

    pub(crate) fn noticing(mut self, notices: Vec<Notice>) -> Self {
        self.notices = notices;
        self
    }

    /// An id decides between equal rows; nothing after an id can.
    fn with_id(mut self) -> Self {
        let id = self.entity().id();
        match self.sort.iter().position(|key| key.field == id) {
            Some(position) => self.sort.truncate(position + 1),
            None => self.sort.push(SortKey::ascending(id)),
        }
        self
    }

    /// The kind of rows asked for.
    #[must_use]
    pub fn entity(&self) -> Entity {
        self.filter.entity()
    }

    /// Which rows.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// In which order: at least one key, the last is the id.
    #[must_use]
    pub fn sort(&self) -> &[SortKey] {
        &self.sort
    }

    /// The one key that decides, with the ascending id behind it; `None` for a sort by more.
    pub(crate) fn single_key(&self) -> Option<SortKey> {
        match *self.sort {
            [key] => Some(key),
            [key, id] if id == SortKey::ascending(id.field) && id.field == self.entity().id() => Some(key),
            _ => None,
        }
    }

    /// From where.
    #[must_use]
    pub const fn start(&self) -> Start {
        self.start
    }

    /// At most how many rows.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Rows before the window.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        match self.start {
            Start::Offset(offset) => offset,
            Start::Page(page) => page.saturating_sub(1).saturating_mul(self.limit as u64),
        }
    }

    /// How many pages `count` rows make: rounded up, 0 when a page holds nothing.
    #[must_use]
    pub const fn pages(&self, count: u64) -> u64 {
        if self.limit == 0 {
            0
        } else {
            count.div_ceil(self.limit as u64)
        }
    }

    /// What was ignored while reading the JSON form; empty for the other forms. A caller who changes rows by such a query
    /// refuses it unless this is empty.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Which of two rows comes first. Never equal for different rows, as ids differ.
    #[must_use]
    pub fn order<R: Records + ?Sized>(&self, records: &R, a: u32, b: u32) -> Ordering {
        self.sort.iter().fold(Ordering::Equal, |order, key| {
            order.then_with(|| {
                let order = read(records, key.field, a).order(read(records, key.field, b));
                match key.direction {
                    Direction::Ascending => order,
                    Direction::Descending => order.reverse(),
                }
            })
        })
    }

    /// Of rows that match, in any order: those of the window, in order.
    pub(crate) fn window_of<R: Records + ?Sized>(
        &self,
        records: &R,
        rows: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        let mut best = self.best();
        for row in rows {
            if self.limit > 0 && self.is_open(records, row) {
                best.offer(row, |a, b| self.order(records, a, b));
            }
        }
        best.finish(self.offset(), |a, b| self.order(records, a, b))
    }

    fn best(&self) -> Best {
        let reach = self.offset().saturating_add(u64::from(self.limit));
        Best {
            reach: usize::try_from(reach).unwrap_or(usize::MAX),
            rows: Vec::new(),
            bar: None,
        }
    }

    /// Answers by looking at every row of `rows` once.
    ///
    /// Keeps at most twice as many row numbers as the window reaches to, so the first page of a million needs room for a
    /// few hundred. Takes time in proportion to the rows, plus sorting the window.
    pub fn run<R: Records + ?Sized>(&self, records: &R, rows: impl IntoIterator<Item = u32>) -> Answer {
        let mut count = 0;
        let matching = rows.into_iter().filter(|&row| self.filter.matches(records, row));
        let rows = self.window_of(records, matching.inspect(|_| count += 1));
        Answer {
            rows,
            count,
            pages: self.pages(count),
        }
    }
}

/// What a query found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The rows of the window, in order.
    pub rows: Vec<u32>,
    /// How many rows match, window or not.
    pub count: u64,
    /// How many pages they make.
    pub pages: u64,
}

/// The first `reach` rows of what was offered, in some order, and up to as many again that are not sorted out yet.
struct Best {
    reach: usize,
    rows: Vec<u32>,
    /// Once full: the last row that still counts. What comes after it need not be kept.
    bar: Option<u32>,
}

impl Best {
    fn offer(&mut self, row: u32, order: impl Fn(u32, u32) -> Ordering) {
        if self.bar.is_some_and(|bar| order(row, bar).is_gt()) {
            return;
        }
        self.rows.push(row);
        if self.rows.len() >= self.reach.saturating_mul(2).max(64) {
            self.cut(order);
        }
    }

    fn cut(&mut self, order: impl Fn(u32, u32) -> Ordering) {
        if self.reach < self.rows.len() {
            self.rows.select_nth_unstable_by(self.reach, |&a, &b| order(a, b));
            self.rows.truncate(self.reach);
            self.bar = self.rows.iter().copied().max_by(|&a, &b| order(a, b));
        }
    }

    fn finish(mut self, offset: u64, order: impl Fn(u32, u32) -> Ordering + Copy) -> Vec<u32> {
        self.cut(order);
        let Some(offset) = usize::try_from(offset)
            .ok()
            .filter(|&offset| offset < self.rows.len())
        else {
            return Vec::new();
        };
        self.rows.select_nth_unstable_by(offset, |&a, &b| order(a, b));
        let mut window = self.rows.split_off(offset);
        window.sort_unstable_by(|&a, &b| order(a, b));
        window
    }
}
