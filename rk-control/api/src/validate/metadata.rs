//! Metadata of every kind.

use serde_json::{Value, json};

use super::get::{field, flag, immutable, list, named, text};
use super::names;
use crate::meta::{ANNOTATIONS_MAX, at, dns1123_label, label_value, path_segment, qualified_name};
use crate::resources::Resource;
use crate::status::{FieldErrors, Path, go_json};

/// Finalizers without a domain that may be used.
pub(super) const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What is asked of the metadata of a kind.
struct Scope<'r> {
    /// The rules that a name breaks.
    names: &'r dyn Fn(&str) -> Vec<String>,
    namespaced: bool,
    /// Whether finalizers without a domain must be known ones.
    domains: bool,
}

/// Metadata of a new or changed object.
pub fn metadata(resource: &Resource, object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    // What is served by upstream's libraries, and custom objects, may have finalizers of any name.
    let open = ["apiextensions.k8s.io", "admissionregistration.k8s.io", "apiregistration.k8s.io"];
    let domains = resource.custom.is_none() && !open.contains(&&*resource.gvk.group);
    let names = |name: &str| names::rules(resource, name);
    let scope = Scope { names: &names, namespaced: resource.namespaced(), domains };
    let (metadata, path) = (at(object, &["metadata"]), Path::new("metadata"));
    generated(metadata, &scope, &path, &mut errors);
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        named(&mut errors, &path.child("name"), name, names(name));
    }
    unnamed(metadata, &scope, &path, &mut errors);
    super::manager::managed_fields(metadata, &path.child("managedFields"), &mut errors);
    errors
}

/// Metadata of an object within an object: it needs no name, and may have a namespace.
pub fn embedded_metadata(metadata: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let namespaced = !text(metadata, "namespace").is_empty();
    let scope = Scope { names: &path_segment, namespaced, domains: false };
    generated(metadata, &scope, path, errors);
    let name = text(metadata, "name");
    if !name.is_empty() {
        named(errors, &path.child("name"), name, path_segment(name));
    }
    unnamed(metadata, &scope, path, errors);
}

/// What names begin with that the server makes.
fn generated(metadata: &Value, scope: &Scope<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let generate = text(metadata, "generateName");
    if !generate.is_empty() {
        // The suffix follows, so a base may end in a dash, but not be one.
        let masked = match generate.strip_suffix('-') {
            Some(base) if !base.is_empty() => format!("{base}a"),
            _ => generate.to_owned(),
        };
        named(errors, &path.child("generateName"), generate, (scope.names)(&masked));
    }
}

/// What metadata holds besides the name.
fn unnamed(metadata: &Value, scope: &Scope<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let namespace = text(metadata, "namespace");
    match (scope.namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&path.child("namespace"), ""),
        (true, false) => named(errors, &path.child("namespace"), namespace, dns1123_label(namespace)),
        (false, false) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    super::get::non_negative(errors, &path.child("generation"), super::get::int(metadata, "generation"));
    labels(at(metadata, &["labels"]), &path.child("labels"), errors);
    annotations(at(metadata, &["annotations"]), &path.child("annotations"), errors);
    owners(metadata, &path.child("ownerReferences"), errors);
    finalizers(metadata, scope.domains, &path.child("finalizers"), errors);
}

/// Labels: keys are qualified names, values short words.
pub fn labels(labels: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        named(errors, path, key, qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        named(errors, path, value, label_value(value));
    }
}

/// Annotations: keys are qualified names in any case, all together bounded.
pub fn annotations(annotations: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut total = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        named(errors, path, key, qualified_name(&key.to_lowercase()));
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

/// Metadata of a template that gives labels and annotations, and nothing else.
pub(super) fn template(given: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    annotations(at(given, &["annotations"]), &path.child("annotations"), errors);
    labels(at(given, &["labels"]), &path.child("labels"), errors);
    for (key, value) in given.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "annotations" | "labels") && !value.is_null() {
            errors.forbidden(&path.child(key), "cannot be set");
        }
    }
}

fn owners(metadata: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut controller: Option<String> = None;
    for owner in list(metadata, "ownerReferences") {
        let (version, kind) = (text(owner, "apiVersion"), text(owner, "kind"));
        if version.rsplit('/').next().unwrap_or_default().is_empty() || version.matches('/').count() > 1 {
            errors.invalid(&path.child("apiVersion"), version, "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                errors.invalid(&path.child(key), "", "must not be empty");
            }
        }
        if version == "v1" && kind == "Event" {
            errors.invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if flag(owner, "controller") {
            let current = format!("{kind}/{}", text(owner, "name"));
            match &controller {
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                    );
                    errors.invalid_unshown(path, format!("{}: {why}", shown(list(metadata, "ownerReferences"))));
                }
                None => controller = Some(current),
            }
        }
    }
}

/// References with their fields in upstream's order.
fn shown(owners: &[Value]) -> String {
    let one = |owner: &Value| {
        let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"].iter();
        let told: Vec<String> = fields.filter_map(|key| Some(format!("{key:?}:{}", owner.get(key)?))).collect();
        format!("{{{}}}", told.join(","))
    };
    go_json(&format!("[{}]", owners.iter().map(one).collect::<Vec<_>>().join(",")))
}

fn finalizers(metadata: &Value, domains: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, finalizer) in super::get::strings(metadata, "finalizers").enumerate() {
        named(errors, path, finalizer, qualified_name(finalizer));
        if domains && !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            errors.invalid(
                &path.index(index),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            );
        }
    }
    let has = |name| super::get::strings(metadata, "finalizers").any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let both = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path, json!(list(metadata, "finalizers")), both);
    }
}

/// Metadata of a changed object against what it was.
pub fn metadata_update(resource: &Resource, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = metadata(resource, new);
    if resource.custom.is_none() {
        changes(new, old, &mut errors);
        return errors;
    }
    // What all kinds have in common is asked of custom objects by their own rules again, and each time told among the causes.
    let (path, metadata) = (Path::new("metadata"), at(new, &["metadata"]));
    for _ in 0..2 {
        changes(new, old, &mut errors);
        labels(at(metadata, &["labels"]), &path.child("labels"), &mut errors);
        annotations(at(metadata, &["annotations"]), &path.child("annotations"), &mut errors);
        owners(metadata, &path.child("ownerReferences"), &mut errors);
    }
    errors
}

/// What must not change in metadata.
fn changes(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    let (new, old) = (at(new, &["metadata"]), at(old, &["metadata"]));
    if field(old, "deletionTimestamp").is_some() {
        let before: Vec<&str> = super::get::strings(old, "finalizers").collect();
        let added: Vec<String> =
            super::get::strings(new, "finalizers").filter(|f| !before.contains(f)).map(|f| format!("{f:?}")).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.forbidden(&path.child("finalizers"), why);
        }
    }
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        immutable(errors, &path.child(key), field(new, key), field(old, key));
    }
    let generation = |m: &Value| super::get::int(m, "generation").unwrap_or(0);
    if generation(new) < generation(old) {
        errors.invalid(&path.child("generation"), generation(new), "must not be decremented");
    }
}
