//! A CustomResourceDefinition as rows of the resource table.

use std::sync::Arc;

use serde_json::Value;

use super::kind::CustomKind;
use super::node;
use crate::meta::at;
use crate::resources::{GroupVersionKind, Resource, Scope, Str, Subresource, Verb, Verbs};

/// Whether a definition's names are its own and it is served.
pub fn is_established(definition: &Value) -> bool {
    let conditions = at(definition, &["status", "conditions"]).as_array();
    conditions.into_iter().flatten().any(|c| at(c, &["type"]) == "Established" && at(c, &["status"]) == "True")
}

/// The rows of every version, the preferred version first; those that are not served have no verbs: objects are kept in them, or have owners
/// who speak them.
pub fn rows(definition: &Value) -> Vec<Resource> {
    let spec = at(definition, &["spec"]);
    let mut versions: Vec<&Value> = at(spec, &["versions"]).as_array().into_iter().flatten().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version_order(name(version))));
    let flag = |version: &Value, key: &str| at(version, &[key]) == &Value::Bool(true);
    let Some(storage) =
        versions.iter().find(|version| flag(version, "storage")).map(|version| name(version).to_owned())
    else {
        return Vec::new();
    };
    versions.into_iter().map(|version| row(definition, version, &storage, flag(version, "served"))).collect()
}

fn name(version: &Value) -> &str {
    at(version, &["name"]).as_str().unwrap_or_default()
}

fn row(definition: &Value, version: &Value, storage: &str, served: bool) -> Resource {
    let spec = at(definition, &["spec"]);
    let text = |path: &[&str]| -> Str { at(spec, path).as_str().unwrap_or_default().to_owned().into() };
    let texts = |path: &[&str]| -> Vec<Str> {
        let list = at(spec, path).as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(|text| Str::Owned(text.to_owned())).collect()
    };
    let (group, kind) = (text(&["group"]), text(&["names", "kind"]));
    let singular = text(&["names", "singular"]);
    let gvk = GroupVersionKind::new(group.clone(), name(version).to_owned(), kind.clone());
    let custom = CustomKind::new(definition, version);
    let mut subresources = Vec::new();
    // Also of a version that is not served: what is kept in it has the same parts.
    let verbs = Verbs::NONE.with(Verb::Get).with(Verb::Patch).with(Verb::Update);
    if custom.has_status {
        subresources.push(Subresource { name: "status".into(), gvk: gvk.clone(), verbs });
    }
    if custom.scale.is_some() {
        let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
        subresources.push(Subresource { name: "scale".into(), gvk, verbs });
    }
    Resource {
        singular: if singular.is_empty() { kind.to_lowercase().into() } else { singular },
        plural: text(&["names", "plural"]),
        scope: if text(&["scope"]) == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        verbs: match (served, crate::meta::is_deleting(definition)) {
            (false, _) => Verbs::NONE,
            // Nothing new comes while the old ones go; what kube-apiserver v1.36 lists then.
            (true, true) => {
                let listed = [Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Watch];
                listed.into_iter().fold(Verbs::NONE, Verbs::with)
            }
            (true, false) => Verbs::ALL,
        },
        short_names: texts(&["names", "shortNames"]),
        categories: texts(&["names", "categories"]),
        subresources,
        hub: (group, Str::Owned(storage.to_owned())),
        schema: node::root(&custom.schema),
        custom: Some(Arc::new(custom)),
        gvk,
    }
}

/// Kubernetes' order of versions: stable ones before beta before alpha, higher numbers first, other names last by alphabet.
fn version_order(name: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let parsed = || {
        let rest = name.strip_prefix('v')?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let major: u64 = rest.get(..digits)?.parse().ok()?;
        let stage = rest.get(digits..)?;
        if stage.is_empty() {
            return Some((3, major, 0));
        }
        let (rank, number) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            (Some(number), _) => (2, number),
            (_, Some(number)) => (1, number),
            _ => return None,
        };
        Some((rank, major, number.parse().ok()?))
    };
    let (rank, major, minor) = parsed().unwrap_or((0, 0, 0));
    (rank, major, minor, std::cmp::Reverse(name.to_owned()))
}
