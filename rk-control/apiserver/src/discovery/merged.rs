//! Documents of OpenAPI v2 that other servers have of their APIs, as parts of this server's: pure.
//!
//! What has a path already keeps it. A definition that is known by its name in other words gets another name, as upstream makes them:
//! `<name>_v2`, and so on. Of one that is known in these words, apart from the kinds that it stands for, the known one stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

type Members = Map<String, Value>;

/// Where definitions are, in references.
const DEFINITIONS: &str = "#/definitions/";
/// Where parameters are that several operations share.
const PARAMETERS: &str = "#/parameters/";
/// Which kinds a definition stands for.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// What a document says of one version of a group: its paths, and the definitions that they need. `None` when it says nothing of it. Shared
/// parameters are put where they are used: names of these stand for something else in every document.
#[must_use]
pub fn part(document: &Value, group: &str, version: &str) -> Option<Value> {
    let prefix = format!("/apis/{group}/{version}/");
    let of_it = members(document, "paths").iter().filter(|(path, _)| path.starts_with(&prefix));
    let shared = members(document, "parameters");
    let mut paths: Members = of_it.map(|(path, item)| (path.clone(), item.clone())).collect();
    paths.values_mut().for_each(|item| place(item, shared));
    if paths.is_empty() {
        return None;
    }
    let all = members(document, "definitions");
    let definitions: Members =
        needed(&paths, all).into_iter().filter_map(|name| Some((name.clone(), all.get(&name)?.clone()))).collect();
    Some(json!({"definitions": definitions, "paths": paths}))
}

/// What is there already.
pub trait Known {
    /// The definition of a name.
    fn definition(&self, name: &str) -> Option<Value>;
    /// Whether there is a path.
    fn has_path(&self, path: &str) -> bool;
}

/// The definitions and paths that parts add to what is known, those that come first before the others.
#[must_use]
pub fn merged(parts: &[Arc<Value>], known: &dyn Known) -> (Members, Members) {
    let (mut definitions, mut paths) = (Members::new(), Members::new());
    for part in parts {
        let is_new = |path: &str| !known.has_path(path) && !paths.contains_key(path);
        let own = members(part, "paths").iter().filter(|(path, _)| is_new(path));
        let own: Members = own.map(|(path, item)| (path.clone(), item.clone())).collect();
        let all = members(part, "definitions");
        let names = needed(&own, all);
        let mut named: BTreeMap<&str, String> = BTreeMap::new();
        let mut added: Vec<&str> = Vec::new();
        for (name, wanted) in names.iter().filter_map(|name| Some((name.as_str(), all.get(name)?))) {
            let found = |name: &str| known.definition(name).or_else(|| definitions.get(name).cloned());
            let taken = |other: &str| all.contains_key(other) || named.values().any(|own| own == other);
            let (own, is_new) = name_of(name, wanted, &found, &taken);
            named.insert(name, own);
            added.extend(is_new.then_some(name));
        }
        let renamed = |mut value: Value| {
            rename(&mut value, &named);
            value
        };
        for name in added {
            if let (Some(own), Some(wanted)) = (named.get(name), all.get(name)) {
                definitions.insert(own.clone(), renamed(wanted.clone()));
            }
        }
        paths.extend(own.into_iter().map(|(path, item)| (path, renamed(item))));
    }
    (definitions, paths)
}

/// The name under which a definition is to be found, and whether it is not there yet.
fn name_of(
    name: &str,
    wanted: &Value,
    found: &dyn Fn(&str) -> Option<Value>,
    taken: &dyn Fn(&str) -> bool,
) -> (String, bool) {
    let mut candidate = name.to_owned();
    let mut number = 1;
    loop {
        match found(&candidate) {
            Some(known) if is_same(&known, wanted) => return (candidate, false),
            None if candidate == name || !taken(&candidate) => return (candidate, true),
            _ => {}
        }
        number += 1;
        candidate = format!("{name}_v{number}");
    }
}

/// Whether two definitions differ in nothing but the kinds that they stand for.
fn is_same(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return one == other };
    let within = |a: &Members, b: &Members| a.iter().all(|(key, value)| key == KINDS || b.get(key) == Some(value));
    within(one, other) && within(other, one)
}

fn members<'a>(document: &'a Value, name: &str) -> &'a Members {
    static NONE: std::sync::LazyLock<Members> = std::sync::LazyLock::new(Members::new);
    document.get(name).and_then(Value::as_object).unwrap_or(&NONE)
}

/// The names of the definitions that paths need, and of those that these need.
fn needed(paths: &Members, definitions: &Members) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open: Vec<&Value> = paths.values().collect();
    while let Some(value) = open.pop() {
        references(value, &mut |name| {
            if !names.contains(name) {
                names.insert(name.to_owned());
                open.extend(definitions.get(name));
            }
        });
    }
    names
}

/// Tells every definition that a value refers to.
fn references<'a>(value: &'a Value, found: &mut dyn FnMut(&'a str)) {
    match value {
        Value::Object(object) => {
            if let Some(name) =
                object.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(DEFINITIONS))
            {
                found(name);
            }
            object.values().for_each(|inner| references(inner, &mut *found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, &mut *found)),
        _ => {}
    }
}

