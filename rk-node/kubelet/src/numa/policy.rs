//! Whether what came of the hints will do.

use super::hint::{Hint, Hints, gather, merge};
use super::machine::Numa;

/// `topologyManagerPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopologyPolicy {
    /// Nobody is asked.
    #[default]
    None,
    /// The best that there is.
    BestEffort,
    /// What all prefer, else the pod is refused.
    Restricted,
    /// One node for everything, else the pod is refused.
    SingleNumaNode,
}

/// `topologyManagerScope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each container by itself.
    #[default]
    Container,
    /// All containers of a pod together.
    Pod,
}

/// How pods are aligned on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyRules {
    /// What will do.
    pub policy: TopologyPolicy,
    /// For whom.
    pub scope: Scope,
    /// Of sets of one size the one whose nodes are nearest (`prefer-closest-numa-nodes`).
    pub closest: bool,
    /// Machines with more nodes than this are not aligned: the sets of nodes double with each (`max-allowable-numa-nodes`).
    pub most_nodes: usize,
}

impl Default for TopologyRules {
    fn default() -> Self {
        Self { policy: TopologyPolicy::None, scope: Scope::Container, closest: false, most_nodes: 8 }
    }
}

impl TopologyRules {
    /// The nodes to use, or `None` when the pod is to be refused.
    pub fn decide(&self, numa: &Numa, providers: &[Hints]) -> Option<Hint> {
        let mut lists = gather(providers);
        match self.policy {
            TopologyPolicy::None => return Some(Hint::default()),
            TopologyPolicy::BestEffort => return Some(merge(numa, &lists, self.closest)),
            TopologyPolicy::Restricted => {}
            TopologyPolicy::SingleNumaNode => {
                for list in &mut lists {
                    list.retain(|hint| hint.preferred && hint.nodes.is_none_or(|nodes| nodes.count() == 1));
                }
            }
        }
        let mut best = merge(numa, &lists, self.closest);
        if self.policy == TopologyPolicy::SingleNumaNode && best.nodes == Some(numa.all()) {
            // All nodes is what comes of no wish at all.
            best.nodes = None;
        }
        best.preferred.then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::MemoryNode;
    use super::super::mask::NodeMask;
    use super::*;

    #[test]
    fn policies_differ_in_what_will_do() {
        use TopologyPolicy::{BestEffort, None as Nothing, Restricted, SingleNumaNode};
        let numa = Numa((0..2).map(|id| MemoryNode { id, ..Default::default() }).collect());
        let one = &[(1, true), (3, false)][..];
        let wide = &[(3, true)][..];
        let other = &[(2, true), (3, false)][..];
        for (policy, cpu, gpu, want) in [
            (Nothing, one, other, Some(Hint::default())),
            (BestEffort, one, other, Some(Hint { nodes: Some(NodeMask(1)), preferred: false })),
            (Restricted, one, other, None),
            (SingleNumaNode, one, other, None),
            (Restricted, wide, wide, Some(Hint { nodes: Some(NodeMask(3)), preferred: true })),
            (SingleNumaNode, wide, wide, None),
            (Restricted, one, one, Some(Hint { nodes: Some(NodeMask(1)), preferred: true })),
            (SingleNumaNode, one, one, Some(Hint { nodes: Some(NodeMask(1)), preferred: true })),
        ] {
            let list = |of: &[(u64, bool)]| {
                let hint =
                    |(mask, preferred): &(u64, bool)| Hint { nodes: Some(NodeMask(*mask)), preferred: *preferred };
                Some(of.iter().map(hint).collect::<Vec<_>>())
            };
            let hints = [Hints::from([("cpu".into(), list(cpu))]), Hints::from([("gpu".into(), list(gpu))])];
            let rules = TopologyRules { policy, ..Default::default() };
            assert_eq!(rules.decide(&numa, &hints), want, "{policy:?} {cpu:?} {gpu:?}");
        }
        let rules = TopologyRules { policy: SingleNumaNode, ..Default::default() };
        assert_eq!(rules.decide(&numa, &[Hints::new()]), Some(Hint { nodes: None, preferred: true }));
    }
}
