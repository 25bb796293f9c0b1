//! Objects as they stand in messages. kube-apiserver shows types of its own there: every field by its Go name, in the order of the struct.

use serde_json::{Map, Value};

/// A struct: its fields by name in JSON, by name in Go, and what they are when absent (JSON).
pub(crate) struct Struct(&'static [(&'static str, &'static str, &'static str)]);

pub(crate) const CLAIM_OF_POD: Struct = Struct(&[
    ("name", "Name", "\"\""),
    ("resourceClaimName", "ResourceClaimName", "null"),
    ("resourceClaimTemplateName", "ResourceClaimTemplateName", "null"),
]);
pub(crate) const DISRUPTION_BUDGET_SPEC: Struct = Struct(&[
    ("minAvailable", "MinAvailable", "null"),
    ("selector", "Selector", "null"),
    ("maxUnavailable", "MaxUnavailable", "null"),
    ("unhealthyPodEvictionPolicy", "UnhealthyPodEvictionPolicy", "null"),
]);
pub(crate) const NODE_ADDRESS: Struct = Struct(&[("type", "Type", "\"\""), ("address", "Address", "\"\"")]);
pub(crate) const PARENT_REFERENCE: Struct = Struct(&[
    ("group", "Group", "\"\""),
    ("resource", "Resource", "\"\""),
    ("namespace", "Namespace", "\"\""),
    ("name", "Name", "\"\""),
]);
pub(crate) const POD_IP: Struct = Struct(&[("ip", "IP", "\"\"")]);
pub(crate) const ROLE_REF: Struct =
    Struct(&[("apiGroup", "APIGroup", "\"\""), ("kind", "Kind", "\"\""), ("name", "Name", "\"\"")]);
pub(crate) const SECCOMP_PROFILE: Struct =
    Struct(&[("type", "Type", "\"\""), ("localhostProfile", "LocalhostProfile", "null")]);
pub(crate) const SERVICE_PORT: Struct = Struct(&[
    ("name", "Name", "\"\""),
    ("protocol", "Protocol", "\"\""),
    ("appProtocol", "AppProtocol", "null"),
    ("port", "Port", "0"),
    ("targetPort", "TargetPort", "0"),
    ("nodePort", "NodePort", "0"),
]);
const STRATEGY: Struct = Struct(&[("type", "Type", "\"\""), ("rollingUpdate", "RollingUpdate", "null")]);
pub(crate) const TAINT: Struct = Struct(&[
    ("key", "Key", "\"\""),
    ("value", "Value", "\"\""),
    ("effect", "Effect", "\"\""),
    ("timeAdded", "TimeAdded", "null"),
]);
pub(crate) const TOLERATION: Struct = Struct(&[
    ("key", "Key", "\"\""),
    ("operator", "Operator", "\"\""),
    ("value", "Value", "\"\""),
    ("effect", "Effect", "\"\""),
    ("tolerationSeconds", "TolerationSeconds", "null"),
]);

/// Every one, for their order.
const ALL: &[Struct] = &[
    CLAIM_OF_POD,
    DISRUPTION_BUDGET_SPEC,
    NODE_ADDRESS,
    PARENT_REFERENCE,
    POD_IP,
    ROLE_REF,
    SECCOMP_PROFILE,
    SERVICE_PORT,
    STRATEGY,
    TAINT,
    TOLERATION,
];

/// The order of types that are shown as they are in JSON, and how many of their fields are always there.
const AS_SENT: &[(&[&str], usize)] = &[
    (&["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"], 4),
    (&["matchLabels", "matchExpressions"], 2),
];

impl Struct {
    /// An object of this type, as it is shown.
    pub(crate) fn of(&self, value: &Value) -> Value {
        let fields = self.0.iter().map(|(json, go, absent)| {
            let own = value.get(json).cloned();
            // What the tables say is JSON.
            let own = own.unwrap_or_else(|| serde_json::from_str(absent).unwrap_or_default());
            ((*go).to_owned(), own)
        });
        Value::Object(fields.collect())
    }

    /// The place of each field in the struct, when an object is one of this type.
    fn order(&self, object: &Map<String, Value>) -> Option<Vec<&'static str>> {
        let names: Vec<&'static str> = self.0.iter().map(|(_, go, _)| *go).collect();
        (names.len() == object.len() && names.iter().all(|name| object.contains_key(*name))).then_some(names)
    }
}

/// The text of a value, as Go's JSON has it.
pub(super) fn json(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(json).collect::<Vec<String>>().join(",")),
        Value::Object(object) => {
            let names = order(object).unwrap_or_else(|| object.keys().map(String::as_str).collect());
            let fields = names.iter().filter_map(|name| {
                let own = object.get(*name)?;
                Some(format!("{}:{}", Value::from(*name), json(own)))
            });
            format!("{{{}}}", fields.collect::<Vec<String>>().join(","))
        }
        other => other.to_string(),
    }
}

/// In which order an object's fields are shown, where that is not the alphabetical one.
fn order(object: &Map<String, Value>) -> Option<Vec<&str>> {
    if let Some(names) = ALL.iter().find_map(|known| known.order(object)) {
        return Some(names);
    }
    let (names, _) = AS_SENT.iter().find(|(names, always)| {
        let all_known = object.keys().all(|name| names.contains(&name.as_str()));
        all_known && names.iter().take(*always).all(|name| object.contains_key(*name))
    })?;
    Some(names.to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_shown_as_the_structs_of_go_that_they_are() {
        let shown = |known: &Struct, value: Value| json(&known.of(&value));
        assert_eq!(
            shown(&SERVICE_PORT, json!({"port": 80, "protocol": "TCP"})),
            r#"{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#
        );
        assert_eq!(
            shown(&TAINT, json!({"key": "a", "effect": "NoSchedule"})),
            r#"{"Key":"a","Value":"","Effect":"NoSchedule","TimeAdded":null}"#
        );
        assert_eq!(json(&json!({"RollingUpdate": null, "Type": "Slow"})), r#"{"Type":"Slow","RollingUpdate":null}"#);
        for known in ALL {
            assert!(known.order(known.of(&Value::Null).as_object().unwrap()).is_some());
        }
    }

    #[test]
    fn references_and_selectors_are_shown_in_their_own_order_and_maps_by_the_alphabet() {
        let owner = json!({"apiVersion": "v1", "kind": "A", "name": "n", "uid": "u", "controller": true});
        let shown = r#"{"apiVersion":"v1","kind":"A","name":"n","uid":"u","controller":true}"#;
        assert_eq!(json(&json!([owner])), format!("[{shown}]"));
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}], "matchLabels": {"b": "c"}});
        let shown = r#"{"matchLabels":{"b":"c"},"matchExpressions":[{"key":"a","operator":"Exists"}]}"#;
        assert_eq!(json(&selector), shown);
        assert_eq!(json(&json!({"kind": "b", "controller": "a"})), r#"{"controller":"a","kind":"b"}"#);
        assert_eq!(json(&json!({"a\"b": 1.5})), r#"{"a\"b":1.5}"#);
    }
}
