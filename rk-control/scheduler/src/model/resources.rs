//! Amounts of resources, and how much a pod asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
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

/// What a pod takes of a node: the sum of what runs together, or the peak while init containers run (KEP-753), plus overhead.
pub(crate) fn pod_request(spec: &PodSpec) -> Resources {
    pod_sum(spec, requests)
}

/// The same with assumed amounts where a container asks for nothing; used for ranking only.
pub(crate) fn pod_request_for_score(spec: &PodSpec) -> Resources {
    pod_sum(spec, |container| {
        let mut amounts = requests(container);
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

fn pod_sum(spec: &PodSpec, request: impl Fn(&Container) -> Resources) -> Resources {
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
    let pod_level = spec.resources.as_ref().map(amounts_of).unwrap_or_default();
    together.override_with(&pod_level);
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

fn requests(container: &Container) -> Resources {
    container.resources.as_ref().map(amounts_of).unwrap_or_default()
}

fn amounts_of(resources: &ResourceRequirements) -> Resources {
    resources.requests.as_ref().map(Resources::of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(spec: serde_json::Value) -> Resources {
        pod_request(&serde_json::from_value(spec).unwrap())
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
        let spec = serde_json::from_value(json!({"containers": [{"name": "a"}, container("1")]})).unwrap();
        let amounts = pod_request_for_score(&spec);
        assert_eq!((amounts.milli_cpu, amounts.memory), (1100, 2 * UNASKED_MEMORY));
        assert_eq!(pod_request(&spec).memory, 0);
    }
}
