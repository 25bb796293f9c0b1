//! The functions that expressions may call, in tables by subject.

mod amounts;
mod authz;
mod convert;
mod lists;
mod named;
mod net;
mod operators;
mod optional;
mod regexes;
mod semver;
mod sets;
mod strings;
mod template;
mod time;
mod url;

pub use authz::{Answer, Authz, Question};
pub use semver::Semver;
pub use time::parse_duration;
pub use url::Url;

pub(crate) use convert::decode_base64;
pub(crate) use regexes::pattern;
pub(crate) use template::{fill_template, refusal};
pub(crate) use time::{parse_time, show_duration, show_time};

use crate::eval::Failure;
use crate::registry::Row;
use crate::value::Value;

pub(crate) const QUANTITY: &str = "kubernetes.Quantity";
pub(crate) const URL: &str = "kubernetes.URL";
pub(crate) const IP: &str = "net.IP";
pub(crate) const CIDR: &str = "net.CIDR";
pub(crate) const SEMVER: &str = "kubernetes.Semver";
pub(crate) const FORMAT: &str = "kubernetes.NamedFormat";
pub(crate) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(crate) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(crate) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(crate) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(crate) const DECISION: &str = "kubernetes.authorization.Decision";

/// Every function.
pub(crate) static TABLES: &[&[Row]] = &[
    operators::TABLE,
    operators::COMPARISONS,
    convert::TABLE,
    strings::TABLE,
    template::TABLE,
    regexes::TABLE,
    lists::TABLE,
    sets::TABLE,
    time::TABLE,
    time::PARTS,
    optional::TABLE,
    amounts::TABLE,
    url::TABLE,
    net::TABLE,
    named::TABLE,
    named::FORMATS,
    semver::TABLE,
    authz::TABLE,
];

type Made<'a> = Result<Value<'a>, Failure>;

/// The text in place `index`; the signature says that it is text.
fn text<'c>(args: &'c [Value<'_>], index: usize) -> &'c str {
    args.get(index).and_then(Value::as_str).unwrap_or_default()
}

fn int(args: &[Value<'_>], index: usize) -> i64 {
    match args.get(index) {
        Some(Value::Int(int)) => *int,
        _ => 0,
    }
}

fn double(args: &[Value<'_>], index: usize) -> f64 {
    match args.get(index) {
        Some(Value::Double(double)) => *double,
        Some(Value::Int(int)) => *int as f64,
        Some(Value::Uint(uint)) => *uint as f64,
        _ => 0.0,
    }
}

fn items<'a>(args: &[Value<'a>], index: usize) -> Vec<Value<'a>> {
    args.get(index).and_then(Value::items).unwrap_or_default()
}

fn no_overload<'a>() -> Made<'a> {
    Err(Failure::new("no such overload"))
}

fn failed<'a>(why: impl Into<String>) -> Made<'a> {
    Err(Failure::new(why))
}

/// A length or position as an integer.
fn count<'a>(length: usize) -> Value<'a> {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}
