//! Memory for one pod, thought over before it is given.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::table::{Amounts, Block, Table};
use crate::admission::{Refusal, unexpected};
use crate::numa::{Hint, Hints, NodeMask, Pinned, Provider, at_most};
use crate::pod::spec;
use crate::quantity::units_of;
use crate::resources::{Qos, qos_class};

/// What a container asks for, if its pod is Guaranteed and does not ask as a whole.
fn wanted(pod: &Pod, container: &Container) -> Amounts {
    if qos_class(pod) != Qos::Guaranteed || pod.spec.as_ref().is_some_and(|s| s.resources.is_some()) {
        return Amounts::new();
    }
    let resources = container.resources.as_ref();
    let list = resources.and_then(|r| r.requests.as_ref().or(r.limits.as_ref()));
    let names = list.into_iter().flat_map(BTreeMap::keys).filter(|n| *n == "memory" || n.starts_with("hugepages-"));
    let amount = |name: &String| Some((name.clone(), u64::try_from(units_of(list, name)).ok().filter(|n| *n > 0)?));
    names.filter_map(amount).collect()
}

/// What one pod is to get.
#[derive(Debug)]
pub struct MemoryDraft {
    table: Table,
    /// What init containers leave to those after them, by their nodes.
    reusable: BTreeMap<NodeMask, Amounts>,
    pinned: Pinned,
}

impl MemoryDraft {
    /// On top of what others have.
    pub fn new(table: Table) -> Self {
        Self { table, reusable: BTreeMap::new(), pinned: Pinned::default() }
    }

    /// Containers that were to get memory of their own.
    pub fn pinned(&self) -> Pinned {
        self.pinned
    }

    /// Everything given, this pod's too.
    pub fn into_table(self) -> Table {
        self.table
    }

    fn reusable(&self, mask: NodeMask, resource: &str) -> u64 {
        self.reusable.get(&mask).and_then(|of| of.get(resource)).copied().unwrap_or(0)
    }

    fn fits(&self, mask: NodeMask, wanted: &Amounts) -> bool {
        let enough = |(name, size): (&String, &u64)| {
            self.table.free(mask, name).saturating_add(self.reusable(mask, name)) >= *size
        };
        !self.table.clashes(mask) && wanted.iter().all(enough)
    }

    /// Which sets of nodes have all this.
    fn sets(&self, wanted: &Amounts) -> Vec<Hint> {
        // Also sets of which others have a part now: who needs no more nodes does not prefer more.
        let could = |mask: &NodeMask| wanted.iter().all(|(name, size)| self.table.sum(*mask, name) >= *size);
        let masks: Vec<NodeMask> = self.table.numa.all().subsets().filter(could).collect();
        let fewest = masks.iter().map(|mask| mask.count()).min().unwrap_or(0);
        let fitting = masks.into_iter().filter(|mask| self.fits(*mask, wanted));
        fitting.map(|mask| Hint { nodes: Some(mask), preferred: mask.count() == fewest }).collect()
    }

    /// Where the memory is that a container has already: a pod of a manifest is admitted anew when the kubelet has begun again.
    fn kept(&self, pod: &Pod, container: &Container) -> Option<Hints> {
        let blocks = self.table.entries.get(spec::uid(pod))?.get(&container.name)?;
        let hint = |block: &Block| Some(vec![Hint { nodes: Some(block.nodes()), preferred: true }]);
        Some(blocks.iter().map(|block| (block.resource.clone(), hint(block))).collect())
    }

    fn as_hints(&self, wanted: &Amounts) -> Hints {
        let sets = self.sets(wanted);
        wanted.keys().map(|name| (name.clone(), Some(sets.clone()))).collect()
    }

    /// The nodes to use: those of the hint, or more where they are not enough.
    fn choose(&self, wanted: &Amounts, hint: &Hint) -> Result<NodeMask, Refusal> {
        if let Some(nodes) = hint.nodes.filter(|nodes| self.fits(*nodes, wanted)) {
            return Ok(nodes);
        }
        let sets = self.sets(wanted);
        let near = sets.into_iter().filter(|set| set.nodes.is_some_and(|n| n.holds(hint.nodes.unwrap_or_default())));
        let best = near.min_by_key(|set| (!set.preferred, set.nodes.map(|n| (n.count(), n.0))));
        let (none, worse) = match hint.nodes {
            None => (
                "failed to get the default NUMA affinity, no NUMA nodes with enough memory is available",
                "failed to find the default preferred hint",
            ),
            Some(_) => (
                "failed to find NUMA nodes to extend the current topology hint",
                "failed to find the extended preferred hint",
            ),
        };
        let wrong = |text: &str| unexpected(&format!("[memorymanager] {text}"));
        match best {
            Some(Hint { nodes: Some(nodes), preferred }) if preferred || !hint.preferred => Ok(nodes),
            Some(_) => Err(wrong(worse)),
            None => Err(wrong(none)),
        }
    }

