//! Pods, and what they are made from.

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::Pod;
use super::{Found, addresses, containers, labels, list, storage, volumes};
use crate::meta::{at, text};
use crate::status::Path;

const ANNOTATIONS_OF_OLD: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// A pod.
pub(super) fn pod(object: &Value, found: &mut Found) {
    check(object, false, &Path::ROOT, found);
}

/// The template of a workload's pods.
pub(super) fn template(object: &Value, path: &Path<'_>, found: &mut Found) {
    check(object, true, path, found);
}

fn check(object: &Value, template: bool, path: &Path<'_>, found: &mut Found) {
    let metadata = path.child("metadata");
    let pod = Pod {
        spec: at(object, &["spec"]),
        path: path.child("spec"),
        annotations: at(object, &["metadata", "annotations"]),
        annotations_path: metadata.child("annotations"),
        template,
    };
    places(pod.spec, &pod.path, found);
    for (key, what) in ANNOTATIONS_OF_OLD {
        if pod.annotations.get(key).is_some() {
            found.about(&pod.annotations_path.key(key), what);
        }
    }
    volumes::check(pod.spec, &pod.path, found);
    twice(list(pod.spec, "hostAliases"), "ip", &pod.path.child("hostAliases"), found);
    pull_secrets(pod.spec, &pod.path, found);
    let (overhead, path) = (at(pod.spec, &["overhead"]), pod.path.child("overhead"));
    for name in ["memory", "ephemeral-storage"] {
        storage::fractional(overhead, name, &path, found);
    }
    containers::check(&pod, found);
    containers::ports(&pod, found);
    if at(pod.spec, &["terminationGracePeriodSeconds"]).as_i64().is_some_and(|seconds| seconds < 0) {
        let what = "must be >= 0; negative values are invalid and will be treated as 1";
        found.about(&pod.path.child("terminationGracePeriodSeconds"), what);
    }
    neighbours(pod.spec, &pod.path, found);
    resolver(pod.spec, &pod.path, found);
}

/// Labels of nodes that have other names now, wherever a pod says where it goes.
fn places(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let selector = path.child("nodeSelector");
    for (key, _) in at(spec, &["nodeSelector"]).as_object().into_iter().flatten() {
        if let Some(what) = labels::of_old(key) {
            found.about(&selector.key(key), what);
        }
    }
    let affinity = at(spec, &["affinity", "nodeAffinity"]);
    let here = path.child("affinity.nodeAffinity");
    let required = here.child(REQUIRED);
    let required = required.child("nodeSelectorTerms");
    for (index, term) in list(at(affinity, &[REQUIRED]), "nodeSelectorTerms").iter().enumerate() {
        labels::term(term, true, &required.index(index), found);
    }
    let preferred = here.child(PREFERRED);
    for (index, term) in list(affinity, PREFERRED).iter().enumerate() {
        let path = preferred.index(index);
        labels::term(at(term, &["preference"]), true, &path.child("preference"), found);
    }
    let spread = path.child("topologySpreadConstraints");
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let (key, path) = (text(constraint, &["topologyKey"]), spread.index(index));
        if let Some(what) = labels::of_old(key) {
            found.about(&path.child("topologyKey"), format_args!("{key} is {what}"));
        }
        if at(constraint, &["labelSelector"]).is_null() {
            found.about(&path.child("labelSelector"), NO_SELECTOR);
        }
    }
}

/// Items of a list that another one of the same name hides.
fn twice(items: &[Value], field: &str, path: &Path<'_>, found: &mut Found) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let value = text(item, &[field]);
        if !seen.insert(value) {
            found.about(&path.index(index).child(field), format_args!("duplicate {field} {value:?}"));
        }
    }
}

fn pull_secrets(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let (secrets, path) = (list(spec, "imagePullSecrets"), path.child("imagePullSecrets"));
    twice(secrets, "name", &path, found);
    for (index, secret) in secrets.iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            found.about(&path.index(index).child("name"), "invalid empty name \"\"");
        }
    }
}

/// Terms about other pods that mean no pod.
fn neighbours(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let here = path.child("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, here) = (at(spec, &["affinity", kind]), here.child(kind));
        let required = here.child(REQUIRED);
        for (index, term) in list(affinity, REQUIRED).iter().enumerate() {
            if at(term, &["labelSelector"]).is_null() {
                found.about(&required.index(index).child("labelSelector"), NO_SELECTOR);
            }
        }
        let preferred = here.child(PREFERRED);
        for (index, term) in list(affinity, PREFERRED).iter().enumerate() {
            if at(term, &["podAffinityTerm", "labelSelector"]).is_null() {
                let path = preferred.index(index);
                found.about(&path.child("podAffinityTerm.labelSelector"), NO_SELECTOR);
            }
        }
    }
}

/// Addresses that the pod's resolver and its file of hosts get.
fn resolver(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let here = path.child("dnsConfig.nameservers");
    for (index, server) in list(at(spec, &["dnsConfig"]), "nameservers").iter().enumerate() {
        addresses::address(server.as_str().unwrap_or_default(), &here.index(index), found);
    }
    addresses::of_items(at(spec, &["hostAliases"]), "ip", &path.child("hostAliases"), found);
}
