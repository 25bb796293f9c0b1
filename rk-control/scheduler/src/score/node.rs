//! Preferred node affinity, and taints that prefer to be avoided.

use super::{less_is_better, more_is_better};
use crate::model::{Cluster, Effect, NodeInfo, PodInfo, tolerated};

pub(super) fn affinity(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    more_is_better(nodes.iter().map(|node| pod.node_affinity.preference(&node.name, &node.labels)).collect())
}

pub(super) fn taints(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let untolerated = |node: &&NodeInfo| {
        let soft = node.taints.iter().filter(|taint| taint.effect == Effect::PreferNoSchedule);
        soft.filter(|taint| !tolerated(&pod.tolerations, taint)).count() as i64
    };
    less_is_better(nodes.iter().map(untolerated).collect())
}
