//! Printer columns of custom kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::path::JsonPath;
use crate::decode::INTEGERS;
use crate::meta::at;
use crate::patch::shown;
use crate::status::go_json;
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
        let age =
            json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": CREATED});
        let age = [age];
        Self(own.map_or(age.as_slice(), Vec::as_slice).iter().map(Column::of).collect())
    }

    /// Column definitions of a Table.
    #[must_use]
    pub fn definitions(&self) -> Value {
        let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": NAME});
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
        let described = !description.is_empty();
        let from = || format!("Custom resource definition column (in JSONPath format): {path}");
        let description = if described { description } else { from() };
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
                number.as_i64().or_else(|| number.as_f64().map(whole)).map_or(Value::Null, Value::from)
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => first.clone(),
            ("string", Value::String(_)) => first.clone(),
            ("string", Value::Null) => Value::String("<no value>".to_owned()),
            ("string", Value::Array(_) | Value::Object(_)) => Value::String(go_json(&first.to_string())),
            ("string", other) => Value::String(shown(other)),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(at) => Value::String(human_age(at, now)),
                Err(_) => Value::String("<invalid>".to_owned()),
            },
            _ => Value::Null,
        }
    }
}

/// The integer part of a number; the least of all for what no integer can tell, as upstream's processors have it.
fn whole(number: f64) -> i64 {
    if number.abs() < INTEGERS { number as i64 } else { i64::MIN }
}

/// What clients are told of the first column.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a \
    client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and \
    configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// What they are told of the age, where a definition has no columns.
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
    guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in \
    RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_a_description_tell_their_path() {
        let told = |list: Value| Columns::of(&list).definitions()[1]["description"].clone();
        let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
        assert_eq!(
            told(json!([age])),
            "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp"
        );
        assert_eq!(told(Value::Null), CREATED);
        assert_eq!(told(json!([{"name": "A", "type": "string", "jsonPath": ".a", "description": "an a"}])), "an a");
    }

    #[test]
    fn values_of_other_types_are_told_as_upstream_tells_them() {
        let object = json!({"map": {"b": "<&>", "a": 1}, "no": null, "tiny": 1e-7, "large": 12_345_678.5, "huge": 1e21, "yes": true});
        for (path, kind, want) in [
            (".map", "string", json!("{\"a\":1,\"b\":\"\\u003c\\u0026\\u003e\"}")),
            (".no", "string", json!("<no value>")),
            (".no", "integer", Value::Null),
            (".tiny", "string", json!("1e-07")),
            (".large", "string", json!("1.23456785e+07")),
            (".large", "integer", json!(12_345_678)),
            (".huge", "integer", json!(i64::MIN)),
            (".yes", "string", json!("true")),
        ] {
            let column = Column::of(&json!({"name": "Column", "type": kind, "jsonPath": path}));
            assert_eq!(column.cell(&object, Timestamp::UNIX_EPOCH), want, "{path} as {kind}");
        }
    }

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
