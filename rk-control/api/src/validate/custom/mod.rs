//! CustomResourceDefinitions; [`schema`] holds the rules of their schemas.
//!
//! What all versions share is told where definitions of old had it: at `spec.validation`, `spec.subresources` and
//! `spec.additionalPrinterColumns`.

mod approval;
mod completeness;
mod defaults;
mod field_path;
mod schema;
mod selectable;
mod topology;

use std::collections::BTreeSet;

use serde_json::Value;

pub use approval::approval_of;

use super::admission;
use super::get::{empty, field, flag, immutable, list, one_of, strings, text};
use crate::meta::{at, dns1035_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path, go_json};

/// Longest warning of a deprecated version.
const WARNING_MAX: usize = 256;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// CustomResourceDefinition.
pub(super) fn definition(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let (group, names) = (text(spec, "group"), at(spec, &["names"]));
    let broken = dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(&path.child("group"), "");
    } else if !broken.is_empty() {
        errors.invalid(&path.child("group"), group, broken.join(","));
    } else if !group.contains('.') {
        errors.invalid(&path.child("group"), group, "should be a domain with at least one dot");
    }
    one_of(errors, &path.child("scope"), text(spec, "scope"), &["Cluster", "Namespaced"], true);
    versions(spec, &path, errors);
    self::names(names, &path.child("names"), errors);
    let conversion = at(spec, &["conversion"]);
    if flag(spec, "preserveUnknownFields") && text(conversion, "strategy") == "Webhook" {
        let why = "must be None if spec.preserveUnknownFields is true";
        errors.invalid(&path.child("conversion").child("strategy"), "Webhook", why);
    }
    self::conversion(conversion, &path.child("conversion"), errors);
}

/// A new CustomResourceDefinition.
pub(super) fn definition_create(object: &Value, errors: &mut FieldErrors) {
    // Told before all else but what is wrong with the name itself; who changes a definition is told what may not change.
    let mut unlike = FieldErrors::new();
    named(object, &mut unlike);
    let place = errors.0.iter().take_while(|error| error.path == "metadata.name").count();
    drop(errors.0.splice(place..place, unlike.0));
    if !list(at(object, &["spec"]), "versions").iter().any(|version| flag(version, "storage")) {
        let status = Path::new("status");
        errors.invalid(&status.child("storedVersions"), Value::Null, "must have at least one stored version");
    }
    approval::check(object, None, errors);
    preserved(object, None, errors);
}

/// A definition is called after what it defines; one without a name is told only that.
fn named(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let want = format!("{}.{}", text(at(spec, &["names"]), "plural"), text(spec, "group"));
    let name = text(at(object, &["metadata"]), "name");
    if !name.is_empty() && name != want {
        let metadata = Path::new("metadata");
        errors.invalid(&metadata.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
}

/// Fields without a schema are no longer kept, but for definitions of old.
fn preserved(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let keeps = |definition: &Value| flag(at(definition, &["spec"]), "preserveUnknownFields");
    if keeps(new) && !old.is_some_and(keeps) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&Path::new("spec").child("preserveUnknownFields"), true, why);
    }
}

/// Versions that cannot be together. What they share is shown nowhere, as upstream keeps it apart from them.
fn wrong_versions(versions: &[Value], path: &Path<'_>, why: &str, errors: &mut FieldErrors) {
    let parts = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];
    let first = versions.first().unwrap_or(&Value::Null);
    if versions.iter().any(|version| parts.iter().any(|part| version.get(*part) != first.get(*part))) {
        errors.invalid(path, versions.to_vec(), why);
        return;
    }
    let shown = |version: &Value| {
        let (name, warning) = (Value::from(text(version, "name")), at(version, &["deprecationWarning"]));
        let [served, storage, deprecated] = ["served", "storage", "deprecated"].map(|name| flag(version, name));
        format!(
            "{{\"Name\":{name},\"Served\":{served},\"Storage\":{storage},\"Deprecated\":{deprecated},\
             \"DeprecationWarning\":{warning},\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\
             \"SelectableFields\":null}}"
        )
    };
    let all: Vec<String> = versions.iter().map(shown).collect();
    // A list that says nothing is none.
    let list = if all.is_empty() { "null".to_owned() } else { format!("[{}]", all.join(",")) };
    errors.invalid_unshown(path, format!("{}: {why}", go_json(&list)));
}

