//! What the kernel tells of the machine as a whole and of the cgroups of its services.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rk_cri_api::v1::{PsiData, PsiStats};

use super::stats::{self, Interface, Usage, field};
use crate::node::most_tasks;

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// A pressure file; `None` where the kernel has none.
pub fn psi(text: &str) -> Option<PsiStats> {
    let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)).map(psi_line);
    let some = line("some ")?;
    Some(PsiStats { some: Some(some), full: line("full ") })
}

fn psi_line(line: &str) -> PsiData {
    let word = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let average = |key: &str| word(key).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    PsiData {
        // The kernel counts microseconds, the runtime's figures are nanoseconds.
        total: word("total").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1000),
        avg10: average("avg10"),
        avg60: average("avg60"),
        avg300: average("avg300"),
    }
}

/// The machine's own pressure file of a resource.
pub fn pressure(resource: &str) -> Option<PsiStats> {
    psi(&read(Path::new("/proc/pressure"), resource))
}

/// Usage of a cgroup with all that is in it; `None` when there is no such cgroup.
pub fn cgroup(dir: &Path) -> Option<Usage> {
    let number = |file: &str| read(dir, file).trim().parse::<u64>().ok();
    let cpu = fs::read_to_string(dir.join("cpu.stat")).ok()?;
    let stat = read(dir, "memory.stat");
    let usage = number("memory.current");
    let working_set = usage.map(|all| all.saturating_sub(field(&stat, "inactive_file").unwrap_or(0)));
    let swap = number("memory.swap.current");
    Some(Usage {
        at: stats::now(),
        cpu_nanos: field(&cpu, "usage_usec").map(|us| us.saturating_mul(1000)),
        cpu_nanocores: None,
        available: number("memory.max").and_then(|limit| Some(limit.saturating_sub(working_set?))),
        working_set,
        usage,
        rss: field(&stat, "anon"),
        page_faults: field(&stat, "pgfault"),
        major_page_faults: field(&stat, "pgmajfault"),
        swap,
        swap_available: number("memory.swap.max").and_then(|limit| Some(limit.saturating_sub(swap?))),
        cpu_psi: psi(&read(dir, "cpu.pressure")),
        memory_psi: psi(&read(dir, "memory.pressure")),
        io_psi: psi(&read(dir, "io.pressure")),
    })
}

/// The cgroup of this process below the root, from `/proc/self/cgroup`; `None` when it is the root itself.
pub fn own_cgroup(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?.trim();
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Interfaces of `/proc/net/dev` without the loopback and without the node's ends of pods' links.
pub fn interfaces(text: &str) -> Vec<Interface> {
    let mut all = Vec::new();
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':') else { continue };
        let name = name.trim();
        if name == "lo" || name.starts_with("veth") {
            continue;
        }
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let at = |index: usize| counters.get(index).copied();
        all.push(Interface {
            name: name.to_owned(),
            rx_bytes: at(0),
            rx_errors: at(2),
            tx_bytes: at(8),
            tx_errors: at(10),
        });
    }
    all
}

/// How many processes and threads there can be, and how many there are.
pub fn processes() -> (Option<u64>, Option<u64>) {
    (most_tasks(), running(&read(Path::new("/proc"), "loadavg")))
}

/// The number behind the slash of `/proc/loadavg`.
fn running(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// When the machine was started, seconds since the epoch.
pub fn boot_seconds() -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse().ok())
}

/// When the machine was started.
pub fn boot_time() -> Option<String> {
    Timestamp::from_second(boot_seconds()?).ok().map(|t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_read_with_its_limit_and_its_pressure() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cgroup(dir.path()), None);
        for (file, text) in [
            ("cpu.stat", "usage_usec 5\nuser_usec 3\n"),
            ("memory.current", "100\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon_thp 9\nanon 40\ninactive_file 30\npgfault 7\npgmajfault 1\n"),
            ("memory.pressure", "some avg10=1.50 avg60=0.10 avg300=0.00 total=12\n"),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let read = cgroup(dir.path()).unwrap();
        assert_eq!(
            (read.cpu_nanos, read.usage, read.working_set, read.rss),
            (Some(5000), Some(100), Some(70), Some(40))
        );
        assert_eq!((read.page_faults, read.major_page_faults, read.available), (Some(7), Some(1), None));
        let some = read.memory_psi.unwrap().some.unwrap();
        assert_eq!((some.total, some.avg10, read.cpu_psi), (12_000, 1.5, None));
        fs::write(dir.path().join("memory.max"), "90\n").unwrap();
        assert_eq!(cgroup(dir.path()).unwrap().available, Some(20));
    }

    #[test]
    fn the_process_finds_its_own_cgroup() {
        for (text, want) in [("0::/rk/node\n", Some("rk/node")), ("0::/\n", None), ("1:cpu:/x\n", None)] {
            assert_eq!(own_cgroup(text), want.map(PathBuf::from), "{text}");
        }
    }

    #[test]
    fn interfaces_are_the_machines_own() {
        let text = "Inter-|   Receive\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    vethab: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 100 2 3 0 0 0 0 0 200 9 4 0 0 0 0 0\n";
        let found = interfaces(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].rx_bytes, found[0].rx_errors), ("eth0", Some(100), Some(3)));
        assert_eq!((found[0].tx_bytes, found[0].tx_errors), (Some(200), Some(4)));
    }

    #[test]
    fn threads_are_counted_as_the_kernel_does() {
        assert_eq!((running("0.1 0.2 0.3 2/345 999\n"), running("")), (Some(345), None));
    }
}
