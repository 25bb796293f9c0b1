//! Holding a value against a schema, in upstream's words.

use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::before::Before;
use super::format;
use super::node::{INT_OR_STRING, flag};
use crate::status::{ErrorKind, FieldErrors, Path, quote};

/// Validates values; holds the compiled patterns of the whole schema.
pub(super) struct Judge<'a> {
    pub patterns: &'a HashMap<String, Regex>,
    /// Whether what may be a number or a text is held to be one of them; of defaults that is not asked.
    pub strict_either: bool,
}

/// A text of a schema, empty where there is none.
pub(super) fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok())
}

/// The greatest number with a point that may stand for an integer.
const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;

/// How far from an integer a number may be that stands for one, as part of itself.
const EPSILON: f64 = 1e-9;

/// The name of a value's type in messages.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if !number.is_i64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match (wanted, value) {
        ("number", Value::Number(_)) => true,
        // A number without a fraction is an integer however it is written.
        ("integer", Value::Number(number)) => {
            number.is_i64() || number.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() <= MAX_INTEGER)
        }
        _ => type_of(value) == wanted,
    }
}

impl Judge<'_> {
    /// The whole object; its metadata is judged like that of every object.
    pub(super) fn root(&self, object: &Value, schema: &Value, errors: &mut FieldErrors) {
        self.whole(object, schema, None, errors);
    }

    /// The whole object where it was another one before.
    pub(super) fn changed(&self, object: &Value, old: &Value, schema: &Value, errors: &mut FieldErrors) {
        self.whole(object, schema, Some(Before { value: old, schema }), errors);
    }

    fn whole(&self, object: &Value, schema: &Value, old: Option<Before<'_>>, errors: &mut FieldErrors) {
        let mut found = FieldErrors::new();
        self.value(object, schema, old, &Path::ROOT, &mut found);
        found.0.iter_mut().filter(|error| error.path.is_empty()).for_each(|error| error.path = "<nil>".to_owned());
        errors.extend(found);
    }

    /// A value at a place, against the schema of that place. What is as it was (`old`) is let be, with all that it holds.
    pub(super) fn value(
        &self,
        value: &Value,
        schema: &Value,
        old: Option<Before<'_>>,
        path: &Path<'_>,
        errors: &mut FieldErrors,
    ) {
        if old.is_some_and(|old| old.is(value)) {
            return;
        }
        if value.is_null() && flag(schema, "nullable") {
            return enumerated(value, schema, path, errors);
        }
        let wanted = text(schema, "type");
        let either = flag(schema, INT_OR_STRING);
        let fits = if either {
            !self.strict_either || has_type(value, "integer") || value.is_string()
        } else {
            wanted.is_empty() || has_type(value, wanted)
        };
        if !fits {
            let found = type_of(value);
            let format = text(schema, "format");
            let sized = matches!((wanted, format), ("integer", "int32" | "int64") | ("number", "float" | "double"));
            let (wanted, found) = match value {
                _ if either => ("integer,string", found),
                Value::Number(_) if sized => (format, "float64"),
                Value::Bool(_) | Value::Object(_) if sized => (format, ""),
                _ => (wanted, found),
            };
            let detail = format!("{path} in body must be of type {wanted}: {found:?}");
            errors.push(ErrorKind::TypeInvalid, path, found, detail);
        }
        if value.is_null() {
            return enumerated(value, schema, path, errors);
        }
        self.choices(value, schema, path, errors);
        match value {
            Value::String(text) => self.string(text, schema, path, errors),
            Value::Number(_) => number(value, schema, path, errors),
            Value::Array(items) => self.list(items, schema, old, path, errors),
            _ => {}
        }
        enumerated(value, schema, path, errors);
        if let Value::Object(object) = value {
            self.object(object, schema, old, path, errors);
        }
    }

    /// The combinations of schemas. They look at the whole value, however much of it is as it was: what one part lets be would count
    /// for another one, or against `not`.
    fn choices(&self, value: &Value, schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
        let fits = |part: &&Value| {
            let mut inner = FieldErrors::new();
            self.value(value, part, None, path, &mut inner);
            inner.is_empty()
        };
        let parts = |name: &str| schema.get(name).and_then(Value::as_array).into_iter().flatten();
        // Upstream names the place in the words alone.
        let invalid = |why: &str, errors: &mut FieldErrors| {
            errors.invalid(&Path::new("<nil>"), "", format!("{} {why}", quote(&path.to_string())));
        };
        // What the first of them lacks is told, too.
        let first = |name: &str, errors: &mut FieldErrors| {
            let mut inner = FieldErrors::new();
            parts(name).take(1).for_each(|part| self.value(value, part, None, path, &mut inner));
            inner.0.retain(|error| !errors.0.contains(error));
            errors.extend(inner);
        };
        if schema.get("anyOf").is_some() && !parts("anyOf").any(|part| fits(&part)) {
            invalid("must validate at least one schema (anyOf)", errors);
            first("anyOf", errors);
        }
        if schema.get("oneOf").is_some() {
            match parts("oneOf").filter(fits).count() {
                1 => {}
                0 => {
                    invalid("must validate one and only one schema (oneOf). Found none valid", errors);
                    first("oneOf", errors);
                }
                many => invalid(
                    &format!("must validate one and only one schema (oneOf). Found {many} valid alternatives"),
                    errors,
                ),
            }
        }
        let (mut all, mut met) = (0, 0);
        for part in parts("allOf") {
            let before = errors.0.len();
            self.value(value, part, None, path, errors);
            all += 1;
            met += usize::from(errors.0.len() == before);
        }
        match met {
            _ if met == all => {}
            0 => invalid("must validate all the schemas (allOf). None validated", errors),
            _ => invalid("must validate all the schemas (allOf)", errors),
        }
        if schema.get("not").is_some_and(|part| fits(&part)) {
            invalid("must not validate the schema (not)", errors);
        }
    }

    fn string(&self, value: &str, schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
        let length = value.chars().count();
        let pattern = text(schema, "pattern");
        // The first of these is told.
        if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
            errors.too_long(path, max);
        } else if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
            errors.invalid(path, value, format!("{path} in body should be at least {min} chars long"));
        } else if self.patterns.get(pattern).is_some_and(|pattern| !pattern.is_match(value)) {
            errors.invalid(path, value, format!("{path} in body should match '{pattern}'"));
        }
        let format = text(schema, "format");
        if !format.is_empty() && !format::holds(format, value) {
            let why = format!("{} in body must be of type {format}: {}", path, quote(value));
            errors.push(ErrorKind::TypeInvalid, path, value, why);
        }
    }

    fn list(
        &self,
        items: &[Value],
        schema: &Value,
        old: Option<Before<'_>>,
        path: &Path<'_>,
        errors: &mut FieldErrors,
    ) {
        let inner = schema.get("items").filter(|inner| inner.is_object());
        let known = old.and_then(|old| Some((old, old.elements()?)));
        for (index, (item, inner)) in items.iter().zip(inner.into_iter().cycle()).enumerate() {
            let before = known.as_ref().and_then(|(old, known)| old.element(known, item));
            self.value(item, inner, before, &path.index(index), errors);
        }
        if let Some(min) = limit(schema, "minItems").filter(|min| items.len() < *min) {
            errors.invalid(path, items.len(), format!("{path} in body should have at least {min} items"));
        }
        if let Some(max) = limit(schema, "maxItems").filter(|max| items.len() > *max) {
            errors.too_many(path, items.len(), max);
        }
        unique(items, schema, path, errors);
    }

    fn object(
        &self,
        object: &Map<String, Value>,
        schema: &Value,
        old: Option<Before<'_>>,
        path: &Path<'_>,
        errors: &mut FieldErrors,
    ) {
        if let Some(max) = limit(schema, "maxProperties").filter(|max| object.len() > *max) {
            errors.too_many(path, object.len(), max);
        }
        if let Some(min) = limit(schema, "minProperties").filter(|min| object.len() < *min) {
            errors.invalid(path, object.len(), format!("{path} in body should have at least {min} properties"));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let values = schema.get("additionalProperties");
        for (name, value) in object {
            let inner = properties.and_then(|properties| properties.get(name));
            let before = old.and_then(|old| old.field(name));
            match (inner, values) {
                (Some(inner), _) => self.value(value, inner, before, &path.child(name), errors),
                (None, Some(values @ Value::Object(_))) => {
                    self.value(value, values, before, &path.child(name), errors);
                }
                (None, Some(Value::Bool(false))) => {
                    errors.invalid(path, value.clone(), format!("{name} in body is a forbidden property"));
                }
                _ => {}
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                errors.required(&path.child(name), "");
            }
        }
    }
}

