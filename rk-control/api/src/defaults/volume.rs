//! Volumes of a pod and the sources that they share with persistent volumes.

use serde_json::json;

use super::edit::{child, default, each, text};
use super::{container, storage};
use crate::Object;

/// Mode of projected files: 0644.
const FILE_MODE: i64 = 0o644;

/// A volume of a pod; one without a source is an empty directory.
pub(super) fn volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, source) {
            default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(downward) = child(volume, "downwardAPI") {
        field_refs(downward);
    }
    if let Some(projected) = child(volume, "projected") {
        for part in each(projected, "sources") {
            if let Some(downward) = child(part, "downwardAPI") {
                field_refs(downward);
            }
            if let Some(token) = child(part, "serviceAccountToken") {
                default(token, "expirationSeconds", 3600);
            }
            if let Some(certificate) = child(part, "podCertificate") {
                default(certificate, "maxExpirationSeconds", 86400);
            }
        }
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|e| child(e, "volumeClaimTemplate"))
        && let Some(spec) = child(template, "spec")
    {
        storage::claim_spec(spec);
    }
    if let Some(image) = child(volume, "image") {
        let policy = container::pull_policy(text(image, "reference"));
        default(image, "pullPolicy", policy);
    }
    source(volume);
}

fn field_refs(downward: &mut Object) {
    for item in each(downward, "items") {
        if let Some(field) = child(item, "fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
}

/// Sources that pods and persistent volumes share.
pub(super) fn source(holder: &mut Object) {
    if let Some(path) = child(holder, "hostPath") {
        default(path, "type", "");
    }
    if let Some(iscsi) = child(holder, "iscsi") {
        default(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = child(holder, "rbd") {
        default(rbd, "pool", "rbd");
        default(rbd, "user", "admin");
        default(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = child(holder, "azureDisk") {
        default(disk, "cachingMode", "ReadWrite");
        default(disk, "kind", "Shared");
        default(disk, "fsType", "ext4");
        default(disk, "readOnly", false);
    }
    if let Some(scale_io) = child(holder, "scaleIO") {
        default(scale_io, "storageMode", "ThinProvisioned");
        default(scale_io, "fsType", "xfs");
    }
}
