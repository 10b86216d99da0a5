//! Changing everything that a filter matches.
//!
//! The set is fixed at one version, by the same filter that reads, counts and pages. Then row after row is looked at
//! again and changed, a few under the lock at a time, so that others are never held up for long; or all in one step, when that
//! is asked for.

#![expect(
    private_interfaces,
    reason = "`Change` is sealed: what it does inside the engine cannot be named or called from outside"
)]

use super::Engine;
use super::core::Core;
use super::error::Error;
use crate::catalog::CatalogView;
use crate::filter::{Entity, Expr, Field, Filter, Node, Records, Relation, Value};
use crate::ids::{DeploymentId, PoolId, QueueId, RunId};
use crate::model::{DeploymentPatch, StateType};
use crate::priority::Priority;

/// Most rows that one atomic bulk change may match.
pub const MAX_ATOMIC: usize = 10_000;

/// Rows changed under the lock at a time, where one change is a matter of microseconds.
const STEP: usize = 32;

/// How a bulk change is carried out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Bulk {
    dry: bool,
    atomic: bool,
    most: Option<usize>,
}

impl Bulk {
    /// Row by row, each looked at again when its turn comes: what no longer matches then is skipped.
    pub const fn new() -> Self {
        Self {
            dry: false,
            atomic: false,
            most: None,
        }
    }

    /// Changes nothing, and answers what would have been changed, skipped and failed.
    pub const fn dry_run(mut self) -> Self {
        self.dry = true;
        self
    }

    /// All in one step, which nobody sees half done, and all or none: when one row would fail, nothing is changed. At most
    /// 10,000 rows. The engine does nothing else meanwhile.
    pub const fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }

    /// Refuses the change when more rows than this match.
    pub const fn at_most(mut self, rows: usize) -> Self {
        self.most = Some(rows);
        self
    }
}

/// What a bulk change did, or would have done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Changes<Id> {
    /// How many rows matched when the set was fixed: the sum of the three lists.
    pub matched: usize,
    /// The version at which the set was fixed.
    pub version: u64,
    /// Rows that were changed, in the order of their changes. Empty when an atomic change failed.
    pub changed: Vec<Id>,
    /// Rows that were left as they are, and why.
    pub skipped: Vec<(Id, Skipped)>,
    /// Rows that could not be changed, and why.
    pub failed: Vec<(Id, Error)>,
}

/// Why a row was left as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Skipped {
    /// It is already what it was to become.
    Already,
    /// It matched when the set was fixed, and did not when its turn came.
    MatchesNoMore,
    /// It is not there any more.
    Gone,
    /// Another row of an atomic change failed.
    NoneAtAll,
}

/// What is done to every run that matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RunChange {
    /// As [`Engine::cancel`].
    Cancel,
    /// As [`Engine::set_priority`]; those that wait keep their order among each other.
    Priority(Priority),
    /// As [`Engine::set_state`] with force, for states that end a run; CANCELLED is [`Engine::cancel`].
    State(StateType),
    /// As [`Engine::delete_run`].
    Delete,
}

/// What is done to every deployment that matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeploymentChange {
    /// As [`Engine::pause_deployment`].
    Pause,
    /// As [`Engine::resume_deployment`].
    Resume,
    /// The level of runs made from now on.
    Priority(Priority),
    /// As [`Engine::delete_deployment`].
    Delete,
}

/// What is done to every work pool that matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PoolChange {
    /// As [`Engine::pause_pool`].
    Pause,
    /// As [`Engine::resume_pool`].
    Resume,
}

/// What is done to every work queue that matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum QueueChange {
    /// As [`Engine::pause_queue`].
    Pause,
    /// As [`Engine::resume_queue`].
    Resume,
}

/// Something that can be done to every row of one kind: [`RunChange`], [`DeploymentChange`], [`PoolChange`] or
/// [`QueueChange`].
pub trait Change: sealed::Change {}

impl<C: sealed::Change> Change for C {}

mod sealed {
    use super::{CatalogView, Core, Entity, Error};

    pub trait Change: Copy {
        /// Names a row.
        type Id: Copy;
        /// Of which kind.
        const ENTITY: Entity;
        fn id(view: &CatalogView, row: u32) -> Option<Self::Id>;
        fn row(core: &Core, id: Self::Id) -> Option<u32>;
        /// Whether it would change the row; the error is the one that `apply` would give.
        fn changes(self, core: &Core, row: u32) -> Result<bool, Error>;
        fn apply(self, core: &mut Core, row: u32, id: Self::Id) -> Result<(), Error>;
        /// Rows changed under the lock at a time.
        fn step(self) -> usize {
            super::STEP
        }
        /// The order in which rows are changed.
        fn order(_view: &CatalogView, _rows: &mut [u32]) {}
    }
}

