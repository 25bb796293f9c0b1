//! Pods that were marked as disrupted and then stayed: the next end of theirs is their own again.

use crate::context::Context;
use crate::pods;
use crate::taint_eviction::{DISRUPTION_TARGET, set_condition};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, is_not_found};

/// A pod that is marked must begin to end within this time.
const STALE: SignedDuration = SignedDuration::from_secs(120);
/// The reason of a node's own mark: it may take as long as it needs.
const BY_KUBELET: &str = "TerminationByKubelet";

/// Starts the loop.
pub(super) fn register(ctx: &Context, pods: &Informer<Pod>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (q, pods) = (queue.clone(), pods.clone());
    pods.on_change(move |change| {
        if due(change.object()).is_some() {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    ctx.work("stale_pod_disruption", queue, 1, move |key| {
        let pods = pods.clone();
        async move { sync(&pods, &key).await }
    });
}

/// When the mark of a pod is stale; `None` where it has none or is ending.
fn due(pod: &Pod) -> Option<Timestamp> {
    if pods::is_terminating(pod) || pods::is_finished(pod) {
        return None;
    }
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let mark = conditions.find(|c| c.type_ == DISRUPTION_TARGET && c.status == "True")?;
    if mark.reason.as_deref() == Some(BY_KUBELET) {
        return None;
    }
    let since = mark.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    since.checked_add(STALE).ok()
}

async fn sync(pods: &Informer<Pod>, key: &ObjectKey) -> Result<Outcome, BoxError> {
    let Some(pod) = pods.get(key) else { return Ok(Outcome::AwaitChange) };
    let Some(due) = due(&pod) else { return Ok(Outcome::AwaitChange) };
    let now = Timestamp::now();
    let left = due.duration_since(now);
    if left > SignedDuration::ZERO {
        return Ok(Outcome::RequeueAfter(left.unsigned_abs()));
    }
    let condition = PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "False".to_owned(),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    };
    match set_condition(pods, &pod, condition).await {
        Ok(()) => Ok(Outcome::AwaitChange),
        Err(error) if is_not_found(&error) => Ok(Outcome::AwaitChange),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use rk_client::Informers;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};

    fn pod(reason: &str, since: Timestamp, phase: &str) -> Value {
        let mark = json!({"type": DISRUPTION_TARGET, "status": "True", "reason": reason, "lastTransitionTime": since.to_string()});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "status": {"phase": phase, "conditions": [mark]}})
    }

    /// What becomes of a pod, and what is asked of the server.
    async fn outcome(pod: Value) -> (Outcome, Vec<String>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&asked), pod.to_string());
        let server = tower::service_fn(move |request: http::Request<Body>| {
            noted.lock().expect("whole").push(format!("{} {}", request.method(), request.uri().path()));
            let body = Body::from(answer.clone().into_bytes());
            std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
        });
        let pods = Informers::new(kube::Client::new(server, "default")).of::<Pod>();
        pods.observe(serde_json::from_value(pod).expect("valid"));
        let outcome = sync(&pods, &ObjectKey::new("n", "p")).await.expect("an outcome");
        let asked = asked.lock().expect("whole").clone();
        (outcome, asked)
    }

    #[tokio::test]
    async fn a_mark_of_a_disruption_that_did_not_come_is_taken_back() {
        let now = Timestamp::now();
        let before = now.checked_sub(STALE).expect("a time");
        let (after, asked) = outcome(pod("EvictionByEvictionAPI", before, "Running")).await;
        assert_eq!((after, asked), (Outcome::AwaitChange, vec!["PATCH /api/v1/namespaces/n/pods/p/status".to_owned()]));
        let (after, asked) = outcome(pod("EvictionByEvictionAPI", now, "Running")).await;
        assert!(matches!(after, Outcome::RequeueAfter(left) if left <= STALE.unsigned_abs()) && asked.is_empty());
        for (reason, phase) in [(BY_KUBELET, "Running"), ("EvictionByEvictionAPI", "Failed")] {
            assert_eq!(
                outcome(pod(reason, before, phase)).await,
                (Outcome::AwaitChange, Vec::new()),
                "{reason} {phase}"
            );
        }
    }
}
