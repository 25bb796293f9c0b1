//! What those who give resources would like, and what comes of it when all are heard.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Numa;
use super::mask::NodeMask;

/// Memory nodes that a resource could come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// The nodes; `None` means any.
    pub nodes: Option<NodeMask>,
    /// Whether no smaller set could ever do.
    pub preferred: bool,
}

/// The hints of one provider by resource. `None` is no wish, an empty list says that nothing can do.
pub type Hints = BTreeMap<String, Option<Vec<Hint>>>;

/// What all providers say, as lists to choose one hint of each.
pub fn gather(providers: &[Hints]) -> Vec<Vec<Hint>> {
    let any = || vec![Hint { nodes: None, preferred: true }];
    let list = |wish: &Option<Vec<Hint>>| match wish {
        None => any(),
        Some(hints) if hints.is_empty() => vec![Hint { nodes: None, preferred: false }],
        Some(hints) => hints.clone(),
    };
    let of = |hints: &Hints| if hints.is_empty() { vec![any()] } else { hints.values().map(list).collect() };
    providers.iter().flat_map(of).collect()
}

/// One more hint beside those that were chosen so far: nodes that are in all, preferred as long as all prefer the same.
fn combine(so_far: Hint, next: Hint) -> Hint {
    let preferred = so_far.preferred && next.preferred;
    match (so_far.nodes, next.nodes) {
        (nodes, None) | (None, nodes) => Hint { nodes, preferred },
        (Some(a), Some(b)) => Hint { nodes: Some(a.and(b)), preferred: preferred && a == b },
    }
}

/// The best choice of one hint of each list, over all choices. Choices that come to the same are counted once, so that the work
/// is bounded by the number of node sets, not by the product of the lists.
pub fn merge(numa: &Numa, lists: &[Vec<Hint>], closest: bool) -> Hint {
    let mut choices = BTreeSet::from([Hint { nodes: None, preferred: true }]);
    for list in lists {
        choices = choices.iter().flat_map(|chosen| list.iter().map(|hint| combine(*chosen, *hint))).collect();
    }
    let fewest = |list: &Vec<Hint>| list.iter().filter_map(|hint| hint.nodes).map(NodeMask::count).min();
    let wanted = lists.iter().filter_map(fewest).max().unwrap_or(0);
    let order = Order { numa, closest, wanted };
    let mut best: Option<(NodeMask, bool)> = None;
    for choice in choices {
        let candidate = (choice.nodes.unwrap_or(numa.all()).and(numa.all()), choice.preferred);
        if candidate.0.count() > 0 && best.is_none_or(|best| order.better(best, candidate)) {
            best = Some(candidate);
        }
    }
    let (nodes, preferred) = best.unwrap_or((numa.all(), false));
    Hint { nodes: Some(nodes), preferred }
}

/// What is better than what.
struct Order<'a> {
    numa: &'a Numa,
    closest: bool,
    /// As many nodes as the most demanding resource needs: what is not preferred should come near that.
    wanted: u32,
}

