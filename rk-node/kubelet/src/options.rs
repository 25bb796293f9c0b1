//! What the kubelet must be told: identity, cluster, limits and places. Values only; nothing is read from disk here.

mod pod_url;
mod thresholds;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use crate::configuration::{CredentialProvider, TlsRules};
use crate::cpus::CpuPolicy;
use crate::images::Verification;
use crate::memory::MemoryPolicy;
use crate::numa::TopologyRules;
use crate::pace::Pace;
use crate::shutdown::ShutdownGrace;
use crate::swap::SwapBehavior;
use crate::userns::IDS_PER_POD;
pub use pod_url::PodUrl;
pub use thresholds::{Amount, SoftEviction, Thresholds};

/// The Kubernetes version that this kubelet reports.
pub const KUBELET_VERSION: &str = "v1.36.0";

/// The directories and sockets that the kubelet uses. Tests point them into a temporary directory.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// Client and serving certificates, and the cluster's CA (`/var/lib/rk/pki`).
    pub pki: PathBuf,
    /// Root of pod directories (`/var/lib/kubelet`).
    pub kubelet: PathBuf,
    /// Manifests of static pods (`/var/lib/kubelet/manifests`).
    pub manifests: PathBuf,
    /// CRI logs (`/var/log/pods`).
    pub pod_logs: PathBuf,
    /// Flat symlinks to container logs (`/var/log/containers`).
    pub container_logs: PathBuf,
    /// The cgroup v2 mount (`/sys/fs/cgroup`).
    pub cgroup: PathBuf,
    /// The CRI socket (`/run/rk/cri.sock`).
    pub cri_socket: PathBuf,
    /// Programs of plugins that give credentials for images (`/var/lib/rk/credential-providers`).
    pub credential_providers: PathBuf,
    /// Exists while PID 1 takes the machine down (`/run/rk/shutdown`).
    pub shutdown_mark: PathBuf,
    /// The node's resolver file (`/etc/resolv.conf`).
    pub resolv_conf: PathBuf,
    /// The node's hosts file (`/etc/hosts`), for pods in the host's network.
    pub hosts: PathBuf,
}

impl Default for Dirs {
    fn default() -> Self {
        Self {
            pki: "/var/lib/rk/pki".into(),
            kubelet: "/var/lib/kubelet".into(),
            manifests: "/var/lib/kubelet/manifests".into(),
            pod_logs: "/var/log/pods".into(),
            container_logs: "/var/log/containers".into(),
            cgroup: rk_sys::CGROUP_ROOT.into(),
            cri_socket: "/run/rk/cri.sock".into(),
            credential_providers: "/var/lib/rk/credential-providers".into(),
            shutdown_mark: "/run/rk/shutdown".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// How the node finds and trusts its cluster.
#[derive(Clone, Default)]
pub struct Cluster {
    /// `https://host:port` of the API server.
    pub endpoint: String,
    /// Bootstrap token `id.secret`; needed only until the node has its own certificate.
    pub token: Option<String>,
    /// Pin of the cluster CA: `sha256:<hex of its SubjectPublicKeyInfo>`.
    pub ca_hash: Option<String>,
    /// A CA file that may be trusted instead of a pin (the node runs the control plane itself).
    pub ca_file: Option<PathBuf>,
    /// Addresses of the cluster DNS.
    pub dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub domain: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret: only its presence is shown.
        f.debug_struct("Cluster")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.is_some())
            .field("ca_hash", &self.ca_hash)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// What the node shows to one registry, for all of its pods.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// The registry, or a path in it.
    pub place: String,
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// A token that stands for both.
    pub identity_token: String,
}

impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // All but the place is a secret.
        f.debug_struct("RegistryAuth").field("place", &self.place).finish_non_exhaustive()
    }
}

/// When images that nobody uses are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGc {
    /// Usage of the disk in percent at which it begins.
    pub high: u64,
    /// Usage down to which it goes on.
    pub low: u64,
    /// Images younger than this stay.
    pub youngest: Duration,
    /// Unused images older than this go whatever the disk holds; zero is never.
    pub oldest: Duration,
}

/// Bounds of containers' logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Bytes at which a log is rotated.
    pub size: u64,
    /// Files kept per container, the live one included.
    pub files: usize,
    /// How often sizes are looked at.
    pub monitor: Duration,
    /// Logs rotated at the same time.
    pub workers: u32,
}

