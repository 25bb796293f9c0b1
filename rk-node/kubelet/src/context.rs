//! What all workers share: handles, node facts, places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::sync::watch;

use crate::Options;
use crate::admission::{Refusal, unexpected};
use crate::cgroups::Cgroups;
use crate::claims::Claims;
use crate::cpus::Cpus;
use crate::devices::Devices;
use crate::events::{PodRef, Recorder};
use crate::eviction::{LocalUse, Orders};
use crate::heartbeat::Heartbeat;
use crate::images::Images;
use crate::known::Store;
use crate::memory::Memory;
use crate::node::Shortages;
use crate::numa::{Numa, Provider, TopologyPolicy, place};
use crate::pod::given::Withheld;
use crate::pod::spec;
use crate::probes::ProbePace;
use crate::runtime::Runtime;
use crate::services::Services;
use crate::status_manager::StatusManager;
use crate::swap::SwapRule;
use crate::translate::{FieldContext, Seccomp};
use crate::userns::PodUsers;
use crate::views::PodViews;
use crate::volumes::VolumeManager;

/// Facts of the node that pods depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// The node's addresses, the primary first.
    pub host_ips: Vec<String>,
    /// Labels of the Node object.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Allocatable resources.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Resources of device plugins that are away for good: the node has none of them.
    pub lapsed: BTreeSet<String>,
    /// Memory in bytes.
    pub memory: i64,
    /// The node's pod CIDR, once allocated; in a dual-stack cluster both, with a comma between.
    pub pod_cidr: Option<String>,
    /// Whether the API has told what it knows of the node, if anything.
    pub heard: bool,
    /// Why the pod network is not usable, when it is not.
    pub network_problem: Option<String>,
}

impl NodeFacts {
    /// Takes over what pods are admitted by: the labels and taints of the Node object.
    pub fn admit_by(&mut self, node: &Node) {
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        self.heard = true;
    }
}

/// Shared by all pod workers.
pub struct Context {
    /// Settings.
    pub options: Options,
    /// Client for the API server.
    pub client: kube::Client,
    /// The runtime.
    pub runtime: Runtime,
    /// Events.
    pub recorder: Recorder,
    /// Volumes.
    pub volumes: VolumeManager,
    /// Image pulls.
    pub images: Images,
    /// Writes statuses to the API.
    pub status: StatusManager,
    /// Services for environment variables.
    pub services: Services,
    /// Devices of plugins.
    pub devices: Devices,
    /// Claims of devices that DRA drivers bring.
    pub claims: Claims,
    /// CPUs of containers.
    pub cpus: Cpus,
    /// Memory of containers.
    pub memory: Memory,
    /// The machine's memory nodes.
    pub numa: Numa,
    /// How much swap containers may use.
    pub swap: SwapRule,
    /// Ids of pods with users of their own.
    pub users: PodUsers,
    /// What is known without the API.
    pub known: Store,
    /// Pods whose resize waits.
    pub withheld: Withheld,
    /// Pods that must go.
    pub evictions: Orders,
    /// What of the node was short of late.
    pub shortages: Shortages,
    /// What pods have on the node's disk.
    pub local: LocalUse,
    /// What the probes of all pods share.
    pub probes: ProbePace,
    /// cgroups of pods.
    pub cgroups: Cgroups,
    /// The loop that keeps the pods.
    pub sync_loop: Heartbeat,
    /// The pods of this node as the API has them.
    pub pods: PodViews,
    /// Facts of the node.
    pub node: watch::Receiver<NodeFacts>,
}

impl Context {
    /// Gives a pod the CPUs, the memory and the devices that it wants for itself, all of it or nothing; true when the CPUs that
    /// all others share have changed.
    pub fn give_own(&self, pod: &Pod) -> Result<bool, Refusal> {
        let rules = &self.options.topology;
        let aligned = rules.policy != TopologyPolicy::None;
        let mut devices = aligned.then(|| self.devices.draft(self.numa.all()));
        let (mut cpus, mut memory) = (self.cpus.draft(), self.memory.draft());
        let mut providers: Vec<&mut dyn Provider> = Vec::new();
        providers.extend(devices.as_mut().map(|draft| draft as &mut dyn Provider));
        providers.extend(cpus.as_mut().map(|draft| draft as &mut dyn Provider));
        providers.extend(memory.as_mut().map(|draft| draft as &mut dyn Provider));
        let asked = Instant::now();
        let placed = place(pod, rules, &self.numa, &mut providers);
        let meters = &self.runtime.meters.managers;
        meters.placed(aligned, placed.is_ok(), asked.elapsed());
        let of_cpus = cpus.as_ref().map(|draft| draft.pinned()).unwrap_or_default();
        meters.pinned(of_cpus, memory.as_ref().map(|draft| draft.pinned()).unwrap_or_default());
        // A pod that asks for something as a whole is taken as it comes.
        if rules.policy == TopologyPolicy::SingleNumaNode && pod.spec.as_ref().is_some_and(|s| s.resources.is_none()) {
            let containers = spec::init_containers(pod).len() + spec::app_containers(pod).len();
            meters.on_one_node(rules.scope, containers, &placed);
        }
        if self.options.cpu_policy.gives_whole_cores() {
            meters.whole_cores(of_cpus);
        }
        placed?;
        if let Some(draft) = devices {
            self.devices.commit(spec::uid(pod), draft).map_err(|problem| unexpected(&problem))?;
        }
        if let Some(draft) = memory {
            self.memory.commit(draft);
        }
        Ok(cpus.is_some_and(|draft| self.cpus.commit(draft)))
    }

    /// Tells that the node does not take a pod, and how the pod's status words it.
    pub fn refuse(&self, pod: &Pod, (reason, message): Refusal) -> Refusal {
        tracing::warn!(pod = %spec::describe(pod), %reason, "the node does not take the pod: {message}");
        self.recorder.warning(&PodRef::of(pod), &reason, message.clone());
        self.runtime.meters.entry.refused(&reason);
        (reason, format!("Pod was rejected: {message}"))
    }

    /// What downward API fields refer to, for a pod with these addresses.
    pub fn fields(&self, pod_ips: Vec<String>) -> FieldContext {
        let node = self.node.borrow();
        FieldContext {
            node_name: self.options.node_name.clone(),
            host_ips: node.host_ips.clone(),
            pod_ips,
            allocatable: node.allocatable.clone(),
        }
    }

    /// Seccomp profiles of the node.
    pub fn seccomp(&self) -> Seccomp {
        let root = self.options.dirs.kubelet.join("seccomp").to_string_lossy().into_owned();
        Seccomp { root, by_default: self.options.seccomp_default }
    }
}

/// Shared handle.
pub type Shared = Arc<Context>;
