//! One decision: filter, score, choose.

use rand::RngExt as _;

use crate::diagnosis::Diagnosis;
use crate::filter::{Filters, View};
use crate::model::{Cluster, NodeInfo, PodInfo};
use crate::score::rank;

/// Clusters up to this size are always searched whole.
const MIN_FEASIBLE: usize = 100;

/// Where a pod goes.
#[derive(Debug, Clone)]
pub enum Decision {
    /// To this node.
    Node(String),
    /// Nowhere yet.
    Unschedulable(Diagnosis),
}

/// Chooses a node for `pod`, or says why there is none. Moves the cluster's cursor on, so that searches that end early take turns.
pub fn decide(cluster: &mut Cluster, pod: &PodInfo) -> Decision {
    let total = cluster.node_count();
    if let Some(problem) = cluster.volume_problem(pod) {
        return Decision::Unschedulable(Diagnosis::whole(total, problem.message()));
    }
    let mut diagnosis = Diagnosis::new(total);
    let (choice, looked_at) = {
        let cluster = &*cluster;
        let (feasible, looked_at) = search(cluster, pod, &mut diagnosis);
        (best(cluster, pod, &feasible).map(|node| node.name.clone()), looked_at)
    };
    cluster.cursor = cluster.cursor.wrapping_add(looked_at);
    match choice {
        Some(node) => Decision::Node(node),
        None => Decision::Unschedulable(diagnosis),
    }
}

/// As many nodes that can take the pod as are enough, and how many were looked at from the cursor on to find them.
fn search<'a>(cluster: &'a Cluster, pod: &PodInfo, diagnosis: &mut Diagnosis) -> (Vec<&'a NodeInfo>, usize) {
    let filters = Filters::prepare(View::of(cluster), pod);
    // A node that was emptied for this pod is asked first.
    let nominated = pod.nominated.as_deref().and_then(|name| cluster.node(name)).filter(|node| node.known);
    if let Some(node) = nominated.filter(|node| filters.check(node).is_ok()) {
        return (vec![node], 0);
    }
    let wanted = feasible_wanted(cluster.node_count());
    let (mut feasible, mut looked_at) = (Vec::new(), 0);
    for node in cluster.nodes_from_cursor() {
        looked_at += 1;
        match filters.check(node) {
            Ok(()) => feasible.push(node),
            Err(rejection) => diagnosis.reject(&node.name, rejection),
        }
        if feasible.len() >= wanted {
            break;
        }
    }
    (feasible, looked_at)
}

/// How many feasible nodes are enough: all of a small cluster, a share of a large one (50 % down to 5 % at 5 625 nodes).
fn feasible_wanted(total: usize) -> usize {
    let percent = 50usize.saturating_sub(total / 125).max(5);
    (total * percent / 100).max(MIN_FEASIBLE)
}

fn best<'a>(cluster: &Cluster, pod: &PodInfo, feasible: &[&'a NodeInfo]) -> Option<&'a NodeInfo> {
    if let &[only] = feasible {
        return Some(only);
    }
    let scores = rank(cluster, pod, feasible);
    let top = *scores.iter().max()?;
    let winners: Vec<_> =
        feasible.iter().zip(&scores).filter(|(_, score)| **score == top).map(|(node, _)| *node).collect();
    winners.get(rand::rng().random_range(0..winners.len())).copied()
}