/// A name that is a label.
fn label(value: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let broken = dns1035_label(value);
    if !broken.is_empty() {
        errors.invalid(path, value, broken.join(","));
    }
}

fn names(names: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(names, key).is_empty() {
            errors.required(&path.child(key), "");
        }
    }
    for key in ["plural", "singular"] {
        let value = text(names, key);
        if !value.is_empty() {
            label(value, &path.child(key), errors);
        }
    }
    for key in ["kind", "listKind"] {
        let value = text(names, key);
        let broken = dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !broken.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", broken.join(","));
            errors.invalid(&path.child(key), value, why);
        }
    }
    for (index, value) in strings(names, "shortNames").enumerate() {
        label(value, &path.child("shortNames").index(index), errors);
    }
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
    for (index, value) in strings(names, "categories").enumerate() {
        label(value, &path.child("categories").index(index), errors);
    }
}

/// Whether all versions say the same there, and say something.
fn is_shared(versions: &[Value], key: &str) -> bool {
    let first = versions.first().map(|version| at(version, &[key]));
    first.is_some_and(|first| !first.is_null() && versions.iter().all(|version| at(version, &[key]) == first))
}

fn versions(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("versions");
    let list = list(spec, "versions");
    for (index, version) in list.iter().enumerate() {
        if field(at(version, &["schema"]), "openAPIV3Schema").is_none() {
            let path = all.index(index);
            errors.required(&path.child("schema").child("openAPIV3Schema"), "");
        }
    }
    let shared = ["schema", "subresources", "additionalPrinterColumns"].map(|key| is_shared(list, key));
    // Fields are of the schema in which they are looked for.
    let selects = is_shared(list, "schema") && is_shared(list, "selectableFields");
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut twice = false;
    for (index, version) in list.iter().enumerate() {
        let path = all.index(index);
        let name = text(version, "name");
        label(name, &path.child("name"), errors);
        twice |= !seen.insert(name);
        warning(version, &path.child("deprecationWarning"), errors);
        part(version, &path, shared.map(|shared| !shared), "schema", errors);
        if !selects {
            selectable::check(version, &path, errors);
        }
    }
    if twice {
        wrong_versions(list, &all, "must contain unique version names", errors);
    }
    if list.iter().filter(|v| flag(v, "storage")).count() != 1 {
        wrong_versions(list, &all, "must have exactly one version marked as storage version", errors);
    }
    // Definitions of old named one version.
    let first = list.first().map(|version| text(version, "name")).unwrap_or_default();
    if !first.is_empty() {
        label(first, &path.child("version"), errors);
    }
    if let Some(first) = list.first() {
        part(first, path, shared, "validation", errors);
        if selects {
            selectable::check(first, path, errors);
        }
    }
}

/// Schema, subresources and columns of a version, those of them that are asked for; `schema` is the field that is told of.
fn part(version: &Value, path: &Path<'_>, wanted: [bool; 3], schema: &str, errors: &mut FieldErrors) {
    let [with_schema, with_subresources, with_columns] = wanted;
    let subresources = at(version, &["subresources"]);
    if with_schema && let Some(root) = field(at(version, &["schema"]), "openAPIV3Schema") {
        let status = field(subresources, "status").is_some();
        schema::root(root, status, &path.child(schema).child("openAPIV3Schema"), errors);
    }
    if with_subresources && let Some(scale) = field(subresources, "scale") {
        self::scale(scale, &path.child("subresources").child("scale"), errors);
    }
    if with_columns {
        for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
            self::column(column, &path.child("additionalPrinterColumns").index(index), errors);
        }
    }
}

