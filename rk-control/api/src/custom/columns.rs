//! Printer columns of custom kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::path::JsonPath;
use crate::meta::at;
use crate::table::human_age;

/// The columns of one version, after the name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Columns(Vec<Column>);

#[derive(Debug, Clone, PartialEq)]
struct Column {
    definition: Value,
    path: Option<JsonPath>,
    kind: String,
}

impl Columns {
    /// From `additionalPrinterColumns`; without any, the age alone.
    pub(super) fn of(list: &Value) -> Self {
        let own = list.as_array().filter(|list| !list.is_empty());
        let age = [json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})];
        Self(own.map_or(age.as_slice(), Vec::as_slice).iter().map(Column::of).collect())
    }

    /// Column definitions of a Table.
    #[must_use]
    pub fn definitions(&self) -> Value {
        let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name must be unique within a namespace."});
        std::iter::once(name).chain(self.0.iter().map(|column| column.definition.clone())).collect()
    }

    /// The cells of one object.
    #[must_use]
    pub fn cells(&self, object: &Value, now: Timestamp) -> Value {
        let name = at(object, &["metadata", "name"]).clone();
        std::iter::once(name).chain(self.0.iter().map(|column| column.cell(object, now))).collect()
    }
}

impl Column {
    fn of(column: &Value) -> Self {
        let text = |name: &str| at(column, &[name]).as_str().unwrap_or_default().to_owned();
        let (name, path, description) = (text("name"), text("jsonPath"), text("description"));
        let description = match (description.is_empty(), path.as_str()) {
            (false, _) => description,
            (true, ".metadata.creationTimestamp") => CREATED.to_owned(),
            _ => format!("Custom resource definition column (in JSONPath format): {path}"),
        };
        let priority = at(column, &["priority"]).as_i64().unwrap_or(0);
        let definition = json!({"name": name, "type": text("type"), "format": text("format"),
            "description": description, "priority": priority});
        Self { definition, path: JsonPath::parse(&path), kind: text("type") }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        // Of several values the first alone is told, as upstream does.
        let first = self.path.as_ref().and_then(|path| path.find(object).into_iter().next());
        let Some(first) = first else { return Value::Null };
        match (self.kind.as_str(), first) {
            ("integer", Value::Number(number)) => {
                number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)).map_or(Value::Null, Value::from)
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => first.clone(),
            ("string", Value::String(_) | Value::Null) => first.clone(),
            ("string", other) => Value::String(other.to_string()),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(at) => Value::String(human_age(at, now)),
                Err(_) => Value::String("<invalid>".to_owned()),
            },
            _ => Value::Null,
        }
    }
}

const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
    guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in \
    RFC3339 form and is in UTC.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_values_a_column_tells_the_first() {
        let object = json!({"servers": [{"hosts": ["a", "b"], "port": 1}, {"hosts": ["c"], "port": 2}]});
        for (path, kind, want) in [
            (".servers[*].hosts", "string", json!("[\"a\",\"b\"]")),
            (".servers[*].hosts[*]", "string", json!("a")),
            (".servers[*].port", "string", json!("1")),
            (".servers[*].port", "integer", json!(1)),
            (".servers[*].name", "string", Value::Null),
        ] {
            let column = Column::of(&json!({"name": "Column", "type": kind, "jsonPath": path}));
            assert_eq!(column.cell(&object, Timestamp::UNIX_EPOCH), want, "{path}");
        }
    }
}
