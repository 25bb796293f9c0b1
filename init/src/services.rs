//! The services of a node and how each is started.

use crate::cgroups;
use crate::control_plane;
use crate::root;
use rk_config::{MachineConfig, Role};
use rk_supervise::Service;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Links, leases, resolver, time.
pub const NETD: &str = "netd";
/// The control plane.
pub const CONTROL: &str = "control";
/// The node agent.
pub const NODE: &str = "node";
/// The machine API.
pub const MACHINE: &str = "machine";

/// Time beyond the pods' own grace in which `rk-node` must be done.
const NODE_SLACK: u64 = 10_000;
const STOP_GRACE: u64 = 10_000;

/// Services that this config asks for, in the order in which they start. None waits for another.
pub fn wanted(config: &MachineConfig) -> Vec<Service> {
    let node_grace = u64::from(config.kubelet.longest_shutdown_seconds()) * 1000 + NODE_SLACK;
    let mut services = vec![Service { name: NETD, stop_grace: STOP_GRACE }];
    if config.machine_api.is_some() || config.metrics.is_some() || !config.logging.targets.is_empty() {
        services.push(Service { name: MACHINE, stop_grace: STOP_GRACE });
    }
    if config.role == Role::ControlPlane {
        services.push(Service { name: CONTROL, stop_grace: STOP_GRACE });
    }
    services.push(Service { name: NODE, stop_grace: node_grace });
    services
}

/// Services of a node that waits for its config.
pub fn maintenance() -> [Service; 2] {
    [Service { name: NETD, stop_grace: STOP_GRACE }, Service { name: MACHINE, stop_grace: STOP_GRACE }]
}

/// Services that read what differs between two configs, and must start anew to know it. All of them after maintenance.
pub fn affected(before: Option<&MachineConfig>, after: &MachineConfig) -> Vec<&'static str> {
    let Some(before) = before else { return vec![NETD, MACHINE] };
    let paths: Vec<String> = rk_config::diff(before, after).into_iter().map(|change| change.path).collect();
    let touched = |sections: &[&str]| {
        paths.iter().any(|path| sections.iter().any(|s| path == s || path.starts_with(&format!("{s}."))))
    };
    let table: [(&'static str, &[&str]); 4] = [
        (NETD, &["network", "hostname"]),
        (MACHINE, &["machineApi", "metrics", "logging"]),
        (CONTROL, &["controlPlane", "cluster", "role"]),
        (NODE, &["cluster", "kubelet", "registries", "hostname", "role"]),
    ];
    // What the control planes share is the network's, and in its certificate.
    let shares = before.network.vips() != after.network.vips();
    let concerned = |name: &str, sections: &[&str]| touched(sections) || (name == CONTROL && shares);
    table.into_iter().filter(|(name, sections)| concerned(name, sections)).map(|(name, _)| name).collect()
}

/// How likely the kernel is to end a service when memory runs out: pods go first, then what can be spared.
pub fn oom_score(name: &str) -> i32 {
    match name {
        MACHINE => -900,
        _ => -999,
    }
}

/// The capabilities that a service of its own has use for, by their numbers in `linux/capability.h`; the node agent and what it starts
/// need them all.
fn capabilities(name: &str) -> Option<&'static [u32]> {
    const DAC_READ_SEARCH: u32 = 2;
    const NET_BIND_SERVICE: u32 = 10;
    const NET_ADMIN: u32 = 12;
    const NET_RAW: u32 = 13;
    const SYS_PTRACE: u32 = 19;
    const SYS_TIME: u32 = 25;
    const SYSLOG: u32 = 34;
    match name {
        NETD => Some(&[NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_TIME]),
        MACHINE => Some(&[DAC_READ_SEARCH, NET_RAW, SYS_PTRACE, SYSLOG]),
        CONTROL => Some(&[NET_BIND_SERVICE]),
        _ => None,
    }
}

