//! Paths and operations of resources.

use rk_api::resources::{GroupVersionKind, Resource, Subresource, Verb, Verbs};
use serde_json::{Map, Value, json};

use crate::names::{DELETE_OPTIONS, PATCH, STATUS};
use crate::parameters::{self, Use};
use crate::spec::{Kinds, Spec, gvk_value};

/// What request bodies may be.
const BODIES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What bodies of custom kinds may be: they have no messages.
const CUSTOM_BODIES: &[&str] = &["application/json", "application/yaml"];
/// What answers to lists may be: these may be watches, too.
const STREAMS: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// What patches may be.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What patches of custom kinds may be: they have no merge keys.
const CUSTOM_PATCHES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

/// Everything an operation is made from.
struct Operation<'a> {
    method: &'a str,
    action: &'a str,
    id: String,
    usage: Use,
    kind: &'a GroupVersionKind,
    body: Option<String>,
    answer: Option<String>,
}

/// Builds the paths of one group and version.
pub struct Paths<'a, K> {
    spec: Spec,
    schemas: &'a mut K,
    /// Whether the resource at hand is of a custom kind.
    is_custom: bool,
    /// Path items by path: operations by method.
    done: Map<String, Value>,
}

impl<'a, K: Kinds> Paths<'a, K> {
    /// Paths in a document of this version, whose types `schemas` collects.
    pub fn new(spec: Spec, schemas: &'a mut K) -> Self {
        Self { spec, schemas, is_custom: false, done: Map::new() }
    }

    /// The path items. What all operations of a path have in common is told once, beside them.
    pub fn finish(&mut self) -> Map<String, Value> {
        let mut done = std::mem::take(&mut self.done);
        for (path, item) in &mut done {
            share(self.spec, path, item);
        }
        done
    }

