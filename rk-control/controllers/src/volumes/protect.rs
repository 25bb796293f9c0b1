//! Finalizers that keep from going what is in use: claims by pods, volumes by claims, attributes classes by both.

use crate::context::Context;
use crate::discovery::has_finalizer;
use crate::pods;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::Client;
use kube::api::ListParams;
use rk_client::{BoxError, Informer, Object, ObjectKey, Outcome, Queue, Verbs, is_controlled_by};
use std::sync::Arc;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const CLASS_FINALIZER: &str = "kubernetes.io/vac-protection";
/// Name of the index of pods by the keys of the claims that they use.
const BY_CLAIM: &str = "persistentvolumeclaim";

/// Claims that a pod uses, its ephemeral ones included.
pub(super) fn claims_of(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let claim = volume.persistent_volume_claim.as_ref().map(|c| c.claim_name.clone());
            claim.or_else(|| volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name)))
        })
        .map(|claim| ObjectKey::new(namespace.clone(), claim))
        .collect()
}

/// Keeps the index that [`users`] reads.
pub(super) fn index_by_claim(pods: &Informer<Pod>) {
    pods.index(BY_CLAIM, |pod| claims_of(pod).iter().map(ObjectKey::to_string).collect());
}

/// The pods that use a claim, over or not.
pub(super) fn users(pods: &Informer<Pod>, claim: &ObjectKey) -> Vec<Arc<Pod>> {
    pods.by_index(BY_CLAIM, &claim.to_string())
}

/// Whether a pod that has its node keeps the claim, which it does for as long as it is there, though it be over. A claim of its own it
/// lets go as soon as nothing but its finalizers keeps it: they may wait for the claim.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let leaves = pods::is_terminating(pod) && pod.metadata.deletion_grace_period_seconds == Some(0);
    let (name, pod_name) = (claim.metadata.name.as_deref().unwrap_or_default(), pod.metadata.name.as_deref());
    let own = is_controlled_by(&claim.metadata, pod.metadata.uid.as_deref().unwrap_or_default());
    let mut volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    pods::node_name(pod).is_some()
        && volumes.any(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(named), _) => named.claim_name == name,
            (None, Some(_)) => own && !leaves && format!("{}-{}", pod_name.unwrap_or_default(), volume.name) == name,
            (None, None) => false,
        })
}

/// Whether any pod keeps the claim: one that is known here or, before the claim goes for good, one that there is at all. Data is at stake,
/// and a cache may not have heard yet of a pod that has just got its node.
async fn is_used(client: &Client, pods: &Informer<Pod>, claim: &PersistentVolumeClaim) -> kube::Result<bool> {
    if users(pods, &ObjectKey::of(claim)).iter().any(|pod| uses(pod, claim)) {
        return Ok(true);
    }
    if claim.metadata.deletion_timestamp.is_none() || !has_finalizer(&claim.metadata, CLAIM_FINALIZER) {
        return Ok(false);
    }
    let newest = client.list::<Pod>(claim.metadata.namespace.as_deref(), &ListParams::default()).await?;
    Ok(newest.items.iter().any(|pod| uses(pod, claim)))
}

/// The object with or without the finalizer, if that is a change.
fn with_finalizer<K: Object>(object: &K, finalizer: &str, wanted: bool) -> Option<K> {
    if has_finalizer(object.meta(), finalizer) == wanted {
        return None;
    }
    let mut changed = object.clone();
    let all = changed.meta_mut().finalizers.get_or_insert_default();
    if wanted {
        all.push(finalizer.to_owned())
    } else {
        all.retain(|f| f != finalizer)
    }
    Some(changed)
}

async fn sync<K: Object>(
    informer: &Informer<K>,
    key: &ObjectKey,
    finalizer: &str,
    in_use: impl Fn(&K) -> bool,
) -> Result<Outcome, BoxError> {
    let Some(object) = informer.get(key) else { return Ok(Outcome::AwaitChange) };
    let wanted = object.meta().deletion_timestamp.is_none() || in_use(&object);
    // Nothing may be added to an object that is being deleted.
    let allowed = !wanted || object.meta().deletion_timestamp.is_none();
    if let Some(changed) = with_finalizer(object.as_ref(), finalizer, wanted).filter(|_| allowed) {
        informer.replace(&changed).await?;
    }
    Ok(Outcome::AwaitChange)
}

/// Starts the protection of claims.
pub(crate) fn register_claims(ctx: &Context) {
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let pods = ctx.informers.of::<Pod>();
    index_by_claim(&pods);
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    claims.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    pods.on_change(move |change| claims_of(change.object()).into_iter().for_each(|key| q.add(key)));
    let client = ctx.client.clone();
    ctx.work("pvcprotection", queue, 1, move |key| {
        let (client, claims, pods) = (client.clone(), claims.clone(), pods.clone());
        async move {
            let Some(claim) = claims.get(&key) else { return Ok(Outcome::AwaitChange) };
            // One that is not leaving is not asked about: were it leaving by now, that is its next turn's.
            let used = claim.metadata.deletion_timestamp.is_none() || is_used(&client, &pods, &claim).await?;
            sync(&claims, &key, CLAIM_FINALIZER, |_| used).await
        }
    });
}

/// Starts the protection of volumes.
pub(crate) fn register_volumes(ctx: &Context) {
    let volumes = ctx.informers.of::<PersistentVolume>();
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    volumes.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    ctx.work("pvprotection", queue, 1, move |key| {
        let volumes = volumes.clone();
        async move {
            let bound =
                |volume: &PersistentVolume| volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
            sync(&volumes, &key, VOLUME_FINALIZER, bound).await
        }
    });
}