impl sealed::Change for RunChange {
    type Id = RunId;
    const ENTITY: Entity = Entity::Run;

    fn id(view: &CatalogView, row: u32) -> Option<RunId> {
        view.runs.get(row).map(|run| run.id)
    }

    fn row(core: &Core, id: RunId) -> Option<u32> {
        core.run_row(id)
    }

    fn changes(self, core: &Core, row: u32) -> Result<bool, Error> {
        let run = core.run(row);
        match self {
            Self::Cancel | Self::State(StateType::Cancelled) => core
                .check_force(row, StateType::Cancelled)
                .map(|()| run.state != Some(StateType::Cancelling)),
            Self::State(state) => core.check_force(row, state).map(|()| true),
            Self::Priority(priority) => core.check_priority(row).map(|()| run.priority != priority),
            Self::Delete => core.check_delete_run(row).map(|()| true),
        }
    }

    fn apply(self, core: &mut Core, _row: u32, id: RunId) -> Result<(), Error> {
        match self {
            Self::Cancel => core.cancel(id, None).map(drop),
            Self::State(state) => core.force(id, state),
            Self::Priority(priority) => core.set_priority(id, priority),
            Self::Delete => core.delete_run(id),
        }
    }

    /// By place in line, so that what is moved together keeps its order.
    fn order(view: &CatalogView, rows: &mut [u32]) {
        rows.sort_by_cached_key(|&row| {
            let run = view.runs.get(row);
            run.map(|run| (std::cmp::Reverse(run.priority), run.due, run.seq))
        });
    }
}

impl sealed::Change for DeploymentChange {
    type Id = DeploymentId;
    const ENTITY: Entity = Entity::Deployment;

    fn id(view: &CatalogView, row: u32) -> Option<DeploymentId> {
        view.deployments.get(row).map(|held| held.data.id)
    }

    fn row(core: &Core, id: DeploymentId) -> Option<u32> {
        core.catalog.deployment(id)
    }

    fn changes(self, core: &Core, row: u32) -> Result<bool, Error> {
        let data = &core.catalog.deployments.get(row).expect("just found").data;
        // A record that was only loaded is refused here.
        core.deployment_row(data.id)?;
        Ok(match self {
            Self::Pause => !data.paused,
            Self::Resume => data.paused,
            Self::Priority(priority) => data.priority != priority,
            Self::Delete => true,
        })
    }

    fn apply(self, core: &mut Core, _row: u32, id: DeploymentId) -> Result<(), Error> {
        match self {
            Self::Pause => core.set_deployment_paused(id, true),
            Self::Resume => core.set_deployment_paused(id, false),
            Self::Priority(priority) => core.update_deployment(id, DeploymentPatch::new().priority(priority)),
            Self::Delete => core.delete_deployment(id),
        }
    }

    /// Each of these may touch many runs.
    fn step(self) -> usize {
        1
    }
}

impl sealed::Change for PoolChange {
    type Id = PoolId;
    const ENTITY: Entity = Entity::Pool;

    fn id(view: &CatalogView, row: u32) -> Option<PoolId> {
        view.pools.get(row).map(|held| held.data.id)
    }

    fn row(core: &Core, id: PoolId) -> Option<u32> {
        let row = *core.catalog.by_id.get(&id.uuid())?;
        (core.catalog.pools.get(row)?.data.id == id).then_some(row)
    }

    fn changes(self, core: &Core, row: u32) -> Result<bool, Error> {
        let paused = core.catalog.pools.get(row).expect("just found").data.is_paused;
        Ok(paused != (self == Self::Pause))
    }

    fn apply(self, core: &mut Core, row: u32, _id: PoolId) -> Result<(), Error> {
        let name = core.catalog.pools.get(row).expect("just found").data.name.clone();
        core.set_pool_paused(&name, self == Self::Pause)
    }

    fn step(self) -> usize {
        1
    }
}

impl sealed::Change for QueueChange {
    type Id = QueueId;
    const ENTITY: Entity = Entity::Queue;

    fn id(view: &CatalogView, row: u32) -> Option<QueueId> {
        view.queues.get(row).map(|held| held.data.id)
    }

    fn row(core: &Core, id: QueueId) -> Option<u32> {
        let row = *core.catalog.by_id.get(&id.uuid())?;
        (core.catalog.queues.get(row)?.data.id == id).then_some(row)
    }

    fn changes(self, core: &Core, row: u32) -> Result<bool, Error> {
        let paused = core.catalog.queues.get(row).expect("just found").data.is_paused;
        Ok(paused != (self == Self::Pause))
    }

