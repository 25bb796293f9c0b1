//! A process that joins a container of a pod with its own users becomes one of them.
//!
//! libcontainer joins every namespace of a running container but that of its users, and would leave the host's root in the pod. So it
//! is asked for a process of the host's root, which only at its very end, before anything of the container is run, becomes a user of
//! the pod; one that cannot, ends there.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use libcontainer::capabilities::reset_effective;
use libcontainer::syscall::syscall::create_syscall;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_keepcaps;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use oci_spec::runtime::{Process, User, UserBuilder};
use rk_shim_protocol::namespace_file;

use crate::executor::give_stdio;

/// Who the process is to be.
#[derive(Clone, Debug)]
pub struct Join {
    namespace: Rc<File>,
    /// Id 0 of the pod on the host.
    root: u32,
    user: User,
}

impl Join {
    /// Takes the user out of `process`, which is the host's root from then on. `root` is the pod's on the host.
    pub fn take(dir: &Path, root: u32, process: &mut Process) -> Result<Self> {
        let path = namespace_file(dir, "user");
        let namespace = File::open(&path).with_context(|| format!("open the pod's users {}", path.display()))?;
        let user = process.user().clone();
        process.set_user(UserBuilder::default().uid(0_u32).gid(0_u32).build()?);
        Ok(Self { namespace: Rc::new(namespace), root, user })
    }

    /// Becomes that user.
    pub fn enter(&self) -> Result<(), String> {
        // While this is still the host's root: pipes and terminals belong to nobody in the pod.
        give_stdio(self.root.saturating_add(self.user.uid()));
        setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWUSER).map_err(|e| format!("join the pod's users: {e}"))?;
        let groups: Vec<Gid> =
            self.user.additional_gids().iter().flatten().map(|group| Gid::from_raw(*group)).collect();
        setgroups(&groups).map_err(|e| format!("set the groups of the process: {e}"))?;
        // What a user may keep of the rights over the pod is decided later, by the executor.
        set_keepcaps(true).map_err(|e| format!("keep capabilities: {e}"))?;
        let (uid, gid) = (Uid::from_raw(self.user.uid()), Gid::from_raw(self.user.gid()));
        setresgid(gid, gid, gid).map_err(|e| format!("set the group of the process: {e}"))?;
        setresuid(uid, uid, uid).map_err(|e| format!("set the user of the process: {e}"))?;
        set_keepcaps(false).map_err(|e| format!("keep capabilities no longer: {e}"))?;
        reset_effective(create_syscall().as_ref()).map_err(|e| format!("take up capabilities: {e}"))
    }
}
