//! What only the node and the pod decide: cordon, taints, node affinity, host ports, declared features.

use super::Rejection;
use crate::model::{Effect, NodeInfo, PodInfo, Taint, tolerated};

/// The taint that stands for a cordoned node.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

pub(super) fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let cordon = || Taint { key: UNSCHEDULABLE.to_owned(), value: String::new(), effect: Effect::NoSchedule };
    if node.unschedulable && !tolerated(&pod.tolerations, &cordon()) {
        return Err(Rejection::final_("node(s) were unschedulable"));
    }
    Ok(())
}

pub(super) fn taints(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let strict = |taint: &&Taint| taint.effect != Effect::PreferNoSchedule;
    if node.taints.iter().filter(strict).all(|taint| tolerated(&pod.tolerations, taint)) {
        return Ok(());
    }
    Err(Rejection::final_("node(s) had untolerated taint(s)"))
}

pub(super) fn affinity(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.node_affinity.admits(&node.name, &node.labels) {
        return Ok(());
    }
    Err(Rejection::final_("node(s) didn't match Pod's node affinity/selector"))
}

pub(super) fn ports(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.host_ports.iter().any(|port| node.port_taken(port)) {
        return Err(Rejection::crowded("node(s) didn't have free ports for the requested pod ports"));
    }
    Ok(())
}

pub(super) fn features(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.features.iter().all(|feature| node.features.iter().any(|own| own == feature)) {
        return Ok(());
    }
    Err(Rejection::final_("node(s) didn't match Pod's required features"))
}
