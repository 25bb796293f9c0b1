//! Volumes that have grown: the node's part of it, and what a claim says of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, SecretReference};
use kube::api::{Api, Patch, PatchParams};
use rk_plugin_api::csi::node_service_capability::rpc;
use rk_plugin_api::csi::{CapacityRange, NodeExpandVolumeRequest};
use serde_json::{Value, json};

use super::mount::Csi;
use super::volume::CsiVolume;
use crate::api_error;
use crate::quantity::units;

/// Conditions of a claim that end with the node's part.
const OVER: [&str; 2] = ["FileSystemResizePending", "Resizing"];

/// What a claim whose volume has grown still waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// New size in bytes.
    pub bytes: i64,
    /// The claim's status once the file system has it.
    pub status: Value,
}

/// The growth that the claim leaves to the node. Values only.
pub fn growth(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Growth> {
    let status = claim.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let asked = conditions.iter().any(|c| c.type_ == OVER[0] && c.status == "True")
        || status
            .allocated_resource_statuses
            .iter()
            .flatten()
            .any(|(name, is)| name == "storage" && (is == "NodeResizePending" || is == "NodeResizeInProgress"));
    let size = volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?;
    let bytes = units(&size.0).and_then(|n| i64::try_from(n).ok())?;
    let had = status.capacity.as_ref().and_then(|c| units(&c.get("storage")?.0)).unwrap_or(0);
    if !asked || i128::from(bytes) <= had {
        return None;
    }
    let left: Vec<_> = conditions.iter().filter(|c| !OVER.contains(&c.type_.as_str())).collect();
    let status = json!({"capacity": {"storage": size}, "conditions": left, "allocatedResourceStatuses": null});
    Some(Growth { bytes, status })
}

impl Csi {
    /// Lets the driver grow what it has published for the pod, and says so in the claim.
    pub async fn expand(
        &self,
        pod: &Pod,
        volume: &CsiVolume,
        claim: &PersistentVolumeClaim,
        secret: Option<&SecretReference>,
        growth: &Growth,
    ) -> Result<(), String> {
        let driver = self.drivers.get(&volume.driver)?;
        // A driver without a part of its own on the node has grown all of it elsewhere.
        if driver.can(rpc::Type::ExpandVolume) && !volume.read_only {
            let lock = self.lock(&volume.driver, &volume.handle);
            let _held = lock.lock().await;
            let (_, target) = self.places(pod, volume);
            let staging = driver.can(rpc::Type::StageUnstageVolume).then(|| self.staging(volume));
            let request = NodeExpandVolumeRequest {
                volume_id: volume.handle.clone(),
                volume_path: target.to_string_lossy().into_owned(),
                capacity_range: Some(CapacityRange { required_bytes: growth.bytes, limit_bytes: 0 }),
                staging_target_path: staging.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
                volume_capability: Some(volume.capability(&driver, None)),
                secrets: self.secrets(secret).await?,
            };
            let what = "NodeExpandVolume";
            driver.call(what, driver.client().node_expand_volume(request)).await.map_err(|e| format!("{what}: {e}"))?;
        }
        let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.objects.client().clone(), namespace.unwrap_or_default());
        // Another's change in between is looked at first: this one is made again at the next look.
        let patch = json!({"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": growth.status});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let told = api.patch_status(name.unwrap_or_default(), &params, &patch);
        match tokio::time::timeout(Duration::from_secs(30), told).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("the claim's new size is not noted: {}", api_error::text(&error))),
            Err(_) => Err("the claim's new size is not noted: the API server does not answer".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_leaves_to_the_node_what_its_conditions_say() {
        let volume = |size: &str| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {"capacity": {"storage": size}}}))
                .unwrap()
        };
        let claim = |had: &str, condition: &str, status: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"name": "c"}, "status": {"capacity": {"storage": had},
                "conditions": [{"type": condition, "status": "True"}, {"type": "Other", "status": "True"}],
                "allocatedResourceStatuses": {"storage": status}}}))
            .unwrap()
        };
        for (claim, size, want) in [
            (claim("1Gi", "FileSystemResizePending", ""), "2Gi", Some(2_i64 << 30)),
            (claim("1Gi", "Resizing", "NodeResizePending"), "2Gi", Some(2 << 30)),
            (claim("1Gi", "Resizing", "ControllerResizeInProgress"), "2Gi", None),
            (claim("2Gi", "FileSystemResizePending", ""), "2Gi", None),
            (claim("1Gi", "FileSystemResizePending", ""), "big", None),
        ] {
            let found = growth(&claim, &volume(size));
            assert_eq!(found.as_ref().map(|g| g.bytes), want);
            if let Some(found) = found {
                let left = found.status["conditions"].as_array().unwrap();
                assert_eq!((left.len(), &left[0]["type"]), (1, &json!("Other")));
                assert_eq!(found.status["capacity"]["storage"], "2Gi");
            }
        }
    }
}
