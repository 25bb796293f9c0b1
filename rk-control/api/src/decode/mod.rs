//! From bytes to an object that fits its schema, with upstream's words for everything that does not fit.

mod error;
mod fit;
mod go;
mod identity;
mod json;
mod kept;
mod null;
mod number;
mod yaml;

use serde_json::Value;

use crate::schema::Schema;
pub use error::DecodeError;
pub use fit::{Form, fit};
pub use go::base64_error;
pub(crate) use go::found;
use identity::unregistered_options;
pub use identity::{TYPE_META, as_map, identify, identify_delete_options, still, unregistered, unregistered_in};
pub use kept::as_kept;
pub(crate) use number::INTEGERS;
pub use number::settle;

/// Bounds on outside data.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest accepted body, in bytes.
    pub bytes: usize,
    /// Deepest accepted nesting of objects and arrays.
    pub depth: usize,
}

impl Default for Limits {
    /// 3 MiB as upstream's request limit; nesting far beyond any real object.
    fn default() -> Self {
        Limits { bytes: 3 * 1024 * 1024, depth: 512 }
    }
}

/// What to do with unknown and duplicate fields (the `fieldValidation` parameter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// The parameter's value; empty means the default, `None` an unknown word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded object and what was noticed on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object; unknown fields are dropped, nulls are gone.
    pub object: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`: texts for `Warning` headers (only with [`FieldValidation::Warn`]).
    pub warnings: Vec<String>,
}

/// Decodes a JSON body.
///
/// # Errors
/// Malformed or too deep JSON, values that do not fit the schema, and with [`FieldValidation::Strict`] unknown or duplicate fields.
pub fn json(body: &[u8], schema: &Schema, mode: FieldValidation, limits: Limits) -> Result<Decoded, DecodeError> {
    let (mut object, duplicates) = json::parse(body, limits)?;
    identity::readable(&object)?;
    null::say_nothing(&mut object, schema);
    let unknown = taken(&mut object, schema, Form::Canonical)?;
    null::drop_nulls(&mut object, schema);
    if mode == FieldValidation::Ignore || (duplicates.is_empty() && unknown.is_empty()) {
        return Ok(Decoded { object, warnings: Vec::new() });
    }
    if schema.is_fixed() {
        return judge(object, json::in_order(body, &unknown, &duplicates), mode);
    }
    // Of custom objects all is read before the schema is held against it: what comes twice is told first.
    judge(object, with_unknown(json::in_order(body, &[], &duplicates), in_turn(unknown)), mode)
}

/// Decodes a YAML body, of which the first document counts, by the rules of YAML 1.1, as kube-apiserver v1.36 does.
///
/// # Errors
/// As [`json`].
pub fn yaml(body: &[u8], schema: &Schema, mode: FieldValidation, limits: Limits) -> Result<Decoded, DecodeError> {
    let (mut value, notices) = yaml::parse(body, limits)?;
    identity::readable(&value)?;
    null::say_nothing(&mut value, schema);
    finish(value, notices, schema, mode)
}

/// Decodes the JSON text of a patch. The second part is what strict decoding says of it: fields that come twice, and those whose paths
/// `unknown` tells.
///
/// # Errors
/// Malformed or too deep JSON.
pub fn patch_json(
    body: &[u8],
    limits: Limits,
    unknown: impl FnOnce(&Value) -> Vec<String>,
) -> Result<(Value, Vec<String>), DecodeError> {
    let (patch, duplicates) = json::parse(body, limits)?;
    let unknown = unknown(&patch);
    if duplicates.is_empty() && unknown.is_empty() {
        return Ok((patch, Vec::new()));
    }
    Ok((patch, json::in_order(body, &unknown, &duplicates)))
}

/// Decodes any JSON text without a schema.
///
/// # Errors
/// Malformed or too deep JSON.
pub fn untyped_json(body: &[u8], limits: Limits) -> Result<Value, DecodeError> {
    Ok(json::parse(body, limits)?.0)
}

/// Decodes any YAML text without a schema (server-side apply bodies, manifests) as [`yaml()`]; the second part is what strict decoding
/// says of duplicate keys.
///
/// # Errors
/// Malformed or too deep YAML.
pub fn untyped_yaml(body: &[u8], limits: Limits) -> Result<(Value, Vec<String>), DecodeError> {
    yaml::parse(body, limits)
}

/// Fits the body of a server-side apply: it keeps exactly what the client said, since that is what the client will own. Fields that the
/// schema does not declare are dropped.
///
/// # Errors
/// Values that do not fit the schema.
pub fn applied(mut config: Value, schema: &Schema) -> Result<Value, DecodeError> {
    taken(&mut config, schema, Form::AsGiven)?;
    Ok(config)
}

/// What the chosen strictness makes of remarks about a body, such as the second part of [`untyped_yaml`].
///
/// # Errors
/// There are remarks, and the mode is strict.
pub fn remarks(notices: Vec<String>, mode: FieldValidation) -> Result<Vec<String>, DecodeError> {
    Ok(judge(Value::Null, notices, mode)?.warnings)
}

/// Fits an object that came from elsewhere (a patch result, a protobuf body) to its schema. `notices` are further remarks for
/// strict decoding.
///
/// # Errors
/// As [`json`].
pub fn finish(
    mut object: Value,
    notices: Vec<String>,
    schema: &Schema,
    mode: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let unknown = taken(&mut object, schema, Form::Canonical)?;
    null::drop_nulls(&mut object, schema);
    let unknown = if schema.is_fixed() { unknown } else { in_turn(unknown) };
    judge(object, with_unknown(notices, unknown), mode)
}

/// Holds what a client sent against its schema, as [`fit`]; numbers of custom objects are as they will be written.
fn taken(value: &mut Value, schema: &Schema, form: Form) -> Result<Vec<String>, DecodeError> {
    let unknown = fit(value, schema, form)?;
    if !schema.is_fixed() {
        settle(value);
    }
    Ok(unknown)
}

/// Unknown fields of a custom object: those of its metadata come first, and all in the order of their paths.
fn in_turn(mut unknown: Vec<String>) -> Vec<String> {
    unknown.sort_by_cached_key(|path| (!path.starts_with("metadata."), path.clone()));
    unknown
}

fn with_unknown(mut notices: Vec<String>, unknown: Vec<String>) -> Vec<String> {
    notices.extend(unknown.into_iter().map(|path| format!("unknown field {path:?}")));
    notices
}

fn judge(object: Value, notices: Vec<String>, mode: FieldValidation) -> Result<Decoded, DecodeError> {
    match mode {
        FieldValidation::Strict if !notices.is_empty() => Err(DecodeError::Strict(notices)),
        FieldValidation::Warn => Ok(Decoded { object, warnings: notices.into_iter().flat_map(lines).collect() }),
        _ => Ok(Decoded { object, warnings: Vec::new() }),
    }
}

/// What the reader of YAML says in one is a warning for each line.
fn lines(notice: String) -> Vec<String> {
    match notice.strip_prefix("yaml: unmarshal errors:") {
        Some(lines) => lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        None => vec![notice],
    }
}

#[cfg(test)]
mod tests;
