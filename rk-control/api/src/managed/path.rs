//! Steps of a path.

use std::fmt;

use serde_json::Value;

/// One step, in its text of `fieldsV1`: a field (`f:name`), an element of a list by its keys (`k:{"name":"x"}`) or value (`v:"x"`),
/// an index (`i:3`). Equal steps have equal text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathElement(String);

impl PathElement {
    /// A named field or map entry.
    pub fn field(name: &str) -> Self {
        PathElement(format!("f:{name}"))
    }

    /// An element of a list by its key fields, whose text has sorted keys and no spaces.
    pub(super) fn key(json: &str) -> Self {
        PathElement(format!("k:{json}"))
    }

    /// An element of a set by its value.
    pub(super) fn value(json: &str) -> Self {
        PathElement(format!("v:{json}"))
    }

    /// From its text in `fieldsV1`; `None` for an unknown prefix or malformed content.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(PathElement(text.to_owned())),
            "i" => rest.parse::<usize>().ok().map(|_| PathElement(text.to_owned())),
            "k" if is_plain_key(rest) => Some(PathElement(text.to_owned())),
            // Anything else is read and written again, so that equal elements have equal text.
            "k" | "v" => {
                let value: Value = serde_json::from_str(rest).ok()?;
                (kind == "v" || value.is_object()).then(|| PathElement(format!("{kind}:{value}")))
            }
            _ => None,
        }
    }

    /// Its text in `fieldsV1`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, when it is a field.
    pub(super) fn as_field(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// `{"name":"x"}` with one key and nothing that could be written in two ways.
fn is_plain_key(json: &str) -> bool {
    let inside = json.strip_prefix("{\"").and_then(|r| r.strip_suffix("\"}")).and_then(|r| r.split_once("\":\""));
    inside.is_some_and(|(key, value)| {
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/'));
        plain(key) && plain(value)
    })
}

/// As in messages: `.spec`, `[name="x"]`, `[="x"]`, `[3]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once(':') {
            Some(("f", name)) => write!(f, ".{name}"),
            Some(("v", json)) => write!(f, "[={json}]"),
            Some(("i", index)) => write!(f, "[{index}]"),
            Some((_, json)) => {
                let keys = serde_json::from_str::<crate::Object>(json).unwrap_or_default();
                let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", parts.join(","))
            }
            None => Ok(()),
        }
    }
}
