//! What fails whatever a program is given: upstream finds that out when it makes a program of an expression.

use crate::ast::{Expr, Kind, Literal};
use crate::eval::{Context, Failure};
use crate::lib;

/// Functions that upstream calls beforehand where what they are given is constant.
const CONVERSIONS: &[&str] = &["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"];

/// Why no program can be made of an expression that is right otherwise.
pub(crate) fn failure(expr: &Expr) -> Option<String> {
    let mut found = None;
    expr.children(&mut |child| {
        if found.is_none() {
            found = failure(child);
        }
    });
    found.or_else(|| own(expr))
}

fn own(expr: &Expr) -> Option<String> {
    let Kind::Call { name, args, .. } = &expr.kind else { return None };
    if matches!(name.as_str(), "find" | "findAll") {
        let Some(Expr { kind: Kind::Literal(Literal::Text(text)), .. }) = args.get(1) else { return None };
        return lib::pattern(text).err().map(|failure| failure.to_string());
    }
    if !is_constant(expr) {
        return None;
    }
    match Context::new(u64::MAX).part(expr) {
        Err(Failure::Error(why)) => Some(why),
        _ => None,
    }
}

/// Whether it is a constant, or one that is converted.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(_) => true,
        Kind::Call { name, args, .. } => {
            CONVERSIONS.contains(&name.as_str()) && args.len() == 1 && args.iter().all(is_constant)
        }
        _ => false,
    }
}
