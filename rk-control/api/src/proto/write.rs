//! From JSON values to messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::Writer;
use crate::meta::parse_time;
use crate::schema::{Schema, Ty, Union, WireRow};

/// Encodes an object of a named type. Fields that the table does not know have no wire form and are left out.
pub(super) fn message(schema: &Schema, object: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    if let Some(object) = object.as_object() {
        fields(&mut out, schema, schema.wire(), object);
    }
    out.finish()
}

fn fields(out: &mut Writer, schema: &Schema, rows: &[WireRow], object: &Map<String, Value>) {
    for row in rows {
        match row {
            WireRow::Inline(number, inner) => {
                let mut inlined = Writer::default();
                fields(&mut inlined, schema, inner, object);
                out.bytes(*number, &inlined.finish());
            }
            WireRow::Field(number, index) => {
                let Some((name, place)) = schema.field_at(*index) else { continue };
                if let Some(value) = object.get(name).filter(|value| !value.is_null()) {
                    field(out, *number, &place, value);
                }
            }
        }
    }
}

fn field(out: &mut Writer, number: u32, place: &Schema, value: &Value) {
    match (place.ty(), value) {
        (Ty::List(_), Value::Array(items)) if place.is_wrapped() => out.bytes(number, &wrapped(&place.item(), items)),
        (Ty::List(_), Value::Array(items)) => {
            let item = place.item();
            items.iter().for_each(|value| scalar(out, number, &item, value));
        }
        (Ty::Map(_), Value::Object(entries)) => {
            let item = place.item();
            for (key, value) in entries {
                let mut entry = Writer::default();
                entry.bytes(1, key.as_bytes());
                match value {
                    Value::Array(items) if place.is_wrapped() => entry.bytes(2, &wrapped(&item.item(), items)),
                    _ => scalar(&mut entry, 2, &item, value),
                }
                out.bytes(number, &entry.finish());
            }
        }
        _ => scalar(out, number, place, value),
    }
}

fn wrapped(item: &Schema, items: &[Value]) -> Vec<u8> {
    let mut list = Writer::default();
    items.iter().for_each(|value| scalar(&mut list, 1, item, value));
    list.finish()
}

/// Writes one value. A value of the wrong type, which decoding would have refused, is left out.
fn scalar(out: &mut Writer, number: u32, schema: &Schema, value: &Value) {
    if !schema.type_name().is_empty() {
        return out.bytes(number, &message(schema, value));
    }
    let text = value.as_str();
    match schema.ty() {
        Ty::String => out.bytes(number, text.unwrap_or_default().as_bytes()),
        Ty::Bytes => out.bytes(number, &text.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default()),
        Ty::Bool => out.integer(number, i64::from(value.as_bool() == Some(true))),
        Ty::Int32 | Ty::Int64 => out.integer(number, value.as_i64().unwrap_or_default()),
        Ty::Double => out.double(number, value.as_f64().unwrap_or_default()),
        Ty::Quantity => out.bytes(number, &only(|inner| inner.bytes(1, quantity(value).as_bytes()))),
        Ty::Time | Ty::MicroTime => out.bytes(number, &time(text.unwrap_or_default())),
        Ty::IntOrString => out.bytes(number, &int_or_string(value)),
        Ty::RawExtension | Ty::Json | Ty::FieldsV1 => {
            out.bytes(number, &only(|inner| inner.bytes(1, value.to_string().as_bytes())));
        }
        Ty::Union(union) => out.bytes(number, &union_value(*union, value)),
        Ty::Named(_) | Ty::List(_) | Ty::Map(_) => {}
    }
}

fn only(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut message = Writer::default();
    write(&mut message);
    message.finish()
}

fn quantity(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn time(text: &str) -> Vec<u8> {
    let Some(time) = parse_time(text) else { return Vec::new() };
    // Of a time before 1970, too, the rest is what comes after the second that it is in.
    let rest = time.subsec_nanosecond();
    only(|message| {
        message.integer(1, time.as_second() - i64::from(rest < 0));
        message.integer(2, rest.rem_euclid(1_000_000_000).into());
    })
}

fn int_or_string(value: &Value) -> Vec<u8> {
    only(|message| match value.as_str() {
        Some(text) => {
            message.integer(1, 1);
            message.integer(2, 0);
            message.bytes(3, text.as_bytes());
        }
        None => {
            message.integer(1, 0);
            message.integer(2, value.as_i64().unwrap_or_default());
            message.bytes(3, b"");
        }
    })
}

fn union_value(union: Union, value: &Value) -> Vec<u8> {
    let Some(props) = Schema::named("apiextensions/v1.JSONSchemaProps") else { return Vec::new() };
    only(|out| match (union, value) {
        (Union::SchemaOrBool, Value::Object(_)) => {
            out.integer(1, 1);
            out.bytes(2, &message(&props, value));
        }
        (Union::SchemaOrBool, other) => out.integer(1, i64::from(other.as_bool() == Some(true))),
        (_, Value::Object(_)) => out.bytes(1, &message(&props, value)),
        (Union::SchemaOrArray, Value::Array(items)) => {
            items.iter().for_each(|item| out.bytes(2, &message(&props, item)))
        }
        (_, Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).for_each(|text| out.bytes(2, text.as_bytes()));
        }
        _ => {}
    })
}
