//! What this process takes of the machine, and what it was built from, as every Prometheus client tells it.

use std::fs;

use super::machine::boot_seconds;
use super::metrics::Text;
use crate::KUBELET_VERSION;

/// The kernel's unit of time in `/proc`: a hundredth of a second on every architecture that this runs on.
const TICKS: f64 = 100.0;

/// Numbers of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    /// CPU time so far, seconds.
    cpu: f64,
    /// When it began, seconds after the machine did.
    began: f64,
    /// Virtual memory, bytes.
    memory: f64,
}

fn stat(text: &str) -> Option<Stat> {
    // The name before may hold anything, parentheses and spaces too.
    let fields: Vec<f64> = text.rsplit_once(')')?.1.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    let at = |index: usize| fields.get(index).copied();
    Some(Stat { cpu: (at(11)? + at(12)?) / TICKS, began: at(19)? / TICKS, memory: at(20)? })
}

/// The soft limit of open files in `/proc/self/limits`.
fn most_files(limits: &str) -> Option<f64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

fn read(name: &str) -> String {
    fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

/// Seconds since the epoch at which this process began.
pub(super) fn began() -> Option<f64> {
    let stat = stat(&read("stat"))?;
    Some(boot_seconds()? as f64 + stat.began)
}

/// Writes all of it; what the kernel does not tell is left out.
pub(super) fn write(text: &mut Text) {
    let status = read("status");
    let kib = |name: &str| -> Option<f64> {
        status.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    let resident = kib("VmRSS:").map(|kib| kib * 1024.0);
    let stat = stat(&read("stat"));
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    for (name, help, kind, value) in [
        (
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            "counter",
            stat.as_ref().map(|stat| stat.cpu),
        ),
        ("process_max_fds", "Maximum number of open file descriptors.", "gauge", most_files(&read("limits"))),
        ("process_open_fds", "Number of open file descriptors.", "gauge", open),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", resident),
        ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge", began()),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            "gauge",
            stat.as_ref().map(|stat| stat.memory),
        ),
    ] {
        if let Some(value) = value {
            text.head(name, help, kind);
            text.sample(name, &[], value);
        }
    }
    text.head("kubernetes_build_info", "What this was built from. The count is always 1.", "gauge");
    text.sample("kubernetes_build_info", &[("git_version", KUBELET_VERSION)], 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_after_a_name_that_may_hold_anything() {
        let text =
            "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 5 0 4200 8192 30 18446744073709551615\n";
        assert_eq!(stat(text), Some(Stat { cpu: 2.0, began: 42.0, memory: 8192.0 }));
        assert_eq!((stat("7 (short) S 1"), stat("")), (None, None));
    }

    #[test]
    fn the_soft_limit_comes_first() {
        assert_eq!(most_files("Limit\nMax open files            1024       4096      files\n"), Some(1024.0));
        assert_eq!(most_files("Max open files            unlimited  unlimited files\n"), None);
    }

    #[test]
    fn this_process_tells_all_of_it() {
        let mut text = Text::default();
        write(&mut text);
        assert_eq!(text.as_str().lines().filter(|line| !line.starts_with('#')).count(), 7, "{}", text.as_str());
    }
}
