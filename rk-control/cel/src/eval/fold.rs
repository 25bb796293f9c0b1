//! Macros over lists and maps.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Context, Failure, Outcome, build, order};
use crate::ast::{Expr, Fold, FoldOp};
use crate::value::Value;

impl<'a> Context<'a> {
    pub(super) fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        let (keyed, entries) = match (range.items(), range.entries()) {
            (Some(items), _) => {
                let index = |index: usize| Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                (false, items.into_iter().enumerate().map(|(i, item)| (index(i), item)).collect())
            }
            (None, Some(entries)) => (true, entries),
            _ => return Err(Failure::new(format!("no such overload: iteration over {}", range.type_name()))),
        };
        match fold.op {
            FoldOp::All | FoldOp::Exists => self.quantify(fold, keyed, entries),
            _ => self.collect(fold, keyed, entries),
        }
    }

    /// Evaluates with the names of one step.
    fn step(&mut self, fold: &'a Fold, keyed: bool, entry: &(Value<'a>, Value<'a>), body: &'a Expr) -> Outcome<'a> {
        self.charge(1)?;
        let before = self.locals.len();
        match fold.names.as_slice() {
            [only] => self.locals.push((only, if keyed { entry.0.clone() } else { entry.1.clone() })),
            [first, second, ..] => {
                self.locals.push((first, entry.0.clone()));
                self.locals.push((second, entry.1.clone()));
            }
            [] => {}
        }
        let outcome = self.eval(body);
        self.locals.truncate(before);
        outcome
    }

    /// `all` and `exists`: one that decides wins over errors.
    fn quantify(&mut self, fold: &'a Fold, keyed: bool, entries: Vec<(Value<'a>, Value<'a>)>) -> Outcome<'a> {
        let decisive = fold.op == FoldOp::Exists;
        let Some(filter) = &fold.filter else { return Ok(Value::Bool(!decisive)) };
        self.decide(decisive, entries, |own, entry| own.step(fold, keyed, &entry, filter))
    }

    fn collect(&mut self, fold: &'a Fold, keyed: bool, entries: Vec<(Value<'a>, Value<'a>)>) -> Outcome<'a> {
        let mut count = 0_usize;
        let (mut list, mut map) = (Vec::new(), Vec::new());
        for entry in entries {
            if let Some(filter) = &fold.filter {
                match self.step(fold, keyed, &entry, filter)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    _ => return Err(Failure::new("no such overload")),
                }
            }
            count += 1;
            let made = fold.body.as_ref().map(|body| self.step(fold, keyed, &entry, body)).transpose()?;
            match (fold.op, made) {
                (FoldOp::Map, Some(made)) => list.push(made),
                (FoldOp::Filter, _) => list.push(if keyed { entry.0 } else { entry.1 }),
                (FoldOp::SortBy, Some(made)) => map.push((made, if keyed { entry.0 } else { entry.1 })),
                (FoldOp::TransformMap, Some(made)) => map.push((entry.0, made)),
                (FoldOp::TransformMapEntry, Some(made)) => {
                    for (key, value) in made.entries().ok_or_else(|| Failure::new("no such overload"))? {
                        build::insert(&mut map, key, |_| Ok(Some(value)), self)?;
                    }
                }
                _ => {}
            }
        }
        Ok(match fold.op {
            FoldOp::ExistsOne => Value::Bool(count == 1),
            FoldOp::SortBy => sorted(map)?,
            FoldOp::TransformMap | FoldOp::TransformMapEntry => Value::Map(Arc::new(map)),
            _ => Value::list(list),
        })
    }
}

/// What stands behind keys, in their order.
fn sorted<'a>(mut keyed: Vec<(Value<'a>, Value<'a>)>) -> Outcome<'a> {
    let differ = |pair: &[(Value<'a>, Value<'a>)]| match pair {
        [(a, _), (b, _)] => order(a, b).is_none(),
        _ => false,
    };
    if keyed.windows(2).any(differ) {
        return Err(Failure::new("list elements must have the same type"));
    }
    keyed.sort_by(|(a, _), (b, _)| order(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(keyed.into_iter().map(|(_, item)| item).collect()))
}
