//! What functions cost, and how large what they make may be (upstream's `CostEstimator`).

use std::sync::Arc;

use super::{Form, Guess, Shape, guess};
use crate::ast::{Expr, Kind, Literal};
use crate::registry::Overload;
use crate::types::Type;

/// What a question to the authorizer costs.
const QUESTION: u64 = 350_000;
/// What it costs to make a list by a call.
const ALLOCATES: u64 = 11;
/// Longest text of a number, a time or a truth.
const PLAIN: u64 = 40;

/// What it costs to go through a text.
fn traverse(size: u64) -> u64 {
    size.div_ceil(10)
}

/// What it costs to go through a text and to make one.
fn remake(size: u64) -> u64 {
    size.div_ceil(5)
}

/// A pattern on a text.
fn pattern(text: u64, pattern: u64) -> u64 {
    traverse(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4))
}

/// A call; the target of a member is the first argument, `root` the size of `self`.
pub(super) fn of(name: &str, overloads: &[Overload], member: bool, args: &[(&Expr, Guess)], root: u64) -> Guess {
    let sizes: Vec<u64> = args.iter().map(|(_, arg)| arg.shape.size).collect();
    let at = |index: usize| sizes.get(index).copied().unwrap_or(0);
    let shapes: Vec<&Arc<Shape>> = args.iter().map(|(_, arg)| &arg.shape).collect();
    let before = args.iter().fold(0_u64, |sum, (_, arg)| sum.saturating_add(arg.cost));
    let shared = at(0).min(at(1));
    let some_scalar = shapes.iter().any(|shape| shape.is_scalar());
    let cost = match name {
        "check" => QUESTION,
        "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" if member => elements(shapes.first().copied()),
        // Every element is held against every other; a tenth more where they are texts.
        "sort" if member && matches!(at_inner(&shapes).form, Form::Text) => {
            squared(at(0)).saturating_mul(21).div_ceil(10).saturating_add(ALLOCATES)
        }
        "sort" | "distinct" if member => squared(at(0)).saturating_mul(2).saturating_add(ALLOCATES),
        "reverse" | "flatten" if member => at(0).saturating_add(ALLOCATES),
        "slice" | "lists.range" => counted(name, args).unwrap_or(at(0)).saturating_add(ALLOCATES),
        "url"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "ip"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => traverse(at(0)),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => traverse(at(0)),
        // A text is its own text already; what may be anything may be bytes.
        "string" if shapes.first().is_some_and(|shape| matches!(shape.form, Form::Open)) => traverse(at(0)),
        "bytes" | "strings.quote" if !some_scalar => traverse(at(0)),
        "replace" | "split" | "ip.isCanonical" => remake(at(0)),
        "join" => traverse(joined(&shapes)),
        "find" | "findAll" | "matches" => pattern(at(0), at(1)),
        "contains" => traverse(at(0)).saturating_mul(traverse(at(1))),
        "startsWith" | "endsWith" => traverse(at(1)),
        "containsIP" => traverse(32).saturating_add(traverse(at(1))),
        "containsCIDR" => traverse(32).saturating_add(traverse(16) + 1).saturating_add(traverse(at(1))),
        "validate" => traverse(at(1)).saturating_mul(32),
        "sets.contains" | "sets.intersects" => at(0).saturating_mul(at(1)).saturating_add(1),
        "sets.equivalent" => at(0).saturating_mul(at(1)).saturating_mul(2).saturating_add(1),
        "@in" if shapes.get(1).is_some_and(|shape| shape.is_list()) => at(1),
        "_==_" | "_!=_" => traverse(shared),
        "_<_" | "_<=_" | "_>_" | "_>=_" if !some_scalar => traverse(shared),
        "_+_" if !some_scalar && !shapes.iter().any(|shape| shape.is_list()) => traverse(at(0).saturating_add(at(1))),
        _ => 1,
    };
    guess(before.saturating_add(cost), made(name, overloads, member, args, &shapes, root))
}

fn squared(size: u64) -> u64 {
    size.saturating_mul(size)
}

/// What the elements of the first argument are.
fn at_inner(shapes: &[&Arc<Shape>]) -> Arc<Shape> {
    shapes.first().map_or_else(Shape::open, |list| list.inner())
}

/// How many elements are asked for, where that is written out.
fn counted(name: &str, args: &[(&Expr, Guess)]) -> Option<u64> {
    let number = |index: usize| match args.get(index).map(|(expr, _)| &expr.kind) {
        Some(Kind::Literal(Literal::Int(number))) => u64::try_from(*number).ok(),
        _ => None,
    };
    match name {
        "slice" => number(2)?.checked_sub(number(1)?),
        _ => Some(number(0).unwrap_or(u64::MAX)),
    }
}

