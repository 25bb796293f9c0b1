//! What pods whose resize waits go on with: what they were given before, for what starts in them and for what is left to others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::sync::Notify;

use super::spec;
use crate::resources::{Qos, qos_class};

type Amounts = BTreeMap<String, Quantity>;

/// UIDs of pods that are not given what they ask for now.
#[derive(Debug, Default)]
pub struct Withheld {
    uids: Mutex<BTreeSet<String>>,
    given: Notify,
}

impl Withheld {
    /// The UIDs; nothing is given to any other pod while they are held, so that no two get the same room.
    pub fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.uids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These pods as they count against the node: the room of a resize that waits is free.
    pub fn counted(&self, pods: impl Iterator<Item = Arc<Pod>>) -> Vec<Arc<Pod>> {
        counted(&self.lock(), pods)
    }

    /// Takes the pods whose status says that their resize waits for withheld: an earlier kubelet judged them, their workers do anew.
    pub fn recall<'a>(&self, pods: impl Iterator<Item = &'a Pod>) {
        let waiting = pods.filter(|pod| waits(pod));
        self.lock().extend(waiting.map(|pod| spec::uid(pod).to_owned()));
    }

    /// Tells that a pod is given something else than it had: what it gives back may be what others wait for.
    pub fn tell_given(&self) {
        self.given.notify_one();
    }

    /// Resolves when a pod was given something else.
    pub async fn given(&self) {
        self.given.notified().await;
    }

    /// Forgets the pods that are not here any more.
    pub fn keep(&self, is_here: impl Fn(&str) -> bool) {
        self.lock().retain(|uid| is_here(uid));
    }
}

/// The condition that says that a resize waits.
fn condition(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "PodResizePending" && condition.status == "True")
}

/// Whether the status of a pod says that its resize waits.
pub fn waits(pod: &Pod) -> bool {
    condition(pod).is_some()
}

/// Whose turn is first when room comes free for resizes that wait: pods of higher priority, Guaranteed ones, then whose waits for longer.
fn turn(pod: &Pod) -> (Reverse<i32>, bool, bool, Option<Timestamp>, String) {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
    let since = condition(pod).and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0);
    let uid = spec::uid(pod).to_owned();
    (Reverse(priority), qos_class(pod) != Qos::Guaranteed, since.is_none(), since, uid)
}

/// The other pods as they count against the resize of `pod`: of those that wait as well, the ones whose turn comes before count with what
/// they ask for where `fits` says that they can have it beside the given pods.
pub fn beside(
    pod: &Pod,
    withheld: &BTreeSet<String>,
    known: &[Arc<Pod>],
    fits: impl Fn(&Pod, &[&Pod]) -> bool,
) -> Vec<Arc<Pod>> {
    let others: Vec<Arc<Pod>> = known.iter().filter(|other| spec::holds_resources(other, pod)).cloned().collect();
    let waits = |other: &Pod| withheld.contains(spec::uid(other)) && other.metadata.deletion_timestamp.is_none();
    let mut before: Vec<Arc<Pod>> = others.iter().filter(|o| waits(o) && turn(o) < turn(pod)).cloned().collect();
    before.sort_by_cached_key(|other| turn(other));
    let mut others = counted(withheld, others.into_iter());
    let own = as_given(pod);
    for first in before {
        let uid = spec::uid(&first);
        let rest: Vec<&Pod> =
            others.iter().map(|other| &**other).filter(|other| spec::uid(other) != uid).chain([&*own]).collect();
        if fits(&first, &rest) {
            others.iter_mut().filter(|other| spec::uid(other) == uid).for_each(|other| *other = first.clone());
        }
    }
    others
}

/// Pods as they count against the node while these are withheld.
pub fn counted(withheld: &BTreeSet<String>, pods: impl Iterator<Item = Arc<Pod>>) -> Vec<Arc<Pod>> {
    pods.map(|pod| if withheld.contains(spec::uid(&pod)) { as_given(&pod) } else { pod }).collect()
}

/// A pod with the resources that its status says it has in place of those that it asks for.
pub fn as_given(pod: &Pod) -> Arc<Pod> {
    let mut given = pod.clone();
    let (Some(spec), Some(status)) = (&mut given.spec, &pod.status) else { return Arc::new(given) };
    if let Some(own) = &mut spec.resources {
        replace(own, status.allocated_resources.as_ref(), status.resources.as_ref());
    }
    let known = || [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten();
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(status) = known().find(|status| status.name == container.name) {
            let own = container.resources.get_or_insert_default();
            replace(own, status.allocated_resources.as_ref(), status.resources.as_ref());
        }
    }
    Arc::new(given)
}

