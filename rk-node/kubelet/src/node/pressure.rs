//! Pressure on memory, disk and PIDs: what the kernel tells, and what of it is too little.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use super::info::{meminfo, most_tasks};
use super::object::unreserved_memory;
use crate::Options;
use crate::options::{Amount, Thresholds};

/// Something that can be short, most urgent first: memory is gone in an instant, a disk is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// `memory.available`.
    Memory,
    /// `allocatableMemory.available`: pods have most of what they may have together, whatever the machine has besides.
    PodsMemory,
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
    /// Those that have thresholds of their own: memory of pods together has that of the machine's.
    pub const ALL: [Self; 6] = [Self::Memory, Self::Disk, Self::ImageDisk, Self::Inodes, Self::ImageInodes, Self::Pids];

    /// Upstream's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::PodsMemory => "allocatableMemory.available",
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
    /// Memory that pods could have together, when that is bounded, bytes.
    pub pods_memory: Option<(u64, u64)>,
    /// Bytes of the disk that holds pods.
    pub disk: Option<(u64, u64)>,
    /// Its inodes.
    pub inodes: Option<(u64, u64)>,
    /// Process IDs.
    pub pids: Option<(u64, u64)>,
}

impl Observed {
    /// Looks at the machine, at the disk that holds pods and at the cgroup that does.
    pub fn now(options: &Options) -> Self {
        let dirs = &options.dirs;
        let disk = statvfs(dirs.kubelet.as_path()).ok();
        let disk = disk.as_ref();
        let running = fs::read_to_string("/proc/loadavg").ok().and_then(|t| {
            t.split_whitespace().nth(3).and_then(|f| f.split_once('/')).and_then(|(_, all)| all.parse::<u64>().ok())
        });
        let memory = fs::read_to_string("/proc/meminfo").ok();
        Self {
            memory: memory.and_then(|t| meminfo(&t, "MemAvailable").zip(meminfo(&t, "MemTotal"))),
            pods_memory: bounded_memory(&dirs.cgroup.join("kubepods"), unreserved_memory(options)),
            disk: disk.map(|s| (s.f_bavail.saturating_mul(s.f_frsize), s.f_blocks.saturating_mul(s.f_frsize))),
            inodes: disk.map(|s| (s.f_favail, s.f_files)),
            pids: running.zip(most_tasks()).map(|(used, most)| (most.saturating_sub(used), most)),
        }
    }

    /// (free, all) of what a signal is about. Images lie on the disk of the pods.
    pub fn of(&self, signal: Signal) -> Option<(u64, u64)> {
        match signal {
            Signal::Memory => self.memory,
            Signal::PodsMemory => self.pods_memory,
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
        let mut short: Vec<Signal> =
            Signal::ALL.into_iter().chain([Signal::PodsMemory]).filter(|s| below(*s)).collect();
        short.sort_unstable();
        short
    }

    /// What is judged by thresholds with a grace period: pods at the bound of their memory have no time.
    pub fn borne(self) -> Self {
        Self { pods_memory: None, ..self }
    }

    /// The conditions that follow from it: of thresholds without and with a grace period alike.
    pub fn pressure(&self, hard: Thresholds, soft: Thresholds) -> Pressure {
        self.short(hard).into_iter().chain(self.borne().short(soft)).collect()
    }
}

/// What a cgroup could have more of, and its bound, bytes; `None` without a bound. Both are told with the `unreserved` that the bound does
/// without. As of the machine as a whole, what files have in the caches of the kernel can be had.
fn bounded_memory(dir: &Path, unreserved: u64) -> Option<(u64, u64)> {
    let number = |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
    let bound = number("memory.max")?.saturating_add(unreserved);
    let stat = fs::read_to_string(dir.join("memory.stat")).ok()?;
    let given_back = |line: &str| {
        let (name, bytes) = line.split_once(' ')?;
        let cached = matches!(name, "inactive_file" | "active_file" | "slab_reclaimable");
        bytes.trim().parse::<u64>().ok().filter(|_| cached)
    };
    let cached = stat.lines().filter_map(given_back).fold(0, u64::saturating_add);
    let held = number("memory.current")?.saturating_sub(cached);
    Some((bound.saturating_sub(held), bound))
}

impl FromIterator<Signal> for Pressure {
    fn from_iter<T: IntoIterator<Item = Signal>>(signals: T) -> Self {
        let mut pressure = Pressure::default();
        for signal in signals {
            match signal {
                Signal::Memory | Signal::PodsMemory => pressure.memory = true,
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
    fn pods_that_have_most_of_what_is_theirs_are_short_of_memory_though_the_machine_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = |max: &str, current: &str| {
            for (file, text) in [
                ("memory.max", max),
                ("memory.current", current),
                ("memory.stat", "anon 9\ninactive_file 20\nactive_file 30\nslab_reclaimable 10\nslab 11\n"),
            ] {
                fs::write(dir.path().join(file), text).unwrap();
            }
            bounded_memory(dir.path(), 0)
        };
        assert_eq!(bounded_memory(dir.path(), 0), None, "no such cgroup");
        assert_eq!(files("max\n", "100\n"), None);
        assert_eq!(files("500\n", "460\n"), Some((100, 500)));
        assert_eq!(files("500\n", "900\n"), Some((0, 500)));
        files("500\n", "460\n");
        assert_eq!(bounded_memory(dir.path(), 40), Some((140, 540)), "what is kept though nobody reserved it");
        let observed = Observed { memory: Some((900, 1000)), pods_memory: Some((99, 500)), ..Observed::default() };
        let thresholds = Thresholds { memory: Amount::Units(100), ..Thresholds::none() };
        assert_eq!(observed.short(thresholds), [Signal::PodsMemory]);
        assert!(observed.pressure(thresholds, Thresholds::none()).memory);
        assert!(!observed.pressure(Thresholds::none(), thresholds).memory, "a soft threshold is one of the machine's");
        let both = Observed { memory: Some((9, 1000)), disk: Some((0, 9)), ..observed };
        let thresholds = Thresholds { disk: Amount::Units(1), ..thresholds };
        assert_eq!(both.short(thresholds), [Signal::Memory, Signal::PodsMemory, Signal::Disk], "most urgent first");
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
