//! Devices of the node that pods have as trees (`local` volumes of the mode `Filesystem`): mounted once for all pods, as upstream does
//! it, and let go when none has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::LocalVolumeSource;
use nix::mount::{MsFlags, mount};

use super::manager::VolumeManager;
use super::persistent::LOCAL_VOLUMES;
use super::{mounted, nfs};

/// Where they are mounted, below the kubelet's directory, by the names of their volumes.
const MOUNTS: &str = "plugins/kubernetes.io/local-volume/mounts";
/// What a device is mounted as that tells nothing of itself; upstream's default.
const FS_TYPE: &str = "ext4";

/// One works on them at a time: none is let go while a pod gets it.
static TURN: Mutex<()> = Mutex::new(());

/// Mounts the device of a volume for a pod, unless it is there.
///
/// # Errors
/// It holds no file system, or not the one that the volume names: nothing is formatted, since the node has no program for that.
pub fn bring(pod_dir: &Path, name: &str, of: &LocalVolumeSource, options: &[String]) -> Result<PathBuf, String> {
    let place = pod_dir.ancestors().nth(2).unwrap_or(pod_dir).join(MOUNTS).join(name);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // By its own directory the pod is known to want it.
    for dir in [&pod_dir.join(LOCAL_VOLUMES).join(name), &place] {
        fs::create_dir_all(dir).map_err(|e| format!("making {}: {e}", dir.display()))?;
    }
    if mounted::is_point(&place).map_err(|e| e.to_string())? {
        return Ok(place);
    }
    let device = Path::new(&of.path);
    let named = of.fs_type.as_deref().filter(|kind| !kind.is_empty());
    let held = rk_sys::read_superblock(device).map_err(|e| e.to_string())?.map(|found| found.fstype);
    let kind = named.or(held).unwrap_or(FS_TYPE);
    let why = |problem: String| {
        let (device, place) = (device.display(), place.display());
        format!("local: failed to mount device {device} at {place} (fstype: {kind}), error {problem}")
    };
    if rk_sys::is_blank(device).map_err(|e| why(e.to_string()))? {
        return Err(why(format!("the device is not formatted, and this node has no mkfs.{kind}: format it first")));
    }
    let (flags, data) = split(options);
    match mount(Some(device), &place, Some(kind), flags, Some(data.as_str())) {
        Ok(()) => Ok(place),
        Err(errno) => Err(why(match held.filter(|held| *held != kind) {
            Some(held) => format!(
                "failed to mount the volume as {kind:?}, it already contains {held}. Mount error: {}",
                errno.desc()
            ),
            None => errno.desc().to_owned(),
        })),
    }
}

/// Mount options as the kernel takes them: flags, and the rest.
fn split(options: &[String]) -> (MsFlags, String) {
    let (mut flags, mut rest) = (MsFlags::empty(), Vec::new());
    for option in options.iter().flat_map(|options| options.split(',')).filter(|option| !option.is_empty()) {
        match nfs::flag(option) {
            Some(flag) => flags.insert(flag),
            None => rest.push(option),
        }
    }
    (flags, rest.join(","))
}

/// Lets go of what no pod has any more.
fn release(pods: &Path) {
    let mounts = pods.parent().unwrap_or(pods).join(MOUNTS);
    for entry in fs::read_dir(&mounts).into_iter().flatten().flatten() {
        // Who works on one may do so for long; the next look is soon.
        let Ok(_turn) = TURN.try_lock() else { return };
        let of_pod = Path::new(LOCAL_VOLUMES).join(entry.file_name());
        // Who cannot be looked at may have it.
        let Ok(all) = fs::read_dir(pods) else { return };
        if all.flatten().any(|pod| pod.path().join(&of_pod).symlink_metadata().is_ok()) {
            continue;
        }
        let place = entry.path();
        if let Err(problem) = mounted::unmount_below(&place).and_then(|()| fs::remove_dir(&place)) {
            tracing::warn!(volume = ?entry.file_name(), "its device stays mounted for now: {problem}");
        }
    }
}

impl VolumeManager {
    /// Has devices unmounted that pods had as trees and that no pod has any more.
    pub async fn release_devices(&self) {
        let pods = self.pods.clone();
        if let Err(problem) = tokio::task::spawn_blocking(move || release(&pods)).await {
            tracing::warn!("letting go of devices: {problem}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A device stands behind `path`, or what is to pass for one.
    fn local(path: &Path, kind: &str) -> LocalVolumeSource {
        serde_json::from_value(json!({"path": path, "fsType": kind})).unwrap()
    }

    #[test]
    fn a_device_without_a_file_system_or_with_another_one_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (pod, disk) = (dir.path().join("pods/u"), dir.path().join("disk"));
        let why = |kind: &str| bring(&pod, "pv", &local(&disk, kind), &[]).unwrap_err();
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        let told = why("");
        assert!(
            told.starts_with("local: failed to mount device ") && told.contains("(fstype: ext4), error "),
            "{told}"
        );
        assert!(told.ends_with("is not formatted, and this node has no mkfs.ext4: format it first"), "{told}");
        assert_eq!(fs::read(&disk).unwrap(), vec![0; 1 << 20]);
        // The marks of ext4, and nothing behind them.
        let mut bytes = vec![0; 1 << 20];
        bytes[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        fs::write(&disk, bytes).unwrap();
        let told = why("xfs");
        assert!(
            told.contains("failed to mount the volume as \"xfs\", it already contains ext4. Mount error: "),
            "{told}"
        );
        assert!(!why("").contains("already contains"));
    }

    #[test]
    fn a_device_is_let_go_when_no_pod_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let (pods, place) = (dir.join("pods"), dir.join(MOUNTS).join("pv"));
        let of_pod = pods.join("u").join(LOCAL_VOLUMES).join("pv");
        fs::create_dir_all(&place).unwrap();
        fs::create_dir_all(&of_pod).unwrap();
        // In the place of a device's, which takes one to be had.
        mount(Some("ramfs"), &place, Some("ramfs"), MsFlags::empty(), None::<&str>).unwrap();
        fs::write(place.join("file"), "x").unwrap();
        let there = local(Path::new("/dev/none"), "");
        assert_eq!(bring(&pods.join("u"), "pv", &there, &[]), Ok(place.clone()), "it is there already");
        release(&pods);
        assert!(place.join("file").is_file(), "the pod has it");
        mounted::remove_tree(&pods.join("u")).unwrap();
        let used = fs::File::open(place.join("file")).unwrap();
        release(&pods);
        assert!(mounted::is_point(&place).unwrap(), "somebody uses it");
        drop(used);
        // Somebody else may have the turn.
        let gone = (0..500).any(|_| {
            release(&pods);
            std::thread::sleep(std::time::Duration::from_millis(10));
            !place.exists()
        });
        assert!(gone);
    }

    #[test]
    fn mount_options_are_flags_or_the_file_systems() {
        let (flags, rest) = split(&["noatime,rw".to_owned(), "commit=60".to_owned(), "discard,_netdev".to_owned()]);
        assert_eq!((flags, rest.as_str()), (MsFlags::MS_NOATIME, "commit=60,discard"));
    }
}
