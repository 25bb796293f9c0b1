//! What pods use of memory and of the local disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;
use crate::translate::log_directory;

/// Entries of one tree that are counted; a pod with more is counted as far as that.
const MAX_ENTRIES: usize = 1_000_000;

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

/// What trees take: bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// What a tree takes on its own file system. Links are not followed, and what vanishes meanwhile is not counted.
pub fn tree(root: &Path) -> Taken {
    let Ok(meta) = fs::symlink_metadata(root) else { return Taken::default() };
    let (device, mut bytes, mut left) = (meta.dev(), meta.blocks().saturating_mul(512), MAX_ENTRIES);
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != device || left == 0 {
                continue;
            }
            left -= 1;
            bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Taken { bytes, inodes: u64::try_from(MAX_ENTRIES - left).unwrap_or(u64::MAX).saturating_add(1) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_counted_with_its_holes_left_out_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let before = tree(dir.path()).bytes;
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), vec![1; 100_000]).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("away")).unwrap();
        let grown = tree(dir.path());
        assert!((100_000..1_000_000).contains(&(grown.bytes - before)), "{grown:?}");
        assert_eq!(grown.inodes, 5);
        assert_eq!(tree(Path::new("/nonexistent")), Taken::default());
    }
}
