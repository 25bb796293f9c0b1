//! What the kernel says of one container, read once for all of its metrics: as it says it, so that what it does not know is not told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor, statvfs};

use crate::stats;

/// Files of a cgroup that metrics are made of, besides those of huge pages.
const FILES: &[&str] = &[
    "cgroup.procs",
    "cpu.max",
    "cpu.pressure",
    "cpu.stat",
    "io.pressure",
    "io.stat",
    "memory.current",
    "memory.events",
    "memory.low",
    "memory.max",
    "memory.peak",
    "memory.pressure",
    "memory.stat",
    "memory.swap.current",
    "memory.swap.max",
    "pids.current",
    "pids.max",
];
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// One container.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Files of its cgroup by name; those that the kernel does not have are not here.
    pub files: BTreeMap<String, String>,
    /// Names of the block devices that `io.stat` has, by their numbers.
    pub devices: BTreeMap<String, String>,
    /// Its processes.
    pub processes: Option<Processes>,
    /// The file system of its writable layer.
    pub disk: Option<Disk>,
    /// Bytes in its writable layer.
    pub written: Option<u64>,
    /// CPU shares that it was given; 0 if none were.
    pub cpu_shares: i64,
    /// Nanoseconds since the epoch.
    pub started_at: i64,
    /// Nanoseconds since the epoch at which all this was read.
    pub seen_at: i64,
}

/// Processes of a container.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// How many.
    pub count: u64,
    /// Open files of all of them.
    pub descriptors: u64,
    /// Those that are sockets.
    pub sockets: u64,
    /// How many files the first one may open.
    pub open_files: Option<u64>,
}

/// A file system.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Its device.
    pub device: String,
    /// The number under which the kernel counts its transfers; `None` for one in memory.
    pub number: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Those that are free.
    pub inodes_free: u64,
}

impl Facts {
    /// Reads the cgroup in `dir`, its processes, of which `first` is the first, and the file system of `written`.
    pub fn read(dir: &Path, first: i32, written: &Path) -> Self {
        let huge = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
        let names =
            FILES.iter().map(|name| (*name).to_owned()).chain(huge.filter(|name| huge_page_size(name).is_some()));
        let files: BTreeMap<String, String> =
            names.filter_map(|name| fs::read_to_string(dir.join(&name)).ok().map(|text| (name, text))).collect();
        let mut facts = Self { files, disk: Disk::of(written), ..Default::default() };
        facts.processes = facts.text("cgroup.procs").map(|pids| Processes::of(pids, first));
        let numbers: Vec<String> = facts.io("rbytes").into_iter().map(|(number, _)| number.to_owned()).collect();
        facts.devices = numbers.into_iter().filter_map(|n| device_name(&n).map(|name| (n, name))).collect();
        facts
    }

    fn text(&self, file: &str) -> Option<&str> {
        self.files.get(file).map(String::as_str)
    }

    /// The number that is all of a file.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    /// A limit; 0 where there is none.
    pub fn limit(&self, file: &str) -> Option<u64> {
        match self.text(file)?.trim() {
            "max" => Some(0),
            number => number.parse().ok(),
        }
    }

    /// A number of a flat keyed file.
    pub fn keyed(&self, file: &str, key: &str) -> Option<u64> {
        stats::lookup(self.text(file)?, key)
    }

    /// Microseconds of `cpu.stat` in whole seconds.
    pub fn cpu_seconds(&self, key: &str) -> Option<u64> {
        self.keyed("cpu.stat", key).map(|us| us / 1_000_000)
    }

    /// The quota, if there is one, and the period of `cpu.max`.
    pub fn cpu_max(&self) -> (Option<u64>, Option<u64>) {
        let mut words = self.text("cpu.max").unwrap_or_default().split_whitespace();
        let mut next = || words.next().and_then(|word| word.parse().ok());
        (next(), next())
    }

    /// Time that tasks stood still, all of them or some, in whole seconds.
    pub fn stalled(&self, file: &str, all: bool) -> Option<u64> {
        let psi = stats::psi(self.text(file)?)?;
        let line = if all { psi.full } else { psi.some };
        line.map(|line| line.total / SECOND)
    }

    /// A counter of `io.stat` by the number of the device.
    pub fn io(&self, counter: &str) -> Vec<(&str, u64)> {
        let Some(text) = self.text("io.stat") else { return Vec::new() };
        let mut found: Vec<(&str, u64)> = text
            .lines()
            .filter_map(|line| {
                let (number, counters) = line.split_once(' ')?;
                let value = counters.split_whitespace().find_map(|w| w.strip_prefix(counter)?.strip_prefix('='))?;
                Some((number, value.parse().ok()?))
            })
            .collect();
        // The kernel lists a device once the cgroup has used it: its own disk was not used, then.
        let own = self.disk.as_ref().and_then(|disk| disk.number.as_deref());
        let unused = own.filter(|own| !found.iter().any(|(number, _)| number == own));
        found.extend(unused.map(|number| (number, 0)));
        found
    }

    /// Bytes of huge pages by their size.
    pub fn huge_pages(&self) -> Vec<(&str, u64)> {
        let files = self.files.iter();
        files.filter_map(|(name, text)| Some((huge_page_size(name)?, text.trim().parse().ok()?))).collect()
    }
}