/// One of the values that may be.
fn enumerated(value: &Value, schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(choices) = schema.get("enum").and_then(Value::as_array) else { return };
    // To upstream null is none of the values that may be, even where it stands among them.
    if choices.is_empty() || choices.iter().any(|choice| !value.is_null() && is_choice(value, choice)) {
        return;
    }
    let shown = |choice: &Value| choice.as_str().map_or_else(|| quote(&choice.to_string()), quote);
    let list: Vec<String> = choices.iter().map(shown).collect();
    errors.push(ErrorKind::NotSupported, path, value.clone(), format!("supported values: {}", list.join(", ")));
}

/// Whether a value is one that may be. Numbers are held against each other in the form of the one that may be: an integer knows nothing
/// behind the point.
fn is_choice(value: &Value, choice: &Value) -> bool {
    let (Some(own), Some(other)) = (value.as_f64(), choice.as_f64()) else { return value == choice };
    match (value.is_f64(), choice.is_f64()) {
        (true, false) => own.trunc() == other,
        (false, true) => own == other,
        _ => value == choice,
    }
}

/// Whether a number is another one some times over, as exactly as numbers with a point can tell.
fn is_multiple(value: &Value, step: &Value) -> bool {
    if let (Some(value), Some(step)) = (value.as_i64(), step.as_i64()) {
        return value.checked_rem(step) == Some(0);
    }
    let (Some(value), Some(step)) = (value.as_f64(), step.as_f64()) else { return false };
    let times = if step < 1.0 { 1.0 / step * value } else { value / step };
    let (off, size) = (times.fract().abs(), times.abs() + times.trunc().abs());
    times.abs() <= MAX_INTEGER && (off == 0.0 || off / size < EPSILON)
}

