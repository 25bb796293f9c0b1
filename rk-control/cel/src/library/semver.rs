//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Made, failed, no_overload, text};
use crate::registry::Row;
use crate::value::Value;

/// A version of semver.org 2.0.0; builds do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    /// What stands after the dash.
    before: Vec<String>,
}

pub(super) const TABLE: &[Row] = &[
    Row("semver", "S>V", |_, a| read(a)),
    Row("semver", "SB>V", |_, a| read(a)),
    Row("isSemver", "S>B", |_, a| Ok(Value::Bool(read(a).is_ok()))),
    Row("isSemver", "SB>B", |_, a| Ok(Value::Bool(read(a).is_ok()))),
    Row("major", ".V>I", |_, a| number(a, 0)),
    Row("minor", ".V>I", |_, a| number(a, 1)),
    Row("patch", ".V>I", |_, a| number(a, 2)),
    Row("isLessThan", ".VV>B", |_, a| compare(a, |order| Value::Bool(order.is_lt()))),
    Row("isGreaterThan", ".VV>B", |_, a| compare(a, |order| Value::Bool(order.is_gt()))),
    Row("compareTo", ".VV>I", |_, a| compare(a, |order| Value::Int(order as i64))),
];

fn read<'a>(args: &[Value<'a>]) -> Made<'a> {
    let lenient = matches!(args.get(1), Some(Value::Bool(true)));
    match Semver::parse(text(args, 0), lenient) {
        Some(version) => Ok(Value::Semver(Arc::new(version))),
        None => failed(format!("semver parse error on {:?}", text(args, 0))),
    }
}

fn number<'a>(args: &[Value<'a>], index: usize) -> Made<'a> {
    match args {
        [Value::Semver(version)] => {
            Ok(Value::Int(version.numbers.get(index).and_then(|n| i64::try_from(*n).ok()).unwrap_or(i64::MAX)))
        }
        _ => no_overload(),
    }
}

fn compare<'a>(args: &[Value<'a>], of: fn(Ordering) -> Value<'static>) -> Made<'a> {
    match args {
        [Value::Semver(a), Value::Semver(b)] => Ok(of(a.cmp(b))),
        _ => no_overload(),
    }
}

impl Semver {
    /// `lenient` takes a leading `v`, missing parts and leading zeros.
    pub(crate) fn parse(text: &str, lenient: bool) -> Option<Self> {
        let text = if lenient { text.trim_start_matches('v') } else { text };
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let leads = |part: &str| part.len() > 1 && part.starts_with('0');
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 || (!lenient && parts.len() < 3) {
            return None;
        }
        let mut numbers = [0; 3];
        for (slot, part) in numbers.iter_mut().zip(parts) {
            if !digits(part) || (!lenient && leads(part)) {
                return None;
            }
            *slot = part.parse().ok()?;
        }
        let before: Vec<String> = before.into_iter().flat_map(|before| before.split('.')).map(str::to_owned).collect();
        let good = before.iter().all(|part| word(part) && !(digits(part) && leads(part)));
        let good = good && build.is_none_or(|build| build.split('.').all(word));
        good.then_some(Semver { numbers, before })
    }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let number = |part: &String| part.parse::<u64>().ok();
                let part = |(a, b): (&String, &String)| match (number(a), number(b)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => a.cmp(b),
                };
                let first = self.before.iter().zip(&other.before).map(part).find(|order| order.is_ne());
                first.unwrap_or_else(|| self.before.len().cmp(&other.before.len()))
            }
        })
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
