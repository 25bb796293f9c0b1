//! Free and balanced resources.

use super::MAX;
use crate::model::{Cluster, NodeInfo, PodInfo};

/// What a resource would be used to, and how much there is.
fn shares(pod: &PodInfo, node: &NodeInfo) -> [(i64, i64); 2] {
    let (used, wanted, whole) = (&node.requested_for_score, &pod.request_for_score, &node.allocatable);
    [(used.milli_cpu + wanted.milli_cpu, whole.milli_cpu), (used.memory + wanted.memory, whole.memory)]
}

/// Prefers nodes with much left.
pub(super) fn least_allocated(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let free = |(used, whole): (i64, i64)| if whole <= 0 || used > whole { 0 } else { (whole - used) * MAX / whole };
    nodes.iter().map(|node| shares(pod, node).map(free).iter().sum::<i64>() / 2).collect()
}

/// Prefers nodes on which CPU and memory fill up evenly.
pub(super) fn balanced(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let share = |(used, whole): (i64, i64)| if whole <= 0 { 1.0 } else { (used as f64 / whole as f64).min(1.0) };
    nodes
        .iter()
        .map(|node| {
            let [cpu, memory] = shares(pod, node).map(share);
            // The standard deviation of two values is half their distance.
            ((1.0 - (cpu - memory).abs() / 2.0) * MAX as f64) as i64
        })
        .collect()
}
