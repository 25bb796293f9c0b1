//! From messages to JSON values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::wire::{Fields, Raw, varint};
use super::{DEPTH, MAGIC, decode};
use crate::decode::{DecodeError, Limits};
use crate::meta::{format_micro_time, format_time};
use crate::schema::{Schema, Ty, Union, WireRow};

type Result<T> = std::result::Result<T, DecodeError>;

/// The first second of the year 1, which is Go's zero time, since the epoch.
const GO_ZERO: i64 = -62_135_596_800;

/// Decodes a message of a named type. Fields that the table does not know are skipped, as protobuf wants it.
pub(super) fn message(schema: &Schema, bytes: &[u8], depth: usize) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    into(&mut object, schema, schema.wire(), bytes, deeper(depth)?)?;
    Ok(object)
}

fn deeper(depth: usize) -> Result<usize> {
    depth.checked_sub(1).ok_or(DecodeError::TooDeep(DEPTH))
}

fn into(object: &mut Map<String, Value>, schema: &Schema, rows: &[WireRow], bytes: &[u8], depth: usize) -> Result<()> {
    for field in Fields::of(bytes) {
        let (number, raw) = field?;
        match rows.binary_search_by_key(&number, WireRow::number).ok().and_then(|index| rows.get(index)) {
            Some(WireRow::Inline(_, inner)) => into(object, schema, inner, raw.bytes()?, deeper(depth)?)?,
            Some(WireRow::Field(_, index)) => {
                if let Some((name, place)) = schema.field_at(*index) {
                    add(object, name, &place, raw, depth)?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

/// Adds one occurrence of a field: repeated fields and maps come in pieces.
fn add(object: &mut Map<String, Value>, name: &str, place: &Schema, raw: Raw<'_>, depth: usize) -> Result<()> {
    match place.ty() {
        Ty::List(_) if place.is_wrapped() => {
            object.insert(name.to_owned(), wrapped_list(&place.item(), raw, depth)?);
        }
        Ty::List(_) => {
            let item = place.item();
            let list = object.entry(name).or_insert_with(|| json!([]));
            let Some(list) = list.as_array_mut() else { return Ok(()) };
            match raw {
                Raw::Bytes(bytes) if is_integer(&item) => packed(list, bytes)?,
                _ => list.push(value(&item, raw, depth)?),
            }
        }
        Ty::Map(_) => {
            let (key, entry) = map_entry(place, raw.bytes()?, depth)?;
            if let Some(map) = object.entry(name).or_insert_with(|| json!({})).as_object_mut() {
                map.insert(key, entry);
            }
        }
        _ => drop(object.insert(name.to_owned(), value(place, raw, depth)?)),
    }
    Ok(())
}

fn is_integer(schema: &Schema) -> bool {
    matches!(schema.ty(), Ty::Int32 | Ty::Int64) && schema.type_name().is_empty()
}

fn packed(list: &mut Vec<Value>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let (number, rest) = varint(bytes)?;
        list.push(json!(number as i64));
        bytes = rest;
    }
    Ok(())
}

fn map_entry(place: &Schema, bytes: &[u8], depth: usize) -> Result<(String, Value)> {
    let item = place.item();
    let mut key = String::new();
    let mut entry = None;
    for field in Fields::of(bytes) {
        match field? {
            (1, raw) => key = raw.text()?.to_owned(),
            (2, raw) if place.is_wrapped() => entry = Some(wrapped_list(&item.item(), raw, depth)?),
            (2, raw) => entry = Some(value(&item, raw, depth)?),
            _ => {}
        }
    }
    let entry = match entry {
        Some(entry) => entry,
        None if place.is_wrapped() => json!([]),
        None => value(&item, empty(&item), depth)?,
    };
    Ok((key, entry))
}

/// What an absent map value stands for.
fn empty(schema: &Schema) -> Raw<'static> {
    match schema.ty() {
        Ty::Bool | Ty::Int32 | Ty::Int64 if schema.type_name().is_empty() => Raw::Varint(0),
        _ => Raw::Bytes(&[]),
    }
}

/// A list that sits in a message of its own, in field 1.
fn wrapped_list(item: &Schema, raw: Raw<'_>, depth: usize) -> Result<Value> {
    let mut list = Vec::new();
    for field in Fields::of(raw.bytes()?) {
        if let (1, raw) = field? {
            list.push(value(item, raw, depth)?);
        }
    }
    Ok(list.into())
}

fn value(schema: &Schema, raw: Raw<'_>, depth: usize) -> Result<Value> {
    Ok(match schema.ty() {
        _ if !schema.type_name().is_empty() => message(schema, raw.bytes()?, depth)?.into(),
        Ty::String => raw.text()?.into(),
        Ty::Bytes => STANDARD.encode(raw.bytes()?).into(),
        Ty::Bool => (raw.integer()? != 0).into(),
        Ty::Int32 => (raw.integer()? as i32).into(),
        Ty::Int64 => raw.integer()?.into(),
        Ty::Double => raw.double()?.into(),
        Ty::Quantity => first_text(raw.bytes()?)?.into(),
        Ty::Time => time(raw.bytes()?, format_time)?,
        Ty::MicroTime => time(raw.bytes()?, format_micro_time)?,
        Ty::IntOrString => int_or_string(raw.bytes()?)?,
        Ty::RawExtension => raw_extension(first_bytes(raw.bytes()?)?)?,
        Ty::Json | Ty::FieldsV1 => json_text(first_bytes(raw.bytes()?)?)?,
        Ty::Union(union) => union_value(*union, raw.bytes()?, depth)?,
        // A list or map inside a list or map has no wire form of its own.
        Ty::Named(_) | Ty::List(_) | Ty::Map(_) => Value::Null,
    })
}

/// Field 1 of a message that has only that.
fn first_bytes(bytes: &[u8]) -> Result<&[u8]> {
    let mut first: &[u8] = &[];
    for field in Fields::of(bytes) {
        if let (1, raw) = field? {
            first = raw.bytes()?;
        }
    }
    Ok(first)
}

fn first_text(bytes: &[u8]) -> Result<&str> {
    Raw::Bytes(first_bytes(bytes)?).text()
}

fn time(bytes: &[u8], format: fn(Timestamp) -> String) -> Result<Value> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, raw) => seconds = raw.integer()?,
            (2, raw) => nanos = raw.integer()? as i32,
            _ => {}
        }
    }
    // Go's zero time, which JSON writes as null, has no bytes; the epoch has, and so has what follows the zero time within its second.
    if bytes.is_empty() || (seconds, nanos) == (GO_ZERO, 0) {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanos).map_err(|error| DecodeError::Proto(format!("proto: {error}")))?;
    Ok(format(time).into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value> {
    let (mut is_string, mut number, mut text) = (false, 0, "");
    for field in Fields::of(bytes) {
        match field? {
            (1, raw) => is_string = raw.integer()? == 1,
            (2, raw) => number = raw.integer()? as i32,
            (3, raw) => text = raw.text()?,
            _ => {}
        }
    }
    Ok(if is_string { text.into() } else { number.into() })
}

/// An embedded object: JSON, or a whole protobuf body.
fn raw_extension(bytes: &[u8]) -> Result<Value> {
    if bytes.starts_with(&MAGIC) { decode(bytes, None, Limits::default()) } else { json_text(bytes) }
}

fn json_text(bytes: &[u8]) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Proto(format!("embedded JSON: {error}")))
}

fn union_value(union: Union, bytes: &[u8], depth: usize) -> Result<Value> {
    let Some(props) = Schema::named("apiextensions/v1.JSONSchemaProps") else { return Ok(Value::Null) };
    let (mut single, mut many, mut allows) = (None, Vec::<Value>::new(), false);
    for field in Fields::of(bytes) {
        let (number, raw) = field?;
        match (union, number) {
            (Union::SchemaOrArray | Union::SchemaOrStringArray, 1) | (Union::SchemaOrBool, 2) => {
                single = Some(message(&props, raw.bytes()?, depth)?);
            }
            (Union::SchemaOrArray, 2) => many.push(message(&props, raw.bytes()?, depth)?.into()),
            (Union::SchemaOrStringArray, 2) => many.push(raw.text()?.into()),
            (Union::SchemaOrBool, 1) => allows = raw.integer()? != 0,
            _ => {}
        }
    }
    Ok(match (single, union) {
        (Some(schema), _) => schema.into(),
        (None, Union::SchemaOrBool) => allows.into(),
        (None, _) => many.into(),
    })
}
