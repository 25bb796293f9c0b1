//! Facts of the machine: what it has and what runs on it.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use rustix::fs::statvfs;

use crate::options::KUBELET_VERSION;

/// What the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Logical CPUs.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Swap in bytes.
    pub swap: u64,
    /// Size in bytes of the filesystem that holds pods.
    pub storage: u64,
    /// Huge pages: size in KiB and number.
    pub huge_pages: Vec<(u64, u64)>,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// What tells this boot of the machine from others.
pub fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id")
}

/// A field of `/proc/meminfo` in bytes.
pub fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.strip_prefix(field).is_some_and(|rest| rest.starts_with(':')))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Looks at the machine. `storage` is a path on the filesystem that holds pods.
pub fn machine(storage: &Path) -> Machine {
    let text = read("/proc/meminfo");
    let size = statvfs(storage).or_else(|_| statvfs("/")).map_or(0, |s| s.f_blocks * s.f_frsize);
    Machine {
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory: meminfo(&text, "MemTotal").unwrap_or(0),
        swap: meminfo(&text, "SwapTotal").unwrap_or(0),
        storage: size,
        huge_pages: huge_pages(),
    }
}

/// Where the kernel tells its bounds.
const BOUNDS: &str = "/proc/sys/kernel";

/// Most processes and threads that there can be at once, as upstream counts them: the smaller of the kernel's two bounds. `pid_max`
/// counts numbers; on a small machine `threads-max`, which follows from its memory, ends everybody's forks long before.
pub fn most_tasks() -> Option<u64> {
    smallest_bound(Path::new(BOUNDS))
}

fn smallest_bound(dir: &Path) -> Option<u64> {
    let bounds = ["pid_max", "threads-max"].map(|file| fs::read_to_string(dir.join(file)).ok());
    bounds.into_iter().flatten().filter_map(|text| text.trim().parse().ok()).min()
}

fn huge_pages() -> Vec<(u64, u64)> {
    let mut pages: Vec<(u64, u64)> = fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let number = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
            Some((size, number))
        })
        .collect();
    pages.sort_unstable();
    pages
}

/// `status.nodeInfo`. `runtime` is the runtime's `name://version`.
pub fn system_info(runtime: String, machine: &Machine) -> NodeSystemInfo {
    let boot_id = boot_id();
    let machine_id =
        Some(read("/etc/machine-id")).filter(|id| !id.is_empty()).or_else(|| Some(read("/var/lib/rk/machine-id")));
    let machine_id = machine_id.filter(|id| !id.is_empty()).unwrap_or_else(|| boot_id.replace('-', ""));
    let uuid = Some(read("/sys/class/dmi/id/product_uuid").to_lowercase()).filter(|u| !u.is_empty());
    let os_image = read("/etc/os-release")
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME=").map(|v| v.trim_matches('"').to_owned()))
        .unwrap_or_else(|| "rk".into());
    NodeSystemInfo {
        architecture: architecture().into(),
        system_uuid: uuid.unwrap_or_else(|| machine_id.clone()),
        boot_id,
        machine_id,
        container_runtime_version: runtime,
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.into(),
        operating_system: "linux".into(),
        os_image,
        swap: Some(k8s_openapi::api::core::v1::NodeSwapStatus { capacity: i64::try_from(machine.swap).ok() })
            .filter(|_| machine.swap > 0),
    }
}

/// The architecture by Go's name.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_bound_of_processes_counts() {
        for (pid_max, threads_max, want) in [
            (Some("4194304\n"), Some("7693\n"), Some(7693)),
            (Some("32768\n"), Some("127330\n"), Some(32_768)),
            (Some("32768\n"), None, Some(32_768)),
            (None, Some("127330\n"), Some(127_330)),
            (Some("many\n"), None, None),
            (None, None, None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (file, text) in [("pid_max", pid_max), ("threads-max", threads_max)] {
                text.into_iter().for_each(|text| fs::write(dir.path().join(file), text).unwrap());
            }
            assert_eq!(smallest_bound(dir.path()), want, "{pid_max:?} {threads_max:?}");
        }
    }

    #[test]
    fn memory_fields_are_found_by_their_whole_name() {
        let text = "MemTotal:        2048 kB\nMemFree:  1 kB\nSwapTotal: 0 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(2048 * 1024));
        assert_eq!(meminfo(text, "Mem"), None);
        assert_eq!(meminfo(text, "SwapTotal"), Some(0));
    }
}
