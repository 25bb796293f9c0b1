//! Pressure on memory, disk and PIDs: what the kernel tells, and what of it is too little.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use super::info::{meminfo, most_tasks};
use crate::options::{Amount, Thresholds};

/// Something that can be short, most urgent first: memory is gone in an instant, a disk is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// `memory.available`.
    Memory,
    /// `nodefs.available`.
    Disk,
    /// `imagefs.available`.
    ImageDisk,
    /// `nodefs.inodesFree`.
    Inodes,
    /// `imagefs.inodesFree`.
    ImageInodes,
    /// `pid.available`.
    Pids,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Memory, Self::Disk, Self::ImageDisk, Self::Inodes, Self::ImageInodes, Self::Pids];

    /// Upstream's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::Disk => "nodefs.available",
            Self::ImageDisk => "imagefs.available",
            Self::Inodes => "nodefs.inodesFree",
            Self::ImageInodes => "imagefs.inodesFree",
            Self::Pids => "pid.available",
        }
    }
}

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
        let running = fs::read_to_string("/proc/loadavg").ok().and_then(|t| {
            t.split_whitespace().nth(3).and_then(|f| f.split_once('/')).and_then(|(_, all)| all.parse::<u64>().ok())
        });
        let memory = fs::read_to_string("/proc/meminfo").ok();
        Self {
            memory: memory.and_then(|t| meminfo(&t, "MemAvailable").zip(meminfo(&t, "MemTotal"))),
            disk: disk.map(|s| (s.f_bavail.saturating_mul(s.f_frsize), s.f_blocks.saturating_mul(s.f_frsize))),
            inodes: disk.map(|s| (s.f_favail, s.f_files)),
            pids: running.zip(most_tasks()).map(|(used, most)| (most.saturating_sub(used), most)),
        }
    }

    /// (free, all) of what a signal is about. Images lie on the disk of the pods.
    pub fn of(&self, signal: Signal) -> Option<(u64, u64)> {
        match signal {
            Signal::Memory => self.memory,
            Signal::Disk | Signal::ImageDisk => self.disk,
            Signal::Inodes | Signal::ImageInodes => self.inodes,
            Signal::Pids => self.pids,
        }
    }

    /// What of it is too little, most urgent first.
    pub fn short(&self, thresholds: Thresholds) -> Vec<Signal> {
        self.short_still(thresholds, Thresholds::none(), &[])
    }

    /// As [`Observed::short`]; what was short before is so until there is `reclaim` more than its threshold.
    pub fn short_still(&self, thresholds: Thresholds, reclaim: Thresholds, before: &[Signal]) -> Vec<Signal> {
        let below = |signal: Signal| {
            let threshold: Amount = thresholds.of(signal);
            let more = if before.contains(&signal) { reclaim.of(signal) } else { Amount::Units(0) };
            let wanted = |all| threshold.of(all).saturating_add(more.of(all));
            self.of(signal).is_some_and(|(free, all)| all > 0 && free < wanted(all))
        };
        Signal::ALL.into_iter().filter(|signal| below(*signal)).collect()
    }

    /// The conditions that follow from it: of thresholds without and with a grace period alike.
    pub fn pressure(&self, hard: Thresholds, soft: Thresholds) -> Pressure {
        self.short(hard).into_iter().chain(self.short(soft)).collect()
    }
}

impl FromIterator<Signal> for Pressure {
    fn from_iter<T: IntoIterator<Item = Signal>>(signals: T) -> Self {
        let mut pressure = Pressure::default();
        for signal in signals {
            match signal {
                Signal::Memory => pressure.memory = true,
                Signal::Pids => pressure.pids = true,
                _ => pressure.disk = true,
            }
        }
        pressure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_short_is_so_until_enough_is_reclaimed() {
        let free = |free| Observed { memory: Some((free, 1000)), ..Observed::default() };
        let thresholds = Thresholds { memory: Amount::Units(100), ..Thresholds::none() };
        let reclaim = Thresholds { memory: Amount::Share(500), ..Thresholds::none() };
        for (left, before, want) in [(99, false, true), (100, false, false), (149, true, true), (150, true, false)] {
            let before = if before { vec![Signal::Memory] } else { Vec::new() };
            let short = free(left).short_still(thresholds, reclaim, &before);
            assert_eq!(short.contains(&Signal::Memory), want, "{left} {before:?}");
        }
    }

    #[test]
    fn what_is_short_follows_the_thresholds() {
        let short = |observed: Observed| {
            let p = observed.pressure(Thresholds::default(), Thresholds::none());
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
        let early = Thresholds { memory: Amount::Share(5000), ..Thresholds::none() };
        let observed = Observed { memory: Some((400 << 20, 1 << 30)), ..Default::default() };
        assert!(!observed.pressure(Thresholds::default(), Thresholds::none()).memory);
        assert!(observed.pressure(Thresholds::default(), early).memory);
        assert_eq!(
            short(Observed { inodes: Some((0, 0)), pids: Some((9, 100)), ..Default::default() }),
            (false, false, true)
        );
    }
}
