//! What a worker knows of what the runtime has of its pod: what it asked, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::sync::{Notify, watch};

use super::Worker;
use crate::pod::{last_words, spec};
use crate::runtime::{RuntimeError, RuntimePod, States};
use crate::static_pods::{is_static, shows};

/// How long the API may take to tell of a static pod that runs already.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a worker hears besides what the API says of its pod.
#[derive(Clone)]
pub struct Heard {
    /// Told when something of the node asks for a look: a probe, an order, a share of its CPUs.
    pub wake: Arc<Notify>,
    /// What the runtime told of the pod last.
    pub states: watch::Receiver<States>,
}

/// Resolves when the runtime tells something else than `seen`, which a look of the worker saw: mostly it tells what the worker itself
/// has just done.
pub(super) async fn news(told: &mut watch::Receiver<States>, seen: &States) {
    loop {
        if told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if *told.borrow_and_update() != *seen {
            return;
        }
    }
}

impl Worker {
    /// What the runtime has of the pod: as it said a moment ago when nothing is told since, else asked.
    pub(super) async fn gather(&mut self, pod: &Pod) -> Result<RuntimePod, RuntimeError> {
        if self.heard.states.has_changed().unwrap_or(false) && *self.heard.states.borrow() != self.seen {
            self.quiet.forget();
        }
        if let Some(said) = self.quiet.take() {
            return Ok(said);
        }
        let mut runtime = self.context.runtime.pod(spec::uid(pod)).await?;
        last_words::collect(pod, &self.context.volumes.pod_dir(spec::uid(pod)), &mut runtime).await;
        if !self.adopted {
            self.adopted = true;
            let shown = self.mirror(pod, &runtime).await;
            self.probes.adopt(shown.as_ref().unwrap_or(pod), &runtime);
        }
        Ok(runtime)
    }

    /// The mirror of a static pod that runs already: it alone tells what an earlier kubelet found of it.
    async fn mirror(&self, pod: &Pod, runtime: &RuntimePod) -> Option<Pod> {
        if !is_static(pod) || !runtime.anything_running() {
            return None;
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), spec::namespace(pod));
        let told = tokio::time::timeout(PATIENCE, api.get_opt(spec::name(pod))).await.ok()?;
        told.ok().flatten().filter(|mirror| shows(mirror, pod))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_the_worker_has_seen_by_itself_is_no_news() {
        let states = |state: i32| States::from([("c".to_owned(), state)]);
        let (tell, mut told) = watch::channel(States::default());
        let mut hears = |seen: &States| news(&mut told, seen).now_or_never().is_some();
        assert!(!hears(&states(1)), "nothing is told");
        tell.send_replace(states(1));
        assert!(!hears(&states(1)), "it is known");
        assert!(!hears(&states(0)), "and told once");
        tell.send_replace(states(2));
        assert!(hears(&states(1)));
        assert!(!hears(&states(1)), "one look for each");
    }
}
