//! What a program costs at most, told before anything runs: sizes of values follow from a schema, those of results from the functions
//! (upstream's `checker.Cost`). The units are those of evaluation.

mod call;
mod shape;

use std::sync::Arc;

use shape::Form;
pub use shape::Shape;

use crate::ast::{Entry, Expr, Fold, FoldOp, Kind, Literal};
use crate::eval::without_escapes;
use crate::program::Program;

/// What it costs to name something.
const NAME: u64 = 1;
const MAKE_LIST: u64 = 10;
const MAKE_MAP: u64 = 30;
const MAKE_OBJECT: u64 = 40;

impl Program {
    /// What it costs at most, for values of these shapes.
    #[must_use]
    pub fn estimate(&self, names: &[(&str, &Shape)]) -> u64 {
        let names: Vec<(&str, Arc<Shape>)> =
            names.iter().map(|(name, shape)| (*name, Arc::new((*shape).clone()))).collect();
        let root = names.iter().find(|(name, _)| *name == "self").map_or(u64::MAX, |(_, shape)| shape.size);
        Estimator { names, root }.of(self.expr()).cost
    }
}

/// What is known of an expression.
struct Guess {
    cost: u64,
    shape: Arc<Shape>,
}

fn guess(cost: u64, shape: Arc<Shape>) -> Guess {
    Guess { cost, shape }
}

fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The larger of two shapes.
fn larger(a: Arc<Shape>, b: Arc<Shape>) -> Arc<Shape> {
    if a.size >= b.size { a } else { b }
}

/// What the elements of a list that is made are: upstream takes no text among them for longer than `self`.
fn element(inner: Arc<Shape>, root: u64) -> Arc<Shape> {
    if matches!(inner.form, Form::Text) { Shape::text(inner.size.min(root)) } else { inner }
}

/// What is known where an expression stands.
struct Estimator<'e> {
    /// Names in scope, the innermost last.
    names: Vec<(&'e str, Arc<Shape>)>,
    /// The size of `self`, nothing for objects.
    root: u64,
}

