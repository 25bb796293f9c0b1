//! What selectors look at in an object: its labels, and the fields that selectors of its kind may name.
//!
//! The cache keeps these apart, so that selecting parses nothing, and packed, since there are as many of them as objects.

use std::sync::Arc;

use rk_api::custom::CustomKind;
use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::selector::{field_text, path_text, supported_fields};
use serde_json::{Value, json};

/// Labels and selectable fields of one object.
#[derive(Debug)]
pub(super) struct Selectable {
    names: Names,
    /// The text of each field in the order of the names, then key and value of each label.
    texts: Box<str>,
    /// Where each of these ends, in bytes.
    ends: Box<[u32]>,
}

/// Where the names of the fields stand: once for all objects of a kind.
#[derive(Debug)]
enum Names {
    Builtin(&'static [&'static str]),
    Custom(Arc<CustomKind>),
}

impl Names {
    fn of(hub: &Resource) -> Self {
        match &hub.custom {
            Some(custom) => Self::Custom(Arc::clone(custom)),
            None => Self::Builtin(supported_fields(&hub.gvk)),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Builtin(names) => names.len(),
            Self::Custom(custom) => custom.selectable.len(),
        }
    }

    fn at(&self, place: usize) -> Option<&str> {
        match self {
            Self::Builtin(names) => names.get(place).copied(),
            Self::Custom(custom) => custom.selectable.get(place).map(String::as_str),
        }
    }

    /// The text of a field as selectors compare it.
    fn text(&self, object: &Value, name: &str) -> String {
        match self {
            Self::Builtin(_) => field_text(object, name),
            Self::Custom(_) => path_text(object, name),
        }
    }
}

impl Selectable {
    /// Of an object in its storage version.
    pub(super) fn new(hub: &Resource, object: &Value) -> Self {
        let names = Names::of(hub);
        let (mut texts, mut ends) = (String::new(), Vec::new());
        let mut add = |text: &str| {
            texts.push_str(text);
            // No object is as large as this counts.
            ends.push(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        };
        for name in (0..names.count()).filter_map(|place| names.at(place)) {
            add(&names.text(object, name));
        }
        for (key, value) in meta::labels(object).as_object().into_iter().flatten() {
            if let Some(value) = value.as_str() {
                add(key);
                add(value);
            }
        }
        Self { names, texts: texts.into_boxed_str(), ends: ends.into_boxed_slice() }
    }

    /// The text of a field; empty when selectors of the kind may not name it.
    pub(super) fn field(&self, name: &str) -> &str {
        let place = (0..self.names.count()).find(|place| self.names.at(*place) == Some(name));
        place.and_then(|place| self.text(place)).unwrap_or_default()
    }

    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        let mut keys = (self.names.count()..self.ends.len()).step_by(2);
        let place = keys.find(|place| self.text(*place) == Some(key))?;
        self.text(place + 1)
    }

    fn text(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.texts.get(start as usize..end as usize)
    }
}

/// What the allocator of addresses and node ports reads of every Service whenever one is written; `None` for other kinds.
pub(super) fn addressing(hub: &Resource, object: &Value) -> Option<Arc<Value>> {
    if !hub.gvk.group.is_empty() || hub.plural != "services" {
        return None;
    }
    let spec = |field: &str| meta::at(object, &["spec", field]).clone();
    let ports: Vec<Value> = meta::at(object, &["spec", "ports"])
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| json!({"protocol": port.get("protocol"), "nodePort": port.get("nodePort")}))
        .collect();
    Some(Arc::new(json!({"spec": {
        "clusterIP": spec("clusterIP"), "clusterIPs": spec("clusterIPs"), "ports": ports,
        "healthCheckNodePort": spec("healthCheckNodePort"),
    }})))
}

#[cfg(test)]
mod tests {
    use rk_api::resources::Registry;

    use super::*;

    fn of(group: &str, plural: &str, object: &Value) -> Selectable {
        let registry = Registry::builtin();
        Selectable::new(registry.get(group, "v1", plural).unwrap(), object)
    }

    #[test]
    fn labels_and_the_fields_of_the_kind_are_kept_and_nothing_else() {
        let pod = json!({
            "metadata": {"name": "p", "labels": {"app": "web", "empty": "", "n": 5, "spec.nodeName": "ü"}, "annotations": {"a": "b"}},
            "spec": {"nodeName": "one", "hostNetwork": true, "containers": [{"name": "main", "image": "x"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        });
        let kept = of("", "pods", &pod);
        for (field, text) in [
            ("spec.nodeName", "one"),
            ("spec.hostNetwork", "true"),
            ("spec.restartPolicy", ""),
            ("status.phase", "Running"),
            ("status.podIPs", "10.0.0.1"),
            ("spec.containers", ""),
            ("metadata.annotations", ""),
            ("app", ""),
        ] {
            assert_eq!(kept.field(field), text, "{field}");
        }
        for (key, value) in [
            ("app", Some("web")),
            ("empty", Some("")),
            ("n", None),
            ("spec.nodeName", Some("ü")),
            ("web", None),
            ("one", None),
            ("Running", None),
        ] {
            assert_eq!(kept.label(key), value, "{key}");
        }
        assert_eq!(&*kept.texts, "onetrueRunning10.0.0.1appwebemptyspec.nodeNameü");
    }

    #[test]
    fn what_stands_for_a_missing_field_is_kept_as_selectors_compare_it() {
        assert_eq!(of("", "nodes", &json!({"metadata": {"name": "n"}})).field("spec.unschedulable"), "false");
        assert_eq!(of("apps", "replicasets", &json!({})).field("status.replicas"), "0");
        let event =
            json!({"reportingComponent": "kubelet", "involvedObject": {"kind": "Pod", "uid": "u"}, "type": "Normal"});
        let event = of("", "events", &event);
        for (field, text) in
            [("source", "kubelet"), ("involvedObject.uid", "u"), ("involvedObject.name", ""), ("type", "Normal")]
        {
            assert_eq!(event.field(field), text, "{field}");
        }
        let map = of("", "configmaps", &json!({"metadata": {"name": "m"}, "data": {"a": "b"}}));
        assert!(map.texts.is_empty() && map.ends.is_empty() && map.label("a").is_none());
    }

    #[test]
    fn of_services_alone_the_addresses_are_kept() {
        let registry = Registry::builtin();
        let row = |plural: &str| registry.get("", "v1", plural).unwrap();
        let service = json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "selector": {"a": "b"},
            "ports": [{"name": "web", "port": 80, "protocol": "TCP", "nodePort": 30_001}]}});
        let kept = addressing(row("services"), &service).unwrap();
        assert_eq!(kept["spec"]["clusterIPs"], json!(["10.96.0.9"]));
        assert_eq!(kept["spec"]["ports"], json!([{"protocol": "TCP", "nodePort": 30_001}]));
        assert!(kept["spec"].get("selector").is_none());
        assert!(addressing(row("pods"), &service).is_none());
    }
}
