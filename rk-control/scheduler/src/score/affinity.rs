//! Preferred affinity between pods, in both directions.

use std::collections::HashMap;

use super::MAX;
use crate::filter::affinity::matches;
use crate::model::{Cluster, NodeInfo, PodInfo, PodTerm};

/// How much a running pod's required affinity draws pods like this one near; upstream's default.
const HARD_WEIGHT: i64 = 1;

type Weights<'a> = HashMap<(&'a str, &'a str), i64>;

pub(super) fn pods(cluster: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let wishes = !pod.affinity.preferred.is_empty();
    let wished_for = cluster.nodes().any(|node| node.pods_with_terms > 0);
    if !wishes && !wished_for {
        return vec![0; nodes.len()];
    }
    let mut weights = Weights::new();
    for node in cluster.nodes().filter(|node| wishes || node.pods_with_terms > 0) {
        for other in node.pods.values() {
            weigh(cluster, &mut weights, pod, other, node);
        }
    }
    let raw: Vec<i64> = nodes.iter().map(|node| total(&weights, node)).collect();
    let (least, most) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    raw.into_iter().map(|points| if most > least { MAX * (points - least) / (most - least) } else { 0 }).collect()
}

fn weigh<'a>(cluster: &Cluster, weights: &mut Weights<'a>, pod: &'a PodInfo, other: &'a PodInfo, node: &'a NodeInfo) {
    let mut add = |term: &'a PodTerm, about: &PodInfo, weight: i64| {
        if let Some(value) = node.labels.get(&term.topology_key)
            && matches(cluster, term, about)
        {
            *weights.entry((&term.topology_key, value)).or_default() += weight;
        }
    };
    for wish in &pod.affinity.preferred {
        add(&wish.term, other, wish.weight);
    }
    for wish in &other.affinity.preferred {
        add(&wish.term, pod, wish.weight);
    }
    for term in &other.affinity.required {
        add(term, pod, HARD_WEIGHT);
    }
}

fn total(weights: &Weights<'_>, node: &NodeInfo) -> i64 {
    weights.iter().filter(|((key, value), _)| node.labels.get(*key).is_some_and(|v| v == value)).map(|(_, w)| w).sum()
}
