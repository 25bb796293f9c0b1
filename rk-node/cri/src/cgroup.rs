//! cgroup v2 of pods and containers.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rk_cri_api::v1::LinuxContainerResources;
use rk_sys::{CGROUP_ROOT, cgroup_dir};

use crate::error::{Error, IoContext, Result};
use crate::spec;

/// Makes the cgroup with all controllers that its parents have, and puts limits in force.
pub(crate) fn create(path: &Path, resources: Option<&LinuxContainerResources>) -> Result<()> {
    let mut dir = PathBuf::from(CGROUP_ROOT);
    for part in path.components() {
        let std::path::Component::Normal(name) = part else { continue };
        enable_controllers(&dir);
        dir.push(name);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error).at("create cgroup", &dir),
            _ => {}
        }
    }
    resources.map_or(Ok(()), |resources| apply(path, resources))
}

fn enable_controllers(dir: &Path) {
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    for controller in available.split_whitespace().filter(|c| !enabled.split_whitespace().any(|e| e == *c)) {
        // A controller that cannot be passed down is missed only by a limit that needs it, and that limit says so.
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Puts limits in force on an existing cgroup.
pub(crate) fn apply(path: &Path, resources: &LinuxContainerResources) -> Result<()> {
    let dir = cgroup_dir(path);
    for setting in spec::settings(resources).map_err(Error::Invalid)? {
        let file = dir.join(&setting.file);
        match fs::write(&file, &setting.value) {
            Err(error) if error.kind() == ErrorKind::NotFound && !setting.required => {}
            Err(error) => {
                return Err(Error::Internal(format!("set {} to {:?}: {error}", file.display(), setting.value)));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Kills everything in it.
pub(crate) fn kill(path: &Path) {
    if let Err(error) = rk_sys::kill_cgroup(&cgroup_dir(path)) {
        // It matters when the cgroup is removed, which warns that it still has processes.
        tracing::debug!("{error}");
    }
}

/// Removes it and what is below; busy ones are tried again for a moment, as killed processes take one to go.
pub(crate) async fn remove(path: &Path) {
    let dir = cgroup_dir(path);
    for _ in 0..100 {
        if remove_tree(&dir) {
            return;
        }
        kill(path);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tracing::warn!(cgroup = %dir.display(), "a cgroup could not be removed: it still has processes");
}

fn remove_tree(dir: &Path) -> bool {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    !matches!(fs::remove_dir(dir), Err(error) if error.kind() != ErrorKind::NotFound)
}
