//! A walk over a YAML value that remembers where it is, what was wrong, and which keys nobody asked for.
//!
//! serde stops at the first error and knows no paths; an operator at a console wants them all at once.

use crate::error::FieldError;
use serde_yaml_ng::{Mapping, Value};
use std::str::FromStr;

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<FieldError>,
    pub(crate) unknown: Vec<String>,
}

impl Findings {
    pub(crate) fn refuse(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(FieldError { path: path.into(), reason: reason.into() });
    }
}

/// One mapping of the document; keys are taken out as they are read, the rest are unknown.
pub(crate) struct Section {
    path: String,
    map: Mapping,
}

impl Section {
    /// The root of a document, or nothing (and a finding) when it is not a mapping.
    pub(crate) fn root(value: Value, out: &mut Findings) -> Option<Section> {
        Section::at(String::new(), value, out)
    }

    fn at(path: String, value: Value, out: &mut Findings) -> Option<Section> {
        match value {
            Value::Mapping(map) => Some(Section { path, map }),
            other => {
                let what = if path.is_empty() { "the document" } else { "it" };
                out.refuse(path, format!("must be a mapping of keys to values, but {what} is {}", kind(&other)));
                None
            }
        }
    }

    /// Path of this section.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Path of `key` below this section.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a key; `null` counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// A text. Numbers and booleans are taken as they would be printed: a hostname may be `007`-like and unquoted.
    pub(crate) fn string(&mut self, key: &str, out: &mut Findings) -> Option<String> {
        let value = self.take(key)?;
        scalar(&self.path_of(key), value, out)
    }

    /// A truth value.
    pub(crate) fn boolean(&mut self, key: &str, out: &mut Findings) -> Option<bool> {
        match self.take(key)? {
            Value::Bool(value) => Some(value),
            other => {
                out.refuse(self.path_of(key), format!("must be true or false, not {}", show(&other)));
                None
            }
        }
    }

    /// A whole number within `min..=max`.
    pub(crate) fn number(&mut self, key: &str, min: u32, max: u32, out: &mut Findings) -> Option<u32> {
        let value = self.take(key)?;
        let found = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (min..=max).contains(n));
        if found.is_none() {
            out.refuse(self.path_of(key), format!("must be a whole number from {min} to {max}, not {}", show(&value)));
        }
        found
    }

    /// A text that `T` reads; `what` names the wanted form.
    pub(crate) fn parsed<T: FromStr>(&mut self, key: &str, what: &str, out: &mut Findings) -> Option<T> {
        let text = self.string(key, out)?;
        read(&self.path_of(key), &text, what, out)
    }

    /// A nested mapping.
    pub(crate) fn section(&mut self, key: &str, out: &mut Findings) -> Option<Section> {
        let value = self.take(key)?;
        Section::at(self.path_of(key), value, out)
    }

    /// A list of mappings of at most `max` entries.
    pub(crate) fn sections(&mut self, key: &str, max: usize, out: &mut Findings) -> Vec<Section> {
        let path = self.path_of(key);
        self.list(key, max, out)
            .into_iter()
            .enumerate()
            .filter_map(|(i, value)| Section::at(format!("{path}[{i}]"), value, out))
            .collect()
    }

    /// A list of texts, each with its path.
    pub(crate) fn strings(&mut self, key: &str, max: usize, out: &mut Findings) -> Vec<(String, String)> {
        let path = self.path_of(key);
        let mut texts = Vec::new();
        for (i, value) in self.list(key, max, out).into_iter().enumerate() {
            let item = format!("{path}[{i}]");
            if let Some(text) = scalar(&item, value, out) {
                texts.push((item, text));
            }
        }
        texts
    }

    /// A list of texts that `T` reads.
    pub(crate) fn parsed_list<T: FromStr>(&mut self, key: &str, max: usize, what: &str, out: &mut Findings) -> Vec<T> {
        self.strings(key, max, out).into_iter().filter_map(|(path, text)| read(&path, &text, what, out)).collect()
    }

    /// A mapping of texts to texts, in document order, each with its path.
    pub(crate) fn pairs(&mut self, key: &str, max: usize, out: &mut Findings) -> Vec<(String, String, String)> {
        let Some(section) = self.section(key, out) else { return Vec::new() };
        if section.map.len() > max {
            out.refuse(section.path, format!("has {} entries; at most {max} are allowed", section.map.len()));
            return Vec::new();
        }
        let mut pairs = Vec::new();
        for (name, value) in section.map {
            let Some(name) = scalar(&section.path, name, out) else { continue };
            let path = format!("{}[{name}]", section.path);
            if let Some(value) = if value.is_null() { Some(String::new()) } else { scalar(&path, value, out) } {
                pairs.push((path, name, value));
            }
        }
        pairs
    }

    pub(crate) fn list(&mut self, key: &str, max: usize, out: &mut Findings) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Sequence(items)) if items.len() <= max => items,
            Some(Value::Sequence(items)) => {
                out.refuse(self.path_of(key), format!("has {} entries; at most {max} are allowed", items.len()));
                Vec::new()
            }
            Some(other) => {
                out.refuse(self.path_of(key), format!("must be a list, not {}", show(&other)));
                Vec::new()
            }
        }
    }

    /// Ends the reading of a section: what is left was not known.
    pub(crate) fn finish(self, out: &mut Findings) {
        for (key, _) in &self.map {
            let key = key.as_str().map_or_else(|| show(key), str::to_owned);
            out.unknown.push(self.path_of(&key));
        }
    }
}

fn scalar(path: &str, value: Value, out: &mut Findings) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        other => {
            out.refuse(path, format!("must be a text, not {}", kind(&other)));
            None
        }
    }
}

fn read<T: FromStr>(path: &str, text: &str, what: &str, out: &mut Findings) -> Option<T> {
    let parsed = text.trim().parse().ok();
    if parsed.is_none() {
        out.refuse(path, format!("must be {what}, not {}", quote(text)));
    }
    parsed
}

/// A value for an error message: short, quoted, never a whole document.
pub(crate) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tagged value",
    }
}
