//! CustomResourceDefinitions and APIServices.

use serde_json::{Value, json};

use super::admission;
use super::get::{empty, field, flag, in_range, int, list, named, one_of, required_name, strings, text};
use crate::meta::{at, dns1035_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// CustomResourceDefinition.
pub(super) fn definition(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let (group, names) = (text(spec, "group"), at(spec, &["names"]));
    let want = format!("{}.{group}", text(names, "plural"));
    if text(at(object, &["metadata"]), "name") != want {
        let metadata = Path::new("metadata");
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&metadata.child("name"), text(at(object, &["metadata"]), "name"), why);
    }
    if group.is_empty() {
        errors.required(&path.child("group"), "");
    } else {
        named(errors, &path.child("group"), group, dns1123_subdomain(group));
        if group.split('.').count() < 2 {
            errors.invalid(&path.child("group"), group, "should be a domain with at least one dot");
        }
    }
    one_of(errors, &path.child("scope"), text(spec, "scope"), &["Cluster", "Namespaced"], true);
    versions(spec, &path, errors);
    self::names(names, &path.child("names"), errors);
    conversion(at(spec, &["conversion"]), &path.child("conversion"), errors);
    if flag(spec, "preserveUnknownFields") {
        let why = "must be false in order to use defaults in the schema";
        errors.invalid(&path.child("preserveUnknownFields"), true, why);
    }
}

fn names(names: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["plural", "singular"] {
        let value = text(names, key);
        if value.is_empty() && key == "plural" {
            errors.required(&path.child(key), "");
        } else if !value.is_empty() {
            named(errors, &path.child(key), value, dns1035_label(value));
        }
    }
    for key in ["kind", "listKind"] {
        let value = text(names, key);
        if value.is_empty() && key == "kind" {
            errors.required(&path.child(key), "");
        } else if !value.is_empty() {
            named(errors, &path.child(key), value, dns1035_label(&value.to_lowercase()));
        }
    }
    for key in ["shortNames", "categories"] {
        for (index, value) in strings(names, key).enumerate() {
            named(errors, &path.child(key).index(index), value, dns1035_label(value));
        }
    }
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
}

fn versions(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("versions");
    let list = list(spec, "versions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, version) in list.iter().enumerate() {
        let path = all.index(index);
        let name = text(version, "name");
        required_name(errors, &path.child("name"), name, dns1035_label);
        if seen.contains(&name) {
            errors.invalid(&all, spec["versions"].clone(), "must contain unique version names");
        }
        seen.push(name);
        match field(at(version, &["schema"]), "openAPIV3Schema") {
            None => {
                let path = path.child("schema");
                errors.required(&path.child("openAPIV3Schema"), "schemas are required");
            }
            Some(schema) => {
                let path = path.child("schema");
                structural(schema, &path.child("openAPIV3Schema"), 0, errors);
            }
        }
        if !text(version, "deprecationWarning").is_empty() && !flag(version, "deprecated") {
            let why = "can only be set for deprecated versions";
            errors.invalid(&path.child("deprecationWarning"), text(version, "deprecationWarning"), why);
        }
        scale(version, &path, errors);
    }
    match list.iter().filter(|v| flag(v, "storage")).count() {
        1 => {}
        _ => errors.invalid(&all, spec["versions"].clone(), "must have exactly one version marked as storage version"),
    }
}

fn scale(version: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(scale) = field(at(version, &["subresources"]), "scale") else { return };
    let path = path.child("subresources");
    let path = path.child("scale");
    for (key, under) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let value = text(scale, key);
        if value.is_empty() {
            errors.required(&path.child(key), "");
        } else if !value.starts_with(under) {
            errors.invalid(
                &path.child(key),
                value,
                format!("should be a json path under {}", under.trim_end_matches('.')),
            );
        }
    }
}

/// Deepest schema that is looked at.
const MAX_DEPTH: usize = 64;

