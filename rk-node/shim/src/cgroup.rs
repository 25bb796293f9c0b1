//! The few cgroup v2 files that the shim touches itself; limits are the CRI server's business.

use std::fs;
use std::path::Path;

use rk_sys::CGROUP_ROOT;

/// Moves the calling process; a host without that hierarchy (a test machine) is left alone.
pub fn enter(dir: &Path) -> std::io::Result<()> {
    if !Path::new(CGROUP_ROOT).join("cgroup.controllers").exists() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join("cgroup.procs"), "0")
}

/// Kills every process in the subtree at once. The shim has nowhere to say that the kernel refuses it; the CRI server does, which kills
/// what is left when it removes the cgroup.
pub fn kill_all(dir: &Path) {
    let _ = rk_sys::kill_cgroup(dir);
}

/// Every process in the cgroup and its children.
pub fn processes(dir: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(dir.join("cgroup.procs"))
        .map(|text| text.lines().filter_map(|line| line.parse().ok()).collect())
        .unwrap_or_default();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes(&entry.path()));
        }
    }
    pids
}

/// Whether the OOM killer took a process of this cgroup.
pub fn oom_killed(dir: &Path) -> bool {
    fs::read_to_string(dir.join("memory.events")).is_ok_and(|text| oom_kills(&text) > 0)
}

fn oom_kills(events: &str) -> u64 {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Path of `pid`'s cgroup below the container's own, when its first process moved itself into a child of it. Joining the parent
/// would then fail with EBUSY.
pub fn sub_cgroup(cgroups_path: &Path, pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let actual = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = Path::new(actual).strip_prefix(cgroups_path).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_counter_of_oom_kills_counts() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(oom_kills("oom 1\noom_group_kill 1\n"), 0);
        assert_eq!(oom_kills(""), 0);
    }
}
