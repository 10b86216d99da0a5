//! The tree back as the reference's objects, where the reference has words for it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::super::Filter;
use super::super::expr::{Bound, Expr, Node, Op, Set, Side, Test};
use super::super::field::{Entity, Field, Kind};
use super::super::limits::Limits;
use super::super::relation::Relation;
use super::is_plain_year;
use super::table::{self, Keys, Meaning};

/// A filter that the JSON form has no words for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the JSON form cannot say `{part}`; use the text form")]
pub struct Unprintable {
    /// The part that cannot be said, in the text form.
    pub part: String,
}

impl Filter {
    /// The filter as the families of a body; read again by [`Filter::from_json`], it matches the same rows.
    ///
    /// # Errors
    ///
    /// [`Unprintable`] names a part that the JSON form cannot say: fields and operators that the reference lacks, `not` before anything
    /// but null tests, and deeper nesting of `and` and `or`.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use tenfold::filter::{Entity, Filter, Limits};
    ///
    /// let parse = |text| Filter::parse(Entity::Deployment, text, DateTime::UNIX_EPOCH, &Limits::default());
    /// assert_eq!(
    ///     parse(r#"paused or tags has_all ["etl"]"#)?.to_json().unwrap().to_string(),
    ///     r#"{"deployments":{"operator":"or_","paused":{"eq_":true},"tags":{"all_":["etl"]}}}"#
    /// );
    /// assert_eq!(
    ///     parse(r#"name contains "a""#)?.to_json().unwrap_err().to_string(),
    ///     r#"the JSON form cannot say `name contains "a"`; use the text form"#
    /// );
    /// # Ok::<(), tenfold::filter::TextError>(())
    /// ```
    pub fn to_json(&self) -> Result<Value, Unprintable> {
        let mut writer = Writer {
            root: self.entity(),
            body: Map::new(),
        };
        writer.rows(self.entity(), self.expr(), groups(self.entity()))?;
        let body = Value::Object(writer.body);
        // The words were found part by part; reading them shows that together they say the same.
        match Self::from_json(self.entity(), &body, &UNLIMITED) {
            Ok(read) if read.notices().is_empty() && read.expr().plain() == self.expr().plain() => Ok(body),
            _ => cannot(self.expr()),
        }
    }
}

/// How rows are reached from one another in the JSON form.
struct Group {
    relation: Relation,
    inside: &'static [Group],
}

const fn end(relation: Relation) -> Group {
    Group {
        relation,
        inside: &[],
    }
}

/// The groups of families below a question about rows of `entity`, as the reader composes them.
const fn groups(entity: Entity) -> &'static [Group] {
    const POOL: &[Group] = &[end(Relation::QueuePool)];
    const TASK_RUNS: &[Group] = &[end(Relation::RunTaskRuns)];
    match entity {
        Entity::Deployment => {
            const {
                &[
                    end(Relation::DeploymentFlow),
                    Group {
                        relation: Relation::DeploymentRuns,
                        inside: TASK_RUNS,
                    },
                    Group {
                        relation: Relation::DeploymentQueue,
                        inside: POOL,
                    },
                ]
            }
        }
        Entity::Run => {
            const {
                &[
                    end(Relation::RunFlow),
                    end(Relation::RunDeployment),
                    Group {
                        relation: Relation::RunQueue,
                        inside: POOL,
                    },
                    end(Relation::RunTaskRuns),
                ]
            }
        }
        Entity::Flow => {
            const {
                &[
                    Group {
                        relation: Relation::FlowRuns,
                        inside: TASK_RUNS,
                    },
                    // A queue itself cannot be named here, only its pool.
                    Group {
                        relation: Relation::FlowDeployments,
                        inside: &[Group {
                            relation: Relation::DeploymentQueue,
                            inside: POOL,
                        }],
                    },
                ]
            }
        }
        Entity::TaskRun => {
            const {
                &[Group {
                    relation: Relation::TaskRunRun,
                    inside: &[end(Relation::RunFlow), end(Relation::RunDeployment)],
                }]
            }
        }
        Entity::Pool | Entity::Queue => &[],
    }
}

type Said<T> = Result<T, Unprintable>;

/// A filter that exists is within its limits already.
const UNLIMITED: Limits = Limits {
    depth: Expr::DEPTH_MAX,
    nodes: usize::MAX,
    items: usize::MAX,
    operand: usize::MAX,
    source: usize::MAX,
    relations: u8::MAX,
    page: u32::MAX,
};

fn cannot<T>(part: &Expr) -> Said<T> {
    let text = part.to_string();
    let short: String = text.chars().take(200).collect();
    Err(Unprintable {
        part: if short.len() < text.len() {
            format!("{short}…")
        } else {
            short
        },
    })
}