    /// Notes the container's blocks; what init containers had of them becomes its own.
    fn give(&mut self, pod: &Pod, container: &str, mask: NodeMask, wanted: &Amounts) {
        // What a sidecar has stays its own.
        let inits = spec::init_containers(pod).iter().filter(|c| !spec::is_sidecar(c));
        let inits: BTreeSet<&str> = inits.map(|c| c.name.as_str()).collect();
        let lends = inits.contains(container);
        let entries = self.table.entries.entry(spec::uid(pod).to_owned()).or_default();
        let of = self.reusable.entry(mask).or_default();
        let mut blocks = Vec::new();
        for (resource, size) in wanted {
            let left = of.entry(resource.clone()).or_default();
            let mut reused = (*left).min(*size);
            let mut block = Block { numa_affinity: mask.nodes().collect(), resource: resource.clone(), size: *size };
            if lends {
                // Init containers run one after the other: together they hold as much as the largest asks for.
                block.size -= reused;
                *left = (*left).max(*size);
            } else {
                *left -= reused;
                let earlier = entries.iter_mut().filter(|(name, _)| inits.contains(name.as_str()));
                for held in earlier.flat_map(|(_, held)| held) {
                    if held.resource == *resource && held.nodes() == mask {
                        let taken = held.size.min(reused);
                        held.size -= taken;
                        reused -= taken;
                    }
                }
            }
            blocks.push(block);
        }
        entries.insert(container.to_owned(), blocks);
    }
}

impl Provider for MemoryDraft {
    fn hints(&self, pod: &Pod, container: &Container) -> Hints {
        self.kept(pod, container).unwrap_or_else(|| self.as_hints(&wanted(pod, container)))
    }

    fn pod_hints(&self, pod: &Pod) -> Hints {
        let containers = spec::init_containers(pod).iter().chain(spec::app_containers(pod));
        if let Some(kept) = containers.clone().find_map(|c| self.kept(pod, c)) {
            return kept;
        }
        let names: BTreeSet<String> = containers.flat_map(|c| wanted(pod, c).into_keys()).collect();
        let amount = |name: &String| at_most(pod, |c| wanted(pod, c).get(name).copied().unwrap_or(0));
        self.as_hints(&names.iter().map(|name| (name.clone(), amount(name))).collect())
    }

