//! Evicts pods from nodes with NoExecute taints that they do not tolerate, or not for ever.

use crate::context::Context;
use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Patch;
use rk_client::{BoxError, Change, Deletion, Informer, ObjectKey, Outcome, Queue, Recorder, is_not_found};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The condition of a pod that the cluster ends, not its workload.
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";

struct Controller {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    recorder: Recorder,
    /// Since when pods wait on a tainted node, with their UID: most taints do not say when they came. Each has a turn to come that
    /// ends or removes it.
    waiting: Mutex<HashMap<ObjectKey, (Option<String>, Timestamp)>>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        nodes: ctx.informers.of(),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of("taint-eviction-controller"),
        waiting: Mutex::default(),
    });
    pods::index_by_node(&controller.pods);
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.pods.on_change(move |change| {
        let moved = change.previous().is_none_or(|old| {
            pods::node_name(old) != pods::node_name(change.object()) || tolerations(old) != tolerations(change.object())
        });
        if moved && !matches!(change, Change::Deleted(_)) && pods::node_name(change.object()).is_some() {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    let (q, of_node) = (queue.clone(), controller.pods.clone());
    controller.nodes.on_change(move |change| {
        if change.previous().is_some_and(|old| no_execute(old).eq(no_execute(change.object()))) {
            return;
        }
        let name = change.object().metadata.name.as_deref().unwrap_or_default();
        of_node.by_index(pods::BY_NODE, name).iter().for_each(|pod| q.add(ObjectKey::of(pod.as_ref())));
    });
    ctx.work("noexec_taint_pod_queue", queue, 4, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn tolerations(pod: &Pod) -> Option<&Vec<Toleration>> {
    pod.spec.as_ref()?.tolerations.as_ref()
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten()).filter(|t| t.effect == "NoExecute")
}

/// Whether a toleration covers a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let effect = some(&toleration.effect).is_none_or(|e| e == taint.effect);
    let key = some(&toleration.key).is_none_or(|k| k == taint.key);
    let value = match some(&toleration.operator).as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" => {
            some(&toleration.key).is_some()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    };
    effect && key && value
}

/// When the pod has to go.
#[derive(Debug, PartialEq, Eq)]
enum Deadline {
    Never,
    Now,
    At(Timestamp),
}

/// `first` is when the pod was first seen on a tainted node.
fn deadline<'a>(
    taints: impl Iterator<Item = &'a Taint>,
    tolerations: &[Toleration],
    first: Timestamp,
    now: Timestamp,
) -> Deadline {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints {
        let matching: Vec<&Toleration> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if matching.is_empty() {
            return Deadline::Now;
        }
        let Some(seconds) = matching.iter().filter_map(|t| t.toleration_seconds).min() else { continue };
        if seconds <= 0 {
            return Deadline::Now;
        }
        let since = taint.time_added.as_ref().map_or(first, |t| t.0);
        let until = since.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        earliest = Some(earliest.map_or(until, |e| e.min(until)));
    }
    match earliest {
        None => Deadline::Never,
        Some(at) if at <= now => Deadline::Now,
        Some(at) => Deadline::At(at),
    }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let pod = self.pods.get(key).filter(|pod| !pods::is_terminating(pod));
        let Some(pod) = pod else {
            self.waits_no_more(key);
            return Ok(Outcome::AwaitChange);
        };
        let Some(node) = pods::node_name(&pod).and_then(|name| self.nodes.get(&ObjectKey::cluster(name))) else {
            self.waits_no_more(key);
            return Ok(Outcome::AwaitChange);
        };
        let now = Timestamp::now();
        let first = self.waits_since(key, &pod, now);
        match deadline(no_execute(&node), tolerations(&pod).map_or(&[], Vec::as_slice), first, now) {
            Deadline::Never => {
                self.waits_no_more(key);
                Ok(Outcome::AwaitChange)
            }
            Deadline::At(at) => Ok(Outcome::RequeueAfter(at.duration_since(now).unsigned_abs())),
            Deadline::Now => {
                let outcome = self.evict(&pod).await?;
                self.waits_no_more(key);
                Ok(outcome)
            }
        }
    }

    fn waits_since(&self, key: &ObjectKey, pod: &Pod, now: Timestamp) -> Timestamp {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = waiting.entry(key.clone()).or_insert_with(|| (pod.metadata.uid.clone(), now));
        if entry.0 != pod.metadata.uid {
            *entry = (pod.metadata.uid.clone(), now);
        }
        entry.1
    }

    fn waits_no_more(&self, key: &ObjectKey) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    async fn evict(&self, pod: &Pod) -> Result<Outcome, BoxError> {
        let key = ObjectKey::of(pod);
        self.recorder.normal(pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        tracing::info!(pod = %key, node = pods::node_name(pod), "evicting: the node has a taint that the pod does not tolerate");
        end_pod(&self.pods, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint").await?;
        Ok(Outcome::AwaitChange)
    }
}

/// Deletes a pod after it was marked as [`DISRUPTION_TARGET`]; answers whether it was still there.
pub(crate) async fn end_pod(pods: &Informer<Pod>, pod: &Pod, reason: &str, message: &str) -> kube::Result<bool> {
    let result = async {
        mark_disrupted(pods, pod, reason, message).await?;
        pods.delete(&ObjectKey::of(pod), &Deletion::of_uid(pod.metadata.uid.as_ref())).await
    };
    match result.await {
        Ok(()) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the pod's `DisruptionTarget` condition, which says that the cluster and not the workload ends it.
pub(crate) async fn mark_disrupted(pods: &Informer<Pod>, pod: &Pod, reason: &str, message: &str) -> kube::Result<()> {
    let condition = PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(Timestamp::now())),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    };
    set_condition(pods, pod, condition).await
}

/// Writes one condition of a pod that nobody has written since.
pub(crate) async fn set_condition(pods: &Informer<Pod>, pod: &Pod, condition: PodCondition) -> kube::Result<()> {
    let mut conditions = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    conditions.retain(|c| c.type_ != condition.type_);
    conditions.push(condition);
    let patch = json!({"metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}, "status": {"conditions": conditions}});
    pods.patch_status(&ObjectKey::of(pod), &Patch::Merge(patch)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn tolerations_of(value: Value) -> Vec<Toleration> {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("time");
        let taint: Taint = serde_json::from_value(
            json!({"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}),
        )
        .expect("valid");
        let cases = [
            (json!([]), Deadline::Now),
            (json!([{"operator": "Exists"}]), Deadline::Never),
            (json!([{"key": "k", "value": "v"}]), Deadline::Never),
            (json!([{"key": "k", "value": "other"}]), Deadline::Now),
            (json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), Deadline::Now),
            (
                json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
                Deadline::At("2026-01-01T00:05:00Z".parse().expect("time")),
            ),
            (json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}]), Deadline::Now),
        ];
        for (value, expected) in cases {
            assert_eq!(deadline([&taint].into_iter(), &tolerations_of(value.clone()), now, now), expected, "{value}");
        }
        assert_eq!(deadline(std::iter::empty(), &[], now, now), Deadline::Never);
        // A taint that does not say since when counts from when it was first seen.
        let taint: Taint = serde_json::from_value(json!({"key": "k", "effect": "NoExecute"})).expect("valid");
        let patient = tolerations_of(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}]));
        let after = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).expect("time");
        assert_eq!(deadline([&taint].into_iter(), &patient, now, after(10)), Deadline::At(after(30)));
        assert_eq!(deadline([&taint].into_iter(), &patient, now, after(30)), Deadline::Now);
    }
}
