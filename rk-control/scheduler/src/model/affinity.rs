//! Terms about nodes and about other pods, compiled.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use rk_client::{LabelMatcher, Labels, SelectorError};

/// A preference and its weight, 1 to 100.
#[derive(Debug, Clone)]
pub(crate) struct Weighted<T> {
    pub(crate) weight: i64,
    pub(crate) term: T,
}

/// One term about nodes: labels and the node's own name.
#[derive(Debug, Clone)]
struct NodeTerm {
    labels: LabelMatcher,
    fields: LabelMatcher,
    empty: bool,
}

impl NodeTerm {
    fn new(term: &NodeSelectorTerm) -> Result<Self, SelectorError> {
        let labels = requirements(term.match_expressions.as_deref())?;
        let fields = requirements(term.match_fields.as_deref())?;
        let empty = labels.is_everything() && fields.is_everything();
        Ok(Self { labels, fields, empty })
    }

    /// An empty term matches no node.
    fn matches(&self, name: &str, labels: &Labels) -> bool {
        let fields = Labels::from([("metadata.name".to_owned(), name.to_owned())]);
        !self.empty && self.labels.matches(Some(labels)) && self.fields.matches(Some(&fields))
    }
}

fn requirements(list: Option<&[NodeSelectorRequirement]>) -> Result<LabelMatcher, SelectorError> {
    list.into_iter().flatten().try_fold(LabelMatcher::everything(), |matcher, requirement| {
        matcher.and(&requirement.key, &requirement.operator, requirement.values.as_deref().unwrap_or_default())
    })
}

/// Alternatives, one of which must match a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeTerms(Vec<NodeTerm>);

impl NodeTerms {
    /// Compiles the terms of a node selector.
    pub(crate) fn new(terms: &[NodeSelectorTerm]) -> Result<Self, SelectorError> {
        terms.iter().map(NodeTerm::new).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a node with this name and these labels matches.
    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.0.iter().any(|term| term.matches(name, labels))
    }
}

/// The nodes that alternatives name, where each of them names some; one that does so twice means those of both.
fn named(terms: &[NodeSelectorTerm]) -> Option<BTreeSet<String>> {
    let of_term = |term: &NodeSelectorTerm| {
        let fields = term.match_fields.iter().flatten();
        let names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        let sets = names.map(|field| field.values.iter().flatten().cloned().collect::<BTreeSet<String>>());
        sets.reduce(|all, more| &all & &more)
    };
    let all: Vec<BTreeSet<String>> = terms.iter().map(of_term).collect::<Option<_>>()?;
    (!all.is_empty()).then(|| all.into_iter().flatten().collect())
}

/// What a pod demands and prefers of nodes: `nodeSelector` and node affinity.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeAffinity {
    /// The only nodes that come into question, where it names them, as pods of DaemonSets do.
    pub(crate) names: Option<BTreeSet<String>>,
    selector: LabelMatcher,
    required: Option<NodeTerms>,
    preferred: Vec<Weighted<NodeTerms>>,
}

impl NodeAffinity {
    pub(super) fn new(spec: &PodSpec) -> Result<Self, SelectorError> {
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
        Ok(Self {
            names: required.and_then(|selector| named(&selector.node_selector_terms)),
            selector: LabelMatcher::of_map(spec.node_selector.as_ref()),
            required: required.map(|selector| NodeTerms::new(&selector.node_selector_terms)).transpose()?,
            preferred: preferred
                .into_iter()
                .flatten()
                .map(|term| {
                    let terms = NodeTerms::new(std::slice::from_ref(&term.preference))?;
                    Ok(Weighted { weight: term.weight.into(), term: terms })
                })
                .collect::<Result<_, SelectorError>>()?,
        })
    }

    /// Whether the pod may run on the node.
    pub(crate) fn admits(&self, name: &str, labels: &Labels) -> bool {
        self.selector.matches(Some(labels)) && self.required.as_ref().is_none_or(|terms| terms.matches(name, labels))
    }

