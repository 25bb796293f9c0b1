//! Lists as sets.

use super::{Made, items};
use crate::eval::{Context, Failure, equal};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("sets.contains", "LaLa>B", |c, a| {
        charge(c, a)?;
        Ok(Value::Bool(within(&items(a, 1), &items(a, 0))))
    }),
    Row("sets.equivalent", "LaLa>B", |c, a| {
        charge(c, a)?;
        let (one, other) = (items(a, 0), items(a, 1));
        Ok(Value::Bool(within(&one, &other) && within(&other, &one)))
    }),
    Row("sets.intersects", "LaLa>B", |c, a| {
        charge(c, a)?;
        intersects(a)
    }),
];

/// Everything may be compared with everything.
fn charge(context: &mut Context<'_>, args: &[Value<'_>]) -> Result<(), Failure> {
    let length = |index: usize| args.get(index).and_then(Value::length).unwrap_or(0) as u64;
    context.charge(length(0).saturating_mul(length(1)))
}

fn within(part: &[Value<'_>], whole: &[Value<'_>]) -> bool {
    part.iter().all(|item| whole.iter().any(|other| equal(item, other)))
}

fn intersects<'a>(args: &[Value<'a>]) -> Made<'a> {
    let other = items(args, 1);
    Ok(Value::Bool(items(args, 0).iter().any(|item| other.iter().any(|other| equal(item, other)))))
}
