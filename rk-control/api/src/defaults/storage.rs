//! Volumes, claims, storage classes and drivers.

use serde_json::json;

use super::edit::{default, empty, ensure};
use super::volume;
use crate::Object;

/// PersistentVolume.
pub(super) fn persistent_volume(object: &mut Object) {
    if let Some(status) = ensure(object, "status") {
        default(status, "phase", "Pending");
    }
    if let Some(spec) = ensure(object, "spec") {
        default(spec, "persistentVolumeReclaimPolicy", "Retain");
        default(spec, "volumeMode", "Filesystem");
        volume::source(spec);
    }
}

/// PersistentVolumeClaim.
pub(super) fn persistent_volume_claim(object: &mut Object) {
    if let Some(status) = ensure(object, "status") {
        default(status, "phase", "Pending");
    }
    if let Some(spec) = ensure(object, "spec") {
        claim_spec(spec);
    }
}

/// The spec of a claim, also inside an ephemeral volume.
pub(super) fn claim_spec(spec: &mut Object) {
    default(spec, "volumeMode", "Filesystem");
}

/// StorageClass.
pub(super) fn storage_class(object: &mut Object) {
    default(object, "reclaimPolicy", "Delete");
    default(object, "volumeBindingMode", "Immediate");
}

/// CSIDriver.
pub(super) fn csi_driver(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else {
        return;
    };
    default(spec, "attachRequired", true);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    for flag in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        default(spec, flag, false);
    }
    if empty(spec, "volumeLifecycleModes") {
        spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
    }
}
