//! Where the bytes of a volume are: what a pod's volumes and PersistentVolumes have in common.

mod remote;

use serde_json::Value;

use super::get::{in_range, int, one_of, text};
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
const HOST_PATH_TYPES: [&str; 7] =
    ["BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// What every source of a kind must say.
pub(super) fn fields(kind: &str, source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in NEEDED.iter().filter(|(known, _)| *known == kind).flat_map(|(_, keys)| *keys) {
        if text(source, key).is_empty() {
            errors.required(&path.child(key), "");
        }
    }
    match kind {
        "hostPath" => {
            no_steps_back(text(source, "path"), &path.child("path"), errors);
            one_of(errors, &path.child("type"), text(source, "type"), &HOST_PATH_TYPES, false);
        }
        "local" => no_steps_back(text(source, "path"), &path.child("path"), errors),
        "nfs" => {
            let target = text(source, "path");
            if !target.is_empty() && !target.starts_with('/') {
                errors.invalid(&path.child("path"), target, "must be an absolute path");
            }
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            in_range(errors, &path.child("partition"), int(source, "partition").unwrap_or(0), 0, 255);
        }
        _ => remote::fields(kind, source, path, errors),
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
    if !name.is_empty() {
        for why in dns1123_subdomain(&name.to_lowercase()) {
            errors.invalid(path, name, why);
        }
    }
}
