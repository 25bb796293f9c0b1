//! Persistent volumes that are of this node itself: directories and devices (`local`, `hostPath`).

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::PersistentVolume;
use nix::mount::{MsFlags, mount};

use super::csi::Placed;
use super::{host_path, ownership, tmpfs};

/// Where a pod's directory has the node's own volumes.
pub const LOCAL_VOLUMES: &str = "volumes/kubernetes.io~local-volume";

/// Brings the volume to a pod. The work blocks.
pub fn place(pod_dir: &Path, volume: &PersistentVolume, group: Option<i64>) -> Result<Placed, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let of = volume.spec.clone().unwrap_or_default();
    let block = of.volume_mode.as_deref() == Some("Block");
    if let Some(host) = &of.host_path {
        let path = PathBuf::from(&host.path);
        host_path::prepare(&path, host.type_.as_deref().unwrap_or_default())?;
        return Ok(if block { Placed::Device(path) } else { Placed::Tree(path) });
    }
    if let Some(local) = &of.local {
        let path = PathBuf::from(&local.path);
        let kind = fs::metadata(&path).map_err(|e| format!("path {:?} does not exist: {e}", local.path))?.file_type();
        return match (block, kind.is_block_device(), kind.is_dir()) {
            (true, true, _) => Ok(Placed::Device(path)),
            (true, false, _) => Err(format!("{} is not a block device", path.display())),
            (false, _, true) => bound(pod_dir, name, &path, group).map(Placed::Tree),
            (false, ..) => Err(format!("{} is not a directory: format and mount the device first", path.display())),
        };
    }
    let value = serde_json::to_value(&of).unwrap_or_default();
    let common =
        ["accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "storageClassName", "volumeMode"];
    let kind = value.as_object().and_then(|o| {
        o.keys()
            .find(|k| !common.contains(&k.as_str()) && !k.starts_with("persistent") && !k.starts_with("volumeAttr"))
            .cloned()
    });
    Err(format!(
        "persistent volumes of kind {} are not supported by this node",
        kind.unwrap_or_else(|| "unknown".into())
    ))
}

/// Bind-mounts a directory of the node below the pod, so that it goes with the pod's own mounts and never with its files.
fn bound(pod_dir: &Path, name: &str, source: &Path, group: Option<i64>) -> Result<PathBuf, String> {
    let target = pod_dir.join(LOCAL_VOLUMES).join(name);
    let work = || -> std::io::Result<()> {
        fs::create_dir_all(&target)?;
        if tmpfs::is_mount_point(&target)? {
            return Ok(());
        }
        // Once, before the pod has it: what its containers make of it stays.
        ownership::apply(&fs::canonicalize(source)?, group, false, true)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source), &target, None::<&str>, flags, None::<&str>)?;
        Ok(())
    };
    work().map_err(|e| format!("mounting {} on {}: {e}", source.display(), target.display()))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use serde_json::json;

    fn volume(spec: serde_json::Value) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_directory_is_bound_once_and_its_files_outlive_the_pod() {
        let dir = tempfile::tempdir().unwrap();
        let (pod, data) = (dir.path().join("pod"), dir.path().join("data"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("kept"), "x").unwrap();
        let local = volume(json!({"local": {"path": data}}));
        let group = Some(i64::from(fs::metadata(&data).unwrap().gid()));
        let mode = || fs::metadata(&data).unwrap().mode() & 0o7777;
        let placed = || place(&pod, &local, group).unwrap();
        let there = Placed::Tree(pod.join("volumes/kubernetes.io~local-volume/pv"));
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!((placed(), mode()), (there.clone(), 0o2770));
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!((placed(), mode()), (there, 0o700), "what its containers make of it stays");
        assert!(pod.join("volumes/kubernetes.io~local-volume/pv/kept").is_file());
        assert!(
            rk_sys::remove_tree(&pod).is_err() && data.join("kept").is_file(),
            "what is mounted is not looked into"
        );
        tmpfs::remove_tree(&pod).unwrap();
        assert!(!pod.exists() && data.join("kept").is_file());
    }

    #[test]
    fn what_is_not_there_or_not_known_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (spec, word) in [
            (json!({"local": {"path": "/nonexistent"}}), "does not exist"),
            (json!({"local": {"path": "/etc"}, "volumeMode": "Block"}), "not a block device"),
            (json!({"hostPath": {"path": "/etc", "type": "File"}}), "is not a file"),
            (
                json!({"iscsi": {"iqn": "x", "lun": 0, "targetPortal": "s"}, "accessModes": ["ReadWriteOnce"]}),
                "kind iscsi",
            ),
        ] {
            assert!(place(dir.path(), &volume(spec.clone()), None).unwrap_err().contains(word), "{spec}");
        }
    }
}
