//! Questions: a filter, a sort and a window, answered from one version.

use std::ops::Deref;

use hashbrown::{HashMap, HashSet};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::Serialize;
use uuid::Uuid;

use super::core::{Core, Effects};
use super::error::Error;
use super::read::run_of;
use super::{Engine, carry_out};
use crate::catalog::{CatalogView, Found, Index, Known, Plan, Tables, Wanted, answer, tests};
use crate::filter::{
    By, Cursor, Entity, Explained, Expr, Node, Notice, Query, Start, Tested, Value, Way, read,
};
use crate::model::{Deployment, Flow, Run, TaskRun, WorkPool, WorkQueue};

/// One page of an answer. Rows, count and pages are of the same version.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// The rows of this page, in the order asked for.
    pub results: Vec<T>,
    /// How many rows match, on all pages.
    pub count: u64,
    /// Most rows on a page.
    pub limit: u32,
    /// How many pages there are; 0 when nothing matches or `limit` is 0.
    pub pages: u64,
    /// Which page this is, from 1; none when the query named an offset.
    pub page: Option<u64>,
    /// Where the page ended, to go on from there ([`Query::after`]); none when nothing follows. A query that itself goes on from a
    /// cursor cannot tell that of a last page that happens to be full: it has one too, and the page after it is empty.
    #[serde(skip)]
    pub next: Option<Cursor>,
    /// The version of the engine that this describes.
    #[serde(skip)]
    pub version: u64,
    /// What the query said that has no effect, such as unknown keys at the top of the JSON form.
    #[serde(skip)]
    pub notices: Vec<Notice>,
}

/// Ids of the rows of one page. Half of what a page costs is making its rows; who wants to know which, asks for this.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Ids {
    /// The ids, in the order asked for.
    pub ids: Vec<Uuid>,
    /// Where the page ended, to go on from there ([`Query::after`]); none when the page is not full. A last
    /// page that happens to be full has one too, and the page after it is empty.
    pub next: Option<Cursor>,
    /// The version of the engine that this describes.
    pub version: u64,
}

/// The indexes of all tables, each under a lock of its own. Locks are taken in the order *indexes by the number of their entity, engine*;
/// whoever holds the engine's takes none of these.
pub(crate) struct Indexes([RwLock<Index>; Entity::ALL.len()]);

impl Default for Indexes {
    fn default() -> Self {
        Self(Entity::ALL.map(|entity| RwLock::new(Index::new(entity))))
    }
}

const KINDS: usize = Entity::ALL.len();

/// The indexes that a query reads.
type Reading<'a> = [Option<RwLockReadGuard<'a, Index>>; KINDS];
/// The same, to be brought up to date.
type Writing<'a> = [Option<RwLockWriteGuard<'a, Index>>; KINDS];

fn known(held: &[Option<impl Deref<Target = Index>>; KINDS]) -> Known<'_> {
    held.each_ref().map(|index| index.as_deref())
}

impl Indexes {
    /// Locks the indexes of these tables, one after the other in the order of their numbers; `None` if `lock` fails.
    fn lock<'a, G>(
        &'a self,
        entities: [bool; KINDS],
        lock: impl Fn(&'a RwLock<Index>) -> Option<G>,
    ) -> Option<[Option<G>; KINDS]> {
        let mut held = [const { None }; KINDS];
        for ((held, index), wanted) in held.iter_mut().zip(&self.0).zip(entities) {
            if wanted {
                *held = Some(lock(index)?);
            }
        }
        Some(held)
    }
}

/// An answer, and what it was read from.
struct Asked<'a> {
    found: Found,
    version: u64,
    view: CatalogView,
    /// None when the table was scanned.
    indexes: Option<Reading<'a>>,
    entity: Entity,
}

impl Asked<'_> {
    /// The index of the rows asked for.
    fn index(&self) -> Option<&Index> {
        self.indexes.as_ref()?[self.entity as usize].as_deref()
    }

    fn id(&self, row: u32) -> Uuid {
        match self.index() {
            Some(index) => index.id(row),
            None => match read(&self.view, self.entity.id(), row) {
                Value::Uuid(id) => id,
                _ => Uuid::nil(),
            },
        }
    }

    /// The index, if it keeps the order of the query's sort.
    fn order(&self, query: &Query) -> Option<&Index> {
        let key = query.single_key()?;
        self.index().filter(|index| index.order(key).is_some())
    }

    /// Where the page ended, if it is full.
    fn next(&self, query: &Query) -> Option<Cursor> {
        let last = *self.found.rows.last()?;
        let sort = query.sort();
        (self.found.rows.len() == query.limit() as usize).then(|| match self.order(query) {
            Some(index) => Cursor::from_values(sort, |field| index.sort_value(field, last)),
            None => Cursor::of(sort, &self.view, last),
        })
    }
}

