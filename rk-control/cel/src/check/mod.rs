//! The type check: undeclared names, unknown fields, functions that do not fit. What is `dyn` is left to evaluation.

mod calls;
mod constants;
mod formats;
mod literals;

use std::sync::Arc;

use crate::ast::{Expr, Fold, FoldOp, Kind, Literal};
use crate::env::Env;
use crate::issue::Issue;
use crate::lib;
use crate::types::Type;
pub(crate) use constants::failure;

/// The name of a type that is written as an identifier.
pub(crate) fn type_value(name: &str) -> Option<&'static str> {
    Some(match name {
        "bool" => "bool",
        "int" => "int",
        "uint" => "uint",
        "double" => "double",
        "string" => "string",
        "bytes" => "bytes",
        "list" => "list",
        "map" => "map",
        "null_type" => "null_type",
        "type" => "type",
        "optional_type" => "optional_type",
        _ => return None,
    })
}

/// The type of an expression, and what is wrong with it.
pub(crate) fn check(expr: &Expr, env: &Env) -> (Type, Vec<Issue>) {
    let mut checker = Checker { env, locals: Vec::new(), mixed: false, elements: Vec::new(), issues: Vec::new() };
    let ty = checker.of(expr);
    (ty, checker.issues)
}

struct Checker<'e> {
    env: &'e Env,
    locals: Vec<(&'e str, Type)>,
    /// Whether elements of lists may be of several types: in what is formatted.
    mixed: bool,
    /// The types of the elements of the list that was written out last.
    elements: Vec<Type>,
    issues: Vec<Issue>,
}

impl<'e> Checker<'e> {
    fn wrong(&mut self, at: u32, message: impl Into<String>) -> Type {
        self.issues.push(Issue::new(at, message));
        Type::Error
    }

