//! Steps of a path.

use std::fmt;

use serde_json::Value;

/// One step: a field, an element of a list by its keys or value, an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// `f:name`
    Field(String),
    /// `k:{"name":"x"}`: the JSON text of the keys, sorted.
    Key(String),
    /// `v:"x"`: the JSON text of a scalar.
    Value(String),
    /// `i:3`
    Index(usize),
}

impl PathElement {
    /// From its text in `fieldsV1`; `None` for an unknown prefix or malformed content.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        // Keys and values are read and written again, so that equal ones have equal text.
        let canonical = || serde_json::from_str::<Value>(rest).ok().map(|v| v.to_string());
        match kind {
            "f" => Some(PathElement::Field(rest.to_owned())),
            "k" => canonical().filter(|t| t.starts_with('{')).map(PathElement::Key),
            "v" => canonical().map(PathElement::Value),
            "i" => rest.parse().ok().map(PathElement::Index),
            _ => None,
        }
    }

    /// Its text in `fieldsV1`.
    pub fn encode(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(json) => format!("k:{json}"),
            PathElement::Value(json) => format!("v:{json}"),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }
}

/// As in messages: `.spec`, `[name="x"]`, `[="x"]`, `[3]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Value(json) => write!(f, "[={json}]"),
            PathElement::Index(index) => write!(f, "[{index}]"),
            PathElement::Key(json) => {
                let keys = serde_json::from_str::<crate::Object>(json).unwrap_or_default();
                let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", parts.join(","))
            }
        }
    }
}
