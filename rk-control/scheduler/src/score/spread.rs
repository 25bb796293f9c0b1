//! Even spreading: the pod's own soft constraints, or else away from its siblings.

use std::collections::{HashMap, HashSet};

use super::{MAX, less_is_better};
use crate::filter::spread::{eligible, matching};
use crate::model::{Cluster, NodeInfo, PodInfo, Spread, Unsatisfiable};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn topology(cluster: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let soft: Vec<&Spread> = pod.spread.iter().filter(|s| s.when == Unsatisfiable::ScheduleAnyway).collect();
    if !soft.is_empty() {
        return constraints(cluster, pod, &soft, nodes);
    }
    match &pod.owner {
        Some(owner) if pod.spread.is_empty() => siblings(cluster, owner, nodes),
        _ => vec![0; nodes.len()],
    }
}

fn constraints<'a>(cluster: &'a Cluster, pod: &PodInfo, soft: &[&Spread], nodes: &[&'a NodeInfo]) -> Vec<i64> {
    let complete = |node: &NodeInfo| soft.iter().all(|s| node.labels.contains_key(&s.topology_key));
    let mut raw = vec![0.0; nodes.len()];
    for spread in soft {
        let domain = |node: &'a NodeInfo| node.labels.get(&spread.topology_key).map(String::as_str);
        // Only domains that the pod may come into; others are not to make the difference between these look larger.
        let usable = nodes.iter().filter(|node| complete(node));
        let mut domains: HashMap<&str, i64> = usable.filter_map(|node| Some((domain(node)?, 0))).collect();
        for node in cluster.nodes().filter(|node| complete(node) && eligible(pod, spread, node)) {
            if let Some(count) = domain(node).and_then(|domain| domains.get_mut(domain)) {
                *count += matching(pod, spread, node);
            }
        }
        // Many small domains must weigh as much as few large ones.
        let weight = ((domains.len() + 2) as f64).ln();
        for (points, node) in raw.iter_mut().zip(nodes) {
            let here = domain(node).and_then(|domain| domains.get(domain)).copied().unwrap_or(0);
            *points += here as f64 * weight + (spread.max_skew - 1) as f64;
        }
    }
    raw.iter_mut().for_each(|points| *points = points.round());
    let usable: Vec<f64> =
        nodes.iter().zip(&raw).filter(|(node, _)| complete(node)).map(|(_, points)| *points).collect();
    let most = usable.iter().copied().fold(0.0, f64::max);
    let least = usable.iter().copied().fold(f64::INFINITY, f64::min);
    let scaled = |(node, points): (&&NodeInfo, f64)| match complete(node) {
        true if most <= 0.0 => MAX,
        true => (MAX as f64 * (most + least - points) / most) as i64,
        false => 0,
    };
    nodes.iter().zip(raw).map(scaled).collect()
}

/// Away from pods of the same controller, by node and by zone.
fn siblings(cluster: &Cluster, owner: &str, nodes: &[&NodeInfo]) -> Vec<i64> {
    let on = |node: &NodeInfo| node.owners.get(owner).copied().unwrap_or(0);
    let by_node = less_is_better(nodes.iter().map(|node| on(node)).collect());
    let zones: HashSet<&String> = nodes.iter().filter_map(|node| node.labels.get(ZONE)).collect();
    if zones.len() < 2 {
        return by_node;
    }
    let mut in_zone: HashMap<&str, i64> = HashMap::new();
    for node in cluster.nodes().filter(|node| node.labels.contains_key(HOSTNAME)) {
        if let Some(zone) = node.labels.get(ZONE) {
            *in_zone.entry(zone).or_default() += on(node);
        }
    }
    let zone_of =
        |node: &&NodeInfo| node.labels.get(ZONE).and_then(|zone| in_zone.get(zone.as_str())).copied().unwrap_or(0);
    let by_zone = less_is_better(nodes.iter().map(zone_of).collect());
    by_node.iter().zip(by_zone).map(|(node, zone)| (node + zone) / 2).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    #[test]
    fn only_zones_that_the_pod_may_come_into_make_counts_weigh() {
        let mut cluster = Cluster::default();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
            let node = json!({"metadata": {"name": name, "labels": {"zone": name}}});
            cluster.set_node(&serde_json::from_value(node).expect("a node"));
        }
        let pod = |name: &str| {
            let wish = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": "web"}}});
            let pod = json!({"metadata": {"name": name, "namespace": "n", "labels": {"app": "web"}},
                "spec": {"containers": [], "topologySpreadConstraints": [wish]}});
            PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
        };
        for (name, node) in [("1", "a"), ("2", "a"), ("3", "a"), ("4", "b")] {
            cluster.place(Arc::new(pod(name)), node);
        }
        let nodes: Vec<&NodeInfo> = ["a", "b"].into_iter().filter_map(|name| cluster.node(name)).collect();
        assert_eq!(topology(&cluster, &pod("new"), &nodes), [25, 100]);
    }
}
