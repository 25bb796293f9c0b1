//! Pod disruption budgets, as far as preemption respects them.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rk_client::{LabelMatcher, SelectorError};

use crate::model::PodInfo;

/// A budget's reach and what it still allows.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    namespace: String,
    selector: LabelMatcher,
    allowed: i32,
    /// Pods that are being evicted already and are counted in `allowed`.
    disrupted: Vec<String>,
}

impl Budget {
    pub(crate) fn new(budget: &PodDisruptionBudget) -> Result<Self, SelectorError> {
        let status = budget.status.as_ref();
        Ok(Self {
            namespace: budget.metadata.namespace.clone().unwrap_or_default(),
            selector: LabelMatcher::new(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))?,
            allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
            disrupted: status
                .into_iter()
                .flat_map(|s| s.disrupted_pods.iter().flatten())
                .map(|(n, _)| n.clone())
                .collect(),
        })
    }

    fn covers(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.key.namespace
            && self.selector.matches(Some(&pod.labels))
            && !self.disrupted.contains(&pod.key.name)
    }
}

/// Budgets while they are being used up.
pub(super) struct Budgets<'a>(Vec<(&'a Budget, i32)>);

impl<'a> Budgets<'a> {
    pub(super) fn new(budgets: &'a [Budget]) -> Self {
        Self(budgets.iter().map(|budget| (budget, budget.allowed)).collect())
    }

    /// Spends one disruption of each budget that covers the pod; whether one of them had none left.
    pub(super) fn violates(&mut self, pod: &PodInfo) -> bool {
        let mut violated = false;
        for (_, left) in self.0.iter_mut().filter(|(budget, _)| budget.covers(pod)) {
            *left -= 1;
            violated |= *left < 0;
        }
        violated
    }
}
