//! What pods whose resize waits go on with: what they were given before, for what starts in them and for what is left to others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::spec;

type Amounts = BTreeMap<String, Quantity>;

/// UIDs of pods that are not given what they ask for now.
#[derive(Debug, Default)]
pub struct Withheld(Mutex<BTreeSet<String>>);

impl Withheld {
    /// The UIDs; nothing is given to any other pod while they are held, so that no two get the same room.
    pub fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These pods as they count against the node: the room of a resize that waits is free.
    pub fn counted(&self, pods: impl Iterator<Item = Arc<Pod>>) -> Vec<Arc<Pod>> {
        counted(&self.lock(), pods)
    }
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
}
