//! What is kept of sandboxes and containers, on disk and in memory.

use std::net::IpAddr;
use std::path::PathBuf;

use rk_cri_api::v1::{ContainerConfig, ContainerState, LinuxContainerResources, NamespaceMode, PodSandboxConfig};
use serde::{Deserialize, Serialize};

use crate::spec::User;

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Being made; found at start it is an attempt that a crash cut short.
    Creating,
    /// Ready for containers.
    Ready,
    /// Stopped, or lost its shim.
    Stopped,
}

/// A pod sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    /// 64 hex digits.
    pub id: String,
    /// As the kubelet gave it.
    pub config: PodSandboxConfig,
    /// Runtime handler asked for.
    pub runtime_handler: String,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Life.
    pub phase: Phase,
    /// The pinned network namespace; `None` for the node's.
    pub netns: Option<PathBuf>,
    /// Whether network plugins may have been asked to set it up, and not yet, with success, to undo it.
    pub network: bool,
    /// Addresses, the primary first.
    pub ips: Vec<IpAddr>,
    /// cgroup of the pod, from the hierarchy's root.
    pub cgroup_parent: PathBuf,
    /// Kernel's boot id when it was made: after a reboot nothing of it runs any more.
    pub boot_id: String,
}

impl SandboxRecord {
    /// The mode of one of the pod's namespaces.
    pub fn namespace(&self, of: impl Fn(&rk_cri_api::v1::NamespaceOption) -> NamespaceMode) -> NamespaceMode {
        let security = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        security.and_then(|s| s.namespace_options.as_ref()).map_or(NamespaceMode::Pod, of)
    }
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Exit code.
    pub code: i32,
    /// Nanoseconds since the epoch.
    pub finished_at: i64,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` or `Unknown`.
    pub reason: String,
    /// More for the user.
    pub message: String,
}

/// A container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// 64 hex digits.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// As the kubelet gave it, resources as updated since.
    pub config: ContainerConfig,
    /// Digest of the image's config.
    pub image_id: String,
    /// A digested name of the image.
    pub image_ref: String,
    /// Linux number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// Who it runs as.
    pub user: User,
    /// cgroup from the hierarchy's root.
    pub cgroup: PathBuf,
    /// Where its log is; `None` if none was asked for.
    pub log_path: Option<PathBuf>,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Nanoseconds since the epoch; 0 before it is started.
    pub started_at: i64,
    /// Host pid of the first process while it runs.
    pub pid: i32,
    /// Set once it ended or could not be started.
    pub ended: Option<Ended>,
    /// Snapshots besides the root, of images mounted as volumes.
    pub volume_snapshots: Vec<String>,
}

impl ContainerRecord {
    /// Its state as CRI names it.
    pub fn state(&self) -> ContainerState {
        match (&self.ended, self.started_at) {
            (Some(_), _) => ContainerState::ContainerExited,
            (None, 0) => ContainerState::ContainerCreated,
            (None, _) => ContainerState::ContainerRunning,
        }
    }

    /// Resources in force.
    pub fn resources(&self) -> Option<&LinuxContainerResources> {
        self.config.linux.as_ref().and_then(|linux| linux.resources.as_ref())
    }
}
