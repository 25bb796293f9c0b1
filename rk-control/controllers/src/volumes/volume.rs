//! Volumes: their phase, and what happens when their claim is gone.

use super::Binder;
use super::matching::{self, BOUND_BY_US, are_of_one_mode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rk_client::{BoxError, ObjectKey, Outcome, Verbs, is_not_found};

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

impl Binder {
    pub(super) async fn sync_volume(&self, name: &str) -> Result<Outcome, BoxError> {
        let Some(volume) = self.volumes.get(&ObjectKey::cluster(name)) else { return Ok(Outcome::AwaitChange) };
        let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.clone()) else {
            self.set_volume_phase(&volume, "Available", None).await?;
            return Ok(Outcome::AwaitChange);
        };
        if reference.uid.as_ref().is_none_or(String::is_empty) {
            // Promised by an administrator; the claim will come.
            self.set_volume_phase(&volume, "Available", None).await?;
            return Ok(Outcome::AwaitChange);
        }
        let key =
            ObjectKey::new(reference.namespace.clone().unwrap_or_default(), reference.name.clone().unwrap_or_default());
        let claim = match self.claims.get(&key).filter(|c| c.metadata.uid == reference.uid) {
            Some(claim) => Some(PersistentVolumeClaim::clone(&claim)),
            // Data is at stake: a cache that lags behind must not decide, nor one that has an earlier claim of the name.
            None => match self.client.get::<PersistentVolumeClaim>(&key).await {
                Ok(claim) => Some(claim),
                Err(error) if is_not_found(&error) => None,
                Err(error) => return Err(error.into()),
            },
        };
        match claim.filter(|c| c.metadata.uid == reference.uid) {
            None => self.release(&volume).await,
            Some(claim) => self.check(&volume, &claim).await,
        }
    }

    async fn check(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<Outcome, BoxError> {
        let named = claim.spec.as_ref().and_then(|s| s.volume_name.as_ref()).filter(|n| !n.is_empty());
        match named {
            // Nor does the claim's own run bind them.
            None if !are_of_one_mode(volume, claim) => self.tell_modes(volume, claim),
            // The claim's own run completes the binding.
            None => self.queue.add(super::Work::Claim(ObjectKey::of(claim))),
            Some(name) if Some(name) == volume.metadata.name.as_ref() => {
                self.set_volume_phase(volume, "Bound", None).await?
            }
            // The claim found another volume meanwhile. One that was made for it is of no use to anybody else.
            Some(_) if has_note(volume, PROVISIONED_BY) && policy(volume) == "Delete" => {
                return self.release(volume).await;
            }
            Some(_) => drop(self.volumes.replace(&unbound(volume)).await?),
        }
        Ok(Outcome::AwaitChange)
    }

    /// Tells why a volume is not bound to the claim that it is promised to, in upstream's words.
    fn tell_modes(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) {
        let [of_volume, of_claim] = other_mode(volume, claim);
        self.recorder.warning(volume, "VolumeMismatch", of_volume);
        self.recorder.warning(claim, "VolumeMismatch", of_claim);
    }

    /// The claim is gone: the volume keeps its data until its policy has been carried out.
    async fn release(&self, volume: &PersistentVolume) -> Result<Outcome, BoxError> {
        let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
        if phase != Some("Failed") {
            self.set_volume_phase(volume, "Released", None).await?;
        }
        if policy(volume) == "Recycle" {
            return self.recycle(volume).await;
        }
        if let Some(text) = undeletable(volume).filter(|_| phase != Some("Failed")) {
            self.recorder.warning(volume, "VolumeFailedDelete", text.clone());
            self.set_volume_phase(volume, "Failed", Some(text)).await?;
        }
        Ok(Outcome::AwaitChange)
    }

    pub(super) async fn set_volume_phase(
        &self,
        volume: &PersistentVolume,
        wanted: &str,
        message: Option<String>,
    ) -> kube::Result<()> {
        let latest = self.volumes.get(&ObjectKey::of(volume)).filter(|v| v.metadata.uid == volume.metadata.uid);
        let volume = latest.as_deref().unwrap_or(volume);
        match in_phase(volume, wanted, message) {
            Some(changed) => self.volumes.replace_status(&changed).await.map(|_| ()),
            None => Ok(()),
        }
    }
}

/// What is told of a volume and of its claim when these are of different modes.
fn other_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> [String; 2] {
    let [name, of] = [&volume.metadata, &claim.metadata].map(|of| of.name.as_deref().unwrap_or_default());
    [
        format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {of:?} due to incompatible volumeMode."
        ),
        format!(
            "Cannot bind PersistentVolume {name:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
        ),
    ]
}

fn has_note(volume: &PersistentVolume, annotation: &str) -> bool {
    volume.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(annotation))
}

