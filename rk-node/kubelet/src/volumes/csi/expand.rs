//! Volumes that have grown: the node's part of it, and what a claim says of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition};
use k8s_openapi::api::core::v1::{Pod, SecretReference};
use kube::api::{Api, Patch, PatchParams};
use rk_plugin_api::csi::node_service_capability::rpc;
use rk_plugin_api::csi::{CapacityRange, NodeExpandVolumeRequest};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::drivers::{Driver, is_final};
use super::mount::Csi;
use super::volume::CsiVolume;
use crate::plugins::words;
use crate::quantity::units;
use crate::{api_error, clock};

/// Condition of a claim whose growth has failed on its node.
const FAILED: &str = "NodeResizeError";
/// Conditions of a claim that end with the node's part.
const OVER: [&str; 4] = ["FileSystemResizePending", "Resizing", "ControllerResizeError", FAILED];
/// The node has begun with its part.
const BEGUN: &str = "NodeResizeInProgress";

/// What a claim whose volume has grown still waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// New size in bytes.
    pub bytes: i64,
    /// Whoever grew it says how far it is, and so does the node (KEP-1790).
    pub followed: bool,
    /// The claim's status once the file system has it.
    pub status: Value,
}

/// What came of a growth on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The volume has its size.
    Grown,
    /// It is only read here: whoever writes it grows it.
    ReadOnly,
    /// The pod goes on with what it has, as was found out before or just now: the driver grows no volume that is in use.
    Left,
}

/// How far the claim says that its growth is, if at all.
fn progress(claim: &PersistentVolumeClaim) -> Option<&str> {
    let mut all = claim.status.as_ref()?.allocated_resource_statuses.iter().flatten();
    all.find(|(name, is)| *name == "storage" && !is.is_empty()).map(|(_, is)| is.as_str())
}

