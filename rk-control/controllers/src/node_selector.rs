//! Node selectors, as far as controllers must follow them themselves.

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use rk_client::{LabelMatcher, Labels};

fn compile(requirements: Option<&Vec<NodeSelectorRequirement>>) -> Option<LabelMatcher> {
    let all = requirements.into_iter().flatten();
    all.clone().next()?;
    all.cloned()
        .try_fold(LabelMatcher::everything(), |m, r| {
            m.and(&r.key, &r.operator, r.values.as_deref().unwrap_or_default())
        })
        .ok()
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let name = Labels::from([("metadata.name".to_owned(), node.metadata.name.clone().unwrap_or_default())]);
    let has = |list: &Option<Vec<NodeSelectorRequirement>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let holds = |list: &Option<Vec<NodeSelectorRequirement>>, labels: Option<&Labels>| {
        !has(list) || compile(list.as_ref()).is_some_and(|m| m.matches(labels))
    };
    // A term without requirements matches nothing.
    (has(&term.match_expressions) || has(&term.match_fields))
        && holds(&term.match_expressions, node.metadata.labels.as_ref())
        && holds(&term.match_fields, Some(&name))
}

/// Whether one of the selector's terms matches the node.
pub(crate) fn matches(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// Whether a pod with this spec may run on the node as far as its node selector and required affinity go.
pub(crate) fn admits(spec: &PodSpec, node: &Node) -> bool {
    let selector = spec
        .node_selector
        .as_ref()
        .is_none_or(|s| LabelMatcher::of_map(Some(s)).matches(node.metadata.labels.as_ref()));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selector && required.is_none_or(|r| matches(r, node))
}
