//! CRI resources to cgroup v2 files: one table for creation and for updates.

use rk_cri_api::v1::LinuxContainerResources;

/// One value for one file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// File name.
    pub file: String,
    /// Text to write.
    pub value: String,
    /// Whether a cgroup without that file (its controller is not in the kernel) is an error.
    pub required: bool,
}

/// The files to write for `resources`, in an order in which every intermediate state is valid. Zero and empty mean "not said".
pub fn settings(resources: &LinuxContainerResources) -> Result<Vec<Setting>, String> {
    let mut out = Vec::new();
    let mut set = |file: &str, value: String, required| out.push(Setting { file: file.into(), value, required });
    if !resources.cpuset_mems.is_empty() {
        set("cpuset.mems", resources.cpuset_mems.clone(), true);
    }
    if !resources.cpuset_cpus.is_empty() {
        set("cpuset.cpus", resources.cpuset_cpus.clone(), true);
    }
    if resources.cpu_shares > 0 {
        set("cpu.weight", cpu_weight(resources.cpu_shares).to_string(), true);
    }
    if resources.cpu_quota != 0 || resources.cpu_period > 0 {
        let period = if resources.cpu_period > 0 { resources.cpu_period } else { 100_000 };
        let quota = if resources.cpu_quota > 0 { resources.cpu_quota.to_string() } else { "max".into() };
        set("cpu.max", format!("{quota} {period}"), true);
    }
    if resources.memory_limit_in_bytes != 0 {
        set("memory.max", limit(resources.memory_limit_in_bytes), true);
    }
    if let Some(swap) = swap(resources) {
        // Kernels without swap have no such file, and nothing to limit.
        set("memory.swap.max", swap, false);
    }
    for huge in &resources.hugepage_limits {
        let size = &huge.page_size;
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("malformed huge page size {size:?}"));
        }
        set(&format!("hugetlb.{size}.max"), huge.limit.to_string(), huge.limit > 0);
    }
    let mut unified: Vec<_> = resources.unified.iter().collect();
    unified.sort();
    for (file, value) in unified {
        let plain = !file.is_empty() && file.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
        if !plain || file.starts_with("cgroup.") {
            return Err(format!("{file:?} is not a resource file of cgroup v2"));
        }
        set(file, value.clone(), true);
    }
    Ok(out)
}

fn limit(bytes: i64) -> String {
    if bytes < 0 { "max".into() } else { bytes.to_string() }
}

/// CRI counts memory and swap together, cgroup v2 counts swap alone.
fn swap(resources: &LinuxContainerResources) -> Option<String> {
    match (resources.memory_swap_limit_in_bytes, resources.memory_limit_in_bytes) {
        (0, _) => None,
        (both, _) if both < 0 => Some("max".into()),
        (both, memory) if memory > 0 => Some(both.saturating_sub(memory).max(0).to_string()),
        _ => None,
    }
}

/// cgroup v1 shares (2 to 262144, default 1024) to v2 weight (1 to 10000, default 100): the curve through those three pairs that
/// the reference runtimes use since 2025.
pub fn cpu_weight(shares: i64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil().clamp(1.0, 10_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_the_fixed_points_and_grow() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (i64::MAX, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert!((2..262_144).step_by(1000).map(cpu_weight).is_sorted());
    }

    #[test]
    fn resources_become_the_files_of_cgroup_v2() {
        let resources = LinuxContainerResources {
            cpu_quota: 50_000,
            cpu_period: 100_000,
            cpu_shares: 1024,
            memory_limit_in_bytes: 1 << 20,
            memory_swap_limit_in_bytes: 1 << 20,
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        let got: Vec<_> =
            settings(&resources).unwrap().into_iter().map(|s| format!("{}={}", s.file, s.value)).collect();
        assert_eq!(
            got,
            ["cpu.weight=100", "cpu.max=50000 100000", "memory.max=1048576", "memory.swap.max=0", "memory.oom.group=1"]
        );
        assert_eq!(settings(&LinuxContainerResources::default()).unwrap(), []);
        let unlimited = LinuxContainerResources { cpu_quota: -1, memory_limit_in_bytes: -1, ..Default::default() };
        let got: Vec<_> = settings(&unlimited).unwrap().into_iter().map(|s| s.value).collect();
        assert_eq!(got, ["max 100000", "max"]);
    }

    #[test]
    fn unified_keys_cannot_leave_the_cgroup_or_steer_it() {
        for key in ["../memory.max", "cgroup.procs", "", "a/b"] {
            let resources =
                LinuxContainerResources { unified: [(key.to_owned(), "1".to_owned())].into(), ..Default::default() };
            assert!(settings(&resources).is_err(), "{key:?}");
        }
    }
}
