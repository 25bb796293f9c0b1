//! Evaluation: a walk over the tree with a budget.

mod build;
mod call;
mod equal;
mod fold;
mod output;

use std::collections::HashMap;

use regex_lite::Regex;

use crate::ast::{Expr, Kind, Literal};
use crate::lib::{self, Answer, Question};
use crate::program::Program;
use crate::value::{Text, Value};
pub(crate) use build::without_escapes;
pub(crate) use equal::{equal, order};

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The expression failed on these values.
    #[error("{0}")]
    Error(String),
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
    /// It depends on an answer of the authorizer that is not there yet: get it, and evaluate again.
    #[error("the authorizer has not been asked")]
    Ask(Box<Question>),
}

impl Failure {
    /// The failure of a variable, as those see it who use it.
    fn within(self, variable: &str) -> Self {
        match self {
            Failure::Error(why) => Failure::Error(format!("composited variable {variable:?} fails to evaluate: {why}")),
            Failure::Cost | Failure::Ask(_) => self,
        }
    }

    pub(crate) fn new(why: impl Into<String>) -> Self {
        Failure::Error(why.into())
    }

    /// Whether `&&` and `||` may get over it.
    fn is_plain(&self) -> bool {
        matches!(self, Failure::Error(_))
    }
}

/// Most compiled patterns that are kept.
const MAX_PATTERNS: usize = 8;

type Outcome<'a> = Result<Value<'a>, Failure>;

/// What an expression may refer to, and what it may cost.
pub struct Context<'a> {
    variables: HashMap<&'a str, Value<'a>>,
    /// The programs behind `variables.<name>`, evaluated when they are needed, once.
    lazy: &'a [(String, Program)],
    known: Vec<Option<Outcome<'a>>>,
    locals: Vec<(&'a str, Value<'a>)>,
    pub(crate) answers: &'a [(Question, Answer)],
    /// Patterns that were compiled, the last ones.
    patterns: Vec<(String, Regex)>,
    left: u64,
}

