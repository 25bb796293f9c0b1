//! Pressure on memory, disk and PIDs, as far as the kernel tells it.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use super::info::meminfo;

/// Memory that must stay available, bytes (upstream's `memory.available<100Mi`).
const MIN_MEMORY: u64 = 100 * 1024 * 1024;
/// Share of the disk that must stay free, percent (`nodefs.available<10%`).
const MIN_DISK_PERCENT: u64 = 10;
/// Share of inodes that must stay free, percent (`nodefs.inodesFree<5%`).
const MIN_INODES_PERCENT: u64 = 5;

/// What is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk space or inodes.
    pub disk: bool,
    /// Process IDs.
    pub pids: bool,
}

/// Looks at the machine.
pub fn pressure(storage: &Path) -> Pressure {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|t| meminfo(&t, "MemAvailable"));
    let disk = statvfs(storage).is_ok_and(|s| {
        let short =
            |free: u64, all: u64, percent: u64| all > 0 && free.saturating_mul(100) < all.saturating_mul(percent);
        short(s.f_bavail, s.f_blocks, MIN_DISK_PERCENT) || short(s.f_favail, s.f_files, MIN_INODES_PERCENT)
    });
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let running = fs::read_to_string("/proc/loadavg").ok().and_then(|t| {
        t.split_whitespace().nth(3).and_then(|f| f.split_once('/')).and_then(|(_, all)| all.parse::<u64>().ok())
    });
    let pids = running.zip(number("/proc/sys/kernel/pid_max")).is_some_and(|(used, max)| used * 10 > max * 9);
    Pressure { memory: available.is_some_and(|a| a < MIN_MEMORY), disk, pids }
}