impl Order<'_> {
    fn narrower(&self, current: NodeMask, candidate: NodeMask) -> bool {
        if self.closest && current.count() == candidate.count() {
            let (now, then) = (self.numa.spread(current), self.numa.spread(candidate));
            if now != then {
                return then < now;
            }
        }
        candidate.narrower(current)
    }

    fn better(&self, (current, is_preferred): (NodeMask, bool), (candidate, preferred): (NodeMask, bool)) -> bool {
        if is_preferred || preferred {
            return preferred && (!is_preferred || self.narrower(current, candidate));
        }
        let (now, then) = (current.count(), candidate.count());
        if now > self.wanted {
            return self.narrower(current, candidate);
        }
        if now == self.wanted || then > self.wanted {
            return now == then && self.narrower(current, candidate);
        }
        then > now || (then == now && self.narrower(current, candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::MemoryNode;
    use super::*;

    fn numa(count: usize) -> Numa {
        // Neighbours are near, in a ring.
        let distance = |a: usize, b: usize| match a.abs_diff(b).min(count - a.abs_diff(b)) {
            0 => 10,
            1 => 20,
            _ => 30,
        };
        let node =
            |id| MemoryNode { id, distances: (0..count).map(|to| distance(id, to)).collect(), ..Default::default() };
        Numa((0..count).map(node).collect())
    }

    fn list(hints: &[(u64, bool)]) -> Option<Vec<Hint>> {
        Some(
            hints
                .iter()
                .map(|(mask, preferred)| Hint { nodes: Some(NodeMask(*mask)), preferred: *preferred })
                .collect(),
        )
    }

    fn hints(of: &[(&str, Option<Vec<Hint>>)]) -> Hints {
        of.iter().map(|(name, list)| ((*name).to_owned(), list.clone())).collect()
    }

    #[test]
    fn the_best_choice_is_preferred_by_all_then_narrow_then_near() {
        let both = &[(1, true), (2, true), (3, false)][..];
        for (name, lists, closest, want) in [
            ("nobody wishes", vec![Hints::new()], false, (3, true)),
            ("no wish for one resource", vec![hints(&[("gpu", None)])], false, (3, true)),
            ("nothing can do", vec![hints(&[("gpu", Some(Vec::new()))])], false, (3, false)),
            ("the lowest of equals", vec![hints(&[("cpu", list(both))])], false, (1, true)),
            (
                "both agree",
                vec![hints(&[("cpu", list(both))]), hints(&[("gpu", list(&[(2, true), (3, false)]))])],
                false,
                (2, true),
            ),
            (
                "they do not agree",
                vec![hints(&[("cpu", list(&[(1, true)]))]), hints(&[("gpu", list(&[(2, true)]))])],
                false,
                (3, false),
            ),
            (
                "one bends",
                vec![hints(&[("cpu", list(&[(1, true), (3, false)]))]), hints(&[("gpu", list(&[(2, true)]))])],
                false,
                (2, false),
            ),
            ("wide is preferred", vec![hints(&[("cpu", list(&[(3, true)]))])], false, (3, true)),
            (
                "two resources of one provider",
                vec![hints(&[("cpu", list(both)), ("nic", list(&[(2, true)]))])],
                false,
                (2, true),
            ),
        ] {
            let merged = merge(&numa(2), &gather(&lists), closest);
            assert_eq!((merged.nodes.unwrap().0, merged.preferred), want, "{name}");
        }
        let pairs = list(&[(0b0101, true), (0b0011, true), (0b0110, true), (0b1001, true)]);
        let lists = gather(&[hints(&[("cpu", pairs.clone())])]);
        assert_eq!(merge(&numa(4), &lists, false).nodes, Some(NodeMask(0b0011)));
        let lists = gather(&[hints(&[("cpu", list(&[(0b0101, true), (0b1100, true)]))])]);
        assert_eq!(merge(&numa(4), &lists, false).nodes, Some(NodeMask(0b0101)));
        assert_eq!(merge(&numa(4), &lists, true).nodes, Some(NodeMask(0b1100)), "nearer");
    }

    #[test]
    fn what_is_not_preferred_comes_near_to_what_the_most_demanding_needs() {
        // CPUs fit nowhere but on two nodes; the device is on either.
        let lists = gather(&[
            hints(&[("cpu", list(&[(0b011, false), (0b111, false)]))]),
            hints(&[("gpu", list(&[(0b001, true), (0b011, false), (0b111, false)]))]),
        ]);
        assert_eq!(merge(&numa(3), &lists, false), Hint { nodes: Some(NodeMask(0b011)), preferred: false });
    }

    #[test]
    fn many_nodes_and_resources_are_merged_in_bounded_work() {
        let all: Vec<(u64, bool)> = (1..256).map(|mask: u64| (mask, mask.count_ones() == 1)).collect();
        let of: Vec<Hints> = (0..12).map(|n| hints(&[(&format!("r{n}"), list(&all))])).collect();
        assert_eq!(merge(&numa(8), &gather(&of), true), Hint { nodes: Some(NodeMask(1)), preferred: true });
    }
}
