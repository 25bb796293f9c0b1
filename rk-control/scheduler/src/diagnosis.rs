//! Why a pod fits nowhere, in the words that users search for.

use std::collections::BTreeMap;

use crate::filter::Rejection;

/// What stood in the way, per node or for the pod as a whole.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    nodes: usize,
    /// Set when the pod fails before any node is looked at.
    whole: Option<String>,
    rejected: Vec<(String, Rejection)>,
}

impl Diagnosis {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// The pod fails whatever the node.
    pub(crate) fn whole(nodes: usize, reason: String) -> Self {
        Self { nodes, whole: Some(reason), rejected: Vec::new() }
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
        let preemption = if preemption.is_empty() { String::new() } else { format!(" preemption: {preemption}") };
        format!("0/{} nodes are available:{detail}{preemption}", self.nodes)
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
        let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
