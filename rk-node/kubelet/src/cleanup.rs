//! Removing what pods leave behind: log directories, dangling log links, directories of pods that nobody knows.

use std::fs;

use k8s_openapi::api::core::v1::Pod;

use crate::options::Dirs;
use crate::translate::log_directory;

/// Removes a pod's logs and the links to them.
pub fn remove_logs(dirs: &Dirs, pod: &Pod) {
    let logs = log_directory(&dirs.pod_logs, pod);
    if let Err(error) = fs::remove_dir_all(&logs)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %logs.display(), "removing a pod's logs: {error}");
    }
    remove_dangling_links(dirs);
}

/// Removes links in the flat log directory whose log is gone.
pub fn remove_dangling_links(dirs: &Dirs) {
    for entry in fs::read_dir(&dirs.container_logs).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_symlink())
            && !path.exists()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(link = %path.display(), "removing a dangling link: {error}");
        }
    }
}