/// Settings of one kubelet.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Node's name.
    pub node_name: String,
    /// The addresses that are reported as InternalIP, the primary first; found through the route to the endpoint when there are none.
    pub node_ips: Vec<IpAddr>,
    /// Whether an address of the other family is looked for as well, where none is given.
    pub dual_stack: bool,
    /// Addresses that this machine has at times only, in turn with others.
    pub shared_addresses: Vec<IpAddr>,
    /// Whether this node carries the control plane (label and taint).
    pub control_plane: bool,
    /// The cluster to join.
    pub cluster: Cluster,
    /// Extra labels of the Node.
    pub labels: BTreeMap<String, String>,
    /// Taints that the Node registers with.
    pub taints: Vec<Taint>,
    /// Most pods that this node admits.
    pub max_pods: u32,
    /// The machine's id with who provides it, for the Node's spec; empty is none.
    pub provider_id: String,
    /// How often, how long and how much at once.
    pub pace: Pace,
    /// What must stay free on the node; pods go when less is.
    pub eviction: Thresholds,
    /// How much more than a threshold is freed once less was there (`evictionMinimumReclaim`).
    pub minimum_reclaim: Thresholds,
    /// What should stay free, and for how long less is borne.
    pub soft_eviction: SoftEviction,
    /// How long pods may take to end when the machine goes down.
    pub shutdown: ShutdownGrace,
    /// How long a shortage is told after it was seen last.
    pub pressure_transition: Duration,
    /// Removal of unused images.
    pub image_gc: ImageGc,
    /// What the node shows to registries.
    pub registry_auth: Vec<RegistryAuth>,
    /// Plugins that are asked for more.
    pub credential_providers: Vec<CredentialProvider>,
    /// For which images that are here a pod's credentials are asked for.
    pub image_verification: Verification,
    /// Logs of containers.
    pub logs: LogBounds,
    /// Most processes of one pod.
    pub pod_pids: Option<u64>,
    /// Whether all pods together are held to the memory that is theirs (`enforceNodeAllocatable: [pods]`).
    pub enforce_allocatable: bool,
    /// Whether a lack of memory ends one process of a container, and not all of them (`singleProcessOOMKill`).
    pub single_process_oom_kill: bool,
    /// Whether the server lets anybody look into containers, however much they may (`enableDebuggingHandlers`).
    pub debugging: bool,
    /// Whether the server lets read what pods have written, folder by folder (`enableSystemLogHandler`).
    pub system_logs: bool,
    /// Sysctls that pods may set besides the harmless ones; `net.core.*` stands for all that begin so.
    pub unsafe_sysctls: Vec<String>,
    /// Whether containers that name no seccomp profile get the runtime's own (`seccompDefault`, KEP-2413). Upstream's kubelet leaves that to
    /// whoever installs it (ADR 0199).
    pub seccomp_default: bool,
    /// How CPUs are given to containers.
    pub cpu_policy: CpuPolicy,
    /// How memory is given to containers.
    pub memory_policy: MemoryPolicy,
    /// Whether what containers get must come from near memory nodes.
    pub topology: TopologyRules,
    /// Ids of a pod with users of its own (`userNamespaces.idsPerPod`).
    pub ids_per_pod: u32,
    /// What containers may do with the machine's swap.
    pub swap: SwapBehavior,
    /// Whether the kubelet refuses to run on a machine that swaps.
    pub fail_swap_on: bool,
    /// What is kept from pods besides the least, by resource, thousandths.
    pub reserved: BTreeMap<String, u64>,
    /// Keep secrets, tokens and pod facts on tmpfs (needs the right to mount), else beside the other volumes.
    pub secrets_in_memory: bool,
    /// Places on disk.
    pub dirs: Dirs,
    /// Address of the HTTPS server.
    pub listen: SocketAddr,
    /// Address of the plain health endpoint.
    pub healthz: SocketAddr,
    /// What the HTTPS server takes of TLS.
    pub tls: TlsRules,
    /// Port that is read from without a name or a secret; 0 is none.
    pub read_only_port: u16,
    /// Static pods besides those of manifests, each a `v1.Pod`.
    pub static_pods: Vec<serde_json::Value>,
    /// An address of more of them.
    pub static_pod_url: PodUrl,
    /// What of the settings the kubelet must not start with.
    pub faults: Vec<String>,
}

impl Options {
    /// Options for a node of this name in this cluster, everything else as upstream's defaults.
    pub fn new(node_name: impl Into<String>, cluster: Cluster) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: Vec::new(),
            dual_stack: false,
            shared_addresses: Vec::new(),
            control_plane: false,
            cluster,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            max_pods: 110,
            provider_id: String::new(),
            pace: Pace::default(),
            eviction: Thresholds::default(),
            minimum_reclaim: Thresholds::none(),
            soft_eviction: SoftEviction::default(),
            shutdown: ShutdownGrace::of_machine(30),
            pressure_transition: Duration::from_secs(300),
            image_gc: ImageGc { high: 85, low: 80, youngest: Duration::from_secs(120), oldest: Duration::ZERO },
            registry_auth: Vec::new(),
            credential_providers: Vec::new(),
            image_verification: Verification::default(),
            logs: LogBounds { size: 10 << 20, files: 5, monitor: Duration::from_secs(10), workers: 1 },
            pod_pids: None,
            enforce_allocatable: true,
            debugging: true,
            system_logs: true,
            single_process_oom_kill: false,
            unsafe_sysctls: Vec::new(),
            seccomp_default: true,
            cpu_policy: CpuPolicy::None,
            memory_policy: MemoryPolicy::None,
            topology: TopologyRules::default(),
            ids_per_pod: IDS_PER_POD,
            swap: SwapBehavior::default(),
            // The one default that is not upstream's: whoever gave the machine swap meant it, and pods get none unless told.
            fail_swap_on: false,
            reserved: BTreeMap::new(),
            secrets_in_memory: true,
            dirs: Dirs::default(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 10250)),
            healthz: SocketAddr::from((Ipv4Addr::LOCALHOST, 10248)),
            tls: TlsRules::default(),
            read_only_port: 0,
            static_pods: Vec::new(),
            static_pod_url: PodUrl::default(),
            faults: Vec::new(),
        }
    }

    /// Where everybody may read, when it is wanted.
    pub fn read_only(&self) -> Option<SocketAddr> {
        (self.read_only_port > 0).then(|| SocketAddr::new(self.listen.ip(), self.read_only_port))
    }

    /// The user name of the node's certificates (`system:node:<name>`).
    pub fn user(&self) -> String {
        format!("system:node:{}", self.node_name)
    }
}
