//! URLs, absolute ones and absolute paths.

use std::sync::Arc;

use super::{Made, failed, no_overload, text};
use crate::registry::Row;
use crate::value::Value;

/// The parts of a URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) const TABLE: &[Row] = &[
    Row("url", "S>W", |_, a| match Url::parse(text(a, 0)) {
        Some(url) => Ok(Value::Url(Arc::new(url))),
        None => failed(format!(
            "URL parse error during conversion from string: parse {:?}: invalid URI for request",
            text(a, 0)
        )),
    }),
    Row("isURL", "S>B", |_, a| Ok(Value::Bool(Url::parse(text(a, 0)).is_some()))),
    Row("getScheme", ".W>S", |_, a| part(a, |url| url.scheme.clone())),
    Row("getHost", ".W>S", |_, a| part(a, |url| url.host.clone())),
    Row("getHostname", ".W>S", |_, a| part(a, |url| split(&url.host).0.trim_matches(['[', ']']).to_owned())),
    Row("getPort", ".W>S", |_, a| part(a, |url| split(&url.host).1.to_owned())),
    Row("getEscapedPath", ".W>S", |_, a| part(a, |url| url.path.clone())),
    Row("getQuery", ".W>MSLS", |_, a| match a {
        [Value::Url(url)] => Ok(query(&url.query)),
        _ => no_overload(),
    }),
];

/// Host and port.
fn split(host: &str) -> (&str, &str) {
    let after_brackets = host.rfind(']').map_or(0, |at| at + 1);
    match host.get(after_brackets..).and_then(|rest| rest.rfind(':')) {
        Some(at) => {
            let (name, port) = host.split_at(after_brackets + at);
            (name, port.trim_start_matches(':'))
        }
        None => (host, ""),
    }
}

impl Url {
    /// Reads an absolute URL or an absolute path.
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.chars().any(|letter| letter.is_control() || letter == ' ') {
            return None;
        }
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        let mut url = Url { query: query.split('#').next().unwrap_or_default().to_owned(), ..Url::default() };
        let rest = if query.is_empty() { rest.split('#').next().unwrap_or_default() } else { rest };
        if rest.starts_with('/') {
            url.path = rest.to_owned();
            return Some(url);
        }
        let (scheme, after) = rest.split_once(':')?;
        let mut letters = scheme.chars();
        let good = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
        if !good {
            return None;
        }
        url.scheme = scheme.to_ascii_lowercase();
        let Some(after) = after.strip_prefix("//") else {
            return after.starts_with('/').then(|| Url { path: after.to_owned(), ..url });
        };
        let end = after.find('/').unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or_default();
        let (name, port) = split(host);
        let fits = port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.starts_with('['));
        if !fits {
            return None;
        }
        url.host = host.to_owned();
        url.path = path.to_owned();
        Some(url)
    }
}

fn part<'a>(args: &[Value<'a>], of: fn(&Url) -> String) -> Made<'a> {
    match args {
        [Value::Url(url)] => Ok(Value::text(of(url))),
        _ => no_overload(),
    }
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (high, low) = (hex(bytes.next()), hex(bytes.next()));
                let (Some(high), Some(low)) = (high, low) else { continue };
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn query<'a>(text: &str) -> Value<'a> {
    let mut all: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (unescaped(key), Value::text(unescaped(value)));
        match all.iter_mut().find(|(own, _)| *own == key) {
            Some((_, values)) => values.push(value),
            None => all.push((key, vec![value])),
        }
    }
    let entries = all.into_iter().map(|(key, values)| (Value::text(key), Value::list(values)));
    Value::Map(Arc::new(entries.collect()))
}
