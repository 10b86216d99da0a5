//! The walk through a body: lenient in single values, strict in keys, and it knows where it is.

use crate::suggest;
use serde_json::{Map, Value};

use super::super::Filter;
use super::super::expr::{Bound, Expr, Op, Set, Side, Sorted};
use super::super::field::{Entity, Field, Kind};
use super::super::limits::{Invalid, Limits};
use super::super::query::{Query, Sort, SortKey, Start};
use super::super::relation::Relation;
use super::scalar::{self, show};
use super::table::{self, Criterion, Key, Keys, Meaning};
use super::{Location, Notice, NoticeKind, Part, Refusal, RefusalKind, Shape};

/// Walks a body, knowing where it is.
pub(super) struct Reader<'a> {
    limits: &'a Limits,
    location: Vec<Part>,
    items: usize,
    notices: Vec<Notice>,
}

/// How many notices are kept. One is enough to refuse by; these are enough to read.
const NOTICES_MAX: usize = 64;

type Read<T> = Result<T, Refusal>;

impl<'a> Reader<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            location: vec![Part::Key("body".into())],
            items: 0,
            notices: Vec::new(),
        }
    }

    pub(super) fn query(
        mut self,
        entity: Entity,
        shape: Shape,
        body: &Value,
        pool: Option<&str>,
    ) -> Read<Query> {
        let none = Map::new();
        let body = match body {
            Value::Null => &none,
            body => self.object(body)?,
        };
        let mut known: Vec<&str> = Vec::new();
        let mut families = Vec::new();
        for &(key, family) in table::families(entity) {
            known.push(key);
            if let Some(value) = present(body, key) {
                families.push((family, self.at(key, |reader| reader.family(family, value))?));
            }
        }
        let mut expr = compose(entity, families);
        if let Some(name) = pool {
            let of_pool = leaf(Field::PoolName, Op::In(Set::Texts(vec![name.into()].into())));
            expr = Expr::all([expr, Expr::exists(Relation::QueuePool, of_pool)]);
        }
        let sort = if pool.is_some() {
            Sort::PriorityAsc
        } else {
            Sort::default_of(entity)
        };
        let sort = if shape == Shape::Count || Sort::choices(entity).is_empty() {
            sort
        } else {
            known.push("sort");
            self.at("sort", |reader| reader.sort(entity, body.get("sort"), sort))?
        };
        let (mut limit, mut start) = (i64::from(self.limits.page), Start::Offset(0));
        if shape != Shape::Count {
            known.push("limit");
            let cap = i64::from(self.limits.page);
            limit = self.at("limit", |reader| reader.number(body.get("limit"), 0, cap, cap))?;
        }
        if shape == Shape::Filter {
            known.push("offset");
            let offset = self.at("offset", |reader| {
                reader.number(body.get("offset"), 0, i64::MAX, 0)
            })?;
            start = Start::Offset(offset.unsigned_abs());
        }
        if shape == Shape::Paginate {
            known.push("page");
            let page = self.at("page", |reader| reader.number(body.get("page"), 1, i64::MAX, 1))?;
            start = Start::Page(page.unsigned_abs());
        }
        for key in body.keys().filter(|key| !known.contains(&key.as_str())) {
            self.at(key, |reader| reader.notice(NoticeKind::UnknownKey));
        }

        let filter = Filter::new(entity, expr, self.limits)
            .map_err(|invalid| self.refusal(RefusalKind::Large(invalid)))?
            .noticing(self.notices.clone());
        let keys: Vec<SortKey> = sort.key(entity).into_iter().collect();
        let limit = u32::try_from(limit).unwrap_or(self.limits.page);
        Ok(Query::new(filter)
            .sorted_by(keys)
            .and_then(|query| query.window(start, limit, self.limits))
            .expect("the sort is one of the entity's, the limit is within the cap, and pages start at 1")
            .noticing(self.notices))
    }

    fn family(&mut self, family: Entity, value: &Value) -> Read<Expr> {
        let object = self.object(value)?;
        let criteria = table::criteria(family);
        let mut parts = Vec::new();
        for criterion in criteria {
            if let Some(value) = present(object, criterion.name) {
                parts.extend(self.at(criterion.name, |reader| reader.criterion(criterion, value))?);
            }
        }
        let join = self.operator(object)?;
        self.only(
            object,
            criteria
                .iter()
                .map(|criterion| criterion.name)
                .chain(["operator"]),
        )?;
        Ok(join(parts))
    }

    /// The condition of a criterion; `None` if it is as if it were not there.
    fn criterion(&mut self, criterion: &Criterion, value: &Value) -> Read<Option<Expr>> {
        let object = self.object(value)?;
        match criterion.keys {
            Keys::Plain(keys) => self.keys(object, keys, false),
            Keys::Joined(keys) => self.keys(object, keys, true),
            Keys::State(parts) => self.state(object, &parts).map(Some),
            Keys::RunOfTask => self.run_of_task(object).map(Some),
        }
    }

    fn keys(&mut self, object: &Map<String, Value>, keys: &[Key], joined: bool) -> Read<Option<Expr>> {
        let mut parts = Vec::new();
        let mut dropped = false;
        for &(key, meaning) in keys {
            if let Some(value) = present(object, key) {
                match self.at(key, |reader| reader.meaning(meaning, value))? {
                    Meant::Condition(part) => parts.push(part),
                    Meant::Nothing => {}
                    Meant::Dropped => dropped = true,
                }
            }
        }
        let join: fn(Vec<Expr>) -> Expr = if joined {
            self.operator(object)?
        } else {
            joined_by_and
        };
        self.only(
            object,
            keys.iter()
                .map(|&(key, _)| key)
                .chain(joined.then_some("operator")),
        )?;
        let ignored = keys
            .iter()
            .all(|(_, meaning)| matches!(meaning, Meaning::IgnoredInt | Meaning::IgnoredBool));
        if ignored {
            self.notice(NoticeKind::Ignored);
        }
        Ok(if ignored || (dropped && parts.is_empty()) {
            None
        } else {
            Some(join(parts))
        })
    }

    fn state(
        &mut self,
        object: &Map<String, Value>,
        parts: &[(&'static str, &'static [Key]); 2],
    ) -> Read<Expr> {
        let mut kept = Vec::new();
        for &(name, keys) in parts {
            if let Some(value) = present(object, name) {
                kept.extend(self.at(name, |reader| reader.state_part(keys, value))?);
            }
        }
        let join = self.operator(object)?;
        self.only(object, parts.iter().map(|&(name, _)| name).chain(["operator"]))?;
        Ok(join(kept))
    }

    fn state_part(&mut self, keys: &'static [Key], value: &Value) -> Read<Option<Expr>> {
        let object = self.object(value)?;
        let mut conditions = Vec::new();
        for &(key, meaning) in keys {
            if let Some(value) = present(object, key)
                && let Meant::Condition(condition) = self.at(key, |reader| reader.meaning(meaning, value))?
            {
                conditions.push(condition);
            }
        }
        self.only(object, keys.iter().map(|&(key, _)| key))?;
        if conditions.len() > 1 {
            self.notice(NoticeKind::BothAnyAndNotAny);
            return Ok(None);
        }
        Ok(conditions.pop())
    }

    fn run_of_task(&mut self, object: &Map<String, Value>) -> Read<Expr> {
        const RUN: Field = Field::TaskRunRunId;
        let any = match present(object, "any_") {
            Some(value) => match self.at("any_", |reader| reader.meaning(Meaning::Any(RUN), value))? {
                Meant::Condition(condition) => Some(condition),
                Meant::Nothing | Meant::Dropped => None,
            },
            None => None,
        };
        // Missing means `false` here; an explicit null means nothing.
        let is_null = match object.get("is_null_") {
            None => Some(false),
            Some(Value::Null) => None,
            Some(value) => Some(self.at("is_null_", |reader| reader.boolean(value))?),
        };
        self.operator(object)?;
        self.only(object, ["any_", "is_null_", "operator"].into_iter())?;
        Ok(match (is_null, any) {
            (Some(true), any) => {
                if any.is_some() {
                    self.notice(NoticeKind::Overruled);
                }
                leaf(RUN, Op::IsNull)
            }
            (_, Some(any)) => any,
            (Some(false), None) => leaf(RUN, Op::IsNull).negated(),
            (None, None) => Expr::yes(),
        })
    }

    fn meaning(&mut self, meaning: Meaning, value: &Value) -> Read<Meant> {
        let condition = match meaning {
            Meaning::Any(field) => leaf(field, Op::In(self.set(field, value)?)),
            Meaning::NotAny(field) => {
                let set = self.set(field, value)?;
                if set.is_empty() {
                    return Ok(Meant::Nothing);
                }
                leaf(field, Op::NoneOf(set))
            }
            Meaning::AllTags(field) => {
                let tags = self.texts(value)?;
                if tags.is_empty() {
                    return Ok(Meant::Nothing);
                }
                leaf(field, Op::HasAll(tags))
            }
            Meaning::AnyTag(field) => leaf(field, Op::HasAny(self.texts(value)?)),
            Meaning::Null(field) => {
                let null = leaf(
                    field,
                    if field.kind() == Kind::Tags {
                        Op::IsEmpty
                    } else {
                        Op::IsNull
                    },
                );
                if self.boolean(value)? {
                    null
                } else {
                    null.negated()
                }
            }
            Meaning::Like(field) => match self.inside(value)? {
                None => return Ok(Meant::Nothing),
                Some(pattern) => leaf(field, Op::Like(pattern)),
            },
            Meaning::LikeEitherName => match self.inside(value)? {
                None => return Ok(Meant::Nothing),
                Some(pattern) => Expr::any([
                    leaf(Field::DeploymentName, Op::Like(pattern.clone())),
                    Expr::exists(Relation::DeploymentFlow, leaf(Field::FlowName, Op::Like(pattern))),
                ]),
            },
            Meaning::Prefix(field) => {
                let prefixes = self.list(value, |reader, item| {
                    reader.text(item).map(|text| format!("{text}%"))
                })?;
                if prefixes.is_empty() {
                    self.notice(NoticeKind::EmptyStartsWith);
                    return Ok(Meant::Dropped);
                }
                Expr::any(
                    prefixes
                        .into_iter()
                        .map(|prefix| leaf(field, Op::Like(prefix.into()))),
                )
            }
            Meaning::AtMost(field) => leaf(field, Op::Compare(Side::AtMost, Bound::Time(self.time(value)?))),
            Meaning::AtLeast(field) => {
                leaf(field, Op::Compare(Side::AtLeast, Bound::Time(self.time(value)?)))
            }
            Meaning::Is(field) => leaf(field, Op::Is(self.boolean(value)?)),
            Meaning::Has(relation) | Meaning::HasNot(relation) => {
                let has = Expr::exists(relation, Expr::yes());
                let wanted = self.boolean(value)? == matches!(meaning, Meaning::Has(_));
                if wanted { has } else { has.negated() }
            }
            Meaning::ParentRun => {
                let runs = self.set(Field::TaskRunRunId, value)?;
                Expr::exists(Relation::RunParent, leaf(Field::TaskRunRunId, Op::In(runs)))
            }
            Meaning::IgnoredInt => {
                scalar::int(value).ok_or_else(|| self.wrong("a whole number", value))?;
                return Ok(Meant::Nothing);
            }
            Meaning::IgnoredBool => {
                self.boolean(value)?;
                return Ok(Meant::Nothing);
            }
        };
        Ok(Meant::Condition(condition))
    }

    fn set(&mut self, field: Field, value: &Value) -> Read<Set> {
        Ok(match field.kind() {
            Kind::Uuid => Set::Uuids(
                self.list(value, |reader, item| {
                    scalar::uuid(item).ok_or_else(|| reader.wrong("a uuid", item))
                })?
                .into(),
            ),
            Kind::Code(words) => {
                Set::Codes(self.list(value, |reader, item| reader.code(words, item))?.into())
            }
            _ => Set::Texts(self.texts(value)?),
        })
    }

    fn texts(&mut self, value: &Value) -> Read<Sorted<Box<str>>> {
        Ok(self
            .list(value, |reader, item| reader.text(item).map(Box::from))?
            .into())
    }

    /// `%text%`, or nothing for an empty text.
    fn inside(&self, value: &Value) -> Read<Option<Box<str>>> {
        let text = self.text(value)?;
        Ok((!text.is_empty()).then(|| format!("%{text}%").into()))
    }

    fn list<T>(&mut self, value: &Value, mut item: impl FnMut(&Self, &Value) -> Read<T>) -> Read<Vec<T>> {
        let Value::Array(items) = value else {
            return Err(self.wrong("a list", value));
        };
        self.items = self.items.saturating_add(items.len());
        if self.items > self.limits.items {
            return Err(self.refusal(RefusalKind::Large(Invalid::Items {
                limit: self.limits.items,
            })));
        }
        let mut read = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            match item(self, value) {
                Ok(value) => read.push(value),
                Err(mut refusal) => {
                    refusal.location.0.push(Part::Index(index));
                    return Err(refusal);
                }
            }
        }
        Ok(read)
    }

    fn text<'v>(&self, value: &'v Value) -> Read<&'v str> {
        let text = value.as_str().ok_or_else(|| self.wrong("a text", value))?;
        if text.len() > self.limits.operand {
            let large = Invalid::Operand {
                bytes: text.len(),
                limit: self.limits.operand,
            };
            return Err(self.refusal(RefusalKind::Large(large)));
        }
        Ok(text)
    }

    fn boolean(&self, value: &Value) -> Read<bool> {
        scalar::boolean(value).ok_or_else(|| self.wrong("true or false", value))
    }

    fn time(&self, value: &Value) -> Read<i64> {
        scalar::time(value).ok_or_else(|| {
            self.wrong(
                "a time such as \"2024-05-01T00:00:00Z\" or seconds since 1970",
                value,
            )
        })
    }

    fn code(&self, words: &'static [&'static str], value: &Value) -> Read<u8> {
        self.word(words, value).and_then(|index| {
            u8::try_from(index).map_err(|_| self.wrong("one of the first 256 words", value)) // there are at most 64
        })
    }

    fn word(&self, choices: &[&'static str], value: &Value) -> Read<usize> {
        let found = value.as_str().unwrap_or_default();
        choices
            .iter()
            .position(|&word| word == found && value.is_string())
            .ok_or_else(|| {
                self.refusal(RefusalKind::Word {
                    choices: choices.to_vec(),
                    found: show(value),
                    suggestion: suggest::nearest(found, choices.iter().copied()),
                })
            })
    }

    fn number(&self, value: Option<&Value>, least: i64, most: i64, default: i64) -> Read<i64> {
        let found = match value {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => scalar::int(value).ok_or_else(|| self.wrong("a whole number", value))?,
        };
        if (least..=most).contains(&found) {
            Ok(found)
        } else {
            Err(self.refusal(RefusalKind::Range { least, most, found }))
        }
    }

    fn sort(&self, entity: Entity, value: Option<&Value>, default: Sort) -> Read<Sort> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(default);
        };
        let choices = Sort::choices(entity);
        let names: Vec<&str> = choices.iter().map(|sort| sort.name()).collect();
        self.word(&names, value).map(|index| choices[index])
    }

    /// How the object joins what is in it. A null is refused, unlike everywhere else.
    fn operator(&mut self, object: &Map<String, Value>) -> Read<fn(Vec<Expr>) -> Expr> {
        let Some(value) = object.get("operator") else {
            return Ok(joined_by_and);
        };
        match self.at("operator", |reader| reader.word(&["and_", "or_"], value))? {
            0 => Ok(joined_by_and),
            // No condition at all counts as true.
            _ => Ok(|parts| {
                if parts.is_empty() {
                    Expr::yes()
                } else {
                    Expr::any(parts)
                }
            }),
        }
    }

    fn only(
        &mut self,
        object: &Map<String, Value>,
        known: impl Iterator<Item = &'static str> + Clone,
    ) -> Read<()> {
        for key in object.keys() {
            if !known.clone().any(|name| name == key) {
                let known: Vec<&'static str> = known.collect();
                let suggestion = suggest::nearest(key, known.iter().copied());
                return self.at(key, |reader| {
                    Err(reader.refusal(RefusalKind::UnknownKey { known, suggestion }))
                });
            }
        }
        Ok(())
    }

    fn object<'v>(&self, value: &'v Value) -> Read<&'v Map<String, Value>> {
        value.as_object().ok_or_else(|| self.wrong("an object", value))
    }

    fn wrong(&self, expected: &'static str, found: &Value) -> Refusal {
        self.refusal(RefusalKind::Type {
            expected,
            found: show(found),
        })
    }

    fn refusal(&self, kind: RefusalKind) -> Refusal {
        Refusal {
            location: Location(self.location.clone()),
            kind,
        }
    }

    fn notice(&mut self, kind: NoticeKind) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(Notice {
                location: Location(self.location.clone()),
                kind,
            });
        }
    }

    fn at<T>(&mut self, key: &str, step: impl FnOnce(&mut Self) -> T) -> T {
        self.location.push(Part::Key(key.into()));
        let result = step(self);
        self.location.pop();
        result
    }
}

