//! How much of each quota resource one object takes.

use crate::pods;
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, Pod, ResourceRequirements, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::{parse_value, try_parse_milli};
use std::collections::BTreeMap;

/// Thousandths by resource name.
pub(super) type Usage = BTreeMap<String, i128>;

const ONE: i128 = 1000;

fn milli(quantity: &Quantity) -> i128 {
    // Byte counts would not fit 64 bits in thousandths.
    match quantity.0.strip_suffix('m') {
        Some(_) => i128::from(try_parse_milli(&quantity.0).unwrap_or(0)),
        None if quantity.0.contains('.') => i128::from(try_parse_milli(&quantity.0).unwrap_or(0)),
        None => i128::from(parse_value(quantity)) * ONE,
    }
}

fn add(into: &mut Usage, from: &Usage) {
    for (name, amount) in from {
        *into.entry(name.clone()).or_insert(0) += amount;
    }
}

fn raise(into: &mut Usage, from: &Usage) {
    for (name, amount) in from {
        let mine = into.entry(name.clone()).or_insert(0);
        *mine = (*mine).max(*amount);
    }
}

fn of_list(list: Option<&BTreeMap<String, Quantity>>) -> Usage {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), milli(quantity))).collect()
}

/// Running containers and sidecars together, or the largest init step, or what the pod says as a whole, plus overhead.
fn total(pod: &Pod, pick: impl Fn(&ResourceRequirements) -> Usage) -> Usage {
    let Some(spec) = &pod.spec else { return Usage::new() };
    let of = |container: &Container| container.resources.as_ref().map(&pick).unwrap_or_default();
    let (mut running, mut sidecars, mut peak) = (Usage::new(), Usage::new(), Usage::new());
    spec.containers.iter().for_each(|c| add(&mut running, &of(c)));
    for init in spec.init_containers.iter().flatten() {
        let mut step = of(init);
        if init.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &step);
            step.clone_from(&sidecars);
        } else {
            add(&mut step, &sidecars);
        }
        raise(&mut peak, &step);
    }
    add(&mut running, &sidecars);
    raise(&mut running, &peak);
    let whole = spec.resources.as_ref().map(&pick).unwrap_or_default();
    running.extend(whole.into_iter().filter(|(name, _)| is_of_pods(name)));
    add(&mut running, &of_list(spec.overhead.as_ref()));
    running
}

/// Whether a pod as a whole can say how much of a resource it takes.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// A pod that is not finished.
pub(super) fn of_pod(pod: &Pod) -> Usage {
    let mut usage = Usage::from([("count/pods".to_owned(), ONE)]);
    if pods::is_finished(pod) {
        return usage;
    }
    usage.insert("pods".to_owned(), ONE);
    let requests = total(pod, |resources| of_list(resources.requests.as_ref()));
    let limits = total(pod, |resources| of_list(resources.limits.as_ref()));
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    usage.extend(limits.into_iter().map(|(name, amount)| (format!("limits.{name}"), amount)));
    usage
}

/// A Service, and what its type adds.
pub(super) fn of_service(service: &Service) -> Usage {
    let mut usage = Usage::from([("services".to_owned(), ONE), ("count/services".to_owned(), ONE)]);
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.as_ref().map_or(0, Vec::len) as i128;
    match spec.type_.as_deref() {
        Some("NodePort") => {
            usage.insert("services.nodeports".to_owned(), ports * ONE);
        }
        Some("LoadBalancer") => {
            let allocated = spec.allocate_load_balancer_node_ports != Some(false);
            let used = spec.ports.iter().flatten().filter(|p| allocated || p.node_port.is_some()).count() as i128;
            usage.insert("services.loadbalancers".to_owned(), ONE);
            usage.insert("services.nodeports".to_owned(), used * ONE);
        }
        _ => {}
    }
    usage
}

/// A claim, in total and by storage class.
pub(super) fn of_claim(claim: &PersistentVolumeClaim) -> Usage {
    let spec = claim.spec.clone().unwrap_or_default();
    let size = spec.resources.as_ref().and_then(|r| r.requests.as_ref()?.get("storage")).map_or(0, milli);
    let mut usage = Usage::from([
        ("persistentvolumeclaims".to_owned(), ONE),
        ("count/persistentvolumeclaims".to_owned(), ONE),
        ("requests.storage".to_owned(), size),
    ]);
    if let Some(class) = spec.storage_class_name.filter(|c| !c.is_empty()) {
        usage.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), size);
        usage.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), ONE);
    }
    usage
}

/// Sums usages, keeping only resources that the quota limits.
pub(super) fn sum(usages: impl Iterator<Item = Usage>, limited: &BTreeMap<String, Quantity>) -> Usage {
    let mut sum: Usage = limited.keys().map(|name| (name.clone(), 0)).collect();
    for usage in usages {
        for (name, amount) in usage {
            if let Some(mine) = sum.get_mut(&name) {
                *mine += amount;
            }
        }
    }
    sum
}

/// An amount as the API writes it.
pub(super) fn quantity(name: &str, amount: i128) -> Quantity {
    let clamp = |n: i128| i64::try_from(n).unwrap_or(i64::MAX);
    let bytes = ["memory", "storage", "hugepages-"].iter().any(|part| name.contains(part))
        && !name.ends_with("persistentvolumeclaims");
    if bytes {
        return rk_client::format_quantity(clamp((amount + ONE - 1) / ONE), true);
    }
    rk_client::format_milli(clamp(amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_counts_its_requests_until_it_ends() {
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(json!({"status": {"phase": phase}, "spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "8Ei"}, "limits": {"cpu": "1"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m"}}}], "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "500m"}}}]}}))
            .expect("valid")
        };
        let usage = of_pod(&pod("Running"));
        assert_eq!(
            (usage.get("requests.cpu"), usage.get("cpu"), usage.get("limits.cpu"), usage.get("pods")),
            (Some(&500), Some(&500), Some(&1000), Some(&1000))
        );
        assert_eq!(of_pod(&pod("Succeeded")), Usage::from([("count/pods".to_owned(), ONE)]));
    }

    #[test]
    fn what_a_pod_says_as_a_whole_counts_in_place_of_the_sum() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m", "example.com/x": "1"}}}],
            "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "50m"},
        }}))
        .expect("valid");
        let usage = of_pod(&pod);
        assert_eq!((usage["requests.cpu"], usage["requests.example.com/x"]), (2050, 1000));
    }

    #[test]
    fn sums_hold_only_what_is_limited() {
        let limited = BTreeMap::from([
            ("pods".to_owned(), Quantity("5".to_owned())),
            ("requests.memory".to_owned(), Quantity("1Gi".to_owned())),
        ]);
        let one = Usage::from([("pods".to_owned(), ONE), ("cpu".to_owned(), 5)]);
        let total = sum([one.clone(), one].into_iter(), &limited);
        assert_eq!(total, Usage::from([("pods".to_owned(), 2000), ("requests.memory".to_owned(), 0)]));
        assert_eq!(quantity("pods", 2000).0, "2");
        assert_eq!(quantity("requests.memory", 256 * 1024 * 1024 * 1000).0, "256Mi");
        assert_eq!(quantity("requests.cpu", 1500).0, "1500m");
    }
}
