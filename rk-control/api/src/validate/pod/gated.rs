//! Pods that no scheduler has seen: where they may run can be narrowed, never widened (KEP-3838).

use serde_json::Value;

use super::super::get::{entries, field, list};
use crate::Object;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// What may be added to the node selector and to the affinity to nodes.
pub(super) fn narrowed(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let kept = entries(old, "nodeSelector").all(|(key, value)| at(new, &["nodeSelector", key]) == value);
    if !kept {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&path.child("nodeSelector"), at(new, &["nodeSelector"]).clone(), why);
    }
    let terms = |spec| list(at(spec, &["affinity", "nodeAffinity", REQUIRED]), "nodeSelectorTerms");
    let (new, old) = (terms(new), terms(old));
    let affinity = path.child("affinity");
    let node = affinity.child("nodeAffinity");
    let required = node.child(REQUIRED);
    let here = required.child("nodeSelectorTerms");
    if !old.is_empty() && new.len() != old.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&here, new.to_vec(), why);
    }
    for (index, (new, old)) in new.iter().zip(old).enumerate() {
        if !only_added(new, old) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&here.index(index), new.clone(), why);
        }
    }
}

fn only_added(new: &Value, old: &Value) -> bool {
    let both = ["matchExpressions", "matchFields"];
    let nothing = |term: &Value| both.iter().all(|key| list(term, key).is_empty());
    // A term that selects nothing would come to select something.
    (!nothing(old) || nothing(new)) && both.iter().all(|key| list(new, key).starts_with(list(old, key)))
}

/// Carries the affinity to nodes into a copy of the old spec.
pub(super) fn take_node_affinity(spec: &mut Object, new: &Value) {
    let node = field(at(new, &["affinity"]), "nodeAffinity");
    let bare = field(new, "affinity").is_none();
    let mut affinity = spec.get("affinity").and_then(Value::as_object).cloned().unwrap_or_default();
    match node {
        Some(node) => drop(affinity.insert("nodeAffinity".into(), node.clone())),
        None => drop(affinity.remove("nodeAffinity")),
    }
    if bare && affinity.is_empty() {
        spec.remove("affinity");
    } else {
        spec.insert("affinity".into(), affinity.into());
    }
}
