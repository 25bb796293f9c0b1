//! Literals of lists, maps and objects.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Context, Failure, Outcome, equal};
use crate::ast::{Entry, Expr};
use crate::parse::RESERVED;
use crate::value::Value;

impl<'a> Context<'a> {
    /// The value of an entry; `None` when it is optional and not there.
    fn entry<K>(&mut self, entry: &'a Entry<K>) -> Result<Option<Value<'a>>, Failure> {
        match (entry.optional, self.eval(&entry.value)?) {
            (false, value) => Ok(Some(value)),
            (true, Value::Optional(inner)) => Ok(inner.map(|inner| (*inner).clone())),
            (true, other) => Err(Failure::new(format!(
                "cannot initialize optional entry from non-optional value {}",
                other.type_name()
            ))),
        }
    }

    pub(super) fn list(&mut self, items: &'a [Entry<()>]) -> Outcome<'a> {
        self.charge(10)?;
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            out.extend(self.entry(item)?);
        }
        Ok(Value::list(out))
    }

    pub(super) fn map(&mut self, entries: &'a [Entry<Expr>]) -> Outcome<'a> {
        self.charge(30)?;
        let mut out: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = self.eval(&entry.key)?;
            insert(&mut out, key, |context| context.entry(entry), self)?;
        }
        Ok(Value::Map(Arc::new(out)))
    }

    pub(super) fn made(&mut self, name: &'a str, fields: &'a [Entry<String>]) -> Outcome<'a> {
        self.charge(40)?;
        let mut out = Vec::with_capacity(fields.len());
        for field in fields {
            if let Some(value) = self.entry(field)? {
                out.push((field.key.as_str(), value));
            }
        }
        Ok(Value::Made(name, Arc::new(out)))
    }
}

/// Puts an entry into a map that has no such key yet.
pub(super) fn insert<'a>(
    out: &mut Vec<(Value<'a>, Value<'a>)>,
    key: Value<'a>,
    value: impl FnOnce(&mut Context<'a>) -> Result<Option<Value<'a>>, Failure>,
    context: &mut Context<'a>,
) -> Result<(), Failure> {
    if !matches!(key, Value::Str(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_)) {
        return Err(Failure::new(format!("unsupported key type: {}", key.type_name())));
    }
    // Keys are compared one by one: as much work as it says.
    context.charge(u64::try_from(out.len() / 10).unwrap_or(0))?;
    if out.iter().any(|(own, _)| equal(own, &key)) {
        return Err(Failure::new("Failed with repeated key"));
    }
    if let Some(value) = value(context)? {
        out.push((key, value));
    }
    Ok(())
}

/// A field's name as it is in the object: names that the language does not allow are escaped in expressions.
pub(crate) fn without_escapes(name: &str) -> Cow<'_, str> {
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && (matches!(word, "true" | "false" | "null" | "in") || RESERVED.contains(&word))
    {
        return Cow::Owned(word.to_owned());
    }
    const PARTS: &[(&str, &str)] =
        &[("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
    let (mut out, mut rest) = (String::new(), name);
    while let Some(letter) = rest.chars().next() {
        let part = PARTS.iter().find_map(|(escape, plain)| Some((rest.strip_prefix(escape)?, plain)));
        rest = match part {
            Some((after, plain)) => {
                out.push_str(plain);
                after
            }
            None => {
                out.push(letter);
                rest.get(letter.len_utf8()..).unwrap_or_default()
            }
        };
    }
    Cow::Owned(out)
}
