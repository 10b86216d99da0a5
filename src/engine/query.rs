//! Questions: a filter, a sort and a window, answered from one version.

use hashbrown::HashMap;
use serde::Serialize;

use super::Engine;
use super::core::Core;
use super::error::Error;
use super::read::run_of;
use crate::catalog::{CatalogView, Stop};
use crate::filter::{Answer, Entity, Notice, Query, Start};
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
    /// The version of the engine that this describes.
    #[serde(skip)]
    pub version: u64,
    /// What the query said that has no effect, such as unknown keys at the top of the JSON form.
    #[serde(skip)]
    pub notices: Vec<Notice>,
}

impl Core {
    /// Everything as it is now, to be read without the lock.
    pub(crate) fn view(&self) -> CatalogView {
        self.view_with(true)
    }

    /// The same; without `places`, blocked runs are not told from ready ones, which takes a look at each limited deployment.
    pub(crate) fn view_with(&self, places: bool) -> CatalogView {
        let mut stopped = HashMap::new();
        if places && self.ready.blocked() > 0 {
            for (row, work) in (0..).zip(&self.deployments) {
                if let Some(head) = work.as_ref().and_then(|work| self.ready.first_stopped(work.gate)) {
                    let stop = Stop {
                        priority: head.priority.0,
                        due: head.line.due,
                        seq: head.line.seq,
                    };
                    stopped.insert(row, stop);
                }
            }
        }
        self.catalog.view(stopped)
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
    /// use tenfold::filter::{Entity, Limits, Query, Shape};
    /// use tenfold::{Engine, NewDeployment};
    ///
    /// let engine = Engine::new();
    /// engine.deploy(NewDeployment::new("report", "nightly").tag("etl"))?;
    /// engine.deploy(NewDeployment::new("report", "hourly"))?;
    /// let body = json!({ "deployments": { "tags": { "all_": ["etl"] } } });
    /// let query = Query::from_json(Entity::Deployment, Shape::Paginate, &body, &Limits::default()).unwrap();
    /// let page = engine.deployments(&query)?;
    /// assert_eq!((page.count, page.results[0].name.as_str()), (1, "nightly"));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn deployments(&self, query: &Query) -> Result<Page<Deployment>, Error> {
        self.page(query, Entity::Deployment, |view, row| {
            view.deployments.get(row).map(|held| held.data.clone())
        })
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
        self.page(query, Entity::Pool, |view, row| {
            view.pools.get(row).map(|held| held.data.clone())
        })
    }

    /// Work queues that a query asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query is about another kind of entity.
    pub fn queues(&self, query: &Query) -> Result<Page<WorkQueue>, Error> {
        self.page(query, Entity::Queue, |view, row| {
            view.queues.get(row).map(|held| held.data.clone())
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
        let (view, version) = self.call(|core| Ok((core.view(), core.version)))?;
        let Answer {
            rows, count, pages, ..
        } = match entity {
            Entity::Flow => query.run(&view, view.flows.rows()),
            Entity::Deployment => query.run(&view, view.deployments.rows()),
            Entity::Run => query.run(&view, view.runs.rows()),
            Entity::TaskRun => query.run(&view, view.task_runs.rows()),
            Entity::Pool => query.run(&view, view.pools.rows()),
            Entity::Queue => query.run(&view, view.queues.rows()),
        };
        Ok(Page {
            results: rows.into_iter().filter_map(|row| read(&view, row)).collect(),
            count,
            limit: query.limit(),
            pages,
            page: match query.start() {
                Start::Page(page) => Some(page),
                Start::Offset(_) => None,
            },
            version,
            notices: query.notices().to_vec(),
        })
    }
}