    fn apply(self, core: &mut Core, row: u32, _id: QueueId) -> Result<(), Error> {
        let queue = core.catalog.queues.get(row).expect("just found").clone();
        let pool = core
            .catalog
            .pools
            .get(queue.pool)
            .expect("a queue's pool exists")
            .clone();
        core.set_queue_paused(&pool.data.name, &queue.data.name, self == Self::Pause)
    }

    fn step(self) -> usize {
        1
    }
}

impl Engine {
    /// Changes every row that a filter matches. The set is fixed at one version; each row is looked at again, at the instant of
    /// its change, and skipped when it does not match any more. Rows that came to match meanwhile are not changed.
    ///
    /// A row is looked at again with its own values, and those of the rows it hangs on, as they are then. Which rows hang on
    /// *it* (the runs of a deployment) is as of the version at which the set was fixed; their values are as they are then.
    ///
    /// The lock is held for at most 32 runs, or one deployment, pool or queue, at a time, which are looked at together and then
    /// changed; [`Bulk::atomic`] holds it for all.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use tenfold::engine::{Bulk, RunChange};
    /// use tenfold::filter::{Entity, Filter, Limits};
    /// use tenfold::{Engine, NewRun};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let test = engine.submit(NewRun::of("mail").tag("test"))?.id;
    /// engine.submit("mail")?;
    /// let filter = Filter::parse(Entity::Run, "tags has 'test'", DateTime::UNIX_EPOCH, &Limits::default())?;
    ///
    /// let first = engine.bulk(&filter, RunChange::Cancel, Bulk::new().dry_run())?;
    /// assert_eq!(first.changed, [test]);
    /// let done = engine.bulk(&filter, RunChange::Cancel, Bulk::new())?;
    /// assert_eq!((done.matched, done.changed), (1, vec![test]));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Query`] for a filter about another kind of rows, or a JSON filter in which anything was dropped or ignored;
    /// [`Error::BulkSize`] when more rows match than may be changed. Nothing is changed then.
    pub fn bulk<C: Change>(&self, filter: &Filter, change: C, how: Bulk) -> Result<Changes<C::Id>, Error> {
        let mut work = self.begin_bulk(filter, change, how)?;
        if how.atomic {
            self.call(|core| {
                work.at_once(core);
                Ok(())
            })?;
        } else {
            while !work.is_done() {
                self.call(|core| {
                    work.step(core);
                    Ok(())
                })?;
            }
        }
        Ok(work.changes)
    }

    /// Fixes the set.
    pub(super) fn begin_bulk<'a, C: Change>(
        &self,
        filter: &'a Filter,
        change: C,
        how: Bulk,
    ) -> Result<Changing<'a, C>, Error> {
        if filter.entity() != C::ENTITY {
            let (asked, changed) = (filter.entity(), C::ENTITY);
            return Err(Error::Query(format!(
                "the filter is about {asked}s and the change about {changed}s; give it a filter on {changed}s"
            )));
        }
        if let Some(notice) = filter.notices().first() {
            return Err(Error::Query(format!(
                "{notice}; a filter in which anything is ignored may match more than it says, and changes nothing"
            )));
        }
        let (then, version) = self.call(|core| Ok((core.view(), core.version)))?;
        let rows = then.rows(C::ENTITY);
        let rows: Vec<u32> = rows.filter(|&row| filter.matches(&then, row)).collect();
        let most = match (how.most, how.atomic) {
            (most, true) => most.unwrap_or(MAX_ATOMIC).min(MAX_ATOMIC),
            (most, false) => most.unwrap_or(usize::MAX),
        };
        if rows.len() > most {
            return Err(Error::BulkSize {
                matched: rows.len(),
                most,
            });
        }
        Ok(Changing::new(filter, change, how, then, version, rows))
    }
}

/// A bulk change under way.
pub(super) struct Changing<'a, C: sealed::Change> {
    filter: &'a Filter,
    change: C,
    dry: bool,
    /// The set, as it was fixed.
    pub(super) ids: Vec<C::Id>,
    /// How many of them have had their turn.
    pub(super) done: usize,
    /// Everything as it was then; kept only for a filter that asks about rows that hang on the matched ones.
    then: Option<CatalogView>,
    places: bool,
    pub(super) changes: Changes<C::Id>,
}

