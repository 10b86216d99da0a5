//! Tokens to a tree, by recursive descent.

use crate::suggest;
use std::ops::Range;

use super::super::expr::{Expr, Op, Side};
use super::super::field::{Entity, Field, Kind};
use super::super::limits::{Invalid, Limits};
use super::super::relation::Relation;
use super::error::{TextError, TextErrorKind};
use super::lexer::{Lexer, Token};

/// Units of durations in microseconds, the largest first.
pub(super) const UNITS: [(&str, u64); 7] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

pub(super) type Parsed<T> = Result<T, TextError>;

pub(super) fn parse(entity: Entity, source: &str, now: i64, limits: &Limits) -> Parsed<Expr> {
    if source.len() > limits.source {
        let kind = TextErrorKind::Long {
            bytes: source.len(),
            limit: limits.source,
        };
        let beginning = &source[..source.floor_char_boundary(120)];
        return Err(TextError::new(beginning, 0..beginning.len(), kind));
    }
    let mut lexer = Lexer::new(source);
    let (token, span) = lexer.next()?;
    if token == Token::End {
        return Err(TextError::new(source, 0..source.len(), TextErrorKind::Empty));
    }
    let mut parser = Parser {
        source,
        limits,
        now,
        lexer,
        token,
        span,
        nesting: 0,
        nodes: 0,
        items: 0,
    };
    let expr = parser.filter(entity)?;
    match parser.token {
        Token::End => Ok(expr),
        Token::Symbol("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") => {
            Err(parser.expected("`and`, `or` or the end; comparisons do not chain"))
        }
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

pub(super) struct Parser<'a> {
    source: &'a str,
    pub(super) limits: &'a Limits,
    pub(super) now: i64,
    lexer: Lexer<'a>,
    /// The next token, not yet taken.
    pub(super) token: Token<'a>,
    span: Range<usize>,
    nesting: u32,
    nodes: usize,
    pub(super) items: usize,
}

impl Parser<'_> {
    fn filter(&mut self, entity: Entity) -> Parsed<Expr> {
        let mut children = vec![self.conjunction(entity)?];
        while self.take_word("or")? {
            children.push(self.conjunction(entity)?);
        }
        if children.len() > 1 {
            self.node()?;
        }
        Ok(Expr::any(children))
    }

    fn conjunction(&mut self, entity: Entity) -> Parsed<Expr> {
        let mut children = vec![self.unary(entity)?];
        while self.take_word("and")? {
            children.push(self.unary(entity)?);
        }
        if children.len() > 1 {
            self.node()?;
        }
        Ok(Expr::all(children))
    }

    fn unary(&mut self, entity: Entity) -> Parsed<Expr> {
        // Brackets and `not` nest in the text, and so in the stack, also where the tree stays flat.
        self.nesting += 1;
        if self.nesting > u32::from(self.limits.depth) * 2 {
            return Err(self.fault(TextErrorKind::Large(Invalid::Depth {
                limit: self.limits.depth,
            })));
        }
        let expr = self.unary_inside(entity)?;
        self.nesting -= 1;
        Ok(expr)
    }

    fn unary_inside(&mut self, entity: Entity) -> Parsed<Expr> {
        self.node()?;
        if self.take_word("not")? {
            return self.unary(entity).map(Expr::negated);
        }
        if self.token == Token::Symbol("(") {
            return self.bracketed(entity);
        }
        let Token::Word(word) = self.token else {
            return Err(self.expected("a field, `not`, `any`, `no`, `true`, `false` or `(`"));
        };
        match word.to_ascii_lowercase().as_str() {
            "true" => {
                self.advance()?;
                Ok(Expr::yes())
            }
            "false" => {
                self.advance()?;
                Ok(Expr::no())
            }
            "any" => self.related(entity),
            "no" => self.related(entity).map(Expr::negated),
            _ => self.test(entity),
        }
    }

    fn bracketed(&mut self, entity: Entity) -> Parsed<Expr> {
        self.symbol("(", "a condition in parentheses")?;
        let expr = self.filter(entity)?;
        self.symbol(")", "`and`, `or` or `)`")?;
        Ok(expr)
    }

    fn related(&mut self, entity: Entity) -> Parsed<Expr> {
        self.advance()?;
        let Token::Word(name) = self.token else {
            return Err(self.expected("the name of a relation"));
        };
        let Some(relation) = entity.relations().find(|relation| relation.name() == name) else {
            return Err(self.unknown_relation(entity, name, self.span.clone()));
        };
        self.advance()?;
        if !self.take_word("where")? {
            self.node()?;
            return Ok(Expr::exists(relation, Expr::yes()));
        }
        Ok(Expr::exists(relation, self.bracketed(relation.target())?))
    }

    fn test(&mut self, entity: Entity) -> Parsed<Expr> {
        let (path, field) = self.path(entity)?;
        let (op, negated) = self.operator(field)?;
        let at = |expr: Expr| {
            path.iter()
                .rev()
                .fold(expr, |inner, &relation| Expr::exists(relation, inner))
        };
        let asks_for_null = matches!(op, Op::IsNull | Op::IsEmpty);
        let test = Expr::test(field, op)
            .map_err(|wrong| self.fault(TextErrorKind::Operator { op: wrong.op, field }))?;
        Ok(if asks_for_null && !path.is_empty() {
            // A path that leads nowhere ends in null, so null is the complement of "leads to a value".
            let there = at(test.negated());
            if negated { there } else { there.negated() }
        } else if negated {
            at(test).negated()
        } else {
            at(test)
        })
    }

    /// The relations on the way, and the field at its end.
    fn path(&mut self, entity: Entity) -> Parsed<(Vec<Relation>, Field)> {
        let mut here = entity;
        let mut relations = Vec::new();
        let mut first = true;
        loop {
            let Token::Word(name) = self.token else {
                return Err(self.expected("the name of a field"));
            };
            let span = self.span.clone();
            self.advance()?;
            if self.token != Token::Symbol(".") {
                return match here.field(name) {
                    Some(field) => Ok((relations, field)),
                    None => Err(self.unknown_field(here, name, span)),
                };
            }
            if !(first && name == entity.name()) {
                let step = to_one(here, name).map_err(|many| {
                    many.map_or_else(
                        || self.unknown_relation(here, name, span.clone()),
                        |relation| self.fault_at(span.clone(), TextErrorKind::Many(relation)),
                    )
                })?;
                if relations.len() + step.len() > usize::from(self.limits.relations) {
                    let limit = self.limits.relations;
                    return Err(self.fault_at(span, TextErrorKind::Large(Invalid::Relations { limit })));
                }
                here = step.last().map_or(here, |relation| relation.target());
                relations.extend_from_slice(step);
            }
            first = false;
            self.advance()?;
        }
    }

    /// The operator with its operand, and whether it is negated.
    fn operator(&mut self, field: Field) -> Parsed<(Op, bool)> {
        let span = self.span.clone();
        match self.token {
            Token::Symbol("=" | "==") => {
                self.advance()?;
                Ok((self.equal(field, span)?, false))
            }
            Token::Symbol("!=") => {
                self.advance()?;
                Ok((self.equal(field, span)?, true))
            }
            Token::Symbol(symbol @ ("<" | "<=" | ">" | ">=")) => {
                self.advance()?;
                let side = match symbol {
                    "<" => Side::Less,
                    "<=" => Side::AtMost,
                    ">=" => Side::AtLeast,
                    _ => Side::Greater,
                };
                Ok((Op::Compare(side, self.bound(field, side, span)?), false))
            }
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "not" => {
                    self.advance()?;
                    let Token::Word(word) = self.token else {
                        return Err(self.expected("`in`, `like`, `contains`, `starts_with` or `ends_with`"));
                    };
                    self.named(field, &word.to_ascii_lowercase()).map(|op| (op, true))
                }
                "is" => {
                    self.advance()?;
                    let negated = self.take_word("not")?;
                    let op = if self.take_word("null")? {
                        Op::IsNull
                    } else if self.take_word("empty")? {
                        Op::IsEmpty
                    } else {
                        return Err(self.expected("`null`, `empty` or `not`"));
                    };
                    self.fits(
                        field,
                        op.name(),
                        span,
                        (op == Op::IsEmpty) == (field.kind() == Kind::Tags),
                    )?;
                    Ok((op, negated))
                }
                "and" | "or" => self.alone(field),
                word => self.named(field, word).map(|op| (op, false)),
            },
            _ => self.alone(field),
        }
    }

    fn alone(&self, field: Field) -> Parsed<(Op, bool)> {
        if field.kind() == Kind::Bool {
            Ok((Op::Is(true), false))
        } else {
            Err(self.expected("an operator"))
        }
    }

    fn named(&mut self, field: Field, word: &str) -> Parsed<Op> {
        const WORDS: [&str; 10] = [
            "in",
            "none_of",
            "like",
            "contains",
            "starts_with",
            "ends_with",
            "has_all",
            "has_any",
            "has",
            "is",
        ];
        let Some(&word) = WORDS[..9].iter().find(|known| **known == word) else {
            let error = self.expected("an operator");
            let suggestion = suggest::nearest(word, WORDS.into_iter());
            return Err(match suggestion {
                Some(_) => self.fault(TextErrorKind::Expected {
                    expected: "an operator",
                    found: format!("`{word}`{}", suggest::phrase(suggestion)),
                }),
                None => error,
            });
        };
        let span = self.span.clone();
        let kind = field.kind();
        let fits = match word {
            "in" | "none_of" => !matches!(kind, Kind::Bool | Kind::Tags),
            "has_all" | "has_any" | "has" => kind == Kind::Tags,
            _ => kind == Kind::Text,
        };
        self.fits(field, word, span, fits)?;
        self.advance()?;
        Ok(match word {
            "in" => Op::In(self.set(field)?),
            "none_of" => Op::NoneOf(self.set(field)?),
            "like" => Op::Like(self.text(field)?),
            "contains" => Op::Contains(self.text(field)?),
            "starts_with" => Op::StartsWith(self.text(field)?),
            "ends_with" => Op::EndsWith(self.text(field)?),
            "has_all" => Op::HasAll(self.list(|parser| parser.text(field))?.into()),
            "has_any" => Op::HasAny(self.list(|parser| parser.text(field))?.into()),
            _ => Op::HasAll(vec![self.text(field)?].into()),
        })
    }

    fn fits(&self, field: Field, op: &'static str, span: Range<usize>, fits: bool) -> Parsed<()> {
        if fits {
            Ok(())
        } else {
            Err(self.fault_at(span, TextErrorKind::Operator { op, field }))
        }
    }

    fn node(&mut self) -> Parsed<()> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes.saturating_mul(2) {
            return Err(self.fault(TextErrorKind::Large(Invalid::Nodes {
                limit: self.limits.nodes,
            })));
        }
        Ok(())
    }

    pub(super) fn advance(&mut self) -> Parsed<()> {
        (self.token, self.span) = self.lexer.next()?;
        Ok(())
    }

    pub(super) fn take_word(&mut self, word: &str) -> Parsed<bool> {
        let there = matches!(self.token, Token::Word(found) if found.eq_ignore_ascii_case(word));
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    pub(super) fn take_symbol(&mut self, symbol: &'static str) -> Parsed<bool> {
        let there = self.token == Token::Symbol(symbol);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    pub(super) fn symbol(&mut self, symbol: &'static str, expected: &'static str) -> Parsed<()> {
        if self.take_symbol(symbol)? {
            Ok(())
        } else {
            Err(self.expected(expected))
        }
    }

    fn found(&self) -> String {
        match &self.token {
            Token::Word(text) | Token::Number(text) => shown(text),
            Token::Text(_) => "a text".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        }
    }

    pub(super) fn expected(&self, expected: &'static str) -> TextError {
        self.fault(TextErrorKind::Expected {
            expected,
            found: self.found(),
        })
    }

    pub(super) fn wrong(&self, field: Field, expected: &'static str) -> TextError {
        self.fault(TextErrorKind::Value {
            field,
            expected,
            found: self.found(),
        })
    }

    fn unknown_field(&self, entity: Entity, name: &str, span: Range<usize>) -> TextError {
        let suggestion = suggest::nearest(name, entity.fields().map(Field::name));
        self.fault_at(
            span,
            TextErrorKind::UnknownField {
                entity,
                name: short(name),
                suggestion,
            },
        )
    }

    fn unknown_relation(&self, entity: Entity, name: &str, span: Range<usize>) -> TextError {
        let suggestion = suggest::nearest(name, entity.relations().map(Relation::name));
        self.fault_at(
            span,
            TextErrorKind::UnknownRelation {
                entity,
                name: short(name),
                suggestion,
            },
        )
    }

    pub(super) fn fault(&self, kind: TextErrorKind) -> TextError {
        self.fault_at(self.span.clone(), kind)
    }

    pub(super) fn fault_at(&self, span: Range<usize>, kind: TextErrorKind) -> TextError {
        TextError::new(self.source, span, kind)
    }
}

/// The way along a name that leads to one row, some of them two steps long; or the relation to many of that name, or none.
fn to_one(here: Entity, name: &str) -> Result<&'static [Relation], Option<Relation>> {
    const FAR: [(Entity, &str, &[Relation]); 6] = [
        (
            Entity::Deployment,
            "pool",
            &[Relation::DeploymentQueue, Relation::QueuePool],
        ),
        (Entity::Run, "pool", &[Relation::RunQueue, Relation::QueuePool]),
        (
            Entity::TaskRun,
            "flow",
            &[Relation::TaskRunRun, Relation::RunFlow],
        ),
        (
            Entity::TaskRun,
            "deployment",
            &[Relation::TaskRunRun, Relation::RunDeployment],
        ),
        (
            Entity::TaskRun,
            "queue",
            &[Relation::TaskRunRun, Relation::RunQueue],
        ),
        (
            Entity::TaskRun,
            "pool",
            &[Relation::TaskRunRun, Relation::RunQueue, Relation::QueuePool],
        ),
    ];
    let near = Relation::ALL
        .iter()
        .position(|relation| relation.source() == here && relation.name() == name);
    match near {
        Some(index) if Relation::ALL[index].is_many() => Err(Some(Relation::ALL[index])),
        Some(index) => Ok(&Relation::ALL[index..=index]),
        None => FAR
            .iter()
            .find(|far| far.0 == here && far.1 == name)
            .map(|far| far.2)
            .ok_or(None),
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

pub(super) fn shown(text: &str) -> String {
    let short = short(text);
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{more}`")
}
