//! Preemption: whom to evict so that a more important pod fits.
//!
//! On each node where eviction can help, all less important pods are taken away; if the pod fits then, as many as possible are
//! put back, those protected by disruption budgets first, then the most important ones. Of all such nodes the one that loses
//! least is chosen.

mod budget;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::cmp::Reverse;
use std::sync::Arc;

use rk_client::ObjectKey;

pub(crate) use budget::Budget;
use budget::Budgets;

use crate::diagnosis::Diagnosis;
use crate::filter::{Filters, STEPS, View};
use crate::model::{Cluster, NodeInfo, PodInfo, Preemption};

/// How many nodes are tried at most; upstream tries a tenth of the cluster, at least this many.
const MIN_CANDIDATES: usize = 100;

/// A node, and who must leave it.
#[derive(Debug, Clone)]
pub(crate) struct Eviction {
    pub(crate) node: String,
    /// The least important last.
    pub(crate) victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Finds the cheapest eviction that makes room for `pod`.
pub(crate) fn preempt(cluster: &Cluster, pod: &PodInfo, diagnosis: &Diagnosis, budgets: &[Budget]) -> Option<Eviction> {
    preempt_within(&Cell::new(STEPS), cluster, pod, diagnosis, budgets)
}

/// The same, with so many steps of the search for devices on all nodes together.
pub(crate) fn preempt_within(
    steps: &Cell<u64>,
    cluster: &Cluster,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    budgets: &[Budget],
) -> Option<Eviction> {
    if ineligible(cluster, pod, diagnosis).is_some() {
        return None;
    }
    let tries = (cluster.node_count() / 10).max(MIN_CANDIDATES);
    let nodes = diagnosis.candidates().filter_map(|name| cluster.node(name));
    let mut found: Vec<Eviction> = Vec::new();
    let mut harmless = false;
    for eviction in nodes.filter_map(|node| on_node(steps, cluster, pod, node, budgets)) {
        harmless |= eviction.violations == 0;
        found.push(eviction);
        // No budget is broken because others that need not be are behind the last one that was tried.
        if harmless && found.len() >= tries {
            break;
        }
    }
    found.into_iter().min_by_key(cost)
}

/// Why a pod may evict nobody, in upstream's words: by its policy, or since it has evicted already and its victims are still leaving. A node
/// that will not take it even then is not waited for.
pub(crate) fn ineligible(cluster: &Cluster, pod: &PodInfo, diagnosis: &Diagnosis) -> Option<&'static str> {
    if pod.preemption == Preemption::Never {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = pod.nominated.as_deref().filter(|name| diagnosis.candidates().any(|node| node == *name));
    let node = nominated.and_then(|name| cluster.node(name));
    let leave = |node: &NodeInfo| node.pods.values().any(|other| other.gives_way && other.priority < pod.priority);
    node.is_some_and(leave).then_some("not eligible due to a terminating pod on the nominated node.")
}

fn on_node(
    steps: &Cell<u64>,
    cluster: &Cluster,
    pod: &PodInfo,
    node: &NodeInfo,
    budgets: &[Budget],
) -> Option<Eviction> {
    let mut trial = node.clone();
    let mut lesser: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lesser.is_empty() {
        return None;
    }
    for other in &lesser {
        trial.remove_pod(&other.key);
    }
    if !fits(steps, cluster, pod, &trial) {
        return None;
    }
    // The most important, and among equals the longest-running, has the best chance to stay.
    lesser.sort_by_key(|other| (Reverse(other.priority), other.started));
    let mut allowances = Budgets::new(budgets);
    let (protected, free): (Vec<_>, Vec<_>) = lesser.into_iter().partition(|other| allowances.violates(other));
    let protected_keys: Vec<ObjectKey> = protected.iter().map(|other| other.key.clone()).collect();
    let mut victims: Vec<Arc<PodInfo>> = Vec::new();
    for other in protected.into_iter().chain(free) {
        trial.add_pod(Arc::clone(&other));
        if !fits(steps, cluster, pod, &trial) {
            trial.remove_pod(&other.key);
            victims.push(other);
        }
    }
    // Nobody leaves only because it was not found out whether he may stay.
    if steps.get() == 0 {
        return None;
    }
    victims.sort_by_key(|other| (Reverse(other.priority), other.started));
    let violations = victims.iter().filter(|other| protected_keys.contains(&other.key)).count();
    (!victims.is_empty()).then(|| Eviction { node: node.name.clone(), victims, violations })
}

fn fits(steps: &Cell<u64>, cluster: &Cluster, pod: &PodInfo, trial: &NodeInfo) -> bool {
    let view = View { cluster, replaced: Some(trial), steps: steps.get() };
    let extended = view.extended(pod);
    let filters = Filters::prepare(view, pod, &extended);
    let fits = filters.check(trial).is_ok();
    steps.set(filters.devices.steps_left());
    fits
}

/// Upstream's order: budgets broken, then the importance of the most important victim, their sum, their number, and last the
/// start of the longest-running among the most important.
fn cost(eviction: &Eviction) -> (usize, i32, i64, usize, Reverse<Option<jiff::Timestamp>>) {
    let highest = eviction.victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
    // Priorities may be negative; shifted, more victims always cost more.
    let sum = eviction.victims.iter().map(|victim| i64::from(victim.priority) - i64::from(i32::MIN) + 1).sum();
    let earliest = eviction.victims.iter().filter(|victim| victim.priority == highest).map(|v| v.started).min();
    (eviction.violations, highest, sum, eviction.victims.len(), Reverse(earliest))
}