impl<'a, C: sealed::Change> Changing<'a, C> {
    fn new(
        filter: &'a Filter,
        change: C,
        how: Bulk,
        then: CatalogView,
        version: u64,
        mut rows: Vec<u32>,
    ) -> Self {
        C::order(&then, &mut rows);
        let ids: Vec<C::Id> = rows.into_iter().filter_map(|row| C::id(&then, row)).collect();
        Self {
            filter,
            change,
            dry: how.dry,
            changes: Changes {
                matched: ids.len(),
                version,
                changed: Vec::new(),
                skipped: Vec::new(),
                failed: Vec::new(),
            },
            done: 0,
            ids,
            then: any_node(
                filter.expr(),
                &|node| matches!(node, Node::Exists(relation, _) if hangs(*relation)),
            )
            .then_some(then),
            places: any_node(
                filter.expr(),
                &|node| matches!(node, Node::Test(test) if test.field() == Field::RunPlace),
            ),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done == self.ids.len()
    }

    /// Which of these rows match at this instant.
    fn matching(&self, core: &Core, ids: &[C::Id]) -> Vec<bool> {
        if core.version == self.changes.version {
            return vec![true; ids.len()];
        }
        let now = core.view_with(self.places);
        let matches = |&id: &C::Id| {
            C::row(core, id).is_none_or(|row| match &self.then {
                None => self.filter.matches(&now, row),
                Some(then) => self.filter.matches(&Again { now: &now, then }, row),
            })
        };
        ids.iter().map(matches).collect()
    }

    /// What is to become of a row at this instant; if it is to be changed, the row.
    fn verdict(&self, core: &Core, id: C::Id, matches: bool) -> Result<u32, Verdict> {
        let row = C::row(core, id).ok_or(Verdict::Skip(Skipped::Gone))?;
        if !matches {
            return Err(Verdict::Skip(Skipped::MatchesNoMore));
        }
        match self.change.changes(core, row) {
            Ok(true) => Ok(row),
            Ok(false) => Err(Verdict::Skip(Skipped::Already)),
            Err(error) => Err(Verdict::Fail(error)),
        }
    }

    /// The next few rows.
    pub(super) fn step(&mut self, core: &mut Core) {
        let until = (self.done + self.change.step()).min(self.ids.len());
        let ids = self.ids[self.done..until].to_vec();
        let matching = self.matching(core, &ids);
        for (id, matches) in ids.into_iter().zip(matching) {
            let verdict = self.verdict(core, id, matches);
            self.settle(core, id, verdict);
        }
        self.done = until;
    }

    /// All rows, or none.
    fn at_once(&mut self, core: &mut Core) {
        let ids = std::mem::take(&mut self.ids);
        let matching = self.matching(core, &ids);
        let fails = |(&id, &matches): (&C::Id, &bool)| {
            matches!(self.verdict(core, id, matches), Err(Verdict::Fail(_)))
        };
        let none = ids.iter().zip(&matching).any(fails);
        for (id, matches) in ids.into_iter().zip(matching) {
            let verdict = self.verdict(core, id, matches);
            let verdict = if none {
                verdict.and(Err(Verdict::Skip(Skipped::NoneAtAll)))
            } else {
                verdict
            };
            self.settle(core, id, verdict);
        }
    }

    fn settle(&mut self, core: &mut Core, id: C::Id, verdict: Result<u32, Verdict>) {
        let verdict = match verdict {
            Ok(row) if !self.dry => self.change.apply(core, row, id).map_err(Verdict::Fail),
            verdict => verdict.map(drop),
        };
        match verdict {
            Ok(()) => self.changes.changed.push(id),
            Err(Verdict::Skip(why)) => self.changes.skipped.push((id, why)),
            Err(Verdict::Fail(error)) => self.changes.failed.push((id, error)),
        }
    }
}

enum Verdict {
    Skip(Skipped),
    Fail(Error),
}

/// Whether finding the related rows takes going through all rows.
fn hangs(relation: Relation) -> bool {
    relation.is_many() || relation == Relation::RunParent
}

fn any_node(expr: &Expr, holds: &impl Fn(&Node) -> bool) -> bool {
    let node = expr.node();
    holds(node)
        || match node {
            Node::And(children) | Node::Or(children) => children.iter().any(|child| any_node(child, holds)),
            Node::Not(inner) | Node::Exists(_, inner) => any_node(inner, holds),
            _ => false,
        }
}

/// Rows as they are now, and what hangs on them as it was then.
struct Again<'a> {
    now: &'a CatalogView,
    then: &'a CatalogView,
}

impl Records for Again<'_> {
    fn value(&self, field: Field, row: u32) -> Value<'_> {
        self.now.value(field, row)
    }

    fn any_related(&self, relation: Relation, row: u32, holds: &mut dyn FnMut(u32) -> bool) -> bool {
        if !hangs(relation) {
            return self.now.any_related(relation, row, holds);
        }
        let id = relation.target().id();
        self.then.any_related(relation, row, &mut |row| {
            // A row number may have gone to another row meanwhile.
            self.now.value(id, row).order(self.then.value(id, row)).is_eq() && holds(row)
        })
    }
}
