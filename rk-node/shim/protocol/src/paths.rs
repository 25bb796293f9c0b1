use std::path::{Path, PathBuf};

/// Name of [`crate::SandboxConfig`] in a sandbox's directory.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the shim's socket in a sandbox's directory.
pub const SOCKET_FILE: &str = "shim.sock";

/// The shim's socket under the sandbox's directory `dir`.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join(SOCKET_FILE)
}

/// The shim's pid under `dir`.
pub fn pid_file(dir: &Path) -> PathBuf {
    dir.join("shim.pid")
}

/// Written once the namespaces stand and the socket listens.
pub fn ready_file(dir: &Path) -> PathBuf {
    dir.join("ready")
}

/// Where sources of mounts are gathered for containers of a pod with its own users, under `dir`; only they see it filled.
pub fn stage_dir(dir: &Path) -> PathBuf {
    dir.join("stage")
}

/// Where a namespace (`ipc`, `uts`, `pid`, `user`) of the pod is pinned under `dir`.
pub fn namespace_file(dir: &Path, kind: &str) -> PathBuf {
    dir.join("ns").join(kind)
}

/// The runtime's own state of containers under `dir`.
pub fn container_dir(dir: &Path) -> PathBuf {
    dir.join("containers")
}

/// Exit record of a container under `dir`; it is on disk before anybody hears of the exit.
pub fn exit_file(dir: &Path, container: &str) -> PathBuf {
    dir.join("exits").join(format!("{container}.json"))
}
