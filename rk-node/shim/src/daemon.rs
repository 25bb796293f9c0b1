//! Becoming a process that nobody waits for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::{ForkResult, fork, setsid};
use rk_shim_protocol::{CONFIG_FILE, SandboxConfig, pid_file, ready_file, socket};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::supervisor::Supervisor;
use crate::{cgroup, namespaces};

/// OOM score of the shim: nearly last to go, since with it the whole pod is lost to the node's view.
const OOM_SCORE_ADJ: &str = "-998";

/// Calls of the CRI server that may wait while the shim is busy: a call each for the probes and commands of a moment.
const CALLERS: i32 = 64;

/// Starts the shim of the sandbox in `dir`; returns in the caller's process once it listens, or with its error.
pub fn run(dir: &Path) -> Result<()> {
    let text = fs::read(dir.join(CONFIG_FILE)).with_context(|| format!("read {CONFIG_FILE} in {}", dir.display()))?;
    let config: SandboxConfig =
        serde_json::from_slice(&text).with_context(|| format!("parse {CONFIG_FILE} in {}", dir.display()))?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so the child may run any code.
    match unsafe { fork() }.context("fork the shim")? {
        ForkResult::Parent { .. } => {
            drop(write);
            await_ready(read)
        }
        ForkResult::Child => {
            drop(read);
            let mut write = File::from(write);
            let supervisor = detach().and_then(|()| start(dir, &config));
            match supervisor {
                Ok(mut supervisor) => {
                    let _ = write.write_all(b"+");
                    drop(write);
                    supervisor.run()
                }
                Err(error) => {
                    let _ = write.write_all(format!("{error:#}").as_bytes());
                    Ok(())
                }
            }
        }
    }
}

fn await_ready(read: OwnedFd) -> Result<()> {
    let mut said = String::new();
    File::from(read).take(4096).read_to_string(&mut said).context("wait for the shim")?;
    match said.as_str() {
        "+" => Ok(()),
        "" => bail!("the shim died while it started"),
        error => bail!("{error}"),
    }
}

/// Own session, own cgroup, no terminal, no inherited stdio.
fn detach() -> Result<()> {
    setsid().context("start a session")?;
    let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

fn start(dir: &Path, config: &SandboxConfig) -> Result<Supervisor> {
    if let Some(cgroup) = &config.cgroup {
        cgroup::enter(cgroup).with_context(|| format!("enter cgroup {}", cgroup.display()))?;
    }
    // Lowering it needs CAP_SYS_RESOURCE, which a test run may lack; the shim works without.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    nix::sys::prctl::set_child_subreaper(true).context("become the reaper of the pod's orphans")?;
    let listener = listen_at(&socket(dir), CALLERS)?;
    fs::write(pid_file(dir), std::process::id().to_string())?;
    let pause = match namespaces::make(dir, config) {
        Ok(pause) => pause,
        Err(error) => {
            clean(dir, config);
            return Err(error);
        }
    };
    let supervisor = Supervisor::new(dir.to_owned(), config.clone(), listener, pause)?;
    fs::write(ready_file(dir), "")?;
    Ok(supervisor)
}

/// Undoes what [`namespaces::make`] did.
pub fn clean(dir: &Path, config: &SandboxConfig) {
    for kind in ["ipc", "uts", "pid", "user"] {
        namespaces::unpin(&rk_shim_protocol::namespace_file(dir, kind));
    }
    if let Some(netns) = &config.netns {
        namespaces::unpin(netns);
    }
}

/// Listens on a Unix socket at `path`, in the place of what is there; so many connections may wait to be accepted.
pub fn listen_at(path: &Path, backlog: i32) -> Result<OwnedFd> {
    let _ = fs::remove_file(path);
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?).with_context(|| format!("bind {}", path.display()))?;
    listen(&socket, backlog)?;
    Ok(socket)
}