/// The tests of an expression, each answered by rows.
fn leaves(expr: &Expr) -> Vec<Tested> {
    match expr.node() {
        Node::And(children) | Node::Or(children) => children.iter().flat_map(leaves).collect(),
        Node::Not(inner) => leaves(inner),
        _ => vec![Tested {
            test: expr.to_string(),
            by: By::Rows,
            rows: None,
        }],
    }
}

impl Core {
    /// Everything as it is now, to be read without the lock.
    pub(crate) fn view(&self) -> CatalogView {
        self.view_with(true)
    }

    /// The same; without `places`, blocked runs are not told from ready ones, which takes a look at each limit that stops some.
    pub(crate) fn view_with(&self, places: bool) -> CatalogView {
        self.view_of(Tables::All, places)
    }

    /// Whether queries that read these tables use indexes: if one of them is large, of all of them.
    fn indexes(&self, entities: [bool; KINDS]) -> bool {
        let large = |entity: Entity| self.catalog.count(entity) >= self.settings.index_from;
        Entity::ALL
            .into_iter()
            .any(|entity| entities[entity as usize] && large(entity))
    }

    /// These tables as they are now. Whether a run is blocked can be told only `with_places`.
    fn view_of(&self, tables: Tables<'_>, with_places: bool) -> CatalogView {
        let (mut stopped, mut by_name) = (HashSet::new(), HashMap::new());
        if with_places && self.ready.blocked() > 0 {
            for (limit, room) in self.ready.stops() {
                if let Some(&deployment) = self.limits.owners.get(&limit) {
                    stopped.insert(deployment);
                } else {
                    by_name.insert(limit, room);
                }
            }
        }
        let mut view = self.catalog.view(tables, stopped, by_name);
        view.polled = self.polled.at(self.wall);
        view
    }
}