/// What becomes of the volume once its claim is gone.
fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// Why nobody deletes the volume though its policy wants that: provisioners delete what they made, and nothing is deleted from here.
fn undeletable(volume: &PersistentVolume) -> Option<String> {
    let maker = volume.metadata.annotations.as_ref().and_then(|all| all.get(PROVISIONED_BY));
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    (policy(volume) == "Delete" && maker.is_none_or(String::is_empty))
        .then(|| format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"))
}

/// The volume without its promise to a claim that has another one or is gone: an administrator's promise stays, but for which claim of that name.
pub(super) fn unbound(volume: &PersistentVolume) -> PersistentVolume {
    let mut changed = volume.clone();
    let own = changed.metadata.annotations.as_mut().and_then(|all| all.remove(BOUND_BY_US)).is_some();
    let spec = changed.spec.get_or_insert_default();
    match &mut spec.claim_ref {
        Some(reference) if !own => reference.uid = None,
        reference => *reference = None,
    }
    changed
}

/// The volume in another phase, with why it is in it. `None` when it is in that phase: what others have told in its status since stays.
fn in_phase(volume: &PersistentVolume, wanted: &str, message: Option<String>) -> Option<PersistentVolume> {
    if volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(wanted) {
        return None;
    }
    let mut changed = volume.clone();
    let status = changed.status.get_or_insert_default();
    status.phase = Some(wanted.to_owned());
    status.message = message;
    status.last_phase_transition_time = Some(Time(Timestamp::now()));
    Some(changed)
}

/// Whether a volume points to the claim of this key.
pub(super) fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(reference.namespace.clone()?, reference.name.clone()?))
}

/// Claims that a new or freed volume may suit.
pub(super) fn may_suit(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let pending = claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound");
    pending && matching::mismatch(volume, claim).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_promise_to_a_claim_that_has_another_volume_is_taken_back_by_whom_it_is_of() {
        let volume = |notes: Value| -> PersistentVolume {
            let to = json!({"namespace": "n", "name": "c", "uid": "u"});
            serde_json::from_value(json!({"metadata": {"name": "v", "annotations": notes}, "spec": {"claimRef": to}}))
                .expect("valid")
        };
        let told = |notes: Value| {
            let left = unbound(&volume(notes));
            let to = left.spec.and_then(|s| s.claim_ref).map(|to| (to.name, to.uid));
            (to, left.metadata.annotations.unwrap_or_default().len())
        };
        assert_eq!(told(json!({BOUND_BY_US: "yes", "other": "note"})), (None, 1));
        assert_eq!(told(json!({"other": "note"})), (Some((Some("c".to_owned()), None)), 1));
    }

    #[test]
    fn a_volume_that_nobody_will_delete_says_so() {
        let why = |policy: &str, notes: Value| {
            let spec = json!({"persistentVolumeReclaimPolicy": policy, "csi": {"driver": "d", "volumeHandle": "h"}});
            let volume = json!({"metadata": {"name": "v", "annotations": notes}, "spec": spec});
            undeletable(&serde_json::from_value(volume).expect("valid"))
        };
        let told = "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched";
        assert_eq!(why("Delete", Value::Null).as_deref(), Some(told), "its driver's provisioner did not make it");
        assert_eq!(why("Delete", json!({PROVISIONED_BY: ""})).as_deref(), Some(told));
        assert_eq!(why("Delete", json!({PROVISIONED_BY: "d"})), None);
        assert_eq!(why("Retain", Value::Null), None);
    }

    #[test]
    fn a_volume_and_a_claim_of_another_mode_are_told_why_they_are_not_bound() {
        let spec = |mode: Value| json!({"metadata": {"name": "x"}, "spec": {"volumeMode": mode}});
        let (block, files) = (json!("Block"), json!("Filesystem"));
        for (has, wants, one) in [
            (Value::Null, files.clone(), true),
            (block.clone(), block.clone(), true),
            (block.clone(), Value::Null, false),
            (files, block, false),
        ] {
            let volume: PersistentVolume = serde_json::from_value(spec(has)).expect("valid");
            let claim: PersistentVolumeClaim = serde_json::from_value(spec(wants)).expect("valid");
            assert_eq!(are_of_one_mode(&volume, &claim), one);
            let [of_volume, of_claim] = other_mode(&volume, &claim);
            let why = "due to incompatible volumeMode.";
            assert_eq!(
                of_volume,
                format!("Cannot bind PersistentVolume to requested PersistentVolumeClaim \"x\" {why}")
            );
            assert_eq!(
                of_claim,
                format!("Cannot bind PersistentVolume \"x\" to requested PersistentVolumeClaim {why}")
            );
        }
    }

    #[test]
    fn what_others_tell_in_the_status_of_a_volume_stays_while_its_phase_does() {
        let volume = |status: Value| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "v"}, "status": status})).expect("valid")
        };
        let told = volume(json!({"phase": "Bound", "message": "by hand", "reason": "Hand"}));
        assert_eq!(in_phase(&told, "Bound", None), None);
        let status = in_phase(&told, "Released", None).and_then(|v| v.status).expect("another phase");
        assert_eq!((status.phase.as_deref(), status.message), (Some("Released"), None));
        assert!(status.last_phase_transition_time.is_some());
        let status = in_phase(&volume(Value::Null), "Failed", Some("why".to_owned())).and_then(|v| v.status);
        assert_eq!(status.and_then(|s| s.message).as_deref(), Some("why"), "a volume that has none yet gets one");
    }
}
