//! Removing what pods leave behind: log directories, dangling log links, directories of pods that nobody knows.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::options::Dirs;
use crate::translate::log_directory;

/// Removes a pod's logs and the links to them.
pub fn remove_logs(dirs: &Dirs, pod: &Pod) {
    let logs = log_directory(&dirs.pod_logs, pod);
    // The names of a pod that nobody knows are whatever a client of the runtime made up, and may lead elsewhere.
    if logs.parent() != Some(dirs.pod_logs.as_path()) {
        return tracing::warn!(dir = %logs.display(), "what is no directory of a pod's logs stays");
    }
    remove_directory(&logs);
    remove_dangling_links(dirs);
}

/// Removes a directory of a pod's logs.
pub fn remove_directory(logs: &Path) {
    if let Err(error) = fs::remove_dir_all(logs)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %logs.display(), "removing a pod's logs: {error}");
    }
}

/// The directories of pods' logs, with the UIDs in which their names end.
pub fn log_directories(dirs: &Dirs) -> Vec<(String, PathBuf)> {
    let of_pod = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (_, uid) = name.rsplit_once('_')?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        (is_dir && !uid.is_empty()).then(|| (uid.to_owned(), entry.path()))
    };
    fs::read_dir(&dirs.pod_logs).into_iter().flatten().flatten().filter_map(of_pod).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn directories_of_logs_are_known_by_the_uid_of_their_pod() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { pod_logs: dir.path().to_owned(), ..Dirs::default() };
        for name in ["default_web_1", "of_others_", "lost+found"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("a_b_file"), "").unwrap();
        assert_eq!(log_directories(&dirs), [("1".to_owned(), dir.path().join("default_web_1"))]);
        assert!(log_directories(&Dirs { pod_logs: dir.path().join("none"), ..dirs }).is_empty());
    }

    #[test]
    fn logs_are_removed_where_logs_of_pods_are_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let dirs =
            Dirs { pod_logs: dir.path().join("pods"), container_logs: dir.path().join("links"), ..Dirs::default() };
        for (namespace, name, logs, goes) in [
            ("default", "web", "pods/default_web_1", true),
            ("default", "x/../../other", "other_1", false),
            ("../data", "web", "data_web_1", false),
        ] {
            let logs = dir.path().join(logs);
            fs::create_dir_all(&logs).unwrap();
            fs::create_dir_all(dir.path().join("pods/default_x")).unwrap();
            let pod = json!({"metadata": {"namespace": namespace, "name": name, "uid": "1"}});
            remove_logs(&dirs, &serde_json::from_value(pod).unwrap());
            assert_eq!(!logs.exists(), goes, "{namespace} {name}");
        }
    }
}