impl<'a> Context<'a> {
    /// A context without variables, and a budget in upstream's units.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let variables = HashMap::new();
        Self {
            variables,
            lazy: &[],
            known: Vec::new(),
            locals: Vec::new(),
            answers: &[],
            patterns: Vec::new(),
            left: budget,
        }
    }

    /// Names a value.
    pub fn set(&mut self, name: &'a str, value: Value<'a>) {
        self.variables.insert(name, value);
    }

    /// The expressions behind `variables`, each of which may refer to those before it.
    pub fn set_lazy(&mut self, programs: &'a [(String, Program)]) {
        self.lazy = programs;
        self.known = vec![None; programs.len()];
    }

    /// What the authorizer answered so far.
    pub fn set_answers(&mut self, answers: &'a [(Question, Answer)]) {
        self.answers = answers;
    }

    /// What is left of the budget.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Evaluates a program, which may cost `limit` of the budget.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(&mut self, program: &'a Program, limit: u64) -> Outcome<'a> {
        let held_back = self.left.saturating_sub(limit);
        self.left -= held_back;
        let outcome = self.eval(program.expr());
        self.left += held_back;
        self.locals.clear();
        outcome
    }

    /// Evaluates a part of a program.
    pub(crate) fn part(&mut self, expr: &'a Expr) -> Outcome<'a> {
        self.eval(expr)
    }

    /// A compiled pattern; those in use are compiled once.
    pub(crate) fn pattern(&mut self, text: &str) -> Result<Regex, Failure> {
        if let Some((_, pattern)) = self.patterns.iter().find(|(own, _)| own == text) {
            return Ok(pattern.clone());
        }
        let pattern = lib::pattern(text)?;
        if self.patterns.len() >= MAX_PATTERNS {
            self.patterns.remove(0);
        }
        self.patterns.push((text.to_owned(), pattern.clone()));
        Ok(pattern)
    }

    /// A value as JSON, for what it weighs.
    ///
    /// # Errors
    /// As [`Value::to_json`]; it weighs more than is left of the budget.
    pub fn to_json(&mut self, value: &Value<'a>) -> Result<serde_json::Value, Failure> {
        let mut cost = 0;
        call::weigh(value, &mut cost, self.left);
        self.charge(cost)?;
        value.to_json()
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), Failure> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Failure::Cost)
            }
        }
    }

    fn eval(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => self.name(name),
            Kind::Select { on, field, test, optional } => self.select(on, field, *test, *optional),
            Kind::Call { name, overloads, args, .. } => self.call(name, overloads, args),
            Kind::And(parts) => self.logic(parts, false),
            Kind::Or(parts) => self.logic(parts, true),
            Kind::Cond(parts) => self.condition(parts),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.made(name, fields),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind { name, init, body } => {
                let value = self.eval(init)?;
                self.with(name, value, body)
            }
            Kind::OnOptional { flat, on, name, body } => self.on_optional(*flat, on, name, body),
        }
    }

    /// Evaluates with one more name.
    fn with(&mut self, name: &'a str, value: Value<'a>, body: &'a Expr) -> Outcome<'a> {
        self.locals.push((name, value));
        let outcome = self.eval(body);
        self.locals.pop();
        outcome
    }

    fn name(&mut self, name: &str) -> Outcome<'a> {
        self.charge(1)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(own, _)| *own == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.variables.get(name) {
            return Ok(value.clone());
        }
        crate::check::type_value(name)
            .map(|name| Value::Type(name.into()))
            .ok_or_else(|| Failure::new(format!("no such attribute(s): {name}")))
    }

    /// `variables.x`: evaluated now, unless it was before.
    fn lazy(&mut self, name: &str) -> Option<Outcome<'a>> {
        let programs = self.lazy;
        let index = programs.iter().position(|(own, _)| own == name)?;
        if let Some(known) = self.known.get(index).and_then(Option::as_ref) {
            return Some(known.clone());
        }
        let (_, program) = programs.get(index)?;
        // What is bound around the place of use does not concern the variable.
        let locals = std::mem::take(&mut self.locals);
        let outcome = self.eval(program.expr()).map_err(|failure| failure.within(name));
        self.locals = locals;
        let settled = outcome.as_ref().err().is_none_or(Failure::is_plain);
        if let Some(slot) = self.known.get_mut(index).filter(|_| settled) {
            *slot = Some(outcome.clone());
        }
        Some(outcome)
    }

    fn is_lazy(&self, on: &Expr) -> bool {
        !self.lazy.is_empty()
            && matches!(&on.kind, Kind::Ident(name) if name == "variables")
            && !self.locals.iter().any(|(name, _)| *name == "variables")
    }

    fn select(&mut self, on: &'a Expr, field: &'a str, test: bool, optional: bool) -> Outcome<'a> {
        if self.is_lazy(on) && !test {
            self.charge(2)?;
            if let Some(outcome) = self.lazy(field) {
                return if optional { outcome.map(Value::some) } else { outcome };
            }
        }
        let value = self.eval(on)?;
        self.charge(1)?;
        let (value, optional) = match value {
            Value::Optional(None) => return Ok(if test { Value::Bool(false) } else { Value::Optional(None) }),
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            value => (value, optional),
        };
        let found = member(&value, field);
        match (test, optional, found) {
            (true, _, found) => Ok(Value::Bool(found.is_some())),
            (_, true, found) => Ok(Value::Optional(found.map(std::sync::Arc::new))),
            (_, _, Some(found)) => Ok(found),
            (_, _, None) => Err(Failure::new(format!("no such key: {field}"))),
        }
    }

    /// `&&` and `||`.
    fn logic(&mut self, parts: &'a [Expr], decisive: bool) -> Outcome<'a> {
        self.decide(decisive, parts, |own, part| own.eval(part))
    }

    /// Whether any of `items` is judged `decisive`: that wins over errors, wherever it stands.
    fn decide<T>(
        &mut self,
        decisive: bool,
        items: impl IntoIterator<Item = T>,
        mut judge: impl FnMut(&mut Self, T) -> Outcome<'a>,
    ) -> Outcome<'a> {
        let mut failed = None;
        for item in items {
            match judge(self, item) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or_else(|| Some(Failure::new("no such overload"))),
                Err(failure) if failure.is_plain() => failed = failed.or(Some(failure)),
                Err(fatal) => return Err(fatal),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn condition(&mut self, parts: &'a [Expr; 3]) -> Outcome<'a> {
        let [condition, then, otherwise] = parts;
        match self.eval(condition)? {
            Value::Bool(true) => self.eval(then),
            Value::Bool(false) => self.eval(otherwise),
            _ => Err(Failure::new("no such overload")),
        }
    }

    fn on_optional(&mut self, flat: bool, on: &'a Expr, name: &'a str, body: &'a Expr) -> Outcome<'a> {
        match self.eval(on)? {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                let made = self.with(name, (*inner).clone(), body)?;
                Ok(if flat { made } else { Value::some(made) })
            }
            _ => Err(Failure::new("no such overload")),
        }
    }
}

/// A member of a value; what has no members lacks this one, too.
fn member<'a>(value: &Value<'a>, field: &str) -> Option<Value<'a>> {
    match value {
        Value::Json(serde_json::Value::Object(_), schema) => {
            let name = if schema.is_some() { without_escapes(field) } else { field.into() };
            value.member(&name).or_else(|| value.member(field))
        }
        Value::Map(_) | Value::Domains(_) | Value::Made(..) => value.member(field),
        Value::Authz(question) => question.member(field),
        _ => None,
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::Text(text) => Value::Str(Text::Ref(text)),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}