impl Engine {
    /// Flows that a query asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn flows(&self, query: &Query) -> Result<Page<Flow>, Error> {
        self.page(query, Entity::Flow, |view, row| {
            view.flows.get(row).map(|held| held.data.clone())
        })
    }

    /// Deployments that a query asks for, loaded records included.
    ///
    /// ```
    /// use serde_json::json;
    /// use tenfold::filter::{Entity, Query, Shape};
    /// use tenfold::{Engine, NewDeployment};
    ///
    /// let engine = Engine::new();
    /// engine.deploy(NewDeployment::new("report", "nightly").tag("etl"))?;
    /// engine.deploy(NewDeployment::new("report", "hourly"))?;
    /// let body = json!({ "deployments": { "tags": { "all_": ["etl"] } } });
    /// let query = Query::of_json(Entity::Deployment, Shape::Paginate, &body).unwrap();
    /// let page = engine.deployments(&query)?;
    /// assert_eq!((page.count, page.results[0].name.as_str()), (1, "nightly"));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn deployments(&self, query: &Query) -> Result<Page<Deployment>, Error> {
        self.page(query, Entity::Deployment, CatalogView::deployment)
    }

    /// Runs that a query asks for, loaded records included.
    ///
    /// The engine's lock is held for the taking of a view alone; the scan itself holds up nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn runs(&self, query: &Query) -> Result<Page<Run>, Error> {
        self.page(query, Entity::Run, |view, row| {
            view.runs.get(row).map(|held| Run {
                place: view.place(held),
                ..run_of(held)
            })
        })
    }

    /// Task runs that a query asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn task_runs(&self, query: &Query) -> Result<Page<TaskRun>, Error> {
        self.page(query, Entity::TaskRun, |view, row| {
            view.task_runs.get(row).map(|held| held.data.clone())
        })
    }

    /// Work pools that a query asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn pools(&self, query: &Query) -> Result<Page<WorkPool>, Error> {
        self.page(query, Entity::Pool, CatalogView::pool)
    }

    /// Work queues that a query asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn queues(&self, query: &Query) -> Result<Page<WorkQueue>, Error> {
        self.page(query, Entity::Queue, CatalogView::queue)
    }

    /// The ids of the rows that a query asks for, of whatever kind, without their count.
    ///
    /// On a table with an index (see [`EngineBuilder::index_from`](super::EngineBuilder::index_from)) the first page in an order
    /// that the index keeps takes microseconds, whatever the table holds.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn ids(&self, query: &Query) -> Result<Ids, Error> {
        let wanted = Wanted {
            rows: true,
            count: false,
        };
        self.ask(query, wanted, false, |asked| Ids {
            ids: (asked.found.rows.iter()).map(|&row| asked.id(row)).collect(),
            next: asked.next(query),
            version: asked.version,
        })
    }

    /// How many rows a query matches, its window aside.
    ///
    /// ```
    /// use tenfold::filter::{Entity, Filter, Query};
    /// use tenfold::{Engine, NewDeployment};
    ///
    /// let engine = Engine::new();
    /// engine.deploy(NewDeployment::new("report", "nightly"))?;
    /// assert_eq!(engine.count(&Query::new(Filter::everything(Entity::Deployment)))?, 1);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn count(&self, query: &Query) -> Result<u64, Error> {
        let wanted = Wanted {
            rows: false,
            count: true,
        };
        self.ask(query, wanted, false, |asked| asked.found.count.unwrap_or(0))
    }

    /// Answers a query, and says how: which indexes, how many rows were looked at, which way was taken. Costs what the query costs,
    /// twice, and its count.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn explain_query(&self, query: &Query) -> Result<Explained, Error> {
        let page = Wanted {
            rows: true,
            count: false,
        };
        self.ask(query, page, false, |asked| {
            let indexes = asked.indexes.as_ref().map(known);
            let counted = match &indexes {
                Some(indexes) => {
                    let count = Wanted {
                        rows: false,
                        count: true,
                    };
                    answer(query, indexes, &asked.view, count)
                }
                None => Found {
                    rows: Vec::new(),
                    ..asked.found
                },
            };
            Explained {
                entity: query.entity(),
                rows: match asked.index() {
                    Some(index) => index.live().len() as u64,
                    None => asked.view.rows(query.entity()).count() as u64,
                },
                way: asked.found.way,
                looked: asked.found.looked,
                matched: counted.count.unwrap_or(0),
                count_way: counted.way,
                count_looked: counted.looked,
                ordered: asked.order(query).is_some(),
                tests: match &indexes {
                    Some(indexes) => tests(query, indexes, &asked.view),
                    None => leaves(query.filter().expr()),
                },
                version: asked.version,
            }
        })
    }

    fn page<T>(
        &self,
        query: &Query,
        entity: Entity,
        read: impl Fn(&CatalogView, u32) -> Option<T>,
    ) -> Result<Page<T>, Error> {
        if query.entity() != entity {
            let asked = query.entity();
            return Err(Error::Query(format!(
                "the query is about {asked}s; ask the method for {asked}s"
            )));
        }
        let wanted = Wanted {
            rows: true,
            count: true,
        };
        self.ask(query, wanted, true, |asked| {
            let count = asked.found.count.unwrap_or(0);
            Page {
                results: (asked.found.rows.iter())
                    .filter_map(|&row| read(&asked.view, row))
                    .collect(),
                count,
                limit: query.limit(),
                pages: query.pages(count),
                page: match query.start() {
                    Start::Page(page) => Some(page),
                    Start::Offset(_) => None,
                },
                next: asked.next(query).filter(|_| {
                    let seen = query.offset().saturating_add(asked.found.rows.len() as u64);
                    query.cursor().is_some() || seen < count
                }),
                version: asked.version,
                notices: query.notices().to_vec(),
            }
        })
    }

    /// Answers a query from one version. `shows_rows` says that the answer is made from the rows themselves.
    ///
    /// The engine's lock is held while root pointers are copied and marks of changed rows are taken, and not while anything is
    /// read, compared or brought up to date. What the call has to wake is woken when the index is let go.
    fn ask<T>(
        &self,
        query: &Query,
        wanted: Wanted,
        shows_rows: bool,
        make: impl FnOnce(&Asked<'_>) -> T,
    ) -> Result<T, Error> {
        let mut effects = Effects::default();
        let asked = self.asked(query, wanted, shows_rows, &mut effects);
        let made = asked.map(|asked| make(&asked));
        carry_out(effects);
        made
    }

    fn asked(
        &self,
        query: &Query,
        wanted: Wanted,
        shows_rows: bool,
        effects: &mut Effects,
    ) -> Result<Asked<'_>, Error> {
        let (entity, entities) = (query.entity(), Plan::entities(query));
        let indexes = &self.shared.indexes;
        loop {
            // Who finds nobody reading has the indexes for itself, and needs one look at the engine.
            if let Some(held) = indexes.lock(entities, RwLock::try_write) {
                match self.asked_alone(query, wanted, shows_rows, held, effects)? {
                    Some(asked) => return Ok(asked),
                    None => continue,
                }
            }
            let held = indexes.lock(entities, |index| Some(index.read()));
            let held = held.expect("waiting for a lock does not fail");
            let plan = Plan::of(query, &known(&held), wanted);
            let ready = self.call_quietly(effects, |core| {
                let unchanged = |(entity, _): &(&Entity, _)| core.catalog.is_unchanged(**entity);
                let ready = core.indexes(entities)
                    && plan.is_met(&known(&held))
                    && Entity::ALL
                        .iter()
                        .zip(entities)
                        .filter(|(_, is)| *is)
                        .all(|at| unchanged(&at));
                Ok(ready.then(|| {
                    let (tables, places) = plan.reads(entity, shows_rows);
                    (core.view_of(tables, places), core.version)
                }))
            })?;
            if let Some((view, version)) = ready {
                return Ok(Asked {
                    found: answer(query, &known(&held), &view, wanted),
                    version,
                    view,
                    indexes: Some(held),
                    entity,
                });
            }
            drop(held);
            let held = indexes.lock(entities, |index| Some(index.write()));
            let held = held.expect("waiting for a lock does not fail");
            if let Some(asked) = self.asked_alone(query, wanted, shows_rows, held, effects)? {
                return Ok(asked);
            }
        }
    }

    /// The answer, by who may change the indexes; `None` when, brought up, they turn out to need another plan.
    fn asked_alone<'a>(
        &'a self,
        query: &Query,
        wanted: Wanted,
        shows_rows: bool,
        mut held: Writing<'a>,
        effects: &mut Effects,
    ) -> Result<Option<Asked<'a>>, Error> {
        let entity = query.entity();
        let plan = Plan::of(query, &known(&held), wanted);
        let mut stale = [false; KINDS];
        let (view, version, changes) = self.call_quietly(effects, |core| {
            let (mut tables, places) = plan.reads(entity, shows_rows);
            if !core.indexes(held.each_ref().map(Option::is_some)) {
                // Too small for an index.
                return Ok((core.view_of(Tables::All, places), core.version, None));
            }
            let mut changes = [const { None }; KINDS];
            for (kind, index) in Entity::ALL.into_iter().zip(&held) {
                let Some(index) = index else { continue };
                let at = kind as usize;
                let taken = &*changes[at].insert(core.catalog.changes(kind));
                stale[at] = !taken.is_none() || !index.has(&plan.wants[at]);
            }
            let mut stales = Entity::ALL.into_iter().filter(|kind| stale[*kind as usize]);
            tables = match (tables, stales.next(), stales.next()) {
                (tables, None, _) => tables,
                (Tables::None, Some(kind), None) => Tables::Only(kind),
                (Tables::Only(shown), Some(kind), None) if shown == kind => Tables::Only(kind),
                _ => Tables::All,
            };
            // Of one table a few changes, and nothing else to be seen: the rows near them are enough.
            if let (Tables::Only(kind), false) = (tables, shows_rows)
                && let (Some(index), Some(taken)) = (&held[kind as usize], &changes[kind as usize])
                && let Some(marks) = taken.few()
                && index.has(&plan.wants[kind as usize])
                && index.follows(taken)
            {
                tables = Tables::Near(kind, marks);
            }
            Ok((core.view_of(tables, places), core.version, Some(changes)))
        })?;
        let Some(changes) = changes else {
            drop(held);
            let answer = query.run(&view, view.rows(entity));
            return Ok(Some(Asked {
                found: Found {
                    rows: answer.rows,
                    count: Some(answer.count),
                    way: Way::Scan,
                    looked: u64::from(view.bound(entity)),
                },
                version,
                view,
                indexes: None,
                entity,
            }));
        };
        if stale.contains(&true) {
            for (((index, taken), stale), wants) in held.iter_mut().zip(changes).zip(stale).zip(&plan.wants) {
                if let (Some(index), Some(taken), true) = (index, taken, stale) {
                    if !index.is_synced() || !taken.is_none() {
                        index.sync(&view, taken);
                    }
                    index.build(wants, &view);
                }
            }
            // A field may have turned out to be one that is read from its rows.
            let settled = Plan::of(query, &known(&held), wanted);
            if !settled.is_met(&known(&held)) || settled.reads_rows != plan.reads_rows {
                return Ok(None);
            }
        }
        let held = held.map(|index| index.map(RwLockWriteGuard::downgrade));
        Ok(Some(Asked {
            found: answer(query, &known(&held), &view, wanted),
            version,
            view,
            indexes: Some(held),
            entity,
        }))
    }
}
