//! What the scheduler tells the API: bindings, conditions, evictions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::Patch;
use kube::{Client, Resource as _};
use rk_client::{Deletion, EventType, Informer, Informers, ObjectKey, Recorder, is_conflict, is_not_found};
use serde_json::{Value, json};

use crate::decide::Placement;
use crate::figures;
use crate::model::{Choice, PREEMPTED, PodInfo, SELECTED_NODE};
use crate::sync::Shared;
use crate::turn::Turn;

/// How long a claim may take to be bound after its node was chosen; upstream's default.
const CLAIMS_DEADLINE: Duration = Duration::from_secs(600);
/// How often claims that are being bound are looked at.
const CLAIMS_POLL: Duration = Duration::from_millis(250);

/// Marks a volume whose claim no person chose.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("the API refused the binding")]
    Api(#[from] kube::Error),
    #[error("the binding request cannot be built")]
    Request(#[from] http::Error),
    #[error("its volumes were not bound")]
    Claims,
    #[error("claim {0} could not be written")]
    DeviceClaim(ObjectKey, #[source] kube::Error),
    #[error("create claim for extended resources {0}")]
    ExtendedResources(ObjectKey, #[source] kube::Error),
    #[error("the pod could not be told of claim {0}")]
    Untold(ObjectKey, #[source] kube::Error),
    #[error("{0}")]
    Devices(String),
}

/// The scheduler's hands.
#[derive(Clone)]
pub(crate) struct Binder {
    pub(crate) client: Client,
    pub(crate) pods: Informer<Pod>,
    pub(crate) informers: Informers,
    pub(crate) recorder: Recorder,
    pub(crate) shared: Arc<Shared>,
    /// The scheduler's name.
    pub(crate) profile: Arc<str>,
}

impl Binder {
    /// Binds a pod: first its late-binding claims and those of devices, then itself.
    pub(crate) async fn bind(&self, pod: &PodInfo, placement: &Placement, turn: &mut Turn) -> Result<(), BindError> {
        let waits = self.announce(pod, placement).await;
        let bound = self.bind_all(pod, placement, turn).await;
        if waits && bound.is_err() {
            // What it needs may not be had there: the next attempt is free to go elsewhere.
            self.displace(pod).await;
        }
        bound
    }

    /// Tells which node a pod is to get while what it needs there is still to be made, so that nobody adds another node for it (KEP-5278).
    /// Answers whether that is so, also where the pod hoped for that node before, as after a restart.
    async fn announce(&self, pod: &PodInfo, placement: &Placement) -> bool {
        let without_devices = pod.device_claims.is_empty() && placement.special.is_none();
        let waits = !(without_devices && self.shared.cluster().storage.all_bound(pod));
        if waits && pod.nominated.as_ref() != Some(&placement.node) {
            self.nominate(pod, json!(placement.node)).await;
        }
        waits
    }

    /// Takes back the node that a pod hopes for: it looks for a place anew.
    pub(crate) async fn displace(&self, pod: &PodInfo) {
        self.nominate(pod, Value::Null).await;
    }

    /// Writes the node that a pod hopes for, once: no decision waits for that.
    async fn nominate(&self, pod: &PodInfo, node: Value) {
        let patch = json!({"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": node}});
        match self.pods.patch_status(&pod.key, &Patch::Strategic(patch)).await {
            Err(error) if !is_not_found(&error) => {
                tracing::warn!(pod = %pod.key, %error, "the node that a pod hopes for could not be written")
            }
            _ => {}
        }
    }

    async fn bind_all(&self, pod: &PodInfo, placement: &Placement, turn: &mut Turn) -> Result<(), BindError> {
        let begun = Instant::now();
        let ready = self.bind_all_claims(pod, placement, turn).await;
        self.told("PreBind", ready, begun)?;
        let begun = Instant::now();
        let bound = self.bind_pod(pod, &placement.node).await;
        self.told("Bind", bound, begun)
    }

    /// Tells of a part of a binding that began then.
    fn told(&self, part: &'static str, outcome: Result<(), BindError>, begun: Instant) -> Result<(), BindError> {
        figures::extension_point(part, &self.profile, if outcome.is_ok() { "Success" } else { "Error" }, begun);
        outcome
    }

    async fn bind_all_claims(&self, pod: &PodInfo, placement: &Placement, turn: &mut Turn) -> Result<(), BindError> {
        self.bind_claims(pod, placement, turn).await?;
        self.bind_device_claims(pod, placement, turn).await
    }

    async fn bind_pod(&self, pod: &PodInfo, node: &str) -> Result<(), BindError> {
        let ObjectKey { namespace, name } = &pod.key;
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": namespace, "name": name, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        });
        let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/pods/{name}/binding"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(binding.to_string().into_bytes())?;
        self.client.request::<Value>(request).await?;
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        self.recorder.about(reference(pod), EventType::Normal, "Scheduled", "Binding", message, None);
        Ok(())
    }

    async fn bind_claims(&self, pod: &PodInfo, placement: &Placement, turn: &mut Turn) -> Result<(), BindError> {
        if pod.claims.is_empty() {
            return Ok(());
        }
        for choice in &placement.volumes {
            self.carry_out(choice, &placement.node).await?;
        }
        if self.shared.cluster().storage.all_bound(pod) {
            return Ok(());
        }
        turn.lend(self.until_bound(pod)).await
    }

    /// Waits until the pod's claims have their volumes.
    async fn until_bound(&self, pod: &PodInfo) -> Result<(), BindError> {
        let deadline = Instant::now() + CLAIMS_DEADLINE;
        while !self.shared.cluster().storage.all_bound(pod) {
            let given_up = self.shared.cluster().storage.is_given_up(pod);
            if given_up || Instant::now() > deadline {
                return Err(BindError::Claims);
            }
            tokio::time::sleep(CLAIMS_POLL).await;
        }
        Ok(())
    }

    /// Promises a claim its volume, which the controller of claims completes, or asks its provisioner for one.
    async fn carry_out(&self, choice: &Choice, node: &str) -> Result<(), BindError> {
        let claims = self.informers.of::<PersistentVolumeClaim>();
        let Some(volume) = &choice.volume else {
            // Through the informer, so that it is seen at once: a claim that is not seen to have it was refused.
            let patch = Patch::Merge(json!({"metadata": {"annotations": {SELECTED_NODE: node}}}));
            claims.patch(&choice.claim, &patch).await?;
            return Ok(());
        };
        let volumes = self.informers.of::<PersistentVolume>();
        let found = (claims.get(&choice.claim), volumes.get(&ObjectKey::cluster(volume.clone())));
        let (Some(claim), Some(volume)) = found else { return Err(BindError::Claims) };
        if let Some(promised) = promised(&volume, &claim) {
            volumes.replace(&promised).await?;
        }
        Ok(())
    }

    /// Records that the pod fits nowhere, in its status and as an event, and the node that it hopes for: an empty name takes that back, and
    /// none leaves it as it is. Answers whether that is done with: not when the pod changed
    /// on the way, for it may have got its node by then.
    pub(crate) async fn unschedulable(&self, pod: &PodInfo, message: &str, nominated: Option<&str>) -> bool {
        let Some(current) = self.pods.get(&pod.key).filter(|current| current.metadata.uid.as_deref() == Some(&pod.uid))
        else {
            return true;
        };
        if current.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return true;
        }
        if let Some(patch) = refusal(&current, message, nominated) {
            match self.pods.patch_status(&pod.key, &Patch::Strategic(patch)).await {
                Err(error) if nominated.is_none_or(str::is_empty) && is_conflict(&error) => return false,
                Err(error) if !is_not_found(&error) => {
                    tracing::warn!(pod = %pod.key, %error, "the pod's condition could not be written")
                }
                _ => {}
            }
        }
        let (about, note) = (reference(pod), message.to_owned());
        self.recorder.about(about, EventType::Warning, "FailedScheduling", "Scheduling", note, None);
        true
    }

    /// Evicts one victim for the sake of `preemptor`. Answers whether it leaves.
    pub(crate) async fn evict(&self, victim: &PodInfo, preemptor: &PodInfo, node: &str) -> bool {
        let generation = self.pods.get(&victim.key).and_then(|pod| pod.metadata.generation);
        let condition = disrupted(generation);
        let patch = Patch::Strategic(json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}));
        let marked = self.pods.patch_status(&victim.key, &patch).await;
        let deleted = match marked {
            Ok(_) => self.pods.delete(&victim.key, &Deletion::of_uid(Some(&victim.uid))).await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => {
                let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
                let by = Some(reference(preemptor));
                self.recorder.about(reference(victim), EventType::Normal, "Preempted", "Preempting", message, by);
                true
            }
            Err(error) if is_not_found(&error) => true,
            Err(error) => {
                tracing::warn!(pod = %victim.key, %error, "a pod could not be evicted; the next attempt tries again");
                false
            }
        }
    }
}