/// Program and arguments of a service.
fn command(name: &str, config: &MachineConfig) -> (&'static str, Vec<String>) {
    match name {
        NETD => (root::PROGRAM, vec!["netd".to_owned()]),
        CONTROL => ("/bin/rk-control", control_plane::args(config)),
        MACHINE => ("/bin/rk-machine-api", Vec::new()),
        _ => ("/bin/rk-node", Vec::new()),
    }
}

/// Starts a service.
///
/// # Errors
/// Its program is missing or cannot be run.
pub fn start(
    name: &str,
    config: Option<&MachineConfig>,
    filter: Option<&str>,
    output: &OwnedFd,
) -> rk_sys::Result<rk_sys::Child> {
    let maintenance = config.is_none();
    let config = config.cloned().unwrap_or_default();
    let (program, args) = command(name, &config);
    let mut env = vec![
        ("PATH", "/bin:/sbin"),
        ("HOME", "/root"),
        ("TERM", "linux"),
        // The pipe is no terminal, and the console must not be steered by it.
        ("NO_COLOR", "1"),
    ];
    if let (CONTROL, Some(token)) = (name, &config.cluster.token) {
        // Not an argument: those can be read by everyone.
        env.push(("RK_BOOTSTRAP_TOKEN", token));
    }
    if maintenance {
        env.push(("RK_MAINTENANCE", "1"));
    }
    if let Some(filter) = filter {
        env.push(("RK_LOG", filter));
    }
    let cgroup = cgroups::of_service(name);
    let cgroup = Some(cgroup.as_path()).filter(|dir| dir.is_dir());
    let confinement = capabilities(name).map(rk_sys::Confinement::new).transpose()?;
    let confinement = confinement.as_ref();
    let child = rk_sys::spawn(&rk_sys::SpawnSpec { program, args: &args, env: &env, cgroup, output, confinement })?;
    // A service that is gone already has no score.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.pid), oom_score(name).to_string());
    Ok(child)
}

/// Writes a file: new name, fsync, rename, fsync of the folder. One that says the same already is left alone.
///
/// # Errors
/// The disk is full or broken.
pub fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    use std::io::Write;
    if fs::read_to_string(path).is_ok_and(|have| have == text) {
        return Ok(());
    }
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> MachineConfig {
        let head = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\n";
        rk_config::parse(&format!("{head}{yaml}")).unwrap().config
    }

    #[test]
    fn a_control_plane_runs_rk_control() {
        let config = config("role: control-plane\n");
        let names: Vec<_> = wanted(&config).iter().map(|service| service.name).collect();
        assert_eq!(names, [NETD, CONTROL, NODE]);
    }

    #[test]
    fn a_change_restarts_the_services_that_read_it_and_no_others() {
        let base = config("role: control-plane\n");
        let table = [
            ("kubelet: {maxPods: 5}\n", vec![NODE]),
            ("network: {nameservers: [10.0.0.1]}\n", vec![NETD]),
            ("network: {interfaces: [{match: {name: a}, vip: 10.0.0.9}]}\n", vec![NETD, CONTROL]),
            ("controlPlane: {advertise: 10.0.0.1}\n", vec![CONTROL, NODE]),
            ("registries: {mirrors: [{match: a, endpoints: ['http://b']}]}\n", vec![NODE]),
            ("", vec![]),
        ];
        for (yaml, wanted) in table {
            let after = config(&format!("role: control-plane\n{yaml}"));
            assert_eq!(affected(Some(&base), &after), wanted, "{yaml}");
        }
        assert_eq!(affected(None, &base), [NETD, MACHINE]);
    }

    #[test]
    fn a_worker_runs_no_control_plane_and_its_pods_grace_bounds_the_stop() {
        let hash = "0".repeat(64);
        let config = config(&format!(
            "role: worker\ncluster: {{endpoint: 'https://a:6443', token: abcdef.0123456789abcdef, caHash: 'sha256:{hash}'}}\n\
             kubelet: {{shutdownGracePeriodSeconds: 5}}\n"
        ));
        let services = wanted(&config);
        assert_eq!(services.iter().map(|service| service.name).collect::<Vec<_>>(), [NETD, NODE]);
        assert_eq!(services.last().map(|service| service.stop_grace), Some(15_000));
    }
}
