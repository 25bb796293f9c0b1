//! One decision: filter, score, choose.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use rand::RngExt as _;

use crate::devices::{Allocation, Special};
use crate::diagnosis::Diagnosis;
use crate::filter::{Filters, STEPS, View};
use crate::model::{Choice, Cluster, NodeInfo, PodInfo};
use crate::score::rank;

/// Clusters up to this size are always searched whole.
const MIN_FEASIBLE: usize = 100;

/// A node, and what a pod gets there.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The node's name.
    pub node: String,
    /// The devices of its claims that had none.
    pub(crate) allocations: Vec<Arc<Allocation>>,
    /// The claim that is to be made for its extended resources.
    pub(crate) special: Option<Box<Special>>,
    /// What its claims get that waited for a node.
    pub(crate) volumes: Vec<Choice>,
}

/// Where a pod goes.
#[derive(Debug, Clone)]
pub enum Decision {
    /// There.
    Node(Placement),
    /// Nowhere yet.
    Unschedulable(Diagnosis),
}

/// Chooses a node for `pod`, or says why there is none. Moves the cluster's cursor on, so that searches that end early take turns.
pub fn decide(cluster: &mut Cluster, pod: &PodInfo) -> Decision {
    decide_within(&Cell::new(STEPS), cluster, pod)
}

/// The same with so many steps of the search for devices. None are left when it was given up on some node.
pub(crate) fn decide_within(steps: &Cell<u64>, cluster: &mut Cluster, pod: &PodInfo) -> Decision {
    let total = cluster.node_count();
    if let Some(problem) = cluster.storage.problem(pod) {
        return Decision::Unschedulable(Diagnosis::whole(total, problem.message()));
    }
    if let Some(problem) = cluster.devices.problem(pod) {
        return Decision::Unschedulable(Diagnosis::without_claims(total, problem));
    }
    let names = pod.node_affinity.names.as_ref();
    if names.is_some_and(BTreeSet::is_empty) {
        return Decision::Unschedulable(Diagnosis::whole(total, "pod affinity terms conflict".to_owned()));
    }
    let mut diagnosis = Diagnosis::new(total);
    if names.is_some() {
        diagnosis.leave_out("node(s) didn't satisfy plugin(s) [NodeAffinity]");
    }
    let (choice, looked_at) = {
        let cluster = &*cluster;
        let view = View::of(cluster, steps.get());
        let extended = view.extended(pod);
        let filters = Filters::prepare(view, pod, &extended);
        if let Some(problem) = filters.devices.problem() {
            return Decision::Unschedulable(Diagnosis::without_claims(total, problem.to_owned()));
        }
        let (feasible, looked_at) = search(cluster, pod, &filters, &mut diagnosis);
        steps.set(filters.devices.steps_left());
        if filters.devices.has_claims() {
            diagnosis.with_claims(filters.devices.remedy());
        }
        let place = |node: &NodeInfo| Placement {
            node: node.name.clone(),
            allocations: filters.devices.allocations(&node.name),
            special: filters.devices.special(&node.name).cloned().map(Box::new),
            volumes: cluster.storage.choose(pod, node).unwrap_or_default(),
        };
        (best(cluster, pod, &filters, &feasible).map(place), looked_at)
    };
    cluster.cursor = cluster.cursor.wrapping_add(looked_at);
    match choice {
        Some(placement) => Decision::Node(placement),
        None => Decision::Unschedulable(diagnosis),
    }
}

/// As many nodes that can take the pod as are enough, and how many were looked at from the cursor on to find them.
fn search<'a>(
    cluster: &'a Cluster,
    pod: &PodInfo,
    filters: &Filters<'a>,
    diagnosis: &mut Diagnosis,
) -> (Vec<&'a NodeInfo>, usize) {
    // A node that was emptied for this pod is asked first.
    let nominated = pod.nominated.as_deref().and_then(|name| cluster.node(name)).filter(|node| node.known);
    if let Some(node) = nominated.filter(|&node| filters.check(node).is_ok()) {
        return (vec![node], 0);
    }
    let wanted = feasible_wanted(cluster.node_count());
    let (mut feasible, mut looked_at) = (Vec::new(), 0);
    let nodes: Box<dyn Iterator<Item = &'a NodeInfo> + '_> = match &pod.node_affinity.names {
        Some(names) => Box::new(names.iter().filter_map(|name| cluster.node(name)).filter(|node| node.known)),
        None => Box::new(cluster.nodes_from_cursor()),
    };
    for node in nodes {
        looked_at += 1;
        match filters.check(node) {
            Ok(()) => feasible.push(node),
            Err(rejection) if rejection.everywhere => {
                diagnosis.reject_everywhere(&rejection);
                return (Vec::new(), looked_at);
            }
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

fn best<'a>(
    cluster: &Cluster,
    pod: &PodInfo,
    filters: &Filters<'_>,
    feasible: &[&'a NodeInfo],
) -> Option<&'a NodeInfo> {
    if let &[only] = feasible {
        return Some(only);
    }
    let scores = rank(cluster, pod, feasible, filters.devices.wishes(feasible));
    let top = *scores.iter().max()?;
    let winners: Vec<_> =
        feasible.iter().zip(&scores).filter(|(_, score)| **score == top).map(|(node, _)| *node).collect();
    winners.get(rand::rng().random_range(0..winners.len())).copied()
}
