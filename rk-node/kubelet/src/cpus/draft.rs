//! CPUs for one pod, thought over before they are given: hints for the topology manager, and the choice.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::assign::{take, take_distributed};
use super::manager::Given;
use super::options::CpuOptions;
use super::set::CpuSet;
use super::topology::Topology;
use crate::admission::{Refusal, unexpected};
use crate::numa::{Hint, Hints, NodeMask, Pinned, Provider, at_most};
use crate::pod::spec;
use crate::quantity::milli_of;
use crate::resources::{Qos, qos_class};

/// The machine and what is kept of it.
#[derive(Debug)]
pub struct Machine {
    /// Its CPUs.
    pub topology: Topology,
    /// CPUs that nobody gets alone.
    pub reserved: CpuSet,
    /// What the policy does besides.
    pub options: CpuOptions,
}

impl Machine {
    /// CPUs that containers share.
    pub fn shared(&self, given: &Given) -> CpuSet {
        let all = self.free(given);
        if self.options.strict { all } else { all.with(&self.reserved) }
    }

    /// CPUs that a container could get alone.
    pub(super) fn free(&self, given: &Given) -> CpuSet {
        let taken = given.entries.values().flat_map(BTreeMap::values).fold(CpuSet::default(), |all, set| all.with(set));
        self.topology.all().without(&taken).without(&self.reserved)
    }

    /// CPUs that are never parted.
    fn group(&self) -> usize {
        if self.options.full_cores { self.topology.threads_per_core() } else { 1 }
    }

    /// So many of the free CPUs, as the options say.
    pub(super) fn take(&self, free: &CpuSet, count: usize) -> Option<CpuSet> {
        if self.options.distribute {
            return take_distributed(&self.topology, free, count, self.group());
        }
        take(&self.topology, free, count, self.options.order())
    }

    /// Those of these nodes, or of their sockets.
    fn aligned(&self, free: &CpuSet, nodes: NodeMask) -> CpuSet {
        let sockets = self.topology.sockets(nodes);
        self.topology.among(free, |cpu| match self.options.by_socket {
            true => sockets.contains(&cpu.socket),
            false => nodes.has(cpu.node),
        })
    }

    fn socket_aligned(&self, nodes: NodeMask, fewest: u32) -> bool {
        let (all, sockets) = (self.topology.nodes(), self.topology.sockets(self.topology.nodes()).len());
        let nodes_per_socket = (all.count() as usize).checked_div(sockets).unwrap_or(0);
        nodes_per_socket > 0 && self.topology.sockets(nodes).len() == (fewest as usize).div_ceil(nodes_per_socket)
    }

    /// Which sets of nodes have so many CPUs free; `reusable` must be among them.
    fn hints(&self, free: &CpuSet, reusable: &CpuSet, wanted: usize) -> Vec<Hint> {
        let all = self.topology.all();
        let of = |set: &CpuSet, mask: NodeMask| self.topology.among(set, |cpu| mask.has(cpu.node)).len();
        let masks: Vec<NodeMask> = self.topology.nodes().subsets().collect();
        let fewest = masks.iter().filter(|mask| of(&all, **mask) >= wanted).map(|mask| mask.count()).min();
        let fewest = fewest.unwrap_or(self.topology.nodes().count());
        let free = free.with(reusable);
        let fits = |mask: &NodeMask| of(reusable, *mask) == reusable.len() && of(&free, *mask) >= wanted;
        let hint = |mask: NodeMask| {
            let by_socket = self.options.by_socket && self.socket_aligned(mask, fewest);
            Hint { nodes: Some(mask), preferred: by_socket || mask.count() == fewest }
        };
        masks.into_iter().filter(fits).map(hint).collect()
    }
}

/// How many CPUs a container gets alone: whole ones of a Guaranteed pod that does not ask as a whole.
fn exclusive(pod: &Pod, container: &Container) -> usize {
    if qos_class(pod) != Qos::Guaranteed || pod.spec.as_ref().is_some_and(|s| s.resources.is_some()) {
        return 0;
    }
    let resources = container.resources.as_ref();
    let milli = milli_of(resources.and_then(|r| r.requests.as_ref().or(r.limits.as_ref())), "cpu");
    if milli % 1000 == 0 { usize::try_from(milli / 1000).unwrap_or(0) } else { 0 }
}

/// What one pod is to get.
#[derive(Debug)]
pub struct CpuDraft {
    machine: Arc<Machine>,
    given: Given,
    /// CPUs of init containers, which end before the others begin.
    reusable: CpuSet,
    pinned: Pinned,
}

impl CpuDraft {
    /// On top of what others have.
    pub(super) fn new(machine: Arc<Machine>, given: Given) -> Self {
        Self { machine, given, reusable: CpuSet::default(), pinned: Pinned::default() }
    }

    /// Containers that were to get CPUs of their own.
    pub fn pinned(&self) -> Pinned {
        self.pinned
    }

    /// Everything given, this pod's too.
    pub(super) fn given(self) -> Given {
        self.given
    }

    fn own(&self, pod: &Pod, container: &str) -> Option<&CpuSet> {
        self.given.entries.get(spec::uid(pod))?.get(container)
    }

