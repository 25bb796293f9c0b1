//! The words of type errors: clients know them from upstream's decoder, which names its own types.

use serde_json::Value;

use crate::schema::{Schema, Shape};

/// Where a value stands: the chain of fields down to it.
pub(super) struct Place<'a> {
    pub parent: Option<&'a Place<'a>>,
    /// The type that has the field.
    pub owner: &'static str,
    pub field: &'a str,
}

impl Place<'_> {
    /// Whether a UID of an object stands here, which has a type of its own.
    fn is_uid(&self) -> bool {
        self.field == "uid"
            && matches!(self.owner.rsplit('.').next(), Some("ObjectMeta" | "OwnerReference" | "Preconditions"))
    }

    /// `spec.template.spec.containers`: fields only, without indices.
    fn path(&self) -> String {
        match self.parent {
            // What a custom object has of fixed types, its metadata, is read by itself.
            Some(parent) if !parent.field.is_empty() && !parent.owner.is_empty() => {
                format!("{}.{}", parent.path(), self.field)
            }
            _ => self.field.to_owned(),
        }
    }
}

/// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
pub(super) fn type_error(value: &Value, schema: &Schema, at: &Place<'_>) -> String {
    let found = match (value, schema.shape()) {
        // Numbers that merely do not fit are named, numbers in the place of something else are not.
        (Value::Number(n), Shape::Int32 | Shape::Int64 | Shape::IntOrString) => format!("number {n}"),
        _ => found(value).to_owned(),
    };
    let wanted = if at.is_uid() { "types.UID".to_owned() } else { type_name(schema) };
    if at.field.is_empty() || at.owner.is_empty() || schema.shape() == Shape::IntOrString {
        return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
    }
    let owner = at.owner.rsplit('.').next().unwrap_or_default();
    format!("json: cannot unmarshal {found} into Go struct field {owner}.{} of type {wanted}", at.path())
}

/// What Go calls a JSON value.
pub(crate) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_name(schema: &Schema) -> String {
    match schema.shape() {
        // `core/v1.Pod` is `v1.Pod` to upstream.
        Shape::Object => schema.type_name().rsplit('/').next().unwrap_or_default().to_owned(),
        Shape::Map => format!("map[string]{}", type_name(&schema.item())),
        Shape::List => format!("[]{}", type_name(&schema.item())),
        Shape::Bytes => "[]uint8".into(),
        Shape::Bool => "bool".into(),
        Shape::Int32 | Shape::IntOrString => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Double => "float64".into(),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::String | Shape::Time | Shape::MicroTime => "string".into(),
        Shape::Any => "map[string]interface {}".into(),
    }
}

/// `parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"`, or `parsing time "x": month out of range`.
pub(super) fn time_error(text: &str) -> String {
    let layout = "2006-01-02T15:04:05Z07:00";
    let mut rest = text;
    for (step, length, range) in [
        ("2006", 4, None),
        ("-", 1, None),
        ("01", 2, Some(("month", 1..=12))),
        ("-", 1, None),
        ("02", 2, None),
        ("T", 1, None),
        ("15", 2, Some(("hour", 0..=23))),
        (":", 1, None),
        ("04", 2, Some(("minute", 0..=59))),
        (":", 1, None),
        ("05", 2, Some(("second", 0..=59))),
    ] {
        let fits = |part: &str| {
            if length == 1 { part == step } else { part.bytes().all(|b| b.is_ascii_digit()) }
        };
        let Some(part) = rest.get(..length).filter(|part| fits(part)) else {
            return format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {step:?}");
        };
        if let Some((name, range)) = range
            && part.parse::<u32>().is_ok_and(|number| !range.contains(&number))
        {
            return format!("parsing time {text:?}: {name} out of range");
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    let whole =
        rest.strip_prefix(['.', ',']).map_or(rest, |part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    if is_zone(whole) {
        // The one thing that is looked at when all has been read.
        return format!("parsing time {text:?}: day out of range");
    }
    format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as \"Z07:00\"")
}

/// `Z`, or `+07:00`.
fn is_zone(text: &str) -> bool {
    let is_digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let is_offset = text.len() == 6 && text.starts_with(['+', '-']) && text.get(3..4) == Some(":");
    text == "Z" || is_offset && [1, 2, 4, 5].into_iter().all(is_digit)
}

/// `illegal base64 data at input byte 4`: where a text stops to be base64. One that merely ends too early does so with its last
/// group of four.
#[must_use]
pub fn base64_error(text: &str, error: &base64::DecodeError) -> String {
    let offset = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() - text.len() % 4,
    };
    format!("illegal base64 data at input byte {offset}")
}
