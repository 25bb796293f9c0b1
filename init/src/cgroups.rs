//! The roots of the cgroup v2 tree: `rk/` for our own services with reserved memory, `kubepods/` for pods.

use crate::console::Journal;
use crate::mounts::make_dir;
use rk_sys::CGROUP_ROOT;
use std::fs;
use std::path::{Path, PathBuf};

const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];
/// Below `rk/`: name and bytes that no pod can take from it.
const RESERVED: [(&str, u64); 5] =
    [("init", 8 << 20), ("netd", 4 << 20), ("machine", 8 << 20), ("node", 64 << 20), ("control", 64 << 20)];
/// As the kubelet names its classes of service.
const PODS: [&str; 3] = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];

/// Makes the tree and moves PID 1 into `rk/init`.
pub fn prepare(journal: &mut Journal) {
    delegate(journal, CGROUP_ROOT);
    make_dir(journal, &format!("{CGROUP_ROOT}/rk"), 0o755);
    delegate(journal, &format!("{CGROUP_ROOT}/rk"));
    let total: u64 = RESERVED.iter().map(|(_, bytes)| bytes).sum();
    set(journal, &format!("{CGROUP_ROOT}/rk/memory.min"), &total.to_string());
    for (name, bytes) in RESERVED {
        let dir = format!("{CGROUP_ROOT}/rk/{name}");
        make_dir(journal, &dir, 0o755);
        set(journal, &format!("{dir}/memory.min"), &bytes.to_string());
    }
    set(journal, &format!("{CGROUP_ROOT}/rk/init/cgroup.procs"), "1");
    for name in PODS {
        let dir = format!("{CGROUP_ROOT}/{name}");
        make_dir(journal, &dir, 0o755);
        delegate(journal, &dir);
    }
}

/// The cgroup of a service.
pub fn of_service(name: &str) -> PathBuf {
    Path::new(CGROUP_ROOT).join("rk").join(name)
}

/// Whether any process lives in a pod.
pub fn pods_populated() -> bool {
    let events = fs::read_to_string(format!("{CGROUP_ROOT}/kubepods/cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

/// Kills every process of every pod at once.
pub fn kill_pods(journal: &mut Journal) {
    journal.check("killing all pods", rk_sys::kill_cgroup(&Path::new(CGROUP_ROOT).join("kubepods")));
}

/// Every process of every pod; at most `most`, which bounds the work of one turn.
pub fn pod_processes(most: usize) -> Vec<i32> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from(CGROUP_ROOT).join("kubepods")];
    while let Some(dir) = dirs.pop() {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1));
        if found.len() >= most {
            found.truncate(most);
            break;
        }
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        dirs.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    found
}

/// Hands all controllers that the kernel has to the children of a cgroup, one by one: one that is missing costs only itself.
fn delegate(journal: &mut Journal, dir: &str) {
    let there = fs::read_to_string(format!("{dir}/cgroup.controllers")).unwrap_or_default();
    for name in CONTROLLERS {
        if there.split_ascii_whitespace().any(|have| have == name) {
            set(journal, &format!("{dir}/cgroup.subtree_control"), &format!("+{name}"));
        }
    }
}

fn set(journal: &mut Journal, file: &str, value: &str) {
    if let Err(err) = fs::write(file, value) {
        journal.failed(&format!("writing {value} to {file}"), &err);
    }
}
