//! A software bill of materials in CycloneDX 1.5, from what cargo knows about our programs.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that the packages `roots` are built from, out of the answer of `cargo metadata --format-version 1`, and `others`
/// (name, version, licence) that cargo does not know. Sorted, without times and serial numbers: equal input, equal bytes.
pub fn cyclonedx(metadata: &Value, roots: &[&str], version: &str, others: &[(&str, &str, &str)]) -> Value {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> =
        list(metadata, "packages").into_iter().filter_map(|p| Some((p.get("id")?.as_str()?.to_owned(), p))).collect();
    let nodes: BTreeMap<String, Value> = list(metadata.get("resolve").unwrap_or(&Value::Null), "nodes")
        .into_iter()
        .filter_map(|node| Some((node.get("id")?.as_str()?.to_owned(), node)))
        .collect();
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> =
        packages.iter().filter(|(_, p)| roots.contains(&text(p, "name").as_str())).map(|(id, _)| id.clone()).collect();
    while let Some(id) = next.pop() {
        let node = nodes.get(&id).cloned().unwrap_or_default();
        if seen.insert(id) {
            next.extend(
                list(&node, "deps")
                    .iter()
                    .filter(|dep| is_linked(dep))
                    .filter_map(|dep| dep.get("pkg")?.as_str().map(str::to_owned)),
            );
        }
    }
    let mut components: Vec<Value> = seen
        .iter()
        .filter_map(|id| packages.get(id))
        .map(|package| {
            let (name, version) = (text(package, "name"), text(package, "version"));
            component(&name, &version, &text(package, "license"), Some(format!("pkg:cargo/{name}@{version}")))
        })
        .collect();
    components.extend(others.iter().map(|(name, version, licence)| component(name, version, licence, None)));
    components.sort_by_key(|c| (text(c, "name"), text(c, "version")));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "operating-system", "name": "rk", "version": version}},
        "components": components,
    })
}

/// Not for building or testing alone.
fn is_linked(dependency: &Value) -> bool {
    let kinds = dependency.get("dep_kinds").and_then(Value::as_array);
    kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind.get("kind").is_none_or(Value::is_null)))
}

fn component(name: &str, version: &str, licence: &str, purl: Option<String>) -> Value {
    let mut component = json!({"type": "library", "name": name, "version": version});
    if let Some(object) = component.as_object_mut() {
        if !licence.is_empty() {
            // Cargo's old way to say OR.
            object.insert("licenses".into(), json!([{"expression": licence.replace('/', " OR ")}]));
        }
        if let Some(purl) = purl {
            object.insert("purl".into(), Value::String(purl));
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_once_and_what_only_builds_is_not() {
        let dep = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let package = |id: &str| json!({"id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let packages = ["rk", "a", "b", "builder"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "rk", "deps": [dep("a", Value::Null), dep("b", Value::Null), dep("builder", json!("build"))]},
                {"id": "a", "deps": [dep("b", Value::Null)]},
                {"id": "b", "deps": []},
                {"id": "builder", "deps": []},
            ]},
        });
        let bom = cyclonedx(&metadata, &["rk"], "0.1.0", &[("linux", "6.12", "GPL-2.0-only")]);
        let names: Vec<&str> =
            bom["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "linux", "rk"]);
        assert_eq!(bom["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bom["components"][0]["purl"], "pkg:cargo/a@1.0.0");
    }
}