    fn as_hints(hints: Vec<Hint>) -> Hints {
        Hints::from([("cpu".to_owned(), Some(hints))])
    }

    fn whole_cores(&self, wanted: usize) -> Result<(), Refusal> {
        let per_core = self.machine.topology.threads_per_core();
        let refused = |text: String| Err(("SMTAlignmentError".to_owned(), format!("SMT Alignment Error: {text}")));
        if !wanted.is_multiple_of(per_core) {
            return refused(format!("requested {wanted} cpus not multiple cpus per core = {per_core}"));
        }
        let topology = &self.machine.topology;
        let free = self.machine.free(&self.given).with(&self.reusable);
        // A core of which the node keeps one thread cannot be given whole.
        let kept = |socket: usize, core: usize| {
            topology
                .0
                .iter()
                .any(|cpu| (cpu.socket, cpu.core) == (socket, core) && self.machine.reserved.0.contains(&cpu.id))
        };
        let available = topology.among(&free, |cpu| !kept(cpu.socket, cpu.core)).len();
        if wanted > available {
            return refused(format!(
                "not enough free physical CPUs: available physical CPUs = {available}, requested CPUs = {wanted}, CPUs per core = {per_core}"
            ));
        }
        Ok(())
    }

    /// What a container has, or is to get.
    fn pick(&self, pod: &Pod, container: &Container, wanted: usize, hint: &Hint) -> Result<CpuSet, Refusal> {
        if let Some(own) = self.own(pod, &container.name) {
            return Ok(own.clone());
        }
        if self.machine.options.full_cores {
            self.whole_cores(wanted)?;
        }
        self.choose(wanted, hint.nodes)
    }

    fn choose(&self, wanted: usize, nodes: Option<NodeMask>) -> Result<CpuSet, Refusal> {
        let free = self.machine.free(&self.given).with(&self.reusable);
        let missing = |available: usize| {
            unexpected(&format!(
                "not enough cpus available to satisfy request: requested={wanted}, available={available}"
            ))
        };
        let aligned = nodes.map(|nodes| self.machine.aligned(&free, nodes)).unwrap_or_default();
        let first = self.machine.take(&aligned, wanted.min(aligned.len())).unwrap_or_default();
        let rest = self.machine.take(&free.without(&first), wanted.saturating_sub(first.len()));
        rest.map(|rest| first.with(&rest)).ok_or_else(|| missing(free.len()))
    }
}

impl Provider for CpuDraft {
    fn hints(&self, pod: &Pod, container: &Container) -> Hints {
        let wanted = exclusive(pod, container);
        match self.own(pod, &container.name) {
            _ if wanted == 0 => Hints::new(),
            Some(own) if own.len() != wanted => Self::as_hints(Vec::new()),
            Some(own) => Self::as_hints(self.machine.hints(own, &CpuSet::default(), wanted)),
            None => Self::as_hints(self.machine.hints(&self.machine.free(&self.given), &self.reusable, wanted)),
        }
    }

    fn pod_hints(&self, pod: &Pod) -> Hints {
        let wanted = at_most(pod, |container| exclusive(pod, container) as u64);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted == 0 {
            return Hints::new();
        }
        let own = self.given.entries.get(spec::uid(pod));
        let own = own.into_iter().flat_map(BTreeMap::values).fold(CpuSet::default(), |all, set| all.with(set));
        Self::as_hints(self.machine.hints(&self.machine.free(&self.given), &own, wanted))
    }

