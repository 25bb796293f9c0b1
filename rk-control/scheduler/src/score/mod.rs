//! Scores: which of the feasible nodes is best.
//!
//! Each score ranks all feasible nodes from 0 to 100; the weighted sum decides. Weights are upstream's defaults.

mod affinity;
mod image;
mod node;
mod resources;
mod spread;

use crate::model::{Cluster, NodeInfo, PodInfo};

/// The best score of one ranking.
const MAX: i64 = 100;

type Score = fn(&Cluster, &PodInfo, &[&NodeInfo]) -> Vec<i64>;

const SCORES: &[(i64, Score)] = &[
    (1, resources::least_allocated),
    (1, resources::balanced),
    (1, image::locality),
    (2, affinity::pods),
    (2, node::affinity),
    (2, spread::topology),
    (3, node::taints),
];

/// How much it counts that nodes have what claims of devices wish for most.
const DEVICES: i64 = 2;

/// The weighted sum of all scores for each node; `devices` are the points that it has for its devices.
pub(crate) fn rank(cluster: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo], devices: Vec<i64>) -> Vec<i64> {
    let mut totals: Vec<i64> = more_is_better(devices).into_iter().map(|points| DEVICES * points).collect();
    for (weight, score) in SCORES {
        for (total, points) in totals.iter_mut().zip(score(cluster, pod, nodes)) {
            *total += weight * points;
        }
    }
    totals
}

/// Stretches raw points so that the highest becomes 100.
fn more_is_better(raw: Vec<i64>) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    if most <= 0 { vec![0; raw.len()] } else { raw.into_iter().map(|points| points.max(0) * MAX / most).collect() }
}

/// The same where few points are good: the highest becomes 0, none becomes 100.
fn less_is_better(raw: Vec<i64>) -> Vec<i64> {
    more_is_better(raw).into_iter().map(|points| MAX - points).collect()
}