    fn undeclared(&mut self, at: u32, name: &str) -> Type {
        self.wrong(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn of(&mut self, expr: &'e Expr) -> Type {
        match &expr.kind {
            Kind::Literal(literal) => constant(literal),
            Kind::Ident(name) => self.name(expr.at, name),
            Kind::Select { on, field, test, optional } => self.select(expr.at, on, field, *test, *optional),
            Kind::Call { name, overloads, member, args } => self.call(expr.at, name, overloads, *member, args),
            Kind::And(parts) => self.logic(expr.at, "_&&_", parts),
            Kind::Or(parts) => self.logic(expr.at, "_||_", parts),
            Kind::Cond(parts) => self.condition(expr.at, parts),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.made(expr.at, name, fields),
            Kind::Fold(fold) => self.fold(expr.at, fold),
            Kind::Bind { name, init, body } => {
                let ty = self.of(init);
                self.with([(name.as_str(), ty)], body)
            }
            Kind::OnOptional { flat, on, name, body } => {
                let inner = match self.of(on) {
                    Type::Optional(inner) => (*inner).clone(),
                    ty if ty.is_dyn() => Type::Dyn,
                    ty => {
                        let macro_name = if *flat { "optFlatMap" } else { "optMap" };
                        return self.wrong(
                            expr.at,
                            format!("found no matching overload for '{macro_name}' applied to '{ty}'"),
                        );
                    }
                };
                let made = self.with([(name.as_str(), inner)], body);
                if *flat { made } else { Type::optional(made) }
            }
        }
    }

    fn with<const N: usize>(&mut self, names: [(&'e str, Type); N], body: &'e Expr) -> Type {
        let before = self.locals.len();
        self.locals.extend(names);
        let ty = self.of(body);
        self.locals.truncate(before);
        ty
    }

    fn name(&mut self, at: u32, name: &str) -> Type {
        if let Some((_, ty)) = self.locals.iter().rev().find(|(own, _)| *own == name) {
            return ty.clone();
        }
        if let Some(ty) = self.env.variable(name) {
            return ty.clone();
        }
        match type_value(name) {
            Some(_) => Type::Type(Arc::new(Type::Dyn)),
            None => self.undeclared(at, name),
        }
    }

    fn select(&mut self, at: u32, on: &'e Expr, field: &str, test: bool, optional: bool) -> Type {
        let (inner, wrapped) = match self.of(on) {
            Type::Optional(inner) => ((*inner).clone(), true),
            ty => (ty, optional),
        };
        let found = match &inner {
            Type::Dyn | Type::Error => inner.clone(),
            Type::Map(_, value) => (**value).clone(),
            Type::Record(record) => match record.field(field) {
                Some(ty) => ty,
                None => self.wrong(at, format!("undefined field '{field}'")),
            },
            Type::Opaque(lib::AUTHORIZER) if field == "requestResource" => Type::Opaque(lib::RESOURCE_CHECK),
            Type::Var(_) => Type::Dyn,
            other => {
                let why = format!("type '{other}' does not support field selection");
                self.wrong(at, why)
            }
        };
        match (test, wrapped) {
            (true, _) => Type::Bool,
            (_, true) => Type::optional(found),
            _ => found,
        }
    }

    fn expect_bool(&mut self, at: u32, function: &str, shown: &str, ty: &Type) {
        if !matches!(ty, Type::Bool | Type::Dyn | Type::Error) {
            self.wrong(at, format!("found no matching overload for '{function}' applied to '{shown}'"));
        }
    }

    fn logic(&mut self, at: u32, name: &str, parts: &'e [Expr]) -> Type {
        for (index, part) in parts.iter().enumerate() {
            let ty = self.of(part);
            let shown = if index == 0 { format!("({ty}, bool)") } else { format!("(bool, {ty})") };
            self.expect_bool(at, name, &shown, &ty);
        }
        Type::Bool
    }

    fn condition(&mut self, at: u32, parts: &'e [Expr; 3]) -> Type {
        let [condition, then, otherwise] = parts;
        let (condition, then, otherwise) = (self.of(condition), self.of(then), self.of(otherwise));
        let shown = format!("({condition}, {then}, {otherwise})");
        self.expect_bool(at, "_?_:_", &shown, &condition);
        let mut bound = Vec::new();
        if !calls::accepts(&then, &otherwise, &mut bound) && !calls::accepts(&otherwise, &then, &mut bound) {
            return self.wrong(at, format!("found no matching overload for '_?_:_' applied to '{shown}'"));
        }
        then.join(&otherwise)
    }

    fn fold(&mut self, at: u32, fold: &'e Fold) -> Type {
        let (first, second) = match self.of(&fold.range) {
            Type::List(item) => (Type::Int, (*item).clone()),
            Type::Map(key, value) if fold.names.len() == 1 => ((*value).clone(), (*key).clone()),
            Type::Map(key, value) => ((*key).clone(), (*value).clone()),
            Type::Dyn | Type::Error | Type::Var(_) => (Type::Dyn, Type::Dyn),
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return self.wrong(fold.range.at, why);
            }
        };
        let before = self.locals.len();
        match fold.names.as_slice() {
            [only] => self.locals.push((only, second.clone())),
            [one, two, ..] => self.locals.extend([(one.as_str(), first.clone()), (two.as_str(), second.clone())]),
            [] => {}
        }
        if let Some(filter) = &fold.filter {
            let ty = self.of(filter);
            let (function, shown) = match fold.op {
                FoldOp::All => ("_&&_", format!("(bool, {ty})")),
                FoldOp::Exists => ("_||_", format!("(bool, {ty})")),
                _ => ("_?_:_", format!("({ty}, dyn, dyn)")),
            };
            self.expect_bool(at, function, &shown, &ty);
        }
        let body = fold.body.as_ref().map(|body| self.of(body));
        self.locals.truncate(before);
        match (fold.op, body) {
            (FoldOp::Map, Some(body)) => Type::list(body),
            (FoldOp::Filter, _) => Type::list(second),
            (FoldOp::SortBy, Some(key)) if is_ordered(&key) => Type::list(second),
            (FoldOp::SortBy, Some(key)) => {
                let applied = format!("list({second}).(list({key}))");
                self.wrong(at, format!("found no matching overload for '@sortByAssociatedKeys' applied to '{applied}'"))
            }
            (FoldOp::TransformMap, Some(body)) => Type::map(first, body),
            (FoldOp::TransformMapEntry, Some(body)) => body,
            _ => Type::Bool,
        }
    }
}

/// Whether values of a type have an order.
fn is_ordered(ty: &Type) -> bool {
    let plain = matches!(
        ty,
        Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Timestamp
            | Type::Duration
    );
    plain || ty.is_dyn()
}

fn constant(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Text(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
