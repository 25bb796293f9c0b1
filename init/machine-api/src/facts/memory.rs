//! Memory, of the machine and of the services of the node.

use super::{line, text, value};
use rk_machine_proto::v1::{MemoryReply, ServiceMemory};
use std::fs;

const SERVICES: &str = "/sys/fs/cgroup/rk";
/// Services of the node; there are a handful.
const MOST: usize = 32;

/// Reads `/proc/meminfo` and the services' cgroups.
pub fn read() -> MemoryReply {
    let mut reply = parse(&text("/proc/meminfo", 64 << 10));
    let Ok(entries) = fs::read_dir(SERVICES) else { return reply };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(MOST)
        .collect();
    names.sort();
    let number = |name: &str, file: &str| line(format!("{SERVICES}/{name}/{file}")).parse().unwrap_or(0);
    reply.services = names
        .into_iter()
        .map(|name| ServiceMemory {
            current_bytes: number(&name, "memory.current"),
            peak_bytes: number(&name, "memory.peak"),
            reserved_bytes: number(&name, "memory.min"),
            name,
        })
        .collect();
    reply
}

fn parse(info: &str) -> MemoryReply {
    let bytes = |key: &str| value(info, key).unwrap_or(0) << 10;
    MemoryReply {
        total_bytes: bytes("MemTotal:"),
        free_bytes: bytes("MemFree:"),
        available_bytes: bytes("MemAvailable:"),
        cached_bytes: bytes("Cached:"),
        slab_bytes: bytes("Slab:"),
        swap_total_bytes: bytes("SwapTotal:"),
        services: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes_become_bytes() {
        let reply = parse("MemTotal:  2048 kB\nMemAvailable: 1024 kB\nSwapCached: 7 kB\nCached: 3 kB\n");
        assert_eq!((reply.total_bytes, reply.available_bytes, reply.cached_bytes), (2 << 20, 1 << 20, 3 << 10));
    }
}
