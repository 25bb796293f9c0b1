//! Persistent volumes that are of this node itself: directories and devices (`local`, `hostPath`).

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::csi::Placed;
use super::{host_path, local_device, mounted, ownership};
use k8s_openapi::api::core::v1::PersistentVolume;

/// Where a pod's directory has the node's own volumes.
pub const LOCAL_VOLUMES: &str = "volumes/kubernetes.io~local-volume";

/// Brings the volume to a pod, for the group that [`ownership::wanted`] tells. The work blocks.
pub fn place(pod_dir: &Path, volume: &PersistentVolume, group: (Option<i64>, bool)) -> Result<Placed, String> {
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
            (false, true, _) => {
                let options = of.mount_options.as_deref().unwrap_or_default();
                let tree = local_device::bring(pod_dir, name, local, options)?;
                bound(pod_dir, name, &tree, group).map(Placed::Tree)
            }
            (false, ..) => Err("only directory and block device are supported".to_owned()),
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
fn bound(pod_dir: &Path, name: &str, source: &Path, group: (Option<i64>, bool)) -> Result<PathBuf, String> {
    let target = pod_dir.join(LOCAL_VOLUMES).join(name);
    let work = || -> std::io::Result<()> {
        fs::create_dir_all(&target)?;
        let (pod_dir, of_pod) = (fs::canonicalize(pod_dir)?, Path::new(LOCAL_VOLUMES).join(name));
        let points = mounted::points_below(pod_dir.parent().unwrap_or(&pod_dir))?;
        if points.contains(&pod_dir.join(&of_pod)) {
            return Ok(());
        }
        // Once, before any pod has it: what containers make of it stays.
        if !points.iter().any(|point| point.ends_with(&of_pod)) {
            ownership::apply(&fs::canonicalize(source)?, group.0, false, group.1)?;
        }
        Ok(mounted::bind(source, &target)?)
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
        let placed = || place(&pod, &local, (group, true)).unwrap();
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
        mounted::remove_tree(&pod).unwrap();
        assert!(!pod.exists() && data.join("kept").is_file());
    }

    #[test]
    fn a_directory_is_given_to_the_group_of_its_first_pod_as_that_wants_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let file = data.join("file");
        fs::create_dir(&data).unwrap();
        fs::write(&file, "x").unwrap();
        let local = volume(json!({"local": {"path": data}}));
        let group = Some(i64::from(fs::metadata(&data).unwrap().gid()));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        // The root fits, and what is below it does not.
        set(&data, 0o2770);
        set(&file, 0o600);
        for (pod, on_mismatch, want) in [("a", true, 0o600), ("b", false, 0o600)] {
            place(&dir.path().join("pods").join(pod), &local, (group, on_mismatch)).unwrap();
            assert_eq!(mode(&file), want, "{pod}");
        }
        for pod in ["a", "b"] {
            mounted::remove_tree(&dir.path().join("pods").join(pod)).unwrap();
        }
        place(&dir.path().join("pods/c"), &local, (group, false)).unwrap();
        assert_eq!(mode(&file), 0o660, "no other pod has it, and all of it is to be given");
        mounted::remove_tree(&dir.path().join("pods/c")).unwrap();
    }

    #[test]
    fn what_is_not_there_or_not_known_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (spec, word) in [
            (json!({"local": {"path": "/nonexistent"}}), "does not exist"),
            (json!({"local": {"path": "/etc"}, "volumeMode": "Block"}), "not a block device"),
            (json!({"local": {"path": "/etc/passwd"}}), "only directory and block device are supported"),
            (json!({"hostPath": {"path": "/etc", "type": "File"}}), "is not a file"),
            (
                json!({"iscsi": {"iqn": "x", "lun": 0, "targetPortal": "s"}, "accessModes": ["ReadWriteOnce"]}),
                "kind iscsi",
            ),
        ] {
            assert!(place(dir.path(), &volume(spec.clone()), (None, false)).unwrap_err().contains(word), "{spec}");
        }
    }
}
