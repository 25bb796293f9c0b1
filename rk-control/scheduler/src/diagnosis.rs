//! Why a pod fits nowhere, in the words that users search for.

use std::collections::BTreeMap;

use rk_client::ObjectKey;

use crate::filter::Rejection;

/// What stood in the way, per node or for the pod as a whole.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    nodes: usize,
    /// Set when the pod fails before any node is looked at.
    whole: Option<String>,
    rejected: Vec<(String, Rejection)>,
    /// Why nodes that were not asked did not come into question.
    left_out: Option<&'static str>,
    /// What came of looking for claims whose devices could be freed; `None` when the pod failed before its claims were looked at.
    claims: Option<&'static str>,
    remedy: Option<Remedy>,
}

/// What is to be done about a claim so that its pod may fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// It is freed of its devices, which keep the pod off nodes.
    Free(ObjectKey),
    /// It is deleted: an earlier attempt to place the pod made it for extended resources.
    Delete(ObjectKey),
}

/// No claim of the pod has devices that stand in its way.
const NO_CLAIMS: &str = "no new claims to deallocate";
/// Upstream's word where the claims were not looked at yet; no pod is evicted then, and nothing is said of that.
const NOT_LOOKED_AT: &str = "not found";

impl Diagnosis {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, claims: Some(NO_CLAIMS), ..Self::default() }
    }

    /// The pod fails whatever the node.
    pub(crate) fn whole(nodes: usize, reason: String) -> Self {
        Self { nodes, whole: Some(reason), ..Self::default() }
    }

    /// The pod fails whatever the node, because its claims of devices are not there or cannot be met.
    pub(crate) fn without_claims(nodes: usize, reason: String) -> Self {
        Self { claims: Some(NO_CLAIMS), ..Self::whole(nodes, reason) }
    }

    /// The pod has claims of devices, about one of which something may be done.
    pub(crate) fn with_claims(&mut self, remedy: Option<Remedy>) {
        self.claims = Some(match remedy {
            Some(Remedy::Free(_)) => "deallocation of ResourceClaim completed",
            Some(Remedy::Delete(_)) => "deletion of ResourceClaim completed",
            None => "still not schedulable",
        });
        self.remedy = remedy;
    }

    /// What is to be done about a claim.
    pub(crate) fn remedy(&self) -> Option<&Remedy> {
        self.remedy.as_ref()
    }

    /// A node was asked and tells that none has to be.
    pub(crate) fn reject_everywhere(&mut self, rejection: &Rejection) {
        self.rejected.clear();
        self.whole = Some(rejection.reasons.join(", "));
    }

    /// Only some nodes are asked, the others not for this reason.
    pub(crate) fn leave_out(&mut self, reason: &'static str) {
        self.left_out = Some(reason);
    }

    pub(crate) fn reject(&mut self, node: &str, rejection: Rejection) {
        self.rejected.push((node.to_owned(), rejection));
    }

    /// Nodes on which evicting pods could help.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &str> {
        self.rejected.iter().filter(|(_, rejection)| rejection.evicting_helps).map(|(node, _)| node.as_str())
    }

    /// The message of the pod's condition and event; `preemption` says what came of evicting others.
    #[must_use]
    pub fn message(&self, preemption: &str) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let detail = match &self.whole {
            Some(reason) => format!(" {reason}."),
            None => self.histogram().map_or_else(String::new, |text| format!(" {text}.")),
        };
        let after = match self.claims {
            _ if preemption.is_empty() => String::new(),
            Some(claims) => format!(" {claims}, preemption: {preemption}"),
            None => format!(" {NOT_LOOKED_AT}"),
        };
        format!("0/{} nodes are available:{detail}{after}", self.nodes)
    }

    /// What preemption could not do: the text that follows `preemption:`.
    #[must_use]
    pub fn no_victims(&self) -> String {
        if self.whole.is_some() {
            return format!(
                "0/{} nodes are available: {} Preemption is not helpful for scheduling.",
                self.nodes, self.nodes
            );
        }
        let helpful = self.candidates().count();
        let mut parts = Vec::new();
        if helpful > 0 {
            parts.push(format!("{helpful} No preemption victims found for incoming pod"));
        }
        if self.nodes > helpful {
            parts.push(format!("{} Preemption is not helpful for scheduling", self.nodes - helpful));
        }
        format!("0/{} nodes are available: {}.", self.nodes, parts.join(", "))
    }

    /// `1 Insufficient cpu, 2 node(s) …`, sorted as text like upstream's.
    fn histogram(&self) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.rejected.iter().flat_map(|(_, rejection)| &rejection.reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let others = self.nodes.saturating_sub(self.rejected.len());
        if let Some(reason) = self.left_out.filter(|_| others > 0) {
            counts.insert(reason, others);
        }
        let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