impl<'e> Estimator<'e> {
    fn of(&mut self, expr: &'e Expr) -> Guess {
        match &expr.kind {
            Kind::Literal(literal) => guess(0, constant(literal)),
            Kind::Ident(name) => guess(NAME, self.named(name)),
            Kind::Select { on, field, test, .. } => self.select(on, field, *test),
            Kind::Call { name, overloads, member, args } => {
                let args: Vec<(&Expr, Guess)> = args.iter().map(|arg| (arg, self.of(arg))).collect();
                call::of(name, overloads, *member, &args, self.root)
            }
            Kind::And(parts) | Kind::Or(parts) => guess(self.all(parts.iter()), Shape::scalar()),
            Kind::Cond(parts) => {
                let [condition, then, otherwise] = &**parts;
                let (condition, then, otherwise) = (self.of(condition), self.of(then), self.of(otherwise));
                let cost = condition.cost.saturating_add(then.cost.max(otherwise.cost));
                guess(cost, larger(then.shape, otherwise.shape))
            }
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => {
                let mut cost = self.all(entries.iter().map(|entry| &entry.key)).saturating_add(MAKE_MAP);
                let mut scalar = true;
                for entry in entries {
                    let value = self.of(&entry.value);
                    cost = cost.saturating_add(value.cost);
                    scalar &= value.shape.is_scalar();
                }
                let inner = if scalar { Shape::scalar() } else { Shape::open() };
                guess(cost, Shape::new(Form::Map(inner), size(entries.len())))
            }
            Kind::Struct { fields, .. } => {
                let cost = self.all(fields.iter().map(|field| &field.value));
                guess(cost.saturating_add(MAKE_OBJECT), Shape::open())
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind { name, init, body } => {
                let init = self.of(init);
                let made = self.with([(name.as_str(), init.shape)], body);
                guess(made.cost.saturating_add(init.cost), made.shape)
            }
            Kind::OnOptional { on, name, body, .. } => {
                let on = self.of(on);
                let made = self.with([(name.as_str(), on.shape)], body);
                // It is asked whether there is a value, then for it; something is made of the result.
                guess(made.cost.saturating_add(on.cost.saturating_mul(2)).saturating_add(4), made.shape)
            }
        }
    }

    fn all(&mut self, parts: impl Iterator<Item = &'e Expr>) -> u64 {
        let mut sum: u64 = 0;
        for part in parts {
            sum = sum.saturating_add(self.of(part).cost);
        }
        sum
    }

    fn with<const N: usize>(&mut self, names: [(&'e str, Arc<Shape>); N], body: &'e Expr) -> Guess {
        let before = self.names.len();
        self.names.extend(names);
        let made = self.of(body);
        self.names.truncate(before);
        made
    }

    fn named(&self, name: &str) -> Arc<Shape> {
        let found = self.names.iter().rev().find(|(own, _)| *own == name);
        found.map_or_else(Shape::scalar, |(_, shape)| Arc::clone(shape))
    }

    fn select(&mut self, on: &'e Expr, field: &str, test: bool) -> Guess {
        let on = self.of(on);
        if test {
            return guess(on.cost, Shape::scalar());
        }
        let shape = on.shape.field(&without_escapes(field));
        guess(on.cost.saturating_add(NAME), shape)
    }

    fn list(&mut self, items: &'e [Entry<()>]) -> Guess {
        let mut cost = MAKE_LIST;
        let mut inner: Option<Arc<Shape>> = None;
        for item in items {
            let made = self.of(&item.value);
            cost = cost.saturating_add(made.cost);
            inner = Some(match inner {
                Some(before) => larger(before, made.shape),
                None => made.shape,
            });
        }
        let inner = element(inner.unwrap_or_else(Shape::scalar), self.root);
        guess(cost, Shape::new(Form::List(inner), size(items.len())))
    }

    /// What is done once and what for each element, with what macros are made of.
    fn fold(&mut self, fold: &'e Fold) -> Guess {
        let range = self.of(&fold.range);
        let (count, inner) = (range.shape.size, range.shape.inner());
        // The names of the entries of a map count as short, as upstream has it.
        let (first, second) = match range.shape.form {
            Form::Map(_) => (Shape::text(0), Arc::clone(&inner)),
            _ => (Shape::scalar(), Arc::clone(&inner)),
        };
        let before = self.names.len();
        match fold.names.as_slice() {
            [only] if matches!(range.shape.form, Form::Map(_)) => self.names.push((only, Arc::clone(&first))),
            [only] => self.names.push((only, Arc::clone(&second))),
            [one, two, ..] => self.names.extend([(one.as_str(), first), (two.as_str(), second)]),
            [] => {}
        }
        let chosen = fold.filter.as_ref().map_or(0, |filter| self.of(filter).cost);
        let made = fold.body.as_ref().map(|body| self.of(body));
        self.names.truncate(before);
        let work = made.as_ref().map_or(0, |made| made.cost);
        let (once, each) = match fold.op {
            FoldOp::All => (NAME, 3),
            FoldOp::Exists => (NAME, 4),
            FoldOp::ExistsOne => (NAME + 1, 2),
            FoldOp::Map => (NAME + MAKE_LIST, 2 + MAKE_LIST),
            // What is made of the elements is a list, too, and each is looked at again as they are put in order.
            FoldOp::Filter | FoldOp::SortBy => (NAME + MAKE_LIST, 2 + MAKE_LIST + NAME),
            FoldOp::TransformMap | FoldOp::TransformMapEntry => (NAME + MAKE_MAP, 3),
        };
        let step = chosen.saturating_add(work).saturating_add(each);
        let cost = range.cost.saturating_add(once).saturating_add(count.saturating_mul(step));
        let shape = match (fold.op, made) {
            (FoldOp::Map, Some(made)) => Shape::new(Form::List(element(made.shape, self.root)), count),
            (FoldOp::Filter | FoldOp::SortBy, _) if matches!(range.shape.form, Form::Map(_)) => {
                Shape::new(Form::List(Shape::text(0)), count)
            }
            (FoldOp::Filter | FoldOp::SortBy, _) => Shape::new(Form::List(inner), count),
            (FoldOp::TransformMap, Some(made)) => Shape::new(Form::Map(made.shape), count),
            (FoldOp::TransformMapEntry, _) => Shape::new(Form::Map(Shape::open()), count),
            _ => Shape::scalar(),
        };
        guess(cost, shape)
    }
}

fn constant(literal: &Literal) -> Arc<Shape> {
    match literal {
        Literal::Text(text) => Shape::text(size(text.chars().count())),
        Literal::Bytes(bytes) => Shape::text(size(bytes.len())),
        Literal::Null | Literal::Bool(_) | Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => Shape::scalar(),
    }
}
