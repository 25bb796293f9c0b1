//! Cell texts that several kinds share.

use serde_json::Value;

use crate::meta;

/// What stands for nothing.
pub(super) const NONE: &str = "<none>";
/// What stands for a field that is not set.
pub(super) const UNSET: &str = "<unset>";

/// The text, or `<none>`.
pub(super) fn or_none(text: &str) -> Value {
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// The texts with commas between, or `<none>`.
pub(super) fn joined<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Value {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(text.as_ref());
    }
    or_none(&all)
}

/// A map of labels as `a=1,b=2`, or `<none>`.
pub(super) fn labels(map: &Value) -> Value {
    let pairs = map.as_object().into_iter().flatten();
    joined(pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())))
}

/// A LabelSelector object as `a=1,b in (x,y)`, or `<none>`.
pub(super) fn selector(selector: &Value) -> Value {
    let pairs = meta::at(selector, &["matchLabels"]).as_object().into_iter().flatten();
    let equal = pairs.map(|(key, value)| (key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())));
    let listed = meta::at(selector, &["matchExpressions"]).as_array().into_iter().flatten();
    let listed = listed.map(|requirement| (meta::text(requirement, &["key"]), expression(requirement)));
    let mut all: Vec<(&str, String)> = equal.chain(listed).collect();
    all.sort_by_key(|(key, _)| *key);
    joined(all.into_iter().map(|(_, text)| text))
}

fn expression(requirement: &Value) -> String {
    let key = meta::text(requirement, &["key"]);
    let values = meta::at(requirement, &["values"]).as_array().into_iter().flatten();
    let mut values: Vec<&str> = values.filter_map(Value::as_str).collect();
    values.sort_unstable();
    match meta::text(requirement, &["operator"]) {
        "In" => format!("{key} in ({})", values.join(",")),
        "NotIn" => format!("{key} notin ({})", values.join(",")),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

/// The names and the images of a pod spec's containers.
pub(super) fn containers(spec: &Value, field: &str) -> Value {
    let list = meta::at(spec, &["containers"]).as_array().into_iter().flatten();
    joined(list.map(|container| meta::text(container, &[field])))
}

/// Yes or no; absent is no.
pub(super) fn boolean(value: &Value) -> Value {
    value.as_bool().unwrap_or(false).into()
}

/// A number or text as it stands, or `otherwise`.
pub(super) fn plain(value: &Value, otherwise: &str) -> Value {
    match value {
        Value::Null => otherwise.into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}
