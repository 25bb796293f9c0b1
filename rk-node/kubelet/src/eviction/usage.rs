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
}

impl PodUse {
    /// Memory of all containers.
    pub fn memory_total(&self) -> u64 {
        self.memory.values().sum()
    }

    /// The local disk, everything together.
    pub fn disk_total(&self) -> u64 {
        self.disk.values().sum::<u64>().saturating_add(self.volumes.values().sum())
    }
}

/// Bytes that a tree takes on its own file system. Links are not followed, and what vanishes meanwhile is not counted.
pub fn tree(root: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(root) else { return 0 };
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
    bytes
}

/// The emptyDir volumes of a pod that are on disk.
pub fn volumes(pod: &Pod, pod_dir: &Path) -> BTreeMap<String, u64> {
    let all = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let on_disk =
        all.filter(|v| v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or_default().is_empty()));
    on_disk.map(|v| (v.name.clone(), tree(&pod_dir.join("volumes/kubernetes.io~empty-dir").join(&v.name)))).collect()
}

/// Logs of a pod's containers.
pub fn logs(pod: &Pod, root: &Path) -> BTreeMap<String, u64> {
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
        let before = tree(dir.path());
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), vec![1; 100_000]).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("away")).unwrap();
        let grown = tree(dir.path()) - before;
        assert!((100_000..1_000_000).contains(&grown), "{grown}");
        assert_eq!(tree(Path::new("/nonexistent")), 0);
    }
}