/// The growth that the claim leaves to the node. Values only.
pub fn growth(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Growth> {
    let status = claim.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let progress = progress(claim);
    let asked = match progress {
        Some(progress) => progress == "NodeResizePending" || progress == BEGUN,
        None => conditions.iter().any(|c| c.type_ == OVER[0] && c.status == "True"),
    };
    let size = volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?;
    let bytes = units(&size.0).and_then(|n| i64::try_from(n).ok())?;
    let had = status.capacity.as_ref().and_then(|c| units(&c.get("storage")?.0)).unwrap_or(0);
    if !asked || i128::from(bytes) <= had {
        return None;
    }
    let left: Vec<_> = conditions.iter().filter(|c| !OVER.contains(&c.type_.as_str())).collect();
    let status = json!({"capacity": {"storage": size}, "conditions": left, "allocatedResourceStatuses": null});
    Some(Growth { bytes, followed: progress.is_some(), status })
}

/// Sizes that a request to a driver can never bring about, by its answer.
fn cannot_be(refused: &Status) -> bool {
    [Code::InvalidArgument, Code::OutOfRange, Code::NotFound].contains(&refused.code())
}

/// Why a volume did not grow, in upstream's words, for events and conditions.
fn why(refused: &Status) -> String {
    let colon = if cannot_be(refused) { "" } else { ": " };
    format!("Expander.NodeExpand failed to expand the volume {colon}{}", words(refused))
}

/// What the claim's status says after its driver has refused; `None` while the driver may still be at it. A size that cannot be, or that
/// the claim does not want any more, is told as infeasible: whoever grows the volume chooses another one.
fn refusal(claim: &PersistentVolumeClaim, bytes: i64, refused: &Status) -> Option<Value> {
    if !is_final(refused) {
        return None;
    }
    let requests = claim.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    let wanted = requests.and_then(|r| units(&r.get("storage")?.0));
    let mut conditions = claim.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    if !conditions.iter().any(|c| c.type_ == FAILED && c.status == "True") {
        conditions.retain(|c| c.type_ != FAILED);
        conditions.push(PersistentVolumeClaimCondition {
            type_: FAILED.into(),
            status: "True".into(),
            last_transition_time: Some(clock::now_seconds()),
            message: Some(format!("failed to expand pvc with {}", why(refused))),
            ..Default::default()
        });
    }
    let mut status = json!({"conditions": conditions});
    if cannot_be(refused) || wanted.is_some_and(|wanted| wanted != i128::from(bytes)) {
        status["allocatedResourceStatuses"] = json!({"storage": "NodeResizeInfeasible"});
    }
    Some(status)
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
    ) -> Result<Outcome, String> {
        let driver = self.drivers.get(&volume.driver)?;
        let (_, target) = self.places(pod, volume);
        if self.left().get(&target) == Some(&growth.bytes) {
            return Ok(Outcome::Left);
        }
        if volume.read_only {
            self.left().insert(target, growth.bytes);
            return Ok(Outcome::ReadOnly);
        }
        // A driver without a part of its own on the node has grown all of it elsewhere.
        if !driver.can(rpc::Type::ExpandVolume) {
            return self.tell_claim(claim, &growth.status).await.map(|_| Outcome::Grown);
        }
        let mut told = None;
        if growth.followed && progress(claim) != Some(BEGUN) {
            let begun = json!({"allocatedResourceStatuses": {"storage": BEGUN}});
            told = Some(self.tell_claim(claim, &begun).await?);
        }
        let claim = told.as_ref().unwrap_or(claim);
        let Err(refused) = self.expand_by(&driver, pod, volume, secret, growth.bytes).await? else {
            return self.tell_claim(claim, &growth.status).await.map(|_| Outcome::Grown);
        };
        if let Some(status) = refusal(claim, growth.bytes, &refused).filter(|_| growth.followed) {
            self.tell_claim(claim, &status).await?;
        }
        if refused.code() != Code::FailedPrecondition {
            return Err(why(&refused));
        }
        self.left().insert(target, growth.bytes);
        Ok(Outcome::Left)
    }

    /// Sizes that volumes are not grown to where they are published, by that place: nobody asks again while they are there.
    pub(super) fn left(&self) -> MutexGuard<'_, BTreeMap<PathBuf, i64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver's part: its own answer, or why it was not asked.
    async fn expand_by(
        &self,
        driver: &Driver,
        pod: &Pod,
        volume: &CsiVolume,
        secret: Option<&SecretReference>,
        bytes: i64,
    ) -> Result<Result<(), Status>, String> {
        let lock = self.lock(&volume.driver, &volume.handle);
        let _held = lock.lock().await;
        let (_, target) = self.places(pod, volume);
        let staging = driver.can(rpc::Type::StageUnstageVolume).then(|| self.staging(volume));
        let request = NodeExpandVolumeRequest {
            volume_id: volume.handle.clone(),
            volume_path: target.to_string_lossy().into_owned(),
            capacity_range: Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            staging_target_path: staging.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
            volume_capability: Some(volume.capability(driver.tells_writers_apart(), None)),
            secrets: self.secrets(secret).await?,
        };
        Ok(driver.call("NodeExpandVolume", driver.client().node_expand_volume(request)).await.map(drop))
    }

    /// Writes a part of the claim's status. Another's change in between is looked at first: this one is made again at the next look.
    async fn tell_claim(&self, claim: &PersistentVolumeClaim, status: &Value) -> Result<PersistentVolumeClaim, String> {
        let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.objects.client().clone(), namespace.unwrap_or_default());
        let patch = json!({"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": status});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let told = api.patch_status(name.unwrap_or_default(), &params, &patch);
        match tokio::time::timeout(Duration::from_secs(30), told).await {
            Ok(Ok(claim)) => Ok(claim),
            Ok(Err(error)) => Err(format!("how far the claim has grown is not noted: {}", api_error::text(&error))),
            Err(_) => Err("how far the claim has grown is not noted: the API server does not answer".into()),
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
            (claim("1Gi", "FileSystemResizePending", "NodeResizeInProgress"), "2Gi", Some(2 << 30)),
            (claim("1Gi", "FileSystemResizePending", "NodeResizeInfeasible"), "2Gi", None),
            (claim("1Gi", "NodeResizeError", "NodeResizePending"), "2Gi", Some(2 << 30)),
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

    #[test]
    fn a_claim_is_told_that_its_size_cannot_be_had_on_the_node() {
        let claim = |conditions: Value| -> PersistentVolumeClaim {
            serde_json::from_value(
                json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "2Gi"}}},
                "status": {"conditions": conditions}}),
            )
            .unwrap()
        };
        let plain = claim(json!([{"type": "FileSystemResizePending", "status": "True"}]));
        let told = |claim: &PersistentVolumeClaim, gib: i64, code: Code| {
            let told = refusal(claim, gib << 30, &Status::new(code, "no"))?;
            let kinds = told["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap().to_owned());
            Some((kinds.collect::<Vec<_>>(), told["allocatedResourceStatuses"]["storage"].as_str().map(str::to_owned)))
        };
        let both = vec!["FileSystemResizePending".to_owned(), FAILED.to_owned()];
        let infeasible = Some("NodeResizeInfeasible".to_owned());
        assert_eq!(told(&plain, 2, Code::DeadlineExceeded), None);
        assert_eq!(told(&plain, 2, Code::OutOfRange), Some((both.clone(), infeasible.clone())));
        assert_eq!(told(&plain, 2, Code::Internal), Some((both.clone(), None)));
        assert_eq!(told(&plain, 3, Code::Internal), Some((both, infeasible)), "nobody wants that size any more");
        let again = claim(json!([{"type": FAILED, "status": "True", "message": "first"}]));
        let told = refusal(&again, 2 << 30, &Status::internal("second")).unwrap();
        assert_eq!(
            (told["conditions"].as_array().unwrap().len(), &told["conditions"][0]["message"]),
            (1, &json!("first"))
        );
        let refused = |code: Code| refusal(&plain, 2 << 30, &Status::new(code, "no")).unwrap()["conditions"][1].clone();
        let begin = "failed to expand pvc with Expander.NodeExpand failed to expand the volume";
        for (code, want) in [
            (Code::Internal, " : rpc error: code = Internal desc = no"),
            (Code::OutOfRange, " rpc error: code = OutOfRange desc = no"),
        ] {
            assert_eq!(refused(code)["message"], format!("{begin}{want}"));
        }
    }
}
