//! The node's part: the machine as a whole, its services and its disks.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rk_cri_api::v1::FilesystemUsage;
use serde_json::{Value, json};

use super::figures::{cpu, io, memory, network, numbers, put, swap, whole};
use crate::filesystem::FsUse;
use crate::quantity;
use crate::server::routes::State;
use crate::server::{machine, stats};

/// The interface that upstream takes for the default one.
const DEFAULT_INTERFACE: &str = "eth0";

/// CPU, memory and swap of the machine and of its services.
pub fn usage(state: &State, time: &str) -> Value {
    let mut usage = stats::node(state.context.cgroups.root());
    let total = u64::try_from(state.context.node.borrow().memory).unwrap_or(0);
    usage.available = usage.working_set.map(|used| total.saturating_sub(used));
    usage.cpu_nanocores = rate(state, "node", &usage);
    let mut value = json!({
        "nodeName": state.context.options.node_name,
        "startTime": machine::boot_time(),
        "systemContainers": services(state, time),
        "cpu": cpu(time, &usage),
        "memory": memory(time, &usage),
        "swap": swap(time, &usage),
    });
    put(&mut value, "io", io(time, &usage));
    value
}

fn rate(state: &State, name: &str, usage: &stats::Usage) -> Option<u64> {
    usage.cpu_nanos.and_then(|total| state.rates.read(name, total, Instant::now()))
}

/// The cgroups that stand for upstream's system containers. Kubelet and runtime are one process here, and so one cgroup; the
/// services of the node have one above it.
fn cgroups(own: Option<PathBuf>) -> Vec<(&'static str, PathBuf)> {
    let all = own.as_deref().and_then(Path::parent).filter(|dir| !dir.as_os_str().is_empty()).map(Path::to_owned);
    let named = [("kubelet", own.clone()), ("runtime", own), ("misc", all), ("pods", Some(PathBuf::from("kubepods")))];
    named.into_iter().filter_map(|(name, dir)| Some((name, dir?))).collect()
}

fn services(state: &State, time: &str) -> Vec<Value> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| machine::own_cgroup(&text));
    // The cgroups are made when the machine starts.
    let started = machine::boot_time();
    let mut list = Vec::new();
    for (name, dir) in cgroups(own) {
        let Some(mut usage) = machine::cgroup(&state.context.cgroups.root().join(dir)) else { continue };
        usage.cpu_nanocores = rate(state, name, &usage);
        if name == "pods" && usage.available.is_none() {
            usage.available = allocatable(state).zip(usage.working_set).map(|(all, used)| all.saturating_sub(used));
        }
        let mut value = json!({
            "name": name,
            "startTime": started,
            "cpu": cpu(time, &usage),
            "memory": memory(time, &usage),
            "swap": swap(time, &usage),
        });
        put(&mut value, "io", io(time, &usage));
        list.push(value);
    }
    list
}

/// Memory that all pods together may have, bytes.
fn allocatable(state: &State) -> Option<u64> {
    let node = state.context.node.borrow();
    node.allocatable.get("memory").and_then(|q| quantity::units(&q.0)).and_then(|n| u64::try_from(n).ok())
}

/// What else is known: network, disks and processes.
pub async fn rest(state: &State, node: &mut Value, time: &str) {
    let interfaces = machine::interfaces(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default());
    let default = interfaces.iter().find(|interface| interface.name == DEFAULT_INTERFACE);
    put(node, "network", network(time, &interfaces, default));
    put(node, "fs", FsUse::of(&state.context.options.dirs.kubelet).map(|of| whole(time, of)));
    let (most, running) = machine::processes();
    put(node, "rlimit", Some(numbers(time, &[("maxpid", most), ("curproc", running)])));
    match state.context.runtime.image_fs_info().await {
        Ok(info) => {
            let of = |list: &[FilesystemUsage]| list.first().and_then(on_disk).map(|of| whole(time, of));
            let mut runtime = json!({});
            put(&mut runtime, "imageFs", of(&info.image_filesystems));
            put(&mut runtime, "containerFs", of(&info.container_filesystems));
            put(node, "runtime", Some(runtime));
        }
        Err(error) => tracing::debug!("the runtime's file systems are not known: {error}"),
    }
}

/// What the runtime counts, with the room of the file system that it is on.
pub fn on_disk(of: &FilesystemUsage) -> Option<FsUse> {
    let mountpoint = of.fs_id.as_ref().map(|id| id.mountpoint.as_str())?;
    let number = |value: Option<u64>| value.unwrap_or(0);
    let used = number(of.used_bytes.as_ref().map(|v| v.value));
    Some(FsUse::of(Path::new(mountpoint))?.with_used(used, number(of.inodes_used.as_ref().map(|v| v.value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_their_own_cgroup_and_one_for_all_of_them() {
        let names = |own: Option<&str>| {
            let list = cgroups(own.map(PathBuf::from)).into_iter();
            list.map(|(name, dir)| format!("{name}={}", dir.display())).collect::<Vec<_>>()
        };
        assert_eq!(names(Some("rk/node")), ["kubelet=rk/node", "runtime=rk/node", "misc=rk", "pods=kubepods"]);
        assert_eq!(names(Some("node")), ["kubelet=node", "runtime=node", "pods=kubepods"]);
        assert_eq!(names(None), ["pods=kubepods"]);
    }
}
