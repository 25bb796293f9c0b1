//! Values: what a client's objects are borrowed for, and what expressions make.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use rk_api::meta::Quantity;
use serde_json::Value as Json;

use crate::lib::{self, Authz, Semver, Url};

/// Text of an object, or made by an expression.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// Borrowed.
    Ref(&'a str),
    /// Made.
    Own(Arc<str>),
}

impl Text<'_> {
    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Text::Ref(text) => text,
            Text::Own(text) => text,
        }
    }
}

/// A value. Lists and objects of JSON stay what they are; whatever is taken out of them becomes a value then.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    Str(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Time(Timestamp),
    /// A length of time, in nanoseconds.
    Span(i64),
    /// A list that an expression made.
    List(Arc<Vec<Value<'a>>>),
    /// A map that an expression made, in the order in which it was written.
    Map(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// Maps by domain: a domain that is not there stands for an empty map.
    Domains(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// A list or object of JSON, and the schema (OpenAPI) that says how its scalars are to be read.
    Json(&'a Json, Option<&'a Json>),
    /// An object that an expression made: the name of its type, and its fields.
    Made(&'a str, Arc<Vec<(&'a str, Value<'a>)>>),
    /// A type.
    Type(Arc<str>),
    /// A value that may not be there.
    Optional(Option<Arc<Value<'a>>>),
    /// An amount.
    Quantity(Quantity),
    /// A URL.
    Url(Arc<Url>),
    /// An address.
    Ip(IpAddr),
    /// A network.
    Cidr(IpNet),
    /// A semantic version.
    Semver(Arc<Semver>),
    /// The name of a format of strings.
    Format(&'static str),
    /// A question to the authorizer, or its answer.
    Authz(Arc<Authz>),
}

/// The schema of a member of an object.
fn member<'a>(schema: Option<&'a Json>, key: &str) -> Option<&'a Json> {
    let schema = schema?;
    schema.get("properties").and_then(|all| all.get(key)).or_else(|| schema.get("additionalProperties"))
}

/// The value under a key of a map that was made.
fn held<'a>(entries: &[(Value<'a>, Value<'a>)], key: &Value<'a>) -> Option<Value<'a>> {
    entries.iter().find(|(own, _)| crate::eval::equal(own, key)).map(|(_, value)| value.clone())
}

/// Whether a value is a map to expressions; records are not.
pub(crate) fn is_open(schema: Option<&Json>) -> bool {
    schema.is_none_or(|schema| schema.get("properties").is_none())
}

impl<'a> Value<'a> {
    /// Text that was made.
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Value::Str(Text::Own(text.into()))
    }

    pub(crate) fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(Arc::new(items))
    }

    pub(crate) fn some(inner: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(inner)))
    }

    /// A JSON value without a schema.
    #[must_use]
    pub fn json(json: &'a Json) -> Self {
        Self::typed(json, None)
    }

    /// A JSON value as an OpenAPI schema says that it is to be read: `date-time` is a time, a `number` a double.
    #[must_use]
    pub fn typed(json: &'a Json, schema: Option<&'a Json>) -> Self {
        let word = |name: &str| schema.and_then(|schema| schema.get(name)).and_then(Json::as_str).unwrap_or_default();
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) if word("type") == "number" => Value::Double(number.as_f64().unwrap_or_default()),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Value::Int(int),
                // Integers of a schema may be written with an exponent.
                (None, Some(double)) if word("type") == "integer" => Value::Int(double as i64),
                (None, double) => Value::Double(double.unwrap_or_default()),
            },
            Json::String(text) => match word("format") {
                "date-time" => lib::parse_time(text).map_or(Value::Str(Text::Ref(text)), Value::Time),
                "date" => {
                    lib::parse_time(&format!("{text}T00:00:00Z")).map_or(Value::Str(Text::Ref(text)), Value::Time)
                }
                "duration" => lib::parse_duration(text).map_or(Value::Str(Text::Ref(text)), Value::Span),
                "byte" => lib::decode_base64(text).map_or(Value::Str(Text::Ref(text)), |b| Value::Bytes(b.into())),
                _ => Value::Str(Text::Ref(text)),
            },
            Json::Array(_) | Json::Object(_) => Value::Json(json, schema),
        }
    }

    /// The elements of a list.
    pub(crate) fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(items) => Some(items.to_vec()),
            Value::Json(Json::Array(items), schema) => {
                let inner = schema.and_then(|schema| schema.get("items"));
                Some(items.iter().map(|item| Value::typed(item, inner)).collect())
            }
            _ => None,
        }
    }

    /// One element of a list.
    pub(crate) fn item(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Value::List(items) => items.get(index).cloned(),
            Value::Json(Json::Array(items), schema) => {
                let inner = schema.and_then(|schema| schema.get("items"));
                items.get(index).map(|item| Value::typed(item, inner))
            }
            _ => None,
        }
    }

    /// The entries of a map.
    pub(crate) fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Map(entries) | Value::Domains(entries) => Some(entries.to_vec()),
            Value::Json(Json::Object(object), schema) => {
                let entry = |(key, value): (&'a String, &'a Json)| {
                    (Value::Str(Text::Ref(key)), Value::typed(value, member(*schema, key)))
                };
                Some(object.iter().map(entry).collect())
            }
            _ => None,
        }
    }

    /// Whether keys can be looked up in it.
    pub(crate) fn entries_known(&self) -> bool {
        matches!(self, Value::Map(_) | Value::Domains(_) | Value::Json(Json::Object(_), _))
    }

    /// The value under a key of a map.
    pub(crate) fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Value::Map(entries), key) => held(entries, key),
            (Value::Domains(entries), key) => held(entries, key).or_else(|| Some(Value::Map(Arc::default()))),
            (Value::Json(..), Value::Str(key)) => self.member(key.as_str()),
            _ => None,
        }
    }

    /// Whether a map has a key.
    pub(crate) fn has(&self, key: &Value<'a>) -> bool {
        match self {
            Value::Domains(entries) => held(entries, key).is_some(),
            map => map.get(key).is_some(),
        }
    }

    /// A member of an object; a null of a schema's object is not there.
    pub(crate) fn member(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Value::Json(Json::Object(object), schema) => {
                let found = object.get(name).map(|value| Value::typed(value, member(*schema, name)));
                found.filter(|value| schema.is_none() || !matches!(value, Value::Null))
            }
            Value::Made(_, fields) => fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone()),
            Value::Map(_) | Value::Domains(_) => self.get(&Value::Str(Text::Own(name.into()))),
            _ => None,
        }
    }

    /// How many elements or entries there are.
    pub(crate) fn length(&self) -> Option<usize> {
        Some(match self {
            Value::List(items) => items.len(),
            Value::Map(entries) | Value::Domains(entries) => entries.len(),
            Value::Json(Json::Array(items), _) => items.len(),
            Value::Json(Json::Object(object), _) => object.len(),
            Value::Str(text) => text.as_str().chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            _ => return None,
        })
    }

    /// The name of the type, as messages and `type()` tell it.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Str(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Time(_) => "google.protobuf.Timestamp",
            Value::Span(_) => "google.protobuf.Duration",
            Value::List(_) | Value::Json(Json::Array(_), _) => "list",
            Value::Map(_) | Value::Domains(_) => "map",
            Value::Json(_, schema) if is_open(*schema) => "map",
            Value::Json(..) => "object",
            Value::Made(name, _) => name,
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Quantity(_) => lib::QUANTITY,
            Value::Url(_) => lib::URL,
            Value::Ip(_) => lib::IP,
            Value::Cidr(_) => lib::CIDR,
            Value::Semver(_) => lib::SEMVER,
            Value::Format(_) => lib::FORMAT,
            Value::Authz(question) => question.type_name(),
        }
    }

    /// The value when it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        }
    }
}
