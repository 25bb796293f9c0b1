//! Amounts of resources, and how much a pod asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::{parse_milli, parse_value};

/// What scoring assumes of a container that requests no CPU, so that many of them do not pile up: a tenth of a core.
const UNASKED_MILLI_CPU: i64 = 100;
/// What scoring assumes of a container that requests no memory: 200 MiB.
const UNASKED_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource. CPU is in thousandths of a core, everything else in whole units (bytes, devices).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local disk in bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages by name.
    pub scalars: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a resource list of the API; `pods` is not among the amounts.
    pub(crate) fn of(list: &BTreeMap<String, Quantity>) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => amounts.milli_cpu = parse_milli(quantity),
                "memory" => amounts.memory = parse_value(quantity),
                "ephemeral-storage" => amounts.ephemeral_storage = parse_value(quantity),
                "pods" => {}
                scalar => drop(amounts.scalars.insert(scalar.to_owned(), parse_value(quantity))),
            }
        }
        amounts
    }

    /// Adds `other`, saturating.
    pub(crate) fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` away, saturating.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises each amount to at least that of `other`.
    pub(crate) fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = f(*mine, *amount);
        }
    }
}

/// What a pod takes of a node: the sum of what runs together, or the peak while init containers run (KEP-753), plus overhead. What a
/// resize has not given back yet is taken, too (KEP-1287).
pub(crate) fn pod_request(pod: &Pod) -> Resources {
    pod_sum(pod, |container| held(pod, container))
}

/// The same with assumed amounts where a container asks for nothing; used for ranking only.
pub(crate) fn pod_request_for_score(pod: &Pod) -> Resources {
    pod_sum(pod, |container| {
        let mut amounts = held(pod, container);
        let asked =
            |name| container.resources.as_ref().and_then(|r| r.requests.as_ref()).is_some_and(|r| r.contains_key(name));
        if !asked("cpu") {
            amounts.milli_cpu = UNASKED_MILLI_CPU;
        }
        if !asked("memory") {
            amounts.memory = UNASKED_MEMORY;
        }
        amounts
    })
}

fn pod_sum(pod: &Pod, request: impl Fn(&Container) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut together = Resources::default();
    for container in &spec.containers {
        together.add(&request(container));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let amounts = request(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&amounts);
            peak.raise_to(&sidecars);
        } else {
            let mut now = sidecars.clone();
            now.add(&amounts);
            peak.raise_to(&now);
        }
    }
    together.add(&sidecars);
    together.raise_to(&peak);
    // Pod-level requests (KEP-2837) replace the sum for the resources that they name.
    together.override_with(&as_a_whole(pod, spec));
    if let Some(overhead) = &spec.overhead {
        together.add(&Resources::of(overhead));
    }
    together
}

impl Resources {
    fn override_with(&mut self, other: &Self) {
        self.combine(other, |mine, theirs| if theirs > 0 { theirs } else { mine });
    }
}

/// What a container asks for, or is given and held to while it is resized.
fn held(pod: &Pod, container: &Container) -> Resources {
    let asked = container.resources.as_ref().map(amounts_of).unwrap_or_default();
    match status_of(pod, container) {
        Some(status) => most(pod, &asked, status.resources.as_ref(), status.allocated_resources.as_ref()),
        None => asked,
    }
}

/// The same of the pod as a whole (KEP-5419).
fn as_a_whole(pod: &Pod, spec: &PodSpec) -> Resources {
    let Some(own) = &spec.resources else { return Resources::default() };
    match pod.status.as_ref().filter(|status| status.resources.is_some()) {
        Some(status) => most(pod, &amounts_of(own), status.resources.as_ref(), status.allocated_resources.as_ref()),
        None => amounts_of(own),
    }
}

/// The most of what is asked for, in force and allocated. What the node refused for good is not asked for.
fn most(
    pod: &Pod,
    asked: &Resources,
    in_force: Option<&ResourceRequirements>,
    allocated: Option<&BTreeMap<String, Quantity>>,
) -> Resources {
    let mut most = in_force.map(amounts_of).unwrap_or_default();
    most.raise_to(&allocated.map(Resources::of).unwrap_or_default());
    if !is_infeasible(pod) {
        most.raise_to(asked);
    }
    most
}

/// What a node tells of a container; of an init container that is no sidecar nothing counts but what it asks for.
fn status_of<'a>(pod: &'a Pod, container: &Container) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let sidecars = status.init_container_statuses.iter().flatten();
    let sidecars = sidecars.filter(|_| container.restart_policy.as_deref() == Some("Always"));
    let mut all = status.container_statuses.iter().flatten().chain(sidecars);
    all.find(|status| status.name == container.name && status.resources.is_some())
}

fn is_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut pending = conditions.filter(|condition| condition.type_ == "PodResizePending");
    pending.any(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

fn amounts_of(resources: &ResourceRequirements) -> Resources {
    resources.requests.as_ref().map(Resources::of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(spec: serde_json::Value) -> Resources {
        pod_request(&serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    fn container(cpu: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> serde_json::Value {
        json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_takes_its_sum_or_its_peak() {
        let cases = [
            (json!({"containers": [container("1"), container("500m")]}), 1500),
            (json!({"containers": [container("1")], "initContainers": [container("3"), container("2")]}), 3000),
            (json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("2")]}), 3000),
            (json!({"containers": [container("2")], "initContainers": [container("1"), sidecar("1")]}), 3000),
            (json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}), 1250),
            (json!({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}), 4000),
        ];
        for (spec, expected) in cases {
            assert_eq!(request(spec.clone()).milli_cpu, expected, "{spec}");
        }
    }

    #[test]
    fn ranking_assumes_amounts_where_none_are_asked() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, container("1")]}});
        let pod = serde_json::from_value(pod).unwrap();
        let amounts = pod_request_for_score(&pod);
        assert_eq!((amounts.milli_cpu, amounts.memory), (1100, 2 * UNASKED_MEMORY));
        assert_eq!(pod_request(&pod).memory, 0);
    }

    #[test]
    fn what_a_resize_has_not_given_back_is_taken() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let status = |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
        let one = |asked: &str, reason: &str| {
            json!({"spec": {"containers": [container(asked)]}, "status": {"conditions": status(reason),
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": "2"}, "resources": cpu("1500m")}]}})
        };
        let whole = |asked: &str, reason: &str| {
            json!({"spec": {"containers": [{"name": "c"}], "resources": cpu(asked)}, "status": {
                "conditions": status(reason), "allocatedResources": {"cpu": "2"}, "resources": cpu("1500m")}})
        };
        for (asked, reason, expected) in
            [("1", "Deferred", 2000), ("4", "Deferred", 4000), ("4", "Infeasible", 2000), ("1", "", 2000)]
        {
            for pod in [one(asked, reason), whole(asked, reason)] {
                let taken = pod_request(&serde_json::from_value(pod.clone()).unwrap());
                assert_eq!(taken.milli_cpu, expected, "{pod}");
            }
        }
    }
}
