//! Calls that are no functions: they bind names or look at their arguments unevaluated.

use super::Parser;
use crate::ast::{Expr, Fold, FoldOp, Kind};
use crate::issue::Issue;

/// `has(a.b)`.
pub(super) fn has(parser: &Parser, at: u32, mut args: Vec<Expr>) -> Result<Expr, Issue> {
    match (args.pop().map(|arg| arg.kind), args.is_empty()) {
        (Some(Kind::Select { on, field, test: false, optional: false }), true) => {
            parser.node(at, Kind::Select { on, field, test: true, optional: false })
        }
        _ => Err(Issue::new(at, "invalid argument to has() macro")),
    }
}

/// `cel.bind(name, init, body)`.
pub(super) fn bind(parser: &Parser, at: u32, args: Vec<Expr>) -> Result<Expr, Issue> {
    let [name, init, body]: [Expr; 3] =
        args.try_into().map_err(|_| Issue::new(at, "undeclared reference to 'cel' (in container '')"))?;
    let name = variable(name, "cel.bind() variable names must be simple identifiers")?;
    parser.node(at, Kind::Bind { name, init: Box::new(init), body: Box::new(body) })
}

fn variable(expr: Expr, why: &str) -> Result<String, Issue> {
    match expr.kind {
        Kind::Ident(name) => Ok(name),
        _ => Err(Issue::new(expr.at, why)),
    }
}

/// Calls on something: macros by name and number of arguments, else functions.
pub(super) fn member(parser: &Parser, at: u32, on: Expr, name: String, args: Vec<Expr>) -> Result<Expr, Issue> {
    // How many of the arguments are names; the last is what is made, one before it chooses.
    let (op, names) = match (name.as_str(), args.len()) {
        ("all", 2) => (FoldOp::All, 1),
        ("all", 3) => (FoldOp::All, 2),
        ("exists", 2) => (FoldOp::Exists, 1),
        ("exists", 3) => (FoldOp::Exists, 2),
        ("exists_one" | "existsOne", 2) => (FoldOp::ExistsOne, 1),
        ("exists_one" | "existsOne", 3) => (FoldOp::ExistsOne, 2),
        ("map", 2 | 3) => (FoldOp::Map, 1),
        ("filter", 2) => (FoldOp::Filter, 1),
        ("sortBy", 2) => (FoldOp::SortBy, 1),
        ("transformList", 3 | 4) => (FoldOp::Map, 2),
        ("transformMap", 3 | 4) => (FoldOp::TransformMap, 2),
        ("transformMapEntry", 3 | 4) => (FoldOp::TransformMapEntry, 2),
        ("optMap" | "optFlatMap", 2) => return on_optional(parser, at, on, &name, args),
        _ => {
            let mut all = vec![on];
            all.extend(args);
            return parser.call(at, &name, true, all);
        }
    };
    let why = match name.as_str() {
        "map" | "filter" => "argument is not an identifier",
        _ => "argument must be a simple name",
    };
    let mut args = args.into_iter();
    let names = args.by_ref().take(names).map(|name| variable(name, why)).collect::<Result<Vec<String>, Issue>>()?;
    let (first, second) = (args.next(), args.next());
    let (filter, body) = match (op, second) {
        (FoldOp::Map | FoldOp::SortBy | FoldOp::TransformMap | FoldOp::TransformMapEntry, None) => (None, first),
        (_, body) => (first, body),
    };
    parser.node(at, Kind::Fold(Box::new(Fold { op, range: on, names, filter, body })))
}

fn on_optional(parser: &Parser, at: u32, on: Expr, name: &str, args: Vec<Expr>) -> Result<Expr, Issue> {
    let mut args = args.into_iter();
    let (Some(bound), Some(body)) = (args.next(), args.next()) else {
        return Err(Issue::new(at, format!("{name}() takes a name and an expression")));
    };
    let bound = variable(bound, &format!("{name}() variable name must be a simple identifier"))?;
    let flat = name == "optFlatMap";
    parser.node(at, Kind::OnOptional { flat, on: Box::new(on), name: bound, body: Box::new(body) })
}
