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
        self.charge(cost(name, &values, self.left))?;
        let fitting = overloads.iter().find(|overload| {
            overload.params.len() == values.len()
                && overload.params.iter().zip(&values).all(|(ty, value)| fits(ty, value))
        });
        let Some(overload) = fitting else {
            return Err(Failure::new(misfit(name, &values)));
        };
        (overload.call)(self, &values)
    }
}

/// What is said of arguments that no overload takes. An operator is asked of the first of them: one that knows it says no more.
fn misfit(name: &str, values: &[Value<'_>]) -> String {
    let types: Vec<&str> = values.iter().map(Value::type_name).collect();
    let (first, times) =
        (types.first().copied().unwrap_or_default(), ["google.protobuf.Timestamp", "google.protobuf.Duration"]);
    let number = matches!(first, "int" | "uint" | "double");
    let knows = match name {
        "_+_" => number || matches!(first, "string" | "bytes" | "list") || times.contains(&first),
        "_-_" => number || times.contains(&first),
        "_*_" | "_/_" => number,
        "_%_" => matches!(first, "int" | "uint"),
        "_<_" | "_<=_" | "_>_" | "_>=_" => {
            number || matches!(first, "bool" | "string" | "bytes") || times.contains(&first)
        }
        _ => return format!("no such overload: {name}({})", types.join(", ")),
    };
    if knows { "no such overload".to_owned() } else { format!("no such overload: {name}") }
}

/// A step for the call, and what its arguments weigh; sizes, indexes and lookups of keys cost a step.
fn cost(name: &str, values: &[Value<'_>], most: u64) -> u64 {
    if matches!(
        name,
        "size" | "_[_]" | "_[?_]" | "dyn" | "type" | "orValue" | "or" | "value" | "hasValue" | "optional.of"
    ) {
        return 1;
    }
    let mut cost = 1;
    for value in values {
        if !(name == "@in" && value.entries_known()) {
            weigh(value, &mut cost, most);
        }
    }
    // A pattern is held against every character.
    if matches!(name, "matches" | "find" | "findAll") {
        let pattern = values.get(1).and_then(Value::length).unwrap_or(0);
        cost = cost.saturating_mul(1 + u64::try_from(pattern / 4).unwrap_or(0));
    }
    cost
}

/// Adds a tenth of a step for each byte of text and one for each element, all the way down; stops once it is over `most`.
pub(super) fn weigh(value: &Value<'_>, cost: &mut u64, most: u64) {
    let text = |length: usize| u64::try_from(length / 10).unwrap_or(u64::MAX);
    match value {
        Value::Str(own) => *cost = cost.saturating_add(text(own.as_str().len())),
        Value::Bytes(bytes) => *cost = cost.saturating_add(text(bytes.len())),
        Value::Json(json, _) => weigh_json(json, cost, most),
        Value::Optional(Some(inner)) => weigh(inner, cost, most),
        Value::List(items) => {
            for item in items.iter() {
                *cost = cost.saturating_add(1);
                if *cost > most {
                    return;
                }
                weigh(item, cost, most);
            }
        }
        Value::Map(entries) | Value::Domains(entries) => {
            for (key, value) in entries.iter() {
                *cost = cost.saturating_add(1);
                if *cost > most {
                    return;
                }
                weigh(key, cost, most);
                weigh(value, cost, most);
            }
        }
        Value::Made(_, fields) => {
            for (_, value) in fields.iter() {
                *cost = cost.saturating_add(1);
                if *cost > most {
                    return;
                }
                weigh(value, cost, most);
            }
        }
        _ => {}
    }
}

fn weigh_json(json: &Json, cost: &mut u64, most: u64) {
    match json {
        Json::String(text) => *cost = cost.saturating_add(u64::try_from(text.len() / 10).unwrap_or(u64::MAX)),
        Json::Array(items) => {
            for item in items {
                *cost = cost.saturating_add(1);
                if *cost > most {
                    return;
                }
                weigh_json(item, cost, most);
            }
        }
        Json::Object(members) => {
            for value in members.values() {
                *cost = cost.saturating_add(1);
                if *cost > most {
                    return;
                }
                weigh_json(value, cost, most);
            }
        }
        _ => {}
    }
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
        | (Type::Map(..), Value::Map(_) | Value::Domains(_))
        | (Type::Optional(_), Value::Optional(_))
        | (Type::Type(_), Value::Type(_)) => true,
        (Type::Map(..), Value::Json(Json::Object(_), schema)) => is_open(*schema),
        (Type::Opaque(name), value) => *name == value.type_name(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_that_knows_its_first_argument_says_no_more() {
        for (name, values, want) in [
            ("_+_", [Value::Int(1), Value::Bool(true)], "no such overload"),
            ("_%_", [Value::Double(1.0), Value::Int(1)], "no such overload: _%_"),
            ("_<_", [Value::Null, Value::Int(1)], "no such overload: _<_"),
            ("f", [Value::Null, Value::Int(1)], "no such overload: f(null_type, int)"),
        ] {
            assert_eq!(misfit(name, &values), want);
        }
    }
}
