//! How readily the kernel kills a container when the machine has no memory left.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod::spec;
use crate::quantity::units_of;
use crate::resources::{Qos, of_containers, qos_class};

/// From this priority on a pod is critical to its node.
const NODE_CRITICAL: i32 = 2_000_001_000;
/// What goes last of all that pods run.
const LAST: i64 = -997;
/// What goes first.
const FIRST: i64 = 1000;
/// Between those that are guaranteed what they ask for, and those that ask for nothing.
const BETWEEN: (i64, i64) = (3, 999);

/// The score of one container.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    // A node-critical pod is protected like the node's own services.
    if pod.spec.as_ref().and_then(|s| s.priority).is_some_and(|p| p >= NODE_CRITICAL) {
        return LAST;
    }
    match qos_class(pod) {
        Qos::Guaranteed => LAST,
        Qos::BestEffort => FIRST,
        Qos::Burstable => {
            let rest = rest_of_pod(pod);
            let score = |request: i64| FIRST - FIRST.saturating_mul(request.saturating_add(rest)) / node_memory.max(1);
            let own = score(memory(container));
            let score = if is_sidecar_of(pod, container) { own.min(score(least_memory(pod))) } else { own };
            score.clamp(BETWEEN.0, BETWEEN.1)
        }
    }
}

/// The memory that a container asks for, bytes.
fn memory(container: &Container) -> i64 {
    units_of(container.resources.as_ref().and_then(|r| r.requests.as_ref()), "memory")
}

/// The memory that the app container with the smallest request asks for.
fn least_memory(pod: &Pod) -> i64 {
    spec::app_containers(pod).iter().map(memory).min().unwrap_or_default()
}

/// Whether the container is a sidecar of the pod, which does not go before all of those that it serves.
fn is_sidecar_of(pod: &Pod, container: &Container) -> bool {
    spec::init_containers(pod).iter().any(|init| init.name == container.name && spec::is_sidecar(init))
}

/// Each container's part of the memory that the pod asks for beyond what its containers do.
fn rest_of_pod(pod: &Pod) -> i64 {
    let own = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    let containers = spec::app_containers(pod).len() + spec::init_containers(pod).len();
    let rest = units_of(own, "memory").saturating_sub(of_containers(pod, memory)).max(0);
    rest / i64::try_from(containers.max(1)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A container, or a sidecar, that asks for so many MiB.
    fn asks(name: &str, mib: u32, sidecar: bool) -> Value {
        let mut container = json!({"name": name, "resources": {"requests": {"memory": format!("{mib}Mi")}}});
        if sidecar {
            container["restartPolicy"] = json!("Always");
        }
        container
    }

    /// Scores of all containers on a node of 1000 MiB, init containers first.
    fn scores(wanted: &Value) -> Vec<i64> {
        let pod: Pod = serde_json::from_value(json!({"spec": wanted})).unwrap();
        let containers = spec::init_containers(&pod).iter().chain(spec::app_containers(&pod));
        containers.map(|container| oom_score_adj(&pod, container, 1000 << 20)).collect()
    }

    #[test]
    fn what_asks_for_more_goes_later_and_a_sidecar_not_before_all_that_it_serves() {
        let (app, none) = (|mib| asks("a", mib, false), json!({"name": "n"}));
        let of_pod = |mib: u32| json!({"requests": {"memory": format!("{mib}Mi")}});
        let exact = json!({"name": "g", "resources": {"limits": {"cpu": "1", "memory": "1Mi"}}});
        for (what, wanted, want) in [
            ("nothing", json!({"containers": [none]}), vec![1000]),
            ("everything", json!({"containers": [exact]}), vec![-997]),
            ("critical", json!({"containers": [none], "priority": 2_000_001_000}), vec![-997]),
            ("by request", json!({"containers": [app(100), none]}), vec![900, 999]),
            ("almost all", json!({"containers": [app(999)]}), vec![3]),
            (
                "sidecars and an init container",
                json!({
                    "initContainers": [asks("small", 50, true), asks("i", 50, false), asks("large", 300, true)],
                    "containers": [app(200), asks("b", 100, false)],
                }),
                vec![900, 950, 700, 800, 900],
            ),
            ("of the pod", json!({"resources": of_pod(400), "containers": [app(100), none]}), vec![750, 850]),
            (
                "of the pod, with its sidecar",
                json!({"resources": of_pod(400), "initContainers": [asks("s", 50, true)], "containers": [app(50)]}),
                vec![800, 800],
            ),
            ("no more than its containers", json!({"resources": of_pod(100), "containers": [app(100)]}), vec![900]),
        ] {
            assert_eq!(scores(&wanted), want, "{what}");
        }
    }
}