struct Writer {
    root: Entity,
    body: Map<String, Value>,
}

impl Writer {
    /// Says `expr`, a condition on rows of `entity`, as the family of these rows and the families below them.
    fn rows(&mut self, entity: Entity, expr: &Expr, groups: &[Group]) -> Said<()> {
        let mut own = Vec::new();
        let mut reached = Vec::new();
        for part in parts_of_and(expr) {
            match part.node() {
                Node::Exists(relation, inner)
                    if word(entity, part).is_none()
                        && let Some(group) = groups.iter().find(|group| group.relation == *relation) =>
                {
                    // Two conditions on runs need not hold for the same run; one family cannot say that.
                    if reached.contains(relation) {
                        return cannot(part);
                    }
                    reached.push(*relation);
                    self.rows(relation.target(), inner, group.inside)?;
                }
                _ if part.plain() == Expr::yes() => {}
                _ => own.push(part.clone()),
            }
        }
        let key = table::families(self.root)
            .iter()
            .find(|family| family.1 == entity)
            .map(|family| family.0);
        if own.is_empty() && (entity == self.root || !reached.is_empty()) {
            return Ok(());
        }
        let Some(key) = key else { return cannot(expr) };
        let object = if own.is_empty() {
            Map::new()
        } else {
            family(entity, &Expr::all(own))?
        };
        if self.body.insert(key.to_owned(), object.into()).is_some() {
            return cannot(expr);
        }
        Ok(())
    }
}

fn parts_of_and(expr: &Expr) -> &[Expr] {
    match expr.node() {
        Node::And(children) => children,
        _ => std::slice::from_ref(expr),
    }
}

/// A family that says `expr`.
fn family(entity: Entity, expr: &Expr) -> Said<Map<String, Value>> {
    let parts: Vec<Expr> = parts_of_and(expr)
        .iter()
        .filter(|part| part.plain() != Expr::yes())
        .cloned()
        .collect();
    let all = joined(entity, &parts, false);
    match expr.node() {
        Node::Or(children) if children.is_empty() => {
            // Nothing is in an empty list.
            Ok(Map::from_iter([("id".to_owned(), json!({"any_": []}))]))
        }
        Node::Or(children) => all.or_else(|_| joined(entity, children, true)),
        _ => all,
    }
}

fn joined(entity: Entity, parts: &[Expr], with_or: bool) -> Said<Map<String, Value>> {
    let mut object = Map::new();
    for part in parts {
        let (name, keys) = criterion(entity, part)?;
        match object.get_mut(name) {
            None => {
                object.insert(name.to_owned(), keys.into());
            }
            Some(Value::Object(there)) => {
                let own_operator = there.contains_key("operator") || keys.contains_key("operator");
                if own_operator || keys.keys().any(|key| there.contains_key(key)) {
                    return cannot(part);
                }
                if with_or {
                    there.insert("operator".to_owned(), "or_".into());
                }
                there.extend(keys);
            }
            Some(_) => return cannot(part),
        }
    }
    if with_or {
        object.insert("operator".to_owned(), "or_".into());
    }
    Ok(object)
}

/// The one criterion that says `expr`, and its keys.
fn criterion(entity: Entity, expr: &Expr) -> Said<(&'static str, Map<String, Value>)> {
    if let Some((name, key, value)) = word(entity, expr) {
        return Ok((name, Map::from_iter([(key.to_owned(), value)])));
    }
    let (children, with_or) = match expr.node() {
        Node::And(children) if !children.is_empty() => (children, false),
        Node::Or(children) if !children.is_empty() => (children, true),
        _ => return cannot(expr),
    };
    let mut keys = Map::new();
    let mut criterion = None;
    for child in children {
        let Some((name, key, value)) = word(entity, child) else {
            return cannot(child);
        };
        if *criterion.get_or_insert(name) != name || keys.insert(key.to_owned(), value).is_some() {
            return cannot(expr);
        }
    }
    let Some(name) = criterion else {
        return cannot(expr);
    };
    if with_or {
        keys.insert("operator".to_owned(), "or_".into());
    }
    Ok((name, keys))
}