/// The page size in the name of a file that counts what is used of it.
fn huge_page_size(file: &str) -> Option<&str> {
    file.strip_prefix("hugetlb.")?.strip_suffix(".current").filter(|size| !size.contains('.'))
}

/// A block device's path by its number.
fn device_name(number: &str) -> Option<String> {
    let link = fs::read_link(Path::new("/sys/dev/block").join(number)).ok()?;
    let name = link.file_name()?.to_str()?;
    Some(format!("/dev/{name}"))
}

impl Processes {
    fn of(pids: &str, first: i32) -> Self {
        let limits = fs::read_to_string(format!("/proc/{first}/limits")).unwrap_or_default();
        let mut found = Self { open_files: open_files(&limits), ..Default::default() };
        for pid in pids.split_whitespace() {
            found.count += 1;
            // One that has just ended has no files.
            for file in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                found.descriptors += 1;
                let socket = fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
                found.sockets += u64::from(socket);
            }
        }
        found
    }
}

/// The soft limit of open files in `/proc/<pid>/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Disk {
    fn of(dir: &Path) -> Option<Self> {
        let whole = statvfs(dir).ok()?;
        let device = fs::metadata(dir).ok()?.dev();
        let own = format!("{}:{}", major(device), minor(device));
        let name = device_name(&own);
        let number = name.is_some().then(|| counted_as(&own));
        Some(Self {
            device: name.unwrap_or(own),
            number,
            bytes: whole.f_blocks * whole.f_frsize,
            inodes: whole.f_files,
            inodes_free: whole.f_ffree,
        })
    }
}

/// The kernel counts transfers of whole disks, not of their partitions.
fn counted_as(number: &str) -> String {
    let device = Path::new("/sys/dev/block").join(number);
    let disk = device.join("partition").exists().then(|| fs::read_to_string(device.join("../dev")).ok()).flatten();
    disk.map_or_else(|| number.to_owned(), |disk| disk.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: &str, text: &str) -> Facts {
        Facts { files: [(file.to_owned(), text.to_owned())].into(), ..Default::default() }
    }

    #[test]
    fn what_the_kernel_does_not_have_is_not_known() {
        let none = Facts::default();
        assert_eq!(
            (none.number("memory.peak"), none.limit("pids.max"), none.cpu_seconds("user_usec")),
            (None, None, None)
        );
        assert_eq!((none.cpu_max(), none.stalled("io.pressure", true)), ((None, None), None));
        assert!(none.io("rbytes").is_empty() && none.huge_pages().is_empty());
    }

    #[test]
    fn no_limit_is_zero_and_no_quota_is_none() {
        assert_eq!(with("pids.max", "max\n").limit("pids.max"), Some(0));
        assert_eq!(with("pids.max", "64\n").limit("pids.max"), Some(64));
        assert_eq!(with("cpu.max", "max 100000\n").cpu_max(), (None, Some(100_000)));
        assert_eq!(with("cpu.max", "20000 100000\n").cpu_max(), (Some(20_000), Some(100_000)));
    }

    #[test]
    fn a_disk_that_was_not_used_counts_zero_and_no_other() {
        let disk = |number: &str| Some(Disk { number: Some(number.to_owned()), ..Default::default() });
        let used = with("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n254:1\n");
        let facts = Facts { disk: disk("8:0"), ..used };
        assert_eq!((facts.io("rbytes"), facts.io("wios")), (vec![("8:0", 10)], vec![("8:0", 2)]));
        let facts = Facts { disk: disk("8:16"), ..facts };
        assert_eq!(facts.io("rbytes"), [("8:0", 10), ("8:16", 0)]);
        assert!(with("io.stat", "").io("rbytes").is_empty());
    }

    #[test]
    fn huge_pages_are_told_by_their_size_without_reservations() {
        for (file, size) in [
            ("hugetlb.2MB.current", Some("2MB")),
            ("hugetlb.2MB.rsvd.current", None),
            ("hugetlb.2MB.max", None),
            ("memory.current", None),
        ] {
            assert_eq!(huge_page_size(file), size, "{file}");
        }
        assert_eq!(with("hugetlb.1GB.current", "0\n").huge_pages(), [("1GB", 0)]);
    }

    #[test]
    fn the_soft_limit_is_the_first_number() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024    4096    files\n";
        assert_eq!((open_files(limits), open_files("Max open files unlimited unlimited files\n")), (Some(1024), None));
    }

    #[test]
    fn this_process_is_read_from_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        fs::write(dir.path().join("cgroup.procs"), format!("{pid}\n")).unwrap();
        fs::write(dir.path().join("hugetlb.2MB.current"), "4096\n").unwrap();
        let facts = Facts::read(dir.path(), i32::try_from(pid).unwrap(), dir.path());
        let processes = facts.processes.as_ref().unwrap();
        assert!(processes.count == 1 && processes.descriptors > 0 && processes.open_files.is_some(), "{processes:?}");
        assert!(facts.disk.as_ref().is_some_and(|disk| disk.bytes > 0 && !disk.device.is_empty()), "{:?}", facts.disk);
        assert_eq!(facts.huge_pages(), [("2MB", 4096)]);
    }
}
