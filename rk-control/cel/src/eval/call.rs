//! Calls: which way of calling fits the values, and what it costs.

use serde_json::Value as Json;

use super::{Context, Failure, Outcome};
use crate::ast::Expr;
use crate::registry::Overload;
use crate::types::Type;
use crate::value::{Value, is_open};

impl<'a> Context<'a> {
    pub(super) fn call(&mut self, name: &'a str, overloads: &'static [Overload], args: &'a [Expr]) -> Outcome<'a> {
        let values = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, Failure>>()?;
        self.charge(cost(name, &values))?;
        let fitting = overloads.iter().find(|overload| {
            overload.params.len() == values.len()
                && overload.params.iter().zip(&values).all(|(ty, value)| fits(ty, value))
        });
        let Some(overload) = fitting else {
            let types: Vec<&str> = values.iter().map(Value::type_name).collect();
            return Err(Failure::new(format!("no such overload: {name}({})", types.join(", "))));
        };
        (overload.call)(self, &values)
    }
}

/// A tenth of a step for each character and one for each element that may be looked at; sizes and indexes cost a step.
fn cost(name: &str, values: &[Value<'_>]) -> u64 {
    if matches!(name, "size" | "_[_]" | "_[?_]" | "dyn" | "type") {
        return 1;
    }
    let mut cost = 1;
    for value in values {
        let part = match value {
            Value::Str(text) => text.as_str().len() / 10,
            Value::Bytes(bytes) => bytes.len() / 10,
            Value::List(_) | Value::Json(Json::Array(_), _) => value.length().unwrap_or(0),
            // Looking up a key is a step; comparing maps is not.
            Value::Map(_) | Value::Json(..) if name != "@in" => value.length().unwrap_or(0),
            _ => 0,
        };
        cost += u64::try_from(part).unwrap_or(u64::MAX);
    }
    // A pattern is held against every character.
    if matches!(name, "matches" | "find" | "findAll") {
        let pattern = values.get(1).and_then(Value::length).unwrap_or(0);
        cost = cost.saturating_mul(1 + u64::try_from(pattern / 4).unwrap_or(0));
    }
    cost
}

/// Whether a value may stand where a type is asked for. Elements are not looked at.
fn fits(ty: &Type, value: &Value<'_>) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Var(_), _)
        | (Type::Null, Value::Null)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::Str(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Time(_))
        | (Type::Duration, Value::Span(_))
        | (Type::List(_), Value::List(_) | Value::Json(Json::Array(_), _))
        | (Type::Map(..), Value::Map(_))
        | (Type::Optional(_), Value::Optional(_))
        | (Type::Type(_), Value::Type(_)) => true,
        (Type::Map(..), Value::Json(Json::Object(_), schema)) => is_open(*schema),
        (Type::Opaque(name), value) => *name == value.type_name(),
        _ => false,
    }
}
