//! Devices for one pod, thought over before they are held: those of plugins that tell which memory nodes theirs belong to.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::manager::is_extended;
use super::table::{Table, passing};
use crate::admission::{Refusal, unexpected};
use crate::claims::is_by_claim;
use crate::numa::{Hint, Hints, NodeMask, Provider, at_most};
use crate::pod::spec;
use crate::quantity::units_of;

/// Devices of one resource and their places; a device without one is as near to every node.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// All devices.
    pub all: BTreeMap<String, NodeMask>,
    /// Those that work.
    pub healthy: BTreeSet<String>,
}

/// What one pod is to get.
#[derive(Debug)]
pub struct DeviceDraft {
    /// Resources of which any device has a place.
    placed: BTreeMap<String, Places>,
    nodes: NodeMask,
    table: Table,
    held: Vec<(String, String)>,
}

/// How many devices of a resource a container asks its plugin for: none of what it gets by a claim.
pub(super) fn wanted(pod: &Pod, container: &Container, resource: &str) -> usize {
    if is_by_claim(pod, container, resource) {
        return 0;
    }
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    usize::try_from(units_of(limits, resource)).unwrap_or(0)
}

impl DeviceDraft {
    /// On top of what others hold, on a machine with these nodes.
    pub(super) fn new(mut placed: BTreeMap<String, Places>, nodes: NodeMask, table: Table) -> Self {
        placed.retain(|name, places| is_extended(name) && places.all.values().any(|mask| mask.count() > 0));
        Self { placed, nodes, table, held: Vec::new() }
    }

    /// Everything held, this pod's too, and what was held just now: containers and resources.
    pub(super) fn parts(self) -> (Table, Vec<(String, String)>) {
        (self.table, self.held)
    }

    fn free(&self, resource: &str, places: &Places, again: &BTreeSet<String>) -> BTreeSet<String> {
        let taken = self.table.taken(resource);
        places.healthy.iter().filter(|id| again.contains(*id) || !taken.contains(id)).cloned().collect()
    }

    /// What the container may have of what its pod's init containers had.
    fn again(&self, pod: &Pod, container: &Container, resource: &str) -> BTreeSet<String> {
        self.table.reusable(spec::uid(pod), &container.name, resource, &passing(pod))
    }

    fn sets(&self, places: &Places, free: &BTreeSet<String>, wanted: usize) -> Vec<Hint> {
        let near = |id: &String, mask: NodeMask| places.all.get(id).is_some_and(|at| at.and(mask).count() > 0);
        let masks: Vec<NodeMask> = self.nodes.subsets().collect();
        let could = |mask: &&NodeMask| places.all.keys().filter(|id| near(id, **mask)).count() >= wanted;
        let fewest = masks.iter().filter(could).map(|mask| mask.count()).min().unwrap_or(self.nodes.count());
        let fitting = masks.into_iter().filter(|mask| free.iter().filter(|id| near(id, *mask)).count() >= wanted);
        fitting.map(|mask| Hint { nodes: Some(mask), preferred: mask.count() == fewest }).collect()
    }

    fn hints_for(&self, wanted: impl Fn(&str) -> usize, again: impl Fn(&str) -> BTreeSet<String>) -> Hints {
        let of = |(name, places): (&String, &Places)| {
            let number = wanted(name);
            let hints = || self.sets(places, &self.free(name, places, &again(name)), number);
            (number > 0).then(|| (name.clone(), Some(hints())))
        };
        self.placed.iter().filter_map(of).collect()
    }
}

/// Devices near `nodes` first, then those of other nodes, then those without a place.
fn by_nearness<'a>(places: &Places, free: &'a BTreeSet<String>, nodes: Option<NodeMask>) -> Vec<&'a String> {
    let rank = |id: &&String| match (places.all.get(*id).copied().unwrap_or_default(), nodes) {
        (_, None) => 0,
        (at, Some(nodes)) if at.and(nodes).count() > 0 => 0,
        (at, Some(_)) if at.count() > 0 => 1,
        _ => 2,
    };
    let mut sorted: Vec<&String> = free.iter().collect();
    sorted.sort_by_key(rank);
    sorted
}

