//! Free and balanced resources.

use super::MAX;
use crate::model::{Cluster, NodeInfo, PodInfo, Resources};

/// What CPU and memory would be used to, and how much there is.
fn shares(used: &Resources, wanted: &Resources, whole: &Resources) -> [(i64, i64); 2] {
    [(used.milli_cpu + wanted.milli_cpu, whole.milli_cpu), (used.memory + wanted.memory, whole.memory)]
}

/// Prefers nodes with much left.
pub(super) fn least_allocated(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let free = |(used, whole): (i64, i64)| if whole <= 0 || used > whole { 0 } else { (whole - used) * MAX / whole };
    let shares = |node: &&NodeInfo| shares(&node.requested_for_score, &pod.request_for_score, &node.allocatable);
    nodes.iter().map(|node| shares(node).map(free).iter().sum::<i64>() / 2).collect()
}

/// Prefers nodes on which CPU and memory fill up evenly by what is asked for, not by what is assumed. A pod that asks for nothing fills
/// nothing up: it would only gather with its like where the balance is best.
pub(super) fn balanced(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let wanted = &pod.request;
    if (wanted.milli_cpu, wanted.memory) == (0, 0) {
        return vec![0; nodes.len()];
    }
    let share = |(used, whole): (i64, i64)| if whole <= 0 { 1.0 } else { (used as f64 / whole as f64).min(1.0) };
    nodes
        .iter()
        .map(|node| {
            let [cpu, memory] = shares(&node.requested, wanted, &node.allocatable).map(share);
            // The standard deviation of two values is half their distance.
            ((1.0 - (cpu - memory).abs() / 2.0) * MAX as f64) as i64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn balance_is_of_what_is_asked_for() {
        let mut cluster = Cluster::default();
        let node = json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi"}}});
        cluster.set_node(&serde_json::from_value(node).expect("a node"));
        let nodes: Vec<&NodeInfo> = cluster.nodes().collect();
        let points = |requests: Value| {
            let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}});
            let pod = PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule");
            balanced(&cluster, &pod, &nodes)
        };
        assert_eq!(points(json!({"cpu": "2", "memory": "4Gi"})), [100]);
        assert_eq!(points(json!({"cpu": "2"})), [75]);
        assert_eq!(points(json!({})), [0], "none is better than another");
    }
}
