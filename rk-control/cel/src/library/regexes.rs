//! Regular expressions; their sizes and costs are bounded.

use regex_lite::Regex;

use super::{Made, int, text};
use crate::eval::{Context, Failure};
use crate::registry::Row;
use crate::value::Value;

/// Largest compiled pattern, in bytes.
const MAX_SIZE: usize = 1 << 20;

pub(super) const TABLE: &[Row] = &[
    Row("matches", "SS>B", matches),
    Row("matches", ".SS>B", matches),
    Row("find", ".SS>S", |c, a| {
        let pattern = c.pattern(text(a, 1))?;
        Ok(Value::text(pattern.find(text(a, 0)).map_or("", |found| found.as_str())))
    }),
    Row("findAll", ".SS>LS", |c, a| find_all(c, a, usize::MAX)),
    Row("findAll", ".SSI>LS", |c, a| find_all(c, a, usize::try_from(int(a, 2)).unwrap_or(usize::MAX))),
];

/// Compiles a pattern.
pub(crate) fn pattern(text: &str) -> Result<Regex, Failure> {
    rk_api::pattern::compile(text, MAX_SIZE).map_err(|error| Failure::new(error.to_string()))
}

fn matches<'a>(context: &mut Context<'a>, args: &[Value<'a>]) -> Made<'a> {
    Ok(Value::Bool(context.pattern(text(args, 1))?.is_match(text(args, 0))))
}

fn find_all<'a>(context: &mut Context<'a>, args: &[Value<'a>], most: usize) -> Made<'a> {
    let pattern = context.pattern(text(args, 1))?;
    let found = pattern.find_iter(text(args, 0)).take(most).map(|found| Value::text(found.as_str()));
    Ok(Value::list(found.collect()))
}