/// Sets have no equal elements, keyed lists no equal keys.
fn unique(items: &[Value], schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let keys: Vec<&str> = match text(schema, "x-kubernetes-list-type") {
        "set" => Vec::new(),
        "map" => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            keys.into_iter().flatten().filter_map(Value::as_str).collect()
        }
        _ if flag(schema, "uniqueItems") => Vec::new(),
        _ => return,
    };
    // Each is told once, where it comes for the second time.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        if !keys.is_empty() && item.is_null() {
            continue;
        }
        if !keys.is_empty() && !item.is_object() {
            errors.invalid(&path.index(index), item.clone(), "must be an object for an array of list-type map");
            continue;
        }
        let identity: Value = match keys.as_slice() {
            [] => item.clone(),
            keys => keys.iter().filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone()))).collect(),
        };
        let times = seen.entry(identity.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.duplicate(&path.index(index), identity);
        }
    }
}

fn number(value: &Value, schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(number) = value.as_f64() else { return };
    let bound = |name: &str| {
        let bound = schema.get(name).filter(|bound| bound.is_number())?;
        // Integers are held against integers: upstream cuts off what is behind the point.
        let cut = bound.as_f64().filter(|bound| !value.is_f64() && bound.abs() < MAX_INTEGER);
        let bound = cut.map_or_else(|| bound.clone(), |bound| Value::from(bound.trunc() as i64));
        Some((bound.as_f64()?, bound))
    };
    let refuse = |why: String, errors: &mut FieldErrors| {
        errors.invalid(path, value.clone(), format!("{path} in body {why}"));
    };
    let format = text(schema, "format");
    let fits = match (text(schema, "type"), format) {
        ("integer", "int32") => {
            has_type(value, "integer") && number.abs() <= 2_147_483_648.0 && number < 2_147_483_648.0
        }
        ("integer", _) => has_type(value, "integer"),
        _ => true,
    };
    if !fits {
        let known = matches!(format, "int32" | "int64");
        let format = if known { format!("with format {format}") } else { "(default format)".to_owned() };
        let why = format!("Checked value must be of type integer {format} in {path}");
        errors.invalid(&Path::new("<nil>"), "", why);
    }
    if let Some((step, shown)) = bound("multipleOf") {
        if step <= 0.0 {
            let why = format!("factor MultipleOf declared for {path} must be positive: {shown}");
            errors.invalid(path, shown, why);
        } else if !is_multiple(value, &shown) {
            refuse(format!("should be a multiple of {shown}"), errors);
        }
    }
    if let Some((min, shown)) = bound("minimum") {
        match flag(schema, "exclusiveMinimum") {
            true if number <= min => refuse(format!("should be greater than {shown}"), errors),
            false if number < min => refuse(format!("should be greater than or equal to {shown}"), errors),
            _ => {}
        }
    }
    if let Some((max, shown)) = bound("maximum") {
        match flag(schema, "exclusiveMaximum") {
            true if number >= max => refuse(format!("should be less than {shown}"), errors),
            false if number > max => refuse(format!("should be less than or equal to {shown}"), errors),
            _ => {}
        }
    }
}
