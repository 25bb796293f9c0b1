//! Functions of lists.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Made, count, double, failed, int, items, no_overload};
use crate::eval::{Context, Failure, equal, order};
use crate::registry::Row;
use crate::value::Value;

/// Longest list that is made of a number.
const MAX_RANGE: i64 = 100_000;

pub(super) const TABLE: &[Row] = &[
    Row("isSorted", ".La>B", |_, a| {
        let items = items(a, 0);
        let sorted = items.windows(2).all(|pair| match pair {
            [a, b] => order(a, b).is_some_and(Ordering::is_le),
            _ => true,
        });
        Ok(Value::Bool(sorted))
    }),
    Row("sum", ".LI>I", |_, a| sum(a)),
    Row("sum", ".LU>U", |_, a| sum(a)),
    Row("sum", ".LD>D", |_, a| sum(a)),
    Row("sum", ".LR>R", |_, a| sum(a)),
    Row("min", ".La>a", |_, a| extreme(&items(a, 0), "min", Ordering::Less)),
    Row("max", ".La>a", |_, a| extreme(&items(a, 0), "max", Ordering::Greater)),
    Row("indexOf", ".Laa>I", |_, a| match a {
        [_, wanted] => Ok(items(a, 0).iter().position(|item| equal(item, wanted)).map_or(Value::Int(-1), count)),
        _ => no_overload(),
    }),
    Row("lastIndexOf", ".Laa>I", |_, a| match a {
        [_, wanted] => Ok(items(a, 0).iter().rposition(|item| equal(item, wanted)).map_or(Value::Int(-1), count)),
        _ => no_overload(),
    }),
    Row("reverse", ".La>La", |_, a| Ok(Value::list(items(a, 0).into_iter().rev().collect()))),
    Row("distinct", ".La>La", |c, a| distinct(c, items(a, 0))),
    Row("sort", ".La>La", |_, a| {
        let mut items = items(a, 0);
        items.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
        Ok(Value::list(items))
    }),
    Row("slice", ".LaII>La", |_, a| {
        let items = items(a, 0);
        match (usize::try_from(int(a, 1)), usize::try_from(int(a, 2))) {
            (Ok(start), Ok(end)) if start > end => {
                failed(format!("cannot slice({start}, {end}), start index must be less than or equal to end index"))
            }
            (Ok(start), Ok(end)) => match items.get(start..end) {
                Some(part) => Ok(Value::list(part.to_vec())),
                None => failed(format!("cannot slice({start}, {end}), list is length {}", items.len())),
            },
            _ => failed(format!("cannot slice({}, {}), negative indexes not supported", int(a, 1), int(a, 2))),
        }
    }),
    Row("flatten", ".LLa>La", |_, a| Ok(Value::list(flat(items(a, 0), 1)))),
    Row("flatten", ".L*I>L*", |_, a| match usize::try_from(int(a, 1)) {
        Ok(levels) => Ok(Value::list(flat(items(a, 0), levels))),
        Err(_) => failed("level must be non-negative"),
    }),
    Row("first", ".La>Oa", |_, a| Ok(Value::Optional(items(a, 0).into_iter().next().map(Arc::new)))),
    Row("last", ".La>Oa", |_, a| Ok(Value::Optional(items(a, 0).into_iter().next_back().map(Arc::new)))),
    Row("lists.range", "I>LI", |c, a| {
        let length = int(a, 0).clamp(0, MAX_RANGE);
        c.charge(u64::try_from(length).unwrap_or(0))?;
        Ok(Value::list((0..length).map(Value::Int).collect()))
    }),
];

/// What lies in lists, down to so many levels.
fn flat<'a>(items: Vec<Value<'a>>, levels: usize) -> Vec<Value<'a>> {
    let inner = |item: Value<'a>| match item.items() {
        Some(inner) if levels > 0 => flat(inner, levels - 1),
        _ => vec![item],
    };
    items.into_iter().flat_map(inner).collect()
}

fn sum<'a>(args: &[Value<'a>]) -> Made<'a> {
    let items = items(args, 0);
    let overflow = || Failure::new("integer overflow");
    match items.first() {
        None => Ok(Value::Int(0)),
        Some(Value::Double(_)) => Ok(Value::Double((0..items.len()).map(|index| double(&items, index)).sum())),
        Some(first) => {
            let mut total = 0_i128;
            for item in &items {
                total += match item {
                    Value::Int(int) | Value::Span(int) => i128::from(*int),
                    Value::Uint(uint) => i128::from(*uint),
                    _ => return no_overload(),
                };
            }
            Ok(match first {
                Value::Uint(_) => Value::Uint(u64::try_from(total).map_err(|_| overflow())?),
                Value::Span(_) => Value::Span(i64::try_from(total).map_err(|_| overflow())?),
                _ => Value::Int(i64::try_from(total).map_err(|_| overflow())?),
            })
        }
    }
}

/// The first element that no other comes before (or after).
fn extreme<'a>(items: &[Value<'a>], name: &str, wanted: Ordering) -> Made<'a> {
    let mut items = items.iter();
    let Some(mut best) = items.next() else { return failed(format!("{name} called on empty list")) };
    for item in items {
        match order(item, best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best.clone())
}

fn distinct<'a>(context: &mut Context<'a>, items: Vec<Value<'a>>) -> Made<'a> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in items {
        context.charge(out.len() as u64)?;
        if !out.iter().any(|own| equal(own, &item)) {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}
