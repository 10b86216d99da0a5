//! What makes a query quick: columns, inverted sets and sort orders of one table, brought up to a version by whoever asks.
//!
//! An [`Index`] lies beside the engine, under a lock of its own. The engine's calls do no more for it than to mark the rows they
//! change, one bit each, and not even that before the first query of a table. A query takes the marks, with a view of the table of the same
//! instant, and brings the index up to that version before it reads. So the price of an index is paid by those who ask, each part
//! is made when the first query needs it, and nothing of it is state of the engine: it is neither exported nor counted on.
//!
//! | part | answers | bytes a row |
//! |---|---|---|
//! | [`Values`] | fields with few different values; relations to one row | 3 |
//! | [`Kin`] | relations to many rows, and to one of very many | 12, and 4 a parent |
//! | [`TagLists`] | tags | 6 a tag, and 4 |
//! | [`Texts`] | names: containing, starting, ending, `like`, equal | the text, 2 for each trigram and frequent word, and 4 |
//! | [`Numbers`] | instants, durations and numbers | 8 |
//! | [`Order`] | the first rows of a sort, from any place on | 10 |
//!
//! Every part answers exactly: a trigram only proposes rows, and their texts decide.

mod codes;
mod kin;
mod lists;
mod numbers;
mod order;
mod set;
mod text;
mod values;
mod words;

use std::cmp::Ordering;

use uuid::Uuid;

pub(crate) use kin::Kin;
pub(crate) use numbers::Numbers;
pub(crate) use order::{Order, Place};
pub(crate) use set::{RowSet, WORDS, bits};
pub(crate) use text::Texts;
pub(crate) use values::{TagLists, Values};

use super::table::{Changes, Mark};
use super::view::CatalogView;
use crate::filter::{Direction, Entity, Field, Relation, SortKey, Value, read};

/// How a field is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Values,
    Tags,
    Text,
    Numbers,
}

/// How a field is indexed; `None` for one that is looked up in its row.
///
/// A field belongs here only if its value changes with its own row and with nothing else: marks are made for rows. (A status depends
/// on the time.) Of a run's place that part is kept which its row says: whether a ready run is blocked depends on its queue and limits.
const fn form(field: Field) -> Option<Form> {
    Some(match field {
        Field::FlowTags | Field::DeploymentTags | Field::RunTags | Field::TaskRunTags => Form::Tags,
        Field::FlowName | Field::DeploymentName | Field::RunName | Field::TaskRunName => Form::Text,
        Field::DeploymentFlowId
        | Field::DeploymentPaused
        | Field::DeploymentWorkQueueName
        | Field::DeploymentQueueId
        | Field::DeploymentPriority
        | Field::DeploymentConcurrencyLimit
        | Field::DeploymentVersion
        | Field::DeploymentSchedules
        | Field::DeploymentActiveSchedules
        | Field::RunFlowId
        | Field::RunDeploymentId
        | Field::RunQueueId
        | Field::RunWorkQueueName
        | Field::RunStateType
        | Field::RunStateName
        | Field::RunPriority
        | Field::RunPlace
        | Field::RunCount
        | Field::RunAutoScheduled
        | Field::RunCreatedByType
        | Field::RunDeploymentVersion
        | Field::TaskRunStateType
        | Field::TaskRunStateName
        | Field::TaskRunCount => Form::Values,
        Field::FlowCreated
        | Field::DeploymentCreated
        | Field::DeploymentUpdated
        | Field::RunCreated
        | Field::RunUpdated
        | Field::RunStateTimestamp
        | Field::RunExpectedStartTime
        | Field::RunNextScheduledStartTime
        | Field::RunStartTime
        | Field::RunStartOrExpected
        | Field::RunEndTime
        | Field::RunTotalRunTime
        | Field::TaskRunExpectedStartTime
        | Field::TaskRunNextScheduledStartTime
        | Field::TaskRunStartTime
        | Field::TaskRunEndTime => Form::Numbers,
        _ => return None,
    })
}

