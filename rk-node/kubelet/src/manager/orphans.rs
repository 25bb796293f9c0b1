//! Pods that run here though the API does not know them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::Manager;
use crate::pod::worker::Desired;
use crate::runtime::RuntimePod;

impl Manager {
    /// Ends a pod that runs here though the API does not know it.
    pub(super) async fn adopt_orphan(&mut self, uid: &str) {
        let Ok(found) = self.context.runtime.pod(uid).await else {
            self.unknown.insert(uid.to_owned());
            return;
        };
        if found.sandboxes.is_empty() && found.containers.is_empty() {
            return;
        }
        tracing::info!(pod = %found.name, namespace = %found.namespace, uid, "ending a pod that the API does not know");
        let pod = Arc::new(orphan(&found));
        self.spawn(uid.to_owned(), Desired::Gone(pod), None);
        self.show();
    }
}

/// What must be known of a pod to end it, from what the runtime remembers.
fn orphan(found: &RuntimePod) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some(found.uid.clone());
    pod.metadata.name = Some(found.name.clone());
    pod.metadata.namespace = Some(found.namespace.clone());
    let grace = found.containers.iter().filter_map(|c| c.grace).max();
    pod.spec = Some(PodSpec { termination_grace_period_seconds: grace, ..Default::default() });
    pod
}
