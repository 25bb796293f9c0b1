//! Discovery documents of old: `/api`, `/apis` and one per group and version.

use bytes::Bytes;
use rk_api::resources::{Registry, Resource, Verbs};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::codec;
use crate::http::Format;

/// What a list of resources and its items hold, as upstream orders it.
const FIELDS: [&str; 13] = [
    "name",
    "singularName",
    "namespaced",
    "group",
    "version",
    "kind",
    "apiVersion",
    "groupVersion",
    "resources",
    "verbs",
    "shortNames",
    "categories",
    "storageVersionHash",
];

/// A list of resources, written in the order of [`FIELDS`].
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let member = |name: &'static str| Some((name, InOrder(members.get(name)?)));
                serializer.collect_map(FIELDS.into_iter().filter_map(member))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(InOrder)),
            other => other.serialize(serializer),
        }
    }
}

/// Encodes a document. Scripts look into lists of resources as text, so their fields come in upstream's order there.
pub(super) fn encode(document: &Value, format: Format, pretty: bool) -> (&'static str, Bytes) {
    if format != Format::Json || document.get("resources").is_none() {
        return codec::encode(document, format, pretty);
    }
    let list = InOrder(document);
    let text = if pretty { serde_json::to_vec_pretty(&list) } else { serde_json::to_vec(&list) };
    let mut text = text.unwrap_or_default();
    text.push(b'\n');
    (format.media_type(), text.into())
}

/// `/api`.
pub(super) fn api_versions(server: &str) -> Value {
    let address = server.strip_prefix("https://").unwrap_or(server);
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

fn group_names(registry: &Registry) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for gv in registry.group_versions() {
        if !gv.group.is_empty() && !names.contains(&&*gv.group) {
            names.push(&gv.group);
        }
    }
    names
}

fn group_body(registry: &Registry, name: &str) -> Option<Value> {
    let versions: Vec<Value> = registry
        .group_versions()
        .iter()
        .filter(|gv| gv.group == name)
        .map(|gv| json!({"groupVersion": format!("{name}/{}", gv.version), "version": &*gv.version}))
        .collect();
    let preferred = registry.preferred_version(name)?;
    Some(json!({
        "name": name,
        "versions": versions,
        "preferredVersion": {"groupVersion": format!("{name}/{preferred}"), "version": preferred},
    }))
}

/// `/apis`.
pub(super) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = group_names(registry).into_iter().filter_map(|name| group_body(registry, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub(super) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut group = group_body(registry, name).filter(|_| !name.is_empty())?;
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn verbs(verbs: Verbs) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

/// A short hash that changes when objects are stored under another version; upstream's recipe.
fn storage_hash(resource: &Resource) -> String {
    use base64::Engine;
    let name = format!("{}/{}/{}", resource.hub.0, resource.hub.1, resource.gvk.kind);
    let digest = Sha256::digest(name.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest.get(..8).unwrap_or_default())
}

fn entry(resource: &Resource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), json!(&*resource.plural));
    entry.insert("singularName".into(), json!(&*resource.singular));
    entry.insert("namespaced".into(), json!(resource.namespaced()));
    entry.insert("kind".into(), json!(&*resource.gvk.kind));
    entry.insert("verbs".into(), json!(resource.listed_verbs()));
    if !resource.short_names.is_empty() {
        entry.insert("shortNames".into(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        entry.insert("categories".into(), json!(resource.categories));
    }
    if resource.is_stored() {
        entry.insert("storageVersionHash".into(), json!(storage_hash(resource)));
    }
    Value::Object(entry)
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for resource in registry.resources(group, version) {
        list.push(entry(resource));
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name),
                "singularName": "",
                "namespaced": resource.namespaced(),
                "kind": &*sub.gvk.kind,
                "verbs": verbs(sub.verbs),
            });
            if (&sub.gvk.group, &sub.gvk.version) != (&resource.gvk.group, &resource.gvk.version) {
                if !sub.gvk.group.is_empty() {
                    entry["group"] = json!(&*sub.gvk.group);
                }
                entry["version"] = json!(&*sub.gvk.version);
            }
            list.push(entry);
        }
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!list.is_empty())
        .then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": list}))
}

/// `/`: what else there is.
pub(super) fn paths(registry: &Registry) -> Value {
    let mut paths: Vec<String> = vec![
        "/.well-known/openid-configuration".into(),
        "/api".into(),
        "/api/v1".into(),
        "/apis".into(),
        "/apis/".into(),
        "/flagz".into(),
        "/metrics".into(),
        "/metrics/slis".into(),
        "/openapi/v2".into(),
        "/openapi/v3".into(),
        "/openid/v1/jwks".into(),
        "/statusz".into(),
        "/version".into(),
    ];
    paths.extend(crate::health::paths());
    for name in group_names(registry) {
        paths.push(format!("/apis/{name}"));
    }
    for gv in registry.group_versions().iter().filter(|gv| !gv.group.is_empty()) {
        paths.push(format!("/apis/{}/{}", gv.group, gv.version));
    }
    paths.sort();
    json!({"paths": paths})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_listed_with_all_of_their_fields_in_upstreams_order() {
        let registry = Registry::builtin();
        for gv in registry.group_versions() {
            let list = resources(&registry, &gv.group, &gv.version).unwrap();
            for pretty in [false, true] {
                let (_, text) = encode(&list, Format::Json, pretty);
                assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), list, "{}/{}", gv.group, gv.version);
            }
        }
        let (_, text) = encode(&resources(&registry, "", "v1").unwrap(), Format::Json, false);
        let text = String::from_utf8(text.to_vec()).unwrap();
        let verbs = r#""verbs":["create","delete","deletecollection","get","list","patch","update","watch"]"#;
        let told = |name: &str, kind: &str, rest: &str| {
            let singular = kind.to_lowercase();
            format!(r#"{{"name":"{name}","singularName":"{singular}","namespaced":true,"kind":"{kind}",{verbs},{rest}"#)
        };
        let scale =
            r#"{"name":"replicationcontrollers/scale","singularName":"","namespaced":true,"group":"autoscaling","#;
        for part in [
            told("configmaps", "ConfigMap", r#""shortNames":["cm"],"storageVersionHash":"#),
            told("pods", "Pod", r#""shortNames":["po"],"categories":["all"],"#),
            format!(r#"{scale}"version":"v1","kind":"Scale","#),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
    }
}
