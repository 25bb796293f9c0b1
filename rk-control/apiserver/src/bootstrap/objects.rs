//! Namespaces, priority classes and the Service range.

use serde_json::{Value, json};

use super::Wanted;
use crate::server::Core;

/// The namespaces of the system.
pub(super) fn namespaces() -> Vec<Wanted> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .into_iter()
        .map(|name| {
            ("", "v1", "namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        })
        .collect()
}

fn priority_class(name: &str, value: i64, description: &str) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value, "description": description,
    })
}

/// Cluster-scoped objects.
pub(super) fn classes(core: &Core) -> Vec<Wanted> {
    let node = "Used for system critical pods that must not be moved from their current node.";
    let cluster =
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.";
    vec![
        ("scheduling.k8s.io", "v1", "priorityclasses", priority_class("system-node-critical", 2_000_001_000, node)),
        (
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            priority_class("system-cluster-critical", 2_000_000_000, cluster),
        ),
        ("networking.k8s.io", "v1", "servicecidrs", crate::alloc::default_range(core)),
    ]
}
