//! What discovery says of aggregated APIs.

use rk_api::meta;
use serde_json::{Map, Value, json};

use super::{Aggregated, Remote};

impl Aggregated {
    /// Adds the groups to an APIGroupList.
    pub fn extend_groups(&self, list: &mut Value) {
        let Some(groups) = list.get_mut("groups").and_then(Value::as_array_mut) else { return };
        for remote in self.all().iter() {
            let version = version_of(remote);
            match groups.iter_mut().find(|group| meta::text(group, &["name"]) == remote.group) {
                Some(group) => push(group, version),
                None => groups.push(json!({"name": remote.group, "versions": [version], "preferredVersion": version})),
            }
        }
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
                json!({"version": remote.version, "resources": resources(remote), "freshness": freshness}),
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

/// APIResources in the form of aggregated discovery: subresources stand inside their resource.
fn resources(remote: &Remote) -> Vec<Value> {
    let name = |resource: &Value| meta::text(resource, &["name"]).to_owned();
    let main = remote.resources.iter().filter(|resource| !name(resource).contains('/'));
    main.map(|resource| {
        let mut out = Map::new();
        let plural = name(resource);
        out.insert("resource".into(), json!(plural));
        out.insert("responseKind".into(), kind(remote, resource));
        let scope = if meta::at(resource, &["namespaced"]) == &Value::Bool(true) { "Namespaced" } else { "Cluster" };
        out.insert("scope".into(), json!(scope));
        out.insert("singularResource".into(), meta::at(resource, &["singularName"]).clone());
        for field in ["verbs", "shortNames", "categories"] {
            if let Some(list) = resource.get(field).filter(|list| list.is_array()) {
                out.insert(field.into(), list.clone());
            }
        }
        let subresources: Vec<Value> = remote
            .resources
            .iter()
            .filter_map(|sub| {
                let own = name(sub);
                let (parent, sub_name) = own.split_once('/')?;
                (parent == plural).then(|| {
                    json!({"subresource": sub_name, "responseKind": kind(remote, sub), "verbs": meta::at(sub, &["verbs"])})
                })
            })
            .collect();
        if !subresources.is_empty() {
            out.insert("subresources".into(), subresources.into());
        }
        Value::Object(out)
    })
    .collect()
}

fn kind(remote: &Remote, resource: &Value) -> Value {
    let own = |field: &str, otherwise: &str| {
        let text = meta::text(resource, &[field]);
        json!(if text.is_empty() { otherwise } else { text })
    };
    json!({
        "group": own("group", &remote.group), "version": own("version", &remote.version), "kind": meta::at(resource, &["kind"]),
    })
}