    fn allocate(&mut self, pod: &Pod, container: &Container, hint: &Hint) -> Result<(), Refusal> {
        let wanted = wanted(pod, container);
        if !wanted.is_empty() && self.kept(pod, container).is_none() {
            let mask = self.choose(&wanted, hint);
            let mask = self.pinned.note(mask)?;
            self.give(pod, &container.name, mask, &wanted);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numa::{MemoryNode, Numa, Scope, TopologyPolicy, TopologyRules, place};
    use serde_json::{Value, json};

    /// Two nodes of 10 bytes of which one is kept on the first, and 4 bytes of huge pages on the second besides.
    fn draft() -> MemoryDraft {
        let node = |id: usize, memory: u64, huge: u64| MemoryNode {
            id,
            amounts: [("memory".to_owned(), memory), ("hugepages-2Mi".to_owned(), huge)].into(),
            distances: Vec::new(),
        };
        let table = Table {
            numa: Numa(vec![node(0, 10, 0), node(1, 14, 4)]),
            reserved: [(0, Amounts::from([("memory".to_owned(), 1)]))].into(),
            entries: BTreeMap::new(),
        };
        MemoryDraft::new(table)
    }

    fn pod(uid: &str, init: &[(u64, u64)], apps: &[(u64, u64)]) -> Pod {
        let amounts = |(memory, huge): (u64, u64)| {
            let mut all = json!({"cpu": "1", "memory": memory.to_string()});
            if huge > 0 {
                all["hugepages-2Mi"] = json!(huge.to_string());
            }
            all
        };
        let list = |prefix: &str, of: &[(u64, u64)]| -> Vec<Value> {
            let one = |(n, size): (usize, &(u64, u64))| json!({"name": format!("{prefix}{n}"), "resources": {"requests": amounts(*size), "limits": amounts(*size)}});
            of.iter().enumerate().map(one).collect()
        };
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {
            "initContainers": list("i", init), "containers": list("c", apps)}}))
        .unwrap()
    }

    fn placed(draft: &mut MemoryDraft, policy: TopologyPolicy, scope: Scope, pod: &Pod) -> Result<String, Refusal> {
        let numa = draft.table.numa.clone();
        place(pod, &TopologyRules { policy, scope, ..Default::default() }, &numa, &mut [&mut *draft])?;
        let all = draft.table.entries.get(spec::uid(pod)).cloned().unwrap_or_default();
        let blocks = all
            .iter()
            .flat_map(|(name, blocks)| blocks.iter().map(move |b| format!("{name}:{}={}", b.nodes(), b.size)));
        Ok(blocks.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn memory_comes_from_as_few_nodes_as_can_be_and_groups_do_not_overlap() {
        use TopologyPolicy::{None as Nothing, Restricted, SingleNumaNode};
        let default =
            "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available";
        let default = format!("Allocate failed due to {default}, which is unexpected");
        let not_aligned = "Resources cannot be allocated with Topology locality".to_owned();
        let app = |of: &[(u64, u64)]| pod("a", &[], of);
        for (policy, scope, pod, want) in [
            (SingleNumaNode, Scope::Container, app(&[(9, 0)]), Ok("c0:0=9")),
            (SingleNumaNode, Scope::Container, app(&[(10, 0)]), Ok("c0:1=10")),
            (SingleNumaNode, Scope::Container, app(&[(11, 0)]), Err(&not_aligned)),
            (Restricted, Scope::Container, app(&[(11, 0)]), Ok("c0:0,1=11")),
            (Nothing, Scope::Container, app(&[(11, 0)]), Ok("c0:0,1=11")),
            (Nothing, Scope::Container, app(&[(20, 0)]), Err(&default)),
            // Huge pages are on the second node only.
            (SingleNumaNode, Scope::Container, app(&[(5, 4)]), Ok("c0:1=4 c0:1=5")),
            (SingleNumaNode, Scope::Container, app(&[(5, 0), (5, 0)]), Ok("c0:0=5 c1:1=5")),
            (SingleNumaNode, Scope::Pod, app(&[(5, 0), (5, 0)]), Ok("c0:1=5 c1:1=5")),
            // Node 0 serves itself alone: no group with it can be made.
            (Restricted, Scope::Container, app(&[(5, 0), (11, 0)]), Err(&not_aligned)),
            (Nothing, Scope::Container, app(&[(11, 0), (5, 0)]), Ok("c0:0,1=11 c1:0,1=5")),
            // One node would do for the second, though none is free by itself.
            (Restricted, Scope::Container, app(&[(11, 0), (5, 0)]), Err(&not_aligned)),
            // What init containers used goes to those that come after them.
            (
                SingleNumaNode,
                Scope::Container,
                pod("a", &[(6, 0), (9, 0)], &[(7, 0), (2, 0)]),
                Ok("c0:0=7 c1:0=2 i0:0=0 i1:0=0"),
            ),
            (SingleNumaNode, Scope::Container, pod("a", &[(9, 0)], &[(1, 0)]), Ok("c0:0=1 i0:0=8")),
        ] {
            let found = placed(&mut draft(), policy, scope, &pod);
            assert_eq!(found.as_deref().map_err(|refusal| &refusal.1), want, "{policy:?} {scope:?}");
        }
    }

    #[test]
    fn what_a_sidecar_has_is_nobody_else_s() {
        let mut pod = pod("a", &[(2, 0), (5, 0)], &[(4, 0)]);
        pod.spec.as_mut().unwrap().init_containers.as_mut().unwrap()[0].restart_policy = Some("Always".into());
        let found = placed(&mut draft(), TopologyPolicy::None, Scope::Container, &pod);
        assert_eq!(found.as_deref(), Ok("c0:0=4 i0:0=2 i1:0=1"));
    }

    #[test]
    fn a_pod_that_has_its_memory_keeps_it_when_it_is_admitted_anew() {
        use TopologyPolicy::{None as Nothing, Restricted, SingleNumaNode};
        let pod = pod("a", &[(6, 0)], &[(9, 0)]);
        for (policy, scope) in [
            (Nothing, Scope::Container),
            (SingleNumaNode, Scope::Container),
            (Restricted, Scope::Container),
            (SingleNumaNode, Scope::Pod),
        ] {
            let mut draft = draft();
            for round in 0..2 {
                let found = placed(&mut draft, policy, scope, &pod);
                assert_eq!(found.as_deref(), Ok("c0:0=9 i0:0=0"), "{policy:?} {scope:?} {round}");
            }
        }
    }

    #[test]
    fn others_keep_what_they_have_and_the_checkpoint_tells_it() {
        let mut draft = draft();
        let one = |uid: &str| pod(uid, &[], &[(6, 0)]);
        for (uid, want) in [("a", Ok("c0:0=6")), ("b", Ok("c0:1=6")), ("c", Err("TopologyAffinityError"))] {
            let found = placed(&mut draft, TopologyPolicy::SingleNumaNode, Scope::Container, &one(uid));
            assert_eq!(found.as_deref().map_err(|refusal| refusal.0.as_str()), want, "{uid}");
        }
        let state = draft.table.machine_state();
        assert_eq!(
            state["0"]["memoryMap"]["memory"],
            json!({"total": 10, "systemReserved": 1, "allocatable": 9, "reserved": 6, "free": 3})
        );
        assert_eq!((&state["1"]["numberOfAssignments"], &state["1"]["cells"]), (&json!(1), &json!([1])));
        draft.table.entries.clear();
        placed(&mut draft, TopologyPolicy::None, Scope::Container, &pod("g", &[], &[(12, 0)])).unwrap();
        let state = draft.table.machine_state();
        assert_eq!(
            (&state["0"]["memoryMap"]["memory"]["free"], &state["1"]["memoryMap"]["memory"]["free"]),
            (&json!(0), &json!(7))
        );
        assert_eq!(state["0"]["cells"], json!([0, 1]));
    }
}