impl Provider for DeviceDraft {
    fn hints(&self, pod: &Pod, container: &Container) -> Hints {
        self.hints_for(|name| wanted(pod, container, name), |name| self.again(pod, container, name))
    }

    fn pod_hints(&self, pod: &Pod) -> Hints {
        let all = |name: &str| at_most(pod, |container| wanted(pod, container, name) as u64);
        self.hints_for(|name| usize::try_from(all(name)).unwrap_or(usize::MAX), |_| BTreeSet::new())
    }

    fn allocate(&mut self, pod: &Pod, container: &Container, hint: &Hint) -> Result<(), Refusal> {
        for (resource, places) in &self.placed {
            let number = wanted(pod, container, resource);
            if number == 0 || self.table.of(spec::uid(pod), &container.name, resource).is_some() {
                continue;
            }
            let again = self.again(pod, container, resource);
            let free = self.free(resource, places, &again);
            let first: Vec<String> = by_nearness(places, &free, hint.nodes).into_iter().cloned().collect();
            let ids = self.table.choose(resource, &places.healthy, number, &first, &again);
            let ids = ids.map_err(|text| unexpected(&text))?;
            self.table.hold(spec::uid(pod), &container.name, resource, ids);
            self.held.push((container.name.clone(), resource.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numa::{MemoryNode, Numa, TopologyPolicy, TopologyRules, place};
    use serde_json::json;

    #[test]
    fn devices_come_from_the_nodes_that_were_agreed_on() {
        let places = |of: &[(&str, u64)]| Places {
            all: of.iter().map(|(id, mask)| ((*id).to_owned(), NodeMask(*mask))).collect(),
            healthy: of.iter().map(|(id, _)| (*id).to_owned()).collect(),
        };
        let numa = Numa((0..2).map(|id| MemoryNode { id, ..Default::default() }).collect());
        let draft = || {
            let gpus = places(&[("g0", 1), ("g1", 2), ("g2", 2), ("gx", 0)]);
            let nics = places(&[("n0", 1), ("n1", 2)]);
            let any = places(&[("a", 0)]);
            let all = [("x/gpu", gpus), ("x/nic", nics), ("x/any", any)].map(|(name, p)| (name.to_owned(), p));
            DeviceDraft::new(all.into(), numa.all(), Table::default())
        };
        use TopologyPolicy::{BestEffort, None as Nothing, SingleNumaNode};
        for (policy, gpus, nics, want) in [
            (SingleNumaNode, 1, 1, Ok("g0 n0")),
            (SingleNumaNode, 2, 1, Ok("g1 g2 n1")),
            (SingleNumaNode, 3, 1, Err("TopologyAffinityError")),
            (BestEffort, 3, 1, Ok("g0 g1 g2 n0")),
            (BestEffort, 4, 0, Ok("g0 g1 g2 gx")),
            (Nothing, 1, 2, Ok("g0 n0 n1")),
            (Nothing, 5, 0, Err("UnexpectedAdmissionError")),
        ] {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "p"}, "spec": {"containers": [
                {"name": "c", "resources": {"limits": {"x/gpu": gpus.to_string(), "x/nic": nics.to_string(), "x/any": "1"}}}]}}))
            .unwrap();
            let (mut draft, rules) = (draft(), TopologyRules { policy, ..Default::default() });
            let found = place(&pod, &rules, &numa, &mut [&mut draft]).map(|()| {
                let held = draft.parts().0.pod("p").cloned().unwrap_or_default();
                held.into_values().flatten().flat_map(|(_, ids)| ids).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref().map_err(|refusal| refusal.0.as_str()), want, "{policy:?} {gpus} {nics}");
        }
    }
}