/// What a key came to.
enum Meant {
    Condition(Expr),
    /// No condition; counts as true where something must be said.
    Nothing,
    /// As if the key were not there.
    Dropped,
}

fn joined_by_and(parts: Vec<Expr>) -> Expr {
    Expr::all(parts)
}

/// A null and a missing key are the same.
fn present<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn leaf(field: Field, op: Op) -> Expr {
    Expr::test(field, op).expect("the table pairs each meaning with a field of its type")
}

/// Joins the families: one `Exists` per group of rows that must hang together.
fn compose(entity: Entity, families: Vec<(Entity, Expr)>) -> Expr {
    let [
        mut flow,
        mut deployment,
        mut run,
        mut task_run,
        mut pool,
        mut queue,
    ] = [const { None }; 6];
    for (family, expr) in families {
        *match family {
            Entity::Flow => &mut flow,
            Entity::Deployment => &mut deployment,
            Entity::Run => &mut run,
            Entity::TaskRun => &mut task_run,
            Entity::Pool => &mut pool,
            Entity::Queue => &mut queue,
        } = Some(expr);
    }
    match entity {
        Entity::Deployment => join([
            deployment,
            via(Relation::DeploymentFlow, flow),
            via(
                Relation::DeploymentRuns,
                join([run, via(Relation::RunTaskRuns, task_run)]),
            ),
            via(
                Relation::DeploymentQueue,
                join([queue, via(Relation::QueuePool, pool)]),
            ),
        ]),
        Entity::Run => join([
            run,
            via(Relation::RunFlow, flow),
            via(Relation::RunDeployment, deployment),
            via(Relation::RunQueue, join([queue, via(Relation::QueuePool, pool)])),
            via(Relation::RunTaskRuns, task_run),
        ]),
        Entity::Flow => {
            let queue = via(Relation::DeploymentQueue, via(Relation::QueuePool, pool));
            join([
                flow,
                via(Relation::FlowDeployments, join([deployment, queue])),
                via(
                    Relation::FlowRuns,
                    join([run, via(Relation::RunTaskRuns, task_run)]),
                ),
            ])
        }
        Entity::TaskRun => {
            let of_run = [
                run,
                via(Relation::RunFlow, flow),
                via(Relation::RunDeployment, deployment),
            ];
            join([task_run, via(Relation::TaskRunRun, join(of_run))])
        }
        Entity::Pool => pool,
        Entity::Queue => queue,
    }
    .unwrap_or_else(Expr::yes)
}

fn via(relation: Relation, inner: Option<Expr>) -> Option<Expr> {
    inner.map(|inner| Expr::exists(relation, inner))
}

/// All that are there; nothing if none is.
fn join<const N: usize>(parts: [Option<Expr>; N]) -> Option<Expr> {
    let parts: Vec<Expr> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| Expr::all(parts))
}