fn warning(version: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(warning) = field(version, "deprecationWarning").and_then(Value::as_str) else { return };
    if !flag(version, "deprecated") {
        return errors.invalid(path, warning, "can only be set for deprecated versions");
    }
    if warning.len() > WARNING_MAX {
        errors.invalid(path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(path, warning, "must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let why =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.invalid(path, warning, why);
    }
}

/// A path that begins at the root; whether it may be looked at further.
fn is_simple(target: &str, path: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let fits = target.starts_with('.');
    if !fits {
        errors.invalid(path, target, "must be a simple json path starting with .");
    }
    fits
}

fn column(column: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(column, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    let (kind, format) = (text(column, "type"), text(column, "format"));
    let why = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.required(&path.child("type"), &why);
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.invalid(&path.child("type"), kind, why);
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.invalid(&path.child("format"), format, why);
    }
    match text(column, "jsonPath") {
        "" => errors.required(&path.child("JSONPath"), ""),
        target => {
            is_simple(target, &path.child("JSONPath"), errors);
        }
    }
}

fn scale(scale: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (key, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let target = text(scale, key);
        let here = path.child(key);
        let below = target.strip_prefix(under).is_some_and(|rest| rest.starts_with('.'));
        if target.is_empty() {
            errors.required(&here, "");
        } else if is_simple(target, &here, errors) && !below {
            errors.invalid(&here, target, format!("should be a json path under {under}"));
        }
    }
    let target = text(scale, "labelSelectorPath");
    let here = path.child("labelSelectorPath");
    let below = target.starts_with(".spec.") || target.starts_with(".status.");
    if !target.is_empty() && is_simple(target, &here, errors) && !below {
        errors.invalid(&here, target, "should be a json path under either .spec or .status");
    }
}

fn conversion(conversion: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let strategy = text(conversion, "strategy");
    one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"], true);
    let webhook = at(conversion, &["webhook"]);
    let here = path.child("webhookClientConfig");
    let client = field(webhook, "clientConfig");
    if strategy == "Webhook" {
        match client {
            None => errors.required(&here, "required when strategy is set to Webhook"),
            Some(client) => admission::client_config(client, &here, errors),
        }
        admission::review_versions(webhook, "conversionReviewVersions", "", path, errors);
        return;
    }
    let why = "should not be set when strategy is not set to Webhook";
    if client.is_some() {
        errors.forbidden(&here, why);
    }
    if !empty(webhook, "conversionReviewVersions") {
        errors.forbidden(&path.child("conversionReviewVersions"), why);
    }
}

/// Scope, names and group of a definition are for ever, and stored versions stay.
pub(super) fn definition_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let (spec, before) = (at(new, &["spec"]), at(old, &["spec"]));
    let established = list(at(old, &["status"]), "conditions")
        .iter()
        .any(|c| text(c, "type") == "Established" && text(c, "status") == "True");
    let names = path.child("names");
    let name = |spec, key| field(at(spec, &["names"]), key);
    if established {
        immutable(errors, &path.child("scope"), field(spec, "scope"), field(before, "scope"));
        immutable(errors, &names.child("kind"), name(spec, "kind"), name(before, "kind"));
    }
    immutable(errors, &path.child("group"), field(spec, "group"), field(before, "group"));
    immutable(errors, &names.child("plural"), name(spec, "plural"), name(before, "plural"));
    let known: BTreeSet<&str> = list(spec, "versions").iter().map(|v| text(v, "name")).collect();
    let status = Path::new("status");
    for (index, stored) in strings(at(old, &["status"]), "storedVersions").enumerate() {
        if !known.contains(&stored) {
            let why = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions until a storage \
                 migration ensures no data remains persisted in {stored} and removes {stored} from status.storedVersions"
            );
            errors.invalid(&status.child("storedVersions").index(index), stored, why);
        }
    }
    approval::check(new, Some(old), errors);
    preserved(new, Some(old), errors);
}

/// CustomResourceDefinition, `status`: the names that it got are names.
pub(super) fn definition_status(object: &Value, errors: &mut FieldErrors) {
    let names = at(object, &["status", "acceptedNames"]);
    let path = Path::new("status");
    let path = path.child("acceptedNames");
    for key in ["plural", "singular"] {
        let value = text(names, key);
        if !value.is_empty() {
            label(value, &path.child(key), errors);
        }
    }
}
