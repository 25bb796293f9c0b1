//! Creating containers and joining processes through libcontainer. Runs in a [`crate::worker`] only: libcontainer changes the
//! caller's working directory, dumpable flag and OOM score, and blocks.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::{Process, Spec};
use rk_shim_protocol::container_dir;
use rk_sys::chain;

use crate::executor::Launcher;
use crate::join::Join;
use crate::{cgroup, devices, late, place, propagation, scratch, seccomp, stage};

/// The full spec as the CRI server wrote it, and the one libcontainer reads.
const FULL_SPEC: &str = "spec.json";
const RUNTIME_SPEC: &str = "config.json";
/// The process of an exec, for libcontainer.
const PROCESS: &str = "process.json";

/// Where the new process's stdio goes.
pub enum Stdio {
    /// stdin, stdout, stderr.
    Pipes([OwnedFd; 3]),
    /// Path of the socket that receives the terminal's master.
    Console(PathBuf),
}

/// The spec of a container's bundle.
pub fn read_spec(bundle: &Path) -> Result<Spec> {
    let path = bundle.join(FULL_SPEC);
    serde_json::from_reader(std::io::BufReader::new(
        File::open(&path).with_context(|| format!("open {}", path.display()))?,
    ))
    .with_context(|| format!("parse {}", path.display()))
}

/// Creates the container that `spec`, read from its bundle, asks for and starts its program. On return the program runs; its pid is in
/// the host's namespace.
pub fn container(dir: &Path, id: &str, bundle: &Path, mut spec: Spec, stdio: Stdio) -> Result<i32> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let process = spec.process().clone().context("the spec has no process")?;
    let launcher = launcher(&spec, &process, write.as_raw_fd())?;
    enforce_devices(&spec)?;
    let owner = stage::owner(&spec);
    make_cwd(&spec, process.cwd(), owner);
    give_stdio(&stdio, owner, &process);
    let waiting = match owner {
        Some(owner) => stage::prepare(dir, &mut spec, owner).map(|()| Vec::new())?,
        None => late::take(&mut spec),
    };
    write_runtime_spec(bundle, &spec)?;

    let root = container_dir(dir);
    fs::create_dir_all(&root)?;
    // A leftover of an attempt that failed half way is of no use to anybody.
    let _ = fs::remove_dir_all(root.join(id));
    let built = builder(id, &root, launcher, stdio)?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build();
    let mut container = match built {
        Ok(container) => container,
        Err(error) => {
            drop(write);
            bail!("error during container init: {}", reason(read, &error));
        }
    };
    let pid = container.pid().context("libcontainer reported no pid")?.as_raw();
    let started = propagation::apply(pid, &spec)
        .and_then(|()| late::bring(pid, &waiting))
        .and_then(|()| container.start().map_err(|error| anyhow!("start the container: {}", chain(&error))));
    if let Err(error) = started {
        // It would wait for its start for ever.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        return Err(error);
    }
    drop(write);
    let told = read_all(read);
    if told.is_empty() { Ok(pid) } else { bail!("error during container init: {told}") }
}

/// Runs `process` in the running container `id`, whose first process is `init`.
pub fn exec(dir: &Path, id: &str, bundle: &Path, init: i32, mut process: Process, stdio: Stdio) -> Result<i32> {
    let spec = read_spec(bundle)?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut launcher = launcher(&spec, &process, write.as_raw_fd())?;
    if let Some((root, _)) = stage::owner(&spec) {
        launcher.join = Some(Join::take(dir, root, &mut process)?);
    }
    process.set_capabilities(None);
    ensure_home(&mut process);
    let root = scratch::make(dir, id)?;
    let file = root.join(PROCESS);
    fs::write(&file, serde_json::to_vec(&process)?)?;
    let below =
        spec.linux().as_ref().and_then(|l| l.cgroups_path().as_deref()).and_then(|path| cgroup::sub_cgroup(path, init));
    let joined = builder(id, &root, launcher, stdio)?
        .as_tenant()
        .with_process(Some(&file))
        .with_sub_cgroup(below)
        .with_detach(true)
        .as_sibling(true)
        .build();
    match joined {
        Ok(pid) => Ok(pid.as_raw()),
        Err(error) => {
            drop(write);
            bail!("{}", reason(read, &error))
        }
    }
}

/// In a pod with its own users, pipes belong to the user that the process will be.
fn give_stdio(stdio: &Stdio, owner: Option<(u32, u32)>, process: &Process) {
    if let (Stdio::Pipes(pipes), Some((root, _))) = (stdio, owner) {
        stage::give_stdio(pipes, root.saturating_add(process.user().uid()));
    }
}

fn builder(id: &str, root: &Path, launcher: Launcher, stdio: Stdio) -> Result<ContainerBuilder> {
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(root)
        .map_err(|error| anyhow!("{}", chain(&error)))?
        .with_executor(launcher);
    Ok(match stdio {
        Stdio::Pipes([stdin, stdout, stderr]) => builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr),
        Stdio::Console(socket) => builder.with_console_socket(Some(socket)),
    })
}

fn launcher(spec: &Spec, process: &Process, report: i32) -> Result<Launcher> {
    let filters = match spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        Some(profile) => seccomp::compile(profile).context("seccomp profile")?,
        None => Vec::new(),
    };
    Ok(Launcher {
        capabilities: process.capabilities().clone(),
        filters,
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        uid: process.user().uid(),
        join: None,
        report,
        program: RefCell::new(None),
    })
}

fn enforce_devices(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux().as_ref() else { return Ok(()) };
    let Some(rules) = linux.resources().as_ref().and_then(|resources| resources.devices().as_ref()) else {
        return Ok(());
    };
    let path = linux.cgroups_path().as_ref().context("device rules need a cgroups path")?;
    devices::enforce(&rk_sys::cgroup_dir(path), rules)
}

/// What libcontainer must not do itself: drop capabilities (too early for seccomp), and resources (already in force).
fn write_runtime_spec(bundle: &Path, spec: &Spec) -> Result<()> {
    let mut spec = spec.clone();
    if let Some(process) = spec.process_mut() {
        process.set_capabilities(None);
        ensure_home(process);
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None).set_seccomp(None);
    }
    fs::write(bundle.join(RUNTIME_SPEC), serde_json::to_vec(&spec)?)
        .with_context(|| format!("write {RUNTIME_SPEC} in {}", bundle.display()))
}

/// Without `HOME` libcontainer asks the C library for one, which inside a container means the image's own NSS modules, run as root.
fn ensure_home(process: &mut Process) {
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        env.retain(|entry| !entry.starts_with("HOME="));
        env.push("HOME=/".into());
        process.set_env(Some(env));
    }
}

/// A working directory that the image lacks is made, as images made by `docker build` expect.
fn make_cwd(spec: &Spec, cwd: &Path, owner: Option<(u32, u32)>) {
    if let Some(root) = spec.root().as_ref().filter(|root| !root.readonly().unwrap_or(false)) {
        // Where that fails, as where something is that is no directory, chdir will say so in the user's words.
        let _ = place::make(root.path(), cwd, true, owner);
    }
}

/// The process's own words if it had any, else libcontainer's.
fn reason(read: OwnedFd, error: &dyn std::error::Error) -> String {
    let told = read_all(read);
    if told.is_empty() { chain(error) } else { told }
}

fn read_all(read: OwnedFd) -> String {
    let mut text = String::new();
    let _ = File::from(read).take(4096).read_to_string(&mut text);
    text
}