/// Leads references to where definitions are now.
fn rename(value: &mut Value, names: &BTreeMap<&str, String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("$ref")
                && let Some(own) = text.strip_prefix(DEFINITIONS).and_then(|name| names.get(name))
            {
                *text = format!("{DEFINITIONS}{own}");
            }
            object.values_mut().for_each(|inner| rename(inner, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| rename(inner, names)),
        _ => {}
    }
}

/// Puts shared parameters in the place of references to them.
fn place(value: &mut Value, shared: &Members) {
    let reference = value.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(PARAMETERS));
    if let Some(parameter) = reference.and_then(|name| shared.get(name)) {
        *value = parameter.clone();
        return;
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(|inner| place(inner, shared)),
        Value::Array(items) => items.iter_mut().for_each(|inner| place(inner, shared)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Own(Members, &'static str);

    impl Known for Own {
        fn definition(&self, name: &str) -> Option<Value> {
            self.0.get(name).cloned()
        }

        fn has_path(&self, path: &str) -> bool {
            path == self.1
        }
    }

    fn reference(name: &str) -> Value {
        json!({"$ref": format!("{DEFINITIONS}{name}")})
    }

    fn document(definitions: Value) -> Value {
        let shared = json!({"in": "query", "name": "pretty", "type": "string"});
        let item = json!({"get": {"parameters": [{"$ref": "#/parameters/pretty-1"}], "responses": {"200": {"schema": reference("Thing")}}}});
        json!({"swagger": "2.0", "parameters": {"pretty-1": shared}, "definitions": definitions, "paths": {
            "/apis/a.example/v1/things": item, "/apis/a.example/v10/things": item, "/apis/apps/v1/": {"get": reference("Other")}}})
    }

    #[test]
    fn a_part_has_the_paths_of_its_version_and_what_they_need() {
        let meta = json!({"properties": {"self": reference("Meta")}});
        let thing = json!({"properties": {"metadata": reference("Meta")}});
        let document = document(json!({"Thing": thing, "Meta": meta, "Other": {}}));
        let found = part(&document, "a.example", "v1").unwrap();
        assert_eq!(found["definitions"], json!({"Thing": thing, "Meta": meta}));
        let paths = found["paths"].as_object().unwrap();
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/apis/a.example/v1/things"]);
        assert_eq!(paths["/apis/a.example/v1/things"]["get"]["parameters"][0]["name"], "pretty", "named nowhere else");
        assert_eq!(part(&document, "b.example", "v1"), None);
    }

    #[test]
    fn definitions_in_other_words_get_other_names_and_paths_stay_whose_they_were() {
        let thing = json!({"properties": {"metadata": reference("Meta")}});
        let kinds = json!([{"group": "a.example", "kind": "Meta", "version": "v1"}]);
        let of = |about: &str| json!({"description": about, KINDS: kinds});
        let first = Arc::new(part(&document(json!({"Thing": thing, "Meta": of("one")})), "a.example", "v1").unwrap());
        let known = |meta: &str, path| Own(json!({"Meta": {"description": meta}}).as_object().unwrap().clone(), path);
        let path = "/apis/a.example/v1/things";

        let (definitions, paths) = merged(&[Arc::clone(&first)], &known("one", ""));
        assert_eq!(Value::Object(definitions), json!({"Thing": thing}), "the kinds make no difference");
        assert!(paths.contains_key(path));

        // The second part has no path of its own left, and the third finds what the first brought.
        let mut third = document(json!({"Thing": thing, "Meta": of("one")}));
        third["paths"] = json!({"/apis/c.example/v1/others": {"get": reference("Meta")}});
        let third = Arc::new(part(&third, "c.example", "v1").unwrap());
        let (definitions, paths) = merged(&[Arc::clone(&first), Arc::clone(&first), third], &known("two", ""));
        let renamed = json!({"properties": {"metadata": reference("Meta_v2")}});
        assert_eq!(Value::Object(definitions), json!({"Thing": renamed, "Meta_v2": of("one")}));
        assert_eq!(paths[path]["get"]["responses"]["200"]["schema"], reference("Thing"));
        assert_eq!(paths["/apis/c.example/v1/others"]["get"], reference("Meta_v2"));

        let (definitions, paths) = merged(&[first], &known("two", path));
        assert!(definitions.is_empty() && paths.is_empty(), "what has the path keeps it, and nobody needs the rest");
    }

    #[test]
    fn a_new_name_is_nobody_else_s() {
        let thing = json!({"properties": {"a": reference("Meta"), "b": reference("Meta_v2")}});
        let own = json!({"Thing": thing, "Meta": {"title": "a"}, "Meta_v2": {"title": "b"}});
        let part = Arc::new(part(&document(own), "a.example", "v1").unwrap());
        let known = Own(json!({"Meta": {"title": "known"}}).as_object().unwrap().clone(), "");
        let (definitions, _) = merged(&[part], &known);
        let want = json!({"Thing": {"properties": {"a": reference("Meta_v3"), "b": reference("Meta_v2")}},
            "Meta_v3": {"title": "a"}, "Meta_v2": {"title": "b"}});
        assert_eq!(Value::Object(definitions), want);
    }
}