/// The volume with its claim, unless it has it already.
fn promised(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let mut changed = volume.clone();
    let spec = changed.spec.get_or_insert_default();
    if spec.claim_ref.as_ref().is_some_and(|to| to.uid.is_some() && to.uid == claim.metadata.uid) {
        return None;
    }
    // Whoever chose the claim before this keeps the credit for it: what controllers have chosen they may take back.
    let free = spec.claim_ref.replace(claim.object_ref(&())).is_none();
    if free {
        changed.metadata.annotations.get_or_insert_default().insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    Some(changed)
}

/// The condition of a pod that gives way to another.
fn disrupted(generation: Option<i64>) -> Value {
    json!({
        "type": "DisruptionTarget", "status": "True", "reason": PREEMPTED,
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
        "lastProbeTime": null, "lastTransitionTime": now(), "observedGeneration": generation,
    })
}

/// What to write of a pod that fits nowhere; `None` when that is known already. Nothing is written over a pod that changed meanwhile,
/// unless a node is `nominated`: then no other attempt is under way. An empty name takes back what was nominated.
fn refusal(current: &Pod, message: &str, nominated: Option<&str>) -> Option<Value> {
    let status = current.status.as_ref();
    let condition = status.and_then(|s| s.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled"));
    let same = condition.is_some_and(|c| c.status == "False" && c.message.as_deref() == Some(message));
    let known = status.and_then(|s| s.nominated_node_name.as_deref()).unwrap_or_default();
    if same && nominated.is_none_or(|node| known == node) {
        return None;
    }
    let since = condition.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.clone());
    let since = since.map_or_else(|| json!(now()), |time| json!(time));
    let meta = &current.metadata;
    let mut patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastProbeTime": null, "lastTransitionTime": since, "observedGeneration": meta.generation,
    }]}});
    if let Some(node) = nominated.filter(|node| !node.is_empty()) {
        patch["status"]["nominatedNodeName"] = json!(node);
        return Some(patch);
    }
    patch["metadata"]["resourceVersion"] = json!(meta.resource_version);
    if nominated.is_some() && !known.is_empty() {
        patch["status"]["nominatedNodeName"] = Value::Null;
    }
    Some(patch)
}

