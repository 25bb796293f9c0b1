//! Empties volumes of the policy `Recycle`, so that others may claim them: directories of nodes and of NFS servers, by a pod that goes by
//! the volume's name.
//!
//! What is deleted does not come back: volume and pod are read anew before each step.

use super::volume::{claim_key, unbound};
use super::{Binder, protect};
use crate::pods;
use crate::remove::remove;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, HostPathVolumeSource, NFSVolumeSource, PersistentVolume, Pod, PodSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rk_client::{BoxError, ObjectKey, Outcome, Verbs, controller_ref, is_not_found, parse_value};
use std::time::Duration;

const NAMESPACE: &str = "default";
const PREFIX: &str = "recycler-for-";
const FAILED: &str = "VolumeFailedRecycle";
/// An image with a shell and `find`; upstream's.
const IMAGE: &str = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6";
const SCRIPT: &str = r#"find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)""#;
/// What could not be emptied is tried again so long after the last try has begun.
const AGAIN: Duration = Duration::from_secs(15);
/// A pod may take so many seconds, and more for large volumes; upstream's defaults.
const LEAST_NODE: i64 = 60;
const LEAST_NFS: i64 = 300;
const PER_GIB: i64 = 30;

/// The volume that a pod empties, by the pod's name.
pub(super) fn volume_of(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().filter(|_| pod.metadata.namespace.as_deref() == Some(NAMESPACE))?;
    name.strip_prefix(PREFIX).map(str::to_owned)
}

/// The volume as its pod sees it, and how many seconds emptying it takes at least; `None` when it is none that can be emptied.
fn source(volume: &PersistentVolume) -> Option<(Volume, i64)> {
    let spec = volume.spec.as_ref()?;
    let bare = Volume { name: "vol".to_owned(), ..Volume::default() };
    if let Some(nfs) = &spec.nfs {
        let nfs = NFSVolumeSource { server: nfs.server.clone(), path: nfs.path.clone(), read_only: None };
        return Some((Volume { nfs: Some(nfs), ..bare }, LEAST_NFS));
    }
    let path = spec.host_path.as_ref()?.path.clone();
    let host_path = Some(HostPathVolumeSource { path, type_: None });
    Some((Volume { host_path, ..bare }, LEAST_NODE))
}