/// Attributes classes that a claim asks for, has, or is on its way to.
fn classes_of(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let asked = claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
    let has = claim.status.as_ref().and_then(|s| s.current_volume_attributes_class_name.as_deref());
    let next = claim.status.as_ref().and_then(|s| s.modify_volume_status.as_ref());
    [asked, has, next.and_then(|m| m.target_volume_attributes_class_name.as_deref())].into_iter().flatten()
}

fn class_of(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref())
}

/// Starts the protection of attributes classes.
pub(crate) fn register_attributes_classes(ctx: &Context) {
    let classes = ctx.informers.of::<VolumeAttributesClass>();
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let volumes = ctx.informers.of::<PersistentVolume>();
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    classes.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    // A change may let go of a class that only the former state names: look at all that wait to go.
    let (q, all) = (queue.clone(), classes.clone());
    claims.on_change(move |_| leaving(&all).for_each(|key| q.add(key)));
    let (q, all) = (queue.clone(), classes.clone());
    volumes.on_change(move |_| leaving(&all).for_each(|key| q.add(key)));
    ctx.work("vacprotection", queue, 1, move |key| {
        let (classes, claims, volumes) = (classes.clone(), claims.clone(), volumes.clone());
        async move {
            let used = |class: &VolumeAttributesClass| {
                let name = class.metadata.name.as_deref().unwrap_or_default();
                claims.list().iter().any(|c| classes_of(c).any(|n| n == name))
                    || volumes.list().iter().any(|v| class_of(v) == Some(name))
            };
            sync(&classes, &key, CLASS_FINALIZER, used).await
        }
    });
}

fn leaving(classes: &Informer<VolumeAttributesClass>) -> impl Iterator<Item = ObjectKey> {
    let leaves = |c: &VolumeAttributesClass| c.metadata.deletion_timestamp.is_some();
    classes.list().into_iter().filter(move |c| leaves(c)).map(|c| ObjectKey::of(c.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_keeps_its_claims_while_it_is_there_and_its_own_until_nothing_else_keeps_it() {
        let claim = |name: &str, owner: &str| -> PersistentVolumeClaim {
            let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]);
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "ownerReferences": owner}}))
                .expect("a claim")
        };
        let pod = |node: &str, phase: &str, leaves: bool| -> Pod {
            let volumes =
                json!([{"name": "a", "persistentVolumeClaim": {"claimName": "named"}}, {"name": "b", "ephemeral": {}}]);
            let mut meta = json!({"name": "p", "namespace": "n", "uid": "u"});
            if leaves {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                meta["deletionGracePeriodSeconds"] = json!(0);
            }
            let spec = json!({"nodeName": node, "containers": [], "volumes": volumes});
            serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": {"phase": phase}})).expect("a pod")
        };
        for (pod, named, own) in [
            (pod("", "Pending", false), false, false),
            (pod("a", "Running", false), true, true),
            (pod("a", "Succeeded", false), true, true),
            (pod("a", "Failed", true), true, false),
        ] {
            assert_eq!((uses(&pod, &claim("named", "x")), uses(&pod, &claim("p-b", "u"))), (named, own), "{pod:?}");
            assert!(!uses(&pod, &claim("p-b", "another")) && !uses(&pod, &claim("other", "u")));
        }
    }

    #[tokio::test]
    async fn a_claim_goes_only_when_the_api_itself_knows_of_no_pod_that_uses_it() {
        let pod = |node: &str| {
            let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
            let spec = json!({"nodeName": node, "containers": [], "volumes": volumes});
            json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"}, "spec": spec})
        };
        let claim = |leaves: Option<&str>| -> PersistentVolumeClaim {
            let metadata =
                json!({"name": "c", "namespace": "n", "deletionTimestamp": leaves, "finalizers": [CLAIM_FINALIZER]});
            serde_json::from_value(json!({"metadata": metadata})).expect("a claim")
        };
        let leaves = Some("2026-01-01T00:00:00Z");
        for (cached, there, leaves, want) in [
            (None, "a", leaves, true),
            (None, "", leaves, false),
            (Some("a"), "a", leaves, true),
            // What stays is nobody's hurry.
            (None, "a", None, false),
        ] {
            let list =
                json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [pod(there)]}).to_string();
            let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
                let body = kube::client::Body::from(list.clone().into_bytes());
                std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
            });
            let client = Client::new(server, "default");
            let pods = rk_client::Informers::new(client.clone()).of::<Pod>();
            index_by_claim(&pods);
            if let Some(node) = cached {
                pods.observe(serde_json::from_value(pod(node)).expect("a pod"));
            }
            let used = is_used(&client, &pods, &claim(leaves)).await.expect("an answer");
            assert_eq!(used, want, "{cached:?} {there:?} {leaves:?}");
        }
    }

    #[test]
    fn a_claim_holds_the_class_it_asks_for_the_one_it_has_and_the_one_it_moves_to() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {
                "currentVolumeAttributesClassName": "bronze",
                "modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "silver"},
            },
        }))
        .expect("a claim");
        assert_eq!(classes_of(&claim).collect::<Vec<_>>(), ["gold", "bronze", "silver"]);
        assert_eq!(classes_of(&PersistentVolumeClaim::default()).count(), 0);
    }
}
