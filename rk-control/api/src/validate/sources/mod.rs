//! Where the bytes of a volume are: what a pod's volumes and PersistentVolumes have in common.

mod remote;

use serde_json::Value;

use super::get::{empty, field, in_range, int, one_of, text};
use crate::meta::dns1123_subdomain;
use crate::status::{FieldErrors, Path};

/// Strings that a source cannot do without.
const NEEDED: [(&str, &[&str]); 23] = [
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("csi", &["driver"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["volume"]),
    ("rbd", &["image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// What every source of a kind must say.
pub(super) fn fields(kind: &str, source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in NEEDED.iter().filter(|(known, _)| *known == kind).flat_map(|(_, keys)| *keys) {
        if text(source, key).is_empty() {
            errors.required(&path.child(key), "");
        }
    }
    match kind {
        "hostPath" if empty(source, "path") => {}
        "hostPath" => {
            no_steps_back(text(source, "path"), &path.child("path"), errors);
            one_of(errors, &path.child("type"), text(source, "type"), &HOST_PATH_TYPES, false);
        }
        "local" => no_steps_back(text(source, "path"), &path.child("path"), errors),
        "nfs" => {
            let target = text(source, "path");
            if !target.starts_with('/') {
                errors.invalid(&path.child("path"), target, "must be an absolute path");
            }
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            // None is zero, though upstream's words begin with the first.
            if let Some(partition) = int(source, "partition").filter(|number| *number != 0) {
                in_range(errors, &path.child("partition"), partition, 1, 255);
            }
        }
        _ => remote::fields(kind, source, path, errors),
    }
}

/// Under which names upstream tells of the fields of a source, and of a source too many.
pub(super) fn told_as(kind: &str) -> (&str, &str) {
    match kind {
        "gcePersistentDisk" => ("persistentDisk", kind),
        "cephfs" => (kind, "cephFS"),
        "downwardAPI" => (kind, "downwarAPI"),
        _ => (kind, kind),
    }
}

/// Whether a name and the portal of an iSCSI disk with an initiator of its own are too long together.
pub(super) fn too_long_for_iscsi(name: &str, kind: &str, source: &Value) -> bool {
    kind == "iscsi" && field(source, "initiatorName").is_some() && name.len() + text(source, "targetPortal").len() >= 64
}
/// What is then said.
pub(super) const TOO_LONG_FOR_ISCSI: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Says which of these words a secret of a source lacks.
pub(super) fn secret(source: &Value, words: &[&str], path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(secret) = field(source, "secretRef") else { return };
    for word in words.iter().filter(|word| empty(secret, word)) {
        errors.required(&path.child("secretRef").child(word), "");
    }
}

fn no_steps_back(target: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}

/// The name of a CSI driver: at most 63 characters of a domain, in any case of letters.
pub(super) fn driver(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    for why in dns1123_subdomain(&name.to_lowercase()) {
        errors.invalid(path, name, why);
    }
}