/// The pod that empties a volume.
fn pod_for(volume: &PersistentVolume, source: Volume, least: i64) -> Pod {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let size = volume.spec.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage")).map_or(0, parse_value);
    let seconds = least.max((size >> 30).saturating_mul(PER_GIB));
    // It goes with its volume, which does not manage it.
    let owner = OwnerReference { controller: None, block_owner_deletion: None, ..controller_ref(volume) };
    let mount = VolumeMount { name: source.name.clone(), mount_path: "/scrub".to_owned(), ..VolumeMount::default() };
    let container = Container {
        name: "pv-recycler".to_owned(),
        image: Some(IMAGE.to_owned()),
        command: Some(vec!["/bin/sh".to_owned()]),
        args: Some(vec!["-c".to_owned(), SCRIPT.to_owned()]),
        volume_mounts: Some(vec![mount]),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(format!("{PREFIX}{name}")),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            active_deadline_seconds: Some(seconds),
            restart_policy: Some("Never".to_owned()),
            volumes: Some(vec![source]),
            containers: vec![container],
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// How far a volume's pod is.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There is none.
    Begin,
    /// It is at it, or leaves.
    Wait,
    /// It is for another volume of the name.
    Stale,
    /// The volume is empty.
    Done,
    /// It is not, and why.
    Failed(String),
}

fn step(pod: Option<&Pod>, volume: &PersistentVolume) -> Step {
    let Some(pod) = pod else { return Step::Begin };
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let own = owners.any(|owner| volume.metadata.uid.as_ref() == Some(&owner.uid));
    match pods::phase(pod) {
        // It may have emptied the volume before the last claim had it.
        _ if pods::is_terminating(pod) => Step::Wait,
        _ if !own => Step::Stale,
        "Succeeded" => Step::Done,
        "Failed" => {
            let told = pod.status.as_ref().and_then(|s| s.message.clone()).filter(|message| !message.is_empty());
            Step::Failed(told.unwrap_or_else(|| "pod failed, pod.Status.Message unknown.".to_owned()))
        }
        _ => Step::Wait,
    }
}

/// How long it is until a volume may be tried again whose pod has failed.
fn rest(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let made = pod.metadata.creation_timestamp.as_ref()?.0;
    let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
    AGAIN.checked_sub(age).filter(|left| !left.is_zero())
}

impl Binder {
    /// Takes a volume whose claim is gone one step further to the next claim.
    pub(super) async fn recycle(&self, volume: &PersistentVolume) -> Result<Outcome, BoxError> {
        let Some((source, least)) = source(volume) else {
            return self.not_recycled(volume, "No recycler plugin found for the volume!".to_owned()).await;
        };
        let users = self.users(volume);
        if !users.is_empty() {
            self.recorder.normal(volume, FAILED, format!("Volume is used by pods: {users}"));
            return Ok(Outcome::RequeueAfter(AGAIN));
        }
        let newest = self.client.get::<PersistentVolume>(&ObjectKey::of(volume)).await?;
        if newest.metadata.resource_version != volume.metadata.resource_version {
            // Its change is on the way here.
            return Ok(Outcome::RequeueAfter(Duration::from_secs(1)));
        }
        let key = ObjectKey::new(NAMESPACE, format!("{PREFIX}{}", volume.metadata.name.as_deref().unwrap_or_default()));
        let pod = match self.client.get::<Pod>(&key).await {
            Ok(pod) => Some(pod),
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(error.into()),
        };
        match (step(pod.as_ref(), volume), pod) {
            (Step::Begin, _) => drop(self.pods.create(&pod_for(volume, source, least)).await?),
            (Step::Stale, Some(pod)) => remove(&self.pods, &pod).await?,
            (Step::Done, Some(pod)) => {
                // First the pod: it must not tell that the volume is empty when another claim has filled it.
                remove(&self.pods, &pod).await?;
                self.recorder.normal(volume, "VolumeRecycled", "Volume recycled");
                self.volumes.replace(&unbound(volume)).await?;
            }
            (Step::Failed(why), Some(pod)) => {
                if let Some(left) = rest(&pod, Timestamp::now()) {
                    self.not_recycled(volume, format!("Recycle failed: {why}")).await?;
                    return Ok(Outcome::RequeueAfter(left));
                }
                remove(&self.pods, &pod).await?;
            }
            _ => {}
        }
        Ok(Outcome::AwaitChange)
    }

    /// The pods that would see the volume change: those that still name the claim, unless there is another one of its name.
    fn users(&self, volume: &PersistentVolume) -> String {
        let Some(claim) = claim_key(volume).filter(|claim| self.claims.get(claim).is_none()) else {
            return String::new();
        };
        let users = protect::users(&self.pods, &claim);
        let users = users.iter().filter(|pod| !pods::is_finished(pod));
        users.map(|pod| ObjectKey::of(pod.as_ref()).to_string()).collect::<Vec<_>>().join(",")
    }

    async fn not_recycled(&self, volume: &PersistentVolume, why: String) -> Result<Outcome, BoxError> {
        if volume.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Failed") {
            self.recorder.warning(volume, FAILED, why.clone());
            self.set_volume_phase(volume, "Failed", Some(why)).await?;
        }
        Ok(Outcome::AwaitChange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(spec: Value) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": "pv", "uid": "u"}, "spec": spec})).expect("a volume")
    }

    #[test]
    fn a_volume_is_emptied_by_a_pod_of_its_name_that_takes_no_longer_than_its_size_allows() {
        let nfs = |size: &str| volume(json!({"capacity": {"storage": size}, "nfs": {"server": "s", "path": "/p"}}));
        let made = |volume: &PersistentVolume| source(volume).map(|(own, least)| pod_for(volume, own, least));
        for (size, want) in [("1Gi", 300), ("100Gi", 3000)] {
            let pod = made(&nfs(size)).expect("it can be emptied");
            assert_eq!(volume_of(&pod).as_deref(), Some("pv"));
            assert_eq!(pod.spec.as_ref().and_then(|s| s.active_deadline_seconds), Some(want));
            let seen = pod.spec.and_then(|s| s.volumes).and_then(|all| all.into_iter().next()?.nfs);
            assert_eq!(seen.map(|nfs| (nfs.server, nfs.path)), Some(("s".to_owned(), "/p".to_owned())));
        }
        let of_node = made(&volume(json!({"hostPath": {"path": "/srv"}}))).expect("it can be emptied");
        assert_eq!(of_node.spec.and_then(|s| s.active_deadline_seconds), Some(60));
        assert!(made(&volume(json!({"csi": {"driver": "d", "volumeHandle": "h"}}))).is_none());
        let elsewhere = serde_json::from_value(json!({"metadata": {"name": "recycler-for-pv", "namespace": "n"}}));
        assert_eq!(volume_of(&elsewhere.expect("a pod")), None);
    }

    #[test]
    fn only_a_pod_that_is_the_volumes_own_and_there_to_stay_tells_that_it_is_empty() {
        let nfs = volume(json!({"nfs": {"server": "s", "path": "/p"}}));
        let pod = |owner: &str, phase: &str, leaves: bool| -> Pod {
            let owners = json!([{"apiVersion": "v1", "kind": "PersistentVolume", "name": "pv", "uid": owner}]);
            let at = leaves.then_some("2026-01-01T00:00:00Z");
            let metadata = json!({"name": "recycler-for-pv", "ownerReferences": owners, "deletionTimestamp": at});
            serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase, "message": "no room"}}))
                .expect("a pod")
        };
        assert_eq!(step(None, &nfs), Step::Begin);
        for (owner, phase, leaves, want) in [
            ("u", "Running", false, Step::Wait),
            ("u", "Succeeded", false, Step::Done),
            ("u", "Succeeded", true, Step::Wait),
            ("other", "Succeeded", false, Step::Stale),
            ("u", "Failed", false, Step::Failed("no room".to_owned())),
        ] {
            assert_eq!(step(Some(&pod(owner, phase, leaves)), &nfs), want, "{owner} {phase} {leaves}");
        }
    }

    #[test]
    fn what_has_failed_rests_before_it_is_tried_again() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let pod = serde_json::from_value(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}));
        let pod: Pod = pod.expect("a pod");
        assert_eq!(rest(&pod, at("2026-01-01T00:00:05Z")), Some(Duration::from_secs(10)));
        assert_eq!(rest(&pod, at("2026-01-01T00:00:15Z")), None);
        assert_eq!(rest(&Pod::default(), at("2026-01-01T00:00:00Z")), None);
    }
}
