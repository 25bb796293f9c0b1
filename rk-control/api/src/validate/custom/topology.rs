//! How lists and maps of custom kinds merge: as a whole, as sets, by keys.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::get::{empty, field, flag, strings, text};
use crate::meta::at;
use crate::status::{ErrorKind, FieldErrors, Path};

pub(super) const LIST_TYPE: &str = "x-kubernetes-list-type";
pub(super) const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
pub(super) const MAP_TYPE: &str = "x-kubernetes-map-type";

/// What is said of a list or map fits what it is.
pub(super) fn check(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (list_type, map_type) = (text(schema, LIST_TYPE), text(schema, MAP_TYPE));
    // An empty text is said, too.
    if field(schema, MAP_TYPE).is_some() {
        only_for(schema, "object", MAP_TYPE, path, errors);
        if !matches!(map_type, "atomic" | "granular") {
            errors.unsupported(&path.child(MAP_TYPE), map_type, &["atomic", "granular"]);
        }
    }
    let items = at(schema, &["items"]);
    if field(schema, LIST_TYPE).is_some() {
        if text(schema, "type") != "array" {
            only_for(schema, "array", LIST_TYPE, path, errors);
        } else if list_type == "set" {
            whole(items, &path.child("items"), errors);
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            // In the order in which upstream has them.
            let why = "supported values: \"atomic\", \"set\", \"map\"";
            errors.push(ErrorKind::NotSupported, &path.child(LIST_TYPE), list_type, why);
        }
    }
    if !empty(schema, LIST_KEYS) && list_type != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        if field(schema, LIST_TYPE).is_none() {
            errors.required(&path.child(LIST_TYPE), why);
        } else {
            errors.invalid(&path.child(LIST_TYPE), list_type, why);
        }
    }
    if list_type == "map" {
        keyed(schema, items, path, errors);
    }
    if matches!(list_type, "set" | "map") && flag(items, "nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.forbidden(&path.child("items").child("nullable"), why);
    }
}

/// The keyword is for one type only.
fn only_for(schema: &Value, wanted: &str, keyword: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(schema, "type");
    let why = format!("must be {wanted} if {keyword} is specified");
    if kind.is_empty() {
        errors.required(&path.child("type"), &why);
    } else if kind != wanted {
        errors.invalid(&path.child("type"), kind, why);
    }
}

/// Elements of sets are compared as a whole.
fn whole(items: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (list_type, map_type) = (text(items, LIST_TYPE), text(items, MAP_TYPE));
    match text(items, "type") {
        "array" if !matches!(list_type, "" | "atomic") => errors.invalid(&path.child(LIST_TYPE), list_type, why),
        "object" if map_type != "atomic" => {
            // kube-apiserver v1.36 shows the other keyword there.
            errors.invalid(&path.child(MAP_TYPE), at(items, &[LIST_TYPE]).clone(), why);
        }
        _ => {}
    }
}

/// Elements that are told apart by keys are objects that have them.
fn keyed(schema: &Value, items: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let keys = path.child(LIST_KEYS);
    if empty(schema, LIST_KEYS) {
        errors.required(&keys, "must not be empty if x-kubernetes-list-type is map");
    }
    let here = path.child("items");
    if items.is_null() {
        return errors.required(&here, "must have a schema if x-kubernetes-list-type is map");
    }
    let kind = text(items, "type");
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.invalid(&here.child("type"), kind, why);
    }
    let properties = here.child("properties");
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let required: BTreeSet<&str> = strings(items, "required").collect();
    for key in strings(schema, LIST_KEYS) {
        let shown = || at(schema, &[LIST_KEYS]).clone();
        match field(at(items, &["properties"]), key) {
            None => errors.invalid(&keys, shown(), "entries must all be names of item properties"),
            Some(own) => self::key(own, required.contains(key), &properties.key(key), errors),
        }
        if !seen.insert(key) {
            errors.invalid(&keys, shown(), "must not contain duplicate entries");
        }
    }
}

/// A key is a plain value that is always there.
fn key(own: &Value, required: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    if matches!(text(own, "type"), "array" | "object") {
        let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
        errors.invalid(&path.child("type"), "object", why);
    }
    let what = "this property is in x-kubernetes-list-map-keys, so it";
    if !required && field(own, "default").is_none() {
        errors.required(&path.child("default"), &format!("{what} must have a default or be a required property"));
    }
    if flag(own, "nullable") {
        errors.forbidden(&path.child("nullable"), format!("{what} cannot be nullable"));
    }
}