/// One step for each element, more where they are texts; a text is gone through.
fn elements(target: Option<&Arc<Shape>>) -> u64 {
    let Some(target) = target else { return 1 };
    match &target.form {
        Form::List(inner) if matches!(inner.form, Form::Text) => {
            target.size.saturating_mul(1 + traverse(inner.size).min(u64::MAX - 1))
        }
        Form::List(_) => target.size,
        _ => traverse(target.size),
    }
}

/// The length of texts that are joined.
fn joined(shapes: &[&Arc<Shape>]) -> u64 {
    let Some(list) = shapes.first() else { return 0 };
    let between = shapes.get(1).map_or(0, |text| text.size).saturating_mul(list.size.saturating_sub(1));
    list.size.saturating_mul(list.inner().size).saturating_add(between)
}

/// The length of a text in which others were put in place of parts.
fn replaced(args: &[(&Expr, Guess)], shapes: &[&Arc<Shape>]) -> u64 {
    let at = |index: usize| shapes.get(index).map_or(0, |shape| shape.size);
    let (text, with) = (at(0), at(2));
    // Only what is written out has a least length.
    let least = match args.get(1).map(|(expr, _)| &expr.kind) {
        Some(Kind::Literal(Literal::Text(part))) => super::size(part.chars().count()),
        _ => 0,
    };
    match least {
        0 => text.saturating_add(1).saturating_mul(with).saturating_add(text),
        least if with <= least => text,
        least => text.div_ceil(least).saturating_mul(with),
    }
}

/// What a call makes.
fn made(
    name: &str,
    overloads: &[Overload],
    member: bool,
    args: &[(&Expr, Guess)],
    shapes: &[&Arc<Shape>],
    root: u64,
) -> Arc<Shape> {
    let at = |index: usize| shapes.get(index).copied().map_or_else(Shape::open, Arc::clone);
    match name {
        "lowerAscii" | "upperAscii" | "substring" | "trim" | "find" | "jsonpatch.escapeKey" => Shape::text(at(0).size),
        "string" | "bytes" if at(0).is_scalar() => Shape::text(PLAIN),
        "string" | "bytes" => Shape::text(at(0).size),
        "replace" => Shape::text(replaced(args, shapes)),
        "join" => Shape::text(joined(shapes)),
        "split" | "findAll" => {
            let limit = match args.get(2).map(|(expr, _)| &expr.kind) {
                Some(Kind::Literal(Literal::Int(limit))) => u64::try_from(*limit).unwrap_or(u64::MAX),
                _ => u64::MAX,
            };
            Shape::new(Form::List(super::element(Shape::text(at(0).size), root)), at(0).size.min(limit))
        }
        "sort" | "distinct" if member => Shape::new(at(0).form.clone(), squared(at(0).size)),
        "slice" if member => Shape::new(at(0).form.clone(), counted(name, args).unwrap_or(at(0).size)),
        "reverse" if member => at(0),
        "flatten" if member => Shape::new(Form::List(at(0).inner().inner()), at(0).size),
        "lists.range" => Shape::new(Form::List(Shape::scalar()), counted(name, args).unwrap_or(u64::MAX)),
        "dyn" | "value" | "or" | "orValue" | "optional.of" | "optional.ofNonZeroValue" => at(0),
        "_[_]" | "_[?_]" => at(0).inner(),
        "_+_" if at(0).is_list() => Shape::new(at(0).form.clone(), at(0).size.saturating_add(at(1).size)),
        "_+_" | "_-_" | "_*_" | "_/_" | "_%_" if at(0).is_scalar() || at(1).is_scalar() => Shape::scalar(),
        "min" | "max" | "sum" if member && at(0).inner().is_scalar() => Shape::scalar(),
        "_+_" => Shape::text(at(0).size.saturating_add(at(1).size)),
        _ => {
            let operator = name.starts_with(['_', '@', '!', '-']);
            let fits = |own: &&Overload| (operator || own.member == member) && own.params.len() == args.len();
            let mut results = overloads.iter().filter(fits).map(|own| &own.result).peekable();
            let plain = results.peek().is_some() && results.all(is_plain);
            if plain { Shape::scalar() } else { Shape::open() }
        }
    }
}

fn is_plain(result: &Type) -> bool {
    matches!(
        result,
        Type::Null
            | Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::Timestamp
            | Type::Duration
            | Type::Opaque(_)
    )
}
