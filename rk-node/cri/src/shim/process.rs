use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ChildStderr;
use std::time::Duration;

use rk_shim_protocol::{CONFIG_FILE, SandboxConfig, namespace_file};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::starter::Starter;
use crate::error::{Error, IoContext, Result};

/// Making a network namespace waits for the kernel's lock on them, which a burst of pods makes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the shim of a sandbox in its directory `dir`; on return it listens and the namespaces are pinned. It lives on when this
/// process dies.
pub(crate) async fn spawn(starter: &Starter, binary: &Path, dir: &Path, config: &SandboxConfig) -> Result<()> {
    let file = dir.join(CONFIG_FILE);
    let text = serde_json::to_vec(config).map_err(std::io::Error::from).at("encode", &file)?;
    std::fs::write(&file, text).at("write", &file)?;
    let failed = |reason: &str| Error::Shim { sandbox: config.id.clone(), reason: reason.to_owned() };
    let mut started = starter.start(binary, dir).await.at("start", binary)?;
    let stderr = started.0.stderr.take();
    let said = tokio::time::timeout(PATIENCE, hear(stderr)).await.map_err(|_| failed("it did not start in time"))?;
    let said = said.at("read what is said by", binary)?;
    // It has closed its standard error: it ends this moment.
    if started.0.wait().at("wait for", binary)?.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    Err(failed(said.trim().trim_start_matches("rk-shim: ")))
}

/// What a process says on its standard error until it ends.
async fn hear(stderr: Option<ChildStderr>) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        Receiver::from_owned_fd(OwnedFd::from(stderr))?.read_to_end(&mut said).await?;
    }
    Ok(said)
}

/// Removes what a shim pinned, for one that cannot do so any more. What is not there is fine.
pub(crate) fn unpin(dir: &Path, netns: Option<&Path>) {
    let files = ["ipc", "uts", "pid", "user"].map(|kind| namespace_file(dir, kind));
    for path in files.iter().map(AsRef::as_ref).chain(netns) {
        let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_file(path);
    }
}
