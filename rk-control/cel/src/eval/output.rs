//! From values back to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

use super::{Failure, without_escapes};
use crate::lib;
use crate::value::Value;

impl Value<'_> {
    /// The value as JSON.
    ///
    /// # Errors
    /// Values that JSON has no form for: types, optionals, infinite numbers.
    pub fn to_json(&self) -> Result<Json, Failure> {
        Ok(match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Uint(value) => Json::from(*value),
            Value::Double(value) => serde_json::Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| Failure::new("a number that is not finite cannot be written as JSON"))?,
            Value::Str(text) => Json::from(text.as_str()),
            Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
            Value::Time(time) => Json::from(lib::show_time(*time)),
            Value::Span(nanos) => Json::from(lib::show_duration(*nanos)),
            Value::Quantity(quantity) => Json::from(quantity.to_string()),
            Value::Ip(ip) => Json::from(ip.to_string()),
            Value::Cidr(net) => Json::from(net.to_string()),
            Value::Json(json, _) => (*json).clone(),
            Value::List(items) => items.iter().map(Value::to_json).collect::<Result<Json, Failure>>()?,
            Value::Map(entries) | Value::Domains(entries) => {
                let mut object = Map::new();
                for (key, value) in entries.iter() {
                    let key = match key {
                        Value::Str(text) => text.as_str().to_owned(),
                        Value::Int(_) | Value::Uint(_) | Value::Bool(_) => key.to_json()?.to_string(),
                        other => return Err(Failure::new(format!("unsupported key type: {}", other.type_name()))),
                    };
                    object.insert(key, value.to_json()?);
                }
                Json::Object(object)
            }
            Value::Made(_, fields) => {
                let mut object = Map::new();
                for (name, value) in fields.iter() {
                    object.insert(without_escapes(name).into_owned(), value.to_json()?);
                }
                Json::Object(object)
            }
            other => return Err(Failure::new(format!("type conversion error from '{}' to JSON", other.type_name()))),
        })
    }
}
