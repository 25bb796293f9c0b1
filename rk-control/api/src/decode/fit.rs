//! Holding a value against its schema: types checked, scalars in canonical form, unknown fields dropped, zero values as the
//! API writes them (what is optional and zero goes, what is always written appears).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::DecodeError;
use super::go;
use crate::meta::{Quantity, canonical_micro_time, canonical_time};
use crate::schema::{Schema, Shape};
use crate::status::Path;

/// How an object is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As stored and answered: zero values dropped or filled in as upstream's encoder does.
    Canonical,
    /// As the client gave it (server-side apply): only scalars are canonical, and nulls go.
    AsGiven,
}

/// Drops nulls and unknown fields in place, brings the rest into the wanted form, and returns the paths of unknown fields.
///
/// # Errors
/// A value of the wrong type, in upstream's words.
pub fn fit(value: &mut Value, schema: &Schema, form: Form) -> Result<Vec<String>, DecodeError> {
    let mut fitter = Fitter { form, unknown: Vec::new() };
    let at = go::Place { parent: None, owner: "", field: "" };
    fitter.value(value, schema, &Path::ROOT, &at)?;
    Ok(fitter.unknown)
}

/// The greatest number up to which all whole ones can be told apart as floating point numbers.
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

struct Fitter {
    form: Form,
    unknown: Vec<String>,
}

impl Fitter {
    fn value(
        &mut self,
        value: &mut Value,
        schema: &Schema,
        path: &Path<'_>,
        at: &go::Place<'_>,
    ) -> Result<(), DecodeError> {
        let resolved = schema.resolve(value);
        let schema = &resolved;
        if !schema.is_fixed()
            && let Some(number) = whole(value)
        {
            *value = number.into();
        }
        let fits = match (schema.shape(), &mut *value) {
            (Shape::Any, _) if schema.as_made().is_none() => true,
            (Shape::Object, Value::Object(_)) => return self.object(value, schema, path, at),
            (Shape::Map, Value::Object(entries)) => {
                let item = schema.item();
                for (key, entry) in entries.iter_mut() {
                    self.entry(entry, &item, &path.child(key), at)?;
                }
                true
            }
            (Shape::List, Value::Array(items)) => {
                let item = schema.item();
                for (index, entry) in items.iter_mut().enumerate() {
                    self.entry(entry, &item, &path.index(index), at)?;
                }
                true
            }
            (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => true,
            (Shape::Int32, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Shape::Int64, Value::Number(n)) => n.is_i64(),
            (Shape::Double, Value::Number(_)) => true,
            (Shape::Bytes, Value::String(text)) => {
                let clean: &str = text;
                if let Err(error) = STANDARD.decode(clean) {
                    return Err(DecodeError::Type(go::base64_error(&error)));
                }
                true
            }
            (Shape::Quantity, Value::String(_) | Value::Number(_)) => return quantity(value),
            (Shape::Time, Value::String(text)) => return time(text, canonical_time),
            (Shape::MicroTime, Value::String(text)) => return time(text, canonical_micro_time),
            (Shape::IntOrString, Value::String(_)) => true,
            (Shape::IntOrString, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            _ if schema.is_fixed() => false,
            // Whether a value is of the right type is judged by the rules of its kind, where these are made at run time.
            _ => {
                if !schema.as_made().is_some_and(|node| node.open) {
                    self.empty(value, path);
                }
                true
            }
        };
        if fits { Ok(()) } else { Err(DecodeError::Type(go::type_error(value, schema, at))) }
    }

    /// Takes the fields out of objects where none is meant, as a scalar or in a list of another form: nobody knows them.
    fn empty(&mut self, value: &mut Value, path: &Path<'_>) {
        match value {
            Value::Object(fields) if self.form == Form::Canonical => {
                self.unknown.extend(fields.keys().map(|key| path.child(key).to_string()));
                fields.clear();
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.empty(item, &path.index(index));
                }
            }
            _ => {}
        }
    }

    /// One entry of a map or list, where null stands for a value that says nothing.
    fn entry(
        &mut self,
        entry: &mut Value,
        item: &Schema,
        path: &Path<'_>,
        at: &go::Place<'_>,
    ) -> Result<(), DecodeError> {
        if entry.is_null() && item.is_fixed() {
            *entry = zero(item);
            return Ok(());
        }
        self.value(entry, item, path, at)
    }

    fn object(
        &mut self,
        value: &mut Value,
        schema: &Schema,
        path: &Path<'_>,
        at: &go::Place<'_>,
    ) -> Result<(), DecodeError> {
        let Value::Object(object) = value else {
            return Ok(());
        };
        let mut dropped = Vec::new();
        for (key, entry) in object.iter_mut() {
            let Some(field) = schema.field(key) else {
                self.unknown.push(path.child(key).to_string());
                dropped.push(key.clone());
                continue;
            };
            if !entry.is_null() {
                let at = go::Place { parent: Some(at), owner: schema.type_name(), field: key };
                self.value(entry, &field, &path.child(key), &at)?;
            }
            if self.is_dropped(entry, &field) {
                dropped.push(key.clone());
            }
        }
        for key in dropped {
            object.remove(&key);
        }
        if self.form == Form::Canonical {
            fill(object, schema);
        }
        Ok(())
    }

    fn is_dropped(&self, value: &Value, field: &Schema) -> bool {
        match value {
            // Of kinds made at run time, a null that is no value gives way to the default, but is owned where it is applied.
            Value::Null => {
                field.is_fixed()
                    || self.form == Form::Canonical
                        && field.as_made().is_some_and(|node| !node.nullable && node.default.is_some())
            }
            _ if !field.is_fixed() => false,
            _ if field.is_off() => true,
            _ if self.form == Form::AsGiven || field.is_written() => false,
            Value::Array(items) => items.is_empty() && field.shape() == Shape::List,
            Value::Object(entries) => entries.is_empty() && field.shape() == Shape::Map,
            _ if field.is_pointer() => false,
            Value::String(text) => text.is_empty(),
            Value::Bool(flag) => !flag,
            Value::Number(number) => {
                number.as_f64() == Some(0.0) && matches!(field.shape(), Shape::Int32 | Shape::Int64 | Shape::Double)
            }
        }
    }
}

/// Adds the fields that are always written.
fn fill(object: &mut crate::Object, schema: &Schema) {
    for (name, field) in schema.written_fields() {
        if !object.contains_key(name) {
            object.insert(name.to_owned(), zero(&field));
        }
    }
}

/// The zero value of a field that is always written.
fn zero(schema: &Schema) -> Value {
    if schema.is_pointer() {
        return Value::Null;
    }
    match schema.shape() {
        Shape::Object => {
            let mut object = crate::Object::new();
            fill(&mut object, schema);
            Value::Object(object)
        }
        Shape::String => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Map | Shape::List | Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Any => Value::Null,
    }
}

/// The number that a fraction of nothing stands for: upstream's encoder writes `5.0` as `5`, and reads that as an integer.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_number().filter(|number| number.is_f64())?.as_f64()?;
    (number.fract() == 0.0 && number.abs() <= MAX_WHOLE).then_some(number as i64)
}

fn quantity(value: &mut Value) -> Result<(), DecodeError> {
    let text = match &*value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let parsed: Quantity = text.parse().map_err(|e: crate::meta::QuantityError| DecodeError::Type(e.to_string()))?;
    *value = json!(parsed.to_string());
    Ok(())
}

fn time(text: &mut String, canonical: fn(&str) -> Option<String>) -> Result<(), DecodeError> {
    *text = canonical(text).ok_or_else(|| DecodeError::Type(go::time_error(text)))?;
    Ok(())
}
