//! A directory for one exec, and for nothing beyond it.
//!
//! libcontainer makes sockets for each exec where it finds the container, and leaves them behind: in a directory that all of them share,
//! a probe each second would fill the file system in time. So each finds it in a directory of its own, which a worker makes and the shim
//! removes once that worker has ended, however that was.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;
use rk_shim_protocol::container_dir;

/// Below the sandbox's directory: one directory for each exec that is being started, by its worker's pid.
const EXECS: &str = "execs";
/// What libcontainer keeps of a container, and all that it reads there to run another process in it.
const STATE: &str = "state.json";

fn root(dir: &Path, worker: Pid) -> PathBuf {
    dir.join(EXECS).join(worker.to_string())
}

/// Makes the directory of this worker, in the sandbox's directory `dir`, with the state of container `id`: it stands in the place of the
/// directory of all containers' states.
pub fn make(dir: &Path, id: &str) -> Result<PathBuf> {
    let root = root(dir, Pid::this());
    let own = root.join(id);
    fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
    let state = container_dir(dir).join(id).join(STATE);
    symlink(&state, own.join(STATE)).with_context(|| format!("link to {}", state.display()))?;
    Ok(root)
}

/// Removes what a worker made, if it came to that, and what libcontainer left there.
pub fn remove(dir: &Path, worker: Pid) {
    let _ = fs::remove_dir_all(root(dir, worker));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_exec_leaves_goes_and_the_state_that_it_read_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = container_dir(dir.path()).join("c").join(STATE);
        fs::create_dir_all(state.parent().unwrap()).unwrap();
        fs::write(&state, "running").unwrap();
        let root = make(dir.path(), "c").unwrap();
        assert_eq!(fs::read_to_string(root.join("c").join(STATE)).unwrap(), "running");
        fs::write(root.join("c/notify.sock"), "").unwrap();
        remove(dir.path(), Pid::this());
        assert_eq!(fs::read_dir(dir.path().join(EXECS)).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(&state).unwrap(), "running");
        // One that failed before it made any.
        remove(dir.path(), Pid::this());
    }
}
