//! Required affinity and anti-affinity between pods.

use std::collections::{HashMap, HashSet};

use super::{Rejection, View};
use crate::model::{Cluster, NodeInfo, PodInfo, PodTerm};

/// A topology domain: the value of a label key.
type Domain = (String, String);

/// Where the pod must not or may be because of other pods.
#[derive(Default)]
pub(super) struct AffinityState {
    /// Domains that pods already running keep free of pods like this one.
    kept_free: HashSet<Domain>,
    /// Domains with pods that satisfy all of this pod's affinity terms.
    near: HashMap<Domain, usize>,
    /// For each anti-affinity term, the domains that it forbids.
    apart: HashSet<(usize, String)>,
    /// No pod satisfies the affinity terms yet, but this one would itself: the first of a group may start anywhere.
    first_of_group: bool,
}

impl AffinityState {
    pub(super) fn new(view: View<'_>, pod: &PodInfo) -> Self {
        let mut state = Self::default();
        // Who has no terms is the concern of those alone who have some.
        for node in view.nodes().filter(|node| pod.has_terms() || node.pods_with_terms > 0) {
            for other in node.pods.values().filter(|other| other.key != pod.key) {
                state.count(view.cluster, pod, other, node);
            }
        }
        state.first_of_group = state.near.is_empty() && all_match(view.cluster, &pod.affinity.required, pod);
        state
    }

    fn count(&mut self, cluster: &Cluster, pod: &PodInfo, other: &PodInfo, node: &NodeInfo) {
        for term in other.affinity.required_anti.iter().filter(|term| matches(cluster, term, pod)) {
            self.kept_free.extend(domain(term, node));
        }
        let required = &pod.affinity.required;
        if !required.is_empty() && all_match(cluster, required, other) {
            for domain in required.iter().filter_map(|term| domain(term, node)) {
                *self.near.entry(domain).or_default() += 1;
            }
        }
        for (index, term) in pod.affinity.required_anti.iter().enumerate() {
            if let Some((_, value)) = domain(term, node).filter(|_| matches(cluster, term, other)) {
                self.apart.insert((index, value));
            }
        }
    }

    pub(super) fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
        let near = |term: &PodTerm| domain(term, node).is_some_and(|domain| self.near.contains_key(&domain));
        let labelled = |term: &PodTerm| node.labels.contains_key(&term.topology_key);
        let required = &pod.affinity.required;
        let may_begin = self.first_of_group && required.iter().all(labelled);
        if !may_begin && !required.iter().all(near) {
            return Err(Rejection::final_("node(s) didn't match pod affinity rules"));
        }
        let apart = |(index, term): (usize, &PodTerm)| {
            domain(term, node).is_some_and(|(_, value)| self.apart.contains(&(index, value)))
        };
        if pod.affinity.required_anti.iter().enumerate().any(apart) {
            return Err(Rejection::crowded("node(s) didn't match pod anti-affinity rules"));
        }
        let kept_free = |(key, value): &Domain| node.labels.get(key) == Some(value);
        if self.kept_free.iter().any(kept_free) {
            return Err(Rejection::crowded("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

fn domain(term: &PodTerm, node: &NodeInfo) -> Option<Domain> {
    node.labels.get(&term.topology_key).map(|value| (term.topology_key.clone(), value.clone()))
}

/// Whether `term` speaks of `pod`.
pub(crate) fn matches(cluster: &Cluster, term: &PodTerm, pod: &PodInfo) -> bool {
    let namespace = &pod.key.namespace;
    term.matches(namespace, cluster.namespace_labels(namespace), &pod.labels)
}

fn all_match(cluster: &Cluster, terms: &[PodTerm], pod: &PodInfo) -> bool {
    terms.iter().all(|term| matches(cluster, term, pod))
}
