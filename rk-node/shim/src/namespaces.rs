//! The namespaces that containers of a pod share, made once and pinned as bind mounts so that they outlive every process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;
use rk_shim_protocol::{SandboxConfig, namespace_file};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::userns;

/// A namespace to make: its flag, its name under `/proc/<pid>/ns`, and where it is pinned.
pub type Pin = (CloneFlags, &'static str, PathBuf);

/// Makes what `config` asks for and returns to the host's namespaces. Returns the pause process of a shared PID namespace.
pub fn make(dir: &Path, config: &SandboxConfig) -> Result<Option<Pid>> {
    let pins = pins(dir, config);
    match &config.user {
        Some(mapping) => userns::make(dir, config, mapping, &pins),
        None => make_as_host(dir, config, &pins),
    }
}

fn pins(dir: &Path, config: &SandboxConfig) -> Vec<Pin> {
    let mut pins = Vec::new();
    if let Some(netns) = &config.netns {
        pins.push((CloneFlags::CLONE_NEWNET, "net", netns.clone()));
    }
    if config.ipc {
        pins.push((CloneFlags::CLONE_NEWIPC, "ipc", namespace_file(dir, "ipc")));
    }
    if config.hostname.is_some() {
        pins.push((CloneFlags::CLONE_NEWUTS, "uts", namespace_file(dir, "uts")));
    }
    pins
}

fn make_as_host(dir: &Path, config: &SandboxConfig, pins: &[Pin]) -> Result<Option<Pid>> {
    let mut host = Vec::new();
    for (flag, kind, _) in pins {
        host.push((
            *flag,
            File::open(format!("/proc/self/ns/{kind}")).with_context(|| format!("open the host's {kind} namespace"))?,
        ));
    }
    let wanted = pins.iter().fold(CloneFlags::empty(), |all, (flag, ..)| all | *flag);
    unshare(wanted).context("make the pod's namespaces")?;
    let filled = fill(config).and_then(|()| pins.iter().try_for_each(|(_, kind, path)| pin("self", kind, path)));
    for (flag, namespace) in &host {
        setns(namespace.as_fd(), *flag).context("return to the host's namespace")?;
    }
    filled?;
    if config.shared_pid { start_pause(dir).map(Some) } else { Ok(None) }
}

/// Settings that live in the new namespaces.
pub fn fill(config: &SandboxConfig) -> Result<()> {
    if let Some(hostname) = &config.hostname {
        nix::unistd::sethostname(hostname).with_context(|| format!("set host name {hostname:?}"))?;
    }
    if let Some(name) = config.sysctls.keys().find(|name| !namespaced(name, config)) {
        bail!("sysctl {name:?} is not kept in a namespace that this pod has of its own");
    }
    set_all(&config.sysctls, |name, value| fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value))
}

/// What is refused at first is tried again once the rest holds: the kernel compares some with each other, such as the first port that
/// needs no root with the range of local ports.
fn set_all(sysctls: &BTreeMap<String, String>, set: impl Fn(&str, &str) -> io::Result<()>) -> Result<()> {
    let refused: Vec<_> = sysctls.iter().filter(|(name, value)| set(name, value).is_err()).collect();
    let mut refused = refused.into_iter();
    refused.try_for_each(|(name, value)| set(name, value).with_context(|| format!("set sysctl {name}={value}")))
}

/// Whether a sysctl belongs to one of the pod's own namespaces; anything else would change the node.
fn namespaced(name: &str, config: &SandboxConfig) -> bool {
    let ipc = name.starts_with("fs.mqueue.")
        || name.starts_with("kernel.shm")
        || name.starts_with("kernel.msg")
        || name == "kernel.sem";
    let sane = !name.is_empty() && !name.contains("..") && !name.starts_with('.') && !name.contains('\0');
    let uts = name == "kernel.hostname" || name == "kernel.domainname";
    sane && ((ipc && config.ipc)
        || (name.starts_with("net.") && config.netns.is_some())
        || (uts && config.hostname.is_some()))
}

/// Pins a namespace of `process`, a pid or `self`.
pub fn pin(process: &str, kind: &str, path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path).with_context(|| format!("create {}", path.display()))?;
    mount_bind(format!("/proc/{process}/ns/{kind}"), path)
        .with_context(|| format!("pin the {kind} namespace at {}", path.display()))
}

/// Removes the pin of a namespace; one that is not there is fine.
pub fn unpin(path: &Path) {
    let _ = unmount(path, UnmountFlags::DETACH);
    let _ = fs::remove_file(path);
}

/// PID 1 of the pod's shared PID namespace.
fn start_pause(dir: &Path) -> Result<Pid> {
    let host = File::open("/proc/self/ns/pid").context("open the host's PID namespace")?;
    // Applies to children made from now on, and only until the setns below.
    unshare(CloneFlags::CLONE_NEWPID).context("make the pod's PID namespace")?;
    // The name under which `ps` in a pod shows this process everywhere.
    let started = Command::new("/proc/self/exe")
        .arg0("/pause")
        .arg("pause")
        .arg(dir)
        .process_group(0)
        .spawn()
        .context("start the pause process");
    let back = setns(host.as_fd(), CloneFlags::CLONE_NEWPID).context("return to the host's PID namespace");
    let mut child = started?;
    let pinned = back.and_then(|()| pin(&child.id().to_string(), "pid", &namespace_file(dir, "pid")));
    if pinned.is_err() {
        let _ = child.kill();
    }
    pinned?;
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn sysctls_are_set_in_the_order_in_which_the_kernel_takes_them() {
        let asked = |range: &str| -> BTreeMap<String, String> {
            let all = [("net.ipv4.ip_local_port_range", range), ("net.ipv4.ip_unprivileged_port_start", "0")];
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect()
        };
        let first = Cell::new(1024);
        let set = |name: &str, value: &str| {
            let low: u32 = value.split(' ').next().and_then(|low| low.parse().ok()).unwrap_or(0);
            match name.ends_with("port_start") {
                true => first.set(low),
                false if low < first.get() => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
                false => {}
            }
            Ok(())
        };
        set_all(&asked("500 60000"), set).unwrap();
        let none = |_: &str, _: &str| Err(io::Error::from_raw_os_error(libc::EINVAL));
        let refused = set_all(&asked("1 2"), none).unwrap_err();
        assert_eq!(refused.to_string(), "set sysctl net.ipv4.ip_local_port_range=1 2");
    }

    #[test]
    fn only_sysctls_of_the_pods_own_namespaces_are_let_through() {
        let all =
            SandboxConfig { netns: Some("/x".into()), ipc: true, hostname: Some("h".into()), ..Default::default() };
        let host = SandboxConfig::default();
        for (name, own) in [
            ("net.ipv4.ip_unprivileged_port_start", true),
            ("kernel.shm_rmid_forced", true),
            ("kernel.sem", true),
            ("fs.mqueue.msg_max", true),
            ("kernel.panic", false),
            ("vm.overcommit_memory", false),
            ("net..kernel", false),
            ("", false),
        ] {
            assert_eq!(namespaced(name, &all), own, "{name}");
            assert!(!namespaced(name, &host), "{name} with the host's namespaces");
        }
    }
}
