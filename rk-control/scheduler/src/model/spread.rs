//! Topology spread constraints, compiled.

use k8s_openapi::api::core::v1::{PodSpec, TopologySpreadConstraint};
use rk_client::{LabelMatcher, Labels, SelectorError};

use super::affinity::with_label_keys;

/// What happens when a constraint cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsatisfiable {
    /// The pod waits.
    DoNotSchedule,
    /// The constraint only ranks nodes.
    ScheduleAnyway,
}

/// One constraint.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    pub(crate) max_skew: i64,
    pub(crate) topology_key: String,
    pub(crate) selector: LabelMatcher,
    pub(crate) when: Unsatisfiable,
    pub(crate) min_domains: i64,
    /// Count only nodes that the pod's node affinity admits.
    pub(crate) honor_affinity: bool,
    /// Count only nodes whose taints the pod tolerates.
    pub(crate) honor_taints: bool,
}

impl Spread {
    pub(super) fn all(spec: &PodSpec, labels: &Labels) -> Result<Vec<Self>, SelectorError> {
        spec.topology_spread_constraints.iter().flatten().map(|constraint| Self::new(constraint, labels)).collect()
    }

    fn new(constraint: &TopologySpreadConstraint, labels: &Labels) -> Result<Self, SelectorError> {
        let selector = LabelMatcher::new(constraint.label_selector.as_ref())?;
        Ok(Self {
            max_skew: constraint.max_skew.into(),
            topology_key: constraint.topology_key.clone(),
            selector: with_label_keys(selector, constraint.match_label_keys.as_deref(), "In", labels)?,
            when: match constraint.when_unsatisfiable.as_str() {
                "ScheduleAnyway" => Unsatisfiable::ScheduleAnyway,
                _ => Unsatisfiable::DoNotSchedule,
            },
            min_domains: constraint.min_domains.unwrap_or(1).into(),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        })
    }
}
