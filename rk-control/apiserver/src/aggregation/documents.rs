//! What discovery says of aggregated APIs.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use rk_api::meta;
use rk_api::resources::Registry;
use serde_json::{Map, Value, json};

use super::{Aggregated, Remote};
use crate::custom::CUSTOM_PRIORITIES;

/// Where a group stands among the others.
pub(crate) type Rank = (Reverse<i64>, String);

impl Aggregated {
    /// Tells where groups stand, by which clients choose between kinds of one name: what is built in comes first, in the order that it has,
    /// then what has a higher priority, and of the same priority the first by name.
    pub(crate) fn ranks(&self, registry: &Registry) -> impl Fn(&str) -> Rank + use<> {
        let own = registry.iter().filter(|row| row.custom.is_none());
        let builtin: BTreeSet<String> = own.map(|row| row.gvk.group.to_string()).collect();
        let remotes = self.all();
        move |group: &str| {
            if builtin.contains(group) {
                return (Reverse(i64::MAX), String::new());
            }
            let known = remotes.iter().find(|remote| remote.group == group).map(|remote| remote.priority.0);
            (Reverse(known.unwrap_or(CUSTOM_PRIORITIES.0)), group.to_owned())
        }
    }

    /// Adds the groups to an APIGroupList of those in a table.
    pub fn extend_groups(&self, registry: &Registry, list: &mut Value) {
        let Some(groups) = list.get_mut("groups").and_then(Value::as_array_mut) else { return };
        for remote in self.all().iter() {
            let version = version_of(remote);
            match groups.iter_mut().find(|group| meta::text(group, &["name"]) == remote.group) {
                Some(group) => push(group, version),
                None => groups.push(json!({"name": remote.group, "versions": [version], "preferredVersion": version})),
            }
        }
        let rank = self.ranks(registry);
        groups.sort_by_cached_key(|group| rank(meta::text(group, &["name"])));
    }

    /// Adds the documents of OpenAPI v3 to their index.
    pub fn extend_openapi(&self, index: &mut Value) {
        let Some(paths) = index.get_mut("paths").and_then(Value::as_object_mut) else { return };
        for remote in self.all().iter() {
            let Some(address) = &remote.openapi else { continue };
            paths.insert(format!("apis/{}/{}", remote.group, remote.version), json!({"serverRelativeURL": address}));
        }
    }

    /// One group as an APIGroup; `own` is what this server itself says of it.
    #[must_use]
    pub fn extend_group(&self, name: &str, own: Option<Value>) -> Option<Value> {
        let remotes = self.all();
        let mut group = own;
        for remote in remotes.iter().filter(|remote| remote.group == name) {
            let version = version_of(remote);
            match &mut group {
                Some(group) => push(group, version),
                None => {
                    group = Some(json!({
                        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version], "preferredVersion": version,
                    }));
                }
            }
        }
        group
    }

    /// The groups as entries of an APIGroupDiscoveryList.
    #[must_use]
    pub fn discovery(&self) -> Vec<(String, Value)> {
        let entry = |remote: &Remote| {
            let freshness = if remote.available { "Current" } else { "Stale" };
            (
                remote.group.clone(),
                json!({"version": remote.version, "resources": resources(&remote.resources), "freshness": freshness}),
            )
        };
        self.all().iter().map(entry).collect()
    }
}

fn version_of(remote: &Remote) -> Value {
    json!({"groupVersion": format!("{}/{}", remote.group, remote.version), "version": remote.version})
}

fn push(group: &mut Value, version: Value) {
    if let Some(versions) = group.get_mut("versions").and_then(Value::as_array_mut)
        && !versions.contains(&version)
    {
        versions.push(version);
    }
}