/// A pod as the API has it, but with what this kubelet has `told` last of what is allocated and in force: the API may not tell it back yet.
pub fn as_told(pod: &Arc<Pod>, told: &PodStatus) -> Arc<Pod> {
    let mut status = pod.status.clone().unwrap_or_default();
    recall(&mut status.container_statuses, told.container_statuses.as_deref());
    recall(&mut status.init_container_statuses, told.init_container_statuses.as_deref());
    if told.allocated_resources.is_some() {
        status.allocated_resources.clone_from(&told.allocated_resources);
        status.resources.clone_from(&told.resources);
    }
    if pod.status.as_ref() == Some(&status) {
        return pod.clone();
    }
    Arc::new(Pod { status: Some(status), ..(**pod).clone() })
}

/// Puts what was told of each container into what is known of it.
fn recall(known: &mut Option<Vec<ContainerStatus>>, told: Option<&[ContainerStatus]>) {
    for told in told.unwrap_or_default() {
        let known = known.get_or_insert_default();
        match known.iter_mut().find(|status| status.name == told.name) {
            Some(status) => {
                status.allocated_resources.clone_from(&told.allocated_resources);
                status.resources.clone_from(&told.resources);
            }
            None => known.push(told.clone()),
        }
    }
}

/// Puts what was allocated and what is in force for the CPU and the memory that are asked for.
fn replace(own: &mut ResourceRequirements, allocated: Option<&Amounts>, in_force: Option<&ResourceRequirements>) {
    if let Some(allocated) = allocated {
        resized(&mut own.requests, Some(allocated));
    }
    if let Some(in_force) = in_force {
        resized(&mut own.limits, in_force.limits.as_ref());
    }
}