/// The fields that a light change of a row may change.
const fn is_light(field: Field) -> bool {
    matches!(field, Field::DeploymentPaused | Field::DeploymentUpdated)
}

/// The relations to one row that a row itself names.
const fn is_link(relation: Relation) -> bool {
    matches!(
        relation,
        Relation::DeploymentFlow
            | Relation::DeploymentQueue
            | Relation::RunFlow
            | Relation::RunDeployment
            | Relation::RunQueue
            | Relation::TaskRunRun
            | Relation::QueuePool
    )
}

/// The relation to one row that leads back where a relation to many comes from; `None` where rows do not name that row themselves.
pub(crate) const fn inverse(relation: Relation) -> Option<Relation> {
    Some(match relation {
        Relation::FlowDeployments => Relation::DeploymentFlow,
        Relation::FlowRuns => Relation::RunFlow,
        Relation::DeploymentRuns => Relation::RunDeployment,
        Relation::RunTaskRuns => Relation::TaskRunRun,
        Relation::PoolQueues => Relation::QueuePool,
        Relation::QueueDeployments => Relation::DeploymentQueue,
        Relation::QueueRuns => Relation::RunQueue,
        _ => return None,
    })
}

#[derive(Debug)]
pub(crate) enum Column {
    Values(Values),
    Tags(TagLists),
    Text(Texts),
    Numbers(Numbers),
}

/// Parts of an index that a query wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    pub(crate) fields: Vec<Field>,
    pub(crate) links: Vec<Relation>,
    /// Relations to one row, to be followed from either end.
    pub(crate) kin: Vec<Relation>,
    pub(crate) order: Option<SortKey>,
}

/// The index of one table.
///
/// # Invariants
///
/// * **I1** `live` holds the rows of the table as of the last [`sync`](Self::sync), and every column speaks of exactly these;
/// * **I2** an order by a field stands beside the column of that field, and is by it.
#[derive(Debug)]
pub(crate) struct Index {
    entity: Entity,
    /// False until the first sync, and while one is under way: one that does not come to its end is begun anew.
    synced: bool,
    /// Rows are below this.
    bound: u32,
    live: RowSet,
    ids: Vec<Uuid>,
    fields: Vec<(Field, Column)>,
    links: Vec<(Relation, Values)>,
    kin: Vec<(Relation, Kin)>,
    orders: Vec<(SortKey, Order)>,
    /// Fields that turned out to have too many different values.
    unfit: Vec<Field>,
    /// Relations that lead to too many different rows.
    unfit_links: Vec<Relation>,
}

impl Index {
    pub(crate) const fn new(entity: Entity) -> Self {
        Self {
            entity,
            synced: false,
            bound: 0,
            live: RowSet::NONE,
            ids: Vec::new(),
            fields: Vec::new(),
            links: Vec::new(),
            kin: Vec::new(),
            orders: Vec::new(),
            unfit: Vec::new(),
            unfit_links: Vec::new(),
        }
    }

