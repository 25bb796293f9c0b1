//! Volumes, claims and classes.

use serde_json::Value;

use super::{Found, labels, list, volumes};
use crate::meta::{Quantity, at, text};
use crate::status::Path;

const CLASS_OF_OLD: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS_OF_OLD: &str = "volume.beta.kubernetes.io/mount-options";

/// A PersistentVolume.
pub(super) fn volume(object: &Value, found: &mut Found) {
    annotation(object, CLASS_OF_OLD, "deprecated since v1.8; use \"storageClassName\" attribute instead", found);
    annotation(object, MOUNT_OPTIONS_OF_OLD, "deprecated since v1.31; use \"mountOptions\" attribute instead", found);
    let spec = at(object, &["spec"]);
    if text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle" {
        let what = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
        found.about(&Path::new("spec.persistentVolumeReclaimPolicy"), what);
    }
    let terms = Path::new("spec.nodeAffinity.required.nodeSelectorTerms");
    let required = at(spec, &["nodeAffinity", "required"]);
    for (index, term) in list(required, "nodeSelectorTerms").iter().enumerate() {
        labels::term(term, false, &terms.index(index), found);
    }
    volumes::of_old(spec, &Path::new("spec"), found);
}

/// A PersistentVolumeClaim.
pub(super) fn claim(object: &Value, found: &mut Found) {
    annotation(object, CLASS_OF_OLD, "deprecated since v1.8; use \"storageClassName\" attribute instead", found);
    claim_spec(at(object, &["spec"]), &Path::new("spec"), found);
}

/// The spec of a claim, or of a template of claims.
pub(super) fn claim_spec(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let path = path.child("resources");
    for kind in ["requests", "limits"] {
        fractional(at(spec, &["resources", kind]), "storage", &path.child(kind), found);
    }
}

/// An amount of bytes that is no whole number.
pub(super) fn fractional(amounts: &Value, name: &str, path: &Path<'_>, found: &mut Found) {
    let Ok(amount) = text(amounts, &[name]).parse::<Quantity>() else { return };
    if amount.millis() % 1000 != 0 {
        let what = "is invalid, must be an integer";
        found.about(&path.key(name), format_args!("fractional byte value \"{amount}\" {what}"));
    }
}

/// A StorageClass.
pub(super) fn class(object: &Value, found: &mut Found) {
    let path = Path::new("allowedTopologies");
    for (index, topology) in list(object, "allowedTopologies").iter().enumerate() {
        let path = path.index(index);
        let path = path.child("matchLabelExpressions");
        for (index, expression) in list(topology, "matchLabelExpressions").iter().enumerate() {
            if let Some(what) = labels::of_old(text(expression, &["key"])) {
                found.about(&path.index(index).child("key"), what);
            }
        }
    }
}

fn annotation(object: &Value, key: &str, what: &str, found: &mut Found) {
    if !at(object, &["metadata", "annotations", key]).is_null() {
        found.about(&Path::new("metadata.annotations").key(key), what);
    }
}
