//! A directory for one exec, and for nothing beyond it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rk_shim_protocol::container_dir;

/// Below the sandbox's directory: one directory for each exec that is being started, by its worker's pid.
const EXECS: &str = "execs";
/// What libcontainer keeps of a container, and all that it reads there to run another process in it.
const STATE: &str = "state.json";

/// Where libcontainer finds the container that an exec joins. It makes sockets there for each exec and leaves them behind: in a
/// directory that all of them share, a probe each second would fill the file system in time. This one goes when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
}

impl Scratch {
    /// Makes it for this worker, in the sandbox's directory `dir`, with the state of container `id`.
    pub fn make(dir: &Path, id: &str) -> Result<Self> {
        let root = dir.join(EXECS).join(std::process::id().to_string());
        // A worker that was killed left it, and this one has its pid.
        let _ = fs::remove_dir_all(&root);
        let scratch = Self { root };
        let own = scratch.root.join(id);
        fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
        let state = container_dir(dir).join(id).join(STATE);
        symlink(&state, own.join(STATE)).with_context(|| format!("link to {}", state.display()))?;
        Ok(scratch)
    }

    /// In the place of the directory of all containers' states.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
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
        let leave = |scratch: &Scratch| fs::write(scratch.root().join("c/notify.sock"), "").unwrap();
        let killed = Scratch::make(dir.path(), "c").unwrap();
        leave(&killed);
        std::mem::forget(killed);
        let scratch = Scratch::make(dir.path(), "c").unwrap();
        assert!(!scratch.root().join("c/notify.sock").exists(), "a killed worker's");
        assert_eq!(fs::read_to_string(scratch.root().join("c").join(STATE)).unwrap(), "running");
        leave(&scratch);
        drop(scratch);
        assert_eq!(fs::read_dir(dir.path().join(EXECS)).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(&state).unwrap(), "running");
    }
}
