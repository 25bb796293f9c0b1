//! The Common Expression Language as Kubernetes speaks it (KEP-2876, KEP-3488).
//!
//! [`Env`] says which names an expression may use and compiles it to a [`Program`]: `parse` makes a tree (macros included), `check`
//! finds what is wrong before anything runs, worded and placed as clients know it. A [`Context`] holds values and a budget and runs
//! programs: `eval` walks the tree, `cost` tells beforehand what that costs at most, `registry` holds the functions of `lib`. Objects are borrowed ([`Value::Json`]), never copied.
//!
//! [`device`] is the one environment that two programs share: selectors of devices are refused where they are written and judged
//! where pods are scheduled.
//!
//! Invariants: nothing panics on what a client wrote; length and depth of expressions are bounded when they are parsed, work by the
//! budget when they run; nothing reads a clock or does IO. Answers of the authorizer are fetched by the caller: evaluation stops with
//! [`Failure::Ask`] and is begun again with the answer ([`Context::set_answers`]).

mod ast;
mod check;
mod cost;
pub mod device;
mod env;
mod eval;
mod issue;
mod library;
mod parse;
mod program;
mod registry;
mod schema;
mod types;
mod value;

use library as lib;

pub use cost::Shape;
pub use env::{CompileError, Env, json_patch, object};
pub use eval::{Context, Failure};
pub use lib::{Answer, Authz, Question, Semver, Url, parse_duration};
pub use program::Program;
pub use schema::{metadata, of_kind, of_openapi, with_identity};
pub use types::{Fields, Record, Type};
pub use value::{Text, Value};

/// What one expression may cost; upstream's figure.
pub const EXPRESSION_LIMIT: u64 = 1_000_000;
/// What all expressions of a policy or a custom object may cost together; upstream's figure.
pub const REQUEST_BUDGET: u64 = 10_000_000;
/// What the match conditions of a webhook may cost together; upstream's figure.
pub const CONDITIONS_BUDGET: u64 = REQUEST_BUDGET / 4;

/// The type of amounts.
#[must_use]
pub fn quantity() -> Type {
    Type::Opaque(lib::QUANTITY)
}

/// The type of `authorizer`.
#[must_use]
pub fn authorizer() -> Type {
    Type::Opaque(lib::AUTHORIZER)
}
