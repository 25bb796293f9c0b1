//! What the kubelet must be told: identity, cluster, limits and places. Values only; nothing is read from disk here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Taint;

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
            cgroup: "/sys/fs/cgroup".into(),
            cri_socket: "/run/rk/cri.sock".into(),
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

/// What must stay free on the node (upstream's `evictionHard`). Zero means that nothing is ever too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Available memory, bytes (`memory.available`).
    pub memory: u64,
    /// Free space of the disk that holds pods, percent (`nodefs.available`).
    pub disk_percent: u64,
    /// Its free inodes, percent (`nodefs.inodesFree`).
    pub inodes_percent: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { memory: 100 * 1024 * 1024, disk_percent: 10, inodes_percent: 5 }
    }
}

/// Settings of one kubelet.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Node's name.
    pub node_name: String,
    /// The address that is reported as InternalIP; found through the route to the endpoint when absent.
    pub node_ip: Option<IpAddr>,
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
    /// What must stay free on the node; pods go when less is.
    pub eviction: Thresholds,
    /// How long pods may take to end when the machine goes down.
    pub shutdown_grace: std::time::Duration,
    /// Keep secrets, tokens and pod facts on tmpfs (needs the right to mount), else beside the other volumes.
    pub secrets_in_memory: bool,
    /// Places on disk.
    pub dirs: Dirs,
    /// Address of the HTTPS server.
    pub listen: SocketAddr,
    /// Address of the plain health endpoint.
    pub healthz: SocketAddr,
}

impl Options {
    /// Options for a node of this name in this cluster, everything else as upstream's defaults.
    pub fn new(node_name: impl Into<String>, cluster: Cluster) -> Self {
        Self {
            node_name: node_name.into(),
            node_ip: None,
            control_plane: false,
            cluster,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            max_pods: 110,
            eviction: Thresholds::default(),
            shutdown_grace: std::time::Duration::from_secs(30),
            secrets_in_memory: true,
            dirs: Dirs::default(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 10250)),
            healthz: SocketAddr::from((Ipv4Addr::LOCALHOST, 10248)),
        }
    }

    /// The user name of the node's certificates (`system:node:<name>`).
    pub fn user(&self) -> String {
        format!("system:node:{}", self.node_name)
    }
}
