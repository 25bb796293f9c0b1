//! Aggregated discovery (KEP-3352): everything in one document, with a hash that clients cache by.

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT;
use rk_api::resources::{GroupVersionKind, Registry, Resource, Verb};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::aggregation::Aggregated;

/// Version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V2Beta1,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Version::V2 => "v2",
            Version::V2Beta1 => "v2beta1",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Version::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Version::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// A rendered document.
pub(super) struct Document {
    pub body: Bytes,
    pub etag: String,
}

/// The version that the client asks for before anything else; `None` for the documents of old.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Version> {
    let clauses =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for clause in clauses {
        let has = |parameter: &str| clause.split(';').any(|part| part.trim() == parameter);
        if !has("application/json") {
            continue;
        }
        if has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList") {
            if has("v=v2") {
                return Some(Version::V2);
            }
            if has("v=v2beta1") {
                return Some(Version::V2Beta1);
            }
            continue;
        }
        return None;
    }
    None
}

/// Renders the document of the core group or of all named groups.
pub(super) fn render(registry: &Registry, aggregated: &Aggregated, core_group: bool, version: Version) -> Document {
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for gv in registry.group_versions().iter().filter(|gv| gv.group.is_empty() == core_group) {
        let body = json!({
            "version": &*gv.version,
            "resources": registry.resources(&gv.group, &gv.version).map(|resource| entry(resource)).collect::<Vec<_>>(),
            "freshness": "Current",
        });
        match groups.last_mut().filter(|(name, _)| *name == gv.group) {
            Some((_, versions)) => versions.push(body),
            None => groups.push((gv.group.to_string(), vec![body])),
        }
    }
    for (name, body) in aggregated.discovery().into_iter().filter(|_| !core_group) {
        match groups.iter_mut().find(|(own, _)| *own == name) {
            Some((_, versions)) => versions.push(body),
            None => groups.push((name, vec![body])),
        }
    }
    let rank = aggregated.ranks(registry);
    groups.sort_by_cached_key(|(name, _)| rank(name));
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(name, versions)| {
            let metadata = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", version.name()),
        "metadata": {},
        "items": items,
    });
    let body = Bytes::from(list.to_string());
    let etag = format!("\"{}\"", hex::encode_upper(Sha512::digest(&body)));
    Document { body, etag }
}

/// What a resource answers with. Group and version stay empty where they are those that serve it, as upstream's do.
fn response_kind(gvk: &GroupVersionKind, served: &GroupVersionKind) -> Value {
    if (&gvk.group, &gvk.version) == (&served.group, &served.version) {
        return json!({"group": "", "version": "", "kind": &*gvk.kind});
    }
    json!({"group": &*gvk.group, "version": &*gvk.version, "kind": &*gvk.kind})
}

fn entry(resource: &Resource) -> Value {
    let verbs = |verbs: rk_api::resources::Verbs| verbs.iter().map(Verb::as_str).collect::<Vec<_>>();
    let gvk = &resource.gvk;
    let mut out = Map::new();
    out.insert("resource".into(), json!(&*resource.plural));
    out.insert("responseKind".into(), response_kind(gvk, gvk));
    out.insert("scope".into(), json!(if resource.namespaced() { "Namespaced" } else { "Cluster" }));
    out.insert("singularResource".into(), json!(&*resource.singular));
    out.insert("verbs".into(), json!(resource.listed_verbs()));
    if !resource.short_names.is_empty() {
        out.insert("shortNames".into(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        out.insert("categories".into(), json!(resource.categories));
    }
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            json!({
                "subresource": &*sub.name,
                "responseKind": response_kind(&sub.gvk, gvk),
                "verbs": verbs(sub.verbs),
            })
        })
        .collect();
    if !subresources.is_empty() {
        out.insert("subresources".into(), json!(subresources));
    }
    Value::Object(out)
}