    fn allocate(&mut self, pod: &Pod, container: &Container, hint: &Hint) -> Result<(), Refusal> {
        let wanted = exclusive(pod, container);
        if wanted == 0 {
            return Ok(());
        }
        let lends = spec::init_containers(pod).iter().any(|c| c.name == container.name && !spec::is_sidecar(c));
        let set = self.pick(pod, container, wanted, hint);
        let set = self.pinned.note(set)?;
        self.reusable = if lends { self.reusable.with(&set) } else { self.reusable.without(&set) };
        let entries = self.given.entries.entry(spec::uid(pod).to_owned()).or_default();
        entries.insert(container.name.clone(), set);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::topology::Cpu;
    use super::*;
    use crate::numa::{MemoryNode, Numa, Scope, TopologyPolicy, TopologyRules, place};
    use serde_json::{Value, json};

    /// Two nodes of two cores of two threads; threads of a core are four apart. CPU 0 is the node's.
    fn draft(options: CpuOptions) -> CpuDraft {
        let cpu = |id: usize| Cpu { id, core: id % 2, socket: (id % 4) / 2, node: (id % 4) / 2, cache: (id % 4) / 2 };
        let topology = Topology((0..8).map(cpu).collect());
        let machine = Machine { topology, reserved: CpuSet::parse("0").unwrap(), options };
        CpuDraft::new(Arc::new(machine), Given::default())
    }

    fn pod(uid: &str, cpus: &[u32]) -> Pod {
        let amounts = |cpu: u32| json!({"cpu": cpu.to_string(), "memory": "1Mi"});
        let of = |(n, cpu): (usize, &u32)| json!({"name": format!("c{n}"), "resources": {"limits": amounts(*cpu), "requests": amounts(*cpu)}});
        let containers: Vec<Value> = cpus.iter().enumerate().map(of).collect();
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {"containers": containers}})).unwrap()
    }

    fn placed(draft: &mut CpuDraft, policy: TopologyPolicy, scope: Scope, pod: &Pod) -> Result<Vec<String>, Refusal> {
        let numa = Numa((0..2).map(|id| MemoryNode { id, ..Default::default() }).collect());
        let rules = TopologyRules { policy, scope, ..Default::default() };
        place(pod, &rules, &numa, &mut [&mut *draft])?;
        Ok(draft
            .given
            .entries
            .get(spec::uid(pod))
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(CpuSet::to_string)
            .collect())
    }

    #[test]
    fn cpus_come_from_the_nodes_that_were_agreed_on() {
        use TopologyPolicy::{BestEffort, None as Nothing, Restricted, SingleNumaNode};
        for (policy, scope, wanted, want) in [
            (SingleNumaNode, Scope::Container, &[4][..], Ok(&["2-3,6-7"][..])),
            (SingleNumaNode, Scope::Container, &[3], Ok(&["1,4-5"])),
            (SingleNumaNode, Scope::Container, &[5], Err("TopologyAffinityError")),
            // Five do not fit into one node of four: two are what is preferred.
            (Restricted, Scope::Container, &[5], Ok(&["2-4,6-7"])),
            // Three and four fit beside each other, each on its own node; together they fit on none.
            (SingleNumaNode, Scope::Container, &[3, 4], Ok(&["1,4-5", "2-3,6-7"])),
            (SingleNumaNode, Scope::Pod, &[3, 4], Err("TopologyAffinityError")),
            (SingleNumaNode, Scope::Pod, &[2, 2], Ok(&["2,6", "3,7"])),
            (BestEffort, Scope::Container, &[4, 2], Ok(&["2-3,6-7", "1,5"])),
            // The second would fit on one node, of which too little is left.
            (Restricted, Scope::Container, &[2, 3, 2], Err("TopologyAffinityError")),
            (BestEffort, Scope::Container, &[2, 3, 2], Ok(&["1,5", "2-3,6", "4,7"])),
            (Nothing, Scope::Container, &[7], Ok(&["1-7"])),
            (Nothing, Scope::Container, &[8], Err("UnexpectedAdmissionError")),
        ] {
            let found = placed(&mut draft(CpuOptions::default()), policy, scope, &pod("a", wanted));
            let found = found.as_ref().map(|sets| sets.iter().map(String::as_str).collect::<Vec<_>>());
            let found = found.as_ref().map(Vec::as_slice).map_err(|refusal| refusal.0.as_str());
            assert_eq!(found, want, "{policy:?} {scope:?} {wanted:?}");
        }
    }

    #[test]
    fn whole_cores_are_whole_and_refused_in_upstreams_words() {
        let options = CpuOptions { full_cores: true, ..Default::default() };
        for (wanted, want) in [
            (2, Ok("1,5")),
            (6, Ok("1-3,5-7")),
            (1, Err("SMT Alignment Error: requested 1 cpus not multiple cpus per core = 2")),
            (
                8,
                Err(
                    "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2",
                ),
            ),
        ] {
            let found = placed(&mut draft(options), TopologyPolicy::None, Scope::Container, &pod("a", &[wanted]));
            let found = found.as_ref().map(|sets| sets.join(" "));
            assert_eq!(found.as_deref().map_err(|refusal| refusal.1.as_str()), want, "{wanted}");
        }
    }

    #[test]
    fn those_who_share_leave_reserved_cpus_under_a_strict_reservation() {
        for (strict, want) in [(false, "0,2-4,6-7"), (true, "2-4,6-7")] {
            let mut draft = draft(CpuOptions { strict, ..Default::default() });
            placed(&mut draft, TopologyPolicy::None, Scope::Container, &pod("a", &[2])).unwrap();
            assert_eq!(draft.machine.shared(&draft.given).to_string(), want);
        }
    }

    #[test]
    fn sockets_of_several_nodes_are_hinted_as_one_when_that_is_wished() {
        let cpu = |id: usize| Cpu { id, core: id, socket: id / 4, node: id / 2, cache: 0 };
        let machine = |by_socket: bool| Machine {
            topology: Topology((0..8).map(cpu).collect()),
            reserved: CpuSet::default(),
            options: CpuOptions { by_socket, ..Default::default() },
        };
        let preferred = |by_socket: bool| {
            let machine = machine(by_socket);
            let hints = machine.hints(&machine.topology.all(), &CpuSet::default(), 2);
            hints.iter().filter(|h| h.preferred).filter_map(|h| h.nodes).map(|n| n.0).collect::<Vec<_>>()
        };
        assert_eq!(preferred(false), [1, 2, 4, 8]);
        assert_eq!(preferred(true), [1, 2, 3, 4, 8, 12]);
        assert_eq!(machine(true).aligned(&machine(true).topology.all(), NodeMask(1)).to_string(), "0-3");
    }
}
