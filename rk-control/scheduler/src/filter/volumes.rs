//! What a pod's volumes say of a node.

use super::{Rejection, View};
use crate::model::{Cluster, NodeInfo, PodInfo};

/// Whether another pod has what only one may use (KEP-2485), wherever it runs.
pub(super) fn contested(view: View<'_>, pod: &PodInfo) -> bool {
    let exclusive = view.cluster.storage.exclusive(pod);
    let uses = |other: &PodInfo| {
        other.key != pod.key
            && other.key.namespace == pod.key.namespace
            && other.claims.iter().any(|claim| exclusive.contains(&claim.as_str()))
    };
    !exclusive.is_empty() && view.nodes().flat_map(|node| node.pods.values()).any(|other| uses(other))
}

pub(super) fn check(cluster: &Cluster, pod: &PodInfo, node: &NodeInfo, contested: bool) -> Result<(), Rejection> {
    if pod.claims.is_empty() {
        return Ok(());
    }
    if contested {
        return Err(Rejection::crowded(
            "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
        ));
    }
    if !cluster.storage.within_limits(pod, node) {
        return Err(Rejection::crowded("node(s) exceed max volume count"));
    }
    cluster.storage.choose(pod, node).map(drop).map_err(Rejection::final_)
}
