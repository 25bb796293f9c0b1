//! StorageObjectInUseProtection: claims and volumes outlive their use.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::Request;

pub(super) async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    if !request.creates() {
        return Ok(());
    }
    let finalizer = if request.is("", "persistentvolumeclaims") {
        "kubernetes.io/pvc-protection"
    } else if request.is("", "persistentvolumes") {
        "kubernetes.io/pv-protection"
    } else if request.is("storage.k8s.io", "volumeattributesclasses") {
        "kubernetes.io/vac-protection"
    } else {
        return Ok(());
    };
    let mut list = meta::at(object, &["metadata", "finalizers"]).as_array().cloned().unwrap_or_default();
    if !list.iter().any(|own| own == finalizer) {
        list.push(json!(finalizer));
        object["metadata"]["finalizers"] = json!(list);
    }
    Ok(())
}
