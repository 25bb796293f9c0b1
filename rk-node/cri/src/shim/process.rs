use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rk_shim_protocol::{CONFIG_FILE, SandboxConfig, namespace_file};
use tokio::process::Command;

use crate::error::{Error, IoContext, Result};

/// Making a network namespace waits for the kernel's lock on them, which a burst of pods makes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the shim of a sandbox in its directory `dir`; on return it listens and the namespaces are pinned. It lives on when this
/// process dies.
pub(crate) async fn spawn(binary: &Path, dir: &Path, config: &SandboxConfig) -> Result<()> {
    let file = dir.join(CONFIG_FILE);
    let text = serde_json::to_vec(config).map_err(std::io::Error::from).at("encode", &file)?;
    std::fs::write(&file, text).at("write", &file)?;
    let mut command = Command::new(binary);
    command
        .arg("run")
        .arg(dir)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output());
    let output = output
        .await
        .map_err(|_| Error::Shim { sandbox: config.id.clone(), reason: "it did not start in time".into() })?;
    let output = output.at("start", binary)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Shim { sandbox: config.id.clone(), reason: said.trim().trim_start_matches("rk-shim: ").to_owned() })
}

/// Removes what a shim pinned, for one that cannot do so any more. What is not there is fine.
pub(crate) fn unpin(dir: &Path, netns: Option<&Path>) {
    let files = ["ipc", "uts", "pid", "user"].map(|kind| namespace_file(dir, kind));
    for path in files.iter().map(AsRef::as_ref).chain(netns) {
        let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_file(path);
    }
}