/// A criterion with a single key that says `expr`: its name, the key, the value.
fn word(entity: Entity, expr: &Expr) -> Option<(&'static str, &'static str, Value)> {
    table::criteria(entity).iter().find_map(|criterion| {
        let of_keys = |keys: &'static [table::Key]| {
            keys.iter()
                .find_map(|&(key, meaning)| spoken(meaning, expr).map(|value| (key, value)))
        };
        let (key, value) = match criterion.keys {
            Keys::Plain(keys) | Keys::Joined(keys) => of_keys(keys)?,
            Keys::State(parts) => parts.into_iter().find_map(|(part, keys)| {
                of_keys(keys)
                    .map(|(key, value)| (part, Value::Object(Map::from_iter([(key.to_owned(), value)]))))
            })?,
            Keys::RunOfTask => of_keys(&[
                ("any_", Meaning::Any(Field::TaskRunRunId)),
                ("is_null_", Meaning::Null(Field::TaskRunRunId)),
            ])?,
        };
        Some((criterion.name, key, value))
    })
}

/// The operand with which `meaning` says `expr`.
fn spoken(meaning: Meaning, expr: &Expr) -> Option<Value> {
    let (inner, positive) = match expr.node() {
        Node::Not(inner) => (&**inner, false),
        _ => (expr, true),
    };
    match (meaning, inner.node()) {
        (Meaning::Null(field), Node::Test(test))
            if test.field() == field && matches!(test.op(), Op::IsNull | Op::IsEmpty) =>
        {
            Some(positive.into())
        }
        (Meaning::Has(relation), Node::Exists(found, below))
            if relation == *found && *below.node() == yes() =>
        {
            Some(positive.into())
        }
        (Meaning::HasNot(relation), Node::Exists(found, below))
            if relation == *found && *below.node() == yes() =>
        {
            Some((!positive).into())
        }
        _ if !positive => None,
        (Meaning::ParentRun, Node::Exists(Relation::RunParent, below)) => {
            spoken(Meaning::Any(Field::TaskRunRunId), below)
        }
        (Meaning::LikeEitherName, Node::Or(children)) => match children.as_slice() {
            [name, flow] => match flow.node() {
                Node::Exists(Relation::DeploymentFlow, flow) => {
                    let value = spoken(Meaning::Like(Field::DeploymentName), name)?;
                    (spoken(Meaning::Like(Field::FlowName), flow)? == value).then_some(value)
                }
                _ => None,
            },
            _ => None,
        },
        (Meaning::Prefix(field), Node::Or(children)) if !children.is_empty() => {
            children.iter().map(|child| prefix(field, child)).collect()
        }
        (Meaning::Prefix(field), Node::Test(_)) => prefix(field, inner).map(|prefix| json!([prefix])),
        (meaning, Node::Test(test)) => of_test(meaning, test),
        _ => None,
    }
}

fn yes() -> Node {
    Node::And(Vec::new())
}

fn prefix(field: Field, expr: &Expr) -> Option<Value> {
    match expr.node() {
        Node::Test(test) if test.field() == field => match test.op() {
            Op::Like(pattern) => pattern.strip_suffix('%').map(Value::from),
            _ => None,
        },
        _ => None,
    }
}

fn of_test(meaning: Meaning, test: &Test) -> Option<Value> {
    let found = test.field();
    match (meaning, test.op()) {
        (Meaning::Any(field), Op::In(set)) if field == found => items(field, set),
        (Meaning::NotAny(field), Op::NoneOf(set)) if field == found && !set.is_empty() => items(field, set),
        (Meaning::AllTags(field), Op::HasAll(tags)) if field == found && !tags.is_empty() => {
            Some(tags.iter().map(|tag| Value::from(&**tag)).collect())
        }
        (Meaning::AnyTag(field), Op::HasAny(tags)) if field == found => {
            Some(tags.iter().map(|tag| Value::from(&**tag)).collect())
        }
        (Meaning::Like(field), Op::Like(pattern)) if field == found => {
            let inside = pattern.strip_prefix('%')?.strip_suffix('%')?;
            (!inside.is_empty()).then(|| inside.into())
        }
        (Meaning::AtMost(field), Op::Compare(Side::AtMost, Bound::Time(micros)))
        | (Meaning::AtLeast(field), Op::Compare(Side::AtLeast, Bound::Time(micros)))
            if field == found && is_plain_year(*micros) =>
        {
            let time = DateTime::<Utc>::from_timestamp_micros(*micros)?;
            Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
        }
        (Meaning::Is(field), Op::Is(wanted)) if field == found => Some((*wanted).into()),
        _ => None,
    }
}

fn items(field: Field, set: &Set) -> Option<Value> {
    match (set, field.kind()) {
        (Set::Uuids(uuids), _) => Some(uuids.iter().map(ToString::to_string).collect()),
        (Set::Texts(texts), _) => Some(texts.iter().map(|text| Value::from(&**text)).collect()),
        (Set::Codes(codes), Kind::Code(words)) => codes
            .iter()
            .map(|&code| words.get(code as usize).map(|word| Value::from(*word)))
            .collect(),
        _ => None,
    }
}