    /// Whether it was ever brought up to a version.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn bound(&self) -> u32 {
        self.bound
    }

    pub(crate) fn live(&self) -> &RowSet {
        &self.live
    }

    pub(crate) fn id(&self, row: u32) -> Uuid {
        self.ids.get(row as usize).copied().unwrap_or_default()
    }

    pub(crate) fn column(&self, field: Field) -> Option<&Column> {
        let found = self.fields.iter().find(|(held, _)| *held == field);
        found.map(|(_, column)| column)
    }

    pub(crate) fn link(&self, relation: Relation) -> Option<&Values> {
        let found = self.links.iter().find(|(held, _)| *held == relation);
        found.map(|(_, values)| values)
    }

    pub(crate) fn kin(&self, relation: Relation) -> Option<&Kin> {
        let found = self.kin.iter().find(|(held, _)| *held == relation);
        found.map(|(_, kin)| kin)
    }

    /// The order of a sort by one key, equal ones by ascending id.
    pub(crate) fn order(&self, key: SortKey) -> Option<&Order> {
        let found = self.orders.iter().find(|(held, _)| *held == key);
        found.map(|(_, order)| order)
    }

    /// Whether a field can be answered from here, once it is built.
    pub(crate) fn takes(&self, field: Field) -> bool {
        form(field).is_some() && !self.unfit.contains(&field)
    }

    /// Whether rows name the row themselves to which this relation leads.
    pub(crate) fn names(relation: Relation) -> bool {
        is_link(relation)
    }

    /// Whether a relation to one row can be kept as sets of the rows that lead to the same one; else it is kept as [`Kin`].
    pub(crate) fn takes_link(&self, relation: Relation) -> bool {
        is_link(relation) && !self.unfit_links.contains(&relation)
    }

    /// Whether a sort by this key can be kept as an order.
    pub(crate) fn sorts_by(&self, key: SortKey) -> bool {
        key.field == self.entity.id() || matches!(form(key.field), Some(Form::Text | Form::Numbers))
    }

    /// Whether everything that is wanted has been built.
    pub(crate) fn has(&self, wants: &Wants) -> bool {
        self.synced
            && wants.fields.iter().all(|&field| self.column(field).is_some())
            && wants.links.iter().all(|&link| self.link(link).is_some())
            && wants.kin.iter().all(|&link| self.kin(link).is_some())
            && wants.order.is_none_or(|key| self.order(key).is_some())
    }

    /// Whether these changes are taken in row by row: then a view of the rows that changed is enough for [`sync`](Self::sync).
    pub(crate) fn follows(&self, changes: &Changes) -> bool {
        match changes {
            Changes::All => false,
            Changes::Rows(marks) => self.synced && changed(marks) * 2 <= self.live.len().max(4_096),
        }
    }

    /// Brings the index up to the version of `view`. `changes` are the rows that changed since the last sync.
    pub(crate) fn sync(&mut self, view: &CatalogView, changes: Changes) {
        let follows = self.follows(&changes);
        self.synced = false;
        let rows = view.bound(self.entity);
        match changes {
            Changes::Rows(marks) if follows => {
                self.bound = rows;
                self.follow(view, marks.iter().flat_map(|mark| mark.rows()));
            }
            // Nothing to follow from, or so much that starting anew is quicker.
            _ => self.renew(view, rows),
        }
        self.drop_unfit();
        for (_, column) in &mut self.fields {
            if let Column::Text(texts) = column {
                texts.refresh(&self.live);
            }
        }
        self.synced = true;
    }

    /// Builds what is wanted and not there. The view is of the version of the last sync.
    pub(crate) fn build(&mut self, wants: &Wants, view: &CatalogView) {
        for &field in &wants.fields {
            self.build_field(field, view);
        }
        for &link in &wants.links {
            if self.link(link).is_none() && self.takes_link(link) {
                let values = self.values(|row| target(view, link, row));
                self.links.push((link, values));
            }
        }
        for &link in &wants.kin {
            if self.kin(link).is_none() {
                let mut kin = Kin::default();
                for row in self.live.iter() {
                    kin.update(row, view.one(link, row));
                }
                kin.shrink();
                self.kin.push((link, kin));
            }
        }
        if let Some(key) = wants.order
            && self.order(key).is_none()
        {
            if key.field != self.entity.id() {
                self.build_field(key.field, view);
            }
            let order = Order::of(&self.sorted(key));
            self.orders.push((key, order)); // I2
        }
        self.drop_unfit();
    }

    fn build_field(&mut self, field: Field, view: &CatalogView) {
        let Some(form) = form(field).filter(|_| self.column(field).is_none() && self.takes(field)) else {
            return;
        };
        let value = |row| own(view, field, row);
        let column = match form {
            Form::Values => Column::Values(self.values(value)),
            Form::Tags => Column::Tags(TagLists::build(&self.live, self.bound, value)),
            Form::Text => Column::Text(Texts::build(&self.live, self.bound, value)),
            Form::Numbers => {
                let mut numbers = Numbers::default();
                for row in self.live.iter() {
                    numbers.update(row, Some(value(row)));
                }
                numbers.shrink();
                Column::Numbers(numbers)
            }
        };
        self.fields.push((field, column));
    }

    /// The values of all rows.
    fn values<'a>(&self, value: impl Fn(u32) -> Value<'a>) -> Values {
        let mut values = Values::default();
        for (done, row) in self.live.iter().enumerate() {
            values.update(row, Some(value(row)));
            // Hopeless cases end early.
            if done % 1_024 == 0 && self.distinct_most() < values.distinct() {
                break;
            }
        }
        values.shrink();
        values
    }

    /// Most different values that an inverted index of a field has: beyond, its sets cost more than they save.
    fn distinct_most(&self) -> usize {
        4_096 + self.live.len() / 16
    }

    fn drop_unfit(&mut self) {
        let most = self.distinct_most();
        let unfit = &mut self.unfit;
        self.fields.retain(|(field, column)| {
            let fits = !matches!(column, Column::Values(values) if most < values.distinct());
            if !fits {
                unfit.push(*field);
            }
            fits
        });
        let unfit = &mut self.unfit_links;
        self.links.retain(|(link, values)| {
            let fits = values.distinct() <= most;
            if !fits {
                unfit.push(*link);
            }
            fits
        });
    }

    /// Takes in every row anew, and every part that there was.
    fn renew(&mut self, view: &CatalogView, rows: u32) {
        let wants: Vec<Wants> = (self.orders.iter())
            .map(|(key, _)| Wants {
                order: Some(*key),
                ..Wants::default()
            })
            .chain([Wants {
                fields: self.fields.iter().map(|(field, _)| *field).collect(),
                links: self.links.iter().map(|(link, _)| *link).collect(),
                kin: self.kin.iter().map(|(link, _)| *link).collect(),
                order: None,
            }])
            .collect();
        *self = Self::new(self.entity);
        self.bound = rows;
        self.live = (0..rows).filter(|&row| view.holds(self.entity, row)).collect();
        self.live.shrink();
        self.ids = vec![Uuid::nil(); rows as usize];
        for row in self.live.iter() {
            self.ids[row as usize] = id(view, self.entity, row);
        }
        for wants in wants {
            self.build(&wants, view);
        }
    }

    /// Notes whether there is a row, and its id; true if both are as before.
    fn stands(&mut self, view: &CatalogView, row: u32, is: bool) -> bool {
        let id = if is {
            id(view, self.entity, row)
        } else {
            Uuid::nil()
        };
        let same = self.live.contains(row) == is && (!is || self.ids[row as usize] == id);
        if !same {
            self.ids[row as usize] = id;
            if is {
                self.live.insert(row);
            } else {
                self.live.remove(row);
            }
        }
        same
    }

    /// Takes in the rows that changed, each with whether it changed lightly.
    fn follow(&mut self, view: &CatalogView, changed: impl Iterator<Item = (u32, bool)>) {
        let mut moved: Vec<Vec<u32>> = vec![Vec::new(); self.orders.len()];
        self.ids.resize(self.bound as usize, Uuid::nil());
        for (row, light) in changed {
            // A row that changed lightly is there, as it was.
            let is = light || view.holds(self.entity, row);
            let same = light || self.stands(view, row, is);
            let mut turned = |field: Field, changed: bool| {
                for ((key, order), moved) in self.orders.iter_mut().zip(&mut moved) {
                    if changed && key.field == field {
                        order.remove(row);
                        if is && moved.last() != Some(&row) {
                            moved.push(row);
                        }
                    }
                }
            };
            let fields = self.fields.iter_mut();
            for (field, column) in fields.filter(|(field, _)| !light || is_light(*field)) {
                let value = is.then(|| own(view, *field, row));
                match column {
                    Column::Values(values) => values.update(row, value),
                    Column::Tags(tags) => tags.update(row, value),
                    Column::Text(texts) => {
                        let changed = texts.update(row, value);
                        turned(*field, changed || !same);
                    }
                    Column::Numbers(numbers) => {
                        let changed = numbers.update(row, value);
                        turned(*field, changed || !same);
                    }
                }
            }
            if light {
                continue;
            }
            turned(self.entity.id(), !same);
            for (link, values) in &mut self.links {
                values.update(row, is.then(|| target(view, *link, row)));
            }
            for (link, kin) in &mut self.kin {
                kin.update(row, view.one(*link, row).filter(|_| is));
            }
        }
        let mut orders = std::mem::take(&mut self.orders);
        for ((key, order), moved) in orders.iter_mut().zip(moved) {
            // Every row that stands in the order has its new key, and these are not in yet.
            for row in moved {
                order.insert(row, |a, b| self.compare(*key, a, b));
            }
        }
        self.orders = orders;
    }

    /// Which of two rows comes first under a key, equal ones by ascending id.
    pub(crate) fn compare(&self, key: SortKey, a: u32, b: u32) -> Ordering {
        let by_key = match self.column(key.field) {
            Some(Column::Text(texts)) => {
                let null = |row| !texts.is_null(row);
                (texts.bytes(a).cmp(texts.bytes(b))).then_with(|| null(a).cmp(&null(b)))
            }
            Some(Column::Numbers(numbers)) => numbers.key(a).cmp(&numbers.key(b)),
            // The id itself.
            _ => self.id(a).cmp(&self.id(b)),
        };
        let by_key = match key.direction {
            Direction::Ascending => by_key,
            Direction::Descending => by_key.reverse(),
        };
        by_key.then_with(|| self.id(a).cmp(&self.id(b)))
    }

    /// What an order by this field compares: its value, or the id.
    pub(crate) fn sort_value(&self, field: Field, row: u32) -> Value<'_> {
        match self.column(field) {
            Some(Column::Text(texts)) => texts.get(row),
            Some(Column::Numbers(numbers)) => numbers.get(row),
            _ => Value::Uuid(self.id(row)),
        }
    }

    /// All rows under a key.
    fn sorted(&self, key: SortKey) -> Vec<u32> {
        // Sixteen bytes that order most rows by themselves, so that few comparisons go to the columns.
        let head = |row| match self.column(key.field) {
            Some(Column::Text(texts)) => {
                let mut head = [0; 16];
                let text = texts.bytes(row);
                let length = text.len().min(16);
                head[..length].copy_from_slice(&text[..length]);
                u128::from_be_bytes(head)
            }
            Some(Column::Numbers(numbers)) => numbers
                .key(row)
                .map_or(0, |number| number.abs_diff(i64::MIN).into()),
            _ => self.id(row).as_u128(),
        };
        let mut rows: Vec<(u128, u32)> = self
            .live
            .iter()
            .map(|row| match key.direction {
                Direction::Ascending => (head(row), row),
                Direction::Descending => (!head(row), row),
            })
            .collect();
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.compare(key, a.1, b.1)));
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

fn changed(marks: &[Mark]) -> usize {
    marks.iter().map(|mark| mark.len()).sum()
}

fn id(view: &CatalogView, entity: Entity, row: u32) -> Uuid {
    match read(view, entity.id(), row) {
        Value::Uuid(id) => id,
        _ => Uuid::nil(),
    }
}

/// The value of a field as far as it changes with its own row alone.
fn own(view: &CatalogView, field: Field, row: u32) -> Value<'_> {
    match field {
        Field::RunPlace => view.own_place(row),
        _ => read(view, field, row),
    }
}

/// The row that a relation leads to, as a value.
fn target(view: &CatalogView, relation: Relation, row: u32) -> Value<'static> {
    view.one(relation, row)
        .map_or(Value::Null, |row| Value::Int(row.into()))
}
