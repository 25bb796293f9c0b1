//! Topology spread constraints that must hold (KEP-895).

use std::collections::HashMap;

use super::{Rejection, View};
use crate::model::{Effect, NodeInfo, PodInfo, Spread, Unsatisfiable, tolerated};

/// Pods per domain for each strict constraint of a pod.
pub(super) struct SpreadState<'a> {
    constraints: Vec<Counted<'a>>,
}

struct Counted<'a> {
    spread: &'a Spread,
    domains: HashMap<&'a str, i64>,
    /// The fewest pods in any domain, or 0 while there are fewer domains than the constraint wants.
    least: i64,
    /// Whether the pod itself counts.
    own: i64,
}

impl<'a> SpreadState<'a> {
    pub(super) fn new(view: View<'a>, pod: &'a PodInfo) -> Self {
        let strict: Vec<&Spread> = pod.spread.iter().filter(|s| s.when == Unsatisfiable::DoNotSchedule).collect();
        let constraints = strict.iter().map(|spread| count(view, pod, spread, &strict)).collect();
        Self { constraints }
    }

    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for Counted { spread, domains, least, own } in &self.constraints {
            let Some(domain) = node.labels.get(&spread.topology_key) else {
                return Err(Rejection::final_(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            };
            let here = domains.get(domain.as_str()).copied().unwrap_or(0);
            if here + own - least > spread.max_skew {
                return Err(Rejection::crowded("node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }
}

fn count<'a>(view: View<'a>, pod: &'a PodInfo, spread: &'a Spread, all: &[&Spread]) -> Counted<'a> {
    let mut domains: HashMap<&str, i64> = HashMap::new();
    for node in view.nodes() {
        let complete = all.iter().all(|s| node.labels.contains_key(&s.topology_key));
        let Some(domain) = node.labels.get(&spread.topology_key) else { continue };
        if complete && eligible(pod, spread, node) {
            *domains.entry(domain.as_str()).or_default() += matching(pod, spread, node);
        }
    }
    let enough = i64::try_from(domains.len()).unwrap_or(i64::MAX) >= spread.min_domains;
    let least = if enough { domains.values().copied().min().unwrap_or(0) } else { 0 };
    Counted { spread, domains, least, own: i64::from(spread.selector.matches(Some(&pod.labels))) }
}

/// Whether the constraint looks at the node at all.
pub(crate) fn eligible(pod: &PodInfo, spread: &Spread, node: &NodeInfo) -> bool {
    let tolerates = || {
        let mut strict = node.taints.iter().filter(|taint| taint.effect != Effect::PreferNoSchedule);
        strict.all(|taint| tolerated(&pod.tolerations, taint))
    };
    (!spread.honor_affinity || pod.node_affinity.admits(&node.name, &node.labels))
        && (!spread.honor_taints || tolerates())
}

/// How many pods on the node the constraint counts: by an empty selector none, as upstream has it.
pub(crate) fn matching(pod: &PodInfo, spread: &Spread, node: &NodeInfo) -> i64 {
    let counts = |other: &&std::sync::Arc<PodInfo>| {
        other.key.namespace == pod.key.namespace
            && !other.deleting
            && other.key != pod.key
            && spread.selector.matches(Some(&other.labels))
    };
    let all = if spread.selector.is_everything() { 0 } else { node.pods.values().filter(counts).count() };
    i64::try_from(all).unwrap_or(i64::MAX)
}