    /// The weights of the preferences that the node meets, summed.
    pub(crate) fn preference(&self, name: &str, labels: &Labels) -> i64 {
        self.preferred.iter().filter(|p| p.term.matches(name, labels)).map(|p| p.weight).sum()
    }
}

/// One term about other pods.
#[derive(Debug, Clone)]
pub(crate) struct PodTerm {
    namespaces: Vec<String>,
    namespace_labels: Option<LabelMatcher>,
    selector: LabelMatcher,
    pub(crate) topology_key: String,
}

impl PodTerm {
    fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Result<Self, SelectorError> {
        let named = term.namespaces.clone().unwrap_or_default();
        let own = named.is_empty() && term.namespace_selector.is_none();
        let mut selector = LabelMatcher::new(term.label_selector.as_ref())?;
        selector = with_label_keys(selector, term.match_label_keys.as_deref(), "In", labels)?;
        selector = with_label_keys(selector, term.mismatch_label_keys.as_deref(), "NotIn", labels)?;
        Ok(Self {
            namespaces: if own { vec![namespace.to_owned()] } else { named },
            namespace_labels: term.namespace_selector.as_ref().map(namespace_matcher).transpose()?,
            selector,
            topology_key: term.topology_key.clone(),
        })
    }

    /// Whether a pod in `namespace`, whose namespace has `namespace_labels`, is one that the term speaks of.
    pub(crate) fn matches(&self, namespace: &str, namespace_labels: Option<&Labels>, labels: &Labels) -> bool {
        let named = self.namespaces.iter().any(|name| name == namespace);
        let selected = || self.namespace_labels.as_ref().is_some_and(|matcher| matcher.matches(namespace_labels));
        (named || selected()) && self.selector.matches(Some(labels))
    }
}

fn namespace_matcher(selector: &LabelSelector) -> Result<LabelMatcher, SelectorError> {
    LabelMatcher::new(Some(selector))
}

/// Adds the values of the pod's own labels to a selector (KEP-3633, KEP-3243).
pub(super) fn with_label_keys(
    selector: LabelMatcher,
    keys: Option<&[String]>,
    operator: &str,
    labels: &Labels,
) -> Result<LabelMatcher, SelectorError> {
    keys.into_iter().flatten().try_fold(selector, |selector, key| match labels.get(key) {
        Some(value) => selector.and(key, operator, std::slice::from_ref(value)),
        None => Ok(selector),
    })
}

/// What a pod demands and prefers of the pods around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodAffinity {
    pub(crate) required: Vec<PodTerm>,
    pub(crate) required_anti: Vec<PodTerm>,
    /// Preferences; the weight is negative for anti-affinity.
    pub(crate) preferred: Vec<Weighted<PodTerm>>,
}

impl PodAffinity {
    pub(super) fn new(spec: &PodSpec, namespace: &str, labels: &Labels) -> Result<Self, SelectorError> {
        let Some(affinity) = &spec.affinity else { return Ok(Self::default()) };
        let compile = |terms: Option<&[PodAffinityTerm]>| -> Result<Vec<PodTerm>, SelectorError> {
            terms.into_iter().flatten().map(|term| PodTerm::new(term, namespace, labels)).collect()
        };
        let near = affinity.pod_affinity.as_ref();
        let apart = affinity.pod_anti_affinity.as_ref();
        let wished_near = near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
        let wished_apart = apart.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
        let signed = wished_near.into_iter().flatten().map(|t| (1, t));
        let signed = signed.chain(wished_apart.into_iter().flatten().map(|t| (-1, t)));
        let preferred = signed.map(|(sign, term)| {
            let compiled = PodTerm::new(&term.pod_affinity_term, namespace, labels)?;
            Ok(Weighted { weight: sign * i64::from(term.weight), term: compiled })
        });
        Ok(Self {
            required: compile(near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()))?,
            required_anti: compile(
                apart.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()),
            )?,
            preferred: preferred.collect::<Result<_, SelectorError>>()?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.required_anti.is_empty() && self.preferred.is_empty()
    }
}
