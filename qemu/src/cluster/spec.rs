//! What a cluster is made of.

use crate::Accel;
use crate::vm::Machine;
use std::path::{Path, PathBuf};

/// The node port that is forwarded from the host to the first worker from the start.
pub const NODE_PORT: u16 = 30080;

/// Files that a cluster needs.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Artifacts {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs with the root.
    pub initramfs: PathBuf,
    /// The registry's binary.
    pub registry: PathBuf,
}

/// A cluster to be.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Its name.
    pub name: String,
    /// Its folder: disks, logs, kubeconfig, state. Emptied at the start.
    pub dir: PathBuf,
    /// Files.
    pub artifacts: Artifacts,
    /// Where the registry keeps its images; may be shared by clusters.
    pub registry_storage: PathBuf,
    /// Workers beside the one control plane; at most 200.
    pub workers: u8,
    /// Memory of each machine in MiB.
    pub memory_mib: u64,
    /// Processors of each machine.
    pub cpus: u32,
    /// Board of each machine.
    pub machine: Machine,
    /// Accelerator.
    pub accel: Accel,
    /// Size of each data disk in MiB; 0 leaves the disk out.
    pub data_mib: u64,
    /// Port of the host for the API server, or the next free one; any free one when absent.
    pub api_port: Option<u16>,
}

impl ClusterSpec {
    /// A control plane and two workers in `dir`.
    pub fn new(name: &str, dir: &Path, artifacts: Artifacts, registry_storage: &Path, accel: Accel) -> ClusterSpec {
        ClusterSpec {
            name: name.to_owned(),
            dir: dir.to_owned(),
            artifacts,
            registry_storage: registry_storage.to_owned(),
            workers: 2,
            memory_mib: 768,
            cpus: 2,
            machine: Machine::Microvm,
            accel,
            data_mib: 8192,
            api_port: None,
        }
    }
}
