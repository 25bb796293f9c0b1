//! Memory, CPU, files and age of this process, from /proc.

use std::fmt::Write;

use super::help;

/// Ticks of the kernel's clock per second, which Linux shows to user space on every architecture.
const TICKS: f64 = 100.0;

/// Fields of `/proc/self/stat` after the parenthesised command, in ticks: 14, 15 and 22 of the whole line.
const USER: usize = 11;
const SYSTEM: usize = 12;
const START: usize = 19;

pub(super) fn render(out: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let bytes = |field: &str| number(field).map(|kilobytes| (kilobytes * 1024) as f64);
    let cpu = seconds(USER).zip(seconds(SYSTEM)).map(|(user, system)| user + system);
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    for (name, kind, text, value) in [
        ("process_resident_memory_bytes", "gauge", "Resident memory.", bytes("VmRSS:")),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", bytes("VmSize:")),
        ("process_threads", "gauge", "Threads.", number("Threads:").map(|count| count as f64)),
        ("process_cpu_seconds_total", "counter", "CPU time.", cpu),
        ("process_open_fds", "gauge", "Open files.", open),
        ("process_max_fds", "gauge", "Most files that may be open.", limit("Max open files")),
        ("process_network_receive_bytes_total", "counter", "Bytes that this network took in.", octets("InOctets")),
        ("process_network_transmit_bytes_total", "counter", "Bytes that this network sent.", octets("OutOctets")),
        ("process_virtual_memory_max_bytes", "gauge", "Most virtual memory.", limit("Max address space")),
        ("process_start_time_seconds", "gauge", "Start, since the epoch.", began()),
    ] {
        if let Some(value) = value {
            help(out, name, kind, text);
            let _ = writeln!(out, "{name} {value}");
        }
    }
}

fn seconds(field: usize) -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(field)?.parse::<f64>().ok().map(|ticks| ticks / TICKS)
}

/// When this process began, in seconds since the epoch; `None` when the kernel does not tell.
pub fn began() -> Option<f64> {
    Some(seconds(START)? + boot()?)
}

/// A limit of this process, by the kernel's name; the largest number where there is none.
fn limit(name: &str) -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next())?;
    if soft == "unlimited" { Some(u64::MAX as f64) } else { soft.parse().ok() }
}

/// What the network that this process lives in has carried, by the kernel's name.
fn octets(name: &str) -> Option<f64> {
    let all = std::fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = all.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|own| own == name)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

/// When the machine started, in seconds since the epoch.
fn boot() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
