//! Regular expressions; their sizes and costs are bounded.

use regex_lite::{Regex, RegexBuilder};

use super::{Made, int, text};
use crate::eval::Failure;
use crate::registry::Row;
use crate::value::Value;

/// Largest compiled pattern, in bytes.
const MAX_SIZE: usize = 1 << 20;

pub(super) const TABLE: &[Row] = &[
    Row("matches", "SS>B", |_, a| matches(a)),
    Row("matches", ".SS>B", |_, a| matches(a)),
    Row("find", ".SS>S", |_, a| {
        let pattern = pattern(text(a, 1))?;
        Ok(Value::text(pattern.find(text(a, 0)).map_or("", |found| found.as_str())))
    }),
    Row("findAll", ".SS>LS", |_, a| find_all(a, usize::MAX)),
    Row("findAll", ".SSI>LS", |_, a| find_all(a, usize::try_from(int(a, 2)).unwrap_or(usize::MAX))),
];

fn pattern(text: &str) -> Result<Regex, Failure> {
    RegexBuilder::new(text)
        .size_limit(MAX_SIZE)
        .build()
        .map_err(|error| Failure::new(format!("error parsing regexp: {error}")))
}

fn matches<'a>(args: &[Value<'a>]) -> Made<'a> {
    Ok(Value::Bool(pattern(text(args, 1))?.is_match(text(args, 0))))
}

fn find_all<'a>(args: &[Value<'a>], most: usize) -> Made<'a> {
    let pattern = pattern(text(args, 1))?;
    let found = pattern.find_iter(text(args, 0)).take(most).map(|found| Value::text(found.as_str()));
    Ok(Value::list(found.collect()))
}
