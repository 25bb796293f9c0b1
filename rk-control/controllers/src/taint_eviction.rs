//! Evicts pods from nodes with NoExecute taints that they do not tolerate, or not for ever.

use crate::context::Context;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Patch;
use rk_client::{BoxError, Change, Deletion, Informer, ObjectKey, Outcome, Queue, Recorder, is_not_found};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ten years: nobody sees the end of a longer wait, and no clock has room for the longest that may be written.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The reason of the Events that tell of evictions.
const EVICTION: &str = "TaintManagerEviction";

/// The condition of a pod that the cluster ends, not its workload.
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";

struct Controller {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    recorder: Recorder,
    /// Each has a turn to come that ends or removes it.
    dues: Mutex<Dues>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        nodes: ctx.informers.of(),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of("taint-eviction-controller"),
        dues: Mutex::default(),
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

/// How long a pod bears the taints of its node.
#[derive(Debug, PartialEq, Eq)]
enum Patience {
    Endless,
    /// One of them it does not tolerate at all.
    Intolerant,
    For(Duration),
}

/// As upstream, of several tolerations of a taint the first counts, and of several taints the one that is tolerated for the shortest
/// time. When a taint came is no matter: that is told by the clock of whoever wrote it, and the pod may have come later.
fn patience<'a>(taints: impl Iterator<Item = &'a Taint>, tolerations: &[Toleration]) -> Patience {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|own| tolerates(own, taint)) else {
            return Patience::Intolerant;
        };
        let Some(seconds) = toleration.toleration_seconds else { continue };
        let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST);
        shortest = Some(shortest.map_or(wait, |known| known.min(wait)));
    }
    shortest.map_or(Patience::Endless, Patience::For)
}

/// When pods have to go that wait on a tainted node, with their UID.
#[derive(Default)]
struct Dues(HashMap<ObjectKey, (Option<String>, Instant)>);

impl Dues {
    /// When the pod has to go: as was said first, until it is forgotten, whatever becomes of the taints meanwhile (upstream's rule).
    fn of(&mut self, key: &ObjectKey, uid: Option<&String>, due: Instant) -> Instant {
        let entry = self.0.entry(key.clone()).or_insert_with(|| (uid.cloned(), due));
        if entry.0.as_ref() != uid {
            *entry = (uid.cloned(), due);
        }
        entry.1
    }

    /// The pod waits no more. Answers whether it did.
    fn forget(&mut self, key: &ObjectKey) -> bool {
        self.0.remove(key).is_some()
    }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let pod = self.pods.get(key).filter(|pod| !pods::is_terminating(pod));
        let Some(pod) = pod else {
            self.forget(key);
            return Ok(Outcome::AwaitChange);
        };
        let Some(node) = pods::node_name(&pod).and_then(|name| self.nodes.get(&ObjectKey::cluster(name))) else {
            self.forget(key);
            return Ok(Outcome::AwaitChange);
        };
        match patience(no_execute(&node), tolerations(&pod).map_or(&[], Vec::as_slice)) {
            Patience::Endless => {
                if self.forget(key) {
                    self.recorder.normal(pod.as_ref(), EVICTION, format!("Cancelling deletion of Pod {key}"));
                }
                Ok(Outcome::AwaitChange)
            }
            Patience::Intolerant => self.evict(key, &pod).await,
            Patience::For(wait) => {
                let now = Instant::now();
                let due = self.dues().of(key, pod.metadata.uid.as_ref(), now + wait);
                let left = due.saturating_duration_since(now);
                if left.is_zero() { self.evict(key, &pod).await } else { Ok(Outcome::RequeueAfter(left)) }
            }
        }
    }

    fn dues(&self) -> MutexGuard<'_, Dues> {
        self.dues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, key: &ObjectKey) -> bool {
        self.dues().forget(key)
    }

    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> Result<Outcome, BoxError> {
        self.recorder.normal(pod, EVICTION, format!("Marking for deletion Pod {key}"));
        tracing::info!(pod = %key, node = pods::node_name(pod), "evicting: the node has a taint that the pod does not tolerate");
        end_pod(&self.pods, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint").await?;
        self.forget(key);
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

    fn taint(key: &str, added: Value) -> Taint {
        let taint = json!({"key": key, "value": "v", "effect": "NoExecute", "timeAdded": added});
        serde_json::from_value(taint).expect("valid")
    }

    fn seconds(seconds: u64) -> Patience {
        Patience::For(Duration::from_secs(seconds))
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let bears = |more: Value| {
            let mut toleration = json!({"key": "k", "operator": "Exists"});
            json_patch::merge(&mut toleration, &more);
            toleration
        };
        let cases = [
            (json!([]), Patience::Intolerant),
            (json!([{"operator": "Exists"}]), Patience::Endless),
            (json!([{"key": "k", "value": "v"}]), Patience::Endless),
            (json!([{"key": "k", "value": "other"}]), Patience::Intolerant),
            (json!([bears(json!({"effect": "NoSchedule"}))]), Patience::Intolerant),
            (json!([bears(json!({"effect": "NoExecute", "tolerationSeconds": 300}))]), seconds(300)),
            (json!([bears(json!({"tolerationSeconds": 0}))]), seconds(0)),
            (json!([bears(json!({"tolerationSeconds": -5}))]), seconds(0)),
            (json!([bears(json!({"tolerationSeconds": i64::MAX}))]), Patience::For(LONGEST)),
            (json!([bears(json!({})), bears(json!({"tolerationSeconds": 30}))]), Patience::Endless),
        ];
        let own = taint("k", Value::Null);
        for (value, expected) in cases {
            assert_eq!(patience([&own].into_iter(), &tolerations_of(value.clone())), expected, "{value}");
        }
        assert_eq!(patience(std::iter::empty(), &[]), Patience::Endless);
        let both = tolerations_of(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300},
            {"key": "l", "operator": "Exists", "tolerationSeconds": 30}]));
        assert_eq!(patience([&own, &taint("l", Value::Null)].into_iter(), &both), seconds(30));
    }

    #[test]
    fn a_taint_is_tolerated_since_it_was_seen_whenever_it_says_that_it_came() {
        let patient = tolerations_of(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}]));
        // Long before the pod came, or by a clock that is ahead.
        for added in [Value::Null, json!("2020-01-01T00:00:00Z"), json!("2100-01-01T00:00:00Z")] {
            assert_eq!(patience([&taint("k", added.clone())].into_iter(), &patient), seconds(30), "{added}");
        }
        let (mut dues, key, now) = (Dues::default(), ObjectKey::new("ns", "pod"), Instant::now());
        let (one, other) = ("1".to_owned(), "2".to_owned());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(dues.of(&key, Some(&one), at(30)), at(30));
        assert_eq!(dues.of(&key, Some(&one), at(40)), at(30), "a later turn does not put it off");
        assert_eq!(dues.of(&key, Some(&one), at(5)), at(30), "nor does a harder taint hurry it");
        assert_eq!(dues.of(&key, Some(&other), at(50)), at(50), "another pod of the name");
        assert!(dues.forget(&key) && !dues.forget(&key));
        assert_eq!(dues.of(&key, Some(&other), at(60)), at(60), "the taint was gone meanwhile");
    }
}
