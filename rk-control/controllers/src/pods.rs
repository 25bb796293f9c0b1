//! Facts about pods that many controllers ask for.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rk_client::{Change, Informer, LabelMatcher, Object, ObjectKey, Queue, controller_of, owner_key};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Name of the index of pods by the uid of their controller; pods without one are under [`orphans_of`].
pub(crate) const BY_OWNER: &str = "owner";
/// Name of the index of pods by node.
pub(crate) const BY_NODE: &str = "node";

/// The [`BY_OWNER`] value of pods in a namespace that nobody controls.
pub(crate) fn orphans_of(namespace: &str) -> String {
    format!("/{namespace}")
}

pub(crate) fn owner_values(meta: &ObjectMeta) -> Vec<String> {
    vec![match controller_of(meta) {
        Some(owner) => owner.uid.clone(),
        None => orphans_of(meta.namespace.as_deref().unwrap_or_default()),
    }]
}

/// What an owner may have: what names it for its controller, and what nobody controls in its namespace. By [`BY_OWNER`].
pub(crate) fn candidates<K: Object>(all: &Informer<K>, owner: &ObjectMeta) -> Vec<Arc<K>> {
    let mut found = all.by_index(BY_OWNER, owner.uid.as_deref().unwrap_or_default());
    found.extend(all.by_index(BY_OWNER, &orphans_of(owner.namespace.as_deref().unwrap_or_default())));
    found
}

/// Keeps [`BY_OWNER`].
pub(crate) fn index_by_owner(pods: &Informer<Pod>) {
    pods.index(BY_OWNER, |pod| owner_values(&pod.metadata));
}

/// Keeps [`BY_NODE`].
pub(crate) fn index_by_node(pods: &Informer<Pod>) {
    pods.index(BY_NODE, |pod| node_name(pod).map(str::to_owned).into_iter().collect());
}

/// Queues the owner of each object that changes, a pod say, as [`wake_owner`] does.
pub(crate) fn wake_owners<K: Object, O: Object>(
    owned: &Informer<K>,
    owners: &Informer<O>,
    queue: &Queue<ObjectKey>,
    selector_of: fn(&O) -> LabelMatcher,
) {
    let (owners, queue) = (owners.clone(), queue.clone());
    owned.on_change(move |change| wake_owner(change, &owners, &queue, selector_of));
}

/// Queues the owner of an object that changed, the one that it had before too; and where nobody owns the object, each of its namespace
/// whose selector would adopt it.
pub(crate) fn wake_owner<K: Object, O: Object>(
    change: &Change<K>,
    owners: &Informer<O>,
    queue: &Queue<ObjectKey>,
    selector_of: fn(&O) -> LabelMatcher,
) {
    let meta = change.object().meta();
    let known = change.previous().map(|old| old.meta()).into_iter().chain([meta]);
    known.filter_map(owner_key::<O>).for_each(|key| queue.add(key));
    if controller_of(meta).is_some() || matches!(change, Change::Deleted(_)) {
        return;
    }
    for owner in owners.in_namespace(meta.namespace.as_deref().unwrap_or_default()) {
        if selector_of(&owner).matches(meta.labels.as_ref()) {
            queue.add(ObjectKey::of(owner.as_ref()));
        }
    }
}

pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|n| !n.is_empty())
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Succeeded or Failed: nothing will run in it again.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == type_)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// When the pod became ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c.status == "True")?.last_transition_time.as_ref().map(|t| t.0)
}

/// Whether the pod has been ready for `min_ready` seconds; if not yet, how long that still takes.
pub(crate) fn availability(pod: &Pod, min_ready: i32, now: Timestamp) -> (bool, Option<Duration>) {
    if !is_ready(pod) {
        return (false, None);
    }
    if min_ready <= 0 {
        return (true, None);
    }
    let Some(since) = ready_since(pod) else { return (false, None) };
    let left = SignedDuration::from_secs(i64::from(min_ready)) - now.duration_since(since);
    if left <= SignedDuration::ZERO { (true, None) } else { (false, Some(left.unsigned_abs())) }
}

/// A pod made from a template, controlled by `owner`.
pub(crate) fn from_template(template: &PodTemplateSpec, namespace: &str, prefix: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(prefix.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Prefix for generated names; shortened so that five random characters still fit.
pub(crate) fn name_prefix(owner: &str) -> String {
    format!("{owner}-")
}

fn restarts(pod: &Pod) -> i32 {
    pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).max().unwrap_or(0)
}

fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

/// Ages are compared by their order of magnitude, so that no pod is always the youngest (KEP-2185).
fn magnitude(age: SignedDuration) -> u32 {
    (age.as_secs().max(0) as u64 + 1).ilog2()
}

/// Which of two pods should be deleted first (`Less` first) when there are too many. `crowd` is how many related pods
/// share the pod's node.
pub(crate) fn deletion_order(a: &Pod, b: &Pod, crowd: &HashMap<String, usize>, now: Timestamp) -> Ordering {
    let crowded = |pod: &Pod| node_name(pod).and_then(|n| crowd.get(n)).copied().unwrap_or(0);
    let age = |at: Option<Timestamp>| magnitude(at.map_or(SignedDuration::ZERO, |t| now.duration_since(t)));
    let ready_age = |pod: &Pod| age(ready_since(pod));
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
    node_name(a)
        .is_some()
        .cmp(&node_name(b).is_some())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowded(b).cmp(&crowded(a)))
        .then_with(|| if is_ready(a) && is_ready(b) { ready_age(a).cmp(&ready_age(b)) } else { Ordering::Equal })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| age(created(a)).cmp(&age(created(b))))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// How many active pods each node has.
pub(crate) fn crowd_of<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> HashMap<String, usize> {
    let mut crowd = HashMap::new();
    for pod in pods.filter(|p| is_active(p)) {
        if let Some(node) = node_name(pod) {
            *crowd.entry(node.to_owned()).or_insert(0) += 1;
        }
    }
    crowd
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(node: &str, phase: &str, ready: bool, cost: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost.to_string()}},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        }))
        .expect("valid pod")
    }

    #[test]
    fn the_least_useful_pod_is_deleted_first() {
        let crowd = HashMap::from([("full".to_owned(), 3), ("free".to_owned(), 1)]);
        let cases = [
            (pod("", "Pending", false, 0), pod("free", "Pending", false, 0)),
            (pod("free", "Pending", false, 0), pod("free", "Running", false, 0)),
            (pod("free", "Running", false, 0), pod("free", "Running", true, -5)),
            (pod("free", "Running", true, -5), pod("full", "Running", true, 0)),
            (pod("full", "Running", true, 0), pod("free", "Running", true, 0)),
        ];
        for (first, second) in cases {
            assert_eq!(deletion_order(&first, &second, &crowd, Timestamp::now()), Ordering::Less);
            assert_eq!(deletion_order(&second, &first, &crowd, Timestamp::now()), Ordering::Greater);
        }
    }

    #[test]
    fn a_pod_is_available_after_its_minimum_ready_time() {
        let ready = pod("n", "Running", true, 0);
        let at: Timestamp = "2026-01-01T00:00:10Z".parse().expect("time");
        assert_eq!(availability(&ready, 0, at), (true, None));
        assert_eq!(availability(&ready, 10, at), (true, None));
        assert_eq!(availability(&ready, 30, at), (false, Some(Duration::from_secs(20))));
        assert_eq!(availability(&pod("n", "Running", false, 0), 0, at), (false, None));
    }
}
