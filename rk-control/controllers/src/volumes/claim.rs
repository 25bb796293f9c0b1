//! Claims: find a volume, ask for one, or say why there is none.

use super::matching::{self, BIND_COMPLETED, BOUND_BY_US};
use super::{Binder, is_default_class, protect};
use crate::pods;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use rk_client::{BoxError, ObjectKey, Outcome};
use std::sync::Arc;
use std::time::Duration;

const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const OLD_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const LOOK_AGAIN: Duration = Duration::from_secs(15);

const LOST_REFERENCE: &str = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
const LOST_VOLUME: &str = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
const MISBOUND: &str = "Two claims are bound to the same volume, this one is bound incorrectly";

fn has(claim: &PersistentVolumeClaim, annotation: &str) -> bool {
    claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(annotation))
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

impl Binder {
    pub(super) async fn sync_claim(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Outcome::AwaitChange) };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::AwaitChange);
        }
        let named = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|n| !n.is_empty());
        match named {
            Some(name) if has(&claim, BIND_COMPLETED) => self.check_bound(&claim, &name).await,
            None if has(&claim, BIND_COMPLETED) => self.lose(&claim, "ClaimLost", LOST_REFERENCE).await,
            Some(name) => match self.volumes.get(&ObjectKey::cluster(name)) {
                Some(volume) => self.bind_named(&claim, &volume).await,
                // The volume may still be on its way.
                None => self.set_phase(&claim, "Pending").await,
            },
            None => self.find_volume(&claim).await,
        }
    }

    async fn check_bound(&self, claim: &PersistentVolumeClaim, name: &str) -> Result<Outcome, BoxError> {
        let volume = self.volumes.get(&ObjectKey::cluster(name));
        match (standing(claim, volume.as_deref()), volume) {
            (Standing::Bound, Some(volume)) => self.finish(claim, &volume).await,
            (Standing::Free, Some(volume)) => self.promise(claim, &volume).await,
            (Standing::Taken, _) => self.lose(claim, "ClaimMisbound", MISBOUND).await,
            _ => self.lose(claim, "ClaimLost", LOST_VOLUME).await,
        }
    }

    /// Tells once that a claim has no volume any more.
    async fn lose(&self, claim: &PersistentVolumeClaim, reason: &'static str, why: &str) -> Result<Outcome, BoxError> {
        if phase(claim) != "Lost" {
            self.recorder.warning(claim, reason, why);
        }
        self.set_phase(claim, "Lost").await
    }

    async fn bind_named(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Outcome, BoxError> {
        // Who has promised the very volume to the very claim has looked at both.
        if matching::is_for(volume, claim) {
            return self.promise(claim, volume).await;
        }
        if volume.spec.as_ref().is_some_and(|s| s.claim_ref.is_some()) {
            return self.set_phase(claim, "Pending").await;
        }
        if let Some(why) = matching::mismatch(volume, claim) {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            self.recorder.warning(claim, "VolumeMismatch", format!("Cannot bind to requested volume {name:?}: {why}"));
            return self.set_phase(claim, "Pending").await;
        }
        self.promise(claim, volume).await
    }

    async fn find_volume(&self, claim: &PersistentVolumeClaim) -> Result<Outcome, BoxError> {
        let class_name = matching::class_of_claim(claim);
        let class = self.classes.get(&ObjectKey::cluster(class_name.clone()));
        let waits = class.as_ref().is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
        let all = self.volumes.list();
        let found = matching::find(&all, claim).filter(|v| !waits || matching::is_for(v, claim));
        if let Some(volume) = found {
            return self.promise(claim, volume).await;
        }
        if waits && !has(claim, SELECTED_NODE) {
            let (reason, text) = awaited(&protect::users(&self.pods, &ObjectKey::of(claim)));
            self.recorder.normal(claim, reason, text);
            return self.set_phase(claim, "Pending").await;
        }
        match class.as_deref() {
            Some(class) if class.provisioner != NO_PROVISIONER => self.ask(claim, class).await,
            _ if !matching::names_class(claim) && self.adopt_default(claim).await? => Ok(Outcome::AwaitChange),
            None if !class_name.is_empty() => {
                self.recorder.warning(
                    claim,
                    "ProvisioningFailed",
                    format!("storageclass.storage.k8s.io {class_name:?} not found"),
                );
                self.set_phase(claim, "Pending").await?;
                Ok(Outcome::RequeueAfter(LOOK_AGAIN))
            }
            _ => {
                self.recorder.normal(
                    claim,
                    "FailedBinding",
                    "no persistent volumes available for this claim and no storage class is set",
                );
                self.set_phase(claim, "Pending").await
            }
        }
    }

    /// A claim that named no class before there was a default gets it now (KEP-3333).
    async fn adopt_default(&self, claim: &PersistentVolumeClaim) -> kube::Result<bool> {
        let mut defaults: Vec<_> = self.classes.list().into_iter().filter(|c| is_default_class(c)).collect();
        defaults.sort_by_key(|c| c.metadata.creation_timestamp.as_ref().map(|t| std::cmp::Reverse(t.0)));
        let Some(class) = defaults.first() else { return Ok(false) };
        let mut changed = claim.clone();
        changed.spec.get_or_insert_default().storage_class_name.clone_from(&class.metadata.name);
        self.claims.replace(&changed).await?;
        Ok(true)
    }

    /// Tells the class's provisioner, which lives outside.
    async fn ask(&self, claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<Outcome, BoxError> {
        let provisioner = &class.provisioner;
        if claim.metadata.annotations.as_ref().and_then(|a| a.get(PROVISIONER)) != Some(provisioner) {
            let mut changed = claim.clone();
            let annotations = changed.metadata.annotations.get_or_insert_default();
            annotations.insert(PROVISIONER.to_owned(), provisioner.clone());
            annotations.insert(OLD_PROVISIONER.to_owned(), provisioner.clone());
            self.claims.replace(&changed).await?;
        }
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. \
             If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.recorder.normal(claim, "ExternalProvisioning", text);
        Ok(Outcome::RequeueAfter(LOOK_AGAIN))
    }

    /// First the volume points to the claim, then the claim to the volume: a crash in between is repaired.
    async fn promise(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Outcome, BoxError> {
        let mut changed = volume.clone();
        let spec = changed.spec.get_or_insert_default();
        let pointed = spec.claim_ref.as_ref().is_some_and(|r| r.uid == claim.metadata.uid);
        if !pointed {
            let by_us = spec.claim_ref.is_none();
            spec.claim_ref = Some(claim.object_ref(&()));
            if by_us {
                changed.metadata.annotations.get_or_insert_default().insert(BOUND_BY_US.to_owned(), "yes".to_owned());
            }
            changed = self.volumes.replace(&changed).await?;
        }
        self.finish(claim, &changed).await
    }

    async fn finish(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Outcome, BoxError> {
        let mut changed = claim.clone();
        let spec = changed.spec.get_or_insert_default();
        let by_us = spec.volume_name.as_ref().is_none_or(String::is_empty);
        spec.volume_name.clone_from(&volume.metadata.name);
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
        if by_us {
            annotations.insert(BOUND_BY_US.to_owned(), "yes".to_owned());
        }
        if changed != *claim {
            changed = self.claims.replace(&changed).await?;
        }
        let status = bound(&changed, volume);
        if changed.status.as_ref() != Some(&status) {
            self.claims.replace_status(&PersistentVolumeClaim { status: Some(status), ..changed }).await?;
        }
        self.set_volume_phase(volume, "Bound", None).await?;
        Ok(Outcome::AwaitChange)
    }

    async fn set_phase(&self, claim: &PersistentVolumeClaim, wanted: &str) -> Result<Outcome, BoxError> {
        if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some(wanted) {
            let mut changed = claim.clone();
            let status = changed.status.get_or_insert_default();
            status.phase = Some(wanted.to_owned());
            if wanted == "Lost" {
                status.capacity = None;
                status.access_modes = None;
                status.current_volume_attributes_class_name = None;
            }
            self.claims.replace_status(&changed).await?;
        }
        Ok(Outcome::AwaitChange)
    }
}

/// What has become of the volume of a claim that was bound.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is the claim's.
    Bound,
    /// It is nobody's.
    Free,
    /// It is another's, or promised to whatever claim comes by the name.
    Taken,
    /// It is gone.
    Gone,
}

fn standing(claim: &PersistentVolumeClaim, volume: Option<&PersistentVolume>) -> Standing {
    let Some(volume) = volume else { return Standing::Gone };
    match volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) {
        None => Standing::Free,
        // The name alone says nothing: there may have been another claim of it.
        Some(to) if to.uid.is_some() && to.uid == claim.metadata.uid => Standing::Bound,
        Some(_) => Standing::Taken,
    }
}

/// What a claim waits for that is bound with its first consumer: that one, or the scheduler; in upstream's words.
fn awaited(users: &[Arc<Pod>]) -> (&'static str, String) {
    let waits = |pod: &&Arc<Pod>| pods::node_name(pod).is_none() && !pods::is_finished(pod);
    let names: Vec<&str> = users.iter().filter(waits).filter_map(|pod| pod.metadata.name.as_deref()).collect();
    match names.as_slice() {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
        many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
    }
}

/// Whether the claim, which is bound, asks for more than it did.
pub(super) fn grows(old: &PersistentVolumeClaim, new: &PersistentVolumeClaim) -> bool {
    phase(new) == "Bound" && matching::requested(new) > matching::requested(old)
}

/// The status of a claim that has the volume.
fn bound(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> PersistentVolumeClaimStatus {
    let has = volume.spec.clone().unwrap_or_default();
    let mut status = claim.status.clone().unwrap_or_default();
    let before = status.phase.replace("Bound".to_owned());
    status.access_modes = has.access_modes;
    // Later growth is reported by the one who resizes the file system, and later attributes by the one who changes them.
    if before.as_deref() != Some("Bound") || status.capacity.is_none() {
        status.capacity = has.capacity;
    }
    if before.is_none_or(|phase| phase == "Pending") {
        status.current_volume_attributes_class_name = has.volume_attributes_class_name;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_claim_that_was_bound_has_its_volume_by_the_uid_alone() {
        let claim = serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}}));
        let claim: PersistentVolumeClaim = claim.expect("a claim");
        let volume = |to: Value| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {"claimRef": to}})).expect("a volume")
        };
        let to = |uid: Value| json!({"namespace": "n", "name": "c", "uid": uid});
        for (volume, want) in [
            (None, Standing::Gone),
            (Some(volume(Value::Null)), Standing::Free),
            (Some(volume(to(json!("u")))), Standing::Bound),
            (Some(volume(to(json!("other")))), Standing::Taken),
            (Some(volume(to(json!("")))), Standing::Taken),
            // Who told it so would find it available the next moment, and so on for ever.
            (Some(volume(to(Value::Null))), Standing::Taken),
        ] {
            assert_eq!(standing(&claim, volume.as_ref()), want, "{volume:?}");
        }
        assert_eq!(standing(&PersistentVolumeClaim::default(), Some(&volume(to(Value::Null)))), Standing::Taken);
    }

    #[test]
    fn a_claim_that_waits_says_for_whom() {
        let pod = |name: &str, node: &str, phase: &str| -> Arc<Pod> {
            let spec = json!({"nodeName": node, "containers": []});
            let pod = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}});
            Arc::new(serde_json::from_value(pod).expect("a pod"))
        };
        let (a, b) = (pod("a", "", "Pending"), pod("b", "", "Pending"));
        for (users, reason, text) in [
            (vec![], "WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
            (
                vec![pod("c", "n", "Pending"), pod("d", "", "Failed")],
                "WaitForFirstConsumer",
                "waiting for first consumer",
            ),
            (vec![Arc::clone(&a)], "WaitForPodScheduled", "waiting for pod a to be scheduled"),
            (vec![a, b], "WaitForPodScheduled", "waiting for pods a,b to be scheduled"),
        ] {
            let told = awaited(&users);
            assert!(told.0 == reason && told.1.starts_with(text), "{told:?}");
        }
    }

    #[test]
    fn a_bound_claim_grows_when_it_asks_for_more() {
        let claim = |size: &str, phase: &str| -> PersistentVolumeClaim {
            let spec = json!({"resources": {"requests": {"storage": size}}});
            serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": spec, "status": {"phase": phase}}))
                .expect("a claim")
        };
        let small = claim("1Gi", "Bound");
        assert!(grows(&small, &claim("2Gi", "Bound")));
        assert!(!grows(&small, &claim("1024Mi", "Bound")) && !grows(&claim("2Gi", "Bound"), &small));
        assert!(!grows(&small, &claim("2Gi", "Pending")));
    }

    #[test]
    fn a_claim_tells_what_its_volume_was_when_it_got_it() {
        let volume: PersistentVolume = serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {
            "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": "gold"}}))
        .expect("a volume");
        let told = |status: Value| {
            let claim = serde_json::from_value(json!({"metadata": {"name": "c"}, "status": status})).expect("a claim");
            serde_json::to_value(bound(&claim, &volume)).expect("a status")
        };
        let whole = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"},
            "currentVolumeAttributesClassName": "gold"});
        assert_eq!(told(Value::Null), whole);
        assert_eq!(told(json!({"phase": "Pending"})), whole);
        let grows = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "currentVolumeAttributesClassName": "silver"});
        assert_eq!(told(grows.clone()), grows, "it is others' by now");
    }
}
