//! On which nodes a DaemonSet has a pod.

use crate::node_selector;
use crate::taint_eviction::tolerates;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Toleration,
};

/// Taints that every daemon tolerates: it is there to serve the node in trouble.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Tolerations added to a daemon's pod.
pub(super) fn add_tolerations(spec: &mut PodSpec) {
    let host_network = spec.host_network == Some(true);
    let own = spec.tolerations.get_or_insert_default();
    let extra = host_network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(extra) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !own.contains(&toleration) {
            own.push(toleration);
        }
    }
}

/// Ties a pod to one node; the scheduler still checks whether it fits.
pub(super) fn pin(spec: &mut PodSpec, node: &str) {
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let nodes: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    match &mut nodes.required_during_scheduling_ignored_during_execution {
        Some(required) if !required.node_selector_terms.is_empty() => {
            for term in &mut required.node_selector_terms {
                term.match_fields = Some(vec![by_name.clone()]);
            }
        }
        required => {
            let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), match_expressions: None };
            *required = Some(NodeSelector { node_selector_terms: vec![term] });
        }
    }
}

/// The node that [`pin`] tied a pod to.
pub(super) fn pinned(spec: &PodSpec) -> Option<&str> {
    let required =
        spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let field = required
        .node_selector_terms
        .iter()
        .flat_map(|t| t.match_fields.iter().flatten())
        .find(|f| f.key == "metadata.name")?;
    field.values.as_ref()?.first().map(String::as_str)
}

/// Whether a new pod should go to the node, and whether one that is there may stay.
pub(super) fn verdict(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let Some(mut spec) = set.spec.as_ref().and_then(|s| s.template.spec.clone()) else { return (false, false) };
    let named = spec.node_name.as_deref().is_none_or(|n| n.is_empty() || Some(n) == node.metadata.name.as_deref());
    if !named || !node_selector::admits(&spec, node) {
        return (false, false);
    }
    add_tolerations(&mut spec);
    let tolerations = spec.tolerations.unwrap_or_default();
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    let (mut should_run, mut may_stay) = (true, true);
    for taint in taints.filter(|t| !tolerations.iter().any(|own| tolerates(own, t))) {
        should_run &= taint.effect == "PreferNoSchedule";
        may_stay &= taint.effect != "NoExecute";
    }
    (should_run, may_stay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(spec: Value) -> DaemonSet {
        serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": spec}}})).expect("valid")
    }

    fn node(labels: Value, taints: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}, "spec": {"taints": taints}}))
            .expect("valid")
    }

    #[test]
    fn daemons_follow_labels_and_taints() {
        let plain = json!({"containers": []});
        let picky = json!({"containers": [], "nodeSelector": {"disk": "ssd"}});
        let dedicated = json!([{"key": "dedicated", "effect": "NoSchedule"}]);
        let evicting = json!([{"key": "gone", "effect": "NoExecute"}]);
        let trouble = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        let cases = [
            (plain.clone(), node(json!({}), json!([])), (true, true)),
            (picky.clone(), node(json!({}), json!([])), (false, false)),
            (picky, node(json!({"disk": "ssd"}), json!([])), (true, true)),
            (plain.clone(), node(json!({}), dedicated), (false, true)),
            (plain.clone(), node(json!({}), evicting), (false, false)),
            (plain, node(json!({}), trouble), (true, true)),
        ];
        for (spec, node, expected) in cases {
            assert_eq!(verdict(&set(spec.clone()), &node), expected, "{spec} {node:?}");
        }
    }

    #[test]
    fn a_pinned_pod_tells_its_node() {
        let mut spec = PodSpec::default();
        pin(&mut spec, "n7");
        assert_eq!(pinned(&spec), Some("n7"));
    }
}