/// APIResources in the form of aggregated discovery: subresources stand inside their resource. Metrics are subresources of what others
/// serve: there the resource is told of for their sake alone.
fn resources(told: &[Value]) -> Vec<Value> {
    let is_sub = |resource: &&Value| meta::text(resource, &["name"]).contains('/');
    let (subs, main): (Vec<&Value>, Vec<&Value>) = told.iter().partition(is_sub);
    let mut entries: Vec<Value> = main.into_iter().map(entry).collect();
    for sub in subs {
        let Some((parent, own)) = meta::text(sub, &["name"]).split_once('/') else { continue };
        if !entries.iter().any(|entry| meta::text(entry, &["resource"]) == parent) {
            let nothing = json!({"group": "", "version": "", "kind": ""});
            entries.push(json!({"resource": parent, "responseKind": nothing, "scope": scope(sub), "singularResource": "", "verbs": []}));
        }
        let Some(entry) = entries.iter_mut().find(|entry| meta::text(entry, &["resource"]) == parent) else { continue };
        let sub = json!({"subresource": own, "responseKind": kind(sub), "verbs": meta::at(sub, &["verbs"])});
        match entry.get_mut("subresources").and_then(Value::as_array_mut) {
            Some(list) => list.push(sub),
            None => entry["subresources"] = json!([sub]),
        }
    }
    entries
}

fn entry(resource: &Value) -> Value {
    let mut out = Map::new();
    out.insert("resource".into(), json!(meta::text(resource, &["name"])));
    out.insert("responseKind".into(), kind(resource));
    out.insert("scope".into(), json!(scope(resource)));
    out.insert("singularResource".into(), json!(meta::text(resource, &["singularName"])));
    for field in ["verbs", "shortNames", "categories"] {
        if let Some(list) = resource.get(field).filter(|list| list.is_array()) {
            out.insert(field.into(), list.clone());
        }
    }
    Value::Object(out)
}

fn scope(resource: &Value) -> &'static str {
    if meta::at(resource, &["namespaced"]) == &Value::Bool(true) { "Namespaced" } else { "Cluster" }
}

/// What a resource answers with, as far as its server tells.
fn kind(resource: &Value) -> Value {
    let own = |field: &str| meta::text(resource, &[field]);
    json!({"group": own("group"), "version": own("version"), "kind": own("kind")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_by_their_priorities_and_then_by_name() {
        let mut registry = Registry::builtin();
        for group in ["b.example", "a.example"] {
            let rows = rk_api::custom::rows(&json!({"spec": {"group": group, "names": {"plural": "as", "kind": "A"},
                "versions": [{"name": "v1", "served": true, "storage": true}]}}));
            rows.into_iter().for_each(|row| registry.insert(row));
        }
        let remote = |group: &str, priority: i64| {
            let spec =
                json!({"group": group, "version": "v1", "groupPriorityMinimum": priority, "service": {"name": "s"}});
            super::super::check::remote(&json!({ "spec": spec })).unwrap()
        };
        let aggregated = Aggregated::default();
        aggregated.replace(vec![remote("c.example", 2000), remote("metrics.k8s.io", 100)]);
        let named = |name: &str| json!({ "name": name });
        let groups = ["batch", "apps", "b.example", "a.example"].map(named);
        let mut list = json!({ "groups": groups });
        aggregated.extend_groups(&registry, &mut list);
        let names: Vec<&str> =
            list["groups"].as_array().unwrap().iter().map(|own| meta::text(own, &["name"])).collect();
        assert_eq!(names, ["batch", "apps", "c.example", "a.example", "b.example", "metrics.k8s.io"]);
    }

    #[test]
    fn subresources_of_what_others_serve_have_a_resource_of_their_own() {
        let named = |name: &str, kind: &str| json!({"name": name, "namespaced": true, "kind": kind, "verbs": ["get"]});
        let told = [
            named("pods/requests", "MetricValueList"),
            named("flunders/status", "Flunder"),
            named("flunders", "Flunder"),
            named("pods/latency", "MetricValueList"),
        ];
        let entries = resources(&told);
        let brief: Vec<(&str, &str, usize)> = entries
            .iter()
            .map(|entry| {
                let subs = entry["subresources"].as_array().map_or(0, Vec::len);
                (meta::text(entry, &["resource"]), meta::text(entry, &["responseKind", "kind"]), subs)
            })
            .collect();
        assert_eq!(brief, [("flunders", "Flunder", 1), ("pods", "", 2)]);
        let latency = json!({"subresource": "latency", "verbs": ["get"],
            "responseKind": {"group": "", "version": "", "kind": "MetricValueList"}});
        assert_eq!(entries[1]["subresources"][1], latency);
        assert_eq!(entries[1]["scope"], "Namespaced");
    }
}