/// Every place of a schema says what stands there.
fn structural(schema: &Value, path: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        errors.invalid(path, "", "schema is nested too deeply");
        return;
    }
    let kind = text(schema, "type");
    let open = flag(schema, "x-kubernetes-int-or-string") || flag(schema, "x-kubernetes-preserve-unknown-fields");
    if kind.is_empty() && !open {
        let words =
            if depth == 0 { "must not be empty at the root" } else { "must not be empty for specified object fields" };
        errors.required(&path.child("type"), words);
    } else if depth == 0 && kind != "object" {
        errors.invalid(&path.child("type"), kind, "must be object at the root");
    }
    let kinds = ["array", "boolean", "integer", "number", "object", "string"];
    one_of(errors, &path.child("type"), kind, &kinds, false);
    if kind == "array" && field(schema, "items").is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if field(schema, "properties").is_some() && schema.get("additionalProperties").is_some_and(|a| a != &json!(false)) {
        errors
            .forbidden(&path.child("additionalProperties"), "additionalProperties and properties are mutual exclusive");
    }
    for key in ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"] {
        if !empty(schema, key) {
            errors.forbidden(&path.child(key), format!("{key} is not supported"));
        }
    }
    if flag(schema, "uniqueItems") {
        errors.forbidden(
            &path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    if text(schema, "x-kubernetes-list-type") == "map" && empty(schema, "x-kubernetes-list-map-keys") {
        errors
            .required(&path.child("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map");
    }
    for (name, property) in super::get::entries(schema, "properties") {
        let path = path.child("properties");
        structural(property, &path.key(name), depth + 1, errors);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = field(schema, key).filter(|i| i.is_object()) {
            structural(inner, &path.child(key), depth + 1, errors);
        }
    }
}

fn conversion(conversion: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let strategy = text(conversion, "strategy");
    one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"], true);
    match (strategy, field(conversion, "webhook")) {
        ("Webhook", None) => {
            let path = path.child("webhook");
            errors.required(&path.child("clientConfig"), "required when strategy is set to Webhook");
        }
        ("None", Some(_)) => {
            errors.forbidden(&path.child("webhook"), "should not be set when strategy is not set to Webhook")
        }
        ("Webhook", Some(webhook)) => {
            let path = path.child("webhook");
            if let Some(service) = field(at(webhook, &["clientConfig"]), "service") {
                let path = path.child("clientConfig");
                admission::service(service, &path.child("service"), errors);
            }
            if empty(webhook, "conversionReviewVersions") {
                errors.required(&path.child("conversionReviewVersions"), "must specify one of v1, v1beta1");
            }
        }
        _ => {}
    }
}

/// Scope, kind and group of a definition are for ever, and stored versions stay.
pub(super) fn definition_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let (spec, before) = (at(new, &["spec"]), at(old, &["spec"]));
    let established = list(at(old, &["status"]), "conditions")
        .iter()
        .any(|c| text(c, "type") == "Established" && text(c, "status") == "True");
    if established {
        super::get::immutable(errors, &path.child("scope"), field(spec, "scope"), field(before, "scope"));
        let names = path.child("names");
        super::get::immutable(
            errors,
            &names.child("kind"),
            at(spec, &["names"]).get("kind"),
            at(before, &["names"]).get("kind"),
        );
    }
    super::get::immutable(errors, &path.child("group"), field(spec, "group"), field(before, "group"));
    let served: Vec<&str> = list(spec, "versions").iter().map(|v| text(v, "name")).collect();
    let status = Path::new("status");
    for (index, stored) in strings(at(old, &["status"]), "storedVersions").enumerate() {
        if !served.contains(&stored) {
            let path = status.child("storedVersions");
            let why = "missing from spec.versions; must be removed from status.storedVersions after migration";
            errors.invalid(&path.index(index), stored, format!("must appear in spec.versions: {why}"));
        }
    }
}

/// APIService.
pub(super) fn api_service(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let want = format!("{version}.{group}");
    let name = text(at(object, &["metadata"]), "name");
    if name != want {
        let metadata = Path::new("metadata");
        errors.invalid(&metadata.child("name"), name, "must be `spec.version+\".\"+spec.group`");
    }
    if version.is_empty() {
        errors.required(&path.child("version"), "");
    }
    in_range(errors, &path.child("groupPriorityMinimum"), int(spec, "groupPriorityMinimum").unwrap_or(0), 1, 20_000);
    in_range(errors, &path.child("versionPriority"), int(spec, "versionPriority").unwrap_or(0), 1, 1000);
    if let Some(service) = field(spec, "service") {
        admission::service(service, &path.child("service"), errors);
        if flag(spec, "insecureSkipTLSVerify") && !empty(spec, "caBundle") {
            errors.invalid(&path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
        }
    }
}