    /// Adds all paths of a resource.
    pub fn resource(&mut self, resource: &Resource) {
        self.is_custom = resource.custom.is_some();
        let root = root(&resource.gvk);
        let scope = if resource.namespaced() { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{root}{scope}/{}", resource.plural);
        let object = format!("{collection}/{{name}}");
        // Kinds that are closing have more verbs than they list.
        let verbs = if resource.is_closing() { Verbs::ALL } else { resource.verbs };
        for verb in verbs.iter() {
            self.verb(resource, verb, &collection, &object);
        }
        if resource.namespaced() && resource.verbs.contains(Verb::List) {
            let answer = self.schemas.list(resource);
            let id = format!("list{}{}ForAllNamespaces", tag_name(&resource.gvk), resource.gvk.kind);
            let list = Operation {
                method: "get",
                action: "list",
                id,
                usage: Use::List,
                kind: &resource.gvk,
                body: None,
                answer,
            };
            self.add(&format!("{root}/{}", resource.plural), &list);
        }
        for subresource in &resource.subresources {
            self.subresource(resource, subresource, &format!("{object}/{}", subresource.name));
        }
    }

    fn verb(&mut self, resource: &Resource, verb: Verb, collection: &str, object: &str) {
        let gvk = &resource.gvk;
        let own = self.schemas.kind(gvk);
        let list = if resource.verbs.contains(Verb::List) { self.schemas.list(resource) } else { None };
        let status = Some(STATUS.to_owned());
        let options = Some(DELETE_OPTIONS.to_owned());
        let patch = Some(PATCH.to_owned());
        let (path, method, action, prefix, usage, body, answer) = match verb {
            Verb::Get if self.is_custom => (object, "get", "get", "read", Use::CustomRead, None, own),
            Verb::Get => (object, "get", "get", "read", Use::Read, None, own),
            Verb::List => (collection, "get", "list", "list", Use::List, None, list),
            Verb::Create => (collection, "post", "post", "create", Use::Write, own.clone(), own),
            Verb::Update => (object, "put", "put", "replace", Use::Write, own.clone(), own),
            Verb::Patch => (object, "patch", "patch", "patch", Use::Patch, patch, own),
            Verb::Delete => (object, "delete", "delete", "delete", Use::Delete, options, status),
            Verb::DeleteCollection if self.is_custom => {
                let usage = Use::CustomDeleteCollection;
                (collection, "delete", "deletecollection", "deleteCollection", usage, None, status)
            }
            Verb::DeleteCollection => {
                (collection, "delete", "deletecollection", "deleteCollection", Use::DeleteCollection, options, status)
            }
            // A watch is a list with a parameter.
            Verb::Watch => return,
        };
        let id = operation_id(prefix, resource, "");
        self.add(path, &Operation { method, action, id, usage, kind: gvk, body, answer });
    }

    fn subresource(&mut self, resource: &Resource, subresource: &Subresource, path: &str) {
        let own = self.schemas.kind(&subresource.gvk);
        let suffix = capitalised(&subresource.name);
        let connects = subresource.gvk.kind.ends_with("Options");
        for verb in subresource.verbs.iter() {
            let (method, prefix) = match verb {
                Verb::Get => ("get", "read"),
                Verb::Create => ("post", "create"),
                Verb::Update => ("put", "replace"),
                Verb::Patch => ("patch", "patch"),
                Verb::Delete => ("delete", "delete"),
                _ => continue,
            };
            let (usage, body, answer) = match verb {
                _ if connects => (Use::Connect, None, None),
                Verb::Get if self.is_custom => (Use::CustomRead, None, own.clone()),
                Verb::Get => (Use::Read, None, own.clone()),
                Verb::Patch => (Use::Patch, Some(PATCH.to_owned()), own.clone()),
                _ => (Use::Write, own.clone(), own.clone()),
            };
            let action = if connects { "connect" } else { method };
            let prefix = if connects { format!("connect{}", capitalised(method)) } else { prefix.to_owned() };
            let id = operation_id(&prefix, resource, &suffix);
            self.add(path, &Operation { method, action, id, usage, kind: &subresource.gvk, body, answer });
        }
    }

    fn add(&mut self, path: &str, operation: &Operation<'_>) {
        let value = self.operation(operation);
        self.done.entry(path.to_owned()).or_insert_with(|| json!({}))[operation.method] = value;
    }

    fn operation(&self, operation: &Operation<'_>) -> Value {
        let Operation { action, id, usage, kind, body, answer, .. } = operation;
        let mut query = parameters::query(self.spec, *usage);
        let consumed: &[&str] = match (*usage, self.is_custom) {
            (Use::Patch, true) => CUSTOM_PATCHES,
            (Use::Patch, false) => PATCHES,
            (_, true) => CUSTOM_BODIES,
            (_, false) => &["*/*"],
        };
        let bodies = if self.is_custom { CUSTOM_BODIES } else { BODIES };
        let streams: &[&str] = if *usage == Use::List && !self.is_custom { STREAMS } else { &[] };
        let produced = bodies.iter().chain(streams);
        // Of a deletion everything may be left out.
        let required = !matches!(usage, Use::Delete | Use::DeleteCollection);
        let mut value = json!({
            "description": format!("{action} {}", kind.kind),
            "operationId": id,
            "tags": [tag(kind)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk_value(kind),
        });
        let mut ok = json!({"description": "OK"});
        let unauthorized = json!({"description": "Unauthorized"});
        match self.spec {
            Spec::V2 => {
                if let Some(name) = body {
                    let mut body = json!({"name": "body", "in": "body", "schema": self.spec.reference(name)});
                    if required {
                        body["required"] = json!(true);
                    }
                    query.push(body);
                }
                if let Some(name) = answer {
                    ok["schema"] = self.spec.reference(name);
                }
                value["consumes"] = json!(consumed);
                value["produces"] = produced.copied().collect();
                value["schemes"] = json!(["https"]);
            }
            Spec::V3 => {
                if let Some(name) = body {
                    let types =
                        consumed.iter().map(|kind| ((*kind).to_owned(), json!({"schema": self.spec.reference(name)})));
                    value["requestBody"] = json!({"content": types.collect::<Map<_, _>>()});
                    if required {
                        value["requestBody"]["required"] = json!(true);
                    }
                }
                if let Some(name) = answer {
                    let types = produced.map(|kind| ((*kind).to_owned(), json!({"schema": self.spec.reference(name)})));
                    ok["content"] = types.collect::<Map<_, _>>().into();
                }
            }
        }
        if !query.is_empty() {
            value["parameters"] = query.into();
        }
        let mut responses = json!({"200": ok, "401": unauthorized});
        let (created, accepted) = match (operation.method, *usage) {
            ("post", Use::Write) => (true, true),
            (_, Use::Write) => (true, false),
            (_, Use::Patch) => (!self.is_custom, false),
            (_, Use::Delete) => (false, true),
            _ => (false, false),
        };
        for (code, description, _) in
            [("201", "Created", created), ("202", "Accepted", accepted)].iter().filter(|own| own.2)
        {
            responses[*code] = responses["200"].clone();
            responses[*code]["description"] = json!(description);
        }
        value["responses"] = responses;
        value
    }
}

/// Puts beside the operations of a path what all of them take: the parts of the path, and parameters that each of them has.
fn share(spec: Spec, path: &str, item: &mut Value) {
    let Some(operations) = item.as_object_mut() else { return };
    let own = |operation: &Value| operation["parameters"].as_array().cloned().unwrap_or_default();
    let all: Vec<Vec<Value>> = operations.values().map(own).collect();
    let is_shared = |one: &Value| one["in"] != "body" && all.iter().all(|parameters| parameters.contains(one));
    let shared: Vec<Value> = all.iter().take(1).flatten().filter(|one| is_shared(one)).cloned().collect();
    for (operation, parameters) in operations.values_mut().filter_map(Value::as_object_mut).zip(&all) {
        let rest: Vec<Value> = parameters.iter().filter(|one| !shared.contains(one)).cloned().collect();
        // An empty list is lost where Go writes a document again, which then is not the one that it read.
        if rest.is_empty() {
            operation.remove("parameters");
        } else {
            operation.insert("parameters".into(), rest.into());
        }
    }
    let mut parameters = parameters::path(spec, path);
    parameters.extend(shared);
    parameters.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    if !parameters.is_empty() {
        operations.insert("parameters".into(), parameters.into());
    }
}

/// `/api/v1` or `/apis/<group>/<version>`.
fn root(gvk: &GroupVersionKind) -> String {
    if gvk.group.is_empty() { format!("/api/{}", gvk.version) } else { format!("/apis/{}/{}", gvk.group, gvk.version) }
}

fn operation_id(prefix: &str, resource: &Resource, suffix: &str) -> String {
    let scope = if resource.namespaced() { "Namespaced" } else { "" };
    // `deleteCollection` surrounds the group's name, as generated clients expect.
    let (verb, middle) = match prefix {
        "deleteCollection" => ("delete", "Collection"),
        other => (other, ""),
    };
    format!("{verb}{}{middle}{scope}{}{suffix}", tag_name(&resource.gvk), resource.gvk.kind)
}

/// The short form of a group: `core`, `apps`, `rbacAuthorization`.
fn short_group(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let own = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut words = own.split('.');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &capitalised(word))
}

fn tag(gvk: &GroupVersionKind) -> String {
    format!("{}_{}", short_group(&gvk.group), gvk.version)
}

fn tag_name(gvk: &GroupVersionKind) -> String {
    capitalised(&short_group(&gvk.group)) + &capitalised(&gvk.version)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
