//! What pods use of memory and of the local disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use rk_figures::{Taken, count_tree};

use crate::pod::spec;
use crate::translate::log_directory;

/// What one pod uses, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUse {
    /// Memory that cannot be reclaimed easily, by container.
    pub memory: BTreeMap<String, u64>,
    /// Writable layer and logs, by container.
    pub disk: BTreeMap<String, u64>,
    /// emptyDir volumes on disk, by name.
    pub volumes: BTreeMap<String, u64>,
    /// Files of the kubelet's own that containers can write: their hosts file and their last words.
    pub own_files: u64,
    /// Files and directories of all of that, when the disk was looked through.
    pub inodes: u64,
    /// Processes, when these are short.
    pub pids: u64,
}

impl PodUse {
    /// Memory of all containers.
    pub fn memory_total(&self) -> u64 {
        self.memory.values().sum()
    }

    /// The local disk, everything together.
    pub fn disk_total(&self) -> u64 {
        self.disk.values().sum::<u64>().saturating_add(self.volumes.values().sum()).saturating_add(self.own_files)
    }
}

/// What a tree takes; nothing, when it is not there.
fn tree(root: &Path) -> Taken {
    count_tree(root, |_| {}).unwrap_or_default()
}

/// The kubelet's own files of a pod that its containers can write.
pub fn own_files(pod_dir: &Path) -> Taken {
    let hosts = fs::symlink_metadata(pod_dir.join("etc-hosts")).map_or(0, |m| m.blocks().saturating_mul(512));
    let words = tree(&pod_dir.join("containers"));
    Taken { bytes: hosts.saturating_add(words.bytes), inodes: words.inodes }
}

/// Logs of a pod's containers.
pub fn logs(pod: &Pod, root: &Path) -> BTreeMap<String, Taken> {
    let dir = log_directory(root, pod);
    let containers = spec::init_containers(pod).iter().chain(spec::app_containers(pod));
    containers.map(|c| (c.name.clone(), tree(&dir.join(&c.name)))).collect()
}
