//! What the scheduler tells the API: bindings, conditions, evictions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim, Pod};
use kube::api::Patch;
use kube::{Client, Resource as _};
use rk_client::{Deletion, EventType, Informer, ObjectKey, Recorder, Verbs as _, is_not_found};
use serde_json::{Value, json};

use crate::model::{PodInfo, SELECTED_NODE};
use crate::sync::Shared;

/// How long a claim may take to be bound after its node was chosen; upstream's default.
const CLAIMS_DEADLINE: Duration = Duration::from_secs(600);
/// How often claims that are being bound are looked at.
const CLAIMS_POLL: Duration = Duration::from_millis(250);

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("the API refused the binding")]
    Api(#[from] kube::Error),
    #[error("the binding request cannot be built")]
    Request(#[from] http::Error),
    #[error("its volumes were not bound in time")]
    Claims,
}

/// The scheduler's hands.
#[derive(Clone)]
pub(crate) struct Binder {
    pub(crate) client: Client,
    pub(crate) pods: Informer<Pod>,
    pub(crate) recorder: Recorder,
    pub(crate) shared: Arc<Shared>,
}

impl Binder {
    /// Binds a pod: first its late-binding claims, then itself.
    pub(crate) async fn bind(&self, pod: &PodInfo, node: &str) -> Result<(), BindError> {
        self.bind_claims(pod, node).await?;
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

    async fn bind_claims(&self, pod: &PodInfo, node: &str) -> Result<(), BindError> {
        if pod.claims.is_empty() {
            return Ok(());
        }
        let waiting = self.shared.cluster().waiting_claims(pod);
        for claim in waiting {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {SELECTED_NODE: node}}}));
            self.client.patch::<PersistentVolumeClaim, _>(&claim, &patch).await?;
        }
        let deadline = Instant::now() + CLAIMS_DEADLINE;
        while !self.shared.cluster().claims_bound(pod) {
            if Instant::now() > deadline {
                return Err(BindError::Claims);
            }
            tokio::time::sleep(CLAIMS_POLL).await;
        }
        Ok(())
    }

    /// Records that the pod fits nowhere, in its status and as an event.
    pub(crate) async fn unschedulable(&self, pod: &PodInfo, message: &str, nominated: Option<&str>) {
        let Some(current) = self.pods.get(&pod.key).filter(|current| current.metadata.uid.as_deref() == Some(&pod.uid))
        else {
            return;
        };
        if current.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return;
        }
        let (about, note) = (reference(pod), message.to_owned());
        self.recorder.about(about, EventType::Warning, "FailedScheduling", "Scheduling", note, None);
        let status = current.status.as_ref();
        let condition = status.and_then(|s| s.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled"));
        let same = condition.is_some_and(|c| c.status == "False" && c.message.as_deref() == Some(message));
        let known = status.and_then(|s| s.nominated_node_name.as_deref());
        if same && (nominated.is_none() || known == nominated) {
            return;
        }
        let since = condition.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.clone());
        let since = since.map_or_else(|| json!(now()), |time| json!(time));
        let mut patch = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastProbeTime": null, "lastTransitionTime": since, "observedGeneration": current.metadata.generation,
        }]}});
        if let Some(node) = nominated {
            patch["status"]["nominatedNodeName"] = json!(node);
        }
        if let Err(error) = self.pods.patch_status(&pod.key, &Patch::Strategic(patch)).await
            && !is_not_found(&error)
        {
            tracing::warn!(pod = %pod.key, %error, "the pod's condition could not be written");
        }
    }

    /// Evicts one victim for the sake of `preemptor`.
    pub(crate) async fn evict(&self, victim: &PodInfo, preemptor: &PodInfo, node: &str) {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastProbeTime": null, "lastTransitionTime": now(),
        });
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
            }
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                tracing::warn!(pod = %victim.key, %error, "a pod could not be evicted; the next attempt tries again")
            }
        }
    }
}

fn reference(pod: &PodInfo) -> ObjectReference {
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
