//! Dynamic resource allocation. Expressions are checked by those who compile them.
//!
//! [`claim`] holds claims, their templates and classes, [`status`] what is told of a claim, [`slice`] what drivers offer, [`device`] and
//! [`capacity`] its devices, [`name`] the names of all of them.

mod capacity;
mod claim;
mod device;
mod name;
mod slice;
mod status;

use std::collections::BTreeSet;

use serde_json::Value;

use super::get::{list, named, one_of, text};
use crate::meta::{label_value, qualified_name};
use crate::status::{FieldErrors, Path};

pub(super) use claim::{claim, claim_template, claim_update, class, template_update};
pub(super) use slice::{slice, slice_update};
pub(super) use status::claim_status_update;

/// Most elements of most lists.
const MAX: usize = 32;
/// What taints do, and what tolerations bear.
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
/// Most taints of a device, and most tolerations of a request.
const MAX_TAINTS: usize = 16;
/// Most conditions that a device waits for.
const MAX_BINDING: usize = 4;

/// The elements of a list; none, and an error, when there are too many to look at.
fn bounded<'a>(holder: &'a Value, key: &str, max: usize, path: &Path<'_>, errors: &mut FieldErrors) -> &'a [Value] {
    let items = list(holder, key);
    if items.len() > max {
        errors.too_many(&path.child(key), items.len(), max);
        return &[];
    }
    items
}

/// No two elements of a list have the same key.
fn unique<'a>(keys: impl Iterator<Item = &'a str>, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, key) in keys.enumerate() {
        if !seen.insert(key) {
            errors.duplicate(&path.index(index), key);
        }
    }
}

/// The tolerations of a request or of what was allocated.
fn tolerations(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, toleration) in bounded(holder, "tolerations", MAX_TAINTS, path, errors).iter().enumerate() {
        let path = path.child("tolerations");
        let path = path.index(index);
        let (key, value) = (text(toleration, "key"), text(toleration, "value"));
        if !key.is_empty() {
            named(errors, &path.child("key"), key, qualified_name(key));
        }
        match text(toleration, "operator") {
            "Exists" if value.is_empty() => {}
            "Exists" => errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`"),
            "Equal" => named(errors, &path.child("value"), value, label_value(value)),
            other => one_of(errors, &path.child("operator"), other, &["Equal", "Exists"], true),
        }
        one_of(errors, &path.child("effect"), text(toleration, "effect"), &EFFECTS, false);
    }
}

/// What a device must fulfil before pods with it are bound, and what lets that fail: both or none, and nothing in both.
fn binding(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let [wanted, failed] = ["bindingConditions", "bindingFailureConditions"].map(|key| {
        let names: Vec<&str> = list(holder, key).iter().filter_map(Value::as_str).collect();
        (key, names)
    });
    for (key, _) in [&wanted, &failed] {
        for (index, name) in bounded(holder, key, MAX_BINDING, path, errors).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            named(errors, &path.child(key).index(index), name, qualified_name(name));
        }
    }
    for (key, names) in [&wanted, &failed] {
        unique(names.iter().copied(), &path.child(key), errors);
    }
    for (index, name) in failed.1.iter().enumerate().filter(|(_, name)| wanted.1.contains(name)) {
        let why = "bindingFailureConditions must not overlap with bindingConditions";
        errors.invalid(&path.child(failed.0).index(index), *name, why);
    }
    for ((missing, none), (present, some)) in [(&wanted, &failed), (&failed, &wanted)] {
        if none.is_empty() && !some.is_empty() {
            errors.invalid(
                &path.child(missing),
                Value::Array(Vec::new()),
                format!("{missing} are required to use {present}"),
            );
        }
    }
}