/// Only these two are ever resized.
fn resized(own: &mut Option<Amounts>, had: Option<&Amounts>) {
    for name in ["cpu", "memory"] {
        match had.and_then(|had| had.get(name)) {
            Some(amount) => drop(own.get_or_insert_default().insert(name.to_owned(), amount.clone())),
            None => drop(own.as_mut().and_then(|own| own.remove(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide_tests::pod;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_whose_resize_waits_goes_on_with_what_it_was_given() {
        let mut asks = pod(json!({"resources": {"requests": {"cpu": "9"}, "limits": {"cpu": "9"}},
            "initContainers": [{"name": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "4"}}}],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "3", "example.com/x": "1"},
                    "limits": {"memory": "1Gi", "cpu": "5", "example.com/x": "1"}}},
                {"name": "new", "resources": {"requests": {"cpu": "7"}}}]}));
        let status = |name: &str, allocated: &str, resources: serde_json::Value| {
            json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": {"cpu": allocated}, "resources": resources})
        };
        asks.status = serde_json::from_value(json!({
            "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}},
            "initContainerStatuses": [status("i", "500m", json!({"requests": {"cpu": "500m"}}))],
            "containerStatuses": [status("a", "1", json!({"limits": {"memory": "64Mi", "example.com/x": "1"}}))]}))
        .unwrap();
        let told = |pod: &Pod| serde_json::to_value(&pod.spec).unwrap();
        let given = told(&as_given(&asks));
        assert_eq!(given["resources"], json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}));
        assert_eq!(given["initContainers"][0]["resources"], json!({"requests": {"cpu": "500m"}}));
        let first =
            json!({"requests": {"cpu": "1", "example.com/x": "1"}, "limits": {"memory": "64Mi", "example.com/x": "1"}});
        assert_eq!(given["containers"][0]["resources"], first, "only what can be resized is put back");
        assert_eq!(given["containers"][1]["resources"], json!({"requests": {"cpu": "7"}}), "nothing is known of it");
        let (asks, withheld) = (Arc::new(asks), Withheld::default());
        let counted = || told(&withheld.counted([asks.clone()].into_iter())[0]);
        assert_eq!(counted(), told(&asks), "it has what it asks for");
        withheld.lock().insert(spec::uid(&asks).to_owned());
        assert_eq!(counted(), given);
    }

    #[test]
    fn what_was_told_of_a_pod_is_known_before_the_api_tells_it_back() {
        let status = |cpu: &str| -> PodStatus {
            let of = json!({"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": {"cpu": cpu}, "resources": {"requests": {"cpu": cpu}}});
            serde_json::from_value(json!({"allocatedResources": {"cpu": cpu}, "containerStatuses": [of]})).unwrap()
        };
        let known = |status: Option<PodStatus>| {
            let mut pod = pod(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "9"}}}]}));
            pod.status = status;
            Arc::new(pod)
        };
        for before in [None, Some(PodStatus::default()), Some(status("1"))] {
            let found = as_told(&known(before.clone()), &status("2"));
            let own = as_given(&found).spec.as_ref().and_then(|spec| spec.containers[0].resources.clone());
            let own = own.and_then(|resources| resources.requests).unwrap();
            assert_eq!(own["cpu"].0, "2", "{before:?}");
            let node = BTreeMap::from([("cpu".to_owned(), Quantity("4".into()))]);
            let judged = super::super::resize::pending(&found, &[], &node);
            let why = "Node didn't have enough capacity: cpu, requested: 9000, capacity: 4000";
            assert_eq!(judged, Some(("Infeasible".to_owned(), why.to_owned())), "{before:?}");
        }
        let same = known(Some(status("2")));
        assert!(Arc::ptr_eq(&same, &as_told(&same, &status("2"))));
        assert!(Arc::ptr_eq(&same, &as_told(&same, &PodStatus::default())), "nothing was told");
    }

    /// A pod with one CPU that asks for so many now, and waits for them since the second.
    fn asking(uid: &str, cpus: &str, priority: i32, since: u32) -> Arc<Pod> {
        let resources = json!({"requests": {"cpu": cpus}});
        let mut pod =
            pod(json!({"priority": priority, "containers": [{"name": "a", "resources": resources, "image": "i"}]}));
        pod.metadata.uid = Some(uid.to_owned());
        pod.status = serde_json::from_value(json!({
            "containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": {"cpu": "1"}}],
            "conditions": [{"type": "PodResizePending", "status": "True",
                "lastTransitionTime": format!("2026-01-02T03:04:{since:02}Z")}]}))
        .unwrap();
        Arc::new(pod)
    }

    #[test]
    fn a_resize_leaves_the_room_to_those_whose_turn_is_before() {
        let cpus = |pods: &[&Pod]| pods.iter().map(|pod| crate::resources::pod_total(pod, "cpu", false)).sum::<i64>();
        // A node of ten CPUs.
        let fits = |pod: &Pod, others: &[&Pod]| cpus(others) + cpus(&[pod]) <= 10_000;
        let known =
            [asking("low", "6", 0, 1), asking("high", "6", 9, 3), asking("late", "6", 9, 4), asking("big", "9", 99, 0)];
        let withheld: BTreeSet<String> = known.iter().map(|pod| spec::uid(pod).to_owned()).collect();
        let judged = |pod: &Pod| {
            let others = beside(pod, &withheld, &known, fits);
            fits(pod, &others.iter().map(|other| &**other).collect::<Vec<_>>())
        };
        let can: Vec<&str> = known.iter().filter(|pod| judged(pod)).map(|pod| spec::uid(pod)).collect();
        assert_eq!(can, ["high"], "the one of the highest priority can have no room, and is no reason to wait");
        let mut ends = (*known[1]).clone();
        ends.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap();
        let known = [known[0].clone(), Arc::new(ends), known[2].clone()];
        let others = beside(&known[2], &withheld, &known, fits);
        assert_eq!(cpus(&others.iter().map(|other| &**other).collect::<Vec<_>>()), 2000, "what ends waits no more");
    }

    #[test]
    fn what_waited_before_this_kubelet_began_waits_until_it_goes() {
        let withheld = Withheld::default();
        let calm = Arc::new(pod(json!({"containers": [{"name": "a"}]})));
        withheld.recall([asking("one", "6", 0, 1), asking("two", "6", 0, 1), calm].iter().map(AsRef::as_ref));
        assert_eq!(withheld.lock().iter().map(String::as_str).collect::<Vec<_>>(), ["one", "two"]);
        withheld.keep(|uid| uid == "two");
        assert_eq!(withheld.lock().iter().map(String::as_str).collect::<Vec<_>>(), ["two"]);
    }
}
