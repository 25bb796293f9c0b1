//! Pressure on memory, disk and PIDs: what the kernel tells, and what of it is too little.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use super::info::meminfo;
use crate::options::{Amount, Thresholds};

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

/// What there is: (free, all), or `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Memory that could be had, bytes.
    pub memory: Option<(u64, u64)>,
    /// Bytes of the disk that holds pods.
    pub disk: Option<(u64, u64)>,
    /// Its inodes.
    pub inodes: Option<(u64, u64)>,
    /// Process IDs.
    pub pids: Option<(u64, u64)>,
}

impl Observed {
    /// Looks at the machine. `storage` is a path on the disk that holds pods.
    pub fn now(storage: &Path) -> Self {
        let disk = statvfs(storage).ok();
        let disk = disk.as_ref();
        let number = |path: &str| fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
        let running = fs::read_to_string("/proc/loadavg").ok().and_then(|t| {
            t.split_whitespace().nth(3).and_then(|f| f.split_once('/')).and_then(|(_, all)| all.parse::<u64>().ok())
        });
        let most = number("/proc/sys/kernel/pid_max");
        let memory = fs::read_to_string("/proc/meminfo").ok();
        Self {
            memory: memory.and_then(|t| meminfo(&t, "MemAvailable").zip(meminfo(&t, "MemTotal"))),
            disk: disk.map(|s| (s.f_bavail.saturating_mul(s.f_frsize), s.f_blocks.saturating_mul(s.f_frsize))),
            inodes: disk.map(|s| (s.f_favail, s.f_files)),
            pids: running.zip(most).map(|(used, most)| (most.saturating_sub(used), most)),
        }
    }

    /// What of it is too little.
    pub fn pressure(&self, thresholds: Thresholds) -> Pressure {
        let short = |amount: Option<(u64, u64)>, threshold: Amount| {
            amount.is_some_and(|(free, all)| all > 0 && free < threshold.of(all))
        };
        let disk = short(self.disk, thresholds.disk) || short(self.disk, thresholds.image_disk);
        let inodes = short(self.inodes, thresholds.inodes) || short(self.inodes, thresholds.image_inodes);
        Pressure {
            memory: short(self.memory, thresholds.memory),
            disk: disk || inodes,
            pids: short(self.pids, thresholds.pids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_follows_the_thresholds() {
        let short = |observed: Observed| {
            let p = observed.pressure(Thresholds::default());
            (p.memory, p.disk, p.pids)
        };
        assert_eq!(short(Observed::default()), (false, false, false));
        assert_eq!(
            short(Observed { memory: Some(((100 << 20) - 1, 1 << 30)), ..Default::default() }),
            (true, false, false)
        );
        assert_eq!(short(Observed { disk: Some((14, 100)), ..Default::default() }), (false, true, false));
        assert_eq!(
            short(Observed { disk: Some((15, 100)), inodes: Some((4, 100)), ..Default::default() }),
            (false, true, false)
        );
        assert_eq!(
            short(Observed { inodes: Some((0, 0)), pids: Some((9, 100)), ..Default::default() }),
            (false, false, true)
        );
    }
}
