//! Functions of strings. Positions are counted in characters.

use rk_api::status::escape;

use super::{Made, count, failed, int, items, no_overload, text};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("contains", ".SS>B", |_, a| Ok(Value::Bool(text(a, 0).contains(text(a, 1))))),
    Row("startsWith", ".SS>B", |_, a| Ok(Value::Bool(text(a, 0).starts_with(text(a, 1))))),
    Row("endsWith", ".SS>B", |_, a| Ok(Value::Bool(text(a, 0).ends_with(text(a, 1))))),
    Row("charAt", ".SI>S", |_, a| {
        let (letters, at) = (text(a, 0).chars().count(), int(a, 1));
        match usize::try_from(at) {
            Ok(at) if at <= letters => Ok(Value::text(text(a, 0).chars().skip(at).take(1).collect::<String>())),
            _ => failed(format!("index out of range: {at}")),
        }
    }),
    Row("indexOf", ".SS>I", |_, a| index_of(a, 0)),
    Row("indexOf", ".SSI>I", |_, a| index_of(a, int(a, 2))),
    Row("lastIndexOf", ".SS>I", |_, a| last_index_of(a, None)),
    Row("lastIndexOf", ".SSI>I", |_, a| last_index_of(a, Some(int(a, 2)))),
    Row("lowerAscii", ".S>S", |_, a| Ok(Value::text(text(a, 0).to_ascii_lowercase()))),
    Row("upperAscii", ".S>S", |_, a| Ok(Value::text(text(a, 0).to_ascii_uppercase()))),
    Row("replace", ".SSS>S", |c, a| {
        c.charge(grown(a, i64::MAX))?;
        Ok(Value::text(text(a, 0).replace(text(a, 1), text(a, 2))))
    }),
    Row("replace", ".SSSI>S", |c, a| {
        c.charge(grown(a, int(a, 3)))?;
        let times = usize::try_from(int(a, 3)).unwrap_or(usize::MAX);
        Ok(Value::text(text(a, 0).replacen(text(a, 1), text(a, 2), times)))
    }),
    Row("split", ".SS>LS", |_, a| split(a, -1)),
    Row("split", ".SSI>LS", |_, a| split(a, int(a, 2))),
    Row("substring", ".SI>S", |_, a| substring(a, i64::MAX)),
    Row("substring", ".SII>S", |_, a| substring(a, int(a, 2))),
    Row("trim", ".S>S", |_, a| Ok(Value::text(text(a, 0).trim()))),
    Row("join", ".LS>S", |_, a| join(a, "")),
    Row("join", ".LSS>S", |_, a| join(a, text(a, 1))),
    Row("strings.quote", "S>S", |_, a| Ok(Value::text(quoted(text(a, 0))))),
    Row("jsonpatch.escapeKey", "S>S", |_, a| Ok(Value::text(text(a, 0).replace('~', "~0").replace('/', "~1")))),
];

/// In quotes; only what has a letter for it is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match escape(letter) {
            Some(escaped) => out.push_str(escaped),
            None => out.push(letter),
        }
    }
    out + "\""
}

/// What a replacement costs: as much as what it makes may be long.
fn grown(args: &[Value<'_>], times: i64) -> u64 {
    let (letters, by) = (text(args, 0).len() as u64 + 1, text(args, 2).len() as u64);
    let times = u64::try_from(times).unwrap_or(u64::MAX).min(letters);
    (letters + times.saturating_mul(by)) / 10
}

/// The position in characters of a position in bytes.
fn letters_before(text: &str, bytes: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < bytes).count()
}

/// The position in bytes of a position in characters.
fn bytes_before(text: &str, letters: usize) -> usize {
    text.char_indices().nth(letters).map_or(text.len(), |(at, _)| at)
}

/// Where a search for nothing ends: where it began, within the text.
fn nothing<'a>(from: usize, letters: usize) -> Made<'a> {
    Ok(count(from.min(letters)))
}

fn index_of<'a>(args: &[Value<'a>], from: i64) -> Made<'a> {
    let (own, wanted) = (text(args, 0), text(args, 1));
    let letters = own.chars().count();
    let Ok(from) = usize::try_from(from) else { return failed(format!("index out of range: {from}")) };
    if wanted.is_empty() {
        return nothing(from, letters);
    }
    if from >= letters {
        return Ok(Value::Int(-1));
    }
    let start = bytes_before(own, from);
    let found = own.get(start..).and_then(|rest| rest.find(wanted));
    Ok(found.map_or(Value::Int(-1), |at| count(letters_before(own, start + at))))
}

/// `to` is the last place that counts; all of them do without it.
fn last_index_of<'a>(args: &[Value<'a>], to: Option<i64>) -> Made<'a> {
    let (own, wanted) = (text(args, 0), text(args, 1));
    let letters = own.chars().count();
    let to = match to.map(usize::try_from) {
        None => letters,
        Some(Ok(to)) if to >= letters && !wanted.is_empty() => return Ok(Value::Int(-1)),
        Some(Ok(to)) => to,
        Some(Err(_)) => return failed(format!("index out of range: {}", int(args, 2))),
    };
    if wanted.is_empty() {
        return nothing(to, letters);
    }
    let end = bytes_before(own, to).saturating_add(wanted.len()).min(own.len());
    let end = (end..=own.len()).find(|end| own.is_char_boundary(*end)).unwrap_or(own.len());
    let found = own.get(..end).and_then(|part| part.rfind(wanted));
    Ok(found.map_or(Value::Int(-1), |at| count(letters_before(own, at))))
}

fn split<'a>(args: &[Value<'a>], limit: i64) -> Made<'a> {
    let (own, by) = (text(args, 0), text(args, 1));
    // Without a separator every character is a part.
    let all: Vec<String> = if by.is_empty() {
        own.chars().map(String::from).collect()
    } else {
        own.split(by).map(str::to_owned).collect()
    };
    let parts = match usize::try_from(limit) {
        Err(_) => all,
        Ok(0) => Vec::new(),
        Ok(limit) if all.len() > limit => {
            let (first, rest) = all.split_at(limit - 1);
            first.iter().cloned().chain([rest.join(by)]).collect()
        }
        Ok(_) => all,
    };
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

fn substring<'a>(args: &[Value<'a>], end: i64) -> Made<'a> {
    let own = text(args, 0);
    let length = i64::try_from(own.chars().count()).unwrap_or(i64::MAX);
    let (start, open) = (int(args, 1), end == i64::MAX);
    let end = if open { length } else { end };
    if !open && start > end {
        return failed(format!("invalid substring range. start: {start}, end: {end}"));
    }
    if start < 0 || start > length {
        return failed(format!("index out of range: {start}"));
    }
    if end < 0 || end > length {
        return failed(format!("index out of range: {end}"));
    }
    let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else { return no_overload() };
    Ok(Value::text(own.chars().skip(start).take(end - start).collect::<String>()))
}

fn join<'a>(args: &[Value<'a>], by: &str) -> Made<'a> {
    let items = items(args, 0);
    let parts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    parts.map_or_else(no_overload, |parts| Ok(Value::text(parts.join(by))))
}