pub(crate) fn reference(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some(Pod::api_version(&()).into_owned()),
        kind: Some(Pod::kind(&()).into_owned()),
        namespace: Some(pod.key.namespace.clone()),
        name: Some(pod.key.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        let meta = json!({"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2});
        serde_json::from_value(json!({"metadata": meta, "spec": {"containers": []}, "status": status})).expect("a pod")
    }

    #[test]
    fn a_volume_is_promised_once_and_marked_unless_somebody_chose_its_claim() {
        let claim = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}});
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
        let volume = |to: Value| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": {"claimRef": to}})).expect("a volume")
        };
        let marked =
            |v: &PersistentVolume| v.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(BOUND_BY_CONTROLLER));
        let to = |v: &PersistentVolume| v.spec.as_ref()?.claim_ref.as_ref()?.uid.clone();
        let free = promised(&volume(Value::Null), &claim).expect("it is free");
        assert_eq!((to(&free).as_deref(), marked(&free)), (Some("u"), true));
        let named = promised(&volume(json!({"name": "c", "namespace": "n"})), &claim).expect("it has no uid yet");
        assert_eq!((to(&named).as_deref(), marked(&named)), (Some("u"), false));
        assert!(promised(&free, &claim).is_none());
    }

    #[test]
    fn who_gives_way_is_told_why_and_which_generation_was_judged() {
        let condition = disrupted(Some(3));
        assert_eq!((&condition["type"], &condition["status"]), (&json!("DisruptionTarget"), &json!("True")));
        assert_eq!(
            (&condition["reason"], &condition["observedGeneration"]),
            (&json!("PreemptionByScheduler"), &json!(3))
        );
    }

    #[test]
    fn a_refusal_is_written_once_and_never_over_a_pod_that_changed() {
        let told = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let fresh = refusal(&pod(json!({})), "full", None).expect("news");
        assert_eq!(fresh["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
        let known = pod(json!({"conditions": [told], "nominatedNodeName": "a"}));
        assert_eq!(refusal(&known, "full", None), None);
        assert_eq!(refusal(&known, "full", Some("a")), None);
        let moved = refusal(&known, "full", Some("b")).expect("another node");
        assert_eq!(moved["status"]["nominatedNodeName"], "b");
        assert_eq!(moved["metadata"], json!({"uid": "u"}), "the nomination comes through whatever else changed");
        let given_up = refusal(&known, "full", Some("")).expect("it hopes for no node any more");
        assert_eq!(given_up["status"].get("nominatedNodeName"), Some(&Value::Null));
        assert_eq!(given_up["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
        let hopeless = pod(json!({"conditions": [told]}));
        assert_eq!(refusal(&hopeless, "full", Some("")), None, "it hoped for none");
        let news = refusal(&hopeless, "fuller", Some("")).expect("news");
        assert_eq!(news["status"].get("nominatedNodeName"), None);
        let since = &moved["status"]["conditions"][0]["lastTransitionTime"];
        assert_eq!(since, "2026-01-01T00:00:00Z", "it fits nowhere since then");
    }
}
